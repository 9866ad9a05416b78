"""What the parts of a driver see of it: the engine as a whole, its core and all that it has in
memory.

Each part does one thing for the driver (who waits for an answer, how it drains, what its instances
lack), and the driver is made of them; so that they need not know it, they know this. Nothing here
does anything.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVarTuple

import trio

if TYPE_CHECKING:
    from .._body.resisting import Resistance
    from .._body.runner import Runner
    from .._core import Core
    from .._ending import End
    from .._loops.bridge import Bridge
    from .._steps.borrowed import Borrowed
    from .._types import Status
    from .registry import Registry

Ts = TypeVarTuple("Ts")


class Reply:
    """The answer to one call: a code, "" for success, and data."""

    __slots__ = ("code", "data")

    def __init__(self, code: str, data: Any) -> None:
        self.code = code
        self.data = data


class Host(Protocol):
    """The driver, as its parts see it.

    Attributes:
        tickets: Who waits for the answer of the core, by ticket.
        failure: Why the engine has stopped; None: it has not.
        draining: Whether no more steps start.
        observed: Whether body tasks are counted, however few there are.
        left: Tasks of bodies and attempts that could not be ended, once the engine closes without
            them.
        runners: The bodies in memory, by number of their instance.
    """

    core: Core
    code: Registry
    nursery: trio.Nursery
    token: trio.lowlevel.TrioToken
    bridge: Bridge | None
    borrowed: Borrowed
    resistance: Resistance
    tickets: dict[int, Any]
    runners: dict[int, Runner]
    failure: BaseException | None
    draining: bool
    observed: bool
    left: list[trio.lowlevel.Task]

    def ask(self, submit: Callable[[*Ts], int], *args: *Ts) -> Awaitable[Reply]:
        """Calls the core, and waits for the answer."""
        ...

    def change(self, submit: Callable[[*Ts], int], *args: *Ts) -> Awaitable[Reply]:
        """The same for what changes something, and is done once if whoever asks says so."""
        ...

    def limits_changed(self) -> None:
        """Limits are others already: they are read anew."""
        ...

    @property
    def is_putting(self) -> bool:
        """Whether what somebody calls, or an attempt came to, waits for a payload store."""
        ...

    def stir(self) -> None:
        """There are notes that the core itself does not know of."""

    def progressed(self) -> None:
        """Something has ended; `drain` looks again."""

    def arm(self, delay: int, then: Callable[[], None]) -> int:
        """Calls `then` after a delay in microseconds of the engine's clock."""
        ...

    def watch(self, no: int, wanted: frozenset[Status]) -> Any:
        """Returns a watch for states of an instance, by its number: see `Watchers`."""
        ...

    def look(self) -> None:
        """There may be news for the collector."""

    def unwind_all(self, why: End) -> None:
        """Cancels every body that is in memory."""

    async def next_progress(self) -> None:
        """Waits until an attempt or a body has ended, or is not driven any more."""

    def has_drained(self) -> None:
        """Nothing runs any more, and nothing will."""
