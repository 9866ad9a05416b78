"""Server-sent events of whatever can be followed, as a response of Starlette, and so of FastAPI."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

SECONDS = (50.0, 60.0)
"""A response ends itself after a time drawn from these: a proxy would at sixty, and a server that
is to stop waits for all. The browser comes back by itself, and goes on."""
QUIET_SECONDS = 15.0
"""So often something is sent, were it nothing: whoever is in between learns that it is alive."""

Reader = Callable[[str | None], AbstractAsyncContextManager[AsyncIterator[Any]]]
"""Follows something after a cursor: `lambda cursor: engine.stream(write, "i1", "answer",
cursor=cursor)`, `lambda cursor: instance.watch(cursor=cursor)`."""


def sse(reader: Reader, request: Request) -> Response:
    """Returns a response that sends what is followed as server-sent events, for `EventSource` in a
    browser: `return sse(lambda cursor: engine.stream(write, id, "answer", cursor=cursor),
    request)`.

    Each event has its cursor as `id` and its fields as JSON in `data`. A browser that comes back
    says which it saw last (`Last-Event-ID`), and gets what came after it. The response ends itself
    after 50 to 60 seconds, so that a server can stop, and the browser comes back; when all has been
    told, an event `end` says so, and the page closes its `EventSource`. An event `error` has the
    text of an error, such as that the instance is gone.

    Args:
        reader: What is followed, given the cursor after which, or None.
        request: The request that is answered.

    Raises:
        ImportError: Starlette is not installed (`pip install starlette`).
    """
    response: Response = _response_class()(reader, request.headers.get("last-event-id") or None)
    return response


def _response_class() -> Any:
    import anyio
    from starlette.responses import Response

    from .._errors import StepwellError

    class Events(Response):
        """See `sse`."""

        media_type = "text/event-stream"

        def __init__(self, reader: Reader, cursor: str | None) -> None:
            super().__init__(headers={"cache-control": "no-cache", "x-accel-buffering": "no"})
            del self.headers["content-length"]  # it is known in the end
            self._reader, self._cursor = reader, cursor
            self._is_quiet = True

        async def __call__(self, _: Any, receive: Any, send: Any) -> None:
            """Answers the request."""
            await send(
                {
                    "type": "http.response.start",
                    "status": self.status_code,
                    "headers": self.raw_headers,
                }
            )

            async def say(text: str, *, more: bool = True) -> None:
                self._is_quiet = False
                body = {"type": "http.response.body", "body": text.encode(), "more_body": more}
                await send(body)

            async def hears_of_the_end() -> None:
                while (await receive())["type"] != "http.disconnect":
                    pass
                tasks.cancel_scope.cancel()

            async def breaks_the_silence() -> None:
                while True:
                    self._is_quiet = True
                    await anyio.sleep(QUIET_SECONDS)
                    if self._is_quiet:
                        await say(":\n\n")

            async with anyio.create_task_group() as tasks:
                tasks.cancel_scope.deadline = anyio.current_time() + random.uniform(*SECONDS)
                tasks.start_soon(hears_of_the_end)
                tasks.start_soon(breaks_the_silence)
                await say("retry: 1000\n\n")
                try:
                    async with self._reader(self._cursor) as items:
                        async for item in items:
                            await say(_event(item))
                    await say("event: end\ndata:\n\n")
                except StepwellError as error:
                    await say(f"event: error\ndata: {json.dumps(str(error))}\n\n")
                tasks.cancel_scope.cancel()
            await say("", more=False)

    return Events


def _event(item: Any) -> str:
    """Returns one thing that is told, as an event."""
    fields = {name: it for name, it in item._asdict().items() if name != "cursor"}
    return f"id: {item.cursor}\ndata: {json.dumps(fields, default=_shown)}\n\n"


def _shown(value: Any) -> Any:
    """Returns what stands for a value that JSON has no word for."""
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    return str(value)
