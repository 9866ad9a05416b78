"""A body that cancels a step goes on when the attempt has ended, and history says how it did (rule
I8)."""

import asyncio
import contextlib
import threading
from typing import Any

import pytest
import trio

from stepwell import Retry, StepTimeout, current_step, workflow
from stepwell.testing import open_test_engine

seen: list[str] = []
began: list[int] = []
"""An entry for each attempt."""
cleanup = trio.Event()
"""Lets a cancelled attempt end."""
in_thread = threading.Event()


@pytest.fixture(autouse=True)
def _nothing_seen():
    global cleanup
    seen.clear()
    began.clear()
    cleanup = trio.Event()
    in_thread.clear()
    yield
    in_thread.set()


async def _cleaned_up() -> None:
    seen.append("cleans up")
    with trio.CancelScope(shield=True):
        await cleanup.wait()
    seen.append("cleaned up")


async def leaves_nothing() -> str:
    began.append(1)
    try:
        await trio.sleep_forever()
    finally:
        await _cleaned_up()
    return "never"


async def returns_all_the_same() -> str:
    began.append(1)
    with contextlib.suppress(trio.Cancelled):
        await trio.sleep_forever()
    await _cleaned_up()
    return "went through"


async def raises_instead() -> None:
    began.append(1)
    try:
        await trio.sleep_forever()
    except trio.Cancelled:
        await _cleaned_up()
        raise ValueError("half done") from None


async def on_asyncio() -> str:
    began.append(1)
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        seen.append("cleans up")
        await asyncio.to_thread(in_thread.wait)
        seen.append("cleaned up")
    return "went through"


def charges() -> str:
    began.append(1)
    trio.from_thread.run_sync(seen.append, "cleans up")
    in_thread.wait()
    seen.append("cleaned up")
    return "went through"


async def follows() -> None:
    seen.append("follows")


def body(fn: Any, body_runtime: str = "trio", **options: Any) -> Any:
    @workflow(runtime=body_runtime)
    async def cancels(step: Any) -> str:
        with step.move_on_after("1 minute") as scope:
            await step.do(fn, retry=Retry.never, **options)
        assert scope.cancelled_caught
        await step.do(follows)
        await step.wait_for_event("end")
        return "whole"

    return cancels


async def has_begun() -> None:
    while not began:
        await trio.lowlevel.checkpoint()


def a_minute_passes(engine: Any) -> None:
    """`clock.advance` waits for running attempts, and these end when they are told to."""
    core = engine._driver.core
    core.advance(core.now() + 60_000_000)


async def dies_while_it_cleans_up(engine: Any, *gates: threading.Event) -> None:
    """Crashes the engine while a cancelled attempt cleans up; what waits at these gates goes on as
    it ends."""
    while "cleans up" not in seen:
        await trio.lowlevel.checkpoint()
    for _ in range(50):
        await trio.lowlevel.checkpoint()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(engine.crash)
        for _ in range(3):
            await trio.lowlevel.checkpoint()
        cleanup.set()
        for gate in gates:
            gate.set()


async def ends() -> None:
    """Waits until the attempt is cancelled and nothing else can go on; then lets it end."""
    while "cleans up" not in seen:
        await trio.lowlevel.checkpoint()
    for _ in range(50):
        await trio.lowlevel.checkpoint()
    assert "follows" not in seen
    cleanup.set()
    in_thread.set()


