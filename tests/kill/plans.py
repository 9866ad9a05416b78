"""Which parts an instance is made of: a function of (seed, number) alone.

The body, the driver and the checks all derive the same plan, in whatever life they run. A part is a
kind (a function of `programs`), a prefix for its labels, and the numbers it needs.
"""

import random
from collections.abc import Iterator
from typing import NamedTuple

SIMPLE = ("sequence", "retries", "sleeps", "saving", "once", "hopeless")
DRIVEN = ("events", "impatient", "crowd", "withdrawn", "approval")
WIDE = ("mapped", "eached", "nursery", "children", "letters", "channels", "grid", "race", "asyncio")
OTHER = ("deadline", "patch")
CUT = ("charged", "overtaken", "panicking")
"""Steps that are cancelled while they run, and steps that panic."""
RETRY_DELAYS = (0.0, 0.02, 0.06, 0.3, 1.1)
SLEEPS = (0.0, 0.01, 0.04, 0.08, 0.3, 1.2)


class Part(NamedTuple):
    """One part of an instance."""

    kind: str
    prefix: str
    delay: float
    """Of its retries or sleeps, in seconds."""
    count: int
    """Steps, items, events or failures; 2 to 4."""
    parts: tuple["Part", ...] = ()
    """Those of its branches."""


def plan(seed: int, number: int) -> list[Part]:
    """Returns the parts of an instance."""
    rng = random.Random(f"{seed}:{number}")
    kinds = [
        rng.choice(SIMPLE),
        rng.choice(DRIVEN),
        rng.choice(WIDE),
        rng.choice(SIMPLE + DRIVEN + WIDE + OTHER),
        rng.choice(CUT),
    ]
    rng.shuffle(kinds)
    return [_part(rng, kind, f"{index}-{kind}") for index, kind in enumerate(kinds)]


def walk(parts: list[Part] | tuple[Part, ...]) -> Iterator[Part]:
    """Returns all parts, those of branches too."""
    for part in parts:
        yield part
        yield from walk(part.parts)


def _part(rng: random.Random, kind: str, prefix: str) -> Part:
    parts: tuple[Part, ...] = ()
    if kind == "nursery":
        inner = rng.sample(SIMPLE + DRIVEN, rng.randint(2, 4))
        parts = tuple(_part(rng, k, f"{prefix}.{i}-{k}") for i, k in enumerate(inner))
    delays = RETRY_DELAYS if kind in ("retries", "mapped", "eached", "hopeless") else SLEEPS
    return Part(kind, prefix, rng.choice(delays), rng.randint(2, 4), parts)


def sends(part: Part) -> int:
    """Returns how many events a part gets, all of the type that its prefix is."""
    return {"events": part.count, "impatient": 1, "crowd": 3, "withdrawn": 1}.get(part.kind, 0)


def place(prefix: str) -> str:
    """Returns where a part's approval stands: its name, in a nursery's branch with the branch's
    path before it."""
    outer, dot, inner = prefix.partition(".")
    return f"{outer}#1[{inner.partition('-')[0]}]/{prefix}" if dot else prefix


def expected_labels(part: Part) -> int:
    """Returns how many values a part puts into the instance's output."""
    own = {
        "sequence": part.count, "retries": 2, "sleeps": part.count + 1, "saving": 1, "once": 2,
        "hopeless": 1,
        "events": part.count + 1, "impatient": 1, "crowd": 3, "withdrawn": 2, "approval": 1,
        "mapped": part.count * 4, "eached": part.count * 2, "nursery": 1,
        "children": part.count + 3, "letters": 1,
        "channels": part.count * 2 + 1, "grid": part.count * 2, "race": 2, "asyncio": 1,
        "deadline": 2, "patch": 2,
        "charged": 2, "overtaken": 2, "panicking": 2,
    }[part.kind]  # fmt: skip
    return own + sum(expected_labels(inner) for inner in part.parts)
