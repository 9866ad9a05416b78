"""An engine that dies, or is left, at one exact place, and tells everything in the same order every
time.

The real core commits in a thread of its own, so what a crash finds done would be chance. Between
driver and core stands a `Seam`: whenever trio has run all that could run, it waits until what was
submitted is committed and takes all notes, so that a program, its fate and trio's shuffling decide
everything. It counts what bodies submit and what they are told. At its cut it loses every later
submission, as a process does that was killed before they were committed; or tells nothing more, as
one that was killed after; or the engine begins to close in order, in the middle of whatever it
does.

It changes nothing else: the core, the driver and all above it are the real ones.
"""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable
from typing import Any

import trio

from stepwell import _core
from stepwell.testing import TestEngine

from .nodes import Cut, Fate

SUBMISSIONS = {
    *(
        "record",
        "set_attributes",
        "retry",
        "sleep",
        "wait_event",
        "wait_approval",
        "wait_child",
        "call",
        "create_child",
        "create_children",
        "send",
    ),
    *(
        "withdraw",
        "give_back",
        "quiet",
        "hold",
        "let_go",
        "finish",
        "block",
        "release",
        "paused",
        "report",
        "undoes",
        "undone",
        "continue_as_new",
    ),
}
"""What a body asks of the core; the others are read, armed, or asked from outside."""


class Seam:
    """One life of a core."""

    def __init__(
        self, core: Any, cut: Cut | None, leave: Callable[[], None],
        pair: tuple[socket.socket, socket.socket], hold: random.Random,
        chance: float,
    ) -> None:  # fmt: skip
        self._core = core
        self._cut = cut
        self._leave = leave
        self._heard, self._told = pair
        self._hold, self._chance = hold, chance
        self._notes: list[tuple[Any, ...]] = []
        self._ringing = False
        self.submitted = 0
        self.handed = 0
        self.observed = 0
        self.is_cut = False
        """Whether the cut has come."""
        self.dead = False
        """Whether what bodies submit is lost."""
        self.mute = False
        """Whether nothing is told any more."""

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._core, name)
        if name not in SUBMISSIONS:
            return method

        def submit(*args: Any) -> Any:
            self._reached("submission", self.submitted)
            self.submitted += 1
            return (1 << 50) + self.submitted if self.dead else method(*args)

        return submit

    def observes(self) -> None:
        """A body observes something."""
        self.observed += 1
        self._reached("moment", self.observed)

    def rests(self, rounds: int) -> None:
        """Nothing goes on any more, for so many times."""
        self._reached("rest", rounds)

    def _reached(self, kind: str, place: int) -> None:
        cut = self._cut
        if cut is None or self.is_cut or cut.kind != kind or place < cut.at:
            return
        self.is_cut = True
        if cut.how == "close":
            self._leave()
        else:
            self.dead = True
            self.mute = kind == "note"

    def spare(self) -> None:
        """No cut comes any more."""
        self._cut = None

    def hurry(self) -> None:
        """All that was submitted is committed at once from now on."""
        self._chance = 0

    def park(self, no: int, incarnation: int) -> bool:
        return not self.dead and self._core.park(no, incarnation)

    def fileno(self) -> int:
        return self._heard.fileno()

    def flush(self) -> None:
        """Commits what was submitted, unless this round's submissions wait for those of the next
        one."""
        if not self._chance or self._hold.random() >= self._chance:
            self.commit()

    def commit(self) -> None:
        """Commits what was submitted and takes the notes."""
        if self.mute:
            return
        self._core.flush()
        while True:
            self._notes += [note for note in self._core.poll() if note[0] != _core.IDLE]
            if not self._core.busy():
                break
            time.sleep(0)
        if self._notes and not self._ringing:
            self._ringing = True
            self._told.send(b"!")

    def poll(self, _: int) -> list[tuple[Any, ...]]:
        """Hands over what was committed; never so much that some of it would be for another
        round."""
        if self._ringing:
            self._ringing = False
            self._heard.recv(1)
        notes, self._notes = self._notes, []
        if self.mute:
            return []
        cut = self._cut
        if (
            cut is not None
            and cut.kind == "note"
            and self.handed + len(notes) > cut.at
            and not self.is_cut
        ):
            if cut.how == "crash":
                notes = notes[: max(0, cut.at - self.handed)]
            self._reached("note", cut.at)
        self.handed += len(notes)
        return notes

    def busy(self) -> bool:
        return not self.mute and bool(self._notes or self._core.busy())

    def close(self) -> None:
        if self.mute:
            self._core.crash()  # the process has died while it closed
        else:
            self.dead = self.mute = True
            self._core.close()

    def crash(self) -> None:
        """Ends as a killed process does."""
        self.dead = self.mute = True
        self._core.crash()

    def reopen(self) -> Any:
        """Returns a core on the same store, once this one is closed, or has crashed."""
        if self._ringing:
            self._ringing = False
            self._heard.recv(1)
        return self._core.reopen()


class Mortal(TestEngine):
    """A test engine whose lives end at the given cuts; the last one does not.

    Args:
        workflows: As `Engine`.
        fate: Has the cuts, of this engine and of those that come after it.
        leave: Called when its cut has come and it is to be left.
        before: Whose store it goes on with.
        stumble: Called while it opens.
    """

    seam: Seam
    """The life that it lives."""

    def __init__(
        self,
        workflows: Any,
        fate: Fate,
        leave: Callable[[], None],
        before: Mortal | None = None,
        stumble: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(
            ":memory:", seed=fate.seed, autojump=False, workflows=workflows, shards=1,
            threads=fate.threads, grace=GRACE
        )  # fmt: skip
        self._fate = fate
        self._leave = leave
        self._before = before
        self._stumble = stumble
        self.cuts = list(fate.cuts) if before is None else before.cuts[1:]
        self._hold = random.Random(fate.seed) if before is None else before._hold
        self._pair = socket.socketpair() if before is None else before._pair

    @property
    def cut(self) -> Cut | None:
        """Where this life ends."""
        return self.cuts[0] if self.cuts else None

    def _open_core(self) -> Any:
        core = super()._open_core() if self._before is None else self._before.seam.reopen()
        seam = self._sewn(core)
        if self._stumble is not None:
            trio.from_thread.run_sync(self._stumble)
        return seam

    def _sewn(self, core: Any) -> Seam:
        self.seam = Seam(core, self.cut, self._leave, self._pair, self._hold, self._fate.hold)
        return self.seam

    async def crash(self) -> None:
        """Loses what was not told, and lives on until the next cut."""
        old = self.seam
        self.cuts = self.cuts[1:]

        async def reopen() -> Any:
            old.crash()
            return self._sewn(old.reopen())

        await self._running().reset(reopen)

    def spare(self) -> None:
        """Cuts no life short any more."""
        self.cuts = []
        self.seam.spare()

    def let_go(self) -> None:
        """Closes what only these engines have."""
        for end in self._pair:
            end.close()


GRACE = 1_000
"""Seconds, never waited for: `conductor` ends the grace of an engine that drains."""
