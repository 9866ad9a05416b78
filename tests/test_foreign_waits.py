"""A body awaits its step and its own branches, nothing else: what would replay differently is found
and named (rule I9)."""

import asyncio
import re

import anyio
import pytest
import trio

from stepwell import Engine, Status, workflow
from stepwell.testing import open_test_engine

gate = trio.Event()


@pytest.fixture(autouse=True)
def _shut():
    global gate
    gate = trio.Event()


async def noop() -> None:
    pass


async def opens_the_gate() -> None:
    gate.set()


@workflow
async def sleeps(step):
    await step.do(noop)
    await trio.sleep(3600)  # here
    return "slept"


@workflow
async def sleeps_in_a_branch(step):
    async def branch():
        await trio.sleep(0.01)  # here
        await step.do(noop)

    async with step.open_nursery() as nursery:
        nursery.start_soon(branch)
        nursery.start_soon(step.wait_for_event, "never")


@workflow
async def sleeps_in_a_nursery_of_trios(step):
    async with trio.open_nursery() as nursery:  # here
        nursery.start_soon(trio.sleep, 0.01)
        nursery.start_soon(step.wait_for_event, "never")


@workflow
async def begins_from_a_thread(step):
    def thread():
        trio.from_thread.run(step.do, noop)

    await trio.to_thread.run_sync(thread, abandon_on_cancel=True)  # here


@workflow
async def runs_a_thread(step):
    await trio.to_thread.run_sync(str)  # here


@workflow
async def waits_for_a_step(step):
    """The event is set by a step's function: on replay nobody would set it."""

    async def branch():
        await gate.wait()  # here

    async with step.open_nursery() as nursery:
        nursery.start_soon(branch)
        nursery.start_soon(step.do, opens_the_gate)


@workflow
async def listens(step):
    a, b = __import__("socket").socketpair()
    with a, b:
        await trio.lowlevel.wait_readable(a)  # here


@workflow
async def waits_for_nobody(step):
    await gate.wait()  # here


@workflow
async def branches_wait_for_each_other(step):
    async def branch():
        await gate.wait()  # here

    async with step.open_nursery() as nursery:
        nursery.start_soon(branch)


@workflow
async def own_trio_deadline(step):
    with trio.move_on_after(0.01):
        await step.wait_for_event("never")  # here


@workflow
async def own_trio_deadline_over_branches(step):
    with trio.move_on_after(0.01):
        async with step.open_nursery() as nursery:
            nursery.start_soon(step.wait_for_event, "never")
            nursery.start_soon(step.sleep, 86_400)


@workflow
async def own_trio_deadline_over_an_attempt(step):
    with trio.move_on_after(0.01):
        await step.do(trio.sleep_forever, name="slow")  # here


@workflow
async def trio_deadline_that_never_comes(step):
    with trio.fail_after(100):
        await step.sleep(5)  # here


@workflow
async def anyio_deadline_that_never_comes(step):
    with anyio.fail_after(100):
        await step.do(noop)  # here


@workflow
async def cancelled_from_a_step(step):
    with trio.CancelScope() as scope:

        async def cancels() -> None:
            scope.cancel()

        async with step.open_nursery() as nursery:
            nursery.start_soon(step.wait_for_event, "never")
            nursery.start_soon(step.do, cancels)


CASES = [
    (sleeps, "trio's sleep", "step.sleep"),
    (sleeps_in_a_branch, "trio's sleep", "step.sleep"),
    (sleeps_in_a_nursery_of_trios, "trio's sleep", "step.sleep"),
    (begins_from_a_thread, "trio's to_thread_run_sync", "step.do with the plain function"),
    (runs_a_thread, "trio's to_thread_run_sync", "step.do with the plain function"),
    (waits_for_a_step, "trio's Event.wait", "step.wait_for_event"),
    (listens, "trio's wait_readable", "step.do with an async function"),
    (waits_for_nobody, "trio's Event.wait", "step.wait_for_event"),
    (branches_wait_for_each_other, "trio's Event.wait", "step.wait_for_event"),
    (own_trio_deadline, "begins something under a deadline of trio's", "step.move_on_after"),
    (
        own_trio_deadline_over_branches,
        "begins something under a deadline of trio's",
        "step.move_on_after",
    ),
    (
        own_trio_deadline_over_an_attempt,
        "begins something under a deadline of trio's",
        "step.move_on_after",
    ),
    (
        trio_deadline_that_never_comes,
        "begins something under a deadline of trio's",
        "step.move_on_after",
    ),
    (
        anyio_deadline_that_never_comes,
        "begins something under a deadline of trio's",
        "step.move_on_after",
    ),
    (cancelled_from_a_step, "cancelled by a deadline or a scope", "step.move_on_after"),
]


def marked_line(code) -> int | None:
    import inspect

    lines, first = inspect.getsourcelines(code.fn)
    return next((first + i for i, line in enumerate(lines) if line.endswith("# here\n")), None)


@pytest.mark.parametrize(("code", "what", "form"), CASES, ids=[c.name for c, _, _ in CASES])
async def test_i9_a_body_that_waits_for_something_foreign_is_blocked_and_told_what_to_use(
    code, what, form
):
    async with open_test_engine(workflows=[code], autojump=False) as engine:
        instance = await engine.create(code, id="i")
        await instance.wait_for_status("blocked")
        why = await instance.explain()
        assert why.code == "foreign_wait"
        text = str(why)
        assert what in text
        assert f"Use {form}" in text
        assert f"{code.name}/i" in text
        assert text.endswith("then resume().")
        if marked_line(code):
            assert f"test_foreign_waits.py:{marked_line(code)}" in text
        assert not re.search(r"charge|0x", text)


