"""Bodies on asyncio: what they must not do, and how it is found (rules I3, I5, I7, I9)."""

import asyncio
import sys
import threading
from contextlib import AsyncExitStack, suppress

import anyio
import pytest
import trio
import trio.testing
from asyncio_bodies import blocked, doubles, flow, line_of, lives, ran, replayed, run

from stepwell import InstanceErrored, InvalidConfig, LimitReached, Step, workflow
from stepwell.testing import open_test_engine


@pytest.fixture(autouse=True)
def _fresh():
    ran.clear()
    lives.clear()


# What a body must not do.


async def test_i3_tasks_that_begin_the_same_in_one_turn_are_a_race_and_named():
    async def code(step: Step, seen):
        async with asyncio.TaskGroup() as group:
            for x in range(2):
                group.create_task(one(step, x))

    async def one(step: Step, x: int):
        await step.do(doubles, x)

    reason, text = await blocked(code)
    assert reason == "race"
    assert text == (
        '"doubles" was begun by two tasks of the body in one turn, so which of them has which '
        "place in the history is a race. Give each a key=, or make them branches with step.gather "
        "(in a body on trio: step.open_nursery), then resume()."
    )
    assert ran == []


@pytest.mark.parametrize(
    "kind", ["sleep", "map", "patched", "gather", "asyncio.gather", "as_completed", "deadline"]
)
async def test_i3_every_kind_of_race_is_found(kind):
    async def part(step: Step):
        if kind == "deadline":
            with step.move_on_after(1):
                await asyncio.sleep(0)
        elif kind == "gather":
            await step.gather(asyncio.sleep(0))
        elif kind == "as_completed":
            async for _ in step.as_completed(asyncio.sleep(0)):
                pass
        else:
            await {
                "sleep": lambda: step.sleep(1),
                "map": lambda: step.map(doubles, [1]),
                "patched": lambda: step.patched("x"),
            }[kind]()

    async def code(step: Step, seen):
        if kind == "asyncio.gather":
            await asyncio.gather(step.do(doubles, 1), step.do(doubles, 2))
        await asyncio.gather(part(step), part(step))

    reason, text = await blocked(code)
    assert reason == "race"
    assert "key=" in text
    assert ran == []


FOREIGN = {
    "asyncio.sleep": (lambda: asyncio.sleep(1), "asyncio's sleep", "step.sleep"),
    "timeout": (
        lambda: asyncio.wait_for(asyncio.Event().wait(), 1),
        "asyncio's ",
        "step.fail_after",
    ),
    "thread": (
        lambda: asyncio.to_thread(str),
        "asyncio's to_thread",
        "step.do with the plain function",
    ),
    "connection": (
        lambda: asyncio.open_connection("127.0.0.1", 1),
        "asyncio's open_connection",
        "step.do with an async function",
    ),
    "event": (lambda: asyncio.Event().wait(), "asyncio's Event.wait", "step.wait_for_event"),
    "queue": (lambda: asyncio.Queue().get(), "asyncio's Queue.get", "step.wait_for_event"),
    "future": (
        lambda: _awaits(asyncio.get_running_loop().create_future()),
        "something of its own",
        "step.do",
    ),
    "other loop": (lambda: _awaits(_other_loops()), "something of its own", "step.do"),
    "trio": (lambda: trio.sleep(1), "trio's sleep", "step.sleep"),
    "trio event": (lambda: trio.Event().wait(), "trio's Event.wait", "step.wait_for_event"),
    "trio scope": (
        lambda: _in_scope(),
        "trio's CancelScope.__enter__",
        "step.move_on_after and step.fail_after for deadlines",
    ),
    "trio nursery": (
        lambda: _in_nursery(),
        "trio's NurseryManager.__aenter__",
        "step.gather and asyncio.TaskGroup for tasks",
    ),
    "anyio": (lambda: anyio.sleep(1), "anyio's sleep", "step.sleep"),
    "anyio deadline": (
        lambda: _under(anyio.fail_after(1)),
        "anyio's fail_after",
        "step.move_on_after",
    ),
    "exit stack": (
        lambda: _in_stack(asyncio.timeout(1)),
        "asyncio's Timeout.__aenter__",
        "step.move_on_after",
    ),
}


