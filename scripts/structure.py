"""Draws the floors of the package in words, and fails where they do not hold.

The floors are those that ARCHITECTURE.md lists, from the ground up. A file may import what stands
below it, and what stands on its own floor as long as that makes no circle; imports for types and
inside functions count. What there is of an instance in memory (`Life`) stays small, for every
operation and turn knows it.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
BY_NAME = {"__init__", "_engine.engine", "_fronts", "cli", "cli.running"}
"""Files that import by name what stands above them or beside them: an engine as a step on another
runtime sees it, which few ask for; a command, once it is asked for, and the program of a user."""
LIFE_MAX = 20
"""Members of `Life`: what more is to be known of an instance belongs to one of its parts."""


def floors(page: str) -> list[set[str]]:
    """Returns what stands on each floor, from the ground up."""
    listed = page.split("## The floors of the package")[1].split("\n## ")[0]
    lines = re.findall(r"^\d+\. (.*?)(?=^\d+\. |\Z|\n\n)", listed, re.MULTILINE | re.DOTALL)
    return [
        set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]+)`", it.split(" — ")[0]))))
        for it in lines
    ]


def modules(package: Path) -> dict[str, Path]:
    """Returns every file of a package by its dotted name; a folder's `__init__` has the folder's,
    `_core` is the extension's."""
    found = {"_core": package / "_core.pyi"}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)] = path
    return found


def imports(package: Path) -> dict[str, set[str]]:
    """Returns which files of the package each of its files imports."""
    known = modules(package)
    return {name: set(_imported(name, path, known)) - {name} for name, path in known.items()}


def _imported(name: str, path: Path, known: dict[str, Path]) -> Iterator[str]:
    home = (
        name.split(".")
        if path.name == "__init__.py" and name != "__init__"
        else name.split(".")[:-1]
    )
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = home[: len(home) - node.level + 1] + (node.module or "").split(".") * bool(
                node.module
            )
        elif (
            isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "stepwell"
        ):
            base = (node.module or "").split(".")[1:]
        else:
            continue
        names = [".".join([*base, alias.name]) for alias in node.names]
        yield from (it for it in names if it in known)
        if (whole := ".".join(base) or "__init__") in known and not all(
            it in known for it in names
        ):
            yield whole


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Returns the groups of files that import each other (Tarjan), the largest first."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in sorted(graph[name]):
            if other not in index:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            at = stack.index(name)
            if len(stack) - at > 1:
                found.append(sorted(stack[at:]))
            del stack[at:]

    for name in sorted(graph):
        if name not in index:
            visit(name)
    return sorted(found, key=len, reverse=True)


def wrong(package: Path, page: str) -> list[str]:
    """Returns what does not hold."""
    listed, graph = floors(page), imports(package)
    floor_of = {name: number for number, names in enumerate(listed) for name in names}
    told = [
        f"{name} is on no floor of ARCHITECTURE.md"
        for name in sorted({it.split(".")[0] for it in graph} - set(floor_of))
    ]
    told += [
        f"{name} is on a floor of ARCHITECTURE.md, and nowhere else"
        for name in sorted(set(floor_of) - {it.split(".")[0] for it in graph})
    ]
    if told:
        return told
    height = {name: floor_of[name.split(".")[0]] for name in graph}
    for name, others in sorted(graph.items()):
        told += [
            f"{name} imports {other}, which stands above it"
            for other in sorted(others)
            if height[other] > height[name]
        ]
    told += [
        f"{name} imports by name, which hides what it needs"
        for name in sorted(_by_name(package) - BY_NAME)
    ]
    told += [f"a circle of {len(circle)} files: {', '.join(circle)}" for circle in circles(graph)]
    if len(members := life(package)) > LIFE_MAX:
        told.append(f"Life has {len(members)} members; {LIFE_MAX} is the most")
    return told


def _by_name(package: Path) -> set[str]:
    """Returns the files that import modules whose names are no part of an import statement."""
    return {
        name
        for name, path in modules(package).items()
        if re.search(r"\bimport_module\(|\b__import__\(", path.read_text())
    }


def life(package: Path) -> list[str]:
    """Returns the members of `Life`: an instance in memory, as its operations and turns see it."""
    body = ast.parse((package / "_body" / "life.py").read_text()).body
    whole = next(it for it in body if isinstance(it, ast.ClassDef) and it.name == "Life")
    return [
        ast.unparse(it.target) if isinstance(it, ast.AnnAssign) else it.name
        for it in whole.body
        if isinstance(it, ast.AnnAssign | ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def widest(package: Path) -> tuple[int, str]:
    """Returns how many of its attributes other files use of the most used object, by the name that
    holds it, and that name."""
    used: dict[str, set[str]] = defaultdict(set)
    for path in modules(package).values():
        for whose, what in re.findall(r"(?<=[\w.])?\b_?([a-z]+)\.([a-z]\w*)", path.read_text()):
            if whose in (
                "life",
                "delivery",
                "port",
                "driver",
                "host",
                "desk",
                "operation",
                "engine",
            ):
                used[whose].add(what)
    return max((len(what), whose) for whose, what in used.items())


def longest(package: Path) -> tuple[int, str]:
    """Returns how many lines the longest function has, and which it is."""
    found: dict[int, str] = defaultdict(str)
    for name, path in modules(package).items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = (
                    node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body
                )
                found[(node.end_lineno or 0) - body[0].lineno + 1] = f"{name}.{node.name}"
    return max(found.items())


def main() -> int:
    """Prints the structure; returns how much of it is wrong."""
    package, page = ROOT / "python" / "stepwell", (ROOT / "ARCHITECTURE.md").read_text()
    known = modules(package)
    for number, names in reversed(list(enumerate(floors(page), 1))):
        lines = sum(
            len(path.read_text().splitlines())
            for name, path in known.items()
            if name.split(".")[0] in names
        )
        print(f"floor {number:2}: {lines:6,} lines  {' '.join(sorted(names))}")
    for circle in circles(imports(package)):
        print(f"circle of {len(circle)}: {' '.join(circle)}")
    print("widest object: {} attributes of `{}` are used".format(*widest(package)))
    print(f"Life: {len(life(package))} members")
    print("longest function: {} lines, {}".format(*longest(package)))
    found = wrong(package, page)
    print("\n".join(found) or "the floors hold")
    return len(found)


if __name__ == "__main__":
    sys.exit(min(main(), 1))
