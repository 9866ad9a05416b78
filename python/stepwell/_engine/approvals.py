"""`engine.approvals`: who is asked to approve what, and the decisions (rule E5)."""

from __future__ import annotations

from typing import Any, Literal, NoReturn, Unpack, overload

from .._body.branch import name_in
from .._core import APPROVALS
from .._errors import InvalidConfig
from .._steps.signatures import DecideOptions
from .._steps.workflow import Workflow, name_sought
from .._types import ApprovalRequest, BulkPreview, BulkResult, Page
from .._values import names
from .._values.codec import codec
from .._values.durations import from_us
from .answers import Cursors, Telling
from .desk import By, Desk, Request, Who
from .many import ManyOf


class Approvals:
    """Requests for approval of all instances of one namespace."""

    __slots__ = ("_desk", "_namespace")

    def __init__(self, desk: Desk, namespace: str) -> None:
        self._desk = desk
        self._namespace = namespace

    def __repr__(self) -> str:
        return f"<approvals of {self._desk!r}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{self!r} belongs to its process, which owns the store, and cannot be "
            "pickled. Pass data along instead."
        )

    async def list(
        self,
        workflow: Workflow[Any, Any] | str | None = None,
        status: Literal["open", "approved", "rejected", "timed_out", "withdrawn"] | None = "open",
        *,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[ApprovalRequest]:
        """Returns one page of requests, oldest first.

        Args:
            workflow: Only those of this workflow.
            status: Only those that stand there; None: all.
            limit: 1 to 1,000 rows.
            cursor: Where the page before ended, which was asked for with the same filters.

        Raises:
            InvalidConfig: The status is none, the limit is malformed, or the cursor is none of this
                listing.
            EngineClosed: The engine is not open.
        """
        self._desk.check("engine.approvals.list")
        if status is not None and status not in APPROVALS:
            raise InvalidConfig(
                f"status is {status!r}; give one of {', '.join(APPROVALS)}, or None for all."
            )
        name = name_sought(workflow)
        code = None if status is None else APPROVALS.index(status)
        limit, cursors = names.page_limit(limit), Cursors("approvals", self._namespace, name, code)
        found = await self._desk.approvals(self._namespace, name, code, cursors.read(cursor), limit)
        items = [_request(it) for it in found.rows]
        if found.searched_to is not None:
            searched_to = items[-1].asked_at if items else None
            return Page(items, cursors.make(found.searched_to[0]), searched_to)
        return Page(items, cursors.make(found.rows[-1].number) if len(items) == limit else None)

    async def approve(
        self,
        id: str,
        *,
        by: str,
        reason: str | None = None,
        metadata: Any = None,
        note: str | None = None,
    ) -> bool:
        """Approves; the decision is durable when this returns. It may come before the request.

        Args:
            id: The request's id: `workflow/instance#name#occurrence`. In a name "/", "#" and "["
                are written "[2F", "[23" and "[5B".
            by: Who decided, 1 to 256 characters.
            reason: Why.
            metadata: Storable data for the workflow.
            note: What there is to say to it, for the audit alone: at most 4,096 characters.

        Returns:
            Whether this was the first decision; a later one changes nothing.

        Raises:
            InstanceNotFound: There is no such instance.
            InvalidState: The instance is final.
            InvalidConfig: The id is none.
            NotSerializable: The metadata cannot be stored.
            TooLarge: The reason, the metadata, or the decision as a whole is over the limit for one
                value.
        """
        return await self._decide(id, True, by, reason, metadata, note)

    async def reject(
        self,
        id: str,
        *,
        by: str,
        reason: str | None = None,
        metadata: Any = None,
        note: str | None = None,
    ) -> bool:
        """Rejects; as `approve`."""
        return await self._decide(id, False, by, reason, metadata, note)

    @overload
    async def approve_all(
        self,
        workflow: Workflow[Any, Any] | str | None = None,
        *,
        by: str,
        name: str | None = None,
        reason: str | None = None,
        metadata: Any = None,
        dry_run: Literal[False] = False,
        **options: Unpack[DecideOptions],
    ) -> BulkResult: ...
    @overload
    async def approve_all(
        self,
        workflow: Workflow[Any, Any] | str | None = None,
        *,
        by: str,
        name: str | None = None,
        reason: str | None = None,
        metadata: Any = None,
        dry_run: Literal[True],
        **options: Unpack[DecideOptions],
    ) -> BulkPreview: ...
    async def approve_all(
        self,
        workflow: Workflow[Any, Any] | str | None = None,
        *,
        by: str,
        name: str | None = None,
        reason: str | None = None,
        metadata: Any = None,
        dry_run: bool = False,
        **options: Unpack[DecideOptions],
    ) -> BulkResult | BulkPreview:
        """Approves what many instances ask for now, as `approve` does one request; returns when
        that has ended. It is done as `Engine.pause` pauses many.

        Args:
            workflow: As there.
            by: Who decided, 1 to 256 characters; in the audit too.
            name: Only requests of this name.
            reason: Why.
            metadata: Storable data for the workflows.
            dry_run: As there; counted are instances, whether they ask for anything or not.
            options: Which instances, as there, but for their `reason`; and how fast.

        Raises:
            StepwellError: As there, and as `approve`.
        """
        return await self._decide_all(
            "approve", workflow, by, name, reason, metadata, dry_run, options
        )

    @overload
    async def reject_all(
        self,
        workflow: Workflow[Any, Any] | str | None = None,
        *,
        by: str,
        name: str | None = None,
        reason: str | None = None,
        metadata: Any = None,
        dry_run: Literal[False] = False,
        **options: Unpack[DecideOptions],
    ) -> BulkResult: ...
    @overload
    async def reject_all(
        self,
        workflow: Workflow[Any, Any] | str | None = None,
        *,
        by: str,
        name: str | None = None,
        reason: str | None = None,
        metadata: Any = None,
        dry_run: Literal[True],
        **options: Unpack[DecideOptions],
    ) -> BulkPreview: ...
    async def reject_all(
        self,
        workflow: Workflow[Any, Any] | str | None = None,
        *,
        by: str,
        name: str | None = None,
        reason: str | None = None,
        metadata: Any = None,
        dry_run: bool = False,
        **options: Unpack[DecideOptions],
    ) -> BulkResult | BulkPreview:
        """Rejects what many instances ask for now; as `approve_all`."""
        return await self._decide_all(
            "reject", workflow, by, name, reason, metadata, dry_run, options
        )

    async def _decide_all(
        self,
        operation: str,
        workflow: Workflow[Any, Any] | str | None,
        by: str,
        name: str | None,
        reason: str | None,
        metadata: Any,
        dry_run: bool,
        options: DecideOptions,
    ) -> BulkResult | BulkPreview:
        payload = self._encoded(name_sought(workflow), by, reason, metadata)
        if name is not None:
            names.step_name(name, "name")
        return await ManyOf(self._desk, self._namespace).do(
            f"engine.approvals.{operation}_all", operation, workflow, dry_run,
            {**options, "actor": by, "reason": None}, payload=payload, name=name,
        )  # fmt: skip

    async def _decide(
        self,
        id: str,
        approved: bool,
        by: str,
        reason: str | None,
        metadata: Any,
        note: str | None,
    ) -> bool:
        self._desk.check("engine.approvals.approve" if approved else "engine.approvals.reject")
        who, _, rest = id.partition("#") if isinstance(id, str) else ("", "", "")
        workflow, _, instance = who.partition("/")
        name, _, count = rest.rpartition("#")
        of = Who(self._namespace, workflow, instance)
        actor = By(by, names.note(note))
        if not (
            workflow and instance and _is_occurrence(count) and await self._is_one(id, of, name)
        ):
            raise InvalidConfig(
                f"approval id {id!r:.120} is none; they read workflow/instance#name#1, with "
                '"/", "#" and "[" of a name as "[2F", "[23" and "[5B"; approvals.list() has them.'
            )
        payload = self._encoded(workflow, by, reason, metadata)
        if (await self._desk.registry()).was_renamed(workflow):
            look = await self._desk.find(of, payloads=False)
            id = f"{look.born or look.workflow}/{instance}#{rest}"  # as its body asks
        return await self._desk.decide(id, of, name, approved=approved, decision=payload, by=actor)

    async def _is_one(self, id: str, of: Who, place: str) -> bool:
        """Whether a wait for approval can have this id. Instances of before the names in them were
        escaped ask under others, which nobody can know before."""
        name = name_in(place)
        if name is not None and len(name) <= names.STEP_NAME_MAX:
            return True
        if not place:
            return False
        look = await self._desk.find(of, payloads=False)
        return any(wait.approval == id for wait in look.open_waits)

    def _encoded(self, workflow: str | None, by: str, reason: str | None, metadata: Any) -> bytes:
        """Returns a decision as it is stored. Whatever is wrong with one of its parts is told of
        that."""
        if reason is not None and not isinstance(reason, str):
            raise InvalidConfig(f"reason is {reason!r:.120}; give text, or None.")
        limit = self._desk.value_bytes(self._namespace, workflow)
        decision = {"by": names.step_name(by, "by"), "reason": reason, "metadata": metadata}
        for part in ("reason", "metadata"):
            codec.encode(decision[part], limit=limit, where=part)
        return codec.encode(decision, limit=limit, where="decision")


def _is_occurrence(text: str) -> bool:
    """Whether a wait can have this number, written like this: an id that no wait can ever have is
    none."""
    return (
        text.isascii()
        and text.isdigit()
        and text[0] != "0"
        and len(text) <= 10
        and int(text) < 1 << 32
    )


def _request(it: Request) -> ApprovalRequest:
    telling = Telling(it.workflow, it.instance)
    told = telling.value(it.detail, "detail")
    return ApprovalRequest(
        it.id,
        it.workflow,
        it.instance,
        it.name,
        # what cannot be read is told as the error that it is
        told if telling.error is None else {"message": telling.error.message},
        None if it.asked_at is None else from_us(it.asked_at),
        None if it.until is None else from_us(it.until),
        APPROVALS[it.status],
    )
