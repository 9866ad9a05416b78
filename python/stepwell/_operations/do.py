"""`step.do`, from when it is awaited to its answer.

Most steps are live, begun by the single task of a body, and what they call returns without having
waited. Their way is short, and whole in here: that task makes the attempt and sleeps until its
record is durable (W2). All others go the way of every operation, `delivery.perform`. Nothing is
decided here: whether anything may begin, and how an attempt is made, is asked on either way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio.lowlevel import current_task, enable_ki_protection, wait_task_rescheduled

from .._body.delivery import alone, left, perform, take_effect
from .._body.diagnosis import over_limits
from .._body.stopping import may_begin, stop_here, unreadable
from .._core import DO
from .._values.codec import Undecodable
from .operation import STOPPED
from .refusal import refuse
from .step_operation import StepOperation

if TYPE_CHECKING:
    from .._body.branch import Branch
    from .._steps.workflow import FunctionPlan


@enable_ki_protection
async def do(
    branch: Branch, name: str, key: str | None, fn: Any, args: tuple[Any, ...], plan: FunctionPlan
) -> Any:
    """What `step.do` does once it is awaited."""
    life = branch.life
    told = life.delivery
    cursor = told.cursor
    identity = branch.identify(DO, name, key)
    told.steps = steps = told.steps + 1
    if (steps > told.steps_max or told.bytes > told.bytes_max) and not cursor.knows(identity):
        await refuse(life, identity, over_limits(life))
    operation = StepOperation(life, identity, fn, args, plan)
    task: Any = life.task
    if (
        life.turns is not None
        or cursor.pending
        or told.attached
        or cursor.attempts
        or not may_begin(life)
        or current_task() is not task
        # trio tells that in public, but for ten times as much
        or task._cancel_status.effectively_cancelled
    ):
        outcome = await perform(life, operation)
    else:
        if (rest := take_effect(life, operation, in_body=True)) is not None:
            await alone(life, operation, rest)
        if life.stopping:
            await stop_here(life)
        operation.task = task
        life.resting = True
        try:
            # None: the operation knows it itself
            outcome = await wait_task_rescheduled(operation.aborted)
        except BaseException as error:
            operation.task, life.resting = None, False  # nobody may wake this task any more
            left(life, operation, error)
            raise
        if outcome is STOPPED:
            await stop_here(life)
        told.bytes += len((operation.payload if outcome is None else outcome.payload) or b"")
    try:
        return operation.answer(outcome)
    except Undecodable as error:
        await unreadable(life, f'step "{name}"', error, name)
