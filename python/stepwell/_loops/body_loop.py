"""An asyncio loop for the tasks of one body: it runs what can run, in order, and nothing else ever
happens on it.

It has no clock, no sockets, no threads. Tasks and callbacks go on in the order in which they became
able to, so what a body does between two outcomes follows from its code alone. Whatever would wait
for the world outside is refused, and so is a task that awaits something of another loop, or of
trio.

This file knows neither steps nor the engine.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
import threading
import types
import weakref
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator
from contextvars import Context
from typing import Any, NoReturn, Protocol

import trio
from sniffio import thread_local as library

from .._room import need_room
from .coroutines import leave_unfinished
from .interrupts import calls_code

_TRIO: Any = getattr(trio._core._run, "GLOBAL_RUN_CONTEXT", types.SimpleNamespace())
"""Where trio keeps which of its tasks runs: none, while code of a body does, whose scopes would
then be those of the body's host."""
HALTS_MAX = 100
"""Times that a body which has to end may begin something all the same, before that waits until it
is cancelled once more."""


class Host(Protocol):
    """Who runs a loop, as the loop sees it."""

    def stirred(self) -> None:
        """Something can run, and nothing could before."""

    def refused(self, method: str) -> None:
        """A method of the loop was called that would wait for the world outside; what it is to
        bring never comes."""

    def called_from_outside(self, method: str, handle: asyncio.Handle | None = None) -> NoReturn:
        """Another thread called a method: it sets an event of the body's, for example. Raises.

        Args:
            handle: To be given to `run_late` once the body unwinds: without it a task would wait
                for ever for what is set already.
        """
        ...

    def strayed(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """A task of the body, which stands where its coroutine stands, waits for what is not of
        this loop."""

    def never_began(self, values: list[Any]) -> None:
        """A task was cancelled before it began; this is what its code was given."""

    def raised(self, error: BaseException) -> None:
        """A task has raised this."""

    def failed(self, error: RuntimeError) -> None:
        """A task that was made without this loop's help has failed; it may be because it waited for
        what is not of this loop."""

    def seconds(self) -> float:
        """Returns what time it is for the body."""
        ...

    def troubled(self, context: dict[str, Any]) -> None:
        """A callback raised, or nobody took the exception of a task; see
        `asyncio.loop.call_exception_handler`."""


class BodyTask(asyncio.Task[Any]):
    """A task of a body.

    Attributes:
        line: The line of code it belongs to: itself, or that of the task for which it begins one
            operation of several.
        is_part: Whether it is one of several operations that are awaited together.
        coroutine: What it runs.
    """

    def __init__(
        self, coroutine: Coroutine[Any, Any, Any], loop: BodyLoop, hash: int, **options: Any
    ) -> None:
        self._hash = hash
        self.line: object = self
        self.is_part = False
        self.coroutine = coroutine
        guarded: Any = _guarded(loop, coroutine)
        guarded.__name__, guarded.__qualname__ = (
            getattr(coroutine, "__name__", "?"),
            getattr(coroutine, "__qualname__", "?"),
        )
        super().__init__(guarded, loop=loop, **options)

    def __hash__(self) -> int:
        # no address: asyncio keeps tasks in sets, which are then walked in the same order on every
        # replay
        return self._hash


def code_of(task: asyncio.Task[Any]) -> Any:
    """Returns what a task runs."""
    return task.coroutine if type(task) is BodyTask else task.get_coro()


class Suspension(asyncio.Future[Any]):
    """What a task waits for that is told from outside of its loop, by `wake`.

    Args:
        aborted: Called when the task is cancelled while it waits, with a function that raises that.
            Returns whether it learns so at once, as in trio; else it goes on to wait until `wake`
            or `cancel_now`.
    """

    def __init__(
        self, loop: BodyLoop, aborted: Callable[[Callable[[], NoReturn]], trio.lowlevel.Abort]
    ) -> None:
        super().__init__(loop=loop)
        self._aborted: Callable[[Callable[[], NoReturn]], trio.lowlevel.Abort] | None = aborted
        self._message: Any = None

    def wake(self, value: Any) -> None:
        """The task goes on, with this."""
        self._aborted = None
        self.set_result(value)

    def cancel(self, msg: Any | None = None) -> bool:
        if (
            self._aborted is not None
            and self._aborted(_raise_cancelled) is trio.lowlevel.Abort.FAILED
        ):
            self._message = msg
            return True
        self._aborted = None
        return super().cancel(msg)

    def cancel_now(self) -> None:
        """The task learns that it was cancelled."""
        self._aborted = None
        super().cancel(self._message)


def _raise_cancelled() -> NoReturn:
    raise asyncio.CancelledError


class Scope:
    """A block of a task's code that can be cancelled, as `asyncio.timeout` does it.

    Attributes:
        cancel_called: Whether it was.
        cancelled_caught: Whether the block was cut short by that.
    """

    def __init__(self, loop: BodyLoop) -> None:
        self.cancel_called = False
        self.cancelled_caught = False
        self._loop = loop
        self._task: asyncio.Task[Any] | None = None
        self._before = 0
        self._struck = False

    def __enter__(self) -> Scope:
        self._task = asyncio.current_task(self._loop)
        assert self._task is not None, "it is entered by code of a task"
        self._before = self._task.cancelling()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: types.TracebackType | None,
    ) -> bool:
        task, self._task = self._task, None
        if task is not None and self._struck and task.uncancel() <= self._before:
            self.cancelled_caught = kind is asyncio.CancelledError
        return self.cancelled_caught

    def cancel(self, reason: str | None = None) -> None:
        """Cancels the block where it waits, or where it waits next."""
        if self.cancel_called:
            return
        self.cancel_called = True
        if self._task is asyncio.current_task(self._loop):
            # not at once: that would strike behind the block, if it waits for nothing more
            self._loop.call_soon(self._strike)
        else:
            self._strike()

    def _strike(self) -> None:
        if self._task is not None:
            self._struck = self._task.cancel()


