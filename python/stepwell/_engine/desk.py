"""What can be asked of the instances of an engine, wherever that runs: the calls from outside, with
what goes in and comes out by name.

`Tenant`, `Instance` and `Approvals` check what callers give, encode it and know nothing but a desk.
The engine of this process has one (`own_desk`). A desk raises the errors of the public API, and
gives values back as they are stored.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeAlias, TypeVar

if TYPE_CHECKING:
    from outcome import Maybe

    from .._errors import StepwellError
    from .._replay import Identity
    from .._steps.retention import Keep
    from .._types import (
        Change,
        Chunk,
        EngineStatistics,
        Explanation,
        Limits,
        ReasonCount,
        RestartPreview,
        Status,
        StepRecord,
        UndoStatus,
        Update,
    )
    from .callers import Listener
    from .counted import Reason
    from .look import Look
    from .registry import Registry
    from .rewinding import Beginning
    from .schedule_rows import FiringRow, Plan, ScheduleRow

T = TypeVar("T")

Follows: TypeAlias = AbstractAsyncContextManager[AsyncIterator[T]]
"""A block in which somebody is told of what happens."""
NewItem: TypeAlias = "tuple[str | None, bytes | None, int, int | None, bytes | None, Keep | None]"
"""A new instance: id, params, priority, start_at in microseconds, attributes, and how long it is
kept."""

LOOKED_AT_MAX = 20_000
"""Rows that one page looks at, where no index leads to those that are asked for."""


class Code(NamedTuple):
    """Which code new instances run, and where."""

    namespace: str
    workflow: str
    version: str


class Who(NamedTuple):
    """Which instance."""

    namespace: str
    workflow: str
    id: str


class By(NamedTuple):
    """Who does something, and what they say to it, for the audit."""

    actor: str | None
    note: str | None


Made: TypeAlias = tuple[str, int, str, bool, int]
"""What came of one item of a batch: why it was refused, "" if it was created, or was there and may
count as such; its number, its id, whether it is new, and its state. A plain tuple, to be unpacked:
there may be ten thousand in one answer."""


class Query(NamedTuple):
    """Which instances a page is to have; None and empty ask for nothing. Times are in
    microseconds."""

    namespace: str
    workflow: str | None
    states: list[int]
    version: str | None
    reason: Reason | None
    parent: tuple[str | None, str] | None
    id_prefix: str | None
    created_after: int | None
    created_before: int | None
    beyond: int | None
    newest_first: bool
    limit: int
    attributes: Sequence[tuple[str, bytes]]
    schedule: str | None = None


class Request(NamedTuple):
    """A request for approval, as it is stored. Times are in microseconds."""

    id: str
    namespace: str
    workflow: str
    instance: str
    name: str
    detail: bytes | None
    asked_at: int | None
    until: int | None
    status: int
    decision: bytes | None
    number: int


@dataclass(frozen=True, slots=True)
class Found(Generic[T]):
    """A page as the store has it.

    `searched_to`: the last that was looked at, if that was not all although there is room, and when
    it was created.
    """

    rows: list[T]
    searched_to: tuple[int, int] | None


class Order(NamedTuple):
    """What is to be done to many. `what`: which they are and what else there is to know, as
    `bulk_runs` reads it; `filter`: the same in words; `frontier`: the highest instance number that
    it is about, None: of all that are there."""

    namespace: str
    operation: str
    workflow: str | None
    filter: str
    frontier: int | None
    what: bytes


class Refused(NamedTuple):
    """One instance to which it was not done."""

    id: str
    error: StepwellError


class Ended(NamedTuple):
    """What came of it."""

    number: int
    done: int
    refused: list[Refused]


class BulkRow(NamedTuple):
    """What is done to many, as it is stored. Times are in microseconds."""

    number: int
    namespace: str
    operation: str
    workflow: str | None
    filter: str
    actor: str | None
    note: str | None
    frontier: int
    what: bytes
    place: int
    done: int
    failed: list[tuple[str, int]]
    stopped: bool
    began_at: int
    ended_at: int | None


class Audited(NamedTuple):
    """A row of the audit, as it is stored."""

    number: int
    at: int
    actor: str | None
    note: str | None
    operation: str
    workflow: str | None
    id: str | None
    filter: str | None
    result: str


class Set(NamedTuple):
    """What a step came to, as somebody says: a value, or an error."""

    failed: bool
    payload: bytes


class Memory(Protocol):
    """What answers at once, from memory; `peek` from any thread."""

    def peek(self, namespace: str, workflow: str, id: str, /) -> int | None:
        """Returns the state of an instance that is not final."""
        ...

    def number(self, namespace: str, workflow: str, id: str, /) -> int | None:
        """Returns the number of an instance that is not final."""
        ...


class Reached(NamedTuple):
    """An instance has come to a state that somebody waited for, or to its end. `version`: None if
    nobody had to look."""

    no: int
    version: str | None
    status: Status
    payload: bytes | None


class Desk(Protocol):
    """One engine, as whoever asks it for something sees it.

    Raises:
        EngineClosed: From each of its calls, if the engine is not open.
    """

    def check(self, method: str) -> None:
        """Returns if this method of the public API may be called here and now.

        Raises:
            MisusedState: The body of an instance calls it, or another thread than the engine's.
        """

    def check_admits(self, method: str) -> None:
        """As `check`, for one that lets instances in."""

    async def registry(self) -> Registry:
        """Returns the code there is."""
        ...

    async def readers(self) -> Registry:
        """The same, for whoever only looks: it says how values are read, and what is known by
        name."""
        ...

    def most_bytes(self, namespace: str, workflow: str | None) -> int:
        """Returns how many bytes a value may have that may lie in a payload store: params, the
        payload of an event, the value of a step."""
        ...

    def value_bytes(self, namespace: str, workflow: str | None) -> int:
        """Returns how many bytes a value may have that is handed over."""
        ...

    async def limits(self, namespace: str, workflow: str | None) -> Limits:
        """Returns the limits that are in force."""
        ...

    async def counts(self, namespace: str | None, workflow: str | None) -> list[tuple[int, int]]:
        """Returns how many instances are in each state that any is in."""
        ...

    async def versions(
        self, namespace: str | None, workflow: str | None
    ) -> list[tuple[str, str, list[int]]]:
        """Returns how many instances of each version are in each state."""
        ...

    async def create(self, code: Code, item: NewItem, if_exists: str) -> tuple[int, str, bool]:
        """Creates an instance; returns its number, its id, and whether it is new."""
        ...

    async def create_batch(
        self, code: Code, items: list[NewItem], if_exists: str, *, waits: bool
    ) -> list[Made]:
        """Creates instances, or waits until all of them are let in."""
        ...

    async def find(self, who: Who, *, payloads: bool = True) -> Look:
        """Looks at one instance."""
        ...

    async def page(self, query: Query) -> Found[Look]:
        """Returns a page of instances."""
        ...

    async def slots(self, namespace: str, workflow: str) -> tuple[int, tuple[int, int, int], float]:
        """Returns how many slots the engine has; how many are in use, by all, by the namespace and
        by the workflow; and how many the workflow gave back a minute, of the last five."""
        ...

    async def reasons(self, namespace: str, workflow: str | None) -> list[ReasonCount]:
        """Returns why instances are where they are."""
        ...

    async def history(self, who: Who, no: int) -> list[StepRecord]:
        """Returns what is recorded of an instance, what it is at and what it waits for."""
        ...

    async def export(self, who: Who, no: int) -> dict[str, Any]:
        """Returns an instance as plain data, with all that is recorded of it."""
        ...

    async def undoing(self, who: Who, no: int) -> UndoStatus | None:
        """Returns how far the undoing of an instance's steps is."""
        ...

    async def explain(self, who: Who, no: int) -> Explanation:
        """Says why an instance is where it is."""
        ...

    async def send_event(
        self, who: Who, kind: str, payload: bytes | None, dedup_id: str | None
    ) -> None:
        """Sends an event."""

    async def request(
        self, who: Who, kind: str, payload: bytes | None, dedup_id: str, us: int
    ) -> bytes:
        """Sends an event, unless it came before, and returns the answer to it, at most so many
        microseconds later.

        Raises:
            RequestTimeout: There was none by then.
            InstanceErrored: The instance ended so, and did not answer.
            InstanceTerminated: The same.
            InvalidState: The same; or the event with this `dedup_id` wants no answer.
        """
        ...

    async def pause(self, who: Who, by: By) -> None:
        """Lets what runs of an instance end, and nothing begin."""

    async def terminate(self, who: Who, why: str, undo: bool, by: By) -> None:
        """Ends an instance. `why`: what everybody is told; `undo`: it undoes its steps first."""

    async def retry_now(self, who: Who, by: By) -> None:
        """Ends the retry delays of an instance."""

    async def set_priority(self, who: Who, priority: int, by: By) -> None:
        """Queues a queued instance with another priority."""

    async def resolve(self, who: Who, step: Identity, outcome: Set, by: By) -> None:
        """Gives a step an outcome."""

    async def start_now(self, who: Who, by: By) -> None:
        """Lets a queued instance wait for its `start_at` no longer."""

    async def restart(self, who: Who, beginning: Beginning, by: By) -> None:
        """Begins an instance anew, from the start or from a place in its history."""

    async def rewound(self, who: Who, beginning: Beginning) -> RestartPreview:
        """Says what `restart` would keep."""
        ...

    async def delete(self, who: Who, by: By) -> None:
        """Removes everything of an instance."""

    async def resume(self, who: Who, by: By, to_version: str | None) -> None:
        """Lets a paused or blocked instance go on, perhaps as another version."""

    async def approvals(
        self,
        namespace: str,
        workflow: str | None,
        status: int | None,
        beyond: int | None,
        limit: int,
    ) -> Found[Request]:
        """Returns a page of requests for approval."""
        ...

    async def decide(
        self, request: str, of: Who, name: str, *, approved: bool, decision: bytes, by: By
    ) -> bool:
        """Decides a request; returns whether nobody had."""
        ...

    async def set_limits(
        self,
        namespace: str,
        workflow: str | None,
        changes: list[tuple[str, float | None]],
        by: By,
    ) -> None:
        """Changes limits."""

    async def audit(
        self,
        namespace: str,
        workflow: str | None,
        id: str | None,
        beyond: int | None,
        limit: int,
    ) -> tuple[list[Audited], int | None]:
        """Returns who did what, newest first; and down to which number was searched, if that is not
        all."""
        ...

    async def do_to_many(self, order: Order, by: By) -> Ended:
        """Does something to many; returns when that has ended, or was stopped."""
        ...

    async def bulks(
        self, namespace: str, number: int | None, beyond: int | None, limit: int
    ) -> list[BulkRow]:
        """Returns what is done to many, newest first; only the one with this number."""
        ...

    async def stop_bulk(self, number: int, by: By) -> None:
        """Stops what is done to many, if it has not ended."""

    def now(self) -> int:
        """Returns the time of its clock."""
        ...

    async def schedules(self, namespace: str) -> list[ScheduleRow]:
        """Returns the schedules of a namespace, in the order in which they were put first."""
        ...

    async def put_schedule(self, namespace: str, id: str, plan: Plan, by: By) -> ScheduleRow:
        """Keeps a schedule, and returns it as it is then."""
        ...

    async def pause_schedule(self, namespace: str, id: str, by: By) -> None:
        """Lets a schedule fire no more."""

    async def resume_schedule(self, namespace: str, id: str, by: By) -> None:
        """Lets a schedule fire again."""

    async def delete_schedule(self, namespace: str, id: str, by: By) -> None:
        """Removes a schedule."""

    async def trigger_schedule(self, namespace: str, id: str, by: By) -> Who:
        """Creates an instance of a schedule now."""
        ...

    async def backfill_schedule(
        self, namespace: str, id: str, start: int, end: int, by: By, *, dry_run: bool
    ) -> list[FiringRow]:
        """Fires the times of a schedule that are over; returns what came of them."""
        ...

    async def firings(
        self, namespace: str, id: str, beyond: int | None, limit: int
    ) -> list[FiringRow]:
        """Returns what came of the times of a schedule, the last decided first."""
        ...

    async def until(
        self, who: Who, no: int, wanted: frozenset[Status], called: str, *, looks: bool
    ) -> Reached:
        """Waits until an instance is in one of these states, or has ended; a state that is passed
        through is seen even if it lasts no time. `called`: the method that is called; `looks`:
        whether its version is wanted."""
        ...

    def updates(self, who: Who, no: int, cursor: str | None) -> Follows[Update]:
        """Returns what happens to an instance after a cursor."""
        ...

    def chunks(self, who: Who, stream: str, cursor: str | None) -> Follows[Chunk]:
        """Returns what an instance sends in a stream after a cursor."""
        ...

    def all_changes(self, namespace: str, cursor: str | None) -> Follows[Change]:
        """Returns which instances of a namespace change after a cursor."""
        ...

    async def recorded(self, who: Who, no: int, name: str, count: int) -> None:
        """Waits until a step of this name has been recorded so often."""

    # The whole engine.

    async def namespaces(self) -> list[str]:
        """Returns the namespaces that any instance was created in."""
        ...

    async def statistics(self) -> EngineStatistics:
        """Returns the engine's counters."""
        ...

    async def drain(self, grace: float | None) -> None:
        """Starts no more steps; attempts that run have so many seconds, or what the engine gives
        them."""

    async def reshard(self, shards: int) -> None:
        """Spreads the instances over so many coordinators."""

    async def backup(self, path: str) -> None:
        """Copies the store to an absolute path."""


class Here(Desk, Protocol):
    """The desk of an engine in this process."""

    @property
    def code(self) -> Registry:
        """The code there is."""
        ...

    def memory(self) -> Memory:
        """Returns what is known at once."""
        ...

    def limits_of(self, namespace: str, workflow: str | None) -> Limits:
        """Returns the limits that are in force."""
        ...

    def glance(
        self, who: Who, payloads: bool, take: Callable[[Maybe[Look]], None]
    ) -> Listener | None:
        """As `find`, but calls `take` with what it comes to, which may not raise; whoever forgets
        what is returned hears nothing. None: many ask, and it is to wait for its turn."""
        ...
