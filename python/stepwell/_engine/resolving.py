"""What somebody says that a step has come to, checked and as it is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._core import DO
from .._errors import InvalidConfig
from .._values.codec import codec
from .._values.failures import describe
from .desk import Set

if TYPE_CHECKING:
    from .._replay import Identity


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
