"""The socket of an engine, over which other processes of this user ask its desk.

Whoever connects is believed nothing: their user is asked of the system. What is said on a
connection is not known here (`answering`), and only imported when one comes, which in most programs
is never.
"""

from __future__ import annotations

import os
import socket
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import trio

from .._log import log
from . import socket_path
from .frames import BadFrame

if TYPE_CHECKING:
    from collections.abc import Callable

    from .answering import Answers
    from .desk import Here

CONNECTIONS_MAX = 1_024


class Server:
    """Answers whoever comes to the socket of one engine.

    Args:
        desk: Of the engine.
        store: Path of its store.
        hello: Returns what a client is told first.
    """

    def __init__(self, desk: Here, store: str, hello: Callable[[], dict[str, Any]]) -> None:
        self._desk = desk
        self._hello = hello
        self._answers: Answers | None = None
        self._user = os.geteuid()
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
        async with trio.open_nursery() as nursery:
            while True:
                try:
                    peer, _ = await listener.accept()
                except OSError as error:  # no descriptors, or somebody who has left already
                    log.warning("nobody could be let in at the socket: %s", error)
                    await trio.sleep(0.1)
                    continue
                nursery.start_soon(self._serve, trio.SocketStream(peer), nursery)

    async def _serve(self, stream: trio.SocketStream, nursery: trio.Nursery) -> None:
        """Serves one connection. Whatever happens on it ends it, and nothing else."""
        self._connections += 1
        try:
            async with stream:
                from .answering import Answers, Connection  # most engines are alone

                if self._answers is None:
                    self._answers = Answers(self._desk, self._hello, nursery)
                if self._connections > CONNECTIONS_MAX or peer_of(stream) not in (0, self._user):
                    return
                try:
                    await Connection(self._answers, stream).run()
                finally:  # a forked child may have it too, and does not know
                    with suppress(OSError):
                        stream.socket.shutdown(socket.SHUT_RDWR)
        except* (BadFrame, trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        except* Exception:  # a connection is not worth an engine
            log.exception("a connection of a client broke")
        finally:
            self._connections -= 1


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
