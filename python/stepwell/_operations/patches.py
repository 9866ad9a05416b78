"""Changes of the code under an instance that is under way: `step.patched` (I6).

The answer for a change is yes unless the body replays what was recorded before it first asked; a
yes is recorded. Whoever asks is answered at the end of the turn, before any other outcome is
delivered (`_body.delivery.hold`): from what is known, or, if a yes is new, once its record is
durable (D1), and until then every outcome waits. So an answer comes at the same place of every
life, whether its record was there, is made now, or was lost with a crash before anybody was told;
the record's place in the history means nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio
from trio.lowlevel import enable_ki_protection

from .. import _core
from .._body import delivery, stopping
from .._body.life import Question
from .._core import OK
from .operation import TaskOperation

if TYPE_CHECKING:
    from .._body.branch import Branch


class _Asked(TaskOperation, Question):
    """A branch that waits for an answer."""

    def go_live(self, in_body: bool = False) -> None:
        """Records the yes."""
        port, who = self.life.port, self.life.who
        self.number = port.record(
            who.no, who.incarnation, self.after, self.identity, 0, OK, port.now(), None
        )
        port.tickets[self.number] = self

    def done(self, at: int, place: int) -> None:
        """The record is durable: everybody who asks is told, from now on."""
        life, told = self.life, self.life.delivery
        told.yes_in_flight = None
        life.rest.busy -= 1
        told.cursor.patches[self.identity[2]] = True
        delivery.stirred(life)


@enable_ki_protection
async def ask(branch: Branch, change_id: str) -> bool:
    """Returns whether the instance runs the code that a change brought."""
    life, told = branch.life, branch.life.delivery
    await stopping.enter(life)
    await delivery.check_race(life, branch.path, _core.PATCHED, change_id)
    if life.loop is None:
        await trio.lowlevel.checkpoint_if_cancelled()
    question = _Asked(life, branch.identify(_core.PATCHED, change_id))
    told.open[question.identity] = question
    if told.asked is None:
        told.asked = []
    told.asked.append(question)
    if life.turns is None and not delivery.hold(life):
        return question.holds
    await question.parked()
    return question.holds
