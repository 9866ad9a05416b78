"""The loop of an agent: what it asks and runs, who may say what to it meanwhile, and that nothing
of it is asked or done twice."""

import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import pytest
import trio
from pydantic import BaseModel, Field

from stepwell import InvalidConfig, Retry, Step, step_options, workflow
from stepwell.agents import (
    Budget,
    Carry,
    Message,
    Reply,
    ScriptedModel,
    ToolCall,
    Usage,
    loop,
    looped,
    tool,
)
from stepwell.testing import open_test_engine

RUNTIMES = pytest.mark.parametrize("runtime", ["trio", "asyncio"])


@tool
async def add(a: int, b: int = 2) -> int:
    """Adds two numbers."""
    return a + b


@tool(approval=True)
def send(to: str) -> str:
    """Sends a mail."""
    return f"sent to {to}"


@dataclass
class Answer:
    total: int
    parts: list[int] = field(default_factory=list)


def call(id: str, name: str, **args) -> ToolCall:
    return ToolCall(id, name, args)


def said(result, role: str) -> list[str | None]:
    return [it.text for it in result.messages if it.role == role]


@RUNTIMES
async def test_tools_run_together_and_the_model_is_told_what_came_of_them(runtime):
    model = ScriptedModel([[call("1", "add", a=1), call("2", "add", a=2, b=5)], "3 and 7"])
    agent = looped(model, [add], name="agent", runtime=runtime)
    async with open_test_engine(workflows=[agent]) as engine:
        instance = await engine.create(agent, "add")
        result = await instance.result()
        history = await instance.history()
    assert (result.text, result.stopped, result.turns) == ("3 and 7", "done", 2)
    assert [it.role for it in result.messages] == ["user", "assistant", "tool", "tool", "assistant"]
    assert [(it.call_id, it.text) for it in result.messages[2:4]] == [("1", "3"), ("2", "7")]
    assert [it.name for it in history if it.kind == "do"] == ["model", "add", "add", "model"]


@RUNTIMES
async def test_a_call_waits_for_whoever_approves_it_who_may_give_other_arguments(runtime):
    model = ScriptedModel([[call(n, "send", to="ann") for n in "123"], "ok"])
    agent = looped(model, [send], name="agent", runtime=runtime)
    async with open_test_engine(workflows=[agent], autojump=False) as engine:
        instance = await engine.create(agent, "mail")
        await instance.wait_for_status("waiting")
        await engine.crash()
        asked = (await engine.approvals.list()).items
        assert [it.detail for it in asked] == [{"tool": "send", "args": {"to": "ann"}}] * 3
        await engine.approvals.approve(asked[0].id, by="bob")
        await engine.approvals.approve(asked[1].id, by="bob", metadata={"arguments": {"to": "eve"}})
        await engine.approvals.reject(asked[2].id, by="bob", reason="not her")
        result = await instance.result()
    refused = "send was not called: bob refused it: not her"
    assert said(result, "tool") == ["sent to ann", "sent to eve", refused]


async def test_nobody_who_approves_in_time_and_edits_that_do_not_fit_are_told_too():
    model = ScriptedModel([[call("1", "send", to="ann"), call("2", "send", to="bob")], "ok"])
    agent = looped(model, [send], name="agent")
    async with open_test_engine(workflows=[agent], autojump=False) as engine:
        instance = await engine.create(agent, "mail")
        await instance.wait_for_status("waiting")
        first, _ = (await engine.approvals.list()).items
        await engine.approvals.approve(first.id, by="bob", metadata={"arguments": {"too": "eve"}})
        await engine.clock.advance("8 days")
        result = await instance.result()
    fits_not, nobody = said(result, "tool")
    assert fits_not.startswith("send was not called, its arguments do not fit: ")
    assert nobody == "send was not called: nobody approved it in time."


