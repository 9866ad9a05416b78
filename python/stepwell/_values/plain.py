"""Plain values and their bytes: CBOR, written and read through `cbor2` (RFC 8949).

Plain is what needs no annotation: None, bool, int, float, str, bytes, list, tuple, dict, set,
frozenset, aware datetime, date, UUID and finite Decimal, of exactly these classes. Invariants: what
is written is of definite length and nested at most 64 deep, tags counted (cbor2 itself crashes the
process some thousand levels down), equal sets give equal bytes, and what is read makes no object
but those above: every other tag is refused, none imports or calls anything. docs/values.md has the
table of tags. This file does not know declared types.
"""

from __future__ import annotations

import json
from datetime import date, datetime
from decimal import Decimal
from types import NoneType
from typing import Any, NoReturn
from uuid import UUID

from cbor2 import CBORError, CBORTag
from cbor2 import dumps as _cbor_dumps
from cbor2 import loads as _cbor_loads

DEPTH_MAX = 64
_TAGS_MAX = 3
"""Levels the tags of one scalar take at most: a Decimal of many digits is a tag, a pair, and in it
a tagged number."""
DIGITS_MAX = 4_096
"""Of a Decimal: digits are turned from binary to decimal in time that grows with their square (a
million take minutes)."""

READY = frozenset({NoneType, bool, int, float, str, bytes, date, UUID})
"""Classes that are written as they are, whatever the value."""
_VOWELS = frozenset("aeioAEIO")
_KEYS = frozenset({bool, int, str, bytes, date, UUID})
_STR = frozenset({str})
_SET_TAG = 258
_FOLD_TAG = 49_495
"""Ours, named after PEP 495, around a datetime: it is the second one of its day that reads like
this (`fold=1`)."""


