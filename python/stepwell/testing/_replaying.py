"""Today's code against histories that other code made, without running anything.

A body is replayed by what replays it in an engine, which finds the same differences in the same
words. What it says is heard by nobody, and once its history is used up it begins nothing more.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from itertools import count
from typing import TYPE_CHECKING, Any

import trio
import trio.testing

from .. import _core
from .._body import delivery, diagnosis, stopping
from .._body.runner import Runner
from .._ending import End
from .._engine.exported import start_of
from .._errors import InvalidConfig, Nondeterminism
from .._operations.step import Step
from .._replay import Mismatch
from .._steps.workflow import Workflow
from .._types import STATUSES, Status
from .._values.codec import codec
from .._values.failures import error_info
from ._engine import open_test_engine

if TYPE_CHECKING:
    from .._body.life import Life
    from .._engine.driver import Driver

_BY_ITSELF = (Status.COMPLETE, Status.ERRORED)
"""In which states an instance ends by what its code does."""
_TIMES = ("now", "monotonic")
"""What of the core a body may ask all the same."""


class Listener:
    """The engine as one body sees it that is only replayed.

    Attributes:
        problem: Why the body cannot go on; None: it can.
        came_to: The state in which it ended; None: it has not.
    """

    def __init__(self, driver: Driver, workflow: Workflow[Any, Any], start: Any) -> None:
        self.problem: str | None = None
        self.came_to: Status | None = None
        self.tickets: dict[int, Any] = {}
        self._driver = driver
        self._numbers = count(1 << 40)
        self._left = trio.Event()
        self._runner = Runner(self, workflow, start)  # type: ignore[arg-type]  # see __getattr__

    def __getattr__(self, name: str) -> Any:
        """What is said to the core nobody hears; it gets a number all the same."""
        if hasattr(_core.Core, name) and name not in _TIMES:
            return lambda *_: next(self._numbers)
        return getattr(self._driver, name)

    @property
    def draining(self) -> bool:
        """Whether history is used up, and the body has asked for all that is open in it: then
        nothing begins any more, be it a step of the very turn in which that comes about."""
        told = self._runner.delivery
        open_ = told.open
        return not told.cursor.pending and all(
            it in open_ for asked in (told.attached, told.cursor.attempts) for it in asked
        )

    @staticmethod
    def most_bytes(_: int) -> int:
        """Whether values are too large is not what is asked."""
        return sys.maxsize

    def registered(self, workflow: Any) -> Workflow[Any, Any]:
        """As in the engine; but nobody creates children, so their code need not be there."""
        return workflow if isinstance(workflow, Workflow) else self._driver.registered(workflow)

    def lacks_class(self, life: Life, which: tuple[str, str]) -> None:
        """The class of a failure is missing; what blocks it says so."""

    def block(self, no: int, incarnation: int, reason: str, error: bytes, step: str | None) -> None:
        """The body cannot go on."""
        if reason == "body_failed":
            self.came_to = Status.ERRORED
        else:
            self.problem = error_info(codec.decode(error)).message

    def finish(self, no: int, incarnation: int, status: int, *_: Any) -> None:
        """The body has ended."""
        self.came_to = STATUSES[status]

    def ended(self, life: Life) -> None:
        """The body has left memory."""
        if life.stopping is End.UNDOES:  # what it raised would have its steps undone first
            self.came_to = Status.ERRORED
        self._driver.resistance.forget(life)
        self._left.set()

    async def replay(self, recorded: Status) -> str | None:
        """Replays the body of an instance that was in this state; returns what does not fit."""
        runner = self._runner
        self._driver.nursery.start_soon(runner.run, Step)
        await trio.testing.wait_all_tasks_blocked()
        if self.problem is None and self.came_to is None:
            self.problem = _left_over(runner)
        stopping.unwind(runner, End.STOPPED)
        await self._left.wait()
        if self.problem is None and recorded in _BY_ITSELF and self.came_to is not recorded:
            now = "goes on" if self.came_to is None else f"is {self.came_to.value}"
            self.problem = (
                f"{runner.who} differs from its history: it was {recorded.value} at the end of "
                f"that, and {now} now."
            )
        return self.problem


def _left_over(runner: Runner) -> str | None:
    """Returns what a body that is at rest has not asked for."""
    left: Mismatch | None = delivery.leftover(runner)
    return None if left is None else str(diagnosis.mismatch(runner, left, None, runner.raised))


async def check_replay(workflow: Workflow[Any, Any], histories: Iterable[Any]) -> None:
    """Replays today's code of a workflow over histories that were exported, also by another
    version of it: before a deploy, in a test. No step runs, nothing is stored, and no engine need
    be open.

    What an instance would be blocked for when it is replayed is found, in the same words. So is one
    that had ended, and whose code now goes on, or ends in another way; not that it returns
    something else. Values of steps that are `sensitive` are not exported: the body gets None.

    Args:
        workflow: The code.
        histories: What `instance.export()` returned, of instances of this workflow.

    Raises:
        Nondeterminism: At least one differs; the text has a line for each of the first ten.
        InvalidConfig: One is no export, or of another workflow; or `workflow` is none.
    """
    if not isinstance(workflow, Workflow):
        raise InvalidConfig(
            f"check_replay was given {workflow!r} ({type(workflow).__name__}); give the function "
            "that @workflow decorates."
        )
    given = [start_of(it, f"histories[{at}]") for at, it in enumerate(histories)]
    for at, (start, _) in enumerate(given):
        if start[3] != workflow.name and start[3] not in workflow.formerly:
            raise InvalidConfig(
                f"histories[{at}] is of workflow {start[3]!r}, not of {workflow.name!r}."
            )
    problems = []
    async with open_test_engine(workflows=[workflow], autojump=False) as engine:
        for start, status in given:
            found = await Listener(engine._running(), workflow, start).replay(status)
            problems += [] if found is None else [found]
    if problems:
        head = f"{len(problems):,} of {len(given):,} histories differ:"
        raise Nondeterminism("\n".join([head, *problems[:10]]))
