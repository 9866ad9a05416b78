"""Classes with fields: dataclasses, attrs classes, NamedTuples, TypedDicts (and pydantic models:
`models`).

Each is stored as a map of its fields by name, so that fields may come, go and move. To come back it
is called with what was stored; what is missing takes its default, what is unknown is ignored. The
functions that do so are cattrs', generated per class.
"""

from __future__ import annotations

import dataclasses
import sys
import typing
from collections.abc import Collection
from typing import Any, NamedTuple

import attrs
from cattrs.gen import make_dict_structure_fn_from_attrs, make_dict_unstructure_fn_from_attrs

from .doubt import doubt, never
from .forms import TAG, Compiler, Form, check_tag, checked, unstorable
from .hints import field_types, type_name
from .plain import Misfit, item, one


class _Field(NamedTuple):
    name: str
    argument: str | None  # of the constructor; None: set after it
    required: bool


def class_form(types: Compiler, tp: Any, cls: Any) -> Form | None:
    """Returns the form of a class with fields, or None if it is not one."""
    pydantic = sys.modules.get("pydantic")
    if pydantic is not None and issubclass(cls, pydantic.BaseModel):
        from .models import model_form  # programs without pydantic do not pay for it

        return model_form(tp, cls)
    if typing.is_typeddict(cls):
        return _typed_dict(types, tp, cls)
    if dataclasses.is_dataclass(cls):
        fields = [
            _Field(f.name, f.name if f.init else None, f.init and _is_required(f))
            for f in dataclasses.fields(cls)
        ]
    elif attrs.has(cls):
        fields = [
            _Field(f.name, f.alias if f.init else None, f.init and f.default is attrs.NOTHING)
            for f in attrs.fields(cls)
        ]
    elif issubclass(cls, tuple) and hasattr(cls, "_fields"):
        named: Any = cls  # a NamedTuple, which has no class of its own to check for
        fields = [_Field(name, name, name not in named._field_defaults) for name in named._fields]
    else:
        return None
    # the checks above have narrowed it to something that is no `type` for the checker
    made: Any = cls
    if why := never(made, [field.argument for field in fields if field.argument is not None]):
        return unstorable(tp, why)
    return _object(types, tp, made, fields)


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _object(types: Compiler, tp: Any, cls: type, fields: list[_Field]) -> Form:
    types.opened(tp, cls)
    hints = field_types(tp, cls)
    forms = {field.name: types.form(hints.get(field.name, Any)) for field in fields}
    name = type_name(tp)
    build, write = _generated(types, cls, fields, forms)
    if types.detailed_validation:
        build, write = _told(name, build, write)
    later = {
        f.name: types.at(f".{f.name}", forms[f.name].decode) for f in fields if f.argument is None
    }

    def back(raw: Any) -> Any:
        check_tag(raw, form)
        value = build(raw, cls)
        for field, hook in later.items():
            if field in raw:
                object.__setattr__(value, field, hook(raw[field]))  # whether frozen or not
        return value

    why = doubt(cls, forms) or ("has fields that its constructor does not take" if later else "")
    form = checked(
        name,
        (cls,),
        (dict,),
        write,
        back,
        fields=True,
        doubt=f"{name} {why}" if why else "",
        **_about(forms, forms),
    )
    return form


def _told(name: str, build: Any, write: Any) -> tuple[Any, Any]:
    """Returns both functions so that they name the class where its code raises; cattrs does so for
    an `Exception` that its call raised."""

    def told(raw: Any, cls: type) -> Any:
        try:
            return build(raw, cls)
        except (Exception, KeyboardInterrupt):
            raise
        except BaseException as error:
            raise Misfit(
                f"is stored, but {name}(...) raised {type(error).__name__}: {error}", wanted=name
            ).explained() from error

    def written(value: Any) -> Any:
        try:
            return write(value)
        except (Misfit, AttributeError, RecursionError, KeyboardInterrupt):
            raise
        except BaseException as error:
            raise Misfit(
                f"is {one(name)}, of which a field raised {type(error).__name__}: {error}"
            ) from error

    return told, written


def _about(forms: dict[str, Form], always: Collection[str]) -> dict[str, Any]:
    """What is to be known of a class because of its fields, some of which are always stored."""
    unstorable = (
        f"{form.never} (field {name})"
        for name, form in forms.items()
        if form.never and name in always
    )
    return {
        "deep": any(form.deep for form in forms.values()),
        "parts": forms.values(),
        "never": next(unstorable, ""),
    }


def _generated(
    types: Compiler, cls: type, fields: list[_Field], forms: dict[str, Form]
) -> tuple[Any, Any]:
    """Returns cattrs' functions that read and write these fields."""

    # What cattrs calls a type is a form here: our converter hands out its functions.
    placed = {
        name: dataclasses.replace(form, encode=types.at(f".{name}", form.encode))
        for name, form in forms.items()
    }
    members = {
        name: attrs.field(
            default=attrs.NOTHING if required else None,
            alias=argument or name,
            type=placed[name],  # type: ignore[call-overload]
            kw_only=True,
        )
        for name, argument, required in fields
    }
    described: Any = attrs.fields(
        attrs.make_class(cls.__name__, members, init=False, repr=False, eq=False)
    )
    arguments = [
        it for it, field in zip(described, fields, strict=True) if field.argument is not None
    ]
    # all replaced: for a name only
    variables = {parameter.__name__: Any for parameter in getattr(cls, "__parameters__", ())}
    build: Any = make_dict_structure_fn_from_attrs(arguments, cls, types, variables)
    return build, make_dict_unstructure_fn_from_attrs(list(described), cls, types)


def _typed_dict(types: Compiler, tp: Any, cls: Any) -> Form:
    # Ours: cattrs keeps keys that are not declared, both ways, and its keys have to be Python
    # names.
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
            raise Misfit(
                f'has no key "{min(missing)}", declared as {name}',
                "Add it, or declare it NotRequired",
            )
        for key in value:
            if key not in outward:
                undeclared = Misfit(
                    f"is a key that {name} does not declare", "Declare it, or leave it out"
                )
                undeclared.path.append(item(key))
                raise undeclared
        return {key: outward[key](member) for key, member in value.items()}

    def back(raw: Any) -> Any:
        check_tag(raw, form)
        if missing := required - raw.keys():
            raise Misfit(f'has no field "{min(missing)}", which has no default', wanted=name)
        return {key: hook(raw[key]) for key, hook in inward.items() if key in raw}

    form = checked(name, (dict,), (dict,), out, back, fields=True, **_about(forms, required))
    return form
