"""What it costs to tell OpenTelemetry: W2's steps without, and with the SDK and an exporter that
does nothing. All in turn within one run, in processor time as well, because machines are noisy."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, Sampler

from benches.workloads import Figures, run_all, steps
from stepwell import Engine
from stepwell.otel import Telemetry

INSTANCES, STEPS = 300, 100


class _Nowhere(SpanExporter):
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.SUCCESS


def _telemetry(sampler: Sampler, **options: float) -> Telemetry:
    provider = TracerProvider(sampler=ParentBased(sampler))
    provider.add_span_processor(BatchSpanProcessor(_Nowhere()))
    return Telemetry(tracer_provider=provider, **options)


async def told(folder: Path) -> Figures:
    """W2 without telemetry; with instances that are not sampled; with spans of attempts from a
    millisecond on, as it comes; with one for each."""
    ways = {
        "without": None,
        "not sampled": _telemetry(ALWAYS_OFF),
        "spans from 1 ms": _telemetry(ALWAYS_ON),
        "all spans": _telemetry(ALWAYS_ON, steps_from=0),
    }
    figures: Figures = {}
    for way, telemetry in ways.items():
        rate, spent = await _throughput(str(folder / f"{way}.db"), telemetry)
        figures[f"steps/s, {way}"] = rate
        figures[f"µs of processor a step, {way}"] = spent
        if way != "without":
            figures[f"W2 {way} by without"] = rate / figures["steps/s, without"]
    return figures


async def _throughput(store: str, telemetry: Telemetry | None) -> tuple[float, float]:
    async with Engine(store, workflows=[steps], telemetry=telemetry) as engine:
        await engine.call(steps, 2)
        began, before = time.perf_counter(), time.process_time()
        await run_all((await engine.create_batch(steps, [STEPS] * INSTANCES)).created)
        took, spent = time.perf_counter() - began, time.process_time() - before
    count = STEPS * INSTANCES
    return count / took, spent / count * 1e6
