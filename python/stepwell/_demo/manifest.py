"""The steps after all files are done: manifests, and blobs that no manifest names.

MANIFEST.sha256 names every file that was backed up, by absolute path, with the hash of its content;
the blob that holds it is called by that hash. BLOBS.sha256 names every blob, relative to the
folder, with the hash of its compressed bytes. `sha256sum -c` reads both.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from .blobs import blob_path
from .durably import sync_folder, write_durably
from .files import Backup
from .steplog import logged

MANIFEST, BLOBS = "MANIFEST.sha256", "BLOBS.sha256"


@dataclass(frozen=True, slots=True)
class Kept:
    """A file that is in the backup."""

    name: bytes
    sha256: str
    size: int
    stored_sha256: str
    stored: int


@dataclass(frozen=True, slots=True)
class Missed:
    """A file that is not, and why."""

    name: bytes
    why: str


@dataclass(frozen=True, slots=True)
class Unnamed:
    """Files below `blobs/` that no manifest names."""

    files: int
    size: int


def checksum_line(sha256: str, path: bytes) -> bytes:
    """Returns a line as sha256sum writes it, with newlines and backslashes of the path escaped."""
    escaped = path.replace(b"\\", b"\\\\").replace(b"\n", b"\\n")
    mark = b"\\" if escaped != path else b""
    return mark + sha256.encode() + b"  " + escaped + b"\n"


@logged
def write_manifest(backup: Backup, kept: list[Kept]) -> list[Missed]:
    """Writes both manifests and returns the files whose blobs somebody removed since they were
    verified."""
    gone = {k.sha256 for k in kept if _size(blob_path(backup.out, k.sha256)) != k.stored}
    good = [k for k in kept if k.sha256 not in gone]
    for folder in {os.path.dirname(blob_path(backup.out, k.sha256)) for k in good}:
        sync_folder(folder)
    source = os.fsencode(backup.source)
    blobs = {k.sha256: k.stored_sha256 for k in good}
    lines = [checksum_line(k.sha256, os.path.join(source, k.name)) for k in good]
    blob_lines = [
        checksum_line(s, os.path.relpath(blob_path(backup.out, b), backup.out).encode())
        for b, s in sorted(blobs.items())
    ]
    write_durably(os.path.join(backup.out, BLOBS), b"".join(blob_lines))
    write_durably(os.path.join(backup.out, MANIFEST), b"".join(lines))
    return [
        Missed(k.name, "its blob was removed after it was verified")
        for k in kept
        if k.sha256 in gone
    ]


@logged
def find_unnamed(backup: Backup) -> Unnamed:
    """Notes which files below `blobs/` no manifest names, and returns how many they are and their
    size."""
    found = unnamed_files(backup.out)
    write_durably(_list_path(backup), b"".join(os.fsencode(p) + b"\0" for p in found))
    return Unnamed(len(found), sum(_size(p) or 0 for p in found))


@logged
def prune(backup: Backup) -> Unnamed:
    """Removes what was noted, as far as it is still there and still unnamed, and returns what that
    was."""
    noted = Path(_list_path(backup)).read_bytes().split(b"\0")[:-1]
    listed = [os.fsdecode(p) for p in noted]
    unnamed = set(unnamed_files(backup.out))
    for path in listed:
        if path in unnamed:
            Path(path).unlink(missing_ok=True)
    return Unnamed(len(listed), 0)


def unnamed_files(out: str) -> list[str]:
    """Returns the paths below `blobs/` that MANIFEST.sha256 does not name; killed attempts'
    temporary files are among them."""
    named = set()
    for line in Path(out, MANIFEST).read_bytes().split(b"\n")[:-1]:
        named.add(blob_path(out, line.removeprefix(b"\\")[:64].decode()))
    found = []
    for folder, _, files in os.walk(os.path.join(out, "blobs")):
        found += [path for f in files if (path := os.path.join(folder, f)) not in named]
    return sorted(found)


def _list_path(backup: Backup) -> str:
    return os.path.join(backup.folder, "unnamed.list")


def _size(path: str) -> int | None:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return None
