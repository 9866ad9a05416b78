"""Runs a program as a workflow body, and notes everything the body can observe, in order.

What is noted: all that the lines of body code (branches) saw, in the order in which they saw it,
and again for each line alone. Nothing is noted by a body that the engine unwinds; what it sees then
is no part of the program.

It does not compare anything: `oracle` does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import trio

from stepwell import EventTimeout, Retry, Step, StepFailed, Undo, workflow

from . import nodes
from .nodes import Node, Program
from .world import Life, Panic, Thrown, World

T = TypeVar("T")
TYPES = ("a", "b")
SOON = Retry(limit=5, delay=0.25, jitter=0)
"""Of undos."""


def shape(error: BaseException) -> Any:
    """Returns the classes of an exception's tree: what does not depend on attempts and times."""
    if isinstance(error, BaseExceptionGroup):
        return ["group", *map(shape, error.exceptions)]
    return type(error).__name__


def panics(error: BaseException) -> bool:
    """Whether a body's own exception that is no `Exception` is in this tree."""
    found = error.split(Panic)[0] if isinstance(error, BaseExceptionGroup) else error
    return isinstance(found, Panic | BaseExceptionGroup)


def words(error: BaseException) -> Any:
    """Returns an exception's tree with its texts."""
    if isinstance(error, BaseExceptionGroup):
        return [str(error), *map(words, error.exceptions)]
    return f"{type(error).__name__}: {error}"


