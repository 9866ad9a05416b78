"""Each code that `explain` can answer with, brought about, and told in a sentence that says what to
do, or that nothing is to be done (L13)."""

import contextlib
import sqlite3
import sys
import types
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import make_dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from stepwell import Explanation, ExplanationCode, Limits, Retry, Status, workflow
from stepwell._body.runner import Runner
from stepwell._errors import StepwellError
from stepwell._operations import refusal
from stepwell.payloads import Memory
from stepwell.testing import open_test_engine

Case = Callable[[Path, pytest.MonkeyPatch], Any]
CASES: dict[str, tuple[Case, tuple[str, ...]]] = {}
MODULE = "module_of_this_test"
Item = make_dataclass("Item", [("name", str)])
Other = make_dataclass("Item", [("name", int)])


def case(*parts: str) -> Callable[[Case], Case]:
    """The explanation has these parts."""

    def keep(it: Case) -> Case:
        CASES[it.__name__] = it, parts
        return it

    return keep


@asynccontextmanager
async def opened(*codes: Any, **options: Any) -> AsyncIterator[Any]:
    async with open_test_engine(workflows=codes, autojump=False, grace=0, **options) as engine:
        yield engine


async def told(code: Any, status: str, params: Any = None, **options: Any) -> Explanation:
    """What is said of an instance of this code that has come into this state."""
    async with opened(code, **options) as engine:
        it = await engine.create(code, params, id="i")
        await it.wait_for_status(status)
        return await it.explain()


@workflow
async def waits(step):
    await step.wait_for_event("paid")


@workflow
async def holds(step):
    await step.do(trio.sleep_forever)


def does(name: str) -> Any:
    @workflow(name="does")
    async def code(step):
        await step.do(lambda: 1, name=name)
        await step.wait_for_event("go")

    return code


async def changed(old: Any, new: Any, store: Path) -> Explanation:
    """What is said of one that waited under the old code and is woken under the new."""
    async with opened(old, store=store) as engine:
        await (await engine.create(old, id="i")).wait_for_status("waiting")
    async with opened(new, store=store) as engine:
        it = await engine.get(old.name, "i")
        await it.send_event("go")
        await it.wait_for_status("blocked")
        return await it.explain()


@case('behind 1 other of "holds"', "the only slot of the engine (slots) is in use")
async def queued(store, _):
    async with opened(holds, slots=1) as engine:
        for _ in range(3):
            it = await engine.create(holds)
        return await it.explain()


@case("is queued until 2030-01-01 01:00:00 UTC")
async def start_at(store, _):
    async with opened(holds) as engine:
        later = engine.clock.now() + timedelta(hours=1)
        return await (await engine.create(holds, start_at=later)).explain()


@case("may be what kills it", "starts by itself")
async def held_back(store, _):
    async with opened(holds) as engine:
        all_of_it = [await engine.create(holds, id=f"h-{n}") for n in range(6)]
        for count in (6, 6, 4):
            while engine._driver.borrowed.attempts < count:
                await trio.lowlevel.checkpoint()
            await trio.testing.wait_all_tasks_blocked(0.001)
            if count == 6:
                await engine.crash()
        return await all_of_it[-1].explain()


@case('attempt 1 of "sleep_forever" runs since 2030', "times out at")
async def running(store, _):
    async with opened(holds) as engine:
        it = await engine.create(holds)
        await trio.testing.wait_all_tasks_blocked()
        return await it.explain()


@case('waits for event "paid"', 'it does not wait for are kept: "payed" x2')
async def waiting(store, _):
    async with opened(waits) as engine:
        it = await engine.create(waits)
        await it.wait_for_status("waiting")
        for _ in range(2):
            await it.send_event("payed")
        return await it.explain()


@case("is paused as soon as nothing of it runs", "resume() takes that back")
async def waiting_for_pause(store, _):
    async with opened(holds) as engine:
        it = await engine.create(holds)
        await trio.testing.wait_all_tasks_blocked()
        await it.pause()
        return await it.explain()


@case("nothing of it begins", "resume() lets it go on")
async def paused(store, _):
    async with opened(waits) as engine:
        it = await engine.create(waits)
        await it.wait_for_status("waiting")
        await it.pause()
        return await it.explain()


@case("is complete")
async def complete(store, _):
    @workflow
    async def ends(step):
        pass

    return await told(ends, "complete")


@case("ValueError: broken", "restart(")
async def errored(store, _):
    @workflow
    async def breaks(step):
        raise ValueError("broken")

    return await told(breaks, "errored")


@case("is terminated")
async def terminated(store, _):
    async with opened(waits) as engine:
        it = await engine.create(waits)
        await it.terminate(note="enough")
        return await it.explain()


@case('recorded do "charge"', 'now do "reserve"', "step.patched", "then resume()")
async def nondeterminism(store, _):
    return await changed(does("charge"), does("reserve"), store)


@case('"append"', "Copy it in the step", "then resume()")
async def changed_argument(store, _):
    @workflow
    async def changes(step):
        await step.do([].append, 1)

    return await told(changes, "blocked")


