"""What is read of a store for whoever asks, with an engine or without one: the calls of a desk that
change nothing and need nobody's memory. What is asked is a core, or a file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from .._codes import not_found
from .._replay import Recorded
from .._types import ReasonCount, StepRecord, UndoStatus
from . import answers, exported, history
from .answers import unreadable_bulk
from .desk import LOOKED_AT_MAX, Audited, BulkRow, Found, Query, Request, Who
from .look import Look

if TYPE_CHECKING:
    from .registry import Registry


class Reading(ABC):
    """See `Desk`."""

    @property
    @abstractmethod
    def code(self) -> Registry:
        """The code there is."""

    @property
    @abstractmethod
    def _looks(self) -> Any:
        """What is asked: the calls of a core that read."""

    @abstractmethod
    async def _asked(self, who: Who, call: Any, *args: Any) -> Any:
        """Asks it, and returns its answer; a refusal is raised, and speaks of this instance."""

    async def find(self, who: Who, *, payloads: bool = True) -> Look:
        return self._seen(who, await self._asked(who, self._looks.find, *who, payloads))

    def _seen(self, who: Who, row: Any) -> Look:
        if row is None:
            raise not_found(
                who.workflow, who.id, who.namespace, without_code=who.workflow not in self.code
            )
        return Look._make(row)

    async def page(self, query: Query) -> Found[Look]:
        it = query
        of = Who(it.namespace, it.workflow or "", "")
        rows, searched_to = await self._asked(
            of, self._looks.list, it.namespace, it.workflow, it.states, it.version, it.reason,
            it.parent, it.created_after, it.created_before, it.beyond, it.newest_first, it.limit,
            it.attributes, it.id_prefix, LOOKED_AT_MAX, it.schedule,
        )  # fmt: skip
        return Found([Look._make(row) for row in rows], searched_to)

    async def reasons(self, namespace: str, workflow: str | None) -> list[ReasonCount]:
        of = Who(namespace, workflow or "", "")
        rows = await self._asked(of, self._looks.reasons, namespace, workflow)
        return [answers.reason(*row) for row in rows]

    async def history(self, who: Who, no: int) -> list[StepRecord]:
        look, records = await self.records(who, no)
        return history.lines(records, [], look.open_waits, look.seeded)

    async def export(self, who: Who, no: int) -> dict[str, Any]:
        look, records, whole = await self._whole(who, no)
        if whole.no != no:
            raise not_found(who.workflow, who.id, who.namespace)
        look = look._replace(params=whole.params, result=whole.result, attributes=whole.attributes)
        return exported.export(look, records)

    async def _whole(self, who: Who, no: int) -> tuple[Look, list[Recorded], Look]:
        """Returns an instance, what is recorded of it, and the same instance with its values."""
        look, records = await self.records(who, no)
        return look, records, await self.find(who)

    async def undoing(self, who: Who, no: int) -> UndoStatus | None:
        return answers.undoing_of(*await self.records(who, no))

    async def records(self, who: Who, no: int) -> tuple[Look, list[Recorded]]:
        """Returns an instance, and what is recorded of it."""
        return self._told(who, await self._asked(who, self._looks.history, no))

    @staticmethod
    def _told(who: Who, found: Any) -> tuple[Look, list[Recorded]]:
        if found is None:
            raise not_found(who.workflow, who.id, who.namespace)
        row, records = found
        return Look._make(row), [Recorded._make(it) for it in records]

    async def approvals(
        self,
        namespace: str,
        workflow: str | None,
        status: int | None,
        beyond: int | None,
        limit: int,
    ) -> Found[Request]:
        rows, searched_to = await self._asked(
            Who(namespace, workflow or "", ""), self._looks.approvals,
            namespace, workflow, status, beyond, limit, LOOKED_AT_MAX,
        )  # fmt: skip
        at = None if searched_to is None else (searched_to, 0)
        return Found([Request._make(row) for row in rows], at)

    async def audit(
        self,
        namespace: str,
        workflow: str | None,
        id: str | None,
        beyond: int | None,
        limit: int,
    ) -> tuple[list[Audited], int | None]:
        of = Who(namespace, workflow or "", id or "")
        rows, searched_to = await self._asked(
            of, self._looks.audit, namespace, workflow, id, beyond, limit
        )
        return [Audited._make(row) for row in rows], searched_to

    async def bulks(
        self, namespace: str, number: int | None, beyond: int | None, limit: int
    ) -> list[BulkRow]:
        of = Who(namespace, "", "")
        rows = await self._asked(of, self._looks.bulks, namespace, number, False, beyond, limit)
        return [BulkRow._make(row) if len(row) > 2 else unreadable_bulk(*row) for row in rows]
