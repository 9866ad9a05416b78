"""Keyword arguments that several methods share, as types: what `**options` of `create`, `do` and
others may hold.

For type checkers; what the values mean is said where the methods are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Generic, Literal, TypeAlias, TypedDict, TypeVar

from .._types import ReasonCount, Status, StatusName
from .._values.durations import Duration
from .._values.names import AttributeValue
from .retention import Retention
from .retry import Retry
from .undo import Undo, UndoContext

P = TypeVar("P")
T = TypeVar("T")
IfExists = Literal["raise", "return", "return_if_same"]
OnOverload = Literal["raise", "wait"]
CatchUp = Literal["skip", "one", "all"]
Overlap = Literal["skip", "queue", "allow", "replace"]
OnInterrupt = Literal["retry", "fail"]
Runtime = Literal["trio", "asyncio"]
"""Where async code of users may run."""


class CreateOptions(TypedDict, total=False):
    """Of `create` and `call`."""

    id: str | None
    priority: int
    start_at: datetime | None
    retention: Retention | None
    attributes: Mapping[str, AttributeValue] | None
    if_exists: IfExists
    on_overload: OnOverload


class BatchOptions(TypedDict, total=False):
    """Of `create_batch`."""

    if_exists: IfExists
    on_overload: OnOverload


class ChildOptions(TypedDict, total=False):
    """Of `step.call`, and with attributes of `step.create`."""

    id: str | None
    name: str | None


class NewChildOptions(ChildOptions, total=False):
    """Of `step.create`."""

    attributes: Mapping[str, AttributeValue] | None


class AttemptOptions(TypedDict, total=False):
    """Of `step.do` and `step.map`: how attempts are made."""

    retry: Retry | None
    timeout: Duration | None
    heartbeat_timeout: Duration | None
    on_interrupt: OnInterrupt | None
    undo: Undo | Callable[[UndoContext], Any] | None
    sensitive: bool | None
    runtime: Runtime | None
    abandon_on_cancel: bool | None


class DoOptions(AttemptOptions, total=False):
    """Of `step.do`."""

    name: str | None
    key: str | None


class LimitChanges(TypedDict, total=False):
    """Of `set_limits`: the fields of `Limits`; None clears what was set before."""

    concurrency: int | None
    queue_entries: int | None
    create_rate: float | None
    create_burst: int | None
    steps: int | None
    value_bytes: int | None
    instance_bytes: int | None
    recoveries: int | None
    stream_bytes: int | None
    stream_chunks: int | None
    chunk_bytes: int | None


class DecideOptions(TypedDict, total=False):
    """Of what is decided for many: who they are, and how fast."""

    ids: Sequence[str] | None
    status: Status | StatusName | Literal["all"] | Sequence[Status | StatusName] | None
    version: str | None
    attributes: Mapping[str, AttributeValue] | None
    parent: str | tuple[str, str] | None
    id_prefix: str | None
    schedule: str | None
    created_after: datetime | None
    created_before: datetime | None
    rate: float | None
    frontier: int | None
    note: str | None


class BulkOptions(DecideOptions, total=False):
    """Of what is done to many: who they are, how fast, and who does it."""

    reason: str | ReasonCount | None
    actor: str | None


class Nothing(Generic[T]):
    """No value is one."""


Given: TypeAlias = P | Nothing[Callable[[P], None]]
"""A `P`, and no more. mypy takes what may hold a callable last, so that it has `P` from the
workflow alone when it comes to this."""
