"""`on_error="blocked"`: an instance whose body raises is kept for whoever mends it (R7)."""

import contextlib
from typing import Any

import pytest

from stepwell import (
    InstanceErrored,
    InvalidConfig,
    InvalidName,
    InvalidState,
    Retry,
    Status,
    StepFailed,
    aio,
    current_step,
    workflow,
)
from stepwell.testing import open_test_engine

ran: list[str] = []


@pytest.fixture(autouse=True)
def _nothing_ran():
    ran.clear()


async def charge() -> str:
    ran.append("charge")
    return "paid"


def order(*, mended: bool, on_error: Any = None, runtime: Any = "trio"):
    @workflow(name="order", on_error=on_error, runtime=runtime)
    async def order(step) -> str:
        paid = await step.do(charge)
        await step.wait_for_event("go")
        if not mended:
            raise KeyError("typo")
        return paid

    return order


@pytest.mark.parametrize("runtime", ["trio", "asyncio"])
@pytest.mark.parametrize(("of_workflow", "of_engine"), [("blocked", "errored"), (None, "blocked")])
async def test_r7_a_bug_of_the_body_blocks_and_mended_code_goes_on_where_it_was(
    tmp_path, runtime, of_workflow, of_engine
):
    store = str(tmp_path / "a.db")
    code = order(mended=False, on_error=of_workflow, runtime=runtime)
    async with open_test_engine(
        workflows=[code], store=store, autojump=False, on_error=of_engine
    ) as engine:
        instance = await engine.create(code, id="o")
        await instance.wait_for_status("waiting")
        await instance.send_event("go")
        await instance.wait_for_status("blocked")
        status, why = await instance.status(), await instance.explain()
        assert status.error is not None
        assert (status.error.type, status.error.message) == ("KeyError", "'typo'")
        assert why.code == "body_failed"
        assert "its body raised KeyError: 'typo'. Nothing of it is lost." in str(why)
        assert "resume()" in str(why)
        (reason,) = await engine.reasons()
        assert (reason.code, reason.count) == ("body_failed", 1)
        await instance.resume()
        await instance.wait_for_status("blocked")
        await engine.crash()
        assert (await instance.status()).status is Status.BLOCKED
    code = order(mended=True, on_error=of_workflow, runtime=runtime)
    async with open_test_engine(workflows=[code], store=store, autojump=False) as engine:
        instance = await engine.get(code, "o")
        assert (await instance.status()).status is Status.BLOCKED
        await instance.resume()
        assert await instance.result() == "paid"
    assert ran == ["charge"]


async def test_r7_a_workflow_that_says_errored_ends_whatever_the_engine_says():
    code = order(mended=False, on_error="errored")
    async with open_test_engine(workflows=[code], autojump=False, on_error="blocked") as engine:
        instance = await engine.create(code, id="o")
        await instance.send_event("go")
        with pytest.raises(InstanceErrored):
            await instance.result()


async def test_r7_an_output_that_cannot_be_stored_blocks_as_well():
    @workflow(on_error="blocked")
    async def gives(step) -> Any:
        return object()

    async with open_test_engine(workflows=[gives], autojump=False) as engine:
        instance = await engine.create(gives, id="g")
        await instance.wait_for_status("blocked")
        assert "cannot be stored" in str(await instance.explain())


async def test_r7_a_parent_waits_on_and_says_what_its_child_is_at():
    code = order(mended=False, on_error="blocked")

    @workflow
    async def parent(step) -> Any:
        return await step.call("order", id="child")

    async with open_test_engine(workflows=[code, parent], autojump=False) as engine:
        above = await engine.create(parent, id="p")
        child = None
        await above.wait_for_status("waiting")
        child = await engine.get("order", "child")
        await child.send_event("go")
        await child.wait_for_status("blocked")
        assert (await above.status()).status is Status.WAITING
        assert "order/child" in str(await above.explain())
        assert "blocked (body_failed)" in str(await above.explain())
        await child.terminate()
        with pytest.raises(InstanceErrored):
            await above.result()


async def test_r7_what_a_child_came_to_stays_and_a_restart_calls_another_one():
    @workflow
    async def part(step) -> str:
        if "mended" not in ran:
            raise KeyError("typo")
        return "whole"

    @workflow(on_error="blocked")
    async def parent(step) -> Any:
        return [await step.do(charge), await step.call(part, id="child")]

    async with open_test_engine(workflows=[part, parent], autojump=False) as engine:
        above = await engine.create(parent, id="p")
        await above.wait_for_status("blocked")
        ran.append("mended")
        for _ in range(2):
            why = await above.explain()
            assert why.code == "body_failed"
            assert (
                'Of call "part" (1st) a resume() tells the body the same again, so unless its code '
                'is another it fails again: restart(from_step="failed") does that anew, too.'
            ) in str(why)
            await above.resume()
            await above.wait_for_status("running", "queued")
            await above.wait_for_status("blocked")
        await above.restart(from_step="failed")
        assert await above.result() == ["paid", "whole"]
        assert ran == ["charge", "mended"]


async def test_a_time_limit_ends_it_all_the_same():
    @workflow(on_error="blocked", timeout="1 min")
    async def waits(step) -> None:
        await step.wait_for_event("never")

    async with open_test_engine(workflows=[waits]) as engine:
        with pytest.raises(InstanceErrored, match="took longer"):
            await engine.call(waits, id="w")


