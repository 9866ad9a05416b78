"""What the body gives up: waits give their event back, attempts are cancelled, late outcomes are
abandoned (rules I8, I11)."""

import pytest
import trio
import trio.testing

from stepwell import (
    EventTimeout,
    InstanceErrored,
    Rejected,
    Retry,
    Status,
    StepFailed,
    workflow,
)
from stepwell.testing import open_test_engine

seen: list[str] = []
entered = trio.Event()
gate = trio.Event()


@pytest.fixture(autouse=True)
def _fresh():
    global entered, gate
    seen.clear()
    entered, gate = trio.Event(), trio.Event()


async def breaks() -> None:
    await gate.wait()
    raise ValueError("broken")


async def runs_for_ever() -> None:
    entered.set()
    try:
        await trio.sleep_forever()
    finally:
        seen.append("cancelled")


@workflow
async def nursery_fails(step):
    try:
        async with step.open_nursery() as nursery:
            nursery.start_soon(step.wait_for_event, "go")
            nursery.start_soon(step.do, runs_for_ever)
            nursery.start_soon(lambda: step.do(breaks, retry=Retry.never))
    except* ValueError as group:
        seen.append(f"caught {len(group.exceptions)}")
    return (await step.wait_for_event("go")).payload


@workflow
async def each_fails(step):
    async def one(i: int):
        if i == 0:
            await step.wait_for_event("go")
        elif i == 1:
            await step.do(runs_for_ever)
        else:
            await step.do(breaks, retry=Retry.never)

    try:
        await step.each(one, range(3))
    except ValueError as error:
        seen.append(f"caught {type(error).__name__}")
    return (await step.wait_for_event("go")).payload


async def breaks_or_runs(i: int) -> None:
    await (breaks() if i == 1 else runs_for_ever())


@workflow
async def map_fails(step):
    try:
        await step.map(breaks_or_runs, range(2), retry=Retry.never)
    except ValueError as error:
        seen.append(f"caught {type(error).__name__}")
    return (await step.wait_for_event("go")).payload


@pytest.mark.parametrize("code", [nursery_fails, each_fails, map_fails])
async def test_i8_a_failing_sibling_cancels_running_attempts_and_gives_events_back(code):
    async with open_test_engine(workflows=[code], autojump=False) as engine:
        instance = await engine.create(code)
        await entered.wait()
        gate.set()
        await instance.wait_for_status("waiting")
        assert sorted(seen) == [
            "cancelled",
            f"caught {1 if code is nursery_fails else 'ValueError'}",
        ]
        await instance.send_event("go", 5)
        assert await instance.result() == 5
        assert [r.name for r in await instance.history() if r.status == "failed"]


@pytest.mark.parametrize("code", [nursery_fails, each_fails, map_fails])
async def test_i8_what_was_cancelled_is_not_run_again_on_replay(code):
    async with open_test_engine(workflows=[code], autojump=False) as engine:
        instance = await engine.create(code)
        await entered.wait()
        gate.set()
        await instance.wait_for_status("waiting")
        for _ in range(2):
            await engine.crash()
            await instance.wait_for_status("waiting")
        assert seen.count("cancelled") == 1
        await instance.send_event("go", 5)
        assert await instance.result() == 5


@workflow
async def takes_then_fails(step):
    """One branch takes an event while another fails in the same breath; who waits next gets what is
    left."""
    try:
        async with step.open_nursery() as nursery:
            nursery.start_soon(step.wait_for_event, "go")
            nursery.start_soon(lambda: step.do(breaks, retry=Retry.never))
    except* ValueError:
        pass
    return [(await step.wait_for_event("go", timeout="1 hour")).payload for _ in range(2)]


async def test_i8_a_withdrawn_wait_puts_its_event_back_in_its_old_place():
    async with open_test_engine(workflows=[takes_then_fails], autojump=False) as engine:
        instance = await engine.create(takes_then_fails)
        while not (await instance.history()):
            await trio.lowlevel.checkpoint()
        gate.set()
        await instance.send_event("go", 1)
        await instance.send_event("go", 2)
        status = await instance.wait_for_status("waiting", "complete")
        if status is Status.WAITING:  # the event came first, so it belongs to the first wait
            await instance.send_event("go", 3)
        assert await instance.result() in ([1, 2], [2, 3])


