"""`on_error="blocked"`: an instance whose body raises is kept for whoever mends it (R7)."""

from typing import Any

import pytest

from stepwell import InstanceErrored, InvalidConfig, Status, aio, workflow
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
