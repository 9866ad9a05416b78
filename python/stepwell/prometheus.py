"""The counters of an engine as Prometheus reads them.

Needs the package `prometheus_client` (`pip install stepwell[prometheus]`). Nothing is counted for
it: a scrape reads `Engine.statistics()`, from memory, from any thread, and costs steps nothing.

    from prometheus_client import REGISTRY
    from stepwell.prometheus import Collector

    REGISTRY.register(Collector(engine))       # where the program serves metrics already
    text(engine)                               # or the page itself, for a route of one's own

Metrics: `stepwell_open` (1 while the engine is open; the only one when it is not);
`stepwell_instances{workflow, status}` (status: queued, waiting, paused, blocked) and
`stepwell_slots_leased{workflow}`, `stepwell_instances_created_total`, `_started_total`,
`_ended_total` by workflow; `stepwell_slots`, `stepwell_resident_instances`, `stepwell_shards`;
`stepwell_commits_total`, `stepwell_committed_operations_total`, `stepwell_committed_records_total`,
`stepwell_commit_operations_max`, `stepwell_commit_seconds{quantile}` (0.5 and 0.99),
`stepwell_submitted_operations`; `stepwell_disk_full`, `stepwell_loop_holds_total`,
`stepwell_longest_loop_hold_seconds`. What they mean says `EngineStatistics`. Totals begin at 0 when
the engine opens.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol, TypeAlias

from ._errors import EngineClosed, InvalidConfig
from ._types import STATUSES, EngineStatistics, WorkflowStatistics

try:
    from prometheus_client import CollectorRegistry, Metric, generate_latest
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
    from prometheus_client.registry import Collector as AnyCollector
except ImportError as _missing:
    raise ImportError(
        "stepwell.prometheus needs prometheus_client: pip install stepwell[prometheus]"
    ) from _missing

_Family: TypeAlias = type[GaugeMetricFamily] | type[CounterMetricFamily]

__all__ = ["CONTENT_TYPE", "Collector", "text"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""The media type of what `text` returns."""

_STATES = [it.value for it in STATUSES if it.value in WorkflowStatistics._fields]
_LABEL = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*\Z")
_TAKEN = frozenset({"workflow", "namespace", "status", "quantile"})


_OF_WORKFLOWS: tuple[tuple[_Family, str, str, tuple[str, ...], Sequence[str]], ...] = (
    (GaugeMetricFamily, "slots_leased", "Slots in use.", (), ("leased",)),
    (GaugeMetricFamily, "instances", "Instances by state.", ("status",), _STATES),
    (CounterMetricFamily, "instances_created", "Instances created.", (), ("created",)),
    (CounterMetricFamily, "instances_started", "Slots given to instances.", (), ("started",)),
    (CounterMetricFamily, "instances_ended", "Instances that have ended.", (), ("ended",)),
)
"""Sort, name and text of a metric, the label that says which field of `WorkflowStatistics` a value
is, if there are several, and those."""


class Counted(Protocol):
    """An engine, of any of the three fronts."""

    def statistics(self) -> EngineStatistics:
        """Its counters."""
        ...