SEEN_LIVE = [sleeps_in_a_branch, sleeps_in_a_nursery_of_trios, begins_from_a_thread,
             waits_for_a_step, branches_wait_for_each_other, own_trio_deadline,
             own_trio_deadline_over_branches,
             own_trio_deadline_over_an_attempt, cancelled_from_a_step]  # fmt: skip


@pytest.mark.parametrize("code", SEEN_LIVE, ids=lambda c: c.name)
async def test_i9_the_production_engine_sees_it_wherever_it_counts_turns_or_loses_an_operation(
    code,
):
    async with Engine(":memory:", workflows=[code], grace=0) as engine:
        instance = await engine.create(code)
        await instance.wait_for_status("blocked")
        assert (await instance.explain()).code == "foreign_wait"


@workflow
async def own_tasks_only(step):
    """What is allowed: trio's own primitives between the body's own tasks, checkpoints,
    cancellation by the body's own code."""
    order: list[str] = []
    send, receive = trio.open_memory_channel[int](0)
    ready, lock = trio.Event(), trio.Lock()

    async def producer():
        async with send:
            for i in range(3):
                await step.do(noop)
                await send.send(i)
        ready.set()

    async def consumer():
        async with receive:
            async for i in receive:
                async with lock:
                    await trio.lowlevel.checkpoint()
                    order.append(str(i))

    async def last(scope: trio.CancelScope):
        await ready.wait()
        scope.cancel()

    async def for_ever():
        try:
            await step.wait_for_event("never")
        finally:
            order.append("cancelled")

    async with step.open_nursery() as nursery:
        nursery.start_soon(producer)
        nursery.start_soon(consumer)
        nursery.start_soon(last, nursery.cancel_scope)
        nursery.start_soon(for_ever)
    with trio.CancelScope() as scope:
        scope.cancel()
        await step.sleep(1)
    async with trio.open_nursery() as plain:
        plain.start_soon(trio.lowlevel.checkpoint)
    await step.wait_for_event("go")
    return order


async def test_i9_the_bodys_own_tasks_may_wait_for_each_other():
    async with open_test_engine(workflows=[own_tasks_only], autojump=False) as engine:
        instance = await engine.create(own_tasks_only)
        assert await instance.wait_for_status("waiting", "blocked") is Status.WAITING
        await engine.crash()
        await instance.send_event("go")
        # the consumer has the lock when `last` cancels it
        assert await instance.result() == ["0", "1", "cancelled"]


@workflow
async def fixed(step):
    await step.do(noop)
    await step.sleep(3600)
    return "slept"


async def test_i9_after_a_fix_resume_goes_on(tmp_path):
    path = str(tmp_path / "a.db")
    async with open_test_engine(workflows=[sleeps], store=path) as engine:
        instance = await engine.create(sleeps, id="i")
        await instance.wait_for_status("blocked")
    mended = workflow(name="sleeps")(fixed.fn)
    async with open_test_engine(workflows=[mended], store=path) as engine:
        instance = await engine.get(mended, "i")
        await instance.resume()
        assert await instance.result() == "slept"
        assert [r.name for r in await instance.history()] == ["noop", "sleep"]


async def _in_a_task_group() -> None:
    async with asyncio.TaskGroup():
        pass


async def _in_a_timeout() -> None:
    async with asyncio.timeout(1):
        pass


ON_ASYNCIO = {
    "sleep": (lambda: asyncio.sleep(1), "asyncio's sleep", "step.sleep"),
    "sleep(0)": (lambda: asyncio.sleep(0), "asyncio's sleep", "step.sleep"),
    "a task group": (_in_a_task_group, "asyncio's TaskGroup.__aenter__", "step.open_nursery"),
    "a deadline": (_in_a_timeout, "asyncio's timeout", "step.move_on_after"),
    "a thread": (
        lambda: asyncio.to_thread(len, ""),
        "asyncio's to_thread",
        "step.do with the plain function",
    ),
    "a queue": (lambda: asyncio.Queue().get(), "asyncio's Queue.get", "step.wait_for_event"),
    "an event": (lambda: asyncio.Event().wait(), "asyncio's Event.wait", "step.wait_for_event"),
    "a subprocess": (
        lambda: asyncio.create_subprocess_exec("true"),
        "asyncio's create_subprocess_exec",
        "step.do with an async function",
    ),
}


@pytest.mark.parametrize("used", ON_ASYNCIO)
@pytest.mark.parametrize("crashes", [False, True])
async def test_i9_a_body_on_trio_that_uses_asyncio_is_blocked_and_told_what_to_use(used, crashes):
    call, what, form = ON_ASYNCIO[used]
    mended = False

    @workflow
    async def flow(step) -> str:
        await step.do(noop)
        if not mended:
            await call()
        return "mended"

    async with open_test_engine(workflows=[flow], autojump=False) as engine:
        instance = await engine.create(flow, id="i")
        await instance.wait_for_status("blocked")
        if crashes:
            await engine.crash()
        told = await instance.explain()
        assert "is blocked (foreign_wait)" in str(told)
        assert (
            f"the body of flow/i runs on trio, and uses {what} at test_foreign_waits.py:"
        ) in str(told)
        assert f"use {form}" in str(told)
        assert '@workflow(runtime="asyncio")' in str(told)
        mended = True
        await instance.resume()
        assert await instance.result() == "mended"
