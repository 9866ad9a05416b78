"""`explain()` and `history()` of what runs: which attempt, since when, where it stands, until when;
what a retry comes after (L13)."""

import threading
from datetime import timedelta
from pathlib import Path

import pytest
import trio
import trio.testing

from stepwell import Retry, StepFailed, StepRef, workflow
from stepwell.testing import open_test_engine

let_go = threading.Event()


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    let_go.clear()
    yield
    let_go.set()


async def hangs() -> None:
    await trio.sleep_forever()  # where it stands


async def hangs_on_asyncio() -> None:
    import asyncio

    await asyncio.Event().wait()  # where it stands


def blocks() -> None:
    let_go.wait()  # where it stands


async def flaky() -> None:
    raise ConnectionError("psp unreachable")


def _line(fn) -> str:
    """Returns where a function stands: the line with the comment."""
    lines = Path(__file__).read_text().splitlines()
    first = fn.__code__.co_firstlineno
    marked = (n for n, line in enumerate(lines, 1) if "# where it stands" in line)
    return f"test_explain_running.py:{next(n for n in marked if n >= first)}"


async def _says(instance, part: str) -> str:
    """Waits until the explanation has this part, and returns it."""
    with trio.fail_after(10):
        while part not in (text := str(await instance.explain())):
            await trio.sleep(0.001)
    return text


async def _attempts(instance) -> list[tuple[int, str]]:
    return [(it.attempt, it.status) for it in await instance.history()]


@workflow
async def one(step, what: str) -> None:
    if what == "thread":
        await step.do(blocks)
    elif what == "asyncio":
        await step.do(hangs_on_asyncio, runtime="asyncio", timeout="1 minute")
    else:
        await step.do(hangs)


@pytest.mark.parametrize(("what", "fn", "runs_on", "timeout"), [
    ("trio", hangs, "on trio", timedelta(minutes=10)),
    ("asyncio", hangs_on_asyncio, "on asyncio", timedelta(minutes=1)),
    ("thread", blocks, "in a thread", timedelta(minutes=10)),
])  # fmt: skip
async def test_l13_a_step_that_runs_says_which_attempt_since_when_where_and_until_when(
    what, fn, runs_on, timeout
):
    async with open_test_engine(workflows=[one], autojump=False, grace=0) as engine:
        began = engine.clock.now()
        instance = await engine.create(one, what, id="i")
        place = _line(fn)
        await _says(instance, place)
        why = await instance.explain()
        until = began + timeout
        assert str(why) == (
            f'one/i is running: attempt 1 of "{fn.__name__}" runs since 2030-01-01 00:00:00 UTC '
            f"{runs_on} at {place} and times out at {until:%Y-%m-%d %H:%M:%S} UTC."
        )
        assert (why.code, why.until) == ("running", until)
        (step,) = why.details["steps"]
        assert (step["name"], step["attempt"], step["state"], step["since"], step["where"]) == (
            fn.__name__,
            1,
            "running",
            began,
            place,
        )
        (record,) = await instance.history()
        assert (record.name, record.attempt, record.status, record.started_at, record.ended_at) == (
            fn.__name__,
            1,
            "running",
            began,
            None,
        )
        assert record.ref == StepRef(fn.__name__)
        assert (await instance.status()).waiting_on is None
        let_go.set()


@workflow
async def several(step) -> None:
    async with step.open_nursery() as nursery:
        nursery.start_soon(step.do, hangs)
        nursery.start_soon(step.sleep, "1 hour")
        nursery.start_soon(branch, step)


async def branch(step) -> None:
    await step.map(hangs_with, [1, 2], key=str)


async def hangs_with(number: int) -> None:
    await trio.sleep_forever()


async def test_l13_steps_in_branches_and_what_is_waited_for_beside_them_are_named():
    async with open_test_engine(workflows=[several], autojump=False, grace=0) as engine:
        instance = await engine.create(several, id="i")
        await trio.testing.wait_all_tasks_blocked(0.01)
        why = await instance.explain()
        for part in (
            '"hangs" in nursery#1[0] runs since',
            _line(hangs),
            "\"hangs_with\" with key '1'",
            'waits for sleep "sleep" in nursery#1[1]',
        ):
            assert part in str(why)
        assert len(why.details["steps"]) == 3
        assert sorted((it.name, it.status, it.key) for it in await instance.history()) == [
            ("hangs", "running", None), ("hangs_with", "running", "1"),
            ("hangs_with", "running", "2"), ("sleep", "waiting", None),
        ]  # fmt: skip


@workflow
async def pooled(step) -> None:
    await step.do(blocks)