CASES = [
    (leaves_nothing, {}, (None, None)),
    (returns_all_the_same, {}, ("went through", None)),
    (raises_instead, {}, (None, "ValueError: half done")),
    (on_asyncio, {"runtime": "asyncio"}, ("went through", None)),
    (charges, {}, ("went through", None)),
]


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["trio", "asyncio"])
@pytest.mark.parametrize(
    ("fn", "options", "came_to"), CASES, ids=lambda it: getattr(it, "__name__", "")
)
async def test_i8_the_body_goes_on_when_the_cancelled_attempt_has_ended(
    fn, options, came_to, runtime
):
    cancels = body(fn, runtime, **options)
    async with open_test_engine(workflows=[cancels], autojump=False, grace=1) as engine:
        instance = await engine.create(cancels)
        await has_begun()
        a_minute_passes(engine)
        await ends()
        await instance.wait_for_status("waiting")
        assert seen == ["cleans up", "cleaned up", "follows"]
        record = next(
            it
            for it in await instance.history()
            if it.name == fn.__name__ and it.status != "started"
        )
        assert (record.status, record.attempt) == ("abandoned", 1)
        assert record.error is None or record.error.attempts == 1
        value, error = came_to
        assert record.output == value
        assert (
            None if record.error is None else f"{record.error.type}: {record.error.message}"
        ) == error
        for _ in range(2):
            await engine.crash()
            await instance.wait_for_status("waiting")
        assert seen == ["cleans up", "cleaned up", "follows"]
        await instance.send_event("end")
        assert await instance.result() == "whole"


async def test_i8_a_cancelled_attempt_that_a_crash_cut_short_has_the_number_after_the_recorded():
    async def fails_first() -> None:
        if not seen:
            seen.append("fails")
            raise ValueError("first")
        await leaves_nothing()

    @workflow
    async def cancels(step: Any) -> None:
        with step.move_on_after("1 minute"):
            await step.do(fails_first, retry=Retry(limit=3, delay=0))
        await step.wait_for_event("end")

    async with open_test_engine(workflows=[cancels], autojump=False, grace=1) as engine:
        instance = await engine.create(cancels)
        await has_begun()
        a_minute_passes(engine)
        await dies_while_it_cleans_up(engine)
        await instance.wait_for_status("waiting")
        told = [
            (it.status, it.attempt, it.error and it.error.attempts)
            for it in await instance.history()
            if it.kind == "do"
        ]
        assert [it for it in told if it[0] != "started"] == [
            ("attempt_failed", 1, 1),
            ("abandoned", 2, 2),
        ]
        await engine.crash()
        await instance.send_event("end")
        await instance.result()


@pytest.mark.parametrize("fn", [leaves_nothing, charges], ids=lambda it: it.__name__)
async def test_i8_a_cancelled_attempt_that_a_crash_cut_short_is_interrupted_and_not_run_again(fn):
    cancels = body(fn)
    async with open_test_engine(workflows=[cancels], autojump=False, grace=1) as engine:
        instance = await engine.create(cancels)
        await has_begun()
        a_minute_passes(engine)
        await dies_while_it_cleans_up(engine, in_thread)
        await instance.wait_for_status("waiting")
        assert seen.count("cleans up") == 1
        assert "follows" in seen
        record = next(
            it
            for it in await instance.history()
            if it.name == fn.__name__ and it.status != "started"
        )
        assert (record.status, record.error and record.error.type) == (
            "abandoned",
            "stepwell.Interrupted",
        )
        assert (record.attempt, record.error.attempts) == (1, 1)
        await engine.crash()
        await instance.send_event("end")
        assert await instance.result() == "whole"


async def history_has(instance: Any, status: str) -> None:
    while status not in [it.status for it in await instance.history()]:
        await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("crashes", [False, True])
@pytest.mark.parametrize("delay", [0, "1 hour"])
async def test_i8_of_a_step_cancelled_behind_the_thread_of_an_attempt_no_other_is_told(
    delay, crashes
):
    @workflow
    async def cancels(step: Any) -> str:
        with step.move_on_after("2 minutes"):
            await step.do(charges, timeout="1 minute", retry=Retry(limit=3, delay=delay, jitter=0))
        await step.do(follows)
        await step.wait_for_event("end")
        return "whole"

    async with open_test_engine(workflows=[cancels], autojump=False, grace=1) as engine:
        instance = await engine.create(cancels, id="i")
        await has_begun()
        a_minute_passes(engine)
        await history_has(instance, "attempt_failed")
        a_minute_passes(engine)
        await history_has(instance, "started")
        told = str(await instance.explain())
        assert (
            '"charges", which the body has cancelled, is waited for: a thread of attempt 1 runs '
            "since 2030-01-01 00:00:00 UTC at"
        ) in told
        assert "follows" not in seen
        if crashes:
            await dies_while_it_cleans_up(engine, in_thread)
        else:
            in_thread.set()
        await instance.wait_for_status("waiting")
        told = [it for it in await instance.history() if it.name == "charges"]
        assert [(it.attempt, it.status) for it in told] == [
            (1, "attempt_failed"),
            (1, "started"),
            (1, "abandoned"),
        ]
        assert told[-1].output == (None if crashes else "went through")
        assert (told[-1].error is not None) == crashes
        await engine.crash()
        await instance.send_event("end")
        assert await instance.result() == "whole"
    assert len(began) == 1


