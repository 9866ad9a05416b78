"""A full disk, failed writes, locks of other programs, damaged rows: what was acknowledged stays,
and what can go on does."""

import contextlib
import logging
import os
import signal
import sqlite3
import subprocess
import sys

import pytest
import trio

from stepwell import Engine, NewInstance, Overloaded, Status, StoreFailed, workflow
from stepwell.testing import open_test_engine

MIB = 1 << 20
STEPS = 20
INSTANCES = 20


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 96 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=96m", "none", str(folder)],
            check=True,
            capture_output=True,
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a tmpfs is not allowed here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder) -> None:
    """Leaves 4 MiB beside the ballast's 8: less than the 20 that the instances store, without their
    WAL."""
    free = os.statvfs(folder)
    spare = free.f_bavail * free.f_frsize - 4 * MIB
    with open(folder / "filler", "wb") as file:
        os.posix_fallocate(file.fileno(), 0, spare)


def chunk(number: int) -> bytes:
    return bytes([number]) * 50_000


seen: list[tuple[str, int]] = []
"""Steps whose outcome a body was told."""


@workflow
async def hoard(step):
    for number in range(STEPS):
        await step.do(lambda number=number: chunk(number), name=f"chunk{number}")
        seen.append((step.instance.id, number))
        if witness is not None:
            os.write(witness, f"{step.instance.id} {number}\n".encode())
    return "kept"


witness: int | None = None


@workflow
async def echo(step, params):
    return params


@pytest.fixture(autouse=True)
def _nothing_seen():
    seen.clear()


async def create_all(engine: Engine):
    return (
        await engine.create_batch(hoard, [NewInstance(id=f"i{n}") for n in range(INSTANCES)])
    ).created


def is_full(engine: Engine) -> bool:
    return engine.statistics().extra["disk_full"] == 1


async def until(condition) -> None:
    with trio.fail_after(60):
        while not condition():
            await trio.sleep(0.01)  # what is waited for happens in the core's threads


async def stuck() -> None:
    """Waits until no body is told anything any more: the ballast is used up too."""
    with trio.fail_after(60):
        while True:
            before = len(seen)
            await trio.sleep(0.7)  # longer than a retry
            if len(seen) == before:
                return


@pytest.mark.slow
async def test_a_full_disk_refuses_creations_keeps_what_runs_and_goes_on_by_itself(
    small_disk, caplog
):
    caplog.set_level(logging.INFO, logger="stepwell")
    store = small_disk / "s.db"
    async with Engine(str(store), workflows=[hoard, echo]) as engine:
        assert (small_disk / "s.db.ballast").stat().st_blocks * 512 >= 8 * MIB
        instances = await create_all(engine)
        fill(small_disk)
        await until(lambda: is_full(engine))
        await stuck()
        assert is_full(engine)
        assert 0 < len(seen) < INSTANCES * STEPS
        with pytest.raises(Overloaded, match="disk of the store is full") as caught:
            await engine.create(echo, 1)
        assert (caught.value.limit, caught.value.retry_after) == ("disk", 1.0)
        (running, *_) = (await engine.list(hoard, status=Status.RUNNING)).items
        assert engine.peek(hoard, running.id) is Status.RUNNING
        assert (await engine.count(hoard))[Status.RUNNING] > 0
        assert len((await engine.list(hoard)).items) == INSTANCES
        told = set(seen)
        assert await recorded(instances) >= told

        (small_disk / "filler").unlink()
        assert [await instance.result() for instance in instances] == ["kept"] * INSTANCES
        await until(lambda: not is_full(engine))
        assert await engine.call(echo, 2) == 2
        assert (small_disk / "s.db.ballast").exists()
        assert len(seen) == len(set(seen)) == INSTANCES * STEPS, "no step was told twice"
    levels = [record.levelno for record in caplog.records if "disk" in record.getMessage()]
    assert levels == [logging.WARNING, logging.INFO], caplog.text
    assert sorted(os.listdir(small_disk)) == ["s.db"]


async def recorded(instances) -> set[tuple[str, int]]:
    """The steps in the histories; their values are checked."""
    found = set()
    for instance in instances:
        for record in await instance.history():
            # a kill, or the end of the engine, cut the attempt short; or it runs
            if record.status in ("interrupted", "running"):
                continue
            number = int(record.name.removeprefix("chunk"))
            assert record.output == chunk(number)
            found.add((instance.id, number))
    return found


@pytest.mark.slow
async def test_an_engine_that_ends_on_a_full_disk_says_so_and_loses_nothing_acknowledged(
    small_disk,
):
    store = small_disk / "s.db"

    async def end_when_full() -> None:
        async with Engine(str(store), workflows=[hoard], grace=0.2) as engine:
            await create_all(engine)
            fill(small_disk)
            await until(lambda: is_full(engine))
            await stuck()

    with (
        trio.fail_after(60),
        pytest.raises(StoreFailed, match=r"disk of s\.db is full.*Nothing acknowledged is lost"),
    ):
        await end_when_full()
    told = set(seen)
    (small_disk / "filler").unlink()
    async with Engine(str(store), workflows=[hoard]) as engine:
        instances = [await engine.get(hoard, f"i{n}") for n in range(INSTANCES)]
        assert [await instance.result() for instance in instances] == ["kept"] * INSTANCES
        assert await recorded(instances) >= told


CHILD = """
import os, pathlib, sys, trio
from tests import test_bad_days as here
from stepwell import Engine
async def main():
    here.witness = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND)
    async with Engine(sys.argv[1], workflows=[here.hoard]) as engine:
        await here.create_all(engine)
        here.fill(pathlib.Path(sys.argv[1]).parent)
        await here.until(lambda: here.is_full(engine))
        await here.stuck()
        print("full", flush=True)
        await trio.sleep_forever()
trio.run(main)
"""


