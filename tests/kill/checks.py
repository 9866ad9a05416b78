"""What must hold at the end of a round: the journal against the engine's own account.

Each check is a rule; it reports what breaks it by kind. "lost": an acknowledged thing is gone or
changed. "twice": recorded twice, or a finished step ran again. "repeated": an attempt was
forgotten.
"""

import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from . import checks_of_moves, journal, plans
from .report import Report
from .steps import text
from .witness import Key, Witness, read

OUTCOMES = ("done", "failed", "timed_out")
FINAL = ("complete", "errored", "terminated")
LATE_MS_MAX = 15_000
"""Far above what a busy machine needs; a timer that never fires is later."""


class Round:
    """What the checks look at."""

    def __init__(self, directory: Path, seed: int, report: Report) -> None:
        lines, report.torn = journal.read(directory / "journal")
        self.seed = seed
        self.report = report
        self.witness: Witness = read(lines)
        self.moved = checks_of_moves.tales(lines)
        self.instances: list[dict[str, Any]] = json.loads((directory / "dump.json").read_text())
        self.parents = {i["id"]: i for i in self.instances if i["workflow"] == "parent"}
        self.records: dict[Key, list[dict[str, Any]]] = defaultdict(list)
        for instance in self.instances:
            for record in instance["history"]:
                self.records[instance["id"], _label(record)].append(record)


def check(directory: Path, seed: int, report: Report) -> None:
    """Checks a round whose last life has ended."""
    round = Round(directory, seed, report)
    for rule in (*RULES, *checks_of_moves.RULES):
        rule(round)
    witness = round.witness
    report.steps = sum(
        r["identity"][0] == "do" and r["status"] in OUTCOMES
        for rs in round.records.values()
        for r in rs
    )
    report.interrupted = sum(
        r["status"] == "interrupted" for rs in round.records.values() for r in rs
    )
    report.attempts = sum(len(story.starts) for story in witness.stories.values())
    report.intrusions, report.opened = witness.intrusions, witness.openings_cut
    report.acknowledged = len(witness.created) + sum(
        len(story.passed) for story in witness.stories.values()
    )
    told = [line for lines in round.moved.values() for line in lines]
    report.moves = sum(checks_of_moves.moves(told).values())
    report.undone = sum(line.op == "w" for line in told)
    report.acknowledged += report.moves + sum(
        len(v)
        for group in (witness.sent, witness.decisions, witness.results)
        for v in group.values()
    )


def _label(record: dict[str, Any]) -> str:
    """Returns the label of a record; items of a map without key say theirs in what they return or
    raise."""
    kind, _, name, key, _ = record["identity"]
    if (
        kind == "do"
        and key is None
        and record["output"] is not None
        and "=" in text(record["output"])
    ):
        return text(record["output"]).partition("=")[0]
    return key if kind == "do" and key is not None else name


def nothing_was_wrong(round: Round) -> None:
    for said in round.witness.wrong:
        round.report.problem("lost" if "lost" in said else "error", said)


def every_acknowledged_instance_is_complete_with_its_output(round: Round) -> None:
    for number in set(round.witness.created) | set(round.witness.begun):
        found = round.parents.get(str(number))
        if found is None:
            if number in round.witness.created:
                round.report.problem("lost", f"instance {number} was created and is not there")
            continue
        if found["status"] != "complete":
            round.report.problem(
                "lost", f"instance {number} is {found['status']}: {found['explain']}"
            )
            continue
        wanted = sum(plans.expected_labels(part) for part in plans.plan(round.seed, number))
        if len(found["output"]) != wanted:
            round.report.problem(
                "lost",
                f"instance {number} has {len(found['output'])} values, "
                f"not {wanted}: {found['output']}",
            )
        for label, value in found["output"].items():
            passed = round.witness.stories[str(number), label].passed
            if not passed or passed[-1][1].data != value:
                round.report.problem(
                    "lost",
                    f"output of {number} says {label} was {value!r}; its body had seen {passed}",
                )
        for result in round.witness.results[str(number)]:
            if result != found["output"]:
                round.report.problem(
                    "lost", f"result() of {number} was {result}, now {found['output']}"
                )


def children_are_there_exactly_once(round: Round) -> None:
    """Each child was created once, by the one step that did; the store has no others."""
    wanted: Counter[str] = Counter()
    for number in round.parents:
        for part in plans.walk(plans.plan(round.seed, int(number))):
            wanted["child"] += part.count + 3 if part.kind == "children" else 0
            wanted["listener"] += part.kind == "letters"
            wanted["gathered"] += part.kind == "asyncio"
    there = Counter(i["workflow"] for i in round.instances)
    for workflow in ("child", "listener"):
        if there[workflow] != wanted[workflow]:
            round.report.problem(
                "twice", f"{there[workflow]} instances of {workflow}, not {wanted[workflow]}"
            )
    ids = Counter((i["workflow"], i["id"]) for i in round.instances)
    for which, times in ids.items():
        if times > 1:
            round.report.problem("twice", f"instance {which} is there {times} times")
    for instance in round.instances:
        if instance["workflow"] in checks_of_moves.WORKFLOWS:
            continue
        if instance["status"] not in ("complete", "errored") or (
            instance["workflow"] == "listener" and instance["output"] != "0 1 2"
        ):
            round.report.problem(
                "lost",
                f"{instance['workflow']} {instance['id']}: "
                f"{instance['output']}, {instance['explain']}",
            )


