"""What OpenTelemetry is told of attempts: each once, and nothing twice that is gone over."""

import logging
import signal
import subprocess
import sys

import pytest
import trio
import trio.testing
from opentelemetry import trace
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import StatusCode
from tests.spans import Heard, add, child, is_in, linked, no_params, parent

from stepwell import (
    Engine,
    Retry,
    Step,
    StepFailed,
    StepTimeout,
    current_step,
    workflow,
)
from stepwell.testing import open_test_engine

NEVER = Retry.never


async def test_what_attempts_come_to_is_told_with_their_spans():
    heard, hung = Heard(), trio.Event()

    async def fails() -> None:
        if current_step().attempt == 1:
            raise LookupError("not yet")

    async def hangs() -> None:
        hung.set()
        await trio.sleep_forever()

    def in_thread() -> int:
        if current_step().attempt == 1:
            raise LookupError("not yet")
        return 1

    async def undoes(ctx) -> None:
        pass

    @workflow
    async def body(step: Step) -> None:
        await step.do(add, 1, 1, name="undone", undo=undoes)
        await step.do(fails, retry=Retry(delay=0.1))
        await step.do(in_thread, retry=Retry(delay=0.1))
        with step.move_on_after("1 minute"):
            await step.do(hangs, name="given up")
        await step.map(lambda it: it, [1], name="plain items", key=str)
        await step.do(hangs, timeout="1 minute", retry=NEVER)

    async with open_test_engine(
        workflows=[body], telemetry=heard.telemetry(), autojump=False
    ) as engine:
        instance = await engine.create(body)
        with trio.CancelScope() as given_up:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(engine.clock.advance, "1 second")
                await hung.wait()
                given_up.cancel()  # it waits for attempts that run
        for name in ("plain items", None):
            core = engine._running().core
            core.advance(core.now() + 61_000_000)
            if name is not None:
                await instance.wait_for_step(name)
                await trio.testing.wait_all_tasks_blocked()
        await instance.wait_for_status("errored")
    for name in ("step fails", "step in_thread"):
        first, second = heard.named(name)
        assert first.status.status_code is StatusCode.ERROR
        assert first.attributes["error.type"] == "LookupError"
        assert first.events[0].name == "exception"
        assert second.status.status_code is StatusCode.UNSET
        assert second.attributes["stepwell.step.attempt"] == 2
        assert linked(second) == [first.context.span_id]
    assert heard.one("step given up").attributes["stepwell.step.outcome"] == "cancelled"
    late = heard.one("step hangs")
    assert late.attributes["error.type"] == f"{StepTimeout.__module__}.StepTimeout"
    assert heard.one("step plain items").attributes["stepwell.step.key"] == "1"
    assert heard.one("undo undone").status.status_code is StatusCode.UNSET
    runs = heard.named("run body")
    assert [it.attributes["stepwell.run.outcome"] for it in runs].count("undoes") == 1
    (failed,) = [it for it in runs if "error.type" in it.attributes]
    assert failed.status.status_code is StatusCode.ERROR
    assert failed.attributes["stepwell.run.outcome"] == "undoes"
    assert heard.open == 0


async def test_calls_that_do_not_fit_end_a_step_at_once_as_without():
    heard = Heard()

    def plain(number: int) -> int:
        return number

    @workflow
    async def body(step: Step) -> list[int]:
        attempts = []
        for fn in (add, plain):
            with pytest.raises(StepFailed) as caught:
                await step.do(fn)
            attempts.append(caught.value.attempts)
        return attempts

    async with open_test_engine(workflows=[body], telemetry=heard.telemetry()) as engine:
        assert await engine.call(body) == [1, 1]
    assert heard.one("step plain").attributes["error.type"] == "TypeError"


KILLED = """
import os, sys, trio
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from stepwell import Engine, current_step, workflow
from stepwell.otel import Telemetry

class Prints(SpanProcessor):
    def on_end(self, span):
        print(f"{span.context.trace_id:x}", span.name, *span.attributes.values(), flush=True)

async def first():
    return 1

async def second():
    if sys.argv[2] == "kill":
        os.kill(os.getpid(), 9)

@workflow
async def order(step):
    await step.do(first)
    await step.do(second)

async def main():
    provider = TracerProvider()
    provider.add_span_processor(Prints())
    telemetry = Telemetry(tracer_provider=provider, steps_from=0)
    async with Engine(sys.argv[1], workflows=[order], telemetry=telemetry) as engine:
        await engine.call(order, id="one")

trio.run(main)
"""


def test_after_kill_9_the_next_process_goes_on_in_the_same_trace(tmp_path):
    def run(how: str) -> tuple[int, list[list[str]]]:
        command = [sys.executable, "-c", KILLED, str(tmp_path / "a.db"), how]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        return ran.returncode, [it.split() for it in ran.stdout.splitlines()]

    killed, before = run("kill")
    ended, after = run("end")
    assert (killed, ended) == (-signal.SIGKILL, 0)
    assert ["step", "first"] in [it[1:3] for it in before]
    told = [it for it in after if it[1] != "create"]  # the second call's own
    assert [it[1:3] for it in told] == [["step", "second"], ["run", "order"]]
    assert told[0][-1] == "2"  # the attempt
    assert {it[0] for it in told} == {it[0] for it in before}


