"""What an instance is exported as, and which code its history fits, without running anything."""

import json

import pytest

from stepwell import (
    InstanceErrored,
    InstanceNotFound,
    InstanceTerminated,
    InvalidConfig,
    Nondeterminism,
    Retry,
    Undo,
    workflow,
)
from stepwell.testing import check_replay, open_test_engine

ran: list[str] = []


async def charge(amount: int) -> int:
    ran.append("charge")
    return amount


async def ship() -> str:
    ran.append("ship")
    return "shipped"


async def fails() -> None:
    raise ValueError("broken")


@workflow(name="order")
async def order(step, amount: int):
    paid = await step.do(charge, amount)
    await step.wait_for_event("go")
    async with step.open_nursery() as nursery:
        nursery.start_soon(step.do, ship)
        nursery.start_soon(step.sleep, "1 hour")
    return paid


@workflow(name="order")
async def renamed(step, amount: int):
    await step.do(charge, amount, name="reserve")
    await step.wait_for_event("go")


@workflow(name="order")
async def waits_no_more(step, amount: int):
    return await step.do(charge, amount)


@workflow(name="order")
async def goes_on(step, amount: int):
    paid = await order.fn(step, amount)
    await step.do(ship, name="again")
    return paid


@workflow(name="order")
async def raises(step, amount: int):
    await order.fn(step, amount)
    raise LookupError("new bug")


@workflow(name="order", version="2")
async def patched(step, amount: int):
    if await step.patched("reserve first"):
        await step.do(charge, 0, name="reserve")
    return await order.fn(step, amount)


@workflow(name="order", runtime="asyncio")
async def on_asyncio(step, amount: int):
    paid = await step.do(charge, amount)
    await step.wait_for_event("go")
    await step.do(ship)
    return paid


@workflow
async def retries(step):
    await step.do(fails)


@pytest.fixture(params=[":memory:", "s.db"])
def store(request, tmp_path):
    ran.clear()
    return request.param if request.param == ":memory:" else str(tmp_path / request.param)


async def exported(store, code, *, goes_on: bool):
    """Returns the exports of an instance that waits for its event, or that has ended."""
    async with open_test_engine(workflows=[code], store=store) as engine:
        instance = await engine.create(code, 7, id="o-1")
        await instance.wait_for_status("waiting")
        if goes_on:
            await instance.send_event("go")
            await instance.result()
        found = await instance.export()
    ran.clear()
    return json.loads(json.dumps(found))


@pytest.mark.parametrize("ended", [False, True])
@pytest.mark.parametrize("code", [order, on_asyncio])
async def test_the_code_that_made_a_history_fits_it_and_nothing_runs(store, code, ended):
    history = await exported(store, code, goes_on=ended)
    await check_replay(code, [history, history])
    assert ran == []


async def test_an_export_says_what_there_is_in_plain_data(store):
    history = await exported(store, order, goes_on=False)
    assert (history["workflow"], history["id"], history["status"]) == ("order", "o-1", "waiting")
    assert [it["name"] for it in history["history"]] == ["charge"]
    assert [it["operation"][2] for it in history["waits"]] == ["go"]


@pytest.mark.parametrize(
    ("code", "ended", "text"),
    [
        (renamed, False, 'order/o-1 differs from its history: recorded do "charge" (1st), now do '
                         '"reserve" (1st) at'),
        (renamed, True, 'recorded do "charge" (1st), now do "reserve" (1st) at'),
        (waits_no_more, False, "which is open, and not asked for, now the body ends"),
        (waits_no_more, True, 'recorded event "go" (1st), now the body ends'),
        (goes_on, True, "it was complete at the end of that, and goes on now"),
        (raises, True, "it was complete at the end of that, and is errored now"),
    ],
)  # fmt: skip
async def test_i5_code_that_does_not_fit_is_found_in_the_words_of_the_engine(
    store, code, ended, text
):
    history = await exported(store, order, goes_on=ended)
    with pytest.raises(Nondeterminism) as found:
        await check_replay(code, [history])
    assert str(found.value).startswith("1 of 1 histories differ:\norder/o-1 differs from its")
    assert text in str(found.value)
    assert ran == []


async def test_what_is_guarded_or_only_new_fits(store):
    waiting = await exported(store, order, goes_on=False)
    for code in (patched, goes_on, raises):
        await check_replay(code, [waiting])
    assert ran == []


