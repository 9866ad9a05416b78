"""What a doctor finds in a store that is well, ill or damaged; and what can be saved of it."""

import contextlib
import gzip
import itertools
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path

import damage
import pytest
import trio

from stepwell import (
    Client,
    Engine,
    InvalidConfig,
    Status,
    Step,
    StoreCorrupt,
    StoreFailed,
    StoreLocked,
    sync,
    workflow,
)
from stepwell.cli import main
from stepwell.doctor import Lost, _asked, _file, examine, repair
from stepwell.doctor._file import looked_at

PAGE = 4096


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A store with something in every table, and long histories."""
    folder = tmp_path_factory.mktemp("made")
    trio.run(damage.make, folder / "clean.db", folder / "killed.db")
    trio.run(_fill, folder / "clean.db")
    return folder / "clean.db"


async def _fill(path: Path) -> None:
    async with Engine(str(path), workflows=[*damage.ALL, many], grace=0) as engine:
        for n in range(40):
            await engine.call(many, n, id=f"many-{n}")


@workflow
async def many(step: Step, n: int) -> int:
    for _ in range(20):
        await step.do(damage.reports)
    return n


@pytest.fixture
def path(made, tmp_path):
    copy = tmp_path / "shop.db"
    shutil.copy(made, copy)
    copy.chmod(0o600)
    return copy


def ids(path: Path) -> set[str]:
    return {it.id for it in examine(str(path), timeout=0)}


def spoil(path: Path, table: str, *, leaf: bool = True) -> None:
    """Overwrites a page of a table, or of an index."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)) as conn:
        (page,) = conn.execute(
            "SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)
        ).fetchone()
    with path.open("r+b") as file:
        while leaf:  # from the root to the first child of each
            file.seek((page - 1) * PAGE)
            data = file.read(PAGE)
            if data[0] not in (2, 5):
                break
            cell = int.from_bytes(data[12:14])
            page = int.from_bytes(data[cell : cell + 4])
        file.seek((page - 1) * PAGE)
        file.write(b"\xaa" * PAGE)


def test_a_store_that_is_well_has_nothing_but_that_no_engine_runs(path):
    assert ids(path) == {"no_engine"}
    assert [it.name for it in path.parent.iterdir()] == ["shop.db"]


def test_what_is_no_store_is_told(tmp_path):
    with pytest.raises(StoreFailed, match="Nothing was made"):
        examine(str(tmp_path / "none.db"))
    (tmp_path / "letter").write_text("dear")
    with pytest.raises(StoreFailed, match="is no store"):
        examine(str(tmp_path / "letter"))
    assert [it.name for it in tmp_path.iterdir()] == ["letter"]


def test_rights_and_other_names_of_the_file_are_found(path):
    path.chmod(0o644)
    os.link(path, path.with_name("other.db"))
    found = {it.id: it for it in examine(str(path), timeout=0)}
    assert found["rights"].evidence == "shop.db has the mode 644: others may read it"
    assert found["rights"].action == f"chmod 600 {path}"
    assert "2 names" in found["names"].evidence


def test_an_older_schema_is_found(path):
    old = Path(__file__).parent / "old_stores" / "schema_6.db.gz"
    path.write_bytes(gzip.decompress(old.read_bytes()))
    assert "schema" in ids(path)


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("journal", "journal"),
        ("instance", "instance"),
        ("instance_status", "instance"),
        ("params", "params"),
        ("attribute", "attribute"),
    ],
)
def test_a_damaged_page_is_found_and_where_it_is(path, name, table):
    spoil(path, name)
    found = {it.id: it for it in examine(str(path), timeout=0)}
    told = f"SQLite finds the file damaged: in the table {table}, or an index of it"
    assert found["damaged"].evidence == told
    assert "--repair-to" in found["damaged"].action
    is_in_words(found.values())


def is_in_words(found) -> None:
    """Asserts that what is told is for people, each once, and that nothing contradicts it."""
    told = [it.evidence for it in found]
    assert len(told) == len(set(told))
    for it in found:
        for word in ("***", "Tree ", "btree", "malformed", "error code", "not a database", "None"):
            assert word not in it.evidence, it
        assert "Start the engine" not in it.action, it


