"""Async step functions that run on asyncio: `runtime="asyncio"`, or the engine's
`default_runtime`."""

import asyncio
import contextvars
import functools
import gc
import subprocess
import sys
import threading
import weakref
from typing import Any

import pytest
import trio
import trio.testing

from stepwell import (
    Engine,
    InvalidConfig,
    Retry,
    Status,
    Step,
    StepFailed,
    StepTimeout,
    current_step,
    step_options,
    workflow,
)
from stepwell.testing import open_test_engine

NEVER = Retry.never
seen: list[object] = []
colour: contextvars.ContextVar[str] = contextvars.ContextVar("colour", default="none")


@pytest.fixture(autouse=True)
def _fresh():
    seen.clear()


def flow(code):
    """Returns a workflow with this body."""

    @workflow(name="flow")
    async def made(step: Step) -> object:
        return await code(step)

    return made


async def run(code, **options) -> object:
    async with open_test_engine(workflows=[flow(code)], **options) as engine:
        return await engine.call("flow", id="f")


async def doubles(x: int) -> int:
    await asyncio.sleep(0)
    assert asyncio.current_task() is not None
    return 2 * x


@step_options(runtime="asyncio", retry=NEVER)
async def on_asyncio() -> str:
    return type(asyncio.get_running_loop()).__module__.partition(".")[0]


async def test_a_step_runs_on_asyncio_if_the_call_the_function_or_the_engine_says_so():
    assert await run(lambda step: step.do(doubles, 4, runtime="asyncio")) == 8
    assert await run(lambda step: step.do(on_asyncio)) in ("asyncio", "uvloop")
    assert await run(lambda step: step.do(doubles, 4), default_runtime="asyncio") == 8
    assert await run(lambda step: step.map(doubles, range(50)), default_runtime="asyncio") == [
        2 * i for i in range(50)
    ]


async def nap() -> str:
    await trio.sleep(0)
    return "napped"


async def test_in_an_engine_for_asyncio_a_step_may_say_trio():
    async def both(step):
        return [
            await step.do(nap, runtime="trio"),
            await step.do(doubles, 1),
            await step.do(nap, runtime="trio"),
        ]

    assert await run(both, default_runtime="asyncio") == ["napped", 2, "napped"]


async def never_waits(i: int) -> str:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return "trio"
    return "asyncio"


async def test_a_function_that_was_seen_never_to_wait_on_trio_still_runs_on_asyncio_elsewhere():
    async def thrice(step):
        return [await step.do(never_waits, i) for i in range(3)]

    assert await run(thrice) == ["trio"] * 3
    assert await run(thrice, default_runtime="asyncio") == ["asyncio"] * 3
    assert await run(thrice) == ["trio"] * 3


async def test_a_plain_function_that_returns_a_coroutine_has_it_run_where_async_ones_do():
    assert (
        await run(lambda step: step.do(lambda: doubles(21), name="d"), default_runtime="asyncio")
        == 42
    )


async def test_context_variables_of_the_body_are_seen_and_what_a_step_sets_stays_in_it():
    async def reads() -> str:
        before = colour.get()
        colour.set("step's")
        await asyncio.sleep(0)
        return before + "|" + colour.get()

    async def code(step):
        colour.set("body's")
        return [await step.do(reads, runtime="asyncio"), colour.get()]

    assert await run(code) == ["body's|step's", "body's"]


async def test_current_step_works_with_all_it_offers():
    async def saves() -> str:
        me = current_step()
        seen.append((me.name, me.attempt, me.saved))
        me.heartbeat()
        me.report(0.5, "half")
        if me.attempt == 1:
            await me.save({"at": 7})
            raise ValueError("again")
        engine = me.engine
        return f"{type(engine).__module__} {(await engine.count())[Status.RUNNING]}"

    async def code(step):
        return await step.do(saves, runtime="asyncio", retry=Retry(limit=1, delay=1))

    assert await run(code) == "stepwell.aio 1"
    assert seen == [("saves", 1, None), ("saves", 2, {"at": 7})]


async def test_a_failure_is_recorded_with_its_class_and_retried():
    async def fails() -> None:
        seen.append(current_step().attempt)
        await asyncio.sleep(0)
        raise LookupError("gone")

    async def code(step):
        try:
            await step.do(fails, runtime="asyncio", retry=Retry(limit=2, delay=1))
        except LookupError as error:
            return [type(error).__mro__[1].__name__, str(error), isinstance(error, StepFailed)]

    assert await run(code) == [
        "StepFailed",
        'step "fails" failed after 3 attempts: LookupError: gone',
        True,
    ]
    assert seen == [1, 2, 3]


