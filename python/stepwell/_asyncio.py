"""asyncio code in steps: it runs as a task of an asyncio loop in another thread, and trio waits for it.

Hand-overs are in bunches: whatever was handed over before the other thread looks costs it one wake-up. An attempt runs in the
context it was given (I12). Cancelling it cancels the asyncio task, and the trio side waits until that has ended, whatever it
does about it: a task that swallows the cancellation is waited for as a shielded one on trio is.

This file knows neither steps nor the engine.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextvars import Context
from typing import Any

import outcome as results
import trio
from trio.lowlevel import Abort, current_task, reschedule, wait_task_rescheduled


class LoopClosed(Exception):
    """The asyncio loop was closed while it was needed."""


class CancelledThere(Exception):
    """asyncio code cancelled it, of its own accord."""


class Visit:
    """One call that runs on the asyncio loop, and the trio task that waits for it."""

    __slots__ = ("_fn", "_guest", "_host", "cancelled", "context", "ended", "outcome", "task")

    def __init__(self, fn: Callable[[], Any], context: Context, task: trio.lowlevel.Task) -> None:
        self._fn = fn
        self.context = context
        self.task: trio.lowlevel.Task | None = task
        self.cancelled: Callable[[], Any] | None = None
        self.ended = False
        self.outcome: results.Outcome[Any] | None = None
        self._guest: asyncio.Task[Any] | None = None

    # On the loop's thread.

    def begin(self, loop: asyncio.AbstractEventLoop, tell: Callable[[Visit], None]) -> None:
        """Calls the function and runs what it makes; `tell` is called when that has ended."""
        if self.cancelled is not None:
            self._end(results.Error(asyncio.CancelledError()), tell)
            return
        try:
            made = self.context.run(self._fn)
            coroutine = made if asyncio.iscoroutine(made) else _awaited(made)
            self._guest = loop.create_task(coroutine, context=self.context)
        except Exception as error:
            self._end(results.Error(error), tell)
            return
        self._guest.add_done_callback(lambda task: self._end(_outcome(task), tell))

    def cancel(self) -> None:
        """Cancels the asyncio task."""
        if self._guest is not None:
            self._guest.cancel()

    def _end(self, outcome: results.Outcome[Any], tell: Callable[[Visit], None]) -> None:
        self.outcome, self._guest = outcome, None
        tell(self)


async def _awaited(made: Any) -> Any:
    return await made


def _outcome(task: asyncio.Task[Any]) -> results.Outcome[Any]:
    if task.cancelled():
        return results.Error(asyncio.CancelledError())
    error = task.exception()
    return results.Value(task.result()) if error is None else results.Error(error)


class Bridge:
    """An asyncio loop in another thread, as trio tasks see it.

    Args:
        loop: It runs, or is about to.
        token: Of the trio loop on the other side.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, token: trio.lowlevel.TrioToken) -> None:
        self.loop = loop
        self._token = token
        self._there: deque[Callable[[], None]] = deque()
        self._back: deque[Visit] = deque()
        self._rung_there = self._rung_back = False

    async def run(self, fn: Callable[[], Any], context: Context) -> Any:
        """Calls `fn` in this context on the asyncio loop, and returns or raises what comes of what it makes.

        Raises:
            LoopClosed: The loop was closed before it was called.
            CancelledThere: asyncio code cancelled it.
        """
        visit = Visit(fn, context, current_task())
        self._send(lambda: visit.begin(self.loop, self._tell))

        def aborted(raise_cancel: Callable[[], Any]) -> Abort:
            visit.cancelled = raise_cancel
            try:
                self._send(visit.cancel)
            except LoopClosed:
                visit.ended = True  # nothing of it will ever run again
                return Abort.SUCCEEDED
            return Abort.FAILED

        return await wait_task_rescheduled(aborted)

    def close(self) -> None:
        """Ends a loop that is the engine's own."""

    def _send(self, call: Callable[[], None]) -> None:
        self._there.append(call)
        if not self._rung_there:
            self._rung_there = True
            try:
                self.loop.call_soon_threadsafe(self._take_all)
            except RuntimeError as error:
                raise LoopClosed(str(error)) from None

    # On the loop's thread.

    def _take_all(self) -> None:
        self._rung_there = False  # first: what is sent from now on rings again
        while self._there:
            self._there.popleft()()

    def _tell(self, visit: Visit) -> None:
        self._back.append(visit)
        if not self._rung_back:
            self._rung_back = True
            try:
                self._token.run_sync_soon(self._deliver)
            except trio.RunFinishedError:
                self._back.clear()  # nobody waits any more

    # On trio's thread.

    def _deliver(self) -> None:
        self._rung_back = False
        while self._back:
            visit = self._back.popleft()
            task, visit.task = visit.task, None
            if task is None or visit.ended:
                continue
            outcome = visit.outcome
            assert outcome is not None, "it has ended"
            if isinstance(outcome, results.Error) and isinstance(outcome.error, asyncio.CancelledError):
                outcome = results.Error(CancelledThere()) if visit.cancelled is None else results.capture(visit.cancelled)
            reschedule(task, outcome)


class OwnLoop(Bridge):
    """A bridge to a loop of its own, in a thread of its own; uvloop's, where it is installed."""

    def __init__(self, token: trio.lowlevel.TrioToken) -> None:
        super().__init__(_new_loop(), token)
        self._thread = threading.Thread(target=self._run, name="stepwell asyncio", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            while True:
                try:
                    self.loop.run_forever()
                    break
                except (KeyboardInterrupt, SystemExit):
                    continue  # asyncio lets them out of the loop as well as into the task, where whoever waits finds them
            self._end_tasks()
        finally:
            asyncio.set_event_loop(None)
            self.loop.close()

    def _end_tasks(self) -> None:
        """As `asyncio.run` does it."""
        tasks = asyncio.all_tasks(self.loop)
        for task in tasks:
            task.cancel()
        self.loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.run_until_complete(self.loop.shutdown_default_executor())

    def close(self) -> None:
        """Ends the loop and what user code left running on it; a task that does not end is left behind."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(timeout=5)


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop  # type: ignore[import-not-found,unused-ignore]  # an option of the user's
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()  # type: ignore[no-any-return,unused-ignore]  # it says so where it is installed
