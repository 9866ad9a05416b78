"""`stepwell.aio`: the engine in an asyncio program."""

import asyncio
import contextvars
import inspect
import itertools
import subprocess
import sys
import threading
import warnings

import pytest
import trio

import stepwell
from stepwell import (
    EngineClosed,
    InvalidState,
    Status,
    Step,
    StoreLocked,
    aio,
    current_step,
    sync,
    workflow,
)

colour: contextvars.ContextVar[str] = contextvars.ContextVar("colour", default="none")
loops: list[asyncio.AbstractEventLoop] = []


@pytest.fixture(autouse=True)
def _fresh():
    loops.clear()


async def where(x: int) -> str:
    await asyncio.sleep(0)
    loops.append(asyncio.get_running_loop())
    return f"{x} {colour.get()}"


@workflow
async def asks(step: Step, x: int) -> str:
    return await step.do(where, x)


@workflow
async def waits(step: Step) -> str:
    return (await step.wait_for_event("go")).type


@workflow
async def hangs(step: Step) -> None:
    await step.do(for_ever)


async def for_ever() -> None:
    loops.append(asyncio.get_running_loop())
    await asyncio.Event().wait()


def threads() -> list[str]:
    return [it.name for it in threading.enumerate() if it.name in ("stepwell", "stepwell asyncio")]


async def until(holds) -> None:
    """Waits for another thread."""
    async with asyncio.timeout(30):
        while not holds():
            await asyncio.sleep(0.001)


def test_steps_run_on_the_loop_that_entered_the_engine_and_calls_are_answered_there():
    async def main() -> None:
        async with aio.Engine(":memory:", workflows=[asks]) as engine:
            assert threads() == ["stepwell"]
            assert await engine.call(asks, 3, id="a") == "3 none"
            assert loops == [asyncio.get_running_loop()]
            instance = await engine.get(asks, "a")
            assert type(instance) is aio.Instance
            assert (instance.id, instance.workflow, (await instance.status()).status) == (
                "a",
                "asks",
                Status.COMPLETE,
            )
            assert engine.statistics().records == 1
            assert (await engine.list(asks)).items[0].id == "a"
            batch = await engine.create_batch(asks, range(20))
            assert [await it.result() for it in batch.created] == [f"{i} none" for i in range(20)]

    asyncio.run(main())
    assert threads() == []


def test_many_requests_at_once_and_namespaces_and_approvals():
    async def main() -> None:
        async with aio.Engine(":memory:", workflows=[asks, waits]) as engine:
            tenant = engine.namespace("acme")
            assert type(tenant) is aio.Namespace
            async with asyncio.TaskGroup() as group:
                ours = [group.create_task(engine.call(asks, i)) for i in range(50)]
                theirs = [group.create_task(tenant.call(asks, -i)) for i in range(50)]
            assert [it.result() for it in ours] == [f"{i} none" for i in range(50)]
            assert [it.result() for it in theirs] == [f"{-i} none" for i in range(50)]
            instance = await tenant.create(waits, id="w")
            assert await instance.wait_for_status("waiting") is Status.WAITING
            assert tenant.peek(waits, "w") is Status.WAITING
            await instance.send_event("go")
            assert await instance.result() == "go"
            assert (await engine.approvals.list()).items == []

    asyncio.run(main())


def test_context_variables_cross_into_the_engine_and_back():
    async def main() -> None:
        colour.set("main's")
        async with aio.Engine(":memory:", workflows=[asks]) as engine:
            assert await engine.call(asks, 1) == "1 main's"
            assert colour.get() == "main's"

    asyncio.run(main())


def test_the_blocks_own_exception_leaves_it_and_the_store_is_closed(tmp_path):
    store = str(tmp_path / "s.db")

    async def fails() -> None:
        async with aio.Engine(store, workflows=[hangs], grace=0) as engine:
            await engine.create(hangs, id="h")
            await until(lambda: loops)
            raise ZeroDivisionError("ours")

    async def again() -> None:
        async with aio.Engine(store, workflows=[hangs], grace=0) as engine:
            assert (await (await engine.get(hangs, "h")).status()).status is Status.RUNNING

    with pytest.raises(ZeroDivisionError, match="ours"):
        asyncio.run(fails())
    asyncio.run(again())
    assert threads() == []


