"""What a body asks for that the limits, registrations and types of today refuse (D3, ADR 0018).

What history knows was asked for under those of its day, and only its outcome counts. What was
refused without a record (`refusal` says what has one) is an occurrence too: what the body asked for
instead may have its kind and name, and a replay would take the one for the other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from .._body import delivery
from .._errors import StepwellError
from .._formats import REFUSALS_ARE_RECORDED, REFUSALS_COUNT
from .refusal import refuse

if TYPE_CHECKING:
    from .._body.branch import Branch
    from .._kinds import Kind
    from .._replay import Identity

T = TypeVar("T")


def encoded(
    branch: Branch, kind: Kind, name: str, encode: Callable[[], T]
) -> tuple[T | None, Exception | None]:
    """Returns what the next operation of this kind and name is asked for with: by the limits,
    registrations and types of today, or, if they refuse it and history knows it, why.

    What was refused is kept until the operation is awaited, for only then is it certain which one
    it is; see `again`.

    Raises:
        Exception: Whatever `encode` raises, if history does not know the operation.
    """
    try:
        return encode(), None
    except Exception as refusal:
        if not is_known(branch, kind, name, refusal):
            raise
        return None, refusal.with_traceback(None)


def is_known(branch: Branch, kind: Kind, name: str, refusal: Exception) -> bool:
    """Whether history knows the next operation of this kind and name, which today would be refused,
    or is to know of that; counts it as refused if neither."""
    life = branch.life
    if life.who.format >= REFUSALS_ARE_RECORDED and isinstance(refusal, StepwellError):
        return True  # what is not known of it is asked when it is awaited: see `refusal`
    if life.who.format < REFUSALS_COUNT:
        return False  # under the rules of its day what is refused has no occurrence
    identity = branch.following(kind, name)
    if identity in life.delivery.attached or life.delivery.cursor.knows(identity):
        return True
    if not delivery.races(life, branch.path, kind, name):
        branch.refuse(kind, name)
    return False


async def again(branch: Branch, kind: Kind, name: str, why: Exception | None) -> Identity:
    """Names the next operation, as `Branch.identify`.

    Args:
        why: For what it would be refused today, if it would be.

    Raises:
        Exception: It is refused: history does not know it, or knows that.
    """
    if why is not None and not is_known(branch, kind, name, why):
        raise why
    life, identity = branch.life, branch.identify(kind, name)
    told = life.delivery
    is_refused = identity in (told.cursor.refused or ())
    if why is not None and not is_refused and life.who.format >= REFUSALS_ARE_RECORDED:
        is_refused = identity not in told.attached and not told.cursor.knows(identity)
    if is_refused:
        branch.was_refused(kind, name)
    if why is not None and is_refused:
        await refuse(life, identity, why)
    return identity
