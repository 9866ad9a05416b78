"""How an engine that closes, or crashes, ends what it has in memory: bodies, and attempts that outlive them (P1).

All is cancelled, and waited for. What resists is ended after a while, its code unfinished, and said in one error of the log; what
stands where nothing can end it is left behind, and whoever closes the engine is told. `_resisting` and `_asyncio_turns` do the ending.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from . import _diagnosis
from ._log import log

if TYPE_CHECKING:
    from ._driver import Driver
    from ._ending import End
    from ._errors import InvalidState
    from ._runner import Runner

RESISTS_MAX = 4.0
"""Seconds that an engine which closes waits for code that resists (P1)."""
ENDS_MAX = 0.5
"""Seconds in which that is then ended, unfinished; it takes some rounds of trio's loop for each nursery."""


async def end_all(driver: Driver, why: End) -> None:
    """Unwinds every body, and waits for them and for attempts that outlive them; what resists is ended, if that can be done."""
    driver.unwind_all(why)
    with trio.move_on_after(RESISTS_MAX):
        while not _only_resists(driver):
            await driver.next_progress()
    if not (driver.runners or driver.borrowed.attempts):
        return
    log.error("%s", _diagnosis.resist_the_end(list(driver.runners.values()), driver.resistance.attempts(), driver.borrowed.attempts))
    if driver.bridge is not None:
        driver.bridge.forsake_unwanted()
    with trio.move_on_after(ENDS_MAX):
        while driver.runners or driver.borrowed.attempts:
            for runner in list(driver.runners.values()):
                _end(driver, runner)
            for task in driver.resistance.attempts():
                driver.resistance.end_attempt(task)
            await trio.sleep(0.001)
    driver.left = [runner.task for runner in driver.runners.values() if runner.task is not None] + driver.resistance.attempts()


def _only_resists(driver: Driver) -> bool:
    """Whether nothing is driven any more of what has not ended."""
    if not driver.runners and driver.borrowed.attempts and not driver.resistance.attempts():
        return False
    return all(_resists(driver, runner) for runner in driver.runners.values()) and all(
        driver.resistance.holds(task) for task in driver.resistance.attempts()
    )


def _resists(driver: Driver, runner: Runner) -> bool:
    turns: Any = runner.turns
    return driver.resistance.holds(runner.task) if runner.loop is None else bool(turns.has_given_up)


def _end(driver: Driver, runner: Runner) -> None:
    turns: Any = runner.turns
    if runner.loop is None:
        driver.resistance.end_body(runner)
    else:
        turns.abandon()


def leave_behind(driver: Driver) -> InvalidState:
    """Hands back the instances of bodies that could not be ended. Returns what whoever closes the engine is told."""
    for runner in driver.runners.values():
        if runner.stopping is not None and runner.stopping.is_for_later:
            driver.core.release(runner.no, runner.incarnation)
    failure = _diagnosis.cannot_be_ended(driver.left)
    log.error("%s", failure)
    return failure