class Body:
    """One run of one body."""

    def __init__(self, step: Step, world: World, life: Life) -> None:
        self.step = step
        self.world = world
        self.life = life

    def see(self, line: str, *what: Any) -> None:
        """The line of body code observes something."""
        if self.step._life.stopping is None:
            self.life.sees(self.step._life.delivery.turn, line, *what)
            self.world.moment()

    async def outcome(self, line: str, at: str, operation: Awaitable[T]) -> T:
        """Awaits an operation and notes its outcome, and when it came."""
        try:
            value = await operation
        except trio.Cancelled:
            self.see(line, at, "cancelled")
            raise
        except Exception as error:
            self._noted(line, at, words(error))
            raise
        self._noted(
            line,
            at,
            value if isinstance(value, int | list | None) else getattr(value, "payload", None),
        )
        return value

    def _noted(self, line: str, at: str, value: Any) -> None:
        if self.step._life.stopping is None:
            if isinstance(value, list):
                value = [words(v) if isinstance(v, Exception) else v for v in value]
            self.see(line, at, value, self.step.now().timestamp())

    async def run(self, program: Program, at: str, line: str) -> list[Any]:
        """Runs a program; `at` is its place in the whole, `line` the branch whose code it is."""
        return [await self.node(node, f"{at}.{index}", line) for index, node in enumerate(program)]

    async def node(self, node: Node, at: str, line: str) -> Any:
        return await getattr(self, f"_{type(node).__name__.lower()}")(node, at, line)

    # Operations.

    async def _do(self, node: nodes.Do, at: str, line: str) -> int:
        options: dict[str, Any] = {
            "retry": Retry(limit=node.limit, delay=node.delay, backoff="constant", jitter=0)
        }
        in_thread = node.how in ("thread", "stuck")
        if node.how in ("hangs", "stuck"):
            options["timeout"] = 3
        if in_thread:
            options["abandon_on_cancel"] = node.lets_go
        if node.keyed:
            options["key"] = at
        if node.undo:
            options["undo"] = self._undo(at, waits=not node.lets_go)
        if node.how in ("cleans", "returns", "breaks"):
            options["name"] = at  # so that the oracle knows its records
        elif node.name is not None:
            options["name"] = node.name
        fn, waited_for = (
            self.world.steps[in_thread],
            not (in_thread and node.lets_go) and node.how != "stuck",
        )
        try:
            value: int = await self.outcome(
                line, at, self.step.do(fn, at, node.n, node.how, node.fails, node.raises, **options)
            )
        except Exception:
            self._went_past(at, waited_for)
            raise
        except BaseException:
            if self.step._life.stopping is None:
                self.life.unsure = True
                self.life.on_its_way |= not in_thread
                if waited_for:
                    self.world.left(at)
            raise
        self._went_past(at, waited_for)
        return value

    def _undo(self, *labels: str, waits: bool = True) -> Undo:
        """Returns what undoes these steps; `waits`: nothing of them runs then."""
        if waits:
            self.world.undoable.update(labels)
        return Undo(self.world.undoes, retry=SOON)

    def _went_past(self, label: str, waited_for: bool = True, *, is_named: bool = True) -> None:
        if self.step._life.stopping is None:
            self.world.went_past(label)
            if waited_for:
                self.world.left(label, is_named=is_named)

    async def _map(self, node: nodes.Map, at: str, line: str) -> Any:
        work = [(f"{at}[{i}]", i, node.how, i in node.failing) for i in range(node.items)]
        key = (lambda what: str(what[0])) if node.keyed else None
        retry = Retry(limit=node.retries, delay=0.25, jitter=0)
        fn = self.world.steps[3 if node.how == "thread" else 2]
        undo = self._undo(*(label for label, *_ in work)) if node.undo else None
        mapped = self.step.map(
            fn,
            work,
            key=key,
            concurrency=node.concurrency,
            on_error="collect" if node.collect else "raise",
            retry=retry,
            undo=undo,
        )
        try:
            values = await self.outcome(line, at, mapped) if node.items else await mapped
        except BaseException:
            if self.step._life.stopping is None:
                for label, *_ in work:
                    self.world.left(label, is_named=False)
                self.life.unsure = True
                self.life.on_its_way |= node.how != "thread"
            raise
        for label, *_ in work:
            self._went_past(label, is_named=False)
        return [shape(v) if isinstance(v, Exception) else v for v in values]

    async def _sleep(self, node: nodes.Sleep, at: str, line: str) -> None:
        await self.outcome(line, at, self.step.sleep(node.seconds, name=at if node.named else None))

    async def _waitevent(self, node: nodes.WaitEvent, at: str, line: str) -> str:
        try:
            await self.outcome(
                line, at, self.step.wait_for_event(*node.types, timeout=node.timeout)
            )
        except EventTimeout:
            return "timeout"
        return "event"

    async def _child(self, node: nodes.Child, at: str, line: str) -> Any:
        step, label = self.step, f"{step_id(self.step)}/{at}"
        self.world.children[label] = (
            (nodes.WaitEvent(("letter",)), *node.body) if node.how == "letter" else node.body
        )
        if node.how == "call":
            return await self.outcome(line, at, step.call("child", label))
        created = await self.outcome(line, at, step.create("child", label))
        if node.how == "letter":
            await self.outcome(line, at, created.send_event("letter", len(label)))
        return None if node.how == "leave" else await self.outcome(line, at, created.result())

    async def _reads(self, node: nodes.Reads, at: str, line: str) -> None:
        step = self.step
        self.see(line, at, step.now().timestamp(), str(step.uuid()), step.random.random())
        step.report(0.5, at)

    async def _patched(self, node: nodes.Patched, at: str, line: str) -> Any:
        holds = await self.step.patched(f"change {node.change}")
        self.see(line, at, "patched", node.change, holds)
        return await self.run(node.body, f"{at}p", line) if holds else None

    async def _anew(self, node: nodes.Anew, at: str, line: str) -> None:
        if self.life.run < self.world.runs_max and self.step.instance.id == "main":
            self.see(line, at, "goes on as new")
            await self.step.continue_as_new(self.life.run + 1)

    # Control.

    async def _raise(self, node: nodes.Raise, at: str, line: str) -> None:
        self.see(line, at, "raises")
        raise Panic(at) if node.panics else Thrown(at)

    async def _try(self, node: nodes.Try, at: str, line: str) -> Any:
        try:
            return await self.run(node.body, f"{at}t", line)
        except Exception as error:
            self.see(line, at, "caught", words(error))
            return ["caught", shape(error), await self.run(node.handler, f"{at}h", line)]

    async def _finally(self, node: nodes.Finally, at: str, line: str) -> Any:
        try:
            return await self.run(node.body, f"{at}t", line)
        finally:
            with trio.CancelScope(shield=True):
                self.see(line, at, "cleans up")
                await self.run(node.cleanup, f"{at}f", line)

    async def _deadline(self, node: nodes.Deadline, at: str, line: str) -> Any:
        step: Any = self.step
        value: Any = "late"
        try:
            with (step.fail_after if node.fail else step.move_on_after)(node.seconds):
                value = await self.run(node.body, f"{at}d", line)
        except TimeoutError as error:
            if isinstance(error, StepFailed | EventTimeout):
                raise  # the program's own
        self.see(line, at, value == "late")
        return value

    async def _cancelled(self, node: nodes.Cancelled, at: str, line: str) -> None:
        with trio.CancelScope() as scope:
            scope.cancel()
            await self.node(node.asked, f"{at}c", line)
            self.world.problems.append(f"{at} went on in a cancelled scope")

    # Branches.

    async def _each(self, node: nodes.Each, at: str, line: str) -> Any:
        async def one(i: int) -> Any:
            value = await self.run(node.body, f"{at}[{i}]", f"{at}[{i}]")
            if i == node.fails:
                raise Thrown(at)
            return value

        items, key = range(node.items), str if node.keyed else None
        got = await self.step.each(
            one,
            items,
            name="e",
            key=key,
            concurrency=node.concurrency,
            on_error="collect" if node.collect else "raise",
        )
        return [shape(v) if isinstance(v, Exception) else v for v in got]

    async def _nursery(self, node: nodes.Nursery, at: str, line: str) -> Any:
        values: dict[int, Any] = {}
        arrived: list[int] = []
        async with self.step.open_nursery(node.name) as nursery:

            async def branch(i: int) -> None:
                values[i] = await self.run(node.branches[i], f"{at}b{i}", f"{at}b{i}")
                arrived.append(i)
                if i == node.cancel:
                    nursery.cancel_scope.cancel()

            for i in range(len(node.branches)):
                nursery.start_soon(branch, i)
            values[-1] = await self.run(node.own, f"{at}o", line)
            if node.cancel == -1:
                nursery.cancel_scope.cancel()
        self.see(line, at, "arrived", arrived)
        following = node.then[arrived[0] % len(node.then)] if node.then and arrived else ()
        return [
            *(values.get(i) for i in range(-1, len(node.branches))),
            await self.run(following, f"{at}n", line),
        ]

    async def _plain(self, node: nodes.Plain, at: str, line: str) -> Any:
        values: dict[int, Any] = {}

        async def task(i: int) -> None:
            values[i] = await self.run(node.tasks[i], f"{at}b{i}", f"{at}b{i}")

        async def own() -> None:
            values[-1] = await self.run(node.own, f"{at}o", line)

        await self.unbranched(own, [partial(task, i) for i in range(len(node.tasks))], node.cancel)
        return [values.get(i) for i in range(-1, len(node.tasks))]

    async def _handoff(self, node: nodes.Handoff, at: str, line: str) -> Any:
        event, values = self.event(), {}

        async def sets() -> None:
            values[0] = await self.run(node.before, f"{at}b", f"{at}s")
            event.set()
            values[1] = await self.run(node.after, f"{at}a", f"{at}s")

        async def waits(i: int) -> None:
            here = f"{at}w{i}"
            await event.wait()
            self.see(here, at, "handed over", self.step.now().timestamp())
            values[2 + i] = await self.run(node.waiter, here, here)

        await self.together(*(partial(waits, i) for i in range(node.waiters)), sets)
        return [values[i] for i in range(2 + node.waiters)]

    async def _channel(self, node: nodes.Channel, at: str, line: str) -> Any:
        send, receive = self.channel(node.buffer)
        got: list[Any] = []

        async def produces(i: int) -> None:
            for count in range(node.each_sends):
                here = f"{at}p{i}.{count}"
                await send((i, await self.node(node.producers[i], here, f"{at}p{i}")))
                self.see(f"{at}p{i}", here, "sent")

        async def consumes() -> None:
            for count in range(node.each_sends * len(node.producers)):
                value = await receive()
                self.see(f"{at}c", at, "received", value)
                got.append([*value, await self.node(node.consumer, f"{at}c{count}", f"{at}c")])

        await self.together(
            consumes, *(partial(produces, i) for i in range(len(node.producers))), name="channel"
        )
        return sorted(got)

    async def _locked(self, node: nodes.Locked, at: str, line: str) -> Any:
        lock = self.lock(node.tokens)
        values: dict[int, Any] = {}

        async def branch(i: int) -> None:
            first, inside = node.branches[i]
            here = f"{at}b{i}"
            before = await self.node(first, f"{here}x", here)
            async with lock:
                self.see(here, "holds")
                values[i] = [before, await self.run(inside, here, here)]

        await self.together(*(partial(branch, i) for i in range(len(node.branches))))
        return [values[i] for i in range(len(node.branches))]

    # What trio has for branches.

    async def together(
        self, *branches: Callable[[], Awaitable[None]], name: str | None = None
    ) -> None:
        """Runs branches, in their order."""
        async with self.step.open_nursery(name) as nursery:
            for branch in branches:
                nursery.start_soon(branch)

    async def unbranched(
        self,
        own: Callable[[], Awaitable[None]],
        tasks: Sequence[Callable[[], Awaitable[None]]],
        cancel: int | None,
    ) -> None:
        """Runs tasks that are no branches, and `own` beside them; the end of one of them cancels
        the rest."""
        async with trio.open_nursery() as nursery:

            async def run(i: int) -> None:
                await tasks[i]()
                if i == cancel:
                    nursery.cancel_scope.cancel()

            for i in range(len(tasks)):
                nursery.start_soon(run, i)
            await own()

    def event(self) -> Any:
        return trio.Event()

    def channel(
        self, buffer: int
    ) -> tuple[Callable[[Any], Awaitable[None]], Callable[[], Awaitable[Any]]]:
        """Returns what sends and what receives."""
        send, receive = trio.open_memory_channel[Any](buffer)
        return send.send, receive.receive

    def lock(self, tokens: int) -> Any:
        return trio.Lock() if tokens == 1 else trio.CapacityLimiter(tokens)


