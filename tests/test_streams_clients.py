"""Streams over a real store: a process that is killed, readers in others, codecs and fronts."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from stepwell import Client, Engine, Step, aio, current_step, sync, workflow
from stepwell._engine import depot
from stepwell.crypto import Keyring
from stepwell.payloads import Memory
from stepwell.testing import open_test_engine

PROGRAM = """
import os, signal, sys
import trio
from stepwell import Engine, Step, current_step, workflow

PASSAGES, CHUNKS = 4, 5
sent = 0


def count():
    global sent
    sent += 1
    if sent == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)


async def says(n: int) -> int:
    async with current_step().stream("steps") as out:
        for k in range(CHUNKS):
            await out.send(f"{n}.{k}")
            count()
    return n


@workflow
async def talks(step: Step) -> None:
    for n in range(PASSAGES):
        async with step.stream("body") as out:
            for k in range(CHUNKS):
                await out.send(f"{n}.{k}")
                count()
                await step.do(lambda: None, name="nothing")
        await step.do(says, n)


async def main():
    async with Engine(sys.argv[1], workflows=[talks]) as engine:
        instance = await engine.create(talks, id="i", if_exists="return")
        await instance.result()
        for stream in ("body", "steps"):
            async with instance.stream(stream) as chunks:
                async for it in chunks:
                    print(stream, "|" if it.first else ".", "end" if it.final else it.value)


trio.run(main)
"""


@pytest.mark.slow
def test_f3_killed_between_chunks_a_body_sends_each_once_and_a_step_its_passage_anew(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    died = 0
    for at in range(3, 60, 7):
        args = [sys.executable, str(program), str(tmp_path / "s.db"), str(at)]
        done = subprocess.run(args, capture_output=True, text=True, timeout=60)
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        if done.returncode == 0:
            break
        died += 1
    assert died >= 3
    told = [line.split() for line in done.stdout.splitlines()]
    body = [(mark, it) for stream, mark, it in told if stream == "body"]
    assert [it for _, it in body] == [
        "end" if k == 5 else f"{n}.{k}" for n in range(4) for k in range(6)
    ]
    assert [it for mark, it in body if mark == "|"] == ["0.0", "1.0", "2.0", "3.0"]
    kept: list[list[str]] = []
    for _, mark, it in (line for line in told if line[0] == "steps"):
        if mark == "|":
            n = it.partition(".")[0]
            kept = [passage for passage in kept if passage[0].partition(".")[0] != n]
            kept.append([])
        kept[-1].append(it)
    assert kept == [[*(f"{n}.{k}" for k in range(5)), "end"] for n in range(4)]


async def words() -> int:
    async with current_step().stream("answer") as out:
        for word in ("to", "be", "or"):
            await out.send({"word": word})
    return 3


@workflow
async def speaks(step: Step) -> int:
    await step.wait_for_event("go")
    return await step.do(words)


TOLD = [{"word": "to"}, {"word": "be"}, {"word": "or"}, None]


async def test_f1_a_client_reads_a_stream_and_goes_on_by_its_cursor(tmp_path):
    store = str(tmp_path / "s.db")
    async with Engine(store, workflows=[speaks]) as engine, Client(store) as client:
        await engine.create(speaks, id="i")
        async with client.stream("speaks", "i", "answer") as chunks:
            await (await client.get("speaks", "i")).send_event("go")
            told = [it async for it in chunks]
        assert [it.value for it in told] == TOLD
        instance = await client.get(speaks, "i")
        async with instance.stream("answer", cursor=told[0].cursor) as chunks:
            assert [it async for it in chunks] == told[1:]


def test_blocking_programs_and_those_on_asyncio_read_streams(tmp_path):
    with sync.Engine(str(tmp_path / "s.db"), workflows=[speaks]) as engine:
        instance = engine.create(speaks)
        instance.send_event("go")
        with instance.stream("answer") as chunks:
            assert [it.value for it in chunks] == TOLD

    async def main() -> None:
        async with aio.Engine(str(tmp_path / "a.db"), workflows=[speaks]) as engine:
            instance = await engine.create(speaks)
            await instance.send_event("go")
            async with engine.stream(speaks, instance.id, "answer") as chunks:
                assert [it.value async for it in chunks] == TOLD

    asyncio.run(main())


async def model(**_):
    for word in ("secret", "words"):
        yield word * 40


@workflow
async def asks(step: Step) -> str:
    return await step.model(model, stream_to="answer", collect="".join)


async def test_f4_chunks_pass_through_the_codec_and_values_through_the_payload_store(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(depot, "DELAYS", (0.0, 0.0))
    store, codec = tmp_path / "s.db", Keyring({"a": os.urandom(32)})
    place = Memory(over=100, limit=100_000)
    async with open_test_engine(
        workflows=[asks], store=str(store), codec=codec, payloads=place
    ) as engine:
        instance = await engine.create(asks)
        async with instance.stream("answer") as chunks:
            told = [it async for it in chunks]
        whole = "secret" * 40 + "words" * 40
        assert [it.value for it in told] == ["secret" * 40, "words" * 40, whole]
        assert place.values, "the step's value lies there"
    raw = b"".join(it.read_bytes() for it in Path(tmp_path).glob("s.db*"))
    assert b"secret" not in raw
    with closing(sqlite3.connect(store)) as conn:
        assert conn.execute("SELECT count(*) FROM chunk").fetchone() == (3,)


async def test_what_a_sensitive_step_sends_is_not_shown():
    @workflow
    async def hides(step: Step) -> None:
        await step.do(words, sensitive=True)

    async with open_test_engine(workflows=[hides]) as engine:
        instance = await engine.create(hides)
        await instance.result()
        async with instance.stream("answer") as chunks:
            told = [it async for it in chunks]
        assert "be" not in repr(told)
        assert [type(it.value).__name__ for it in told] == [*["Redacted"] * 3, "NoneType"]


async def test_f1_a_reader_that_is_slow_is_cut_and_misses_nothing(monkeypatch):
    from stepwell._engine import streaming

    monkeypatch.setattr(streaming, "KEPT_MAX", 2)

    @workflow
    async def counts(step: Step) -> None:
        async with step.stream("numbers") as out:
            for n in range(50):
                await out.send(n)
                await step.do(lambda: None, name="nothing")

    async with open_test_engine(workflows=[counts]) as engine:
        instance = await engine.create(counts)
        async with instance.stream("numbers") as chunks:
            assert (await anext(chunks)).value == 0
            await instance.result()
            assert [it.value async for it in chunks] == [*range(1, 50), None]
