"""Operations that a body on asyncio awaits together: `step.gather`, `step.as_completed`,
`step.each`.

Each part has a task of its own. An operation such as `step.do(…)` belongs to the branch that asked
for it, and parts begin in their order, so it keeps the identity that it would have alone. A
coroutine is body code: it becomes a branch, with its place as identity (I2).
"""

from __future__ import annotations

import asyncio
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Sequence,
)
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .._body import delivery, stopping
from .._body.branch import Branch, place
from .._body.pending import Pending, need_room_for
from .._errors import InvalidConfig, LimitReached, StepFailed
from .._formats import CANCELLED_ATTEMPTS_END
from .._kinds import Kind
from .calls import workflow_code
from .nursery import BRANCHES_MAX

if TYPE_CHECKING:
    from .._body.life import Life
    from .._loops.body_loop import BodyTask

T = TypeVar("T")
GATHER = Kind(-4)
"""Counts gathered branches, beside the kinds of operation."""


class Parts:
    """What one line of a body has running beside itself."""

    def __init__(self, life: Life) -> None:
        assert life.loop is not None, "its body runs on asyncio"
        self._loop = life.loop
        self._ended: asyncio.Queue[BodyTask] = asyncio.Queue()
        self._running: dict[BodyTask, None] = {}

    def start(self, part: Awaitable[Any], branch: Branch | None = None) -> BodyTask:
        """Starts a part, as a branch or as one operation of the line that calls."""
        context = copy_context()
        if branch is not None:
            context.run(place.set, branch)
        task = self._loop.start(part, context=context)
        task.is_part = True
        if branch is None:
            here: Any = asyncio.current_task()
            task.line = getattr(here, "line", here)
        self._running[task] = None
        task.add_done_callback(self._has_ended)
        return task

    def _has_ended(self, task: asyncio.Task[Any]) -> None:
        del self._running[task]  # type: ignore[arg-type]  # every task of this loop is a BodyTask
        self._ended.put_nowait(task)  # type: ignore[arg-type]

    async def next(self) -> BodyTask:
        """Returns the next part that has ended."""
        return await self._ended.get()

    async def end(self) -> None:
        """Cancels the parts that run, and waits for them: nothing goes on behind the line that
        began it."""
        cancelled: asyncio.CancelledError | None = None
        for task in self._running:
            if not task.cancelling():  # one that is cancelled already winds down
                task.cancel()
        while self._running or not self._ended.empty():
            try:
                task = await self._ended.get()
            except asyncio.CancelledError as error:
                cancelled = error
            else:
                # what fails beside the first failure is not told
                _ = task.cancelled() or task.exception()
        if cancelled is not None:
            raise cancelled


def check(method: str, branch: Branch, operations: Sequence[Any]) -> None:
    """Checks whether operations can be awaited together here.

    Raises:
        InvalidConfig: The body runs on trio, or one of them cannot be awaited.
        LimitReached: There are too many.
    """
    try:
        _check(method, branch, operations)
    except Exception:
        _close(operations)
        raise


def _check(method: str, branch: Branch, operations: Sequence[Any]) -> None:
    if branch.life.loop is None:
        raise InvalidConfig(
            f'step.{method} is for bodies on asyncio (@workflow(runtime="asyncio")), and this one '
            "runs on trio. Use step.open_nursery, step.map or step.each."
        )
    if len(operations) > BRANCHES_MAX:
        raise LimitReached(
            f"step.{method} takes at most {BRANCHES_MAX:,} operations",
            limit="branches",
            value=BRANCHES_MAX,
        )
    for index, operation in enumerate(operations):
        if not isinstance(operation, Awaitable):
            several = (
                (" Give them one by one, with a * before what has several.")
                if isinstance(operation, Iterable)
                else ""
            )
            if isinstance(operation, set | frozenset):
                several = (
                    " A set has no order that a replay would keep: make a list of them, and "
                    "give that with a * before it."
                )
            cure = f"Write step.{method}(step.do(f, x), …).{several}"
            raise InvalidConfig(
                f"step.{method} takes operations and coroutines; argument "
                f"{index + 1} is {operation!r:.60}. {cure}"
            )
    first: dict[int, int] = {}
    for index, operation in enumerate(operations, 1):
        if first.setdefault(id(operation), index) != index:
            raise InvalidConfig(
                f"step.{method}: argument {index} is the same object as argument "
                f"{first[id(operation)]}, and an operation is awaited once. "
                "Call the method again for each."
            )


