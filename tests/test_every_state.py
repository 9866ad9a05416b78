"""Whatever can be done to an instance, in each state that one can be in (rules L3, L4, L5)."""

import contextlib
from collections.abc import AsyncGenerator, Callable

import pytest
import trio

from stepwell import Instance, InvalidState, Status, workflow
from stepwell.testing import open_test_engine

TABLE = """
                    pause              resume   terminate   retry_now  set_priority  start_now
queued              paused             -        terminated  -          -             -
running             waiting_for_pause  -        terminated  -          n             n
waiting             paused             -        terminated  -          n             n
waiting_for_pause   -                  running  terminated  -          n             n
paused              -                  running  terminated  -          n             n
blocked             -                  running  terminated  -          n             n
complete            x                  x        x           x          x             x
errored             x                  x        x           x          x             x
terminated          x                  x        x           x          x             x
"""
"""What state it is in after the call; -: the same, x: refused because it has ended, n: refused in
this state. A body that goes on runs a step that does not end."""
SENT = {"waiting": "running"} | dict.fromkeys(("complete", "errored", "terminated"), "x")
"""The same, of an event that it may wait for."""

release = trio.Event()
has_other_code = False


async def runs() -> None:
    await release.wait()


@workflow
async def one(step, how: str):
    if how == "waits":
        await step.wait_for_event("go")
    elif how == "differs":
        await step.wait_for_event("go") if not has_other_code else await step.sleep("1 hour")
    elif how == "fails":
        raise ValueError("broken")
    elif how == "returns":
        return
    await step.do(runs)


@workflow
async def other(step):
    await step.do(runs)


async def is_queued(engine) -> Instance[None]:
    await (await engine.create(other)).wait_for_status("running")
    return await engine.create(one, "runs")


async def is_running(engine) -> Instance[None]:
    return await engine.create(one, "runs")


async def is_waiting(engine) -> Instance[None]:
    return await engine.create(one, "waits")


async def is_to_pause(engine) -> Instance[None]:
    instance = await engine.create(one, "runs")
    await instance.wait_for_status("running")
    await trio.testing.wait_all_tasks_blocked()
    await instance.pause()
    return instance


async def is_paused(engine) -> Instance[None]:
    instance = await engine.create(one, "waits")
    await instance.wait_for_status("waiting")
    await instance.pause()
    await instance.send_event("go")  # so that it runs once it goes on
    return instance


async def is_blocked(engine) -> Instance[None]:
    global has_other_code
    instance = await engine.create(one, "differs")
    await instance.wait_for_status("waiting")
    has_other_code = True
    await engine.crash()
    await instance.send_event("go")
    await instance.wait_for_status("blocked")
    has_other_code = False
    return instance


async def is_complete(engine) -> Instance[None]:
    return await engine.create(one, "returns")


async def has_failed(engine) -> Instance[None]:
    return await engine.create(one, "fails")


async def is_terminated(engine) -> Instance[None]:
    instance = await engine.create(one, "runs")
    await instance.terminate()
    return instance


STATES: dict[str, Callable[..., object]] = {
    "queued": is_queued, "running": is_running, "waiting": is_waiting,
    "waiting_for_pause": is_to_pause, "paused": is_paused, "blocked": is_blocked,
    "complete": is_complete, "errored": has_failed, "terminated": is_terminated,
}  # fmt: skip

VERBS, *ROWS = [line.split() for line in TABLE.strip().splitlines()]
CASES = [
    (state, verb, after) for state, *row in ROWS for verb, after in zip(VERBS, row, strict=True)
] + [(state, "send_event", SENT.get(state, "-")) for state in STATES]


@contextlib.asynccontextmanager
async def an_engine(store: str) -> AsyncGenerator[object]:
    global release, has_other_code
    release, has_other_code = trio.Event(), False
    async with open_test_engine(
        workflows=[one, other], store=store, slots=1, autojump=False, grace=0
    ) as engine:
        yield engine


@pytest.mark.parametrize("store", ["memory", "file"])
@pytest.mark.parametrize(("state", "verb", "after"), CASES)
async def test_l3_what_each_call_does_in_each_state(tmp_path, store, state, verb, after):
    async with an_engine(":memory:" if store == "memory" else str(tmp_path / "s.db")) as engine:
        instance = await STATES[state](engine)
        assert await instance.wait_for_status(state) == state
        call = getattr(instance, verb)
        arguments = {"send_event": ["go"], "set_priority": [5]}.get(verb, [])
        if after in ("x", "n"):
            why = "it has ended" if after == "x" else "only while it is queued"
            with pytest.raises(InvalidState, match=f"is {state}: {why}") as refused:
                await call(*arguments)
            assert refused.value.status is Status(state)
        else:
            await call(*arguments)
            await trio.testing.wait_all_tasks_blocked()
            # from paused and blocked it is queued first
            assert await instance.wait_for_status(state if after == "-" else after)
        if after in ("-", "x", "n"):
            assert (await instance.status()).status == state
        await engine.crash()
        if state not in ("running", "waiting_for_pause") and after in ("-", "x", "n"):
            assert (await instance.status()).status in (state, "running")
