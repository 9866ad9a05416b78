"""What an engine has told of instances, by `status()` and `history()`: every answer is one moment,
and nothing told is taken back.

It outlives crashes: what was told was durable.
"""

from __future__ import annotations

from typing import Any

from stepwell import Status

LASTING = ("done", "failed", "timed_out", "attempt_failed", "interrupted", "abandoned")


class Told:
    """All answers so far."""

    def __init__(self) -> None:
        self._ends: dict[str, Any] = {}
        self._records: dict[tuple[str, int], set[Any]] = {}

    def forget(self, id: str) -> None:
        """It is restarted: what was told of it before is of no matter."""
        self._ends.pop(id, None)
        self._records = {of: told for of, told in self._records.items() if of[0] != id}

    def status(self, id: str, status: Any) -> str | None:
        """Returns what is wrong with an answer of `status()`."""
        it = status.status
        if it.is_final != (status.ended_at is not None):
            return f"{id} is {it} and ended at {status.ended_at}"
        if (it in (Status.ERRORED, Status.TERMINATED)) != (status.error is not None) or (
            it is not Status.COMPLETE and status.output is not None
        ):
            return f"{id} is {it} with output {status.output} and error {status.error}"
        if (it is Status.WAITING) != (status.waiting_on is not None):
            return f"{id} is {it} and waits on {status.waiting_on}"
        end = (it, status.output, status.ended_at)
        before = self._ends.get(id)
        if before is not None and before != end:
            return f"{id} was {before}, and is {end}"
        if it.is_final:
            self._ends[id] = end
        return None

    def history(self, id: str, records: list[Any]) -> str | None:
        """Returns what is wrong with an answer of `history()`, among those of the same run."""
        run = id, max((r.count for r in records if r.kind == "continue_as_new"), default=1)
        lasting = {
            (r.kind, r.branch, r.name, r.key, r.count, r.attempt, r.status)
            for r in records
            if r.kind == "do" and r.status in LASTING
        }
        lost = self._records.get(run, set()) - lasting
        self._records[run] = lasting
        return (
            (f"{sorted(lost, key=repr)} was in the history of {id}, and is not any more")
            if lost
            else None
        )

    def gone(self, id: str) -> str | None:
        """Returns what is wrong if there is no such instance."""
        is_known = any(of[0] == id for of in self._records)
        return f"{id} was there, and is not any more" if is_known else None
