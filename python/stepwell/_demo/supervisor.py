"""Starts the worker, follows what it says, kills it on purpose, and starts it again.

The supervisor owns the terminal and nothing durable: whatever it knows, the next worker tells it
again. The worker runs in a session of its own, so that Ctrl-C reaches only the supervisor, which
asks the worker to drain; a second Ctrl-C kills it, which is safe too.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import trio

from .page import files_text, size_text
from .screen import Sturdy
from .state import State
from .steplog import Tail
from .worker import Order

DRAW_SECONDS = 0.1
KILL_SECONDS = (0.5, 1.5)
PATIENCE_MAX = 64

End = Literal["finished", "failed", "drained", "undecided", "killed", "died"]


@dataclass(slots=True)
class Ending:
    """How a worker, or a whole job, ended, and what it said last."""

    how: End
    said: dict[str, Any] = field(default_factory=dict)


class Supervisor:
    """Runs workers one after the other for one person."""

    def __init__(self, screen: Sturdy, state: State) -> None:
        self.screen, self.state = screen, state
        self.stopping = False
        self._tail = Tail()
        self._process: trio.Process | None = None
        self._asking = False
        self._decision: bytes | None = None
        self._announced = False

    async def run(
        self, order: Order, *, crash_after: float | None = None, once_open: bool = False
    ) -> Ending:
        """Runs one worker to its end, or kills it so many seconds after it was started, or after it
        is open."""
        with open(os.path.join(order.out, "jobs", "worker.log"), "ab") as log:
            self._process = process = await trio.lowlevel.open_process(
                [sys.executable, "-P", "-m", "stepwell._demo.worker", json.dumps(asdict(order))],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, start_new_session=True,
            )  # fmt: skip
        self.state.alive = True
        self._opened = trio.Event()
        if self.stopping:  # Ctrl-C came while it was being started
            await self._tell(b"drain")
        ending = Ending("died")
        async with trio.open_nursery() as nursery:
            if crash_after is not None:
                nursery.start_soon(self._kill, process, crash_after, once_open)
            nursery.start_soon(self._listen, process, ending)
            await process.wait()
            self.state.alive = False
            with trio.move_on_after(5):  # what it said before it ended is still in the pipe
                while process.stdout is not None:
                    await trio.sleep(0.01)
                    if self._heard_all:
                        break
            nursery.cancel_scope.cancel()
        self._process = None
        if (
            ending.how == "died"
            and process.returncode == -signal.SIGKILL
            and crash_after is not None
        ):
            ending.how = "killed"
        ending.said.setdefault("code", process.returncode)
        return ending

    async def run_in_chaos(self, order: Order, seed: int) -> Ending:
        """Runs workers and kills each after about a second, until one of them finishes.

        Most workers get half a second to one and a half of work; one in four may be hit while it
        starts and recovers. A job may need longer for one step than that, so each kill without a
        step done in between doubles the time the next worker gets.
        """
        chance, patience, steps = random.Random(seed), 1, -1
        while True:
            after, once_open = chance.uniform(*KILL_SECONDS) * patience, chance.random() < 0.75
            ending = await self.run(order, crash_after=after, once_open=once_open)
            if ending.how != "killed":
                return ending
            self.state.kills += 1
            if self.stopping:
                return Ending("drained")
            self._count()
            patience = min(PATIENCE_MAX, patience * 2) if self.state.steps == steps else 1
            steps = self.state.steps

    @asynccontextmanager
    async def drawing(self) -> AsyncGenerator[None, None]:
        """Draws and takes signals while the block runs."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._signals)
            nursery.start_soon(self._draw)
            yield
            nursery.cancel_scope.cancel()
        if not self._asking:
            self._count()
            self.screen.show(self.state)
        self.screen.stop()

    def _count(self) -> None:
        self.state.count_steps(self._tail.poll())

    async def _draw(self) -> None:
        while True:
            if not self._asking:
                self._count()
                self.screen.show(self.state)
            if self.screen.failure is not None and not self.stopping:
                await self._stop()
            await trio.sleep(DRAW_SECONDS)

    async def _signals(self) -> None:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for _ in signals:
                if self.stopping and self._process is not None:
                    self._process.kill()
                elif not self.stopping:
                    self.screen.line(
                        "stopping: what runs now ends first. Once more to stop at once."
                    )
                    await self._stop()

    async def _stop(self) -> None:
        self.stopping = True
        await self._tell(b"drain")

    async def _kill(self, process: trio.Process, after: float, once_open: bool) -> None:
        if once_open:
            await self._opened.wait()
        await trio.sleep(after)
        # a person is thinking; or the worker is about to stop anyway
        while self._asking or self.stopping:
            await trio.sleep(DRAW_SECONDS)
        process.kill()

    async def _tell(self, word: bytes) -> None:
        if self._process is not None and self._process.stdin is not None:
            try:
                await self._process.stdin.send_all(word + b"\n")
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return  # it is dead; the next one is told if it asks

    async def _listen(self, process: trio.Process, ending: Ending) -> None:
        self._heard_all = False
        assert process.stdout is not None
        rest = b""
        async with trio.open_nursery() as nursery:
            async for data in process.stdout:
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    said = json.loads(line)
                    await self._heard(said.pop("kind"), said, ending, nursery)
            self._heard_all = True

    async def _heard(
        self, kind: str, said: dict[str, Any], ending: Ending, nursery: trio.Nursery
    ) -> None:
        match kind:
            case "opened":
                self._opened.set()
                self._tail.follow(said["log"])
                if said["again"] and not self._announced:
                    of = f" of {said['files']:,}" if said["files"] is not None else ""
                    done = (
                        f"{said['files_done']:,}{of} files and {said['steps_done']:,} steps "
                        "were already done"
                    )
                    self.screen.line(f"going on with {said['job']}: {done}")
                self._announced = True
            case "progress":
                self.state.files, self.state.done, self.state.states = (
                    said["files"],
                    said["done"],
                    said["states"],
                )
            case "question":
                nursery.start_soon(self._ask, said, ending)
            case "finished" | "failed" | "audit":
                ending.how, ending.said = ("failed" if kind == "failed" else "finished"), said
            case "drained" if ending.how == "died":
                ending.how = "drained"
            case _:
                pass

    async def _ask(self, asked: dict[str, Any], ending: Ending) -> None:
        """Gets the decision on pruning from the person, or says that there is nobody to ask."""
        if self._decision is None and not (self.screen.interactive and sys.stdin.isatty()):
            if asked["files"]:
                ending.how = "undecided"
                ending.said = asked
                await self._tell(b"drain")
                return
            self._decision = b"approve"
        if self._decision is None:
            self._asking = True
            self.screen.stop()
            found = (
                f"No manifest names {files_text(asked['files'])} ({size_text(asked['size'])}) "
                "below blobs/. Remove them?"
            )
            nothing = (
                "Nothing below blobs/ is without a name in a manifest. Approve the removal "
                "of nothing?"
            )
            question = f"Every file was looked at. {found if asked['files'] else nothing} [y/N] "
            try:
                answer = await trio.to_thread.run_sync(input, question, abandon_on_cancel=True)
            except EOFError:
                answer = ""
            self._decision = b"approve" if answer.strip().lower() in ("y", "yes") else b"reject"
            self._asking = False
        await self._tell(self._decision)
