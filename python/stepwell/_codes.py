"""Why the core says no, as the errors that users see: the one place that knows what its words mean.

They come in answers to callers, in the outcomes of what a body wanted of other instances, in a
`CoreError`, and when the engine fails. Whoever gets one asks here, and says whose it is.
"""

from __future__ import annotations

from typing import Any

from . import _core
from ._errors import (
    EngineClosed,
    ErrorInfo,
    InstanceExists,
    InstanceNotFound,
    InstanceTerminated,
    InternalError,
    InvalidConfig,
    InvalidState,
    LimitReached,
    Overloaded,
    StepwellError,
    StoreCorrupt,
    StoreFailed,
    StoreLocked,
    StoreVersion,
)
from ._types import STATUSES, Status

TOLD: dict[str, type[StepwellError]] = {
    "locked": StoreLocked,
    "version": StoreVersion,
    "failed": StoreFailed,
    _core.STORE: StoreFailed,
    _core.CORRUPT: StoreCorrupt,
    _core.INVALID: InvalidConfig,
    _core.UNDER_WAY: InvalidState,
    _core.CLOSED: EngineClosed,
    "internal": InternalError,
}
"""What the core words itself: its text is the error's."""

RECORDED: dict[str, tuple[type[StepwellError], str]] = {
    _core.EXISTS: (InstanceExists, "an id was taken already, so nothing was created"),
    _core.NOT_FOUND: (InstanceNotFound, "there was no instance with this id"),
    _core.STATE: (InvalidState, "the instance had ended, and took no events any more"),
    _core.LIMIT: (
        LimitReached,
        f"the instance had {_core.EVENTS_MAX:,} events that no wait took yet",
    ),
    _core.TERMINATED: (InstanceTerminated, "the child was terminated"),
}
"""What a body was told of an operation with other instances, where the record has a word only."""


def error_of(
    code: str,
    data: Any = None,
    *,
    workflow: str = "",
    id: str | None = None,
    namespace: str = "",
    lost: str = "",
    only: str = "",
    waits: bool = False,
) -> StepwellError:
    """Returns what a word of the core means, as an error.

    Args:
        data: What came with it, as `_core.pyi` says.
        workflow: Of the instance that it is about.
        id: The same.
        namespace: The same.
        lost: What a body wanted and does not get, as in `event "paid" of order/1 was not sent`.
        only: What takes another state than its own, as in `only what is paused is resumed`.
        waits: Whether the call would have waited for what could ever be let in.
    """
    text: object = data
    if isinstance(text, str) and code in TOLD:
        return TOLD[code](text)
    whose = f'instance "{id}" of "{workflow}"'
    lead = f"{lost}: " if lost else ""
    match code:
        case _core.NOT_FOUND:
            return not_found(workflow, id or "", namespace, lead=lead)
        case _core.EXISTS | _core.SAME_ID_OTHER_PARAMS:
            return _exists(code, data, workflow, id or "")
        case _core.STATE:
            return _wrong_state(data, f"{lead}{whose}", only)
        case _core.NO_STEP:
            return InvalidConfig(
                f"{lead}{whose} has recorded no such step. Take the `ref` of a line of its "
                "history(); of a step whose first attempt runs that is to end before: pause() "
                "first. Nothing was changed."
            )
        case _core.RESOLVED:
            return InvalidState(
                f"{lead}{whose} has recorded what it came to. Only what was attempted and has no "
                "outcome is resolved, or what the instance is blocked for; restart(from_step=…) "
                "does it anew. Nothing was changed."
            )
        case _core.NOTHING_FAILED:
            status = STATUSES[data]
            return InvalidState(
                f"nothing of {whose} failed: it is {status.value}. Restart it from a step of its "
                "history(), or without from_step from the start. Nothing was changed.",
                status=status,
            )
        case _core.LIMIT:
            limit, value = data or (_core.BUFFERED_EVENTS, _core.EVENTS_MAX)
            if limit == _core.SCHEDULES:
                text = f"there are {value:,} schedules. Delete some first. Nothing was changed."
                return LimitReached(text, limit=limit, value=value)
            text = (
                f"{lead}{whose} has {value:,} events that no wait took yet. Send fewer, or wait "
                "for them."
            )
            return LimitReached(text, limit=limit, value=value)
        case _core.TERMINATED:
            return InstanceTerminated(
                f"{workflow}/{id} was terminated" + (f": {data.message}" if data else ""),
                error=data,
            )
        case _core.MISSING_CODE:
            return InvalidState(str(data), status=Status.BLOCKED)
        case _core.OVERLOADED:
            return _overloaded(data, workflow, id, waits)
        case _core.DRAINS:
            return EngineClosed(
                "the engine drains and lets nothing in any more; nothing was created. "
                "Open a new one on the same store."
            )
        case _core.CLOSED:
            return EngineClosed("the engine is closed. Open a new one on the same store.")
        case _core.CORRUPT:  # an item of a batch
            return StoreCorrupt(
                f"the params of {whose} are damaged, so they cannot be compared. Pass another id."
            )
        case _:
            return InternalError(f"the core answered {code!r}: {data!r}")


