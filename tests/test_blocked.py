"""Code that no longer matches history blocks the instance with a diff; nothing runs, and it can go
on (rules I1, I5, I10)."""

import inspect

import pytest

from stepwell import Status, workflow
from stepwell.testing import open_test_engine

runs: list[str] = []
caught: list[BaseException] = []


@pytest.fixture(autouse=True)
def _no_runs():
    runs.clear()
    caught.clear()


async def charge() -> str:
    runs.append("charge")
    return "charged"


async def reserve() -> str:
    runs.append("reserve")
    return "reserved"


async def ship() -> str:
    runs.append("ship")
    return "shipped"


@workflow(name="order")
async def before(step):
    seen = [await step.do(charge)]
    await step.wait_for_event("go")
    return [*seen, await step.do(ship)]


@workflow(name="order")
async def replaced(step):
    seen = [await step.do(reserve)]
    await step.wait_for_event("go")
    return [*seen, await step.do(ship)]


@workflow(name="order")
async def ends_early(step):
    return ["nothing"]


@workflow(name="order")
async def fails_early(step):
    raise ValueError("before anything")


@workflow(name="order")
async def swallows(step):
    try:
        await step.do(reserve)
    except Exception as error:
        caught.append(error)
    await step.do(ship)
    return ["wrong"]


@workflow(name="order")
async def swapped(step):
    await step.wait_for_event("go")
    return [await step.do(charge), await step.do(ship)]


@workflow(name="order")
async def in_a_nursery(step):
    async with step.open_nursery() as nursery:
        nursery.start_soon(step.do, charge)
    return ["nursery"]


@workflow(name="order")
async def in_a_map(step):
    return await step.map(lambda _: runs.append("map"), [1], name="charge")


@workflow(name="order")
async def with_a_new_step_beside_it(step):
    async with step.open_nursery() as nursery:
        nursery.start_soon(step.do, reserve)
        seen = [await step.do(charge)]
        await step.wait_for_event("go")
    return [*seen, await step.do(ship)]


async def waiting_order(store: str) -> None:
    async with open_test_engine(workflows=[before], store=store, autojump=False) as engine:
        instance = await engine.create("order", id="o-17")
        await instance.wait_for_status("waiting")
    assert runs == ["charge"]


def line_of(code, text: str) -> str:
    lines, start = inspect.getsourcelines(code.fn)
    return f"test_blocked.py:{start + next(i for i, line in enumerate(lines) if text in line)}"


@pytest.mark.parametrize(
    ("code", "now", "where"),
    [
        (replaced, 'do "reserve" (1st)', "step.do(reserve)"),
        (swallows, 'do "reserve" (1st)', "step.do(reserve)"),
        (ends_early, "the body ends. Nothing was run", None),
        (fails_early, "the body ends. Nothing was run", None),
        (swapped, 'event "go" (1st)', 'wait_for_event("go")'),
        (in_a_nursery, 'do "charge" (1st)', None),
        (in_a_map, 'do "charge" (1st)', "step.map"),
    ],
    ids=lambda x: getattr(x, "__name__", None),
)
async def test_i5_changed_code_blocks_with_a_diff_before_anything_runs(tmp_path, code, now, where):
    store = str(tmp_path / "s.db")
    await waiting_order(store)
    async with open_test_engine(workflows=[code], store=store, autojump=False) as engine:
        instance = await engine.get("order", "o-17")
        recorded = [r for r in await instance.history() if r.status != "waiting"]
        await instance.send_event("go")
        await instance.wait_for_status("blocked")
        status, why = await instance.status(), await instance.explain()
        after = [r for r in await instance.history() if r.status != "waiting" and r.kind != "event"]
    assert runs == ["charge"]
    assert caught == []
    assert after == recorded
    assert status.error.type == "stepwell.Nondeterminism"
    assert why.code == "nondeterminism"
    for text in (status.error.message, str(why)):
        for part in (
            "order/o-17",
            'recorded do "charge" (1st)',
            f"now {now}",
            "Nothing was run",
            "resume()",
        ):
            assert part in text
        if where is not None:
            assert line_of(code, where) in text
        assert "stepwell doctor" not in text


