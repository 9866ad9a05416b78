"""The plain values that the public API hands out: states, summaries, records, events.

Nothing in here does anything; every class is frozen, compares by value and can be printed. Most are
named tuples because a dataclass takes fifteen times as long to define, which everybody who imports
the package would pay for (W11).
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, Self, TypeAlias, TypeVar

from . import _core
from ._errors import ErrorInfo, InvalidState, StepwellError

# with defaults, which are PEP 696 and not in Python 3.11: written bare, these classes mean them
if TYPE_CHECKING:
    import typing_extensions

    T = typing_extensions.TypeVar("T", covariant=True, default=Any)
    P = typing_extensions.TypeVar("P", covariant=True, default=None)
else:
    T = TypeVar("T")
    P = TypeVar("P")
_NOTHING: Mapping[str, Any] = MappingProxyType({})


class Status(enum.StrEnum):
    """The states of an instance. The last three are final."""

    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    WAITING_FOR_PAUSE = "waiting_for_pause"
    PAUSED = "paused"
    BLOCKED = "blocked"
    COMPLETE = "complete"
    ERRORED = "errored"
    TERMINATED = "terminated"

    @property
    def is_final(self) -> bool:
        """Whether nothing can change any more."""
        return self in FINAL


StatusName = Literal[
    "queued",
    "running",
    "waiting",
    "waiting_for_pause",
    "paused",
    "blocked",
    "complete",
    "errored",
    "terminated",
]
"""A `Status` as text."""
FINAL = frozenset(map(Status, _core.FINAL_STATES))

STATUSES = tuple(map(Status, _core.STATES))
"""By the code that crosses the border."""


class _Event(NamedTuple, Generic[T]):
    type: str
    payload: T
    timestamp: datetime


class Event(_Event[T]):
    """An event that a wait took.

    Attributes:
        type: Its type.
        payload: What it says.
        timestamp: When it was sent, which may be long before that, by the engine's clock; of events
            that were taken before this was recorded, when they were. `step.now()` is the time of
            the turn.
    """

    _answer: Callable[[Any, Any], Coroutine[Any, Any, None]] | None = None

    def reply(self, value: Any, *, as_type: Any = None) -> Coroutine[Any, Any, None]:
        """Answers whoever asked with `Instance.request`, once, however often this body replays.

        Await it in the body that waited for the event. It returns when the answer is durable;
        whoever asks again with the same `dedup_id` gets this one, also when the instance has ended.
        An answer to an event that was only sent is recorded, and nobody is told.

        Args:
            value: Storable data, as a step's result.
            as_type: Stores it as this type; default: its own, as plain data.

        Raises:
            InvalidState: It was answered before in this life of the instance; or this event was
                taken by no wait, or is a copy.
            NotSerializable: The value cannot be stored.
            TooLarge: It is over the limit for one value.
        """
        if self._answer is None:
            raise InvalidState(
                f'event "{self.type}" cannot be answered: reply to the very event that '
                "`step.wait_for_event` returned."
            )
        return self._answer(value, as_type)

    def answered_by(self, answer: Callable[[Any, Any], Coroutine[Any, Any, None]]) -> Self:
        """Returns this event, whose replies go there. For the engine."""
        self._answer = answer
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), tuple(self))


class Approval(NamedTuple, Generic[T]):
    """A decision in favour: who, why, with what, when.

    Attributes:
        at: When it was made, also before it was asked for, by the engine's clock; of decisions that
            a body was told before this was recorded, when it was.
    """

    by: str
    reason: str | None
    metadata: T
    at: datetime


class ApprovalRequest(NamedTuple):
    """Somebody is asked to approve something. `status`: open, approved, rejected, timed_out or
    withdrawn."""

    id: str
    workflow: str
    instance_id: str
    name: str
    detail: Any
    asked_at: datetime | None
    until: datetime | None
    status: str


class InstanceInfo(NamedTuple):
    """What a body may know of its own instance; the same on every replay."""

    id: str
    workflow: str
    version: str
    namespace: str
    created_at: datetime
    parent: str | None = None
    schedule: str | None = None
    attributes: Mapping[str, str | int | float | bool] = _NOTHING


@dataclass(frozen=True, slots=True)
class Redacted:
    """Stands where a value is not shown, because its step is `sensitive`; `size` is that of the
    stored value in bytes."""

    size: int


@dataclass(frozen=True, slots=True)
class Large:
    """Stands where a value is only looked at, and not fetched from the payload store in which it
    lies (`Engine(payloads=…)`); `size` is that of its encoded bytes. `Instance.export` has it
    whole."""

    size: int


class Firing(NamedTuple):
    """What came of one time of a schedule, or of several in a row that came to the same.

    Attributes:
        at: The time, not put off by jitter; of several the first.
        until: The last of several; None: it is one.
        outcome: "fired", an instance was created; "skipped", by the schedule's own rules; "missed",
            no engine ran, or the time was over before one looked.
        why: Of what was skipped "overlap", "queue_full", "replaced" or "paused"; of what was missed
            "engine_down" or "overtaken", by a later time; of what fired "trigger", "backfill",
            "queued", or None: it was due. In a backfill also "fired_before", "queued" and "due",
            which it leaves alone.
        id: The instance's.
        decided_at: When this was decided.
    """

    at: datetime
    until: datetime | None
    outcome: Literal["fired", "skipped", "missed"]
    why: str | None
    id: str | None
    decided_at: datetime


class UndoStatus(NamedTuple):
    """How far the undoing of an instance's steps is.

    Attributes:
        outcome: "running"; "complete": all is undone; or "failed": an undo gave up, or the instance
            was terminated once more, and steps that began before that one are not undone.
        step: The step whose undo runs, or gave up.
        error: Why it gave up.
        done: How many steps are undone.
        steps: How many are to be; None while that is not known.
        left: Names of steps that began as well, and that nothing undoes in the code with which the
            undoing began: at most 20. One that had an `undo=` when it ran, and has lost it in a
            deploy, is among them.
    """

    outcome: Literal["running", "complete", "failed"]
    step: str | None = None
    error: ErrorInfo | None = None
    done: int = 0
    steps: int | None = None
    left: tuple[str, ...] = ()


class InstanceStatus(NamedTuple):
    """Where an instance stands. Times are aware, in UTC. `error` is the recorded one, or says what
    of this could not be read."""

    status: Status
    output: Any
    error: ErrorInfo | None
    progress: Any
    undo: UndoStatus | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    waiting_on: str | None
    version: str


class InstanceSummary(NamedTuple):
    """One row of a listing."""

    id: str
    workflow: str
    version: str
    status: Status
    reason: str | None
    progress: Any
    waiting_on: str | None
    error: ErrorInfo | None
    attributes: dict[str, str | int | float | bool]
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a listing; iterating gives its items.

    Attributes:
        items: In the order that was asked for.
        cursor: Continues it; None at the end. It belongs to its filter and direction.
        searched_to: Set where the search ended before the page was full, because it had looked at
            20,000 that were not asked for: of those created on this side of it none is missing, and
            `cursor` goes on from there.
    """

    items: list[T]
    cursor: str | None
    searched_to: datetime | None = None

    def __iter__(self) -> Iterator[T]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


