"""What a round, or many, came to."""

from collections import Counter
from dataclasses import dataclass, field

PRINTED_MAX = 20


@dataclass
class Report:
    """Counts, and what was wrong."""

    seed: int
    kills: int = 0
    ends: int = 0
    """Lives that were told to end, by a signal or by leaving the block, and were not killed before
    they had."""
    opened: int = 0
    """Openings that were cut short."""
    steps: int = 0
    """Outcomes of step functions recorded."""
    attempts: int = 0
    """Attempts the step functions counted themselves."""
    interrupted: int = 0
    acknowledged: int = 0
    """Acknowledgements the journal has: creates, events, decisions, results, operations gone
    past."""
    moves: int = 0
    """Things done to instances from outside and acknowledged."""
    undone: int = 0
    """Undos that ran to their end."""
    late_ms: int = 0
    """Longest time from when a sleep was due, or the engine opened after that, until the body went
    on."""
    torn: int = 0
    intrusions: int = 0
    """How often something else in the process looked at the store."""
    problems: list[tuple[str, str]] = field(default_factory=list)

    def problem(self, kind: str, text: str) -> None:
        """Something does not hold: "lost", "twice", "repeated", or another word."""
        self.problems.append((kind, text))

    def add(self, other: "Report") -> None:
        """Counts another round in."""
        for name in (
            "kills",
            "ends",
            "opened",
            "steps",
            "attempts",
            "interrupted",
            "acknowledged",
            "moves",
            "undone",
            "torn",
            "intrusions",
        ):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.late_ms = max(self.late_ms, other.late_ms)
        self.problems += [(kind, f"[round {other.seed}] {text}") for kind, text in other.problems]

    def __str__(self) -> str:
        kinds = Counter(kind for kind, _ in self.problems)
        other = sum(kinds.values()) - kinds["lost"] - kinds["twice"] - kinds["repeated"]
        head = (
            f"seed {self.seed}: {self.kills:,} kills, {self.ends:,} orderly ends, {self.opened:,} "
            f"openings cut short, {self.steps:,} steps recorded, {self.attempts:,} attempts"
            f" ({self.interrupted:,} cut short), {self.acknowledged:,} acknowledgements, "
            f"{self.moves:,} of verbs, {self.undone:,} undos; "
            f"{kinds['lost']} lost, {kinds['twice']} recorded twice, {kinds['repeated']} attempt "
            f"numbers repeated, {other} other problems; sleeps at most {self.late_ms:,} ms "
            "late" + (f"; {self.intrusions:,} intrusions" if self.intrusions else "")
        )
        return "\n".join(
            [head, *(f"  {kind}: {text}" for kind, text in self.problems[:PRINTED_MAX])]
        )
