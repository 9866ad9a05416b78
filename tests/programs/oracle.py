"""What must hold, whatever the program, its fate and trio's shuffling.

- Two lives of one body agree as far as both got: every line of its code, and all lines together, in
  order. What a body observes is durable before it observes it, so no crash, park or shuffle may
  change it.
- A program without races returns what it must.
- Every operation has one outcome in the history; no attempt number is used twice.
- Every event that was sent came to the body exactly once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from . import nodes
from .nodes import Node, Program
from .world import Life, World


class Unknown(Exception):
    """What a program returns depends on times, or on what comes first."""


class Fails(Exception):
    """A program must fail like this."""

    @property
    def shape(self) -> Any:
        return self.args[0]


def expected(program: Program) -> Any:
    """Returns what the main workflow must return for a program.

    Raises:
        Unknown: It depends.
    """
    try:
        return ["ok", _run(program)]
    except Fails as failure:
        return ["failed", failure.shape]


def _run(program: Program) -> list[Any]:
    return [_node(node) for node in program]


def _node(node: Node) -> Any:
    match node:
        case nodes.Do():
            if (
                node.fails > node.limit
                or (node.how == "hangs" and not node.limit)
                or node.how == "stuck"
            ):
                raise Unknown  # a crash counts as an attempt, and not as a failure
            if node.fails and node.raises != "Broken":
                # as above: the attempt that would panic may be one that a crash cut short
                raise Unknown
            return node.n
        case nodes.Map():
            return _map(node)
        case nodes.Sleep() | nodes.Reads() | nodes.Cancelled() | nodes.Anew():
            return None
        case nodes.WaitEvent():
            if node.timeout is not None:
                raise Unknown
            return "event"
        case nodes.Patched():
            raise Unknown  # a crash may come before the answer is recorded, and then it may be no
        case nodes.Raise(panics=True):
            # it passes all that catches an Exception, and is told in groups of another kind
            raise Unknown
        case nodes.Raise():
            raise Fails("Thrown")
        case nodes.Try():
            try:
                return _run(node.body)
            except Fails as failure:
                return ["caught", failure.shape, _run(node.handler)]
        case nodes.Finally():
            return _finally(node)
        case nodes.Child():
            return _child(node)
        case nodes.Each():
            return _each(node)
        case nodes.Nursery():
            if node.cancel is not None or (node.then and len(node.branches) > 1):
                raise Unknown
            own, *values = _branches((node.own, *node.branches))
            return [own, *values, _run(node.then[0]) if node.then and node.branches else []]
        case nodes.Plain():
            if node.cancel is not None:
                raise Unknown
            return _branches((node.own, *node.tasks))
        case nodes.Handoff():
            sets, *waiters = _branches(((*node.before, *node.after), *[node.waiter] * node.waiters))
            return [sets[: len(node.before)], sets[len(node.before) :], *waiters]
        case nodes.Channel():
            # Values come in an order of their own, and so do the consumer's steps; none of them may
            # fail.
            sent = [
                [i, _node(producer)]
                for i, producer in enumerate(node.producers)
                for _ in range(node.each_sends)
            ]
            return sorted([*pair, _node(node.consumer)] for pair in sent)
        case nodes.Locked():
            values = _branches(tuple((first, *inside) for first, inside in node.branches))
            return [[value[0], value[1:]] for value in values]
        case _:
            raise Unknown


def _branches(programs: Iterable[Program]) -> list[Any]:
    values, failures = _all(programs)
    if not failures:
        return values
    if len(failures) > 1 or any(_waits(program) for program in programs):
        raise Unknown  # the first one to fail may cancel a clean-up that fails, or another failure
    raise Fails(["group", failures[0]])


def _all(programs: Iterable[Program]) -> tuple[list[Any], list[Any]]:
    values, failures = [], []
    for program in programs:
        try:
            values.append(_run(program))
        except Fails as failure:
            failures.append(failure.shape)
    return values, failures


def _waits(program: Program) -> bool:
    return any(isinstance(node, nodes.Finally) for node in program)


def _map(node: nodes.Map) -> Any:
    failing = [i for i in node.failing if i < node.items]
    if failing and not node.collect:
        raise Fails("Broken")
    return ["Broken" if i in failing else i for i in range(node.items)]


def _each(node: nodes.Each) -> Any:
    value: Any = None
    own: Any = None
    try:
        value = _run(node.body)
    except Fails as failure:
        own = failure.shape
    if own is None and (node.fails is None or node.fails >= node.items):
        return [value] * node.items
    if own is None:
        raise Fails("Thrown")
    if own == "Broken" and node.collect:
        return ["Broken"] * node.items
    raise Fails(own)


def _finally(node: nodes.Finally) -> Any:
    try:
        value = _run(node.body)
    except Fails:
        _run(node.cleanup)
        raise
    _run(node.cleanup)
    return value


def _child(node: nodes.Child) -> Any:
    try:
        value = _run(node.body)
    except Fails:
        if node.how == "leave":
            return None
        raise Fails("InstanceErrored") from None
    except Unknown:
        if node.how == "leave":
            return None
        raise
    return ["event", *value] if node.how == "letter" else None if node.how == "leave" else value


def disagreement(lives: list[Life]) -> str | None:
    """Returns where two lives of one body saw different things; None if they agree."""
    together: list[Any] = []
    apart: dict[str, list[Any]] = {}
    for number, life in enumerate(lives, 1):
        for what, known, now in [
            *((f"line {line}", apart.get(line, []), seen) for line, seen in life.apart.items()),
            ("all lines", together, life.together),
        ]:
            for place, (before, after) in enumerate(zip(known, now, strict=False)):
                if before != after:
                    return (
                        f"life {number}, {what}, observation {place + 1}: {after}, but an "
                        f"earlier life saw {before}"
                    )
        together = max(together, life.together, key=len)
        for line, seen in life.apart.items():
            apart[line] = max(apart.get(line, []), seen, key=len)
    return None


def shorter(lives: list[Life]) -> str | None:
    """Returns what the last life, a replay of all there is, did not see again."""
    last = lives[-1]
    for life in lives:
        if len(life.together) > len(last.together):
            return f"the last life saw {len(last.together)} things of {len(life.together)}"
        for line, seen in life.apart.items():
            if len(seen) > len(last.apart.get(line, [])):
                return (
                    f"the last life did not see {seen[len(last.apart.get(line, [])) :]} in line "
                    f"{line}"
                )
    return None


OUTCOMES = ("done", "failed", "timed_out")


def twice(records: list[Any]) -> str | None:
    """Returns which operation has two outcomes in a history, or which attempt number was used
    twice."""
    ends = Counter(
        (r.kind, r.branch, r.name, r.key, r.count) for r in records if r.status in OUTCOMES
    )
    abandoned = Counter(
        (r.branch, r.name, r.key, r.count, "abandoned") for r in records if r.status == "abandoned"
    )
    attempts = Counter(
        (r.branch, r.name, r.key, r.count, r.attempt)
        for r in records
        if r.kind == "do"
        and r.status not in ("saved", "started", "abandoned")
        and r.ended_at is not None
    )
    for which, count in [*ends.items(), *abandoned.items(), *attempts.items()]:
        if count > 1:
            return f"{which} was recorded {count} times"
    return None


def abandoned(world: World, records: list[Any]) -> str | None:
    """Returns which cancelled attempt ran to its end, was waited for, and is in no history."""
    known = {r.name for r in records if r.status == "abandoned"}
    main = {label for label in world.abandoned if label.startswith(f"{world.place}.")}
    missing = sorted(main - known)
    return (
        (f"steps {missing} ended after they were cancelled; no history says how")
        if missing
        else None
    )


def events(world: World, sent: list[int]) -> str | None:
    """Returns what happened to events other than coming once each, in one of the runs."""
    came = Counter(
        what
        for lives in world.runs.values()
        for seen in lives[-1].apart.values()
        for _, *rest in seen
        for what in rest[:1]
        if isinstance(what, int)
    )
    for payload in sent:
        if came[payload] != 1:
            return f"event {payload} came {came[payload]} times"
    return None


FIRST_EVENT = 1_000
"""Payloads of events count from here, so that no step's value looks like one."""
