"""One attempt of one step: call the function, in a context of its own, with a deadline.

An async function is driven in the task that asked for it, in a copy of the body's context (I12), so
that an attempt costs no task. A sync function runs in a worker thread. The deadline is a timer of
the engine's clock and is armed only once the function really waits: most of what a deadline scope
costs is spent on functions that never do.

This file does not know histories, retries or the store; it answers with a value or an exception.
"""

from __future__ import annotations

import functools
import inspect
import sys
import types
import uuid
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, copy_context
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import trio

from ._borrowed import Thread
from ._branch import Branch, place
from ._errors import InvalidConfig, Misuse, MisusedState, StepTimeout
from ._generators import close
from ._loops.interrupts import calls_code
from ._resisting import Ground
from ._room import need_room
from ._strangers import stranger

if TYPE_CHECKING:
    from ._remote import RemoteAttempt
    from ._step_operation import StepOperation

_KEYS = uuid.UUID("b1a5f0c2-3f0e-5d7c-9a58-0f5f6a5f2d10")


# with a default, which is PEP 696 and not in Python 3.11: a bare StepContext is one of any engine
if TYPE_CHECKING:
    import typing_extensions

    E = typing_extensions.TypeVar("E", default=Any)
else:
    E = TypeVar("E")


class StepContext(Generic[E]):
    """What a step function may know of the step it runs in. Get it with `current_step()`.

    Attributes:
        name: The step's name.
        key: Its key, or None.
        count: Which occurrence of the name in its branch, from 1.
        attempt: Which attempt, from 1; attempts before a restart count.
        instance_id: Id of the instance.
        config: The retry configuration in force.
        saved: What an earlier attempt handed over with `save`, or None.
    """

    __slots__ = (
        "_operation",
        "attempt",
        "beat",
        "config",
        "count",
        "instance_id",
        "key",
        "name",
        "saved",
    )

    def __init__(self, operation: StepOperation, attempt: int, saved: Any) -> None:
        _, _, self.name, self.key, self.count = operation.identity
        self.attempt = attempt
        self.saved = saved
        self.config = operation.plan.retry
        self.instance_id = operation.runner.who.id
        self.beat = 0
        self._operation = operation

    def __repr__(self) -> str:
        return f"<step {self.name!r} of {self.instance_id}, attempt {self.attempt}>"

    @property
    def idempotency_key(self) -> str:
        """A UUID that is the same for every attempt of this step, whatever process or machine runs
        it."""
        return str(
            uuid.uuid5(_KEYS, f"{self._operation.runner.who.seed}|{self._operation.identity}")
        )

    @property
    def engine(self) -> E:
        """The engine that runs this step, with methods that can be called where the step's function
        runs.

        For type checkers it is the engine of the module that `current_step` comes from: `stepwell`,
        `stepwell.aio` or `stepwell.sync`.
        """
        return self._operation.runner.port.engine._seen_from(_runs_on())  # type: ignore[no-any-return]  # of whichever front

    def report(self, progress: Any = None, message: str | None = None, **fields: Any) -> None:
        """Tells watchers how far the instance is; the last report is kept. Never causes a commit.

        Args:
            progress: Any storable value, by habit a number from 0 to 1.
            message: One line for a person.
            fields: More storable values.

        Raises:
            NotSerializable: A value cannot be stored.
            TooLarge: All of it is over 64 KiB encoded.
            InvalidState: The attempt has ended; something it has left running reports.
        """
        self._check_runs("report()")
        self._operation.runner.report(progress, message, fields)

    def heartbeat(self) -> None:
        """Says that this attempt is alive; restarts its `heartbeat_timeout`. Cheap, from any
        thread.

        Raises:
            InvalidState: The attempt has ended, as by its timeout.
        """
        self._check_runs("heartbeat()")
        self.beat = self._operation.runner.port.monotonic()

    def save(self, value: Any) -> Coroutine[Any, Any, None]:
        """Keeps a value for the next attempt (`saved`); durable when `await step.save(value)`
        returns. A plain function, which cannot await, calls `step.save(value)`, and has it then.

        Raises:
            NotSerializable: It cannot be stored.
            TooLarge: It is over the limit for one value.
            InvalidState: The attempt has ended, or is to end because its instance leaves memory.
        """
        need_room()
        where = _runs_on()
        if where == "trio":
            return self._save(value)
        # it imports asyncio, as the caller has or the threads of an engine have
        from ._loops.portal import from_asyncio, from_thread

        token = self._operation.runner.port.token
        if where == "asyncio":
            return from_asyncio(token, functools.partial(self._save, value))
        from_thread(token, functools.partial(self._save_for_thread, value))
        return None  # type: ignore[return-value]  # to a plain function, which awaits nothing

    async def _save(self, value: Any) -> None:
        self._check_runs("save()")
        await self._operation.save(value, self.attempt)

    async def _save_for_thread(self, value: Any) -> None:
        try:
            await self._save(value)
        except trio.Cancelled:  # a body unwinds, and nothing cancels a thread
            raise MisusedState(
                f'step "{self.name}" of {self.instance_id} is to end, and saved nothing: its '
                "instance leaves memory. It runs again."
            ) from None

    def _check_runs(self, method: str) -> None:
        operation = self._operation
        if operation.has_ended(self.attempt):
            raise MisusedState(
                f'{method} of step "{self.name}" of '
                f"{operation.runner.who} was called after attempt "
                f"{self.attempt} had ended. What a step starts it has to await, or to stop, before "
                "it returns."
            )