@pytest.mark.slow
async def test_a_kill_while_the_disk_is_full_loses_nothing_acknowledged(small_disk, tmp_path):
    store, notes = small_disk / "s.db", tmp_path / "witness"
    notes.write_bytes(b"")
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(store), str(notes)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert await trio.to_thread.run_sync(child.stdout.readline) == "full\n"
    finally:
        child.send_signal(signal.SIGKILL)
        child.communicate()
    told = {
        (id, int(number))
        for id, number in (line.split() for line in notes.read_text().splitlines())
    }
    assert 0 < len(told) < INSTANCES * STEPS
    (small_disk / "filler").unlink()
    async with Engine(str(store), workflows=[hoard]) as engine:
        instances = [await engine.get(hoard, f"i{n}") for n in range(INSTANCES)]
        assert await recorded(instances) >= told
        assert [await instance.result() for instance in instances] == ["kept"] * INSTANCES


@pytest.mark.slow
async def test_a_store_cannot_be_opened_on_a_full_disk_and_is_unharmed(small_disk):
    store = small_disk / "s.db"
    async with Engine(str(store), workflows=[echo]) as engine:
        assert await engine.call(echo, 1, id="x") == 1
    free = os.statvfs(small_disk)
    with open(small_disk / "filler", "wb") as file:
        os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_frsize)
    with pytest.raises(StoreFailed, match=r"s\.db.*(full|No space)"):
        async with Engine(str(store), workflows=[echo]):
            pytest.fail("it opened")
    (small_disk / "filler").unlink()
    async with Engine(str(store), workflows=[echo]) as engine:
        assert await (await engine.get(echo, "x")).result() == 1


FAILING = """
import os, resource, sys, trio
from tests.test_bad_days import echo
from stepwell import Engine, StoreFailed
async def main():
    try:
        async with Engine(sys.argv[1], workflows=[echo]) as engine:
            for n in range(20):
                await engine.call(echo, n, id=f"i{n}")
                print(n, flush=True)
            size = os.path.getsize(sys.argv[1] + "-wal")
            resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100_000, resource.RLIM_INFINITY))
            for n in range(20, 1_000):
                await engine.call(echo, n, id=f"i{n}")
                print(n, flush=True)
    except StoreFailed as error:
        print("StoreFailed", error, flush=True)
trio.run(main)
"""


@pytest.mark.slow
async def test_a_failed_write_ends_the_engine_once_and_what_was_acknowledged_is_there(tmp_path):
    store = tmp_path / "s.db"
    ran = await trio.run_process(
        [sys.executable, "-c", FAILING, str(store)], capture_stdout=True, capture_stderr=True
    )
    lines = ran.stdout.decode().splitlines()
    assert lines[-1].startswith("StoreFailed s.db: cannot write"), lines[-3:]
    assert b"Traceback" not in ran.stderr
    told = [int(line) for line in lines[:-1]]
    assert 20 <= len(told) < 1_000
    async with Engine(str(store), workflows=[echo]) as engine:
        for n in told:
            assert await (await engine.get(echo, f"i{n}")).result() == n


LOCKER = """
import sqlite3, sys
c = sqlite3.connect(sys.argv[1], isolation_level=None)
c.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.readline()
c.execute("COMMIT")
"""


@pytest.mark.slow
async def test_a_lock_of_another_program_is_waited_for_and_reads_go_on(tmp_path):
    store = tmp_path / "s.db"
    async with Engine(str(store), workflows=[echo]) as engine, trio.open_nursery() as nursery:
        assert await engine.call(echo, 1, id="before") == 1
        other = subprocess.Popen(
            [sys.executable, "-c", LOCKER, str(store)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert await trio.to_thread.run_sync(other.stdout.readline) == "locked\n"
        outputs: list[int] = []

        async def call() -> None:
            outputs.append(await engine.call(echo, 2, id="during"))

        nursery.start_soon(call)
        with trio.move_on_after(2.5):  # longer than SQLite itself waits
            await trio.sleep_forever()
        assert outputs == []
        assert await (await engine.get(echo, "before")).result() == 1
        await trio.to_thread.run_sync(lambda: other.communicate("\n", timeout=20))
    assert outputs == [2]


@workflow
async def waits(step):
    first = await step.do(lambda: "first", name="one")
    await step.wait_for_event("go")
    return first


async def test_a_damaged_row_blocks_its_instance_and_the_others_go_on(tmp_path):
    store = tmp_path / "s.db"
    async with open_test_engine(workflows=[waits], store=str(store)) as engine:
        for id in ("good", "bad"):
            instance = await engine.create(waits, id=id)
            await instance.wait_for_status(Status.WAITING)
    with contextlib.closing(sqlite3.connect(store)) as connection, connection:
        (no,) = connection.execute("SELECT no FROM instance WHERE id = 'bad'").fetchone()
        assert (
            connection.execute("UPDATE journal SET payload = x'6162' WHERE no = ?", (no,)).rowcount
            == 1
        )
    async with open_test_engine(workflows=[waits], store=str(store)) as engine:
        good, bad = await engine.get(waits, "good"), await engine.get(waits, "bad")
        for instance in (good, bad):
            await instance.send_event("go")
        assert await good.result() == "first"
        await bad.wait_for_status(Status.BLOCKED)
        (row,) = (await engine.list(waits, reason="corrupt")).items
        assert (row.id, row.error.type) == ("bad", "stepwell.StoreCorrupt")
        assert f"of instance {no} fails its checksum" in row.error.message
        assert "backup" in str(await bad.explain())
        # Resumed, it is looked at again: nothing has run.
        await bad.resume()
        await bad.wait_for_status(Status.BLOCKED)