def test_a_file_that_is_cut_short_is_told_once(path):
    whole = path.stat().st_size
    for left in (whole - 1, whole - 3 * PAGE, whole // 2, 5 * PAGE, PAGE):
        os.truncate(path, left)
        found = examine(str(path), timeout=0)
        [damaged] = [it for it in found if it.id == "damaged"]
        assert "shop.db is cut short: its last" in damaged.evidence
        assert {it.id for it in found} <= {"damaged", "no_engine"}
        is_in_words(found)


def test_a_store_whose_header_is_destroyed_is_told_as_one(path, tmp_path):
    for size in (16, 100, 4_000):
        with path.open("r+b") as file:
            file.write(os.urandom(size) if size < 4_000 else bytes(100))
        [found] = examine(str(path), timeout=0)
        assert found.id == "damaged"
        assert found.evidence == "the first bytes of shop.db are destroyed: it was a store"
        assert "Restore it from a backup" in found.action
        with pytest.raises(StoreCorrupt, match=r"the first bytes of shop\.db are destroyed"):
            repair(str(path), str(tmp_path / "new.db"))
        assert not (tmp_path / "new.db").exists()


@pytest.mark.parametrize("seed", range(8))
def test_whatever_is_damaged_is_told_in_words(path, tmp_path, seed):
    dice = random.Random(seed)
    with path.open("r+b") as file:
        for _ in range(dice.choice([1, 3, 10])):
            file.seek(dice.randrange(path.stat().st_size))
            file.write(dice.randbytes(dice.choice([1, 8, 500, PAGE])))
    try:
        found = examine(str(path), timeout=0)
    except StoreFailed as error:
        pytest.fail(f"it was a store: {error}")
    if any(it.id == "damaged" for it in found):
        is_in_words(found)
    with contextlib.suppress(StoreCorrupt):
        lost = repair(str(path), str(tmp_path / "new.db")).lost
        for one, other in itertools.pairwise(lost):
            assert one.table != other.table or other.first != (one.last or 0) + 1, lost


def seen(path: Path, **more: int) -> dict[str, str]:
    """Returns what is found of files of another shape, by what it is."""
    shape = looked_at(str(path))._replace(**more)
    return {it.id: f"{it.evidence}. {it.action}" for it in _file.findings(shape)}


def test_a_wal_that_has_grown_is_found(path):
    assert seen(path) == {}
    mine = seen(path, wal=300 << 20)
    assert "the WAL has 300.0 MiB" in mine["wal"]
    assert "Do not remove it" in mine["wal"]
    assert "lsof" in seen(path, wal=300 << 20, owner=1)["wal"]


def test_free_pages_are_found_where_they_are_much_of_a_file(path):
    told = seen(path, size=400 << 20, free=101 << 20)["free_pages"]
    assert "101.0 MiB of 400.0 MiB of the file are free pages" in told
    assert seen(path, size=400 << 20, free=99 << 20) == {}
    assert seen(path, size=100 << 20, free=63 << 20) == {}


def test_a_disk_with_no_room_is_found(path):
    assert "the disk has 1,023.0 MiB left" in seen(path, room=1_023 << 20)["disk"]
    assert "disk" in seen(path, room=2 << 30, wal=3 << 30)
    assert seen(path, room=1 << 30) == {}


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs"])
def test_a_network_file_system_is_found(path, monkeypatch, kind):
    mounts = (
        f"proc /proc proc rw 0 0\n/dev/sda / ext4 rw 0 0\nserver:/x {path.parent} {kind} rw 0 0\n"
    )
    monkeypatch.setattr(_file, "MOUNTS", path.with_name("mounts"))
    _file.MOUNTS.write_text(mounts)
    told = seen(path)["file_system"]
    assert f"lies on a network file system ({kind})" in told
    spaced = path.parent / "a disk" / "shop.db"
    spaced.parent.mkdir()
    shutil.copy(path, spaced)
    _file.MOUNTS.write_text(mounts.replace(str(path.parent), f"{path.parent}/a\\040disk"))
    assert "file_system" in seen(spaced)
    assert seen(path) == {}
    _file.MOUNTS.write_text(mounts.replace(kind, "ext4"))
    assert seen(path) == {}
    _file.MOUNTS.write_text(mounts.replace(str(path.parent), f"{path.parent}-other"))
    assert seen(path) == {}


def test_a_store_that_grows_until_the_disk_is_full_is_found(path, monkeypatch):
    def told(**more: int) -> dict[str, str]:
        shape = looked_at(str(path))._replace(**more)
        found = trio.run(_asked.findings, shape, 0, False)
        return {it.id: it.evidence for it in found}

    with closing(sqlite3.connect(path)) as conn, conn:
        ago = (time.time_ns() // 1_000) - 10 * 86_400 * 1_000_000
        conn.execute("UPDATE instance SET created_at = ?", (ago,))
    assert "growth" not in told(size=1 << 30, room=1 << 30)
    grown = told(size=1 << 30, room=700 << 20)["growth"]
    assert grown.startswith(
        "the store grew by 102.4 MiB a day over 10 days, and the disk has 700.0"
    )
    assert "retention" not in told()
    monkeypatch.setattr(_asked, "_KEPT_MAX", 42)
    assert "instances that have ended are kept" in told()["retention"]


def test_what_is_blocked_or_overdue_is_found(path):
    with closing(sqlite3.connect(path)) as conn, conn:
        conn.execute("UPDATE wait SET until = 1700000000000000 WHERE until IS NOT NULL")
        conn.execute(
            "UPDATE instance SET status = 5, reason = 'internal' WHERE no = "
            "(SELECT no FROM instance WHERE id = 'bad' AND status = 2 LIMIT 1)"
        )
    found = examine(str(path), timeout=0)
    assert {"blocked", "overdue"} <= {it.id for it in found}
    blocked = next(it for it in found if it.id == "blocked")
    assert "(internal)" in blocked.evidence
    assert "stepwell explain" in blocked.action


def test_a_schedule_that_should_have_fired_is_found(tmp_path, monkeypatch):
    path = tmp_path / "shop.db"
    with sync.Engine(str(path), workflows=[many]) as running:
        running.put_schedule(many, "1 day", id="nightly", params=1)
    assert "schedule" not in ids(path)
    monkeypatch.setattr("stepwell.doctor._asked._LATE", timedelta(days=-2))
    [found] = [it for it in examine(str(path), timeout=0) if it.id == "schedule"]
    assert found.evidence.startswith('"nightly" was due 20')
    assert "Start the engine" in found.action


@contextmanager
def engine(path: Path):
    with sync.Engine(str(path), workflows=[many]) as running:
        yield running


def test_an_engine_is_asked_and_what_it_has_no_code_for_is_found(path):
    with engine(path):
        found = {it.id: it for it in examine(str(path))}
    assert "no_engine" not in found
    assert "the engine has no code for version 1 of " in found["unregistered"].evidence
    assert "stepwell resume" in found["unregistered"].action


def test_an_engine_that_does_not_answer_is_found(path):
    with engine(path):
        os.unlink(f"{path}.sock")
        found = {it.id: it for it in examine(str(path), timeout=0)}
    assert f"process {os.getpid()} has the store" in found["heartbeat"].evidence


# Repairs.


def counts(path: Path) -> dict[str, int]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as conn:
        names = conn.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        ).fetchall()
        return {
            name: conn.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for (name,) in names
        }


async def opened(path: Path) -> dict[Status, int]:
    async with Engine(str(path), workflows=[*damage.ALL, many], grace=0) as running:
        for it in (await running.list(limit=1000)).items:
            await (await running.get(it.workflow, it.id)).explain()
        return await running.count()


def test_a_store_that_is_whole_is_copied_whole(path, tmp_path):
    before, to = path.read_bytes(), tmp_path / "new.db"
    told = repair(str(path), str(to))
    assert told.lost == []
    assert told.saved == counts(path) == counts(to)
    assert path.read_bytes() == before
    assert to.stat().st_mode & 0o777 == 0o600
    assert ids(to) == ids(path)
    assert trio.run(opened, to)[Status.COMPLETE] == 43


def test_what_is_only_in_the_wal_is_saved_too(path, tmp_path):
    program = (
        "import os, sqlite3, sys; c = sqlite3.connect(sys.argv[1]); "
        "c.execute('PRAGMA wal_autocheckpoint=0'); "
        "c.execute('UPDATE store SET boot = 4242'); c.commit(); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", program, str(path)], check=True)
    assert os.path.getsize(f"{path}-wal")
    wal, to = Path(f"{path}-wal").read_bytes(), tmp_path / "new.db"
    assert repair(str(path), str(to)).lost == []
    with closing(sqlite3.connect(to)) as conn:
        assert conn.execute("SELECT boot FROM store").fetchone() == (4242,)
    assert Path(f"{path}-wal").read_bytes() == wal


