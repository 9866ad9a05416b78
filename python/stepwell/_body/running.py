"""A step whose attempt runs, as the attempt sees it: what calls the function, and what it borrows,
know this and no operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import trio

if TYPE_CHECKING:
    from .._replay import Identity
    from .._steps.workflow import FunctionPlan
    from .life import Life


class Running(Protocol):
    """One step with an attempt under way.

    Attributes:
        life: Of the instance.
        fn: The function, with `args`.
        plan: What is known of it.
        attempt_scope: What cancels the attempt that runs.
        scope: That of all its attempts, if they have a task of their own.
        thread: That of an attempt, of the one before too, until it has ended.
        ground: Where the code of its attempt began; see `resisting`.
        runs: Whether an attempt is under way.
        on_asyncio: Whether async code of it belongs on an asyncio loop.
        is_in_body: Whether an attempt runs in the body's own task.
        is_ending: Whether its attempt was cancelled, by whomever, so that its code should end.
        is_cancelled: Whether that was its body.
        passages: What its attempts send, or have sent.
        concludes: The stream in which its value stands for what it has sent; None: there is none.
    """

    life: Life
    fn: Callable[..., Any]
    args: tuple[Any, ...]
    plan: FunctionPlan
    identity: Identity
    attempt_scope: Any
    scope: trio.CancelScope | None
    thread: Any
    ground: Any
    runs: bool
    on_asyncio: bool
    is_in_body: bool
    is_ending: bool
    is_cancelled: bool
    passages: tuple[Any, ...]
    concludes: str | None

    @property
    def attempt(self) -> int:
        """Which attempt is made now, from 1."""
        ...

    @property
    def beat(self) -> int:
        """When it last said that it is alive, in microseconds of the monotonic clock; 0: never."""
        ...

    @property
    def context(self) -> Any:
        """What its function may know of it; see `_attempts.context`."""
        ...

    @property
    def root(self) -> trio.lowlevel.Task | None:
        """The task of trio's in which its attempt runs."""
        ...

    def has_ended(self, attempt: int) -> bool:
        """Whether this attempt is over."""
        ...

    async def save(self, value: Any, attempt: int) -> None:
        """Keeps a value for the next attempt."""
        ...

    async def may_have_thread(self) -> None:
        """Returns if the attempt may begin; if not, it never comes back from here."""
        ...

    def thread_begins(self, thread: Any) -> None:
        """An attempt has a thread, and is under way."""
        ...

    def thread_ended(self, thread: Any) -> None:
        """The thread of an attempt has ended."""
        ...

    def cancel_attempt(self) -> None:
        """Cancels the attempt that runs, if one does."""
        ...

    def give_up_attempt(self, why: str) -> None:
        """The attempt, which has no scope, took too long."""
        ...

    def remote_returned(self, value: Any) -> None:
        """The attempt on asyncio has returned."""
        ...

    def remote_failed(self, error: BaseException) -> None:
        """The attempt on asyncio has raised."""
        ...

    def remote_ended(self) -> None:
        """Nothing of it runs on asyncio any more."""
        ...