@case("step.open_nursery", "key=", "resume()")
async def race(store, _):
    @workflow
    async def races(step):
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(lambda: step.do(lambda: 1, name="one"))

    return await told(races, "blocked")


@case("step.sleep", "resume()")
async def foreign_wait(store, _):
    @workflow
    async def sleeps(step):
        await trio.sleep(5)

    return await told(sleeps, "blocked")


@case("is not registered", "Engine(workflows=[", "goes on by itself")
async def missing_code(store, _):
    async with opened(waits, store=store) as engine:
        await (await engine.create(waits, id="i")).wait_for_status("waiting")
    async with opened(holds, store=store) as engine:
        return await (await engine.get("waits", "i")).explain()


@case(f"{MODULE}.Declined", "restore the class", "goes on by itself")
async def missing_class(store, monkeypatch):
    class Declined(Exception):
        pass

    module = types.ModuleType(MODULE)
    monkeypatch.setitem(sys.modules, MODULE, module)
    monkeypatch.setattr(module, "Declined", Declined, raising=False)
    Declined.__module__, Declined.__qualname__ = MODULE, "Declined"

    async def charge():
        raise Declined

    @workflow
    async def pays(step):
        with contextlib.suppress(Declined):
            await step.do(charge, retry=Retry.never)
        await step.wait_for_event("go")

    async with opened(pays, store=store) as engine:
        await (await engine.create(pays, id="i")).wait_for_status("waiting")
    monkeypatch.delattr(module, "Declined")
    async with opened(pays, store=store) as engine:
        it = await engine.get(pays, "i")
        await it.send_event("go")
        await it.wait_for_status("blocked")
        return await it.explain()


@case("cannot read", "resume()")
async def undecodable(store, _):
    def gives(returns: Any) -> Any:
        @workflow(name="does")
        async def code(step):
            await step.do(lambda: Item("red"), name="make", as_type=returns)
            await step.wait_for_event("go")

        return code

    return await changed(gives(Item), gives(Other), store)


@case("was refused what it asked for 5 times", "resume()")
async def refused(store, monkeypatch):
    monkeypatch.setattr(refusal, "REFUSALS_MAX", 5)

    @workflow
    async def insists(step):
        while True:
            with contextlib.suppress(StepwellError):
                await step.do(lambda: 1, name="one")

    return await told(insists, "blocked", limits=Limits(steps=1))


@case("its body raised KeyError", "Fix the code", "then resume()")
async def body_failed(store, _):
    @workflow(on_error="blocked")
    async def breaks(step):
        raise KeyError("x")

    return await told(breaks, "blocked")


@case("2 times", "resume()")
async def recoveries(store, _):
    async with opened(holds, limits=Limits(recoveries=1)) as engine:
        it = await engine.create(holds)
        while (await it.status()).status is not Status.BLOCKED:
            await trio.testing.wait_all_tasks_blocked(0.001)
            await engine.crash()
        return await it.explain()


@case("No space left on device", "then resume()")
async def payloads(store, _):
    class Full(Memory):
        def put(self, key: str, data: bytes, /) -> None:
            raise OSError(28, "No space left on device")

    @workflow
    async def makes(step):
        await step.do(lambda: "x" * 10_000, name="much")

    return await told(makes, "blocked", payloads=Full(over=1_000, limit=100_000))


@case("fails its checksum", "backup")
async def corrupt(store, _):
    code = does("charge")
    async with opened(code, store=store) as engine:
        await (await engine.create(code, id="i")).wait_for_status("waiting")
    with contextlib.closing(sqlite3.connect(store)) as conn, conn:
        conn.execute("UPDATE journal SET payload = x'6162'")
    async with opened(code, store=store) as engine:
        it = await engine.get(code, "i")
        await it.send_event("go")
        await it.wait_for_status("blocked")
        return await it.explain()


@case("SystemExit: 4", "then resume()")
async def internal(store, monkeypatch):
    def finish(*_: object, **__: object) -> None:
        raise SystemExit(4)

    monkeypatch.setattr(Runner, "_finish", finish)

    @workflow
    async def ends(step):
        pass

    return await told(ends, "blocked")


@case("is blocked (of_a_later_version)")
async def blocked(store, monkeypatch):
    """By a reason that a later version has, and this one does not know."""
    from stepwell._engine.look import Look

    monkeypatch.setattr(Look, "reason", property(lambda _: "of_a_later_version"))
    return await body_failed(store, monkeypatch)


def test_every_code_has_a_case():
    assert set(CASES) == set(ExplanationCode)


@pytest.mark.parametrize("code", CASES)
async def test_l13_an_explanation_says_what_it_is_and_what_to_do(code, tmp_path, monkeypatch):
    it, parts = CASES[code]
    found = await it(tmp_path / "s.db", monkeypatch)
    assert found.code is ExplanationCode(code)
    assert str(found) == found.text
    assert "\n" not in found.text
    assert found.since is not None
    for part in parts:
        assert part in found.text, found.text
