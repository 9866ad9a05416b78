"""What is there outside the engine: the step functions of a program, what lets them go on, and what
was observed.

It outlives engines, as a database or the threads of a process do. Whatever it finds wrong it notes
in `problems`; `conductor` looks.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import trio

from stepwell import Interrupted, UndoContext, current_step, step_options

from .nodes import Program


class Broken(Exception):
    """What generated steps fail with."""


class Thrown(Exception):
    """What generated bodies raise themselves."""


class Panic(BaseException):
    """What is raised by extensions written in Rust; so may steps and bodies."""


FAILURES: dict[str, Callable[[str], BaseException]] = {
    "Broken": Broken,
    "Panic": Panic,
    "SystemExit": SystemExit,
    "Cancelled": lambda _: trio.Cancelled._create(source="unknown"),
    "GeneratorExit": GeneratorExit,
}


@dataclass
class Life:
    """What one run of one body observed."""

    run: int = 1
    """Of the instance, as new."""
    together: list[Any] = field(default_factory=list)
    apart: dict[str, list[Any]] = field(default_factory=dict)
    turn: int = 0
    """The body's turn in which it observed something last, and how much it had observed when that
    began."""
    turn_began: int = 0
    unsure: bool = False
    """Whether the body was told in this turn that a step is cancelled."""
    on_its_way: bool = False
    """Whether that step was an async function, whose outcome may have been on its way to the
    store."""
    over: bool = False
    """Whether the program has ended, so that no more events are sent."""
    ended: bool = False
    """Whether the body waits to be let go."""

    def sees(self, turn: int, line: str, *what: Any) -> None:
        """The line of body code observes something in this turn."""
        if turn != self.turn:
            self.turn, self.turn_began = turn, len(self.together)
            self.unsure = self.on_its_way = False
        self.apart.setdefault(line, []).append(what)
        self.together.append((line, *what))

    def forget_turn(self) -> None:
        """In which order the lines observed what they did in the last turn is not to be
        compared."""
        del self.together[self.turn_began :]


@dataclass(eq=False)
class InThread:
    """A thread that waits to be let go."""

    engine: int
    label: str
    event: threading.Event = field(default_factory=threading.Event)


class World:
    """One program, what ran of it, and what was observed."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.children: dict[str, Program] = {}
        self.lives: dict[str, list[Life]] = {}
        """By id; of the program those since it was restarted, or went on as new."""
        self.past: list[list[Life]] = []
        """Of the program, those before."""
        self.runs: dict[int, list[Life]] = {}
        """Of each run of the program those that count."""
        self.runs_max = 1
        self.seeds: list[int] = []
        """Of the program, one for each time that it began anew."""
        self.is_still = False
        """Whether the program was terminated."""
        self.attempts: dict[str, list[tuple[int, int]]] = {}
        """By label, and for each the life of an engine in which it was made."""
        self.began: dict[str, tuple[int, str]] = {}
        """Steps that began: after how many others, and of which instance."""
        self.acknowledged: dict[str, int] = {}
        """Steps that a body went past, and how many had begun by then."""
        self.undoable: set[str] = set()
        self.undone: dict[str, int] = {}
        """Steps that were undone, and in which life of an engine."""
        self.abandoned: set[str] = set()
        """Steps that were cancelled, ran to their end after that, and whose body went on."""
        self.problems: list[str] = []
        self.gates: list[trio.Event] = []
        self.cleaning: list[trio.Event] = []
        """Those of attempts that clean up."""
        self.threads: list[InThread] = []
        """Those that wait."""
        self.going: set[InThread] = set()
        """Those that were let go, until they have returned."""
        self.engine = 0
        self.life = 0
        self.was_paused = False
        """Whether the last life of the program may have ended by a pause."""
        self.is_dying = False
        """Whether the engine cuts short what runs: what cleans up does not wait."""
        self.orderly: set[int] = set()
        """Lives that ended in order: what was cut short then is not counted as an attempt."""
        self.unsure: set[int] = set()
        """Lives that were cut short where nobody knows of an async step whether it had ended: what
        the body then began may come again."""
        self.running: Counter[tuple[int, str]] = Counter()
        self.cleaned_up: set[tuple[int, str]] = set()
        self.moment: Callable[[], None] = lambda: None
        """A body has observed something."""
        self.steps = _functions(self)

    @property
    def place(self) -> str:
        """Where the program stands, which is part of all labels: another one each time that it
        begins anew."""
        return f"m{len(self.seeds) if len(self.seeds) > 1 else ''}"

    def live(self, id: str, seed: int, run: int) -> Life:
        """A body begins."""
        if id == "main" and self.seeds[-1:] != [seed]:
            self._anew(seed, run)
        life, lives = Life(run), self.lives.setdefault(id, [])
        if id == "main":
            self.runs[run] = lives
        if self.was_paused and id == "main" and lives[-1:]:
            self.was_paused = False
            # A task that may begin nothing is cancelled elsewhere than in its step (as in a drain).
            if lives[-1].unsure:
                lives[-1].forget_turn()
        lives.append(life)
        return life

    def _anew(self, seed: int, run: int) -> None:
        if seed in self.seeds:
            self.problems.append("the program is back in a life before its restart")
        latest = max(self.runs, default=0)
        if run not in (latest, latest + 1):
            self.problems.append(f"run {run} begins after run {latest}")
        runs = [
            label
            for (life, label), count in self.running.items()
            if count and life == self.life and label.startswith(f"{self.place}.")
        ]
        if run > latest and runs:
            self.problems.append(f"steps {runs} still run when run {run} begins")
        self.restarted()
        self.seeds.append(seed)

    def restarted(self) -> None:
        """What the program observed from now on has nothing to do with what it did before."""
        if lives := self.lives.pop("main", None):
            self.past.append(lives)

    def went_past(self, label: str) -> None:
        """A body has the outcome of a step."""
        self.acknowledged.setdefault(label, len(self.began))

    async def undoes(self, told: UndoContext) -> None:
        """Undoes a step, at the second attempt: after all of its own, and after those that began
        when its body had gone past it (L8)."""
        label = told.args[0] if isinstance(told.args[0], str) else told.args[0][0]
        # a crash may have cut short what had not begun yet: nobody knows
        unknown = label not in self.began and isinstance(told.error, Interrupted)
        problem = None if unknown else self._wrong_to_undo(label)
        if problem is not None:
            self.problems.append(f"{label} is undone, {problem}")
        await trio.lowlevel.checkpoint()
        if current_step().attempt == 1:
            raise Broken("not yet")
        self.undone[label] = self.life

    def _wrong_to_undo(self, label: str) -> str | None:
        if label not in self.began:
            return "and never began"
        if self.undone.get(label) == self.life:
            return "and was undone before"
        if label in self.undoable and self.running[self.life, label]:
            return "and runs"
        past, (_, whose) = self.acknowledged.get(label, len(self.began)), self.began[label]
        after = [
            it
            for it, (place, of) in self.began.items()
            if of == whose and place >= past and it in self.undoable and it not in self.undone
        ]
        return f"before {after} are, which began after it" if after else None

    @contextmanager
    def attempt(self, label: str, *, in_thread: bool = False) -> Generator[int]:
        """A step function runs."""
        attempt, made = current_step().attempt, self.attempts.setdefault(label, [])
        self.began.setdefault(label, (len(self.began), current_step().instance_id))
        if self.is_still and not in_thread and label.startswith(f"{self.place}."):
            self.problems.append(f"step {label} began after the program was terminated")
        if label in self.acknowledged:
            self.problems.append(f"step {label} ran again after the body had its outcome")
        before, life = made[-1] if made else (0, -1)
        if attempt < before or (attempt == before and life not in self.orderly | self.unsure):
            self.problems.append(f"step {label} ran as attempt {attempt} after attempts {made}")
        made.append((attempt, self.life))
        running = (self.life, label)
        self.running[running] += 1
        try:
            yield attempt
        finally:
            self.running[running] -= 1

    def left(self, label: str, *, is_named: bool = True) -> None:
        """The body goes on after a step, which it may have cancelled (I8); `is_named`: after its
        label, so that its records are known."""
        if self.running[self.life, label]:
            self.problems.append(f"the body went on while an attempt of step {label} was running")
        if is_named and (self.life, label) in self.cleaned_up:
            self.abandoned.add(label)

    async def gate(self, label: str, then: str = "") -> None:
        """Waits until the conductor lets it go; `then` says what it does when it is cancelled."""
        try:
            await self._wait()
        except trio.Cancelled:
            if not then:
                raise
            life = self.life
            with trio.CancelScope(shield=True):
                if not self.is_dying:
                    await self._wait(self.cleaning)
            if life == self.life and not self.is_dying:
                self.cleaned_up.add((life, label))
            if then == "breaks":
                raise Broken(f"{label} cleaned up") from None
            if then == "cleans":
                raise

    async def _wait(self, *also: list[trio.Event]) -> None:
        gate = trio.Event()
        waiting = (self.gates, *also)
        for gates in waiting:
            gates.append(gate)
        try:
            await gate.wait()
        finally:
            for gates in waiting:
                if gate in gates:
                    gates.remove(gate)

    @contextmanager
    def gate_of_thread(self, label: str) -> Generator[None]:
        """Waits in a thread until the conductor lets it go."""
        here = InThread(self.engine, label)
        self.threads.append(here)
        here.event.wait()
        try:
            yield
        finally:
            self.going.remove(here)

    def let_go(self, thread: InThread) -> None:
        """Lets a thread go on, and waits until it has."""
        self.going.add(thread)
        self.threads.remove(thread)
        thread.event.set()

    def dies(self) -> None:
        """The engine cuts short what runs."""
        self.is_dying = True
        for gate in list(self.cleaning):
            gate.set()

    def lives_again(self, *, in_order: bool, engine: bool) -> None:
        """Another life begins, perhaps of another engine."""
        if in_order:
            self.orderly.add(self.life)
        self.life += 1
        self.engine += engine
        self.is_dying = False


