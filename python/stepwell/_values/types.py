"""Which form a declared type has.

Collections are in `collections`, classes with fields in `classes`, unions in `unions`, what is
stored as it is in `forms`. Stored data names nothing but members of the declared union, enum or
literal.
"""

from __future__ import annotations

import enum
import types
import typing
from typing import Any

from .classes import class_form
from .collections import collection
from .forms import SCALARS, Compiler, Form, checked, same, unstorable
from .hints import Unresolved, type_name
from .plain import Misfit, class_name, ready, shown
from .unions import union


class Types(Compiler):
    """The compiler of every type there is a form for."""

    def compiled(self, tp: Any) -> Form:
        if tp is Any or tp is object:
            return Form("Any", ready, same, deep=True)
        if isinstance(tp, Unresolved):
            return _unresolved(tp)
        origin = typing.get_origin(tp)
        if origin in (typing.Union, types.UnionType):
            return union(self, tp)
        if origin is typing.Literal:
            return _literal(tp)
        if tp in SCALARS:
            return SCALARS[tp]
        cls = origin or tp
        if form := collection(self, tp, cls):
            return form
        if not isinstance(cls, type):
            return unstorable(tp)
        return (
            _enum(cls)
            if issubclass(cls, enum.Enum)
            else class_form(self, tp, cls) or unstorable(tp)
        )


def _unresolved(tp: Unresolved) -> Form:
    def encode(value: Any) -> Any:
        try:
            return ready(value)
        except Misfit as found:
            found.advice = (
                f'The annotation "{tp.text}" of {tp.owner} cannot be resolved: define '
                "it at module level, or pass as_type="
            )
            raise

    return Form(tp.text, encode, same, deep=True)


def _enum(cls: type[enum.Enum]) -> Form:
    # Read by name; by value for what was stored when the type was still str or int.
    flags = issubclass(cls, enum.Flag)
    members = cls.__members__
    return checked(
        class_name(cls),
        (cls,),
        (int,) if flags else (str,),
        lambda value: value.value if flags else value.name,
        lambda raw: members[raw] if type(raw) is str and raw in members else cls(raw),
        reads=(),
    )


def _literal(tp: Any) -> Form:
    table = {(type(v), v): v.name if isinstance(v, enum.Enum) else v for v in typing.get_args(tp)}
    back = {(type(stored), stored): value for (_, value), stored in table.items()}
    name = type_name(tp)

    def encode(value: Any) -> Any:
        try:
            return table[type(value), value]
        except (KeyError, TypeError):
            raise Misfit(f"is {shown(value, 80)}, declared as {name}") from None

    stores = {cls for cls, _ in back}
    form = checked(
        name, {cls for cls, _ in table}, stores, encode, lambda raw: back[type(raw), raw]
    )
    form.encode = encode
    return form
