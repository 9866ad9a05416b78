"""The desk of an engine in another process: each call goes over the link, as the table of calls has
it. See `_engine.desk`."""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Any, Self, cast

from .._engine.wire import CALLS
from .._values.codec import VALUE_BYTES_MAX
from .._values.ids import drawn_id

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from .._engine.desk import Code, Desk, Made, NewItem
    from .._engine.registry import Registry
    from .link import Link

_VALUE_BYTES = 64 * VALUE_BYTES_MAX
"""What an engine may allow at most; what it does allow, it says itself."""


class _Following:
    """Somebody follows as long as its block lasts."""

    def __init__(self, begins: Callable[[], AsyncGenerator[Any, None]]) -> None:
        self._items = _Items(begins)

    async def __aenter__(self) -> _Items:
        await self._items.begin()
        return self._items

    async def __aexit__(self, *_: object) -> None:
        await self._items.end()


class _Items:
    """What somebody follows, one by one. Whoever is cancelled while it waits for the next one goes
    on after the last, when it asks again: the generator does not outlive that, so another begins
    there."""

    def __init__(self, begins: Callable[[], AsyncGenerator[Any, None]]) -> None:
        self._begins = begins
        self._items: AsyncGenerator[Any, None] | None = None

    async def begin(self) -> None:
        """Returns when it is followed."""
        items = self._begins()
        try:
            await anext(items)  # it has begun
        except BaseException:
            await items.aclose()
            raise
        self._items = items

    async def end(self) -> None:
        """It is followed no more."""
        if self._items is not None:
            await self._items.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        if self._items is None:
            await self.begin()
        assert self._items is not None, "it has begun"
        try:
            return await anext(self._items)
        except StopAsyncIteration:
            raise
        except BaseException:
            self._items = None
            raise


class _RemoteDesk:
    """What is no call. The others are made below."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def __repr__(self) -> str:
        return repr(self._link)

    def check(self, method: str) -> None:
        self._link.check(method)

    check_admits = check

    def value_bytes(self, namespace: str, workflow: str | None) -> int:
        return _VALUE_BYTES

    most_bytes = value_bytes

    def now(self) -> int:
        return time.time_ns() // 1_000

    async def create(self, code: Code, item: NewItem, if_exists: str) -> tuple[int, str, bool]:
        """A repeat of it is known by the id, so it has one."""
        made: tuple[int, str, bool] = await self._link.call(
            CALLS["create"], [code, _named(item), if_exists]
        )
        return made

    async def create_batch(
        self, code: Code, items: list[NewItem], if_exists: str, *, waits: bool
    ) -> list[Made]:
        """As `create`."""
        named = [_named(it) for it in items]
        made: list[Made] = await self._link.call(
            CALLS["create_batch"], [code, named, if_exists, waits]
        )
        return made

    async def registry(self) -> Registry:
        return await self._link.registry()

    async def readers(self) -> Registry:
        return await self._link.readers()


def remote_desk(link: Link) -> Desk:
    """Returns the desk of the engine at the other end of a link."""
    return cast("Desk", _whole()(link))


@functools.cache
def _whole() -> type[_RemoteDesk]:
    """Returns the class of a desk with all its calls."""
    made = {name: _method(name) for name in CALLS if name not in vars(_RemoteDesk)}
    return type("RemoteDesk", (_RemoteDesk,), made)


def _method(name: str) -> Callable[..., Any]:
    def asked(self: _RemoteDesk, *args: Any, **named: Any) -> _Following | Awaitable[Any]:
        call = CALLS[name]
        names = [it for it, _, _ in call.parameters]
        in_order = [*args, *[named.get(it, True) for it in names[len(args) :]]]
        if call.follows:
            return _Following(lambda: self._link.follow(call, in_order, names.index("cursor")))
        return self._link.call(call, in_order)

    return asked


def _named(item: NewItem) -> NewItem:
    """Returns a new instance with an id."""
    return item if item[0] is not None else (drawn_id(time.time_ns() // 1_000), *item[1:])
