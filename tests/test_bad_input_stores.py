"""Stores that cannot be opened are left as they are, and the error says which file, what is wrong
and what to do."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from stepwell import (
    Engine,
    InvalidConfig,
    StepwellError,
    StoreCorrupt,
    StoreFailed,
    StoreLocked,
    StoreVersion,
    aio,
    sync,
    workflow,
)
from stepwell.testing import open_test_engine


@workflow
async def echo(step, params):
    return params


async def a_store(path) -> None:
    async with open_test_engine(workflows=[echo], store=str(path)) as engine:
        for i in range(50):
            await engine.call(echo, {"text": "x" * 500}, id=f"i{i}")


def files(folder) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir())}


async def refused(path) -> StepwellError:
    """Opens a store that cannot be opened; checks that nothing in its folder changed, and returns
    the error."""
    before = files(path.parent)
    with pytest.raises(StepwellError) as caught:
        async with Engine(str(path), workflows=[echo]):
            pytest.fail("it opened")
    assert files(path.parent) == before
    text = str(caught.value)
    assert path.name in text
    for word in ("stepwell.Client", "stepwell doctor"):
        assert word not in text
    return caught.value


async def test_two_engines_on_one_file_in_one_process(tmp_path):
    path = tmp_path / "s.db"
    async with Engine(str(path), workflows=[echo], name="api") as engine:
        with pytest.raises(StoreLocked) as caught:
            async with Engine(str(path), workflows=[echo]):
                pytest.fail("it opened")
        for part in ("s.db", str(os.getpid()), "api"):
            assert part in str(caught.value)
        assert ("use that engine, or leave its block before you open another one") in str(
            caught.value
        )
        assert await engine.call(echo, 1) == 1
    async with Engine(str(path), workflows=[echo]) as engine:
        assert sum((await engine.count()).values()) == 1


HOLDER = """
import sys, trio
from stepwell import Engine
async def main():
    async with Engine(sys.argv[1], name="other"):
        print("open", flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)
trio.run(main)
"""


@pytest.mark.slow
async def test_a_store_of_another_process_is_locked_and_names_the_process(tmp_path):
    path = tmp_path / "s.db"
    other = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
    )
    try:
        assert await trio.to_thread.run_sync(other.stdout.readline) == "open\n"
        with pytest.raises(
            StoreLocked,
            match=rf"s\.db is in use by process {other.pid} \(engine \"other\"\)\. "
            r"One engine owns an embedded store: use stepwell\.Client\(\"s\.db\"\) here, which",
        ):
            async with Engine(str(path), workflows=[echo]):
                pytest.fail("it opened")
    finally:
        other.communicate("", timeout=20)
    async with Engine(str(path), workflows=[echo]):
        pass


async def test_a_newer_schema_is_left_alone(tmp_path):
    path = tmp_path / "s.db"
    await a_store(path)
    with sqlite3.connect(path) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        connection.execute(f"PRAGMA user_version = {version + 1}")
    connection.close()
    error = await refused(path)
    assert type(error) is StoreVersion
    assert "newer" in str(error)
    assert "What it was before" not in str(error)
    copy = tmp_path / f"s.db.schema-{version}"  # as the newer version leaves it when it migrates
    copy.write_bytes(b"")
    assert str(copy) in str(await refused(path))


@pytest.mark.parametrize("keep", [10, 100, 512, 4096, 5000, 12_288])
async def test_a_truncated_store_is_refused_and_left_alone(tmp_path, keep):
    path = tmp_path / "s.db"
    await a_store(path)
    path.write_bytes(path.read_bytes()[:keep])
    assert type(await refused(path)) in (StoreCorrupt, StoreFailed)


@pytest.mark.parametrize(
    "content",
    [b"hello", b"\x00" * 8192, b"%PDF-1.4\n" + b"x" * 100_000],
    ids=["text", "zeros", "pdf"],
)
async def test_garbage_is_refused_and_left_alone(tmp_path, content):
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    assert type(await refused(path)) in (StoreCorrupt, StoreFailed)


async def test_somebody_elses_sqlite_file_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "django.sqlite3"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE users (name TEXT)")
        connection.execute("INSERT INTO users VALUES ('ann')")
    connection.close()
    error = await refused(path)
    assert type(error) is StoreFailed
    assert "another application" in str(error)
    assert "Give another path" in str(error)


async def test_an_empty_file_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "s.db"
    path.write_bytes(b"")
    error = await refused(path)
    assert type(error) is StoreFailed
    assert "Delete it or give another path" in str(error)


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes read-only files")
async def test_a_read_only_store_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "s.db"
    await a_store(path)
    path.chmod(0o400)
    assert type(await refused(path)) is StoreFailed


async def test_a_folder_and_a_missing_folder_are_refused(tmp_path):
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "folder", tmp_path / "missing" / "s.db"):
        with pytest.raises(StepwellError, match=path.parts[-1 if path.name == "folder" else -2]):
            async with Engine(str(path), workflows=[echo]):
                pytest.fail("it opened")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may not enter")
def test_a_folder_that_may_not_be_entered_is_not_told_to_be_made(tmp_path):
    inner = tmp_path / "locked" / "inner"
    inner.mkdir(parents=True)
    (tmp_path / "locked").chmod(0o700)
    program = """
