"""What OpenTelemetry is told of instances: who was created by whom, each attempt once, and nothing
twice that is only gone over again."""

import logging
import signal
import subprocess
import sys
from base64 import b64decode

import pytest
import trio
import trio.testing
from opentelemetry import baggage, trace
from opentelemetry import context as contexts
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Decision, Sampler, SamplingResult
from opentelemetry.trace import SpanKind, StatusCode

from stepwell import (
    Client,
    Engine,
    InstanceExists,
    InvalidConfig,
    Retry,
    Step,
    StepFailed,
    StepTimeout,
    aio,
    current_step,
    workflow,
)
from stepwell.crypto import Keyring
from stepwell.otel import Telemetry
from stepwell.testing import check_replay, open_test_engine

NEVER = Retry.never


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


async def test_from_whoever_creates_to_instance_child_and_step_it_is_one_trace():
    heard = Heard()
    async with open_test_engine(
        workflows=[parent, child], telemetry=heard.telemetry(), autojump=False
    ) as engine:
        with heard.tracer.start_as_current_span("program"):
            instance = await engine.create(parent, 1, id="one")
        await instance.wait_for_status("waiting")
        await instance.send_event("go", 5)
        assert await instance.result() == 8
    program, create = heard.one("program"), heard.one("create parent")
    begins, goes_on, ends = heard.named("run parent")
    assert {
        it.context.trace_id for it in (*heard.named("run child"), *heard.named("step add"))
    } == {program.context.trace_id}
    assert is_in(create, program)
    assert create.kind is SpanKind.PRODUCER
    assert all(is_in(it, create) for it in (begins, goes_on, ends))
    assert begins.kind is SpanKind.CONSUMER
    assert is_in(heard.one("step first"), begins)
    assert is_in(heard.one("create child"), goes_on)
    (run_child,) = heard.named("run child")
    assert is_in(run_child, heard.one("create child"))
    assert is_in(heard.one("step add"), run_child)
    outcomes = [it.attributes["stepwell.run.outcome"] for it in (begins, goes_on, ends)]
    assert outcomes == ["waiting", "waiting", "complete"]
    assert dict(heard.one("step first").attributes) == {
        "stepwell.workflow.name": "parent",
        "stepwell.instance.id": "one",
        "stepwell.step.name": "first",
        "stepwell.step.attempt": 1,
    }
    assert heard.open == 0


async def test_an_event_is_received_in_the_instances_trace_and_links_to_whoever_sent_it():
    heard = Heard()

    @workflow
    async def sender(step: Step) -> None:
        await step.send_event(no_params, "one", "go")

    async with open_test_engine(
        workflows=[no_params, sender], telemetry=heard.telemetry(), autojump=False
    ) as engine:
        one = await engine.create(no_params, id="one")
        await engine.call(sender)
        assert await one.result() == "go"
        two = await engine.create(no_params, id="two")
        await two.send_event("go")
        await two.result()
    sent, received = heard.named("send go"), heard.named("receive go")
    assert [linked(it) for it in received] == [[it.context.span_id] for it in sent]
    assert is_in(sent[0], heard.named("run sender")[0])
    for it, create in zip(received, heard.named("create no_params"), strict=True):
        assert it.kind is SpanKind.CONSUMER
        assert it.context.trace_id == create.context.trace_id


async def test_a_request_is_a_span_until_its_answer_and_its_trace_reaches_the_body():
    heard = Heard()

    @workflow
    async def answers(step: Step) -> None:
        asked = await step.wait_for_event("price")
        await asked.reply(7)

    async with open_test_engine(
        workflows=[answers], telemetry=heard.telemetry(), autojump=False
    ) as engine:
        instance = await engine.create(answers)
        assert await instance.request("price", 1) == 7
        await instance.result()
    asked = heard.one("request price")
    assert asked.kind is SpanKind.CLIENT
    assert linked(heard.one("receive price")) == [asked.context.span_id]


async def test_a_crash_loses_open_spans_and_what_was_recorded_is_told_once():
    heard = Heard()
    stuck = trio.Event()

    async def blocks() -> int:
        if current_step().attempt == 1:
            await stuck.wait()
        return 1

    @workflow
    async def body(step: Step) -> int:
        await step.wait_for_event("go")
        with heard.tracer.start_as_current_span("of the body"):
            first = await step.do(add, 1, 1, name="first")
        second = await step.do(blocks)
        return await step.call(child, first + second)

    async with open_test_engine(
        workflows=[body, child], telemetry=heard.telemetry(), autojump=False
    ) as engine:
        instance = await engine.create(body)
        await instance.send_event("go")
        await instance.wait_for_step("first")
        await trio.testing.wait_all_tasks_blocked()
        await engine.crash("3 hours")
        assert await instance.result() == 4
    assert heard.names.count("receive go") == 1
    assert heard.names.count("step first") == 1
    assert heard.names.count("of the body") == 1
    again, create = heard.one("step blocks"), heard.one("create body")
    assert again.attributes["stepwell.step.attempt"] == 2
    # the first attempt, and the stretch in which it was, went with the process
    assert heard.open == 2
    assert again.context.trace_id == create.context.trace_id
    assert {is_in(it, create) for it in heard.named("run body")} == {True}
    assert is_in(heard.named("run child")[0], heard.one("create child"))


