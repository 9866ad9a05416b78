"""The code of an engine in another process: which workflows it has, by name and version. What their
values are is known of those only that a caller has the `Workflow` of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._engine.registry import Registry
from .._steps.workflow import Workflow, without_code
from .._values.codec import as_plain

if TYPE_CHECKING:
    from collections.abc import Iterable


class RemoteCode(Registry):
    """See `Registry`. A name means the engine's last version, whose values are plain data; a
    `Workflow` means its own version, and values are read by its types."""

    def __init__(
        self,
        workflows: Iterable[tuple[str, str, bool, bytes | None]],
        formerly: Iterable[tuple[str, str]] = (),
    ) -> None:
        super().__init__([_stand_in(*it) for it in workflows])
        self.learn(formerly)

    def reader(self, name: str, version: str) -> Workflow[Any, Any]:
        """Plain data: nobody said what else they are."""
        return without_code(name)

    def reads(self, target: Workflow[Any, Any], version: str) -> Workflow[Any, Any]:
        """As the caller's workflow says, whatever its version."""
        return target

    def unseen(self, target: Workflow[Any, Any]) -> Workflow[Any, Any] | None:
        """Nobody has to look: it is the caller's workflow that counts."""
        return target

    def registered(self, workflow: Any) -> Workflow[Any, Any]:
        """As in the engine's process; which function it is only the engine knows."""
        if isinstance(workflow, Workflow) and self.version(workflow.name, workflow.version):
            return workflow
        return super().registered(workflow)

    def known(self, workflow: Any) -> Workflow[Any, Any]:
        """As in the engine's process; a `Workflow` may be of a version that is not there."""
        return workflow if isinstance(workflow, Workflow) else super().known(workflow)


class StoredCode(RemoteCode):
    """The code with which the instances in a store were created, as far as names go. Nobody has it
    here, so values are plain data but for who has a `Workflow`."""

    def __init__(self, versions: Iterable[tuple[str, str]]) -> None:
        super().__init__((*it, True, None) for it in versions)

    def version(self, name: str, version: str) -> Workflow[Any, Any] | None:
        """None: no engine has it."""
        return None

    def registered(self, workflow: Any) -> Workflow[Any, Any]:
        """Any `Workflow` will do."""
        return workflow if isinstance(workflow, Workflow) else super().registered(workflow)


def _stand_in(
    name: str, version: str, takes_params: bool, default: bytes | None
) -> Workflow[Any, Any]:
    made = without_code(name, version, takes_params=takes_params)
    if takes_params:
        made.default = as_plain(default)
    return made
