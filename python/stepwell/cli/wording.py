"""What the API says, in the words of a command line.

Its texts advise whoever writes a program: `if_exists="return"`, `resume()`. Somebody at a shell has
options and commands for the same. What is said about code stays as it is: that is mended in code.
"""

from __future__ import annotations

import re

from .._engine.operation import Parameter
from .options import WORDS

COMMANDS = {
    "pause": "pause",
    "resume": "resume",
    "restart": "restart",
    "terminate": "terminate",
    "delete": "delete",
    "retry_now": "retry",
    "history": "history",
    "result": "result",
    "reasons": "reasons",
    "send_event": "send-event",
    "approvals.approve": "approve",
    "approve": "approve",
    "reject": "reject",
    "set_limits": "limits set",
    "engine.schedules": "schedules",
    "engine.bulk.list": "bulk",
}
"""Methods that texts speak of, and the commands that do the same."""
_PHRASES = tuple(
    (re.compile(pattern), told)
    for pattern, told in (
        (r"Engine\(\S+ workflows=\[…\]\)", "`stepwell run MODULE:ENGINE`"),
        (
            r"(?:Decorate it with @workflow and pass|Pass) it in Engine\(workflows=\[…\]\)",
            "Add it to the workflows of the engine's program",
        ),
        (r"Engine\(slots=…\) gives", "more slots in the engine's program give"),
        (r"Engine\((\w+)=(\w+)\)", r"the engine's \1 (\2)"),
        (
            r'use stepwell\.Client\(".*?"\) here, which asks that one,',
            "use the other commands of stepwell, which ask that one,",
        ),
        (r"then resume\(\) it\b", "then `stepwell resume` it"),
        (r"Create it, or list\(\) what there is", "`stepwell list` tells what there is"),
        (r"audit\(workflow=…, id=…\)", "`stepwell audit WORKFLOW/ID`"),
        (r"reasons\(workflow\)", "`stepwell reasons WORKFLOW`"),
        (r"Take the `ref` of a line of its history\(\)", "`stepwell history` has its steps"),
        (r'Pass (if_exists="return"), or another id\b', r"Give \1, or another --id"),
        (r"\b(?:Pass|Give) another id\b", "Give another --id"),
    )
)
"""What is neither an option nor a command, or not alone."""
_CALL = re.compile(
    rf"`?(?<![\w.])({'|'.join(map(re.escape, sorted(COMMANDS, key=len, reverse=True)))})"
    r"\(([a-z_]+=[^()]*)?\)`?"
)
_GIVEN = re.compile(r"""(?<![\w.(-])([a-z_]+)=("[^"]*"|'[^']*'|[^\s,;"')]+)""")
_BY_PLACE = {"when": "WHEN", "workflow": "WORKFLOW", "start": "START", "end": "END"}


def text_of(error: BaseException) -> str:
    """Returns what an error says; what code of users raised stays as it is."""
    import stepwell

    ended = (stepwell.InstanceErrored, stepwell.InstanceTerminated, stepwell.StepFailed)
    ours = isinstance(error, stepwell.StepwellError) and not isinstance(error, ended)
    return refusal(str(error)) if ours else str(error)


def advice(text: str) -> str:
    """Returns a text about an instance, in which methods are commands."""
    for pattern, told in _PHRASES:
        text = pattern.sub(told, text)
    return _CALL.sub(_command, text)


def refusal(text: str) -> str:
    """Returns why something was refused, in which parameters are options, too."""
    return _GIVEN.sub(_option, advice(text))


def _command(call: re.Match[str]) -> str:
    options = "" if call[2] is None else f" {_GIVEN.sub(_option, call[2])}"
    return f"`stepwell {COMMANDS[call[1]]}{options}`"


def _option(given: re.Match[str]) -> str:
    name, value = given[1], given[2]
    if re.fullmatch(r"([\"'])[\w.-]+\1", value):
        value = value[1:-1]
    if name in _BY_PLACE:
        return f"{_BY_PLACE[name]} {value}"
    if name not in WORDS:
        return given[0]
    return f"{WORDS[name](Parameter(name, '', 'None')).opts[0]} {value}"
