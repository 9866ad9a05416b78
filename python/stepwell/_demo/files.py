"""The steps that read the source: list a folder, hash a file.

What is listed goes to a file beside the log, and the history gets where to find it: a value has a
limit, a folder has none. Names are bytes, as the system has them.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from .durably import write_durably
from .steplog import Problem, logged

CHUNK = 1 << 20
PIECE_FILES, PIECE_BYTES = 500, 256 << 10
# a file's lines in two manifests and a report, with its hashes
RESERVE_BYTES, RESERVE_BYTES_PER_FILE = 128 << 10, 800
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Backup:
    """One job: what to back up, and where to.

    Attributes:
        id: The instance's.
        source: Absolute path of the folder.
        out: Absolute path of the folder for blobs, manifests and reports.
        leave_out: Absolute paths that are not backed up: where the backup itself writes.
        skip: Names of folders that are not entered.
    """

    id: str
    source: str
    out: str
    leave_out: list[str]
    skip: list[str]

    @property
    def folder(self) -> str:
        """Where this job notes its list of files and its log."""
        return os.path.join(self.out, "jobs", self.id)

    @property
    def log(self) -> str:
        """Where its steps log their attempts."""
        return os.path.join(self.folder, "steps.log")


@dataclass(frozen=True, slots=True)
class Piece:
    """Part of the list of files: so many bytes from an offset."""

    offset: int
    size: int
    files: int


@dataclass(frozen=True, slots=True)
class Hashed:
    """What a file held."""

    sha256: str
    size: int


def shown(name: bytes) -> str:
    """Returns a file's name as text on one line."""
    text = name.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def find_files(source: str, leave_out: list[str], skip: list[str]) -> list[bytes]:
    """Returns the names below a folder, relative to it, sorted: files, links to files, and folders
    that cannot be read."""
    root = os.fsencode(source)
    hidden, skipped = {os.fsencode(p) for p in leave_out}, {os.fsencode(s) for s in skip}
    found: list[bytes] = []

    def unreadable(error: OSError) -> None:
        if isinstance(error.filename, bytes):
            found.append(os.path.relpath(error.filename, root))

    for folder, folders, files in os.walk(root, onerror=unreadable):
        folders[:] = [
            f for f in folders if f not in skipped and os.path.join(folder, f) not in hidden
        ]
        found += [
            os.path.relpath(path, root)
            for f in files
            if (path := os.path.join(folder, f)) not in hidden
        ]
    return sorted(found)


@logged
def list_files(backup: Backup) -> list[Piece]:
    """Notes the names in a file, each ended by a zero byte, and returns the pieces to read it in.

    It also sets room aside for what is written once all files are done.
    """
    names = find_files(backup.source, backup.leave_out, backup.skip)
    pieces, offset, size, files = [], 0, 0, 0
    for name in names:
        if files == PIECE_FILES or size + len(name) + 1 > PIECE_BYTES:
            pieces.append(Piece(offset, size, files))
            offset, size, files = offset + size, 0, 0
        size, files = size + len(name) + 1, files + 1
    if files:
        pieces.append(Piece(offset, size, files))
    write_durably(os.path.join(backup.folder, "files.list"), b"".join(n + b"\0" for n in names))
    needed = RESERVE_BYTES + sum(
        3 * len(n) + len(backup.source) + RESERVE_BYTES_PER_FILE for n in names
    )
    with open(_reserve_path(backup), "wb") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, needed)
        else:  # macOS
            file.write(bytes(needed))
    return pieces


def make_room(backup: Backup) -> bool:
    """Gives back what was set aside for manifests, reports and the log, so that a full disk costs
    files only."""
    Path(_reserve_path(backup)).unlink(missing_ok=True)
    return _made_room(backup)  # logs only now: there may have been no room for the line


@logged
def _made_room(backup: Backup) -> bool:
    return not os.path.exists(_reserve_path(backup))


def _reserve_path(backup: Backup) -> str:
    return os.path.join(backup.folder, "reserve")


@logged
def read_names(backup: Backup, piece: Piece) -> list[bytes]:
    """Returns one piece of the list."""
    with open(os.path.join(backup.folder, "files.list"), "rb") as file:
        file.seek(piece.offset)
        return file.read(piece.size).split(b"\0")[:-1]


@logged
def hash_file(backup: Backup, name: bytes) -> Hashed:
    """Returns the SHA-256 and size of a file that did not change while it was read."""
    digest, size = hashlib.sha256(), 0
    with open_source(backup, name) as file:
        while data := file.read(CHUNK):
            digest.update(data)
            size += len(data)
    return Hashed(digest.hexdigest(), size)


@contextmanager
def open_source(backup: Backup, name: bytes) -> Generator[BinaryIO, None, None]:
    """Opens a file of the source.

    Raises:
        Problem: It cannot be read, or it changed before the block was left.
    """
    try:
        file = os.fdopen(os.open(os.path.join(os.fsencode(backup.source), name), _READ), "rb")
    except OSError as error:
        raise Problem(_opening(error)) from error
    with file:
        before = os.fstat(file.fileno())
        if not stat.S_ISREG(before.st_mode):
            raise Problem("is no regular file")
        yield file
        after = os.fstat(file.fileno())
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise Problem("changed while it was read")


def _opening(error: OSError) -> str:
    if error.errno == errno.ENOENT:
        return "vanished, or is a link to nothing"
    if error.errno == errno.ELOOP:
        return "is a link to itself"
    if error.errno == errno.EISDIR:
        return "is a folder that cannot be listed"
    return f"cannot be read: {error.strerror}"
