"""Streams: what an instance sends out while it runs, and who reads it."""

from __future__ import annotations

import pytest

from stepwell import (
    Chunk,
    InstanceNotFound,
    InvalidConfig,
    InvalidName,
    LimitReached,
    Limits,
    Step,
    current_step,
    workflow,
)
from stepwell.testing import open_test_engine


async def words(texts: list[str]) -> int:
    async with current_step().stream("answer") as out:
        for text in texts:
            await out.send(text)
    return len(texts)


def words_of_a_thread(texts: list[str]) -> int:
    with current_step().stream("answer") as out:
        for text in texts:
            out.send(text)
    return len(texts)


@workflow
async def answers(step: Step, params: list[str]) -> int:
    return await step.do(words, params)


@workflow
async def answers_in_a_thread(step: Step, params: list[str]) -> int:
    return await step.do(words_of_a_thread, params)


@workflow
async def tells(step: Step, params: list[str]) -> int:
    async with step.stream("answer") as out:
        for text in params:
            await out.send(text)
            await step.sleep("1 second")
    return len(params)


async def told(block) -> list[Chunk]:
    async with block as chunks:
        return [chunk async for chunk in chunks]


def shown(chunks: list[Chunk]) -> list[object]:
    """What was sent, with marks."""
    return [f"{'|' if it.first else ''}{it.value if not it.final else '.'}" for it in chunks]


@pytest.mark.parametrize("flow", [answers, answers_in_a_thread, tells])
@pytest.mark.parametrize("runtime", ["trio", "asyncio"])
async def test_f1_what_is_sent_is_told_in_order_and_ends_with_the_instance(flow, runtime):
    async with open_test_engine(workflows=[flow], default_runtime=runtime) as engine:
        instance = await engine.create(flow, ["a", "b", "c"], id="i")
        assert await instance.result() == 3
        chunks = await told(engine.stream(flow, "i", "answer"))
        assert shown(chunks) == ["|a", "b", "c", "."]
        assert {it.attempt for it in chunks} == {1}
        assert await told(instance.stream("answer", cursor=chunks[1].cursor)) == chunks[2:]
        assert await told(instance.stream("answer", cursor=chunks[3].cursor)) == []
        assert await told(instance.stream("another")) == []


async def test_f1_a_reader_is_told_what_is_sent_while_it_listens():
    async with open_test_engine(workflows=[tells], autojump=False) as engine:
        instance = await engine.create(tells, ["a", "b"])
        async with instance.stream("answer") as chunks:
            assert (await anext(chunks)).value == "a"
            await engine.clock.advance("1 second")
            assert (await anext(chunks)).value == "b"
            await engine.clock.advance("1 second")
            assert (await anext(chunks)).final
            with pytest.raises(StopAsyncIteration):
                await anext(chunks)


async def test_f2_a_new_attempt_begins_the_passage_anew():
    tried = []

    async def fails_once() -> str:
        async with current_step().stream("answer") as out:
            await out.send(f"try {len(tried)}")
            tried.append(1)
            if len(tried) == 1:
                raise OSError("cut")
            await out.send("end")
        return "done"

    @workflow
    async def twice(step: Step) -> str:
        return await step.do(fails_once)

    async with open_test_engine(workflows=[twice]) as engine:
        instance = await engine.create(twice)
        await instance.result()
        chunks = await told(instance.stream("answer"))
        assert shown(chunks) == ["|try 0", "|try 1", "end", "."]
        assert [it.attempt for it in chunks] == [1, 2, 2, 2]


@pytest.mark.parametrize("crashes", [1, 2, 3])
async def test_f3_a_replayed_body_sends_nothing_twice_and_nothing_less(crashes):
    async with open_test_engine(workflows=[tells], autojump=False) as engine:
        instance = await engine.create(tells, ["a", "b", "c", "d"])
        for _ in range(crashes):
            await engine.clock.advance("1 second")
            await engine.crash()
        for _ in range(4):
            await engine.clock.advance("1 second")
        await instance.result()
        assert shown(await told(instance.stream("answer"))) == ["|a", "b", "c", "d", "."]


