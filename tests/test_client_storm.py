"""Many processes ask one engine, and engine and clients are killed at random: every call that was
acknowledged took effect, and none took effect twice.

STEPWELL_STORM=200 has 200 clients at a time; without it there are a few.
"""

import os
import random
import selectors
import subprocess
import sys
from collections import Counter

import pytest

from stepwell import Client, Instance, NewInstance

ENGINE = """
import sys, trio
from stepwell import Engine, Limits, Step, workflow

@workflow
async def one(step: Step, n: int) -> int:
    return n

@workflow
async def sink(step: Step) -> None:
    while True:
        await step.wait_for_event("token")

async def main():
    # who is killed so often is not suspected for it here
    limits = Limits(recoveries=1_000_000)
    async with Engine(sys.argv[1], workflows=[one, sink], limits=limits):
        print("open", flush=True)
        await trio.sleep_forever()

trio.run(main)
"""
CLIENT = """
import sys
from stepwell import NewInstance, sync

store, name, sinks, calls = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
with sync.Client(store, timeout=300) as client:
    sink = client.get("sink", f"sink-{sum(name.encode()) % sinks}")
    for n in range(calls):
        client.create("one", n, id=f"{name}-{n}")
        made = client.create_batch("one", [NewInstance(n, f"{name}-{n}-{k}") for k in "abc"])
        assert len(made.created) == 3, made
        sink.send_event("token", f"{name}-{n}")
        print(n, flush=True)
"""
CLIENTS = int(os.environ.get("STEPWELL_STORM", "3"))
CALLS = 20
SINKS = 4
LAST = "the last"


class Storm:
    """Clients and the engine, each a process."""

    def __init__(self, store: str, seed: int) -> None:
        self.store = store
        self.dice = random.Random(seed)
        self.acknowledged: set[str] = set()
        self.names = self.engines = 0
        self.clients: dict[subprocess.Popen, str] = {}
        self.engine = self.start_engine()
        self.heard = selectors.DefaultSelector()

    def start_engine(self) -> subprocess.Popen:
        engine = subprocess.Popen(
            [sys.executable, "-c", ENGINE, self.store], stdout=subprocess.PIPE
        )
        assert engine.stdout.readline() == b"open\n"
        self.engines += 1
        return engine

    def start_client(self) -> None:
        self.names += 1
        args = [self.store, f"c{self.names}", str(SINKS), str(CALLS)]
        client = subprocess.Popen(
            [sys.executable, "-c", CLIENT, *args], stdout=subprocess.PIPE, bufsize=0
        )
        self.clients[client] = args[1]
        self.heard.register(client.stdout, selectors.EVENT_READ, client)

    def end(self, client: subprocess.Popen, *, killed: bool) -> None:
        self.heard.unregister(client.stdout)
        name = self.clients.pop(client)
        if killed:
            client.kill()
        for line in client.stdout.read().split():  # what it had said before
            self.acknowledged.add(f"{name}-{line.decode()}")
        client.stdout.close()
        assert client.wait() == 0 or killed

    def hear(self) -> None:
        """Waits until some clients say something, and notes what was acknowledged to them."""
        for key, _ in self.heard.select():
            client = key.data
            if client not in self.clients:
                continue
            line = client.stdout.readline()
            if line:
                self.acknowledged.add(f"{self.clients[client]}-{line.decode().strip()}")
            else:
                self.end(client, killed=False)

    def restart_engine(self) -> None:
        self.stop_engine()
        self.engine = self.start_engine()

    def stop_engine(self) -> None:
        self.engine.kill()
        self.engine.wait()
        self.engine.stdout.close()


async def took(sink: Instance, token: str) -> None:
    """Returns when a sink has taken this token: it takes them in the order in which they came."""
    async with sink.watch() as updates:
        async for update in updates:
            if update.record is not None and update.record.output == token:
                return


@pytest.mark.slow
@pytest.mark.parametrize("seed", [random.randrange(1 << 32)])
async def test_every_acknowledged_call_took_effect_once(tmp_path, seed):
    print(f"seed {seed}")
    storm = Storm(str(tmp_path / "storm.db"), seed)
    async with Client(storm.store, timeout=60) as client:
        await client.create_batch("sink", [NewInstance(id=f"sink-{n}") for n in range(SINKS)])
    for _ in range(CLIENTS):
        storm.start_client()
    heard, engine_dies, client_dies = 0, CLIENTS * 2, 9
    while storm.clients:
        storm.hear()
        if len(storm.acknowledged) - heard >= engine_dies:
            heard = len(storm.acknowledged)
            storm.restart_engine()
        if storm.names < 2 * CLIENTS and storm.dice.randrange(client_dies) == 0 and storm.clients:
            storm.end(storm.dice.choice(list(storm.clients)), killed=True)
            storm.start_client()
    storm.restart_engine()
    async with Client(storm.store, timeout=60) as client:
        seen, created = Counter(), Counter()
        for n in range(SINKS):
            sink = await client.get("sink", f"sink-{n}")
            await sink.send_event("token", LAST)
            await took(sink, LAST)  # and so all that came before it
            for line in await sink.history():
                if line.event_type == "token" and line.status == "done":
                    seen[line.output] += 1
        cursor = ""
        while cursor is not None:
            page = await client.list("one", limit=1_000, cursor=cursor or None)
            created.update(it.id for it in page)
            cursor = page.cursor
    storm.stop_engine()
    del seen[LAST]
    print(
        f"{storm.names} clients, {storm.engines} engines, {len(storm.acknowledged)} rounds "
        f"acknowledged, {sum(seen.values())} events, {len(created)} instances"
    )
    assert len(storm.acknowledged) >= CLIENTS * CALLS // 2
    for token in storm.acknowledged:
        assert seen[token] == 1, token
        assert all(created[f"{token}{it}"] == 1 for it in ("", "-a", "-b", "-c")), token
    assert max(seen.values()) == 1, "sent once, whoever heard of it"
