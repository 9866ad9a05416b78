"""Whether a step changed what it was given (D10).

The arguments of a step are the body's own objects. On replay the step does not run, so what it
changed in them is not changed then, and the body goes another way. A test engine looks at them
before the first attempt and after the last one; production does not, since it costs as much as to
store them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from decimal import Decimal
from functools import partial
from types import ModuleType, NoneType
from typing import Any
from uuid import UUID

from .._errors import NotSerializable, TooLarge
from .._values.codec import codec

_UNCHANGING = (
    NoneType,
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    date,
    timedelta,
    Decimal,
    UUID,
    type,
    ModuleType,
)
_BYTES_MAX = 64 << 20


class Arguments:
    """What a step function is given, as it is now.

    Args:
        fn: The function.
        args: What it is called with.
    """

    def __init__(self, fn: Callable[..., Any], args: tuple[Any, ...]) -> None:
        looked_at = (
            (name, value, _stored(value))
            for name, value in _named(fn, args)
            if not isinstance(value, _UNCHANGING)
        )
        self._before = [(name, value, data) for name, value, data in looked_at if data is not None]

    def changed(self) -> str | None:
        """Returns the name of the first argument that is another now; None if none is."""
        return next((name for name, value, data in self._before if _stored(value) != data), None)


def _named(fn: Any, args: tuple[Any, ...]) -> Iterator[tuple[str, Any]]:
    keywords: dict[str, Any] = {}
    while isinstance(fn, partial):
        fn, args, keywords = fn.func, (*fn.args, *args), {**fn.keywords, **keywords}
    if (owner := getattr(fn, "__self__", None)) is not None:
        yield "self", owner
    try:
        bound = inspect.signature(fn).bind_partial(*args, **keywords)
    except (TypeError, ValueError):
        yield from ((f"argument {place}", value) for place, value in enumerate(args, 1))
        yield from keywords.items()
        return
    kinds = {name: parameter.kind for name, parameter in bound.signature.parameters.items()}
    for name, value in bound.arguments.items():
        if kinds[name] is inspect.Parameter.VAR_POSITIONAL:
            yield from ((f"*{name}[{place}]", member) for place, member in enumerate(value))
        elif kinds[name] is inspect.Parameter.VAR_KEYWORD:
            yield from value.items()
        else:
            yield name, value


def _stored(value: Any) -> bytes | None:
    """Returns a value's bytes; None if it is neither plain nor an object of a class that could be
    stored, and is not looked at."""
    for type_ in (Any, type(value)):
        try:
            return codec.encode(value, type_, limit=_BYTES_MAX)
        except (NotSerializable, TooLarge):
            continue
    return None
