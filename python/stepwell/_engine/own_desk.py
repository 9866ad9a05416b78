"""The desk of an engine in this process: every call goes through its driver to the core, and comes
back as values or errors of the API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVarTuple

import outcome as results
from trio.lowlevel import checkpoint_if_cancelled

from .._body import diagnosis
from .._codes import error_of, not_found
from .._core import NOT_FOUND, OK, CoreError
from .._errors import EngineClosed, InvalidState
from .._operations import standing
from .._replay import STEPS, Identity, Recorded
from .._types import (
    STATUSES,
    EngineStatistics,
    Explanation,
    Limits,
    RestartPreview,
    Status,
    StepRecord,
)
from .._values.payloads import reference
from . import explanation, history, rewinding, statistics
from .at_fault import at_fault
from .desk import (
    By,
    Code,
    Ended,
    Made,
    Memory,
    NewItem,
    Order,
    Reached,
    Set,
    Who,
)
from .draining import DRAINED
from .following import Changes, Following, Updates
from .look import Look
from .reading import Reading
from .requesting import Requesting
from .resolving import as_secret_as
from .rewinding import Beginning
from .streaming import Chunks
from .watching import News

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._core import Core
    from .callers import Listener
    from .driver import Driver
    from .host import Reply
    from .registry import Registry
    from .schedule_rows import FiringRow, Plan, ScheduleRow

Ts = TypeVarTuple("Ts")

_NOBODY = Who("", "", "")
"""Of what is asked of the whole engine."""
_QUEUED = "only while it is queued can its place in the queue be changed"
_RESTS = "pause it first, for only what is paused or blocked becomes another version"
_STANDS_STILL = "pause() it first, for an attempt that runs may come to something else"
"""What takes these states."""
_BLOCKED = STATUSES.index(Status.BLOCKED)
_AT_WORK = (Status.RUNNING, Status.WAITING_FOR_PAUSE, Status.WAITING)


def _unless_large(news: News) -> News:
    """Returns what a watch was told; None, so that somebody looks, if that is yet to be fetched."""
    return None if news is None or reference(news[1]) is not None else news


class Door(Protocol):
    """Who may call an engine, and when: the engine itself says so. Each returns its driver.

    Raises:
        EngineClosed: From each, if it is not open.
    """

    _grace: float

    def _running(self) -> Driver:
        """Of any thread, as long as it is open."""
        ...

    def _ready(self, method: str) -> Driver:
        """Of code that may call this method here and now."""
        ...

    def _admitting(self, method: str) -> Driver:
        """As `_ready`, while new instances are let in."""
        ...


class OwnDesk(Reading):
    """See `Desk`."""

    def __init__(self, door: Door) -> None:
        self._door = door

    def __repr__(self) -> str:
        return repr(self._door)

    # Who may call.

    @property
    def code(self) -> Registry:
        return self._driver.code

    @property
    def _looks(self) -> Core:
        return self._driver.core

    @property
    def _driver(self) -> Driver:
        return self._door._running()

    def check(self, method: str) -> None:
        self._door._ready(method)

    def check_admits(self, method: str) -> None:
        self._door._admitting(method)

    # From memory.

    def memory(self) -> Memory:
        return self._door._running().core

    def limits_of(self, namespace: str, workflow: str | None) -> Limits:
        return self._driver.limits_of(namespace, workflow)

    async def registry(self) -> Registry:
        return self._driver.code

    readers = registry

    def value_bytes(self, namespace: str, workflow: str | None) -> int:
        return self.limits_of(namespace, workflow).value_bytes

    def most_bytes(self, namespace: str, workflow: str | None) -> int:
        return self._driver.most_bytes(self.value_bytes(namespace, workflow))

    async def limits(self, namespace: str, workflow: str | None) -> Limits:
        return self.limits_of(namespace, workflow)

    async def counts(self, namespace: str | None, workflow: str | None) -> list[tuple[int, int]]:
        return self._driver.core.counts(namespace, workflow)

    async def versions(
        self, namespace: str | None, workflow: str | None
    ) -> list[tuple[str, str, list[int]]]:
        return self._driver.core.versions(namespace, workflow)

    # Creations.

    async def create(self, code: Code, item: NewItem, if_exists: str) -> tuple[int, str, bool]:
        driver = self._driver
        reply = await driver.let_in(driver.core.create, *code, *item, if_exists)
        if reply.code:
            raise error_of(
                reply.code, reply.data, workflow=code.workflow, id=item[0], namespace=code.namespace
            )
        no, id, created, _ = reply.data
        return no, id, created

    async def create_batch(
        self, code: Code, items: list[NewItem], if_exists: str, *, waits: bool
    ) -> list[Made]:
        driver = self._driver
        reply = await driver.let_in(driver.core.create_batch, *code, items, if_exists, waits)
        if reply.code:
            raise error_of(
                reply.code,
                reply.data,
                workflow=code.workflow,
                namespace=code.namespace,
                waits=waits,
            )
        made: list[Made] = reply.data
        return made

    # Looking.

    async def slots(self, namespace: str, workflow: str) -> tuple[int, tuple[int, int, int], float]:
        driver = self._driver
        workflow = driver.code.current(workflow)
        leased = [0, 0, 0]
        for of, name, used, *_ in driver.core.workflow_statistics():
            is_own = of == namespace and name == workflow
            for at, counts in enumerate((True, of == namespace, is_own)):
                leased[at] += used * counts
        freed, window = driver.core.slots_freed(namespace, workflow)
        minutes = min(window, driver.monotonic() - driver.opened) / 60e6
        rate = freed / minutes if minutes > 0 else 0.0
        a, b, c = leased
        return driver.core.statistics()["slots"], (a, b, c), rate

    async def history(self, who: Who, no: int) -> list[StepRecord]:
        runner = self._driver.runners.get(no)
        # before the look: what ends meanwhile is recorded in that
        running = [] if runner is None else standing.of(runner)
        look, records = await self.records(who, no)
        return history.lines(records, running, look.open_waits, look.seeded)

    async def _whole(self, who: Who, no: int) -> tuple[Look, list[Recorded], Look]:
        if self._driver.depot is None:
            return await super()._whole(who, no)
        core: Any = self._driver.core
        look, records = self._told(who, await self._asked(who, core.whole_history, no))
        row = await self._asked(who, core.find_whole, *look[1:3], look.id)
        return look, records, Look._make(row or (await self.find(who)))

    async def recorded(self, who: Who, no: int, name: str, count: int) -> None:
        driver = self._driver
        while True:
            changed = driver.next_record()
            look, records = await self.records(who, no)
            done = sum(it.name == name and it.verdict == OK for it in records)
            if done >= count:
                return
            if look.status.is_final:
                text = (
                    f'{who.workflow}/{who.id} is {look.status.value}; "{name}" was recorded '
                    f"{done} times"
                )
                raise InvalidState(text, status=look.status)
            if driver.drained:
                raise EngineClosed(DRAINED)
            await changed.wait()

    @property
    def driver(self) -> Driver:
        return self._driver

    async def changes(
        self, namespace: str, place: int, limit: int
    ) -> tuple[bool, list[tuple[int, str, str, int, int]], int]:
        of = Who(namespace, "", "")
        found: tuple[bool, list[tuple[int, str, str, int, int]], int] = await self._asked(
            of, self._driver.core.changes, namespace, place, limit
        )
        return found

    def updates(self, who: Who, no: int, cursor: str | None) -> Following[Updates]:
        return Following(Updates(self, who, no, cursor))

    async def chunks_after(
        self, who: Who, stream: str, incarnation: int, place: int, limit: int
    ) -> tuple[int, int, int, list[tuple[Any, ...]]] | None:
        found: tuple[int, int, int, list[tuple[Any, ...]]] | None = await self._asked(
            who, self._driver.core.stream, *who, stream, incarnation, place, limit
        )
        return found

    def chunks(self, who: Who, stream: str, cursor: str | None) -> Following[Chunks]:
        return Following(Chunks(self, who, stream, cursor))

    def all_changes(self, namespace: str, cursor: str | None) -> Following[Changes]:
        return Following(Changes(self, namespace, cursor))

    async def until(
        self, who: Who, no: int, wanted: frozenset[Status], called: str, *, looks: bool
    ) -> Reached:
        watch, version = self._driver.watch(no, wanted), None
        try:
            memory = self.memory()
            code = memory.peek(*who)
            goes_on = code is not None and STATUSES[code] not in wanted and not looks
            if goes_on and memory.number(*who) != no:
                goes_on = False  # another one has the id by now
            news = _unless_large(await watch.next()) if goes_on else None
            while news is None:
                self.check(called)
                look = await self.find(who)
                version = look.version
                if look.no != watch.no:
                    watch.close()
                    watch = self._driver.watch(look.no, wanted)
                    continue  # it may have changed meanwhile
                news = (look.status, look.result)
                if news[0] not in wanted and not news[0].is_final:
                    news = _unless_large(await watch.next())
        finally:
            watch.close()
        return Reached(watch.no, version, *news)

    # Why an instance is where it is.

    async def explain(self, who: Who, no: int) -> Explanation:
        found = await self._explain(who, no)
        runner = self._driver.runners.get(no)
        told = (diagnosis.resisting, diagnosis.standing_still, self._driver.watchdog.told)
        more = "" if runner is None else next(filter(None, (tell(runner) for tell in told)), "")
        return found._replace(text=f"{found.text} {more}") if more else found

    async def _explain(self, who: Who, no: int) -> Explanation:
        while True:  # what was looked at is perhaps not so any more: what is true now?
            body = self._driver.runners.get(no)
            look = await self.find(who)
            records: list[Recorded] = []
            if look.status in _AT_WORK and any(wait.kind in STEPS for wait in look.open_waits):
                look, records = await self.records(who, no)  # for what a retry comes after
                if look.status not in _AT_WORK:
                    # that look has no payloads, and what is told of such an instance needs them
                    continue
            if (
                body is not None
                and look.status is Status.RUNNING
                and no not in self._driver.runners
            ):
                continue  # it has left memory meanwhile
            told = await self._explained(who, look, records)
            if told is not None and look.undo is not None:
                told = explanation.with_undoing(told, await self.undoing(who, look.no))
            if told is not None:
                return (
                    told if look.status.is_final else explanation.in_its_engine(told, self._driver)
                )

    async def _explained(self, who: Who, look: Look, records: list[Recorded]) -> Explanation | None:
        driver = self._driver
        runner = driver.runners.get(look.no)
        if look.status in (Status.RUNNING, Status.WAITING_FOR_PAUSE):
            return explanation.of_running(look, records, runner, driver)
        if look.status is Status.WAITING:
            return explanation.of_waiting(look, records, runner)
        if look.status is not Status.QUEUED:
            return explanation.of_resting(look, driver.code)
        held_up = explanation.of_queued(look, driver.now())
        if held_up is not None:
            return held_up
        return explanation.of_place(
            look, *await self._asked(who, driver.core.stand, *who, look.priority)
        )

    # What moves instances.

    async def send_event(
        self, who: Who, kind: str, payload: bytes | None, dedup_id: str | None
    ) -> None:
        await self._changed(who, self._driver.core.send_event, *who, kind, payload, dedup_id)

    async def request(
        self, who: Who, kind: str, payload: bytes | None, dedup_id: str, us: int
    ) -> bytes:
        return await Requesting(self.driver, self._asked, who, dedup_id).answer(kind, payload, us)

    async def resume(self, who: Who, by: By, to_version: str | None) -> None:
        anew = await at_fault(self._driver, who)
        await self._changed(who, self._driver.core.resume, *who, by, to_version, anew, only=_RESTS)

    async def pause(self, who: Who, by: By) -> None:
        await self._changed(who, self._driver.core.pause, *who, by)

    async def terminate(self, who: Who, why: str, undo: bool, by: By) -> None:
        await self._changed(who, self._driver.core.terminate, *who, why, undo, by)

    async def restart(self, who: Who, beginning: Beginning, by: By) -> None:
        lost = rewinding.told(beginning)
        await self._changed(who, self._driver.core.restart, *who, beginning, by, lost=lost)

    async def rewound(self, who: Who, beginning: Beginning) -> RestartPreview:
        answer = await self._asked(who, self._driver.core.rewind, *who, beginning)
        if answer is None:
            raise not_found(who.workflow, who.id, who.namespace)
        code, status, *found = answer
        if code:
            raise error_of(code, status, lost=rewinding.told(beginning), **who._asdict())
        return rewinding.preview(*found)

    async def delete(self, who: Who, by: By) -> None:
        await self._changed(who, self._driver.core.delete, *who, by)

    async def retry_now(self, who: Who, by: By) -> None:
        await self._changed(who, self._driver.core.retry_now, *who, by)

    async def set_priority(self, who: Who, priority: int, by: By) -> None:
        core = self._driver.core
        await self._changed(who, core.set_priority, *who, priority, by, only=_QUEUED)

    async def resolve(self, who: Who, step: Identity, outcome: Set, by: By) -> None:
        _, records = await self.records(who, (await self.find(who, payloads=False)).no)
        outcome = as_secret_as(outcome, step, records)
        lost, core = rewinding.told(step, "ref"), self._driver.core
        await self._asked(
            who, core.resolve, *who, step, *outcome, by, lost=lost, only=_STANDS_STILL
        )

    async def start_now(self, who: Who, by: By) -> None:
        await self._changed(who, self._driver.core.start_now, *who, by, only=_QUEUED)

    async def decide(
        self, request: str, of: Who, name: str, *, approved: bool, decision: bytes, by: By
    ) -> bool:
        decide = self._driver.core.decide
        return bool(await self._changed(of, decide, request, *of, name, approved, decision, by))

    async def set_limits(
        self,
        namespace: str,
        workflow: str | None,
        changes: list[tuple[str, float | None]],
        by: By,
    ) -> None:
        await self._changed(
            Who(namespace, workflow or "", ""),
            self._driver.change_limits,
            namespace,
            workflow,
            changes,
            by,
        )

    # Many.

    async def do_to_many(self, order: Order, by: By) -> Ended:
        await checkpoint_if_cancelled()
        run = self._driver.bulks.begin(order, by)
        await run.over.wait()
        if run.error is not None:
            raise run.error
        # one that was stopped did a part that nobody heard of
        [row] = await self.bulks(order.namespace, run.number, None, 1)
        return Ended(run.number, row.done, run.refused)

    async def stop_bulk(self, number: int, by: By) -> None:
        reply: Reply = await self._driver.change(self._driver.core.stop_bulk, number, by)
        if reply.code not in ("", NOT_FOUND):  # it may have ended meanwhile
            raise error_of(reply.code, reply.data)
        self._driver.bulks.stopped(number)

    # Schedules.

    def now(self) -> int:
        return self._driver.core.now()

    async def schedules(self, namespace: str) -> list[ScheduleRow]:
        return await self._driver.schedules.all(namespace)

    async def put_schedule(self, namespace: str, id: str, plan: Plan, by: By) -> ScheduleRow:
        return await self._driver.schedules.put(namespace, id, plan, by)

    async def pause_schedule(self, namespace: str, id: str, by: By) -> None:
        await self._driver.schedules.pause(namespace, id, by)

    async def resume_schedule(self, namespace: str, id: str, by: By) -> None:
        await self._driver.schedules.resume(namespace, id, by)

    async def delete_schedule(self, namespace: str, id: str, by: By) -> None:
        await self._driver.schedules.delete(namespace, id, by)

    async def trigger_schedule(self, namespace: str, id: str, by: By) -> Who:
        return await self._driver.schedules.trigger(namespace, id, by)

    async def backfill_schedule(
        self, namespace: str, id: str, start: int, end: int, by: By, *, dry_run: bool
    ) -> list[FiringRow]:
        schedules = self._driver.schedules
        return await schedules.backfill(namespace, id, start, end, by, dry_run=dry_run)

    async def firings(
        self, namespace: str, id: str, beyond: int | None, limit: int
    ) -> list[FiringRow]:
        schedules = self._driver.schedules
        return await schedules.firings(await schedules.named(namespace, id), beyond, limit)

    # The whole engine.

    async def namespaces(self) -> list[str]:
        core, removed = self._driver.core, self._driver.bulks.removed
        gone = {it for it in removed if not any(count for _, count in core.counts(it, None))}
        return sorted({of for of, *_ in core.workflow_statistics()} - gone)

    async def statistics(self) -> EngineStatistics:
        return statistics.of(self._driver)

    async def drain(self, grace: float | None) -> None:
        driver = self._driver
        await checkpoint_if_cancelled()
        driver.drain.begin(self._door._grace if grace is None else grace)
        await driver.drain.wait()

    async def reshard(self, shards: int) -> None:
        await self._asked(_NOBODY, self._driver.core.reshard, shards)

    async def backup(self, path: str) -> None:
        try:
            await self._asked(_NOBODY, self._driver.core.backup, path)
        except CoreError as error:
            raise error_of(*error.args) from None

    async def _asked(
        self, who: Who, call: Callable[[*Ts], int], *args: *Ts, lost: str = "", only: str = ""
    ) -> Any:
        """Asks the core, and returns its answer; a refusal is raised, and speaks of this instance,
        of what was `lost`, and which state it would have `only` been possible in."""
        return self._answer(await self._driver.ask(call, *args), who, lost, only)

    async def _changed(
        self, who: Who, call: Callable[[*Ts], int], *args: *Ts, lost: str = "", only: str = ""
    ) -> Any:
        """As `_asked`, for what changes something, which is done once only if whoever asks says
        so."""
        return self._answer(await self._driver.change(call, *args), who, lost, only)

    def glance(
        self, who: Who, payloads: bool, take: Callable[[results.Maybe[Look]], None]
    ) -> Listener | None:
        """See `Here`."""

        def hear(answer: results.Maybe[Reply]) -> None:
            take(results.capture(seen, answer))

        def seen(answer: results.Maybe[Reply]) -> Look:
            return self._seen(who, self._answer(answer.unwrap(), who, "", ""))

        return self._driver.callers.listen(hear, self._driver.core.find, *who, payloads)

    @staticmethod
    def _answer(reply: Reply, who: Who, lost: str, only: str) -> Any:
        if reply.code:
            raise error_of(reply.code, reply.data, lost=lost, only=only, **who._asdict())
        return reply.data
