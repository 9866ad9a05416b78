"""Another number of shards while everything goes on, seen from outside."""

import pytest
import trio

from stepwell import Engine, InvalidConfig, InvalidState, Status, Step, workflow
from stepwell.testing import open_test_engine


@workflow
async def waits(step: Step, n: int) -> int:
    await step.wait_for_event("go")
    return n


@workflow(concurrency=1)
async def narrow(step: Step, n: int) -> int:
    await step.sleep("1 second")
    return n


async def test_everything_goes_on_while_shards_change():
    async with open_test_engine(workflows=[waits, narrow], shards=1) as engine:
        assert engine.statistics().shards == 1
        created = (await engine.create_batch(waits, list(range(200)))).created
        for shards in (64, 4096, 3, 1):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(engine.reshard, shards)
                more = await engine.create(waits, shards, id=f"late-{shards}")
                created.append(more)
                assert engine.peek(waits, more.id) is not None
            assert engine.statistics().shards == shards
        for instance in created:
            await instance.send_event("go")
        assert [await instance.result() for instance in created] == [*range(200), 64, 4096, 3, 1]


async def test_what_is_queued_keeps_its_order_across_shards():
    done: list[int] = []

    @workflow
    async def noted(step: Step, n: int) -> None:
        done.append(n)

    async with open_test_engine(workflows=[waits, noted], slots=1, shards=1) as engine:
        hold = await engine.create(waits, 0)
        await hold.wait_for_status("waiting")
        await engine.set_limits(noted, concurrency=1)
        created = (await engine.create_batch(noted, list(range(300)))).created
        await engine.reshard(64)
        for instance in created:
            await instance.result()
        assert done == list(range(300))


@pytest.mark.parametrize("shards", [0, -1, 4097, 1.5, True, "4", None])
async def test_numbers_of_shards_that_make_no_sense_are_refused(shards):
    async with Engine(":memory:", workflows=[waits]) as engine:
        with pytest.raises(InvalidConfig, match="shards is"):
            await engine.reshard(shards)
        assert engine.statistics().shards == 64


async def test_one_change_at_a_time():
    refused: list[str] = []

    async def try_to(engine, shards):
        try:
            await engine.reshard(shards)
        except InvalidState as error:
            refused.append(str(error))

    async with Engine(":memory:", workflows=[waits, narrow], shards=1) as engine:
        for _ in range(5):
            await engine.create_batch(narrow, [0] * 10_000)
        async with trio.open_nursery() as nursery:
            for shards in (8, 16):
                nursery.start_soon(try_to, engine, shards)
        assert len(refused) == 1
        assert "under way" in refused[0]
        assert engine.statistics().shards in (8, 16)
        assert (await engine.count(narrow))[Status.QUEUED] > 0


async def test_the_number_of_shards_is_kept(tmp_path):
    async with Engine(tmp_path / "store.db", workflows=[waits], shards=7) as engine:
        instance = await engine.create(waits, 1)
        await instance.wait_for_status("waiting")
    async with Engine(tmp_path / "store.db", workflows=[waits]) as engine:
        assert engine.statistics().shards == 7
        await engine.reshard(9)
    async with Engine(tmp_path / "store.db", workflows=[waits]) as engine:
        assert engine.statistics().shards == 9
        await (await engine.get(waits, instance.id)).send_event("go")
        assert await (await engine.get(waits, instance.id)).result() == 1
