"""Code that changed under an instance which waits: what is open belongs to the history (I5, I6)."""

import pytest
import trio

from stepwell import NewInstance, Retry, workflow
from stepwell.testing import open_test_engine

ran: list[str] = []


@pytest.fixture(autouse=True)
def _nothing_ran():
    ran.clear()


async def notes(what: str) -> str:
    ran.append(what)
    return what


under_way: trio.Event | None = None


async def hangs_once() -> None:
    if under_way is not None:
        under_way.set()
        await trio.sleep_forever()


async def declines() -> None:
    raise ConnectionError("no answer")


def beside(first, name: str = "w"):
    """A body with two branches: one asks for what `first` does, the other has a step that ends in
    the second life, so that this one replays."""

    @workflow(name=name)
    async def w(step):
        async with step.open_nursery() as nursery:
            nursery.start_soon(first, step)
            nursery.start_soon(step.do, hangs_once)
        await step.wait_for_event("end")
        return list(ran)

    return w


async def waits_for_an_event(step):
    await step.wait_for_event("paid")


async def asks_for_approval(step):
    await step.wait_for_approval("ship")


async def sleeps(step):
    await step.sleep("1 day")


async def has_a_deadline(step):
    with step.move_on_after("1 day"):
        await step.wait_for_event("paid")


async def calls(step):
    await step.call(child)


@workflow
async def child(step):
    await step.wait_for_event("go")


async def does_another_thing(step):
    await step.do(notes, "another", name="another")


async def asks_what_runs(step):
    if await step.patched("change"):
        await step.do(notes, "another", name="another")
    else:
        await step.wait_for_event("paid")
        await step.do(notes, "as before", name="as before")


async def begun(code, path: str, opened: str | None = None) -> None:
    """The first life ends while that step is under way, and this wait open."""
    global under_way
    under_way = trio.Event()
    async with open_test_engine([code, child], store=path, autojump=False, grace=0) as engine:
        instance = await engine.create(code, id="i")
        await under_way.wait()
        while opened is not None and opened not in [it.name for it in await instance.history()]:
            await trio.lowlevel.checkpoint()
    under_way = None


@pytest.mark.parametrize(
    ("first", "what"),
    [
        (waits_for_an_event, 'event "paid" (1st)'),
        (asks_for_approval, 'approval "ship" (1st)'),
        (sleeps, 'sleep "sleep" (1st)'),
        (has_a_deadline, '"'),
        (calls, 'call "child" (1st)'),
    ],
)
async def test_i5_code_that_asks_no_more_for_what_is_open_is_blocked_before_it_runs(
    tmp_path, first, what
):
    path, old, new = str(tmp_path / "s.db"), beside(first), beside(does_another_thing)
    await begun(old, path)
    async with open_test_engine(workflows=[new, child], store=path, autojump=False) as engine:
        instance = await engine.get(new, "i")
        await instance.wait_for_status("blocked")
        status = await instance.status()
        text = str(status.error)
        assert what in text
        assert "which is open, and not asked for, now" in text
        assert "Nothing was run." in text
        assert ran == []
    async with open_test_engine(workflows=[old, child], store=path, autojump=False) as engine:
        instance = await engine.get(old, "i")
        await instance.resume()  # the code was put back
        await instance.wait_for_status("waiting")
        assert (await instance.status()).error is None


async def test_i5_the_end_of_a_step_that_new_code_cancels_is_not_recorded_beside_an_open_wait(
    tmp_path,
):
    """It would be part of the history, and the old code could not resume it any more."""

    def ends_others(waits: bool):
        @workflow(name="w")
        async def w(step):
            async def ends() -> None:
                await step.do(notes, "first")
                if waits:
                    await step.wait_for_event("paid")
                nursery.cancel_scope.cancel()

            async with step.open_nursery() as nursery:
                nursery.start_soon(ends)
                nursery.start_soon(step.do, hangs_once)
            return await step.do(notes, "last", name="last")

        return w

    path, old, new = str(tmp_path / "s.db"), ends_others(True), ends_others(False)
    await begun(old, path, "paid")
    async with open_test_engine(workflows=[new], store=path, autojump=False) as engine:
        instance = await engine.get(new, "i")
        await instance.wait_for_status("blocked")
        text = str((await instance.status()).error)
        assert 'event "paid" (1st) in nursery#1[0], which is open, and not asked for' in text
        assert [it.name for it in await instance.history()] == ["notes", "paid"]
    async with open_test_engine(workflows=[old], store=path) as engine:
        instance = await engine.get(old, "i")
        await instance.resume()
        await instance.send_event("paid")
        assert await instance.result() == "last"
    assert ran == ["first", "last"]


async def test_i6_code_that_asks_first_goes_the_old_way_where_a_wait_is_open(tmp_path):
    path, old, new = str(tmp_path / "s.db"), beside(waits_for_an_event), beside(asks_what_runs)
    await begun(old, path)
    async with open_test_engine(workflows=[new], store=path) as engine:
        instance = await engine.get(new, "i")
        await instance.send_event("paid")
        await instance.send_event("end")
        assert await instance.result() == ["as before"]


async def test_i6_code_that_asks_first_goes_the_old_way_where_a_wait_ends_before_it_asks(tmp_path):
    """There are so many that they begin one after the other, and events come before that."""
    global under_way
    path, ids = str(tmp_path / "s.db"), [f"i{n}" for n in range(200)]
    old, new = beside(waits_for_an_event), beside(asks_what_runs)
    under_way = trio.Event()
    async with open_test_engine(workflows=[old], store=path, autojump=False, grace=0) as engine:
        await engine.create_batch(old, [NewInstance(id=id) for id in ids])
        for id in ids:
            instance = await engine.get(old, id)
            while "paid" not in [it.name for it in await instance.history()]:
                await trio.lowlevel.checkpoint()
    under_way = None
    async with open_test_engine(workflows=[new], store=path) as engine:
        async with trio.open_nursery() as nursery:
            for id in ids:
                for event in ("paid", "end"):
                    nursery.start_soon((await engine.get(new, id)).send_event, event)
        for id in ids:
            await (await engine.get(new, id)).result()
    assert ran == ["as before"] * len(ids)


@pytest.mark.parametrize("changed", ["guarded", "bare", "gone"])
async def test_a_step_that_waits_for_its_next_attempt_is_part_of_the_history(tmp_path, changed):
    path = str(tmp_path / "s.db")
    retry = Retry(limit=1, delay="1 hour")

    @workflow(name="w")
    async def old(step):
        return await step.do(declines, retry=retry)

    @workflow(name="w")
    async def new(step):
        if changed == "gone":
            return None
        if changed == "bare" or await step.patched("v2"):
            return await step.do(notes, "another", name="another")
        return await step.do(declines, retry=retry)

    async with open_test_engine(workflows=[old], store=path, autojump=False) as engine:
        await (await engine.create(old, id="i")).wait_for_status("waiting")
    async with open_test_engine(workflows=[new], store=path) as engine:
        instance = await engine.get(new, "i")
        if changed == "guarded":
            await instance.wait_for_status("errored")
        else:
            await instance.wait_for_status("blocked")
            assert 'do "declines" (1st), which is open' in str((await instance.status()).error)
        assert ran == []
