"""Metrics of OpenTelemetry are what `Engine.statistics()` says, and the page of telemetry names all
of them."""

import re
import subprocess
import sys
from pathlib import Path

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from stepwell import Step, workflow
from stepwell.otel import Telemetry
from stepwell.testing import open_test_engine

PAGE = (Path(__file__).parent.parent / "docs" / "telemetry.md").read_text()


@workflow
async def waits(step: Step) -> None:
    await step.wait_for_event("go")


@workflow
async def ends(step: Step) -> None:
    pass


class Reader:
    """A program that reads metrics."""

    def __init__(self) -> None:
        self._reader = InMemoryMetricReader()
        self.provider = MeterProvider(metric_readers=[self._reader])

    def read(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        """Returns values by name and attributes; each is there once."""
        data = self._reader.get_metrics_data()
        found = [
            ((it.name, frozenset(point.attributes.items())), point.value)
            for of in (data.resource_metrics if data else ())
            for scope in of.scope_metrics
            for it in scope.metrics
            for point in it.data.data_points
        ]
        assert len(dict(found)) == len(found)
        return dict(found)


def key(name: str, engine: str = "engine", **attributes: str):
    named = {f"stepwell.{it.replace('_', '.')}": value for it, value in attributes.items()}
    return f"stepwell.{name}", frozenset({"stepwell.engine.name": engine, **named}.items())


async def test_figures_are_those_of_statistics_and_end_with_the_engine():
    reader = Reader()
    telemetry = Telemetry(meter_provider=reader.provider)
    async with (
        open_test_engine(workflows=[waits, ends], telemetry=telemetry, autojump=False) as engine,
        open_test_engine(workflows=[ends], telemetry=telemetry, name="other"),
    ):
        for of in (engine, engine.namespace("b")):
            await (await of.create(waits)).wait_for_status("waiting")
        await (await engine.create(ends)).result()
        told, found = engine.statistics(), reader.read()
        waiting = {"workflow_name": "waits", "instance_status": "waiting"}
        assert found[key("instances", **waiting)] == 2
        assert found[key("instances.created", workflow_name="waits")] == 2
        assert found[key("instances.ended", workflow_name="ends")] == 1
        assert found[key("commits")] == told.commits > 0
        assert found[key("slots.limit")] == told.slots
        assert found[key("shards", "other")] > 0
        by_namespace = Telemetry(meter_provider=reader.provider, by_namespace=True)
        async with open_test_engine(workflows=[waits], telemetry=by_namespace, name="c") as third:
            await (await third.namespace("b").create(waits)).wait_for_status("waiting")
            found = reader.read()
            assert found[key("instances", "c", namespace="b", **waiting)] == 1
        names = {name for name, _ in found}
    assert reader.read() == {}
    told_of = re.findall(r"^\| (`stepwell\.[^|]*) \|", PAGE, re.MULTILINE)
    documented: set[str] = set()
    last = ""
    for row in told_of:
        for name in re.findall(r"`(\S+)`", row):
            last = name if name.startswith("stepwell") else last.rpartition(".")[0] + name
            documented.add(last)
    assert documented == names


async def test_a_meter_provider_that_raises_harms_nobody(caplog):
    class Broken(MeterProvider):
        def get_meter(self, *args, **kwargs):
            raise OSError("no meter")

    telemetry = Telemetry(meter_provider=Broken())
    async with open_test_engine(workflows=[ends], telemetry=telemetry) as engine:
        assert await engine.call(ends) is None
    assert sum("telemetry failed" in it.getMessage() for it in caplog.records) == 1


def test_the_page_has_a_program_that_prints_three_spans(tmp_path):
    (program,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "charged 4200" in ran.stdout
    names = re.findall(r'^    "name": "(.*)",$', ran.stdout, re.MULTILINE)
    ids = re.findall(r'^        "span_id": "(.*)",$', ran.stdout, re.MULTILINE)
    parents = re.findall(r'^    "parent_id": "?([^",]*)"?,$', ran.stdout, re.MULTILINE)
    named = dict(zip(ids, names, strict=True))
    within = {name: named.get(it) for name, it in zip(names, parents, strict=True)}
    assert within == {
        "create order": None,
        "run order": "create order",
        "step charge": "run order",
    }
