"""A body or a step that computes or blocks on a loop is told of, with instance, file and line."""

import asyncio
import logging
import signal
import sys
import threading
import time
import weakref

import pytest
import trio

from stepwell import Engine, aio, step_options, workflow
from stepwell._body.runner import Runner
from stepwell._engine import watchdog

spoken = threading.Event()


@pytest.fixture(autouse=True)
def quick(monkeypatch, caplog):
    """The watchdog looks often, and is heard in its own thread, while the loop is held."""
    monkeypatch.setattr(watchdog, "LOOK_EVERY", 0.002)
    monkeypatch.setattr(watchdog, "HOLD_MAX", 0.02)
    spoken.clear()

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "holds the loop" in record.getMessage():
                spoken.set()

    ear = Ear()
    logging.getLogger("stepwell").addHandler(ear)
    yield
    logging.getLogger("stepwell").removeHandler(ear)


def computes() -> None:
    until = time.monotonic() + 30
    while not spoken.is_set():
        assert time.monotonic() < until, "the watchdog never spoke"


async def holds() -> None:
    computes()


@step_options(runtime="asyncio")
async def holds_asyncio() -> None:
    computes()


async def holds_after_a_wait() -> None:
    await trio.lowlevel.checkpoint()
    computes()


async def holds_an_item(_: int) -> None:
    computes()


@workflow
async def body_computes(step):
    computes()
    await step.wait_for_event("go")


@workflow(runtime="asyncio")
async def asyncio_body_computes(step):
    await step.do(str, name="first")
    computes()
    await step.wait_for_event("go")


@workflow
async def body_sleeps(step):
    spoken.wait(30)
    await step.wait_for_event("go")


@workflow
async def step_computes(step):
    await step.do(holds)
    await step.wait_for_event("go")


@workflow
async def step_computes_later(step):
    await step.do(holds_after_a_wait)
    await step.wait_for_event("go")


@workflow
async def item_computes(step):
    await step.map(holds_an_item, [1])
    await step.wait_for_event("go")


@workflow
async def asyncio_step_computes(step):
    await step.do(holds_asyncio)
    await step.wait_for_event("go")


def spins() -> None:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        pass


@workflow
async def body_spins(step):
    try:
        spins()
    finally:
        await step.do(str, name="cleanup")


@workflow(runtime="asyncio")
async def asyncio_body_spins(step):
    spins()


KINDS = [
    (body_computes, "body", "trio"),
    (body_sleeps, "body", "trio"),
    (asyncio_body_computes, "body", "trio"),
    (step_computes, 'step "holds"', "trio"),
    (step_computes_later, 'step "holds_after_a_wait"', "trio"),
    (item_computes, 'step "holds_an_item"', "trio"),
    (asyncio_step_computes, 'step "holds_asyncio"', "asyncio"),
]


def told(caplog) -> str:
    return next(it.getMessage() for it in caplog.records if "holds the loop" in it.getMessage())


@pytest.mark.parametrize(("code", "what", "loop"), KINDS, ids=[it[0].name for it in KINDS])
async def test_who_holds_a_loop_is_named_with_file_and_line(code, what, loop, caplog):
    async with Engine(":memory:", workflows=[code]) as engine:
        instance = await engine.create(code, id="i")
        await instance.wait_for_status("waiting")
        watchdog = engine._driver.watchdog
        while not watchdog.longest:  # the end of it is seen at the next look
            await trio.sleep(0.001)
        text = str(await instance.explain())
        assert engine.statistics().extra["loop_holds"] == 1
        assert engine.statistics().extra["longest_hold_ms"] >= 20
    assert (f"{code.name}/i holds the loop of {loop}: its {what} at test_watchdog.py:") in told(
        caplog
    )
    assert f"Its {what} at test_watchdog.py:" in text
    assert f"held the loop of {loop} for" in text
    assert "step.do(fn)" in text


