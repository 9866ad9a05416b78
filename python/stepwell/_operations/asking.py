"""Whoever asks for operations: the object whose methods they are, and the branch that calls one."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from .._body.branch import Branch, place
from .._ending import End
from .calls import misplaced

if TYPE_CHECKING:
    from .._body.life import Life

_thread = threading.get_ident


class Asking:
    """What the parts of `Step` have in common: their instance, and the thread of its body.

    It holds nothing else, and neither do they.
    """

    __slots__ = ("_life", "_thread")
    _word = "step"
    """What the object is called whose methods these are."""

    def __init__(self, life: Life) -> None:
        self._life = life
        self._thread = _thread()

    def _branch(self, method: str) -> Branch:
        """Returns the branch that calls; says so if nobody may call here (I7)."""
        here, life = place.get(), self._life
        has_ended = life.stopping and life.stopping is End.FINISHED
        if (
            type(here) is Branch
            and here.life is life
            and _thread() == self._thread
            and not has_ended
        ):
            return here
        return misplaced(life, f"{self._word}.{method}", other_thread=_thread() != self._thread)
