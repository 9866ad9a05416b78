"""What Prometheus is told is what `Engine.statistics()` says, on every front."""

import asyncio
import subprocess
import sys

import pytest
import trio
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from stepwell import Engine, InvalidConfig, Step, aio, sync, workflow
from stepwell.prometheus import Collector, text
from stepwell.testing import open_test_engine


@workflow
async def waits(step: Step) -> None:
    await step.wait_for_event("go")


@workflow
async def ends(step: Step) -> None:
    pass


def samples(page: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Returns the samples of a page by name and labels; each is there once."""
    found = [
        ((it.name, frozenset(it.labels.items())), it.value)
        for family in text_string_to_metric_families(page)
        for it in family.samples
    ]
    assert len(dict(found)) == len(found)
    return dict(found)


def key(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return f"stepwell_{name}", frozenset(labels.items())


async def test_figures_are_those_of_statistics_summed_over_namespaces():
    async with open_test_engine(workflows=[waits, ends], autojump=False) as engine:
        for of in (engine, engine.namespace("b"), engine.namespace("b")):
            await of.create(waits)
        await (await engine.create(ends)).result()
        await engine.clock.settled()
        told, page = engine.statistics(), samples(text(engine))
        assert page[key("open")] == 1
        assert page[key("instances", workflow="waits", status="waiting")] == 3
        assert page[key("instances_created_total", workflow="waits")] == 3
        assert page[key("instances_ended_total", workflow="ends")] == 1
        assert page[key("slots")] == told.slots
        assert page[key("commits_total")] == told.commits > 0
        assert page[key("commit_seconds", quantile="0.99")] == told.commit_p99
        apart = samples(text(engine, by_namespace=True, labels={"store": 'a"\n'}))
        assert (
            apart[key("instances", workflow="waits", status="waiting", namespace="b", store='a"\n')]
            == 2
        )
        assert all(("store", 'a"\n') in labels for _, labels in apart)


def test_a_registry_keeps_an_engine_that_opens_and_closes(tmp_path):
    engine = Engine(tmp_path / "a.db", workflows=[waits])
    registry = CollectorRegistry(auto_describe=True)
    registry.register(Collector(engine))

    def page() -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        return samples(generate_latest(registry).decode())

    async def opens() -> None:
        async with engine:
            assert page()[key("open")] == 1
            # as the server of metrics does, which has threads of its own
            assert (await trio.to_thread.run_sync(page))[key("open")] == 1

    assert page() == {key("open"): 0}
    trio.run(opens)
    assert page() == {key("open"): 0}


async def on_asyncio(store: str) -> str:
    async with aio.Engine(store, workflows=[ends]) as engine:
        await engine.call(ends)
        return text(engine)


def test_other_fronts_are_read_as_well(tmp_path):
    with sync.Engine(tmp_path / "b.db", workflows=[ends]) as engine:
        engine.call(ends)
        blocking = text(engine)
    for page in (blocking, asyncio.run(on_asyncio(str(tmp_path / "c.db")))):
        assert samples(page)[key("instances_ended_total", workflow="ends")] == 1


@pytest.mark.parametrize("label", ["workflow", "quantile", "a-b", "__a", "", "1a"])
def test_a_label_that_is_none_or_taken_is_refused(label):
    with pytest.raises(InvalidConfig, match="is not valid"):
        Collector(Engine(":memory:"), labels={label: "x"})


def test_without_the_package_it_says_what_to_install():
    code = "import sys; sys.modules['prometheus_client'] = None; import stepwell.prometheus"
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert "pip install stepwell[prometheus]" in ran.stderr
