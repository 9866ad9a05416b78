"""Steps that are `sensitive`: their body gets what they return, and nobody else is shown it."""

import asyncio
import json
import logging
import re
from base64 import b64decode
from typing import Any, Literal

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from stepwell import (
    InvalidConfig,
    Redacted,
    Retry,
    StepFailed,
    aio,
    current_step,
    step_options,
    sync,
    workflow,
)
from stepwell._values.codec import Undecodable, codec
from stepwell._values.failures import describe, describe_body, error_info, revive
from stepwell._values.hidden import HiddenPlan, hide_members, told
from stepwell.testing import open_test_engine

SECRET = "hunter2-hunter2"
AT_ONCE = Retry(limit=1, delay=0, jitter=0)


class Declined(Exception):
    card: str


async def secret() -> str:
    return SECRET


async def declined() -> str:
    error = Declined("it was declined")
    error.card = SECRET
    raise error


async def saves_and_reports() -> str | None:
    at = current_step()
    at.report(0.5, token=SECRET)
    if at.attempt == 1:
        await at.save(SECRET)
        raise ValueError("once more")
    return at.saved


def misfits() -> Literal["a"]:
    return SECRET  # type: ignore[return-value]


def passes(engine: Any, us: int) -> None:
    """`clock.advance` waits for attempts that run, and these end when they are told to."""
    core = engine._driver.core
    core.advance(core.now() + us)


async def everything_shown(engine, instance) -> str:
    """What all that can be asked about an instance says of it."""
    said = [
        await instance.status(),
        await instance.history(),
        await instance.explain(),
        await engine.list(),
        await engine.reasons(),
        await engine.audit(),
    ]
    async with instance.watch() as updates:
        async for update in updates:
            said.append(update)
            if update.kind == "status":
                break
    return repr(said)


@pytest.mark.parametrize("runtime", ["trio", "asyncio"])
async def test_what_a_sensitive_step_comes_to_is_for_its_body_alone(runtime, caplog, tmp_path):
    caplog.set_level(logging.DEBUG)

    @workflow(name="w", runtime=runtime)
    async def w(step):
        seen = [await step.do(secret, sensitive=True)]
        seen += await step.map(lambda it: it + SECRET, ["a"], name="each", sensitive=True)
        seen.append(await step.do(saves_and_reports, retry=AT_ONCE, sensitive=True))
        try:
            await step.do(declined, retry=Retry.never, sensitive=True)
        except Declined as error:
            seen.append(error.card)
        try:
            await step.do(misfits, sensitive=True)
        except StepFailed:
            seen.append("")
        await step.wait_for_event("go")
        return [len(it) for it in seen]

    async with open_test_engine([w], store=str(tmp_path / "s.db")) as engine:
        instance = await engine.create(w, id="one")
        await instance.wait_for_status("waiting")
        shown = await everything_shown(engine, instance)
        assert SECRET not in shown
        exported = json.dumps(await instance.export())
        parts = re.findall(r'"payload": "([^"]*)"', exported)
        assert SECRET.encode() not in b"".join(map(b64decode, parts))
        assert "; what stands there is not shown, because the step is sensitive." in shown
        assert shown.count("Redacted(size=") >= 4
        assert (await instance.status()).progress == Redacted(41)
        assert [it.output for it in await instance.history()][:2] == [Redacted(16), Redacted(17)]
        await engine.crash()  # and now the body is told all of it once more
        await instance.send_event("go")
        assert await instance.result() == [15, 16, 15, 15, 0]
        assert SECRET not in await everything_shown(engine, instance)
    assert SECRET not in caplog.text
    assert "attempt 1 of step 'declined'" in caplog.text


async def test_fields_of_a_failure_that_leaves_the_body_are_not_recorded_plainly(tmp_path):
    @workflow(name="w")
    async def w(step):
        await step.do(declined, retry=Retry.never, sensitive=True)

    async with open_test_engine([w]) as engine:
        instance = await engine.create(w)
        await instance.wait_for_status("errored")
        assert SECRET not in await everything_shown(engine, instance)
        error = (await instance.status()).error
        assert error is not None
        assert error.message == "it was declined"


def test_what_is_hidden_of_a_failure_stays_so_where_it_leaves_the_body_and_where_it_is_told():
    error = Declined("it was declined")
    error.card = SECRET
    record = hide_members(describe(error, step="pay", attempts=1))
    revived: Any = revive(record)
    assert (revived.card, revived.args) == (SECRET, ("it was declined",))
    for one in (record, describe_body(revived)):
        assert not {"args", "builtin", "fields"} & one.keys()
        assert error_info(one).message == "it was declined"


async def test_a_thread_that_ends_too_late_does_not_say_in_the_log_what_it_returned(caplog):
    begun, go = trio.Event(), trio.Event()

    def slow() -> str:
        trio.from_thread.run_sync(begun.set)
        trio.from_thread.run(go.wait)
        return SECRET

    @workflow(name="w")
    async def w(step):
        with step.move_on_after("1 hour"):
            await step.do(slow, sensitive=True, abandon_on_cancel=True, timeout="2 hours")

    async with open_test_engine([w], autojump=False) as engine:
        instance = await engine.create(w)
        await begun.wait()
        passes(engine, 3_600_000_000)
        await instance.wait_for_status("complete")
        go.set()
        while "had ended when a thread" not in caplog.text:
            await trio.lowlevel.checkpoint()
    assert "which returned a value; that is not recorded" in caplog.text
    assert SECRET not in caplog.text