class BulkError(NamedTuple):
    """Why something was not done to one instance of many."""

    id: str
    error: StepwellError


class BulkResult(NamedTuple):
    """What came of something that was done to many.

    Attributes:
        id: Its id, for `engine.bulk`.
        done: How many instances it changed.
        errors: Who refused it, and why; the first thousand. `engine.bulk.get(id).errors` counts
            all.
    """

    id: str
    done: int
    errors: list[BulkError]


class BulkPreview(NamedTuple):
    """To whom something would be done.

    Attributes:
        counts: How many are in each state that any is in.
        examples: Five of them, oldest first.
        frontier: The highest instance number there is: whoever is created later is not among them.
    """

    counts: dict[Status, int]
    examples: list[InstanceSummary]
    frontier: int


class Bulk(NamedTuple):
    """What is done to many instances.

    Attributes:
        status: "running", "ended" or "stopped".
        filter: Who they are, in words; of one that cannot be read, whose operation is "", why.
        done: How many it has changed so far.
        errors: How many refused it, by the error's class.
        rate: How many in a second, at most.
    """

    id: str
    operation: str
    workflow: str | None
    filter: str
    status: Literal["running", "ended", "stopped"]
    done: int
    errors: dict[str, int]
    rate: float | None
    actor: str | None
    note: str | None
    began_at: datetime
    ended_at: datetime | None


