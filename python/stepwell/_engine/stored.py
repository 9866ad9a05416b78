"""A store's file, asked as a core is asked: the calls that read, each in a thread."""

from __future__ import annotations

from functools import partial
from typing import Any

import trio

from .._codes import error_of
from .._core import CoreError, StoreFile
from .._types import Source
from .._values.durations import from_us


class NotThere(Exception):
    """There is no store at the path, or it does not say what was asked."""


class Stored:
    """See `StoreFile` in `_core.pyi`; for one question.

    Attributes:
        looks: What has the calls.
        source: Where the last answer came from.
    """

    def __init__(self, store: str) -> None:
        self.looks = StoreFile(store)
        self.source = Source("file")

    async def read(self, call: Any, *args: Any) -> Any:
        """Makes one of the calls, and returns its answer; whoever gives up does not wait for it.

        Raises:
            NotThere: There is no store.
            StepwellError: It cannot be read.
        """
        found = await trio.to_thread.run_sync(
            partial(self.ask, call, *args), abandon_on_cancel=True
        )
        self._look()
        return found

    def ask(self, call: Any, *args: Any) -> Any:
        """The same, of any thread, which waits."""
        try:
            return call(*args)
        except CoreError as error:
            raise error_of(*error.args) from None

    def _look(self) -> None:
        seen = self.looks.seen()
        if seen is None:
            raise NotThere
        owner, recorded_at, ended_well = seen
        at = None if recorded_at is None else from_us(recorded_at)
        self.source = Source("file", at, ended_well, None if owner is None else owner[0])

    def owner(self) -> int | None:
        """Returns the process whose engine has the store; None: none has it."""
        self.ask(self.looks.names)
        self._look()
        return self.source.process