async def test_i5_after_the_fix_resume_replays_and_goes_on(tmp_path):
    store = str(tmp_path / "s.db")
    await waiting_order(store)
    for _ in range(2):
        async with open_test_engine(workflows=[replaced], store=store, autojump=False) as engine:
            instance = await engine.get("order", "o-17")
            if (await instance.status()).status is not Status.BLOCKED:
                await instance.send_event("go")
            await instance.wait_for_status("blocked")
            await instance.resume()
            await instance.wait_for_status("blocked")
    assert runs == ["charge"]
    async with open_test_engine(workflows=[before], store=store, autojump=False) as engine:
        instance = await engine.get("order", "o-17")
        assert (await instance.status()).status is Status.BLOCKED
        await instance.resume()
        assert await instance.result() == ["charged", "shipped"]
    assert runs == ["charge", "ship"]


async def test_i1_a_new_step_beside_a_recorded_one_does_not_rename_it(tmp_path):
    store = str(tmp_path / "s.db")
    await waiting_order(store)
    async with open_test_engine(
        workflows=[with_a_new_step_beside_it], store=store, autojump=False
    ) as engine:
        instance = await engine.get("order", "o-17")
        await instance.send_event("go")
        assert await instance.result() == ["charged", "shipped"]
        assert sorted(runs) == ["charge", "reserve", "ship"]


@workflow(name="keyed")
async def keyed_in_one_order(step):
    seen = [await step.do(charge, key="a"), await step.do(reserve, key="b")]
    await step.wait_for_event("go")
    return seen


@workflow(name="keyed")
async def keyed_in_branches(step):
    async with step.open_nursery() as nursery:
        second = nursery.start_soon(keyed, step, reserve, "b")
        first = nursery.start_soon(keyed, step, charge, "a")
    await step.wait_for_event("go")
    return [first.value, second.value]


async def keyed(step, fn, key: str):
    return await step.do(fn, key=key)


async def test_i1_a_key_names_a_step_in_whatever_branch_or_order_it_starts(tmp_path):
    store = str(tmp_path / "s.db")
    async with open_test_engine(
        workflows=[keyed_in_one_order], store=store, autojump=False
    ) as engine:
        await (await engine.create("keyed", id="k")).wait_for_status("waiting")
    async with open_test_engine(
        workflows=[keyed_in_branches], store=store, autojump=False
    ) as engine:
        instance = await engine.get("keyed", "k")
        await instance.send_event("go")
        assert await instance.result() == ["charged", "reserved"]
    assert runs == ["charge", "reserve"]


async def test_i2_each_and_map_name_their_branches_by_index_or_key():
    @workflow(name="named")
    async def named(step):
        await step.map(ship_one, ["x", "y"])
        await step.map(ship_one, ["x", "y"], key=lambda item: f"k-{item}", name="keyed")

        async def one(item: str):
            await step.do(charge)

        await step.each(one, ["x"])
        await step.each(one, ["x"], key=str)
        async with step.open_nursery("outer") as outer:
            outer.start_soon(nested, step)

    async with open_test_engine(workflows=[named]) as engine:
        instance = await engine.create(named)
        await instance.result()
        assert {(r.branch, r.name, r.key, r.count) for r in await instance.history()} == {
            ("ship_one#1[0]", "ship_one", None, 1),
            ("ship_one#1[1]", "ship_one", None, 1),
            ("", "keyed", "k-x", 1),
            ("", "keyed", "k-y", 1),
            ("one#1[0]", "charge", None, 1),
            ("one#2[x]", "charge", None, 1),
            ("outer#1[0]/nursery#1[0]", "charge", None, 1),
        }


async def ship_one(item: str) -> str:
    return item


async def nested(step):
    async with step.open_nursery() as nursery:
        nursery.start_soon(step.do, charge)
