"""What a body asks for until it awaits that.

The methods of `Step` check their arguments and return a `Pending`; only awaiting it begins the
operation. Until then the life has it, with the line that asked: so whoever ends the body knows what
was forgotten, wherever the body keeps it and whenever that is collected (I7).
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator, Iterable, Iterator
from types import CodeType
from typing import Any, NoReturn, TypeVar

from .._errors import Misuse
from .._room import need_room
from .branch import Branch, asks, caller, place

T = TypeVar("T")


def need_room_for(operations: Iterable[Any]) -> None:
    """As `need_room`, for what is to be awaited together. What cannot be for want of room was not
    forgotten."""
    try:
        need_room()
    except RecursionError:
        for operation in operations:
            if operation.__class__ is Pending:  # there may be no room for a call here
                life = operation._args[0].life
                if life.asked is not None and operation in life.asked:
                    del life.asked[operation]
        raise


class Pending(Coroutine[Any, Any, T]):
    """An operation that was asked for but not awaited yet. Await it, once.

    It is a coroutine, for type checkers as well, so that trio and asyncio start tasks with it:
    whether they may is told by the engine (I3).
    """

    __slots__ = ("_args", "_begin", "_code", "asked_at")

    def __init__(self, begin: Callable[..., Any], args: tuple[Any, ...]) -> None:
        """Asks for what `begin` does with these arguments, of which the first two are a branch and
        the operation's name."""
        self._begin = begin
        self._args = args
        self._code: Any = None
        self.asked_at: tuple[CodeType, int] = asks()
        """The code that asked for it, and at which of its instructions."""
        life = args[0].life
        if life.asked is None:
            life.asked = {}
        life.asked[self] = None

    @property
    def branch(self) -> Branch:
        """The line of code that asked for it."""
        return self._args[0]  # type: ignore[no-any-return]  # by what `begin` takes

    @property
    def name(self) -> str:
        """Of the operation."""
        return self._args[1]  # type: ignore[no-any-return]  # the same

    @property
    def parts(self) -> Iterator[object]:
        """What else it was asked to await, as `step.gather` is."""
        return (it for given in self._args if type(given) is tuple for it in given)

    def _is_awaited(self) -> None:
        life = self._args[0].life
        asked = life.asked
        if asked is not None:
            asked.pop(self, None)
            if not asked:
                life.asked = None  # there may be 50,000 bodies

    def __await__(self) -> Generator[Any, Any, T]:
        self._is_awaited()
        need_room()
        if type(place.get()) is not Branch:
            self._misplaced()
        return self._begin(*self._args).__await__()  # type: ignore[no-any-return]  # each begin is a coroutine function

    def send(self, value: Any) -> Any:
        """As of a coroutine."""
        return self._begun().send(value)

    def throw(self, *error: Any) -> Any:
        """As of a coroutine."""
        return self._begun().throw(*error)

    def close(self) -> None:
        """As of a coroutine. Whoever was to await it was cancelled before that: it is not
        forgotten."""
        self._is_awaited()
        if self._code is not None:
            self._code.close()

    def _begun(self) -> Any:
        if self._code is None:
            self._is_awaited()
            need_room()
            if type(place.get()) is not Branch:
                self._misplaced()
            self._code = self._begin(*self._args)
        return self._code

    def _misplaced(self) -> NoReturn:
        raise Misuse(
            f'"{self._args[1]}" was awaited at {caller()} inside a step function. Steps '
            "do not nest: await it in the body."
        )
