"""Values that pass through a codec of the user's: `Engine(codec=…)`, and `stepwell.crypto`."""

import ast
import asyncio
import re
import secrets
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from stepwell import (
    Engine,
    InstanceErrored,
    InvalidConfig,
    InvalidPayload,
    NewInstance,
    NotSerializable,
    Redacted,
    Retry,
    StepRef,
    aio,
    current_step,
    sync,
    workflow,
)
from stepwell._engine import sealed_core
from stepwell._engine.sealed_core import SealedCore
from stepwell._values.codec import codec
from stepwell.crypto import Keyring
from stepwell.testing import open_test_engine

CONTRACT = Path(sealed_core.__file__).parent.parent / "_core.pyi"
PLAIN = "plain-as-day"
KEY, OTHER = secrets.token_bytes(32), secrets.token_bytes(32)
AT_ONCE = Retry(limit=1, delay=0, jitter=0)


def ring(**keys: bytes) -> Keyring:
    return Keyring(keys or {"one": KEY}, write=None if len(keys) < 2 else "two")


def raw(store: Path) -> bytes:
    """All that is in the files of a store: the database, its log and what else lies beside it."""
    files = [it for it in store.parent.rglob("*") if it.is_file() and not it.name.endswith(".lock")]
    return b"".join(it.read_bytes() for it in files)


class Declined(Exception):
    card: str


async def value(what: str) -> str:
    return f"{PLAIN} {what}"


async def declined() -> None:
    error = Declined(f"{PLAIN} message")
    error.card = f"{PLAIN} field"
    raise error


async def saves() -> Any:
    at = current_step()
    at.report(0.5, message=f"{PLAIN} progress")
    if at.attempt == 1:
        await at.save(f"{PLAIN} saved")
        raise ValueError(f"{PLAIN} attempt")
    return at.saved


@workflow(name="child")
async def child(step, params: str) -> str:
    return f"{params} output"


@workflow(name="fails")
async def fails(step, params: str) -> None:
    await step.do(declined, retry=Retry.never)


@workflow(name="all")
async def everything(step, params: str):
    seen = [params, await step.do(value, "result")]
    seen += await step.map(value, ["item 1", "item 2"], key=str)
    seen.append(await step.do(saves, retry=AT_ONCE))
    try:
        await step.do(declined, retry=Retry.never)
    except Declined as error:
        seen += [str(error.args), error.card]
    step.report(message=f"{PLAIN} report")
    seen.append(await step.call(child, f"{PLAIN} called"))
    made = await step.create(child, f"{PLAIN} created", id="made")
    seen.append(await made.result())
    [many] = await step.create_batch(child, [NewInstance(f"{PLAIN} batch", id="many")])
    seen.append(await many.result())
    try:
        await step.call(fails, f"{PLAIN} failing", id="failing")
    except InstanceErrored as error:
        seen.append(error.error.message if error.error else "")
    await step.send_event(takes, "takes", "news", f"{PLAIN} sent")
    seen.append((await step.wait_for_event("go")).payload)
    seen.append((await step.wait_for_approval("ship", detail=f"{PLAIN} detail")).metadata)
    return seen


@workflow(name="takes")
async def takes(step) -> str:
    return (await step.wait_for_event("news")).payload


WORKFLOWS = [everything, child, fails, takes]


async def run_everything(engine: Any) -> Any:
    receiver = await engine.create(takes, id="takes")
    instance = await engine.create(everything, f"{PLAIN} params", id="all")
    await instance.send_event("go", f"{PLAIN} event")
    await instance.wait_for_status("waiting")
    while not (page := await engine.approvals.list()).items:
        pass
    assert page.items[0].detail == f"{PLAIN} detail"
    await engine.approvals.approve(
        page.items[0].id, by="me", reason=f"{PLAIN} reason", metadata=f"{PLAIN} metadata"
    )
    result = await instance.result()
    assert await receiver.result() == f"{PLAIN} sent"
    return instance, result


