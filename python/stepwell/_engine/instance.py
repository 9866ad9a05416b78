"""A handle on one instance: where it stands, how it ended, what it has recorded."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Generic, Literal, NoReturn, Self, TypeVar, overload
from uuid import uuid4

from .._errors import (
    InstanceErrored,
    InstanceNotFound,
    InstanceTerminated,
    InvalidConfig,
    InvalidState,
)
from .._log import log
from .._types import (
    FINAL,
    STATUSES,
    Chunk,
    Explanation,
    FromStep,
    InstanceStatus,
    RestartPreview,
    Status,
    StatusName,
    StepRecord,
    StepRef,
    Update,
)
from .._values import names
from .._values.codec import Undecodable, codec, usable
from .._values.durations import Duration, to_us
from .acting import by, terminated_text
from .answers import Telling, standing_of, state_codes, unreadable
from .desk import Who
from .resolving import set_by_hand
from .rewinding import beginning, identity_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .._steps.workflow import Workflow
    from .desk import Desk

R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")


_ENDED_OR_BLOCKED = FINAL | {Status.BLOCKED}


class Instance(Generic[R_co]):
    """One durable execution of a workflow. Get one from `Engine.create` or `Engine.get`.

    Attributes:
        id: Its id.
        workflow: Name of its workflow.
    """

    __slots__ = ("_desk", "_namespace", "_no", "_reader", "_workflow", "id")

    def __init__(
        self,
        desk: Desk,
        namespace: str,
        workflow: str,
        id: str,
        no: int,
        reader: Workflow[Any, Any] | None,
    ) -> None:
        self._desk = desk
        self._namespace = namespace
        self._workflow = workflow
        self._no = no
        self._reader = reader
        """The code that its values are read with; None: it was there before, of a version that
        nobody has looked at yet."""
        self.id = id

    @property
    def workflow(self) -> str:
        """Name of its workflow."""
        return self._workflow

    @property
    def _who(self) -> Who:
        return Who(self._namespace, self.workflow, self.id)

    def __eq__(self, other: object) -> bool:
        """Whether both are handles on one instance, of one engine."""
        return isinstance(other, Instance) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[int, Who]:
        return (id(self._desk), self._who)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _: Any) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a handle on an instance belongs to its engine and cannot be pickled. Pass "
            f"{self.workflow!r} and {self.id!r} along, "
            "and ask `engine.get` there."
        )

    def __repr__(self) -> str:
        return f"<instance {self.workflow}/{self.id}>"

    async def status(self) -> InstanceStatus:
        """Returns where the instance stands.

        Of an output that cannot become the type its workflow returns today, `error` says so in its
        place; `result` raises that.

        Raises:
            InstanceNotFound: It is gone.
            EngineClosed: The engine is not open.
        """
        self._desk.check("instance.status")
        look = await self._desk.find(self._who)
        undo = None if look.undo is None else await self._desk.undoing(self._who, look.no)
        return standing_of(look, (await self._read_by(look.version)).output, undo)

    async def _read_by(self, version: str) -> Workflow[Any, Any]:
        if self._reader is None:
            self._reader = (await self._desk.readers()).reader(self.workflow, version)
        return self._reader

    def _output(self, payload: bytes | None) -> R_co:
        assert self._reader is not None, "until has looked"
        try:
            given: Any = None if payload is None else self._reader.output.decode(payload, "output")
        except Undecodable as error:
            raise unreadable(self.workflow, self.id, "output", error, payload) from error.__cause__
        return given  # type: ignore[no-any-return]  # it is an R_co

    async def result(self) -> R_co:
        """Waits until the instance has ended and returns its output.

        Raises:
            InstanceErrored: It errored; the text ends with the recorded error's own.
            InstanceTerminated: It was terminated.
            InvalidPayload: It is complete, and its output cannot become the type that its workflow
                returns today; `payload` has it plain.
            InstanceNotFound: It is gone.
            EngineClosed: The engine was closed meanwhile.
        """
        status, payload = await self._until(_ENDED_OR_BLOCKED, "instance.result")
        if status is Status.BLOCKED:  # it may still be resumed; whoever waits should know what for
            log.warning("waiting for the result of a blocked instance: %s", await self.explain())
            status, payload = await self._until(FINAL, "instance.result")
        if status is Status.COMPLETE:
            return self._output(payload)
        info = Telling(self.workflow, self.id).failure(payload)
        who = f"{self.workflow}/{self.id}"
        if status is Status.ERRORED:
            text = f": {info}" if info is not None else ""
            raise InstanceErrored(f"{who} failed{text}", error=info)
        text = f": {info.message}" if info is not None else ""
        raise InstanceTerminated(f"{who} was terminated{text}", error=info)

    async def wait_for_status(self, *statuses: Status | StatusName) -> Status:
        """Waits until the instance is in one of these states and returns it.

        Args:
            statuses: At least one.

        Raises:
            InvalidState: It has ended in another state, so none of them can come any more.
            InvalidConfig: One of them is no state.
            InstanceNotFound: It is gone.
        """
        if not statuses:
            raise InvalidConfig(
                "wait_for_status was given no state to wait for; give at least one."
            )
        wanted = frozenset(STATUSES[code] for code in state_codes(statuses))
        status, _ = await self._until(wanted, "instance.wait_for_status")
        return status

    async def _numbered(self, ask: Callable[[int], Awaitable[T]]) -> T:
        """Asks for whoever has the id: it may have been deleted, and created again since."""
        try:
            return await ask(self._no)
        except InstanceNotFound:
            self._no = (await self._desk.find(self._who)).no
            return await ask(self._no)

    async def _until(self, wanted: frozenset[Status], method: str) -> tuple[Status, bytes | None]:
        """Waits for one of these states."""
        desk = self._desk
        desk.check(method)
        self._no, version, status, payload = await desk.until(
            self._who, self._no, wanted, method, looks=self._reader is None
        )
        if version is not None:
            await self._read_by(version)
        if status not in wanted:
            names = ", ".join(sorted(s.value for s in wanted))
            raise InvalidState(
                f"{self.workflow}/{self.id} is {status.value}; it cannot become {names} any more",
                status=status,
            )
        return status, payload

    async def wait_for_step(self, name: str, *, count: int = 1) -> None:
        """Waits until a step of this name has been recorded `count` times. For tests.

        Raises:
            InvalidName: No step can have this name.
            InvalidState: The instance has ended without it.
            InstanceNotFound: It is gone.
            EngineClosed: The engine was closed, or drained, meanwhile.
        """
        self._desk.check("instance.wait_for_step")
        names.step_name(name)
        await self._numbered(lambda no: self._desk.recorded(self._who, no, name, count))

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
        self._desk.check("instance.send_event")
        kind = names.event_type(type)
        limit = self._desk.most_bytes(self._namespace, self.workflow)
        stored = None if payload is None else codec.encode(payload, limit=limit, where="payload")
        dedup = None if dedup_id is None else names.step_name(dedup_id, "dedup_id")
        await self._desk.send_event(self._who, kind, stored, dedup)

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
        self._desk.check("instance.request")
        kind, us = names.event_type(type), to_us(timeout, "timeout")
        limit = self._desk.most_bytes(self._namespace, self.workflow)
        stored = None if payload is None else codec.encode(payload, limit=limit, where="payload")
        dedup = str(uuid4()) if dedup_id is None else names.step_name(dedup_id, "dedup_id")
        plan = codec.plan(Any if as_type is None else usable(as_type))
        answer = await self._desk.request(self._who, kind, stored, dedup, us)
        try:
            return plan.decode(answer, "reply")
        except Undecodable as error:
            raise unreadable(self.workflow, self.id, "reply", error, answer) from error.__cause__

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
        self._desk.check("instance.pause")
        await self._desk.pause(self._who, by(actor, note))

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
        self._desk.check("instance.resume")
        version = None if to_version is None else names.step_name(to_version, "to_version")
        await self._desk.resume(self._who, by(actor, note), version)

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
        self._desk.check("instance.terminate")
        who, undoes = by(actor, note), names.flag(undo, "undo")
        await self._desk.terminate(self._who, terminated_text(who), undoes, who)

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
        self._desk.check("instance.retry_now")
        await self._desk.retry_now(self._who, by(actor, note))

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
        self._desk.check("instance.set_priority")
        wanted = names.priority(priority)
        await self._desk.set_priority(self._who, wanted, by(actor, note))

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
        self._desk.check("instance.start_now")
        await self._desk.start_now(self._who, by(actor, note))

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
        self._desk.check("instance.resolve")
        step, who = identity_of(ref, "ref"), by(actor, note)
        limit = self._desk.most_bytes(self._namespace, self.workflow)
        await self._desk.resolve(self._who, step, set_by_hand(step, value, error, limit), who)

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
    ) -> RestartPreview: ...

    async def restart(
        self,
        *,
        from_step: FromStep = None,
        dry_run: bool = False,
        actor: str | None = None,
        note: str | None = None,
    ) -> RestartPreview | None:
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
        self._desk.check("instance.restart")
        begins, who = beginning(from_step), by(actor, note)
        if dry_run:
            return await self._desk.rewound(self._who, begins)
        await self._desk.restart(self._who, begins, who)
        return None

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
        self._desk.check("instance.delete")
        await self._desk.delete(self._who, by(actor, note))

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
        self._desk.check("instance.watch")
        return self._desk.updates(self._who, self._no, cursor)

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
        self._desk.check("instance.stream")
        return self._desk.chunks(self._who, names.step_name(name), cursor)

    async def history(self) -> list[StepRecord]:
        """Returns what is recorded, oldest first; then attempts that run, with status "running";
        then what it waits for, "waiting".

        Raises:
            InstanceNotFound: It is gone.
        """
        self._desk.check("instance.history")
        return await self._numbered(lambda no: self._desk.history(self._who, no))

    async def export(self) -> dict[str, Any]:
        """Returns the instance as plain data that JSON has: its params, its state, what it waits
        for, and all that is recorded of it, as it is stored. `stepwell.testing.check_replay` says
        whether other code fits that. Of steps that are `sensitive` there is only how large their
        values are.

        Raises:
            InstanceNotFound: It is gone.
        """
        self._desk.check("instance.export")
        return await self._numbered(lambda no: self._desk.export(self._who, no))

    async def explain(self) -> Explanation:
        """Says in one paragraph why the instance is where it is.

        Raises:
            InstanceNotFound: It is gone.
        """
        self._desk.check("instance.explain")
        return await self._numbered(lambda no: self._desk.explain(self._who, no))