def step_id(step: Step) -> str:
    """Returns the id of the instance."""
    return step.instance.id


world: World | None = None
"""The world of the program that runs; one at a time."""


def body_of(step: Step, kind: type[Body] = Body, run: int = 1) -> Body:
    """Returns what runs the program of an instance."""
    assert world is not None, "the conductor sets it before anything runs"
    return kind(step, world, world.live(step.instance.id, step._life.who.seeded_by, run))


async def run_main(body: Body) -> Any:
    """The program, perhaps several times; then it takes what events are left, and waits to be let
    go."""
    step = body.step
    value: list[Any]
    try:
        value = ["ok", await body.run(body.world.program, body.world.place, "m")]
    except BaseException as error:
        if step._life.stopping is not None or not (isinstance(error, Exception) or panics(error)):
            raise
        body.see("m", "failed", words(error))
        value = ["failed", shape(error)]
    await body.node(nodes.Anew(), "end", "m")
    body.life.over = True
    for type in TYPES:
        while True:
            try:
                await body.outcome(
                    "m", f"left {type}", step.wait_for_event(type, timeout=1, name="left")
                )
            except EventTimeout:
                break
    body.see("m", value)
    body.life.ended = True
    await step.wait_for_event("end")
    return value


async def run_child(body: Body, label: str) -> Any:
    """A program of its own, that ends as it ends."""
    value = await body.run(body.world.children[label], label, "c")
    body.see("c", value)
    return value


@workflow
async def main(step: Step, run: int = 1) -> Any:
    """The program of an instance on trio."""
    return await run_main(body_of(step, run=run))


@workflow
async def child(step: Step, label: str) -> Any:
    """The program of its child."""
    return await run_child(body_of(step), label)


WORKFLOWS = (main, child)
