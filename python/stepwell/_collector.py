"""Python's collector of cyclic garbage, while engines are open.

It looks at young objects after every 700 new ones and, at last, at all there are. Fifty thousand bodies in memory are three
million objects, none of them garbage: what the engine drops is freed at once. With the thresholds of Python's own a third of
the time, and pauses of a second, went into finding that out; with these a sixteenth (docs/adr/0009). The setting belongs to
the process, so it is touched only if the program left it as Python has it, and given back by the last engine.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Generator
from contextlib import contextmanager

_PYTHONS = {(700, 10, 10), (2000, 10, 10), (2000, 10, 0)}
"""What `gc.get_threshold()` is in a fresh interpreter, 3.11 to 3.14."""
_OURS = (10_000, 10, 100)
_lock = threading.Lock()
_engines = 0
_before: tuple[int, int, int] | None = None


@contextmanager
def patient() -> Generator[None]:
    """Lets the collector look less often while one engine or more is open, in whatever thread."""
    global _engines, _before
    with _lock:
        _engines += 1
        if _engines == 1 and gc.get_threshold() in _PYTHONS:
            _before = gc.get_threshold()
            gc.set_threshold(*_OURS)
    try:
        yield
    finally:
        with _lock:
            _engines -= 1
            if _engines == 0 and _before is not None:
                if gc.get_threshold() == _OURS:
                    gc.set_threshold(*_before)
                _before = None