async def test_a_step_that_is_tried_again_is_no_difference_and_is_not_tried():
    async with open_test_engine(workflows=[retries], autojump=False) as engine:
        instance = await engine.create(retries, id="r")
        await instance.wait_for_status("waiting")
        history = await instance.export()
    await check_replay(retries, [history])


async def test_one_that_failed_fails_again():
    async with open_test_engine(workflows=[retries]) as engine:
        instance = await engine.create(retries, id="r")
        await instance.wait_for_status("errored")
        history = await instance.export()
    await check_replay(retries, [history])


async def test_an_engine_that_is_open_is_left_alone():
    async with open_test_engine(workflows=[order], autojump=False) as engine:
        instance = await engine.create(order, 7, id="o-1")
        await instance.wait_for_status("waiting")
        await check_replay(order, [await instance.export()])
        assert (await instance.status()).status == "waiting"
        await instance.delete()
        with pytest.raises(InstanceNotFound, match='no instance "o-1" of "order"'):
            await instance.export()


@pytest.mark.parametrize(
    ("nonsense", "text"),
    [
        ({}, "histories[0] is no export of an instance (KeyError: 'stepwell_export')"),
        (None, "histories[0] is no export of an instance (TypeError"),
        ({"stepwell_export": 9}, "it is of version 9, not 1"),
    ],
)
async def test_what_is_no_export_is_refused_by_name(nonsense, text):
    with pytest.raises(InvalidConfig) as refused:
        await check_replay(order, [nonsense])
    assert text in str(refused.value)


async def test_a_body_is_replayed_with_the_params_that_it_had(store):
    @workflow
    async def branches(step, params: int) -> int:
        if params > 3:
            await step.sleep("1 second")
        return params + 1

    async with open_test_engine([branches], store=store) as engine:
        instance = await engine.create(branches, 5)
        assert await instance.result() == 6
        history = json.loads(json.dumps(await instance.export()))
    assert [history["params"], history["output"]] == ["BQ==", "Bg=="]
    await check_replay(branches, [history])


async def test_code_and_history_have_to_belong_together(store):
    history = await exported(store, order, goes_on=False)
    with pytest.raises(InvalidConfig, match="histories\\[0\\] is of workflow 'order', not of 'ret"):
        await check_replay(retries, [history])
    with pytest.raises(InvalidConfig, match="give the function that @workflow decorates"):
        await check_replay("order", [history])


@workflow
async def as_often(step, count: int):
    for _ in range(count):
        await step.do(charge, count)
    return count


async def test_what_is_exported_has_what_the_instance_began_with_and_returned():
    async with open_test_engine(workflows=[as_often]) as engine:
        instance = await engine.create(as_often, 3, id="a", attributes={"shop": "one"})
        await instance.result()
        exported = await instance.export()
        await instance.delete()
        with pytest.raises(InstanceNotFound):
            await instance.export()
    assert (exported["params"], exported["output"]) == ("Aw==", "Aw==")
    assert exported["attributes"] is not None
    await check_replay(as_often, [exported])
    with pytest.raises(Nondeterminism):
        await check_replay(as_often, [exported | {"params": "Ag=="}])


async def undone(ctx) -> None:
    if ctx.step.name == "stays":
        raise OSError("cannot be undone")


@workflow
async def undoes(step, how: str):
    await step.do(charge, 1, undo=undone)
    await step.map(charge, [1, 2], undo=undone, name="each")
    try:
        if how == "an undo that fails":
            await step.do(charge, 2, undo=Undo(undone, retry=Retry.never), name="stays")
        if how == "terminated":
            await step.wait_for_event("go")
        if how == "an event too late":
            await step.wait_for_event("go", timeout="1 hour")
        raise LookupError("undo all")
    finally:
        await step.do(ship)


@workflow(name="undoes")
async def charges_less(step, how: str):
    await step.do(charge, 1, undo=undone)
    await step.sleep(1)


@pytest.mark.parametrize("how", ["raised", "an undo that fails", "terminated", "an event too late"])
async def test_one_that_undid_its_steps_is_judged_by_what_its_body_did(how):
    async with open_test_engine(workflows=[undoes]) as engine:
        instance = await engine.create(undoes, how)
        if how == "terminated":
            await instance.wait_for_status("waiting")
            await instance.terminate(undo=True)
        with pytest.raises((InstanceErrored, InstanceTerminated)):
            await instance.result()
        assert (await instance.status()).undo is not None
        history = await instance.export()
    await check_replay(undoes, [history])
    with pytest.raises(Nondeterminism, match="differs from its history: recorded do"):
        await check_replay(charges_less, [history])
