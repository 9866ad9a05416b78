"""Namespaces: tenants of one engine, with instances, ids, approvals and limits of their own."""

import pytest
import trio

from stepwell import (
    Engine,
    EngineClosed,
    InstanceExists,
    InstanceNotFound,
    InvalidConfig,
    InvalidName,
    Limits,
    NewInstance,
    Overloaded,
    ReasonCount,
    Status,
    Step,
    TooLarge,
    current_step,
    workflow,
)
from stepwell.testing import open_test_engine


@workflow
async def greet(step: Step, name: str) -> str:
    return f"{step.instance.namespace}: {name}"


@workflow
async def waits(step: Step) -> str:
    return (await step.wait_for_event("go")).type


@workflow
async def asks(step: Step) -> str:
    return (await step.wait_for_approval("ok")).by


@workflow
async def calls(step: Step) -> str:
    return await step.call(greet, "child", id="child")


ALL = [greet, waits, asks, calls]


async def test_the_same_id_lives_once_in_each_namespace():
    async with Engine(":memory:", workflows=ALL) as engine:
        acme, initech = engine.namespace("acme"), engine.namespace("initech")
        for tenant in (engine, acme, initech):
            await tenant.create(waits, id="w")
            with pytest.raises(InstanceExists):
                await tenant.create(waits, id="w")
        await (await acme.get(waits, "w")).send_event("go")
        assert await (await acme.get(waits, "w")).result() == "go"
        assert await initech.count(waits, status=Status.COMPLETE) == dict.fromkeys(Status, 0)
        assert [item.status for item in (await acme.list()).items] == [Status.COMPLETE]
        assert acme.peek(waits, "w") is None
        assert engine.peek(waits, "w") is not None
        with pytest.raises(InstanceNotFound, match='namespace "umbrella"'):
            await engine.namespace("umbrella").get(waits, "w")


async def test_bodies_and_their_children_know_their_namespace():
    async with Engine(":memory:", workflows=ALL) as engine:
        acme = engine.namespace("acme")
        assert await acme.call(greet, "x") == "acme: x"
        assert await engine.call(greet, "x") == "default: x"
        assert await acme.call(calls) == "acme: child"
        assert (await acme.get(greet, "child")).id == "child"
        with pytest.raises(InstanceNotFound):
            await engine.get(greet, "child")


async def test_e5_approvals_of_two_namespaces_are_two():
    async with Engine(":memory:", workflows=ALL) as engine:
        acme = engine.namespace("acme")
        here, there = await engine.create(asks, id="a"), await acme.create(asks, id="a")
        for instance in (here, there):
            await instance.wait_for_status("waiting")
        assert [request.id for request in await acme.approvals.list()] == ["asks/a#ok#1"]
        assert await acme.approvals.approve("asks/a#ok#1", by="ann")
        assert await there.result() == "ann"
        assert await engine.approvals.approve("asks/a#ok#1", by="bob")
        assert await here.result() == "bob"


async def test_a_batch_belongs_to_its_namespace():
    async with Engine(":memory:", workflows=ALL) as engine:
        acme = engine.namespace("acme")
        batch = await acme.create_batch(
            greet, [NewInstance("a", id="1"), NewInstance("b", id="1"), NewInstance("c", id="2")]
        )
        assert [instance.id for instance in batch.created] == ["1", "2"]
        assert [(error.index, type(error.error)) for error in batch.errors] == [(1, InstanceExists)]
        assert [await instance.result() for instance in batch.created] == ["acme: a", "acme: c"]


async def test_c1_each_namespace_has_slots_of_its_own_and_the_engine_has_them_all():
    running: dict[str, int] = {}
    most: dict[str, int] = {}
    gate = trio.Event()

    @workflow
    async def holds(step: Step) -> None:
        async def attempt(namespace: str) -> None:
            running[namespace] = running.get(namespace, 0) + 1
            most[namespace] = max(most.get(namespace, 0), running[namespace])
            await gate.wait()
            running[namespace] -= 1

        await step.do(attempt, step.instance.namespace)

    async with Engine(
        ":memory:", workflows=[holds], slots=5, limits=Limits(concurrency=3)
    ) as engine:
        acme = engine.namespace("acme", limits=Limits(concurrency=4))
        created = (await engine.create_batch(holds, [None] * 10)).created + (
            await acme.create_batch(holds, [None] * 10)
        ).created
        while sum(running.values()) < 5:
            await trio.testing.wait_all_tasks_blocked()
        gate.set()
        for instance in created:
            await instance.result()
        assert most["default"] <= 3
        assert most["acme"] <= 4
        assert engine.statistics().leased == 0


