"""Step functions under load: each says when an attempt starts, fails, saves and returns.

Every attempt that returns makes a value nobody else makes (`label=attempt.pid.nonce`), so that a
value seen anywhere says which attempt of which life made it.
"""

import asyncio
import os
import time
from collections.abc import Callable
from typing import NoReturn

import trio

from stepwell import NonRetryableError, current_step

from .journal import Journal

journal: Journal = None  # type: ignore[assignment]  # the worker sets it before anything runs


class Flaky(Exception):
    """A real failure."""


class Panic(BaseException):
    """As what is raised by extensions written in Rust."""


def text(value: object) -> str:
    """Returns what identifies a value, whatever shape it was stored in."""
    return text(value[0]) if isinstance(value, list) else str(value)


def _started(label: str) -> int:
    step = current_step()
    journal.put("S", step.instance_id, label, [step.attempt, step.saved])
    return step.attempt


def _returns(label: str, attempt: int) -> str:
    value = f"{label}={attempt}.{os.getpid()}.{os.urandom(4).hex()}"
    journal.put("D", current_step().instance_id, label, value)
    return value


def _fails(label: str, attempt: int, delay: float) -> None:
    journal.put("F", current_step().instance_id, label, [attempt, delay])
    raise Flaky(f"{label} fails")


async def quick(label: str) -> str:
    """Never waits."""
    return _returns(label, _started(label))


async def slow(label: str, seconds: float) -> list[str]:
    """Waits a little; its value is no plain string."""
    attempt = _started(label)
    await trio.sleep(seconds)
    return [_returns(label, attempt)]


async def slow_on_asyncio(label: str, seconds: float) -> str:
    """Waits a little, on asyncio."""
    attempt = _started(label)
    await asyncio.sleep(seconds)
    return _returns(label, attempt)


def threaded(label: str) -> str:
    """Runs in a thread."""
    attempt = _started(label)
    time.sleep(0.002)
    return _returns(label, attempt)


async def flaky(label: str, failures: int, delay: float) -> str:
    """Fails its first attempts."""
    attempt = _started(label)
    if attempt <= failures:
        _fails(label, attempt, delay)
    return _returns(label, attempt)


def flaky_threaded(label: str, failures: int, delay: float) -> str:
    """Fails its first attempts, in a thread."""
    attempt = _started(label)
    if attempt <= failures:
        _fails(label, attempt, delay)
    return _returns(label, attempt)


async def hopeless(label: str) -> str:
    """Fails for good, at its second attempt."""
    attempt = _started(label)
    journal.put("F", current_step().instance_id, label, [attempt, 0])
    if attempt > 1:
        raise NonRetryableError(f"{label} fails")
    raise Flaky(f"{label} fails")


async def saving(label: str, goal: int, seconds: float) -> str:
    """Goes on where the attempt before it had got to."""
    attempt = _started(label)
    for reached in range(current_step().saved or 0, goal):
        await trio.sleep(seconds)
        await current_step().save(reached + 1)
        journal.put("V", current_step().instance_id, label, reached + 1)
    return _returns(label, attempt)


def charge_in_thread(label: str, seconds: float) -> str:
    """Goes through, whoever has given it up meanwhile."""
    attempt = _started(label)
    time.sleep(seconds)
    return _returns(label, attempt)


async def charge(label: str, seconds: float) -> str:
    """As `charge_in_thread`: once it has begun it is brought to its end behind a shield."""
    attempt = _started(label)
    try:
        await trio.sleep(seconds)
    except trio.Cancelled:
        with trio.CancelScope(shield=True):
            await trio.sleep(seconds / 2)
    return _returns(label, attempt)


async def charge_on_asyncio(label: str, seconds: float) -> str:
    """The same on asyncio, where it swallows its cancellation."""
    attempt = _started(label)
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        await asyncio.sleep(seconds / 2)
    return _returns(label, attempt)


PANICS: tuple[Callable[[], BaseException], ...] = (
    lambda: Panic("boom"),
    lambda: SystemExit(3),
    lambda: trio.Cancelled._create(source="unknown"),
)


def _panics(label: str, kind: int) -> NoReturn:
    journal.put("F", current_step().instance_id, label, [_started(label), 0])
    raise PANICS[kind % len(PANICS)]()


async def panics(label: str, kind: int) -> None:
    """Raises what is no `Exception`."""
    await trio.lowlevel.checkpoint()
    _panics(label, kind)


def panics_in_thread(label: str, kind: int) -> None:
    """As `panics`."""
    _panics(label, kind)
