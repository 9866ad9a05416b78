"""Workflow bodies that run on asyncio: `@workflow(runtime="asyncio")`."""

import asyncio
import contextvars
import gc
import threading
import weakref
from contextlib import suppress

import anyio
import pytest
import sniffio
import trio
import trio.testing

from stepwell import EventTimeout, InstanceErrored, InvalidConfig, LimitReached, Retry, Step, StepFailed, _driver, aio, sync, workflow
from stepwell.testing import open_test_engine

NEVER = Retry.never
ran: list[object] = []
"""What steps did."""
lives: list[list[object]] = []
"""What bodies saw, life by life."""
colour: contextvars.ContextVar[str] = contextvars.ContextVar("colour", default="none")


@pytest.fixture(autouse=True)
def _fresh():
    ran.clear()
    lives.clear()


async def doubles(x: int) -> int:
    ran.append(x)
    return 2 * x


async def fails(text: str) -> None:
    ran.append(text)
    raise ValueError(text)


def flow(code, name: str = "flow", **options):
    """Returns a workflow with this body, on asyncio; it is given a list for what it sees in this life."""

    @workflow(name=name, runtime="asyncio", **options)
    async def made(step: Step) -> object:
        lives.append([])
        return await code(step, lives[-1])

    return made


async def run(code, **options) -> object:
    async with open_test_engine(workflows=[flow(code)], **options) as engine:
        return await engine.call("flow", id="f")


async def replayed(code, times: int = 3, others=(), crash: bool = True) -> object:
    """Runs a body to its end, with a crash on the way, and then replays it some times, each time from nothing but its history."""
    ended: list[int] = []
    has_ended = trio.Event()

    async def body(step: Step, seen: list[object]) -> object:
        value = await code(step, seen)
        ended.append(len(lives))
        has_ended.set()
        for _ in range(times):
            await step.wait_for_event("again")
        return value

    async with open_test_engine(workflows=[flow(body), *others]) as engine:
        instance = await engine.create("flow", id="f")
        if crash:
            await trio.lowlevel.checkpoint()
            await engine.crash()
        for _ in range(times):
            await has_ended.wait()
            has_ended = trio.Event()
            await trio.testing.wait_all_tasks_blocked()
            await engine.crash()
            await instance.send_event("again")
        value = await instance.result()
    assert len(ended) == times + 1
    assert all(lives[-1][: len(life)] == life for life in lives), lives
    assert all(lives[n - 1] == lives[-1] for n in ended), lives
    return value


async def blocked(code, **options) -> tuple[str, str]:
    """Runs a body that gets its instance blocked; returns why."""
    async with open_test_engine(workflows=[flow(code, **options)]) as engine:
        instance = await engine.create("flow", id="f")
        await instance.wait_for_status("blocked")
        info = (await instance.status()).error
        await trio.testing.wait_all_tasks_blocked()
        assert engine.statistics().resident == 0
        return (await engine.list("flow")).items[0].reason, info.message


def line_of(mark: str) -> str:
    """Returns `file:line` of the line of this file that ends in a mark."""
    with open(__file__) as file:
        (number,) = [i for i, line in enumerate(file, 1) if line.rstrip().endswith(f"# {mark}")]
    return f"test_asyncio_bodies.py:{number}"


# What a body may do.


async def test_a_body_on_asyncio_has_every_primitive_and_replays():
    @workflow(name="child")
    async def child(step: Step, x: int) -> int:
        return await step.do(doubles, x)

    async def code(step: Step, seen):
        seen += [sniffio.current_async_library(), asyncio.current_task().get_name(), asyncio.get_running_loop().is_running()]
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

        got = await step.gather(step.do(doubles, 1), step.do(doubles, 2), twice(3), twice(4), step.sleep(1))
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
            await step.gather(waits(), late(), step.do(fails, "soon", retry=NEVER), step.sleep("2 hours"))
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
        seen += await asyncio.gather(step.do(doubles, 10, key="a"), step.do(doubles, 11, key="b"), step.sleep(3))
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
        with pytest.raises(TimeoutError, match='"fail_after" of flow/f ran out of time'), step.fail_after("1 minute"):
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
    assert lives[-1] == [0, 2, 4, "closed", 0, "closed"]  # the one that was dropped, at once, and at the end the one that was kept


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


# What ends a body, or a part of it.


