"""A store's file as SQLite reads it that nobody else has open: without locks, with the index of the
WAL in memory, so that nothing is written and no file comes to lie beside it."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from urllib.parse import quote


def uri_of(path: Path) -> str:
    """Returns how SQLite is told of it."""
    wal = Path(f"{path}-wal")
    has_wal = wal.exists() and wal.stat().st_size > 0
    return f"file:{quote(os.fsencode(path))}?mode=ro&" + (
        "vfs=unix-none" if has_wal else "immutable=1"
    )


def opened_alone(path: Path) -> sqlite3.Connection:
    """Opens a store that no engine has; it is only read."""
    conn = sqlite3.connect(uri_of(path), uri=True, isolation_level=None)
    conn.execute("PRAGMA locking_mode = EXCLUSIVE")
    conn.execute("PRAGMA trusted_schema = OFF")
    return conn
