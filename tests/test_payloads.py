"""Large values lie in a payload store: they come back whole, are deleted there too, and what is
wrong with them is the affair of their own instance."""

import gzip
import threading
from pathlib import Path
from typing import Any

import pytest
import trio

import stepwell
from stepwell import (
    Engine,
    Large,
    NewInstance,
    Redacted,
    Retention,
    Retry,
    StepRef,
    StoreFailed,
    TooLarge,
    current_step,
    sync,
    workflow,
)
from stepwell._engine import depot
from stepwell.crypto import Keyring
from stepwell.payloads import Folder, Memory
from stepwell.testing import TestEngine, check_replay, open_test_engine

OVER = 1_000
BIG = 5_000


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(depot, "DELAYS", (0.0, 0.0))


def memory() -> Memory:
    return Memory(over=OVER, limit=100_000)


def large(letter: str) -> str:
    return letter * BIG


async def settle(engine: TestEngine, place: Memory, left: int) -> None:
    """Sweeps until there is no more than that; rows that are erased are freed in the idle, and
    who is purged is at a time."""
    while len(place.values) > left:
        await engine.clock.advance("1 min")
        await swept(engine)
    assert await swept(engine) == 0
    assert len(place.values) == left


async def swept(engine: Engine) -> int:
    """Deletes what is loose now; returns how many values."""
    found = engine._running().depot
    assert found is not None
    return await found.sweep()


@workflow
async def child(step, params: str) -> str:
    return params.upper()


@workflow
async def everything(step, params: str) -> str:
    async def saves() -> str:
        context = current_step()
        if context.saved is None:
            await context.save(large("s"))
            raise ValueError("once more")
        return context.saved

    said = [params[0], (await step.do(saves, retry=Retry(delay=1)))[0]]
    said += [it[0] for it in await step.map(large, ["m", "n"], key=str)]
    called = await step.call(child, large("c"))
    made = await step.create(child, large("d"))
    many = await step.create_batch(child, [large("e"), large("f")])
    said += [it[0] for it in (called, await made.result(), *[await it.result() for it in many])]
    event = await step.wait_for_event("go")
    await event.reply(large("r"))
    said.append(event.payload[0])
    await step.send_event(listens, "ear", "heard", large("v"))
    return "".join(said) + large("o")


@workflow
async def listens(step) -> int:
    return len((await step.wait_for_event("heard")).payload)


ALL = [everything, child, listens]


@pytest.mark.parametrize("codec", [None, Keyring({"k": b"k" * 32})], ids=["plain", "encrypted"])
async def test_d11_every_sort_of_large_value_comes_back_whole_after_a_crash_at_each_wait(
    tmp_path, codec
):
    place = memory()
    store = tmp_path / "s.db"
    async with open_test_engine(
        ALL, store=store, payloads=place, codec=codec, autojump=False
    ) as engine:
        await engine.create(listens, id="ear")
        instance = await engine.create(everything, large("p"), id="all")
        await instance.wait_for_status("waiting")
        await engine.crash()
        while "event" not in str((await instance.status()).waiting_on):
            await engine.clock.advance("20 seconds")
        await engine.crash()
        assert await instance.request("go", large("g"), dedup_id="one") == large("r")
        assert await instance.result() == "psmnCDEFg" + large("o")
        assert await (await engine.get(listens, "ear")).result() == BIG
        await engine.crash()
        assert await instance.result() == "psmnCDEFg" + large("o")
        assert await instance.request("go", large("g"), dedup_id="one") == large("r")
        assert store.stat().st_size < 400_000
        assert all(len(it) >= BIG for it in place.values.values())
        assert any(large("m").encode() in it for it in place.values.values()) == (codec is None)
        await swept(engine)  # what was put at a crash, and that nothing names
        await engine.crash()
        assert await instance.result() == "psmnCDEFg" + large("o")
        history = {it.name: it.output for it in await instance.history()}
        assert isinstance(history["large"], Large)
        exported = await instance.export()
    await check_replay(everything, [exported])


async def test_a_value_up_to_the_threshold_stays_in_the_store():
    @workflow
    async def sized(step, size: int) -> int:
        return len(await step.do(lambda: b"x" * size, name="make"))

    place = memory()
    async with open_test_engine([sized], payloads=place) as engine:
        head = 3  # of an array of bytes in CBOR
        assert await engine.call(sized, OVER - head) == OVER - head
        assert place.values == {}
        assert await engine.call(sized, OVER - head + 1) == OVER - head + 1
        assert [len(it) for it in place.values.values()] == [OVER + 1]


