"""One life: an engine on a store, its load, and the journal. Usually it is killed before it ends.

The engine is in a program on trio, with or without `stepwell.run`, on asyncio, or of blocking code.
Some lives are told to end, or leave the engine's block by themselves. The killer forks them; they
end with `os._exit`, as a forked process should. The last life of a round creates nothing new, waits
until every instance has ended and writes down what the engine knows. Something may run beside the
engine in the same process (`tests.intruder`).
"""

import _weakrefset
import asyncio
import json
import logging
import math
import os
import signal
import sys
import traceback
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Literal, TypeAlias

import trio

import stepwell
from stepwell import Engine, Limits, aio, sync

from . import steps
from .driver import Driver
from .journal import Journal
from .moved import MOVED
from .mover import Mover
from .programs import WORKFLOWS
from .ways import Blocking, OnAsyncio, OnTrio

WIDTH, MOVED_WIDTH, MOST = 10, 6, 100_000
GRACE_S = 0.1
"""What an attempt is given to end in when the engine is left; most take less, and some more."""
Front: TypeAlias = Literal["run", "trio", "aio", "sync"]
SECOND = (128 + signal.SIGINT, 128 + signal.SIGTERM)
Beside: TypeAlias = Callable[[Path, int], Awaitable[None]]
"""What else the process does while the store at a path is open, until cancelled; the number is for
its seed."""


class _Alarm(logging.Handler):
    """An engine that reports an error has one."""

    def emit(self, record: logging.LogRecord) -> None:
        steps.journal.put("X", data=record.getMessage())


@dataclass(frozen=True)
class Plan:
    """How one life is lived."""

    front: Front = "trio"
    leaves_after: float | None = None
    """Seconds after which it leaves the engine's block by itself."""
    cut_short: float | None = None
    """Seconds after which a first opening is cancelled."""
    last: bool = False


def live(directory: Path, seed: int, ready: int, plan: Plan, beside: Beside | None) -> None:
    """Runs one life and ends the process. Writes one byte to `ready` once the engine is open."""
    status = 1
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # it may be inherited as ignored
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        os.dup2(os.open(directory / "stderr", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), 2)
        logger = logging.getLogger("stepwell")
        logger.propagate = False
        logger.setLevel(logging.ERROR)
        logger.addHandler(_Alarm())
        logger.addHandler(logging.StreamHandler(sys.stderr))
        steps.journal = Journal(directory / "journal")
        steps.journal.put("boot")
        Life(directory, seed, ready, plan, beside).run()
        status = 0
    except BaseException as error:
        if _is_end(error):
            status = 0
        else:
            traceback.print_exc()
            sys.stderr.flush()
    finally:
        os._exit(status)


def _is_end(error: BaseException) -> bool:
    """Whether a program that was told to end ended so: by Ctrl-C and nothing else, or with the code
    of a second signal."""
    if isinstance(error, BaseExceptionGroup):
        return error.split(KeyboardInterrupt)[1] is None
    return isinstance(error, KeyboardInterrupt) or (
        isinstance(error, SystemExit) and error.code in SECOND
    )