@pytest.mark.parametrize("codec", [None, ring()])
async def test_nothing_of_the_users_is_in_the_files_and_all_of_it_comes_back(codec, tmp_path):
    store = tmp_path / "s.db"
    async with open_test_engine(WORKFLOWS, store=str(store), codec=codec) as engine:
        instance, result = await run_everything(engine)
        told = repr([await instance.history(), await instance.status(), await engine.list()])
        found = raw(store)
    assert all(str(it).count(PLAIN) for it in result), result
    assert result[-3:] == [f"{PLAIN} message", f"{PLAIN} event", f"{PLAIN} metadata"][-3:]
    kinds = "result|item 1|saved|attempt|message|called output|created output|batch output"
    kinds += "|failing|event|metadata|reason"
    for kind in kinds.split("|"):
        assert kind == "failing" or f"{PLAIN} {kind}" in told, kind
    in_files = re.findall(rb"plain-as-day [a-z]+", found + raw(store))
    assert bool(in_files) == (codec is None), in_files


async def test_d3_a_body_is_told_the_same_on_replay_in_another_process(tmp_path):
    store = str(tmp_path / "s.db")
    async with open_test_engine(WORKFLOWS, store=store, codec=ring()) as engine:
        await engine.create(takes, id="takes")
        instance = await engine.create(everything, f"{PLAIN} params", id="all")
        await instance.wait_for_status("waiting")
        await instance.send_event("go", f"{PLAIN} event")
        while not (await engine.approvals.list()).items:
            pass
    async with open_test_engine(WORKFLOWS, store=store, codec=ring()) as engine:
        [asked] = (await engine.approvals.list()).items
        await engine.approvals.approve(asked.id, by="me", metadata=f"{PLAIN} metadata")
        result = await (await engine.get(everything, "all")).result()
    async with open_test_engine(WORKFLOWS, codec=None) as engine:
        _, expected = await run_everything(engine)
    assert result == expected


async def waits_twice(step: Any, params: Any = None) -> Any:
    first = await step.do(value, "a", name="a")
    await step.wait_for_event("go")
    return [params, first, await step.do(value, "b", name="b")]


waiting = workflow(name="waiting")(waits_twice)


async def write(store: str, codec: Any, *ids: str) -> None:
    async with open_test_engine([waiting], store=store, codec=codec) as engine:
        for id in ids:
            instance = await engine.create(waiting, PLAIN, id=id)
            await instance.wait_for_status("waiting")


async def test_keys_rotate_while_older_values_are_still_read(tmp_path):
    store = str(tmp_path / "s.db")
    await write(store, ring(one=KEY), "old")
    await write(store, ring(one=KEY, two=OTHER), "new")
    files = raw(tmp_path / "s.db")
    assert b"\x03one" in files
    assert b"\x03two" in files
    async with open_test_engine([waiting], store=store, codec=ring(one=KEY, two=OTHER)) as engine:
        for id in ("old", "new"):
            instance = await engine.get(waiting, id)
            await instance.send_event("go")
            assert await instance.result() == [PLAIN, f"{PLAIN} a", f"{PLAIN} b"]


@pytest.mark.parametrize(
    ("codec", "why"),
    [
        (ring(two=OTHER), "key 'one' is not in the keyring"),
        (ring(one=OTHER), r"it was changed, or belongs somewhere else \(key 'one'\)"),
        (None, "this engine has no codec"),
    ],
)
async def test_what_has_no_key_blocks_its_instance_alone_and_goes_on_with_the_key(
    codec, why, tmp_path
):
    store = str(tmp_path / "s.db")
    await write(store, ring(), "locked")
    async with open_test_engine([waiting], store=store, codec=codec) as engine:
        locked = await engine.get(waiting, "locked")
        await locked.send_event("go")
        await locked.wait_for_status("blocked")
        explained = await locked.explain()
        assert explained.code == "undecodable"
        assert re.search(why, explained.text), explained.text
        if codec is not None:
            assert "params of waiting/locked" in explained.text
        assert PLAIN not in repr([await locked.history(), await locked.status()])
        other = await engine.create(waiting, PLAIN, id="other")
        await other.send_event("go")
        assert (await other.result())[0] == PLAIN
        assert {it.id for it in (await engine.list()).items} == {"locked", "other"}
    keys = ring(one=KEY, two=OTHER) if codec is None or "two" in repr(codec) else ring()
    async with open_test_engine([waiting], store=store, codec=keys) as engine:
        locked = await engine.get(waiting, "locked")
        await locked.resume()
        assert await locked.result() == [PLAIN, f"{PLAIN} a", f"{PLAIN} b"]


