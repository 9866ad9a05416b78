"""Docstrings of the public API name what there is: errors in `Raises:`, and whatever is written as
`stepwell.…`."""

import builtins
import importlib
import inspect
import re
from types import ModuleType

import pytest
import trio

import stepwell
import stepwell.testing


def _public():
    for module in (stepwell, stepwell.testing):
        for name in module.__all__:
            thing = getattr(module, name)
            yield f"{module.__name__}.{name}", thing
            for member, value in vars(thing).items() if inspect.isclass(thing) else ():
                if not member.startswith("_"):
                    yield f"{module.__name__}.{name}.{member}", value


DOCUMENTED = [(name, doc) for name, thing in _public() if (doc := inspect.getdoc(thing))]


def _module(name: str) -> ModuleType | None:
    """Returns a module, one that nobody has imported yet too."""
    return importlib.import_module(name) if importlib.util.find_spec(name) else None


def _exists(name: str) -> bool:
    first, *rest = name.split(".")
    found = getattr(
        stepwell, first, vars(builtins).get(first, {"trio": trio, "stepwell": stepwell}.get(first))
    )
    for part in rest:
        found = getattr(found, part, None) or _module(f"stepwell.{part}")
    return found is not None


@pytest.mark.parametrize(("name", "doc"), DOCUMENTED, ids=[name for name, _ in DOCUMENTED])
def test_what_a_docstring_names_exists(name, doc):
    _, _, raises = doc.partition("Raises:\n")
    wrong = [
        it
        for it in re.findall(r"^ {4}([A-Z][\w.]*|[a-z]+\.[\w.]+):", raises, re.MULTILINE)
        if not _exists(it)
    ]
    wrong += [it for it in re.findall(r"`(stepwell\.[\w.]+)`", doc) if not _exists(it)]
    wrong += [it for it in re.findall(r"`([A-Z][a-z]+(?:[A-Z][a-z]+)+)`", doc) if not _exists(it)]
    assert wrong == [], f"{name} names what does not exist"
