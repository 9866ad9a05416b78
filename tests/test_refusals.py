"""What a limit, a registration or a type refused is refused again on replay, whatever they are by
then (D3): a body that caught it goes on where it was."""

from typing import Any

import pytest
import trio
from formats import of_format

from stepwell import (
    InvalidConfig,
    LimitReached,
    Limits,
    NewInstance,
    NotSerializable,
    StepwellError,
    TooLarge,
    workflow,
)
from stepwell._operations import refusal
from stepwell.testing import open_test_engine

BIG = "x" * 3_000
FEW = Limits(value_bytes=500, steps=3)
MANY: dict[str, Any] = {"value_bytes": 1 << 20, "steps": 100}
told: list[list[object]] = []


@pytest.fixture(autouse=True)
def _nothing_told():
    told.clear()


@workflow
async def kid(step, given: str) -> int:
    await step.wait_for_event("end")
    return len(given)


@workflow(name="kid")
async def kid_of_other_type(step, given: int) -> int:
    raise AssertionError("it is never run")


@workflow
async def hears(step) -> None:
    await step.wait_for_event("end")


async def number(i: int) -> int:
    return i


async def text(size: int) -> str:
    return "x" * size


async def creates(step):
    await step.create(kid, BIG)


async def creates_batch(step):
    await step.create_batch(kid, ["", NewInstance(BIG, id="k")])


async def calls(step):
    await step.call(kid, BIG)


async def sends(step):
    await step.send_event(hears, "h", "news", BIG)


async def asks(step):
    await step.wait_for_approval("ok", detail=BIG)


async def makes_steps(step):
    for i in range(4):
        await step.do(number, i)


async def makes_steps_with_keys(step):
    for i in range(4):
        await step.do(number, i, key=str(i))


async def maps(step):
    await step.map(number, range(10))


async def maps_iterator(step):
    await step.map(number, iter(range(10)))


async def maps_with_keys(step):
    await step.map(number, range(10), key=str)


async def gives_what_is_too_large(step):
    await step.do(text, 3_000)


OPERATIONS = [
    creates,
    creates_batch,
    calls,
    sends,
    asks,
    makes_steps,
    makes_steps_with_keys,
    maps,
    maps_iterator,
    maps_with_keys,
    gives_what_is_too_large,
]


async def refused(step, operation) -> list[object]:
    """Returns all there is to know of the error."""
    try:
        await operation(step)
    except (TooLarge, LimitReached, NotSerializable, InvalidConfig) as error:
        about = {name: value for name, value in vars(error).items() if name != "traceback"}
        return [type(error).__qualname__, *map(str, type(error).__mro__), str(error), about]
    return ["let through"]


async def alone(step, operation):
    return [await refused(step, operation) for _ in range(2)]


async def in_branches(step, operation):
    found: list[Any] = [None, None]

    async def branch(i: int) -> None:
        found[i] = await refused(step, operation)

    async with step.open_nursery() as nursery:
        nursery.start_soon(branch, 0)
        nursery.start_soon(step.sleep, 0)
    await branch(1)
    return found


async def in_each(step, operation):
    async def branch(i: int) -> list[object]:
        return await refused(step, operation)

    return await step.each(branch, range(2))


def parent_that(operation, where=alone, runtime="trio"):
    async def parent(step) -> int:
        found = await where(step, operation)
        told.append(found)
        await step.create(kid, "instead", id="instead")
        await step.wait_for_event("go")
        told.append(found)
        await step.wait_for_event("end")
        return 7

    return workflow(runtime=runtime)(parent)


