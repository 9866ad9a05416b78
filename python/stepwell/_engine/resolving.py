"""What somebody says that a step has come to, checked and as it is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._core import DO
from .._errors import InvalidConfig
from .._values.codec import codec
from .._values.envelope import hide
from .._values.failures import describe
from .._values.hidden import hide_members, hides
from .desk import Set

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .._replay import Identity, Recorded


def set_by_hand(step: Identity, value: Any, error: object, limit: int) -> Set:
    """Returns an outcome as it is stored.

    Raises:
        InvalidConfig: What it is for is no step; or a value and an error are given, or no error.
        NotSerializable: The value cannot be stored.
        TooLarge: It has more bytes than the limit.
    """
    kind, _, name, *_ = step
    if kind != DO:
        raise InvalidConfig(
            f'ref: "{name}" is no step, so it is not resolved. What waits for an event gets that '
            "by send_event(), what waits for approval by approvals.approve() or reject()."
        )
    if error is None:
        return Set(False, codec.encode(value, limit=limit, where="value"))
    if value is not None:
        raise InvalidConfig("resolve was given a value and an error; give one of them.")
    if not isinstance(error, Exception):
        raise InvalidConfig(
            f"error is {error!r} ({type(error).__name__}), which is no exception; give one, such "
            "as ValueError(...)."
        )
    return Set(True, codec.encode(describe(error, step=name, attempts=0, traceback=False)))


def as_secret_as(outcome: Set, step: Identity, records: Iterable[Recorded]) -> Set:
    """Returns it as what the step itself would record: hidden, if anything that history knows of
    its attempts is."""
    attempts = (it.payload for it in records if it[1:6] == step)
    if not any(payload is not None and hides(payload) for payload in attempts):
        return outcome
    if outcome.failed:
        return outcome._replace(payload=codec.encode(hide_members(codec.decode(outcome.payload))))
    return outcome._replace(payload=hide(outcome.payload))