@pytest.mark.parametrize("fn", ["async", "plain"])
async def test_i8_a_retry_that_was_cancelled_just_before_an_orderly_end_had_not_begun(fn, tmp_path):
    async def fails() -> None:
        raise ValueError("fails")

    def fails_in_thread() -> None:
        raise ValueError("fails")

    @workflow
    async def cancels(step: Any) -> str:
        async with step.open_nursery() as nursery:
            nursery.start_soon(
                lambda: step.do(
                    fails if fn == "async" else fails_in_thread,
                    retry=Retry(limit=3, delay="1 hour", jitter=0),
                )
            )
            await step.wait_for_event("cancel")
            nursery.cancel_scope.cancel()
        await step.do(is_under_way_at_the_end)
        return "whole"

    async def is_under_way_at_the_end() -> None:
        began.append(1)
        if len(began) == 1:
            await trio.sleep_forever()

    path = str(tmp_path / "s.db")
    async with open_test_engine(workflows=[cancels], store=path, autojump=False, grace=0) as engine:
        instance = await engine.create(cancels, id="i")
        await history_has(instance, "attempt_failed")
        await instance.send_event("cancel")
        await has_begun()
    async with open_test_engine(workflows=[cancels], store=path, autojump=False) as engine:
        instance = await engine.get(cancels, "i")
        assert await instance.result() == "whole"
        assert [it.status for it in await instance.history() if it.kind == "do"] == [
            "attempt_failed",
            "done",
        ]


async def fails_at_once() -> None:
    raise ValueError("fails")


async def one_fails(n: int) -> None:
    if n == 2:
        raise ValueError("fails")
    await leaves_nothing()


@pytest.mark.parametrize("runtime", ["trio", "asyncio"])
async def test_i8_a_map_raises_when_every_attempt_it_began_has_ended(runtime):
    @workflow(runtime=runtime)
    async def maps(step: Any) -> str:
        try:
            await step.map(one_fails, range(10), concurrency=3, retry=Retry.never)
        except ValueError:
            await step.do(follows)
        await step.wait_for_event("end")
        return "whole"

    async with open_test_engine(workflows=[maps], autojump=False, grace=1) as engine:
        instance = await engine.create(maps)
        await ends()
        await instance.wait_for_status("waiting")
        statuses = [it.status for it in await instance.history() if it.name == "one_fails"]
        assert sorted(statuses) == ["abandoned", "abandoned", "failed"]
        assert seen[-1] == "follows"
        await engine.crash()
        await instance.wait_for_status("waiting")
        assert seen.count("follows") == 1
        await instance.send_event("end")
        assert await instance.result() == "whole"


async def test_i8_a_step_that_waits_for_its_next_attempt_or_a_thread_is_cancelled_at_once():
    @workflow
    async def waits(step: Any) -> str:
        async def holds_the_thread() -> None:
            await step.do(charges, name="holds the only thread")

        async with step.open_nursery() as outer:
            outer.start_soon(holds_the_thread)
            await step.wait_for_event("held")
            with step.move_on_after("1 minute"):
                async with step.open_nursery() as nursery:
                    nursery.start_soon(lambda: step.do(fails_at_once, retry=Retry(delay="1 hour")))
                    nursery.start_soon(lambda: step.do(charges, name="is queued"))
            await step.do(follows)
        return "whole"

    async with open_test_engine(workflows=[waits], autojump=False, threads=1, grace=1) as engine:
        instance = await engine.create(waits)
        while "cleans up" not in seen:
            await trio.lowlevel.checkpoint()
        await instance.send_event("held")
        while not engine._driver.threads.statistics().tasks_waiting:
            await trio.lowlevel.checkpoint()
        a_minute_passes(engine)
        while "follows" not in seen:
            await trio.lowlevel.checkpoint()
        in_thread.set()
        assert await instance.result() == "whole"
        assert seen == ["cleans up", "follows", "cleaned up"]
        assert "is queued" not in [it.name for it in await instance.history()]