def _is_code(operation: Any) -> bool:
    """Whether this is body code, and no operation."""
    return asyncio.iscoroutine(operation) and not isinstance(operation, Pending)


def _close(operations: Sequence[Any]) -> None:
    """Nothing of it is to run: closes what Python would warn of."""
    for operation in operations:
        if _is_code(operation):
            operation.close()


def _start(
    branch: Branch, name: str, operations: Sequence[Awaitable[Any]]
) -> tuple[Parts, list[BodyTask]]:
    """Starts all parts; a coroutine among them as a branch that is named after the method."""
    # which instances of before this rule call all of them
    name = name if branch.life.who.format >= CANCELLED_ATTEMPTS_END else "gather"
    parts, occurrence = Parts(branch.life), 0
    tasks: list[BodyTask] = []
    for index, operation in enumerate(operations):
        if _is_code(operation):
            occurrence = occurrence or branch.occurrence(GATHER, name)
            tasks.append(parts.start(operation, branch.child(name, occurrence, index)))
        else:
            tasks.append(parts.start(operation))
    return parts, tasks


def _races(branch: Branch, operations: Sequence[Awaitable[Any]]) -> bool:
    """Whether another task of the branch begins branches in this turn, so that which is which is
    chance (I3); blocks then."""
    return any(map(_is_code, operations)) and delivery.races(
        branch.life, branch.path, GATHER, "gather"
    )


async def gather(branch: Branch, name: str, operations: Sequence[Awaitable[Any]]) -> list[Any]:
    """Awaits all operations; returns their values in order, or raises the first failure, bare, when
    the rest was cancelled."""
    life = branch.life
    try:
        await stopping.enter(life)
        if _races(branch, operations):
            await stopping.stop_here(life)
    except BaseException:
        _close(operations)
        raise
    parts, tasks = _start(branch, name, operations)
    try:
        for _ in tasks:
            (await parts.next()).result()
        return [task.result() for task in tasks]
    finally:
        tasks.clear()  # one has the error that leaves, whose traceback has this frame: a circle
        await parts.end()


async def each(
    life: Life,
    fn: Callable[[Any], Awaitable[Any]],
    items: Sequence[tuple[Branch, Any]],
    concurrency: int,
    on_error: str,
) -> list[Any]:
    """What `Each` is for bodies on trio."""
    parts, todo = Parts(life), iter(enumerate(items))
    values: list[Any] = [None] * len(items)
    places: dict[BodyTask, int] = {}

    def start_next() -> None:
        for index, (branch, item) in todo:
            places[parts.start(_called(fn, item), branch)] = index
            return

    try:
        for _ in range(concurrency):
            start_next()
        for _ in items:
            task = await parts.next()
            index = places.pop(task)
            try:
                values[index] = task.result()
            except StepFailed as error:
                if on_error != "collect":
                    raise
                values[index] = error
            start_next()
    finally:
        await parts.end()
    return values


async def _called(fn: Callable[[Any], Awaitable[T]], item: Any) -> T:
    return await workflow_code(fn, item)


class AsCompleted(Generic[T]):
    """What `step.as_completed` gives; see there."""

    def __init__(self, branch: Branch, operations: Sequence[Awaitable[T]]) -> None:
        self._branch = branch
        self._operations = operations
        self._left = len(operations)
        self._parts: Parts | None = None

    def __iter__(self) -> Iterator[Awaitable[T]]:
        return self

    def __next__(self) -> Awaitable[T]:
        if not self._left:
            raise StopIteration
        self._left -= 1
        return _Next(self._started())

    def __aiter__(self) -> AsyncIterator[Awaitable[T]]:
        return self

    async def __anext__(self) -> Awaitable[T]:
        if not self._left:
            raise StopAsyncIteration
        self._left -= 1
        return await self._started().next()

    def _started(self) -> Parts:
        if self._parts is None:
            need_room_for(self._operations)
            # then the instance is blocked, and no part begins anything
            _races(self._branch, self._operations)
            self._parts, _ = _start(self._branch, "as_completed", self._operations)
        return self._parts


class _Next(Generic[T]):
    """The next operation to end, to be awaited."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def __await__(self) -> Generator[Any, Any, T]:
        task = yield from self._parts.next().__await__()
        return task.result()  # type: ignore[no-any-return]  # what the operation gives
