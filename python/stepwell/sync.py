"""Stepwell for blocking programs: the same API, without `await`.

    from stepwell import sync, workflow

    with sync.Engine("audit.db", workflows=[audit]) as engine:
        print(engine.call(audit, "src", id="audit-1"))

The engine runs on trio in a thread of its own; any thread may call it. Workflows are async
functions as everywhere, and plain functions are steps too. Everything else is `stepwell`'s own.
"""

from __future__ import annotations

import os
from types import TracebackType
from typing import Any

from ._fronts import ClientFront, EngineFront, Way, fill
from ._loops.portal import from_thread

WAY = Way(__name__, from_thread)


class _EngineBase(EngineFront):
    __slots__ = ()
    _way = WAY

    def __init__(self, store: str | os.PathLike[str] = "stepwell.db", **options: Any) -> None:
        self._make(store, **options)

    def __enter__(self) -> Any:
        self._check_new()
        try:
            self._start()
            from_thread(self._token, self._enter)
            return self  # in here, for Ctrl-C may strike at any line
        except BaseException:
            self._stop()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._check_opened()
            if self._is_parents:
                return
            from_thread(
                self._token, lambda: self._leave(kind, error, trace), hurry=self._inner._hurry
            )
        finally:
            if not self._is_parents:
                self._stop()

    @property
    def _token(self) -> Any:
        return self._gate.token


class _ClientBase(ClientFront):
    __slots__ = ()
    _way = WAY

    def __init__(self, store: str | os.PathLike[str] = "stepwell.db", **options: Any) -> None:
        self._make(store, **options)

    def __enter__(self) -> Any:
        try:
            self._start()
            from_thread(self._token, self._enter)
            return self
        except BaseException:
            self._stop()
            raise

    def __exit__(self, *how: Any) -> None:
        if self._is_parents:
            return
        try:
            from_thread(self._token, lambda: self._leave(*how))
        finally:
            self._stop()

    @property
    def _token(self) -> Any:
        return self._gate.token


__all__ = fill(globals(), WAY, _EngineBase, _ClientBase)  # pyright: ignore[reportUnsupportedDunderAll]