async def test_a_value_that_was_given_up_is_not_shown():
    begun = trio.Event()

    async def lingers() -> str:
        begun.set()
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            return SECRET
        raise AssertionError

    @workflow(name="w")
    async def w(step):
        with step.move_on_after("1 second"):
            await step.do(lingers, sensitive=True)

    async with open_test_engine([w], autojump=False) as engine:
        instance = await engine.create(w)
        await begun.wait()
        passes(engine, 1_000_000)
        await instance.wait_for_status("complete")
        [abandoned] = [it for it in await instance.history() if it.status == "abandoned"]
        assert abandoned.output == Redacted(16)


async def test_code_that_changes_its_mind_reads_what_was_stored_and_shows_no_more_of_it(tmp_path):
    def code(first: Any, second: Any):
        @workflow(name="w")
        async def w(step):
            seen = [await step.do(secret, name="a", **first)]
            seen.append(await step.do(secret, name="b", **second))
            await step.wait_for_event("go")
            return seen

        return w

    store = str(tmp_path / "s.db")
    async with open_test_engine([code({"sensitive": True}, {})], store=store) as engine:
        instance = await engine.create("w", id="one")
        await instance.wait_for_status("waiting")
    async with open_test_engine([code({}, {"sensitive": True})], store=store) as engine:
        instance = await engine.get("w", "one")
        await instance.send_event("go")
        assert await instance.result() == [SECRET, SECRET]
        outputs = [it.output for it in await instance.history()]
        assert outputs[:2] == [Redacted(16), SECRET]


async def test_a_stored_value_that_fits_no_more_is_named_by_its_place_only(tmp_path):
    def code(kind: Any):
        @workflow(name="w")
        async def w(step):
            await step.do(secret, as_type=kind, sensitive=True)
            await step.wait_for_event("go")

        return w

    store = str(tmp_path / "s.db")
    async with open_test_engine([code(str)], store=store) as engine:
        await (await engine.create("w", id="one")).wait_for_status("waiting")
    async with open_test_engine([code(int)], store=store) as engine:
        instance = await engine.get("w", "one")
        await instance.send_event("go")
        await instance.wait_for_status("blocked")
        assert SECRET not in await everything_shown(engine, instance)
        assert "result cannot become int" in str(await instance.explain())


@step_options(sensitive=True)
async def attached() -> str:
    return SECRET


async def test_an_option_of_the_function_is_the_default_of_its_steps():
    @workflow(name="w")
    async def w(step):
        await step.do(attached)
        await step.do(attached, sensitive=False, name="shown")

    async with open_test_engine([w]) as engine:
        instance = await engine.create(w)
        await instance.result()
        outputs = [it.output for it in await instance.history()]
        assert outputs == [Redacted(16), SECRET]


@pytest.mark.parametrize("given", ["yes", 2, 0.5])
def test_what_is_no_boolean_is_refused(given):
    with pytest.raises(InvalidConfig, match="sensitive is"):
        step_options(sensitive=given)


@workflow(name="fronted")
async def fronted(step) -> int:
    return len(await step.do(secret, sensitive=True))


def test_blocking_programs_and_those_on_asyncio_are_told_the_same():
    with sync.Engine(":memory:", workflows=[fronted]) as engine:
        instance = engine.create(fronted)
        assert instance.result() == 15
        assert [it.output for it in instance.history()] == [Redacted(16)]

    async def main() -> None:
        async with aio.Engine(":memory:", workflows=[fronted]) as engine:
            instance = await engine.create(fronted)
            assert await instance.result() == 15
            assert [it.output for it in await instance.history()] == [Redacted(16)]

    asyncio.run(main())


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.binary(),
    lambda it: st.lists(it) | st.dictionaries(st.text(), it),
    max_leaves=20,
)


@given(plain)
def test_a_hidden_value_comes_back_for_whoever_may_read_it(value):
    data = HiddenPlan(codec.plan()).encode(value)
    assert HiddenPlan(codec.plan()).decode(data) == value
    assert codec.decode(data) == value
    assert told(data) == Redacted(len(codec.encode(value)))


@given(st.text(min_size=8))
def test_what_cannot_be_read_as_a_type_is_not_in_the_error(value):
    plan = HiddenPlan(codec.plan(int))
    with pytest.raises(Undecodable) as caught:
        plan.decode(HiddenPlan(codec.plan()).encode(value))
    assert value not in str(caught.value)
    assert caught.value.__context__ is None


@workflow
async def pays(step):
    try:
        return len(await step.do(declined, name="pay", sensitive=True, retry=Retry(delay="1 hour")))
    except StepFailed as error:
        return error.message


@workflow
async def fails_plainly(step):
    async def fails():
        raise ValueError("down")

    return await step.do(fails, name="pay", sensitive=True, retry=Retry(delay="1 hour"))


@pytest.mark.parametrize("code", [pays, fails_plainly])
@pytest.mark.parametrize("as_error", [False, True])
async def test_what_is_set_by_hand_for_a_sensitive_step_is_hidden_as_its_own_value(
    code, as_error, tmp_path
):
    store = tmp_path / "s.db"
    async with open_test_engine(workflows=[code], store=store, autojump=False, grace=0) as engine:
        instance = await engine.create(code, id="x")
        await instance.wait_for_status("waiting")
        step = (await instance.history())[-1]
        error = Declined("by hand")
        error.card = SECRET
        given = {"error": error} if as_error else {"value": SECRET}
        await instance.resolve(step.ref, **given)
        if code is pays:
            assert await instance.result() == ("by hand" if as_error else len(SECRET))
        step = (await instance.history())[-1]
        told = [step, await instance.export(), await instance.status()]
        assert SECRET not in repr(told) if code is pays else SECRET not in repr(told[:2])
        if not as_error:
            assert isinstance(step.output, Redacted)
    async with open_test_engine(workflows=[code], store=store) as engine:
        again = await engine.get(code, "x")
        step = (await again.history())[-1]
        assert SECRET not in repr([step, await again.export()])
