"""Instances as if made under the rules of an earlier version, whose stores are not at hand.

An instance keeps for life the rules of its day (see `_formats`); nobody can ask for old
ones. Real stores of old are in `old_stores`.
"""

import pytest

from stepwell._body.runner import Runner


def of_format(format: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bodies that begin from now on keep these rules."""
    made = Runner.__init__

    def init(self, *args) -> None:
        made(self, *args)
        self.who.format = format

    monkeypatch.setattr(Runner, "__init__", init)
