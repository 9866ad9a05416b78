"""`stepwell.aio` in web applications: examples/fastapi_app.py over loopback, killed, reloaded, with
too many workers; and elsewhere."""

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from stepwell import Step, aio, workflow

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "examples" / "fastapi_app.py"
PATIENCE = 60.0


class Server:
    """A uvicorn process that serves the example."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        command = [
            sys.executable,
            "-m",
            "uvicorn",
            "app_under_test:app",
            "--app-dir",
            str(folder),
            "--host",
            "127.0.0.1",
            "--port",
            "0",
        ]
        env = {**os.environ, "ORDERS_DB": str(folder / "orders.db"), "PYTHONUNBUFFERED": "1"}
        self.process = subprocess.Popen(
            [*command, *options],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            env=env,
            cwd=folder,
        )
        self.said: list[str] = []
        self.more = threading.Condition()
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self.more:
                self.said.append(line)
                self.more.notify_all()

    def hears(self, text: str, *, times: int = 1) -> str:
        """Waits until the server has said something so often; returns all it has said."""
        with self.more:
            heard = self.more.wait_for(lambda: "".join(self.said).count(text) >= times, PATIENCE)
            assert heard, "".join(self.said)
            return "".join(self.said)

    @property
    def url(self) -> str:
        found = re.search(r"running on (http://127\.0\.0\.1:\d+)", self.hears("Uvicorn running on"))
        assert found is not None
        return found[1]

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Ends it, and waits for that."""
        self.process.send_signal(number)
        self.process.wait(PATIENCE)
        self.reader.join()
        assert self.process.stderr is not None
        self.process.stderr.close()


@contextmanager
def served(folder: Path, *options: str, ready: int = 1) -> Iterator[tuple[Server, httpx.Client]]:
    shutil.copy(EXAMPLE, folder / "app_under_test.py")
    server = Server(folder, *options)
    try:
        server.hears("Application startup complete", times=ready)
        with httpx.Client(base_url=server.url, timeout=PATIENCE) as client:
            yield server, client
    finally:
        if server.process.poll() is None:
            server.end()


def until(client: httpx.Client, id: str, status: str) -> dict[str, Any]:
    """Asks for an order until it is in this state."""
    end = time.monotonic() + PATIENCE
    while True:
        found: dict[str, Any] = client.get(f"/orders/{id}").json()
        if found["status"] == status:
            return found
        assert time.monotonic() < end, found


def place(client: httpx.Client, id: str, amount: int) -> httpx.Response:
    return client.post("/orders", json={"id": id, "item": "tea", "amount": amount})


@pytest.mark.slow
def test_the_example_serves_orders_and_answers_mistakes(tmp_path):
    with served(tmp_path) as (_, client):
        assert place(client, "small", 20).status_code == 202
        assert until(client, "small", "complete")["receipt"] == {
            "outcome": "charged 20",
            "left": 99,
            "decided_by": None,
        }
        assert place(client, "large", 250).status_code == 202
        assert 'waits for approval "manager"' in until(client, "large", "waiting")["why"]
        assert [
            client.post("/orders/large/approve", json={"by": by}).json() for by in ("ann", "bob")
        ] == [
            {"first": True},
            {"first": False},
        ]
        assert until(client, "large", "complete")["receipt"]["decided_by"] == "ann"
        place(client, "refused", 250)
        until(client, "refused", "waiting")
        client.post("/orders/refused/reject", json={"by": "bob", "reason": "too dear"})
        assert until(client, "refused", "complete")["receipt"] == {
            "outcome": "rejected",
            "left": 98,
            "decided_by": "bob",
        }
        assert place(client, "small", 20).status_code == 409
        assert place(client, "not valid", 20).status_code == 422
        assert client.get("/orders/none").status_code == 404


