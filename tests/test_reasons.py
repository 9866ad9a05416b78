"""Why instances are where they are, counted in every state."""

from datetime import timedelta

import pytest
import trio

from stepwell import InvalidConfig, ReasonCount, Retry, Status, workflow
from stepwell.testing import open_test_engine


class AuthError(Exception):
    pass


@workflow
async def charge(step, _: object = None):
    await step.do(refused, retry=Retry(limit=9, delay="1 hour", backoff="constant", jitter=0))


def refused():
    raise AuthError("key expired")


@workflow
async def waits(step, what: str):
    match what:
        case "event":
            await step.wait_for_event("paid", "void")
        case "approval":
            await step.wait_for_approval("refund")
        case "sleep":
            await step.sleep("2 days", name="nap")
        case "child":
            await step.call(waits, "event", id="called")
        case "deadline":
            with step.move_on_after("3 hours", name="patience"):
                await step.wait_for_event("never")


@workflow
async def ends(step, how: str):
    if how == "body":
        raise ValueError("broken")
    await step.do(refused, retry=Retry.never)


ALL = [charge, waits, ends]


def said(reasons) -> list[tuple]:
    return sorted((it.workflow, it.status, it.code, it.step or "", it.count) for it in reasons)


async def test_waiting_instances_are_counted_by_what_they_wait_for():
    async with open_test_engine(workflows=ALL, autojump=False) as engine:
        began = engine.clock.now()
        for what in ("event", "approval", "sleep", "child", "deadline"):
            it = await engine.create(waits, what, id=what)
            await it.wait_for_status("waiting")
        await (await engine.get(waits, "called")).wait_for_status("waiting")
        reasons = await engine.reasons()
        assert said(reasons) == [
            ("waits", "waiting", "approval", "refund", 1),
            ("waits", "waiting", "child", "waits", 1),
            ("waits", "waiting", "event", "never", 1),
            ("waits", "waiting", "event", "paid|void", 2),
            ("waits", "waiting", "sleep", "nap", 1),
        ]
        (nap,) = [it for it in reasons if it.step == "nap"]
        assert (nap.since, nap.next) == (began, began + timedelta(days=2))
        assert (nap.version, nap.error_type, nap.example_id) == ("1", None, "sleep")
        paid = reasons[0]
        assert (paid.count, paid.step, paid.example_id) == (2, "paid|void", "event")


async def test_what_retries_is_counted_by_step_and_error_also_after_a_crash(tmp_path):
    async with open_test_engine(workflows=ALL, store=tmp_path / "s.db", autojump=False) as engine:
        began = engine.clock.now()
        for n in range(3):
            await (await engine.create(charge, id=f"c-{n}")).wait_for_status("waiting")
            await engine.clock.advance("10 minutes")
        for _ in range(2):
            (reason,) = await engine.reasons(charge)
            assert reason == ReasonCount(
                "charge", "1", Status.WAITING, "retrying", "refused", "test_reasons.AuthError", 3,
                began, began + timedelta(hours=1), "c-0",
            )  # fmt: skip
            await engine.crash()


async def test_queued_instances_are_counted_by_the_limit_that_holds_them_up():
    gate = trio.Event()

    @workflow
    async def holds(step):
        await step.do(gate.wait)

    async with open_test_engine(workflows=[holds], slots=3, autojump=False) as engine:
        now = engine.clock.now()

        async def codes(where):
            return [
                (it.status, it.code, it.count, it.example_id, it.since)
                for it in await where.reasons(holds)
                if it.status is not Status.WAITING
            ]

        await engine.set_limits(holds, concurrency=2)
        for n in range(4):
            await engine.create(holds, id=f"h-{n}")
        assert await codes(engine) == [(Status.QUEUED, "concurrency", 2, "h-2", now)]
        await engine.create(holds, id="later", start_at=now + timedelta(hours=1))
        assert (Status.QUEUED, "start_at", 1) in [it[:3] for it in await codes(engine)]
        acme = engine.namespace("acme")
        await engine.set_limits(holds, concurrency=1)
        await acme.set_limits(concurrency=1)
        for n in range(2):
            await acme.create(holds, id=f"a-{n}")
        assert await codes(acme) == [(Status.QUEUED, "slots", 1, "a-1", now)]
        await (await engine.get(holds, "h-0")).terminate()
        assert await codes(acme) == [(Status.QUEUED, "namespace_concurrency", 1, "a-1", now)]
        gate.set()
        for it in ("h-1", "h-2", "h-3"):
            await (await engine.get(holds, it)).result()
        (left,) = await codes(engine)
        assert left == (Status.QUEUED, "start_at", 1, "later", now)
        await engine.clock.advance("2 hours")
        assert await codes(engine) == []


async def test_one_whose_start_time_is_over_is_an_example_of_what_holds_it_up():
    gate = trio.Event()

    @workflow(concurrency=1)
    async def holds(step):
        await step.do(gate.wait, timeout="30 days")

    async with open_test_engine(workflows=[holds], autojump=False) as engine:

        async def queued():
            (row,) = [it for it in await engine.reasons(holds) if it.status is Status.QUEUED]
            return row.code, row.count, row.example_id, row.next

        at = engine.clock.now() + timedelta(hours=1)
        await engine.create(holds)
        await engine.create(holds, id="later", start_at=at)
        assert await queued() == ("start_at", 1, "later", at)
        core = engine._running().core
        core.advance(int(at.timestamp() * 1e6))  # the test's clock waits for the attempt
        while (told := await queued())[0] == "start_at":
            pass
        gate.set()
        assert told == ("concurrency", 1, "later", None)


async def test_paused_blocked_and_errored_instances_are_counted(tmp_path):
    store = tmp_path / "s.db"
    async with open_test_engine(workflows=ALL, store=store, autojump=False) as engine:
        began = engine.clock.now()
        it = await engine.create(waits, "event", id="p")
        await it.wait_for_status("waiting")
        await it.pause()
        for n in range(2):
            await (await engine.create(ends, "body", id=f"b-{n}")).wait_for_status("errored")
        await (await engine.create(ends, "step", id="s")).wait_for_status("errored")
        for _ in range(2):
            reasons = await engine.reasons()
            assert said(reasons) == [
                ("ends", "errored", "failed", "", 2),
                ("ends", "errored", "failed", "refused", 1),
                ("waits", "paused", "paused", "", 1),
            ]
            body, step = (
                next(it for it in reasons if it.code == "failed" and it.step == name)
                for name in (None, "refused")
            )
            assert (body.error_type, body.example_id) == ("ValueError", "b-0")
            assert (step.error_type, step.example_id) == ("test_reasons.AuthError", "s")
            assert body.since == began
            await engine.crash()
    async with open_test_engine(workflows=[ends], store=store, autojump=False) as engine:
        (blocked,) = await engine.reasons(waits.name)
        assert (blocked.workflow, blocked.version, blocked.status) == ("waits", "1", Status.PAUSED)
        await engine.clock.advance("25 hours")
        assert await engine.reasons(ends) == []
        with pytest.raises(InvalidConfig, match="no workflow"):
            await engine.reasons("sends")
