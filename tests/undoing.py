"""What steps that are undone did, and a workflow that undoes four of them."""

from __future__ import annotations

from typing import Any

from stepwell import Step, UndoContext, workflow


class Ledger:
    """What steps and undos did, in order."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.told: list[UndoContext] = []

    async def book(self, what: str) -> str:
        self.lines.append(what)
        return f"{what}!"

    async def unbook(self, ctx: UndoContext) -> None:
        self.told.append(ctx)
        self.lines.append(f"un{ctx.args[0]}")


def failing(ledger: Ledger, runtime: Any) -> Any:
    @workflow(runtime=runtime)
    async def trip(step: Step, fails: bool) -> None:
        await step.do(ledger.book, "a", name="a", undo=ledger.unbook)
        await step.map(ledger.book, ["b", "c"], name="m", undo=ledger.unbook)
        await step.sleep("1 second")
        await step.do(ledger.book, "d", name="d", undo=ledger.unbook)
        if fails:
            raise ValueError
        await step.wait_for_event("go")

    return trip
