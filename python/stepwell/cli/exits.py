"""What the command's exit codes mean, and which error is which.

Scripts rely on these numbers, so none of them changes its meaning.
"""

from __future__ import annotations

import stepwell

DONE = 0
ENDED_BADLY = 1
"""The instance errored or was terminated."""
USAGE = 2
NOT_FOUND = 3
CONFLICT = 4
"""Its state is against it, or it was done already."""
OVERLOADED = 5
"""Try again."""
NO_ENGINE = 6
NOT_ALLOWED = 7
STORE = 8
PARTLY = 9
"""Some of many refused it, or it was stopped."""
FOUND_SOMETHING = 10
"""`doctor` did."""
TIMED_OUT = 124
INTERRUPTED = 130

_BY_ERROR: tuple[tuple[str, int], ...] = (
    ("InstanceErrored InstanceTerminated StepFailed", ENDED_BADLY),
    ("InvalidConfig InvalidName NotSerializable TooLarge InvalidPayload", USAGE),
    ("InstanceNotFound", NOT_FOUND),
    ("InstanceExists InvalidState LimitReached", CONFLICT),
    ("Overloaded", OVERLOADED),
    ("NoEngine EngineClosed", NO_ENGINE),
    ("RequestTimeout", TIMED_OUT),
    ("StoreLocked StoreVersion StoreFailed StoreCorrupt InternalError StepwellError", STORE),
)


class Failure(Exception):
    """A command cannot do what it was asked for; its text says why, for whoever asked.

    Attributes:
        code: What to exit with.
    """

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


def bare(error: BaseException) -> BaseException:
    """Returns what went wrong, without the groups around it alone."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        [error] = error.exceptions
    return error


def code_of(error: BaseException) -> int | None:
    """Returns what to exit with after an error; None: it is a bug, and its traceback is wanted."""
    if isinstance(error, Failure):
        return error.code
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, PermissionError):
        return NOT_ALLOWED
    for names, code in _BY_ERROR:
        if isinstance(error, tuple(getattr(stepwell, name) for name in names.split())):
            return code
    return None
