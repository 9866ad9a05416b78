"""What a doctor finds in a store that is well, ill or damaged; and what can be saved of it."""

import gzip
import json
import os
import shutil
import sqlite3
import subprocess
import sys
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
from stepwell.doctor import Lost, examine, repair

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


@pytest.mark.parametrize("table", ["journal", "instance", "instance_status", "params", "attribute"])
def test_a_damaged_page_is_found(path, table):
    spoil(path, table)
    found = {it.id: it for it in examine(str(path), timeout=0)}
    assert "SQLite finds the file damaged" in found["damaged"].evidence
    assert "--repair-to" in found["damaged"].action


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
    assert "have no code" in found["unregistered"].evidence
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
