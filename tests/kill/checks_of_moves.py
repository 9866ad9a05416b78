"""What must hold of moved instances: what was acknowledged is in force, whatever died since.

Each check goes through the lines of one instance in their order. What was begun and not
acknowledged may be in force or not, so from then on nothing is claimed until it is.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from . import fates
from .journal import Line
from .moved import LAST, undoes_in_thread

if TYPE_CHECKING:
    from .checks import Round

FINAL = ("complete", "errored", "terminated")
PAUSED = ("paused", "waiting_for_pause")
AFRESH = ("restart", "failed")
WORKFLOWS = ("saga", "relay", "part")


def tales(lines: list[Line]) -> dict[str, list[Line]]:
    """Returns what the journal says of each moved instance."""
    told: dict[str, list[Line]] = defaultdict(list)
    for line in lines:
        if line.op in "mMvaludpwsn":
            told[line.instance].append(line)
    return told


def what_was_acknowledged_is_in_force(round: Round) -> None:
    """In every state that is told until something else is begun: in that life, and in those after
    it."""
    for id, lines in round.moved.items():
        done: Line | None = None
        known = ""
        ends_as = fates.fate(round.seed, int(id[1:])).ends_as
        for line in lines:
            if line.op == "v":
                done, known = None, known if line.label == "ends" else ""
            elif line.op == "a":
                done = line
            elif line.op == "l":
                status, undo = line.label, line.data
                if known and status != known:
                    round.report.problem("lost", f"{id} was {known}, and is {status}")
                elif done is not None and not _fits(done, status, undo, ends_as):
                    what = f"{done.label} of {id} was acknowledged ({done.data})"
                    round.report.problem("lost", f"{what}; it is {status}, undo {undo}")
                known = status if status in FINAL else ""


def _fits(done: Line, status: str, undo: str | None, ends_as: str) -> bool:
    if done.data != "done":
        return True
    match done.label:
        case "pause":  # what was under way may be the last, and whatever undoes is not paused
            return status in (*PAUSED, ends_as) or undo is not None
        case "resume":
            return status not in PAUSED
        case "terminate":
            return status == "terminated"
        case "undo":  # one that failed may undo its steps already, and ends as it would
            return undo is not None and status in ("running", "queued", "terminated", ends_as)
        case "ends":
            return status in FINAL
        case "restart":
            return undo is None or status != "terminated"
    return True


def nothing_begins_in_what_stands_still(round: Round) -> None:
    """No step after it was acknowledged that an instance is paused, has ended, or is gone; nor an
    undo, but if that is what it ends with. What was handed to a thread before may begin there, and
    children are paused by themselves."""
    for id, lines in round.moved.items():
        still = ""
        for line in lines:
            if line.op == "v" and _moves_on(line, still):
                still = ""
            elif line.op == "a" and (line.data == "gone" or _stills(line)):
                still = line.label
            elif line.op == "s" and still and not line.data[2]:
                if still != "pause" or not _of_child(line):
                    what = f"{still} of {id} was acknowledged"
                    round.report.problem("lost", f"{what}, and step {line.label} began after it")
            elif line.op == "u" and still in ("delete", "ends", "terminate"):
                text = f"{still} of {id} was acknowledged, and {line.label} was undone after it"
                if not (_of_child(line) or undoes_in_thread(line.label)):
                    round.report.problem("lost", text)


def _stills(line: Line) -> bool:
    verbs = ("pause", "terminate", "undo", "delete", "ends")
    return line.data == "done" and line.label in verbs


def _moves_on(line: Line, still: str) -> bool:
    return line.label in AFRESH or (still == "pause" and line.label != "retry_now")


def _of_child(line: Line) -> bool:
    return line.label.startswith("k")


def _sure(lines: list[Line]) -> Iterator[Line]:
    """Yields the lines of an instance of which it is known whether they are of before or after a
    restart: one that was begun is one only when it is acknowledged."""
    unsure = False
    for line in lines:
        if line.label in AFRESH and line.op in "va":
            unsure = line.op == "v"
        if not unsure or line.op in "vp":
            yield line


class _Past:
    """What bodies went past. A restart from the start is another life; a body that has not heard of
    it yet may still say what it went past in its own one."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], str] = {}
        self._life = ""

    def take(self, line: Line) -> str:
        """Takes such a line; returns what the same life went past first there."""
        value, life = line.data
        if not _of_child(line):
            self._life = life
        return self._seen.setdefault((life, line.label), value)

    def get(self, label: str) -> str | None:
        """Returns what the present life went past there."""
        return self._seen.get((self._life, label))

    def forget(self) -> None:
        """What a life went past may be erased."""
        self._seen.clear()


