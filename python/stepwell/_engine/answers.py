"""What the core answers, as the values and errors of the public API."""

from __future__ import annotations

from typing import Any

from .._errors import (
    EngineClosed,
    ErrorInfo,
    InstanceExists,
    InstanceNotFound,
    InternalError,
    InvalidConfig,
    InvalidPayload,
    InvalidState,
    LimitReached,
    Overloaded,
    StepwellError,
    StoreCorrupt,
    StoreFailed,
    StoreLocked,
    StoreVersion,
)
from .._types import STATUSES, InstanceStatus, InstanceSummary, Status
from .._values.codec import Plan, Undecodable, as_plain, codec
from .._values.durations import from_us
from .._values.failures import error_info
from .look import Look

_PLAIN = codec.plan()
_WITH_ERROR = frozenset({Status.ERRORED, Status.TERMINATED, Status.BLOCKED})

OTHER_PARAMS = "same_id_other_params"

STORE_ERRORS: dict[str, type[StepwellError]] = {
    "locked": StoreLocked,
    "version": StoreVersion,
    "failed": StoreFailed,
    "corrupt": StoreCorrupt,
    "invalid": InvalidConfig,
    "closed": EngineClosed,
    "internal": InternalError,
}


def error_of(
    code: str, data: Any, workflow: str, id: str | None, namespace: str, *, waits: bool = False
) -> StepwellError:
    """Returns the core's refusal as an error. `waits`: whether the call would have waited for what
    could ever be let in."""
    if code == "not_found":
        return not_found(workflow, id or "", namespace)
    if code in ("exists", OTHER_PARAMS):
        status = STATUSES[data[1]].value
        other = " with other params" if code != "exists" else ""
        advice = "Pass another id." if other else 'Pass if_exists="return", or another id.'
        return InstanceExists(
            f'instance "{id}" of "{workflow}" already exists{other} ({status}). {advice}',
            workflow=workflow,
            id=id or "",
        )
    if code == "state":
        status = STATUSES[data]
        return InvalidState(
            f'instance "{id}" of "{workflow}" is {status.value}: it has ended, and takes no events '
            "or decisions any more; there is nothing to resume, retry or terminate.",
            status=status,
        )
    if code == "missing_code":
        return InvalidState(str(data), status=Status.BLOCKED)
    if code == "overloaded":
        limit, retry_after = data
        if limit == "disk":
            return Overloaded(
                "the disk of the store is full; nothing was created. Make room on it: the engine "
                f"resumes by itself. Try again in {retry_after / 1e6:.1f} s.",
                retry_after=retry_after / 1e6, limit=limit,
            )  # fmt: skip
        if waits:
            return Overloaded(
                f'"{workflow}" can never let in a batch of that size as a whole: it is more than '
                f"its queue ({limit}) and all slots hold. Nothing was created. Split it, or raise "
                f"{limit}.",
                retry_after=retry_after / 1e6, limit=limit,
            )  # fmt: skip
        turn = (
            ("under the same id: nobody without one is let in before you")
            if id
            else "and somebody else may be faster"
        )
        return Overloaded(
            f'"{workflow}" is at its limit of {limit}; nothing was created. Try again in '
            f'{retry_after / 1e6:.1f} s, {turn}. '
            'The sure way is on_overload="wait": it waits in the engine until it is let in.',
            retry_after=retry_after / 1e6, limit=limit,
        )  # fmt: skip
    if code == "drains":
        return EngineClosed(
            "the engine drains and lets nothing in any more; nothing was created. "
            "Open a new one on the same store."
        )
    if code == "limit":
        return LimitReached(
            f'instance "{id}" of "{workflow}" is at its limit of {data[1]:,} {data[0]}',
            limit=data[0],
            value=data[1],
        )
    if code == "closed":
        return EngineClosed("the engine is closed. Open a new one on the same store.")
    if code == "corrupt" and not isinstance(data, str):  # an item of a batch
        return StoreCorrupt(
            f'the params of instance "{id}" of "{workflow}" are damaged, so they '
            "cannot be compared. Pass another id."
        )
    if code in ("corrupt", "invalid"):
        return STORE_ERRORS[code](str(data))
    return (
        StoreFailed(str(data))
        if code == "store"
        else InternalError(f"the core answered {code!r}: {data!r}")
    )


