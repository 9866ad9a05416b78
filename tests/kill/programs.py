"""The workflows under load. Every kind of part uses the engine in another way.

A body notes what it went past, with the value it saw: from then on that operation is acknowledged.
It does so again in every life, as bodies do; each time the value has to be the same.
"""

import asyncio
import functools
from typing import Any

import trio

from stepwell import EventTimeout, InstanceErrored, Rejected, Retry, Step, StepFailed, workflow

from . import steps
from .plans import Part, plan
from .steps import text


class Body:
    """One instance's body: its step, what it saw, and how it says so."""

    def __init__(self, step: Step) -> None:
        self.step = step
        self.seen: dict[str, str] = {}

    def past(self, label: str, value: Any) -> None:
        """Says that the body went past an operation."""
        self.seen[label] = text(value)
        steps.journal.put("P", self.step.instance.id, label, self.seen[label])

    async def do(self, fn: Any, label: str, *args: Any, **options: Any) -> None:
        """One step, named by its label."""
        self.past(label, await self.step.do(fn, label, *args, name=label, **options))

    async def sleep(self, label: str, seconds: float) -> None:
        """One sleep."""
        steps.journal.put("B", self.step.instance.id, label, seconds)
        await self.step.sleep(seconds, name=label)
        self.past(label, "slept")

    async def nothing_more(self, label: str, type: str) -> None:
        """No event is left: the wait for one more times out."""
        try:
            event = await self.step.wait_for_event(type, timeout=0.02, name=label)
            self.past(label, f"one more: {event.payload}")
        except EventTimeout:
            self.past(label, "no more")


def _retry(part: Part) -> Retry:
    return Retry(limit=20, delay=part.delay, backoff="constant", jitter=0)


async def sequence(body: Body, part: Part) -> None:
    for index in range(part.count):
        label = f"{part.prefix}/{index}"
        if index % 3 == 0:
            await body.do(steps.quick, label)
        elif index % 3 == 1:
            await body.do(steps.slow, label, part.delay / 20)
        else:
            await body.do(steps.threaded, label)


async def retries(body: Body, part: Part) -> None:
    await body.do(steps.flaky, f"{part.prefix}/a", part.count - 1, part.delay, retry=_retry(part))
    await body.do(steps.flaky_threaded, f"{part.prefix}/t", 1, part.delay, retry=_retry(part))


async def sleeps(body: Body, part: Part) -> None:
    await body.do(steps.quick, f"{part.prefix}/before")
    for index in range(part.count):
        await body.sleep(f"{part.prefix}/{index}", part.delay / (index + 1))


async def saving(body: Body, part: Part) -> None:
    await body.do(steps.saving, f"{part.prefix}/s", part.count * 2, part.delay / 60)


async def once(body: Body, part: Part) -> None:
    label = f"{part.prefix}/o"
    await body.do(steps.quick, f"{part.prefix}/before")
    try:
        await body.do(steps.slow, label, part.delay / 10, on_interrupt="fail")
    except StepFailed as error:
        body.past(label, f"failed: {error.type}")


async def hopeless(body: Body, part: Part) -> None:
    label = f"{part.prefix}/h"
    try:
        await body.do(
            steps.hopeless,
            label,
            retry=Retry(limit=20, delay=part.delay, backoff="constant", jitter=0),
        )
    except StepFailed as error:
        body.past(label, f"failed: {error}")


async def events(body: Body, part: Part) -> None:
    for index in range(part.count):
        event = await body.step.wait_for_event(part.prefix, name=f"{part.prefix}/{index}")
        body.past(f"{part.prefix}/{index}", event.payload)
    await body.nothing_more(f"{part.prefix}/end", part.prefix)


async def impatient(body: Body, part: Part) -> None:
    """A wait that may time out at the moment the event comes: it comes once, then or later (E3)."""
    tries = 0
    while True:
        try:
            timeout = None if tries > 4 else part.delay / 4
            event = await body.step.wait_for_event(
                part.prefix, timeout=timeout, name=f"{part.prefix}/{tries}"
            )
            break
        except EventTimeout:
            tries += 1
    body.past(f"{part.prefix}/e", f"{event.payload} at {tries}")


