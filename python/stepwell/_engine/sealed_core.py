"""A core whose payloads pass through a codec: what goes in is sealed, what comes out is opened.

Everybody above deals with plain bytes and does not know. It stands only where an engine has a
codec, so one without pays nothing. What the core must read itself stays as it is: attributes, by
which it lists, numbers and ids of children, and of failures what it counts by (`_values.sealing`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from .. import _core
from .._body.branch import unambiguous, unescaped
from .._core import (
    ABANDONED,
    APPROVAL,
    ATTEMPT_FAILED,
    CALL,
    ERASED,
    EVENT,
    GAVE_UP,
    INTERRUPTED,
    OK,
    REFUSED,
    REPLIED,
    RESULT,
    STARTED,
    STATES,
    UNDO,
    Core,
)
from .._errors import CodecFailed
from .._values.ids import drawn_id
from .._values.sealing import (
    OUTPUT,
    PARAMS,
    PROGRESS,
    Codec,
    Sealer,
    What,
    Who,
    chunk,
    event,
    without_texts,
)

_COMPLETE = STATES.index("complete")
_FAILURES = (GAVE_UP, ATTEMPT_FAILED, INTERRUPTED, REFUSED)
_PARTED = (ABANDONED, ERASED)
_CHILDREN = (CALL, RESULT)
_ANSWER: What = ("answer",)
_BULK: What = ("bulk",)
_SCHEDULE: What = ("schedule",)


def passed_through(core: Core, codec: Codec) -> Core:
    """Returns a core that passes payloads through this codec."""
    return cast("Core", SealedCore(core, codec))


def _place_in(approval_id: str) -> str:
    """Returns where in an instance an approval is asked for, as its id says. Old instances have ids
    without escapes."""
    return unescaped(approval_id.partition("#")[2].rpartition("#")[0])


def _place_of(branch: str, name: str) -> str:
    """Returns the same of an operation."""
    return unescaped(f"{branch}/{unambiguous(name)}" if branch else unambiguous(name))


class _Body:
    """A body in memory: whose it is, and which of its waits are for approvals, by place."""

    __slots__ = ("approvals", "who")

    def __init__(self, who: Who) -> None:
        self.who = who
        self.approvals: dict[int, str] = {}


_NOBODY = _Body(("", "", ""))
"""Whoever is no body any more: what it says changes nothing."""


class SealedCore:
    """See `Core`; what is not here is passed on as it is."""

    def __init__(self, core: Core, codec: Codec) -> None:
        self._core = core
        self._codec = codec
        self._sealer = Sealer(codec, core.formerly())
        self._bodies: dict[int, _Body] = {}
        self._listened: dict[int, int] = {}
        self._named: dict[int, Who] = {}
        self._openers: dict[int, Callable[[Any], Any]] = {}
        self._notes: dict[object, Callable[..., Any]] = {
            _core.REPLY: self._reply,
            _core.START: self._start,
            _core.SETTLED: self._settled,
            _core.CHANGED: self._changed,
            _core.RECORDED: self._recorded,
            _core.PROGRESS: self._progress,
            _core.STREAMED: self._streamed,
            _core.UNWIND: self._unwound,
        }

    def __getattr__(self, name: str) -> Any:
        return getattr(self._core, name)

    def reopen(self) -> Core:
        """See `Core.reopen`."""
        return passed_through(self._core.reopen(), self._codec)

    # What bodies say.

    def record(
        self, no: int, incarnation: int, begun: int, identity: Any, attempt: int, verdict: Any,
        started_at: int, payload: bytes | None, erases: int | None = None,
    ) -> int:  # fmt: skip
        """See `Core.record`."""
        if payload is not None:
            payload = self._sealed_record(self._whose(no), identity, verdict, payload)
        return self._core.record(
            no, incarnation, begun, identity, attempt, verdict, started_at, payload, erases
        )

    def answer(
        self, no: int, incarnation: int, begun: int, identity: Any, place: int, at: int,
        payload: bytes,
    ) -> int:  # fmt: skip
        """See `Core.answer`."""
        payload = self._sealer.seal(self._whose(no), _ANSWER, payload)
        return self._core.answer(no, incarnation, begun, identity, place, at, payload)

    def retry(
        self, no: int, incarnation: int, begun: int, identity: Any, attempt: int, started_at: int,
        error: bytes, retry_at: int,
    ) -> int:  # fmt: skip
        """See `Core.retry`."""
        error = self._sealer.seal_failure(self._whose(no), identity, error)
        return self._core.retry(
            no, incarnation, begun, identity, attempt, started_at, error, retry_at
        )

    def wait_approval(
        self, no: int, incarnation: int, begun: int, branch: str, name: str, count: int,
        approval_id: str, detail: bytes | None, until: int,
    ) -> int:  # fmt: skip
        """See `Core.wait_approval`."""
        body = self._bodies.get(no, _NOBODY)
        detail = self._sealer.seal(body.who, ("detail", name), detail)
        number = self._core.wait_approval(
            no, incarnation, begun, branch, name, count, approval_id, detail, until
        )
        body.approvals[number] = _place_in(approval_id)
        return number

    def call(
        self, no: int, incarnation: int, begun: int, branch: str, name: str, count: int,
        workflow: str, version: str, id: str, params: bytes | None,
    ) -> int:  # fmt: skip
        """See `Core.call`."""
        params = self._sealer.seal(self._other(no, workflow, id), PARAMS, params)
        return self._core.call(
            no, incarnation, begun, branch, name, count, workflow, version, id, params
        )

    def create_child(
        self, no: int, incarnation: int, begun: int, branch: str, name: str, count: int,
        workflow: str, version: str, id: str, params: bytes | None, attributes: bytes | None,
        payload: bytes,
    ) -> int:  # fmt: skip
        """See `Core.create_child`."""
        params = self._sealer.seal(self._other(no, workflow, id), PARAMS, params)
        return self._core.create_child(
            no, incarnation, begun, branch, name, count, workflow, version, id, params, attributes,
            payload,
        )  # fmt: skip

    def create_children(
        self, no: int, incarnation: int, begun: int, branch: str, name: str, count: int,
        workflow: str, version: str, items: Any, payload: bytes,
    ) -> int:  # fmt: skip
        """See `Core.create_children`."""
        made = [
            (id, self._sealer.seal(self._other(no, workflow, id), PARAMS, params), attributes)
            for id, params, attributes in items
        ]
        return self._core.create_children(
            no, incarnation, begun, branch, name, count, workflow, version, made, payload
        )

    def send(
        self, no: int, incarnation: int, begun: int, branch: str, name: str, count: int,
        workflow: str, id: str, type: str, payload: bytes | None,
    ) -> int:  # fmt: skip
        """See `Core.send`."""
        payload = self._sealer.seal(self._other(no, workflow, id), event(type), payload)
        return self._core.send(
            no, incarnation, begun, branch, name, count, workflow, id, type, payload
        )

    def report(self, no: int, incarnation: int, progress: bytes) -> None:
        """See `Core.report`."""
        self._core.report(no, incarnation, self._sealer.seal(self._whose(no), PROGRESS, progress))

    def send_chunks(
        self, no: int, incarnation: int, stream: str, part: int, attempt: int, mark: int,
        chunks: Any, *more: Any,
    ) -> int:  # fmt: skip
        """See `Core.send_chunks`."""
        who, what = self._whose(no), chunk(stream)
        chunks = [self._sealer.seal(who, what, it) for it in chunks]
        return self._core.send_chunks(no, incarnation, stream, part, attempt, mark, chunks, *more)

    def conclude(
        self, no: int, incarnation: int, begun: int, identity: Any, attempt: int, started_at: int,
        payload: bytes | None, stream: str,
    ) -> int:  # fmt: skip
        """See `Core.conclude`."""
        if payload is not None:
            payload = self._sealed_record(self._whose(no), identity, OK, payload)
        return self._core.conclude(
            no, incarnation, begun, identity, attempt, started_at, payload, stream
        )

    def finish(
        self, no: int, incarnation: int, status: int, payload: bytes | None,
        version: str | None = None,
    ) -> None:  # fmt: skip
        """See `Core.finish`."""
        who = self._whose(no)
        if payload is not None and status != _COMPLETE:
            payload = self._sealed_end(who, payload)
        else:
            payload = self._sealer.carry(who, payload)
        self._core.finish(no, incarnation, status, payload, version)
        self._bodies.pop(no, None)

    def block(
        self, no: int, incarnation: int, reason: str, error: bytes, step: str | None = None
    ) -> None:
        """See `Core.block`."""
        self._core.block(no, incarnation, reason, self._sealed_end(self._whose(no), error), step)
        self._bodies.pop(no, None)

    def release(self, no: int, incarnation: int) -> None:
        """See `Core.release`."""
        self._core.release(no, incarnation)
        self._bodies.pop(no, None)

    def replay(self, no: int, incarnation: int) -> None:
        """See `Core.replay`."""
        self._core.replay(no, incarnation)
        self._bodies.pop(no, None)

    def paused(self, no: int, incarnation: int) -> None:
        """See `Core.paused`."""
        self._core.paused(no, incarnation)
        self._bodies.pop(no, None)

    def continue_as_new(self, no: int, incarnation: int, params: bytes | None, *more: Any) -> None:
        """See `Core.continue_as_new`."""
        params = self._sealer.seal(self._whose(no), PARAMS, params)
        self._core.continue_as_new(no, incarnation, params, *more)
        self._bodies.pop(no, None)

    def undoes(self, no: int, incarnation: int, error: bytes | None) -> None:
        """See `Core.undoes`."""
        if error is not None:
            error = self._sealed_end(self._whose(no), error)
        self._core.undoes(no, incarnation, error)
        self._bodies.pop(no, None)

    def undone(self, no: int, incarnation: int, outcome: str, status: int, error: bytes) -> None:
        """See `Core.undone`."""
        error = self._sealed_end(self._whose(no), error)
        self._core.undone(no, incarnation, outcome, status, error)
        self._bodies.pop(no, None)

    def park(self, no: int, incarnation: int) -> bool:
        """See `Core.park`."""
        if parks := self._core.park(no, incarnation):
            self._bodies.pop(no, None)
        return parks

    # What is asked from outside.

    def create(
        self, namespace: str, workflow: str, version: str, id: str | None, params: bytes | None,
        *more: Any,
    ) -> int:  # fmt: skip
        """See `Core.create`."""
        id = self._new_id() if id is None else id
        params = self._sealer.seal((namespace, workflow, id), PARAMS, params)
        return self._core.create(namespace, workflow, version, id, params, *more)

    def create_batch(
        self, namespace: str, workflow: str, version: str, items: Any, *more: Any
    ) -> int:
        """See `Core.create_batch`."""
        made: list[Any] = []
        for id, params, *rest in items:
            id = self._new_id() if id is None else id
            params = self._sealer.seal((namespace, workflow, id), PARAMS, params)
            made.append((id, params, *rest))
        return self._core.create_batch(namespace, workflow, version, made, *more)

    def send_event(
        self, namespace: str, workflow: str, id: str, type: str, payload: bytes | None,
        dedup_id: str | None,
    ) -> int:  # fmt: skip
        """See `Core.send_event`."""
        payload = self._sealer.seal((namespace, workflow, id), event(type), payload)
        return self._core.send_event(namespace, workflow, id, type, payload, dedup_id)

    def request(
        self, namespace: str, workflow: str, id: str, type: str, payload: bytes | None,
        dedup_id: str,
    ) -> int:  # fmt: skip
        """See `Core.request`."""
        payload = self._sealer.seal((namespace, workflow, id), event(type), payload)
        return self._core.request(namespace, workflow, id, type, payload, dedup_id)

    def resolve(
        self, namespace: str, workflow: str, id: str, operation: Any, failed: bool, payload: bytes,
        by: Any,
    ) -> int:  # fmt: skip
        """See `Core.resolve`."""
        verdict = GAVE_UP if failed else OK
        payload = self._sealed_record((namespace, workflow, id), operation, verdict, payload)
        return self._core.resolve(namespace, workflow, id, operation, failed, payload, by)

    def decide(
        self, approval_id: str, namespace: str, workflow: str, id: str, name: str, approved: bool,
        decision: bytes, by: Any,
    ) -> int:  # fmt: skip
        """See `Core.decide`."""
        decision = self._sealer.seal(
            (namespace, workflow, id), ("decision", _place_in(approval_id)), decision
        )
        return self._core.decide(approval_id, namespace, workflow, id, name, approved, decision, by)

    def begin_bulk(
        self, namespace: str, operation: str, workflow: str | None, filter: str,
        frontier: int | None, what: bytes, by: Any,
    ) -> int:  # fmt: skip
        """See `Core.begin_bulk`."""
        what = self._sealer.seal((namespace, "", ""), _BULK, what)
        return self._core.begin_bulk(namespace, operation, workflow, filter, frontier, what, by)

    def change_schedule(
        self, namespace: str, id: str, revision: int, becomes: Any, firings: Any, creates: Any,
        audited: Any,
    ) -> int:  # fmt: skip
        """See `Core.change_schedule`."""
        if becomes is not None:
            next, state, what = becomes
            becomes = next, state, self._sealer.seal((namespace, "", id), _SCHEDULE, what)
        params = None
        if creates is not None and creates[2] is not None:
            workflow, version, given, ids = creates
            creates = workflow, version, None, ids
            params = [self._sealer.seal((namespace, workflow, it), PARAMS, given) for it in ids]
        return self._core.change_schedule(
            namespace, id, revision, becomes, firings, creates, audited, params
        )

    def do_part(
        self, number: int, operation: str, namespace: str, items: Any, text: str | None,
        payload: bytes | None, states: Any, place: int, ends: bool, _payloads: None, forgets: Any,
    ) -> int:  # fmt: skip
        """See `Core.do_part`."""
        payloads = None
        if payload is not None:
            payloads = [
                self._sealer.seal(
                    (namespace, workflow, id),
                    event(text or "") if approval is None else ("decision", _place_in(approval[0])),
                    payload,
                )
                for _, workflow, id, approval in items
            ]
        return self._core.do_part(
            number, operation, namespace, items, text, None, states, place, ends, payloads, forgets
        )

    def listen(self, no: int) -> None:
        """See `Core.listen`."""
        self._listened[no] = self._listened.get(no, 0) + 1
        self._core.listen(no)

    def ignore(self, no: int) -> None:
        """See `Core.ignore`."""
        self._core.ignore(no)
        self._listened[no] -= 1
        if not self._listened[no]:
            del self._listened[no]
            self._named.pop(no, None)

    # What is read.

    def find(self, namespace: str, workflow: str, id: str, payloads: bool) -> int:
        """See `Core.find`."""
        return self._asked(
            self._core.find(namespace, workflow, id, payloads),
            lambda row: None if row is None else self._row(row),
        )

    def asked(self, namespace: str, workflow: str, id: str, dedup_id: str) -> int:
        """See `Core.asked`."""
        return self._asked(self._core.asked(namespace, workflow, id, dedup_id), self._answered)

    def list(self, *query: Any) -> int:
        """See `Core.list`."""
        return self._asked(
            self._core.list(*query), lambda found: ([self._row(row) for row in found[0]], found[1])
        )

    def history(self, no: int) -> int:
        """See `Core.history`."""
        return self._asked(self._core.history(no), self._history)

    def stream(self, namespace: str, workflow: str, id: str, stream: str, *more: Any) -> int:
        """See `Core.stream`."""
        who = (namespace, workflow, id)

        def opened(found: Any) -> Any:
            if found is None:
                return None
            no, incarnation, status, rows = found
            if no in self._listened:
                self._named[no] = who
            return no, incarnation, status, [self._chunks(who, stream, it) for it in rows]

        return self._asked(self._core.stream(*who, stream, *more), opened)

    def find_whole(self, namespace: str, workflow: str, id: str) -> int:
        """See `LargeCore.find_whole`."""
        return self._asked(
            self._core.find_whole(namespace, workflow, id),  # type: ignore[attr-defined]  # where there is a payload store
            lambda row: None if row is None else self._row(row),
        )

    def whole_history(self, no: int) -> int:
        """See `LargeCore.whole_history`."""
        return self._asked(self._core.whole_history(no), self._history)  # type: ignore[attr-defined]  # where there is a payload store

    def approvals(self, *query: Any) -> int:
        """See `Core.approvals`."""
        return self._asked(
            self._core.approvals(*query),
            lambda found: ([self._request(it) for it in found[0]], found[1]),
        )

    def bulks(
        self, namespace: str | None, number: int | None, open: bool, beyond: int | None, limit: int
    ) -> int:
        """See `Core.bulks`."""
        return self._asked(
            self._core.bulks(namespace, number, open, beyond, limit),
            lambda rows: [self._bulk(row) for row in rows],
        )

    def schedules(self, namespace: str | None, id: str | None, beyond: int, limit: int) -> int:
        """See `Core.schedules`."""
        return self._asked(
            self._core.schedules(namespace, id, beyond, limit),
            lambda rows: [self._schedule(row) for row in rows],
        )

    def poll(self, starts: int | None = None) -> Any:
        """See `Core.poll`."""
        notes = self._core.poll(starts)
        for at, note in enumerate(notes):
            opener = self._notes.get(note[0])
            if opener is not None:
                notes[at] = opener(*note)
        return notes

    # How that is opened.

    def _asked(self, ticket: int, opener: Callable[[Any], Any]) -> int:
        self._openers[ticket] = opener
        return ticket

    def _reply(self, sort: int, ticket: int, code: str, data: Any) -> tuple[object, ...]:
        opener = self._openers.pop(ticket, None)
        return sort, ticket, code, data if opener is None or code else opener(data)

    def _start(self, sort: int, start: Any) -> tuple[object, ...]:
        no, _, namespace, workflow, _, id, params = start[:7]
        records, waits = start[12:14]
        body = self._bodies[no] = _Body((namespace, start[16] or workflow, id))
        body.approvals = {it[0]: _place_of(*it[2:4]) for it in waits if it[1] == APPROVAL}
        params = self._sealer.open(body.who, PARAMS, params)
        records = tuple(self._record(body.who, it) for it in records)
        return sort, (*start[:6], params, *start[7:12], records, *start[13:])

    def _settled(
        self, sort: int, no: int, number: int, seq: int, verdict: Any, type: str | None,
        payload: bytes | None, *more: Any,
    ) -> tuple[object, ...]:  # fmt: skip
        body = self._bodies.get(no, _NOBODY)
        name = body.approvals.pop(number, None)
        if verdict != OK:
            payload = self._sealer.open_failure(None, OUTPUT, payload)
        elif name is not None:
            payload = self._sealer.open(body.who, ("decision", name), payload)
        else:
            payload = self._sealer.open_carried(payload)  # of a child, or else of an event
            payload = self._sealer.open(body.who, event(type or ""), payload)
        return sort, no, number, seq, verdict, type, payload, *more

    def _changed(
        self, sort: int, no: int, status: int, reason: str | None, payload: bytes | None
    ) -> tuple[object, ...]:
        return sort, no, status, reason, self._end(status, payload)

    def _recorded(self, sort: int, no: int, record: Any) -> tuple[object, ...]:
        who = self._named.get(no)
        return sort, no, None if who is None else self._record(who, record)

    def _progress(self, sort: int, no: int, report: bytes) -> tuple[object, ...]:
        who = self._named.get(no) or self._whose(no)
        return sort, no, self._sealer.open(who, PROGRESS, report)

    def _streamed(
        self, sort: int, no: int, incarnation: int, stream: str, row: Any
    ) -> tuple[object, ...]:
        who = self._named.get(no)
        row = None if who is None else self._chunks(who, stream, row)
        return sort, no, incarnation, stream, row

    def _chunks(self, who: Who, stream: str, row: Any) -> Any:
        place, attempt, mark, at, chunks, outcome = row
        what = chunk(stream)
        chunks = [self._sealer.open(who, what, it) for it in chunks]
        outcome = None if outcome is None else self._record(who, outcome)
        return place, attempt, mark, at, chunks, outcome

    def _unwound(self, *note: Any) -> tuple[object, ...]:
        self._bodies.pop(note[1], None)
        return note

    def _end(self, status: int, payload: bytes | None, who: Who | None = None) -> Any:
        if status == _COMPLETE:
            return self._sealer.open_carried(payload, who)
        return self._sealer.open_failure(who, OUTPUT, payload)

    def _row(self, row: Any) -> Any:
        no, namespace, workflow, _, id, status = row[:6]
        who = (namespace, workflow, id)
        if no in self._listened:
            self._named[no] = who
        return (
            *row[:12],
            self._sealer.open(who, PARAMS, row[12]),
            self._end(status, row[13], who),
            self._sealer.open(who, PROGRESS, row[14]),
            *row[15:],
        )

    def _answered(self, found: Any) -> Any:
        if found is None:
            return None
        row, is_known, answer = found
        who = (row[1], row[2], row[4])
        return self._row(row), is_known, self._sealer.open(who, _ANSWER, answer)

    def _history(self, found: Any) -> Any:
        if found is None:
            return None
        row, records = found
        who = (row[1], row[2], row[4])
        return self._row(row), [self._record(who, it) for it in records]

    def _request(self, it: Any) -> Any:
        id, namespace, workflow, instance, name, detail, asked_at, until, status, decision, n = it
        who = (namespace, workflow, instance)
        detail = self._sealer.open(who, ("detail", name), detail)
        decision = self._sealer.open(who, ("decision", _place_in(id)), decision)
        return (
            id, namespace, workflow, instance, name, detail, asked_at, until, status, decision, n,
        )  # fmt: skip

    def _bulk(self, row: Any) -> Any:
        if len(row) == 2:  # it cannot be read
            return row
        what = self._sealer.open((row[1], "", ""), _BULK, row[8])
        return (*row[:8], what, *row[9:])

    def _schedule(self, row: Any) -> Any:
        if len(row) == 2:  # it cannot be read
            return row
        what = self._sealer.open((row[1], "", row[2]), _SCHEDULE, row[6])
        return (*row[:6], what, *row[7:])

    def _record(self, who: Who, record: Any) -> Any:
        payload = record[12]
        if payload is None:
            return record
        kind, verdict, identity = record[1], record[7], record[1:6]
        if kind in _CHILDREN:
            opened = self._end(_COMPLETE if verdict == OK else -1, payload)
        elif kind == EVENT and verdict == OK:
            opened = self._sealer.open(who, event(record[11] or ""), payload)
        elif kind == APPROVAL and verdict == OK:
            opened = self._sealer.open(who, ("decision", _place_of(*record[2:4])), payload)
        elif kind == UNDO and verdict == STARTED:  # why it undoes its steps
            opened = self._sealer.open_failure(who, OUTPUT, payload)
        elif kind == REPLIED and verdict == OK:
            opened = self._sealer.open(who, _ANSWER, payload)
        elif verdict in _FAILURES:
            opened = self._sealer.open_failure(who, identity, payload)
        elif verdict in _PARTED:
            opened = self._sealer.open_parts(who, identity, payload)
        else:
            opened = self._sealer.open(who, identity, payload)
        return (*record[:12], opened)

    # How what is said is sealed.

    def _whose(self, no: int) -> Who:
        return self._bodies.get(no, _NOBODY).who

    def _sealed_record(self, who: Who, identity: Any, verdict: Any, payload: bytes) -> bytes:
        if verdict in _FAILURES:
            return self._sealer.seal_failure(who, identity, payload)
        if verdict in _PARTED:
            return self._sealer.seal_parts(who, identity, payload)
        made: bytes = self._sealer.seal(who, identity, payload)
        return made

    def _sealed_end(self, who: Who, error: bytes) -> bytes:
        """Returns the error of an instance as it is stored. One that the codec cannot take is told
        without its texts: the instance has to end, or to be blocked, all the same."""
        try:
            return self._sealer.seal_failure(who, OUTPUT, error)
        except CodecFailed as failed:
            return without_texts(error, failed)

    def _other(self, no: int, workflow: str, id: str) -> Who:
        """Returns another instance of a body's namespace."""
        return (self._whose(no)[0], workflow, id)

    def _new_id(self) -> str:
        return drawn_id(self._core.now())
