"""The tree keeps its rules: who may import whom, no cycles, files of one idea."""

import ast
import importlib.util
import re
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "python" / "stepwell"
CORE = ROOT / "rust" / "core" / "src"
PAGE = (ROOT / "ARCHITECTURE.md").read_text()

_spec = importlib.util.spec_from_file_location("structure", ROOT / "scripts" / "structure.py")
assert _spec is not None
assert _spec.loader is not None
structure = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(structure)


def test_the_floors_hold():
    assert structure.wrong(PACKAGE, PAGE) == []


TURNED_ROUND = [
    (
        "_errors.py",
        "from ._engine.driver import Driver",
        "_errors imports _engine.driver, which stands above it",
    ),
    (
        "_values/names.py",
        "def later():\n    from .._body import runner",
        "_values.names imports _body.runner, which stands above it",
    ),
    (
        "_loops/portal.py",
        "if TYPE_CHECKING:\n    from .._operations.step import Step",
        "_loops.portal imports _operations.step, which stands above it",
    ),
    (
        "_types.py",
        "import stepwell\nfrom stepwell import Engine",
        "_types imports __init__, which stands above it",
    ),
    (
        "_engine/desk.py",
        "from .tenant import Tenant",
        "_engine.creating, _engine.desk, _engine.finding, _engine.instance, _engine.many, ",
    ),
    (
        "_body/life.py",
        "if TYPE_CHECKING:\n    from .delivery import withdraw",
        "a circle of 9 files: _body.branch, _body.causes, _body.containment, _body.delivery, "
        "_body.diagnosis, _body.foreign, _body.life, _body.running, _body.stopping",
    ),
    (
        "_engine/look.py",
        "from . import history",
        "a circle of 2 files: _engine.history, _engine.look",
    ),
    (
        "_types.py",
        'import importlib\nimportlib.import_module("stepwell._body.runner")',
        "_types imports by name, which hides what it needs",
    ),
    ("_new.py", "", "_new is on no floor of ARCHITECTURE.md"),
]


@pytest.mark.parametrize(("file", "line", "told"), TURNED_ROUND, ids=[it[0] for it in TURNED_ROUND])
def test_an_import_that_is_turned_round_is_found(tmp_path, file, line, told):
    package = tmp_path / "stepwell"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    with (package / file).open("a") as source:
        source.write(f"\n{line}\n")
    found = structure.wrong(package, PAGE)
    assert any(told in it for it in found), found


def test_what_is_gone_from_the_tree_is_gone_from_the_page():
    page = PAGE.replace("2. `_types`", "2. `_types` `_gone`")
    assert ("_gone is on a floor of ARCHITECTURE.md, and nowhere else") in structure.wrong(
        PACKAGE, page
    )


