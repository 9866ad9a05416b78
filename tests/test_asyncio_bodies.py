"""Workflow bodies that run on asyncio: what they may do, in every kind of program."""

import asyncio
from contextlib import suppress

import anyio
import pytest
import sniffio
from asyncio_bodies import NEVER, colour, doubles, fails, flow, lives, ran, replayed, run
from formats import of_format

from stepwell import EventTimeout, Step, StepFailed, aio, sync, workflow
from stepwell.testing import open_test_engine


@pytest.fixture(autouse=True)
def _fresh():
    ran.clear()
    lives.clear()


# What a body may do.


async def test_a_body_on_asyncio_has_every_primitive_and_replays():
    @workflow(name="child")
    async def child(step: Step, x: int) -> int:
        return await step.do(doubles, x)

    async def code(step: Step, seen):
        seen += [
            sniffio.current_async_library(),
            asyncio.current_task().get_name(),
            asyncio.get_running_loop().is_running(),
        ]
        seen.append(await step.do(doubles, 1))
        seen.append(await step.map(doubles, range(3)))
        seen.append(await step.call(child, 5))
        seen.append(await (await step.create(child, 6)).result())
        seen.append([await it.result() for it in await step.create_batch(child, [7, 8])])
        seen.append(await step.patched("new"))
        seen += [step.uuid(), step.random.random(), step.now()]
        await step.sleep("1 hour")
        seen += [step.now(), asyncio.get_running_loop().time() == step.now().timestamp()]
        try:
            await step.wait_for_event("never", timeout="1 minute")
        except EventTimeout:
            seen.append("timeout")
        return "done"

    assert await replayed(code, others=[child]) == "done"
    assert lives[-1][:8] == ["asyncio", "Task-1", True, 2, [0, 2, 4], 10, 12, [14, 16]]
    assert sorted(ran) == [0, 1, 1, 2, 5, 6, 7, 8]  # nothing ran twice


async def test_an_approval_is_waited_for_on_asyncio():
    async def code(step: Step, seen):
        return (await step.wait_for_approval("ok")).by

    async with open_test_engine(workflows=[flow(code)]) as engine:
        instance = await engine.create("flow", id="f")
        await instance.wait_for_status("waiting")
        (asked,) = await engine.approvals.list()
        await engine.approvals.approve(asked.id, by="me")
        assert await instance.result() == "me"


async def test_i2_gathered_operations_keep_their_identity_and_coroutines_are_branches():
    async def code(step: Step, seen):
        async def twice(x: int):
            first = await step.do(doubles, x)
            await step.sleep(10 - x)
            seen.append(x)
            return await step.do(doubles, first)

        got = await step.gather(
            step.do(doubles, 1), step.do(doubles, 2), twice(3), twice(4), step.sleep(1)
        )
        return got + await step.gather(twice(5)) + await step.gather()

    async with open_test_engine(workflows=[flow(code)]) as engine:
        instance = await engine.create("flow", id="f")
        assert await instance.result() == [2, 4, 12, 16, None, 20]
        steps = {(it.branch, it.count) for it in await instance.history() if it.kind == "do"}
        branches = ("", "gather#1[2]", "gather#1[3]", "gather#2[0]")
        assert steps == {(branch, count) for branch in branches for count in (1, 2)}
    ran.clear()
    lives.clear()
    assert await replayed(code) == [2, 4, 12, 16, None, 20]
    assert lives[-1] == [4, 3, 5]
    assert sorted(ran) == [1, 2, 3, 4, 5, 6, 8, 10]


async def test_i11_gather_raises_the_first_failure_bare_once_the_others_are_cancelled():
    async def code(step: Step, seen):
        async def waits():
            try:
                await step.wait_for_event("never")
            finally:
                seen.append("cancelled")

        async def late():
            await step.sleep("1 hour")
            await step.do(fails, "late", retry=NEVER)

        try:
            await step.gather(
                waits(), late(), step.do(fails, "soon", retry=NEVER), step.sleep("2 hours")
            )
        except ValueError as error:
            seen.append(str(error))
        seen.append(step.now())

    await replayed(code)
    assert lives[-1][0] == "cancelled"
    assert "soon" in lives[-1][1]
    assert ran == ["soon"]


async def test_as_completed_gives_results_as_they_came_live_and_on_replay():
    async def code(step: Step, seen):
        async def after(seconds: int):
            await step.sleep(seconds)
            if seconds == 3:
                raise LookupError("three")
            return seconds

        for done in step.as_completed(*map(after, (5, 1, 3, 2))):
            try:
                seen.append(await done)
            except LookupError as error:
                seen.append(str(error))
        async for done in step.as_completed(after(9), step.do(doubles, 7), after(8)):
            seen.append(await done)
        async for done in step.as_completed(step.sleep(1), step.sleep(100)):
            seen.append(await done)
            break

    await replayed(code)
    assert lives[-1] == [1, 2, "three", 5, 14, 8, 9, None]


