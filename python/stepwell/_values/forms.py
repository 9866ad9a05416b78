"""What a declared type is compiled to, a `Form`: a function to plain data and one back.

The rule is D7: to plain data only from a value whose class is the declared one (an int passes for
float, a bool is no int), back from whatever was stored as long as it becomes today's type. cattrs
reads and writes the fields of classes, reads collections and notes the place of what fails; it
checks no classes when encoding and converts when decoding, so it gets every hook from here. Which
form a type has is decided in `types`.
"""

from __future__ import annotations

import threading
import types
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, NoReturn
from uuid import UUID

import cattrs
from cattrs.errors import ClassValidationError, IterableValidationError, IterableValidationNote

from .hints import bare, type_name
from .plain import Misfit, aware, class_name, folded, item, one, shown, writable

TAG = "$type"
"""The key under which a member of a union says its name."""

_UNFIT = (ArithmeticError, LookupError, TypeError, ValueError)
_MICROSECOND = timedelta(microseconds=1)

Hook = Callable[..., Any]
"""Takes a value; when decoding cattrs adds the declared type, which nobody here looks at."""


@dataclass(slots=True, eq=False)
class Form:
    """How one declared type is stored: a function to plain data (raises Misfit) and one back
    (raises what `misfit` explains)."""

    name: str
    encode: Hook
    decode: Hook
    accepts: Collection[type] = ()  # classes of values; empty: anything
    stores: Collection[type] = ()  # classes of plain data; empty: anything
    # values of exactly this class are stored as they are and come back as they are
    exact: type | None = None
    # what it stores is a dict of its own fields, in which a union can put its tag
    fields: bool = False
    deep: bool = False  # nesting has no bound of its own (recursive types, Any)
    parts: Collection[Form] = ()  # the forms of what is in it
    doubt: str = ""  # why its values may come back changed (D8)
    never: str = ""  # why none can be stored

    @property
    def short(self) -> str:
        """The name without its module, as in a union's tag."""
        head, bracket, rest = self.name.partition("[")
        return head.rpartition(".")[2] + bracket + rest

    def doubts(self) -> list[str]:
        """Returns why values may come back changed, of all that is in them."""
        found: dict[Form, str] = {}
        todo: list[Form] = [self]
        while todo:
            form = todo.pop()
            if form not in found:
                found[form] = form.doubt
                todo += form.parts
        return list(dict.fromkeys(why for why in found.values() if why))


def refused(value: object, name: str, accepts: Collection[type]) -> Misfit:
    """Returns what says that the value's class is not the declared one (D7)."""
    advice = "Declare the type it has (a union, or | None), or pass as_type="
    if isinstance(value, tuple(accepts)):
        advice = f"A subclass would come back as {name}: declare a union, or pass as_type="
    return Misfit(f"is {one(class_name(type(value)))}, declared as {name}", advice)


def mismatch(raw: object, name: str, why: str = "") -> Misfit:
    """Returns what says that what is stored cannot become this type."""
    return Misfit(f"is stored as {_in_words(raw)}{why}", wanted=name)


def _in_words(raw: object) -> str:
    """Returns what is stored, for a message."""
    if raw is None or isinstance(raw, dict):
        return "null" if raw is None else "a map"
    text, kind = shown(raw, 60), type(raw).__name__
    return one(text) if text.startswith(f"{kind} ") else f"{kind} {text}"  # "int too large to show"


def misfit(error: Any) -> Misfit:
    """Returns what any error of a `Form` comes to, with the place cattrs noted on its way up."""
    steps: list[str] = []
    while isinstance(error, (ClassValidationError, IterableValidationError)):
        noted, others = error.group_exceptions()
        name = class_name(error.cl)
        inner, note = noted[0] if noted else (others[0], None)
        if note is None:
            fault = Misfit(
                f"is stored, but {name}(...) raised {type(inner).__name__}: {inner}", wanted=name
            ).explained()
            fault.__cause__ = inner
            inner = fault
        elif isinstance(note, IterableValidationNote):
            steps.append(item(note.index))
        elif isinstance(inner, KeyError):
            inner = Misfit(f'has no field "{note.name}", which has no default', wanted=name)
        else:
            steps.append(f".{note.name}")
        error = inner
    if isinstance(error, RecursionError):
        raise error
    found: Misfit = error
    if isinstance(error, AttributeError):
        found = Misfit(f"has no attribute {error.name}: it was never set or was deleted")
    elif not isinstance(error, Misfit):
        found = Misfit(f"raised {type(error).__name__}: {error}")
    found.__cause__ = found.__cause__ if found is error else error
    found.path.extend(reversed(steps))
    return found


