"""What a codec of the user's makes of stored bytes, and makes them of again.

Each value is bound to its place: whose it is, and which of that instance's values. So one that
stands somewhere else does not come back. Of a recorded failure its class, its step and what tells
which operations were at fault stay as they are, because the core counts by them; all else of it is
sealed. What cannot be opened is told where somebody reads it (`envelope.unopened`), and stays in
the store as it is.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Any, Protocol, TypeAlias

from .._errors import CodecFailed
from .codec import Undecodable, codec
from .envelope import SEALED_PART, carried, carry, seal, sealed, unopened, why_unreadable

Who: TypeAlias = tuple[str, str, str]
"""Namespace, workflow and id of an instance."""
What: TypeAlias = tuple[Any, ...]
"""Which of its values: a word, perhaps with a name, or the identity of an operation."""

OUTPUT: What = ("output",)
PARAMS: What = ("params",)
PROGRESS: What = ("progress",)
_PARTS = ("saved", "value")
_OPEN_PARTS = ("attempts", "class", "faults", "found", "module", "step")
"""What of a recorded failure stays as it is."""


class Codec(Protocol):
    """What an engine passes every stored value through: `Engine(codec=…)`.

    Both methods are called in the thread of the engine, for each value, and should neither wait nor
    take long. `place` says where a value belongs, and is not stored: the same value is decoded with
    the same place, and a codec that authenticates it refuses values that were moved.
    """

    def encode(self, data: bytes, place: bytes, /) -> bytes:
        """Returns what is stored for these bytes. It may raise what it likes: nothing is stored
        then."""
        ...

    def decode(self, data: bytes, place: bytes, /) -> bytes:
        """Returns the bytes for which this is stored. Whatever it raises says why it cannot; the
        text goes into the error that people read."""
        ...


def event(kind: str) -> What:
    """Returns which value the payload of an event of this type is."""
    return ("event", kind)


def chunk(stream: str) -> What:
    """Returns which value a chunk of a stream is."""
    return ("chunk", stream)


def packed(value: Any) -> bytes:
    """Returns the bytes of something that is made of values that were stored."""
    return codec.encode(value, limit=sys.maxsize)


class Sealer:
    """Seals and opens values with one codec."""

    def __init__(self, codec: Codec, formerly: Iterable[tuple[str, str]] = ()) -> None:
        self._codec = codec
        self._today = dict(formerly)

    def seal(self, who: Who, what: What, data: bytes | None) -> Any:
        """Returns a value as it is stored.

        Raises:
            CodecFailed: The codec cannot.
        """
        if data is None:
            return None
        try:
            made: Any = self._codec.encode(data, _place(who, what))
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a library's sys.exit() among it
            raise CodecFailed(
                f"the codec cannot encode the {_words(who, what)}: {error}"
            ) from error
        if type(made) is not bytes:
            raise CodecFailed(
                f"the codec made {type(made).__name__} of the {_words(who, what)}; return bytes"
            )
        return seal(made)

    def open(self, who: Who, what: What, data: bytes | None) -> Any:
        """Returns a value as it was before. One that was stored without a codec is itself."""
        made = None if data is None else sealed(data)
        if made is None:
            return data
        opened = self._open(who, what, made)
        if self._today and why_unreadable(opened) is not None:
            # under a name that its workflow had, or has, it may have been sealed as well
            for other in self._others(who):
                if why_unreadable(found := self._open(other, what, made)) is None:
                    return found
        return opened

    def _others(self, who: Who) -> Iterator[Who]:
        """The same instance, under all other names of its workflow."""
        namespace, name, id = who
        today = self._today.get(name, name)
        names = [today, *(old for old, new in self._today.items() if new == today)]
        return ((namespace, it, id) for it in names if it != name)

    def _open(self, who: Who, what: What, made: bytes) -> bytes:
        try:
            opened: Any = self._codec.decode(made, _place(who, what))
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            return unopened(
                f"cannot be decoded as the {_words(who, what)}: {error}. Give the engine a codec "
                "that does, with the key it was stored with"
            )
        if type(opened) is not bytes:
            return unopened(
                f"became {type(opened).__name__} in the codec, not bytes. Mend its decode()"
            )
        return opened

    def carry(self, who: Who, data: bytes | None) -> Any:
        """Returns an output as it is stored: with whose it is, because others are told it too."""
        made = self.seal(who, OUTPUT, data)
        return None if made is None else carry(packed([*who, made]))

    def open_carried(self, data: bytes | None, who: Who | None = None) -> Any:
        """Returns an output as it was before. `who`: whose it has to be."""
        made = None if data is None else carried(data)
        if made is None:
            return data
        try:
            namespace, workflow, id, inner = codec.decode(made)
        except (Undecodable, ValueError, TypeError):
            return unopened("is damaged. Restore it from a backup")
        of = (namespace, workflow, id)
        if who is not None and of != who and of not in self._others(who):
            return unopened(
                f"is that of {workflow}/{id}: it was moved. Restore the file from a backup"
            )
        return self.open(of, OUTPUT, inner)

    def seal_failure(self, who: Who, what: What, data: bytes) -> bytes:
        """Returns a recorded failure as it is stored."""
        record = codec.decode(data)
        open_parts = {name: record.pop(name) for name in _OPEN_PARTS if name in record}
        made = (
            self.carry(who, packed(record))
            if what == OUTPUT
            else self.seal(who, what, packed(record))
        )
        return packed({**open_parts, SEALED_PART: made})

    def open_failure(self, who: Who | None, what: What, data: bytes | None) -> Any:
        """Returns a recorded failure as it was before."""
        record = None if data is None else _mapping(data)
        if record is None or not isinstance(made := record.get(SEALED_PART), bytes):
            return data
        if what == OUTPUT:
            opened = self.open_carried(made, who)
        else:
            assert who is not None, "only outputs say whose they are"
            opened = self.open(who, what, made)
        rest = _mapping(opened)
        del record[SEALED_PART]
        return opened if rest is None else packed({**record, **rest})

    def seal_parts(self, who: Who, what: What, data: bytes) -> bytes:
        """Returns the record of an attempt that nobody was told of, or of many, as it is stored:
        its value, its error and what was saved are sealed."""
        record = codec.decode(data)
        for name in _PARTS:
            if isinstance(part := record.get(name), bytes):
                record[name] = self.seal(who, what, part)
        if "error" in record:
            record["error"] = codec.decode(self.seal_failure(who, what, packed(record["error"])))
        return packed(record)

    def open_parts(self, who: Who, what: What, data: bytes) -> bytes:
        """Returns such a record as it was before."""
        record = _mapping(data)
        if record is None:
            return data
        for name in _PARTS:
            if isinstance(part := record.get(name), bytes):
                record[name] = self.open(who, what, part)
        if isinstance(error := record.get("error"), dict):
            opened = self.open_failure(who, what, packed(error))
            record["error"] = _mapping(opened) or error
        return packed(record)


def without_texts(failure: bytes, why: CodecFailed) -> bytes:
    """Returns a recorded failure of which only that is left which is never sealed, and why."""
    record = codec.decode(failure)
    kept = {name: record[name] for name in _OPEN_PARTS if name in record}
    return packed({**kept, "message": f"its text is not kept: {why}"})


def _mapping(data: bytes) -> dict[str, Any] | None:
    if not 0xA0 <= data[0] <= 0xBF:
        return None
    try:
        found = codec.decode(data)
    except Undecodable:
        return None
    return found if isinstance(found, dict) else None


def _place(who: Who, what: What) -> bytes:
    return packed(["stepwell", *who, *what])


def _words(who: Who, what: What) -> str:
    """Which value it is, as people read it."""
    whose = "/".join(it for it in who[1:] if it) or f"namespace {who[0]}"
    if len(what) == 5:  # an operation
        _, branch, name, key, count = what
        said = f'"{name if key is None else key}" ({count}){f" in {branch}" if branch else ""}'
        return f"step {said} of {whose}"
    return f"{' '.join(map(str, what))} of {whose}"
