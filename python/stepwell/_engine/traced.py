"""What is asked of instances, with the trace in which it is asked: from outside, and by bodies.

Both stand only where somebody is told (`_body.telemetry`); an engine, or a client, without pays
nothing for them. A trace goes around the value that is given, and from there on nobody knows of it
but whoever reads that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from .._errors import InstanceExists
from .._values.codec import codec

if TYPE_CHECKING:
    from .._body.telemetry import Telemetry, Told
    from .._core import Core
    from .._kinds import Kind
    from .desk import By, Code, Ended, Here, Made, NewItem, Order, Who
    from .schedule_rows import Plan, ScheduleRow


class TracedDesk:
    """See `Desk`; what is not here is passed on as it is."""

    def __init__(self, desk: Any, telemetry: Telemetry) -> None:
        self._desk = desk
        self._telemetry = telemetry

    def __getattr__(self, name: str) -> Any:
        return getattr(self._desk, name)

    def __repr__(self) -> str:
        return repr(self._desk)

    async def create(self, code: Code, item: NewItem, if_exists: str) -> tuple[int, str, bool]:
        """See `Desk.create`."""
        id, params, *rest = item
        made: tuple[int, str, bool] | InstanceExists
        with self._telemetry.asks("create", (code.namespace, code.workflow, id)) as carry:
            try:
                made = await self._desk.create(code, (id, carry(params), *rest), if_exists)
            except InstanceExists as error:
                if if_exists != "return_if_same":
                    raise
                made = error  # its params stand in another trace; whoever asked compares them
        if isinstance(made, InstanceExists):
            raise made
        return made

    async def create_batch(
        self, code: Code, items: list[NewItem], if_exists: str, *, waits: bool
    ) -> list[Made]:
        """See `Desk.create_batch`."""
        id = items[0][0] if len(items) == 1 else None
        count = 0 if len(items) == 1 else len(items)
        of = (code.namespace, code.workflow, id)
        with self._telemetry.asks("create", of, of_many=count) as carry:
            given = [(id, carry(params), *rest) for id, params, *rest in items]
            made: list[Made] = await self._desk.create_batch(code, given, if_exists, waits=waits)
        return made

    async def send_event(
        self, who: Who, kind: str, payload: bytes | None, dedup_id: str | None
    ) -> None:
        """See `Desk.send_event`."""
        with self._telemetry.asks("send", who, kind=kind) as carry:
            await self._desk.send_event(who, kind, carry(payload), dedup_id)

    async def request(
        self, who: Who, kind: str, payload: bytes | None, dedup_id: str, us: int
    ) -> bytes:
        """See `Desk.request`."""
        with self._telemetry.asks("request", who, kind=kind) as carry:
            answer: bytes = await self._desk.request(who, kind, carry(payload), dedup_id, us)
        return answer

    async def do_to_many(self, order: Order, by: By) -> Ended:
        """See `Desk.do_to_many`; of what can be done to many only events bring anything."""
        done: Ended
        if order.operation != "send_event":
            done = await self._desk.do_to_many(order, by)
            return done
        what = codec.decode(order.what)
        of = (order.namespace, order.workflow or "", None)
        with self._telemetry.asks("send", of, kind=what["text"], of_many=1) as carry:
            what["payload"] = carry(what["payload"])
            given = order._replace(what=codec.encode(what, limit=1 << 40))
            done = await self._desk.do_to_many(given, by)
        return done

    async def put_schedule(self, namespace: str, id: str, plan: Plan, by: By) -> ScheduleRow:
        """See `Desk.put_schedule`. Each firing is in a trace of its own, and says who put it."""
        with self._telemetry.asks("schedule", (namespace, plan.workflow, id), of_many=1) as carry:
            given = plan._replace(params=carry(plan.params))
            row: ScheduleRow = await self._desk.put_schedule(namespace, id, given, by)
        return row


def desk_in_trace(desk: Any, telemetry: Telemetry) -> Here:
    """Returns a desk that says in which trace it is asked."""
    return cast("Here", TracedDesk(desk, telemetry))


class TracedCore:
    """See `Core`; what is not here is passed on as it is."""

    def __init__(self, core: Core, told: Told) -> None:
        self._core = core
        self._told = told

    def __getattr__(self, name: str) -> Any:
        return getattr(self._core, name)

    def reopen(self) -> Core:
        """See `Core.reopen`."""
        return core_in_trace(self._core.reopen(), self._told)

    def call(
        self, no: int, incarnation: int, begun: int, branch: str, name: str, count: int,
        workflow: str, version: str, id: str, params: bytes | None,
    ) -> int:  # fmt: skip
        """See `Core.call`."""
        params = self._told.asks(no, "create", (workflow, id))(params)
        return self._core.call(
            no, incarnation, begun, branch, name, count, workflow, version, id, params
        )

    def create_child(
        self, no: int, incarnation: int, begun: int, branch: str, name: str, count: int,
        workflow: str, version: str, id: str, params: bytes | None, attributes: bytes | None,
        payload: bytes,
    ) -> int:  # fmt: skip
        """See `Core.create_child`."""
        params = self._told.asks(no, "create", (workflow, id))(params)
        return self._core.create_child(
            no, incarnation, begun, branch, name, count, workflow, version, id, params, attributes,
            payload,
        )  # fmt: skip

    def create_children(
        self, no: int, incarnation: int, begun: int, branch: str, name: str, count: int,
        workflow: str, version: str, items: Any, payload: bytes,
    ) -> int:  # fmt: skip
        """See `Core.create_children`."""
        carry = self._told.asks(no, "create", (workflow, ""), of_many=len(items))
        made = [(id, carry(params), attributes) for id, params, attributes in items]
        return self._core.create_children(
            no, incarnation, begun, branch, name, count, workflow, version, made, payload
        )

    def continue_as_new(
        self, no: int, incarnation: int, params: bytes | None, run: int,
        limit: tuple[Kind, str, str, str | None, int] | None, untold: list[int], passed: list[int],
    ) -> None:  # fmt: skip
        """See `Core.continue_as_new`."""
        params = self._told.renewed(no)(params)
        self._core.continue_as_new(no, incarnation, params, run, limit, untold, passed)

    def send(
        self, no: int, incarnation: int, begun: int, branch: str, name: str, count: int,
        workflow: str, id: str, type: str, payload: bytes | None,
    ) -> int:  # fmt: skip
        """See `Core.send`."""
        payload = self._told.asks(no, "send", (workflow, id), kind=type)(payload)
        return self._core.send(
            no, incarnation, begun, branch, name, count, workflow, id, type, payload
        )


def core_in_trace(core: Core, told: Told) -> Core:
    """Returns a core to which bodies say in which trace they ask."""
    return cast("Core", TracedCore(core, told))
