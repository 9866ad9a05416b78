"""Branches of a body: `step.open_nursery`.

A trio nursery, with trio's rules for failure and cancellation (I11), whose tasks know which branch
they are (I2) and start one at a time, in the order of their calls (I4).
"""

from __future__ import annotations

import contextvars
from collections.abc import Awaitable, Callable
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import trio

from .._body import delivery, stopping, turns
from .._body.branch import Branch, place
from .._body.causes import strayed
from .._errors import InvalidState, LimitReached
from .._kinds import Kind
from .._room import need_room

if TYPE_CHECKING:
    from .._body.life import Life

T = TypeVar("T")
NURSERY = Kind(-1)
"""Counts nurseries of a branch by name, beside the kinds of operation."""
BRANCHES_MAX = 100_000
DEPTH_MAX = 32


class Started(Generic[T]):
    """A branch that was started; its value is there once the nursery's block has ended."""

    __slots__ = ("_done", "_value", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self._done = False
        self._value: T | None = None

    @property
    def value(self) -> T:
        """What the branch returned.

        Raises:
            InvalidState: It has not returned, or was cancelled.
        """
        if not self._done:
            raise InvalidState(
                f"branch {self.path} has not returned; read .value after the nursery's block"
            )
        return self._value  # type: ignore[return-value]  # set together with _done

    def set(self, value: T) -> None:
        """The branch returned."""
        self._done, self._value = True, value


class StepNursery:
    """What `async with step.open_nursery()` gives. See `Step.open_nursery`."""

    def __init__(self, life: Life, parent: Branch, name: str) -> None:
        self._life = life
        self._parent = parent
        self._name = name
        self._manager = trio.open_nursery()
        self._nursery: trio.Nursery | None = None
        self._started = 0

    async def __aenter__(self) -> StepNursery:
        need_room()
        await stopping.enter(self._life)
        if len(self._parent.order) >= DEPTH_MAX:
            raise LimitReached(
                f"nurseries nest deeper than {DEPTH_MAX} at {self._parent.path}",
                limit="depth",
                value=DEPTH_MAX,
            )
        await delivery.check_race(self._life, self._parent.path, NURSERY, self._name)
        self._occurrence = self._parent.occurrence(NURSERY, self._name)
        turns.open_turns(self._life)
        try:
            self._nursery = await self._manager.__aenter__()
        except BaseException:
            turns.close_turns(self._life)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        try:
            return await self._manager.__aexit__(kind, error, trace)
        finally:
            turns.close_turns(self._life)

    @property
    def cancel_scope(self) -> trio.CancelScope:
        """Cancels every branch."""
        assert self._nursery is not None
        return self._nursery.cancel_scope

    def start_soon(
        self, fn: Callable[..., Awaitable[T]], /, *args: Any, name: str | None = None
    ) -> Started[T]:
        """Starts `fn(*args)`, which is workflow code, as a branch.

        Branches start in the order of the calls, each once the one before it waits for something.

        Args:
            fn: An async function, or a method of `Step` such as `step.do`.
            args: What it is called with.
            name: Stands in trio's task tree; the branch's identity is its place.

        Returns:
            The branch; its `.value` is there after the block.

        Raises:
            LimitReached: This nursery has started 100,000 branches.
        """
        need_room()
        assert self._nursery is not None
        if self._started >= BRANCHES_MAX:
            raise LimitReached(
                f'nursery "{self._name}" has started {BRANCHES_MAX:,} branches',
                limit="branches",
                value=BRANCHES_MAX,
            )
        branch = self._parent.child(self._name, self._occurrence, self._started)
        self._started += 1
        started: Started[T] = Started(branch.path)

        async def run() -> None:
            try:
                started.set(await fn(*args))
            except BaseException as error:
                if (stray := strayed(self._life, error)) is not None:
                    raise stray from error
                raise

        spawn(self._nursery, branch, run, name)
        return started


def spawn(
    nursery: trio.Nursery,
    branch: Branch,
    run: Callable[[], Awaitable[None]],
    name: str | None = None,
) -> None:
    """Starts a task of the body that knows its branch from its first moment."""
    context = contextvars.copy_context()
    context.run(place.set, branch)
    context.run(partial(nursery.start_soon, run, name=name or branch.path))
