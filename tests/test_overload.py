"""Creations that the limits refuse (C10, L1): who is let in, who is told what, and what never
happens."""

import asyncio
import sqlite3
from contextlib import closing

import pytest
import trio

from stepwell import (
    Engine,
    EngineClosed,
    InstanceExists,
    InvalidConfig,
    InvalidState,
    Limits,
    NewInstance,
    Overloaded,
    Status,
    Step,
    aio,
    workflow,
)
from stepwell.testing import open_test_engine


@workflow
async def quick(step: Step, p: int) -> str:
    return "done"


@workflow
async def held(step: Step, p: int) -> None:
    await step.wait_for_event("go")
    await step.do(trio.sleep, 0)


@workflow
async def long(step: Step, p: int) -> None:
    await step.do(trio.sleep, 1_000)


@workflow
async def long_on_asyncio(step: Step, p: int) -> None:
    await step.do(asyncio.sleep, 1_000)


RATE = Limits(create_rate=0.01, create_burst=1)


async def test_l1_an_idempotent_retry_is_answered_whatever_the_rate_is():
    async with open_test_engine(workflows=[quick], limits=RATE) as engine:
        assert await engine.call(quick, 0, id="a") == "done"
        for _ in range(3):
            assert await engine.call(quick, 0, id="a") == "done"
        again = await engine.create(quick, 0, id="a", if_exists="return")
        assert again.id == (await engine.create(quick, 0, id="a", if_exists="return_if_same")).id
        with pytest.raises(InstanceExists):
            await engine.create(quick, 0, id="a")
        with pytest.raises(InstanceExists, match="other params"):
            await engine.create(quick, 1, id="a", if_exists="return_if_same")
        for on_overload in ("raise", "wait"):
            batch = await engine.create_batch(
                quick, [NewInstance(0, id="a")] * 3, if_exists="return", on_overload=on_overload
            )
            assert [it.id for it in batch.created] == ["a"] * 3
        assert (
            await engine.create(quick, 0, id="a", if_exists="return", on_overload="wait")
        ).id == "a"
        with pytest.raises(InstanceExists):
            await engine.create(quick, 0, id="a", on_overload="wait")
        with pytest.raises(Overloaded):
            await engine.create_batch(
                quick, [NewInstance(0, id="a"), NewInstance(0, id="b")], if_exists="return"
            )


async def test_l1_an_id_repeated_in_a_batch_takes_one_token():
    async with open_test_engine(
        workflows=[quick], limits=Limits(create_rate=0.01, create_burst=3)
    ) as engine:
        await engine.create_batch(quick, [NewInstance(0, id="a")] * 10, if_exists="return")
        for _ in range(2):
            await engine.create(quick, 0)
        with pytest.raises(Overloaded):
            await engine.create(quick, 0)


async def test_e4_a_dedup_id_is_known_after_the_end_of_the_instance(tmp_path):
    path = str(tmp_path / "x.db")
    for life in range(2):
        async with Engine(path, workflows=[held]) as engine:
            instance = await engine.create(held, 0, id="h", if_exists="return")
            await instance.send_event("go", dedup_id="one")
            await instance.result()
            await instance.send_event("go", dedup_id="one")
            with pytest.raises(InvalidState):
                await instance.send_event("go", dedup_id=f"two{life}")
            with pytest.raises(InvalidState):
                await instance.send_event("go")


@pytest.mark.parametrize("batch", [False, True])
async def test_c10_a_cancelled_creation_that_waits_is_never_created(batch):
    async with open_test_engine(
        workflows=[long], slots=1, limits=Limits(queue_entries=10), grace=0
    ) as engine:
        await engine.create_batch(long, [0] * 11)

        async def waits() -> None:
            if batch:
                await engine.create_batch(long, [1] * 10, on_overload="wait")
            else:
                await engine.create(long, 1, id="late", on_overload="wait")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(waits)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        await engine.set_limits(queue_entries=100)
        await engine.create(long, 2)
        assert sum((await engine.count()).values()) == 12


async def test_c10_a_creation_cancelled_while_it_is_committed_is_not_made_behind_anybodys_back(
    tmp_path,
):
    """It is too late to give it up: so whoever is cancelled waits for the commit, and is given the
    instance."""
    store = str(tmp_path / "s.db")
    async with Engine(store, workflows=[quick]) as engine:
        created: list[str] = []

        async def creates() -> None:
            created.append((await engine.create(quick, 0, id="i")).id)

        with closing(sqlite3.connect(store, isolation_level=None)) as other:
            async with trio.open_nursery() as nursery:
                other.execute("BEGIN IMMEDIATE")
                nursery.start_soon(creates)
                with trio.CancelScope(shield=True):
                    await trio.testing.wait_all_tasks_blocked()
                    nursery.cancel_scope.cancel()
                    await trio.testing.wait_all_tasks_blocked()
                    assert nursery.child_tasks
                    other.execute("ROLLBACK")
        assert created == ["i"]
        assert sum((await engine.count()).values()) == 1


