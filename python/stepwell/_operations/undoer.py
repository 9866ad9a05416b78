"""Undoes the steps of an instance: the life that follows when its body was replayed for that (L8).

It is a body of its own, whose operations are undos: one after the other, in the reverse of the
order in which their steps began, each recorded like a step, with attempts and delays. What history
has of undos that are over is not run again. The first that gives up ends it, and so does a step
that the code of today does not ask for any more; the instance ends either way.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, Literal

from .._attempts.context import StepContext
from .._body import delivery
from .._body.rest import Rest
from .._body.runner import ERRORED, Runner
from .._body.stopping import unreadable
from .._body.turns import in_slices
from .._core import ABANDONED, DO, GAVE_UP, KINDS, OK, SAVED, UNDO
from .._ending import End
from .._errors import Interrupted, Nondeterminism, StepFailed
from .._log import log
from .._replay import Recorded, describe
from .._steps.retry import Retry
from .._steps.undo import Undo, UndoContext
from .._steps.workflow import FunctionPlan, StepOptions
from .._types import STATUSES, Status, StepRef
from .._values.codec import Undecodable, codec
from .._values.failures import blamed, error_info, revive
from .step_operation import StepOperation

if TYPE_CHECKING:
    from .._body.life import Life, Resting
    from .._replay import Identity
    from .step_records import RecordedStep

TERMINATED = STATUSES.index(Status.TERMINATED)
LEFT_MAX = 20
"""So many names are told of steps that nothing undoes."""
_WHOLE: Identity = (UNDO, "", "", None, 0)
"""What is recorded of the undoing itself."""


class Undoer(Runner):
    """Undoes what the body of an instance registered when it was replayed."""

    __slots__ = ("_undoes",)

    def __init__(self, replayed: Life) -> None:
        undoes = replayed.undoing
        assert undoes is not None, "it was replayed for this"
        self._undoes = undoes
        over = {record[1:6] for record in undoes.undone if record[7] in (OK, GAVE_UP)}
        start = list(undoes.start)
        start[12] = tuple(record for record in undoes.undone if record[1:6] not in over)
        start[13] = tuple(wait for wait in undoes.start[13] if wait[1] == UNDO)
        super().__init__(replayed.port, replayed.who.workflow, tuple(start))
        self.rest: Resting = _StaysRunning(self)

    def _code(self, step: Any) -> Awaitable[Any]:
        return in_slices(self, self._undo_all())

    async def _undo_all(self) -> bool:
        """Undoes what is left; returns whether all is undone."""
        recorded = {it.identity: it for it in map(Recorded._make, self._undoes.undone)}
        self._plan()
        if any(it.verdict == GAVE_UP for it in recorded.values()):
            return False
        if (lost := self._lost(recorded)) is not None:
            await self._fails(lost)
            return False
        for step in self._steps():
            known = recorded.get(_undo_of(step.identity))
            if (known is None or known.verdict != OK) and not await self._undo(step):
                return False
        return True

    def _steps(self) -> list[RecordedStep]:
        """Returns the steps that are to be undone, those that began last first."""
        begun = sorted(
            self._undoes.begun.values(),
            key=lambda it: (it[0], delivery.order(it[1])),
            reverse=True,
        )
        steps: list[Any] = [operation for _, operation in begun if operation.has_attempts]
        return [
            it for it in steps if it.plan.undo is not None and self._undoes.has_started(it.identity)
        ]

    def _plan(self) -> None:
        """Records how many there are; and, of steps that a crash may have cut short, that nobody
        knows what they came to: from then on all that had started is recorded."""
        undoes = self._undoes
        if undoes.planned is not None:
            return
        if undoes.interrupted:
            for after, operation in undoes.begun.values():
                step: Any = operation
                identity = step.identity
                if step.has_attempts and step.plan.undo and not undoes.has_started(identity):
                    self._record(identity, ABANDONED, codec.encode({}), after)
                    undoes.may_have_started(identity)
        count, left = len(self._steps()), self._left()
        if left:
            log.info(
                "%s undoes %d steps. These began as well, and have no undo= today: %s",
                self.who, count, ", ".join(left),
            )  # fmt: skip
        told: dict[str, Any] = {"steps": count} | ({"left": left} if left else {})
        self._record(_WHOLE, SAVED, codec.encode(told), 0)

    def _left(self) -> list[str]:
        """Returns the names of steps that began and have nothing that undoes them: whether they had
        when they ran is not recorded."""
        begun = sorted(self._undoes.begun.values(), key=lambda it: (it[0], delivery.order(it[1])))
        names = (
            step.identity[2]
            for _, step in begun
            if step.has_attempts
            and step.plan.undo is None
            and self._undoes.has_started(step.identity)
        )
        return list(dict.fromkeys(names))[:LEFT_MAX]

    def _record(self, identity: Identity, verdict: Any, payload: bytes, after: int) -> None:
        who, port = self.who, self.port
        port.record(who.no, who.incarnation, after, identity, 1, verdict, port.now(), payload)

    def _lost(self, recorded: dict[Identity, Recorded]) -> Identity | None:
        """Returns a step whose undo nobody knows any more: today's code does not ask for it, or it
        had one that began."""
        lost = self._undoes.unreached()
        known = {_undo_of(it.identity) for it in self._steps()}
        left = (it for it, last in recorded.items() if it not in known and last.verdict != OK)
        return lost or next(((DO, *it[1:]) for it in left), None)

    async def _fails(self, step: Identity) -> None:
        """Records that a step cannot be undone, because nobody knows how."""
        why = self._undoes.why
        error = Nondeterminism(
            f"{describe(step)} of {self.who} cannot be undone: the code of today does not come to "
            f"it{'' if why is None else f' ({why})'}. Undo it by hand."
        )
        await self._perform(_Lost(self, _undo_of(step), _raising, (error,), _NEVER))

    async def _undo(self, step: RecordedStep) -> bool:
        """Undoes one step; returns whether that is done."""
        undo = step.plan.undo
        assert undo is not None, "it has one"
        operation = _UndoOperation(self, _undo_of(step.identity), undo.fn, (), _plan_of(undo))
        try:
            operation.args = (self._context_of(step, operation),)
        except Undecodable as error:
            await unreadable(self, describe(step.identity), error, step.identity[2])
        return await self._perform(operation)

    async def _perform(self, operation: StepOperation) -> bool:
        outcome = await delivery.perform(self, operation)
        try:
            operation.answer(outcome)
        except StepFailed as error:
            log.warning("%s could not be undone: %s", operation, error.message)
            return False
        return True

    def _context_of(self, step: RecordedStep, undo: StepOperation) -> UndoContext:
        undoes = self._undoes
        kind, branch, name, key, count = step.identity
        output, error = self._came_to(step)
        return UndoContext(
            StepRef(name, count, key, KINDS[kind], branch),
            step.args,
            output,
            error,
            error_info(codec.decode(undoes.cause)),
            StepContext(undo, 1, None).idempotency_key,
        )

    def _came_to(self, step: RecordedStep) -> tuple[Any, Exception | None]:
        """Returns what a step returned, and why it failed.

        Raises:
            Undecodable: That cannot be read any more.
        """
        identity, plan = step.identity, step.plan.codec
        end = self._undoes.ends.get(identity)
        output: Any = None
        error: Exception | None = None
        if end is not None and end.verdict == OK:
            return (None if end.payload is None else plan.decode(end.payload)), None
        if end is not None and end.verdict == GAVE_UP:
            assert end.payload is not None, "a failure is recorded with its error"
            error = blamed(revive(codec.decode(end.payload)), identity)
        left = self._undoes.late.get(identity, None)
        if end is not None and end.verdict == ABANDONED:
            left = left or end.payload
        told = {} if left is None else codec.decode(left)
        if told.get("value") is not None:
            output = plan.decode(told["value"])
        elif error is None and "error" in told:
            error = blamed(revive(told["error"]), identity)
        elif error is None and "value" not in told:
            error = Interrupted(f"{describe(identity)} was cut short, and nobody knows how far")
        return output, error

    # How it ends.

    def _returned(self, output: Any) -> None:
        if self.stopping or self.is_refused:
            return
        self.stopping: End | None = End.FINISHED
        who, port, undoes = self.who, self.port, self._undoes
        if self.rest.winding or self.rest.threads:
            port.hold(who.no, who.incarnation)
        how: Literal["complete", "failed"] = "complete" if output else "failed"
        status = TERMINATED if undoes.is_terminated else ERRORED
        port.undone(who.no, who.incarnation, how, status, undoes.cause)

    def _raised(self, error: BaseException) -> None:
        raise error  # no undo does that: it is for whoever contains the life


class _StaysRunning(Rest):
    """An instance that undoes its steps is running until its end, also between attempts."""

    def settled_down(self) -> None:
        """It keeps its slot."""


class _UndoOperation(StepOperation):
    """An undo with its attempts."""

    begins_anew = True
    noun = "the undo of step"

    def _submit_value(self, attempt: int) -> None:
        self.value = None  # what an undo returns is nobody's
        self._submit(attempt, OK, None)


class _Lost(_UndoOperation):
    """One that only says why there is none."""


async def _raising(error: Exception) -> None:
    raise error


def _undo_of(step: Identity) -> Identity:
    return (UNDO, *step[1:])


def _plan_of(undo: Undo) -> FunctionPlan:
    """Returns how an undo is run. That an attempt begins is recorded first, so that what was undone
    is known (L6)."""
    options = StepOptions.of(
        name="undo", retry=undo.retry, timeout=undo.timeout, on_interrupt="fail", as_type=object
    )
    return FunctionPlan(undo.fn, options)


_NEVER = FunctionPlan(
    _raising, StepOptions(retry=Retry.never, on_interrupt="fail", as_type=object, runtime="trio")
)