@pytest.mark.parametrize("table", ["journal", "params", "instance"])
def test_all_but_a_damaged_page_is_saved_and_the_copy_opens(path, tmp_path, table):
    whole, to = counts(path), tmp_path / "new.db"
    spoil(path, table)
    before = path.read_bytes()
    told = repair(str(path), str(to))
    assert {it.table for it in told.lost} == {table}
    assert told.saved[table] < whole[table]
    assert told.saved | {table: 0} == whole | {table: 0}
    assert all(f"{table}: whatever" in str(it) for it in told.lost)
    assert path.read_bytes() == before
    assert "damaged" not in ids(to)
    if table != "instance":
        assert sum(trio.run(opened, to).values()) == whole["instance"]


def test_a_damaged_index_costs_nothing(path, tmp_path):
    whole = counts(path)
    spoil(path, "instance_status")
    told = repair(str(path), str(tmp_path / "new.db"))
    assert (told.saved, told.lost) == (whole, [])
    assert trio.run(opened, tmp_path / "new.db")[Status.COMPLETE] == 43


def test_whoever_has_an_attribute_is_found_in_the_copy(path, tmp_path):
    def found(store):
        with closing(sqlite3.connect(store)) as conn:
            return conn.execute("SELECT * FROM attribute ORDER BY key, value, no").fetchall()

    whole = found(path)
    assert whole
    spoil(path, "attribute")
    told = repair(str(path), str(tmp_path / "new.db"))
    assert told.lost == []
    assert found(tmp_path / "new.db") == whole