async def test_an_output_without_its_key_is_told_as_that_in_every_answer(tmp_path):
    store = str(tmp_path / "s.db")
    async with open_test_engine([child, fails], store=store, codec=ring()) as engine:
        await engine.call(child, PLAIN, id="done")
        with pytest.raises(InstanceErrored, match=f"{PLAIN} message"):
            await engine.call(fails, PLAIN, id="broken")
    async with open_test_engine([child, fails], store=store, codec=ring(two=OTHER)) as engine:
        done = await engine.get(child, "done")
        with pytest.raises(InvalidPayload, match="key 'one' is not in the keyring"):
            await done.result()
        for id, flow in (("done", child), ("broken", fails)):
            error = (await (await engine.get(flow, id)).status()).error
            assert error is not None
            assert "key 'one' is not in the keyring" in error.message
        [record] = await (await engine.get(fails, "broken")).history()
        assert record.error is not None
        assert "key 'one' is not in the keyring" in record.error.message
        rows = {it.id: it.error for it in (await engine.list()).items}
        assert "key 'one'" in str(rows["broken"])
        # what it is counted by is no secret
        [reason] = await engine.reasons()
        assert (reason.error_type, reason.step) == ("test_sealing.Declined", "declined")


class Moving:
    """Gives for one value what it made for another: as if somebody had moved it in the file."""

    def __init__(self, place: bytes, instead: bytes) -> None:
        self._ring, self._place, self._instead = ring(), place, instead
        self._made: dict[bytes, bytes] = {}

    def encode(self, data: bytes, place: bytes, /) -> bytes:
        made = self._ring.encode(data, place)
        for part in (self._place, self._instead):
            if part in place:
                self._made[part] = made
        return self._made[self._instead] if self._place in place else made

    def decode(self, data: bytes, place: bytes, /) -> bytes:
        return self._ring.decode(data, place)


async def test_a_value_that_was_moved_to_another_step_is_not_taken_for_its_own(tmp_path):
    @workflow(name="moved")
    async def moved(step):
        seen = [await step.do(value, "a", name="step-a"), await step.do(value, "b", name="step-b")]
        await step.wait_for_event("go")
        return seen

    store = str(tmp_path / "s.db")
    moving = Moving(b"step-b", b"step-a")
    async with open_test_engine([moved], store=store, codec=moving) as engine:
        instance = await engine.create(moved, id="m")
        await instance.wait_for_status("waiting")
        await engine.crash()
        await instance.send_event("go")
        await instance.wait_for_status("blocked")
        text = (await instance.explain()).text
        assert 'cannot be decoded as the step "step-b" (1) of moved/m' in text


async def test_a_value_that_was_moved_to_another_instance_is_not_taken_for_its_own():
    async with open_test_engine(
        [waiting], codec=Moving(b"bib\x66params", b"bia\x66params")
    ) as engine:
        for id in ("ia", "ib"):
            await engine.create(waiting, PLAIN, id=id)
        await engine.clock.advance("1 minute")
        instance = await engine.get(waiting, "ib")
        await instance.wait_for_status("blocked")
        assert "cannot be decoded as the params of waiting/ib" in (await instance.explain()).text


class Failing:
    """A codec that cannot encode what has this in it."""

    def __init__(self, fails_at: bytes, error: Any) -> None:
        self._fails_at, self._error = fails_at, error

    def encode(self, data: bytes, place: bytes, /) -> bytes:
        if self._fails_at in data:
            if isinstance(self._error, BaseException):
                raise self._error
            return self._error
        return data

    def decode(self, data: bytes, place: bytes, /) -> bytes:
        return data


@pytest.mark.parametrize("error", [RuntimeError("no entropy"), SystemExit(3), "text", None])
async def test_what_the_codec_cannot_take_is_refused_where_it_is_given(error):
    async with open_test_engine([waiting], codec=Failing(b"bad", error)) as engine:
        with pytest.raises(NotSerializable, match="the codec"):
            await engine.create(waiting, "bad", id="a")
        instance = await engine.create(waiting, "good", id="a")
        with pytest.raises(NotSerializable, match="the codec"):
            await instance.send_event("go", "bad")
        await instance.send_event("go")
        assert (await instance.result())[0] == "good"


