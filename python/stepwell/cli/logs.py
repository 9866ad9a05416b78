"""What is logged while a command runs, on standard error, with nothing in it that a terminal obeys.

A program that has set up `logging` is left alone: this is in place of what `logging` does by itself
where nobody listens.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime

from .escaping import in_line
from .output import moment, say

_FORMATTER = logging.Formatter()


class _Printing(logging.Handler):
    """Hands on each line as text."""

    def __init__(self, told: Callable[[str], None], *, has_time: bool) -> None:
        super().__init__(logging.WARNING)
        self._told, self._has_time = told, has_time

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = in_line(record.getMessage())  # what it says ends no line of the log
            if record.exc_info:
                text += f"\n{_FORMATTER.formatException(record.exc_info)}"
            if self._has_time:
                at = moment(datetime.fromtimestamp(record.created, UTC))
                text = f"{at} {record.levelname.lower()}: {text}"
            self._told(text)
        except Exception:
            self.handleError(record)


@contextmanager
def printed(told: Callable[[str], None] = say, *, has_time: bool = False) -> Generator[None]:
    """Within it, warnings and errors that nobody else listens to are printed.

    Args:
        told: Takes each.
        has_time: Whether each says when it was, and how bad.
    """
    before, logging.lastResort = logging.lastResort, _Printing(told, has_time=has_time)
    try:
        yield
    finally:
        logging.lastResort = before
