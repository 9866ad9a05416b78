"""The border between Python and the Rust core: the contract.

CI checks its types against the extension, and `tests/test_contract.py` asks the core for what is
said here of calls and notes.

**What crosses.** Ints, strings, bytes, bools, floats (limits alone), None, and tuples, lists and
dicts of those. Payloads are opaque bytes. All times are microseconds, of the wall clock since
1970-01-01 UTC unless said otherwise. The core keeps no Python object and never calls Python: it
writes one byte to the socket behind `fileno()` when notes are there, and `poll()` takes them. One
thread polls; everything else may be called from any.

**Calls and notes.** No call waits for the store, but for `open`, `reopen`, `crash` and `close`; one
that submits waits for the writer when that is 65,536 submissions behind. Whatever changes or asks
something returns a number at once: a *ticket*, or the number of the wait that it opens. No ticket
is ever the number of a wait. What comes of it is a note:

| called | answered |
|---|---|
| whatever is under "From outside" or "Slow reads" and returns a ticket | one REPLY |
| `record`, `set_attributes`, `answer` | its ticket in a DONE, or FENCED |
| `create_child`, `create_children`, `send` | one SETTLED, by ticket |
| `retry`, `sleep`, `wait_…`, `call` | one SETTLED, when the wait ends |
| `arm` | one TIMER, unless it is disarmed |
| `watch` | a CHANGED for each change of state from then on |
| whatever returns None or bool | nothing |

That is all of the answer: opening a wait is not acknowledged, and neither is `withdraw`. A SETTLED
does not come once its wait is withdrawn or its body has ended (one that was under way then is to be
ignored), and if the body leaves memory first the next START has the record instead. All else is
answered, unless the engine is closed, crashes or fails before.

**Durable.** A note about a change comes when the change is durable, never earlier: synced, or for
":memory:" in the store that `reopen` finds. A call is in one commit as a whole (but `reshard`,
which takes many), so a crash leaves all of it or nothing. What one body submits is decided in that
order: a note about one thing also says that what the same body submitted before is durable.

**Order.** Notes come in the order of the commits that they tell of, and those of one commit in the
order in which it was decided, CHANGED last. What has to be read first (slow reads, a START with a
history, creations whose params are compared) and `backup` come in between, when they are ready. One
poll takes at most 512 REPLYs and as many STARTs as are asked for; what is left comes with the next
ones, in its own order, and other notes pass it. But what concerns a body comes after its START, and
in order. Calls from outside that have no answer yet, and what bodies submit, have no order between
them.

**A body.** START begins a body, with all that is recorded of its instance and every wait that is
open. The instance holds a slot and is marked as running. Whatever its body says names it by (no,
incarnation), and changes nothing if the instance has ended, is blocked or has another incarnation.
When every open operation is a wait, the body says `quiet`: the instance waits, holds no slot, and
is told nothing. Then the body may leave memory (`park`). When something has come that it waits for,
and a slot is free, a body in memory gets WAKE and then what was kept back; one that was parked
begins again with a START. With `finish`, `block`, `replay`, `release` or UNWIND the body is over
and says nothing more; only `let_go` may follow. There is one body of an instance at a time.

**Failure.** A call that raises CoreError has done nothing: "invalid", an argument makes no sense;
"closed", the engine is closed, has failed, or belongs to the process from which this one was
forked. A store that is full or locked for a while delays notes, and creations are refused
(HINDERED). Any other failure of it, or a bug of the core's, poisons the engine: FAILED is the last
note of all.
"""

from collections.abc import Sequence
from typing import Final, Literal, Protocol, TypeAlias, final

from ._formats import Format
from ._kinds import Kind, Verdict

__version__: str

# Notes: tuples that begin with one of these.
DONE: Final[int]
"""(DONE, at, [ticket, ...], [seq, ...]): these records are durable, at these places, all recorded
at `at`."""
REPLY: Final[int]
"""(REPLY, ticket, code, data): the answer to a call. code is "" on success, and data as the call
says; else a word from "Why the core says no", with the data that is said there."""
START: Final[int]
"""(START, Start): run this body, from the top."""
WAKE: Final[int]
"""(WAKE, no, incarnation): a body in memory that was quiet has a slot again and may go on."""
SETTLED: Final[int]
"""(SETTLED, no, number, seq, verdict, type, payload, at, came_at): a wait is over, or what was
asked for by ticket has come to something. at: when. came_at: when the event or the decision came
that it is, which may be long before; else None. seq: its record; 0 for the end of a retry delay,
which leaves none. After a START, one whose seq is not beyond the last of its records repeats that,
and one of a wait that it does not list, nor the body opened since, concerns an earlier life: ignore
both."""
TIMER: Final[int]
"""(TIMER, ticket): an `arm`ed timer is due."""
CHANGED: Final[int]
"""(CHANGED, no, status, reason, payload): a watched instance changed state; payload: output or
error, when final or blocked."""
GONE: Final[int]
"""(GONE, no): a watched instance was deleted."""
PAUSE: Final[int]
"""(PAUSE, no, incarnation, is_on): this body begins nothing any more; when what runs of it has
ended it is unwound, and `paused` is said for it. is_on False: it was to, and goes on."""
RECORDED: Final[int]
"""(RECORDED, no, Record): this was recorded of an instance that is listened to."""
PROGRESS: Final[int]
"""(PROGRESS, no, report): it reported this."""
STREAMED: Final[int]
"""(STREAMED, no, incarnation, stream, Chunks): it sent these in this stream, or ended a passage.
What a passage came to is not told here."""
NEWS: Final[int]
"""(NEWS,): some instance has changed, as `await_change` wanted to know."""
UNDOES: Final[int]
"""(UNDOES, no, incarnation): the instance is to undo its steps (L8): this body begins nothing any
more, and leaves, with `undoes`, when what runs of it has ended."""
SCHEDULE: Final[int]
"""(SCHEDULE, number): a schedule is to be looked at."""
UNWIND: Final[int]
"""(UNWIND, no, incarnation): the instance was ended, or paused, while this body was in memory:
unwind it, and say nothing more for it."""
FENCED: Final[int]
"""(FENCED, ticket): a record changed nothing: its instance has ended, is blocked, or writes under
another incarnation (D6)."""
IDLE: Final[int]
"""(IDLE,): on a virtual clock only: everything submitted before the last poll is done and nothing
is under way."""
FAILED: Final[int]
"""(FAILED, kind, message): the engine is poisoned; nothing will be acknowledged any more. kind:
"failed", "corrupt", "internal"."""
HINDERED: Final[int]
"""(HINDERED, now, message): the disk is full or another program locks the store (now: True), or no
longer (False). What was submitted is kept, and goes on by itself; nothing acknowledged is lost.
While the disk is full, creations are OVERLOADED (DISK)."""

