"""`step.patched`: code may change under instances that are under way (rule I6)."""

import pytest

from stepwell import InvalidName, Status, workflow
from stepwell.testing import open_test_engine

seen: list[str] = []


@pytest.fixture(autouse=True)
def _nothing_seen():
    seen.clear()


async def noted(what: str) -> str:
    seen.append(what)
    return what


@workflow(name="order")
async def old(step):
    first = await step.do(noted, "charge", name="charge")
    await step.wait_for_event("go")
    return [first, await step.do(noted, "ship", name="ship")]


@workflow(name="order")
async def new(step):
    if await step.patched("reserve first"):
        first = await step.do(noted, "reserve", name="reserve")
    else:
        first = await step.do(noted, "charge", name="charge")
    await step.wait_for_event("go")
    last = "fly" if await step.patched("by air") else "ship"
    again = await step.patched("reserve first")
    return [first, await step.do(noted, last, name=last), again]


async def started(code, path: str) -> None:
    async with open_test_engine(workflows=[code], store=path, autojump=False) as engine:
        instance = await engine.create(code, id="i")
        await instance.wait_for_status("waiting")


async def finished(path: str) -> tuple[list, list]:
    async with open_test_engine(workflows=[new], store=path, autojump=False) as engine:
        instance = await engine.get(new, "i")
        for _ in range(2):
            await engine.crash()
        await instance.send_event("go")
        output = await instance.result()
        return output, [(r.kind, r.name) for r in await instance.history() if r.kind == "patched"]


async def test_i6_an_instance_from_before_the_change_keeps_the_old_code_where_it_has_been(tmp_path):
    path = str(tmp_path / "a.db")
    await started(old, path)
    # It had not come to the second place yet, but the event that wakes it is recorded when it asks
    # there for the first time.
    output, patches = await finished(path)
    assert output == ["charge", "fly", False]
    assert patches == [("patched", "by air")]
    assert seen == ["charge", "fly"]


async def test_i6_a_new_instance_takes_the_new_code_and_that_is_recorded(tmp_path):
    path = str(tmp_path / "a.db")
    await started(new, path)
    output, patches = await finished(path)
    assert output == ["reserve", "fly", True]
    assert patches == [("patched", "reserve first"), ("patched", "by air")]
    assert seen == ["reserve", "fly"]


@workflow
async def asks_while_outcomes_come(step):
    """Outcomes that come while it runs, and are not delivered yet, say nothing about its code."""
    answers = []

    async def branch(i: int) -> None:
        await step.do(noted, str(i))
        answers.append(await step.patched(f"change {i}"))

    async with step.open_nursery() as nursery:
        for i in range(5):
            nursery.start_soon(branch, i)
    await step.wait_for_event("go")
    return answers


async def test_i6_a_fresh_instance_with_many_branches_is_always_new():
    async with open_test_engine(workflows=[asks_while_outcomes_come], autojump=False) as engine:
        instance = await engine.create(asks_while_outcomes_come)
        await instance.wait_for_status("waiting")
        await engine.crash()
        await instance.send_event("go")
        assert await instance.result() == [True] * 5


@workflow
async def asks_first(step):
    return [await step.patched("x"), await step.patched("x")]


async def test_i6_a_body_that_only_asks_ends_like_any_other():
    async with open_test_engine(workflows=[asks_first]) as engine:
        instance = await engine.create(asks_first)
        assert await instance.result() == [True, True]
        assert (await instance.status()).status is Status.COMPLETE
        assert len(await instance.history()) == 1


@workflow
async def asks_badly(step):
    told = []
    for bad in ["", "x" * 257, "a\nb"]:
        try:
            step.patched(bad)
        except InvalidName:
            told.append(bad)
    return len(told)


async def test_i6_a_malformed_change_id_is_refused():
    async with open_test_engine(workflows=[asks_badly]) as engine:
        assert await engine.call(asks_badly) == 3
