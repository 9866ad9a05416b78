"""A child that was called ends when nobody waits for it any more; one that was created lives on
(rules I8, L10)."""

import pytest
import trio

from stepwell import InstanceErrored, InstanceTerminated, InvalidState, Retry, Status, workflow
from stepwell.testing import open_test_engine

seen: list[str] = []
gate = trio.Event()
entered = trio.Event()
release = trio.Event()


@pytest.fixture(autouse=True)
def _fresh():
    global gate, entered, release
    seen.clear()
    gate, entered, release = trio.Event(), trio.Event(), trio.Event()


async def breaks() -> None:
    await gate.wait()
    raise ValueError("broken")


async def runs_for_ever() -> None:
    entered.set()
    try:
        await trio.sleep_forever()
    finally:
        seen.append("cancelled")


async def _until_released() -> None:
    await release.wait()


def runs_in_a_thread() -> str:
    trio.from_thread.run_sync(entered.set)
    trio.from_thread.run(_until_released)
    return "late"


async def after() -> None:
    seen.append("after")


@workflow
async def child(step, how: str):
    """What a child can be at when it is terminated."""
    if how == "grandchild":
        await step.call(child, "waits")
    elif how == "runs":
        await step.do(runs_for_ever)
    elif how == "runs in a thread":
        await step.do(runs_in_a_thread)
    elif how == "asks":
        await step.wait_for_approval("ok")
    elif how == "retries":
        await step.do(fails_at_once, retry=Retry(limit=5, delay="1 hour", jitter=0))
    elif how == "blocked":
        # two that wait for the same and are no branches: a race (I3)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(in_a_task_of_its_own, step)
            nursery.start_soon(in_a_task_of_its_own, step)
    else:
        await step.wait_for_event("go")
    await step.do(after)


async def in_a_task_of_its_own(step) -> None:
    await step.wait_for_event("go")


async def fails_at_once() -> None:
    raise KeyError("again")


@workflow
async def sibling_fails(step, how: str):
    try:
        async with step.open_nursery() as nursery:
            nursery.start_soon(step.call, child, how)
            nursery.start_soon(lambda: step.do(breaks, retry=Retry.never))
    except* ValueError:
        pass
    return (await step.wait_for_event("on")).payload


@workflow
async def cancels(step, how: str):
    async def then_cancel(scope: trio.CancelScope):
        await step.wait_for_event("cancel")
        scope.cancel()

    async with step.open_nursery() as nursery:
        nursery.start_soon(step.call, child, how)
        nursery.start_soon(then_cancel, nursery.cancel_scope)
    return (await step.wait_for_event("on")).payload


async def the_child(engine, how: str = ""):
    """Returns the only child, once it is at what it is to be at."""
    while not (items := (await engine.list(child)).items):
        await trio.lowlevel.checkpoint()
    made = await engine.get(child, items[-1].id)
    if how.startswith("runs"):
        await entered.wait()
    elif how == "blocked":
        await made.wait_for_status("blocked")
    else:
        await made.wait_for_status("waiting")
    return made


async def found(engine) -> set[Status]:
    """Returns the states in which children are."""
    return {item.status for item in (await engine.list(child)).items}


async def ended(made, parent: str) -> None:
    """The child is terminated, and everybody who asks is told why."""
    await made.wait_for_status("terminated")
    with pytest.raises(InstanceTerminated, match=f"which called it, {parent}") as caught:
        await made.result()
    status = await made.status()
    assert status.error == caught.value.error
    assert status.ended_at is not None
    explanation = await made.explain()
    assert (explanation.code, status.error.message in explanation.text) == ("terminated", True)
    with pytest.raises(InvalidState):
        await made.send_event("go")


