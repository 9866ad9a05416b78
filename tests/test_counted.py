"""Whoever is counted as a reason is listed by it, and can be moved by it; nobody else is."""

from collections import Counter
from datetime import timedelta

import pytest
import trio
import trio.testing

from stepwell import InvalidConfig, Retry, Status, workflow
from stepwell._engine import reading
from stepwell.testing import open_test_engine


class AuthError(Exception):
    pass


class Down(Exception):
    pass


def fails(how: str):
    raise {"auth": AuthError, "down": Down}[how](how)


PATIENT = Retry(limit=9, delay="1 hour", backoff="constant", jitter=0)


@workflow
async def order(step, how: str):
    match how.partition("-")[0]:
        case "event":
            await step.wait_for_event("paid")
        case "other":
            await step.wait_for_event("shipped")
        case "approval":
            await step.wait_for_approval("refund")
        case "sleep":
            await step.sleep("2 days", name="nap")
        case "child":
            await step.call(order, "event-called", id=f"called-{how}")
        case "auth" | "down" as why:
            await step.do(fails, why, name="charge", retry=PATIENT)
        case "errored":
            await step.do(fails, "auth", name="charge", retry=Retry.never)
        case "broken":
            raise KeyError(how)


@workflow
async def later(step):
    await step.wait_for_event("go")


@workflow(on_error="blocked")
async def blocks(step, how: str):
    raise {"key": KeyError, "value": ValueError}[how](how)


@workflow(concurrency=1)
async def narrow(step):
    await step.do(trio.sleep_forever)


KINDS = ("event", "other", "approval", "sleep", "child", "auth", "down", "errored", "broken")


async def fill(engine) -> None:
    for n in range(3):
        for kind in KINDS[n:]:
            it = await engine.create(order, f"{kind}-{n}", id=f"{kind}-{n}")
            await it.wait_for_status("waiting", "errored")
    start = engine.clock.now() + timedelta(days=3)
    for n in range(3):
        await engine.create(later, id=f"l-{n}", start_at=start)
        await engine.create(narrow, id=f"n-{n}")
        paused = await engine.create(order, "event-p", id=f"paused-{n}")
        await paused.wait_for_status("waiting")
        await paused.pause()
        for how in ("key", "value"):
            await (await engine.create(blocks, how, id=f"{how}-{n}")).wait_for_status("blocked")
    acme = engine.namespace("acme")
    await (await acme.create(order, "event-0", id="event-0")).wait_for_status("waiting")


async def ids_of(engine, **asked) -> list[str]:
    ids, cursor = [], None
    while True:
        page = await engine.list(**asked, limit=2, cursor=cursor)
        ids += [it.id for it in page]
        cursor = page.cursor
        if cursor is None:
            return ids


@pytest.mark.parametrize("store", ["s.db", ":memory:"])
async def test_each_reason_lists_those_whom_it_counts(tmp_path, store):
    store = store if store == ":memory:" else tmp_path / store
    async with open_test_engine(
        workflows=[order, later, blocks, narrow], store=store, autojump=False, grace=0
    ) as engine:
        await fill(engine)
        for _ in range(2):
            rows = await engine.reasons()
            assert {it.code for it in rows} >= {
                "event", "approval", "sleep", "child", "retrying", "failed", "start_at", "paused",
                "concurrency", "body_failed",
            }  # fmt: skip
            by_code = Counter()
            for row in rows:
                for newest_first in (True, False):
                    found = await ids_of(engine, reason=row, newest_first=newest_first)
                    assert len(set(found)) == len(found) == row.count, row
                    assert row.example_id in found
                statuses = {it.status for it in await engine.list(reason=row)}
                assert statuses == {row.status}
                by_code[row.code] += row.count
            for code, count in by_code.items():
                assert len(await ids_of(engine, reason=code)) == count, code
                assert len(await ids_of(engine, reason=code, status="complete")) == 0
            await engine.crash()