async def test_only_calls_that_a_predicate_wants_approved_wait():
    @tool(approval=lambda args: args["cents"] > args["free"])
    def pay(cents: int, free: int = 100) -> str:
        return f"paid {cents}"

    model = ScriptedModel([call("1", "pay", cents=5), call("2", "pay", cents="500"), "ok"])
    agent = looped(model, [pay], name="agent")
    async with open_test_engine(workflows=[agent], autojump=False) as engine:
        instance = await engine.create(agent, "pay")
        await instance.wait_for_status("waiting")
        (asked,) = (await engine.approvals.list()).items
        assert asked.detail["args"] == {"cents": "500"}
        await engine.approvals.approve(asked.id, by="bob")
        assert said(await instance.result(), "tool") == ["paid 5", "paid 500"]


async def test_a_predicate_that_raises_wants_it_approved_and_is_told(caplog):
    @tool(approval=lambda args: args["nothing"])
    def pay(cents: int) -> str:
        return f"paid {cents}"

    agent = looped(ScriptedModel([call("1", "pay", cents=5), "ok"]), [pay], name="agent")
    async with open_test_engine(workflows=[agent], autojump=False) as engine:
        instance = await engine.create(agent, "pay")
        await instance.wait_for_status("waiting")
        (asked,) = (await engine.approvals.list()).items
        await engine.approvals.approve(asked.id, by="bob", metadata={"arguments": "all of it"})
        (told,) = said(await instance.result(), "tool")
    assert told.endswith("those that whoever approved it has given are no object")
    assert caplog.text.count("approval= of pay raised, so it waits: KeyError: 'nothing'") == 1


async def test_loops_of_one_body_and_ids_of_any_kind_do_not_meet():
    @workflow
    async def body(step: Step) -> list[str | None]:
        calls = [call("1", "add", a=1), call("1", "add", a=2), call("", "add", a=3)]
        calls.append(call("x" * 300 + "\n", "add", a=4))

        async def model(messages, tools) -> Reply:
            return Reply("ok") if len(messages) > 1 else Reply(calls=calls)

        first = await loop(step, model, [add], messages="go")
        second = await loop(step, model, [add], messages="go")
        return said(first, "tool") + said(second, "tool")

    async with open_test_engine(workflows=[body]) as engine:
        assert await engine.call(body) == ["3", "4", "5", "6"] * 2


async def test_whatever_is_wrong_with_a_call_is_told_to_the_model():
    @tool(retry=Retry.never)
    def breaks() -> None:
        raise LookupError("nothing there")

    calls = [call("1", "nope"), call("2", "add", a="x"), call("3", "add"), call("4", "breaks")]
    agent = looped(ScriptedModel([calls, "ok"]), [add, breaks], name="agent")
    async with open_test_engine(workflows=[agent]) as engine:
        result = await engine.call(agent, "go")
    unknown, wrong, missing, broken = said(result, "tool")
    assert unknown == "There is no tool nope. There are: add, breaks."
    assert wrong.startswith("add was not called, its arguments do not fit: a: ")
    assert missing == "add was not called, its arguments do not fit: a: Field required"
    assert broken == "breaks failed: LookupError: nothing there"


async def test_a_tool_that_is_not_to_be_tried_again_is_told_to_have_been_cut_short():
    stuck = trio.Event()

    @tool
    @step_options(on_interrupt="fail")
    async def launch() -> None:
        stuck.set()
        await trio.sleep_forever()

    agent = looped(ScriptedModel([call("1", "launch"), "ok"]), [launch], name="agent")
    async with open_test_engine(workflows=[agent]) as engine:
        instance = await engine.create(agent, "go")
        await stuck.wait()
        await engine.crash()
        (told,) = said(await instance.result(), "tool")
    assert told == "launch was cut short, may have been done in part, and is not tried again."


async def test_ids_that_a_model_gives_twice_are_two_steps():
    model = ScriptedModel([call("1", "add", a=1), call("1", "add", a=2), "ok"])
    agent = looped(model, [add], name="agent")
    async with open_test_engine(workflows=[agent]) as engine:
        assert said(await engine.call(agent, "add"), "tool") == ["3", "4"]


