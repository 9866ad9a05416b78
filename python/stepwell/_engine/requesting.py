"""Requests: an event is sent, and whoever sent it waits for its answer (E6).

The event is durable before anybody waits. Then the store is asked whether there is an answer, and,
as long as there is none and the instance has not ended, whatever happens to it is listened to. So
it makes no difference who dies meanwhile: whoever asks again, with the same `dedup_id`, finds the
answer, or waits for it.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

import trio

from .. import _core
from .._codes import not_found
from .._errors import (
    EngineClosed,
    InstanceErrored,
    InstanceTerminated,
    InvalidState,
    RequestTimeout,
)
from .._types import Status
from .._values.durations import text
from .answers import Telling
from .draining import DRAINED
from .following import Teller
from .look import Look

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .._replay import Recorded
    from .desk import Who


class Ringing(Teller, Protocol):
    """What tells of what happens, and when time is over: the engine's driver."""

    def arm(self, delay: int, then: Callable[[], None], /) -> int:
        """Calls this after a delay in microseconds."""
        ...

    def disarm(self, ticket: int, /) -> None:
        """Forgets that."""
        ...

    def monotonic(self) -> int:
        """Time that only goes on, in microseconds."""
        ...


class Requesting:
    """Somebody who asks an instance for an answer. A listener of that instance meanwhile."""

    def __init__(
        self, driver: Ringing, ask: Callable[..., Awaitable[Any]], who: Who, dedup_id: str
    ) -> None:
        """`ask`: asks the core, and returns its answer; a refusal is raised."""
        self._driver, self._ask, self._who, self._dedup_id = driver, ask, who, dedup_id
        self._news = trio.Event()
        self._timer: int | None = None
        self._is_late = False
        self.no = 0

    async def answer(self, kind: str, payload: bytes | None, us: int) -> bytes:
        """Sends the event, and returns the answer; see `Desk.request`."""
        core = self._driver.core
        # of one that has ended the store says how, and whether it had answered
        with suppress(InvalidState):
            await self._ask(self._who, core.request, *self._who, kind, payload, self._dedup_id)
        until = self._driver.monotonic() + us
        try:
            return await self._found(kind, us, until)
        finally:
            self._stop_timer()
            self._listen_to(0)

    async def _found(self, kind: str, us: int, until: int) -> bytes:
        while True:
            self._news = trio.Event()
            look, is_known, answer = await self._look()
            if answer is not None:
                return answer
            if look.status.is_final:
                raise self._ended(look, kind)
            if not is_known:
                raise InvalidState(
                    f"{self._whose} was sent an event with dedup_id={self._dedup_id!r} that asks "
                    "for nothing: an id stands for one event. Give another."
                )
            driver = self._driver
            if self._is_late:
                raise RequestTimeout(
                    f'{self._whose} did not answer "{kind}" within {text(us)}. Ask again with '
                    f"dedup_id={self._dedup_id!r} to wait on."
                )
            if driver.drained:
                raise EngineClosed(DRAINED)
            if self._timer is None:
                self._timer = driver.arm(max(0, until - driver.monotonic()), self._ring)
            if look.no != self.no:
                self._listen_to(look.no)  # and look again: it may have answered meanwhile
            else:
                await self._news.wait()

    async def _look(self) -> tuple[Look, bool, bytes | None]:
        core, who = self._driver.core, self._who
        found = await self._ask(who, core.asked, *who, self._dedup_id)
        if found is None:
            raise not_found(who.workflow, who.id, who.namespace)
        row, is_known, answer = found
        return Look._make(row), is_known, answer

    def _ended(self, look: Look, kind: str) -> Exception:
        """Returns what says that the instance has ended without an answer."""
        info = Telling(self._who.workflow, self._who.id).failure
        lead = f'{self._whose} ended without an answer to "{kind}"'
        if look.status is Status.ERRORED:
            error = info(look.result)
            return InstanceErrored(f"{lead}: it failed: {error}", error=error)
        if look.status is Status.TERMINATED:
            error = info(look.result)
            why = f": {error.message}" if error is not None else ""
            return InstanceTerminated(f"{lead}: it was terminated{why}", error=error)
        return InvalidState(f"{lead}: it is {look.status.value}", status=look.status)

    @property
    def _whose(self) -> str:
        return f"{self._who.workflow}/{self._who.id}"

    def _listen_to(self, no: int) -> None:
        driver = self._driver
        if self.no:
            driver.ignore(self)
        self.no = no
        if no:
            driver.listen(self)

    def _ring(self) -> None:
        self._is_late = True
        self._news.set()

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            self._driver.disarm(timer)

    # The driver tells.

    def tell(self, status: Status, _: bytes | None) -> None:
        """The instance is in this state now."""
        if status.is_final:
            self._news.set()

    def recorded(self, record: Recorded) -> None:
        """This was recorded of it."""
        if record.kind == _core.REPLIED:
            self._news.set()

    def reported(self, progress: bytes) -> None:
        """It has come so far."""

    def streamed(self, incarnation: int, stream: str, row: tuple[Any, ...]) -> None:
        """It has sent this in a stream."""

    def look_again(self) -> None:
        """What happened is not known any more, and a timer is of a core that is gone; or nothing
        will happen."""
        self._stop_timer()
        self._news.set()
