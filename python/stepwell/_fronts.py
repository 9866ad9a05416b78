"""The API for other kinds of programs, made from the one for trio: no method is written twice.

A *front* of a class has the same public methods, which run on the engine's trio loop and answer in
the caller's way (`Way`). What they return is fronted too. Types are in `aio.pyi` and `sync.pyi`,
which `scripts/fronts.py` writes from the same classes.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import types
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import trio

from ._client.client import Client, ClientNamespace
from ._engine.approvals import Approvals
from ._engine.bulks import Bulks
from ._engine.config import check_unpatched
from ._engine.creating import BatchResult
from ._engine.engine import Engine
from ._engine.instance import Instance
from ._engine.schedules import Schedule
from ._engine.tenant import Namespace
from ._errors import EngineClosed, MisusedState
from ._loops.portal import Held, TrioThread, from_thread

FRONTED: tuple[type, ...] = (
    Engine,
    Namespace,
    Instance,
    Approvals,
    Bulks,
    Schedule,
    Client,
    ClientNamespace,
)
"""Every class whose methods users call."""
_WHOSE: dict[type, str] = {
    Instance: "instance",
    Approvals: "engine.approvals",
    Bulks: "engine.bulk",
    Schedule: "schedule",
    Client: "client",
    ClientNamespace: "client",
}
ANY_THREAD = {"limits", "peek", "statistics"}
"""Methods that need no trio loop."""


class Way:
    """How a kind of program calls async functions."""

    def __init__(
        self,
        module: str,
        run: Callable[[trio.lowlevel.TrioToken, Callable[[], Awaitable[Any]]], Any],
    ) -> None:
        self.module = module
        self.run = run
        """Runs an async trio function; returns what the program's own calls return: a value, or
        something to be awaited."""
        self.classes: dict[type, type] = {}
        self.manager: type = AsyncManager if self.is_async else Manager
        self.iterator: type = AsyncIteration if self.is_async else Iteration

    @property
    def is_async(self) -> bool:
        """Whether calls are awaited."""
        return inspect.iscoroutinefunction(self.run)


class Gate:
    """One engine, or a client of one, for one kind of program."""

    __slots__ = ("engine", "token", "way")

    def __init__(
        self, way: Way, engine: Engine | Client, token: trio.lowlevel.TrioToken | None = None
    ) -> None:
        self.way = way
        self.engine = engine
        self.token = token

    def call(self, fn: Callable[..., Awaitable[Any]], args: Any, kwargs: Any) -> Any:
        """Runs an async method of a fronted object in this program's way."""
        self.engine._running()
        assert self.token is not None, "an engine that runs has a trio loop"
        self._not_on_trio(fn, args[0])
        return self.way.run(self.token, functools.partial(fn, *args, **kwargs))

    def call_now(self, fn: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Runs a plain method on trio's thread and waits for it, whatever the program: as long as
        trio's present round takes."""
        self.engine._running()
        assert self.token is not None, "an engine that runs has a trio loop"
        self._not_on_trio(fn, args[0])

        async def on_trio() -> Any:
            return fn(*args, **kwargs)

        return from_thread(self.token, on_trio)

    def _not_on_trio(self, fn: Callable[..., Any], of: object) -> None:
        if trio.lowlevel.in_trio_run() and trio.lowlevel.current_trio_token() is self.token:
            method = f"{_WHOSE.get(type(of), 'engine')}.{getattr(fn, '__name__', '')}"
            self.engine._ready(method)  # in a body there is a better way
            where = f"{self.way.module}: {method} was called on the engine's own thread"
            raise MisusedState(f"{where}. In a trio step use current_step().engine.")

    def wrap(self, value: Any) -> Any:
        """Returns a front of what is fronted, and of what is in a list or a batch's result; all
        else as it is."""
        made = next(
            (it for cls in type(value).__mro__ if (it := self.way.classes.get(cls)) is not None),
            None,
        )
        if made is not None:
            front: Any = object.__new__(made)
            front._inner, front._gate = value, self
            return front
        if isinstance(value, BatchResult):
            return BatchResult([self.wrap(instance) for instance in value.created], value.errors)
        if isinstance(value, list) and value and isinstance(value[0], FRONTED):
            return [self.wrap(it) for it in value]
        if isinstance(value, AbstractAsyncContextManager):
            return self.way.manager(self, value)
        if isinstance(value, AsyncIterator):
            return self.way.iterator(self, value)
        return value


class _Passage:
    """Base of what stands for an async context manager or iterator of trio's."""

    __slots__ = ("_gate", "_held", "_inner")

    def __init__(self, gate: Gate, inner: Any) -> None:
        self._gate = gate
        self._inner = inner

    def _call(self, fn: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        return self._gate.call(fn, (self._inner, *args), {})


class AsyncManager(_Passage):
    """An async context manager, entered and left by one trio task, for an asyncio program."""

    __slots__ = ()

    async def __aenter__(self) -> Any:
        self._held = Held(self._inner)
        return self._gate.wrap(await self._call(lambda _: self._held.enter()))

    async def __aexit__(self, *how: Any) -> bool:
        return bool(await self._call(lambda _: self._held.leave(*how)))


class AsyncIteration(_Passage):
    """An async iterator, for an asyncio program."""

    __slots__ = ()

    def __aiter__(self) -> AsyncIteration:
        return self

    async def __anext__(self) -> Any:
        return self._gate.wrap(await self._call(type(self._inner).__anext__))


class Manager(_Passage):
    """An async context manager, entered and left by one trio task, for a blocking program."""

    __slots__ = ()

    def __enter__(self) -> Any:
        self._held = Held(self._inner)
        return self._gate.wrap(self._call(lambda _: self._held.enter()))

    def __exit__(self, *how: Any) -> bool:
        return bool(self._call(lambda _: self._held.leave(*how)))


class Iteration(_Passage):
    """An async iterator, for a blocking program."""

    __slots__ = ()

    def __iter__(self) -> Iteration:
        return self

    def __next__(self) -> Any:
        try:
            return self._gate.wrap(self._call(type(self._inner).__anext__))
        except StopAsyncIteration:
            raise StopIteration from None


def front_of(engine: Engine, module: str) -> Any:
    """Returns an engine as a kind of program sees it, for code of its steps: "aio" or "sync"."""
    # on top of this file, and seldom needed
    way: Way = importlib.import_module(f"stepwell.{module}").WAY
    front = Gate(way, engine, engine._token).wrap(engine)
    front._thread = front._held = None
    return front


def fill(module: dict[str, Any], way: Way, engine: type, client: type) -> list[str]:
    """Fills a module with the public names of `stepwell`, and with a way's fronts in place of what
    is fronted.

    Args:
        module: Its globals.
        way: How its users call.
        engine: Base of its `Engine`: how that is opened and closed.
        client: Base of its `Client`.

    Returns:
        The module's `__all__`.
    """
    public = importlib.import_module("stepwell")
    names = [name for name in public.__all__ if name != "run"]
    module.update((name, getattr(public, name)) for name in names)
    _make(way, dict.fromkeys(FRONTED, Front) | {Engine: engine, Client: client})
    module.update((cls.__name__, front) for cls, front in way.classes.items())
    return names


def _make(way: Way, bases: dict[type, type]) -> None:
    for cls in FRONTED:
        body: dict[str, Any] = {"__doc__": cls.__doc__, "__module__": way.module, "__slots__": ()}
        for name in dir(cls):
            member = inspect.getattr_static(cls, name)
            if not name.startswith("_") and name not in vars(bases[cls]):
                body[name] = _member(way, name, member)
        way.classes[cls] = type(cls.__name__, (bases[cls],), body)


def _member(way: Way, name: str, member: Any) -> Any:
    if isinstance(member, property):
        return property(
            lambda self: self._gate.wrap(getattr(self._inner, name)), doc=member.__doc__
        )
    if not inspect.isfunction(member):
        return property(lambda self: getattr(self._inner, name))
    if name in ANY_THREAD and not inspect.iscoroutinefunction(member):

        @functools.wraps(member)
        def direct(self: Any, *args: Any, **kwargs: Any) -> Any:
            return member(self._inner, *args, **kwargs)

        return direct
    if not inspect.iscoroutinefunction(member):

        @functools.wraps(member)
        def now(self: Any, *args: Any, **kwargs: Any) -> Any:
            return self._gate.wrap(self._gate.call_now(member, (self._inner, *args), kwargs))

        return now
    if way.is_async:

        @functools.wraps(member)
        async def awaited(self: Any, *args: Any, **kwargs: Any) -> Any:
            return self._gate.wrap(await self._gate.call(member, (self._inner, *args), kwargs))

        return awaited

    @functools.wraps(member)
    def blocking(self: Any, *args: Any, **kwargs: Any) -> Any:
        return self._gate.wrap(self._gate.call(member, (self._inner, *args), kwargs))

    return blocking


class Front:
    """Base of all fronts."""

    __slots__ = ("_gate", "_inner")
    _inner: Any
    _gate: Gate

    def __class_getitem__(cls, item: Any) -> Any:
        return types.GenericAlias(cls, item)

    def __repr__(self) -> str:
        return repr(self._inner)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and bool(self._inner == other._inner)

    def __hash__(self) -> int:
        return hash(self._inner)

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, _: Any) -> Any:
        return self

    def __reduce__(self) -> Any:
        return self._inner.__reduce__()  # which says why not


class Hosted(Front):
    """A front of what is opened and closed, on a trio loop in a thread of its own."""

    __slots__ = ("_held", "_thread")
    _way: Way
    _thread: TrioThread | None
    _held: Held | None

    def _begin(
        self, let_go: Callable[[], None], gone: Callable[[], None] = lambda: None
    ) -> TrioThread:
        """Starts the thread; what it hosts is then entered on it."""
        self._held = Held(self._inner, gone)
        self._thread = thread = TrioThread(let_go)
        thread.start()
        self._gate.token = thread.token
        return thread

    async def _enter(self) -> None:
        """Enters it; on trio's thread, which ends with what fails, whatever becomes of whoever
        waits for it."""
        assert self._held is not None and self._thread is not None, "they were started"  # noqa: PT018
        try:
            await self._held.enter()
        except BaseException:
            self._thread.end()
            raise

    async def _leave(self, *how: Any) -> None:
        """Leaves it and ends the thread; on trio's thread."""
        assert self._held is not None and self._thread is not None, "they were started"  # noqa: PT018
        try:
            await self._held.leave(*how)
        finally:
            self._thread.end()

    def _stop(self) -> None:
        if self._thread is not None:
            self._thread.stop()


class ClientFront(Hosted):
    """A client, on a trio loop in a thread of its own."""

    __slots__ = ()

    def _make(self, *args: Any, **kwargs: Any) -> None:
        self._inner = Client(*args, **kwargs)
        self._inner._link.entered_by = "async with" if self._way.is_async else "with"
        self._gate = Gate(self._way, self._inner)
        self._thread = None
        self._held = None

    def _start(self) -> None:
        check_unpatched()
        if self._thread is not None:
            raise EngineClosed("a Client object opens once. Make a new one.")
        self._begin(self._leave_in_haste)

    @property
    def _is_parents(self) -> bool:
        """Whether this is a forked child, which has neither the thread nor the connection."""
        return bool(self._inner._link.is_parents)

    def _leave_in_haste(self) -> None:
        """The interpreter ends while the client is open."""
        assert self._thread is not None and self._held is not None, "it calls this"  # noqa: PT018
        self._held.let_go(self._thread.end)


class EngineFront(Hosted):
    """An engine on a trio loop in a thread of its own."""

    __slots__ = ()

    def _make(self, *args: Any, **kwargs: Any) -> None:
        self._inner = Engine(*args, **kwargs)
        self._inner._is_entered_by = "async with" if self._way.is_async else "with"
        self._gate = Gate(self._way, self._inner)
        self._thread = None
        self._held = None

    def _check_new(self) -> None:
        check_unpatched()
        if self._thread is not None or self._inner._state != "new":
            raise EngineClosed("an Engine object opens once. Make a new one.")

    def _check_opened(self) -> None:
        self._inner._check_outside("the engine's block was left")
        if self._thread is None:
            raise EngineClosed(
                "this engine was not opened with this object; leave it where it was."
            )

    def _start(self, gone: Callable[[], None] = lambda: None) -> None:
        """Starts the thread; the engine is then entered on it."""
        self._begin(self._leave_in_haste, gone)
        self._inner._is_fronted = True

    @property
    def _is_parents(self) -> bool:
        """Whether this is a forked child, which leaves the block and nothing else: the engine goes
        on in the parent."""
        return self._inner._process not in (0, os.getpid())

    def _leave_in_haste(self) -> None:
        """The interpreter ends while the engine is open: what runs is unwound at once, of which
        nothing is recorded, and goes on at the next start (L14)."""
        self._inner._hurry()
        driver = self._inner._driver
        if driver is not None and driver.bridge is not None and not driver.bridge.loop.is_running():
            driver.bridge.forsake()
        assert self._thread is not None and self._held is not None, "it calls this"  # noqa: PT018
        self._held.let_go(self._thread.end)
