"""What a body asks for until it awaits that.

The methods of `Step` check their arguments and return a `Pending`; only awaiting it begins the
operation. One that is dropped before that is told to the life, which names the line (I7).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine, Generator, Iterable
from typing import Any, NoReturn, TypeVar

from .._errors import Misuse
from .._room import need_room
from .branch import Branch, caller, place

T = TypeVar("T")


def need_room_for(operations: Iterable[Any]) -> None:
    """As `need_room`, for what is to be awaited together. What cannot be for want of room was not
    forgotten."""
    try:
        need_room()
    except RecursionError:
        for operation in operations:
            if operation.__class__ is Pending:  # there may be no room for a call here
                operation._awaited = True
        raise


class Pending(Coroutine[Any, Any, T]):
    """An operation that was asked for but not awaited yet. Await it, once.

    It is a coroutine, for type checkers as well, so that trio and asyncio start tasks with it:
    whether they may is told by the engine (I3).
    """

    __slots__ = ("_args", "_awaited", "_begin", "_code")

    def __init__(self, begin: Callable[..., Any], args: tuple[Any, ...]) -> None:
        """Asks for what `begin` does with these arguments, of which the first two are a branch and
        the operation's name."""
        self._begin = begin
        self._args = args
        self._awaited = False
        self._code: Any = None

    def __await__(self) -> Generator[Any, Any, T]:
        self._awaited = True
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
        self._awaited = True
        if self._code is not None:
            self._code.close()

    def _begun(self) -> Any:
        if self._code is None:
            self._awaited = True
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

    def __del__(self) -> None:
        if not self._awaited:  # it is dropped where it was forgotten: the frame above is the body's
            try:
                need_room()
            except RecursionError:
                return  # where nobody can await it
            frame = sys._getframe(1)
            branch, name = self._args[:2]
            branch.life.unawaited.append((name, frame.f_code, frame.f_lineno))
