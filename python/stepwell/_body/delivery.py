"""What a body is told, and when; what it asks for, and when that takes effect (I4, I5, I8).

Whatever a body asks for goes through `perform`: on replay the cursor answers; live, the operation
goes live and the task sleeps until its outcome is durable. With several body tasks operations are
collected, and take effect when the turn ends (`turns` says when that is). Nothing here reads a
clock or a store.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Iterable
from typing import TYPE_CHECKING, NoReturn

import trio

from .. import _core
from .._ending import End
from .._replay import STEPS, Identity, Mismatch, Outcome
from .._values.codec import Undecodable, codec
from .._values.failures import blamed, revive_refusal
from . import diagnosis, foreign, stopping
from .containment import contain

if TYPE_CHECKING:
    from .._kinds import Kind, Verdict
    from .life import Delivery, Life, Operation, Renewal


async def perform(life: Life, operation: Operation) -> Outcome:
    """Begins an operation of the body and returns its outcome, once that is durable."""
    told = life.delivery
    await stopping.enter(life)
    if told.cursor.pending:
        stopping.handles(life, sys.exception())
    if life.turns is None:
        await stopping.leave_if_cancelled(life)
        if told.cursor.pending:
            found = _next(life, (operation.identity,))
            if isinstance(found, Outcome):
                if life.undoing is not None:
                    operation.after = told.last
                    life.undoing.asked_for(operation)
                told.at = found.at
                told.turn += 1
                told.last = found.seq or found.place or told.last
                _caught_up(life)
                told.bytes += len(found.payload or b"")
                if found.verdict == _core.REFUSED:
                    await _refused(life, found)
                return found
            if found is not None:
                stopping.mismatch(life, found, operation)
                await stopping.stop_here(life)
        if (told.attached or told.cursor.attempts) and not _asks_for_all(life, operation):
            await stopping.stop_here(life)
        if (rest := take_effect(life, operation, in_body=True)) is not None:
            await alone(life, operation, rest)
        life.rest.settled_down()
    else:
        kind, path, name, key, _ = operation.identity
        if key is None:
            await check_race(life, path, kind, name)
        operation.keep_context()
        begin(life, operation)
    outcome = await operation.parked() or operation.own_outcome()
    told.bytes += len(outcome.payload or b"")
    if outcome.verdict == _core.REFUSED:
        await _refused(life, outcome)
    return outcome


async def _refused(life: Life, outcome: Outcome) -> NoReturn:
    """Raises into the body why it may not have what it asked for."""
    name = outcome.identity[2]
    try:
        error = revive_refusal(codec.decode(outcome.payload or b""))
    except Undecodable as damaged:
        await stopping.unreadable(life, f'refusal of "{name}"', damaged, name)
    raise blamed(error, outcome.identity)


async def alone(life: Life, operation: Operation, rest: Awaitable[None]) -> None:
    """Waits for what is left of an operation in the body's own task."""
    try:
        await rest
    except BaseException as error:
        left(life, operation, error)
        if not isinstance(error, Exception):
            raise
        contain(life, error)  # nobody recorded it, so the body may not see it
    else:
        return
    await stopping.stop_here(life)


async def check_race(life: Life, path: str, kind: Kind, name: str) -> None:
    """Blocks the instance if another task begins the same in this branch in this turn: their
    order is chance (I3)."""
    if races(life, path, kind, name):
        await stopping.stop_here(life)


def races(life: Life, path: str, kind: Kind, name: str) -> bool:
    """As `check_race`, where nothing can be awaited. Returns whether the instance is blocked
    now."""
    if life.turns is None:
        return False  # there is one task
    line: object = life.turns.line()
    beginners = life.delivery.beginners
    if beginners is None:
        beginners = life.delivery.beginners = {}
    races = beginners.setdefault((path, kind, name), line) is not line
    if races:
        stopping.block(life, "race", diagnosis.race(life, name), name)
    return races


def begin(life: Life, operation: Operation) -> None:
    """Opens an operation that takes effect when the turn ends, or when `deliver` is called."""
    told = life.delivery
    operation.turn, operation.after = told.turn, told.last
    told.open[operation.identity] = operation
    told.begun.append(operation)
    if life.undoing is not None:
        life.undoing.asked_for(operation)