ENDLESS = [Reply(calls=[call("", "add", a=n)], usage=Usage(10, 5, 0.5)) for n in range(9)]


@pytest.mark.parametrize(
    ("budget", "turns"),
    [
        (Budget(turns=2), 2),
        (Budget(tokens=31), 3),
        (Budget(cost=1.5), 3),
        (Budget(turns=0), 0),
        (Budget(tokens=0), 0),
        (Budget(cost=0), 0),
        (Budget(time=0), 0),
    ],
)
async def test_a_budget_ends_it_before_the_next_turn(budget, turns):
    model = ScriptedModel(ENDLESS)
    agent = looped(model, [add], name="agent", budget=budget)
    async with open_test_engine(workflows=[agent]) as engine:
        result = await engine.call(agent, "go")
    assert result.stopped == next(it for it in budget.__slots__ if getattr(budget, it) is not None)
    assert (result.turns, model.asked) == (turns, turns)
    assert result.usage == Usage(10 * turns, 5 * turns, 0.5 * turns)


async def test_time_counts_over_waits_and_crashes():
    agent = looped(
        ScriptedModel([call("1", "send", to="ann"), "ok"]), [send], name="agent",
        budget=Budget(time="25 minutes"),
    )  # fmt: skip
    async with open_test_engine(workflows=[agent], autojump=False) as engine:
        instance = await engine.create(agent, "go")
        await instance.wait_for_status("waiting")
        await engine.clock.advance("10 minutes")
        await engine.crash(downtime="20 minutes")
        (asked,) = (await engine.approvals.list()).items
        await engine.approvals.approve(asked.id, by="bob")
        result = await instance.result()
    assert (result.stopped, result.turns) == ("time", 1)
    assert said(result, "tool") == ["sent to ann"]


@RUNTIMES
async def test_whoever_steers_is_heard_before_the_next_turn_and_before_the_end(runtime):
    asked, go_on = trio.Event(), trio.Event()

    @step_options(runtime="trio")
    async def model(messages, tools) -> Reply:
        asked.set()
        await go_on.wait()
        return Reply(f"heard {[it.text for it in messages if it.role == 'user']}")

    agent = looped(model, name="agent", runtime=runtime)
    async with open_test_engine(workflows=[agent], autojump=False) as engine:
        instance = await engine.create(agent, "one")
        await asked.wait()
        await instance.send_event("steer", "two")
        await instance.send_event("steer", {"no": "text"})
        await instance.send_event("steer", "three")
        go_on.set()
        result = await instance.result()
    assert said(result, "assistant") == ["heard ['one']", "heard ['one', 'two', 'three']"]


@RUNTIMES
async def test_cancel_ends_it_at_once_with_what_there_is(runtime):
    begun = trio.Event()

    @tool
    @step_options(runtime="trio")
    async def hangs() -> None:
        begun.set()
        await trio.sleep_forever()

    model = ScriptedModel([[call("1", "add", a=1), call("2", "hangs")]])
    agent = looped(model, [add, hangs], name="agent", runtime=runtime)
    async with open_test_engine(workflows=[agent], autojump=False) as engine:
        instance = await engine.create(agent, "go")
        await begun.wait()
        await instance.wait_for_step("add")
        await instance.send_event("cancel")
        result = await instance.result()
    assert (result.stopped, result.turns) == ("cancelled", 1)
    added, cut_short = said(result, "tool")
    assert added == "3"
    assert "cut short" in cut_short


class Total(BaseModel):
    total: int


