"""Which events an instance waits for, as everything tells it that says what it waits for (rules D3,
L13)."""

import pytest

from stepwell import Engine, EventTimeout, workflow
from stepwell.testing import open_test_engine


@workflow
async def pays(step, name: str | None) -> str:
    try:
        return (await step.wait_for_event("paid", "void", name=name, timeout="1 hour")).type
    except EventTimeout as error:
        return str(error)


@pytest.mark.parametrize(("name", "step"), [(None, ""), ("payment", ' (step "payment")')])
async def test_l13_a_wait_is_told_by_the_types_of_its_events_and_not_by_its_name(name, step):
    async with open_test_engine(workflows=[pays], autojump=False) as engine:
        instance = await engine.create(pays, name, id="p")
        await instance.wait_for_status("waiting")
        told = f'event "paid" or "void"{step} until 2030-01-01 01:00:00 UTC'
        why = await instance.explain()
        assert why.text == f"pays/p waits for {told}."
        wanted = {"types": ["paid", "void"], "name": name or "paid|void", "count": 1, "branch": ""}
        assert why.details == {"events": [wanted]}
        assert (await instance.status()).waiting_on == told
        assert (await engine.list()).items[0].waiting_on == told
        assert [it.event_types for it in await instance.history()] == [("paid", "void")]
        await engine.clock.advance("1 hour")
        late = f'no event "paid" or "void" came to pays/p within 1 hour{step}'
        assert await instance.result() == late
        assert [it.event_types for it in await instance.history()] == [()]


@workflow
async def pays_in_branches(step) -> None:
    await step.each(step.wait_for_event, ["paid", "void"], name="both")


async def test_l13_a_wait_in_a_branch_is_told_with_it():
    async with open_test_engine(workflows=[pays_in_branches], autojump=False) as engine:
        instance = await engine.create(pays_in_branches, id="p")
        await instance.wait_for_status("waiting")
        text = (await instance.explain()).text
        assert 'event "paid" in both#1[0] until' in text
        assert 'event "void" in both#1[1] until' in text


def pays_of(*types: str):
    @workflow(name="pays")
    async def pays(step) -> str:
        return (await step.wait_for_event(*types, name="payment")).type

    return pays


async def test_d3_an_open_wait_keeps_the_types_it_was_opened_for_and_they_are_told(tmp_path):
    old, new = pays_of("payed"), pays_of("paid")
    async with Engine(tmp_path / "s.db", workflows=[old]) as engine:
        instance = await engine.create(old, id="p")
        await instance.wait_for_status("waiting")
    async with Engine(tmp_path / "s.db", workflows=[new]) as engine:
        instance = await engine.get(new, "p")
        await instance.send_event("paid")
        assert (await instance.explain()).text.startswith('pays/p waits for event "payed" (step')
        await instance.send_event("payed")
        assert await instance.result() == "payed"


async def test_l13_events_that_came_and_that_it_does_not_wait_for_are_named():
    async with open_test_engine(workflows=[pays], autojump=False) as engine:
        instance = await engine.create(pays, id="p")
        for kind in ("payed", "payed", "refund"):
            await instance.send_event(kind)
        await instance.wait_for_status("waiting")
        why = await instance.explain()
        near = 'Events that came and that it does not wait for are kept: "payed" x2, "refund" x1.'
        assert why.text.endswith(f"until 2030-01-01 01:00:00 UTC. {near}")
        assert why.details["kept"] == {"payed": 2, "refund": 1}
        await instance.send_event("paid")
        assert await instance.result() == "paid"
