"""asyncio code in steps: it runs in tasks of an asyncio loop in another thread, and trio's side is
told how it ended.

Hand-overs are in bunches, one for a round of either loop: to wake the other thread is to let go of
the interpreter's lock, and to get it back may take milliseconds. An attempt runs in the context it
was given (I12). Cancelling it cancels the asyncio task, and the trio side waits until that has
ended, whatever it does about it: a task that swallows the cancellation is waited for as a shielded
one on trio is. Calls that never wait share a task, one after another; one that waits, or keeps its
task in any way, has it for itself (`_Carrier`).

This file knows neither steps nor the engine.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import types
import weakref
from collections import deque
from collections.abc import Awaitable, Callable, Generator
from contextlib import suppress
from contextvars import Context
from typing import Any

import outcome as results
import trio
from trio.lowlevel import (
    Abort,
    current_task,
    enable_ki_protection,
    reschedule,
    wait_task_rescheduled,
)

from .._log import log

STANDS_STILL = 1.0
"""Seconds after which a loop that has not taken what it was handed is said to stand still."""
CLOSES_MAX = 5.0
"""Seconds that a loop of the engine's own is waited for when it is closed."""
VISITS_AT_ONCE = 100
"""Visits that never wait, between two looks of the loop at all else it has to do."""


class CancelledThere(Exception):
    """It was cancelled on asyncio: because `Visit.cancel` asked for it, or by asyncio code of its
    own accord."""


class _Carrier(asyncio.Task[Any]):
    """A task that runs visits one after another until one of them has to wait; from then on it is
    the task of that one."""

    bridge: Bridge
    visit: Visit | None = None
    context: Context | None = None
    """Of the visit that runs."""
    untouched: tuple[int, int, int] | None = None
    """The `traces` before a visit ran."""
    has_begun = False

    def get_context(self) -> Context:
        assert self.context is not None, "a visit asks"
        return self.context

    @property
    def traces(self) -> tuple[int, int, int]:
        """What changes if a visit keeps this task, or is to be told of its end: then it is to be
        that visit's own."""
        return sys.getrefcount(self), weakref.getweakrefcount(self), len(self._callbacks or ())

    def cancel(self, msg: Any | None = None) -> bool:
        by_the_end = not self.get_loop().is_running()  # as `asyncio.run` does it
        if self.visit is not None:
            self.visit.loop_ended = self.visit.loop_ended or by_the_end
        elif not self.has_begun:
            self.bridge.not_carried(by_the_end)
        return super().cancel(msg)


