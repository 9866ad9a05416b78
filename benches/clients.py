"""What it costs to ask an engine from another process: one call after another, creations in
batches, a thousand instances that are watched, and commands of a shell.

`--scale 0.01` makes all of them a hundred times smaller.
"""

from __future__ import annotations

import multiprocessing
import socket
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

from benches.beside import paced
from benches.traffic import Traffic, fill, opened, scaled
from benches.workloads import COMPILED, Figures
from stepwell import Client, NewInstance, workflow

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

CALLS = 2_000
BATCHES, BATCH = 100, 1_000
SECONDS = 10.0
_NEW_PROCESS = multiprocessing.get_context("spawn")


@workflow
async def waits(step: Any) -> None:
    while True:
        await step.wait_for_event("go")


async def calls(folder: Path) -> Figures:
    """The engine is in another process, and has nothing else to do."""
    store = folder / "calls.db"
    ours, theirs = _NEW_PROCESS.Pipe()
    engine = _NEW_PROCESS.Process(target=_serve, args=(str(store), theirs))
    engine.start()
    try:
        async with Client(store) as client:
            instance = await client.create("waits", id="one")
            figures = await _there_and_back() | {
                "seconds per call, status": await _median(instance.status),
                "seconds per call, event": await _median(partial(instance.send_event, "go")),
                "seconds per call, creation": await _median(partial(client.create, "later")),
            }
            many = max(1, scaled(BATCHES))
            began = time.perf_counter()
            for n in range(many):
                new = [NewInstance(id=f"{n}-{k}") for k in range(BATCH)]
                await client.create_batch("later", new)
            figures["creations/s in batches"] = many * BATCH / (time.perf_counter() - began)
            return figures
    finally:
        ours.send("end")
        engine.join()


async def shell(folder: Path) -> Figures:
    """What a command takes from its start to its end, beside 2,000,000 instances."""
    store = folder / "shell.db"
    async with opened(store, later) as engine:
        await fill(engine, later, [NewInstance(id=str(n)) for n in range(scaled(2_000_000))])
        commands = ("--help", "list later", "list --status queued", "show later/77")
        return {
            f"seconds, stepwell {it}": await _median(partial(_run, it.split(), store), 20)
            for it in commands
        }


async def _run(command: list[str], store: Path) -> None:
    await trio.run_process(
        [sys.executable, "-m", "stepwell.cli", *command],
        capture_stdout=True,
        capture_stderr=True,
        env=COMPILED | {"STEPWELL_STORE": str(store)},
    )


async def _there_and_back() -> Figures:
    """What the machine takes for a message there and back between two processes on trio."""
    ours, theirs = socket.socketpair()
    peer = _NEW_PROCESS.Process(target=_echo, args=(theirs,))
    peer.start()
    theirs.close()
    async with trio.SocketStream(trio.socket.from_stdlib_socket(ours)) as stream:

        async def ask() -> None:
            await stream.send_all(bytes(64))
            await stream.receive_some()

        figures = {"seconds, there and back": await _median(ask)}
    peer.join()
    return figures


def _echo(ours: socket.socket) -> None:
    async def run() -> None:
        async with trio.SocketStream(trio.socket.from_stdlib_socket(ours)) as stream:
            async for data in stream:
                await stream.send_all(data)

    trio.run(run)


@workflow(concurrency=1)
async def later(step: Any) -> None:
    """One of them waits for ever, and the others for their turn."""
    await step.wait_for_event("go")


def _serve(store: str, told: Connection) -> None:
    async def run() -> None:
        async with opened(Path(store), waits, later):
            await trio.to_thread.run_sync(told.recv)

    trio.run(run)


async def _median(call: Callable[[], Awaitable[object]], count: int | None = None) -> float:
    times = []
    for _ in range(count or scaled(CALLS)):
        began = time.perf_counter()
        await call()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


async def watchers(folder: Path) -> Figures:
    """As `beside.watchers`, but whoever watches is in another process."""
    store, count = folder / "over.db", scaled(1_000)
    async with opened(store, paced) as engine:
        await fill(engine, paced, [NewInstance(id=str(n)) for n in range(count)])
        flow = Traffic(engine)
        figures = await flow.begin()
        ours, theirs = _NEW_PROCESS.Pipe()
        readers = _NEW_PROCESS.Process(target=_read, args=(str(store), count, theirs))
        readers.start()
        await trio.to_thread.run_sync(ours.recv)  # all have begun
        cpu = time.process_time()
        figures |= await flow.beside("watchers", lambda: trio.sleep(SECONDS))
        figures["share of a processor, engine"] = (time.process_time() - cpu) / SECONDS
        ours.send("end")
        seen, late, late_99 = await trio.to_thread.run_sync(ours.recv)
        readers.join()
    return figures | {
        "updates/s": seen / SECONDS,
        "p50 of an update": late,
        "p99 of an update": late_99,
    }


def _read(store: str, count: int, told: Connection) -> None:
    late: list[float] = []
    begun, all_begun = 0, trio.Event()

    async def watch(client: Client, id: str) -> None:
        nonlocal begun
        async with (await client.get("paced", id)).watch() as updates:
            begun += 1
            if begun == count:
                all_begun.set()
            async for update in updates:
                if update.record is not None:
                    late.append(time.perf_counter() - update.record.output)

    async def run() -> None:
        async with Client(store) as client, trio.open_nursery() as nursery:
            for n in range(count):
                nursery.start_soon(watch, client, str(n))
            await all_begun.wait()
            await trio.sleep(2)  # what was there before has come
            late.clear()
            told.send("begun")
            await trio.to_thread.run_sync(told.recv)
            nursery.cancel_scope.cancel()

    trio.run(run)
    late.sort()
    told.send((len(late), late[len(late) // 2], late[int(len(late) * 0.99)]))
