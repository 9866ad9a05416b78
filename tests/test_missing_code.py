"""Instances whose code is not here are told of, and can be looked at; a definition made once more
takes the place of the former (L12)."""

import dataclasses
import logging
import types

import pytest
import trio.testing

from stepwell import (
    Engine,
    InstanceNotFound,
    InvalidConfig,
    InvalidName,
    InvalidState,
    Limits,
    Status,
    workflow,
)
from stepwell.testing import open_test_engine


@dataclasses.dataclass
class Total:
    number: int


@workflow(name="old")
async def old(step, how: str) -> Total:
    if how == "wait":
        await step.wait_for_event("go")
    return Total(7)


@workflow(name="old", version="2")
async def old_2(step, how: str) -> Total:
    return Total(2)


@workflow
async def new(step) -> int:
    return 1


async def _leave_behind(path: str) -> None:
    async with Engine(path, workflows=[old]) as engine:
        for id in ("a", "b", "c"):
            instance = await engine.create(old, "wait", id=id)
            await instance.wait_for_status("waiting")
        await engine.call(old, "ends", id="done")
        other = engine.namespace("acme")
        await (await other.create(old, "wait", id="a")).wait_for_status("waiting")


@pytest.mark.slow
async def test_l12_missing_code_is_told_once_for_each_workflow_and_version(tmp_path, caplog):
    path = str(tmp_path / "a.db")
    await _leave_behind(path)
    caplog.set_level(logging.WARNING)
    async with Engine(path, workflows=[new, old_2]) as engine:
        told = [record.message for record in caplog.records]
        assert len(told) == 2, told
        assert any(
            '3 instances of workflow "old" version "1" wait for code that this engine does not '
            'have (it has: version "2")' in it
            for it in told
        )
        assert any(
            '1 instance of workflow "old" version "1" in namespace "acme" waits for' in it
            for it in told
        )
        caplog.clear()
        await engine.list()
    async with Engine(path, workflows=[old]) as engine:
        for id in ("a", "b", "c"):
            await (await engine.get(old, id)).send_event("go")
            assert await (await engine.get(old, id)).result() == Total(7)
    assert caplog.records == []


@pytest.mark.slow
async def test_l12_what_has_no_code_can_be_looked_at_by_name(tmp_path):
    path = str(tmp_path / "a.db")
    await _leave_behind(path)
    async with Engine(path, workflows=[new]) as engine:
        instance = await engine.get("old", "a")
        status, why = await instance.status(), await instance.explain()
        assert (status.status, status.version, status.output) == (Status.BLOCKED, "1", None)
        assert why.code == "missing_code"
        assert ('version "1" of "old" is not registered with this engine (registered: new)') in str(
            why
        )
        assert [row.id for row in (await engine.list("old", status="blocked")).items] == [
            "c",
            "b",
            "a",
        ]
        (reason,) = await engine.reasons("old")
        assert (reason.code, reason.version, reason.count, reason.example_id) == (
            "missing_code",
            "1",
            3,
            "a",
        )
        assert (await engine.count("old"))[Status.BLOCKED] == 3
        assert engine.peek("old", "a") is Status.BLOCKED
        assert await instance.history()
        await instance.send_event("go")  # it is kept
        # What has ended has values, as plain data.
        done = await engine.get("old", "done")
        assert await done.result() == {"number": 7}
        assert (await done.status()).output == {"number": 7}
        with pytest.raises(InstanceNotFound, match='No workflow "nobody" is registered'):
            await engine.get("nobody", "a")
        with pytest.raises(InvalidName):
            await engine.get("no name", "a")
        with pytest.raises(
            InvalidConfig, match=r"workflow 'old' is not registered .*registered: new"
        ):
            await engine.create("old", "wait")
    async with Engine(path, workflows=[old]) as engine:
        assert await (await engine.get(old, "a")).result() == Total(7)


async def test_an_instance_of_another_version_says_which_code_it_lacks():
    async with open_test_engine(workflows=[old]) as engine:
        with pytest.raises(
            InvalidConfig,
            match=r'version "2" of workflow .old. is not registered .*registered: old',
        ):
            await engine.create(old_2, "ends")


