"""Why an instance is where it is, in one plain paragraph: the texts of `Instance.explain` (L13).

What is durable comes from one look at the instance; what its body does at this moment, if it is in
memory, from `_operations.standing`. Nothing in here asks the core anything.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from .._body import diagnosis
from .._core import ATTEMPT_FAILED, CORRUPT, DO, HELD_BACK, INTERRUPTED, MISSING_CODE, UNDO
from .._ending import End
from .._errors import StepwellError
from .._operations import standing
from .._operations.states import BEHIND, ENDED, LEFT, QUEUED
from .._replay import STEPS, describe
from .._types import STATUSES, Explanation, ExplanationCode, Status, UndoStatus
from .._values.codec import Undecodable, codec
from .._values.durations import from_us
from .._values.failures import error_info
from .answers import error_in, faults_in
from .draining import DRAINED, DRAINS

if TYPE_CHECKING:
    from .._body.life import Life
    from .._operations.states import Standing
    from .._replay import Identity, Recorded
    from .._steps.borrowed import Borrowed
    from .driver import Driver
    from .look import Look, Wait
    from .registry import Registry

_ENDS = {
    End.FINISHED: "its body has ended, and that is being recorded",
    End.BLOCKED: "its body cannot go on, and that is being recorded",
    End.PAUSED: "its body is leaving memory, and begins again when it is resumed",
    End.CONTINUED: "its body has ended, and it goes on as new once nothing of that runs any more",
    End.UNDOES: "its body is leaving memory, and what it did is undone after that",
    End.REPLAYED: "its body begins again from its history, once what it came to is recorded",
    End.PARKED: "its body is leaving memory, and begins again after that",
}
_AGAIN = (
    '. restart(from_step="failed") runs again what failed and keeps what came before it, restart() '
    "begins anew."
)
PARTS_MAX = 5
"""Steps and waits that one paragraph names."""


def of_queued(look: Look, now: int) -> Explanation | None:
    """Says why a queued instance is held up by something other than its place; None: it is only
    that."""
    who, since = _who(look), from_us(look.updated_at)
    if look.reason == HELD_BACK:
        text = (
            f"{who} is held back: it was running at the last unclean stops of the process and had "
            "finished nothing that the process outlived by a second, so it may be what kills it. "
            "Such instances start a few at a time; it starts by itself at its turn."
        )
        return Explanation(ExplanationCode(HELD_BACK), text, since)
    if look.start_at is not None and look.start_at > now:
        text = f"{who} is queued until {_at(look.start_at)}, the start_at it was created with."
        return Explanation(ExplanationCode.START_AT, text, since, from_us(look.start_at))
    return None


def of_place(
    look: Look, code: int | None, ahead: int, accounts: list[tuple[int, int]]
) -> Explanation | None:
    """Says what a queued instance waits for: those before it, limits; None if it is not queued any
    more."""
    if code is None or STATUSES[code] is not Status.QUEUED:
        return None
    limits = (
        "the engine (slots)",
        f'namespace "{look.namespace}" (concurrency)',
        f'"{look.workflow}" (concurrency)',
    )
    full = [
        f"the only slot of {limit} is in use"
        if most == 1
        else f"all {most:,} slots of {limit} are in use"
        for (used, most), limit in zip(accounts, limits, strict=True)
        if used >= most
    ]
    behind = (
        (f'behind {ahead:,} other{"s" * (ahead != 1)} of "{look.workflow}"')
        if ahead
        else f'first of "{look.workflow}"'
    )
    text = (
        f"{_who(look)} is queued, {behind}; {' and '.join(full) if full else 'its slot is free'}."
    )
    since = from_us(look.updated_at)
    return Explanation(ExplanationCode.QUEUED, text, since, details={"ahead": ahead})


def of_resting(look: Look, code: Registry | None) -> Explanation:
    """Says why an instance is where it is that neither runs nor waits; without code, nothing of
    that."""
    status, since, who, error = look.status, from_us(look.updated_at), _who(look), error_in(look)
    if status not in (Status.PAUSED, Status.BLOCKED):
        text = f"{who} is {status.value.replace('_', ' ')}" + (f": {error}" if error else ".")
        if status is Status.ERRORED:
            text = text.rstrip(".") + _AGAIN
        return Explanation(ExplanationCode(status), text, since)
    missing = f'version "{look.version}" of "{look.workflow}" is not registered with this engine'
    if code is not None:
        missing += f" (registered: {code.instead_of(look.workflow)})"
    needed = (
        f" Before it can go on, its code is needed too: {missing}."
        if code is not None and code.version(look.workflow, look.version) is None
        else ""
    )
    if status is Status.PAUSED:
        text = (
            f"{who} is paused: nothing of it begins, and what it waits for stands still. "
            f"resume() lets it go on.{needed}"
        )
        return Explanation(ExplanationCode.PAUSED, text, since)
    if look.reason == MISSING_CODE:
        text = (
            f"{who} is blocked: {missing}. Pass it in Engine(workflows=[…]); the instance goes "
            "on by itself."
        )
    elif look.reason == "body_failed":
        text = (
            f"{who} is blocked (body_failed): its body raised {error}. Nothing of it is lost. Fix "
            "the code, or what it depends on, then resume(): the body is replayed, and steps whose "
            f"failure this was are tried anew.{_told_again(look)}{needed}"
        )
    else:
        text = (
            f"{who} is blocked ({look.reason}): "
            f"{error.message if error else 'no details were recorded'}"
        )
        if look.reason != CORRUPT:
            text += needed
    return Explanation(_blocked_by(look.reason), text, since)


def _told_again(look: Look) -> str:
    """Says what to do about what failed the body and is no step: that it is tried anew would mean
    another child, say."""
    other = next((it for it in faults_in(look) if it[0] != DO), None)
    if other is None:
        return ""
    return (
        f" Of {describe(other)} a resume() tells the body the same again, so unless its code is "
        'another it fails again: restart(from_step="failed") does that anew, too.'
    )


def _blocked_by(reason: str | None) -> ExplanationCode:
    """Returns the code of a reason, which a later version may have stored."""
    try:
        return ExplanationCode(reason or "blocked")
    except ValueError:
        return ExplanationCode.BLOCKED


def with_undoing(told: Explanation, undo: UndoStatus | None) -> Explanation:
    """Adds how far the undoing of an instance's steps is."""
    if undo is None:
        return told
    many = "" if undo.steps is None else f" of {undo.steps:,}"
    step = "" if undo.step is None else f'"{undo.step}"'
    if undo.outcome == "running":
        text = f"It undoes its steps, {undo.done:,}{many} so far, and ends then."
    elif undo.outcome == "complete":
        text = f"Its steps were undone ({undo.done:,})."
    elif undo.error is None:
        at = f", when that of {step} had begun" if step else ""
        text = f"Its steps were being undone, {undo.done:,}{many} so far, and it was ended{at}."
    else:
        why = f"{undo.error.type.rpartition('.')[2]}: {undo.error.message}"
        text = (
            f"Of its steps {undo.done:,}{many} were undone; the undo of {step} gave up ({why}), "
            "and what began before it is not undone."
        )
    if undo.left:
        names = ", ".join(f'"{it}"' for it in undo.left)
        text += f" Nothing undoes {names}: no undo= in the code of when that began."
    error = None if undo.error is None else asdict(undo.error)
    return told._replace(
        text=f"{told.text.rstrip('.')}. {text}",
        details={**told.details, "undo": undo._asdict() | {"error": error, "left": [*undo.left]}},
    )