async def test_what_is_over_the_limit_of_the_place_is_refused_and_names_it():
    async with open_test_engine([child], payloads=memory()) as engine:
        with pytest.raises(TooLarge, match=r"over the limit of 1,048,576 \(value_bytes\)"):
            await engine.create(child, "x" * 2_000_000)

    @workflow
    async def makes(step, size: int) -> None:
        await step.do(lambda: "x" * size, name="make")

    place = Memory(over=OVER, limit=3_000_000)
    async with open_test_engine([child, makes], payloads=place) as engine:
        assert len(await engine.call(child, "x" * 2_000_000)) == 2_000_000
        limit = r"over the limit of 3,000,000 \(limit= of the payload store\)"
        with pytest.raises(TooLarge, match=limit):
            await engine.create(child, "x" * 3_000_000)
        with pytest.raises(stepwell.InstanceErrored, match=limit):
            await engine.call(makes, 3_000_000)


@workflow
async def keeps(step, params: str) -> str:
    await step.do(large, "a")
    await step.do(large, "b")
    await step.wait_for_event("go")
    return params


async def test_what_is_deleted_is_deleted_in_the_payload_store_too():
    place = memory()
    async with open_test_engine([keeps], payloads=place, autojump=False) as engine:
        for id in ("x", "y"):
            await (await engine.create(keeps, large("p"), id=id)).wait_for_status("waiting")
        assert len(place.values) == 6
        assert await swept(engine) == 0
        await (await engine.get(keeps, "x")).delete()
        await settle(engine, place, 3)
        other = await engine.get(keeps, "y")
        await engine.crash()
        await other.send_event("go")
        assert await other.result() == large("p")


async def test_what_a_restart_erases_is_deleted_there_and_what_it_keeps_is_not():
    place = memory()
    async with open_test_engine([keeps], payloads=place, autojump=False) as engine:
        instance = await engine.create(keeps, large("p"))
        await instance.wait_for_status("waiting")
        await instance.restart(from_step=StepRef("large", 2))
        await instance.wait_for_status("waiting")
        await settle(engine, place, 3)
        assert sorted(it[3:4] for it in place.values.values()) == [b"a", b"b", b"p"]
        await engine.crash()
        await instance.send_event("go")
        assert await instance.result() == large("p")


async def test_a_childs_output_stays_while_its_parent_has_it():
    @workflow
    async def calls(step) -> int:
        output = await step.call(child, large("c"), id="the-child")
        await step.wait_for_event("go")
        return len(output)

    place = memory()
    async with open_test_engine([calls, child], payloads=place, autojump=False) as engine:
        parent = await engine.create(calls)
        await parent.wait_for_status("waiting")
        while "event" not in str((await parent.status()).waiting_on):
            await engine.clock.advance(1)
        await (await engine.get(child, "the-child")).delete()
        await settle(engine, place, 1)
        await engine.crash()
        await parent.send_event("go")
        assert await parent.result() == BIG
        await parent.delete()
        await settle(engine, place, 0)


@workflow
async def again(step, text: str) -> str:
    if len(text) < OVER + 4:
        await step.continue_as_new(text + "+")
    return text[-3:]


async def test_params_of_the_next_run_lie_there_and_those_of_the_last_one_go():
    place = memory()
    async with open_test_engine([again], payloads=place) as engine:
        instance = await engine.create(again, "x" * (OVER + 1))
        assert await instance.result() == "+++"
        assert (await instance.history())[0].count == 4
        await settle(engine, place, 1)  # of the last run; what it returned is small
        assert not engine._running().depot.in_use
        await instance.delete()
        await settle(engine, place, 0)


async def test_params_of_the_next_run_may_be_as_large_as_those_of_the_first():
    place = Memory(over=OVER, limit=3_000_000)

    @workflow
    async def doubles(step, text: str) -> int:
        if len(text) < 2_000_000:
            await step.continue_as_new(text * 2)
        return len(text)

    async with open_test_engine([doubles], payloads=place) as engine:
        assert await engine.call(doubles, "x" * 1_000_000) == 2_000_000
        with pytest.raises(stepwell.InstanceErrored, match="over the limit of 3,000,000"):
            await engine.call(doubles, "x" * 1_600_000)