@pytest.mark.parametrize("runtime", ["trio", "asyncio"])
@pytest.mark.parametrize("error", [RuntimeError("no entropy"), SystemExit(3), "text"])
@pytest.mark.parametrize("what", ["a bad step", "a bad report", "a bad output", "a bad failure"])
async def test_what_the_codec_cannot_take_of_an_instance_is_that_instances_alone(
    what, error, runtime
):
    @workflow(name="hostile", runtime=runtime)
    async def hostile(step):
        if "report" in what:
            step.report("bad")
        if "failure" in what:
            raise ValueError("bad")
        return await step.do(value, "bad" if "step" in what else "good") + what[2:]

    async with open_test_engine([hostile, waiting], codec=Failing(b"bad", error)) as engine:
        instance = await engine.create(hostile, id="h")
        status = await instance.wait_for_status("errored", "blocked")
        shown = (await instance.status()).error
        assert shown is not None
        assert "the codec" in shown.message, (status, shown)
        other = await engine.create(waiting, "good")
        await other.send_event("go")
        assert (await other.result())[0] == "good"


async def test_many_get_an_event_and_a_decision_each_sealed_for_itself(tmp_path):
    @workflow(name="asks")
    async def asks(step):
        payload = (await step.wait_for_event("go")).payload
        return [payload, (await step.wait_for_approval("ship")).metadata]

    store = tmp_path / "s.db"
    async with open_test_engine([asks], store=str(store), codec=ring()) as engine:
        made = [await engine.create(asks) for _ in range(3)]
        await engine.send_event_all("go", f"{PLAIN} event", workflow=asks, status="all")
        while len((await engine.approvals.list()).items) < 3:
            pass
        await engine.approvals.approve_all(
            workflow=asks, status="all", by="me", metadata=f"{PLAIN} metadata"
        )
        for instance in made:
            assert await instance.result() == [f"{PLAIN} event", f"{PLAIN} metadata"]
        assert [it.operation for it in (await engine.bulk.list()).items] == [
            "approve",
            "send_event",
        ]
        assert PLAIN.encode() not in raw(store)
    assert PLAIN.encode() not in raw(store)


async def test_watchers_and_waiting_callers_are_told_plain_values():
    async with open_test_engine([everything, child, fails, takes], codec=ring()) as engine:
        await engine.create(takes, id="takes")
        instance = await engine.create(everything, PLAIN, id="all")
        await instance.wait_for_status("waiting")
        told = []
        async with instance.watch() as updates:
            await instance.send_event("go", f"{PLAIN} event")
            async for update in updates:
                told.append(update)
                if update.record and update.record.kind == "event":
                    break
        assert f"{PLAIN} event" in repr(told[-1])
        assert f"{PLAIN} result" in repr(told)


async def test_an_instance_without_an_id_gets_one_that_ascends():
    async with open_test_engine([child], codec=ring()) as engine:
        made = []
        for _ in range(20):
            made.append((await engine.create(child, PLAIN)).id)
            await engine.clock.advance("1 second")
        assert made == sorted(made)
        assert all(it[14] == "7" and it[19] in "89ab" for it in made)
        batch = await engine.create_batch(child, [PLAIN, PLAIN])
        assert len({it.id for it in batch.created}) == 2


async def test_params_are_found_the_same_although_their_bytes_never_are():
    async with open_test_engine([waiting], codec=ring()) as engine:
        first = await engine.create(waiting, PLAIN, id="x")
        again = await engine.create(waiting, PLAIN, id="x", if_exists="return_if_same")
        assert again.id == first.id
        with pytest.raises(Exception, match="already exists"):
            await engine.create(waiting, "another", id="x", if_exists="return_if_same")


async def test_a_sensitive_value_is_sealed_and_not_shown(tmp_path):
    @workflow(name="w")
    async def w(step):
        return len(await step.do(value, "secret", sensitive=True))

    store = tmp_path / "s.db"
    async with open_test_engine([w], store=str(store), codec=ring()) as engine:
        instance = await engine.create(w)
        assert await instance.result() == 19
        [record] = await instance.history()
        assert record.output == Redacted(20)
        assert PLAIN.encode() not in raw(store)