def test_an_engine_that_cannot_open_says_why_in_the_callers_words(tmp_path):
    store = str(tmp_path / "s.db")

    async def main() -> None:
        async with aio.Engine(store, workflows=[]):
            with pytest.raises(StoreLocked, match="use that engine, or leave its block"):
                await aio.Engine(store).__aenter__()
            assert threads() == ["stepwell"]

    asyncio.run(main())


def test_an_engine_that_fails_ends_the_block_with_its_failure():
    class Bug(Exception):
        pass

    async def main() -> None:
        async with aio.Engine(":memory:", workflows=[asks]) as engine:
            driver = engine._inner._driver
            engine._gate.token.run_sync_soon(driver.stop, Bug("stop"))
            await asyncio.Event().wait()

    async def around() -> int:
        with pytest.raises(Bug, match="stop"):
            await main()
        task = asyncio.current_task()
        assert task is not None
        return task.cancelling()

    assert asyncio.run(around()) == 0
    assert threads() == []


def test_the_engine_for_trio_in_an_asyncio_program_names_the_right_one():
    async def main() -> None:
        engine = stepwell.Engine(":memory:")
        with pytest.raises(InvalidState, match=r"in an asyncio program use stepwell\.aio\.Engine"):
            await engine.__aenter__()

    asyncio.run(main())


def test_a_closed_engine_says_so():
    async def main() -> None:
        engine = aio.Engine(":memory:", workflows=[asks])
        with pytest.raises(EngineClosed):
            await engine.create(asks, 1)
        async with engine:
            instance = await engine.create(asks, 1)
        for call in (engine.create(asks, 1), instance.status()):
            with pytest.raises(EngineClosed):
                await call
        with pytest.raises(EngineClosed):
            engine.statistics()
        with pytest.raises(EngineClosed, match="opens once"):
            await engine.__aenter__()

    asyncio.run(main())
    assert threads() == []


def test_a_step_gets_an_engine_that_fits_it():
    @workflow
    async def looks(step: Step) -> list[str]:
        seen = [
            await step.do(from_asyncio),
            await step.do(from_trio, runtime="trio"),
            await step.do(from_thread),
        ]
        return [
            *seen,
            await step.do(lambda: from_asyncio(), name="a plain function that returns a coroutine"),
        ]

    async def from_asyncio() -> str:
        engine = current_step().engine
        return f"{type(engine).__module__} {len((await engine.list()).items)}"

    async def from_trio() -> str:
        engine = current_step().engine
        return f"{type(engine).__module__} {len((await engine.list()).items)}"

    def from_thread() -> str:
        engine = current_step().engine
        return f"{type(engine).__module__} {len(engine.list().items)}"

    async def main() -> None:
        async with aio.Engine(":memory:", workflows=[looks]) as engine:
            assert await engine.call(looks) == [
                "stepwell.aio 1",
                "stepwell._engine.engine 1",
                "stepwell.sync 1",
                "stepwell.aio 1",
            ]

    asyncio.run(main())


def test_an_engine_that_is_open_cannot_be_entered_again_and_goes_on():
    async def main() -> None:
        async with aio.Engine(":memory:", workflows=[asks]) as engine:
            with pytest.raises(EngineClosed, match="opens once"):
                await engine.__aenter__()
            assert await engine.call(asks, 1) == "1 none"
        with pytest.raises(EngineClosed, match="was not opened"):
            await aio.Engine(":memory:").__aexit__(None, None, None)

    asyncio.run(main())
    assert threads() == []


def test_a_body_that_is_blocked_while_its_step_saves_takes_nobody_along():
    @workflow
    async def races(step: Step) -> None:
        async with step.open_nursery() as nursery:
            nursery.start_soon(keeps_saving, step)
            await step.do(told.wait, name="begins", runtime="trio")
            # the same step twice in one branch and turn: the instance is blocked (I3)
            async with trio.open_nursery() as two:
                two.start_soon(same, step)
                two.start_soon(same, step)

    async def keeps_saving(step: Step) -> None:
        await step.do(saves)

    async def saves() -> None:
        for number in itertools.count():
            await current_step().save(number)
            engines[0]._gate.token.run_sync_soon(told.set)

    async def same(step: Step) -> None:
        await step.do(trio.lowlevel.checkpoint, name="same", runtime="trio")

    engines: list[aio.Engine] = []
    told = trio.Event()

    async def main() -> None:
        async with aio.Engine(":memory:", workflows=[races, asks], grace=0) as engine:
            engines.append(engine)
            instance = await engine.create(races)
            assert await instance.wait_for_status("blocked") is Status.BLOCKED
            assert await engine.call(asks, 1) == "1 none"

    asyncio.run(main())


