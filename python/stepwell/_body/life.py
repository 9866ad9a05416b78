"""One instance in memory, as everything that its body does sees it.

`Life` is what there is of it: which instance it is, its place in its history, what it waits for,
the task of its body, and why that ends. It does nothing by itself. What is done with a life stands
in the files that are about that, as functions: `stopping`, `delivery`, `rest`, the turns and
the operations; who makes one and runs its body is `runner`.

When a body has left memory, all of it is freed at once, without Python's cycle collector. Tens of
thousands leave in a minute, some 10 KiB each, and while many are in memory the collector comes
seldom, because each of its visits would look at all of them (`_engine/collector`). So at its end
nothing of an instance may hold itself in a circle, in any of the three ways in which one comes
about. An exception holds its traceback, that the frames it passed, and one of those a variable with
the exception: a frame that an error leaves drops its names for it. A task, a scope or a context of
an attempt holds the operation that holds them: whoever ends the attempt drops them. The parts of a
life know it: they do so weakly, or are dropped when it ends. The places say "a circle", and
`test_freed_at_once` finds one that was missed.
"""

from __future__ import annotations

import types
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import trio

from .._ending import End
from .._replay import Cursor, Identity, Outcome
from .._seeds import seed_of

if TYPE_CHECKING:
    from .._core import Calls
    from .._formats import Format
    from .._loops.body_loop import BodyLoop
    from .._loops.bridge import Bridge
    from .._steps.borrowed import Borrowed
    from .._steps.signatures import Runtime
    from .._steps.workflow import OnBodyError, Workflow
    from .._types import Limits
    from .telemetry import Told
    from .undoing import Undoing
else:

    class Calls(Protocol):
        """Stands in for a class of the stub."""


@dataclass(slots=True)
class Who:
    """Which instance it is. Its text is what a person calls it.

    Attributes:
        no: The number by which the core knows it.
        incarnation: Under which it writes, in each of its lives: nothing is taken from an earlier
            one.
        format: Which rules it keeps for life, so that what it recorded replays.
        created_at: When it was created, in microseconds of the wall clock.
        seeded_by: The incarnation from which all that looks random in it derives.
        attributes: Those that its body was told of, encoded; None: it has none.
        ahead: Those as they will be when all is durable that its body asks for.
        schedule: Id of the schedule that created it.
        born: The name that its workflow had when it was created, if that was another one.
    """

    no: int
    incarnation: int
    namespace: str
    workflow: Workflow[Any, Any]
    version: str
    id: str
    format: Format
    created_at: int
    seeded_by: int
    attributes: bytes | None
    ahead: bytes | None
    schedule: str | None = None
    born: str | None = None

    def __str__(self) -> str:
        return f"{self.workflow.name}/{self.id}"

    @property
    def seed(self) -> str:
        """From which all that looks random in it is derived (I13): the same in all lives that keep
        what an earlier one recorded (L6)."""
        return self.of(self.seeded_by)

    def of(self, incarnation: int) -> str:
        """Returns what names one incarnation of it among those of all instances."""
        return seed_of(self.namespace, self.first_name, self.id, incarnation)

    @property
    def first_name(self) -> str:
        """The name of its workflow from which all of it derives that does: it is the same for life,
        whatever the workflow is called today."""
        return self.born or self.workflow.name


class Streams:
    """What there is of an instance's streams in one of its lives.

    Attributes:
        sent: How many places each block of the body has taken, by the place of its record.
        open: Who sends in which stream, by its name: a passage (`sending`).
    """

    __slots__ = ("open", "sent")

    def __init__(self, sent: dict[int, int]) -> None:
        self.sent = sent
        self.open: dict[str, Any] = {}


class Operation(ABC):
    """One thing that a body has asked for, as its instance sees it: a name until it goes live, and
    over when its outcome is delivered.

    Defaults stand in the class: most operations never change most of them, and every store counts
    (W2).
    """

    life: Life
    identity: Identity
    number = 0
    """Of the wait or record that it has submitted."""
    live = False
    waiting = False
    """Whether nothing but a wait of the core's is left of it."""
    turn = 0
    """How many outcomes had been delivered when it was begun."""
    after = 0
    """The place of the last of them (L6)."""
    is_cancelled = False
    """Whether the body has cancelled it, and it is open all the same until an attempt has ended
    (I8)."""
    has_attempts = False
    is_in_body = False
    """Whether an attempt runs in the body's own task."""
    interrupted = False
    """Whether a crash may have cut short what history does not know of (R3)."""
    was_cut_short = False
    """Whether the body had cancelled it before that crash, and it may not have begun: then the body
    was further than history says."""
    strayed = False
    """Whether its body task was cancelled by something that would not replay (I9)."""

    @abstractmethod
    async def parked(self) -> Outcome | None:
        """Blocks the body task until the outcome is delivered to it."""

    def own_outcome(self) -> Outcome:
        """Returns the outcome that only the operation itself has."""
        raise AssertionError("its outcome was recorded by itself")

    @abstractmethod
    def resolve(self, outcome: Outcome | None) -> bool:
        """Hands the outcome to the body task. Returns whether a task can go on now.

        Args:
            outcome: None: the operation knows it itself.
        """

    def keep_context(self) -> None:
        """It is begun in a turn, and will go live when the body task that asked for it is at
        rest."""

    @abstractmethod
    def go_live(self, in_body: bool = False) -> Awaitable[None] | None:
        """Starts what the operation stands for.

        Args:
            in_body: Whether the single task of the body, which has just begun it, is there to do
                something for it.

        Returns:
            What that task has to await before it blocks in the operation.
        """

    @abstractmethod
    def stop(self) -> None:
        """The body unwinds: a task that still waits here is behind a shield, and is not spared
        (P1)."""

    def end_attempts(self) -> None:
        """Nobody waits for an outcome any more: what runs for it is to end."""

    def withdrawn(self) -> None:
        """The body gave it up."""