def test_of_a_table_in_order_both_ends_are_saved(path, tmp_path):
    spoil(path, "seen")
    told = repair(str(path), str(tmp_path / "new.db"))
    assert told.lost == [Lost("seen", None, None)]
    assert "it cannot be told which" in str(told.lost[0])


def test_without_a_schema_nothing_can_be_saved(path, tmp_path):
    with path.open("r+b") as file:
        file.seek(100)
        file.write(b"\xaa" * (PAGE - 100))
    with pytest.raises(StoreCorrupt, match="not even the schema"):
        repair(str(path), str(tmp_path / "new.db"))
    assert not (tmp_path / "new.db").exists()
    assert "damaged" in ids(path)


def test_a_repair_is_refused_where_it_may_harm(path, tmp_path):
    with pytest.raises(InvalidConfig, match="give a new path"):
        repair(str(path), str(path))
    with pytest.raises(InvalidConfig, match="give a new path"):
        repair(str(path), str(tmp_path / "none" / "new.db"))
    with engine(path), pytest.raises(StoreLocked, match="make a backup and repair that"):
        repair(str(path), str(tmp_path / "new.db"))
    assert not (tmp_path / "new.db").exists()


# The command.


def test_the_command_says_what_it_found_and_exits_with_10(path, tmp_path, capsys):
    assert main(["doctor", "--store", str(path), "--wait", "0", "--json"]) == 10
    [line] = capsys.readouterr().out.splitlines()
    assert json.loads(line).keys() >= {"id", "evidence", "action"}
    assert json.loads(line)["id"] == "no_engine"
    with closing(sqlite3.connect(path)) as conn, conn:
        conn.execute("DELETE FROM schedule")
    assert main(["doctor", "--store", str(tmp_path / "none.db")]) == 8


def test_the_command_repairs_a_copy(path, tmp_path, capsys):
    to = str(tmp_path / "new.db")
    assert main(["doctor", "--store", str(path), "--repair-to", to]) == 0
    spoil(path, "params")
    assert main(["doctor", "--store", str(path), "--repair-to", f"{to}2"]) == 10
    assert "lost: params: whatever there was" in capsys.readouterr().err


def test_a_copy_can_be_asked_as_any_file(path, tmp_path):
    spoil(path, "journal")
    repair(str(path), str(tmp_path / "new.db"))

    async def count() -> dict[Status, int]:
        async with Client(tmp_path / "new.db", timeout=0) as client:
            return await client.count()

    assert trio.run(count)[Status.COMPLETE] == 43
