"""Strikes a program at its k-th moment: at a step of trio's loop, a line of the package's code, or
an instruction of an instance's."""

import dis
import functools
import inspect
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Self

import trio
from trio._core._ki import ki_protection_enabled

import stepwell
from stepwell import _fronts, aio, sync
from stepwell._body.branch import place
from stepwell._engine import draining, driver, engine, instance, life, own_desk, tenant
from stepwell._loops import portal

PACKAGE = str(Path(stepwell.__file__).parent)
FILES = {
    inspect.getfile(module)
    for module in (
        _fronts, aio, draining, driver, engine, instance, life, own_desk, portal, sync, tenant,
    )
}  # fmt: skip
"""Of whose lines each is a moment: what opens, closes and calls an engine."""


def ctrl_c() -> None:
    """Strikes as the terminal does."""
    signal.raise_signal(signal.SIGINT)


class AtStep(trio.abc.Instrument):
    """Strikes when trio is about to run a task for the k-th time, and `times` more when nothing
    goes on any more and `again` holds."""

    def __init__(
        self,
        k: int,
        strike: Callable[[], None],
        again: Callable[[], bool] = lambda: False,
        times: int = 1,
    ) -> None:
        self.left = k
        self.strike = strike
        self.again = again
        self.times = times

    @property
    def has_struck(self) -> bool:
        """Whether there was such a moment."""
        return self.left <= 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """trio's."""
        self.left -= 1
        if not self.left:
            self.strike()

    def before_io_wait(self, timeout: float) -> None:
        """trio's."""
        if timeout > 0.05 and self.times and self.again():
            self.times -= 1
            self.strike()


_PUSH_EXC_INFO = dis.opmap["PUSH_EXC_INFO"]


class _Traced:
    """Traces the thread that enters it."""

    def __enter__(self) -> Self:
        self._before = sys.gettrace()
        sys.settrace(self._called)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._before)

    def _called(self, frame: FrameType, event: str, arg: Any) -> Any:
        raise NotImplementedError


class AtLine(_Traced):
    """Strikes when the thread that enters this is about to run the k-th line of `FILES`;
    `again_after`: and so many lines later.

    Not at the first line of what a `with` statement calls: before that Python itself gives nobody a
    hold. Nor where an exception comes to its handler: no signal is looked for there, and Python
    3.11 would take the exception for the thread's current one for good.
    """

    def __init__(self, k: int, strike: Callable[[], None], again_after: int = 0) -> None:
        self.left = k
        self.strike = strike
        self.again_after = again_after
        self.places: list[str] = []
        """Where it struck."""

    @property
    def has_struck(self) -> bool:
        """Whether there was such a moment."""
        return bool(self.places)

    def _called(self, frame: FrameType, event: str, arg: Any) -> Any:
        if frame.f_code.co_filename not in FILES:
            return None
        return self._begun if frame.f_code.co_name in ("__enter__", "__exit__") else self._ran

    def _begun(self, frame: FrameType, event: str, arg: Any) -> Any:
        return self._ran

    def _ran(self, frame: FrameType, event: str, arg: Any) -> Any:
        if event == "line" and frame.f_code.co_code[frame.f_lasti] != _PUSH_EXC_INFO:
            self.left -= 1
            if not self.left:
                self.places.append(f"{frame.f_code.co_qualname}:{frame.f_lineno}")
                self.left = self.again_after if len(self.places) == 1 else 0
                if not self.left:
                    sys.settrace(None)
                self.strike()
        return self._ran


_TRACED = (PACKAGE, str(Path(trio.__file__).parent), str(Path(__file__).parent))
_LOOKS = ("RESUME", "CALL", "JUMP_BACKWARD", "POP_JUMP_BACKWARD")
"""After these instructions the interpreter looks for signals."""


@functools.cache
def _interruptible(code: CodeType) -> frozenset[int]:
    """Returns the offsets of the instructions of some code before which a signal may be handled."""
    found, looks = set(), False
    for it in dis.get_instructions(code):
        if looks:
            found.add(it.offset)
        after_await = it.opname == "RESUME" and (it.arg or 0) > 1
        looks = (
            it.opname.startswith(_LOOKS)
            and not it.opname.endswith("NO_INTERRUPT")
            and not after_await
        )
    return frozenset(found)


class AtInstruction(_Traced):
    """Strikes the thread that enters this when code of an instance, or what that calls, is for the
    k-th time where a signal can come.

    Args:
        unshielded: Only where Ctrl-C would be raised at once.
    """

    def __init__(self, k: int, strike: Callable[[], None], unshielded: bool = False) -> None:
        self.left = k
        self.strike = strike
        self.unshielded = unshielded
        self.where = ""
        """Where it struck."""

    def _called(self, frame: FrameType, event: str, arg: Any) -> Any:
        if not frame.f_code.co_filename.startswith(_TRACED):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return self._ran

    def _ran(self, frame: FrameType, event: str, arg: Any) -> Any:
        if (
            event == "opcode"
            and frame.f_lasti in _interruptible(frame.f_code)
            and place.get() is not None
        ):
            if self.unshielded and ki_protection_enabled(frame):
                return self._ran
            self.left -= 1
            if not self.left:
                self.where = (
                    f"{frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_qualname}"
                )
                sys.settrace(None)
                self.strike()
        return self._ran
