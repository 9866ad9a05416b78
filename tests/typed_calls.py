"""Users' code as mypy (strict) and pyright see it; it is never run. What must be an error is
marked, and an unused mark is an error too."""

# pyright: reportUnnecessaryTypeIgnoreComment=true, reportUnusedCoroutine=false, reportUnusedExpression=false, reportUnusedVariable=false

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypedDict, assert_type

from stepwell import (
    Approval,
    Child,
    Engine,
    Event,
    Instance,
    InstanceSummary,
    NewInstance,
    Retry,
    Status,
    Step,
    StepContext,
    StepFailed,
    Workflow,
    aio,
    current_step,
    step_options,
    sync,
    workflow,
)
from stepwell.agents import Carry, LoopResult, Message, Reply, Tool, loop, looped, tool


class Cart(TypedDict):
    items: list[str]


@dataclass
class Order:
    number: int


@workflow
async def audit(step: Step, folder: str) -> int:
    return len(folder)


@workflow
async def nightly(step: Step) -> str:
    return ""


@workflow(name="checkout", concurrency=5)
async def checkout(step: Step, cart: Cart) -> Order:
    return Order(1)


@workflow(version="2")
async def tick(step: Step) -> None: ...


@workflow
async def rate(step: Step, per_second: float) -> bool:
    return True


@workflow
async def maybe(step: Step, note: str | None) -> bool:
    return True


assert_type(audit, Workflow[str, int])
assert_type(nightly, Workflow[None, str])
assert_type(checkout, Workflow[Cart, Order])
assert_type(tick, Workflow[None, None])


async def double(number: int) -> int:
    return 2 * number


async def shout(text: str) -> str:
    return text.upper()


def plain(number: int, text: str = "a") -> bytes:
    return b""


@step_options(retry=Retry(limit=1))
async def careful(number: int) -> float:
    return 1.0


async def engines(engine: Engine) -> None:
    # What is made of what is given, and what is given is checked.
    assert_type(await engine.call(audit, "src"), int)
    assert_type(
        await engine.create(audit, "src", id="a", priority=5, if_exists="return"), Instance[int]
    )
    assert_type(await engine.create(nightly), Instance[str])
    assert_type(await engine.call(checkout, {"items": ["a"]}, attributes={"vip": True}), Order)
    assert_type(await engine.create(checkout, Cart(items=[])), Instance[Order])
    assert_type(await engine.call(rate, 1), bool)
    assert_type(await engine.call(maybe, "x"), bool)
    assert_type(await engine.call(maybe), bool)
    assert_type(await engine.create("audit", 5), Instance[Any])
    await engine.create(audit, 5)  # type: ignore[arg-type]
    await engine.create(audit)  # type: ignore[arg-type]
    await engine.create(nightly, 3)  # type: ignore[misc]
    await engine.call(audit, 5)  # type: ignore[arg-type]
    await engine.call(audit, "src", iid="a")  # type: ignore[call-overload]
    await engine.create(audit, "src", priority="high")  # type: ignore[call-overload]
    # Wherever a value goes that takes anything.
    print(await engine.call(audit, "src"))
    assert await engine.call(audit, "src") == 1
    numbers = {"a": await engine.call(audit, "src")}
    assert_type(numbers, dict[str, int])
    print(await engine.create(audit, "src"))
    print(await (await engine.get(audit, "a")).result())
    assert_type(await (await engine.get(audit, "a")).result(), int)
    print(await (await engine.get("audit", "a")).result())
    general: Instance[object] = await engine.get(audit, "a")
    print(general)
    # Batches.
    assert_type((await engine.create_batch(audit, ["a", "b"])).created, list[Instance[int]])
    assert_type(
        (await engine.create_batch(audit, [NewInstance("a"), NewInstance("b", id="b")])).created,
        list[Instance[int]],
    )
    assert_type((await engine.create_batch(nightly, [None] * 5)).created, list[Instance[str]])
    assert_type(
        (await engine.create_batch(nightly, [NewInstance(id="n")])).created, list[Instance[str]]
    )
    assert_type(
        (await engine.create_batch(checkout, [{"items": []}], on_overload="wait")).created,
        list[Instance[Order]],
    )
    mixed: Sequence[str | NewInstance[str]] = ["a", NewInstance("b")]
    assert_type((await engine.create_batch(audit, mixed)).created, list[Instance[int]])
    await engine.create_batch(audit, [1])  # type: ignore[list-item]
    await engine.create_batch(audit, [NewInstance(1)])  # type: ignore[arg-type]
    # Limits by their names.
    await engine.set_limits(audit, concurrency=3, create_rate=None)
    await engine.namespace("acme").set_limits(create_rate=0.5)
    await engine.set_limits(audit, concurency=3)  # type: ignore[call-arg]
    await engine.set_limits(steps="many")  # type: ignore[arg-type]
    # What is one of a few words.
    assert_type((await engine.list(status=["queued", Status.RUNNING])).items, list[InstanceSummary])
    await engine.list(status="nope")  # type: ignore[arg-type]
    await engine.count(status="nope")  # type: ignore[arg-type]
    await (await engine.get(audit, "a")).wait_for_status("nope")  # type: ignore[arg-type]
    Engine(durability="none")  # type: ignore[arg-type]
    Engine(default_runtime="curio")  # type: ignore[arg-type]
    aio.Engine(default_runtime="curio")  # type: ignore[arg-type]


