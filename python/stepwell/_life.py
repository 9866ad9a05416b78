"""One instance in memory, as everything that its body does sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._workflow import Workflow


@dataclass(slots=True)
class Who:
    """Which instance it is, and in which of its lives. Its text is what a person calls it.

    Attributes:
        no: The number by which the core knows it.
        incarnation: Which life of it writes: the core takes nothing from an earlier one.
        format: Which rules it keeps for life, so that what it recorded replays (see `_core.pyi`).
        created_at: When it was created, in microseconds of the wall clock.
        attributes: Those that it was created with, encoded; None: it has none.
    """

    no: int
    incarnation: int
    namespace: str
    workflow: Workflow[Any, Any]
    version: str
    id: str
    format: int
    created_at: int
    attributes: bytes | None

    def __str__(self) -> str:
        return f"{self.workflow.name}/{self.id}"

    @property
    def seed(self) -> str:
        """From which all that looks random in this life of the instance is derived (I13)."""
        return f"{self.namespace}|{self.workflow.name}|{self.id}|{self.incarnation}"
