"""What is called of a user's telemetry may raise whatever it likes, and nothing else fails for it.

It is said once: an exporter that is broken is so for each of thousands of spans.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from .._log import log

P = ParamSpec("P")
T = TypeVar("T")


class Care:
    """Says that telemetry failed, the first time."""

    def __init__(self) -> None:
        self._has_said = False

    def failed(self, error: BaseException) -> None:
        """Something of the user's raised this.

        Raises:
            KeyboardInterrupt: It was that.
        """
        if isinstance(error, KeyboardInterrupt):
            raise error
        if not self._has_said:
            self._has_said = True
            log.error(
                "telemetry failed (%s), and what was to be told is left out. Instances are not "
                "harmed. This is said once; more may fail",
                type(error).__name__,
                exc_info=error,
            )


class _Careful(Protocol):
    care: Care


S = TypeVar("S", bound=_Careful)


def contained(
    otherwise: T,
) -> Callable[[Callable[Concatenate[S, P], T]], Callable[Concatenate[S, P], T]]:
    """Makes a method return `otherwise` where it raises."""

    def decorate(method: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[S, P], T]:
        @functools.wraps(method)
        def careful(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
            try:
                return method(self, *args, **kwargs)
            except BaseException as error:  # a library's sys.exit() among it
                self.care.failed(error)
                return otherwise

        return careful

    return decorate
