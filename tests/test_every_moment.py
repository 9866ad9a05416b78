"""An engine that is opened, used, drained and closed is struck at every moment of that, by a
cancellation or by Ctrl-C (L14, R7).

Whatever the moment: the program ends as it would without an engine, the log says nothing false, no
thread is left, and the next engine on the same store goes on. Each round goes on with the store
that the one before has left.
"""

import asyncio
import functools
import logging
import random
import sys
import threading
from collections.abc import Callable

import anyio
import anyio.lowlevel
import pytest
import trio
from moments import AtLine, AtStep, ctrl_c
from trio._core._ki import ki_protection_enabled

import stepwell
from stepwell import Engine, Step, aio, sync, workflow
from stepwell._loops import portal
from stepwell.testing import open_test_engine

pytestmark = pytest.mark.usefixtures("hears_ctrl_c")


async def first() -> int:
    for _ in range(3):
        await trio.lowlevel.checkpoint()
    return 1


def second() -> int:
    return 2


async def endless() -> None:
    await trio.sleep_forever()


@workflow
async def works(step: Step) -> int:
    return await step.do(first) + await step.do(second)


@workflow
async def hangs(step: Step) -> None:
    await step.do(endless)


def check(caplog, k: int) -> None:
    """Nothing is left of a round, and nothing was said but that a thread still runs."""
    told = [it for it in caplog.records if "threads still run" not in it.getMessage()]
    assert not told, f"at moment {k}: {[it.getMessage() for it in told]}"
    for thread in threading.enumerate():
        if thread.name == "stepwell watchdog":
            thread.join(5)  # it was told to end, and nobody waits for it
    assert not [
        it
        for it in threading.enumerate()
        if it.name.startswith("stepwell") and it.name != "stepwell watch"
    ], f"at moment {k}"


async def use(store: str, flow, k: int, engines: list[Engine]) -> None:
    """What is struck: opening, a call, leaving."""
    async with Engine(store, workflows=[works, hangs], grace="1 hour") as engine:
        engines.append(engine)
        instance = await engine.create(
            flow, id="i" if flow is hangs else f"i{k}", if_exists="return"
        )
        await instance.wait_for_status("complete", "running")


async def all_end(store: str, rounds: int) -> None:
    """Everything that was created goes on in the next engine, and no step is recorded twice."""
    async with Engine(store, workflows=[works, hangs], grace=0) as engine:
        page = await engine.list(limit=1000)
        assert len(page.items) > rounds // 4 or page.items[0].workflow == "hangs"
        for item in page.items:
            if item.workflow == "works":
                instance = await engine.get(works, item.id)
                assert await instance.result() == 3
                assert [(it.name, it.status) for it in await instance.history()] == [
                    ("first", "done"),
                    ("second", "done"),
                ]
            else:
                assert item.status == "running"


@pytest.mark.slow
def test_l14_a_cancellation_at_every_moment_of_opening_running_and_closing(tmp_path, caplog):
    store, k, struck = str(tmp_path / "s.db"), 0, True
    caplog.set_level(logging.WARNING, "stepwell")
    while struck:
        k += 1

        async def main(k: int = k) -> bool:
            with trio.fail_after(30), trio.CancelScope() as scope:
                moments = AtStep(k, scope.cancel)
                trio.lowlevel.add_instrument(moments)
                await use(store, works, k, [])
                await trio.lowlevel.checkpoint()
            assert scope.cancelled_caught or not moments.has_struck
            return moments.has_struck

        struck = trio.run(main)
        check(caplog, k)
    trio.run(all_end, store, k)


def interrupted(run, *args) -> bool:
    """Returns whether it ends with Ctrl-C, bare."""
    try:
        run(*args)
    except KeyboardInterrupt:
        return True
    return False


