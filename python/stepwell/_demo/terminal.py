"""The display on a terminal: a bar, instances by state, steps per second; redrawn in place with
rich."""

from __future__ import annotations

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from .state import State, times

STYLES = {
    "complete": "green",
    "errored": "red",
    "running": "cyan",
    "waiting": "yellow",
    "queued": "dim",
}


class Terminal:
    """A display that is redrawn in place."""

    interactive = True

    def __init__(self) -> None:
        self._console = Console(highlight=False)
        self._live: Live | None = None

    def show(self, state: State) -> None:
        """Redraws."""
        if self._live is None:
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.start()
        self._live.update(drawn(state), refresh=True)

    def line(self, text: str, style: str = "") -> None:
        """Prints it above the display."""
        self._console.print(Text(text, style=style), soft_wrap=True)

    def stop(self) -> None:
        """Removes the display and gives the cursor back."""
        if self._live is not None:
            self._live.stop()
            self._live = None


def drawn(state: State) -> Group:
    """Returns what is shown of a state."""
    bar = Table.grid(padding=(0, 1), expand=True)
    bar.add_column(no_wrap=True)
    bar.add_column(ratio=1)
    bar.add_column(justify="right", no_wrap=True)
    total = state.files or 0
    files = f"{state.done:,} / {total:,} files" if total else "listing"
    bar.add_row(state.title, ProgressBar(total=max(1, total), completed=state.done), files)
    below = Text()
    for name, n in state.states.items():
        below.append("●", style=STYLES.get(name, ""))
        below.append(f" {name.replace('_', ' ')} {n:,}   ")
    below.append(f"{state.rate:,.0f} steps/s", style="bold")
    if state.chaos:
        below.append(f"   killed {times(state.kills)}", style="red")
        below.append("" if state.alive else ", starting again", style="dim")
    return Group(bar, below)
