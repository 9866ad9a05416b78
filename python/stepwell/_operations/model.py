"""Calls of a model's client as steps: `step.model`.

A step like others, around a call of somebody else's client: what it streams goes into a stream of
the instance while it comes, what it returns is stored as plain data, a server that says when to
come back is heard, and what the call took is told to whoever traces.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, ExitStack
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

from .._attempts.context import current_step
from .._attempts.heard import asked_for
from .._attempts.sending import Sending
from .._errors import InvalidConfig
from .._steps.retry import Retry
from .._values import names

Collect = Callable[[list[Any]], Any]
_LONG = 365 * 86_400
"""No server means so many seconds."""


class _Asked:
    """One call of a client, as the function of a step."""

    def __init__(
        self, fn: Callable[..., Any], stream: str | None, collect: Collect | None, is_typed: bool,
        given: dict[str, Any],
    ) -> None:  # fmt: skip
        self._fn, self._stream, self._collect = fn, stream, collect
        self._is_typed, self._given = is_typed, given

    def _sending(self, stream: str) -> Sending:
        running = current_step()
        return Sending(running._operation, running.attempt, stream, concludes=True)

    def _stored(self, value: Any, took: dict[str, int] | None) -> Any:
        """Tells what the call took; returns what of its value is stored."""
        if (attempt := asked_for()) is not None:
            attempt.noted(_told(self._given.get("model"), took))
        return value if self._is_typed else plain(value)

    async def _on_loop(self, made: Any) -> Any:
        """Reads what an async client gave."""
        if inspect.isawaitable(made):
            made = await made
        if not hasattr(made, "__aiter__") and not hasattr(made, "__aenter__"):
            return self._stored(made, usage(made))
        async with AsyncExitStack() as stack:
            if hasattr(made, "__aenter__"):
                made = await stack.enter_async_context(made)
            out = None
            if self._stream is not None:
                out = await stack.enter_async_context(self._sending(self._stream))
            items, took = [], None
            async for item in _closed(stack, made):
                took = usage(item) or took
                items.append(plain(item))
                if out is not None:
                    await out.send(items[-1])
        value = items if self._collect is None else self._collect(items)
        if inspect.isawaitable(value):
            value = await value
        return self._stored(value, usage(value) or took)


class _AskedOnLoop(_Asked):
    """Of an async client."""

    async def __call__(self) -> Any:
        return await self._on_loop(self._fn(**self._given))


class _AskedInThread(_Asked):
    """Of a blocking client; or of an async one, which nothing showed before it was called."""

    def __call__(self) -> Any:
        made: Any = self._fn(**self._given)
        if any(hasattr(made, it) for it in ("__await__", "__aiter__", "__aenter__")):
            return self._on_loop(made)  # which is awaited, as what any plain function returns
        if not any(hasattr(made, it) for it in ("__next__", "__enter__")):
            return self._stored(made, usage(made))
        with ExitStack() as stack:
            if hasattr(made, "__enter__"):
                made = stack.enter_context(made)
            out = None
            if self._stream is not None:
                out = stack.enter_context(self._sending(self._stream))
            items, took = [], None
            for item in made:
                took = usage(item) or took
                items.append(plain(item))
                if out is not None:
                    out.send(items[-1])  # type: ignore[unused-coroutine]  # in a thread it is done
        value = items if self._collect is None else self._collect(items)
        return self._stored(value, usage(value) or took)


def _closed(stack: AsyncExitStack, items: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """Has an iterator closed in the end, however that is called."""
    if (close := getattr(items, "aclose", None)) is not None:
        stack.push_async_callback(close)
    return items


def function_for(
    fn: Any, stream: str | None, collect: Collect | None, is_typed: bool, given: dict[str, Any]
) -> Callable[[], Any]:
    """Returns the function of a step that calls a client.

    Raises:
        InvalidConfig: It is no function, or `collect` is none.
        InvalidName: The name of the stream is malformed.
    """
    if not callable(fn):
        raise InvalidConfig(
            f"step.model needs a function of your client, such as client.messages.create, got "
            f"{fn!r:.100}."
        )
    if collect is not None and not callable(collect):
        raise InvalidConfig(f"step.model: collect={collect!r:.100} is no function of the items.")
    if stream is not None:
        names.step_name(stream, "stream_to")
    kind = _AskedOnLoop if _is_async(fn) else _AskedInThread
    return kind(fn, stream, collect, is_typed, given)


def _is_async(fn: Any) -> bool:
    return any(
        inspect.iscoroutinefunction(it) or inspect.isasyncgenfunction(it)
        for it in (inspect.unwrap(fn), getattr(fn, "func", None), getattr(fn, "__call__", None))  # noqa: B004  # of an object
    )


def plain(value: Any) -> Any:
    """Returns what a client gave as plain data: its classes are its own."""
    dump = getattr(value, "model_dump", None)
    if callable(dump) and not isinstance(value, type):
        return dump(mode="json")
    return value


# What it took.


def usage(of: Any) -> dict[str, int] | None:
    """Returns how many tokens an answer says that it took, in the words of any client; None: it
    does not say."""
    found = _read(of, "usage")
    took = {
        word: next((it for name in names if type(it := _read(found, name)) is int), None)
        for word, names in (
            ("input_tokens", ("input_tokens", "prompt_tokens")),
            ("output_tokens", ("output_tokens", "completion_tokens")),
        )
    }
    return {word: it for word, it in took.items() if it is not None} or None


def _read(of: Any, name: str) -> Any:
    return of.get(name) if isinstance(of, Mapping) else getattr(of, name, None)


def _told(model: Any, took: dict[str, int] | None) -> dict[str, str | int]:
    """Returns that in the words of OpenTelemetry's conventions for generative AI."""
    told: dict[str, str | int] = {"gen_ai.operation.name": "chat"}
    if isinstance(model, str):
        told["gen_ai.request.model"] = model
    return told | {f"gen_ai.usage.{word}": it for word, it in (took or {}).items()}


# When it is asked again.


def retry_after(error: BaseException, now: int) -> float | None:
    """Returns how many seconds a server asks to be left alone, as the exception of a client says;
    None: it does not, or makes no sense. `now` is the time, in microseconds."""
    headers = getattr(getattr(error, "response", None), "headers", None)
    read = getattr(headers, "get", None)
    if read is None:
        return None
    try:
        if (ms := read("retry-after-ms")) is not None:
            return max(0.0, float(ms) / 1_000)
        said = read("retry-after")
        if said is None:
            return None
        if said.strip().replace(".", "", 1).isdigit():
            return float(said)
        at = parsedate_to_datetime(said)
    except (TypeError, ValueError, OverflowError):
        return None
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return max(0.0, at.timestamp() - now / 1e6)


class _Polite(Retry):
    """Comes back when the server says, if it does."""

    def delay_us(self, attempt: int, ctx: Any, exc: Exception, random: Any) -> int:
        """See `Retry.delay_us`."""
        asked = retry_after(exc, ctx._operation.life.port.now())
        if asked is None or asked > _LONG:
            return super().delay_us(attempt, ctx, exc, random)
        return min(round(asked * 1e6), self._max_delay_us)


def polite(retry: Retry | None) -> Retry:
    """Returns these retries with the delays that servers ask for.

    Raises:
        InvalidConfig: They are none.
    """
    if retry is None:
        return _Polite()
    if not isinstance(retry, Retry):
        raise InvalidConfig(f"step.model: retry={retry!r:.100} is no Retry.")
    given = {it.name: getattr(retry, it.name) for it in dataclasses.fields(retry) if it.init}
    return _Polite(**given)
