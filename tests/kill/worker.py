"""One life: an engine on a store, its load, and the journal. Usually it is killed before it ends.

The killer forks it; it ends with `os._exit`, as a forked process should. The last life of a round
creates nothing new, waits until every instance has ended and writes down what the engine knows.
Something may run beside the engine in the same process (`tests.intruder`).
"""

import json
import logging
import os
import sys
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias

import trio

from stepwell import Engine, Limits

from . import steps
from .driver import Driver
from .journal import Journal
from .programs import WORKFLOWS

WIDTH, MOST = 10, 100_000
Beside: TypeAlias = Callable[[Path, int], Awaitable[None]]
"""What else the process does while the store at a path is open, until cancelled; the number is for its seed."""


class _Alarm(logging.Handler):
    """An engine that reports an error has one."""

    def emit(self, record: logging.LogRecord) -> None:
        steps.journal.put("X", data=record.getMessage())


def live(directory: Path, seed: int, ready: int, *, last: bool, beside: Beside | None) -> None:
    """Runs one life and ends the process. Writes one byte to `ready` once the engine is open."""
    status = 1
    try:
        os.dup2(os.open(directory / "stderr", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), 2)
        logger = logging.getLogger("stepwell")
        logger.propagate = False
        logger.setLevel(logging.ERROR)
        logger.addHandler(_Alarm())
        logger.addHandler(logging.StreamHandler(sys.stderr))
        steps.journal = Journal(directory / "journal")
        steps.journal.put("boot")
        trio.run(_life, directory, seed, ready, last, beside)
        status = 0
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(status)


async def _life(directory: Path, seed: int, ready: int, last: bool, beside: Beside | None) -> None:
    limits, path = Limits(recoveries=1_000_000), directory / "store.db"  # bursts of kills are not the fault of the instances
    async with trio.open_nursery() as nursery, Engine(str(path), workflows=WORKFLOWS, limits=limits, threads=8) as engine:
        steps.journal.put("open")
        os.write(ready, b"o")
        if beside is not None:
            nursery.start_soon(beside, path, seed)
        driver = Driver(engine, seed, directory / "journal")
        if not last:
            await driver.run(WIDTH, MOST)
        else:
            with trio.move_on_after(60) as patience:
                await driver.run(1_000_000, 0)
                await _all_ended(engine)
            if patience.cancelled_caught:
                steps.journal.put("X", data="not everything ended within a minute")
            (directory / "dump.json").write_text(json.dumps(await _dump(engine)))
        nursery.cancel_scope.cancel()


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
        "started": None if record.started_at is None else round(record.started_at.timestamp() * 1e6),
        "ended": None if record.ended_at is None else round(record.ended_at.timestamp() * 1e6),
        "output": record.output,
        "error": None if record.error is None else f"{record.error.type}: {record.error.message}",
    }
