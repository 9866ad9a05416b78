"""Where the socket of a store is: beside the file that its path comes to when all links are
followed, so that whoever opens the store by another name finds the same one.

The system allows a socket's path 107 bytes. Where that does not do, it is in a folder of the user's
own, under a name made from the path.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from pathlib import Path

PATH_MAX = 107
NAME_BYTES = len("/stepwell/") + 32 + len(".sock")


def socket_path(store: str) -> str:
    """Returns where the socket of a store is, or would be. Nothing is made."""
    real = os.path.realpath(store)
    beside = f"{real}.sock"
    if len(os.fsencode(beside)) <= PATH_MAX:
        return beside
    name = hashlib.blake2s(os.fsencode(real), digest_size=16).hexdigest()
    return str(folder() / f"{name}.sock")


def folder() -> Path:
    """Returns the folder for sockets whose own path would be too long."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if runtime and os.path.isabs(runtime) and len(os.fsencode(runtime)) <= PATH_MAX - NAME_BYTES:
        return Path(runtime, "stepwell")
    return Path(tempfile.gettempdir(), f"stepwell-{os.geteuid()}")


def make_folder(path: str) -> None:
    """Makes the folder that a socket is to be in, if it is one of ours.

    Raises:
        OSError: It cannot be made, or somebody else could have put something in there.
    """
    home = folder()
    if Path(path).parent != home:
        return
    home.mkdir(mode=0o700, exist_ok=True)
    found = home.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise OSError(f"{home} is not a folder of this user's alone")


def clear(path: str) -> None:
    """Removes a socket that an engine left behind, which only the owner of the store may do.

    Raises:
        OSError: Something else is there, a link among it.
    """
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise FileExistsError(f"{path} is there, and is no socket")
    os.unlink(path)
