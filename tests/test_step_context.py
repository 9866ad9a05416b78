"""What a step and a body tell about themselves: report, save, log (silent on replay)."""

import asyncio
import logging
import threading

import pytest
import trio

from stepwell import (
    Engine,
    InstanceErrored,
    InvalidState,
    NotSerializable,
    Retry,
    StepwellError,
    TooLarge,
    current_step,
    workflow,
)
from stepwell.testing import open_test_engine

seen: list = []


@pytest.fixture(autouse=True)
def _nothing_seen():
    seen.clear()


async def saves_its_place() -> int:
    step = current_step()
    seen.append((step.attempt, step.saved))
    await step.save({"page": step.attempt})
    if step.attempt < 3:
        raise OSError("again")
    return step.attempt


def saves_in_a_thread() -> int:
    step = current_step()
    seen.append((step.attempt, step.saved))
    step.save({"page": step.attempt})
    if step.attempt < 3:
        raise OSError("again")
    return step.attempt


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("fn", [saves_its_place, saves_in_a_thread])
async def test_what_an_attempt_saved_is_handed_to_the_next_one_over_crashes(fn):
    @workflow(name="saving")
    async def saving(step):
        return await step.do(fn, retry=Retry(delay="1 hour"))

    async with open_test_engine(workflows=[saving], autojump=False) as engine:
        instance = await engine.create(saving)
        for _ in range(2):
            await instance.wait_for_status("waiting")
            await engine.crash()
            await engine.clock.advance("61 minutes")
        assert await instance.result() == 3
        assert seen == [(1, None), (2, {"page": 1}), (3, {"page": 2})]


@workflow
async def saving_badly(step, how: str):
    value = object() if how == "class" else "x" * (1 << 20)

    async def saves() -> str:
        try:
            await current_step().save(value)
        except StepwellError as error:
            return f"{type(error).__name__} {error}"
        return "saved"

    def saves_in_a_thread() -> str:
        try:
            current_step().save(value)
        except StepwellError as error:
            return f"{type(error).__name__} {error}"
        return "saved"

    texts = [await step.do(saves), await step.do(saves_in_a_thread)]
    assert texts[0] == texts[1]
    return texts[0]


def saves_for_ever(begun: list[int]) -> None:
    while True:
        current_step().save(len(begun))
        begun.append(1)


async def test_a_thread_that_saves_ends_when_its_engine_does():
    begun: list[int] = []

    @workflow(name="saves_on")
    async def saves_on(step):
        await step.do(saves_for_ever, begun)

    async with Engine(":memory:", workflows=[saves_on], grace=0) as engine:
        await engine.create(saves_on)
        while len(begun) < 3:
            await trio.sleep(0.001)
    after = len(begun)
    await trio.to_thread.run_sync(threading.Event().wait, 0.01)
    assert len(begun) == after


async def test_a_save_that_cannot_be_stored_is_an_error_at_the_call():
    async with open_test_engine(workflows=[saving_badly]) as engine:
        assert (await engine.call(saving_badly, "class")).startswith("NotSerializable save")
        assert (await engine.call(saving_badly, "size")).startswith("TooLarge save")


async def reports() -> None:
    current_step().report(0.5, "half", file="a.txt")


def reports_in_a_thread() -> None:
    current_step().report(0.75)
    current_step().heartbeat()


@workflow
async def reporting(step):
    step.report(0.1, "begun")
    await step.do(reports)
    await step.wait_for_event("go")
    await step.do(reports_in_a_thread)
    await step.wait_for_event("go")
    step.report("nearly", count=3)
    await step.wait_for_event("go")


async def test_the_last_report_is_kept_and_none_is_repeated_on_replay():
    async with open_test_engine(workflows=[reporting], autojump=False) as engine:
        instance = await engine.create(reporting)
        for wanted in (
            {"progress": 0.5, "message": "half", "file": "a.txt"},
            {"progress": 0.75},
            {"progress": "nearly", "count": 3},
        ):
            await instance.wait_for_status("waiting")
            assert (await instance.status()).progress == wanted
            await instance.send_event("go")
            await instance.wait_for_status("waiting", "complete")
        await instance.result()
        assert (await instance.status()).progress == {"progress": "nearly", "count": 3}


@workflow
async def reporting_badly(step, how: str):
    try:
        step.report(object() if how == "class" else "x" * (1 << 16))
    except (NotSerializable, TooLarge) as error:
        return f"{type(error).__name__} {error}"


