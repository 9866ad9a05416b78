"""Unions: which member a value is, and which one a stored value was.

A value's class picks the member. What is stored bare is what can be told apart by its CBOR kind
(`int | str`, `Order | None`); members that cannot are tagged with their name: a class with fields
gets one more key, `{"$type": "Order", …}`, anything else is wrapped, `{"$type": "list[int]",
"value": […]}`. A tag is looked up among the members of the declared union and nowhere else.
(cattrs' own tagged unions are of classes only and tag all of them; what it does with the rest, it
does by trying.)
"""

from __future__ import annotations

import typing
from collections import Counter
from typing import Any

from .forms import SCALARS, TAG, Compiler, Form, Hook, checked, misfit, mismatch, refused
from .hints import type_name
from .plain import Misfit

_VALUE = "value"
_FLOAT_ONLY = checked(
    "float", (float,), (float,), SCALARS[float].encode, SCALARS[float].decode, reads=()
)


def union(types: Compiler, tp: Any) -> Form:
    """Returns the form of a union."""
    members = list(dict.fromkeys(types.form(arg) for arg in typing.get_args(tp)))
    if any(int in member.accepts for member in members if member is not SCALARS[float]):
        # a whole number is one of the int, not of the float
        members = [_FLOAT_ONLY if member is SCALARS[float] else member for member in members]
    name = type_name(tp)
    tagged = _tagged(members)
    names = _names(members)
    by_name = {names[member]: member for member in members}
    by_class: dict[type, list[Hook]] = {}
    for member in members:
        for cls in member.accepts:
            by_class.setdefault(cls, []).append(
                _writer(member, names[member] if member in tagged else "")
            )
    anything = [member.encode for member in members if not member.accepts]
    accepts = {cls for member in members for cls in member.accepts}
    stores = {cls for member in members for cls in member.stores} | ({dict} if tagged else set())

    def encode(value: Any) -> Any:
        writers = by_class.get(type(value), anything)
        if not writers:
            raise refused(value, name, accepts)
        for writer in writers[:-1]:  # `Box[int] | Box[str]` have one class
            try:
                return writer(value)
            except Exception:
                continue
        return writers[-1](value)

    def decode(raw: Any, _: Any = None) -> Any:
        if tagged and type(raw) is dict and TAG in raw:
            member = by_name.get(raw[TAG]) if type(raw[TAG]) is str else None
            if member is None:
                raise Misfit(f"is stored with the name {raw[TAG]!r:.80}", wanted=name)
            return member.decode(raw if member.fields else raw.get(_VALUE))
        kind = list if type(raw) is tuple else type(raw)
        return _only(
            name, [member for member in members if not member.stores or kind in member.stores], raw
        )

    deep = any(member.deep for member in members)
    never = members[0].never if all(member.never for member in members) else ""
    return Form(
        name,
        encode,
        decode,
        () if anything else accepts,
        () if anything else stores,
        deep=deep,
        parts=members,
        never=never,
    )


def _writer(member: Form, tag: str) -> Hook:
    if not tag:
        return member.encode
    if member.fields:
        return lambda value: {TAG: tag, **member.encode(value)}
    return lambda value: {TAG: tag, _VALUE: member.encode(value)}


def _tagged(members: list[Form]) -> set[Form]:
    """The members whose stored form another one's could be mistaken for."""
    kinds = Counter(cls for member in members for cls in member.stores)
    tagged = {
        member
        for member in members
        if member.accepts and any(kinds[cls] > 1 for cls in member.stores)
    }
    # a member that takes anything: the others have to say which they are
    if any(not member.accepts for member in members):
        tagged |= {
            member
            for member in members
            if member.accepts and set(member.accepts) != set(member.stores)
        }
    if tagged:  # a tag makes a map, so a map must not be bare beside it
        tagged |= {member for member in members if dict in member.stores}
    return tagged


def _names(members: list[Form]) -> dict[Form, str]:
    times = Counter(member.short for member in members)
    return {member: member.short if times[member.short] == 1 else member.name for member in members}


def _only(name: str, candidates: list[Form], raw: Any) -> Any:
    """Returns what the single member makes of it that can make something of it.

    Bare data beside tagged members is older than the union. If two members would do, nobody can
    know which it was.
    """
    if len(candidates) == 1:
        return candidates[0].decode(raw)
    found: list[tuple[Form, Any]] = []
    for member in candidates:
        try:
            found.append((member, member.decode(raw)))
        except Exception as error:
            misfit(error)  # raises a RecursionError on
    if len(found) == 1 or (found and not found[0][0].fields):
        return found[0][1]
    if found:
        either = " or ".join(member.name for member, _ in found)
        raise Misfit(f"is stored without a name, and could be {either}", wanted=name).explained()
    raise mismatch(raw, name)
