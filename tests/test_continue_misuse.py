"""What is refused of `step.continue_as_new`, and what a body does around it that it should not
(L15)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import trio

from stepwell import (
    InstanceErrored,
    NotSerializable,
    Step,
    StepwellError,
    TooLarge,
    workflow,
)
from stepwell.testing import check_replay, open_test_engine


def key() -> None:
    """A step."""


@workflow
async def wrong(step: Step, what: str) -> str:
    params: Any = {"lambda": lambda: None, "large": "x" * 2_000_000, "type": 5}[what]
    try:
        await step.continue_as_new(params)
    except StepwellError as error:
        return f"{type(error).__name__}: {error}"


@pytest.mark.parametrize(
    ("what", "kind"),
    [("lambda", NotSerializable), ("large", TooLarge), ("type", NotSerializable)],
)
async def test_l15_params_that_cannot_be_stored_are_refused_live_and_on_replay(
    what: str, kind: type[Exception]
) -> None:
    async with open_test_engine(workflows=[wrong]) as engine:
        instance = await engine.create(wrong, what)
        said = await instance.result()
        assert said.startswith(f"{kind.__name__}: ")
        assert "params" in said
        (line,) = await instance.history()
        assert (line.kind, line.status) == ("continue_as_new", "refused")
        await check_replay(wrong, [await instance.export()])


@workflow
async def takes_none(step: Step) -> None:
    await step.continue_as_new(5)


@workflow
async def in_a_step(step: Step) -> None:
    async def nested() -> None:
        await step.continue_as_new()

    await step.do(nested)


@workflow
async def forgets(step: Step, run: int = 1) -> None:
    step.do(key)
    await step.continue_as_new(2)


KEPT: list[Any] = []


@workflow
async def binds(step: Step, run: int = 1) -> None:
    kept = step.do(key)
    await step.continue_as_new(2)
    await kept


@workflow
async def keeps_for_ever(step: Step, run: int = 1) -> None:
    KEPT.append(step.sleep("1 hour", name="nap"))
    await step.continue_as_new(2)


@workflow(name="forgets_on_asyncio", runtime="asyncio")
async def forgets_on_asyncio(step: Step, run: int = 1) -> None:
    kept = step.gather(step.do(key))
    await step.gather(step.continue_as_new(2), step.do(key, name="begins"))
    await kept


@workflow
async def never_awaits(step: Step, run: int = 1) -> None:
    step.continue_as_new(2)


@workflow
async def in_an_undo(step: Step) -> None:
    async def undo(_: Any) -> None:
        await step.continue_as_new()

    await step.do(key, undo=undo)
    raise ValueError("no")


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (takes_none, "takes no params"),
        (in_a_step, "inside a step function"),
        (forgets, r'step "key" at test_continue_misuse.py:\d+ was never awaited'),
        (binds, r'step "key" at test_continue_misuse.py:\d+ was never awaited'),
        (keeps_for_ever, r'step "nap" at test_continue_misuse.py:\d+ was never awaited'),
        (forgets_on_asyncio, r'step "gather" at test_continue_misuse.py:\d+ was never awaited'),
        (never_awaits, r'step "continue_as_new" at .* was never awaited'),
    ],
)
async def test_l15_misuse_is_an_error_that_says_what_to_do(body: Any, text: str) -> None:
    async with open_test_engine(workflows=[body]) as engine:
        with pytest.raises(InstanceErrored, match=text):
            await engine.call(body)


@workflow
async def another_branch_will(step: Step, run: int = 1) -> str:
    async def later() -> None:
        kept = step.do(key)
        await step.sleep("1 hour")
        await kept

    if run > 1:
        return "done"
    async with step.open_nursery() as nursery:
        nursery.start_soon(later)
        await step.sleep("1 second")
        await step.continue_as_new(2)
    return ""


@workflow(name="a_task_will", runtime="asyncio")
async def a_task_will(step: Step, run: int = 1) -> str:
    if run > 1:
        return "done"
    asyncio.create_task(step.do(key))  # noqa: RUF006  # the loop has it
    return await step.continue_as_new(2)


@pytest.mark.parametrize("body", [another_branch_will, a_task_will])
async def test_l15_what_somebody_else_will_await_is_not_forgotten(body: Any) -> None:
    async with open_test_engine(workflows=[body]) as engine:
        assert await engine.call(body) == "done"


@workflow
async def fails_in_its_finally(step: Step, run: int = 1) -> str:
    if run > 1:
        return "done"
    try:
        await step.continue_as_new(2)
    finally:
        raise ValueError("in its finally")


async def test_l15_what_is_raised_while_it_is_unwound_is_logged_with_its_instance(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with open_test_engine(workflows=[fails_in_its_finally]) as engine:
        assert await (await engine.create(fails_in_its_finally, id="f")).result() == "done"
    [line] = [it for it in caplog.records if "unwound" in it.message]
    assert "the body of fails_in_its_finally/f raised this" in line.message
    assert line.exc_info is not None
    assert str(line.exc_info[1]) == "in its finally"


async def test_l15_an_undo_cannot_go_on_as_new() -> None:
    async with open_test_engine(workflows=[in_an_undo]) as engine:
        instance = await engine.create(in_an_undo)
        with pytest.raises(InstanceErrored):
            await instance.result()
        undo = (await instance.status()).undo
        assert undo is not None
        assert undo.outcome == "failed"
        assert undo.error is not None
        assert "step function" in undo.error.message


VERSION = {"continues": True}


@workflow
async def changed(step: Step, run: int = 1) -> str:
    if run > 1:
        return "done"
    if not VERSION["continues"]:
        await step.continue_as_new(2)
    await step.do(key)
    await step.sleep("1 hour")
    return "as before"


async def test_i5_code_that_goes_on_as_new_too_early_blocks_and_loses_nothing() -> None:
    VERSION["continues"] = True
    async with open_test_engine(workflows=[changed], autojump=False) as engine:
        instance = await engine.create(changed)
        await instance.wait_for_status("waiting")
        VERSION["continues"] = False
        await engine.crash()
        await engine.clock.advance("1 hour")
        await instance.wait_for_status("blocked")
        assert "continue_as_new" in str((await instance.status()).error)
        VERSION["continues"] = True
        await instance.resume()
        assert await instance.result() == "as before"


def test_l15_outside_of_a_body_it_is_refused(tmp_path: Path) -> None:
    kept: list[Step] = []

    @workflow
    async def leaks(step: Step) -> None:
        kept.append(step)

    async def main() -> None:
        async with open_test_engine(workflows=[leaks]) as engine:
            await engine.call(leaks)
            with pytest.raises(StepwellError):
                kept[0].continue_as_new()

    trio.run(main)
