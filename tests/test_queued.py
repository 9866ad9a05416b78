"""What can be changed of an instance while it is queued: its priority, and how long it waits."""

import contextlib
from datetime import timedelta

import pytest
import trio

from stepwell import InstanceNotFound, InvalidConfig, InvalidState, workflow
from stepwell.testing import open_test_engine

started: list[str] = []
release = trio.Event()


async def begin(id: str) -> None:
    started.append(id)
    await release.wait()


@workflow
async def one(step, waits: bool = False):
    if waits:
        await step.wait_for_event("go")
    await step.do(begin, step.instance.id)


@pytest.fixture(params=[":memory:", "s.db"])
def opened(request, tmp_path):
    global release
    release = trio.Event()
    started.clear()
    store = request.param if request.param == ":memory:" else str(tmp_path / request.param)
    return open_test_engine(workflows=[one], store=store, slots=1, autojump=False, grace=0)


async def taken(engine):
    """Somebody has the only slot."""
    busy = await engine.create(one, id="busy")
    await busy.wait_for_status("running")
    await trio.testing.wait_all_tasks_blocked()
    return busy


async def in_order(*those) -> list[str]:
    """Returns in which order these start, once the slot is free."""
    release.set()
    for instance in those:
        await instance.result()
    return started[1:]


@pytest.mark.parametrize("crashes", [False, True])
async def test_it_is_queued_by_its_new_priority_and_its_old_age(opened, crashes):
    async with opened as engine:
        await taken(engine)
        a, b, c, d = [await engine.create(one, id=id, priority=5 * (id == "b")) for id in "abcd"]
        await d.set_priority(5)
        await c.set_priority(5)
        await a.set_priority(-5)
        assert [(await it.explain()).details["ahead"] for it in (a, b, c, d)] == [3, 0, 1, 2]
        if crashes:
            await engine.crash()
            started.pop()  # the one that runs begins anew
        assert await in_order(a, b, c, d) == ["b", "c", "d", "a"]


async def test_one_that_is_queued_again_after_a_wait_is_moved_too(opened):
    async with opened as engine:
        waits = [await engine.create(one, True, id=id) for id in "ab"]
        for it in waits:
            await it.wait_for_status("waiting")
        await taken(engine)
        new = await engine.create(one, id="new")
        for it in waits:
            await it.send_event("go")
            assert await it.wait_for_status("queued") == "queued"
        await waits[1].set_priority(1)
        await new.set_priority(2)
        assert await in_order(new, *waits) == ["new", "b", "a"]


@pytest.mark.parametrize("crashes", [False, True])
async def test_one_with_a_start_at_starts_now_by_its_age(opened, crashes):
    async with opened as engine:
        at = engine.clock.now() + timedelta(hours=1)
        later = await engine.create(one, id="later", start_at=at)
        assert (await later.explain()).code == "start_at"
        await taken(engine)
        new = await engine.create(one, id="new")
        await later.start_now(actor="ann", note="the shop opens early")
        assert (await later.explain()).details["ahead"] == 0
        if crashes:
            await engine.crash()
            started.pop()
        assert await in_order(later, new) == ["later", "new"]
        [row] = (await engine.audit(workflow=one, id="later")).items
        assert (row.operation, row.actor, row.note) == ("start_now", "ann", "the shop opens early")


async def test_a_start_at_is_kept_with_another_priority_and_that_holds_when_it_comes(opened):
    async with opened as engine:
        at = engine.clock.now() + timedelta(hours=1)
        both = [await engine.create(one, id=id, start_at=at) for id in "ab"]
        await both[1].set_priority(7)
        await engine.crash()
        assert (await both[1].explain()).code == "start_at"
        release.set()
        await engine.clock.advance("2 hours")
        assert started == ["b", "a"]


async def test_one_starts_at_once_where_a_slot_is_free(opened):
    async with opened as engine:
        at = engine.clock.now() + timedelta(hours=1)
        later = await engine.create(one, id="later", start_at=at)
        await later.start_now()
        assert await later.wait_for_status("running") == "running"


async def test_what_changes_nothing_is_not_told(opened):
    async with opened as engine:
        await taken(engine)
        queued = await engine.create(one, id="queued", priority=3)
        await queued.start_now(actor="ann")
        await queued.set_priority(3, actor="ann")
        assert (await engine.audit()).items == []
        await queued.set_priority(4, actor="bob")
        [row] = (await engine.audit()).items
        assert (row.operation, row.actor, row.result) == ("set_priority", "bob", "priority=4")


async def test_what_is_not_queued_is_refused_by_its_state(opened):
    async with opened as engine:
        busy = await taken(engine)
        for call in (lambda: busy.set_priority(5), busy.start_now):
            with pytest.raises(
                InvalidState, match=r'"busy" of "one" is (running|waiting): only while it is queued'
            ):
                await call()
        paused = await engine.create(one, id="paused")
        await paused.pause()
        with pytest.raises(
            InvalidState, match=r"is paused: only while .* Nothing was changed\."
        ) as refused:
            await paused.start_now()
        assert refused.value.status == "paused"
        assert [it.operation for it in (await engine.audit()).items] == ["pause"]


@pytest.mark.parametrize("nonsense", [101, -101, 1.0, True, "high", None])
async def test_a_priority_that_is_none_is_refused_before_anything_is_asked(opened, nonsense):
    async with opened as engine:
        await taken(engine)
        queued = await engine.create(one, id="queued")
        with pytest.raises(InvalidConfig, match="priority"):
            await queued.set_priority(nonsense)
        assert (await engine.audit()).items == []


async def test_calls_at_one_time_take_effect_in_their_order(opened):
    async with opened as engine:
        await taken(engine)
        at = engine.clock.now() + timedelta(hours=1)
        a = await engine.create(one, id="a", start_at=at)
        b, c = await engine.create(one, id="b"), await engine.create(one, id="c")
        # one round of the loop: all in one batch, in no order but that of each instance
        async with trio.open_nursery() as nursery:
            nursery.start_soon(a.set_priority, 5)
            nursery.start_soon(a.start_now)
            nursery.start_soon(c.set_priority, 1)
            nursery.start_soon(b.pause)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(b.resume)
        await b.set_priority(9)
        assert await in_order(a, b, c) == ["b", "a", "c"]


async def unless_gone(call, *args) -> None:
    with contextlib.suppress(InvalidState, InstanceNotFound):  # trio runs the other one first
        await call(*args)


@pytest.mark.parametrize("verb", ["pause", "terminate", "restart", "delete"])
async def test_one_that_was_just_moved_is_found_where_it_is_now(opened, verb):
    """Mostly in the same commit: then where it is queued is not what its row says."""
    async with opened as engine:
        await taken(engine)
        at = engine.clock.now() + timedelta(hours=1)
        for start_at in (None, at):
            id = f"{verb}-{start_at is not None}"
            it = await engine.create(one, id=id, start_at=start_at)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(unless_gone, it.set_priority, 50)
                nursery.start_soon(getattr(it, verb))
        counts = await engine.count(one)
        here = {"pause": "paused", "terminate": "terminated", "restart": "queued"}.get(verb)
        assert {state: n for state, n in counts.items() if n and state != "running"} == (
            {here: 2} if here else {}
        )
