"""What an engine is given when it is made, checked before anything is opened."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePath
from typing import Any

from ._errors import InvalidConfig
from ._types import Limits
from ._workflow import Workflow


def store_path(store: Any) -> str:
    if not isinstance(store, str | PurePath):
        raise InvalidConfig(f'store={store!r:.120} is no path; give a path, sqlite:///path or ":memory:".')
    text = str(store)
    if text.startswith("sqlite:///"):
        text = text.removeprefix("sqlite:///")
    elif "://" in text:
        raise InvalidConfig(f'store {text!r} is not supported; give a path, sqlite:///path or ":memory:".')
    if not text or "\0" in text:
        raise InvalidConfig(f'store {text!r} is no path; give a path, sqlite:///path or ":memory:".')
    return text


def copy_path(path: Any) -> str:
    text = path if isinstance(path, str) else str(path) if isinstance(path, PurePath) else ""
    if not text or "\0" in text or text == ":memory:" or "://" in text:
        raise InvalidConfig(f"path={path!r:.120} is no path; give the path of the new file.")
    return text


def registry(workflows: Iterable[Any]) -> dict[tuple[str, str], Workflow[Any, Any]]:
    registry: dict[tuple[str, str], Workflow[Any, Any]] = {}
    if not isinstance(workflows, Iterable):
        raise InvalidConfig(f"Engine(workflows=…): {workflows!r:.120} is no list of workflows. Write workflows=[…].")
    for workflow in workflows:
        if not isinstance(workflow, Workflow):
            raise InvalidConfig(f"Engine(workflows=…): {workflow!r} is not a workflow. Decorate the function with @workflow.")
        if (workflow.name, workflow.version) in registry:
            raise InvalidConfig(
                f'workflow "{workflow.name}" version "{workflow.version}" is given twice. Give one another name or version.'
            )
        registry[workflow.name, workflow.version] = workflow
    return registry


def number(what: str, value: Any, most: int) -> int:
    if type(value) is not int or not 1 <= value <= most:
        raise InvalidConfig(f"{what} is {value!r}; give a whole number from 1 to {most:,}.")
    return value


LIMITS: dict[str, tuple[float, float, str]] = {
    "concurrency": (1, 1_000_000, "a whole number from 1 to 1,000,000"),
    "queue_entries": (1, 100_000_000, "a whole number from 1 to 100,000,000"),
    "create_rate": (0.000_01, 1e9, "a number from 0.00001 to 1,000,000,000, or None for no limit"),
    "create_burst": (1, 1_000_000_000, "a whole number from 1 to 1,000,000,000, or None for one second's worth"),
    "steps": (1, 10_000_000, "a whole number from 1 to 10,000,000"),
    "value_bytes": (1, 64 << 20, "a whole number from 1 to 67,108,864"),
    "instance_bytes": (1, 1 << 50, "a whole number from 1 to 2**50"),
    "recoveries": (1, 1_000_000, "a whole number from 1 to 1,000,000"),
}
"""Every limit: its least, its most, and what to give."""
_OPTIONAL = ("create_rate", "create_burst")
WORKFLOW_LIMITS = ("concurrency", "queue_entries", "steps", "value_bytes")
"""Those that a workflow may have for itself."""


def _limit(what: str, name: str, value: Any) -> None:
    least, most, rule = LIMITS[name]
    kinds = (int, float) if name == "create_rate" else (int,)
    if type(value) not in kinds or not least <= value <= most:  # NaN is in no range
        raise InvalidConfig(f"{what} is {value!r}; give {rule}.")


def checked_limits(limits: Limits | None) -> Limits | None:
    if limits is None:
        return None
    if not isinstance(limits, Limits):
        raise InvalidConfig(f"limits is {limits!r}; give a stepwell.Limits.")
    for name, value in limits._asdict().items():
        if value is not None or name not in _OPTIONAL:
            _limit(f"Limits.{name}", name, value)
    return limits


def limit_changes(changes: dict[str, Any], workflow: str | None) -> list[tuple[str, float | None]]:
    if not changes:
        raise InvalidConfig(f"set_limits was given nothing to change; give one of {', '.join(LIMITS)}.")
    for name, value in changes.items():
        if name not in LIMITS:
            raise InvalidConfig(f"there is no limit {name!r}; there are {', '.join(LIMITS)}.")
        if workflow is not None and name not in WORKFLOW_LIMITS:
            raise InvalidConfig(
                f'{name} is a limit of whole namespaces, "{workflow}" cannot have one; workflows have {", ".join(WORKFLOW_LIMITS)}.'
            )
        if value is not None:
            _limit(name, name, value)
    return list(changes.items())


def check_if_exists(value: str) -> None:
    if value not in ("raise", "return", "return_if_same"):
        raise InvalidConfig(f'if_exists is {value!r}; give "raise", "return" or "return_if_same".')