def test_the_page_names_every_part_of_the_core():
    paragraph = next(it for it in PAGE.split("\n\n") if it.startswith("Rust, in reading order"))
    named = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`{]+)[^`]*`", paragraph))))
    assert {it.stem for it in CORE.iterdir()} - named == set()


def _taken_from_the_core(path: Path) -> set[str]:
    """What a file uses of the extension, but for types."""
    tree = ast.parse(path.read_text())
    typed = [
        it for it in ast.walk(tree) if isinstance(it, ast.If) and "TYPE_CHECK" in ast.dump(it.test)
    ]
    unseen = {it for block in typed for it in ast.walk(block)}
    taken = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "_core" and node not in unseen:
            taken |= {it.name for it in node.names}
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "_core":
            taken.add(node.attr)
    return taken


def test_the_replay_cursor_knows_neither_trio_nor_the_engine():
    source = (PACKAGE / "_replay.py").read_text()
    assert not re.search(r"^\s*(import|from) trio", source, re.MULTILINE)
    assert structure.imports(PACKAGE)["_replay"] == {"_core", "_kinds"}
    assert all(name.isupper() for name in _taken_from_the_core(PACKAGE / "_replay.py"))


def test_only_the_engine_calls_the_core():
    """Everybody may know what its codes are called."""
    callers = {
        path.relative_to(PACKAGE).parts[0]
        for path in PACKAGE.rglob("*.py")
        if not all(name.isupper() for name in _taken_from_the_core(path))
    }
    assert callers <= {"_engine", "testing"}


def test_the_command_line_uses_the_public_api_only():
    graph = structure.imports(PACKAGE)
    used = {
        it if it.startswith("_engine") else it.split(".")[0]
        for name in graph
        if name.split(".")[0] in ("cli", "_demo")
        for it in graph[name]
    }
    table = {"_engine.operation", "_engine.table"}
    assert used <= {"__init__", "testing", "doctor", "_demo", "cli", "_version", *table}


def test_pyo3_appears_in_one_manifest():
    users = [
        p for p in ROOT.glob("**/Cargo.toml") if "target" not in p.parts and "pyo3" in p.read_text()
    ]
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


@pytest.mark.parametrize(
    "rule", ["ids", "limits", "lifecycle", "ranges", "settings", "attributes", "tally"]
)
def test_nouns_and_rules_of_the_core_know_no_stage(rule):
    files = [CORE / f"{rule}.rs", *(CORE / rule).glob("**/*.rs")]
    text = "".join(f.read_text() for f in files if f.exists())
    assert text, f"{rule} is gone"
    known = {
        s for s in (*STAGES, "store", "engine", "runtime") if re.search(rf"\bcrate::{s}\b", text)
    }
    assert known == set()


def test_sql_lives_in_the_store_only():
    outside = [
        p for p in CORE.rglob("*.rs") if "store" not in p.parts and "rusqlite" in p.read_text()
    ]
    assert outside == []


@pytest.mark.parametrize(
    "path", sorted([*PACKAGE.rglob("*.py"), *(ROOT / "rust").rglob("*.rs")]), ids=lambda p: p.name
)
def test_no_file_is_far_over_600_lines(path):
    """600 is where a file begins to smell; what counts is how many others it must know, so a file
    is not cut for its length alone."""
    assert len(path.read_text().splitlines()) <= 900


SEES_INSIDE = {
    "formats.py": "rules of earlier versions, which nobody can ask for",
    "moments.py": "strikes with Ctrl-C at each line of the engine's own code",
    "programs/conductor.py": "parks at moments that it draws, and sets the order of trio's tasks",
    "programs/seam.py": "counts what goes over the border, and withholds it",
    "test_aio_cancelled.py": "a function on the engine's loop that only the bridge can call",
    "test_arrival_times.py": "a record of an earlier version",
    "test_asyncio_endings.py": "a limit of seconds, made short",
    "test_border.py": "compares the lists of both sides",
    "test_cli_table.py": "the table of operations, and its types",
    "test_client.py": "limits of thousands, made small; an engine of another version",
    "test_codec.py": "values, thousands of times and without an engine",
    "test_codec_doubt.py": "the same",
    "test_codec_types.py": "the same",
    "test_collector.py": "how often Python's collector comes, by a clock of the test's",
    "test_containment.py": "a bug in a task of the engine's own",
    "test_contract.py": "is the other side of the border",
    "test_counted.py": "a limit of thousands, made small",
    "test_demo_steps.py": "steps of the demo, on their own",
    "test_draining.py": "a bug in the engine's own code",
    "test_durations.py": "names and durations, thousands of times and without an engine",
    "test_every_explanation.py": "a small limit; what only bugs and later versions say",
    "test_every_moment.py": "what a strike may leave behind in the portal",
    "test_explain_absent.py": "bodies that begin late, and how many departed are remembered",
    "test_failures.py": "stored failures that are damaged, or of an earlier version",
    "test_followers.py": "a limit of hundreds, made small",
    "test_following.py": "a limit of hundreds, made small",
    "test_fork.py": "what a forked process does to the core",
    "test_freed_at_once.py": "which objects are left",
    "test_fuzz_classes.py": "values, thousands of times and without an engine",
    "test_fuzz_codec.py": "the same",
    "test_instance_limits.py": "a limit of 100,000, made small",
    "test_many_attempts.py": "attempts as they were recorded before any were erased",
    "test_many_callers.py": "when all have called and none is answered",
    "test_missing_class.py": "a stored failure of an earlier version",
    "test_old_stores.py": "which rules a body was told to keep",
    "test_pages.py": "a limit of thousands, made small",
    "test_parking.py": "a limit of thousands, made small",
    "test_model.py": "what servers and clients say, without one",
    "test_payloads.py": "what is swept, and limits made short",
    "test_payloads_bucket.py": "waits of seconds, made short",
    "test_payloads_killed.py": "moments between a put and its record; what is swept",
    "test_portal.py": "the portal by itself",
    "test_raising_classes.py": "a bug where a body ends",
    "test_recovery.py": "the order in which the core starts bodies, which trio does not keep",
    "test_recursion.py": "the stack at each place where trio is called",
    "test_refusals.py": "a refusal that is lost before it is durable",
    "test_resisting.py": "limits of seconds, made short; which end a body was told",
    "test_resisting_steps.py": "limits of seconds, made short",
    "test_sealing.py": "which calls of the core are sealed",
    "test_sensitive.py": "values, hundreds of times and without an engine",
    "test_shutdown.py": "a driver that begins late, a watchdog that cannot",
    "test_socket.py": "what no client of ours would say",
    "test_standing_loops.py": "a limit of seconds, made short",
    "test_starts_in_parts.py": "a limit of dozens, made small",
    "test_streams_clients.py": "a limit of hundreds, made small; waits of seconds, made short",
    "test_table.py": "the table of operations, which nothing public shows",
    "test_threads.py": "outcomes that come between two lines of a thread",
    "test_undo_survives.py": "waits of seconds, made short",
    "test_unreadable.py": "writes damaged values into a store",
    "test_wait_for_lock.py": "looks at a lock on a clock that jumps",
    "test_watchdog.py": "limits of seconds, made short; whose code a frame is",
    "test_wire.py": "what goes over a socket, without one",
}
"""Tests that import private modules, and what they see that cannot be seen from outside."""


def _private(path: Path) -> set[str]:
    """Private modules that a test imports, or patches by name."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{it.name}" for it in node.names]
        elif isinstance(node, ast.Import):
            names = [it.name for it in node.names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("monkeypatch.setattr"):
            names = [it.value for it in node.args if isinstance(it, ast.Constant)]
        found |= {str(it) for it in names if str(it).startswith("stepwell._")}
    return found - {"stepwell.__version__"}


def test_tests_see_from_outside_what_can_be_seen_from_there():
    tests = ROOT / "tests"
    inside = {it.relative_to(tests).as_posix() for it in tests.rglob("*.py") if _private(it)}
    assert inside - set(SEES_INSIDE) == set(), "use the public API, or say why that cannot be"
    assert set(SEES_INSIDE) - inside == set(), "not needed any more"