import os, sys
from stepwell import InvalidConfig, sync
os.setuid(65534)
try:
    with sync.Engine(sys.argv[1]):
        pass
except InvalidConfig as error:
    print(error)
"""
    told = subprocess.run(
        [sys.executable, "-c", program, inner / "s.db"], capture_output=True, text=True, check=True
    ).stdout
    assert "Permission denied" in told
    assert told.endswith("Change its permissions or give another path.\n")


@pytest.mark.parametrize("store", ["", "a\0b", "mysql://x/y", None, 5, b"s.db", ["s.db"]], ids=repr)
def test_what_is_no_path_is_invalid_config(store):
    with pytest.raises(InvalidConfig, match=r"store.*path"):
        Engine(store)


@pytest.mark.parametrize(
    "url", ["sqlite:///s.db?mode=ro", "sqlite:///s.db?", "sqlite:////tmp/s.db?timeout=5&nolock=1"]
)
def test_options_of_a_store_are_refused_not_made_part_of_its_name(url):
    with pytest.raises(InvalidConfig, match=r"has options \(\"\?.*give the path alone"):
        Engine(url)


@pytest.mark.parametrize(
    "url", ["file:s.db?mode=ro", "sqlite:s.db", "sqlite3:s.db", "postgresql:x", "sqlite://s.db"]
)
async def test_an_address_that_is_none_of_ours_is_refused_not_made_a_file_of_that_name(
    tmp_path, url
):
    with pytest.raises(InvalidConfig, match="not supported"):
        Engine(url)
    async with Engine(tmp_path / "s.db", workflows=[echo]) as engine:
        with pytest.raises(InvalidConfig, match="is no path"):
            await engine.backup(url)


async def test_a_question_mark_in_a_path_is_part_of_the_path(tmp_path):
    async with Engine(tmp_path / "what?.db", workflows=[echo]):
        assert (tmp_path / "what?.db").exists()


async def test_a_path_that_is_not_utf_8_is_as_good_as_any(tmp_path):
    folder = Path(os.fsdecode(bytes(tmp_path) + b"/caf\xe9"))
    folder.mkdir()
    for store in (folder / "s.db", str(folder / os.fsdecode(b"s\xff.db"))):
        async with Engine(store, workflows=[echo], name="api") as engine:
            assert await engine.call(echo, 1, id="a") == 1
            with pytest.raises(StoreLocked, match=r"s.*\.db is in use by this process"):
                async with Engine(store, workflows=[echo]):
                    pytest.fail("it opened")
            await engine.backup(folder / os.fsdecode(b"copy\xe9.db"))
        async with Engine(folder / os.fsdecode(b"copy\xe9.db"), workflows=[echo]) as engine:
            assert await engine.call(echo, 1, id="a", if_exists="return") == 1
        os.unlink(folder / os.fsdecode(b"copy\xe9.db"))


class AsPath:
    def __init__(self, path: str | bytes) -> None:
        self.path = path

    def __fspath__(self) -> str | bytes:
        return self.path


@pytest.mark.parametrize("kind", [Path, AsPath])
async def test_a_path_may_be_whatever_says_its_path(tmp_path, kind):
    store, copy = str(tmp_path / "s.db"), str(tmp_path / "copy.db")
    async with Engine(kind(store), workflows=[echo]) as engine:
        assert await engine.call(echo, 1, id="a") == 1
        await engine.backup(kind(copy))
    async with open_test_engine([echo], store=kind(copy)) as engine:
        assert await engine.call(echo, 1, id="a", if_exists="return") == 1

    def blocking() -> int:
        with sync.Engine(kind(copy), workflows=[echo]) as engine:
            return engine.call(echo, 1, id="a", if_exists="return")

    assert await trio.to_thread.run_sync(blocking) == 1
    assert repr(aio.Engine(kind(store))) == repr(aio.Engine(store))


async def test_a_path_in_bytes_is_refused(tmp_path):
    raw = AsPath(bytes(tmp_path / "s.db"))
    with pytest.raises(InvalidConfig, match="is no path"):
        Engine(raw)
    async with Engine(tmp_path / "s.db", workflows=[echo]) as engine:
        with pytest.raises(InvalidConfig, match="is no path"):
            await engine.backup(raw)


def test_a_path_that_the_system_cannot_be_asked_for_is_invalid_config():
    with pytest.raises(InvalidConfig, match="cannot be a file's name"):
        Engine("s\ud800.db")


IN_C = r"""
import logging, os, sys, trio
from stepwell import Engine, InvalidConfig, Retry, workflow
assert sys.getfilesystemencoding() == "ascii", sys.getfilesystemencoding()
logging.basicConfig()
def fails(what):
    raise ValueError(what)