class Misfit(Exception):
    """A value that does not fit, on its way up through the places it is nested in."""

    def __init__(self, problem: str, advice: str = "", *, wanted: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.advice = advice
        self.wanted = wanted
        self.path: list[str] = []  # innermost first
        self.declare = ""  # the annotation under which the value would be stored
        self.says_all = False  # whether the problem says why it cannot become what is wanted

    def explained(self) -> Misfit:
        """Returns it, as one whose problem says why what is stored cannot become what is wanted."""
        self.says_all = True
        return self

    def place(self, root: str) -> str:
        return root + "".join(reversed(self.path))

    def came_through(self, container: type, key: object) -> None:
        """It is a member of this container, there."""
        self.path.append(item(key))
        if self.declare:
            forms: dict[type, str] = {
                list: "list[{}]",
                tuple: "tuple[{}, ...]",
                dict: f"dict[{type(key).__name__}, {{}}]",
            }
            self.declare = forms[container].format(self.declare)


def item(key: object) -> str:
    """Returns how a key or an index is written in a path: `[3]`, `["pages"]`."""
    return f"[{json.dumps(key, ensure_ascii=False) if isinstance(key, str) else shown(key, 80)}]"


def shown(value: object, width: int) -> str:
    """Returns the beginning of a value's repr, for a message, or why it has none."""
    try:
        return f"{value!r:.{width}}"
    except ValueError:  # an int, or a container of one, of more digits than Python writes
        return f"{type(value).__name__} too large to show"
    except Exception as error:  # a user's __repr__ may do anything
        return f"{type(value).__name__} whose __repr__ raised {type(error).__name__}"


def class_name(cls: type) -> str:
    """Returns a class's name as people know it: `dict`, `httpx.Response`, `Order`."""
    module = cls.__module__
    if module in ("builtins", "__main__") or "<locals>" in cls.__qualname__:
        return cls.__qualname__
    return f"{module}.{cls.__qualname__}"


def one(name: str) -> str:
    """Returns a class's name with its article: `an int`, `a httpx.Response`, `None`."""
    return "None" if name == "NoneType" else f"an {name}" if name[0] in _VOWELS else f"a {name}"


def clean(value: Any, left: int = DEPTH_MAX - _TAGS_MAX) -> bool:
    """Returns whether a container can be written as it is, without a copy: the usual case, and the
    hot path.

    False says nothing but that `ready` has to look.
    """
    cls = type(value)
    if left <= 0:
        return False
    if cls is dict:
        for key, inner in value.items():  # a generator costs more than all the rest
            if type(key) is not str or (type(inner) not in READY and not clean(inner, left - 1)):
                return False
        return True
    if cls is list or cls is tuple:
        if READY.issuperset(map(type, value)):
            return True
        return all(type(inner) in READY or clean(inner, left - 1) for inner in value)
    return False


def ready(value: Any, left: int = DEPTH_MAX) -> Any:
    """Returns what to give to cbor2 for a plain value; mostly the value itself.

    Args:
        value: The value.
        left: How many levels of containers may still follow.

    Raises:
        Misfit: It is not plain, or nested too deep.
    """
    if type(value) in READY or clean(value, left - _TAGS_MAX):
        return value
    return _ready(value, left)


def _ready(value: Any, left: int) -> Any:
    cls = type(value)
    if left < _TAGS_MAX and _tags(value) > left:
        _too_deep()
    if cls in READY:
        return value
    if cls is dict:
        return _ready_dict(value, left)
    if cls is list or cls is tuple:
        return _ready_list(value, left)
    if cls is set or cls is frozenset:
        return _ready_set(value, left)
    if cls is datetime:
        return folded(aware(value), value)
    if cls is Decimal:
        if value.is_finite():
            return writable(value)
        raise Misfit(f"is {value!r}", "Annotate it as Decimal, or pass as_type=")
    return _refuse(value)


def _ready_dict(value: dict[Any, Any], left: int) -> dict[Any, Any]:
    if not left:
        _too_deep()
    left -= 1
    for key in value:
        if type(key) is not str:
            _check_key(key, left)
    result = {}
    key = None
    try:
        for key, inner in value.items():
            result[key if type(key) is str else _ready_key(key)] = _ready(inner, left)
    except Misfit as misfit:
        misfit.came_through(dict, key)
        raise
    return result


def _check_key(key: object, left: int) -> None:
    cls = type(key)
    if left < _TAGS_MAX and _tags(key) > left:
        _too_deep()
    if cls in _KEYS or (cls is float and key == key):
        return
    if cls is float:
        raise Misfit("has NaN as a key, which can never be looked up")
    if cls is tuple:
        if not left:
            _too_deep()
        for part in key:  # type: ignore[attr-defined]
            _check_key(part, left - 1)
        return
    if cls is datetime:
        aware(key)  # type: ignore[arg-type]
        return
    raise Misfit(
        f"has {one(class_name(cls))} as a key", "Use str, int, bytes, UUID, date or tuples of them"
    )


def _ready_key(key: Any) -> Any:
    if type(key) is datetime:
        return folded(key, key)
    return tuple(map(_ready_key, key)) if type(key) is tuple else key


def _ready_list(value: list[Any] | tuple[Any, ...], left: int) -> list[Any]:
    if not left:
        _too_deep()
    left -= 1
    result: list[Any] = []
    try:
        for inner in value:
            result.append(_ready(inner, left))
    except Misfit as misfit:
        misfit.came_through(type(value), len(result))
        raise
    return result


def _ready_set(value: set[Any] | frozenset[Any], left: int) -> CBORTag:
    if left < 2:  # a tag and an array
        _too_deep()
    return CBORTag(_SET_TAG, in_order([_ready(inner, left - 2) for inner in value]))


def _tags(value: object) -> int:
    """Returns how many levels the tags of a scalar take: whoever reads counts them as it counts
    containers."""
    cls = type(value)
    if cls is int:
        return 0 if -(1 << 64) <= value < 1 << 64 else 1  # type: ignore[operator]
    if cls is Decimal:
        return 2 if len(value.as_tuple().digits) < 20 else _TAGS_MAX  # type: ignore[attr-defined]
    if cls is datetime:
        return 1 + int(value.fold)  # type: ignore[attr-defined]
    return 1 if cls is date or cls is UUID else 0


def in_order(members: list[Any]) -> list[Any]:
    """Returns a set's members in the order of their bytes: hash order differs from process to
    process."""
    try:
        return sorted(members, key=_cbor_dumps)
    except UnicodeEncodeError:
        return members  # `dumps` will say where


def aware(value: datetime) -> datetime:
    """Returns an aware datetime whose offset CBOR can carry. Raises Misfit for others."""
    offset = value.utcoffset()
    if offset is None:
        raise Misfit(
            "is a datetime without timezone",
            "Give it one (datetime.now(UTC)), annotate it, or pass as_type=",
        )
    if offset.microseconds or offset.seconds % 60:
        raise Misfit(
            "is a datetime whose UTC offset is not in whole minutes",
            "Convert it with .astimezone(UTC)",
        )
    return value


def folded(stored: Any, value: datetime) -> Any:
    """Returns what is stored for a datetime, with its `fold`."""
    return CBORTag(_FOLD_TAG, stored) if value.fold else stored


def writable(value: Decimal) -> Decimal:
    """Returns a finite Decimal that can be read back in no time. Raises Misfit for others."""
    _, digits, _ = value.as_tuple()
    if len(digits) > DIGITS_MAX:
        raise Misfit(
            f"is a Decimal of {len(digits):,} digits, more than {DIGITS_MAX:,}",
            "Store it as text, or round it",
        )
    return value


def _too_deep() -> NoReturn:
    raise Misfit(f"is nested more than {DEPTH_MAX} levels deep, or contains itself")


def _refuse(value: object) -> NoReturn:
    cls = type(value)
    name = class_name(cls)
    if (
        hasattr(cls, "__dataclass_fields__")
        or hasattr(cls, "__attrs_attrs__")
        or hasattr(cls, "model_fields")
    ):
        misfit = Misfit(f"is {one(name)}")
        misfit.declare = cls.__name__
        raise misfit
    for base in (
        bool,
        int,
        float,
        str,
        bytes,
        dict,
        list,
        tuple,
        set,
        frozenset,
        datetime,
        date,
        Decimal,
        UUID,
    ):
        if isinstance(value, base):
            raise Misfit(
                f"is {one(name)}, a subclass of {base.__name__} that would not come back as itself",
                f"Annotate it as {cls.__name__}, or convert it with {base.__name__}(...)",
            )
    raise Misfit(f"is {one(name)}")


def deeper_than(value: object, left: int) -> bool:
    """Returns whether what is about to be written is nested more than `left` levels, tags
    counted."""
    if isinstance(value, CBORTag):
        return not left or deeper_than(value.value, left - 1)
    if isinstance(value, dict):
        keys = (key for key in value if type(key) is not str)
        return (
            not left
            or any(deeper_than(inner, left - 1) for inner in value.values())
            or any(deeper_than(key, left - 1) for key in keys)
        )
    if isinstance(value, (list, tuple)):
        return not left or any(deeper_than(inner, left - 1) for inner in value)
    return left < _TAGS_MAX and _tags(value) > left


def dumps(value: Any) -> bytes:
    """Returns the bytes of a value that `ready` or a declared type has prepared.

    Raises:
        Misfit: A str in it has lone surrogates, which no UTF-8 can carry.
    """
    try:
        return _cbor_dumps(value)
    except UnicodeEncodeError:
        _find_surrogate(value)
        raise
    except CBORError as error:
        raise Misfit(f"cannot be written: {error}") from None


def _find_surrogate(value: Any) -> None:
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise Misfit(
                f"has a lone surrogate at character {error.start}",
                'Decode the bytes it came from without "surrogateescape"',
            ) from None
    elif isinstance(value, CBORTag):
        _find_surrogate(value.value)
    elif isinstance(value, (dict, list, tuple)):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            try:
                _find_surrogate(key)
                _find_surrogate(inner)
            except Misfit as misfit:
                misfit.path.append(item(key))
                raise


class _Refused(Exception):
    pass


def _refuse_tag(*_: object) -> NoReturn:
    raise _Refused


# What cbor2 reads by itself and we never write: epoch times, bigfloats, string and value
# references, rationals, regular expressions, e-mails, IP addresses, days, complex numbers. A test
# goes through all tags, so a newer cbor2 adds none unseen.
_REFUSED_TAGS: dict[int, Any] = dict.fromkeys(
    (1, 5, 25, 28, 29, 30, 35, 36, 52, 54, 100, 256, 260, 261, 43000, 55799), _refuse_tag
)


_DECIMAL = b"\xc4\x82"
"""The tag of a Decimal, and the head of the pair that follows it."""


def _read_decimal(parts: Any, *_: object) -> Decimal:
    """As cbor2 does it, but for the time it takes."""
    exponent, mantissa = parts
    if (
        type(exponent) is not int
        or type(mantissa) is not int
        or mantissa.bit_length() > 4 * DIGITS_MAX
    ):
        raise _Refused
    return Decimal(f"{mantissa}E{exponent}")


def _read_folded(stored: Any, *_: object) -> datetime:
    if type(stored) is str:  # naive: a declared type only
        stored = datetime.fromisoformat(stored)
    if type(stored) is not datetime or stored.fold:
        raise _Refused
    return stored.replace(fold=1)


_READ: dict[int, Any] = {**_REFUSED_TAGS, _FOLD_TAG: _read_folded}
_CAREFUL: dict[int, Any] = {**_READ, 4: _read_decimal}


def loads(data: bytes) -> Any:
    """Returns the plain value these bytes stand for. What follows it is not looked at: the store's
    checksums see to that.

    Raises:
        Misfit: They are not one CBOR item of those we write.
    """
    # In few bytes no Decimal is too long, and cbor2's own reader is the faster one.
    careful = len(data) > DIGITS_MAX and _DECIMAL in data
    try:
        return _cbor_loads(
            data,
            max_depth=DEPTH_MAX,
            allow_indefinite=False,
            semantic_decoders=_CAREFUL if careful else _READ,
            tag_hook=_refuse_tag,
        )
    except (
        CBORError,
        ValueError,
        TypeError,
        ArithmeticError,
        RecursionError,
        MemoryError,
    ) as error:
        size = "1 byte that is" if len(data) == 1 else f"{len(data):,} bytes that are"
        raise Misfit(f"is {size} not a stored value ({error!s:.200})") from None
