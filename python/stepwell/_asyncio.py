"""asyncio code in steps: it runs as a task of an asyncio loop in another thread, and trio waits for it.

Hand-overs are in bunches, one for a round of either loop: to wake the other thread is to let go of the interpreter's lock, and to
get it back may take milliseconds. An attempt runs in the context it was given (I12). Cancelling it cancels the asyncio task, and the
trio side waits until that has ended, whatever it does about it: a task that swallows the cancellation is waited for as a shielded
one on trio is.

This file knows neither steps nor the engine.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from typing import Any

import outcome as results
import trio
from trio.lowlevel import Abort, current_task, reschedule, wait_task_rescheduled


class CancelledThere(Exception):
    """It was cancelled on asyncio: because `Visit.cancel` asked for it, or by asyncio code of its own accord."""


class _Guest(asyncio.Task[Any]):
    """A task that knows whether the end of its loop cancelled it: `asyncio.run` does that while the loop stands still."""

    by_the_end = False

    def cancel(self, msg: Any | None = None) -> bool:
        self.by_the_end = self.by_the_end or not self.get_loop().is_running()
        return super().cancel(msg)


class Visit:
    """One call that runs on the asyncio loop, and the trio task that waits for it."""

    __slots__ = ("_bridge", "_context", "_fn", "_guest", "_outcome", "_raise_cancel", "_task", "_unwanted", "loop_ended")

    def __init__(self, bridge: Bridge, fn: Callable[[], Any], context: Context) -> None:
        self._bridge = bridge
        self._fn = fn
        self._context = context
        self._task: trio.lowlevel.Task | None = None
        self._guest: _Guest | None = None
        self._outcome: results.Outcome[Any] | None = None
        self._raise_cancel: Callable[[], Any] | None = None
        self._unwanted = False
        self.loop_ended = False
        """Whether it was cancelled because its loop ends."""

    # On trio's thread.

    async def wait(self) -> Any:
        """Returns or raises what the call does.

        Raises:
            CancelledThere: The asyncio task was cancelled, but not by trio.
        """
        self._task = current_task()
        return await wait_task_rescheduled(self._aborted)

    def _aborted(self, raise_cancel: Callable[[], Any]) -> Abort:
        self._raise_cancel = raise_cancel
        self.cancel()
        if self._bridge.loop.is_closed() or self._bridge.is_gone:  # nothing of it will ever run again
            self._task = None
            return Abort.SUCCEEDED
        return Abort.FAILED

    def cancel(self) -> None:
        """Cancels the asyncio task; whoever waits goes on when that has ended."""
        self._unwanted = True
        self._bridge.send(self._cancel)

    def deliver(self) -> None:
        """It has ended: whoever waits goes on."""
        task, self._task = self._task, None
        outcome = self._outcome
        if task is None or outcome is None:
            return
        if isinstance(outcome, results.Error) and isinstance(outcome.error, asyncio.CancelledError):
            outcome = results.Error(CancelledThere()) if self._raise_cancel is None else results.capture(self._raise_cancel)
        reschedule(task, outcome)

    # On the loop's thread.

    def begin(self) -> None:
        """Calls the function, and runs what it makes as a task."""
        if self._unwanted:
            self._end(results.Error(asyncio.CancelledError()))
            return
        try:
            made = self._context.run(self._fn)
            coroutine = made if asyncio.iscoroutine(made) else _awaited(made)
            self._guest = _Guest(coroutine, loop=self._bridge.loop, context=self._context)
        except Exception as error:
            self._end(results.Error(error))
        else:
            self._guest.add_done_callback(self._done)

    def _cancel(self) -> None:
        if self._guest is not None:
            self._guest.cancel()

    def _done(self, task: asyncio.Task[Any]) -> None:
        self.loop_ended = self._guest is not None and self._guest.by_the_end
        self._guest = None
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        self._end(results.Value(task.result()) if error is None else results.Error(error))

    def _end(self, outcome: results.Outcome[Any]) -> None:
        self._outcome = outcome
        self._bridge.send_back(self)


async def _awaited(made: Any) -> Any:
    return await made


class Bridge:
    """An asyncio loop in another thread, as trio tasks see it.

    Args:
        loop: It runs, or is about to.
        token: Of the trio loop on the other side.
        closed: Called on trio's thread when the loop turns out to be closed while something is to run on it.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, token: trio.lowlevel.TrioToken, closed: Callable[[], None]) -> None:
        self.loop = loop
        self._token = token
        self._closed = closed
        self._there: deque[Callable[[], None]] = deque()
        self._back: list[Visit] = []
        self._rung = False
        self.is_gone = False
        """Whether the loop stands still and nobody will run it again."""

    # On trio's thread.

    def begin(self, fn: Callable[[], Any], context: Context) -> Visit:
        """Has `fn` called on the asyncio loop in this context, and what it makes awaited there; then wait for it."""
        visit = Visit(self, fn, context)
        self.send(visit.begin)
        return visit

    def send(self, call: Callable[[], None]) -> None:
        """Has something called on the loop."""
        self._there.append(call)

    def flush(self) -> None:
        """Hands over what there is. Called whenever trio has run all that could run."""
        if self._there and not self._rung:
            self._rung = True
            try:
                self.loop.call_soon_threadsafe(self._take_all)
            except RuntimeError:
                self._token.run_sync_soon(self._closed)  # which wakes trio, that is about to sleep

    def close(self) -> None:
        """Ends a loop that is the engine's own."""

    def _deliver(self, back: list[Visit]) -> None:
        for visit in back:
            visit.deliver()

    # On the loop's thread.

    def _take_all(self) -> None:
        self._rung = False  # first: what is sent from now on rings again
        while self._there:
            self._there.popleft()()

    def send_back(self, visit: Visit) -> None:
        """A visit has ended."""
        if not self._back:
            self.loop.call_soon(self._hand_back)  # after all that this round of the loop still does
        self._back.append(visit)

    def _hand_back(self) -> None:
        back, self._back = self._back, []
        with suppress(trio.RunFinishedError):  # nobody waits any more
            self._token.run_sync_soon(self._deliver, back)


class OwnLoop(Bridge):
    """A bridge to a loop of its own, in a thread of its own; uvloop's, where it is installed."""

    def __init__(self, token: trio.lowlevel.TrioToken, closed: Callable[[], None]) -> None:
        super().__init__(_new_loop(), token, closed)
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
        with suppress(RuntimeError):  # code that ran on it has closed it
            self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(timeout=5)


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop  # type: ignore[import-not-found,unused-ignore]  # an option of the user's
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()  # type: ignore[no-any-return,unused-ignore]  # it says so where it is installed
