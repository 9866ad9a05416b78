"""Several body tasks: identities, turns, maps and branches, live and on replay."""

import functools

import pytest
import trio

from stepwell import InstanceErrored, InvalidConfig, Retry, Step, workflow
from stepwell.testing import open_test_engine

runs: list[str] = []


@pytest.fixture(autouse=True)
def _no_runs():
    runs.clear()


async def double(x: int) -> int:
    runs.append(f"double {x}")
    await trio.lowlevel.checkpoint()
    return 2 * x


@workflow
async def nursery(step):
    async with step.open_nursery() as n:
        branches = [n.start_soon(step.do, double, i) for i in range(5)]
    await step.wait_for_event("go")
    return [b.value for b in branches]


async def test_i2_branches_are_named_by_nursery_and_ordinal_and_answer_from_history():
    async with open_test_engine(workflows=[nursery]) as engine:
        instance = await engine.create(nursery)
        await instance.wait_for_status("waiting")
        await engine.crash()
        await instance.send_event("go")
        assert await instance.result() == [0, 2, 4, 6, 8]
        assert len(runs) == 5
        branches = {r.branch for r in await instance.history() if r.kind == "do"}
        assert branches == {f"nursery#1[{i}]" for i in range(5)}


async def fails_on_three(x: int) -> int:
    runs.append(f"try {x}")
    if x == 3:
        raise ValueError("three")
    return x


@workflow
async def mapped(step, n: int):
    return await step.map(double, range(n), concurrency=4)


async def test_map_keeps_the_order_of_its_items():
    async with open_test_engine(workflows=[mapped]) as engine:
        assert await engine.call(mapped, 50) == [2 * i for i in range(50)]
        assert await engine.call(mapped, 0) == []


@workflow
async def map_fails(step, on_error: str):
    try:
        return [
            str(r)
            for r in await step.map(
                fails_on_three, range(6), concurrency=2, retry=Retry.never, on_error=on_error
            )
        ]
    except ValueError as error:
        await step.wait_for_event("go")
        return f"caught {error}"


async def test_i11_map_raises_the_first_failure_bare_live_and_on_replay():
    async with open_test_engine(workflows=[map_fails]) as engine:
        instance = await engine.create(map_fails, "raise")
        await instance.wait_for_status("waiting")
        await engine.crash()
        await instance.send_event("go")
        assert await instance.result() == (
            'caught step "fails_on_three" failed after 1 attempt: ValueError: three'
        )


async def test_map_can_collect_failures():
    async with open_test_engine(workflows=[map_fails]) as engine:
        got = await engine.call(map_fails, "collect")
        assert got[:3] + got[4:] == ["0", "1", "2", "4", "5"]
        assert "ValueError: three" in got[3]


@workflow
async def eachs(step, n: int):
    async def one(i: int) -> list[int]:
        a = await step.do(double, i)
        await step.sleep("1 minute")
        return [a, await step.do(double, a)]

    return await step.each(one, range(n), concurrency=3)


async def test_each_runs_workflow_code_in_branches():
    async with open_test_engine(workflows=[eachs]) as engine:
        assert await engine.call(eachs, 7) == [[2 * i, 4 * i] for i in range(7)]


@pytest.mark.parametrize("runtime", ["trio", "asyncio"])
async def test_i2_each_takes_what_returns_something_to_await_and_replays_it(runtime):
    @workflow(name="awaits", runtime=runtime)
    async def awaits(step: Step) -> list[object]:
        got: list[object] = [*await step.each(functools.partial(step.do, double), [1, 2])]
        got += await step.each(
            lambda x: step.do(double, x), [3, 4], name="by_lambda", concurrency=1
        )
        got += await step.each(step.sleep, [5, 6])
        await step.wait_for_event("go")
        return got

    async with open_test_engine(workflows=[awaits]) as engine:
        instance = await engine.create(awaits)
        await instance.wait_for_status("waiting")
        await engine.crash()
        await instance.send_event("go")
        assert await instance.result() == [2, 4, 6, 8, None, None]
        assert sorted(runs) == [f"double {x}" for x in range(1, 5)]
        places = [(it.kind, it.branch) for it in await instance.history() if it.branch]
        wanted = [("do", "do#1"), ("do", "by_lambda#1"), ("sleep", "sleep#1")]
        assert sorted(places) == sorted(
            (kind, f"{path}[{i}]") for kind, path in wanted for i in range(2)
        )


@pytest.mark.parametrize("runtime", ["trio", "asyncio"])
async def test_each_refuses_a_function_that_returns_nothing_to_await(runtime):
    called = []

    def charge(n: int) -> None:
        called.append(n)

    @functools.wraps(charge)
    def decorated(n: int) -> None:
        charge(n)

    @workflow(name="no_code", runtime=runtime)
    async def no_code(step: Step) -> list[str]:
        said = []
        plains = (
            (str, {}),
            (lambda x: x, {"name": "n"}),
            (functools.partial(max, 1), {}),
            (charge, {}),
            (decorated, {}),
        )
        for plain, options in plains:
            try:
                await step.each(plain, [1, 2], on_error="collect", **options)
            except InvalidConfig as error:
                said.append(str(error))
        return said

    async with open_test_engine(workflows=[no_code]) as engine:
        said = await engine.call(no_code)
        assert len(said) == 5
        assert not called
        assert all(
            "step.each needs an async function with workflow code" in it and "use step.map" in it
            for it in said
        )


