"""A model that says what it is told to, for tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeAlias

from .._errors import InvalidConfig
from ._messages import Message, Reply, ToolCall
from ._tools import Tool

Line: TypeAlias = (
    str | ToolCall | list[ToolCall] | Reply | Exception | Callable[[Sequence[Message]], Reply]
)


class ScriptedModel:
    """A model for tests: its first answer is the first line of its script, and so on, by how many
    answers the conversation has. So a new process, or another attempt, gives the same answer again.

    Args:
        replies: Its script. A text is its last word; a `ToolCall`, or a list of them, calls tools,
            and one without an id is given one; an exception is raised; a function is given the
            conversation and returns a `Reply`.
        seed: Tells ids that are given from those of another script.

    Attributes:
        asked: How often it was asked in this process.

    Raises:
        InvalidConfig: The script is empty, or has something else in it. When it is asked for more
            than there is: `IndexError`.
    """

    def __init__(self, replies: Sequence[Line], *, seed: int = 0) -> None:
        self._replies = list(replies)
        self._seed = seed
        self.asked = 0
        for it in self._replies:
            if not isinstance(it, str | ToolCall | list | Reply | Exception) and not callable(it):
                raise InvalidConfig(f"ScriptedModel cannot say {it!r:.80}.")
        if not self._replies:
            raise InvalidConfig("ScriptedModel has nothing to say: its script is empty.")

    async def __call__(self, messages: Sequence[Message], tools: Sequence[Tool]) -> Reply:
        """Returns its next line."""
        self.asked += 1
        at = sum(it.role == "assistant" for it in messages)
        if at >= len(self._replies):
            raise IndexError(f"the script has {len(self._replies)} lines, and is asked for more")
        line = self._replies[at]
        if isinstance(line, Exception):
            raise line
        if isinstance(line, str):
            return Reply(line)
        if isinstance(line, ToolCall):
            line = [line]
        reply = Reply(calls=line) if isinstance(line, list) else line
        if not isinstance(reply, Reply):
            reply = reply(messages)
        calls = [
            replace(it, id=it.id or f"{self._seed}-{at}-{n}") for n, it in enumerate(reply.calls)
        ]
        return replace(reply, calls=calls)
