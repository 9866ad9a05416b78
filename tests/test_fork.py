"""A forked child has the engine's memory but neither its threads nor its locks: it is refused, and
leaves the file alone.

Real forks. What a child found it says through a pipe; it never returns into pytest.
"""

import ctypes
import gc
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from stepwell import Engine, EngineClosed, Step, StoreLocked, current_step, workflow
from stepwell._core import Core

ROOT = Path(__file__).parent.parent
# Python 3.12 on, about threads: the subject here
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


async def one() -> int:
    return 1


@workflow
async def waits(step: Step) -> object:
    await step.do(one)
    return (await step.wait_for_event("go")).payload


def in_child(what: Callable[[], object]) -> object:
    """Returns what a function returns in a forked child, or how it failed there."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)  # a child that hangs is killed, and said nothing
        try:
            answer = what()
        except BaseException:
            answer = traceback.format_exc()
        os.write(writer, json.dumps(answer).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as said:
        text = said.read()
    _, status = os.waitpid(pid, 0)
    assert status == 0, f"the child ended with {os.waitstatus_to_exitcode(status)}"
    return json.loads(text)


def call(method: Callable[..., object], *args: object, **options: object) -> str:
    """Calls an engine method as far as it goes without waiting; returns the error's kind and
    text."""
    try:
        made = method(*args, **options)
        if hasattr(made, "send"):
            try:
                made.send(None)
            finally:
                made.close()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "nothing was raised"


def files(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Returns the files as they are; the wal-index is in use and no record."""
    found = (it for it in folder.iterdir() if not (it.name.endswith("-shm") or it.is_socket()))
    return {
        path.name: (path.stat().st_ino, path.stat().st_mtime_ns, path.read_bytes())
        for path in found
    }


async def test_d1_every_use_in_a_forked_child_is_one_clear_error_and_the_parent_goes_on(tmp_path):
    async with Engine(str(tmp_path / "store.db"), workflows=[waits]) as engine:
        instance = await engine.create(waits, id="a")
        await instance.wait_for_status("waiting")
        before = files(tmp_path)

        def use_all() -> dict[str, str]:
            return {
                "create": call(engine.create, waits),
                "create_batch": call(engine.create_batch, waits, []),
                "get": call(engine.get, waits, "a"),
                "peek": call(engine.peek, waits, "a"),
                "list": call(engine.list),
                "count": call(engine.count),
                "statistics": call(engine.statistics),
                "drain": call(engine.drain),
                "approvals": call(engine.approvals.list),
                "approve": call(engine.approvals.approve, "waits/a#x#1", by="me"),
                "status": call(instance.status),
                "result": call(instance.result),
                "wait_for_status": call(instance.wait_for_status, "complete"),
                "send_event": call(instance.send_event, "go", 1),
                "resume": call(instance.resume),
                "history": call(instance.history),
                "explain": call(instance.explain),
            }

        said = in_child(use_all)
        assert isinstance(said, dict), said
        for method, error in said.items():
            assert error.startswith(
                f"EngineClosed: this engine was opened by process {os.getpid()}"
            ), f"{method}: {error}"
            assert "forked child" in error
        assert files(tmp_path) == before
        await instance.send_event("go", 7)
        assert await instance.result() == 7


async def test_d1_the_core_itself_refuses_a_forked_child_and_waits_for_nobody(tmp_path):
    async with Engine(str(tmp_path / "store.db"), workflows=[waits]) as engine:
        instance = await engine.create(waits, id="a")
        await instance.wait_for_status("waiting")
        core = engine._running().core
        before = files(tmp_path)

        def use_core() -> list[str]:
            core.flush()
            core.disarm(core.arm(1))
            core.watch(1)
            core.unwatch(1)
            assert not core.park(1, 1)
            core.crash()
            calls = (
                (core.poll,),
                (core.close,),
                (core.send_event, "default", "waits", "a", "go", None, None),
                (core.resume, "default", "waits", "a", (None, None), None, []),
                (core.find, "default", "waits", "a", False),
                (core.history, 1),
                (core.sleep, 1, 1, 0, 1, "", "sleep", 1, 0),
                (core.release, 1, 1),
            )
            return [call(*it) for it in calls]

        said = in_child(use_core)
        assert isinstance(said, list), said
        assert [error for error in said if "forked" not in error] == []
        assert files(tmp_path) == before
        await instance.send_event("go", 7)
        assert await instance.result() == 7


def open_core(path: Path) -> Core:
    return Core.open(
        str(path),
        name="test",
        workflows=[],
        shards=1,
        slots=1,
        namespace="default",
        limits=[],
        workflow_limits=[],
        retentions=[],
        formerly=[],
        virtual_time=None,
    )


