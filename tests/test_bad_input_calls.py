"""Calls that cannot mean what they say: unstorable values, coroutines, lambdas, asyncio on trio,
engines used at the wrong time."""

import asyncio
import functools
import threading

import pytest
import trio

from stepwell import (
    Engine,
    EngineClosed,
    InstanceErrored,
    InstanceNotFound,
    InvalidConfig,
    InvalidName,
    InvalidState,
    NotSerializable,
    StepwellError,
    StoreFailed,
    current_step,
    step_options,
    sync,
    workflow,
)
from stepwell.testing import open_test_engine


@workflow
async def echo(step, params):
    return params


@workflow
async def takes_none(step):
    return "ok"


async def add(a: int, b: int = 0) -> int:
    return a + b


def body(call):
    """A workflow that makes one call."""

    @workflow(name="one")
    async def one(step):
        return await call(step)

    return one


async def failure(call) -> str:
    async with open_test_engine(workflows=[body(call), echo, takes_none]) as engine:
        with pytest.raises(InstanceErrored) as caught:
            await engine.call("one", id="i")
        assert (await (await engine.get("one", "i")).status()).error.attempts in (None, 1)
    return str(caught.value)


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (object(), "params is"),
        ({"a": [1, {"b": object()}]}, 'params["a"][1]["b"]'),
        ([lambda: 1], "params[0]"),
        ({"x": trio.Event()}, 'params["x"]'),
        ({"f": open}, 'params["f"]'),
    ],
    ids=lambda v: v if isinstance(v, str) else None,
)
async def test_a_value_that_cannot_be_stored_is_named_with_its_path(value, path):
    async with open_test_engine(workflows=[echo]) as engine:
        with pytest.raises(NotSerializable) as caught:
            await engine.create(echo, value)
        assert path in str(caught.value)
        assert sum((await engine.count()).values()) == 0
        other = await engine.create(echo)
        await other.result()


async def test_a_value_that_holds_itself_is_not_serializable():
    loop: list = []
    loop.append(loop)
    async with open_test_engine(workflows=[echo]) as engine:
        with pytest.raises(NotSerializable, match="params"):
            await engine.create(echo, loop)


async def test_an_event_that_cannot_be_stored_is_named_with_its_path():
    async with open_test_engine(workflows=[echo], autojump=False) as engine:
        instance = await engine.create(echo, start_at=engine.clock.now().replace(year=2031))
        with pytest.raises(NotSerializable, match=r'payload\["a"\]'):
            await instance.send_event("x", {"a": object()})
        with pytest.raises(InvalidName, match="dedup_id"):
            await instance.send_event("x", dedup_id="")


async def test_a_workflow_without_params_refuses_some():
    async with open_test_engine(workflows=[takes_none]) as engine:
        with pytest.raises(InvalidConfig, match=r'"takes_none" takes no params.*\(step\)'):
            await engine.create(takes_none, 1)
        assert await engine.call(takes_none) == "ok"


@workflow
async def not_registered(step):
    pass


@pytest.mark.parametrize("which", ["nobody", not_registered, None, 5, add])
async def test_an_unknown_workflow_says_which_are_known_and_where_to_register(which):
    async with open_test_engine(workflows=[echo, takes_none]) as engine:
        calls = [lambda: engine.create(which), lambda: engine.create_batch(which, [1])]
        # by name instances may be looked at without their code: tests/test_missing_code.py
        if not isinstance(which, str):
            calls.append(lambda: engine.get(which, "x"))
        for call in calls:
            with pytest.raises(
                InvalidConfig, match=r"not registered.*echo, takes_none.*workflows="
            ):
                await call()


async def test_an_unknown_instance_is_named():
    async with open_test_engine(workflows=[echo]) as engine:
        with pytest.raises(InstanceNotFound, match='"x" of "echo"') as caught:
            await engine.get(echo, "x")
        assert (caught.value.workflow, caught.value.id) == ("echo", "x")
        assert engine.peek(echo, "x") is None


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda step: step.do(add(1)), "write step.do(add, …) instead of step.do(add(…))"),
        (lambda step: step.map(add(1), [1]), "write step.map(add, …)"),
        (lambda step: step.do(5), "needs a function"),
        (lambda step: step.do(None), "needs a function"),
        (lambda step: step.do(lambda: 1), "lambda"),
        (lambda step: step.do(echo), "step.call(echo, …)"),
        (lambda step: step.do(functools.partial(echo), 1), "step.call(echo, …)"),
        (lambda step: step.map(echo, [1]), "step.call(echo, …)"),
        (lambda step: step.each(echo, [1]), "step.call(echo, …)"),
        (lambda step: step.create_batch(echo, []), "there is nothing to create"),
        (lambda step: step.map(lambda x: x, [1]), "lambda"),
        (lambda step: step.do(functools.partial(lambda x: x, 1)), "Pass name="),
        (lambda step: step.do(add, 1, b=2), "functools.partial"),
        (lambda step: step.do(add, 1, nmae="x"), "has no option nmae"),
        (lambda step: step.each(lambda x: x, [1]), "Pass name="),
        (lambda step: step.each(lambda x: x, [1], name="x"), "async function"),
        (lambda step: step.wait_for_event(), "1 to 32"),
        (lambda step: step.do(add, 1, runtime="threads"), "threads"),
        (lambda step: step.map(add, [1, 1], key=str), "key"),
        (lambda step: step.map(add, [1], key=lambda item: 5), "key"),
    ],
)
async def test_a_call_that_cannot_mean_what_it_says_says_what_to_write(call, says):
    assert says in await failure(call)