async def stuck() -> None:
    seen.append("began")
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        seen.append("cancelled")
        raise


async def test_r1_an_attempt_that_takes_too_long_is_cancelled():
    async def code(step):
        try:
            await step.do(stuck, runtime="asyncio", timeout="5 seconds", retry=NEVER)
        except StepTimeout as error:
            return str(error)

    async with open_test_engine(workflows=[flow(code)], autojump=False) as engine:
        instance = await engine.create("flow")
        await until(lambda: seen == ["began"])
        pass_time(engine, 6)
        assert "took longer than its timeout of 5 s" in await instance.result()
    assert seen == ["began", "cancelled"]


def pass_time(engine, seconds: int) -> None:
    """Moves the core's clock: the test engine's own waits for attempts that run."""
    core = engine._driver.core
    core.advance(core.now() + seconds * 1_000_000)


async def until(holds) -> None:
    """Waits for another thread."""
    with trio.fail_after(30):
        while not holds():
            await trio.sleep(0.001)


async def test_i8_a_failing_sibling_cancels_it_and_the_branch_ends_after_it():
    began = threading.Event()

    async def slow() -> str:
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            seen.append("cleaned up")
            raise
        return ""

    def fails() -> None:
        assert began.wait(30)
        raise ValueError("sibling")

    async def code(step):
        try:
            async with step.open_nursery() as nursery:
                nursery.start_soon(functools.partial(step.do, slow, runtime="asyncio"))
                await step.do(fails, retry=NEVER)
        except* ValueError:
            pass
        return "over"

    async with open_test_engine(workflows=[flow(code)]) as engine:
        assert await engine.call("flow") == "over"
        await until(lambda: seen == ["cleaned up"])


async def test_p1_a_task_that_swallows_its_cancellation_is_waited_for():
    let_go = asyncio.Event()
    loop: list[asyncio.AbstractEventLoop] = []

    async def swallows() -> str:
        loop.append(asyncio.get_running_loop())
        for _ in range(3):
            try:
                await let_go.wait()
            except asyncio.CancelledError:
                seen.append("swallowed")
        return "late"

    async def code(step):
        try:
            return await step.do(swallows, runtime="asyncio", timeout="1 second", retry=NEVER)
        except StepTimeout:
            return "timed out"

    async with open_test_engine(workflows=[flow(code)], autojump=False) as engine:
        instance = await engine.create("flow")
        await until(lambda: len(loop) == 1)
        pass_time(engine, 2)
        await until(lambda: seen == ["swallowed"])
        assert (await instance.status()).status is Status.RUNNING
        loop[0].call_soon_threadsafe(let_go.set)
        assert await instance.result() == "late"


async def test_r9_what_asyncio_cancels_by_itself_is_a_failure_that_is_not_tried_again():
    async def gives_up() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    async def code(step):
        try:
            await step.do(gives_up, runtime="asyncio", retry=Retry(limit=1, delay=1))
        except StepFailed as error:
            return [error.type, error.attempts, error.message]

    text = 'step "gives_up" was cancelled by asyncio code of its own, not by the engine'
    assert await run(code) == ["asyncio.exceptions.CancelledError", 1, text]


async def test_a_crash_in_the_middle_cancels_it_and_the_next_life_runs_it_again():
    began = threading.Event()

    async def slow() -> str:
        seen.append("began")
        began.set()
        if len(seen) == 1:
            await asyncio.Event().wait()
        return "done"

    async with open_test_engine(
        workflows=[flow(lambda step: step.do(slow, runtime="asyncio"))]
    ) as engine:
        instance = await engine.create("flow")
        await until(began.is_set)
        await engine.crash()
        assert await instance.result() == "done"
    assert seen == ["began", "began"]


async def test_asyncio_code_on_trio_and_trio_code_on_asyncio_are_named_with_a_cure():
    async def code(step):
        texts = []
        for fn, runtime in ((doubles, "trio"), (nap, "asyncio")):
            args = (1,) if fn is doubles else ()
            try:
                await step.do(fn, *args, runtime=runtime, retry=NEVER)
            except StepFailed as error:
                texts.append(error.message)
        return texts

    assert await run(code) == [
        'step "doubles" ran asyncio code on trio. Pass runtime="asyncio".',
        'step "nap" ran trio code on asyncio. Pass runtime="trio".',
    ]


async def test_a_runtime_that_is_none_is_refused():
    with pytest.raises(
        InvalidConfig, match=r"runtime is 'threads'; give \"trio\" or \"asyncio\", or None"
    ):
        step_options(runtime="threads")
    with pytest.raises(InvalidConfig, match=r"default_runtime is 'threads'; give"):
        Engine(":memory:", default_runtime="threads")
    text = await run(lambda step: refused(step))
    assert text == (
        'runtime is \'x\'; give "trio" or "asyncio", or None for the engine\'s default_runtime.'
    )


