"""The engine: opens a store, runs its instances until the block ends, and answers callers.

What can be asked of its instances is in `tenant`, what an instance does in `_body.runner`; what is
durable, and when, is in the core.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import trio
from trio.lowlevel import enable_ki_protection

from .. import _core
from .._attempts import context
from .._attempts.context import StepContext
from .._body.branch import Branch, caller, current_branch, place
from .._body.telemetry import Telemetry
from .._codes import error_of
from .._errors import EngineClosed, InvalidConfig, InvalidState, MisusedState, StepwellError
from .._room import need_room
from .._steps.retention import Retention, retention_of
from .._steps.signatures import Runtime
from .._steps.workflow import RUNTIMES, OnBodyError, Workflow, on_body_error
from .._types import EngineStatistics, Limits
from .._values import names
from .._values.durations import Duration, to_us
from .._values.payloads import Payloads
from .._values.sealing import Codec
from .._version import __version__
from . import locked, statistics
from .config import (
    base_limits,
    check_thread,
    check_unpatched,
    copy_path,
    number,
    store_path,
    usable_codec,
    usable_payloads,
    usable_telemetry,
)  # fmt: skip
from .driver import Driver
from .frames import PROTOCOL
from .life import Life
from .own_desk import OwnDesk
from .registry import Registry
from .serving import Server
from .tenant import LocalTenant, Namespace

if TYPE_CHECKING:
    import asyncio

_STEP_FORMS = {
    "engine.create": "step.create",
    "engine.create_batch": "step.create_batch",
    "engine.call": "step.call",
    "instance.result": "step.call, or .result() of what step.create gives",
    "instance.wait_for_status": "step.call, or .result() of what step.create gives",
    "instance.send_event": "step.send_event",
    "engine.approvals.list": "step.wait_for_approval to ask, or step.do with a function that calls "
    "it",
}
"""What a body is to use instead of a method of the engine (I7)."""
_OF_WORKFLOWS = [name for name, (_, _, of_workflow, _) in _core.LIMITS.items() if of_workflow]
"""Limits that the code of a workflow may set."""


class Engine(LocalTenant):
    """A durable execution engine in this process. Use it as `async with Engine(…) as engine`.

    Opening it recovers what the store holds and runs every instance that can run; leaving the block
    drains: no new steps start, running attempts get `grace` to end. The block's own exception
    leaves it unwrapped. All methods belong to the trio thread that opened it, but `peek`, which is
    for any.

    Args:
        store: A path (also a `pathlib.Path`), `sqlite:///path`, or ":memory:".
        workflows: The workflows whose instances this engine runs.
        limits: What its namespace may use, all of it; None: as the store has them, else the
            defaults. What `set_limits` set wins.
        shards: Coordinators the instances are spread over, 1 to 4,096; None: as the store has them,
            else 64.
        slots: Most instances that run at once, 1 to 1,000,000.
        namespace: Where this engine's instances live.
        telemetry: Who is told what instances do, such as `stepwell.otel.Telemetry()`.
        codec: What every stored value passes through, such as `stepwell.crypto.Keyring`; see
            `Codec`. What was stored without one is read as it is.
        payloads: Where large values lie, such as `stepwell.payloads.Folder`; see `Payloads`. None:
            in the store, up to its limit for values.
        name: Names this engine in the lock file beside the store.
        grace: How long running attempts may go on when the block ends.
        threads: Most plain step functions that run at once, 1 to 10,000.
        default_runtime: "trio" or "asyncio": where async step functions run that do not say so
            themselves (`runtime=`). asyncio code has a loop and a thread of its own beside the
            engine; `stepwell.aio` is for programs that have a loop.
        on_error: What becomes of an instance whose body raises, where its `@workflow` does not say:
            "errored" ends it, "blocked" keeps it for `resume()`.
        retention: How long instances are kept after their end, where neither they were created with
            a retention nor their `@workflow` has one; None: until they are deleted.
        wait_for_lock: So long a store is waited for that another engine owns, say that of the
            process that this one follows; None: not at all.
        durability: "full": every commit is synced.

    Raises:
        InvalidConfig: An argument is out of range, or two workflows have the same name and version.
        InvalidName: The namespace is malformed.
    """

    def __init__(
        self,
        store: str | os.PathLike[str] = "stepwell.db",
        *,
        workflows: Iterable[Workflow[Any, Any]] = (),
        agents: Sequence[Any] = (),
        limits: Limits | None = None,
        shards: int | None = None,
        slots: int = 50_000,
        namespace: str = "default",
        codec: Codec | None = None,
        payloads: Payloads | None = None,
        telemetry: Telemetry | None = None,
        name: str | None = None,
        grace: Duration = "30 seconds",
        threads: int = 40,
        default_runtime: Runtime = "trio",
        on_error: OnBodyError = "errored",
        retention: Retention | None = None,
        wait_for_lock: Duration | None = None,
        durability: Literal["full"] = "full",
    ) -> None:
        self._store = store_path(store)
        self._workflows = Registry(workflows)
        self._limits = _checked(base_limits(limits))
        self._shards = None if shards is None else number("shards", shards, _core.SHARDS_MAX)
        self._slots = number("slots", slots, 1_000_000)
        self._threads = number("threads", threads, 10_000)
        self._grace = to_us(grace, "grace") / 1e6
        self._namespace = names.workflow_name(namespace, "namespace")
        self._name = names.step_name(name if name is not None else "engine", "name")
        if durability != "full" or agents:
            raise InvalidConfig(
                'this version has durability="full" and no agents; leave the others out.'
            )
        self._codec = usable_codec(codec)
        self._payloads = usable_payloads(payloads)
        self._telemetry = usable_telemetry(telemetry)
        if default_runtime not in RUNTIMES:
            raise InvalidConfig(
                f'default_runtime is {default_runtime!r}; give "trio" or "asyncio".'
            )
        self._default_runtime: Runtime = default_runtime
        self._on_error: OnBodyError = on_body_error("Engine", on_error)
        self._retention = retention_of("Engine", retention)
        self._lock_seconds = (
            None if wait_for_lock is None else to_us(wait_for_lock, "wait_for_lock") / 1e6
        )
        self._virtual_time: int | None = None
        self._seed = 0
        self._checks_arguments = False
        self._driver: Driver | None = None
        self._desk = self._here = self._served = OwnDesk(self)
        if self._telemetry is not None:
            from .traced import desk_in_trace  # an engine without pays nothing for it

            self._desk = self._here = desk_in_trace(self._served, self._telemetry)
        self._life = Life(self._open_driver, self._close, self._grace)
        self._state: Literal["new", "open", "closed"] = "new"
        self._token: trio.lowlevel.TrioToken | None = None
        self._process = 0
        self._host_loop: asyncio.AbstractEventLoop | None = None
        self._is_fronted = False
        self._is_entered_by = "async with"

    def __repr__(self) -> str:
        return f"<engine {self._name!r} on {self._store} ({self._state})>"

    # Open and close.

    @enable_ki_protection
    async def __aenter__(self) -> Engine:
        """Opens the store, recovers and runs.

        Raises:
            StoreLocked: Another engine owns the file, and still did after `wait_for_lock`.
            StoreVersion: A newer Stepwell wrote it.
            StoreCorrupt: A checksum or the file's structure is wrong.
            StoreFailed: It cannot be read or written, or is no Stepwell store.
            EngineClosed: This engine was open before; make a new one.
            InvalidState: This is no trio program, or gevent has patched Python's threads.
        """
        if not trio.lowlevel.in_trio_run():
            raise InvalidState(
                "stepwell.Engine is for trio programs; in an asyncio program use "
                "stepwell.aio.Engine, in a blocking one sync.Engine."
            )
        check_unpatched()
        if self._state != "new":
            raise EngineClosed(
                f"this engine is {self._state}; an Engine object opens once. Make a new one."
            )
        self._state = "closed"
        self._process = os.getpid()
        self._token = trio.lowlevel.current_trio_token()
        await self._life.begin()
        self._opener = trio.lowlevel.current_task()
        self._life.block.__enter__()
        self._state = "open"
        return self

    async def _open_driver(self) -> Driver:
        if any(it.runtime == "asyncio" for it in self._workflows):
            # now: when a body begins there may be no descriptor to read them with
            from .._body import asyncio_turns
            from .._operations import gather

            _ = asyncio_turns, gather
        core = await locked.opened(
            lambda: trio.to_thread.run_sync(self._open_core), self._lock_seconds, self._life.leaving
        )
        depot = None
        if self._payloads is not None:
            # here, because an engine without pays nothing for it
            from .depot import Depot
            from .large_core import beside

            depot = Depot(self._payloads)
            core = beside(core, depot)
        if self._codec is not None:
            from .sealed_core import passed_through

            core = passed_through(core, self._codec)
        if core.formerly():
            # here, because an engine without renamed workflows pays nothing for it
            from .renamed_core import by_names_of_today

            core = by_names_of_today(core)
        told = None if self._telemetry is None else self._telemetry.told_by(self)
        if told is not None:
            from .traced import core_in_trace

            core = core_in_trace(core, told)
        driver = self._driver = Driver(self, core, self._workflows, self._threads)
        driver.told = told
        if depot is not None:
            driver.depot, depot.driver = depot, driver
        driver.default_runtime = self._default_runtime
        driver.on_error = self._on_error
        driver.observed, driver.seed = self._virtual_time is not None, self._seed
        driver.checks_arguments = self._checks_arguments
        if self._store != ":memory:":
            driver.server = Server(self._served, self._store, self._hello)
        if self._host_loop is not None:
            # here, because only programs that have a loop need it
            from .._loops.bridge import Bridge

            driver.bridge = Bridge(self._host_loop, driver.token, driver.loop_is_closed)
        return driver

    def _hello(self) -> dict[str, Any]:
        """Returns what other processes are told first that come to the engine's socket."""
        return {
            "stepwell": PROTOCOL,
            "version": __version__,
            "process": os.getpid(),
            "name": self._name,
            "namespace": self._namespace,
            "workflows": [
                [it.name, it.version, it.takes_params, _default(it)] for it in self._workflows
            ],
            "formerly": [list(it) for it in self._workflows.formerly()],
        }

    def _kept(self, workflow: Workflow[Any, Any]) -> tuple[str, int | None, int | None, int | None]:
        kept = workflow.retention or self._retention or Retention(None, None)
        return (workflow.name, *kept.keep, kept.count)

    def _open_core(self) -> _core.Core:
        try:
            return _core.Core.open(
                self._store,
                name=self._name,
                workflows=[(it.name, it.version) for it in self._workflows],
                shards=self._shards,
                slots=self._slots,
                namespace=self._namespace,
                limits=self._limits,
                workflow_limits=[
                    (w.name, [(name, getattr(w, name)) for name in _OF_WORKFLOWS])
                    for w in self._workflows
                ],
                retentions=[self._kept(w) for w in self._workflows],
                formerly=self._workflows.formerly(),
                virtual_time=self._virtual_time,
            )
        except _core.CoreError as error:
            raise error_of(*error.args) from None

    @enable_ki_protection
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._state == "open" and self._process != os.getpid():
            self._state = "closed"
            await self._life.abandon()
            self._life.block.__exit__(kind, error, trace)
            return
        self._check_outside("the engine's block was left")
        driver, life, struck = self._running(), self._life, None
        try:
            await life.end()
        except KeyboardInterrupt as strike:
            struck = strike
        if trio.lowlevel.current_task() is not self._opener:
            raise InvalidState(
                "this engine was opened in one task and left in another; it is "
                "closed now. Do both in one task."
            ) from error
        try:
            life.block.__exit__(kind, error, trace)  # only a failure cancels it, and is raised here
        except BaseExceptionGroup:  # what others in the block raised when they found it stopped
            if driver.failure is None:
                raise
        if struck is not None:
            raise struck from driver.failure
        if driver.failure is not None:
            raise driver.failure
        if error is None:
            if life.closing_failed is not None:
                raise life.closing_failed
            await trio.lowlevel.checkpoint_if_cancelled()

    async def _close(self, driver: Driver) -> StepwellError | None:
        """Closes the store when nothing runs any more. Returns what failed."""
        self._state = "closed"
        if driver.server is not None:
            driver.server.close()
        failure: StepwellError | None = None
        try:
            await _in_thread(driver.core.close)
        except _core.CoreError as error:
            failure = error_of(*error.args)
        if driver.bridge is not None:
            await _in_thread(driver.bridge.close)
        driver.abandon_callers()
        if driver.told is not None:
            driver.told.closes()
        return failure

    def _hurry(self) -> None:
        """Whoever leaves the block is told to end at once: attempts that run are waited for no
        longer."""
        self._grace = 0.0
        self._life.hurry()

    def _cancel_block(self) -> None:
        """Cancels the `async with` block; the driver calls this when the engine cannot go on."""
        self._life.block.cancel()

    async def drain(self, timeout: Duration | None = None) -> None:
        """Starts no more steps and lets running attempts end; bodies are unwound after `timeout`
        (default: `grace`).

        Nothing runs in this engine afterwards; leave its block. A drain that has begun comes to its
        end, also if this call is cancelled meanwhile. A second call waits for the same end, and of
        both timeouts the one that is over first counts.

        Raises:
            InvalidState: A step of this engine calls it, for whose end it would wait: a step can
                set an event that the program waits for.
            EngineClosed: The engine is not open.
        """
        self._ready("engine.drain")
        self._check_outside("engine.drain was called")
        await self._desk.drain(None if timeout is None else to_us(timeout, "timeout") / 1e6)

    def _check_outside(self, what: str) -> None:
        """Refuses what ends the engine to code that the engine runs, for whose end it would
        wait."""
        here = place.get()
        if here is None or here.life.port.engine is not self:
            return
        whose = str(here.life.who)
        if isinstance(here, Branch):
            where = f"in the body of {whose}"
        elif here.has_ended(here.context.attempt):
            return
        else:
            where = f'by step "{here.identity[2]}" of {whose}'
        raise MisusedState(
            f"{what} {where}, for whose end that would wait; nothing was done. Do it where the "
            "engine was opened: code there can wait for an event, which the step sets."
        )

    def _running(self) -> Driver:
        if self._driver is None or self._state != "open":
            if self._driver is not None and self._driver.failure is not None:
                raise EngineClosed(
                    f"this engine has stopped: {self._driver.failure!r}. Leave its block, which "
                    "raises that, and open a new one."
                )
            raise EngineClosed(
                f"this engine is not open. Use it inside `{self._is_entered_by} "
                "Engine(…) as engine:`."
            )
        if self._process != os.getpid():
            raise EngineClosed(
                f"this engine was opened by process {self._process} and cannot be used in its "
                "forked child, where it has no threads and no locks. Open an engine on another "
                'store in the child, or start the child with "spawn".'
            )
        return self._driver

    def _ready(self, method: str) -> Driver:
        """Returns the driver if this method may be called here and now."""
        need_room()
        driver = self._running()
        if driver.failure is not None:
            raise EngineClosed(
                f"{method} was called after the engine had stopped: "
                f"{driver.failure!r}. Leave its block, which raises that."
            )
        branch = current_branch()
        if branch is not None:
            raise MisusedState(
                f"{method} was called at {caller()} in the body of "
                f"{branch.life.who}, where it would not replay. Use "
                f"{_STEP_FORMS.get(method, 'step.do with a function that calls it')}."
            )
        check_thread(method, self._token, "engine")
        return driver

    def _seen_from(self, runtime: Literal["trio", "asyncio", "thread"]) -> Any:
        """Returns this engine for the code of a step: its methods can be called where that runs.

        A plain function of a trio program gets the engine itself, to be called through
        `trio.from_thread`.
        """
        if runtime == "trio" or (runtime == "thread" and not self._is_fronted):
            return self
        fronts = importlib.import_module("stepwell._fronts")  # above here: made from this class
        return fronts.front_of(self, "aio" if runtime == "asyncio" else "sync")

    def _admitting(self, method: str) -> Driver:
        driver = self._ready(method)
        if driver.draining:
            raise EngineClosed(
                f"{method} was called after the engine began to drain. Open a new "
                "engine on the same store."
            )
        return driver

    # The control plane.

    def namespace(self, name: str, *, limits: Limits | None = None) -> Namespace:
        """Returns a namespace of this engine: instances, ids and limits of its own. It exists from
        its first use on.

        Args:
            name: Letters, digits, "_" and "-", 1 to 64 of them.
            limits: What it may use, all of it; in force for everything asked after this call, and
                kept in the store. None: as the store has them, else the defaults. What `set_limits`
                set wins.

        Raises:
            InvalidName: The name is malformed.
            InvalidConfig: A limit is out of range, or 10,000 namespaces have limits of their own.
            EngineClosed: The engine is not open.
        """
        driver = self._ready("engine.namespace")
        names.workflow_name(name, "namespace")
        base = _checked(base_limits(limits))
        if base:
            try:
                driver.core.open_namespace(name, base)
            except _core.CoreError as error:
                raise error_of(*error.args) from None
            driver.limits_changed()
        return Namespace(self._here, name)

    async def reshard(self, shards: int) -> None:
        """Spreads the instances over another number of coordinators while everything goes on; done
        and durable when this returns.

        No call fails meanwhile, nothing that runs is disturbed, and no limit is exceeded. If this
        call is cancelled after it has begun, or the process dies, the change still comes to its
        end; `Engine(shards=None)` finds it.

        Args:
            shards: 1 to 4,096. One is one coordinator for everything, which spends least on few
                instances.

        Raises:
            InvalidConfig: The number is out of range.
            InvalidState: Another change is under way; the text says how far it is.
            EngineClosed: The engine is not open, or was closed meanwhile.
        """
        self._ready("engine.reshard")
        await self._desk.reshard(number("shards", shards, _core.SHARDS_MAX))

    async def backup(self, path: str | os.PathLike[str]) -> None:
        """Copies the store into a new file while everything goes on; the copy is complete and
        synced when this returns.

        The copy is the store at one moment. Opened as a store of its own, it goes on as after a
        kill at that moment: steps that were running then run again. The copy reads at the speed of
        the disk; until it is complete the store's WAL grows with what is committed meanwhile. If
        this call is cancelled after it has begun, the copy still becomes complete.

        Args:
            path: Where nothing is yet, on a local disk. The file is made with mode 0600.

        Raises:
            InvalidConfig: Something is at the path, its folder is missing, or the store is
                ":memory:".
            StoreFailed: It could not be read or written (a full disk, a network file system); there
                is no copy.
            EngineClosed: The engine is not open, or was closed meanwhile; there is no copy.
        """
        self._ready("engine.backup")
        await self._desk.backup(copy_path(path))

    async def namespaces(self) -> list[str]:
        """Returns the namespaces of the store, by name: those that any instance was created in, and
        the engine's own. From memory.

        Raises:
            EngineClosed: The engine is not open.
        """
        self._ready("engine.namespaces")
        await trio.lowlevel.checkpoint()
        return sorted({*await self._desk.namespaces(), self._namespace})

    def statistics(self) -> EngineStatistics:
        """Returns the engine's counters, from memory: cheap enough to be asked ten times a second.

        Raises:
            EngineClosed: The engine is not open.
        """
        return statistics.of(self._running())


def _checked(limits: list[tuple[str, float | None]]) -> list[tuple[str, float | None]]:
    try:
        _core.Core.check_limits(limits)
    except _core.CoreError as error:
        kind, text = error.args
        raise error_of(kind, f"Limits.{text}") from None
    return limits


def _default(workflow: Workflow[Any, Any]) -> bytes | None:
    """Returns what an instance starts with that was given nothing, where that can be told."""
    try:
        return None if workflow.default is None else workflow.params.encode(workflow.default)
    except StepwellError:
        return None


def current_step() -> StepContext[Engine]:
    """Returns the context of the step whose function is running here, also in its worker thread.

    Raises:
        StepwellError: No step is running here.
    """
    return context.current_step()


async def _in_thread(close: Callable[[], None]) -> None:
    try:
        await trio.to_thread.run_sync(close)
    except RuntimeError:  # no new threads while the interpreter ends (Python 3.12)
        close()