@workflow
async def says(step, what):
    try:
        await step.do(fails, what, name=what, retry=Retry.never)
    except ValueError:
        step.log.info(what)
    return what
async def main():
    async with Engine(sys.argv[1], workflows=[says]) as engine:
        assert await engine.call(says, "caf\xe9 \u2713") == "caf\xe9 \u2713"
    try:
        Engine("caf\xe9.db")
    except InvalidConfig as error:
        print(error)
trio.run(main)
"""


@pytest.mark.slow
async def test_a_program_without_a_locale_works_and_is_told_what_it_cannot_name(tmp_path):
    environment = {**os.environ, "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    command = [sys.executable, "-c", IN_C, os.fspath(tmp_path / "caf\xe9.db")]
    done = await trio.to_thread.run_sync(
        lambda: subprocess.run(command, env=environment, capture_output=True, check=False)
    )
    assert done.returncode == 0, done.stderr.decode()
    assert "whose encoding of names is ascii" in done.stdout.decode()
    assert (tmp_path / "caf\xe9.db").exists()


async def test_a_store_is_a_path_of_any_kind(tmp_path):
    for store in (tmp_path / "a.db", str(tmp_path / "b.db"), f"sqlite:///{tmp_path}/c.db"):
        async with Engine(store, workflows=[echo]) as engine:
            assert await engine.call(echo, 1) == 1
    assert {"a.db", "b.db", "c.db"} <= {p.name for p in tmp_path.iterdir()}


async def test_an_engine_that_could_not_open_says_so_when_it_is_used():
    engine = Engine("/nonexistent folder/s.db", workflows=[echo])
    with pytest.raises(StepwellError, match="nonexistent folder"):
        await engine.__aenter__()
    with pytest.raises(StepwellError, match="not open"):
        await engine.create(echo)


async def test_a_store_with_overwritten_pages_is_corrupt(tmp_path):
    path = tmp_path / "s.db"
    await a_store(path)
    content = bytearray(path.read_bytes())
    content[4096 : len(content) // 2] = b"\xa5" * (len(content) // 2 - 4096)
    path.write_bytes(content)
    assert type(await refused(path)) is StoreCorrupt
