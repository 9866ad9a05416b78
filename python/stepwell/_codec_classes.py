"""Classes with fields: dataclasses, attrs classes, NamedTuples, TypedDicts, and pydantic models.

Each is stored as a map of its fields by name, so that fields may come, go and move. To come back it is
called with what was stored; what is missing takes its default, what is unknown is ignored. The functions
that do so are cattrs', generated per class. pydantic is never imported from here: a model can exist only
if somebody else did.
"""

from __future__ import annotations

import dataclasses
import sys
import typing
from typing import Any, NamedTuple

import attrs
from cattrs.gen import make_dict_structure_fn_from_attrs, make_dict_unstructure_fn_from_attrs

from ._codec_hints import field_types, type_name
from ._codec_plain import Misfit, item, ready
from ._codec_types import TAG, Form, Types, checked, unstorable


class _Field(NamedTuple):
    name: str
    argument: str | None  # of the constructor; None: set after it
    required: bool


def class_form(types: Types, tp: Any, cls: Any) -> Form | None:
    """Returns the form of a class with fields, or None if it is not one."""
    pydantic = sys.modules.get("pydantic")
    if pydantic is not None and issubclass(cls, pydantic.BaseModel):
        return _model(tp, cls)
    if typing.is_typeddict(cls):
        return _typed_dict(types, tp, cls)
    if dataclasses.is_dataclass(cls):
        if lost := [name for name, field in cls.__dataclass_fields__.items() if _is_lost(field)]:
            return unstorable(tp, f"has an InitVar without default ({lost[0]}), which an object does not keep")
        fields = [_Field(f.name, f.name if f.init else None, f.init and _is_required(f)) for f in dataclasses.fields(cls)]
    elif attrs.has(cls):
        fields = [_Field(f.name, f.alias if f.init else None, f.init and f.default is attrs.NOTHING) for f in attrs.fields(cls)]
    elif issubclass(cls, tuple) and hasattr(cls, "_fields"):
        named: Any = cls  # a NamedTuple, which has no class of its own to check for
        fields = [_Field(name, name, name not in named._field_defaults) for name in named._fields]
    else:
        return None
    made: Any = cls  # the checks above have narrowed it to something that is no `type` for the checker
    return _object(types, tp, made, fields)


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _is_lost(field: Any) -> bool:
    return field._field_type is dataclasses._FIELD_INITVAR and _is_required(field)  # type: ignore[attr-defined]


def _object(types: Types, tp: Any, cls: type, fields: list[_Field]) -> Form:
    types.opened(tp, cls)
    hints = field_types(tp, cls)
    forms = {field.name: types.form(hints.get(field.name, Any)) for field in fields}
    build, write = _generated(types, cls, fields, forms)
    later = {f.name: types.at(f".{f.name}", forms[f.name].decode) for f in fields if f.argument is None}
    name = type_name(tp)

    def back(raw: Any) -> Any:
        _check_tag(raw, form)
        value = build(raw, cls)
        for field, hook in later.items():
            if field in raw:
                object.__setattr__(value, field, hook(raw[field]))  # whether frozen or not
        return value

    form = checked(name, (cls,), (dict,), write, back, fields=True, deep=any(inner.deep for inner in forms.values()))
    return form


def _generated(types: Types, cls: type, fields: list[_Field], forms: dict[str, Form]) -> tuple[Any, Any]:
    """Returns cattrs' functions that read and write these fields."""

    # What cattrs calls a type is a form here: our converter hands out its functions.
    placed = {name: dataclasses.replace(form, encode=types.at(f".{name}", form.encode)) for name, form in forms.items()}
    members = {
        name: attrs.field(
            default=attrs.NOTHING if required else None,
            alias=argument or name,
            type=placed[name],  # type: ignore[call-overload]
            kw_only=True,
        )
        for name, argument, required in fields
    }
    described: Any = attrs.fields(attrs.make_class(cls.__name__, members, init=False, repr=False, eq=False))
    arguments = [it for it, field in zip(described, fields, strict=True) if field.argument is not None]
    variables = {parameter.__name__: Any for parameter in getattr(cls, "__parameters__", ())}  # all replaced: for a name only
    build: Any = make_dict_structure_fn_from_attrs(arguments, cls, types, variables)
    return build, make_dict_unstructure_fn_from_attrs(list(described), cls, types)


def _check_tag(raw: Any, form: Form) -> None:
    tag = raw.get(TAG)
    if tag is not None and tag != form.short and tag != form.name:
        # It was stored under a union of which this is the last member left.
        raise Misfit(f"is stored as {tag!r:.80}", wanted=form.name)


def _typed_dict(types: Types, tp: Any, cls: Any) -> Form:
    # Ours: cattrs keeps keys that are not declared, both ways, and its keys have to be Python names.
    types.opened(tp, dict)
    name = type_name(tp)
    forms = {key: types.form(hint) for key, hint in field_types(tp, cls).items()}
    if TAG in forms:
        return unstorable(tp, f'has a key "{TAG}", which says a union\'s member')
    required: frozenset[str] = cls.__required_keys__
    outward = {key: types.at(item(key), form.encode) for key, form in forms.items()}
    inward = {key: types.at(item(key), form.decode) for key, form in forms.items()}

    def out(value: Any) -> Any:
        if missing := required - value.keys():
            raise Misfit(f'has no key "{min(missing)}", declared as {name}', "Add it, or declare it NotRequired")
        for key in value:
            if key not in outward:
                undeclared = Misfit(f"is a key that {name} does not declare", "Declare it, or leave it out")
                undeclared.path.append(item(key))
                raise undeclared
        return {key: outward[key](member) for key, member in value.items()}

    def back(raw: Any) -> Any:
        _check_tag(raw, form)
        if missing := required - raw.keys():
            raise Misfit(f'has no field "{min(missing)}", which has no default', wanted=name)
        return {key: hook(raw[key]) for key, hook in inward.items() if key in raw}

    form = checked(name, (dict,), (dict,), out, back, fields=True, deep=any(inner.deep for inner in forms.values()))
    return form


def _model(tp: Any, cls: Any) -> Form:
    """A pydantic model is stored as its own JSON form and validated back; it must survive that unchanged."""
    name = type_name(tp)
    fields = not getattr(cls, "__pydantic_root_model__", False)

    def out(value: Any) -> Any:
        try:
            raw = value.model_dump(mode="json", by_alias=False, round_trip=True)
            again = cls.model_validate(raw, by_alias=False, by_name=True)
            same = again == value
        except Exception as error:
            raise Misfit(f"is a {name} that does not survive model_dump(mode='json'): {error}") from error
        if not same:
            advice = "Secrets and serializers that leave things out cannot be stored"
            raise Misfit(f"is a {name} that does not come back equal from model_dump(mode='json')", advice)
        return ready(raw)

    def back(raw: Any) -> Any:
        if fields:
            _check_tag(raw, form)
            raw = {key: member for key, member in raw.items() if key != TAG}
        try:
            return cls.model_validate(raw, by_alias=False, by_name=True)
        except Exception as error:
            text = f"is stored, but {name}.model_validate raised {type(error).__name__}: {error}"
            raise Misfit(text, wanted=name) from error

    form = checked(name, (cls,), (dict,) if fields else (), out, back, fields=fields, deep=True)
    return form
