"""What is held back between a core and those above it, until a value was put into the payload
store, or is here from there.

Nothing of that may stop the loop, so what has to be put, or fetched, is held here meanwhile:

- A call with a large value has a number at once, of this core's own (below zero), and is made when
  the value is durable there. Other calls of that body pass it, as if its attempt, or whoever calls,
  had taken longer. What ends the body, or says that it is quiet, waits.
- A note with one waits until that is here, and whatever else is told of that body waits behind it,
  so outcomes keep their order. Nobody else's do.

A value that cannot be put blocks its instance (`payloads`), or is refused to whoever calls. One
that cannot be had stands as why (`envelope.unopened`). Which call has what value is in
`large_core`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import Any

from trio.lowlevel import enable_ki_protection

from .. import _core
from .._body import stopping
from .._core import STATES, STORE, Core, CoreError
from .._errors import StepwellError, StoreFailed
from .._values.codec import codec
from .._values.envelope import LARGE
from .._values.failures import describe_body
from .depot import Depot, PutFailed

_FINAL = frozenset(map(STATES.index, _core.FINAL_STATES))
_START_PARAMS, _START_RECORDS = 6, 12
RECORDED = 12
"""Place of the payload in a record."""
_SETTLED = 6
"""Place of the payload in a SETTLED."""
Look = tuple[list[bytes | None], Callable[[dict[bytes, bytes]], Any]]
"""Payloads of an answer, and what makes it anew once they are whole."""


class _Held:
    """A call that waits for its values to be put.

    Attributes:
        of: (no, incarnation) of the body that makes it; None: it comes from outside.
        ends: Whether it is the end of that body.
    """

    __slots__ = ("call", "ends", "is_dropped", "number", "of")

    def __init__(
        self,
        number: int,
        of: tuple[int, int] | None,
        call: Callable[[list[bytes]], int | None],
        *,
        ends: bool,
    ) -> None:
        self.number = number
        self.of = of
        self.call = call
        self.ends = ends
        self.is_dropped = False


class _Body:
    """What is held of a body.

    Attributes:
        held: Calls of its, by number.
        later: Calls that wait for those.
        notes: What it is not told yet, in order; a note whose value is being fetched is not there
            yet, and its list empty.
        quiet: (incarnation, seq) if it has said meanwhile that it is quiet.
    """

    __slots__ = ("held", "later", "notes", "quiet")

    def __init__(self) -> None:
        self.held: dict[int, _Held] = {}
        self.later: list[Callable[[], object]] = []
        self.notes: deque[list[Any]] = deque()
        self.quiet: tuple[int, int] | None = None


class Holding:
    """A core that is asked by way of this; what is not here is passed on as it is."""

    def __init__(self, core: Core, depot: Depot) -> None:
        self._core = core
        self._depot = depot
        self._over = depot.over
        self._last = 0
        self._once: bytes | None = None
        self._is_over = False
        self._fetching = 0
        self._bodies: dict[int, _Body] = {}
        self._callers: dict[int, _Held] = {}
        self._own: dict[int, int] = {}
        """The core's number of a call that was held, by the one given here, and the other way
        round: the core's are above zero."""
        self._keys: dict[int, tuple[int, list[bytes]]] = {}
        """By whom such a call was made, and what it has put, by the core's number: in use until
        that is answered, or its body begins anew."""
        self._records: dict[int, int] = {}
        """Whose record a ticket of the core is."""
        self._ending: dict[int, list[bytes]] = {}
        """The same of bodies that have finished, or go on as new, by theirs."""
        self._opens: dict[int, Callable[[Any], Look]] = {}
        self._starting: dict[int, int] = {}
        """Incarnations of bodies that are to begin, by their numbers."""
        self._ready: list[tuple[Any, ...]] = []
        self._takes: dict[object, Callable[[tuple[Any, ...], list[Any]], None]] = {
            _core.DONE: self._done,
            _core.FENCED: self._fenced,
            _core.REPLY: self._reply,
            _core.START: self._start,
            _core.SETTLED: self._settled,
            _core.WAKE: self._in_turn,
            _core.PAUSE: self._in_turn,
            _core.UNDOES: self._in_turn,
            _core.UNWIND: self._unwind,
            _core.CHANGED: self._changed,
            _core.GONE: self._changed,
        }

    def __getattr__(self, name: str) -> Any:
        return getattr(self._core, name)

    # Its life.

    def crash(self) -> None:
        """See `Core.crash`."""
        self._is_over = True
        self._core.crash()

    def close(self) -> None:
        """See `Core.close`. Bodies that were to begin are left for the next engine."""
        self._is_over = True
        for no, incarnation in self._starting.items():
            self._core.release(no, incarnation)
        self._core.close()

    def busy(self) -> bool:
        """See `Core.busy`."""
        return bool(self._fetching or self.is_putting or self._ready) or self._core.busy()

    @property
    def is_putting(self) -> bool:
        """Whether a value is being put."""
        return bool(self._callers) or any(it.held for it in self._bodies.values())

    def once(self, id: bytes | None) -> None:
        """See `Core.once`."""
        self._core.once(id)
        self._once = id

    def poll(self, starts: int | None = None) -> list[tuple[Any, ...]]:
        """See `Core.poll`."""
        told, self._ready = self._ready, []
        for note in self._core.poll(starts):
            take = self._takes.get(note[0])
            if take is None:
                told.append(note)
            else:
                take(note, told)
        return told

    # How calls are held.

    def _directly(self, ticket: int) -> int:
        self._once = None  # it was of this call
        return ticket

    def _hold(
        self, of: tuple[int, int] | None, values: list[bytes], what: str,
        call: Callable[[list[bytes]], int | None], *, ends: bool = False,
    ) -> int:  # fmt: skip
        """Makes a call once these values are put; returns its number."""
        if of is None and self._once is not None:  # it is of this call, which is made later
            self._core.once(None)
            call = self._done_once(self._once, call)
        self._last -= 1
        held = _Held(self._last, of, call, ends=ends)
        if of is None:
            self._once = None
            self._callers[held.number] = held
        else:
            body = self._bodies.setdefault(of[0], _Body())
            body.held[held.number] = held
            runner = self._depot.driver.runners.get(of[0])
            what = what if runner is None else f"{what} of {runner.who}"
        self._depot.putting += 1
        self._begin(self._put, held, values, what)
        return held.number

    def _begin(self, task: Callable[..., Awaitable[None]], *args: object) -> None:
        # a body may be what calls, whose own tasks are counted
        Context().run(self._depot.driver.nursery.start_soon, task, *args)

    def _done_once(
        self, id: bytes, call: Callable[[list[bytes]], int | None]
    ) -> Callable[[list[bytes]], int | None]:
        def make(stored: list[bytes]) -> int | None:
            self._core.once(id)
            return call(stored)

        return make

    def _after(self, no: int, call: Callable[[], None]) -> None:
        """Ends a body, once what it has said before is."""
        body = self._bodies.get(no)
        if body is None or not body.held:
            call()
        else:
            body.quiet = None
            body.later.append(call)

    @enable_ki_protection
    async def _put(self, held: _Held, values: list[bytes], what: str) -> None:
        try:
            await self._put_now(held, values, what)
        finally:
            self._depot.putting -= 1
            self._depot.driver.progressed()

    async def _put_now(self, held: _Held, values: list[bytes], what: str) -> None:
        try:
            stored = await self._depot.put_all(values, what)
        except (StepwellError, CoreError):  # the engine has stopped, and tells that itself
            return
        except PutFailed as error:
            if not (held.is_dropped or self._is_over):
                self._failed(held, error)
        else:
            keys = [it[len(LARGE) :][:16] for it in stored]
            if held.is_dropped or self._is_over:
                self._depot.in_use.difference_update(keys)
            else:
                self._make(held, stored, keys)
        self._stir()

    def _make(self, held: _Held, stored: list[bytes], keys: list[bytes]) -> None:
        if held.of is None:
            del self._callers[held.number]
            self._made(held, held.call(stored), keys)
            return
        no, body = held.of[0], self._bodies[held.of[0]]
        if held.ends:
            self._core.watch(no)
            self._ending[no] = keys
            body.later.append(lambda: held.call(stored))
        else:
            self._made(held, held.call(stored), keys)
        del body.held[held.number]
        self._go_on(no, body)

    def _made(self, held: _Held, real: int | None, keys: list[bytes]) -> None:
        assert real is not None, "what has no answer is the end of a body"
        self._own[held.number], self._own[real] = real, held.number
        no = 0 if held.of is None else held.of[0]
        self._keys[real] = (no, keys)
        if no:
            self._records[real] = no

    def _go_on(self, no: int, body: _Body) -> None:
        """Says what has waited for what was held of a body."""
        if body.held or self._bodies.get(no) is not body:
            return
        later, body.later = body.later, []
        for call in later:
            call()
        if not body.notes:
            del self._bodies[no]
            if body.quiet is not None and not later:
                self._core.quiet(no, *body.quiet)

    def _failed(self, held: _Held, error: PutFailed) -> None:
        if held.of is None:
            del self._callers[held.number]
            told = f"{error}. Nothing was changed; mend that, and call again."
            self._ready.append((_core.REPLY, held.number, STORE, told))
            return
        no, incarnation = held.of
        self._forget(no)
        runner = self._depot.driver.runners.get(no)
        why = StoreFailed(f"{error}. Mend that, then resume(): the step is attempted again.")
        if runner is not None and runner.who.incarnation == incarnation:
            stopping.block(runner, "payloads", why)
        else:
            error_bytes = codec.encode(describe_body(why))
            self._core.block(no, incarnation, "payloads", error_bytes, None)

    def _forget(self, no: int) -> None:
        """Nothing that is held of a body is said or told any more."""
        body = self._bodies.pop(no, None)
        self._starting.pop(no, None)
        if body is not None:
            for held in body.held.values():
                held.is_dropped = True

    # How notes are held.

    def _opened(self, ticket: int, look: Callable[[Any], Look]) -> int:
        self._opens[ticket] = look
        return ticket

    def _answered(self, number: int) -> int:
        """The core has said what became of a call; returns by which number it is known above."""
        self._records.pop(number, None)
        known = self._keys.pop(number, None)
        if known is None:
            return number
        self._depot.in_use.difference_update(known[1])
        own = self._own.pop(number)
        self._own.pop(own, None)
        return own

    def _reply(self, note: tuple[Any, ...], told: list[Any]) -> None:
        sort, ticket, code, data = note
        ticket = self._answered(ticket)
        look = self._opens.pop(ticket, None)
        if look is not None and not code and data is not None:
            payloads, anew = look(data)
            if any(map(refers, payloads)):
                self._begin(self._fetch_answer, ticket, payloads, anew)
                self._fetching += 1
                return
        told.append((sort, ticket, code, data))

    def _done(self, note: tuple[Any, ...], told: list[Any]) -> None:
        sort, at, tickets, places = note
        whose = [self._records.pop(it, 0) for it in tickets]
        if not (self._keys or self._bodies):
            told.append(note)
            return
        now: tuple[list[int], list[int]] = ([], [])
        for no, number, place in zip(whose, tickets, places, strict=True):
            ticket, body = self._answered(number), self._bodies.get(no)
            if body is not None and body.notes:
                body.notes.append([sort, at, [ticket], [place]])
            else:
                now[0].append(ticket)
                now[1].append(place)
        if now[0]:
            told.append((sort, at, *now))

    def _fenced(self, note: tuple[Any, ...], told: list[Any]) -> None:
        told.append((note[0], self._answered(note[1])))

    def _start(self, note: tuple[Any, ...], told: list[Any]) -> None:
        start = note[1]
        # whatever its last life has said was decided before: what came of that is in the records
        for number in [it for it, (of, _) in self._keys.items() if of == start[0]]:
            self._answered(number)
        payloads = [start[_START_PARAMS], *(it[RECORDED] for it in start[_START_RECORDS])]

        def anew(whole: dict[bytes, bytes]) -> tuple[Any, ...]:
            params = whole.get(start[_START_PARAMS], start[_START_PARAMS])
            records = tuple(with_whole(it, whole, RECORDED) for it in start[_START_RECORDS])
            told = list(start)
            told[_START_PARAMS], told[_START_RECORDS] = params, records
            return note[0], tuple(told)

        self._hand_over(start[0], note, told, payloads, anew)
        if start[0] in self._bodies:
            self._starting[start[0]] = start[1]

    def _settled(self, note: tuple[Any, ...], told: list[Any]) -> None:
        sort, no, number, *rest = note
        note = (sort, no, self._answered(number), *rest)
        self._hand_over(
            no, note, told, [note[_SETTLED]], lambda whole: with_whole(note, whole, _SETTLED)
        )

    def _in_turn(self, note: tuple[Any, ...], told: list[Any]) -> None:
        self._hand_over(note[1], note, told, (), tuple)

    def _hand_over(
        self, no: int, note: tuple[Any, ...], told: list[Any], payloads: Sequence[bytes | None],
        anew: Callable[[dict[bytes, bytes]], tuple[Any, ...]],
    ) -> None:  # fmt: skip
        """Tells a body this, when it is whole and all that came before it was told."""
        body = self._bodies.get(no)
        if any(map(refers, payloads)):
            body = body or self._bodies.setdefault(no, _Body())
            place: list[Any] = []
            body.notes.append(place)
            self._begin(self._fetch, no, place, payloads, anew)
            self._fetching += 1
        elif body is not None and body.notes:
            body.notes.append(list(note))
        else:
            if body is not None:
                body.quiet = None
            told.append(note)

    @enable_ki_protection
    async def _fetch(
        self, no: int, place: list[Any], payloads: Sequence[bytes | None],
        anew: Callable[[dict[bytes, bytes]], tuple[Any, ...]],
    ) -> None:  # fmt: skip
        try:
            place.extend(anew(await self._depot.whole_of_all(payloads)))
        finally:
            self._fetching -= 1
        body = self._bodies.get(no)
        if self._is_over or body is None or all(it is not place for it in body.notes):
            self._stir()  # nobody is told any more
            return
        while body.notes and body.notes[0]:
            note = tuple(body.notes.popleft())
            if note[0] != _core.SETTLED or not note[3]:  # of the end of a delay nothing is recorded
                body.quiet = None
            if note[0] == _core.START:
                self._starting.pop(no, None)
            self._ready.append(note)
        self._stir()
        if not body.notes:
            self._go_on(no, body)

    @enable_ki_protection
    async def _fetch_answer(
        self, ticket: int, payloads: list[bytes | None], anew: Callable[[dict[bytes, bytes]], Any]
    ) -> None:
        try:
            data = anew(await self._depot.whole_of_all(payloads))
        finally:
            self._fetching -= 1
        if not self._is_over:
            self._ready.append((_core.REPLY, ticket, "", data))
            self._stir()

    def _unwind(self, note: tuple[Any, ...], told: list[Any]) -> None:
        self._forget(note[1])
        self._has_ended(note[1])
        told.append(note)

    def _changed(self, note: tuple[Any, ...], told: list[Any]) -> None:
        if note[0] == _core.GONE or note[2] in _FINAL:
            self._has_ended(note[1])
        told.append(note)

    def _has_ended(self, no: int) -> None:
        keys = self._ending.pop(no, None)
        if keys is not None:
            self._core.unwatch(no)
            self._depot.in_use.difference_update(keys)

    def _stir(self) -> None:
        """Has the driver take the notes that there are."""
        if not self._is_over:
            self._ready.append((_core.IDLE,))
            self._depot.driver.stir()


def refers(payload: bytes | None) -> bool:
    return payload is not None and payload.startswith(LARGE)


def with_whole(row: tuple[Any, ...], whole: dict[bytes, bytes], *places: int) -> tuple[Any, ...]:
    """Returns a row in which what was fetched stands at these places."""
    if not any(refers(row[at]) for at in places):
        return row
    anew = list(row)
    for at in places:
        anew[at] = whole.get(row[at], row[at])
    return tuple(anew)
