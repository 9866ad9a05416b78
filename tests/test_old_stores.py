"""Stores that earlier versions left behind: they open, are migrated after a copy was made, and
their instances go on."""

import gzip
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from old_stores import bodies
from old_stores.go_on import go_on

from stepwell._engine import driver
from stepwell.testing import open_test_engine

KEPT = sorted((Path(__file__).parent / "old_stores").glob("schema_*.db.gz"))


def unpacked(kept: Path, folder: Path) -> Path:
    store = folder / kept.name.removesuffix(".gz")
    store.write_bytes(gzip.decompress(kept.read_bytes()))
    return store


@pytest.mark.parametrize("kept", KEPT, ids=lambda it: it.name)
async def test_d3_instances_of_an_old_store_go_on_as_with_the_version_that_began_them(
    tmp_path, kept
):
    store = unpacked(kept, tmp_path)
    before = store.read_bytes()
    assert await go_on(str(store)) == json.loads((kept.parent / f"{store.stem}.json").read_text())
    assert (
        tmp_path / f"{store.name}.schema-{store.stem.rpartition('_')[2]}"
    ).read_bytes() == before


async def test_an_instance_keeps_the_format_it_was_created_with(tmp_path, monkeypatch):
    formats: dict[str, set[int]] = {}

    class Noted(driver.Runner):
        def __init__(self, *args):
            super().__init__(*args)
            formats.setdefault(str(self.who), set()).add(self.who.format)

    monkeypatch.setattr(driver, "Runner", Noted)
    store = unpacked(KEPT[0], tmp_path)
    async with open_test_engine(workflows=bodies.ALL, store=str(store)) as engine:
        for _ in range(2):
            old = await engine.get(bodies.fails, "fails")
            new = await engine.create(bodies.fails, id="new", if_exists="return")
            await new.wait_for_status("waiting")
            await engine.crash()
        for instance in (old, new):
            await instance.send_event("go", 1)
            await instance.result()
    assert (formats["fails/fails"], formats["fails/new"]) == ({0}, {4})
    with closing(sqlite3.connect(store)) as conn:
        rows = dict(conn.execute("SELECT id, format FROM instance"))
    assert rows.pop("new") == 4
    assert set(rows.values()) == {0}
