"""What an instance gave is read with the code of the version that it has, whichever a caller passed
or a body names (rules L1, D7)."""

from dataclasses import dataclass
from typing import Any

import pytest

from stepwell import Engine, NewInstance, Status, workflow
from stepwell.testing import open_test_engine


@dataclass
class Cents:
    amount: int


@dataclass
class Euros:
    amount: int
    currency: str = "EUR"


@workflow(name="price", version="1")
async def in_cents(step) -> Cents:
    await step.wait_for_event("go")
    return Cents(500)


@workflow(name="price", version="2")
async def in_euros(step) -> Euros:
    await step.wait_for_event("go")
    return Euros(5)


@workflow(name="word", version="1")
async def of_text(step, given: str) -> str:
    return given


@workflow(name="word", version="2")
async def of_numbers(step, given: int) -> int:
    return given


async def attached(engine, how, code: Any):
    if how == "create":
        return await engine.create(code, id="a", if_exists="return")
    if how == "waits":
        return await engine.create(code, id="a", if_exists="return", on_overload="wait")
    if how == "batch":
        return (
            await engine.create_batch(code, [NewInstance(id="a")], if_exists="return_if_same")
        ).created[0]
    return await engine.get(code, "a")


@pytest.mark.parametrize("how", ["create", "waits", "batch", "get"])
@pytest.mark.parametrize("code", [in_euros, "price"])
async def test_l1_a_handle_on_an_instance_of_another_version_reads_with_its_code(how, code):
    async with open_test_engine(workflows=[in_cents, in_euros]) as engine:
        first = await engine.create(in_cents, id="a")
        waits = await attached(engine, how, code)
        assert await waits.wait_for_status("waiting") is Status.WAITING
        await first.send_event("go")
        assert [await first.result(), await waits.result()] == [Cents(500)] * 2
        late = await attached(engine, how, code)
        assert (await late.status()).output == Cents(500)
        assert await (await attached(engine, how, code)).result() == Cents(500)
        assert await engine.call(code, id="a") == Cents(500)


async def test_l1_a_call_attaches_to_what_the_version_it_passes_could_not_read():
    async with open_test_engine(workflows=[of_text, of_numbers]) as engine:
        await engine.call(of_text, "one", id="a")
        assert await engine.call(of_numbers, 2, id="a") == "one"
        created = (
            await engine.create_batch(
                of_numbers, [NewInstance(2, id="a"), NewInstance(3, id="b")], if_exists="return"
            )
        ).created
        assert [await it.result() for it in created] == ["one", 3]


async def test_d7_values_of_a_version_without_code_are_plain_data(tmp_path):
    store = tmp_path / "s.db"
    async with Engine(store, workflows=[in_cents, in_euros]) as engine:
        made = await engine.create(in_euros, id="a")
        await made.send_event("go")
        assert await made.result() == Euros(5)
    plain = {"amount": 5, "currency": "EUR"}
    async with Engine(store, workflows=[in_cents]) as engine:
        for code in (in_cents, "price"):
            assert await (await engine.get(code, "a")).result() == plain
            assert (await (await engine.get(code, "a")).status()).output == plain
            assert await engine.call(code, id="a") == plain
    async with Engine(store, workflows=[in_cents, in_euros]) as engine:
        assert await (await engine.get(in_cents, "a")).result() == Euros(5)


async def test_the_code_of_what_was_just_created_is_known_without_a_look():
    async with open_test_engine(workflows=[of_text]) as engine:
        await engine.set_limits(concurrency=1)
        one = await engine.create(of_text, "x", id="a", if_exists="return")
        batch = await engine.create_batch(
            of_text, [NewInstance("x", id=f"b{n}") for n in range(3)], if_exists="return"
        )
        assert [it._reader for it in (one, *batch.created)] == [of_text] * 4


async def calls(step, code):
    return await step.call(code, id="a")


async def awaits(step, code):
    return await (await step.create(code, id="a")).result()


async def awaits_late(step, code):
    child = (await step.create_batch(code, [NewInstance(id="a")]))[0]
    await step.wait_for_event("late")
    return await child.result()


def parent_of(operation, code):
    async def parent(step) -> str:
        output = await operation(step, code)
        await step.wait_for_event("end")
        return f"{type(output).__name__} {output.amount}"

    return workflow(parent)


@pytest.mark.parametrize("operation", [calls, awaits, awaits_late])
@pytest.mark.parametrize("moment", ["before", "after", "blocked"])
@pytest.mark.parametrize("named", [in_euros, "price"])
async def test_d7_a_parent_reads_an_output_as_the_version_that_ran(
    tmp_path, operation, moment, named
):
    """Wherever the child ended: under its own code, under that of today, or while its parent could
    not be told."""
    options: Any = {"store": tmp_path / "s.db", "autojump": False}
    before = parent_of(operation, in_cents)
    async with open_test_engine(workflows=[in_cents, before], **options) as engine:
        await engine.create(before, id="p")
        await engine.clock.settled()
        if moment == "before":
            await (await engine.get(in_cents, "a")).send_event("go")
            await engine.clock.settled()
    if moment == "blocked":
        async with open_test_engine(workflows=[in_cents], **options) as engine:
            await (await engine.get(in_cents, "a")).send_event("go")
            assert await (await engine.get(in_cents, "a")).result() == Cents(500)
    parent = parent_of(operation, named)
    async with open_test_engine(workflows=[in_cents, in_euros, parent], **options) as engine:
        instance = await engine.get(parent, "p")
        if moment == "after":
            await (await engine.get(in_cents, "a")).send_event("go")
        for type in ("late", "end"):
            await instance.send_event(type)
            await engine.clock.settled()
            await engine.crash()
        assert await instance.result() == "Cents 500"


@pytest.mark.parametrize("operation", [calls, awaits])
async def test_d7_a_parent_waits_blocked_for_the_code_of_the_version_that_ran(tmp_path, operation):
    options: Any = {"store": tmp_path / "s.db", "autojump": False}
    parent = parent_of(operation, "price")
    async with open_test_engine(workflows=[in_cents, parent], **options) as engine:
        await engine.create(parent, id="p")
        await engine.clock.settled()
        await (await engine.get(in_cents, "a")).send_event("go")
        await engine.clock.settled()
    async with open_test_engine(workflows=[in_euros, parent], **options) as engine:
        instance = await engine.get(parent, "p")
        await instance.send_event("end")
        await engine.clock.settled()
        status = await instance.status()
        assert status.status == "blocked"
        assert 'version "1" of workflow "price" is not registered' in str(status.error)
    async with open_test_engine(workflows=[in_cents, in_euros, parent], **options) as engine:
        instance = await engine.get(parent, "p")
        await instance.resume()
        assert await instance.result() == "Cents 500"