async def test_limits_are_kept_in_layers_and_survive_a_restart(tmp_path):
    store = tmp_path / "store.db"
    async with Engine(store, workflows=ALL, limits=Limits(concurrency=7, steps=9)) as engine:
        assert engine.limits() == Limits(concurrency=7, steps=9)
        acme = engine.namespace("acme", limits=Limits(queue_entries=5))
        await acme.set_limits(concurrency=2)
        await acme.set_limits(greet, concurrency=1, value_bytes=10)
        assert acme.limits().concurrency == 2
        assert (acme.limits(greet).concurrency, acme.limits(greet).value_bytes) == (1, 10)
        with pytest.raises(TooLarge):
            await acme.create(greet, "more than ten bytes")
    async with Engine(store, workflows=ALL) as engine:
        assert engine.limits().concurrency == 7
        acme = engine.namespace("acme")
        assert (acme.limits().queue_entries, acme.limits().concurrency) == (5, 2)
        await acme.set_limits(concurrency=None)
        await acme.set_limits(greet, concurrency=None, value_bytes=None)
        assert acme.limits(greet).concurrency == 50_000
        assert await acme.call(greet, "more than ten bytes") == "acme: more than ten bytes"
    async with Engine(store, workflows=ALL, limits=Limits()) as engine:
        assert engine.limits() == Limits()


async def test_a_limit_below_what_runs_stops_nothing():
    gate = trio.Event()
    ran = 0

    async def attempt() -> int:
        nonlocal ran
        ran += 1
        await gate.wait()
        return 1

    @workflow
    async def holds(step: Step) -> int:
        return await step.do(attempt)

    async with Engine(":memory:", workflows=[holds]) as engine:
        created = (await engine.create_batch(holds, [None] * 5)).created
        while ran < 5:
            await trio.testing.wait_all_tasks_blocked()
        await engine.set_limits(concurrency=1)
        late = await engine.create(holds)
        assert engine.statistics().leased == 5
        assert engine.peek(holds, late.id) is Status.QUEUED
        gate.set()
        assert [await instance.result() for instance in [*created, late]] == [1] * 6


async def test_c10_who_waits_as_told_gets_in():
    async with open_test_engine(
        workflows=[greet], limits=Limits(create_rate=2, create_burst=1)
    ) as engine:
        await engine.create(greet, "first")
        waits_told = []
        for _ in range(5):
            with pytest.raises(Overloaded) as caught:
                await engine.create(greet, "too soon")
            assert caught.value.limit == "create_rate"
            waits_told.append(caught.value.retry_after)
        assert waits_told == pytest.approx([0.5, 1, 1.5, 2, 2.5])
        assert sum((await engine.count()).values()) == 1
        for _ in range(5):
            await engine.clock.advance("500 milliseconds")
            await engine.create(greet, "as told")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({}, "nothing to change"),
        ({"concurrency": 0}, "concurrency is 0; give a whole number from 1 to 1,000,000"),
        ({"concurrency": -1}, "concurrency is -1"),
        ({"concurrency": 1.5}, "concurrency is 1.5"),
        ({"concurrency": True}, "concurrency is True; give a number"),
        ({"concurrency": 10**12}, "concurrency is 1000000000000"),
        ({"create_rate": float("nan")}, "create_rate is NaN"),
        ({"create_rate": float("inf")}, "create_rate is inf"),
        ({"create_rate": 0}, "create_rate is 0"),
        ({"create_burst": 0}, "create_burst is 0"),
        ({"steps": "5"}, "steps is '5'"),
        ({"slots": 5}, 'there is no limit "slots"; there are concurrency'),
    ],
)
async def test_limits_that_make_no_sense_are_refused_and_change_nothing(change, text):
    async with Engine(":memory:", workflows=ALL) as engine:
        with pytest.raises(InvalidConfig) as caught:
            await engine.set_limits(**{"queue_entries": 5, **change} if change else {})
        assert text in str(caught.value)
        assert engine.limits() == Limits()


async def test_limits_of_workflows_that_make_no_sense_are_refused():
    async with Engine(":memory:", workflows=ALL) as engine:
        with pytest.raises(
            InvalidConfig, match="recoveries is a limit of the namespace, not of one workflow"
        ):
            await engine.set_limits(greet, recoveries=3)
        with pytest.raises(InvalidConfig, match="nobody"):
            await engine.set_limits("nobody", concurrency=3)


@pytest.mark.parametrize("name", ["", "a b", "a/b", "ä", "a" * 65, "a\n", 5, None])
async def test_names_of_namespaces_are_checked(name):
    async with Engine(":memory:", workflows=ALL) as engine:
        with pytest.raises(InvalidName, match="namespace"):
            engine.namespace(name)


async def test_a_namespace_of_a_closed_engine_says_so():
    async with Engine(":memory:", workflows=ALL) as engine:
        acme = engine.namespace("acme")
    with pytest.raises(EngineClosed):
        await acme.create(greet, "x")
    with pytest.raises(EngineClosed):
        engine.namespace("acme")