def of_waiting(look: Look, records: list[Recorded], runner: Life | None) -> Explanation:
    """Says what an instance waits for; the records say what a retry comes after."""
    waits = look.open_waits
    texts = [_wait(wait, records, runner) for wait in waits]
    untils = [wait.until for wait in waits if wait.until is not None]
    text = f"{_who(look)} waits for {_several(texts)}." if waits else f"{_who(look)} is waiting."
    text += _not_taken(look)
    until = from_us(min(untils)) if untils else None
    return Explanation(
        ExplanationCode.WAITING, text, from_us(look.updated_at), until, _sought(look)
    )


def of_running(
    look: Look, records: list[Recorded], runner: Life | None, driver: Driver | None
) -> Explanation:
    """Says what an instance is at that has a slot; without a driver, what is stored of that."""
    known = [] if runner is None else standing.of(runner)
    steps, texts = [], list[str]()
    if driver is not None:
        steps = [step for step in known if step.state != ENDED] + standing.left(
            driver.borrowed, look.no, runner
        )
        texts = [_step(step, driver.borrowed) for step in steps]
    if look.status is Status.RUNNING:
        texts += [f"it waits for {_wait(wait, records, runner)}" for wait in look.open_waits]
    elif look.open_waits:
        texts.append("what it waits for stands still")
    if driver is None:
        texts.append("what its body was at is not stored")
    elif of_body := _absent(look, driver) if runner is None else _leaving(runner):
        texts.append(of_body)
    elif runner is not None and not texts:
        texts += _where(runner, known)
    untils = [step.until for step in steps if step.until is not None]
    state = (
        "is running"
        if look.status is Status.RUNNING
        else "is paused as soon as nothing of it runs; resume() takes that back"
    )
    text = f"{_who(look)} {state}{': ' if texts else ''}{_several(texts)}.{_not_taken(look)}"
    details = _sought(look) | ({"steps": [_as_data(step) for step in steps]} if steps else {})
    return Explanation(
        ExplanationCode(look.status),
        text,
        from_us(look.updated_at),
        from_us(min(untils)) if untils else None,
        details,
    )


