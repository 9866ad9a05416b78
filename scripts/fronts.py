"""Writes `aio.pyi` and `sync.pyi`: what type checkers see of the fronts, taken from the classes
they are made of; and `_homes.py`: where the public names are, taken from the imports that
`__init__.py` has for type checkers.

`python scripts/fronts.py` writes them, `--check` says whether they are as they would be written.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "python" / "stepwell"
SOURCES = (
    "_engine/engine", "_engine/tenant", "_engine/creating", "_engine/finding", "_engine/many",
    "_engine/instance", "_engine/approvals", "_engine/bulks", "_engine/schedules", "_client/client",
)  # fmt: skip
"""Of what they import from there the stub imports nothing: it describes that, or it
is of no interest."""
CLASSES = (
    "BatchResult", "Approvals", "Bulks", "Instance", "Schedule", "Schedules", "Creates", "Finds",
    "Many", "Tenant", "LocalTenant", "Namespace", "Engine", "ClientTenant", "ClientNamespace",
    "Client",
)  # fmt: skip
FRONTED = (
    "Approvals", "Bulks", "Instance", "Schedule", "Namespace", "Engine", "BatchResult", "Client",
    "ClientNamespace",
)  # fmt: skip
PRIVATE = {
    "P",
    "R",
    "R_co",
    "Schedules",
    "Creates",
    "Finds",
    "Many",
    "Tenant",
    "LocalTenant",
    "ClientTenant",
}
"""Names that a module has for its own annotations."""


class Underscored(ast.NodeTransformer):
    """Gives the names in `PRIVATE` an underscore."""

    def visit_Name(self, node: ast.Name) -> ast.Name:
        """One name."""
        return ast.Name("_" + node.id, node.ctx) if node.id in PRIVATE else node


def imports(tree: ast.Module, public: list[str], depth: int) -> list[str]:
    """Returns the import statements of a module that its public signatures may need, but for what
    comes from `stepwell`.

    Args:
        depth: How many folders deep the module stands.
    """
    found = []
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.level in (0, depth + 1) and node.module:
            names = [it for it in node.names if it.name not in public]
            if names:
                found.append(ast.unparse(ast.ImportFrom(node.module, names, min(node.level, 1))))
        elif isinstance(node, ast.Import):
            found.append(ast.unparse(node))
    return found


def method(node: ast.FunctionDef | ast.AsyncFunctionDef, module: str) -> ast.stmt:
    """Returns one method as its front has it."""
    doc = ast.get_docstring(node, clean=False)
    body: list[ast.stmt] = [ast.Expr(ast.Constant(doc))] if doc else [ast.Expr(ast.Constant(...))]
    decorators = [
        it
        for it in node.decorator_list
        if not (isinstance(it, ast.Name) and it.id == "abstractmethod")
    ]
    args = spelled_out(node.args) if is_overload(node, node.name) else node.args
    if node.name == "__init__" and module == "aio":
        for name, default in zip(args.kwonlyargs, args.kw_defaults, strict=True):
            if name.arg == "default_runtime" and isinstance(default, ast.Constant):
                default.value = "asyncio"
    kind = (
        ast.AsyncFunctionDef
        if isinstance(node, ast.AsyncFunctionDef) and module == "aio"
        else ast.FunctionDef
    )
    return kind(node.name, args, body, decorators, node.returns, type_params=[])


def fields(name: str) -> dict[str, ast.expr]:
    """Returns the fields of one of the typed dictionaries in `_steps.signatures`, with those it
    inherits."""
    tree = ast.parse((PACKAGE / "_steps" / "signatures.py").read_text())
    node = next(it for it in tree.body if isinstance(it, ast.ClassDef) and it.name == name)
    found: dict[str, ast.expr] = {}
    for base in node.bases:
        if ast.unparse(base) != "TypedDict":
            found |= fields(ast.unparse(base))
    return found | {
        ast.unparse(it.target): it.annotation for it in node.body if isinstance(it, ast.AnnAssign)
    }


def spelled_out(args: ast.arguments) -> ast.arguments:
    """Returns parameters with each option of `**options: Unpack[…]` by its name, which editors show
    and stubtest compares."""
    if args.kwarg is None:
        return args
    options = fields(ast.unparse(args.kwarg.annotation).removeprefix("Unpack[").removesuffix("]"))
    more = [ast.arg(name, annotation) for name, annotation in options.items()]
    defaults: list[ast.expr | None] = [*args.kw_defaults, *[ast.Constant(...) for _ in more]]
    return ast.arguments(
        args.posonlyargs,
        args.args,
        args.vararg,
        [*args.kwonlyargs, *more],
        defaults,
        None,
        args.defaults,
    )


def is_overload(node: ast.stmt, name: str) -> bool:
    """Whether this is one of the overloads of a method."""
    named = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name
    return named and any(ast.unparse(it) == "overload" for it in node.decorator_list)


def described(overload: ast.stmt, by: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
    """Gives the last overload of a method the docstring of what implements it."""
    doc = ast.get_docstring(by, clean=False)
    if doc:
        overload.body = [ast.Expr(ast.Constant(doc))]


def manager(module: str, of: str) -> list[ast.stmt]:
    """Returns how an engine or a client is entered and left."""
    a, word = ("a", "async ") if module == "aio" else ("", "")
    text = f"""
{word}def __{a}enter__(self) -> {of}: ...
{word}def __{a}exit__(
    self,
    kind: type[BaseException] | None,
    error: BaseException | None,
    trace: TracebackType | None,
) -> None: ...
"""
    return ast.parse(text).body


def class_of(node: ast.ClassDef, module: str) -> ast.ClassDef:
    """Returns one class with its public members."""
    doc = ast.get_docstring(node, clean=False)
    body: list[ast.stmt] = [ast.Expr(ast.Constant(doc))] if doc else []
    for member in node.body:
        if isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef):
            if not member.name.startswith("_") or (
                member.name == "__init__" and node.name in ("Engine", "Client")
            ):
                if (
                    body
                    and is_overload(body[-1], member.name)
                    and not is_overload(member, member.name)
                ):
                    described(body[-1], member)  # a stub has the overloads only
                else:
                    body.append(method(member, module))
        elif (
            isinstance(member, ast.AnnAssign)
            and isinstance(member.target, ast.Name)
            and not member.target.id.startswith("_")
        ):
            body.append(attribute(node, member.target.id, member.annotation))
    if node.name in ("Engine", "Client"):
        body += manager(module, node.name)
    if node.name == "Instance":
        body.insert(1, ast.parse("@property\ndef id(self) -> str: ...").body[0])
    bases = [it for it in node.bases if not (isinstance(it, ast.Name) and it.id == "ABC")]
    name = "_" + node.name if node.name in PRIVATE else node.name
    return ast.ClassDef(name, bases, [], body or [ast.Expr(ast.Constant(...))], [], type_params=[])


def attribute(of: ast.ClassDef, name: str, type: ast.expr) -> ast.stmt:
    """Returns an attribute as a front has it: it can be read, and of a tuple it is a field."""
    if any(ast.unparse(it) == "NamedTuple" for it in of.bases):
        return ast.AnnAssign(ast.Name(name), type, None, 1)
    (read,) = ast.parse(f"@property\ndef {name}(self) -> {ast.unparse(type)}: ...").body
    return read


def stub(module: str) -> str:
    """Returns the text of a stub, before it is formatted."""
    trees = [ast.parse((PACKAGE / f"{name}.py").read_text()) for name in SOURCES]
    classes = {
        node.name: node for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)
    }
    public = ast.literal_eval(next(
        node.value for node in ast.parse((PACKAGE / "__init__.py").read_text()).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    ))  # fmt: skip
    names = [name for name in public if name != "run"]
    ours = (*FRONTED, "current_step")
    lines = [
        f'"""Written by scripts/fronts.py from the classes for trio: stepwell.{module} as '
        'type checkers see it."""',
        "",
    ]
    lines += sorted({line for tree in trees for line in imports(tree, public, depth=1)})
    signatures = ast.parse((PACKAGE / "_steps" / "signatures.py").read_text())
    lines += imports(signatures, public, depth=1)
    lines += [f"from stepwell import {name} as {name}" for name in names if name not in ours]
    lines += [
        '_P = TypeVar("_P")',
        '_R = TypeVar("_R")',
        '_R_co = TypeVar("_R_co", covariant=True)',
    ]
    lines += [
        ast.unparse(ast.fix_missing_locations(Underscored().visit(class_of(classes[name], module))))
        for name in CLASSES
    ]
    lines += ["def current_step() -> StepContext[Engine]: ...", f"__all__ = {names!r}", ""]
    text = "\n".join(lines)
    if module == "sync":  # what trio enters and iterates over, a blocking program does, too
        for name in ("AbstractAsyncContextManager", "AsyncIterator"):
            text = text.replace(name, name.replace("Async", ""))
        text = text.replace("async with ", "with ").replace("async for ", "for ")
    return text


