"""The table of operations: whatever can be asked of an engine from outside, one row each.

What other programs and people use is made from these rows: the calls that go over the socket,
`Client`, and whatever else comes to be. A way in that is not in here cannot exist, and a method of
the public API without a row fails a test, as does a row that says otherwise than its method. The
table knows no class of the API: those stand above what is made from it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

Of: TypeAlias = Literal["engine", "namespace", "instance", "approvals", "bulk", "schedule"]
"""Whose method it is; what a namespace has, the engine has too, for its own."""
Effect: TypeAlias = Literal["read", "safe", "reversible", "destructive"]
"""What it may do to what is there: nothing; add to it; what can be taken back; what cannot."""
Role: TypeAlias = Literal["viewer", "approver", "operator", "admin"]
"""The least that somebody has to be who asks for it, where there are roles."""
Again: TypeAlias = Literal["reads", "id", "dedup_id", "state", "first", "call"]
"""Why a repeat after a lost answer changes nothing more: it changes nothing at all; the id is taken
then; the event is known then; it is in that state then; the first decision holds; or by nothing but
the number of the call, which is kept with what it changed."""
Cost: TypeAlias = Literal["memory", "row", "page", "history", "commit", "many", "store", "waits"]
"""What it takes: nothing of the store; one row; a page that is bounded; all that is recorded of one
instance; one commit; many; as long as the store is large; or as long as what it waits for."""


KEYWORDS: dict[str, str] = {
    "DecideOptions": "(*, ids: Sequence[str] | None = None, "
    'status: Status | StatusName | Literal["all"] | Sequence[Status | StatusName] | None = None, '
    "version: str | None = None, attributes: Mapping[str, AttributeValue] | None = None, "
    "parent: str | tuple[str, str] | None = None, id_prefix: str | None = None, "
    "schedule: str | None = None, created_after: datetime | None = None, "
    "created_before: datetime | None = None, rate: float | None = None, "
    "frontier: int | None = None, note: str | None = None) -> None",
    "BulkOptions": "(*, reason: str | ReasonCount | None = None, actor: str | None = None, "
    "**options: Unpack[DecideOptions]) -> None",
    "LimitChanges": "(*, concurrency: int | None = None, queue_entries: int | None = None, "
    "create_rate: float | None = None, create_burst: int | None = None, "
    "steps: int | None = None, value_bytes: int | None = None, "
    "instance_bytes: int | None = None, recoveries: int | None = None) -> None",
}
"""What `**options` of several operations may hold."""


class Parameter(NamedTuple):
    """One parameter of an operation.

    Attributes:
        name: Its name.
        type: As it is written in the row.
        default: As it is written in the row; None: it has to be given.
    """

    name: str
    type: str
    default: str | None


@dataclass(frozen=True, slots=True)
class Operation:
    """One row.

    Attributes:
        name: As messages call it, such as "engine.create" or "instance.pause".
        of: Whose it is.
        signature: Its parameters and its answer, typed, without `self`.
        effect: What it may do.
        role: Who may ask for it.
        again: Why it may be repeated.
        cost: What it takes.
        errors: What it raises, by name, sorted.
        asked: The calls of a desk that it is made of, by name.
        is_remote: Whether other processes can ask for it.
    """

    name: str
    of: Of
    signature: str
    effect: Effect
    role: Role
    again: Again
    cost: Cost
    errors: str
    asked: str = ""
    is_remote: bool = True

    @property
    def method(self) -> str:
        """Name of the method."""
        return self.name.rpartition(".")[2]

    @property
    def asks(self) -> list[str]:
        """The calls of a desk that it is made of."""
        return self.asked.split()

    @property
    def changes(self) -> bool:
        """Whether it may change anything."""
        return self.effect != "read"

    @property
    def parameters(self) -> list[Parameter]:
        """Its parameters one by one, those of `**options` too."""
        return list(_parameters(self.signature))

    @property
    def answer(self) -> str:
        """The type of its answer, as it is written in the row."""
        return self.signature.rpartition(" -> ")[2]


def _parameters(signature: str) -> Iterator[Parameter]:
    import ast  # only what is made from the rows asks for them one by one

    [made] = ast.parse(f"def made{signature}: ...").body
    assert isinstance(made, ast.FunctionDef)
    given = made.args
    rest: list[ast.expr | None] = [None] * (len(given.args) - len(given.defaults))
    for it, default in (
        *zip(given.args, [*rest, *given.defaults], strict=True),
        *zip(given.kwonlyargs, given.kw_defaults, strict=True),
    ):
        assert it.annotation is not None, f"{it.arg} has no type"
        yield Parameter(
            it.arg, ast.unparse(it.annotation), None if default is None else ast.unparse(default)
        )
    if given.vararg is not None and given.vararg.annotation is not None:
        yield Parameter(given.vararg.arg, ast.unparse(given.vararg.annotation), None)
    if given.kwarg is not None and given.kwarg.annotation is not None:
        of = ast.unparse(given.kwarg.annotation).removeprefix("Unpack[").removesuffix("]")
        yield from _parameters(KEYWORDS[of])


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "engine.create",
        "namespace",
        "(workflow: Workflow | str, params: Any = None, *, id: str | None = None, "
        "priority: int = 0, start_at: datetime | None = None, "
        "retention: Retention | None = None, attributes: Mapping[str, Any] | None = None, "
        'if_exists: IfExists = "raise", '
        'on_overload: OnOverload = "raise") -> Instance[Any]',
        "safe",
        "operator",
        "id",
        "commit",
        "EngineClosed InstanceExists InvalidConfig InvalidName InvalidState NotSerializable "
        "Overloaded TooLarge",
        "create create_batch find",
    ),
    Operation(
        "engine.create_batch",
        "namespace",
        "(workflow: Workflow | str, items: Sequence[Any], *, "
        'if_exists: IfExists = "raise", '
        'on_overload: OnOverload = "raise") -> BatchResult[Any]',
        "safe",
        "operator",
        "id",
        "commit",
        "EngineClosed InvalidConfig InvalidState NotSerializable Overloaded TooLarge",
        "create_batch find",
    ),
    Operation(
        "engine.call",
        "namespace",
        "(workflow: Workflow | str, params: Any = None, *, id: str | None = None, "
        "priority: int = 0, start_at: datetime | None = None, "
        "retention: Retention | None = None, attributes: Mapping[str, Any] | None = None, "
        'if_exists: IfExists = "return", on_overload: OnOverload = "raise") -> Any',
        "safe",
        "operator",
        "id",
        "waits",
        "EngineClosed InstanceErrored InstanceExists InstanceTerminated InvalidConfig "
        "InvalidName InvalidPayload InvalidState NotSerializable Overloaded TooLarge",
        "create create_batch find until explain",
    ),
    Operation(
        "engine.get",
        "namespace",
        "(workflow: Workflow | str, id: str) -> Instance[Any]",
        "read",
        "viewer",
        "reads",
        "row",
        "EngineClosed InstanceNotFound InvalidConfig InvalidName",
        "find",
    ),
    Operation(
        "engine.peek",
        "namespace",
        "(workflow: Workflow | str, id: str) -> Status | None",
        "read",
        "viewer",
        "reads",
        "memory",
        "EngineClosed",
        is_remote=False,
    ),
    Operation(
        "engine.list",
        "namespace",
        "(workflow: Workflow | str | None = None, *, "
        "status: Status | StatusName | Sequence[Status | StatusName] | None = None, "
        "version: str | None = None, reason: str | ReasonCount | None = None, "
        "attributes: Mapping[str, Any] | None = None, "
        "parent: str | tuple[Workflow | str, str] | None = None, "
        "id_prefix: str | None = None, schedule: str | None = None, "
        "created_after: datetime | None = None, "
        "created_before: datetime | None = None, limit: int = 50, "
        "cursor: str | None = None, newest_first: bool = True) -> Page[InstanceSummary]",
        "read",
        "viewer",
        "reads",
        "page",
        "EngineClosed InvalidConfig",
        "page counts",
    ),
    Operation(
        "engine.changes",
        "namespace",
        "(*, cursor: str | None = None) -> AbstractAsyncContextManager[AsyncIterator[Change]]",
        "read",
        "viewer",
        "reads",
        "waits",
        "EngineClosed InvalidConfig",
        "all_changes",
    ),
    Operation(
        "engine.count",
        "namespace",
        "(workflow: Workflow | str | None = None, *, "
        "status: Status | StatusName | None = None) -> dict[Status, int]",
        "read",
        "viewer",
        "reads",
        "memory",
        "EngineClosed InvalidConfig",
        "counts",
    ),
    Operation(
        "engine.queue",
        "namespace",
        "(workflow: Workflow | str) -> QueueExplanation",
        "read",
        "viewer",
        "reads",
        "page",
        "EngineClosed InvalidConfig",
        "reasons slots limits audit page history counts",
    ),
    Operation(
        "engine.versions",
        "namespace",
        "(workflow: Workflow | str | None = None) -> list[VersionCount]",
        "read",
        "viewer",
        "reads",
        "memory",
        "EngineClosed InvalidConfig",
        "versions counts",
    ),
    Operation(
        "engine.reasons",
        "namespace",
        "(workflow: Workflow | str | None = None) -> list[ReasonCount]",
        "read",
        "viewer",
        "reads",
        "memory",
        "EngineClosed InvalidConfig",
        "reasons counts",
    ),
    Operation(
        "engine.limits",
        "namespace",
        "(workflow: Workflow | str | None = None) -> Limits",
        "read",
        "viewer",
        "reads",
        "memory",
        "EngineClosed",
        "limits",
    ),
    Operation(
        "engine.set_limits",
        "namespace",
        "(workflow: Workflow | str | None = None, *, actor: str | None = None, "
        "note: str | None = None, **changes: Unpack[LimitChanges]) -> None",
        "reversible",
        "admin",
        "call",
        "commit",
        "EngineClosed InvalidConfig",
        "set_limits",
    ),
    Operation(
        "engine.audit",
        "namespace",
        "(*, workflow: Workflow | str | None = None, id: str | None = None, "
        "limit: int = 50, cursor: str | None = None) -> Page[AuditRow]",
        "read",
        "admin",
        "reads",
        "page",
        "EngineClosed InvalidConfig",
        "audit",
    ),
    Operation(
        "engine.delete_all",
        "namespace",
        "(*, confirm: str, actor: str | None = None, note: str | None = None) -> BulkResult",
        "destructive",
        "admin",
        "call",
        "many",
        "EngineClosed InvalidConfig InvalidState",
        "do_to_many",
    ),
    Operation(
        "engine.pause",
        "namespace",
        "(workflow: Workflow | str | None = None, *, dry_run: bool = False, "
        "**options: Unpack[BulkOptions]) -> BulkResult | BulkPreview",
        "reversible",
        "operator",
        "call",
        "many",
        "EngineClosed InvalidConfig InvalidName",
        "do_to_many page find counts",
    ),
    Operation(
        "engine.resume",
        "namespace",
        "(workflow: Workflow | str | None = None, *, to_version: str | None = None, "
        "dry_run: bool = False, **options: Unpack[BulkOptions]) -> BulkResult | BulkPreview",
        "reversible",
        "operator",
        "call",
        "many",
        "EngineClosed InvalidConfig InvalidName",
        "do_to_many page find counts",
    ),
    Operation(
        "engine.terminate",
        "namespace",
        "(workflow: Workflow | str | None = None, *, undo: bool = False, dry_run: bool = False, "
        "**options: Unpack[BulkOptions]) -> BulkResult | BulkPreview",
        "destructive",
        "operator",
        "call",
        "many",
        "EngineClosed InvalidConfig InvalidName",
        "do_to_many page find counts",
    ),
    Operation(
        "engine.retry_now",
        "namespace",
        "(workflow: Workflow | str | None = None, *, dry_run: bool = False, "
        "**options: Unpack[BulkOptions]) -> BulkResult | BulkPreview",
        "safe",
        "operator",
        "call",
        "many",
        "EngineClosed InvalidConfig InvalidName",
        "do_to_many page find counts",
    ),
    Operation(
        "engine.restart",
        "namespace",
        "(workflow: Workflow | str | None = None, *, "
        'from_step: Literal["failed"] | None = None, dry_run: bool = False, '
        "**options: Unpack[BulkOptions]) -> BulkResult | BulkPreview",
        "destructive",
        "operator",
        "call",
        "many",
        "EngineClosed InvalidConfig InvalidName",
        "do_to_many page find counts",
    ),
    Operation(
        "engine.delete",
        "namespace",
        "(workflow: Workflow | str | None = None, *, dry_run: bool = False, "
        "**options: Unpack[BulkOptions]) -> BulkResult | BulkPreview",
        "destructive",
        "admin",
        "call",
        "many",
        "EngineClosed InvalidConfig InvalidName",
        "do_to_many page find counts",
    ),
    Operation(
        "engine.send_event_all",
        "namespace",
        "(type: str, payload: Any = None, *, workflow: Workflow | str | None = None, "
        "dry_run: bool = False, "
        "**options: Unpack[BulkOptions]) -> BulkResult | BulkPreview",
        "destructive",
        "operator",
        "call",
        "many",
        "EngineClosed InvalidConfig InvalidName NotSerializable TooLarge",
        "do_to_many page find counts",
    ),
    Operation(
        "engine.namespace",
        "engine",
        "(name: str, *, limits: Limits | None = None) -> Namespace",
        "read",
        "viewer",
        "reads",
        "memory",
        "EngineClosed InvalidConfig InvalidName",
        is_remote=False,
    ),
    Operation(
        "engine.namespaces",
        "engine",
        "() -> list[str]",
        "read",
        "viewer",
        "reads",
        "memory",
        "EngineClosed",
        "namespaces",
    ),
    Operation(
        "engine.reshard",
        "engine",
        "(shards: int) -> None",
        "reversible",
        "admin",
        "state",
        "store",
        "EngineClosed InvalidConfig InvalidState",
        "reshard",
    ),
    Operation(
        "engine.drain",
        "engine",
        "(timeout: Duration | None = None) -> None",
        "destructive",
        "admin",
        "state",
        "waits",
        "EngineClosed InvalidState",
        "drain",
    ),
    Operation(
        "engine.backup",
        "engine",
        "(path: str | os.PathLike[str]) -> None",
        "safe",
        "admin",
        "call",
        "store",
        "EngineClosed InvalidConfig StoreFailed",
        "backup",
    ),
    Operation(
        "engine.statistics",
        "engine",
        "() -> EngineStatistics",
        "read",
        "viewer",
        "reads",
        "memory",
        "EngineClosed",
        "statistics",
    ),
    Operation(
        "instance.status",
        "instance",
        "() -> InstanceStatus",
        "read",
        "viewer",
        "reads",
        "row",
        "EngineClosed InstanceNotFound",
        "find undoing",
    ),
    Operation(
        "instance.result",
        "instance",
        "() -> R_co",
        "read",
        "viewer",
        "reads",
        "waits",
        "EngineClosed InstanceErrored InstanceNotFound InstanceTerminated InvalidPayload",
        "until explain",
    ),
    Operation(
        "instance.wait_for_status",
        "instance",
        "(*statuses: Status | StatusName) -> Status",
        "read",
        "viewer",
        "reads",
        "waits",
        "EngineClosed InstanceNotFound InvalidConfig InvalidState",
        "until",
    ),
    Operation(
        "instance.wait_for_step",
        "instance",
        "(name: str, *, count: int = 1) -> None",
        "read",
        "viewer",
        "reads",
        "waits",
        "EngineClosed InstanceNotFound InvalidName InvalidState",
        "recorded find",
    ),
    Operation(
        "instance.watch",
        "instance",
        "(*, cursor: str | None = None) -> AbstractAsyncContextManager[AsyncIterator[Update]]",
        "read",
        "viewer",
        "reads",
        "waits",
        "EngineClosed InstanceNotFound InvalidConfig",
        "updates",
    ),
    Operation(
        "instance.history",
        "instance",
        "() -> list[StepRecord]",
        "read",
        "viewer",
        "reads",
        "history",
        "EngineClosed InstanceNotFound",
        "history find",
    ),
    Operation(
        "instance.export",
        "instance",
        "() -> dict[str, Any]",
        "read",
        "viewer",
        "reads",
        "history",
        "EngineClosed InstanceNotFound",
        "export find",
    ),
    Operation(
        "instance.explain",
        "instance",
        "() -> Explanation",
        "read",
        "viewer",
        "reads",
        "history",
        "EngineClosed InstanceNotFound",
        "explain find",
    ),
    Operation(
        "instance.send_event",
        "instance",
        "(type: str, payload: Any = None, *, dedup_id: str | None = None) -> None",
        "safe",
        "operator",
        "dedup_id",
        "commit",
        "EngineClosed InstanceNotFound InvalidName InvalidState LimitReached "
        "NotSerializable TooLarge",
        "send_event",
    ),
    Operation(
        "instance.request",
        "instance",
        '(type: str, payload: Any = None, *, timeout: Duration = "30 seconds", '
        "dedup_id: str | None = None, as_type: Any = None) -> Any",
        "safe",
        "operator",
        "dedup_id",
        "waits",
        "EngineClosed InstanceErrored InstanceNotFound InstanceTerminated InvalidConfig "
        "InvalidName InvalidPayload InvalidState LimitReached NotSerializable RequestTimeout "
        "TooLarge",
        "request",
    ),
    Operation(
        "instance.pause",
        "instance",
        "(*, actor: str | None = None, note: str | None = None) -> None",
        "reversible",
        "operator",
        "state",
        "commit",
        "EngineClosed InstanceNotFound InvalidConfig InvalidState",
        "pause",
    ),
    Operation(
        "instance.resume",
        "instance",
        "(*, to_version: str | None = None, actor: str | None = None, "
        "note: str | None = None) -> None",
        "reversible",
        "operator",
        "call",
        "commit",
        "EngineClosed InstanceNotFound InvalidConfig InvalidName InvalidState",
        "resume",
    ),
    Operation(
        "instance.terminate",
        "instance",
        "(*, undo: bool = False, actor: str | None = None, note: str | None = None) -> None",
        "destructive",
        "operator",
        "call",
        "commit",
        "EngineClosed InstanceNotFound InvalidConfig InvalidState",
        "terminate",
    ),
    Operation(
        "instance.retry_now",
        "instance",
        "(*, actor: str | None = None, note: str | None = None) -> None",
        "safe",
        "operator",
        "call",
        "commit",
        "EngineClosed InstanceNotFound InvalidConfig InvalidState",
        "retry_now",
    ),
    Operation(
        "instance.set_priority",
        "instance",
        "(priority: int, *, actor: str | None = None, note: str | None = None) -> None",
        "reversible",
        "operator",
        "state",
        "commit",
        "EngineClosed InstanceNotFound InvalidConfig InvalidState",
        "set_priority",
    ),
    Operation(
        "instance.resolve",
        "instance",
        "(ref: StepRef, value: Any = None, *, error: Exception | None = None, "
        "actor: str | None = None, note: str | None = None) -> None",
        "destructive",
        "operator",
        "call",
        "commit",
        "EngineClosed InstanceNotFound InvalidConfig InvalidState NotSerializable TooLarge",
        "resolve",
    ),
    Operation(
        "instance.start_now",
        "instance",
        "(*, actor: str | None = None, note: str | None = None) -> None",
        "safe",
        "operator",
        "call",
        "commit",
        "EngineClosed InstanceNotFound InvalidConfig InvalidState",
        "start_now",
    ),
    Operation(
        "instance.restart",
        "instance",
        "(*, from_step: FromStep = None, dry_run: bool = False, actor: str | None = None, "
        "note: str | None = None) -> RestartPreview | None",
        "destructive",
        "operator",
        "call",
        "history",
        "EngineClosed InstanceNotFound InvalidConfig InvalidState",
        "restart rewound",
    ),
    Operation(
        "instance.delete",
        "instance",
        "(*, actor: str | None = None, note: str | None = None) -> None",
        "destructive",
        "admin",
        "call",
        "commit",
        "EngineClosed InstanceNotFound InvalidConfig",
        "delete",
    ),
    Operation(
        "engine.approvals.list",
        "approvals",
        "(workflow: Workflow | str | None = None, "
        'status: Literal["open", "approved", "rejected", "timed_out", "withdrawn"] | None '
        '= "open", '
        "*, limit: int = 50, cursor: str | None = None) -> Page[ApprovalRequest]",
        "read",
        "approver",
        "reads",
        "page",
        "EngineClosed InvalidConfig",
        "approvals",
    ),
    Operation(
        "engine.approvals.approve",
        "approvals",
        "(id: str, *, by: str, reason: str | None = None, metadata: Any = None, "
        "note: str | None = None) -> bool",
        "destructive",
        "approver",
        "first",
        "commit",
        "EngineClosed InstanceNotFound InvalidConfig InvalidState NotSerializable TooLarge",
        "decide find",
    ),
    Operation(
        "engine.approvals.reject",
        "approvals",
        "(id: str, *, by: str, reason: str | None = None, metadata: Any = None, "
        "note: str | None = None) -> bool",
        "destructive",
        "approver",
        "first",
        "commit",
        "EngineClosed InstanceNotFound InvalidConfig InvalidState NotSerializable TooLarge",
        "decide find",
    ),
    Operation(
        "engine.approvals.approve_all",
        "approvals",
        "(workflow: Workflow | str | None = None, *, by: str, name: str | None = None, "
        "reason: str | None = None, metadata: Any = None, dry_run: bool = False, "
        "**options: Unpack[DecideOptions]) -> BulkResult | BulkPreview",
        "destructive",
        "approver",
        "call",
        "many",
        "EngineClosed InvalidConfig InvalidName NotSerializable TooLarge",
        "do_to_many page find counts",
    ),
    Operation(
        "engine.approvals.reject_all",
        "approvals",
        "(workflow: Workflow | str | None = None, *, by: str, name: str | None = None, "
        "reason: str | None = None, metadata: Any = None, dry_run: bool = False, "
        "**options: Unpack[DecideOptions]) -> BulkResult | BulkPreview",
        "destructive",
        "approver",
        "call",
        "many",
        "EngineClosed InvalidConfig InvalidName NotSerializable TooLarge",
        "do_to_many page find counts",
    ),
    Operation(
        "engine.bulk.list",
        "bulk",
        "(*, limit: int = 50, cursor: str | None = None) -> Page[Bulk]",
        "read",
        "viewer",
        "reads",
        "page",
        "EngineClosed InvalidConfig",
        "bulks",
    ),
    Operation(
        "engine.bulk.get",
        "bulk",
        "(id: str) -> Bulk",
        "read",
        "viewer",
        "reads",
        "row",
        "EngineClosed InvalidConfig",
        "bulks",
    ),
    Operation(
        "engine.bulk.stop",
        "bulk",
        "(id: str, *, actor: str | None = None, note: str | None = None) -> Bulk",
        "reversible",
        "operator",
        "state",
        "commit",
        "EngineClosed InvalidConfig",
        "stop_bulk bulks",
    ),
    Operation(
        "engine.put_schedule",
        "namespace",
        "(workflow: Workflow | str, when: Duration, *, id: str, params: Any = None, "
        'timezone: str = "UTC", catch_up: CatchUp = "one", overlap: Overlap = "skip", '
        "jitter: Duration | None = None, actor: str | None = None, "
        "note: str | None = None) -> Schedule",
        "reversible",
        "operator",
        "state",
        "commit",
        "EngineClosed InvalidConfig InvalidName LimitReached NotSerializable TooLarge",
        "put_schedule",
    ),
    Operation(
        "engine.schedules",
        "namespace",
        "() -> list[Schedule]",
        "read",
        "viewer",
        "reads",
        "store",
        "EngineClosed",
        "schedules",
    ),
    Operation(
        "schedule.pause",
        "schedule",
        "(*, actor: str | None = None, note: str | None = None) -> None",
        "reversible",
        "operator",
        "state",
        "commit",
        "EngineClosed InvalidConfig",
        "pause_schedule",
    ),
    Operation(
        "schedule.resume",
        "schedule",
        "(*, actor: str | None = None, note: str | None = None) -> None",
        "reversible",
        "operator",
        "state",
        "commit",
        "EngineClosed InvalidConfig",
        "resume_schedule",
    ),
    Operation(
        "schedule.delete",
        "schedule",
        "(*, actor: str | None = None, note: str | None = None) -> None",
        "destructive",
        "operator",
        "state",
        "commit",
        "EngineClosed InvalidConfig",
        "delete_schedule",
    ),
    Operation(
        "schedule.trigger",
        "schedule",
        "(*, actor: str | None = None, note: str | None = None) -> Instance[Any]",
        "safe",
        "operator",
        "call",
        "commit",
        "EngineClosed InvalidConfig Overloaded",
        "trigger_schedule find",
    ),
    Operation(
        "schedule.backfill",
        "schedule",
        "(start: datetime, end: datetime, *, dry_run: bool = False, "
        "actor: str | None = None, note: str | None = None) -> list[Firing]",
        "safe",
        "operator",
        "id",
        "commit",
        "EngineClosed InvalidConfig Overloaded",
        "backfill_schedule",
    ),
    Operation(
        "schedule.firings",
        "schedule",
        "(*, limit: int = 50, cursor: str | None = None) -> Page[Firing]",
        "read",
        "viewer",
        "reads",
        "page",
        "EngineClosed InvalidConfig",
        "firings",
    ),
    Operation(
        "schedule.next_times",
        "schedule",
        "(n: int = 5) -> list[datetime]",
        "read",
        "viewer",
        "reads",
        "memory",
        "EngineClosed InvalidConfig",
        is_remote=False,
    ),
)
"""Every operation."""

BY_NAME: dict[str, Operation] = {it.name: it for it in OPERATIONS}
