"""Written by scripts/fronts.py from the classes for trio: stepwell.aio as type checkers see it."""

from __future__ import annotations

import builtins
import os
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from types import TracebackType
from typing import (
    Any,
    Generic,
    Literal,
    NamedTuple,
    TypeVar,
    Unpack,
    overload,
)

from stepwell import Approval as Approval
from stepwell import ApprovalRequest as ApprovalRequest
from stepwell import ApprovalTimeout as ApprovalTimeout
from stepwell import AuditRow as AuditRow
from stepwell import BatchError as BatchError
from stepwell import Bulk as Bulk
from stepwell import BulkError as BulkError
from stepwell import BulkPreview as BulkPreview
from stepwell import BulkResult as BulkResult
from stepwell import Change as Change
from stepwell import Child as Child
from stepwell import Chunk as Chunk
from stepwell import Codec as Codec
from stepwell import EngineClosed as EngineClosed
from stepwell import EngineStatistics as EngineStatistics
from stepwell import ErrorInfo as ErrorInfo
from stepwell import Event as Event
from stepwell import EventTimeout as EventTimeout
from stepwell import Explanation as Explanation
from stepwell import ExplanationCode as ExplanationCode
from stepwell import Firing as Firing
from stepwell import InstanceErrored as InstanceErrored
from stepwell import InstanceExists as InstanceExists
from stepwell import InstanceInfo as InstanceInfo
from stepwell import InstanceNotFound as InstanceNotFound
from stepwell import InstanceStatus as InstanceStatus
from stepwell import InstanceSummary as InstanceSummary
from stepwell import InstanceTerminated as InstanceTerminated
from stepwell import InstanceTimeout as InstanceTimeout
from stepwell import InternalError as InternalError
from stepwell import Interrupted as Interrupted
from stepwell import InvalidConfig as InvalidConfig
from stepwell import InvalidName as InvalidName
from stepwell import InvalidPayload as InvalidPayload
from stepwell import InvalidState as InvalidState
from stepwell import Large as Large
from stepwell import LimitReached as LimitReached
from stepwell import Limits as Limits
from stepwell import NewInstance as NewInstance
from stepwell import NoEngine as NoEngine
from stepwell import Nondeterminism as Nondeterminism
from stepwell import NonRetryableError as NonRetryableError
from stepwell import NotSerializable as NotSerializable
from stepwell import Overloaded as Overloaded
from stepwell import Page as Page
from stepwell import QueueExplanation as QueueExplanation
from stepwell import ReasonCount as ReasonCount
from stepwell import Redacted as Redacted
from stepwell import Rejected as Rejected
from stepwell import RequestTimeout as RequestTimeout
from stepwell import RestartPreview as RestartPreview
from stepwell import Retention as Retention
from stepwell import Retry as Retry
from stepwell import SlotHolder as SlotHolder
from stepwell import Source as Source
from stepwell import Started as Started
from stepwell import Status as Status
from stepwell import Step as Step
from stepwell import StepContext as StepContext
from stepwell import StepFailed as StepFailed
from stepwell import StepNursery as StepNursery
from stepwell import StepRecord as StepRecord
from stepwell import StepRef as StepRef
from stepwell import StepTimeout as StepTimeout
from stepwell import StepwellError as StepwellError
from stepwell import StoreCorrupt as StoreCorrupt
from stepwell import StoreFailed as StoreFailed
from stepwell import StoreLocked as StoreLocked
from stepwell import StoreVersion as StoreVersion
from stepwell import TooLarge as TooLarge
from stepwell import Undo as Undo
from stepwell import UndoContext as UndoContext
from stepwell import UndoStatus as UndoStatus
from stepwell import Update as Update
from stepwell import VersionCount as VersionCount
from stepwell import Workflow as Workflow
from stepwell import WorkflowStatistics as WorkflowStatistics
from stepwell import step_options as step_options
from stepwell import workflow as workflow

from ._body.telemetry import Telemetry
from ._steps.signatures import (
    CatchUp,
    Given,
    IfExists,
    LimitChanges,
    OnOverload,
    Overlap,
    Runtime,
)
from ._steps.workflow import OnBodyError
from ._types import FromStep, StatusName
from ._values.durations import Duration
from ._values.names import AttributeValue
from ._values.payloads import Payloads

_P = TypeVar("_P")
_R = TypeVar("_R")
_R_co = TypeVar("_R_co", covariant=True)

class BatchResult(NamedTuple, Generic[_R]):
    """What `create_batch` did: instances in the order of the items that were created, and the
    errors of the others."""

    created: list[Instance[_R]]
    errors: list[BatchError]

class Approvals:
    """Requests for approval of all instances of one namespace."""

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
        ids: Sequence[str] | None = ...,
        status: Status | StatusName | Literal["all"] | Sequence[Status | StatusName] | None = ...,
        version: str | None = ...,
        attributes: Mapping[str, AttributeValue] | None = ...,
        parent: str | tuple[str, str] | None = ...,
        id_prefix: str | None = ...,
        schedule: str | None = ...,
        created_after: datetime | None = ...,
        created_before: datetime | None = ...,
        rate: float | None = ...,
        frontier: int | None = ...,
        note: str | None = ...,
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
        ids: Sequence[str] | None = ...,
        status: Status | StatusName | Literal["all"] | Sequence[Status | StatusName] | None = ...,
        version: str | None = ...,
        attributes: Mapping[str, AttributeValue] | None = ...,
        parent: str | tuple[str, str] | None = ...,
        id_prefix: str | None = ...,
        schedule: str | None = ...,
        created_after: datetime | None = ...,
        created_before: datetime | None = ...,
        rate: float | None = ...,
        frontier: int | None = ...,
        note: str | None = ...,
    ) -> BulkPreview:
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
        ids: Sequence[str] | None = ...,
        status: Status | StatusName | Literal["all"] | Sequence[Status | StatusName] | None = ...,
        version: str | None = ...,
        attributes: Mapping[str, AttributeValue] | None = ...,
        parent: str | tuple[str, str] | None = ...,
        id_prefix: str | None = ...,
        schedule: str | None = ...,
        created_after: datetime | None = ...,
        created_before: datetime | None = ...,
        rate: float | None = ...,
        frontier: int | None = ...,
        note: str | None = ...,
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
        ids: Sequence[str] | None = ...,
        status: Status | StatusName | Literal["all"] | Sequence[Status | StatusName] | None = ...,
        version: str | None = ...,
        attributes: Mapping[str, AttributeValue] | None = ...,
        parent: str | tuple[str, str] | None = ...,
        id_prefix: str | None = ...,
        schedule: str | None = ...,
        created_after: datetime | None = ...,
        created_before: datetime | None = ...,
        rate: float | None = ...,
        frontier: int | None = ...,
        note: str | None = ...,
    ) -> BulkPreview:
        """Rejects what many instances ask for now; as `approve_all`."""

class Bulks:
    """What is done to many instances of one namespace."""

    async def list(self, *, limit: int = 50, cursor: str | None = None) -> Page[Bulk]:
        """Returns what is being done to many, newest first, and what has ended in the last 30 days.

        Args:
            limit: 1 to 1,000.
            cursor: Where the page before ended.

        Raises:
            InvalidConfig: The limit or the cursor is malformed.
            EngineClosed: The engine is not open.
        """

    async def get(self, id: str) -> Bulk:
        """Returns one of them.

        Raises:
            InvalidConfig: There is none, or not any more.
            EngineClosed: The engine is not open.
        """

    async def stop(self, id: str, *, actor: str | None = None, note: str | None = None) -> Bulk:
        """Stops one: what is done stays done, and nothing more is. One that has ended stays as it
        is.

        Args:
            id: Its id.
            actor: Who does it, for the audit: 1 to 256 characters.
            note: What there is to say to it, for the audit: at most 4,096 characters.

        Raises:
            InvalidConfig: There is none, or not any more.
            EngineClosed: The engine is not open.
        """

