"""Finds instances and looks at them: one by its id, pages of those that filters choose, how many
there are and why they are where they are. Nothing in here changes anything."""

from __future__ import annotations

import builtins
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any, TypeVar, overload

from trio.lowlevel import checkpoint

from .._core import CONCURRENCY, NAMESPACE_CONCURRENCY, SLOTS
from .._errors import InvalidConfig
from .._steps.workflow import Workflow, name_sought
from .._types import (
    STATUSES,
    Change,
    Chunk,
    InstanceSummary,
    Page,
    QueueExplanation,
    ReasonCount,
    SlotHolder,
    Status,
    StatusName,
    VersionCount,
)
from .._values import names
from .._values.codec import codec
from .._values.durations import from_us, instant_us
from . import counted
from .answers import Cursors, audit_row, state_codes, summary
from .desk import Desk, Query, Who
from .instance import Instance
from .queueing import HOLDERS_MAX, Account, explained

R = TypeVar("R")


class Finds:
    """The methods of an engine and its namespaces that find instances."""

    _namespace: str
    _desk: Desk

    @overload
    async def get(self, workflow: Workflow[Any, R], id: str) -> Instance[R]: ...
    @overload
    async def get(self, workflow: str, id: str) -> Instance[Any]: ...
    async def get(self, workflow: Workflow[Any, Any] | str, id: str) -> Instance[Any]:
        """Returns an instance by id.

        Args:
            workflow: A registered workflow, of whatever version, or a name. The instance's values
                are read with the code of its own version; of one without code it can be looked at,
                and its values are plain data.
            id: The instance's id.

        Raises:
            InstanceNotFound: There is none.
            InvalidConfig: The workflow is not registered.
            InvalidName: The name or the id is malformed.
            EngineClosed: The engine is not open.
        """
        self._desk.check("engine.get")
        code = await self._desk.readers()
        target = code.known(workflow)
        found = await self._desk.find(
            Who(self._namespace, target.name, names.instance_id(id)), payloads=False
        )
        return Instance(
            self._desk,
            self._namespace,
            target.name,
            id,
            found.no,
            code.reads(target, found.version),
        )

    async def list(
        self,
        workflow: Workflow[Any, Any] | str | None = None,
        *,
        status: Status | StatusName | Sequence[Status | StatusName] | None = None,
        version: str | None = None,
        reason: str | ReasonCount | None = None,
        attributes: Mapping[str, Any] | None = None,
        parent: str | tuple[Workflow[Any, Any] | str, str] | None = None,
        id_prefix: str | None = None,
        schedule: str | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        limit: int = 50,
        cursor: str | None = None,
        newest_first: bool = True,
    ) -> Page[InstanceSummary]:
        """Returns one page of instances, by time of creation.

        No page looks at more than 20,000 instances that are not asked for: one that would have to
        ends there, and says so (`Page.searched_to`). What is created or deleted between two pages
        moves no other instance from one to the next.

        Args:
            workflow: Only instances of this workflow.
            status: Only these states, at least one.
            version: Only this version.
            reason: Only instances that are where they are for this reason: its code, or a row of
                `reasons`, whose workflow and version need not be given again. Of those that
                errored, those of the last 24 hours.
            attributes: Only instances with all of these attributes.
            parent: Only children of the instance with this id, or of (workflow, id).
            id_prefix: Only instances whose ids begin like this.
            schedule: Only instances that the schedule with this id created.
            created_after: Created at or after this aware datetime.
            created_before: Created before it.
            limit: 1 to 1,000 rows.
            cursor: Where the page before ended, which was asked for with the same filters.
            newest_first: False: oldest first.

        Raises:
            InvalidConfig: A filter or the limit is malformed, the cursor is of another listing, or
                nobody has heard of the workflow.
            EngineClosed: The engine is not open.
        """
        self._desk.check("engine.list")
        limit = names.page_limit(limit)
        if attributes is not None and not isinstance(attributes, dict):
            raise InvalidConfig(
                f"attributes={attributes!r:.120} is not a dict of those that instances must have"
            )
        pairs = (
            [(key, codec.encode(value)) for key, value in names.attributes(attributes).items()]
            if attributes
            else []
        )
        if isinstance(workflow, Workflow):
            workflow = (await self._desk.readers()).registered(workflow)
        why = counted.sought(reason, workflow, version)
        name = await self._known(why.workflow)
        asked = (
            self._namespace,
            name,
            state_codes(status),
            why.version,
            why.reason,
            await self._parent(parent),
            names.sought(id_prefix, "id_prefix") or None,
            None if created_after is None else instant_us(created_after, "created_after"),
            None if created_before is None else instant_us(created_before, "created_before"),
        )
        of = names.sought(schedule, "schedule")
        cursors = Cursors(asked, newest_first, pairs, *([of] if of else []))
        found = await self._desk.page(
            Query(*asked, cursors.read(cursor), newest_first, limit, pairs, of)
        )
        items = [summary(row) for row in found.rows]
        if found.searched_to is not None:
            number, at = found.searched_to
            return Page(items, cursors.make(number), from_us(at))
        return Page(items, cursors.make(found.rows[-1].no) if len(items) == limit else None)

    async def _parent(
        self, parent: str | tuple[Workflow[Any, Any] | str, str] | None
    ) -> tuple[str | None, str] | None:
        """Returns whose children are asked for."""
        if parent is None or isinstance(parent, str):
            id = names.sought(parent, "parent")
            return None if id is None else (None, id)
        if not isinstance(parent, tuple) or len(parent) != 2:
            raise InvalidConfig(
                f"parent={parent!r:.120} is no instance; give its id, or (workflow, id)."
            )
        return await self._known(parent[0]), names.sought(parent[1], "parent") or ""

    def changes(
        self, *, cursor: str | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[Change]]:
        """Follows all instances: `async with engine.changes() as changes: async for change in
        changes: …`. Each that is new or in another state is told with the state that it is in when
        somebody looks; states between may be skipped.

        Of 65,536 instances it is known when they changed last, and after a restart of what the last
        4,096 commits changed that changed any. Whoever comes with an older cursor, or one of
        another store, is told "reset", and then what comes from there on: what it follows it has to
        look at anew.

        Args:
            cursor: Of the last change that was read; None: what comes from now on.

        Raises:
            InvalidConfig: The cursor is none.
            EngineClosed: The engine is not open; from the loop: it was closed or drained.
        """
        self._desk.check("engine.changes")
        return self._desk.all_changes(self._namespace, cursor)

    def stream(
        self, workflow: Workflow[Any, Any] | str, id: str, name: str, *, cursor: str | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[Chunk]]:
        """Reads what an instance sends in a stream, as `Instance.stream`: `async with
        engine.stream(write, "i1", "answer") as chunks: async for chunk in chunks: …`.

        Args:
            workflow: Its workflow, or the name of that.
            id: The instance's id.
            name: Of the stream.
            cursor: Of the last chunk that was read; None: all.

        Raises:
            InvalidName: A name or the id is malformed.
            InvalidConfig: The cursor is none.
            InstanceNotFound: On entering: there is none; from the loop: it is gone.
            EngineClosed: The engine is not open; from the loop: it was closed or drained.
        """
        self._desk.check("engine.stream")
        who = Who(self._namespace, name_sought(workflow) or "", names.instance_id(id))
        return self._desk.chunks(who, names.step_name(name), cursor)

    async def count(
        self,
        workflow: Workflow[Any, Any] | str | None = None,
        *,
        status: Status | StatusName | None = None,
    ) -> dict[Status, int]:
        """Returns how many instances are in each state; every state is a key. From memory, as
        committed last.

        Raises:
            InvalidConfig: The status is none, or nobody has heard of the workflow.
            EngineClosed: The engine is not open.
        """
        self._desk.check("engine.count")
        await checkpoint()  # a program that asks in a loop lets the engine go on
        name = await self._known(workflow)
        wanted = set(state_codes(status)) or set(range(len(STATUSES)))
        found = dict(await self._desk.counts(self._namespace, name))
        return {
            state: found.get(code, 0) if code in wanted else 0
            for code, state in enumerate(STATUSES)
        }

    async def queue(self, workflow: Workflow[Any, Any] | str) -> QueueExplanation:
        """Says why instances of a workflow are queued: which limit holds them up and who set it,
        who has had its slots longest and in which step, how fast slots come back.

        Args:
            workflow: Whose queue.

        Raises:
            InvalidConfig: Nobody has heard of the workflow.
            EngineClosed: The engine is not open.
        """
        self._desk.check("engine.queue")
        name = await self._known(workflow) or ""
        reasons = await self._desk.reasons(self._namespace, name)
        slots, leased, per_minute = await self._desk.slots(self._namespace, name)
        accounts = {SLOTS: Account(leased[0], slots)}
        for code, of, used in (
            (NAMESPACE_CONCURRENCY, None, leased[1]),
            (CONCURRENCY, name, leased[2]),
        ):
            most = (await self._desk.limits(self._namespace, of)).concurrency
            accounts[code] = Account(used, most, *await self._set_by(of))
        held_by = next((it.code for it in reasons if it.status is Status.QUEUED), None)
        holders = []
        if held_by is not None:
            holders = await self._holders(name if held_by == CONCURRENCY else None)
        return explained(name, reasons, accounts, holders, per_minute)

    async def _set_by(self, workflow: str | None) -> tuple[str | None, datetime | None]:
        """Returns who set the concurrency of a workflow, or of this namespace, last, and when."""
        rows, _ = await self._desk.audit(self._namespace, workflow, None, None, names.PAGE_MAX)
        for row in map(audit_row, rows):
            is_it = row.operation == "set_limits" and row.workflow == workflow
            if is_it and "concurrency" in row.result:
                return row.actor, row.at
        return None, None

    async def _holders(self, workflow: str | None) -> builtins.list[SlotHolder]:
        """Returns who has had a slot longest, of the thousand oldest that run."""
        running = [STATUSES.index(Status.RUNNING), STATUSES.index(Status.WAITING_FOR_PAUSE)]
        found = await self._desk.page(
            Query(
                self._namespace, workflow, running, None, None, None, None, None, None, None,
                newest_first=False, limit=names.PAGE_MAX, attributes=(),
            )
        )  # fmt: skip
        longest = sorted(found.rows, key=lambda it: it.updated_at)[:HOLDERS_MAX]
        holders = []
        for it in longest:
            who = Who(self._namespace, it.workflow, it.id)
            lines = await self._desk.history(who, it.no)
            steps = tuple(line.name for line in lines if line.status == "running")
            holders.append(SlotHolder(it.workflow, it.id, from_us(it.updated_at), steps))
        return holders

    async def versions(
        self, workflow: Workflow[Any, Any] | str | None = None
    ) -> builtins.list[VersionCount]:
        """Returns how many instances of each version are in each state: of every version that any
        instance has, and of those registered, which come last. From memory, as committed last.

        A version that is not registered and of which all have ended is not needed any more.

        Args:
            workflow: Only versions of this workflow.

        Raises:
            InvalidConfig: Nobody has heard of the workflow.
            EngineClosed: The engine is not open.
        """
        self._desk.check("engine.versions")
        await checkpoint()  # a program that asks in a loop lets the engine go on
        name, code = await self._known(workflow), await self._desk.readers()
        counts = {
            (of, version): states
            for of, version, states in await self._desk.versions(self._namespace, name)
        }
        for it in code:
            if name in (None, it.name):
                counts.setdefault((it.name, it.version), [0] * len(STATUSES))
        return [
            VersionCount(
                of,
                version,
                code.version(of, version) is not None,
                dict(zip(STATUSES, states, strict=True)),
            )
            for (of, version), states in counts.items()
        ]

    async def reasons(
        self, workflow: Workflow[Any, Any] | str | None = None
    ) -> builtins.list[ReasonCount]:
        """Returns why instances are where they are, the most frequent reason first: those that are
        blocked, paused, queued, waiting, or have a step that retries, and those that errored in the
        last 24 hours, by the hour. An instance that waits for several things is counted once: by
        the step that retries, or by what it has waited for longest.

        Counted as instances change, so it may be asked ten times a second. A workflow with more
        than 1,000 reasons, by the names of its steps, say, has the others in one row, "other".

        Args:
            workflow: Only instances of this workflow.

        Raises:
            InvalidConfig: Nobody has heard of the workflow.
            EngineClosed: The engine is not open.
        """
        self._desk.check("engine.reasons")
        return await self._desk.reasons(self._namespace, await self._known(workflow))

    async def _known(self, workflow: Workflow[Any, Any] | str | None) -> str | None:
        """Returns a workflow's name, with code or without; one that neither the engine nor its
        store has is a slip of the pen."""
        name, code = name_sought(workflow), await self._desk.readers()
        if name is not None and name not in code and not await self._desk.counts(None, name):
            raise InvalidConfig(
                f'no workflow "{name}" is registered with this engine, and its store has no '
                f"instance of one; check the name (registered: {code})."
            )
        return name
