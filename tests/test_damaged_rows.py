"""A damaged row is told where it is; whatever else is in a list with it is as good as ever."""

import sqlite3
from contextlib import closing
from datetime import timedelta

import pytest

from stepwell import NewInstance, Retry, StoreCorrupt, current_step, workflow
from stepwell.testing import open_test_engine


def fails() -> None:
    raise ValueError("broken")


def reports() -> None:
    current_step().report(0.5)


@workflow
async def errs(step):
    await step.do(fails, retry=Retry.never)


@workflow
async def waits(step):
    await step.do(reports)
    await step.wait_for_approval("ship", detail="a lamp")


@workflow
async def gives(step):
    return 1


ALL = [errs, waits, gives]


async def begin(store: str) -> None:
    """Two instances of each, with something in every table that a list reads."""
    async with open_test_engine(workflows=ALL, store=store) as engine:
        for code, status in ((errs, "errored"), (waits, "waiting"), (gives, "complete")):
            for id in ("bad", "good"):
                instance = await engine.create(code, id=id, attributes={"tier": "gold"})
                await instance.wait_for_status(status)


def damage(store: str, table: str, workflow: str, column: str = "payload") -> None:
    with closing(sqlite3.connect(store)) as conn, conn:
        sql = (
            "SELECT i.no FROM instance i JOIN workflow w ON w.id = i.workflow WHERE i.id = 'bad' "
            "AND w.name = ?"
        )
        (no,) = conn.execute(sql, (workflow,)).fetchone()
        done = conn.execute(f"UPDATE {table} SET {column} = x'00' WHERE no = ?", (no,))
        assert done.rowcount == 1


@pytest.mark.parametrize(
    ("table", "code"),
    [
        ("result", errs),
        ("result", gives),
        ("progress", waits),
        ("attributes", gives),
        ("attributes", waits),
    ],
)
async def test_a_damaged_row_stands_in_every_list_and_says_so(tmp_path, table, code):
    store = str(tmp_path / "s.db")
    await begin(store)
    damage(store, table, code.name)
    async with open_test_engine(workflows=ALL, store=store, autojump=False) as engine:
        for filters in (
            {},
            {"workflow": code},
            {"status": ["errored", "waiting", "complete"]},
            {"attributes": {"tier": "gold"}},
        ):
            page = (await engine.list(**filters)).items
            assert len(page) == (2 if "workflow" in filters else 6)
            told = {
                (it.workflow, it.id): it.error.message
                for it in page
                if it.error and it.error.type == "stepwell.StoreCorrupt"
            }
            assert list(told) == [(code.name, "bad")]
            assert f"the {table} of instance" in told[code.name, "bad"]
            assert {it.id for it in page if it.workflow == code.name} == {"bad", "good"}
        assert sum((await engine.count()).values()) == 6
        with pytest.raises(StoreCorrupt):
            await (await engine.get(code, "bad")).status()
        assert (await (await engine.get(code, "good")).status()).error is None or code is errs
        assert await engine.call(gives, id="new") == 1


async def test_a_damaged_approval_says_so_in_place_of_its_detail(tmp_path):
    store = str(tmp_path / "s.db")
    await begin(store)
    async with open_test_engine(workflows=ALL, store=store) as engine:
        for id in ("bad", "good"):
            await engine.approvals.approve(f"waits/{id}#ship#1", by="ann")
            await (await engine.get(waits, id)).wait_for_status("complete")
    damage(store, "approval", "waits", "detail")
    async with open_test_engine(workflows=ALL, store=store) as engine:
        for status in (None, "approved"):
            bad, good = await engine.approvals.list(status=status)
            assert (bad.id, good.id, good.detail) == (
                "waits/bad#ship#1",
                "waits/good#ship#1",
                "a lamp",
            )
            assert "fails its checksum" in bad.detail["message"]


async def test_a_damaged_approval_blocks_the_instance_that_waits_for_it_and_nobody_else(tmp_path):
    store = str(tmp_path / "s.db")
    await begin(store)
    damage(store, "approval", "waits", "detail")
    async with open_test_engine(workflows=ALL, store=store, autojump=False) as engine:
        bad, good = [await engine.get(waits, id) for id in ("bad", "good")]
        assert await bad.wait_for_status("blocked") == "blocked"
        told = await bad.explain()
        assert (told.code, "fails its checksum" in told.text) == ("corrupt", True)
        with pytest.raises(StoreCorrupt, match="fails its checksum"):
            await engine.approvals.approve("waits/bad#ship#1", by="ann")
        await bad.resume()
        assert await bad.wait_for_status("blocked") == "blocked"
        await engine.approvals.approve("waits/good#ship#1", by="ann")
        await good.wait_for_status("complete")
        assert await engine.call(gives, id="new") == 1


@workflow
async def limited(step):
    try:
        await step.wait_for_approval("ship", timeout="1 hour")
    except TimeoutError:
        return False
    return True


async def test_a_damaged_approval_is_found_when_it_is_decided_and_times_out_all_the_same(tmp_path):
    store = str(tmp_path / "s.db")
    async with open_test_engine(workflows=[limited], store=store, autojump=False) as engine:
        bad, good = [await engine.create(limited, id=id) for id in ("bad", "good")]
        await good.wait_for_status("waiting")
        damage(store, "approval", "limited", "detail")
        with pytest.raises(StoreCorrupt, match="fails its checksum"):
            await engine.approvals.approve("limited/bad#ship#1", by="ann")
        await engine.approvals.approve("limited/good#ship#1", by="ann")
        assert await good.result() is True
        await engine.clock.advance("1 hour")
        assert await bad.result() is False


