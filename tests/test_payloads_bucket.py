"""The example of an object store, against one on the loopback."""

import sys
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from stepwell import workflow
from stepwell._engine import depot
from stepwell.testing import open_test_engine

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
from bucket import Bucket

PATH = "/orders/large"


class Objects(BaseHTTPRequestHandler):
    """An object store: three methods on paths, for whoever signs."""

    kept: ClassVar[dict[str, bytes]] = {}
    ill = 0
    """How many of the next requests fail."""

    def _answered(self) -> None:
        data = self.rfile.read(int(self.headers.get("content-length", 0)))
        signer = Bucket(f"http://{self.headers['host']}{PATH}", "AK", "secret")
        at = datetime.strptime(self.headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        status, body = 200, b""
        if (
            self.headers["authorization"]
            != signer.signed(self.command, self.path, data, at)["authorization"]
        ):
            status = 403
        elif type(self).ill:
            type(self).ill -= 1
            status = 503
        elif self.command == "PUT":
            self.kept[self.path] = data
        elif self.path not in self.kept:
            status = 404
        elif self.command == "GET":
            body = self.kept[self.path]
        else:
            status = 204
            del self.kept[self.path]
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_PUT = do_GET = do_DELETE = _answered  # noqa: N815  # the library's names

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def url():
    Objects.kept.clear()
    Objects.ill = 0
    server = ThreadingHTTPServer(("127.0.0.1", 0), Objects)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}{PATH}"
    server.shutdown()
    server.server_close()
    thread.join()


@workflow
async def doubles(step, params: str) -> str:
    made = await step.do(lambda: params * 2, name="double")
    await step.wait_for_event("go")
    return made


async def test_values_of_an_engine_lie_in_a_bucket_and_are_deleted_there(url, monkeypatch):
    monkeypatch.setattr(depot, "DELAYS", (0.0, 0.0))
    bucket = Bucket(url, "AK", "secret")
    bucket.over = 1_000
    async with open_test_engine([doubles], payloads=bucket, autojump=False) as engine:
        Objects.ill = 1  # and is tried again
        instance = await engine.create(doubles, "p" * 5_000)
        await instance.wait_for_status("waiting")
        assert sorted(map(len, Objects.kept.values())) == [5_003, 10_003]
        assert all(it.startswith(f"{PATH}/") for it in Objects.kept)
        await engine.crash()
        await instance.send_event("go")
        assert await instance.result() == "p" * 10_000
        await instance.delete()
        while Objects.kept:
            await engine._running().depot.sweep()


def test_what_the_bucket_says_is_an_error_but_that_there_is_nothing(url):
    bucket = Bucket(url, "AK", "secret")
    with pytest.raises(KeyError):
        bucket.get("00" * 16)
    bucket.delete(["00" * 16])
    with pytest.raises(OSError, match="403"):
        Bucket(url, "AK", "wrong").put("00" * 16, b"")


def test_requests_are_signed_as_in_the_example_of_aws():
    signer = Bucket(
        "https://examplebucket.s3.amazonaws.com",
        "AKIAIOSFODNN7EXAMPLE",
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    )
    at = datetime(2013, 5, 24, tzinfo=UTC)
    signed = signer.signed("GET", "/test.txt", b"", at, {"range": "bytes=0-9"})
    assert signed["authorization"].endswith(
        "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
    )
