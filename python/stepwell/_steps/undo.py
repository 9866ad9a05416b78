"""What undoes a step: a function with options of its own, and what it is told (L8)."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .._errors import ErrorInfo, InvalidConfig
from .._types import StepRef
from .._values.durations import Duration, to_us
from .retry import Retry


@dataclass(frozen=True)
class Undo:
    """What undoes a step, if its instance fails or is terminated with `undo=True`. `undo=fn` is
    `undo=Undo(fn)`.

    Args:
        fn: Called with an `UndoContext`; async, or plain (in a worker thread). It may run more than
            once, and after an attempt of its step that failed or was cut short: it finds out what
            there is to undo. What it returns is not kept.
        retry: Default: 5 retries from 10 seconds, doubling, up to an hour. What gives up ends the
            undoing: what began before it is not undone.
        timeout: For one attempt; default 10 minutes.

    Raises:
        InvalidConfig: One of them is malformed.
    """

    fn: Callable[[UndoContext], Any]
    retry: Retry = field(default_factory=Retry)
    timeout: Duration | None = None

    def __post_init__(self) -> None:
        plain = self.fn
        while isinstance(plain, functools.partial):
            plain = plain.func
        if not callable(plain) or isinstance(plain, type):
            raise InvalidConfig(
                f"undo is {self.fn!r:.120}; give a function that takes an UndoContext, or "
                "Undo(function, retry=…, timeout=…)."
            )
        if inspect.isgeneratorfunction(plain) or inspect.isasyncgenfunction(plain):
            raise InvalidConfig(f"undo is {plain!r:.120}, a generator; give a function.")
        if not isinstance(self.retry, Retry):
            raise InvalidConfig(
                f"Undo(retry={self.retry!r:.120}): give a stepwell.Retry, for example "
                "Retry(limit=3)."
            )
        if self.timeout is not None and to_us(self.timeout, "timeout") == 0:
            raise InvalidConfig(
                "Undo(timeout=0): every attempt would fail at once; give a longer one, or leave "
                "it out."
            )


@dataclass(frozen=True, slots=True)
class UndoContext:
    """What an undo is told of the step that it undoes.

    Attributes:
        step: Which step: its name, key and place, as in `history()`.
        args: What its function was called with.
        output: What it returned, or what a thread of it came to after it had failed or was
            cancelled; None if it returned nothing.
        error: Why it failed; `Interrupted` if it was cut short; None if it succeeded.
        cause: Why the instance undoes its steps: the error that its body raised, or that it was
            terminated.
        idempotency_key: A UUID that is the same for every attempt of this undo, whatever process
            or machine runs it.
    """

    step: StepRef
    args: tuple[Any, ...]
    output: Any
    error: Exception | None
    cause: ErrorInfo
    idempotency_key: str


def undo_of(given: Any) -> Undo | None:
    """Returns what a caller gave as `undo=`, checked."""
    return given if given is None or isinstance(given, Undo) else Undo(given)
