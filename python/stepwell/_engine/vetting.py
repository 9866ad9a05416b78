"""What a client asks for is vetted before it is done: its values have the right types by then
(`wire`), and here they have to mean something, as the methods of the public API see to in the
engine's own process."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from .._errors import InvalidConfig
from .._types import STATUSES
from .._values import names
from .._values.codec import Undecodable, as_plain, codec, too_large
from .._values.durations import to_us
from .._values.envelope import without_trace
from .desk import By, Code, Order, Query, Set, Who
from .many import RATE_MAX
from .schedule_times import check_range, checked

if TYPE_CHECKING:
    from collections.abc import Callable

    from .desk import Here, NewItem
    from .schedule_rows import Plan
    from .wire import Call

_TO_MANY = (
    "pause", "resume", "terminate", "retry_now", "restart", "delete", "send_event", "approve",
    "reject", "delete_all",
)  # fmt: skip
_TEXT_MAX = 8_192
_FAR = 1 << 62


def vet(desk: Here, call: Call, args: list[Any]) -> None:
    """Returns if a call may be made.

    Raises:
        StepwellError: It means nothing; of the same class as from the method that would say so.
    """
    by_name = {name: it for (name, _, _), it in zip(call.parameters, args, strict=True)}
    for it in args:
        if (check := _BY_CLASS.get(type(it))) is not None:
            check(it)
        elif isinstance(it, str) and len(it) > _TEXT_MAX:
            raise InvalidConfig(f"{call.name}: text of {len(it):,} characters")
        elif isinstance(it, int) and not -_FAR < it < _FAR * 2:
            raise InvalidConfig(f"{call.name}: {it} is out of range")
    namespace = by_name.get("namespace")
    if namespace is not None:
        names.workflow_name(namespace, "namespace")
    if "limit" in by_name:
        names.whole(by_name["limit"], 0, names.PAGE_MAX, "limit")
    code = by_name.get("code")
    if isinstance(code, Code):
        _vet_creation(desk, code, by_name)
    elif call.name in ("send_event", "request"):
        names.event_type(by_name["kind"])
        if by_name["dedup_id"] is not None:
            names.step_name(by_name["dedup_id"], "dedup_id")
        who: Who = by_name["who"]
        _vet_value(by_name["payload"], "payload", desk.most_bytes(who.namespace, who.workflow))
    elif call.name == "decide":
        of: Who = by_name["of"]
        _vet_value(by_name["decision"], "decision", desk.value_bytes(of.namespace, of.workflow))
    elif call.name == "resolve":
        stuck: Who = by_name["who"]
        outcome: Set = by_name["outcome"]
        _vet_value(outcome.payload, "value", desk.most_bytes(stuck.namespace, stuck.workflow))
    elif call.name == "set_priority":
        names.priority(by_name["priority"])
    elif call.name == "resume" and by_name["to_version"] is not None:
        names.step_name(by_name["to_version"], "to_version")
    elif call.name.endswith("_schedule") or call.name == "firings":
        names.instance_id(by_name["id"], "schedule id")
        if call.name == "put_schedule":
            _vet_plan(desk, by_name["namespace"], by_name["plan"])
        elif call.name == "backfill_schedule":
            check_range(by_name["start"], by_name["end"], desk.now())


def _vet_creation(desk: Here, code: Code, given: dict[str, Any]) -> None:
    if desk.code.version(code.workflow, code.version) is None:
        raise InvalidConfig(
            f'version "{code.version}" of workflow "{code.workflow}" is not registered with this '
            f"engine (registered: {desk.code}). Pass it in Engine(workflows=[…])."
        )
    if given["if_exists"] not in ("raise", "return", "return_if_same"):
        raise InvalidConfig(f"if_exists is {given['if_exists']!r:.120}.")
    most = desk.most_bytes(code.namespace, code.workflow)
    items: list[NewItem] = given["items"] if "items" in given else [given["item"]]
    names.batch_size(len(items))
    for id, params, priority, start_at, attributes, keep in items:
        names.instance_id(id)  # a repeat of the call is known by it
        names.priority(priority)
        _vet_value(params, "params", most)
        for moment in (start_at, *(keep or ())):
            if moment is not None and not 0 <= moment < _FAR:
                raise InvalidConfig(f"{moment} is no number of microseconds that a clock can show.")
        if attributes is not None:
            names.attributes(as_plain(attributes))


def _vet_plan(desk: Here, namespace: str, plan: Plan) -> None:
    if plan.version is None:
        desk.code.registered(plan.workflow)
    elif desk.code.version(plan.workflow, plan.version) is None:
        raise InvalidConfig(
            f'version "{plan.version}" of workflow "{plan.workflow}" is not registered with this '
            f"engine (registered: {desk.code}). Pass it in Engine(workflows=[…])."
        )
    when = plan.when if isinstance(plan.when, str) else timedelta(microseconds=plan.when)
    if checked(when, plan.timezone) != plan.when:
        raise InvalidConfig(f"when={plan.when!r:.300} is not spelled as a schedule keeps it.")
    to_us(timedelta(microseconds=plan.jitter), "jitter")
    _vet_value(plan.params, "params", desk.value_bytes(namespace, plan.workflow))


def _vet_value(data: bytes | None, what: str, most: int) -> None:
    data = without_trace(data)
    if data is None:
        return
    if len(data) > most:
        raise too_large(data, most, what)
    try:
        codec.decode(data)
    except Undecodable as error:
        raise InvalidConfig(f"{what} cannot be read: {error}") from None


def _vet_who(who: Who) -> None:
    names.workflow_name(who.namespace, "namespace")
    names.workflow_name(who.workflow)
    names.instance_id(who.id)


def _vet_code(code: Code) -> None:
    names.workflow_name(code.namespace, "namespace")
    names.workflow_name(code.workflow)


def _vet_by(by: By) -> None:
    names.actor(by.actor)
    names.note(by.note)


def _vet_query(query: Query) -> None:
    names.workflow_name(query.namespace, "namespace")
    names.page_limit(query.limit)
    if any(not 0 <= it < len(STATUSES) for it in query.states):
        raise InvalidConfig(f"{query.states} are no states.")
    reason = query.reason
    if reason is not None and reason.alike is not None:
        state, *alike = reason.alike
        if state is not None and not 0 <= state < len(STATUSES):
            raise InvalidConfig(f"{state} is no state.")
    else:
        alike = []
    code = None if reason is None else reason.code
    texts = (query.workflow, query.version, code, query.id_prefix, query.schedule, *alike)
    for text in (*texts, *(query.parent or ())):
        names.sought(text, "filter")
    for number in (query.created_after, query.created_before, query.beyond):
        if number is not None and not -_FAR < number < _FAR * 2:
            raise InvalidConfig(f"{number} is out of range.")


def _vet_order(order: Order) -> None:
    """What is stored of it an engine may have to go on with that starts tomorrow."""
    names.workflow_name(order.namespace, "namespace")
    if order.operation not in _TO_MANY:
        raise InvalidConfig(f"{order.operation!r:.120} is nothing that is done to many.")
    if order.workflow is not None:
        names.workflow_name(order.workflow)
    names.note(order.filter)
    what = as_plain(order.what)
    match what:
        case {
            "ids": list() | None as ids,
            "query": dict() | None as query,
            "states": list() as states,
            "text": str() | None as text,
            "payload": bytes() | None,
            "name": str() | None,
            "rate": float() | None as rate,
            "undo": bool() as undo,
        } if (
            len(what) == 8
            and (ids is None) != (query is None)
            and (not undo or order.operation == "terminate")
        ):
            pass
        case _:
            raise InvalidConfig("this order is none: it says not what is to be done, or to whom.")
    if order.operation == "resume" and text is not None:
        names.step_name(text, "to_version")
    if ids is not None:
        names.batch_size(len(ids))
        for id in ids:
            names.instance_id(id)
    if query is not None:
        _vet_query(_query_of(query))
    if rate is not None and not 0 < rate <= RATE_MAX:
        raise InvalidConfig(f"rate is {rate}.")
    if any(type(it) is not int or not 0 <= it < len(STATUSES) for it in states):
        raise InvalidConfig(f"{states} are no states.")


def _query_of(stored: dict[str, Any]) -> Query:
    from .wire import Garbled, form_of

    if stored.keys() != set(Query._fields):
        raise InvalidConfig("this order is none: it says not who they are.")
    try:
        query: Query = form_of(Query).unpack([stored[name] for name in Query._fields])
    except Garbled as error:
        raise InvalidConfig(f"this order is none: it {error}.") from None
    return query


_BY_CLASS: dict[type, Callable[[Any], None]] = {
    Who: _vet_who,
    Code: _vet_code,
    By: _vet_by,
    Query: _vet_query,
    Order: _vet_order,
}
