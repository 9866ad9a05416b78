"""What can be seen of a store's files without asking SQLite: where they lie, who may read them, how
long they are; and, where no engine has them, whether SQLite finds their structure whole.

The header is read as bytes: that disturbs nobody who has the store open.
"""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from .._engine.stored import NotThere, Stored
from .._errors import StepwellError, StoreFailed
from ._finding import Finding
from ._private import opened_alone

CHECKED_MAX = 4 << 30
"""Bytes of a file that is checked as a whole."""
_HEADER = 100
_MAGIC = b"SQLite format 3\0"
_OURS = b"Stpw"
_WAL_MAX = 256 << 20
"""A WAL that engines cut off at 24 MiB."""
_FREE_MAX = 64 << 20
_ROOM_MIN = 1 << 30
_NETWORK = {
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "9p", "ceph", "lustre", "gpfs", "beegfs",
    "fuse.sshfs", "fuse.glusterfs", "fuse.s3fs", "fuse.rclone",
}  # fmt: skip
MOUNTS = Path("/proc/self/mounts")
_BEGINNING = 1 << 20
"""Bytes of a file in which the first pages of its schema lie."""
_OUR_TABLES = (b"CREATE TABLE journal (", b"CREATE TABLE instance (")
_RESTORE = (
    "Restore it from a backup. Without one: stepwell doctor --repair-to NEW saves what can be "
    "read; keep the damaged file and its WAL."
)


class Shape(NamedTuple):
    """A store's files."""

    path: Path
    size: int
    wal: int
    free: int
    """Bytes of the file in which nothing is."""
    room: int
    """Free bytes of its disk."""
    owner: int | None
    """Process of the engine that has it."""
    missing: int = 0
    """Bytes that its header says are there, and are not."""
    has_header: bool = True
    """Whether it begins as a store does."""


def looked_at(store: str) -> Shape:
    """Returns the shape of a store.

    Raises:
        StoreFailed: There is none, or what is there is none.
    """
    path = Path(os.path.realpath(store))
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER)
        status = path.stat()
    except OSError as error:
        raise StoreFailed(f"{store} cannot be read: {error.strerror}. Nothing was made.") from None
    wal = Path(f"{path}-wal")
    length = wal.stat().st_size if wal.exists() else 0
    room = shutil.disk_usage(path.parent).free
    if not header.startswith(_MAGIC) or header[68:72] != _OURS:
        if _was_ours(path):
            return Shape(path, status.st_size, length, 0, room, None, has_header=False)
        raise StoreFailed(f"{store} is no store: Stepwell did not write it.")
    page = int.from_bytes(header[16:18]) or 1
    page = 65_536 if page == 1 else page
    free, pages = (int.from_bytes(header[at : at + 4]) * page for at in (36, 28))
    # while a WAL is folded back, the first page may be ahead of the last ones
    missing = 0 if length else max(0, pages - status.st_size)
    return Shape(path, status.st_size, length, free, room, _owner(path), missing)


def _was_ours(path: Path) -> bool:
    """Whether our schema stands in a file that does not begin as a store does any more."""
    with path.open("rb") as file:
        beginning = file.read(_BEGINNING)
    return all(it in beginning for it in _OUR_TABLES)


def _owner(path: Path) -> int | None:
    try:
        return Stored(str(path)).owner()
    except (NotThere, StepwellError):
        return None  # why it cannot be read is told where it is asked


def findings(shape: Shape) -> list[Finding]:
    """Returns what is wrong with the files."""
    return [*_place(shape), *_lengths(shape), *_damage(shape)]


