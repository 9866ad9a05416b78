"""`step.do`, from when it is awaited to its answer.

Most steps are live, begun by the single task of a body, and what they call returns without having
waited. Their way is short, and whole in here: that task makes the attempt and sleeps until its
record is durable (W2). All others go the way of every operation, `Runner.perform`. Nothing is
decided here: whether anything may begin, and how an attempt is made, is asked on either way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio.lowlevel import current_task, enable_ki_protection, wait_task_rescheduled

from . import _foreign
from ._diagnosis import over_limits
from ._operation import STOPPED
from ._replay import DO
from ._step_operation import StepOperation
from ._values.codec import Undecodable

if TYPE_CHECKING:
    from ._branch import Branch
    from ._workflow import FunctionPlan


@enable_ki_protection
async def do(
    branch: Branch, name: str, key: str | None, fn: Any, args: tuple[Any, ...], plan: FunctionPlan
) -> Any:
    """What `step.do` does once it is awaited."""
    runner = branch.runner
    identity = branch.identify(DO, name, key)
    runner.delivery.steps += 1
    if (
        runner.delivery.steps > runner.limits.steps
        or runner.delivery.bytes > runner.limits.instance_bytes
    ) and not runner.delivery.cursor.knows(identity):
        raise over_limits(runner)
    operation = StepOperation(runner, identity, fn, args, plan)
    task: Any = runner.task
    if (
        runner.turns is not None
        or runner.delivery.cursor.pending
        or not runner.may_begin()
        or current_task() is not task
        # trio tells that in public, but for ten times as much
        or task._cancel_status.effectively_cancelled
    ):
        outcome = await runner.perform(operation)
    else:
        if (rest := runner.take_effect(operation, in_body=True)) is not None:
            await runner.alone(operation, rest)
        operation.task = task
        runner.resting = True
        try:
            # None: the operation knows it itself
            outcome = await wait_task_rescheduled(operation.aborted)
        except BaseException as error:
            operation.task, runner.resting = None, False  # as in `suspended`
            _foreign.left(operation, error)
            raise
        if outcome is STOPPED:
            await runner.stop_here()
        runner.delivery.bytes += len(
            (operation.payload if outcome is None else outcome.payload) or b""
        )
    try:
        return operation.answer(outcome)
    except Undecodable as error:
        await runner.unreadable(f'step "{name}"', error, name)
