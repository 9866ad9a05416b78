"""One file has one owner, whatever name it is opened by, and a lock ends with whoever took it."""

import fcntl
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from stepwell import Engine, InvalidConfig, StoreFailed, StoreLocked, workflow


@workflow
async def echo(step, params):
    return params


async def opened(path: Path) -> int:
    """Returns how many instances a store has, and adds one."""
    async with Engine(str(path), workflows=[echo]) as engine:
        await engine.call(echo, 1)
        return sum((await engine.count()).values()) - 1


async def refused(path: Path, kind: type[Exception]) -> str:
    with pytest.raises(kind) as caught:
        async with Engine(str(path), workflows=[echo]):
            pytest.fail("it opened")
    return str(caught.value)


async def test_a_file_with_two_names_is_refused_by_either(tmp_path):
    store, other = tmp_path / "s.db", tmp_path / "elsewhere" / "t.db"
    other.parent.mkdir()
    assert await opened(store) == 0
    os.link(store, other)
    for path in (store, other):
        text = await refused(path, StoreFailed)
        assert f"{path} has 2 names (hard links)" in text
        assert "Remove the other names" in text
    assert [it.name for it in other.parent.iterdir()] == ["t.db"]
    other.unlink()
    assert await opened(store) == 1


async def test_a_second_name_of_an_open_store_is_refused_and_the_engine_goes_on(tmp_path):
    store, other = tmp_path / "s.db", tmp_path / "t.db"
    async with Engine(str(store), workflows=[echo]) as engine:
        os.link(store, other)
        assert "hard links" in await refused(other, StoreFailed)
        other.unlink()
        assert await engine.call(echo, 1) == 1
    assert await opened(store) == 1


async def test_a_store_that_was_moved_while_it_is_open_is_still_its_owners(tmp_path):
    store, other = tmp_path / "s.db", tmp_path / "t.db"
    async with Engine(str(store), workflows=[echo]):
        store.rename(other)
        assert (f"t.db is in use by this process ({os.getpid()}), under another name") in (
            told := await refused(other, StoreLocked)
        )
        assert "use that engine, or leave its block before you open another one" in told
        assert "stop that process" not in told
        holder = (
            "import sys, trio; from stepwell import Engine; "
            "trio.run(Engine(sys.argv[1]).__aenter__)"
        )
        done = await trio.to_thread.run_sync(
            lambda: subprocess.run(
                [sys.executable, "-c", holder, other], capture_output=True, check=False
            )
        )
        assert f"t.db is in use by process {os.getpid()}, as {other}" in done.stderr.decode()
        other.rename(store)
    assert await opened(store) == 0


@contextmanager
def mounted(source: Path, point: Path):
    """Mounts a file on a file, if this process may."""
    point.touch()
    done = subprocess.run(
        ["mount", "--bind", str(source), str(point)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip(f"this process may not mount: {done.stderr.decode()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(point)], check=True)


@pytest.mark.skipif(sys.platform != "linux", reason="files can be mounted on Linux only")
async def test_a_file_that_is_mounted_by_itself_is_refused(tmp_path):
    store, container = tmp_path / "s.db", tmp_path / "a container"
    container.mkdir()
    assert await opened(store) == 0
    with mounted(store, container / "s.db"):
        text = await refused(container / "s.db", StoreFailed)
        assert f"{container / 's.db'} is mounted as a single file" in text
        assert "Mount the folder" in text
        assert [it.name for it in container.iterdir()] == ["s.db"]
        assert await opened(store) == 1


@pytest.mark.parametrize("deep", [False, True], ids=["a link", "a link to a link"])
async def test_a_link_to_where_nothing_is_yet_is_followed(tmp_path, deep):
    volume, link = tmp_path / "volume", tmp_path / "app.db"
    volume.mkdir()
    target = Path("volume") / "app.db"
    if deep:
        (tmp_path / "between").symlink_to(target)
        target = Path("between")
    link.symlink_to(target)
    assert await opened(link) == 0
    assert link.is_symlink()
    assert (volume / "app.db").is_file()
    assert [it.name for it in volume.iterdir()] == ["app.db"]
    assert await opened(volume / "app.db") == 1
    assert await opened(link) == 2


async def test_a_link_that_leads_nowhere_is_refused_and_says_where_it_leads(tmp_path):
    gone, loop = tmp_path / "gone.db", tmp_path / "loop.db"
    gone.symlink_to(tmp_path / "volume" / "app.db")
    loop.symlink_to(loop)
    assert (
        f"is a link to {tmp_path / 'volume' / 'app.db'}, whose folder cannot be used"
    ) in await refused(gone, InvalidConfig)
    assert "leads back to itself" in await refused(loop, InvalidConfig)
    assert sorted(it.name for it in tmp_path.iterdir()) == ["gone.db", "loop.db"]


FORKS = """
import os, sys, trio
from stepwell import Engine, workflow
@workflow
async def echo(step, params):
    return params
async def main():
    async with Engine(sys.argv[1], workflows=[echo]) as engine:
        await engine.call(echo, 1)
        pid = os.fork()
        if pid == 0:
            os.read(0, 1)      # a worker of a pool, which waits for work that never comes
            os._exit(0)
        await engine.call(echo, 2)
        print(pid, flush=True)
        await trio.sleep_forever()
trio.run(main)
"""


@pytest.mark.slow
async def test_a_forked_child_that_outlives_a_killed_engine_keeps_none_of_its_locks(tmp_path):
    store = tmp_path / "s.db"
    engine = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", FORKS, str(store)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert engine.stdin
    assert engine.stdout
    child = int(await trio.to_thread.run_sync(engine.stdout.readline))
    try:
        engine.kill()
        engine.wait()
        os.kill(child, 0)
        assert await opened(store) == 2
        assert not (tmp_path / "s.db-wal").exists(), "whoever closed last could fold the WAL back"
    finally:
        os.kill(child, signal.SIGKILL)
        engine.stdin.close()
        engine.stdout.close()


HOLDS = """
import fcntl, sys
lock = open(sys.argv[1])
fcntl.flock(lock, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


def signed(pid: int) -> str:
    return f"stepwell engine\npid {pid}\nsince 0\nname api\n"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="others' open files are seen on Linux only")
async def test_a_lock_that_somebody_else_than_its_owner_holds_names_both(tmp_path):
    """As with a child that was forked by a version that let it inherit the lock."""
    store, lock = tmp_path / "s.db", tmp_path / "s.db.lock"
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    lock.write_text(signed(gone.pid))
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdin
        assert holder.stdout
        assert await trio.to_thread.run_sync(holder.stdout.readline) == b"held\n"
        text = await refused(store, StoreLocked)
        holder.stdin.close()
    assert f'process {holder.pid}, which was forked from process {gone.pid} (engine "api")' in text
    assert await opened(store) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="others' open files are seen on Linux only")
async def test_a_process_of_another_container_is_not_taken_for_this_one_that_has_its_number(
    tmp_path,
):
    store, lock = tmp_path / "s.db", tmp_path / "s.db.lock"
    lock.write_text(signed(os.getpid()))
    with lock.open() as held:  # nobody of ours, and nobody who can be seen
        fcntl.flock(held, fcntl.LOCK_EX)
        assert (f'process {os.getpid()} of another container (engine "api")') in await refused(
            store, StoreLocked
        )
    assert await opened(store) == 0
