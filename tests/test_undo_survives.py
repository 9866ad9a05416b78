"""Undoing that is interrupted: by a crash, by other code, by the end of an engine (L8)."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing
from moments import AtStep
from undoing import Ledger, failing

import stepwell
from stepwell import InvalidState, Retry, Status, Step, Undo, UndoContext, workflow
from stepwell._engine import depot
from stepwell.payloads import Memory
from stepwell.testing import open_test_engine


def check(lines: list[str]) -> None:
    """Steps are undone that ran, the last one first, and nothing runs after the first undo. What a
    crash cut short may be there again."""
    undone = [it for it in lines if it.startswith("un")]
    did = lines[: len(lines) - len(undone)]
    assert not any(it.startswith("un") for it in did), lines
    assert set(undone) == {f"un{it}" for it in did}, lines
    assert undone == sorted(undone, reverse=True), lines


@pytest.mark.slow
@pytest.mark.parametrize("fails", [True, False])
@pytest.mark.parametrize("runtime", ["trio", "asyncio"])
@pytest.mark.parametrize("store", ["file", ":memory:"])
async def test_l8_undos_survive_a_crash_at_every_moment(
    fails: bool, runtime: Any, store: str, tmp_path: Any
):
    k = 0
    while True:
        ledger = Ledger()
        trip = failing(ledger, runtime)
        path = str(tmp_path / f"{k}.db") if store == "file" else store
        async with open_test_engine(workflows=[trip], store=path) as engine:
            instance = await engine.create(trip, fails)
            if not fails:
                await instance.wait_for_step("d")
            crash = trio.Event()
            moment = AtStep(1 + k * 5, crash.set)
            trio.lowlevel.add_instrument(moment)
            async with trio.open_nursery() as nursery:

                async def strikes(crash: trio.Event = crash, engine: Any = engine) -> None:
                    await crash.wait()
                    with trio.CancelScope(shield=True):
                        await engine.crash()

                nursery.start_soon(strikes)
                if not fails:
                    while True:
                        try:
                            await instance.terminate(undo=True)
                        except stepwell.EngineClosed:
                            await trio.lowlevel.checkpoint()
                            continue
                        except InvalidState:
                            pass
                        break
                await instance.wait_for_status("errored", "terminated")
                struck = moment.has_struck
                nursery.cancel_scope.cancel()
            if not struck:
                trio.lowlevel.remove_instrument(moment)
            status = await instance.status()
            assert status.undo is not None
            assert status.undo.outcome == "complete", k
        check(ledger.lines)
        if not struck:
            break
        k += 1
    assert k > 2


async def test_l8_what_an_unclean_stop_cut_short_is_undone_as_unfinished():
    ledger = Ledger()
    running = trio.Event()

    async def hangs(what: str) -> None:
        running.set()
        await trio.sleep_forever()

    @workflow
    async def trip(step: Step) -> None:
        await step.do(ledger.book, "a", undo=ledger.unbook)
        await step.do(hangs, "b", undo=ledger.unbook)
        await step.do(ledger.book, "never", undo=ledger.unbook)

    async with open_test_engine(workflows=[trip]) as engine:
        instance = await engine.create(trip)
        await running.wait()
        with trio.CancelScope() as scope:
            scope.cancel()  # it is asked for, and nobody is told
            await instance.terminate(undo=True)
        running = trio.Event()
        await engine.crash()
        if (await instance.status()).undo is None:
            await running.wait()
            await instance.terminate(undo=True)
        await instance.wait_for_status("terminated")
    assert ledger.lines == ["a", "unb", "una"]
    assert type(ledger.told[0].error) is stepwell.Interrupted


async def test_l8_attempts_and_delays_of_an_undo_are_durable():
    ledger = Ledger()
    tries: list[int] = []

    async def hesitant(ctx: UndoContext) -> None:
        tries.append(stepwell.current_step().attempt)
        if len(tries) < 3:
            raise OSError

    @workflow
    async def trip(step: Step) -> None:
        undo = Undo(hesitant, retry=Retry(delay="1 hour", backoff="constant", jitter=0))
        await step.do(ledger.book, "a", undo=undo)
        raise ValueError

    async with open_test_engine(workflows=[trip], autojump=False) as engine:
        instance = await engine.create(trip)
        for tried in (1, 2):
            with trio.fail_after(5):
                while len(tries) < tried:
                    await trio.lowlevel.checkpoint()
            await engine.clock.settled()
            assert (await instance.status()).status is Status.RUNNING
            await engine.crash()
            await engine.clock.advance("59 minutes")
            assert len(tries) == tried
            await engine.clock.advance("1 minute")
        await instance.wait_for_status("errored")
    assert (tries, ledger.lines) == ([1, 2, 3], ["a"])


# Other code.


async def test_l8_a_step_that_the_code_of_today_does_not_reach_is_a_failed_undo(tmp_path: Any):
    ledger = Ledger()
    path = str(tmp_path / "a.db")

    def trip_of(names: list[str]) -> Any:
        @workflow(name="trip")
        async def trip(step: Step) -> None:
            for name in names:
                await step.do(ledger.book, name, name=name, undo=ledger.unbook)
            await step.wait_for_event("go")

        return trip

    async with open_test_engine(workflows=[trip_of(["a", "b"])], store=path) as engine:
        await (await engine.create("trip", id="t")).wait_for_status("waiting")
    async with open_test_engine(workflows=[trip_of(["a"])], store=path) as engine:
        instance = await engine.get("trip", "t")
        await instance.terminate(undo=True)
        await instance.wait_for_status("terminated")
        undo = (await instance.status()).undo
    assert undo is not None
    assert undo.error is not None
    assert (undo.outcome, undo.step, undo.error.type) == ("failed", "b", "stepwell.Nondeterminism")
    assert "the code of today does not come to it" in undo.error.message
    assert ledger.lines == ["a", "b"]


async def test_l8_a_step_that_lost_its_undo_in_a_deploy_is_told(tmp_path: Any, caplog: Any):
    caplog.set_level("INFO")
    ledger = Ledger()
    path = str(tmp_path / "a.db")

    def trip_of(*undone: str) -> Any:
        @workflow(name="trip")
        async def trip(step: Step) -> None:
            for name in ("a", "b", "b", "c"):
                undo = ledger.unbook if name in undone else None
                await step.do(ledger.book, name, name=name, undo=undo)
            await step.wait_for_event("go")
            await step.do(ledger.book, "never", name="never")

        return trip

    async with open_test_engine(workflows=[trip_of("a", "b", "c")], store=path) as engine:
        await (await engine.create("trip", id="t")).wait_for_status("waiting")
    async with open_test_engine(workflows=[trip_of("a", "c")], store=path) as engine:
        instance = await engine.get("trip", "t")
        await instance.terminate(undo=True)
        await instance.wait_for_status("terminated")
        undo = (await instance.status()).undo
        told = await instance.explain()
    assert undo == stepwell.UndoStatus("complete", None, None, 2, 2, left=("b",))
    assert 'Nothing undoes "b": no undo= in the code' in told.text
    assert "trip/t undoes 2 steps. These began as well, and have no undo= today: b" in caplog.text
    assert ledger.lines == ["a", "b", "b", "c", "unc", "una"]


async def test_l8_one_whose_code_is_gone_undoes_when_it_is_there(tmp_path: Any):
    ledger = Ledger()
    path = str(tmp_path / "a.db")

    @workflow
    async def trip(step: Step) -> None:
        await step.do(ledger.book, "a", undo=ledger.unbook)
        await step.wait_for_event("go")

    @workflow
    async def other(step: Step) -> None: ...

    async with open_test_engine(workflows=[trip], store=path) as engine:
        await (await engine.create(trip, id="t")).wait_for_status("waiting")
    async with open_test_engine(workflows=[other], store=path) as engine:
        instance = await engine.get("trip", "t")
        await instance.terminate(undo=True)
        assert (await instance.status()).status is Status.BLOCKED
    async with open_test_engine(workflows=[trip], store=path) as engine:
        await (await engine.get("trip", "t")).wait_for_status("terminated")
    assert ledger.lines == ["a", "una"]


class Away(Memory):
    """A payload store that nobody reaches for a while."""

    is_away = False

    def get(self, key: str, /) -> bytes:
        if self.is_away:
            raise ConnectionError("no route to host")
        return super().get(key)


@pytest.mark.parametrize("large", ["of the step that is undone", "of another step", "params"])
async def test_l8_what_cannot_be_read_for_a_while_blocks_and_is_undone_after_that(
    large: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(depot, "DELAYS", ())
    ledger, place = Ledger(), Away(over=1_000)
    much = "x" * 5_000

    @workflow
    async def trip(step: Step, params: str) -> None:
        await step.do(ledger.book, "a", name="a", undo=ledger.unbook)
        if large == "of another step":
            await step.do(lambda: much, name="looks")
        told = much if large == "of the step that is undone" else ""
        await step.do(ledger.book, "b" + told, name="b", undo=ledger.unbook)
        await step.wait_for_event("go")

    async with open_test_engine(workflows=[trip], payloads=place) as engine:
        instance = await engine.create(trip, much if large == "params" else "")
        await instance.wait_for_status("waiting")
        place.is_away = True
        await instance.terminate(undo=True)
        assert await instance.wait_for_status("blocked", "terminated") is Status.BLOCKED
        await engine.crash()
        told = (await instance.explain()).text
        assert "no route to host. See that it can be reached. Then resume(). It undoes" in told
        place.is_away = False
        await instance.resume()
        await instance.wait_for_status("terminated")
        undo = (await instance.status()).undo
    assert undo is not None
    assert undo.outcome == "complete"
    assert [it[:3] for it in ledger.lines[2:]] == ["unb", "una"]


async def test_l8_an_engine_that_closes_leaves_the_rest_to_the_next(tmp_path: Any):
    ledger = Ledger()
    path = str(tmp_path / "a.db")
    begun = trio.Event()
    goes = trio.Event()

    async def slow(ctx: UndoContext) -> None:
        begun.set()
        await goes.wait()
        ledger.lines.append("unb")

    @workflow
    async def trip(step: Step) -> None:
        await step.do(ledger.book, "a", undo=ledger.unbook)
        await step.do(ledger.book, "b", undo=slow)
        raise ValueError

    async with (
        trio.open_nursery() as nursery,
        open_test_engine(workflows=[trip], store=path) as engine,
    ):
        await engine.create(trip, id="t")
        await begun.wait()
        nursery.start_soon(engine.drain)
        await trio.testing.wait_all_tasks_blocked()
        goes.set()
    assert ledger.lines == ["a", "b", "unb"], "it runs to its end, and nothing begins after it"
    async with open_test_engine(workflows=[trip], store=path) as engine:
        await (await engine.get(trip, "t")).wait_for_status("errored")
    assert ledger.lines == ["a", "b", "unb", "una"]