class Compiler(cattrs.Converter, ABC):
    """Compiles declared types, each once, with a converter's hooks looked up by us. How is up to
    who derives from it.

    cattrs dispatches on base classes first, so that a `StrEnum` would be a `str`, and on a value's
    own class where types are recursive. With `tracing` errors carry their place, which costs: it is
    for doing again what has failed.
    """

    def __init__(self, tracing: bool) -> None:
        super().__init__(detailed_validation=tracing)
        self._forms: dict[Any, Form] = {}
        self._lock = threading.RLock()  # nobody else may see what is `opened`

    def get_structure_hook(self, type: Any, cache_result: bool = True) -> Any:
        """Returns what cattrs calls to read this type, or a `Form` given in its place."""
        return (type if isinstance(type, Form) else self.form(type)).decode

    def get_unstructure_hook(self, type: Any, cache_result: bool = True) -> Any:
        """Returns what cattrs calls to write this type, or a `Form` given in its place."""
        return (type if isinstance(type, Form) else self.form(type)).encode

    def at(self, step: str, hook: Hook) -> Hook:
        """Returns the hook, when tracing one that adds a step to the path of its errors."""
        if not self.detailed_validation:
            return hook

        def placed(value: Any, _: Any = None) -> Any:
            try:
                return hook(value)
            except Exception as error:
                found = misfit(error)
                found.path.append(step)
                raise found from found.__cause__

        return placed

    def form(self, tp: Any) -> Form:
        """Returns the form of a declared type."""
        tp = bare(tp)
        with self._lock:
            try:
                known = self._forms.get(tp)
            except TypeError:  # no type can be unhashable
                return unstorable(tp)
            if known is None:
                known = self.compiled(tp)
                opened = self._forms.get(tp)
                if opened is not None:  # forms that were made meanwhile have it among their parts
                    opened.parts, opened.doubt = (known,), known.doubt
                self._forms[tp] = known
            return known

    @abstractmethod
    def compiled(self, tp: Any) -> Form:
        """Makes the form of a type that has none yet."""

    def opened(self, tp: Any, cls: type) -> None:
        """Makes the form of a class known before its fields are compiled, which may mention it."""
        encode = lambda value: self._forms[tp].encode(value)  # noqa: E731
        decode = lambda raw, _=None: self._forms[tp].decode(raw)  # noqa: E731
        self._forms[tp] = Form(
            type_name(tp), encode, decode, (cls,), (dict,), fields=True, deep=True
        )


def checked(
    name: str,
    accepts: Collection[type],
    stores: Collection[type],
    out: Hook,
    back: Hook,
    **more: Any,
) -> Form:
    """Returns a form that takes nothing but these classes, on the way out and (unless `reads` says
    more) back."""
    reads = more.pop("reads", stores)

    def encode(value: Any) -> Any:
        if type(value) not in accepts:
            raise refused(value, name, accepts)
        return out(value)

    def decode(raw: Any, _: Any = None) -> Any:
        if reads and type(raw) not in reads:
            raise mismatch(raw, name)
        try:
            return back(raw)
        except _UNFIT as error:
            raise mismatch(raw, name) from error

    return Form(name, encode, decode, accepts, stores, **more)


def check_tag(raw: Any, form: Form) -> None:
    """Checks that a map of fields is not stored as that of another class."""
    tag = raw.get(TAG)
    if tag is not None and tag != form.short and tag != form.name:
        # It was stored under a union of which this is the last member left.
        raise Misfit(f"is stored with the name {tag!r:.80}", wanted=form.name)


def unstorable(tp: Any, why: str = "") -> Form:
    """Returns a form for a type that cannot be stored, which says so when a value meets it."""
    name, reason = type_name(tp), why or "is not a type that can be stored"

    def encode(value: Any) -> NoReturn:
        if not why and type(value) is tp:
            raise Misfit(f"is {one(class_name(tp))}")
        raise Misfit(
            f"is declared as {name}, which {reason}",
            "" if why else "Declare the type it has, or pass as_type=",
        )

    def decode(raw: Any, _: Any = None) -> NoReturn:
        raise Misfit(f"is stored as {_in_words(raw)}, but {name} {reason}", wanted=name).explained()

    return Form(
        name, encode, decode, (tp,) if isinstance(tp, type) else (), never=f"{name} {reason}"
    )


def same(raw: Any, _: Any = None) -> Any:
    """Comes back as it is stored."""
    return raw


def _scalar(cls: type, *also: type) -> Form:
    """The form of what is stored as it is."""
    classes = frozenset({cls, *also})
    form = checked("None" if cls is types.NoneType else cls.__name__, classes, classes, same, same)
    form.exact = cls
    return form


SCALARS: dict[Any, Form] = {
    cls: _scalar(cls) for cls in (types.NoneType, bool, int, str, bytes, date, UUID)
} | {
    float: _scalar(float, int),
    # The tag for datetimes demands an offset.
    datetime: checked(
        "datetime",
        (datetime,),
        (datetime, str),
        lambda value: folded(
            value.isoformat() if value.utcoffset() is None else aware(value), value
        ),
        lambda raw: raw if type(raw) is datetime else datetime.fromisoformat(raw),
    ),
    timedelta: checked(
        "timedelta",
        (timedelta,),
        (int,),
        lambda value: value // _MICROSECOND,
        lambda raw: timedelta(microseconds=raw),
    ),
    # CBOR's decimal has neither NaN nor infinities nor a signed zero.
    Decimal: checked(
        "Decimal",
        (Decimal,),
        (Decimal, str),
        lambda value: (
            str(value)
            if not value.is_finite() or (value.is_zero() and value.is_signed())
            else writable(value)
        ),
        lambda raw: Decimal(raw) if type(raw) is str else raw,
    ),
}