class AuditRow(NamedTuple):
    """What somebody did: an operation that is not a read, and changed something.

    Attributes:
        actor: Who, if they said so.
        operation: What it is called: "pause", "set_limits".
        workflow: Of the instance, or of those it was done to, if it was one.
        id: Of the instance, if it was done to one.
        filter: To which instances, if to many.
        note: What the actor said to it.
        result: What came of it: the state that the instance was in then, the id of the request that
            was decided, the limits as they were set; or why this row cannot be read.
    """

    at: datetime
    actor: str | None
    operation: str
    workflow: str | None
    id: str | None
    filter: str | None
    note: str | None
    result: str


class Update(NamedTuple):
    """Something that happened to an instance.

    Attributes:
        cursor: Goes on after this, in a later `watch`.
        kind: "record", "status" or "progress".
        status: The state that it is in, as far as was told.
        record: The line of its history, of a record.
        progress: What it reported last, of progress.
    """

    cursor: str
    kind: Literal["record", "status", "progress"]
    status: Status | None
    record: StepRecord | None
    progress: Any
    at: datetime | None


class Chunk(NamedTuple):
    """Something that an instance sent in a stream.

    Attributes:
        cursor: Goes on after this, in a later `stream`.
        attempt: The attempt of the step that sent it, from 1; of what the body sent always 1.
        value: What was sent; at the end of a passage that a step's outcome stands for
            (`step.model`) that outcome, else None there.
        first: It is the first of a passage, or of an attempt: whatever an attempt before it sent,
            of the same passage, does not count any more.
        final: It is the end of a passage, after all that was sent in it.
    """

    cursor: str
    attempt: int
    value: Any
    first: bool = False
    final: bool = False


class Change(NamedTuple):
    """An instance is in another state.

    Attributes:
        cursor: Goes on after this, in a later `changes`.
        kind: "status"; or "reset": something was missed, look at what you follow anew.
        status: The state that it was in when it was looked at. Those before it may be skipped.
    """

    cursor: str
    kind: Literal["status", "reset"]
    workflow: str | None
    id: str | None
    status: Status | None
    at: datetime


class Source(NamedTuple):
    """Where an answer came from that a client gave. As text, one sentence.

    Attributes:
        place: "engine"; or "file": no engine answered, and the store itself was read.
        recorded_at: Of a file: when something was recorded in it last; None: nothing ever was.
        ended_well: Of a file: whether its last engine ended in order. If not, what it had running
            is shown as it was then.
        process: Of a file: the process whose engine has it and does not answer; None: none has it.
    """

    place: Literal["engine", "file"]
    recorded_at: datetime | None = None
    ended_well: bool | None = None
    process: int | None = None

    def __str__(self) -> str:
        if self.place == "engine":
            return "The engine answered."
        at = (
            "nothing was ever recorded in it"
            if self.recorded_at is None
            else f"what it recorded last is of {self.recorded_at:%Y-%m-%d %H:%M:%S} UTC"
        )
        if self.process is not None:
            return (
                f"Read from the file: the engine that has it (process {self.process}) does not "
                f"answer; {at}."
            )
        end = "" if self.ended_well else ", and its last engine was cut short"
        return f"Read from the file: no engine has it; {at}{end}."


@dataclass(frozen=True, slots=True)
class StepRef:
    """Names one operation of an instance."""

    name: str
    count: int = 1
    key: str | None = None
    kind: str = "do"
    branch: str = ""