def _place(shape: Shape) -> list[Finding]:
    path, found = shape.path, []
    status = path.stat()
    if kind := _network(path):
        evidence = f"{path} lies on a network file system ({kind}), where SQLite loses data"
        found.append(Finding("file_system", evidence, "Move it to a local disk."))
    if status.st_mode & 0o077:
        evidence = f"{path.name} has the mode {stat.S_IMODE(status.st_mode):o}: others may read it"
        found.append(Finding("rights", evidence, f"chmod 600 {path}"))
    if status.st_nlink > 1:
        evidence = f"{path.name} has {status.st_nlink} names (hard links), and a WAL beside one"
        action = "Remove the other names; find -samefile shows them."
        found.append(Finding("names", evidence, action))
    return found


def _network(path: Path) -> str:
    """Returns the type of a network file system that a file is on; "": it is on another."""
    best, kind = "", ""
    try:
        mounts = MOUNTS.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    for line in mounts:
        _, point, of, *_ = line.split(" ")
        point = re.sub(r"\\([0-7]{3})", lambda it: chr(int(it[1], 8)), point)  # spaces, as \\040
        inside = str(path) == point or str(path).startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, of
    return kind if kind in _NETWORK else ""


def _lengths(shape: Shape) -> list[Finding]:
    found = []
    if shape.wal > _WAL_MAX:
        evidence = f"the WAL has {_mib(shape.wal)}; an engine cuts it off at 24 MiB"
        action = (
            "Another program reads the store for a long time, and keeps it from being folded back: "
            "lsof shows which; end it."
            if shape.owner is not None
            else "An engine folds it back when it opens the store. Do not remove it."
        )
        found.append(Finding("wal", evidence, action))
    if shape.free > _FREE_MAX and shape.free > shape.size // 4:
        evidence = f"{_mib(shape.free)} of {_mib(shape.size)} of the file are free pages"
        action = "An idle engine gives them back, 1 MiB at a time; a backup has none of them."
        found.append(Finding("free_pages", evidence, action))
    if shape.room < max(_ROOM_MIN, shape.wal):
        evidence = f"the disk has {_mib(shape.room)} left"
        action = "Make room: without it nothing is admitted, and steps wait. See also retention."
        found.append(Finding("disk", evidence, action))
    return found


def _damage(shape: Shape) -> list[Finding]:
    """Checks the structure of a file that nobody writes."""
    if not shape.has_header:
        evidence = f"the first bytes of {shape.path.name} are destroyed: it was a store"
        action = "Restore it from a backup; keep the damaged file and its WAL."
        return [Finding("damaged", evidence, action)]
    if shape.missing:
        evidence = f"{shape.path.name} is cut short: its last {_mib(shape.missing)} are missing"
        return [Finding("damaged", evidence, _RESTORE)]
    if shape.owner is not None or shape.size > CHECKED_MAX:
        return []
    with closing(opened_alone(shape.path)) as conn:
        if not _is_damaged(conn, ""):
            return []
        where = _where(conn)
    return [Finding("damaged", f"SQLite finds the file damaged: {where}", _RESTORE)]


def _is_damaged(conn: sqlite3.Connection, table: str) -> bool:
    """Whether SQLite finds fault with a table and its indexes; "": with the whole file."""
    of = f"({_quoted(table)})" if table else ""
    try:
        told = [str(row[0]) for row in conn.execute(f"PRAGMA quick_check{of}")]
    except sqlite3.DatabaseError:
        return True
    # what is in the columns of a row is told where that row is read
    return any(it != "ok" and " value in " not in it for it in told)


def _where(conn: sqlite3.Connection) -> str:
    """Returns what of a damaged file is damaged, in words."""
    try:
        names = [
            str(name)
            for (name,) in conn.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        ]
    except sqlite3.DatabaseError:
        return "what tables it has cannot be read"
    damaged = [it for it in names if _is_damaged(conn, it)]
    if not damaged:
        return "in pages of no table"
    if len(damaged) == 1:
        return f"in the table {damaged[0]}, or an index of it"
    return f"in the tables {', '.join(damaged)}, or indexes of them"


def _quoted(name: str) -> str:
    return "'" + name.replace("'", "''") + "'"


def _mib(count: int) -> str:
    return f"{count / (1 << 20):,.1f} MiB"