def take_effect(life: Life, operation: Operation, in_body: bool = False) -> Awaitable[None] | None:
    """History has no outcome for an operation that is begun: it goes live.

    Args:
        in_body: Whether the single task of the body begins it at this moment; else it is open.

    Returns:
        What that task has to await (`alone`).
    """
    told = life.delivery
    if in_body:
        told.replaying = False
        operation.after = told.last
        told.open[operation.identity] = operation
    if life.undoing is not None:
        life.undoing.asked_for(operation)
        stopping.unwind(life, End.UNDOES)
        return None
    operation.live = True
    if told.interrupted:
        # now, not when its task first runs: an outcome may come before that
        operation.interrupted = True
        told.untaken += operation.has_attempts
    life.rest.busy += 1
    return operation.go_live(in_body)


def taken_up(life: Life, operation: Operation) -> None:
    """A step that a crash may have cut short records that now; if it is the last one, the
    engine need not remember it (R3)."""
    if operation.interrupted:
        life.delivery.untaken -= 1
        if not life.delivery.untaken:
            life.port.taken_up(life.who.no, life.who.incarnation)


def arrived(life: Life, outcome: Outcome) -> None:
    """An outcome is durable: deliver it now, or in its turn."""
    told = life.delivery
    if life.stopping:
        return
    if outcome.seq > told.cursor.seq:
        told.cursor.seq = outcome.seq
    told.cursor.add(outcome)
    stirred(life)


def stirred(life: Life) -> None:
    """There may be something to deliver: now, or when the turn ends."""
    if stopping.goes_on(life) and (life.resting if life.turns is None else life.turns.at_rest):
        deliver(life)


def _caught_up(life: Life) -> None:
    """Replay ends with the last recorded outcome, such as the event that woke a parked body,
    unless the body was further: then it has not asked for all yet that is open."""
    told = life.delivery
    told.replaying = bool(life.undoing or told.cursor.pending or told.interrupted) or any(
        identity not in told.open for identity in told.attached
    )


def deliver(life: Life) -> None:
    """Delivers outcomes until a body task can go on; then, if history is used up, goes live."""
    told = life.delivery
    told.beginners = None
    while stopping.goes_on(life) and not hold(life):
        if told.queued and _is_behind(told):
            if _give_up_queued(life):
                return  # before it is told of what has come since
            continue  # it waits for others as well, such as the other items of a map
        if (renewal := _renewal(told)) is not None:
            renew(life, renewal)
            return
        found = _next(life, told.open)
        if found is None:
            _live(life)
            return
        if isinstance(found, Mismatch):
            stopping.mismatch(life, found, None)
            return
        operation = told.open[found.identity]
        delivered(life, operation, found.at, found.seq or found.place)
        if told.replaying:
            _caught_up(life)
        if resolve(life, operation, found):
            return


def _renewal(told: Delivery) -> Renewal | None:
    """Returns by what the body goes on as new at the end of this turn, if it does: what came
    meanwhile it is not told any more, live as on replay."""
    asked, told.renewals = told.renewals or (), None
    return min((it for it in asked if told.open.get(it.identity) is it), key=order, default=None)


def renew(life: Life, renewal: Renewal) -> None:
    """The body goes on as new: unwinds it, if it has asked for all that an earlier life had begun
    (I5). What it began in this turn never begins (L15)."""
    told, cursor = life.delivery, life.delivery.cursor
    if life.undoing is not None:
        stopping.unwind(life, End.UNDOES)
        return
    for identity in told.open:
        cursor.withdraw(identity)
    if (left := leftover(life)) is not None:
        stopping.mismatch(life, left, renewal)
        return
    waits = [it.number for it in told.open.values() if it.identity[0] == _core.EVENT and it.live]
    waits += [number for it, (number, _) in told.attached.items() if it[0] == _core.EVENT]
    passed = [it for it in cursor.passed_over if it.identity[0] == _core.EVENT]
    renewal.untold = waits + [it.number for it in passed if it.number > 0]
    renewal.passed = [it.seq for it in passed if it.number < 0]
    renewal.run = cursor.run + 1
    cursor.passed_over.clear()
    told.renewals = [renewal]
    stopping.unwind(life, End.CONTINUED)


def resolve(life: Life, operation: Operation, outcome: Outcome | None) -> bool:
    """Hands an operation its outcome; returns whether a body task can go on now."""
    if life.turns is None:
        return operation.resolve(outcome)
    life.turns.moving = True
    try:
        return operation.resolve(outcome)
    finally:
        if life.turns is not None:
            life.turns.moving = False


