"""The border to the core: its numbers, words and limits are listed by the core, and nowhere else.

What is public has its literals once more, for whoever reads it and for type checkers; those are
compared with the core's here.
"""

import ast
import typing
from pathlib import Path

import pytest

from stepwell import Limits, Status, _core, _formats
from stepwell._codes import TOLD
from stepwell._engine.approvals import Approvals
from stepwell._types import StatusName

PACKAGE = Path(_core.__file__).parent
NAMES = {name: it for name, it in vars(_core).items() if name.isupper()}
WORDS = {it for it in NAMES.values() if isinstance(it, str)}
NUMBERS = {name: it for name, it in NAMES.items() if isinstance(it, int)}
LISTS = [_core.KINDS, _core.VERDICTS, _core.STATES, _core.APPROVALS, _core.FAILURES, _core.LIMITS]
LISTS = [frozenset(it) for it in LISTS] + [WORDS]

PUBLIC = {
    ("_codes.py", "TOLD"): "kinds of CoreError, each with its class",
    ("_types.py", "Status"): "the states that users write",
    ("_types.py", "ExplanationCode"): "what `explain` answers, for whoever matches on it",
    ("_types.py", "StatusName"): "the same for type checkers",
    ("_engine/approvals.py", "Literal"): "the same of approvals",
    ("_steps/past.py", "Dict"): "what is stored of attempts that count no more",
}
"""Where a list may stand, and why."""


def members(node: ast.AST) -> list[ast.expr]:
    """What a list, a dict or a class lists."""
    if isinstance(node, ast.Tuple | ast.List | ast.Set):
        return node.elts
    if isinstance(node, ast.Dict):
        return [key for key in node.keys if key is not None]
    if isinstance(node, ast.ClassDef):
        return [it.value for it in node.body if isinstance(it, ast.Assign)]
    return []


def name_of(node: ast.AST, parents: dict[ast.AST, ast.AST]) -> str:
    """How `PUBLIC` calls a list: by its class, by the variable it is given to, or by its form."""
    if isinstance(node, ast.ClassDef):
        return node.name
    above = parents.get(node)
    if isinstance(above, ast.Subscript):
        node, above = above, parents.get(above)
    if isinstance(above, ast.Assign) and isinstance(above.targets[0], ast.Name):
        return above.targets[0].id
    if isinstance(above, ast.AnnAssign) and isinstance(above.target, ast.Name):
        return above.target.id
    return ast.unparse(node.value) if isinstance(node, ast.Subscript) else type(node).__name__


def second_lists(source: str) -> list[str]:
    """Says what a file has of its own that the core lists."""
    tree = ast.parse(source)
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    found = []
    for node in ast.walk(tree):
        words = {it.value for it in members(node) if isinstance(it, ast.Constant)}
        if any(len(words & known) > 2 for known in LISTS):
            found.append(name_of(node, parents))
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Constant):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [it.id for it in targets if isinstance(it, ast.Name)]
            found += [it for it in names if NUMBERS.get(it, node) == node.value.value]
        if isinstance(node, ast.Compare) and isinstance(node.left, ast.Attribute):
            against = [it.value for it in node.comparators if isinstance(it, ast.Constant)]
            if node.left.attr in ("code", "reason", "type", "verdict") and WORDS & set(against):
                found.append(ast.unparse(node))
    return found


OF_BODIES = [it for it in sorted(PACKAGE.rglob("*.py")) if it.parts[-2] not in ("_demo", "cli")]


@pytest.mark.parametrize("path", OF_BODIES, ids=lambda it: it.relative_to(PACKAGE).as_posix())
def test_what_the_core_lists_is_listed_nowhere_else(path):
    file = path.relative_to(PACKAGE).as_posix()
    found = second_lists(path.read_text())
    assert [it for it in found if (file, it) not in PUBLIC] == []


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("ABANDONED = 7", "ABANDONED"),
        ("DEADLINE: Final = 10", "DEADLINE"),
        ('KINDS = ("do", "sleep", "event")', "KINDS"),
        ('class Word(StrEnum):\n    A = "exists"\n    B = "state"\n    C = "limit"', "Word"),
        ('def f(x):\n    return x in ("failed", "timed_out", "done")', "Tuple"),
        ('if outcome.type == "not_found":\n    pass', "outcome.type == 'not_found'"),
    ],
)
def test_a_second_list_is_found(source, told):
    assert second_lists(source) == [told]


def test_every_list_that_may_stand_is_there():
    found = {(file, it) for file, _ in PUBLIC for it in second_lists((PACKAGE / file).read_text())}
    assert found == set(PUBLIC)


def test_codes_are_plain_ints():
    """As the way of every step compares and hashes them."""
    assert {type(it) for it in NUMBERS.values()} == {int}


def test_every_format_but_the_first_has_a_name():
    named = [it for name, it in vars(_formats).items() if name.isupper()]
    assert named == list(range(1, _core.FORMAT + 1))


def test_states_are_the_cores():
    assert tuple(Status) == _core.STATES
    assert typing.get_args(StatusName) == _core.STATES


def test_states_of_approvals_are_the_cores():
    given = typing.get_type_hints(Approvals.list)["status"]
    (literal, _) = typing.get_args(given)
    assert typing.get_args(literal) == _core.APPROVALS


def test_limits_and_their_defaults_and_ranges_are_the_cores():
    assert Limits._field_defaults == {name: it[3] for name, it in _core.LIMITS.items()}
    text = " ".join((Limits.__doc__ or "").split())
    for name, (least, most, _, _) in _core.LIMITS.items():
        about = text.partition(f"{name}: ")[2].partition(". ")[0]
        told = [f"{most:,}", f"2**{int(most).bit_length() - 1}"]
        assert f"{least:f}".rstrip("0").rstrip(".") in about, name
        assert any(it in text.partition(f"{name}: ")[2].partition("_")[0] for it in told), name


def test_every_failure_of_the_core_has_its_error():
    assert set(_core.FAILURES) <= set(TOLD)


def test_a_code_is_the_place_of_its_word():
    assert _core.KINDS[_core.STREAM] == _core.KINDS[-1] == "stream"
    assert _core.VERDICTS[_core.RESTARTED] == _core.VERDICTS[-1] == "restarted"