class Instance(Generic[_R_co]):
    """One durable execution of a workflow. Get one from `Engine.create` or `Engine.get`.

    Attributes:
        id: Its id.
        workflow: Name of its workflow.
    """

    @property
    def id(self) -> str: ...
    @property
    def workflow(self) -> str:
        """Name of its workflow."""

    async def status(self) -> InstanceStatus:
        """Returns where the instance stands.

        Of an output that cannot become the type its workflow returns today, `error` says so in its
        place; `result` raises that.

        Raises:
            InstanceNotFound: It is gone.
            EngineClosed: The engine is not open.
        """

    async def result(self) -> _R_co:
        """Waits until the instance has ended and returns its output.

        Raises:
            InstanceErrored: It errored; the text ends with the recorded error's own.
            InstanceTerminated: It was terminated.
            InvalidPayload: It is complete, and its output cannot become the type that its workflow
                returns today; `payload` has it plain.
            InstanceNotFound: It is gone.
            EngineClosed: The engine was closed meanwhile.
        """

    async def wait_for_status(self, *statuses: Status | StatusName) -> Status:
        """Waits until the instance is in one of these states and returns it.

        Args:
            statuses: At least one.

        Raises:
            InvalidState: It has ended in another state, so none of them can come any more.
            InvalidConfig: One of them is no state.
            InstanceNotFound: It is gone.
        """

    async def wait_for_step(self, name: str, *, count: int = 1) -> None:
        """Waits until a step of this name has been recorded `count` times. For tests.

        Raises:
            InvalidName: No step can have this name.
            InvalidState: The instance has ended without it.
            InstanceNotFound: It is gone.
            EngineClosed: The engine was closed, or drained, meanwhile.
        """

    async def send_event(
        self, type: str, payload: Any = None, *, dedup_id: str | None = None
    ) -> None:
        """Sends the instance an event; it is durable when this returns, and delivered once.

        Args:
            type: The event's type.
            payload: Storable data.
            dedup_id: A second event with the same one changes nothing, also one of another type: an
                id stands for one event of this instance. 1 to 256 characters.

        Raises:
            InvalidState: The instance is final.
            InstanceNotFound: It is gone.
            LimitReached: It has 1,000 events that no wait took yet, and no wait is open that takes
                this one.
            NotSerializable: The payload cannot be stored.
            TooLarge: It is over the limit for one value.
            InvalidName: The type or `dedup_id` is malformed.
        """

    async def request(
        self,
        type: str,
        payload: Any = None,
        *,
        timeout: Duration = "30 seconds",
        dedup_id: str | None = None,
        as_type: Any = None,
    ) -> Any:
        """Sends the instance an event and waits for its answer: `await event.reply(value)` in the
        body that waits for the event.

        The event is durable before anybody waits for the answer, and it is answered once. Whoever
        asks again with the same `dedup_id`, after a timeout or a crash, sends nothing, and gets
        that answer; also from an instance that has ended since.

        Args:
            type: The event's type.
            payload: Storable data.
            timeout: How long to wait for the answer, from when the event is durable. The event
                stays when it is over.
            dedup_id: Names the request, as of `send_event`: 1 to 256 characters. Default: a new
                one, which nobody can ask again with.
            as_type: What the answer is to become; default: plain data.

        Returns:
            What the body answered.

        Raises:
            RequestTimeout: There was no answer in time.
            InstanceErrored: It ended with an error, without an answer.
            InstanceTerminated: It was terminated, without an answer.
            InvalidState: It is complete, and did not answer; or `dedup_id` is that of an event
                that `send_event` sent.
            InvalidPayload: The answer cannot become `as_type`; `payload` has it plain.
            InstanceNotFound: It is gone.
            LimitReached: As `send_event`.
            NotSerializable: The payload cannot be stored.
            TooLarge: It is over the limit for one value.
            InvalidName: The type or `dedup_id` is malformed.
            InvalidConfig: The timeout is malformed, or `as_type` is none.
            EngineClosed: The engine was closed meanwhile.
        """

    async def pause(self, *, actor: str | None = None, note: str | None = None) -> None:
        """Pauses the instance, until `resume`: attempts that run end and are recorded, and nothing
        begins any more. Sleeps, waits, timeouts of waits and delays before the next attempt stand
        still meanwhile; events are kept, and approvals can be decided.

        When this returns the instance is paused, or, while something of it still runs,
        waiting_for_pause. One that is paused or blocked already stays so.

        Args:
            actor: Who does it, for the audit: 1 to 256 characters.
            note: What there is to say to it, for the audit: at most 4,096 characters.

        Raises:
            InvalidConfig: `actor` or `note` is none.
            InvalidState: It is final.
            InstanceNotFound: It is gone.
        """

    async def resume(
        self, *, to_version: str | None = None, actor: str | None = None, note: str | None = None
    ) -> None:
        """Lets a paused or blocked instance go on: its body is replayed from its history. After a
        pause, whatever lasts a while lasts as much longer as that was: sleeps, deadlines, timeouts
        of waits, delays of retries; `sleep_until` still ends at its moment. Nothing happens if it
        is neither.

        One whose body had raised (`body_failed`) makes new attempts of the steps whose failure that
        was, or that caused it: their idempotency keys stay. What a child that it called came to
        stays what it is, and is told again: `restart(from_step="failed")` calls another one.

        Args:
            to_version: Of its workflow: the version that it has from now on, and is replayed as.
            actor: Who does it, for the audit: 1 to 256 characters.
            note: What there is to say to it, for the audit: at most 4,096 characters.

        Raises:
            InvalidConfig: `actor` or `note` is none.
            InvalidName: `to_version` is malformed.
            InvalidState: The instance is final; or this engine has no code for its version, or
                the one it is to have; or it is to have another and is neither paused nor blocked:
                nothing was changed. One that is blocked for that alone (`missing_code`) goes on by
                itself once the code is there.
            InstanceNotFound: It is gone.
        """

    async def terminate(
        self, *, undo: bool = False, actor: str | None = None, note: str | None = None
    ) -> None:
        """Ends the instance, and those that it called: none of them begins anything after that. Its
        body, if it is in memory, is unwound; an attempt that runs in a thread goes on to its end
        there, and what it comes to is not recorded.

        Whoever waits for it gets `InstanceTerminated`. Children that it created go on.

        With `undo=True` it first undoes its steps, and so do those that it called: what runs of it
        is cancelled, threads are waited for, and then what its steps were given as `undo=` is
        called, the last step first. This returns when it is durable that it will, whatever happens
        to the process. Until all is undone it is running, and nobody pauses or restarts it;
        `status().undo` says how far it is. Terminated once more without `undo=True` it ends at
        once.

        Args:
            undo: Whether it undoes its steps first.
            actor: Who does it, for the audit: 1 to 256 characters.
            note: What there is to say to it, for the audit: at most 4,096 characters.

        Raises:
            InvalidConfig: `actor` or `note` is none, or `undo` is neither True nor False.
            InvalidState: It is final.
            InstanceNotFound: It is gone.
        """

    async def retry_now(self, *, actor: str | None = None, note: str | None = None) -> None:
        """Makes the next attempt of each of its steps that waits for one now, with the retry that
        its code has today; of one that is paused or blocked as soon as it goes on. Nothing happens
        if none does.

        Args:
            actor: Who does it, for the audit: 1 to 256 characters.
            note: What there is to say to it, for the audit: at most 4,096 characters.

        Raises:
            InvalidConfig: `actor` or `note` is none.
            InvalidState: It is final.
            InstanceNotFound: It is gone.
        """

    async def set_priority(
        self, priority: int, *, actor: str | None = None, note: str | None = None
    ) -> None:
        """Gives the instance another priority while it is queued, also one whose `start_at` is to
        come, or that is queued again after a wait. Among those of that priority it is as old as it
        is; it keeps the priority for good.

        Args:
            priority: -100 to 100; higher goes first.
            actor: Who does it, for the audit: 1 to 256 characters.
            note: What there is to say to it, for the audit: at most 4,096 characters.

        Raises:
            InvalidConfig: `priority` is out of range, or `actor` or `note` is none.
            InvalidState: It is not queued. Nothing was changed.
            InstanceNotFound: It is gone.
        """

    async def start_now(self, *, actor: str | None = None, note: str | None = None) -> None:
        """Lets the instance wait for its `start_at` no longer: it is queued by its priority and
        age, and starts as soon as it has a slot. Nothing happens if it waits for a slot already:
        `set_priority` brings it forward there.

        Args:
            actor: Who does it, for the audit: 1 to 256 characters.
            note: What there is to say to it, for the audit: at most 4,096 characters.

        Raises:
            InvalidConfig: `actor` or `note` is none.
            InvalidState: It is not queued. Nothing was changed.
            InstanceNotFound: It is gone.
        """

    async def resolve(
        self,
        ref: StepRef,
        value: Any = None,
        *,
        error: Exception | None = None,
        actor: str | None = None,
        note: str | None = None,
    ) -> None:
        """Gives a stuck step its outcome by hand: one that was attempted and has none, whose
        failure the instance is blocked for (`body_failed`), or whose recorded value its body cannot
        read (`undecodable`). The step is not attempted any more. One that is paused or blocked
        stays so, until `resume`; else the body goes on, replayed from its history.

        The body gets the value as it gets a recorded one: what cannot become the type that the step
        returns there blocks the instance (`undecodable`), and can be set anew.

        Args:
            ref: Which step: the `ref` of a line of `history()`.
            value: What it came to: plain data, as it is stored.
            error: What it failed with, instead: the body gets it as `StepFailed`.
            actor: Who does it, for the audit: 1 to 256 characters.
            note: What there is to say to it, for the audit: at most 4,096 characters.

        Raises:
            InvalidConfig: `ref` is none, of another kind than a step, or was never attempted; both
                a value and an error are given; or `error`, `actor` or `note` is none.
            InvalidState: It runs, so that an attempt may be under way: pause it first; or it has
                ended; or the step has an outcome. Nothing was changed.
            NotSerializable: The value cannot be stored.
            TooLarge: It is over the limit for one value.
            InstanceNotFound: It is gone.
        """

    @overload
    async def restart(
        self,
        *,
        from_step: FromStep = None,
        dry_run: Literal[False] = False,
        actor: str | None = None,
        note: str | None = None,
    ) -> None: ...
    @overload
    async def restart(
        self,
        *,
        from_step: FromStep = None,
        dry_run: Literal[True],
        actor: str | None = None,
        note: str | None = None,
    ) -> RestartPreview:
        """Begins the instance anew under its id, with the params it has, in whatever state it is:
        one that runs is stopped first, and keeps its slot. Events that were taken by what is erased
        are there again, attributes that it changed are what they were, approvals are asked for
        again, children that were called are ended; those that were created stay. Whoever waits for
        its result waits on.

        Args:
            from_step: From where. None: from the start, with other idempotency keys, `uuid` and
                `random`. A step of its history, or what it waits for: what had begun before that is
                kept, and so are keys. "failed": all is kept but the steps whose failures ended it,
                and those that were cancelled for them, which run again under their keys; one that a
                bug of its body ended, or somebody terminated, goes on where it was.
            dry_run: Change nothing, and return what would be kept.
            actor: Who does it, for the audit: 1 to 256 characters.
            note: What there is to say to it, for the audit: at most 4,096 characters.

        Raises:
            InvalidConfig: `from_step` is none, or not in its history; `actor` or `note` is none.
            InvalidState: "failed", and nothing of it failed; or this engine has no code for its
                version. Nothing was changed.
            InstanceNotFound: It is gone.
        """

    async def delete(self, *, actor: str | None = None, note: str | None = None) -> None:
        """Removes the instance and everything of it, in whatever state it is: one that runs is
        stopped, and none of its undos runs. Children that it called are ended, those that it
        created stay. Its id is free when this returns. Whoever waits for its result gets
        `InstanceNotFound`; an instance that called it, `InstanceTerminated`.

        Args:
            actor: Who does it, for the audit, which keeps a row of that: 1 to 256 characters.
            note: What there is to say to it, for the audit: at most 4,096 characters.

        Raises:
            InvalidConfig: `actor` or `note` is none.
            InstanceNotFound: It is gone already.
        """

    def watch(
        self, *, cursor: str | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[Update]]:
        """Follows the instance: `async with instance.watch() as updates: async for update in
        updates: …`. First comes what was recorded after the cursor, then what happens, each record
        and each state once; after the state in which it ends there is nothing more.

        A reader costs nothing while nothing happens. One that is too slow for what does is cut and
        reads on from the store: it misses no record, but states that it did not see are skipped.
        Of what the instance reports only the last is told.

        Args:
            cursor: Of the last update that was read, also of an earlier engine; None: all.

        Raises:
            InvalidConfig: The cursor is none.
            InstanceNotFound: From the loop: the instance is gone.
            EngineClosed: The engine is not open; from the loop: it was closed or drained.
        """

    def stream(
        self, name: str, *, cursor: str | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[Chunk]]:
        """Reads what the instance sends in a stream (`step.stream`): `async with
        instance.stream("answer") as chunks: async for chunk in chunks: …`. First comes what was
        sent after the cursor, then what is sent, each chunk once, when it is durable; the reader
        ends with the instance. A stream that nobody has begun is empty so far.

        A chunk that is `first` begins a passage, or begins it anew for another attempt: drop what
        came of it before. One that is `final` ends it. A reader that comes ten minutes after a step
        whose outcome stands for its passage (`step.model`) gets one chunk, `final`, with that.
        After a restart or `continue_as_new` what the new run sends follows.

        Args:
            name: Of the stream.
            cursor: Of the last chunk that was read, also of an earlier engine; None: all.

        Raises:
            InvalidName: The name is malformed.
            InvalidConfig: The cursor is none.
            InstanceNotFound: The instance is gone.
            EngineClosed: The engine is not open; from the loop: it was closed or drained.
        """

    async def history(self) -> list[StepRecord]:
        """Returns what is recorded, oldest first; then attempts that run, with status "running";
        then what it waits for, "waiting".

        Raises:
            InstanceNotFound: It is gone.
        """

    async def export(self) -> dict[str, Any]:
        """Returns the instance as plain data that JSON has: its params, its state, what it waits
        for, and all that is recorded of it, as it is stored. `stepwell.testing.check_replay` says
        whether other code fits that. Of steps that are `sensitive` there is only how large their
        values are.

        Raises:
            InstanceNotFound: It is gone.
        """

    async def explain(self) -> Explanation:
        """Says in one paragraph why the instance is where it is.

        Raises:
            InstanceNotFound: It is gone.
        """

