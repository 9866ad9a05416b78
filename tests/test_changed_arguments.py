"""A test engine finds arguments that a step changed, which a replay would not (rule D10)."""

import functools
from dataclasses import dataclass, field
from typing import Any

import pydantic
import pytest
import trio

from stepwell import Engine, Retry, StepFailed, workflow
from stepwell.testing import open_test_engine


@dataclass
class Cart:
    lines: list[str] = field(default_factory=list)

    def add(self, line: str) -> int:
        self.lines.append(line)
        return len(self.lines)


class Model(pydantic.BaseModel):
    lines: list[str] = []


class Opaque:
    def __init__(self) -> None:
        self.lines: list[str] = []


async def appends(items: Any) -> None:
    items.append("x")


def appends_in_a_thread(items: Any) -> None:
    items.append("x")


async def appends_later(items: Any) -> None:
    await trio.sleep(0)
    items.append("x")


async def reorders(items: dict[str, int]) -> None:
    items["a"] = items.pop("a")


async def fills(target: Any, *, name: str = "lines") -> None:
    getattr(target, name).append("x")


async def varies(first: int, *others: Any, **named: Any) -> None:
    (others or tuple(named.values()))[-1].append("x")


async def fails_and_appends(items: list[str]) -> None:
    items.append("x")
    raise OSError("down")


async def spoils(items: list[Any]) -> None:
    items.append(object())


def body(run):
    @workflow(name="w")
    async def w(step):
        return await run(step)

    return w


async def why(code: Any, **options: Any) -> str:
    async with open_test_engine(workflows=[code], **options) as engine:
        instance = await engine.create("w", id="i")
        status = await instance.wait_for_status("blocked", "complete", "errored")
        if status != "blocked":
            return str(status)
        found = await instance.explain()
        (reason,) = await engine.reasons()
        assert (found.code, reason.code, reason.step is not None) == (
            "changed_argument",
            "changed_argument",
            True,
        )
        assert await instance.history() == [] or "attempt_failed" in {
            it.status for it in await instance.history()
        }
        return str(found)


@pytest.mark.parametrize(
    ("run", "step", "argument"),
    [
        (lambda step: step.do(appends, []), "appends", "items"),
        (lambda step: step.do(appends_in_a_thread, []), "appends_in_a_thread", "items"),
        (lambda step: step.do(appends_later, []), "appends_later", "items"),
        (lambda step: step.do(appends, [], runtime="asyncio"), "appends", "items"),
        (lambda step: step.do(reorders, {"a": 1, "b": 2}), "reorders", "items"),
        (lambda step: step.do(fills, Cart()), "fills", "target"),
        (lambda step: step.do(fills, Model()), "fills", "target"),
        (lambda step: step.do(functools.partial(fills, Cart(), name="lines")), "fills", "target"),
        (lambda step: step.do(Cart().add, "x"), "add", "self"),
        (lambda step: step.do(varies, 1, [], []), "varies", "*others[1]"),
        (lambda step: step.do(functools.partial(varies, 1, it=[])), "varies", "it"),
        (lambda step: step.do([].append, 1), "append", "self"),
        (lambda step: step.do(spoils, []), "spoils", "items"),
        (lambda step: step.map(appends, [[], [1]]), "appends", "items"),
        (
            lambda step: step.do(fails_and_appends, [], retry=Retry.never),
            "fails_and_appends",
            "items",
        ),
        (
            lambda step: step.do(fails_and_appends, [], retry=Retry(limit=2)),
            "fails_and_appends",
            "items",
        ),
    ],
)
async def test_d10_an_argument_that_a_step_changed_blocks_and_names_step_and_argument(
    run, step, argument
):
    assert (f'step "{step}" of w/i: its argument {argument} was changed while it ran') in await why(
        body(run)
    )


async def test_d10_what_ran_beside_it_is_named():
    async def looks(items) -> int:
        await trio.sleep(1)
        return len(items)

    async def waits() -> None:
        await trio.sleep(10)

    async def run(step):
        items: list[str] = []
        async with step.open_nursery() as nursery:
            nursery.start_soon(step.do, looks, items)
            nursery.start_soon(step.do, waits)
            await step.sleep(0)
            items.append("the body does it itself")

    async with open_test_engine(workflows=[body(run)], autojump=False) as engine:
        instance = await engine.create("w", id="i")
        await instance.wait_for_status("blocked")
        text = str(await instance.explain())
    assert (
        'step "looks" of w/i: its argument items was changed while it ran (other steps under '
        'way: "waits")'
    ) in text


async def test_d10_what_nothing_changed_or_cannot_be_looked_at_goes_on():
    async def run(step):
        await step.do(fills, Opaque())
        await step.do(len, [1, 2])
        await step.do(lambda *_: None, [1], {"a": {1, 2}}, Cart(["x"]), object(), len, name="looks")
        try:
            await step.do(fails_and_appends, (), retry=Retry.never)
        except StepFailed as error:
            return error.type

    assert await why(body(run)) == "complete"


async def test_d10_a_test_engine_can_be_told_not_to_look_and_production_never_does():
    code = body(lambda step: step.do(appends, []))
    assert await why(code, check_arguments=False) == "complete"
    async with Engine(":memory:", workflows=[code]) as engine:
        await engine.call("w")


async def test_d10_after_the_fix_the_step_runs_again(tmp_path):
    runs: list[list[str]] = []

    async def adds(items):
        runs.append(items)
        if len(runs) == 1:
            items.append("x")
        return [*items, "y"]

    async with open_test_engine(workflows=[body(lambda step: step.do(adds, []))]) as engine:
        instance = await engine.create("w", id="i")
        await instance.wait_for_status("blocked")
        await instance.resume()
        assert await instance.result() == ["y"]
