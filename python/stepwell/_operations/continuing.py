"""An instance that goes on as new: `step.continue_as_new` (L15).

It is the last thing that a body does. It takes effect at the end of its turn, before anything else
that was begun there and whatever has come meanwhile, so that every life comes to it at the same
place; then the body is unwound as by the engine itself, past every `except Exception`. Nothing is
recorded until nothing of it runs any more (`_engine.continuing`): a crash before that commit brings
the body back to this place, one after it finds the new run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from trio.lowlevel import enable_ki_protection

from .._body import delivery, diagnosis, stopping
from .._body.life import Renewal
from .._core import CONTINUED
from .._errors import InvalidState
from . import recalled
from .operation import TaskOperation
from .refusal import refuse

if TYPE_CHECKING:
    from .._body.branch import Branch
    from .._body.life import Life
    from .._replay import Identity

NAME = "continue_as_new"
"""Of the operation."""


class _Continuation(TaskOperation, Renewal):
    """A body that goes on as new. It has no outcome."""

    def __init__(self, life: Life, identity: Identity, params: bytes | None) -> None:
        super().__init__(life, identity)
        self.params = params

    def go_live(self, in_body: bool = False) -> NoReturn:
        raise AssertionError("a turn ends with it")


def _forgotten(branch: Branch) -> list[Any]:
    """Returns what this line of code has asked for and not awaited. What another branch will await
    ends with that, and what a task was given begins when that does."""
    life, given = branch.life, set[int]()
    if life.loop is not None:
        from .._loops.body_loop import code_of  # here, because asyncio takes long to import

        given = {id(code_of(task)) for task in life.loop.tasks}
    return [it for it in life.asked or () if it.branch is branch and id(it) not in given]


@enable_ki_protection
async def continue_as_new(
    branch: Branch, name: str, params: bytes | None, refusal: Exception | None
) -> NoReturn:
    """Ends the body, and this history."""
    life, told = branch.life, branch.life.delivery
    identity = await recalled.again(branch, CONTINUED, name, refusal)
    if identity in (told.cursor.refused or ()):  # in its day, though nothing refuses it today
        await refuse(life, identity, InvalidState(f"{name} was refused"))
    await stopping.enter(life)
    if life.asked and (forgotten := _forgotten(branch)):
        raise diagnosis.never_awaited(forgotten)
    await delivery.check_race(life, branch.path, CONTINUED, name)
    await stopping.leave_if_cancelled(life)
    operation = _Continuation(life, identity, params)
    told.open[identity] = operation
    if life.turns is None:
        delivery.renew(life, operation)
    else:
        told.renewals = [*(told.renewals or ()), operation]
    await operation.parked()
    raise AssertionError("nobody goes on behind it")
