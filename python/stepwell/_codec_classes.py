"""Classes with fields: dataclasses, attrs classes, NamedTuples, TypedDicts, and pydantic models.

Each is stored as a map of its fields by name, so that fields may come, go and move. To come back it is
called with what was stored; what is missing takes its default, what is unknown is ignored. attrs and
pydantic are never imported from here: a class of theirs can exist only if somebody else did.
"""

from __future__ import annotations

import dataclasses
import sys
import typing
from collections.abc import Mapping
from typing import Any, NamedTuple

from ._codec_plain import Misfit, class_name, ready
from ._codec_types import TAG, Node, Types, Unresolved, type_name, unstorable

_ABSENT: Any = object()


class _Field(NamedTuple):
    name: str
    argument: str | None  # of the constructor; None: set after it
    required: bool
    hint: Any


def class_node(types: Types, tp: Any, cls: type) -> Node | None:
    """Returns the node of a class with fields, or None if it is not one."""
    pydantic = sys.modules.get("pydantic")
    if pydantic is not None and issubclass(cls, pydantic.BaseModel):
        return _model(tp, cls)
    if typing.is_typeddict(cls):
        return _typed_dict(types, tp, cls)
    if dataclasses.is_dataclass(cls):
        variables = [f.name for f in vars(cls)["__dataclass_fields__"].values() if _lost(f)] if _own(cls) else []
        if variables:
            return unstorable(tp, f"has an InitVar without default ({variables[0]}), which an object does not keep")
        return _object(types, tp, cls, _dataclass_fields(tp, cls))
    if hasattr(cls, "__attrs_attrs__"):
        return _object(types, tp, cls, _attrs_fields(tp, cls))
    if issubclass(cls, tuple) and hasattr(cls, "_fields"):
        hints = _hints(tp, cls)
        defaults = cls._field_defaults  # type: ignore[attr-defined]
        return _object(types, tp, cls, [_Field(n, n, n not in defaults, hints.get(n, Any)) for n in cls._fields])
    return None


def _own(cls: type) -> bool:
    return "__dataclass_fields__" in vars(cls)


def _lost(field: dataclasses.Field[Any]) -> bool:
    return (
        getattr(field, "_field_type", None) is getattr(dataclasses, "_FIELD_INITVAR", ())
        and field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
    )


def _dataclass_fields(tp: Any, cls: Any) -> list[_Field]:
    hints = _hints(tp, cls)
    return [
        _Field(
            field.name,
            field.name if field.init else None,
            field.init and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING,
            hints.get(field.name, Any),
        )
        for field in dataclasses.fields(cls)
    ]


def _attrs_fields(tp: Any, cls: Any) -> list[_Field]:
    hints = _hints(tp, cls)
    nothing = sys.modules["attr"].NOTHING
    return [
        _Field(
            field.name,
            (getattr(field, "alias", None) or field.name.lstrip("_")) if field.init else None,
            field.init and field.default is nothing,
            hints.get(field.name, Any),
        )
        for field in cls.__attrs_attrs__
    ]


def _hints(tp: Any, cls: type) -> dict[str, Any]:
    """Returns the types of a class's fields, type variables replaced; `Unresolved` for those that name nothing."""
    own = {cls.__name__: cls}  # a local class may mention itself
    try:
        hints = typing.get_type_hints(cls, include_extras=True)
    except Exception:
        hints = {}
        for base in reversed(cls.__mro__):
            module = vars(sys.modules.get(base.__module__, typing))
            for name, hint in vars(base).get("__annotations__", {}).items():
                hints[name] = resolve(hint, module, {**own, **vars(base)}, class_name(cls))
    variables = _variables(tp, cls)
    return {name: _substitute(hint, variables) for name, hint in hints.items()} if variables else hints


def resolve(hint: Any, globalns: dict[str, Any], localns: Mapping[str, Any], owner: str) -> Any:
    """Returns what one annotation means, or `Unresolved`."""
    holder = type("holder", (), {"__annotations__": {"it": hint}})
    try:
        return typing.get_type_hints(holder, globalns, dict(localns), include_extras=True)["it"]
    except Exception:
        return Unresolved(hint if isinstance(hint, str) else type_name(hint), owner)


def _variables(tp: Any, cls: type) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for base in getattr(cls, "__orig_bases__", ()):
        origin = typing.get_origin(base)
        if isinstance(origin, type) and origin is not typing.Generic:
            found |= _variables(base, origin)
    if args := typing.get_args(tp):
        found |= dict(zip(getattr(cls, "__parameters__", ()), args, strict=False))
    return found


def _substitute(hint: Any, variables: dict[Any, Any]) -> Any:
    if isinstance(hint, typing.TypeVar):
        return variables.get(hint, hint)
    parameters = getattr(hint, "__parameters__", ())
    if parameters and not isinstance(hint, type):
        return hint[tuple(variables.get(parameter, parameter) for parameter in parameters)]
    return hint