async def test_a_group_that_leaves_a_body_makes_it_errored_with_its_tree():
    async def code(step: Step, seen):
        async with asyncio.TaskGroup() as group:
            group.create_task(step_fails(step, "a"))
            group.create_task(waits(step))

    async def step_fails(step: Step, text: str):
        await step.do(fails, text, retry=NEVER)

    async def waits(step: Step):
        await step.wait_for_event("never")

    with pytest.raises(InstanceErrored) as caught:
        await run(code)
    info = caught.value.error
    assert info.type == "ExceptionGroup"
    assert "ValueError: a" in str(info)


async def test_a_body_that_cancels_itself_is_errored():
    async def code(step: Step, seen):
        asyncio.current_task().cancel()
        await step.sleep(1)

    with pytest.raises(InstanceErrored, match="CancelledError"):
        await run(code)


async def test_tasks_that_a_body_leaves_behind_are_cancelled_and_named(caplog):
    async def code(step: Step, seen):
        async def left():
            try:
                await step.wait_for_event("never")
            except asyncio.CancelledError:
                seen.append("cancelled")
                await step.do(doubles, 1)  # as with asyncio.run: who catches it is waited for
                seen.append("cleaned")
                raise

        task = asyncio.create_task(left(), name="lefty")
        await step.sleep(1)
        return task.get_name()

    assert await run(code) == "lefty"
    assert lives == [["cancelled", "cleaned"]]
    assert "flow/f has ended while tasks of it were running (1: lefty at test_asyncio_bodies.py:" in caplog.text


async def test_operations_are_taken_by_tasks_as_they_are_and_a_task_that_is_cancelled_before_it_begins_begins_none():
    async def code(step: Step, seen):
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(step.do(doubles, x, key=str(x))) for x in range(3)]
        seen += [task.result() for task in tasks]
        for make in (asyncio.ensure_future, asyncio.create_task):
            task = make(step.do(doubles, 9))
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        with step.move_on_after(0) as scope:
            scope.cancel()
            await step.gather(step.sleep(1), step.do(doubles, 3))
        return "done"

    assert await replayed(code) == "done"
    assert lives[-1] == [0, 2, 4]
    assert 9 not in ran


async def test_a_deadline_in_a_callback_is_an_error_there_and_nowhere_else(caplog):
    async def code(step: Step, seen):
        def callback() -> None:
            with step.move_on_after(1):
                pass

        asyncio.get_running_loop().call_soon(callback)
        await step.sleep(2)
        return "done"

    assert await run(code) == "done"
    assert "RuntimeError: a deadline needs a task to cancel, and this is the code of a callback" in caplog.text


async def test_an_error_that_nobody_awaits_is_logged_with_its_instance(caplog):
    async def code(step: Step, seen):
        async def breaks():
            raise LookupError("dropped")

        task = asyncio.create_task(breaks())
        await step.sleep(1)
        del task
        return "done"

    async with open_test_engine(workflows=[flow(code)]) as engine:
        assert await engine.call("flow", id="f") == "done"
    gc.collect()
    assert "exception was never retrieved" in caplog.text
    assert "LookupError: dropped" in caplog.text


async def test_i8_a_cancelled_task_gives_its_operations_up():
    async def code(step: Step, seen):
        async def waits():
            return await step.wait_for_event("go", name="first")

        async def runs():
            await step.do(hangs)

        first, second = asyncio.create_task(waits()), asyncio.create_task(runs())
        await step.wait_for_event("now")
        first.cancel()
        second.cancel()
        await asyncio.wait([first, second])
        seen += [first.cancelled(), second.cancelled()]
        return (await step.wait_for_event("go")).payload  # the withdrawn wait took nothing

    async def hangs() -> None:
        try:
            await trio.sleep_forever()
        finally:
            ran.append("cancelled")

    async with open_test_engine(workflows=[flow(code)], autojump=False) as engine:
        instance = await engine.create("flow", id="f")
        await trio.testing.wait_all_tasks_blocked()
        await instance.send_event("now")
        await instance.wait_for_status("waiting")
        assert ran == ["cancelled"]
        await engine.crash()
        await instance.send_event("go", 5)
        assert await instance.result() == 5
    assert lives == [[True, True], [True, True]]


async def test_an_awaited_step_that_was_cancelled_beside_its_outcome_replays():
    """The same turn wakes a task and has it cancelled: what it was told is lost to it, in every life."""

    async def code(step: Step, seen):
        event = asyncio.Event()

        async def sleeps():
            await step.sleep(1)
            event.set()

        async def waits():
            await event.wait()
            seen.append("not here")

        other = asyncio.create_task(waits())
        await step.gather(sleeps(), cancels(step, other))
        seen.append(other.cancelled())

    async def cancels(step: Step, other):
        await step.sleep(1)
        other.cancel()

    await replayed(code)


