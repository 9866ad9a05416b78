"""Ways into a trio loop from other threads, and a trio loop in a thread of its own.

An errand is one async function that runs on trio for somebody in another thread, with that one's
context variables. Whoever waits for it may be cancelled, which cancels the errand; the answer is
then what the errand makes of that, so nothing goes on behind anybody's back. This file does not
know the engine.
"""

from __future__ import annotations

import asyncio
import concurrent.futures.thread  # noqa: F401  # pyright: ignore[reportUnusedImport]  # see `TrioThread.start`
import functools
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext, suppress
from contextvars import copy_context
from types import TracebackType
from typing import Any, TypeVar

import outcome as results
import trio

from .._errors import EngineClosed
from .._room import need_room

T = TypeVar("T")
Exit = tuple[type[BaseException] | None, BaseException | None, TracebackType | None]


WAKES_EVERY = 0.5
"""Seconds in which a main thread that waits looks for signals. One that comes as it begins to wait,
or to another thread, does not wake it: Python runs handlers in that thread only, and neither
asyncio nor `threading` has a descriptor that a signal writes to, as trio has."""


def _ended() -> EngineClosed:
    return EngineClosed("this engine is not open any more. Open a new one on the same store.")


class Errand:
    """One async function that runs on trio.

    Args:
        token: Of the trio loop.
        fn: It is called on trio's thread, in a copy of the present context.
        told: Called on trio's thread, once, with the outcome; None: it was cancelled.
        hurry: Called there when whoever waits is cancelled, in place of cancelling it.
    """

    __slots__ = (
        "_cancelled",
        "_fn",
        "_has_begun",
        "_hurry",
        "_scope",
        "_token",
        "_told",
        "_variables",
    )

    def __init__(
        self,
        token: trio.lowlevel.TrioToken,
        fn: Callable[[], Awaitable[Any]],
        told: Callable[[results.Outcome[Any] | None], None],
        hurry: Callable[[], None] | None = None,
    ) -> None:
        self._token = token
        self._fn = fn
        self._told = told
        self._hurry = hurry
        self._variables = copy_context()
        self._scope: trio.CancelScope | None = None
        self._has_begun = False
        self._cancelled = False

    def begin(self) -> None:
        """Hands it over.

        Raises:
            EngineClosed: There is no trio loop any more.
        """
        try:
            self._token.run_sync_soon(self.spawn)
        except trio.RunFinishedError:
            raise _ended() from None

    def cancel(self) -> bool:
        """Cancels it; `told` is called when it has ended. Also one whose `begin` was cut short, by
        Ctrl-C.

        Returns:
            Whether there is a trio loop still; without one nobody will be told any more.
        """
        try:
            self._token.run_sync_soon(self._cancel)
        except trio.RunFinishedError:
            return False
        return True

    def spawn(self) -> None:
        """Begins it, once; on trio's thread."""
        if self._has_begun:
            return
        self._has_begun = True
        try:
            trio.lowlevel.spawn_system_task(self._run, context=self._variables)
        except RuntimeError:  # the loop takes no tasks any more
            self._told(None)

    def _cancel(self) -> None:
        if self._hurry is not None:
            self._hurry()
            self.spawn()  # whoever hurries wants it done
        elif not self._has_begun:
            self._has_begun = True
            self._told(None)
        else:
            self._cancelled = True
            if self._scope is not None:
                self._scope.cancel()

    async def _run(self) -> None:
        outcome: results.Outcome[Any] | None = None
        try:
            with trio.CancelScope() as self._scope:
                if self._cancelled:
                    self._scope.cancel()
                try:
                    outcome = results.Value(await self._fn())
                # perhaps of a body that unwinds: then whoever waits is about to be cancelled
                except trio.Cancelled:
                    await trio.sleep_forever()
                except BaseException as error:
                    outcome = results.Error(error)
        except trio.Cancelled:
            pass  # the loop ends; nothing may leave a task of the system
        finally:
            self._told(outcome)


