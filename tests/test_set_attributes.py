"""`step.set_attributes`: a body changes what its instance is listed by, once, and sees on every
replay what it saw the first time."""

from typing import Any

import pytest

from stepwell import InvalidConfig, workflow
from stepwell.testing import open_test_engine

seen: list[Any] = []


@pytest.fixture(autouse=True)
def _nothing_seen():
    seen.clear()


def flow(runtime: str = "trio"):
    @workflow(name="flow", runtime=runtime)
    async def flow(step) -> dict[str, Any]:
        told = [dict(step.instance.attributes)]
        await step.set_attributes({"stage": "paid", "n": 1})
        told.append(dict(step.instance.attributes))
        await step.wait_for_event("go")
        told.append(dict(step.instance.attributes))
        await step.set_attributes({"n": None, "vip": True})
        told.append(dict(step.instance.attributes))
        seen.append(told)
        await step.wait_for_event("end")
        return step.instance.attributes

    return flow


TOLD = [
    {"tier": "gold"},
    {"tier": "gold", "stage": "paid", "n": 1},
    {"tier": "gold", "stage": "paid", "n": 1},
    {"tier": "gold", "stage": "paid", "vip": True},
]


async def found(engine, **attributes) -> list[str]:
    return [it.id for it in (await engine.list(attributes=attributes)).items]


@pytest.mark.parametrize("runtime", ["trio", "asyncio"])
async def test_d3_attributes_are_merged_found_and_the_same_on_replay(tmp_path, runtime):
    store = str(tmp_path / "a.db")
    async with open_test_engine(workflows=[flow(runtime)], store=store, autojump=False) as engine:
        instance = await engine.create("flow", id="f", attributes={"tier": "gold"})
        await instance.wait_for_status("waiting")
        assert await found(engine, stage="paid", n=1) == ["f"]
        await engine.crash()
        await instance.send_event("go")
        await engine.clock.settled()
        assert await found(engine, n=1) == []
        assert await found(engine, vip=True, tier="gold") == ["f"]
        (summary,) = (await engine.list()).items
        assert summary.attributes == TOLD[-1]
    async with open_test_engine(workflows=[flow(runtime)], store=store, autojump=False) as engine:
        instance = await engine.get("flow", "f")
        await instance.send_event("end")
        assert await instance.result() == TOLD[-1]
        lines = [it for it in await instance.history() if it.kind == "set_attributes"]
        assert [(it.name, it.count, it.status) for it in lines] == [
            ("attributes", 1, "done"),
            ("attributes", 2, "done"),
        ]
        assert lines[1].output == {"before": TOLD[2], "after": TOLD[3]}
    assert seen == [TOLD] * 2


async def test_branches_that_change_them_in_one_turn_all_have_their_way():
    @workflow
    async def flow(step) -> dict[str, Any]:
        async def branch(i: int) -> None:
            await step.set_attributes({f"a{i}": i})

        async with step.open_nursery() as nursery:
            for i in range(3):
                nursery.start_soon(branch, i)
        return step.instance.attributes

    async with open_test_engine(workflows=[flow]) as engine:
        assert await engine.call(flow, id="f") == {"a0": 0, "a1": 1, "a2": 2}
        (summary,) = (await engine.list()).items
        assert summary.attributes == {"a0": 0, "a1": 1, "a2": 2}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"": 1}, "attribute key"),
        ({"a": [1]}, "a"),
        (["a"], "give a dict"),
        ({str(i): i for i in range(33)}, "33 attributes are too many"),
        ({"a": "x" * 4_096}, "at most 4,096 together"),
    ],
)
async def test_q1_malformed_changes_are_refused_where_they_are_asked_for(changes, says):
    @workflow
    async def flow(step) -> str:
        try:
            await step.set_attributes(changes)
        except InvalidConfig as error:
            return str(error)
        return "let through"

    async with open_test_engine(workflows=[flow]) as engine:
        instance = await engine.create(flow, id="f")
        assert says in await instance.result()
        assert await instance.history() == []


async def test_q1_what_is_too_much_together_is_refused_for_good_and_changes_nothing():
    @workflow
    async def flow(step) -> str:
        await step.set_attributes({str(i): i for i in range(32)})
        try:
            await step.set_attributes({"one more": 1})
        except InvalidConfig as error:
            seen.append(str(error))
        await step.wait_for_event("go")
        await step.set_attributes({"0": None, "one more": 1})
        return seen[-1]

    async with open_test_engine(workflows=[flow], autojump=False) as engine:
        instance = await engine.create(flow, id="f")
        await instance.wait_for_status("waiting")
        assert await found(engine, **{"0": 0}) == ["f"]
        await engine.crash()
        await instance.send_event("go")
        assert await instance.result() == "33 attributes are too many: at most 32"
        assert len(seen) == 2
        assert await found(engine, **{"one more": 1}) == ["f"]
        status = [it.status for it in await instance.history() if it.kind == "set_attributes"]
        assert status == ["done", "refused", "done"]
