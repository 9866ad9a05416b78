"""A thread that sees when a loop stands still because a body, or a step, computes or blocks on it.

It costs those that run nothing: a few times a second it looks at what the thread of each loop is
doing. If that is the same body or step twice in a row, the loop is asked to answer; who does not
let it do so for over a second holds it, and is told of, with file and line. Meanwhile Ctrl-C may
strike code of instances (`_loops/interrupts`). Nothing else in here changes what it looks at.
"""

from __future__ import annotations

import inspect
import sys
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from .._body.branch import Branch, place
from .._body.life import Life
from .._body.runner import Runner
from .._log import log
from .._loops.interrupts import expose_code, shield_code
from .._operations.step_operation import StepOperation

if TYPE_CHECKING:
    from .host import Host

LOOK_EVERY = 0.25
"""Seconds between two looks."""
HOLD_MAX = 1.0
"""Seconds for which a body or a step may hold a loop before that is told."""
_CURE = "Do that in a plain function, which has a thread: step.do(fn)."


class Hold(NamedTuple):
    """Somebody who held a loop.

    Attributes:
        what: 'step "fetch"' or "body".
        loop: Its name.
        where: `file:line`.
        at: When it had lasted too long, monotonic.
        seconds: How long it was; None: it lasts.
    """

    what: str
    loop: str
    where: str
    at: float
    seconds: float | None = None

    def __str__(self) -> str:
        if self.seconds is None:
            return (
                f"Its {self.what} at {self.where} holds the loop of {self.loop}, on which "
                f"nothing else goes on. {_CURE}"
            )
        ago = time.monotonic() - self.at
        return (
            f"Its {self.what} at {self.where} held the loop of {self.loop} for "
            f"{self.seconds:.1f} s, {ago:.0f} s ago. {_CURE}"
        )


class _Watched:
    """One loop, and who is on it."""

    def __init__(
        self,
        watchdog: Watchdog,
        name: str,
        ident: Callable[[], int | None],
        call: Callable[[Callable[[], None]], Any],
    ) -> None:
        self._watchdog = watchdog
        self._name = name
        self._ident = ident
        self._call = call
        self._seen: Callable[[], StepOperation | Life | None] = lambda: None
        self._asked: float | None = None
        self._answered: float | None = None
        self._holder: Callable[[], Life | None] | None = None
        self._exposes = False

    def look(self, now: float) -> None:
        """Sees who is on the loop now, and whether it answers."""
        if self._answered is not None or self._asked is None:
            self._over()
        doer, where = _seen(sys._current_frames().get(self._ident() or 0))
        if self._asked is not None:
            if self._holder is None and doer is not None and now - self._asked >= HOLD_MAX:
                self._tell(doer, where, now)
        elif doer is not None and doer is self._seen():
            self._asked = now
            with suppress(RuntimeError):  # the loop has ended
                self._call(self._answer)
        self._seen = (lambda: None) if doer is None else weakref.ref(doer)

    def _answer(self) -> None:
        self._answered = time.monotonic()
        self.shield()

    def shield(self) -> None:
        """Ctrl-C strikes none of it any more."""
        if self._exposes:
            self._exposes = False
            shield_code()

    def _tell(self, doer: StepOperation | Life, where: str, now: float) -> None:
        life, what = (
            (doer.life, f'step "{doer.identity[2]}"')
            if isinstance(doer, StepOperation)
            else (doer, "body")
        )
        hold = Hold(what, self._name, where, now)
        self._holder = weakref.ref(life)
        if self._ident() == threading.main_thread().ident:  # signals come to no other thread
            expose_code()
            # in this order: what answers between the two is shielded at the next look
            self._exposes = True
        self._watchdog.holds += 1
        self._watchdog.latest[life] = hold
        text = (
            "%s holds the loop of %s: its %s at %s has computed or blocked for over %g s, "
            "and nothing else goes on there. %s"
        )
        log.warning(text, life.who, hold.loop, what, where, HOLD_MAX, _CURE)

    def _over(self) -> None:
        """The loop has answered: a hold, if there was one, is over."""
        self.shield()
        life = None if self._holder is None else self._holder()
        if self._holder is not None and self._asked is not None and self._answered is not None:
            seconds = self._answered - self._asked
            self._watchdog.longest = max(self._watchdog.longest, seconds)
            if life is not None and (hold := self._watchdog.latest.get(life)) is not None:
                self._watchdog.latest[life] = hold._replace(seconds=seconds, at=self._answered)
        self._asked = self._answered = self._holder = None


