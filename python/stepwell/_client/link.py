"""The link to the engine of a store: one connection at a time, made when somebody asks, and made
anew when it is lost.

An engine may be away for a while: it restarts, or was killed. What only reads is then answered from
the store's file (`file_desk`), which is never asked while an engine answers. Whoever asks for
something else waits, up to the client's timeout, and is told `NoEngine` then. Whoever did not hear
an answer asks again by itself: each call that changes something has an id, under which an engine
does it once.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import trio

from .._engine.config import check_thread
from .._engine.frames import ANSWER, BEGUN, FRAME_MAX, BadFrame
from .._engine.socket_path import socket_path
from .._engine.stored import NotThere
from .._engine.wire import Garbled, unpacked_error
from .._errors import EngineClosed, InternalError, NoEngine, StepwellError, TooLarge
from .._log import log
from .._types import Source
from .._values.durations import text
from .connection import Asked, Connection, Lost, open_connection
from .remote_code import RemoteCode

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from .._engine.wire import Call
    from .file_desk import FileDesk

_FIRST_WAIT, _LAST_WAIT = 0.02, 0.5
"""Seconds between two looks whether an engine is there."""
REPEATED_SECONDS = 600
"""So long a call is asked again under its id: engines know ids for 15 minutes."""
_NOT_REPEATED = ("backup", "drain", "reshard")
"""What is of the whole engine has no id that is kept."""


_OF_THE_FILE = frozenset(
    (
        "approvals", "audit", "bulks", "counts", "explain", "export", "find", "firings", "history",
        "namespaces", "page", "reasons", "schedules", "undoing", "until", "versions",
    )
)  # fmt: skip
"""Calls that the file answers too; `until` only if what is waited for has come."""


class Away(Exception):
    """No engine is there, and the file can be asked."""


class Patience:
    """How long one call has waited for an engine: as long as none answers.

    Attributes:
        has_file: Whether the file may know the answer, so that nothing is waited for.

    Raises:
        NoEngine: From `wait`, when that was too long.
    """

    def __init__(self, link: Link, *, has_file: bool = False) -> None:
        self.has_file = has_file
        self._seconds, self._store, self._link = link.timeout, link.store, link
        self._until: float | None = None
        self._wait = _FIRST_WAIT

    def renew(self) -> None:
        """An engine is there."""
        self._until, self._wait = None, _FIRST_WAIT

    async def wait(self, why: BaseException) -> None:
        """Waits before the next look."""
        now = trio.current_time()
        if self._until is None:
            self._until = now + self._seconds
        if now >= self._until:
            raise NoEngine(
                f"no engine of {self._store} answered for {text(round(self._seconds * 1e6))} "
                f"({_told(why)}). Start one: Engine({self._store!r}, workflows=[…])."
            ) from None
        with trio.move_on_after(min(self._wait, self._until - now)):
            await self._link.made.wait()
        self._wait = min(2 * self._wait, _LAST_WAIT)


def _told(why: BaseException) -> str:
    """Returns why there was no answer."""
    if isinstance(why, FileNotFoundError):
        return "it has no socket"
    if isinstance(why, ConnectionRefusedError):
        return "nobody listens at its socket"
    return str(why) or "it closed the connection"


class Link:
    """See above.

    Args:
        store: Path of the store.
        timeout: Seconds that a call waits for an engine that is away.

    Attributes:
        entered_by: How a client is entered, for messages.
        made: Set when a connection is made; another one is waited for with another event.
        source: Where the last answer came from; None: there was none yet.
    """

    def __init__(self, store: str, timeout: float) -> None:
        self.store = store
        self.timeout = timeout
        self.entered_by = "async with"
        self._connection: Connection | None = None
        self._code: tuple[Connection, RemoteCode] | None = None
        self._connecting = trio.Lock()
        self.made = trio.Event()
        self.source: Source | None = None
        self._token: trio.lowlevel.TrioToken | None = None
        self._process = 0
        self._is_closed = False

    def __repr__(self) -> str:
        return f"<client of {self.store}>"

    # Open and close.

    def open(self) -> None:
        """From now on calls may be made, from this thread."""
        if self._token is not None or self._is_closed:
            raise EngineClosed("a Client object opens once. Make a new one.")
        self._token = trio.lowlevel.current_trio_token()
        self._process = os.getpid()

    async def close(self) -> None:
        """Ends the connection."""
        self._is_closed = True
        connection, self._connection = self._connection, None
        if connection is not None and not self.is_parents:
            await connection.close()

    @property
    def is_parents(self) -> bool:
        """Whether this is a forked child of the process that opened it."""
        return self._process not in (0, os.getpid())

    def check_open(self) -> None:
        """Returns if this client may be used in this process now. Raises EngineClosed."""
        if self._token is None or self._is_closed:
            raise EngineClosed(
                f"this client is not open. Use it inside `{self.entered_by} Client(…) as client:`."
            )
        if self.is_parents:
            raise EngineClosed(
                f"this client was opened by process {self._process} and cannot be used in its "
                "forked child, whose calls and answers would be mixed up with its own. Open a "
                "client in the child."
            )

    def check(self, method: str) -> None:
        """The same, and of this thread. Raises EngineClosed or MisusedState."""
        self.check_open()
        check_thread(method, self._token, "client")

    # Calls.

    async def registry(self) -> RemoteCode:
        """Returns the code that the engine has."""
        patience = Patience(self)
        connection = await self._connected(patience)
        if self._code is None or self._code[0] is not connection:
            hello = connection.hello
            self._code = (
                connection,
                RemoteCode(hello["workflows"], map(tuple, hello.get("formerly", ()))),
            )
        return self._code[1]

    async def readers(self) -> RemoteCode:
        """Returns the code that the engine has; without one, what is known of it in the file."""
        try:
            await self._connected(Patience(self, has_file=True))
        except Away:
            with suppress(NotThere):
                return await self._file.readers()
        return await self.registry()

    async def call(self, call: Call, args: list[Any]) -> Any:
        """Makes a call, and returns its answer.

        Raises:
            NoEngine: None was there for too long.
            EngineClosed: It is gone, and whether the call was done is not known.
            StepwellError: What the engine answers.
        """
        packed = call.packed(args)
        patience = Patience(self, has_file=call.name in _OF_THE_FILE)
        key = secrets.token_bytes(16) if call.changes else None
        asked_at: float | None = None
        while True:
            try:
                connection = await self._connected(patience)
                asked_at = asked_at or trio.current_time()
                kind, value = await self._asked(connection, call.name, packed, key)
            except Away:
                desk = self._file
                try:
                    answer = await desk.answer(call, args)
                except NotThere:
                    patience.has_file = False  # it is waited for an engine, who may know
                    continue
                except StepwellError:
                    if desk.source != Source("file"):  # it was read, and that is its answer
                        self._told_by(desk.source)
                    raise
                self._told_by(desk.source)
                return answer
            except Lost as why:
                if call.changes and self._is_too_late(call.name, asked_at):
                    raise self._unknown(call.name) from None
                await self._waited(patience, why, call)
                continue
            except NoEngine:
                if call.changes and asked_at is not None:
                    raise self._unknown(call.name) from None
                raise
            if kind == ANSWER:
                self._told_by(Source("engine"))
                return _understood(call.answer.unpack, value)
            error = _understood(unpacked_error, value)
            if not isinstance(error, EngineClosed):
                self._told_by(Source("engine"))
                raise error
            await patience.wait(error)  # it ends, and did nothing; another one may come
            asked_at = None

    @property
    def _file(self) -> FileDesk:
        """The file, for one question; what reads it is loaded once it is asked."""
        from .file_desk import FileDesk

        return FileDesk(self.store)

    def _told_by(self, source: Source) -> None:
        """Remembers where the last answer came from, and says so when that is the file."""
        before, self.source = self.source, source
        if source.place == "file" and (before is None or before.place == "engine"):
            log.warning("%s: %s", self.store, source)
        elif source.place == "engine" and before is not None and before.place == "file":
            log.info("%s: the engine answers again", self.store)

    async def _waited(self, patience: Patience, why: Lost, call: Call) -> None:
        try:
            await patience.wait(why)
        except NoEngine:
            if call.changes:
                raise self._unknown(call.name) from None
            raise

    @staticmethod
    def _is_too_late(name: str, asked_at: float | None) -> bool:
        """Whether an engine may not know any more that it was asked before."""
        if name in _NOT_REPEATED:
            return True
        return asked_at is not None and trio.current_time() - asked_at > REPEATED_SECONDS

    def _unknown(self, name: str) -> EngineClosed:
        if name == "do_to_many":  # which is durable once it has begun
            return EngineClosed(
                f"the engine of {self.store} was gone before all was done. What had begun is in "
                "the list of bulk operations, and goes on with the next engine; ask again only if "
                "it is not there."
            )
        return EngineClosed(
            f"the engine of {self.store} was gone before it answered {name}; whether it was done "
            "is not known. Look, and ask again if it was not."
        )

    async def _asked(
        self, connection: Connection, name: str, packed: list[Any], key: bytes | None
    ) -> list[Any]:
        number, asked = self._sent(connection, name, packed, key)
        try:
            return await asked.answer()
        finally:
            connection.forget(number, gives_up=asked.end is None)

    def _sent(
        self, connection: Connection, name: str, packed: list[Any], key: bytes | None
    ) -> tuple[int, Asked]:
        try:
            return connection.ask(name, packed, key)
        except BadFrame as error:
            raise TooLarge(
                f"{name} cannot be sent: {error}. Ask for less at once.", limit=FRAME_MAX
            ) from None

    async def follow(self, call: Call, args: list[Any], cursor: int) -> AsyncGenerator[Any, None]:
        """Makes a call that is answered by items, and goes on after the last of them when the
        connection was lost. The first is None: it has begun. `cursor`: which argument says from
        where."""
        has_begun = False
        patience = Patience(self)
        while True:
            connection = await self._connected(patience)
            number, asked = self._sent(connection, call.name, call.packed(args), None)
            try:
                while True:
                    while asked.items:
                        patience.renew()
                        kind, value = asked.items.popleft()
                        if kind == BEGUN:
                            args[cursor] = args[cursor] if value is None else value
                            if not has_begun:
                                has_begun = True
                                yield None
                            continue
                        item = _understood(call.answer.unpack, value)
                        args[cursor] = item.cursor
                        yield item
                    if asked.end is not None:
                        kind, value = asked.end
                        if kind == ANSWER:
                            return
                        error = _understood(unpacked_error, value)
                        if not isinstance(error, EngineClosed):
                            raise error
                        await patience.wait(error)
                        break
                    if asked.is_lost:
                        await patience.wait(Lost())
                        break
                    await asked.more()
            finally:
                connection.forget(number, gives_up=asked.end is None)

    async def _connected(self, patience: Patience) -> Connection:
        """Returns the connection, which is made if there is none."""
        while True:
            self.check_open()
            connection = self._connection
            if connection is not None and not connection.is_lost:
                patience.renew()
                return connection
            async with self._connecting:
                if self._connection is not connection:
                    continue  # somebody else made it
                try:
                    made = await open_connection(socket_path(self.store))
                except (OSError, Lost) as error:
                    why = error
                else:
                    self._connection = made
                    self.made.set()
                    self.made = trio.Event()
                    trio.lowlevel.spawn_system_task(made.run)
                    continue
            if patience.has_file:
                raise Away
            await patience.wait(why)


def _understood(unpack: Callable[[Any], Any], value: Any) -> Any:
    try:
        return unpack(value)
    except Garbled as error:
        raise InternalError(f"the engine's answer cannot be understood: it {error}") from None
