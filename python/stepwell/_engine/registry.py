"""The code that an engine has: workflows by name and version.

A name alone means the last version in the list. A definition that was made once more, because a
notebook cell was run again or a module reloaded, takes the place of the one before as soon as it is
used; another function under the same name never does. A name that a workflow had before means that
workflow.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from .._errors import InvalidConfig
from .._steps.workflow import Workflow, without_code


class Registry:
    """All workflows of one engine.

    Raises:
        InvalidConfig: Something in the list is no workflow, or one has the name and version of
            another.
    """

    def __init__(self, workflows: Iterable[Any]) -> None:
        if not isinstance(workflows, Iterable):
            raise InvalidConfig(
                f"Engine(workflows=…): {workflows!r:.120} is no list of workflows. "
                "Write workflows=[…]."
            )
        self._by_version: dict[tuple[str, str], Workflow[Any, Any]] = {}
        for workflow in workflows:
            if not isinstance(workflow, Workflow):
                raise InvalidConfig(
                    f"Engine(workflows=…): {workflow!r} is not a workflow. "
                    "Decorate the function with @workflow."
                )
            if (workflow.name, workflow.version) in self._by_version:
                raise InvalidConfig(
                    f'workflow "{workflow.name}" version "{workflow.version}" is given twice. Give '
                    "one another name or version."
                )
            self._by_version[workflow.name, workflow.version] = workflow
        self._latest = {name: workflow for (name, _), workflow in self._by_version.items()}
        self._formerly: dict[str, str] = {}
        for workflow in self:
            for old in workflow.formerly:
                self._claim(old, workflow)

    def _claim(self, old: str, workflow: Workflow[Any, Any]) -> None:
        if old in self._latest:
            raise InvalidConfig(
                f"{workflow.origin}: formerly={old!r} is the name of another workflow of this "
                f"engine, {self._latest[old].origin}. Give that one a name that nothing had, or "
                "take it out of the list."
            )
        owner = self._formerly.setdefault(old, workflow.name)
        if owner != workflow.name:
            raise InvalidConfig(
                f'workflows "{owner}" and "{workflow.name}" both say formerly={old!r}. The '
                "instances of that name can belong to one of them only: take it out of the other."
            )

    def learn(self, formerly: Iterable[tuple[str, str]]) -> None:
        """Names that workflows had before are also those that the store knows of, each with the
        name of today."""
        self._formerly.update(formerly)

    def current(self, name: str) -> str:
        """Returns the name that a workflow has today."""
        return name if name in self._latest else self._formerly.get(name, name)

    def was_renamed(self, name: str) -> bool:
        """Whether it is the name of a workflow that had, or has, another one."""
        return name in self._formerly or name in self._formerly.values()

    def formerly(self) -> list[tuple[str, str]]:
        """Returns names that workflows had before, each with the name of today."""
        return list(self._formerly.items())

    def __iter__(self) -> Iterator[Workflow[Any, Any]]:
        return iter(self._by_version.values())

    def __contains__(self, name: str) -> bool:
        return self.current(name) in self._latest

    def __str__(self) -> str:
        return ", ".join(sorted(self._latest)) or "none"

    def instead_of(self, name: str) -> str:
        """Says what there is of a workflow of which one version is not here: other versions, or
        other workflows."""
        versions = [
            f'version "{version}"'
            for known, version in self._by_version
            if known == self.current(name)
        ]
        return ", ".join(versions) or str(self)

    def version(self, name: str, version: str) -> Workflow[Any, Any] | None:
        """Returns the code for one version of a workflow, if it is here."""
        return self._by_version.get((self.current(name), version))

    def reader(self, name: str, version: str) -> Workflow[Any, Any]:
        """Returns the code that says what the values of instances of this version are; of one
        without code they are plain data."""
        return self.version(name, version) or without_code(self.current(name))

    def reads(self, target: Workflow[Any, Any], version: str) -> Workflow[Any, Any]:
        """Returns the code that says what the values of an instance of this version are, of a
        workflow that somebody asked for."""
        return self.reader(target.name, version)

    def unseen(self, target: Workflow[Any, Any]) -> Workflow[Any, Any] | None:
        """The same of one whose version nobody has looked at; None: it has to be looked at."""
        return None

    def registered(self, workflow: Any) -> Workflow[Any, Any]:
        """Returns a workflow of this engine; a name means its last version.

        Raises:
            InvalidConfig: There is none; or it is another function than the one with this name and
                version.
        """
        if isinstance(workflow, Workflow):
            known = self._by_version.get((workflow.name, workflow.version))
            if known is workflow or (known is not None and self._is_redefined(known, workflow)):
                return self._by_version[workflow.name, workflow.version]
            if known is not None:
                raise InvalidConfig(
                    f'workflow "{workflow.name}" version "{workflow.version}" is {known.origin} '
                    f"here, and {workflow.origin} is another "
                    "function. Give one of them another name or version."
                )
            name: Any = workflow.name
            which = (
                (f'version "{workflow.version}" of workflow {name!r}')
                if name in self._latest
                else f"workflow {name!r}"
            )
        else:
            is_name = isinstance(workflow, str)
            found = self._latest.get(self.current(workflow)) if is_name else None
            if found is not None:
                return found
            name, which = workflow, f"workflow {workflow!r}"
        cure = "Decorate it with @workflow and pass" if callable(name) else "Pass"
        raise InvalidConfig(
            f"{which} is not registered with this engine (registered: {self}). "
            f"{cure} it in Engine(workflows=[…])."
        )

    def known(self, workflow: Any) -> Workflow[Any, Any]:
        """As `registered`; a name without code is no error: instances of it can be looked at, and
        their values are plain data.

        Raises:
            InvalidConfig: A `Workflow` that is not registered.
            InvalidName: The name is malformed.
        """
        if not isinstance(workflow, str) or workflow in self:
            return self.registered(workflow)
        return without_code(self.current(workflow))

    def _is_redefined(self, known: Workflow[Any, Any], given: Workflow[Any, Any]) -> bool:
        """Whether both are one function that was defined twice; the later definition holds from now
        on."""
        if not given.is_redefinition_of(known):
            return False
        if given.made > known.made:
            self._by_version[given.name, given.version] = given
            if self._latest[given.name] is known:
                self._latest[given.name] = given
        return True
