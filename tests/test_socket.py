"""The socket of an engine: where it is, who may come, and that nothing that comes harms anybody."""

import os
import random
import socket
import stat
import tempfile
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from stepwell import Client, Engine, EngineClosed, NewInstance, Overloaded, Step, TooLarge, workflow
from stepwell._engine import answering, serving, socket_path
from stepwell._engine.callers import Listener
from stepwell._engine.desk import Who
from stepwell._engine.frames import (
    ANSWER,
    CANCEL,
    ERROR,
    FRAME_MAX,
    PROTOCOL,
    BadFrame,
    Frames,
    Outlet,
    framed,
)
from stepwell._values.plain import dumps

HELLO = framed({"stepwell": PROTOCOL})
KEY = b"k" * 16
CODE = ["default", "waits", "1"]
NEW = ["n", None, 0, None, None, None]


@workflow
async def waits(step: Step, n: int = 0) -> int:
    return n + (await step.wait_for_event("go")).payload


@asynccontextmanager
async def connected(path, hello=HELLO):
    """A client that says what it likes."""
    stream = await trio.open_unix_socket(str(path))
    async with stream:
        frames = Frames(stream)
        if hello:
            await stream.send_all(hello)
            assert (await frames.next())[0]["stepwell"] == PROTOCOL
        yield stream, frames


async def works(path) -> None:
    """The engine answers others as if nothing had been."""
    async with Client(path, timeout=5) as client:
        instance = await client.create(waits, 1)
        await instance.send_event("go", 2)
        assert await instance.result() == 3


@pytest.fixture
def runtime(monkeypatch):
    """The user's runtime folder, with a short path."""
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        yield Path(folder)


# Where it is.


async def test_it_is_beside_the_store_for_its_user_alone_and_gone_at_a_clean_end(tmp_path):
    path = tmp_path / "a.db"
    async with Engine(path, workflows=[waits]):
        found = (tmp_path / "a.db.sock").stat()
        assert stat.S_ISSOCK(found.st_mode)
        assert stat.S_IMODE(found.st_mode) == 0o600
        await works(path)
    assert [it.name for it in tmp_path.iterdir()] == ["a.db"]


async def test_links_lead_to_the_same_socket(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "file.db").symlink_to("real/a.db")
    async with Engine(tmp_path / "link" / "a.db", workflows=[waits]):
        assert (tmp_path / "real" / "a.db.sock").is_socket()
        for name in ("link/a.db", "real/a.db", "file.db"):
            await works(tmp_path / name)


async def test_a_path_too_long_for_the_system_has_its_socket_in_the_runtime_folder(
    tmp_path, runtime
):
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    path = deep / "a.db"
    async with Engine(path, workflows=[waits]):
        found = socket_path.socket_path(str(path))
        assert os.path.dirname(found) == str(runtime / "stepwell")
        assert stat.S_IMODE((runtime / "stepwell").stat().st_mode) == 0o700
        await works(path)
    assert list((runtime / "stepwell").iterdir()) == []


async def test_a_runtime_folder_that_others_may_write_is_not_used(tmp_path, runtime, caplog):
    (runtime / "stepwell").mkdir(mode=0o755)
    (tmp_path / ("d" * 100)).mkdir()
    async with Engine(tmp_path / ("d" * 100) / "a.db", workflows=[waits]):
        assert list((runtime / "stepwell").iterdir()) == []
    assert "other processes cannot reach this engine" in caplog.text


async def test_a_socket_that_a_killed_engine_left_is_taken_over(tmp_path):
    path = tmp_path / "a.db"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(f"{path}.sock")
    async with Engine(path, workflows=[waits]):
        await works(path)