def what_the_body_went_past_never_changes(round: Round) -> None:
    """One value for one operation: in every life, in the attempt that made it, and in the
    history."""
    for key, story in round.witness.stories.items():
        values = {line.data for _, line in story.passed}
        if len(values) > 1:
            round.report.problem("lost", f"{key} answered differently in different lives: {values}")
        for value in values:
            if not story.starts or value.startswith("failed"):
                continue
            recorded = [text(r["output"]) for r in round.records[key] if r["status"] == "done"]
            if recorded != [value]:
                round.report.problem("lost", f"{key} was {value}; recorded is {recorded}")
            if value not in story.returned:
                round.report.problem(
                    "lost", f"{key} was {value}; no attempt returned that, but {story.returned}"
                )


def no_step_runs_again_once_the_body_went_past(round: Round) -> None:
    for key, story in round.witness.stories.items():
        if story.starts and story.passed and story.starts[-1][0] > story.passed[0][0]:
            round.report.problem(
                "twice",
                f"{key} ran again (attempts {story.attempts}) after its value was acknowledged",
            )


def every_operation_is_recorded_once(round: Round) -> None:
    for instance in round.instances:
        who = f"{instance['workflow']}/{instance['id']}"
        outcomes = [r for r in instance["history"] if r["status"] in OUTCOMES]
        for counted in (
            Counter(tuple(r["identity"]) for r in outcomes),
            Counter((r["identity"][0], _label(r)) for r in outcomes if r["identity"][0] == "do"),
            Counter(
                tuple(r["identity"]) for r in instance["history"] if r["status"] == "abandoned"
            ),
            Counter(
                (*r["identity"], r["attempt"])
                for r in instance["history"]
                if r["status"] in ("attempt_failed", "interrupted")
            ),
        ):
            for which, times in counted.items():
                if times > 1:
                    round.report.problem("twice", f"{who} has {times} records of {which}")


def attempt_numbers_only_grow(round: Round) -> None:
    """No number is used twice, but for what an orderly end cut short, and none is skipped that no
    crash can explain (R2, R3)."""
    for key, story in round.witness.stories.items():
        before, number, pid = -1, 0, 0
        for place, line in story.starts:
            attempt = line.data[0]
            if attempt < number or (attempt == number and pid not in round.witness.ended):
                round.report.problem("repeated", f"{key}: attempts {story.attempts}")
                break
            if attempt > number + 1 + round.witness.lives_between(before, place):
                round.report.problem("invented", f"{key}: attempts {story.attempts}")
                break
            before, number, pid = place, attempt, line.pid


def retry_delays_are_kept(round: Round) -> None:
    """After a failure that is recorded, the next attempt does not come before its time (R2)."""
    for key, story in round.witness.stories.items():
        if not story.failures:
            continue
        recorded = {r["attempt"] for r in round.records[key] if r["status"] == "attempt_failed"}
        for (_, one), (_, following) in zip(story.starts, story.starts[1:], strict=False):
            failed = story.failures.get(one.data[0])
            # else an orderly end has cut the first one short
            is_next = following.data[0] > one.data[0]
            if (
                is_next
                and failed is not None
                and one.data[0] in recorded
                and following.at < failed.at + failed.data[1] * 1e6
            ):
                round.report.problem(
                    "early",
                    f"{key}: attempt {following.data[0]} came "
                    f"{following.at - failed.at} µs after a failure",
                )


