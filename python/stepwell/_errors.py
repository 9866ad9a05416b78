"""Every error Stepwell raises on purpose, all under `StepwellError`.

A kind of its own exists only where a caller would act differently. Every class can be made from its
message alone, so that errors survive `copy` and `pickle`; the attributes are keyword arguments. The
text is the whole message, written by whoever raises: what happened, to which instance and step, and
what to do now. Nothing here knows how an error is stored: that is `_values/failures`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")

__all__ = [
    "ApprovalTimeout",
    "EngineClosed",
    "ErrorInfo",
    "EventTimeout",
    "InstanceErrored",
    "InstanceExists",
    "InstanceNotFound",
    "InstanceTerminated",
    "InstanceTimeout",
    "InternalError",
    "Interrupted",
    "InvalidConfig",
    "InvalidName",
    "InvalidPayload",
    "InvalidState",
    "LimitReached",
    "NoEngine",
    "NonRetryableError",
    "Nondeterminism",
    "NotSerializable",
    "Overloaded",
    "Rejected",
    "RequestTimeout",
    "StepFailed",
    "StepTimeout",
    "StepwellError",
    "StoreCorrupt",
    "StoreFailed",
    "StoreLocked",
    "StoreVersion",
    "TooLarge",
]


@dataclass(frozen=True, slots=True)
class ErrorInfo:
    """A recorded error, as data: nothing of it is raised or imported.

    Attributes:
        type: Dotted name of the class that was raised, as in `shop.PaymentDeclined`.
        message: Its text, `str(exc)`.
        step: Name of the step that gave up, or None if the body itself raised.
        attempts: How many attempts that step made, or None if the body itself raised.
        traceback: The traceback as text, causes and notes included.
    """

    type: str
    message: str
    step: str | None = None
    attempts: int | None = None
    traceback: str = ""

    def __str__(self) -> str:
        name = self.type.rpartition(".")[2]
        what = f"{name}: {self.message}" if self.message else name
        if self.step is None:
            return what
        return f'step "{self.step}" failed after {_count(self.attempts or 0, "attempt")}: {what}'


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


class StepwellError(Exception):
    """Base of every error of this library."""


class Misuse(StepwellError):
    """The engine was used where it cannot be: a mistake of the code, which another attempt would
    make again (R6).

    Not public: it is recorded as its first base that is.
    """


class InvalidName(StepwellError, ValueError):
    """A workflow name, instance id, step name or event type is malformed.

    Raised before anything is written.
    """


class InvalidConfig(StepwellError, ValueError):
    """A duration, instant, retry, limit or option is malformed, or two of them contradict each
    other.

    Raised before anything is written.
    """


class InstanceNotFound(StepwellError):
    """No such instance: never created, deleted, or its retention is over.

    Attributes:
        workflow: Name of the workflow.
        id: The id that was asked for.
    """

    def __init__(self, message: str = "", *, workflow: str = "", id: str = "") -> None:
        super().__init__(message)
        self.workflow = workflow
        self.id = id


class InstanceExists(StepwellError):
    """The id is taken, and `if_exists` says to raise (or the params differ from those of the
    existing one).

    Attributes:
        workflow: Name of the workflow.
        id: The id that is taken.
    """

    def __init__(self, message: str = "", *, workflow: str = "", id: str = "") -> None:
        super().__init__(message)
        self.workflow = workflow
        self.id = id


class InvalidState(StepwellError):
    """The instance is in a state in which this cannot be done, such as terminating a final one.

    Attributes:
        status: The `Status` it was in, or None if it is not known.
    """

    def __init__(self, message: str = "", *, status: str | None = None) -> None:
        super().__init__(message)
        self.status = status


class RetryRuleFailed(StepwellError):
    """A `delay` function or a `retry_on` predicate raised, or returned nonsense: the step ends with
    this error (R6)."""


class NoThread(StepwellError):
    """There was no thread for an attempt, so its function was not called: it is retried whatever
    `retry_on` says."""


class InstanceTimeout(StepwellError, TimeoutError):
    """The recorded error of an instance that took longer than its workflow's `timeout`."""


class MisusedState(Misuse, InvalidState):
    """A call that cannot be made where it was made."""


class Overloaded(StepwellError):
    """A rate or the queue is at its limit, or the disk is full: nothing was written, try again
    later.

    Attributes:
        retry_after: Seconds until it is worth trying again.
        limit: Which limit it was, such as `create_rate`, `queue_entries` or `disk`.
    """

    def __init__(self, message: str = "", *, retry_after: float = 0.0, limit: str = "") -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.limit = limit