@pytest.mark.parametrize(
    "how", ["waits", "grandchild", "runs", "runs in a thread", "asks", "retries", "blocked"]
)
async def test_i8_a_cancelled_call_terminates_its_child_whatever_it_is_at(how):
    async with open_test_engine(workflows=[child, sibling_fails], autojump=False) as engine:
        parent = await engine.create(sibling_fails, how, id="p")
        if how == "grandchild":
            while len(items := (await engine.list(child)).items) < 2:
                await trio.lowlevel.checkpoint()
            for item in items:
                await (await engine.get(child, item.id)).wait_for_status("waiting")
        made = await the_child(engine, how)
        gate.set()
        await parent.wait_for_status("waiting")
        await ended(made, "(gave up the call|has ended)")
        if how == "grandchild":
            errors = {item.id: item.error.message for item in (await engine.list(child)).items}
            [first] = [
                id
                for id, error in errors.items()
                if error == "sibling_fails/p, which called it, gave up the call"
            ]
            assert f"child/{first}, which called it, has ended" in errors.values()
        release.set()
        assert (await engine.approvals.list()).items == []
        await parent.send_event("on", 7)
        assert await parent.result() == 7
        assert "after" not in seen
        assert seen == (["cancelled"] if how == "runs" else [])
        assert await found(engine) == {Status.TERMINATED}


async def test_i8_a_cancelled_call_terminates_its_child_also_by_the_nurserys_own_scope():
    async with open_test_engine(workflows=[child, cancels], autojump=False) as engine:
        parent = await engine.create(cancels, "waits", id="p")
        made = await the_child(engine)
        await parent.send_event("cancel")
        await ended(made, "gave up the call")
        await parent.send_event("on", 7)
        assert await parent.result() == 7


async def test_i8_a_cancelled_call_terminates_its_child_that_is_parked():
    async with open_test_engine(workflows=[child, cancels], autojump=False) as engine:
        parent = await engine.create(cancels, "waits", id="p")
        made = await the_child(engine)
        await parent.wait_for_status("waiting")
        await engine.clock.advance("11 seconds")
        assert engine._driver.runners == {}
        await parent.send_event("cancel")
        await ended(made, "gave up the call")
        await parent.send_event("on")
        await parent.result()


async def test_i8_a_cancelled_call_terminates_its_child_that_is_queued():
    async with open_test_engine(
        workflows=[child, sibling_fails], autojump=False, slots=1
    ) as engine:
        parent = await engine.create(sibling_fails, "waits", id="p")
        while not (items := (await engine.list(child)).items):
            await trio.lowlevel.checkpoint()
        made = await engine.get(child, items[0].id)
        assert (await made.status()).status is Status.QUEUED
        gate.set()
        await ended(made, "gave up the call")
        await parent.send_event("on")
        await parent.result()
        assert (await made.status()).started_at is None


@workflow
async def lingers(step):
    """A child whose body does not leave memory at once when it is parked."""
    try:
        await step.wait_for_event("go")
    finally:
        with trio.CancelScope(shield=True):
            await release.wait()
    await step.do(after)


@workflow
async def calls_one_that_lingers(step):
    async def then_cancel(scope: trio.CancelScope):
        await step.wait_for_event("cancel")
        scope.cancel()

    async with step.open_nursery() as nursery:
        nursery.start_soon(step.call, lingers)
        nursery.start_soon(then_cancel, nursery.cancel_scope)


async def test_i8_a_terminated_child_does_not_start_when_its_parked_body_has_left_memory_at_last():
    async with open_test_engine(
        workflows=[lingers, calls_one_that_lingers], autojump=False
    ) as engine:
        parent = await engine.create(calls_one_that_lingers)
        while not (items := (await engine.list(lingers)).items):
            await trio.lowlevel.checkpoint()
        made = await engine.get(lingers, items[0].id)
        await made.wait_for_status("waiting")
        await engine.clock.advance("11 seconds")  # parked: its body is cancelled, and lingers
        await made.send_event("go")
        await made.wait_for_status("running")  # its new body waits until the old one is gone
        await engine.clock.settled()
        await parent.send_event("cancel")
        await made.wait_for_status("terminated")
        await parent.result()
        release.set()
        await engine.clock.settled()
        assert seen == []
        assert engine._driver.runners == {}


