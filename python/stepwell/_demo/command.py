"""The command: checks what was given, runs the job, and says in a few lines what came of it.

Exit codes: 0 all is backed up; 1 done, but some files could not be backed up; 2 it could not start;
3 it stopped before the end (a step gave up, nobody was there to approve, or standard output cannot
be written); 4 `--chaos` found a difference; 130 stopped by Ctrl-C; 137 killed by `--crash-after`.
After 3, 130 and 137 the same command goes on.
"""

from __future__ import annotations

import os
import secrets
import shlex
import sys
import sysconfig
import tempfile
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import trio

from .audit import differences
from .files import find_files
from .page import files_text, size_text
from .screen import Sturdy, open_screen
from .state import State, times
from .supervisor import Ending, Supervisor
from .worker import Order

OK, MISSED, CANNOT_START, STOPPED, DIFFERENT, INTERRUPTED, KILLED = 0, 1, 2, 3, 4, 130, 137
SHOWN_MAX = 20
CHAOS_SECONDS, CHAOS_SLOTS, CHAOS_PAUSE_MAX = 6.0, 16, 0.25
STEPS_PER_FILE, STEPS_PER_SECOND = 3, 1_500  # the latter is a guess, on the fast side


class CannotStart(Exception):
    """What was given cannot be used; the text is one line."""


@dataclass(frozen=True, slots=True)
class Options:
    """What is to be done, and where."""

    path: str | None
    store: str
    out: str
    yes: bool
    chaos: bool
    crash_after: float | None
    seed: int | None


def main(options: Options) -> int:
    """Runs the command and returns its exit code."""
    screen = open_screen()
    try:
        order = _order(options)
        code = trio.run(_run, options, order, screen)
    except CannotStart as error:
        screen.line(f"stepwell demo: {error}", "red")
        code = CANNOT_START
    finally:
        screen.stop()
    if screen.failure is not None:
        return _say_unseen(screen.failure)
    return code


def _say_unseen(error: OSError) -> int:
    with suppress(OSError):
        print(
            f"stepwell demo: standard output cannot be written: {error.strerror}. Run the same "
            "command again with another one: it goes on, or says what came of it.",
            file=sys.stderr, flush=True,
        )  # fmt: skip
    return STOPPED


def _order(options: Options) -> Order:
    """Returns what the worker is to do.

    Raises:
        CannotStart: A path cannot be used.
    """
    source = os.path.abspath(options.path or sysconfig.get_path("stdlib"))
    out, store = os.path.abspath(options.out), os.path.abspath(options.store)
    given = options.path or source
    try:
        "\0".join((source, out, store)).encode()
        os.scandir(source).close()
    except FileNotFoundError:
        raise CannotStart(f"PATH {given} does not exist. Give a folder.") from None
    except NotADirectoryError:
        raise CannotStart(f"PATH {given} is not a folder. Give the folder it is in.") from None
    except UnicodeEncodeError:
        raise CannotStart("PATH, --out and --store must be valid UTF-8.") from None
    except OSError as error:
        raise CannotStart(f"PATH {given} cannot be read: {error.strerror}.") from None
    if os.path.commonpath([source, out]) == out:
        raise CannotStart(f"PATH {given} lies in --out {options.out}. Give another --out.")
    try:
        os.makedirs(os.path.join(out, "jobs"), exist_ok=True)
        with tempfile.TemporaryFile(dir=out) as file:
            file.write(b"1")
            file.flush()
    except OSError as error:
        raise CannotStart(
            f"--out {options.out} cannot be written: {error.strerror}. Give another folder."
        ) from None
    skip = [] if options.path else ["site-packages", "dist-packages", "__pycache__"]
    _claim(out, source, options.out)
    leave_out = [out, store, *(store + ending for ending in ("-wal", "-shm", "-journal", ".lock"))]
    return Order("backup", store, source, out, leave_out, skip, approve=options.yes)


def _claim(out: str, source: str, shown: str) -> None:
    """Makes the folder belong to one source: pruning would take the blobs of another for
    leftovers."""
    note = os.path.join(out, "jobs", "source")
    try:
        with open(note, encoding="utf-8") as file:
            owner = file.read()
    except FileNotFoundError:
        with open(note, "w", encoding="utf-8") as file:
            file.write(source)
        return
    if owner != source:
        raise CannotStart(
            f"--out {shown} holds the backup of {owner}. Give another --out, or that PATH."
        )


async def _run(options: Options, order: Order, screen: Sturdy) -> int:
    state = State("backing up", chaos=options.chaos)
    supervisor = Supervisor(screen, state)
    async with supervisor.drawing():
        if options.chaos:
            seed = options.seed if options.seed is not None else secrets.randbelow(1_000_000)
            slow = _slowed(order)
            screen.line(
                f"chaos: the worker is killed about every second, seed {seed}; each step lasts "
                f"{slow.pause * 1000:.1f} ms longer, {slow.slots} instances at a time"
            )
            ending = await supervisor.run_in_chaos(slow, seed)
        else:
            ending = await supervisor.run(order, crash_after=options.crash_after, once_open=True)
    code = _say_how_it_ended(screen, options, order, ending)
    if options.chaos and ending.how == "finished":
        return await _check(options, order, screen, supervisor, ending.said, code)
    return code


