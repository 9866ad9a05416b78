"""The replay cursor: given the recorded history, what comes next for a body that runs again.

An instance's outcomes are delivered to its body one at a time, in the order in which they were
committed. While a body runs for the first time they arrive from the store one by one; on replay
they are all there already. This file does not know which of the two it is: it keeps the outcomes
that are not delivered yet and the operations that are open, and answers with the next outcome,
with "nothing left", or with a mismatch (rules I1, I4, I5, I8).

It knows neither trio nor the engine and has no clock; from the core it takes the names of codes.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from ._core import (
    ABANDONED,
    ATTEMPT_FAILED,
    ATTRIBUTES,
    CONTINUED,
    DO,
    ERASED,
    KINDS,
    OK,
    OUTCOMES,
    PATCHED,
    REFUSED,
    SAVED,
    STARTED,
    UNDO,
)

if TYPE_CHECKING:
    from ._core import Record
    from ._kinds import Kind, Verdict

Identity: TypeAlias = "tuple[Kind, str, str, str | None, int]"
"""(kind, branch path, name, key, occurrence). With a key, branch is "" and occurrence 1 (I1)."""

STEPS: Final = frozenset({DO, UNDO})
"""Kinds of operation that have attempts."""
EARLIER: Final = -1
"""In place of a wait's number: an outcome was recorded in an earlier life of the body."""


class Recorded(NamedTuple):
    """A record by name, for where few of them are read."""

    seq: int
    kind: Kind
    branch: str
    name: str
    key: str | None
    occurrence: int
    attempt: int
    verdict: Verdict
    started_at: int
    at: int
    moment: int | None
    type: str | None
    payload: bytes | None

    @property
    def identity(self) -> Identity:
        """The operation it is of."""
        return self[1:6]


@dataclass(slots=True)
class Outcome:
    """What an operation resolved to."""

    identity: Identity
    verdict: Verdict
    type: str | None
    payload: bytes | None
    at: int
    seq: int = 0
    attempt: int = 0
    number: int = 0
    """Of the wait it settled, if the body had not come back to that yet; `EARLIER`: it was recorded
    in an earlier life."""
    place: int = 0
    """Of one that the body recorded itself: its record's."""
    came_at: int | None = None
    """When the event or the decision came that it is; None: nobody recorded that."""


@dataclass(frozen=True, slots=True)
class Mismatch:
    """The next recorded outcome belongs to no operation that the code has begun."""

    recorded: Identity
    wanted: tuple[Identity, ...]
    was_cancelled: bool = False
    """Whether it is the end of a step that the body had cancelled, and cancels no more."""
    is_open: bool = False
    """Whether it has no outcome yet: the code does not ask for it."""


@dataclass(slots=True)
class Attempts:
    """What history knows of the attempts of a step without an outcome."""

    made: int = 0
    failed: int = 0
    retry_at: int | None = None
    error: bytes | None = None
    saved: bytes | None = None
    saved_for: int = 0
    """The attempt that saved it."""
    tried: list[Record] = field(default_factory=list)
    """Those of attempts that failed or were cut short, and count."""
    erased: bytes | None = None
    """What those came to that count no more; see `_steps.past`."""
    started_at: int = 0
    started_for: int = 0
    """The attempt that announced its start (`on_interrupt="fail"`), or was under way when its step
    was cancelled (I8); 0 if none."""
    is_left: bool = False
    """Whether it had failed before that, and what was under way is a thread of it."""