def _object(types: Types, tp: Any, cls: type, fields: list[_Field]) -> Node:
    node = Node(type_name(tp), (cls,), (dict,))
    node.fields = True
    outward: list[tuple[str, Any, Any]] = []
    inward: list[tuple[str, str | None, bool, Any, Any]] = []

    def encode(value: Any) -> Any:
        if type(value) is not cls:
            node.refuse(value)
        result = {}
        name = ""
        try:
            for name, exact, convert in outward:
                member = getattr(value, name)
                result[name] = member if type(member) is exact else convert(member)
        except Misfit as misfit:
            misfit.path.append(f".{name}")
            raise
        except AttributeError as error:
            raise Misfit(f"has no attribute {name}: it was never set or was deleted") from error
        return result

    def decode(raw: Any) -> Any:
        _check_map(node, raw)
        arguments: dict[str, Any] = {}
        rest: list[tuple[str, Any]] = []
        name = ""
        try:
            for name, argument, required, exact, convert in inward:
                stored = raw.get(name, _ABSENT)
                if stored is _ABSENT:
                    if required:
                        _missing(node, name)
                    continue
                member = stored if type(stored) is exact else convert(stored)
                if argument is None:
                    rest.append((name, member))
                else:
                    arguments[argument] = member
        except Misfit as misfit:
            if misfit.problem[:6] != "has no":
                misfit.path.append(f".{name}")
            raise
        return _make(node, cls, arguments, rest)

    node.encode, node.decode = encode, decode
    types.opened(tp, node)
    for field in fields:
        inner = types.node(field.hint)
        node.deep = node.deep or inner.deep
        outward.append((field.name, inner.exact, inner.encode))
        inward.append((field.name, field.argument, field.required, inner.exact, inner.decode))
    types.closed()
    return node


def _missing(node: Node, name: str) -> None:
    raise Misfit(f'has no field "{name}", which has no default', wanted=node.name)


def _check_map(node: Node, raw: Any) -> None:
    if type(raw) is not dict and not isinstance(raw, Mapping):
        node.mismatch(raw)
    tag = raw.get(TAG)
    if tag is not None and tag != node.short and tag != node.name:
        # It was stored under a union of which this is the last member left.
        raise Misfit(f"is stored as {tag!r:.80}", wanted=node.name)


def _make(node: Node, cls: Any, arguments: dict[str, Any], rest: list[tuple[str, Any]]) -> Any:
    try:
        value = cls(**arguments)
        for name, member in rest:
            object.__setattr__(value, name, member)
    except Exception as error:
        raise Misfit(f"is stored, but {node.name}(...) raised {type(error).__name__}: {error}", wanted=node.name) from error
    return value


def _typed_dict(types: Types, tp: Any, cls: Any) -> Node:
    node = Node(type_name(tp), (dict,), (dict,))
    node.fields = True
    required: frozenset[str] = cls.__required_keys__
    members: dict[str, Node] = {}

    def encode(value: Any) -> Any:
        if type(value) is not dict:
            node.refuse(value)
        for name in required:
            if name not in value:
                raise Misfit(f'has no key "{name}", declared as {node.name}', "Add it, or declare it NotRequired")
        result: dict[str, Any] = {}
        name = ""
        try:
            for name, member in value.items():
                if name not in members:
                    raise Misfit("is a key that " + node.name + " does not declare", "Declare it, or leave it out")
                result[name] = members[name].encode(member)
        except Misfit as misfit:
            misfit.path.append(f'["{name}"]')
            raise
        return result

    def decode(raw: Any) -> Any:
        _check_map(node, raw)
        result: dict[str, Any] = {}
        for name, inner in members.items():
            if name in raw:
                try:
                    result[name] = inner.decode(raw[name])
                except Misfit as misfit:
                    misfit.path.append(f'["{name}"]')
                    raise
            elif name in required:
                _missing(node, name)
        return result

    node.encode, node.decode = encode, decode
    types.opened(tp, node)
    for name, hint in _hints(tp, cls).items():
        members[name] = types.node(hint)
        node.deep = node.deep or members[name].deep
    types.closed()
    if TAG in members:
        return unstorable(tp, f'has a key "{TAG}", which says a union\'s member')
    return node


def _model(tp: Any, cls: Any) -> Node:
    """A pydantic model is stored as its own JSON form and validated back; it must survive that unchanged."""
    node = Node(type_name(tp), (cls,), (dict,))
    node.fields = not getattr(cls, "__pydantic_root_model__", False)
    node.deep = True
    if not node.fields:
        node.stores = ()

    def encode(value: Any) -> Any:
        if type(value) is not cls:
            node.refuse(value)
        try:
            raw = value.model_dump(mode="json", by_alias=False, round_trip=True)
            back = cls.model_validate(raw, by_alias=False, by_name=True)
            same = _same(value.model_dump(round_trip=True), back.model_dump(round_trip=True))
        except Exception as error:
            raise Misfit(f"is a {node.name} that does not survive model_dump(mode='json'): {error}") from error
        if not same:
            raise Misfit(
                f"is a {node.name} that does not come back equal from model_dump(mode='json')",
                "Secrets and serializers that leave things out cannot be stored",
            )
        return ready(raw)

    def decode(raw: Any) -> Any:
        if node.fields:
            _check_map(node, raw)
            raw = {name: member for name, member in raw.items() if name != TAG}
        try:
            return cls.model_validate(raw, by_alias=False, by_name=True)
        except Exception as error:
            text = f"is stored, but {node.name}.model_validate raised {type(error).__name__}: {error}"
            raise Misfit(text, wanted=node.name) from error

    node.encode, node.decode = encode, decode
    return node


def _same(one: Any, other: Any) -> bool:
    """Equality in which NaN equals NaN."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)) and type(one) is type(other):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other or (one != one and other != other))