Record: TypeAlias = tuple[
    int,
    Kind,
    str,
    str,
    str | None,
    int,
    int,
    Verdict,
    int,
    int,
    int | None,
    str | None,
    bytes | None,
]
"""(seq, kind, branch, name, key, count, attempt, verdict, started_at, at, moment, event_type,
payload): one line of an instance's history. seq: its place, ascending in the whole store. kind to
count: its operation (I1). attempt: from 1; 0 of what has none. moment: after a failed attempt when
the next is due, of an event or a decision when it came. event_type: as `type` in SETTLED."""
Wait: TypeAlias = tuple[int, Kind, str, str, str | None, int, int, int | None]
"""(number, kind, branch, name, key, count, opened_at, until): an open wait. Of kind DO it is the
delay before the next attempt. until: None for children, which are waited for without end."""
Start: TypeAlias = tuple[
    int,
    int,
    str,
    str,
    str,
    str,
    bytes | None,
    bytes | None,
    int,
    int | None,
    Format,
    bool,
    tuple[Record, ...],
    tuple[Wait, ...],
    int,
    str | None,
    str | None,
    tuple[tuple[int, int], ...],
]
"""(no, incarnation, namespace, workflow, version, id, params, attributes, created_at, parent,
format, interrupted, records, waits, seed, id of the schedule that created it, born, sent)

records are in order; a wait that was settled while this was read may be in both. `format`: which
rules the instance keeps for life, so that what it recorded replays (see `_formats`). `interrupted`:
the engine stopped uncleanly while this body could run (R3). `seed`: the incarnation from which all
that looks random in it derives (L6). `born`: the name that its workflow had when it was created, if
that was another one. `sent`: how many places of its stream each block of the body took, its end
included, by the place of the block's record."""
Chunks: TypeAlias = tuple[int, int, int, int, list[bytes], Record | None]
"""(place, attempt, mark, at, chunks, outcome): a row of a stream. place: of the first chunk,
counted from 1 in the stream. attempt: that sent it; of what the body sent 1. outcome: at an end
that CONCLUDES, that of the step."""
By: TypeAlias = tuple[str | None, str | None]
"""Who does something, and what they say to it, for the audit."""
Row: TypeAlias = tuple[
    int,
    str,
    str,
    str,
    str,
    int,
    str | None,
    int,
    int | None,
    int | None,
    int,
    int | None,
    bytes | None,
    bytes | None,
    bytes | None,
    bytes | None,
    int,
    int | None,
    list[Wait],
    list[tuple[str, int]],
    str | None,
    Format,
    int,
    str | None,
]
"""(no, namespace, workflow, version, id, status, reason, created_at, started_at, ended_at,
updated_at, parent, params, result, progress, attributes, priority, start_at, waits, kept,
undo, format, seed, born): an instance at one moment; its waits go on with (child, types, approval):
which child is waited for, as (workflow, id, status, reason), events of which types, and the id of
the approval. kept: types of events that no wait has taken yet, with how many of each; not in a
page. undo: "running", "complete" or "failed", how far the undoing of its steps is; None: nothing
of it is undone. format, seed and born: as in START."""

# What codes mean. Of each sort the constants, and the words that users read, by code.

DO: Final[Kind]
SLEEP: Final[Kind]
EVENT: Final[Kind]
APPROVAL: Final[Kind]
CREATE: Final[Kind]
CREATE_BATCH: Final[Kind]
CALL: Final[Kind]
RESULT: Final[Kind]
SEND: Final[Kind]
PATCHED: Final[Kind]
DEADLINE: Final[Kind]
ATTRIBUTES: Final[Kind]
UNDO: Final[Kind]
REPLIED: Final[Kind]
CONTINUED: Final[Kind]
STREAM: Final[Kind]
KINDS: Final[tuple[str, ...]]
"""Sorts of operation."""

OK: Final[Verdict]
"""It succeeded; payload: its value."""
GAVE_UP: Final[Verdict]
"""It failed for good; payload: its error, or None where `type` is a word from below."""
TIMED_OUT: Final[Verdict]
"""A wait ran out of time."""
ATTEMPT_FAILED: Final[Verdict]
"""One attempt failed, and another follows; payload: its error."""
INTERRUPTED: Final[Verdict]
"""One attempt was cut short by a crash."""
SAVED: Final[Verdict]
"""An attempt leaves this payload to the next."""
STARTED: Final[Verdict]
"""An attempt is about to start."""
ABANDONED: Final[Verdict]
"""The body gave a step up, and its attempt has ended since; payload: what became of that."""
ERASED: Final[Verdict]
"""A range of attempts counts no more; payload: what they came to."""
REFUSED: Final[Verdict]
"""It never began; payload: the error that says why."""
RESTARTED: Final[Verdict]
"""Of an instance, not of an operation: it was restarted. No history that is told has one."""
VERDICTS: Final[tuple[str, ...]]
"""What a record says of its operation."""
OUTCOMES: Final[frozenset[Verdict]]
"""Verdicts that are the end of their operation."""

GOES_ON: Final[int]
"""A row of a stream has some chunks of a passage."""
OPENS: Final[int]
"""It has the first ones of an attempt, or of a block of the body."""
ENDS: Final[int]
"""It is the end of a passage."""
CONCLUDES: Final[int]
"""It is its end, and what the step came to stands for it."""

FORMAT: Final[Format]
"""Which rules a new instance keeps."""

STATES: Final[tuple[str, ...]]
"""Of instances."""
FINAL_STATES: Final[tuple[str, ...]]
"""Those in which nothing changes any more."""
APPROVALS: Final[tuple[str, ...]]
"""Where an approval may stand."""

# Why the core says no: codes of REPLYs, and `type` of a SETTLED with GAVE_UP. Beside those that a
# call names, STORE and CORRUPT may be the answer to any.