@pytest.mark.parametrize("what", ["file", "link"])
async def test_what_is_no_socket_stays_and_the_engine_runs_without(tmp_path, caplog, what):
    path, there = tmp_path / "a.db", tmp_path / "a.db.sock"
    other = tmp_path / "other.sock"
    if what == "file":
        there.write_text("mine")
    else:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(other))
        there.symlink_to(other)
    async with Engine(path, workflows=[waits]) as engine:
        assert await engine.count() is not None
    assert there.read_text() == "mine" if what == "file" else there.is_symlink()
    assert "is no socket" in caplog.text


async def test_a_socket_that_is_not_ours_any_more_is_not_removed(tmp_path):
    path = tmp_path / "a.db.sock"
    async with Engine(tmp_path / "a.db", workflows=[waits]):
        path.unlink()
        path.write_text("somebody else's")
    assert path.read_text() == "somebody else's"


# Who may come.


async def test_another_user_is_not_heard(tmp_path, monkeypatch):
    path = tmp_path / "a.db"
    async with Engine(path, workflows=[waits]):
        monkeypatch.setattr(serving, "peer_of", lambda stream: os.geteuid() + 1)
        async with connected(f"{path}.sock", hello=b"") as (_, frames):
            assert await frames.next() is None
        monkeypatch.undo()
        await works(path)


async def test_one_connection_too_many_is_closed_and_the_others_go_on(tmp_path, monkeypatch):
    monkeypatch.setattr(serving, "CONNECTIONS_MAX", 1)
    path = tmp_path / "a.db"
    async with Engine(path, workflows=[waits]), connected(f"{path}.sock") as (stream, frames):
        async with connected(f"{path}.sock", hello=b"") as (_, others):
            assert await others.next() is None
        await stream.send_all(framed([1, "counts", [None, None], None]))
        assert (await frames.next())[0][:2] == [1, answering.ANSWER]


@pytest.mark.parametrize("version", [0, PROTOCOL + 1, "1", None, [[]]])
async def test_another_version_is_told_ours_and_nothing_more(tmp_path, version):
    async with (
        Engine(tmp_path / "a.db", workflows=[waits]),
        connected(tmp_path / "a.db.sock", hello=b"") as (stream, frames),
    ):
        await stream.send_all(framed({"stepwell": version}))
        assert (await frames.next())[0]["stepwell"] == PROTOCOL
        assert await frames.next() is None


# What they say.

GARBAGE = {
    "nothing": b"",
    "half a length": b"\0\0",
    "half a frame": (100).to_bytes(4) + b"\x83",
    "too long": (FRAME_MAX + 1).to_bytes(4),
    "no CBOR": b"\0\0\0\2\xff\xff",
    "deep": framed(1)[:0] + (2000).to_bytes(4) + b"\x81" * 2000,
    "indefinite": b"\0\0\0\2\x9f\xff",
    "a tag": b"\0\0\0\4" + bytes.fromhex("d81c00") + b"\0",
    "no call": framed("hello"),
    "no list": framed({"call": "find"}),
    "no name": framed([1, 2, [], None]),
    "a float's number": framed([1.5, "counts", [None, None], None]),
    "text for an id": framed([1, "counts", [None, None], "id"]),
}


@pytest.mark.parametrize("what", GARBAGE.values(), ids=GARBAGE.keys())
@pytest.mark.parametrize("greets", [True, False])
async def test_garbage_ends_its_connection_and_nothing_else(tmp_path, what, greets):
    path = tmp_path / "a.db"
    async with Engine(path, workflows=[waits]):
        async with connected(f"{path}.sock", HELLO if greets else b"") as (stream, frames):
            await stream.send_all(what)
            await stream.send_eof()
            while (frame := await frames.next()) is not None:
                assert frame[0][1] == answering.ERROR
        await works(path)


def mangled(dice: random.Random, frame: bytes) -> bytes:
    """Returns a frame in which some bytes are others, of its length or not."""
    data = bytearray(frame)
    for _ in range(dice.randint(1, 4)):
        data[dice.randrange(len(data))] = dice.randrange(256)
    return bytes(data[: dice.randint(1, len(data))] if dice.random() < 0.3 else data)


