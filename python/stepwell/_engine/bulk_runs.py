"""Whoever does something to many for them: finds who is left, hands the core one part after the
other, and waits in between if it is to be done at a rate.

All that is known of it is durable: what, how far, how many. So an engine that opens goes on with
what another left, and a crash in the middle of a part leaves all of it to do, or nothing. Instances
are found by the filter as they come, in the order of their numbers, up to the frontier; ids in
their own order.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import trio
from trio.lowlevel import enable_ki_protection

from .._codes import error_of
from .._errors import EngineClosed, StepwellError
from .._log import log
from .._values.codec import as_plain
from .._values.envelope import why_unreadable
from .at_fault import at_fault
from .callers import ONCE
from .counted import Reason
from .desk import LOOKED_AT_MAX, By, Order, Query, Refused, Who
from .draining import DRAINS
from .look import Look

if TYPE_CHECKING:
    from .host import Host

PART = 64
"""Instances in one commit: enough that a hundred thousand are done in some seconds, few enough that
steps which are recorded beside that wait for no more than a part. A guess, not measured yet."""
DELETE_ALL = "delete_all"
"""What is done to all instances of a namespace with all else of it, as the core calls it."""
REFUSED_MAX = 1_000
"""Errors that are kept for whoever waits; all are counted."""

Item: TypeAlias = tuple[int, str, str, tuple[str, str] | None]
"""One instance: the place that is reached with it, its workflow and id, and of an approval its id
and name."""


class Part(NamedTuple):
    """Some of those that are left, the place that is reached with all of them, and whether that is
    the end."""

    items: list[Item]
    place: int
    ends: bool


class Run:
    """One that this engine does. `over` is set when nothing more of it is done here; then `error`
    says why, if it has not ended. `number`: 0 until it is durable."""

    def __init__(self, number: int = 0) -> None:
        self.number = number
        self.over = trio.Event()
        self.scope = trio.CancelScope()
        self.error: BaseException | None = None
        self.refused: list[Refused] = []


class BulkRuns:
    """All that are under way in one engine."""

    def __init__(self, host: Host, unschedule: Callable[[str], Awaitable[None]]) -> None:
        self._host = host
        self._unschedule = unschedule
        self.removed: set[str] = set()
        """Namespaces that were deleted with everything of them since the engine opened."""
        self._runs: set[Run] = set()
        self._looked = trio.Event()
        """Set when what others left is known: what begins here is not among that."""

    @enable_ki_protection
    async def find(self) -> None:
        """Goes on with those that another engine left, or this one before it crashed."""
        try:
            reply = await self._host.ask(self._host.core.bulks, None, None, True, None, 1_000)
        except EngineClosed:
            return
        for row in reply.data or ():
            if len(row) == 2:
                log.error("bulk %d cannot be read, and is not gone on with: %s", *row)
                continue
            number, namespace, operation, *_ = row
            order = Order(namespace, operation, row[3], row[4], row[7], row[8])
            if (why := self._why_unreadable(order)) is not None:
                log.error("bulk %d is not gone on with: it %s", number, why)
                continue
            log.info("bulk %d goes on: %s of %s", number, operation, order.filter)
            self._host.nursery.start_soon(self._go_on, Run(number), order, row[9])
        self._looked.set()

    def _why_unreadable(self, order: Order) -> str | None:
        try:
            _finder(self._host, order, as_plain(order.what))
        except (KeyError, TypeError, ValueError) as error:
            known = f"is not as this version of stepwell writes it ({error})"
            return why_unreadable(order.what) or known
        return None

    def begin(self, order: Order, by: By) -> Run:
        """Begins one; from now on it goes on whether anybody waits for it or not."""
        run = Run()
        self._host.nursery.start_soon(self._begin, run, order, by)
        return run

    def abandon(self, why: str) -> None:
        """Nothing more is done here; what is left is gone on with by the next engine."""
        self._looked = trio.Event()
        for run in self._runs:
            run.error = run.error or EngineClosed(why)
            run.scope.cancel()

    def stopped(self, number: int) -> None:
        """Somebody has stopped one: whoever waits for it waits no longer."""
        for run in self._runs:
            if run.number == number:
                run.scope.cancel()

    async def _begin(self, run: Run, order: Order, by: By) -> None:
        with self._ending(run), run.scope:
            await self._looked.wait()
            namespace, operation, workflow, filter, frontier, what = order
            reply = await self._host.change(
                self._host.core.begin_bulk, namespace, operation, workflow, filter, frontier, what,
                by,
            )  # fmt: skip
            if reply.code:
                raise error_of(reply.code, reply.data, workflow=workflow or "", namespace=namespace)
            run.number = reply.data
            if ONCE.get() is not None and await self._was_begun(run, namespace):
                return
            known = run.number if frontier is None else min(frontier, run.number)
            await self._do_all(run, order._replace(frontier=known), 0)

    async def _was_begun(self, run: Run, namespace: str) -> bool:
        """Whether somebody asked for it before, who did not hear that it had begun. Returns when it
        has ended then."""
        for other in self._runs - {run}:
            if other.number == run.number:
                await other.over.wait()
                run.error, run.refused = other.error, other.refused
                return True
        core = self._host.core
        reply = await self._host.ask(core.bulks, namespace, run.number, False, None, 1)
        return any(row[-1] is not None for row in reply.data or ())

    async def _go_on(self, run: Run, order: Order, place: int) -> None:
        with self._ending(run), run.scope:
            await self._do_all(run, order, place)

    async def _do_all(self, run: Run, order: Order, place: int) -> None:
        what: Any = as_plain(order.what)
        rate, began, sent = what["rate"], self._host.core.monotonic(), 0
        finder = _finder(self._host, order, what)
        if order.operation == DELETE_ALL:
            await self._unschedule(order.namespace)
        while not self._host.draining:
            part = await finder.part(place, _size(rate))
            goes_on = await self._do(run, order, what, part)
            if goes_on and part.ends and order.operation == DELETE_ALL:
                self.removed.add(order.namespace)
                self._host.limits_changed()
            if not goes_on or part.ends:
                return
            place, sent = part.place, sent + len(part.items)
            if rate is not None:
                await self._until(began + round(sent / rate * 1_000_000))
        raise EngineClosed(DRAINS)

    @contextmanager
    def _ending(self, run: Run) -> Generator[None]:
        self._runs.add(run)
        try:
            yield
        except StepwellError as error:
            run.error = run.error or error
            if not isinstance(error, EngineClosed):
                log.error(
                    "bulk %d stands still until the engine opens again", run.number, exc_info=error
                )
        except trio.Cancelled:
            run.error = run.error or EngineClosed(DRAINS)
            raise
        finally:
            self._runs.discard(run)
            run.over.set()

    async def _do(self, run: Run, order: Order, what: Any, part: Part) -> bool:
        """Does a part. Returns whether there may be more: it may have been stopped."""
        verb = "undo" if what.get("undo") else order.operation
        verb = "delete" if verb == DELETE_ALL else verb
        forgets = None
        if verb == "resume":
            whose = [Who(order.namespace, workflow, id) for _, workflow, id, _ in part.items]
            forgets = [await at_fault(self._host, it) for it in whose]
        reply = await self._host.ask(
            self._host.core.do_part, run.number, verb, order.namespace, part.items,
            what["text"], what["payload"], what["states"], part.place, part.ends,
            None, forgets,
        )  # fmt: skip
        if reply.code:
            return False
        refused, _ = reply.data
        named = {place: (workflow, id) for place, workflow, id, _ in part.items}
        for place, code, data in refused[: REFUSED_MAX - len(run.refused)]:
            workflow, id = named[place]
            error = error_of(code, data, workflow=workflow, id=id, namespace=order.namespace)
            run.refused.append(Refused(id, error))
        return True

    async def _until(self, at: int) -> None:
        wait = at - self._host.core.monotonic()
        if wait > 0:
            over = trio.Event()
            self._host.arm(wait, over.set)
            await over.wait()


def _size(rate: float | None) -> int:
    """Returns how many are done at a time: at a rate those of a tenth of a second."""
    return PART if rate is None else max(1, min(PART, int(rate / 10)))


def _finder(host: Host, order: Order, what: Any) -> _Named | _Listed | _Everything:
    if order.operation == DELETE_ALL:
        return _Everything(host, order)
    if what["ids"] is not None:
        assert order.workflow is not None, "ids are of one workflow"
        return _Named(host, order, what["ids"], what["name"])
    query = Query(**what["query"])
    parent = None if query.parent is None else (query.parent[0], query.parent[1])
    attributes = [(key, value) for key, value in query.attributes]
    reason = None
    if query.reason is not None:
        code, alike = query.reason
        reason = Reason(code, None if alike is None else (alike[0], alike[1], alike[2]))
    query = query._replace(parent=parent, attributes=attributes, reason=reason)
    return _Listed(host, order, query, what["name"])


def _items(look: Look, place: int, order: Order, name: str | None) -> list[Item]:
    """Returns what is to be done to one instance: once, or for each approval that it waits for."""
    if order.operation not in ("approve", "reject"):
        return [(place, look.workflow, look.id, None)]
    asked = [it for it in look.open_waits if it.approval is not None]
    return [
        (place, look.workflow, look.id, (it.approval, it.name))
        for it in asked
        if it.approval is not None and name in (None, it.name)
    ]


class _Named:
    """Finds those that were named."""

    def __init__(self, host: Host, order: Order, ids: Sequence[str], name: str | None) -> None:
        self._host, self._order, self._ids, self._name = host, order, ids, name

    async def part(self, place: int, size: int) -> Part:
        order = self._order
        assert order.workflow is not None, "ids are of one workflow"
        some = self._ids[place : place + size]
        items: list[Item] = []
        for at, id in enumerate(some, place + 1):
            if order.operation in ("approve", "reject"):
                core = self._host.core
                reply = await self._host.ask(core.find, order.namespace, order.workflow, id, False)
                if reply.data is not None:
                    items += _items(Look._make(reply.data), at, order, self._name)
            else:
                items.append((at, order.workflow, id, None))
        reached = place + len(some)
        return Part(items, reached, reached >= len(self._ids))


class _Listed:
    """Finds those that a filter finds."""

    def __init__(self, host: Host, order: Order, query: Query, name: str | None) -> None:
        self._host, self._order, self._query, self._name = host, order, query, name

    async def part(self, place: int, size: int) -> Part:
        # one more, to know whether these are the last
        query = self._query._replace(beyond=place, newest_first=False, limit=size + 1)
        found, searched_to = await listed(self._host, query)
        looks, order = found[:size], self._order
        assert order.frontier is not None, "it is known when it has begun"
        last = looks[-1].no if looks else place
        if len(found) <= size and searched_to is not None:
            last = searched_to
        ends = last >= order.frontier or (len(found) <= size and searched_to is None)
        within = [look for look in looks if look.no <= order.frontier]
        items = [it for look in within for it in _items(look, look.no, order, self._name)]
        return Part(items, min(last, order.frontier), ends)


class _Everything:
    """Finds all of a namespace, until there is none."""

    def __init__(self, host: Host, order: Order) -> None:
        self._host, self._order = host, order

    async def part(self, place: int, size: int) -> Part:
        query = Query(
            self._order.namespace, None, [], None, None, None, None, None, None, place, False, size,
            [],
        )  # fmt: skip
        looks, _ = await listed(self._host, query)
        items = [it for look in looks for it in _items(look, look.no, self._order, None)]
        return Part(items, looks[-1].no if looks else place, not looks)


async def listed(host: Host, it: Query) -> tuple[list[Look], int | None]:
    """Returns a page of instances, and the number of the last that was looked at if that ended the
    search."""
    reply = await host.ask(
        host.core.list, it.namespace, it.workflow, it.states, it.version, it.reason, it.parent,
        it.created_after, it.created_before, it.beyond, it.newest_first, it.limit, it.attributes,
        it.id_prefix, LOOKED_AT_MAX, it.schedule,
    )  # fmt: skip
    if reply.code:
        raise error_of(reply.code, reply.data, workflow=it.workflow or "", namespace=it.namespace)
    rows, searched_to = reply.data
    return [Look._make(row) for row in rows], None if searched_to is None else searched_to[0]
