"""A store in use is waited for as long as somebody says, and no cancellation leaves it open."""

import asyncio
import functools
import os
import re
import signal
import subprocess
import sys

import pytest
import trio
import trio.testing

from stepwell import Engine, InvalidConfig, StoreLocked, aio, sync, workflow
from stepwell._engine import locked


def virtual(test):
    """Runs a test on a clock that jumps."""

    @functools.wraps(test)
    def on_that(**given):
        clock = trio.testing.MockClock(autojump_threshold=0)
        trio.run(functools.partial(test, **given), clock=clock)

    return on_that


@workflow
async def echo(step, params):
    return params


HOLDER = """
import sys, trio
from stepwell import Engine
async def main():
    async with Engine(sys.argv[1], name="other"):
        print("open", flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)
trio.run(main)
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "s.db"


@pytest.fixture
def holder(path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"open\n"
    yield process
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()


class Owned:
    """A store that is another's for so many looks."""

    def __init__(self, looks: float) -> None:
        self.looks, self.times = looks, []

    async def opens(self) -> str:
        self.times.append(trio.current_time())
        if len(self.times) <= self.looks:
            raise StoreLocked("s.db is in use by process 7.")
        return "open"


@virtual
async def test_it_is_opened_when_the_other_has_left():
    store = Owned(9)
    assert await locked.opened(store.opens, 30.0, trio.Event()) == "open"
    assert len(store.times) == 10
    waits = [b - a for a, b in zip(store.times, store.times[1:], strict=False)]
    assert waits == sorted(waits)
    assert max(waits) <= 0.5


@virtual
async def test_it_is_looked_at_once_more_when_the_time_is_over_and_not_later():
    store, began = Owned(float("inf")), trio.current_time()
    with pytest.raises(StoreLocked, match=r"by process 7\. It was waited for 2\.5 seconds\."):
        await locked.opened(store.opens, 2.5, trio.Event())
    assert trio.current_time() - began == pytest.approx(2.5)
    assert store.times[-1] - began == pytest.approx(2.5)


@pytest.mark.parametrize("seconds", [None, 0.0])
@virtual
async def test_without_patience_it_is_looked_at_once(seconds):
    store = Owned(float("inf"))
    with pytest.raises(StoreLocked):
        await locked.opened(store.opens, seconds, trio.Event())
    assert len(store.times) == 1


@virtual
async def test_whoever_gives_up_waits_no_longer():
    store, given_up = Owned(float("inf")), trio.Event()
    began = trio.current_time()
    async with trio.open_nursery() as nursery:

        async def give_up() -> None:
            await trio.sleep(3)
            given_up.set()

        nursery.start_soon(give_up)
        with pytest.raises(StoreLocked):
            await locked.opened(store.opens, 3600.0, given_up)
    assert trio.current_time() - began == pytest.approx(3)


@pytest.mark.slow
async def test_an_engine_of_another_process_is_waited_for(path, holder, caplog):
    caplog.set_level("INFO", logger="stepwell")
    async with trio.open_nursery() as nursery:
        opened = trio.Event()

        async def opens() -> None:
            async with Engine(str(path), workflows=[echo], wait_for_lock="1 hour") as engine:
                opened.set()
                assert await engine.call(echo, 1) == 1

        nursery.start_soon(opens)
        while "waiting up to 1 hour" not in caplog.text:
            await trio.testing.wait_all_tasks_blocked(0.01)
        assert not opened.is_set()
        holder.stdin.close()  # it leaves its block
        await opened.wait()
    assert f"in use by process {holder.pid}" in caplog.text


@pytest.mark.slow
async def test_a_killed_owner_is_followed_at_once(path, holder):
    holder.send_signal(signal.SIGKILL)
    async with Engine(str(path), workflows=[echo], wait_for_lock="1 hour") as engine:
        assert await engine.call(echo, 1) == 1


async def test_who_has_it_is_named_and_a_client_if_it_can_be_used(path, holder):
    async def refused() -> str:
        with pytest.raises(StoreLocked) as caught:
            async with Engine(str(path), wait_for_lock=0):
                pytest.fail("it opened")
        return str(caught.value)

    told = await refused()
    assert re.match(rf's\.db is in use by process {holder.pid} \(engine "other"\)\. ', told)
    assert 'use stepwell.Client("s.db") here' in told
    os.unlink(f"{path}.sock")
    told = await refused()
    assert "Client" not in told
    assert "give this engine another file" in told


async def test_who_is_cancelled_while_it_waits_has_opened_nothing(path):
    async with Engine(str(path), workflows=[echo]) as first:
        with trio.move_on_after(0.05) as scope:
            async with Engine(str(path), workflows=[echo], wait_for_lock="1 hour"):
                pytest.fail("it opened")
        assert scope.cancelled_caught
        assert await first.call(echo, 1) == 1
    async with Engine(str(path), workflows=[echo]) as engine:  # nobody waits for it any more
        assert sum((await engine.count()).values()) == 1


async def test_the_other_fronts_wait_too(path):
    async def on_asyncio() -> None:
        async with aio.Engine(str(path), wait_for_lock=0.01):
            pytest.fail("it opened")

    def blocking() -> None:
        with sync.Engine(str(path), wait_for_lock=0.01):
            pytest.fail("it opened")

    async with Engine(str(path), workflows=[echo]):
        for call in (lambda: asyncio.run(on_asyncio()), blocking):
            with pytest.raises(StoreLocked, match=r"waited for 10 ms"):
                await trio.to_thread.run_sync(call)


@pytest.mark.parametrize("wrong", ["soon", -1, True, float("nan")])
def test_a_time_that_is_none_is_refused(path, wrong):
    with pytest.raises(InvalidConfig, match="wait_for_lock"):
        Engine(str(path), wait_for_lock=wrong)
    assert not path.exists()