class Visit:
    """One call that runs on the asyncio loop, seen from trio. Tens of thousands may be under way,
    and each object of one counts.

    Args:
        bridge: To the loop.
        context: In which all of it runs.
    """

    __slots__ = (
        "_bridge",
        "_carrier",
        "_context",
        "_is_over",
        "_raise_cancel",
        "_task",
        "_unwanted",
        "error",
        "has_ended",
        "loop_ended",
        "never_ran",
        "value",
    )

    def __init__(self, bridge: Bridge, context: Context) -> None:
        self._bridge = bridge
        self._context = context
        self._task: trio.lowlevel.Task | None = None
        self._carrier: _Carrier | None = None
        self._raise_cancel: Callable[[], Any] | None = None
        self._unwanted = False
        self._is_over = False
        self.value: Any = None
        self.error: BaseException | None = None
        self.has_ended = False
        """Whether trio's side knows that it has ended."""
        self.loop_ended = False
        """Whether it was cancelled because its loop ends."""
        self.never_ran = False
        """Whether it was cancelled before its loop took it."""

    def call(self) -> Awaitable[Any]:
        """Makes what is awaited; called on the loop's thread."""
        raise NotImplementedError

    def too_late(self) -> BaseException | None:
        """Returns why it is not to begin any more, if so; called on the loop's thread."""
        return None

    # On trio's thread.

    def waits(self) -> None:
        """The call waits for the first time, and has not ended; or it waits for its loop, which
        stands still."""

    def told(self) -> None:
        """It has ended."""
        task, self._task = self._task, None
        if task is not None:
            reschedule(task, self._outcome())

    def forsake(self) -> None:
        """It was cancelled, and its end is waited for no longer."""
        self.has_ended = True
        self.error = asyncio.CancelledError()
        self.told()

    async def wait(self) -> Any:
        """Returns or raises what the call does.

        Raises:
            CancelledThere: The asyncio task was cancelled, but not by trio.
        """
        self._task = current_task()
        try:
            return await wait_task_rescheduled(self._aborted)
        finally:
            self._task = None

    def _outcome(self) -> results.Outcome[Any]:
        error, self.error = self.error, None  # its traceback has a frame with this in it: a circle
        if error is None:
            return results.Value(self.value)
        if not isinstance(error, asyncio.CancelledError):
            return results.Error(error)
        return (
            results.Error(CancelledThere())
            if self._raise_cancel is None
            else results.capture(self._raise_cancel)
        )

    def _aborted(self, raise_cancel: Callable[[], Any]) -> Abort:
        self._raise_cancel = raise_cancel
        self.cancel()
        # nothing of it will ever run (again)
        if self.has_ended or self._bridge.loop.is_closed() or self._bridge.is_gone:
            self._task = None
            return Abort.SUCCEEDED
        return Abort.FAILED

    def cancel(self) -> None:
        """Cancels the asyncio task; whoever waits goes on when that has ended, at once if it has
        not begun."""
        self._unwanted = True
        if not self.has_ended and self._bridge.take_back(self):
            self.has_ended = self.never_ran = True
            self.error = asyncio.CancelledError()
            self._bridge.tell_soon(self)
            return
        self._bridge.unwanted.add(self)
        self._bridge.send(self._cancel)

    def deliver(self) -> None:
        """It has ended, or waits for the first time; see `Bridge.send_back`."""
        if self.has_ended:
            return
        if self._is_over:
            self.has_ended = True
            if self._unwanted:
                self._bridge.unwanted.discard(self)
            self.told()
        else:
            self.waits()

    # On the loop's thread.

    def run(self, carrier: _Carrier) -> Generator[Any, Any, bool]:
        """Runs the call, in the task of the carrier. Returns whether the task can run another."""
        run, waited = self._context.run, False
        carrier.context = self._context
        if carrier.untouched is None:
            carrier.untouched = carrier.traces
        try:
            if self._unwanted:
                raise asyncio.CancelledError
            if (late := self.too_late()) is not None:
                raise late
            made = run(self.call)
            coroutine = made if asyncio.iscoroutine(made) else _awaited(made)
            trap = run(coroutine.send, None)
            self._carrier, carrier.visit, waited = carrier, self, True
            self._bridge.has_waited(self)
            while True:
                try:
                    answer = yield trap
                except BaseException as error:
                    trap = run(coroutine.throw, error)
                else:
                    trap = run(coroutine.send, answer)
        except StopIteration as stop:
            self.value = stop.value
            if carrier.cancelling() and not waited:
                # by itself: asyncio, too, takes such a task for cancelled
                self.error = asyncio.CancelledError()
        except KeyboardInterrupt as error:
            self.error = error
            carrier.add_done_callback(asyncio.Task.exception)  # trio's side tells it
            raise
        except BaseException as error:
            self.error = error
        finally:
            self._end()
        return not waited and carrier.traces == carrier.untouched

    def drop(self) -> None:
        """Its loop ends, and it never runs."""
        self.loop_ended = True
        self.error = asyncio.CancelledError()
        self._end()

    def _cancel(self) -> None:
        if self._carrier is not None:
            self._carrier.cancel()

    def _end(self) -> None:
        self._carrier = None
        self._is_over = True
        self._bridge.send_back(self)


class AwaitedVisit(Visit):
    """A visit that a trio task waits for.

    Args:
        fn: Makes what is awaited.
        then: Called on trio's thread as `waits`, perhaps twice.
        late: As `too_late`.
    """

    __slots__ = ("_fn", "_late", "_then")

    def __init__(
        self,
        bridge: Bridge,
        context: Context,
        fn: Callable[[], Any],
        then: Callable[[], None],
        late: Callable[[], BaseException | None] = lambda: None,
    ) -> None:
        super().__init__(bridge, context)
        self._fn = fn
        self._then = then
        self._late = late

    def too_late(self) -> BaseException | None:
        return self._late()

    def call(self) -> Awaitable[Any]:
        return self._fn()  # type: ignore[no-any-return]  # of a user's

    def waits(self) -> None:
        self._then()


