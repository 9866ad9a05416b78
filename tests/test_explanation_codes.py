"""What `explain()` may answer is an enum, with every reason for which anything is blocked."""

import ast
from pathlib import Path

import stepwell
from stepwell import ExplanationCode, Status, workflow
from stepwell.testing import open_test_engine

PACKAGE = Path(stepwell.__file__).parent


def words_of_blocks() -> set[str]:
    """The words with which the package blocks an instance."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("block"):
                found |= {it.value for it in node.args[1:2] if isinstance(it, ast.Constant)}
    return found


def test_each_reason_for_being_blocked_is_a_code():
    words = words_of_blocks()
    assert {"race", "foreign_wait", "changed_argument"} <= words
    assert words <= set(ExplanationCode)


def test_each_state_is_a_code():
    assert set(Status) <= set(ExplanationCode)


async def test_l13_a_code_is_of_the_enum():
    @workflow
    async def waits(step):
        await step.wait_for_event("go")

    async with open_test_engine(workflows=[waits], autojump=False) as engine:
        it = await engine.create(waits)
        await it.wait_for_status("waiting")
        why = await it.explain()
        assert why.code is ExplanationCode.WAITING
        await it.terminate()
        assert (await it.explain()).code is ExplanationCode.TERMINATED