def hold(life: Life) -> bool:
    """Answers what is asked about changes of the code (`_operations.patches`), as far as that can
    be now. Returns whether deliveries have to wait: a task goes on, or a record is on its way."""
    told = life.delivery
    while told.asked and told.yes_in_flight is None:
        question = min(told.asked, key=lambda it: it.identity)
        holds = told.cursor.patched(question.identity[2], lambda: _is_behind(told))
        if told.open.get(question.identity) is not question:
            told.asked.remove(question)  # it was withdrawn in its turn
        elif holds is None and life.undoing is not None:
            stopping.unwind(life, End.UNDOES)
            return True
        elif holds is None:
            told.yes_in_flight = question
            life.rest.busy += 1
            question.go_live()
        else:
            told.asked.remove(question)
            del told.open[question.identity]
            question.holds = holds
            if resolve(life, question, None):
                return True
    return told.yes_in_flight is not None


def _live(life: Life) -> None:
    """Begun operations without a recorded outcome go live, in the order of their identity (I4,
    I5)."""
    told = life.delivery
    if life.undoing is not None:
        stopping.unwind(life, End.UNDOES)
        return
    if (told.attached or told.cursor.attempts) and not _asks_for_all(life):
        return
    told.replaying, told.queued = False, None
    begun, told.begun = told.begun, []
    begun = [o for o in begun if told.open.get(o.identity) is o]
    for operation in sorted(begun, key=order) if len(begun) > 1 else begun:
        take_effect(life, operation)
    if told.interrupted and not told.untaken:
        life.port.taken_up(life.who.no, life.who.incarnation)
    if life.turns is not None and not told.open:
        foreign.came_to_rest(life)
    life.rest.settled_down()


def leftover(life: Life) -> Mismatch | None:
    """Returns what an earlier life has come to, and a body that has ended never asked for."""
    told = life.delivery
    found = told.cursor.leftover()
    left = _overlooked(told)
    return found if found is not None or left is None else Mismatch(left, (), is_open=True)


def _overlooked(told: Delivery, begins: Identity | None = None) -> Identity | None:
    """Returns what is open from an earlier life, a wait or a step that was attempted, and that the
    body has not asked for; nor does it now, with this operation."""
    open_ = told.open if begins is None else {*told.open, begins}
    left = next((identity for identity in told.attached if identity not in open_), None)
    return told.cursor.left_open(open_) if left is None else left


def _asks_for_all(life: Life, begins: Operation | None = None) -> bool:
    """Whether the body, which is about to go live, has asked for all that is open: if not, it goes
    on first (`_was_further`), or its code is another one now, and the instance is blocked before
    anything runs (I5)."""
    told = life.delivery
    identity = None if begins is None else begins.identity
    left = None if life.undoing else _overlooked(told, identity)
    if left is not None and not _was_further(life):
        wanted = tuple(told.open) if identity is None else (identity,)
        stopping.mismatch(life, Mismatch(left, wanted, is_open=True), begins)
    return left is None


def _is_behind(told: Delivery) -> bool:
    """Whether history has anything, open or over, that the body has not asked for."""
    given_up = told.cursor.withdrawn or ()
    return _overlooked(told) is not None or any(
        it.identity not in told.open and it.identity not in given_up for it in told.cursor.pending
    )


def _was_further(life: Life) -> bool:
    """History has more than the body has asked for. Returns whether that may be because steps which
    it had cancelled before a crash were only queued: it went on at once then, and does so now
    (I8)."""
    was_further = bool(life.delivery.queued)
    _give_up_queued(life)
    return was_further


def _give_up_queued(life: Life) -> bool:
    """Ends those steps. Returns whether a body task can go on now."""
    told = life.delivery
    queued, told.queued = told.queued or (), None
    goes_on = False
    for operation in queued:
        withdraw(life, operation)
        goes_on |= resolve(
            life, operation, Outcome(operation.identity, _core.ABANDONED, None, None, 0)
        )
    return goes_on


def _next(life: Life, open_operations: Iterable[Identity]) -> Outcome | Mismatch | None:
    """Returns the next outcome to deliver; events of waits that were given up before they were
    taken go back (I8)."""
    told = life.delivery
    found = told.cursor.next(open_operations)
    for outcome in told.cursor.passed_over:
        if outcome.identity[0] == _core.EVENT and outcome.number > 0:
            withdraw_wait(life, outcome.number)
        elif outcome.identity[0] == _core.EVENT and outcome.number < 0:
            life.port.give_back(life.who.no, life.who.incarnation, outcome.seq)
    told.cursor.passed_over.clear()
    if isinstance(found, Outcome) and found.verdict == _core.ABANDONED:
        operation = told.open.get(found.identity)
        if operation is None or not operation.is_cancelled:
            return Mismatch(found.identity, tuple(open_operations), was_cancelled=True)
    if isinstance(found, Outcome):
        life.raised = None  # whatever the body raised before, it fits its history so far
    return found