class _Answer:
    """What an asyncio task waits for."""

    __slots__ = ("_loop", "_news", "has_failed", "outcome")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._news: asyncio.Future[None] = loop.create_future()
        self.outcome: results.Outcome[Any] | None = None
        self.has_failed = False
        """Whether the errand came to its end, with an error."""

    def told(self, outcome: results.Outcome[Any] | None) -> None:
        """The errand has ended."""
        self.has_failed = isinstance(outcome, results.Error)
        self.outcome = results.Error(_ended()) if outcome is None else outcome
        with suppress(asyncio.InvalidStateError):  # cancelled, were it by a signal in this line
            self._news.set_result(None)

    async def wait(self) -> None:
        """Returns when it has come.

        Raises:
            asyncio.CancelledError: Whoever waits was cancelled.
        """
        await self._news

    async def outlast(self, errand: Errand, line: _Line) -> None:
        """Cancels the errand, and waits for its end all the same, however often one who waits is
        cancelled."""
        while True:
            line.tell_all()  # what Ctrl-C may have kept it from
            if self.outcome is not None or not errand.cancel():
                return
            self._news = self._loop.create_future()
            with suppress(asyncio.CancelledError), _shielded():
                await self._news


def _shielded() -> AbstractContextManager[Any]:
    """Keeps anyio's scopes, where a program has them, from cancelling anew in each round of the
    loop, which would keep a core busy."""
    anyio = sys.modules.get("anyio")
    return nullcontext() if anyio is None else anyio.CancelScope(shield=True)


class _Line:
    """What goes between one asyncio loop and one trio loop, in bunches: each wake-up of the other
    thread costs as much as a call."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = weakref.ref(loop)
        self._there: deque[Errand] = deque()
        self._back: deque[tuple[_Answer, results.Outcome[Any] | None]] = deque()
        self._rung_there = self._rung_back = False

    def begin(self, token: trio.lowlevel.TrioToken, errand: Errand) -> None:
        """Hands an errand over; on the asyncio loop's thread."""
        self._there.append(errand)
        if not self._rung_there:
            self._rung_there = True  # first: the other thread may answer before this one goes on
            try:
                token.run_sync_soon(self._begin_all)
            except trio.RunFinishedError:
                self._there.clear()
                self._rung_there = False
                raise _ended() from None

    def _begin_all(self) -> None:
        self._rung_there = False  # first: what comes from now on rings again
        while self._there:
            self._there.popleft().spawn()

    def tell(self, answer: _Answer, outcome: results.Outcome[Any] | None) -> None:
        """An errand has ended; on trio's thread."""
        self._back.append((answer, outcome))
        loop = self._loop()
        if not self._rung_back and loop is not None:
            self._rung_back = True
            with suppress(RuntimeError):  # the loop was closed, and with it whoever waited
                loop.call_soon_threadsafe(self.tell_all)

    def tell_all(self) -> None:
        """Tells what has come back; on the asyncio loop's thread."""
        self._rung_back = False
        try:
            while self._back:
                self._back[0][0].told(self._back[0][1])
                self._back.popleft()
        finally:
            if self._back and (loop := self._loop()) is not None:  # Ctrl-C struck in here
                loop.call_soon(self.tell_all)


_lines: weakref.WeakKeyDictionary[Any, weakref.WeakKeyDictionary[Any, _Line]] = (
    weakref.WeakKeyDictionary()
)
"""By asyncio loop and trio loop."""


def _line(loop: asyncio.AbstractEventLoop, token: trio.lowlevel.TrioToken) -> _Line:
    lines = _lines.get(loop)
    if lines is None:
        lines = _lines[loop] = weakref.WeakKeyDictionary()
    line = lines.get(token)
    if line is None:
        line = lines[token] = _Line(loop)
    return line


