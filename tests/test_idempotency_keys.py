"""The idempotency key of each line of a history is the one that the step's function had."""

import pytest
import trio

from stepwell import Client, Engine, Retry, Step, UndoContext, current_step, workflow
from stepwell.testing import open_test_engine

had: dict[tuple[str, str | None, int, int], str] = {}
undone: list[str] = []


@pytest.fixture(autouse=True)
def _fresh():
    had.clear()
    undone.clear()


def _notes() -> None:
    it = current_step()
    had[it.name, it.key, it.count, it.attempt] = it.idempotency_key


def in_a_thread() -> None:
    _notes()


async def noted() -> None:
    _notes()


async def second_time() -> None:
    _notes()
    if current_step().attempt == 1:
        raise ValueError("not yet")


async def item(of: int) -> int:
    _notes()
    return of


async def undoes(it: UndoContext) -> None:
    undone.append(it.idempotency_key)


@workflow
async def steps(step: Step) -> None:
    await step.do(in_a_thread, name="a", undo=undoes)
    await step.do(noted, name="b", key="k")
    for _ in range(2):
        await step.do(noted, name="b")
    await step.do(second_time, name="c", retry=Retry(limit=1, delay=0))
    await step.map(item, [1, 2], name="m")
    async with step.open_nursery() as nursery:
        nursery.start_soon(step.do, noted, name="in a branch")
    await step.wait_for_event("end")


def keys(lines) -> dict[tuple[str, str | None, int, int], str]:
    told = {(it.name, it.key, it.count, it.attempt): it.idempotency_key for it in lines
            if it.kind in ("do", "map", "undo")}  # fmt: skip
    assert all(it.idempotency_key is None for it in lines if it.kind == "event")
    return told


async def test_every_line_of_a_step_has_the_key_that_its_function_had():
    async with open_test_engine([steps]) as engine:
        it = await engine.create(steps, id="o")
        await it.wait_for_status("waiting")
        told = keys(await it.history())
        assert {key: told.get(key) for key in had} == had
        assert len(set(had.values())) == 7
        before = dict(had)
        await it.restart(
            from_step=next(line.ref for line in await it.history() if line.name == "c")
        )
        await it.wait_for_status("waiting")
        assert {key: keys(await it.history()).get(key) for key in had} == had
        assert had["a", None, 1, 1] == before["a", None, 1, 1]
        await it.restart()
        await it.wait_for_status("waiting")
        assert {key: keys(await it.history()).get(key) for key in had} == had
        assert had["a", None, 1, 1] != before["a", None, 1, 1]


async def test_an_undo_has_a_key_of_its_own():
    async with open_test_engine([steps]) as engine:
        it = await engine.create(steps, id="o")
        await it.wait_for_status("waiting")
        await it.terminate(undo=True)
        await it.wait_for_status("terminated")
        told = {line.idempotency_key for line in await it.history() if line.kind == "undo"}
        assert told == set(undone)
        assert len(undone) == 1
        assert not set(told) & set(had.values())


async def test_whoever_watches_is_told_the_same_keys_through_a_restart():
    async with open_test_engine([steps], autojump=False) as engine:
        it = await engine.create(steps, id="o")
        seen: list[str | None] = []

        async def watches() -> None:
            async with it.watch() as updates:
                async for update in updates:
                    if update.record is not None and update.record.kind == "do":
                        seen.append(update.record.idempotency_key)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watches)
            await it.wait_for_status("waiting")
            first = set(had.values())
            await it.restart()
            await it.wait_for_status("waiting")
            while seen.count(had["c", None, 1, 2]) < 2:
                assert first | set(had.values()) >= set(seen)
                await trio.sleep(0)
            assert had["a", None, 1, 1] in seen
            nursery.cancel_scope.cancel()


async def test_a_client_and_the_file_tell_the_same(tmp_path):
    path = str(tmp_path / "s.db")
    async with Engine(path, workflows=[steps]) as engine:
        await (await engine.create(steps, id="o")).wait_for_status("waiting")
        async with Client(path) as client:
            told = keys(await (await client.get("steps", "o")).history())
            assert {key: told.get(key) for key in had} == had
    async with Client(path, timeout=0) as client:
        told = keys(await (await client.get("steps", "o")).history())
        assert {key: told.get(key) for key in had} == had
