"""Other instances, as a body deals with them: children created, called and awaited, events sent."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from trio.lowlevel import enable_ki_protection

from .. import _core
from .._body import delivery, stopping
from .._body.branch import current_branch
from .._body.pending import Pending
from .._codes import RECORDED, error_of
from .._errors import InstanceErrored, InstanceExists, InvalidConfig, InvalidName, Misuse
from .._formats import CANCELLED_ATTEMPTS_END
from .._steps.params import encode_params
from .._steps.workflow import Workflow, without_code
from .._types import NewInstance
from .._values import names
from .._values.codec import Undecodable, codec
from .._values.failures import blamed, error_info
from . import recalled
from .operation import TicketOperation, WaitOperation

if TYPE_CHECKING:
    from .._body.branch import Branch
    from .._body.life import Life
    from .._kinds import Kind
    from .._replay import Identity, Outcome

T = TypeVar("T")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

_CHILDREN = uuid.UUID("0a4d9a43-7c0e-5a0e-8f5b-9d5e3f1c2b10")
_FOREVER = 1 << 62
_NOT_FOR_CHILDREN = ("priority", "start_at", "retention")


class Child(Generic[R_co]):
    """A child instance, as its parent's body sees it. What its methods do is recorded in the
    parent.

    Attributes:
        id: The child's id.
    """

    __slots__ = ("_workflow", "id")

    def __init__(self, workflow: Workflow[Any, R_co], id: str) -> None:
        self._workflow = workflow
        self.id = id

    @property
    def workflow(self) -> str:
        """Name of the child's workflow."""
        return self._workflow.name

    def __repr__(self) -> str:
        return f"<child {self.workflow}/{self.id}>"

    def result(self) -> Pending[R_co]:
        """Waits, without a slot, until the child has ended; returns its output.

        Raises:
            InstanceErrored: The child errored.
            InstanceTerminated: It was terminated.
            InstanceNotFound: There is no such instance (any more).
        """
        branch = here("result")
        return Pending(awaited, (branch, self.id, self._workflow))

    def send_event(
        self, type: str, payload: Any = None, *, name: str | None = None
    ) -> Pending[None]:
        """Sends the child an event, once however often the body replays. Errors as
        `Step.send_event`."""
        branch = here("send_event")
        return send_event(branch, self.workflow, self.id, type, payload, name)


def here(method: str) -> Branch:
    """Returns the branch whose code calls.

    Raises:
        StepwellError: No body's code does.
    """
    branch = current_branch()
    if branch is None:
        raise Misuse(f"child.{method} was called outside a workflow's body. Call it there.")
    return branch


def send_event(
    branch: Branch, workflow: str, id: str, type: str, payload: Any, name: str | None
) -> Pending[None]:
    """Checks and encodes an event for another instance; see `Step.send_event`."""
    life, kind = branch.life, names.event_type(type)
    label = names.step_name(name if name is not None else kind)
    stored, refusal = None, None
    if payload is not None:
        limit = value_bytes_of(life, workflow)
        stored, refusal = recalled.encoded(
            branch, _core.SEND, label, lambda: codec.encode(payload, limit=limit, where="payload")
        )
    return Pending(send, (branch, label, workflow, names.instance_id(id), kind, stored, refusal))


def asked(
    branch: Branch,
    kind: Kind,
    workflow: Any,
    name: str | None,
    encode: Callable[[Workflow[Any, Any]], T],
) -> tuple[str, Workflow[Any, Any], T | None, Exception | None]:
    """As `recalled.encoded`, for an operation on a workflow's instances. Returns its name and the
    workflow as well.

    Raises:
        InvalidConfig: The workflow is not registered.
        InvalidName: The name is malformed.
    """
    target: Workflow[Any, Any] | None = None
    try:
        target = branch.life.port.registered(workflow)
        params = encode(target)
    except Exception as refusal:
        found = target or _stand_in(workflow)
        label = None if found is None else _label(name, found)
        if found is None or label is None or not recalled.is_known(branch, kind, label, refusal):
            raise
        return label, found, None, refusal.with_traceback(None)
    label = names.step_name(name) if name is not None else _own_name(branch, kind, target)
    return label, target, params, None


def _own_name(branch: Branch, kind: Kind, target: Workflow[Any, Any]) -> str:
    """Returns what an operation is called after its workflow: of what history knows the next one
    under several names, whichever came first has the name that the workflow had then."""
    cursor = branch.life.delivery.cursor
    known = [
        (found.seq, it)
        for it in (target.name, *target.formerly)
        if (found := cursor.outcome_of(branch.following(kind, it))) is not None
    ]
    return min(known)[1] if known else target.name