class Life:
    """One life, on any front."""

    def __init__(
        self, directory: Path, seed: int, ready: int, plan: Plan, beside: Beside | None
    ) -> None:
        self.directory = directory
        self.seed = seed
        self.ready = ready
        self.plan = plan
        self.beside = beside

    def run(self) -> None:
        getattr(self, f"_on_{self.plan.front}")()

    def _engine(self, kind: Any, **options: Any) -> Any:
        limits = Limits(recoveries=1_000_000)  # bursts of kills are not the fault of the instances
        path = str(self.directory / "store.db")
        return kind(
            path,
            workflows=(*WORKFLOWS, *MOVED),
            limits=limits,
            threads=8,
            grace=GRACE_S,
            default_runtime="trio",
            **options,
        )

    def _opened(self) -> None:
        steps.journal.put("open")
        os.write(self.ready, b"o")

    async def _drive(self, engine: Any, way: Any) -> None:
        await self._load(engine, way, WIDTH, MOVED_WIDTH, MOST)

    async def _load(self, engine: Any, way: Any, width: int, moved: int, most: int) -> None:
        given = engine, self.seed, self.directory / "journal", way
        async with way.group() as group:
            group.start_soon(Driver(*given).run, width, most)
            group.start_soon(Mover(*given).run, moved, most)

    # Fronts.

    def _on_run(self) -> None:
        stepwell.run(self._engine(Engine), self._program)

    def _on_trio(self) -> None:
        trio.run(self._trio)

    def _on_aio(self) -> None:
        asyncio.run(self._aio())

    def _on_sync(self) -> None:
        threads = ThreadPoolExecutor(100)
        try:
            with self._engine(sync.Engine) as engine:
                self._opened()
                asyncio.run(self._until_left(self._drive(Blocking(engine, threads), OnAsyncio)))
        finally:
            threads.shutdown()

    async def _trio(self) -> None:
        if self.plan.cut_short is not None:
            steps.journal.put("cut")
            with trio.move_on_after(self.plan.cut_short):
                async with self._engine(Engine):
                    try:
                        await trio.sleep_forever()
                    finally:
                        steps.journal.put("ends")
        async with self._engine(Engine) as engine:
            await self._program(engine)

    async def _program(self, engine: Engine) -> None:
        self._opened()
        with trio.move_on_after(
            math.inf if self.plan.leaves_after is None else self.plan.leaves_after
        ):
            async with trio.open_nursery() as nursery:
                if self.beside is not None:
                    nursery.start_soon(self.beside, self.directory / "store.db", self.seed)
                await (self._last(engine) if self.plan.last else self._drive(engine, OnTrio))
                nursery.cancel_scope.cancel()
        steps.journal.put("ends")

    async def _aio(self) -> None:
        _spare_asyncio(asyncio.get_running_loop())
        if self.plan.cut_short is not None:
            steps.journal.put("cut")
            with suppress(TimeoutError):
                async with asyncio.timeout(self.plan.cut_short), self._engine(aio.Engine):
                    try:
                        await asyncio.Event().wait()
                    finally:
                        steps.journal.put("ends")
        async with self._engine(aio.Engine) as engine:
            self._opened()
            await self._until_left(self._drive(engine, OnAsyncio))

    async def _until_left(self, load: Coroutine[Any, Any, None]) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self.plan.leaves_after):
                await load
        steps.journal.put("ends")

    async def _last(self, engine: Engine) -> None:
        with trio.move_on_after(60) as patience:
            await self._load(engine, OnTrio, 1_000_000, 1_000_000, 0)
            await _all_ended(engine)
        if patience.cancelled_caught:
            steps.journal.put("X", data="not everything ended within a minute")
        (self.directory / "dump.json").write_text(json.dumps(await _dump(engine)))


def _spare_asyncio(loop: asyncio.AbstractEventLoop) -> None:
    """Keeps a second Ctrl-C from striking asyncio's own code.

    asyncio raises it wherever its loop is. If that is a callback that wakes a task, or tells a
    group that one has ended, `asyncio.run` waits for that for ever, or until a third one comes:
    whatever the program. So there it comes a round later.
    """
    strikes: Any = signal.getsignal(signal.SIGINT)
    spared = str(Path(asyncio.__file__).parent), weakref.__file__, _weakrefset.__file__

    def strikes_elsewhere(number: int, frame: FrameType | None) -> None:
        if loop.is_running() and frame is not None and frame.f_code.co_filename.startswith(spared):
            loop.call_soon_threadsafe(strikes, number, None)
        else:
            strikes(number, frame)

    signal.signal(signal.SIGINT, strikes_elsewhere)


async def _all_ended(engine: Engine) -> None:
    """Waits for what no parent waits for any more."""
    while any(count for status, count in (await engine.count()).items() if not status.is_final):
        await trio.sleep(0.02)


async def _dump(engine: Engine) -> list[dict[str, Any]]:
    """Everything the engine knows."""
    found, cursor, more = [], None, True
    while more:
        page = await engine.list(limit=1000, cursor=cursor, newest_first=False)
        cursor, more = page.cursor, page.cursor is not None
        for item in page.items:
            instance = await engine.get(item.workflow, item.id)
            status = await instance.status()
            found.append(
                {
                    "workflow": item.workflow,
                    "id": item.id,
                    "status": status.status.value,
                    "output": status.output,
                    "undo": None if status.undo is None else status.undo.outcome,
                    "explain": str((await instance.explain()).text),
                    "history": [_row(record) for record in await instance.history()],
                }
            )
    return found


def _row(record: Any) -> dict[str, Any]:
    return {
        "identity": [record.kind, record.branch, record.name, record.key, record.count],
        "attempt": record.attempt,
        "status": record.status,
        "started": None
        if record.started_at is None
        else round(record.started_at.timestamp() * 1e6),
        "ended": None if record.ended_at is None else round(record.ended_at.timestamp() * 1e6),
        "output": record.output,
        "error": None if record.error is None else f"{record.error.type}: {record.error.message}",
    }