def _runs_on() -> str:
    """Returns what the calling code runs on: "trio", "asyncio" or, with neither, a "thread"."""
    if trio.lowlevel.in_trio_run():
        return "trio"
    loops = sys.modules.get("asyncio")  # never imported: no loop runs
    return "thread" if loops is None or loops._get_running_loop() is None else "asyncio"


def current_step() -> StepContext[Any]:
    """Returns the context of the step whose function is running here, also in its worker thread.

    Raises:
        StepwellError: No step is running here.
    """
    operation = place.get()
    if operation is None or isinstance(operation, Branch):
        raise Misuse(
            "current_step() was called outside a step function. Call it in a function "
            "that step.do runs."
        )
    return operation.context


class CutShort(Exception):
    """The body cancelled a step, and its attempt has ended without a value or an error of its own
    (I8)."""


class Stopped(Exception):
    """Carries the `StopIteration` of a plain function, which no coroutine can raise: Python would
    make a RuntimeError of it."""

    def __init__(self, error: StopIteration) -> None:
        super().__init__()
        self.error = error


@dataclass(slots=True)
class Deadline:
    """Arms the timeouts of one attempt, at most once, and remembers which one struck. All its times
    are monotonic (T2)."""

    operation: StepOperation
    context: StepContext
    strike: Callable[[], None]
    struck: str | None = None
    _timers: list[int] | None = None
    _began: int = 0

    def start(self, began: int | None = None) -> None:
        """Starts counting; called when the function first waits, or its thread begins.

        Args:
            began: When the function was called, if that is not now.
        """
        if self._timers is not None:
            return
        self._timers = []
        port, plan = self.operation.runner.port, self.operation.plan
        now = port.monotonic()
        self._began = now if began is None else began
        gone = now - self._began
        self._arm(max(0, plan.timeout - gone), self._timed_out)
        if plan.heartbeat_timeout is not None:
            self._arm(max(0, plan.heartbeat_timeout - gone), self._check_heartbeat)

    @property
    def has_begun(self) -> bool:
        """Whether the function has waited."""
        return self._timers is not None

    def stop(self) -> None:
        """Disarms what is left."""
        for ticket in self._timers or ():
            self.operation.runner.port.disarm(ticket)

    def _arm(self, delay: int, then: Callable[[], None]) -> None:
        assert self._timers is not None
        self._timers.append(self.operation.runner.port.arm(delay, then))

    def _timed_out(self) -> None:
        self._strike(f"took longer than its timeout of {self.operation.plan.timeout / 1e6:g} s")

    def _check_heartbeat(self) -> None:
        limit = self.operation.plan.heartbeat_timeout or 0
        silent = self.operation.runner.port.monotonic() - max(self.context.beat, self._began)
        if silent >= limit:
            self._strike(f"sent no heartbeat for {limit / 1e6:g} s")
        else:
            self._arm(limit - silent, self._check_heartbeat)

    def _strike(self, why: str) -> None:
        if self.struck is None:
            self.struck = why
            self.strike()


