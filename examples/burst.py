"""Forty agents' worth of load on one engine: bursts over three namespaces, limits changed and
shards resized meanwhile.

    python examples/burst.py [STORE] [--instances 100000] [--fresh]

A live view shows slots, queue and throughput of each namespace. Press Ctrl-C, or kill it with -9,
and run it again: it goes on where it was, for every instance has an id of its own and creating it
twice changes nothing.
"""

from __future__ import annotations

import argparse
import itertools
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import trio
from rich.console import Console
from rich.live import Live
from rich.table import Table

from stepwell import Engine, Limits, Namespace, NewInstance, Status, Step, workflow

AGENTS = 40
NAMESPACES = {
    "acme": Limits(concurrency=2_000),
    "initech": Limits(concurrency=500),
    "umbrella": Limits(create_rate=2_000, create_burst=500),
}
LAYOUTS = (64, 1, 16, 256)


async def look(topic: int) -> int:
    await trio.lowlevel.checkpoint()
    return topic * 2


@workflow
async def research(step: Step, topic: int) -> int:
    """What most instances do: a few steps, one after the other."""
    found = await step.do(look, topic)
    return await step.do(look, found)


@workflow
async def nap(step: Step, topic: int) -> int:
    """What some do: sleep for a second or two, without a slot."""
    await step.sleep(1 + topic % 2)
    return await step.do(look, topic)


@workflow(concurrency=100)
async def review(step: Step, topic: int) -> str:
    """What a few do: wait for a word from outside."""
    event = await step.wait_for_event("verdict", as_type=str)
    return event.payload


def share(agent: int, instances: int) -> Iterator[list[tuple[str, NewInstance]]]:
    """Yields the bursts of one agent: 100 instances each, most of them research."""
    mine = range(agent, instances, AGENTS)
    for start in range(0, len(mine), 100):
        burst = mine[start : start + 100]
        yield [
            (
                "review" if n % 50 == 7 else "nap" if n % 10 == 3 else "research",
                NewInstance(n, id=f"n{n}"),
            )
            for n in burst
        ]


async def agent(tenant: Namespace, number: int, instances: int) -> None:
    """One agent: creates its bursts, waits while there are too many, and sends the verdicts."""
    chance = random.Random(number)
    for burst in share(number, instances):
        for name in ("research", "nap", "review"):
            items = [item for kind, item in burst if kind == name]
            if items:
                await tenant.create_batch(name, items, if_exists="return", on_overload="wait")
        for kind, item in burst:
            if kind == "review" and tenant.peek("review", str(item.id)) is not None:
                await (await tenant.get("review", str(item.id))).send_event(
                    "verdict", "fine", dedup_id="verdict"
                )
        await trio.sleep(chance.uniform(0, 0.2))


async def operate(engine: Engine, done: trio.Event) -> None:
    """The operator: resizes the control plane and changes limits while everything runs."""
    for shards, slots in zip(
        itertools.cycle(LAYOUTS), itertools.cycle((300, 3_000, 1_000)), strict=False
    ):
        with trio.move_on_after(2):
            await done.wait()
            return
        await engine.namespace("initech").set_limits(concurrency=slots)
        await engine.reshard(shards)


def view(engine: Engine, began: float, worst: float) -> Table:
    numbers = engine.statistics()
    seconds = max(time.monotonic() - began, 0.001)
    title = (
        f"{numbers.leased:,} of {numbers.slots:,} slots, {numbers.shards} shards, commits p99 "
        f"{numbers.commit_p99 * 1e3:.1f} ms"
    )
    table = Table(title=title, caption=f"{seconds:.0f} s, loop at most {worst * 1e3:.0f} ms late")
    for column in ("namespace", "slots", "limit", "queued", "waiting", "ended", "ended/s"):
        table.add_column(column, justify="left" if column == "namespace" else "right")
    for name in NAMESPACES:
        mine = [it for it in numbers.workflows if it.namespace == name]
        ended = sum(it.ended for it in mine)
        limit = engine.namespace(name).limits().concurrency
        row = [
            sum(it.leased for it in mine),
            limit,
            sum(it.queued for it in mine),
            sum(it.waiting for it in mine),
            ended,
        ]
        table.add_row(name, *(f"{value:,}" for value in row), f"{ended / seconds:,.0f}")
    return table


async def show(engine: Engine, console: Console, done: trio.Event) -> None:
    began, worst = time.monotonic(), 0.0
    with Live(
        view(engine, began, worst),
        console=console,
        auto_refresh=False,
        transient=not console.is_terminal,
    ) as live:
        while not done.is_set():
            before = time.monotonic()
            with trio.move_on_after(0.1):
                await done.wait()
            worst = max(worst, time.monotonic() - before - 0.1)
            live.update(view(engine, began, worst), refresh=console.is_terminal)
    if not console.is_terminal:
        console.print(view(engine, began, worst))


async def main(store: Path, instances: int) -> None:
    console = Console()
    async with (
        Engine(store, workflows=[research, nap, review], slots=5_000) as engine,
        trio.open_nursery() as nursery,
    ):
        tenants = [engine.namespace(name, limits=limits) for name, limits in NAMESPACES.items()]
        done = trio.Event()
        nursery.start_soon(show, engine, console, done)
        nursery.start_soon(operate, engine, done)
        async with trio.open_nursery() as agents:
            for number in range(AGENTS):
                agents.start_soon(agent, tenants[number % len(tenants)], number, instances)
        while any(
            [
                sum(n for status, n in (await tenant.count()).items() if not status.is_final)
                for tenant in tenants
            ]
        ):
            await trio.sleep(0.1)
        done.set()
        complete = sum([(await tenant.count())[Status.COMPLETE] for tenant in tenants])
    console.print(f"{complete:,} instances are complete, each of them once")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("store", nargs="?", type=Path, default=Path("burst.db"))
    parser.add_argument("--instances", type=int, default=100_000)
    parser.add_argument("--fresh", action="store_true", help="forget what an earlier run left")
    options = parser.parse_args()
    if options.fresh:
        for path in options.store.parent.glob(options.store.name + "*"):
            path.unlink()
    try:
        trio.run(main, options.store, options.instances)
    except KeyboardInterrupt:
        sys.exit("stopped; run it again to go on")
