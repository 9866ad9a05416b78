"""What a store's engine knows, or, without one, its file: asked as anybody else asks it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from .. import Client, NoEngine, Status, StepwellError, StoreCorrupt, StoreVersion
from .._core import START_AT
from ._finding import Finding

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .._types import ReasonCount
    from .._values.durations import Duration
    from ._file import Shape

_QUEUED_LONG = timedelta(hours=1)
_LATE = timedelta(minutes=1)
_FULL_IN = 7
"""Days in which a disk is not to be full."""
_KEPT_MAX = 1_000_000
"""Instances that have ended, for which somebody has a retention in mind."""
_START = "Start the engine: it recovers by itself."
_CATCH_UP = "Start the engine: what was missed is caught up as the schedule says."
_STARTS = {_START, _CATCH_UP}
_FIRST = "Mend the file before an engine opens it: see damaged."
_SILENT = "Its engine does not answer: see heartbeat."
_SCHEMA = "Open it once with an engine of this version, or use the version that wrote it."
_UNREADABLE = "Restore it from a backup, or see what stepwell doctor --repair-to NEW can save."
_ADD = "Add it to the workflows of the engine's program"
_FINAL = (Status.COMPLETE, Status.ERRORED, Status.TERMINATED)


async def findings(shape: Shape, timeout: Duration, is_damaged: bool) -> list[Finding]:
    """Returns what is wrong with what is in the store, and with its engine.

    Args:
        is_damaged: Whether that is found already: then it is no news that something cannot be read,
            and no engine is to be started.
    """
    found: list[Finding] = []
    async with Client(str(shape.path), timeout=timeout) as client:
        for ask in (_engine, _reasons, _schedules, _versions, _kept):
            try:
                found += [it async for it in ask(client, shape)]
            except NoEngine:
                continue  # said by the first
            except StoreVersion as error:
                return [*found, Finding("schema", str(error), _SCHEMA)]
            except StoreCorrupt as error:
                if not is_damaged:
                    found.append(Finding("unreadable", str(error), _UNREADABLE))
            except StepwellError as error:
                told = f"the engine could not be asked: {error}"
                found.append(Finding("unasked", told, "Look at the engine, and at its log."))
    if is_damaged:
        found = [it._replace(action=_FIRST) if it.action in _STARTS else it for it in found]
    return list(dict.fromkeys(found))


async def _engine(client: Client, shape: Shape) -> AsyncIterator[Finding]:
    counts = await client.count()
    source = client.source
    open_ones = sum(count for status, count in counts.items() if status not in _FINAL)
    if source is not None and source.place == "file":
        if source.process is not None:
            yield Finding(
                "heartbeat",
                f"process {source.process} has the store and does not answer on its socket",
                "It may be starting, or its loop is held: its log says what by. Else end it; "
                "nothing acknowledged is lost.",
            )
        elif open_ones:
            at = source.recorded_at
            yield Finding(
                "no_engine",
                f"no engine runs, and {_counted(open_ones)} not ended; "
                + ("nothing was ever recorded" if at is None else
                   f"what was recorded last is of {_moment(at)}"),
                _START,
            )  # fmt: skip
        return
    told = await client.statistics()
    if told.extra.get("disk_full"):
        yield Finding("disk_full", "the engine waits for room on its disk", "Make room.")
    if (held := told.extra.get("longest_hold_ms", 0)) > 1_000:
        yield Finding(
            "heartbeat",
            f"a step or a body held the engine's loop for {held / 1_000:.1f} s",
            "The engine's log names it, with file and line. Make it a plain function, which runs "
            "in a thread.",
        )


def _counted(count: int) -> str:
    return "1 instance has" if count == 1 else f"{count:,} instances have"


async def _reasons(client: Client, shape: Shape) -> AsyncIterator[Finding]:
    now = datetime.now(UTC)
    for row in await client.reasons():
        of = f"{row.workflow}/{row.example_id}" if row.workflow else f"{row.example_id}"
        at = f' at "{row.step}"' if row.step else ""
        error = f": {row.error_type}" if row.error_type else ""
        if row.status is Status.BLOCKED:
            yield Finding(
                "blocked",
                f"{row.count:,} of {row.workflow} ({row.code}{error}){at}, such as {of}",
                f"stepwell explain {of} says what to do.",
            )
        elif row.status is Status.QUEUED and row.since and row.code != START_AT:
            if now - row.since > _QUEUED_LONG:
                yield Finding(
                    "queued",
                    f"{row.count:,} of {row.workflow} ({row.code}), since {_moment(row.since)}",
                    f"stepwell queue {row.workflow} says what holds them up.",
                )
        elif row.next and row.status is not None and now - row.next > _LATE:
            yield Finding("overdue", _overdue(row, of), _wake(client))


def _overdue(row: ReasonCount, of: str) -> str:
    assert row.next is not None, "that is why it is overdue"
    return f"{row.workflow} ({row.code}): what {of} waits for was due {_moment(row.next)}"


def _wake(client: Client, starts: str = _START) -> str:
    """Returns what to do about what should have happened by itself."""
    source = client.source
    if source is None or source.place == "engine":
        return "Look at the engine's log: it runs, and should have done it."
    return starts if source.process is None else _SILENT


async def _schedules(client: Client, shape: Shape) -> AsyncIterator[Finding]:
    now = datetime.now(UTC)
    for schedule in await client.schedules():
        if not schedule.has_code:
            yield Finding(
                "schedule",
                f'"{schedule.id}" does not fire: the engine has no code for {schedule.workflow}',
                f"{_ADD}, or stepwell schedules delete {schedule.id}.",
            )
        elif schedule.paused_at is None and schedule.next_at and now - schedule.next_at > _LATE:
            yield Finding(
                "schedule",
                f'"{schedule.id}" was due {_moment(schedule.next_at)} and did not fire',
                _wake(client, _CATCH_UP),
            )
        missed = [it for it in (await schedule.firings(limit=50)).items if it.outcome == "missed"]
        if missed and now - missed[0].at < timedelta(days=1):
            yield Finding(
                "schedule",
                f'"{schedule.id}" missed {_moment(missed[0].at)} ({missed[0].why or "no engine"})',
                f"stepwell schedules backfill {schedule.id} fires it.",
            )


async def _versions(client: Client, shape: Shape) -> AsyncIterator[Finding]:
    versions = await client.versions()
    if client.source is None or client.source.place == "file":
        return  # which code an engine will have, nobody knows
    for it in versions:
        waiting = sum(count for status, count in it.counts.items() if status not in _FINAL)
        if waiting and not it.registered:
            yield Finding(
                "unregistered",
                f"the engine has no code for version {it.version} of {it.workflow}, and "
                f"{_counted(waiting)} not ended",
                f"{_ADD}; or let them go on as another version: "
                f"stepwell resume {it.workflow} --version {it.version} --to-version NEW.",
            )


async def _kept(client: Client, shape: Shape) -> AsyncIterator[Finding]:
    counts = await client.count()
    ended = sum(counts[status] for status in _FINAL)
    if ended > _KEPT_MAX:
        yield Finding(
            "retention",
            f"{ended:,} instances that have ended are kept",
            "Give the engine a retention, in its program, or stepwell delete --status complete.",
        )
    oldest = (await client.list(limit=1, newest_first=False)).items
    if not oldest:
        return
    days = (datetime.now(UTC) - oldest[0].created_at) / timedelta(days=1)
    if days < 1:
        return  # nothing is known of a day
    grows = shape.size / days
    if shape.room < _FULL_IN * grows:
        yield Finding(
            "growth",
            f"the store grew by {grows / (1 << 20):,.1f} MiB a day over {days:,.0f} days, and the "
            f"disk has {shape.room / (1 << 20):,.1f} MiB left",
            "Make room, or keep what has ended for a shorter time.",
        )


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
