"""What handles and engines are as Python objects, and what an engine says where it cannot be
opened."""

import copy
import pickle
import sys
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
import trio

from stepwell import Engine, InvalidConfig, InvalidState, Step, aio, sync, workflow
from stepwell.testing import open_test_engine


@workflow
async def waits(step: Step) -> str:
    return (await step.wait_for_event("go")).type


@workflow
async def ages(step: Step) -> None:
    while True:
        await step.sleep("365 days")
        step.now()


async def test_two_handles_on_one_instance_are_equal_and_those_on_two_are_not():
    async with (
        Engine(":memory:", workflows=[waits]) as engine,
        Engine(":memory:", workflows=[waits]) as other,
    ):
        made, got = await engine.create(waits, id="x"), await engine.get(waits, "x")
        assert made == got
        assert {made: 1}[got] == 1
        assert made == await engine.namespace("default").get("waits", "x")
        for another in (
            await engine.create(waits, id="y"),
            await engine.namespace("acme").create(waits, id="x"),
            await other.create(waits, id="x"),
            "waits/x",
        ):
            assert made != another


def test_handles_of_fronts_are_equal_too():
    with sync.Engine(":memory:", workflows=[waits]) as engine:
        made, got = engine.create(waits, id="x"), engine.get(waits, "x")
        assert made == got
        assert len({made, got, engine.create(waits, id="y")}) == 2
        assert copy.copy(made) is made
        assert copy.deepcopy([made])[0] is made


async def test_a_handle_that_is_pickled_says_what_to_pass_instead():
    async with Engine(":memory:", workflows=[waits]) as engine:
        instance = await engine.create(waits, id="x")
        assert copy.deepcopy({"of": instance}) == {"of": instance}
        with pytest.raises(
            TypeError,
            match=r"cannot be pickled\. Pass 'waits' and 'x' along, and ask `engine.get` there",
        ):
            pickle.dumps(instance)
        for other in (engine, engine.namespace("acme"), engine.approvals):
            with pytest.raises(TypeError, match="belongs to its process, which owns the store"):
                pickle.dumps(other)


def test_an_engine_for_asyncio_on_trio_names_the_right_one():
    async def main() -> None:
        async with aio.Engine(":memory:"):
            """Never reached."""

    with pytest.raises(
        InvalidState, match=r"no asyncio loop runs here; in a trio program use stepwell\.Engine"
    ):
        trio.run(main)


@pytest.mark.parametrize(("module", "asks", "name"), [
    ("gevent.monkey", "is_module_patched", "gevent"),
    ("eventlet.patcher", "is_monkey_patched", "eventlet"),
])  # fmt: skip
def test_an_engine_is_not_opened_on_threads_that_another_library_has_replaced(
    monkeypatch, module, asks, name
):
    patched = {"socket"}
    monkeypatch.setitem(sys.modules, module, SimpleNamespace(**{asks: patched.__contains__}))

    async def on_trio() -> None:
        async with Engine(":memory:"):
            """Never reached but for a process that only uses the library."""

    with pytest.raises(InvalidState, match=f"{name} has patched Python's threads"):
        trio.run(on_trio)
    with pytest.raises(InvalidState, match=f"{name} has patched Python's threads"):
        sync.Engine(":memory:").__enter__()
    patched.clear()
    trio.run(on_trio)


async def test_t3_virtual_time_ends_with_the_year_9999_and_says_so():
    late = round(datetime(9998, 1, 1, tzinfo=UTC).timestamp() * 1e6)
    told = "virtual time jumped from timer to timer up to the year 9999"
    with pytest.raises(InvalidState, match=told):  # noqa: PT012
        async with open_test_engine(workflows=[ages], autojump=False) as engine:
            instance = await engine.create(ages)
            await engine.clock.settled()
            engine._driver.core.advance(late)
            await engine.clock.settled()
            engine._life.nursery.start_soon(engine.clock.autojump)
            await instance.result()
    async with open_test_engine(workflows=[ages], autojump=False) as engine:
        instance = await engine.create(ages)
        await engine.clock.settled()
        engine._driver.core.advance(late)
        await engine.clock.advance("365 days")
        with pytest.raises(InvalidConfig, match="leads past the year 9999"):
            await engine.clock.advance("365 days")
        # further than there are dates
        assert "until 9999-12-31 23:59:59" in str(await instance.explain())
