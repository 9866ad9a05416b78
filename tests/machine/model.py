"""What the rules say comes of what is done, and nothing of how: instances as plain lists.

A model instance does one thing after another, as its script says. Whatever it has come to is in
`done`, one entry for each; what it is at is `open`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from .bodies import KEPT_S, RETRY_S

FINAL = ("complete", "errored", "terminated")
REFUSED = {"InstanceNotFound": "not_found", "InvalidState": "state"}
"""What the audit says of who refused what was done to many."""
KINDS = {
    "charge": ("do", "charge"), "hold": ("do", "hold"), "sleep": ("sleep", "sleep"),
    "event": ("event", None), "approval": ("approval", "ok"),
    "attribute": ("set_attributes", "attributes"), "call": ("call", "line"),
}  # fmt: skip
"""What history calls what a script says; an event is called by its type."""


@dataclass
class Done:
    """What one thing of a script has come to."""

    value: Any
    lines: list[tuple[int, str]]
    """Attempt and status of each line of history."""
    event: tuple[int, str, str] | None = None
    """The one it took: its number, type and payload."""
    before: Any = None
    """The attribute, before it changed that."""


@dataclass
class Open:
    """What an instance is at."""

    lines: list[tuple[int, str]] = field(default_factory=list)
    until: int | None = None
    """When a wait, or the delay of a retry, ends by itself."""
    attempt: int = 0
    holds: bool = False
    untold: list[tuple[int, str]] = field(default_factory=list)
    """Lines that are recorded when it goes on: of attempts that were cut short."""
    answer: Any = None
    """Of the child that it called, once that has ended."""


@dataclass
class Made:
    """An instance."""

    id: str
    code: str
    script: list[Any]
    created: int
    parent: Made | None = None
    status: str = "queued"
    done: list[Done] = field(default_factory=list)
    open: Open | None = None
    events: list[tuple[int, str, str]] = field(default_factory=list)
    dedups: set[str] = field(default_factory=set)
    decisions: dict[int, tuple[bool, str]] = field(default_factory=dict)
    """Of its approvals, by their count."""
    decided: set[int] = field(default_factory=set)
    """The same of all its lives."""
    n: Any = None
    """Its attribute."""
    first_n: Any = None
    output: Any = None
    error: str | None = None
    failed: int | None = None
    """What of its script left the body, by number."""
    ended: int | None = None
    paused: int | None = None
    draw: int = 0
    """A new one stands for other keys."""
    run: int = 1

    def what(self, number: int) -> tuple[str, str]:
        """What history calls something of its script."""
        kind, name = KINDS[self.script[number][0]]
        return kind, name or self.script[number][1]

    def count(self, number: int) -> int:
        """The how-manieth of its name that is."""
        return sum(
            self.script[it][0] in KINDS and self.what(it) == self.what(number)
            for it in range(number + 1)
        )

    def history(self) -> list[tuple[str, str, int, int, str]]:
        """What its history says."""
        lines = [("continue_as_new", "run", self.run, 0, "done")] if self.run > 1 else []
        for number, it in enumerate([*self.done, *([self.open] if self.open else [])]):
            for attempt, status in it.lines:
                if status not in ("waiting", "running") or self.status not in FINAL:
                    lines.append((*self.what(number), self.count(number), attempt, status))
        return lines


class Model:
    """All that there is."""

    def __init__(self) -> None:
        self.now = 0
        self.is_broken = self.has_bug = False
        self.all: dict[str, Made] = {}
        self.audit: list[tuple[str, str | None, str, str]] = []
        """Operation, id, actor and result, oldest first."""
        self.ran: list[tuple[str, int, str, int, int]] = []
        """Attempts that began: id, draw, name, count, attempt."""
        self.passed: set[tuple[int, int]] = set()
        """Where bodies have gone on that meet the bug if they come there for the first time."""
        self.events = self.draws = 0

    # What goes on by itself.

    def settle(self) -> None:
        """Everybody goes on as far as they can without time moving on."""
        while [it for it in list(self.all.values()) if self._goes_on(it)]:
            pass

    def advance(self, seconds: int) -> None:
        """Moves time on, from one thing that is due to the next."""
        until = self.now + seconds
        while True:
            self.settle()
            due = [at for it in self.all.values() for at in self._due(it)]
            if not due or min(due) > until:
                break
            self.now = max(self.now, min(due))
            self._purge()
        self.now = until
        self.settle()

    def _due(self, it: Made) -> list[int]:
        if it.status == "waiting" and it.open is not None and it.open.until is not None:
            return [it.open.until]
        return [] if (at := self._purged_at(it)) is None else [at]

    def _purged_at(self, it: Made) -> int | None:
        if it.ended is None or it.code != "line" or self._is_awaited(it):
            return None
        return it.ended + (KEPT_S if it.status == "complete" else 2 * KEPT_S)

    def _is_awaited(self, it: Made) -> bool:
        parent = it.parent
        return parent is not None and parent.status not in FINAL and self._child(parent) is it

    def _purge(self) -> None:
        for it in list(self.all.values()):
            at = self._purged_at(it)
            if at is not None and at <= self.now:
                del self.all[it.id]

    def _child(self, it: Made) -> Made | None:
        """Who it has called and waits for."""
        return None if it.open is None else self._called(it, len(it.done))

    def _called(self, it: Made, number: int) -> Made | None:
        """Who it has called there, unless that is gone."""
        child = self.all.get(f"{it.id}.{number}")
        return child if child is not None and child.parent is it else None

    def _goes_on(self, it: Made) -> bool:
        if it.status == "queued":
            it.status = "running"
        if it.status not in ("running", "waiting") or (it.open is not None and it.open.holds):
            return False
        if it.open is None:
            it.status = "running"
            self._begin(it)
            return True
        return self._comes_to(it)

    def _begin(self, it: Made) -> None:
        number = len(it.done)
        if it.failed is not None:
            assert it.error is not None
            self._fail(it, it.failed, it.error)
            return
        if number == len(it.script):
            it.output = [it.first_n, *[done.value for done in it.done]]
            self._end(it, "complete")
            return
        what, *details = it.script[number]
        it.open = Open(lines=[(0, "waiting")])
        match what:
            case "charge":
                it.open.lines = []
                self._attempt(it)
            case "hold":
                it.open.lines = []
                self.hold(it)
            case "sleep":
                it.open.until = self.now + details[0]
                it.status = "waiting"
            case "event" | "approval":
                it.open.until = self.now + details[-1]
                it.status = "waiting"
            case "attribute":
                before, it.n = it.n, details[0]
                self._done(it, Done(it.n, [(0, "done")], before=before))
            case "call":
                self._call(it, details[0])
            case "new":
                self._renew(it, details[0])
            case "bug" if self.has_bug and (it.draw, number) not in self.passed:
                it.open = None
                self._fail(it, None, "RuntimeError")
            case "bug":
                self.passed.add((it.draw, number))
                self._done(it, Done("no bug", []))

    def _renew(self, it: Made, script: list[Any]) -> None:
        """It goes on as new, with another script."""
        self.draws += 1
        it.script, it.done, it.open, it.draw = script, [], None, self.draws
        it.first_n = it.n
        it.run += 1
        it.decisions.clear()  # as when it is restarted

    def hold(self, it: Made) -> None:
        """An attempt of a step begins that ends when it is let go."""
        assert it.open is not None
        it.open.attempt += 1
        self._ran(it)
        it.open.lines += [*it.open.untold, (it.open.attempt, "running")]
        it.open.untold = []
        it.open.holds = True

    def _ran(self, it: Made) -> None:
        number = len(it.done)
        assert it.open is not None
        name, count = it.what(number)[1], it.count(number)
        self.ran.append((it.id, it.draw, name, count, it.open.attempt))

    def _attempt(self, it: Made) -> None:
        assert it.open is not None
        it.open.attempt += 1
        it.open.until = None
        it.open.lines = [line for line in it.open.lines if line[1] != "waiting"]
        self._ran(it)
        number, attempt = len(it.done), it.open.attempt
        if not self.is_broken:
            self._done(it, Done("charged", [*it.open.lines, (attempt, "done")]))
        elif attempt < 2:
            it.open.lines += [(attempt, "attempt_failed"), (0, "waiting")]
            it.open.until = self.now + RETRY_S
            it.status = "waiting"
        else:
            lines = [*it.open.lines, (attempt, "failed")]
            self._done(it, Done(None, lines))
            self._fail(it, number, "ConnectionError")

    def _call(self, it: Made, script: list[Any]) -> None:
        child = f"{it.id}.{len(it.done)}"
        it.status = "waiting"
        if child in self.all:
            number = len(it.done)
            self._done(it, Done(None, [(0, "failed")]))
            self._fail(it, number, "InstanceExists")
            return
        self.create("line", child, script, parent=it)

    def _done(self, it: Made, done: Done) -> None:
        it.open = None
        it.done.append(done)
        it.status = "running"

    def _comes_to(self, it: Made) -> bool:
        """What it waits for is there, or its time is over."""
        number, open = len(it.done), it.open
        assert open is not None
        what, *details = it.script[number]
        if what == "event":
            taken = next((event for event in it.events if event[1] == details[0]), None)
            if taken is not None:
                it.events.remove(taken)
                self._done(it, Done(taken[2], [(0, "done")], event=taken))
                return True
        if what == "approval" and (told := it.decisions.get(it.count(number))) is not None:
            approved, by = told
            self._done(it, Done(by if approved else f"not for {by}", [(0, "done")]))
            return True
        if what == "call":
            return self._hears_of_child(it)
        if what == "hold":
            it.status = "running"
            self.hold(it)
            return True
        if open.until is None or open.until > self.now:
            return False
        if what == "charge":
            self._attempt(it)
        elif what == "sleep":
            self._done(it, Done(None, [(0, "done")]))
        else:
            self._done(it, Done("too late", [(0, "timed_out")]))
        return True

    def _hears_of_child(self, it: Made) -> bool:
        assert it.open is not None
        if it.open.answer is None:
            return False
        number, (status, output) = len(it.done), it.open.answer
        if status == "complete":
            self._done(it, Done(output, [(0, "done")]))
        else:
            self._done(it, Done(None, [(0, "failed")]))
            self._fail(it, number, f"Instance{status.capitalize()}")
        return True

    def _fail(self, it: Made, number: int | None, error: str) -> None:
        it.error, it.failed = error, number
        if it.code == "keen":
            it.status = "blocked"
        else:
            self._end(it, "errored")

    def _end(self, it: Made, status: str) -> None:
        child, parent = self._child(it), it.parent
        it.status, it.ended, it.paused = status, self.now, None
        if parent is not None and self._child(parent) is it and parent.status not in FINAL:
            assert parent.open is not None
            parent.open.answer = (status, it.output)
        if status == "terminated":
            it.error = None
            if child is not None and child.status not in FINAL:
                self._end(child, "terminated")

    # What is done from outside; each returns the name of the error it is refused with.

    def create(
        self, code: str, id: str, script: list[Any], n: Any = None, parent: Made | None = None
    ) -> str | None:
        """Somebody, or their parent, creates an instance."""
        if id in self.all:
            return "InstanceExists"
        self.draws += 1
        self.all[id] = Made(id, code, script, self.now, parent, n=n, first_n=n, draw=self.draws)
        return None

    def act(self, verb: str, id: str, actor: str) -> str | None:
        """Somebody does something to an instance that takes nothing more."""
        it = self.all.get(id)
        if it is None:
            return "InstanceNotFound"
        if it.status in FINAL:
            return "InvalidState"
        result = getattr(self, f"_{verb}")(it)
        if result is not None:
            self.audit.append((verb, id, actor, result))
        return None

    def _pause(self, it: Made) -> str | None:
        if it.status in ("paused", "waiting_for_pause", "blocked"):
            return None
        it.paused = self.now
        it.status = "waiting_for_pause" if it.open is not None and it.open.holds else "paused"
        return it.status

    def _resume(self, it: Made) -> str | None:
        if it.status == "waiting_for_pause":
            it.status, it.paused = "running", None
            return "running"
        if it.status == "blocked":
            it.status = "queued"
            if it.failed is not None and it.script[it.failed][0] == "call":
                return "queued"  # no attempts are made of a call: it has failed, and it fails again
            if it.failed is not None:
                it.done.pop()
            it.error = it.failed = None
            return "queued"
        if it.status != "paused":
            return None
        assert it.paused is not None
        if it.open is not None and it.open.until is not None:
            it.open.until += self.now - it.paused
        it.paused = None
        it.status = "waiting" if it.open is not None and not it.open.holds else "queued"
        return "queued"

    def _terminate(self, it: Made) -> str:
        self._end(it, "terminated")
        return "terminated"

    def _retry_now(self, it: Made) -> str | None:
        if it.open is None or it.open.attempt == 0 or it.open.until is None:
            return None
        it.open.until = self.now
        return "running" if it.status == "waiting" else it.status

    def send(self, id: str, kind: str, payload: str, dedup: str | None) -> str | None:
        """Somebody sends an event."""
        it = self.all.get(id)
        if it is None:
            return "InstanceNotFound"
        if dedup is not None and dedup in it.dedups:
            return None
        if it.status in FINAL:
            return "InvalidState"
        if dedup is not None:
            it.dedups.add(dedup)
        self.events += 1
        it.events.append((self.events, kind, payload))
        return None

    def decide(self, id: str, count: int, approves: bool, by: str) -> bool | str:
        """Somebody decides an approval, asked for or not; returns whether that counts."""
        it = self.all.get(id)
        if it is None:
            return "InstanceNotFound"
        if count in it.decisions:
            return False
        asked = len(it.done) + (it.open is not None and it.status in FINAL)
        if any(it.script[n][0] == "approval" and it.count(n) == count for n in range(asked)):
            return False
        if it.status in FINAL:
            return False if count in it.decided else "InvalidState"
        it.decided.add(count)
        it.decisions[count] = (approves, by)
        verb = "approve" if approves else "reject"
        self.audit.append((verb, id, by, f"{it.code}/{id}#ok#{count}"))
        return True

    def release(self) -> None:
        """All that hold end."""
        for it in self.all.values():
            if it.open is not None and it.open.holds and it.status not in FINAL:
                pausing = it.status == "waiting_for_pause"
                lines = [line for line in it.open.lines if line[1] != "running"]
                self._done(it, Done("held", [*lines, (it.open.attempt, "done")]))
                it.status = "paused" if pausing else "running"

    def may_crash(self) -> bool:
        """Whether nobody would be suspected of it, and held back."""
        return not any(it.open is not None and it.open.holds and it.open.attempt > 1
                       for it in self.all.values())  # fmt: skip

    def close(self) -> None:
        """Attempts that ran were given up in order, which does not count, and are made again."""
        for it in self.all.values():
            if it.open is not None and it.open.holds and it.status not in FINAL:
                it.open.attempt -= 1
                it.open.lines.pop()
                self._again(it)

    def crash(self) -> None:
        """Attempts that ran were cut short, and are made again."""
        for it in self.all.values():
            if it.open is not None and it.open.holds and it.status not in FINAL:
                it.open.lines[-1:] = [(it.open.attempt, "interrupted")]
                self._again(it)

    def _again(self, it: Made) -> None:
        assert it.open is not None
        if it.status == "waiting_for_pause":
            it.open.holds = False
            it.status = "paused"
            it.open.untold, it.open.lines = it.open.lines, []
        else:
            self.hold(it)

    def restart(self, id: str, step: int | str | None, actor: str) -> str | None:
        """Somebody restarts it: from the start, from something of its script, or "failed"."""
        it = self.all.get(id)
        if it is None:
            return "InstanceNotFound"
        kept = self.kept(it, step)
        if isinstance(kept, str):
            return kept
        self._erase(it, kept, keeps_attempts=step == "failed")
        if step is None:
            self.draws += 1
            it.draw = self.draws
        result = "running" if it.status in ("running", "waiting_for_pause") else "queued"
        it.status = "queued"
        it.output = it.error = it.failed = it.ended = it.paused = None
        self.audit.append(("restart", id, actor, result))
        return None

    def kept(self, it: Made, step: int | str | None) -> int | str:
        """How much of what it has done a restart keeps, or why it is refused."""
        if step is None:
            return 0
        if step == "failed":
            if it.failed is not None:
                return it.failed
            if it.status in ("terminated", "errored"):  # of one that is blocked that is `resume`
                return len(it.done)
            return "InvalidState"
        assert isinstance(step, int)
        lines = [] if it.open is None else it.open.lines
        waits = it.status not in FINAL and (0, "waiting") in lines
        begun = len(it.done) + (waits or any(n for n, at in lines if at != "running"))
        return step if step < begun and it.script[step][0] in KINDS else "InvalidConfig"

    def _erase(self, it: Made, kept: int, *, keeps_attempts: bool) -> None:
        if (child := self._child(it)) is not None:
            self._gone(child)
        for number in range(kept, len(it.done)):
            done = it.done[number]
            if done.event is not None:
                it.events.append(done.event)
            if it.script[number][0] == "attribute" and not any(
                it.script[n][0] == "attribute" for n in range(kept, number)
            ):
                it.n = done.before
            if (called := self._called(it, number)) is not None:
                self._gone(called)
        it.events.sort()
        it.decisions.clear()  # they were for this life; those it has been told are in `done`
        is_at_it = keeps_attempts and kept == len(it.done)
        del it.done[kept:]
        lines = it.open.lines if it.open is not None else []
        recorded = [line for line in lines if line[0] and line[1] != "running"]
        it.open = None
        if is_at_it and recorded:  # the next attempt comes at once
            it.open = Open(recorded, until=self.now, attempt=recorded[-1][0])

    def delete(self, id: str, actor: str) -> str | None:
        """Somebody deletes it."""
        it = self.all.get(id)
        if it is None:
            return "InstanceNotFound"
        self._gone(it)
        self.audit.append(("delete", id, actor, "gone"))
        return None

    def bulk(
        self, verb: str, chosen: list[str], actor: str, *details: Any
    ) -> tuple[int, list[tuple[str, str]]]:
        """Somebody does something to many; returns to how many, and who refused it."""
        before, refused = len(self.audit), []
        for id in chosen:
            match verb:
                case "restart":
                    error = self.restart(id, details[0], actor)
                case "delete":
                    error = self.delete(id, actor)
                case "send_event":
                    error = self.send(id, details[0], details[1], None)
                    self.audit.append((verb, id, actor, "")) if error is None else None
                case _:
                    error = self.act(verb, id, actor)
            if error is not None:
                refused.append((id, error))
        done = len(self.audit) - before
        errors = Counter(REFUSED[error] for _, error in refused)
        if verb == "restart" and errors["state"]:
            errors = Counter(
                {"nothing_failed" if k == "state" else k: v for k, v in errors.items()}
            )
        told = [f"done: {done}", *(f"{it}: {count}" for it, count in errors.items())]
        self.audit[before:] = [(verb, None, actor, f"ended, {', '.join(told)}")]
        return done, refused

    def _gone(self, it: Made) -> None:
        if it.status not in FINAL:
            self._end(it, "terminated")
        elif (child := self._child(it)) is not None and child.status not in FINAL:
            self._end(child, "terminated")
        del self.all[it.id]
