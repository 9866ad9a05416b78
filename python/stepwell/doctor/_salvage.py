"""Saves what can be read of a damaged store into a new file.

Knows pages, tables and rows, and nothing of what they mean: a record whose neighbour is lost is
told by the engine that opens the copy, as any damage is, and blocks its instance alone. Rows are
copied inside SQLite, so that no value is changed on its way. The damaged file is only read. What
instances are found by is not copied, but made anew of what they say of themselves: a listing finds
all that are there.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

from .._errors import InvalidConfig, StoreCorrupt, StoreFailed, StoreLocked
from .._values.plain import Misfit, dumps, loads
from . import _file
from ._private import uri_of

_AT_ONCE = 256
"""Rows that are copied at a time."""
_FIRST, _LAST = -1 << 63, (1 << 63) - 1
_FOUND_BY = "attribute"
"""A table that says again, in another order, what `attributes` says."""
UNFINISHED = ".unfinished"


class Lost(NamedTuple):
    """What could not be read of a table.

    Attributes:
        first: Number of the first row that may have been there; None: from the beginning.
        last: Number of the last; None: to the end.
    """

    table: str
    first: int | None
    last: int | None

    def __str__(self) -> str:
        if self.first is None and self.last is None:
            return f"{self.table}: whatever there was, perhaps all; it cannot be told which"
        if self.first is None:
            return f"{self.table}: whatever there was up to row {self.last:,}"
        if self.last is None:
            return f"{self.table}: whatever came from row {self.first:,} on"
        return f"{self.table}: whatever there was of rows {self.first:,} to {self.last:,}"


class Repaired(NamedTuple):
    """What came of a repair.

    Attributes:
        saved: How many rows of each table are in the new file.
        lost: What is not.
    """

    saved: dict[str, int]
    lost: list[Lost]


def repair(store: str, to: str) -> Repaired:
    """Writes what can be saved of a store into a new file. The store stays as it is.

    Args:
        store: Path of a store that no engine has.
        to: Path of the new file, where nothing is yet.

    Raises:
        InvalidConfig: Something is at `to`, or its folder is missing.
        StoreLocked: An engine has the store.
        StoreCorrupt: Not even its schema can be read: nothing can be saved.
        StoreFailed: There is no store, or the new file cannot be written.
    """
    shape, target = _file.looked_at(store), Path(os.path.abspath(to))
    if shape.owner is not None:
        raise StoreLocked(
            f"process {shape.owner} has {store} open. End it first, or make a backup and repair "
            "that: only a file that nobody writes is repaired."
        )
    if not shape.has_header:
        raise StoreCorrupt(
            f"the first bytes of {shape.path.name} are destroyed, without which nothing can be "
            "saved of it. Restore it from a backup."
        )
    if target.exists() or not target.parent.is_dir():
        raise InvalidConfig(f"{to} is there already, or its folder is missing; give a new path.")
    unfinished = Path(f"{target}{UNFINISHED}")
    unfinished.unlink(missing_ok=True)
    try:
        os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        told = _Salvage(shape.path, unfinished).run()
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())
        unfinished.rename(target)
    except (OSError, sqlite3.OperationalError) as error:
        raise StoreFailed(f"{to} cannot be written: {error}. {store} is as it was.") from None
    finally:
        unfinished.unlink(missing_ok=True)
    return told


class _Salvage:
    def __init__(self, source: Path, target: Path) -> None:
        self._source, self._target = source, target
        self._lost: list[Lost] = []

    def run(self) -> Repaired:
        target = f"file:{self._target}"
        with closing(sqlite3.connect(target, uri=True, isolation_level=None)) as self._conn:
            schema = self._attach()
            saved = {}
            for name, sql in schema:
                if name == _FOUND_BY:
                    continue
                with_rows = "WITHOUT ROWID" not in sql.upper()
                (self._by_number if with_rows else self._in_order)(name)
                count = self._conn.execute(f'SELECT count(*) FROM main."{name}"').fetchone()
                saved[name] = count[0]
            if _FOUND_BY in dict(schema):
                saved[_FOUND_BY] = self._find_by_attributes()
            self._conn.execute("DETACH src")
            self._conn.execute("PRAGMA journal_mode = WAL")
            return Repaired(saved, self._lost)

    def _attach(self) -> list[tuple[str, str]]:
        """Makes the same tables in the new file; returns them."""
        conn = self._conn
        try:
            conn.execute("PRAGMA locking_mode = EXCLUSIVE")  # of what is attached, too
            conn.execute("ATTACH ? AS src", (uri_of(self._source),))
            schema = conn.execute(
                "SELECT type, name, sql FROM src.sqlite_schema WHERE sql IS NOT NULL "
                "AND name NOT LIKE 'sqlite_%' ORDER BY type = 'index', rowid"
            ).fetchall()
            kept = {
                name: conn.execute(f"PRAGMA src.{name}").fetchone()[0]
                for name in ("page_size", "application_id", "user_version", "auto_vacuum")
            }
        except sqlite3.DatabaseError as error:
            raise StoreCorrupt(
                f"not even the schema of {self._source.name} can be read ({error}): nothing can be "
                "saved of it. Restore it from a backup."
            ) from None
        conn.execute("PRAGMA main.journal_mode = OFF")
        for name, value in kept.items():
            conn.execute(f"PRAGMA main.{name} = {value}")
        for _, _, sql in schema:
            conn.execute(sql)
        return [(name, sql) for type, name, sql in schema if type == "table"]

    def _by_number(self, table: str) -> None:
        """Copies rows in the order of their numbers; over what cannot be read it goes to the next
        that can."""
        at, many = _FIRST, _AT_ONCE
        while True:
            try:
                last, count = self._conn.execute(
                    f'SELECT max(rowid), count(*) FROM (SELECT rowid FROM src."{table}" '
                    "NOT INDEXED WHERE rowid >= ? ORDER BY rowid LIMIT ?)",
                    (at, many),
                ).fetchone()
                if not count:
                    return
                self._conn.execute(
                    f'INSERT OR IGNORE INTO main."{table}" SELECT * FROM src."{table}" '
                    "NOT INDEXED WHERE rowid BETWEEN ? AND ? ORDER BY rowid",
                    (at, last),
                )
                if last == _LAST:
                    return
                at, many = last + 1, min(2 * many, _AT_ONCE)
            except sqlite3.DatabaseError:
                if many > 1:
                    many //= 2
                    continue
                beyond = self._beyond(table, at)
                self._lose(table, at, beyond)
                if beyond is None:
                    return
                at = beyond

    def _lose(self, table: str, at: int, beyond: int | None) -> None:
        """Notes that rows from a number on are lost, together with those before them, if nothing
        between was saved."""
        first = None if at == _FIRST else at
        if self._lost and self._lost[-1].table == table and self._lost[-1].last == at - 1:
            first = self._lost.pop().first
        self._lost.append(Lost(table, first, None if beyond is None else beyond - 1))

    def _find_by_attributes(self) -> int:
        """Makes the rows by which instances are found; returns how many."""
        for no, stored in self._conn.execute("SELECT no, payload FROM main.attributes"):
            with suppress(Misfit):  # what is damaged blocks its instance, and finds it no more
                pairs = loads(stored)
                if isinstance(pairs, dict):
                    self._conn.executemany(
                        f"INSERT OR IGNORE INTO main.{_FOUND_BY} VALUES (?, ?, ?)",
                        [(key, dumps(value), no) for key, value in pairs.items()],
                    )
        (count,) = self._conn.execute(f"SELECT count(*) FROM main.{_FOUND_BY}").fetchone()
        return int(count)

    def _beyond(self, table: str, at: int) -> int | None:
        """Returns the least number from which on a row can be read; None: there is none."""

        def is_whole(number: int) -> bool:
            try:
                self._conn.execute(
                    f'SELECT * FROM src."{table}" NOT INDEXED WHERE rowid >= ? '
                    "ORDER BY rowid LIMIT 1",
                    (number,),
                ).fetchall()
            except sqlite3.DatabaseError:
                return False
            return True

        bad, step = at, 1
        while not is_whole(good := min(at + step, _LAST)):
            if good == _LAST:
                return None
            bad, step = good, 2 * step
        while good - bad > 1:
            middle = (good + bad) // 2
            bad, good = (bad, middle) if is_whole(middle) else (middle, good)
        return good

    def _in_order(self, table: str) -> None:
        """Copies what has no numbers: from the beginning until it cannot be read, and then from the
        end."""
        try:
            self._conn.execute(f'INSERT INTO main."{table}" SELECT * FROM src."{table}"')
        except sqlite3.DatabaseError:
            self._lost.append(Lost(table, None, None))
            keys = [
                f'"{row[1]}"'
                for row in sorted(
                    self._conn.execute(f'PRAGMA main.table_info("{table}")').fetchall(),
                    key=lambda it: it[5],
                )
                if row[5]
            ]
            for order in ("ASC", "DESC"):
                by = ", ".join(f"{it} {order}" for it in keys)
                with suppress(sqlite3.DatabaseError):
                    for row in self._conn.execute(f'SELECT * FROM src."{table}" ORDER BY {by}'):
                        marks = ", ".join("?" * len(row))
                        self._conn.execute(
                            f'INSERT OR IGNORE INTO main."{table}" VALUES ({marks})', row
                        )
