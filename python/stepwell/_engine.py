"""The engine: opens a store, runs its instances until the block ends, and answers callers.

It checks what callers give, encodes it, hands it to the driver and turns the answers into values or
errors. What an instance does is in `_runner`; what is durable, and when, is in the core.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import PurePath
from types import TracebackType
from typing import Any, Generic, Literal, NamedTuple, TypeVar

import trio

from . import _core, _names
from ._answers import error_of, from_cursor, not_found, state_codes, store_error, summary
from ._approvals import Approvals
from ._branch import caller, current_branch
from ._child import encode_params
from ._codec import codec
from ._config import check_if_exists, checked_limits, copy_path, number, registry, store_path
from ._driver import Driver, Reply
from ._durations import Duration, instant_us, to_us
from ._errors import (
    EngineClosed,
    InvalidConfig,
    InvalidState,
    StepwellError,
)
from ._instance import Instance
from ._types import STATUSES, BatchError, EngineStatistics, Limits, NewInstance, Page, Status
from ._workflow import Workflow

P = TypeVar("P")
R = TypeVar("R")
IfExists = Literal["raise", "return", "return_if_same"]

_STEP_FORMS = {
    "engine.create": "step.create",
    "engine.create_batch": "step.create_batch",
    "engine.call": "step.call",
    "instance.result": "step.call, or .result() of what step.create gives",
    "instance.wait_for_status": "step.call, or .result() of what step.create gives",
    "instance.send_event": "step.send_event",
    "engine.approvals.list": "step.wait_for_approval to ask, or step.do with a function that calls it",
}
"""What a body is to use instead of a method of the engine (I7)."""


class BatchResult(NamedTuple, Generic[R]):
    """What `create_batch` did: instances in the order of the items that were created, and the errors of the others."""

    created: list[Instance[R]]
    errors: list[BatchError]


class Engine:
    """A durable execution engine in this process. Use it as `async with Engine(…) as engine`.

    Opening it recovers what the store holds and runs every instance that can run; leaving the block
    drains: no new steps start, running attempts get `grace` to end. The block's own exception leaves it
    unwrapped. All methods belong to the trio thread that opened it, but `peek`, which is for any.

    Args:
        store: A path, `sqlite:///path`, or ":memory:".
        workflows: The workflows whose instances this engine runs.
        limits: Per namespace; None: the defaults.
        shards: Coordinators the instances are spread over, 1 to 4,096; None: 64.
        slots: Most instances that run at once, 1 to 1,000,000.
        namespace: Where this engine's instances live.
        name: Names this engine in the owner record beside the store.
        grace: How long running attempts may go on when the block ends.
        threads: Most plain step functions that run at once, 1 to 10,000.
        default_runtime: "trio".
        durability: "full": every commit is synced.

    Raises:
        InvalidConfig: An argument is out of range, or two workflows have the same name and version.
        InvalidName: The namespace is malformed.
    """

    def __init__(
        self,
        store: str = "stepwell.db",
        *,
        workflows: Iterable[Workflow[Any, Any]] = (),
        agents: Sequence[Any] = (),
        limits: Limits | None = None,
        shards: int | None = None,
        slots: int = 50_000,
        namespace: str = "default",
        codec: None = None,
        name: str | None = None,
        grace: Duration = "30 seconds",
        threads: int = 40,
        default_runtime: str = "trio",
        durability: str = "full",
    ) -> None:
        self._store = store_path(store)
        self._workflows = registry(workflows)
        self._limits = checked_limits(limits)
        self._shards = number("shards", 64 if shards is None else shards, 4096)
        self._slots = number("slots", slots, 1_000_000)
        self._threads = number("threads", threads, 10_000)
        self._grace = to_us(grace, "grace") / 1e6
        self._namespace = _names.workflow_name(namespace, "namespace")
        self._name = _names.step_name(name if name is not None else "engine", "name")
        if default_runtime != "trio" or durability != "full" or codec is not None or agents:
            raise InvalidConfig(
                'this version has default_runtime="trio", durability="full", the built-in codec and no agents; leave the others out.'
            )
        self._virtual_time: int | None = None
        self._seed = 0
        self._driver: Driver | None = None
        self._state: Literal["new", "open", "closed"] = "new"
        self._token: trio.lowlevel.TrioToken | None = None
        self._process = 0

    def __repr__(self) -> str:
        return f"<engine {self._name!r} on {self._store} ({self._state})>"

    # Open and close.

    async def __aenter__(self) -> Engine:
        """Opens the store, recovers and runs.

        Raises:
            StoreLocked: Another engine owns the file.
            StoreVersion: A newer Stepwell wrote it.
            StoreCorrupt: A checksum or the file's structure is wrong.
            StoreFailed: It cannot be read or written, or is no Stepwell store.
            EngineClosed: This engine was open before; make a new one.
        """
        if self._state != "new":
            raise EngineClosed(f"this engine is {self._state}; an Engine object opens once. Make a new one.")
        self._state = "closed"
        self._process = os.getpid()
        core = await trio.to_thread.run_sync(self._open_core)
        self._driver = Driver(self, core, self._workflows, self._limits, self._threads)
        self._driver.observed, self._driver.seed = self._virtual_time is not None, self._seed
        self._token = trio.lowlevel.current_trio_token()
        self._block = trio.CancelScope()
        self._block.__enter__()
        self._manager = trio.open_nursery()
        nursery = await self._manager.__aenter__()
        self._bodies = await nursery.start(_host_bodies, self._driver)
        self._state = "open"
        return self

    def _open_core(self) -> _core.Core:
        try:
            return _core.Core.open(
                self._store,
                owner=self._name,
                workflows=list(self._workflows),
                shards=self._shards,
                slots=self._slots,
                namespace=self._namespace,
                limits=list(self._limits._asdict().items()),
                workflow_limits=[
                    (w.name, [(limit, getattr(w, limit)) for limit in ("concurrency", "queue_entries", "steps", "value_bytes")])
                    for w in self._workflows.values()
                ],
                virtual_time=self._virtual_time,
            )
        except _core.CoreError as error:
            raise store_error(error) from None

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        if self._state == "open" and self._process != os.getpid():
            return await self._leave_to_parent(kind, error, trace)
        driver = self._running()
        if driver.failure is None:
            with trio.CancelScope(shield=True):
                await driver.drain(self._grace)
        self._state = "closed"
        cancelled = await self._end_tasks(driver)
        failure = None
        with trio.CancelScope(shield=True):
            failure = await self._close_core(driver)
        swallowed = self._block.__exit__(*(kind, error, trace) if cancelled is None else (type(cancelled), cancelled, None))
        if driver.failure is not None:
            raise driver.failure
        if failure is not None and error is None:
            raise failure
        if cancelled is not None and not swallowed and error is None:
            raise cancelled
        return bool(swallowed)

    async def _leave_to_parent(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        """Leaves the block in a forked child: the engine is the parent's, who goes on; nothing is drained and nothing closed."""
        self._state = "closed"
        assert self._driver is not None, "it was open"
        await self._end_tasks(self._driver)
        return bool(self._block.__exit__(kind, error, trace))

    async def _end_tasks(self, driver: Driver) -> BaseException | None:
        """Cancels every task of the engine and waits for them. Returns what the nursery raised, if anything."""
        driver.unwind_all("stopped")
        self._bodies.cancel_scope.cancel()
        try:
            await self._manager.__aexit__(None, None, None)
        except BaseException as error:
            return error
        return None

    async def _close_core(self, driver: Driver) -> StepwellError | None:
        failure: StepwellError | None = None
        try:
            await trio.to_thread.run_sync(driver.core.close)
        except _core.CoreError as error:
            failure = store_error(error)
        driver.abandon_callers()
        return failure

    def cancel_block(self) -> None:
        """Cancels the `async with` block; the driver calls this when the engine cannot go on."""
        self._block.cancel()

    async def drain(self, timeout: Duration | None = None) -> None:
        """Starts no more steps and lets running attempts end; bodies are unwound after `timeout` (default: `grace`).

        Raises:
            EngineClosed: The engine is not open.
        """
        driver = self._ready("engine.drain")
        await driver.drain(self._grace if timeout is None else to_us(timeout, "timeout") / 1e6)

    def _running(self) -> Driver:
        if self._driver is None or self._state != "open":
            raise EngineClosed("this engine is not open. Use it inside `async with Engine(…) as engine:`.")
        if self._process != os.getpid():
            raise EngineClosed(
                f"this engine was opened by process {self._process} and cannot be used in its forked child, where it has no threads and "
                'no locks. Open an engine on another store in the child, or start the child with "spawn".'
            )
        return self._driver

    def _ready(self, method: str) -> Driver:
        """Returns the driver if this method may be called here and now."""
        driver = self._running()
        branch = current_branch()
        if branch is not None:
            raise InvalidState(
                f"{method} was called at {caller()} in the body of {branch.runner.workflow.name}/{branch.runner.id}, where it would not "
                f"replay. Use {_STEP_FORMS.get(method, 'step.do with a function that calls it')}."
            )
        try:
            here = trio.lowlevel.current_trio_token()
        except RuntimeError:
            here = None
        if here is not self._token:
            raise InvalidState(
                f"{method} was called from another thread than the one that opened the engine. Use trio.from_thread.run({method}, …) there."
            )
        return driver

    def _admitting(self, method: str) -> Driver:
        driver = self._ready(method)
        if driver.draining:
            raise EngineClosed(f"{method} was called after the engine began to drain. Open a new engine on the same store.")
        return driver

    # Create.

    async def create(
        self,
        workflow: Workflow[P, R] | str,
        params: Any = None,
        *,
        id: str | None = None,
        priority: int = 0,
        start_at: datetime | None = None,
        retention: None = None,
        attributes: dict[str, Any] | None = None,
        if_exists: IfExists = "raise",
    ) -> Instance[R]:
        """Creates an instance; it is durable when this returns, and runs as soon as it has a slot.

        Args:
            workflow: A registered workflow, or its name (its last version).
            params: What it starts with; stored.
            id: 1 to 100 characters; default: a UUIDv7. Unique per workflow as long as the instance is kept.
            priority: -100 to 100; higher goes first.
            start_at: Not before this aware datetime.
            attributes: At most 32 small values to list by.
            if_exists: "raise", "return" the one there is, or "return_if_same" (equal params).

        Raises:
            InstanceExists: The id is taken.
            InvalidName: The id is malformed.
            InvalidConfig: The workflow is not registered, or an argument is out of range.
            NotSerializable: The params cannot be stored.
            TooLarge: They are over the limit for one value.
            Overloaded: A rate or queue limit, or the disk is full; nothing was created.
            EngineClosed: The engine is not open.
        """
        driver = self._admitting("engine.create")
        target = driver.registered(workflow)
        check_if_exists(if_exists)
        item = NewInstance(params, id, priority, start_at, retention, attributes)
        prepared = self._prepared(target, item)
        reply = await driver.reply(driver.core.create(self._namespace, target.name, target.version, *prepared, if_exists))
        self._check(reply, target.name, id)
        no, known_id, _, _ = reply.data
        return Instance(self, target, known_id, no)

    def _prepared(self, target: Workflow[Any, Any], item: NewInstance) -> tuple[str | None, bytes | None, int, int | None, bytes | None]:
        if item.retention is not None:
            raise InvalidConfig("retention is not available in this version; leave it out.")
        return (
            None if item.id is None else _names.instance_id(item.id),
            encode_params(target, item.params, self._limits.value_bytes),
            _names.priority(item.priority),
            None if item.start_at is None else instant_us(item.start_at, "start_at"),
            codec.encode(_names.attributes(item.attributes)) if item.attributes else None,
        )

    async def create_batch(
        self,
        workflow: Workflow[P, R] | str,
        items: Sequence[Any],
        *,
        if_exists: IfExists = "raise",
        on_overload: Literal["raise", "wait"] = "raise",
    ) -> BatchResult[R]:
        """Creates up to 10,000 instances in one durable commit. A bad item fails alone.

        Args:
            workflow: A registered workflow, or its name.
            items: 1 to 10,000 params or `NewInstance`s.
            if_exists: As `create`.
            on_overload: "raise" refuses a batch that does not fit as a whole; "wait" waits for room.

        Returns:
            The instances in the order of their items, and the errors with the index of theirs.

        Raises:
            InvalidConfig: Too few or too many items, or the workflow is not registered.
            Overloaded: It does not fit, or the disk is full; none of it was created.
            EngineClosed: The engine is not open.
        """
        driver = self._admitting("engine.create_batch")
        target = driver.registered(workflow)
        _names.check_batch(items)
        check_if_exists(if_exists)
        if on_overload not in ("raise", "wait"):
            raise InvalidConfig(f'on_overload is {on_overload!r}; give "raise" or "wait".')
        prepared, indexes, errors = [], [], []
        for index, item in enumerate(items):
            item = item if isinstance(item, NewInstance) else NewInstance(item)
            try:
                prepared.append(self._prepared(target, item))
                indexes.append(index)
            except StepwellError as error:
                errors.append(BatchError(index, item.id if isinstance(item.id, str) else None, error))
        created: list[Instance[R]] = []
        if prepared:
            reply = await driver.reply(
                driver.core.create_batch(self._namespace, target.name, target.version, prepared, if_exists, on_overload == "wait")
            )
            self._check(reply, target.name, None)
            for index, (code, no, id, status) in zip(indexes, reply.data, strict=True):
                if code:
                    errors.append(BatchError(index, id, error_of(code, (no, status), target.name, id)))
                else:
                    created.append(Instance(self, target, id, no))
        return BatchResult(created, sorted(errors, key=lambda e: e.index))

    async def call(self, workflow: Workflow[P, R] | str, params: Any = None, *, id: str | None = None, **options: Any) -> R:
        """Creates an instance, or attaches to the one with this id, and returns its output.

        Args:
            workflow: A registered workflow, or its name.
            params: What it starts with, if it is new.
            id: Default: a new one.
            options: As `create`; `if_exists` is "return" unless given.

        Raises:
            InstanceErrored: It errored.
            InstanceTerminated: It was terminated.
            StepwellError: As `create`.
        """
        self._ready("engine.call")
        options.setdefault("if_exists", "return")
        instance: Instance[R] = await self.create(workflow, params, id=id, **options)
        return await instance.result()

    # Look.

    async def get(self, workflow: Workflow[P, R] | str, id: str) -> Instance[R]:
        """Returns an instance by id.

        Raises:
            InstanceNotFound: There is none.
            InvalidConfig: The workflow is not registered.
            InvalidName: The id is malformed.
            EngineClosed: The engine is not open.
        """
        driver = self._ready("engine.get")
        target = driver.registered(workflow)
        row = await self._row(target.name, _names.instance_id(id), payloads=False)
        return Instance(self, driver.version_of(target.name, row[3]) or target, id, row[0])

    async def _row(self, workflow: str, id: str, *, payloads: bool, method: str = "engine.get") -> Any:
        driver = self._ready(method)
        reply = await driver.reply(driver.core.find(self._namespace, workflow, id, payloads))
        self._check(reply, workflow, id)
        if reply.data is None:
            raise not_found(workflow, id)
        return reply.data

    def peek(self, workflow: Workflow[Any, Any] | str, id: str) -> Status | None:
        """Returns the state of an instance that is not final, from memory; None if there is none in memory.

        Never waits, and may be called from any thread.

        Raises:
            EngineClosed: The engine is not open.
        """
        name = workflow.name if isinstance(workflow, Workflow) else workflow
        code = self._running().core.peek(self._namespace, name, id)
        return None if code is None else STATUSES[code]

    async def list(
        self,
        workflow: Workflow[Any, Any] | str | None = None,
        *,
        status: Status | str | Sequence[Status | str] | None = None,
        version: str | None = None,
        reason: str | None = None,
        attributes: dict[str, Any] | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        limit: int = 50,
        cursor: str | None = None,
        newest_first: bool = True,
    ) -> Page:
        """Returns one page of instances, by time of creation.

        Args:
            workflow: Only instances of this workflow.
            status: Only these states.
            version: Only this version.
            reason: Only instances blocked for this reason.
            attributes: Only instances with all of these attributes.
            created_after: Created at or after this aware datetime.
            created_before: Created before it.
            limit: 1 to 1,000 rows.
            cursor: Where the page before ended.
            newest_first: False: oldest first.

        Raises:
            InvalidConfig: A filter, the limit or the cursor is malformed.
            EngineClosed: The engine is not open.
        """
        driver = self._ready("engine.list")
        limit = _names.page_limit(limit)
        if attributes is not None and not isinstance(attributes, dict):
            raise InvalidConfig(f"attributes={attributes!r:.120} is not a dict of those that instances must have")
        name = driver.registered(workflow).name if isinstance(workflow, Workflow) else workflow
        wanted = state_codes(status)
        after = None if created_after is None else instant_us(created_after, "created_after")
        before = None if created_before is None else instant_us(created_before, "created_before")
        beyond, items = from_cursor(cursor), []
        while True:
            reply = await driver.reply(
                driver.core.list(self._namespace, name, wanted, version, reason, None, after, before, beyond, newest_first, limit)
            )
            self._check(reply, name or "", None)
            for row in reply.data:
                beyond = row[0]
                found = summary(row)
                if attributes is None or attributes.items() <= found.attributes.items():
                    items.append(found)
                    if len(items) == limit:
                        return Page(items, str(beyond))
            if len(reply.data) < limit:
                return Page(items, None)

    async def count(self, workflow: Workflow[Any, Any] | str | None = None, *, status: Status | str | None = None) -> dict[Status, int]:
        """Returns how many instances are in each state; every state is a key.

        Raises:
            InvalidConfig: The status is none.
            EngineClosed: The engine is not open.
        """
        driver = self._ready("engine.count")
        name = workflow.name if isinstance(workflow, Workflow) else workflow
        wanted = set(state_codes(status)) or set(range(len(STATUSES)))
        reply = await driver.reply(driver.core.count(self._namespace, name))
        self._check(reply, name or "", None)
        found = dict(reply.data)
        return {state: found.get(code, 0) if code in wanted else 0 for code, state in enumerate(STATUSES)}

    async def backup(self, path: str | PurePath) -> None:
        """Copies the store into a new file while everything goes on; the copy is complete and synced when this returns.

        The copy is the store at one moment. Opened as a store of its own, it goes on as after a kill at that moment: steps that
        were running then run again. The copy reads at the speed of the disk; until it is complete the store's WAL grows with
        what is committed meanwhile. If this call is cancelled, the copy still becomes complete.

        Args:
            path: Where nothing is yet, on a local disk. The file is made with mode 0600.

        Raises:
            InvalidConfig: Something is at the path, its folder is missing, or the store is ":memory:".
            StoreFailed: It could not be read or written (a full disk, a network file system); there is no copy.
            EngineClosed: The engine is not open, or was closed meanwhile; there is no copy.
        """
        driver = self._ready("engine.backup")
        target = copy_path(path)
        try:
            ticket = driver.core.backup(target)
        except _core.CoreError as error:
            raise store_error(error) from None
        self._check(await driver.reply(ticket), "", None)

    @property
    def approvals(self) -> Approvals:
        """Requests for approval: list, approve, reject."""
        return Approvals(self)

    def statistics(self) -> EngineStatistics:
        """Returns the engine's counters, from memory.

        Raises:
            EngineClosed: The engine is not open.
        """
        driver = self._running()
        raw = dict(driver.core.statistics())
        known = {k: raw.pop(k, 0) for k in ("slots", "leased", "queued", "waiting", "commits", "operations", "records", "batch_max")}
        return EngineStatistics(
            **known,
            resident=len(driver.runners),
            commit_p50=raw.pop("commit_p50_us", 0) / 1e6,
            commit_p99=raw.pop("commit_p99_us", 0) / 1e6,
            submitted=raw.pop("submitted_depth", 0),
            extra=raw,
        )

    # Answers.

    def _check(self, reply: Reply, workflow: str, id: str | None) -> None:
        if reply.code:
            raise error_of(reply.code, reply.data, workflow, id)


def run(engine: Engine) -> None:
    """Runs an engine until SIGINT or SIGTERM, which drain it; a second one stops at once.

    Blocks; call it outside of trio, in the main thread.

    Raises:
        StepwellError: As opening the engine.
    """

    async def main() -> None:
        async with engine:
            with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
                async for _ in signals:
                    break
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_exit_at_second_signal)
                await engine.drain()
                nursery.cancel_scope.cancel()

    trio.run(main)


async def _exit_at_second_signal() -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for number in signals:
            raise SystemExit(128 + number)


async def _host_bodies(driver: Driver, task_status: trio.TaskStatus[trio.Nursery]) -> None:
    """Runs the engine's own tasks where no cancellation from outside of the block strikes.

    A body that is cancelled takes it for its own doing and gives its waits up durably (I8); only the engine may end it otherwise.
    """
    with trio.CancelScope(shield=True):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(driver.keeper.run)
            nursery.start_soon(driver.run, nursery)
            task_status.started(nursery)