@pytest.mark.slow
@pytest.mark.parametrize("flow", [works, hangs])
def test_r7_ctrl_c_at_every_moment_of_opening_running_and_closing(tmp_path, caplog, flow):
    """`hangs` has a step that would use up the grace of an hour: a second Ctrl-C, once nothing goes
    on any more, ends that."""
    store, k, struck = str(tmp_path / "s.db"), 0, True
    caplog.set_level(logging.WARNING, "stepwell")
    while struck:
        k += 1
        engines: list[Engine] = []
        moments = AtStep(
            k,
            ctrl_c,
            again=lambda engines=engines: (
                flow is hangs and bool(engines) and engines[0]._driver.draining
            ),
        )

        async def main(
            k: int = k, moments: AtStep = moments, engines: list[Engine] = engines
        ) -> None:
            trio.lowlevel.add_instrument(moments)
            with trio.fail_after(30):
                await use(store, flow, k, engines)

        assert interrupted(trio.run, main) is (moments.has_struck or flow is hangs), (
            f"at moment {k}"
        )
        struck = moments.has_struck
        check(caplog, k)
    trio.run(all_end, store, k)


LINES_APART = 7
"""Each round strikes so many lines later than the one before; the first line is drawn, so that runs
differ."""


@pytest.mark.slow
@pytest.mark.parametrize("flow", [works, hangs])
def test_r7_ctrl_c_at_lines_of_the_code_that_opens_calls_and_closes(tmp_path, caplog, flow):
    store, k, struck = str(tmp_path / "s.db"), random.randint(1, LINES_APART), True
    print("first line:", k)
    caplog.set_level(logging.WARNING, "stepwell")
    while struck:
        engines: list[Engine] = []
        rest = AtStep(
            0,
            ctrl_c,
            again=lambda engines=engines: (
                flow is hangs and bool(engines) and engines[0]._driver.draining
            ),
        )

        async def main(k: int = k, rest: AtStep = rest, engines: list[Engine] = engines) -> None:
            trio.lowlevel.add_instrument(rest)
            with trio.fail_after(30):
                await use(store, flow, k, engines)

        with AtLine(k, ctrl_c) as moments:
            assert interrupted(trio.run, main) is (moments.has_struck or flow is hangs), (
                f"at moment {k}"
            )
        struck = moments.has_struck
        check(caplog, k)
        k += LINES_APART
    trio.run(all_end, store, k // LINES_APART)


def use_blocking(store: str, k: int) -> None:
    """As `use`, in a blocking program."""
    with sync.Engine(store, workflows=[works, hangs], grace="1 hour") as engine:
        engine.create(works, id=f"i{k}").wait_for_status("complete")


async def use_on_asyncio(store: str, k: int) -> None:
    """As `use`, in an asyncio program."""
    async with aio.Engine(store, workflows=[works_on_asyncio], grace="1 hour") as engine:
        instance = await engine.create(works_on_asyncio, id=f"i{k}")
        await instance.wait_for_status("complete")


async def third() -> int:
    for _ in range(3):
        await asyncio.sleep(0)
    return 1


@workflow
async def works_on_asyncio(step: Step) -> int:
    return await step.do(third) + await step.do(second)


async def all_end_on_asyncio(store: str) -> None:
    """As `all_end`."""
    async with aio.Engine(store, workflows=[works_on_asyncio], grace=0) as engine:
        for item in (await engine.list(limit=1000)).items:
            instance = await engine.get(works_on_asyncio, item.id)
            assert await instance.result() == 3
            assert [(it.name, it.status) for it in await instance.history()] == [
                ("third", "done"),
                ("second", "done"),
            ]


def at_lines(caplog, strike: Callable[[AtLine, int], None]) -> int:
    """Strikes at lines a little apart, until there is no such line any more. Returns how often.

    Args:
        strike: Given the moment and its number, uses an engine and lets itself be struck then.
    """
    k, rounds = random.randint(1, LINES_APART), 0
    print("first line:", k)
    caplog.set_level(logging.WARNING, "stepwell")
    while True:
        moments, rounds = AtLine(k, ctrl_c), rounds + 1
        strike(moments, k)
        until_no_thread_is_left(moments)
        check(caplog, k)
        if not moments.has_struck:
            return rounds
        k += LINES_APART


@pytest.mark.slow
@pytest.mark.parametrize("twice", [False, True])
@pytest.mark.parametrize("runs", ["blocking", "asyncio"])
def test_r7_ctrl_c_at_lines_of_a_program(tmp_path, caplog, runs, twice):
    """`twice`: once more a few lines later."""
    store = str(tmp_path / "s.db")

    def strike(moments: AtLine, k: int) -> None:
        moments.again_after = k % 5 + 1 if twice else 0
        with moments:
            struck = (
                interrupted(use_blocking, store, k)
                if runs == "blocking"
                else interrupted(asyncio.run, use_on_asyncio(store, k))
            )
        assert struck is moments.has_struck, moments.places

    rounds = at_lines(caplog, strike)
    if runs == "blocking":
        trio.run(all_end, store, rounds)
    else:
        asyncio.run(all_end_on_asyncio(store))


def until_no_thread_is_left(moments: AtLine) -> None:
    """A second Ctrl-C may come before anything was done about the first: then the end of the
    interpreter closes the engine."""
    if len(moments.places) > 1:
        for left in list(portal._watched):
            left.main_thread_ended()
    for thread in threading.enumerate():
        if thread.name == "stepwell":
            thread.join(10)
            assert not thread.is_alive(), moments.places


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["task", "scope"])
def test_l14_a_cancellation_at_lines_of_an_asyncio_program(tmp_path, caplog, kind):
    """Of the task, as asyncio does it, and of a scope of anyio's: each comes back as it came,
    whatever the moment."""
    store = str(tmp_path / "s.db")

    async def in_task(moments: AtLine, k: int) -> None:
        task = asyncio.create_task(use_on_asyncio(store, k))
        moments.strike = lambda: task.cancel("why")
        with moments:
            await asyncio.wait([task])
        assert task.cancelled() is moments.has_struck, moments.places
        if moments.has_struck:
            with pytest.raises(asyncio.CancelledError, match="why"):
                await task

    async def in_scope(moments: AtLine, k: int) -> None:
        task = asyncio.current_task()
        with anyio.CancelScope() as scope:
            moments.strike = scope.cancel
            with moments:
                await use_on_asyncio(store, k)
                await anyio.lowlevel.checkpoint()
        assert scope.cancelled_caught is moments.has_struck, moments.places
        assert task.cancelling() == 0

    at_lines(
        caplog,
        lambda moments, k: asyncio.run((in_task if kind == "task" else in_scope)(moments, k)),
    )
    asyncio.run(all_end_on_asyncio(store))


