"""Large values beside the store: `Engine("orders.db", payloads=Folder("orders-payloads"))`.

`Payloads` is what an engine asks of such a place, for whoever writes one for an object store.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from errno import ENOENT

from ._errors import InvalidConfig
from ._values.payloads import LIMIT, OVER, Payloads

__all__ = ["Folder", "Memory", "Payloads"]

_MODE = 0o600
_FOLDER_MODE = 0o700
_PART = ".part"
"""After the name of a file that is not whole yet."""
_LARGEST = 4 << 30


class _Sized(Payloads):
    """One of which somebody may say what is large."""

    def __init__(self, over: int, limit: int) -> None:
        for name, value in (("over", over), ("limit", limit)):
            if type(value) is not int or not 1 <= value <= _LARGEST:
                raise InvalidConfig(f"{name} is {value!r}; give 1 to {_LARGEST:,} bytes.")
        if over >= limit:
            raise InvalidConfig(
                f"over is {over:,} bytes, and limit {limit:,}: no value lies between these."
            )
        self.over, self.limit = over, limit


class Folder(_Sized):
    """Large values as files of a folder, each under its key, in 256 folders.

    A file is written under another name, synced, renamed, and its folder synced: under its own name
    it is whole, or not there. Files are 0600, folders 0700. Nothing that is there is ever written
    to, so a copy by hard links keeps what it had; no link that lies in the folder is followed. The
    folder may be on another disk than the store, or on a network's if that can rename and sync.

    Args:
        path: It is made when it is needed; the one in which it lies has to be there.
        over: Values of more bytes than this lie here, 1 to 4 GiB.
        limit: How many bytes a value may have, 1 to 4 GiB.

    Raises:
        InvalidConfig: The path is empty, or of something that is no folder; or a number is out of
            range.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, over: int = OVER, limit: int = LIMIT
    ) -> None:
        super().__init__(over, limit)
        if not isinstance(path, (str, os.PathLike)) or not os.fspath(path):
            raise InvalidConfig(f"path is {path!r:.120}; give the path of a folder.")
        self.path = os.path.abspath(os.fspath(path))  # the program may go elsewhere
        if os.path.exists(self.path) and not os.path.isdir(self.path):
            raise InvalidConfig(f"path is {self.path!r}, which is no folder; give one of its own.")
        self._kept: set[str] = set()
        """Folders of which it is known that they outlive a power cut."""

    def __repr__(self) -> str:
        return f"Folder({self.path!r})"

    def put(self, key: str, data: bytes, /) -> None:
        """See `Payloads.put`.

        Raises:
            OSError: It cannot be written; nothing is there then.
        """
        self._make()
        self._is_there()
        with self._opened(key, makes=True) as folder:
            part = key + _PART
            _unlink(part, folder)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            file = os.open(part, flags, _MODE, dir_fd=folder)
            try:
                try:
                    _write(file, data)
                    os.fsync(file)
                finally:
                    os.close(file)
                os.replace(part, key, src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:
                _unlink(part, folder)
                raise
            os.fsync(folder)

    def get(self, key: str, /) -> bytes:
        """See `Payloads.get`.

        Raises:
            KeyError: There is no such file.
            OSError: It cannot be read, or the folder as a whole is not there.
        """
        self._is_there()  # a disk that is not mounted has not lost every file
        try:
            with self._opened(key) as folder:
                flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
                with open(os.open(key, flags, dir_fd=folder), "rb") as file:
                    return file.read()
        except FileNotFoundError:
            raise KeyError(key) from None

    def delete(self, keys: Sequence[str], /) -> None:
        """See `Payloads.delete`.

        Raises:
            OSError: One cannot be removed, or the folder as a whole is not there.
        """
        self._is_there()
        for key in keys:
            try:
                with self._opened(key) as folder:
                    _unlink(key + _PART, folder)
                    _unlink(key, folder)
            except FileNotFoundError:
                continue

    def _is_there(self) -> None:
        """Raises what says that the whole folder is gone. It is not made anew: what has lain in it
        would be missing, and on another disk than before."""
        try:
            os.stat(self.path)
        except FileNotFoundError:
            text = (
                "the folder of large values is gone: it was deleted or moved, or its disk is not "
                "mounted. Put it back with all that was in it"
            )
            raise FileNotFoundError(ENOENT, text, self.path) from None

    def _make(self) -> None:
        if "" not in self._kept:
            with suppress(FileExistsError):  # then another thread may be about to sync it
                os.mkdir(self.path, _FOLDER_MODE)
            _sync(os.path.dirname(self.path))
            self._kept.add("")

    @contextmanager
    def _opened(self, key: str, *, makes: bool = False) -> Generator[int]:
        """Opens the folder in which a key lies."""
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        whole = os.open(self.path, flags)
        try:
            if makes and key[:2] not in self._kept:
                with suppress(FileExistsError):
                    os.mkdir(key[:2], _FOLDER_MODE, dir_fd=whole)
                os.fsync(whole)
                self._kept.add(key[:2])
            folder = os.open(key[:2], flags | os.O_NOFOLLOW, dir_fd=whole)
        finally:
            os.close(whole)
        try:
            yield folder
        finally:
            os.close(folder)


class Memory(_Sized):
    """Large values in this process, for tests: a test engine that is given one has what an engine
    with a folder has.

    Args:
        over: As of `Folder`.
        limit: The same.

    Raises:
        InvalidConfig: A number is out of range.
    """

    def __init__(self, *, over: int = OVER, limit: int = LIMIT) -> None:
        super().__init__(over, limit)
        self.values: dict[str, bytes] = {}

    def put(self, key: str, data: bytes, /) -> None:
        """See `Payloads.put`."""
        self.values[key] = data

    def get(self, key: str, /) -> bytes:
        """See `Payloads.get`.

        Raises:
            KeyError: There is nothing under this key.
        """
        return self.values[key]

    def delete(self, keys: Sequence[str], /) -> None:
        """See `Payloads.delete`."""
        for key in keys:
            self.values.pop(key, None)


def _write(file: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]


def _unlink(name: str, folder: int) -> None:
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)


def _sync(path: str) -> None:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
