"""Bodies that are to begin: from when the core has given them a slot until they are in memory.

They begin when all notes of one poll are handled, in their order. One whose earlier life has not
left memory yet waits for that; what comes for one before its body is there is kept for it. One that
is stopped or paused before it began never begins. Nothing here decides who has a slot.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .._body import delivery

if TYPE_CHECKING:
    from .._body.runner import Runner
    from .._core import Start
    from .host import Host


class Starts:
    """The bodies of one engine that are to begin.

    Args:
        host: The engine.
        bring_in: Brings a body into memory, where it runs once it has been told what came before.

    Attributes:
        begun: How many have begun in this process.
    """

    def __init__(self, host: Host, bring_in: Callable[[Start], Runner]) -> None:
        self.begun = 0
        self._host = host
        self._bring_in = bring_in
        self._next: dict[int, Start] = {}
        self._later: dict[int, Start] = {}
        self._early: dict[int, list[tuple[Any, ...]]] = {}

    def add(self, start: Start) -> None:
        """A body has a slot."""
        self._next[start[0]] = start

    def keep(self, no: int, outcome: tuple[Any, ...]) -> None:
        """An outcome has arrived for a body that is not there yet."""
        self._early.setdefault(no, []).append(outcome)

    def begin(self) -> None:
        """All that was polled is handled: begins those that were added."""
        for start in self._next.values():
            self._begin_one(start)
        self._next.clear()

    def _begin_one(self, start: Start) -> None:
        no, incarnation, *_ = start
        if no in self._host.runners:
            self._later[no] = start  # the parked body has not left memory yet
        elif self._host.draining:
            self._host.core.release(no, incarnation)
        else:
            runner = self._bring_in(start)
            self.begun += 1
            for early in self._early.pop(no, ()):
                delivery.settled_early(runner, *early)

    def left(self, no: int) -> None:
        """A body has left memory: the one that waited for that begins."""
        later = self._later.pop(no, None)
        if later is not None:
            self._begin_one(later)

    def stop(self, no: int, incarnation: int) -> bool:
        """Takes out one that is to begin; returns whether there was one."""
        for waiting in (self._next, self._later):
            start = waiting.get(no)
            if start is not None and start[1] == incarnation:
                del waiting[no]
                return True
        return False

    def forget(self, no: int) -> None:
        """What has arrived for a body that is not there is for nobody."""
        self._early.pop(no, None)

    def begin_none(self) -> None:
        """A crash: nobody begins. What has arrived stays until the new core is there."""
        self._next.clear()
        self._later.clear()

    def clear(self) -> None:
        """There is a new core: what has arrived from the old one is for nobody."""
        self._early.clear()