@pytest.mark.parametrize("how", ["waits", "grandchild", "runs"])
async def test_i8_a_crash_between_a_failure_and_the_withdrawal_leaves_no_child_behind(how):
    async with open_test_engine(workflows=[child, sibling_fails], autojump=False) as engine:
        parent = await engine.create(sibling_fails, how, id="p")
        made = await the_child(engine, how)
        withdrawn = trio.Event()
        # neither this nor what follows gets as far as a commit
        engine._driver.withdraw = lambda *_: withdrawn.set()
        engine._driver.quiet = engine._driver.wait_event = lambda *_, **__: 1 << 60
        gate.set()
        await withdrawn.wait()
        assert (await made.status()).status in (Status.WAITING, Status.RUNNING)
        await engine.crash()  # the new core's methods are the real ones
        await ended(made, "gave up the call")
        for _ in range(2):
            await engine.crash()
        await parent.send_event("on", 7)
        assert await parent.result() == 7
        assert await found(engine) == {Status.TERMINATED}


@workflow
async def tells_the_end_of_another(step, how: str):
    made = await step.create(child, how)
    try:
        async with step.open_nursery() as nursery:
            nursery.start_soon(made.result)
            nursery.start_soon(lambda: step.do(breaks, retry=Retry.never))
    except* ValueError:
        pass
    return made.id


async def test_l10_a_created_child_lives_on_when_its_parent_gives_up_its_result_or_ends():
    async with open_test_engine(
        workflows=[child, tells_the_end_of_another], autojump=False
    ) as engine:
        parent = await engine.create(tells_the_end_of_another, "waits")
        made = await the_child(engine)
        gate.set()
        assert await parent.result() == made.id
        await engine.crash()
        assert (await made.status()).status is Status.WAITING
        await made.send_event("go")
        await made.result()
        assert seen == ["after"]


@workflow
async def leaves_it_open(step, how: str):
    async with step.open_nursery() as nursery:
        nursery.start_soon(step.call, child, how)
        nursery.start_soon(lambda: step.do(breaks, retry=Retry.never))


@pytest.mark.parametrize("how", ["waits", "grandchild"])
async def test_l10_a_parent_that_fails_with_a_call_open_leaves_no_child_behind(how):
    async with open_test_engine(workflows=[child, leaves_it_open], autojump=False) as engine:
        parent = await engine.create(leaves_it_open, how, id="p")
        while len((await engine.list(child)).items) < (2 if how == "grandchild" else 1):
            await trio.lowlevel.checkpoint()
        gate.set()
        with pytest.raises(InstanceErrored):
            await parent.result()
        assert await found(engine) == {Status.TERMINATED}
        await engine.crash()
        assert engine._driver.core.statistics()["live"] == 0


@workflow
async def waits_for_it(step, id: str):
    try:
        await step.call(child, "waits", id=id)
    except InstanceTerminated as error:
        return [str(error), error.error.type]


@workflow
async def calls_a_caller(step, id: str):
    async def then_cancel(scope: trio.CancelScope):
        await step.wait_for_event("cancel")
        scope.cancel()

    async with step.open_nursery() as nursery:
        nursery.start_soon(step.call, waits_for_it, id)
        nursery.start_soon(then_cancel, nursery.cancel_scope)


async def test_l10_nobody_is_told_of_a_childs_termination_by_an_instance_that_ended_with_it():
    flows = [child, waits_for_it, calls_a_caller]
    async with open_test_engine(workflows=flows, autojump=False) as engine:
        parent = await engine.create(calls_a_caller, "below")
        below = await the_child(engine)
        await parent.send_event("cancel")
        await parent.result()
        await ended(below, "has ended")
        [middle] = (await engine.list(waits_for_it)).items
        assert middle.status is Status.TERMINATED
        history = await (await engine.get(waits_for_it, middle.id)).history()
        assert history == []


async def test_i8_shutting_down_terminates_no_child(tmp_path):
    store = str(tmp_path / "store.db")
    async with open_test_engine(
        workflows=[child, sibling_fails], store=store, autojump=False, grace=0
    ) as engine:
        await engine.create(sibling_fails, "waits", id="p")
        made = await the_child(engine)
    async with open_test_engine(
        workflows=[child, sibling_fails], store=store, autojump=False
    ) as engine:
        made = await engine.get(child, made.id)
        assert (await made.status()).status is Status.WAITING
        gate.set()
        await ended(made, "gave up the call")
