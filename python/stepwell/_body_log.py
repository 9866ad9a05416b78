"""`step.log`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ._log import Log

if TYPE_CHECKING:
    from ._runner import Runner


class BodyLog(Log):
    """A logger that is silent while a body replays what it said before."""

    def __init__(self, runner: Runner) -> None:
        super().__init__(
            logging.getLogger("stepwell.workflow"),
            {"instance_id": runner.who.id, "workflow": runner.who.workflow.name},
        )
        self._runner = runner

    def isEnabledFor(self, level: int) -> bool:
        return not self._runner.delivery.replaying and self.logger.isEnabledFor(level)