async def _in_scope() -> None:
    with trio.move_on_after(1):
        await asyncio.sleep(0)


async def _under(scope) -> None:
    with scope:
        await asyncio.sleep(0)


async def _in_stack(manager) -> None:
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(manager)
        await asyncio.sleep(0)


async def _in_nursery() -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep, 1)


async def _awaits(future):
    await future


def _other_loops():
    loop = asyncio.new_event_loop()
    loop.close()
    return loop.create_future()


@pytest.mark.parametrize("what", FOREIGN)
async def test_i9_what_a_body_on_asyncio_must_not_wait_for_is_found_and_named(what):
    waits, name, form = FOREIGN[what]

    async def code(step: Step, seen):
        await step.do(doubles, 1)
        try:
            await waits()  # foreign
        except BaseException as error:
            seen.append(type(error))  # the engine unwinds it, and nothing else is raised into it
            raise

    reason, text = await blocked(code)
    assert reason == "foreign_wait"
    assert f"the body of flow/f waits for {name}" in text
    assert form in text
    if what in (
        "asyncio.sleep",
        "timeout",
        "thread",
        "connection",
        "event",
        "queue",
        "trio",
        "trio event",
    ):
        assert f" at {line_of(__file__, 'foreign')}" in text
    assert "contextlib" not in text
    # Either the engine unwinds it and raises nothing else, or trio has refused.
    assert lives == [[RuntimeError if what.startswith("trio") else asyncio.CancelledError]]


async def test_i9_trio_in_a_body_on_asyncio_hurts_no_other_body():
    async def uses_trio(step: Step, seen):
        async def one():
            with trio.CancelScope() as scope:
                scope.cancel()
                await step.wait_for_event("never", name="a")

        async def other():
            with trio.move_on_after(0):
                await step.wait_for_event("never", name="b")

        with suppress(RuntimeError):
            await one()
        await step.gather(one(), other())

    async def code(step: Step, seen):
        return await step.do(doubles, 1)

    async with open_test_engine(workflows=[flow(uses_trio), flow(code, "other")]) as engine:
        instance = await engine.create("flow")
        await instance.wait_for_status("blocked")
        assert await engine.call("other") == 2


async def test_i9_what_sets_an_event_of_a_body_from_outside_is_found():
    events: list[asyncio.Event] = []

    async def sets() -> None:
        events[-1].set()

    async def code(step: Step, seen):
        events.append(asyncio.Event())

        async def waits():
            await events[-1].wait()

        await asyncio.gather(waits(), step.do(sets), step.wait_for_event("never"))

    reason, text = await blocked(code)
    assert reason == "foreign_wait"
    assert "asyncio's Event.wait" in text


@pytest.mark.parametrize("where", ["thread", "asyncio"])
async def test_i9_a_step_in_another_thread_that_sets_an_event_of_a_body_is_told_and_the_body_found(
    where,
):
    async def code(step: Step, seen):
        event = asyncio.Event()

        def sets() -> None:
            try:
                event.set()
            except RuntimeError as error:
                ran.append(str(error))

        async def sets_on_asyncio() -> None:
            sets()

        async def waits() -> None:
            await event.wait()
            seen.append("went on")

        run = step.do(sets) if where == "thread" else step.do(sets_on_asyncio, runtime="asyncio")
        await step.gather(waits(), run, step.wait_for_event("never"))

    reason, text = await blocked(code)
    assert reason == "foreign_wait"
    assert "waits for asyncio's Event.wait" in text
    assert lives == [[]]
    assert ran[0].startswith(
        "asyncio's call_soon was called from another thread, for the body of "
        "flow/f, which takes nothing from there"
    )


