"""What is wrong with a body, in words: the texts of blocked instances, with file and line.

Everything here looks at a body from outside while it stands still, and changes nothing. Who finds a
fault, and what is then done about it, is in `runner` and `turns`.
"""

from __future__ import annotations

import gc
import sys
import time
import traceback
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any

import trio
from trio.lowlevel import Task

from .. import _core, _replay
from .._ending import End
from .._errors import (
    InvalidConfig,
    InvalidState,
    LimitReached,
    Nondeterminism,
    NotSerializable,
    StepFailed,
    StepwellError,
    TooLarge,
)
from .._strangers import library, stranger
from .._values.codec import ENCODED, Undecodable
from .branch import UNKNOWN, Branch, caller, current_branch, place

if TYPE_CHECKING:
    import asyncio

    from .._loops.bridge import Bridge
    from .._replay import Identity, Mismatch
    from .._values.failures import MissingClass
    from .life import Life
    from .running import Running

_RACE = (
    '"{}" was begun by two tasks of the body in one turn that have no branches of their own, so '
    "which of them has which place in the history is a race. Start the tasks with "
    "step.open_nursery, or give each operation a key= or a name= of its own, then resume()."
)
_RACE_ON_ASYNCIO = (
    '"{}" was begun by two tasks of the body in one turn, so which of them has which place in the '
    "history is a race. Give each a key=, or make them branches with step.gather (in a body on "
    "trio: step.open_nursery), then resume()."
)
_TIME = "step.sleep (or step.move_on_after and step.fail_after for a deadline)"
_THREAD = "step.do with the plain function, which then runs in a thread"
_SIGNAL = "step.wait_for_event, or let only the body's own branches set it"
_FUNCTION = "step.do with an async function that does it"
_STARTS = ("stepwell._body.turns", "stepwell._operations.nursery")
"""What runs the code of a body task, which may be a library's."""
_FORMS = {
    "trio._timeouts": _TIME,
    "trio._threads": _THREAD,
    "trio._sync": _SIGNAL,
    "trio._channel": "step.wait_for_event, or let only the body's own branches send",
    "trio._core._run": "step.move_on_after and step.fail_after for deadlines, step.gather and "
    "asyncio.TaskGroup for tasks (on trio step.open_nursery)",
    "trio._core._parking_lot": _SIGNAL,
    "asyncio.locks": _SIGNAL,
    "asyncio.queues": "step.wait_for_event, or let only the body's own tasks put into it",
    "asyncio.runners": "`await` in the body, or step.do with a plain function that runs it",
    "asyncio.base_events": "`await` in the body, or step.do with a plain function that runs it",
}
_METHODS = {"call_later": _TIME, "call_at": _TIME, "run_in_executor": _THREAD}
_CONTROLS = {
    "run_forever": "Use `await` in the body",
    "run_until_complete": "Use `await` in the body",
    "stop": "Return from the body to end it",
    "close": "Return from the body to end it",
    "set_task_factory": "Use asyncio.create_task, asyncio.TaskGroup or step.gather for its tasks",
    "set_exception_handler": "Await what may fail, and catch it there",
    "set_default_executor": f"Use {_THREAD}",
    "shutdown_asyncgens": "Close generators where they are used, with contextlib.aclosing",
    "shutdown_default_executor": f"Use {_THREAD}",
}
"""What nobody but the engine may do with the loop of a body, and what to do instead."""
_FORMS_ON_TRIO = {
    "sleep": _TIME,
    "wait_for": _TIME,
    "timeout": "step.move_on_after and step.fail_after",
    "timeout_at": "step.move_on_after and step.fail_after",
    "to_thread": _THREAD,
    "create_task": "step.open_nursery",
    "TaskGroup.__aenter__": "step.open_nursery",
}
_OTHERS = (
    "attached to a different loop",
    "cannot be called from a running event loop",
    "Cannot run the event loop while another loop is running",
)
"""What asyncio says where code is not in a loop of its own."""
_LIBRARIES = ("stepwell", "trio", "outcome", "asyncio", "anyio", "sniffio", "contextlib")
RESISTS_AFTER = 2.0
"""Seconds of the engine's clock that a cancelled body may take to end before it is said to
resist."""
_FRAMES = ("cr_frame", "ag_frame", "gi_frame")
_AWAITS = ("cr_await", "ag_await", "gi_yieldfrom")
_CANCELLED = "cancelled by a deadline or a scope that is not the body's own doing"