async def crowd(body: Body, part: Part) -> None:
    async def one(index: int) -> None:
        event = await body.step.wait_for_event(part.prefix)
        body.past(f"{part.prefix}/{index}", event.payload)

    async with body.step.open_nursery(part.prefix) as nursery:
        for index in range(3):
            nursery.start_soon(one, index)


async def withdrawn(body: Body, part: Part) -> None:
    """A wait that is given up takes nothing with it: its event comes to the next one (I8)."""
    seen = []

    async def waits() -> None:
        seen.append((await body.step.wait_for_event(part.prefix)).payload)

    async with body.step.open_nursery(part.prefix) as branches:
        branches.start_soon(waits)
        await body.do(steps.slow, f"{part.prefix}/s", part.delay / 20)
        branches.cancel_scope.cancel()
    if not seen:
        seen.append(
            (await body.step.wait_for_event(part.prefix, name=f"{part.prefix}/again")).payload
        )
    body.past(f"{part.prefix}/e", f"{seen[0]} at last")


async def approval(body: Body, part: Part) -> None:
    try:
        approved = await body.step.wait_for_approval(part.prefix)
        body.past(f"{part.prefix}/a", f"yes {approved.reason}")
    except Rejected as error:
        body.past(f"{part.prefix}/a", f"no {error.reason}")


async def mapped(body: Body, part: Part) -> None:
    """Keyed or not, async or in threads: four maps of `count` items."""
    for variant in range(4):
        labels = [f"{part.prefix}/{variant}.{index}" for index in range(part.count)]
        fn = steps.flaky if variant % 2 else steps.flaky_threaded
        item_step = functools.partial(_item, fn, 1 if variant == 1 else 0, part.delay)
        if not variant % 2:
            item_step = functools.partial(fn, failures=0, delay=0)
        values = await body.step.map(
            item_step, labels, name=f"{part.prefix}/{variant}", key=str if variant > 1 else None,
            concurrency=1 + variant, retry=_retry(part),
        )  # fmt: skip
        for label, value in zip(labels, values, strict=True):
            body.past(label, value)


async def _item(fn: Any, failures: int, delay: float, label: str) -> str:
    return await fn(label, failures, delay)


async def eached(body: Body, part: Part) -> None:
    async def branch(index: int) -> None:
        await body.do(
            steps.flaky, f"{part.prefix}/{index}a", index % 2, part.delay, retry=_retry(part)
        )
        await body.do(steps.threaded, f"{part.prefix}/{index}b")

    await body.step.each(branch, range(part.count), concurrency=2, name=part.prefix)


async def nursery(body: Body, part: Part) -> None:
    async with body.step.open_nursery(part.prefix) as branches:
        for inner in part.parts:
            branches.start_soon(KINDS[inner.kind], body, inner)
        branches.start_soon(body.do, steps.slow, f"{part.prefix}/own", 0.01)


async def children(body: Body, part: Part) -> None:
    step, prefix = body.step, part.prefix
    first = await step.create(child, f"{prefix}/first")
    batch = await step.create_batch(
        child, [f"{prefix}/batch{index}" for index in range(part.count)]
    )
    body.past(f"{prefix}/called", await step.call(child, f"{prefix}/called"))
    body.past(f"{prefix}/first", await first.result())
    for index, one in enumerate(batch):
        body.past(f"{prefix}/batch{index}", await one.result())
    try:
        await step.call(child, f"{prefix}/bad")
    except InstanceErrored as error:
        body.past(
            f"{prefix}/bad",
            f"errored: {error.error.type.rpartition('.')[2] if error.error else None}",
        )


