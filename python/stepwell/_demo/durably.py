"""Writing so that a crash leaves the old file or the new one, and a power cut forgets neither."""

from __future__ import annotations

import os


def write_durably(path: str, data: bytes) -> None:
    """Replaces a file as a whole: after a crash it is the old one or the new one.

    Raises:
        OSError: It cannot be written.
    """
    temporary = f"{path}.tmp"
    with open(temporary, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    sync_folder(os.path.dirname(path))


def sync_folder(path: str) -> None:
    """Makes what was renamed into a folder survive a power cut.

    Raises:
        OSError: It cannot be synced.
    """
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
