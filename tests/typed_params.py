"""Params whose type is wider than the literal that is given, as mypy (strict) and pyright see them;
it is never run."""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypedDict, TypeVar, assert_type

from stepwell import Child, Engine, Instance, NewInstance, Step, Workflow, aio, sync, workflow

P = TypeVar("P")
R = TypeVar("R")


class Cart(TypedDict):
    prices: list[float]


@dataclass
class Order:
    item: str


@workflow
async def ship(step: Step, order: Order) -> str:
    return order.item


@workflow
async def total(step: Step, numbers: list[float]) -> float:
    return sum(numbers)


@workflow
async def label(step: Step, mark: int | str) -> bytes:
    return b""


@workflow
async def pay(step: Step, cart: Cart | None = None) -> int:
    return 1


@workflow
async def sized(step: Step, size: Literal["small", "large"]) -> int:
    return 1


async def on_trio(engine: Engine, anything: Workflow[Any, Any], data: Any) -> None:
    assert_type(await engine.call(total, [1, 2]), float)
    assert_type(await engine.create(total, []), Instance[float])
    assert_type(await engine.call(total, data), float)
    assert_type(await engine.call(pay, {"prices": [1]}), int)
    assert_type(await engine.call(pay), int)
    assert_type(await engine.call(sized, "small"), int)
    await engine.call(anything, 3)
    assert_type(
        (await engine.create_batch(ship, [Order("x"), NewInstance(Order("y"), id="1")])).created,
        list[Instance[str]],
    )
    assert_type((await engine.create_batch(label, [1, "x"])).created, list[Instance[bytes]])
    assert_type(
        (await engine.create_batch(label, [1, NewInstance("x")])).created, list[Instance[bytes]]
    )
    assert_type(
        (
            await engine.create_batch(label, [1, *(NewInstance(n, priority=3) for n in range(3))])
        ).created,
        list[Instance[bytes]],
    )
    assert_type((await engine.create_batch(total, [[1], [2]])).created, list[Instance[float]])
    assert_type(
        (await engine.create_batch(total, [[1], NewInstance([2])])).created, list[Instance[float]]
    )
    assert_type(
        (await engine.create_batch(pay, [{"prices": [1]}, None])).created, list[Instance[int]]
    )
    await engine.create_batch(sized, ["small", NewInstance[Literal["small", "large"]]("large")])
    await engine.call(total, ["a"])  # type: ignore[list-item]
    await engine.call(pay, {"price": [1]})  # type: ignore[arg-type]
    await engine.call(sized, "medium")  # type: ignore[arg-type]
    await engine.call(total, lambda: None)  # type: ignore[arg-type]
    await engine.create_batch(label, [1, 1.5])  # type: ignore[list-item]
    await engine.create_batch(label, [1, NewInstance(1.5)])  # type: ignore[arg-type]
    await engine.create_batch(ship, Order("x"))  # type: ignore[call-overload]


async def on_asyncio(engine: aio.Engine) -> None:
    assert_type(await engine.call(total, [1, 2]), float)
    assert_type(await engine.create(total, []), aio.Instance[float])
    assert_type(
        (await engine.create_batch(ship, [Order("x"), NewInstance(Order("y"), id="1")])).created,
        list[aio.Instance[str]],
    )
    assert_type(
        (await engine.namespace("acme").create_batch(total, [[1], [2]])).created,
        list[aio.Instance[float]],
    )
    await engine.create_batch(label, [1, 1.5])  # type: ignore[list-item]


def blocking(engine: sync.Engine) -> None:
    assert_type(engine.call(total, [1, 2]), float)
    assert_type(
        engine.create_batch(label, [1, NewInstance("x", id="1")]).created,
        list[sync.Instance[bytes]],
    )
    engine.call(total, ["a"])  # type: ignore[list-item]


@workflow
async def parent(step: Step) -> None:
    assert_type(await step.call(total, [1, 2]), float)
    assert_type(await step.create(total, [1]), Child[float])
    assert_type(
        await step.create_batch(ship, [Order("x"), NewInstance(Order("y"), id="1")]),
        list[Child[str]],
    )
    assert_type(await step.create_batch(label, [1, "x"]), list[Child[bytes]])
    assert_type(await step.create_batch(total, [[1], [2]]), list[Child[float]])
    await step.call(total, ["a"])  # type: ignore[list-item]
    await step.create_batch(label, [1, 1.5])  # type: ignore[list-item]


async def any_of(engine: Engine, kind: Workflow[P, R], params: P, more: list[P]) -> R:
    await engine.create_batch(kind, more)
    await engine.create_batch(kind, [params, NewInstance(params)])
    return await engine.call(kind, params)


@workflow
async def counted(step: Step, size: int = 5) -> bytes:
    return b""


@workflow(name="counted2")
async def counted_too(step: Step, size: int = 5) -> bytes:
    return b""


async def left_out(engine: Engine, step: Step) -> None:
    """Params with a default may be left out, and no others."""
    for code in (counted, counted_too):
        assert_type(await engine.create(code), Instance[bytes])
        assert_type(await engine.create(code, 7), Instance[bytes])
        assert_type(await engine.call(code), bytes)
        assert_type(await step.call(code), bytes)
        assert_type(await step.create(code, 7), Child[bytes])
        await engine.create(code, "seven")  # type: ignore[arg-type]
    await engine.create_batch(counted, [1, NewInstance(id="a"), NewInstance(2)])
    await engine.create(ship)  # type: ignore[arg-type]
