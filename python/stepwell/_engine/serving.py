"""The socket of an engine: other processes of this user ask its desk over it.

Each connection is one nursery: a reader, a writer, and a task for each call. What changes something
runs in the server's own nursery, for it goes on when whoever asked for it is gone, and a repeat of
it, on another connection, waits for the same answer. Whoever connects is believed nothing: their
user is asked of the system, what they say is checked against its type (`wire`) and its meaning
(`vetting`), and what they leave unread or unfinished costs a bounded amount of memory and time.
Nothing that happens on a connection reaches the engine but the calls of its desk.
"""

from __future__ import annotations

import math
import os
import socket
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import trio

from .._errors import EngineClosed, InternalError, InvalidConfig, StepwellError
from .._log import log
from . import socket_path
from .callers import ONCE
from .frames import FRAME_SECONDS, HELLO_MAX, PROTOCOL, BadFrame, Frames, framed
from .vetting import vet
from .wire import Call, Garbled, calls, packed_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from .desk import Here

CONNECTIONS_MAX = 1_024
CALLS_MAX = 256
"""Calls of one connection that are under way; what comes beyond that is not read yet."""
UNREAD_MAX = 1 << 20
"""Bytes of answers that one connection has not read yet, beyond which its next call is not read."""
BYTES_MAX = 128 << 20
"""Bytes of the calls of all connections that are under way, beyond which no more are read."""
DESERTED_SECONDS = 60
"""So long a call that changes something goes on waiting when whoever asked for it is gone."""
CANCEL = "cancel"
"""What a client sends in place of a call to give one up."""

ANSWER, ERROR, ITEM, BEGUN = range(4)
"""What follows the number of a call: its answer, or the end of its items; an error; an item; the
cursor from which items come from now on, if there is one before the first."""


class _UnderWay:
    """A call that changes something: it is done once, however often it is asked for."""

    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.done = trio.Event()
        self.answer: list[Any] = []
        self.waiting = 0


