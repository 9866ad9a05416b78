"""`engine.backup`: a copy of a running store that is a store of its own."""

import os

import pytest
import trio

from stepwell import Engine, EngineClosed, InvalidConfig, InvalidState, Status, workflow
from stepwell.testing import open_test_engine

runs: list[str] = []


@pytest.fixture(autouse=True)
def _no_runs():
    runs.clear()


async def once() -> str:
    runs.append("once")
    return "value"


@workflow
async def waits(step):
    first = await step.do(once)
    event = await step.wait_for_event("go")
    return [first, event.payload]


@workflow
async def echo(step, params):
    return params


async def test_a_backup_opens_as_a_store_of_its_own_and_goes_on(tmp_path):
    copy = tmp_path / "copy.db"
    async with open_test_engine(workflows=[waits, echo], store=str(tmp_path / "s.db")) as engine:
        assert await engine.call(echo, {"a": 1}, id="done") == {"a": 1}
        instance = await engine.create(waits, id="open")
        await instance.wait_for_status(Status.WAITING)
        assert await engine.backup(copy) is None
        await instance.send_event("go", "here")
        assert await instance.result() == ["value", "here"]
    assert copy.stat().st_mode & 0o777 == 0o600
    assert sorted(os.listdir(tmp_path)) == ["copy.db", "s.db"]
    async with open_test_engine(workflows=[waits, echo], store=str(copy)) as engine:
        assert await (await engine.get(echo, "done")).result() == {"a": 1}
        instance = await engine.get(waits, "open")
        assert (await instance.status()).status is Status.WAITING
        await instance.send_event("go", "there")
        assert await instance.result() == ["value", "there"]
    assert runs == ["once"]


@pytest.mark.slow
async def test_a_backup_under_load_has_everything_that_was_acknowledged_before_it(tmp_path):
    copy = tmp_path / "copy.db"
    made: list[str] = []
    async with (
        Engine(str(tmp_path / "s.db"), workflows=[echo]) as engine,
        trio.open_nursery() as nursery,
    ):

        async def load(task: int) -> None:
            for n in range(1_000_000):
                await engine.call(echo, "x" * 2_000, id=f"t{task}-{n}")
                made.append(f"t{task}-{n}")

        for task in range(20):
            nursery.start_soon(load, task)
        while len(made) < 2_000:
            await trio.sleep(0.001)
        before = list(made)
        await engine.backup(str(copy))
        assert len(made) > len(before), "commits go on meanwhile"
        nursery.cancel_scope.cancel()
    async with Engine(str(copy), workflows=[echo]) as engine:
        for id in before:
            assert await (await engine.get(echo, id)).result() == "x" * 2_000


@pytest.mark.parametrize("path", ["", ":memory:", "a\0b", "sqlite:///x", None, 5, b"x"], ids=repr)
async def test_what_is_no_path_is_refused(tmp_path, path):
    async with open_test_engine(workflows=[echo], store=str(tmp_path / "s.db")) as engine:
        with pytest.raises(InvalidConfig, match="is no path"):
            await engine.backup(path)


async def test_what_is_there_is_left_alone(tmp_path):
    (tmp_path / "notes").write_text("mine")
    async with open_test_engine(workflows=[echo], store=str(tmp_path / "s.db")) as engine:
        for name in ("notes", "s.db"):
            with pytest.raises(InvalidConfig, match=f"{name} is there already"):
                await engine.backup(tmp_path / name)
        with pytest.raises(InvalidConfig, match="Make it first"):
            await engine.backup(tmp_path / "none" / "copy.db")
        assert await engine.call(echo, 1) == 1
    assert (tmp_path / "notes").read_text() == "mine"
    assert sorted(os.listdir(tmp_path)) == ["notes", "s.db"]


async def test_a_store_in_memory_has_nothing_to_copy(tmp_path):
    async with open_test_engine(workflows=[echo]) as engine:
        with pytest.raises(InvalidConfig, match="in memory"):
            await engine.backup(tmp_path / "copy.db")
    assert os.listdir(tmp_path) == []


async def test_a_body_and_a_closed_engine_make_no_backup(tmp_path):
    engines = []
    caught = []

    @workflow
    async def wrong(step):
        try:
            await engines[0].backup(tmp_path / "copy.db")
        except InvalidState as error:
            caught.append(str(error))

    async with open_test_engine(workflows=[wrong], store=str(tmp_path / "s.db")) as engine:
        engines.append(engine)
        await engine.call(wrong, id="w")
    assert "engine.backup was called at" in caught[0]
    with pytest.raises(EngineClosed):
        await engines[0].backup(tmp_path / "copy.db")
