"""Step calls where none can be made, and engine calls in a body, are errors that name line and cure
(rule I7)."""

import contextvars
import inspect
import re
import threading

import pytest

from stepwell import InstanceErrored, Retry, StepFailed, StepwellError, current_step, workflow
from stepwell.testing import open_test_engine

kept: list = []


@pytest.fixture(autouse=True)
def _nothing_kept():
    kept.clear()


def here(text: str, fn) -> str:
    """Returns `file:line` of the line of a function that holds a text."""
    lines, start = inspect.getsourcelines(getattr(fn, "fn", fn))
    return (
        f"test_misplaced_calls.py:{start + next(i for i, line in enumerate(lines) if text in line)}"
    )


async def noop() -> None:
    pass


@workflow
async def nested_async(step):
    async def outer():
        await step.do(noop)  # nested

    await step.do(outer, retry=Retry.never)


@workflow
async def nested_sync(step):
    def outer():
        step.sleep(1)  # nested

    await step.do(outer, retry=Retry.never)


@workflow
async def nested_in_map(step):
    async def outer(_):
        await step.wait_for_event("x")  # nested

    await step.map(outer, [1], retry=Retry.never)


@pytest.mark.parametrize(
    ("code", "method"),
    [
        (nested_async, "step.do"),
        (nested_sync, "step.sleep"),
        (nested_in_map, "step.wait_for_event"),
    ],
)
async def test_i7_a_step_call_inside_a_step_function_names_line_step_and_cure(code, method):
    async with open_test_engine(workflows=[code]) as engine:
        with pytest.raises(InstanceErrored) as caught:
            await engine.call(code, id="n")
    text = str(caught.value)
    assert f"{method} of {code.name}/n" in text
    assert "inside a step function" in text
    assert 'step "outer"' in text
    assert here("# nested", code) in text
    assert "call it in the workflow's body" in text
    assert caught.value.error.attempts == 1


async def calls_a_step(step, *_):
    await step.do(noop)


async def awaits_what_the_body_asked_for(_, __, pending):
    await pending


def calls_a_step_in_a_thread(step, *_):
    step.sleep(1)


async def asks_a_child(_, child, __):
    await child.result()


def asks_the_engine_from_a_thread(*_):
    kept[0].call_from_here()


async def asks_for_a_step_elsewhere(*_):
    contextvars.Context().run(current_step)


@pytest.mark.parametrize(
    ("fn", "type_"),
    [
        (calls_a_step, "StepwellError"),
        (awaits_what_the_body_asked_for, "StepwellError"),
        (calls_a_step_in_a_thread, "StepwellError"),
        (asks_a_child, "StepwellError"),
        (asks_for_a_step_elsewhere, "StepwellError"),
        (asks_the_engine_from_a_thread, "InvalidState"),
    ],
)
async def test_r6_a_use_of_the_engine_that_is_a_mistake_in_a_step_is_not_tried_again(fn, type_):
    @workflow(name="mistaken")
    async def mistaken(step):
        child = await step.create("asks_the_engine", "x", id="child")
        try:
            await step.do(fn, step, child, pending := step.sleep(1))
        except StepFailed as error:
            return [error.attempts, error.type, isinstance(error, StepwellError)]
        finally:
            pending.close()

    class Mistake:
        def call_from_here(self):
            coroutine = engine.list()
            try:
                coroutine.send(None)
            finally:
                coroutine.close()

    async with open_test_engine(workflows=[mistaken, asks_the_engine]) as engine:
        kept[:] = [Mistake(), None]
        assert await engine.call(mistaken) == [1, f"stepwell.{type_}", True]


@workflow
async def keeps_its_step(step):
    kept.append(step)


async def test_i7_a_step_call_after_the_body_ended_says_so():
    async with open_test_engine(workflows=[keeps_its_step]) as engine:
        await engine.call(keeps_its_step, id="k")
        step = kept[0]
        for method in (
            lambda: step.do(noop),
            lambda: step.now(),
            lambda: step.uuid(),
            lambda: step.open_nursery(),
            lambda: step.report(1),
        ):
            with pytest.raises(
                StepwellError, match=r"keeps_its_step/k was called .*body had ended.*"
            ) as caught:
                method()
            assert "test_misplaced_calls.py:" in str(caught.value)