async def test_what_was_stored_before_there_was_a_codec_is_read_as_it_is(tmp_path):
    store = str(tmp_path / "s.db")
    await write(store, None, "before")
    async with open_test_engine([waiting], store=store, codec=ring()) as engine:
        instance = await engine.get(waiting, "before")
        await instance.send_event("go")
        assert await instance.result() == [PLAIN, f"{PLAIN} a", f"{PLAIN} b"]


@pytest.mark.parametrize(
    ("keys", "write", "why"),
    [
        ({}, None, "at least one"),
        (None, None, "at least one"),
        ({"a": b"short"}, None, "32 bytes"),
        ({"a": "x" * 32}, None, "32 bytes"),
        ({"": KEY}, None, "key id"),
        ({"a" * 65: KEY}, None, "key id"),
        ({1: KEY}, None, "key id"),
        ({"a": KEY, "b": KEY}, None, "which one is to write"),
        ({"a": KEY}, "b", "none of the keys"),
    ],
)
def test_bad_keys_are_refused(keys, write, why):
    with pytest.raises(InvalidConfig, match=why):
        Keyring(keys, write=write)


@pytest.mark.parametrize("codec", [Keyring, 5, "aes", object()])
def test_what_is_no_codec_is_refused(codec):
    with pytest.raises(InvalidConfig, match="codec is"):
        Engine(":memory:", codec=codec)


def test_a_keyring_does_not_show_its_keys():
    assert repr(ring(one=KEY, two=OTHER)) == "<Keyring of 'one', 'two', writes 'two'>"


@given(st.binary(), st.binary(), st.data())
def test_what_a_keyring_made_comes_back_there_and_nowhere_else(data, place, drawn):
    keys = ring()
    made = keys.encode(data, place)
    assert keys.decode(made, place) == data
    assert keys.encode(data, place) != made
    other = drawn.draw(st.binary().filter(lambda it: it != place))
    with pytest.raises(ValueError, match="belongs somewhere else"):
        keys.decode(made, other)
    at = drawn.draw(st.integers(0, len(made) - 1))
    flipped = made[:at] + bytes([made[at] ^ (1 << drawn.draw(st.integers(0, 7)))]) + made[at + 1 :]
    with pytest.raises(ValueError):  # noqa: PT011  # whichever part it was
        keys.decode(flipped, place)
    with pytest.raises(ValueError):  # noqa: PT011
        keys.decode(made[:at], place)


def test_blocking_programs_and_those_on_asyncio_have_codecs_too(tmp_path):
    store = str(tmp_path / "s.db")
    with sync.Engine(store, workflows=[child], codec=ring()) as engine:
        assert engine.call(child, PLAIN, id="s") == f"{PLAIN} output"

    async def main() -> None:
        async with aio.Engine(store, workflows=[child], codec=ring()) as engine:
            assert await (await engine.get(child, "s")).result() == f"{PLAIN} output"

    asyncio.run(main())
    assert PLAIN.encode() not in raw(tmp_path / "s.db")


async def test_what_a_schedule_is_and_what_it_creates_is_sealed(tmp_path):
    store = tmp_path / "s.db"
    async with open_test_engine([child], store=str(store), codec=ring()) as engine:
        driver = engine._driver
        creates = ("child", child.version, codec.encode(PLAIN), ["first", "second"])
        becomes = (None, b"\xa0", PLAIN.encode())
        reply = await driver.ask(
            driver.core.change_schedule, "default", "nightly", 0, becomes, [], creates, None
        )
        assert reply.code == ""
        for id in ("first", "second"):
            assert await (await engine.get(child, id)).result() == f"{PLAIN} output"
        reply = await driver.ask(driver.core.schedules, "default", "nightly", 0, 10)
        assert [row[6] for row in reply.data] == [PLAIN.encode()]
    assert PLAIN.encode() not in raw(store)