def _stand_in(workflow: Any) -> Workflow[Any, Any] | None:
    """Returns a workflow that is not registered as well as it is known; None: it never was one."""
    try:
        return workflow if isinstance(workflow, Workflow) else without_code(workflow)
    except InvalidName:
        return None


def _label(name: Any, target: Workflow[Any, Any]) -> str | None:
    try:
        return names.step_name(name if name is not None else target.name)
    except InvalidName:
        return None


@enable_ki_protection
async def create(
    branch: Branch, name: str, target: Workflow[Any, R],
    given: tuple[bytes | None, bytes | None] | None, refusal: Exception | None,
    id: str | None,
) -> Child[R]:  # fmt: skip
    life = branch.life
    identity = await recalled.again(branch, _core.CREATE, name, refusal)
    params, attributes = given or (None, None)
    chosen = id or child_id(life, identity)
    port, path = life.port, branch.path
    outcome = await delivery.perform(life,
        TicketOperation(life, identity, port.create_child, path, name, identity[4], target.name,
        target.version, chosen,
                        params, attributes, codec.encode(chosen))
    )  # fmt: skip
    raise_if_taken(outcome, target, chosen)
    try:
        return Child(
            target, codec.decode(outcome.payload, where="id") if outcome.payload else chosen
        )
    except Undecodable as error:
        await stopping.unreadable(life, f'creation "{name}"', error, name)


def item(
    life: Life, target: Workflow[Any, Any], item: Any, index: int
) -> tuple[str | None, bytes | None, bytes | None]:
    where, limit = f"items[{index}]", value_bytes_of(life, target.name)
    if (
        isinstance(item, NewInstance)
        and life.who.format >= CANCELLED_ATTEMPTS_END
        and (given := [name for name in _NOT_FOR_CHILDREN if getattr(item, name)])
    ):
        raise InvalidConfig(
            f"{where}: {', '.join(given)} of a NewInstance is for "
            "engine.create_batch. Leave it out in step.create_batch."
        )
    if not isinstance(item, NewInstance):
        return None, encode_params(target, item, limit, where), None
    extra = codec.encode(names.attributes(item.attributes)) if item.attributes else None
    return (
        (None if item.id is None else names.instance_id(item.id)),
        encode_params(target, item.params, limit, where),
        extra,
    )


def ids_of(items: Iterable[Any]) -> list[tuple[str | None, bytes | None, bytes | None]]:
    """Returns all that is needed to know the children of a batch that history has: as `item`, with
    their ids only."""
    given = (item.id if isinstance(item, NewInstance) else None for item in items)
    return [(None if id is None else names.instance_id(id), None, None) for id in given]


@enable_ki_protection
async def create_batch(
    branch: Branch, name: str, target: Workflow[Any, R],
    given: Iterable[Any], prepared: list[tuple[str | None, bytes | None, bytes | None]] | None,
    refusal: Exception | None,
) -> list[Child[R]]:  # fmt: skip
    life = branch.life
    identity = await recalled.again(branch, _core.CREATE_BATCH, name, refusal)
    if prepared is None:
        prepared = ids_of(given)
    base = child_id(life, identity)
    items = [
        (id or f"{base}.{index}", params, attributes)
        for index, (id, params, attributes) in enumerate(prepared)
    ]
    port, path = life.port, branch.path
    outcome = await delivery.perform(life,
        TicketOperation(life, identity, port.create_children, path, name, identity[4],
        target.name, target.version, items,
                        _batch_as_stored(life, identity, len(items), base))
    )  # fmt: skip
    if outcome.verdict != _core.OK:
        ids = [id for id, _, _ in prepared if id is not None] or [base]
        places: dict[str, int] = {}
        for index, (id, _, _) in enumerate(prepared):
            if id is not None and (first := places.setdefault(id, index)) != index:
                text = (
                    f'items[{first}] and items[{index}] have the same id "{id}". None of the '
                    "batch was created. Give each its own."
                )
                raise blamed(InstanceExists(text, workflow=target.name, id=id), identity)
        which = f'instance "{ids[0]}" of "{target.name}"'
        if len(ids) > 1:
            some = ", ".join(f'"{id}"' for id in ids[:3]) + (", …" if len(ids) > 3 else "")
            which = f'an instance of "{target.name}" with one of these {len(ids):,} ids ({some})'
        text = f"{which} already exists. None of the batch was created. Pass other ids."
        one = ids[0] if len(ids) == 1 else ""
        raise blamed(InstanceExists(text, workflow=target.name, id=one), identity)
    if outcome.payload is not None:
        try:
            base = _base_of(life, identity, codec.decode(outcome.payload, where="batch"))
        except Undecodable as error:
            await stopping.unreadable(life, f'creation "{name}"', error, name)
    return [Child(target, id or f"{base}.{index}") for index, (id, _, _) in enumerate(prepared)]