@pytest.mark.slow
@pytest.mark.parametrize("flow", [works, hangs])
def test_l14_signals_at_every_moment_of_a_run(tmp_path, caplog, monkeypatch, flow):
    """`hangs` needs a second signal, once nothing goes on any more. Before a run hears signals,
    Ctrl-C is trio's."""
    store, k, struck, plain = str(tmp_path / "s.db"), 0, True, trio.run
    caplog.set_level(logging.WARNING, "stepwell")
    ends: list[object] = []
    while struck:
        k += 1
        engine = Engine(store, workflows=[works, hangs], grace="1 hour")
        moments = AtStep(
            k,
            ctrl_c,
            lambda engine=engine: (
                flow is hangs and engine._driver is not None and engine._driver.draining
            ),
            times=2,
        )
        monkeypatch.setattr(trio, "run", functools.partial(plain, instruments=[moments]))

        async def main(engine: Engine, k: int = k) -> str:
            instance = await engine.create(
                flow, id="i" if flow is hangs else f"i{k}", if_exists="return"
            )
            await instance.wait_for_status("complete", "running")
            return "returned"

        try:
            ends.append(stepwell.run(engine, main))
        except (KeyboardInterrupt, SystemExit) as error:
            ends.append(repr(error))
        struck = moments.has_struck
        monkeypatch.undo()
        check(caplog, k)
    assert set(ends) <= {None, "returned", "KeyboardInterrupt()", "SystemExit(130)"}
    assert {None, "returned"} <= set(ends) if flow is works else "SystemExit(130)" in ends
    trio.run(all_end, store, k)


async def test_l14_ctrl_c_never_strikes_between_trio_and_its_instruments():
    """trio disables an instrument that raises, also what is raised on the way to it; bodies would
    be judged by what was not counted."""
    protected: list[bool] = []

    class Looks(trio.abc.Instrument):
        def task_scheduled(self, task):
            protected.append(ki_protection_enabled(sys._getframe(1)))

    looks = Looks()
    async with open_test_engine(), trio.open_nursery() as nursery:
        trio.lowlevel.add_instrument(looks)
        nursery.start_soon(trio.lowlevel.checkpoint)
        await trio.lowlevel.checkpoint()
        trio.lowlevel.remove_instrument(looks)
    assert protected
    assert all(protected)