async def test_l13_a_step_that_gets_no_thread_says_who_has_them():
    async with open_test_engine(workflows=[pooled], autojump=False, threads=1, grace=0) as engine:
        first = await engine.create(pooled, id="first")
        await _says(first, "in a thread")
        last = await engine.create(pooled, id="last")
        await trio.testing.wait_all_tasks_blocked(0.01)
        pool = (
            'for a thread: all 1 of Engine(threads=1) are in use, by step "blocks" of pooled/first.'
        )
        assert str(await last.explain()) == (
            'pooled/last is running: attempt 1 of "blocks" waits '
            f"since 2030-01-01 00:00:00 UTC {pool}"
        )
        assert await last.history() == []  # it has not begun
        let_go.set()
        await last.result()


@workflow
async def late(step) -> None:
    await step.do(blocks, timeout="1 minute", retry=Retry(limit=2, delay=0, jitter=0))


async def test_l13_an_attempt_that_waits_for_the_thread_of_the_one_before_says_so():
    async with open_test_engine(workflows=[late], autojump=False, grace=0) as engine:
        instance = await engine.create(late, id="i")
        await _says(instance, _line(blocks))
        # `clock.advance` would wait for the thread
        engine._driver.core.advance(engine._driver.now() + 61_000_000)
        thread = (
            f"attempt 1, which runs since 2030-01-01 00:00:00 UTC at {_line(blocks)} and "
            "cannot be stopped."
        )
        await _says(
            instance,
            f'late/i is running: the next attempt of "blocks" waits for the thread of {thread}',
        )
        with trio.fail_after(10):  # that it failed may not be durable yet
            while (attempts := await _attempts(instance)) == [(1, "running")]:
                await trio.sleep(0.001)
        assert attempts == [(1, "attempt_failed")]
        let_go.set()
        await instance.result()


@workflow
async def delayed(step) -> None:
    await step.do(blocks, timeout="1 minute", retry=Retry(limit=2, delay="1 hour", jitter=0))


async def test_l13_a_pause_that_waits_for_a_thread_in_a_retry_delay_names_the_thread():
    async with open_test_engine(workflows=[delayed], autojump=False, grace=0) as engine:
        instance = await engine.create(delayed, id="i")
        await _says(instance, _line(blocks))
        # `clock.advance` would wait for the thread
        engine._driver.core.advance(engine._driver.now() + 61_000_000)
        await _says(instance, "it waits for retry 1 of 2")
        await instance.pause()
        thread = (
            'the next attempt of "blocks" waits for the thread of attempt 1, which runs since '
            f"2030-01-01 00:00:00 UTC at {_line(blocks)} and cannot be stopped"
        )
        assert str(await instance.explain()) == (
            "delayed/i is paused as soon as nothing of it runs; resume() takes that back: "
            f"{thread}; what it waits for stands still."
        )
        assert await _attempts(instance) == [(1, "attempt_failed"), (0, "waiting")]
        let_go.set()
        await instance.wait_for_status("paused")


@workflow
async def gives_up(step, how: str) -> None:
    if how == "cancelled":
        with step.move_on_after("1 minute"):
            await step.do(blocks)
    else:
        with pytest.raises(StepFailed):
            await step.do(blocks, timeout="1 minute", retry=Retry.never)
        await step.wait_for_event("go")


@pytest.mark.parametrize(("how", "said"), [
    ("cancelled", '"blocks", which the body has cancelled, is waited for: it runs since 2030-01-01 '
                  '00:00:00 UTC in a thread at '),
    ("timed out", 'a thread of "blocks" that nobody waits for any more runs since 2030-01-01 '
                  '00:00:00 UTC at '),
])  # fmt: skip
async def test_l13_a_thread_that_cannot_be_stopped_is_named_until_it_has_ended(how, said):
    async with open_test_engine(workflows=[gives_up], autojump=False, grace=0) as engine:
        instance = await engine.create(gives_up, how, id="i")
        await _says(instance, _line(blocks))
        # `clock.advance` would wait for the thread
        engine._driver.core.advance(engine._driver.now() + 61_000_000)
        why = await _says(instance, f"{said}{_line(blocks)}")
        assert why.startswith("gives_up/i is running: ")
        let_go.set()
        await instance.wait_for_status("waiting", "complete")
        assert "blocks" not in str(await instance.explain())


@workflow
async def retrying(step, limit: int | None) -> None:
    await step.do(flaky, retry=Retry(limit=limit, delay="1 minute", backoff="constant", jitter=0))


