"""A client asks the engine of another process as that process asks it itself."""

import os
import re
import subprocess
import sys
import textwrap
import threading
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trio
import trio.testing

from stepwell import (
    Client,
    Engine,
    EngineClosed,
    InstanceErrored,
    InstanceExists,
    InstanceNotFound,
    InstanceTerminated,
    InvalidConfig,
    InvalidState,
    NewInstance,
    NoEngine,
    NotSerializable,
    Redacted,
    Retry,
    Status,
    Step,
    aio,
    sync,
    workflow,
)
from stepwell._client import connection
from stepwell._engine import answering
from stepwell._engine.table import OPERATIONS


@dataclass
class Cart:
    """What is bought."""

    items: list[str]
    at: datetime | None = None


AT = datetime(2026, 5, 1, tzinfo=UTC)


@workflow
async def order(step: Step, cart: Cart) -> Cart:
    paid = await step.wait_for_event("paid")
    return Cart([*cart.items, str(paid.payload)], AT)


@workflow
async def asks(step: Step, n: int = 7) -> int:
    approval = await step.wait_for_approval("ship")
    return n + len(approval.by)


@workflow
async def fails(step: Step) -> None:
    async def no() -> None:
        raise ValueError("no")

    await step.do(no, retry=Retry.never)


WORKFLOWS = [order, asks, fails]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "shop.db"


def both(path):
    """An engine and a client of it."""
    return Engine(path, workflows=WORKFLOWS), Client(path, timeout=5)


async def test_instances_are_created_moved_and_told_of(path):
    engine, client = both(path)
    async with engine, client:
        made = await client.create(order, Cart(["a"]), id="o-1", attributes={"by": "ann"})
        assert (made.id, made.workflow) == ("o-1", "order")
        await made.wait_for_status("waiting")
        assert (await made.status()) == await (await engine.get(order, "o-1")).status()
        assert (await made.explain()).text == (
            await (await engine.get(order, "o-1")).explain()
        ).text
        await made.pause(actor="ann", note="lunch")
        assert (await client.get("order", "o-1")).id == "o-1"
        assert await made.wait_for_status("paused") is Status.PAUSED
        await made.resume()
        await made.send_event("paid", 5, dedup_id="once")
        await made.send_event("paid", 6, dedup_id="once")
        assert await made.result() == Cart(["a", "5"], AT)
        with pytest.raises(InvalidState, match="complete"):
            await made.terminate()
        [line] = [it for it in await made.history() if it.event_type == "paid"]
        assert line.output == 5
        assert [it.operation for it in await client.audit()] == ["resume", "pause"]
        await made.delete()
        with pytest.raises(InstanceNotFound):
            await made.status()


async def test_a_name_gives_plain_data_and_a_workflow_its_types(path):
    engine, client = both(path)
    async with engine, client:
        named = await client.create("order", {"items": ["a"], "at": None}, id="o-1")
        await named.send_event("paid", 1)
        assert await named.result() == {"items": ["a", "1"], "at": AT}
        assert (await named.status()).output == {"items": ["a", "1"], "at": AT}
        typed = await client.get(order, "o-1")
        assert await typed.result() == Cart(["a", "1"], AT)
        assert await (await client.get("order", "o-1")).result() == {"items": ["a", "1"], "at": AT}
        with pytest.raises(NotSerializable):
            await client.create("order", Cart(["a"]))


async def test_params_left_out_are_the_default_of_the_engines_code(path):
    engine, client = both(path)
    async with engine, client:
        instance = await client.create("asks", id="a")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_approve_first, client)
            assert await instance.result() == 7 + len("ann")


async def _approve_first(client) -> None:
    await (await client.get("asks", "a")).wait_for_status("waiting")
    [asked] = await client.approvals.list()
    assert await client.approvals.approve(asked.id, by="ann")
    assert not await client.approvals.reject(asked.id, by="bob")


