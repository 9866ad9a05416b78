"""The edges of the ways into and out of a trio loop: what does not start, what has ended, what
stands still."""

import asyncio
import errno
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
import trio

from stepwell import Engine, EngineClosed, Step, aio, sync, workflow
from stepwell._loops import bridge as asyncio_loops
from stepwell._loops.portal import TrioThread, from_asyncio, from_thread
from stepwell.testing import open_test_engine


async def nothing() -> int:
    return 1


@workflow
async def works(step: Step) -> int:
    return await step.do(nothing)


def threads() -> list[str]:
    return [it.name for it in threading.enumerate() if it.name in ("stepwell", "stepwell asyncio")]


class CannotStartError(Exception):
    """What trio is made to fail with."""


def test_a_trio_loop_that_cannot_start_says_so_and_leaves_no_thread(monkeypatch):
    def fails(_):
        raise CannotStartError

    monkeypatch.setattr(trio, "run", fails)

    async def main() -> None:
        engine = aio.Engine(":memory:", workflows=[works])
        with pytest.raises(CannotStartError):
            await engine.__aenter__()

    asyncio.run(main())
    with pytest.raises(CannotStartError), sync.Engine(":memory:", workflows=[works]):
        pass
    assert threads() == []


def test_a_call_that_meets_the_end_of_the_loop_says_that_the_engine_is_closed():
    thread = TrioThread(lambda: None)
    thread.start()
    token = thread.token

    async def main() -> None:
        assert await from_asyncio(token, nothing) == 1
        # These are on their way when the loop ends.
        calls = [asyncio.ensure_future(from_asyncio(token, trio.sleep_forever)) for _ in range(3)]
        await asyncio.sleep(0)
        await asyncio.to_thread(thread.stop)
        for outcome in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(outcome, EngineClosed)
        for _ in range(2):
            with pytest.raises(EngineClosed, match="not open any more"):
                await from_asyncio(token, nothing)

    asyncio.run(main())
    with pytest.raises(EngineClosed, match="not open any more"):
        from_thread(token, nothing)


def test_calls_and_ends_cross_in_any_order_and_every_call_is_answered():
    """Bunches are handed over while others are made: none is left lying."""
    thread = TrioThread(lambda: None)
    thread.start()

    async def returns(n: int) -> int:
        for _ in range(n % 3):
            await trio.lowlevel.checkpoint()
        return n

    async def caller(first: int) -> int:
        total = 0
        for n in range(first, first + 200):
            total += await from_asyncio(thread.token, lambda n=n: returns(n))
            if n % 5 == 0:
                await asyncio.sleep(0)
        return total

    async def main() -> int:
        return sum(await asyncio.gather(*map(caller, range(20))))

    try:
        totals: list[int] = []
        others = [
            threading.Thread(target=lambda: totals.append(asyncio.run(main()))) for _ in range(3)
        ]
        for other in others:
            other.start()
        for other in others:
            other.join()
        assert totals == [sum(sum(range(first, first + 200)) for first in range(20))] * 3
    finally:
        thread.stop()


async def stops_its_loop() -> None:
    asyncio.get_running_loop().stop()


@workflow
async def stops_loops(step: Step) -> int:
    await step.do(stops_its_loop, runtime="asyncio")
    return await step.do(nothing, runtime="asyncio", timeout="10 seconds")


async def test_a_step_that_stops_the_engines_own_asyncio_loop_is_told_of_and_the_loop_goes_on(
    caplog,
):
    async with Engine(":memory:", workflows=[stops_loops]) as engine:
        assert await engine.call(stops_loops) == 1
        assert await engine.call(stops_loops) == 1
    told = [it.getMessage() for it in caplog.records]
    assert (
        told
        == [
            "code of a step stopped the engine's own asyncio loop, on which other steps "
            "run; it goes on"
        ]
        * 2
    )


@workflow
async def needs_a_loop(step: Step) -> int:
    return await step.do(nothing, runtime="asyncio")


@workflow
async def needs_a_loop_twice(step: Step) -> int:
    return sum(await step.map(nothing_of, [1, 2], runtime="asyncio"))


async def nothing_of(n: int) -> int:
    return n


def _no_thread(monkeypatch) -> str:
    started = threading.Thread.start

    def refuses(self):
        if self.name == "stepwell asyncio":
            raise RuntimeError("can't start new thread")
        started(self)

    monkeypatch.setattr(threading.Thread, "start", refuses)
    return "can't start new thread"


def _no_descriptors(monkeypatch) -> str:
    def refuses():
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(asyncio_loops, "_new_loop", refuses)
    monkeypatch.setattr(asyncio, "new_event_loop", refuses)
    return "Too many open files"


@pytest.mark.parametrize("flow", [needs_a_loop, needs_a_loop_twice])
@pytest.mark.parametrize("lacks", [_no_thread, _no_descriptors])
async def test_an_asyncio_loop_that_cannot_be_started_is_no_failure_of_the_step(
    tmp_path, monkeypatch, flow, lacks
):
    store = str(tmp_path / "s.db")
    why = lacks(monkeypatch)
    with pytest.raises(EngineClosed, match=f"own asyncio loop could not be started: .*{why}"):
        async with Engine(store, workflows=[flow]) as engine:
            await engine.call(flow, id="x")
    monkeypatch.undo()
    async with Engine(store, workflows=[flow]) as engine:
        instance = await engine.get(flow, "x")
        assert await instance.result() in (1, 3)
        assert {it.status for it in await instance.history()} == {"done"}


