"""When a failed attempt is followed by another, and after how long (R1, R6).

Pure: the random generator is an argument, time is not looked at, and nothing is recorded. Whoever
runs the step asks three questions after a failure: is this error retried, are attempts left, how
long is the wait. A rule of the user's that raises ends the step: `RetryRuleFailed`.
"""

from __future__ import annotations

import functools
import inspect
import random as random_module
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, TypeAlias, get_args

from .._errors import (
    InvalidConfig,
    Misuse,
    NonRetryableError,
    NoThread,
    NotSerializable,
    RetryRuleFailed,
    TooLarge,
)
from .._values.durations import Duration, text, to_us

Backoff: TypeAlias = Literal["constant", "linear", "exponential"]
Delay: TypeAlias = Duration | Callable[[Any, Exception], Duration]
RetryOn: TypeAlias = type[Exception] | tuple[type[Exception], ...] | Callable[[Exception], bool]

LIMIT_MAX = 10_000

# R6: another attempt would meet the same code and the same value.
_NEVER = (
    NonRetryableError,
    NotSerializable,
    TooLarge,
    InvalidConfig,
    Misuse,
    NameError,
    ImportError,
)
_CALLERS = (
    "stepwell._attempts.attempt",
    "stepwell._attempts.heard",
    "stepwell._operations.step_operation",
    "stepwell._loops.bridge",
    "stepwell._attempts.remote",
)
"""Files that call step functions."""


@dataclass(frozen=True)
class Retry:
    """How a step is retried.

    Args:
        limit: How many retries after the first attempt, 0 to 10,000; None for no end.
        delay: The wait before the first retry; or a function of the `StepContext` and the exception
            that returns each wait. A function's answer is taken as it is, but for `max_delay`: no
            backoff, no jitter.
        backoff: How the wait grows: `"constant"`, `"linear"` (delay * attempt) or `"exponential"`
            (delay * 2 ** (attempt - 1)).
        max_delay: No wait is longer than this.
        jitter: The share, 0 to 1, by which a wait is made shorter or longer at random, so that many
            that failed together do not come back together.
        retry_on: The classes of exceptions that are retried, or a predicate. An `ExceptionGroup` is
            retried if everything in it is. Never retried, whatever this says: `NonRetryableError`,
            `NameError`, `ImportError`, a use of the engine where it cannot be used, and results
            that cannot be stored.

    Raises:
        InvalidConfig: One of them is malformed, or a function that is to answer at once is async.
    """

    limit: int | None = 5
    delay: Delay = "10 seconds"
    backoff: Backoff = "exponential"
    max_delay: Duration = "1 hour"
    jitter: float = 0.1
    retry_on: RetryOn = (Exception,)
    _delay_us: int = field(init=False, repr=False, compare=False, default=0)
    _max_delay_us: int = field(init=False, repr=False, compare=False, default=0)

    never: ClassVar[Retry]
    """One attempt, no retry."""
    forever: ClassVar[Retry]
    """Retries without end, at the default pace."""

    def __post_init__(self) -> None:
        limit = self.limit
        if limit is not None and (type(limit) is not int or not 0 <= limit <= LIMIT_MAX):
            raise InvalidConfig(
                f"Retry(limit={limit!r}): a number of retries from 0 to "
                f"{LIMIT_MAX:,}, or None for no end"
            )
        if self.backoff not in get_args(Backoff):
            raise InvalidConfig(
                f'Retry(backoff={self.backoff!r}): "constant", "linear" or "exponential"'
            )
        if type(self.jitter) not in (int, float) or not 0 <= self.jitter <= 1:
            raise InvalidConfig(f"Retry(jitter={self.jitter!r}): a number from 0 to 1")
        if not _valid_retry_on(self.retry_on):
            raise InvalidConfig(
                f"Retry(retry_on={self.retry_on!r}): exception classes, or a "
                "function of the exception"
            )
        for name in ("retry_on", "delay"):
            if _answers_later(getattr(self, name)):
                raise InvalidConfig(
                    f"Retry({name}={getattr(self, name)!r}): a plain function; an "
                    "async one does not answer at once"
                )
        max_delay_us = to_us(self.max_delay, "Retry max_delay")
        object.__setattr__(self, "_max_delay_us", max_delay_us)
        if not callable(self.delay):
            delay_us = to_us(self.delay, "Retry delay")
            if delay_us > max_delay_us:
                raise InvalidConfig(
                    f"Retry(delay={self.delay!r}) is longer than max_delay "
                    f"({text(max_delay_us)}): pass a longer max_delay"
                )
            object.__setattr__(self, "_delay_us", delay_us)

    def allows(self, attempts: int) -> bool:
        """Returns whether another attempt may follow the `attempts` made so far."""
        return self.limit is None or attempts <= self.limit

    def retries(self, exc: BaseException) -> bool:
        """Returns whether this error is one that is retried.

        Raises:
            StepwellError: The predicate raised.
        """
        if isinstance(exc, NoThread):
            return True
        if (
            not isinstance(exc, Exception)
            or any(isinstance(leaf, _NEVER) for leaf in _leaves(exc))
            or _raised_by_the_call(exc)
        ):
            return False
        if isinstance(self.retry_on, (type, tuple)):
            classes = self.retry_on
            return isinstance(exc, classes) or all(
                isinstance(leaf, classes) for leaf in _leaves(exc)
            )
        try:
            answer: object = self.retry_on(exc)
            return bool(_at_once(answer, "retry_on of Retry"))
        except (RetryRuleFailed, KeyboardInterrupt):
            raise
        except BaseException as error:  # whatever it is, it is the step that fails (R9)
            raise RetryRuleFailed(f"retry_on of Retry raised {_brief(error)}") from error

    def delay_us(
        self, attempt: int, ctx: object, exc: Exception, random: random_module.Random
    ) -> int:
        """Returns the wait before the next attempt, in microseconds.

        Args:
            attempt: How many attempts were made, 1 or more.
            ctx: The `StepContext` of the failed attempt, for a `delay` function.
            exc: What it raised.
            random: Where the jitter comes from.

        Raises:
            StepwellError: The `delay` function raised, or returned something that is no duration.
        """
        if callable(self.delay):
            return min(self._ask(self.delay, ctx, exc), self._max_delay_us)
        us = self._delay_us
        if self.backoff == "exponential":
            us <<= min(attempt - 1, 64)  # 1 µs * 2**64 is over any max_delay
        elif self.backoff == "linear":
            us *= attempt
        us = min(us, self._max_delay_us)
        if self.jitter:
            us = round(us * (1 + self.jitter * (2 * random.random() - 1)))
        return min(us, self._max_delay_us)

    def _ask(self, delay: Callable[[Any, Exception], Duration], ctx: object, exc: Exception) -> int:
        try:
            answer: object = delay(ctx, exc)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # whatever it is, it is the step that fails (R9)
            raise RetryRuleFailed(f"the delay function of Retry raised {_brief(error)}") from error
        try:
            return to_us(_at_once(answer, "the delay function of Retry"), "its result")
        except InvalidConfig as error:
            raise RetryRuleFailed(
                f"the delay function of Retry returned nonsense: {error}"
            ) from None


