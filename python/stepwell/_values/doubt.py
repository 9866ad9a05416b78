"""Which classes may give back something else than what was stored (D8).

An object comes back by calling its class with what was stored. A class whose constructor only keeps
its arguments gives back the same; one whose constructor computes, converts or checks, or whose
fields are not plain attributes, is in doubt: its values are stored only if what comes back encodes
to the same bytes, which is tried for each. What a class is, is looked at once, never a value; and
no code of it runs.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Collection
from types import BuiltinFunctionType, MemberDescriptorType, WrapperDescriptorType
from typing import Any, NamedTuple

from .plain import Misfit, dumps, item, shown

_FIELD_OF_TUPLE = type(vars(NamedTuple("_", [("field", int)]))["field"])
_PLAIN_FIELDS = (MemberDescriptorType, _FIELD_OF_TUPLE)
_ATTRS = "attr._make"
_HOOKS = ("__post_init__", "__attrs_pre_init__", "__attrs_post_init__")


def doubt(cls: Any, fields: Collection[str]) -> str:
    """Returns what of a class with fields may change a value on its way back; "" if nothing may."""
    if type(cls).__call__ is not type.__call__:
        return "has a metaclass that makes its objects"
    for name in ("__new__", "__init__", "__getattribute__", "__setattr__"):
        if not _is_generated(inspect.getattr_static(cls, name)):
            return f"has {_article(name)} of its own"
    for name in _HOOKS:
        if hasattr(cls, name):
            return f"has {_article(name)}"
    for field in getattr(cls, "__attrs_attrs__", ()):
        if field.converter is not None or field.validator is not None:
            return (
                f"has a {'validator' if field.converter is None else 'converter'} for {field.name}"
            )
    for name in fields:
        if not _is_plain(inspect.getattr_static(cls, name, None)):
            return f"has code for its field {name}"
    return ""


def _article(name: str) -> str:
    return f"an {name}" if name == "__init__" else f"a {name}"


def _is_generated(found: Any) -> bool:
    """Whether a method is Python's own, or was made by dataclasses, attrs or namedtuple."""
    found = getattr(found, "__func__", found)
    if isinstance(found, (BuiltinFunctionType, WrapperDescriptorType)):
        return True
    code, module = (
        getattr(found, "__code__", None),
        getattr(found, "__globals__", {}).get("__name__", ""),
    )
    return module == _ATTRS or (
        code is not None and code.co_filename.startswith(("<string>", "<attrs generated"))
    )


def _is_plain(found: Any) -> bool:
    """Whether an attribute of a class leaves the field of this name to its objects: a default, or
    where slots and tuples keep it."""
    return isinstance(found, _PLAIN_FIELDS) or not hasattr(type(found), "__set__")


def never(cls: Any, arguments: Collection[str]) -> str:
    """Returns why a class cannot be called with these arguments, whatever they are; "" if it
    may."""
    if dataclasses.is_dataclass(cls):
        lost = [name for name, field in cls.__dataclass_fields__.items() if _is_lost(field)]
        if lost:
            return f"has an InitVar without default ({lost[0]}), which an object does not keep"
    if type(cls).__call__ is not type.__call__ or inspect.getattr_static(
        cls, "__new__"
    ) is not inspect.getattr_static(object, "__new__"):
        return ""
    if inspect.getattr_static(cls, "__init__") is object.__init__:
        return "has no __init__ that takes its fields" if arguments else ""
    try:
        parameters = inspect.signature(cls.__init__).parameters
    except (TypeError, ValueError):
        return ""
    return _misfit(list(parameters.values())[1:], arguments)


def _misfit(parameters: list[inspect.Parameter], arguments: Collection[str]) -> str:
    takes = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    needs = {
        p.name
        for p in parameters
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    }
    if strange := sorted(needs - set(arguments)):
        return f"has an __init__ that needs {strange[0]}, which is no field of its objects"
    if not any(p.kind is p.VAR_KEYWORD for p in parameters) and (
        kept := sorted(set(arguments) - takes)
    ):
        return f"has an __init__ that does not take its field {kept[0]} by name"
    return ""


def _is_lost(field: Any) -> bool:
    nothing = dataclasses.MISSING
    is_given_only = field._field_type is dataclasses._FIELD_INITVAR  # type: ignore[attr-defined]
    return is_given_only and field.default is nothing and field.default_factory is nothing


_ADVICE = "Keep in its fields what its constructor is given, or store plain data"


def lost(found: Misfit) -> Misfit:
    """Returns what says that a value could be stored but never be read; `found` is what reading it
    comes to."""
    why = found.problem.removeprefix("is stored, but ")
    misfit = Misfit(f"would not come back: {why if why != found.problem else f'it {why}'}", _ADVICE)
    misfit.path = found.path
    return misfit


def changed(before: Any, after: Any, doubts: list[str]) -> Misfit:
    """Returns what says where a value would come back changed, given its stored form and that of
    what came back."""
    path: list[str] = []
    while True:
        inner = _first_difference(before, after)
        if inner is None:
            break
        key, before, after = inner
        path.append(item(key))
    if type(before) is type(after) and type(before) in (dict, list):
        text = "would come back in another order, or with other members"
    else:
        text = f"would come back as {shown(after, 80)}, not {shown(before, 80)}"
    misfit = Misfit(f"{text}: {', '.join(doubts[:3])}", _ADVICE)
    misfit.path = path[::-1]
    return misfit


def _first_difference(before: Any, after: Any) -> tuple[Any, Any, Any] | None:
    """Returns the first member in which two plain values of one shape differ: its key, and both."""
    if type(before) is not type(after):
        return None
    if type(before) is dict and list(before) == list(after):
        return next(
            ((key, before[key], after[key]) for key in before if _differ(before[key], after[key])),
            None,
        )
    if type(before) in (list, tuple) and len(before) == len(after):
        return next(
            (
                (i, a, b)
                for i, (a, b) in enumerate(zip(before, after, strict=True))
                if _differ(a, b)
            ),
            None,
        )
    return None


def _differ(a: Any, b: Any) -> bool:
    return dumps(a) != dumps(b)
