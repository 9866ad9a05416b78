"""Leaving the engine's block, in peace or not (rules L14, R7)."""

import logging
import threading

import pytest
import trio

from stepwell import Engine, EngineClosed, InternalError, InvalidState, Retry, Status, workflow
from stepwell._engine.driver import Driver
from stepwell._engine.watchdog import Watchdog
from stepwell.testing import open_test_engine

seen: list[str] = []


@pytest.fixture(autouse=True)
def _nothing_seen():
    seen.clear()


async def ends_when_told() -> str:
    seen.append("began")
    await gates[0].wait()
    seen.append("ended")
    return "done"


async def never_starts() -> None:
    seen.append("never")


gates: list[trio.Event] = []


@workflow
async def two_steps(step):
    try:
        first = await step.do(ends_when_told)
        await step.do(never_starts)
    finally:
        seen.append("unwound")
    return first


async def opened_at_end() -> None:
    await trio.testing.wait_all_tasks_blocked(0.01)
    gates[0].set()


async def test_l14_leaving_the_block_lets_running_attempts_end_and_starts_no_more(tmp_path):
    store = str(tmp_path / "s.db")
    gates[:] = [trio.Event()]
    async with (
        trio.open_nursery() as nursery,
        open_test_engine(workflows=[two_steps], store=store, autojump=False) as engine,
    ):
        await engine.create(two_steps, id="x")
        while not seen:
            await trio.lowlevel.checkpoint()
        nursery.start_soon(opened_at_end)
    assert seen == ["began", "ended", "unwound"]
    async with open_test_engine(workflows=[two_steps], store=store) as engine:
        instance = await engine.get(two_steps, "x")
        assert await instance.result() == "done"
        assert [(r.name, r.attempt, r.status) for r in await instance.history()] == [
            ("ends_when_told", 1, "done"),
            ("never_starts", 1, "done"),
        ]
    assert seen == ["began", "ended", "unwound", "never", "unwound"]


async def test_l14_what_does_not_end_within_grace_is_unwound_uncounted(tmp_path):
    store = str(tmp_path / "s.db")
    gates[:] = [trio.Event()]
    async with open_test_engine(
        workflows=[two_steps], store=store, autojump=False, grace=0
    ) as engine:
        await engine.create(two_steps, id="x")
        while not seen:
            await trio.lowlevel.checkpoint()
    assert seen == ["began", "unwound"]
    gates[0].set()
    async with open_test_engine(workflows=[two_steps], store=store) as engine:
        instance = await engine.get(two_steps, "x")
        assert await instance.result() == "done"
        first = (await instance.history())[0]
        assert (first.name, first.attempt, first.status) == ("ends_when_told", 1, "done")


async def fails() -> None:
    seen.append("failed")
    raise OSError("x")


async def test_l14_a_drain_does_not_wait_for_retry_delays(tmp_path):
    @workflow(name="retries")
    async def retries(step):
        await step.do(fails, retry=Retry(delay="1 hour"))

    async with open_test_engine(workflows=[retries], autojump=False) as engine:
        await (await engine.create(retries)).wait_for_status("waiting")
        with trio.fail_after(5):
            await engine.drain()
    assert seen == ["failed"]


class Mine(Exception):
    pass


@pytest.mark.parametrize(
    "error", [Mine("x"), KeyboardInterrupt(), ExceptionGroup("g", [Mine("y")])]
)
async def test_l14_the_blocks_own_exception_leaves_unwrapped(error):
    with pytest.raises(type(error)) as caught:  # noqa: PT012
        async with open_test_engine(workflows=[two_steps]) as engine:
            await engine.create(two_steps)
            raise error
    assert caught.value is error


async def test_l14_a_cancelled_block_is_cancelled_and_closes_in_order(tmp_path):
    store = str(tmp_path / "s.db")
    gates[:] = [trio.Event()]
    with trio.CancelScope() as scope:
        async with open_test_engine(workflows=[two_steps], store=store, grace=0) as engine:
            await engine.create(two_steps, id="x")
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    gates[0].set()
    async with open_test_engine(workflows=[two_steps], store=store) as engine:
        assert await engine.call(two_steps, id="x") == "done"


@workflow(name="asleep", park=False)
async def asleep(step, seconds: int):
    began = step.now()
    await step.sleep(seconds)
    return round((step.now() - began).total_seconds())


async def test_l14_a_cancelled_block_gives_up_no_wait_of_its_bodies(tmp_path):
    path = str(tmp_path / "a.db")
    with trio.CancelScope() as scope:
        async with open_test_engine(workflows=[asleep], store=path, autojump=False) as engine:
            instance = await engine.create(asleep, 100, id="i")
            await instance.wait_for_status("waiting")
            before = (await instance.history())[0].started_at
            await engine.clock.advance(60)
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    async with open_test_engine(workflows=[asleep], store=path, autojump=False) as engine:
        instance = await engine.get(asleep, "i")
        assert [r.started_at for r in await instance.history()] == [before]
        await engine.clock.advance(101)
        assert await instance.result() == 100


