"""`engine.bulk`: what is being done to many instances, and was in the last thirty days."""

from __future__ import annotations

from typing import NoReturn

from .._errors import InvalidConfig
from .._types import Bulk, Page
from .._values import names
from .acting import by
from .answers import Cursors, bulk_of
from .desk import Desk


class Bulks:
    """What is done to many instances of one namespace."""

    __slots__ = ("_desk", "_namespace")

    def __init__(self, desk: Desk, namespace: str) -> None:
        self._desk = desk
        self._namespace = namespace

    def __repr__(self) -> str:
        return f"<bulk of {self._desk!r}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{self!r} belongs to its process, which owns the store, and cannot be "
            "pickled. Pass data along instead."
        )

    async def list(self, *, limit: int = 50, cursor: str | None = None) -> Page[Bulk]:
        """Returns what is being done to many, newest first, and what has ended in the last 30 days.

        Args:
            limit: 1 to 1,000.
            cursor: Where the page before ended.

        Raises:
            InvalidConfig: The limit or the cursor is malformed.
            EngineClosed: The engine is not open.
        """
        self._desk.check("engine.bulk.list")
        limit, cursors = names.page_limit(limit), Cursors("bulk", self._namespace)
        beyond = cursors.read(cursor)
        rows = await self._desk.bulks(self._namespace, None, beyond, limit)
        more = cursors.make(rows[-1].number) if len(rows) == limit else None
        return Page([bulk_of(it) for it in rows], more)

    async def get(self, id: str) -> Bulk:
        """Returns one of them.

        Raises:
            InvalidConfig: There is none, or not any more.
            EngineClosed: The engine is not open.
        """
        self._desk.check("engine.bulk.get")
        rows = await self._desk.bulks(self._namespace, _number(id), None, 1)
        if not rows:
            raise _nothing(id)
        return bulk_of(rows[0])

    async def stop(self, id: str, *, actor: str | None = None, note: str | None = None) -> Bulk:
        """Stops one: what is done stays done, and nothing more is. One that has ended stays as it
        is.

        Args:
            id: Its id.
            actor: Who does it, for the audit: 1 to 256 characters.
            note: What there is to say to it, for the audit: at most 4,096 characters.

        Raises:
            InvalidConfig: There is none, or not any more.
            EngineClosed: The engine is not open.
        """
        self._desk.check("engine.bulk.stop")
        who = by(actor, note)
        if (await self.get(id)).status == "running":
            await self._desk.stop_bulk(_number(id), who)
        return await self.get(id)


def _number(id: str) -> int:
    if not (isinstance(id, str) and id.isascii() and id.isdigit() and len(id) < 19):
        raise _nothing(id)
    return int(id)


def _nothing(id: object) -> InvalidConfig:
    return InvalidConfig(
        f"no bulk has the id {id!r:.120}; engine.bulk.list() has those of the last 30 days."
    )
