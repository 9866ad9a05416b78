"""What a client reads of a store that no engine has: the same that its engine said, and nothing is
written."""

import asyncio
import gzip
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import damage
import pytest
import trio

from stepwell import (
    Client,
    Engine,
    InstanceNotFound,
    InvalidConfig,
    NewInstance,
    NoEngine,
    Retry,
    Source,
    Status,
    Step,
    StoreCorrupt,
    StoreFailed,
    StoreVersion,
    Undo,
    UndoContext,
    aio,
    sync,
    workflow,
)

OLD = Path(__file__).parent / "old_stores" / "schema_6.db.gz"


async def fails() -> None:
    raise ValueError("no")


@workflow
async def retries(step: Step) -> None:
    await step.do(fails, retry=Retry(delay="1 hour"))


@workflow(on_error="blocked")
async def stops(step: Step) -> None:
    await step.do(fails, retry=Retry.never)


async def gone(ctx: UndoContext) -> None:
    raise ValueError("cannot be undone")


@workflow
async def undoes(step: Step) -> None:
    await step.do(damage.reports, undo=Undo(gone, retry=Retry.never))
    raise ValueError("not this way")


WORKFLOWS = [*damage.ALL, retries, stops, undoes]
KINDS = {
    "asks": "waiting", "calls": "waiting", "errs": "errored", "gives": "complete",
    "retries": "waiting", "sleeps": "waiting", "stops": "blocked", "undoes": "errored",
    "waits": "waiting",
}  # fmt: skip


@pytest.fixture
def path(tmp_path):
    return tmp_path / "shop.db"


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """A store as a clean end leaves it, and as a kill does."""
    folder = tmp_path_factory.mktemp("made")
    trio.run(damage.make, folder / "clean.db", folder / "killed.db")
    return folder


@pytest.fixture(params=["clean", "killed"])
def left(request, stores, path):
    for end in ("", "-wal"):
        if (source := stores / f"{request.param}.db{end}").exists():
            shutil.copy(source, f"{path}{end}")
    if request.param == "killed":
        as_if_killed(path)
    return path


def as_if_killed(path: Path) -> None:
    """Writes something that stays in the WAL, as a process does that ends at once."""
    program = (
        "import os, sqlite3, sys; c = sqlite3.connect(sys.argv[1]); "
        "c.execute('PRAGMA wal_autocheckpoint=0'); "
        "c.execute('UPDATE store SET clean = 0, boot = boot + 1'); c.commit(); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", program, str(path)], check=True)
    os.unlink(f"{path}-shm")
    assert os.path.getsize(f"{path}-wal")


def beside(path: Path) -> dict[str, tuple[bytes, int]]:
    """All that is in the folder of a store, and when it was written."""
    return {it.name: (it.read_bytes(), it.stat().st_mtime_ns) for it in path.parent.iterdir()}


async def all_told(client) -> dict[str, object]:
    """Everything that can be looked at, but for where it is from."""
    told: dict[str, object] = {
        "count": await client.count(),
        "counts": await client.count("waits", status="waiting"),
        "page": (await client.list(limit=3)).items,
        "oldest": (await client.list(newest_first=False, limit=1000)).items,
        "some": (await client.list("gives", status=["complete"])).items,
        "queued": (await client.list(status="queued", reason="start_at")).items,
        "retrying": (await client.list(reason="retrying")).items,
        "failed": (await client.list(reason="failed")).items,
        "gold": (await client.list(attributes={"tier": "gold"})).items,
        "children": (await client.list(parent="calls-1")).items,
        "by id": (await client.list(id_prefix="re")).items,
        "scheduled": (await client.list(schedule="daily")).items,
        "reasons": sorted(map(str, await client.reasons())),
        "versions": [
            (it.workflow, it.version, it.counts)
            for it in await client.versions()
            if any(it.counts.values())
        ],
        "approvals": (await client.approvals.list()).items,
        "audit": (await client.audit()).items,
        "of one": (await client.audit(workflow="gives", id="gives-1")).items,
        "bulks": (await client.bulk.list()).items,
        "namespaces": await client.namespaces(),
    }
    for schedule in await client.schedules():
        firings = (await schedule.firings()).items
        told[f"schedule {schedule.id}"] = (schedule.next_at, schedule.paused_at, firings)
    for it in (await client.list(limit=1000)).items:
        who = f"{it.workflow}/{it.id}"
        instance = await client.get(it.workflow, it.id)
        told[f"status of {who}"] = await instance.status()
        told[f"history of {who}"] = await instance.history()
        told[f"export of {who}"] = await instance.export()
        explained = await instance.explain()
        told[f"explanation of {who}"] = explained._replace(
            # how many attempts there are to be says the code
            text=re.sub(r" of 5(?= of)| Read from the file: .*", "", explained.text)
        )
    return told


