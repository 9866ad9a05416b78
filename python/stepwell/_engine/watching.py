"""Who is told what happens to instances: callers who wait for a state, and those who follow one.

The core tells only of what somebody watches or listens to, and counts how many do; so whoever comes
and goes is said to it here, and a core that was opened anew is told of all of them again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import outcome as results
import trio
from trio.lowlevel import (
    Abort,
    current_task,
    enable_ki_protection,
    reschedule,
    wait_task_rescheduled,
)

from .._errors import EngineClosed
from .._replay import Recorded
from .._types import STATUSES, Status
from .draining import DRAINED

if TYPE_CHECKING:
    from .following import Listener, Teller

News: TypeAlias = tuple[Status, bytes | None] | None
"""State and payload of an instance; None: something may have been missed, look again."""


class Watch:
    """Somebody who waits for an instance to get into one of certain states, or to end."""

    __slots__ = ("_news", "_task", "_watchers", "no", "wanted")

    def __init__(self, watchers: Watchers, no: int, wanted: frozenset[Status]) -> None:
        self._watchers = watchers
        self._news: list[results.Outcome[News]] = []
        self._task: trio.lowlevel.Task | None = None
        self.no = no
        self.wanted = wanted

    def tell(self, status: Status, payload: bytes | None) -> None:
        """The instance is in this state now."""
        if status in self.wanted or status.is_final:
            self._pass_on(results.Value((status, payload)))

    def look_again(self) -> None:
        """What happened is not known any more: the engine crashed and recovered."""
        self._pass_on(results.Value(None))

    def end(self, why: str) -> None:
        """Nothing can be told any more."""
        self._pass_on(results.Error(EngineClosed(why)))

    def _pass_on(self, news: results.Outcome[News]) -> None:
        if self._task is None:
            self._news.append(news)
        else:
            task, self._task = self._task, None
            reschedule(task, news)

    @enable_ki_protection
    async def next(self) -> News:
        """Waits for the next state that was asked for, or a final one.

        Raises:
            EngineClosed: The engine was closed meanwhile.
        """
        if self._news:
            return self._news.pop(0).unwrap()
        if self._watchers.teller.drained:
            raise EngineClosed(DRAINED)
        self._task = current_task()
        try:
            return await wait_task_rescheduled(self._aborted)  # type: ignore[no-any-return]  # _pass_on sends it
        finally:
            # whatever ended the wait, were it a call that could not be made: nobody may wake this
            # task any more
            self._task = None

    def _aborted(self, _: Callable[[], None]) -> Abort:
        self._task = None
        return Abort.SUCCEEDED

    def close(self) -> None:
        """Ends the watch."""
        self._watchers.unwatch(self)


class Watchers:
    """All who are told, by the number of their instance."""

    def __init__(self, teller: Teller) -> None:
        self.teller = teller
        self._watches: dict[int, list[Watch]] = {}
        self._listeners: dict[int, list[Listener]] = {}

    # Who comes and goes.

    def watch(self, no: int, wanted: frozenset[Status]) -> Watch:
        """Returns a watch for these states of an instance; close it."""
        watch = Watch(self, no, wanted)
        self._watches.setdefault(no, []).append(watch)
        self.teller.core.watch(no)
        return watch

    @enable_ki_protection
    def unwatch(self, watch: Watch) -> None:
        """Ends a watch."""
        others = self._watches[watch.no]
        others.remove(watch)
        if not others:
            del self._watches[watch.no]
        self.teller.core.unwatch(watch.no)

    def listen(self, listener: Listener) -> None:
        """Tells this listener of what happens to its instance, until `ignore`."""
        self._listeners.setdefault(listener.no, []).append(listener)
        self.teller.core.listen(listener.no)

    @enable_ki_protection
    def ignore(self, listener: Listener) -> None:
        """Tells it nothing any more."""
        others = self._listeners[listener.no]
        others.remove(listener)
        if not others:
            del self._listeners[listener.no]
        self.teller.core.ignore(listener.no)

    # What they are told: notes of the core.

    def changed(self, no: int, status: int, reason: str | None, payload: bytes | None) -> None:
        """An instance is in another state."""
        for watch in (*self._watches.get(no, ()), *self._listeners.get(no, ())):
            watch.tell(STATUSES[status], payload)

    def gone(self, no: int) -> None:
        """An instance was deleted."""
        for watch in (*self._watches.get(no, ()), *self._listeners.get(no, ())):
            watch.look_again()

    def recorded(self, no: int, record: tuple[Any, ...] | None) -> None:
        """Something was recorded of an instance; None: it is not known what, and is looked up."""
        for listener in self._listeners.get(no, ()):
            if record is None:
                listener.look_again()
            else:
                listener.recorded(Recorded._make(record))

    def reported(self, no: int, progress: bytes) -> None:
        """An instance has said how far it is."""
        for listener in self._listeners.get(no, ()):
            listener.reported(progress)

    def streamed(self, no: int, incarnation: int, stream: str, row: tuple[Any, ...] | None) -> None:
        """An instance has sent something; None: it is not known what, and is looked up."""
        for listener in self._listeners.get(no, ()):
            if row is None:
                listener.look_again()
            else:
                listener.streamed(incarnation, stream, row)

    def begin_anew(self) -> None:
        """The core is another, after a crash: it is told of all of them, and they look again."""
        for no, watches in self._watches.items():
            for watch in watches:
                self.teller.core.watch(no)
                watch.look_again()
        for no, listeners in self._listeners.items():
            for listener in listeners:
                self.teller.core.listen(no)
                listener.look_again()

    def end(self, why: str) -> None:
        """Nothing is told any more."""
        for watches in self._watches.values():
            for watch in watches:
                watch.end(why)
        for listeners in self._listeners.values():
            for listener in listeners:
                listener.look_again()  # and finds that it is over
