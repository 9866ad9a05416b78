"""Writes a store as this version leaves it when it is killed, and what becomes of its instances.

    cd tests; python -m old_stores.write

To be run with the version whose stores are to be kept, before its schema changes. Makes
`schema_N.db.gz`, and `schema_N.json` with what the same version made of the same store in the end.
"""

import gzip
import json
import logging
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import trio
from trio.testing import wait_all_tasks_blocked

from stepwell.testing import open_test_engine

from . import bodies
from .go_on import find, go_on

HERE = Path(__file__).parent
KILLED = 9
LAST = [bodies.child, bodies.out_of_time, bodies.maps]


async def begin(path: str) -> None:
    """Makes instances in all states, then dies as if killed."""
    async with open_test_engine(workflows=bodies.ALL, store=path, autojump=False) as engine:
        late = await engine.create(bodies.out_of_time, id="out_of_time")
        while (await late.status()).status != "running":
            await wait_all_tasks_blocked()
        await wait_all_tasks_blocked(0.01)
        # the clock stands still while an attempt runs, and this one runs until its deadline
        core = engine._running().core
        core.advance(core.now() + 60_000_000)
        for code in bodies.ALL:
            if code not in LAST:
                await engine.create(code, id=code.name)
        await engine.create(
            bodies.straight, id="later", start_at=engine.clock.now() + timedelta(hours=3)
        )
        await engine.approvals.approve("waits/waits#early#1", by="ann", reason="in time")
        await engine.clock.settled()
        waits = await find(engine, "waits")
        await waits.send_event("go", 1)
        await waits.send_event("go", 2, dedup_id="two")
        await (await engine.get(bodies.child, "first")).send_event("go", 1)
        await engine.clock.advance("2 minutes")
        maps = await engine.create(bodies.maps, id="maps")
        while len(await maps.history()) < 2:
            await wait_all_tasks_blocked()
        os._exit(KILLED)


def fold(path: Path) -> int:
    """Puts the WAL of a killed engine back into its database; returns the version of its schema."""
    with closing(sqlite3.connect(path)) as conn:
        conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return int(conn.execute("PRAGMA user_version").fetchone()[0])


def main() -> None:
    """Begins in a process of its own, keeps what that left, and goes on."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "old.db"
        code = subprocess.run(
            [sys.executable, "-m", "old_stores.write", str(path)], check=False, cwd=HERE.parent
        ).returncode
        assert code == KILLED, code
        version = fold(path)
        kept = HERE / f"schema_{version}.db.gz"
        with path.open("rb") as store, gzip.GzipFile(kept, "wb", mtime=0) as packed:
            shutil.copyfileobj(store, packed)
        ends = trio.run(go_on, str(path))
        (HERE / f"schema_{version}.json").write_text(json.dumps(ends, indent=1) + "\n")


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)  # steps that fail, as they should
    trio.run(begin, sys.argv[1]) if len(sys.argv) > 1 else main()
