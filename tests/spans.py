"""What tests of telemetry share: somebody who keeps the spans of a program, and a few workflows."""

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider

from stepwell import (
    Step,
    workflow,
)
from stepwell.otel import Telemetry


class Heard(SpanProcessor):
    """Keeps the spans of a program.

    Attributes:
        spans: Those that have ended, in that order.
        open: How many have begun, and not ended.
    """

    def __init__(self, **options) -> None:
        self.spans: list[ReadableSpan] = []
        self.open = 0
        self.provider = TracerProvider(**options)
        self.provider.add_span_processor(self)
        self.tracer = self.provider.get_tracer("program")

    def on_start(self, span, parent_context=None) -> None:
        self.open += 1

    def on_end(self, span) -> None:
        self.open -= 1
        self.spans.append(span)

    @property
    def names(self) -> list[str]:
        return [it.name for it in self.spans]

    def named(self, name: str) -> list[ReadableSpan]:
        return [it for it in self.spans if it.name == name]

    def one(self, name: str) -> ReadableSpan:
        (it,) = self.named(name)
        return it

    def telemetry(self, steps_from=0, **options) -> Telemetry:
        return Telemetry(tracer_provider=self.provider, steps_from=steps_from, **options)


def is_in(span: ReadableSpan, parent: ReadableSpan) -> bool:
    assert span.parent is not None
    return (span.parent.trace_id, span.parent.span_id) == (
        parent.context.trace_id,
        parent.context.span_id,
    )


def linked(span: ReadableSpan) -> list[int]:
    return [it.context.span_id for it in span.links]


async def add(a: int, b: int) -> int:
    return a + b


@workflow
async def child(step: Step, number: int) -> int:
    return await step.do(add, number, 1, name="add")


@workflow
async def parent(step: Step, number: int) -> int:
    first = await step.do(add, number, 1, name="first")
    got = await step.wait_for_event("go")
    return await step.call(child, first + got.payload)


@workflow
async def no_params(step: Step) -> str:
    return (await step.wait_for_event("go")).type
