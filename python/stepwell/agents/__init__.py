"""Loops of agents that survive crashes: `loop` asks a model, runs the tools that it calls, and
stops for people, in the body of a workflow; `looped` makes a workflow of that.

Needs the package `pydantic` (`pip install stepwell[agents]`), for what tools and models are told.

    @tool(approval=True)
    async def send(to: str, text: str) -> str:
        \"\"\"Sends a mail.\"\"\"

    assistant = looped(model, [send], name="assistant")

    async with Engine("app.db", workflows=[assistant]) as engine:
        result = await engine.call(assistant, "Tell ann that the build is green.")

docs/agents.md has all of it.
"""

from ._loop import loop
from ._looped import looped
from ._messages import Budget, Carry, LoopResult, Message, Reply, ToolCall, Usage
from ._scripted import ScriptedModel
from ._sse import sse
from ._tools import Tool, tool

__all__ = [
    "Budget",
    "Carry",
    "LoopResult",
    "Message",
    "Reply",
    "ScriptedModel",
    "Tool",
    "ToolCall",
    "Usage",
    "loop",
    "looped",
    "sse",
    "tool",
]
