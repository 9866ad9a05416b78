"""The payload store of an engine: every call of it, in threads, and what may be deleted there.

A place that is slow, full, or hangs holds up those whose values lie there and nobody else: each
call has a thread of its own, and is given up after a while. A key is kept in the store before a
value is put under it, and forgotten after it was deleted, so whatever a crash leaves is found: a
key that no stored payload names, and that nobody is about to use, is loose. Only keys of this store
are ever deleted, so several may share a place.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar

import trio
from trio.lowlevel import enable_ki_protection

from .._core import CoreError
from .._errors import StepwellError
from .._log import log
from .._values.envelope import unopened
from .._values.payloads import Payloads, Reference, reference, referring

if TYPE_CHECKING:
    from .host import Host

T = TypeVar("T")

THREADS: Final = 16
"""Calls that are under way at once: what more there is waits. One that was given up counts until
its thread comes back."""
SECONDS: Final = 60
"""So long a call may take, and a second more for each MiB: a link of 10 Mbit/s keeps up."""
DELAYS: Final = (1.0, 4.0, 15.0)
"""Seconds before what failed is tried again."""
SWEPT_EVERY: Final = 30.0
"""Seconds between two looks at what is loose."""
KEYS_AT_ONCE: Final = 500
"""How many keys one question looks at, and at most so many are deleted with one call."""

_PUTTING: Counter[bytes] = Counter()
"""How many threads of this process are putting something under a key, perhaps for an engine that is
closed: what they put is deleted by a sweep after that."""
_PUTTING_LOCK = threading.Lock()


class PutFailed(Exception):
    """A value could not be put into the payload store; the text says which, and why."""


class Depot:
    """The payload store of one engine, over all lives of its core.

    Attributes:
        over: Values of more bytes than this lie there.
        driver: The engine's.
        in_use: Keys that no committed record may name yet, and one may.
        putting: How many calls wait until their values are put.
    """

    driver: Host

    def __init__(self, payloads: Payloads) -> None:
        self.payloads = payloads
        self.over = payloads.over
        self.in_use: set[bytes] = set()
        self.putting = 0
        self._used: set[bytes] = set()
        """What was in use at some time since the store was last asked what is loose."""
        self._threads = trio.CapacityLimiter(THREADS)
        self._sweeping = trio.Lock()
        self._has_warned = False

    # Values.

    async def put_all(self, values: Sequence[bytes], what: str) -> list[bytes]:
        """Puts these values there, and returns what refers to them.

        Args:
            what: Whose they are, as people read it.

        Raises:
            PutFailed: One cannot be put.
            StepwellError: The engine is closed, or its store has failed.
        """
        keys = [os.urandom(16) for _ in values]
        self.in_use.update(keys)
        self._used.update(keys)
        try:
            reply = await self.driver.ask(self.driver.core.large, keys, [])
            if reply.code:
                raise PutFailed(f"{what} could not be kept: {reply.data}")
            put = [self._put(key, data, what) for key, data in zip(keys, values, strict=True)]
            return await _all(put)
        except BaseException:
            self.in_use.difference_update(keys)
            raise

    async def _put(self, key: bytes, data: bytes, what: str) -> bytes:
        refers = await trio.to_thread.run_sync(referring, key, data, limiter=self._threads)
        for delay in (*DELAYS, None):
            try:
                put = _Put(self.payloads, key, data)
                try:
                    await self._call(len(data), put)
                finally:
                    put.give_up()
            except Exception as error:
                if delay is None:
                    raise PutFailed(
                        f"{what} ({len(data):,} bytes) could not be put into the payload store "
                        f"{self.payloads!r}: {_said(error)}"
                    ) from error
                await trio.sleep(delay)
            else:
                break
        return refers.packed()

    async def whole(self, payload: bytes) -> bytes:
        """Returns what these bytes stand for, if they refer to a value there; or why that cannot be
        had."""
        refers = reference(payload)
        if refers is None:
            return payload
        for delay in (*DELAYS, None):
            try:
                data = await self._call(refers.size, self._got, refers)
            except KeyError:
                return unopened(f"is missing in {self._place(refers)}. {_RESTORE}")
            except Exception as error:
                if delay is None:
                    return unopened(
                        f"cannot be had from {self._place(refers)}: {_said(error)}. See that it "
                        "can be reached"
                    )
                await trio.sleep(delay)
            else:
                if data is None:
                    return unopened(f"is damaged in {self._place(refers)}. {_RESTORE}")
                return data
        raise AssertionError("the last one returns")

    async def whole_of_all(self, payloads: Iterable[bytes | None]) -> dict[bytes, bytes]:
        """Returns what each of these stands for that refers to a value there."""
        refers = [it for it in dict.fromkeys(payloads) if it is not None and reference(it)]
        return dict(zip(refers, await _all([self.whole(it) for it in refers]), strict=True))

    def _got(self, refers: Reference) -> bytes | None:
        data = self.payloads.get(refers.name)
        return data if refers.is_of(data) else None

    def _place(self, refers: Reference) -> str:
        return f"the payload store {self.payloads!r} ({refers.size:,} bytes under {refers.name})"

    async def _call(self, size: int, call: Callable[..., T], *args: Any) -> T:
        seconds = SECONDS + size / (1 << 20)
        with trio.move_on_after(seconds):
            return await trio.to_thread.run_sync(
                call, *args, abandon_on_cancel=True, limiter=self._threads
            )
        raise TimeoutError(f"it has not answered for {seconds:.0f} seconds")

    # What is loose.

    @enable_ki_protection
    async def run(self) -> None:
        """Deletes what is loose, again and again. Never returns."""
        while True:
            begun = trio.current_time()
            # the engine may have stopped, or be opened anew
            with suppress(StepwellError, CoreError):
                await self.sweep()
            await trio.sleep(max(SWEPT_EVERY, 20 * (trio.current_time() - begun)))

    async def sweep(self) -> int:
        """Deletes what is loose; returns how many values that were."""
        async with self._sweeping:
            deleted, beyond = 0, None
            while True:
                core = self.driver.core
                # what is in use at any moment from here on: the store may have been asked before a
                # record named a key, and answer when that is committed, and the key in use no more
                self._used = set(self.in_use)
                reply = await self.driver.ask(core.loose, beyond, KEYS_AT_ONCE)
                if reply.code:
                    return deleted
                keys, beyond = reply.data
                loose = [it for it in keys if it not in self._used and it not in _PUTTING]
                if loose and core is self.driver.core:
                    if not await self._deleted(loose):
                        return deleted
                    await self.driver.ask(core.large, [], loose)
                    deleted += len(loose)
                if beyond is None:
                    return deleted

    async def _deleted(self, keys: list[bytes]) -> bool:
        names = [it.hex() for it in keys]
        try:
            await self._call(0, self.payloads.delete, names)
        except Exception as error:
            if not self._has_warned:
                log.warning(
                    "values that nothing refers to any more cannot be deleted in the payload store "
                    "%r, and are tried again: %s",
                    self.payloads,
                    _said(error),
                )
            self._has_warned = True
            return False
        self._has_warned = False
        return True


_RESTORE = "Put it back there, from a copy"


class _Put:
    """One call of `put`, for a thread; once it was given up it does not begin any more."""

    def __init__(self, payloads: Payloads, key: bytes, data: bytes) -> None:
        self._payloads = payloads
        self._key = key
        self._data = data
        self._is_given_up = False

    def __call__(self) -> None:
        with _PUTTING_LOCK:
            if self._is_given_up:
                return
            _PUTTING[self._key] += 1
        try:
            self._payloads.put(self._key.hex(), self._data)
        finally:
            with _PUTTING_LOCK:
                _PUTTING[self._key] -= 1
                if not _PUTTING[self._key]:
                    del _PUTTING[self._key]

    def give_up(self) -> None:
        """Nobody waits for it any more; one that runs goes on."""
        with _PUTTING_LOCK:
            self._is_given_up = True


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


async def _all(calls: Sequence[Awaitable[T]]) -> list[T]:
    """Awaits all of these at once; the first error is raised bare."""
    if len(calls) == 1:
        return [await calls[0]]
    results: dict[int, T] = {}
    failed: list[Exception] = []

    async def one(at: int, call: Awaitable[T]) -> None:
        try:
            results[at] = await call
        except Exception as error:
            failed.append(error)
            nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        for at, call in enumerate(calls):
            nursery.start_soon(one, at, call)
    if failed:
        raise failed[0]
    return [results[at] for at in range(len(calls))]
