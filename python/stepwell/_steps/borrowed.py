"""What attempts have borrowed of their engine: their number, its threads, the slots of instances
that ended before them.

All of it is lent and given back here, however an attempt comes to its end: cancelled before its
thread began, left alone while that runs, or refused by a machine that has no more threads. At rest
nothing is borrowed (`check`), and the test engine asks for that whenever it is idle and when it
closes. This file does not know what an attempt does.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Protocol, TypeVar

import outcome as results
import trio

from .._errors import NoThread

T = TypeVar("T")
RETURNS_MAX = 5.0
"""Seconds in which a thread whose function has ended is given back; it takes trio some
microseconds."""


class Observer(Protocol):
    """Whom a test engine tells that something has ended."""

    observed: bool

    def progressed(self) -> None:
        """Something has ended."""
        ...


class Borrower(Protocol):
    """A step whose attempt is to have a thread. Its text is what a person calls it."""

    async def may_have_thread(self) -> None:
        """Returns if the attempt may begin; if not, it never comes back from here."""
        ...

    def thread_begins(self, thread: Thread) -> None:
        """An attempt has a thread, and is under way."""
        ...

    def thread_ended(self, thread: Thread) -> None:
        """The thread of an attempt has ended."""
        ...


class Borrowed:
    """What the attempts of one engine hold at this moment.

    Attributes:
        attempts: How many have begun and not ended; an engine that drains waits for them, a test
            engine's clock does, and so does whoever pauses one of its instances.
        slots: As many as the engine has threads; an attempt that gets none is queued, and has not
            begun.
        threads: Those that hold a slot. A thread that nobody waits for any more holds its own until
            it has ended.
        listeners: How many want to be told of every end.
        held: Numbers of instances that ended while an attempt of theirs ran on, which keeps the
            engine's slot.
    """

    __slots__ = (
        "_observer", "aside", "attempts", "held", "listeners", "slots", "threads", "under_way",
    )  # fmt: skip

    def __init__(self, observer: Observer, slots: trio.CapacityLimiter) -> None:
        self._observer = observer
        self.attempts = 0
        self.listeners = 0
        self.slots = slots
        self.threads: set[Thread] = set()
        self.held: set[int] = set()
        self.under_way = _Counted(self.begin, self.end)
        """Around an attempt."""
        self.aside = _Counted(self.end, self.begin)
        """Within it: around what nobody is to wait for."""

    def begin(self) -> None:
        """An attempt begins."""
        self.attempts += 1

    def end(self) -> None:
        """An attempt has ended."""
        self.attempts -= 1
        if self._observer.observed or self.listeners:
            self._observer.progressed()

    def give_back(self, thread: Thread) -> None:
        """A thread has ended, or could not be started."""
        self.slots.release_on_behalf_of(thread)
        self.threads.remove(thread)
        if self._observer.observed or self.listeners:
            self._observer.progressed()

    @contextmanager
    def listening(self) -> Generator[None]:
        """Within this the observer is told of every end."""
        self.listeners += 1
        try:
            yield
        finally:
            self.listeners -= 1

    @property
    def is_at_rest(self) -> bool:
        """Whether no attempt runs, and no thread that was left alone."""
        return not self.attempts and not any(thread.is_running for thread in self.threads)

    async def threads_are_back(self) -> None:
        """Waits until those threads have been given back whose function has ended.

        Raises:
            AssertionError: One never is, or never began: a bug of the engine.
        """
        until = time.monotonic() + RETURNS_MAX  # not trio's clock, which a test may own
        while (
            ended := [it for it in self.threads if not it.is_running]
        ) and time.monotonic() < until:
            # it is about to call its function, or to say that it has ended: no event tells of both
            time.sleep(0.0001)
            await trio.lowlevel.checkpoint()
        assert not ended, (
            f"threads that do not run were not given back: {', '.join(map(str, ended))}"
        )

    def check(self) -> None:
        """Makes sure that nothing is missing, where nothing can go on.

        Raises:
            AssertionError: Something was lent and not given back: a bug of the engine.
        """
        assert not self.attempts, f"{self.attempts} attempts are counted and none runs"
        assert self.slots.borrowed_tokens == len(self.threads), (
            "a slot for a thread is borrowed and there is no thread"
        )
        assert not self.held or self.threads, (
            f"instances {sorted(self.held)} ended, and nothing of them runs; their slots are held"
        )


class _Counted:
    """A context manager that needs no object of its own for each use."""

    __slots__ = ("_enter", "_leave")

    def __init__(self, enter: Callable[[], None], leave: Callable[[], None]) -> None:
        self._enter = enter
        self._leave = leave

    def __enter__(self) -> None:
        self._enter()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._leave()


class Thread:
    """The worker thread of one attempt of a plain function.

    trio is given it as its "limiter": what trio acquires before it starts a thread, it releases
    once, when the thread has ended or could not be started, whether anybody still waits for it or
    not. Until there is a slot the operation has no thread, and may be cancelled as if it had never
    been begun; from then on the thread is bound to begin.

    Args:
        borrowed: Of its engine.
        operation: Whose attempt it runs; has it as its `thread` from when it is bound to begin
            until it has ended.
        begins: Called then, on trio's thread.

    Attributes:
        ended: Set when the thread has ended, on trio's thread.
        outcome: What the function returned or raised; whoever takes it leaves None.
    """

    __slots__ = (
        "_begins",
        "_borrowed",
        "_is_over",
        "ended",
        "ident",
        "operation",
        "outcome",
        "since",
    )

    def __init__(self, borrowed: Borrowed, operation: Borrower, begins: Callable[[], None]) -> None:
        self._borrowed = borrowed
        self._begins = begins
        self._is_over = False
        self.operation = operation
        self.ended = trio.Event()
        self.since = 0
        """When it was bound to begin, in microseconds of the wall clock; the operation says it."""
        self.ident: int | None = None
        """Of the thread, as in `threading`; None: it has not called the function yet."""
        self.outcome: results.Outcome[Any] | None = None

    def __str__(self) -> str:
        return str(self.operation)

    @property
    def is_running(self) -> bool:
        """Whether the function was called and has not returned."""
        return self.ident is not None and not self._is_over

    async def run(self, fn: Callable[[], T]) -> T:
        """Calls the function in the thread, once there is a slot; returns or raises what it does.
        Cancelled, it leaves the thread alone.

        Raises:
            NoThread: The process may start no more threads.
        """
        as_limiter: Any = self
        try:
            await trio.to_thread.run_sync(
                self._call, fn, limiter=as_limiter, abandon_on_cancel=True, thread_name=str(self)
            )
        except Exception as error:
            raise NoThread(
                f"there was no thread for {self}: {error}, beside the {threading.active_count()} "
                "of this process. Raise what limits them (ulimit -u, a container's pids limit), or "
                "lower Engine(threads=)."
            ) from error
        return self.take().unwrap()  # type: ignore[no-any-return]  # what fn returns

    def take(self) -> results.Outcome[Any]:
        """Returns the outcome, and forgets it: an error's traceback has frames that hold this: a
        circle."""
        outcome, self.outcome = self.outcome, None
        assert outcome is not None, "it has ended, and nobody took it"
        return outcome

    def _call(self, fn: Callable[[], Any]) -> None:
        self.ident = threading.get_ident()
        try:
            self.outcome = results.Value(fn())
        except BaseException as error:
            self.outcome = results.Error(error)
        finally:
            self._is_over = True

    # What trio calls.

    async def acquire_on_behalf_of(self, _: object) -> None:
        """Waits for a slot; from then on the thread will begin."""
        borrowed, operation = self._borrowed, self.operation
        with borrowed.aside:  # what is queued has not begun
            await borrowed.slots.acquire_on_behalf_of(self)
            try:
                await operation.may_have_thread()
                # the slot may have come in the moment of the cancellation
                await trio.lowlevel.checkpoint_if_cancelled()
            except BaseException:
                borrowed.slots.release_on_behalf_of(self)
                raise
        borrowed.threads.add(self)
        operation.thread_begins(self)
        self._begins()

    def release_on_behalf_of(self, _: object) -> None:
        """The thread has ended, or could not be started."""
        self._borrowed.give_back(self)
        self.ended.set()
        self.operation.thread_ended(self)
