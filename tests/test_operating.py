"""What docs/operating.md shows, as it stands there."""

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import prometheus_client
import pytest
import trio

from stepwell import Engine, NewInstance, workflow
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