# What a body must not do.


async def test_i3_tasks_that_begin_the_same_in_one_turn_are_a_race_and_named():
    async def code(step: Step, seen):
        async with asyncio.TaskGroup() as group:
            for x in range(2):
                group.create_task(one(step, x))

    async def one(step: Step, x: int):
        await step.do(doubles, x)

    reason, text = await blocked(code)
    assert reason == "race"
    assert text == (
        '"doubles" was begun by two tasks of the body in one turn, so which of them has which place in the history is a race. '
        "Give each a key=, or make them branches with step.gather (in a body on trio: step.open_nursery)."
    )
    assert ran == []


@pytest.mark.parametrize("kind", ["sleep", "map", "patched", "gather", "asyncio.gather", "as_completed", "deadline"])
async def test_i3_every_kind_of_race_is_found(kind):
    async def part(step: Step):
        if kind == "deadline":
            with step.move_on_after(1):
                await asyncio.sleep(0)
        elif kind == "gather":
            await step.gather(asyncio.sleep(0))
        elif kind == "as_completed":
            async for _ in step.as_completed(asyncio.sleep(0)):
                pass
        else:
            await {"sleep": lambda: step.sleep(1), "map": lambda: step.map(doubles, [1]), "patched": lambda: step.patched("x")}[kind]()

    async def code(step: Step, seen):
        if kind == "asyncio.gather":
            await asyncio.gather(step.do(doubles, 1), step.do(doubles, 2))
        await asyncio.gather(part(step), part(step))

    reason, text = await blocked(code)
    assert reason == "race"
    assert "key=" in text
    assert ran == []


FOREIGN = {
    "asyncio.sleep": (lambda: asyncio.sleep(1), "asyncio's sleep", "step.sleep"),
    "timeout": (lambda: asyncio.wait_for(asyncio.Event().wait(), 1), "asyncio's ", "step.fail_after"),
    "thread": (lambda: asyncio.to_thread(str), "asyncio's to_thread", "step.do with the plain function"),
    "connection": (lambda: asyncio.open_connection("127.0.0.1", 1), "asyncio's open_connection", "step.do with an async function"),
    "event": (lambda: asyncio.Event().wait(), "asyncio's Event.wait", "step.wait_for_event"),
    "queue": (lambda: asyncio.Queue().get(), "asyncio's Queue.get", "step.wait_for_event"),
    "future": (lambda: _awaits(asyncio.get_running_loop().create_future()), "something of its own", "step.do"),
    "other loop": (lambda: _awaits(_other_loops()), "something of its own", "step.do"),
    "trio": (lambda: trio.sleep(1), "trio's sleep", "step.sleep"),
    "trio event": (lambda: trio.Event().wait(), "trio's Event.wait", "step.wait_for_event"),
    "trio scope": (lambda: _in_scope(), "trio's CancelScope.__enter__", "step.move_on_after and step.fail_after for deadlines"),
    "trio nursery": (lambda: _in_nursery(), "trio's NurseryManager.__aenter__", "step.gather and asyncio.TaskGroup for tasks"),
    "anyio": (lambda: anyio.sleep(1), "anyio's sleep", "step.sleep"),
}


async def _in_scope() -> None:
    with trio.move_on_after(1):
        await asyncio.sleep(0)


async def _in_nursery() -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep, 1)


async def _awaits(future):
    await future


def _other_loops():
    loop = asyncio.new_event_loop()
    loop.close()
    return loop.create_future()


@pytest.mark.parametrize("what", FOREIGN)
async def test_i9_what_a_body_on_asyncio_must_not_wait_for_is_found_and_named(what):
    waits, name, form = FOREIGN[what]

    async def code(step: Step, seen):
        await step.do(doubles, 1)
        try:
            await waits()  # foreign
        except BaseException as error:
            seen.append(type(error))  # the engine unwinds it, and nothing else is raised into it
            raise

    reason, text = await blocked(code)
    assert reason == "foreign_wait"
    assert f"the body of flow/f waits for {name}" in text
    assert form in text
    if what in ("asyncio.sleep", "timeout", "thread", "connection", "event", "queue", "trio", "trio event"):
        assert f" at {line_of('foreign')}" in text
    # Either the engine unwinds it and raises nothing else, or trio has refused.
    assert lives == [[RuntimeError if what.startswith("trio") else asyncio.CancelledError]]


