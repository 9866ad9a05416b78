"""The driver: the only caller of the core.

It waits for the core's one byte, takes all notes with one `poll`, and hands each to whom it
concerns: a runner, a timer, somebody who waits for a reply. It starts a runner for every body that
the core says has a slot, and is the `Port` through which runners submit. It decides nothing.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import TYPE_CHECKING, Any

import outcome as results
import trio
from trio.lowlevel import enable_ki_protection

from .. import _core
from .._body import delivery, diagnosis, stopping
from .._body.generators import Generators
from .._body.resisting import Resistance
from .._body.runner import Runner
from .._body.sending import Passage
from .._body.turns import Births, TurnKeeper
from .._codes import error_of
from .._ending import End
from .._errors import EngineClosed, InternalError
from .._log import log
from .._operations.step import Step
from .._operations.undoer import Undoer
from .._steps.borrowed import Borrowed
from .._steps.workflow import Workflow
from .._types import Limits
from .._values.payloads import Most
from . import continuing, pausing, undoing
from .bulk_runs import BulkRuns
from .callers import Callers, tell
from .collector import CALLS_A_BODY, Patience
from .departed import Departed
from .draining import DRAINED, Drain
from .host import Reply
from .missing import Missing
from .overdue import warn_of_first
from .registry import Registry
from .schedule_runs import ScheduleRuns
from .starting import Starts
from .suspects import tell_unreadable, warn_of
from .unwinding import end_all
from .watchdog import Watchdog
from .watching import Watchers

if TYPE_CHECKING:
    from .._body.life import Life
    from .._body.telemetry import Told
    from .._core import Core, Start
    from .._kinds import Verdict
    from .._loops.bridge import Bridge
    from .._steps.signatures import Runtime
    from .._steps.workflow import OnBodyError
    from .depot import Depot
    from .serving import Server


STARTS_AT_ONCE = 64
"""Bodies that begin in one round of the loop. Each takes about 0.1 ms, which whoever else runs
there waits for; those that have begun may park meanwhile, so of a burst not all are in memory at
one time (docs/benchmarks.md, Floods)."""
_RECORDS = (_core.DONE, _core.SETTLED, _core.CHANGED, _core.START)
CLOSED = "the engine was closed while this call waited for it"


class _Flush(trio.abc.Instrument):
    """Hands over what was submitted whenever trio has run all that could run: one commit for one
    round of the loop."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    @enable_ki_protection
    def before_io_wait(self, timeout: float) -> None:
        self._driver.core.flush()
        if self._driver.bridge is not None:
            self._driver.bridge.flush()
        self._driver.callers.round_ended()
        self._driver.look()


