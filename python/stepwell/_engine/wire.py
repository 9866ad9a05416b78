"""How the calls of a desk look on a socket: made from the types that `Desk` declares, in both
directions, so that neither side can say what the other does not know.

What is sent is plain CBOR. Named records are lists of their fields, enums their values, errors the
name of a public class with its text and attributes. What is read is checked against its type before
anything is done with it; no class is made but those that the types name. Frames and limits stand in
`frames`; who may call stands in `answering`.
"""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from datetime import datetime
from enum import Enum
from typing import Any, Literal, NamedTuple, TypeAlias, Union

from .. import _errors, _kinds, _replay, _types
from .._errors import InternalError, StepwellError
from .._steps import retention
from .._types import Large, Redacted
from .._values.plain import Misfit, ready
from . import counted, look, rewinding, schedule_rows
from . import desk as desks
from .table import OPERATIONS

Pack: TypeAlias = Callable[[Any], Any]


class Garbled(Exception):
    """What came is not what was to come; the text says what, in words for whoever sent it."""


class Form(NamedTuple):
    """How values of one type are sent and read. `pack` is None if they go as they are."""

    pack: Pack | None
    unpack: Pack


class Call(NamedTuple):
    """One call of a desk.

    Attributes:
        name: What `Desk` calls it.
        parameters: Names and forms, in order, and whether it is given by its name.
        answer: The form of the answer, or of each item.
        changes: Whether it may change anything.
        follows: Whether it is answered by one item after another.
    """

    name: str
    parameters: tuple[tuple[str, Form, bool], ...]
    answer: Form
    changes: bool
    follows: bool

    def packed(self, args: Sequence[Any]) -> list[Any]:
        """Returns arguments, in order, as they are sent."""
        return [
            it if form.pack is None else form.pack(it)
            for (_, form, _), it in zip(self.parameters, args, strict=True)
        ]

    def unpacked(self, sent: Any) -> list[Any]:
        """Returns arguments as they were meant. Raises Garbled."""
        if not isinstance(sent, list) or len(sent) != len(self.parameters):
            raise Garbled(f"{self.name} takes {len(self.parameters)} arguments, in a list")
        args = []
        for (name, form, _), it in zip(self.parameters, sent, strict=True):
            try:
                args.append(form.unpack(it))
            except Garbled as error:
                raise Garbled(f"{self.name}: {name} {error}") from None
        return args

    def made(self, desk: Any, args: Sequence[Any]) -> Any:
        """Calls a desk."""
        named = {
            name: it
            for (name, _, by_name), it in zip(self.parameters, args, strict=True)
            if by_name
        }
        given = [
            it for (_, _, by_name), it in zip(self.parameters, args, strict=True) if not by_name
        ]
        return getattr(desk, self.name)(*given, **named)


def _exact(*classes: type) -> Form:
    def unpack(raw: Any) -> Any:
        if type(raw) not in classes:
            raise Garbled(f"is {type(raw).__name__}, not {classes[0].__name__}")
        return raw

    return Form(None, unpack)


def _shown(value: Any) -> Any:
    """Sends any value in a list; of one that is not shown its size, and of one that is not fetched
    two."""
    if type(value) is Large:
        return [value.size, value.size]
    return value.size if type(value) is Redacted else [ready(value)]


def _read(raw: Any) -> Any:
    if type(raw) is int:
        return Redacted(raw)
    if type(raw) is list and len(raw) == 1:
        return raw[0]
    if type(raw) is list and len(raw) == 2 and type(raw[0]) is int:
        return Large(raw[0])
    raise Garbled("is no value")


_SCALARS: dict[Any, Form] = {
    None: _exact(type(None)),
    type(None): _exact(type(None)),
    bool: _exact(bool),
    int: _exact(int),
    float: _exact(float, int),
    str: _exact(str),
    bytes: _exact(bytes),
    datetime: _exact(datetime),
    Any: Form(_shown, _read),
}


def form_of(declared: Any) -> Form:
    """Returns how values of a declared type are sent."""
    if (known := _SCALARS.get(declared)) is not None:
        return known
    origin: Any = typing.get_origin(declared)
    args = typing.get_args(declared)
    if isinstance(declared, typing.NewType):
        return form_of(declared.__supertype__)
    if origin in (Union, types.UnionType):
        return _either(args)
    if origin is Literal:
        return _one_of(args)
    if origin is tuple:
        return _items(args[0], tuple) if args[-1] is ... else _record(args, lambda *it: tuple(it))
    if origin in (list, Sequence):
        return _items(args[0], list)
    if origin is frozenset:
        return _items(args[0], frozenset)
    if origin in (dict, Mapping):
        return _mapping(*args)
    if origin is not None:
        return _dataclass(origin, dict(zip(origin.__parameters__, args, strict=True)))
    if issubclass(declared, Enum):
        return _enum(declared)
    if issubclass(declared, StepwellError):
        return Form(packed_error, unpacked_error)
    if issubclass(declared, tuple):
        fields: tuple[str, ...] = vars(declared)["_fields"]  # a named one
        hints = _hints(declared)
        return _record([hints[name] for name in fields], declared)
    return _dataclass(declared, {})


def _either(args: Sequence[Any]) -> Form:
    forms = [form_of(it) for it in args if it is not type(None)]
    may_lack = len(forms) < len(args)
    if len(forms) == 1:
        [(pack, unpack)] = forms
        return Form(
            None if pack is None else lambda it: None if it is None else pack(it),
            lambda raw: None if raw is None else unpack(raw),
        )

    def first(raw: Any) -> Any:
        if raw is None and may_lack:
            return None
        for form in forms:
            try:
                return form.unpack(raw)
            except Garbled:
                continue
        raise Garbled("is none of what it may be")

    assert all(it.pack is None for it in forms), "of several only those that go as they are"
    return Form(None, first)