async def refused(step: Step) -> str:
    try:
        await step.do(doubles, 1, runtime="x")
    except InvalidConfig as error:
        return str(error)
    raise AssertionError


async def test_the_engines_own_loop_and_what_runs_on_it_end_with_the_engine():
    async def leaves_a_task() -> None:
        async def behind() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                seen.append("ended")

        seen.append(asyncio.create_task(behind()))
        await asyncio.sleep(0)

    await run(lambda step: step.do(leaves_a_task, runtime="asyncio"))
    assert seen[1:] == ["ended"]
    assert not [it for it in threading.enumerate() if it.name == "stepwell asyncio"]


async def test_an_attempt_on_asyncio_is_freed_at_once():
    async with open_test_engine(
        workflows=[flow(lambda step: step.map(doubles, range(20), runtime="asyncio"))]
    ) as engine:
        gc.collect()
        gc.disable()
        try:
            await engine.call("flow")
            left = [it for it in gc.get_objects() if type(it).__name__ == "Visit"]
        finally:
            gc.enable()
    assert left == []


def test_w11_asyncio_is_imported_by_those_who_need_it_only():
    code = "import sys, stepwell; print('asyncio' in sys.modules)"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        == "False\n"
    )


# Steps that never wait share asyncio tasks, one after another; a step that waits has one of its
# own.


@step_options(runtime="asyncio", retry=NEVER)
async def at_once(n: int) -> int:
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()
    seen.append((n, colour.get(), task))
    colour.set(str(n))
    if n % 7 == 3:
        raise LookupError(str(n))
    if n % 7 == 5:
        async with asyncio.timeout(60):  # it has a task to cancel, which needs not wait
            pass
    if n % 7 == 6:
        before = task
        await asyncio.sleep(0)
        assert asyncio.current_task() is before
        assert colour.get() == str(n)
    return n


async def test_steps_that_wait_and_steps_that_do_not_have_a_task_and_a_context_each():
    async def code(step: Step) -> object:
        got = await step.map(at_once, range(300), concurrency=300, on_error="collect")
        return [f"failed {n}" if isinstance(it, StepFailed) else it for n, it in enumerate(got)]

    assert await run(code) == [f"failed {n}" if n % 7 == 3 else n for n in range(300)]
    assert sorted(n for n, *_ in seen) == list(range(300))
    assert {it[1] for it in seen} == {"none"}
    waiting = [task for n, _, task in seen if n % 7 == 6]
    assert len(set(waiting)) == len(waiting)


async def sets_and_fails_once() -> str:
    value = colour.get()
    colour.set("lost")
    if current_step().attempt == 1:
        raise LookupError
    return value


async def test_i12_an_attempt_on_asyncio_sees_nothing_that_the_one_before_it_set():
    retry = Retry(limit=1, delay=1)
    assert (
        await run(lambda step: step.do(sets_and_fails_once, runtime="asyncio", retry=retry))
        == "none"
    )
    assert (
        await run(
            lambda step: step.map(
                lambda _: sets_and_fails_once(), [1, 2], name="m", runtime="asyncio", retry=retry
            )
        )
        == ["none"] * 2
    )


@step_options(runtime="asyncio", retry=NEVER)
async def cancels_itself(n: int) -> int:
    asyncio.current_task().cancel()
    if n % 2:
        await asyncio.sleep(0)
    return n


async def test_a_step_that_cancels_its_task_strikes_no_other_step():
    async def code(step: Step) -> object:
        strays = await step.map(cancels_itself, range(4), on_error="collect")
        return [str(it) for it in strays], await step.map(at_once, [0, 1, 2])

    strays, others = await run(code)
    assert all("was cancelled by asyncio code of its own" in it for it in strays)
    assert others == [0, 1, 2]


async def test_r6_a_call_on_asyncio_that_does_not_fit_the_signature_ends_the_step_at_once():
    async def code(step: Step) -> object:
        await step.do(doubles, 1, 2, 3, runtime="asyncio")

    async with open_test_engine(workflows=[flow(code)]) as engine:
        instance = await engine.create("flow")
        with pytest.raises(Exception, match="positional argument"):
            await instance.result()
        assert [it.attempt for it in await instance.history()] == [1]


