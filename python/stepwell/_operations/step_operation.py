"""The attempts of a step: how they are begun, made again and ended.

An attempt is made in one of five ways, which `go_live` chooses: straight in the body's task, there
with attempts behind it, in a task of its own, on asyncio, or not at all because the body has
cancelled the step. What it comes to is recorded by `step_records`. How a function is called and
timed is in `_attempts.attempt`; what the body is told, and when, in `_body.delivery`.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any

import trio
from trio.lowlevel import enable_ki_protection

from .._attempts.attempt import Stopped, call, end_of, enter_and_send, go_on_unscoped, remote
from .._attempts.context import StepContext
from .._attempts.heard import heard
from .._attempts.timeouts import CutShort
from .._body import containment, delivery, stopping
from .._body.branch import place
from .._body.causes import interrupt_in
from .._body.containment import Guard, check_is_failure
from .._body.resisting import lift_shields
from .._core import ABANDONED, INTERRUPTED, SAVED, STARTED
from .._errors import Interrupted, StepTimeout
from .._formats import CANCELLED_ATTEMPTS_END
from .._replay import Attempts
from .._steps.arguments import Arguments
from .._steps.past import Past
from .._values.codec import codec
from .._values.failures import type_name
from .._values.hidden import HiddenPlan
from .step_records import RecordedStep

if TYPE_CHECKING:
    from .._body.resisting import Ground
    from .._body.sending import Passage
    from .._kinds import Verdict
    from .._loops.bridge import Visit
    from .._steps.borrowed import Thread


class StepOperation(RecordedStep):
    """A step function with its attempts (`step.do`, or one item of `step.map`)."""

    in_own_task = False
    """Whether its attempts never run in the body's task (items of a map)."""
    has_attempts = True
    winding = False
    """Whether nobody waits for it while an attempt of it runs in a task: an instance of an old
    format has withdrawn it (I8)."""
    is_left = False
    """Whether the body has withdrawn it: what a thread of it returns is recorded, and nobody is
    told."""
    runs = False
    """Whether an attempt is under way, or waits for the next one."""

    begins_anew = False
    """Whether an attempt that was announced, and cut short, is followed by another."""
    is_ending = False
    """Whether its attempt was cancelled, by whomever, so that its code should come to an end."""
    ground: Ground | None = None
    """Where the code of its attempt began."""

    scope: trio.CancelScope | None = None
    attempt_scope: trio.CancelScope | Visit | None = None
    """What cancels the attempt that runs; `scope` is that of all attempts, if they have a task of
    their own."""
    passages: tuple[Passage, ...] = ()
    """What its attempts send, or have sent."""
    thread: Thread | None = None
    """That of an attempt, of the one before too, until it has ended."""
    _begun_in: Any = None
    """Where in the body an attempt stands that has no scope: trio's cancel status."""
    _runs_on: Thread | None = None
    """That of the last attempt, if the body cancelled the step while it waited for the next one,
    and the thread ran."""
    _delayed_by = 0
    _awaited: _Note | None = None
    _context: StepContext | None = None
    variables: Context | None = None
    _in_task = False
    _task: trio.lowlevel.Task | None = None
    on_asyncio = False
    """Whether async code of it belongs on an asyncio loop; decided when it goes live."""

    @property
    def context(self) -> StepContext:
        """What the function may know of the step, made when it first asks."""
        if self._context is None:
            self._context = StepContext(self, self.attempt, None)
        return self._context

    @property
    def attempt(self) -> int:
        """Which attempt is made now, from 1."""
        return self._made + 1

    @property
    def beat(self) -> int:
        """When its attempt last said that it is alive; 0: never."""
        return 0 if self._context is None else self._context.beat

    def has_ended(self, attempt: int) -> bool:
        """Whether this attempt is over: recorded, failed, or given up without anything of it
        running any more."""
        runs = self._in_task or self.thread is not None or self.attempt_scope is not None
        return (
            bool(self.number)
            or self._made >= attempt
            or (not runs and self.life.delivery.open.get(self.identity) is not self)
        )

    # The way to an outcome.

    def keep_context(self) -> None:
        self.variables = copy_context()

    def go_live(self, in_body: bool = False) -> Awaitable[None] | None:
        """Begins the first attempt of this life: the one place that chooses how attempts are
        made."""
        life, plan = self.life, self.plan
        port = life.port
        if not in_body and self.is_cancelled:
            known = life.delivery.cursor.attempts.get(self.identity)
            self._made = 1 if known is None else known.made + (not known.is_left)
            self._ended(
                self._made,
                Interrupted(
                    "it was under way when the engine ended, and the body had cancelled it"
                ),
            )
            if not self.was_cut_short:
                delivery.taken_up(life, self)
            return None
        self.runs = plan.is_async
        if on_asyncio := (plan.runtime or port.default_runtime) == "asyncio":
            self.on_asyncio = True
        if port.checks_arguments:
            self._arguments = Arguments(self.fn, self.args)
        if port.told is not None and (listener := port.told.listeners.get(life.who.no)):
            self.fn = heard(self, listener)
        told = life.delivery
        attempts, attached = told.cursor.attempts, told.attached
        if (
            told.interrupted
            or (attempts and self.identity in attempts)
            or (attached and self.identity in attached)
        ):
            # until an attempt begins: one that a crash cut short did not begin before this turn
            self._started_at = told.at
        elif in_body and plan.waits is False and not on_asyncio:
            return self._run_straight()
        elif plan.is_plain and on_asyncio and stopping.may_begin(life):
            self._run_remote(self.variables or copy_context())
            return None
        if in_body:
            return self.run()
        self._spawn(self.run)
        return None

    def _spawn(self, attempts: Callable[[], Awaitable[None]]) -> None:
        """Makes attempts in a task of their own."""
        assert self.variables is not None, "it goes live, or has"
        self.variables.run(place.set, self)
        self.scope = trio.CancelScope()
        self._in_task = True
        containment.spawn(self.life, functools.partial(self._in_own_task, attempts), self.variables)

    def stays_open(self) -> bool:
        life = self.life
        if (
            life.stopping
            or life.who.format < CANCELLED_ATTEMPTS_END
            or (self.plan.abandon_on_cancel and not self.plan.is_async)
        ):
            return False
        if self.is_cancelled:
            return True
        if self.live:
            return not self.number and (self.thread is not None or (self.runs and not self.waiting))
        recorded = life.delivery.cursor.outcome_of(self.identity)
        if recorded is not None:
            return recorded.verdict == ABANDONED
        # What is not in the history ended with the engine, if it had begun. An async function has
        # when its turn is over; a plain one may have been queued for a thread, and the body went
        # on.
        if self.identity in life.delivery.attached:
            return False  # it waits for its next attempt
        return self.turn != life.delivery.turn and (
            self._has_begun or (life.delivery.interrupted and not delivery.went_on(life))
        )

    @property
    def _has_begun(self) -> bool:
        """Whether an attempt that history has no end of had begun for sure, once the turn is over
        in which the step was asked for."""
        known = self.life.delivery.cursor.attempts.get(self.identity)
        return (
            self.plan.is_async if known is None else known.is_left or known.started_for > known.made
        )

    def give_up(self) -> None:
        if self.is_cancelled:
            return
        super().give_up()
        if not self.live:
            told = self.life.delivery
            if not self._has_begun and told.cursor.taken <= self.life.port.found:
                self.was_cut_short = True
                told.queued = told.queued or []
                told.queued.append(self)
        under_way = self.under_way
        if self.waiting:  # for its next attempt, while a thread of the last one still runs
            delivery.withdraw_wait(self.life, self._delayed_by)
            self._runs_on = self.thread
            assert self._awaited is not None, "it waits for the end of the delay"
            self._awaited.done(0, 0)
        else:
            self.cancel_attempt()
        is_known = self.plan.on_interrupt == "fail" or (self.plan.is_async and not self._made)
        if self.live and (under_way == self._made or not is_known):
            # Before whatever the body does while it is open: else a replay would take it for
            # queued.
            self._record(STARTED, under_way, None)

    def announce(self) -> None:
        """Records that an attempt is under way, of whose end nothing may be recorded."""
        self._record(STARTED, self.under_way, None)

    @property
    def under_way(self) -> int:
        """The attempt that runs, or whose thread runs on although it has failed and so keeps the
        next one from beginning."""
        runs_on = self.thread is not None and (
            self._context is None or self._context.attempt <= self._made
        )
        return self._made + (not runs_on)

    def stop(self) -> None:
        """As `Operation.stop`; attempts in the body's task may stand behind a shield of the body
        too."""
        super().stop()
        self._should_end()
        self.cancel_attempt()
        if self._begun_in is not None:
            lift_shields(self._begun_in, self.life.scope)
        if self._awaited is not None:
            self._awaited.done(0, 0)
        for passage in self.passages:
            passage.look()

    async def _wait_for(self, note: _Note) -> None:
        """Waits for the core's answer; not if the body unwinds."""
        self._awaited = note
        await note.wait()
        self._awaited = None
        if self.life.stopping:
            await stopping.stop_here(self.life)

    @enable_ki_protection
    async def _in_own_task(self, attempts: Callable[[], Awaitable[None]]) -> None:
        assert self.scope is not None
        self._task = trio.lowlevel.current_task()
        with self.scope:
            try:
                await attempts()
            finally:
                self._in_task, self._task = False, None
                # these hold what holds this operation, and so does the context: a circle
                self.variables = None
                if self.thread is None:
                    self._context = None
                self.wound_down()

    async def run(self) -> None:
        """Makes attempts until one succeeds or the step gives up, and submits the record of
        that."""
        known = self.life.delivery.cursor.attempts.pop(self.identity, None)
        if known is not None or self.interrupted:
            delivery.taken_up(self.life, self)
            await self._resume(known or Attempts())
        elif (refusal := self.plan.refusal(self.fn)) is not None:
            self._submit_failure(refusal, 1)
            return
        while not self.number and await self._attempt():
            pass

    @property
    def _may_begin_anew(self) -> bool:
        """Whether an attempt that was announced may be followed by another. Others than those that
        must not repeat are announced when somebody ends them: the body, which then has that as
        their end, or who undoes the instance, which may be restarted after that."""
        return self.begins_anew or (self.plan.on_interrupt != "fail" and not self.is_cancelled)

    async def _resume(self, known: Attempts) -> None:
        """Takes up a step that was, or may have been, attempted before a crash or a park."""
        past = self._past = Past.of(known)
        self._made, self._failed, self._saved = known.made, past.failed(known), past.saved(known)
        delay = self.life.delivery.attached.pop(self.identity, None)
        if delay is not None:
            await self._delay(delay[0], delay[1] or 0)
            return
        announced = known.started_for > known.made
        if not announced and (self.plan.on_interrupt == "fail" or not self.interrupted):
            return
        self._made += 1
        error = Interrupted(
            f"attempt {self._made} was cut short: its engine died, or closed, before it had ended"
        )
        if announced and not self._may_begin_anew:
            self._started_at = known.started_at
            self._submit_failure(error, self._made)
        else:
            await self._note(
                INTERRUPTED,
                self._made,
                codec.encode(self._described(error, self._made)),
            )
            self._keep_few(self._made, False, type_name(error))

    def _run_straight(self) -> Awaitable[None] | None:
        """What `run` does for a step without a past, whose function has never waited: the hot path.

        Returns:
            None: the function has run to its end and its value is submitted. Else what is left to
                be awaited.
        """
        # what is an attribute and no method is called so in half the time
        now = self.life.port.now
        self._started_at = now()
        task: Any = self.life.task
        begun_in = task._cancel_status
        try:
            coroutine = self.fn(*self.args)
            context = copy_context()
            trap = context.run(enter_and_send, self, coroutine)
        except StopIteration as stop:
            self.value = stop.value
            self._submit_value(1)
            return None
        except BaseException as error:
            return self._after_failure(error)
        self._begun_in = begun_in
        return self._go_on(coroutine, context, trap)

    def _run_remote(self, context: Context) -> None:
        """Makes the first attempt on asyncio, in a copy of this context; returns when that is under
        way."""
        self._started_at = self.life.port.now()
        self.variables = context
        self._in_task = True
        self.attempt_scope = remote()(self, context.copy())

    def remote_returned(self, value: Any) -> None:
        """The attempt on asyncio has returned."""
        self.remote_ended()
        self.value = value
        self._ended(1)

    def remote_failed(self, error: BaseException) -> None:
        """The attempt on asyncio has raised."""
        context = self.variables
        self.remote_ended()
        with Guard(self.life):
            if interrupt_in(error) is not None:
                raise error
            delay = self._ended(1, error)
            self._context = None  # it holds this operation: a circle
            if delay is not None:
                self.variables = context
                self._spawn(functools.partial(self._delay_and_run, delay))

    def remote_ended(self) -> None:
        """Nothing of it runs on asyncio any more."""
        self._in_task = False
        self.attempt_scope = self.variables = self._context = None  # each a circle
        self.wound_down()

    async def _go_on(self, coroutine: Any, context: Context, trap: Any) -> None:
        failure: BaseException | None = None
        self.is_in_body = True
        try:
            with self.life.port.borrowed.under_way:
                self.value = await go_on_unscoped(self, coroutine, context, trap)
        except BaseException as error:
            failure = error
        self.is_in_body, self._begun_in = False, None
        if failure is None:
            self._submit_value(1)
            return
        try:
            await self._after_failure(failure)
        finally:
            del failure  # its traceback has this frame, if it leaves: a circle

    async def _after_failure(self, error: BaseException) -> None:
        try:
            await check_is_failure(self.life, error)
            delay = self._failed_attempt(error, 1)
        finally:
            del error  # its traceback has this frame: a circle
        if delay is not None:
            await self._delay_and_run(delay)

    async def _delay_and_run(self, delay: tuple[int, int]) -> None:
        await self._delay(*delay)
        await self.run()

    async def _attempt(self) -> bool:
        """Makes one attempt. Returns whether another is to follow."""
        life = self.life
        attempt = self._made + 1
        thread, self.runs = self.thread or self._runs_on, self.plan.is_async
        if thread is not None:
            await thread.ended.wait()
        if self.is_cancelled:
            self.value, end = (None, CutShort()) if thread is None else end_of(thread)
            self._ended(self._made + (thread is None), end)
            return False
        if not stopping.may_begin(life):
            await stopping.stop_here(life)
        self._started_at = life.port.now()
        self.is_ending = self.scope is not None and self.scope.cancel_called
        if self.plan.on_interrupt == "fail":
            await self._note(STARTED, attempt, None)
            if self.is_cancelled:
                self._ended(attempt, CutShort())
                return False
        saved = None if self._saved is None else codec.decode(self._saved, where="saved value")
        self._context = StepContext(self, attempt, saved)
        failure: BaseException | None = None
        self.is_in_body = not self._in_task
        try:
            # not over the retry delay: a step that waits for its next attempt runs none (T3, L14)
            with life.port.borrowed.under_way:
                self.value = await call(self, self.fn, self.args)
        except Stopped as stopped:
            failure = stopped.error
        except BaseException as error:
            failure = error
        self.is_in_body = False
        if failure is not None:
            try:
                await check_is_failure(life, failure)
            except BaseException:
                del failure  # its traceback has this frame: a circle
                raise
        delay = self._ended(attempt, failure)
        failure = None  # its traceback has this frame: a circle
        if delay is not None:
            await self._delay(*delay)
        return delay is not None

    async def _delay(self, number: int, until: int) -> None:
        """Waits for a durable retry delay; the instance may give its slot back meanwhile (R4)."""
        pause = _Note()
        self.waiting, self._delayed_by = True, number
        self.life.rest.expect(number, pause, until)
        self.life.rest.delayed(began=True)
        try:
            await self._wait_for(pause)
        finally:
            self.waiting = False
            # else it was withdrawn, and counts no more
            if self.life.delivery.open.get(self.identity) is self:
                self.life.rest.delayed(began=False)
            self.life.rest.forget(number)
        # the step may have been left between the end of the delay and this line (I8)
        await trio.lowlevel.checkpoint_if_cancelled()

    async def _note(self, verdict: Verdict, attempt: int, payload: bytes | None) -> None:
        """Records something about an attempt and waits until it is durable."""
        note = _Note()
        self.life.port.tickets[self._record(verdict, attempt, payload)] = note
        await self._wait_for(note)

    async def save(self, value: Any, attempt: int) -> None:
        """`StepContext.save`."""
        plan = HiddenPlan(codec.plan()) if self.plan.is_sensitive else codec
        payload = plan.encode(
            value, limit=self.life.port.most_bytes(self.life.value_bytes), where="saved value"
        )
        await self._note(SAVED, attempt, payload)
        self._saved = payload

    def give_up_attempt(self, why: str) -> None:
        """An attempt without a scope took too long: the body is unwound and replayed to stop it
        (see `_attempts.attempt`)."""
        attempt = self._made + 1
        self._failed_attempt(StepTimeout(why), attempt)
        self.life.port.replay(self.life)

    # The end.

    def withdrawn(self) -> None:
        self.is_left = True
        self.winding = self._in_task
        self.life.rest.winding += self.winding
        self.end_attempts()
        if self.waiting:
            delivery.withdraw_wait(self.life, self._delayed_by)

    def end_attempts(self) -> None:
        """Nobody waits for an outcome any more."""
        if self.scope is not None:
            self._should_end()
            self.scope.cancel()
        elif self._in_task:
            self.cancel_attempt()

    def cancel_attempt(self) -> None:
        """Cancels the attempt that runs, if one does."""
        if self.attempt_scope is not None:
            self._should_end()
            self.attempt_scope.cancel()

    def _should_end(self) -> None:
        self.is_ending = True
        self.life.port.resistance.watch(self)

    @property
    def root(self) -> trio.lowlevel.Task | None:
        """The task of trio's in which its attempt runs."""
        return self._task if self._in_task else self.life.task

    def wound_down(self) -> None:
        """The task of its attempts has ended."""
        if self.winding:
            self.winding = False
            self.life.rest.winding -= 1
            delivery.wound_down(self.life)

    async def may_have_thread(self) -> None:
        """Returns if the attempt may begin; if not, it never comes back from here."""
        await stopping.enter(self.life)

    def thread_begins(self, thread: Thread) -> None:
        """An attempt has a thread, and is under way."""
        self.thread, self.runs = thread, True
        thread.since = self.life.port.now()
        self.life.rest.threads += 1

    def thread_ended(self, thread: Thread) -> None:
        """The thread of an attempt has ended; if the step had failed or was left before, what it
        came to is recorded for whoever looks."""
        self.thread = None
        is_recorded = self.life.who.format >= CANCELLED_ATTEMPTS_END
        if (self.number or self.is_left) and thread.outcome is not None and is_recorded:
            self._told_late(*end_of(thread))
        self.life.rest.threads -= 1
        delivery.wound_down(self.life)


class _Note:
    """One task that waits for one answer of the core that is not an outcome."""

    __slots__ = ("_event",)

    def __init__(self) -> None:
        self._event = trio.Event()

    async def wait(self) -> None:
        await self._event.wait()

    def done(self, at: int, place: int) -> None:
        self._event.set()

    def settle(self, *_: object) -> None:
        self._event.set()
