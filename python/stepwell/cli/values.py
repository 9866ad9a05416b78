"""Values of users as JSON, both ways, and the rows of answers as plain data.

What JSON has not is written as `{"$": kind, "value": …}`: datetime, date, time, duration, decimal,
bytes (base64), uuid, set, float (nan and infinities), int (beyond 2^53), and map, a dict whose keys
are no strings or that has a key "$". What is read back from that is the same value.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import math
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

_SAFE = 2**53
VALUES = frozenset({"output", "progress", "detail", "params", "payload", "metadata", "value"})
"""Fields of answers that hold values of users."""


def value_json(value: Any) -> Any:
    """Returns a value of a user as JSON has it."""
    if value is None or isinstance(value, str | bool):
        return value
    for kind, (cls, write) in _KINDS.items():
        if isinstance(value, cls) and not (kind == "date" and isinstance(value, datetime)):
            return {"$": kind, "value": write(value)}
    if isinstance(value, int):
        return value if abs(value) <= _SAFE else {"$": "int", "value": str(value)}
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$": "float", "value": str(value)}
    if isinstance(value, Mapping):
        if "$" not in value and all(isinstance(key, str) for key in value):
            return {key: value_json(it) for key, it in value.items()}
        return {
            "$": "map",
            "value": [[value_json(key), value_json(it)] for key, it in value.items()],
        }
    if isinstance(value, list | tuple):
        return [value_json(it) for it in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {it.name: getattr(value, it.name) for it in dataclasses.fields(value)}
        return {"$": type(value).__name__.lower(), **fields}  # such as `Redacted`
    return {"$": type(value).__name__, "value": str(value)}


_KINDS: dict[str, tuple[Any, Callable[[Any], Any]]] = {
    "datetime": (datetime, datetime.isoformat),
    "date": (date, date.isoformat),
    "time": (time, time.isoformat),
    "duration": (timedelta, timedelta.total_seconds),
    "decimal": (Decimal, str),
    "bytes": (bytes, lambda it: base64.b64encode(it).decode()),
    "uuid": (uuid.UUID, str),
    "set": (set | frozenset, lambda it: sorted(map(value_json, it), key=json.dumps)),
}
"""What JSON has not, and how it is written."""


def value_of(read: Any) -> Any:
    """Returns the value that JSON stands for.

    Raises:
        ValueError: It has a number that JSON has not, or a `$` that is none, or that does not fit
            what it is about.
    """
    if isinstance(read, float) and not math.isfinite(read):
        raise ValueError(
            'no number is NaN or so large; write {"$": "float", "value": "nan"}, or inf'
        )
    if isinstance(read, list):
        return [value_of(it) for it in read]
    if not isinstance(read, dict):
        return read
    if "$" not in read:
        return {key: value_of(it) for key, it in read.items()}
    kind: Any = read["$"]
    if read.keys() != {"$", "value"}:
        raise ValueError('what has a "$" has a "value" beside it, and nothing more')
    if not isinstance(kind, str) or kind not in _READ:
        raise ValueError(f"{kind!r:.40} is no kind; there are {', '.join(_READ)}")
    of, made = _READ[kind]
    value: Any = read["value"]
    if isinstance(value, list):  # of values, which have faults of their own
        value = value_of(value)
    if isinstance(value, of) and not isinstance(value, bool):
        try:
            return made(value)
        except (ValueError, TypeError, ArithmeticError):  # a set of lists is a TypeError
            pass
    raise ValueError(f"{value!r:.80} is no {kind}")


_READ: dict[str, tuple[Any, Callable[[Any], Any]]] = {
    "datetime": (str, datetime.fromisoformat),
    "date": (str, date.fromisoformat),
    "time": (str, time.fromisoformat),
    "duration": (int | float, lambda it: timedelta(seconds=it)),
    "decimal": (str, Decimal),
    "bytes": (str, partial(base64.b64decode, validate=True)),
    "uuid": (str, uuid.UUID),
    "set": (list, set),
    "int": (str, int),
    "float": (str, float),
    "map": (list, lambda it: dict(map(_pair, it))),
}
"""What the value of a kind is in JSON, and how it is read."""


def _pair(it: Any) -> tuple[Any, Any]:
    if not isinstance(it, list):
        raise TypeError("a pair is a list")
    key, value = it
    return key, value


def plain(row: Any) -> Any:
    """Returns a row of an answer, or what is in one, as JSON has it."""
    fields = fields_of(row)
    if fields is not None:
        return {
            name: value_json(it) if name in VALUES else plain(it) for name, it in fields.items()
        }
    if isinstance(row, datetime):
        return row.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(row, timedelta):
        return row.total_seconds()
    if isinstance(row, BaseException):
        return {"type": type(row).__name__, "message": str(row)}
    if isinstance(row, str):
        return str(row)
    if isinstance(row, Mapping):
        return {str(key): plain(it) for key, it in row.items()}
    if isinstance(row, list | tuple | set | frozenset):
        return [plain(it) for it in row]
    return value_json(row)


def fields_of(row: Any) -> dict[str, Any] | None:
    """Returns what a row has, by name; None: it is no row."""
    if isinstance(row, Row):
        return row
    names: Any = getattr(row, "_fields", None)
    if names is not None:
        return dict(zip(names, row, strict=True))
    if dataclasses.is_dataclass(row) and not isinstance(row, type):
        return {it.name: getattr(row, it.name) for it in dataclasses.fields(row)}
    return None


class Row(dict[str, Any]):
    """A row that is no class of the API: an instance's address, say.

    Attributes:
        of: What it is, for its columns.
    """

    def __init__(self, of: str, **fields: Any) -> None:
        super().__init__(fields)
        self.of = of
