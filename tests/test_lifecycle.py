"""Creating instances: durable, one per id, alone or in batches (rules L1, L2)."""

import uuid
from contextlib import asynccontextmanager

import pytest
import trio

from stepwell import (
    InstanceExists,
    InvalidConfig,
    InvalidName,
    Limits,
    NewInstance,
    NotSerializable,
    Overloaded,
    Status,
    workflow,
)
from stepwell.testing import open_test_engine


@workflow
async def echo(step, params):
    return params


@workflow
async def waits(step, params):
    await step.wait_for_event("go")
    return params


async def test_l1_an_id_is_unique_per_workflow_also_after_the_end_and_a_crash():
    async with open_test_engine(workflows=[echo, waits]) as engine:
        await engine.call(echo, 1, id="x")
        await engine.create(waits, 1, id="x")
        await engine.crash()
        with pytest.raises(InstanceExists) as caught:
            await engine.create(echo, 2, id="x")
        assert str(caught.value) == (
            'instance "x" of "echo" already exists (complete). Pass '
            'if_exists="return", or another id.'
        )
        assert (caught.value.workflow, caught.value.id) == ("echo", "x")
        with pytest.raises(
            InstanceExists, match=r'"x" of "waits" already exists \((waiting|running)\)'
        ):
            await engine.create(waits, 2, id="x")


async def test_l1_if_exists_return_gives_the_one_there_is_and_return_if_same_checks_the_params():
    async with open_test_engine(workflows=[echo]) as engine:
        await engine.call(echo, {"a": 1}, id="x")
        for if_exists in ("return", "return_if_same"):
            again = await engine.create(echo, {"a": 1}, id="x", if_exists=if_exists)
            assert await again.result() == {"a": 1}
        assert await (await engine.create(echo, "other", id="x", if_exists="return")).result() == {
            "a": 1
        }
        with pytest.raises(InstanceExists, match=r"with other params.*another id"):
            await engine.create(echo, "other", id="x", if_exists="return_if_same")
        assert (await engine.count())[Status.COMPLETE] == 1


@workflow
async def holds(step, params):
    await step.do(trio.sleep_forever, name="hold")


@asynccontextmanager
async def full_engine(entries: int):
    """An engine whose one slot is taken, with room for so many more of `holds`."""
    async with open_test_engine(
        workflows=[holds],
        autojump=False,
        slots=1,
        grace=0,
        limits=Limits(concurrency=1, queue_entries=entries),
    ) as engine:
        await (await engine.create(holds, id="holder")).wait_for_status("running")
        yield engine


async def test_l1_if_exists_return_looks_before_admission():
    async with full_engine(1) as engine:
        first = await engine.create(holds, id="a")
        with pytest.raises(Overloaded) as caught:
            await engine.create(holds, id="b")
        assert caught.value.limit == "queue_entries"
        assert "holds" in str(caught.value)
        assert caught.value.retry_after >= 0
        assert (await engine.create(holds, id="a", if_exists="return")).id == first.id
        assert (await engine.count())[Status.QUEUED] == 1


async def test_l1_generated_ids_are_uuids_of_version_7_and_differ():
    async with open_test_engine(workflows=[echo]) as engine:
        ids = [(await engine.create(echo)).id for _ in range(10)]
        assert len(set(ids)) == 10
        assert {uuid.UUID(id).version for id in ids} == {7}


async def test_l1_params_are_kept_as_they_were_when_create_was_called():
    async with open_test_engine(workflows=[waits]) as engine:
        params = {"list": [1]}
        instance = await engine.create(waits, params)
        params["list"].append(2)
        await engine.crash()
        await instance.send_event("go")
        assert await instance.result() == {"list": [1]}


async def test_call_attaches_to_the_instance_that_exists():
    async with open_test_engine(workflows=[echo]) as engine:
        assert await engine.call(echo, 1, id="x") == 1
        assert await engine.call(echo, 2, id="x") == 1


async def test_a_workflow_is_named_by_its_object_or_its_name():
    async with open_test_engine(workflows=[echo]) as engine:
        assert await engine.call("echo", 1) == 1
        assert await engine.call(echo, 1) == 1