NOT_FOUND: Final[str]
EXISTS: Final[str]
"""data: (no, state) of the instance that has the id."""
SAME_ID_OTHER_PARAMS: Final[str]
"""data: the same."""
NO_STEP: Final[str]
RESOLVED: Final[str]
NOTHING_FAILED: Final[str]
STATE: Final[str]
"""data: the state in which this cannot be done."""
TERMINATED: Final[str]
"""`type` only: the child was terminated."""
MISSING_CODE: Final[str]
"""data: a message. Also a reason for being blocked."""
OVERLOADED: Final[str]
"""data: (name of the limit, or DISK; microseconds after which to try again)."""
DISK: Final[str]
LIMIT: Final[str]
"""data: (BUFFERED_EVENTS or SCHEDULES, how many may be)."""
BUFFERED_EVENTS: Final[str]
SCHEDULES: Final[str]
OUTDATED: Final[str]
"""It was changed meanwhile: look at it again."""
UNDER_WAY: Final[str]
"""data: a message."""
GIVEN_UP: Final[str]
"""By `give_up`, before it was let in."""
DRAINS: Final[str]
"""By `end_waiting`, before it was let in."""
CLOSED: Final[str]
"""The engine was closed before this was done."""
STORE: Final[str]
"""data: a message. The store could not be read or written."""
CORRUPT: Final[str]
"""data: a message; of an item of a batch, none. Also a reason for being blocked."""
INVALID: Final[str]
"""data: a message."""

# Other words in `type` and among reasons.

APPROVED: Final[str]
"""`type` of an approval's outcome, whose verdict is OK."""
REJECTED: Final[str]
"""The same."""
RECOVERIES: Final[str]
"""Blocked: it was running too often when the process died (L11)."""
HELD_BACK: Final[str]
"""Queued: it may be what kills the process, and is tried when it is its turn (L11)."""

# Codes of `reasons` besides those for which an instance is blocked.

QUEUED: Final[str]
"""Never told: a limit is, or STARTING."""
SLOTS: Final[str]
"""Queued: all slots of the engine are in use."""
NAMESPACE_CONCURRENCY: Final[str]
"""Queued: the namespace has all it may have."""
CONCURRENCY: Final[str]
"""Queued: the workflow has."""
STARTING: Final[str]
"""Queued, and nothing holds it up."""
START_AT: Final[str]
"""Queued until its `start_at`."""
RETRYING: Final[str]
"""A step is between two attempts."""
FOR_EVENT: Final[str]
FOR_APPROVAL: Final[str]
FOR_SLEEP: Final[str]
FOR_CHILD: Final[str]
"""Waiting, for what."""
OVERDUE: Final[str]
"""Something of it was due more than a second ago."""
PAUSED: Final[str]
ENDED_IN_ERROR: Final[str]
"""Errored in the last 24 hours."""
OTHER: Final[str]

FAILURES: Final[tuple[str, ...]]
"""Kinds of CoreError and of FAILED."""

# Limits.

LIMITS: Final[dict[str, tuple[float, float, bool, float | None]]]
"""What users may set, by name: (least, most, whether a workflow may have its own, the default;
None: no limit). Whole numbers are ints."""
SHARDS_MAX: Final[int]
PRIORITY_MAX: Final[int]
"""Priorities are from minus this to this; higher goes first."""
EVENTS_MAX: Final[int]
"""Events that are kept for one instance until something waits for them."""
ANSWERS_MAX: Final[int]
"""REPLYs that come with one poll."""

class CoreError(Exception):
    """args: (kind, message). kind: "locked", another engine owns the store; "version", a newer one
    wrote it; "corrupt"; "failed", it could not be read or written; "invalid"; "closed";
    "internal", a bug."""