@pytest.mark.parametrize("type", [Answer, Total, dict[str, int]])
async def test_the_last_word_becomes_a_type_or_the_model_is_asked_again(type):
    model = ScriptedModel(["three", '{"total": "x"}', '{"total": 3}'])
    agent = looped(model, name="agent", as_type=type)
    async with open_test_engine(workflows=[agent]) as engine:
        result = await engine.call(agent, "add")
    assert result.turns == 3
    assert result.value == ({"total": 3} if type == dict[str, int] else type(total=3))
    _, first, second = said(result, "user")
    assert "cannot be read as JSON" in first
    assert "total" in second


async def test_a_conversation_that_is_made_shorter_goes_on_with_that():
    async def compact(messages) -> list[Message] | None:
        return [Message("user", "in short")] if len(messages) > 3 else None

    seen = []

    async def model(messages, tools) -> Reply:
        seen.append(len(messages))
        if len(seen) < 3:
            return Reply(calls=[call(str(len(seen)), "add", a=1)])
        return Reply("ok")

    agent = looped(model, [add], name="agent", compact=compact)
    async with open_test_engine(workflows=[agent]) as engine:
        result = await engine.call(agent, "go")
    assert seen == [1, 3, 1]
    assert [it.text for it in result.messages] == ["in short", "ok"]


@RUNTIMES
async def test_one_that_has_grown_goes_on_as_new_and_knows_what_was(runtime):
    lines = [Reply(calls=[call("again", "add", a=n)], usage=Usage(1, 1, 1.0)) for n in range(6)]
    agent = looped(ScriptedModel([*lines, "ok"]), [add], name="agent", records=3, runtime=runtime)
    async with open_test_engine(workflows=[agent]) as engine:
        instance = await engine.create(agent, "go")
        result = await instance.result()
        history = await instance.history()
    assert (result.text, result.turns, result.usage) == ("ok", 7, Usage(6, 6, 6.0))
    assert said(result, "tool") == [str(n + 2) for n in range(6)]
    assert len(history) < 5


async def test_in_a_body_of_ones_own_it_is_one_thing_among_others():
    @workflow
    async def body(step: Step, question: str) -> str:
        first = await loop(step, ScriptedModel(["one"]), messages=question)
        second = await loop(step, ScriptedModel(["-", "two"]), carry=first.carry, messages="more")
        return f"{first.text} {second.text} {[it.text for it in second.messages]}"

    async with open_test_engine(workflows=[body]) as engine:
        assert await engine.call(body, "q") == "one two ['q', 'one', 'more', 'two']"


PROGRAM = """
import os, sys, trio
from stepwell import Engine
from stepwell.agents import Reply, ScriptedModel, ToolCall, looped, tool

def note(what):
    with open("noted", "a") as file:
        file.write(what + "\\n")

@tool
async def first() -> str:
    note("first")
    return "1"

@tool
async def dies() -> str:
    note("dies")
    await (await engine.get(agent, "one")).wait_for_step("first")
    if sys.argv[1] == "kill":
        os.kill(os.getpid(), 9)
    return "2"

script = ScriptedModel([[ToolCall("a", "first"), ToolCall("b", "dies")], "both"])

async def model(messages, tools) -> Reply:
    note("model")
    return await script(messages, tools)

agent = looped(model, [first, dies], name="agent")
engine = Engine("agent.db", workflows=[agent])

async def main():
    async with engine:
        result = await engine.call(agent, "go", id="one", if_exists="return")
        print(result.text, [it.text for it in result.messages if it.role == "tool"])

trio.run(main)
"""