def delivered(life: Life, operation: Operation, at: int, place: int) -> None:
    """An operation is over, by an outcome that has this place in its history; the turn that begins
    with that is at this time (I13)."""
    told = life.delivery
    del told.open[operation.identity]
    told.at = at
    told.turn += 1
    told.last = place or told.last
    if operation.live:
        if told.interrupted or operation.interrupted:
            # What was open at the end of replay has been begun again (R3). But if the body had
            # gone on from here already, so has it perhaps begun what it begins next.
            told.interrupted = operation.was_cut_short and operation.interrupted
            told.untaken -= told.interrupted
        rest = life.rest
        if not operation.waiting:
            rest.busy -= 1
        if rest.waits:
            rest.forget(operation.number)


def left(life: Life, operation: Operation, error: BaseException) -> None:
    """A body task leaves an operation without its outcome; a cancellation that would not replay
    blocks the instance."""
    by_deadline = isinstance(error, trio.Cancelled) and error.source == "deadline"
    if (operation.strayed or by_deadline) and not life.stopping:
        stopping.block(life, "foreign_wait", diagnosis.foreign_cancel(life))
    withdraw(life, operation)


def withdraw(life: Life, operation: Operation) -> None:
    """The body gives an operation up without waiting for an end of it; its outcome, should it
    come, is abandoned (I8)."""
    told = life.delivery
    if told.open.pop(operation.identity, None) is None or life.stopping:
        return
    told.cursor.withdraw(operation.identity)
    if operation.live:
        life.rest.busy -= not operation.waiting
        operation.withdrawn()
        life.rest.forget(operation.number)
    elif (known := told.attached.pop(operation.identity, None)) is not None:
        # given up before a crash too, but that was not durable yet
        withdraw_wait(life, known[0])


def withdraw_wait(life: Life, number: int) -> None:
    """Closes an open wait; an event that was taken for it goes back."""
    life.port.withdraw(life.who.no, life.who.incarnation, number)


def wound_down(life: Life) -> None:
    """An attempt that may have outlived its step, or its body, has ended."""
    if life.is_pausing or life.is_refused:
        life.port.progressed()  # it may be the last that a pause waits for
    if life.stopping is not End.FINISHED:
        life.rest.settled_down()
    elif not (life.rest.winding or life.rest.threads):
        life.port.let_go(life.who.no)


def settled_early(
    life: Life,
    number: int,
    verdict: Verdict,
    type: str | None,
    payload: bytes | None,
    at: int,
    seq: int,
    came_at: int | None,
) -> None:
    """A wait that this body has not come (back) to yet, or has given up, is settled."""
    told = life.delivery
    told.cursor.seq = max(told.cursor.seq, seq)
    for identity, (known, _) in told.attached.items():
        if known == number:
            del told.attached[identity]
            if identity[0] not in STEPS:  # a retry delay that is over is no outcome
                outcome = Outcome(identity, verdict, type, payload, at, seq, number=number)
                outcome.came_at = came_at
                arrived(life, outcome)
            return
    # the core took the body for woken; what it waits for otherwise it still waits for
    life.rest.woken()
    life.rest.settled_down()


def in_turn(life: Life) -> bool:
    """Whether body tasks can go on, or have begun what takes effect at the end of the turn;
    that end says what comes of it."""
    return life.turns is not None and (
        not life.turns.at_rest or bool(life.delivery.begun) or bool(life.delivery.asked)
    )


def went_on(life: Life) -> bool:
    """Whether the body that a crash ended was told of more than this one has come to. What was
    settled since, such as deadlines that were over by then, it was not told of."""
    return any(outcome.seq <= life.port.found for outcome in life.delivery.cursor.pending)


def turn_began(life: Life) -> int:
    """From when a deadline counts: the time of this turn's outcome; in the first turn, which
    has none, the present."""
    return life.delivery.at if life.delivery.turn else life.port.now()


def order(operation: Operation) -> tuple[str, int, str, int, str]:
    kind, branch, name, key, count = operation.identity
    return (branch, kind, name, count, key or "")
