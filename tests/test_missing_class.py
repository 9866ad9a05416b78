"""A recorded failure whose class is not there any more blocks its instance, which goes on by itself
when it is (rule D9)."""

import logging
import sys
import types
from typing import Any

import pytest

from stepwell import InvalidState, Limits, Retry, StepFailed, workflow
from stepwell._values import failures
from stepwell._values.failures import describe, revive
from stepwell.testing import open_test_engine

SHOP = "shop_of_this_test"
ran: list[str] = []
seen: list[str] = []


class Declined(Exception):
    pass


@pytest.fixture(autouse=True)
def shop(monkeypatch):
    """A module that has the class, for as long as `lose` has not taken it away."""
    ran.clear()
    seen.clear()
    module = types.ModuleType(SHOP)
    monkeypatch.setitem(sys.modules, SHOP, module)
    monkeypatch.setattr(Declined, "__module__", SHOP)
    restore()
    return module


def lose() -> None:
    del sys.modules[SHOP].Declined  # type: ignore[attr-defined]


def restore() -> None:
    sys.modules[SHOP].Declined = Declined  # type: ignore[attr-defined]


async def charge(_: Any = None) -> None:
    ran.append("charge")
    raise Declined("no")


async def by_do(step):
    await step.do(charge, retry=Retry.never)


async def by_map(step):
    await step.map(charge, [1], retry=Retry.never)


async def by_collect(step):
    (error,) = await step.map(charge, [1], retry=Retry.never, on_error="collect")
    raise error


async def by_nursery(step):
    try:
        async with step.open_nursery() as nursery:
            nursery.start_soon(by_do, step)
    except* StepFailed as group:
        raise group.exceptions[0] from None


async def by_each(step):
    async def branch(_):
        await by_do(step)

    await step.each(branch, [1])


async def by_gather(step):
    await step.gather(by_do(step))


def flow(way, runtime: str = "trio"):
    @workflow(name="flow", runtime=runtime)
    async def flow(step):
        try:
            await way(step)
        except Declined:
            seen.append("declined")
        except Exception as error:
            seen.append(type(error).__name__)
        await step.wait_for_event("go")
        return seen[-1]

    return flow


WAYS = [(way, "trio") for way in (by_do, by_map, by_collect, by_nursery, by_each)]
WAYS += [(way, "asyncio") for way in (by_do, by_map, by_each, by_gather)]


@pytest.mark.parametrize(("way", "runtime"), WAYS)
async def test_d9_a_lost_class_blocks_where_the_failure_would_come_and_its_return_lets_go_on(
    tmp_path, way, runtime
):
    store, code = str(tmp_path / "s.db"), [flow(way, runtime)]
    async with open_test_engine(workflows=code, store=store, autojump=False) as engine:
        await (await engine.create("flow", id="f")).wait_for_status("waiting")
    lose()
    for _ in range(2):  # it stays so
        async with open_test_engine(workflows=code, store=store, autojump=False) as engine:
            instance = await engine.get("flow", "f")
            await instance.send_event("go")
            await instance.wait_for_status("blocked")
            why = await instance.explain()
            (reason,) = await engine.reasons()
            assert (why.code, reason.code, reason.step) == (
                "missing_class",
                "missing_class",
                "charge",
            )
            for word in ("flow/f", 'step "charge"', f"{SHOP}.Declined", "goes on by itself"):
                assert word in str(why)
    assert seen == ["declined"]
    restore()
    async with open_test_engine(workflows=code, store=store, autojump=False) as engine:
        assert await (await engine.get("flow", "f")).result() == "declined"
    assert ran == ["charge"]
    assert set(seen) == {"declined"}