async def test_a_next_run_whose_params_cannot_be_put_is_blocked_and_resumed():
    place = Hooked()
    async with open_test_engine([again], payloads=place) as engine:
        instance = await engine.create(again, "x" * (OVER + 1))
        place.before["put"] = raises(OSError(28, "No space left on device"))
        await instance.wait_for_status("blocked")
        assert "the params of the next run" in (await instance.explain()).text
        place.before.clear()
        await instance.resume()
        assert await instance.result() == "+++"


async def test_retention_deletes_there_too():
    place = memory()
    kept = Retention(success="1 day", error="1 day")
    async with open_test_engine([child], payloads=place, retention=kept) as engine:
        await engine.call(child, large("p"))
        assert len(place.values) == 2
        await engine.clock.advance("2 days")
        await settle(engine, place, 0)


class Hooked(Memory):
    """One whose calls do what a test wants first."""

    def __init__(self) -> None:
        super().__init__(over=OVER, limit=100_000)
        self.before: dict[str, Any] = {}
        self.asked: list[str] = []
        self.deleted: set[str] = set()

    def _first(self, name: str) -> Any:
        self.asked.append(name)
        then = self.before.get(name)
        return None if then is None else then()

    def put(self, key: str, data: bytes, /) -> None:
        self._first("put")
        super().put(key, data)

    def get(self, key: str, /) -> bytes:
        made = self._first("get")
        return super().get(key) if made is None else made

    def delete(self, keys, /) -> None:
        self._first("delete")
        super().delete(keys)
        self.deleted.update(keys)


def raises(error: BaseException) -> Any:
    def does() -> None:
        raise error

    return does


@pytest.mark.parametrize("runtime", ["trio", "asyncio"])
@pytest.mark.parametrize("what", ["step", "output", "child", "event"])
async def test_a_value_that_cannot_be_put_blocks_its_own_instance_until_it_can(what, runtime):
    @workflow(name="w", runtime=runtime)
    async def w(step) -> str:
        if what == "step":
            await step.do(large, "a")
        if what == "child":
            await step.call(child, large("c"))
        if what == "event":
            await step.send_event(listens, "ear", "heard", large("v"))
        return large("o") if what == "output" else "done"

    place = Hooked()
    place.before["put"] = raises(OSError(28, "No space left on device"))
    async with open_test_engine([w, child, listens], payloads=place) as engine:
        await engine.create(listens, id="ear")
        instance = await engine.create(w)
        other = await engine.create(child, "small")
        await instance.wait_for_status("blocked")
        told = await instance.explain()
        assert told.code == "payloads"
        assert "could not be put into the payload store" in told.text
        assert "No space left on device" in told.text
        assert "resume()" in told.text
        assert await other.result() == "SMALL"
        place.before.clear()
        await instance.resume()
        assert await instance.result() == (large("o") if what == "output" else "done")
        await swept(engine)
        assert all(it for it in place.values.values())


async def test_a_caller_whose_value_cannot_be_put_is_told_and_nothing_is_changed():
    place = Hooked()
    place.before["put"] = raises(OSError(28, "No space left on device"))
    async with open_test_engine([listens, child], payloads=place, autojump=False) as engine:
        ear = await engine.create(listens)
        for call in (
            lambda: engine.create(child, large("p"), id="x"),
            lambda: engine.create_batch(child, [NewInstance(large("p"), id="x")]),
            lambda: ear.send_event("heard", large("v")),
        ):
            with pytest.raises(StoreFailed, match=r"No space left.*Nothing was changed"):
                await call()
        assert engine.peek(child, "x") is None
        await swept(engine)  # the engine may have done so before
        assert len(place.deleted) >= 3
        await ear.send_event("heard", "short")
        assert await ear.result() == 5


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (raises(KeyError("gone")), "is missing in the payload store"),
        (lambda: b"others bytes", "is damaged in the payload store"),
        (raises(OSError("no route to host")), "no route to host"),
    ],
)
async def test_a_value_that_cannot_be_had_blocks_its_own_instance_and_is_told_where_it_is_read(
    made, why
):
    place = Hooked()
    async with open_test_engine([keeps, child], payloads=place, autojump=False) as engine:
        ended = await engine.create(child, large("c"))
        await ended.result()
        instance = await engine.create(keeps, "short")
        await instance.wait_for_status("waiting")
        place.before["get"] = made
        await engine.crash()
        await instance.send_event("go")
        await instance.wait_for_status("blocked")
        told = await instance.explain()
        assert told.code == "undecodable"
        assert why in told.text
        assert "5,003 bytes under" in told.text
        assert "Then resume()" in told.text
        error = (await ended.status()).error
        assert error is not None
        assert why in error.message
        assert "resume" not in error.message  # it has ended
        with pytest.raises(stepwell.InvalidPayload, match=why):
            await ended.result()
        assert "Restore the type" not in told.text + error.message
        assert await engine.call(child, "small") == "SMALL"
        assert len(await instance.history()) == 3
        place.before.clear()
        await instance.resume()
        assert await instance.result() == "short"
        assert await ended.result() == large("C")