async def test_a_single_branch_failure_cancels_siblings_and_leaves_as_a_group():
    @workflow
    async def siblings(step):
        async def waits():
            await step.wait_for_event("never")

        async def breaks():
            await step.do(fails_on_three, 3, retry=Retry.never)

        try:
            async with step.open_nursery() as n:
                n.start_soon(waits)
                n.start_soon(breaks)
        except* ValueError as group:
            seen = [type(e).__name__ for e in group.exceptions]
        await step.wait_for_event("go")
        return len(seen)

    async with open_test_engine(workflows=[siblings]) as engine:
        instance = await engine.create(siblings)
        await instance.wait_for_status("waiting")
        await engine.crash()
        await instance.send_event("never")
        await instance.send_event("go")
        assert await instance.result() == 1


async def test_i4_the_order_the_program_saw_is_the_same_on_replay():
    seen = []

    @workflow(name="watched")
    async def watched(step):
        order: list[int] = []

        async def branch(i: int) -> None:
            await step.do(double, i)
            order.append(i)
            await step.do(double, 10 + i)
            order.append(10 + i)

        async with step.open_nursery() as n:
            for i in range(6):
                n.start_soon(branch, i)
        seen.append(list(order))
        await step.wait_for_event("go")
        return order

    async with open_test_engine(workflows=[watched]) as engine:
        instance = await engine.create(watched)
        await instance.wait_for_status("waiting")
        for _ in range(3):
            await engine.crash()
            await instance.wait_for_status("waiting")
        await instance.send_event("go")
        await instance.result()
    assert len(seen) >= 2
    assert all(order == seen[0] for order in seen)


async def test_a_failure_in_each_is_raised_bare():
    @workflow
    async def broken(step):
        async def one(i: int) -> int:
            return await step.do(fails_on_three, i, retry=Retry.never)

        return await step.each(one, range(5))

    async with open_test_engine(workflows=[broken]) as engine:
        with pytest.raises(InstanceErrored, match="ValueError: three"):
            await engine.call(broken)


async def test_a_failure_in_each_is_raised_bare_also_if_others_fail_while_they_are_cancelled():
    """Found by a generated program: a branch that fails inside a nursery of its own and is
    cancelled at once raises both, in a group."""

    async def throws() -> None:
        raise ZeroDivisionError

    async def one(i: int) -> None:
        async with the_step[0].open_nursery() as nursery:
            nursery.start_soon(throws)
            await the_step[0].do(lambda: None, name="never")

    the_step: list[Step] = []

    @workflow
    async def both(step: Step) -> list[str]:
        the_step[:] = [step]
        try:
            await step.each(one, range(2))
        except ExceptionGroup as group:
            return [type(it).__name__ for it in group.exceptions]
        raise AssertionError

    async with open_test_engine(workflows=[both]) as engine:
        assert await engine.call(both) == ["ZeroDivisionError"]


@workflow
async def primitives(step):
    """Branches that wake each other by every primitive of trio's, several at once: trio shuffles
    them, the body may not see it."""
    trace: list[str] = []
    traces.setdefault(step.instance.id, []).append(trace)
    go, ready = trio.Event(), trio.Event()
    lock, limiter = trio.Lock(), trio.CapacityLimiter(2)
    send, receive = trio.open_memory_channel[str](1)

    async def worker(name: str) -> None:
        await step.do(double, len(name))
        await go.wait()  # all of them are woken by one `set`
        trace.append(f"{name} goes")
        async with limiter:
            await trio.lowlevel.checkpoint()
            trace.append(f"{name} in")
            await step.do(double, 2, name=name)
        async with lock:
            trace.append(f"{name} locked")
            await send.send(name)

    async def plain(name: str) -> None:
        await ready.wait()
        trace.append(f"{name} ready")

    async def nested() -> None:
        async with trio.open_nursery() as own:  # tasks of the branch without branches of their own
            for i in range(4):
                own.start_soon(plain, f"plain {i}")
            async with step.open_nursery("inner") as inner:
                for name in ("x", "yy", "zzz"):
                    inner.start_soon(worker, name)

    async def reads() -> None:
        for i in range(6):
            trace.append("read " + await receive.receive())
            if i == 2:
                ready.set()

    async with step.open_nursery() as nursery:
        for name in ("a", "bb", "ccc"):
            nursery.start_soon(worker, name)
        nursery.start_soon(nested)
        nursery.start_soon(reads)
        await step.sleep(1)
        go.set()
    await step.wait_for_event("go")


traces: dict[str, list[list[str]]] = {}


@pytest.mark.slow
async def test_i4_what_trio_shuffles_is_never_seen_by_the_body():
    async with open_test_engine(workflows=[primitives], autojump=False) as engine:
        instances = [await engine.create(primitives) for _ in range(12)]
        await engine.clock.advance(2)
        for instance in instances:
            await instance.wait_for_step("zzz")
        for _ in range(4):
            await engine.crash()
            await engine.clock.advance(1)
        for instance in instances:
            await instance.send_event("go")
            await instance.result()
    assert len(traces) == 12
    for live, *replays in traces.values():
        assert len(live) == 6 * 4 + 4
        assert replays
        assert all(replay == live for replay in replays)
