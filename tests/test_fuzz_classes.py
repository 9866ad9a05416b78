"""Classes of users, drawn: of every kind, with constructors that keep, compute, convert, check or
refuse (D8).

`STEPWELL_FUZZ` says how many.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

import attrs
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_fuzz_codec import INPUTS, MOMENT, in_few_words

from stepwell import NotSerializable
from stepwell._values.codec import codec

PLAIN_VALUES: dict[Any, st.SearchStrategy[Any]] = {
    int: st.integers(-3, 3),
    str: st.sampled_from(["", "a", "b"]),
    datetime: st.builds(
        lambda fold, aware: MOMENT.replace(fold=fold, tzinfo=UTC if aware else None),
        st.integers(0, 1),
        st.booleans(),
    ),
    list[int]: st.lists(st.integers(-3, 3), max_size=2),
}
KINDS = ("dataclass", "slots", "attrs", "named tuple", "model")
QUIRKS = {
    "dataclass": (
        "none",
        "computes",
        "refuses",
        "own init",
        "no such init",
        "setattr",
        "property",
        "not an argument",
    ),
    "slots": ("none", "computes", "refuses", "own init", "not an argument"),
    "attrs": ("none", "computes", "converts", "refuses", "own init"),
    "named tuple": ("none", "own init", "property"),
    "model": ("none", "computes", "refuses", "private"),
}


def changed(value: Any) -> Any:
    """What a constructor may make of a value; some are left as they are."""
    if isinstance(value, int):
        return abs(value)
    if isinstance(value, str):
        return value.upper()
    return sorted(value) if isinstance(value, list) else value.replace(fold=0)


def of_kind(kind: str, quirk: str, fields: list[tuple[str, Any, bool, Any]]) -> Any:
    """Makes a class: fields are name, type, whether there is a default, and that default."""
    first = fields[0][0]
    names = [name for name, *_ in fields]
    own: dict[str, Any] = {}

    def alter(self: Any, *_: Any) -> None:
        value = getattr(self, first)
        if quirk == "refuses" and value in (-1, "b", [0]):
            raise ValueError("never")
        if quirk == "computes":
            object.__setattr__(self, first, changed(value))

    def init(self: Any, **given: Any) -> None:
        for name, _, has_default, default in fields:
            object.__setattr__(
                self, name, changed(given[name] if name in given or not has_default else default)
            )

    def other_init(self: Any, other: Any = None) -> None:
        for name, _, _, default in fields:
            object.__setattr__(self, name, default)

    if quirk in ("computes", "refuses"):
        own[
            {"attrs": "__attrs_post_init__", "model": "model_post_init"}.get(kind, "__post_init__")
        ] = alter
    elif quirk in ("own init", "no such init") and kind != "named tuple":
        own["__init__"] = init if quirk == "own init" else other_init
    elif quirk == "setattr":
        own["__setattr__"] = lambda self, name, value: object.__setattr__(
            self, name, changed(value)
        )
    if kind in ("dataclass", "slots"):
        late = quirk == "not an argument"
        own |= {
            name: field(default_factory=lambda it=it: it, init=not late or name != first)
            for name, _, has, it in fields
            if has or late
        }
        cls: Any = type(
            "Drawn",
            (),
            {
                **own,
                "__annotations__": {name: tp for name, tp, *_ in fields},
                "__module__": __name__,
            },
        )
        cls = dataclass(cls, eq=False, slots=kind == "slots", kw_only=True)
        if quirk == "property":
            setattr(
                cls,
                first,
                property(
                    lambda it: changed(vars(it)["_" + first]),
                    lambda it, v: vars(it).update({"_" + first: v}),
                ),
            )
        return cls
    if kind == "attrs":
        made = {}
        for name, tp, has, default in fields:
            made[name] = attrs.field(
                default=default if has else attrs.NOTHING,
                kw_only=True,
                type=tp,
                converter=changed if quirk == "converts" else None,
            )
        return attrs.make_class("Drawn", made, class_body=own, eq=False, auto_detect=True)
    if kind == "named tuple":
        base: Any = NamedTuple("Drawn", [(name, tp) for name, tp, *_ in fields])
        if quirk == "own init":
            own["__new__"] = lambda cls, **given: base.__new__(
                cls, **{name: changed(given[name]) for name in names}
            )
        elif quirk == "property":
            own[first] = property(lambda self: changed(self[0]))
        return type("Drawn", (base,), {**own, "__module__": __name__}) if own else base
    if quirk == "private":
        own["_hidden"] = pydantic.PrivateAttr(default=0)
    annotated: Any = {
        name: (tp, pydantic.Field(default_factory=lambda it=it: it) if has else ...)
        for name, tp, has, it in fields
    }
    return pydantic.create_model(
        "Drawn",
        __base__=type("Base", (pydantic.BaseModel,), {**own, "__module__": __name__}),
        **annotated,
    )


@st.composite
def drawn(draw: st.DrawFn) -> tuple[str, str, Any, Any]:
    """A kind, a quirk, a class and an object of it, made by its constructor and perhaps changed
    afterwards."""
    kind = draw(st.sampled_from(KINDS))
    quirk = draw(st.sampled_from(QUIRKS[kind]))
    types = draw(st.lists(st.sampled_from(list(PLAIN_VALUES)), min_size=1, max_size=3))
    fields = [
        (f"f{n}", tp, draw(st.booleans()), draw(PLAIN_VALUES[tp])) for n, tp in enumerate(types)
    ]
    cls = of_kind(kind, quirk, fields)
    given = {
        name: draw(PLAIN_VALUES[tp])
        for name, tp, has, _ in fields
        if not has or kind == "named tuple" or draw(st.booleans())
    }
    if quirk == "not an argument":
        given.pop("f0", None)
    try:
        value = cls() if quirk == "no such init" else cls(**given)
    except ValueError:
        return kind, "none", int, 0
    name, tp, *_ = fields[0]
    if kind != "named tuple" and draw(st.booleans()):
        (setattr if kind == "model" else object.__setattr__)(value, name, draw(PLAIN_VALUES[tp]))
    if quirk == "private" and draw(st.booleans()):
        value._hidden = 1
    return kind, quirk, cls, value


def inside(value: Any) -> Any:
    """All that tells two values apart, without asking their classes whether they are equal."""
    if isinstance(value, datetime):
        return value.isoformat(), value.fold
    if isinstance(value, list):
        return [inside(member) for member in value]
    if isinstance(value, pydantic.BaseModel):
        return (
            type(value),
            inside(vars(value)),
            value.model_fields_set,
            inside(value.__pydantic_private__),
        )
    if isinstance(value, dict):
        return {name: inside(member) for name, member in value.items()}
    if type(value).__name__ == "Drawn":
        cls: Any = type(value)
        made_of = (
            getattr(cls, "__dataclass_fields__", None)
            or getattr(cls, "_fields", None)
            or [it.name for it in attrs.fields(cls)]
        )
        return cls, [inside(getattr(value, name)) for name in made_of]
    return value


@pytest.mark.slow
@settings(max_examples=max(100, INPUTS // 10), deadline=None)
@given(drawn(), st.sampled_from(["alone", "listed", "optional", "held"]))
def test_d8_what_is_stored_of_any_class_comes_back_equal(
    it: tuple[str, str, Any, Any], how: str
) -> None:
    kind, quirk, cls, value = it
    type_: Any = {
        "alone": cls,
        "listed": list[cls],
        "optional": cls | None,
        "held": dict[str, cls],
    }[how]
    whole = [value] if how == "listed" else {"a": value} if how == "held" else value
    before = inside(whole)
    try:
        data = codec.encode(whole, type_)
    except NotSerializable as error:
        in_few_words(error)
        assert quirk != "none", f"a {kind} that does nothing but keep its fields"
        return
    assert not codec.plan(type_).never
    again = codec.decode(data, type_)
    assert inside(again) == before == inside(whole)
    assert codec.encode(again, type_) == data
