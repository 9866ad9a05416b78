"""What the tests of bodies on asyncio share: bodies, and ways to run, replay and block them."""

import contextvars

import trio
import trio.testing

from stepwell import Retry, Step, workflow
from stepwell.testing import open_test_engine

NEVER = Retry.never
ran: list[object] = []
"""What steps did."""
lives: list[list[object]] = []
"""What bodies saw, life by life."""
colour: contextvars.ContextVar[str] = contextvars.ContextVar("colour", default="none")


async def doubles(x: int) -> int:
    ran.append(x)
    return 2 * x


async def fails(text: str) -> None:
    ran.append(text)
    raise ValueError(text)


def flow(code, name: str = "flow", **options):
    """Returns a workflow with this body, on asyncio; it is given a list for what it sees in this
    life."""

    @workflow(name=name, runtime="asyncio", **options)
    async def made(step: Step) -> object:
        lives.append([])
        return await code(step, lives[-1])

    return made


async def run(code, **options) -> object:
    async with open_test_engine(workflows=[flow(code)], **options) as engine:
        return await engine.call("flow", id="f")


async def replayed(code, times: int = 3, others=(), crash: bool = True) -> object:
    """Runs a body to its end, with a crash on the way, and then replays it some times, each time
    from nothing but its history."""
    ended: list[int] = []
    has_ended = trio.Event()

    async def body(step: Step, seen: list[object]) -> object:
        value = await code(step, seen)
        ended.append(len(lives))
        has_ended.set()
        for _ in range(times):
            await step.wait_for_event("again")
        return value

    async with open_test_engine(workflows=[flow(body), *others]) as engine:
        instance = await engine.create("flow", id="f")
        if crash:
            await trio.lowlevel.checkpoint()
            await engine.crash()
        for _ in range(times):
            await has_ended.wait()
            has_ended = trio.Event()
            await trio.testing.wait_all_tasks_blocked()
            await engine.crash()
            await instance.send_event("again")
        value = await instance.result()
    assert len(ended) == times + 1
    assert all(lives[-1][: len(life)] == life for life in lives), lives
    assert all(lives[n - 1] == lives[-1] for n in ended), lives
    return value


async def blocked(code, **options) -> tuple[str, str]:
    """Runs a body that gets its instance blocked; returns why."""
    async with open_test_engine(workflows=[flow(code, **options)]) as engine:
        instance = await engine.create("flow", id="f")
        await instance.wait_for_status("blocked")
        info = (await instance.status()).error
        await trio.testing.wait_all_tasks_blocked()
        assert engine.statistics().resident == 0
        return (await engine.list("flow")).items[0].reason, info.message


def line_of(path: str, mark: str) -> str:
    """Returns `file:line` of the line of a file that ends in a mark."""
    with open(path) as file:
        (number,) = [i for i, line in enumerate(file, 1) if line.rstrip().endswith(f"# {mark}")]
    return f"{path.rpartition('/')[2]}:{number}"