async def test_i8_a_crash_while_a_cancelled_thread_runs_does_not_bring_the_cancellation_forward():
    gates = {"a": trio.Event(), "b": trio.Event()}

    async def gated(which: str) -> None:
        await gates[which].wait()

    async def gives_up(step: Any, order: list[str]) -> None:
        async with step.open_nursery() as inner:
            inner.start_soon(lambda: step.do(charges, retry=Retry.never))
            await step.do(gated, "a", key="a")
            inner.cancel_scope.cancel()
        order.append("a")

    async def goes_on(step: Any, order: list[str]) -> None:
        await step.do(gated, "b", key="b")
        order.append("b")
        await step.do(follows, name=f"after {order}")

    @workflow
    async def cancels(step: Any) -> list[str]:
        order: list[str] = []
        async with step.open_nursery() as nursery:
            nursery.start_soon(gives_up, step, order)
            nursery.start_soon(goes_on, step, order)
        return order

    async with open_test_engine(workflows=[cancels], autojump=False, grace=1) as engine:
        instance = await engine.create(cancels)
        await has_begun()
        for which in "ab":
            gates[which].set()
            for _ in range(50):
                await trio.lowlevel.checkpoint()
        while "follows" not in seen:
            await trio.lowlevel.checkpoint()
        while "after ['b']" not in [it.name for it in await instance.history()]:
            await trio.lowlevel.checkpoint()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(engine.crash)
            in_thread.set()
        assert await instance.result() == ["b", "a"]


@pytest.mark.parametrize(
    ("runtime", "in_branch"), [("trio", False), ("trio", True), ("asyncio", False)]
)
async def test_i8_a_step_that_is_cancelled_in_the_moment_of_its_next_attempt_does_not_make_it(
    in_branch, runtime
):
    async def fails_and_counts(_: int) -> None:
        began.append(1)
        raise ValueError("fails")

    @workflow(runtime=runtime)
    async def cancels(step: Any) -> str:
        async def branch(n: int) -> None:
            await step.do(fails_and_counts, n, retry=Retry(delay="59 seconds", jitter=0))

        with step.move_on_after("1 minute"):
            await (step.each(branch, [1]) if in_branch else branch(1))
        await step.do(follows)
        return "whole"

    async with open_test_engine(workflows=[cancels], autojump=False, grace=1) as engine:
        instance = await engine.create(cancels)
        await instance.wait_for_status("waiting")
        a_minute_passes(engine)  # the delay and the deadline end in one commit
        assert await instance.result() == "whole"
    assert began == [1]
    assert seen == ["follows"]


@pytest.mark.parametrize("fails", [0, 1])
async def test_i8_abandon_on_cancel_lets_go_of_a_thread_whose_end_is_recorded_later(fails):
    def charges_later() -> str:
        if current_step().attempt <= fails:
            raise ValueError("not yet")
        return charges()

    @workflow
    async def cancels(step: Any) -> str:
        with step.move_on_after("1 minute"):
            await step.do(
                charges_later, name="charges", retry=Retry(delay=0), abandon_on_cancel=True
            )
        await step.do(follows)
        await step.wait_for_event("end")
        return "whole"

    async with open_test_engine(workflows=[cancels], autojump=False, grace=1) as engine:
        instance = await engine.create(cancels)
        while "cleans up" not in seen:
            await trio.lowlevel.checkpoint()
        a_minute_passes(engine)
        while "follows" not in seen:
            await trio.lowlevel.checkpoint()
        for _ in range(50):
            await trio.lowlevel.checkpoint()
        assert (await instance.status()).status == "running", "a thread under way keeps the slot"
        in_thread.set()
        await instance.wait_for_status("waiting")
        found = [
            (it.name, it.attempt, it.status, it.output)
            for it in await instance.history()
            if it.kind == "do"
        ]
        before = [("charges", 1, "attempt_failed", None)] * fails
        assert found == [
            *before,
            ("follows", 1, "done", None),
            ("charges", fails + 1, "abandoned", "went through"),
        ]
        await engine.crash()
        await instance.send_event("end")
        assert await instance.result() == "whole"


