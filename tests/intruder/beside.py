"""When intruders strike: at random moments, often, on a thread of their own and on the engine's
own.

What strikes when follows from the round's seed and the life's place in it; only the operating
system's scheduling does not. Each intrusion is one line of the journal, so that nobody can take a
run without any for a proof.
"""

import random
import sqlite3
import threading
import time
from pathlib import Path

import trio
from tests.kill import journal, steps

from .intrusions import ALL

PAUSE_S = 0.01
"""Longest between two intrusions of the same thread."""


async def intrude(path: Path, seed: int) -> None:
    """Intrudes until cancelled, or until the process is killed: its thread never ends."""
    lives = sum(line.op == "boot" for line in journal.read(path.parent / "journal")[0])
    apart = random.Random(f"{seed}/{lives}/thread")
    threading.Thread(target=_on_a_thread, args=(path, apart), daemon=True).start()
    here = random.Random(f"{seed}/{lives}/main")
    while True:
        await trio.sleep(here.uniform(0, 3 * PAUSE_S))
        _strike(path, here, "main")


def _on_a_thread(path: Path, rng: random.Random) -> None:
    while True:
        time.sleep(rng.uniform(0, PAUSE_S))
        _strike(path, rng, "thread")


def _strike(path: Path, rng: random.Random, where: str) -> None:
    (intrusion,) = rng.choices([it for it, _ in ALL], [weight for _, weight in ALL])
    try:
        intrusion(path, rng)
        met = None
    except (OSError, sqlite3.Error) as error:
        met = str(error)
    steps.journal.put("I", where, intrusion.__name__, met)