async def test_an_engine_without_the_payload_store_says_what_it_lacks(tmp_path):
    store = tmp_path / "s.db"
    async with open_test_engine([keeps], store=store, payloads=memory(), autojump=False) as engine:
        await (await engine.create(keeps, large("p"), id="x")).wait_for_status("waiting")
    async with open_test_engine([keeps], store=store, autojump=False) as engine:
        instance = await engine.get(keeps, "x")
        await instance.send_event("go")
        await instance.wait_for_status("blocked")
        text = (await instance.explain()).text
        assert "5,003 bytes that lie in a payload store, and this engine was given none" in text
        assert [it.output for it in (await instance.history())[:2]] == [Large(BIG + 3)] * 2


async def test_a_place_that_hangs_holds_up_its_own_instance_alone(monkeypatch):
    monkeypatch.setattr(depot, "SECONDS", 1e6)
    goes_on = threading.Event()
    place = Hooked()
    place.before["put"] = goes_on.wait
    async with open_test_engine([keeps, child], payloads=place, autojump=False) as engine:
        instance = await engine.create(keeps, "short")
        while "put" not in place.asked:
            await trio.lowlevel.checkpoint()
        assert await engine.call(child, "small") == "SMALL"
        assert engine.peek(keeps, instance.id) == "running"
        assert "large" in (await instance.explain()).text
        await instance.pause()
        goes_on.set()
        await instance.wait_for_status("paused")
        await instance.resume()
        await instance.wait_for_status("waiting")
        place.asked.clear()
        goes_on.clear()
        place.before = {"get": goes_on.wait}
        await engine.crash()
        await instance.send_event("go")
        while "get" not in place.asked:
            await trio.lowlevel.checkpoint()
        assert await engine.call(child, "small") == "SMALL"
        await instance.terminate()
        assert (await instance.status()).status == "terminated"
        place.before.clear()
        goes_on.set()


async def test_a_call_that_takes_too_long_is_given_up_and_what_it_puts_late_is_deleted(monkeypatch):
    monkeypatch.setattr(depot, "SECONDS", 0.0)
    goes_on = threading.Event()
    place = Hooked()
    place.before["put"] = goes_on.wait
    async with open_test_engine([child], payloads=place) as engine:
        with pytest.raises(StoreFailed, match="has not answered"):
            await engine.create(child, large("p"), id="x")
        assert await swept(engine) == 0  # a thread may yet put it
        monkeypatch.setattr(depot, "SECONDS", 60)
        goes_on.set()
        while depot._PUTTING:
            await trio.lowlevel.checkpoint()
        assert await swept(engine) == 1
        assert place.values == {}


async def test_a_sweep_deletes_nothing_that_was_put_since_it_began():
    goes_on, place = threading.Event(), Hooked()
    place.before["put"] = goes_on.wait
    async with open_test_engine([child], payloads=place) as engine, trio.open_nursery() as nursery:
        host = engine._running().depot.driver
        asks = host.ask

        async def asks_late(call, *args):
            if call.__name__ != "loose":
                return await asks(call, *args)
            host.ask = asks
            nursery.start_soon(lambda: engine.create(child, large("p"), id="x"))
            while "put" not in place.asked:
                await trio.lowlevel.checkpoint()
            reply = await asks(call, *args)  # its key is kept, and no record names it yet
            goes_on.set()
            while engine.peek(child, "x") is None:
                await trio.lowlevel.checkpoint()
            return reply

        host.ask = asks_late
        await swept(engine)
        assert not place.deleted


