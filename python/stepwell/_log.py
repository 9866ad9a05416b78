"""The engine's log, and the one of bodies: whatever hangs on them may fail, and nothing else fails
for that.

Handlers, filters and formatters are the program's. What one of them raises would come out where the
engine happens to say something: in a body, as an outcome that nobody recorded, or between the end
of an instance and the record of it.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import traceback
from typing import Any


class Log(logging.LoggerAdapter[logging.Logger]):
    """A logger that raises nothing but Ctrl-C. What it could not tell goes to stderr, as `logging`
    itself does that."""

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        # the line that says it, not this one
        kwargs["stacklevel"] = kwargs.get("stacklevel", 1) + 1
        try:
            super().log(level, msg, *args, **kwargs)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            if logging.raiseExceptions:
                with contextlib.suppress(Exception):  # there may be no stderr
                    print(_untold(msg, args, error), file=sys.stderr)


def _untold(msg: object, args: tuple[object, ...], error: BaseException) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    try:
        text = str(msg) % args if args else str(msg)
    except Exception:
        text = f"{msg!r} {args!r}"
    return (
        f"stepwell: {type(error).__name__} at {last.filename}:{last.lineno} kept this from the "
        f"log: {text}"
    )


log = Log(logging.getLogger("stepwell"))
