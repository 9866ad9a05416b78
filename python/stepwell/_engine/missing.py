"""What instances are blocked for because it is not here, and go on by themselves when it is.

Code of workflows (L12): the core knows what is registered; here it is only told of. Classes of
failures (D9): the core knows nothing of them, so whoever is blocked for one is remembered here,
found again when the engine opens, and let go on when the look-up finds the class. That may be at
any moment, since a module may be loaded late: a few look-ups by name each time there is news.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeAlias

from trio.lowlevel import enable_ki_protection

from .._core import MISSING_CODE
from .._errors import EngineClosed
from .._log import log
from .._types import STATUSES, Status
from .._values.codec import as_plain
from .._values.failures import is_there
from .look import Look

if TYPE_CHECKING:
    from .._body.life import Life
    from .host import Host

MISSING_CLASS = "missing_class"
PAGE = 1_000

Which: TypeAlias = tuple[str, str]
"""Module and qualified name of a class."""
Whose: TypeAlias = tuple[str, str, str]
"""Namespace, workflow and id of an instance."""

_THERE = "the engine: the class it was blocked for is there"


class Missing:
    """What is missing to one engine's instances."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._classes: dict[Which, list[Whose]] = {}

    def warn_of_code(self) -> None:
        """Says once for each workflow and version how many instances wait for its code (L12)."""
        core = self._host.core
        for namespace, name, *_ in core.workflow_statistics():
            for reason, version, count in core.blocked(namespace, name):
                if reason == MISSING_CODE:
                    whose = "" if namespace == "default" else f' in namespace "{namespace}"'
                    log.warning(
                        '%d instance%s of workflow "%s" version "%s"%s wait%s for code that this '
                        "engine does not have (it has: %s). Pass it in Engine(workflows=[…]); they "
                        "go on by themselves.",
                        count, "s" * (count != 1), name, version, whose, "s" * (count == 1),
                        self._host.code.instead_of(name),
                    )  # fmt: skip

    def class_of(self, life: Life, which: Which) -> None:
        """This instance is being blocked for this class."""
        self._classes.setdefault(which, []).append(
            (life.who.namespace, life.who.workflow.name, life.who.id)
        )

    def look(self) -> None:
        """Lets those go on whose class is there now."""
        for which in [it for it in self._classes if is_there(*it)]:
            self._host.nursery.start_soon(self._resume, self._classes.pop(which))

    @enable_ki_protection
    async def find(self) -> None:
        """Finds those that were blocked before this engine opened, or crashed."""
        with suppress(EngineClosed):
            await self._find()

    async def _find(self) -> None:
        core, beyond = self._host.core, None
        if all(reason != MISSING_CLASS for reason, *_ in core.blocked(None, None)):
            return
        blocked = [STATUSES.index(Status.BLOCKED)]
        while True:
            reply = await self._host.ask(
                core.list,
                None,
                None,
                blocked,
                None,
                (MISSING_CLASS, None),
                None,
                None,
                None,
                beyond,
                False,
                PAGE,
            )
            found, _ = reply.data or ((), None)
            rows = [Look._make(row) for row in found]
            for row in rows:
                self._recall(row)
            if len(rows) < PAGE:
                break
            beyond = rows[-1].no
        self.look()

    def _recall(self, row: Look) -> None:
        error = as_plain(row.result)
        fields = error.get("fields", {}) if isinstance(error, dict) else {}
        module, qualname = fields.get("missing", ("", ""))
        self._classes.setdefault((module, qualname), []).append(
            (row.namespace, row.workflow, row.id)
        )

    async def _resume(self, instances: list[Whose]) -> None:
        with suppress(EngineClosed):
            await self._resume_blocked(instances)

    async def _resume_blocked(self, instances: list[Whose]) -> None:
        core = self._host.core
        for namespace, workflow, id in instances:
            reply = await self._host.ask(core.find, namespace, workflow, id, False)
            row: Any = reply.data
            if (
                row is None
                or (look := Look._make(row)).status is not Status.BLOCKED
                or look.reason != MISSING_CLASS
            ):
                continue
            # else an engine that has its code finds it again
            if self._host.code.version(workflow, look.version) is not None:
                log.info("%s/%s goes on: the class it was blocked for is there", workflow, id)
                core.resume(namespace, workflow, id, (None, _THERE), None, ())