class Schedule:
    """Instances of a workflow that are created again and again. Get it from `put_schedule` or
    `schedules`.

    What it says of itself is as of when it was got; its methods are about the schedule that has
    its id now, and raise `InvalidConfig` if there is none any more.

    Attributes:
        id: Its id.
        workflow: Name of the workflow.
        version: Which version of it; None: the last that is registered when it fires.
        when: The cron expression, or the interval.
        timezone: In which a cron expression is meant.
        catch_up: What becomes of times that were missed.
        overlap: What becomes of a time while an instance of it runs.
        jitter: By up to how much each time is put off.
        paused_at: Since when it is paused; None: it is not.
        next_at: When it fires next; None: it is paused, or never again.
        queued: Times that wait until nothing of it runs.
        has_code: Whether the engine has the code that it needs. Without it, it does not fire.
        created_at: When it was put first.
        updated_at: When what it is was changed last.
    """

    @property
    def id(self) -> str: ...
    @property
    def workflow(self) -> str: ...
    @property
    def version(self) -> str | None: ...
    @property
    def when(self) -> str | timedelta: ...
    @property
    def timezone(self) -> str: ...
    @property
    def catch_up(self) -> CatchUp: ...
    @property
    def overlap(self) -> Overlap: ...
    @property
    def jitter(self) -> timedelta: ...
    @property
    def paused_at(self) -> datetime | None: ...
    @property
    def next_at(self) -> datetime | None: ...
    @property
    def queued(self) -> int: ...
    @property
    def has_code(self) -> bool: ...
    @property
    def created_at(self) -> datetime: ...
    @property
    def updated_at(self) -> datetime: ...
    async def pause(self, *, actor: str | None = None, note: str | None = None) -> None:
        """Lets it fire no more until it is resumed. Its instances go on, and what waits in its
        queue stays there.

        Args:
            actor: Who does it, for the audit: 1 to 256 characters.
            note: What there is to say to it, for the audit: at most 4,096 characters.

        Raises:
            InvalidConfig: There is no such schedule any more.
            EngineClosed: The engine is not open.
        """

    async def resume(self, *, actor: str | None = None, note: str | None = None) -> None:
        """Lets it fire again, from now on: what the pause missed is not caught up, and `firings`
        say so.

        Args:
            actor: As `pause`.
            note: As `pause`.

        Raises:
            InvalidConfig: There is no such schedule any more.
            EngineClosed: The engine is not open.
        """

    async def delete(self, *, actor: str | None = None, note: str | None = None) -> None:
        """Removes it, with what is kept of its times. Its instances stay, and go on.

        Args:
            actor: As `pause`.
            note: As `pause`.

        Raises:
            InvalidConfig: There is no such schedule any more.
            EngineClosed: The engine is not open.
        """

    async def trigger(self, *, actor: str | None = None, note: str | None = None) -> Instance[Any]:
        """Creates an instance now, whatever else of it runs, also while it is paused. Times are as
        before.

        Args:
            actor: As `pause`.
            note: As `pause`.

        Returns:
            The instance.

        Raises:
            InvalidConfig: There is no such schedule any more, or no code for its workflow.
            Overloaded: As `create`.
            EngineClosed: The engine is not open.
        """

    async def backfill(
        self,
        start: datetime,
        end: datetime,
        *,
        dry_run: bool = False,
        actor: str | None = None,
        note: str | None = None,
    ) -> list[Firing]:
        """Fires its times from `start` up to and with `end`, each as if it had fired then, at once
        and whatever runs. A time that fired already does not fire again.

        Args:
            start: An aware datetime.
            end: The same, and not ahead of now.
            dry_run: Changes nothing, and returns what would come of it.
            actor: As `pause`.
            note: As `pause`.

        Returns:
            What came of each time, in order: "fired", or "skipped" and why.

        Raises:
            InvalidConfig: There is no such schedule any more, no code for its workflow, `end` is
                before `start` or ahead of now, or there are more than 1,000 times between them.
            Overloaded: As `create_batch`; nothing was created.
            EngineClosed: The engine is not open.
        """

    async def firings(self, *, limit: int = 50, cursor: str | None = None) -> Page[Firing]:
        """Returns what came of its times, the last decided first. The last 10,000 are kept.

        Args:
            limit: 1 to 1,000.
            cursor: Where the page before ended.

        Raises:
            InvalidConfig: There is no such schedule any more, or the limit or the cursor is
                malformed.
            EngineClosed: The engine is not open.
        """

    def next_times(self, n: int = 5) -> list[datetime]:
        """Returns when it fires next, as it was when this was got, in its time zone and not put off
        by its jitter; of a paused one nothing.

        Args:
            n: How many, 1 to 1,000.

        Raises:
            InvalidConfig: `n` is out of range.
            EngineClosed: The engine is not open.
        """

