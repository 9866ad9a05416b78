"""Server-sent events: what a browser is told, where it goes on, and when a response ends."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
from starlette.requests import Request

from stepwell import Step, aio, workflow
from stepwell.agents import _sse, sse
from stepwell.testing import open_test_engine


@workflow
async def talks(step: Step) -> None:
    async with step.stream("answer") as out:
        for text in ("a", 'line\n"two"', "c"):
            await out.send(text)
        await step.wait_for_event("go")


class Browser:
    """Asks once, and keeps what it is sent."""

    def __init__(self, seen: str | None = None) -> None:
        headers = [] if seen is None else [(b"last-event-id", seen.encode())]
        self.request = Request({"type": "http", "headers": headers})
        self.leaves = trio.Event()
        self.told = trio.Event()
        self.text, self.headers, self.is_over = "", {}, False

    async def receive(self) -> dict[str, Any]:
        await self.leaves.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            return
        assert not self.is_over
        self.text += message["body"].decode()
        self.is_over = not message["more_body"]
        self.told.set()

    async def asks(self, engine: Any, id: str) -> None:
        response = sse(
            lambda cursor: engine.stream(talks, id, "answer", cursor=cursor), self.request
        )
        await response({}, self.receive, self.send)

    @property
    def events(self) -> list[dict[str, str]]:
        """What `EventSource` makes of it."""
        made = []
        for block in self.text.split("\n\n"):
            lines = [it.partition(": ") for it in block.splitlines() if not it.startswith(":")]
            fields = {name.removesuffix(":"): value for name, _, value in lines}
            if "data" in fields:
                made.append(fields)
        return made

    @property
    def values(self) -> list[Any]:
        return [json.loads(it["data"])["value"] for it in self.events if "id" in it]


async def test_a_browser_is_told_all_and_that_it_is_all():
    async with open_test_engine(workflows=[talks]) as engine:
        instance = await engine.create(talks, id="i")
        await instance.send_event("go")
        browser = Browser()
        await browser.asks(engine, "i")
        assert browser.values == ["a", 'line\n"two"', "c", None]
        assert browser.events[-1]["event"] == "end"
        assert browser.is_over
        assert browser.headers["content-type"].startswith("text/event-stream")
        assert "content-length" not in browser.headers
        again = Browser(browser.events[1]["id"])
        await again.asks(engine, "i")
        assert again.values == ["c", None]


@pytest.mark.slow
async def test_a_response_ends_itself_and_the_browser_goes_on(monkeypatch):
    monkeypatch.setattr(_sse, "SECONDS", (0.3, 0.3))
    monkeypatch.setattr(_sse, "QUIET_SECONDS", 0.1)
    async with open_test_engine(workflows=[talks], autojump=False) as engine:
        instance = await engine.create(talks, id="i")
        first = Browser()
        await first.asks(engine, "i")
        assert first.values == ["a", 'line\n"two"', "c"]
        assert first.is_over
        assert "event" not in first.events[-1]
        assert "\n\n:\n\n" in first.text, "it was not silent"
        await instance.send_event("go")
        second = Browser(first.events[-1]["id"])
        await second.asks(engine, "i")
        assert second.values == [None]


async def test_a_browser_that_leaves_ends_it():
    async with open_test_engine(workflows=[talks], autojump=False) as engine:
        await engine.create(talks, id="i")
        browser = Browser()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(browser.asks, engine, "i")
            while len(browser.events) < 3:
                browser.told = trio.Event()
                await browser.told.wait()
            browser.leaves.set()
        assert "event: end" not in browser.text


async def test_an_instance_that_is_not_there_is_told_as_an_error():
    async with open_test_engine(workflows=[talks]) as engine:
        browser = Browser()
        await browser.asks(engine, "nobody")
        assert browser.events[-1]["event"] == "error"
        assert "nobody" in browser.events[-1]["data"]
        assert browser.is_over


def test_it_runs_on_asyncio_as_web_servers_do(tmp_path):
    import asyncio

    async def main() -> str:
        async with aio.Engine(str(tmp_path / "s.db"), workflows=[talks]) as engine:
            instance = await engine.create(talks, id="i")
            await instance.send_event("go")
            sent: list[str] = []

            async def receive() -> dict[str, Any]:
                await asyncio.Event().wait()
                raise AssertionError

            async def send(message: dict[str, Any]) -> None:
                sent.append(message.get("body", b"").decode())

            def reader(cursor: str | None) -> Any:
                return engine.stream(talks, "i", "answer", cursor=cursor)

            await sse(reader, Request({"type": "http", "headers": []}))({}, receive, send)
            return "".join(sent)

    told = asyncio.run(main())
    assert told.count("id: ") == 4
    assert "event: end" in told