def _absent(look: Look, driver: Driver) -> str:
    """Says why the body of an instance that runs is not in memory."""
    end = driver.departed.end_of(look.no, look.updated_at)
    if end is not None:
        return _ENDS[end]
    return "its body is not in memory" if driver.draining else "its body is about to begin"


def _leaving(runner: Life) -> str:
    """Says why a body does not go on that is in memory, "" if it does."""
    if runner.task is None:
        return "its body is about to begin"
    if runner.stopping is None:
        return ""
    return _ENDS.get(runner.stopping, "its body is leaving memory")


def _where(runner: Life, known: list[Standing]) -> list[str]:
    """Says where a body stands that neither waits nor has a step that runs."""
    if known:
        return [f"what {_name(known[0])} came to is being recorded"]
    if announced := standing.announced(runner):
        return [
            f"attempt {attempt} of {_titled(identity, branch)} is about to begin"
            for identity, branch, attempt in announced
        ]
    where = diagnosis.standing(runner)
    return [f"its body is at {where}"] if where else []


def of_stored(look: Look, records: list[Recorded], now: int) -> Explanation:
    """Says why an instance is where it is as far as its store says that, without its engine."""
    if look.status in (Status.RUNNING, Status.WAITING_FOR_PAUSE):
        return of_running(look, records, None, None)
    if look.status is Status.WAITING:
        return of_waiting(look, records, None)
    if look.status is not Status.QUEUED:
        return of_resting(look, None)
    text = f"{_who(look)} is queued."
    return of_queued(look, now) or Explanation(
        ExplanationCode.QUEUED, text, from_us(look.updated_at)
    )


def in_its_engine(told: Explanation, driver: Driver) -> Explanation:
    """Adds to what is said of an instance that has not ended that this engine drains, or has, if
    so: it waits in vain here."""
    if not driver.draining:
        return told
    text = DRAINED if driver.drained else DRAINS
    return told._replace(text=f"{told.text} {text[0].upper()}{text[1:]}")


def _step(step: Standing, borrowed: Borrowed) -> str:
    name, since = _name(step), _at(step.since)
    at = f" at {step.where}" if step.where else ""
    if step.state == QUEUED:
        most = int(borrowed.slots.total_tokens)
        users = ", ".join(map(str, list(borrowed.threads)[:3])) + (
            ", …" if len(borrowed.threads) > 3 else ""
        )
        pool = (
            (f" all {most:,} of Engine(threads={most}) are in use, by {users}")
            if borrowed.slots.available_tokens == 0
            else ""
        )
        return (
            f"attempt {step.attempt} of {name} waits since {since} for a "
            f"thread{':' if pool else ''}{pool}"
        )
    if step.state == BEHIND and step.is_cancelled:
        runs_on = f"a thread of attempt {step.attempt} runs since {since}{at} and cannot be stopped"
        return f"{name}, which the body has cancelled, is waited for: {runs_on}"
    if step.state == BEHIND:
        return (
            f"the next attempt of {name} waits for the thread of attempt {step.attempt}, which "
            f"runs since {since}{at} and cannot be stopped"
        )
    if step.state == LEFT:
        return (
            f"a thread of {name} that nobody waits for any more runs since {since}{at} and "
            "cannot be stopped"
        )
    runs_on = "in a thread" if step.runs_on == "thread" else f"on {step.runs_on}"
    held = (
        (", has caught its cancellation a hundred times, and is not driven any more")
        if step.is_held
        else ""
    )
    if step.is_cancelled:
        return (
            f"attempt {step.attempt} of {name}, which the body has cancelled, is waited for: it "
            f"runs since {since} {runs_on}{at}{held}"
        )
    until = f" and times out at {_at(step.until)}" if step.until is not None and not held else ""
    return f"attempt {step.attempt} of {name} runs since {since} {runs_on}{at}{until}{held}"