class _Schedules:
    """The methods of an engine and its namespaces that are about schedules."""

    async def put_schedule(
        self,
        workflow: Workflow[Any, Any] | str,
        when: Duration,
        *,
        id: str,
        params: Any = None,
        timezone: str = "UTC",
        catch_up: CatchUp = "one",
        overlap: Overlap = "skip",
        jitter: Duration | None = None,
        actor: str | None = None,
        note: str | None = None,
    ) -> Schedule:
        """Creates instances of a workflow again and again, from now on and whatever restarts. Each
        time creates one instance, or none, and `firings` tell which and why.

        With the id of a schedule that is there this changes that one: with the same `when` and
        `timezone` its times go on as before, so a program may put its schedules each time it
        starts; with others its first time is after now. It stays paused if it was.

        Args:
            workflow: A registered workflow, or its name (the last version there is when it fires).
            when: A cron expression of five fields, such as "0 2 * * *", or how often: "15 minutes",
                at least a second. The first time is after now.
            id: As of an instance. Each instance has an id made of this and of the time.
            params: What each instance starts with, as `create`.
            timezone: In which a cron expression is meant, such as "Europe/Berlin". A time that does
                not exist fires right after the gap, one that exists twice the first time;
                expressions with `*` in minute or hour follow real time.
            catch_up: What becomes of times that were missed, because no engine ran or the clock
                jumped: "skip", "one" (the last of them fires), "all" (the last 1,000).
            overlap: What becomes of a time while an instance of this schedule has not ended:
                "skip", "queue" (it waits for that; at most 100 do), "allow" (another one begins),
                "replace" (the others are terminated). A blocked one has not ended.
            jitter: Each time is put off by up to so much, always by the same.
            actor: Who does it, for the audit: 1 to 256 characters.
            note: What there is to say to it, for the audit: at most 4,096 characters.

        Raises:
            InvalidName: The id is malformed.
            InvalidConfig: The workflow is not registered, `when` is malformed or never fires, the
                time zone is not known, or an argument is none of those above.
            NotSerializable: The params cannot be stored.
            TooLarge: They are over the limit for one value.
            LimitReached: There are 10,000 schedules.
            EngineClosed: The engine is not open.
        """

    async def schedules(self) -> builtins.list[Schedule]:
        """Returns all schedules, in the order in which they were put first.

        Raises:
            EngineClosed: The engine is not open.
        """