async def _awaited(made: Any) -> Any:
    return await made


class Bridge:
    """An asyncio loop in another thread, as trio tasks see it.

    Attributes:
        name: Which loop it is, for people.

    Args:
        loop: It runs, or is about to.
        token: Of the trio loop on the other side.
        closed: Called on trio's thread when the loop turns out to be closed while something is to
            run on it.
    """

    name = "the asyncio loop that opened the engine"

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        token: trio.lowlevel.TrioToken,
        closed: Callable[[], None],
    ) -> None:
        self.loop = loop
        self._token = token
        self._closed = closed
        self._there: deque[Callable[[], None]] = deque()
        self._waiting: deque[Visit] = deque()
        self._back: list[Visit] = []
        self._rung = False
        self._taken = 0
        """How often the loop has taken something."""
        self._watcher: trio.lowlevel.Task | None = None
        self.still_since: float | None = None
        """Since when it stands still, while it does; in seconds of `time.monotonic`."""
        self.carrier: _Carrier | None = None
        """The task that will run the visits that are to begin, or does so and has not met one that
        waits."""
        self.unwanted: set[Visit] = set()
        """Visits that were cancelled and have not ended."""
        self.is_gone = False
        """Whether the loop stands still and nobody will run it again."""

    @property
    def ident(self) -> int | None:
        """Of the thread that runs the loop now, if that is known."""
        return getattr(self.loop, "_thread_id", None)

    # On trio's thread.

    def begin(self, visit: Visit) -> None:
        """Has a visit run."""
        self._waiting.append(visit)
        if self._watcher is not None:
            watcher, self._watcher = self._watcher, None
            reschedule(watcher)

    def has(self, visit: Any) -> bool:
        """Whether a visit waits for the loop."""
        return visit in self._waiting

    def take_back(self, visit: Visit) -> bool:
        """Takes back a visit that is not to run any more. Returns whether it had not begun."""
        try:
            self._waiting.remove(visit)  # in one go, whatever the loop's thread does
        except ValueError:
            return False
        return True

    def tell_soon(self, visit: Visit) -> None:
        """Tells that a visit has ended which never ran."""
        self._token.run_sync_soon(visit.told)

    @enable_ki_protection
    async def watch(self, stands_still: Callable[[], None]) -> None:
        """Calls `stands_still` when the loop has not taken for a while what it was handed; visits
        that wait for it are told as well.

        What waits for a loop that nobody runs, or whose code computes, would otherwise wait without
        a word and without a timeout.
        """
        taken, since = self._taken, time.monotonic()
        while True:
            if not self._waiting:
                self._watcher = current_task()
                await wait_task_rescheduled(self._unwatched)
                since = time.monotonic()
            await trio.sleep(STANDS_STILL)
            if self._taken != taken:
                taken, since, self.still_since = self._taken, time.monotonic(), None
            elif self._waiting and not self.is_gone:
                if self.still_since is None:
                    self.still_since = since
                    stands_still()
                for visit in list(self._waiting):
                    visit.waits()

    def _unwatched(self, _: Callable[[], Any]) -> Abort:
        self._watcher = None
        return Abort.SUCCEEDED

    def send(self, call: Callable[[], None]) -> None:
        """Has something called on the loop."""
        self._there.append(call)

    def flush(self) -> None:
        """Hands over what there is. Called whenever trio has run all that could run."""
        if (self._there or self._waiting) and not self._rung:
            self._rung = True
            try:
                self.loop.call_soon_threadsafe(self._take_all)
            except RuntimeError:
                self._token.run_sync_soon(self._closed)  # which wakes trio, that is about to sleep

    def forsake(self) -> None:
        """Nobody runs the loop any more."""
        self.is_gone = True
        self.forsake_unwanted()

    def forsake_unwanted(self) -> None:
        """Visits that were cancelled and have not ended are waited for no longer."""
        while self.unwanted:
            self.unwanted.pop().forsake()

    def close(self) -> None:
        """Ends a loop that is the engine's own."""

    def _deliver(self, back: list[Visit]) -> None:
        for visit in back:
            visit.deliver()

    # On the loop's thread.

    def _take_all(self) -> None:
        self._rung = False  # first: what is sent from now on rings again
        self._taken += 1
        while self._there:
            self._there.popleft()()
        if self._waiting and self.carrier is None:
            self._new_carrier()

    def _new_carrier(self) -> None:
        self.carrier = _Carrier(self._carry(), loop=self.loop, context=Context())
        self.carrier.bridge = self

    async def _carry(self) -> None:
        carrier = self.carrier
        assert carrier is not None, "it is this task"
        carrier.has_begun = True
        try:
            await self._run_waiting(carrier)
        finally:
            if self.carrier is carrier:
                self.carrier = None
                if self._waiting:
                    self._new_carrier()

    @types.coroutine
    def _run_waiting(self, carrier: _Carrier) -> Generator[Any, Any, None]:
        count = 0
        while (
            (visit := self._next()) is not None
            and (yield from visit.run(carrier))
            and not carrier.cancelling()
        ):
            count += 1
            if count % VISITS_AT_ONCE == 0:
                yield

    def _next(self) -> Visit | None:
        self._taken += 1
        try:
            return self._waiting.popleft()
        except IndexError:  # none is left, or trio's side has just taken it back
            return None

    def has_waited(self, visit: Visit) -> None:
        """The task of this visit runs no other one; somebody else runs the rest."""
        self.carrier = None
        if self._waiting:
            self._new_carrier()
        self.send_back(visit)

    def not_carried(self, by_the_end: bool) -> None:
        """Somebody cancelled the carrier before it began: the end of the loop, and nothing runs any
        more, or a user's code."""
        self.carrier = None
        while by_the_end and (visit := self._next()) is not None:
            visit.drop()
        if self._waiting:
            self._new_carrier()

    def send_back(self, visit: Visit) -> None:
        """There is something to be told of a visit."""
        if not self._back:
            self.loop.call_soon(self._hand_back)  # after all that this round of the loop still does
        self._back.append(visit)

    def _hand_back(self) -> None:
        back, self._back = self._back, []
        with suppress(trio.RunFinishedError):  # nobody waits any more
            self._token.run_sync_soon(self._deliver, back)


