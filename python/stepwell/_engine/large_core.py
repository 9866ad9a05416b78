"""A core whose large values lie in a payload store: what goes in is put there first, and what comes
out is fetched.

Everybody above deals with whole values and does not know. Here is which calls have values that may
be large; what becomes of them meanwhile is in `holding`. Looks at many fetch nothing. What is not
here stays in the store: progress, details and decisions of approvals, failures, schedules, what is
done to many, and outcomes of attempts that nobody is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from .. import _core
from .._core import GIVEN_UP, OK, SAVED, STATES, Core
from .depot import Depot
from .holding import RECORDED, Holding, Look, with_whole

if TYPE_CHECKING:
    from .._kinds import Verdict

_COMPLETE = STATES.index("complete")
_MAY_BE_LARGE = (OK, SAVED)
_PARAMS, _RESULT = 12, 13
"""Places in a row."""


def beside(core: Core, depot: Depot) -> Core:
    """Returns a core whose large values lie in this payload store."""
    return cast("Core", LargeCore(core, depot))


class LargeCore(Holding):
    """See `Core`."""

    def reopen(self) -> Core:
        """See `Core.reopen`."""
        self._depot.in_use.clear()
        return beside(self._core.reopen(), self._depot)

    # What bodies say.

    def record(
        self, no: int, incarnation: int, begun: int, identity: Any, attempt: int, verdict: Verdict,
        started_at: int, payload: bytes | None, erases: int | None = None,
    ) -> int:  # fmt: skip
        """See `Core.record`."""
        if payload is None or len(payload) <= self._over or verdict not in _MAY_BE_LARGE:
            ticket = self._core.record(
                no, incarnation, begun, identity, attempt, verdict, started_at, payload, erases
            )
            self._records[ticket] = no
            return ticket
        return self._hold(
            (no, incarnation), [payload], f'the value of step "{identity[2]}"',
            lambda it: self._core.record(
                no, incarnation, begun, identity, attempt, verdict, started_at, it[0], erases
            ),
        )  # fmt: skip

    def conclude(
        self, no: int, incarnation: int, begun: int, identity: Any, attempt: int, started_at: int,
        payload: bytes | None, stream: str,
    ) -> int:  # fmt: skip
        """See `Core.conclude`."""
        args = (no, incarnation, begun, identity, attempt, started_at)
        if payload is None or len(payload) <= self._over:
            ticket = self._core.conclude(*args, payload, stream)
            self._records[ticket] = no
            return ticket
        return self._hold(
            (no, incarnation), [payload], f'the value of step "{identity[2]}"',
            lambda it: self._core.conclude(*args, it[0], stream),
        )  # fmt: skip

    def set_attributes(self, no: int, *said: Any) -> int:
        """See `Core.set_attributes`; nothing in it is large."""
        ticket = self._core.set_attributes(no, *said)
        self._records[ticket] = no
        return ticket

    def answer(
        self, no: int, incarnation: int, begun: int, identity: Any, place: int, at: int,
        payload: bytes,
    ) -> int:  # fmt: skip
        """See `Core.answer`."""
        if len(payload) <= self._over:
            ticket = self._core.answer(no, incarnation, begun, identity, place, at, payload)
            self._records[ticket] = no
            return ticket
        return self._hold(
            (no, incarnation), [payload], "an answer",
            lambda it: self._core.answer(no, incarnation, begun, identity, place, at, it[0]),
        )  # fmt: skip

    def call(
        self, no: int, incarnation: int, begun: int, branch: str, name: str, count: int,
        workflow: str, version: str, id: str, params: bytes | None,
    ) -> int:  # fmt: skip
        """See `Core.call`."""
        of = (no, incarnation)
        args = (*of, begun, branch, name, count, workflow, version, id)
        if params is None or len(params) <= self._over:
            return self._core.call(*args, params)
        what = f"the params of {workflow}/{id}"
        return self._hold(of, [params], what, lambda it: self._core.call(*args, it[0]))

    def create_child(
        self, no: int, incarnation: int, begun: int, branch: str, name: str, count: int,
        workflow: str, version: str, id: str, params: bytes | None, attributes: bytes | None,
        payload: bytes,
    ) -> int:  # fmt: skip
        """See `Core.create_child`."""
        of = (no, incarnation)
        args = (*of, begun, branch, name, count, workflow, version, id)
        if params is None or len(params) <= self._over:
            return self._core.create_child(*args, params, attributes, payload)
        return self._hold(
            of, [params], f"the params of {workflow}/{id}",
            lambda it: self._core.create_child(*args, it[0], attributes, payload),
        )  # fmt: skip

    def create_children(
        self, no: int, incarnation: int, begun: int, branch: str, name: str, count: int,
        workflow: str, version: str, items: Sequence[Any], payload: bytes,
    ) -> int:  # fmt: skip
        """See `Core.create_children`."""
        of = (no, incarnation)
        args = (*of, begun, branch, name, count, workflow, version)
        large = self._large_among(items)
        if not large:
            return self._core.create_children(*args, items, payload)
        return self._hold(
            of, [items[at][1] for at in large], f"params of new instances of {workflow}",
            lambda it: self._core.create_children(*args, _replaced(items, large, it), payload),
        )  # fmt: skip

    def send(
        self, no: int, incarnation: int, begun: int, branch: str, name: str, count: int,
        workflow: str, id: str, type: str, payload: bytes | None,
    ) -> int:  # fmt: skip
        """See `Core.send`."""
        of = (no, incarnation)
        args = (*of, begun, branch, name, count, workflow, id, type)
        if payload is None or len(payload) <= self._over:
            return self._core.send(*args, payload)
        what = f'the payload of event "{type}" of {workflow}/{id}'
        return self._hold(of, [payload], what, lambda it: self._core.send(*args, it[0]))

    def withdraw(self, no: int, incarnation: int, number: int) -> None:
        """See `Core.withdraw`."""
        body = self._bodies.get(no)
        if body is not None and number in body.held:
            body.held.pop(number).is_dropped = True
            self._go_on(no, body)
        else:
            self._core.withdraw(no, incarnation, self._own.get(number, number))

    def quiet(self, no: int, incarnation: int, seq: int) -> None:
        """See `Core.quiet`."""
        body = self._bodies.get(no)
        if body is None:
            self._core.quiet(no, incarnation, seq)
        else:
            body.quiet = (incarnation, seq)

    def park(self, no: int, incarnation: int) -> bool:
        """See `Core.park`."""
        return no not in self._bodies and self._core.park(no, incarnation)

    def finish(
        self, no: int, incarnation: int, status: int, payload: bytes | None,
        version: str | None = None,
    ) -> None:  # fmt: skip
        """See `Core.finish`."""
        of = (no, incarnation)
        if payload is None or len(payload) <= self._over or status != _COMPLETE:
            self._after(no, lambda: self._core.finish(*of, status, payload, version))
            return
        self._hold(
            of, [payload], "the output",
            lambda it: self._core.finish(*of, status, it[0], version), ends=True,
        )  # fmt: skip

    def block(
        self, no: int, incarnation: int, reason: str, error: bytes, step: str | None = None
    ) -> None:
        """See `Core.block`."""
        self._after(no, lambda: self._core.block(no, incarnation, reason, error, step))

    def release(self, no: int, incarnation: int) -> None:
        """See `Core.release`."""
        self._after(no, lambda: self._core.release(no, incarnation))

    def replay(self, no: int, incarnation: int) -> None:
        """See `Core.replay`."""
        self._after(no, lambda: self._core.replay(no, incarnation))

    def paused(self, no: int, incarnation: int) -> None:
        """See `Core.paused`."""
        self._after(no, lambda: self._core.paused(no, incarnation))

    def continue_as_new(self, no: int, incarnation: int, params: bytes | None, *more: Any) -> None:
        """See `Core.continue_as_new`."""
        of = (no, incarnation)
        if params is None or len(params) <= self._over:
            self._after(no, lambda: self._core.continue_as_new(*of, params, *more))
            return
        self._hold(
            of, [params], "the params of the next run",
            lambda it: self._core.continue_as_new(*of, it[0], *more), ends=True,
        )  # fmt: skip

    def undoes(self, no: int, incarnation: int, error: bytes | None) -> None:
        """See `Core.undoes`."""
        self._after(no, lambda: self._core.undoes(no, incarnation, error))

    def undone(self, no: int, incarnation: int, outcome: str, status: int, error: bytes) -> None:
        """See `Core.undone`."""
        self._after(no, lambda: self._core.undone(no, incarnation, outcome, status, error))

    # What is asked from outside.

    def create(
        self, namespace: str, workflow: str, version: str, id: str | None, params: bytes | None,
        *more: Any,
    ) -> int:  # fmt: skip
        """See `Core.create`."""
        args = (namespace, workflow, version, id)
        if params is None or len(params) <= self._over:
            return self._directly(self._core.create(*args, params, *more))
        what = f"the params of a new instance of {workflow}"
        return self._hold(None, [params], what, lambda it: self._core.create(*args, it[0], *more))

    def create_batch(
        self, namespace: str, workflow: str, version: str, items: Sequence[Any], *more: Any
    ) -> int:
        """See `Core.create_batch`."""
        args = (namespace, workflow, version)
        large = self._large_among(items)
        if not large:
            return self._directly(self._core.create_batch(*args, items, *more))
        return self._hold(
            None, [items[at][1] for at in large], f"params of new instances of {workflow}",
            lambda it: self._core.create_batch(*args, _replaced(items, large, it), *more),
        )  # fmt: skip

    def give_up(self, ticket: int) -> bool:
        """See `Core.give_up`."""
        held = self._callers.pop(ticket, None)
        if held is None:
            return self._core.give_up(self._own.get(ticket, ticket))
        held.is_dropped = True
        self._ready.append((_core.REPLY, ticket, GIVEN_UP, None))
        self._depot.driver.token.run_sync_soon(self._stir)  # whoever calls this waits from then on
        return True

    def send_event(
        self, namespace: str, workflow: str, id: str, type: str, payload: bytes | None,
        dedup_id: str | None,
    ) -> int:  # fmt: skip
        """See `Core.send_event`."""
        args = (namespace, workflow, id, type)
        if payload is None or len(payload) <= self._over:
            return self._directly(self._core.send_event(*args, payload, dedup_id))
        return self._hold(
            None, [payload], f'the payload of event "{type}"',
            lambda it: self._core.send_event(*args, it[0], dedup_id),
        )  # fmt: skip

    def request(
        self, namespace: str, workflow: str, id: str, type: str, payload: bytes | None,
        dedup_id: str,
    ) -> int:  # fmt: skip
        """See `Core.request`."""
        args = (namespace, workflow, id, type)
        if payload is None or len(payload) <= self._over:
            return self._directly(self._core.request(*args, payload, dedup_id))
        return self._hold(
            None, [payload], f'the payload of event "{type}"',
            lambda it: self._core.request(*args, it[0], dedup_id),
        )  # fmt: skip

    def resolve(
        self, namespace: str, workflow: str, id: str, operation: Any, failed: bool, payload: bytes,
        by: Any,
    ) -> int:  # fmt: skip
        """See `Core.resolve`."""
        args = (namespace, workflow, id, operation, failed)
        if failed or len(payload) <= self._over:
            return self._directly(self._core.resolve(*args, payload, by))
        return self._hold(
            None, [payload], f'the value of step "{operation[2]}"',
            lambda it: self._core.resolve(*args, it[0], by),
        )  # fmt: skip

    # What is read.

    def find(self, namespace: str, workflow: str, id: str, payloads: bool) -> int:
        """See `Core.find`; params that lie in the payload store stay there."""
        return self._opened(
            self._core.find(namespace, workflow, id, payloads),
            lambda row: ([row[_RESULT]], lambda whole: with_whole(row, whole, _RESULT)),
        )

    def find_whole(self, namespace: str, workflow: str, id: str) -> int:
        """As `find`, with whatever lies in the payload store."""
        return self._opened(
            self._core.find(namespace, workflow, id, True),
            lambda row: (
                [row[_PARAMS], row[_RESULT]],
                lambda whole: with_whole(row, whole, _PARAMS, _RESULT),
            ),
        )

    def asked(self, namespace: str, workflow: str, id: str, dedup_id: str) -> int:
        """See `Core.asked`."""

        def look(found: Any) -> Look:
            row, is_known, answer = found
            return [answer], lambda whole: (row, is_known, whole.get(answer, answer))

        return self._opened(self._core.asked(namespace, workflow, id, dedup_id), look)

    def stream(self, *query: Any) -> int:
        """See `Core.stream`."""

        def look(found: Any) -> Look:
            *instance, rows = found
            outcomes = [it[-1][RECORDED] for it in rows if it[-1] is not None]
            return outcomes, lambda whole: (*instance, [_with_outcome(it, whole) for it in rows])

        return self._opened(self._core.stream(*query), look)

    def whole_history(self, no: int) -> int:
        """As `Core.history`, and with it all that lies in the payload store."""

        def look(found: Any) -> Look:
            row, records = found
            payloads = [it[RECORDED] for it in records]
            return payloads, lambda whole: (
                row,
                [with_whole(it, whole, RECORDED) for it in records],
            )

        return self._opened(self._core.history(no), look)

    def _large_among(self, items: Sequence[Any]) -> list[int]:
        return [
            at
            for at, (_, params, *_) in enumerate(items)
            if params is not None and len(params) > self._over
        ]


def _with_outcome(row: Any, whole: dict[bytes, bytes]) -> Any:
    *said, outcome = row
    return (*said, None if outcome is None else with_whole(outcome, whole, RECORDED))


def _replaced(items: Sequence[Any], large: list[int], stored: list[bytes]) -> list[Any]:
    anew = list(items)
    for at, params in zip(large, stored, strict=True):
        id, _, *rest = anew[at]
        anew[at] = (id, params, *rest)
    return anew