async def test_i9_trio_in_a_body_on_asyncio_hurts_no_other_body():
    async def uses_trio(step: Step, seen):
        async def one():
            with trio.CancelScope() as scope:
                scope.cancel()
                await step.wait_for_event("never", name="a")

        async def other():
            with trio.move_on_after(0):
                await step.wait_for_event("never", name="b")

        with suppress(RuntimeError):
            await one()
        await step.gather(one(), other())

    async def code(step: Step, seen):
        return await step.do(doubles, 1)

    async with open_test_engine(workflows=[flow(uses_trio), flow(code, "other")]) as engine:
        instance = await engine.create("flow")
        await instance.wait_for_status("blocked")
        assert await engine.call("other") == 2


async def test_i9_what_sets_an_event_of_a_body_from_outside_is_found():
    events: list[asyncio.Event] = []

    async def sets() -> None:
        events[-1].set()

    async def code(step: Step, seen):
        events.append(asyncio.Event())

        async def waits():
            await events[-1].wait()

        await asyncio.gather(waits(), step.do(sets), step.wait_for_event("never"))

    reason, text = await blocked(code)
    assert reason == "foreign_wait"
    assert "asyncio's Event.wait" in text


@pytest.mark.parametrize("where", ["thread", "asyncio"])
async def test_i9_a_step_in_another_thread_that_sets_an_event_of_a_body_is_told_and_the_body_found(where):
    async def code(step: Step, seen):
        event = asyncio.Event()

        def sets() -> None:
            try:
                event.set()
            except RuntimeError as error:
                ran.append(str(error))

        async def sets_on_asyncio() -> None:
            sets()

        async def waits() -> None:
            await event.wait()
            seen.append("went on")

        run = step.do(sets) if where == "thread" else step.do(sets_on_asyncio, runtime="asyncio")
        await step.gather(waits(), run, step.wait_for_event("never"))

    reason, text = await blocked(code)
    assert reason == "foreign_wait"
    assert "waits for asyncio's Event.wait" in text
    assert lives == [[]]
    assert ran[0].startswith("asyncio's call_soon was called from another thread, for the body of flow/f, which takes nothing from there")


async def test_i9_a_thread_that_calls_into_a_body_is_refused():
    errors: list[str] = []

    async def code(step: Step, seen):
        loop = asyncio.get_running_loop()

        def calls() -> None:
            try:
                loop.call_soon_threadsafe(seen.append, 1)
            except RuntimeError as error:
                errors.append(str(error))

        thread = threading.Thread(target=calls)
        thread.start()
        thread.join()
        await step.wait_for_event("never")

    reason, _ = await blocked(code)
    assert reason == "foreign_wait"
    assert len(errors) == 1
    assert errors[0].startswith(
        "asyncio's call_soon_threadsafe was called from another thread, for the body of flow/f, which takes nothing"
    )


async def test_i5_a_body_on_asyncio_that_differs_from_its_history_is_blocked_with_a_diff():
    name = ["one"]

    async def code(step: Step, seen):
        await step.gather(step.do(doubles, 1, name=name[0]), step.sleep(1))  # differs
        await step.wait_for_event("go")

    async with open_test_engine(workflows=[flow(code)]) as engine:
        instance = await engine.create("flow", id="f")
        await instance.wait_for_status("waiting")
        await engine.crash()
        name[0] = "two"
        await instance.send_event("go")
        await instance.wait_for_status("blocked")
        text = (await instance.status()).error.message
        assert 'recorded do "one" (1st), now do "two" (1st)' in text
        assert "test_asyncio_bodies.py:" in text
        name[0] = "one"
        await instance.resume()
        await instance.result()
    assert ran == [1]


async def test_bad_input_to_gather_and_its_like_is_named():
    async def code(step: Step, seen):
        with pytest.raises(InvalidConfig, match=r"step.gather takes operations and coroutines; argument 1 is <function doubles"):
            step.gather(doubles)
        with pytest.raises(InvalidConfig, match=r"argument 1 is \[1, 2\].*one by one"):
            step.as_completed([1, 2])
        with pytest.raises(InvalidConfig, match=r"step\.open_nursery is for bodies on trio.*Use step\.gather"):
            step.open_nursery()
        with pytest.raises(LimitReached, match="100,000"):
            step.gather(*[asyncio.get_running_loop().create_future()] * 100_001)
        with pytest.raises(TypeError, match="a coroutine was expected"):
            asyncio.create_task(5)  # noqa: RUF006
        return "done"

    assert await run(code) == "done"


