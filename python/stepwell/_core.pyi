"""The border between Python and the Rust core.

Hand-written, checked against the extension in CI. Everything that crosses is an int, str, bytes,
bool, None, or a list or tuple of those; payloads are opaque bytes. All times are microseconds since
1970-01-01 UTC. The core keeps no Python object and never calls Python: it writes one byte to the
socket behind `fileno()` when notes are there, and `poll()` takes them.

A call that changes something returns at once with a ticket (or the number of the wait it opens);
the note with that number comes when the change is durable, never earlier. Notes come in the order
in which the changes were committed.

An operation of an instance is named by (branch, name, key, count); `kind` and `verdict` are the
codes in `rust/core/src/history.rs`, states those in `rust/core/src/lifecycle.rs`.
"""

from collections.abc import Sequence
from typing import Literal, TypeAlias, final

__version__: str

# Notes, by their first element.
DONE: int
"""(DONE, at, [ticket, ...]): these records are durable, all recorded at `at`."""
REPLY: int
"""(REPLY, ticket, code, data): the answer to a call that returns something. code is "" on success,
else an error code with data for its message (see `ERRORS`)."""
START: int
"""(START, Start): run this body, from the top. The instance has a slot and is marked as running."""
WAKE: int
"""(WAKE, no, incarnation): a resident instance that was waiting has a slot again and may go on."""
SETTLED: int
"""(SETTLED, no, number, seq, verdict, type, payload, at, came_at): a wait, or a ticket whose
outcome only the core knows (create_child, create_children, send), has its outcome; came_at: when
the event or the decision came that it is. A body without a slot is told only after its WAKE. After
a START some may repeat what its records say (seq <= the last one), or name a wait it does not list:
ignore those."""
TIMER: int
"""(TIMER, ticket): an `arm`ed timer is due."""
CHANGED: int
"""(CHANGED, no, status, reason, payload): a watched instance changed state; payload: output or
error, when final or blocked."""
UNWIND: int
"""(UNWIND, no, incarnation): this incarnation may not go on: unwind its body, record nothing
more."""
FENCED: int
"""(FENCED, ticket): a record came too late and changed nothing (D6)."""
IDLE: int
"""(IDLE,): on a virtual clock only: everything submitted before the last poll is done and nothing
is under way."""
FAILED: int
"""(FAILED, kind, message): the engine is poisoned; nothing will be acknowledged any more. kind:
"failed", "corrupt", "internal"."""
HINDERED: int
"""(HINDERED, now, message): the disk is full or another program locks the store (now: True), or no
longer (False). What was submitted is kept, and goes on by itself; nothing acknowledged is lost.
While the disk is full, creations are "overloaded" (limit "disk")."""

Record: TypeAlias = tuple[
    int, int, str, str, str | None, int, int, int, int, int, int | None, str | None, bytes | None
]
"""(seq, kind, branch, name, key, count, attempt, verdict, started_at, at, moment, event_type,
payload): moment: after a failed attempt when the next is due, of an event or a decision when it
came."""
Wait: TypeAlias = tuple[int, int, str, str, str | None, int, int, int | None]
"""(number, kind, branch, name, key, count, opened_at, until): kind 0 (do) is a retry delay."""
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
    int,
    bool,
    tuple[Record, ...],
    tuple[Wait, ...],
]
"""(no, incarnation, namespace, workflow, version, id, params, attributes, created_at, parent,
format, interrupted, records, waits)

`format`: which rules the instance keeps for life, so that what it recorded replays: 0 if it is from
before schema 3, else 1. `interrupted`: the engine stopped uncleanly while this body could run
(R3)."""
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
]
"""(no, namespace, workflow, version, id, status, reason, created_at, started_at, ended_at,
updated_at, parent, params, result, progress, attributes, priority, start_at, waits): an instance at
one moment; its waits go on with (child, types, approval): which child is waited for, as (workflow,
id, status, reason), events of which types, and the id of the approval."""

ERRORS: tuple[str, ...]
"""Codes in a REPLY: "not_found", "exists" (data: no, status), "state" (data: status),
"missing_code" (data: message), "overloaded" (data: limit name, retry_after in microseconds),
"limit" (data: limit name, value), "closed", "store", "corrupt", "invalid" (data: message),
"same_id_other_params"."""

class CoreError(Exception):
    """args: (kind, message); kind is "locked", "version", "corrupt", "failed", "invalid", "closed"
    or "internal"."""

