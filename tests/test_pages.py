"""Listings: what they ask of the store, cursors, and how far a page looks."""

from datetime import timedelta

import pytest

from stepwell import InvalidConfig, workflow
from stepwell._engine import reading
from stepwell.testing import open_test_engine


@workflow
async def waits(step, n: int = 0):
    await step.wait_for_event("go")


@workflow
async def calls(step):
    await step.call(waits, 1, id="called")


@workflow(name="waits", version="2")
async def later(step, n: int = 0):
    await step.wait_for_event("go")


async def all_pages(engine, **asked):
    """Every id, page by page, and how many pages ended before they were full."""
    ids, cut, cursor = [], 0, None
    while True:
        page = await engine.list(**asked, limit=7, cursor=cursor)
        assert len(page) <= 7
        ids += [it.id for it in page]
        cut += page.searched_to is not None
        if page.cursor is None:
            assert page.searched_to is None
            return ids, cut
        cursor = page.cursor


async def test_children_and_beginnings_of_ids_are_found(tmp_path):
    async with open_test_engine(workflows=[waits, calls], store=tmp_path / "s.db") as engine:
        for id in ("order-1", "order-2", "ordeal", "other"):
            await engine.create(waits, id=id)
        await (await engine.create(calls, id="parent")).wait_for_status("waiting")
        await engine.create(waits, id="parent")
        for parent in ("parent", ("calls", "parent"), (calls, "parent")):
            assert [it.id for it in await engine.list(parent=parent)] == ["called"]
        for parent in ("order-1", "nobody", (waits, "parent")):
            assert [it.id for it in await engine.list(parent=parent)] == []
        found = await engine.list(id_prefix="ord", newest_first=False)
        assert [it.id for it in found] == ["order-1", "order-2", "ordeal"]
        assert (await all_pages(engine, id_prefix="order-"))[0] == ["order-2", "order-1"]
        assert [it.id for it in await engine.list(calls, id_prefix="p")] == ["parent"]
        assert len(await engine.list(id_prefix="x")) == 0
        assert len(await engine.list(id_prefix="")) == 7


@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize("store", ["s.db", ":memory:"])
async def test_a_page_looks_at_so_many_and_goes_on_from_there(
    monkeypatch, tmp_path, newest_first, store
):
    monkeypatch.setattr(reading, "LOOKED_AT_MAX", 10)
    store = store if store == ":memory:" else tmp_path / store
    async with open_test_engine(workflows=[waits, later], store=store, autojump=False) as engine:
        start = engine.clock.now()
        for n in range(60):
            code = later if n in (3, 41, 42, 58) else waits
            await engine.create(code, n, id=f"w-{n}", start_at=start + timedelta(days=1))
            await engine.clock.advance("1 minute")
        rare = ["w-3", "w-41", "w-42", "w-58"]
        if newest_first:
            rare.reverse()
        ids, cut = await all_pages(engine, version="2", newest_first=newest_first)
        assert (ids, cut) == (rare, 6)
        ids, cut = await all_pages(
            engine, workflow="waits", status="queued", version="2", newest_first=newest_first
        )
        assert (ids, cut) == (rare, 6)
        page = await engine.list(version="2", newest_first=newest_first)
        assert page.searched_to == start + timedelta(minutes=50 if newest_first else 9)
        # what lies outside of the moments asked for is not looked at
        page = await engine.list(
            created_after=start + timedelta(minutes=40),
            created_before=start + timedelta(minutes=45),
            newest_first=newest_first,
        )
        expected = [f"w-{n}" for n in range(40, 45)]
        assert [it.id for it in page] == (expected[::-1] if newest_first else expected)
        assert page.searched_to is None


async def test_pages_stay_as_they_are_while_instances_come():
    async with open_test_engine(workflows=[waits]) as engine:
        for n in range(10):
            await engine.create(waits, id=f"w-{n}")
        first = await engine.list(limit=4)
        await engine.create(waits, id="new")
        await (await engine.get(waits, "w-6")).terminate()
        rest = await engine.list(limit=10, cursor=first.cursor)
        assert [it.id for it in (*first, *rest)] == [f"w-{n}" for n in reversed(range(10))]


