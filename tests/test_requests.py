"""Requests: an event that wants an answer, and gets one (rule E6)."""

import asyncio
import copy
import pickle
import random
import signal
import subprocess
import sys
from dataclasses import dataclass

import pytest
import trio
from moments import AtStep

import stepwell
from stepwell import (
    Event,
    InstanceErrored,
    InstanceNotFound,
    InstanceTerminated,
    InvalidName,
    InvalidPayload,
    InvalidState,
    NotSerializable,
    RequestTimeout,
    aio,
    sync,
    workflow,
)
from stepwell.testing import open_test_engine


@workflow
async def shop(step, count: int) -> int:
    """Answers so many quotes, each with twice what it was asked."""
    for _ in range(count):
        event = await step.wait_for_event("quote")
        await event.reply(event.payload * 2)
    return count


async def test_e6_a_request_is_answered_by_the_body():
    async with open_test_engine(workflows=[shop]) as engine:
        instance = await engine.create(shop, 2)
        assert await instance.request("quote", 4) == 8
        assert await instance.request("quote", "ab", timeout="1 second") == "abab"
        assert await instance.result() == 2


async def test_e6_an_answer_is_found_again_by_its_dedup_id_also_when_the_instance_has_ended():
    async with open_test_engine(workflows=[shop]) as engine:
        instance = await engine.create(shop, 1)
        assert await instance.request("quote", 4, dedup_id="q") == 8
        assert await instance.result() == 1
        await engine.crash()
        assert await instance.request("quote", 5, dedup_id="q") == 8
        with pytest.raises(InvalidState, match='ended without an answer to "quote"'):
            await instance.request("quote", 4)


async def test_e6_history_has_one_reply_whatever_is_replayed():
    async with open_test_engine(workflows=[shop]) as engine:
        instance = await engine.create(shop, 2)
        assert await instance.request("quote", 4) == 8
        await engine.crash()
        assert await instance.request("quote", 1) == 2
        lines = [(it.kind, it.name, it.count, it.output) for it in await instance.history()]
    assert lines == [
        ("event", "quote", 1, 4),
        ("reply", "quote", 1, 8),
        ("event", "quote", 2, 1),
        ("reply", "quote", 2, 2),
    ]


@workflow
async def silent(step, how: str) -> str:
    """Waits for a request, and ends without an answer."""
    await step.wait_for_event("quote")
    if how == "fails":
        raise ValueError("sold out")
    if how == "waits":
        await step.wait_for_event("never")
    return how


async def test_e6_whoever_asks_one_that_ends_is_told_how_it_ended():
    async with open_test_engine(workflows=[silent]) as engine:
        instance = await engine.create(silent, "returns")
        with pytest.raises(InvalidState, match='ended without an answer to "quote"') as ended:
            await instance.request("quote")
        assert ended.value.status == "complete"
        instance = await engine.create(silent, "fails")
        with pytest.raises(InstanceErrored, match="sold out") as failed:
            await instance.request("quote")
        assert failed.value.error is not None
        with pytest.raises(InstanceErrored, match="sold out"):
            await instance.request("quote")  # after the end as before it


async def test_e6_one_that_is_terminated_or_deleted_meanwhile_says_so():
    async with open_test_engine(workflows=[silent], autojump=False) as engine:
        told = []

        async def ask(instance) -> None:
            try:
                await instance.request("quote", timeout="1 day")
            except (InstanceTerminated, InstanceNotFound) as error:
                told.append(type(error))

        for end in ("terminate", "delete"):
            instance = await engine.create(silent, "waits")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask, instance)
                await instance.wait_for_step("quote")
                await getattr(instance, end)()
        assert told == [InstanceTerminated, InstanceNotFound]


async def test_e6_a_request_that_nobody_answers_in_time_stays_and_can_be_asked_again():
    async with open_test_engine(workflows=[late]) as engine:
        instance = await engine.create(late)
        with pytest.raises(RequestTimeout, match='did not answer "quote" within 10 seconds'):
            await instance.request("quote", 3, timeout="10 seconds", dedup_id="q")
        assert issubclass(RequestTimeout, TimeoutError)
        assert await instance.request("quote", 9, timeout="2 hours", dedup_id="q") == 3


@workflow
async def late(step):
    await step.sleep("1 hour")
    event = await step.wait_for_event("quote")
    await event.reply(event.payload)


async def test_e6_time_is_over_when_it_is_over_whether_the_engine_crashes_or_not():
    async with open_test_engine(workflows=[late], autojump=False) as engine:
        instance = await engine.create(late)
        began, told = engine.clock.now(), []

        async def ask() -> None:
            with pytest.raises(RequestTimeout):
                await instance.request("quote", timeout="10 seconds")
            told.append((engine.clock.now() - began).total_seconds())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await instance.wait_for_status("waiting")
            await engine.clock.advance("4 seconds")
            await engine.crash()
            await engine.clock.advance("20 seconds")
        assert told == [10.0]


@workflow
async def twice(step) -> str:
    event = await step.wait_for_event("quote")
    await event.reply(1)
    try:
        await event.reply(2)
    except InvalidState as error:
        return str(error)
    return "answered twice"


