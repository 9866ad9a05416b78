"""Declared types, each compiled to a `Node`: a function to plain data and one back.

The rule is D7: to plain data only from a value whose class is the declared one (an int passes for float,
a bool is no int), back from whatever was stored as long as it becomes today's type. Classes with fields
are in `_codec_classes`, unions in `_codec_unions`. Stored data names nothing but members of the declared
union, enum or literal. A type nobody can store compiles to a node that says so when it is used.
"""

from __future__ import annotations

import collections.abc as abc
import contextlib
import enum
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, NoReturn
from uuid import UUID

from ._codec_plain import Misfit, aware, class_name, in_order, item, ready

TAG = "$type"
"""The key under which a member of a union says its name."""

_READ_ONLY = getattr(typing, "ReadOnly", None) or typing.Required  # 3.13
_MICROSECOND = timedelta(microseconds=1)
_LISTS: dict[object, tuple[type, ...]] = {
    list: (list,),
    abc.Sequence: (list, tuple),
    abc.MutableSequence: (list,),
    abc.Iterable: (list, tuple),
    abc.Collection: (list, tuple),
}
_DICTS = (dict, abc.Mapping, abc.MutableMapping)
_SETS: dict[object, type] = {set: set, frozenset: frozenset, abc.Set: set, abc.MutableSet: set}


@dataclass(frozen=True)
class Unresolved:
    """Stands for an annotation that names nothing known: plain values go through, others get a clear text.

    Attributes:
        text: The annotation.
        owner: The function or class it is written at.
    """

    text: str
    owner: str


class Node:
    """How one declared type is stored.

    Attributes:
        name: The type as people write it.
        encode: From a value to plain data. Raises Misfit.
        decode: From plain data to a value. Raises Misfit.
        exact: Values of exactly this class are stored as they are and come back as they are, unchecked.
        accepts: The classes of values it takes; empty: anything.
        stores: The classes of plain data it writes; empty: anything.
        fields: Whether what it stores is a dict of its own fields, in which a union can put its tag.
        deep: Whether nesting has no bound of its own (recursive types, Any).
    """

    __slots__ = ("accepts", "decode", "deep", "encode", "exact", "fields", "name", "stores")

    def __init__(self, name: str, accepts: tuple[type, ...] = (), stores: tuple[type, ...] = ()) -> None:
        self.name = name
        self.accepts = accepts
        self.stores = stores
        self.exact: type | None = None
        self.fields = False
        self.deep = False
        self.encode: Callable[[Any], Any] = self._unfinished
        self.decode: Callable[[Any], Any] = self._unfinished

    def _unfinished(self, value: Any) -> NoReturn:
        raise AssertionError(f"{self.name} is used while it is being compiled")

    @property
    def short(self) -> str:
        """The name without its module, as in a union's tag."""
        head, bracket, rest = self.name.partition("[")
        return head.rpartition(".")[2] + bracket + rest

    def refuse(self, value: object) -> NoReturn:
        """Says that the value's class is not this one (D7)."""
        raise Misfit(f"is a {class_name(type(value))}, declared as {self.name}", _advice(value, self))

    def mismatch(self, raw: object, why: str = "") -> NoReturn:
        """Says that what is stored cannot become this type."""
        stored = "null" if raw is None else "a map" if isinstance(raw, dict) else f"{type(raw).__name__} {raw!r:.60}"
        raise Misfit(f"is stored as {stored}{why}", wanted=self.name)


def _advice(value: object, node: Node) -> str:
    if any(isinstance(value, cls) for cls in node.accepts):
        return f"A subclass would come back as {node.name}: declare a union, or pass as_type="
    return "Declare the type it has (a union, or | None), or pass as_type="


def type_name(tp: Any) -> str:
    """Returns a declared type as people write it."""
    if tp is None or tp is types.NoneType:
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


