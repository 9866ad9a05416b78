"""Spans of what instances do.

A body has one span for each stretch for which it has a slot (`run`): an instance may wait for a
year, and go through many processes, and no span does that. All are in the trace in which the
instance was created, which is durable; or in one of their own, if it was one of many. What is
current in the body is a view of the span of its present stretch, so that it is that of the next one
when the body goes on.

Attempts of steps are spans within, and so is what the body asks of others. What it is given from
outside is told by a span that links to whoever sent it.
"""

from __future__ import annotations

import weakref
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import (
    INVALID_SPAN,
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
)

from .._attempts.heard import asked_for
from .._core import UNDO
from .._ending import End
from .._values.envelope import trace_of, with_trace
from . import _traces
from ._care import Care, contained

if TYPE_CHECKING:
    from opentelemetry.propagators.textmap import TextMapPropagator
    from opentelemetry.trace import Tracer
    from opentelemetry.util import types

    from .._body.life import Life
    from .._body.running import Running
    from .._body.telemetry import Attempt, Carry, Listener
    from .._replay import Identity
    from ._metrics import Metrics

_OUTCOMES = {
    End.BLOCKED: "blocked",
    End.REPLAYED: "replayed",
    End.PAUSED: "paused",
    End.CONTINUED: "continued",
    End.UNDOES: "undoes",
    End.DRAINED: "drained",
}
"""What a stretch came to whose body left memory before its end."""


def error_type(error: BaseException) -> str:
    """Returns the `error.type` of an exception."""
    cls = type(error)
    return (
        cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
    )


def failed(span: Span, error: BaseException) -> None:
    """A span is that of something that failed for this."""
    span.set_attribute("error.type", error_type(error))
    span.record_exception(error)
    span.set_status(Status(StatusCode.ERROR, f"{error}"))