@workflow
async def awaits(step, id: str):
    child = await step.create(gives, id=id)
    await step.wait_for_event("go")
    return await child.result()


async def test_a_damaged_result_of_a_child_blocks_its_parent_and_nobody_else(tmp_path):
    store = str(tmp_path / "s.db")
    async with open_test_engine(workflows=[gives, awaits], store=store, autojump=False) as engine:
        bad, good = [await engine.create(awaits, id, id=id) for id in ("bad", "good")]
        for id in ("bad", "good"):
            await (await engine.get(awaits, id)).wait_for_status("waiting")
            await (await engine.get(gives, id)).wait_for_status("complete")
        damage(store, "result", "gives")
        for parent in (bad, good):
            await parent.send_event("go")
        assert await bad.wait_for_status("blocked", "complete") == "blocked"
        told = await bad.explain()
        assert (told.code, "the result of instance" in told.text) == ("corrupt", True)
        assert await good.result() == 1


@workflow
async def calls(step, id: str):
    await step.call(gives, id=id)


@workflow
async def creates(step, id: str):
    await step.create(gives, id=id)


@pytest.mark.parametrize("code", [calls, creates], ids=["call", "create"])
async def test_a_child_whose_id_a_damaged_instance_has_blocks_its_parent_and_nobody_else(
    tmp_path, code
):
    store = str(tmp_path / "s.db")
    async with open_test_engine(workflows=[gives, code], store=store) as engine:
        await (await engine.create(gives, id="bad")).wait_for_status("complete")
        damage(store, "instance", "gives", "created_at")
        bad = await engine.create(code, "bad", id="bad")
        assert await bad.wait_for_status("blocked", "errored") == "blocked"
        assert (await bad.explain()).code == "corrupt"
        good = await engine.create(code, "good", id="good")
        assert await good.wait_for_status("complete", "blocked") == "complete"


@workflow
async def takes(step, i: int):
    return i


async def test_an_id_whose_params_are_damaged_is_told_apart_alone(tmp_path):
    store = str(tmp_path / "s.db")
    async with open_test_engine(workflows=[gives, takes], store=store) as engine:
        await engine.call(takes, 1, id="bad")
        await engine.call(takes, 1, id="good")
        damage(store, "params", "takes")
        with pytest.raises(StoreCorrupt):
            await engine.create(takes, 1, id="bad", if_exists="return_if_same")
        items = [NewInstance(1, id=id) for id in ("bad", "good", "new")]
        batch = await engine.create_batch(takes, items, if_exists="return_if_same")
        assert [it.id for it in batch.created] == ["good", "new"]
        [error] = batch.errors
        assert (error.index, type(error.error)) == (0, StoreCorrupt)
        assert 'the params of instance "bad" of "takes" are damaged' in str(error.error)
        assert await engine.call(gives, id="another") == 1


@workflow
async def takes_two(step):
    await step.wait_for_event("other")
    return [(await step.wait_for_event("go")).payload for _ in range(2)]


@pytest.mark.parametrize("start_in", [None, "1 hour"])
async def test_a_damaged_event_blocks_its_instance_and_the_engine_opens(tmp_path, start_in):
    store = str(tmp_path / "s.db")
    async with open_test_engine(
        workflows=[gives, takes_two], store=store, autojump=False
    ) as engine:
        start_at = engine.clock.now() + timedelta(hours=1) if start_in else None
        for id in ("bad", "good"):
            instance = await engine.create(takes_two, id=id, start_at=start_at)
            await instance.wait_for_status("queued" if start_in else "waiting")
            for i in range(2):
                await instance.send_event("go", i)
    with closing(sqlite3.connect(store)) as conn, conn:
        conn.execute("UPDATE event SET payload = x'00' WHERE no = (SELECT min(no) FROM event)")
    async with open_test_engine(
        workflows=[gives, takes_two], store=store, autojump=False
    ) as engine:
        bad, good = [await engine.get(takes_two, id) for id in ("bad", "good")]
        told = await bad.explain()
        assert (told.code, "fails its checksum" in told.text, "backup" in told.text) == (
            "corrupt",
            True,
            True,
        )
        assert await engine.call(gives, id="new") == 1
        await engine.clock.advance("1 hour")
        await good.send_event("other")
        assert await good.result() == [0, 1]
        assert (await bad.status()).status == "blocked"


async def test_a_damaged_wait_blocks_its_instance_and_the_engine_opens(tmp_path):
    store = str(tmp_path / "s.db")
    await begin(store)
    damage(store, "wait", "waits", "source")
    async with open_test_engine(workflows=ALL, store=store, autojump=False) as engine:
        bad, good = sorted((await engine.list(waits)).items, key=lambda it: it.id)
        assert (bad.status, bad.reason, good.status, good.error) == (
            "blocked",
            "corrupt",
            "waiting",
            None,
        )
        assert "a wait of instance" in bad.error.message
        with pytest.raises(StoreCorrupt, match="a wait of instance"):
            await (await engine.get(waits, "bad")).explain()
        await engine.approvals.approve("waits/good#ship#1", by="ann")
        await (await engine.get(waits, "good")).wait_for_status("complete")