def standing(life: Life) -> str:
    """Returns `file:line` of the innermost frame of user code in which the body stands, "" if there
    is none."""
    loop, task = life.loop, life.task
    running = (
        current_branch() is not None and trio.lowlevel.current_task() is task
        if loop is None
        else loop.is_running()
    )
    if running:
        where = caller()
        return "" if where == UNKNOWN else where  # below: it is blocked in an await
    blocked = (
        [getattr(task, "coro", None)]
        if life.turns is None or loop is None
        else life.turns.coroutines()
    )
    return next((where for code in blocked if (where := stands(code))), "")


def mismatch(
    life: Life, found: Mismatch, wanted: Identity | None, raised: BaseException | None
) -> Nondeterminism:
    """The code is not what history was made by. `raised`: what it raised before it came to that,
    which is told first (I5)."""
    asked = (
        [wanted]
        if wanted is not None
        else sorted(found.wanted, key=lambda identity: identity[0] == _core.DEADLINE)
    )
    now = ", ".join(_replay.describe(identity) for identity in asked[:3]) or "the body ends"
    where = standing(life) if asked else ""  # a body that has ended stands nowhere
    told = ", which the body had cancelled" if found.was_cancelled else ""
    told = ", which is open, and not asked for" if found.is_open else told
    diff = (
        "differs from its history: recorded "
        f"{'the end of ' if found.was_cancelled else ''}{_replay.describe(found.recorded)}"
        f"{told}, now {now}{f' at {where}' if where else ''}. "
        f"Nothing {'was' if found.is_open or life.delivery.replaying else 'more is'} run."
    )
    cure = "it or guard it with step.patched(...), then resume()."
    if raised is None:
        return Nondeterminism(f"{_name(life)} {diff} Restore {cure}")
    error = Nondeterminism(
        f"{_name(life)} raised {_raised(raised)} while it was replayed, and {diff} Mend {cure}"
    )
    error.__cause__ = raised  # its traceback is recorded and logged with the diff
    return error


def _raised(error: BaseException) -> str:
    """Returns type, text and place of an exception; of a group those of its first member."""
    others = 0
    while isinstance(error, BaseExceptionGroup):
        others += len(error.exceptions) - 1
        error = error.exceptions[0]
    frames = [
        (frame, line) for frame, line in traceback.walk_tb(error.__traceback__) if is_users(frame)
    ]
    what = (
        traceback.format_exception_only(error)[-1].strip()
        if not isinstance(error, StepFailed)
        else f"{type(error).__qualname__}: {error}"
    )
    where = f" at {place_of(*frames[-1])}" if frames else ""
    return f"{what}{where}{f' (and {others} more)' if others else ''}"


def never_awaited(asked: Iterable[Any]) -> InvalidConfig:
    """The body has ended, and asked for these things, which it did not await (I7). Of what was to
    be awaited by another one, that one is told."""
    parts = {id(part) for it in asked for part in it.parts}
    forgotten = next(it for it in asked if id(it) not in parts)
    code, at = forgotten.asked_at
    line = next((it for begin, end, it in code.co_lines() if begin <= at < end), None)
    place = f"{code.co_filename.rpartition('/')[2]}:{line}"
    return InvalidConfig(
        f'step "{forgotten.name}" at {place} was never awaited, so it did not run. '
        "Write `await` before it."
    )


def over_limits(life: Life) -> LimitReached:
    """The body has begun too many steps, or was given too much (Q1)."""
    who, told = _name(life), life.delivery
    if told.steps > told.steps_max:
        text = (
            f"{who} has more than {told.steps_max:,} steps. Raise Limits.steps or "
            "@workflow(steps=), or spread them over children."
        )
        return LimitReached(text, limit="steps", value=told.steps_max)
    text = (
        f"{who} has values of more than {told.bytes_max:,} bytes. Raise "
        "Limits.instance_bytes, or return less: a path, not a file."
    )
    return LimitReached(text, limit="instance_bytes", value=told.bytes_max)


def refused_too_often(life: Life, times: int, error: Exception) -> StepwellError:
    """The body goes on asking for what it may not have; see `_operations.refusal`."""
    return StepwellError(
        f"{_name(life)} was refused what it asked for {times:,} times, and asks again: {error}. "
        "Raise that limit, then resume()."
    )


