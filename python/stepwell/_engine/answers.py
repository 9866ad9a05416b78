"""What the core answers, as the values of the public API; its refusals are in `_codes`."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any, Literal

from .._core import (
    CORRUPT,
    GAVE_UP,
    LIMIT,
    MISSING_CODE,
    NOT_FOUND,
    OK,
    SAVED,
    STATE,
    UNDO,
)
from .._errors import ErrorInfo, InvalidConfig, InvalidPayload
from .._replay import Identity, Recorded
from .._types import (
    STATUSES,
    AuditRow,
    Bulk,
    InstanceStatus,
    InstanceSummary,
    ReasonCount,
    Status,
    UndoStatus,
)
from .._values.codec import ENCODED, Plan, Undecodable, as_plain, codec
from .._values.durations import from_us
from .._values.envelope import is_hidden, redacted
from .._values.failures import error_info
from .desk import Audited, BulkRow
from .look import Look

_CURSOR = re.compile(r"([0-9a-f]{1,16})-([0-9a-f]{12})", re.ASCII)
_PLAIN = codec.plan()
_WITH_ERROR = frozenset({Status.ERRORED, Status.TERMINATED, Status.BLOCKED})


def state_codes(status: Any) -> list[int]:
    if status is None:
        return []
    if not isinstance(status, str) and not isinstance(status, Iterable):
        raise InvalidConfig(
            f"status={status!r:.120} is no state; give one, or several in a list: "
            f"{', '.join(STATUSES)}."
        )
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


class Cursors:
    """Cursors of one listing: where it stands, and, so that none is taken for another's, what it
    asks for.

    Args:
        asked: All that decides which rows there are, and in which order.
    """

    def __init__(self, *asked: Any) -> None:
        self._mark = hashlib.blake2s(repr(asked).encode(), digest_size=6).hexdigest()

    def make(self, number: int) -> str:
        """Returns the cursor of a page that ends with this number."""
        return f"{number:x}-{self._mark}"

    def read(self, cursor: str | None) -> int | None:
        """Returns the number at which the page before ended.

        Raises:
            InvalidConfig: It is no cursor, or one of another listing.
        """
        if cursor is None:
            return None
        found = _CURSOR.fullmatch(cursor) if isinstance(cursor, str) else None
        if found is None:
            raise InvalidConfig(f"cursor is {cursor!r:.120}; pass the .cursor of the page before.")
        if found[2] != self._mark:
            raise InvalidConfig(
                f"cursor {cursor!r} is of another listing. Pass the filters and the order that its "
                "page was asked with, or leave the cursor out to begin anew."
            )
        return int(found[1], 16)


class Telling:
    """Reads what is stored of one instance, for an answer that comes whatever that is: what cannot
    be read is told as its error."""

    def __init__(self, workflow: str, id: str) -> None:
        self._whose = (workflow, id)
        self.error: ErrorInfo | None = None
        """Why something could not be read: the first such thing."""

    def value(self, data: bytes | None, where: str, plan: Plan = _PLAIN) -> Any:
        """Returns what these bytes stand for, or how many there are if they are hidden; None also
        where they cannot be read."""
        if data is not None and is_hidden(data):
            return redacted(data)
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
    if what == "output" and error.stored != ENCODED:
        cure = (
            "until then result() raises InvalidPayload, whose payload is the output as plain data"
        )
        text += f'. Restore the type that "{workflow}" returns; {cure}'
    return InvalidPayload(f"{text}.", payload=as_plain(data))


def reason(
    workflow: str | None,
    version: str | None,
    status: int | None,
    code: str,
    step: str | None,
    error_type: str | None,
    count: int,
    since: int | None,
    next: int | None,
    example_id: str | None,
) -> ReasonCount:
    return ReasonCount(
        workflow,
        version,
        None if status is None else STATUSES[status],
        code,
        step,
        error_type,
        count,
        None if since is None else from_us(since),
        None if next is None else from_us(next),
        example_id,
    )


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


def audit_row(it: Audited) -> AuditRow:
    return AuditRow(
        from_us(it.at), it.actor, it.operation, it.workflow, it.id, it.filter, it.note, it.result
    )


_ERRORS = {
    STATE: "InvalidState", NOT_FOUND: "InstanceNotFound", MISSING_CODE: "InvalidState",
    LIMIT: "LimitReached", CORRUPT: "StoreCorrupt",
}  # fmt: skip


def unreadable_bulk(number: int, why: str) -> BulkRow:
    """Returns what stands in a list for one that cannot be read."""
    return BulkRow(
        number, "", "", None, f"it cannot be read: {why}", None, None, 0, b"", 0, 0, [], True, 0, 0
    )


def bulk_of(it: BulkRow) -> Bulk:
    what = as_plain(it.what)
    ended: Literal["stopped", "ended"] = "stopped" if it.stopped else "ended"
    errors: Counter[str] = Counter()
    for code, count in it.failed:
        errors[_ERRORS.get(code, code)] += count
    return Bulk(
        str(it.number), it.operation, it.workflow, it.filter,
        "running" if it.ended_at is None else ended, it.done, dict(errors),
        what["rate"] if isinstance(what, dict) else None, it.actor, it.note, from_us(it.began_at),
        None if it.ended_at is None else from_us(it.ended_at),
    )  # fmt: skip


def undoing_of(look: Look, records: list[Recorded]) -> UndoStatus | None:
    """Returns how far the undoing of an instance's steps is, by its history."""
    if look.undo is None:
        return None
    telling = Telling(look.workflow, look.id)
    undos = [it for it in records if it.kind == UNDO]
    named = [it for it in undos if it.name]
    planned = next((it.payload for it in undos if it.verdict == SAVED and not it.name), None)
    told = telling.value(planned, "number of steps to undo")
    known: dict[str, Any] = told if isinstance(told, dict) else {}
    last = named[-1] if named else None
    is_open = last is not None and last.verdict != OK
    return UndoStatus(
        look.undo,
        last.name if last is not None and is_open else None,
        telling.failure(last.payload) if last is not None and last.verdict == GAVE_UP else None,
        sum(it.verdict == OK for it in named),
        known.get("steps"),
        tuple(known.get("left", ())),
    )


def standing_of(look: Look, output: Plan, undo: UndoStatus | None) -> InstanceStatus:
    """Returns where an instance stands. `output`: how its workflow's output is stored."""
    telling = Telling(look.workflow, look.id)
    given = telling.value(look.result, "output", output) if look.status is Status.COMPLETE else None
    progress = telling.value(look.progress, "report")
    error = telling.failure(look.result) if look.status in _WITH_ERROR else None
    return InstanceStatus(
        look.status, given, error or telling.error, progress, undo, from_us(look.created_at),
        None if look.started_at is None else from_us(look.started_at),
        None if look.ended_at is None else from_us(look.ended_at),
        look.waiting_on, look.version,
    )  # fmt: skip


def faults_in(look: Look) -> list[Identity]:
    """Returns the operations whose outcomes ended the body of an instance that is blocked for
    that."""
    try:
        told = [tuple(it) for it in codec.decode(look.result or b"").get("faults", ())]
        return [(kind, branch, name, key, count) for kind, branch, name, key, count in told]
    except (Undecodable, AttributeError, TypeError, ValueError):
        return []


def error_in(look: Look) -> ErrorInfo | None:
    return (
        Telling(look.workflow, look.id).failure(look.result) if look.status in _WITH_ERROR else None
    )