async def test_i8_an_asyncio_step_that_was_given_up_keeps_its_slot_until_its_task_has_ended():
    token, told = trio.lowlevel.current_trio_token(), [trio.Event(), trio.Event()]
    let_go: list[object] = []

    async def stubborn() -> None:
        loop, gate = asyncio.get_running_loop(), asyncio.Event()
        let_go.append(lambda: loop.call_soon_threadsafe(gate.set))
        token.run_sync_soon(told[0].set)
        while not gate.is_set():
            try:
                await gate.wait()
            except asyncio.CancelledError:
                token.run_sync_soon(told[1].set)

    async def code(step: Step) -> str:
        async with step.open_nursery() as nursery:
            nursery.start_soon(lambda: step.do(stubborn, runtime="asyncio"))
            await step.wait_for_event("enough")
            nursery.cancel_scope.cancel()
        return "moved on"

    async with open_test_engine(workflows=[flow(code)]) as engine:
        instance = await engine.create("flow")
        await told[0].wait()
        await instance.send_event("enough")
        await told[1].wait()
        await trio.testing.wait_all_tasks_blocked()
        assert (await instance.status()).status is Status.RUNNING
        assert engine.statistics().leased == 1
        let_go[0]()
        assert await instance.result() == "moved on"
        while engine.statistics().leased:
            await trio.lowlevel.checkpoint()


@step_options(runtime="asyncio", retry=NEVER)
async def cancels_all_tasks(n: int) -> int:
    for task in asyncio.all_tasks():
        task.cancel()
    await asyncio.sleep(0)
    return n


async def test_code_that_cancels_every_task_of_its_loop_leaves_no_step_behind():
    async def code(step: Step) -> object:
        got = await step.map(cancels_all_tasks, range(20), on_error="collect")
        return [
            type(it) is int or "was cancelled by asyncio code of its own" in str(it) for it in got
        ]

    assert await run(code) == [True] * 20


async def test_i9_the_end_of_a_step_that_was_given_up_is_nothing_that_its_body_waits_for():
    token, told = trio.lowlevel.current_trio_token(), trio.Event()
    let_go: list[object] = []

    async def stubborn() -> None:
        loop, gate = asyncio.get_running_loop(), asyncio.Event()
        let_go.append(lambda: loop.call_soon_threadsafe(gate.set))
        token.run_sync_soon(told.set)
        while not gate.is_set():
            try:
                await gate.wait()
            except asyncio.CancelledError:
                seen.append("swallowed")

    async def code(step: Step) -> str:
        async with step.open_nursery() as outer:
            outer.start_soon(step.wait_for_event, "end")
            async with step.open_nursery("inner") as nursery:
                nursery.start_soon(lambda: step.do(stubborn, runtime="asyncio"))
                await step.wait_for_event("enough")
                nursery.cancel_scope.cancel()
        return "ended"

    async with open_test_engine(workflows=[flow(code)], autojump=False) as engine:
        instance = await engine.create("flow")
        await told.wait()
        await instance.send_event("enough")
        await until(lambda: seen == ["swallowed"])
        let_go[0]()  # the body is between two turns now
        await until(lambda: engine._driver.borrowed.attempts == 0)
        await instance.send_event("end")
        assert await instance.result() == "ended"


async def test_a_step_that_keeps_its_task_has_one_of_its_own():
    kept: list[asyncio.Task[Any]] = []
    names: dict[asyncio.Task[Any], int] = weakref.WeakKeyDictionary()  # type: ignore[assignment]
    ended: list[int] = []

    async def keeps(n: int) -> int:
        task = asyncio.current_task()
        assert task is not None
        kept.append(task)
        return n

    async def names_it(n: int) -> int:
        task = asyncio.current_task()
        assert task is not None
        assert task not in names
        names[task] = n
        return n

    async def asks(n: int) -> int:
        task = asyncio.current_task()
        assert task is not None
        task.add_done_callback(lambda _: ended.append(n))
        return n

    async def code(step: Step) -> object:
        for fn in (keeps, names_it, asks):
            await step.map(fn, range(4), runtime="asyncio", retry=NEVER)
        await step.map(at_once, [0, 1, 2])
        return len(set(kept))

    assert await run(code) == 4
    assert ended == [0, 1, 2, 3]


@pytest.mark.skipif(
    sys.version_info < (3, 12), reason="a task has no get_context before Python 3.12"
)
async def test_the_context_of_a_steps_task_is_its_own():
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)

    async def sets(n: int) -> int:
        variable.set(n)
        task = asyncio.current_task()
        assert task is not None
        return task.get_context()[variable]  # type: ignore[attr-defined,no-any-return,unused-ignore]

    async def code(step: Step) -> object:
        return await step.map(sets, range(1, 5), runtime="asyncio", retry=NEVER)

    assert await run(code) == [1, 2, 3, 4]