async def test_l14_waiting_calls_end_with_engine_closed():
    @workflow(name="waits")
    async def waits(step):
        await step.wait_for_event("go")

    ended = []

    async def asks(instance) -> None:
        try:
            await instance.result()
        except EngineClosed as error:
            ended.append(str(error))

    async with (
        trio.open_nursery() as nursery,
        open_test_engine(workflows=[waits], autojump=False) as engine,
    ):
        instance = await engine.create(waits)
        await instance.wait_for_status("waiting")
        nursery.start_soon(asks, instance)
        await trio.testing.wait_all_tasks_blocked()
    assert len(ended) == 1
    assert "drained" in ended[0]


def raising(error: BaseException, *, threaded: bool):
    def plain() -> None:
        raise error

    async def asynchronous() -> None:
        raise error

    async def waiting() -> None:
        await trio.lowlevel.checkpoint()
        raise error

    return plain if threaded else asynchronous if threaded is False else waiting


@pytest.mark.parametrize("threaded", [True, False, None])
async def test_r7_an_interrupt_in_a_step_records_nothing_and_shuts_the_engine_down(
    tmp_path, threaded
):
    fn = raising(KeyboardInterrupt(), threaded=threaded)

    @workflow(name="interrupted")
    async def interrupted(step):
        return await step.do(lambda: "fine", name="do") if seen else await step.do(fn, name="do")

    store = str(tmp_path / "s.db")
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012
        async with open_test_engine(workflows=[interrupted], store=store) as engine:
            await engine.create(interrupted, id="i")
            await trio.sleep_forever()
    seen.append("again")
    async with open_test_engine(workflows=[interrupted], store=store) as engine:
        instance = await engine.get(interrupted, "i")
        assert await instance.result() == "fine"
        assert [r.status for r in await instance.history() if r.status != "interrupted"] == ["done"]


async def test_r7_an_interrupt_in_a_step_of_a_branch_or_a_map_shuts_the_engine_down_too():
    def interrupts(_: int) -> None:
        raise KeyboardInterrupt

    @workflow(name="branches")
    async def branches(step, how: str):
        if how == "map":
            await step.map(interrupts, [1])
        else:
            async with step.open_nursery() as nursery:
                nursery.start_soon(step.do, interrupts, 1)

    for how in ("map", "nursery"):
        with pytest.raises(KeyboardInterrupt):  # noqa: PT012
            async with open_test_engine(workflows=[branches]) as engine:
                await engine.create(branches, how)
                await trio.sleep_forever()


async def test_r7_an_interrupt_in_a_body_shuts_the_engine_down():
    @workflow(name="body")
    async def body(step):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):  # noqa: PT012
        async with open_test_engine(workflows=[body]) as engine:
            await engine.create(body)
            await trio.sleep_forever()


@pytest.mark.parametrize("branches", [False, True])
async def test_r7_what_a_body_makes_of_an_interrupt_is_not_recorded(tmp_path, branches):
    """Neither what it does in `finally`, nor that other branches are cancelled."""
    path, again = str(tmp_path / "s.db"), False

    async def interrupts(step) -> None:
        await step.sleep(0.001)
        if not again:
            raise KeyboardInterrupt

    @workflow(name="cleans")
    async def cleans(step) -> str:
        try:
            if branches:
                async with step.open_nursery() as nursery:
                    nursery.start_soon(step.do, trio.lowlevel.checkpoint)
                    nursery.start_soon(interrupts, step)
                    nursery.start_soon(step.do, trio.sleep, 0 if again else 1_000)
            else:
                await interrupts(step)
            return await step.do(str, "fine")
        finally:
            await step.do(str, "cleaned", name="cleanup")

    with pytest.raises(KeyboardInterrupt):  # noqa: PT012
        async with Engine(path, workflows=[cleans], grace=0) as engine:
            await engine.create(cleans, id="i")
            await trio.sleep_forever()
    again = True
    async with Engine(path, workflows=[cleans]) as engine:
        assert await (await engine.get(cleans, "i")).result() == "fine"


def test_r7_a_program_may_run_an_engine_where_it_handles_an_interrupt():
    @workflow(name="works")
    async def works(step) -> str:
        return await step.do(str, "fine")

    async def main() -> str:
        async with Engine(":memory:", workflows=[works]) as engine:
            return await engine.call(works)

    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt:
        assert trio.run(main) == "fine"


async def test_l14_a_body_that_swallows_its_unwinding_does_not_count_as_ended(tmp_path):
    @workflow(name="stubborn")
    async def stubborn(step):
        try:
            await step.wait_for_event("go")
        except BaseException:
            seen.append("unwound")
            return "not this"
        return "this"

    store = str(tmp_path / "s.db")
    async with open_test_engine(workflows=[stubborn], store=store, autojump=False) as engine:
        await (await engine.create(stubborn, id="s")).wait_for_status("waiting")
    assert seen == ["unwound"]
    async with open_test_engine(workflows=[stubborn], store=store, autojump=False) as engine:
        instance = await engine.get(stubborn, "s")
        assert (await instance.status()).status is Status.WAITING
        await instance.send_event("go")
        assert await instance.result() == "this"