@pytest.mark.parametrize(("limit", "of"), [(5, " of 5"), (None, "")])
async def test_l13_a_retry_says_which_attempt_comes_when_and_after_what(limit, of):
    async with open_test_engine(workflows=[retrying], autojump=False) as engine:
        instance = await engine.create(retrying, limit, id="i")
        await instance.wait_for_status("waiting")
        await engine.clock.advance("1 minute")
        await instance.wait_for_status("waiting")
        why = await instance.explain()
        until = "at 2030-01-01 00:02:00 UTC (attempt 3) after ConnectionError: psp unreachable"
        assert str(why) == f'retrying/i waits for retry 2{of} of "flaky" {until}.'
        assert f"{why.until:%H:%M}" == "00:02"
        await engine.crash()  # today's code says how many there may be, and it is not in memory
        why = await (await engine.get(retrying, "i")).explain()
        assert (f'retry 2 of "flaky" {until}') in str(
            why
        ) or f'retry 2{of} of "flaky" {until}' in str(why)


@workflow(concurrency=1)
async def retrying_beside(step, how: str) -> None:
    if how == "holds the slot":
        await step.do(blocks)
    async with step.open_nursery() as nursery:
        nursery.start_soon(retrying.fn, step, None)
        await step.wait_for_event("go")
        if how == "race":
            async with trio.open_nursery() as two:
                two.start_soon(step.do, hangs)
                two.start_soon(step.do, hangs)
        await step.wait_for_event("never")


@pytest.mark.parametrize("how", ["queued", "race", "missing_code"])
async def test_l13_an_instance_that_does_not_run_while_a_retry_is_open_says_why(how, tmp_path):
    store = str(tmp_path / "s.db")
    async with open_test_engine(
        workflows=[retrying_beside], store=store, autojump=False, grace=0
    ) as engine:
        instance = await engine.create(retrying_beside, how, id="i")
        await instance.wait_for_status("waiting")
        if how == "queued":
            other = await engine.create(retrying_beside, "holds the slot", id="other")
            await _says(other, "in a thread")
        if how != "missing_code":
            await instance.send_event("go")
            await instance.wait_for_status("queued", "blocked")
            assert (await instance.explain()).code == how
    if how == "missing_code":
        async with open_test_engine(store=store, autojump=False) as engine:
            assert (await (await engine.get("retrying_beside", "i")).explain()).code == how


@workflow
async def interrupted(step, how: str) -> None:
    await step.sleep("1 hour")
    if how == "fail":
        try:
            await step.do(hangs, on_interrupt="fail")
        except Exception:
            await step.wait_for_event("go")
    else:
        await step.do(hangs)


@pytest.mark.parametrize("how", ["retry", "fail"])
async def test_r3_when_an_interrupted_attempt_began_is_not_known_unless_it_was_announced(how):
    async with open_test_engine(workflows=[interrupted], autojump=False, grace=0) as engine:
        began = engine.clock.now()
        instance = await engine.create(interrupted, how, id="i")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(engine.clock.advance, "1 hour")  # which waits for the attempt, too
            await _says(instance, _line(hangs))
            nursery.cancel_scope.cancel()
        engine._driver.core.advance(engine._driver.now() + 60_000_000)
        await engine.crash()
        with trio.fail_after(10):
            while not (found := [it for it in await instance.history() if it.error is not None]):
                await trio.sleep(0.001)
        (record,) = found
        turn = began + timedelta(hours=1)
        if how == "retry":
            assert (record.status, record.started_at, record.not_before) == (
                "interrupted",
                None,
                turn,
            )
            # the next attempt begins when that record is durable, and may not have yet
            with trio.fail_after(10):
                while (last := (await instance.history())[-1]).status == "interrupted":
                    await trio.lowlevel.checkpoint()
            assert (last.name, last.status, last.attempt) == ("hangs", "running", 2)
        else:
            assert (record.status, record.started_at, record.not_before) == ("failed", turn, None)
        assert record.ended_at == began + timedelta(hours=1, minutes=1)


async def test_an_open_attempt_is_told_once_whenever_it_ends():
    gates = {}

    async def gated() -> None:
        await gates["gate"].wait()

    @workflow(name="gate")
    async def gate(step) -> None:
        for _ in range(30):
            await step.do(gated)

    async with open_test_engine(workflows=[gate], autojump=False) as engine:
        gates["gate"] = trio.Event()
        instance = await engine.create(gate, id="i")
        for n in range(1, 31):
            with trio.fail_after(10):
                while [
                    it["count"] for it in (await instance.explain()).details.get("steps", ())
                ] != [n]:
                    await trio.sleep(0.001)
            gate_now, gates["gate"] = gates["gate"], trio.Event()
            told = []
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_told, instance, told)
                gate_now.set()  # it ends while it is looked at
            (history,) = told
            refs = [it.ref for it in history]
            assert len(set(refs)) == len(refs)
            assert StepRef("gated", n) in refs


async def _told(instance, told) -> None:
    told.append(await instance.history())