async def test_c10_a_creation_in_a_scope_that_is_cancelled_already_never_happens():
    async with open_test_engine(workflows=[quick]) as engine:
        with trio.CancelScope() as scope:
            scope.cancel()
            await engine.create(quick, 0)
        await engine.create(quick, 0)
        assert sum((await engine.count()).values()) == 1


async def test_l14_what_waits_for_room_is_told_when_the_engine_drains():
    async with open_test_engine(
        workflows=[held], slots=1, limits=Limits(queue_entries=1, create_rate=0.01, create_burst=2)
    ) as engine:
        told: list[str] = []

        async def waits(count: int) -> None:
            with pytest.raises(EngineClosed, match="drains"):
                await engine.create_batch(held, [1] * count, on_overload="wait")
            told.append("drains")

        await engine.create_batch(held, [0] * 2)
        async with trio.open_nursery() as nursery:
            for count in (1, 2):
                nursery.start_soon(waits, count)
            await trio.testing.wait_all_tasks_blocked()
            await engine.drain()
        assert told == ["drains"] * 2


async def test_c10_a_batch_that_waits_has_its_turn_before_single_creations():
    async with Engine(
        ":memory:", workflows=[quick], slots=1, limits=Limits(queue_entries=50)
    ) as engine:

        async def single() -> None:
            while True:
                try:
                    await engine.create(quick, 0)
                except Overloaded:
                    await trio.lowlevel.checkpoint()

        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                for _ in range(60):
                    nursery.start_soon(single)
                for _ in range(3):
                    assert (
                        len(
                            (await engine.create_batch(quick, [0] * 40, on_overload="wait")).created
                        )
                        == 40
                    )
                    await engine.create(quick, 0, on_overload="wait")
                nursery.cancel_scope.cancel()


async def test_c10_a_caller_with_an_id_is_let_in_when_it_was_told_whoever_hammers():
    async with open_test_engine(
        workflows=[quick], limits=Limits(create_rate=20, create_burst=5)
    ) as engine:

        async def hammer() -> str:
            refused = ""
            for _ in range(200):
                try:
                    await engine.create(quick, 0)
                except Overloaded as error:
                    refused = str(error)
            return refused

        await hammer()
        with pytest.raises(Overloaded) as refused:
            await engine.create(quick, 0, id="polite")
        assert "under the same id" in str(refused.value)
        assert 'on_overload="wait"' in str(refused.value)
        until = refused.value.retry_after
        assert until <= 10.1, "whoever hammers is pushed no further"
        for _ in range(20):
            await engine.clock.advance(until / 20)
            if _ < 19:
                await hammer()
        assert (await engine.create(quick, 0, id="polite")).id == "polite"
        assert "somebody else may be faster" in await hammer()


async def test_c10_a_batch_that_never_fits_is_not_told_to_wait():
    async with open_test_engine(
        workflows=[quick], slots=4, limits=Limits(queue_entries=50)
    ) as engine:
        with pytest.raises(
            Overloaded, match=r"more than its queue \(queue_entries\) and all slots hold.*Split it"
        ) as refused:
            await engine.create_batch(quick, [0] * 60, on_overload="wait")
        assert "on_overload" not in str(refused.value)


async def test_c10_creations_that_wait_are_let_in_at_the_rate():
    async with open_test_engine(
        workflows=[quick], limits=Limits(create_rate=10, create_burst=1)
    ) as engine:
        began = engine.clock.now()
        async with trio.open_nursery() as nursery:
            for number in range(30):
                nursery.start_soon(
                    lambda number=number: engine.create(quick, number, on_overload="wait")
                )
        assert 2.8 <= (engine.clock.now() - began).total_seconds() <= 3.1


async def test_c10_a_rate_is_not_forgotten_when_the_engine_opens_again(tmp_path):
    let_in = 0
    for _ in range(4):
        async with Engine(
            str(tmp_path / "x.db"),
            workflows=[quick],
            limits=Limits(create_rate=0.001, create_burst=5),
        ) as engine:
            for _ in range(8):
                try:
                    await engine.create(quick, 0)
                    let_in += 1
                except Overloaded:
                    break
    assert let_in == 5


async def test_on_overload_is_one_of_two_words():
    async with open_test_engine(workflows=[quick]) as engine:
        for method, what in ((engine.create, 0), (engine.create_batch, [0])):
            with pytest.raises(InvalidConfig, match="on_overload"):
                await method(quick, what, on_overload="ignore")
        assert (await engine.count())[Status.COMPLETE] == 0


def test_c10_a_task_of_asyncio_that_waits_and_is_cancelled_creates_nothing():
    async def main() -> dict[Status, int]:
        async with aio.Engine(
            ":memory:",
            workflows=[long_on_asyncio],
            slots=1,
            limits=Limits(queue_entries=1),
            grace=0,
        ) as engine:
            await engine.create_batch(long_on_asyncio, [0] * 2)
            waits = asyncio.create_task(engine.create(long_on_asyncio, 1, on_overload="wait"))
            for _ in range(20):  # wherever it is by then, it was not let in
                await asyncio.sleep(0)
            waits.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waits
            await engine.set_limits(queue_entries=10)
            await engine.create(long_on_asyncio, 2)
            return await engine.count()

    assert sum(asyncio.run(main()).values()) == 3
