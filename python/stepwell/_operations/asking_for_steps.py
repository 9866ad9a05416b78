"""The methods of `Step` that run functions: steps, and branches of the body.

Each checks its arguments at the call (`calls`), and hands what it was asked for to the operation.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal, TypeVar, TypeVarTuple, Unpack, overload

from .._body.pending import Pending, need_room_for
from .._errors import InvalidConfig, StepFailed
from .._steps.signatures import AttemptOptions, DoOptions
from .._values import names
from . import each, model
from .asking import Asking
from .calls import branch_name, check_fan_out, step_function
from .do import do
from .map import fan_out, positioned
from .nursery import StepNursery

if TYPE_CHECKING:
    from .._steps.retry import Retry
    from .gather import AsCompleted

T = TypeVar("T")
T1 = TypeVar("T1")
T2 = TypeVar("T2")
T3 = TypeVar("T3")
T4 = TypeVar("T4")
T5 = TypeVar("T5")
I = TypeVar("I")  # noqa: E741  # an item
Ts = TypeVarTuple("Ts")

OnError = Literal["raise", "collect"]


class AskingForSteps(Asking):
    """Runs functions: `do`, `map`, and the ways to do several things at once."""

    __slots__ = ()

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
            undo: What undoes the step if its instance fails, or is terminated with `undo=True`: a
                function that takes an `UndoContext`, or an `Undo`. Undos run one after the other,
                the step that began last first, for every step that began: also for one that failed,
                or was cut short.
            as_type: Stores the result as this type instead of the annotated one.
            runtime: "trio" or "asyncio": where an async function runs; default: what
                `@step_options` or the engine says.
            abandon_on_cancel: Of a plain function: when the body cancels the step, the body goes on
                at once, while the thread runs to its end; what that comes to is in the history.
                Default (False): the body goes on when the thread has ended.
            sensitive: True: what the step returns, saves and reports, and the fields of exceptions
                that it raises, are for the body and the next attempt alone; whoever looks from
                outside is told how long they are (`Redacted`). Texts of exceptions and tracebacks
                are your own, and are shown.

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
                abandon_on_cancel, sensitive, undo.

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
    def model(
        self, fn: Callable[..., Any], /, *, as_type: type[T], key: str | None = None,
        name: str | None = None, stream_to: str | None = None,
        collect: Callable[[list[Any]], Any] | None = None, retry: Retry | None = None,
        **for_the_client: Any,
    ) -> Pending[T]: ...  # fmt: skip
    @overload
    def model(
        self, fn: Callable[..., Any], /, *, as_type: Any = None, key: str | None = None,
        name: str | None = None, stream_to: str | None = None,
        collect: Callable[[list[Any]], Any] | None = None, retry: Retry | None = None,
        **for_the_client: Any,
    ) -> Pending[Any]: ...  # fmt: skip
    def model(
        self, fn: Callable[..., Any], /, *, as_type: Any = None, key: str | None = None,
        name: str | None = None, stream_to: str | None = None,
        collect: Callable[[list[Any]], Any] | None = None, retry: Retry | None = None,
        **for_the_client: Any,
    ) -> Pending[Any]:  # fmt: skip
        """Calls a model as a step: `await step.model(client.messages.create, model="…",
        messages=[…])`. As `do(fn)`, and beside that: what a client of yours returns is stored as
        plain data, a server that says when to come back (`Retry-After`) is heard, and how many
        tokens it took is in the trace (`stepwell.otel`).

        Give your client no retries of its own (`max_retries=0`): only one of the two should try
        again.

        Args:
            fn: A function of your client, async or blocking. One that streams, with items to
                iterate over, is read to its end.
            as_type: Stores what it gave as this type, in place of plain data.
            key: As `do`.
            name: Default "model". 1 to 256 characters.
            stream_to: The stream of this instance that the items go to as they come
                (`engine.stream`). They are there for ten minutes after the step is recorded; from
                then on its value stands for them. An attempt that follows sends all anew.
            collect: Makes the step's value of the list of all items; may be async. Default: the
                list itself.
            retry: As `do`. How long a server asks to be left alone replaces the delay, up to
                `max_delay`.
            for_the_client: All other keywords, `timeout` among them, are `fn`'s. They are not
                stored.

        Returns:
            What it gave, as decoded from what was stored.

        Raises:
            StepFailed: The step gave up, as with `do`.
            InvalidName: The name, the key or the stream is malformed.
            InvalidConfig: `fn` or `collect` is no function, or `retry` none.
            LimitReached: As `do`; and, as StepFailed, the stream holds what it may.
        """
        is_typed = as_type is not None
        asked = model.function_for(fn, stream_to, collect, is_typed, for_the_client)
        options = {"retry": model.polite(retry), "as_type": as_type}
        plan, label = step_function(asked, "model", name or "model", options)
        return Pending(do, (self._branch("model"), label, key, asked, (), plan))

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