def test_after_kill_9_no_call_that_is_recorded_is_made_again(tmp_path):
    def run(how: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", PROGRAM, how]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)

    assert run("kill").returncode == -9
    done = run("go on")
    assert done.stdout == "both ['1', '2']\n", done.stderr
    noted = (tmp_path / "noted").read_text().split()
    assert sorted(noted) == ["dies", "dies", "first", "model", "model"]


def test_the_page_has_a_program_that_runs(tmp_path):
    page = (Path(__file__).parent.parent / "docs" / "agents.md").read_text()
    program, *_ = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    asked, said = ran.stdout.splitlines()
    assert "The build is green." in asked
    assert said == "Ann knows. | done | 3"


# Tools.


def test_a_model_is_told_names_types_defaults_and_descriptions():
    @tool
    def search(
        query: Annotated[str, Field(description="What to look for.")],
        schema: int | None = None,
        copy: list[Answer] = [],  # noqa: B006  # as users write
    ) -> list[str]:
        """Searches."""
        return []

    assert (search.name, search.description) == ("search", "Searches.")
    properties = search.schema["properties"]
    assert list(properties) == ["query", "schema", "copy"]
    assert properties["query"]["description"] == "What to look for."
    assert properties["schema"]["default"] is None
    assert search.schema["required"] == ["query"]
    assert search.schema["additionalProperties"] is False


async def test_arguments_are_what_the_annotations_say():
    got = []

    @tool
    async def takes(answer: Answer, total: Total, schema: int = 1) -> bytes:
        got.append((answer, total, schema))
        return b"\xff"

    calls = [call("1", "takes", answer={"total": 1, "parts": [2]}, total={"total": 3})]
    agent = looped(ScriptedModel([calls, "ok"]), [takes], name="agent")
    async with open_test_engine(workflows=[agent]) as engine:
        result = await engine.call(agent, "go")
    assert got == [(Answer(1, [2]), Total(total=3), 1)]
    assert said(result, "tool") == ['"_w=="']


def no_annotation(a) -> None: ...
def by_position(a: int, /) -> None: ...
def many(*a: int) -> None: ...
def any_options(**a: int) -> None: ...
def no_schema(a: subprocess.Popen[str]) -> None: ...
def unknown(a: "Nowhere") -> None: ...  # noqa: F821


@pytest.mark.parametrize(
    "fn", [no_annotation, by_position, many, any_options, no_schema, unknown, Path, 7]
)
def test_what_cannot_be_told_to_a_model_is_refused_where_it_is_made(fn):
    with pytest.raises(InvalidConfig, match=getattr(fn, "__name__", "7")):
        tool(fn)


def test_what_is_malformed_is_refused():
    with pytest.raises(InvalidConfig, match="put @tool above @step_options"):
        step_options(retry=Retry.never)(add)
    with pytest.raises(InvalidConfig, match='neither "retry" nor "fail"'):
        tool(on_interrupt="never")
    for wrong in ({"turns": -1}, {"tokens": "many"}, {"cost": float("nan")}, {"time": "soon"}):
        with pytest.raises(InvalidConfig, match="Budget"):
            Budget(**wrong)
    with pytest.raises(InvalidConfig, match="empty"):
        ScriptedModel([])
    with pytest.raises(InvalidConfig, match="cannot say 7"):
        ScriptedModel([7])


@pytest.mark.parametrize(
    ("model", "options", "told"),
    [
        (7, {}, "model=7"),
        (ScriptedModel(["ok"]), {"tools": [add, add]}, "two are called add"),
        (ScriptedModel(["ok"]), {"tools": [len]}, "no tool; make it one with @tool"),
        (ScriptedModel(["ok"]), {"records": 0}, "below 1"),
        (ScriptedModel(["ok"]), {"compact": 7}, "compact=7 cannot be called"),
        (ScriptedModel(["ok"]), {"as_type": subprocess.Popen[str]}, "cannot be read from JSON"),
    ],
)
async def test_what_is_no_loop_ends_its_instance_and_says_why(model, options, told):
    agent = looped(model, name="agent", **options)
    async with open_test_engine(workflows=[agent]) as engine:
        instance = await engine.create(agent, Carry())
        await instance.wait_for_status("errored")
        assert told in (await instance.status()).error.message


def test_without_pydantic_the_error_names_the_extra():
    hidden = "import sys; sys.modules['pydantic'] = None; import stepwell.agents"
    done = subprocess.run([sys.executable, "-c", hidden], capture_output=True, text=True)
    assert "pip install stepwell[agents]" in done.stderr