@dataclass(slots=True)
class Cursor:
    """Outcomes not yet delivered, and what was begun and given up."""

    pending: deque[Outcome] | tuple[()] = ()
    attempts: dict[Identity, Attempts] = field(default_factory=dict)
    withdrawn: set[Identity] | None = None
    refused: set[Identity] | None = None
    """What the body asked for and may not have, as far as that is recorded."""
    changes: tuple[bytes | None, bytes | None] | None = None
    """What is recorded of the first and of the last change of the attributes."""
    patches: dict[str, bool] = field(default_factory=dict)
    """Changes of the code, by id (I6): whether the instance runs their code."""
    passed_over: list[Outcome] = field(default_factory=list)
    """Outcomes that nobody took, because their operations were withdrawn."""
    run: int = 1
    """Which run of its instance it is (L15)."""
    run_at: int | None = None
    """When that began; None: with the instance."""
    seq: int = 0
    """Last record seen, delivered or not."""
    taken: int = 0
    """The outcome that was delivered last."""
    undoes: bool = False
    """Whether the instance was to undo its steps then: what was recorded after that is not for its
    body (L8)."""

    @classmethod
    def over(cls, records: Iterable[Record]) -> Cursor:
        """Returns a cursor at the start of a recorded history."""
        cursor = cls()
        for record in records:
            cursor.read(record)
        return cursor

    def read(self, record: Record) -> None:
        """Takes one record, in order."""
        seq, kind, _, name, _, _, attempt, verdict, began, at, moment, type, payload = record
        identity: Identity = record[1:6]
        self.seq = seq
        if self.undoes or (kind == UNDO and not name):
            self.undoes = True
            return
        if kind == PATCHED:
            self.patches[name] = True
            return
        if kind == CONTINUED and verdict == OK:
            self.run, self.run_at = record[5], at
            return
        if verdict == ABANDONED and self.outcome_of(identity) is not None:
            return  # of a thread that ran on after its step had failed: nobody is told
        if verdict == REFUSED:
            self.refuse(identity)
        if kind == ATTRIBUTES and verdict == OK:
            self.changes = (self.changes[0] if self.changes else payload, payload)
        if verdict in OUTCOMES:
            self.add(
                Outcome(identity, verdict, type, payload, at, seq, attempt, EARLIER, came_at=moment)
            )
            return
        known = self.attempts.setdefault(identity, Attempts())
        if verdict == SAVED:
            known.saved, known.saved_for = payload, attempt
        elif verdict == ERASED:
            known.made = max(known.made, attempt)
            known.erased = payload
        elif verdict == STARTED:
            known.started_for = attempt
            known.started_at = began
            known.is_left = attempt <= known.made
        else:
            known.made = max(known.made, attempt)
            known.failed += verdict == ATTEMPT_FAILED
            known.retry_at = moment
            known.error = payload
            known.tried.append(record)

    def add(self, outcome: Outcome) -> None:
        """An outcome that is to be delivered after all others."""
        # most bodies never have one waiting, and an empty deque is 600 bytes
        self.pending = self.pending or deque()
        self.pending.append(outcome)

    def outcome_of(self, identity: Identity) -> Outcome | None:
        """Returns the outcome of this operation, if that is yet to be delivered."""
        return next((outcome for outcome in self.pending if outcome.identity == identity), None)

    def knows(self, identity: Identity) -> bool:
        """Whether history knows an operation that the body is about to begin, other than by an open
        wait.

        Then it was within the limits, registrations and types of its day, and is not judged by
        those of today (D3).
        """
        return identity in self.attempts or self.outcome_of(identity) is not None

    def known(self) -> Iterator[Identity]:
        """Returns all that history knows so, and steps that had attempts and have been begun
        again."""
        return itertools.chain(self.attempts, (outcome.identity for outcome in self.pending))

    def withdraw(self, identity: Identity) -> None:
        """The body gave this operation up."""
        if self.withdrawn is None:
            self.withdrawn = set()
        self.withdrawn.add(identity)
        self._is_over(identity)

    def refuse(self, identity: Identity) -> None:
        """The body may not have this, and that is recorded."""
        if self.refused is None:
            self.refused = set()
        self.refused.add(identity)

    def next(self, open_operations: Iterable[Identity]) -> Outcome | Mismatch | None:
        """Returns the next outcome to deliver, taking it; None when none is left.

        Outcomes of operations that the body gave up are passed over (I8). Those of operations that
        it never began are a mismatch, and stay (I5).
        """
        while self.pending:
            outcome = self.pending[0]
            if outcome.identity in open_operations:
                self.taken = outcome.seq
                self._is_over(outcome.identity)
                return self.pending.popleft()
            if self.withdrawn is None or outcome.identity not in self.withdrawn:
                return Mismatch(outcome.identity, tuple(open_operations))
            self._is_over(outcome.identity)
            self.passed_over.append(self.pending.popleft())
        return None

    def _is_over(self, identity: Identity) -> None:
        """Attempts of a step count until its outcome is taken or it is given up. (What else has
        some, a wait, is asked about them then.)"""
        if identity[0] in STEPS:
            self.attempts.pop(identity, None)

    def left_open(self, open_operations: Container[Identity]) -> Identity | None:
        """Returns a step that was attempted, has no outcome, and that the body has not begun."""
        return next(
            (
                identity
                for identity in self.attempts
                if identity[0] in STEPS
                and identity not in open_operations
                and self.outcome_of(identity) is None
            ),
            None,
        )

    def patched(self, change_id: str, is_behind: Callable[[], bool]) -> bool | None:
        """Returns whether the body runs the code that a change brought; None: it does, and that is
        to be recorded first (I6).

        It does unless it replays what was recorded before it first asked. An outcome that came
        while the body ran says nothing about its code.

        Args:
            is_behind: Tells whether an earlier life has begun what this one has not come to yet.
        """
        if change_id not in self.patches and (
            any(outcome.number == EARLIER for outcome in self.pending) or is_behind()
        ):
            self.patches[change_id] = False
        return self.patches.get(change_id)

    def leftover(self) -> Mismatch | None:
        """Returns what was recorded but never asked for by a body that has ended."""
        found = self.next(())
        return found if isinstance(found, Mismatch) else None


def ordinal(number: int) -> str:
    """Returns 1st, 2nd, 3rd, 4th …"""
    suffix = {1: "st", 2: "nd", 3: "rd"}.get(
        number % 10 if number % 100 not in (11, 12, 13) else 0, "th"
    )
    return f"{number}{suffix}"


def describe(identity: Identity) -> str:
    """Returns an operation as a person would name it: `do "charge" (1st)`."""
    kind, branch, name, key, count = identity
    which = f"key {key!r}" if key is not None else ordinal(count)
    place = f" in {branch}" if branch else ""
    return f'{KINDS[kind]} "{name}" ({which}){place}'