def test_anything_else_is_no_policy(tmp_path):
    with pytest.raises(InvalidConfig, match='give "errored" or "blocked"'):
        order(mended=True, on_error="ignored")
    with pytest.raises(InvalidConfig, match='give "errored" or "blocked"'):
        aio.Engine(tmp_path / "a.db", on_error="ignored")  # type: ignore[arg-type]


async def declines() -> str:
    ran.append("declines")
    if "again" not in ran:
        raise RuntimeError("declined")
    return "paid"


async def declines_of(item: int) -> str:
    return await declines()


def paying(way: str, runtime: str = "trio"):
    @workflow(name="paying", on_error="blocked", runtime=runtime)
    async def paying(step) -> Any:
        first = await step.do(charge)
        with contextlib.suppress(StepFailed):
            await step.do(caught, retry=Retry.never)
        if way == "bare":
            return [first, await step.do(declines, retry=Retry.never)]
        if way == "map":
            return [first, *await step.map(declines_of, [1], retry=Retry.never)]
        if way == "group":

            async def pays() -> str:
                return await step.do(declines, retry=Retry.never)

            async with step.open_nursery() as nursery:
                branch = nursery.start_soon(pays)
            return [first, branch.value]
        try:
            paid = await step.do(declines, retry=Retry.never)
        except StepFailed as error:
            if way == "cause":
                raise ValueError("translated") from error
            raise ValueError("on the way")  # noqa: B904  # its context is what is looked at
        return [first, paid]

    return paying


async def caught() -> None:
    ran.append("caught")
    raise RuntimeError("handled")


@pytest.mark.parametrize(
    ("way", "runtime"),
    [
        ("bare", "trio"), ("bare", "asyncio"), ("map", "trio"), ("group", "trio"),
        ("cause", "trio"), ("context", "asyncio"),
    ],
)  # fmt: skip
async def test_r7_a_resume_makes_new_attempts_of_the_steps_that_failed_the_body(way, runtime):
    code = paying(way, runtime)
    async with open_test_engine(workflows=[code], autojump=False) as engine:
        instance = await engine.create(code, id="p")
        await instance.wait_for_status("blocked")
        assert ran == ["charge", "caught", "declines"]
        failed = [it.status for it in await instance.history()]
        assert failed == ["done", "failed", "failed"]
        ran.append("again")
        await engine.crash()
        instance = await engine.get(code, "p")
        await instance.resume()
        assert await instance.result() == ["paid", "paid"]
        assert ran == ["charge", "caught", "declines", "again", "declines"]
        lines = [(it.status, it.attempt) for it in await instance.history()]
        assert lines == [("done", 1), ("failed", 1), ("done", 1)]


async def test_r7_a_step_that_fails_anew_keeps_its_idempotency_key():
    keys = []

    async def fails() -> None:
        keys.append(current_step().idempotency_key)
        raise RuntimeError("no")

    @workflow(on_error="blocked")
    async def flow(step) -> None:
        await step.do(fails, retry=Retry(limit=1, delay=0))

    async with open_test_engine(workflows=[flow], autojump=False) as engine:
        instance = await engine.create(flow, id="f")
        for times in (2, 4, 6):
            await instance.wait_for_status("blocked")
            await engine.clock.settled()
            assert (len(keys), len(set(keys))) == (times, 1)
            lines = [(it.status, it.attempt) for it in await instance.history()]
            assert lines == [("attempt_failed", 1), ("failed", 2)]
            await instance.resume()
            await engine.clock.settled()


@pytest.mark.parametrize("state", ["paused", "blocked"])
async def test_l12_a_resume_may_move_an_instance_to_another_version(tmp_path, state):
    def shop(version: str):
        @workflow(name="shop", version=version, on_error="blocked")
        async def shop(step) -> str:
            paid = await step.do(charge)
            await step.wait_for_event("go")
            if version == "1":
                raise KeyError("typo")
            return f"{paid} in version {step.instance.version}"

        return shop

    store = str(tmp_path / "a.db")
    one, two = shop("1"), shop("2")
    async with open_test_engine(workflows=[one, two], store=store, autojump=False) as engine:
        instance = await engine.create(one, id="s")
        await instance.wait_for_status("waiting")
        with pytest.raises(InvalidState, match="waiting"):
            await instance.resume(to_version="2")
        if state == "paused":
            await instance.pause()
        await instance.send_event("go")
        await instance.wait_for_status(state)
        with pytest.raises(InvalidState) as caught:
            await instance.resume(to_version="3")
        assert str(caught.value) == (
            'instance "s" of "shop" cannot go on as version "3", which is not registered with '
            'this engine (registered: version "1", "2"). Nothing was changed.'
        )
        with pytest.raises(InvalidName):
            await instance.resume(to_version="")
        assert (await instance.status()).status == state
        assert (await instance.status()).version == "1"
    async with open_test_engine(workflows=[two], store=store, autojump=False) as engine:
        instance = await engine.get("shop", "s")
        await instance.resume(to_version="2")
        assert await instance.result() == "paid in version 2"
        assert (await instance.status()).version == "2"
        assert [it.version for it in (await engine.list(version="2")).items] == ["2"]
        assert (await engine.list(version="1")).items == []
    assert ran == ["charge"]
