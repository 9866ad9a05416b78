"""pydantic models: stored as their own JSON form, validated back, with which fields were set (D8).

A model says by `model_fields_set` what somebody gave and what is a default, on which
`exclude_unset` stands. Its JSON form does not, nor does it know a datetime's `fold`: both are
stored beside it, where there is anything to say. Each value is read back before it is stored, and
compared by what is in it: no `__eq__` of users is asked. pydantic is never imported from here: a
model can exist only if somebody else did.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import sys
from collections import deque
from collections.abc import Iterator
from datetime import datetime
from types import NoneType
from typing import Any

from .forms import TAG, Form, check_tag, checked
from .hints import type_name
from .plain import Misfit, one, ready

BESIDE = "$beside"
"""The key, in a model's JSON form, of what that does not say: which fields were left to their
defaults, and folds."""
_ROOT = "root"
_ATOMS = frozenset({NoneType, bool, int, float, str, bytes})
_TRUSTED = sys.stdlib_module_names | {"pydantic", "pydantic_core"}


def model_form(tp: Any, cls: Any) -> Form:
    """Returns the form of a model."""
    name = type_name(tp)
    fields = not getattr(cls, "__pydantic_root_model__", False)

    def out(value: Any) -> Any:
        try:
            raw = value.model_dump(mode="json", by_alias=False, round_trip=True)
            beside = _beside(value)
            same = _alike(value, _restored(_validated(cls, raw), beside))
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            # pydantic's own say what they are
            raised = error if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
            raise Misfit(
                f"is {one(name)} that does not survive model_dump(mode='json'): {raised}"
            ) from error
        if not same:
            advice = "Secrets and serializers that leave things out cannot be stored"
            raise Misfit(
                f"is {one(name)} that does not come back equal from model_dump(mode='json')", advice
            )
        return ready(_with_beside(raw, beside, fields, name))

    def back(raw: Any) -> Any:
        if fields:
            check_tag(raw, form)
        raw, beside = _without_beside(raw, fields)
        try:
            return _restored(_validated(cls, raw), beside)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            text = f"is stored, but {name}.model_validate raised {type(error).__name__}: {error}"
            raise Misfit(text, wanted=name).explained() from error

    form = checked(name, (cls,), (dict,) if fields else (), out, back, fields=fields, deep=True)
    return form


def _validated(cls: Any, raw: Any) -> Any:
    """A strict model takes texts for times and such only from JSON."""
    try:
        return cls.model_validate(raw, by_alias=False, by_name=True)
    except ValueError as refusal:
        try:
            return cls.model_validate_json(json.dumps(raw), by_alias=False, by_name=True)
        except ValueError:
            raise refusal from None


def _with_beside(raw: Any, beside: Any, fields: bool, name: str) -> Any:
    if not fields:
        return (
            {BESIDE: beside, _ROOT: raw} if beside or (type(raw) is dict and BESIDE in raw) else raw
        )
    for key in (BESIDE, TAG):
        if key in raw:
            raise Misfit(
                f'is {one(name)} with an extra field "{key}", which has a meaning of its own',
                "Name it otherwise",
            )
    return {**raw, BESIDE: beside} if beside else raw


def _without_beside(raw: Any, fields: bool) -> tuple[Any, Any]:
    if fields:
        return {key: member for key, member in raw.items() if key not in (TAG, BESIDE)}, raw.get(
            BESIDE
        )
    if type(raw) is dict and raw.keys() == {BESIDE, _ROOT}:
        return raw[_ROOT], raw[BESIDE]
    return raw, None


def _is_model(value: Any) -> bool:
    return hasattr(type(value), "__pydantic_fields_set__")


def _members(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yields what may have models in it, by name or by place."""
    if _is_model(value):
        held, extra = value.__dict__, value.__pydantic_extra__ or {}
        yield from ((name, held[name]) for name in type(value).__pydantic_fields__ if name in held)
        yield from extra.items()
    elif isinstance(value, dict):
        yield from enumerate(value.values())
    elif isinstance(value, (list, tuple, deque)):
        if not _ATOMS.issuperset(map(type, value)):
            yield from enumerate(value)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield from (
            (field.name, getattr(value, field.name, None)) for field in dataclasses.fields(value)
        )