async def test_one_key_names_one_step():
    async def twice(step):
        await step.do(add, 1, key="k")
        await step.do(add, 2, key="k")

    text = await failure(twice)
    assert "'k'" in text
    assert '"add"' in text


async def sleeps_on_asyncio() -> None:
    await asyncio.sleep(0.01)


async def sleeps_zero_on_asyncio() -> None:
    await asyncio.sleep(0)


class Future:
    _asyncio_future_blocking = True

    def __await__(self):
        yield self


async def awaits_a_future() -> None:
    await Future()


async def waits_on_asyncio() -> None:
    await asyncio.Event().wait()


async def catches_and_goes_on() -> str:
    for _ in range(3):
        try:
            await Future()
        except Exception:
            await trio.lowlevel.checkpoint()
    await Future()
    return "never"


@pytest.mark.parametrize(
    "fn",
    [
        sleeps_on_asyncio,
        sleeps_zero_on_asyncio,
        waits_on_asyncio,
        awaits_a_future,
        catches_and_goes_on,
    ],
)
async def test_asyncio_code_on_trio_is_named_with_its_step_and_a_cure(fn):
    text = await failure(lambda step: step.do(fn))
    assert f'step "{fn.__name__}" ran asyncio code on trio' in text
    assert 'Pass runtime="asyncio"' in text
    text = await failure(lambda step: step.map(lambda _: fn(), [1], name=fn.__name__))
    assert f'step "{fn.__name__}" ran asyncio code on trio' in text


async def opens_a_nursery_of_trio() -> None:
    async with trio.open_nursery():
        pass


async def test_trio_code_on_asyncio_is_named_with_its_step_and_a_cure():
    for fn in (opens_a_nursery_of_trio, functools.partial(trio.sleep, 0)):
        text = await failure(lambda step, fn=fn: step.do(fn, name="s", runtime="asyncio"))
        assert 'step "s" ran trio code on asyncio. Pass runtime="trio".' in text


async def test_a_plain_function_may_run_asyncio_itself():
    async with open_test_engine(
        workflows=[body(lambda step: step.do(lambda: asyncio.run(sleeps_on_asyncio()), name="x"))]
    ) as engine:
        assert await engine.call("one") is None


def test_current_step_outside_a_step_says_where_it_belongs():
    with pytest.raises(StepwellError, match=r"current_step\(\).*outside a step function"):
        current_step()


async def test_an_engine_that_is_not_open_says_how_to_open_it():
    engine = Engine(":memory:", workflows=[echo])
    for call in (
        lambda: engine.create(echo),
        lambda: engine.call(echo),
        lambda: engine.list(),
        lambda: engine.approvals.list(),
    ):
        with pytest.raises(EngineClosed, match=r"not open.*async with Engine"):
            await call()
    with pytest.raises(EngineClosed):
        engine.statistics()
    with pytest.raises(EngineClosed):
        engine.peek(echo, "x")


def test_a_blocking_engine_that_is_not_open_says_how_to_open_it():
    engine = sync.Engine(":memory:", workflows=[echo])
    with pytest.raises(EngineClosed, match=r"not open.*`with Engine"):
        engine.create(echo)


async def test_an_engine_that_has_failed_says_why_ever_after():
    engine = Engine(":memory:", workflows=[echo])
    with pytest.raises(StoreFailed, match="the disk is gone"):
        async with engine:
            engine._driver.stop(StoreFailed("the disk is gone"))
    with pytest.raises(
        EngineClosed,
        match=r"this engine has stopped: StoreFailed.*the disk is gone.*open a new one",
    ):
        await engine.create(echo)