def test_calls_from_bodies_are_refused_as_ever():
    engines: list[aio.Engine] = []

    @workflow
    async def strays(step: Step) -> str:
        try:
            await engines[0].create(asks, 1)
        except InvalidState as error:
            return str(error)
        raise AssertionError

    async def main() -> None:
        async with aio.Engine(":memory:", workflows=[strays, asks]) as engine:
            engines.append(engine)
            assert "step.create" in await engine.call(strays)

    asyncio.run(main())


def test_it_works_on_other_loops_in_other_threads_at_the_same_time():
    async def main() -> None:
        async with aio.Engine(":memory:", workflows=[asks]) as engine:

            async def elsewhere() -> str:
                return await engine.call(asks, 9)

            assert await asyncio.to_thread(lambda: asyncio.run(elsewhere())) == "9 none"
            assert loops == [asyncio.get_running_loop()]

    asyncio.run(main())


def test_a_loop_that_is_closed_under_the_engine_stops_it_and_loses_nothing(tmp_path):
    """As in a notebook whose cell opened an engine by hand."""
    store = str(tmp_path / "s.db")
    engine = aio.Engine(store, workflows=[waits, asks, after], grace=0)

    async def opens() -> aio.Instance[str]:
        await engine.__aenter__()
        instance = await engine.create(after, id="x")
        await instance.wait_for_status("waiting")
        return instance

    loop = asyncio.new_event_loop()
    instance = loop.run_until_complete(opens())
    loop.close()

    async def goes_on() -> None:
        waiting = asyncio.create_task(instance.wait_for_status("complete"))
        await asyncio.sleep(0)
        await instance.send_event("go")  # its step cannot run any more
        with pytest.raises(EngineClosed):
            async with asyncio.timeout(30):
                await waiting  # told at once, though nobody calls again or leaves the block
        with pytest.raises(
            EngineClosed, match="the asyncio loop that opened the engine was closed"
        ):
            await engine.__aexit__(None, None, None)

    async def later() -> None:
        async with aio.Engine(store, workflows=[after]) as again:
            assert await (await again.get(after, "x")).result() == "7 none"

    asyncio.run(goes_on())
    asyncio.run(later())
    assert threads() == []


@workflow
async def after(step: Step) -> str:
    await step.wait_for_event("go")
    return await step.do(where, 7)


class Ticker:
    """An async iterator that is its own context manager, as a watch is: what it gives is fronted
    too."""

    def __init__(self, instance: stepwell.Instance[str]) -> None:
        self.instance = instance
        self.left = 3
        self.tasks: list[trio.lowlevel.Task] = []
        self.how: type[BaseException] | None = None

    async def __aenter__(self) -> "Ticker.Ticks":
        self.tasks.append(trio.lowlevel.current_task())
        return self.Ticks(self)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: object
    ) -> bool:
        self.tasks.append(trio.lowlevel.current_task())
        self.how = kind
        return kind is ZeroDivisionError

    class Ticks:
        def __init__(self, of: "Ticker") -> None:
            self.of = of

        def __aiter__(self) -> "Ticker.Ticks":
            return self

        async def __anext__(self) -> stepwell.Instance[str]:
            await trio.lowlevel.checkpoint()
            if not self.of.left:
                raise StopAsyncIteration
            self.of.left -= 1
            return self.of.instance


def test_context_managers_and_iterators_of_the_engine_are_asyncios():
    async def main() -> None:
        async with aio.Engine(":memory:", workflows=[waits]) as engine:
            ticker = Ticker((await engine.create(waits))._inner)
            async with engine._gate.wrap(ticker) as ticks:
                seen = [type(it) async for it in ticks]
            assert seen == [aio.Instance] * 3
            assert ticker.tasks[0] is ticker.tasks[1]
            async with engine._gate.wrap(ticker):
                raise ZeroDivisionError
            assert ticker.how is ZeroDivisionError

    asyncio.run(main())