async def test_r4_a_thread_that_timed_out_for_good_keeps_the_slot_and_its_return_is_recorded():
    @workflow(concurrency=1)
    async def times_out(step: Any) -> str:
        try:
            await step.do(charges, timeout="1 minute", retry=Retry.never)
        except StepTimeout:
            seen.append("timed out")
        await step.wait_for_event("end")
        return "whole"

    async with open_test_engine(workflows=[times_out], autojump=False, grace=1) as engine:
        first = await engine.create(times_out)
        second = await engine.create(times_out)
        while "cleans up" not in seen:
            await trio.lowlevel.checkpoint()
        a_minute_passes(engine)
        while "timed out" not in seen:
            await trio.lowlevel.checkpoint()
        for _ in range(50):
            await trio.lowlevel.checkpoint()
        assert (await first.status()).status == "running"
        assert (await second.status()).status == "queued"
        in_thread.set()
        await first.wait_for_status("waiting")
        assert [(it.name, it.status) for it in await first.history() if it.kind == "do"] == [
            ("charges", "failed"),
            ("charges", "abandoned"),
        ]
        await engine.crash()
        await first.send_event("end")
        assert await first.result() == "whole"


async def test_i8_a_recorded_end_of_a_cancelled_step_blocks_a_body_that_cancels_it_no_more():
    cancelling = True

    @workflow
    async def changes(step: Any) -> str:
        async with step.open_nursery() as nursery:
            nursery.start_soon(lambda: step.do(returns_all_the_same))
            await step.wait_for_event("cancel")
            if cancelling:
                nursery.cancel_scope.cancel()
        await step.wait_for_event("end")
        return "whole"

    async with open_test_engine(workflows=[changes], autojump=False, grace=1) as engine:
        instance = await engine.create(changes)
        cleanup.set()
        await instance.send_event("cancel")
        await instance.wait_for_status("waiting")
        cancelling = False
        await engine.crash()
        await instance.send_event("end")
        await instance.wait_for_status("blocked")
        text = str(await instance.explain())
        assert (
            'recorded the end of do "returns_all_the_same" (1st) in nursery#1[0], which the '
            "body had cancelled"
        ) in text
        cancelling = True
        await instance.resume()
        assert await instance.result() == "whole"


async def test_i8_abandon_on_cancel_is_for_plain_functions():
    @workflow
    async def asks(step: Any) -> None:
        await step.do(leaves_nothing, abandon_on_cancel=True)

    async with open_test_engine(workflows=[asks]) as engine:
        instance = await engine.create(asks)
        await instance.wait_for_status("errored")
        assert ("abandon_on_cancel=True is for plain functions") in (
            await instance.status()
        ).error.message


class Unshowable:
    def __repr__(self) -> str:
        raise RuntimeError("it has no text")


@pytest.mark.parametrize("ending", ["returns", "raises"])
async def test_r4_a_thread_that_outlives_its_instance_gives_its_slot_back_also_without_a_text(
    ending, caplog
):
    def charges_at_last() -> Any:
        began.append(1)
        in_thread.wait()
        if ending == "raises":
            raise ValueError(Unshowable())
        return Unshowable()

    @workflow
    async def leaves(step: Any) -> str:
        with step.move_on_after("1 minute"):
            await step.do(charges_at_last, abandon_on_cancel=True)
        return "whole"

    async with open_test_engine(workflows=[leaves], autojump=False, grace=1) as engine:
        instance = await engine.create(leaves)
        while not began:
            await trio.lowlevel.checkpoint()
        a_minute_passes(engine)
        assert await instance.result() == "whole"
        in_thread.set()
        while "whose __repr__ raised RuntimeError; that is not recorded" not in caplog.text:
            await trio.lowlevel.checkpoint()
