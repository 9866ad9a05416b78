"""`Client`: what can be asked of an engine that runs in another process of this user."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Any, Self

import trio
from trio.lowlevel import enable_ki_protection

from .._body.telemetry import Telemetry
from .._core import SHARDS_MAX
from .._engine.config import copy_path, number, store_path, usable_telemetry
from .._engine.desk import Desk
from .._engine.tenant import Tenant
from .._errors import InvalidConfig, InvalidState
from .._steps.workflow import Workflow, name_sought
from .._types import EngineStatistics, Limits, Source
from .._values import names
from .._values.durations import Duration, to_us


class ClientTenant(Tenant):
    """The methods that a client and its namespaces share, and an engine has otherwise."""

    async def limits(self, workflow: Workflow[Any, Any] | str | None = None) -> Limits:
        """Returns the limits that are in force.

        Args:
            workflow: Those of its instances; of `concurrency` the lesser of its own and the
                namespace's.

        Raises:
            NoEngine: No engine answered.
            EngineClosed: The client is not open.
        """
        self._desk.check("client.limits")
        return await self._desk.limits(self._namespace, name_sought(workflow))


class ClientNamespace(ClientTenant):
    """One tenant of an engine in another process. Get it with `Client.namespace`.

    Attributes:
        name: Its name.
    """

    def __init__(self, desk: Desk, name: str) -> None:
        self._desk = desk
        self._namespace = self.name = name

    def __repr__(self) -> str:
        return f"<namespace {self.name!r} of {self._desk!r}>"


class Client(ClientTenant):
    """The engine of a store, from another process: the same methods as the engine's, without
    running instances. Use it as `async with Client("shop.db") as client`.

    It speaks to the engine over a socket beside the store that only this user can open. The engine
    may restart meanwhile: calls wait for it, and are asked again by themselves; what changes
    something is done once all the same, for each call has an id of its own. A name of a workflow
    gives plain data; a `Workflow` object gives its types.

    As long as no engine answers, what only looks (`get`, `list`, `count`, `reasons`, `versions`,
    `audit`, `schedules`; status, history, explanation and export of an instance, and its result
    once it has one; lists of approvals and bulk operations) is answered from the store's file,
    which stays as it is; `source` says so.

    Args:
        store: Path of the engine's store.
        timeout: So long a call waits for an engine that is away.
        namespace: Whose instances it is about; others are had with `namespace`.
        telemetry: Who is told what is asked for, such as `stepwell.otel.Telemetry()`; the trace in
            which that is goes along to the engine.

    Raises:
        InvalidConfig: An argument is out of range, or the store is in memory.
        InvalidName: The namespace is malformed.
    """

    def __init__(
        self,
        store: str | os.PathLike[str] = "stepwell.db",
        *,
        timeout: Duration = "30 seconds",
        namespace: str = "default",
        telemetry: Telemetry | None = None,
    ) -> None:
        path = store_path(store)
        if path == ":memory:":
            raise InvalidConfig(
                'a store in memory (":memory:") is its engine\'s alone; give the path of a file.'
            )
        self._namespace = names.workflow_name(namespace, "namespace")
        from .link import Link  # these two know all there is to ask, and most programs ask nothing
        from .remote_desk import remote_desk

        self._link = Link(path, to_us(timeout, "timeout") / 1e6)
        desk: Desk = remote_desk(self._link)
        if (told := usable_telemetry(telemetry)) is not None:
            from .._engine.traced import desk_in_trace

            desk = desk_in_trace(desk, told)
        self._desk = desk

    def __repr__(self) -> str:
        return repr(self._link)

    def _running(self) -> None:
        self._link.check_open()

    def _ready(self, method: str) -> None:
        self._link.check(method)

    async def __aenter__(self) -> Self:
        """Opens it. Nothing is asked yet: an engine need not be there.

        Raises:
            InvalidState: This is no trio program.
            EngineClosed: It was open before; make a new one.
        """
        if not trio.lowlevel.in_trio_run():
            raise InvalidState(
                "stepwell.Client is for trio programs; in an asyncio program use "
                "stepwell.aio.Client, in a blocking one sync.Client."
            )
        await trio.lowlevel.checkpoint()
        self._link.open()
        return self

    @enable_ki_protection
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._link.close()

    @property
    def source(self) -> Source | None:
        """Where the last answer came from: the engine, or the store's file, and how old that is;
        None: there was none yet."""
        return self._link.source

    def namespace(self, name: str) -> ClientNamespace:
        """Returns a namespace of the engine: instances, ids and limits of its own.

        Args:
            name: Letters, digits, "_" and "-", 1 to 64 of them.

        Raises:
            InvalidName: The name is malformed.
        """
        return ClientNamespace(self._desk, names.workflow_name(name, "namespace"))

    async def namespaces(self) -> list[str]:
        """Returns the namespaces that any instance was created in, by name.

        Raises:
            NoEngine: No engine answered.
            EngineClosed: The client is not open.
        """
        self._desk.check("client.namespaces")
        return await self._desk.namespaces()

    async def statistics(self) -> EngineStatistics:
        """Returns the engine's counters.

        Raises:
            NoEngine: No engine answered.
            EngineClosed: The client is not open.
        """
        self._desk.check("client.statistics")
        return await self._desk.statistics()

    async def reshard(self, shards: int) -> None:
        """Spreads the instances over another number of coordinators; as `Engine.reshard`.

        Args:
            shards: 1 to 4,096.

        Raises:
            InvalidConfig: The number is out of range.
            InvalidState: Another change is under way.
            NoEngine: No engine answered.
            EngineClosed: The client is not open, or the engine was gone before it answered.
        """
        self._desk.check("client.reshard")
        await self._desk.reshard(number("shards", shards, SHARDS_MAX))

    async def backup(self, path: str | os.PathLike[str]) -> None:
        """Copies the store into a new file while everything goes on; as `Engine.backup`. The engine
        writes it; a path that is not absolute is one of this process.

        Args:
            path: Where nothing is yet, on a local disk.

        Raises:
            InvalidConfig: Something is at the path, or its folder is missing.
            StoreFailed: It could not be read or written; there is no copy.
            NoEngine: No engine answered.
            EngineClosed: The client is not open, or the engine was gone before it answered.
        """
        self._desk.check("client.backup")
        await self._desk.backup(os.path.abspath(copy_path(path)))

    async def drain(self, timeout: Duration | None = None) -> None:
        """Has the engine start no more steps, and waits until nothing runs in it; as
        `Engine.drain`.

        Args:
            timeout: So long attempts may go on; None: as the engine was opened with.

        Raises:
            NoEngine: No engine answered.
            EngineClosed: The client is not open, or the engine was gone before it answered.
        """
        self._desk.check("client.drain")
        await self._desk.drain(None if timeout is None else to_us(timeout, "timeout") / 1e6)
