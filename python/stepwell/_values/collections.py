"""Lists, tuples, sets and dicts of declared types: arrays and maps."""

from __future__ import annotations

import collections.abc as abc
import typing
from collections.abc import Iterable
from typing import Any

from cattrs.cols import list_structure_factory, mapping_structure_factory

from .forms import Compiler, Form, Hook, checked, misfit, mismatch
from .hints import type_name
from .plain import Misfit, in_order, item

_LISTS: dict[object, tuple[type, ...]] = {
    list: (list,),
    abc.Sequence: (list, tuple),
    abc.MutableSequence: (list,),
    abc.Iterable: (list, tuple),
    abc.Collection: (list, tuple),
}
_DICTS = (dict, abc.Mapping, abc.MutableMapping)
_SETS: dict[object, tuple[type, ...]] = {
    set: (set,),
    frozenset: (frozenset,),
    abc.Set: (set, frozenset),
    abc.MutableSet: (set, frozenset),
}
_ARRAYS = (list, tuple)  # what is part of a key is read as a tuple


def collection(types: Compiler, tp: Any, cls: Any) -> Form | None:
    """Returns the form of a collection, or None if it is not one."""
    args = typing.get_args(tp)
    if cls in _LISTS:
        return _list(types, tp, _LISTS[cls], args or (Any,))
    if cls in _DICTS:
        return _dict(types, tp, args or (Any, Any))
    if cls in _SETS:
        return _set(types, tp, _SETS[cls], args or (Any,))
    if cls is tuple:
        return _tuple(types, tp, args if args or tp is not tuple else (Any, ...))
    return None


def _all(values: Iterable[Any], exact: type | None) -> bool:
    return frozenset((exact,)).issuperset(map(type, values))


def _each(values: Iterable[Any], hook: Hook) -> list[Any]:
    result: list[Any] = []
    try:
        for value in values:
            result.append(hook(value))
    except Exception as error:
        found = misfit(error)
        found.path.append(item(len(result)))
        raise found from found.__cause__
    return result


def _list(types: Compiler, tp: Any, accepts: tuple[type, ...], args: tuple[Any, ...]) -> Form:
    inner = types.form(args[0])
    read = list_structure_factory(list[args[0]], types)  # type: ignore[valid-type]

    def out(value: Any) -> Any:
        return value if _all(value, inner.exact) else _each(value, inner.encode)

    def back(raw: Any) -> Any:
        return raw if type(raw) is list and _all(raw, inner.exact) else read(raw, tp)

    return checked(
        type_name(tp), accepts, (list,), out, back, reads=_ARRAYS, deep=inner.deep, parts=(inner,)
    )


def _set(types: Compiler, tp: Any, accepts: tuple[type, ...], args: tuple[Any, ...]) -> Form:
    # An array, not the tag for sets: members of a tagged set come back as immutable stand-ins.
    listed = _list(types, tp, accepts, args)
    made = accepts[0]
    return checked(
        listed.name,
        accepts,
        (list,),
        lambda value: in_order(list(listed.encode(value))),
        lambda raw: made(listed.decode(list(raw))),
        reads=(*_ARRAYS, set, frozenset),
        deep=listed.deep,
        parts=(listed,),
    )


def _tuple(types: Compiler, tp: Any, args: tuple[Any, ...]) -> Form:
    name = type_name(tp)
    if len(args) == 2 and args[1] is Ellipsis:
        listed = _list(types, tp, (tuple,), args)
        read = lambda raw: tuple(listed.decode(raw))  # noqa: E731
        return checked(
            name,
            (tuple,),
            (list,),
            listed.encode,
            read,
            reads=_ARRAYS,
            deep=listed.deep,
            parts=(listed,),
        )
    parts = [types.form(arg) for arg in args]
    outward = [types.at(item(i), part.encode) for i, part in enumerate(parts)]
    inward = [types.at(item(i), part.decode) for i, part in enumerate(parts)]

    def out(value: Any) -> Any:
        if len(value) != len(parts):
            raise Misfit(f"has {len(value)} items, declared as {name}")
        return [hook(member) for hook, member in zip(outward, value, strict=True)]

    def back(raw: Any) -> Any:
        if len(raw) != len(parts):
            raise mismatch(raw, name, f" of {len(raw)} items")
        return tuple([hook(member) for hook, member in zip(inward, raw, strict=True)])

    deep, never = (
        any(part.deep for part in parts),
        next((part.never for part in parts if part.never), ""),
    )
    return checked(
        name, (tuple,), (list,), out, back, reads=_ARRAYS, deep=deep, parts=parts, never=never
    )


def _dict(types: Compiler, tp: Any, args: tuple[Any, ...]) -> Form:
    keys, values = (types.form(arg) for arg in args)
    read = mapping_structure_factory(dict[args[0], args[1]], types)  # type: ignore[valid-type]

    def out(mapping: Any) -> Any:
        if keys.exact is str and _all(mapping, str) and _all(mapping.values(), values.exact):
            return mapping
        if any(key != key for key in mapping):
            raise Misfit("has NaN as a key, which can never be looked up")
        result: dict[Any, Any] = {}
        key = None
        try:
            for key, value in mapping.items():
                result[_hashable(keys.encode(key))] = values.encode(value)
        except Exception as error:
            found = misfit(error)
            found.path.append(item(key))
            raise found from found.__cause__
        return result

    deep = keys.deep or values.deep
    return checked(
        type_name(tp),
        (dict,),
        (dict,),
        out,
        lambda raw: read(raw, tp),
        deep=deep,
        parts=(keys, values),
    )


def _hashable(key: Any) -> Any:
    """Lists stand for tuples, which as keys have to stay tuples."""
    if type(key) is list:
        return tuple(map(_hashable, key))
    try:
        hash(key)
    except TypeError:
        raise Misfit("has a key that is stored as a map or a set", "Use a list of pairs") from None
    return key
