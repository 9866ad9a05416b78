"""`step.map`: one step per item, at most so many at a time, one turn at its end.

The items are operations of their own with a branch each, but no body code: their outcomes are taken
in silently, in history order, and the body goes on when the last one is there, or at the first
failure, after the rest was withdrawn (I4, I11).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sized
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, NoReturn

from trio.lowlevel import Abort, enable_ki_protection

from .._body import delivery, foreign, stopping
from .._body.diagnosis import over_limits
from .._body.suspended import suspended, wake, wake_cancelled
from .._core import ABANDONED, DO, OK
from .._errors import InvalidConfig
from .._kinds import Kind
from .._replay import Identity, Outcome
from .._values.codec import Undecodable
from .._values.names import step_name
from .refusal import refuse
from .step_operation import StepOperation

if TYPE_CHECKING:
    import trio

    from .._body.branch import Branch
    from .._body.life import Life
    from .._loops.body_loop import Suspension
    from .._steps.workflow import FunctionPlan


MAP = Kind(-2)
"""Counts maps of a branch by name, beside the kinds of operation."""
_SETS: tuple[type, ...] = (set, frozenset, type(iter(set())))
"""What gives its members in the order of their hashes, which for texts is another one in every
process."""


def positioned(
    method: str, items: Iterable[Any], key: Callable[[Any], str] | None, most: int
) -> Iterable[Any]:
    """Returns the items of a `map` or `each` as they are placed: those of a set in the order of
    their keys as text (D8).

    An iterator may have no end: beyond `most` of its items it is read by whoever reads what this
    returns.

    Raises:
        InvalidConfig: A set without `key`: which item is which would be another matter after a
            restart.
        InvalidName: A key is malformed.
    """
    if not isinstance(items, _SETS):
        if isinstance(items, Sized):
            return list(items)
        rest = iter(items)
        return itertools.chain(list(itertools.islice(rest, most)), rest)
    if key is None:
        raise InvalidConfig(
            f"step.{method} was given a set, whose order is another one in every process, so that "
            "a replay would pair results with wrong items. Pass key=, a function of the item that "
            "gives each a text of its own, or a list: sorted(...)."
        )
    return sorted(items, key=lambda item: step_name(key(item), "key"))


@enable_ki_protection
async def fan_out(
    branch: Branch,
    name: str,
    fn: Any,
    items: Iterable[Any],
    plan: FunctionPlan,
    key: Any,
    concurrency: int,
    on_error: str,
) -> list[Any]:
    """What `step.map` does once it is awaited."""
    life, told = branch.life, branch.life.delivery
    await stopping.enter(life)
    await stopping.leave_if_cancelled(life)
    if key is None:
        await delivery.check_race(life, branch.path, MAP, name)
    occurrence = branch.occurrence(MAP, name)
    work: list[tuple[Identity, Any]] = []
    was_begun = False
    for index, item in enumerate(items):
        item_key = None if key is None else step_name(key(item), "key")
        identity = branch.child(name, occurrence, index, item_key).identify(DO, name, item_key)
        told.steps += 1
        work.append((identity, item))
        if told.cursor.refused and identity in told.cursor.refused:
            await refuse(life, identity, over_limits(life))
        if (told.steps > told.steps_max or told.bytes > told.bytes_max) and not was_begun:
            was_begun = _was_begun(branch, name, occurrence, {identity for identity, _ in work})
            if not was_begun:
                await refuse(life, identity, over_limits(life))
    return await MapOperation(life, fn, plan, work, concurrency, on_error).perform()


def _was_begun(branch: Branch, name: str, occurrence: int, work: set[Identity]) -> bool:
    """Whether history knows an item of this map, also one that was not come to yet: then it was
    begun within the limits of its day, whole.

    An item with a key may be any step with a key and this name that the body has not begun. There
    is none if the map was refused in its day: nothing was begun after that.
    """
    life, path = branch.life, branch.child(name, occurrence, 0).path.removesuffix("0]")
    for identity in life.delivery.cursor.known():
        kind, place, its_name, key, _ = identity
        if kind != DO or its_name != name:
            continue
        if (
            place.startswith(path)
            if key is None
            else identity in work or (kind, name, key) not in (life.delivery.keys or ())
        ):
            return True
    return False


class _Item(StepOperation):
    """One item: a step whose outcome goes to its map instead of a body task."""

    in_own_task = True
    index: int
    owner: MapOperation

    def stop(self) -> None:
        self.owner.stop()

    def resolve(self, outcome: Outcome | None) -> bool:
        assert outcome is not None, "an item has no body task that could take it from the operation"
        self.delivered = True
        return self.owner.take(self, outcome)


class MapOperation:
    """The items of one `map`, as far as they were begun."""

    def __init__(
        self,
        life: Life,
        fn: Callable[..., Any],
        plan: FunctionPlan,
        items: list[tuple[Identity, Any]],
        concurrency: int,
        on_error: str,
    ) -> None:
        self._life = life
        self._fn = fn
        self._plan = plan
        self._todo: Iterator[tuple[int, tuple[Identity, Any]]] = iter(enumerate(items))
        self._concurrency = concurrency
        self._collect = on_error == "collect"
        self._outcomes: list[tuple[_Item, Outcome] | None] = [None] * len(items)
        self._left = len(items)
        self._running: dict[int, _Item] = {}
        self._failure: tuple[_Item, Outcome] | None = None
        self._over = not items
        self._variables = copy_context()
        self.task: trio.lowlevel.Task | Suspension | None = None
        self._raise_cancel: Callable[[], NoReturn] | None = None

    async def perform(self) -> list[Any]:
        """Runs all items and returns their results in order, or raises the first failure."""
        try:
            return await self._perform()
        finally:  # the items hold this, and these hold the items: a circle
            self._outcomes.clear()
            self._failure = None
            del self._variables

    async def _perform(self) -> list[Any]:
        life = self._life
        if not self._over:
            for _ in range(self._concurrency):
                self._begin_next()
            if life.turns is None:
                delivery.deliver(life)
            if not self._over:
                life.resting = True
                try:
                    await suspended(life, self)
                except BaseException as error:
                    for item in self._running.values():
                        delivery.left(life, item, error)
                    self._running.clear()
                    raise
                if life.stopping:
                    await stopping.stop_here(life)
        if self._failure is not None:
            await self._told(*self._failure)
        values = []
        for taken in self._outcomes:
            if taken is not None:
                life.delivery.bytes += len(taken[1].payload or b"")
                values.append(await self._told(*taken))
        return values

    async def _told(self, item: _Item, outcome: Outcome) -> Any:
        try:
            return self._value(item, outcome)
        except Undecodable as error:
            await stopping.unreadable(
                self._life,
                f'step "{item.identity[2]}" (item {item.index})',
                error,
                item.identity[2],
            )

    def _value(self, item: _Item, outcome: Outcome) -> Any:
        if outcome.verdict == OK or not self._collect:
            return item.answer(outcome)
        return item.failure(outcome.payload)

    def _begin_next(self) -> None:
        following = next(self._todo, None)
        if following is None:
            return
        index, (identity, value) = following
        item = _Item(self._life, identity, self._fn, (value,), self._plan)
        item.index, item.owner, item.variables = index, self, self._variables
        self._running[index] = item
        delivery.begin(self._life, item)

    def take(self, item: _Item, outcome: Outcome) -> bool:
        """Takes one outcome. Returns whether the body goes on."""
        del self._running[item.index]
        if outcome.verdict != ABANDONED:
            self._outcomes[item.index] = (item, outcome)
            self._left -= 1
            if outcome.verdict != OK and not self._collect:
                self._failure = (item, outcome)
                self._give_up_rest()
            elif self._left:
                self._begin_next()
        if self._running:
            return False
        self._over = True
        self._life.resting = False
        task, self.task = self.task, None
        if task is not None and self._raise_cancel is not None:
            wake_cancelled(task, self._raise_cancel)
        elif task is not None:
            wake(task, None)
        return True

    def stop(self) -> None:
        """The body unwinds; as `Operation.stop`."""
        if self._life.loop is not None:
            return
        task, self.task = self.task, None
        if task is not None:
            self._life.resting = False
            wake(task, None)

    def _give_up_rest(self) -> None:
        """No item is to go on. Those whose attempt is under way stay open until that has ended
        (I8)."""
        self._todo = iter(())
        for item in list(self._running.values()):
            if item.stays_open():
                item.give_up()
            else:
                delivery.withdraw(self._life, item)
                del self._running[item.index]

    def aborted(self, raise_cancel: Callable[[], NoReturn]) -> Abort:
        """The body task that waits for the map is cancelled; as `Operation.aborted`."""
        if not any(foreign.strays(item, raise_cancel) for item in self._running.values()):
            self._give_up_rest()
            if self._running:
                self._raise_cancel = raise_cancel
                return Abort.FAILED
        self.task = None
        self._life.resting = False
        return Abort.SUCCEEDED
