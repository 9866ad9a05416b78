"""What docs/operating.md shows for a shell, run as it stands there, by processes of their own
against an engine in another one, which has many other instances.

`STEPWELL_STORIES=100000` tells each story beside as many of them, and the story of the many of as
many.
"""

import json
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from commands import is_row

from stepwell import NewInstance, sync

HERE = Path(__file__).parent
PAGE = (HERE.parent / "docs" / "operating.md").read_text()
COUNT = int(os.environ.get("STEPWELL_STORIES", "300"))
STEPWELL = [sys.executable, "-m", "stepwell"]
pytestmark = pytest.mark.slow


def shown(section: str) -> list[str]:
    """Returns the commands that a section of the page shows."""
    text = PAGE.partition(f"## {section}\n")[2].partition("\n## ")[0]
    [block] = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    return block.splitlines()


class Shop:
    """A store, the engine that runs it, and commands that ask that."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {
            **os.environ,
            "STEPWELL_STORE": str(folder / "shop.db"),
            "SHOP_KEY": str(folder / "key"),
            "LOGNAME": "ann",
        }
        self.process: subprocess.Popen | None = None

    def open(self, deploy: str = "first") -> None:
        """Starts an engine; returns when it runs."""
        self.log = (self.folder / "engine.log").open("w+")
        self.process = subprocess.Popen(
            [*STEPWELL, "run", "deploys"], cwd=HERE, stderr=self.log,
            env={**self.env, "SHOP_DEPLOY": deploy},
        )  # fmt: skip
        with self.client() as client:
            client.count()  # which waits for it

    def close(self, number: int = signal.SIGTERM) -> None:
        """Ends it."""
        if self.process is not None:
            self.process.send_signal(number)
            try:
                self.process.wait(30)
            finally:
                self.process.kill()
                self.process.wait()
                self.log.close()
                self.process = None

    def client(self) -> sync.Client:
        return sync.Client(self.env["STEPWELL_STORE"], timeout="100 seconds")

    def run(self, line: str) -> subprocess.CompletedProcess:
        """Runs one line, as somebody types it."""
        name, *arguments = shlex.split(line, comments=True)
        assert name == "stepwell"
        return subprocess.run(
            [*STEPWELL, *arguments], cwd=self.folder, env=self.env, capture_output=True, text=True,
            stdin=subprocess.DEVNULL, timeout=600,
        )  # fmt: skip

    def rows(self, line: str, code: int = 0) -> list:
        """Returns what a line prints."""
        done = self.run(line)
        assert done.returncode == code, (line, done.stdout, done.stderr)
        return [json.loads(it) for it in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def stocked(tmp_path_factory):
    """A store in which many instances wait."""
    shop = Shop(tmp_path_factory.mktemp("stocked"))
    try:
        shop.open()
        many(shop, "stock", COUNT)
    finally:
        shop.close()
    return shop.folder / "shop.db"


@pytest.fixture
def shop(stocked, tmp_path):
    shutil.copy(stocked, tmp_path / "shop.db")
    shop = Shop(tmp_path)
    yield shop
    shop.close(signal.SIGKILL)


def waits(instance) -> None:
    instance.wait_for_status("waiting")


def many(shop, workflow: str, count: int, **attributes) -> None:
    """Creates instances; returns when all of them wait."""
    with shop.client() as client:
        for first in range(0, count, 10_000):
            items = [
                NewInstance(id=f"{workflow[0]}-{n}", attributes=attributes)
                for n in range(first, min(count, first + 10_000))
            ]
            assert not client.create_batch(workflow, items).errors
        while client.count(workflow)["waiting"] < count:
            time.sleep(0.01)


def orders(shop, count: int, **attributes) -> None:
    many(shop, "order", count, **attributes)


def test_cancel_10_000(shop):
    shop.open()
    orders(shop, COUNT, customer="acme")
    look, cancel, far, who = shown("Cancel 10,000")
    [seen] = shop.rows(look)
    is_row(seen, "BulkPreview")
    assert seen["counts"] == {"waiting": COUNT}
    [result] = shop.rows(cancel)
    is_row(result, "BulkResult")
    assert (result["done"], result["errors"]) == (COUNT, [])
    assert shop.rows(far)[0]["status"] == "ended"
    row = shop.rows(who)[0]
    assert (row["actor"], row["note"], row["operation"]) == (
        "ann", "billed twice, ticket 4711", "terminate",
    )  # fmt: skip


def test_300_stuck_after_a_bad_deploy(shop):
    shop.open()
    orders(shop, 30)
    shop.close()
    shop.open("bad")
    with shop.client() as client:
        for n in range(30):
            client.get("order", f"o-{n}").send_event("payment", n)
        while client.count("order")["blocked"] < 30:
            time.sleep(0.01)
    shop.close()
    shop.open("mended")
    why, tell, resume = shown("300 stuck after a bad deploy")
    [row] = shop.rows(why)
    is_row(row, "ReasonCount")
    assert (row["count"], row["code"], row["version"]) == (30, "nondeterminism", "7")
    [told] = shop.rows(tell)
    for part in ("charge", "reserve", "deploys.py"):
        assert part in told["text"]
    assert shop.rows(resume)[0]["done"] == 30
    with shop.client() as client:
        assert [client.get("order", f"o-{n}").result() for n in range(30)] == list(range(30))


def test_a_key_expired(shop):
    shop.open()
    with shop.client() as client:
        for n in range(10):
            waits(client.create("pay", id=f"p-{n}"))
    why, again = shown("A key expired, and a step retries for hours")
    [row] = shop.rows(why)
    assert row["code"] == "retrying"
    assert (row["count"], row["step"], row["error_type"]) == (10, "charge", "deploys.AuthError")
    (shop.folder / "key").touch()
    assert shop.rows(again)[0]["done"] == 10
    with shop.client() as client:
        assert len({client.get("pay", f"p-{n}").result() for n in range(10)}) == 10


def stands(shop, **where) -> None:
    """An instance of `render` holds its only slot, and three are queued."""
    with shop.client() as client:
        client.create("render", id="r-1").wait_for_status("running")
        for n in range(2, 5):
            client.create("render", id=f"r-{n}")


def test_the_queue_does_not_drain(shop):
    shop.open()
    stands(shop)
    why, more = shown("The queue does not drain")
    [told] = shop.rows(why)
    is_row(told, "QueueExplanation")
    assert (told["queued"], told["used"], told["slots"]) == (3, 1, 1)
    assert [it["id"] for it in told["holders"]] == ["r-1"]
    assert shop.rows(more)[0]["concurrency"] == 4
    with shop.client() as client:
        for n in range(2, 5):
            client.get("render", f"r-{n}").result()


def test_one_tenant_starves(shop):
    shop.open()
    shop.rows("stepwell limits set --namespace acme --concurrency 1")
    with shop.client() as client:
        acme = client.namespace("acme")
        acme.create("render", id="r-1").wait_for_status("running")
        acme.create("order", id="o-17")
    why, more = shown("One tenant starves")
    [told] = shop.rows(why)
    assert (told["code"], told["queued"], told["set_by"]) == ("namespace_concurrency", 1, "ann")
    assert shop.rows(more)[0]["concurrency"] == 20
    with shop.client() as client:
        waits(client.namespace("acme").get("order", "o-17"))


def test_the_disk_fills(shop):
    shop.open()
    orders(shop, 30)
    with shop.client() as client:
        for n in range(5):
            blob = random.Random(n).randbytes(40_000).hex()
            client.get("order", f"o-{n}").send_event("payment", blob)
            client.get("order", f"o-{n}").result()
        for n in range(20):
            waits(client.create("ship", id=f"s-{n}"))
    doctor, bytes_of, delete = shown("The disk fills")
    assert "disk" not in {it["id"] for it in map(json.loads, shop.run(doctor).stdout.splitlines())}
    rows = shop.rows(bytes_of)
    for it in rows:
        is_row(it, "VersionCount", bytes=int, share=float, read=int)
    by_name = {it["workflow"]: it for it in rows}
    assert rows == sorted(rows, key=lambda it: -it["bytes"])
    assert 0 < by_name["ship"]["bytes"] < 50_000
    assert by_name["order"]["read"] == 30
    assert by_name["pay"]["bytes"] == 0
    stored = sum(it.stat().st_size for it in shop.folder.glob("shop.db*"))
    assert 5 * 40_000 < by_name["order"]["bytes"] < stored
    assert shop.rows(delete)[0]["done"] == 5
    assert {it["workflow"]: it for it in shop.rows(bytes_of)}["order"]["bytes"] < 100_000


def test_an_approval_is_lost(shop):
    shop.open()
    with shop.client() as client:
        waits(client.create("ship", id="s-1"))
    look, approve, again = shown("An approval is lost")
    [row] = shop.rows(look)
    assert (row["id"], row["status"]) == ("ship/s-1#check#1", "open")
    assert shop.rows(approve) == []
    assert shop.rows("stepwell result ship/s-1") == ["bob"]
    [decided] = shop.rows(again)
    assert decided["output"]["by"] == "bob"
    assert shop.rows(approve, code=4) == []


def test_was_the_card_charged_twice(shop):
    shop.open()
    with shop.client() as client:
        waits(client.create("pay", id="o-17"))
    (shop.folder / "key").touch()
    shop.rows("stepwell retry pay/o-17")
    shop.rows("stepwell result pay/o-17")
    [attempts] = shown("Was the card charged twice?")
    told = shop.rows(attempts)
    for it in told:
        is_row(it, "StepRecord")
    assert [(it["attempt"], it["status"]) for it in told] == [(1, "attempt_failed"), (2, "done")]
    assert told[0]["error"]["message"] == "the key has expired"
    [key] = {it["idempotency_key"] for it in told}
    assert shop.rows("stepwell result pay/o-17") == [f"paid {key}"]


def test_which_code_runs(shop):
    shop.open("mended")
    orders(shop, 3)
    [versions] = shown("Which code runs?")
    rows = {it["version"]: it for it in shop.rows(versions)}
    assert rows.keys() == {"7", "8"}
    assert all(it["registered"] for it in rows.values())
    assert rows["8"]["counts"]["waiting"] == 3


def test_it_runs_since_hours(shop):
    shop.open()
    stands(shop)
    [tell] = shown("It runs since hours")
    [told] = shop.rows(tell)
    assert told["code"] == "running"
    assert "draw" in told["text"]
    assert "threading.py" in told["text"] or "deploys.py" in told["text"]


def under_way(shop) -> bool:
    """Whether an attempt of r-1 runs, or never will again."""
    with shop.client() as client:
        it = client.get("render", "r-1")
        told = it.explain().details.get("steps", [])
        return any(step["state"] == "running" for step in told) or it.status().status == "blocked"


def test_the_process_dies_again_and_again(shop):
    shop.open()
    shop.rows("stepwell limits set --recoveries 1")
    stands(shop)
    shop.rows("stepwell delete render --id-prefix r- --status queued --yes")
    for _ in range(3):
        shop.close(signal.SIGKILL)
        shop.open()
        last = time.monotonic() + 60
        while not under_way(shop):  # who is killed before it runs again is not suspected for that
            assert time.monotonic() < last
    look, export, delete = shown("The process dies again and again")
    with shop.client() as client:
        client.get("render", "r-1").wait_for_status("blocked")
    [row] = shop.rows(look)
    assert (row["id"], row["status"], row["reason"]) == ("r-1", "blocked", "recoveries")
    assert shop.rows(export) == []
    assert json.loads((shop.folder / "r-1.json").read_text())["id"] == "r-1"
    assert shop.rows(delete) == []
    assert shop.rows("stepwell list render") == []


def test_last_nights_schedule_did_not_fire(shop):
    shop.open()
    look, preview, fill = shown("Last night's schedule did not fire")
    shop.rows("stepwell schedules put nightly order '1 second' --catch-up skip --overlap allow")
    shop.close(signal.SIGKILL)
    [schedule] = shop.rows("stepwell schedules list")
    while datetime.now(UTC) < datetime.fromisoformat(schedule["next_at"]) + timedelta(seconds=2):
        shop.rows("stepwell schedules list")  # it misses firings, and none is told yet
    shop.open()
    last = time.monotonic() + 60
    rows = shop.rows(look)
    while not any(it["outcome"] == "missed" for it in rows):
        assert time.monotonic() < last, rows
        rows = shop.rows(look)
    for it in rows:
        is_row(it, "Firing")
    shop.rows("stepwell schedules pause nightly")
    with shop.client() as client:
        before = len(client.list(schedule="nightly", limit=1_000))
        seen = shop.rows(preview)
        assert len(client.list(schedule="nightly", limit=1_000)) == before
        assert any(it["outcome"] == "fired" and it["why"] == "backfill" for it in seen)
        shop.rows(fill)
        assert len(client.list(schedule="nightly", limit=1_000)) > before


def test_the_webhook_came_and_nothing_moves(shop):
    shop.open()
    orders(shop, 18)
    shop.rows("stepwell send-event order/o-17 paid 40")
    tell, send = shown("The webhook came, and nothing moves")
    [told] = shop.rows(tell)
    assert "payment" in told["text"]
    assert "paid" in told["text"]
    assert shop.rows(send) == []
    assert shop.rows("stepwell result order/o-17") == [{"amount": 40}]


def test_the_engine_is_down_or_a_customer_sends_a_file(shop):
    shop.open()
    orders(shop, 18)
    shop.rows("stepwell send-event order/o-17 paid 40")
    shop.close(signal.SIGKILL)
    for it in shop.folder.glob("shop.db*"):
        if not it.name.endswith(".sock"):
            shutil.copy(it, shop.folder / it.name.replace("shop", "sent"))
    before = {it: it.stat().st_mtime_ns for it in shop.folder.glob("sent.db*")}
    look, tell = shown("The engine is down, or a customer sends a file")
    done = shop.run(look)
    assert done.returncode == 0
    assert "sent.db: Read from the file: no engine has it" in done.stderr
    assert len(done.stdout.splitlines()) == 18
    [told] = shop.rows(tell)
    for part in ("payment", "paid", "Read from the file: no engine has it"):
        assert part in told["text"]
    assert {it: it.stat().st_mtime_ns for it in shop.folder.glob("sent.db*")} == before


def test_every_shell_block_of_the_page_is_told_here():
    sections = [it.partition("\n")[0] for it in PAGE.split("\n## ")[1:] if "```sh\n" in it]
    told = Path(__file__).read_text()
    assert [it for it in sections if f'shown("{it}")' not in told] == []
