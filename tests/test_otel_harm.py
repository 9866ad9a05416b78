"""Nothing of a program's telemetry harms an instance, and nothing that makes no sense is taken."""

import subprocess
import sys

import pytest
from opentelemetry import baggage
from opentelemetry import context as contexts
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Decision
from tests.spans import Heard, child, is_in, parent

from stepwell import (
    Client,
    Engine,
    InvalidConfig,
    Retry,
    Step,
    StepFailed,
    aio,
    current_step,
    workflow,
)
from stepwell.otel import Telemetry
from stepwell.testing import open_test_engine


class Broken(SpanProcessor):
    """Raises whatever it is given wherever it can."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def on_start(self, span, parent_context=None) -> None:
        raise self.error

    def on_end(self, span) -> None:
        raise self.error


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3)])
@pytest.mark.parametrize("steps_from", [0, "1 hour"])
async def test_an_exporter_that_raises_harms_nobody_and_is_told_once(error, steps_from, caplog):
    heard = Heard()
    heard.provider.add_span_processor(Broken(error))

    async def fails() -> None:
        raise LookupError("as asked")

    @workflow
    async def body(step: Step, number: int) -> int:
        with pytest.raises(StepFailed):
            await step.do(fails, retry=Retry.never)
        got = await step.wait_for_event("go")
        return await step.call(child, number + got.payload)

    async with open_test_engine(
        workflows=[body, child], telemetry=heard.telemetry(steps_from=steps_from)
    ) as engine:
        instance = await engine.create(body, 1)
        await instance.send_event("go", 1)
        assert await instance.result() == 3
    assert sum("telemetry failed" in it.getMessage() for it in caplog.records) == 1


async def test_a_sampler_and_a_propagator_that_raise_harm_nobody(caplog):
    class BadSampler(type(ALWAYS_OFF)):
        def should_sample(self, *args, **kwargs):
            raise OSError("no sampler")

    class Propagator(type(trace_propagator())):
        def inject(self, *args, **kwargs):
            raise OSError("no propagator")

        extract = inject

    heard = Heard(sampler=BadSampler(Decision.DROP))
    for telemetry in (heard.telemetry(), Heard().telemetry(propagator=Propagator())):
        async with open_test_engine(workflows=[parent, child], telemetry=telemetry) as engine:
            instance = await engine.create(parent, 1)
            await instance.send_event("go", 1)
            assert await instance.result() == 4
    assert sum("telemetry failed" in it.getMessage() for it in caplog.records) == 2


def trace_propagator():
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator()


async def test_an_exporter_that_calls_the_engine_harms_nobody(caplog):
    class Calls(SpanProcessor):
        def on_end(self, span) -> None:
            engine.statistics()
            if span.name.startswith("step"):
                current_step().heartbeat()
                engine.peek(child, "one")
            engine.namespace("other")  # refused in a body

    heard = Heard()
    heard.provider.add_span_processor(Calls())
    async with open_test_engine(workflows=[child], telemetry=heard.telemetry()) as engine:
        assert await engine.call(child, 1, id="one") == 2


async def test_a_stored_trace_that_makes_no_sense_harms_nobody(caplog):
    heard = Heard()

    class Odd(type(trace_propagator())):
        def inject(self, carrier, *args, **kwargs):
            carrier["traceparent"] = "zzz"

        def extract(self, carrier, context=None, **kwargs):
            raise LookupError(carrier["traceparent"])

    async with open_test_engine(
        workflows=[child], telemetry=heard.telemetry(propagator=Odd())
    ) as engine:
        assert await engine.call(child, 1) == 2
    assert heard.one("run child").parent is None


async def test_baggage_that_is_too_large_is_left_out_and_the_trace_is_not():
    heard, seen = Heard(), []

    async def looks() -> None:
        seen.append(baggage.get_baggage("much"))

    @workflow
    async def body(step: Step) -> None:
        await step.do(looks)

    async with open_test_engine(workflows=[body], telemetry=heard.telemetry()) as engine:
        for more in ("y" * 3_000, "y"):
            both = baggage.set_baggage("more", more, baggage.set_baggage("much", "x" * 3_000))
            token = contexts.attach(both)
            await engine.call(body)
            contexts.detach(token)
    for it, create in zip(heard.named("run body"), heard.named("create body"), strict=True):
        assert is_in(it, create)
    assert seen == [None, "x" * 3_000]


def test_a_program_on_asyncio_has_its_trace_carried_too():
    import asyncio

    heard = Heard()

    async def main() -> None:
        async with aio.Engine(":memory:", workflows=[child], telemetry=heard.telemetry()) as engine:
            with heard.tracer.start_as_current_span("program"):
                assert await engine.call(child, 1) == 2

    asyncio.run(main())
    assert is_in(heard.one("create child"), heard.one("program"))
    assert is_in(heard.one("run child"), heard.one("create child"))


@pytest.mark.parametrize("given", [Telemetry, 1, object()])
def test_what_is_no_telemetry_is_refused(given, tmp_path):
    for made in (Engine, Client):
        with pytest.raises(InvalidConfig, match=r"stepwell\.otel\.Telemetry\(\)"):
            made(tmp_path / "a.db", telemetry=given)


@pytest.mark.parametrize("name", ["tracer_provider", "meter_provider", "propagator"])
def test_what_is_none_of_opentelemetrys_is_refused(name):
    with pytest.raises(InvalidConfig, match=name):
        Telemetry(**{name: 1})
    with pytest.raises(InvalidConfig, match="steps_from"):
        Telemetry(steps_from=-1)


def test_without_the_package_the_error_names_the_extra_and_the_versions():
    code = "import sys; sys.modules['opentelemetry'] = None; import stepwell.otel"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pip install stepwell[otel]" in ran.stderr
    assert "opentelemetry-api" in ran.stderr
    assert "below 2" in ran.stderr


def test_an_engine_without_it_imports_nothing_of_it():
    code = (
        "import sys, trio, stepwell\n"
        "async def main():\n"
        "    async with stepwell.Engine(':memory:'): pass\n"
        "trio.run(main)\n"
        "print([it for it in sys.modules if 'opentelemetry' in it or it.endswith('.traced')])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
