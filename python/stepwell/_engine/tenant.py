"""What can be asked of one namespace: a tenant's instances, its limits, its approvals.

An engine is such a tenant itself, of the namespace it was opened with, and hands out others. How
instances are created stands in `creating`, how they are found in `finding`, what is done to many in
`many`; none of it knows how an engine opens, or what instances do.
"""

from __future__ import annotations

from typing import Any, NoReturn, Unpack

from .._errors import InvalidConfig
from .._steps.signatures import LimitChanges
from .._steps.workflow import Workflow, name_sought
from .._types import STATUSES, AuditRow, BulkError, BulkResult, Limits, Page, Status
from .._values import names
from .._values.codec import codec
from .acting import by
from .answers import Cursors, audit_row
from .approvals import Approvals
from .bulks import Bulks
from .config import limit_values
from .creating import Creates
from .desk import Desk, Here, Order, Query
from .finding import Finds
from .many import Many
from .schedules import Schedules


class Tenant(Creates, Finds, Many, Schedules):
    """The methods that an engine and its namespaces share."""

    _namespace: str
    _desk: Desk

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{self!r} belongs to its process, which owns the store, and cannot be "
            "pickled. Pass data along instead."
        )

    # Limits.

    async def set_limits(
        self,
        workflow: Workflow[Any, Any] | str | None = None,
        *,
        actor: str | None = None,
        note: str | None = None,
        **changes: Unpack[LimitChanges],
    ) -> None:
        """Changes limits of this namespace, or of one workflow in it; durable and in force when
        this returns.

        What is set here wins over what the engine was opened with and over what code says, also
        after a restart, until it is cleared. A limit below what is in use drains down: nothing that
        runs is stopped, nothing that is queued is dropped.

        Args:
            workflow: A registered workflow, or its name; it may have `concurrency`,
                `queue_entries`, `steps` and `value_bytes`.
            actor: Who does it, for the audit: 1 to 256 characters.
            note: What there is to say to it, for the audit: at most 4,096 characters.
            changes: New values by the names of `Limits`; None clears what was set before. All of
                them or none.

        Raises:
            InvalidConfig: There is no such limit, its value is out of range, or nobody has heard of
                the workflow.
            EngineClosed: The engine is not open.
        """
        self._desk.check("engine.set_limits")
        name = name_sought(workflow)
        if not changes:
            raise InvalidConfig(
                f"set_limits was given nothing to change; give one of {', '.join(Limits._fields)}."
            )
        who = by(actor, note)
        await self._desk.set_limits(self._namespace, name, limit_values(changes), who)

    # Who did what.

    async def audit(
        self,
        *,
        workflow: Workflow[Any, Any] | str | None = None,
        id: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[AuditRow]:
        """Returns who did what, newest first: every operation that is not a read and changed
        something, but for creations and events. Rows are kept for 400 days.

        Args:
            workflow: Only what was done to this workflow, or its instances.
            id: Only what was done to its instance that has this id.
            limit: 1 to 1,000 rows.
            cursor: Where the page before ended. A page may have fewer rows than `limit`, or none,
                and a cursor all the same: 20,000 rows are looked at for each.

        Raises:
            InvalidConfig: There is an id without a workflow, the limit or the cursor is malformed.
            EngineClosed: The engine is not open.
        """
        self._desk.check("engine.audit")
        if id is not None and workflow is None:
            raise InvalidConfig(
                f"id={id!r:.120} is of no workflow; say of which: audit(workflow=…, id=…)."
            )
        name, id, limit = name_sought(workflow), names.sought(id, "id"), names.page_limit(limit)
        cursors = Cursors("audit", self._namespace, name, id)
        beyond = cursors.read(cursor)
        rows, searched_to = await self._desk.audit(self._namespace, name, id, beyond, limit)
        last = rows[-1].number if len(rows) == limit else searched_to
        return Page([audit_row(it) for it in rows], None if last is None else cursors.make(last))

    # Many.

    @property
    def bulk(self) -> Bulks:
        """What is done to many instances: list, get, stop."""
        return Bulks(self._desk, self._namespace)

    async def delete_all(
        self, *, confirm: str, actor: str | None = None, note: str | None = None
    ) -> BulkResult:
        """Removes this namespace with everything of it: instances in whatever state, with their
        histories, events and approvals; schedules; what was set by `set_limits` or
        `engine.namespace(limits=)`; what was done to many before. Nothing is undone.

        It is done part by part, as `bulk.get(id)` of what is returned says, and goes on whoever
        waits for it, also over restarts of the engine; until it has ended nothing can be created in
        the namespace or set for it. After that it is as one that nobody has ever used. What stays
        is the audit, for 400 days: of all that was done there, and of this. The names of the
        namespace and of its workflows leave the file when the engine opens next.

        Args:
            confirm: The name of the namespace, once more.
            actor: Who does it, for the audit: 1 to 256 characters.
            note: What there is to say to it, for the audit: at most 4,096 characters.

        Returns:
            Its id, how many instances it deleted, and those that could not be.

        Raises:
            InvalidConfig: `confirm` is not the name of this namespace. Nothing was deleted.
            InvalidState: It is being deleted already.
            EngineClosed: The engine is not open, or was closed meanwhile; the next one goes on.
        """
        self._desk.check("engine.delete_all")
        if confirm != self._namespace:
            raise InvalidConfig(
                f"delete_all(confirm={confirm!r:.120}): this namespace is {self._namespace!r}, and "
                "goes with everything of it only if its name is given. Nothing was deleted."
            )
        what: dict[str, Any] = {
            "ids": None, "query": Query(
                self._namespace, None, [], None, None, None, None, None, None, None, False, 1, []
            )._asdict(), "states": [], "text": None, "payload": None, "name": None, "rate": None,
            "undo": False,
        }  # fmt: skip
        order = Order(self._namespace, "delete_all", None, "everything", None, codec.encode(what))
        ended = await self._desk.do_to_many(order, by(actor, note))
        errors = [BulkError(*refused) for refused in ended.refused]
        return BulkResult(str(ended.number), ended.done, errors)

    # Approvals.

    @property
    def approvals(self) -> Approvals:
        """Requests for approval: list, approve, reject."""
        return Approvals(self._desk, self._namespace)


class LocalTenant(Tenant):
    """One of an engine in this process, which also answers from memory, at once."""

    _here: Here

    def peek(self, workflow: Workflow[Any, Any] | str, id: str) -> Status | None:
        """Returns the state of an instance that is not final, from memory; None if there is none in
        memory.

        Never waits, and may be called from any thread.

        Raises:
            EngineClosed: The engine is not open.
        """
        name, memory = (
            workflow.name if isinstance(workflow, Workflow) else workflow,
            self._here.memory(),
        )
        try:
            code = memory.peek(self._namespace, name, id)
        # to look at both before would take longer than all the rest (W7)
        except (TypeError, UnicodeEncodeError):
            code = memory.peek(
                self._namespace, name_sought(workflow) or "", names.sought(id, "id") or ""
            )
        return None if code is None else STATUSES[code]

    def limits(self, workflow: Workflow[Any, Any] | str | None = None) -> Limits:
        """Returns the limits that are in force, from memory.

        Args:
            workflow: Those of its instances; of `concurrency` the lesser of its own and the
                namespace's.

        Raises:
            EngineClosed: The engine is not open.
        """
        name = name_sought(workflow)
        return self._here.limits_of(self._namespace, name)


class Namespace(LocalTenant):
    """One tenant of an engine: instances, ids and limits of its own. Get it with
    `Engine.namespace`.

    Attributes:
        name: Its name.
    """

    def __init__(self, desk: Here, name: str) -> None:
        self._desk = self._here = desk
        self._namespace = self.name = name

    def __repr__(self) -> str:
        return f"<namespace {self.name!r} of {self._desk!r}>"