async def test_an_id_that_is_taken_is_told_as_by_the_engine(path):
    engine, client = both(path)
    async with engine, client:
        await client.create(order, Cart([]), id="o-1")
        with pytest.raises(InstanceExists, match="o-1"):
            await client.create(order, Cart([]), id="o-1")
        same = await client.create(order, Cart([]), id="o-1", if_exists="return_if_same")
        assert same.id == "o-1"
        made = await client.create_batch(
            order, [Cart([]), NewInstance(Cart([]), "o-1"), NewInstance(Cart([]), "no way")]
        )
        assert len(made.created) == 1
        assert [(it.index, type(it.error).__name__) for it in made.errors] == [
            (1, "InstanceExists"),
            (2, "InvalidName"),
        ]


async def test_how_an_instance_ended_is_raised_with_its_recorded_error(path):
    engine, client = both(path)
    async with engine, client:
        with pytest.raises(InstanceErrored, match="no") as raised:
            await client.call(fails)
        assert raised.value.error.step == "no"
        gone = await client.create(order, Cart([]))
        await gone.terminate(actor="ann")
        with pytest.raises(InstanceTerminated, match="ann terminated it"):
            await gone.result()


async def test_many_are_moved_counted_and_listed(path):
    engine, client = both(path)
    async with engine, client:
        await client.create_batch(order, [Cart([])] * 30)
        seen = await client.terminate(order, status="all", dry_run=True)
        assert sum(seen.counts.values()) == 30
        done = await client.terminate(order, status="all", actor="ann")
        assert (done.done, done.errors) == (30, [])
        assert (await client.count(order))[Status.TERMINATED] == 30
        assert (await client.bulk.get(done.id)).done == 30
        first = await client.list(order, limit=20)
        rest = await client.list(order, limit=20, cursor=first.cursor)
        assert len({it.id for it in [*first, *rest]}) == 30
        await client.set_limits(order, concurrency=5)
        assert (await client.limits(order)).concurrency == 5
        assert engine.limits(order).concurrency == 5
        assert await client.versions() == await engine.versions()
        assert await client.reasons() == await engine.reasons()
        assert (await client.queue(order)).code == "empty"
        assert (await client.statistics()).shards == engine.statistics().shards


async def test_namespaces_are_the_engines(path):
    engine, client = both(path)
    async with engine, client:
        acme = client.namespace("acme")
        await acme.create(order, Cart([]), id="o-1")
        assert sum((await client.count()).values()) == 0
        assert sum((await acme.count()).values()) == 1
        assert await client.namespaces() == ["acme"]
        assert (await acme.limits()).steps == 100_000


async def test_the_whole_engine_is_copied_spread_and_drained(path, tmp_path, monkeypatch):
    engine, client = both(path)
    monkeypatch.chdir(tmp_path)
    async with engine, client:
        await client.backup("copy.db")
        assert (tmp_path / "copy.db").exists()
        await client.reshard(3)
        assert engine.statistics().shards == 3
        await client.drain("1 second")
        assert engine._driver.drained


async def test_what_happens_is_followed_and_so_is_every_change(path):
    engine, client = both(path)
    async with engine, client:
        async with client.changes() as changes:
            instance = await client.create(order, Cart([]), id="o-1")
            assert (await anext(changes)).id == "o-1"
        async with instance.watch() as updates:
            await instance.send_event("paid", 1)
            seen = [it async for it in updates]
        assert seen[-1].status is Status.COMPLETE
        async with instance.watch(cursor=seen[-2].cursor) as updates:
            assert [it.cursor async for it in updates] == [seen[-1].cursor]


async def test_a_follower_who_does_not_read_is_cut_and_misses_nothing(path, monkeypatch):
    monkeypatch.setattr(connection, "ITEMS_MAX", 3)

    @workflow
    async def steps(step: Step) -> None:
        await step.wait_for_event("go")
        for _ in range(40):
            await step.do(one)

    async with Engine(path, workflows=[steps]), Client(path, timeout=5) as client:
        instance = await client.create(steps)
        async with instance.watch() as updates:
            await instance.send_event("go")
            await instance.result()
            seen = [it async for it in updates]
        assert sum(it.kind == "record" and it.record.kind == "do" for it in seen) == 40


async def one() -> int:
    return 1