class BodyLoop(asyncio.AbstractEventLoop):
    """The loop of one body.

    Args:
        host: Who runs it.
        seed: The same whenever the same body runs.
    """

    def __init__(self, host: Host, seed: int) -> None:
        self._host = host
        self._seed = seed
        self._thread = threading.get_ident()
        self._ready: deque[asyncio.Handle] = deque()
        self._made = 0
        self._begun = 0
        self._halted = 0
        self._generators: weakref.WeakValueDictionary[int, AsyncGenerator[Any, Any]] = (
            weakref.WeakValueDictionary()
        )
        self._dropped: list[AsyncGenerator[Any, Any]] = []
        self.tasks: dict[asyncio.Task[Any], None] = {}
        """Those that have not ended, in the order in which they were made; a library may have made
        some without `create_task`."""
        self.is_ending = False
        """Whether nothing that a task waits for can come any more."""

    # For its host.

    @property
    def runnable(self) -> int:
        """How many callbacks can run."""
        return len(self._ready)

    def run_ready(self) -> None:
        """Runs what can run now, but not yet what that makes able to run.

        Raises:
            KeyboardInterrupt: Ctrl-C struck in there.
        """
        hooks, outer, name = sys.get_asyncgen_hooks(), asyncio._get_running_loop(), library.name
        sys.set_asyncgen_hooks(firstiter=self._keep, finalizer=self._drop)
        asyncio._set_running_loop(self)
        library.name = "asyncio"
        trios_task = vars(_TRIO).pop("task", None)
        try:
            for _ in range(len(self._ready)):
                self._run(self._ready.popleft())
        finally:
            if trios_task is not None:
                _TRIO.task = trios_task
            library.name = name
            asyncio._set_running_loop(outer)
            sys.set_asyncgen_hooks(*hooks)

    def run_late(self, handle: asyncio.Handle) -> None:
        """Takes what another thread wanted to be run."""
        self._ready.append(handle)

    def cancel_all(self) -> None:
        """Cancels every task."""
        for task in list(self.tasks):
            task.cancel()

    def close_generators(self) -> bool:
        """Begins to close what asynchronous generators of the body are left. Returns whether there
        are any."""
        left = list(dict.fromkeys([*self._dropped, *self._generators.values()]))
        self._dropped.clear()
        self._generators.clear()
        for generator in left:
            self.start(generator.aclose())
        return bool(left)

    def forget(self) -> None:
        """Nothing of it is run any more; tasks that have not ended stay as they are."""
        for task in self.tasks:
            leave_unfinished(task)
        self.tasks.clear()
        self._ready.clear()

    # For the tasks of the body.

    def suspension(
        self, aborted: Callable[[Callable[[], NoReturn]], trio.lowlevel.Abort]
    ) -> Suspension:
        """Returns something to be awaited by the task that calls; see there."""
        return Suspension(self, aborted)

    def scope(self) -> Scope:
        """Returns a scope for a block of the task that calls.

        Raises:
            RuntimeError: No task does.
        """
        if asyncio.current_task(self) is None:
            raise RuntimeError(
                "a deadline needs a task to cancel, and this is the code of a callback"
            )
        return Scope(self)

    def start(self, coro: Any, *, name: object = None, context: Context | None = None) -> BodyTask:
        """As `create_task`, for its host, which has seen to it that there is room."""
        if not asyncio.iscoroutine(coro):
            if not isinstance(coro, Awaitable):
                raise TypeError(f"a coroutine was expected, got {coro!r}")
            coro = _awaited(coro)  # an operation of a step
        self._made += 1
        label = f"Task-{self._made}" if name is None else str(name)
        task = BodyTask(coro, self, self._seed + self._made, name=label, context=context)
        self.tasks[task] = None
        task.add_done_callback(self._ended)
        return task

    async def halt(self) -> NoReturn:
        """Blocks the task that calls until it is cancelled."""
        if self.is_ending:
            self._halted += 1
        if not self.is_ending or self._halted > HALTS_MAX:
            await self.create_future()
        await asyncio.sleep(0)  # whoever catches this and tries again must not hold the thread
        raise asyncio.CancelledError

    # asyncio.AbstractEventLoop

    def create_task(
        self, coro: Any, *, name: object = None, context: Context | None = None, **_: Any
    ) -> BodyTask:
        try:
            need_room()
        except RecursionError:
            if asyncio.iscoroutine(coro):
                coro.close()  # or it would be taken for one that the body forgot
            raise
        return self.start(coro, name=name, context=context)

    def create_future(self) -> asyncio.Future[Any]:
        # an eager one runs before anything is called for it
        self._adopt(asyncio.current_task(self))
        return asyncio.Future(loop=self)

    # mypy takes *args: *Ts for narrower than *args: Any
    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        if threading.get_ident() != self._thread:
            self._host.called_from_outside("call_soon", handle)
        self._adopt(getattr(callback, "__self__", None))
        self._ready.append(handle)
        if len(self._ready) == 1:
            self._host.stirred()
        return handle

    def time(self) -> float:
        return self._host.seconds()

    def get_debug(self) -> bool:
        return False

    def set_debug(self, enabled: bool) -> None:
        pass

    def get_task_factory(self) -> None:
        return None

    def get_exception_handler(self) -> None:
        return None

    def run_forever(self) -> NoReturn:
        self._host.refused("run_forever")
        # nothing can be returned, and what the body does about it counts no more
        raise asyncio.CancelledError

    def run_until_complete(self, future: Any) -> NoReturn:
        if asyncio.iscoroutine(future):
            future.close()
        self._host.refused("run_until_complete")
        raise asyncio.CancelledError

    def is_running(self) -> bool:
        return asyncio._get_running_loop() is self

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self._host.troubled(context)

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        self._host.troubled(context)

    # Inside.

    @calls_code
    def _run(self, handle: asyncio.Handle) -> None:
        if handle.cancelled():
            return
        callback: Any = getattr(handle, "_callback", None)  # running it may drop it
        try:
            handle._run()
        # asyncio lets it out of the loop, which here is the engine's thread
        except SystemExit as error:
            # else whoever awaits the task finds it (R9)
            if not asyncio.isfuture(getattr(callback, "__self__", None)):
                self._host.troubled({"message": "a callback raised SystemExit", "exception": error})

    def _adopt(self, task: Any) -> None:
        """Takes in a task that was made with `asyncio.Task(…)`, or by a library, as if
        `create_task` had made it."""
        if (
            type(task) is BodyTask
            or not hasattr(task, "get_coro")
            or task in self.tasks
            or task.done()
        ):
            return
        self.tasks[task] = None
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self.tasks.pop(task, None)
        code = code_of(task)
        frame = _frame_not_begun(code)
        if frame is not None:
            self._host.never_began(list(frame.f_locals.values()))
        if code is not None:
            code.close()  # it has ended, or never began
        # `exception()` would silence asyncio
        if not task.cancelled() and (raised := getattr(task, "_exception", None)) is not None:
            self._host.raised(raised)
        if type(task) is BodyTask:
            task.line = None
        elif not task.cancelled() and isinstance(error := task.exception(), RuntimeError):
            self._host.failed(error)  # what a task of ours awaits is looked at before

    def _keep(self, generator: AsyncGenerator[Any, Any]) -> None:
        self._begun += 1
        self._generators[self._begun] = generator

    def _drop(self, generator: AsyncGenerator[Any, Any]) -> None:
        if self.is_running():
            self.start(generator.aclose()).is_part = True
        else:
            # to be closed at the end: the collector may come at any moment
            self._dropped.append(generator)


