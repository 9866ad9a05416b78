"""What has left memory costs no Python object (P2), and not only once the cyclic collector has
come."""

import contextlib
import gc

import pytest
import trio
from opentelemetry.sdk.trace import TracerProvider

from stepwell import Engine, Step, workflow
from stepwell._body.life import Operation
from stepwell._body.runner import Runner
from stepwell.otel import Telemetry

KINDS = (Runner, Operation, Step, trio.lowlevel.Task)


async def one() -> int:
    return 1


async def fails() -> None:
    raise ValueError("as asked")


@workflow
async def waits(step: Step) -> str:
    return (await step.wait_for_event("go")).type


@workflow
async def steps(step: Step) -> None:
    for _ in range(3):
        await step.do(one)
    with contextlib.suppress(ValueError):
        await step.do(fails, retry={"limit": 0})


@workflow
async def branches(step: Step) -> None:
    async with step.open_nursery() as nursery:
        nursery.start_soon(step.do, one)
        nursery.start_soon(step.do, one)
    await step.map(lambda item: item, [1, 2], name="items")
    with step.move_on_after("1 hour"):
        await step.sleep("1 millisecond")


def _there() -> int:
    return sum(issubclass(type(thing), KINDS) for thing in gc.get_objects())


@contextlib.contextmanager
def without_collector():
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def _settled(count: int) -> None:
    """Lets tasks that are about to end do so."""
    for _ in range(1000):
        if _there() <= count:
            return
        await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("code", [steps, branches], ids=lambda code: code.name)
async def test_p2_a_body_that_has_ended_is_freed_at_once(code):
    async with Engine(":memory:", workflows=[code]) as engine:
        await engine.call(code)
        with without_collector():
            before = _there()
            for _ in range(10):
                await engine.call(code)
            await _settled(before)
            assert _there() <= before


async def test_p2_a_parked_body_is_freed_at_once():
    async with Engine(":memory:", workflows=[waits]) as engine:
        with without_collector():
            before = _there()
            created = [await engine.create(waits) for _ in range(10)]
            for instance in created:
                await instance.wait_for_status("waiting")
            for runner in list(engine._driver.runners.values()):
                runner.rest._park()
                del runner
            while engine.statistics().resident:
                await trio.lowlevel.checkpoint()
            await _settled(before)
            assert _there() <= before
            for instance in created:
                await instance.send_event("go")
            assert [await instance.result() for instance in created] == ["go"] * 10


@pytest.mark.parametrize("steps_from", [0, "1 hour"])
@pytest.mark.parametrize("code", [steps, branches], ids=lambda code: code.name)
async def test_p2_nor_does_who_is_told_of_a_body_keep_any_of_it(code, steps_from):
    telemetry = Telemetry(tracer_provider=TracerProvider(), steps_from=steps_from)
    async with Engine(":memory:", workflows=[code], telemetry=telemetry) as engine:
        await engine.call(code)
        with without_collector():
            before = _there()
            for _ in range(10):
                await engine.call(code)
            await _settled(before)
            assert _there() <= before