async def test_a_task_group_works_where_operations_have_keys_or_names_of_their_own():
    async def code(step: Step, seen):
        async def one(x: int):
            await step.sleep(10 - x, name=f"sleep {x}")
            seen.append(x)
            return await step.do(doubles, x, key=str(x))

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(x)) for x in range(4)]
        seen += [task.result() for task in tasks]
        seen += await asyncio.gather(
            step.do(doubles, 10, key="a"), step.do(doubles, 11, key="b"), step.sleep(3)
        )
        tasks = [asyncio.create_task(sleeps(step, seconds)) for seconds in (4, 2, 3)]
        done, pending = await asyncio.wait(tasks, return_when="FIRST_COMPLETED")
        seen += [task.result() for task in done]
        for task in pending:
            task.cancel()
        seen.append(len(await asyncio.gather(*pending, return_exceptions=True)))

    async def sleeps(step: Step, seconds: int):
        await step.sleep(seconds, name=str(seconds))
        return seconds

    await replayed(code)
    assert lives[-1] == [3, 2, 1, 0, 0, 2, 4, 6, 20, 22, None, 2, 2]


async def test_tasks_of_a_body_use_locks_events_and_queues_and_go_on_in_one_order():
    async def code(step: Step, seen):
        lock, event, queue = asyncio.Lock(), asyncio.Event(), asyncio.Queue(1)

        async def locked(n: int):
            await step.sleep(n % 2)
            async with lock:
                seen.append(("holds", n))
                await step.do(doubles, n)

        async def waits(n: int):
            await event.wait()
            seen.append(("told", n, await step.do(doubles, n)))

        async def sends():
            for n in range(3):
                await queue.put(await step.do(doubles, n))
            event.set()

        async def takes():
            for _ in range(3):
                seen.append(await queue.get())
                await step.sleep(1)

        await step.gather(*map(locked, range(4)), *map(waits, range(4)), sends(), takes())

    await replayed(code, 5)


async def test_tasks_in_sets_are_walked_in_the_order_in_which_they_were_made():
    async def code(step: Step, seen):
        async def told():
            await step.wait_for_event("never", name=asyncio.current_task().get_name())

        tasks = {asyncio.create_task(told(), name=f"t{i}") for i in range(50)}
        await step.sleep(1)
        seen.append([task.get_name() for task in tasks])
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    await replayed(code)


async def test_i11_each_runs_branches_on_asyncio_at_most_so_many_at_a_time():
    async def code(step: Step, seen):
        async def one(x: int):
            seen.append(x)
            if x == 9:
                return await step.do(fails, "nine", retry=NEVER)
            await step.sleep(10 - x)
            return await step.do(doubles, x)

        seen.append(await step.each(one, range(4), concurrency=2))
        got = await step.each(one, [9, 1], on_error="collect")
        seen += [isinstance(got[0], StepFailed), got[1]]
        with pytest.raises(ValueError, match="nine"):
            await step.each(one, [2, 9, 3], key=str)
        return await step.each(one, [])

    assert await replayed(code) == []
    assert lives[-1][:4] == [0, 1, 2, 3]
    assert lives[-1][4] == [0, 2, 4, 6]


async def test_t4_deadlines_cut_a_block_short_on_asyncio():
    async def code(step: Step, seen):
        with step.move_on_after(5) as scope:
            await step.sleep(10)
        seen += [scope.cancelled_caught, step.now()]
        with step.move_on_after(5) as scope:
            await step.sleep(1)
        seen.append(scope.cancelled_caught)
        with (
            pytest.raises(TimeoutError, match='"fail_after" of flow/f ran out of time'),
            step.fail_after("1 minute"),
        ):
            async with asyncio.TaskGroup() as group:
                group.create_task(asleep(step))
        with step.move_on_after(5) as scope:
            scope.cancel()
            seen.append("goes on")
            await step.sleep(1)
            seen.append("not here")
        with step.move_on_after(5) as scope:
            scope.cancel()
        await step.sleep(1)  # left without having waited: nothing strikes afterwards
        seen += [scope.cancel_called, scope.cancelled_caught, asyncio.current_task().cancelling()]

    async def asleep(step: Step):
        await step.gather(step.sleep(100), step.wait_for_event("never"))

    await replayed(code)
    assert lives[-1][0] is True
    assert lives[-1][2:] == [False, "goes on", True, False, 0]


