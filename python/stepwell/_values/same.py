"""Whether two values that are stored in other bytes are the same all the same.

Keys of a dict have no order, an instant has many offsets, and a declared float may have been given
as an int. Both are read as the declared type and written again, so that what is left to compare is
plain data; no code of the value's own class says what is equal.
"""

from __future__ import annotations

from typing import Any

from .._errors import NotSerializable, TooLarge
from .codec import Plan, Undecodable
from .envelope import without_trace
from .plain import loads

_ANY_SIZE = 1 << 62


def same(plan: Plan, one: bytes | None, other: bytes | None) -> bool:
    """Whether two stored values are the same as this type. One that cannot become it is the same as
    none but itself. In which trace they were given makes no difference."""
    one, other = without_trace(one), without_trace(other)
    if one is None or other is None:
        return one is other
    try:
        return _alike(_plain(plan, one), _plain(plan, other), plan.is_typed)
    except (Undecodable, NotSerializable, TooLarge):
        return one == other


def _plain(plan: Plan, data: bytes) -> Any:
    return loads(plan.encode(plan.decode(data), limit=_ANY_SIZE))


def _alike(one: Any, other: Any, is_typed: bool) -> bool:
    """Whether two plain values are the same. `is_typed`: an int stands for a float where a type is
    declared, which says that it is one."""
    if type(one) is not type(other):
        return is_typed and {type(one), type(other)} == {int, float} and bool(one == other)
    if isinstance(one, dict):  # whose keys may be equal, and not of one type
        there = {(type(key), key): value for key, value in other.items()}
        return len(one) == len(other) and all(
            (type(key), key) in there and _alike(value, there[type(key), key], is_typed)
            for key, value in one.items()
        )
    if isinstance(one, (set, frozenset)):
        return {(type(it), it) for it in one} == {(type(it), it) for it in other}
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(
            _alike(*pair, is_typed) for pair in zip(one, other, strict=True)
        )
    return bool(one == other)