@workflow
async def two_waits(step):
    async def fails_after_the_step():
        await step.do(breaks, retry=Retry.never)

    try:
        async with step.open_nursery() as nursery:
            nursery.start_soon(step.wait_for_event, "go")
            nursery.start_soon(fails_after_the_step)
    except* ValueError:
        pass
    await step.sleep("1 minute")
    return (await step.wait_for_event("go")).payload


async def test_i8_an_event_after_the_withdrawal_belongs_to_the_next_wait():
    async with open_test_engine(workflows=[two_waits], autojump=False) as engine:
        instance = await engine.create(two_waits)
        gate.set()
        await instance.wait_for_status("waiting")
        await instance.send_event("go", "kept")
        await engine.crash()
        await engine.clock.advance("2 minutes")
        assert await instance.result() == "kept"


async def quick(i: int) -> int:
    seen.append(f"quick {i}")
    return i


@workflow
async def cancels_a_branch(step):
    async with step.open_nursery() as nursery:
        for i in range(5):
            nursery.start_soon(step.do, quick, i)
        await step.do(quick, 100)
        nursery.cancel_scope.cancel()
    await step.wait_for_event("go")
    return await step.do(quick, 200)


async def test_i8_an_outcome_committed_but_not_delivered_is_abandoned_without_a_mismatch():
    async with open_test_engine(workflows=[cancels_a_branch], autojump=False) as engine:
        instance = await engine.create(cancels_a_branch)
        await instance.wait_for_status("waiting")
        ran = list(seen)
        for _ in range(3):
            await engine.crash()
            await instance.wait_for_status("waiting")
        assert seen == ran
        await instance.send_event("go")
        assert await instance.result() == 200


@workflow
async def sync_attempt(step):
    try:
        async with step.open_nursery() as nursery:
            nursery.start_soon(lambda: step.do(blocks_in_a_thread, abandon_on_cancel=True))
            nursery.start_soon(lambda: step.do(breaks, retry=Retry.never))
    except* ValueError:
        seen.append("caught")
    await step.wait_for_event("go")
    return "done"


release = trio.Event()


def blocks_in_a_thread() -> str:
    trio.from_thread.run_sync(entered.set)
    trio.from_thread.run(_until_released)
    return "late"


async def _until_released() -> None:
    await release.wait()


async def test_i8_a_running_thread_is_left_alone_if_asked_for_and_its_result_recorded():
    global release
    release = trio.Event()
    async with open_test_engine(workflows=[sync_attempt], autojump=False) as engine:
        instance = await engine.create(sync_attempt)
        await entered.wait()
        gate.set()
        while "caught" not in seen:
            await trio.lowlevel.checkpoint()
        release.set()
        while not (
            ends := [it for it in await instance.history() if it.name == "blocks_in_a_thread"]
        ):
            await trio.lowlevel.checkpoint()
        assert [(it.status, it.output) for it in ends] == [("abandoned", "late")]
        await instance.send_event("go")
        assert await instance.result() == "done"


@workflow(concurrency=1)
async def gives_a_thread_up(step, waits: bool):
    try:
        async with step.open_nursery() as nursery:
            nursery.start_soon(lambda: step.do(blocks_in_a_thread, abandon_on_cancel=True))
            nursery.start_soon(lambda: step.do(breaks, retry=Retry.never))
    except* ValueError:
        seen.append("caught")
    if waits:
        await step.wait_for_event("go")
    return "done"


@workflow(concurrency=1)
async def follows(step):
    return "follows"


@pytest.mark.parametrize("waits", [False, True], ids=["ends", "waits"])
async def test_i8_the_slot_is_kept_until_an_abandoned_thread_has_ended(waits):
    global release
    release = trio.Event()
    async with open_test_engine(
        workflows=[gives_a_thread_up, follows], autojump=False, slots=1
    ) as engine:
        first = await engine.create(gives_a_thread_up, waits)
        await entered.wait()
        second = await engine.create(follows)
        gate.set()
        while "caught" not in seen:
            await trio.lowlevel.checkpoint()
        if not waits:
            assert await first.result() == "done"  # nobody waits for the thread
        for _ in range(50):
            await trio.lowlevel.checkpoint()
            await second.status()
        assert engine.statistics().leased == 1
        assert (await second.status()).status is Status.QUEUED
        release.set()
        assert await second.result() == "follows"
        await first.send_event("go") if waits else None
        assert await first.result() == "done"
        assert engine.statistics().leased == 0


