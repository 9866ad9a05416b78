"""An instance as plain data, to be kept in a file: what it began with, and what is recorded of it.

That is all that a replay of its body needs, so a history that was exported shows whether other code
still fits it (`stepwell.testing.check_replay`). Values are as they are stored, in base64; of steps
that are `sensitive` there is how large they were and nothing else. In which trace a value was
given is of no use elsewhere, and left out.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from .._core import ABANDONED, ATTEMPT_FAILED, ERASED, GAVE_UP, INTERRUPTED, UNDO
from .._errors import InvalidConfig
from .._replay import Recorded
from .._types import Status
from .._values.envelope import is_hidden, without_trace
from .._values.hidden import without_hidden

if TYPE_CHECKING:
    from .look import Look

VERSION = 1
"""Of what this writes; what reads it takes no other."""
_FIELDS = Recorded._fields
_KEPT = ("namespace", "workflow", "version", "id", "created_at", "seed", "format", "born")
"""What of a look goes into an export under its own name."""


def export(look: Look, records: list[Recorded]) -> dict[str, Any]:
    """Returns an instance as data that JSON has."""
    return {
        "stepwell_export": VERSION,
        **{name: getattr(look, name) for name in _KEPT},
        "status": look.status.value,
        "params": _text(without_trace(look.params)),
        "output": _text(look.result) if look.status is Status.COMPLETE else None,
        "attributes": _text(look.attributes),
        "waits": [
            {"operation": list(it.identity), "opened_at": it.opened_at, "until": it.until}
            for it in look.open_waits
        ],
        "history": [_record(it) for it in records],
    }


_IN_PARTS = (ABANDONED, ATTEMPT_FAILED, ERASED, GAVE_UP, INTERRUPTED)
"""Verdicts whose payload says several things, of which some may be hidden."""


def _record(record: Recorded) -> dict[str, Any]:
    line: dict[str, Any] = dict(zip(_FIELDS, record, strict=True))
    payload = without_trace(record.payload)
    if payload is not None and is_hidden(payload):
        return line | {"payload": None, "hidden_bytes": len(payload)}
    if payload is not None and record.verdict in _IN_PARTS:
        payload = without_hidden(payload)
    return line | {"payload": _text(payload)}


def start_of(exported: Any, where: str) -> tuple[tuple[Any, ...], Status]:
    """Returns what a body is started with, of an instance that was exported, and its state then.
    What is recorded from the undoing of its steps on is not for its body, and is left out.

    Raises:
        InvalidConfig: That is none.
    """
    try:
        if exported["stepwell_export"] != VERSION:
            raise ValueError(f"it is of version {exported['stepwell_export']}, not {VERSION}")
        records = tuple(
            (*(line[name] for name in _FIELDS[:-1]), _bytes(line["payload"]))
            for line in takewhile(lambda it: it["kind"] != UNDO, exported["history"])
        )
        waits = tuple(
            (number, *it["operation"], it["opened_at"], it["until"])
            for number, it in enumerate(exported["waits"], 1)
            if it["operation"][0] != UNDO
        )
        names = (exported["namespace"], exported["workflow"], exported["version"], exported["id"])
        start = (
            0, 0, *names, _bytes(exported["params"]), _bytes(exported["attributes"]),
            exported["created_at"], None, exported["format"], False, records, waits,
            exported["seed"], None, exported.get("born"), (),
        )  # fmt: skip
        status = Status(exported["status"])
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidConfig(
            f"{where} is no export of an instance ({type(error).__name__}: {error}). Give what "
            "`await instance.export()` returned, also after a round through JSON."
        ) from None
    return start, status


def _text(payload: bytes | None) -> str | None:
    return None if payload is None else b64encode(payload).decode()


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else b64decode(text, validate=True)