class Types:
    """Compiles declared types, each once."""

    def __init__(self) -> None:
        self._nodes: dict[Any, Node] = {}
        self._open: list[Node] = []

    def node(self, tp: Any) -> Node:
        """Returns the node of a declared type."""
        tp = _bare(tp)
        try:
            known = self._nodes.get(tp)
        except TypeError:
            return self._compile(tp)
        if known is None:
            known = self._nodes[tp] = self._compile(tp)
        elif known in self._open:
            for node in self._open[self._open.index(known) :]:
                node.deep = True
        return known

    def opened(self, tp: Any, node: Node) -> None:
        """Makes a node known before its fields are compiled, which may mention it."""
        with contextlib.suppress(TypeError):  # unhashable
            self._nodes[tp] = node
        self._open.append(node)

    def closed(self) -> None:
        """The fields of the node opened last are compiled."""
        self._open.pop()

    def _compile(self, tp: Any) -> Node:
        from . import _codec_classes, _codec_unions  # both build on this file

        if tp is Any or tp is object:
            return _any()
        if isinstance(tp, Unresolved):
            return _unresolved(tp)
        origin = typing.get_origin(tp)
        if origin in (typing.Union, types.UnionType):
            return _codec_unions.union(self, tp)
        if origin is typing.Literal:
            return _literal(tp)
        if isinstance(tp, type) and tp in _SCALARS:
            return _SCALARS[tp]()
        container = origin or tp
        args = typing.get_args(tp)
        if container in _LISTS:
            return _list(self, tp, _LISTS[container], args)
        if container in _DICTS:
            return _dict(self, tp, args)
        if container in _SETS:
            return _set(self, tp, _SETS[container], args)
        if container is tuple:
            return _tuple(self, tp, args)
        if isinstance(tp, type) and issubclass(tp, enum.Enum):
            return _enum(tp)
        if isinstance(container, type):
            return _codec_classes.class_node(self, tp, container) or unstorable(tp)
        return unstorable(tp)


def _bare(tp: Any) -> Any:
    """Takes off what says nothing about storage: Annotated, NewType, Final, type variables, aliases."""
    while True:
        if tp is None:
            return types.NoneType
        origin = typing.get_origin(tp)
        if hasattr(tp, "__metadata__") or origin in (typing.Required, typing.NotRequired, typing.Final, _READ_ONLY):
            tp = typing.get_args(tp)[0]
        elif isinstance(tp, typing.NewType):
            tp = tp.__supertype__
        elif isinstance(tp, typing.TypeVar):
            tp = tp.__bound__ or (typing.Union[tp.__constraints__] if tp.__constraints__ else Any)  # noqa: UP007
        elif type(tp).__name__ == "TypeAliasType":
            tp = tp.__value__
        elif tp is typing.NoReturn or tp is typing.Never:
            return Any
        else:
            return tp


def unstorable(tp: Any, why: str = "") -> Node:
    """Returns a node for a type that cannot be stored, which says so when a value meets it."""
    name = tp if isinstance(tp, str) else type_name(tp)
    node = Node(name, accepts=(tp,) if isinstance(tp, type) else ())
    problem = why or "is not a type that can be stored"

    def encode(value: Any) -> NoReturn:
        raise Misfit(f"is declared as {name}, which {problem}" if why else f"is a {class_name(type(value))}")

    def decode(raw: Any) -> NoReturn:
        raise Misfit(f"is stored, but {name} {problem}", wanted=name)

    node.encode, node.decode = encode, decode
    return node


def _any() -> Node:
    node = Node("Any")
    node.encode = ready
    node.decode = lambda raw: raw
    node.deep = True
    return node


def _unresolved(tp: Unresolved) -> Node:
    node = _any()
    node.name = tp.text

    def encode(value: Any) -> Any:
        try:
            return ready(value)
        except Misfit as misfit:
            misfit.advice = f'The annotation "{tp.text}" of {tp.owner} cannot be resolved: define it at module level, or pass as_type='
            raise

    node.encode = encode
    return node


def _plain(cls: type) -> Node:
    node = Node(cls.__name__, (cls,), (cls,))
    node.exact = cls

    def encode(value: Any) -> Any:
        return value if type(value) is cls else node.refuse(value)

    def decode(raw: Any) -> Any:
        return raw if type(raw) is cls else node.mismatch(raw)

    node.encode, node.decode = encode, decode
    return node


def _none() -> Node:
    node = _plain(types.NoneType)
    node.name = "None"
    return node


def _float() -> Node:
    node = Node("float", (float, int), (float, int))
    node.exact = float

    def encode(value: Any) -> Any:
        return value if type(value) is float or type(value) is int else node.refuse(value)

    def decode(raw: Any) -> Any:
        return raw if type(raw) is float or type(raw) is int else node.mismatch(raw)

    node.encode, node.decode = encode, decode
    return node


