"""The language of generated programs: workflow bodies as plain data.

Invariant: every program is legal and ends. Branches share events, locks, channels and lists, and go
on together when one outcome wakes several of them; they begin nothing outside their branch, and
wait for nothing that cannot come.

It does not know the engine: `interpret` does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

How: TypeAlias = Literal[
    "now", "yields", "gated", "hangs", "cleans", "returns", "breaks", "thread", "stuck"
]
"""What an attempt does: nothing; lets others go first; waits to be let go; waits until it is timed
out, at first.

When it is cancelled while it waits, it "cleans" up behind a shield, or then "returns" all the same,
or "breaks". A "thread" waits in one; "stuck" is one that may be timed out."""


@dataclass(frozen=True)
class Do:
    """One step. `fails` attempts fail; with more than `limit` retries needed, or with what is no
    `Exception`, the step gives up.

    `lets_go`: a thread is not waited for when its step is cancelled. `undo`: there is something
    that undoes it.
    """

    n: int = 0
    how: How = "now"
    fails: int = 0
    limit: int = 3
    delay: float = 0.25
    keyed: bool = False
    name: str | None = None
    raises: Literal["Broken", "Panic", "SystemExit", "Cancelled", "GeneratorExit"] = "Broken"
    lets_go: bool = False
    undo: bool = False


@dataclass(frozen=True)
class Map:
    """`step.map`; the items in `failing` give up."""

    items: int = 2
    failing: tuple[int, ...] = ()
    how: How = "now"
    retries: int = 0
    concurrency: int = 2
    collect: bool = False
    keyed: bool = False
    undo: bool = False


@dataclass(frozen=True)
class Each:
    """`step.each`: the program once for every item; the item in `fails` raises when it has run
    it."""

    body: Program = ()
    items: int = 2
    fails: int | None = None
    concurrency: int = 2
    collect: bool = False
    keyed: bool = False


@dataclass(frozen=True)
class Nursery:
    """Branches, and what the parent does beside them.

    The branches note in which order they ended, and the first one chooses which of `then` follows.
    `cancel`: the end of this branch (-1: of the parent's own part) cancels the rest.
    """

    branches: tuple[Program, ...] = ()
    own: Program = ()
    cancel: int | None = None
    then: tuple[Program, ...] = ()
    name: str | None = None


@dataclass(frozen=True)
class Plain:
    """Tasks in a nursery of trio's, or in a group of asyncio's, and what the parent does beside
    them; all of it has keys or names.

    `cancel`: the end of this task cancels the rest.
    """

    tasks: tuple[tuple[Do | Sleep, ...], ...] = ()
    own: tuple[Do | Sleep, ...] = ()
    cancel: int | None = None


@dataclass(frozen=True)
class Handoff:
    """One branch sets a `trio.Event` between two programs; the others wait for it, and go on in the
    same turn."""

    before: Program = ()
    after: Program = ()
    waiter: Program = ()
    waiters: int = 1


@dataclass(frozen=True)
class Channel:
    """Producers do steps and send their values through a memory channel; the consumer does one step
    for each."""

    producers: tuple[Do, ...] = (Do(),)
    each_sends: int = 1
    buffer: int = 0
    consumer: Do = Do()


@dataclass(frozen=True)
class Locked:
    """Branches that take turns, by a `trio.Lock` or, with several `tokens`, a
    `trio.CapacityLimiter`."""

    branches: tuple[tuple[Do, Program], ...] = ()
    tokens: int = 1


@dataclass(frozen=True)
class Sleep:
    """`step.sleep`."""

    seconds: float = 1
    named: bool = False


@dataclass(frozen=True)
class WaitEvent:
    """`step.wait_for_event`; a timeout is caught."""

    types: tuple[str, ...] = ("a",)
    timeout: float | None = None


@dataclass(frozen=True)
class Child:
    """Another instance: called, created and awaited, created and left, or sent what it waits
    for."""

    body: Program = ()
    how: Literal["call", "await", "leave", "letter"] = "call"


@dataclass(frozen=True)
class Reads:
    """What is derived and not stored: `now`, `uuid`, `random`; and a report."""


@dataclass(frozen=True)
class Patched:
    """`step.patched`; the body runs if the change holds."""

    change: int
    body: Program


@dataclass(frozen=True)
class Raise:
    """The body's own exception; `panics`: one that is no `Exception`."""

    panics: bool = False


@dataclass(frozen=True)
class Try:
    """Catches whatever the program raises, groups too; then runs `handler`."""

    body: Program = ()
    handler: Program = ()


@dataclass(frozen=True)
class Finally:
    """Runs `cleanup` behind a shield, however the program ends."""

    body: Program = ()
    cleanup: Program = ()


@dataclass(frozen=True)
class Deadline:
    """`step.move_on_after`, or `step.fail_after`, whose timeout is caught."""

    body: Program = ()
    seconds: float = 1
    fail: bool = False


@dataclass(frozen=True)
class Anew:
    """`step.continue_as_new`, unless this is the last run, or that of a child."""


@dataclass(frozen=True)
class Cancelled:
    """What the body asks for in a scope that is cancelled already; nothing on asyncio, which has no
    scopes."""

    asked: Do | Map | Sleep | WaitEvent


Node: TypeAlias = (
    Anew
    | Cancelled
    | Do
    | Map
    | Each
    | Nursery
    | Plain
    | Handoff
    | Channel
    | Locked
    | Sleep
    | WaitEvent
    | Child
    | Reads
    | Patched
    | Raise
    | Try
    | Finally
    | Deadline
)
Program: TypeAlias = tuple[Node, ...]


Act: TypeAlias = Literal["restart", "terminate", "undo"]
"""`undo`: it is terminated, and first undoes its steps."""


@dataclass(frozen=True)
class Cut:
    """Where a life ends: before the `at`-th submission of a body, behind the `at`-th note, when
    bodies have observed `at` things, or at rest, after `at` rounds; and how, by a crash or in
    order.

    While an engine drains, `grace` things happen; then what still runs is cut short, or the process
    dies, if it `dies`. With `stumbles` the opening of the next engine is cancelled once.
    """

    kind: Literal["submission", "note", "moment", "rest"] = "rest"
    at: int = 0
    how: Literal["crash", "close"] = "crash"
    grace: int = 0
    dies: bool = False
    stumbles: bool = False


@dataclass(frozen=True)
class Fate:
    """What happens to a program: `seed` decides the order of all that is not said here.

    `acts`: what somebody does to the instance, one after the other and at any moment; one that was
    terminated, or undoes its steps, is restarted once it has ended. `runs`: how often it runs in
    all, as new.
    """

    seed: int = 0
    cuts: tuple[Cut, ...] = ()
    events: int = 2
    park_after: float = 10
    hold: float = 0.0
    burst: int = 1
    threads: int = 1
    polls: bool = False
    pauses: int = 0
    acts: tuple[Act, ...] = ()
    runs: int = 1
    runtime: Literal["trio", "asyncio"] = "trio"
