"""What is said between a loop and its model, and what a loop comes to. All of it can be stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, Literal, Protocol, TypeAlias, TypeVar

from .._errors import InvalidConfig
from .._values.durations import Duration, to_us
from ._tools import Tool

T = TypeVar("T")
Role: TypeAlias = Literal["user", "assistant", "tool"]
Stopped: TypeAlias = Literal["done", "turns", "tokens", "cost", "time", "cancelled", "grown"]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a tool that a model asks for.

    Attributes:
        id: The model's name for this call: the key of its step.
        name: Which tool.
        args: Its arguments by name, plain data.
    """

    id: str
    name: str
    args: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Usage:
    """What a model took.

    Attributes:
        input_tokens: Tokens it was given.
        output_tokens: Tokens it gave.
        cost: In whatever currency you count.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0

    def __add__(self, other: Usage) -> Usage:
        """Returns the sum of both."""
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cost + other.cost,
        )


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model answers: calls of tools, or its last word.

    Attributes:
        text: What it says; None: nothing.
        calls: The tools it wants called, all at once.
        usage: What it took.
    """

    text: str | None = None
    calls: list[ToolCall] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation.

    Attributes:
        role: Whose: "user", "assistant" (the model), or "tool" (what came of a call).
        text: What it says.
        calls: Of the model: the tools it wants called.
        call_id: Of a tool: which call this is the answer to.
    """

    role: Role
    text: str | None = None
    calls: list[ToolCall] = field(default_factory=list)
    call_id: str | None = None


class Model(Protocol):
    """Answers a conversation: `async (messages, tools) -> Reply`, around a client of your own. It
    runs as a step, with the options that `@step_options` gave it."""

    async def __call__(self, messages: Sequence[Message], tools: Sequence[Tool]) -> Reply:
        """Returns what the model answers."""
        ...


class Compact(Protocol):
    """Makes a conversation shorter: `async (messages) -> list[Message] | None`. It runs as a step
    before each turn; None leaves the conversation as it is."""

    async def __call__(self, messages: Sequence[Message]) -> list[Message] | None:
        """Returns what is to stand in place of the conversation."""
        ...


@dataclass(frozen=True, slots=True)
class Budget:
    """What a loop may take. It is looked at before each turn, so that the last one may go over it;
    with 0 of anything no call is made. None: no limit.

    Attributes:
        turns: Calls of the model.
        tokens: Tokens, given and taken together.
        cost: In the currency of `Usage.cost`.
        time: Since the loop began, waits and crashes included: seconds, or a text like "2 hours".

    Raises:
        InvalidConfig: One of them is negative, or no number.
    """

    turns: int | None = None
    tokens: int | None = None
    cost: float | None = None
    time: Duration | None = None

    def __post_init__(self) -> None:
        for name in ("turns", "tokens", "cost"):
            it = getattr(self, name)
            if it is not None and (isinstance(it, bool) or not isinstance(it, int | float)):
                raise InvalidConfig(f"Budget({name}={it!r:.80}) is no number.")
            if it is not None and not it >= 0:
                raise InvalidConfig(f"Budget({name}={it!r}) is below 0.")
        if self.time is not None:
            to_us(self.time, "Budget(time=…)")


@dataclass(frozen=True, slots=True)
class Carry:
    """Where a loop stands, for the next run of an instance that goes on as new.

    Attributes:
        messages: The conversation.
        began: When the loop began; None: not yet.
        turns: Calls of the model.
        usage: What they took.
    """

    messages: list[Message] = field(default_factory=list)
    began: datetime | None = None
    turns: int = 0
    usage: Usage = field(default_factory=Usage)


@dataclass(frozen=True, slots=True)
class LoopResult(Generic[T]):
    """What a loop came to.

    Attributes:
        text: The model's last word; None where it had none.
        value: The same as `as_type`; None without that, and where the loop did not come to it.
        stopped: Why it ended: "done" (the model calls no more tools); "turns", "tokens", "cost" or
            "time" (the budget is used up); "cancelled" (by the event "cancel"); "grown" (more
            records than it was to have: go on as new with `carry`).
        carry: Where it stands, and how it came there.
    """

    text: str | None
    value: T | None
    stopped: Stopped
    carry: Carry

    @property
    def messages(self) -> list[Message]:
        """The whole conversation."""
        return self.carry.messages

    @property
    def turns(self) -> int:
        """How often the model was asked, in all runs."""
        return self.carry.turns

    @property
    def usage(self) -> Usage:
        """What that took."""
        return self.carry.usage