def unstorable(life: Life, step: str, error: NotSerializable | TooLarge) -> Exception:
    """What a step returned cannot be stored (D7)."""
    told = type(error)(
        f'step "{step}" of {_name(life)} returned a value that cannot be stored: {error}'
    )
    vars(told).update(vars(error))  # what a body may ask it for, such as its path
    return told


def race(life: Life, name: str) -> StepwellError:
    """Two tasks of the body begin the same in one turn (I3)."""
    return StepwellError((_RACE if life.loop is None else _RACE_ON_ASYNCIO).format(name))


def unreadable(life: Life, what: str, error: Undecodable) -> StepwellError:
    """A stored value cannot become today's type (D7), or cannot be had."""
    where = standing(life) or life.who.workflow.place
    cure = "Then" if error.stored == ENCODED else "Restore the type, then"
    return StepwellError(
        f"{what} of {_name(life)} has a stored value that today's "
        f"code{f' at {where}' if where else ''} cannot read: {error}. "
        f"{cure} resume()."
    )


def changed_argument(life: Life, step: str, argument: str, others: list[str]) -> StepwellError:
    """A step, or something beside it, changed an object of the body that the step was given
    (D10)."""
    names = ", ".join(f'"{name}"' for name in dict.fromkeys(others))
    beside = f" (other steps under way: {names})" if others else ""
    return StepwellError(
        f'step "{step}" of {_name(life)}: its argument {argument} was changed while it '
        f"ran{beside}. Arguments are the body's own "
        "objects: on replay the step does not run, and the body would see them as they were. Copy "
        "it in the step and return what the body is to have, then resume(). "
        "open_test_engine(check_arguments=False) looks at no arguments."
    )


def missing_class(life: Life, what: str, error: MissingClass) -> StepwellError:
    """A failure was recorded with a class that is not there now, so another `except` of the body
    would take it (D9)."""
    told = StepwellError(
        f"{what} of {_name(life)} failed with {error.module}.{error.qualname}, a class that "
        f"{error.why}, so the body would take another way than it took. "
        f"{error.cure[0].upper()}{error.cure[1:]}; the instance then goes on by itself."
    )
    told.missing = [error.module, error.qualname]  # type: ignore[attr-defined]  # for whoever finds the instance when it is there again
    return told


def foreign_wait(life: Life, coroutines: list[Any]) -> StepwellError:
    """Tasks of a body, whose code this is, wait for something that the engine knows nothing of
    (I9)."""
    known = [_waits_for(code) for code in coroutines]
    if seen := sorted(filter(None, known), key=_is_of_a_nursery):
        where, what, form = seen[0]
        return _foreign(life, where or standing(life), what, form)
    where = (
        "" if life.loop is None else next((it for code in coroutines if (it := stands(code))), "")
    )
    return _foreign(life, where, "something of its own", "step.do with a function that does it")


def _is_of_a_nursery(seen: tuple[str, str, str]) -> bool:
    """Whether a task waits for what others wait for."""
    return "NurseryManager" in seen[1]


def foreign_call(life: Life, method: str) -> StepwellError:
    """The code of a body on asyncio that runs now asked its loop for something from outside of the
    body (I9)."""
    what = f"asyncio's {method}"
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and not is_users(frame):
        if library(frame) in ("asyncio", "anyio"):
            what = f"{library(frame)}'s {frame.f_code.co_qualname}"
        frame = frame.f_back
    where = "" if frame is None else place_of(frame)
    if method in _CONTROLS:
        at = f" at {where}" if where else ""
        return StepwellError(
            f"the body of {_name(life)} calls asyncio's {method}{at}, and the loop of a body is "
            f"the engine's: it runs nothing but the body's own tasks. {_CONTROLS[method]}, then "
            "resume()."
        )
    return _foreign(life, where, what, _METHODS.get(method, _FUNCTION))


def use_of_others(life: Life, error: BaseException) -> StepwellError | None:
    """A body failed with this: says so if it is what trio, or asyncio, raises for code that is in
    no task of theirs (I9)."""
    if stranger(error) is None and not _is_of_another_loop(error):
        return None
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    frames = list(traceback.walk_tb(error.__traceback__))
    last = max((index for index, (frame, _) in enumerate(frames) if is_users(frame)), default=0)
    where = place_of(*frames[last])
    what = next(
        (frame for frame, _ in frames[last + 1 :] if library(frame) in ("trio", "asyncio")), None
    )
    if life.loop is None:
        used = (
            "asyncio"
            if what is None or library(what) != "asyncio"
            else (f"asyncio's {what.f_code.co_qualname}")
        )
        return StepwellError(
            f"the body of {_name(life)} runs on trio, and uses {used} at {where}. A body awaits "
            f"its step and its own branches only: use {_form(what)}, or write all of it for "
            'asyncio, @workflow(runtime="asyncio"), then resume().'
        )
    if what is None:
        return _foreign(life, where, "something of another loop", _FUNCTION)
    return _foreign(
        life,
        where,
        f"{library(what)}'s {what.f_code.co_qualname}",
        _FORMS.get(_module(what), _FUNCTION),
    )