async def test_an_attempt_that_the_engine_cuts_short_says_so(tmp_path):
    heard, began = Heard(), trio.Event()

    async def hangs() -> None:
        began.set()
        await trio.sleep_forever()

    @workflow
    async def body(step: Step) -> None:
        await step.do(hangs)

    async with Engine(
        tmp_path / "a.db", workflows=[body], telemetry=heard.telemetry(), grace=0
    ) as engine:
        await engine.create(body)
        await began.wait()
    assert heard.one("step hangs").attributes["stepwell.step.outcome"] == "interrupted"
    assert heard.one("run body").attributes["stepwell.run.outcome"] == "drained"
    assert heard.open == 0


@pytest.mark.parametrize("runtime", ["trio", "asyncio"])
@pytest.mark.parametrize("steps_from", [0, "1 hour"])
async def test_spans_that_a_step_makes_are_in_that_of_its_attempt(runtime, steps_from):
    heard = Heard()

    async def asynchronous() -> None:
        with heard.tracer.start_as_current_span("in async"):
            pass

    def plain() -> None:
        with heard.tracer.start_as_current_span("in thread"):
            pass

    @workflow(runtime=runtime)
    async def body(step: Step) -> None:
        trace.get_current_span().set_attribute("mine", 1)
        await step.do(asynchronous, runtime=runtime)
        await step.do(plain)
        if runtime == "trio":
            await step.map(asynchronous_too, [1], name="items")

    async def asynchronous_too(item: int) -> None:
        with heard.tracer.start_as_current_span("in item"):
            await trio.lowlevel.checkpoint()

    async with open_test_engine(
        workflows=[body], telemetry=heard.telemetry(steps_from=steps_from)
    ) as engine:
        await engine.call(body)
    run = heard.one("run body")
    assert run.attributes["mine"] == 1
    inner = [("in async", "step asynchronous"), ("in thread", "step plain")]
    for inside, step in (*inner, *([("in item", "step items")] if runtime == "trio" else [])):
        assert is_in(heard.one(inside), heard.one(step))
        assert is_in(heard.one(step), run)
        assert heard.one(step).start_time <= heard.one(inside).start_time
    assert heard.open == 0


async def test_short_attempts_have_no_span_and_are_counted():
    heard = Heard()

    async def fails() -> None:
        raise LookupError("as asked")

    @workflow
    async def body(step: Step) -> None:
        for _ in range(5):
            await step.do(add, 1, 1)
        with pytest.raises(StepFailed):
            await step.do(fails, retry=NEVER)

    async with open_test_engine(
        workflows=[body], telemetry=heard.telemetry(steps_from="1 hour")
    ) as engine:
        await engine.call(body)
    assert heard.names == ["create body", "step fails", "run body"]
    assert heard.one("run body").attributes["stepwell.run.short_steps"] == 5


async def test_of_an_instance_that_is_not_sampled_no_step_is_told_and_its_children_are_not():
    class StepsOnly(Sampler):
        def should_sample(self, parent_context, trace_id, name, *args, **kwargs):
            decision = Decision.RECORD_AND_SAMPLE if name.startswith("step") else Decision.DROP
            return SamplingResult(decision)

        def get_description(self) -> str:
            return "steps only"

    heard = Heard(sampler=StepsOnly())
    async with open_test_engine(workflows=[parent, child], telemetry=heard.telemetry()) as engine:
        instance = await engine.create(parent, 1)
        await instance.send_event("go", 1)
        assert await instance.result() == 4
    assert (heard.spans, heard.open) == ([], 0)


async def test_an_instance_waits_without_a_span():
    heard = Heard()
    async with open_test_engine(
        workflows=[no_params], telemetry=heard.telemetry(), autojump=False
    ) as engine:
        instance = await engine.create(no_params)
        await instance.wait_for_status("waiting")
        assert heard.open == 0
        await engine.clock.advance("2 days")
        assert engine.statistics().resident == 0  # parked, and still no span
        assert heard.open == 0
        await instance.send_event("go")
        await instance.result()
    assert len(heard.named("run no_params")) == 2


async def test_log_records_of_bodies_and_steps_know_their_span():
    heard, seen = Heard(), {}

    class Handler(logging.Handler):
        def emit(self, record):
            seen[record.getMessage()] = trace.get_current_span().get_span_context()

    async def says() -> None:
        logging.getLogger("mine").warning("in the step")

    @workflow
    async def body(step: Step) -> None:
        step.log.warning("in the body")
        await step.do(says)
        await step.wait_for_event("go")
        step.log.warning("later")

    handler = Handler()
    logging.getLogger().addHandler(handler)
    try:
        async with open_test_engine(
            workflows=[body], telemetry=heard.telemetry(), autojump=False
        ) as engine:
            instance = await engine.create(body)
            await instance.wait_for_status("waiting")
            await engine.clock.advance("2 days")
            await instance.send_event("go")
            await instance.result()
    finally:
        logging.getLogger().removeHandler(handler)
    first, second = heard.named("run body")
    assert seen["in the body"].span_id == first.context.span_id
    assert seen["in the step"].span_id == heard.one("step says").context.span_id
    assert seen["later"].span_id == second.context.span_id


async def test_a_decision_is_an_event_of_its_stretch():
    heard = Heard()

    @workflow
    async def body(step: Step) -> str:
        return (await step.wait_for_approval("ship")).by

    async with open_test_engine(
        workflows=[body], telemetry=heard.telemetry(), autojump=False
    ) as engine:
        instance = await engine.create(body)
        await instance.wait_for_status("waiting")
        (asked,) = await engine.approvals.list()
        await engine.approvals.approve(asked.id, by="ann")
        assert await instance.result() == "ann"
    (event,) = heard.named("run body")[-1].events
    assert (event.name, dict(event.attributes)) == (
        "stepwell.approval",
        {"stepwell.approval.name": "ship", "stepwell.approval.approved": True},
    )