def _beside(value: Any) -> Any:
    """Returns what the JSON form of a value does not say, by name or place; nothing if it says all.

    Of a model, and of each in it, under "" the names of the fields that were left to their
    defaults; of a datetime its fold.
    """
    if isinstance(value, datetime):
        return value.fold
    found: dict[Any, Any] = {}
    if _is_model(value):
        given = value.__pydantic_fields_set__
        if names := [
            name
            for name in type(value).__pydantic_fields__
            if name not in given and name in value.__dict__
        ]:
            found[""] = names
    elif isinstance(value, (set, frozenset, dict)) and any(
        _beside(it) for it in value if type(it) not in _ATOMS
    ):
        raise ValueError(
            "a model in a set has fields that were not set, or a datetime there has a fold, and "
            "members of sets have no places"
        )
    for key, member in _members(value):
        if type(member) not in _ATOMS and (inner := _beside(member)):
            found[key] = inner
    return found


def _restored(value: Any, beside: Any) -> Any:
    """Returns a value with what its JSON form did not say; names and places that today's classes do
    not have are ignored."""
    if isinstance(value, datetime):
        return value.replace(fold=1) if beside == 1 else value
    if type(beside) is not dict or not beside:
        return value
    if _is_model(value) and type(names := beside.get("")) is list:
        given = value.__pydantic_fields_set__
        object.__setattr__(
            value, "__pydantic_fields_set__", {name for name in given if name not in names}
        )
    members = {
        key: _restored(member, beside[key]) for key, member in _members(value) if key in beside
    }
    return _with_members(value, members) if members else value


def _with_members(value: Any, members: dict[Any, Any]) -> Any:
    if _is_model(value):
        for name, member in members.items():
            (value.__dict__ if name in value.__dict__ else value.__pydantic_extra__)[name] = member
    elif isinstance(value, dict):
        keys = list(value)
        value.update({keys[place]: member for place, member in members.items()})
    elif isinstance(value, tuple):
        named: Any = value
        whole = [members.get(place, member) for place, member in enumerate(value)]
        return named._make(whole) if hasattr(named, "_make") else tuple(whole)
    elif isinstance(value, (list, deque)):
        for place, member in members.items():
            value[place] = member
    else:
        for name, member in members.items():
            object.__setattr__(value, name, member)
    return value


def _alike(a: Any, b: Any) -> bool:
    """Whether two values are equal by what is in them."""
    if type(a) in _ATOMS:
        return type(b) is type(a) and bool(a == b)
    if _is_model(a) and _is_model(b):
        return (
            _origin(a) is _origin(b)
            and a.__pydantic_fields_set__ == b.__pydantic_fields_set__
            and _alike(_fields(a), _fields(b))
            and _alike(a.__pydantic_extra__ or {}, b.__pydantic_extra__ or {})
            and _alike(a.__pydantic_private__ or {}, b.__pydantic_private__ or {})
        )
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return bool(a.keys() == b.keys()) and all(
            _alike(member, b[key]) for key, member in a.items()
        )
    if isinstance(a, (list, tuple, deque)):
        return len(a) == len(b) and all(map(_alike, a, b))
    if isinstance(a, datetime):  # two zones are never equal in an hour that comes twice (PEP 495)
        return _read(a) == _read(b)
    if isinstance(a, enum.Enum):
        return a is b
    if type(a).__module__.partition(".")[0] in _TRUSTED:
        return bool(a == b)
    state = _state(a)
    return _alike(state, _state(b)) if state else bool(a == b)


def _read(time: datetime) -> tuple[datetime, Any, int]:
    return time.replace(tzinfo=None, fold=0), time.utcoffset(), time.fold


def _origin(model: Any) -> Any:
    return type(model).__pydantic_generic_metadata__["origin"] or type(model)


def _fields(model: Any) -> dict[str, Any]:
    return {
        name: model.__dict__[name]
        for name in type(model).__pydantic_fields__
        if name in model.__dict__
    }


def _state(value: Any) -> dict[str, Any]:
    """All that an object of a user's class keeps in its dict and its slots."""
    state = dict(getattr(value, "__dict__", {}))
    for cls in type(value).__mro__:
        slots = vars(cls).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                state[name] = getattr(value, name)
    return state