def undos_run_backwards_and_once(round: Round) -> None:
    """Each step that began is undone by what it was given, the last first; none is undone again
    once it is, and nothing but an undo begins then (L8). A crash may have cut short what had not
    begun yet: its undo is told that nobody knows."""
    for id, lines in round.moved.items():
        begun = {line.label for line in lines if line.op == "s"}
        over: dict[str, int] = {}
        last = ""
        for line in _sure(lines):
            if line.op == "a" and line.label in AFRESH:
                last, over = "", {}
            elif line.op == "s" and last and not (_of_child(line) or line.data[2]):
                round.report.problem("twice", f"{id} began {line.label} after undoing {last}")
            elif line.op == "w":
                over[line.label] = line.pid
            elif line.op == "u":
                if line.label not in begun and line.data != [None, "Interrupted"]:
                    round.report.problem("twice", f"{id} undid {line.label}, which never began")
                if over.get(line.label) == line.pid:
                    round.report.problem("twice", f"{id} undid {line.label} twice in one life")
                if not _of_child(line):
                    if last and line.label > last:
                        round.report.problem("twice", f"{id} undid {line.label} after {last}")
                    last = line.label


def an_undo_is_told_what_its_step_came_to(round: Round) -> None:
    for id, lines in round.moved.items():
        made: dict[str, set[str]] = defaultdict(set)
        for line in lines:
            if line.op == "d":
                made[line.label].add(line.data)
        past = _Past()
        for line in _sure(lines):
            if line.op == "v" and line.label in AFRESH:
                past.forget()
            elif line.op == "p":
                past.take(line)
            elif line.op == "u":
                output, _ = line.data
                known = past.get(line.label) or output
                if output != known or (output and output not in made[line.label]):
                    what = f"{id}: the undo of {line.label} was told {line.data}"
                    round.report.problem("lost", f"{what}; made were {made[line.label]}, {known}")


def what_the_body_went_past_stays(round: Round) -> None:
    """Until somebody restarts it, and if that is from what failed, and nothing was undone, also
    then (L6): the value, and that the step does not run again."""
    for id, lines in round.moved.items():
        past, undone = _Past(), False
        for line in _sure(lines):
            if line.op == "v" and line.label in AFRESH:
                if line.label == "restart" or undone:
                    past.forget()
                undone = False
            elif line.op == "u":
                undone = True
            elif line.op == "p" and (known := past.take(line)) != line.data[0]:
                text = f"{id} went past {line.label} with {known} and {line.data[0]}"
                round.report.problem("lost", text)
            elif line.op == "s" and past.get(line.label) and not line.data[2]:
                round.report.problem("twice", f"{id} went past {line.label}, which ran again")


def keys_change_with_a_restart_alone(round: Round) -> None:
    """From the start every step has another key than ever before; else it has the one it had, in
    all lives and from what failed on (L6)."""
    for id, lines in round.moved.items():
        keys: dict[str, str] = {}
        erased: set[str] = set()
        for line in _sure(lines):
            if line.op == "a" and line.label == "restart":
                erased |= {*keys.values()} if line.data == "done" else set()
                keys = {}
            elif line.op == "s" and not (_of_child(line) or line.data[2]):
                key = line.data[1]
                if keys.setdefault(line.label, key) != key:
                    round.report.problem("lost", f"{id}: step {line.label} has another key")
                if key in erased:
                    text = f"{id} was restarted, and step {line.label} has the key it had before"
                    round.report.problem("twice", text)


