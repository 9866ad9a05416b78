"""What `step.sleep`, `wait_for_event` and `wait_for_approval` do: open a wait, read its outcome."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn

from trio.lowlevel import enable_ki_protection

from .. import _core
from .._body import delivery, stopping
from .._body.branch import unambiguous
from .._errors import ApprovalTimeout, EventTimeout, InvalidPayload, Rejected
from .._formats import CANCELLED_ATTEMPTS_END, NOTHING_IS_JUDGED
from .._replay import EARLIER, Identity, Outcome
from .._types import Approval, Event
from .._values.codec import Undecodable, as_plain, codec
from .._values.durations import from_us, text
from .._values.envelope import without_trace
from .._values.failures import blamed
from .._values.names import any_of, wait_name
from . import recalled
from .operation import WaitOperation
from .replies import Replying

if TYPE_CHECKING:
    from .._body.branch import Branch
    from .._body.life import Life

_NOTHING = codec.encode(None)
_TOLD = "the body was told that it does not fit: "
"""How the record begins that says so."""
WAIT_MAX_US = 365 * 86_400 * 1_000_000


@enable_ki_protection
async def sleep(branch: Branch, name: str, until: Callable[[], int], is_fixed: bool) -> None:
    """Sleeps until an instant. `is_fixed`: a pause does not move it."""
    life = branch.life
    identity = branch.identify(_core.SLEEP, name)
    deadline = until()
    await delivery.perform(
        life,
        WaitOperation(
            life,
            identity,
            deadline,
            life.port.sleep,
            _core.SLEEP,
            branch.path,
            name,
            identity[4],
            deadline,
            is_fixed,
        ),
    )


@enable_ki_protection
async def event(branch: Branch, name: str, types: list[str], us: int, as_type: Any) -> Event[Any]:
    """Waits for an event of one of these types, at most `us` microseconds."""
    life = branch.life
    identity = branch.identify(_core.EVENT, name)
    until = life.port.now() + us
    outcome = await delivery.perform(
        life,
        WaitOperation(
            life,
            identity,
            until,
            life.port.wait_event,
            branch.path,
            name,
            identity[4],
            types,
            until,
        ),
    )
    if outcome.verdict == _core.TIMED_OUT:
        step = "" if name == wait_name(types) else f' (step "{name}")'
        late = EventTimeout(f"no event {any_of(types)} came to {life.who} within {text(us)}{step}")
        raise blamed(late, identity)
    assert outcome.type is not None
    known = life.delivery.cursor.attempts.pop(identity, None)
    if known is not None:  # whatever fits today: the body has gone its way
        told = _unfit(life, outcome, str(as_plain(known.saved)).removeprefix(_TOLD))
        raise blamed(told, identity)
    try:
        payload = _payload(life, outcome, as_type)
    except Undecodable as error:
        await _tell_unfit(life, identity, outcome, error)
    if life.port.told is not None and not life.delivery.replaying:
        life.port.told.took(life.who.no, outcome.type, outcome.payload)
    taken = Event(outcome.type, payload, _came_at(outcome))
    return taken.answered_by(Replying(life, outcome.type, outcome.seq))


def _payload(life: Life, outcome: Outcome, as_type: Any) -> Any:
    """Returns what an event says, as the type that the body asks for. None, or nothing, is judged
    as every value is; bodies of before this rule were given it as whatever type."""
    stored = without_trace(outcome.payload)
    if stored is None and (as_type is None or life.who.format < NOTHING_IS_JUDGED):
        return None
    plan = codec.plan(Any if as_type is None else as_type)
    return plan.decode(_NOTHING if stored is None else stored, "payload")


async def _tell_unfit(
    life: Life, identity: Identity, outcome: Outcome, error: Undecodable
) -> NoReturn:
    """An event cannot become the type that the body asks for: it is told, and history says that it
    was.

    Where an earlier life of the body went on from this event and nothing says so, it fitted: the
    type is another one now, and the body may not go another way (D7, I10).
    """
    if (
        life.who.format >= CANCELLED_ATTEMPTS_END
        and outcome.number == EARLIER
        and (life.delivery.cursor.pending or life.delivery.interrupted)
    ):
        await stopping.unreadable(life, f'event "{outcome.type}"', error, identity[2])
    said = codec.encode(f"{_TOLD}{error}")
    who = life.who
    last = life.delivery.last
    life.port.record(who.no, who.incarnation, last, identity, 1, _core.SAVED, outcome.at, said)
    raise blamed(_unfit(life, outcome, str(error)), identity) from None


def _unfit(life: Life, outcome: Outcome, why: str) -> InvalidPayload:
    """Returns what a body is told of an event that does not fit."""
    text = f'event "{outcome.type}" of {life.who}: {why}'
    return InvalidPayload(text, payload=as_plain(outcome.payload))


@enable_ki_protection
async def approval(
    branch: Branch,
    name: str,
    detail: bytes | None,
    refusal: Exception | None,
    us: int,
    as_type: Any,
) -> Approval:
    """Asks for an approval and waits for it, at most `us` microseconds."""
    life = branch.life
    identity = await recalled.again(branch, _core.APPROVAL, name, refusal)
    until, title = life.port.now() + us, name
    if life.who.format >= CANCELLED_ATTEMPTS_END:
        title = unambiguous(name)
    place = f"{branch.path}/{title}" if branch.path else title
    approval_id = f"{life.who.first_name}/{life.who.id}#{place}#{branch.nth(identity)}"
    outcome = await delivery.perform(
        life,
        WaitOperation(
            life,
            identity,
            until,
            life.port.wait_approval,
            branch.path,
            name,
            identity[4],
            approval_id,
            detail,
            until,
        ),
    )
    if outcome.verdict == _core.TIMED_OUT:
        late = ApprovalTimeout(f'nobody decided on "{name}" of {life.who} in time')
        raise blamed(late, identity)
    try:
        decision = (
            codec.decode(outcome.payload, where="decision") if outcome.payload is not None else {}
        )
    except Undecodable as error:
        await stopping.unreadable(life, f'approval "{name}"', error, name)
    if life.port.told is not None and not life.delivery.replaying:
        life.port.told.decided(life.who.no, name, outcome.type == _core.APPROVED)
    by, reason, metadata = decision.get("by", ""), decision.get("reason"), decision.get("metadata")
    if outcome.type != _core.APPROVED:
        why = f": {reason}" if reason else ""
        text = f'"{name}" of {life.who} was rejected by {by}{why}'
        raise blamed(Rejected(text, by=by, reason=reason, metadata=metadata), identity)
    if as_type is not None and metadata is not None:
        try:
            metadata = codec.plan(as_type).decode(
                codec.encode(metadata, where="metadata"), "metadata"
            )
        except Undecodable as error:
            await stopping.unreadable(life, f'approval "{name}"', error, name)
    return Approval(by, reason, metadata, _came_at(outcome))


def _came_at(outcome: Outcome) -> datetime:
    """Returns when an event was sent, or a decision made; of one whose record does not say, when
    its wait took it."""
    return from_us(outcome.at if outcome.came_at is None else outcome.came_at)