class OwnLoop(Bridge):
    """A bridge to a loop of its own, in a thread of its own; uvloop's, where it is installed."""

    name = "the engine's own asyncio loop"

    def __init__(self, token: trio.lowlevel.TrioToken, closed: Callable[[], None]) -> None:
        super().__init__(_new_loop(), token, closed)
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="stepwell asyncio", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:
            self.loop.close()
            raise

    @property
    def ident(self) -> int | None:
        return self._thread.ident

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            while not self._is_closing:
                # asyncio lets them out of the loop as well as into the task, where whoever waits
                # finds them
                with suppress(KeyboardInterrupt, SystemExit):
                    self.loop.run_forever()
                    if not self._is_closing:
                        log.warning(
                            "code of a step stopped the engine's own asyncio loop, on "
                            "which other steps run; it goes on"
                        )
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
        """Ends the loop and what user code left running on it; a task that does not end is left
        behind."""
        self._is_closing = True
        with suppress(RuntimeError):  # code that ran on it has closed it
            self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(timeout=CLOSES_MAX)


class NoLoop(Bridge):
    """In place of a loop that could not be started: what is to run on it waits until it is given
    up."""

    def __init__(self, token: trio.lowlevel.TrioToken, closed: Callable[[], None]) -> None:
        super().__init__(_ClosedLoop(), token, closed)
        self.loop.close()
        self.is_gone = True


class _ClosedLoop(asyncio.BaseEventLoop):
    """A loop without a selector: it takes no descriptor to make one, and that there is none may be
    why it is wanted."""


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop  # type: ignore[import-not-found,unused-ignore]  # an option of the user's
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()  # type: ignore[no-any-return,unused-ignore]  # it says so where it is installed
