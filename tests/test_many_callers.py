"""Of many calls at one time a round of the loop submits only so many; the others wait for their
turn, asleep."""

import pytest
import trio

from stepwell import Engine, EngineClosed, Step, workflow
from stepwell._engine import callers
from stepwell.testing import open_test_engine


@workflow
async def collects(step: Step, wanted: int) -> list[int]:
    return [(await step.wait_for_event("go")).payload for _ in range(wanted)]


@pytest.fixture(autouse=True)
def _one_at_once(monkeypatch):
    monkeypatch.setattr(callers, "CALLS_AT_ONCE", 1)


async def _all_have_called(callers: callers.Callers, wanted: int) -> None:
    while callers.called < wanted:
        await trio.lowlevel.checkpoint()


async def test_calls_get_through_in_the_order_in_which_they_were_made():
    async with Engine(":memory:", workflows=[collects]) as engine:
        instance = await engine.create(collects, 30)
        called: list[int] = []

        async def send(number: int) -> None:
            called.append(number)
            await instance.send_event("go", number)

        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(send, number)
            await trio.lowlevel.checkpoint()
            # these call while the first ones wait, and do not pass them
            for number in range(20, 30):
                nursery.start_soon(send, number)
        assert await instance.result() == called


async def test_q1_a_round_submits_so_many(monkeypatch):
    monkeypatch.setattr(callers, "CALLS_AT_ONCE", 4)
    async with Engine(":memory:", workflows=[collects]) as engine:
        submitted = 0
        rounds: list[int] = []

        def counted() -> int:
            nonlocal submitted
            submitted += 1
            return engine._driver.core.find("default", "collects", "nobody", False)

        class Rounds(trio.abc.Instrument):
            def before_io_wait(self, timeout: float) -> None:
                nonlocal submitted
                rounds.append(submitted)
                submitted = 0

        instrument = Rounds()
        trio.lowlevel.add_instrument(instrument)
        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(engine._driver.ask, counted)
        trio.lowlevel.remove_instrument(instrument)
        assert sum(rounds) + submitted == 50
        assert max(rounds) == 4


async def test_what_is_cancelled_before_its_turn_never_happens():
    async with Engine(":memory:", workflows=[collects]) as engine:
        instance = await engine.create(collects, 9)
        scope = trio.CancelScope()

        async def too_late(call, *args, **options) -> None:
            with scope:
                await call(*args, **options)

        async with trio.open_nursery() as nursery:
            for number in range(8):
                nursery.start_soon(instance.send_event, "go", number)
            await _all_have_called(engine._driver.callers, 9)
            nursery.start_soon(too_late, engine.create, collects, 1)
            await _all_have_called(engine._driver.callers, 10)
            scope.cancel()
        assert scope.cancelled_caught
        await instance.send_event("go", 8)
        assert sorted(await instance.result()) == list(range(9))
        assert (
            (await engine.count(collects))["complete"]
            == sum((await engine.count(collects)).values())
            == 1
        )
        assert engine._driver.callers.waiting == 0


async def test_an_error_of_one_that_waited_is_its_own():
    async with Engine(":memory:", workflows=[collects]) as engine:
        instance = await engine.create(collects, 1)

        def fails() -> int:
            raise ZeroDivisionError

        async def asks() -> None:
            with pytest.raises(ZeroDivisionError):
                await engine._driver.ask(fails)

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(asks)
            nursery.start_soon(instance.send_event, "go", 1)
        assert await instance.result() == [1]


async def test_a_crash_ends_the_calls_that_wait_for_their_turn(monkeypatch):
    async with open_test_engine(workflows=[collects], autojump=False) as engine:
        instance = await engine.create(collects, 1)
        waiting = engine._driver.callers
        ends: list[str] = []

        async def send() -> None:
            try:
                await instance.send_event("go", 1)
            except EngineClosed:
                ends.append("closed")
            else:
                ends.append("sent")

        monkeypatch.setattr(callers, "CALLS_AT_ONCE", 0)
        before = waiting.called
        async with trio.open_nursery() as nursery:
            await trio.lowlevel.checkpoint()
            for _ in range(3):
                nursery.start_soon(send)
            await _all_have_called(waiting, before + 3)
            await engine.crash()
        assert ends == ["closed"] * 3
        monkeypatch.undo()  # what the engine asks for itself, since it opened again, has its turn
        await engine.clock.settled()
        assert waiting.waiting == 0