async def test_i9_a_thread_that_calls_into_a_body_is_refused():
    errors: list[str] = []

    async def code(step: Step, seen):
        loop = asyncio.get_running_loop()

        def calls() -> None:
            try:
                loop.call_soon_threadsafe(seen.append, 1)
            except RuntimeError as error:
                errors.append(str(error))

        thread = threading.Thread(target=calls)
        thread.start()
        thread.join()
        await step.wait_for_event("never")

    reason, _ = await blocked(code)
    assert reason == "foreign_wait"
    assert len(errors) == 1
    assert errors[0].startswith(
        "asyncio's call_soon_threadsafe was called from another thread, for the body of flow/f, "
        "which takes nothing"
    )


async def test_i5_a_body_on_asyncio_that_differs_from_its_history_is_blocked_with_a_diff():
    name = ["one"]

    async def code(step: Step, seen):
        await step.gather(step.do(doubles, 1, name=name[0]), step.sleep(1))  # differs
        await step.wait_for_event("go")

    async with open_test_engine(workflows=[flow(code)]) as engine:
        instance = await engine.create("flow", id="f")
        await instance.wait_for_status("waiting")
        await engine.crash()
        name[0] = "two"
        await instance.send_event("go")
        await instance.wait_for_status("blocked")
        text = (await instance.status()).error.message
        assert 'recorded do "one" (1st), now do "two" (1st)' in text
        assert "test_asyncio_rules.py:" in text
        name[0] = "one"
        await instance.resume()
        await instance.result()
    assert ran == [1]


async def test_bad_input_to_gather_and_its_like_is_named():
    async def code(step: Step, seen):
        with pytest.raises(
            InvalidConfig,
            match=r"step.gather takes operations and coroutines; argument 1 is <function doubles",
        ):
            step.gather(doubles)
        with pytest.raises(InvalidConfig, match=r"argument 1 is \[1, 2\].*one by one"):
            step.as_completed([1, 2])
        with pytest.raises(
            InvalidConfig, match=r"step\.open_nursery is for bodies on trio.*Use step\.gather"
        ):
            step.open_nursery()
        with pytest.raises(LimitReached, match="100,000"):
            step.gather(*[asyncio.get_running_loop().create_future()] * 100_001)
        with pytest.raises(TypeError, match="a coroutine was expected"):
            asyncio.create_task(5)  # noqa: RUF006
        return "done"

    assert await run(code) == "done"


@workflow
async def on_trio(step: Step) -> None:
    with pytest.raises(
        InvalidConfig,
        match=r'step.gather is for bodies on asyncio \(@workflow\(runtime="asyncio"\)\)',
    ):
        step.gather()
    with pytest.raises(InvalidConfig, match=r"Use step\.open_nursery, step\.map or step\.each"):
        step.as_completed()


async def test_gather_and_as_completed_say_that_they_are_for_asyncio():
    async with open_test_engine(workflows=[on_trio]) as engine:
        await engine.call(on_trio)


async def test_i7_a_gather_that_is_not_awaited_is_an_error():
    async def code(step: Step, seen):
        step.gather(step.do(doubles, 1))

    with pytest.raises(InstanceErrored, match="was never awaited"):
        await run(code)


# Tasks that nobody but asyncio made, and what a body may not do with its loop.


async def test_a_task_that_is_made_by_hand_is_one_of_the_bodys_like_any_other():
    async def code(step: Step, seen):
        async def part(x: int) -> int:
            return await step.do(doubles, x, key=str(x))

        loop = asyncio.get_running_loop()
        tasks = [asyncio.Task(part(x), loop=loop) for x in (1, 2)]
        seen += [await task for task in tasks]
        seen.append(await asyncio.Task(_both(step, part), loop=loop))
        return seen[-1]

    async def _both(step: Step, part) -> list[int]:
        return await step.gather(part(3), step.do(doubles, 4))

    assert await replayed(code) == [6, 8]


async def test_i3_two_tasks_that_are_made_by_hand_race_as_others_do():
    async def code(step: Step, seen):
        async def part() -> int:
            return await step.do(doubles, 1)

        await asyncio.wait(
            [asyncio.Task(part(), loop=asyncio.get_running_loop()) for _ in range(2)]
        )

    reason, text = await blocked(code)
    assert reason == "race"
    assert "key=" in text


