"""What the attempts of a step come to, and the records of it.

Whatever ends an attempt tells it here (`_ended`): a value, a failure that another attempt follows,
a failure for good, or an end that nobody is told because the body has cancelled the step. Each is
one record; the body goes on when that is durable, and is answered from here. How attempts are
begun, and made again, is in `step_operation`.
"""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from trio.lowlevel import reschedule

from .._attempts.attempt import of_wrong_runtime
from .._attempts.timeouts import CutShort
from .._body import delivery, diagnosis, stopping
from .._body.causes import interrupt_in
from .._body.delivery import delivered
from .._core import ABANDONED, ERASED, GAVE_UP, OK
from .._ending import End
from .._errors import NotSerializable, RetryRuleFailed, StepFailed, TooLarge
from .._log import log
from .._replay import Identity, Outcome
from .._steps.arguments import Arguments
from .._steps.past import KEPT, Past, Tried
from .._values.codec import codec
from .._values.failures import blamed, describe, from_users_code, revive, type_name
from .._values.hidden import hide_members
from .._values.plain import shown
from .operation import TaskOperation

if TYPE_CHECKING:
    from .._attempts.context import StepContext
    from .._body.life import Life
    from .._kinds import Verdict
    from .._steps.workflow import FunctionPlan

_ATOMS = frozenset({type(None), bool, int, str, float})