async def fill(engine) -> None:
    for kind, status in KINDS.items():
        params = 1 if kind in ("gives", "waits") else None
        instance = await engine.create(
            kind, params, id=f"{kind}-1", attributes={"tier": "gold"} if kind == "gives" else None
        )
        await instance.wait_for_status(status)
    paused = await engine.create("sleeps", id="paused")
    await paused.pause(actor="ann")
    await paused.wait_for_status("paused")
    await (await engine.get("waits", "waits-1")).send_event("other")
    later = datetime.now(UTC) + timedelta(days=1)
    await engine.create_batch("gives", [NewInstance(1, id="later", start_at=later)])
    await engine.retry_now(ids=["waits-1"], workflow="waits", actor="bob")
    daily = await engine.put_schedule("gives", "1 day", id="daily", params=3)
    await (await daily.trigger()).result()
    await engine.set_limits("gives", concurrency=9, actor="ann", note="what the audit is to show")


async def test_the_file_says_what_its_engine_said(path):
    damage.gate["open"] = False
    async with Engine(str(path), workflows=WORKFLOWS) as engine:
        await fill(engine)
        async with Client(path) as client:
            before = await all_told(client)
            assert client.source == Source("engine")
    files = beside(path)
    async with Client(path, timeout=0) as client:
        after = await all_told(client)
        assert client.source is not None
        assert client.source.place == "file"
        assert client.source.ended_well
        assert client.source.process is None
        assert abs(client.source.recorded_at - datetime.now(UTC)) < timedelta(minutes=5)
        resting = await (await client.get("stops", "stops-1")).explain()
        assert "Read from the file: no engine has it; what it recorded last is of" in str(resting)
    assert beside(path) == files
    assert after.keys() == before.keys()
    for what, told in before.items():
        assert after[what] == told, what


async def test_nothing_is_written_and_nothing_comes_to_lie_beside_it(left):
    files = beside(left)
    async with Client(left, timeout=0) as client:
        told = await all_told(client)
        assert told["count"][Status.COMPLETE] == 3
        assert client.source.ended_well == ("clean" in str(left) or "-wal" not in str(files))
    assert beside(left) == files


async def test_a_folder_that_may_not_be_written_is_read(left):
    files = beside(left)
    left.chmod(0o400)
    left.parent.chmod(0o500)
    try:
        async with Client(left, timeout=0) as client:
            assert (await client.count())[Status.COMPLETE] == 3
    finally:
        left.parent.chmod(0o700)
    assert beside(left) == files


@pytest.mark.parametrize("name", ["a b?c#d%41.db", "gr\u00fc\u00df.db"])
async def test_any_name_of_a_file_will_do(name, stores, tmp_path):
    shutil.copy(stores / "clean.db", tmp_path / name)
    async with Client(tmp_path / name, timeout=0) as client:
        assert (await client.count())[Status.COMPLETE] == 3
    assert [it.name for it in tmp_path.iterdir()] == [name]


async def test_who_is_not_there_is_not_found_in_a_file_either(left):
    async with Client(left, timeout=0) as client:
        with pytest.raises(InstanceNotFound):
            await client.get("gives", "nobody")
        with pytest.raises(InvalidConfig, match='no workflow "nothing"'):
            await client.list("nothing")
        typed = await client.get(damage.gives, "good")
        assert await typed.result() == 2


async def test_what_changes_something_or_waits_needs_an_engine(left):
    files = beside(left)
    async with Client(left, timeout=0.01) as client:
        instance = await client.get("waits", "good")
        for call in (
            lambda: client.create("gives", 1),
            lambda: client.pause("waits", status="all"),
            lambda: client.set_limits(steps=7),
            lambda: client.limits(),
            lambda: client.statistics(),
            lambda: client.approvals.approve("asks/good#ship#1", by="ann"),
            lambda: instance.send_event("go"),
            lambda: instance.terminate(),
            lambda: instance.restart(dry_run=True),
            lambda: instance.result(),
            lambda: instance.wait_for_status("complete"),
        ):
            with pytest.raises(NoEngine, match=r"no engine of .*shop\.db answered"):
                await call()
        assert await instance.wait_for_status("waiting") == Status.WAITING
    assert beside(left) == files


async def test_a_store_that_is_not_there_is_not_made(tmp_path):
    async with Client(tmp_path / "none.db", timeout=0.01) as client:
        for call in (client.count, client.list, lambda: client.get("gives", "good")):
            with pytest.raises(NoEngine):
                await call()
        assert client.source is None
    assert not list(tmp_path.iterdir())


async def test_a_folder_is_no_store(tmp_path):
    async with Client(tmp_path, timeout=0.01) as client:
        with pytest.raises(InvalidConfig, match="is a folder; give the path of a file"):
            await client.count()


async def test_an_older_store_says_what_brings_it_up_to_date(path):
    path.write_bytes(gzip.decompress(OLD.read_bytes()))
    files = beside(path)
    async with Client(path, timeout=0) as client:
        with pytest.raises(StoreVersion, match=r"written by an older Stepwell \(schema 6;"):
            await client.list()
    assert beside(path) == files