def sleeps_are_never_early(round: Round) -> None:
    """By the wall clock, from when the body asked for the sleep that the store then had (T1)."""
    for key, story in round.witness.stories.items():
        if not (story.slept_from and story.passed):
            continue
        opened = [
            record["started"] for record in round.records[key] if record["identity"][0] == "sleep"
        ]
        asked = [
            line for line in story.slept_from if opened and line.at <= opened[0]
        ] or story.slept_from[:1]
        due = asked[-1].at + round_us(asked[-1].data)
        woke = story.passed[0][1].at
        if woke < due:
            round.report.problem("early", f"{key} woke {due - woke} µs too early")
        since = max([due, *(at for at in round.witness.opened_at if at < woke)])
        round.report.late_ms = max(round.report.late_ms, (woke - since) // 1000)
    if round.report.late_ms > LATE_MS_MAX:
        round.report.problem("late", f"a sleep ended {round.report.late_ms} ms after it was due")


def events_come_once_and_in_order(round: Round) -> None:
    for number in (id for id, parent in round.parents.items() if parent["status"] == "complete"):
        for part in plans.walk(plans.plan(round.seed, int(number))):
            if not plans.sends(part):
                continue
            story = {
                label: round.witness.stories[number, f"{part.prefix}/{label}"].passed
                for label in ("0", "1", "2", "3", "e", "end")
            }
            seen = [story[label][0][1].data for label in "0123" if story[label]]
            if part.kind == "events" and [*seen, story["end"][0][1].data] != [
                *map(str, range(part.count)),
                "no more",
            ]:
                round.report.problem(
                    "twice",
                    f"events {part.prefix} of {number} came as {seen}, "
                    f"then {story['end'][0][1].data}",
                )
            if part.kind == "crowd" and sorted(seen) != ["0", "1", "2"]:
                round.report.problem("twice", f"events {part.prefix} of {number} came as {seen}")
            if part.kind in ("impatient", "withdrawn") and not story["e"][0][1].data.startswith(
                "0 at"
            ):
                round.report.problem(
                    "twice", f"event {part.prefix} of {number} came as {story['e'][0][1].data}"
                )


def the_first_decision_wins(round: Round) -> None:
    for (number, name), won in round.witness.decisions.items():
        seen = {line.data for _, line in round.witness.stories[number, f"{name}/a"].passed}
        if len(won) > 1 or (won and seen != set(won)):
            round.report.problem(
                "lost", f"approval {name} of {number}: told to have won: {won}; the body saw {seen}"
            )


def saved_values_reach_the_next_attempt(round: Round) -> None:
    for key, story in round.witness.stories.items():
        for place, line in story.starts:
            saved = max((value for at, value in story.saves if at < place), default=0)
            if (line.data[1] or 0) < saved:
                round.report.problem(
                    "lost",
                    f"{key}: {saved} was saved, attempt {line.data[0]} was given {line.data[1]}",
                )


def what_must_not_repeat_runs_once(round: Round) -> None:
    for key, story in round.witness.stories.items():
        if key[1].endswith("/o") and len(story.starts) > 1:
            round.report.problem(
                "twice", f'{key} has on_interrupt="fail" and ran {len(story.starts)} times'
            )


def a_refund_waits_for_its_charge(round: Round) -> None:
    """In the life that refunds, whatever was charged has ended before, and what went through is in
    the history (I8)."""
    for (who, label), story in round.witness.stories.items():
        if not label.endswith("/refund"):
            continue
        charges = [
            key
            for key in round.witness.stories
            if key[0] == who and key[1].startswith(label.removesuffix("refund") + "c")
        ]
        for refunded, line in story.starts:
            for key in charges:
                charge = round.witness.stories[key]
                begun = sum(
                    place < refunded and start.pid == line.pid for place, start in charge.starts
                )
                ended = [
                    end for place, end in charge.ends if place < refunded and end.pid == line.pid
                ]
                if begun > len(ended):
                    round.report.problem("early", f"{label} of {who} ran while {key[1]} did")
                recorded = [
                    text(r["output"])
                    for r in round.records[key]
                    if r["status"] in ("done", "abandoned")
                ]
                for end in ended:
                    if end.op == "D" and end.data not in recorded:
                        round.report.problem(
                            "lost",
                            f"{key} went through as {end.data} and was "
                            f"refunded; recorded is {recorded}",
                        )


def what_was_told_is_never_taken_back(round: Round) -> None:
    """`status()` is one moment, and an instance that has ended stays as it is."""
    for number, told in round.witness.told.items():
        final = [it for it in told if it[0] in FINAL]
        if final and (final != told[told.index(final[0]) :] or any(it != final[0] for it in final)):
            round.report.problem(
                "lost", f"status() of {number} said {told[told.index(final[0]) - 1 :]}"
            )
        parent = round.parents.get(number)
        if final and parent is not None and final[0] != [parent["status"], parent["output"]]:
            round.report.problem(
                "lost",
                f"status() of {number} said {final[0]}; now it is "
                f"{parent['status']}, {parent['output']}",
            )
        for status, output in told:
            if (output is not None) != (status == "complete"):
                round.report.problem("torn", f"status() of {number} said {status} and {output}")


def round_us(seconds: float) -> int:
    """Returns whole microseconds."""
    return round(seconds * 1e6)


RULES = (
    nothing_was_wrong,
    every_acknowledged_instance_is_complete_with_its_output,
    children_are_there_exactly_once,
    what_the_body_went_past_never_changes,
    no_step_runs_again_once_the_body_went_past,
    every_operation_is_recorded_once,
    attempt_numbers_only_grow,
    retry_delays_are_kept,
    sleeps_are_never_early,
    events_come_once_and_in_order,
    the_first_decision_wins,
    saved_values_reach_the_next_attempt,
    what_must_not_repeat_runs_once,
    a_refund_waits_for_its_charge,
    what_was_told_is_never_taken_back,
)
