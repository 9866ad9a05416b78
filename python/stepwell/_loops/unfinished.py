"""Code that is left where it stands, for ever: what has to be done with it so that it never goes
on."""

from __future__ import annotations

from typing import Any


def leave_unfinished(code: Any) -> None:
    """Keeps code for ever as it stands. To free it would be to close it, and it would catch that as
    it caught all else."""
    import ctypes  # here, because few programs ever come here

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(code))
