"""Values of steps that are `sensitive`: bodies get them, and nobody else is shown them.

They are stored in an envelope. What is said of one that cannot be stored, or read, says where in
it, and not what stands there.
"""

from __future__ import annotations

from typing import Any

from .._errors import NotSerializable
from .._types import Large, Redacted
from .codec import VALUE_BYTES_MAX, Plan, Undecodable, codec
from .envelope import hide, is_hidden, redacted, uncovered
from .hints import type_name
from .payloads import reference

_MEMBERS = ("args", "builtin", "fields")
"""What a recorded failure has of an exception besides texts."""
_HIDDEN = "hidden"


class HiddenPlan(Plan):
    """As another plan, for values that are hidden."""

    __slots__ = ()

    def __init__(self, plan: Plan) -> None:
        for name in Plan.__slots__:
            setattr(self, name, getattr(plan, name))

    def encode(self, value: Any, where: str = "result", limit: int = VALUE_BYTES_MAX) -> bytes:
        """As `Plan.encode`."""
        try:
            return hide(super().encode(value, where, limit))
        except NotSerializable as error:
            place = error.path
        # outside of the handler: its exception says what stands there
        problem = (
            f"cannot be stored as {type_name(self.type)}" if self.is_typed else "is not plain data"
        )
        raise NotSerializable(
            f"{place} {problem}; what stands there is not shown, because the step is sensitive. "
            "Return what its annotation says, or plain data.",
            path=place,
        )

    def decode(self, data: bytes, where: str = "result") -> Any:
        """As `Plan.decode`."""
        try:
            return super().decode(uncovered(data), where)
        except Undecodable as error:
            place, wanted = error.path, error.wanted
        raise Undecodable(
            f"{place} cannot become {wanted}; what is stored is not shown, because the step is "
            "sensitive",
            path=place,
            stored="stored",
            wanted=wanted,
        )


def told(data: bytes) -> Any:
    """Returns what everybody may be told of these bytes: what they stand for as plain data, or, if
    they are hidden or lie in a payload store, how many there are.

    Raises:
        Undecodable: They stand for nothing.
    """
    lies_elsewhere = reference(data)
    if lies_elsewhere is not None:
        shown = Redacted if lies_elsewhere.is_hidden else Large
        return shown(lies_elsewhere.size)
    return redacted(data) if is_hidden(data) else codec.decode(data)


def hide_members(record: dict[str, Any]) -> dict[str, Any]:
    """Returns a recorded failure of which all but the class and the texts is hidden; it says so
    also if there is nothing else, for by that a step is known to be sensitive."""
    members = {name: record.pop(name) for name in _MEMBERS if name in record}
    return {**record, _HIDDEN: hide(codec.encode(members))}


def hides(data: bytes) -> bool:
    """Whether this is hidden, or a recorded failure or another part of an attempt that has
    something hidden in it."""
    if is_hidden(data):
        return True
    try:
        record = codec.decode(data)
    except Undecodable:
        return False
    if not isinstance(record, dict):
        return False
    error = record.get("error")
    parts = (*record.values(), *(error.values() if isinstance(error, dict) else ()))
    return any(isinstance(part, bytes) and is_hidden(part) for part in parts)


def with_members(record: Any) -> Any:
    """Returns a recorded failure as it was before that.

    Raises:
        Undecodable: What is hidden cannot be read.
    """
    if isinstance(record, dict) and isinstance(hidden := record.get(_HIDDEN), bytes):
        return {**record, **codec.decode(uncovered(hidden))}
    return record


def without_hidden(data: bytes) -> bytes:
    """Returns a recorded failure, or what else of an attempt is told in parts, without those that
    are hidden."""
    try:
        record = codec.decode(data)
    except Undecodable:
        return data
    if not isinstance(record, dict):
        return data
    if isinstance(error := record.get("error"), dict):
        record["error"] = _shown_parts(error)
    return codec.encode(_shown_parts(record), limit=len(data))


def _shown_parts(record: dict[str, Any]) -> dict[str, Any]:
    return {
        name: part
        for name, part in record.items()
        if not (isinstance(part, bytes) and is_hidden(part))
    }