def _functions(world: World) -> tuple[Callable[..., Any], ...]:
    """Returns this world's step functions: new ones, for the engine learns which functions wait."""

    @step_options(timeout="30 days")
    async def s(label: str, n: int, how: str, fails: int, raises: str = "Broken") -> int:
        with world.attempt(label) as attempt:
            if how == "yields":
                await trio.lowlevel.checkpoint()
            elif how == "gated":
                await world.gate(label)
            elif how in ("cleans", "returns", "breaks"):
                await world.gate(label, how)
            elif how == "hangs" and attempt == 1:
                await trio.sleep_forever()
            if attempt <= fails:
                raise FAILURES[raises](f"{label} {attempt}")
            return n

    @step_options(timeout="30 days")
    def t(label: str, n: int, how: str, fails: int, raises: str = "Broken") -> int:
        with world.attempt(label, in_thread=True) as attempt, world.gate_of_thread(label):
            if attempt <= fails:
                raise FAILURES[raises](f"{label} {attempt}")
            return n

    @step_options(timeout="30 days")
    async def item(what: tuple[str, int, str, bool]) -> int:
        label, n, how, fails = what
        return await s(label, n, how, 1_000_000 if fails else 0)

    @step_options(timeout="30 days")
    def item_in_thread(what: tuple[str, int, str, bool]) -> int:
        label, n, how, fails = what
        return t(label, n, how, 1_000_000 if fails else 0)

    return s, t, item, item_in_thread
