"""What an engine does, told to OpenTelemetry: spans, metrics, and logs that say in which span.

Needs the package `opentelemetry-api` (`pip install stepwell[otel]`); where things are sent, and
what is sampled, says the SDK of the program.

    from stepwell import Engine
    from stepwell.otel import Telemetry

    async with Engine("shop.db", workflows=[order], telemetry=Telemetry()) as engine:
        ...

docs/telemetry.md has the spans, their attributes, and the metrics.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

try:
    from opentelemetry import metrics, propagate, trace
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.propagators.textmap import TextMapPropagator
    from opentelemetry.trace import Span, TracerProvider
except ImportError as _missing:
    raise ImportError(
        "stepwell.otel needs opentelemetry-api (at least 1.30, below 2): pip install stepwell[otel]"
    ) from _missing

from .._errors import InvalidConfig
from .._values.durations import Duration, to_us
from .._version import __version__
from ._bodies import Bodies, as_it_is, begun, failed
from ._care import Care
from ._metrics import Metrics, instruments_of

__all__ = ["Telemetry"]


class Telemetry:
    """Tells OpenTelemetry what engines and clients do: `Engine(telemetry=Telemetry())`, and
    `Client(…)` the same. One may serve several.

    Args:
        tracer_provider: Where spans go; None: the provider of the program.
        meter_provider: Where metrics go; None: the provider of the program.
        propagator: How the trace of whoever asks for something is written down with that; None:
            the propagator of the program, by default W3C trace context and baggage.
        by_namespace: Whether metrics also have the attribute `stepwell.namespace`; otherwise they
            are sums over all namespaces.
        steps_from: Attempts of steps that succeed in less time (seconds, or a text such as "5 ms")
            have no span, unless their function makes spans or logs within it: the span of their
            body says how many there were. With 0 each attempt has one, which costs about twice as
            much as a step that does nothing.

    Raises:
        InvalidConfig: An argument is none of these, or out of range.
    """

    def __init__(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        propagator: TextMapPropagator | None = None,
        by_namespace: bool = False,
        steps_from: Duration = "1 ms",
    ) -> None:
        _check("tracer_provider", tracer_provider, TracerProvider)
        _check("meter_provider", meter_provider, MeterProvider)
        _check("propagator", propagator, TextMapPropagator)
        self._care = Care()
        self._tracer = trace.get_tracer("stepwell", __version__, tracer_provider)
        self._meters = meter_provider
        self._propagator = propagator
        self._by_namespace = by_namespace
        self._steps_from = to_us(steps_from, "steps_from")

    def told_by(self, engine: Any, /) -> Bodies:
        """An engine opens; it calls this itself."""
        found: Metrics | None = None
        try:
            provider = self._meters or metrics.get_meter_provider()
            found = instruments_of(provider).of(engine, self._by_namespace)
        except BaseException as error:
            self._care.failed(error)
        return Bodies(self._tracer, self._written_by, self._care, found, self._steps_from * 1_000)

    @property
    def _written_by(self) -> TextMapPropagator:
        return self._propagator or propagate.get_global_textmap()

    @contextmanager
    def asks(
        self, what: str, of: tuple[str, str, str | None], /, *, kind: str = "", of_many: int = 0
    ) -> Generator[Callable[[bytes | None], bytes | None]]:
        """Something is asked for from outside; engines and clients call this themselves."""
        span: Span | None = None
        carry: Callable[[bytes | None], bytes | None] = as_it_is
        try:
            span, carry = begun(self._tracer, self._written_by, None, what, of, kind, of_many)
        except BaseException as error:
            self._care.failed(error)
        try:
            yield carry
        except BaseException as error:
            self._end(span, error)
            raise
        self._end(span, None)

    def _end(self, span: Span | None, error: BaseException | None) -> None:
        try:
            if span is not None:
                if isinstance(error, Exception):
                    failed(span, error)
                span.end()
        except BaseException as raised:
            self._care.failed(raised)


def _check(what: str, given: object, wanted: type) -> None:
    if given is not None and not isinstance(given, wanted):
        raise InvalidConfig(f"{what}={given!r:.120} is no {wanted.__name__} of OpenTelemetry.")
