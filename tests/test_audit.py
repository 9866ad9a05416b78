"""Who did what is a row in the commit of what they did, whatever happens next."""

import contextlib

import pytest
import trio

from stepwell import AuditRow, EngineClosed, InvalidConfig, InvalidName, InvalidState, workflow
from stepwell.testing import open_test_engine


@workflow
async def waits(step):
    return (await step.wait_for_event("go")).payload


@workflow
async def asks(step):
    return (await step.wait_for_approval("ship")).by


@workflow
async def retries(step):
    await step.do(fails)


async def fails() -> None:
    raise ValueError("broken")


ALL = [waits, asks, retries]


@pytest.fixture(params=[":memory:", "s.db"])
def opened(request, tmp_path):
    store = request.param if request.param == ":memory:" else str(tmp_path / request.param)
    return open_test_engine(workflows=ALL, store=store, autojump=False)


def told(rows: list[AuditRow]) -> list[tuple]:
    """Oldest first."""
    return [(it.operation, it.actor, it.note, it.result) for it in reversed(rows)]


async def test_what_is_done_to_an_instance_is_there_and_what_changed_nothing_is_not(opened):
    async with opened as engine:
        instance = await engine.create(waits, id="a")
        await instance.wait_for_status("waiting")
        await instance.retry_now(actor="ann")
        await instance.resume(actor="ann")
        await instance.pause(actor="ann", note="the shop is closed")
        await instance.pause(actor="bob")
        await instance.resume()
        await instance.wait_for_status("waiting")
        await instance.terminate(actor="bob", note="unwanted")
        with pytest.raises(InvalidState):
            await instance.terminate(actor="ann")
        other = await engine.create(waits, id="b")
        await other.terminate()

        page = await engine.audit(workflow=waits, id="a")
        assert told(page.items) == [
            ("pause", "ann", "the shop is closed", "paused"),
            ("resume", None, None, "queued"),
            ("terminate", "bob", "unwanted", "terminated"),
        ]
        assert page.cursor is None
        assert {(it.workflow, it.id, it.filter) for it in page.items} == {("waits", "a", None)}
        status = await instance.status()
        assert status.error.message == "bob terminated it: unwanted"
        assert (await other.status()).error.message == "somebody terminated it"
        assert all(it.at == engine.clock.now() for it in page.items)

        every = [*page.items]
        every.insert(0, (await engine.audit(workflow=waits, id="b")).items[0])
        assert (await engine.audit()).items == every
        assert (await engine.audit(workflow="asks")).items == []
        await engine.crash()
        assert (await engine.audit()).items == every


async def test_pages_follow_one_another(opened):
    async with opened as engine:
        instance = await engine.create(waits)
        await instance.wait_for_status("waiting")
        for actor in "abcd":
            await instance.pause(actor=actor)
            await instance.resume(actor=actor)
        seen, cursor = [], None
        while True:
            page = await engine.audit(limit=3, cursor=cursor)
            seen += page.items
            cursor = page.cursor
            if cursor is None:
                break
        assert [it.actor for it in reversed(seen)] == list("aabbccdd")


async def test_retries_that_are_hastened_and_decisions_and_limits_are_there(opened):
    async with opened as engine:
        instance = await engine.create(retries, id="a")
        await instance.wait_for_status("waiting")
        await instance.retry_now(actor="ann")
        asker = await engine.create(asks, id="a")
        assert await engine.approvals.approve("asks/a#ship#1", by="bob", note="paid")
        assert not await engine.approvals.reject("asks/a#ship#1", by="eve")
        assert await asker.result() == "bob"
        await engine.set_limits(waits, concurrency=3, steps=None, actor="ann", note="a flood")
        with pytest.raises(InvalidConfig):
            await engine.set_limits(waits, concurrency=-1, actor="eve")
        page = await engine.audit()
        assert told(page.items) == [
            ("retry_now", "ann", None, page.items[-1].result),
            ("approve", "bob", "paid", "asks/a#ship#1"),
            ("set_limits", "ann", "a flood", "concurrency=3, steps cleared"),
        ]
        assert (page.items[0].workflow, page.items[0].id) == ("waits", None)


async def test_a_namespace_sees_its_own(opened):
    async with opened as engine:
        other = engine.namespace("acme")
        mine, theirs = await engine.create(waits, id="a"), await other.create(waits, id="a")
        await mine.terminate(actor="ann")
        await theirs.terminate(actor="bob")
        assert [it.actor for it in (await engine.audit()).items] == ["ann"]
        assert [it.actor for it in (await other.audit(workflow="waits", id="a")).items] == ["bob"]


async def test_rows_are_kept_for_400_days(opened):
    async with opened as engine:
        instance = await engine.create(waits)
        await instance.wait_for_status("waiting")
        await instance.pause(actor="ann")
        await engine.clock.advance("365 days")
        await engine.clock.advance("34 days")
        await instance.resume(actor="bob")
        assert [it.actor for it in (await engine.audit()).items] == ["bob", "ann"]
        await engine.clock.advance("2 days")
        await instance.wait_for_status("waiting")
        await instance.send_event("go")
        await instance.result()
        assert [it.actor for it in (await engine.audit()).items] == ["bob"]


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"actor": ""}, InvalidName, "actor '' is not valid: 1 to 256 characters"),
        ({"actor": "a" * 257}, InvalidName, "(257 characters) is not valid: 1 to 256"),
        ({"actor": "a\nb"}, InvalidName, "no control characters"),
        ({"actor": 7}, InvalidName, "actor 7 (int)"),
        ({"note": "n" * 4097}, InvalidConfig, "4,097 characters is too long: at most 4,096"),
        ({"note": 7}, InvalidConfig, "note=7 (int) is not text"),
        ({"note": "\ud800"}, InvalidConfig, "is not text"),
    ],
)
async def test_who_cannot_be_anybody_does_nothing(opened, options, error, text):
    async with opened as engine:
        instance = await engine.create(waits)
        for method in (
            instance.pause, instance.resume, instance.retry_now, instance.terminate,
            engine.set_limits,
        ):  # fmt: skip
            more = {"concurrency": 1} if method == engine.set_limits else {}
            with pytest.raises(error) as raised:
                await method(**options, **more)
            assert text in str(raised.value)
        assert (await engine.audit()).items == []
        assert await instance.wait_for_status("waiting") == "waiting"


async def test_what_is_asked_of_the_audit_is_checked(opened):
    async with opened as engine:
        for options, text in (
            ({"id": "a"}, "is of no workflow"),
            ({"limit": 0}, "limit=0"),
            ({"cursor": "x"}, "cursor is 'x'"),
            ({"workflow": waits, "id": 7}, "id=7"),
        ):
            with pytest.raises(InvalidConfig) as raised:
                await engine.audit(**options)
            assert text in str(raised.value)


async def test_a_row_is_there_if_and_only_if_what_it_tells_is(tmp_path):
    """Killed at whatever moment of a pause."""
    for steps in range(12):
        store = str(tmp_path / f"{steps}.db")
        async with open_test_engine(workflows=ALL, store=store, autojump=False) as engine:
            instance = await engine.create(waits, id="a")
            await instance.wait_for_status("waiting")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_ignoring_the_end, instance.pause)
                for _ in range(steps):
                    await trio.lowlevel.checkpoint()
                await engine.crash()
                nursery.cancel_scope.cancel()
            paused = (await instance.status()).status == "paused"
            assert len((await engine.audit()).items) == paused


async def _ignoring_the_end(call) -> None:
    with contextlib.suppress(EngineClosed):
        await call()