async def test_the_engine_closes_also_where_no_thread_can_be_started_any_more(monkeypatch):
    """As at the end of an interpreter of Python 3.12."""

    async def refuses(*_, **__):
        raise RuntimeError("can't create new thread at interpreter shutdown")

    async with open_test_engine(workflows=[works]) as engine:
        assert await engine.call(works) == 1
        monkeypatch.setattr(trio.to_thread, "run_sync", refuses)
    monkeypatch.undo()
    with pytest.raises(EngineClosed):
        await engine.call(works)


STANDS_STILL = """
import asyncio, sys, threading
from stepwell import aio, workflow, Step

async def slow() -> None:
    print("began", flush=True)
    await asyncio.sleep(3600)

@workflow
async def runs(step: Step) -> None:
    await step.do(slow)

async def opens(engine, begun):
    await engine.__aenter__()
    await engine.create(runs, id="x")
    while not begun:
        await asyncio.sleep(0.001)

begun = []
slow_ = slow
async def slow() -> None:
    begun.append(1)
    await slow_()
loop = asyncio.new_event_loop()
engine = aio.Engine(sys.argv[1], workflows=[runs])
loop.run_until_complete(opens(engine, begun))
print("ends", flush=True)
"""


def test_an_interpreter_ends_also_if_the_loop_that_entered_the_engine_stands_still(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", STANDS_STILL, str(tmp_path / "s.db")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.splitlines() == ["began", "ends"]
    assert done.returncode == 0, done.stderr


LATE = """
import sys, threading
from stepwell import sync, workflow, Step

@workflow
async def works(step: Step) -> int:
    return await step.do(lambda: 41, name="plain") + 1

go = threading.Event()

def opens():
    main = threading.main_thread()
    main.join()                       # from here on Python imports no pool of threads any more
    with sync.Engine(sys.argv[1], workflows=[works]) as engine:
        print(engine.call(works), flush=True)

threading.Thread(target=opens).start()
"""


@pytest.mark.skipif(
    sys.version_info[:2] == (3, 12),
    reason="Python 3.12 starts no threads once its main thread has ended",
)
def test_a_thread_opens_and_uses_an_engine_after_the_main_thread_has_ended(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", LATE, str(tmp_path / "s.db")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("42\n", 0), done.stderr


async def never_ends() -> None:
    await asyncio.Event().wait()


@workflow
async def drains_for_ever(step: Step) -> None:
    await step.do(never_ends, runtime="asyncio")


def test_an_asyncio_program_that_is_cancelled_while_it_leaves_the_block_waits_for_no_attempt():
    async def main() -> None:
        engine = aio.Engine(":memory:", workflows=[drains_for_ever], grace="1 hour")

        async def block() -> None:
            async with engine:
                await engine.create(drains_for_ever)

        task = asyncio.create_task(block())
        async with asyncio.timeout(60):
            while engine._inner._driver is None or not engine._inner._driver.draining:
                await asyncio.sleep(0.001)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        with pytest.raises(EngineClosed):
            await engine.count()

    asyncio.run(main())


@pytest.mark.usefixtures("hears_ctrl_c")
def test_ctrl_c_while_a_blocking_program_leaves_the_block_waits_for_no_attempt():
    engine = sync.Engine(":memory:", workflows=[drains_for_ever], grace="1 hour")

    def strikes() -> None:
        while engine._inner._driver is None or not engine._inner._driver.draining:
            time.sleep(0.001)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    striker = threading.Thread(target=strikes)
    striker.start()
    with pytest.raises(KeyboardInterrupt), engine:
        engine.create(drains_for_ever)
    striker.join()
    with pytest.raises(EngineClosed):
        engine.count()


FAILED = """
import asyncio, sys
from stepwell import aio, sync, workflow, Step, EngineClosed, StoreFailed

async def nothing() -> int:
    return 1

@workflow
async def works(step: Step) -> int:
    return await step.do(nothing)

def fails(engine) -> None:
    stop = engine._inner._running().stop
    engine._gate.token.run_sync_soon(stop, StoreFailed("the disk is gone"))

front, how, store = sys.argv[1:]
engine = getattr(globals()[front], "Engine")(store, workflows=[works], grace=1)
if front == "sync":
    engine.__enter__()
    fails(engine)
    calls = lambda: engine.call(works)
else:
    loop = asyncio.new_event_loop()
    loop.run_until_complete(engine.__aenter__())
    if how == "closed loop":
        loop.close()
    else:
        fails(engine)
    calls = lambda: asyncio.run(engine.call(works))
while True:
    try:
        calls()
    except EngineClosed:
        break
    except asyncio.CancelledError:
        pass
if how == "raises":
    raise ValueError("ours")
print("ends", flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("front", "how"),
    [
        ("sync", "ends"),
        ("sync", "raises"),
        ("aio", "ends"),
        ("aio", "raises"),
        ("aio", "closed loop"),
    ],
)
def test_an_interpreter_ends_also_after_an_engine_has_failed_whose_block_nobody_left(
    tmp_path, front, how
):
    store = str(tmp_path / "s.db")
    done = subprocess.run(
        [sys.executable, "-c", FAILED, front, how, store],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == ((1, "") if how == "raises" else (0, "ends\n")), (
        done.stderr
    )
    assert ("ValueError: ours" in done.stderr) is (how == "raises")
    assert "Exception ignored" not in done.stderr
    with sync.Engine(store, workflows=[works]) as engine:
        assert engine.call(works) == 1
