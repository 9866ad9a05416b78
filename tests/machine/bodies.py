"""What the instances of the state machine run: one workflow that does what its params say, one
thing after another."""

from __future__ import annotations

from typing import Any

import trio

from stepwell import (
    ApprovalTimeout,
    EventTimeout,
    Rejected,
    Retention,
    Retry,
    Step,
    current_step,
    workflow,
)

RETRY_S = 60
TWICE = Retry(limit=1, delay=RETRY_S, backoff="constant", jitter=0)
KEPT_S = 86_400
"""How long what ended well is kept; what did not, twice as long."""


class Stage:
    """What bodies meet outside of the engine, and what is seen of them there."""

    def __init__(self) -> None:
        self.is_broken = False
        """Whether `charge` fails."""
        self.has_bug = False
        """Whether a body raises where its script says "bug"."""
        self.passed: set[tuple[str, int]] = set()
        """Where bodies have been without it: a replay meets no bug that was not there."""
        self.gate = trio.Event()
        self.keys: list[tuple[str, str, int, int, str]] = []
        """Of each attempt that began: id, name, count, attempt, key."""

    def enter(self) -> None:
        """An attempt begins."""
        it = current_step()
        self.keys.append((it.instance_id, it.name, it.count, it.attempt, it.idempotency_key))

    def release(self) -> None:
        """Lets all end that hold, and whoever comes later hold again."""
        self.gate.set()
        self.gate = trio.Event()


stage = Stage()


async def charge() -> str:
    stage.enter()
    if stage.is_broken:
        raise ConnectionError("away")
    return "charged"


async def hold() -> str:
    stage.enter()
    await stage.gate.wait()
    return "held"


async def run(step: Step, script: list[list[Any]]) -> list[Any]:
    """Does what the script says; returns what it saw."""
    seen: list[Any] = [step.instance.attributes.get("n")]
    for number, (what, *details) in enumerate(script):
        seen.append(await one(step, number, what, *details))
    return seen


async def one(step: Step, number: int, what: str, *details: Any) -> Any:
    match what:
        case "charge":
            return await step.do(charge, retry=TWICE)
        case "hold":
            return await step.do(hold, timeout="365 days")
        case "sleep":
            return await step.sleep(details[0])
        case "event":
            kind, timeout = details
            try:
                return (await step.wait_for_event(kind, timeout=timeout)).payload
            except EventTimeout:
                return "too late"
        case "approval":
            try:
                return (await step.wait_for_approval("ok", timeout=details[0])).by
            except ApprovalTimeout:
                return "too late"
            except Rejected as refused:
                return f"not for {refused.by}"
        case "attribute":
            await step.set_attributes({"n": details[0]})
            return step.instance.attributes.get("n")
        case "call":
            return await step.call(line, details[0], id=f"{step.instance.id}.{number}")
        case "new":
            await step.continue_as_new(details[0])
        case "bug":
            passed = (str(step.uuid()), number)
            if stage.has_bug and passed not in stage.passed:
                raise RuntimeError("a bug")
            stage.passed.add(passed)
            return "no bug"
    raise AssertionError(what)


@workflow(retention=Retention(success=KEPT_S, error=2 * KEPT_S))
async def line(step: Step, script: list[Any]) -> list[Any]:
    return await run(step, script)


@workflow(on_error="blocked")
async def keen(step: Step, script: list[Any]) -> list[Any]:
    return await run(step, script)


CODE = {it.name: it for it in (line, keen)}