def state_codes(status: Any) -> list[int]:
    if status is None:
        return []
    try:
        codes = [
            STATUSES.index(Status(item))
            for item in ([status] if isinstance(status, str) else status)
        ]
    except (TypeError, ValueError) as error:
        raise InvalidConfig(
            f"status={status!r:.120} is none: {error}; the states are {', '.join(STATUSES)}."
        ) from None
    if not codes:
        raise InvalidConfig(
            f"status={status!r:.120} names no state; leave it out for instances in any."
        )
    return codes


def from_cursor(cursor: str | None) -> int | None:
    if cursor is None:
        return None
    if not (
        isinstance(cursor, str)
        and cursor.isascii()
        and cursor.isdigit()
        and len(cursor) <= 20
        and int(cursor) < 1 << 64
    ):
        raise InvalidConfig(f"cursor is {cursor!r}; pass the .cursor of the page before.")
    return int(cursor)


class Telling:
    """Reads what is stored of one instance, for an answer that comes whatever that is: what cannot
    be read is told as its error."""

    def __init__(self, workflow: str, id: str) -> None:
        self._whose = (workflow, id)
        self.error: ErrorInfo | None = None
        """Why something could not be read: the first such thing."""

    def value(self, data: bytes | None, where: str, plan: Plan = _PLAIN) -> Any:
        """Returns what these bytes stand for; None also where they cannot be read."""
        try:
            return None if data is None else plan.decode(data, where)
        except Undecodable as error:
            self._cannot(unreadable(*self._whose, where, error, data))
        return None

    def failure(self, data: bytes | None) -> ErrorInfo | None:
        """Returns the failure that is recorded in these bytes."""
        try:
            return None if data is None else error_info(codec.decode(data))
        except Undecodable as error:
            self._cannot(unreadable(*self._whose, "failure", error, data))
        return self.error

    def _cannot(self, why: InvalidPayload) -> None:
        self.error = self.error or ErrorInfo("stepwell.InvalidPayload", str(why))


def unreadable(
    workflow: str, id: str, what: str, error: Undecodable, data: bytes | None
) -> InvalidPayload:
    """Something that is stored of an instance cannot become what it should (D7)."""
    text = f"the {what} of {workflow}/{id} cannot be read: {error}"
    if what == "output":
        cure = (
            "until then result() raises InvalidPayload, whose payload is the output as plain data"
        )
        text += f'. Restore the type that "{workflow}" returns; {cure}'
    return InvalidPayload(f"{text}.", payload=as_plain(data))


def summary(it: Look) -> InstanceSummary:
    telling = Telling(it.workflow, it.id)
    progress, attributes = (
        telling.value(it.progress, "report"),
        telling.value(it.attributes, "attributes") or {},
    )
    error = telling.failure(it.result)  # also of a state without one, if it is damaged
    return InstanceSummary(
        it.id, it.workflow, it.version, it.status, it.reason, progress, it.waiting_on,
        error or telling.error, attributes,
        from_us(it.created_at), from_us(it.updated_at),
    )  # fmt: skip


def standing_of(look: Look, output: Plan) -> InstanceStatus:
    """Returns where an instance stands. `output`: how its workflow's output is stored."""
    telling = Telling(look.workflow, look.id)
    given = telling.value(look.result, "output", output) if look.status is Status.COMPLETE else None
    progress = telling.value(look.progress, "report")
    error = telling.failure(look.result) if look.status in _WITH_ERROR else None
    return InstanceStatus(
        look.status, given, error or telling.error, progress, None, from_us(look.created_at),
        None if look.started_at is None else from_us(look.started_at),
        None if look.ended_at is None else from_us(look.ended_at),
        look.waiting_on, look.version,
    )  # fmt: skip


def error_in(look: Look) -> ErrorInfo | None:
    return (
        Telling(look.workflow, look.id).failure(look.result) if look.status in _WITH_ERROR else None
    )


def not_found(
    workflow: str, id: str, namespace: str, *, without_code: bool = False
) -> InstanceNotFound:
    unknown = f' No workflow "{workflow}" is registered with this engine.' if without_code else ""
    return InstanceNotFound(
        f'there is no instance "{id}" of "{workflow}" in namespace "{namespace}".{unknown} Create '
        'it, or list() what there is.',
        workflow=workflow, id=id,
    )  # fmt: skip


def store_error(error: Exception) -> StepwellError:
    kind, message = error.args
    return STORE_ERRORS.get(kind, InternalError)(message)