@workflow
async def a_failing_branch_in_a_branch(step):
    async def inner():
        async with step.open_nursery() as nursery:
            nursery.start_soon(lambda: step.do(breaks, retry=Retry.never))

    async with step.open_nursery() as nursery:
        nursery.start_soon(inner)


async def test_i11_the_tree_of_nested_groups_is_recorded():
    gate.set()
    async with open_test_engine(workflows=[a_failing_branch_in_a_branch]) as engine:
        instance = await engine.create(a_failing_branch_in_a_branch)
        await instance.wait_for_status("errored")
        error = (await instance.status()).error
        assert error.type == "ExceptionGroup"
        assert error.message.count("1 sub-exception") == 2
        assert 'step "breaks" failed after 1 attempt: ValueError: broken' in error.message


async def fails_as(name: str) -> None:
    raise {"a": KeyError, "b": ValueError}[name](name)


@workflow
async def first_in_history(step, how: str):
    async def one(name: str):
        await step.do(fails_as, name, retry=Retry.never)

    try:
        if how == "map":
            await step.map(fails_as, ["a", "b"], retry=Retry.never)
        else:
            await step.each(one, ["a", "b"])
    except (KeyError, ValueError) as error:
        got = error.message
    await step.wait_for_event("go")
    return got


@pytest.mark.parametrize("how", ["map", "each"])
async def test_i11_map_and_each_raise_the_first_failure_in_history_order(how):
    async with open_test_engine(workflows=[first_in_history], autojump=False) as engine:
        instance = await engine.create(first_in_history, how)
        await instance.wait_for_status("waiting")
        await engine.crash()
        await instance.send_event("go")
        first = next(r for r in await instance.history() if r.status == "failed")
        assert await instance.result() == first.error.message


@workflow
async def collects(step, n: int):
    async def one(i: int):
        return await step.do(odd_ones_fail, i, retry=Retry.never)

    mapped = await step.map(
        odd_ones_fail, range(n), retry=Retry.never, on_error="collect", concurrency=2
    )
    eached = await step.each(one, range(n), on_error="collect", concurrency=2)
    return [[r if isinstance(r, int) else str(r) for r in results] for results in (mapped, eached)]


async def odd_ones_fail(i: int) -> int:
    if i % 2:
        raise ValueError(i)
    return i


async def test_on_error_collect_puts_failures_in_their_places_for_map_and_each():
    async with open_test_engine(workflows=[collects]) as engine:
        mapped, eached = await engine.call(collects, 5)
    for got in (mapped, eached):
        assert got[::2] == [0, 2, 4]
        assert [text.rpartition("ValueError: ")[2] for text in got[1::2]] == ["1", "3"]


@workflow
async def fails(step) -> None:
    raise KeyError("no")


async def raises_of_its_own(step, i: int) -> None:
    raise ValueError(i)


async def calls_what_fails(step, i: int) -> None:
    await step.call(fails)


async def waits_in_vain(step, i: int) -> None:
    await step.wait_for_event("never", timeout="1 second")


async def is_rejected(step, i: int) -> None:
    await step.wait_for_approval("ok")


async def groups(step, i: int) -> None:
    raise ExceptionGroup("several", [ValueError(i)])


OTHERS = {
    raises_of_its_own: ValueError,
    calls_what_fails: InstanceErrored,
    waits_in_vain: EventTimeout,
    is_rejected: Rejected,
    groups: ExceptionGroup,
}


