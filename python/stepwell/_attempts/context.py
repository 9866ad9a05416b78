"""What the function of a step may know of the step it runs in: `current_step()`."""

from __future__ import annotations

import functools
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import trio

from .._body.branch import Branch, place
from .._body.progress import report
from .._errors import Misuse, MisusedState
from .._room import need_room
from .._seeds import idempotency_key
from .._values import names
from .sending import Sending, runs_on

if TYPE_CHECKING:
    from .._body.running import Running


# with a default, which is PEP 696 and not in Python 3.11: a bare StepContext is one of any engine
if TYPE_CHECKING:
    import typing_extensions

    E = typing_extensions.TypeVar("E", default=Any)
else:
    E = TypeVar("E")


class StepContext(Generic[E]):
    """What a step function may know of the step it runs in. Get it with `current_step()`.

    Attributes:
        name: The step's name.
        key: Its key, or None.
        count: Which occurrence of the name in its branch, from 1.
        attempt: Which attempt, from 1; attempts before a restart count.
        instance_id: Id of the instance.
        config: The retry configuration in force.
        saved: What an earlier attempt handed over with `save`, or None.
    """

    __slots__ = (
        "_operation",
        "attempt",
        "beat",
        "config",
        "count",
        "instance_id",
        "key",
        "name",
        "saved",
    )

    def __init__(self, operation: Running, attempt: int, saved: Any) -> None:
        _, _, self.name, self.key, self.count = operation.identity
        self.attempt = attempt
        self.saved = saved
        self.config = operation.plan.retry
        self.instance_id = operation.life.who.id
        self.beat = 0
        self._operation = operation

    def __repr__(self) -> str:
        return f"<step {self.name!r} of {self.instance_id}, attempt {self.attempt}>"

    @property
    def idempotency_key(self) -> str:
        """A UUID that is the same for every attempt of this step, whatever process or machine runs
        it."""
        return idempotency_key(self._operation.life.who.seed, self._operation.identity)

    @property
    def engine(self) -> E:
        """The engine that runs this step, with methods that can be called where the step's function
        runs. In a program on trio a plain function calls them through `trio.from_thread.run`.

        For type checkers it is the engine of the module that `current_step` comes from: `stepwell`,
        `stepwell.aio` or `stepwell.sync`.
        """
        return self._operation.life.port.engine._seen_from(runs_on())  # type: ignore[no-any-return]  # of whichever front

    def report(self, progress: Any = None, message: str | None = None, **fields: Any) -> None:
        """Tells watchers how far the instance is; the last report is kept. Never causes a commit.

        Args:
            progress: Any storable value, by habit a number from 0 to 1.
            message: One line for a person.
            fields: More storable values.

        Raises:
            NotSerializable: A value cannot be stored.
            TooLarge: All of it is over 64 KiB encoded.
            InvalidState: The attempt has ended; something it has left running reports.
        """
        self._check_runs("report()")
        operation = self._operation
        report(operation.life, progress, message, fields, is_sensitive=operation.plan.is_sensitive)

    def heartbeat(self) -> None:
        """Says that this attempt is alive; restarts its `heartbeat_timeout`. Cheap, from any
        thread.

        Raises:
            InvalidState: The attempt has ended, as by its timeout.
        """
        self._check_runs("heartbeat()")
        self.beat = self._operation.life.port.monotonic()

    def save(self, value: Any) -> Coroutine[Any, Any, None]:
        """Keeps a value for the next attempt (`saved`); durable when `await step.save(value)`
        returns. A plain function, which cannot await, calls `step.save(value)`, and has it then.

        Raises:
            NotSerializable: It cannot be stored.
            TooLarge: It is over the limit for one value.
            InvalidState: The attempt has ended, or is to end because its instance leaves memory.
        """
        need_room()
        where = runs_on()
        if where == "trio":
            return self._save(value)
        # it imports asyncio, as the caller has or the threads of an engine have
        from .._loops.portal import from_asyncio, from_thread

        token = self._operation.life.port.token
        if where == "asyncio":
            return from_asyncio(token, functools.partial(self._save, value))
        from_thread(token, functools.partial(self._save_for_thread, value))
        return None  # type: ignore[return-value]  # to a plain function, which awaits nothing

    async def _save(self, value: Any) -> None:
        self._check_runs("save()")
        await self._operation.save(value, self.attempt)

    async def _save_for_thread(self, value: Any) -> None:
        try:
            await self._save(value)
        except trio.Cancelled:  # a body unwinds, and nothing cancels a thread
            raise MisusedState(
                f'step "{self.name}" of {self.instance_id} is to end, and saved nothing: its '
                "instance leaves memory. It runs again."
            ) from None

    def stream(self, name: str) -> Sending:
        """Sends chunks in a stream of the instance, which `engine.stream` reads: `async with
        step.stream("answer") as out: await out.send(chunk)`; a plain function writes `with` and
        `out.send(chunk)`. An attempt that follows begins the passage anew: its first chunk says so.

        Args:
            name: 1 to 256 characters. Only one sends in a stream at a time.

        Raises:
            InvalidName: The name is malformed.
            InvalidState: On entering: somebody else sends in it, or the attempt has ended.
        """
        return Sending(self._operation, self.attempt, names.step_name(name))

    def _check_runs(self, method: str) -> None:
        operation = self._operation
        if operation.has_ended(self.attempt):
            raise MisusedState(
                f'{method} of step "{self.name}" of '
                f"{operation.life.who} was called after attempt "
                f"{self.attempt} had ended. What a step starts it has to await, or to stop, before "
                "it returns."
            )


def current_step() -> StepContext[Any]:
    """Returns the context of the step whose function is running here, also in its worker thread.

    Raises:
        StepwellError: No step is running here.
    """
    operation = place.get()
    if operation is None or isinstance(operation, Branch):
        raise Misuse(
            "current_step() was called outside a step function. Call it in a function "
            "that step.do runs."
        )
    context: StepContext[Any] = operation.context
    return context
