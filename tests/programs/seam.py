"""An engine that dies at one exact place, and tells everything in the same order every time.

The real core commits in a thread of its own, so what a crash finds done would be chance. Between driver and core
stands a `Seam`: whenever trio has run all that could run, it waits until what was submitted is committed and takes all
notes, so that a program, its fate and trio's shuffling decide everything. It counts what bodies submit and what they are
told. At its cut it loses every later submission, as a process does that was killed before they were committed; or tells
nothing more, as one that was killed after.

It changes nothing else: the core, the driver and all above it are the real ones.
"""

from __future__ import annotations

import random
import socket
import time
from typing import Any

from stepwell import _core
from stepwell.testing import TestEngine

from .nodes import Cut

SUBMISSIONS = {
    *("record", "retry", "sleep", "wait_event", "wait_approval", "wait_child", "call", "create_child", "create_children", "send"),
    *("withdraw", "give_back", "quiet", "hold", "let_go", "finish", "block", "release", "report"),
}
"""What a body asks of the core; the others are read, armed, or asked from outside."""


class Seam:
    """One life of a core."""

    def __init__(self, core: Any, cut: Cut | None, pair: tuple[socket.socket, socket.socket], hold: random.Random, chance: float) -> None:
        self._core = core
        self._cut = cut
        self._heard, self._told = pair
        self._hold, self._chance = hold, chance
        self._notes: list[tuple[Any, ...]] = []
        self._ringing = False
        self.submitted = 0
        self.handed = 0
        self.dead = False
        """Whether the cut has come: what bodies submit is lost."""
        self.mute = False
        """Whether nothing is told any more."""

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._core, name)
        if name not in SUBMISSIONS:
            return method

        def submit(*args: Any) -> Any:
            if self._cut is not None and self._cut.kind == "submission" and self.submitted >= self._cut.at:
                self.dead = True
            self.submitted += 1
            return (1 << 50) + self.submitted if self.dead else method(*args)

        return submit

    def park(self, no: int, incarnation: int) -> bool:
        return not self.dead and self._core.park(no, incarnation)

    def fileno(self) -> int:
        return self._heard.fileno()

    def flush(self) -> None:
        """Commits what was submitted, unless this round's submissions wait for those of the next one."""
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

    def poll(self) -> list[tuple[Any, ...]]:
        if self._ringing:
            self._ringing = False
            self._heard.recv(1)
        notes, self._notes = self._notes, []
        if self.mute:
            return []
        if self._cut is not None and self._cut.kind == "note" and self.handed + len(notes) > self._cut.at:
            notes = notes[: max(0, self._cut.at - self.handed)]
            self.dead = self.mute = True
        self.handed += len(notes)
        return notes

    def busy(self) -> bool:
        return not self.mute and bool(self._notes or self._core.busy())

    def close(self) -> None:
        self.dead = self.mute = True
        self._core.close()


class Mortal(TestEngine):
    """A test engine whose lives end at the given cuts; the last one does not."""

    def __init__(self, workflows: Any, cuts: tuple[Cut, ...], seed: int, chance: float) -> None:
        super().__init__(":memory:", seed=seed, autojump=False, workflows=workflows, shards=1, threads=1, grace=0)
        self._cuts = list(cuts)
        self._hold, self._chance = random.Random(seed), chance
        self._pair = socket.socketpair()

    @property
    def seam(self) -> Seam:
        """The life that it lives."""
        core: Any = self._running().core
        return core  # type: ignore[no-any-return]

    @property
    def cut(self) -> Cut | None:
        """Where this life ends."""
        return self._cuts[0] if self._cuts else None

    def _open_core(self) -> Any:
        return self._sewn(super()._open_core())

    def _sewn(self, core: Any) -> Seam:
        return Seam(core, self.cut, self._pair, self._hold, self._chance)

    async def crash(self) -> None:
        """Loses what was not told, and lives on until the next cut."""
        old = self.seam
        self._cuts = self._cuts[1:]

        async def reopen() -> Any:
            old.mute = True
            old._core.crash()
            return self._sewn(old._core.reopen())

        await self._running().reset(reopen)

    def spare(self) -> None:
        """Cuts no life short any more."""
        self._cuts = []
        self.seam._cut = None

    def let_go(self) -> None:
        """Closes what only this engine has."""
        for end in self._pair:
            end.close()
