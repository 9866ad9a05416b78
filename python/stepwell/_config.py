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


_LIMITS_MAX = {
    "concurrency": 1_000_000,
    "queue_entries": 100_000_000,
    "steps": 10_000_000,
    "value_bytes": 64 << 20,
    "instance_bytes": 1 << 50,
    "recoveries": 1_000_000,
}


def checked_limits(limits: Limits | None) -> Limits:
    limits = limits if limits is not None else Limits()
    if not isinstance(limits, Limits):
        raise InvalidConfig(f"limits is {limits!r}; give a stepwell.Limits.")
    for what, most in _LIMITS_MAX.items():
        number(f"Limits.{what}", getattr(limits, what), most)
    if limits.create_rate is not None or limits.create_burst is not None:
        raise InvalidConfig("Limits.create_rate and create_burst are not available in this version; leave them None.")
    return limits


def check_if_exists(value: str) -> None:
    if value not in ("raise", "return", "return_if_same"):
        raise InvalidConfig(f'if_exists is {value!r}; give "raise", "return" or "return_if_same".')
