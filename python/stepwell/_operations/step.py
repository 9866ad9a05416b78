"""`Step`: what a workflow body can ask for.

Every method checks its arguments at the call (`calls`) and names its operation by the branch that
calls it; what then happens is in `do` and its like. The object itself holds nothing but the way to
its instance.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, TypeVar, TypeVarTuple, Unpack, overload

from .. import _core
from .._body.body_log import BodyLog
from .._body.branch import Branch, place
from .._body.pending import Pending, need_room_for
from .._body.progress import report
from .._ending import End
from .._errors import InvalidConfig, InvalidName, StepFailed
from .._steps.signatures import AttemptOptions, ChildOptions, DoOptions, Given, NewChildOptions
from .._steps.workflow import Workflow
from .._types import Approval, Event, InstanceInfo, NewInstance
from .._values import names
from .._values.codec import codec, usable
from .._values.durations import Duration, from_us, instant_us, to_us
from . import child, each, patches, recalled, waits
from .attributes import change_attributes, recall_attributes, wanted
from .calls import branch_name, check_fan_out, info, misplaced, step_function
from .child import Child
from .deadline import DeadlineScope
from .do import do
from .map import fan_out, positioned
from .nursery import StepNursery

if TYPE_CHECKING:
    import random

    from .._body.life import Life
    from .gather import AsCompleted

T = TypeVar("T")
T1 = TypeVar("T1")
T2 = TypeVar("T2")
T3 = TypeVar("T3")
T4 = TypeVar("T4")
T5 = TypeVar("T5")
I = TypeVar("I")  # noqa: E741  # an item
P = TypeVar("P")
R = TypeVar("R")
Ts = TypeVarTuple("Ts")

OnError = Literal["raise", "collect"]
_thread = threading.get_ident


class Step:
    """The durable primitives of one instance. The first argument of every workflow body.

    Outside that body (in a step function, another thread, after it has ended) every method raises
    `StepwellError` and says what to do.
    """

    __slots__ = ("_life", "_thread")

    def __init__(self, life: Life) -> None:
        self._life = life
        self._thread = _thread()
        if life.delivery.cursor.changes is not None:
            recall_attributes(life)

    # Steps.

    @overload
    def do(
        self,
        fn: Callable[[*Ts], Awaitable[T]],
        *args: *Ts,
        as_type: None = None,
        **options: Unpack[DoOptions],
    ) -> Pending[T]: ...
    @overload
    def do(
        self, fn: Callable[[*Ts], T], *args: *Ts, as_type: None = None, **options: Unpack[DoOptions]
    ) -> Pending[T]: ...
    @overload
    def do(
        self, fn: Callable[[*Ts], Any], *args: *Ts, as_type: type[T], **options: Unpack[DoOptions]
    ) -> Pending[T]: ...
    @overload
    def do(
        self, fn: Callable[[*Ts], Any], *args: *Ts, as_type: Any, **options: Unpack[DoOptions]
    ) -> Pending[Any]: ...
    def do(self, fn: Any, *args: Any, name: Any = None, key: Any = None, **options: Any) -> Any:  # type: ignore[misc]  # mypy takes *args: *Ts for narrower than *args: Any
        """Runs `fn(*args)` as a step: its result is durable, and on replay answers without running
        it.

        Args:
            fn: An async function, or a plain one, which runs in a worker thread.
            args: Never stored. Keyword arguments go through `functools.partial`.
            name: Default: the function's name. 1 to 256 characters.
            key: Makes the step's identity (name, key), whatever branch or order it starts in.
            retry: Default: 5 retries from 10 seconds, doubling, up to an hour.
            timeout: For one attempt; default 10 minutes.
            heartbeat_timeout: Longest silence between two heartbeats of an attempt.
            on_interrupt: "retry" (default) tries again when a crash, or an engine that closed, cut
                an attempt short; "fail" never does.
            as_type: Stores the result as this type instead of the annotated one.
            runtime: "trio" or "asyncio": where an async function runs; default: what
                `@step_options` or the engine says.
            abandon_on_cancel: Of a plain function: when the body cancels the step, the body goes on
                at once, while the thread runs to its end; what that comes to is in the history.
                Default (False): the body goes on when the thread has ended.

        Returns:
            The result, as decoded from what was stored.

        Raises:
            StepFailed: The step gave up; also an instance of the original exception's class where
                that is possible.
            InvalidName: The name or key is malformed, or a lambda has no name.
            InvalidConfig: An option is malformed, `fn` is not a function, or (name, key) was used
                before.
            LimitReached: The instance has too many steps, or its values are too large together.
        """
        branch = self._branch("do")
        plan = getattr(fn, "__stepwell_plan__", None)
        if plan is None or options or name is not None or plan.name is None:
            plan, name = step_function(fn, "do", name, options)
        else:
            name = plan.name  # what most calls come to: a function that is known, as it is
        return Pending(do, (branch, name, key, fn, args, plan))

    @overload
    def map(
        self, fn: Callable[[I], Awaitable[T]], items: Iterable[I], *,
        on_error: Literal["raise"] = "raise", as_type: None = None,
        name: str | None = None, key: Callable[[I], str] | None = None, concurrency: int = 100,
        **options: Unpack[AttemptOptions],
    ) -> Pending[list[T]]: ...  # fmt: skip
    @overload
    def map(
        self, fn: Callable[[I], Awaitable[T]], items: Iterable[I], *, on_error: Literal["collect"],
        as_type: None = None,
        name: str | None = None, key: Callable[[I], str] | None = None, concurrency: int = 100,
        **options: Unpack[AttemptOptions],
    ) -> Pending[list[T | StepFailed]]: ...  # fmt: skip
    @overload
    def map(
        self, fn: Callable[[I], T], items: Iterable[I], *, on_error: Literal["raise"] = "raise",
        as_type: None = None,
        name: str | None = None, key: Callable[[I], str] | None = None, concurrency: int = 100,
        **options: Unpack[AttemptOptions],
    ) -> Pending[list[T]]: ...  # fmt: skip
    @overload
    def map(
        self, fn: Callable[[I], T], items: Iterable[I], *, on_error: Literal["collect"],
        as_type: None = None,
        name: str | None = None, key: Callable[[I], str] | None = None, concurrency: int = 100,
        **options: Unpack[AttemptOptions],
    ) -> Pending[list[T | StepFailed]]: ...  # fmt: skip
    @overload
    def map(
        self, fn: Callable[[I], Any], items: Iterable[I], *, on_error: Literal["raise"] = "raise",
        as_type: type[T],
        name: str | None = None, key: Callable[[I], str] | None = None, concurrency: int = 100,
        **options: Unpack[AttemptOptions],
    ) -> Pending[list[T]]: ...  # fmt: skip
    @overload
    def map(
        self, fn: Callable[[I], Any], items: Iterable[I], *, on_error: Literal["collect"],
        as_type: type[T],
        name: str | None = None, key: Callable[[I], str] | None = None, concurrency: int = 100,
        **options: Unpack[AttemptOptions],
    ) -> Pending[list[T | StepFailed]]: ...  # fmt: skip
    @overload
    def map(
        self, fn: Callable[[I], Any], items: Iterable[I], *, on_error: Literal["raise"] = "raise",
        as_type: Any,
        name: str | None = None, key: Callable[[I], str] | None = None, concurrency: int = 100,
        **options: Unpack[AttemptOptions],
    ) -> Pending[list[Any]]: ...  # fmt: skip
    @overload
    def map(
        self, fn: Callable[[I], Any], items: Iterable[I], *, on_error: Literal["collect"],
        as_type: Any,
        name: str | None = None, key: Callable[[I], str] | None = None, concurrency: int = 100,
        **options: Unpack[AttemptOptions],
    ) -> Pending[list[Any | StepFailed]]: ...  # fmt: skip
    def map(
        self, fn: Any, items: Iterable[Any], *, name: str | None = None,
        key: Callable[[Any], str] | None = None,
        concurrency: int = 100, on_error: OnError = "raise", **options: Any,
    ) -> Any:  # fmt: skip
        """Runs one step per item, at most `concurrency` at a time.

        Args:
            fn: Called with one item; async, or plain (in worker threads).
            items: At most 100,000 unless the limit on steps says otherwise. A set needs `key`.
            name: Default: the function's name.
            key: A function of the item; makes each step's identity (name, key).
            concurrency: 1 to 10,000.
            on_error: "raise": the first failure cancels the rest. "collect": failures stand in the
                list, each a `StepFailed`, whatever its step raised.
            options: As `do`: retry, timeout, heartbeat_timeout, on_interrupt, as_type,
                abandon_on_cancel.

        Returns:
            The results in the order of the items; for a set in the order of the keys as text.

        Raises:
            StepFailed: The first failure in history order, bare.
            InvalidName: As `do`.
            InvalidConfig: As `do`; or two items have the same key; or a set without `key`.
            LimitReached: The instance has too many steps, or its values are too large together.
        """
        branch = self._branch("map")
        plan, name = step_function(fn, "map", name, options)
        check_fan_out("map", concurrency, on_error)
        return Pending(
            fan_out,
            (
                branch,
                name,
                fn,
                positioned("map", items, key, self._life.delivery.steps_max),
                plan,
                key,
                concurrency,
                on_error,
            ),
        )

    @overload
    def each(
        self, fn: Callable[[I], Awaitable[T]], items: Iterable[I], *, name: str | None = None,
        key: Callable[[I], str] | None = None,
        concurrency: int = 100, on_error: Literal["raise"] = "raise",
    ) -> Pending[list[T]]: ...  # fmt: skip
    @overload
    def each(
        self, fn: Callable[[I], Awaitable[T]], items: Iterable[I], *, name: str | None = None,
        key: Callable[[I], str] | None = None,
        concurrency: int = 100, on_error: Literal["collect"],
    ) -> Pending[list[T | StepFailed]]: ...  # fmt: skip
    def each(
        self, fn: Callable[[I], Awaitable[T]], items: Iterable[I], *, name: str | None = None,
        key: Callable[[I], str] | None = None,
        concurrency: int = 100, on_error: OnError = "raise",
    ) -> Any:  # fmt: skip
        """Runs `fn(item)`, which is workflow code, for every item: one branch each, at most
        `concurrency` at a time.

        Args:
            fn: An async function that may use `step`, or any that returns what to await:
                `step.sleep`, `lambda n: step.call(audit, n)`.
            items: What to call it with, at most 100,000. A set needs `key`.
            name: Default: the function's name.
            key: A function of the item; makes the branch's identity (name, key) instead of (name,
                index).
            concurrency: 1 to 10,000.
            on_error: "raise": the first failure cancels the rest. "collect": a `StepFailed` stands
                in the list; whatever else a branch raises (`EventTimeout`, `Rejected`,
                `InstanceErrored`, an error of its own) is raised as with "raise". Catch in `fn`
                what is to stand in the list, and return it.

        Returns:
            What the branches returned, in the order of the items; for a set in the order of the
            keys as text.

        Raises:
            InvalidName: As `do`.
            InvalidConfig: `fn` returns nothing to await, an option is malformed, two items have the
                same key, or a set without `key`.
            LimitReached: More than 100,000 items.
            Exception: Whatever the first branch to fail raised, bare.
        """
        branch = self._branch("each")
        label = branch_name(fn, "each", name)
        check_fan_out("each", concurrency, on_error)
        return Pending(
            each.each,
            (branch, label, fn, each.placed(items, key, label), key, concurrency, on_error),
        )

    @overload
    def gather(self, o1: Awaitable[T1], /) -> Pending[tuple[T1]]: ...  # pyright: ignore[reportOverlappingOverload]  # as asyncio's
    @overload
    def gather(self, o1: Awaitable[T1], o2: Awaitable[T2], /) -> Pending[tuple[T1, T2]]: ...
    @overload
    def gather(
        self, o1: Awaitable[T1], o2: Awaitable[T2], o3: Awaitable[T3], /
    ) -> Pending[tuple[T1, T2, T3]]: ...
    @overload
    def gather(
        self, o1: Awaitable[T1], o2: Awaitable[T2], o3: Awaitable[T3], o4: Awaitable[T4], /
    ) -> Pending[tuple[T1, T2, T3, T4]]: ...
    @overload
    def gather(
        self,
        o1: Awaitable[T1],
        o2: Awaitable[T2],
        o3: Awaitable[T3],
        o4: Awaitable[T4],
        o5: Awaitable[T5],
        /,
    ) -> Pending[tuple[T1, T2, T3, T4, T5]]: ...
    @overload
    def gather(self, *operations: Awaitable[T]) -> Pending[list[T]]: ...
    def gather(self, *operations: Awaitable[Any]) -> Any:
        """Awaits several operations together, in a body on asyncio.

        They begin in the order in which they are given. An operation keeps the identity it would
        have alone. A coroutine is body code and becomes a branch, with its place among the
        arguments as identity, so that its operations need no keys.

        Args:
            operations: What would be awaited alone: `step.do(…)` and its like, coroutines of body
                code, tasks.

        Returns:
            A list of their values, in the order of the arguments. (For type checkers up to five are
            a tuple, as with `asyncio.gather`.)

        Raises:
            InvalidConfig: The body runs on trio (use `open_nursery`, `map` or `each`), or an
                argument cannot be awaited.
            LimitReached: More than 100,000 operations.
            Exception: Whatever the first of them to fail raised, bare, after the others were
                cancelled.
        """
        need_room_for(operations)
        from . import gather  # here, because asyncio takes long to import

        branch = self._branch("gather")
        gather.check("gather", branch, operations)
        return Pending(gather.gather, (branch, "gather", operations))

    @overload
    def as_completed(self, o1: Awaitable[T1], o2: Awaitable[T2], /) -> AsCompleted[T1 | T2]: ...
    @overload
    def as_completed(
        self, o1: Awaitable[T1], o2: Awaitable[T2], o3: Awaitable[T3], /
    ) -> AsCompleted[T1 | T2 | T3]: ...
    @overload
    def as_completed(
        self, o1: Awaitable[T1], o2: Awaitable[T2], o3: Awaitable[T3], o4: Awaitable[T4], /
    ) -> AsCompleted[T1 | T2 | T3 | T4]: ...
    @overload
    def as_completed(
        self,
        o1: Awaitable[T1],
        o2: Awaitable[T2],
        o3: Awaitable[T3],
        o4: Awaitable[T4],
        o5: Awaitable[T5],
        /,
    ) -> AsCompleted[T1 | T2 | T3 | T4 | T5]: ...
    @overload
    def as_completed(self, *operations: Awaitable[T]) -> AsCompleted[T]: ...
    def as_completed(self, *operations: Awaitable[Any]) -> AsCompleted[Any]:
        """Gives the results of several operations in the order in which they come, in a body on
        asyncio.

        Write `for done in step.as_completed(…): value = await done`, or `async for`, where `await
        done` does not wait any more. A replay has the same order. They begin, as with `gather`,
        when the loop does. Those that still run when it is left go on until the body ends.

        Args:
            operations: As `gather`.

        Raises:
            InvalidConfig: As `gather`.
            LimitReached: As `gather`.
        """
        need_room_for(operations)
        from . import gather

        branch = self._branch("as_completed")
        gather.check("as_completed", branch, operations)
        return gather.AsCompleted(branch, operations)

    def open_nursery(self, name: str | None = None) -> StepNursery:
        """Opens a nursery whose tasks are branches of this body; as `trio.open_nursery`, but it
        replays.

        Args:
            name: Tells it from other nurseries of the branch; default "nursery".

        Raises:
            InvalidName: The name is malformed.
            InvalidConfig: The body runs on asyncio (use `gather`, `as_completed`, `each` or
                `asyncio.TaskGroup`).
        """
        branch = self._branch("open_nursery")
        if self._life.loop is not None:
            raise InvalidConfig(
                "step.open_nursery is for bodies on trio, and this one runs on asyncio. Use "
                "step.gather, step.as_completed, step.each, or asyncio.TaskGroup, with a key= for "
                "operations of the same name."
            )
        return StepNursery(
            self._life, branch, names.step_name(name if name is not None else "nursery")
        )

    # Waits.

    def sleep(self, duration: Duration, *, name: str | None = None) -> Pending[None]:
        """Sleeps durably: the deadline survives restarts and is never early.

        Args:
            duration: 0 to 365 days.
            name: Default "sleep".

        Raises:
            InvalidConfig: The duration is malformed.
        """
        us = to_us(duration, "duration")
        return self._sleep(lambda: self._life.port.now() + us, self._branch("sleep"), name, False)

    def sleep_until(self, when: datetime, *, name: str | None = None) -> Pending[None]:
        """Sleeps until an instant; one in the past returns at once.

        Args:
            when: An aware datetime, at most 365 days ahead.
            name: Default "sleep".

        Raises:
            InvalidConfig: It is naive or too far ahead.
        """
        until, branch = instant_us(when, "when"), self._branch("sleep_until")
        # from the turn's own time, so that replay decides alike
        if until - self._life.delivery.at > waits.WAIT_MAX_US:
            raise InvalidConfig(f"when={when!r} is more than 365 days ahead; sleep in a loop.")
        return self._sleep(lambda: until, branch, name, True)

    def _sleep(
        self, until: Callable[[], int], branch: Branch, name: str | None, is_fixed: bool
    ) -> Pending[None]:
        label = names.step_name(name if name is not None else "sleep")
        return Pending(waits.sleep, (branch, label, until, is_fixed))

    @overload
    def wait_for_event(
        self,
        *types: str,
        timeout: Duration | None = None,
        name: str | None = None,
        as_type: type[T],
    ) -> Pending[Event[T]]: ...
    @overload
    def wait_for_event(
        self,
        *types: str,
        timeout: Duration | None = None,
        name: str | None = None,
        as_type: Any = None,
    ) -> Pending[Event[Any]]: ...
    def wait_for_event(
        self,
        *types: str,
        timeout: Duration | None = None,
        name: str | None = None,
        as_type: Any = None,
    ) -> Pending[Event[Any]]:
        """Waits for an event of one of these types; one that arrived earlier counts.

        Args:
            types: 1 to 32 event types.
            timeout: Default 365 days.
            name: Default: the types joined by "|". A wait that is open under its name already keeps
                the types that it was opened for, whatever new code asks for: they are in `explain`.
            as_type: What the payload is to become; default: plain data. An event without one has
                None.

        Raises:
            EventTimeout: None came in time.
            InvalidPayload: The payload cannot become `as_type`; the event is consumed.
            InvalidName: A type or the name is malformed.
            InvalidConfig: No type, or the timeout is malformed.
        """
        branch = self._branch("wait_for_event")
        if not 1 <= len(types) <= 32:
            raise InvalidConfig(f"wait_for_event takes 1 to 32 event types, got {len(types)}.")
        if isinstance(types[0], list | tuple | set):
            raise InvalidName(
                f"wait_for_event was given {types[0]!r:.120}; give one type after the other: "
                'wait_for_event("paid", "refused").'
            )
        kinds = [names.event_type(t) for t in types]
        label = names.wait_name(kinds) if name is None else names.step_name(name)
        us = waits.WAIT_MAX_US if timeout is None else to_us(timeout, "timeout")
        return Pending(waits.event, (branch, label, kinds, us, usable(as_type)))

    @overload
    def wait_for_approval(
        self,
        name: str,
        *,
        detail: Any = None,
        timeout: Duration | None = "7 days",
        as_type: type[T],
    ) -> Pending[Approval[T | None]]: ...
    @overload
    def wait_for_approval(
        self,
        name: str,
        *,
        detail: Any = None,
        timeout: Duration | None = "7 days",
        as_type: Any = None,
    ) -> Pending[Approval]: ...
    def wait_for_approval(
        self,
        name: str,
        *,
        detail: Any = None,
        timeout: Duration | None = "7 days",
        as_type: Any = None,
    ) -> Pending[Approval]:
        """Waits until somebody approves; see `engine.approvals`.

        Args:
            name: What is to be approved; with its occurrence it makes the approval's id.
            detail: Storable data for whoever decides.
            timeout: Default 7 days; None: 365 days.
            as_type: What the decision's metadata is to become; without any it is None. Metadata
                that cannot become it blocks the instance (`undecodable`): the decision is made, and
                stands, so the type has to take it.

        Raises:
            Rejected: It was refused.
            ApprovalTimeout: Nobody decided in time.
            NotSerializable: `detail` cannot be stored.
            TooLarge: `detail` is over the limit for one value.
        """
        branch = self._branch("wait_for_approval")
        label = names.step_name(name)
        us = waits.WAIT_MAX_US if timeout is None else to_us(timeout, "timeout")
        stored, refusal, limit = None, None, self._life.value_bytes
        if detail is not None:
            stored, refusal = recalled.encoded(
                branch,
                _core.APPROVAL,
                label,
                lambda: codec.encode(detail, limit=limit, where="detail"),
            )
        return Pending(waits.approval, (branch, label, stored, refusal, us, usable(as_type)))

    # Deadlines and changes of the code.

    def move_on_after(self, duration: Duration, name: str | None = None) -> DeadlineScope:
        """Cancels what the `with` block still waits for once `duration` has passed; the body then
        goes on after the block.

        The deadline is `now()` plus `duration`; in the first turn, where `now()` is when the
        instance was created, it counts from when the body runs. It is durable: it holds over
        restarts and while the instance is parked, and what it decided is recorded, so that a replay
        takes the same way. A deadline that passes after the block was left does nothing.

        Args:
            duration: 0 to 365 days.
            name: Tells it from other deadlines of the branch; default "move_on_after".

        Returns:
            A context manager; `cancelled_caught` says whether the block was cut short.

        Raises:
            InvalidConfig: The duration is malformed.
            InvalidName: The name is malformed.
        """
        return self._deadline("move_on_after", duration, name)

    def fail_after(self, duration: Duration, name: str | None = None) -> DeadlineScope:
        """As `move_on_after`, but a block that is cut short raises.

        Args:
            duration: 0 to 365 days.
            name: Tells it from other deadlines of the branch; default "fail_after".

        Raises:
            trio.TooSlowError: At the end of the block, if it was cut short; in a body on asyncio,
            TimeoutError.
            InvalidConfig: The duration is malformed.
            InvalidName: The name is malformed.
        """
        return self._deadline("fail_after", duration, name)

    def _deadline(self, method: str, duration: Duration, name: str | None) -> DeadlineScope:
        us, branch = to_us(duration, "duration"), self._branch(method)
        return DeadlineScope(
            branch,
            us,
            names.step_name(name if name is not None else method),
            method == "fail_after",
        )

    def patched(self, change_id: str) -> Pending[bool]:
        """Says whether this instance runs the code that a change brought, or the code from before
        it.

        Decided when the body first comes here: True unless it is replaying outcomes that were
        recorded before; then it answers the same for ever, wherever in the body it is asked. Write
        `if await step.patched("id"): … else: …` with the old code in the `else`, and remove both
        once no instance from before is left.

        Args:
            change_id: Names the change; 1 to 256 characters.

        Raises:
            InvalidName: The id is malformed.
        """
        branch = self._branch("patched")
        return Pending(patches.ask, (branch, names.step_name(change_id, "change_id")))

    def set_attributes(
        self, attributes: dict[str, str | int | float | bool | None]
    ) -> Pending[None]:
        """Changes the attributes that this instance is listed by: these are set, and those that are
        None removed; the others stay.

        Returns when that is durable. It is an operation like any other: a replay passes it and
        changes nothing. `step.instance.attributes` has the change from then on.

        Args:
            attributes: As `Engine.create`, or None to remove one.

        Raises:
            InvalidConfig: They are malformed; or with those that are there they would be more than
                32, or more than 4 KiB together: nothing is changed then.
        """
        branch = self._branch("set_attributes")
        return Pending(change_attributes, (branch, wanted(attributes)))

    # Children and other instances.

    @overload
    def create(
        self, workflow: Workflow[None, R], params: None = None, **options: Unpack[NewChildOptions]
    ) -> Pending[Child[R]]: ...
    @overload
    def create(
        self, workflow: Workflow[P, R], params: Given[P], **options: Unpack[NewChildOptions]
    ) -> Pending[Child[R]]: ...
    @overload
    def create(
        self, workflow: str, params: Any = None, **options: Unpack[NewChildOptions]
    ) -> Pending[Child[Any]]: ...
    def create(
        self, workflow: Workflow[Any, Any] | str, params: Any = None, *, id: str | None = None,
        name: str | None = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> Pending[Child[Any]]:  # fmt: skip
        """Creates exactly one child, however often this body replays. It lives on when this
        instance ends.

        Args:
            workflow: A registered workflow, or its name.
            params: What it starts with.
            id: Default: derived from this operation.
            name: Default: the workflow's name.
            attributes: As `Engine.create`.

        Raises:
            InstanceExists: The id is taken.
            NotSerializable: The params cannot be stored.
            TooLarge: They are over the limit for one value.
            InvalidName: The id is malformed.
            InvalidConfig: The workflow is not registered, or the attributes are malformed.
        """
        branch = self._branch("create")

        def encode(target: Workflow[Any, Any]) -> tuple[bytes | None, bytes | None]:
            limit = child.value_bytes_of(self._life, target.name)
            stored = child.encode_params(target, params, limit)
            return stored, codec.encode(names.attributes(attributes)) if attributes else None

        label, target, given, refusal = child.asked(branch, _core.CREATE, workflow, name, encode)
        child_id = None if id is None else names.instance_id(id)
        return Pending(child.create, (branch, label, target, given, refusal, child_id))

    @overload
    def create_batch(
        self,
        workflow: Workflow[P, R],
        items: Sequence[Given[P] | NewInstance[P]],
        *,
        name: str | None = None,
    ) -> Pending[list[Child[R]]]: ...
    @overload
    def create_batch(
        self, workflow: str, items: Sequence[Any], *, name: str | None = None
    ) -> Pending[list[Child[Any]]]: ...
    def create_batch(
        self, workflow: Workflow[Any, Any] | str, items: Sequence[Any], *, name: str | None = None
    ) -> Pending[list[Child[Any]]]:
        """Creates thousands of children as one record: all of them or none.

        Args:
            workflow: A registered workflow, or its name.
            items: 1 to 10,000 params, or `NewInstance`s (its params, id and attributes are used).
            name: Default: the workflow's name.

        Raises:
            InstanceExists: One of the ids is taken, or given twice.
            InvalidConfig: Too few or too many items.
            NotSerializable: Some params cannot be stored; the text says which item.
            TooLarge: Some are over the limit for one value.
        """
        branch = self._branch("create_batch")

        def encode(
            target: Workflow[Any, Any],
        ) -> list[tuple[str | None, bytes | None, bytes | None]]:
            names.check_batch(items)
            return [child.item(self._life, target, item, index) for index, item in enumerate(items)]

        label, target, prepared, refusal = child.asked(
            branch, _core.CREATE_BATCH, workflow, name, encode
        )
        return Pending(child.create_batch, (branch, label, target, items, prepared, refusal))

    @overload
    def call(
        self, workflow: Workflow[None, R], params: None = None, **options: Unpack[ChildOptions]
    ) -> Pending[R]: ...
    @overload
    def call(
        self, workflow: Workflow[P, R], params: Given[P], **options: Unpack[ChildOptions]
    ) -> Pending[R]: ...
    @overload
    def call(
        self, workflow: str, params: Any = None, **options: Unpack[ChildOptions]
    ) -> Pending[Any]: ...
    def call(
        self,
        workflow: Workflow[Any, Any] | str,
        params: Any = None,
        *,
        id: str | None = None,
        name: str | None = None,
    ) -> Pending[Any]:
        """Creates a child and waits for its output, without a slot. It is terminated with this
        instance.

        Args:
            workflow: A registered workflow, or its name.
            params: What it starts with.
            id: Default: derived from this operation.
            name: Default: the workflow's name.

        Raises:
            InstanceErrored: The child errored.
            InstanceTerminated: It was terminated.
            InstanceExists: The id is taken.
            NotSerializable: The params cannot be stored.
            TooLarge: They are over the limit for one value.
        """
        branch = self._branch("call")
        label, target, stored, refusal = child.asked(
            branch,
            _core.CALL,
            workflow,
            name,
            lambda target: child.encode_params(
                target, params, child.value_bytes_of(self._life, target.name)
            ),
        )
        child_id = None if id is None else names.instance_id(id)
        return Pending(child.call, (branch, label, target, stored, refusal, child_id))

    def send_event(
        self,
        workflow: Workflow[Any, Any] | str,
        id: str,
        type: str,
        payload: Any = None,
        *,
        name: str | None = None,
    ) -> Pending[None]:
        """Sends an event to another instance of this namespace, once however often this body
        replays.

        Args:
            workflow: Workflow of the receiver, or its name.
            id: Its id.
            type: The event's type.
            payload: Storable data.
            name: Default: the type.

        Raises:
            InstanceNotFound: There is no such instance.
            InvalidState: It is final.
            LimitReached: It has 1,000 events that no wait took yet, and no wait is open that takes
                this one.
            NotSerializable: The payload cannot be stored.
            TooLarge: It is over the limit for one value.
        """
        branch = self._branch("send_event")
        target = (
            workflow.name
            if isinstance(workflow, Workflow)
            else names.workflow_name(workflow, "the receiver's workflow")
        )
        return child.send_event(branch, target, id, type, payload, name)

    # What replays without being stored.

    def now(self) -> datetime:
        """Returns the time of the outcome that this turn delivers: the same on every replay.

        In the first turn, which has no outcome, that is when the instance was created, although it
        may start later: at its `start_at`, or when there is a slot. Where the present is meant, let
        a step return it. Deadlines count from when the body runs there.
        """
        self._branch("now")
        return from_us(self._life.delivery.at)

    def uuid(self) -> uuid.UUID:
        """Returns the next of this branch's UUIDs: the same on every replay."""
        return self._branch("uuid").uuid()

    @property
    def random(self) -> random.Random:
        """This branch's generator: the same numbers on every replay."""
        return self._branch("random").random

    @property
    def instance(self) -> InstanceInfo:
        """What is known about this instance."""
        return info(self._life)

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """Logs to "stepwell.workflow"; silent on replay, carries the instance id."""
        return BodyLog(self._life)

    def report(self, progress: Any = None, message: str | None = None, **fields: Any) -> None:
        """Tells watchers how far the instance is; the last report is kept, none is repeated on
        replay.

        Args:
            progress: Any storable value, by habit a number from 0 to 1.
            message: One line for a person.
            fields: More storable values.

        Raises:
            NotSerializable: A value cannot be stored.
            TooLarge: All of it is over 64 KiB encoded.
        """
        self._branch("report")
        report(self._life, progress, message, fields)

    # Inside.

    def _branch(self, method: str) -> Branch:
        """Returns the branch that calls; says so if nobody may call here (I7)."""
        here, life = place.get(), self._life
        has_ended = life.stopping and life.stopping is End.FINISHED
        if (
            type(here) is Branch
            and here.life is life
            and _thread() == self._thread
            and not has_ended
        ):
            return here
        return misplaced(life, method, other_thread=_thread() != self._thread)
