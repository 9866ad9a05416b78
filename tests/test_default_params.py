"""Params that are left out, of a workflow that has a default for them: stored when the instance is
created, so that a later default changes nothing of it."""

from dataclasses import dataclass

import pytest

from stepwell import InstanceExists, NewInstance, NotSerializable, workflow
from stepwell.testing import open_test_engine


@dataclass
class Size:
    width: int
    height: int = 2


@workflow
async def plain(step, size=5) -> int:
    return size


@workflow
async def typed(step, size: Size = Size(1)) -> Size:  # noqa: B008  # it is encoded, never shared
    return size


@workflow
async def asks_for_them(step) -> list:
    (batch,) = await step.create_batch("plain", [NewInstance()])
    child = await step.create(plain)
    return [
        await step.call(plain),
        (await step.call("typed")).width,
        await child.result(),
        await batch.result(),
        await step.call(plain, 0),
    ]


async def test_l1_params_that_are_left_out_are_the_default():
    async with open_test_engine(workflows=[plain, typed, asks_for_them]) as engine:
        assert await engine.call(plain) == 5
        assert await engine.call(plain, 0) == 0
        assert await engine.call(typed) == Size(1)
        assert await engine.call(typed, Size(3)) == Size(3)
        made = await engine.create_batch(plain, [None, NewInstance(), 7])
        assert [await it.result() for it in made.created] == [5, 5, 7]
        assert await engine.call(asks_for_them) == [5, 1, 5, 5, 0]


def with_default(value, kind=int):
    @workflow(name="later")
    async def later(step, size: kind = value) -> int:
        return [size, (await step.wait_for_event("go")).type][0]

    return later


async def test_l1_an_instance_keeps_the_default_it_was_created_with(tmp_path):
    store = str(tmp_path / "s.db")
    async with open_test_engine([with_default(5)], store=store, autojump=False) as engine:
        await engine.create("later", id="old")
    async with open_test_engine([with_default(6)], store=store, autojump=False) as engine:
        old = await engine.get("later", "old")
        new = await engine.create("later", id="new")
        for instance in (old, new):
            await instance.send_event("go")
        assert [await it.result() for it in (old, new)] == [5, 6]
        await engine.create("later", 5, id="old", if_exists="return_if_same")
        with pytest.raises(InstanceExists):
            await engine.create("later", id="old", if_exists="return_if_same")


async def test_a_default_that_is_not_of_the_declared_type_is_refused_as_any_params_are():
    async with open_test_engine([with_default("five")]) as engine:
        with pytest.raises(NotSerializable, match="params is a str, declared as int"):
            await engine.create("later")
