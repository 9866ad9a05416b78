"""One instance from start to park: runs its body, delivers its outcomes, submits what it does.

The body is one trio task in a cancel scope of its own. Whatever the body asks for goes through
`perform`: on replay the cursor answers; live, the operation goes live and the task sleeps until its
outcome is durable. With several body tasks `_turns` decides when operations take effect; this file
does what is then to be done. It never reads a clock or a store, and submits through its `Port`.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Iterable
from contextvars import Context
from types import CodeType
from typing import TYPE_CHECKING, Any, NoReturn

import trio
from trio.lowlevel import enable_ki_protection

from . import _diagnosis, _foreign, _replay
from ._attempt import as_coroutine
from ._branch import Branch, place
from ._containment import Guard, contain, interrupt_in, was_cancelled
from ._ending import End
from ._errors import InvalidConfig, NotSerializable, StepwellError, TooLarge
from ._life import Delivery, Who
from ._log import log
from ._operation import Operation
from ._patches import Patches
from ._pending import Pending
from ._replay import Cursor, Identity, Mismatch, Outcome
from ._resisting import leave_nurseries
from ._rest import Rest
from ._turns import in_slices, on_asyncio
from ._types import STATUSES, InstanceInfo, Limits, Status
from ._values.codec import Undecodable, codec
from ._values.durations import from_us
from ._values.failures import MissingClass, describe_body, from_users_code
from ._values.names import step_name

if TYPE_CHECKING:
    from ._asyncio_turns import AsyncioTurns
    from ._loops.body_loop import BodyLoop
    from ._port import Port
    from ._step import Step
    from ._turns import Turns
    from ._workflow import Workflow


REPORT_MAX = 1 << 16
"""Bytes of one report, encoded."""
COMPLETE, ERRORED = STATUSES.index(Status.COMPLETE), STATUSES.index(Status.ERRORED)


class Runner:
    """The body of one instance, in memory. There may be 50,000, and each object and byte of one
    counts (W2b)."""

    __slots__ = (
        "__weakref__", "_params", "_stopped", "delivery", "is_refused", "limits", "loop",
        "patches", "port", "raised", "rest", "resting", "scope", "stopped_at", "stopping",
        "tally", "task", "turns", "unawaited", "who",
    )  # fmt: skip

    def __init__(self, port: Port, workflow: Workflow[Any, Any], start: tuple[Any, ...]) -> None:
        no, incarnation, namespace, _, version, id, self._params, *rest = start
        attributes, created_at, _, format, interrupted, records, waits = rest
        self.who = Who(
            no, incarnation, namespace, workflow, version, id, format, created_at, attributes
        )
        self.port = port
        self.delivery = Delivery(
            Cursor.over(records),
            {tuple(w[1:6]): (w[0], w[7]) for w in waits},
            interrupted,
            created_at,
            len(self._params or b""),
        )
        self.turns: Turns | AsyncioTurns | None = None
        self.loop: BodyLoop | None = None  # of its tasks, if they are asyncio's
        self.tally: Turns | None = None
        """Counts body tasks; `turns` is the same while several of them may be there."""
        self.resting = False
        """Whether the body's one task is blocked in an operation, so that an outcome may be
        delivered."""
        self.task: trio.lowlevel.Task | None = None
        self.scope = trio.CancelScope()
        self.stopping: End | None = None
        self.is_refused = False
        """Whether the body wanted to begin something and may not; see `may_begin`."""
        self.stopped_at = 0
        self.raised: BaseException | None = None
        """What its code raised since the last outcome, while others are undelivered."""
        self.unawaited: list[tuple[str, CodeType, int]] = []
        self.take_limits()
        self.rest = Rest(self)
        self.patches = Patches()
        self._stopped: trio.Event | None = None

    def take_limits(self) -> None:
        """Reads the limits of the instance: when the body begins, and whenever they are others."""
        self.limits: Limits = self.port.limits_of(self.who.namespace, self.who.workflow.name)

    # The body.

    @enable_ki_protection
    async def run(self, make_step: Callable[[Runner], Step]) -> None:
        """Runs the body to its end, its park or its block. Raises nothing."""
        self.task = trio.lowlevel.current_task()
        branch = Branch(self)
        branch.has_task = True
        place.set(branch)
        if self.port.observed and not self.port.draining and self.who.workflow.runtime == "trio":
            self.port.keeper.open(self)
        try:
            with Guard(self):
                output: Any = None
                try:
                    with self.scope:
                        output = self._output_of(await self._code(make_step(self)))
                except BaseException as error:
                    self._raised(error)
                else:
                    self._returned(output)
        finally:
            leave_nurseries(self.task)
            self._leave()

    def struck(self, error: BaseException) -> None:
        """Code of the body raises this, or handles it: if it is Ctrl-C, nothing that the body makes
        of it is recorded (R7)."""
        if (struck := interrupt_in(error)) is not None:
            self.port.interrupted_by(struck)
            self.unwind(End.STOPPED)

    def _raised(self, error: BaseException) -> None:
        if interrupt_in(error) is not None or was_cancelled(self, error):
            raise error
        if self.goes_on and (stray := _diagnosis.use_of_others(self, error)) is not None:
            self.block("foreign_wait", stray)
        if not self.stopping:
            self._finish(ERRORED, error=error)

    def _code(self, step: Step) -> Awaitable[Any]:
        """Returns what runs the code of the body."""
        fn, plan = self.who.workflow.fn, self.who.workflow.params
        args: tuple[Any, ...] = (step,)
        if self.who.workflow.takes_params:
            try:
                args = (
                    step,
                    plan.decode(self._params, "params") if self._params is not None else None,
                )
            except Undecodable as error:
                return self.unreadable("the start", error)
        code = as_coroutine(fn(*args))
        return (
            in_slices(self, code) if self.who.workflow.runtime == "trio" else on_asyncio(self, code)
        )

    def _output_of(self, output: Any) -> Any:
        if isinstance(output, Pending):
            raise InvalidConfig(
                f"{self.who.workflow.name} returned a step that it never awaited. "
                "Write `return await step.…`."
            )
        if self.unawaited:
            raise _diagnosis.never_awaited(self)
        return output

    def _returned(self, output: Any) -> None:
        if self.stopping:
            return
        try:
            payload = self.who.workflow.output.encode(
                output, limit=self.limits.value_bytes, where="output"
            )
        except (NotSerializable, TooLarge) as error:
            self._finish(
                ERRORED,
                error=type(error)(f"{self.who} returned a value that cannot be stored: {error}"),
            )
        else:
            self._finish(COMPLETE, payload=payload)

    def _finish(
        self, status: int, *, payload: bytes | None = None, error: BaseException | None = None
    ) -> None:
        if self.is_refused:
            return  # what it was not allowed to begin is missing: the next engine runs it again
        left = self.delivery.cursor.leftover()
        if left is not None:
            self.raised = error or self.raised
            self.mismatch(left, None)
            return
        if error is not None:
            log.warning("%s failed", self.who, exc_info=from_users_code(error))
            payload = codec.encode(describe_body(error))
        self.stopping = End.FINISHED  # from here on nothing may raise: what does is discarded
        if self.rest.winding or self.rest.threads:
            self.port.hold(self.who.no, self.who.incarnation)
        self.port.finish(self.who.no, self.who.incarnation, status, payload)

    def _leave(self) -> None:
        self.stopping = self.stopping or End.CANCELLED
        for operation in list(self.delivery.open.values()):
            self.port.tickets.pop(operation.number, None)
            operation.end_attempts()
        self.rest.end()
        if self.task is not None:
            self.port.keeper.close(self.task)
        self.delivery.open.clear()
        self.port.ended(self)
        # they lead back here: without them all of it is freed at once
        self.task = self.turns = self.loop = self.tally = self.raised = None

    # Operations.

    async def perform(self, operation: Operation) -> Outcome:
        """Begins an operation of the body and returns its outcome, once that is durable."""
        await self.enter()
        if self.delivery.cursor.pending:
            self.handles(sys.exception())
        if self.turns is None:
            await self.leave_if_cancelled()
            if self.delivery.cursor.pending:
                found = self._next((operation.identity,))
                if isinstance(found, Outcome):
                    self.delivery.at = found.at
                    self.delivery.turn += 1
                    self._caught_up()
                    self.delivery.bytes += len(found.payload or b"")
                    return found
                if found is not None:
                    self.mismatch(found, operation)
                    await self.stop_here()
            if (rest := self.take_effect(operation, in_body=True)) is not None:
                await self.alone(operation, rest)
            self.rest.settled_down()
        else:
            kind, path, name, key, _ = operation.identity
            if key is None:
                await self.check_race(path, kind, name)
            operation.keep_context()
            self.begin(operation)
        outcome = await operation.parked() or operation.own_outcome()
        self.delivery.bytes += len(outcome.payload or b"")
        return outcome

    async def alone(self, operation: Operation, rest: Awaitable[None]) -> None:
        """Waits for what is left of an operation in the body's own task."""
        try:
            await rest
        except BaseException as error:
            _foreign.left(operation, error)
            if not isinstance(error, Exception):
                raise
            contain(self, error)  # nobody recorded it, so the body may not see it
        else:
            return
        await self.stop_here()

    def may_begin(self) -> bool:
        """Whether code of the body may begin anything now: the one place where that is decided.

        A body that was refused is not driven any more, though the engine may still give its
        attempts time to end: nothing is delivered to it, and neither its history nor its rest is
        judged by what it was not allowed to begin.
        """
        if (error := sys.exception()) is not None and error is not self.port.outer:
            self.struck(error)
        if self.port.observed and not self.port.draining:
            _foreign.check_deadlines(self)
        if self.is_refused or self.stopping or self.port.draining:
            self.is_refused = True
            return False
        return True

    async def enter(self) -> None:
        """Returns if body code may begin something; a body that may not never comes back from
        here."""
        if not self.may_begin():
            await self.stop_here()

    async def leave_if_cancelled(self) -> None:
        """What a cancelled scope of the body asks for never begins, as with everything of trio's
        (I8)."""
        if self.who.format and self.loop is None:
            await trio.lowlevel.checkpoint_if_cancelled()

    @property
    def went_on(self) -> bool:
        """Whether the body that a crash ended was told of more than this one has come to. What was
        settled since, such as deadlines that were over by then, it was not told of."""
        return any(outcome.seq <= self.port.found for outcome in self.delivery.cursor.pending)

    @property
    def goes_on(self) -> bool:
        """Whether the body is driven by what happens to its instance: it neither ends nor was
        refused to begin something."""
        return not (self.stopping or self.is_refused)

    async def check_race(self, path: str, kind: int, name: str) -> None:
        """Blocks the instance if another task begins the same in this branch in this turn: their
        order is chance (I3)."""
        if self.races(path, kind, name):
            await self.stop_here()

    def races(self, path: str, kind: int, name: str) -> bool:
        """As `check_race`, where nothing can be awaited. Returns whether the instance is blocked
        now."""
        if self.turns is None:
            return False  # there is one task
        line: object = self.turns.line()
        beginners = self.delivery.beginners
        if beginners is None:
            beginners = self.delivery.beginners = {}
        races = beginners.setdefault((path, kind, name), line) is not line
        if races:
            self.block("race", _diagnosis.race(self, name), name)
        return races

    def begin(self, operation: Operation) -> None:
        """Opens an operation that takes effect when the turn ends, or when `deliver` is called."""
        operation.turn = self.delivery.turn
        self.delivery.open[operation.identity] = operation
        self.delivery.begun.append(operation)

    def take_effect(self, operation: Operation, in_body: bool = False) -> Awaitable[None] | None:
        """History has no outcome for an operation that is begun: it goes live.

        Args:
            in_body: Whether the single task of the body begins it at this moment; else it is open.

        Returns:
            What that task has to await (`alone`).
        """
        if in_body:
            self.delivery.replaying = False
            self.delivery.open[operation.identity] = operation
        operation.live = True
        if self.delivery.interrupted:
            # now, not when its task first runs: an outcome may come before that
            operation.interrupted = True
            self.delivery.untaken += operation.has_attempts
        self.rest.busy += 1
        return operation.go_live(in_body)

    def taken_up(self, operation: Operation) -> None:
        """A step that a crash may have cut short records that now; if it is the last one, the
        engine need not remember it (R3)."""
        if operation.interrupted:
            self.delivery.untaken -= 1
            if not self.delivery.untaken:
                self.port.taken_up(self.who.no, self.who.incarnation)

    def arrived(self, outcome: Outcome) -> None:
        """An outcome is durable: deliver it now, or in its turn."""
        if self.stopping:
            return
        if outcome.seq > self.delivery.cursor.seq:
            self.delivery.cursor.seq = outcome.seq
        self.delivery.cursor.add(outcome)
        self.stirred()

    def stirred(self) -> None:
        """There may be something to deliver: now, or when the turn ends."""
        if self.goes_on and (self.resting if self.turns is None else self.turns.at_rest):
            self.deliver()

    def _caught_up(self) -> None:
        """Replay ends with the last recorded outcome, such as the event that woke a parked body,
        unless the body was further."""
        self.delivery.replaying = bool(
            self.delivery.cursor.pending or self.delivery.attached or self.delivery.interrupted
        )

    def deliver(self) -> None:
        """Delivers outcomes until a body task can go on; then, if history is used up, goes live."""
        self.delivery.beginners = None
        while self.goes_on and not self.patches.hold():
            found = self._next(self.delivery.open)
            if found is None:
                self._live()
                return
            if isinstance(found, Mismatch):
                self.mismatch(found, None)
                return
            operation = self.delivery.open[found.identity]
            self.delivered(operation, found.at)
            if self.delivery.replaying:
                self._caught_up()
            if self.resolve(operation, found):
                return

    def resolve(self, operation: Operation, outcome: Outcome | None) -> bool:
        """Hands an operation its outcome; returns whether a body task can go on now."""
        if self.turns is None:
            return operation.resolve(outcome)
        self.turns.moving = True
        try:
            return operation.resolve(outcome)
        finally:
            if self.turns is not None:
                self.turns.moving = False

    def _live(self) -> None:
        """Begun operations without a recorded outcome go live, in the order of their identity (I4,
        I5)."""
        self.delivery.replaying = False
        begun, self.delivery.begun = self.delivery.begun, []
        begun = [o for o in begun if self.delivery.open.get(o.identity) is o]
        for operation in sorted(begun, key=_order) if len(begun) > 1 else begun:
            self.take_effect(operation)
        if self.delivery.interrupted and not self.delivery.untaken:
            self.port.taken_up(self.who.no, self.who.incarnation)
        if self.turns is not None and not self.delivery.open:
            _foreign.came_to_rest(self)
        self.rest.settled_down()

    def _next(self, open_operations: Iterable[Identity]) -> Outcome | Mismatch | None:
        """Returns the next outcome to deliver; events of waits that were given up before they were
        taken go back (I8)."""
        found = self.delivery.cursor.next(open_operations)
        for outcome in self.delivery.cursor.passed_over:
            if outcome.identity[0] == _replay.EVENT and outcome.number > 0:
                self.withdraw_wait(outcome.number)
            elif outcome.identity[0] == _replay.EVENT and outcome.number < 0:
                self.port.give_back(self.who.no, self.who.incarnation, outcome.seq)
        self.delivery.cursor.passed_over.clear()
        if isinstance(found, Outcome) and found.verdict == _replay.ABANDONED:
            operation = self.delivery.open.get(found.identity)
            if operation is None or not operation.is_cancelled:
                return Mismatch(found.identity, tuple(open_operations), was_cancelled=True)
        if isinstance(found, Outcome):
            self.raised = None  # whatever the body raised before, it fits its history so far
        return found

    def delivered(self, operation: Operation, at: int) -> None:
        """An operation is over; the turn that its outcome begins is at this time (I13)."""
        del self.delivery.open[operation.identity]
        self.delivery.at = at
        self.delivery.turn += 1
        if operation.live:
            # What was open at the end of replay has been begun again (R3). But if the body had gone
            # on from here already, so has it perhaps begun what it begins next.
            self.delivery.interrupted = operation.was_cut_short and operation.interrupted
            self.delivery.untaken -= self.delivery.interrupted
            rest = self.rest
            if not operation.waiting:
                rest.busy -= 1
            if rest.waits:
                rest.forget(operation.number)

    def spawn(self, run: Callable[[], Awaitable[None]], variables: Context) -> None:
        """Runs the attempts of a step in a task of their own, outside the body (I8), with the
        body's context variables (I12)."""
        variables.run(self.port.nursery.start_soon, self._guarded, run)

    @enable_ki_protection
    async def _guarded(self, run: Callable[[], Awaitable[None]]) -> None:
        with Guard(self):
            await run()

    def withdraw(self, operation: Operation) -> None:
        """The body gives an operation up without waiting for an end of it; its outcome, should it
        come, is abandoned (I8)."""
        if self.delivery.open.pop(operation.identity, None) is None or self.stopping:
            return
        self.delivery.cursor.withdraw(operation.identity)
        if operation.live:
            self.rest.busy -= not operation.waiting
            operation.withdrawn()
            self.rest.forget(operation.number)
        elif (known := self.delivery.attached.pop(operation.identity, None)) is not None:
            # given up before a crash too, but that was not durable yet
            self.withdraw_wait(known[0])

    def wound_down(self) -> None:
        """An attempt that may have outlived its step, or its body, has ended."""
        if self.stopping is not End.FINISHED:
            self.rest.settled_down()
        elif not (self.rest.winding or self.rest.threads):
            self.port.let_go(self.who.no)

    def withdraw_wait(self, number: int) -> None:
        """Closes an open wait; an event that was taken for it goes back."""
        self.port.withdraw(self.who.no, self.who.incarnation, number)

    # Waiting.

    def settled_early(
        self,
        number: int,
        verdict: int,
        type: str | None,
        payload: bytes | None,
        at: int,
        seq: int,
        came_at: int | None,
    ) -> None:
        """A wait that this body has not come (back) to yet, or has given up, is settled."""
        self.delivery.cursor.seq = max(self.delivery.cursor.seq, seq)
        for identity, (known, _) in self.delivery.attached.items():
            if known == number:
                del self.delivery.attached[identity]
                if identity[0] != _replay.DO:  # a retry delay that is over is no outcome
                    self.arrived(
                        Outcome(
                            identity,
                            verdict,
                            type,
                            payload,
                            at,
                            seq,
                            number=number,
                            came_at=came_at,
                        )
                    )
                return
        # the core took the body for woken; what it waits for otherwise it still waits for
        self.rest.woken()
        self.rest.settled_down()

    # Stopping.

    def unwind(self, why: End) -> None:
        """Cancels the body (P1). From now on it submits nothing."""
        if self.stopping is None:
            self.stopping, self.stopped_at = why, self.port.now()
            operations = list(self.delivery.open.values())  # before the cancellation takes them out
            self.scope.cancel()
            # what is settled from now on belongs to the body that comes after this one
            self.rest.end()
            if self._stopped is not None:
                self._stopped.set()
            for operation in operations:
                operation.end_attempts()
                operation.stop()

    async def stop_here(self) -> NoReturn:
        """Never returns: no operation begins any more. Raises `Cancelled` once the body unwinds,
        shields notwithstanding (P1)."""
        # else it is an attempt in a task of its own
        if self.loop is not None and self.loop.is_running():
            await self.loop.halt()
        if self.stopping is None:  # the engine drains, and attempts that run still have their grace
            if self._stopped is None:
                self._stopped = trio.Event()
            await self._stopped.wait()
        caught: list[trio.Cancelled] = []
        with trio.CancelScope() as scope:
            scope.cancel()
            try:
                await trio.lowlevel.checkpoint()
            except trio.Cancelled as error:
                caught.append(error)
        raise caught.pop()  # its scope is gone; the body's own one is cancelled and takes it

    def handles(self, error: BaseException | None) -> None:
        """Code of the body raised this, or handles it, while outcomes are undelivered: if the next
        one does not fit, it may be why (I5)."""
        # else it is what history itself brought
        if isinstance(error, Exception) and not isinstance(error, StepwellError):
            self.raised = error

    def mismatch(self, found: Mismatch, wanted: Operation | None) -> None:
        """The code is not what history was made by: block, with a diff (I5, I10)."""
        identity = None if wanted is None else wanted.identity
        self.block(
            "nondeterminism",
            _diagnosis.mismatch(self, found, identity, self.raised),
            found.recorded[2],
        )

    def block(self, reason: str, error: BaseException, step: str | None = None) -> None:
        """The instance needs a human: the body is unwound, and nothing more of it is recorded.
        `step`: the one it is about."""
        if not self.goes_on:
            return
        log.error(
            "%s is blocked (%s): %s",
            self.who,
            reason,
            error,
            exc_info=None if error.__cause__ is None else from_users_code(error.__cause__),
        )
        self.port.block(
            self.who.no, self.who.incarnation, reason, codec.encode(describe_body(error)), step
        )
        self.unwind(End.BLOCKED)

    # Several body tasks.

    def open_turns(self) -> None:
        """A nursery of the body opens: from now on there are turns (I4)."""
        if self.turns is None:
            self.turns = self.tally or self.port.keeper.open(self)
        self.turns.depth += 1

    def joined(self) -> None:
        """A task of the body starts in a nursery of trio's: from now on there are turns."""
        counts = self.tally or self.port.keeper.open(self)
        if not counts.for_good:
            counts.for_good = True
            self.open_turns()

    def close_turns(self) -> None:
        """A nursery of the body is closed; with the last one the body is a single task again."""
        if self.turns is not None:
            self.turns.depth -= 1
            if not self.turns.depth and self.task is not None:
                self.turns = None
                if not self.port.observed:
                    self.port.keeper.close(self.task)
                    self.tally = None

    @property
    def in_turn(self) -> bool:
        """Whether body tasks can go on, or have begun what takes effect at the end of the turn;
        that end says what comes of it."""
        return self.turns is not None and (
            not self.turns.at_rest or bool(self.delivery.begun) or self.patches.are_asked
        )

    # What operations and the body need.

    @property
    def info(self) -> InstanceInfo:
        """What a body may know of its own instance."""
        who = self.who
        try:
            stored = who.attributes
            attributes = codec.decode(stored, where="attributes") if stored else {}
        # the body goes on to its next `await`, and what comes of that is discarded
        except Undecodable as error:
            self.block("undecodable", _diagnosis.unreadable(self, "step.instance", error))
            attributes = {}
        return InstanceInfo(
            who.id,
            who.workflow.name,
            who.version,
            who.namespace,
            from_us(who.created_at),
            None,  # the parent's id is not known here yet
            None,
            attributes,
        )

    @property
    def turn_began(self) -> int:
        """From when a deadline counts: the time of this turn's outcome; in the first turn, which
        has none, the present."""
        return self.delivery.at if self.delivery.at != self.who.created_at else self.port.now()

    def keyed(self, kind: int, name: str, key: str) -> Identity:
        """Names the operation with this key; see `Branch.identify`."""
        step_name(key, "key")
        if self.delivery.keys is None:
            self.delivery.keys = set()
        if (kind, name, key) in self.delivery.keys:
            raise InvalidConfig(
                f'step "{name}" with key {key!r} was begun before in this '
                "instance; a key names one step."
            )
        self.delivery.keys.add((kind, name, key))
        return (kind, "", name, key, 1)

    async def unreadable(self, what: str, error: Undecodable, step: str | None = None) -> NoReturn:
        """A stored value cannot become today's type, or a failure has lost its class: block. The
        body never sees that (D7, D9, I10)."""
        if isinstance(error, MissingClass):
            self.port.lacks_class(self, (error.module, error.qualname))
            self.block("missing_class", _diagnosis.missing_class(self, what, error), step)
        else:
            self.block("undecodable", _diagnosis.unreadable(self, what, error), step)
        await self.stop_here()

    def report(self, progress: Any, message: str | None, fields: dict[str, Any]) -> None:
        """Keeps the last progress."""
        if self.delivery.replaying or self.stopping:
            return
        value = {
            "progress": progress,
            **({"message": message} if message is not None else {}),
            **fields,
        }
        try:
            payload = codec.encode(value, limit=REPORT_MAX, where="report")
        except TooLarge as error:
            raise TooLarge(
                f"report is {error.size:,} bytes when encoded, and {REPORT_MAX:,} is the most. "
                "Return what is long from a step",
                limit=REPORT_MAX,
                size=error.size,
            ) from None
        self.port.publish(self.who.no, self.who.incarnation, payload)


def _order(operation: Operation) -> tuple[str, int, str, int, str]:
    kind, branch, name, key, count = operation.identity
    return (branch, kind, name, count, key or "")
