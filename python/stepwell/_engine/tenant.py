"""What can be asked of one namespace: a tenant's instances, its limits, its approvals.

An engine is such a tenant itself, of the namespace it was opened with, and hands out others. All of
it checks what callers give, encodes it, and hands it to the driver; it knows neither how an engine
opens nor what instances do.
"""

from __future__ import annotations

import builtins
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any, Generic, NamedTuple, NoReturn, TypeVar, Unpack, overload

from trio.lowlevel import checkpoint

from .._codes import error_of
from .._core import CONCURRENCY, NAMESPACE_CONCURRENCY, SAME_ID_OTHER_PARAMS, SLOTS
from .._errors import InstanceExists, InvalidConfig, StepwellError
from .._operations.child import encode_params
from .._steps.retention import Retention, own_keep
from .._steps.signatures import (
    BatchOptions,
    CreateOptions,
    Given,
    IfExists,
    LimitChanges,
    OnOverload,
)
from .._steps.workflow import Workflow, name_sought
from .._types import (
    STATUSES,
    AuditRow,
    BatchError,
    Change,
    InstanceSummary,
    Limits,
    NewInstance,
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
from .._values.same import same
from .acting import by
from .answers import Cursors, audit_row, state_codes, summary
from .approvals import Approvals
from .bulks import Bulks
from .config import check_if_exists, check_on_overload, limit_values
from .desk import Code, Desk, NewItem, Query, Who
from .instance import Instance
from .look import Look
from .many import Many
from .queueing import HOLDERS_MAX, Account, explained

_IF_SAME = "return_if_same"
P = TypeVar("P")
R = TypeVar("R")


class BatchResult(NamedTuple, Generic[R]):
    """What `create_batch` did: instances in the order of the items that were created, and the
    errors of the others."""

    created: list[Instance[R]]
    errors: list[BatchError]


class Tenant(Many):
    """The methods that an engine and its namespaces share."""

    _namespace: str
    _desk: Desk

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{self!r} belongs to its process, which owns the store, and cannot be "
            "pickled. Pass data along instead."
        )

    # Create.

    @overload
    async def create(
        self, workflow: Workflow[None, R], params: None = None, **options: Unpack[CreateOptions]
    ) -> Instance[R]: ...
    @overload
    async def create(
        self, workflow: Workflow[P, R], params: Given[P], **options: Unpack[CreateOptions]
    ) -> Instance[R]: ...
    @overload
    async def create(
        self, workflow: str, params: Any = None, **options: Unpack[CreateOptions]
    ) -> Instance[Any]: ...
    async def create(
        self,
        workflow: Workflow[Any, Any] | str,
        params: Any = None,
        *,
        id: str | None = None,
        priority: int = 0,
        start_at: datetime | None = None,
        retention: Retention | None = None,
        attributes: Mapping[str, Any] | None = None,
        if_exists: IfExists = "raise",
        on_overload: OnOverload = "raise",
    ) -> Instance[Any]:
        """Creates an instance; it is durable when this returns, and runs as soon as it has a slot.

        Args:
            workflow: A registered workflow, or its name (its last version).
            params: What it starts with; stored. Left out (or None) it is the default of the
                workflow's function, if that has one.
            id: 1 to 100 characters; default: a UUIDv7. Unique per workflow as long as the instance
                is kept.
            priority: -100 to 100; higher goes first.
            start_at: Not before this aware datetime.
            retention: How long it is kept after its end, whatever its workflow says; None: as that
                or the engine says. `Retention(success=None, error=None)` keeps it until it is
                deleted.
            attributes: At most 32 small values to list by.
            if_exists: "raise", "return" the one there is, or "return_if_same": that one if its
                params are the same, read as the type they have today, in whatever bytes they are
                stored. An id that is taken is told so whatever the limits are. One that was there
                keeps its version, and its output is read with the code of that.
            on_overload: "raise" refuses at once what does not fit; "wait" waits until it is let in,
                before everybody who does not wait. One that is cancelled before it is let in is
                never created, and cancelled only once that is certain.

        Raises:
            InstanceExists: The id is taken.
            InvalidName: The id is malformed.
            InvalidConfig: The workflow is not registered, or an argument is out of range.
            NotSerializable: The params cannot be stored.
            TooLarge: They are over the limit for one value.
            Overloaded: A rate or queue limit, or the disk is full; nothing was created.
                `retry_after` is a moment of the caller's own if it gave an id, otherwise others may
                be faster; `on_overload="wait"` is the sure way.
            EngineClosed: The engine is not open, or drained while this call waited; nothing was
                created.
        """
        desk = self._desk
        desk.check_admits("engine.create")
        target = desk.code.registered(workflow)
        check_if_exists(if_exists)
        check_on_overload(on_overload)
        item = NewInstance(params, id, priority, start_at, retention, attributes)
        prepared = self._prepared(
            target, item, desk.limits_of(self._namespace, target.name).value_bytes
        )
        code = Code(self._namespace, target.name, target.version)
        if on_overload == "wait":
            [(refused, no, known_id, created, status)] = await desk.create_batch(
                code, [prepared], if_exists, waits=True
            )
            if refused and not await self._is_there(target, prepared, refused):
                raise error_of(
                    refused,
                    (no, status),
                    workflow=target.name,
                    id=known_id,
                    namespace=self._namespace,
                )
        else:
            try:
                no, known_id, created = await desk.create(code, prepared, if_exists)
            except InstanceExists:
                look = await self._same(target, prepared) if if_exists == _IF_SAME else None
                if look is None:
                    raise
                no, known_id, created = look.no, look.id, False
        return Instance(
            desk, self._namespace, target.name, known_id, no, target if created else None
        )

    async def _is_there(self, target: Workflow[Any, Any], item: NewItem, refused: str) -> bool:
        """Whether one that was refused may count as the one that is there."""
        return refused == SAME_ID_OTHER_PARAMS and await self._same(target, item) is not None

    async def _same(self, target: Workflow[Any, Any], item: NewItem) -> Look | None:
        """Returns the instance that is there, if its params are the same, though in other bytes
        than those that were given; the core has compared the bytes."""
        id, params, *_ = item
        assert id is not None, "one without an id is always new"
        look = await self._desk.find(Who(self._namespace, target.name, id))
        return look if same(target.params, look.params, params) else None

    def _prepared(
        self, target: Workflow[Any, Any], item: NewInstance[Any], value_bytes: int
    ) -> NewItem:
        return (
            None if item.id is None else names.instance_id(item.id),
            encode_params(target, item.params, value_bytes),
            names.priority(item.priority),
            None if item.start_at is None else instant_us(item.start_at, "start_at"),
            codec.encode(names.attributes(item.attributes)) if item.attributes else None,
            own_keep(item.retention),
        )

    @overload
    async def create_batch(
        self,
        workflow: Workflow[P, R],
        items: Sequence[Given[P] | NewInstance[P]],
        **options: Unpack[BatchOptions],
    ) -> BatchResult[R]: ...
    @overload
    async def create_batch(
        self, workflow: str, items: Sequence[Any], **options: Unpack[BatchOptions]
    ) -> BatchResult[Any]: ...
    async def create_batch(
        self,
        workflow: Workflow[Any, Any] | str,
        items: Sequence[Any],
        *,
        if_exists: IfExists = "raise",
        on_overload: OnOverload = "raise",
    ) -> BatchResult[Any]:
        """Creates up to 10,000 instances in one durable commit. A bad item fails alone.

        Args:
            workflow: A registered workflow, or its name.
            items: 1 to 10,000 params or `NewInstance`s.
            if_exists: As `create`.
            on_overload: "raise" refuses a batch that does not fit as a whole; "wait" waits until
                all of it is let in, before everybody who does not wait. One that is cancelled
                before that is never created.

        Returns:
            The instances in the order of their items, and the errors with the index of theirs.

        Raises:
            InvalidConfig: Too few or too many items, or the workflow is not registered.
            Overloaded: It does not fit, or the disk is full; none of it was created. With "wait":
                it never will fit.
            EngineClosed: The engine is not open, or drained while this call waited; none of it was
                created.
        """
        desk = self._desk
        desk.check_admits("engine.create_batch")
        target = desk.code.registered(workflow)
        names.check_batch(items)
        check_if_exists(if_exists)
        check_on_overload(on_overload)
        value_bytes = self.limits(target).value_bytes
        prepared, indexes, errors = [], [], []
        for index, item in enumerate(items):
            item = item if isinstance(item, NewInstance) else NewInstance(item)
            try:
                prepared.append(self._prepared(target, item, value_bytes))
                indexes.append(index)
            except StepwellError as error:
                errors.append(
                    BatchError(index, item.id if isinstance(item.id, str) else None, error)
                )
        created: list[Instance[Any]] = []
        if prepared:
            code = Code(self._namespace, target.name, target.version)
            made = await desk.create_batch(code, prepared, if_exists, waits=on_overload == "wait")
            for given, index, (refused, no, id, is_new, status) in zip(
                prepared, indexes, made, strict=True
            ):
                if refused and not await self._is_there(target, given, refused):
                    errors.append(
                        BatchError(
                            index,
                            id,
                            error_of(
                                refused,
                                (no, status),
                                workflow=target.name,
                                id=id,
                                namespace=self._namespace,
                            ),
                        )
                    )
                else:
                    created.append(
                        Instance(
                            desk, self._namespace, target.name, id, no, target if is_new else None
                        )
                    )
        return BatchResult(created, sorted(errors, key=lambda e: e.index))

    @overload
    async def call(
        self, workflow: Workflow[None, R], params: None = None, **options: Unpack[CreateOptions]
    ) -> R: ...
    @overload
    async def call(
        self, workflow: Workflow[P, R], params: Given[P], **options: Unpack[CreateOptions]
    ) -> R: ...
    @overload
    async def call(
        self, workflow: str, params: Any = None, **options: Unpack[CreateOptions]
    ) -> Any: ...
    async def call(
        self,
        workflow: Workflow[Any, Any] | str,
        params: Any = None,
        *,
        id: str | None = None,
        priority: int = 0,
        start_at: datetime | None = None,
        retention: Retention | None = None,
        attributes: Mapping[str, Any] | None = None,
        if_exists: IfExists = "return",
        on_overload: OnOverload = "raise",
    ) -> Any:
        """Creates an instance, or attaches to the one with this id, and returns its output.

        Args:
            workflow: A registered workflow, or its name.
            params: What it starts with, if it is new.
            id: Default: a new one.
            priority: As `create`.
            start_at: As `create`.
            retention: As `create`.
            attributes: As `create`.
            if_exists: As `create`, but "return" unless given.
            on_overload: As `create`.

        Raises:
            InstanceErrored: It errored.
            InstanceTerminated: It was terminated.
            InvalidPayload: It is complete, and its output cannot become the type that its workflow
                returns today.
            StepwellError: As `create`.
        """
        self._desk.check_admits("engine.call")
        # whatever is wrong with what was given, it is for `create` to say
        create: Any = self.create
        instance: Instance[Any] = await create(
            workflow, params, id=id, priority=priority, start_at=start_at, retention=retention,
            attributes=attributes, if_exists=if_exists,
            on_overload=on_overload,
        )  # fmt: skip
        return await instance.result()

    # Look.

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
        code = self._desk.code
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
            code.reader(target.name, found.version),
        )

    def peek(self, workflow: Workflow[Any, Any] | str, id: str) -> Status | None:
        """Returns the state of an instance that is not final, from memory; None if there is none in
        memory.

        Never waits, and may be called from any thread.

        Raises:
            EngineClosed: The engine is not open.
        """
        name, memory = (
            workflow.name if isinstance(workflow, Workflow) else workflow,
            self._desk.memory(),
        )
        try:
            code = memory.peek(self._namespace, name, id)
        # to look at both before would take longer than all the rest (W7)
        except (TypeError, UnicodeEncodeError):
            code = memory.peek(
                self._namespace, name_sought(workflow) or "", names.sought(id, "id") or ""
            )
        return None if code is None else STATUSES[code]

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
            reason: Only instances blocked for this reason: its code, or a row of `reasons`.
            attributes: Only instances with all of these attributes.
            parent: Only children of the instance with this id, or of (workflow, id).
            id_prefix: Only instances whose ids begin like this.
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
        if isinstance(reason, ReasonCount):
            workflow, version, reason = self._alike(reason, workflow, version)
        name = self._known(
            self._desk.code.registered(workflow) if isinstance(workflow, Workflow) else workflow
        )
        asked = (
            self._namespace,
            name,
            state_codes(status),
            names.sought(version, "version"),
            names.sought(reason, "reason"),
            self._parent(parent),
            names.sought(id_prefix, "id_prefix") or None,
            None if created_after is None else instant_us(created_after, "created_after"),
            None if created_before is None else instant_us(created_before, "created_before"),
        )
        cursors = Cursors(asked, newest_first, pairs)
        found = await self._desk.page(
            Query(*asked, cursors.read(cursor), newest_first, limit, pairs)
        )
        items = [summary(row) for row in found.rows]
        if found.searched_to is not None:
            number, at = found.searched_to
            return Page(items, cursors.make(number), from_us(at))
        return Page(items, cursors.make(found.rows[-1].no) if len(items) == limit else None)

    def _parent(
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
        return self._known(parent[0]), names.sought(parent[1], "parent") or ""

    @staticmethod
    def _alike(reason: ReasonCount, workflow: Any, version: Any) -> tuple[Any, Any, str]:
        """Returns what instances have in common that are blocked for a reason."""
        if reason.status is not Status.BLOCKED:
            raise InvalidConfig(
                f"reason={reason!r:.200} is not why instances are blocked; list the others by "
                "status=, and `example_id` is one of them."
            )
        if workflow is not None and name_sought(workflow) != reason.workflow:
            raise InvalidConfig(
                f"reason is one of {reason.workflow!r}, and workflow is another; leave that out."
            )
        return reason.workflow, reason.version if version is None else version, reason.code

    def changes(
        self, *, cursor: str | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[Change]]:
        """Follows all instances: `async with engine.changes() as changes: async for change in
        changes: …`. Each that is new or in another state is told with the state that it is in when
        somebody looks; states between may be skipped.

        Of at least 65,536 instances it is known when they changed last. Whoever comes with an older
        cursor, or one of before the engine opened, is told "reset", and then what comes from there
        on: what it follows it has to look at anew.

        Args:
            cursor: Of the last change that was read; None: what comes from now on.

        Raises:
            InvalidConfig: The cursor is none.
            EngineClosed: The engine is not open; from the loop: it was closed or drained.
        """
        self._desk.check("engine.changes")
        return self._desk.all_changes(self._namespace, cursor)

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
        name = self._known(workflow)
        wanted = set(state_codes(status)) or set(range(len(STATUSES)))
        found = dict(self._desk.memory().counts(self._namespace, name))
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
        name = self._known(workflow) or ""
        reasons = await self._desk.reasons(self._namespace, name)
        slots, leased, per_minute = self._desk.slots(self._namespace, name)
        accounts = {SLOTS: Account(leased[0], slots)}
        for code, of, used in (
            (NAMESPACE_CONCURRENCY, None, leased[1]),
            (CONCURRENCY, name, leased[2]),
        ):
            most = self._desk.limits_of(self._namespace, of).concurrency
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
        name, code = self._known(workflow), self._desk.code
        counts = {
            (of, version): states
            for of, version, states in self._desk.memory().versions(self._namespace, name)
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
        return await self._desk.reasons(self._namespace, self._known(workflow))

    def _known(self, workflow: Workflow[Any, Any] | str | None) -> str | None:
        """Returns a workflow's name, with code or without; one that neither the engine nor its
        store has is a slip of the pen."""
        name = name_sought(workflow)
        if (
            name is not None
            and name not in self._desk.code
            and not self._desk.memory().counts(None, name)
        ):
            raise InvalidConfig(
                f'no workflow "{name}" is registered with this engine, and its store has no '
                f"instance of one; check the name (registered: {self._desk.code})."
            )
        return name

    # Limits.

    def limits(self, workflow: Workflow[Any, Any] | str | None = None) -> Limits:
        """Returns the limits that are in force, from memory.

        Args:
            workflow: Those of its instances; of `concurrency` the lesser of its own and the
                namespace's.

        Raises:
            EngineClosed: The engine is not open.
        """
        name = name_sought(workflow)
        return self._desk.limits_of(self._namespace, name)

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

    # Approvals.

    @property
    def approvals(self) -> Approvals:
        """Requests for approval: list, approve, reject."""
        return Approvals(self._desk, self._namespace)


class Namespace(Tenant):
    """One tenant of an engine: instances, ids and limits of its own. Get it with
    `Engine.namespace`.

    Attributes:
        name: Its name.
    """

    def __init__(self, desk: Desk, name: str) -> None:
        self._desk = desk
        self._namespace = self.name = name

    def __repr__(self) -> str:
        return f"<namespace {self.name!r} of {self._desk!r}>"