async def test_l14_threads_that_still_run_are_named(caplog):
    release = threading.Event()

    def blocks() -> None:
        seen.append("thread")
        release.wait(10)

    @workflow(name="threaded")
    async def threaded(step):
        await step.do(blocks)

    with caplog.at_level(logging.WARNING, "stepwell"):
        async with Engine(":memory:", workflows=[threaded], grace=0) as engine:
            await engine.create(threaded, id="t")
            while not seen:
                await trio.sleep(0.001)
    release.set()
    assert any(
        "threaded/t" in r.getMessage() and "blocks" in r.getMessage() for r in caplog.records
    )


async def test_l14_a_drained_engine_admits_nothing_and_says_so():
    async with open_test_engine(workflows=[waits_for_ever]) as engine:
        instance = await engine.create(waits_for_ever)
        await engine.drain()
        for method, items in (
            (engine.create, ()),
            (engine.call, ()),
            (engine.create_batch, ([None],)),
        ):
            with pytest.raises(
                EngineClosed,
                match=f"^engine.{method.__name__} was called after the engine began to drain",
            ):
                await method(waits_for_ever, *items)
        with pytest.raises(EngineClosed, match="drained"):
            await instance.result()


async def test_l14_an_engine_whose_own_task_breaks_is_loud_and_answers_everybody(caplog):
    answers: list[str] = []

    async def asks(instance, then: trio.Event) -> None:
        try:
            await instance.result()
        except EngineClosed as error:
            answers.append(str(error))
        then.set()

    async def breaks() -> None:
        raise LookupError("a bug")

    async with trio.open_nursery() as nursery:
        with pytest.raises(InternalError, match="LookupError"):  # noqa: PT012
            async with open_test_engine(workflows=[waits_for_ever]) as engine:
                instance, answered = await engine.create(waits_for_ever), trio.Event()
                nursery.start_soon(asks, instance, answered)
                await trio.testing.wait_all_tasks_blocked()
                engine._life.nursery.start_soon(breaks)
                # the block is cancelled, and may yet have something to do
                with trio.CancelScope(shield=True):
                    await answered.wait()
                    for call in (engine.count(), instance.status()):
                        with pytest.raises(EngineClosed, match=r"LookupError.*Leave its block"):
                            await call
                await trio.sleep_forever()
    assert answers == ["the engine was closed while this call waited for it"]
    assert "internal error in the engine" in caplog.text


async def test_l14_an_engine_whose_tasks_cannot_begin_does_not_open_and_says_why(
    tmp_path, monkeypatch
):
    def fails(self):
        raise OSError("Too many open files")

    store = str(tmp_path / "s.db")
    monkeypatch.setattr(Watchdog, "__enter__", fails)
    with pytest.raises(OSError, match="Too many open files"):
        async with Engine(store, workflows=[]):
            pytest.fail("it opened")
    monkeypatch.undo()
    async with Engine(store, workflows=[]):
        pass


def test_l14_a_main_task_that_ends_with_the_engine_open_closes_it(tmp_path):
    store = str(tmp_path / "s.db")

    async def opens() -> None:
        engine = await Engine(store, workflows=[two_steps]).__aenter__()
        await engine.create(two_steps, id="x")
        while not seen:
            await trio.lowlevel.checkpoint()

    async def again() -> str:
        gates[0].set()
        async with Engine(store, workflows=[two_steps]) as engine:
            return await engine.call(two_steps, id="x")

    gates[:] = [trio.Event()]
    trio.run(opens)
    assert seen == ["began", "unwound"]
    gates[:] = [trio.Event()]
    assert trio.run(again) == "done"


async def test_l14_an_engine_that_is_left_in_another_task_is_closed_and_says_so():
    opened, left = trio.Event(), trio.Event()
    engine = Engine(":memory:", workflows=[waits_for_ever])

    async def opens() -> None:
        await engine.__aenter__()
        opened.set()
        await left.wait()
        engine._life.block.__exit__(None, None, None)  # trio minds what a task leaves entered

    async with trio.open_nursery() as nursery:
        nursery.start_soon(opens)
        await opened.wait()
        with pytest.raises(
            InvalidState, match="opened in one task and left in another; it is closed now"
        ):
            await engine.__aexit__(None, None, None)
        with pytest.raises(EngineClosed):
            await engine.count()
        left.set()


@workflow
async def waits_for_ever(step):
    await step.wait_for_event("never")


@pytest.mark.parametrize("method", ["drain", "crash"])
async def test_l14_an_engine_that_ends_before_its_own_tasks_have_begun_ends_in_order(
    monkeypatch, caplog, method
):
    run = Driver.run

    async def begins_late(self, *args):
        await trio.testing.wait_all_tasks_blocked()
        await run(self, *args)

    monkeypatch.setattr(Driver, "run", begins_late)
    async with open_test_engine(workflows=[waits_for_ever]) as engine:
        await getattr(engine, method)()
    assert not caplog.records