def recorded(word: str | None) -> ErrorInfo | None:
    """Returns what a body was told with this word, as data; None: it was told something else."""
    if word not in RECORDED:
        return None
    kind, text = RECORDED[word]
    return ErrorInfo(f"stepwell.{kind.__name__}", text)


def not_found(
    workflow: str, id: str, namespace: str, *, lead: str = "", without_code: bool = False
) -> InstanceNotFound:
    """Returns that there is no such instance. `without_code`: nor such a workflow in this
    engine."""
    text = f'{lead}there is no instance "{id}" of "{workflow}"'
    if lead:
        text += ". Create it first."
    else:
        unknown = f' No workflow "{workflow}" is registered with this engine.'
        text += (
            f' in namespace "{namespace}".{unknown if without_code else ""} Create it, or list() '
            "what there is."
        )
    return InstanceNotFound(text, workflow=workflow, id=id)


def _exists(code: str, data: Any, workflow: str, id: str) -> InstanceExists:
    """`data`: number and state of the one that is there; a body is not told them."""
    other = code == _core.SAME_ID_OTHER_PARAMS
    text = f'instance "{id}" of "{workflow}" already exists'
    if other:
        text += " with other params"
    if data is not None:
        text += f" ({STATUSES[data[1]].value})"
    advice = 'Pass if_exists="return", or another id.'
    if other or data is None:
        advice = "Pass another id."
    return InstanceExists(f"{text}. {advice}", workflow=workflow, id=id)


def _wrong_state(data: int | None, whose: str, only: str) -> InvalidState:
    """`data`: its state; a body is not told it."""
    if data is None:
        return InvalidState(f"{whose} has ended, and takes no events any more")
    status = STATUSES[data]
    if not status.is_final:
        return InvalidState(
            f"{whose} is {status.value}: {only}. Nothing was changed.", status=status
        )
    return InvalidState(
        f"{whose} is {status.value}: it has ended, and takes no events or decisions any more; "
        "there is nothing to pause, resume, retry, queue or terminate.",
        status=status,
    )


def _overloaded(data: tuple[str, int], workflow: str, id: str | None, waits: bool) -> Overloaded:
    limit, seconds = data[0], data[1] / 1e6
    if limit == _core.DISK:
        text = (
            "the disk of the store is full; nothing was created. Make room on it: the engine "
            f"resumes by itself. Try again in {seconds:.1f} s."
        )
    elif waits:
        text = (
            f'"{workflow}" can never let in a batch of that size as a whole: it is more than '
            f"its queue ({limit}) and all slots hold. Nothing was created. Split it, or raise "
            f"{limit}."
        )
    else:
        turn = (
            "under the same id: nobody without one is let in before you"
            if id
            else "and somebody else may be faster"
        )
        text = (
            f'"{workflow}" is at its limit of {limit}; nothing was created. Try again in '
            f"{seconds:.1f} s, {turn}. "
            'The sure way is on_overload="wait": it waits in the engine until it is let in.'
        )
    return Overloaded(text, retry_after=seconds, limit=limit)