async def test_a_cursor_of_another_listing_is_told(tmp_path):
    async with open_test_engine(workflows=[waits, calls], store=tmp_path / "s.db") as engine:
        for n in range(3):
            await engine.create(waits, id=f"w-{n}")
        cursor = (await engine.list(waits, limit=1)).cursor
        assert [it.id for it in await engine.list(waits, limit=5, cursor=cursor)] == ["w-1", "w-0"]
        for other in (
            {"workflow": calls},
            {"newest_first": False},
            {"status": "waiting"},
            {"attributes": {"a": 1}},
            {"id_prefix": "w"},
        ):
            with pytest.raises(InvalidConfig, match="of another listing"):
                await engine.list(**{"workflow": waits, **other}, cursor=cursor)
        with pytest.raises(InvalidConfig, match="of another listing"):
            await engine.namespace("acme").list(waits, cursor=cursor)
        with pytest.raises(InvalidConfig, match="of another listing"):
            await engine.approvals.list(waits, cursor=cursor)
        for bad in ("17", "", cursor + "0", 5):
            with pytest.raises(InvalidConfig, match="of the page before"):
                await engine.list(waits, cursor=bad)


async def test_bad_filters_say_what_they_should_be():
    async with open_test_engine(workflows=[waits]) as engine:
        for bad, told in (
            ({"status": 1}, "status=1 is no state"),
            ({"parent": 5}, "parent=5 is no instance"),
            ({"parent": ("waits",)}, "is no instance"),
            ({"id_prefix": 5}, "id_prefix=5"),
        ):
            with pytest.raises(InvalidConfig, match=told):
                await engine.list(**bad)
        with pytest.raises(InvalidConfig, match="status=1 is no state"):
            await engine.count(status=1)


async def test_blocked_instances_are_listed_by_what_reasons_says_of_them(tmp_path):
    store = tmp_path / "s.db"
    async with open_test_engine(workflows=[waits], store=store) as engine:
        await (await engine.create(waits, id="w")).wait_for_status("waiting")
    async with open_test_engine(workflows=[calls], store=store) as engine:
        await engine.create(calls, id="c")
        reasons = {it.status: it for it in await engine.reasons()}
        page = await engine.list(reason=reasons["blocked"])
        assert [it.id for it in page] == ["w"]
        assert [it.id for it in await engine.list(reason="missing_code")] == ["w"]
        with pytest.raises(InvalidConfig, match="leave that out"):
            await engine.list(calls, reason=reasons["blocked"])


async def test_approvals_come_in_pages(monkeypatch):
    @workflow
    async def asks(step, names: list[str]):
        async with step.open_nursery() as nursery:
            for name in names:
                nursery.start_soon(step.wait_for_approval, name)

    async with open_test_engine(workflows=[asks], autojump=False) as engine:
        it = await engine.create(asks, [f"a{n}" for n in range(7)], id="i")
        await it.wait_for_status("waiting")
        first = await engine.approvals.list(limit=3)
        assert [it.name for it in first] == ["a0", "a1", "a2"]
        await engine.approvals.approve(first.items[2].id, by="ann")
        rest = await engine.approvals.list(limit=3, cursor=first.cursor)
        assert [it.name for it in rest] == ["a3", "a4", "a5"]
        last = await engine.approvals.list(limit=3, cursor=rest.cursor)
        assert ([it.name for it in last], last.cursor) == (["a6"], None)
        monkeypatch.setattr(reading, "LOOKED_AT_MAX", 2)
        names, cursor = [], None
        while True:
            page = await engine.namespace("acme").approvals.list(cursor=cursor)
            names, cursor = names + [it.name for it in page], page.cursor
            if cursor is None:
                break
        assert names == []
