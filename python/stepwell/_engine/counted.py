"""Reasons as filters: who is meant by a code, or by a row of `Engine.reasons`."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

from .._core import OTHER
from .._errors import InvalidConfig
from .._steps.workflow import name_sought
from .._types import STATUSES, ReasonCount
from .._values import names

Alike: TypeAlias = tuple[int | None, str | None, str | None]
"""State, step and class of the error."""


class Reason(NamedTuple):
    """Why instances are where they are that are asked for: a code, and what else those of one row
    have in common."""

    code: str
    alike: Alike | None = None

    def __str__(self) -> str:
        _, step, error = self.alike or (None, None, None)
        return (
            self.code
            + (f' of "{step}"' if step is not None else "")
            + (f" after {error}" if error is not None else "")
        )


class Counted(NamedTuple):
    """A reason, and the workflow and version that it is one of."""

    reason: Reason | None
    workflow: Any
    version: str | None


def sought(reason: Any, workflow: Any, version: Any) -> Counted:
    """Returns who is meant by `reason=`, `workflow=` and `version=`.

    Raises:
        InvalidConfig: The reason is none, is of another workflow or version than is given, or is
            the row of all others of all workflows.
    """
    if not isinstance(reason, ReasonCount):
        code = names.sought(reason, "reason")
        version = names.sought(version, "version")
        return Counted(None if code is None else Reason(code), workflow, version)
    name = name_sought(workflow)
    if (name, version) not in (
        (one, other) for one in (None, reason.workflow) for other in (None, reason.version)
    ):
        raise InvalidConfig(
            f'reason is one of "{reason.workflow}" in version "{reason.version}", and another '
            "workflow or version is given with it; leave that out."
        )
    if reason.workflow is None:
        raise InvalidConfig(
            "reason is the row of all others, of several workflows; ask reasons(workflow) of one."
        )
    if reason.code == OTHER:
        return Counted(Reason(OTHER), reason.workflow, None)
    state = None if reason.status is None else STATUSES.index(reason.status)
    alike = (state, reason.step, reason.error_type)
    return Counted(Reason(reason.code, alike), reason.workflow, reason.version)