def test_context_managers_and_iterators_of_the_engine_are_plain_ones_in_a_blocking_program():
    with sync.Engine(":memory:", workflows=[waits]) as engine:
        ticker = Ticker(engine.create(waits)._inner)
        with engine._gate.wrap(ticker) as ticks:
            assert [type(it) for it in ticks] == [sync.Instance] * 3
        assert ticker.tasks[0] is ticker.tasks[1]
        with engine._gate.wrap(ticker):
            raise ZeroDivisionError
        assert ticker.how is ZeroDivisionError


def python(code: str, *, signal_after: str | None = None) -> subprocess.CompletedProcess[str]:
    """Runs a program of its own; with `signal_after`, Ctrl-C strikes when it has printed that."""
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    out = ""
    if signal_after is not None:
        assert process.stdout is not None
        while signal_after not in out:
            line = process.stdout.readline()
            assert line, "it ended before that"
            out += line
        process.send_signal(2)
    try:
        more, err = process.communicate(timeout=60)
    finally:
        process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, out + more, err)


PROGRAM = """
import asyncio, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # it may be inherited as ignored
from stepwell import aio, sync, workflow
@workflow
async def slow(step):
    await step.do(sleeps)
async def sleeps():
    print("began", flush=True)
    await asyncio.sleep(1000)
"""


def test_ctrl_c_ends_the_program_and_drains_the_engine(tmp_path):
    store = str(tmp_path / "s.db")
    code = (
        PROGRAM
        + f"""
async def main():
    async with aio.Engine({store!r}, workflows=[slow], grace=0) as engine:
        await engine.call(slow, id="x")
asyncio.run(main())
"""
    )
    done = python(code, signal_after="began")
    assert done.returncode != 0
    assert "KeyboardInterrupt" in done.stderr
    again = (
        PROGRAM
        + f"""
with sync.Engine({store!r}, workflows=[slow], grace=0, default_runtime="asyncio") as engine:
    print(engine.get(slow, "x").wait_for_status("running"))
"""
    )
    assert "running" in python(again).stdout  # nothing was recorded, and it goes on


@pytest.mark.parametrize("how", ["", "raise ValueError('ours')", "sys.exit(3)"])
def test_an_interpreter_that_ends_with_the_engine_open_closes_it(tmp_path, how):
    code = (
        PROGRAM
        + f"""
async def main():
    engine = await aio.Engine({str(tmp_path / "s.db")!r}, workflows=[slow]).__aenter__()
    await engine.create(slow, id="x")
    await asyncio.sleep(0.1)
    {how}
asyncio.run(main())
"""
    )
    done = python(code)
    again = (
        PROGRAM
        + f"""
store = {str(tmp_path / "s.db")!r}
with sync.Engine(store, workflows=[slow], default_runtime="asyncio", grace=0) as engine:
    instance = engine.get(slow, "x")
    instance.wait_for_status("running")
    print([it.status for it in instance.history() if it.status != "running"])
"""
    )
    assert "[]" in python(again).stdout  # nothing of the attempt was recorded
    assert done.returncode == {"": 0, "raise ValueError('ours')": 1, "sys.exit(3)": 3}[how]
    assert ("ValueError: ours" in done.stderr) is ("ours" in how)


def test_every_public_method_is_there_and_has_the_same_signature():
    for name in ("Engine", "Namespace", "Instance"):
        ours, theirs = getattr(aio, name), getattr(stepwell, name)
        public = {it for it in dir(theirs) if not it.startswith("_")}
        assert public <= set(dir(ours))
        for it in public:
            method = inspect.getattr_static(theirs, it)
            if inspect.isfunction(method):
                assert inspect.signature(getattr(ours, it)) == inspect.signature(method)
                assert inspect.iscoroutinefunction(
                    getattr(ours, it)
                ) is inspect.iscoroutinefunction(method)
                assert getattr(ours, it).__doc__ == method.__doc__
    assert set(aio.__all__) == set(stepwell.__all__) - {"run"}


def test_nothing_is_left_for_the_collector_to_complain_about():
    async def main() -> None:
        async with aio.Engine(":memory:", workflows=[waits]) as engine:
            instance = await engine.create(waits)
            task = asyncio.create_task(instance.result())
            await asyncio.sleep(0)
            task.cancel()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asyncio.run(main(), debug=True)