async def letters(body: Body, part: Part) -> None:
    """Events from one instance to another, each exactly once."""
    listening = await body.step.create(listener, f"{part.prefix}/listener")
    for index in range(3):
        await body.step.send_event(listener, listening.id, "letter", index)
    body.past(f"{part.prefix}/read", await listening.result())


async def channels(body: Body, part: Part) -> None:
    """Branches that hand over what they made, through a channel, to branches of a nursery within
    the nursery."""
    send, receive = trio.open_memory_channel[int](1)
    order: list[int] = []

    async def make(index: int, to: trio.MemorySendChannel[int]) -> None:
        async with to:
            await body.do(steps.slow, f"{part.prefix}/m{index}", part.delay / 20 * (index % 2))
            await to.send(index)

    async def hand_on() -> None:
        async with body.step.open_nursery("takers") as takers:
            async for index in receive:
                order.append(index)
                takers.start_soon(body.do, steps.flaky, f"{part.prefix}/t{index}", 0, 0)

    async with body.step.open_nursery(part.prefix) as makers, send:
        makers.start_soon(hand_on)
        for index in range(part.count):
            makers.start_soon(make, index, send.clone())
    body.past(f"{part.prefix}/order", ",".join(map(str, order)))


async def grid(body: Body, part: Part) -> None:
    """`each` in `each`."""

    async def row(y: int) -> None:
        async def cell(x: int) -> None:
            await body.do(
                steps.flaky,
                f"{part.prefix}/{y}.{x}",
                (x + y) % 2,
                part.delay / 10,
                retry=_retry(part),
            )

        await body.step.each(cell, range(part.count), concurrency=2, name="row")

    await body.step.each(row, range(2), concurrency=2, name=part.prefix)


async def race(body: Body, part: Part) -> None:
    """The first to end wins, in every life the same one, and what is done after that depends on
    it."""
    order: list[tuple[int, Any]] = []

    async with body.step.open_nursery(part.prefix) as runners:

        async def run(index: int) -> None:
            label = f"{part.prefix}/r{index}"
            order.append(
                (index, await body.step.do(steps.slow, label, part.delay / 30, name=label))
            )
            runners.cancel_scope.cancel()

        for index in range(part.count):
            runners.start_soon(run, index)
    winner, value = order[0]
    body.past(f"{part.prefix}/won", f"{winner}: {text(value)}")
    await body.do(steps.quick, f"{part.prefix}/after{winner}")


async def deadline(body: Body, part: Part) -> None:
    """Whether the step or the deadline came first is decided once."""
    seen: list[Any] = []
    with body.step.move_on_after(part.delay / 4):
        seen.append(
            await body.step.do(
                steps.slow, f"{part.prefix}/s", part.delay / 4, name=f"{part.prefix}/s"
            )
        )
    body.past(f"{part.prefix}/d", f"came: {text(seen[0])}" if seen else "moved on")
    await body.do(steps.quick, f"{part.prefix}/{len(seen)}")


CHARGES = (
    (steps.charge_in_thread, {}),
    (steps.charge, {}),
    (steps.charge_on_asyncio, {"runtime": "asyncio"}),
)
"""What goes through although it is given up, by the number of a part."""


async def charged(body: Body, part: Part) -> None:
    """A charge that may come too late, and what is done then: never before it has gone through or
    is known to have been cut short (I8)."""
    label, seen = f"{part.prefix}/c", list[Any]()
    fn, options = CHARGES[part.count % len(CHARGES)]
    with body.step.move_on_after(part.delay / 8):
        seen.append(await body.step.do(fn, label, part.delay / 10, name=label, **options))
    body.past(f"{part.prefix}/d", f"came: {text(seen[0])}" if seen else "moved on")
    await body.do(steps.quick, f"{part.prefix}/{'kept' if seen else 'refund'}")


async def overtaken(body: Body, part: Part) -> None:
    """As `charged`, but what gives the charges up is a step beside them."""
    async with body.step.open_nursery(part.prefix) as branches:
        for index, (fn, options) in enumerate(CHARGES):
            label = f"{part.prefix}/c{index}"
            branches.start_soon(
                functools.partial(body.step.do, fn, label, part.delay / 10, name=label, **options)
            )
        await body.do(steps.slow, f"{part.prefix}/s", part.delay / 20)
        branches.cancel_scope.cancel()
    await body.do(steps.quick, f"{part.prefix}/refund")