class LimitReached(StepwellError):
    """One instance used up its steps, its bytes or its recoveries.

    Attributes:
        limit: Which limit: `steps`, `instance_bytes`, `recoveries`.
        value: What the limit is set to, in steps, bytes or recoveries.
    """

    def __init__(self, message: str = "", *, limit: str = "", value: int = 0) -> None:
        super().__init__(message)
        self.limit = limit
        self.value = value


class NotSerializable(StepwellError):
    """A value cannot be stored: its class is not the declared one, or nothing says how to store it
    (D7).

    From `create`, an event or a `save` it is raised by that call; in a body, where the call is
    awaited. A step whose result is not storable ends at once, and the
    error the body sees is a `StepFailed` as well.

    Attributes:
        path: Where in the value, such as `result["pages"][3]`.
    """

    def __init__(self, message: str = "", *, path: str = "") -> None:
        super().__init__(message)
        self.path = path


class CodecFailed(NotSerializable):
    """The engine's codec raised, or gave something else than bytes, where a value was to be
    stored."""


class TooLarge(StepwellError):
    """A value is over its size limit when encoded. As with `NotSerializable`, from a step it is a
    `StepFailed` as well.

    Attributes:
        limit: The limit, in bytes.
        size: The size of the encoded value, in bytes; 0 if it was not measured to the end.
    """

    def __init__(self, message: str = "", *, limit: int = 0, size: int = 0) -> None:
        super().__init__(message)
        self.limit = limit
        self.size = size


class InvalidPayload(StepwellError):
    """What is stored cannot become the type that is asked for today.

    In a body it is an event's payload: it is not of the type the wait asked for, and the event is
    consumed. From `result` and `call` it is the output of an instance that is complete: the type
    that its workflow returns has changed since.

    Attributes:
        payload: What is stored, as plain data.
    """

    def __init__(self, message: str = "", *, payload: object = None) -> None:
        super().__init__(message)
        self.payload = payload


_MEMBERS = vars(BaseException)["__dict__"]
"""Gives an exception's own dict, whatever its class has under that name."""


class _Told(Generic[T]):
    """One of the five attributes of `StepFailed`, kept in the object's dict.

    As a data descriptor of the first base it also stands before a property or a slot that the class
    the step raised has under this name.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, exc: None, cls: type) -> _Told[T]: ...
    @overload
    def __get__(self, exc: BaseException, cls: type) -> T: ...
    def __get__(self, exc: BaseException | None, cls: type) -> Any:
        if exc is None:
            return self
        try:
            return _MEMBERS.__get__(exc)[self._name]
        except KeyError:
            raise AttributeError(self._name, name=self._name, obj=exc) from None

    def __set__(self, exc: BaseException, value: T) -> None:
        _MEMBERS.__get__(exc)[self._name] = value


class StepFailed(StepwellError):
    """A step gave up: its retries are used up, or its error is one that is not retried.

    What a body catches is a subclass of this class and of the class the step raised, so that
    `except PaymentDeclined:` works, the first time and on replay alike. Members of the original
    exception that can be stored are its attributes too; the five below are always these.

    Attributes:
        step: Name of the step.
        attempts: How many attempts were made.
        type: Dotted name of the class that was raised, as in `shop.PaymentDeclined`.
        message: The text of the last attempt's exception.
        traceback: Its traceback as text, causes and notes included.
    """

    step = _Told[str]()
    attempts = _Told[int]()
    type = _Told[str]()
    message = _Told[str]()
    traceback = _Told[str]()

    # A failure is what was recorded: no code of the class the step raised answers for it (a frozen
    # dataclass would refuse even the traceback that Python sets on its way up).
    __getattribute__ = Exception.__getattribute__
    __setattr__ = Exception.__setattr__
    __delattr__ = Exception.__delattr__
    __repr__ = Exception.__repr__

    def __init__(
        self,
        message: str = "",
        *,
        step: str = "",
        attempts: int = 0,
        type: str = "",
        traceback: str = "",
    ) -> None:
        Exception.__init__(self, message)
        self.step = step
        self.attempts = attempts
        self.type = type
        self.message = message
        self.traceback = traceback

    def __init_subclass__(cls) -> None:
        # No super(): `_values/failures` makes subclasses together with users' classes, whose own
        # __init_subclass__ (a registry, say) must not run because an error was raised.
        pass

    def __str__(self) -> str:
        told = _MEMBERS.__get__(self).get
        step, message = told("step"), told("message", "")
        if not step:
            return str(message)
        return str(
            ErrorInfo(told("type") or type(self).__qualname__, message, step, told("attempts"))
        )

    def __getattr__(self, name: str) -> object:
        # Reached for missing attributes only. The five of StepFailed itself can be missing while an
        # object is being copied; anything else belongs to the class the step raised.
        if name.startswith("__") or name in FIVE:
            raise AttributeError(name, name=name, obj=self)
        raise AttributeError(
            f'{type(self).__qualname__} of step "{self.step}": attribute "{name}" was not '
            "recorded. Of an exception that leaves a step, the members that are plain data are "
            f"stored, up to 8 KiB; set {name} to plain data "
            "in its __init__",
            name=name,
            obj=self,
        )


FIVE = frozenset({"step", "attempts", "type", "message", "traceback"})
"""Attributes that every failure has of its own."""


class StepTimeout(StepFailed, TimeoutError):
    """The last attempt of a step ran longer than its `timeout`. Also a `TimeoutError`."""


class EventTimeout(StepwellError, TimeoutError):
    """No event came before the wait's timeout. Also a `TimeoutError`."""


