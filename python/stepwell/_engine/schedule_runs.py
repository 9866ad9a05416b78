"""Whoever looks after schedules: the core says when one is to be looked at; then it is read, what
it does is worked out (`schedule_turn`), and all of that is committed at once.

Nothing of a schedule is kept in memory in between. Each change says from which revision it follows,
so what was worked out on an old one is worked out again; and a crash leaves a time undecided, or
decided with its instance. What waits for others to end is told of their end by the watches.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from trio.lowlevel import enable_ki_protection

from .._codes import error_of
from .._core import NOT_FOUND, OUTDATED, OVERLOADED, STATE
from .._errors import EngineClosed, InvalidConfig, StepwellError
from .._log import log
from .._types import STATUSES
from .desk import By, Who
from .schedule_reading import ScheduleReading
from .schedule_rows import FiringRow, Plan, ScheduleRow, Standing, Told, row_of
from .schedule_times import instance_id
from .schedule_turn import AT_ONCE, TRACKED_MAX, Turn, next_moment, turn

if TYPE_CHECKING:
    from .._steps.workflow import Workflow
    from .host import Host, Reply

FIRINGS_READ = 1_000
"""Firings that are read at a time."""
BACKFILL_MAX = 1_000
"""Times that one backfill goes through."""


class _Change(NamedTuple):
    """What becomes of a schedule, and what is committed with that."""

    standing: Standing
    told: Iterable[Told] = ()
    fires: tuple[str, ...] = ()
    """Ids of the instances that it creates."""
    plan: Plan | None = None


class ScheduleRuns(ScheduleReading):
    """All schedules of one engine."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._busy: dict[int, bool] = {}
        """Those that somebody looks at, and whether they are to be looked at again."""
        self._awaited: set[int] = set()
        """Those of whose instances somebody awaits the end."""
        self._warned: set[int] = set()
        self._opened = 0

    @property
    def _looks(self) -> Any:
        return self._host.core

    def open(self) -> None:
        """The core is a new one: what was to fire before was missed."""
        self._opened = self._host.core.now()
        self._busy, self._awaited, self._warned = {}, set(), set()

    def due(self, number: int) -> None:
        """One is to be looked at."""
        if number in self._busy:
            self._busy[number] = True
        elif not self._host.draining:
            self._busy[number] = False
            self._host.nursery.start_soon(self._look_after, number)

    @enable_ki_protection
    async def find(self) -> None:
        """Looks at those that another life of the engine left in the middle of something, and says
        of which there is no code."""
        try:
            for row in await self.all(None):
                if row.standing.queue or row.standing.ending:
                    self.due(row.number)
        except EngineClosed:
            return
        except StepwellError as error:
            log.error("schedules cannot be read: %s", error)

    # What is stored.

    def _told(self, row: tuple[Any, ...]) -> ScheduleRow:
        it = row_of(row)
        plan = it.plan._replace(workflow=self._host.code.current(it.plan.workflow))
        it = it._replace(plan=plan)
        return it._replace(has_code=self._code(it) is not None)

    async def _numbered(self, number: int) -> ScheduleRow | None:
        rows = await self._asked(self._host.core.schedules, None, None, number - 1, 1)
        return next((self._told(it) for it in rows if it[0] == number and len(it) > 2), None)

    # What somebody does.

    async def put(self, namespace: str, id: str, plan: Plan, by: By) -> ScheduleRow:
        """Keeps a schedule; one that is there goes on, if its times are the same."""
        while True:
            row = await self._find(namespace, id)
            now = self._host.core.now()
            if row is None:
                plan = plan._replace(anchor=now, created_at=now, updated_at=now)
                standing, result = Standing(now), "created"
            else:
                old = row.plan
                plan = plan._replace(
                    anchor=old.anchor, created_at=old.created_at, updated_at=old.updated_at
                )
                if plan == old:
                    return row
                standing, result = row.standing, "updated"
                if (plan.when, plan.timezone) != (old.when, old.timezone):
                    plan, standing = plan._replace(anchor=now), standing._replace(place=now)
                plan = plan._replace(updated_at=now)
            audited = (by, "put_schedule", plan.workflow, None, result)
            empty = ScheduleRow(0, namespace, id, 0, None, plan, standing)
            if await self._changed(row or empty, _Change(standing, plan=plan), audited):
                return await self.named(namespace, id)

    async def pause(self, namespace: str, id: str, by: By) -> None:
        """Lets it fire no more, until it is resumed."""
        while True:
            row = await self.named(namespace, id)
            if row.standing.paused_at is not None:
                return
            standing = row.standing._replace(paused_at=self._host.core.now())
            audited = (by, "pause_schedule", row.plan.workflow, None, "paused")
            if await self._changed(row, _Change(standing), audited):
                return

    async def resume(self, namespace: str, id: str, by: By) -> None:
        """Lets it fire again, from now on."""
        while True:
            row = await self.named(namespace, id)
            if row.standing.paused_at is None:
                return
            now = self._host.core.now()
            times, place = row.plan.times(), row.standing.place
            first, last = times.next(place), times.last(place, now, 1)
            told: list[Told] = []
            if first is not None and last:
                until = None if last[0] == first else last[0]
                told = [Told(first, until, "skipped", "paused")]
            standing = row.standing._replace(paused_at=None, place=max(place, now))
            audited = (by, "resume_schedule", row.plan.workflow, None, "resumed")
            if await self._changed(row, _Change(standing, told), audited):
                self.due(row.number)  # something may wait in its queue
                return

    async def delete(self, namespace: str, id: str, by: By) -> None:
        """Removes it, and what came of its times."""
        while True:
            row = await self.named(namespace, id)
            audited = (by, "delete_schedule", row.plan.workflow, None, "deleted")
            if await self._changed(row, None, audited):
                return

    async def delete_all(self, namespace: str) -> None:
        """Removes all of a namespace that is deleted with everything of it."""
        for row in await self.all(namespace):
            try:
                await self.delete(namespace, row.id, By("delete_all", None))
            except InvalidConfig:
                continue  # somebody else did

    async def trigger(self, namespace: str, id: str, by: By) -> Who:
        """Creates an instance now, whatever runs. Returns whose it is."""
        while True:
            row = await self.named(namespace, id)
            self._needs_code(row)
            now = self._host.core.now()
            made = instance_id(id, now, row.revision)
            change = _Change(
                _tracking(row.plan, row.standing, (made,)),
                (Told(now, None, "fired", "trigger", made),),
                (made,),
            )
            audited = (by, "trigger_schedule", row.plan.workflow, made, "fired")
            if await self._changed(row, change, audited):
                return Who(namespace, row.plan.workflow, made)

    async def backfill(
        self, namespace: str, id: str, start: int, end: int, by: By, *, dry_run: bool
    ) -> list[FiringRow]:
        """Fires the times from `start` up to and with `end` that did not fire, whatever runs.
        Returns what came of each."""
        while True:
            row = await self.named(namespace, id)
            self._needs_code(row)
            now = self._host.core.now()
            told = self._backfilled(row, start, end, await self._fired(row, start))
            rows = [FiringRow(0, it.at, None, now, it.outcome, it.why, it.id) for it in told]
            fires = tuple(it.id for it in told if it.id is not None and it.outcome == "fired")
            if dry_run or not fires:
                return rows
            change = _Change(
                _tracking(row.plan, row.standing, fires),
                [it for it in told if it.outcome == "fired"],
                fires,
            )
            audited = (by, "backfill_schedule", row.plan.workflow, None, f"fired: {len(fires)}")
            if await self._changed(row, change, audited):
                return rows

    async def _fired(self, row: ScheduleRow, start: int) -> set[int]:
        """Returns the times from `start` on that fired, as far as that is kept."""
        fired: set[int] = set()
        beyond = None
        while True:
            rows = await self.firings(row, beyond, FIRINGS_READ)
            fired |= {it.at for it in rows if it.outcome == "fired" and it.why != "trigger"}
            if len(rows) < FIRINGS_READ:
                return {at for at in fired if at >= start}
            beyond = rows[-1].number

    def _backfilled(self, row: ScheduleRow, start: int, end: int, fired: set[int]) -> list[Told]:
        told: list[Told] = []
        for at in row.plan.times().between(start - 1, end):
            if len(told) == BACKFILL_MAX:
                raise InvalidConfig(
                    f"backfill of schedule {row.id!r}: there are more than {BACKFILL_MAX:,} times "
                    "from start to end. Pass a shorter range, several times."
                )
            is_ahead = at > row.standing.place and row.standing.paused_at is None
            why = (
                "fired_before" if at in fired
                else "queued" if at in row.standing.queue
                else "due" if is_ahead
                else None
            )  # fmt: skip
            if why is None:
                told.append(Told(at, None, "fired", "backfill", instance_id(row.id, at)))
            else:
                told.append(Told(at, None, "skipped", why))
        return told

    async def _changed(
        self, row: ScheduleRow, change: _Change | None, audited: tuple[Any, ...]
    ) -> bool:
        """Commits what somebody does. Returns whether that followed from what is there."""
        reply = await self._commit(row, change, audited)
        if reply.code == OUTDATED:
            return False
        if reply.code:
            raise error_of(reply.code, reply.data, workflow=row.plan.workflow)
        return True

    # What it does by itself.

    @enable_ki_protection
    async def _look_after(self, number: int) -> None:
        busy = self._busy
        try:
            rests = False
            while not rests or busy[number]:
                busy[number] = False
                rests = await self._look(number)
        except EngineClosed:
            pass  # the next engine finds it as it is
        except InvalidConfig as error:
            log.error("%s", error)
        except StepwellError as error:
            log.error(
                "schedule %d stands still until the engine opens again", number, exc_info=error
            )
        finally:
            del busy[number]

    async def _look(self, number: int) -> bool:
        """Does what one is to do. Returns whether that is all for now."""
        row = await self._numbered(number)
        if row is None or self._host.draining:
            return True
        if row.standing.ending:
            return await self._end(row)
        if self._code(row) is None:
            return True
        for at_once in (AT_ONCE, 1):
            done = self._turn(row, at_once)
            if not (done.fires or done.told) and done.standing.queue == row.standing.queue:
                self._rest(row, done)
                return True
            reply = await self._commit(row, _fired(row, done))
            if reply.code != OVERLOADED or len(done.fires) <= 1:
                break
        if reply.code == OVERLOADED:
            _, after = reply.data
            self._look_later(number, after)
            return True
        if reply.code not in ("", OUTDATED):
            raise error_of(reply.code, reply.data, workflow=row.plan.workflow)
        # whatever was fired may have to be awaited, which is seen when it is looked at again
        return not (reply.code or done.standing.queue or done.standing.ending) and done.is_all

    def _turn(self, row: ScheduleRow, at_once: int) -> Turn:
        core = self._host.core

        def runs(it: tuple[str, str]) -> bool:
            status = core.peek(row.namespace, *it)
            return status is not None and not STATUSES[status].is_final

        return turn(row.id, row.plan, row.standing, core.now(), self._opened, runs, at_once=at_once)

    def _rest(self, row: ScheduleRow, done: Turn) -> None:
        """Nothing is to be done now: it is looked at again when its time comes, or when what it
        waits for has ended."""
        if done.next is not None and row.next is not None and row.next <= self._host.core.now():
            # the clock was put back meanwhile
            self._look_later(row.number, done.next - self._host.core.now())
        # what waits in the queue of a paused one is looked at when it is resumed
        waits = done.standing.queue and row.standing.paused_at is None
        if waits and row.number not in self._awaited:
            self._awaited.add(row.number)
            self._host.nursery.start_soon(self._await, row, done.standing.active, self._awaited)

    def _look_later(self, number: int, after: int) -> None:
        busy = self._busy

        def look() -> None:
            if busy is self._busy:  # otherwise the engine has crashed meanwhile
                self.due(number)

        self._host.arm(max(after, 1_000), look)

    async def _await(
        self, row: ScheduleRow, active: Iterable[tuple[str, str]], awaited: set[int]
    ) -> None:
        """Waits until these have ended."""
        core = self._host.core
        try:
            for it in active:
                no = core.number(row.namespace, *it)
                if no is not None:
                    watch = self._host.watch(no, frozenset())
                    try:
                        await watch.next()
                    finally:
                        watch.close()
        except EngineClosed:
            return
        finally:
            awaited.discard(row.number)
        if awaited is self._awaited:
            self.due(row.number)

    async def _end(self, row: ScheduleRow) -> bool:
        """Terminates those that were replaced, once."""
        why = f'schedule "{row.id}" replaced it'
        by = By(f"schedule {row.id}", "replaced")
        for workflow, id in row.standing.ending:
            reply = await self._host.ask(
                self._host.core.terminate, row.namespace, workflow, id, why, False, by
            )
            if reply.code not in ("", NOT_FOUND, STATE):
                raise error_of(reply.code, reply.data, workflow=workflow, id=id)
        await self._commit(row, _Change(row.standing._replace(ending=())))
        return False

    def _code(self, row: ScheduleRow) -> Workflow[Any, Any] | None:
        """Returns the code whose instances it creates; without it says so, once."""
        known, plan = self._host.code, row.plan
        if plan.version is not None:
            found = known.version(plan.workflow, plan.version)
        else:
            found = known.registered(plan.workflow) if plan.workflow in known else None
        if found is None and row.number not in self._warned:
            self._warned.add(row.number)
            log.warning(
                'schedule "%s" does not fire: this engine has no code for %s (registered: %s). '
                "When an engine has it, what was missed until then is caught up as the schedule "
                "says. Pass it in Engine(workflows=[…]), or delete the schedule.",
                row.id, _which(plan), known,
            )  # fmt: skip
        return found

    def _needs_code(self, row: ScheduleRow) -> None:
        if self._code(row) is None:
            raise InvalidConfig(
                f"schedule {row.id!r}: this engine has no code for {_which(row.plan)} (registered: "
                f"{self._host.code}). Pass it in Engine(workflows=[…])."
            )

    async def _commit(
        self, row: ScheduleRow, change: _Change | None, audited: tuple[Any, ...] | None = None
    ) -> Reply:
        becomes = creates = None
        told: Iterable[Told] = ()
        if change is not None:
            plan, told = change.plan or row.plan, change.told
            following = next_moment(row.id, plan, change.standing)
            what = None if change.plan is None else change.plan.encoded()
            becomes = (following, change.standing.encoded(), what)
            if change.fires:
                code = self._code(row)
                assert code is not None, "L12: nothing is created without code"
                creates = (code.name, code.version, plan.params, list(change.fires))
        firings = [(it.at, it.until, it.outcome, it.why, it.id) for it in told]
        return await self._host.ask(
            self._host.core.change_schedule, row.namespace, row.id, row.revision, becomes,
            firings, creates, audited,
        )  # fmt: skip

    async def _asked(self, ask: Any, *args: Any) -> Any:
        reply = await self._host.ask(ask, *args)
        if reply.code:
            raise error_of(reply.code, reply.data)
        return reply.data


def _which(plan: Plan) -> str:
    name = f'workflow "{plan.workflow}"'
    return name if plan.version is None else f'version "{plan.version}" of {name}'


def _tracking(plan: Plan, standing: Standing, made: tuple[str, ...]) -> Standing:
    """Returns how far it is when these were created, which may run while others are to begin."""
    if plan.overlap == "allow":
        return standing
    active = (*standing.active, *((plan.workflow, id) for id in made))
    return standing._replace(active=active[-TRACKED_MAX:])


def _fired(row: ScheduleRow, done: Turn) -> _Change:
    made = tuple(instance_id(row.id, at) for at in done.fires)
    fired = [
        Told(at, None, "fired", "queued" if at in row.standing.queue else None, id)
        for at, id in zip(done.fires, made, strict=True)
    ]
    told = sorted([*done.told, *fired], key=lambda it: it.at)
    return _Change(_tracking(row.plan, done.standing, made), told, made)
