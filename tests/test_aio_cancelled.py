"""`stepwell.aio`: who cancels a call, an opening or a block gets that cancellation back, and the
engine does what was asked."""

import asyncio
import threading

import anyio
import pytest
import trio
from test_aio import threads, until, waits

from stepwell import EngineClosed, Step, aio, workflow
from stepwell._loops.portal import from_asyncio


def test_a_call_that_is_cancelled_is_cancelled_in_the_engine():
    async def main() -> None:
        async with aio.Engine(":memory:", workflows=[waits]) as engine:
            instance = await engine.create(waits)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await instance.result()
            task = asyncio.create_task(instance.wait_for_status("complete"))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await instance.send_event("go")
            assert await instance.result() == "go"

    asyncio.run(main())


async def never(engine: aio.Engine) -> None:
    await engine.call(waits)


async def result(engine: aio.Engine) -> None:
    await (await engine.create(waits)).result()


async def grouped(engine: aio.Engine) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(engine.call, waits)


@pytest.mark.parametrize("call", [never, result, grouped])
def test_what_cancels_a_call_gets_its_cancellation_back(call):
    """With its message, its count and its scope: anyio and asyncio tell by these whose it is."""

    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None
        async with aio.Engine(":memory:", workflows=[waits]) as engine:
            with anyio.move_on_after(0.01) as scope:
                await call(engine)
            assert scope.cancelled_caught
            with pytest.raises(TimeoutError), anyio.fail_after(0.01):
                await call(engine)
            with anyio.move_on_after(0.01) as outer, anyio.move_on_after(60) as inner:
                await call(engine)
            assert outer.cancelled_caught
            assert not inner.cancelled_caught
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await call(engine)
            async with anyio.create_task_group() as group:
                group.start_soon(call, engine)
                await anyio.sleep(0.01)
                group.cancel_scope.cancel()
            other = asyncio.create_task(call(engine))
            await asyncio.sleep(0.01)
            other.cancel("why")
            with pytest.raises(asyncio.CancelledError, match="why"):
                await other
            assert other.cancelling() == 1
            assert task.cancelling() == 0

    asyncio.run(main())
    assert threads() == []


def test_a_scope_that_cancels_the_opening_or_the_block_gets_its_cancellation_back():
    async def main() -> None:
        with anyio.CancelScope() as scope:
            scope.cancel()
            async with aio.Engine(":memory:"):
                raise AssertionError("it was cancelled before")
        assert scope.cancelled_caught
        with anyio.CancelScope() as scope:
            async with aio.Engine(":memory:"):
                scope.cancel()
                await anyio.sleep(60)
        assert scope.cancelled_caught
        assert asyncio.current_task().cancelling() == 0

    asyncio.run(main())
    assert threads() == []


def test_a_cancelled_scope_around_the_block_costs_no_processor_time_while_it_drains():
    rounds = 0
    began: list[int] = []

    async def counts() -> None:
        nonlocal rounds
        loop = asyncio.get_running_loop()
        tick = loop._run_once

        def counted() -> None:
            nonlocal rounds
            rounds += 1
            tick()

        loop._run_once = counted

    release = threading.Event()

    def winds_down() -> None:
        release.wait(30)

    @workflow
    async def works(step: Step) -> None:
        await step.do(cleans_up)

    async def cleans_up() -> None:
        try:
            began.append(1)
            await asyncio.sleep(3600)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(winds_down)

    async def main() -> int:
        await counts()
        with anyio.CancelScope() as scope:
            async with aio.Engine(":memory:", workflows=[works]) as engine:
                await engine.create(works)
                await until(lambda: began)
                scope.cancel()
                asyncio.get_running_loop().call_later(0.3, release.set)
        return rounds

    before = asyncio.run(main())
    assert before < 2000  # a loop that spins makes a hundred thousand in that time


def test_a_cancellation_is_never_lost_also_if_the_call_came_to_its_end():
    async def main() -> None:
        async def opens() -> None:
            async with aio.Engine(":memory:"):
                await asyncio.Event().wait()

        opening = asyncio.create_task(opens())
        await asyncio.sleep(0)
        opening.cancel()  # while it opens, which is not cut short
        with pytest.raises(asyncio.CancelledError):
            await opening
        assert threads() == []
        async with aio.Engine(":memory:", workflows=[waits]) as engine:
            for delay in (0, 0, 0.0001, 0.0003):
                creating = asyncio.create_task(engine.create(waits))
                await asyncio.sleep(delay)
                if creating.cancel():  # else it has returned already
                    with pytest.raises(asyncio.CancelledError):
                        await creating
            begun = asyncio.Event()
            loop = asyncio.get_running_loop()

            async def fails_all_the_same() -> None:
                loop.call_soon_threadsafe(begun.set)
                try:
                    await trio.sleep_forever()
                finally:
                    raise LookupError("an error of its own")

            failing = asyncio.create_task(from_asyncio(engine._gate.token, fails_all_the_same))
            await begun.wait()
            failing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await failing
            closing = asyncio.create_task(engine.__aexit__(None, None, None))
            await asyncio.sleep(0)
            closing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await closing
            assert threads() == []
            with pytest.raises(EngineClosed):
                await engine.count()

    with pytest.raises(EngineClosed):
        asyncio.run(main())  # the block cannot be left a second time
