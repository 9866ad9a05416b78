"""The counters of engines as OpenTelemetry reads them.

Nothing is counted for it: a reader asks `Engine.statistics()`, from memory, whenever it collects.
Instruments cannot be taken back, so there is one set for each provider, for all engines that it
hears of.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from opentelemetry.metrics import CallbackOptions, Observation

from .._errors import EngineClosed
from .._types import STATUSES, EngineStatistics, WorkflowStatistics
from .._version import __version__

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider

_STATES = [it.value for it in STATUSES if it.value in WorkflowStatistics._fields]

_OF_ENGINE: tuple[tuple[str, str, str, str, Callable[[EngineStatistics], float]], ...] = (
    ("gauge", "slots.limit", "{slot}", "Most instances that may run at once.", lambda it: it.slots),
    ("gauge", "instances.resident", "{instance}", "Instances in memory.", lambda it: it.resident),
    (
        "gauge",
        "shards",
        "{shard}",
        "Coordinators the instances are spread over.",
        lambda it: it.shards,
    ),
    ("counter", "commits", "{commit}", "Commits.", lambda it: it.commits),
    (
        "counter",
        "commit.operations",
        "{operation}",
        "Operations in commits.",
        lambda it: it.operations,
    ),
    ("counter", "commit.records", "{record}", "Records in commits.", lambda it: it.records),
    (
        "gauge",
        "commit.duration.p50",
        "s",
        "How long half of the commits took at most.",
        lambda it: it.commit_p50,
    ),
    (
        "gauge",
        "commit.duration.p99",
        "s",
        "How long all but one in a hundred took at most.",
        lambda it: it.commit_p99,
    ),
    (
        "gauge",
        "operations.submitted",
        "{operation}",
        "Operations that wait for the next commit.",
        lambda it: it.submitted,
    ),
    (
        "gauge",
        "disk.full",
        "1",
        "Whether the engine waits for room.",
        lambda it: it.extra["disk_full"],
    ),
    (
        "counter",
        "loop.holds",
        "{hold}",
        "Loops held for over a second.",
        lambda it: it.extra["loop_holds"],
    ),
)
"""Sort, name, unit and text of a metric, and where its value is."""
_OF_WORKFLOWS: tuple[tuple[str, str, str, str, bool, tuple[str, ...]], ...] = (
    ("gauge", "slots.leased", "{slot}", "Slots in use.", False, ("leased",)),
    ("gauge", "instances", "{instance}", "Instances by state.", True, tuple(_STATES)),
    ("counter", "instances.created", "{instance}", "Instances created.", False, ("created",)),
    (
        "counter",
        "instances.started",
        "{instance}",
        "Slots given to instances.",
        False,
        ("started",),
    ),
    ("counter", "instances.ended", "{instance}", "Instances that have ended.", False, ("ended",)),
)
"""Sort, name, unit and text, whether the field of `WorkflowStatistics` is an attribute, and those
fields."""


class Metrics:
    """One engine, as long as it is open."""

    def __init__(self, engine: Any, by_namespace: bool, among: Instruments) -> None:
        self._engine = engine
        self.by_namespace = by_namespace
        self.attributes: Mapping[str, str] = {"stepwell.engine.name": engine._name}
        self._among = among

    def statistics(self) -> EngineStatistics | None:
        """Its counters; None while it is not open."""
        try:
            told: EngineStatistics = self._engine.statistics()
        except EngineClosed:
            return None
        return told

    def forget(self) -> None:
        """It is closed."""
        self._among.engines.discard(self)


class Instruments:
    """The metrics of all engines that one provider hears of."""

    def __init__(self, provider: MeterProvider) -> None:
        self.engines: set[Metrics] = set()
        meter = provider.get_meter("stepwell", __version__)
        makers = {
            "gauge": meter.create_observable_gauge,
            "counter": meter.create_observable_counter,
        }
        for sort, name, unit, text, value in _OF_ENGINE:
            makers[sort](f"stepwell.{name}", [self._of_engine(value)], unit, text)
        for sort, name, unit, text, by_state, fields in _OF_WORKFLOWS:
            makers[sort](f"stepwell.{name}", [self._of_workflows(by_state, fields)], unit, text)

    def of(self, engine: Any, by_namespace: bool) -> Metrics:
        """Returns an engine that is told of from now on."""
        found = Metrics(engine, by_namespace, self)
        self.engines.add(found)
        return found

    def _of_engine(
        self, value: Callable[[EngineStatistics], float]
    ) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(_: CallbackOptions) -> Iterable[Observation]:
            for engine in list(self.engines):
                if (told := engine.statistics()) is not None:
                    yield Observation(value(told), engine.attributes)

        return observe

    def _of_workflows(
        self, by_state: bool, fields: tuple[str, ...]
    ) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(_: CallbackOptions) -> Iterable[Observation]:
            for engine in list(self.engines):
                if (told := engine.statistics()) is not None:
                    for labels, value in _sums(
                        told.workflows, engine.by_namespace, by_state, fields
                    ):
                        yield Observation(value, {**engine.attributes, **labels})

        return observe


def _sums(
    rows: Iterable[WorkflowStatistics], by_namespace: bool, by_state: bool, fields: tuple[str, ...]
) -> Iterable[tuple[dict[str, str], int]]:
    sums: Counter[tuple[tuple[str, str], ...]] = Counter()
    for row in rows:
        whose = [("stepwell.workflow.name", row.workflow)]
        if by_namespace:
            whose.append(("stepwell.namespace", row.namespace))
        for field in fields:
            state = [("stepwell.instance.status", field)] if by_state else []
            sums[(*whose, *state)] += getattr(row, field)
    return [(dict(labels), value) for labels, value in sums.items()]


_KNOWN: weakref.WeakKeyDictionary[Any, Instruments] = weakref.WeakKeyDictionary()


def instruments_of(provider: MeterProvider) -> Instruments:
    """Returns the instruments of a provider, made when they are first asked for."""
    found = _KNOWN.get(provider)
    if found is None:
        found = _KNOWN[provider] = Instruments(provider)
    return found
