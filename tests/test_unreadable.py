"""Whatever is stored, those who look at an instance get an answer, and those who want its output an
error that they can catch (rule D7)."""

import asyncio
import datetime
import enum
from dataclasses import dataclass, make_dataclass
from typing import Any

import pytest

from stepwell import (
    InstanceErrored,
    InvalidPayload,
    Retry,
    Status,
    StepwellError,
    aio,
    current_step,
    sync,
    workflow,
)
from stepwell._values import plain as codec
from stepwell.testing import open_test_engine

Item = make_dataclass("Item", [("name", str), ("count", int)])
Counts = make_dataclass("Item", [("name", str), ("count", dict[str, int])])
Demanding = make_dataclass("Item", [("name", str), ("count", int), ("price", int)])
RED = {"name": "red", "count": 1}


class Colour(enum.Enum):
    BLUE = "blue"


@dataclass
class Picky:
    name: str

    def __post_init__(self) -> None:
        raise SystemExit(3)


def code(returns: Any) -> list[Any]:
    """A workflow that says it returns this type, and two that want what it returned."""

    @workflow
    async def gives(step):
        return Item("red", 1)

    @workflow
    async def calls(step):
        called = await step.call(gives, id="called")
        await step.wait_for_event("go")
        return str(called)

    @workflow
    async def creates(step):
        child = await step.create(gives, id="created")
        await step.wait_for_event("go")
        return str(await child.result())

    gives.fn.__annotations__["return"] = returns
    return [gives, calls, creates]


CHANGES = [
    (Counts, "output.count is stored as int 1, and cannot become dict[str, int]"),
    (Demanding, 'output has no field "price", which has no default, and cannot become'),
    (list[int], "output is stored as a map, and cannot become list[int]"),
    (str, "output is stored as a map, and cannot become str"),
    (Colour, "output is stored as a map, and cannot become"),
    (int | None, "output is stored as a map, and cannot become int | None"),
    (Picky, "Picky(...) raised SystemExit: 3. Restore"),
    (
        datetime.time,
        "output is stored as a map, but datetime.time is not a type that can be stored. Restore",
    ),
]


async def begun(tmp_path) -> str:
    """Returns a store in which one has returned an `Item`."""
    store = str(tmp_path / "s.db")
    async with open_test_engine(workflows=code(Item), store=store) as engine:
        await engine.call("gives", id="g")
    return store


def check(error: StepwellError, says: str) -> None:
    assert type(error) is InvalidPayload
    assert error.payload == RED
    for text in (
        "the output of gives/g cannot be read",
        says,
        'Restore the type that "gives" returns',
    ):
        assert text in str(error)


@pytest.mark.parametrize(("returns", "says"), CHANGES)
async def test_d7_of_an_output_that_todays_type_cannot_read_status_says_so_and_result_raises_it(
    tmp_path, returns, says
):
    store = await begun(tmp_path)
    async with open_test_engine(workflows=code(returns), store=store) as engine:
        instance = await engine.get("gives", "g")
        told = await instance.status()
        assert (told.status, told.output, told.ended_at is not None, told.version) == (
            Status.COMPLETE,
            None,
            True,
            "1",
        )
        assert told.error.type == "stepwell.InvalidPayload"
        for call in (instance.result(), engine.call("gives", id="g")):
            with pytest.raises(InvalidPayload) as caught:
                await call
            check(caught.value, says)
            assert str(caught.value) == told.error.message
        assert await instance.wait_for_status("complete") == "complete"
        assert str(await instance.explain()) == "gives/g is complete."
        assert [it.error for it in (await engine.list()).items] == [None]
        assert await instance.history() == []
    async with open_test_engine(workflows=code(Item), store=store) as engine:
        assert await engine.call("gives", id="g") == Item("red", 1)


async def test_d7_a_parent_that_cannot_read_its_childs_output_is_blocked_and_says_whose_it_is(
    tmp_path,
):
    store = str(tmp_path / "s.db")
    async with open_test_engine(workflows=code(Item), store=store, autojump=False) as engine:
        for name, child in (("calls", "called"), ("creates", "created")):
            await (await engine.create(name, id="p")).wait_for_status("waiting")
            await (await engine.get("gives", child)).result()
    async with open_test_engine(workflows=code(Counts), store=store, autojump=False) as engine:
        for name, whose in (
            ("calls", 'call "gives" (gives/called)'),
            ("creates", "result of child gives/created"),
        ):
            parent = await engine.get(name, "p")
            await parent.send_event("go")
            await parent.wait_for_status("blocked")
            told = await parent.explain()
            assert told.code == "undecodable"
            for text in (f"{whose} of {name}/p", CHANGES[0][1], "Restore the type, then resume()"):
                assert text in str(told)
    async with open_test_engine(workflows=code(Item), store=store) as engine:
        for name in ("calls", "creates"):
            parent = await engine.get(name, "p")
            await parent.resume()
            assert await parent.result() == str(Item("red", 1))