@pytest.mark.slow
def test_many_requests_at_once_then_a_kill_and_every_order_goes_on(tmp_path):
    with served(tmp_path) as (server, client):

        async def place_all() -> list[int]:
            async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as many:
                asked = [
                    many.post("/orders", json={"id": f"o-{i}", "item": "tea", "amount": 250})
                    for i in range(40)
                ]
                return [it.status_code for it in await asyncio.gather(*asked)]

        assert asyncio.run(place_all()) == [202] * 40
        for i in range(40):
            until(client, f"o-{i}", "waiting")
        server.end(signal.SIGKILL)
    with served(tmp_path) as (_, client):
        for i in range(40):
            assert until(client, f"o-{i}", "waiting")
            assert client.post(f"/orders/o-{i}/approve", json={"by": "ann"}).json() == {
                "first": True
            }
        for i in range(40):
            assert until(client, f"o-{i}", "complete")["receipt"]["decided_by"] == "ann"


@pytest.mark.slow
def test_a_server_that_reloads_goes_on_with_its_orders(tmp_path):
    with served(tmp_path, "--reload", "--reload-dir", str(tmp_path)) as (server, client):
        place(client, "large", 250)
        until(client, "large", "waiting")
        with (tmp_path / "app_under_test.py").open("a") as file:
            file.write("\n# a change\n")
        server.hears("Application startup complete", times=2)
        client.post("/orders/large/approve", json={"by": "ann"})
        assert until(client, "large", "complete")["receipt"]["outcome"] == "charged 250"


@pytest.mark.slow
def test_a_second_worker_is_told_what_to_do_and_the_first_one_serves(tmp_path):
    with served(tmp_path, "--workers", "2") as (server, client):
        assert "One engine owns an embedded store" in server.hears("stepwell.Client")
        place(client, "small", 20)
        assert until(client, "small", "complete")["receipt"]["outcome"] == "charged 20"


@workflow
async def doubles(step: Step, x: int) -> int:
    return await step.do(double, x)


async def double(x: int) -> int:
    await asyncio.sleep(0)
    return 2 * x


def test_cells_of_a_notebook_share_a_running_loop(tmp_path):
    """Each cell is a coroutine of its own on a loop that goes on; the engine is opened by hand in
    one and closed in another."""
    loop = asyncio.new_event_loop()
    engine = aio.Engine(str(tmp_path / "s.db"), workflows=[doubles])
    cell = loop.run_until_complete
    assert cell(engine.__aenter__()) is engine
    instance = cell(engine.create(doubles, 21, id="a"))
    assert cell(instance.result()) == 42
    assert cell(engine.call(doubles, 4)) == 8
    cell(engine.__aexit__(None, None, None))
    loop.close()


def test_it_works_in_a_thread_and_under_uvloop():
    uvloop = pytest.importorskip("uvloop")

    async def main() -> int:
        async with aio.Engine(":memory:", workflows=[doubles]) as engine:
            return await engine.call(doubles, 4)

    results: list[int] = []
    thread = threading.Thread(target=lambda: results.append(asyncio.run(main())))
    thread.start()
    thread.join()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        results.append(runner.run(main()))
    assert results == [8, 8]


def test_tests_of_users_run_under_anyios_plugin_on_both_backends(tmp_path):
    (tmp_path / "test_users.py").write_text(
        """
import pytest, stepwell
from stepwell import aio, workflow

@workflow
async def doubles(step, x):
    return await step.do(double, x)

async def double(x):
    import anyio
    await anyio.sleep(0)
    return 2 * x

@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    return request.param

@pytest.fixture
async def engine(anyio_backend):
    module = aio if anyio_backend == "asyncio" else stepwell
    async with module.Engine(":memory:", workflows=[doubles]) as engine:
        yield engine

@pytest.mark.anyio
async def test_one(engine):
    assert await engine.call(doubles, 4) == 8

@pytest.mark.anyio
async def test_two(engine):
    assert await engine.call(doubles, 5) == 10
"""
    )
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-W",
        "error",
        str(tmp_path / "test_users.py"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert "4 passed" in done.stdout, done.stdout + done.stderr
