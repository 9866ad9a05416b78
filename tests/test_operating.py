"""What docs/operating.md shows, as it stands there."""

import re
import subprocess
import sys
import textwrap
from datetime import timedelta
from pathlib import Path

import prometheus_client
import pytest
import trio
import trio.testing

from stepwell import Engine, NewInstance, Retry, workflow
from stepwell.testing import open_test_engine

PAGE = (Path(__file__).parent.parent / "docs" / "operating.md").read_text()


def examples(section: str) -> list[str]:
    """Returns the code of one section of the page."""
    text = PAGE.partition(f"## {section}\n")[2].partition("\n## ")[0]
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


EXAMPLES = examples("Cancel 10,000")


@workflow
async def order(step):
    return (await step.wait_for_event("paid")).payload


async def run(example: str, scope: dict) -> None:
    """Runs it as a part of one function; what it names stays."""
    body = textwrap.indent(example, "    ")
    exec(compile(f"async def part():\n{body}\n    return locals()", "operating.md", "exec"), scope)
    scope.update(await scope["part"]())


@pytest.mark.slow
async def test_cancel_10_000(capsys):
    # a tenth of the page's: more takes long and shows no more
    count = 1_000
    async with open_test_engine(workflows=[order], autojump=False) as engine:
        items = [
            NewInstance(id=f"order-{n}", attributes={"customer": "acme"}) for n in range(count)
        ]
        for instance in (await engine.create_batch(order, items)).created:
            await instance.wait_for_status("waiting")
        scope = {"engine": engine, "order": order}
        await run(EXAMPLES[0], scope)
        assert scope["seen"].counts == {"waiting": count}
        late = await engine.create(order, id="late", attributes={"customer": "acme"})
        await run(EXAMPLES[1], scope)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(scope["cancel"])
            while not (await engine.count())["terminated"]:
                await engine.clock.advance(0.01)
            await run(EXAMPLES[2], scope)
        stopped = scope["stopped"]
        assert (stopped.status, stopped.operation) == ("stopped", "terminate")
        assert 0 < stopped.done == (await engine.count())["terminated"] < count
        await run(EXAMPLES[3], scope)
        assert f"terminate ann billed twice, ticket 4711 stopped, done: {stopped.done}" in (
            capsys.readouterr().out
        )
        assert await late.wait_for_status("waiting") == "waiting"
    assert len(EXAMPLES) == 4


async def run_all(engine, code: list[str], scope: dict) -> None:
    """Runs them one after the other; time goes on meanwhile, for what is done at a rate."""
    async with trio.open_nursery() as nursery:

        async def goes_on() -> None:
            while True:
                await engine.clock.advance(0.1)

        nursery.start_soon(goes_on)
        for example in code:
            await run(example, scope)
        nursery.cancel_scope.cancel()


def shipped_by(name: str):
    """The workflow `order` as it was deployed, whose first step has this name."""

    @workflow(name="order")
    async def order(step):
        await step.do(lambda: 1, name=name)
        await step.wait_for_event("paid")

    return order


async def test_300_stuck_after_a_bad_deploy(tmp_path, capsys):
    look, understand, move = examples("300 stuck after a bad deploy")
    store, old, bad = tmp_path / "s.db", shipped_by("charge"), shipped_by("reserve")
    async with open_test_engine(workflows=[old], store=store, autojump=False) as engine:
        items = [NewInstance(id=f"o-{n}") for n in range(300)]
        await engine.create_batch(old, items)
        while (await engine.count())["waiting"] < 300:
            await trio.lowlevel.checkpoint()
    async with open_test_engine(workflows=[bad], store=store, autojump=False) as engine:
        fine = await engine.create(bad, id="fine")
        await fine.wait_for_status("waiting")
        for n in range(300):
            await (await engine.get(bad, f"o-{n}")).send_event("paid")
        while (await engine.count())["blocked"] < 300:
            await trio.lowlevel.checkpoint()
        scope = {"engine": engine, "order": bad}
        await run_all(engine, [look, understand], scope)
        told = capsys.readouterr().out
        assert "300 blocked nondeterminism" in told
        for part in ("charge", "reserve", "test_operating.py"):
            assert part in told
    async with open_test_engine(workflows=[old], store=store, autojump=False) as engine:
        began = engine.clock.now()
        await run_all(engine, [move], scope | {"engine": engine, "order": old})
        assert "300 []" in capsys.readouterr().out
        assert (engine.clock.now() - began).total_seconds() >= 5
        while (await engine.count())["complete"] < 300:
            await trio.lowlevel.checkpoint()


class Refused(Exception):
    pass


async def test_a_key_expired_and_a_step_retries_for_hours(capsys):
    key = {"is": "old"}

    async def charge():
        if key["is"] == "old":
            raise Refused("the key has expired")

    @workflow
    async def order(step, retries: int):
        await step.do(charge, retry=Retry(limit=retries, delay="1 hour", jitter=0))

    look, one, others, failed = examples("A key expired, and a step retries for hours")
    async with open_test_engine(workflows=[order], autojump=False) as engine:
        began = engine.clock.now()
        for n in range(20):
            it = await engine.create(order, 0 if n % 4 == 0 else 9, id=f"o-{n}")
            await it.wait_for_status("waiting", "errored")
        key["is"] = "new"
        scope = {"engine": engine, "order": order}
        await run_all(engine, [look, one], scope)
        told = capsys.readouterr().out
        assert "15 charge test_operating.Refused" in told
        assert "Refused: the key has expired" in told
        await scope["example"].wait_for_status("complete")
        await run_all(engine, [others, failed], scope)
        assert "14\ncharge test_operating.Refused 5" in capsys.readouterr().out
        while (await engine.count())["complete"] < 20:
            await trio.lowlevel.checkpoint()
        assert engine.clock.now() - began < timedelta(minutes=1)


