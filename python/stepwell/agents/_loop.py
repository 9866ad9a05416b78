"""The loop of an agent: the model is asked, the tools that it calls are run, until it calls none.

Three branches of the body, which hold to one another by turns: one asks and runs tools, two wait
for what people say to it meanwhile. Whichever comes to an end first ends all.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, TypeVar, overload

from .._errors import (
    ApprovalTimeout,
    Interrupted,
    InvalidConfig,
    InvalidPayload,
    Rejected,
    StepFailed,
)
from .._operations.step import Step
from .._values.durations import to_us
from ._messages import (
    Budget,
    Carry,
    Compact,
    LoopResult,
    Message,
    Model,
    Reply,
    Stopped,
    ToolCall,
)
from ._tools import BadArguments, Tool, answer_text, read_by, reader_of

T = TypeVar("T")
RECORDS = 2_000
"""Steps after which a loop is to go on as new, unless it is told otherwise."""
CUT_SHORT = (
    "This call was cut short: the conversation was cancelled. It may have been done in part."
)


class _Ended(Exception):
    """A branch has come to an end, and with it the loop."""


@overload
async def loop(
    step: Step, model: Model, tools: Sequence[Tool] = (), *,
    messages: str | Sequence[Message] | None = None, budget: Budget | None = None,
    as_type: type[T], compact: Compact | None = None, records: int = RECORDS,
    carry: Carry | None = None,
) -> LoopResult[T]: ...  # fmt: skip
@overload
async def loop(
    step: Step, model: Model, tools: Sequence[Tool] = (), *,
    messages: str | Sequence[Message] | None = None, budget: Budget | None = None,
    as_type: Any = None, compact: Compact | None = None, records: int = RECORDS,
    carry: Carry | None = None,
) -> LoopResult[Any]: ...  # fmt: skip
async def loop(
    step: Step, model: Model, tools: Sequence[Tool] = (), *,
    messages: str | Sequence[Message] | None = None, budget: Budget | None = None,
    as_type: Any = None, compact: Compact | None = None, records: int = RECORDS,
    carry: Carry | None = None,
) -> LoopResult[Any]:  # fmt: skip
    """Asks a model, runs the tools that it calls, tells it what came of them, until it calls none.

    Each call of the model is a step, "model", and each call of a tool is one, with the tool's name,
    in a branch of its own: what is recorded is not asked and not done again. Tools that
    the model calls together run together. What a tool raises for good, a tool that does not exist,
    arguments that do not fit, a refusal: all of it is told to the model, which goes on with that.

    Meanwhile the instance takes two events: "steer", whose payload is a text, is said to the model
    before its next turn, also to one that was about to end; "cancel" ends the loop at once. It
    waits for them under these names, so the body itself should not.

    Args:
        step: The body's own.
        model: Answers the conversation; see `Model`.
        tools: What it may call, made by `@tool`.
        messages: What the conversation begins with; a text is a message of the user. With `carry`
            they come after what there is.
        budget: What the loop may take; None: whatever it takes.
        as_type: What the model's last word is to become, read as JSON by pydantic. One that cannot
            is told to the model as a message of the user, and it is asked again.
        compact: Makes the conversation shorter; see `Compact`.
        records: Steps of this run, 1 or more, after which the loop stops as "grown", for the body
            to `await step.continue_as_new(…)` with `carry` in its params.
        carry: Where the run before it stood.

    Returns:
        What it came to; `stopped` says why it ended.

    Raises:
        StepFailed: The model failed for good.
        InvalidConfig: Two tools have one name, or something else is none of what it should be.
    """
    it = _Loop(step, model, tools, messages, budget or Budget(), as_type, compact, records, carry)
    with suppress(_Ended):
        await step.each(it.branch, ("turns", "steer", "cancel"), name="loop", key=str)
    return it.result()


class _Loop:
    def __init__(
        self, step: Step, model: Model, tools: Sequence[Tool],
        messages: str | Sequence[Message] | None, budget: Budget, as_type: Any,
        compact: Compact | None, records: int, carry: Carry | None,
    ) -> None:  # fmt: skip
        if records < 1:
            raise InvalidConfig(f"records={records!r} is below 1.")
        self._step = step
        self._model = _function("model", model)
        self._compact = None if compact is None else _function("compact", compact)
        self._tools = _by_name(tools)
        self._budget = budget
        self._time = None if budget.time is None else to_us(budget.time, "time")
        self._reader = None if as_type is None else reader_of(as_type)
        self._records = records
        self._carry = carry or Carry()
        self._began = self._carry.began or step.now()
        self._turns, self._usage = self._carry.turns, self._carry.usage
        self._messages = [*self._carry.messages, *_as_messages(messages)]
        self._steered: list[str] = []
        self._made = 0
        self._asked: list[tuple[str, ToolCall]] = []
        self._answers: dict[str, str] = {}
        self._value: Any = None
        self._stopped: Stopped = "done"

    async def branch(self, name: str) -> None:
        """One of the three."""
        match name:
            case "turns":
                await self._take_turns()
            case "steer":
                await self._listen()
            case _:
                await self._wait_for_cancel()
        raise _Ended

    async def _wait_for_cancel(self) -> None:
        await self._step.wait_for_event("cancel")
        self._stopped = "cancelled"

    async def _listen(self) -> None:
        while True:
            try:
                event = await self._step.wait_for_event("steer", as_type=str)
            except InvalidPayload as error:
                self._step.log.warning("an event steer is no text, and is left out: %s", error)
            else:
                self._steered.append(event.payload)

    # Turns.

    async def _take_turns(self) -> None:
        while not self._is_used_up():
            await self._shorten()
            self._say_what_was_steered()
            reply: Reply = await self._step.do(
                self._model, tuple(self._messages), tuple(self._tools.values()), name="model",
                as_type=Reply,
            )  # fmt: skip
            self._made += 1
            self._turns += 1
            self._usage += reply.usage
            self._messages.append(Message("assistant", reply.text, reply.calls))
            if reply.calls:
                await self._call_all(reply.calls)
            elif self._is_last_word(reply.text) and not self._steered:
                return

    def _is_used_up(self) -> bool:
        """Whether the loop ends here, for a reason that is noted."""
        used: dict[Stopped, tuple[float, float | None]] = {
            "turns": (self._turns, self._budget.turns),
            "tokens": (self._usage.input_tokens + self._usage.output_tokens, self._budget.tokens),
            "cost": (self._usage.cost, self._budget.cost),
            "time": ((self._step.now() - self._began).total_seconds() * 1e6, self._time),
            "grown": (self._made, self._records),
        }
        for self._stopped, (it, most) in used.items():
            if most is not None and it >= most:
                return True
        self._stopped = "done"
        return False

    async def _shorten(self) -> None:
        if self._compact is None:
            return
        shorter = await self._step.do(
            self._compact, tuple(self._messages), name="compact", as_type=list[Message] | None
        )
        self._made += 1
        if shorter is not None:
            self._messages = shorter

    def _say_what_was_steered(self) -> None:
        said, self._steered = self._steered, []
        self._messages += [Message("user", it) for it in said]

    def _is_last_word(self, text: str | None) -> bool:
        if self._reader is None:
            return True
        try:
            self._value = read_by(self._reader, text or "")
        except BadArguments as error:
            why = f"Your answer cannot be read as JSON of the type that is wanted: {error}"
            self._messages.append(Message("user", why))
            return False
        return True

    # Tools.

    async def _call_all(self, calls: Sequence[ToolCall]) -> None:
        # by its place: ids come from the model, and are its own for one conversation at most
        named = [(f"{self._turns}.{n}", it) for n, it in enumerate(calls, 1)]
        self._asked = named
        await self._step.each(self._answer, named, name="tools", key=lambda it: it[0])
        self._say_what_was_answered()

    def _say_what_was_answered(self) -> None:
        """Tells the model of each call that it has asked for."""
        asked, self._asked = self._asked, []
        self._messages += [
            Message("tool", self._answers.pop(key, CUT_SHORT), call_id=it.id) for key, it in asked
        ]

    async def _answer(self, named: tuple[str, ToolCall]) -> None:
        key, call = named
        self._answers[key] = await self._called(call)

    async def _called(self, call: ToolCall) -> str:
        """Runs one tool; returns what the model is told of it."""
        tool = self._tools.get(call.name)
        if tool is None:
            return f"There is no tool {call.name}. There are: {', '.join(self._tools) or 'none'}."
        try:
            args = await self._approved(tool, call)
        except BadArguments as error:
            return f"{tool.name} was not called, its arguments do not fit: {error}"
        except Rejected as error:
            why = "" if error.reason is None else f": {error.reason}"
            return f"{tool.name} was not called: {error.by} refused it{why}"
        except ApprovalTimeout:
            return f"{tool.name} was not called: nobody approved it in time."
        self._made += 1
        try:
            value = await self._step.do(
                functools.partial(tool.fn, **args), name=tool.name, retry=tool.retry,
                on_interrupt=tool.on_interrupt,
            )  # fmt: skip
        except Interrupted:
            return f"{tool.name} was cut short, may have been done in part, and is not tried again."
        except StepFailed as error:
            return f"{tool.name} failed: {error.type}: {error.message}"
        return answer_text(value)

    async def _approved(self, tool: Tool, call: ToolCall) -> dict[str, Any]:
        """Returns the arguments of a call, once it may be made: those that whoever approved it has
        given in place of the model's, if any."""
        args = tool.checked(call.args)
        try:
            if not tool.needs_approval(args):
                return args
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
            self._step.log.warning("approval= of %s raised, so it waits: %s", tool.name, said)
        self._made += 1
        decision = await self._step.wait_for_approval(
            tool.name, detail={"tool": tool.name, "args": call.args}
        )
        match decision.metadata:
            case {"arguments": dict(edited)}:
                return tool.checked(edited)
            case {"arguments": _}:
                raise BadArguments("those that whoever approved it has given are no object")
            case _:
                return args

    # The end.

    def result(self) -> LoopResult[Any]:
        """Returns what the loop came to."""
        self._say_what_was_answered()
        self._say_what_was_steered()
        is_done = self._stopped == "done"
        return LoopResult(
            text=next((it.text for it in reversed(self._messages) if it.role == "assistant"), None),
            value=self._value if is_done else None,
            stopped=self._stopped,
            carry=Carry(self._messages, self._began, self._turns, self._usage),
        )


def _function(name: str, given: Any) -> Any:
    """Returns what is called as a step, with the options that it was given."""
    if not callable(given):
        raise InvalidConfig(f"{name}={given!r:.80} cannot be called; see agents.{name.title()}.")
    is_one = inspect.isroutine(given) or isinstance(given, functools.partial)
    return given if is_one else given.__call__


def _by_name(tools: Sequence[Tool]) -> dict[str, Tool]:
    found: dict[str, Tool] = {}
    for it in tools:
        if not isinstance(it, Tool):
            raise InvalidConfig(f"tools: {it!r:.80} is no tool; make it one with @tool.")
        if it.name in found:
            raise InvalidConfig(f"tools: two are called {it.name}; a model knows them by name.")
        found[it.name] = it
    return found


def _as_messages(given: str | Sequence[Message] | None) -> Sequence[Message]:
    if isinstance(given, str):
        return (Message("user", given),)
    return given or ()