@pytest.mark.parametrize("runtime", ["trio", "asyncio"])
@pytest.mark.parametrize("branch", OTHERS)
async def test_i11_each_collects_failed_steps_and_raises_what_else_a_branch_raises(branch, runtime):
    @workflow(runtime=runtime)
    async def parent(step) -> list[str]:
        async def one(i: int) -> None:
            if not i:
                await step.do(odd_ones_fail, 1, retry=Retry.never)
            if i == 1:
                await step.sleep(1)
                await branch(step, i)
            await step.wait_for_event("never")

        told = []
        try:
            await step.each(one, range(3), on_error="collect")
        except Exception as error:
            told.append(type(error).__name__)
        collected = await step.each(one, [0], on_error="collect")
        return told + [type(it).__name__ for it in collected if isinstance(it, StepFailed)]

    async with open_test_engine(workflows=[parent, fails]) as engine:
        instance = await engine.create(parent, id="p")
        if branch is is_rejected:
            await engine.approvals.reject("parent/p#one#1[1]/ok#1", by="bob")
        with trio.fail_after(20):
            told = await instance.result()
        assert told == [OTHERS[branch].__name__, "ValueError"]
        withdrawn = [it.name for it in await instance.history() if it.status == "waiting"]
        assert withdrawn == []


async def fails_when_it_is_cancelled() -> None:
    async def fails() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("broken")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(fails)
        nursery.start_soon(trio.sleep_forever)


@workflow
async def cancels_a_step_that_fails(step):
    async with step.open_nursery() as nursery:
        nursery.start_soon(step.do, fails_when_it_is_cancelled)
        await step.sleep(1)
        nursery.cancel_scope.cancel()
    return await step.do(quick, 1)


async def test_i8_what_a_cancelled_attempt_raises_is_discarded():
    async with open_test_engine(workflows=[cancels_a_step_that_fails], autojump=False) as engine:
        instance = await engine.create(cancels_a_step_that_fails)
        await trio.testing.wait_all_tasks_blocked(0.01)
        engine._running().core.advance(engine._running().now() + 2_000_000)
        assert await instance.result() == 1


async def fails_once() -> None:
    raise ValueError("broken")


@workflow
async def ends_amid_cancellations(step):
    async def inner():
        async with step.open_nursery() as nursery:
            nursery.start_soon(
                lambda: step.do(fails_once, name="retried", retry=Retry(limit=3, delay="1 second"))
            )
            nursery.start_soon(lambda: step.do(fails_once, name="fatal", retry=Retry.never))
            nursery.start_soon(step.do, runs_for_ever)

    async with step.open_nursery() as nursery:
        nursery.start_soon(step.sleep, "1 hour")
        nursery.start_soon(inner)


async def test_i8_an_attempt_that_winds_down_in_the_middle_of_a_turn_does_not_make_the_body_rest():
    async with open_test_engine(workflows=[ends_amid_cancellations]) as engine:
        created = (await engine.create_batch(ends_amid_cancellations, [None] * 30)).created
        for instance in created:
            with pytest.raises(InstanceErrored):
                await instance.result()


@pytest.mark.parametrize(
    "primitive", ["do", "waiting do", "plain do", "map", "sleep", "event", "call", "create"]
)
async def test_i8_what_a_cancelled_scope_asks_for_never_begins(primitive):
    """As with everything of trio's: else a step that does not wait would have its outcome, and a
    replay would go another way."""
    ran: list[str] = []

    async def at_once() -> None:
        ran.append("async")

    async def waits() -> None:
        ran.append("async")
        await trio.sleep(1)

    async def one(_: int) -> None:
        ran.append("item")

    def plain() -> None:
        ran.append("plain")

    @workflow(name="child")
    async def child(step):
        ran.append("child")

    @workflow
    async def asks_for_more(step):
        asked = {
            "do": lambda: step.do(at_once),
            "waiting do": lambda: step.do(waits),
            "plain do": lambda: step.do(plain),
            "map": lambda: step.map(one, [1]),
            "sleep": lambda: step.sleep(1),
            "event": lambda: step.wait_for_event("never"),
            "call": lambda: step.call(child),
            "create": lambda: step.create(child),
        }
        seen = []
        with trio.CancelScope() as scope:
            scope.cancel()
            await asked[primitive]()
            seen.append("went on")
        await step.wait_for_event("go")
        seen.append("went")
        await step.wait_for_event("end")
        return seen

    async with open_test_engine(workflows=[asks_for_more, child], autojump=False) as engine:
        instance = await engine.create(asks_for_more, id="x")
        await instance.send_event("go")
        await instance.wait_for_status("waiting", "blocked")
        await engine.crash()
        await instance.send_event("end")
        assert await instance.result() == ["went"]
        assert [record.name for record in await instance.history()] == ["go", "end"]
    assert not ran
