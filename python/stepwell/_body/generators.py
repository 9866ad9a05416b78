"""Asynchronous generators that code of an instance begins, and may leave before their end.

trio closes such a generator in a task of its own, at some moment. If it stands in a scope or a
nursery, that is then left by another task than the one that entered it: trio's books are wrong from
then on, and at the end of a nursery it wakes the task that opened it, wherever that waits now. So
those that a body or an attempt has begun are kept, and closed where the code that began them ends,
in its task, the last one first: there a scope can still be left. On replay that is the same moment.
`_loops/body_loop` does so on asyncio.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

import trio
from trio.lowlevel import Task, current_task, enable_ki_protection

from .._errors import StepwellError
from .._log import log
from .branch import Branch, place
from .causes import is_misnesting, was_cancelled

if TYPE_CHECKING:
    from .life import Life, Port
    from .running import Running


class Generators:
    """Those of one engine's instances that may not have ended."""

    def __init__(self, port: Port) -> None:
        self._port = port
        self._kept: dict[Task, list[tuple[Branch | Running, AsyncGenerator[Any, Any]]]] = {}
        self._before = sys.get_asyncgen_hooks()

    def watch(self) -> None:
        """From now on is told of every generator that begins in this thread."""
        self._before = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(firstiter=self._begins)

    def unwatch(self) -> None:
        """Ends that; unless somebody else is told before us, who then has to go first."""
        if sys.get_asyncgen_hooks().firstiter == self._begins:
            sys.set_asyncgen_hooks(firstiter=self._before.firstiter)

    @enable_ki_protection
    def _begins(self, generator: AsyncGenerator[Any, Any]) -> None:
        here = place.get()
        if here is not None and here.life.port is self._port and trio.lowlevel.in_trio_task():
            task = current_task()
            # A task that a step has started itself ends by itself, and what it leaves is between it
            # and trio.
            if type(here) is Branch or task.parent_nursery is self._port.nursery:
                self._keep(self._kept.setdefault(task, []), here, generator)
        if self._before.firstiter is not None:
            self._before.firstiter(generator)

    def _keep(
        self, kept: list[Any], here: Branch | Running, generator: AsyncGenerator[Any, Any]
    ) -> None:
        if len(kept) % 64 == 63:  # a body may begin any number, one after the other
            kept[:] = [(whose, it) for whose, it in kept if _is_open(it)]
        kept.append((here, generator))

    def left_by(self, operation: Running | None = None) -> list[AsyncGenerator[Any, Any]]:
        """Returns those that have not ended of what an attempt, or all code, has begun in the
        current task; they are kept no longer."""
        if not self._kept:
            return []
        kept = self._kept.pop(current_task(), [])
        others = [
            (here, it) for here, it in kept if operation is not None and here is not operation
        ]
        if others:
            self._kept[current_task()] = others
        return [
            it
            for here, it in reversed(kept)
            if (operation is None or here is operation) and _is_open(it)
        ]


async def close(
    life: Life, left: list[AsyncGenerator[Any, Any]], error: BaseException | None
) -> None:
    """Closes generators that were left before their end, and says where they stand.

    Args:
        error: What the code raised that left them.

    Raises:
        StepwellError: They were left inside of scopes or nurseries, and the code after them fell
            into that.
        BaseException: Whatever the first of them raises.
    """
    where = ", ".join(dict.fromkeys(_standing(generator) for generator in left))
    who = f"{life.who}"
    if error is None:
        log.warning(
            "%s left a generator before its end, at %s. It is closed now: close it where "
            "it is left, %s",
            who,
            where,
            _CURE,
        )
    failure: BaseException | None = None
    for generator in left:
        try:
            await generator.aclose()
        except BaseException as raised:
            if not _is_only_the_closing(raised):
                failure = failure or raised
    try:
        if (
            _is_misnesting(error)
            or (error is None and _is_misnesting(failure))
            or _comes_of_it(life, error)
        ):
            raise StepwellError(
                f"{who} left a generator before its end, at {where}, inside of a scope or a "
                f"nursery, in which all code after it ran. Close it where it is left, {_CURE}"
            ) from error or failure
        if failure is not None and error is None:
            raise failure
    finally:
        del failure, error  # their tracebacks have this frame: a circle


_CURE = "with `async with contextlib.aclosing(…)`."


def _is_only_the_closing(error: BaseException) -> bool:
    """Whether this is what closes a generator, in the group that a nursery makes of it."""
    return isinstance(error, BaseExceptionGroup) and all(
        isinstance(it, GeneratorExit) or _is_only_the_closing(it) for it in error.exceptions
    )


def _is_misnesting(error: BaseException | None) -> bool:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return is_misnesting(error)


def _comes_of_it(life: Life, error: BaseException | None) -> bool:
    """Whether code was cancelled by a scope that a generator had left open: now that it is closed,
    nothing is cancelled."""
    return isinstance(error, trio.Cancelled) and not was_cancelled(life, error)


def _is_open(generator: AsyncGenerator[Any, Any]) -> bool:
    return getattr(generator, "ag_frame", None) is not None


def _standing(generator: Any) -> str:
    frame = generator.ag_frame
    return f"{frame.f_code.co_filename.rpartition('/')[2]}:{frame.f_lineno}"
