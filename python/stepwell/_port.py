"""What a runner needs of the engine, as a type: the driver is it, and tests may be.

The methods named as in `_core.pyi` are the core's own. Nothing here does anything.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import trio

if TYPE_CHECKING:
    from ._borrowed import Borrowed
    from ._generators import Generators
    from ._loops.bridge import Bridge
    from ._resisting import Resistance
    from ._runner import Runner
    from ._signatures import Runtime
    from ._turns import TurnKeeper
    from ._types import Limits
    from ._workflow import Workflow


class Port(Protocol):
    """The engine, as runners see it."""

    engine: Any
    tickets: dict[int, Any]
    nursery: trio.Nursery
    borrowed: Borrowed
    keeper: TurnKeeper
    resistance: Resistance
    generators: Generators
    outer: BaseException | None
    draining: bool
    observed: bool
    checks_arguments: bool
    seed: int
    default_runtime: Runtime
    token: trio.lowlevel.TrioToken
    waiting_residents: int
    found: int
    record: Callable[..., int]
    retry: Callable[..., int]
    withdraw: Callable[[int, int, int], None]
    give_back: Callable[[int, int, int], None]
    quiet: Callable[[int, int, int], None]
    park: Callable[[int, int], bool]
    finish: Callable[[int, int, int, bytes | None], None]
    hold: Callable[[int, int], None]
    block: Callable[[int, int, str, bytes, str | None], None]
    taken_up: Callable[[int, int], None]
    release: Callable[[int, int], None]
    publish: Callable[[int, int, bytes], None]
    sleep: Callable[..., int]
    wait_event: Callable[..., int]
    wait_approval: Callable[..., int]
    wait_child: Callable[..., int]
    call: Callable[..., int]
    create_child: Callable[..., int]
    create_children: Callable[..., int]
    send: Callable[..., int]
    now: Callable[[], int]
    monotonic: Callable[[], int]

    bridge: Bridge | None

    def asyncio_loop(self) -> Bridge: ...
    def arm(self, delay: int, then: Callable[[], None]) -> int: ...
    def disarm(self, ticket: int) -> None: ...
    def limits_of(self, namespace: str, workflow: str | None) -> Limits: ...
    def registered(self, workflow: Any) -> Workflow[Any, Any]: ...
    def ended(self, runner: Runner) -> None: ...
    def lacks_class(self, runner: Runner, which: tuple[str, str]) -> None: ...
    def let_go(self, no: int) -> None: ...
    def replay(self, runner: Runner) -> None: ...
    def interrupted_by(self, error: BaseException) -> None: ...
    def progressed(self) -> None: ...
