"""What is recorded of an instance, and what it is at, as lines of its history
(`Instance.history`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._codes import recorded
from .._core import (
    ABANDONED,
    APPROVAL,
    APPROVED,
    ATTEMPT_FAILED,
    ERASED,
    EVENT,
    GAVE_UP,
    INTERRUPTED,
    KINDS,
    REFUSED,
    RESTARTED,
    UNDO,
    VERDICTS,
)
from .._errors import ErrorInfo, StepwellError
from .._operations.states import BEHIND, ENDED, RUNNING
from .._replay import STEPS
from .._seeds import idempotency_key
from .._steps import past
from .._types import StepRecord, StepRef
from .._values.codec import ENCODED, Undecodable
from .._values.durations import from_us
from .._values.envelope import without_trace
from .._values.failures import error_info
from .._values.hidden import told

if TYPE_CHECKING:
    from .._operations.states import Standing
    from .._replay import Identity, Recorded
    from .look import Wait


_FAILED = (GAVE_UP, ATTEMPT_FAILED, INTERRUPTED, REFUSED)
"""Verdicts whose payload is a failure."""


def lines(
    records: list[Recorded], running: list[Standing], waits: list[Wait], seed: str | None = None
) -> list[StepRecord]:
    """Returns a history, oldest first; then attempts that run and are not recorded, then what is
    waited for. `seed`: what idempotency keys derive from; without it there are none."""
    records = _named(records)
    known = {(*it.identity, it.attempt) for it in records}
    open_attempts = [
        it
        for it in running
        if it.state in (RUNNING, BEHIND, ENDED) and _attempt_of(it) not in known
    ]
    return [
        *(_record(it, _key(seed, it.identity)) for it in past.in_place(records)),
        *(_running(it, _key(seed, it.identity)) for it in open_attempts),
        *(_waiting(it, _key(seed, it.identity)) for it in waits),
    ]


def numbered(records: list[Recorded], seed: str) -> list[tuple[int, StepRecord]]:
    """Returns lines of a history, each with the place of its record."""
    return [(it.seq, _record(it, _key(seed, it.identity))) for it in past.in_place(_named(records))]


def _key(seed: str | None, identity: Identity) -> str | None:
    """Returns what its function knows a step by; None: it is none, or that is not known."""
    return None if seed is None or identity[0] not in STEPS else idempotency_key(seed, identity)


def _named(records: list[Recorded]) -> list[Recorded]:
    """Returns all but what is recorded of the instance as a whole: of its undoing, which `status()`
    tells, and that it began anew."""
    return [it for it in records if it.verdict != RESTARTED and (it.kind != UNDO or it.name)]


def _record(record: Recorded, known_by: str | None) -> StepRecord:
    _, kind, branch, name, key, count, attempt, verdict, started, at, _, word, payload = record
    payload = without_trace(payload)
    output, error = None, recorded(word) if verdict == GAVE_UP and payload is None else None
    if payload is not None:
        try:
            value = told(payload)
            if verdict == ABANDONED and isinstance(value, dict):
                output = told(value["value"]) if value.get("value") is not None else None
                error = error_info(value["error"]) if "error" in value else None
            elif verdict in _FAILED and isinstance(value, dict):
                error = error_info(value)
            elif verdict == ERASED:
                (output, error), started, at = (
                    past.told(value, name),
                    value["began"],
                    value["ended"],
                )
            elif kind == APPROVAL and isinstance(value, dict):
                output = {"approved": word == APPROVED, **value}
            else:
                output = value
        except Undecodable as unread:
            if unread.stored == ENCODED:
                error = ErrorInfo("stepwell.InvalidPayload", str(unread), step=name)
            else:
                output = payload
        except StepwellError:
            output = payload
    ref = StepRef(name, count, key, KINDS[kind], branch)
    began = from_us(started) if started else None
    not_before = None
    if verdict == INTERRUPTED:  # nobody knows when it began: not before the turn that it belongs to
        began, not_before = None, began
    return StepRecord(
        KINDS[kind],
        name,
        key,
        count,
        branch,
        attempt,
        VERDICTS[verdict],
        began,
        from_us(at),
        output,
        error,
        ref,
        not_before,
        word if kind == EVENT else None,
        idempotency_key=known_by,
    )


def _attempt_of(step: Standing) -> tuple[Any, ...]:
    """Returns what a record of an attempt begins with, behind its place."""
    kind, _, name, key, count = step.identity
    return (kind, step.branch, name, key, count, step.attempt)


def _running(step: Standing, known_by: str | None) -> StepRecord:
    kind, _, name, key, count = step.identity
    ref = StepRef(name, count, key, KINDS[kind], step.branch)
    began = from_us(step.since)
    return StepRecord(
        KINDS[kind],
        name,
        key,
        count,
        step.branch,
        step.attempt,
        "running",
        began,
        None,
        None,
        None,
        ref,
        idempotency_key=known_by,
    )


def _waiting(wait: Wait, known_by: str | None) -> StepRecord:
    kind = KINDS[wait.kind]
    ref = StepRef(wait.name, wait.occurrence, wait.key, kind, wait.branch)
    return StepRecord(
        kind,
        wait.name,
        wait.key,
        wait.occurrence,
        wait.branch,
        0,
        "waiting",
        from_us(wait.opened_at),
        None,
        None,
        None,
        ref,
        event_types=tuple(wait.types),
        idempotency_key=known_by,
    )