async def _in_asyncio() -> str:
    async with aio.Engine(":memory:", workflows=[asyncio_step_computes]) as engine:
        instance = await engine.create(asyncio_step_computes, id="i")
        await instance.wait_for_status("waiting")
        return str(await instance.explain())


def test_the_callers_own_asyncio_loop_is_watched_too(caplog):
    asyncio.run(_in_asyncio())
    assert ('holds the loop of asyncio: its step "holds_asyncio" at test_watchdog.py:') in told(
        caplog
    )


async def yields(looks) -> None:
    began = looks()
    while looks() < began + 40:
        await trio.lowlevel.checkpoint()


async def test_who_computes_in_parts_is_not_told_of(caplog):
    @workflow
    async def one(step):
        await step.do(yields, lambda: engine._driver.watchdog.looks)

    async with Engine(":memory:", workflows=[one]) as engine:
        await engine.call(one)
        assert engine.statistics().extra["loop_holds"] == 0


async def test_a_plain_step_may_compute_for_as_long_as_it_likes(caplog):
    def plain() -> None:
        began = engine._driver.watchdog.looks
        while engine._driver.watchdog.looks < began + 40:
            pass

    @workflow
    async def one(step):
        await step.do(plain)

    async with Engine(":memory:", workflows=[one]) as engine:
        await engine.call(one)
        assert engine.statistics().extra["loop_holds"] == 0


@pytest.mark.usefixtures("hears_ctrl_c")
@pytest.mark.parametrize("code", [body_spins, asyncio_body_spins], ids=["trio", "asyncio"])
def test_r7_ctrl_c_ends_a_body_that_holds_the_loop(code, caplog, tmp_path):
    """It strikes the body, and nothing that this does about it is recorded."""

    class Presses(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "holds the loop" in record.getMessage():
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    @workflow(name=code.name)
    async def goes_on(step):
        return await step.do(len, "abc", name="other")

    async def main() -> None:
        async with Engine(str(tmp_path / "s.db"), workflows=[code]) as engine:
            await (await engine.create(code, id="i")).result()

    async def after() -> object:
        async with Engine(str(tmp_path / "s.db"), workflows=[goes_on]) as engine:
            return await (await engine.get(code.name, "i")).result()

    presses = Presses()
    logging.getLogger("stepwell").addHandler(presses)
    try:
        with pytest.raises(KeyboardInterrupt):
            trio.run(main)
    finally:
        logging.getLogger("stepwell").removeHandler(presses)
    assert [
        it.getMessage() for it in caplog.records if "holds the loop" not in it.getMessage()
    ] == []
    assert trio.run(after) == 3


async def test_r7_a_loop_that_answers_while_its_shield_is_being_lifted_has_it_again(monkeypatch):
    lifting, answered = threading.Event(), threading.Event()
    lifted: list[bool] = []
    answer = watchdog._Watched._answer

    def lifts() -> None:
        answered.clear()
        lifting.set()
        assert answered.wait(30)
        lifted.append(True)

    def answers(watched: watchdog._Watched) -> None:
        answer(watched)
        answered.set()

    monkeypatch.setattr(watchdog, "expose_code", lifts)
    monkeypatch.setattr(watchdog, "shield_code", lifted.clear)
    monkeypatch.setattr(watchdog._Watched, "_answer", answers)

    async def holds_until_it_is_lifted() -> None:
        assert lifting.wait(30)

    @workflow
    async def one(step):
        await step.do(holds_until_it_is_lifted)

    async with Engine(":memory:", workflows=[one]) as engine:
        await engine.call(one)
        while not engine._driver.watchdog.longest:
            await trio.sleep(0.001)
        assert not lifted


def test_a_body_that_a_frame_knows_weakly_is_not_taken_for_whose_code_it_is():
    def frame_of(life: object) -> object:
        return sys._getframe()

    body = Runner.__new__(Runner)
    assert watchdog._doer(frame_of(body)) is body
    assert watchdog._doer(frame_of(weakref.proxy(body))) is None
    assert watchdog._doer(frame_of(weakref.proxy(Runner.__new__(Runner)))) is None  # it is gone