async def test_i12_steps_see_the_context_of_their_body_and_the_body_that_of_the_engine():
    async def reads() -> str:
        value = colour.get()
        colour.set("lost")
        return value

    async def code(step: Step, seen):
        seen.append(colour.get())
        colour.set("green")
        seen.append(await step.do(reads))

        async def part(name: str):
            colour.set(name)
            return await step.do(reads)

        seen.append(await step.gather(part("red"), part("blue"), step.do(reads)))
        seen.append(colour.get())

    token = colour.set("white")
    try:
        await replayed(code)
    finally:
        colour.reset(token)
    assert lives[-1] == ["white", "green", ["red", "blue", "green"], "green"]


async def test_async_generators_of_a_body_are_its_own_and_are_closed():
    async def code(step: Step, seen):
        async def counts():
            try:
                for n in range(5):
                    yield await step.do(doubles, n)
            finally:
                await asyncio.sleep(0)
                seen.append("closed")

        async for value in counts():
            seen.append(value)
            if value == 4:
                break
        kept.append(counts())
        seen.append(await anext(kept[0]))
        await step.sleep(1)
        return "done"

    kept: list[object] = []
    assert await run(code) == "done"
    # the one that was dropped, at once, and at the end the one that was kept
    assert lives[-1] == [0, 2, 4, "closed", 0, "closed"]


async def test_anyio_task_groups_run_in_a_body():
    async def code(step: Step, seen):
        async def part(n: int):
            await step.sleep(n, name=str(n))
            seen.append(n)
            if n == 2:
                raise LookupError

        with suppress(ExceptionGroup):
            async with anyio.create_task_group() as group:
                for n in (3, 1, 2):
                    group.start_soon(part, n)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await step.sleep(1)
        seen.append(scope.cancelled_caught)

    await replayed(code, crash=False)  # anyio's group catches the cancellation of its tasks
    assert lives[-1] == [1, 2, True]


async def test_a_busy_body_yields_to_the_engine():
    async def code(step: Step, seen):
        if await step.patched("busy"):
            while not ran:
                await asyncio.sleep(0)
        return "done"

    async def other(step: Step, seen):
        return await step.do(doubles, 1)

    async with open_test_engine(workflows=[flow(code), flow(other, "other")]) as engine:
        busy = await engine.create("flow")
        assert await engine.call("other") == 2
        assert await busy.result() == "done"


# Other programs.


async def on_loop(expected: str) -> int:
    await asyncio.sleep(0.001)
    ran.append(asyncio.get_running_loop())
    return len(expected)


@workflow(runtime="asyncio")
async def asks(step: Step, x: str) -> list[int]:
    return await step.gather(
        step.do(on_loop, x, runtime="asyncio"), step.do(on_loop, x + x, runtime="asyncio")
    )


def test_an_asyncio_program_runs_bodies_on_asyncio_and_their_steps_on_its_own_loop():
    async def main() -> None:
        async with aio.Engine(":memory:", workflows=[asks]) as engine:
            results = await asyncio.gather(*(engine.call(asks, "x" * i) for i in range(1, 20)))
            assert results == [[i, 2 * i] for i in range(1, 20)]
        assert set(ran) == {asyncio.get_running_loop()}

    asyncio.run(main())


def test_a_blocking_program_runs_bodies_on_asyncio():
    with sync.Engine(":memory:", workflows=[asks]) as engine:
        assert engine.call(asks, "abc") == [3, 6]


async def test_i7_engine_methods_in_a_body_on_asyncio_are_an_error_that_names_the_step_form():
    front: list[object] = []

    async def code(step: Step, seen):
        try:
            await front[0].create("flow")
        except Exception as error:
            return str(error)

    async with open_test_engine(workflows=[flow(code)]) as engine:
        front.append(engine)
        assert "step.create" in await engine.call("flow")


def test_i7_engine_methods_of_aio_in_a_body_are_an_error_too():
    async def main() -> None:
        async def code(step: Step, seen):
            try:
                await engine.create("flow")
            except Exception as error:
                return str(error)

        async with aio.Engine(":memory:", workflows=[flow(code)]) as engine:
            assert "step.create" in await engine.call("flow")

    asyncio.run(main())


@pytest.mark.parametrize(
    ("format", "branches"),
    [(1, ["as_completed#1[0]", "gather#1[0]"]), (0, ["gather#1[0]", "gather#2[0]"])],
)
async def test_i2_branches_are_named_after_the_method_that_began_them(
    format, branches, monkeypatch
):
    of_format(format, monkeypatch)  # one of before this rule calls all of them gather

    @workflow(name="both", runtime="asyncio")
    async def both(step) -> list:
        async def part() -> int:
            return await step.do(lambda: 1, name="one")

        found = [await done async for done in step.as_completed(part())]
        return found + list(await step.gather(part()))

    async with open_test_engine(workflows=[both]) as engine:
        instance = await engine.create(both)
        assert await instance.result() == [1, 1]
        assert [it.branch for it in await instance.history()] == branches