async def test_a_bare_name_means_the_last_version_and_instances_keep_theirs(tmp_path):
    def version(number: str):
        @workflow(name="shop", version=number)
        async def shop(step):
            await step.wait_for_event("go")
            return [number, step.instance.version]

        return shop

    store = str(tmp_path / "s.db")
    async with open_test_engine(workflows=[version("1")], store=store, autojump=False) as engine:
        await engine.create("shop", id="old")
    async with open_test_engine(
        workflows=[version("1"), version("2")], store=store, autojump=False
    ) as engine:
        await engine.create("shop", id="new")
        for id in ("old", "new"):
            await (await engine.get("shop", id)).send_event("go")
        assert await (await engine.get("shop", "old")).result() == ["1", "1"]
        assert await (await engine.get("shop", "new")).result() == ["2", "2"]


async def test_l2_results_come_in_input_order_and_a_bad_item_fails_alone():
    async with open_test_engine(workflows=[echo]) as engine:
        await engine.call(echo, id="taken")
        items = [
            0,
            NewInstance(1, id="one"),
            NewInstance(2, id="not valid!"),
            NewInstance(3, id="taken"),
            {"x": object()},
            NewInstance(5, priority=101),
            NewInstance(6, attributes={"a": []}),
            NewInstance(7, id="one"),
            8,
        ]
        result = await engine.create_batch(echo, items)
        assert [await i.result() for i in result.created] == [0, 1, 8]
        assert [(e.index, e.id, type(e.error)) for e in result.errors] == [
            (2, "not valid!", InvalidName),
            (3, "taken", InstanceExists),
            (4, None, NotSerializable),
            (5, None, InvalidConfig),
            (6, None, InvalidConfig),
            (7, "one", InstanceExists),
        ]
        assert 'params["x"]' in str(result.errors[2].error)


async def test_l2_a_batch_is_durable_when_it_returns():
    async with open_test_engine(workflows=[echo]) as engine:
        result = await engine.create_batch(echo, list(range(1000)))
        await engine.crash()
        assert len(result.created) == 1000
        assert [await i.result() for i in result.created[::100]] == list(range(0, 1000, 100))


async def test_l2_a_batch_is_one_commit():
    async with open_test_engine(workflows=[waits], autojump=False) as engine:
        start_at = engine.clock.now().replace(year=2031)
        before = engine.statistics().commits
        await engine.create_batch(waits, [NewInstance(i, start_at=start_at) for i in range(500)])
        assert engine.statistics().commits - before == 1


async def test_l2_a_batch_may_give_the_instances_that_exist():
    async with open_test_engine(workflows=[echo]) as engine:
        await engine.call(echo, "first", id="a")
        result = await engine.create_batch(
            echo, [NewInstance("second", id="a"), NewInstance("b", id="b")], if_exists="return"
        )
        assert [await i.result() for i in result.created] == ["first", "b"]


async def test_l2_a_batch_that_does_not_fit_is_refused_as_a_whole():
    async with full_engine(5) as engine:
        with pytest.raises(Overloaded) as caught:
            await engine.create_batch(holds, list(range(6)))
        assert caught.value.limit == "queue_entries"
        assert (await engine.count())[Status.QUEUED] == 0
        assert len((await engine.create_batch(holds, list(range(5)))).created) == 5
        assert (await engine.count())[Status.QUEUED] == 5


async def test_an_instance_starts_no_earlier_than_its_start_at_and_by_priority():
    order = []

    @workflow(name="noted")
    async def noted(step, name: str):
        await step.do(lambda: order.append(name), name="note")

    async with open_test_engine(workflows=[noted], autojump=False, slots=1) as engine:
        at = engine.clock.now().replace(hour=2)
        for name, priority in (("low", -100), ("default", 0), ("high", 100)):
            await engine.create(noted, name, priority=priority, start_at=at)
        await engine.clock.advance("119 minutes")
        assert order == []
        await engine.clock.advance("1 minute")
        assert order == ["high", "default", "low"]


async def test_step_instance_says_what_was_given():
    @workflow(name="about")
    async def about(step):
        i = step.instance
        return [
            i.id,
            i.workflow,
            i.version,
            i.namespace,
            i.created_at,
            i.parent,
            i.schedule,
            i.attributes,
        ]

    async with open_test_engine(workflows=[about], namespace="acme") as engine:
        created = engine.clock.now()
        attributes = {"customer": "c1", "amount": 5, "vip": True, "score": 1.5}
        got = await engine.call(about, id="i", attributes=attributes)
    assert got == ["i", "about", "1", "acme", created, None, None, attributes]