def _refusing(method: str) -> Callable[..., Any]:
    def refuse(self: BodyLoop, *args: Any, **kwargs: Any) -> asyncio.Future[Any]:
        if threading.get_ident() != self._thread:
            self._host.called_from_outside(method)
        self._host.refused(method)
        return self.create_future()  # to be awaited, or cancelled as a handle is

    return refuse


for _method in vars(asyncio.AbstractEventLoop).keys() - vars(BodyLoop).keys():
    if not _method.startswith("_"):
        setattr(BodyLoop, _method, _refusing(_method))


def _frame_not_begun(code: Any) -> types.FrameType | None:
    """Returns the frame of a coroutine that has not begun; on Python 3.11 asyncio makes some of
    generators."""
    if inspect.iscoroutine(code):
        return code.cr_frame if inspect.getcoroutinestate(code) == inspect.CORO_CREATED else None
    if inspect.isgenerator(code):
        return code.gi_frame if inspect.getgeneratorstate(code) == inspect.GEN_CREATED else None
    return None


async def _awaited(operation: Awaitable[Any]) -> Any:
    return await operation


async def _guarded(loop: BodyLoop, coroutine: Coroutine[Any, Any, Any]) -> Any:
    return await _checked(loop, coroutine)


@types.coroutine
def _checked(loop: BodyLoop, coroutine: Coroutine[Any, Any, Any]) -> Generator[Any, Any, Any]:
    """Runs a coroutine; whatever it awaits must be of this loop."""
    error: BaseException | None = None
    while True:
        try:
            waits_for = coroutine.send(None) if error is None else coroutine.throw(error)
        except StopIteration as stop:
            return stop.value
        finally:
            error = None  # the traceback of one that leaves has this frame: a circle
        if waits_for is not None and not (
            asyncio.isfuture(waits_for) and waits_for.get_loop() is loop
        ):
            loop._host.strayed(coroutine)
            waits_for = loop.create_future()
            waits_for._asyncio_future_blocking = True  # as `await` sets it
        try:
            yield waits_for
        except GeneratorExit:  # it is dropped; the collector may have dropped the coroutine before
            coroutine.close()
            raise
        except BaseException as raised:
            error = raised
