"""`step.log`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from .._log import Log

if TYPE_CHECKING:
    from .life import Life


class BodyLog(Log):
    """A logger that is silent while a body replays what it said before."""

    def __init__(self, life: Life) -> None:
        super().__init__(
            logging.getLogger("stepwell.workflow"),
            {"instance_id": life.who.id, "workflow": life.who.workflow.name},
        )
        self._life = life

    def isEnabledFor(self, level: int) -> bool:
        return not self._life.delivery.replaying and self.logger.isEnabledFor(level)
