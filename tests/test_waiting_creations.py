"""Creations that wait for room and are cancelled, on every front: they never happen, and the next
in line gets in (C10)."""

import asyncio
import functools
import os
import signal
import threading
import time

import anyio
import pytest
import trio
from test_aio import threads

from stepwell import Limits, Overloaded, Step, aio, sync, workflow
from stepwell.testing import open_test_engine


@workflow
async def hangs(step: Step, p: str) -> None:
    await step.do(trio.sleep_forever)


@workflow
async def hangs_on_asyncio(step: Step, p: str) -> None:
    await step.do(for_ever)


async def for_ever() -> None:
    await asyncio.Event().wait()


# whoever runs the tests may have it ignored, which is inherited
signal.signal(signal.SIGINT, signal.default_int_handler)
FULL = {"slots": 1, "limits": Limits(queue_entries=1), "grace": 0}
"""Two of those that hang fill an engine of this kind."""


async def one(engine, code) -> None:
    await engine.create(code, "given up", on_overload="wait")


async def many(engine, code) -> None:
    await engine.create_batch(code, ["given up"], on_overload="wait")


async def named(engine, code) -> None:
    await engine.create(code, "given up", id="given-up", on_overload="wait")


async def move_on_after(call) -> None:
    with anyio.move_on_after(60) as outer, anyio.move_on_after(6_000) as inner:
        await call()
    assert (outer.cancelled_caught, inner.cancelled_caught) == (True, False)


async def fail_after(call) -> None:
    with pytest.raises(TimeoutError), anyio.fail_after(60):
        await call()


async def task_group(call) -> None:
    with anyio.move_on_after(60) as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(call)
    assert scope.cancelled_caught


async def timeout(call) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(60):
            await call()


async def wait_for(call) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(call(), 60)


async def cancel(call) -> None:
    task = asyncio.create_task(call())
    asyncio.get_running_loop().call_later(60, task.cancel, "why")
    with pytest.raises(asyncio.CancelledError, match="why"):
        await task
    assert task.cancelling() == 1


@pytest.mark.parametrize("create", [one, many, named])
@pytest.mark.parametrize(
    "cancelled", [move_on_after, fail_after, task_group, timeout, wait_for, cancel]
)
def test_c10_a_creation_on_asyncio_that_waits_and_is_cancelled_gives_its_place_up(
    cancelled, create
):
    async def main() -> None:
        loop = asyncio.get_running_loop()
        real, ahead = loop.time, 0
        loop.time = lambda: real() + ahead
        async with aio.Engine(":memory:", workflows=[hangs_on_asyncio], **FULL) as engine:
            await engine.create_batch(hangs_on_asyncio, ["runs", "queued"])

            async def gives_up() -> int:
                await cancelled(lambda: create(engine, hangs_on_asyncio))
                task = asyncio.current_task()
                assert task is not None
                return task.cancelling()

            first = asyncio.create_task(gives_up())
            await behind(engine, hangs_on_asyncio)
            following = asyncio.create_task(
                engine.create(hangs_on_asyncio, "next", id="next", on_overload="wait")
            )
            await behind(engine, hangs_on_asyncio)
            assert not first.done()
            ahead = 120  # its time is up
            assert await first == 0
            assert sum((await engine.count()).values()) == 2
            assert not following.done()
            await engine.set_limits(queue_entries=2)
            assert (await asyncio.wait_for(following, 30)).id == "next"
            assert sum((await engine.count()).values()) == 3
        assert asyncio.current_task().cancelling() == 0

    asyncio.run(main())
    assert threads() == []


async def behind(engine, code) -> None:
    """Returns when whoever called before waits in the line."""
    for _ in range(3):
        await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await engine.create(code, "refused")


@pytest.mark.parametrize("create", [one, many, named])
async def test_c10_a_creation_on_trio_that_waits_and_is_cancelled_gives_its_place_up(create):
    async with open_test_engine(workflows=[hangs], **FULL) as engine:
        await engine.create_batch(hangs, ["runs", "queued"])
        scope, given_up = trio.CancelScope(), trio.Event()
        let_in: list[str] = []

        async def gives_up() -> None:
            with scope:
                await create(engine, hangs)
            given_up.set()

        async def follows() -> None:
            let_in.append((await engine.create(hangs, "next", id="next", on_overload="wait")).id)

        async with trio.open_nursery() as nursery:
            for calls in (gives_up, follows):
                nursery.start_soon(calls)
                await trio.testing.wait_all_tasks_blocked()
                with pytest.raises(Overloaded):  # so it waits in the line by now
                    await engine.create(hangs, "refused")
            scope.deadline = trio.current_time()
            await given_up.wait()
            assert scope.cancelled_caught
            assert (sum((await engine.count()).values()), let_in) == (2, [])
            await engine.set_limits(queue_entries=2)
        assert (sum((await engine.count()).values()), let_in) == (3, ["next"])


@pytest.mark.parametrize("batch", [False, True])
def test_c10_a_creation_of_a_blocking_program_that_waits_gives_its_place_up_at_ctrl_c(batch):
    with sync.Engine(":memory:", workflows=[hangs], **FULL) as engine:
        engine.create_batch(hangs, ["runs", "queued"])
        let_in: list[str] = []
        callers = engine._inner._driver.callers

        def follows() -> None:
            let_in.append(engine.create(hangs, "next", id="next", on_overload="wait").id)

        def strikes() -> None:
            for count in (1, 2):
                while callers.waiting < count:
                    time.sleep(0.001)
                if count == 1:
                    following.start()
            os.kill(os.getpid(), signal.SIGINT)

        following, striking = threading.Thread(target=follows), threading.Thread(target=strikes)
        create = (
            functools.partial(engine.create_batch, hangs, ["given up"])
            if batch
            else functools.partial(engine.create, hangs, "given up")
        )
        striking.start()
        with pytest.raises(KeyboardInterrupt):
            create(on_overload="wait")
        striking.join()
        assert (sum(engine.count().values()), let_in) == (2, [])
        engine.set_limits(queue_entries=2)
        following.join(30)
        assert (sum(engine.count().values()), let_in) == (3, ["next"])