async def test_a_client_is_told_of_a_sensitive_value_how_long_it_is(path):
    @workflow
    async def hides(step: Step) -> None:
        step.report({"at": 1})
        await step.do(one, sensitive=True)
        await step.do(one)

    async with Engine(path, workflows=[hides]), Client(path, timeout=5) as client:
        instance = await client.create(hides)
        await instance.result()
        assert [it.output for it in await instance.history()] == [Redacted(1), 1]
        assert (await instance.status()).progress == {"progress": {"at": 1}}
        async with instance.watch() as updates:
            seen = [it.record.output async for it in updates if it.record]
        assert seen == [Redacted(1), 1]


async def test_a_call_that_is_given_up_is_given_up_in_the_engine(path):
    engine, client = both(path)
    async with engine, client:
        instance = await client.create(order, Cart([]))
        for _ in range(3):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(instance.result)
                while not engine._driver.watchers._watches:
                    await trio.testing.wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()
            while engine._driver.watchers._watches:
                await trio.testing.wait_all_tasks_blocked()


# Who may use it, and when.


async def test_without_an_engine_a_call_waits_and_says_so(path):
    async with Client(path, timeout=0.05) as client:
        with pytest.raises(NoEngine, match="Start one"):
            await client.count()
    assert not path.exists()


async def test_a_call_waits_for_the_engine_that_comes(path):
    async with Client(path, timeout=30) as client, trio.open_nursery() as nursery:
        nursery.start_soon(_counts, client)
        await trio.testing.wait_all_tasks_blocked()
        async with Engine(path, workflows=WORKFLOWS):
            while nursery.child_tasks:
                await trio.testing.wait_all_tasks_blocked()


async def _counts(client) -> None:
    assert sum((await client.count()).values()) == 0


async def test_another_version_is_told_at_once_and_which(path, monkeypatch):
    engine, client = both(path)
    monkeypatch.setattr(answering, "PROTOCOL", 99)
    monkeypatch.setattr("stepwell._engine.engine.PROTOCOL", 99)
    async with engine, client:
        with pytest.raises(NoEngine, match="speaks version 99 of the protocol; this client"):
            await client.count()


async def test_it_is_used_inside_its_block_and_by_its_thread(path):
    engine, client = both(path)
    with pytest.raises(EngineClosed, match="not open"):
        await client.count()
    async with engine:
        async with client:
            said = []

            def elsewhere() -> None:
                try:
                    client.count().send(None)
                except InvalidState as error:
                    said.append(str(error))

            thread = threading.Thread(target=elsewhere)
            thread.start()
            thread.join()
            assert "another thread" in said[0]
        with pytest.raises(EngineClosed, match="not open"):
            await client.count()
        with pytest.raises(EngineClosed, match="opens once"):
            async with client:
                pass
    with pytest.raises(InvalidConfig, match="memory"):
        Client(":memory:")


async def test_the_parents_client_is_refused_in_a_forked_child_and_goes_on(path):
    engine, client = both(path)
    async with engine, client:
        await client.count()
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                client.count().send(None)
                os.write(writer, b"it was made")
            except BaseException as error:
                os.write(writer, f"{type(error).__name__}: {error}".encode())
            os._exit(0)
        os.waitpid(pid, 0)
        os.close(writer)
        with open(reader, "rb") as said:
            assert said.read().startswith(b"EngineClosed: this client was opened by process")
        assert sum((await client.count()).values()) == 0


# Other kinds of programs.


def test_a_blocking_program_has_it_too(tmp_path):
    path = tmp_path / "shop.db"
    with sync.Engine(path, workflows=WORKFLOWS), sync.Client(path, timeout=5) as client:
        instance = client.create(order, Cart(["a"]))
        with instance.watch() as updates:
            instance.send_event("paid", 1)
            assert [it.status for it in updates][-1] is Status.COMPLETE
        assert instance.result() == Cart(["a", "1"], AT)
        assert client.limits().steps == 100_000
        assert client.namespace("acme").count()[Status.RUNNING] == 0
    with pytest.raises(EngineClosed):
        client.count()


