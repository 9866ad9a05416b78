"""A handle reads what is stored with the code of the version that the instance has, whichever the
caller passed (rules L1, D7)."""

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
