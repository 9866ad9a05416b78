"""Values as they are stored: Python objects to bytes and back, by declared type.

A `Plan` is what a declared type comes to: two functions, made once per type. Without an annotation,
or with `Any` or `object`, a value has to be plain (`plain`); otherwise its class has to be the
declared one (D7), and it comes back as that class (`types`, on cattrs). Encoding refuses, decoding
forgives: unknown fields are ignored, missing ones take their defaults. The functions in use do not
know where in the value they are; what fails is done again by slower ones that do.

The texts say where in the value, not in which instance: the caller puts that in front.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .._errors import InvalidConfig, NotSerializable, StepwellError, TooLarge
from .._types import Limits
from .envelope import is_hidden, redacted, uncovered, why_unreadable, without_trace
from .hints import type_name, without_extras
from .payloads import Most
from .plain import DEPTH_MAX, READY, Misfit, clean, deeper_than, dumps, loads, ready

if TYPE_CHECKING:
    from .forms import Form
    from .types import Types

VALUE_BYTES_MAX = Limits().value_bytes

_NONE = b"\xf6"


ENCODED = "encoded"
"""What is stored where a codec of the user's made it, and it cannot be decoded."""


class Undecodable(StepwellError):
    """A stored value cannot become today's type. The instance is `blocked` with it, never `errored`
    (D7).

    Attributes:
        path: Where in the value, such as `result.pages[3]`.
        stored: What is stored there, in words.
        wanted: The type that was asked for there.
    """

    def __init__(
        self, message: str = "", *, path: str = "", stored: str = "", wanted: str = ""
    ) -> None:
        super().__init__(message)
        self.path = path
        self.stored = stored
        self.wanted = wanted


def too_large(data: bytes, limit: int, where: str) -> TooLarge:
    """Returns what says that a stored value has more bytes than the limit for one."""
    which = "limit= of the payload store" if isinstance(limit, Most) else "value_bytes"
    return TooLarge(
        f"{where} is {len(data):,} bytes when encoded, over the limit of {limit:,} ({which}). "
        "Store it elsewhere and keep a reference, or raise the limit",
        limit=limit,
        size=len(data),
    )


class Plan:
    """How values of one declared type are stored. Made by `Codec.plan`; keep it where it is used
    often.

    Attributes:
        type: The declared type.
        never: Why no value of it can be stored; "" if some can.
    """

    __slots__ = ("_as_they_are", "_doubts", "_form", "_traced", "never", "type")

    def __init__(self, type: Any, form: Form | None, traced: Callable[[], Form]) -> None:
        self.type = type
        self.never = form.never if form else ""
        self._doubts = form.doubts() if form else []
        self._form = form  # None: plain values
        self._as_they_are = READY if form is None else frozenset((form.exact,))
        self._traced = traced

    @property
    def is_typed(self) -> bool:
        """Whether a type is declared, other than Any."""
        return self._form is not None

    def encode(self, value: Any, where: str = "result", limit: int = VALUE_BYTES_MAX) -> bytes:
        """Returns the bytes of a value.

        Args:
            value: The value.
            where: What it is, as the beginning of the path in messages: `result`, `params`,
                `payload`.
            limit: How many bytes it may have.

        Raises:
            NotSerializable: Its class is not the declared one, or it is not plain and nothing is
                declared.
            TooLarge: It has more than `limit` bytes.
        """
        try:
            if type(value) in self._as_they_are:
                data = dumps(value)
            else:
                data = (
                    self._typed(value)
                    if self._form
                    else dumps(value if clean(value) else ready(value))
                )
        except Misfit as found:
            raise _not_serializable(found, where) from found.__cause__
        except RecursionError as error:
            if _of_users_code(error):
                raise _not_serializable(
                    Misfit(f"raised {error!r}", advice="Mend its class"), where
                ) from error
            endless = Misfit(f"is nested more than {DEPTH_MAX} levels deep, or contains itself")
            raise _not_serializable(endless, where) from None
        if len(data) > limit:
            raise too_large(data, limit, where)
        return data

    def decode(self, data: bytes, where: str = "result") -> Any:
        """Returns the value these bytes stand for, as the declared type.

        Args:
            data: The bytes.
            where: What it is, as the beginning of the path in messages.

        Raises:
            Undecodable: They cannot become that type.
        """
        try:
            raw = None if data == _NONE else loads(data)
            return raw if self._form is None else self._read(raw)
        except Misfit as found:
            if is_hidden(data):  # its step was sensitive, and is not any more
                return self.decode(uncovered(data), where)
            if (why := why_unreadable(data)) is not None:
                raise Undecodable(f"{where} {why}", path=where, stored=ENCODED) from None
            wanted = found.wanted or type_name(self.type)
            place = found.place(where)
            is_told = self._form is None or found.says_all
            wish = "" if is_told else f", and cannot become {wanted}"
            message = f"{place} {found.problem}{wish}"
            raise Undecodable(
                message, path=place, stored=found.problem, wanted=wanted
            ) from found.__cause__
        except RecursionError as error:
            wanted = type_name(self.type)
            if _of_users_code(error):
                text = f"{where} is stored, but code of {wanted} raised {error!r}"
                raise Undecodable(text, path=where, stored="stored", wanted=wanted) from error
            raise Undecodable(
                f"{where} is nested too deep for {wanted}",
                path=where,
                stored="nested",
                wanted=wanted,
            ) from None

    def _typed(self, value: Any) -> bytes:
        form: Any = self._form
        raw = self._write(value)
        if form.deep and deeper_than(raw, DEPTH_MAX):
            raise Misfit(f"is nested more than {DEPTH_MAX} levels deep")
        data = dumps(raw)
        if self._doubts:
            self._check_return(raw, data)
        return data

    def _check_return(self, raw: Any, data: bytes) -> None:
        """Checks that what comes back is what was given, by encoding it again (D8)."""
        from .doubt import changed, lost

        try:
            again = self._write(self._read(loads(data)))
        except Misfit as found:
            raise lost(found) from found.__cause__
        if dumps(again) != data:
            raise changed(raw, again, self._doubts)

    def _write(self, value: Any) -> Any:
        form: Any = self._form
        try:
            return form.encode(value)
        except (RecursionError, KeyboardInterrupt):
            raise
        except BaseException:  # also SystemExit: it comes from a class of the user's (R9)
            return _traced(self._traced().encode, value)

    def _read(self, raw: Any) -> Any:
        form: Any = self._form
        try:
            return form.decode(raw)
        except (RecursionError, KeyboardInterrupt):
            raise
        except BaseException:
            return _traced(self._traced().decode, raw)


