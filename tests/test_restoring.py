"""What docs/restoring.md says: which steps run again in a copy, and with which idempotency keys."""

import pytest
import trio

from stepwell import InstanceNotFound, current_step, workflow
from stepwell.testing import open_test_engine

done: list[tuple[str, str, str]] = []
"""Which step ran, of which instance, with which key."""
gate = trio.Event()


def note(name: str) -> None:
    it = current_step()
    done.append((name, it.instance_id, it.idempotency_key))


async def before() -> str:
    note("before")
    return "kept"


async def under_way() -> str:
    note("under way")
    await gate.wait()
    return "ended"


async def after(said: str) -> str:
    note("after")
    return said


@workflow
async def order(step):
    first = await step.do(before)
    second = await step.do(under_way)
    said = (await step.wait_for_event("paid")).payload
    return [first, second, await step.do(after, said)]


@pytest.fixture(autouse=True)
def _nothing_done():
    global gate
    gate = trio.Event()
    done.clear()


def engine_on(store):
    return open_test_engine(workflows=[order], store=str(store), autojump=False, grace=0)


async def whose_attempt_runs(engine, id: str):
    instance = await engine.create(order, id=id)
    await instance.wait_for_step("before")
    await trio.testing.wait_all_tasks_blocked()
    return instance


async def to_its_end(instance, payload: str):
    gate.set()
    await instance.wait_for_status("waiting")
    await instance.send_event("paid", payload)
    return await instance.result()


async def test_what_was_not_recorded_runs_again_under_its_key_and_what_was_does_not(tmp_path):
    copy = tmp_path / "copy.db"
    async with engine_on(tmp_path / "s.db") as engine:
        instance = await whose_attempt_runs(engine, "o-1")
        await engine.backup(copy)
        assert await to_its_end(instance, "once") == ["kept", "ended", "once"]
    lost = {name: key for name, _, key in done}
    assert set(lost) == {"before", "under way", "after"}
    done.clear()
    async with engine_on(copy) as engine:
        instance = await engine.get(order, "o-1")
        # the event that came after the copy has to be sent again
        assert await to_its_end(instance, "again") == ["kept", "ended", "again"]
    again = {name: key for name, _, key in done}
    assert again == {name: lost[name] for name in ("under way", "after")}


async def test_a_life_that_was_begun_after_the_copy_is_not_known_to_it(tmp_path):
    copy = tmp_path / "copy.db"
    async with engine_on(tmp_path / "s.db") as engine:
        instance = await whose_attempt_runs(engine, "o-1")
        [_, (_, _, old)] = done
        await engine.backup(copy)
        await instance.restart()
        await instance.wait_for_step("before")
        await trio.testing.wait_all_tasks_blocked()
    assert done[-1][2] != old, "the new life has other keys"
    done.clear()
    async with engine_on(copy) as engine:
        await to_its_end(await engine.get(order, "o-1"), "x")
    assert done[0] == ("under way", "o-1", old)


async def test_what_was_deleted_since_is_there_and_what_was_created_is_not(tmp_path):
    copy = tmp_path / "copy.db"
    async with engine_on(tmp_path / "s.db") as engine:
        instance = await whose_attempt_runs(engine, "old")
        await engine.backup(copy)
        await instance.delete()
        await whose_attempt_runs(engine, "new")
    async with engine_on(copy) as engine:
        assert (await (await engine.get(order, "old")).status()).status == "running"
        with pytest.raises(InstanceNotFound):
            await engine.get(order, "new")
        assert await to_its_end(await engine.create(order, id="new"), "x") == ["kept", "ended", "x"]


async def test_of_many_that_run_each_step_has_one_key_in_the_store_and_its_copy(tmp_path):
    """Under load: instances are at every place while the copy is made."""
    copy, ids = tmp_path / "copy.db", [f"o-{n}" for n in range(200)]
    async with engine_on(tmp_path / "s.db") as engine, trio.open_nursery() as nursery:
        gate.set()

        async def goes_through(id: str) -> None:
            await to_its_end(await engine.create(order, id=id), id)

        acknowledged = [await engine.create(order, id=id) for id in ids[:20]]
        for id in ids[20:]:
            nursery.start_soon(goes_through, id)
        await engine.backup(copy)
        for instance in acknowledged:
            nursery.start_soon(to_its_end, instance, instance.id)
    lost = {(name, id): key for name, id, key in done}
    assert len(lost) == 3 * len(ids) == len(done)
    done.clear()
    async with engine_on(copy) as engine:
        there = [it.id for it in await engine.list(order, limit=1000)]
        assert {it.id for it in acknowledged} <= set(there)
        open_ = [
            it for it in there if not (await (await engine.get(order, it)).status()).status.is_final
        ]
        for id in open_:
            instance = await engine.get(order, id)
            await instance.send_event("paid", id, dedup_id="again")
            assert (await instance.result())[0] == "kept"
    assert len(done) == len({it[:2] for it in done}), "nothing runs twice in the copy"
    assert all(lost[name, id] == key for name, id, key in done)
