"""Schedules as they are stored, read for whoever asks, with an engine or without one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import partial
from typing import Any

from .._errors import InvalidConfig
from .._log import log
from .schedule_rows import FiringRow, ScheduleRow, row_of

READ_AT_ONCE = 500
"""Schedules that are read at a time."""


class ScheduleReading(ABC):
    """All schedules of one store."""

    @property
    @abstractmethod
    def _looks(self) -> Any:
        """What is asked: the calls of a core that read."""

    @abstractmethod
    async def _asked(self, ask: Any, *args: Any) -> Any:
        """Asks it, and returns its answer."""

    async def all(self, namespace: str | None) -> list[ScheduleRow]:
        """Returns all that can be read, in the order in which they were put; says which cannot."""
        found: list[ScheduleRow] = []
        beyond = 0
        while True:
            rows = await self._asked(self._looks.schedules, namespace, None, beyond, READ_AT_ONCE)
            for row in rows:
                beyond = row[0]
                if len(row) == 2:
                    log.error("schedule %d cannot be read, and does not fire: %s", *row)
                    continue
                try:
                    found.append(self._told(row))
                except InvalidConfig as error:
                    log.error("%s", error)
            if len(rows) < READ_AT_ONCE:
                return found

    async def named(self, namespace: str, id: str) -> ScheduleRow:
        """Returns one of them.

        Raises:
            InvalidConfig: There is none with this id.
        """
        row = await self._find(namespace, id)
        if row is None:
            raise InvalidConfig(
                f"no schedule has the id {id!r}; engine.schedules() has those there are."
            )
        return row

    def _told(self, row: tuple[Any, ...]) -> ScheduleRow:
        """Returns a schedule that was read. Which code there will be is not known: all count as
        having theirs."""
        return row_of(row)

    async def _find(self, namespace: str, id: str) -> ScheduleRow | None:
        rows = await self._asked(self._looks.schedules, namespace, id, 0, 1)
        return next((self._told(row) for row in rows if len(row) > 2), None)

    async def firings(self, row: ScheduleRow, beyond: int | None, limit: int) -> list[FiringRow]:
        """Returns what came of its times, the last decided first."""
        rows = await self._asked(self._looks.firings, row.number, beyond, limit)
        unreadable = partial(FiringRow, at=0, until=None, decided_at=0, outcome="missed", id=None)
        return [
            FiringRow._make(it) if len(it) > 2 else unreadable(it[0], why=f"unreadable: {it[1]}")
            for it in rows
        ]
