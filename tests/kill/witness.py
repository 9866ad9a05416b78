"""The journal, put in order: what happened to each step, sleep and instance, in all lives of a
round."""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from .journal import Line

Key = tuple[str, str]
"""(instance id, label)"""


@dataclass
class Story:
    """What the journal says of one operation. Numbers are places in the journal."""

    starts: list[tuple[int, Line]] = field(default_factory=list)
    failures: dict[int, Line] = field(default_factory=dict)
    returned: set[str] = field(default_factory=set)
    ends: list[tuple[int, Line]] = field(default_factory=list)
    """Attempts that went through, and those that failed."""
    saves: list[tuple[int, int]] = field(default_factory=list)
    slept_from: list[Line] = field(default_factory=list)
    passed: list[tuple[int, Line]] = field(default_factory=list)

    @property
    def attempts(self) -> list[int]:
        """Attempt numbers, as the step functions were told."""
        return [line.data[0] for _, line in self.starts]


@dataclass
class Witness:
    """All of the journal."""

    stories: dict[Key, Story] = field(default_factory=lambda: defaultdict(Story))
    created: list[int] = field(default_factory=list)
    begun: list[int] = field(default_factory=list)
    sent: dict[Key, list[int]] = field(default_factory=lambda: defaultdict(list))
    decisions: dict[Key, list[str]] = field(default_factory=lambda: defaultdict(list))
    results: dict[str, list[Any]] = field(default_factory=lambda: defaultdict(list))
    boots: list[int] = field(default_factory=list)
    ended: set[int] = field(default_factory=set)
    """Processes that ended in order, or were about to: what was cut short then is not counted as an
    attempt."""
    told: dict[str, list[Any]] = field(default_factory=lambda: defaultdict(list))
    """What `status()` said, by instance."""
    opened_at: list[int] = field(default_factory=list)
    openings_cut: int = 0
    intrusions: int = 0
    wrong: list[str] = field(default_factory=list)

    def take(self, place: int, line: Line) -> None:
        """Takes the next fact."""
        story = self.stories[line.instance, line.label] if line.op in "SFDVBP" else None
        match line.op:
            case "S":
                story.starts.append((place, line))
            case "F":
                story.failures[line.data[0]] = line
                story.ends.append((place, line))
            case "D":
                story.returned.add(line.data)
                story.ends.append((place, line))
            case "V":
                story.saves.append((place, line.data))
            case "B":
                story.slept_from.append(line)
            case "P":
                story.passed.append((place, line))
            case "c":
                self.begun += line.data
            case "C":
                self.created += line.data
            case "E":
                self.sent[line.instance, line.label].append(line.data)
            case "A":
                won, decision = line.data
                self.decisions[line.instance, line.label] += [decision] if won else []
            case "R":
                self.results[line.instance].append(line.data)
            case "boot":
                self.boots.append(place)
            case "cut":
                self.openings_cut += 1
                self.ended.add(line.pid)
            case "ends":
                self.ended.add(line.data or line.pid)
            case "Q":
                self.told[line.instance].append(line.data)
            case "open":
                self.opened_at.append(line.at)
            case "I":
                self.intrusions += 1
            case "X":
                self.wrong.append(f"{line.instance} {line.data}")

    def lives_between(self, first: int, second: int) -> int:
        """Returns how many lives began between two places."""
        return sum(first < boot < second for boot in self.boots)


def read(lines: list[Line]) -> Witness:
    """Returns what the lines tell."""
    witness = Witness()
    for place, line in enumerate(lines):
        witness.take(place, line)
    return witness