class Shown(Span):
    """A span that is current somewhere, and shows another one."""

    @property
    @abstractmethod
    def shown(self) -> Span:
        """The span it shows now."""

    def get_span_context(self) -> SpanContext:
        """That of the span it shows, as all else."""
        return self.shown.get_span_context()

    def is_recording(self) -> bool:
        """See `get_span_context`."""
        return self.shown.is_recording()

    def set_attributes(self, attributes: Mapping[str, types.AttributeValue]) -> None:
        """See `get_span_context`."""
        self.shown.set_attributes(attributes)

    def set_attribute(self, key: str, value: types.AttributeValue) -> None:
        """See `get_span_context`."""
        self.shown.set_attribute(key, value)

    def add_event(
        self, name: str, attributes: types.Attributes = None, timestamp: int | None = None
    ) -> None:
        """See `get_span_context`."""
        self.shown.add_event(name, attributes, timestamp)

    def add_link(self, context: SpanContext, attributes: types.Attributes = None) -> None:
        """See `get_span_context`."""
        self.shown.add_link(context, attributes)

    def update_name(self, name: str) -> None:
        """See `get_span_context`."""
        self.shown.update_name(name)

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """See `get_span_context`."""
        self.shown.set_status(status, description)

    def record_exception(
        self,
        exception: BaseException,
        attributes: types.Attributes = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        """See `get_span_context`."""
        self.shown.record_exception(exception, attributes, timestamp, escaped)

    def end(self, end_time: int | None = None) -> None:
        """Nothing: whoever began it ends it."""


class View(Shown):
    """The span that is current in a body: that of its present stretch; and in a step whose
    attempt has no span yet, that of the attempt, which begins with that.

    While the body is replayed it takes nothing, and is not sampled: what the body's own code makes
    of it then was told before.
    """

    def __init__(self, life: Life) -> None:
        self.span: Span = INVALID_SPAN
        self._life = weakref.ref(life)

    @property
    def shown(self) -> Span:
        """See `Shown`."""
        attempt = asked_for()
        if isinstance(attempt, _Attempt):
            return attempt.span
        life = self._life()
        if life is None or not life.delivery.replaying:
            return self.span
        of = self.span.get_span_context()
        flags = TraceFlags(TraceFlags.DEFAULT)
        return NonRecordingSpan(SpanContext(of.trace_id, of.span_id, False, flags, of.trace_state))


class _Instance:
    """One body in memory; see `_body.telemetry.Listener`."""

    __slots__ = (
        "_tracer", "attributes", "care", "context", "error", "failed", "links", "name", "short",
        "short_ns", "span", "view",
    )  # fmt: skip

    def __init__(
        self, life: Life, context: Context, links: Sequence[Link], of: Bodies, short_ns: int
    ) -> None:
        who = life.who
        self.name = who.workflow.name
        self.attributes: dict[str, types.AttributeValue] = {
            "stepwell.workflow.name": self.name,
            "stepwell.workflow.version": who.version,
            "stepwell.instance.id": who.id,
            "stepwell.namespace": who.namespace,
        }
        self.context = context
        self.links = links
        self.view = View(life)
        self.span: Span | None = None
        self.error: tuple[BaseException, str | None] | None = None
        self.failed: dict[Identity, SpanContext] = {}
        """Spans of attempts that another one may follow."""
        self.care = of.care
        self._tracer = of.tracer
        self.short_ns = short_ns
        self.short = 0

    @property
    def here(self) -> Context:
        """The context of what the body asks for."""
        return trace.set_span_in_context(self.view.span, self.context)

    def begins(self, step: Running, at: int) -> Attempt:
        """An attempt of a step began."""
        try:
            identity = step.identity
            context = contexts.get_current()
            if trace.get_current_span(context) is self.view:
                context = trace.set_span_in_context(self.view.span, context)
            span = self._tracer.start_span(
                f"{'undo' if identity[0] == UNDO else 'step'} {identity[2]}",
                context,
                SpanKind.INTERNAL,
                self._about(step),
                self._after(identity),
                at,
            )
            if not self.short_ns:
                contexts.attach(trace.set_span_in_context(span, context))
        except BaseException as error:
            self.care.failed(error)
            span = INVALID_SPAN
        return _Attempt(span, self, step.identity)

    def _about(self, step: Running) -> dict[str, types.AttributeValue]:
        _, _, name, key, _ = step.identity
        about: dict[str, types.AttributeValue] = {
            "stepwell.workflow.name": self.name,
            "stepwell.instance.id": step.life.who.id,
            "stepwell.step.name": name,
            "stepwell.step.attempt": step.attempt,
        }
        if key is not None:
            about["stepwell.step.key"] = key
        return about

    def _after(self, identity: Identity) -> Sequence[Link]:
        before = self.failed.pop(identity, None) if self.failed else None
        return () if before is None else (Link(before),)


class _Attempt:
    """See `_body.telemetry.Attempt`."""

    __slots__ = ("_identity", "_instance", "span")

    def __init__(self, span: Span, instance: _Instance, identity: Identity) -> None:
        self.span = span
        self._instance = instance
        self._identity = identity

    def noted(self, what: Mapping[str, str | int | float]) -> None:
        """There is this to tell of it."""
        try:
            self.span.set_attributes(what)
        except BaseException as raised:
            self._instance.care.failed(raised)

    def ended(self, how: str, error: BaseException | None) -> None:
        """It has ended."""
        try:
            if how != "ok":
                self.span.set_attribute("stepwell.step.outcome", how)
            if error is not None:
                self._instance.failed[self._identity] = self.span.get_span_context()
                failed(self.span, error)
            self.span.end()
        except BaseException as raised:
            self._instance.care.failed(raised)


class Bodies:
    """What the instances of one engine tell; see `_body.telemetry.Told`."""

    def __init__(
        self,
        tracer: Tracer,
        propagator: TextMapPropagator,
        care: Care,
        metrics: Metrics | None,
        short_ns: int,
    ) -> None:
        self.tracer = tracer
        self.care = care
        self._propagator = propagator
        self._metrics = metrics
        self._short_ns = short_ns
        self._instances: dict[int, _Instance] = {}
        self._renewed: dict[int, _Instance] = {}
        """Of those that go on as new the bodies that have ended."""
        self.listeners: dict[int, Listener] = {}

    @contained(None)
    def begins(self, life: Life, params: bytes | None) -> None:
        """A body is about to run in this task."""
        self._renewed.pop(life.who.no, None)
        it = _Instance(life, *self._asked_in(params), self, self._short_ns)
        self._instances[life.who.no] = it
        self._run(life.who.no, it)
        contexts.attach(trace.set_span_in_context(it.view, it.context))

    def _asked_in(self, value: bytes | None) -> tuple[Context, Sequence[Link]]:
        try:
            return _traces.unpacked(self._propagator, trace_of(value))
        except BaseException as error:  # it goes on in a trace of its own
            self.care.failed(error)
            return Context(), ()

    def _run(self, no: int, it: _Instance) -> None:
        it.span = it.view.span = self.tracer.start_span(
            f"run {it.name}",
            it.context,
            SpanKind.CONSUMER,
            it.attributes,
            it.links,
        )
        # steps of an instance that is not sampled are not told
        if it.span.is_recording():
            self.listeners[no] = it

    @contained(None)
    def rests(self, no: int) -> None:
        """A body only waits."""
        it = self._instances.get(no)
        if it is not None and it.span is not None:
            self._end(it, "waiting")

    def _end(self, it: _Instance, outcome: str) -> None:
        span, it.span = it.span, None
        if span is not None:
            span.set_attribute("stepwell.run.outcome", outcome)
            if it.short:
                span.set_attribute("stepwell.run.short_steps", it.short)
                it.short = 0
            if it.error is not None:
                error, reason = it.error
                if reason is not None:
                    span.set_attribute("stepwell.run.reason", reason)
                failed(span, error)
            span.end()

    @contained(None)
    def goes_on(self, no: int) -> None:
        """A body has a slot again."""
        it = self._instances.get(no)
        if it is not None and it.span is None:
            self._run(no, it)

    @contained(None)
    def fails(self, no: int, error: BaseException, reason: str | None = None) -> None:
        """A body is about to end for this."""
        it = self._instances.get(no)
        if it is not None:
            it.error = (error, reason)

    @contained(None)
    def ends(self, life: Life) -> None:
        """A body leaves memory."""
        it = self._instances.pop(life.who.no, None)
        self.listeners.pop(life.who.no, None)
        if it is None or life.stopping is End.CRASHED:
            return  # a process that is killed tells nothing
        if life.stopping is End.FINISHED:
            outcome = "complete" if it.error is None else "errored"
        else:
            outcome = _OUTCOMES.get(life.stopping or End.CANCELLED, "stopped")
        try:
            self._end(it, outcome)
            if life.stopping is End.CONTINUED:
                self._renewed[life.who.no] = it
        finally:
            it.error = None  # its traceback has the frames of the body: a circle

    def renewed(self, no: int) -> Carry:
        """An instance goes on as new."""
        try:
            it = self._renewed.pop(no)
            trace_of_it = _traces.packed(self._propagator, it.here, of_many=True)
        except BaseException as error:
            self.care.failed(error)
            return as_it_is
        return around(trace_of_it)

    @contained(None)
    def took(self, no: int, kind: str, event: bytes | None) -> None:
        """A body was given an event."""
        it = self._instances.get(no)
        if it is None:
            return
        context, links = self._asked_in(event)
        sent = trace.get_current_span(context).get_span_context()
        span = self.tracer.start_span(
            f"receive {kind}",
            it.here,
            SpanKind.CONSUMER,
            {**it.attributes, "stepwell.event.type": kind},
            (Link(sent),) if sent.is_valid else links,
        )
        span.end()

    @contained(None)
    def decided(self, no: int, name: str, approved: bool) -> None:
        """A body was told of a decision."""
        it = self._instances.get(no)
        if it is not None:
            about: dict[str, types.AttributeValue] = {
                "stepwell.approval.name": name,
                "stepwell.approval.approved": approved,
            }
            it.view.span.add_event("stepwell.approval", about)

    def asks(
        self, no: int, what: str, of: tuple[str, str], *, kind: str = "", of_many: int = 0
    ) -> Carry:
        """A body asks something of others."""
        try:
            it = self._instances[no]
            span, carry = begun(
                self.tracer, self._propagator, it.here, what, ("", *of), kind, of_many
            )
            span.set_attributes(
                {"stepwell.parent.workflow": it.name}
                | {"stepwell.parent.id": it.attributes["stepwell.instance.id"]}
            )
            span.end()
        except BaseException as error:
            self.care.failed(error)
            return as_it_is
        return carry

    @contained(None)
    def closes(self) -> None:
        """The engine is closed."""
        if self._metrics is not None:
            self._metrics.forget()


def as_it_is(value: bytes | None) -> bytes | None:
    """Puts nothing around a value."""
    return value


def begun(
    tracer: Tracer, propagator: TextMapPropagator, context: Context | None, what: str,
    of: tuple[str, str, str | None], kind: str, of_many: int,
) -> tuple[Span, Carry]:  # fmt: skip
    """Begins the span of something that is asked for: what of whom, with the type of an event.

    Returns:
        The span, and what puts its trace around a value.
    """
    namespace, workflow, id = of
    attributes: dict[str, types.AttributeValue] = {"stepwell.workflow.name": workflow}
    if namespace:
        attributes["stepwell.namespace"] = namespace
    if id:
        attributes["stepwell.schedule.id" if what == "schedule" else "stepwell.instance.id"] = id
    if kind:
        attributes["stepwell.event.type"] = kind
    if of_many > 1:
        attributes["stepwell.batch.size"] = of_many
    span = tracer.start_span(
        f"{what} {kind or workflow}",
        context,
        SpanKind.CLIENT if what == "request" else SpanKind.PRODUCER,
        attributes,
    )
    return span, around(
        _traces.packed(propagator, trace.set_span_in_context(span, context), bool(of_many))
    )


def around(stored: bytes | None) -> Carry:
    """Returns what puts a trace around a value, if there is one."""
    return as_it_is if stored is None else lambda value: with_trace(stored, value)