@workflow
async def body(step: Step) -> int:
    assert_type(await step.do(double, 1), int)
    assert_type(await step.do(careful, 1), float)
    assert_type(await step.do(plain, 1), bytes)
    assert_type(await step.do(plain, 1, "b", name="p", retry=Retry.never), bytes)
    assert_type(await step.do(functools.partial(plain, text="c"), 1), bytes)
    assert_type(await step.do(lambda: 3, name="x"), int)
    assert_type(await step.do(plain, 1, as_type=str), str)
    assert_type(await step.do(double, 1, as_type=list[int]), list[int])
    await step.do(double, 1, as_type=int | None)
    await step.do(double, "a")  # type: ignore[arg-type]
    await step.do(double, 1, nam="x")  # type: ignore[call-overload]
    await step.do(double, 1, runtime="threads")  # type: ignore[call-overload]
    await step.do(nightly)  # type: ignore[call-arg, arg-type]
    await step.do(audit, "src")  # type: ignore[arg-type]
    await step.map(audit, ["src"])  # type: ignore[arg-type]
    assert_type(await step.map(double, [1, 2]), list[int])
    assert_type(await step.map(plain, (1, 2)), list[bytes])
    assert_type(
        await step.map(double, [1], on_error="collect", key=str, concurrency=2),
        list[int | StepFailed],
    )
    assert_type(await step.map(plain, [1], on_error="collect"), list[bytes | StepFailed])
    assert_type(await step.map(double, [1], as_type=str, timeout="1 min"), list[str])
    await step.map(double, ["a"])  # type: ignore[arg-type]
    await step.map(double, [1], concurency=3)  # type: ignore[call-overload]
    assert_type(await step.each(double, [1]), list[int])
    assert_type(
        await step.each(lambda name: step.call(audit, name), ["a"], name="audits"), list[int]
    )
    assert_type(await step.each(step.sleep, [1, 2]), list[None])
    await step.each(plain, [1])  # type: ignore[arg-type]
    assert_type(await step.each(double, [1], on_error="collect"), list[int | StepFailed])
    assert_type(await step.wait_for_event("go", as_type=int), Event[int])
    assert_type((await step.wait_for_event("go")).payload, Any)
    assert_type(await step.wait_for_approval("go"), Approval[Any])
    assert_type((await step.wait_for_approval("go", as_type=Order)).metadata, Order | None)
    assert_type(await step.call(audit, "src"), int)
    assert_type(await step.create(audit, "src", attributes={"a": 1}), Child[int])
    assert_type(await (await step.create(checkout, {"items": []})).result(), Order)
    assert_type(await step.create_batch(audit, ["a"]), list[Child[int]])
    print(await step.call(audit, "src"), await step.do(double, 1))
    await step.call(audit, 1)  # type: ignore[arg-type]
    await step.call(nightly, 1)  # type: ignore[misc]
    await step.create(audit, 1)  # type: ignore[arg-type]
    with step.fail_after("1 hour"):
        return 1


@workflow(runtime="asyncio")
async def on_asyncio(step: Step) -> int:
    number, text = await step.gather(step.do(double, 1), step.do(shout, "a"))
    assert_type(number, int)
    assert_type(text, str)
    assert_type(await step.gather(*[step.do(double, n) for n in range(9)]), list[int])
    async for done in step.as_completed(step.do(double, 1), step.do(shout, "a")):
        assert_type(await done, int | str)
    return 1


async def in_a_step(number: int) -> int:
    assert_type(current_step(), StepContext[Engine])
    assert_type(await current_step().engine.call(audit, "src"), int)
    assert_type(await aio.current_step().engine.create(audit, "src"), aio.Instance[int])
    return number


def in_a_plain_step() -> int:
    assert_type(sync.current_step().engine.call(audit, "src"), int)
    return 1


def delay(context: StepContext, error: Exception) -> float:
    return context.attempt


Retry(delay=delay)


@workflow(runtime="threads")  # type: ignore[call-overload, untyped-decorator]
async def elsewhere(step: Step) -> int:
    return await audit(step, "src")


@step_options(runtime="threads")  # type: ignore[arg-type]
async def step_elsewhere() -> int:
    return 1


async def loops(step: Step) -> None:
    assert_type(await loop(step, answers, [whisper], as_type=int), LoopResult[int])
    assert_type((await loop(step, answers, messages="hello", as_type=int)).value, int | None)
    assert_type(await loop(step, answers), LoopResult[Any])
    await loop(step, answers, [abs])  # type: ignore[call-overload]  # no tool
    await loop(step, audit)  # type: ignore[call-overload]  # no model
    assert_type(whisper, Tool)
    assert_type(looped(answers, [whisper], name="a"), Workflow[str | Carry, LoopResult[Any]])


async def answers(messages: Sequence[Message], tools: Sequence[Tool]) -> Reply:
    return Reply("ok")


@tool(approval=lambda args: bool(args))
def whisper(text: str) -> str:
    return text.lower()