async def test_a_newer_store_is_left_alone(left):
    with closing(sqlite3.connect(left)) as conn:
        conn.execute("PRAGMA user_version = 99")
    files = beside(left)
    async with Client(left, timeout=0) as client:
        with pytest.raises(StoreVersion, match=r"newer Stepwell \(schema 99"):
            await client.list()
    assert beside(left) == files


async def test_what_is_no_store_is_told(path):
    path.write_text("a letter")
    async with Client(path, timeout=0) as client:
        with pytest.raises(StoreFailed, match="is not a SQLite database"):
            await client.count()
    assert [it.name for it in path.parent.iterdir()] == ["shop.db"]


async def test_a_damaged_file_is_told_and_its_other_pages_are_read(stores, path):
    whole = (stores / "clean.db").read_bytes()
    with closing(sqlite3.connect(f"file:{stores / 'clean.db'}?mode=ro", uri=True)) as conn:
        (page,) = conn.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'audit'").fetchone()
    path.write_bytes(whole[: (page - 1) * 4096] + b"\xaa" * 4096 + whole[page * 4096 :])
    async with Client(path, timeout=0) as client:
        with pytest.raises(StoreCorrupt):
            await client.audit()
    path.write_bytes(whole[: len(whole) // 2])
    async with Client(path, timeout=0) as client:
        with pytest.raises(StoreCorrupt, match="cut short"):
            await client.count()


PROGRAM = """
import sys, trio
import damage
from stepwell import Engine
async def main():
    async with Engine(sys.argv[1], workflows=damage.ALL) as engine:
        print("open", flush=True)
        n = 0
        while True:
            await engine.call("gives", n, id=f"{sys.argv[2]}-{n}")
            n += 1
            if n == 20:
                print("busy", flush=True)
trio.run(main)
"""


@contextmanager
def engine_process(path: Path, name: str):
    """An engine that creates instances as fast as it can, and is killed in the middle of that."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(path), name],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parent,
    ) as process:
        try:
            assert process.stdout.readline() == b"open\n"
            yield process
        finally:
            process.kill()


@pytest.mark.slow
async def test_a_client_goes_to_the_engine_and_back_as_it_comes_and_goes(left, caplog):
    caplog.set_level("INFO", logger="stepwell")
    async with Client(left, timeout=30) as client:
        assert (await client.count())[Status.COMPLETE] == 3
        assert client.source.place == "file"
        for turn in range(2):
            with engine_process(left, f"turn{turn}"):
                await client.count()
                assert client.source.place == "engine"
            await client.count()
            assert client.source.place == "file"
            assert not client.source.ended_well
    said = [it.message for it in caplog.records]
    assert sum("Read from the file" in it for it in said) == 3
    assert sum("the engine answers again" in it for it in said) == 2


@pytest.mark.slow
async def test_an_engine_that_does_not_answer_is_read_beside(path):
    damage.gate["open"] = False
    with engine_process(path, "busy") as process:
        os.unlink(f"{path}.sock")
        async with Client(path, timeout=0) as client:
            seen, rounds = 0, 0
            while seen < 200:
                found = sum((await client.count()).values())
                assert found >= seen
                seen, rounds = found, rounds + 1
                assert client.source.process == process.pid
            assert "does not answer" in str(client.source)
            assert rounds > 1
        process.send_signal(signal.SIGINT)  # it closes: no reader of this process is in its way
        process.wait()
    assert not os.path.exists(f"{path}-wal")


@pytest.mark.slow
async def test_engines_that_open_and_are_killed_while_the_file_is_read(path):
    """What one question is answered with is of one moment, and no instance is ever lost again."""
    damage.gate["open"] = False
    async with Engine(str(path), workflows=damage.ALL) as engine:
        await engine.call("gives", 0, id="first")
    stop, answers, least = trio.Event(), 0, 1

    async def read() -> None:
        nonlocal answers, least
        async with Client(path, timeout=30) as client:
            while not stop.is_set():
                count = (await client.count())[Status.COMPLETE]
                assert count >= least
                least = count
                page = (await client.list(limit=5)).items
                for it in page:
                    instance = await client.get(it.workflow, it.id)
                    history = await instance.history()
                    assert history == []
                    assert (await instance.status()).status in (Status.COMPLETE, Status.RUNNING)
                answers += 1

    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(read)
        for turn in range(4):
            with engine_process(path, f"turn{turn}") as process:
                if turn % 2:
                    os.unlink(f"{path}.sock")  # they read beside it
                await trio.to_thread.run_sync(process.stdout.readline)
            before = answers
            while answers < before + 4:
                await trio.sleep(0.01)
        stop.set()
    with closing(sqlite3.connect(path)) as conn:
        assert conn.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_the_other_fronts_read_the_file_too(left):
    async def on_asyncio() -> int:
        async with aio.Client(left, timeout=0) as client:
            count = (await client.count())[Status.COMPLETE]
            assert client.source.place == "file"
            return count

    assert asyncio.run(on_asyncio()) == 3
    with sync.Client(left, timeout=0) as client:
        assert client.count()[Status.COMPLETE] == 3
        assert "Read from the file" in str(client.source)
        with pytest.raises(NoEngine):
            client.create("gives", 1)