@workflow
async def calls_from_a_thread(step):
    said: list[str] = []

    def from_another_thread():
        try:
            step.do(noop)  # thread
        except StepwellError as error:
            said.append(str(error))

    await step.do(noop)
    thread = threading.Thread(target=from_another_thread)
    thread.start()
    thread.join()
    return said[0]


async def test_i7_a_step_call_from_another_thread_says_so():
    async with open_test_engine(workflows=[calls_from_a_thread]) as engine:
        text = await engine.call(calls_from_a_thread, id="t")
    assert "step.do of calls_from_a_thread/t was called from another thread" in text
    assert here("# thread", calls_from_a_thread) in text


@workflow
async def uses_another_step(step):
    await kept[0].do(noop)


async def test_i7_another_instances_step_is_refused():
    @workflow(name="owner")
    async def owner(step):
        kept.append(step)
        await step.wait_for_event("go")

    async with open_test_engine(workflows=[owner, uses_another_step], autojump=False) as engine:
        await (await engine.create(owner, id="o")).wait_for_status("waiting")
        with pytest.raises(
            InstanceErrored, match=r"step\.do of owner/o was called by another instance.*own step"
        ):
            await engine.call(uses_another_step)


@workflow
async def never_awaited(step):
    step.do(noop)  # not awaited
    return 1


@workflow
async def never_awaited_sleep(step):
    await step.do(noop)
    step.sleep("1 hour", name="nap")  # not awaited
    return 1


@workflow
async def bound_and_never_awaited(step):
    kept = step.do(noop)  # not awaited
    return [kept is None]


kept_for_ever = []


@workflow
async def kept_and_never_awaited(step):
    kept_for_ever.append(
        step.wait_for_event("never", name="nap")  # not awaited
    )
    return 1


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (never_awaited, "noop"),
        (never_awaited_sleep, "nap"),
        (bound_and_never_awaited, "noop"),
        (kept_and_never_awaited, "nap"),
    ],
)
async def test_i7_a_step_that_was_never_awaited_names_line_and_step(code, name):
    async with open_test_engine(workflows=[code]) as engine:
        with pytest.raises(
            InstanceErrored,
            match=f'step "{name}" at {re.escape(here("# not awaited", code))} was never awaited',
        ):
            await engine.call(code)


@workflow
async def asks_the_engine(step, method: str):
    engine, other = kept
    calls = {
        "create": lambda: engine.create(never_awaited),
        "call": lambda: engine.call(never_awaited),
        "get": lambda: engine.get("asks_the_engine", "a"),
        "list": lambda: engine.list(),
        "count": lambda: engine.count(),
        "create_batch": lambda: engine.create_batch(never_awaited, [None]),
        "status": lambda: other.status(),
        "result": lambda: other.result(),
        "wait_for_status": lambda: other.wait_for_status("complete"),
        "send_event": lambda: other.send_event("x"),
        "history": lambda: other.history(),
        "explain": lambda: other.explain(),
        "resume": lambda: other.resume(),
        "approvals.list": lambda: engine.approvals.list(),
        "approvals.approve": lambda: engine.approvals.approve("a/b#c#1", by="me"),
    }
    await calls[method]()


@pytest.mark.parametrize(
    ("method", "form"),
    [
        ("create", "step.create"), ("call", "step.call"), ("create_batch", "step.create_batch"),
        ("send_event", "step.send_event"),
        ("result", "step.call"), ("approvals.approve", "step."), ("approvals.list", "step."),
        ("get", "step."), ("list", "step."),
        ("count", "step."), ("status", "step."), ("wait_for_status", "step."), ("history", "step."),
        ("explain", "step."),
        ("resume", "step."),
    ],
)  # fmt: skip
async def test_i7_awaiting_the_engine_in_a_body_is_an_error_that_names_the_step_form(method, form):
    async with open_test_engine(workflows=[asks_the_engine, never_awaited]) as engine:
        other = await engine.create(never_awaited, id="other")
        kept[:] = [engine, other]
        with pytest.raises(InstanceErrored) as caught:
            await engine.call(asks_the_engine, method, id="a")
    text = str(caught.value)
    assert method in text
    assert "asks_the_engine/a" in text
    assert form in text.partition("asks_the_engine/a")[2].partition("asks_the_engine/a")[2]
