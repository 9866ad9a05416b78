"""A real engine on a virtual clock that can crash on demand."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

import trio
from trio.lowlevel import enable_ki_protection

from .._core import Core
from .._engine.engine import Engine
from .._steps.workflow import Workflow
from .._values.durations import Duration, instant_us, to_us
from ._clock import Clock

BEGINNING = datetime(2030, 1, 1, tzinfo=UTC)


class TestEngine(Engine):
    """An `Engine` whose time is virtual. Get one from `open_test_engine`.

    Attributes:
        clock: Its clock.
    """

    __test__ = False  # not a test case, whatever pytest thinks of its name

    def __init__(
        self,
        store: str | os.PathLike[str],
        *,
        seed: int,
        autojump: bool,
        workflows: Iterable[Workflow[Any, Any]],
        check_arguments: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(store, workflows=workflows, **options)
        self._virtual_time = instant_us(BEGINNING, "the virtual clock's beginning")
        self._autojump = autojump
        self._seed = seed
        self._checks_arguments = check_arguments
        self.clock = Clock()

    @enable_ki_protection
    async def __aenter__(self) -> TestEngine:
        await super().__aenter__()
        driver = self._running()
        self.clock.attach(driver)
        if self._autojump:
            self._life.nursery.start_soon(self.clock.autojump)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await super().__aexit__(kind, error, trace)
        if self._driver is not None:
            await self._driver.borrowed.threads_are_back()
            self._driver.borrowed.check()

    async def crash(self, downtime: Duration = 0) -> None:
        """Loses everything that was not acknowledged, as a killed process would, then recovers.

        Bodies are unwound without recording anything. Handles on instances stay good; calls that
        were waiting raise `EngineClosed`, waits for results go on.

        Args:
            downtime: How much later that is.

        Raises:
            InvalidConfig: The downtime is no duration.
            EngineClosed: The engine is not open.
        """
        driver = self._ready("crash")
        core, later = driver.core, to_us(downtime, "downtime")

        async def reopen() -> Core:
            await trio.to_thread.run_sync(core.crash)
            reopened = await trio.to_thread.run_sync(core.reopen)
            reopened.jump(later)
            return reopened

        await driver.reset(reopen)


@asynccontextmanager
async def open_test_engine(
    workflows: Iterable[Workflow[Any, Any]] = (),
    *,
    store: str | os.PathLike[str] = ":memory:",
    autojump: bool = True,
    seed: int = 0,
    check_arguments: bool = True,
    **engine_options: Any,
) -> AsyncGenerator[TestEngine]:
    """Opens a real engine on a virtual clock.

    Args:
        workflows: As `Engine`.
        store: ":memory:" or a path.
        autojump: Time jumps to the next timer whenever no attempt runs and no body can go on
            without it.
        seed: Chooses the jitter of retry delays.
        check_arguments: Blocks an instance whose step changed an object that the body gave it
            (`changed_argument`); False: nobody looks.
        engine_options: As `Engine`.

    Raises:
        StepwellError: As `Engine`.
    """
    engine = TestEngine(
        store,
        seed=seed,
        autojump=autojump,
        check_arguments=check_arguments,
        workflows=workflows,
        **engine_options,
    )
    async with engine:
        yield engine