FromStep: TypeAlias = StepRef | Literal["failed"] | None
"""From where a restarted instance goes on; None: from the start."""


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One line of a history. `status`: done, failed, timed_out, attempt_failed, interrupted, saved,
    started, abandoned or waiting; refused: it never began, and `error` says which limit was against
    it, or what else; or attempts: one line for many failed ones, whose `output` and `error` say how
    many they were and why.

    The `output` of an approval that was decided, either way, is done: a dict of `approved`, `by`,
    `reason` and `metadata`. One that came to nothing with other instances (an id that is taken,
    nobody there) is failed, and `error` has the class that its body saw.

    Of a step that is `sensitive`, `output` is `Redacted`; of a value in a payload store, `Large`.

    `event_type` is the type of the event that ended a wait for events: of one for several types, or
    with a name of its own, which came. `event_types` are those that one waits for that is open.

    `idempotency_key` is what the function of a step, or of its undo, has as that
    (`current_step().idempotency_key`): whom it called knows the call by it. None in what
    `restart(dry_run=True)` tells, and of what has no function."""

    kind: str
    name: str
    key: str | None
    count: int
    branch: str
    attempt: int
    status: str
    started_at: datetime | None
    ended_at: datetime | None
    output: Any
    error: ErrorInfo | None
    ref: StepRef
    not_before: datetime | None = None
    event_type: str | None = None
    event_types: tuple[str, ...] = ()
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True)
class RestartPreview:
    """What a restart would keep of a history, and what it would erase: `Instance.restart` with
    `dry_run=True`.

    Attributes:
        kept: Lines that stay; what they recorded is not done again.
        erased: Lines that go. A step whose attempt succeeded after the body had given it up is
            among them, and is not run again all the same: its value becomes the step's.
        by_clock: Whether the order was told by the clock, because some of it was recorded by a
            version that did not record in which turn a step began.
    """

    kept: list[StepRecord]
    erased: list[StepRecord]
    by_clock: bool


class ExplanationCode(enum.StrEnum):
    """Why an instance is where it is, in a word: its state, or what is more than that.

    Queued ones may be `start_at`, not to start yet, or `held_back`, for they may be what kills the
    process. From `nondeterminism` on it is why they are blocked.
    """

    QUEUED = "queued"
    START_AT = "start_at"
    HELD_BACK = "held_back"
    RUNNING = "running"
    WAITING = "waiting"
    WAITING_FOR_PAUSE = "waiting_for_pause"
    PAUSED = "paused"
    COMPLETE = "complete"
    ERRORED = "errored"
    TERMINATED = "terminated"
    NONDETERMINISM = "nondeterminism"
    CHANGED_ARGUMENT = "changed_argument"
    RACE = "race"
    FOREIGN_WAIT = "foreign_wait"
    MISSING_CODE = "missing_code"
    MISSING_CLASS = "missing_class"
    UNDECODABLE = "undecodable"
    PAYLOADS = "payloads"
    REFUSED = "refused"
    BODY_FAILED = "body_failed"
    RECOVERIES = "recoveries"
    CORRUPT = "corrupt"
    INTERNAL = "internal"
    BLOCKED = "blocked"


class Explanation(NamedTuple):
    """Why an instance is where it is. `str()` is one plain paragraph."""

    code: ExplanationCode
    text: str
    since: datetime | None = None
    until: datetime | None = None
    details: Mapping[str, Any] = _NOTHING

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class BatchError:
    """One item of a batch that was not created, and why."""

    index: int
    id: str | None
    error: Exception


class NewInstance(NamedTuple, Generic[P]):
    """One item of `create_batch` that needs more than params."""

    params: P = None  # type: ignore[assignment]  # P is None then
    id: str | None = None
    priority: int = 0
    start_at: datetime | None = None
    retention: Any = None
    attributes: Mapping[str, str | int | float | bool] | None = None


@dataclass(frozen=True, slots=True)
class ReasonCount:
    """How many instances are where they are for one reason, and one of them.

    Attributes:
        workflow: None, as `version` and `status`, in the last of 1,001 rows: all others.
        code: Why, in a word: of blocked ones what blocks them; of running and waiting ones
            "retrying"; of waiting ones "event", "approval", "sleep", "child"; of queued ones the
            limit that holds them up, "slots", "namespace_concurrency" or "concurrency", or else
            "start_at", "held_back", "starting"; "paused"; of errored ones "failed"; "overdue" if
            something was due over a second ago; "other".
        step: The step it is about, or the name of what is waited for.
        error_type: Class of the error, where there is one.
        since: Since when the first of them is there; of those that retry, since its last attempt.
        next: When the first of them goes on by itself.
        example_id: The one that has been there longest.
    """

    workflow: str | None
    version: str | None
    status: Status | None
    code: str
    step: str | None
    error_type: str | None
    count: int
    since: datetime | None
    next: datetime | None
    example_id: str | None


class SlotHolder(NamedTuple):
    """An instance that has a slot: since when, and the steps of which attempts run."""

    workflow: str
    id: str
    since: datetime
    steps: tuple[str, ...]


class QueueExplanation(NamedTuple):
    """Why instances of a workflow are queued. `str()` is one plain paragraph.

    Attributes:
        code: The limit that holds most of them up, as `ReasonCount.code`; "empty": none is queued.
        queued: How many are queued.
        since: Since when the first of them is.
        used: How many of the slots of that limit are in use.
        slots: How many it has; None: it is none of slots.
        set_by: Who set it, if the audit says so.
        set_at: When.
        holders: Who has had slots of it longest, five at most.
        per_minute: Slots given back a minute, of this workflow: the mean of the last five minutes,
            or of the time since the engine opened, if that is less.
        estimate: Minutes until all that are queued have started, at that rate; None: none came back
            within these minutes.
    """

    code: str
    text: str
    queued: int
    since: datetime | None
    used: int | None
    slots: int | None
    set_by: str | None
    set_at: datetime | None
    holders: tuple[SlotHolder, ...]
    per_minute: float
    estimate: float | None

    def __str__(self) -> str:
        return self.text


class VersionCount(NamedTuple):
    """How many instances of one version of a workflow are in each state; every state is a key.
    `registered`: whether the engine has code for it."""

    workflow: str
    version: str
    registered: bool
    counts: dict[Status, int]


class WorkflowStatistics(NamedTuple):
    """Counters of one workflow in one namespace.

    leased: slots its instances hold. queued, waiting, paused, blocked: its instances in that state.
    created, started, ended: since the engine opened; an instance starts whenever it gets a slot.
    """

    namespace: str
    workflow: str
    leased: int
    queued: int
    waiting: int
    paused: int
    blocked: int
    created: int
    started: int
    ended: int


class EngineStatistics(NamedTuple):
    """Counters of a running engine. Durations are in seconds; all but `slots` start at 0 when the
    engine opens.

    slots: most instances that may run at once. leased: slots in use. queued, waiting: instances in
    that state. resident: instances that hold a task. commits, operations, records: what was
    committed since the engine opened. batch_max: most operations in one commit. commit_p50,
    commit_p99: how long a commit took. submitted: operations that wait for the next commit. shards:
    coordinators the instances are spread over. workflows: counters of each workflow that has, or
    had, instances here. extra: further counters by name, among them `disk_full`, 1 while the disk
    is full and the engine waits for room, and `ranges_to_move`, 0 unless shards change;
    `loop_holds`: how often a body or a step held a loop for over a second, and `longest_hold_ms`.
    """

    slots: int
    leased: int
    queued: int
    waiting: int
    resident: int
    commits: int
    operations: int
    records: int
    batch_max: int
    commit_p50: float
    commit_p99: float
    submitted: int
    shards: int
    workflows: tuple[WorkflowStatistics, ...]
    extra: Mapping[str, int] = _NOTHING


class Limits(NamedTuple):
    """What one namespace may use. Every number can be changed.

    Args:
        concurrency: Instances that run at once, 1 to 1,000,000.
        queue_entries: Instances that wait for a slot, per workflow, 1 to 100,000,000.
        create_rate: Creations per second, 0.00001 to 1,000,000,000, or None for no limit.
        create_burst: Creations at once on top of the rate, 1 to 1,000,000,000, or None for one
            second's worth.
        steps: `do` and `map` steps of one instance, 1 to 10,000,000.
        value_bytes: Encoded size of any one value, 1 to 67,108,864 (64 MiB).
        instance_bytes: Encoded size of the values that one instance was given, params and results
            and events; 1 to 2**50. Its next step raises `LimitReached` beyond it.
        recoveries: Unclean stops without progress after which an instance is blocked, 1 to
            1,000,000. Progress is an outcome that the process outlives by a second, or that it ends
            in order after.
        stream_bytes: Encoded size of what one stream of an instance holds, 1 to 2**40. What a
            step's outcome stands for does not count.
        stream_chunks: Chunks that it holds, 1 to 1,000,000,000.
        chunk_bytes: Encoded size of one of them, 1 to 16,777,216 (16 MiB).

    The defaults are those of the hosted service this engine is modelled on, where it names one.
    """

    concurrency: int = 50_000
    queue_entries: int = 2_000_000
    create_rate: float | None = None
    create_burst: int | None = None
    steps: int = 100_000
    value_bytes: int = 1 << 20
    instance_bytes: int = 1 << 30
    recoveries: int = 10
    stream_bytes: int = 16 << 20
    stream_chunks: int = 100_000
    chunk_bytes: int = 256 << 10