def _valid_retry_on(value: object) -> bool:
    if isinstance(value, tuple):
        return all(isinstance(item, type) and issubclass(item, Exception) for item in value)
    if isinstance(value, type):
        return issubclass(value, Exception)
    return callable(value)


def _answers_later(rule: object) -> bool:
    """Whether calling this gives something that would have to be awaited or iterated."""
    while isinstance(rule, functools.partial):
        rule = rule.func
    if not callable(rule) or isinstance(rule, type):
        return False
    kinds = (inspect.iscoroutinefunction, inspect.isasyncgenfunction, inspect.isgeneratorfunction)
    return any(is_one(rule) or is_one(type(rule).__call__) for is_one in kinds)


def _at_once(answer: Any, whose: str) -> Any:
    """Returns an answer as it is; refuses one that a function which is async in disguise gave."""
    if isinstance(answer, Awaitable):
        getattr(answer, "close", lambda: None)()
        raise RetryRuleFailed(f"{whose} is async: pass a plain function")
    return answer


def _leaves(exc: BaseException) -> Iterator[BaseException]:
    if isinstance(exc, BaseExceptionGroup):
        for inner in exc.exceptions:
            yield from _leaves(inner)
    else:
        yield exc


def _brief(exc: BaseException) -> str:
    try:
        return f"{type(exc).__qualname__}: {exc}"
    except BaseException:
        return type(exc).__qualname__


Retry.never = Retry(limit=0)
Retry.forever = Retry(limit=None)


def _raised_by_the_call(error: Exception) -> bool:
    """Whether the arguments did not fit: then no frame of the function itself is in the
    traceback."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return (
        isinstance(error, TypeError)
        and trace is not None
        and trace.tb_frame.f_globals.get("__name__") in _CALLERS
    )
