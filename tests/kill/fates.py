"""What moved instances are made of, and what is done to them: functions of (seed, number) alone.

As with `plans`, the body, whoever moves it and the checks derive the same fate in whatever life
they run.
"""

import random
from typing import Literal, NamedTuple, TypeAlias

Verb: TypeAlias = Literal[
    "pause", "resume", "retry_now", "terminate", "undo", "restart", "failed", "delete", "ends"
]
"""`undo` is `terminate(undo=True)`, `failed` is `restart(from_step="failed")`; `ends` does nothing,
but waits until the instance has ended."""

OPENINGS: tuple[tuple[Verb, ...], ...] = (
    (), (), (), ("pause", "resume"), ("retry_now",), ("pause", "retry_now", "resume"),
)  # fmt: skip
TURNS: tuple[tuple[Verb, ...], ...] = (
    (), (), ("terminate",), ("undo",), ("undo",), ("restart",), ("undo", "terminate"),
    ("pause", "terminate"), ("pause", "undo"), ("pause", "restart"),
)  # fmt: skip
CLOSINGS: tuple[tuple[Verb, ...], ...] = (
    ("ends",), ("ends",), ("delete",), ("ends", "delete"), ("ends", "restart", "ends"),
    ("ends", "failed", "ends"), ("ends", "failed", "pause", "resume", "ends"),
    ("ends", "restart", "undo", "ends"),
)  # fmt: skip
"""Whatever is paused is moved on, and the last thing is an end, or that it is gone."""
WAYS = ("quick", "slow", "thread", "flaky", "sleep", "pair", "child")
DELAYS = (0.0, 0.01, 0.05, 0.3)


class Move(NamedTuple):
    """One thing that is done, and how long after the one before."""

    verb: Verb
    after: float


class Fate(NamedTuple):
    """A saga is steps with undos, one after the other; a relay goes on as new, `count` runs in
    all."""

    kind: Literal["saga", "relay"]
    ways: tuple[str, ...]
    """What a saga does, one after the other."""
    count: int
    delay: float
    fails: bool
    """Whether a saga fails in the end."""
    undoes: bool
    """Whether its steps have undos."""
    moves: tuple[Move, ...]

    @property
    def ends_as(self) -> str:
        """The state in which it ends if nobody ends it."""
        return "errored" if self.fails and self.kind == "saga" else "complete"


def fate(seed: int, number: int) -> Fate:
    """Returns the fate of a moved instance."""
    rng = random.Random(f"{seed}:moved:{number}")
    verbs = [*rng.choice(OPENINGS), *rng.choice(TURNS), *rng.choice(CLOSINGS)]
    return Fate(
        rng.choice(("saga", "saga", "relay")),
        tuple(rng.choices(WAYS, k=rng.randint(2, 5))),
        rng.randint(2, 4),
        rng.choice(DELAYS),
        rng.random() < 0.5,
        rng.random() < 0.8,
        tuple(Move(verb, rng.uniform(0, 0.15)) for verb in verbs),
    )