def _is_of_another_loop(error: BaseException) -> bool:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return type(error) is RuntimeError and any(text in str(error) for text in _OTHERS)


def _form(what: FrameType | None) -> str:
    """What to use in a body on trio instead of this function of asyncio's."""
    if what is None:
        return "step.open_nursery for several things at once"
    return _FORMS_ON_TRIO.get(what.f_code.co_qualname) or _FORMS.get(_module(what), _FUNCTION)


def _foreign(life: Life, where: str, what: str, form: str) -> StepwellError:
    return StepwellError(
        f"the body of {_name(life)} waits for {what}{f' at {where}' if where else ''}, which "
        "would come at another moment on replay. A body awaits its step and its own branches "
        f"only. Use {form}, then resume()."
    )


def foreign_cancel(life: Life) -> StepwellError:
    """The body task that runs now was cancelled by something that the engine knows nothing of
    (I9)."""
    where = caller()
    return StepwellError(
        f"the body of {_name(life)} was {_CANCELLED}{f', at {where}' if where else ''}; on "
        "replay that would come at another moment. Use step.move_on_after or step.fail_after, then "
        "resume()."
    )


def foreign_deadline(life: Life) -> StepwellError:
    """The body task that runs now is about to wait under a deadline that the engine knows nothing
    of (I9)."""
    return StepwellError(
        f"the body of {_name(life)} begins something under a deadline of trio's, at {caller()}; "
        "on replay that would come at another moment. Use step.move_on_after or step.fail_after, "
        "then resume()."
    )


def resisting(life: Life) -> str:
    """Says that a body which was told to leave memory has not, "" if there is no reason to say so
    (P1)."""
    since = (life.port.now() - life.stopped_at) / 1e6
    if life.stopping in (None, End.FINISHED) or since < RESISTS_AFTER:
        return ""
    where = standing(life)
    return (
        f"Its body was cancelled {since:.0f} s ago and has not "
        f"ended{f'; it stands at {where}' if where else ''}. It stays in memory and begins "
        "nothing, and the instance goes on only after it: let "
        f"{'Cancelled' if life.loop is None else 'CancelledError'} pass, and "
        "keep code short that runs when it does."
    )


def resisting_step(step: Running, code: Any) -> str:
    """Says that this code of an attempt was cancelled and goes on, and is not driven any more
    (P1)."""
    where = stands(code)
    return (
        f'code of step "{step.identity[2]}" of {_name(step.life)} has caught a hundred times '
        f"that its attempt was cancelled{f', at {where}' if where else ''}. It is not driven any "
        "more, and the step stays open until the engine closes, which leaves that code unfinished. "
        "Let Cancelled pass."
    )


def resist_the_end(runners: list[Life], tasks: list[Task], attempts: int) -> str:
    """The engine closes, and code of bodies, or of so many attempts, some in tasks of their own,
    was cancelled and has not ended (P1)."""
    which = (
        (f"{attempts} step{'s' * (attempts != 1)}")
        if attempts
        else f"the bodies of {len(runners)} instance{'s' * (len(runners) != 1)}"
    )
    named = _named([*(life.task for life in runners if life.task is not None), *tasks])
    return (
        f"the engine closes, and code of {which} has not ended although it was "
        f"cancelled{f': {named}' if named else ''}. It is waited "
        "for no longer, and runs again when an engine opens, unless its instance has ended. "
        "Let Cancelled and CancelledError pass."
    )


def cannot_be_ended(tasks: list[Task]) -> InvalidState:
    """The engine closes, and these tasks of bodies and attempts stand where nothing can end them
    (P1)."""
    return InvalidState(
        f"the engine is closed, but {len(tasks)} of its bodies and steps cannot be ended, and "
        f"trio.run waits for them: {_named(tasks)}. "
        "They wait for something that cannot be cancelled. A body awaits its step and its own "
        f"branches only: use {_THREAD}. A step lets go of what it waits for, such as a thread with "
        "abandon_on_cancel=True, or is a plain function."
    )


