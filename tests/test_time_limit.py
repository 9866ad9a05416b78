"""`@workflow(timeout=)`: an instance has so long, over crashes, parks and pauses (T4)."""

import pytest
import trio

from stepwell import InstanceErrored, InstanceTimeout, InvalidConfig, Status, workflow
from stepwell.testing import open_test_engine

ran: list[str] = []


@pytest.fixture(autouse=True)
def _nothing_ran():
    ran.clear()


def flow(timeout="1 hour", runtime="trio"):
    @workflow(name="flow", runtime=runtime, timeout=timeout)
    async def flow(step) -> str:
        try:
            await step.wait_for_event("go")
        finally:
            ran.append("left")
        return "done"

    return flow


async def told(instance) -> str:
    with pytest.raises(InstanceErrored) as caught:
        await instance.result()
    assert caught.value.error is not None
    assert caught.value.error.type == "stepwell.InstanceTimeout"
    return caught.value.error.message


@pytest.mark.parametrize("runtime", ["trio", "asyncio"])
async def test_t4_an_instance_that_takes_too_long_is_errored_over_a_crash(runtime):
    async with open_test_engine(workflows=[flow(runtime=runtime)], autojump=False) as engine:
        instance = await engine.create("flow", id="f")
        await instance.wait_for_status("waiting")
        await engine.clock.advance("40 min")
        await engine.crash()
        await engine.clock.advance("19 min")
        assert (await instance.status()).status is Status.WAITING
        await engine.clock.advance("1 min")
        assert await told(instance) == "flow/f took longer than 1 hour, the timeout it has"
    assert ran[-1] == "left"


async def test_t4_one_that_is_done_in_time_is_complete_and_its_deadline_does_nothing():
    async with open_test_engine(workflows=[flow()], autojump=False) as engine:
        instance = await engine.create("flow", id="f")
        await instance.wait_for_status("waiting")
        await instance.send_event("go")
        assert await instance.result() == "done"
        await engine.clock.advance("2 hours")
        assert (await instance.status()).status is Status.COMPLETE


async def test_l4_a_pause_does_not_count():
    async with open_test_engine(workflows=[flow()], autojump=False) as engine:
        instance = await engine.create("flow", id="f")
        await instance.wait_for_status("waiting")
        await instance.pause()
        await engine.clock.advance("5 hours")
        await instance.resume()
        await engine.clock.advance("59 min")
        assert (await instance.status()).status is Status.WAITING
        await engine.clock.advance("1 min")
        await told(instance)


async def test_i8_a_step_under_way_ends_before_the_instance_does():
    @workflow(timeout="1 min")
    async def flow(step) -> None:
        await step.do(work)

    started = trio.Event()

    async def work() -> None:
        started.set()
        try:
            await trio.sleep_forever()
        finally:
            ran.append("ended")

    async with open_test_engine(workflows=[flow], autojump=False) as engine:
        instance = await engine.create(flow, id="f")
        await started.wait()
        core = engine._driver.core  # `clock.advance` waits for running attempts
        core.advance(core.now() + 60_000_000)
        await told(instance)
        assert ran == ["ended"]
        assert [(it.kind, it.status) for it in await instance.history()] == [
            ("deadline", "done"),
            ("do", "abandoned"),
        ]


async def test_one_whose_code_has_no_timeout_any_more_has_none(tmp_path):
    store = str(tmp_path / "a.db")
    async with open_test_engine(workflows=[flow()], store=store, autojump=False) as engine:
        await (await engine.create("flow", id="f")).wait_for_status("waiting")
    async with open_test_engine(workflows=[flow(None)], store=store, autojump=False) as engine:
        instance = await engine.get("flow", "f")
        await instance.send_event("other")
        await engine.crash()
        await engine.clock.advance("2 hours")
        await instance.wait_for_status("waiting")
        await instance.send_event("go")
        assert await instance.result() == "done"


async def test_one_whose_code_has_a_timeout_by_now_has_that_from_then_on(tmp_path):
    store = str(tmp_path / "a.db")
    async with open_test_engine(workflows=[flow(None)], store=store, autojump=False) as engine:
        await (await engine.create("flow", id="f")).wait_for_status("waiting")
        await engine.clock.advance("3 hours")
    async with open_test_engine(workflows=[flow()], store=store, autojump=False) as engine:
        instance = await engine.get("flow", "f")
        await instance.pause()
        await instance.resume()
        await instance.wait_for_status("waiting")
        await engine.clock.advance("1 hour")
        await told(instance)


@pytest.mark.parametrize("timeout", ["soon", -1, "400 days", object()])
def test_a_malformed_timeout_is_refused(timeout):
    with pytest.raises(InvalidConfig, match="timeout"):
        flow(timeout)


def test_the_error_is_a_timeout_error():
    assert issubclass(InstanceTimeout, TimeoutError)