def _datetime() -> Node:
    # A naive one is stored as text: the tag for datetimes demands an offset.
    node = Node("datetime", (datetime,), (datetime, str))

    def encode(value: Any) -> Any:
        if type(value) is not datetime:
            node.refuse(value)
        return value.isoformat() if value.utcoffset() is None else aware(value)

    def decode(raw: Any) -> Any:
        if type(raw) is datetime:
            return raw
        try:
            return datetime.fromisoformat(raw)
        except (TypeError, ValueError):
            node.mismatch(raw)

    node.encode, node.decode = encode, decode
    return node


def _timedelta() -> Node:
    node = Node("timedelta", (timedelta,), (int,))

    def encode(value: Any) -> Any:
        return value // _MICROSECOND if type(value) is timedelta else node.refuse(value)

    def decode(raw: Any) -> Any:
        try:
            return timedelta(microseconds=raw) if type(raw) is int else node.mismatch(raw)
        except OverflowError:
            node.mismatch(raw)

    node.encode, node.decode = encode, decode
    return node


def _decimal() -> Node:
    # CBOR's decimal has neither NaN nor infinities nor a signed zero: those are stored as text.
    node = Node("Decimal", (Decimal,), (Decimal, str))

    def encode(value: Any) -> Any:
        if type(value) is not Decimal:
            node.refuse(value)
        return str(value) if not value.is_finite() or (value.is_zero() and value.is_signed()) else value

    def decode(raw: Any) -> Any:
        if type(raw) is Decimal:
            return raw
        try:
            return Decimal(raw) if type(raw) is str else node.mismatch(raw)
        except InvalidOperation:
            node.mismatch(raw)

    node.encode, node.decode = encode, decode
    return node


_SCALARS: dict[Any, Callable[[], Node]] = {
    types.NoneType: _none,
    float: _float,
    datetime: _datetime,
    timedelta: _timedelta,
    Decimal: _decimal,
    **{cls: lambda cls=cls: _plain(cls) for cls in (bool, int, str, bytes, date, UUID)},  # type: ignore[misc]
}


def _list(types_: Types, tp: Any, accepts: tuple[type, ...], args: tuple[Any, ...]) -> Node:
    inner = types_.node(args[0] if args else Any)
    node = Node(type_name(tp), accepts, (list,))
    node.deep = inner.deep
    exact = inner.exact
    exactly = frozenset({exact})

    def each(values: Any, convert: Callable[[Any], Any]) -> list[Any]:
        result: list[Any] = []
        try:
            for value in values:
                result.append(value if type(value) is exact else convert(value))
        except Misfit as misfit:
            misfit.path.append(item(len(result)))
            raise
        return result

    def encode(value: Any) -> Any:
        if type(value) not in accepts:
            node.refuse(value)
        return value if exactly.issuperset(map(type, value)) else each(value, inner.encode)

    def decode(raw: Any) -> Any:
        if type(raw) is not list and type(raw) is not tuple:
            node.mismatch(raw)
        if type(raw) is list and exactly.issuperset(map(type, raw)):
            return raw
        return each(raw, inner.decode)

    node.encode, node.decode = encode, decode
    return node


def _set(types_: Types, tp: Any, cls: type, args: tuple[Any, ...]) -> Node:
    # An array, not the tag for sets: members of a tagged set come back as immutable stand-ins.
    listed = _list(types_, tp, (list,), args)
    node = Node(type_name(tp), (cls,) if tp is cls or typing.get_origin(tp) is cls else (set, frozenset), (list,))
    node.deep = listed.deep

    def encode(value: Any) -> Any:
        if type(value) not in node.accepts:
            node.refuse(value)
        return in_order(listed.encode(list(value)))

    def decode(raw: Any) -> Any:
        if type(raw) is set or type(raw) is frozenset:
            raw = list(raw)
        try:
            return cls(listed.decode(raw))
        except TypeError as error:
            node.mismatch(raw, f" ({error})")

    node.encode, node.decode = encode, decode
    return node