async def call(
    operation: StepOperation, fn: Callable[..., Any], args: tuple[Any, ...], step: StepContext
) -> Any:
    """Runs one attempt and returns what the function returns, or raises what it raises.

    Raises:
        StepTimeout: It was cancelled because it took too long.
    """
    plan = operation.plan
    context = copy_context()
    context.run(place.set, operation)
    if not plan.is_async:
        return await _call_in_thread(operation, fn, args, step, context)
    if operation.on_asyncio:
        return await _on_asyncio(operation, functools.partial(fn, *args), context)
    scope = operation.attempt_scope = trio.CancelScope()
    deadline = Deadline(operation, step, operation.cancel_attempt)
    with scope:
        try:
            return await _drive(as_coroutine(context.run(fn, *args)), context, deadline, step.name)
        finally:
            deadline.stop()
            plan.waits = plan.waits or deadline.has_begun
    raise await _cut_short(operation, deadline)


async def _cut_short(operation: StepOperation, deadline: Deadline) -> Exception:
    """Returns why the scope of an attempt was cancelled: the body cancelled its step, or it took
    too long. If the body unwinds, raises."""
    if operation.runner.stopping:
        await operation.runner.stop_here()
    return CutShort() if operation.is_cancelled else StepTimeout(deadline.struck or "")


def end_of(thread: Thread) -> tuple[Any, BaseException | None]:
    """Returns the value and the error to which a thread came for which nobody waits any more."""
    if thread.outcome is None:
        return None, CutShort()  # it could not be started
    try:
        value = thread.take().unwrap()
    except Stopped as stopped:
        return None, stopped.error
    except BaseException as error:
        return None, error
    if inspect.iscoroutine(value):
        value.close()
    return (None, CutShort()) if inspect.isawaitable(value) else (value, None)


@functools.cache
def remote() -> type[RemoteAttempt]:
    """Returns the class of attempts that no trio task waits for."""
    from ._remote import RemoteAttempt  # as below

    return RemoteAttempt


async def _on_asyncio(operation: StepOperation, made: Callable[[], Any], context: Context) -> Any:
    # here, because asyncio takes long to import and most programs never come here
    from . import _remote

    return await _remote.call(operation, made, context)