def _named(tasks: list[Task]) -> str:
    return ", ".join(_task_of(task) for task in tasks[:5]) + (", …" if len(tasks) > 5 else "")


def _task_of(task: Task) -> str:
    """Returns a task of a body or an attempt as a person would name it, with where it stands."""
    here: Any = task.context[place]
    if type(here) is Branch:
        return f"{_name(here.life)} at {standing(here.life) or 'an unknown place'}"
    carrier = getattr(here.attempt_scope, "_carrier", None)  # what runs it on asyncio
    code = task.coro if carrier is None else carrier.get_coro()
    return (
        f'step "{here.identity[2]}" of {_name(here.life)} at '
        f"{stands(code, in_steps=True) or 'an unknown place'}"
    )


def still(bridge: Bridge) -> str:
    """Says that a loop stands still."""
    since = time.monotonic() - (bridge.still_since or time.monotonic())
    return (
        f"{bridge.name} has taken nothing for {since:.0f} s: nobody runs it, or code on it "
        "computes or blocks. Run it, or do that in a plain step, which has a thread"
    )


def waiting_for_loop(life: Life) -> list[str]:
    """Returns the steps of an instance whose attempts wait for an asyncio loop, as a person would
    name them."""
    bridge = life.port.bridge
    waiting = [
        it
        for it in life.delivery.open.values()
        if bridge is not None and bridge.has(getattr(it, "attempt_scope", None))
    ]
    return [f'step "{it.identity[2]}" of {_name(life)}' for it in waiting]


def standing_still(life: Life) -> str:
    """Says that steps of an instance wait for a loop that stands still, "" if none does."""
    bridge = life.port.bridge
    if bridge is None or bridge.still_since is None or not (waiting := waiting_for_loop(life)):
        return ""
    return f"Its {waiting[0]} has not begun: {still(bridge)}. Its timeout counts all the same."


def _name(life: Life) -> str:
    return f"{life.who}"


def task_name(task: asyncio.Task[Any], code: Any) -> str:
    """Returns a task of a body, which runs this code, as a person would name it."""
    where = stands(code)
    return f"{task.get_name()}{f' at {where}' if where else ''}"


def stands(code: Any, *, in_steps: bool = False) -> str:
    """Returns the innermost place of user code in the code of a blocked task; `in_steps`: also in a
    step that a body awaits."""
    return next(
        (place_of(frame) for frame in reversed(list(_frames(code, in_steps))) if is_users(frame)),
        "",
    )


def _frames(code: Any, in_steps: bool = False) -> Iterator[FrameType]:
    """Yields the frames of the code of a blocked task, outermost first; those of a step whose
    attempt runs in it only if asked."""
    awaited = code
    while awaited is not None:
        # of `await step.…`; it tells the collector only what it wraps
        if in_steps and type(awaited).__name__ == "coroutine_wrapper":
            (awaited,) = gc.get_referents(awaited)
        frame = next(
            (it for name in _FRAMES if (it := getattr(awaited, name, None)) is not None), None
        )
        if frame is not None:
            yield frame
        driven = (
            frame.f_locals.get("coroutine")
            if frame is not None and _module(frame).startswith("stepwell.")
            else None
        )
        awaited = driven or next(
            (it for name in _AWAITS if (it := getattr(awaited, name, None)) is not None), None
        )


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def is_users(frame: FrameType) -> bool:
    return library(frame) not in _LIBRARIES


def place_of(frame: FrameType, line: int | None = None) -> str:
    return f"{frame.f_code.co_filename.rpartition('/')[2]}:{line or frame.f_lineno}"


def _waits_for(code: Any) -> tuple[str, str, str] | None:
    """Returns where a task stands, what of trio's or asyncio's it waits for, and what to use
    instead; None if it waits for its branches."""
    where, what = "", None
    for frame in _frames(code):
        if is_users(frame):
            where, what = place_of(frame), None
        elif (
            what is None
            and library(frame) != "contextlib"
            and (where or _module(frame) not in _STARTS)
        ):
            what = frame
    if what is None or library(what) not in ("trio", "asyncio", "anyio"):
        return None
    form = _FORMS.get(_module(what), _FUNCTION)
    return where, f"{library(what)}'s {what.f_code.co_qualname}", form
