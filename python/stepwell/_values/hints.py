"""What annotations say: of functions, about what goes in and what comes out, and of classes, about
their fields.

Never raises: an annotation that names nothing known becomes `Unresolved`, which stores plain values
and says what is wrong once another value meets it. No annotation means `Any`.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
import types
import typing
from collections import abc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import NoneType
from typing import Any
from weakref import WeakKeyDictionary

from .plain import class_name

_AWAITABLES = (abc.Awaitable, abc.Coroutine)
_params: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()
_returns: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()


@dataclass(frozen=True)
class Unresolved:
    """Stands for an annotation that names nothing known: plain values go through, others get a
    clear text.

    Attributes:
        text: The annotation.
        owner: The function or class it is written at.
    """

    text: str
    owner: str


def type_name(tp: Any) -> str:
    """Returns a declared type as people write it."""
    if tp is None or tp is NoneType:
        return "None"
    if tp is Any:
        return "Any"
    if isinstance(tp, Unresolved):
        return tp.text
    if typing.get_origin(tp) in (typing.Union, types.UnionType):
        return " | ".join(type_name(arg) for arg in typing.get_args(tp))
    if isinstance(tp, type) and not typing.get_args(tp):
        return class_name(tp)
    return str(tp).replace("typing.", "")


def _meaning(
    hint: Any, globalns: dict[str, Any] | None = None, localns: Mapping[str, Any] | None = None
) -> Any:
    """Returns an annotation evaluated, and without what says nothing about storage: Annotated,
    Required, ReadOnly."""
    holder = type("holder", (), {"__annotations__": {"it": hint}})
    return typing.get_type_hints(holder, globalns, dict(localns or {}))["it"]


def without_extras(tp: Any) -> Any:
    """Returns a type without Annotated, at any depth; as it is if that cannot be done."""
    try:
        return _meaning(tp)
    except Exception:
        return tp


def resolve(hint: Any, globalns: dict[str, Any], localns: Mapping[str, Any], owner: str) -> Any:
    """Returns what one annotation means, or `Unresolved`."""
    try:
        return _meaning(hint, globalns, localns)
    except Exception:
        return Unresolved(hint if isinstance(hint, str) else type_name(hint), owner)


def field_types(tp: Any, cls: type) -> dict[str, Any]:
    """Returns the types of a class's fields, type variables replaced; `Unresolved` for those that
    name nothing."""
    own = {cls.__name__: cls}  # a local class may mention itself
    try:
        hints = typing.get_type_hints(cls)
    except Exception:
        hints = {}
        for base in reversed(cls.__mro__):
            module = vars(sys.modules.get(base.__module__, typing))
            for name, hint in vars(base).get("__annotations__", {}).items():
                hints[name] = resolve(hint, module, {**own, **vars(base)}, class_name(cls))
    variables = _variables(tp, cls)
    return (
        {name: _substitute(hint, variables) for name, hint in hints.items()} if variables else hints
    )


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


def params_type(fn: Callable[..., Any]) -> Any:
    """Returns the declared type of a workflow's second parameter: `Any` without annotation, None's
    type without a parameter."""
    return _cached(_params, fn, _find_params)


def return_type(fn: Callable[..., Any]) -> Any:
    """Returns the declared type of what a function returns, awaited if need be; `Any` without
    annotation."""
    return _cached(_returns, fn, _find_return)


def _cached(cache: WeakKeyDictionary[Any, Any], fn: Any, find: Callable[[Any], Any]) -> Any:
    while isinstance(fn, functools.partial):
        fn = fn.func
    fn = getattr(fn, "__func__", fn)
    try:
        return cache[fn]
    except (KeyError, TypeError):
        pass
    found = find(fn)
    with contextlib.suppress(TypeError):  # unhashable, or without weak references: a builtin
        cache[fn] = found
    return found


def _function(fn: Any) -> Any:
    """The function behind a callable object or a class."""
    if inspect.isroutine(fn) or isinstance(fn, type):
        return fn
    return getattr(type(fn).__call__, "__func__", type(fn).__call__) if callable(fn) else fn


def _find_return(fn: Any) -> Any:
    if isinstance(fn, type):
        return fn
    hint = _hint(_function(fn), "return")
    origin = typing.get_origin(hint)
    if origin in _AWAITABLES and typing.get_args(hint):
        return typing.get_args(hint)[-1]
    return hint


def _find_params(fn: Any) -> Any:
    function = _function(fn)
    try:
        names = [
            p.name
            for p in inspect.signature(function).parameters.values()
            if p.kind not in (p.VAR_KEYWORD, p.KEYWORD_ONLY)
        ]
    except (TypeError, ValueError):
        return Any
    skipped = 1 if function is fn else 2  # step; and self of a callable object
    if names and names[0] == "self" and function is fn:
        skipped = 2
    return _hint(function, names[skipped]) if len(names) > skipped else NoneType


def _hint(function: Any, name: str) -> Any:
    function = inspect.unwrap(function)
    annotations = getattr(function, "__annotations__", None) or {}
    if name not in annotations:
        return Any
    hint = annotations[name]
    code = getattr(function, "__code__", None)
    cells = zip(
        getattr(code, "co_freevars", ()), getattr(function, "__closure__", None) or (), strict=False
    )
    outer: dict[str, Any] = {
        variable: cell.cell_contents for variable, cell in cells if _filled(cell)
    }
    owner = getattr(function, "__qualname__", None) or class_name(type(function))
    return resolve(hint, getattr(function, "__globals__", {}), outer, owner)


def _filled(cell: Any) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:
        return False
    return True


def bare(tp: Any) -> Any:
    """Takes off what says nothing about storage: NewType, Final, type variables, aliases."""
    while True:
        if tp is None:
            return types.NoneType
        if typing.get_origin(tp) is typing.Final:
            tp = typing.get_args(tp)[0]
        elif isinstance(tp, typing.NewType):
            tp = tp.__supertype__
        elif isinstance(tp, typing.TypeVar):
            tp = tp.__bound__ or (typing.Union[tp.__constraints__] if tp.__constraints__ else Any)  # noqa: UP007
        elif type(tp).__name__ == "TypeAliasType":
            tp = without_extras(tp.__value__)
        else:
            return Any if tp is typing.NoReturn or tp is typing.Never else tp