def _tuple(types_: Types, tp: Any, args: tuple[Any, ...]) -> Node:
    if not args and tp is tuple:
        args = (Any, ...)
    node = Node(type_name(tp), (tuple,), (list,))
    if len(args) == 2 and args[1] is Ellipsis:
        listed = _list(types_, tp, (tuple,), args[:1])
        node.deep = listed.deep
        node.encode = listed.encode
        node.decode = lambda raw: tuple(listed.decode(raw))
        return node
    parts = [types_.node(arg) for arg in args]
    node.deep = any(part.deep for part in parts)

    def each(values: Any, converts: list[Callable[[Any], Any]]) -> list[Any]:
        result: list[Any] = []
        try:
            for convert, value in zip(converts, values, strict=True):
                result.append(convert(value))
        except Misfit as misfit:
            misfit.path.append(item(len(result)))
            raise
        return result

    def encode(value: Any) -> Any:
        if type(value) is not tuple:
            node.refuse(value)
        if len(value) != len(parts):
            raise Misfit(f"has {len(value)} items, declared as {node.name}")
        return each(value, [part.encode for part in parts])

    def decode(raw: Any) -> Any:
        if type(raw) not in (list, tuple):
            node.mismatch(raw)
        if len(raw) != len(parts):
            node.mismatch(raw, f" of {len(raw)} items")
        return tuple(each(raw, [part.decode for part in parts]))

    node.encode, node.decode = encode, decode
    return node


def _dict(types_: Types, tp: Any, args: tuple[Any, ...]) -> Node:
    keys, values = (types_.node(arg) for arg in args or (Any, Any))
    node = Node(type_name(tp), (dict,), (dict,))
    node.deep = keys.deep or values.deep
    key_exact, value_exact = keys.exact, values.exact
    key_exactly, value_exactly = frozenset({key_exact}), frozenset({value_exact})

    def each(mapping: Any, way: str) -> dict[Any, Any]:
        convert_key, convert = getattr(keys, way), getattr(values, way)
        result: dict[Any, Any] = {}
        key = None
        try:
            for key, value in mapping.items():
                new = key if type(key) is key_exact else _hashable(convert_key(key))
                result[new] = value if type(value) is value_exact else convert(value)
        except Misfit as misfit:
            misfit.path.append(item(key))
            raise
        return result

    def settled(mapping: Any) -> bool:
        return key_exactly.issuperset(map(type, mapping)) and value_exactly.issuperset(map(type, mapping.values()))

    def encode(value: Any) -> Any:
        if type(value) is not dict:
            node.refuse(value)
        if settled(value) and key_exact is not float:
            return value
        if any(key != key for key in value):
            raise Misfit("has NaN as a key, which can never be looked up")
        return each(value, "encode")

    def decode(raw: Any) -> Any:
        if type(raw) is dict:
            return raw if settled(raw) else each(raw, "decode")
        return each(raw, "decode") if isinstance(raw, abc.Mapping) else node.mismatch(raw)

    node.encode, node.decode = encode, decode
    return node


def _hashable(key: Any) -> Any:
    """Lists stand for tuples, which as keys have to stay tuples."""
    if type(key) is list:
        return tuple(map(_hashable, key))
    try:
        hash(key)
    except TypeError:
        raise Misfit("has a key that is stored as a map or a set", "Use a list of pairs") from None
    return key


def _enum(cls: type[enum.Enum]) -> Node:
    flags = issubclass(cls, enum.Flag)
    node = Node(class_name(cls), (cls,), (int,) if flags else (str,))
    members = cls.__members__

    def encode(value: Any) -> Any:
        if type(value) is not cls:
            node.refuse(value)
        return value.value if flags else value.name

    def decode(raw: Any) -> Any:
        # By name; by value for what was stored when the type was still str or int.
        if type(raw) is str and raw in members:
            return members[raw]
        try:
            return cls(raw)
        except Exception:
            node.mismatch(raw)

    node.encode, node.decode = encode, decode
    return node


def _literal(tp: Any) -> Node:
    values = typing.get_args(tp)
    table = {(type(value), value): value.name if isinstance(value, enum.Enum) else value for value in values}
    back = {(type(stored), stored): key[1] for key, stored in table.items()}
    node = Node(type_name(tp), tuple({cls for cls, _ in table}), tuple({cls for cls, _ in back}))

    def encode(value: Any) -> Any:
        try:
            return table[type(value), value]
        except (KeyError, TypeError):
            raise Misfit(f"is {value!r:.80}, declared as {node.name}") from None

    def decode(raw: Any) -> Any:
        try:
            return back[type(raw), raw]
        except (KeyError, TypeError):
            node.mismatch(raw)

    node.encode, node.decode = encode, decode
    return node
