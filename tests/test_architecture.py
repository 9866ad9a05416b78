"""The tree keeps its rules: who may import whom, no cycles, files of one idea."""

import ast
import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "python" / "stepwell"
CORE = ROOT / "rust" / "core" / "src"

# Every module may import those of the groups above its own, and its own group.
LAYERS = [
    {"_errors", "_core", "_log", "_room", "_strangers"},
    {"_values", "_loops", "_retry"},
    {"_types", "_replay", "_signatures"},
    {"_past"},
    {"_branch", "_workflow", "_attempt", "_operation", "_map", "_turns", "_nursery", "_deadline", "_patches", "_foreign", "_rest"}
    | {"_diagnosis", "_standing", "_port", "_runner", "_step", "_child", "_waits"}
    | {"_borrowed", "_containment", "_ending", "_pending", "_remote", "_resisting", "_body_log", "_asyncio_turns", "_gather"}
    | {"_arguments", "_generators", "_step_operation", "_do", "_calls", "_each"},
    {"_collector", "_registry", "_callers", "_driver", "_config", "_look", "_answers", "_approvals", "_instance", "_tenant", "_engine"}
    | {
        "_departed",
        "_draining",
        "_host",
        "_desk",
        "_history",
        "_own_desk",
        "_explanation",
        "_fronts",
        "_life",
        "_missing",
        "_run",
        "_suspects",
        "_unwinding",
        "_watchdog",
    },
    {"__init__"},
    {"testing", "cli", "_demo", "__main__", "aio", "sync"},
]


def _imports(path: Path) -> set[str]:
    """First part of every module of the package that a file imports, TYPE_CHECKING imports too."""
    depth = len(path.relative_to(PACKAGE).parts)
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == depth:
            if node.module:
                found.add(node.module.split(".")[0])
            else:
                found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").split(".")[0] == "stepwell":
            rest = (node.module or "").split(".")[1:]
            found |= {rest[0]} if rest else {"__init__"}
        elif isinstance(node, ast.Import):
            found |= {"__init__" for alias in node.names if alias.name.split(".")[0] == "stepwell"}
    return found


@functools.cache
def _modules() -> dict[str, set[str]]:
    modules: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        name = path.relative_to(PACKAGE).with_suffix("").parts[0]
        modules.setdefault(name, set()).update(_imports(path) - {name})
    return modules


def _layer(name: str) -> int:
    return next(i for i, layer in enumerate(LAYERS) if name in layer)


def test_every_module_has_a_place():
    assert {m for m in _modules() if not any(m in layer for layer in LAYERS)} == set()


def _on_the_page(language: str) -> set[str]:
    """Names in the paragraph that lists the files of one language in reading order."""
    paragraph = next(it for it in (ROOT / "ARCHITECTURE.md").read_text().split("\n\n") if it.startswith(f"{language}, in reading order"))
    return set(re.findall(r"\w+", " ".join(re.findall(r"`([^`{]+)[^`]*`", paragraph))))


def test_the_architecture_page_names_every_module_and_nothing_else():
    assert _on_the_page("Python") == set(_modules()) - {"__init__", "__main__", "_core"}
    parts = {it.stem for it in CORE.iterdir()}
    assert parts - _on_the_page("Rust") == set()


@pytest.mark.parametrize("name", sorted(_modules()))
def test_imports_point_up(name):
    wrong = {m for m in _modules()[name] if m != "__init__" and _layer(m) > _layer(name)}
    assert wrong == set(), f"{name} imports from a layer below it"


def test_the_replay_cursor_knows_neither_trio_nor_the_core():
    source = (PACKAGE / "_replay.py").read_text()
    assert not re.search(r"^\s*(import|from) (trio|\._core)", source, re.MULTILINE)
    assert "_core" not in _imports(PACKAGE / "_replay.py")


def test_only_the_driver_and_the_engine_call_the_core():
    users = {name for name, imports in _modules().items() if "_core" in imports}
    assert users <= {"_driver", "_engine", "_host", "testing"}


def test_the_command_line_uses_the_public_api_only():
    assert _modules()["cli"] | _modules()["_demo"] <= {"__init__", "testing", "_demo"}


def test_pyo3_appears_in_one_manifest():
    users = [p for p in ROOT.glob("**/Cargo.toml") if "target" not in p.parts and "pyo3" in p.read_text()]
    assert [p.relative_to(ROOT).as_posix() for p in users] == ["rust/python/Cargo.toml"]


STAGES = ("admission", "registry", "queue", "gatekeeper", "timer", "waits")


@pytest.mark.parametrize("stage", STAGES)
def test_stages_of_the_core_never_import_each_other(stage):
    files = [CORE / f"{stage}.rs", *(CORE / stage).glob("**/*.rs")]
    text = "".join(f.read_text() for f in files if f.exists())
    assert text, f"stage {stage} is gone"
    others = {s for s in STAGES if s != stage and re.search(rf"\bcrate::{s}\b", text)}
    assert others == set()
    assert not re.search(r"\bcrate::(engine|writer|recovery)\b", text)


@pytest.mark.parametrize("rule", ["ids", "limits", "lifecycle", "ranges", "settings", "attributes", "tally"])
def test_nouns_and_rules_of_the_core_know_no_stage(rule):
    files = [CORE / f"{rule}.rs", *(CORE / rule).glob("**/*.rs")]
    text = "".join(f.read_text() for f in files if f.exists())
    assert text, f"{rule} is gone"
    known = {s for s in (*STAGES, "store", "engine", "runtime") if re.search(rf"\bcrate::{s}\b", text)}
    assert known == set()


def test_sql_lives_in_the_store_only():
    outside = [p for p in CORE.rglob("*.rs") if "store" not in p.parts and "rusqlite" in p.read_text()]
    assert outside == []


@pytest.mark.parametrize("path", sorted([*PACKAGE.rglob("*.py"), *(ROOT / "rust").rglob("*.rs")]), ids=lambda p: p.name)
def test_no_file_is_far_over_600_lines(path):
    """600 is where a file begins to smell; what counts is how many others it must know, so a file is not cut for its length alone."""
    assert len(path.read_text().splitlines()) <= 750