@workflow
async def on_trio(step: Step) -> None:
    with pytest.raises(InvalidConfig, match=r'step.gather is for bodies on asyncio \(@workflow\(runtime="asyncio"\)\)'):
        step.gather()
    with pytest.raises(InvalidConfig, match=r"Use step\.open_nursery, step\.map or step\.each"):
        step.as_completed()


async def test_gather_and_as_completed_say_that_they_are_for_asyncio():
    async with open_test_engine(workflows=[on_trio]) as engine:
        await engine.call(on_trio)


async def test_i7_a_gather_that_is_not_awaited_is_an_error():
    async def code(step: Step, seen):
        step.gather(step.do(doubles, 1))

    with pytest.raises(InstanceErrored, match="was never awaited"):
        await run(code)


# Unwinding.


async def test_p1_a_task_that_swallows_its_cancellation_stays_resident_and_explain_says_so():
    told: list[asyncio.Event] = []

    async def code(step: Step, seen):
        told.append(asyncio.Event())
        while True:
            try:
                return (await step.wait_for_event("go")).payload
            except asyncio.CancelledError:
                while not told[0].is_set():
                    with suppress(asyncio.CancelledError):
                        await told[0].wait()  # resists

    async with open_test_engine(workflows=[flow(code)], autojump=False) as engine:
        instance = await engine.create("flow", id="f")
        await instance.wait_for_status("waiting")
        await engine.clock.advance("11 seconds")
        await engine.clock.advance("5 seconds")
        assert engine.statistics().resident == 1
        await instance.send_event("go", "gone")
        await trio.testing.wait_all_tasks_blocked()
        assert len(lives) == 1  # no second body beside the first
        text = str(await instance.explain())
        assert f"Its body was cancelled 6 s ago and has not ended; it stands at {line_of('resists')}" in text
        assert "let CancelledError pass" in text
        told[0].set()
        await trio.testing.wait_all_tasks_blocked()
        assert engine.statistics().resident == 1  # it waits for the event again, and begins nothing
        assert len(lives) == 1


@pytest.mark.parametrize("how", ["begins again", "waits", "spins"])
@pytest.mark.parametrize("end", ["close", "crash", "park"])
async def test_p1_nothing_hangs_with_a_body_that_never_ends(how, end, monkeypatch):
    monkeypatch.setattr(_driver, "RESISTS_MAX", 0.01)

    async def code(step: Step, seen):
        event = asyncio.Event()
        while True:
            try:
                await step.wait_for_event("go")
            except asyncio.CancelledError:
                while how != "begins again":
                    try:
                        await (event.wait() if how == "waits" else asyncio.sleep(0))
                    except asyncio.CancelledError:
                        seen.append("again")

    async def other(step: Step, seen):
        return await step.do(doubles, 1)

    async with open_test_engine(workflows=[flow(code), flow(other, "other")], autojump=False) as engine:
        instance = await engine.create("flow", id="f")
        await instance.wait_for_status("waiting")
        if end == "crash":
            await engine.crash()
        elif end == "park":
            await engine.clock.advance("11 seconds")
            assert engine.statistics().resident == 1
        assert await engine.call("other") == 2


async def test_p1_nobody_takes_a_body_that_unwinds_for_one_that_went_on():
    """Every task is cancelled, those too that only wait for other tasks."""

    async def waits(step: Step, n: int) -> None:
        await step.wait_for_event("go", name=str(n))

    async def code(step: Step, seen):
        try:
            async with asyncio.TaskGroup() as group:
                for n in range(2):
                    group.create_task(waits(step, n))
                await asyncio.gather(waits(step, 2), waits(step, 3), return_exceptions=True)
                seen.append("gathered")
            seen.append("the group is done")
        finally:
            with suppress(asyncio.CancelledError), step.fail_after(1):
                await step.sleep(2)
            seen.append("left")

    async with open_test_engine(workflows=[flow(code)], autojump=False) as engine:
        instance = await engine.create("flow", id="f")
        await instance.wait_for_status("waiting")
        await engine.clock.advance("11 seconds")
        assert engine.statistics().resident == 0
    assert lives == [["left"]]