CASES = [
    *((it, alone, runtime) for it in OPERATIONS for runtime in ("trio", "asyncio")),
    *((it, in_branches, "trio") for it in OPERATIONS if it is not makes_steps_with_keys),
    *((it, in_each, runtime) for it in OPERATIONS for runtime in ("trio", "asyncio")
      if it not in (makes_steps_with_keys, maps_with_keys)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("operation", "where", "runtime"),
    CASES,
    ids=[f"{operation.__name__}-{where.__name__}-{on}" for operation, where, on in CASES],
)
async def test_d3_what_was_refused_is_refused_on_replay_after_the_limit_was_raised(
    operation, where, runtime
):
    parent = parent_that(operation, where, runtime)
    async with open_test_engine(
        workflows=[kid, hears, parent], limits=FEW, autojump=False
    ) as engine:
        await engine.create(hears, id="h")
        instance = await engine.create(parent, id="i")
        await engine.clock.settled()
        with trio.fail_after(30):
            while len(told) < 1:
                await trio.sleep(0)
        await instance.wait_for_status("waiting")
        assert told[0][0] != ["let through"]
        for change in (MANY, {"value_bytes": 400, "steps": 1}, MANY):
            await engine.set_limits(**change)
            await engine.crash()
            await instance.send_event("go" if change is MANY else "more")
            await engine.clock.settled()
            status = await instance.status()
            assert (status.status, status.error) == ("waiting", None)
        assert all(it == told[0] for it in told)
        await instance.send_event("end")
        assert await instance.result() == 7


async def test_a_history_says_what_was_refused_and_why():
    parent = parent_that(creates)
    async with open_test_engine(
        workflows=[kid, hears, parent], limits=FEW, autojump=False
    ) as engine:
        instance = await engine.create(parent, id="i")
        await engine.clock.settled()
        lines = [it for it in await instance.history() if it.status == "refused"]
        assert [(it.kind, it.name, it.count) for it in lines] == [
            ("create", "kid", 1),
            ("create", "kid", 2),
        ]
        assert str(lines[0].error).startswith("TooLarge: params is 3,003 bytes")


async def test_e5_an_approvals_id_does_not_count_those_that_were_refused_on_replay_either():
    @workflow
    async def parent(step) -> str:
        for detail in (BIG, BIG, "small"):
            try:
                return (await step.wait_for_approval("ok", detail=detail)).by
            except TooLarge:
                pass
        raise AssertionError

    async with open_test_engine(workflows=[parent], limits=FEW, autojump=False) as engine:
        instance = await engine.create(parent, id="i")
        await engine.clock.settled()
        await engine.set_limits(**MANY)
        await engine.crash()
        await engine.clock.settled()
        assert [it.id for it in await engine.approvals.list()] == ["parent/i#ok#1"]
        await engine.approvals.approve("parent/i#ok#1", by="ann")
        assert await instance.result() == "ann"


@pytest.mark.parametrize("today", [[], [kid_of_other_type]])
async def test_d3_a_registration_that_is_there_by_now_changes_no_history(tmp_path, today):
    store = tmp_path / "a.db"

    @workflow(name="parent")
    async def parent(step) -> list[str]:
        seen = []
        for _ in range(2):
            try:
                seen.append((await step.create("kid", "x")).id)
            except (InvalidConfig, NotSerializable) as error:
                seen.append(type(error).__name__)
            await step.wait_for_event("go")
        return seen

    async with open_test_engine(workflows=[*today, parent], store=store, autojump=False) as engine:
        await engine.create(parent, id="i")
        await engine.clock.settled()
    async with open_test_engine(workflows=[kid, parent], store=store, autojump=False) as engine:
        instance = await engine.get(parent, "i")
        for _ in range(2):
            await instance.send_event("go")
        first, second = await instance.result()
        assert first == ("NotSerializable" if today else "InvalidConfig")
        assert len(second) == 36


async def test_d3_what_was_not_recorded_before_a_crash_meets_the_limit_of_today(monkeypatch):
    """The body did not go on from it either."""
    parent = parent_that(creates)
    async with open_test_engine(
        workflows=[kid, hears, parent], limits=FEW, autojump=False
    ) as engine:
        with monkeypatch.context() as lost:
            lost.setattr(refusal.Refusal, "go_live", lambda operation, in_body=False: None)
            instance = await engine.create(parent, id="i")
            await engine.clock.settled()
        assert told == []
        await engine.set_limits(**MANY)
        await engine.crash()
        await engine.clock.settled()
        assert told == [[["let through"]] * 2]
        assert (await instance.status()).status == "waiting"


@pytest.mark.parametrize("operation", [creates, makes_steps, maps])
async def test_q1_a_body_that_asks_again_and_again_is_blocked_until_the_limit_is_raised(
    operation, monkeypatch
):
    monkeypatch.setattr(refusal, "REFUSALS_MAX", 5)

    @workflow
    async def parent(step) -> int:
        refusals = 0
        while True:
            try:
                await operation(step)
            except StepwellError:
                refusals += 1
            else:
                return refusals

    async with open_test_engine(workflows=[kid, parent], limits=FEW, autojump=False) as engine:
        instance = await engine.create(parent, id="i")
        await instance.wait_for_status("blocked")
        for _ in range(2):
            lines = [it for it in await instance.history() if it.status == "refused"]
            assert len(lines) == 5
            await instance.resume()
            await instance.wait_for_status("blocked")
        status = await instance.status()
        assert "was refused what it asked for 5 times, and asks again" in str(status.error)
        assert (await instance.explain()).code == "refused"
        await engine.set_limits(**MANY)
        await instance.resume()
        assert await instance.result() == 5


async def test_i8_a_refusal_that_the_body_cancels_is_told_nobody():
    @workflow
    async def parent(step) -> list[str]:
        seen = []
        async with step.open_nursery() as nursery:
            nursery.start_soon(step.create, kid, BIG)
            nursery.cancel_scope.cancel()
        seen.append("cancelled")
        await step.wait_for_event("go")
        return seen

    async with open_test_engine(workflows=[kid, parent], limits=FEW, autojump=False) as engine:
        instance = await engine.create(parent, id="i")
        await engine.clock.settled()
        await engine.set_limits(**MANY)
        await engine.crash()
        await instance.send_event("go")
        assert await instance.result() == ["cancelled"]


async def test_i1_an_instance_of_format_3_keeps_its_rule(monkeypatch):
    of_format(3, monkeypatch)
    parent = parent_that(creates)
    async with open_test_engine(
        workflows=[kid, hears, parent], limits=FEW, autojump=False
    ) as engine:
        instance = await engine.create(parent, id="i")
        await engine.clock.settled()
        assert [it.status for it in await instance.history()] == ["done", "waiting"]
        await engine.crash()
        await instance.send_event("go")
        await engine.clock.settled()
        assert (await instance.status()).status == "waiting"