def test_d1_what_a_child_throws_away_stays_the_parents(tmp_path):
    """Nobody but `held` has the core, so the child really drops it."""
    held = [open_core(tmp_path / "store.db")]
    before = files(tmp_path)

    def drop() -> int:
        others = sys.getrefcount(held[0]) - 2  # the list's, and the argument's
        held.clear()
        gc.collect()
        return others

    assert in_child(drop) == 0
    assert files(tmp_path) == before
    held[0].close()
    assert not (tmp_path / "store.db-wal").exists(), "the parent closed"


async def test_d1_a_child_cannot_open_the_parents_store(tmp_path):
    path = str(tmp_path / "store.db")
    async with Engine(path, workflows=[waits]):
        another = Engine(path, workflows=[waits])

        def open_it() -> str:
            try:
                another._open_core()
            except StoreLocked as error:
                return str(error)
            return "it opened"

        assert f"process {os.getpid()}" in str(in_child(open_it))


def _from_a_pool(engine: Engine, said: object) -> None:
    said.send(call(engine.create, waits))  # type: ignore[attr-defined]


async def test_d1_a_child_of_multiprocessing_is_refused_too(tmp_path):
    async with Engine(str(tmp_path / "store.db"), workflows=[waits]) as engine:
        instance = await engine.create(waits, id="a")
        await instance.wait_for_status("waiting")
        before = files(tmp_path)
        context = multiprocessing.get_context("fork")
        here, there = context.Pipe()
        child = context.Process(target=_from_a_pool, args=(engine, there))
        child.start()
        assert here.poll(20), "the child said nothing"
        assert here.recv().startswith("EngineClosed: this engine was opened by process")
        child.join(20)
        assert child.exitcode == 0
        assert files(tmp_path) == before
        await instance.send_event("go", 7)
        assert await instance.result() == 7


def forks_in_a_thread() -> int:
    """A step that forks, as a pool of workers does."""
    pid = os.fork()
    if pid == 0:
        os._exit(0 if "forked child" in call(current_step().engine.count) else 1)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


@workflow
async def forking(step: Step) -> int:
    return await step.do(forks_in_a_thread)


async def test_d1_a_step_may_fork(tmp_path):
    async with Engine(str(tmp_path / "store.db"), workflows=[forking]) as engine:
        assert await (await engine.create(forking)).result() == 0


def exits(path: str, how: str) -> None:
    """A program whose child ends as programs do, with all that Python tears down then."""
    import trio

    async def main() -> None:
        async with Engine(path, workflows=[waits]) as engine:
            instance = await engine.create(waits, id="a")
            await instance.wait_for_status("waiting")
            before = files(Path(path).parent)
            pid = os.fork()
            if pid == 0:
                signal.alarm(20)
                if how == "finalize":
                    ctypes.pythonapi.Py_Exit(3)
                elif how == "unwind":
                    sys.exit(3)
                else:
                    raise RuntimeError("a child that fails")
            _, status = os.waitpid(pid, 0)
            print("child", os.waitstatus_to_exitcode(status), flush=True)
            assert files(Path(path).parent) == before, "the child touched the file"
            print("untouched", flush=True)
            if how == "finalize":
                await instance.send_event("go", 7)
                print("result", await instance.result(), flush=True)
            else:
                # a child that goes on in trio's loop takes trio's events away from its parent,
                # whatever the program
                os._exit(0)

    trio.run(main)


@pytest.mark.slow
@pytest.mark.parametrize(("how", "code"), [("finalize", 3), ("unwind", 3), ("fail", 1)])
def test_d1_a_child_that_exits_does_not_fold_or_write(tmp_path, how, code):
    path = tmp_path / "store" / "store.db"
    path.parent.mkdir()
    program = f"from tests.test_fork import exits; exits({str(path)!r}, {how!r})"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    said = done.stdout.splitlines()
    assert said[:2] == [f"child {code}", "untouched"], done.stdout + done.stderr
    assert "internal error" not in done.stderr, done.stderr
    if how == "finalize":
        assert said[2:] == ["result 7"], done.stdout + done.stderr
        assert not path.with_name("store.db-wal").exists(), "the parent closed"


async def test_d1_after_its_block_an_engine_says_the_same_everywhere(tmp_path):
    async with Engine(str(tmp_path / "store.db"), workflows=[waits]) as engine:
        pass
    with pytest.raises(EngineClosed, match="not open"):
        await engine.count()
    assert "not open" in str(in_child(lambda: call(engine.count)))