async def test_p1_a_body_that_is_busy_while_it_unwinds_may_take_its_time():
    async def code(step: Step, seen):
        async def spins() -> None:
            try:
                while True:
                    await asyncio.sleep(0)
            finally:
                for _ in range(90):
                    await asyncio.sleep(0)
                seen.append("unwound")

        async def breaks() -> None:
            await asyncio.sleep(0)
            await asyncio.sleep(1)

        await step.do(doubles, 1)
        await step.gather(spins(), breaks())

    reason, _ = await blocked(code)
    assert reason == "foreign_wait"
    assert lives == [["unwound"]]


async def test_p1_no_step_begins_while_a_body_unwinds():
    async def code(step: Step, seen):
        try:
            await step.gather(step.wait_for_event("go"), asyncio.shield(asyncio.ensure_future(asyncio.Event().wait())))
        finally:
            for _ in range(2):
                with suppress(asyncio.CancelledError):
                    seen.append(await step.do(doubles, 1))
            with suppress(asyncio.CancelledError):
                seen.append(await step.gather(step.do(doubles, 2), step.map(doubles, [3])))
            seen.append("ended")

    async with open_test_engine(workflows=[flow(code)], autojump=False) as engine:
        instance = await engine.create("flow", id="f")
        await instance.wait_for_status("waiting")
        await engine.clock.advance("11 seconds")
        assert engine.statistics().resident == 0
    assert lives == [["ended"]]
    assert ran == []


async def test_l14_a_body_that_would_begin_something_while_the_engine_drains_waits_and_then_unwinds():
    gates = [trio.Event(), trio.Event()]

    async def waits(which: int) -> None:
        await gates[which].wait()

    async def code(step: Step, seen):
        async def second():
            await step.do(waits, 0, name="first")
            seen.append("went on")
            try:
                await step.do(doubles, 1)
            except asyncio.CancelledError:
                seen.append("cancelled")
            return "swallowed"

        return await step.gather(second(), step.do(waits, 1, name="second"))

    async with open_test_engine(workflows=[flow(code)], autojump=False) as engine:
        instance = await engine.create("flow", id="f")
        await trio.testing.wait_all_tasks_blocked()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(engine.drain)
            await trio.testing.wait_all_tasks_blocked()
            gates[0].set()
            while lives == [[]]:
                await trio.lowlevel.checkpoint()
            await trio.testing.wait_all_tasks_blocked()
            assert lives == [["went on"]]
            gates[1].set()
        assert lives == [["went on", "cancelled"]]
        assert engine.peek("flow", instance.id) == "running"
    assert ran == []


async def test_r7_system_exit_in_a_body_stops_the_engine():
    async def code(step: Step, seen):
        async def exits():
            raise SystemExit(7)

        await step.gather(exits(), step.wait_for_event("never"))

    with pytest.raises(SystemExit) as caught:
        async with open_test_engine(workflows=[flow(code)]) as engine:
            await engine.call("flow")
    assert caught.value.code == 7


async def test_a_body_that_has_ended_is_freed_at_once():
    made: list[weakref.ref] = []

    class Big:
        pass

    async def code(step: Step, seen):
        big = Big()
        made.append(weakref.ref(big))
        await step.gather(step.do(doubles, 1), step.sleep(1))
        with step.move_on_after(1):
            await step.map(doubles, [1, 2])
        return repr(big)[:1]

    async with open_test_engine(workflows=[flow(code)]) as engine:
        gc.collect()
        gc.disable()
        try:
            await engine.call("flow")
            await trio.testing.wait_all_tasks_blocked()
            assert made[0]() is None
        finally:
            gc.enable()


async def test_p2_a_body_that_is_parked_is_freed_at_once():
    made: list[weakref.ref] = []

    class Big:
        pass

    async def code(step: Step, seen):
        big = Big()
        made.append(weakref.ref(big))
        await step.gather(step.wait_for_event("go"))
        return repr(big)

    async with open_test_engine(workflows=[flow(code)], autojump=False) as engine:
        instance = await engine.create("flow")
        await instance.wait_for_status("waiting")
        gc.collect()
        gc.disable()
        try:
            await engine.clock.advance("11 seconds")
            await trio.testing.wait_all_tasks_blocked()
            assert engine.statistics().resident == 0
            assert made[0]() is None
        finally:
            gc.enable()


# Other programs.


async def on_loop(expected: str) -> int:
    await asyncio.sleep(0.001)
    ran.append(asyncio.get_running_loop())
    return len(expected)


@workflow(runtime="asyncio")
async def asks(step: Step, x: str) -> list[int]:
    return await step.gather(step.do(on_loop, x, runtime="asyncio"), step.do(on_loop, x + x, runtime="asyncio"))


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