@pytest.mark.parametrize("seed", range(4))
async def test_mangled_calls_harm_nothing(tmp_path, seed):
    print(f"seed {seed}")
    dice, path = random.Random(seed), tmp_path / "a.db"
    calls = [
        [1, "find", [["default", "waits", "a"], True], None],
        [2, "create", [CODE, ["a", dumps(1), *NEW[2:]], "raise"], KEY],
        [3, "updates", [["default", "waits", "a"], 1, None], None],
        [4, "pause", [["default", "waits", "a"], [None, None]], KEY],
        [5, "page", [["default", None, [], *[None] * 6, 5, True, 10, []]], None],
    ]  # fmt: skip
    async with Engine(path, workflows=[waits]):
        for _ in range(60):
            with trio.move_on_after(5) as slow:
                async with connected(f"{path}.sock") as (stream, _):
                    await stream.send_all(mangled(dice, framed(dice.choice(calls))))
                    await stream.send_eof()
                    while await stream.receive_some():
                        pass
            assert not slow.cancelled_caught
        await works(path)


WRONG = {
    "no such call": ["__class__", []],
    "a private one": ["_asked", []],
    "a local one": ["check", ["x"]],
    "too few": ["find", []],
    "a path for an id": ["find", [["default", "waits", "../../etc"], True]],
    "a line for a namespace": ["counts", ["a\nb", None]],
    "a page too long": ["audit", ["default", None, None, None, 10**9]],
    "a number too large": ["audit", ["default", None, None, 1 << 80, 10]],
    "no state": ["page", [["default", None, [99], *[None] * 7, True, 10, []]]],
    "a long text": ["recorded", [["default", "waits", "a"], 1, "x" * 9000, 1]],
}
CHANGES = {
    "no id of its own": ["pause", [["default", "waits", "a"], [None, None]], None],
    "a short id": ["pause", [["default", "waits", "a"], [None, None]], b"short"],
    "an unknown version": [
        "create", [["default", "waits", "9"], [None, None, 0, None, None, None], "raise"], KEY
    ],
    "a priority": [
        "create", [CODE, ["n", None, 999, *NEW[3:]], "raise"], KEY
    ],
    "params that are no value": [
        "create", [CODE, ["n", b"\xff", *NEW[2:]], "raise"], KEY
    ],
    "attributes that are none": [
        "create", [CODE, [*NEW[:4], dumps([1]), None], "raise"], KEY
    ],
    "a long actor": ["pause", [["default", "waits", "a"], ["x" * 300, None]], KEY],
    "an order of nothing": [
        "do_to_many", [["default", "pause", None, "", None, dumps({})], [None, None]], KEY
    ],
    "an order of something else": [
        "do_to_many", [["default", "reboot", None, "", None, dumps({})], [None, None]], KEY
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    "call", [*[[*it, None] for it in WRONG.values()], *CHANGES.values()], ids=[*WRONG, *CHANGES]
)
async def test_a_call_that_means_nothing_is_refused_and_the_connection_goes_on(tmp_path, call):
    path = tmp_path / "a.db"
    async with Engine(path, workflows=[waits]) as engine:
        async with connected(f"{path}.sock") as (stream, frames):
            await stream.send_all(framed([1, *call]))
            number, kind, (name, text, _) = (await frames.next())[0]
            assert (number, kind) == (1, answering.ERROR)
            assert name in ("InvalidConfig", "InvalidName", "TooLarge"), text
            await stream.send_all(framed([2, "counts", [None, None], None]))
            assert (await frames.next())[0][:2] == [2, answering.ANSWER]
        assert sum((await engine.count()).values()) == 0
        assert (await engine.bulk.list()).items == []
        await works(path)


async def test_a_value_over_the_limit_is_refused_by_the_engine(tmp_path):
    path = tmp_path / "a.db"
    async with Engine(path, workflows=[waits]) as engine:
        await engine.set_limits(value_bytes=100)
        async with Client(path, timeout=5) as client:
            with pytest.raises(TooLarge, match="limit of 100"):
                await client.create("waits", "x" * 200)
        assert sum((await engine.count()).values()) == 0


# How they say it.


def test_one_that_says_a_part_and_stops_is_cut_after_a_while():
    async def main() -> None:
        left, right = trio.testing.memory_stream_pair()
        await left.send_all(b"\0\0\1\0abc")
        with pytest.raises(BadFrame, match="not there after 30 seconds"):
            await Frames(right).next()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


async def test_one_that_comes_byte_by_byte_is_understood(tmp_path):
    path = tmp_path / "a.db"
    async with (
        Engine(path, workflows=[waits]),
        connected(f"{path}.sock", hello=b"") as (stream, frames),
    ):
        for byte in HELLO + framed([1, "counts", [None, None], None]):
            await stream.send_all(bytes([byte]))
        assert (await frames.next())[0]["stepwell"] == PROTOCOL
        assert (await frames.next())[0][:2] == [1, answering.ANSWER]


@pytest.mark.parametrize("seed", [random.randrange(1 << 32)])
async def test_what_is_sent_comes_in_its_order_however_much_is_taken_at_once(seed):
    print(f"seed {seed}")
    dice = random.Random(seed)
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
    sent = [bytes([n % 256]) * dice.choice((0, 1, 100, 20_000)) for n in range(200)]
    waited = 0
    async with trio.SocketStream(trio.socket.from_stdlib_socket(ours)) as stream:
        outlet = Outlet(stream, seconds=60)
        reader = trio.SocketStream(trio.socket.from_stdlib_socket(theirs))
        async with reader, trio.open_nursery() as nursery:
            nursery.start_soon(outlet.run)
            frames = Frames(reader)
            came = []
            for data in sent:
                outlet.send(framed(data))
                waited += outlet.waiting > 0
                if dice.random() < 0.5:
                    came.append((await frames.next())[0])
            while len(came) < len(sent):
                came.append((await frames.next())[0])
            nursery.cancel_scope.cancel()
    assert came == sent
    assert 0 < waited < len(sent)
    assert outlet.waiting == 0


async def test_one_that_reads_nothing_stops_being_read_and_others_go_on(tmp_path, monkeypatch):
    monkeypatch.setattr(answering, "UNREAD_MAX", 4_096)
    path = tmp_path / "a.db"
    async with Engine(path, workflows=[waits]) as engine:
        await engine.create_batch(waits, range(200))
        async with connected(f"{path}.sock") as (stream, _):
            page = [["default", None, [], *[None] * 7, True, 200, []]]
            number = idle = 0
            while idle < 100:  # it could not be sent, however often the engine had its turn
                assert number < 100_000, "it is read for ever"
                try:
                    await trio.lowlevel.checkpoint()
                    raw = socket.socket(fileno=os.dup(stream.socket.fileno()))
                    with raw:
                        raw.send(framed([number, "page", page, None]))
                    number, idle = number + 1, 0
                except BlockingIOError:
                    await trio.testing.wait_all_tasks_blocked(0.001)
                    idle += 1
            await works(path)
        await works(path)


@pytest.mark.parametrize("how", ["watch", "result"])
async def test_however_many_one_client_waits_for_its_other_calls_are_answered(tmp_path, how):
    count = 2 * answering.BRIEF_MAX + 1
    path = tmp_path / "a.db"
    begun = 0

    async def waiting(instance, *, task_status) -> None:
        nonlocal begun
        if how == "result":
            task_status.started()
            await instance.result()
        async with instance.watch():
            begun += 1
            task_status.started()
            await trio.sleep_forever()

    async with Engine(path, workflows=[waits]) as engine:
        await engine.create_batch(waits, [NewInstance(id=str(n)) for n in range(count)])
        async with Client(path, timeout=5) as client, trio.open_nursery() as nursery:
            for n in range(count):
                await nursery.start(waiting, await client.get(waits, str(n)))
            assert begun == (count if how == "watch" else 0)
            for n in range(3):
                assert (await (await client.get(waits, str(n))).status()).status == "waiting"
            nursery.cancel_scope.cancel()
        await works(path)


async def test_a_client_that_waits_for_too_many_is_refused_until_it_waits_for_fewer(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(answering, "CALLS_MAX", 5)
    path = tmp_path / "a.db"
    async with Engine(path, workflows=[waits]), Client(path, timeout=5) as client:
        instance = await client.create(waits, 1)
        async with AsyncExitStack() as watches:
            for _ in range(5):
                await watches.enter_async_context(instance.watch())
            with pytest.raises(Overloaded, match="5 calls of this client are under way"):
                await instance.status()
        await instance.send_event("go", 2)
        assert await instance.result() == 3


async def test_one_that_asks_and_goes_leaves_nothing_behind(tmp_path, caplog):
    path = tmp_path / "a.db"
    async with Engine(path, workflows=[waits]) as engine:
        await engine.create(waits, id="a")
        for _ in range(20):
            async with connected(f"{path}.sock") as (stream, _):
                who = ["default", "waits", "a"]
                await stream.send_all(framed([1, "updates", [who, 1, None], None]))
                await stream.send_all(framed([2, "until", [who, 1, ["complete"], "x", True], None]))
        await works(path)
        server = engine._driver.server
        while server._connections:
            await trio.testing.wait_all_tasks_blocked()
        assert server._answers.bytes == 0
        assert [it.getMessage() for it in caplog.records if it.levelname == "ERROR"] == []
        assert engine._driver.watchers._watches == {}


class _Begun(trio.abc.Instrument):
    """Counts the tasks that begin."""

    count = 0

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        self.count += 1


async def test_a_look_at_an_instance_begins_no_task(tmp_path):
    path = tmp_path / "a.db"
    async with Engine(path, workflows=[waits]) as engine:
        await engine.create(waits, id="a")
        async with connected(f"{path}.sock") as (stream, frames):
            await trio.testing.wait_all_tasks_blocked()
            begun = _Begun()
            trio.lowlevel.add_instrument(begun)
            for n, id in enumerate(["a", "b"] * 5):
                await stream.send_all(framed([n, "find", [["default", "waits", id], True], None]))
                number, kind, _ = (await frames.next())[0]
                assert (number, kind) == (n, ANSWER if id == "a" else ERROR)
            trio.lowlevel.remove_instrument(begun)
            assert begun.count == 0
        assert engine._driver.callers.waiting == 0


@pytest.mark.parametrize("how", ["cancels", "goes"])
async def test_a_look_that_is_given_up_leaves_nothing_behind(tmp_path, how):
    path = tmp_path / "a.db"
    async with Engine(path, workflows=[waits]) as engine:
        await engine.create(waits, id="a")
        driver = engine._driver
        async with connected(f"{path}.sock") as (stream, _):
            find = framed([1, "find", [["default", "waits", "a"], True], None])
            given_up = framed([1, CANCEL, [], None]) if how == "cancels" else b""
            await stream.send_all(b"".join([find, given_up] * 5) if given_up else find)
        await works(path)
        while driver.server._connections:
            await trio.testing.wait_all_tasks_blocked()
        assert driver.server._answers.bytes == 0
        assert driver.callers.waiting == 0
        assert not any(isinstance(it, Listener) for it in driver.tickets.values())


async def test_a_look_is_answered_where_the_engine_ends_meanwhile(tmp_path):
    path = tmp_path / "a.db"
    async with Engine(path, workflows=[waits]) as engine:
        await engine.create(waits, id="a")
        answers = []
        desk = engine._served
        desk.glance(Who("default", "waits", "a"), True, answers.append)
        engine._driver.abandon_callers()
        with pytest.raises(EngineClosed):
            answers.pop().unwrap()
        assert engine._driver.callers.waiting == 0
