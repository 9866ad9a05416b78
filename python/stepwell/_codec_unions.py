"""Unions: which member a value is, and which one a stored value was.

A value's class picks the member. What is stored bare is what can be told apart by its CBOR kind (`int | str`,
`Order | None`); members that cannot are tagged with their name: a class with fields gets one more key,
`{"$type": "Order", …}`, anything else is wrapped, `{"$type": "list[int]", "value": […]}`. A tag is looked
up among the members of the declared union and nowhere else.
"""

from __future__ import annotations

import typing
from collections import Counter
from collections.abc import Mapping
from typing import Any

from ._codec_plain import Misfit
from ._codec_types import TAG, Node, Types, type_name

_VALUE = "value"


def union(types: Types, tp: Any) -> Node:
    """Returns the node of a union."""
    members = _members([types.node(arg) for arg in typing.get_args(tp)])
    node = Node(type_name(tp))
    node.deep = any(member.deep for member in members)
    tagged = _tagged(members)
    if all(member.accepts for member in members):
        node.accepts = tuple({cls for member in members for cls in member.accepts})
        node.stores = tuple({cls for member in members for cls in member.stores} | ({dict} if tagged else set()))
    names = _names(members)
    by_tag = {names[member]: member for member in members}
    by_class: dict[type, list[Node]] = {}
    for member in members:
        for cls in member.accepts:
            by_class.setdefault(cls, []).append(member)
    anything = [member for member in members if not member.accepts]

    def encode(value: Any) -> Any:
        candidates = by_class.get(type(value), anything)
        if not candidates:
            node.refuse(value)
        member, raw = _first(candidates, value)
        if member not in tagged:
            return raw
        if member.fields:
            return {TAG: names[member], **raw}
        return {TAG: names[member], _VALUE: raw}

    def decode(raw: Any) -> Any:
        if tagged and isinstance(raw, Mapping) and TAG in raw:
            member = by_tag.get(raw[TAG]) if type(raw[TAG]) is str else None
            if member is None:
                raise Misfit(f"is stored as {raw[TAG]!r:.80}", wanted=node.name)
            return member.decode(raw if member.fields else raw.get(_VALUE))
        return _only(node, [m for m in members if not m.stores or type(raw) in m.stores or isinstance(raw, tuple)], raw)

    node.encode, node.decode = encode, decode
    return node


def _members(members: list[Node]) -> list[Node]:
    """In `int | float` an int is the int."""
    flat = list(dict.fromkeys(members))
    if not any(int in m.accepts for m in flat if m.name != "float"):
        return flat
    result = []
    for member in flat:
        if member.name == "float":
            twin = Node("float", (float,), (float,))
            twin.encode, twin.decode = member.encode, member.decode
            result.append(twin)
        else:
            result.append(member)
    return result


def _tagged(members: list[Node]) -> set[Node]:
    """The members whose stored form another one's could be mistaken for."""
    kinds = Counter(cls for member in members for cls in member.stores)
    tagged = {member for member in members if member.accepts and any(kinds[cls] > 1 for cls in member.stores)}
    if any(not member.accepts for member in members):  # beside Any
        tagged |= {member for member in members if member.accepts and member.accepts != member.stores}
    if tagged:  # a tag makes a map, so a map must not be bare beside it
        tagged |= {member for member in members if dict in member.stores}
    return tagged


def _names(members: list[Node]) -> dict[Node, str]:
    short = {member: member.short for member in members}
    times = Counter(short.values())
    return {member: name if times[name] == 1 else member.name for member, name in short.items()}


def _first(candidates: list[Node], value: Any) -> tuple[Node, Any]:
    """Returns the first member that takes the value: `Box[int] | Box[str]` have one class."""
    for member in candidates[:-1]:
        try:
            return member, member.encode(value)
        except Misfit:
            continue
    return candidates[-1], candidates[-1].encode(value)


def _only(node: Node, candidates: list[Node], raw: Any) -> Any:
    """Returns what the single member makes of it that can make something of it.

    Bare data beside tagged members is older than the union. If two members would do, nobody can know which it was.
    """
    found: list[tuple[Node, Any]] = []
    failure: Misfit | None = None
    for member in candidates:
        try:
            found.append((member, member.decode(raw)))
        except Misfit as misfit:
            failure = misfit
    if len(found) == 1 or (found and not found[0][0].fields):
        return found[0][1]
    if found:
        raise Misfit(f"is stored without a name and could be {' or '.join(m.name for m, _ in found)}", wanted=node.name)
    if failure is not None and len(candidates) == 1:
        raise failure
    return node.mismatch(raw)
