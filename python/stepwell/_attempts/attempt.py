"""One attempt of one step: call the function, in a context of its own, with timeouts.

An async function is driven in the task that asked for it, in a copy of the body's context (I12), so
that an attempt costs no task. A sync function runs in a worker thread. Timeouts are timers of the
engine's clock and are armed only once the function really waits: most of what a scope with a
deadline costs is spent on functions that never do.

This file does not know histories, retries or the store; it answers with a value or an exception.
"""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any

import trio

from .._body import stopping
from .._body.branch import place
from .._body.generators import close
from .._body.resisting import Ground
from .._errors import InvalidConfig, StepTimeout
from .._loops.coroutines import as_coroutine
from .._loops.interrupts import calls_code
from .._steps.borrowed import Thread
from .._strangers import stranger
from .timeouts import CutShort, Timeouts

if TYPE_CHECKING:
    from .._body.running import Running
    from .remote import RemoteAttempt


class Stopped(Exception):
    """Carries the `StopIteration` of a plain function, which no coroutine can raise: Python would
    make a RuntimeError of it."""

    def __init__(self, error: StopIteration) -> None:
        super().__init__()
        self.error = error


async def call(operation: Running, fn: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """Runs one attempt and returns what the function returns, or raises what it raises.

    Raises:
        StepTimeout: It was cancelled because it took too long.
    """
    plan = operation.plan
    context = copy_context()
    context.run(place.set, operation)
    if not plan.is_async:
        return await _call_in_thread(operation, fn, args, context)
    if operation.on_asyncio:
        return await _on_asyncio(operation, functools.partial(fn, *args), context)
    scope = operation.attempt_scope = trio.CancelScope()
    timeouts = Timeouts(operation, operation.cancel_attempt)
    with scope:
        try:
            return await _drive(
                as_coroutine(context.run(fn, *args)), context, timeouts, operation.identity[2]
            )
        finally:
            timeouts.stop()
            plan.waits = plan.waits or timeouts.has_begun
    raise await _cut_short(operation, timeouts)


async def _cut_short(operation: Running, timeouts: Timeouts) -> Exception:
    """Returns why the scope of an attempt was cancelled: the body cancelled its step, or it took
    too long. If the body unwinds, raises."""
    if operation.life.stopping:
        await stopping.stop_here(operation.life)
    return CutShort() if operation.is_cancelled else StepTimeout(timeouts.struck or "")


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
    from .remote import RemoteAttempt  # here, because asyncio takes long to import

    return RemoteAttempt


async def _on_asyncio(operation: Running, made: Callable[[], Any], context: Context) -> Any:
    # here, because asyncio takes long to import and most programs never come here
    from .remote import call as call_there

    return await call_there(operation, made, context)


@calls_code
def enter_and_send(operation: Running, coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Runs a step function's coroutine, in its own context, until it waits for the first time;
    returns what it waits for.

    Raises:
        StopIteration: It has returned, without having waited.
    """
    place.set(operation)
    return coroutine.send(None)


async def go_on_unscoped(
    operation: Running, coroutine: Coroutine[Any, Any, Any], context: Context, trap: Any
) -> Any:
    """Goes on with an attempt that has no scope to cancel it by: its function had never waited
    before.

    Should it wait too long this time, the body is unwound and replayed, the one way left to stop
    it.
    """
    operation.plan.waits = True
    operation.ground = Ground.of_body(operation.life)
    timeouts = Timeouts(operation, lambda: operation.give_up_attempt(timeouts.struck or ""))
    timeouts.start()
    try:
        return await _go_on(coroutine, context, trap, operation.identity[2])
    finally:
        timeouts.stop()


@calls_code
@types.coroutine
def _drive(
    coroutine: Coroutine[Any, Any, Any], context: Context, timeouts: Timeouts, name: str
) -> Generator[Any, Any, Any]:
    """Runs a coroutine in this task but in another context; its timeouts count from when it first
    waits."""
    timeouts.operation.ground = Ground.here()
    try:
        trap = context.run(coroutine.send, None)
    except StopIteration as stop:
        yield from _close_generators(context, name, None)
        return stop.value
    except BaseException as error:
        yield from _close_generators(context, name, error)
        raise
    timeouts.start()
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
    left = operation.life.port.generators.left_by(operation)
    if left:
        code = close(operation.life, left, error)
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
                yield from stopping.stop_here(operation.life).__await__()
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
    operation: Running,
    fn: Callable[..., Any],
    args: tuple[Any, ...],
    context: Context,
) -> Any:
    """Runs a plain function in a worker thread; its timeout counts from its start, not its queueing
    (R1).

    A thread cannot be stopped: when its time is up the attempt fails, and the next one waits for it
    (R5).
    """
    scope = operation.attempt_scope = trio.CancelScope()
    timeouts = Timeouts(operation, operation.cancel_attempt)
    thread = Thread(operation.life.port.borrowed, operation, timeouts.start)
    with scope:
        try:
            value = await thread.run(functools.partial(_called, context, fn, args))
            operation.runs = True
            if not inspect.isawaitable(value):
                return value
            if not operation.on_asyncio:
                return await _drive(as_coroutine(value), context, timeouts, operation.identity[2])
            return await _on_asyncio(operation, lambda: value, context)
        finally:
            timeouts.stop()
    failure: BaseException = await _cut_short(operation, timeouts)
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
        del failure  # its traceback has this frame: a circle
