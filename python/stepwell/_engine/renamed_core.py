"""A core that is asked about workflows by whatever names they had, and knows those of today.

It stands only where a workflow had another name, and around what seals payloads, which is bound to
the names of today. What the core tells has these already.
"""

from __future__ import annotations

import functools
import inspect
from typing import Any, cast

from .. import _core
from .._core import Core


def by_names_of_today(core: Core) -> Core:
    """Returns a core that understands names that workflows had before."""
    return cast("Core", RenamedCore(core))


@functools.cache
def place_of_workflow(method: str) -> int | None:
    """Returns which argument of a call, itself not counted, is the name of a workflow."""
    try:
        parameters = list(inspect.signature(getattr(_core.Core, method)).parameters)
    except (TypeError, ValueError, AttributeError):
        return None
    return parameters.index("workflow") - 1 if "workflow" in parameters else None


class RenamedCore:
    """See `Core`; what names no workflow is passed on as it is."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._today = dict(core.formerly())

    def __getattr__(self, name: str) -> Any:
        call, at = getattr(self._core, name), place_of_workflow(name)
        if at is None:
            return call

        def asked(*args: Any) -> Any:
            if len(args) > at and args[at] in self._today:
                args = (*args[:at], self._today[args[at]], *args[at + 1 :])
            return call(*args)

        self.__dict__[name] = asked
        return asked

    def reopen(self) -> Core:
        """See `Core.reopen`."""
        return by_names_of_today(self._core.reopen())

    def list(self, *query: Any) -> int:
        """See `Core.list`: of children, the workflow of their parent has a name as well."""
        namespace, workflow, states, version, reason, parent, *rest = query
        if parent is not None:
            parent = (self._today.get(parent[0], parent[0]), parent[1])
        workflow = self._today.get(workflow, workflow)
        return self._core.list(namespace, workflow, states, version, reason, parent, *rest)

    def do_part(self, number: int, operation: str, namespace: str, items: Any, *more: Any) -> int:
        """See `Core.do_part`."""
        items = [(place, self._today.get(of, of), *rest) for place, of, *rest in items]
        return self._core.do_part(number, operation, namespace, items, *more)