async def test_a_reason_goes_with_other_filters_and_with_a_budget(monkeypatch):
    async with open_test_engine(
        workflows=[order, later, blocks, narrow], autojump=False, grace=0
    ) as engine:
        await fill(engine)
        assert await ids_of(engine, reason="retrying", id_prefix="down") == [
            "down-2",
            "down-1",
            "down-0",
        ]
        (auth,) = [
            it
            for it in await engine.reasons()
            if it.error_type == "test_counted.AuthError" and it.code == "retrying"
        ]
        assert sorted(await ids_of(engine, reason=auth, id_prefix="auth-1")) == ["auth-1"]
        assert await ids_of(engine, reason="retrying", version="2") == []
        assert await ids_of(engine, reason="slots") == []
        assert await ids_of(engine, reason="what nobody is") == []
        monkeypatch.setattr(reading, "LOOKED_AT_MAX", 1)
        page = await engine.list(reason="failed", id_prefix="errored-0")
        assert page.items == []
        assert page.searched_to is not None
        assert await ids_of(engine, reason="failed", id_prefix="errored-0") == ["errored-0"]
        assert await ids_of(engine, reason="event", id_prefix="event-2") == []
        for given in ({"workflow": later}, {"version": "2"}):
            with pytest.raises(InvalidConfig, match="leave that out"):
                await engine.list(**given, reason=auth)


async def test_what_failed_a_day_ago_is_not_why_anything_is_anywhere():
    async with open_test_engine(workflows=[order], autojump=False) as engine:
        await (await engine.create(order, "broken", id="b")).wait_for_status("errored")
        assert await ids_of(engine, reason="failed") == ["b"]
        await engine.clock.advance("25 hours")
        assert await ids_of(engine, reason="failed") == []


async def test_many_are_moved_by_why_they_are_where_they_are():
    healed = False

    async def charge():
        if not healed:
            raise AuthError("key expired")

    async def ship():
        raise Down

    @workflow(name="order")
    async def shop(step, what: str):
        if what == "pay":
            await step.do(charge, retry=PATIENT)
        elif what == "ship":
            await step.do(ship, retry=PATIENT)
        else:
            await step.do(charge, retry=Retry.never)

    async with open_test_engine(workflows=[shop], autojump=False) as engine:
        for n in range(4):
            for what in ("pay", "ship", "once"):
                it = await engine.create(shop, what, id=f"{what}-{n}")
                await it.wait_for_status("waiting", "errored")
        healed = True
        rows = {(it.code, it.step): it for it in await engine.reasons()}
        pay, once = rows["retrying", "charge"], rows["failed", "charge"]
        seen = await engine.retry_now(reason=pay, dry_run=True)
        assert (seen.counts, seen.examples[0].id) == ({Status.WAITING: 4}, "pay-0")
        done = await engine.retry_now(reason=pay, frontier=seen.frontier, actor="ann")
        assert (done.done, done.errors) == (4, [])
        done = await engine.restart(reason=once, from_step="failed")
        assert (done.done, done.errors) == (4, [])
        for n in range(4):
            for what in ("pay", "once"):
                await (await engine.get(shop, f"{what}-{n}")).wait_for_status("complete")
        assert (await engine.count())["waiting"] == 4
        done = await engine.terminate(reason="retrying")
        assert done.done == 4
        audited = {it.operation: it.filter for it in await engine.audit()}
        assert audited["retry_now"] == 'reason=retrying of "charge" after test_counted.AuthError'
        assert audited["terminate"] == "reason=retrying"


async def test_a_bulk_by_a_reason_goes_on_after_a_crash():
    async with open_test_engine(workflows=[order], autojump=False) as engine:
        for n in range(6):
            await (await engine.create(order, "auth", id=f"a-{n}")).wait_for_status("waiting")
            await (await engine.create(order, "sleep", id=f"s-{n}")).wait_for_status("waiting")
        (row,) = [it for it in await engine.reasons() if it.code == "retrying"]

        async def terminate() -> None:
            with pytest.raises(trio.Cancelled):
                await engine.terminate(reason=row, rate=1)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(terminate)
            while not (await engine.count())["terminated"]:
                await engine.clock.advance(0.1)
            nursery.cancel_scope.cancel()
        assert (await engine.count())["terminated"] < 6
        await engine.crash()
        for _ in range(10):
            await engine.clock.advance("1 second")
        assert (await engine.count())["terminated"] == 6
        assert {it.id[0] for it in await engine.list(status="terminated")} == {"a"}
