"""What is answered on the connections of a socket: each call is one of the desk's.

Each connection is one nursery: a reader, a writer, and a task for each call. What changes something
runs in the server's own nursery, for it goes on when whoever asked for it is gone, and a repeat of
it, on another connection, waits for the same answer. Whoever connects is believed nothing: what
they say is checked against its type (`wire`) and its meaning (`vetting`), and what they leave
unread or unfinished costs a bounded amount of memory and time. Nothing that happens on a connection
reaches the engine but the calls of its desk.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import outcome as results
import trio

from .._core import CoreError
from .._errors import (
    EngineClosed,
    InternalError,
    InvalidConfig,
    Overloaded,
    StepwellError,
    TooLarge,
)
from .._log import log
from .callers import ONCE
from .frames import (
    ANSWER,
    BEGUN,
    CANCEL,
    ERROR,
    FRAME_MAX,
    FRAME_SECONDS,
    HELLO_MAX,
    ITEM,
    PROTOCOL,
    BadFrame,
    Frames,
    LongFrame,
    Outlet,
    framed,
)  # fmt: skip
from .vetting import vet
from .wire import CALLS, Call, Garbled, packed_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from .callers import Listener
    from .desk import Here

BRIEF_MAX = 256
"""Calls of one connection that are under way and may soon be answered; what comes beyond that is
not read yet."""
BRIEF_SECONDS = 0.1
"""So long it is not read for that: what is under way by then waits for something, as for the end
of an instance, and could do so for ever."""
CALLS_MAX = 10_000
"""Calls of one connection that are under way, those that wait for something too; more are
refused."""
UNREAD_MAX = 1 << 20
"""Bytes of answers that one connection has not read yet, beyond which its next call is not read."""
BYTES_MAX = 128 << 20
"""Bytes of the calls of all connections that are under way, beyond which no more are read."""
DESERTED_SECONDS = 60
"""So long a call that changes something goes on waiting when whoever asked for it is gone."""


class _UnderWay:
    """A call that changes something: it is done once, however often it is asked for."""

    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.done = trio.Event()
        self.answer: list[Any] = []
        self.waiting = 0


class Answers:
    """All calls that are under way, of whatever connection.

    Args:
        desk: Of the engine.
        hello: Returns what a client is told first.
        nursery: Where what changes something is done.
    """

    def __init__(
        self, desk: Here, hello: Callable[[], dict[str, Any]], nursery: trio.Nursery
    ) -> None:
        self.desk = desk
        self.hello = hello
        self.under_way: dict[bytes, _UnderWay] = {}
        self.bytes = 0
        self.fewer = trio.Event()
        self._nursery = nursery

    async def do(self, call: Call, args: list[Any]) -> list[Any]:
        """Has one call done, and returns what it is answered."""
        try:
            vet(self.desk, call, args)
            return _packed(call, await call.made(self.desk, args))
        except Exception as error:
            return _packed_failure(call, error)

    async def do_once(self, key: bytes, call: Call, args: list[Any]) -> list[Any]:
        """As `do`, for what changes something: whoever repeats it meanwhile waits for the same
        answer."""
        known = self.under_way.get(key)
        if known is None:
            known = self.under_way[key] = _UnderWay()
            self._nursery.start_soon(self._do_for, known, key, call, args)
        known.waiting += 1
        known.scope.deadline = math.inf
        try:
            await known.done.wait()
        finally:
            known.waiting -= 1
            if not known.waiting:
                known.scope.deadline = trio.current_time() + DESERTED_SECONDS
        return known.answer

    async def _do_for(self, known: _UnderWay, key: bytes, call: Call, args: list[Any]) -> None:
        gone = EngineClosed("nobody waited for this call any more")
        known.answer = [ERROR, packed_error(gone)]
        try:
            with known.scope:
                ONCE.set(key)
                known.answer = await self.do(call, args)
        finally:
            del self.under_way[key]
            known.done.set()


class _Glance:
    """A look at one instance that is under way: without a task, which takes longer than it does."""

    def __init__(self, ended: Callable[[], None]) -> None:
        self.listener: Listener | None = None
        self._ended = ended

    def cancel(self) -> None:
        """It is given up."""
        if self.listener is not None:
            self.listener.forget()
        self._ended()


class Connection:
    """One client."""

    def __init__(self, answers: Answers, stream: trio.SocketStream) -> None:
        self._answers = answers
        self._stream = stream
        self._calls: dict[int, trio.CancelScope | _Glance] = {}
        self._brief: set[int] = set()
        self._read = trio.Event()
        self._outlet = Outlet(stream, seconds=FRAME_SECONDS, sent=lambda: self._read.set())

    async def run(self) -> None:
        """Serves it until it ends."""
        frames = Frames(self._stream)
        if not await self._greeted(frames):
            return
        try:
            async with trio.open_nursery() as self._nursery:
                self._nursery.start_soon(self._outlet.run)
                while (frame := await frames.next()) is not None:
                    await self._take(*frame)
                    await self._has_room()
                self._nursery.cancel_scope.cancel()
        finally:
            for it in list(self._calls.values()):  # those without a task
                it.cancel()

    async def _greeted(self, frames: Frames) -> bool:
        """Exchanges versions; returns whether there is anything more to say."""
        with trio.move_on_after(FRAME_SECONDS):
            frame = await frames.next(HELLO_MAX)
            said = None if frame is None else frame[0]
            if isinstance(said, dict) and "stepwell" in said:
                await self._stream.send_all(framed(self._answers.hello()))
                return bool(said["stepwell"] == PROTOCOL)
        return False

    async def _take(self, item: Any, size: int) -> None:
        match item:
            case [int(number), str(name), list(args), (bytes() | None) as key]:
                pass
            case _:
                raise BadFrame("a call is [number, name, arguments, id]")
        if name == CANCEL:
            if (given_up := self._calls.pop(number, None)) is not None:
                given_up.cancel()
            return
        if number in self._calls:
            raise BadFrame(f"call {number} is under way")
        if len(self._calls) >= CALLS_MAX:
            self._send([number, ERROR, packed_error(_too_many())])
            return
        answers = self._answers
        while answers.bytes + size > BYTES_MAX and answers.bytes:
            if answers.fewer.is_set():
                answers.fewer = trio.Event()
            await answers.fewer.wait()
        answers.bytes += size
        self._brief.add(number)
        if name == "find" and self._glances(number, size, args):
            return
        scope = self._calls[number] = trio.CancelScope()
        self._nursery.start_soon(self._answer, scope, number, size, name, args, key)

    def _glances(self, number: int, size: int, args: list[Any]) -> bool:
        """Begins a look at one instance, if it can be done now; else a task does it."""
        answers, call = self._answers, CALLS["find"]

        def take(answer: results.Maybe[Any]) -> None:
            try:
                told = _packed(call, answer.unwrap())
            except Exception as error:
                told = _packed_failure(call, error)
            self._send([number, *told])
            ended()

        def ended() -> None:
            self._ended(glance, number, size)

        glance = _Glance(ended)
        try:
            who, payloads = call.unpacked(args)
            vet(answers.desk, call, [who, payloads])
            glance.listener = answers.desk.glance(who, payloads, take)
        except (Garbled, StepwellError, CoreError):  # which a task says
            return False
        if glance.listener is None:
            return False
        self._calls[number] = glance
        return True

    async def _answer(
        self,
        scope: trio.CancelScope,
        number: int,
        size: int,
        name: str,
        args: list[Any],
        key: bytes | None,
    ) -> None:
        try:
            with scope:
                self._send([number, *await self._answered(number, name, args, key)])
        finally:
            self._ended(scope, number, size)

    def _ended(self, call: trio.CancelScope | _Glance, number: int, size: int) -> None:
        """A call is answered, or given up."""
        if self._calls.get(number) is call:
            del self._calls[number]
        self._brief.discard(number)
        self._answers.bytes -= size
        self._answers.fewer.set()
        self._read.set()

    async def _answered(
        self, number: int, name: str, args: list[Any], key: bytes | None
    ) -> list[Any]:
        try:
            if (call := CALLS.get(name)) is None:
                raise Garbled(f"there is no call {name!r:.80}")
            meant = call.unpacked(args)
            if call.changes and (key is None or not 16 <= len(key) <= 32):
                raise Garbled(f"{name} has no id of its own, of 16 to 32 bytes")
        except Garbled as error:
            return [ERROR, packed_error(InvalidConfig(f"this call is none: {error}"))]
        if call.follows:
            return await self._follow(number, call, meant)
        if call.changes and key is not None:
            return await self._answers.do_once(key, call, meant)
        return await self._answers.do(call, meant)

    async def _follow(self, number: int, call: Call, args: list[Any]) -> list[Any]:
        pack = call.answer.pack
        try:
            vet(self._answers.desk, call, args)
            async with call.made(self._answers.desk, args) as items:
                self._send([number, BEGUN, items.begun_at])
                self._brief.discard(number)
                self._read.set()
                async for item in items:
                    self._send([number, ITEM, item if pack is None else pack(item)])
                    await self._is_read()
        except StepwellError as error:
            return [ERROR, packed_error(error)]
        return [ANSWER, None]

    # What is sent.

    def _send(self, item: list[Any]) -> None:
        try:
            data = framed(item)
        except BadFrame as error:
            why = f"the answer cannot be sent: {error}"
            told: StepwellError = InternalError(why)
            if isinstance(error, LongFrame):  # a large value
                told = TooLarge(f"{why}. Ask the engine in its own process", limit=FRAME_MAX)
            data = framed([item[0], ERROR, packed_error(told)])
        self._outlet.send(data)

    async def _has_room(self) -> None:
        """Waits until there is room for the next call and what it is answered."""
        if len(self._brief) >= BRIEF_MAX:
            with trio.move_on_after(BRIEF_SECONDS) as patience:
                while len(self._brief) >= BRIEF_MAX:
                    await self._news()
            if patience.cancelled_caught:
                self._brief.clear()
        await self._is_read()

    async def _is_read(self) -> None:
        """Waits until there is room for more that is sent."""
        while self._outlet.waiting > UNREAD_MAX:
            await self._news()

    async def _news(self) -> None:
        """Waits until a call has ended, or something was read."""
        if self._read.is_set():
            self._read = trio.Event()
        await self._read.wait()


def _packed(call: Call, answer: Any) -> list[Any]:
    pack = call.answer.pack
    return [ANSWER, answer if pack is None else pack(answer)]


def _packed_failure(call: Call, error: Exception) -> list[Any]:
    if isinstance(error, StepwellError):
        return [ERROR, packed_error(error)]
    log.error("a call of a client failed: %s", call.name, exc_info=error)
    told = InternalError(f"{call.name} failed: {error!r:.500}; the engine's log has more")
    return [ERROR, packed_error(told)]


def _too_many() -> Overloaded:
    return Overloaded(
        f"{CALLS_MAX:,} calls of this client are under way, which is the most. To wait for more at "
        "once, follow the whole namespace (`changes`), or open another client.",
        limit="calls",
    )