@pytest.mark.parametrize("codec", [ring(two=OTHER), None], ids=["another key", "no codec"])
async def test_a_schedule_and_a_bulk_without_their_key_wait_for_it_alone(tmp_path, caplog, codec):
    @workflow
    async def waits(step, n: int) -> str:
        return (await step.wait_for_event("go")).payload

    def opened(codec: Any):
        return open_test_engine(
            workflows=[waits], store=tmp_path / "s.db", codec=codec, autojump=False
        )

    async with opened(ring()) as engine:
        await engine.put_schedule(waits, "1 hour", id="hourly", params=3, overlap="allow")
        await engine.create_batch(waits, [NewInstance(1, id=f"w{n}") for n in range(3)])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: engine.pause(waits, ids=["w0", "w1", "w2"], rate=1))
            while not (await engine.count())["paused"]:
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
    async with opened(codec) as engine:
        await engine.clock.advance("1 hour")
        other = await engine.create(waits, 1)
        await other.send_event("go", "fine")
        assert await other.result() == "fine"
        assert await engine.schedules() == []
        for does in (
            lambda: engine.put_schedule(waits, "1 hour", id="hourly", params=4),
            lambda: engine.put_schedule(waits, "2 hours", id="hourly", params=3),
        ):
            with pytest.raises(InvalidConfig, match="does not fire, and cannot be changed"):
                await does()
        assert [it.status for it in (await engine.bulk.list()).items] == ["running"]
        assert (await engine.count())["paused"] == 1
    told = " ".join(it.getMessage() for it in caplog.records)
    assert "schedule 'hourly' does not fire" in told
    assert "is not gone on with" in told
    async with opened(ring()) as engine:
        await engine.clock.advance("2 seconds")
        while (await engine.count())["paused"] < 3:
            await engine.clock.advance("1 second")
        await engine.clock.advance("1 hour")
        (schedule,) = await engine.schedules()
        assert "fired" in [it.outcome for it in (await schedule.firings()).items]


async def test_an_approval_in_a_branch_is_decided_and_a_stuck_step_resolved():
    @workflow(name="branches")
    async def branches(step):
        async def asks(name: str) -> str:
            return (await step.wait_for_approval(name)).metadata

        decided = await step.each(asks, ["a/b", "c#d"])
        return [*decided, await step.do(declined, retry=Retry(delay="1 hour"), as_type=str)]

    async with open_test_engine([branches], codec=ring(), autojump=False) as engine:
        instance = await engine.create(branches)
        while len(asked := (await engine.approvals.list()).items) < 2:
            pass
        for it in asked:
            await engine.approvals.approve(it.id, by="me", metadata=it.name)
        while "attempt_failed" not in {it.status for it in await instance.history()}:
            pass
        await engine.crash()
        await instance.resolve(StepRef("declined"), PLAIN)
        assert await instance.result() == ["a/b", "c#d", PLAIN]


async def test_a_request_and_its_answer_are_sealed(tmp_path):
    @workflow(name="answers")
    async def answers(step):
        asked = await step.wait_for_event("ask")
        await asked.reply(f"{asked.payload} answered")
        await step.wait_for_event("go")
        return asked.payload

    store = tmp_path / "s.db"
    async with open_test_engine([answers], store=str(store), codec=ring()) as engine:
        instance = await engine.create(answers)
        assert await instance.request("ask", PLAIN, dedup_id="one") == f"{PLAIN} answered"
        await engine.crash()
        assert await instance.request("ask", PLAIN, dedup_id="one") == f"{PLAIN} answered"
        await instance.send_event("go")
        assert await instance.result() == PLAIN
        assert f"{PLAIN} answered" in repr(await instance.history())
    assert PLAIN.encode() not in raw(store)


OPEN = {
    "once": "it is the id of a call",
    "large": "keys are drawn, and no values",
    "loose": "the same",
    "set_attributes": "attributes are what instances are listed by",
    "list": "the same",
}
"""Calls of the core that take bytes which are not sealed, and why."""


def test_every_call_of_the_core_that_takes_bytes_seals_them():
    tree = ast.parse(CONTRACT.read_text())
    calls = [
        it
        for cls in tree.body
        if isinstance(cls, ast.ClassDef) and cls.name in ("Calls", "Core")
        for it in cls.body
        if isinstance(it, ast.FunctionDef)
    ]
    taking = {
        it.name
        for it in calls
        if any(
            "bytes" in ast.unparse(arg.annotation)
            for arg in (*it.args.args, *it.args.kwonlyargs)
            if arg.annotation is not None
        )
    }
    assert {"record", "create", "finish"} <= taking
    assert taking - vars(SealedCore).keys() == OPEN.keys() - vars(SealedCore).keys()