class Calls(Protocol):
    """What bodies call, from their START until they are over. Not there at run time: the types of
    `Core`, for whoever hands these calls on.

    begun: place of the last outcome that the body had been given when the operation began, 0 if
    there was none (L6)."""

    def record(
        self,
        no: int,
        incarnation: int,
        begun: int,
        identity: tuple[Kind, str, str, str | None, int],
        attempt: int,
        verdict: Verdict,
        started_at: int,
        payload: bytes | None,
        erases: int | None = None,
    ) -> int:
        """Appends a record of the operation with this (kind, branch, name, key, count); returns its
        ticket. erases: with ERASED, attempts from this one to `attempt` count no more."""
    def set_attributes(
        self,
        no: int,
        incarnation: int,
        begun: int,
        identity: tuple[Kind, str, str, str | None, int],
        at: int,
        payload: bytes,
        attributes: bytes,
    ) -> int:
        """As `record`, with OK; and these, a CBOR map, are the instance's attributes from then on,
        both or neither."""
    def answer(
        self,
        no: int,
        incarnation: int,
        begun: int,
        identity: tuple[Kind, str, str, str | None, int],
        place: int,
        at: int,
        payload: bytes,
    ) -> int:
        """As `record`, with OK; and this is the answer to the event that the record at this place
        took, both or neither. An event that wanted none, or has its answer, keeps what it has."""
    def retry(
        self,
        no: int,
        incarnation: int,
        begun: int,
        identity: tuple[Kind, str, str, str | None, int],
        attempt: int,
        started_at: int,
        error: bytes,
        retry_at: int,
    ) -> int:
        """Records a failed attempt and opens the delay before the next, both or neither; returns
        the wait's number. SETTLED with OK and seq 0."""
    def sleep(
        self,
        no: int,
        incarnation: int,
        begun: int,
        kind: Kind,
        branch: str,
        name: str,
        count: int,
        until: int,
        is_fixed: bool = False,
    ) -> int:
        """Opens a sleep or a deadline (kind SLEEP or DEADLINE), which end by the clock alone;
        returns the wait's number. SETTLED with OK. is_fixed: a pause of the instance does not move
        it."""
    def wait_event(
        self,
        no: int,
        incarnation: int,
        begun: int,
        branch: str,
        name: str,
        count: int,
        types: Sequence[str],
        until: int,
    ) -> int:
        """Waits for the next event of one of these types, or takes the oldest that was kept;
        returns the wait's number. SETTLED with OK and the event's type and payload, or
        TIMED_OUT."""
    def wait_approval(
        self,
        no: int,
        incarnation: int,
        begun: int,
        branch: str,
        name: str,
        count: int,
        approval_id: str,
        detail: bytes | None,
        until: int,
    ) -> int:
        """Asks for a decision, or takes the one that came before; returns the wait's number.
        SETTLED with OK, as type APPROVED or REJECTED, and what `decide` was given; or TIMED_OUT."""
    def wait_child(
        self,
        no: int,
        incarnation: int,
        begun: int,
        branch: str,
        name: str,
        count: int,
        workflow: str,
        id: str,
    ) -> int:
        """Waits for the end of another instance of the same namespace; returns the wait's number.
        SETTLED with OK, its output and as type its version; or GAVE_UP and its error. Then type is
        None, TERMINATED, or NOT_FOUND without an error. In records of old it may be the version
        beside an error."""
    def call(
        self,
        no: int,
        incarnation: int,
        begun: int,
        branch: str,
        name: str,
        count: int,
        workflow: str,
        version: str,
        id: str,
        params: bytes | None,
    ) -> int:
        """Creates a child and opens the wait for its end, both or neither; returns the wait's
        number. SETTLED as of `wait_child`, or with GAVE_UP and type EXISTS."""
    def create_child(
        self,
        no: int,
        incarnation: int,
        begun: int,
        branch: str,
        name: str,
        count: int,
        workflow: str,
        version: str,
        id: str,
        params: bytes | None,
        attributes: bytes | None,
        payload: bytes,
    ) -> int:
        """Creates a child and records that with `payload`, both or neither. SETTLED by ticket with
        OK; or GAVE_UP and type EXISTS, which is recorded too."""
    def create_children(
        self,
        no: int,
        incarnation: int,
        begun: int,
        branch: str,
        name: str,
        count: int,
        workflow: str,
        version: str,
        items: Sequence[tuple[str, bytes | None, bytes | None]],
        payload: bytes,
    ) -> int:
        """Creates all of them (id, params, attributes) and one record. SETTLED by ticket, as of
        `create_child`; an id that is taken, or given twice, is EXISTS, and none is created."""
    def send(
        self,
        no: int,
        incarnation: int,
        begun: int,
        branch: str,
        name: str,
        count: int,
        workflow: str,
        id: str,
        type: str,
        payload: bytes | None,
    ) -> int:
        """Sends an event to another instance of the same namespace and records that in one commit.
        SETTLED by ticket with OK; or GAVE_UP and type NOT_FOUND, STATE or LIMIT (it has EVENTS_MAX
        that nothing waited for), which is recorded too."""
    def withdraw(self, no: int, incarnation: int, number: int) -> None:
        """The body gave up a wait: closes it. An event that it had taken already goes back to its
        old place, and a child that it called is terminated (I8)."""
    def give_back(self, no: int, incarnation: int, seq: int) -> None:
        """On replay the body passed over the event outcome with this seq, because it had given the
        wait up: the event goes back, if that did not happen before the crash (I8)."""
    def quiet(self, no: int, incarnation: int, seq: int) -> None:
        """Every open operation is a wait: the instance may become `waiting` and give its slot back.
        seq: the last record delivered to the body; if a later one is committed already, or no wait
        is open, nothing changes and the instance keeps running. Everything polled so far counts as
        delivered (retry delays leave no record): poll and hand over before any body speaks
        again."""
    def park(self, no: int, incarnation: int) -> bool:
        """Whether the body of a waiting instance may leave memory now. After True it comes back as
        START."""
    def report(self, no: int, incarnation: int, progress: bytes) -> None:
        """Keeps what the body says of its progress, in place of what it said before."""
    def send_chunks(
        self,
        no: int,
        incarnation: int,
        stream: str,
        part: int,
        attempt: int,
        mark: int,
        chunks: Sequence[bytes],
        most: Sequence[int],
        is_heard: bool,
    ) -> int:
        """Adds chunks to a stream; with the mark ENDS, and none, ends a passage. part: the place of
        the record of the body's block; 0: a step sends. most: chunks and bytes that the stream may
        hold. If it is to be heard, DONE when it is durable, at its place in the stream; SETTLED
        with GAVE_UP and LIMIT: the stream is full."""
    def conclude(
        self,
        no: int,
        incarnation: int,
        begun: int,
        identity: tuple[Kind, str, str, str | None, int],
        attempt: int,
        started_at: int,
        payload: bytes | None,
        stream: str,
    ) -> int:
        """As `record` of an OK; the passage that the step sends in this stream ends with it, in the
        same commit, and the record stands for it."""
    def finish(
        self,
        no: int,
        incarnation: int,
        status: int,
        payload: bytes | None,
        version: str | None = None,
    ) -> None:
        """The body ended: `complete` with its output, of the type that this version says, or
        `errored` with its error. Open waits are closed, and children that it called and that have
        not ended are terminated."""
    def hold(self, no: int, incarnation: int) -> None:
        """The body is about to end while attempts that it gave up still run: its slot stays taken
        until `let_go`, or until the engine is gone: nothing of this is durable."""
    def undone(self, no: int, incarnation: int, outcome: str, status: int, error: bytes) -> None:
        """It has undone its steps, outcome "complete", or given up, "failed"; and ends errored or
        terminated, with this error."""
    def block(
        self, no: int, incarnation: int, reason: str, error: bytes, step: str | None = None
    ) -> None:
        """The instance needs a human; it gives its slot back and leaves memory. `resume` replays
        it. step: the name of the step it is about, for `reasons`."""
    def taken_up(self, no: int, incarnation: int) -> None:
        """A body that was interrupted has begun again whatever was open at the end of its history:
        from now on it is not (R3). Durable with its next change of state."""
    def release(self, no: int, incarnation: int) -> None:
        """At shutdown: the body was unwound. The next engine starts it again, not as interrupted,
        and does not count this as an unclean stop (L14)."""
    def now(self) -> int:
        """Wall time of the engine's clock."""
    def monotonic(self) -> int:
        """Time that only goes on, for durations within this process; its zero means nothing."""

