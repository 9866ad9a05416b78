"""create_batch(if_exists="return_if_same") compares params, as create does."""

from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import TypedDict

import pytest

from stepwell import InstanceExists, NewInstance, workflow
from stepwell.testing import open_test_engine


@workflow
async def echo(step, params):
    return params


async def test_l2_return_if_same_in_a_batch_compares_the_params():
    async with open_test_engine(workflows=[echo]) as engine:
        await engine.call(echo, "first", id="a")
        result = await engine.create_batch(
            echo,
            [
                NewInstance("second", id="a"),
                NewInstance("first", id="a"),
                NewInstance(1, id="b"),
                NewInstance(2, id="b"),
            ],
            if_exists="return_if_same",
        )
        assert [(e.index, e.id, type(e.error)) for e in result.errors] == [
            (0, "a", InstanceExists),
            (3, "b", InstanceExists),
        ]


@dataclass
class Order:
    item: str
    price: float
    marks: set[str]
    when: datetime


@workflow
async def orders(step, order: Order) -> None:
    await step.wait_for_event("go")


class Loose(TypedDict, total=False):
    a: int
    b: float


@workflow
async def takes_loose(step, params: Loose) -> None:
    await step.wait_for_event("go")


NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
ELSEWHERE = NOON.astimezone(timezone(timedelta(hours=1)))
ALIKE = [
    (echo, {"a": 1, "b": [{"c": 2, "d": 3}]}, {"b": [{"d": 3, "c": 2}], "a": 1}),
    (echo, NOON, ELSEWHERE),
    (echo, {"at": {NOON}}, {"at": {ELSEWHERE}}),
    (takes_loose, {"a": 1, "b": 1}, {"b": 1.0, "a": 1}),
    (orders, Order("lamp", 1, {"x", "y"}, NOON), Order("lamp", 1.0, {"y", "x"}, ELSEWHERE)),
]
UNLIKE = [
    (echo, {"a": 1}, {"a": 1, "b": None}),
    (echo, 1, 1.0),
    (echo, [True], [1]),
    (echo, {1: "a"}, {True: "a"}),
    (echo, {1}, {True}),
    (echo, [1, 2], [2, 1]),
    (echo, NOON, NOON.replace(tzinfo=timezone(timedelta(hours=1)))),
    (echo, None, 0),
    (orders, Order("lamp", 1, set(), NOON), Order("lamp", 2, set(), NOON)),
]


@pytest.mark.parametrize("waits", ["raise", "wait"])
@pytest.mark.parametrize(
    ("code", "one", "other", "is_same"),
    [(*it, True) for it in ALIKE] + [(*it, False) for it in UNLIKE],
)
async def test_l1_params_are_the_same_whatever_bytes_they_are_stored_in(
    code, one, other, is_same, waits
):
    async with open_test_engine(workflows=[echo, orders, takes_loose], autojump=False) as engine:
        there = await engine.create(code, one, id="a")
        refused = pytest.raises(InstanceExists, match="with other params")
        with nullcontext() if is_same else refused:
            again = await engine.create(
                code, other, id="a", if_exists="return_if_same", on_overload=waits
            )
            assert again == there
        batch = await engine.create_batch(
            code,
            [NewInstance(other, id="a"), NewInstance(other, id="b")],
            if_exists="return_if_same",
            on_overload=waits,
        )
        assert [it.id for it in batch.created] == (["a", "b"] if is_same else ["b"])
        assert [it.id for it in batch.errors] == ([] if is_same else ["a"])


async def test_l1_params_that_cannot_be_read_any_more_are_the_same_only_byte_by_byte(tmp_path):
    def of(kind):
        @workflow(name="w")
        async def w(step, params: kind) -> None:
            await step.wait_for_event("go")

        return w

    store = str(tmp_path / "s.db")
    async with open_test_engine([of(dict[str, int])], store=store, autojump=False) as engine:
        await engine.create("w", {"a": 1, "b": 2}, id="a")
    async with open_test_engine([of(dict[str, str])], store=store, autojump=False) as engine:
        with pytest.raises(InstanceExists, match="with other params"):
            await engine.create("w", {"a": "1", "b": "2"}, id="a", if_exists="return_if_same")


@pytest.mark.parametrize("how", ["create", "waits", "batch"])
async def test_l1_one_that_is_deleted_while_it_is_compared_is_created_anew(how, monkeypatch):
    async with open_test_engine(workflows=[echo], autojump=False) as engine:
        there = await engine.create(echo, {"a": 1, "b": 2}, id="a")
        await there.result()
        desk, compared = engine._desk, []
        finds = desk.find

        async def find(who, **options):
            compared.append(who.id)
            if len(compared) == 1:
                await there.delete()
            return await finds(who, **options)

        monkeypatch.setattr(desk, "find", find)
        params: dict[str, int] = {"b": 2, "a": 1}  # the same, in other bytes
        if how == "batch":
            made = await engine.create_batch(
                echo, [NewInstance(params, id="a"), NewInstance(1)], if_exists="return_if_same"
            )
            assert made.errors == []
            instance = made.created[0]
        else:
            instance = await engine.create(
                echo, params, id="a", if_exists="return_if_same",
                on_overload="wait" if how == "waits" else "raise",
            )  # fmt: skip
        assert compared[0] == "a"
        assert await instance.result() == params
        assert len((await engine.list(id_prefix="a")).items) == 1
