"""What is kept of a step that is tried again and again: its first and its last attempts whole, of
the others a sum.

A step may be tried for months, and each failed attempt is a record of some KiB that every replay
reads. So from some number on the older ones are erased: one record says from which attempt to
which, how many failed with what, and when; those it speaks of count no more
(`rust/core/src/erasure.rs`). It has what later attempts need of them: how many failed (R2), and
what the last of them saved. Each such record speaks for all before it. This file decides what is
erased and reads what was; it submits nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from .._core import ATTEMPT_FAILED, ERASED
from .._errors import ErrorInfo
from .._replay import Attempts, Recorded
from .._values.codec import Undecodable, codec
from .._values.failures import error_info

KEPT: Final = 100
"""So many of the first attempts are kept whole, and at least so many of the last."""
AT_ONCE: Final = 100
"""So many are erased together, or each attempt would cost two records."""


class Tried(NamedTuple):
    """An attempt that failed or was cut short."""

    attempt: int
    has_failed: bool
    error: str | bytes | None
    """Its type, or what was recorded of it: that is decoded only when it is erased, for most
    replays erase nothing."""
    began: int
    ended: int


class Erased(NamedTuple):
    """A record to be made: these attempts count no more."""

    first: int
    last: int
    payload: bytes


@dataclass(slots=True)
class Past:
    """What is known of the attempts after the first hundred."""

    sum: dict[str, Any] | None = None
    """Of those that are erased."""
    tried: list[Tried] = field(default_factory=list)
    """Of those that are not."""

    @classmethod
    def of(cls, known: Attempts) -> Past:
        """Returns what history knows."""
        return cls(
            None if known.erased is None else codec.decode(known.erased),
            [_tried(it) for it in map(Recorded._make, known.tried) if it.attempt > KEPT],
        )

    def failed(self, known: Attempts) -> int:
        """Returns how many attempts have failed, with those that are erased (R2)."""
        before: int = self.sum["failed"] if self.sum is not None else 0
        return known.failed + before

    def saved(self, known: Attempts) -> bytes | None:
        """Returns what was saved last."""
        if self.sum is None or known.saved_for > self.sum["last"]:
            return known.saved
        saved: bytes | None = self.sum["saved"]
        return saved

    def add(self, tried: Tried, saved: bytes | None) -> Erased | None:
        """Takes an attempt that has ended, and what was saved last. Returns what is to be erased
        now, if anything is."""
        self.tried.append(tried)
        last = tried.attempt - KEPT
        done = self.sum["last"] if self.sum is not None else KEPT
        if last - done < AT_ONCE:
            return None
        gone = [it for it in self.tried if it.attempt <= last]
        self.tried = [it for it in self.tried if it.attempt > last]
        before = self.sum or {
            "first": KEPT + 1,
            "failed": 0,
            "interrupted": 0,
            "errors": {},
            "began": gone[0].began,
        }
        failed = sum(it.has_failed for it in gone)
        self.sum = {
            "first": before["first"],
            "last": last,
            "failed": before["failed"] + failed,
            "interrupted": before["interrupted"] + len(gone) - failed,
            "errors": dict(Counter(before["errors"]) + Counter(_type_of(it.error) for it in gone)),
            "began": before["began"],
            "ended": gone[-1].ended,
            "saved": saved,
        }
        payload = codec.encode(self.sum, limit=len(saved or b"") + (1 << 20))
        return Erased(before["first"], last, payload)


def _tried(it: Recorded) -> Tried:
    return Tried(it.attempt, it.verdict == ATTEMPT_FAILED, it.payload, it.started_at, it.at)


def _type_of(error: str | bytes | None) -> str:
    if isinstance(error, bytes):
        try:
            return error_info(codec.decode(error)).type
        except Undecodable:  # one of old, of which nothing else depends
            return ""
    return error or ""


def in_place(records: Sequence[Recorded]) -> list[Recorded]:
    """Returns records with each sum where the attempts were that it speaks of: it was recorded
    later."""
    placed = [it for it in records if it.verdict != ERASED]
    for it in records:
        if it.verdict == ERASED:
            later = (
                at
                for at, other in enumerate(placed)
                if other.identity == it.identity and other.attempt > it.attempt
            )
            placed.insert(next(later, len(placed)), it)
    return placed


def told(total: dict[str, Any], step: str) -> tuple[dict[str, Any], ErrorInfo]:
    """Returns a sum as the output and the error of a line of history."""
    errors = sorted(total["errors"].items(), key=lambda it: -it[1])
    kinds = ", ".join(f"{name} {count:,} times" for name, count in errors)
    message = f"attempts {total['first']:,} to {total['last']:,}: {kinds}"
    output = {name: total[name] for name in ("first", "last", "failed", "interrupted", "errors")}
    return output, ErrorInfo(errors[0][0] if errors else "", message, step, total["last"], "")