class Server:
    """Answers whoever comes to the socket of one engine.

    Args:
        desk: Of the engine.
        store: Path of its store.
        hello: Returns what a client is told first.
    """

    def __init__(self, desk: Here, store: str, hello: Callable[[], dict[str, Any]]) -> None:
        self.desk = desk
        self.hello = hello
        self.under_way: dict[bytes, _UnderWay] = {}
        self.nursery: trio.Nursery
        self.bytes = 0
        self.fewer = trio.Event()
        self.user = os.geteuid()
        self._path = socket_path.socket_path(store)
        self._listener: socket.socket | None = None
        self._identity: tuple[int, int] | None = None
        self._connections = 0

    def open(self) -> None:
        """Makes the socket. An engine that cannot have one runs all the same, and says so."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            socket_path.make_folder(self._path)
            socket_path.clear(self._path)
            listener.bind(self._path)
            os.chmod(self._path, 0o600)  # before anybody can connect
            found = os.lstat(self._path)
            listener.listen(128)
        except OSError as error:
            listener.close()
            log.warning("other processes cannot reach this engine, for it has no socket: %s", error)
            return
        self._identity = (found.st_dev, found.st_ino)
        self._listener = listener

    def close(self) -> None:
        """Closes the socket and removes it, if it is still the one that was made."""
        listener, self._listener = self._listener, None
        if listener is None:
            return
        with suppress(OSError):
            found = os.lstat(self._path)
            if (found.st_dev, found.st_ino) == self._identity:
                os.unlink(self._path)
        _shut(listener)

    async def run(self) -> None:
        """Answers, until it is cancelled."""
        if self._listener is None:
            return
        listener = trio.socket.from_stdlib_socket(self._listener)
        self._listener.setblocking(False)
        async with trio.open_nursery() as self.nursery:
            while True:
                try:
                    peer, _ = await listener.accept()
                except OSError as error:  # no descriptors, or somebody who has left already
                    log.warning("nobody could be let in at the socket: %s", error)
                    await trio.sleep(0.1)
                    continue
                self.nursery.start_soon(self._serve, trio.SocketStream(peer))

    async def _serve(self, stream: trio.SocketStream) -> None:
        """Serves one connection. Whatever happens on it ends it, and nothing else."""
        self._connections += 1
        try:
            async with stream:
                if self._connections > CONNECTIONS_MAX or peer_of(stream) not in (0, self.user):
                    return
                try:
                    await Connection(self, stream).run()
                finally:  # a forked child may have it too, and does not know
                    with suppress(OSError):
                        stream.socket.shutdown(socket.SHUT_RDWR)
        except (BadFrame, trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        except Exception:  # a connection is not worth an engine
            log.exception("a connection of a client broke")
        finally:
            self._connections -= 1

    async def do(self, call: Call, args: list[Any]) -> list[Any]:
        """Has one call done, and returns what it is answered."""
        try:
            await vet(self.desk, call, args)
            answer = await call.made(self.desk, args)
            pack = call.answer.pack
            return [ANSWER, answer if pack is None else pack(answer)]
        except StepwellError as error:
            return [ERROR, packed_error(error)]
        except Exception as error:
            log.exception("a call of a client failed: %s", call.name)
            told = InternalError(f"{call.name} failed: {error!r:.500}; the engine's log has more")
            return [ERROR, packed_error(told)]

    async def do_once(self, key: bytes, call: Call, args: list[Any]) -> list[Any]:
        """As `do`, for what changes something: whoever repeats it meanwhile waits for the same
        answer."""
        known = self.under_way.get(key)
        if known is None:
            known = self.under_way[key] = _UnderWay()
            self.nursery.start_soon(self._do_for, known, key, call, args)
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


class Connection:
    """One client."""

    def __init__(self, server: Server, stream: trio.SocketStream) -> None:
        self._server = server
        self._stream = stream
        self._calls: dict[int, trio.CancelScope] = {}
        self._unsent: list[bytes] = []
        self._unsent_bytes = 0
        self._some, self._read = trio.Event(), trio.Event()

    async def run(self) -> None:
        """Serves it until it ends."""
        frames = Frames(self._stream)
        if not await self._greeted(frames):
            return
        async with trio.open_nursery() as self._nursery:
            self._nursery.start_soon(self._write)
            while (frame := await frames.next()) is not None:
                await self._take(*frame)
                await self._has_room()
            self._nursery.cancel_scope.cancel()

    async def _greeted(self, frames: Frames) -> bool:
        """Exchanges versions; returns whether there is anything more to say."""
        with trio.move_on_after(FRAME_SECONDS):
            frame = await frames.next(HELLO_MAX)
            said = None if frame is None else frame[0]
            if isinstance(said, dict) and "stepwell" in said:
                await self._stream.send_all(framed(self._server.hello()))
                return bool(said["stepwell"] == PROTOCOL)
        return False

    async def _take(self, item: Any, size: int) -> None:
        match item:
            case [int(number), str(name), list(args), (bytes() | None) as key]:
                pass
            case _:
                raise BadFrame("a call is [number, name, arguments, id]")
        if name == CANCEL:
            if number in self._calls:
                self._calls[number].cancel()
            return
        if number in self._calls:
            raise BadFrame(f"call {number} is under way")
        server = self._server
        while server.bytes + size > BYTES_MAX and server.bytes:
            await server.fewer.wait()
        server.bytes += size
        self._calls[number] = trio.CancelScope()
        self._nursery.start_soon(self._answer, number, size, name, args, key)

    async def _answer(
        self, number: int, size: int, name: str, args: list[Any], key: bytes | None
    ) -> None:
        server, scope = self._server, self._calls[number]
        try:
            with scope:
                self._send([number, *await self._answered(number, name, args, key)])
        finally:
            del self._calls[number]
            server.bytes -= size
            server.fewer.set()
            server.fewer = trio.Event()
            self._read.set()

    async def _answered(
        self, number: int, name: str, args: list[Any], key: bytes | None
    ) -> list[Any]:
        try:
            if (call := calls().get(name)) is None:
                raise Garbled(f"there is no call {name!r:.80}")
            meant = call.unpacked(args)
            if call.changes and (key is None or not 16 <= len(key) <= 32):
                raise Garbled(f"{name} has no id of its own, of 16 to 32 bytes")
        except Garbled as error:
            return [ERROR, packed_error(InvalidConfig(f"this call is none: {error}"))]
        if call.follows:
            return await self._follow(number, call, meant)
        if call.changes and key is not None:
            return await self._server.do_once(key, call, meant)
        return await self._server.do(call, meant)

    async def _follow(self, number: int, call: Call, args: list[Any]) -> list[Any]:
        pack = call.answer.pack
        try:
            await vet(self._server.desk, call, args)
            async with call.made(self._server.desk, args) as items:
                self._send([number, BEGUN, items.begun_at])
                async for item in items:
                    self._send([number, ITEM, item if pack is None else pack(item)])
                    await self._has_room()
        except StepwellError as error:
            return [ERROR, packed_error(error)]
        return [ANSWER, None]

    # What is sent.

    def _send(self, item: list[Any]) -> None:
        try:
            data = framed(item)
        except BadFrame as error:
            told = InternalError(f"the answer cannot be sent: {error}")
            data = framed([item[0], ERROR, packed_error(told)])
        self._unsent.append(data)
        self._unsent_bytes += len(data)
        self._some.set()

    async def _has_room(self) -> None:
        """Waits until there is room for what the next call is answered."""
        while len(self._calls) >= CALLS_MAX or self._unsent_bytes > UNREAD_MAX:
            self._read = trio.Event()
            await self._read.wait()

    async def _write(self) -> None:
        while True:
            await self._some.wait()
            self._some = trio.Event()
            data, self._unsent = b"".join(self._unsent), []
            for at in range(0, len(data), UNREAD_MAX):
                part = data[at : at + UNREAD_MAX]
                with trio.move_on_after(FRAME_SECONDS) as slow:
                    await self._stream.send_all(part)
                if slow.cancelled_caught:
                    raise BadFrame("nobody reads what is answered")
                self._unsent_bytes -= len(part)
                self._read.set()


def peer_of(stream: trio.SocketStream) -> int:
    """Returns the user at the other end, as the system says."""
    size = struct.calcsize("3i")
    _, user, _ = struct.unpack(
        "3i", stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    )
    return int(user)


def _shut(it: socket.socket) -> None:
    """Closes a socket that forked children may have too, who do not know."""
    with suppress(OSError):
        it.shutdown(socket.SHUT_RDWR)
    it.close()