class Question(Operation):
    """A branch that asks whether a change of the code is in force for its instance (I6)."""

    holds = False
    """The answer, once there is one."""


class Renewal(Operation):
    """That a body goes on as new (L15): what it leaves to that.

    Attributes:
        params: What the new run starts with.
        run: Its number.
        untold: Waits for events that are open, as far as the body knows.
        passed: Places of events that an earlier life took and this one was not told of.
    """

    params: bytes | None
    run = 0
    untold: list[int]
    passed: list[int]


class Delivery:
    """What a body has asked for, and what of it it was told: its place in its history.

    Attributes:
        cursor: What is known and not delivered yet.
        open: The operations that are begun and not over.
        attached: Waits that were open when the body was loaded and that it has not come back to:
            their numbers, and deadlines if they have any.
        begun: Operations that go live when the turn ends, if they are still open then.
        asked: Branches that have asked about a change of the code, and were not told
            (`_operations.patches`).
        yes_in_flight: That of them whose yes is being recorded.
        renewals: Ways to go on as new that were asked for in this turn; of several the first.
        beginners: What each task has begun in this turn; two of the same are a race.
        keys: Of all operations that have one: a key names one.
        queued: Steps that it had cancelled before a crash and that may not have begun then.
        replaying: Whether the body goes over what was recorded before.
        interrupted: Whether a crash may have cut short what history does not know of (R3).
        untaken: Open steps that a crash may have cut short, and that have not recorded that.
        turn: How many outcomes were delivered.
        last: The place of the last of them.
        at: When the last of them came, in microseconds of the wall clock: the time of the turn.
        steps: How many the body has asked for, and at most may (`steps_max`).
        undoable: Whether it has asked for a step that can be undone.
        streams: What it sends; None: nothing yet.
        bytes: Of all values that it was given, so that live and on replay it is the same at the
            same place; and at most may be (`bytes_max`).
    """

    __slots__ = (
        "asked", "at", "attached", "beginners", "begun", "bytes", "bytes_max", "cursor",
        "interrupted", "keys", "last", "open", "queued", "renewals", "replaying", "steps",
        "steps_max", "streams", "turn", "undoable", "untaken", "yes_in_flight",
    )  # fmt: skip

    def __init__(
        self,
        cursor: Cursor,
        attached: dict[Identity, tuple[int, int | None]],
        interrupted: bool,
        at: int,
        bytes: int,
    ) -> None:
        self.cursor = cursor
        self.attached = attached
        self.interrupted = interrupted
        self.at = at
        self.bytes = bytes
        self.open: dict[Identity, Operation] = {}
        self.begun: list[Operation] = []
        self.asked: list[Question] | None = None
        self.yes_in_flight: Question | None = None
        self.renewals: list[Renewal] | None = None
        self.queued: list[Operation] | None = None
        self.beginners: dict[tuple[str, int, str], object] | None = None
        self.keys: set[tuple[int, str, str]] | None = None
        self.replaying = bool(cursor.pending)
        self.untaken = 0
        self.undoable = False
        self.streams: Streams | None = None
        self.turn = 0
        self.last = 0
        self.steps = 0
        self.steps_max = 0
        self.bytes_max = 0


class Turning(Protocol):
    """The turns of a body with several tasks (I4), on either runtime.

    Attributes:
        depth: Nurseries and deadlines that are open.
        moving: Whether the engine is waking body tasks: what becomes runnable now does so by its
            doing.
        for_good: Whether a nursery of trio's counts as open to the end of the body.
    """

    depth: int
    moving: bool
    for_good: bool

    @property
    def at_rest(self) -> bool:
        """Whether the turn is over: no body task can go on."""
        ...

    @property
    def runnable(self) -> int:
        """More than zero while a body task can go on."""
        ...

    def line(self) -> object:
        """Returns what stands for the line of code that runs."""
        ...

    def coroutines(self) -> list[Any]:
        """Returns the code of the body tasks."""
        ...