@final
class Core:
    @staticmethod
    def open(
        store: str,
        *,
        owner: str,
        workflows: Sequence[tuple[str, str]],
        shards: int | None,
        slots: int,
        namespace: str,
        limits: Sequence[tuple[str, float | None]],
        workflow_limits: Sequence[tuple[str, Sequence[tuple[str, float | None]]]],
        virtual_time: int | None,
    ) -> Core:
        """Opens the store (a path, or ":memory:"), recovers and starts the writer.

        workflows: (name, version) of every registered workflow (L12). shards: 1 to 4,096; None: as
        the store has it, 64 for a new one; if it has another number, that is changed at once.
        namespace, limits: what that namespace is opened with; without any value it keeps what is
        stored, with some these are all it has (the others fall back to their defaults).
        workflow_limits: what the code of workflows says, in every namespace; of a name given twice
        the last counts. Limits by name, as `limits` gives them; a value of None is as if it were
        left out. virtual_time: start of a virtual clock, or None for the system's. Releases the
        GIL. Raises CoreError, having changed nothing.
        """
    @staticmethod
    def check_limits(limits: Sequence[tuple[str, float | None]]) -> None:
        """Raises CoreError "invalid", with a text that begins with the limit's name, if a name or
        value makes no sense for a namespace."""
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
    def now(self) -> int:
        """Wall time of the engine's clock."""
    def monotonic(self) -> int:
        """Time that only goes on, for durations within this process; its zero means nothing."""
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

    # From outside: REPLY.
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
        if_exists: Literal["raise", "return", "return_if_same"],
    ) -> int:
        """REPLY data: (no, id, created: bool, status). attributes: a CBOR map of texts to texts,
        numbers and booleans; else CoreError."""
    def create_batch(
        self,
        namespace: str,
        workflow: str,
        version: str,
        items: Sequence[tuple[str | None, bytes | None, int, int | None, bytes | None]],
        if_exists: Literal["raise", "return", "return_if_same"],
        wait: bool,
    ) -> int:
        """items: (id, params, priority, start_at, attributes). One durable commit. REPLY data: one
        (code, no, id, created, status) per item; code as in `ERRORS`. wait: wait for room in the
        queue, and for the creation rate, instead of "overloaded"."""
    def give_up(self, ticket: int) -> bool:
        """The creation with this ticket is not wanted any more: if it was not let in yet it never
        is, and the REPLY has code "given_up". Returns False if there will be no REPLY: the engine
        is closed."""
    def end_waiting(self) -> None:
        """Nobody is let in any more who waits for room: REPLY code "drains"."""
    def send_event(
        self,
        namespace: str,
        workflow: str,
        id: str,
        type: str,
        payload: bytes | None,
        dedup_id: str | None,
    ) -> int:
        """REPLY data: None."""
    def decide(
        self,
        approval_id: str,
        namespace: str,
        workflow: str,
        id: str,
        name: str,
        approved: bool,
        decision: bytes,
    ) -> int:
        """REPLY data: bool, whether this decision was the first."""
    def resume(self, namespace: str, workflow: str, id: str) -> int:
        """REPLY data: None; code "missing_code" (data: message) if there is no code for it, which
        changes nothing."""
    def terminate(self, namespace: str, workflow: str, id: str, why: str) -> int:
        """Ends an instance that is not final, and those it called. REPLY data: None; then its body,
        if it was in memory, has been told to UNWIND. `why`: the text of the error that everybody is
        told who waits for it."""
    def retry_now(self, namespace: str, workflow: str, id: str) -> int:
        """The retry delays of an instance are over. REPLY data: None, also if it has none, or a
        human has to act first."""
    def stand(self, namespace: str, workflow: str, id: str, priority: int) -> int:
        """REPLY data: (state, None if it is final; how many go before it; [(in use, limit) of the
        engine's, the namespace's and the workflow's slots])."""
    def reshard(self, shards: int) -> int:
        """Changes the number of shards while everything goes on. REPLY data: None, when it is done
        and durable; code "invalid" (data: message) for less than 1 or more than 4,096, and while
        another change is under way. After a crash half-way, `open` with shards=None ends it."""
    def set_limits(
        self, namespace: str, workflow: str | None, changes: Sequence[tuple[str, float | None]]
    ) -> int:
        """Sets limits of a namespace or of one workflow in it, live and durable; None clears one.
        In force for all that is submitted after this; shown when the REPLY comes. One below what is
        in use drains down. A workflow may have concurrency, queue_entries, steps and value_bytes of
        its own. REPLY data: None; code "invalid" if a name or value makes no sense or nobody has
        heard of the workflow: nothing is changed then."""
    def open_namespace(self, namespace: str, limits: Sequence[tuple[str, float | None]]) -> None:
        """Says what a namespace is opened with, as `open` does for the first. It may be used
        before, or without. In force for everything that is submitted after this, and shown by
        `limits` at once. CoreError "invalid" if there are too many."""
    def limits(self, namespace: str, workflow: str | None) -> list[tuple[str, float | None]]:
        """The limits in force, from memory, without waiting: concurrency, queue_entries,
        create_rate, create_burst, steps, value_bytes, instance_bytes, recoveries; None: no limit.
        Strongest first: set live for the workflow, its code, set live for the namespace, what that
        was opened with, the default. Of concurrency the lesser of the workflow's and the
        namespace's. Whole numbers are ints."""
    def watch(self, no: int) -> None:
        """From now on CHANGED notes come for this instance; counted."""
    def unwatch(self, no: int) -> None: ...
    def peek(self, namespace: str, workflow: str, id: str) -> int | None:
        """State of a non-final instance, from memory, without waiting; None: final or unknown."""
    def statistics(self) -> dict[str, int]: ...
    def workflow_statistics(self) -> list[tuple[str, str, int, int, int, int, int, int, int, int]]:
        """(namespace, workflow, leased, queued, waiting, paused, blocked, created, started, ended)
        of every workflow that has or had instances or code, as committed last, from memory. leased:
        its slots; started: slots given to it, `created`, `started` and `ended` since the engine
        opened."""
    def counts(self, namespace: str | None, workflow: str | None) -> list[tuple[int, int]]:
        """(status, number) for every state that any instance is in, final ones too; None: of all.
        As committed last, from memory."""
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
    def reasons(
        self, namespace: str | None, workflow: str | None
    ) -> list[tuple[str, str | None, str, int, str]]:
        """(code, step, version, number, id of the oldest) of blocked instances by why they are, the
        most frequent reason first; None: of all. As committed last, from memory."""

    # Slow reads, answered by a thread of the core: REPLY. All of one answer is from one moment.
    def find(self, namespace: str, workflow: str, id: str, payloads: bool) -> int:
        """REPLY data: Row | None (payload columns None unless asked for)."""
    def list(
        self,
        namespace: str | None,
        workflow: str | None,
        statuses: Sequence[int],
        version: str | None,
        reason: str | None,
        parent: int | None,
        created_after: int | None,
        created_before: int | None,
        beyond: int | None,
        newest_first: bool,
        limit: int,
        attributes: Sequence[tuple[str, bytes]] = ...,
    ) -> int:
        """REPLY data: list[Row], with progress and attributes. attributes: only instances that have
        all of these, by an index; each a key and its value as it is encoded inside the map that
        `create` was given."""
    def history(self, no: int) -> int:
        """REPLY data: (Row without payloads, list[Record]) of one moment, or None."""
    def approvals(self, namespace: str | None, workflow: str | None, status: int | None) -> int:
        """REPLY data: list[(approval_id, namespace, workflow, instance_id, name, detail, asked_at,
        until, status, decision)]; status: 0 open, 1 approved, 2 rejected, 3 timed out, 4
        withdrawn."""

    def backup(self, path: str) -> int:
        """Copies the running store to a new file, in a thread of its own. REPLY data: None; code
        "invalid" if the path cannot be used. Raises CoreError "invalid" for a store in memory."""

    # From the body of a running instance. Each carries (no, incarnation) and is dropped if they are
    # outdated.
    def record(
        self,
        no: int,
        incarnation: int,
        identity: tuple[int, str, str, str | None, int],
        attempt: int,
        verdict: int,
        started_at: int,
        payload: bytes | None,
        erases: int | None = None,
    ) -> int:
        """Appends a record of the operation with this (kind, branch, name, key, count). Answered by
        DONE (or FENCED). erases: with verdict 8, attempts from this one to `attempt` count no
        more."""
    def retry(
        self,
        no: int,
        incarnation: int,
        identity: tuple[int, str, str, str | None, int],
        attempt: int,
        started_at: int,
        error: bytes,
        retry_at: int,
    ) -> int:
        """Records a failed attempt and opens its retry delay; returns the wait's number. SETTLED
        when the delay is over."""
    def sleep(
        self, no: int, incarnation: int, kind: int, branch: str, name: str, count: int, until: int
    ) -> int:
        """Opens a sleep or a deadline, which end by the clock alone; returns the wait's number."""
    def wait_event(
        self,
        no: int,
        incarnation: int,
        branch: str,
        name: str,
        count: int,
        types: Sequence[str],
        until: int,
    ) -> int: ...
    def wait_approval(
        self,
        no: int,
        incarnation: int,
        branch: str,
        name: str,
        count: int,
        approval_id: str,
        detail: bytes | None,
        until: int,
    ) -> int: ...
    def wait_child(
        self, no: int, incarnation: int, branch: str, name: str, count: int, workflow: str, id: str
    ) -> int:
        """Waits for the end of another instance of the same namespace. Settled with verdict 0, its
        output and as type its version, or 1 and its error (payload None and type "not_found" if
        there is none; type "terminated" if it was terminated)."""
    def call(
        self,
        no: int,
        incarnation: int,
        branch: str,
        name: str,
        count: int,
        workflow: str,
        version: str,
        id: str,
        params: bytes | None,
    ) -> int:
        """Creates a child and opens the wait for its end, both or neither. As wait_child; type
        "exists" if the id is taken."""
    def create_child(
        self,
        no: int,
        incarnation: int,
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
        """Creates a child and records that with `payload`, both or neither. SETTLED by ticket:
        verdict 0, or 1 with type "exists"."""
    def create_children(
        self,
        no: int,
        incarnation: int,
        branch: str,
        name: str,
        count: int,
        workflow: str,
        version: str,
        items: Sequence[tuple[str, bytes | None, bytes | None]],
        payload: bytes,
    ) -> int:
        """Creates all of them (id, params, attributes) and one record. SETTLED by ticket; an id
        that is taken, or given twice, fails the record with type "exists" and creates none."""
    def send(
        self,
        no: int,
        incarnation: int,
        branch: str,
        name: str,
        count: int,
        workflow: str,
        id: str,
        type: str,
        payload: bytes | None,
    ) -> int:
        """Sends an event to another instance and records that in one commit. SETTLED by ticket:
        verdict 0, or 1 with type "not_found" or "state"."""
    def withdraw(self, no: int, incarnation: int, number: int) -> None:
        """The body gave up a wait: closes it; an event it had already taken goes back to its old
        place (I8)."""
    def give_back(self, no: int, incarnation: int, seq: int) -> None:
        """On replay the body passed over the event outcome with this seq, because it had given the
        wait up: the event goes back, if that did not happen before the crash (I8)."""
    def quiet(self, no: int, incarnation: int, seq: int) -> None:
        """Every open operation is a wait: the instance may become `waiting` and give its slot back.
        seq: the last record delivered to the body; if a later one is committed already, nothing
        changes and the instance keeps running. Everything polled so far counts as delivered (retry
        delays leave no record): poll and hand over before any body speaks again."""
    def park(self, no: int, incarnation: int) -> bool:
        """Whether the body of a waiting instance may leave memory now. After True it comes back as
        START."""
    def report(self, no: int, incarnation: int, progress: bytes) -> None: ...
    def finish(
        self,
        no: int,
        incarnation: int,
        status: int,
        payload: bytes | None,
        version: str | None = None,
    ) -> None:
        """The body ended: `complete` with its output, of the type that this version says, or
        `errored` with its error. Open waits are closed."""
    def hold(self, no: int, incarnation: int) -> None:
        """The body is about to end while attempts that it gave up still run: its slot stays taken
        until `let_go`."""
    def let_go(self, no: int) -> None:
        """The last of those attempts has ended. For an instance that holds no slot, nothing."""
    def block(
        self, no: int, incarnation: int, reason: str, error: bytes, step: str | None = None
    ) -> None:
        """The instance needs a human; it gives its slot back and leaves memory. `resume` replays
        it. step: the name of the step it is about, for `reasons`."""
    def replay(self, no: int, incarnation: int) -> None:
        """The body was unwound to stop an attempt: the instance gives its slot back and is queued,
        to run again from its history."""
    def taken_up(self, no: int, incarnation: int) -> None:
        """A body that was interrupted has begun again whatever was open at the end of its history:
        from now on it is not (R3)."""
    def release(self, no: int, incarnation: int) -> None:
        """At shutdown: the body was unwound uncounted (L14); the next engine starts it again, not
        as interrupted."""