async def test_steps_reach_other_namespaces_through_the_engine():
    @workflow
    async def sends(step: Step) -> None:
        async def elsewhere() -> None:
            await (
                current_step()
                .engine.namespace("acme")
                .create(greet, "from a step", id="made", if_exists="return")
            )

        await step.do(elsewhere)

    async with Engine(":memory:", workflows=[*ALL, sends]) as engine:
        await engine.call(sends)
        assert (
            await (await engine.namespace("acme").get(greet, "made")).result()
            == "acme: from a step"
        )


async def test_i5_reasons_group_what_is_blocked(tmp_path):
    async def one() -> int:
        return 1

    @workflow(name="changes")
    async def before(step: Step) -> str:
        await step.do(one, name="first")
        return (await step.wait_for_event("go")).type

    @workflow(name="changes")
    async def after(step: Step) -> str:
        await step.do(one, name="renamed")
        return (await step.wait_for_event("go")).type

    store = tmp_path / "store.db"
    async with Engine(store, workflows=[before]) as engine:
        for n in range(3):
            await (await engine.create(before, id=f"i{n}")).wait_for_status("waiting")
        await (await engine.namespace("acme").create(before, id="other")).wait_for_status("waiting")
    async with Engine(store, workflows=[after]) as engine:
        for n in range(3):
            instance = await engine.get(after, f"i{n}")
            await instance.send_event("go")
            await instance.wait_for_status("blocked")
        (reason,) = await engine.reasons()
        assert reason == ReasonCount(
            workflow="changes", version="1", status=Status.BLOCKED, code="nondeterminism",
            step="first", error_type="stepwell.Nondeterminism", count=3, since=reason.since,
            next=None, example_id="i0",
        )  # fmt: skip
        assert [it.code for it in await engine.namespace("acme").reasons()] == ["event"]
        mine = {it.namespace: it for it in engine.statistics().workflows}
        assert (mine["default"].blocked, mine["acme"].waiting) == (3, 1)
        assert (await engine.count())[Status.BLOCKED] == 3


async def test_instances_are_found_by_their_attributes():
    async with Engine(":memory:", workflows=ALL) as engine:
        for n in range(30):
            await engine.create(
                waits,
                id=f"w{n}",
                attributes={"team": "red" if n % 3 else "blue", "n": n % 2, "hot": n > 20},
            )
        await engine.namespace("acme").create(waits, id="other", attributes={"team": "red"})
        page = await engine.list(attributes={"team": "blue", "n": 0}, limit=3)
        rest = await engine.list(attributes={"team": "blue", "n": 0}, limit=3, cursor=page.cursor)
        assert [item.id for item in [*page.items, *rest.items]] == ["w24", "w18", "w12", "w6", "w0"]
        assert [
            item.id for item in (await engine.list(attributes={"hot": True, "team": "blue"})).items
        ] == ["w27", "w24", "w21"]
        assert (await engine.list(attributes={"team": "green"})).items == []


async def test_c1_limits_of_a_new_namespace_hold_for_what_is_created_right_after():
    @workflow
    async def holds(step: Step, p: int) -> None:
        await step.wait_for_event("never")

    async with open_test_engine(workflows=[holds, greet]) as engine:
        for round in range(3):
            acme = engine.namespace(
                f"acme{round}",
                limits=Limits(concurrency=2, queue_entries=10, create_rate=20, value_bytes=100),
            )
            assert acme.limits().queue_entries == acme.limits(holds).queue_entries == 10
            with pytest.raises(Overloaded):
                await acme.create_batch(holds, [0] * 13)
            with pytest.raises(TooLarge):
                await acme.create(greet, "x" * 200)
            assert len((await acme.create_batch(holds, [0] * 12)).created) == 12
            with pytest.raises(Overloaded):
                await acme.create_batch(holds, [0] * 9)
            # Others are in force from the next call on, and shown at once.
            again = engine.namespace(f"acme{round}", limits=Limits(queue_entries=1))
            assert (acme.limits().queue_entries, acme.limits().concurrency) == (1, 50_000)
            assert again.limits() == acme.limits()


async def test_c1_limits_set_in_the_same_round_as_creations_hold_for_those_after_them():
    started: list[int] = []

    @workflow
    async def holds(step: Step, p: int) -> None:
        started.append(p)
        await step.do(trio.sleep, 10)

    async with Engine(":memory:", workflows=[holds], grace=0.1) as engine:
        async with trio.open_nursery() as nursery:
            for name, value in (("concurrency", 2), ("queue_entries", 3)):
                nursery.start_soon(
                    lambda name=name, value=value: engine.set_limits(holds, **{name: value})
                )
            for _ in range(2):  # both are on their way by then, and none is answered
                await trio.lowlevel.checkpoint()
            await engine.create_batch(holds, range(5))
        assert (await engine.count(holds))[Status.QUEUED] == 3
        await trio.testing.wait_all_tasks_blocked()
        assert len(started) == 2