@calls_code
def enter_and_send(operation: StepOperation, coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Runs a step function's coroutine, in its own context, until it waits for the first time;
    returns what it waits for.

    Raises:
        StopIteration: It has returned, without having waited.
    """
    place.set(operation)
    return coroutine.send(None)


async def go_on_unscoped(
    operation: StepOperation, coroutine: Coroutine[Any, Any, Any], context: Context, trap: Any
) -> Any:
    """Goes on with an attempt that has no scope to cancel it by: its function had never waited
    before.

    Should it wait too long this time, the body is unwound and replayed, the one way left to stop
    it.
    """
    operation.plan.waits = True
    operation.ground = Ground.of_body(operation.runner)
    deadline = Deadline(
        operation, operation.context, lambda: operation.give_up_attempt(deadline.struck or "")
    )
    deadline.start()
    try:
        return await _go_on(coroutine, context, trap, operation.identity[2])
    finally:
        deadline.stop()


def as_coroutine(made: Any) -> Coroutine[Any, Any, Any]:
    """Returns what an async function made, which may be any awaitable, as what can be sent to."""
    return made if inspect.iscoroutine(made) else _awaited(made)


async def _awaited(made: Any) -> Any:
    return await made


@calls_code
@types.coroutine
def _drive(
    coroutine: Coroutine[Any, Any, Any], context: Context, deadline: Deadline, name: str
) -> Generator[Any, Any, Any]:
    """Runs a coroutine in this task but in another context; the deadline counts from when it first
    waits."""
    deadline.operation.ground = Ground.here()
    try:
        trap = context.run(coroutine.send, None)
    except StopIteration as stop:
        yield from _close_generators(context, name, None)
        return stop.value
    except BaseException as error:
        yield from _close_generators(context, name, error)
        raise
    deadline.start()
    rest: Any = _go_on(coroutine, context, trap, name)  # a generator, whatever its decorator says
    return (yield from rest)


@calls_code
@types.coroutine
def _go_on(
    coroutine: Coroutine[Any, Any, Any], context: Context, trap: Any, name: str
) -> Generator[Any, Any, Any]:
    driven: Any = _driven(coroutine, context, trap, name)
    try:
        value = yield from driven
    except BaseException as error:
        yield from _close_generators(context, name, error)
        raise
    yield from _close_generators(context, name, None)
    return value


def _close_generators(
    context: Context, name: str, error: BaseException | None
) -> Generator[Any, Any, None]:
    """Closes what generators an attempt has left before their end, in its context."""
    operation: Any = context[place]
    left = operation.runner.port.generators.left_by(operation)
    if left:
        code = close(operation.runner, left, error)
        try:
            trap = context.run(code.send, None)
        except StopIteration:
            return
        driven: Any = _driven(code, context, trap, name)
        yield from driven


@calls_code
@types.coroutine
def _driven(
    coroutine: Coroutine[Any, Any, Any], context: Context, trap: Any, name: str
) -> Generator[Any, Any, Any]:
    operation: Any = context[place]
    ground = operation.ground
    run, send = context.run, coroutine.send
    while True:
        try:
            if trap is None or hasattr(trap, "_asyncio_future_blocking"):
                raise InvalidConfig(_ASYNCIO.format(name))
            answer = yield trap
        except BaseException as error:
            try:
                trap = run(coroutine.throw, error)
            except StopIteration as stop:
                return stop.value
        else:
            if operation.is_ending and (yield from ground.leaves(operation, coroutine, answer)):
                yield from operation.runner.stop_here().__await__()
            try:
                trap = run(send, answer)
            except StopIteration as stop:
                return stop.value


_ASYNCIO = 'step "{}" ran asyncio code on trio. Pass runtime="asyncio".'


def of_wrong_runtime(error: BaseException, name: str) -> InvalidConfig | None:
    """Returns the clearer error for what asyncio and trio say when their code runs where they are
    not."""
    whose = stranger(error)
    if whose == "asyncio":
        return InvalidConfig(_ASYNCIO.format(name))
    return (
        None
        if whose is None
        else InvalidConfig(f'step "{name}" ran trio code on asyncio. Pass runtime="trio".')
    )


def _called(context: Context, fn: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    try:
        return context.run(fn, *args)
    except StopIteration as stop:
        raise Stopped(stop) from None


async def _call_in_thread(
    operation: StepOperation,
    fn: Callable[..., Any],
    args: tuple[Any, ...],
    step: StepContext,
    context: Context,
) -> Any:
    """Runs a plain function in a worker thread; its timeout counts from its start, not its queueing
    (R1).

    A thread cannot be stopped: when its time is up the attempt fails, and the next one waits for it
    (R5).
    """
    scope = operation.attempt_scope = trio.CancelScope()
    deadline = Deadline(operation, step, operation.cancel_attempt)
    thread = Thread(operation.runner.port.borrowed, operation, deadline.start)
    with scope:
        try:
            value = await thread.run(functools.partial(_called, context, fn, args))
            operation.runs = True
            if not inspect.isawaitable(value):
                return value
            if not operation.on_asyncio:
                return await _drive(as_coroutine(value), context, deadline, step.name)
            return await _on_asyncio(operation, lambda: value, context)
        finally:
            deadline.stop()
    failure: BaseException = await _cut_short(operation, deadline)
    if operation.is_cancelled and operation.thread is thread:
        # it cannot be stopped, and what it comes to is the end of the step
        await thread.ended.wait()
    if operation.is_cancelled and thread.outcome is not None:
        value, error = end_of(thread)
        if error is None:
            return value
        failure = error
        del error
    try:
        raise failure
    finally:
        del failure  # its traceback leads back to this frame