class RequestTimeout(StepwellError, TimeoutError):
    """A request was not answered in time. It is there all the same: asked again with the same
    `dedup_id`, its answer is found. Also a `TimeoutError`."""


class ApprovalTimeout(StepwellError, TimeoutError):
    """Nobody decided before the approval's timeout. Also a `TimeoutError`."""


class Rejected(StepwellError):
    """Somebody said no to an approval.

    Attributes:
        by: Who decided.
        reason: Why, or None if they did not say.
        metadata: What else they sent along, as plain data; None if nothing.
    """

    def __init__(
        self, message: str = "", *, by: str = "", reason: str | None = None, metadata: object = None
    ) -> None:
        super().__init__(message)
        self.by = by
        self.reason = reason
        self.metadata = metadata


class NonRetryableError(StepwellError):
    """Raise this in a step function, or a subclass of it, when another attempt would be pointless:
    the step gives up."""


class Interrupted(StepwellError):
    """The recorded error of an attempt that was cut short: by a crash, or by the end of its
    engine's `grace`.

    A body sees it only with `on_interrupt="fail"`, as the class of a `StepFailed`.
    """


class InstanceErrored(StepwellError):
    """The instance whose result was awaited ended as `errored`. The text ends with the recorded
    error's own.

    Attributes:
        error: The recorded error (`ErrorInfo`), or None if it is not known.
    """

    def __init__(self, message: str = "", *, error: ErrorInfo | None = None) -> None:
        super().__init__(message)
        self.error = error


class InstanceTerminated(StepwellError):
    """The instance whose result was awaited was terminated.

    Attributes:
        error: The recorded error (`ErrorInfo`), or None.
    """

    def __init__(self, message: str = "", *, error: ErrorInfo | None = None) -> None:
        super().__init__(message)
        self.error = error


class Nondeterminism(StepwellError):
    """The code no longer matches a history.

    Never raised into a body (I10), where `except Exception` would swallow it: it is the error of a
    `blocked` instance and in `explain()`.
    """


class StoreLocked(StepwellError):
    """Another engine owns the store; the text says which process, and what to do: not the same if
    that is this very process."""


class StoreVersion(StepwellError):
    """The store was written by a newer version of Stepwell. Nothing was changed.

    A newer version migrates a store when it opens it, and an older one cannot read it from then on.
    The migration leaves a copy beside the store (`audit.db.schema-2`): to go back, put that in the
    store's place. What happened since is not in it.
    """


class StoreFailed(StepwellError):
    """The store could not be read or written. Nothing is acknowledged any more: fix the disk, start
    again."""


class StoreCorrupt(StepwellError):
    """A checksum does not match. Nothing was deleted; the text says what is affected."""


class EngineClosed(StepwellError):
    """The engine was used before its block began or after it ended."""


class NoEngine(StepwellError):
    """A `Client` found no engine of its store: none runs, or none that speaks the same version. If
    the call changes anything, none was asked."""


class InternalError(StepwellError):
    """A bug in Stepwell. Please report it with the text and the traceback."""
