"""What a function's annotations say about what goes in and what comes out.

Never raises: an annotation that names nothing known becomes `Unresolved`, which stores plain values and
says what is wrong once another value meets it. No annotation means `Any`.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import typing
from collections import abc
from collections.abc import Callable
from types import NoneType
from typing import Any
from weakref import WeakKeyDictionary

from ._codec_classes import resolve
from ._codec_plain import class_name

_AWAITABLES = (abc.Awaitable, abc.Coroutine)
_params: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()
_returns: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()


def params_type(fn: Callable[..., Any]) -> Any:
    """Returns the declared type of a workflow's second parameter: `Any` without annotation, None's type without a parameter."""
    return _cached(_params, fn, _find_params)


def return_type(fn: Callable[..., Any]) -> Any:
    """Returns the declared type of what a function returns, awaited if need be; `Any` without annotation."""
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
        names = [p.name for p in inspect.signature(function).parameters.values() if p.kind not in (p.VAR_KEYWORD, p.KEYWORD_ONLY)]
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
    cells = zip(getattr(code, "co_freevars", ()), getattr(function, "__closure__", None) or (), strict=False)
    outer = {variable: cell.cell_contents for variable, cell in cells if _filled(cell)}
    owner = getattr(function, "__qualname__", None) or class_name(type(function))
    return resolve(hint, getattr(function, "__globals__", {}), outer, owner)


def _filled(cell: Any) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:
        return False
    return True