async def test_an_engine_that_was_closed_cannot_be_used_or_opened_again():
    engine = Engine(":memory:", workflows=[echo])
    async with engine:
        instance = await engine.create(echo)
        with pytest.raises(EngineClosed, match="opens once"):
            await engine.__aenter__()
        await instance.result()
    for call in (
        lambda: engine.create(echo),
        instance.result,
        instance.status,
        lambda: instance.send_event("x"),
        instance.history,
    ):
        with pytest.raises(EngineClosed, match="not open"):
            await call()
    with pytest.raises(EngineClosed, match=r"closed.*new one"):
        await engine.__aenter__()


async def test_an_engine_used_from_another_thread_says_how_and_peek_may():
    found = []

    def elsewhere(engine, instance) -> None:
        async def uses() -> None:
            for call in (lambda: engine.create(echo), instance.status, instance.result):
                with pytest.raises(InvalidState, match=r"another thread.*trio\.from_thread\.run"):
                    await call()
            found.append(engine.peek(echo, "x"))

        trio.run(uses)

    async with open_test_engine(workflows=[echo], autojump=False) as engine:
        instance = await engine.create(echo, id="x", start_at=engine.clock.now().replace(year=2031))
        thread = threading.Thread(target=elsewhere, args=(engine, instance))
        thread.start()
        await trio.to_thread.run_sync(thread.join)
        assert found == ["queued"]


async def test_waiting_for_no_state_or_an_unknown_one_is_invalid_config():
    async with open_test_engine(workflows=[echo]) as engine:
        instance = await engine.create(echo, id="x")
        with pytest.raises(InvalidConfig, match="at least one"):
            await instance.wait_for_status()
        with pytest.raises(InvalidConfig, match=r"done.*queued"):
            await instance.wait_for_status("done")
        with pytest.raises(InvalidState, match=r"echo/x is complete.*cannot become waiting"):
            await instance.wait_for_status("waiting")


def test_a_workflow_is_an_async_function_of_step_and_params():
    for wrong in (lambda step: 1, 5, add.__call__):
        with pytest.raises(InvalidConfig, match="async"):
            workflow(wrong)
    with pytest.raises(InvalidName, match="Pass name= to @workflow"):
        workflow(functools.partial(add))

    async def three(step, a, b):
        pass

    async def none():
        pass

    for wrong in (three, none):
        with pytest.raises(InvalidConfig, match=r"\(step\) or \(step, params\)"):
            workflow(wrong)

    class Shop:
        async def order(self, ctx):
            pass

        async def close(self):
            pass

        @classmethod
        async def opened(cls, step):
            pass

    async def turned(params, step):
        pass

    for wrong in (Shop.order, Shop.close, Shop.opened.__func__, turned):
        with pytest.raises(InvalidConfig, match=r"given its step first.*static method"):
            workflow(wrong)
    assert workflow(Shop.opened).name == "opened"
    with pytest.raises(InvalidConfig, match="runtime is 'curio'"):
        workflow(runtime="curio")(echo.fn)


async def test_a_list_of_event_types_and_a_handle_for_a_workflow_are_told_what_to_give():
    text = await failure(lambda step: step.wait_for_event(["paid", "refused"]))
    assert "given ['paid', 'refused']; give one type after the other" in text
    text = await failure(lambda step: step.send_event(step.instance, "x", "paid"))
    assert "the receiver's workflow InstanceInfo(" in text
    assert "@workflow" not in text


def test_options_of_a_step_are_not_for_workflows():
    async def body(step):
        pass

    with pytest.raises(InvalidConfig, match="functions of steps"):
        step_options(timeout=1)(workflow(body))
    with pytest.raises(InvalidConfig, match="functions of steps"):
        workflow(step_options(timeout=1)(body))


def test_a_malformed_namespace_speaks_of_no_workflow():
    with pytest.raises(InvalidName, match="namespace 'a b' is not valid") as told:
        Engine(":memory:", namespace="a b")
    assert "@workflow" not in str(told.value)


def test_a_generator_is_told_to_be_one_and_not_to_lack_async():
    async def pages(step):
        yield 1

    def items(step):
        yield 1

    for fn in (pages, items):
        with pytest.raises(
            InvalidConfig, match="is a generator, because there is a `yield` in it"
        ) as told:
            workflow(fn)
        assert "async def" not in str(told.value).partition("is a generator")[2]


@pytest.mark.parametrize("option", ["timeout", "heartbeat_timeout"])
def test_no_time_for_an_attempt_is_refused(option):
    with pytest.raises(InvalidConfig, match=f"^{option} is 0, so every attempt would fail at once"):
        step_options(**{option: 0})
    step_options(**{option: 0.001})