async def test_a_report_that_cannot_be_stored_is_an_error_at_the_call():
    async with open_test_engine(workflows=[reporting_badly]) as engine:
        assert (await engine.call(reporting_badly, "class")).startswith("NotSerializable report")
        assert (await engine.call(reporting_badly, "size")).startswith("TooLarge report")


@workflow
async def reports_in_time(step, how: str) -> str:
    try:
        step.report(object() if how == "class" else "x" * (1 << 16))
    except (NotSerializable, TooLarge) as error:
        await step.do(reports, name="instead")
        told = type(error).__name__
    else:
        await step.do(reports)
        told = ""
    await step.wait_for_event("go")
    return told


@pytest.mark.parametrize("how", ["class", "size"])
async def test_a_report_that_was_refused_is_refused_on_replay(how):
    async with open_test_engine(workflows=[reports_in_time], autojump=False) as engine:
        instance = await engine.create(reports_in_time, how)
        await engine.clock.settled()
        await engine.crash()
        await instance.send_event("go")
        with trio.fail_after(10):
            assert await instance.result() == {"class": "NotSerializable", "size": "TooLarge"}[how]


@workflow
async def logging_body(step):
    step.log.info("before %d", 1)
    await step.do(reports)
    step.log.warning("between")
    await step.wait_for_event("go")
    step.log.info("after")


async def test_step_log_is_silent_on_replay_and_carries_the_instance_id(caplog):
    caplog.set_level(logging.INFO, "stepwell.workflow")
    async with open_test_engine(workflows=[logging_body], autojump=False) as engine:
        instance = await engine.create(logging_body, id="l")
        for _ in range(3):
            await instance.wait_for_status("waiting")
            await engine.crash()
        await instance.send_event("go")
        await instance.result()
    records = [r for r in caplog.records if r.name == "stepwell.workflow"]
    assert [r.getMessage() for r in records] == ["before 1", "between", "after"]
    assert {(r.instance_id, r.workflow) for r in records} == {("l", "logging_body")}


@workflow
async def reports_when_woken(step, beside: str):
    async def wakes() -> None:
        await step.wait_for_event("go")
        step.report("woken")
        step.log.info("woken")
        await step.wait_for_event("go")

    if beside == "a deadline":
        with step.move_on_after("1 day"):
            await wakes()
    elif beside == "a branch":
        async with step.open_nursery() as nursery:
            nursery.start_soon(step.wait_for_event, "another")
            await wakes()
    else:
        await wakes()


@pytest.mark.parametrize("beside", ["nothing", "a deadline", "a branch"])
async def test_what_a_parked_body_says_when_an_event_woke_it_is_new(caplog, beside):
    caplog.set_level(logging.INFO, "stepwell.workflow")
    async with open_test_engine(workflows=[reports_when_woken], autojump=False) as engine:
        instance = await engine.create(reports_when_woken, beside)
        await instance.wait_for_status("waiting")
        await engine.clock.advance("1 minute")
        assert engine.statistics().resident == 0
        await instance.send_event("go")
        await instance.wait_for_status("waiting")
        await engine.clock.settled()
        assert (await instance.status()).progress == {"progress": "woken"}
        await engine.crash()
        await engine.clock.advance("1 minute")
        await instance.send_event("another" if beside == "a branch" else "go")
        await engine.clock.settled()
    assert [r.getMessage() for r in caplog.records if r.name == "stepwell.workflow"] == ["woken"]


async def about() -> list:
    step = current_step()
    return [
        step.name,
        step.key,
        step.count,
        step.attempt,
        step.instance_id,
        step.config.limit,
        step.saved,
        step.engine is not None,
    ]


async def test_a_step_knows_its_place():
    @workflow(name="asks")
    async def asks(step):
        first = await step.do(about, key="k", retry=Retry(limit=2))
        return [first, *await step.map(lambda _: current_step().count, [1, 2], name="mapped")]

    async with open_test_engine(workflows=[asks]) as engine:
        assert await engine.call(asks, id="i") == [["about", "k", 1, 1, "i", 2, None, True], 1, 1]


late: list[str] = []


def tries_late(step) -> None:
    """Reports and beats, and keeps what that says."""
    for call in (lambda: step.report("late"), step.heartbeat):
        try:
            call()
        except InvalidState as error:
            late.append(str(error))


async def saves_late(step) -> None:
    """As `tries_late`, and saves."""
    tries_late(step)
    try:
        await step.save("late")
    except InvalidState as error:
        late.append(str(error))


gates: list[threading.Event] = []