_READERS = ("", "stepwell", "cattrs", "cbor2")
"""Packages of the code that reads and writes values; what cattrs generates names none."""


def _of_users_code(error: RecursionError) -> bool:
    """Whether it was code of a value's own class that went too deep, and not the value."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return (
        trace is not None
        and str(trace.tb_frame.f_globals.get("__name__", "")).partition(".")[0] not in _READERS
    )


def _traced(hook: Callable[[Any], Any], value: Any) -> Any:
    try:
        return hook(value)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        from .forms import misfit

        found = misfit(error)
        raise found from found.__cause__


_ANNOTATED = {
    "result": "Annotate it as {0}, or pass as_type={0}",
    "params": "Annotate the workflow's params as {0}",
    "items": "Annotate the workflow's params as {0}",
    "output": "Annotate what the workflow returns as {0}",
}
"""What to do about an object without annotation, by what it is; other values have no place for
one."""


def _not_serializable(misfit: Misfit, where: str) -> NotSerializable:
    place = misfit.place(where)
    advice = misfit.advice
    if not advice and misfit.declare:
        advice = _ANNOTATED.get(
            where.partition("[")[0], "Pass plain data, which needs no annotation"
        ).format(misfit.declare)
    elif not advice:
        advice = (
            ("Return plain data, or pass as_type=")
            if where == "result"
            else "Pass plain data, or annotate its type"
        )
    return NotSerializable(f"{place} {misfit.problem}. {advice}.", path=place)


class Codec:
    """Encodes and decodes values by declared type; keeps one plan per type."""

    def __init__(self) -> None:
        self._plans: dict[Any, Plan] = {}

    @functools.cached_property
    def _types(self) -> Types:
        from .types import Types  # the first type that is not plain pays for importing cattrs (W11)

        return Types(tracing=False)

    @functools.cached_property
    def _tracing(self) -> Types:
        from .types import Types

        return Types(tracing=True)

    def plan(self, type: Any = Any) -> Plan:
        """Returns the plan for a declared type, made at its first use.

        A type that cannot be stored, or an annotation that cannot be resolved, is no error here:
        encoding and decoding say so.
        """
        try:
            plan = self._plans.get(type)
        except TypeError:  # unhashable, such as Annotated[int, {}], or [int], which is no type
            return self._planned(type)
        if plan is None:
            plan = self._plans[type] = self._planned(type)
        return plan

    def _planned(self, type: Any) -> Plan:
        bare = without_extras(type)
        form = None if bare is Any or bare is object else self._types.form(bare)
        return Plan(type, form, lambda: self._tracing.form(bare))

    def encode(
        self, value: Any, type: Any = Any, *, where: str = "result", limit: int = VALUE_BYTES_MAX
    ) -> bytes:
        """Returns the bytes of a value, as `Plan.encode`."""
        return self.plan(type).encode(value, where, limit)

    def decode(self, data: bytes, type: Any = Any, *, where: str = "result") -> Any:
        """Returns the value these bytes stand for, as `Plan.decode`."""
        return self.plan(type).decode(data, where)


def as_plain(data: bytes | None) -> Any:
    """Returns what these bytes stand for as plain data; the bytes themselves where they stand for
    none, and only how many they are where they are hidden."""
    data = without_trace(data)
    if data is not None and is_hidden(data):
        return redacted(data)
    try:
        return None if data is None else codec.decode(data)
    except Undecodable:
        return data


codec = Codec()
"""The one codec of the process: plans are kept per type, and types are the same for every
engine."""


def usable(as_type: Any) -> Any:
    """Returns what somebody gave as `as_type=`.

    Raises:
        InvalidConfig: It is no type, or one of which no value can be stored.
    """
    if why := codec.plan(as_type).never:
        raise InvalidConfig(
            f"as_type={as_type!r:.100} cannot be used: {why}. Give a type that can "
            "be stored, such as list[Order]."
        )
    return as_type