def _one_of(values: Sequence[Any]) -> Form:
    def unpack(raw: Any) -> Any:
        if raw not in values:
            raise Garbled(f"is none of {', '.join(map(str, values))}")
        return raw

    return Form(None, unpack)


def _enum(cls: type[Enum]) -> Form:
    def unpack(raw: Any) -> Any:
        try:
            return cls(raw)
        except ValueError:
            raise Garbled(f"is no {cls.__name__}") from None

    return Form(lambda it: it.value, unpack)


def _items(declared: Any, made: Callable[[Any], Any]) -> Form:
    pack, unpack = form_of(declared)

    def unpack_all(raw: Any) -> Any:
        if not isinstance(raw, list):
            raise Garbled("is no list")
        return made([unpack(it) for it in raw])

    if pack is None:
        return Form(list, unpack_all)
    return Form(lambda them: [pack(it) for it in them], unpack_all)


def _mapping(key: Any, value: Any) -> Form:
    keys, values = form_of(key), form_of(value)

    def unpack(raw: Any) -> Any:
        if not isinstance(raw, dict):
            raise Garbled("is no map")
        return {keys.unpack(name): values.unpack(it) for name, it in raw.items()}

    return Form(
        lambda them: {
            name if keys.pack is None else keys.pack(name): it
            if values.pack is None
            else values.pack(it)
            for name, it in them.items()
        },
        unpack,
    )


def _record(declared: Sequence[Any], made: Callable[..., Any]) -> Form:
    """A tuple of so many, or a named one."""
    forms = [form_of(it) for it in declared]

    def unpack(raw: Any) -> Any:
        if not isinstance(raw, list) or len(raw) != len(forms):
            raise Garbled(f"is no list of {len(forms)}")
        return made(*[form.unpack(it) for form, it in zip(forms, raw, strict=True)])

    if all(it.pack is None for it in forms):
        return Form(None, unpack)
    return Form(
        lambda them: [
            it if form.pack is None else form.pack(it) for form, it in zip(forms, them, strict=True)
        ],
        unpack,
    )


def _dataclass(cls: Any, of: Mapping[Any, Any]) -> Form:
    hints = _hints(cls)
    names = [it.name for it in dataclasses.fields(cls) if it.init]
    pack, unpack = _record([_bound(hints[name], of) for name in names], cls)
    return Form(
        lambda it: (pack or list)([getattr(it, name) for name in names]),
        unpack,
    )


def _bound(declared: Any, of: Mapping[Any, Any]) -> Any:
    """Returns a type in which variables are those of a generic class that is given."""
    if declared in of:
        return of[declared]
    parameters = getattr(declared, "__parameters__", ())
    return declared[tuple(of[it] for it in parameters)] if parameters else declared


_NAMES = {
    name: value
    for module in (
        _types,
        _errors,
        _kinds,
        _replay,
        retention,
        desks,
        counted,
        look,
        rewinding,
        schedule_rows,
    )
    for name, value in vars(module).items()
} | {"AbstractAsyncContextManager": AbstractAsyncContextManager, "AsyncIterator": AsyncIterator}


def _hints(of: Any) -> dict[str, Any]:
    return typing.get_type_hints(of, localns=_NAMES)


# Errors.


def packed_error(error: BaseException) -> list[Any]:
    """Returns an error as it is sent: the first of its classes that is public."""
    name = next((it.__name__ for it in type(error).__mro__ if it.__name__ in _errors.__all__), "")
    told = {}
    for key, it in vars(error).items():
        with suppress(Misfit):  # of another's class; what it says is in the text
            told[key] = ready(it.value if isinstance(it, Enum) else it)
    return [name, str(error), told]


def unpacked_error(raw: Any) -> StepwellError:
    """Returns an error that was sent. Raises Garbled."""
    match raw:
        case [str(name), str(text), dict(told)] if name in _errors.__all__:
            if isinstance(status := told.get("status"), str):
                told["status"] = _enum(_types.Status).unpack(status)
            try:
                error: StepwellError = getattr(_errors, name)(text, **told)
            except TypeError as why:
                raise Garbled(f"is no {name}: {why}") from None
            return error
        case [_, str(text), _]:
            return InternalError(text)
        case _:
            raise Garbled("is no error")


# The calls.

_CHANGING = (
    {it for op in OPERATIONS if op.changes for it in op.asks}
    - {it for op in OPERATIONS if not op.changes for it in op.asks}
    - {"rewound"}
)
"""Calls that are only asked for by what changes something, but for its dry run."""


def _call(name: str) -> Call:
    method = getattr(desks.Desk, name)
    hints = _hints(method)
    answer = hints["return"]
    follows = typing.get_origin(answer) is AbstractAsyncContextManager
    if follows:  # of an iterator of them
        [items, *_] = typing.get_args(answer)
        [answer] = typing.get_args(items)
    _, *parameters = inspect.signature(method).parameters.values()
    return Call(
        name,
        tuple((it.name, form_of(hints[it.name]), it.kind is it.KEYWORD_ONLY) for it in parameters),
        form_of(answer),
        name in _CHANGING,
        follows,
    )


class _Calls(Mapping[str, Call]):
    def __init__(self) -> None:
        self._names = sorted({it for op in OPERATIONS for it in op.asks})
        self._made: dict[str, Call] = {}

    def __getitem__(self, name: str) -> Call:
        if name not in self._made:
            if name not in self._names:
                raise KeyError(name)
            self._made[name] = _call(name)
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


CALLS: Mapping[str, Call] = _Calls()
"""Every call that may come over a socket, by name: those that the operations of the table are made
of. Each is worked out when it first comes, or goes: a command of a shell has one or two."""