async def test_the_queue_does_not_drain(capsys):
    stuck = trio.Event()

    async def encode():
        await stuck.wait()

    @workflow(concurrency=1)
    async def render(step):
        await step.do(encode)

    look, longest, more = examples("The queue does not drain")
    async with open_test_engine(workflows=[render], autojump=False, grace=0) as engine:
        for n in range(10):
            await engine.create(render, id=f"r-{n}")
        await trio.testing.wait_all_tasks_blocked()
        scope = {"engine": engine, "render": render}
        await run(look, scope)
        told = capsys.readouterr().out
        assert "9 concurrency 1 1 None None" in told
        assert "r-0" in told
        assert "('encode',)" in told
        await run(longest, scope)
        assert "test_operating.py" in capsys.readouterr().out
        assert (await engine.count())["terminated"] == 1
        await run(more, scope)
        await trio.testing.wait_all_tasks_blocked()
        assert (await engine.count())["running"] == 4
        await run(look, scope)
        assert "5 concurrency 4 4 ann" in capsys.readouterr().out
        stuck.set()
        while (await engine.count())["complete"] < 9:
            await trio.lowlevel.checkpoint()


async def test_watch_it_from_prometheus(monkeypatch):
    registry = prometheus_client.CollectorRegistry()
    monkeypatch.setattr(prometheus_client, "REGISTRY", registry)
    (example,) = examples("Watch it from Prometheus")
    async with open_test_engine(workflows=[order]) as engine:
        await run(example, {"engine": engine})
        assert registry.get_sample_value("stepwell_open") == 1


KILLED = """
import os, sys, trio
from stepwell import Engine, NewInstance, workflow

@workflow
async def order(step):
    await step.wait_for_event("paid")

async def main():
    async with Engine(sys.argv[1], workflows=[order]) as engine:
        items = [NewInstance(id=f"o-{n}") for n in range(3_000)]
        await engine.create_batch(order, items)
        while (await engine.count())["waiting"] < 3_000:
            await trio.sleep(0.01)
        async with trio.open_nursery() as nursery:
            send = lambda: engine.send_event_all("paid", 1, workflow=order, status="all")
            nursery.start_soon(send)
            while (await engine.count())["complete"] < int(sys.argv[2]):
                await trio.sleep(0)
            os.kill(os.getpid(), 9)

trio.run(main)
"""


@pytest.mark.slow
def test_one_that_is_killed_in_the_middle_reaches_each_once(tmp_path):
    for n, done in enumerate((1, 700, 1_500)):
        store = str(tmp_path / f"{n}.db")
        command = [sys.executable, "-c", KILLED, store, str(done)]
        killed = subprocess.run(command, capture_output=True, text=True, timeout=100)
        assert killed.returncode == -9, killed.stderr

        async def look(store=store) -> None:
            async with Engine(store, workflows=[order]) as engine:
                while (await engine.bulk.list()).items[0].status == "running":
                    await trio.sleep(0.01)
                [bulk] = (await engine.bulk.list()).items
                assert (bulk.done, bulk.errors) == (3_000, {})
                while (await engine.count())["complete"] < 3_000:
                    await trio.sleep(0.01)
                # an event that came twice would be kept, and refused by who has ended
                assert (await engine.audit()).items[0].result == "ended, done: 3000"

        trio.run(look)


async def test_a_step_will_never_come_to_anything_by_itself(capsys):
    async def charge() -> str:
        raise TimeoutError("no such request")

    @workflow(name="order")
    async def stuck(step):
        return await step.do(charge, retry=Retry(limit=None, delay="1 hour"))

    async with open_test_engine(workflows=[stuck], autojump=False) as engine:
        instance = await engine.create(stuck, id="order-7")
        await instance.wait_for_status("waiting")
        [example] = examples("A step will never come to anything by itself")
        await run(example, {"engine": engine, "order": stuck})
        assert capsys.readouterr().out == "receipt 4711\n"
        [row] = (await engine.audit()).items
        assert (row.operation, row.actor, row.note) == ("resolve", "ann", "the provider's own page")


async def test_an_order_is_to_be_taken_back(capsys):
    undone = []

    async def book() -> str:
        return "booked"

    async def give_back(ctx) -> None:
        undone.append((ctx.step.name, ctx.output))

    @workflow(name="order")
    async def booked(step):
        for name in ("hotel", "flight"):
            await step.do(book, name=name, undo=give_back)
        await step.wait_for_event("never")

    async with open_test_engine(workflows=[booked], autojump=False) as engine:
        instance = await engine.create(booked, id="order-7", attributes={"customer": "acme"})
        await instance.wait_for_status("waiting")
        [example] = examples("An order is to be taken back")
        await run(example, {"engine": engine, "order": booked})
        assert capsys.readouterr().out == "complete\n"
        assert undone == [("flight", "booked"), ("hotel", "booked")]
        many = await engine.create(booked, id="order-8", attributes={"customer": "acme"})
        await many.wait_for_status("waiting")
        done = await engine.terminate(booked, attributes={"customer": "acme"}, undo=True)
        assert done.done == 1
        assert await many.wait_for_status("terminated") == "terminated"
