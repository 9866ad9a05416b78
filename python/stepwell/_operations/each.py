"""`step.each`: a branch of the body for every item, so many at a time.

On trio it is a nursery that fails bare (I11); for bodies on asyncio see `gather`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

import trio

from .._body import delivery, stopping, turns
from .._body.branch import Branch
from .._body.causes import strayed
from .._errors import InvalidConfig, LimitReached, StepFailed
from .._kinds import Kind
from .._values.names import step_name
from .calls import workflow_code
from .map import positioned
from .nursery import BRANCHES_MAX, spawn

if TYPE_CHECKING:
    from .._body.life import Life

EACH = Kind(-3)
"""Counts the `each`s of a branch by name."""


def placed(items: Iterable[Any], key: Callable[[Any], str] | None, name: str) -> list[Any]:
    """Returns the items of an `each` as they are placed.

    Raises:
        InvalidConfig: As `positioned`.
        LimitReached: They are more than a nursery may have branches.
    """
    found = list(islice(positioned("each", items, key, 0), BRANCHES_MAX + 1))
    if len(found) > BRANCHES_MAX:
        raise LimitReached(
            f'step.each "{name}" was given more than {BRANCHES_MAX:,} items',
            limit="branches",
            value=BRANCHES_MAX,
        )
    return found


async def each(
    branch: Branch, name: str, fn: Any, items: list[Any], key: Any, concurrency: int, on_error: str
) -> list[Any]:
    """What `step.each` does once it is awaited."""
    life = branch.life
    await stopping.enter(life)
    await delivery.check_race(life, branch.path, EACH, name)
    occurrence = branch.occurrence(EACH, name)
    keys = [None if key is None else step_name(key(item), "key") for item in items]
    if key is not None and len(set(keys)) < len(keys):
        raise InvalidConfig(
            f'step.each "{name}": two items have the same key; give every item its own.'
        )
    work = [
        (branch.child(name, occurrence, i, k), item)
        for i, (item, k) in enumerate(zip(items, keys, strict=True))
    ]
    if life.loop is None:
        return await Each(life, fn, work, concurrency, on_error).perform()
    from . import gather  # it imports asyncio, as this body has

    return await gather.each(life, fn, work, concurrency, on_error)


class Each:
    """The branches of one `step.each`, at most so many at a time."""

    def __init__(
        self,
        life: Life,
        fn: Callable[[Any], Awaitable[Any]],
        items: list[tuple[Branch, Any]],
        concurrency: int,
        on_error: str,
    ) -> None:
        self._life = life
        self._fn = fn
        self._todo: Iterator[tuple[int, tuple[Branch, Any]]] = iter(enumerate(items))
        self._concurrency = concurrency
        self._collect = on_error == "collect"
        self._values: list[Any] = [None] * len(items)
        self._failure: Exception | None = None

    async def perform(self) -> list[Any]:
        """Runs all branches; returns their values in order, or raises the first failure bare
        (I11)."""
        turns.open_turns(self._life)
        try:
            async with trio.open_nursery() as nursery:
                for _ in range(self._concurrency):
                    self._start_next(nursery)
        except BaseExceptionGroup as group:
            if self._failure is None or group.split(trio.Cancelled)[1] is not None:
                raise
        finally:
            turns.close_turns(self._life)
        if self._failure is not None:
            raise self._failure
        return self._values

    def _start_next(self, nursery: trio.Nursery) -> None:
        following = next(self._todo, None)
        if following is None:
            return
        index, (branch, item) = following

        async def run() -> None:
            try:
                self._values[index] = await workflow_code(self._fn, item)
            except Exception as error:
                if self._collect and isinstance(error, StepFailed):
                    self._values[index] = error
                else:
                    self._fail(error, nursery)
                    return
            except trio.Cancelled as error:
                if (stray := strayed(self._life, error)) is None:
                    raise
                self._fail(stray, nursery)
                return
            except BaseExceptionGroup as group:
                if (stray := strayed(self._life, group)) is not None:
                    self._fail(stray, nursery)
                    return
                cancelled, failed = group.split(trio.Cancelled)
                if cancelled is None or not isinstance(failed, Exception):
                    raise
                # it failed while the first failure had it cancelled, or the other way round
                self._fail(failed, nursery)
                raise cancelled from None
            self._start_next(nursery)

        spawn(nursery, branch, run)

    def _fail(self, error: Exception, nursery: trio.Nursery) -> None:
        self._failure = self._failure or error
        nursery.cancel_scope.cancel()