@pytest.mark.parametrize(
    ("here", "registered"),
    [([new, old_2], 'version "2"'), ([new], '"new"')],
    ids=["another version", "no version"],
)
async def test_l12_nothing_makes_an_instance_without_code_go_on(tmp_path, here, registered):
    store = str(tmp_path / "a.db")
    async with open_test_engine(workflows=[old], store=store) as engine:
        instance = await engine.create(old, "wait", id="a")
        await instance.wait_for_status("waiting")
    async with open_test_engine(
        workflows=here, store=store, limits=Limits(concurrency=1)
    ) as engine:
        instance = await engine.get("old", "a")
        before = await instance.explain()
        for _ in range(2):  # an event makes no difference
            with pytest.raises(InvalidState) as refused:
                await instance.resume()
            await instance.send_event("go")
        assert refused.value.status is Status.BLOCKED
        assert str(refused.value) == (
            'instance "a" of "old" cannot be resumed here: version "1" of "old" is not registered '
            f"with this engine (registered: {registered}). Nothing was changed. Pass it in "
            "Engine(workflows=[…]); the instance goes on by itself, without resume()."
        )
        assert await instance.explain() == before
        assert [it.code for it in await engine.reasons()] == ["missing_code"]
        assert engine.statistics().leased == 0
        assert await engine.call(new) == 1  # nobody has the only slot
        await engine.crash()
        assert await engine.call(new) == 1
        assert engine.peek("old", "a") is Status.BLOCKED
    async with open_test_engine(workflows=[old], store=store) as engine:
        assert await (await engine.get(old, "a")).result() == Total(7)


@workflow
async def caller(step, how: str) -> str:
    await step.wait_for_event("go")
    try:
        await getattr(step, how)("old", "wait", id="child")
    except InvalidConfig as error:
        return str(error)
    return how


@pytest.mark.parametrize("how", ["call", "create"])
async def test_l12_a_body_creates_no_child_without_code(tmp_path, how):
    store = str(tmp_path / "a.db")
    async with open_test_engine(workflows=[caller, old], store=store, autojump=False) as engine:
        await (await engine.create(caller, how, id="a")).wait_for_status("waiting")
    async with open_test_engine(
        workflows=[caller], store=store, limits=Limits(concurrency=1)
    ) as engine:
        instance = await engine.get(caller, "a")
        await instance.send_event("go")
        assert (
            "workflow 'old' is not registered with this engine (registered: caller)"
        ) in await instance.result()
        assert [it.id for it in (await engine.list()).items] == ["a"]
        assert engine.statistics().leased == 0


async def test_l12_a_parent_waits_for_its_child_without_code(tmp_path):
    store = str(tmp_path / "a.db")
    async with open_test_engine(workflows=[caller, old], store=store, autojump=False) as engine:
        parent = await engine.create(caller, "call", id="a")
        await parent.send_event("go")
        while (
            not (await parent.status()).waiting_on
            or engine.peek("old", "child") is not Status.WAITING
        ):
            await trio.testing.wait_all_tasks_blocked()
    async with open_test_engine(
        workflows=[caller, new], store=store, limits=Limits(concurrency=1)
    ) as engine:
        with pytest.raises(InvalidState, match="cannot be resumed here"):
            await (await engine.get("old", "child")).resume()
        assert await engine.call(new) == 1
        assert "which is blocked" in str(await (await engine.get(caller, "a")).explain())
        assert engine.statistics().leased == 0
    async with open_test_engine(workflows=[caller, old], store=store) as engine:
        await (await engine.get(old, "child")).send_event("go")
        assert await (await engine.get(caller, "a")).result() == "call"


def _cell(number: int):
    """Runs a cell of a notebook; each run has a file of its own, as in Jupyter."""
    source = (
        "@workflow\nasync def cell(step) -> int:\n    await step.wait_for_event('go')\n    "
        f"return {number}\n"
    )
    exec(compile(source, f"/tmp/cell_{number}.py", "exec"), notebook.__dict__)
    return notebook.cell


notebook = types.ModuleType("notebook")
notebook.workflow = workflow


async def test_a_definition_that_is_made_once_more_takes_the_place_of_the_former():
    first = _cell(1)
    async with open_test_engine(workflows=[first], autojump=False) as engine:
        instance = await engine.create(first, id="a")
        await instance.wait_for_status("waiting")
        second = _cell(2)
        await engine.create(second, id="b")
        # the former object means the same workflow
        await (await engine.get(first, "b")).send_event("go")
        assert await (await engine.get("cell", "b")).result() == 2
        await engine.crash()  # what replays from now on has the new code too
        await instance.send_event("go")
        assert await instance.result() == 2
        await engine.create(first, id="c")  # nor does the former one come back
        await (await engine.get(second, "c")).send_event("go")
        assert await (await engine.get(second, "c")).result() == 2


async def test_another_function_under_a_registered_name_is_told_as_such():
    @workflow(name="new")
    async def impostor(step) -> int:
        return 2

    async with open_test_engine(workflows=[new]) as engine:
        for method in (engine.create, engine.list):
            with pytest.raises(InvalidConfig) as told:
                await method(impostor)
            text = str(told.value)
            assert text.startswith('workflow "new" version "1" is new at test_missing_code.py:')
            assert "impostor at test_missing_code.py:" in text
            assert "is another function. Give one of them another name or version." in text


async def test_functions_that_a_factory_makes_do_not_replace_each_other():
    def make(number: int):
        @workflow(name="made")
        async def made(step) -> int:
            return number

        return made

    async with open_test_engine(workflows=[make(1)]) as engine:
        with pytest.raises(InvalidConfig, match="is another function"):
            await engine.create(make(2))
        assert await engine.call("made") == 1