class Collector(AnyCollector):
    """Tells a registry of `prometheus_client` the counters of an engine, whenever it is asked.

    Args:
        engine: Of any front. It may be registered before it is open and stay so when it is closed:
            then `stepwell_open` is 0, and nothing else is told.
        by_namespace: Whether figures of workflows also have the label `namespace`. Otherwise they
            are sums over all namespaces: with one for each customer there would be as many time
            series, which Prometheus keeps in memory.
        labels: Further labels of every metric, as where a process has several engines.

    Raises:
        InvalidConfig: A label is none, or has a name that metrics use themselves.
    """

    def __init__(
        self,
        engine: Counted,
        *,
        by_namespace: bool = False,
        labels: Mapping[str, str] | None = None,
    ) -> None:
        self._engine = engine
        self._by_namespace = by_namespace
        self._labels = dict(labels or {})
        for label in self._labels:
            if not _LABEL.match(label) or label in _TAKEN:
                raise InvalidConfig(
                    f"label {label!r} is not valid: letters, digits or _, beginning with a letter "
                    f"or one _, and none of {', '.join(sorted(_TAKEN))}"
                )

    def describe(self) -> Iterable[Metric]:
        """Nothing: what an engine tells depends on its workflows, and a registry that wants to know
        would ask an engine that may not be open yet."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """The metrics, all from one look at the counters."""
        try:
            told = self._engine.statistics()
        except EngineClosed:
            yield self._gauge("open", "Whether the engine is open.", 0)
            return
        yield self._gauge("open", "Whether the engine is open.", 1)
        yield from self._of_engine(told)
        yield from self._of_workflows(told.workflows)

    def _of_engine(self, told: EngineStatistics) -> Iterable[Metric]:
        gauge, counter = self._gauge, self._counter
        yield gauge("slots", "Most instances that may run at once.", told.slots)
        yield gauge("resident_instances", "Instances in memory.", told.resident)
        yield gauge("shards", "Coordinators the instances are spread over.", told.shards)
        yield counter("commits", "Commits.", told.commits)
        yield counter("committed_operations", "Operations in commits.", told.operations)
        yield counter("committed_records", "Records in commits.", told.records)
        yield gauge("commit_operations_max", "Most operations in one commit.", told.batch_max)
        yield gauge(
            "submitted_operations", "Operations that wait for the next commit.", told.submitted
        )
        took = self._family(
            GaugeMetricFamily, "commit_seconds", "How long commits took.", "quantile"
        )
        for quantile, seconds in (("0.5", told.commit_p50), ("0.99", told.commit_p99)):
            took.add_metric([*self._labels.values(), quantile], seconds)
        yield took
        extra = told.extra
        yield gauge("disk_full", "Whether the engine waits for room.", extra["disk_full"])
        yield counter("loop_holds", "Loops held for over a second.", extra["loop_holds"])
        yield gauge(
            "longest_loop_hold_seconds", "The longest of these.", extra["longest_hold_ms"] / 1e3
        )

    def _of_workflows(self, workflows: Iterable[WorkflowStatistics]) -> Iterable[Metric]:
        rows = list(workflows)
        whose = ("workflow", "namespace") if self._by_namespace else ("workflow",)
        for kind, name, text, label, fields in _OF_WORKFLOWS:
            family = self._family(kind, name, text, *whose, *label)
            sums: Counter[tuple[str, ...]] = Counter()
            for row in rows:
                for field in fields:
                    key = (*(getattr(row, it) for it in whose), *((field,) if label else ()))
                    sums[key] += getattr(row, field)
            for key, value in sums.items():
                family.add_metric([*self._labels.values(), *key], value)
            yield family

    def _family(
        self,
        kind: _Family,
        name: str,
        text: str,
        *labels: str,
    ) -> GaugeMetricFamily | CounterMetricFamily:
        return kind(f"stepwell_{name}", text, labels=[*self._labels, *labels])

    def _gauge(self, name: str, text: str, value: float) -> Metric:
        family = self._family(GaugeMetricFamily, name, text)
        family.add_metric(list(self._labels.values()), value)
        return family

    def _counter(self, name: str, text: str, value: float) -> Metric:
        family = self._family(CounterMetricFamily, name, text)
        family.add_metric(list(self._labels.values()), value)
        return family


def text(
    engine: Counted, *, by_namespace: bool = False, labels: Mapping[str, str] | None = None
) -> str:
    """Returns the metrics of an engine in Prometheus' text format, of the media type
    `CONTENT_TYPE`. From memory, from any thread.

    Args:
        engine: As for `Collector`.
        by_namespace: As for `Collector`.
        labels: As for `Collector`.

    Raises:
        InvalidConfig: As for `Collector`.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collector(engine, by_namespace=by_namespace, labels=labels))
    return generate_latest(registry).decode()
