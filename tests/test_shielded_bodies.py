"""Bodies that the engine unwinds while they stand behind a shield of their own (rule P1)."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
import trio.testing
from test_attempts import advanced

import stepwell
from stepwell import Step, workflow
from stepwell.testing import open_test_engine

Fn = Callable[..., Awaitable[int]]


def _fresh(seen: list[str]) -> Fn:
    """Returns a new step function: the engine learns which of them wait."""

    async def hangs(n: int = 0) -> int:
        if n < 0:
            return n
        seen.append("begins")
        try:
            await trio.sleep_forever()
        finally:
            seen.append("ends")
        return 0

    return hangs


async def _alone(step: Step, fn: Fn) -> Any:
    await step.do(fn)


async def _again(step: Step, fn: Fn) -> Any:
    """Its function is known to wait."""
    with step.move_on_after("1 second"):
        await step.do(fn)
    await step.do(fn)


async def _without_a_scope(step: Step, fn: Fn) -> Any:
    """Its function is known not to wait: its attempt has none."""
    await step.do(fn, -1)
    await step.do(fn)


async def _retried(step: Step, fn: Fn) -> Any:
    await step.do(fn, timeout="1 second", retry=stepwell.Retry(delay="0 seconds"))


async def _in_trios_deadline(step: Step, fn: Fn) -> Any:
    with trio.CancelScope(), trio.CancelScope(shield=True):
        await step.do(fn)


async def _in_a_deadline(step: Step, fn: Fn) -> Any:
    with step.move_on_after("1 day"):
        await step.do(fn)


async def _in_a_nursery(step: Step, fn: Fn) -> Any:
    async with step.open_nursery() as nursery:
        nursery.start_soon(_shielded, step, fn)
        await _shielded(step, fn)


async def _shielded(step: Step, fn: Fn) -> None:
    with trio.CancelScope(shield=True):
        await step.do(fn)


async def _in_a_map(step: Step, fn: Fn) -> Any:
    await step.map(fn, range(2))


async def _in_each(step: Step, fn: Fn) -> Any:
    async def branch(_: int) -> None:
        await _shielded(step, fn)

    await step.each(branch, range(2))


async def _in_a_sleep(step: Step, fn: Fn) -> Any:
    await step.sleep("2 days")


async def _in_a_wait(step: Step, fn: Fn) -> Any:
    await step.wait_for_event("never")


PLACES = [
    _alone, _again, _without_a_scope, _retried, _in_trios_deadline, _in_a_deadline,
    _in_a_nursery, _in_a_map, _in_each, _in_a_sleep, _in_a_wait,
]  # fmt: skip


def _flow(place: Any, fn: Fn, runtime: Any) -> Any:
    @workflow(name="flow", runtime=runtime)
    async def flow(step: Step) -> None:
        try:
            await step.do(_now)
        finally:
            if runtime == "trio":
                with trio.CancelScope(shield=True):
                    await place(step, fn)
            else:
                await place(step, fn)

    return flow


async def _now() -> int:
    return 1


async def _undo(instance: Any) -> None:
    await instance.terminate(undo=True)
    await instance.wait_for_status("terminated")


async def _terminate(instance: Any) -> None:
    await instance.terminate()


async def _delete(instance: Any) -> None:
    await instance.delete()


async def _restart(instance: Any) -> None:
    await instance.restart()


async def _nothing(instance: Any) -> None:
    """The engine closes."""


VERBS = [_undo, _terminate, _delete, _restart, _nothing]
ON_TRIO = [_in_trios_deadline, _in_a_nursery, _in_each]


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    ("place", "runtime"),
    [(it, "trio") for it in PLACES] + [(it, "asyncio") for it in PLACES if it not in ON_TRIO],
)
async def test_p1_a_body_is_unwound_although_it_stands_behind_a_shield_of_its_own(
    place, runtime, verb, caplog
):
    seen: list[str] = []
    flow = _flow(place, _fresh(seen), runtime)
    with trio.fail_after(60):
        async with open_test_engine(workflows=[flow], autojump=False, grace=0) as engine:
            instance = await engine.create(flow, id="f")
            await trio.testing.wait_all_tasks_blocked(0.01)
            await advanced(engine, "2 seconds")
            await trio.testing.wait_all_tasks_blocked(0.01)
            await verb(instance)
            await trio.testing.wait_all_tasks_blocked(0.01)
            if verb not in (_restart, _nothing):
                assert engine.statistics().resident == 0
    assert seen.count("begins") == seen.count("ends")
    assert "has not ended" not in caplog.text