async def test_e6_a_second_answer_is_refused_live_and_on_replay():
    async with open_test_engine(workflows=[twice, then_waits]) as engine:
        instance = await engine.create(twice)
        assert await instance.request("quote") == 1
        assert "was answered before" in await instance.result()
        instance = await engine.create(then_waits)
        assert await instance.request("quote") == 1
        await engine.crash()
        await instance.send_event("go")
        assert await instance.result() == 1
        assert [it.kind for it in await instance.history()] == ["event", "reply", "event"]


@workflow
async def then_waits(step) -> int:
    event = await step.wait_for_event("quote")
    await event.reply(1)
    refused = 0
    try:
        await event.reply(2)
    except InvalidState:
        refused += 1
    await step.wait_for_event("go")
    return refused


async def test_e6_an_answer_to_an_event_that_asks_for_none_is_recorded_and_nothing_else():
    async with open_test_engine(workflows=[shop]) as engine:
        instance = await engine.create(shop, 1)
        await instance.send_event("quote", 2, dedup_id="plain")
        assert await instance.result() == 1
        assert [it.kind for it in await instance.history()] == ["event", "reply"]
        with pytest.raises(InvalidState):
            await instance.request("quote", 2, dedup_id="plain")


async def test_e6_a_dedup_id_of_a_plain_event_cannot_be_asked_with():
    async with open_test_engine(workflows=[late], autojump=False) as engine:
        instance = await engine.create(late)
        await instance.send_event("quote", dedup_id="q")
        with pytest.raises(InvalidState, match="asks for nothing"):
            await instance.request("quote", dedup_id="q")


@dataclass
class Price:
    cents: int


@workflow
async def priced(step):
    event = await step.wait_for_event("quote")
    with pytest.raises(NotSerializable, match="reply"):
        await event.reply(object())
    await event.reply(Price(250), as_type=Price)


async def test_e6_an_answer_is_stored_and_read_as_its_type():
    async with open_test_engine(workflows=[priced]) as engine:
        instance = await engine.create(priced)
        price = await instance.request("quote", dedup_id="q", as_type=Price)
        assert price == Price(250)
        with pytest.raises(InvalidPayload) as unfit:
            await instance.request("quote", dedup_id="q", as_type=int)
        assert unfit.value.payload == {"cents": 250}
        await instance.result()
        refused = [it.status for it in await instance.history() if it.kind == "reply"]
        assert refused == ["refused", "done"]


@workflow
async def crowd(step, n: int) -> None:
    """One branch answers each."""

    async def one(_: int) -> None:
        event = await step.wait_for_event("quote")
        await step.sleep("1 second")
        await event.reply(event.payload)

    await step.each(one, range(n))


async def test_e6_many_ask_at_once_and_each_gets_its_own_answer():
    async with open_test_engine(workflows=[crowd]) as engine:
        instance = await engine.create(crowd, 20)
        answers = {}

        async def ask(i: int) -> None:
            answers[i] = await instance.request("quote", i)

        async with trio.open_nursery() as nursery:
            for i in range(20):
                nursery.start_soon(ask, i)
        assert answers == {i: i for i in range(20)}
        await instance.result()


@workflow(runtime="asyncio")
async def on_asyncio(step) -> None:
    event = await step.wait_for_event("quote")
    await step.gather(event.reply("here"), step.sleep("1 second"))


async def test_e6_a_body_on_asyncio_answers_too():
    async with open_test_engine(workflows=[on_asyncio]) as engine:
        instance = await engine.create(on_asyncio)
        assert await instance.request("quote") == "here"
        await instance.result()


async def test_e6_what_was_answered_stays_so_after_a_restart_and_goes_with_the_instance():
    async with open_test_engine(workflows=[twice_as_much]) as engine:
        instance = await engine.create(twice_as_much, id="i")
        assert await instance.request("quote", dedup_id="q") == 1
        await instance.result()
        await instance.restart()
        await instance.send_event("quote")  # the one of before was taken from an ended life
        await instance.result()
        assert await instance.request("quote", dedup_id="q") == 1
        await instance.delete()
        instance = await engine.create(twice_as_much, id="i")
        assert await instance.request("quote", dedup_id="q") > 1


_lives = 0


@workflow
async def twice_as_much(step):
    def nth() -> int:
        global _lives
        _lives += 1
        return _lives

    event = await step.wait_for_event("quote")
    await event.reply(await step.do(nth))


async def test_e6_only_the_event_itself_can_be_answered_and_only_in_its_body():
    async with open_test_engine(workflows=[passes_on]) as engine:
        instance = await engine.create(passes_on)
        assert await instance.request("quote", 3) == 3
        assert await instance.result() == ["Misuse", "InvalidState", "InvalidState"]
    with pytest.raises(InvalidState, match="cannot be answered"):
        Event("quote", 1, engine.clock.now()).reply(1)


