"""What an instance starts with, as it is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._errors import InvalidConfig

if TYPE_CHECKING:
    from .workflow import Workflow


def encode_params(
    target: Workflow[Any, Any], params: Any, limit: int, where: str = "params"
) -> bytes | None:
    """Encodes what an instance starts with; what is left out is the default of today, for good.

    Raises:
        InvalidConfig: The workflow takes none, and some were given.
        NotSerializable: They cannot be stored.
        TooLarge: They are over the limit.
    """
    if not target.takes_params:
        if params is not None:
            raise InvalidConfig(
                f'workflow "{target.name}" takes no params: it is declared as (step).'
            )
        return None
    given = target.default if params is None else params
    return target.params.encode(given, limit=limit, where=where)
