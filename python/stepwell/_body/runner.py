"""One instance from start to park: makes its life in memory and runs its body.

The body is one trio task in a cancel scope of its own. What it asks for, and what it is told, is
not here but in `delivery`; how it ends, in `stopping`. This file makes what they work on, and
says what becomes of what the body returns or raises.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import trio
from trio.lowlevel import enable_ki_protection

from .._core import DEADLINE
from .._ending import End
from .._errors import InstanceTimeout, InvalidConfig, NotSerializable, TooLarge
from .._log import log
from .._loops.coroutines import as_coroutine
from .._replay import Cursor
from .._types import STATUSES, Status
from .._values.codec import Undecodable, codec
from .._values.durations import text
from .._values.envelope import without_trace
from .._values.failures import describe_body, from_users_code
from . import delivery, diagnosis, stopping
from .branch import Branch, place
from .causes import interrupt_in, was_cancelled
from .containment import Guard
from .life import Delivery, Streams, Who
from .pending import Pending
from .resisting import leave_nurseries
from .rest import Rest
from .turns import in_slices, on_asyncio
from .undoing import Undoing

if TYPE_CHECKING:
    from .._loops.body_loop import BodyLoop
    from .._replay import Identity
    from .._steps.workflow import Workflow
    from .life import Port, Resting, Turning

TIME_LIMIT: Final[Identity] = (DEADLINE, "", "timeout of the workflow", None, 1)
"""The deadline over the whole body (`@workflow(timeout=)`)."""
COMPLETE, ERRORED = STATUSES.index(Status.COMPLETE), STATUSES.index(Status.ERRORED)


class Runner:
    """The body of one instance, in memory. There may be 50,000, and each object and byte of one
    counts (W2b)."""

    __slots__ = (
        "__weakref__", "_params", "asked", "delivery", "halted", "is_pausing", "is_refused",
        "loop", "port", "raised", "rest", "resting", "scope", "stopped_at", "stopping", "tally",
        "task", "turns", "undoing", "undoing_for", "value_bytes", "who",
    )  # fmt: skip

    def __init__(self, port: Port, workflow: Workflow[Any, Any], start: tuple[Any, ...]) -> None:
        no, incarnation, namespace, _, version, id, self._params, *rest = start
        attributes, created_at, _, format, interrupted, records, waits, seed, *rest = rest
        schedule, born, sent = rest
        self.who = Who(
            no,
            incarnation,
            namespace,
            workflow,
            version,
            id,
            format,
            created_at,
            incarnation if seed == incarnation else seed,  # one object for both
            attributes,
            attributes,
            schedule,
            born,
        )
        self.port = port
        cursor = Cursor.over(records)
        self.undoing = Undoing(start) if cursor.undoes else None
        self.undoing_for: bytes | None = None
        """The error that its body raised, if it is to undo its steps for that."""
        if self.undoing is not None:
            interrupted, waits = False, ()
        self.delivery = Delivery(
            cursor,
            {tuple(w[1:6]): (w[0], w[7]) for w in waits},
            interrupted,
            created_at if cursor.run_at is None else cursor.run_at,
            len(self._params or b""),
        )
        if sent:
            self.delivery.streams = Streams(dict(sent))
        if self.undoing is not None:
            self.delivery.replaying = True
        if workflow.timeout is None:
            self._lift_limit()
        self.take_limits()
        self.turns: Turning | None = None
        self.loop: BodyLoop | None = None
        self.tally: Turning | None = None
        self.resting = False
        self.task: trio.lowlevel.Task | None = None
        self.scope = trio.CancelScope()
        self.stopping: End | None = None
        self.is_pausing = False
        self.is_refused = False
        self.stopped_at = 0
        self.raised: BaseException | None = None
        self.asked: dict[Pending[Any], None] | None = None
        self.rest: Resting = Rest(self)
        self.halted: trio.Event | None = None

    def take_limits(self) -> None:
        """Reads the limits of the instance: when the body begins, and whenever they are others."""
        limits = self.port.limits_of(self.who.namespace, self.who.workflow.name)
        self.value_bytes = limits.value_bytes
        self.delivery.steps_max, self.delivery.bytes_max = limits.steps, limits.instance_bytes

    @enable_ki_protection
    async def run(self, make_step: Callable[[Runner], Any]) -> None:
        """Runs the body to its end, its park or its block. Raises nothing."""
        self.task = trio.lowlevel.current_task()
        branch = Branch(self)
        branch.has_task = True
        place.set(branch)
        if self.port.told is not None and self.undoing is None:
            self.port.told.begins(self, self._params)
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

    def _raised(self, error: BaseException) -> None:
        if interrupt_in(error) is not None or was_cancelled(self, error):
            raise error
        if self.stopping and isinstance(error, Exception):  # P1, but it may be what its code lacks
            log.warning(
                "the body of %s raised this while it was unwound (%s); nothing comes of that",
                self.who, self.stopping.value, exc_info=from_users_code(error),
            )  # fmt: skip
        if stopping.goes_on(self) and (stray := diagnosis.use_of_others(self, error)) is not None:
            stopping.block(self, "foreign_wait", stray)
        if not self.stopping:
            self._finish(ERRORED, error=error)

    def _code(self, step: Any) -> Awaitable[Any]:
        """Returns what runs the code of the body."""
        fn, plan = self.who.workflow.fn, self.who.workflow.params
        args: tuple[Any, ...] = (step,)
        if self.who.workflow.takes_params:
            params = without_trace(self._params)
            try:
                args = (step, plan.decode(params, "params") if params is not None else None)
            except Undecodable as error:
                return stopping.unreadable(self, "the start", error)
        code = as_coroutine(fn(*args))
        if self.who.workflow.timeout is not None:
            code = self._in_time(step, code, self.who.workflow.timeout)
        return (
            in_slices(self, code) if self.who.workflow.runtime == "trio" else on_asyncio(self, code)
        )

    async def _in_time(self, step: Any, code: Awaitable[Any], us: int) -> Any:
        """Runs the code of the body, and cancels it when its time is over."""
        with step.move_on_after(timedelta(microseconds=us), TIME_LIMIT[2]):
            return await code
        raise InstanceTimeout(f"{self.who} took longer than {text(us)}, the timeout it has")

    def _lift_limit(self) -> None:
        """The code has no timeout: if it had one, the wait for it is given up, or what came of it
        passed over."""
        told = self.delivery
        if TIME_LIMIT in told.attached:
            number, _ = told.attached.pop(TIME_LIMIT)
            told.cursor.withdraw(TIME_LIMIT)
            self.port.withdraw(self.who.no, self.who.incarnation, number)
        elif told.cursor.outcome_of(TIME_LIMIT) is not None:
            told.cursor.withdraw(TIME_LIMIT)

    def _output_of(self, output: Any) -> Any:
        if isinstance(output, Pending):
            raise InvalidConfig(
                f"{self.who.workflow.name} returned a step that it never awaited. "
                "Write `return await step.…`."
            )
        if self.asked:
            raise diagnosis.never_awaited(self.asked)
        return output

    def _returned(self, output: Any) -> None:
        if self.stopping:
            return
        try:
            payload = self.who.workflow.output.encode(
                output, limit=self.port.most_bytes(self.value_bytes), where="output"
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
        if self.undoing is not None:
            self.stopping = End.UNDOES
            return
        if self.is_refused:
            return  # what it was not allowed to begin is missing: its next life ends otherwise
        told = self.delivery
        has_past = told.cursor.pending or told.attached or told.cursor.attempts
        if has_past and (left := delivery.leftover(self)) is not None:
            self.raised = error or self.raised
            stopping.mismatch(self, left, None)
            return
        if error is not None:
            log.warning("%s failed", self.who, exc_info=from_users_code(error))
            if self.port.told is not None:
                self.port.told.fails(self.who.no, error)
            if self._blocks(error):
                stopping.block(self, "body_failed", error)
                return
            payload = codec.encode(describe_body(error))
            if told.undoable:
                self.stopping, self.undoing_for = End.UNDOES, payload
                return
        self.stopping = End.FINISHED  # from here on nothing may raise: what does is discarded
        if self.rest.winding or self.rest.threads:
            self.port.hold(self.who.no, self.who.incarnation)
        who = self.who
        try:
            self.port.finish(who.no, who.incarnation, status, payload, who.version)
        except NotSerializable as failed:  # a codec of the user's cannot take the output
            self.stopping = None
            self._finish(ERRORED, error=failed)

    def _blocks(self, error: BaseException) -> bool:
        """Whether what the body raised is to be mended, and does not end the instance."""
        policy = self.who.workflow.on_error or self.port.on_error
        # another life would find its time over as well
        return policy == "blocked" and not isinstance(error, InstanceTimeout)

    def _leave(self) -> None:
        self.stopping = self.stopping or End.CANCELLED
        for operation in list(self.delivery.open.values()):
            self.port.tickets.pop(operation.number, None)
            operation.end_attempts()
        if self.port.told is not None:
            self.port.told.ends(self)
        self.rest.end()
        if self.task is not None:
            self.port.keeper.close(self.task)
        self.delivery.open.clear()
        self.port.ended(self)
        # each of these holds what holds this life: a circle
        self.task = self.turns = self.loop = self.tally = self.raised = self.asked = None