def test_d7_every_front_says_the_same(tmp_path):
    store = str(tmp_path / "s.db")
    with sync.Engine(store, workflows=code(Item)) as engine:
        engine.call("gives", id="g")

    def look(error: Any, status: Any) -> None:
        check(error, CHANGES[0][1])
        assert (status.status, status.output, status.error.message) == (
            Status.COMPLETE,
            None,
            str(error),
        )

    with sync.Engine(store, workflows=code(Counts)) as engine:
        with pytest.raises(InvalidPayload) as caught:
            engine.call("gives", id="g")
        look(caught.value, engine.get("gives", "g").status())

    async def main() -> None:
        async with aio.Engine(store, workflows=code(Counts)) as engine:
            with pytest.raises(InvalidPayload) as caught:
                await engine.call("gives", id="g")
            look(caught.value, await (await engine.get("gives", "g")).status())

    asyncio.run(main())


def reports() -> None:
    current_step().report(0.5)


def fails() -> None:
    raise ValueError("broken")


@workflow
async def asks(step):
    await step.do(reports)
    await step.wait_for_approval("ship", detail={"what": "a lamp"})


@workflow
async def errs(step):
    await step.do(fails, retry=Retry.never)


@workflow
async def plain(step):
    return {"a": 1}


async def test_d7_no_look_fails_for_what_a_version_that_reads_less_cannot_read(monkeypatch):
    async with open_test_engine(workflows=[asks, errs, plain], autojump=False) as engine:
        asking, failed, full = [
            await engine.create(it, id="i", attributes={"tier": "gold"})
            for it in (asks, errs, plain)
        ]
        for instance, status in ((asking, "waiting"), (failed, "errored"), (full, "complete")):
            await instance.wait_for_status(status)
        monkeypatch.setattr(codec, "DEPTH_MAX", 0)
        page = (await engine.list(newest_first=False)).items
        for it, what in zip(page, ("report", "attributes", "attributes"), strict=True):
            assert it.error.message.startswith(
                f"the {what} of {it.workflow}/i cannot be read: {what} is "
            )
        assert [it.attributes for it in page] == [{}, {}, {}]
        (request,) = await engine.approvals.list()
        assert request.detail["message"].startswith(
            "the detail of asks/i cannot be read: detail is "
        )
        for instance, what in ((asking, "report"), (failed, "failure"), (full, "output")):
            told = (await instance.status()).error
            assert (
                told.type,
                f"the {what} of {instance.workflow}/i cannot be read" in told.message,
            ) == ("stepwell.InvalidPayload", True)
            await instance.explain()
            await instance.history()
        with pytest.raises(InvalidPayload) as caught:
            await full.result()
        assert caught.value.payload == b"\xa1aa\x01"
        with pytest.raises(InstanceErrored, match="the failure of errs/i cannot be read"):
            await failed.result()


@workflow
async def event(step):
    try:
        await step.wait_for_event("go")
    except InvalidPayload as error:
        return error.payload


@workflow
async def approval(step):
    await step.wait_for_approval("ship")


@workflow
async def attributes(step):
    await step.wait_for_event("go")
    return step.instance.attributes["tier"]


@pytest.mark.parametrize(
    ("code", "says"), [(approval, 'approval "ship"'), (attributes, "step.instance")]
)
async def test_i10_no_body_sees_that_something_stored_cannot_be_read(monkeypatch, code, says):
    async with open_test_engine(workflows=[code, event], autojump=False) as engine:
        for it in (code, event):
            await (await engine.create(it, id="i", attributes={"tier": "gold"})).wait_for_status(
                "waiting"
            )
        instance = await engine.get(code, "i")
        monkeypatch.setattr(codec, "DEPTH_MAX", 0)
        if code is approval:
            await engine.approvals.approve("approval/i#ship#1", by="ann")
        else:
            await instance.send_event("go")
        assert await instance.wait_for_status("blocked") == "blocked"
        monkeypatch.undo()
        told = str(await instance.explain())
        assert f"{says} of {code.name}/i has a stored value that today's code" in told
        await instance.resume()
        assert await instance.result() == (None if code is approval else "gold")


async def test_d7_an_event_that_is_no_value_at_all_raises_with_its_bytes(monkeypatch):
    async with open_test_engine(workflows=[event], autojump=False) as engine:
        instance = await engine.create(event)
        await instance.wait_for_status("waiting")
        monkeypatch.setattr(codec, "DEPTH_MAX", 0)
        await instance.send_event("go", {"a": 1})
        assert await instance.result() == b"\xa1aa\x01"
