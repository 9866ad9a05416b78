"""A workflow that is a loop, however long."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .._operations.step import Step
from .._steps.workflow import Workflow, workflow
from ._loop import RECORDS, loop
from ._messages import Budget, Carry, Compact, LoopResult, Model
from ._tools import Tool


def looped(
    model: Model, tools: Sequence[Tool] = (), *, name: str, budget: Budget | None = None,
    as_type: Any = None, compact: Compact | None = None, records: int = RECORDS,
    **options: Any,
) -> Workflow[str | Carry, LoopResult[Any]]:  # fmt: skip
    """Makes a workflow that is a `loop`, and goes on as new whenever it has grown. Its params are
    what the user says, or a `Carry` to begin from.

    Args:
        model: See `loop`.
        tools: See `loop`.
        name: Of the workflow.
        budget: See `loop`; for all runs together.
        as_type: See `loop`.
        compact: See `loop`.
        records: See `loop`.
        options: More of `workflow`, such as `retention` or `on_error`.

    Raises:
        InvalidConfig: As `workflow`.
        InvalidName: The name is malformed.
    """

    async def body(step: Step, begin: str | Carry) -> LoopResult[Any]:
        carry = begin if isinstance(begin, Carry) else None
        said = begin if isinstance(begin, str) else None
        result = await loop(
            step, model, tools, messages=said, budget=budget, as_type=as_type, compact=compact,
            records=records, carry=carry,
        )  # fmt: skip
        if result.stopped == "grown":
            await step.continue_as_new(result.carry)
        return result

    value: Any = Any if as_type is None else as_type
    body.__annotations__["return"] = LoopResult[value]
    return workflow(name=name, **options)(body)
