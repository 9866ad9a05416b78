"""Blobs: the steps that keep a file's content, and read it back.

A blob is named by the SHA-256 of what it holds, `blobs/ab/<sha256>.zst`. It is written under a
temporary name in the same folder, synced, and renamed: a killed process leaves a `.tmp` file, never
half a blob under its final name. The folders themselves are synced before a manifest names what is
in them.
"""

from __future__ import annotations

import hashlib
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import zstandard

from .files import CHUNK, Backup, Hashed, open_source, shown
from .steplog import Problem, logged

LEVEL = 3
_thread = threading.local()


@dataclass(frozen=True, slots=True)
class Stored:
    """Its blob: hash and size of the compressed bytes."""

    sha256: str
    size: int


@logged
def store_blob(backup: Backup, name: bytes, hashed: Hashed) -> Stored:
    """Compresses a file into its blob, unless a good one is there, and returns what was written."""
    path = blob_path(backup.out, hashed.sha256)
    # the same at every attempt: none is left over
    temporary = f"{path}.{backup.id}.{hashlib.sha256(name).hexdigest()[:16]}.tmp"
    try:
        there = _read_blob(path)
        if there is not None and there[0] == hashed:
            # an equal file's, written while a kill cut an earlier attempt of this one short
            return there[1]
        os.makedirs(os.path.dirname(path), exist_ok=True)
        stored = _compress(backup, name, hashed, temporary)
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)
    return stored


@logged
def verify_blob(backup: Backup, name: bytes, hashed: Hashed, stored: Stored) -> bool:
    """Reads the blob back and compares its content with the file's hash."""
    found = _read_blob(blob_path(backup.out, hashed.sha256))
    if found != (hashed, stored):
        raise Problem(f"its blob does not hold what {shown(name)} held")
    return True


def blob_path(out: str, sha256: str) -> str:
    """Returns where the blob of this content is kept."""
    return os.path.join(out, "blobs", sha256[:2], f"{sha256}.zst")


def _compress(backup: Backup, name: bytes, hashed: Hashed, path: str) -> Stored:
    """Writes and syncs a file's compressed content."""
    digest = hashlib.sha256()
    with open(path, "wb") as file, open_source(backup, name) as source:
        target = _Hashing(file)
        try:
            with _compressor().stream_writer(target, size=hashed.size, closefd=False) as writer:  # type: ignore[arg-type]  # write() is all it calls
                while data := source.read(CHUNK):
                    digest.update(data)
                    writer.write(data)
        except zstandard.ZstdError:  # it has another size now
            raise Problem("changed while it was backed up") from None
        if digest.hexdigest() != hashed.sha256:
            raise Problem("changed while it was backed up")
        file.flush()
        os.fsync(file.fileno())
    return Stored(target.digest.hexdigest(), target.size)


def _compressor() -> zstandard.ZstdCompressor:
    """This thread's compressor; making one costs more than compressing most files."""
    if not hasattr(_thread, "compressor"):
        _thread.compressor = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True)
    compressor: zstandard.ZstdCompressor = _thread.compressor
    return compressor


class _Hashing:
    """A file to write to that knows the hash and size of what was written."""

    def __init__(self, file: BinaryIO) -> None:
        self.digest, self.size = hashlib.sha256(), 0
        self._file = file

    def write(self, data: bytes) -> int:
        """Writes."""
        self.digest.update(data)
        self.size += len(data)
        return self._file.write(data)


def _read_blob(path: str) -> tuple[Hashed, Stored] | None:
    """Returns what a blob holds and what it is, or None if there is none that can be
    decompressed."""
    content, size = hashlib.sha256(), 0
    try:
        with open(path, "rb") as file:
            compressed = hashlib.sha256()
            stored = 0
            reader = zstandard.ZstdDecompressor().decompressobj()
            while data := file.read(CHUNK):
                compressed.update(data)
                stored += len(data)
                plain = reader.decompress(data)
                content.update(plain)
                size += len(plain)
            if not reader.eof:
                return None
    except (FileNotFoundError, zstandard.ZstdError):
        return None
    return Hashed(content.hexdigest(), size), Stored(compressed.hexdigest(), stored)
