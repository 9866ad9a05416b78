"""The desk of a store that has no engine: what can be read is read from its file.

It has the calls of a desk that only read (`link` knows which), by the handlers that an engine's own
desk has. The file is opened for each question and closed again; nothing is written, and no file
comes to lie beside it. How it can be read while an engine may come at any moment is known by the
core (`StoreFile` in `_core.pyi`).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from .._engine import explanation
from .._engine.desk import Reached
from .._engine.reading import Reading
from .._engine.schedule_reading import ScheduleReading
from .._engine.stored import NotThere, Stored
from .remote_code import StoredCode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._engine.desk import Who
    from .._engine.schedule_rows import FiringRow, ScheduleRow
    from .._engine.wire import Call
    from .._types import Explanation, Source, Status


class FileDesk(Reading):
    """See `Desk`; of one question."""

    def __init__(self, store: str) -> None:
        self._file = Stored(store)
        self._code = StoredCode(())

    @property
    def source(self) -> Source:
        """Where the answer came from, once there is one."""
        return self._file.source

    async def answer(self, call: Call, args: Sequence[Any]) -> Any:
        """Answers a call.

        Raises:
            NotThere: The file does not.
            StepwellError: As an engine would; or the file cannot be read.
        """
        return await call.made(self, args)

    async def readers(self) -> StoredCode:
        """Returns the code that the instances in the file were created with, by name."""
        versions = {it[1:]: None for it in await self._file.read(self._looks.names)}
        self._code = StoredCode(versions)
        return self._code

    @property
    def code(self) -> StoredCode:
        return self._code

    @property
    def _looks(self) -> Any:
        return self._file.looks

    async def _asked(self, who: Who, call: Any, *args: Any) -> Any:
        return await self._file.read(call, *args)

    async def find(self, who: Who, *, payloads: bool = True) -> Any:
        await self.readers()
        return await super().find(who, payloads=payloads)

    async def namespaces(self) -> list[str]:
        return sorted({of for of, _, _ in await self._file.read(self._looks.names)})

    async def counts(self, namespace: str | None, workflow: str | None) -> list[tuple[int, int]]:
        counts: list[tuple[int, int]] = await self._file.read(
            self._looks.counts, namespace, workflow
        )
        return counts

    async def versions(
        self, namespace: str | None, workflow: str | None
    ) -> list[tuple[str, str, list[int]]]:
        found: list[tuple[str, str, list[int]]] = await self._file.read(
            self._looks.versions, namespace, workflow
        )
        return found

    async def until(
        self, who: Who, no: int, wanted: frozenset[Status], called: str, *, looks: bool
    ) -> Reached:
        look = await self.find(who)
        if look.status not in wanted and not look.status.is_final:
            raise NotThere
        return Reached(look.no, look.version, look.status, look.result)

    async def explain(self, who: Who, no: int) -> Explanation:
        look = await self.find(who)
        records = [] if look.status.is_final else (await self.records(who, look.no))[1]
        told = explanation.of_stored(look, records, _now())
        if look.undo is not None:
            told = explanation.with_undoing(told, await self.undoing(who, look.no))
        return told._replace(text=f"{told.text} {self.source}")

    async def schedules(self, namespace: str) -> list[ScheduleRow]:
        return await _Schedules(self._file).all(namespace)

    async def firings(
        self, namespace: str, id: str, beyond: int | None, limit: int
    ) -> list[FiringRow]:
        schedules = _Schedules(self._file)
        return await schedules.firings(await schedules.named(namespace, id), beyond, limit)


class _Schedules(ScheduleReading):
    """Those in the file."""

    def __init__(self, file: Stored) -> None:
        self._file = file

    @property
    def _looks(self) -> Any:
        return self._file.looks

    async def _asked(self, ask: Any, *args: Any) -> Any:
        return await self._file.read(ask, *args)


def _now() -> int:
    return time.time_ns() // 1_000