async def test_l12_a_class_that_is_back_lets_nobody_go_on_without_code(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    store, code = str(tmp_path / "s.db"), [flow(by_do)]
    async with open_test_engine(workflows=code, store=store, autojump=False) as engine:
        await (await engine.create("flow", id="f")).wait_for_status("waiting")
        lose()
        await engine.crash()
        await (await engine.get("flow", "f")).send_event("go")
        await (await engine.get("flow", "f")).wait_for_status("blocked")
    restore()

    @workflow(name="flow", version="2")
    async def later(step):
        return "later"

    async with open_test_engine(
        workflows=[later], store=store, limits=Limits(concurrency=1)
    ) as engine:
        assert await engine.call("flow") == "later"
        why = await (await engine.get("flow", "f")).explain()
        assert (why.code, engine.statistics().leased) == ("missing_class", 0)
        assert why.text.endswith(
            "Before it can go on, its code is needed too: "
            'version "1" of "flow" is not registered with this engine (registered: version "2").'
        )
        with pytest.raises(
            InvalidState, match=r"Pass it in Engine\(workflows=\[…\]\); then resume\(\) it"
        ):
            await (await engine.get("flow", "f")).resume()
    assert not any(
        "the class it was blocked for is there" in message for message in caplog.messages
    )
    async with open_test_engine(workflows=code, store=store, autojump=False) as engine:
        assert await (await engine.get("flow", "f")).result() == "declined"


async def test_d9_a_class_that_comes_while_the_engine_runs_lets_those_go_on_that_wait_for_it():
    @workflow(name="imports")
    async def imports(step):
        async def late() -> None:
            restore()

        await step.do(late)

    async with open_test_engine(workflows=[flow(by_do), imports], autojump=False) as engine:
        instances = [await engine.create("flow", id=f"f{n}") for n in range(3)]
        for instance in instances:
            await instance.wait_for_status("waiting")
        lose()
        await engine.crash()
        for instance in instances:
            await instance.send_event("go")
            await instance.wait_for_status("blocked")
        await engine.call(imports)
        assert [await instance.result() for instance in instances] == ["declined"] * 3
    assert set(seen) == {"declined"}
    assert ran == ["charge"] * 3


async def test_d9_who_was_let_go_by_hand_or_is_gone_is_left_alone(caplog):
    caplog.set_level(logging.INFO, "stepwell")
    async with open_test_engine(workflows=[flow(by_do)], autojump=False) as engine:
        instance = await engine.create("flow", id="f")
        await instance.wait_for_status("waiting")
        lose()
        await engine.crash()
        await instance.send_event("go")
        await instance.wait_for_status("blocked")
        restore()
        await instance.resume()
        assert await instance.result() == "declined"
        assert (await engine.create("flow", id="g")).id == "g"
    assert (
        sum("the class it was blocked for is there" in message for message in caplog.messages) <= 1
    )


async def test_d9_a_class_that_was_not_found_is_plain_for_life_also_when_it_can_be_found():
    lose()

    async with open_test_engine(workflows=[flow(by_do)], autojump=False) as engine:
        instance = await engine.create("flow", id="f")
        await instance.wait_for_status("waiting")
        restore()
        await engine.crash()
        await instance.send_event("go")
        assert await instance.result() == "StepFailed"
    assert set(seen) == {"StepFailed"}


CURES = [
    (
        SHOP,
        None,
        "is not in a loaded module under that name",
        "Import its module where the workflow is defined, or restore the class",
    ),
    (
        "__main__",
        None,
        "is not in the main module of the program that runs now (`python -m asyncio` has another)",
        "Define it in this program's main module too, or in a module",
    ),
    (SHOP, SystemExit, "cannot be raised into a body as itself", "Restore it as it was"),
]


@pytest.mark.parametrize(("module", "instead", "why", "cure"), CURES)
async def test_d9_what_a_lost_class_is_said_of_reads_as_a_sentence(
    monkeypatch, module, instead, why, cure
):
    monkeypatch.setattr(Declined, "__module__", module)
    monkeypatch.setattr(sys.modules[module], "Declined", Declined, raising=False)
    async with open_test_engine(workflows=[flow(by_do)], autojump=False) as engine:
        instance = await engine.create("flow", id="f")
        await instance.wait_for_status("waiting")
        monkeypatch.setattr(sys.modules[module], "Declined", instead)
        await engine.crash()
        await instance.send_event("go")
        await instance.wait_for_status("blocked")
        told = (await instance.explain()).text
    text = (
        f'step "charge" of flow/f failed with {module}.Declined, a class that {why}, so the '
        "body would take another way than it took."
    )
    assert f"(missing_class): {text} {cure}" in told
    assert told.endswith("; the instance then goes on by itself.")


async def test_d9_a_class_that_was_not_found_then_is_not_asked_for_when_it_is() -> None:
    lose()
    async with open_test_engine(workflows=[flow(by_do)], autojump=False) as engine:
        instance = await engine.create("flow", id="f")
        await instance.wait_for_status("waiting")
        restore()
        await engine.crash()
        await instance.send_event("go")
        assert await instance.result() == "StepFailed"


def test_d9_records_without_the_note_give_what_they_gave() -> None:
    record = describe(Declined("no"), step="charge", attempts=1)
    del record["found"]
    assert isinstance(revive(record), Declined)
    lose()
    failures._warned.clear()
    assert type(revive(record)) is StepFailed


@pytest.mark.parametrize(
    "other", [int, "text", KeyboardInterrupt, ExceptionGroup, type("Local", (), {})]
)
async def test_d9_a_class_in_whose_place_something_else_stands_is_missing(shop, other) -> None:
    async with open_test_engine(workflows=[flow(by_do)], autojump=False) as engine:
        instance = await engine.create("flow", id="f")
        await instance.wait_for_status("waiting")
        shop.Declined = other
        await engine.crash()
        await instance.send_event("go")
        await instance.wait_for_status("blocked")
        assert (await instance.explain()).code == "missing_class"
