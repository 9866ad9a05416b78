"""The bodies whose instances are in the kept stores. They must stay as they were when the stores
were written.

Each returns what it was given, so that whoever goes on with it can be compared with the version
that began it. Steps say what their attempt was called and which one it was: both come from the
store.
"""

import trio

from stepwell import EventTimeout, Retry, current_step, workflow

HOUR = Retry(limit=3, delay="1 hour", backoff="constant", jitter=0)


class Declined(Exception):
    """What a bank says."""

    def __init__(self, reason: str, code: int) -> None:
        super().__init__(reason)
        self.code = code


async def key_of() -> str:
    return current_step().idempotency_key


async def second_time() -> list[str | int]:
    attempt = current_step().attempt
    if attempt == 1:
        raise Declined("try again", 1)
    return [attempt, current_step().idempotency_key]


async def saves() -> list[int]:
    context = current_step()
    if context.attempt == 1:
        await context.save([7])
        raise Declined("saved", 2)
    return [*(context.saved or []), context.attempt]


async def declines() -> None:
    raise Declined("no money", 3)


async def gives_up() -> None:
    raise TimeoutError("the bank is closed")


async def hangs() -> None:
    await trio.sleep_forever()


async def hangs_at_first(letter: str) -> str:
    if letter == "c" and current_step().attempt == 1:
        await trio.sleep_forever()
    return letter.upper()


@workflow
async def cancels(step):
    """Attempts that are cancelled by a failing sibling, and a wait that is."""
    caught = ""
    try:
        async with step.open_nursery() as nursery:
            nursery.start_soon(step.do, hangs)
            nursery.start_soon(step.wait_for_event, "go")
            nursery.start_soon(lambda: step.do(declines, retry=Retry.never))
    except* Declined as group:
        caught = str(group.exceptions[0])
    key = await step.do(key_of)
    event = await step.wait_for_event("go")
    return [caught, key, event.payload, str(step.uuid()), step.random.random()]


@workflow
async def out_of_time(step):
    """A deadline that cancels a step, and a wait that times out."""
    with step.move_on_after("1 minute"):
        await step.do(hangs)
    try:
        await step.wait_for_event("never", timeout="1 minute")
    except EventTimeout:
        said = "timed out"
    return [said, (await step.wait_for_event("go")).payload, await step.do(key_of)]


@workflow
async def retries(step):
    """A retry that was made and one that is open."""
    made = await step.do(second_time, retry=Retry(limit=3, delay="1 second", jitter=0))
    kept = await step.do(saves, retry=HOUR)
    return [made, kept, await step.do(second_time, name="again", retry=HOUR)]


@workflow
async def fails(step):
    """Failures that were caught."""
    seen = []
    for fn in (declines, gives_up):
        try:
            await step.do(fn, retry=Retry.never)
        except (Declined, TimeoutError) as error:
            seen.append([type(error).__name__, *error.args, getattr(error, "code", None)])
    return [seen, (await step.wait_for_event("go")).payload]


@workflow
async def waits(step):
    """Events that were taken and are kept, sleeps, an approval that was decided early and one that
    was not yet asked for."""
    first = (await step.wait_for_event("go")).payload
    early = await step.wait_for_approval("early")
    await step.sleep("1 hour")
    rest = [(await step.wait_for_event("go")).payload for _ in range(2)]
    late = await step.wait_for_approval("late", timeout="1 day")
    return [first, early.by, rest, late.by, step.now().isoformat()]


@workflow
async def child(step, name: str) -> str:
    """What parents call."""
    await step.do(key_of)
    return f"{name} {(await step.wait_for_event('go')).payload}"


@workflow
async def parent(step):
    """Children: created, called and ended, called and waited for."""
    created = await step.create(child, "created", id="created")
    done = await step.call(child, "first", id="first")
    return [created.id, done, await step.call(child, "second", id="second"), await step.do(key_of)]


@workflow
async def maps(step):
    """Interrupted in the middle of a map."""
    return await step.map(hangs_at_first, ["a", "b", "c"], retry=HOUR)


@workflow
async def straight(step):
    """Done in one go."""
    return [await step.do(key_of), str(step.uuid())]


@workflow
async def breaks(step):
    """Ends with an error."""
    await step.do(declines, retry=Retry.never)


@workflow
async def sleeps_itself(step):
    """Is blocked, for a body awaits nothing but the engine."""
    await trio.sleep(1)


@workflow(runtime="asyncio")
async def on_asyncio(step):
    """Branches that are named by their place, and a change of the code."""
    new = await step.patched("new")
    both = await step.gather(step.do(key_of, name="one"), step.do(key_of, name="two"))
    return [new, both, (await step.wait_for_event("go")).payload]


ALL = [
    cancels,
    out_of_time,
    retries,
    fails,
    waits,
    child,
    parent,
    maps,
    straight,
    breaks,
    sleeps_itself,
    on_asyncio,
]
