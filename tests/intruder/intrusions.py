"""The ways in which something in the engine's process may look at its file and close it again.

All of them are harmless reading as far as their authors know. What an intrusion meets does not
matter (it may find the file locked or in the middle of something), only what it does to the engine.
"""

import random
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

Intrusion: TypeAlias = Callable[[Path, random.Random], None]
QUERIES = (
    "SELECT count(*) FROM sqlite_master",
    "SELECT * FROM store",
    "PRAGMA user_version",
    "PRAGMA journal_mode",
    "PRAGMA quick_check(1)",
)
CHECKPOINTS = ("PASSIVE", "FULL", "RESTART", "TRUNCATE")


def _connect(path: Path, *, uri: str = "") -> sqlite3.Connection:
    name = f"{path.as_uri()}?{uri}" if uri else str(path)
    return sqlite3.connect(name, uri=bool(uri), timeout=0.01)


def look(path: Path, rng: random.Random) -> None:
    """Connect, one query, close: what a user's monitoring does."""
    connection = _connect(path)
    try:
        connection.execute(rng.choice(QUERIES)).fetchall()
    finally:
        connection.close()


def look_read_only(path: Path, rng: random.Random) -> None:
    """The same by somebody careful."""
    connection = _connect(path, uri="mode=ro")
    try:
        connection.execute(rng.choice(QUERIES)).fetchall()
    finally:
        connection.close()


def linger(path: Path, rng: random.Random) -> None:
    """A read transaction that stays open for a while."""
    connection = _connect(path)
    try:
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
        time.sleep(rng.uniform(0, 0.01))
        connection.execute("SELECT * FROM store").fetchall()
    finally:
        connection.close()


def fold(path: Path, rng: random.Random) -> None:
    """Asks for a checkpoint, as backup scripts do."""
    connection = _connect(path)
    try:
        connection.execute(f"PRAGMA wal_checkpoint({rng.choice(CHECKPOINTS)})").fetchall()
    finally:
        connection.close()


def connect_only(path: Path, rng: random.Random) -> None:
    """Opens and closes without a question; SQLite is lazy, so this must be free."""
    _connect(path).close()


def copy(path: Path, rng: random.Random) -> None:
    """Reads the bytes of some of the three files: what `cp`, written in Python, does."""
    for name in rng.sample(("", "-wal", "-shm"), rng.randint(1, 3)):
        with Path(f"{path}{name}").open("rb") as file:
            file.read()


ALL: tuple[tuple[Intrusion, int], ...] = (
    (look, 6),
    (look_read_only, 3),
    (linger, 2),
    (fold, 4),
    (connect_only, 1),
    (copy, 3),
)
"""With how often each is drawn."""