def _slowed(order: Order) -> Order:
    """Returns the order so slow that it lasts some seconds: else small folders would be done before
    the first kill."""
    steps = STEPS_PER_FILE * max(1, len(find_files(order.source, order.leave_out, order.skip)))
    missing = max(0.0, CHAOS_SECONDS - steps / STEPS_PER_SECOND)
    pause = min(CHAOS_PAUSE_MAX, missing * CHAOS_SLOTS / steps)
    return replace(order, pause=round(pause, 4), slots=CHAOS_SLOTS)


def _say_how_it_ended(screen: Sturdy, options: Options, order: Order, ending: Ending) -> int:
    again = "Run the same command again to go on."
    match ending.how:
        case "finished":
            return _say_result(screen, options, order, ending.said)
        case "failed" if ending.said.get("start"):
            screen.line(f"stepwell demo: {ending.said['text']}", "red")
            return CANNOT_START
        case "failed":
            advice = "" if ending.said.get("blocked") else f" {again}"
            screen.line(f"stepwell demo: {ending.said['text'].rstrip('.')}.{advice}", "red")
            return STOPPED
        case "undecided":
            said = ending.said
            screen.line(
                f"waiting for an approval to remove {files_text(said['files'])} "
                f"({size_text(said['size'])}) below blobs/ that no manifest names; there is no "
                "terminal to ask on. Run it again with --yes, or on a terminal."
            )
            return STOPPED
        case "drained":
            screen.line(f"stopped; everything done so far is kept. {again}")
            return INTERRUPTED
        case "killed":
            screen.line(
                f"killed the worker with SIGKILL after {options.crash_after:g} s of work. Run it "
                "again without --crash-after to go on."
            )
            return KILLED
        case _:
            log = os.path.join(options.out, "jobs", "worker.log")
            screen.line(
                "stepwell demo: the worker ended by itself (exit code "
                f"{ending.said['code']}); see {log}. {again}",
                "red",
            )
            return STOPPED


def _say_result(screen: Sturdy, options: Options, order: Order, said: dict[str, Any]) -> int:
    for missed in said["examples"][:SHOWN_MAX]:
        screen.line(f"missed: {missed['name']} {missed['why']}", "yellow")
    if said["missed"] > SHOWN_MAX:
        screen.line(
            f"missed: {said['missed'] - SHOWN_MAX:,} more, in "
            f"{os.path.join(options.out, 'report.json')}",
            "yellow",
        )
    unnamed = said["unnamed"]
    if unnamed["files"] and said["pruned"] is None:
        screen.line(
            f"kept {files_text(unnamed['files'])} below blobs/ that no manifest names: "
            "their removal was not approved"
        )
    elif unnamed["files"]:
        screen.line(
            f"removed {files_text(said['pruned'])} below blobs/ that no manifest names "
            f"({size_text(unnamed['size'])})"
        )
    screen.line(
        f"{said['kept']:,} of {said['files']:,} files ({size_text(said['size'])}) are backed up "
        f"and verified: {said['blobs']:,} blobs, {size_text(said['stored'])}",
        "bold",
    )
    screen.line(
        f"check it:  cd {shlex.quote(options.out)} && sha256sum -c --quiet MANIFEST.sha256 "
        "BLOBS.sha256"
    )
    screen.line(f"read it:   {os.path.join(options.out, 'report.html')}")
    return MISSED if said["missed"] else OK


async def _check(
    options: Options,
    order: Order,
    screen: Sturdy,
    supervisor: Supervisor,
    said: dict[str, Any],
    code: int,
) -> int:
    """Holds the histories against the log, does the job again undisturbed, and compares."""
    kills = supervisor.state.kills
    with tempfile.TemporaryDirectory(prefix="stepwell-demo-") as folder:
        out = os.path.join(folder, "out")
        os.makedirs(os.path.join(out, "jobs"))
        reference = replace(
            order,
            store=os.path.join(folder, "store.db"),
            out=out,
            leave_out=[*order.leave_out, folder],
            approve=True,
        )
        supervisor.state = State("undisturbed, to compare")
        async with supervisor.drawing():
            audited = await supervisor.run(replace(order, task="audit"))
            ended = (
                await supervisor.run(reference)
                if audited.how == "finished" and not supervisor.stopping
                else audited
            )
        if ended.how != "finished":
            screen.line("the check did not finish; the backup is done.", "red")
            return INTERRUPTED if supervisor.stopping else STOPPED
        found = await trio.to_thread.run_sync(
            lambda: differences(order.out, out, pruned=said["pruned"] is not None)
        )
    a = audited.said
    verdict = (
        ("equals an undisturbed run's")
        if not found
        else f"differs from an undisturbed run's in {', '.join(found[:3])}"
    )
    more = f" and {files_text(len(found) - 3)} more" if len(found) > 3 else ""
    screen.line(
        f"killed {times(kills)}: {a['steps']:,} steps, {a['lost']:,} lost, {a['twice']:,} recorded "
        f"twice, {a['repeated']:,} attempts repeated; the result {verdict}{more}.",
        "bold",
    )
    return code if not found and not a["lost"] and not a["twice"] else DIFFERENT