def each_run_begins_once(round: Round) -> None:
    """A relay's runs come one after the other, each with what the one before has made, and nothing
    of one runs when the next has begun (L15); but for a thread that a restart has left alone."""
    for id, lines in round.moved.items():
        handed: dict[int, list[str]] = {}
        latest = 0
        made = {line.data for line in lines if line.op == "d"}
        restarted = any(line.op == "v" and line.label in AFRESH for line in lines)
        for line in lines:
            if line.op == "n":
                run, before = line.data
                if handed.setdefault(run, before) != before:
                    text = f"{id}: run {run} began with {handed[run]} and with {before}"
                    round.report.problem("twice", text)
                if run not in (latest, latest + 1) or len(before) != run - 1:
                    round.report.problem("lost", f"{id}: run {run} after {latest}, with {before}")
                if not made.issuperset(before):
                    round.report.problem("lost", f"{id}: run {run} has {before}; made were {made}")
                latest = max(latest, run)
            elif line.op in "sdu" and line.label.startswith("r"):
                in_thread = line.label.endswith("x")
                if line.label != f"r{latest}{'x' * in_thread}" and not (in_thread and restarted):
                    text = f"{id} is at run {latest}, and {line.label} runs ({line.op})"
                    round.report.problem("twice", text)


def each_comes_to_its_end(round: Round) -> None:
    """The states in the end, the values, and what was undone by then."""
    there = {i["id"]: i for i in round.instances if i["workflow"] in ("saga", "relay")}
    for id, lines in round.moved.items():
        fate = fates.fate(round.seed, int(id[1:]))
        last = [line for line in lines if line.op == "a"]
        if len(last) != len(fate.moves):
            done = [line.label for line in last]
            round.report.problem("lost", f"{id}: {done} of {fate.moves} was acknowledged")
        elif fate.moves[-1].verb == "delete":
            if id in there:
                round.report.problem("lost", f"{id} was deleted and is there")
        elif id not in there:
            round.report.problem("lost", f"{id} is not there")
        else:
            for problem in _wrong(fate, lines, there[id]):
                round.report.problem("lost", f"{id}: {problem}: {there[id]}")


def _wrong(fate: fates.Fate, lines: list[Line], found: dict[str, Any]) -> Iterator[str]:
    status, made = found["status"], {line.data for line in lines if line.op == "d"}
    begun = {line.label for line in lines if line.op == "v"}
    allowed = _ends_allowed(fate, lines)
    if status not in allowed:
        yield f"it is {status}, not {allowed}"
    values = found["output"] or []
    if not made.issuperset(values.values() if isinstance(values, dict) else values):
        yield "its output is none that its steps made"
    if fate.kind == "relay" and status == "complete" and len(values) != fate.count:
        yield f"it has not {fate.count} runs"
    if found["undo"] not in (None, "complete", *(("failed",) if "terminate" in begun else ())):
        yield "it is not undone"
    if fate.undoes and status == "errored" and found["undo"] is None:
        yield "it undid nothing"
    if found["undo"] == "complete":
        yield from _not_undone(found["history"], fate.undoes)


def _ends_allowed(fate: fates.Fate, lines: list[Line]) -> set[str]:
    """Returns in which states it may have ended, by what was begun and what was acknowledged."""
    allowed = {fate.ends_as}
    for line in lines:
        ends = {"restart": fate.ends_as, "failed": fate.ends_as}.get(line.label, "terminated")
        if line.label not in ("restart", "failed", "terminate", "undo") or line.op not in "va":
            continue
        if line.op == "v" or line.data != "done":
            allowed = {*allowed, ends}
        elif line.label == "undo" and fate.ends_as == "errored":  # it may undo its steps already
            allowed = {ends, fate.ends_as}
        else:
            allowed = {ends}
    return allowed


def _not_undone(history: list[dict[str, Any]], undoes: bool) -> Iterator[str]:
    steps = {r["identity"][2] for r in history if r["identity"][0] == "do"} - {LAST}
    undone = {
        r["identity"][2] for r in history if r["identity"][0] == "undo" and r["status"] == "done"
    }
    if undoes and not steps <= undone:
        yield f"steps {steps - undone} are not undone"
    if extra := undone - steps - {LAST}:
        yield f"undone are {extra}, which never began"


def moves(lines: list[Line]) -> Counter[str]:
    """Returns how often what was acknowledged."""
    return Counter(line.label for line in lines if line.op == "a" and line.data != "refused")


RULES = (
    what_was_acknowledged_is_in_force,
    nothing_begins_in_what_stands_still,
    undos_run_backwards_and_once,
    an_undo_is_told_what_its_step_came_to,
    what_the_body_went_past_stays,
    keys_change_with_a_restart_alone,
    each_run_begins_once,
    each_comes_to_its_end,
)
