"""What a person sees while a job runs: a live display on a terminal (`terminal`), a line now and
then elsewhere.

Nothing here knows processes, and rich is imported only once a terminal is there to draw on.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Protocol

from .state import State, times

LINE_SECONDS = 2.0


class Screen(Protocol):
    """Where a job is shown."""

    interactive: bool

    def show(self, state: State) -> None:
        """Shows how far it is; called about ten times a second."""

    def line(self, text: str, style: str = "") -> None:
        """Prints a line that stays."""

    def stop(self) -> None:
        """Ends drawing; lines may still be printed."""


class Plain:
    """Lines without colour for pipes and logs."""

    interactive = False

    def __init__(self) -> None:
        self._next = 0.0

    def show(self, state: State) -> None:
        """Prints where it is, at most every two seconds."""
        if time.monotonic() >= self._next and state.files is not None:
            self._next = time.monotonic() + LINE_SECONDS
            kills = f", killed {times(state.kills)}" if state.chaos else ""
            self.line(
                f"{state.title}: {state.done:,} of {state.files:,} files ({_states(state)}), "
                f"{state.rate:,.0f} steps/s{kills}"
            )

    def line(self, text: str, style: str = "") -> None:
        """Prints it."""
        del style
        print(text, flush=True)

    def stop(self) -> None:
        """Nothing to end."""


class Sturdy:
    """A screen that outlives its output: what can be written no more, on a full disk or into a
    closed pipe, is not shown.

    Attributes:
        failure: Why not; None: all was shown.
    """

    def __init__(self, screen: Screen) -> None:
        self.interactive = screen.interactive
        self.failure: OSError | None = None
        self._screen = screen

    def show(self, state: State) -> None:
        """As any screen."""
        self._try(lambda: self._screen.show(state))

    def line(self, text: str, style: str = "") -> None:
        """As any screen."""
        self._try(lambda: self._screen.line(text, style))

    def stop(self) -> None:
        """As any screen."""
        self._try(self._screen.stop)

    def _try(self, draw: Callable[[], None]) -> None:
        if self.failure is not None:
            return
        try:
            draw()
        except OSError as error:
            self.failure = error
            with open(os.devnull, "wb") as nowhere:
                # Python writes what it has kept when it ends
                os.dup2(nowhere.fileno(), sys.stdout.fileno())


def open_screen() -> Sturdy:
    """Returns a screen for standard output; one that was closed before is nowhere."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r+", encoding="utf-8"))  # noqa: SIM115  # for good
    if not sys.stdout.isatty():
        return Sturdy(Plain())
    from .terminal import Terminal

    return Sturdy(Terminal())


def _states(state: State) -> str:
    return (
        ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in state.states.items())
        or "none started"
    )
