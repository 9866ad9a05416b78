"""`step.model`: calls of a model's client, as clients are."""

from __future__ import annotations

from dataclasses import dataclass
from email.utils import format_datetime
from typing import Any

import pytest
import trio
from pydantic import BaseModel

from stepwell import InvalidConfig, InvalidName, Retry, Step, StepFailed, workflow
from stepwell._operations.model import retry_after, usage
from stepwell.testing import open_test_engine

WORDS = ["to", "be", "or"]


class Usage(BaseModel):
    input_tokens: int
    output_tokens: int


class Message(BaseModel):
    """As clients have it: a class of their own."""

    text: str
    usage: Usage


class Client:
    """What is asked, however it is: counts, and answers what it is told to."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.closed = 0

    async def create(self, **given: Any) -> Message:
        self.asked.append(given)
        return Message(text="hello", usage=Usage(input_tokens=3, output_tokens=5))

    def create_blocking(self, **given: Any) -> Message:
        self.asked.append(given)
        return Message(text="hello", usage=Usage(input_tokens=3, output_tokens=5))

    async def iterates(self, **given: Any):
        self.asked.append(given)
        try:
            for word in WORDS:
                yield word
        finally:
            self.closed += 1

    async def gives_an_iterator(self, **given: Any):
        return self.iterates(**given)

    def gives_a_block(self, **given: Any):
        return Block(self)

    async def gives_a_block_later(self, **given: Any):
        return Block(self)

    def blocking_iterator(self, **given: Any):
        self.asked.append(given)
        yield from WORDS


@dataclass
class Block:
    """A stream that is entered first."""

    client: Client

    async def __aenter__(self):
        self.iterator = self.client.iterates()
        return self.iterator

    async def __aexit__(self, *_: object) -> None:
        await self.iterator.aclose()


@pytest.mark.parametrize("call", ["create", "create_blocking"])
async def test_what_a_client_returns_is_stored_as_plain_data(call):
    client = Client()

    @workflow
    async def asks(step: Step) -> Any:
        plain = await step.model(getattr(client, call), model="m", timeout=3)
        typed = await step.model(getattr(client, call), as_type=Message, name="typed")
        await step.wait_for_event("go")
        return [plain, typed.text]

    async with open_test_engine(workflows=[asks]) as engine:
        instance = await engine.create(asks)
        await instance.wait_for_status("waiting")
        await engine.crash()
        await instance.send_event("go")
        stored = {"text": "hello", "usage": {"input_tokens": 3, "output_tokens": 5}}
        assert await instance.result() == [stored, "hello"]
        assert client.asked == [{"model": "m", "timeout": 3}, {}]
        assert [it.name for it in await instance.history()] == ["model", "typed", "go"]


@pytest.mark.parametrize(
    "call", ["iterates", "gives_an_iterator", "gives_a_block_later", "blocking_iterator"]
)
@pytest.mark.parametrize("runtime", ["trio", "asyncio"])
async def test_f4_what_it_streams_goes_to_a_stream_and_the_value_stands_for_it(call, runtime):
    client = Client()

    @workflow
    async def asks(step: Step) -> Any:
        return await step.model(getattr(client, call), stream_to="chat", collect=" ".join)

    async with open_test_engine(workflows=[asks], default_runtime=runtime) as engine:
        instance = await engine.create(asks)
        assert await instance.result() == "to be or"
        async with instance.stream("chat") as chunks:
            told = [it async for it in chunks]
        assert [it.value for it in told] == [*WORDS, "to be or"]
        assert [it.first for it in told] == [True, False, False, False]
        assert [it.final for it in told] == [False, False, False, True]
        # ten minutes later, at the next time that the engine tidies up
        await engine.clock.advance("2 hours")
        await (await engine.create(asks)).result()
        async with instance.stream("chat") as chunks:
            late = [it async for it in chunks]
        assert late == told[3:]
        async with instance.stream("chat", cursor=told[1].cursor) as chunks:
            assert [it async for it in chunks] == told[3:]


async def test_an_iterator_is_closed_when_the_step_is_cancelled():
    client = Client()

    async def endless(**_: Any):
        try:
            while True:
                yield "on"
                await trio.sleep(3600)
        finally:
            client.closed += 1

    @workflow
    async def asks(step: Step) -> str:
        async with step.open_nursery() as nursery:
            nursery.start_soon(lambda: step.model(endless, stream_to="chat"))
            await step.wait_for_event("stop")
            nursery.cancel_scope.cancel()
        return "late"

    async with open_test_engine(workflows=[asks]) as engine:
        instance = await engine.create(asks)
        async with instance.stream("chat") as chunks:
            assert (await anext(chunks)).value == "on"
            await instance.send_event("stop")
            assert await instance.result() == "late"
            assert [it async for it in chunks] == []
        assert client.closed == 1


class Limited(Exception):
    """As clients raise it for 429."""

    def __init__(self, **headers: str) -> None:
        self.response = type("Response", (), {"headers": headers})()


@pytest.mark.parametrize(
    ("headers", "waits"),
    [
        ({"retry-after": "7"}, 7),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after": "7200"}, 3600),  # no longer than max_delay
        ({"retry-after": "soon"}, 30),
        ({}, 30),
    ],
)
async def test_a_server_that_says_when_to_come_back_is_heard(headers, waits):
    tried = []

    async def busy(**_: Any) -> str:
        tried.append(1)
        if len(tried) == 1:
            raise Limited(**headers)
        return "done"

    @workflow
    async def asks(step: Step) -> float:
        began = step.now()
        await step.model(busy, retry=Retry(delay="30 seconds", jitter=0))
        return (step.now() - began).total_seconds()

    async with open_test_engine(workflows=[asks]) as engine:
        assert await (await engine.create(asks)).result() == waits


def test_a_server_may_name_a_moment():
    from datetime import UTC, datetime

    at = datetime(2027, 1, 1, tzinfo=UTC)
    error = Limited(**{"retry-after": format_datetime(at, usegmt=True)})
    assert retry_after(error, int(at.timestamp() * 1e6) - 9_000_000) == 9
    assert retry_after(error, int(at.timestamp() * 1e6) + 1) == 0
    assert retry_after(OSError(), 0) is None


def test_what_it_took_is_read_in_the_words_of_any_client():
    assert usage({"usage": {"prompt_tokens": 1, "completion_tokens": 2}}) == {
        "input_tokens": 1,
        "output_tokens": 2,
    }
    assert usage(Message(text="", usage=Usage(input_tokens=3, output_tokens=4))) == {
        "input_tokens": 3,
        "output_tokens": 4,
    }
    for nothing in ({}, {"usage": {}}, None, "text", {"usage": {"input_tokens": "many"}}):
        assert usage(nothing) is None


async def test_bad_input():
    client = Client()
    bad = [
        (InvalidConfig, "a function of your client", lambda step: step.model("create")),
        (InvalidConfig, "collect", lambda step: step.model(client.create, collect=3)),
        (InvalidConfig, "no Retry", lambda step: step.model(client.create, retry=3)),
        (InvalidName, "stream_to", lambda step: step.model(client.create, stream_to="")),
    ]

    @workflow
    async def asks(step: Step) -> list[str]:
        seen = []
        for kind, _, call in bad:
            try:
                await call(step)
            except kind as error:
                seen.append(str(error))
        return seen

    async with open_test_engine(workflows=[asks]) as engine:
        seen = await (await engine.create(asks)).result()
        assert len(seen) == len(bad)
        for (_, words, _), text in zip(bad, seen, strict=True):
            assert words in text
    assert client.asked == []


async def test_an_async_client_need_not_look_like_one():
    client = Client()

    @workflow
    async def asks(step: Step) -> Any:
        return [
            (await step.model(lambda **given: client.create(**given)))["text"],
            await step.model(lambda **given: client.iterates(**given), stream_to="chat"),
            await step.model(client.gives_a_block),
        ]

    async with open_test_engine(workflows=[asks]) as engine:
        instance = await engine.create(asks)
        assert await instance.result() == ["hello", WORDS, WORDS]
        async with instance.stream("chat") as chunks:
            assert [it.value async for it in chunks] == [*WORDS, WORDS]


async def test_a_failure_is_that_of_the_client():
    async def fails(**_: Any) -> None:
        raise ValueError("no such model")

    @workflow
    async def asks(step: Step) -> str:
        try:
            await step.model(fails, retry=Retry.never)
        except StepFailed as error:
            return f"{error.type}: {error.message}"
        return ""

    async with open_test_engine(workflows=[asks]) as engine:
        assert await (await engine.create(asks)).result() == "ValueError: no such model"