async def test_a_task_that_is_made_by_hand_is_cancelled_at_the_end_and_named(caplog):
    async def code(step: Step, seen):
        async def left():
            try:
                await asyncio.Event().wait()
            finally:
                seen.append("cleaned")

        task = asyncio.Task(left(), loop=asyncio.get_running_loop(), name="lefty")
        await step.sleep(1)
        return task.get_name()

    assert await run(code) == "lefty"
    assert lives == [["cleaned"]]
    assert (
        "flow/f has ended while tasks of it were running (1: lefty at test_asyncio_rules.py:"
    ) in caplog.text


async def test_i9_a_task_that_is_made_by_hand_and_waits_for_another_loop_blocks():
    async def code(step: Step, seen):
        task = asyncio.Task(_awaits(_other_loops()), loop=asyncio.get_running_loop())
        await asyncio.wait([task])
        return "went on"

    reason, text = await blocked(code)
    assert reason == "foreign_wait"
    assert "waits for something of another loop at test_asyncio_rules.py:" in text


def _runs(make) -> None:
    coroutine = asyncio.sleep(0)
    try:
        make(coroutine)
    finally:
        coroutine.close()


def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


NOT_OURS = {
    "asyncio.run": (lambda: _runs(asyncio.run), "asyncio's run", "`await` in the body"),
    "Runner.run": (lambda: _runs(_with_runner), "asyncio's Runner.run", "`await` in the body"),
    "run_until_complete": (
        lambda: _runs(_loop().run_until_complete),
        "asyncio's run_until_complete",
        "`await` in the body",
    ),
    "of another loop": (
        lambda: _runs(_on_other_loop),
        "asyncio's BaseEventLoop.",
        "`await` in the body",
    ),
    "run_forever": (lambda: _loop().run_forever(), "asyncio's run_forever", "`await` in the body"),
    "stop": (lambda: _loop().stop(), "asyncio's stop", "Return from the body"),
    "close": (lambda: _loop().close(), "asyncio's close", "Return from the body"),
    "set_task_factory": (
        lambda: _loop().set_task_factory(None),
        "asyncio's set_task_factory",
        "asyncio.create_task",
    ),
    "set_exception_handler": (
        lambda: _loop().set_exception_handler(None),
        "asyncio's set_exception_handler",
        "catch it there",
    ),
    "set_default_executor": (
        lambda: _loop().set_default_executor(None),
        "asyncio's set_default_executor",
        "step.do",
    ),  # type: ignore[arg-type]
}


def _with_runner(coroutine) -> None:
    runner = asyncio.Runner()
    try:
        runner.run(coroutine)
    finally:
        runner.get_loop().close()


def _on_other_loop(coroutine) -> None:
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(coroutine)
    finally:
        loop.close()


@pytest.mark.parametrize("what", NOT_OURS)
async def test_i9_what_a_body_may_not_do_with_its_loop_blocks_with_a_sentence(what):
    does, name, cure = NOT_OURS[what]

    async def code(step: Step, seen):
        await step.do(doubles, 1)
        does()
        await step.do(doubles, 2)

    reason, text = await blocked(code)
    assert reason == "foreign_wait"
    assert (
        f"the body of flow/f calls {name}"
    ) in text or f"the body of flow/f waits for {name}" in text
    assert "test_asyncio_rules.py:" in text
    assert cure in text
    assert ran == [1]


async def test_a_body_may_ask_its_loop_for_its_handlers():
    async def code(step: Step, seen):
        return [_loop().get_task_factory(), _loop().get_exception_handler(), _loop().get_debug()]

    assert await run(code) == [None, None, False]


async def test_r9_system_exit_in_a_callback_of_a_body_is_told_and_goes_no_further(caplog):
    async def code(step: Step, seen):
        _loop().call_soon(sys.exit, 3)
        return await step.do(doubles, 1)

    assert await run(code) == 2
    assert "flow/f: a callback raised SystemExit" in caplog.text