class Resting(Protocol):
    """What a body waits for, and what else it still does; see `rest`.

    Attributes:
        busy: Open operations that will come to something by themselves.
        winding: Attempts in tasks that nobody waits for and that still run.
        threads: Those of attempts that run, whether somebody waits for them or not.
        waits: The open waits, by number, with their deadlines.
    """

    busy: int
    winding: int
    threads: int
    waits: dict[int, int]

    def expect(self, number: int, who: Any, until: int) -> None:
        """An open wait: `who` is told when it is settled."""
        ...

    def forget(self, number: int) -> None:
        """A wait is over."""
        ...

    def delayed(self, began: bool) -> None:
        """A step begins, or ends, to wait for its next attempt (R4)."""
        ...

    def settled_down(self) -> None:
        """If nothing but waits is open, the instance gives its slot back."""
        ...

    def woken(self) -> None:
        """The instance goes on, with a slot."""
        ...

    def end(self) -> None:
        """The body leaves memory."""
        ...


class Keeper(Protocol):
    """Counts the runnable tasks of bodies on trio."""

    def open(self, life: Life) -> Turning:
        """Begins to count for an instance that has one body task."""
        ...

    def close(self, task: trio.lowlevel.Task) -> None:
        """Ends that."""
        ...


class Leftovers(Protocol):
    """Generators that code of instances has begun; see `generators`."""

    def left_by(self, operation: Any = None) -> list[AsyncGenerator[Any, Any]]:
        """Returns those that an attempt, or all code, has left open in the current task."""
        ...


class Resisted(Protocol):
    """Code that does not end when it is told to; see `resisting`."""

    @types.coroutine
    def leaves(
        self, life: Life, resisted: int, code: Any, step: Any = None
    ) -> Generator[Any, Any, bool]:
        """Asked when a task goes on that should end. Returns whether it is to leave its code."""
        ...

    def watch(self, step: Any) -> None:
        """An attempt is about to be cancelled."""
        ...

    def born(self, task: trio.lowlevel.Task, step: Any) -> None:
        """A task was started in the context of an attempt that is to end."""
        ...

    def holds_step(self, step: Any) -> bool:
        """Whether code of an attempt of this step is not driven any more."""
        ...


class Port(Calls, Protocol):
    """The engine, as its instances see it: the driver is it, and tests may be. What bodies call of
    the core is the core's own methods, so that a call costs no more than that."""

    engine: Any
    tickets: dict[int, Any]
    nursery: trio.Nursery
    borrowed: Borrowed
    outer: BaseException | None
    draining: bool
    observed: bool
    checks_arguments: bool
    seed: int
    default_runtime: Runtime
    on_error: OnBodyError
    token: trio.lowlevel.TrioToken
    waiting_residents: int
    found: int
    bridge: Bridge | None
    told: Told | None

    @property
    def generators(self) -> Leftovers: ...
    @property
    def keeper(self) -> Keeper: ...
    @property
    def resistance(self) -> Resisted: ...
    def asyncio_loop(self) -> Bridge: ...
    def arm(self, delay: int, then: Callable[[], None]) -> int: ...
    def disarm(self, ticket: int) -> None: ...
    def most_bytes(self, value_bytes: int) -> int: ...
    def limits_of(self, namespace: str, workflow: str | None) -> Limits: ...
    def registered(self, workflow: Any) -> Workflow[Any, Any]: ...
    def reader(self, name: str, version: str) -> Workflow[Any, Any]: ...
    def ended(self, life: Life) -> None: ...
    def lacks_class(self, life: Life, which: tuple[str, str]) -> None: ...
    def let_go(self, no: int) -> None: ...
    def replay(self, life: Life) -> None: ...
    def interrupted_by(self, error: BaseException) -> None: ...
    def progressed(self) -> None: ...


class Life(Protocol):
    """An instance in memory. At most 20 members: what more is to be known of it belongs to one of
    its parts, and what is done with it is a function of the file that is about that.

    Attributes:
        port: The engine.
        value_bytes: So large may one value of it be.
        delivery: What its body asked for, and was told; see `delivery`.
        rest: What it waits for; see `rest`.
        task: That in which its body runs; None before and after.
        scope: What cancels the body.
        loop: That of its body's tasks, if they are asyncio's.
        turns: While several tasks of the body may be there.
        tally: Counts body tasks; `turns` is the same then.
        resting: Whether the body's one task is blocked in an operation, so that an outcome may be
            delivered.
        stopping: Why the body leaves memory, if it does; see `stopping`.
        stopped_at: Since when.
        halted: What tasks wait for that may begin nothing, and that the body's end wakes.
        is_pausing: Whether somebody pauses it: what runs may end, and nothing begins.
        is_refused: Whether the body wanted to begin something and may not.
        undoing: What there is to undo, as the body is replayed for that alone; see `undoing`.
        raised: What its code raised since the last outcome, while others are undelivered.
        asked: Operations that were asked for and not awaited yet (`pending`); None: there are none.
    """

    who: Who
    port: Port
    value_bytes: int
    delivery: Delivery
    rest: Resting
    task: trio.lowlevel.Task | None
    scope: trio.CancelScope
    loop: BodyLoop | None
    turns: Turning | None
    tally: Turning | None
    resting: bool
    stopping: End | None
    stopped_at: int
    halted: trio.Event | None
    is_pausing: bool
    is_refused: bool
    undoing: Undoing | None
    raised: BaseException | None
    asked: dict[Any, None] | None
