"""The trace in which something is asked for, as it is stored with that.

It is what the program's propagator makes of the context: by default W3C `traceparent`, `tracestate`
and baggage. With it stands whether whoever comes of it goes on with that trace, or begins one of
their own that links to it, as each of many does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.trace import Link
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from .._values.codec import codec

BYTES_MAX = 4_096
"""Of what is stored. Where it is more, it is the baggage, which is left out."""


def packed(propagator: TextMapPropagator, context: Context, of_many: bool) -> bytes | None:
    """Returns a context as it is stored; None: there is nothing in it."""
    for it in (propagator, TraceContextTextMapPropagator()):
        carrier: dict[str, str] = {}
        it.inject(carrier, context)  # pyright: ignore[reportArgumentType]  # its own default
        if not carrier:
            return None
        data = codec.encode([of_many, carrier])
        if len(data) <= BYTES_MAX:
            return data
    return None


def unpacked(propagator: TextMapPropagator, data: bytes | None) -> tuple[Context, Sequence[Link]]:
    """Returns the context in which something goes on that was asked for in a trace, and the links
    that it has."""
    if data is None:
        return Context(), ()
    stored: Any = codec.decode(data)
    of_many, carrier = stored
    context = propagator.extract(carrier, Context())
    if not of_many:
        return context, ()
    asked = trace.get_current_span(context).get_span_context()
    return (
        trace.set_span_in_context(trace.INVALID_SPAN, context),
        (Link(asked),) if asked.is_valid else (),
    )
