"""Runs commands in this process, in a pipe or on a terminal, and holds what they print as JSON
against the types of the API."""

import contextlib
import enum
import fcntl
import io
import os
import pty
import re
import struct
import sys
import termios
import threading
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from datetime import datetime

import stepwell
from stepwell import cli

MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


@dataclass
class Ran:
    """What came of a command."""

    code: int
    out: str
    err: str


def piped(*arguments: str, stdin: str = "") -> Ran:
    """Runs a command whose output goes into a pipe."""
    out, err = io.StringIO(), io.StringIO()
    before = sys.stdin
    sys.stdin = io.TextIOWrapper(io.BytesIO(stdin.encode()))
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = cli.main([str(it) for it in arguments])
    finally:
        sys.stdin = before
    return Ran(code, out.getvalue(), err.getvalue())


def on_terminal(*arguments: str, typed: str = "", columns: int = 80) -> Ran:
    """Runs a command on a terminal of its own; standard output and error are the same there."""
    outer, inner = pty.openpty()
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    read: list[bytes] = []

    def reads() -> None:
        with contextlib.suppress(OSError):  # how Linux says that the other end is closed
            while part := os.read(outer, 65_536):
                read.append(part)

    reader = threading.Thread(target=reads)
    reader.start()
    os.write(outer, typed.encode())
    before, width = (sys.stdin, sys.stdout, sys.stderr), os.environ.get("COLUMNS")
    streams = [os.fdopen(os.dup(inner), mode, encoding="utf-8") for mode in ("r", "w", "w")]
    sys.stdin, sys.stdout, sys.stderr = streams
    os.environ |= {"COLUMNS": str(columns), "TERM": "xterm", "NO_COLOR": "1"}
    try:
        code = cli.main([str(it) for it in arguments])
    finally:
        sys.stdin, sys.stdout, sys.stderr = before
        os.environ.pop("COLUMNS") if width is None else os.environ.update(COLUMNS=width)
        for stream in streams:
            stream.close()
        os.close(inner)
        reader.join()
        os.close(outer)
    text = b"".join(read).decode().replace("\r\n", "\n")
    return Ran(code, re.sub(r"\x1b\[[\d;]*m| +$", "", text, flags=re.MULTILINE), "")


def fits(value: object, hint: object, of: type, where: str) -> None:
    """Asserts that JSON is what a type of the API becomes.

    `of`: the class that the hint is of, whose module knows what it names.
    """
    if isinstance(hint, str):
        hint = eval(hint, vars(sys.modules[of.__module__]))
    if isinstance(hint, typing.ForwardRef):
        return fits(value, hint.__forward_arg__, of, where)
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is typing.Any or isinstance(hint, typing.TypeVar):
        return None
    if origin is typing.Union or isinstance(hint, types.UnionType):
        wrong = []
        for it in args:
            try:
                return fits(value, it, of, where)
            except AssertionError as error:
                wrong.append(str(error))
        raise AssertionError("; or ".join(wrong))
    if origin is typing.Literal:
        assert value in args, f"{where} is {value!r}"
    elif origin is not None and issubclass(origin, Mapping):
        assert isinstance(value, dict), f"{where} is {value!r}"
        for key, it in value.items():
            fits(key, args[0], of, f"{where}.{key}")
            fits(it, args[1], of, f"{where}.{key}")
    elif origin is not None and issubclass(origin, Sequence):
        assert isinstance(value, list), f"{where} is {value!r}"
        for it in value:
            fits(it, args[0], of, f"{where}[]")
    elif hint is None or hint is type(None):
        assert value is None, f"{where} is {value!r}"
    elif hint is datetime:
        assert isinstance(value, str), f"{where} is {value!r}"
        assert MOMENT.fullmatch(value), f"{where} is {value!r}"
    elif isinstance(hint, type) and issubclass(hint, enum.StrEnum):
        assert value in set(hint), f"{where} is {value!r}"
    elif isinstance(hint, type) and issubclass(hint, BaseException):
        assert isinstance(value, dict), f"{where} is {value!r}"
        assert value.keys() == {"type", "message"}, f"{where} is {value!r}"
    elif hasattr(hint, "_fields") or is_dataclass(hint):
        is_row(value, hint, where)
    else:
        kinds = (int, float) if hint is float else (hint,)
        assert isinstance(value, kinds), f"{where} is {value!r}"
        assert hint is bool or not isinstance(value, bool), f"{where} is {value!r}"
    return None


def is_row(value: object, of: str | type, where: str = "", **more: object) -> None:
    """Asserts that JSON is a row of this class, with these fields more."""
    made = getattr(stepwell, of) if isinstance(of, str) else of
    fields = {
        name: it
        for cls in reversed(made.__mro__)
        for name, it in vars(cls).get("__annotations__", {}).items()
    }
    assert isinstance(value, dict), f"{where} is {value!r}"
    assert value.keys() == fields.keys() | more.keys(), where
    for name, hint in {**fields, **more}.items():
        fits(value[name], hint, made, f"{where}.{name}")