def homes() -> str:
    """Returns the text of `_homes.py`."""
    public = ast.parse((PACKAGE / "__init__.py").read_text()).body
    typed = next(it for it in public if isinstance(it, ast.If))
    found = {
        alias.name: f".{node.module}"
        for node in typed.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }  # fmt: skip
    return (
        '"""Written by scripts/fronts.py: the module that each public name is loaded from."""\n\n'
        f"HOMES = {found!r}\n"
    )


def written(path: Path) -> str:
    """Returns a file as it is kept: without what it does not need, formatted."""
    text = homes() if path.stem == "_homes" else stub(path.stem)
    for command in (
        ["check", "--fix", "--quiet", "--select", "F401,I", "--exit-zero"],
        ["format", "--quiet"],
    ):
        run = [
            sys.executable,
            "-m",
            "ruff",
            *command,
            "--stdin-filename",
            str(path),
            "-",
        ]
        text = subprocess.run(run, input=text, capture_output=True, text=True, check=True).stdout
    return text


def main() -> int:
    """Writes or checks all three; returns how many differ."""
    wrong = 0
    for name in ("aio.pyi", "sync.pyi", "_homes.py"):
        path = PACKAGE / name
        text = written(path)
        if "--check" not in sys.argv:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            print(f"{path.name} is not what scripts/fronts.py writes; run it")
            wrong += 1
    return wrong


if __name__ == "__main__":
    sys.exit(main())
