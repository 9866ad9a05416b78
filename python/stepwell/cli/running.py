"""`stepwell run`: an engine of the user's, imported and run until a signal comes."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from types import ModuleType
from typing import TYPE_CHECKING, Any

import click

from .exits import DONE, USAGE, Failure

if TYPE_CHECKING:
    from stepwell import Engine


@click.command("run")
@click.argument("engine", metavar="MODULE[:ENGINE]")
def run(engine: str) -> int:
    """Import MODULE, from the current folder too, and run its ENGINE (by default the only one it
    has) until SIGINT or SIGTERM. Then it drains: what runs may end, for as long as the engine's
    `grace`. A second signal stops it at once; nothing is lost."""
    import stepwell

    from .logs import printed
    from .output import say

    with printed(has_time=True):
        stepwell.run(engine_of(engine), _runs)
    say("drained; everything done so far is kept.")
    return DONE


async def _runs(engine: Engine) -> None:
    """Says that the engine has its store, and leaves it to itself."""
    import trio

    from .output import say

    say(f"running {engine!r}; Ctrl-C drains it, and a second one stops it at once")
    await trio.sleep_forever()


def engine_of(text: str) -> Engine:
    """Returns the engine that is meant.

    Raises:
        Failure: There is no such module or attribute, or it fails; it is no engine, or there are
            several.
    """
    module_name, _, attribute = text.partition(":")
    module = _module(module_name, text)
    if not attribute:
        return _only_one(module, module_name)
    found: Any = module
    for name in attribute.split("."):
        if not hasattr(found, name):
            there = ", ".join(_engines(module)) or "none"
            raise Failure(
                USAGE, f"{module_name} has no {attribute!r}; engines that it has: {there}."
            )
        found = getattr(found, name)
    return _checked(found, text)


def _module(name: str, text: str) -> ModuleType:
    if name.endswith(".py") or os.sep in name or not all(map(str.isidentifier, name.split("."))):
        dotted = name.removesuffix(".py").replace(os.sep, ".").strip(".")
        raise Failure(
            USAGE,
            f"{text!r} is no MODULE:ENGINE; name the module as it is imported, such as "
            f"{dotted or 'shop'}:engine.",
        )
    if (here := os.getcwd()) not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}."):
            raise Failure(
                USAGE,
                f"there is no module {error.name!r}, in {here} or elsewhere. Run it where the "
                "module is, or install it.",
            ) from None
        told = f"{name} cannot be imported:\n{_traceback(error)}"
        raise Failure(USAGE, told.rstrip()) from None


def _traceback(error: Exception) -> str:
    """Returns what an import came to, told without those who only imported."""
    told = traceback.TracebackException.from_exception(error)
    of: traceback.TracebackException | None = told
    while of is not None:
        kept = [it for it in of.stack if not _only_imports(it.filename)]
        of.stack = traceback.StackSummary.from_list(kept)
        of = of.__cause__ or of.__context__
    return "".join(told.format())


def _only_imports(file: str) -> bool:
    return file.startswith("<frozen importlib") or file in (__file__, importlib.__file__)


def _engines(module: ModuleType) -> list[str]:
    """Returns the engines of a module, each by the first of its names."""
    import stepwell

    names: dict[int, str] = {}
    for name, it in vars(module).items():
        if isinstance(it, stepwell.Engine):
            names.setdefault(id(it), name)
    return list(names.values())


def _only_one(module: ModuleType, name: str) -> Engine:
    names = _engines(module)
    if len(names) == 1:
        found: Engine = getattr(module, names[0])
        return found
    if not names:
        raise Failure(
            USAGE, f"{name} has no engine: no variable of it is a stepwell.Engine. Make one there."
        )
    told = " or ".join(f"{name}:{it}" for it in names)
    raise Failure(USAGE, f"{name} has {len(names)} engines; say which: {told}.")


def _checked(found: Any, text: str) -> Engine:
    import stepwell

    if isinstance(found, stepwell.Engine):
        return found
    told = f"{text} is {found!r:.120}, and no stepwell.Engine"
    if type(found).__module__ in ("stepwell.aio", "stepwell.sync"):
        told += "; such an engine runs inside its own program"
    elif callable(found):
        told += f"; call it in the module: engine = {getattr(found, '__name__', 'make')}(…)"
    raise Failure(USAGE, f"{told}.")
