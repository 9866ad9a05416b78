"""The outcome of a stuck step, set by hand."""

import pytest
import trio

from stepwell import (
    InvalidConfig,
    InvalidState,
    NotSerializable,
    Retry,
    StepFailed,
    StepRef,
    workflow,
)
from stepwell.testing import open_test_engine

ran: list[str] = []
release = trio.Event()


async def charge() -> int:
    ran.append("charge")
    raise ValueError("the provider is down")


async def other() -> str:
    ran.append("other")
    return "other"


async def hangs() -> None:
    await release.wait()


@workflow
async def order(step):
    try:
        paid: object = await step.do(charge)
    except StepFailed as error:
        paid = [error.type, error.message]
    return [paid, await step.do(other)]


@workflow
async def both(step):
    async with step.open_nursery() as nursery:
        paid = nursery.start_soon(step.do, charge)
        event = nursery.start_soon(step.wait_for_event, "go")
    return [paid.value, event.value.payload]


@workflow(on_error="blocked")
async def careful(step):
    return [await step.do(other), await step.do(charge, retry=Retry.never)]


@workflow
async def runs(step):
    await step.do(hangs)


@pytest.fixture(params=[":memory:", "s.db"])
def opened(request, tmp_path):
    global release
    release = trio.Event()
    ran.clear()
    store = request.param if request.param == ":memory:" else str(tmp_path / request.param)
    return open_test_engine(
        workflows=[order, both, careful, runs], store=store, slots=2, autojump=False, grace=0
    )


async def stuck(engine, code=order, status="waiting"):
    instance = await engine.create(code, id="o")
    await instance.wait_for_status(status)
    return instance


@pytest.mark.parametrize("crashes", ["never", "before", "after"])
async def test_a_step_that_is_retried_has_this_value_and_is_not_attempted_again(opened, crashes):
    async with opened as engine:
        instance = await stuck(engine)
        if crashes == "before":
            await engine.crash()
        [_, line] = await instance.history()
        await instance.resolve(line.ref, 42, actor="ann", note="paid by phone")
        if crashes == "after":
            await engine.crash()
        assert await instance.result() == [42, "other"]
        assert ran == ["charge", "other"]
        done = [it for it in await instance.history() if it.name == "charge"][-1]
        assert (done.status, done.output) == ("done", 42)
        [row] = (await engine.audit()).items
        assert (row.operation, row.actor, row.note) == ("resolve", "ann", "paid by phone")
        assert row.result == '"charge" done'
        await engine.clock.advance("2 hours")
        assert ran == ["charge", "other"]


async def test_a_step_can_be_said_to_have_failed(opened):
    async with opened as engine:
        instance = await stuck(engine)
        await instance.resolve(StepRef("charge"), error=ValueError("no such card"))
        assert await instance.result() == [["ValueError", "no such card"], "other"]
        assert (await engine.audit()).items[0].result == '"charge" failed'


async def test_one_that_is_paused_stays_so_and_has_it_when_it_goes_on(opened):
    async with opened as engine:
        instance = await stuck(engine)
        await instance.pause()
        await instance.resolve(StepRef("charge"), 1)
        assert (await instance.status()).status == "paused"
        await engine.crash()
        await instance.resume()
        assert await instance.result() == [1, "other"]
        assert ran == ["charge", "other"]


async def test_what_else_is_waited_for_is_waited_for_still(opened):
    async with opened as engine:
        instance = await stuck(engine, both)
        [ref] = {it.ref for it in await instance.history() if it.name == "charge"}
        await instance.resolve(ref, 5)
        await trio.testing.wait_all_tasks_blocked()
        assert await instance.wait_for_status("waiting") == "waiting"
        assert [it.name for it in await instance.history() if it.status == "waiting"] == ["go"]
        await instance.send_event("go", "now")
        assert await instance.result() == [5, "now"]
        assert ran == ["charge"]


@pytest.mark.parametrize("crashes", [False, True])
async def test_a_failure_that_the_instance_is_blocked_for_is_replaced(opened, crashes):
    async with opened as engine:
        instance = await stuck(engine, careful, "blocked")
        await instance.resolve(StepRef("charge"), 7)
        assert (await instance.status()).status == "blocked"
        if crashes:
            await engine.crash()
        await instance.resume()
        assert await instance.result() == ["other", 7]
        assert ran == ["other", "charge"]


async def test_a_value_of_another_type_blocks_and_is_set_anew(opened):
    async with opened as engine:
        instance = await stuck(engine)
        await instance.resolve(StepRef("charge"), "a lot")
        await instance.wait_for_status("blocked")
        assert 'step "charge"' in str(await instance.explain())
        await instance.resolve(StepRef("charge"), 12)
        await instance.resume()
        assert await instance.result() == [12, "other"]


async def test_one_that_is_queued_is_resolved_before_its_next_attempt(opened):
    async with opened as engine:
        instance = await stuck(engine)
        for id in "ab":
            await (await engine.create(runs, id=id)).wait_for_status("running")
        await instance.retry_now()
        assert await instance.wait_for_status("queued") == "queued"
        await instance.resolve(StepRef("charge"), 3)
        release.set()
        assert await instance.result() == [3, "other"]
        assert ran == ["charge", "other"]


async def test_of_two_at_once_one_wins(opened):
    async with opened as engine:
        instance = await stuck(engine)
        refused = []

        async def resolves(value: int) -> None:
            try:
                await instance.resolve(StepRef("charge"), value)
            except InvalidState:
                refused.append(value)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(resolves, 1)
            nursery.start_soon(resolves, 2)
        [lost] = refused
        assert await instance.result() == [3 - lost, "other"]


async def test_what_cannot_be_resolved_says_why_and_changes_nothing(opened):
    async with opened as engine:
        instance = await stuck(engine)
        before = await instance.history()
        for ref, options, error, text in (
            (StepRef("ship"), {}, InvalidConfig, 'ref: do "ship": instance "o" of "order" has rec'),
            (StepRef("charge", count=2), {}, InvalidConfig, 'do "charge" (2.)'),
            ("charge", {}, InvalidConfig, "ref is 'charge'. Pass the `ref` of a line of history()"),
            (StepRef("go", kind="event"), {}, InvalidConfig, "send_event()"),
            (StepRef("charge", kind="x"), {}, InvalidConfig, 'ref is of kind "x"'),
            (StepRef("charge"), {"value": 1, "error": ValueError()}, InvalidConfig, "one of them"),
            (StepRef("charge"), {"error": "no"}, InvalidConfig, "error is 'no' (str)"),
            (StepRef("charge"), {"value": object()}, NotSerializable, "value is an object"),
            (StepRef("charge"), {"actor": 7}, Exception, "actor 7 (int)"),
        ):
            with pytest.raises(error) as refused:
                await instance.resolve(ref, **options)
            assert text in str(refused.value)
        assert await instance.history() == before
        assert (await engine.audit()).items == []


async def test_one_that_runs_or_has_ended_or_has_the_outcome_is_refused(opened):
    async with opened as engine:
        busy = await engine.create(runs, id="busy")
        await busy.wait_for_status("running")
        with pytest.raises(InvalidState, match=r'"busy" of "runs" is running: pause\(\) it first'):
            await busy.resolve(StepRef("hangs"), 1)
        instance = await stuck(engine, careful, "blocked")
        with pytest.raises(InvalidState, match="has recorded what it came to"):
            await instance.resolve(StepRef("other"), 1)
        await instance.terminate()
        with pytest.raises(InvalidState, match="is terminated: it has ended"):
            await instance.resolve(StepRef("charge"), 1)
