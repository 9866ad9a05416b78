"""Where Ctrl-C may strike code of an instance.

A signal can strike between any two instructions: where a nursery was made and is not awaited yet,
where a branch has half begun. What trio, a step or a body then makes of it is a failure like any
other, or a nursery that waits for ever; and a history would say so. So Ctrl-C does not strike code
of bodies and steps: it goes to the main task of trio, which leaves the engine. Only who holds the
loop can be ended in no other way. The watchdog sees that, and lifts the shield while it lasts;
whoever pressed it before presses it again.

Tasks that a step starts itself are trio's: to these it may come as in any program.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary, WeakSet, WeakValueDictionary

import trio
from trio._core._instrumentation import Instruments
from trio.lowlevel import disable_ki_protection, enable_ki_protection

F = TypeVar("F", bound=Callable[..., Any])
_callers: list[Any] = []

enable_ki_protection(Instruments.call)
"""Of trio's own, between the code of any task that starts another and the instruments: should
Ctrl-C strike there, trio disables one."""
enable_ki_protection(trio._core._run.Runner.spawn_impl)
"""Around that: should Ctrl-C strike there, a nursery waits for ever for a task that was never to
run."""

for _weak in (WeakKeyDictionary[Any, Any](), WeakValueDictionary[Any, Any](), WeakSet[Any]()):
    enable_ki_protection(getattr(_weak, "_remove"))  # noqa: B009  # a name of its own
"""What these call when an object goes, in whatever code runs then: Python only prints what is
raised there, and Ctrl-C would be lost."""


def calls_code(fn: F) -> F:
    """Decorates what calls code of an instance."""
    _callers.append(fn)
    return enable_ki_protection(fn)


def expose_code() -> None:
    """Code of an instance holds the loop: Ctrl-C may strike it."""
    for fn in _callers:
        disable_ki_protection(fn)


def shield_code() -> None:
    """None does any more."""
    for fn in _callers:
        enable_ki_protection(fn)