@workflow
async def passes_on(step) -> list[str]:
    event = await step.wait_for_event("quote")
    assert (event, event[0]) == (Event(*event), "quote")
    told = []

    async def answer() -> None:
        with pytest.raises(stepwell.StepwellError) as error:
            event.reply(1)
        told.append(type(error.value).__name__)

    await step.do(answer)
    for other in (pickle.loads(pickle.dumps(event)), copy.deepcopy(event)):
        assert other == event
        try:
            other.reply(1)
        except InvalidState as error:
            told.append(type(error).__name__)
    await event.reply(event.payload)
    return told


async def test_e6_bad_input_changes_nothing():
    async with open_test_engine(workflows=[shop], autojump=False) as engine:
        instance = await engine.create(shop, 1)
        for wrong in (
            {"type": "no such", "payload": 1},
            {"type": "quote", "dedup_id": ""},
        ):
            with pytest.raises(InvalidName):
                await instance.request(**wrong)
        with pytest.raises(stepwell.InvalidConfig):
            await instance.request("quote", timeout="soon")
        with pytest.raises(NotSerializable):
            await instance.request("quote", object())
        await instance.wait_for_status("waiting")
        assert [it.status for it in await instance.history()] == ["waiting"]


async def test_e6_an_engine_that_closes_tells_whoever_asks():
    async with (
        trio.open_nursery() as nursery,
        open_test_engine(workflows=[late], autojump=False) as engine,
    ):
        instance = await engine.create(late)

        async def ask() -> None:
            with pytest.raises(stepwell.EngineClosed):
                await instance.request("quote", timeout="1 day")

        nursery.start_soon(ask)
        await instance.wait_for_status("waiting")


def test_e6_blocking_programs_ask_too():
    with sync.Engine(":memory:", workflows=[shop]) as engine:
        instance = engine.create(shop, 1)
        assert instance.request("quote", 4, dedup_id="q") == 8
        assert instance.result() == 1
        assert instance.request("quote", 4, dedup_id="q") == 8


def test_e6_programs_on_asyncio_ask_too():
    async def main() -> None:
        async with aio.Engine(":memory:", workflows=[late]) as engine:
            instance = await engine.create(late)
            with pytest.raises(RequestTimeout):
                await instance.request("quote", timeout=0.01)

    asyncio.run(main())


@pytest.mark.slow
def test_e6_an_engine_that_crashes_at_any_moment_loses_no_answer_and_gives_no_second():
    crashed = 0
    for k in range(1, 400):
        if not trio.run(_asked_and_crashed, k):
            break
        crashed += 1
    assert crashed > 20, crashed


async def _asked_and_crashed(k: int) -> bool:
    """The k-th step of the loop is followed by a crash. Returns whether there were so many."""
    struck, over = trio.Event(), trio.Event()
    at = AtStep(k, struck.set)
    async with open_test_engine(workflows=[quotes]) as engine, trio.open_nursery() as nursery:

        async def crash() -> None:
            await struck.wait()
            await engine.crash()
            over.set()

        nursery.start_soon(crash)
        trio.lowlevel.add_instrument(at)
        instance = await _again(lambda: engine.create(quotes, id="i", if_exists="return"))
        first = [await _again(lambda i=i: _quote(instance, i)) for i in (1, 2)]
        trio.lowlevel.remove_instrument(at)
        struck.set()
        await over.wait()
        assert await instance.result() == first
        assert [await _quote(instance, i) for i in (1, 2)] == first
        kinds = [it.kind for it in await instance.history() if it.status == "done"]
        assert kinds == ["event", "do", "reply"] * 2, (k, kinds)
    return at.has_struck


async def _quote(instance, i: int):
    return await instance.request("quote", i, dedup_id=f"q{i}")


async def _again(call):
    while True:
        try:
            return await call()
        except stepwell.EngineClosed:
            continue


@workflow
async def quotes(step) -> list:
    told = []
    for _ in range(2):
        event = await step.wait_for_event("quote")
        value = await step.do(lambda: random.random(), name="draw")
        await event.reply(value)
        told.append(value)
    return told


PROGRAM = """
import random, sys, trio
from stepwell import Engine, workflow

@workflow
async def counter(step):
    for _ in range(COUNT):
        event = await step.wait_for_event("ask")
        await event.reply([event.payload, await step.do(random.random, name="draw")])

async def main():
    async with Engine(sys.argv[1], workflows=[counter]) as engine:
        instance = await engine.create(counter, id="c", if_exists="return")
        for i in range(COUNT):
            answer = await instance.request("ask", i, dedup_id=f"r{i}", timeout="1 minute")
            print(i, answer, flush=True)

trio.run(main)
""".replace("COUNT", "40")


@pytest.mark.slow
def test_e6_answers_are_the_same_whenever_the_process_is_killed(tmp_path):
    seed = random.randrange(1_000_000)
    print("seed", seed)
    dice, told = random.Random(seed), {}
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "app.db")]
    for lines in [*(dice.randrange(1, 40) for _ in range(8)), 1_000]:
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            for _ in range(lines):
                line = process.stdout.readline()
                if not line:
                    break
                i, _, answer = line.partition(" ")
                assert told.setdefault(i, answer) == answer, (seed, i)
            if lines < 1_000:
                process.send_signal(signal.SIGKILL)
        if lines == 1_000:
            assert process.returncode == 0
    assert len(told) == 40