async def from_asyncio(
    token: trio.lowlevel.TrioToken,
    fn: Callable[[], Awaitable[T]],
    *,
    keeps_errors: bool = False,
    hurry: Callable[[], None] | None = None,
) -> T:
    """Awaits an async trio function in an asyncio task. Whoever is cancelled has it cancelled, or
    `hurry` called on trio's thread.

    A cancellation comes back as it came, with its message, once the errand has ended, also if that
    came to its end all the same: it is never lost. Only for what opens and closes an error goes
    before it (`keeps_errors`).

    Raises:
        EngineClosed: There is no trio loop any more.
    """
    need_room()
    loop = asyncio.get_running_loop()
    line, answer = _line(loop, token), _Answer(loop)
    errand = Errand(token, fn, functools.partial(line.tell, answer), hurry)
    line.begin(token, errand)
    try:
        await answer.wait()
    except asyncio.CancelledError:
        await answer.outlast(errand, line)
        if not (keeps_errors and answer.has_failed):
            raise
    except BaseException:
        errand.cancel()
        raise
    assert answer.outcome is not None, "it was waited for"
    error = getattr(answer.outcome, "error", None)
    if isinstance(error, StopIteration):
        raise RuntimeError(repr(error)) from error
    return answer.outcome.unwrap()  # type: ignore[no-any-return]  # what fn returns


def from_thread(
    token: trio.lowlevel.TrioToken,
    fn: Callable[[], Awaitable[T]],
    *,
    hurry: Callable[[], None] | None = None,
) -> T:
    """Waits for an async trio function in a plain thread. Ctrl-C cancels it, or calls `hurry`; a
    second one does not wait for that.

    Raises:
        EngineClosed: There is no trio loop any more.
    """
    need_room()
    ended = threading.Event()
    outcome: results.Outcome[T] | None = None

    def told(came: results.Outcome[T] | None) -> None:
        nonlocal outcome
        outcome = came
        ended.set()

    errand = Errand(token, fn, told, hurry)
    try:
        errand.begin()
        _wait(ended)
    except BaseException:
        if errand.cancel():
            _wait(ended)
        raise
    if outcome is None:
        raise _ended()
    return outcome.unwrap()


def _wait(ended: threading.Event) -> None:
    """Waits for it; in the main thread signals are noticed meanwhile."""
    every = WAKES_EVERY if threading.current_thread() is threading.main_thread() else None
    while not ended.wait(every):
        pass


async def wake(loop: asyncio.AbstractEventLoop) -> None:
    """Wakes an asyncio loop now and then, for signals; on trio's thread, until that ends or the
    loop was closed.

    No timer of that loop does it, for there are loops that take time to have passed when nothing
    else is left to do.
    """
    with suppress(trio.Cancelled, RuntimeError):  # nothing may leave a task of the system
        while True:
            await trio.sleep(WAKES_EVERY)
            loop.call_soon_threadsafe(_nothing)


def _nothing() -> None:
    pass


class Held:
    """An async context manager that is entered and left by one trio task, for somebody elsewhere.

    Args:
        manager: It is entered once.
        gone: Called on trio's thread when the block was ended from inside, as by a failure; `leave`
            then says what it was.
    """

    def __init__(
        self, manager: AbstractAsyncContextManager[Any], gone: Callable[[], None] = lambda: None
    ) -> None:
        self._manager = manager
        self._gone = gone
        self._how: Exit = (None, None, None)
        self._then: Callable[[], None] = lambda: None
        self._entered = trio.Event()
        self._leaving = trio.Event()
        self._left = trio.Event()
        self._scope = trio.CancelScope()
        self._outcome: results.Outcome[Any] | None = None

    @property
    def is_entered(self) -> bool:
        """Whether it was entered and not left."""
        return self._entered.is_set() and not self._left.is_set()

    async def enter(self) -> Any:
        """Enters; returns or raises what the manager does. One who is cancelled meanwhile finds it
        left again."""
        trio.lowlevel.spawn_system_task(self._hold, context=copy_context())
        try:
            await self._entered.wait()
        except trio.Cancelled:
            self._scope.cancel()
            with trio.CancelScope(shield=True):
                await self._left.wait()
            raise
        assert self._outcome is not None, "it was entered, or not"
        return self._outcome.unwrap()

    async def leave(self, *how: Any) -> bool:
        """Leaves with what ended the block; returns or raises what the manager does."""
        self._how = how
        self._leaving.set()
        with trio.CancelScope(shield=True):
            await self._left.wait()
        assert self._outcome is not None, "it was left"
        return bool(self._outcome.unwrap())

    def let_go(self, then: Callable[[], None]) -> None:
        """Leaves as at the end of the block, without waiting for it; `then` is called when it was
        left, at once if it was before."""
        self._then = then
        self._leaving.set()
        if self._left.is_set():
            then()

    async def _hold(self) -> None:
        with self._scope:
            self._outcome = await results.acapture(self._manager.__aenter__)
            self._entered.set()
            if isinstance(self._outcome, results.Value):
                how: Exit
                try:
                    await self._leaving.wait()
                    how = self._how
                # the manager cancels its block, or whoever enters is cancelled
                except BaseException as error:
                    how = (type(error), error, error.__traceback__)
                    if not self._scope.cancel_called:
                        self._gone()
                self._outcome = await results.acapture(self._manager.__aexit__, *how)
            self._left.set()
            self._then()


