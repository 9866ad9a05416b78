"""A damaged row is told where it is; whatever else is in a list with it is as good as ever."""

import sqlite3
from contextlib import closing

import pytest

from stepwell import Retry, StoreCorrupt, current_step, workflow
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
        sql = "SELECT i.no FROM instance i JOIN workflow w ON w.id = i.workflow WHERE i.id = 'bad' AND w.name = ?"
        (no,) = conn.execute(sql, (workflow,)).fetchone()
        done = conn.execute(f"UPDATE {table} SET {column} = x'00' WHERE no = ?", (no,))
        assert done.rowcount == 1


@pytest.mark.parametrize(
    ("table", "code"), [("result", errs), ("result", gives), ("progress", waits), ("attributes", gives), ("attributes", waits)]
)
async def test_a_damaged_row_stands_in_every_list_and_says_so(tmp_path, table, code):
    store = str(tmp_path / "s.db")
    await begin(store)
    damage(store, table, code.name)
    async with open_test_engine(workflows=ALL, store=store, autojump=False) as engine:
        for filters in ({}, {"workflow": code}, {"status": ["errored", "waiting", "complete"]}, {"attributes": {"tier": "gold"}}):
            page, _ = await engine.list(**filters)
            assert len(page) == (2 if "workflow" in filters else 6)
            told = {(it.workflow, it.id): it.error.message for it in page if it.error and it.error.type == "stepwell.StoreCorrupt"}
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
            assert (bad.id, good.id, good.detail) == ("waits/bad#ship#1", "waits/good#ship#1", "a lamp")
            assert "fails its checksum" in bad.detail["message"]