class RecordedStep(TaskOperation):
    """A step as its history knows it: attempts made, and what they came to."""

    noun = "step"
    """What it is called where its name follows."""
    value: Any = None
    payload: bytes | None = None
    _made = 0
    _failed = 0
    _verdict = OK
    _started_at = 0
    _saved: bytes | None = None
    _past: Past | None = None
    _arguments: Arguments | None = None
    """As they were, for a test engine (D10)."""
    concludes: str | None = None
    """The stream in which its value stands for what it has sent."""

    def __init__(
        self,
        life: Life,
        identity: Identity,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        plan: FunctionPlan,
    ) -> None:
        self.life = life
        self.identity = identity
        self.fn = fn
        self.args = args
        self.plan = plan
        if plan.undo is not None:
            life.delivery.undoable = True

    @property
    @abstractmethod
    def context(self) -> StepContext:
        """What the function may know of the step."""

    def __str__(self) -> str:
        return f'step "{self.identity[2]}" of {self.life.who}'

    def _ended(self, attempt: int, failure: BaseException | None = None) -> tuple[int, int] | None:
        """An attempt has ended: records how. Returns the retry delay that this opened, if another
        attempt is to follow."""
        if self.is_cancelled:
            self._submit(attempt, ABANDONED, self._end(attempt, self.value, failure))
        elif failure is not None:
            return self._failed_attempt(failure, attempt)
        else:
            self._submit_value(attempt)
        return None

    def _end(self, attempt: int, value: Any, failure: BaseException | None) -> bytes:
        """Returns what the record of an attempt says whose outcome nobody is told: its value, its
        error, or neither."""
        if failure is None:
            try:
                return codec.encode(
                    {"value": self.plan.codec.encode(value, "result", self.life.value_bytes)}
                )
            except (NotSerializable, TooLarge) as error:
                failure = diagnosis.unstorable(self.life, self.identity[2], error)
        if isinstance(failure, CutShort):
            return codec.encode({})
        return codec.encode({"error": self._described(failure, attempt)})

    def _described(self, failure: BaseException, attempts: int) -> dict[str, Any]:
        """Returns what is recorded of the failure of an attempt, or of the step."""
        record = describe(failure, step=self.identity[2], attempts=attempts)
        return hide_members(record) if self.plan.is_sensitive else record

    def _submit_value(self, attempt: int) -> None:
        try:
            most = self.life.port.most_bytes(self.life.value_bytes)
            self.payload = self.plan.codec.encode(self.value, "result", most)
        except (NotSerializable, TooLarge) as error:
            self._submit_failure(diagnosis.unstorable(self.life, self.identity[2], error), attempt)
        except BaseException as error:  # code of the value's own class (R9)
            if (struck := interrupt_in(error)) is not None:
                self.life.port.interrupted_by(struck)
            else:
                self._submit_failure(error, attempt)
        else:
            self._submit(attempt, OK, self.payload)

    def _submit(self, attempt: int, verdict: Verdict, payload: bytes | None) -> None:
        life, port = self.life, self.life.port
        if (
            port.checks_arguments
            and self._arguments
            and stopping.goes_on(life)
            and (changed := self._arguments.changed()) is not None
        ):
            others = [
                o.identity[2]
                for o in life.delivery.open.values()
                if isinstance(o, RecordedStep) and o.live and o is not self
            ]
            stopping.block(
                life,
                "changed_argument",
                diagnosis.changed_argument(life, self.identity[2], changed, others),
                self.identity[2],
            )
            return
        self._verdict = verdict
        who, record = life.who, port.record
        if verdict == OK and self.concludes is not None:
            number = port.conclude(
                who.no,
                who.incarnation,
                self.after,
                self.identity,
                attempt,
                self._started_at,
                payload,
                self.concludes,
            )
        else:
            number = record(
                who.no,
                who.incarnation,
                self.after,
                self.identity,
                attempt,
                verdict,
                self._started_at,
                payload,
            )
        self.number = number
        port.tickets[number] = self

    def _record(
        self, verdict: Verdict, attempt: int, payload: bytes | None, erases: int | None = None
    ) -> int:
        life = self.life
        return life.port.record(
            life.who.no,
            life.who.incarnation,
            self.after,
            self.identity,
            attempt,
            verdict,
            self._started_at,
            payload,
            erases,
        )

    def _submit_failure(self, error: BaseException, attempts: int) -> None:
        self.payload = codec.encode(self._described(error, attempts))
        self._submit(attempts, GAVE_UP, self.payload)

    def _failed_attempt(self, error: BaseException, attempt: int) -> tuple[int, int] | None:
        """Records a failed attempt. Returns the retry delay that it opened, if another attempt is
        to follow.

        Of one that the engine cuts short, as it unwinds the body, nothing is recorded: it does not
        count (L14).
        """
        if self.life.stopping:
            return None
        life, retry, name, context = self.life, self.plan.retry, self.identity[2], self.context
        self._made, self._failed = attempt, self._failed + 1
        error = of_wrong_runtime(error, name) or error
        delay = 0
        try:
            more = (
                isinstance(error, Exception) and retry.retries(error) and retry.allows(self._failed)
            )
            if more:
                assert isinstance(error, Exception), "no other is tried again (R6, R9)"
                # one attempt has one delay, whenever it is asked for
                jitter = random.Random(
                    f"{life.port.seed}|{life.who.seed}|{self.identity}|{attempt}"
                )
                delay = retry.delay_us(self._failed, context, error, jitter)
        except RetryRuleFailed as bad:
            more, error = False, bad
        except KeyboardInterrupt as struck:
            life.port.interrupted_by(struck)
            return None
        after = f"the next one comes in {delay / 1e6:g} s" if more else "the step gives up"
        seen = from_users_code(error)
        log.warning(
            "attempt %d of %s %r of %s failed; %s",
            attempt,
            self.noun,
            name,
            life.who,
            after,
            exc_info=seen,
        )
        if not more:
            self._submit_failure(error, attempt)
            return None
        until = life.port.now() + delay
        payload = codec.encode(self._described(error, attempt))
        number = life.port.retry(
            life.who.no,
            life.who.incarnation,
            self.after,
            self.identity,
            attempt,
            self._started_at,
            payload,
            until,
        )
        self._keep_few(attempt, True, type_name(error))
        return number, until

    def _keep_few(self, attempt: int, has_failed: bool, error: str) -> None:
        """Erases older attempts, if there are many by now."""
        if attempt > KEPT:
            self._past = self._past or Past()
            tried = Tried(attempt, has_failed, error, self._started_at, self.life.port.now())
            if done := self._past.add(tried, self._saved):
                self._record(ERASED, done.last, done.payload, done.first)

    def _told_late(self, value: Any, failure: BaseException | None) -> None:
        """What a thread came to for which nobody waited any more: it is in the history, and nobody
        is told (I8, R4)."""
        life = self.life
        struck = None if failure is None else interrupt_in(failure)
        if struck is not None:
            life.port.interrupted_by(struck)
        elif life.stopping in (None, End.UNDOES):
            attempt = self.context.attempt  # it is over, or was given up and is not counted
            self._record(ABANDONED, attempt, self._end(attempt, value, failure))
        elif life.stopping is End.FINISHED:
            if failure is not None:
                what = f"raised {shown(failure, 200)}"
            else:
                what = f"returned {'a value' if self.plan.is_sensitive else shown(value, 200)}"
            name, who = self.identity[2], f"{life.who}"
            log.warning(
                '%s had ended when a thread of its step "%s" did, which %s; that is not recorded',
                who,
                name,
                what,
            )

    # The outcome.

    def done(self, at: int, place: int) -> None:
        """The record is durable."""
        life, task = self.life, self.task
        if (
            life.turns is None
            and task is not None
            and not life.delivery.cursor.pending
            and not life.stopping
        ):
            # the only operation of a single body task: nothing can come before it
            delivered(life, self, at, place)
            self.task = None
            life.resting = False
            self.delivered = True
            reschedule(task)  # type: ignore[arg-type]  # its loop is trio's: a body on asyncio has turns always
        else:
            delivery.arrived(
                life, Outcome(self.identity, self._verdict, None, self.payload, at, place=place)
            )

    def own_outcome(self) -> Outcome:
        return Outcome(self.identity, self._verdict, None, self.payload, self.life.delivery.at)

    def failure(self, payload: bytes | None) -> StepFailed:
        """Returns the recorded failure as the exception that the body sees."""
        assert payload is not None, "a failure is recorded with its error"
        return blamed(revive(codec.decode(payload)), self.identity)

    def answer(self, outcome: Outcome | None) -> Any:
        """Returns the step's value as the body sees it, or raises its failure.

        Raises:
            Undecodable: What is stored cannot become today's type; the body must not see that (D7).
        """
        if outcome is not None:
            verdict, payload = outcome.verdict, outcome.payload
        elif self._verdict == OK and type(self.value) in _ATOMS:
            return self.value  # decoding what was just encoded gives the same (D4)
        else:
            verdict, payload = self._verdict, self.payload
        if verdict != OK:
            raise self.failure(payload)
        return None if payload is None else self.plan.codec.decode(payload)
