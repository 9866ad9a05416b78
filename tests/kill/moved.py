"""Workflows to which somebody does things while they run, and their steps.

A saga's steps have undos; a relay goes on as new and hands on what each of its runs has made. They
note less than the others: what counts is what begins after somebody was told that nothing does.
Labels of a saga's steps sort as the steps begin; those of a child's step begin with "k".
"""

import os
import time
from typing import Any

import trio

from stepwell import (
    NonRetryableError,
    Retry,
    Step,
    Undo,
    UndoContext,
    current_step,
    workflow,
)

from . import steps
from .fates import fate

AT_ONCE = Retry(limit=20, delay=0, jitter=0)
LAST = "99"
"""The label of the step that fails."""


def _starts(who: str, label: str, in_thread: bool = False) -> int:
    step = current_step()
    steps.journal.put("s", who, label, [step.attempt, step.idempotency_key, in_thread])
    return step.attempt


def _returns(who: str, label: str) -> str:
    value = f"{label}={os.getpid()}.{os.urandom(4).hex()}"
    steps.journal.put("d", who, label, value)
    return value


async def quick(who: str, label: str) -> str:
    """Never waits."""
    _starts(who, label)
    return _returns(who, label)


async def slow(who: str, label: str, seconds: float) -> str:
    """Waits a little."""
    _starts(who, label)
    await trio.sleep(seconds)
    return _returns(who, label)


def threaded(who: str, label: str, seconds: float) -> str:
    """Waits in a thread."""
    _starts(who, label, True)
    time.sleep(seconds)
    return _returns(who, label)


async def flaky(who: str, label: str) -> str:
    """Fails at first."""
    if _starts(who, label) == 1:
        raise steps.Flaky(label)
    return _returns(who, label)


async def fails(who: str, label: str) -> None:
    """Fails for good."""
    _starts(who, label)
    raise NonRetryableError(label)


async def undoes(told: UndoContext) -> None:
    """Undoes a step, and fails at first."""
    _undoing(told)
    await trio.sleep(0.005)
    if current_step().attempt == 1:
        raise steps.Flaky("not yet")
    steps.journal.put("w", *told.args[:2])


def undoes_late(told: UndoContext) -> None:
    """Undoes a step in a thread."""
    _undoing(told)
    time.sleep(0.005)
    steps.journal.put("w", *told.args[:2])


def undoes_in_thread(label: str) -> bool:
    """Whether the undo of this step is a plain function."""
    return bool(len(label) % 2)


def _undoing(told: UndoContext) -> None:
    error = None if told.error is None else type(told.error).__name__
    steps.journal.put("u", *told.args[:2], data=[told.output, error])


class Moved:
    """One body of a moved instance."""

    def __init__(self, step: Step, undoes: bool) -> None:
        self.step = step
        self.who = step.instance.id
        self.undoes = undoes
        self.seen: dict[str, str] = {}
        self.life = str(step.uuid())
        """The same until it is restarted from the start."""

    def begins(self) -> None:
        """Says which life it is."""
        steps.journal.put("p", self.who, "", ["", self.life])

    def past(self, label: str, value: Any) -> None:
        """Says that the body went past a step."""
        self.seen[label] = value
        steps.journal.put("p", self.who, label, [value, self.life])

    async def do(self, fn: Any, label: str, *args: Any, **options: Any) -> None:
        """One step, named by its label."""
        if self.undoes:
            undo = undoes_late if undoes_in_thread(label) else undoes
            options["undo"] = Undo(undo, retry=AT_ONCE)
        self.past(label, await self.step.do(fn, self.who, label, *args, name=label, **options))

    async def pair(self, label: str, seconds: float) -> None:
        """Two steps that begin in one turn."""
        async with self.step.open_nursery(label) as branches:
            branches.start_soon(self.do, slow, f"{label}a", seconds)
            branches.start_soon(self.do, threaded, f"{label}b", seconds / 4)


@workflow
async def saga(step: Step, params: list[int]) -> dict[str, str]:
    """Steps with undos, and perhaps one that fails: params are seed and number."""
    it = fate(*params)
    body = Moved(step, it.undoes)
    body.begins()
    for index, way in enumerate(it.ways):
        label = f"{index:02}"
        match way:
            case "quick":
                await body.do(quick, label)
            case "slow":
                await body.do(slow, label, it.delay)
            case "thread":
                await body.do(threaded, label, it.delay / 4)
            case "flaky":
                retry = Retry(limit=20, delay=0.2, backoff="constant", jitter=0)
                await body.do(flaky, label, retry=retry)
            case "sleep":
                await step.sleep(it.delay)
            case "pair":
                await body.pair(label, it.delay)
            case _:
                asked = [body.who, f"k{label}", it.delay, it.undoes]
                body.past(f"k{label}", await step.call(part, asked))
    if it.fails:
        await body.do(fails, LAST)
    return body.seen


@workflow
async def part(step: Step, params: list[Any]) -> str:
    """A child of a saga: one step, noted as the saga's."""
    who, label, seconds, undoes = params
    body = Moved(step, undoes)
    body.who = who
    await body.do(slow, label, seconds)
    return body.seen[label]


@workflow
async def relay(step: Step, params: list[Any]) -> list[str]:
    """One run of several: params are seed, number, which run it is and what those before made."""
    seed, number, run, made = params
    it = fate(seed, number)
    body = Moved(step, it.undoes)
    body.begins()
    steps.journal.put("n", body.who, data=[run, made])
    await body.do(slow, f"r{run}", it.delay / 4)
    made = [*made, body.seen[f"r{run}"]]
    if run == it.count:
        return list(made)
    anew = [seed, number, run + 1, made]
    if it.fails:  # from within a branch's nursery, beside a thread that ends first
        async with step.open_nursery("beside") as branches:
            branches.start_soon(body.do, threaded, f"r{run}x", 0.02)
            await step.sleep(it.delay / 4)
            await step.continue_as_new(anew)
    await step.sleep(it.delay / 4)
    return await step.continue_as_new(anew)


MOVED = (saga, part, relay)