@final
class Core(Calls):
    @staticmethod
    def open(
        store: str,
        *,
        name: str,
        workflows: Sequence[tuple[str, str]],
        shards: int | None,
        slots: int,
        namespace: str,
        limits: Sequence[tuple[str, float | None]],
        workflow_limits: Sequence[tuple[str, Sequence[tuple[str, float | None]]]],
        retentions: Sequence[tuple[str, int | None, int | None, int | None]],
        formerly: Sequence[tuple[str, str]],
        virtual_time: int | None,
    ) -> Core:
        """Opens the store (a path, or ":memory:"), recovers and starts the writer.

        workflows: (name, version) of every registered workflow (L12). shards: 1 to 4,096; None: as
        the store has it, 64 for a new one; if it has another number, that is changed at once.
        namespace, limits: what that namespace is opened with; without any value it keeps what is
        stored, with some these are all it has (the others fall back to their defaults).
        workflow_limits: what the code of workflows says, in every namespace; of a name given twice
        the last counts. Limits by name, as `limits` gives them; a value of None is as if it were
        left out. retentions: how long instances of workflows with these names are kept after their
        end in success and in error, None until they are deleted, and how many of those that have
        ended, None any number; of a name given twice the last counts (L9). formerly: names that
        workflows had before, each with that of today, to whom their instances belong when this
        returns. virtual_time: start of a
        virtual clock, or None for the system's. Releases the GIL. Raises CoreError, having changed
        nothing.
        """
    @staticmethod
    def check_limits(limits: Sequence[tuple[str, float | None]]) -> None:
        """Raises CoreError "invalid", with a text that begins with the limit's name, if a name or
        value makes no sense for a namespace."""
    def formerly(self) -> list[tuple[str, str]]:
        """Names that workflows had before, each with that of today, as code or the store says."""
    def crash(self) -> None:
        """Stops as a killed process would: what was not acknowledged is dropped, nothing is marked
        as clean."""
    def reopen(self) -> Core:
        """After `crash`: a new core on the same store (also ":memory:") with the same settings and
        clock, recovered."""
    def close(self) -> None:
        """Commits what was submitted, clears the running marks, closes the store cleanly. Releases
        the GIL."""
    def flush(self) -> None:
        """Wakes the writer for what was submitted since it fell asleep. Submitting alone does so
        only from 256 submissions on: whoever submits many in a row wants them in one commit."""
    def fileno(self) -> int: ...
    def poll(self, starts: int | None = None) -> list[tuple[object, ...]]:
        """Takes all notes but answers beyond 512, and bodies that begin beyond `starts`: those come
        with the next polls, and whatever else concerns a body comes after its START. One counts for
        one more with each 16 records that it is replayed from."""
    def jump(self, by: int) -> None:
        """Virtual clock only: makes the wall time jump, either way; the monotonic time does not
        notice."""
    def next_timer(self) -> int | None:
        """When the earliest timer of any sort is due."""
    def advance(self, to: int) -> None:
        """Virtual clock only: moves time to `to` (never back) and lets everything due by then
        happen."""
    def busy(self) -> bool:
        """Whether something submitted is under way or notes wait to be polled."""
    def arm(self, delay: int) -> int:
        """Starts a timer that is not durable; returns its ticket."""
    def disarm(self, ticket: int) -> None: ...

    # From outside.
    def once(self, id: bytes | None) -> None:
        """The next call has this id; None takes that back. If one with it was made before, in this
        life of the core or another of the last 15 minutes, and changed something, nothing is done,
        and the answer is the one that it had. Creations must name their ids then."""
    def create(
        self,
        namespace: str,
        workflow: str,
        version: str,
        id: str | None,
        params: bytes | None,
        priority: int,
        start_at: int | None,
        attributes: bytes | None,
        keep: tuple[int | None, int | None] | None,
        if_exists: Literal["raise", "return", "return_if_same"],
    ) -> int:
        """REPLY data: (no, id, created: bool, status). Codes: EXISTS, SAME_ID_OTHER_PARAMS,
        OVERLOADED, GIVEN_UP. id: None for one of the core's. attributes: a CBOR map of
        texts to texts, numbers and booleans; else CoreError. keep: how long it is kept after its
        end in success and in error, None until it is deleted; without it, as its workflow's
        retention says."""
    def create_batch(
        self,
        namespace: str,
        workflow: str,
        version: str,
        items: Sequence[
            tuple[
                str | None,
                bytes | None,
                int,
                int | None,
                bytes | None,
                tuple[int | None, int | None] | None,
            ]
        ],
        if_exists: Literal["raise", "return", "return_if_same"],
        wait: bool,
    ) -> int:
        """items: (id, params, priority, start_at, attributes, keep). One durable commit. REPLY
        data: one (code, no, id, created, status) per item; code is "", EXISTS,
        SAME_ID_OTHER_PARAMS or CORRUPT. Codes for all: OVERLOADED, GIVEN_UP, DRAINS. wait: wait for
        room in the queue, and for the creation rate, instead of OVERLOADED."""
    def give_up(self, ticket: int) -> bool:
        """The creation with this ticket is not wanted any more: if it was not let in yet it never
        is, and the REPLY has code GIVEN_UP. Returns False if there will be no REPLY: the engine
        is closed."""
    def end_waiting(self) -> None:
        """Nobody is let in any more who waits for room: REPLY code DRAINS."""
    def send_event(
        self,
        namespace: str,
        workflow: str,
        id: str,
        type: str,
        payload: bytes | None,
        dedup_id: str | None,
    ) -> int:
        """REPLY data: None. Codes: NOT_FOUND, STATE, LIMIT. An event whose `dedup_id` came before
        changes nothing."""
    def request(
        self,
        namespace: str,
        workflow: str,
        id: str,
        type: str,
        payload: bytes | None,
        dedup_id: str,
    ) -> int:
        """As `send_event`; the event wants an answer, which `asked` finds."""
    def decide(
        self,
        approval_id: str,
        namespace: str,
        workflow: str,
        id: str,
        name: str,
        approved: bool,
        decision: bytes,
        by: By,
    ) -> int:
        """REPLY data: bool, whether this decision was the first. Codes: NOT_FOUND, STATE. It may
        come before the body asks."""
    def resume(
        self,
        namespace: str,
        workflow: str,
        id: str,
        by: By,
        to_version: str | None,
        forgets: Sequence[int],
    ) -> int:
        """Lets a paused or blocked instance go on; after a pause whatever lasts a while lasts as
        much longer, but for sleeps that are fixed. to_version: the version that it has from then
        on. forgets: of a blocked one, places of its history that count no more, ascending. REPLY
        data: None. Codes: NOT_FOUND, STATE (also for another version of one that is neither paused
        nor blocked), and MISSING_CODE if there is no code for it, which changes nothing."""
    def pause(self, namespace: str, workflow: str, id: str, by: By) -> int:
        """Nothing of an instance begins any more. REPLY data: None; one that runs is
        waiting_for_pause then, and its body is told to PAUSE. Codes: NOT_FOUND, STATE."""
    def terminate(
        self, namespace: str, workflow: str, id: str, why: str, undo: bool, by: By
    ) -> int:
        """Ends an instance that is not final, and those it called. REPLY data: None; then its body,
        if it was in memory, has been told to UNWIND. Codes: NOT_FOUND, STATE. why: the text of the
        error that everybody is told who waits for it. undo: it first undoes its steps (L8), and the
        REPLY comes when that it is to is durable. A body that runs gets UNDOES, one that waits
        UNWIND; then it STARTs again, and its history has a STARTED of kind UNDO without a name,
        whose payload is that error: what was recorded before it is what the body was given."""
    def restart(
        self,
        namespace: str,
        workflow: str,
        id: str,
        from_: tuple[Kind, str, str, str | None, int] | Literal["failed"] | None,
        by: By,
    ) -> int:
        """Begins an instance anew, ended or not, under a new incarnation; its body, if there is
        one, is told to UNWIND, and STARTs again. from_: the operation before which all that had
        begun is kept; "failed": all is kept but what the `faults` of its error name. Codes:
        NOT_FOUND, NO_STEP, NOTHING_FAILED (its state), MISSING_CODE."""
    def rewind(
        self,
        namespace: str,
        workflow: str,
        id: str,
        from_: tuple[Kind, str, str, str | None, int] | Literal["failed"] | None,
    ) -> int:
        """Says what `restart` would keep: (code, state, records, ranges of places that are kept,
        whether the clock was asked); with a code the last three are None. None: there is no such
        instance."""
    def delete(self, namespace: str, workflow: str, id: str, by: By) -> int:
        """Removes an instance, ended or not, and everything of it. Watches of it are told GONE.
        Codes: NOT_FOUND."""
    def retry_now(self, namespace: str, workflow: str, id: str, by: By) -> int:
        """The retry delays of an instance are over. REPLY data: None, also if it has none, or a
        human has to act first. Codes: NOT_FOUND, STATE."""
    def set_priority(self, namespace: str, workflow: str, id: str, priority: int, by: By) -> int:
        """A queued instance is queued with this priority, by its age among those that have it.
        REPLY data: None. Codes: NOT_FOUND, STATE if it is not queued."""
    def resolve(
        self,
        namespace: str,
        workflow: str,
        id: str,
        operation: tuple[Kind, str, str, str | None, int],
        failed: bool,
        payload: bytes,
        by: By,
    ) -> int:
        """Gives a step this outcome, of an instance that is queued, waits, is paused or blocked; if
        its body is in memory it is unwound, and replayed. REPLY data: None. Codes: NOT_FOUND,
        STATE, NO_STEP if it was never attempted, RESOLVED if it has an outcome that the instance is
        not blocked for."""
    def start_now(self, namespace: str, workflow: str, id: str, by: By) -> int:
        """A queued instance waits no longer for its `start_at`. REPLY data: None, also if it has
        none. Codes: NOT_FOUND, STATE if it is not queued."""
    def stand(self, namespace: str, workflow: str, id: str, priority: int) -> int:
        """REPLY data: (state, None if it is final; how many go before it; [(in use, limit) of the
        engine's, the namespace's and the workflow's slots])."""
    def reshard(self, shards: int) -> int:
        """Changes the number of shards while everything goes on. REPLY data: None, when it is done
        and durable. Codes: INVALID for less than 1 or more than SHARDS_MAX, UNDER_WAY while another
        change is, CLOSED. After a crash half-way, `open` with shards=None ends it."""
    def set_limits(
        self,
        namespace: str,
        workflow: str | None,
        changes: Sequence[tuple[str, float | None]],
        by: By,
    ) -> int:
        """Sets limits of a namespace or of one workflow in it, live and durable; None clears one.
        In force for all that is submitted after this; shown when the REPLY comes. One below what is
        in use drains down. A workflow may have concurrency, queue_entries, steps and value_bytes of
        its own. REPLY data: None. Codes: INVALID if a name or value makes no sense or nobody has
        heard of the workflow; nothing is changed then."""
    def open_namespace(self, namespace: str, limits: Sequence[tuple[str, float | None]]) -> None:
        """Says what a namespace is opened with, as `open` does for the first. It may be used
        before, or without. In force for everything that is submitted after this, and shown by
        `limits` at once. CoreError "invalid" if there are too many."""
    def limits(self, namespace: str, workflow: str | None) -> list[tuple[str, float | None]]:
        """The limits in force, from memory, without waiting: concurrency, queue_entries,
        create_rate, create_burst, steps, value_bytes, instance_bytes, recoveries,
        stream_bytes, stream_chunks, chunk_bytes; None: no limit.
        Strongest first: set live for the workflow, its code, set live for the namespace, what that
        was opened with, the default. Of concurrency the lesser of the workflow's and the
        namespace's. Whole numbers are ints."""
    def watch(self, no: int) -> None:
        """From now on CHANGED notes come for this instance; counted."""
    def unwatch(self, no: int) -> None: ...
    def listen(self, no: int) -> None:
        """As `watch`; RECORDED, PROGRESS and STREAMED notes come, too."""
    def ignore(self, no: int) -> None:
        """Takes one `listen` back."""
    def change_epoch(self) -> int:
        """What tells the places of changes of this store from those of another."""
    def await_change(self, place: int) -> bool:
        """Whether the place of the last change is another by now; if not, a NEWS note comes with
        the next."""
    def peek(self, namespace: str, workflow: str, id: str) -> int | None:
        """State of a non-final instance, from memory, without waiting; None: final or unknown."""
    def number(self, namespace: str, workflow: str, id: str) -> int | None:
        """Number of a non-final instance, from memory, without waiting; None: final or unknown."""
    def statistics(self) -> dict[str, int]: ...
    def workflow_statistics(self) -> list[tuple[str, str, int, int, int, int, int, int, int, int]]:
        """(namespace, workflow, leased, queued, waiting, paused, blocked, created, started, ended)
        of every workflow that has or had instances or code, as committed last, from memory. leased:
        its slots; started: slots given to it, `created`, `started` and `ended` since the engine
        opened."""
    def slots_freed(self, namespace: str, workflow: str) -> tuple[int, int]:
        """How many slots the workflow gave back within the last five minutes, as committed last,
        and how long that window is up to now, in microseconds: 290 to 300 seconds."""
    def counts(self, namespace: str | None, workflow: str | None) -> list[tuple[int, int]]:
        """(status, number) for every state that any instance is in, final ones too; None: of all.
        As committed last, from memory."""
    def versions(
        self, namespace: str | None, workflow: str | None
    ) -> list[tuple[str, str, list[int]]]:
        """(workflow, version, number in each state, in the order of STATES) of every version that
        any instance has, final ones too; None: of all. As committed last, from memory."""
    def suspected(self) -> list[tuple[str, str, str, int]]:
        """(namespace, workflow, id, status) of those that were tried because they may kill the
        process, and had ended or gone to wait less than a second before it died the last time
        (L11)."""
    def found(self) -> int:
        """Number of the last record that was there when the engine was opened: what came after it,
        no body of an earlier process has seen."""
    def unreadable(self) -> list[str]:
        """What there is to say of instances whose own rows could not be read when the engine
        opened; they are left as they are."""
    def overdue(self) -> tuple[int, int] | None:
        """How many instances go by the first retention that this store was opened with, and when
        the first of them does; None if it is not the first, or none would go."""
    def blocked(self, namespace: str | None, workflow: str | None) -> list[tuple[str, str, int]]:
        """(code, version, number) of blocked instances by why they are; None: of all. As committed
        last, from memory."""

    # Slow reads, answered by a thread of the core. All of one answer is from one moment, and what
    # notes have told is in it.
    def find(self, namespace: str, workflow: str, id: str, payloads: bool) -> int:
        """REPLY data: Row | None (payload columns None unless asked for)."""
    def list(
        self,
        namespace: str | None,
        workflow: str | None,
        statuses: Sequence[int],
        version: str | None,
        reason: tuple[str, tuple[int | None, str | None, str | None] | None] | None,
        parent: tuple[str | None, str] | None,
        created_after: int | None,
        created_before: int | None,
        beyond: int | None,
        newest_first: bool,
        limit: int,
        attributes: Sequence[tuple[str, bytes]] = ...,
        id_prefix: str | None = None,
        budget: int | None = None,
        schedule: str | None = None,
    ) -> int:
        """REPLY data: (list[Row], with progress and attributes, and None or (number, created_at)).
        reason: only those that are counted as this one, a code of `reasons`; and of one row of it
        its state, step and class of the error.
        budget: most rows that are looked at where no index leads to those that are wanted; if that
        ends the search before the page is full, the last that was looked at comes along. parent:
        only children of the one with this id, of this workflow or of any. id_prefix: only those
        whose ids begin like this. schedule: only those that the schedule with this id created.
        attributes: only instances that have
        all of these, by an index; each a key and its value as it is encoded inside the map that
        `create` was given."""
    def reasons(self, namespace: str | None, workflow: str | None) -> int:
        """REPLY data: list[(workflow, version, status, code, step, class of the error, number,
        since, next, id of one)], the most frequent first; None: of all. All but the ids is from
        memory, as committed last. Not there for all groups: workflow, version and status, which are
        None beyond a thousand of them, in one row of all others (OTHER)."""
    def changes(self, namespace: str, place: int, limit: int) -> int:
        """REPLY data: (whether something between this place and these is not known any more,
        list[(place, workflow, id, status, updated_at)] of instances that changed after it, each
        once and as it is now, the place up to which that is all). Places go on over the
        lives of a store."""
    def asked(self, namespace: str, workflow: str, id: str, dedup_id: str) -> int:
        """REPLY data: (Row with payloads, whether an event with this `dedup_id` came that wants an
        answer, the answer or None if there is none yet), or None."""
    def history(self, no: int) -> int:
        """REPLY data: (Row without payloads, list[Record]) of one moment, or None."""
    def stream(
        self,
        namespace: str,
        workflow: str,
        id: str,
        stream: str,
        incarnation: int,
        after: int,
        limit: int,
    ) -> int:
        """REPLY data: (no, incarnation, state, list[Chunks]) of one moment, or None: at most so
        many rows, from the one on that holds the chunk after this place, if the instance is of this
        incarnation, else from the first on."""
    def approvals(
        self,
        namespace: str | None,
        workflow: str | None,
        status: int | None,
        beyond: int | None,
        limit: int,
        budget: int | None,
    ) -> int:
        """REPLY data: (list[(approval_id, namespace, workflow, instance_id, name, detail, asked_at,
        until, status, decision, number)], None or the number of the last that was looked at if
        that ended the search); status: the place of its word in APPROVALS. By number, only those
        beyond this one."""
    def begin_bulk(
        self,
        namespace: str,
        operation: str,
        workflow: str | None,
        filter: str,
        frontier: int | None,
        what: bytes,
        by: By,
    ) -> int:
        """Begins to do something to many instances, which whoever calls this finds and hands over
        with `do_part`. REPLY data: its number, which is above those of all instances that are
        there; then it is durable, and in the audit. operation: pause, resume, terminate, retry_now,
        restart, delete, send_event, approve or reject. filter: which instances, in words; what:
        whatever is needed to go on with it; frontier: the highest instance number that it is about,
        if not all."""
    def do_part(
        self,
        number: int,
        operation: str,
        namespace: str,
        items: Sequence[tuple[int, str, str, tuple[str, str] | None]],
        text: str | None,
        payload: bytes | None,
        states: Sequence[int],
        place: int,
        ends: bool,
        payloads: Sequence[bytes] | None = None,
        forgets: Sequence[Sequence[int]] | None = None,
    ) -> int:
        """Does it to some: each item is (place that is reached with it, workflow, id, and (id,
        name) of an approval). Whoever is in none of these states by now is passed over. Each commit
        has what was done and the place that it reached; the REPLY comes when all of them are done.
        text: what a terminate (or "undo", one that undoes first) tells, where a restart begins
        ("failed", or None), an event's type, or as which version a resume goes on; forgets: of each
        item the places of records that it has no more when it goes on; payload: an event's, or a
        decision; payloads: the same, of each item its own. place: what is reached with all of them,
        and ends: whether that is the end. REPLY data: ([(place, code, data)] of those that refused
        it, how many it has changed so far). Codes: NOT_FOUND, it has ended or was stopped."""
    def large(self, keeps: Sequence[bytes], forgets: Sequence[bytes]) -> int:
        """Keeps keys, of 16 bytes each, under which values are about to be put into a payload
        store, and forgets others. A payload that begins with ff 06 and then a key names that value.
        REPLY data: None."""
    def loose(self, beyond: bytes | None, limit: int) -> int:
        """REPLY data: (keys that were kept and that no stored payload names, of the next few beyond
        this one; the last that was looked at, if there may be others beyond it). None while there
        are letters, in which there may be some."""
    def stop_bulk(self, number: int, by: By) -> int:
        """Nothing more of it is done. REPLY data: None. Codes: NOT_FOUND, it has ended."""
    def bulks(
        self,
        namespace: str | None,
        number: int | None,
        open: bool,
        beyond: int | None,
        limit: int,
    ) -> int:
        """REPLY data: what is done to many, newest first, below `beyond`; open: only what has not
        ended. Each is (number, namespace, operation, workflow, filter, actor, note, frontier, what,
        place, done, [(code, how many refused it)], stopped, began_at, ended_at), or (number, why)
        if it cannot be read. They are kept for 30 days after their end."""
    def change_schedule(
        self,
        namespace: str,
        id: str,
        revision: int,
        becomes: tuple[int | None, bytes, bytes | None] | None,
        firings: Sequence[tuple[int, int | None, str, str | None, str | None]],
        creates: tuple[str, str, bytes | None, Sequence[str]] | None,
        audited: tuple[By, str, str, str | None, str] | None,
        params: Sequence[bytes] | None = None,
    ) -> int:
        """Changes a schedule, all of this or nothing, in one commit. revision: of what was seen; 0:
        there was none. becomes: (when it is to be looked at next, with a SCHEDULE note; how far it
        is; what it is, or None: as it was); None: it is gone, with its firings. firings: (time, the
        last of several in a row, outcome, why, id of its instance) each. creates: (workflow,
        version, params, ids) of instances; one that is there already is left as it is. params: of
        each of them its own. audited: (who, operation, workflow, id of the instance that this
        created, what came of it). REPLY data: its number. Codes: OUTDATED, LIMIT (SCHEDULES),
        OVERLOADED."""
    def schedules(self, namespace: str | None, id: str | None, beyond: int, limit: int) -> int:
        """REPLY data: schedules in the order of their numbers, from above `beyond`, of a namespace
        or all. Each is (number, namespace, id, revision, next, how far it is, what it is), or
        (number, why) if it cannot be read."""
    def firings(self, schedule: int, beyond: int | None, limit: int) -> int:
        """REPLY data: what came of the times of the schedule with this number, the last decided
        first, from below `beyond`. Each is (number, time, the last of several in a row, decided_at,
        outcome, why, id), or (number, why) if it cannot be read. The last 10,000 are kept."""
    def audit(
        self,
        namespace: str,
        workflow: str | None,
        id: str | None,
        beyond: int | None,
        limit: int,
    ) -> int:
        """REPLY data: (rows, down to which number was searched or None if that is all): who did
        what, newest first, below `beyond`. A row is (number, at, actor, note, operation, workflow,
        id, filter, result); one that cannot be read has why as its result, and nothing else but its
        number. Whatever takes a By writes a row in the commit of what it does, if that changes
        anything."""

    def backup(self, path: str) -> int:
        """Copies the running store to a new file, in a thread of its own. REPLY data: None. Codes:
        INVALID if the path cannot be used, CLOSED. Raises CoreError "invalid" for a
        store in memory."""

    # For bodies, by whoever looks after them.
    def paused(self, no: int, incarnation: int) -> None:
        """After PAUSE: what ran of the body has ended, and it was unwound; this is the last that is
        said for it. If the instance was resumed meanwhile, it is queued, and begins again from its
        history."""
    def undoes(self, no: int, incarnation: int, error: bytes | None) -> None:
        """What ran of the body has ended, and it was unwound, or had raised; this is the last that
        is said for it. The instance is queued, STARTs again from its history, and undoes its steps:
        because of this error, or with None because it got UNDOES."""
    def continue_as_new(
        self,
        no: int,
        incarnation: int,
        params: bytes | None,
        run: int,
        limit: tuple[Kind, str, str, str | None, int] | None,
        untold: Sequence[int],
        passed: Sequence[int],
    ) -> None:
        """The body has left, nothing of it runs any more, and this is the last that is said for it:
        in one commit the instance begins anew, under another incarnation, with these params (None:
        its workflow takes none), and a history that begins with an OK of kind CONTINUED that has
        the number of the run (from 2) in place of an occurrence. It keeps its slot and STARTs; one
        that is to pause is paused. Open waits are closed, and children that it called are
        terminated, as by `finish`; but the deadline `limit` goes on where it was, under another
        number: one that is not open was over. Events that were taken by the waits `untold`, or by
        records at the places `passed`, are kept again. One that got UNDOES undoes its steps
        instead."""
    def let_go(self, no: int) -> None:
        """The last of those attempts has ended. For an instance that holds no slot, nothing."""
    def replay(self, no: int, incarnation: int) -> None:
        """The body was unwound to stop an attempt: the instance gives its slot back and is queued,
        to run again from its history."""

