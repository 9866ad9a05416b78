"""What OpenTelemetry is told of who was created by whom, and who sent what to whom: one trace."""

from base64 import b64decode

import pytest
import trio
import trio.testing
from opentelemetry import baggage
from opentelemetry import context as contexts
from opentelemetry.trace import SpanKind
from tests.spans import Heard, add, child, is_in, linked, no_params, parent

from stepwell import (
    Client,
    Engine,
    InstanceExists,
    Step,
    current_step,
    workflow,
)
from stepwell.crypto import Keyring
from stepwell.testing import check_replay, open_test_engine


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


@workflow
async def counts_down(step: Step, left: int) -> object:
    if left:
        await step.continue_as_new(left - 1)
    return baggage.get_baggage("who")


async def test_what_goes_on_as_new_has_a_trace_of_its_own_that_links_to_where_it_came_from():
    heard = Heard()
    async with open_test_engine(workflows=[counts_down], telemetry=heard.telemetry()) as engine:
        token = contexts.attach(baggage.set_baggage("who", "ann"))
        assert await engine.call(counts_down, 2) == "ann"
        contexts.detach(token)
    runs = heard.named("run counts_down")
    outcomes = [it.attributes["stepwell.run.outcome"] for it in runs]
    assert outcomes == ["continued", "continued", "complete"]
    assert len({it.context.trace_id for it in runs}) == 3
    assert linked(runs[1]) == [runs[0].context.span_id]
    assert linked(runs[2]) == [runs[1].context.span_id]


async def test_what_went_on_as_new_links_back_also_after_a_crash_between_both():
    heard = Heard()
    async with open_test_engine(
        workflows=[once_anew], telemetry=heard.telemetry(), autojump=False
    ) as engine:
        instance = await engine.create(once_anew, 1)
        await instance.wait_for_status("waiting")
        await engine.crash()
        await instance.send_event("go")
        assert await instance.result() == 0
    first, *rest = heard.named("run once_anew")
    assert [linked(it) for it in rest] == [[first.context.span_id]] * len(rest)


@workflow
async def once_anew(step: Step, left: int) -> int:
    if left:
        await step.continue_as_new(left - 1)
    await step.wait_for_event("go")
    return left
