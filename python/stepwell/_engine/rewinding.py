"""From where a restarted instance goes on, as callers say it and as the core is asked; and what
that would keep."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from .._core import KINDS, UNDO
from .._errors import InvalidConfig
from .._replay import Identity, Recorded
from .._types import FromStep, RestartPreview, StepRef
from . import history

if TYPE_CHECKING:
    from collections.abc import Sequence

Beginning: TypeAlias = "Identity | Literal['failed'] | None"
"""What a `FromStep` is for the core."""


_OR_FAILED = ', or "failed", which goes back to the first step whose undo began'


def beginning(from_step: FromStep) -> Beginning:
    """Returns what the core is asked for.

    Raises:
        InvalidConfig: It is none of them, or names a kind of step that there is not.
    """
    if from_step is None:
        return None
    if from_step == "failed":
        return "failed"
    return identity_of(from_step, "from_step", ', "failed", or nothing to begin from the start')


def identity_of(ref: object, what: str, others: str = "") -> Identity:
    """Returns which operation of an instance a reference means. `others`: what else may be given.

    Raises:
        InvalidConfig: It is none, or names a kind of step that there is not.
    """
    if not isinstance(ref, StepRef):
        raise InvalidConfig(
            f"{what} is {ref!r}. Pass the `ref` of a line of history(), or a StepRef(name){others}."
        )
    if ref.kind == KINDS[UNDO]:
        raise InvalidConfig(
            f'{what} is an undo, of "{ref.name}". Pass the `ref` of the step itself'
            f"{_OR_FAILED if others else ''}."
        )
    if ref.kind not in KINDS:
        kinds = ", ".join(KINDS)
        raise InvalidConfig(
            f'{what} is of kind "{ref.kind}", which there is not. Kinds are: {kinds}.'
        )
    it = ref
    kind: Any = KINDS.index(it.kind)
    if it.key is not None:
        return (kind, "", it.name, it.key, 1)
    return (kind, it.branch, it.name, None, it.count)


def told(of: Beginning, what: str = "from_step") -> str:
    """Returns what a refusal begins with."""
    if not isinstance(of, tuple):
        return ""
    kind, branch, name, key, count = of
    which = f' with key "{key}"' if key is not None else f" ({count}.)" if count > 1 else ""
    where = f' in branch "{branch}"' if branch else ""
    return f'{what}: {KINDS[kind]} "{name}"{which}{where}'


def preview(
    records: Sequence[tuple[Any, ...]], kept: Sequence[tuple[int, int]], by_clock: bool
) -> RestartPreview:
    """Returns what a restart would keep, and what not.

    Args:
        records: The history.
        kept: Places of it that are kept, as ranges.
        by_clock: Whether some of it says when it began by the clock only.
    """
    all = [Recorded._make(it) for it in records]
    stays = [it for it in all if any(first <= it.seq <= last for first, last in kept)]
    goes = [it for it in all if it not in stays]
    return RestartPreview(history.lines(stays, [], []), history.lines(goes, [], []), by_clock)