async def test_a_caller_who_gives_up_creates_nothing():
    goes_on = threading.Event()
    place = Hooked()
    place.before["put"] = goes_on.wait
    async with open_test_engine([child], payloads=place) as engine:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lambda: engine.create(child, large("p"), id="x"))
                while "put" not in place.asked:
                    await trio.lowlevel.checkpoint()
                scope.cancel()
        goes_on.set()
        while engine._running().is_putting or depot._PUTTING:
            await trio.lowlevel.checkpoint()
        assert (await engine.count())["complete"] == 0
        await swept(engine)
        assert place.values == {}


async def test_what_a_sweep_cannot_delete_comes_again(caplog):
    place = Hooked()
    async with open_test_engine([child], payloads=place) as engine:
        instance = await engine.create(child, large("p"))
        await instance.result()
        await instance.delete()
        place.before["delete"] = raises(PermissionError("read-only"))
        assert await swept(engine) == 0
        assert await swept(engine) == 0
        assert sum("cannot be deleted" in it.getMessage() for it in caplog.records) == 1
        place.before.clear()
        await settle(engine, place, 0)


async def test_params_in_a_payload_store_are_found_the_same():
    async with open_test_engine([keeps], payloads=memory(), autojump=False) as engine:
        await engine.create(keeps, large("p"), id="x")
        same = {"id": "x", "if_exists": "return_if_same"}
        assert (await engine.create(keeps, large("p"), **same)).id == "x"
        with pytest.raises(stepwell.InstanceExists, match="other params"):
            await engine.create(keeps, large("q"), **same)


async def test_a_sensitive_value_there_is_not_shown():
    @workflow
    async def secret(step) -> int:
        return len(await step.do(large, "z", sensitive=True))

    async with open_test_engine([secret], payloads=memory()) as engine:
        instance = await engine.create(secret)
        assert await instance.result() == BIG
        [record] = await instance.history()
        assert isinstance(record.output, Redacted)


async def test_a_stuck_step_is_resolved_with_a_large_value():
    @workflow
    async def stuck(step) -> int:
        return len(await step.do(fails, retry=Retry(delay="1 hour"), as_type=str))

    def fails() -> str:
        raise ValueError("no")

    place = memory()
    async with open_test_engine([stuck], payloads=place, autojump=False) as engine:
        instance = await engine.create(stuck)
        await instance.wait_for_status("waiting")
        await instance.resolve(StepRef("fails"), large("v"))
        assert await instance.result() == BIG
        assert len(place.values) == 1


async def test_watching_fetches_nothing_and_the_output_is_there_for_whoever_waits():
    place = Hooked()
    async with open_test_engine([child], payloads=place) as engine:
        instance = await engine.create(child, large("p"))
        async with instance.watch() as updates:
            told = [it async for it in updates]
        assert told[-1].status == "complete"
        await engine.list()
        await instance.history()
        place.asked.clear()
        await instance.history()
        await engine.list()
        assert place.asked == []
        assert await instance.result() == large("P")


def test_a_client_is_told_that_a_value_is_too_large_for_a_frame(tmp_path, monkeypatch):
    from stepwell._engine import frames

    store = str(tmp_path / "s.db")
    place = Folder(tmp_path / "large", over=OVER)
    with sync.Engine(store, workflows=[child], payloads=place) as engine:
        engine.call(child, large("p"), id="x")
        monkeypatch.setattr(frames, "FRAME_MAX", 4_000)
        with sync.Client(store) as client, pytest.raises(TooLarge, match=r"5,\d\d\d bytes"):
            client.get("child", "x").result()


def test_a_client_and_blocking_programs_get_whole_values(tmp_path):
    store = str(tmp_path / "s.db")
    place = Folder(tmp_path / "large", over=OVER)
    with sync.Engine(store, workflows=[child], payloads=place) as engine:
        assert engine.call(child, large("p"), id="x") == large("P")
        with sync.Client(store) as client:
            made = client.create("child", large("q"), id="y")
            assert made.result() == large("Q")
            assert client.get("child", "x").result() == large("P")


async def test_a_store_of_before_there_was_one_takes_it(tmp_path):
    kept = Path(__file__).parent / "old_stores" / "schema_6.db.gz"
    store = tmp_path / "old.db"
    store.write_bytes(gzip.decompress(kept.read_bytes()))
    place = memory()
    async with open_test_engine([child], store=store, payloads=place) as engine:
        assert await engine.call(child, large("p")) == large("P")
        assert len(place.values) == 2
        assert await swept(engine) == 0
