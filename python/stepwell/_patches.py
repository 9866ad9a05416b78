"""Changes of the code under an instance that is under way: `step.patched` (I6).

The answer for a change is yes unless the body replays what was recorded before it first asked; a
yes is recorded. Whoever asks is answered at the end of the turn, before any other outcome is
delivered: from what is known, or, if a yes is new, once its record is durable (D1), and until then
every outcome waits. So an answer comes at the same place of every life, whether its record was
there, is made now, or was lost with a crash before anybody was told; the record's place in the
history means nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio
from trio.lowlevel import enable_ki_protection

from . import _replay
from ._operation import Operation
from ._replay import OK

if TYPE_CHECKING:
    from ._branch import Branch


class _Question(Operation):
    """A branch that waits for an answer."""

    holds = False

    def go_live(self, in_body: bool = False) -> None:
        """Records the yes."""
        runner = self.runner
        self.number = runner.port.record(
            runner.who.no, runner.who.incarnation, self.identity, 0, OK, runner.port.now(), None
        )
        runner.port.tickets[self.number] = self

    def done(self, at: int) -> None:
        """The record is durable."""
        self.runner.patches.recorded(self)


class Patches:
    """What a body has asked and was not answered yet."""

    __slots__ = ("_asked", "_in_flight")

    def __init__(self) -> None:
        self._asked: list[_Question] = []
        self._in_flight: _Question | None = None

    @property
    def are_asked(self) -> bool:
        """Whether somebody waits for an answer."""
        return bool(self._asked)

    @enable_ki_protection
    async def ask(self, branch: Branch, change_id: str) -> bool:
        """Returns whether the instance runs the code that a change brought."""
        runner = branch.runner
        await runner.enter()
        await runner.check_race(branch.path, _replay.PATCHED, change_id)
        if runner.loop is None:
            await trio.lowlevel.checkpoint_if_cancelled()
        question = _Question(runner, branch.identify(_replay.PATCHED, change_id))
        runner.delivery.open[question.identity] = question
        self._asked.append(question)
        if runner.turns is None and not self.hold():
            return question.holds
        await question.parked()
        return question.holds

    def hold(self) -> bool:
        """Answers what can be answered now. Returns whether deliveries have to wait: a task goes
        on, or a record is on its way."""
        while self._asked and self._in_flight is None:
            question = min(self._asked, key=lambda it: it.identity)
            runner = question.runner
            holds = runner.delivery.cursor.patched(question.identity[2])
            if runner.delivery.open.get(question.identity) is not question:
                self._asked.remove(question)  # it was withdrawn in its turn
            elif holds is None:
                self._in_flight = question
                runner.rest.busy += 1
                question.go_live()
            else:
                self._asked.remove(question)
                del runner.delivery.open[question.identity]
                question.holds = holds
                if runner.resolve(question, None):
                    return True
        return self._in_flight is not None

    def recorded(self, question: _Question) -> None:
        """A yes is durable: everybody who asks is told, from now on."""
        runner = question.runner
        self._in_flight = None
        runner.rest.busy -= 1
        runner.delivery.cursor.patches[question.identity[2]] = True
        runner.stirred()