class TrioThread:
    """A trio loop in a thread of its own. It ends when it is told to, or when the interpreter does.

    Args:
        let_go: Called on trio's thread when the main thread has ended and this still runs: what it
            holds is to be left in haste.
    """

    def __init__(self, let_go: Callable[[], None]) -> None:
        self._let_go = let_go
        self._ready = threading.Event()
        self._opener = threading.current_thread()
        self._thread = threading.Thread(target=self._run, name="stepwell")
        self._failure: BaseException | None = None
        self._unwanted = False
        self.token: trio.lowlevel.TrioToken
        self._end: trio.Event

    def start(self) -> None:
        """Starts it; returns when it runs.

        asyncio imports its pool of threads late, and once the main thread has ended it cannot be:
        so this file does.
        """
        _watch_main_thread(self)  # first: should that fail, nothing runs that nobody would end
        try:
            self._thread.start()
            self._ready.wait()
            if self._failure is not None:
                raise self._failure
        except BaseException:
            self.stop()
            raise

    def _run(self) -> None:
        try:
            trio.run(self._serve)
        except BaseException as error:
            if self._ready.is_set():
                raise
            self._failure = error
            self._ready.set()

    async def _serve(self) -> None:
        self._end = trio.Event()
        self.token = trio.lowlevel.current_trio_token()
        self._ready.set()
        if not self._unwanted:
            await self._end.wait()

    def stop(self) -> None:
        """Ends the loop, and with it what still runs there, and waits for that. Until then the end
        of the interpreter would do so."""
        self._unwanted = True
        if self._thread.ident is not None:
            if self._ready.is_set() and self._failure is None:
                with suppress(trio.RunFinishedError):
                    self.token.run_sync_soon(self.end)
            self._thread.join()
        _watched.discard(self)

    @property
    def is_deserted(self) -> bool:
        """Whether, with the main thread gone, nobody is left whom the interpreter waits for and who
        might come back to leave the block."""
        opener = self._opener
        return self._ready.is_set() and (
            opener is threading.main_thread() or opener.daemon or not opener.is_alive()
        )

    def main_thread_ended(self) -> None:
        """Nobody will come back: what is held is left, then the loop ends."""
        with suppress(trio.RunFinishedError):
            self.token.run_sync_soon(self._let_go)

    def end(self) -> None:
        """Ends the loop; on its own thread."""
        self._end.set()


_watched: set[TrioThread] = set()
"""Changed and copied as a whole, without a lock that Ctrl-C could leave taken."""
_watcher: threading.Thread | None = None


def _watch_main_thread(thread: TrioThread) -> None:
    """The interpreter waits for threads before it ends; one that waits for the interpreter has to
    hear that its main thread has ended."""
    global _watcher
    _watched.add(thread)
    # should two come to be, each says what the other does
    if _watcher is None or not _watcher.is_alive():
        watcher = threading.Thread(target=_wait_for_main_thread, name="stepwell watch", daemon=True)
        watcher.start()
        _watcher = watcher


def _wait_for_main_thread() -> None:
    threading.main_thread().join()
    while True:
        for thread in list(_watched):
            if thread.is_deserted:
                _watched.discard(thread)
                thread.main_thread_ended()
        # threads that opened an engine go on for now; there is no way to wait for the first of them
        time.sleep(0.02)