async def panicking(body: Body, part: Part) -> None:
    """What is no `Exception` is a failure of the step, and of nothing else (R9)."""
    for index, fn in enumerate((steps.panics, steps.panics_in_thread)):
        label = f"{part.prefix}/{index}"
        try:
            await body.do(fn, label, part.count)
        except StepFailed as error:
            body.past(label, f"failed: {error.type} after {error.attempts}")


async def patch(body: Body, part: Part) -> None:
    """What `patched` said once it says in every life."""
    await body.do(steps.quick, f"{part.prefix}/before")
    body.past(f"{part.prefix}/p", await body.step.patched(part.prefix))


async def on_asyncio(body: Body, part: Part) -> None:
    """A child whose body is asyncio code."""
    body.past(
        f"{part.prefix}/g", await body.step.call(gathered, [part.prefix, part.count, part.delay])
    )


KINDS = {
    f.__name__: f
    for f in (sequence, retries, sleeps, saving, once, hopeless, events, impatient, crowd,
    withdrawn, approval,
              mapped, eached, nursery, children, letters, channels, grid, race, deadline, charged,
              overtaken, panicking, patch)
} | {"asyncio": on_asyncio}  # fmt: skip


@workflow
async def parent(step: Step, params: list[int]) -> dict[str, str]:
    """What the driver creates: params are seed and number."""
    body = Body(step)
    for part in plan(*params):
        await KINDS[part.kind](body, part)
    return body.seen


@workflow
async def child(step: Step, label: str) -> str:
    """One step; "bad" ones fail."""
    body = Body(step)
    if label.endswith("bad"):
        await step.do(steps.hopeless, label, name=label, retry=Retry(limit=3, delay=0, jitter=0))
    await body.do(steps.slow, label, 0.005)
    return body.seen[label]


@workflow
async def listener(step: Step, label: str) -> str:
    """Reads three letters, then sees that there is no fourth."""
    body = Body(step)
    read = []
    for index in range(3):
        event = await step.wait_for_event("letter")
        read.append(str(event.payload))
        body.past(f"{label}/{index}", event.payload)
    await body.nothing_more(f"{label}/end", "letter")
    return " ".join(read)


@workflow(runtime="asyncio")
async def gathered(step: Step, params: list[Any]) -> str:
    """Branches, a queue between tasks, and who came first: the same in every life."""
    prefix, count, delay = params
    body, order = Body(step), asyncio.Queue[int]()

    async def branch(index: int) -> int:
        await body.do(
            steps.slow_on_asyncio,
            f"{prefix}/g{index}a",
            delay / 20 * (index % 2),
            runtime="asyncio",
        )
        order.put_nowait(index)
        await body.do(
            steps.flaky,
            f"{prefix}/g{index}b",
            index % 2,
            0,
            retry=Retry(limit=20, delay=0, jitter=0),
        )
        return index

    async def takes() -> list[int]:
        return [await order.get() for _ in range(count)]

    *_, came = await step.gather(*map(branch, range(count)), takes())
    async for done in step.as_completed(
        *(named(step, f"{prefix}/c{index}", index, delay) for index in range(count))
    ):
        came.append(await done)
    body.past(f"{prefix}/came", ",".join(map(str, came)))
    async with asyncio.TaskGroup() as group:
        for index in range(count):
            group.create_task(body.do(steps.slow, f"{prefix}/t{index}", delay / 30))
    return body.seen[f"{prefix}/came"]


async def named(step: Step, label: str, index: int, delay: float) -> int:
    """One step, and which one it was."""
    await step.do(steps.slow, label, delay / 30, name=label)
    return index


WORKFLOWS = (parent, child, listener, gathered)