class Watchdog:
    """Watches the loops of one engine while it is open.

    Attributes:
        looks: How often it has looked.
        holds: How often a loop was held for too long.
        longest: Seconds of the longest hold that is over.
        latest: The last hold of each body in memory.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        ident = threading.get_ident()
        self._trio = _Watched(self, "trio", lambda: ident, host.token.run_sync_soon)
        self._asyncio: _Watched | None = None
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="stepwell watchdog", daemon=True)
        self.looks = self.holds = 0
        self.longest = 0.0
        self.latest: weakref.WeakKeyDictionary[Life, Hold] = weakref.WeakKeyDictionary()

    def __enter__(self) -> None:
        # there is no thread for it: holds go unseen, and nothing else is amiss
        with suppress(RuntimeError):
            self._thread.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end.set()
        self._trio.shield()

    def told(self, life: Life) -> str:
        """Returns what is known of a body that holds, or held, a loop, "" if it never did."""
        hold = self.latest.get(life)
        return "" if hold is None else str(hold)

    def _run(self) -> None:
        while not self._end.wait(LOOK_EVERY):
            now = time.monotonic()
            self._trio.look(now)
            if (asyncio := self._on_asyncio()) is not None:
                asyncio.look(now)
            self.looks += 1
        self._trio.shield()  # the end may have come while this lifted it

    def _on_asyncio(self) -> _Watched | None:
        bridge = self._host.bridge
        if self._asyncio is None and bridge is not None:
            self._asyncio = _Watched(
                self, "asyncio", lambda: bridge.ident, bridge.loop.call_soon_threadsafe
            )
        return self._asyncio


def _seen(frame: FrameType | None) -> tuple[StepOperation | Life | None, str]:
    """Returns whose code the innermost frame belongs to, and where that stands; None if what runs
    is the engine's own, or nothing does.

    Of its frames the innermost one counts that is of no library: what it calls says less than the
    line that calls it. Between it and what the engine calls it by only coroutines may stand, and
    the loop of a body on asyncio: other plain functions of the engine call neither bodies nor
    steps.
    """
    own: FrameType | None = None
    library: FrameType | None = None
    while frame is not None:
        package = _package(frame)
        if package == "stepwell":
            stands = own or library
            if stands is None:
                break
            if (doer := _doer(frame)) is not None:
                return doer, f"{stands.f_code.co_filename.rpartition('/')[2]}:{stands.f_lineno}"
            if not (
                frame.f_code.co_flags & _COROUTINE or frame.f_globals.get("__name__") == _BODY_LOOP
            ):
                break
        elif package not in _LIBRARIES:
            library = library or frame
            own = own or (None if "-packages" in frame.f_code.co_filename else frame)
        frame = frame.f_back
    return None, ""


def _doer(frame: FrameType) -> StepOperation | Life | None:
    """Returns the step, or the instance, whose code is called from here."""
    for name in ("operation", "life", "context", "self"):
        found = frame.f_locals.get(name)
        if type(found) is weakref.ProxyType:  # of a body, which passes for one and may be gone
            continue
        if isinstance(found, StepOperation | Runner):
            return found
        context = found if isinstance(found, Context) else getattr(found, "_context", None)
        where = context.get(place) if isinstance(context, Context) else None
        if isinstance(where, StepOperation):
            return where
        if isinstance(where, Branch):
            return where.life
    return None


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


_BODY_LOOP = "stepwell._loops.body_loop"
_COROUTINE = inspect.CO_COROUTINE | inspect.CO_GENERATOR | inspect.CO_ITERABLE_COROUTINE
_LIBRARIES = sys.stdlib_module_names | {"stepwell", "trio", "outcome"}