def _as_data(step: Standing) -> dict[str, Any]:
    _, _, name, key, count = step.identity
    return {
        "name": name, "key": key, "count": count, "branch": step.branch, "attempt": step.attempt,
        "state": step.state,
        "since": from_us(step.since), "until": None if step.until is None else from_us(step.until),
        "where": step.where,
        "runs_on": step.runs_on, "is_cancelled": step.is_cancelled, "is_held": step.is_held,
    }  # fmt: skip


def _not_taken(look: Look) -> str:
    """Says which events have come that none of its waits takes, where it waits for others: their
    sender may have meant one of those."""
    if not (look.kept and any(it.types for it in look.open_waits)):
        return ""
    kept = ", ".join(f'"{kind}" x{count:,}' for kind, count in look.kept)
    return f" Events that came and that it does not wait for are kept: {kept}."


def _sought(look: Look) -> dict[str, Any]:
    """Returns what is waited for, as data: events, children; and what is kept."""
    waits = look.open_waits
    events = [
        {"types": it.types, "name": it.name, "count": it.occurrence, "branch": it.branch}
        for it in waits
        if it.types
    ]
    kept = {"kept": dict(look.kept)} if look.kept else {}
    return _children(waits) | ({"events": events} if events else {}) | kept


def _children(waits: list[Wait]) -> dict[str, Any]:
    children = [it for it in (wait.child for wait in waits) if it is not None]
    told = [
        {
            "workflow": it.workflow,
            "id": it.id,
            "status": STATUSES[it.code].value,
            "reason": it.reason,
        }
        for it in children
    ]
    return {"children": told} if told else {}


def _wait(wait: Wait, records: list[Recorded], runner: Life | None) -> str:
    if wait.child is not None:
        return f"{wait}, which is {wait.child.state}"
    made = (
        [
            it
            for it in records
            if it.identity == wait.identity and it.verdict in (ATTEMPT_FAILED, INTERRUPTED)
        ]
        if wait.kind in STEPS
        else []
    )
    if not made or wait.until is None:
        return str(wait)
    known = None if runner is None else standing.retries(runner).get(wait.number)
    failed, limit = known or (sum(it.verdict == ATTEMPT_FAILED for it in made), None)
    return (
        f"retry {failed}{'' if limit is None else f' of {limit:,}'} of {wait.title} at "
        f"{_at(wait.until)} (attempt {made[-1].attempt + 1}) after {_error(made[-1].payload)}"
    )


def _error(payload: bytes | None) -> str:
    try:
        info = error_info(codec.decode(payload)) if payload is not None else None
    except (Undecodable, StepwellError):
        info = None
    if info is None:
        return "a failure that cannot be read"
    return f"{info.type.rpartition('.')[2]}: {info.message}" if info.message else info.type


def _several(texts: list[str]) -> str:
    return "; ".join(texts[:PARTS_MAX]) + ("; …" if len(texts) > PARTS_MAX else "")


def _name(step: Standing) -> str:
    return _titled(step.identity, step.branch)


def _titled(identity: Identity, branch: str) -> str:
    kind, _, name, key, _ = identity
    return (
        ("the undo of " if kind == UNDO else "")
        + f'"{name}"'
        + (f" with key {key!r}" if key is not None else "")
        + (f" in {branch}" if branch else "")
    )


def _who(look: Look) -> str:
    return f"{look.workflow}/{look.id}"


def _at(us: int) -> str:
    return f"{from_us(us):%Y-%m-%d %H:%M:%S} UTC"