class _Creates:
    """The methods of an engine and its namespaces that create instances."""

    @overload
    async def create(
        self,
        workflow: Workflow[None, _R],
        params: None = None,
        *,
        id: str | None = ...,
        priority: int = ...,
        start_at: datetime | None = ...,
        retention: Retention | None = ...,
        attributes: Mapping[str, AttributeValue] | None = ...,
        if_exists: IfExists = ...,
        on_overload: OnOverload = ...,
    ) -> Instance[_R]: ...
    @overload
    async def create(
        self,
        workflow: Workflow[_P, _R],
        params: Given[_P],
        *,
        id: str | None = ...,
        priority: int = ...,
        start_at: datetime | None = ...,
        retention: Retention | None = ...,
        attributes: Mapping[str, AttributeValue] | None = ...,
        if_exists: IfExists = ...,
        on_overload: OnOverload = ...,
    ) -> Instance[_R]: ...
    @overload
    async def create(
        self,
        workflow: str,
        params: Any = None,
        *,
        id: str | None = ...,
        priority: int = ...,
        start_at: datetime | None = ...,
        retention: Retention | None = ...,
        attributes: Mapping[str, AttributeValue] | None = ...,
        if_exists: IfExists = ...,
        on_overload: OnOverload = ...,
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
            InvalidState: The namespace is being deleted (`delete_all`).
            Overloaded: A rate or queue limit, or the disk is full; nothing was created.
                `retry_after` is a moment of the caller's own if it gave an id, otherwise others may
                be faster; `on_overload="wait"` is the sure way.
            EngineClosed: The engine is not open, or drained while this call waited; nothing was
                created.
        """

    @overload
    async def create_batch(
        self,
        workflow: Workflow[_P, _R],
        items: Sequence[Given[_P] | NewInstance[_P]],
        *,
        if_exists: IfExists = ...,
        on_overload: OnOverload = ...,
    ) -> BatchResult[_R]: ...
    @overload
    async def create_batch(
        self,
        workflow: str,
        items: Sequence[Any],
        *,
        if_exists: IfExists = ...,
        on_overload: OnOverload = ...,
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
            InvalidState: The namespace is being deleted (`delete_all`).
            Overloaded: It does not fit, or the disk is full; none of it was created. With "wait":
                it never will fit.
            EngineClosed: The engine is not open, or drained while this call waited; none of it was
                created.
        """

    @overload
    async def call(
        self,
        workflow: Workflow[None, _R],
        params: None = None,
        *,
        id: str | None = ...,
        priority: int = ...,
        start_at: datetime | None = ...,
        retention: Retention | None = ...,
        attributes: Mapping[str, AttributeValue] | None = ...,
        if_exists: IfExists = ...,
        on_overload: OnOverload = ...,
    ) -> _R: ...
    @overload
    async def call(
        self,
        workflow: Workflow[_P, _R],
        params: Given[_P],
        *,
        id: str | None = ...,
        priority: int = ...,
        start_at: datetime | None = ...,
        retention: Retention | None = ...,
        attributes: Mapping[str, AttributeValue] | None = ...,
        if_exists: IfExists = ...,
        on_overload: OnOverload = ...,
    ) -> _R: ...
    @overload
    async def call(
        self,
        workflow: str,
        params: Any = None,
        *,
        id: str | None = ...,
        priority: int = ...,
        start_at: datetime | None = ...,
        retention: Retention | None = ...,
        attributes: Mapping[str, AttributeValue] | None = ...,
        if_exists: IfExists = ...,
        on_overload: OnOverload = ...,
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

class _Finds:
    """The methods of an engine and its namespaces that find instances."""

    @overload
    async def get(self, workflow: Workflow[Any, _R], id: str) -> Instance[_R]: ...
    @overload
    async def get(self, workflow: str, id: str) -> Instance[Any]:
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

    async def queue(self, workflow: Workflow[Any, Any] | str) -> QueueExplanation:
        """Says why instances of a workflow are queued: which limit holds them up and who set it,
        who has had its slots longest and in which step, how fast slots come back.

        Args:
            workflow: Whose queue.

        Raises:
            InvalidConfig: Nobody has heard of the workflow.
            EngineClosed: The engine is not open.
        """

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

class _Many:
    """The methods of an engine and its namespaces that do something to many instances."""

    @overload
    async def pause(
        self,
        workflow: Workflow[Any, Any] | str | None = None,
        *,
        dry_run: Literal[False] = False,
        ids: Sequence[str] | None = ...,
        status: Status | StatusName | Literal["all"] | Sequence[Status | StatusName] | None = ...,
        version: str | None = ...,
        attributes: Mapping[str, AttributeValue] | None = ...,
        parent: str | tuple[str, str] | None = ...,
        id_prefix: str | None = ...,
        schedule: str | None = ...,
        created_after: datetime | None = ...,
        created_before: datetime | None = ...,
        rate: float | None = ...,
        frontier: int | None = ...,
        note: str | None = ...,
        reason: str | ReasonCount | None = ...,
        actor: str | None = ...,
    ) -> BulkResult: ...
    @overload
    async def pause(
        self,
        workflow: Workflow[Any, Any] | str | None = None,
        *,
        dry_run: Literal[True],
        ids: Sequence[str] | None = ...,
        status: Status | StatusName | Literal["all"] | Sequence[Status | StatusName] | None = ...,
        version: str | None = ...,
        attributes: Mapping[str, AttributeValue] | None = ...,
        parent: str | tuple[str, str] | None = ...,
        id_prefix: str | None = ...,
        schedule: str | None = ...,
        created_after: datetime | None = ...,
        created_before: datetime | None = ...,
        rate: float | None = ...,
        frontier: int | None = ...,
        note: str | None = ...,
        reason: str | ReasonCount | None = ...,
        actor: str | None = ...,
    ) -> BulkPreview:
        """Pauses many instances, as `Instance.pause` does one; returns when that has ended.

        It is durable: an engine that is killed meanwhile goes on where it was when it opens again,
        and so does one that is closed; whoever waits gets `EngineClosed` then. It is about those
        that are there when it begins. `engine.bulk` has how far it is, and stops it.

        Args:
            workflow: Only instances of this workflow; alone it chooses nobody.
            dry_run: Only look who they are: how many in each state, five of them, and the highest
                instance number there is; pass that on as `frontier`.
            options: Who they are: `ids`, up to 10,000 of one workflow; or `status` ("all" for any
                that can be meant), `version`, `reason`, `attributes`, `parent`,
                `id_prefix`, `schedule`, `created_after` and `created_before`, as `list` takes
                them. Those that are final are only among them if `status` says so. `frontier`:
                nobody that was created after the look that gave it. `rate`: at most so many in a
                second, up to 100,000. `actor` and `note`: for the audit, which has one row for all.

        Raises:
            InvalidConfig: There are neither ids nor a filter, or something is out of range.
            InvalidName: `actor` is none.
            EngineClosed: The engine is not open, or was closed meanwhile.
        """

    @overload
    async def resume(
        self,
        workflow: Workflow[Any, Any] | str | None = None,
        *,
        to_version: str | None = None,
        dry_run: Literal[False] = False,
        ids: Sequence[str] | None = ...,
        status: Status | StatusName | Literal["all"] | Sequence[Status | StatusName] | None = ...,
        version: str | None = ...,
        attributes: Mapping[str, AttributeValue] | None = ...,
        parent: str | tuple[str, str] | None = ...,
        id_prefix: str | None = ...,
        schedule: str | None = ...,
        created_after: datetime | None = ...,
        created_before: datetime | None = ...,
        rate: float | None = ...,
        frontier: int | None = ...,
        note: str | None = ...,
        reason: str | ReasonCount | None = ...,
        actor: str | None = ...,
    ) -> BulkResult: ...
    @overload
    async def resume(
        self,
        workflow: Workflow[Any, Any] | str | None = None,
        *,
        to_version: str | None = None,
        dry_run: Literal[True],
        ids: Sequence[str] | None = ...,
        status: Status | StatusName | Literal["all"] | Sequence[Status | StatusName] | None = ...,
        version: str | None = ...,
        attributes: Mapping[str, AttributeValue] | None = ...,
        parent: str | tuple[str, str] | None = ...,
        id_prefix: str | None = ...,
        schedule: str | None = ...,
        created_after: datetime | None = ...,
        created_before: datetime | None = ...,
        rate: float | None = ...,
        frontier: int | None = ...,
        note: str | None = ...,
        reason: str | ReasonCount | None = ...,
        actor: str | None = ...,
    ) -> BulkPreview:
        """Resumes many instances; as `pause`. Those that are blocked because their body raised the
        failures of steps make new attempts of these, as with `Instance.resume`.

        Args:
            workflow: Only instances of this one.
            to_version: The version as which they go on, as with `Instance.resume`; one whose
                workflow has no such version is refused, and the result names it.
            dry_run: Do nothing, and return whom it would be done to.
            options: As `pause`.

        Returns:
            As `pause`.

        Raises:
            InvalidName: `to_version` is no name of a version.
            StepwellError: As `pause`.
        """

    @overload
    async def terminate(
        self,
        workflow: Workflow[Any, Any] | str | None = None,
        *,
        undo: bool = False,
        dry_run: Literal[False] = False,
        ids: Sequence[str] | None = ...,
        status: Status | StatusName | Literal["all"] | Sequence[Status | StatusName] | None = ...,
        version: str | None = ...,
        attributes: Mapping[str, AttributeValue] | None = ...,
        parent: str | tuple[str, str] | None = ...,
        id_prefix: str | None = ...,
        schedule: str | None = ...,
        created_after: datetime | None = ...,
        created_before: datetime | None = ...,
        rate: float | None = ...,
        frontier: int | None = ...,
        note: str | None = ...,
        reason: str | ReasonCount | None = ...,
        actor: str | None = ...,
    ) -> BulkResult: ...
    @overload
    async def terminate(
        self,
        workflow: Workflow[Any, Any] | str | None = None,
        *,
        undo: bool = False,
        dry_run: Literal[True],
        ids: Sequence[str] | None = ...,
        status: Status | StatusName | Literal["all"] | Sequence[Status | StatusName] | None = ...,
        version: str | None = ...,
        attributes: Mapping[str, AttributeValue] | None = ...,
        parent: str | tuple[str, str] | None = ...,
        id_prefix: str | None = ...,
        schedule: str | None = ...,
        created_after: datetime | None = ...,
        created_before: datetime | None = ...,
        rate: float | None = ...,
        frontier: int | None = ...,
        note: str | None = ...,
        reason: str | ReasonCount | None = ...,
        actor: str | None = ...,
    ) -> BulkPreview:
        """Terminates many instances; as `pause`.

        Args:
            workflow: Only instances of this one.
            undo: Whether they undo their steps first, as with `Instance.terminate`.
            dry_run: As `pause`.
            options: As `pause`.
        """

    @overload
    async def retry_now(
        self,
        workflow: Workflow[Any, Any] | str | None = None,
        *,
        dry_run: Literal[False] = False,
        ids: Sequence[str] | None = ...,
        status: Status | StatusName | Literal["all"] | Sequence[Status | StatusName] | None = ...,
        version: str | None = ...,
        attributes: Mapping[str, AttributeValue] | None = ...,
        parent: str | tuple[str, str] | None = ...,
        id_prefix: str | None = ...,
        schedule: str | None = ...,
        created_after: datetime | None = ...,
        created_before: datetime | None = ...,
        rate: float | None = ...,
        frontier: int | None = ...,
        note: str | None = ...,
        reason: str | ReasonCount | None = ...,
        actor: str | None = ...,
    ) -> BulkResult: ...
    @overload
    async def retry_now(
        self,
        workflow: Workflow[Any, Any] | str | None = None,
        *,
        dry_run: Literal[True],
        ids: Sequence[str] | None = ...,
        status: Status | StatusName | Literal["all"] | Sequence[Status | StatusName] | None = ...,
        version: str | None = ...,
        attributes: Mapping[str, AttributeValue] | None = ...,
        parent: str | tuple[str, str] | None = ...,
        id_prefix: str | None = ...,
        schedule: str | None = ...,
        created_after: datetime | None = ...,
        created_before: datetime | None = ...,
        rate: float | None = ...,
        frontier: int | None = ...,
        note: str | None = ...,
        reason: str | ReasonCount | None = ...,
        actor: str | None = ...,
    ) -> BulkPreview:
        """Makes the next attempts of many instances now; as `pause`. A `rate` keeps a provider that
        has just recovered from being knocked over."""

    @overload
    async def restart(
        self,
        workflow: Workflow[Any, Any] | str | None = None,
        *,
        from_step: Literal["failed"] | None = None,
        dry_run: Literal[False] = False,
        ids: Sequence[str] | None = ...,
        status: Status | StatusName | Literal["all"] | Sequence[Status | StatusName] | None = ...,
        version: str | None = ...,
        attributes: Mapping[str, AttributeValue] | None = ...,
        parent: str | tuple[str, str] | None = ...,
        id_prefix: str | None = ...,
        schedule: str | None = ...,
        created_after: datetime | None = ...,
        created_before: datetime | None = ...,
        rate: float | None = ...,
        frontier: int | None = ...,
        note: str | None = ...,
        reason: str | ReasonCount | None = ...,
        actor: str | None = ...,
    ) -> BulkResult: ...
    @overload
    async def restart(
        self,
        workflow: Workflow[Any, Any] | str | None = None,
        *,
        from_step: Literal["failed"] | None = None,
        dry_run: Literal[True],
        ids: Sequence[str] | None = ...,
        status: Status | StatusName | Literal["all"] | Sequence[Status | StatusName] | None = ...,
        version: str | None = ...,
        attributes: Mapping[str, AttributeValue] | None = ...,
        parent: str | tuple[str, str] | None = ...,
        id_prefix: str | None = ...,
        schedule: str | None = ...,
        created_after: datetime | None = ...,
        created_before: datetime | None = ...,
        rate: float | None = ...,
        frontier: int | None = ...,
        note: str | None = ...,
        reason: str | ReasonCount | None = ...,
        actor: str | None = ...,
    ) -> BulkPreview:
        """Restarts many instances, those that are final among them; as `pause`, and as
        `Instance.restart` does one.

        Args:
            workflow: As `pause`.
            from_step: "failed": from where each of them failed; None: from the start.
            dry_run: As `pause`.
            options: As `pause`.

        Raises:
            StepwellError: As `pause`.
        """

    @overload
    async def delete(
        self,
        workflow: Workflow[Any, Any] | str | None = None,
        *,
        dry_run: Literal[False] = False,
        ids: Sequence[str] | None = ...,
        status: Status | StatusName | Literal["all"] | Sequence[Status | StatusName] | None = ...,
        version: str | None = ...,
        attributes: Mapping[str, AttributeValue] | None = ...,
        parent: str | tuple[str, str] | None = ...,
        id_prefix: str | None = ...,
        schedule: str | None = ...,
        created_after: datetime | None = ...,
        created_before: datetime | None = ...,
        rate: float | None = ...,
        frontier: int | None = ...,
        note: str | None = ...,
        reason: str | ReasonCount | None = ...,
        actor: str | None = ...,
    ) -> BulkResult: ...
    @overload
    async def delete(
        self,
        workflow: Workflow[Any, Any] | str | None = None,
        *,
        dry_run: Literal[True],
        ids: Sequence[str] | None = ...,
        status: Status | StatusName | Literal["all"] | Sequence[Status | StatusName] | None = ...,
        version: str | None = ...,
        attributes: Mapping[str, AttributeValue] | None = ...,
        parent: str | tuple[str, str] | None = ...,
        id_prefix: str | None = ...,
        schedule: str | None = ...,
        created_after: datetime | None = ...,
        created_before: datetime | None = ...,
        rate: float | None = ...,
        frontier: int | None = ...,
        note: str | None = ...,
        reason: str | ReasonCount | None = ...,
        actor: str | None = ...,
    ) -> BulkPreview:
        """Deletes many instances, those that are final among them; as `pause`, and as
        `Instance.delete` does one."""

    @overload
    async def send_event_all(
        self,
        type: str,
        payload: Any = None,
        *,
        workflow: Workflow[Any, Any] | str | None = None,
        dry_run: Literal[False] = False,
        ids: Sequence[str] | None = ...,
        status: Status | StatusName | Literal["all"] | Sequence[Status | StatusName] | None = ...,
        version: str | None = ...,
        attributes: Mapping[str, AttributeValue] | None = ...,
        parent: str | tuple[str, str] | None = ...,
        id_prefix: str | None = ...,
        schedule: str | None = ...,
        created_after: datetime | None = ...,
        created_before: datetime | None = ...,
        rate: float | None = ...,
        frontier: int | None = ...,
        note: str | None = ...,
        reason: str | ReasonCount | None = ...,
        actor: str | None = ...,
    ) -> BulkResult: ...
    @overload
    async def send_event_all(
        self,
        type: str,
        payload: Any = None,
        *,
        workflow: Workflow[Any, Any] | str | None = None,
        dry_run: Literal[True],
        ids: Sequence[str] | None = ...,
        status: Status | StatusName | Literal["all"] | Sequence[Status | StatusName] | None = ...,
        version: str | None = ...,
        attributes: Mapping[str, AttributeValue] | None = ...,
        parent: str | tuple[str, str] | None = ...,
        id_prefix: str | None = ...,
        schedule: str | None = ...,
        created_after: datetime | None = ...,
        created_before: datetime | None = ...,
        rate: float | None = ...,
        frontier: int | None = ...,
        note: str | None = ...,
        reason: str | ReasonCount | None = ...,
        actor: str | None = ...,
    ) -> BulkPreview:
        """Sends an event to many instances, to each once; as `pause`.

        Args:
            type: The event's type.
            payload: Storable data, the same for all.
            workflow: As `pause`.
            dry_run: As `pause`.
            options: As `pause`.

        Raises:
            NotSerializable: The payload cannot be stored.
            TooLarge: It is over the limit for one value.
            StepwellError: As `pause`.
        """

class _Tenant(_Creates, _Finds, _Many, _Schedules):
    """The methods that an engine and its namespaces share."""

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

    @property
    def bulk(self) -> Bulks:
        """What is done to many instances: list, get, stop."""

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

    @property
    def approvals(self) -> Approvals:
        """Requests for approval: list, approve, reject."""

class _LocalTenant(_Tenant):
    """One of an engine in this process, which also answers from memory, at once."""

    def peek(self, workflow: Workflow[Any, Any] | str, id: str) -> Status | None:
        """Returns the state of an instance that is not final, from memory; None if there is none in
        memory.

        Never waits, and may be called from any thread.

        Raises:
            EngineClosed: The engine is not open.
        """

    def limits(self, workflow: Workflow[Any, Any] | str | None = None) -> Limits:
        """Returns the limits that are in force, from memory.

        Args:
            workflow: Those of its instances; of `concurrency` the lesser of its own and the
                namespace's.

        Raises:
            EngineClosed: The engine is not open.
        """

class Namespace(_LocalTenant):
    """One tenant of an engine: instances, ids and limits of its own. Get it with
    `Engine.namespace`.

    Attributes:
        name: Its name.
    """

class Engine(_LocalTenant):
    """A durable execution engine in this process. Use it as `async with Engine(…) as engine`.

    Opening it recovers what the store holds and runs every instance that can run; leaving the block
    drains: no new steps start, running attempts get `grace` to end. The block's own exception
    leaves it unwrapped. All methods belong to the trio thread that opened it, but `peek`, which is
    for any.

    Args:
        store: A path (also a `pathlib.Path`), `sqlite:///path`, or ":memory:".
        workflows: The workflows whose instances this engine runs.
        limits: What its namespace may use, all of it; None: as the store has them, else the
            defaults. What `set_limits` set wins.
        shards: Coordinators the instances are spread over, 1 to 4,096; None: as the store has them,
            else 64.
        slots: Most instances that run at once, 1 to 1,000,000.
        namespace: Where this engine's instances live.
        telemetry: Who is told what instances do, such as `stepwell.otel.Telemetry()`.
        codec: What every stored value passes through, such as `stepwell.crypto.Keyring`; see
            `Codec`. What was stored without one is read as it is.
        payloads: Where large values lie, such as `stepwell.payloads.Folder`; see `Payloads`. None:
            in the store, up to its limit for values.
        name: Names this engine in the lock file beside the store.
        grace: How long running attempts may go on when the block ends.
        threads: Most plain step functions that run at once, 1 to 10,000.
        default_runtime: "trio" or "asyncio": where async step functions run that do not say so
            themselves (`runtime=`). asyncio code has a loop and a thread of its own beside the
            engine; `stepwell.aio` is for programs that have a loop.
        on_error: What becomes of an instance whose body raises, where its `@workflow` does not say:
            "errored" ends it, "blocked" keeps it for `resume()`.
        retention: How long instances are kept after their end, where neither they were created with
            a retention nor their `@workflow` has one; None: until they are deleted.
        wait_for_lock: So long a store is waited for that another engine owns, say that of the
            process that this one follows; None: not at all.
        durability: "full": every commit is synced.

    Raises:
        InvalidConfig: An argument is out of range, or two workflows have the same name and version.
        InvalidName: The namespace is malformed.
    """

    def __init__(
        self,
        store: str | os.PathLike[str] = "stepwell.db",
        *,
        workflows: Iterable[Workflow[Any, Any]] = (),
        agents: Sequence[Any] = (),
        limits: Limits | None = None,
        shards: int | None = None,
        slots: int = 50000,
        namespace: str = "default",
        codec: Codec | None = None,
        payloads: Payloads | None = None,
        telemetry: Telemetry | None = None,
        name: str | None = None,
        grace: Duration = "30 seconds",
        threads: int = 40,
        default_runtime: Runtime = "asyncio",
        on_error: OnBodyError = "errored",
        retention: Retention | None = None,
        wait_for_lock: Duration | None = None,
        durability: Literal["full"] = "full",
    ) -> None: ...
    async def drain(self, timeout: Duration | None = None) -> None:
        """Starts no more steps and lets running attempts end; bodies are unwound after `timeout`
        (default: `grace`).

        Nothing runs in this engine afterwards; leave its block. A drain that has begun comes to its
        end, also if this call is cancelled meanwhile. A second call waits for the same end, and of
        both timeouts the one that is over first counts.

        Raises:
            InvalidState: A step of this engine calls it, for whose end it would wait: a step can
                set an event that the program waits for.
            EngineClosed: The engine is not open.
        """

    def namespace(self, name: str, *, limits: Limits | None = None) -> Namespace:
        """Returns a namespace of this engine: instances, ids and limits of its own. It exists from
        its first use on.

        Args:
            name: Letters, digits, "_" and "-", 1 to 64 of them.
            limits: What it may use, all of it; in force for everything asked after this call, and
                kept in the store. None: as the store has them, else the defaults. What `set_limits`
                set wins.

        Raises:
            InvalidName: The name is malformed.
            InvalidConfig: A limit is out of range, or 10,000 namespaces have limits of their own.
            EngineClosed: The engine is not open.
        """

    async def reshard(self, shards: int) -> None:
        """Spreads the instances over another number of coordinators while everything goes on; done
        and durable when this returns.

        No call fails meanwhile, nothing that runs is disturbed, and no limit is exceeded. If this
        call is cancelled after it has begun, or the process dies, the change still comes to its
        end; `Engine(shards=None)` finds it.

        Args:
            shards: 1 to 4,096. One is one coordinator for everything, which spends least on few
                instances.

        Raises:
            InvalidConfig: The number is out of range.
            InvalidState: Another change is under way; the text says how far it is.
            EngineClosed: The engine is not open, or was closed meanwhile.
        """

    async def backup(self, path: str | os.PathLike[str]) -> None:
        """Copies the store into a new file while everything goes on; the copy is complete and
        synced when this returns.

        The copy is the store at one moment. Opened as a store of its own, it goes on as after a
        kill at that moment: steps that were running then run again. The copy reads at the speed of
        the disk; until it is complete the store's WAL grows with what is committed meanwhile. If
        this call is cancelled after it has begun, the copy still becomes complete.

        Args:
            path: Where nothing is yet, on a local disk. The file is made with mode 0600.

        Raises:
            InvalidConfig: Something is at the path, its folder is missing, or the store is
                ":memory:".
            StoreFailed: It could not be read or written (a full disk, a network file system); there
                is no copy.
            EngineClosed: The engine is not open, or was closed meanwhile; there is no copy.
        """

    async def namespaces(self) -> list[str]:
        """Returns the namespaces of the store, by name: those that any instance was created in, and
        the engine's own. From memory.

        Raises:
            EngineClosed: The engine is not open.
        """

    def statistics(self) -> EngineStatistics:
        """Returns the engine's counters, from memory: cheap enough to be asked ten times a second.

        Raises:
            EngineClosed: The engine is not open.
        """

    async def __aenter__(self) -> Engine: ...
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

class _ClientTenant(_Tenant):
    """The methods that a client and its namespaces share, and an engine has otherwise."""

    async def limits(self, workflow: Workflow[Any, Any] | str | None = None) -> Limits:
        """Returns the limits that are in force.

        Args:
            workflow: Those of its instances; of `concurrency` the lesser of its own and the
                namespace's.

        Raises:
            NoEngine: No engine answered.
            EngineClosed: The client is not open.
        """

class ClientNamespace(_ClientTenant):
    """One tenant of an engine in another process. Get it with `Client.namespace`.

    Attributes:
        name: Its name.
    """

class Client(_ClientTenant):
    """The engine of a store, from another process: the same methods as the engine's, without
    running instances. Use it as `async with Client("shop.db") as client`.

    It speaks to the engine over a socket beside the store that only this user can open. The engine
    may restart meanwhile: calls wait for it, and are asked again by themselves; what changes
    something is done once all the same, for each call has an id of its own. A name of a workflow
    gives plain data; a `Workflow` object gives its types.

    As long as no engine answers, what only looks (`get`, `list`, `count`, `reasons`, `versions`,
    `audit`, `schedules`; status, history, explanation and export of an instance, and its result
    once it has one; lists of approvals and bulk operations) is answered from the store's file,
    which stays as it is; `source` says so.

    Args:
        store: Path of the engine's store.
        timeout: So long a call waits for an engine that is away.
        namespace: Whose instances it is about; others are had with `namespace`.
        telemetry: Who is told what is asked for, such as `stepwell.otel.Telemetry()`; the trace in
            which that is goes along to the engine.

    Raises:
        InvalidConfig: An argument is out of range, or the store is in memory.
        InvalidName: The namespace is malformed.
    """

    def __init__(
        self,
        store: str | os.PathLike[str] = "stepwell.db",
        *,
        timeout: Duration = "30 seconds",
        namespace: str = "default",
        telemetry: Telemetry | None = None,
    ) -> None: ...
    @property
    def source(self) -> Source | None:
        """Where the last answer came from: the engine, or the store's file, and how old that is;
        None: there was none yet."""

    def namespace(self, name: str) -> ClientNamespace:
        """Returns a namespace of the engine: instances, ids and limits of its own.

        Args:
            name: Letters, digits, "_" and "-", 1 to 64 of them.

        Raises:
            InvalidName: The name is malformed.
        """

    async def namespaces(self) -> list[str]:
        """Returns the namespaces that any instance was created in, by name.

        Raises:
            NoEngine: No engine answered.
            EngineClosed: The client is not open.
        """

    async def statistics(self) -> EngineStatistics:
        """Returns the engine's counters.

        Raises:
            NoEngine: No engine answered.
            EngineClosed: The client is not open.
        """

    async def reshard(self, shards: int) -> None:
        """Spreads the instances over another number of coordinators; as `Engine.reshard`.

        Args:
            shards: 1 to 4,096.

        Raises:
            InvalidConfig: The number is out of range.
            InvalidState: Another change is under way.
            NoEngine: No engine answered.
            EngineClosed: The client is not open, or the engine was gone before it answered.
        """

    async def backup(self, path: str | os.PathLike[str]) -> None:
        """Copies the store into a new file while everything goes on; as `Engine.backup`. The engine
        writes it; a path that is not absolute is one of this process.

        Args:
            path: Where nothing is yet, on a local disk.

        Raises:
            InvalidConfig: Something is at the path, or its folder is missing.
            StoreFailed: It could not be read or written; there is no copy.
            NoEngine: No engine answered.
            EngineClosed: The client is not open, or the engine was gone before it answered.
        """

    async def drain(self, timeout: Duration | None = None) -> None:
        """Has the engine start no more steps, and waits until nothing runs in it; as
        `Engine.drain`.

        Args:
            timeout: So long attempts may go on; None: as the engine was opened with.

        Raises:
            NoEngine: No engine answered.
            EngineClosed: The client is not open, or the engine was gone before it answered.
        """

    async def __aenter__(self) -> Client: ...
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

def current_step() -> StepContext[Engine]: ...

__all__ = [
    "Approval",
    "ApprovalRequest",
    "ApprovalTimeout",
    "Approvals",
    "AuditRow",
    "BatchError",
    "BatchResult",
    "Bulk",
    "BulkError",
    "BulkPreview",
    "BulkResult",
    "Bulks",
    "Change",
    "Child",
    "Chunk",
    "Client",
    "ClientNamespace",
    "Codec",
    "Engine",
    "EngineClosed",
    "EngineStatistics",
    "ErrorInfo",
    "Event",
    "EventTimeout",
    "Explanation",
    "ExplanationCode",
    "Firing",
    "Instance",
    "InstanceErrored",
    "InstanceExists",
    "InstanceInfo",
    "InstanceNotFound",
    "InstanceStatus",
    "InstanceSummary",
    "InstanceTerminated",
    "InstanceTimeout",
    "InternalError",
    "Interrupted",
    "InvalidConfig",
    "InvalidName",
    "InvalidPayload",
    "InvalidState",
    "Large",
    "LimitReached",
    "Limits",
    "Namespace",
    "NewInstance",
    "NoEngine",
    "NonRetryableError",
    "Nondeterminism",
    "NotSerializable",
    "Overloaded",
    "Page",
    "QueueExplanation",
    "ReasonCount",
    "Redacted",
    "Rejected",
    "RequestTimeout",
    "RestartPreview",
    "Retention",
    "Retry",
    "Schedule",
    "SlotHolder",
    "Source",
    "Started",
    "Status",
    "Step",
    "StepContext",
    "StepFailed",
    "StepNursery",
    "StepRecord",
    "StepRef",
    "StepTimeout",
    "StepwellError",
    "StoreCorrupt",
    "StoreFailed",
    "StoreLocked",
    "StoreVersion",
    "TooLarge",
    "Undo",
    "UndoContext",
    "UndoStatus",
    "Update",
    "VersionCount",
    "Workflow",
    "WorkflowStatistics",
    "current_step",
    "step_options",
    "workflow",
]