async def test_f1_a_reader_goes_on_over_a_crash():
    async with open_test_engine(workflows=[tells], autojump=False) as engine:
        instance = await engine.create(tells, ["a", "b", "c"])
        async with instance.stream("answer") as chunks:
            seen = [await anext(chunks)]
            await engine.clock.advance("1 second")
            await engine.crash()
            for _ in range(3):
                await engine.clock.advance("1 second")
            seen += [it async for it in chunks]
        assert shown(seen) == ["|a", "b", "c", "."]


async def test_f5_a_restart_begins_another_stream_and_a_reader_follows():
    async with open_test_engine(workflows=[tells], autojump=False) as engine:
        instance = await engine.create(tells, ["a", "b"])
        async with instance.stream("answer") as chunks:
            first = await anext(chunks)
            await instance.restart()
            again = await anext(chunks)
            assert again.value == "a"
            assert again.first
            assert again.cursor != first.cursor
            for _ in range(2):
                await engine.clock.advance("1 second")
            assert shown([it async for it in chunks]) == ["b", "."]
        rest = await told(instance.stream("answer", cursor=first.cursor))
        assert shown(rest) == ["|a", "b", "."]


async def test_f2_two_tasks_of_a_body_may_not_send_in_one_stream():
    @workflow
    async def two(step: Step) -> str:
        async with step.stream("answer"), step.stream("answer"):
            pass
        return ""

    async with open_test_engine(workflows=[two]) as engine:
        instance = await engine.create(two)
        await instance.wait_for_status("errored")
        assert "only one may send at a time" in (await instance.status()).error.message


@pytest.mark.parametrize("flow", [answers, answers_in_a_thread])
@pytest.mark.parametrize("limits", [Limits(stream_chunks=2), Limits(stream_bytes=5)])
async def test_f2_a_step_learns_that_its_stream_is_full(flow, limits):
    async with open_test_engine(workflows=[flow], limits=limits) as engine:
        instance = await engine.create(flow, ["abc", "def", "ghi"])
        with pytest.raises(Exception, match="holds what it may"):
            await instance.result()


@pytest.mark.parametrize("limits", [Limits(stream_chunks=2), Limits(stream_bytes=9)])
async def test_f3_a_body_learns_it_at_the_same_place_on_replay(limits):
    @workflow
    async def sends(step: Step) -> list[str]:
        seen = []
        async with step.stream("answer") as out:
            for text in ["abc", "def", "ghi"]:
                try:
                    await out.send(text)
                except LimitReached as error:
                    seen.append(f"{text}: {error.limit}")
        await step.sleep("1 second")
        return seen

    async with open_test_engine(workflows=[sends], limits=limits, autojump=False) as engine:
        instance = await engine.create(sends)
        await instance.wait_for_status("waiting")
        await engine.crash()
        await engine.clock.advance("1 second")
        name = "stream_chunks" if limits.stream_chunks == 2 else "stream_bytes"
        assert await instance.result() == [f"ghi: {name}"]
        assert shown(await told(instance.stream("answer"))) == ["|abc", "def", "."]


async def test_f2_a_chunk_has_a_limit():
    async with open_test_engine(workflows=[answers], limits=Limits(chunk_bytes=4)) as engine:
        instance = await engine.create(answers, ["abcdef"])
        await instance.wait_for_status("errored")
        message = (await instance.status()).error.message
        assert 'a chunk of stream "answer"' in message
        assert "Limits.chunk_bytes" in message


async def test_bad_input():
    async with open_test_engine(workflows=[answers]) as engine:
        instance = await engine.create(answers, [])
        with pytest.raises(InvalidName):
            instance.stream("")
        with pytest.raises(InvalidConfig, match="cursor"):
            engine.stream(answers, instance.id, "answer", cursor="nonsense")
        with pytest.raises(InstanceNotFound):
            await told(engine.stream(answers, "nobody", "answer"))
        await instance.delete()
        with pytest.raises(InstanceNotFound):
            await told(instance.stream("answer"))
