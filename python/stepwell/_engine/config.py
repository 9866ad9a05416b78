"""What an engine, or a client, is given when it is made, checked before anything is opened; and
from where it is called."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

import trio

from .._body.telemetry import Telemetry
from .._errors import InvalidConfig, InvalidState, MisusedState
from .._types import Limits
from .._values.payloads import Payloads
from .._values.sealing import Codec

_SCHEMES = ("file:", "sqlite:", "sqlite3:", "postgres:", "postgresql:")


def check_thread(method: str, token: trio.lowlevel.TrioToken | None, opened: str) -> None:
    """Raises MisusedState if this is another trio loop than that which opened an engine, or a
    client."""
    try:
        here = trio.lowlevel.current_trio_token()
    except RuntimeError:
        here = None
    if here is not token:
        raise MisusedState(
            f"{method} was called from another thread than the one that opened the {opened}. Use "
            f"trio.from_thread.run({method}, …) there."
        )


def store_path(store: Any) -> str:
    text = _plain(store)
    if text is None:
        raise InvalidConfig(
            f'store={store!r:.120} is no path; give a path, sqlite:///path or ":memory:".'
        )
    if text.startswith("sqlite:///"):
        text, mark, options = text.removeprefix("sqlite:///").partition("?")
        if mark:
            raise InvalidConfig(
                f'store {store!r} has options ("?{options}"), of which there are '
                "none; give the path alone."
            )
    elif "://" in text or text.startswith(_SCHEMES):
        raise InvalidConfig(
            f'store {text!r} is not supported; give a path, sqlite:///path or ":memory:".'
        )
    if not text or "\0" in text:
        raise InvalidConfig(
            f'store {text!r} is no path; give a path, sqlite:///path or ":memory:".'
        )
    return _checked_encoding("store", text)


def copy_path(path: Any) -> str:
    text = _plain(path)
    if not text or "\0" in text or text == ":memory:" or "://" in text or text.startswith(_SCHEMES):
        raise InvalidConfig(f"path={path!r:.120} is no path; give the path of the new file.")
    return _checked_encoding("path", text)


def _plain(path: Any) -> str | None:
    """Returns a path as text; None if it is something else, such as bytes."""
    text = os.fspath(path) if isinstance(path, os.PathLike) else path
    return text if isinstance(text, str) else None


def _checked_encoding(what: str, path: str) -> str:
    """Returns a path that the system can be asked for. One whose bytes are no UTF-8 can be, as
    Python has it (`os.fsdecode`)."""
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        encoding = sys.getfilesystemencoding()
        raise InvalidConfig(
            f"{what}={path!a:.120} cannot be a file's name in this process, whose encoding of "
            f"names is {encoding}. Give another path, or "
            "set LC_ALL=C.UTF-8 or PYTHONUTF8=1."
        ) from None
    return path


def check_unpatched() -> None:
    """Raises InvalidState where another library has replaced what trio's loop and the engine's
    threads stand on."""
    gevent, eventlet = sys.modules.get("gevent.monkey"), sys.modules.get("eventlet.patcher")
    by = ""
    if gevent is not None and any(
        map(gevent.is_module_patched, ("thread", "threading", "select", "socket"))
    ):
        by = "gevent"
    elif eventlet is not None and any(
        map(eventlet.is_monkey_patched, ("thread", "select", "socket"))
    ):
        by = "eventlet"
    if by:
        raise InvalidState(
            f"{by} has patched Python's threads, sockets or select in this process, and the engine "
            f"needs real ones. Open it in a process without {by}'s patches, such as a worker of "
            "another kind, or leave these modules out of them."
        )


def number(what: str, value: Any, most: int) -> int:
    if type(value) is not int or not 1 <= value <= most:
        raise InvalidConfig(f"{what} is {value!r}; give a whole number from 1 to {most:,}.")
    return value


def limit_values(values: Mapping[str, Any], what: str = "") -> list[tuple[str, float | None]]:
    """Returns limits by name as the core takes them, which knows their names and ranges."""
    for name, value in values.items():
        if value is not None and type(value) not in (int, float):
            raise InvalidConfig(f"{what}{name} is {value!r:.120}; give a number.")
    return list(values.items())


def base_limits(limits: Limits | None) -> list[tuple[str, float | None]]:
    """Returns what a namespace is opened with, as the core takes it; nothing: as the store has
    it."""
    if limits is None:
        return []
    if not isinstance(limits, Limits):
        raise InvalidConfig(f"limits is {limits!r:.120}; give a stepwell.Limits.")
    for name, value in limits._asdict().items():
        if value is None and Limits._field_defaults[name] is not None:
            raise InvalidConfig(
                f"Limits.{name} is None, but there is no running without that "
                "limit; give a number, or leave it out."
            )
    return limit_values(limits._asdict(), "Limits.")


def usable_codec(codec: Codec | None) -> Codec | None:
    """Returns what somebody gave as `codec=`."""
    has = (callable(getattr(codec, method, None)) for method in ("encode", "decode"))
    if codec is not None and (isinstance(codec, type) or not all(has)):
        raise InvalidConfig(
            f"codec is {codec!r:.120}, which has no encode and decode; give one such as "
            "stepwell.crypto.Keyring({...}), or leave it out."
        )
    return codec


def usable_telemetry(telemetry: Telemetry | None) -> Telemetry | None:
    """Returns what somebody gave as `telemetry=`."""
    has = (callable(getattr(telemetry, method, None)) for method in ("told_by", "asks"))
    if telemetry is not None and (isinstance(telemetry, type) or not all(has)):
        raise InvalidConfig(
            f"telemetry is {telemetry!r:.120}; give stepwell.otel.Telemetry(), or leave it out."
        )
    return telemetry


def usable_payloads(payloads: Payloads | None) -> Payloads | None:
    """Returns what somebody gave as `payloads=`."""
    if payloads is not None and not isinstance(payloads, Payloads):
        raise InvalidConfig(
            f"payloads is {payloads!r:.120}, which is no stepwell.payloads.Payloads; give one such "
            'as stepwell.payloads.Folder("orders-payloads"), or leave it out.'
        )
    return payloads


def check_on_overload(word: Any) -> None:
    """Checks what is to happen when the limits refuse a creation."""
    if word not in ("raise", "wait"):
        raise InvalidConfig(f'on_overload is {word!r}; give "raise" or "wait".')


def check_if_exists(value: str) -> None:
    if value not in ("raise", "return", "return_if_same"):
        raise InvalidConfig(f'if_exists is {value!r}; give "raise", "return" or "return_if_same".')