async def test_an_asyncio_program_has_it_too(tmp_path):
    import asyncio

    path = tmp_path / "shop.db"

    async def main() -> None:
        async with aio.Client(path, timeout=5) as client:
            instance = await client.create(order, Cart(["a"]))
            await instance.send_event("paid", 1)
            assert await instance.result() == Cart(["a", "1"], AT)
            assert (await client.limits()).steps == 100_000
            async with client.changes() as changes:
                await client.create(order, Cart([]))
                assert (await anext(changes)).workflow == "order"

    async with Engine(path, workflows=WORKFLOWS):
        await trio.to_thread.run_sync(asyncio.run, main())


@pytest.mark.parametrize("front", [None, aio, sync])
def test_it_has_every_operation_that_other_processes_may_ask_for(front):
    cls = Client if front is None else front.Client
    for it in OPERATIONS:
        if it.of in ("engine", "namespace") and it.is_remote:
            assert hasattr(cls, it.method), it.name
    assert not hasattr(cls, "peek")


# The engine's end.

PROGRAM = """
import sys, trio
from stepwell import Engine, Step, workflow

@workflow
async def order(step: Step, n: int) -> int:
    return n + (await step.wait_for_event("paid")).payload

async def main():
    async with Engine(sys.argv[1], workflows=[order]):
        print("open", flush=True)
        await trio.sleep_forever()

trio.run(main)
"""


@contextmanager
def engine_process(path):
    """An engine in another process, which is killed at the end of the block."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(path)], stdout=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout.readline() == b"open\n"
            yield
        finally:
            process.kill()


async def test_a_client_goes_on_with_the_next_engine_when_one_is_killed(path):
    results: list[object] = []
    done = trio.Event()
    async with Client(path, timeout=60) as client:

        async def result() -> None:
            results.append(await instance.result())
            done.set()

        first = ExitStack()
        first.enter_context(engine_process(path))
        instance = await client.create("order", 1, id="o-1")
        await instance.wait_for_status("waiting")
        async with instance.watch() as updates, trio.open_nursery() as nursery:
            nursery.start_soon(result)
            seen = [await anext(updates)]
            first.close()
            with engine_process(path):
                assert (await client.count())[Status.WAITING] == 1
            with engine_process(path):
                await instance.send_event("paid", 2)
                seen += [it async for it in updates]
                await done.wait()
    assert results == [3]
    assert seen[-1].status is Status.COMPLETE
    assert len({it.cursor for it in seen}) == len(seen)


async def test_whoever_waits_for_many_is_told_that_it_goes_on(path):
    async with Client(path, timeout="100 ms") as client, trio.open_nursery() as nursery:
        told: list[str] = []

        async def pause() -> None:
            with pytest.raises(EngineClosed) as caught:
                await client.pause("order", status="all", rate=0.001)
            told.append(str(caught.value))

        with engine_process(path):
            async with Client(path, timeout=60) as patient:
                await patient.create_batch("order", [NewInstance(n) for n in range(3)])
                nursery.start_soon(pause)
                while not (await patient.bulk.list()).items:
                    pass
        while not told:
            await trio.testing.wait_all_tasks_blocked()
        assert "is in the list of bulk operations, and goes on with the next engine" in told[0]


# The page.

PAGE = (Path(__file__).parent.parent / "docs" / "clients.md").read_text()


@dataclass
class Bought:
    """What came of a cart."""

    items: list[str]
    paid: int


@workflow(name="order")
async def shop(step: Step, cart: Cart) -> Bought:
    return Bought(cart.items, (await step.wait_for_event("paid")).payload)


async def test_the_page_shows_what_happens(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    async with Engine("shop.db", workflows=[shop]):
        for example in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
            if "Engine(" in example:
                continue  # of the engine's own program
            scope = {"Client": Client, "order": shop}
            body = textwrap.indent(example, "    ")
            exec(compile(f"async def part():\n{body}", "clients.md", "exec"), scope)
            await scope["part"]()
    said = "{'items': ['book'], 'paid': 40}\n"
    assert capsys.readouterr().out == said + said + "Bought(items=['book'], paid=40)\n"