def _batch_as_stored(life: Life, identity: Identity, count: int, base: str) -> bytes:
    """How many there are; and, in a life that is not the one its seed is of, from what their ids
    derive."""
    is_plain = base == _derived(life.who.seed, identity)
    return codec.encode(count if is_plain else [count, base])


def _base_of(life: Life, identity: Identity, stored: Any) -> str:
    return str(stored[1]) if isinstance(stored, list) else _derived(life.who.seed, identity)


@enable_ki_protection
async def call(
    branch: Branch,
    name: str,
    target: Workflow[Any, R],
    params: bytes | None,
    refusal: Exception | None,
    id: str | None,
) -> R:
    life = branch.life
    identity = await recalled.again(branch, _core.CALL, name, refusal)
    chosen = id or child_id(life, identity)
    outcome = await delivery.perform(life,
        WaitOperation(life, identity, _FOREVER, life.port.call, branch.path, name, identity[4],
        target.name, target.version,
                      chosen, params)
    )  # fmt: skip
    try:
        return child_output(life, target, chosen, outcome)
    except Undecodable as error:
        await stopping.unreadable(life, f'call "{name}" ({target.name}/{chosen})', error, name)


@enable_ki_protection
async def awaited(branch: Branch, child_id: str, target: Workflow[Any, R]) -> R:
    life = branch.life
    identity = branch.identify(_core.RESULT, child_id)
    outcome = await delivery.perform(
        life,
        WaitOperation(
            life,
            identity,
            _FOREVER,
            life.port.wait_child,
            branch.path,
            child_id,
            identity[4],
            target.name,
            child_id,
        ),
    )
    try:
        return child_output(life, target, child_id, outcome)
    except Undecodable as error:
        await stopping.unreadable(
            life, f"result of child {target.name}/{child_id}", error, child_id
        )


@enable_ki_protection
async def send(
    branch: Branch,
    name: str,
    target: str,
    id: str,
    type: str,
    payload: bytes | None,
    refusal: Exception | None,
) -> None:
    life = branch.life
    identity = await recalled.again(branch, _core.SEND, name, refusal)
    outcome = await delivery.perform(
        life,
        TicketOperation(
            life,
            identity,
            life.port.send,
            branch.path,
            name,
            identity[4],
            target,
            id,
            type,
            payload,
        ),
    )
    if outcome.verdict != _core.OK:
        lost = f'event "{type}" of {life.who} was not sent'
        error = error_of(outcome.type or "", workflow=target, id=id, lost=lost)
        raise blamed(error, identity)


def child_id(life: Life, identity: Identity) -> str:
    """Returns the id of a child that is given none: another in each incarnation, for what an
    earlier one created may be there yet (L6)."""
    return _derived(life.who.of(life.who.incarnation), identity)


def _derived(whose: str, identity: Identity) -> str:
    return str(uuid.uuid5(_CHILDREN, f"{whose}|{identity}"))


def raise_if_taken(outcome: Outcome, target: Workflow[Any, Any], id: str) -> None:
    if outcome.verdict != _core.OK:
        raise blamed(error_of(outcome.type or "", workflow=target.name, id=id), outcome.identity)


def child_output(life: Life, target: Workflow[Any, R], id: str, outcome: Outcome) -> R:
    """Returns what a child gave, as the version that ran says; or raises how it ended.

    Raises:
        Undecodable: That version is not here, or cannot read it.
    """
    if outcome.verdict == _core.OK:
        if outcome.payload is None:
            return None  # type: ignore[return-value]  # R is None then
        which, code, ran = f'workflow "{target.name}"', target, outcome.type
        if ran is not None and ran != target.version:  # None: it is a record of old
            which, code = f'version "{ran}" of {which}', life.port.reader(target.name, ran)
        if not code.has_code:
            raise Undecodable(
                f"{which} is not registered with this engine, and says what type it is"
            )
        return code.output.decode(outcome.payload, "output")  # type: ignore[no-any-return]  # it is an R
    info = error_info(codec.decode(outcome.payload)) if outcome.payload is not None else None
    word = outcome.type
    # of an error of the child's own, records of old name the version beside it
    if word in RECORDED and (info is None or word == _core.TERMINATED):
        of = life.who.namespace
        error = error_of(word, info, workflow=target.name, id=id, namespace=of)
        raise blamed(error, outcome.identity)
    text = f"{target.name}/{id} failed" + (f": {info}" if info else "")
    raise blamed(InstanceErrored(text, error=info), outcome.identity)


def value_bytes_of(life: Life, workflow: str) -> int:
    """Returns how large a value may be that is for an instance of this workflow, whoever gives
    it."""
    return life.port.most_bytes(life.port.limits_of(life.who.namespace, workflow).value_bytes)