async def leaves_a_task_on_trio() -> int:
    step = current_step()

    async def goes_on() -> None:
        await trio.to_thread.run_sync(gates[0].wait)
        await saves_late(step)
        gates[1].set()

    trio.lowlevel.spawn_system_task(goes_on)
    return 1


async def leaves_a_task_on_asyncio() -> int:
    step = current_step()

    async def goes_on() -> None:
        await asyncio.to_thread(gates[0].wait)
        await saves_late(step)
        gates[1].set()

    kept.append(asyncio.create_task(goes_on()))
    return 1


def leaves_a_thread() -> int:
    step = current_step()

    def goes_on() -> None:
        gates[0].wait()
        tries_late(step)
        try:
            step.save("late")
        except InvalidState as error:
            late.append(str(error))
        gates[1].set()

    threading.Thread(target=goes_on).start()
    return 1


kept: list[object] = []


@pytest.mark.parametrize("then", ["waits", "ends"])
@pytest.mark.parametrize("fn", [leaves_a_task_on_trio, leaves_a_task_on_asyncio, leaves_a_thread])
async def test_what_a_step_left_running_cannot_report_beat_or_save_after_it(fn, then):
    gates[:] = [threading.Event(), threading.Event()]
    late.clear()

    @workflow(name="leaves")
    async def leaves(step):
        step.report("before")
        await step.do(
            fn,
            name="s",
            runtime=None
            if fn is leaves_a_thread
            else "asyncio"
            if "asyncio" in fn.__name__
            else "trio",
        )
        if then == "waits":
            await step.wait_for_event("go")

    async with open_test_engine(workflows=[leaves], autojump=False) as engine:
        instance = await engine.create(leaves, id="x")
        await instance.wait_for_status("waiting" if then == "waits" else "complete")
        gates[0].set()
        await trio.to_thread.run_sync(gates[1].wait)
        assert (await instance.status()).progress == {"progress": "before"}
        assert [it.status for it in await instance.history() if it.name == "s"] == ["done"]
    methods = ["report()", "heartbeat()", "save()"]
    assert late == [
        f'{method} of step "s" of leaves/x was called after attempt 1 had ended. '
        "What a step starts it has to await, or to stop, before it returns."
        for method in methods
    ]


async def test_a_thread_whose_attempt_timed_out_learns_that_when_it_beats():
    late.clear()
    began, timed_out = threading.Event(), threading.Event()

    def outlives() -> None:
        step = current_step()
        began.set()
        timed_out.wait(30)
        tries_late(step)

    @workflow(name="outlives")
    async def flow(step):
        await step.do(outlives, timeout="1 hour", retry=Retry.never, name="s")

    async with Engine(":memory:", workflows=[flow]) as engine:
        instance = await engine.create(flow, id="x")
        operation = None
        while operation is None or operation._context is None:
            await trio.lowlevel.checkpoint()
            operation = next(
                (
                    it
                    for runner in engine._driver.runners.values()
                    for it in runner.delivery.open.values()
                ),
                None,
            )
        await trio.to_thread.run_sync(began.wait)
        operation.attempt_scope.cancel()  # as its deadline does
        with pytest.raises(InstanceErrored):
            await instance.result()
        timed_out.set()
    assert len(late) == 2
    assert 'heartbeat() of step "s" of outlives/x was called after attempt 1 had ended' in late[1]


async def test_what_is_unwound_may_report_while_it_cleans_up():
    told: list[str] = []

    async def cleans_up() -> None:
        told.append("began")
        try:
            await trio.sleep_forever()
        finally:
            current_step().report("cleaning up")
            current_step().heartbeat()
            told.append("cleaned up")

    @workflow(name="unwound")
    async def unwound(step):
        with step.move_on_after(5):
            await step.do(cleans_up)
        await step.do(cleans_up, name="again")

    async with open_test_engine(workflows=[unwound], autojump=False, grace=0) as engine:
        await engine.create(unwound)
        while len(told) < 1:
            await trio.lowlevel.checkpoint()
        engine._driver.core.advance(engine._driver.now() + 6_000_000)
        while len(told) < 3:
            await trio.lowlevel.checkpoint()
    assert told == ["began", "cleaned up", "began", "cleaned up"]


async def test_a_report_that_is_too_large_names_its_own_limit():
    @workflow
    async def says_much(step):
        step.report(message="x" * 70_000)

    async with open_test_engine(workflows=[says_much]) as engine:
        with pytest.raises(
            InstanceErrored, match=r"report is 70,\d+ bytes when encoded, and 65,536 is the most"
        ) as caught:
            await engine.call(says_much)
    assert "value_bytes" not in str(caught.value)