class Driver:
    """One core and everything in this process that waits for it.

    Attributes:
        nursery: Where bodies and attempts run; `Life` gives it before anything can ask.
    """

    nursery: trio.Nursery

    def __init__(self, engine: Any, core: Core, workflows: Registry, threads: int) -> None:
        self.engine = engine
        self.threads = trio.CapacityLimiter(threads)
        self.borrowed = Borrowed(self, self.threads)
        self.keeper = TurnKeeper()
        self.resistance = Resistance(self)
        self.generators = Generators(self)
        self.patience = Patience()
        self.tickets: dict[int, Any] = {}
        self.callers = Callers(self)
        self.ask = self.callers.ask
        self.change = self.callers.change
        self.let_in = self.callers.let_in
        self.watchers = Watchers(self)
        self.watch = self.watchers.watch
        self.listen = self.watchers.listen
        self.ignore = self.watchers.ignore
        self.waiting_residents = 0
        self.outer = sys.exception()
        """What the program handles while it runs trio: `sys.exception()` says so in each of its
        tasks."""
        self.draining = False
        self.drained = False
        self.left: list[trio.lowlevel.Task] = []
        """Of bodies and attempts that could not be ended, once the engine closes without them."""
        self.drain = Drain(self)
        self.schedules = ScheduleRuns(self)
        self.bulks = BulkRuns(self, self.schedules.delete_all)
        self.failure: BaseException | None = None
        self.runners: dict[int, Runner] = {}
        self.departed = Departed(lambda *whose: self.core.peek(*whose))
        self.starts = Starts(self, self._bring_in)
        self.idle: Callable[[], None] | None = None
        self.observed = self.checks_arguments = False
        self.seed = 0
        self.default_runtime: Runtime = "trio"
        self.on_error: OnBodyError = "errored"
        self.token: trio.lowlevel.TrioToken = trio.lowlevel.current_trio_token()
        self.bridge: Bridge | None = None
        self.told: Told | None = None
        self.server: Server | None = None
        self.watchdog = Watchdog(self)
        self.code = workflows
        self.depot: Depot | None = None
        self._handlers: dict[int, Callable[..., None]] = {}
        self._timers: dict[int, Callable[[], None]] = {}
        self.epoch = ""
        """What places of changes are told by: those of one life of the core."""
        self._change = trio.Event()
        self._progress = trio.Event()
        self._news = trio.Event()
        self._records = trio.Event()
        self._restarted = trio.Event()
        self._loop = trio.CancelScope()
        self._limits: dict[tuple[str, str | None], Limits] = {}
        self._limit_changes: set[int] = set()
        self.use(core)
        self.missing = Missing(self)
        self.lacks_class = self.missing.class_of
        self.missing.warn_of_code()

    def limits_of(self, namespace: str, workflow: str | None) -> Limits:
        """Returns the limits in force for the instances of a workflow, or for a whole namespace."""
        key = (namespace, workflow)
        limits = self._limits.get(key)
        if limits is None:
            limits = Limits(**dict(self.core.limits(namespace, workflow)))  # type: ignore[arg-type]  # by their names
            # other names are anybody's, and there is no end of them
            if workflow is None or workflow in self.code:
                self._limits[key] = limits
        return limits

    def most_bytes(self, value_bytes: int) -> int:
        """Returns how many bytes a value may have that may lie in a payload store, where one that
        may not has this limit."""
        most = 0 if self.depot is None else self.depot.payloads.limit
        return value_bytes if value_bytes >= most else Most(most)

    @property
    def is_putting(self) -> bool:
        """Whether what somebody calls, or an attempt came to, waits for a payload store."""
        return self.depot is not None and self.depot.putting > 0

    def limits_changed(self) -> None:
        """Limits are others already: they are read anew, also for bodies that are in memory."""
        self._limits.clear()
        for runner in self.runners.values():
            runner.take_limits()

    def change_limits(self, *change: Any) -> int:
        """As the core's `set_limits`; when that is answered, limits are read anew."""
        ticket = self.core.set_limits(*change)
        self._limit_changes.add(ticket)
        return ticket

    def use(self, core: Core) -> None:
        """Takes a core: what runners submit goes to it from now on."""
        self.core = core
        self.code.learn(core.formerly())
        self.epoch = f"{core.change_epoch():x}"
        self.found = core.found()
        warn_of(core.suspected())
        tell_unreadable(core.unreadable())
        warn_of_first(core.overdue())
        self._limits.clear()
        self._limit_changes.clear()
        self.now = core.now
        self.monotonic = core.monotonic
        self.opened = core.monotonic()
        self.record = core.record
        self.set_attributes = core.set_attributes
        self.answer = core.answer
        self.conclude = core.conclude
        self.retry = core.retry
        self.sleep = core.sleep
        self.wait_event = core.wait_event
        self.wait_approval = core.wait_approval
        self.wait_child = core.wait_child
        self.call = core.call
        self.create_child = core.create_child
        self.create_children = core.create_children
        self.send = core.send
        self.withdraw = core.withdraw
        self.give_back = core.give_back
        self.quiet = core.quiet
        self.park = core.park
        self.finish = core.finish
        self.undone = core.undone
        self.block = core.block
        self.taken_up = core.taken_up
        self.release = core.release
        self.report = core.report
        self.send_chunks = core.send_chunks
        self.send_chunks, self.conclude = core.send_chunks, core.conclude
        self.schedules.open()

    # The loop.

    @enable_ki_protection
    async def run(self) -> None:
        """Handles notes until cancelled.

        Ctrl-C never strikes in here, where a note could be lost; trio hands it to the main task.
        """
        if self.bridge is not None:
            self._watch_loop(self.bridge)
        instruments = (_Flush(self), Births(self.keeper))
        for instrument in instruments:
            trio.lowlevel.add_instrument(instrument)
        self.generators.watch()
        try:
            await self._handle_notes_for_ever()
        finally:
            self.generators.unwatch()
            for instrument in instruments:
                trio.lowlevel.remove_instrument(instrument)

    async def _handle_notes_for_ever(self) -> None:
        while True:
            self.nursery.start_soon(self.missing.find)
            self.nursery.start_soon(self.bulks.find)
            self.nursery.start_soon(self.schedules.find)
            # made before it is entered: a crash, or the next one, may come before this task has run
            # at all
            with self._loop:
                await trio.lowlevel.checkpoint()  # one that is cancelled already takes no note
                try:
                    # by a second crash, before this task saw the end of the first
                    await trio.lowlevel.checkpoint_if_cancelled()
                    await self._handle_notes(self.core)
                except Exception as error:
                    self.broke(error)
                    await trio.sleep_forever()
            await self._restarted.wait()

    async def _handle_notes(self, core: Core) -> None:
        self._handlers = {
            _core.DONE: self._done,
            _core.REPLY: self._reply,
            _core.START: self.starts.add,
            _core.WAKE: self._wake,
            _core.SETTLED: self._settled,
            _core.TIMER: self._timer,
            _core.CHANGED: self.watchers.changed,
            _core.GONE: self.watchers.gone,
            _core.RECORDED: self.watchers.recorded,
            _core.PROGRESS: self.watchers.reported,
            _core.STREAMED: self.watchers.streamed,
            _core.NEWS: self._has_changed,
            _core.UNDOES: self._undoes,
            _core.UNWIND: self._unwind,
            _core.PAUSE: self._pause,
            _core.FENCED: self._fenced,
            _core.SCHEDULE: self.schedules.due,
            _core.IDLE: self._idle,
            _core.FAILED: self._failed,
            _core.HINDERED: self._hindered,
        }
        while not self._loop.cancel_called:  # a crash may come while this task is about to go on
            self._take_notes(core)
            await trio.lowlevel.wait_readable(core.fileno())

    def _take_notes(self, core: Core) -> None:
        for note in core.poll(STARTS_AT_ONCE):
            self._handlers[note[0]](*note[1:])  # type: ignore[index]  # the first element is the kind
            if note[0] in _RECORDS:
                self._records.set()
        self._news.set()
        self.missing.look()
        self.starts.begin()

    def stir(self) -> None:
        """There are notes that the core itself does not know of."""
        if not self._loop.cancel_called:
            try:
                self._take_notes(self.core)
            except Exception as error:
                self.broke(error)

    def _done(self, at: int, tickets: list[int], places: list[int]) -> None:
        take = self.tickets.pop
        for ticket, place in zip(tickets, places, strict=True):
            waiter = take(ticket, None)
            if waiter is not None:
                waiter.done(at, place)

    def _reply(self, ticket: int, code: str, data: Any) -> None:
        if ticket in self._limit_changes:
            self._limit_changes.remove(ticket)
            self.limits_changed()
        tell(self.tickets.pop(ticket, None), results.Value(Reply(code, data)))

    def _settled(
        self,
        no: int,
        number: int,
        seq: int,
        verdict: Verdict,
        type: str | None,
        payload: bytes | None,
        at: int,
        came_at: int | None,
    ) -> None:
        waiter = self.tickets.pop(number, None)
        if waiter is not None:
            waiter.settle(verdict, type, payload, at, seq, came_at)
        elif (runner := self.runners.get(no)) is not None and not runner.stopping:
            delivery.settled_early(runner, number, verdict, type, payload, at, seq, came_at)
        else:
            self.starts.keep(no, (number, verdict, type, payload, at, seq, came_at))

    def _bring_in(self, start: Start) -> Runner:
        _, _, _, name, version, *_ = start
        workflow = self.code.version(name, version)
        assert workflow is not None, "L12: the core begins nothing without code"
        return self._take_in(Runner(self, workflow, start))

    def _take_in(self, runner: Runner) -> Runner:
        self.runners[runner.who.no] = runner
        self.departed.forget(runner.who.no)
        self.nursery.start_soon(runner.run, Step)
        return runner

    def _wake(self, no: int, incarnation: int) -> None:
        runner = self.runners.get(no)
        if runner is not None and runner.who.incarnation == incarnation:
            runner.rest.woken()

    def _timer(self, ticket: int) -> None:
        then = self._timers.pop(ticket, None)
        if then is not None:
            then()

    def _has_changed(self) -> None:
        self._change.set()

    def _unwind(self, no: int, incarnation: int) -> None:
        self.starts.forget(no)
        self.starts.stop(no, incarnation)
        runner = self.runners.get(no)
        if runner is not None and runner.who.incarnation == incarnation:
            stopping.unwind(runner, End.STOPPED)
            if runner.stopping is End.UNDOES:
                runner.stopping = End.STOPPED  # it has not left yet, and undoes nothing any more

    def _pause(self, no: int, incarnation: int, is_on: bool) -> None:
        if is_on and self.starts.stop(no, incarnation):
            self.core.paused(no, incarnation)
            return
        runner = self.runners.get(no)
        if runner is not None and runner.who.incarnation == incarnation and not runner.stopping:
            if is_on and not runner.is_pausing and not runner.is_refused:
                self.nursery.start_soon(pausing.pause, self, runner)
            runner.is_pausing = is_on

    def _undoes(self, no: int, incarnation: int) -> None:
        if self.starts.stop(no, incarnation):
            self.core.undoes(no, incarnation, None)
            return
        runner = self.runners.get(no)
        if (
            runner is not None
            and runner.who.incarnation == incarnation
            and not runner.stopping
            and runner.undoing is None
            and not isinstance(runner, Undoer)
        ):
            runner.is_refused = True  # what it is told beside this takes it no further
            self.nursery.start_soon(undoing.end_attempts, self, runner)

    def _fenced(self, ticket: int) -> None:
        waiter = self.tickets.pop(ticket, None)
        if type(waiter) is Passage:  # all others wait in a body, which unwinds
            waiter.fenced()

    def _idle(self) -> None:
        if self.idle is not None:
            self.idle()

    def _failed(self, kind: str, message: str) -> None:
        self.stop(error_of(kind, message))

    def _hindered(self, now: bool, message: str) -> None:
        log.log(logging.WARNING if now else logging.INFO, "%s", message)

    @property
    def may_jump(self) -> bool:
        """Whether time may move by itself: not while the engine drains or recovers from a crash."""
        return not self.draining and not self._loop.cancel_called

    async def reset(self, reopen: Callable[[], Awaitable[Core]]) -> None:
        """Drops everything in memory, as a crash does, and goes on with the core that `reopen`
        gives."""
        self._restarted = trio.Event()
        self._loop.cancel()
        self.bulks.abandon(CLOSED)
        self.starts.begin_none()
        await end_all(self, End.CRASHED)
        while self.runners:
            await self.next_progress()
        core = await reopen()
        self._timers.clear()
        self.starts.clear()
        self.departed.clear()
        self.waiting_residents = 0
        self._abandon_tickets()
        self.use(core)
        self.watchers.begin_anew()
        self._change.set()
        self._loop = trio.CancelScope()
        self._restarted.set()

    # The port for runners; the core's own methods are attributes.

    def arm(self, delay: int, then: Callable[[], None]) -> int:
        """Calls `then` after a delay in microseconds of the engine's clock."""
        ticket = self.core.arm(delay)
        self._timers[ticket] = then
        return ticket

    def disarm(self, ticket: int) -> None:
        """Forgets an armed timer."""
        if self._timers.pop(ticket, None) is not None:
            self.core.disarm(ticket)

    def asyncio_loop(self) -> Bridge:
        """Returns where asyncio code runs: the loop that entered the engine, or else one of the
        engine's own."""
        if self.bridge is None:
            # here, because asyncio takes long to import
            from .._loops.bridge import NoLoop, OwnLoop

            try:
                self.bridge = OwnLoop(self.token, self._own_loop_is_closed)
                self._watch_loop(self.bridge)
            # no thread, no descriptors: that is no step's fault, and nothing is recorded
            except (RuntimeError, OSError) as error:
                self.bridge = NoLoop(self.token, lambda: None)
                self.stop(
                    EngineClosed(f"the engine's own asyncio loop could not be started: {error}")
                )
        return self.bridge

    def loop_is_closed(self) -> None:
        """The asyncio loop that entered the engine is gone: nothing that needs it can go on, and
        nothing of it is recorded."""
        self.stop(
            EngineClosed(
                "the asyncio loop that opened the engine was closed before the "
                "engine. Leave `async with Engine(…)` first."
            )
        )

    def _watch_loop(self, bridge: Bridge) -> None:
        # a body may be what asked for the loop
        Context().run(self.nursery.start_soon, bridge.watch, self._loop_stands_still)

    def _loop_stands_still(self) -> None:
        assert self.bridge is not None, "it tells this"
        waiting = [
            name for runner in self.runners.values() for name in diagnosis.waiting_for_loop(runner)
        ]
        named = (
            (f"{len(waiting):,} in all, such as {waiting[0]}")
            if waiting
            else "one that was given up"
        )
        log.warning("%s. What waits for it: %s", diagnosis.still(self.bridge), named)

    def _own_loop_is_closed(self) -> None:
        self.stop(
            EngineClosed(
                "code of a step closed the engine's own asyncio loop, on which "
                "other steps run. Leave it open."
            )
        )

    def registered(self, workflow: Any) -> Workflow[Any, Any]:
        """As `Registry.registered`."""
        return self.code.registered(workflow)

    def reader(self, name: str, version: str) -> Workflow[Any, Any]:
        """As `Registry.reader`."""
        return self.code.reader(name, version)

    def ended(self, life: Life) -> None:
        """A body has left memory."""
        runner = self.runners.pop(life.who.no)
        self.departed.add(life)
        self.resistance.forget(life)
        if (
            self.draining
            and not self.left
            and life.stopping is not None
            and life.stopping.is_for_later
        ):
            self.core.release(life.who.no, life.who.incarnation)
        elif self.draining:
            pass  # another life of it would be left behind, too
        elif life.stopping is End.UNDOES and life.undoing is not None:
            self._take_in(Undoer(life))
        elif life.stopping is End.CONTINUED:
            self.nursery.start_soon(continuing.begin, self, runner)
        elif life.stopping is End.UNDOES:
            self.nursery.start_soon(undoing.begin, self, runner)
        self.starts.left(life.who.no)
        self.progressed()

    def hold(self, no: int, incarnation: int) -> None:
        """An ended body has given up an attempt that runs on: it keeps the instance's slot."""
        self.borrowed.held.add(no)
        self.core.hold(no, incarnation)

    def let_go(self, no: int) -> None:
        """The last attempt that an ended body gave up has ended; a thread may do so when the engine
        is closed already."""
        self.borrowed.held.remove(no)
        if not self.drained:
            self.core.let_go(no)

    def replay(self, life: Life) -> None:
        """Unwinds a body and runs it again from its history."""
        self.core.replay(life.who.no, life.who.incarnation)
        stopping.unwind(life, End.REPLAYED)

    def interrupted_by(self, error: BaseException) -> None:
        """KeyboardInterrupt or SystemExit in user code: nothing is recorded, the engine stops
        (R7)."""
        self.stop(error)

    # Callers.

    def look(self) -> None:
        """Lets the collector know how much there is that is no garbage."""
        callers = self.callers
        self.patience.look(
            len(self.runners) + callers.waiting // CALLS_A_BODY,
            self.starts.begun + callers.called // CALLS_A_BODY,
        )

    def next_news(self) -> trio.Event:
        """Returns an event that is set when the core has told anything, were it that it is idle."""
        if self._news.is_set():
            self._news = trio.Event()
        return self._news

    def next_change(self) -> trio.Event:
        """Returns an event that is set at the next change that `await_change` asked for, and when
        the engine ends."""
        if self._change.is_set():
            self._change = trio.Event()
        return self._change

    def next_record(self) -> trio.Event:
        """Returns an event that is set when something was recorded."""
        if self._records.is_set():
            self._records = trio.Event()
        return self._records

    # Stopping.

    def stop(self, failure: BaseException) -> None:
        """The engine cannot go on: cancels the block it runs in, which then raises `failure`."""
        if self.failure is None:
            self.failure = failure
            for ticket in self.callers.given_up:  # the core may answer nobody any more
                self._reply(ticket, _core.GIVEN_UP, None)
            self.drain.grace.cancel()
            self.engine._cancel_block()

    def broke(self, error: BaseException) -> None:
        """One of the engine's own tasks ended with an error: nothing goes on any more, and whoever
        waits is told."""
        log.error("internal error in the engine", exc_info=error)
        failure = InternalError(
            f"the engine stopped because of a bug of its own; please report it: {error!r}"
        )
        failure.__cause__ = error
        self.stop(failure)
        self.abandon_callers()

    def abandon_callers(self) -> None:
        """Ends every wait for a reply: the engine is closed."""
        self.bulks.abandon(CLOSED)
        self._abandon_tickets()
        self._end_watches(CLOSED)

    def _end_watches(self, why: str) -> None:
        self.watchers.end(why)
        self._change.set()
        self._records.set()

    def _abandon_tickets(self) -> None:
        waiting, self.tickets = self.tickets, {}
        for waiter in (*waiting.values(), *self.callers.leave()):
            tell(waiter, results.Error(EngineClosed(CLOSED)))

    def has_drained(self) -> None:
        """Nothing runs any more, and nothing will: whoever waits for it is told."""
        self.drained = True
        self.bulks.abandon(DRAINED)
        self._end_watches(DRAINED)

    def unwind_all(self, why: End) -> None:
        """Cancels every body that is in memory."""
        for runner in list(self.runners.values()):
            stopping.unwind(runner, why)

    def progressed(self) -> None:
        """An attempt or a body has ended; `drain` looks again."""
        self._progress.set()

    async def attempt_ended(self) -> None:
        """Waits until an attempt, or a body, has ended."""
        await self.next_progress()

    async def next_progress(self) -> None:
        """Waits until an attempt or a body has ended, or is not driven any more."""
        if self._progress.is_set():
            self._progress = trio.Event()
        await self._progress.wait()
