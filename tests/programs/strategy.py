"""Draws programs, small but nested, and their fates."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

from hypothesis import strategies as st

from .nodes import (
    Anew,
    Cancelled,
    Channel,
    Child,
    Cut,
    Deadline,
    Do,
    Each,
    Fate,
    Finally,
    Handoff,
    Locked,
    Map,
    Nursery,
    Patched,
    Plain,
    Raise,
    Reads,
    Sleep,
    Try,
    WaitEvent,
)

DEPTH = 3
SECONDS = st.sampled_from((0, 0.001, 0.5, 1, 1.5, 7, 30))
HOWS = ("now", "yields", "gated")

steps = st.builds(
    Do,
    n=st.integers(0, 9),
    how=st.sampled_from(
        (*HOWS, "gated", "hangs", "cleans", "returns", "breaks", "thread", "thread", "stuck")
    ),
    fails=st.sampled_from((0, 0, 0, 1, 2)),
    limit=st.sampled_from((3, 3, 0)),
    delay=st.sampled_from((0, 0.25, 4)),
    keyed=st.booleans(),
    name=st.sampled_from((None, "u")),
    raises=st.sampled_from(("Broken",) * 4 + ("Panic", "SystemExit", "Cancelled", "GeneratorExit")),
    lets_go=st.booleans(),
    undo=st.booleans(),
)
maps = st.builds(
    Map,
    items=st.integers(0, 4),
    failing=st.sampled_from(((), (), (1,), (0, 2))),
    how=st.sampled_from((*HOWS, "cleans", "thread")),
    retries=st.sampled_from((0, 0, 1)),
    concurrency=st.integers(1, 3),
    collect=st.booleans(),
    keyed=st.booleans(),
    undo=st.booleans(),
)
TYPES = st.sampled_from((("a",), ("b",), ("a", "b")))
waits = st.builds(WaitEvent, types=TYPES, timeout=st.none() | SECONDS)
timeouts = st.builds(WaitEvent, types=TYPES, timeout=SECONDS)
LEAVES: list[st.SearchStrategy[Any]] = [
    steps,
    steps,
    steps,
    st.builds(Sleep, SECONDS),
    maps,
    st.builds(Reads),
    st.builds(Raise, panics=st.sampled_from((False, False, True))),
    st.builds(Anew),
]


APART = st.builds(dataclasses.replace, steps, keyed=st.just(True)) | st.builds(
    Sleep, SECONDS, named=st.just(True)
)


def _tuples(of: st.SearchStrategy[Any], most: int, least: int = 0) -> st.SearchStrategy[Any]:
    return st.lists(of, min_size=least, max_size=most).map(tuple)


@functools.cache
def nodes(depth: int, alone: bool) -> st.SearchStrategy[Any]:
    """Returns a strategy for one node that nests at most this deep; `alone`: nobody sends it
    events."""
    leaves = [*LEAVES, *([timeouts] if alone else [waits, waits])]
    leaves.append(st.builds(Cancelled, st.one_of(steps, maps, st.builds(Sleep, SECONDS), waits)))
    if not depth:
        return st.one_of(leaves)
    inner = programs(depth - 1, alone=alone)
    small = programs(0, 1, alone=alone)
    gated = st.builds(Do, how=st.just("gated"))
    running = st.builds(
        Do,
        how=st.sampled_from(("cleans", "returns", "breaks", "thread", "stuck")),
        lets_go=st.booleans(),
    )
    nested = [
        # A step that cancels a wait, beside the event or the time that the wait is for (I8).
        st.builds(Nursery,
        branches=st.tuples(_tuples(timeouts if alone else waits, 2, 1), st.tuples(gated)),
        cancel=st.just(1)),
        # One that cancels steps whose attempts have begun, and what the body does next (I8).
        st.builds(Nursery,
        branches=st.tuples(_tuples(running, 2, 1), st.tuples(running), st.tuples(gated)),
        cancel=st.just(2)),
        st.builds(
            Nursery,
            branches=_tuples(inner, 3, 1),
            own=small,
            cancel=st.sampled_from((None, None, -1, 0, 1)),
            then=_tuples(small, 2),
            name=st.sampled_from((None, "n")),
        ),
        st.builds(
            Each, body=inner, items=st.integers(1, 3), fails=st.sampled_from((None, None, 0, 1)),
            concurrency=st.integers(1, 3),
            collect=st.booleans(), keyed=st.booleans(),
        ),
        st.builds(Plain, tasks=_tuples(_tuples(APART, 2), 3, 1), own=_tuples(APART, 2),
        cancel=st.sampled_from((None, None, 0, 1))),
        st.builds(Handoff, before=inner, after=small, waiter=inner, waiters=st.integers(1, 3)),
        st.builds(Channel, producers=_tuples(steps, 2, 1), each_sends=st.integers(1, 2),
        buffer=st.integers(0, 1), consumer=steps),
        st.builds(Locked, branches=_tuples(st.tuples(steps, inner), 3, 1),
        tokens=st.integers(1, 2)),
        st.builds(Child, body=programs(depth - 1, 2, alone=True),
        how=st.sampled_from(("call", "await", "leave", "letter"))),
        st.builds(Try, body=inner, handler=small),
        st.builds(Finally, body=inner, cleanup=st.tuples(steps) | st.just(())),
    ]  # fmt: skip
    nested += [st.builds(Deadline, body=inner, seconds=SECONDS, fail=st.booleans())] * 2
    nested.append(st.builds(Patched, change=st.integers(0, 1), body=small))
    return st.one_of(*leaves, *nested, *nested)


@functools.cache
def programs(depth: int = DEPTH, most: int = 3, alone: bool = False) -> st.SearchStrategy[Any]:
    """Returns a strategy for programs that nest at most this deep."""
    return _tuples(nodes(depth, alone), most)


cuts = st.builds(
    Cut,
    kind=st.sampled_from(("submission", "note", "moment", "rest")),
    at=st.integers(0, 24),
    how=st.sampled_from(("crash", "close")),
    grace=st.integers(0, 4),
    dies=st.sampled_from((False, False, False, True)),
    stumbles=st.sampled_from((False, False, False, True)),
)
fates = st.builds(
    Fate,
    seed=st.integers(0, 1 << 32),
    cuts=_tuples(cuts, 5),
    events=st.integers(0, 4),
    park_after=st.sampled_from((0.001, 1, 10)),
    hold=st.sampled_from((0, 0, 0.5)),
    burst=st.integers(1, 3),
    threads=st.integers(1, 2),
    polls=st.booleans(),
    pauses=st.sampled_from((0, 0, 1, 3)),
    acts=st.sampled_from(((), (), ("restart",), ("terminate",), ("undo",), ("undo", "restart"))),
    runs=st.sampled_from((1, 1, 1, 2, 3)),
    runtime=st.sampled_from(("trio", "asyncio")),
)