async def test_days_later_another_engine_goes_on_in_the_same_trace(tmp_path):
    store, heard = tmp_path / "a.db", Heard()
    async with Engine(store, workflows=[parent, child], telemetry=heard.telemetry()) as engine:
        instance = await engine.create(parent, 1, id="one")
        await instance.wait_for_status("waiting")
    # one that tells nobody reads what is stored all the same
    async with Engine(store, workflows=[parent, child]) as engine:
        await (await engine.get(parent, "one")).send_event("go", 5)
        assert await (await engine.get(parent, "one")).result() == 8
        await (await engine.create(parent, 2, id="two")).wait_for_status("waiting")
    later = Heard()
    async with Engine(store, workflows=[parent, child], telemetry=later.telemetry()) as engine:
        one, two = await engine.get(parent, "one"), await engine.get(parent, "two")
        await one.restart()  # it gets its event once more
        await two.send_event("go", 7)
        assert (await one.result(), await two.result()) == (8, 11)
    create = heard.one("create parent")
    runs = later.named("run parent")
    of_one = [it for it in runs if it.attributes["stepwell.instance.id"] == "one"]
    assert all(is_in(it, create) for it in of_one)
    assert of_one
    assert {it.parent for it in runs if it not in of_one} == {None}


async def test_what_is_stored_beside_a_value_is_no_part_of_it(tmp_path):
    heard = Heard()
    for codec in (None, Keyring({"a": bytes(32)})):
        store = tmp_path / f"{codec is None}.db"
        async with Engine(
            store, workflows=[parent, child], telemetry=heard.telemetry(), codec=codec
        ) as engine:
            with heard.tracer.start_as_current_span("program"):
                instance = await engine.create(parent, 1, id="one")
                assert (await engine.create(parent, 1, id="one", if_exists="return_if_same")).id
                assert [it.status.is_ok for it in heard.named("create parent")[-2:]] == [True] * 2
                with pytest.raises(InstanceExists):
                    await engine.create(parent, 2, id="one", if_exists="return_if_same")
                await instance.send_event("go", 5)
                await instance.result()
            (event,) = [it for it in await instance.history() if it.name == "go"]
            assert event.output == 5
            exported = await instance.export()
            await check_replay(parent, [exported])
            assert b64decode(exported["params"]) == b"\x01"
            trace_id = f"{heard.named('program')[-1].context.trace_id:032x}".encode()
        stored = b"".join(it.read_bytes() for it in tmp_path.glob(f"{codec is None}.db*"))
        assert (trace_id in stored) is (codec is None)


async def test_a_clients_trace_goes_along_and_baggage_too(tmp_path):
    store, heard, there = tmp_path / "a.db", Heard(), Heard()
    seen = []

    async def looks() -> None:
        seen.append(baggage.get_baggage("tenant"))

    @workflow
    async def body(step: Step) -> None:
        await step.wait_for_event("go")
        await step.do(looks)

    async with (
        Engine(store, workflows=[body], telemetry=there.telemetry()),
        Client(store, telemetry=heard.telemetry()) as client,
    ):
        token = contexts.attach(baggage.set_baggage("tenant", "acme"))
        with heard.tracer.start_as_current_span("program"):
            instance = await client.create(body)
            await instance.send_event("go")
            await instance.result()
        contexts.detach(token)
    assert seen == ["acme"]
    assert is_in(there.named("run body")[0], heard.one("create body"))
    assert linked(there.one("receive go")) == [heard.one("send go").context.span_id]
    assert is_in(heard.one("create body"), heard.one("program"))
    assert "create body" not in there.names


async def test_each_of_many_has_a_trace_of_its_own_that_links_to_who_asked_for_them():
    heard = Heard()

    @workflow
    async def makes(step: Step) -> None:
        for it in await step.create_batch(child, [1, 2]):
            await it.result()

    async with open_test_engine(
        workflows=[makes, child], telemetry=heard.telemetry(), autojump=False
    ) as engine:
        with heard.tracer.start_as_current_span("program"):
            for it in (await engine.create_batch(child, [1, 2, 3])).created:
                await it.result()
            await engine.put_schedule(child, "1 hour", id="hourly", params=4)
        await engine.call(makes)
        await engine.clock.advance("150 minutes")
        while (await engine.count(child))["complete"] < 7:
            await trio.lowlevel.checkpoint()
    runs = heard.named("run child")
    asked = [*heard.named("create child"), heard.one("schedule child")]
    links = [linked(it) for it in runs]
    for of, count in zip(asked, (3, 2, 2), strict=True):
        assert links.count([of.context.span_id]) == count
    assert {it.parent for it in runs} == {None}
    assert len({it.context.trace_id for it in runs}) == 7


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
            await step.do(fails, retry=NEVER)
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
