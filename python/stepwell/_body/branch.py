"""Where in a body an operation stands: branch paths, occurrences, derived randomness.

A branch is a line of body code with an identity that does not depend on timing: the body itself, or
one `start_soon` of one nursery, or one item of one `map` or `each` (I2). It counts the operations
begun in it by kind and name, so that an operation is named by its place and never by a global
position (I1), and derives `random` and `uuid` from that identity (I13).
"""

from __future__ import annotations

import random
import re
import sys
import uuid
from contextvars import ContextVar
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any

from .._errors import InvalidConfig
from .._values.names import step_name

if TYPE_CHECKING:
    from .._kinds import Kind
    from .._replay import Identity
    from .life import Life
    from .running import Running

REFUSED = -1_000
"""Counts what was refused of each kind: under the kind of operation that much lower."""
_NAMESPACE = uuid.UUID("6d0f1d54-9f0e-5c2b-8a50-6b8f3f4a3c11")

place: ContextVar[Branch | Running | None] = ContextVar("stepwell_place", default=None)
"""Where code runs: in a branch of a body, in a step function, or (None) in neither."""


def current_branch() -> Branch | None:
    """Returns the branch whose code runs; None inside a step function and outside of workflows."""
    here = place.get()
    return here if type(here) is Branch else None


UNKNOWN = "an unknown place"
_LOOPS = ("trio._core._run.unrolled_run", "asyncio.events.Handle._run")
"""What runs tasks: the frames below it are of whoever runs the loop."""


def caller() -> str:
    """Returns `file:line` of the innermost running frame that is neither Stepwell's own nor trio's
    or asyncio's; `UNKNOWN` if the task that runs has none."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        if module.partition(".")[0] not in ("stepwell", "trio", "outcome", "asyncio"):
            return f"{frame.f_code.co_filename.rpartition('/')[2]}:{frame.f_lineno}"
        if f"{module}.{frame.f_code.co_qualname}" in _LOOPS:
            break
        frame = frame.f_back
    return UNKNOWN


def asks() -> tuple[CodeType, int]:
    """Returns the innermost running code that is not Stepwell's own, and at which instruction it
    is: little work, for each operation asks."""
    frame = sys._getframe(3)
    while _is_own(frame) and (outer := frame.f_back) is not None:
        frame = outer
    return frame.f_code, frame.f_lasti


def _is_own(frame: FrameType) -> bool:
    module: Any = frame.f_globals.get("__name__")
    return type(module) is str and module.startswith("stepwell.")


class Branch:
    """One line of body code.

    Attributes:
        life: The instance it belongs to.
        path: Its structural path, "" for the body; unique within the instance.
        order: Sorts branches as their code starts them.
        has_task: Whether a task runs it. Another one that does is no branch of its own.
    """

    __slots__ = ("_counts", "_random", "_uuids", "has_task", "life", "order", "path")

    def __init__(
        self, life: Life, path: str = "", order: tuple[tuple[str, int, int], ...] = ()
    ) -> None:
        self.life = life
        self.path = path
        self.order = order
        self.has_task = False
        self._counts: dict[tuple[int, str], int] = {}
        self._random: random.Random | None = None
        self._uuids = 0

    def identify(self, kind: Kind, name: str, key: str | None = None) -> Identity:
        """Names the next operation of this kind and name, and counts it; or the one with this key,
        which counts nowhere (I1).

        Raises:
            InvalidName: The key is malformed.
            InvalidConfig: The key names another operation already.
        """
        if key is not None:
            return self._keyed(kind, name, key)
        which = (kind, name)
        count = self._counts[which] = self._counts.get(which, 0) + 1
        return (kind, self.path, name, None, count)

    def _keyed(self, kind: Kind, name: str, key: str) -> Identity:
        step_name(key, "key")
        told = self.life.delivery
        if told.keys is None:
            told.keys = set()
        if (kind, name, key) in told.keys:
            raise InvalidConfig(
                f'step "{name}" with key {key!r} was begun before in this '
                "instance; a key names one step."
            )
        told.keys.add((kind, name, key))
        return (kind, "", name, key, 1)

    def following(self, kind: Kind, name: str) -> Identity:
        """Returns what `identify` would; counts nothing."""
        return (kind, self.path, name, None, self._counts.get((kind, name), 0) + 1)

    def refuse(self, kind: Kind, name: str) -> None:
        """Counts the next operation of this kind and name as one that was refused."""
        self.identify(kind, name)
        self.was_refused(kind, name)

    def was_refused(self, kind: Kind, name: str) -> None:
        """The last operation of this kind and name was refused; see `nth`."""
        self._counts[REFUSED + kind, name] = self._counts.get((REFUSED + kind, name), 0) + 1

    def nth(self, identity: Identity) -> int:
        """Returns which one of its name an operation of this branch is, of those that were not
        refused; it was identified last."""
        return identity[4] - self._counts.get((REFUSED + identity[0], identity[2]), 0)

    def occurrence(self, kind: Kind, name: str) -> int:
        """Returns which occurrence of this name the next one is, from 1, and counts it."""
        return self.identify(kind, name)[4]

    def child(self, name: str, occurrence: int, ordinal: int, key: str | None = None) -> Branch:
        """Returns the branch for one start in a nursery, or one item of a map."""
        path = f"{_quoted(name)}#{occurrence}[{ordinal if key is None else _quoted(key)}]"
        return Branch(
            self.life,
            f"{self.path}/{path}" if self.path else path,
            (*self.order, (name, occurrence, ordinal)),
        )

    @property
    def random(self) -> random.Random:
        """A generator seeded by the branch's identity: the same numbers on every replay."""
        if self._random is None:
            self._random = random.Random(f"{self.life.who.seed}|{self.path}")
        return self._random

    def uuid(self) -> uuid.UUID:
        """Returns the next derived UUID (version 5)."""
        self._uuids += 1
        return uuid.uuid5(_NAMESPACE, f"{self.life.who.seed}|{self.path}|{self._uuids}")


def _quoted(part: str) -> str:
    """Escapes what separates the parts of a path, so that different paths never read alike."""
    if not any(c in part for c in "%/#["):
        return part
    return part.replace("%", "%25").replace("/", "%2F").replace("#", "%23").replace("[", "%5B")


def unambiguous(name: str) -> str:
    """Escapes the separators in a name that stands behind a branch path, so that no two places read
    alike.

    A name without separators stays as it is, and reads like no escaped one: those have a "[" in
    them, and no other separator.
    """
    return name.replace("[", "[5B").replace("/", "[2F").replace("#", "[23")


_UNPRINTABLE = r"\x00-\x1f\x7f-\x9f\ud800-\udfff"
_PART = rf"(?:[^%/#\[{_UNPRINTABLE}]|%25|%2F|%23|%5B)+"
_ESCAPE = r"\[(?:5B|2F|23)"
_PLACE = rf"(?:{_PART}#[1-9][0-9]*\[{_PART}\]/)*((?:[^/#\[{_UNPRINTABLE}]|{_ESCAPE})+)"


def name_in(place: str) -> str | None:
    """Returns the name in a branch path with an escaped name behind it; None: no place reads like
    this."""
    found = re.fullmatch(_PLACE, place)  # compiled when it is first asked for
    if found is None:
        return None
    return unescaped(found[1])


def unescaped(text: str) -> str:
    """Returns a text without its escapes."""
    return re.sub(_ESCAPE, lambda it: chr(int(it[0][1:], 16)), text)