@final
class StoreFile:
    """A store that is looked at, whoever owns it, and stays as it is: nothing is written, and no
    file comes to lie beside it. The calls are the "slow reads" of `Core` and what it has in memory,
    with the same arguments; each returns at once what comes there with the REPLY, and may take
    seconds, without the GIL. Each opens the store and closes it again.

    If no engine owns it, nothing is locked; what changes while it is read, because an engine opens,
    is read anew. Instances are as they are stored: one that ran when its engine was killed is
    running. Counted as STARTING is whoever is queued and not held up by anything but that no engine
    runs. Where there is no store, the answer is empty, and `seen` says so.

    Raises CoreError from each call: "version", another version of the schema, also an older one;
    "corrupt"; "failed", it cannot be read; "invalid", the path cannot be one of a file."""

    def __new__(cls, store: str) -> StoreFile:
        """Opens nothing."""
    def seen(self) -> tuple[tuple[int, str] | None, int | None, bool] | None:
        """Of the last answer: ((process, name) of the engine that owns the store, or None; when
        something was recorded last; whether the last engine ended in order). None: there is no
        store."""
    def names(self) -> list[tuple[str, str, str]]:
        """(namespace, workflow, version) of whatever was created, in that order."""
    def counts(self, namespace: str | None, workflow: str | None) -> list[tuple[int, int]]: ...
    def versions(
        self, namespace: str | None, workflow: str | None
    ) -> list[tuple[str, str, list[int]]]: ...
    def reasons(
        self, namespace: str | None, workflow: str | None
    ) -> Sequence[tuple[object, ...]]: ...
    def find(
        self, namespace: str, workflow: str, id: str, payloads: bool
    ) -> tuple[object, ...] | None: ...
    def list(
        self,
        namespace: str | None,
        workflow: str | None,
        statuses: Sequence[int],
        version: str | None,
        reason: tuple[str, tuple[int | None, str | None, str | None] | None] | None,
        parent: tuple[str | None, str] | None,
        created_after: int | None,
        created_before: int | None,
        beyond: int | None,
        newest_first: bool,
        limit: int,
        attributes: Sequence[tuple[str, bytes]] = ...,
        id_prefix: str | None = None,
        budget: int | None = None,
        schedule: str | None = None,
    ) -> tuple[Sequence[Row], tuple[int, int] | None]: ...
    def history(self, no: int) -> tuple[Row, Sequence[Record]] | None: ...
    def stream(
        self,
        namespace: str,
        workflow: str,
        id: str,
        stream: str,
        incarnation: int,
        after: int,
        limit: int,
    ) -> tuple[int, int, int, Sequence[Chunks]] | None: ...
    def approvals(
        self,
        namespace: str | None,
        workflow: str | None,
        status: int | None,
        beyond: int | None,
        limit: int,
        budget: int | None,
    ) -> tuple[Sequence[tuple[object, ...]], int | None]: ...
    def bulks(
        self,
        namespace: str | None,
        number: int | None,
        open: bool,
        beyond: int | None,
        limit: int,
    ) -> Sequence[tuple[object, ...]]: ...
    def audit(
        self,
        namespace: str,
        workflow: str | None,
        id: str | None,
        beyond: int | None,
        limit: int,
    ) -> tuple[Sequence[tuple[object, ...]], int | None]: ...
    def schedules(
        self, namespace: str | None, id: str | None, beyond: int, limit: int
    ) -> Sequence[tuple[object, ...]]: ...
    def firings(
        self, schedule: int, beyond: int | None, limit: int
    ) -> Sequence[tuple[object, ...]]: ...
