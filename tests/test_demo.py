"""`stepwell demo` as a person runs it: real processes, real kills, and what it says in one line
when something is wrong."""

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio

import stepwell
from stepwell import Engine

pytestmark = pytest.mark.slow

COMMAND = [sys.executable, "-m", "stepwell.cli", "demo"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(stepwell.__file__).parent.parent)}


@pytest.fixture
def tree(tmp_path):
    return make_tree(tmp_path, 40)


def make_tree(folder, files):
    for i in range(files):
        path = folder / "source" / f"part {i % 5}" / f"file\n{i}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"content {i % 30}\n" * (i % 40 + 1))
    return folder


def demo(folder, *arguments, path="source"):
    command = [*COMMAND, path, *arguments]
    done = subprocess.run(
        command,
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=100,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    print(done.stdout, done.stderr)
    assert "Traceback" not in done.stdout + done.stderr
    assert "\x1b" not in done.stdout
    return done.returncode, done.stdout


def check(folder, out="stepwell-demo"):
    if shutil.which("sha256sum") is None:
        pytest.skip("there is no sha256sum here")
    done = subprocess.run(
        ["sha256sum", "-c", "--quiet", "MANIFEST.sha256", "BLOBS.sha256"],
        cwd=folder / out,
        check=False,
    )
    return done.returncode


def test_a_backup_is_verified_by_sha256sum_and_two_reports_are_equal(tree):
    code, text = demo(tree)
    assert code == 0
    assert "40 of 40 files" in text
    assert check(tree) == 0
    first = (tree / "stepwell-demo" / "report.json").read_bytes()
    assert json.loads(first)["totals"]["files"] == 40
    assert (tree / "stepwell-demo" / "report.html").read_text().startswith("<!doctype html>")
    code, text = demo(tree, "--out", "other", "--store", "other.db")
    assert code == 0
    assert (tree / "other" / "report.json").read_bytes() == first
    code, text = demo(tree)
    assert code == 0
    assert (tree / "stepwell-demo" / "report.json").read_bytes() == first


def test_after_a_crash_the_same_command_goes_on(tmp_path):
    make_tree(tmp_path, 500)
    code, text = demo(tmp_path, "--crash-after", "0.4")
    assert (code, text.splitlines()[-1]) == (
        137,
        "killed the worker with SIGKILL after 0.4 s of work. Run it again without --crash-after to "
        "go on.",
    )
    code, text = demo(tmp_path)
    assert code == 0
    assert text.startswith("going on with backup-")
    assert "were already done" in text.splitlines()[0]
    assert "500 of 500 files" in text
    assert check(tmp_path) == 0
    assert len(list((tmp_path / "stepwell-demo" / "jobs").glob("backup-*"))) == 1


def test_chaos_loses_nothing_and_records_nothing_twice(tmp_path):
    tree = make_tree(tmp_path, 24)
    code, text = demo(tree, "--chaos", "--seed", "7")
    last = text.splitlines()[-1]
    assert "killed 0 times" not in last
    assert " 0 lost, 0 recorded twice, " in last
    assert last.endswith("the result equals an undisturbed run's.")
    assert f"{24 * 3 + 7} steps" in last  # and list, names, room, manifest, unnamed, prune, report
    assert code == 0
    assert check(tree) == 0


def test_ctrl_c_drains_and_the_same_command_goes_on(tmp_path):
    make_tree(tmp_path, 500)
    process = subprocess.Popen(
        [*COMMAND, "source"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("backing up: ")
        process.send_signal(signal.SIGINT)
        text = process.stdout.read()
    assert process.returncode == 130
    assert "stopping: what runs now ends first." in text
    assert text.splitlines()[-1] == (
        "stopped; everything done so far is kept. Run the same command again to go on."
    )
    code, text = demo(tmp_path)
    assert code == 0
    assert text.startswith("going on with backup-")
    logged = "".join(
        log.read_text() for log in (tmp_path / "stepwell-demo" / "jobs").glob("*/steps.log")
    )
    # nothing was cut short: no attempt was made twice
    assert logged.count("attempt ") == 500 * 3 + 1 + 6


def told(folder, output, *arguments, path="source", **options):
    """Runs the command with this standard output; returns the code and the standard error."""
    done = subprocess.run(
        [*COMMAND, path, "--yes", *arguments], cwd=folder, env=ENVIRONMENT,
        stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.PIPE,
        text=True, timeout=100, check=False, **options,
    )  # fmt: skip
    return done.returncode, done.stderr


UNSEEN = (
    "stepwell demo: standard output cannot be written: {}. "
    "Run the same command again with another one: it goes on, or says what came of it.\n"
)


@pytest.mark.parametrize("output", ["a full disk", "a closed pipe"])
@pytest.mark.parametrize("path", ["source", "none"])
def test_an_output_that_cannot_be_written_costs_one_line_and_the_same_command_goes_on(
    tree, output, path
):
    if output == "a full disk":
        if not os.path.exists("/dev/full"):
            pytest.skip("there is no /dev/full here")
        into, why = os.open("/dev/full", os.O_WRONLY), "No space left on device"
    else:
        gone, into = os.pipe()
        os.close(gone)
        why = "Broken pipe"
    try:
        assert told(tree, into, path=path) == (3, UNSEEN.format(why))
    finally:
        os.close(into)
    assert demo(tree)[0] == 0
    assert check(tree) == 0


def test_no_output_at_all_is_not_missed(tree):
    assert told(tree, None, preexec_fn=lambda: os.close(1)) == (0, "")  # as `>&-` does
    assert check(tree) == 0


def test_a_file_that_cannot_be_read_costs_one_line_and_exit_code_1(tree):
    (tree / "source" / "dangling").symlink_to("nowhere")
    code, text = demo(tree)
    assert code == 1
    assert text.splitlines().count("missed: dangling vanished, or is a link to nothing") == 1
    assert "40 of 41 files" in text
    assert check(tree) == 0


@pytest.mark.parametrize(
    ("arguments", "path", "line"),
    [
        ([], "nowhere", "PATH nowhere does not exist. Give a folder."),
        ([], "file", "PATH file is not a folder. Give the folder it is in."),
        (
            ["--out", "file/out"],
            "source",
            "--out file/out cannot be written: Not a directory. Give another folder.",
        ),
        (["--out", "."], "source", "PATH source lies in --out .. Give another --out."),
        (["--store", "nowhere/x.db"], "source", "cannot be used: No such file or directory"),
        (
            ["--store", "file"],
            "source",
            "file is not a SQLite database; Stepwell did not write it. Give another path.",
        ),
    ],
)
def test_what_cannot_be_used_is_one_line_and_exit_code_2(tree, arguments, path, line):
    (tree / "file").write_text("something that is not a store\n" * 100)
    code, text = demo(tree, *arguments, path=path)
    assert code == 2
    assert len(text.splitlines()) == 1
    assert text.startswith("stepwell demo: ")
    assert line in text


async def test_a_store_in_use_is_one_line_that_names_the_process(tree):
    async with Engine(str(tree / "stepwell-demo.db")):
        code, text = await trio.to_thread.run_sync(demo, tree)
    assert code == 2
    assert len(text.splitlines()) == 1
    assert f"stepwell-demo.db is in use by process {os.getpid()}" in text


def on_a_terminal(folder, answer, *arguments):
    """Runs the demo on a terminal of its own and answers its question."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "source", *arguments],
        cwd=folder,
        env=ENVIRONMENT,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    text, asked = b"", False
    while True:
        try:
            data = os.read(ours, 1 << 16)
        except OSError:  # the terminal's other end is closed
            break
        if not data:
            break
        text += data
        if not asked and b"[y/N]" in text:
            asked = True
            os.write(ours, answer + b"\n")
    os.close(ours)
    return process.wait(60), text.decode(), asked


def test_blobs_that_no_manifest_names_are_removed_only_when_somebody_approves(tree):
    assert demo(tree)[0] == 0
    old = set(Path(tree / "stepwell-demo" / "blobs").rglob("*.zst"))
    (tree / "source" / "part 0" / "file\n0.txt").write_text("other content")
    code, text = demo(tree)
    assert code == 3
    assert "waiting for an approval to remove 1 file (" in text.splitlines()[-1]
    code, text, asked = on_a_terminal(tree, b"n")
    assert (code, asked) == (0, True)
    assert "their removal was not approved" in text
    assert all(path.exists() for path in old)
    code, text = demo(tree, "--yes")
    assert code == 0
    assert "removed 1 file below blobs/" in text
    assert [path.exists() for path in old].count(False) == 1
    assert check(tree) == 0


def test_a_terminal_shows_a_bar_and_gets_its_cursor_back(tree):
    code, text, asked = on_a_terminal(tree, b"y")
    assert (code, asked) == (0, True)
    assert "40 / 40 files" in text
    assert "steps/s" in text
    assert text.rfind("\x1b[?25h") > text.rfind("\x1b[?25l")


def test_a_full_disk_costs_a_line_for_each_file_and_the_rest_is_backed_up(tree):
    disk = tree / "disk"
    disk.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1400k", "none", str(disk)],
        capture_output=True,
        check=False,
    ).returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        for i in range(8):
            (tree / "source" / f"z large {i}").write_bytes(os.urandom(200_000))
        code, text = demo(tree, "--out", "disk/out", "--yes")
        assert code == 1
        totals = json.loads((disk / "out" / "report.json").read_bytes())["totals"]
        assert totals["files"] + totals["missed"] == 48
        assert totals["files"] >= 20
        missed = [line for line in text.splitlines() if line.startswith("missed: ")]
        assert len(missed) == totals["missed"] >= 1
        assert all(line.endswith(" No space left on device") for line in missed)
        assert check(tree, "disk/out") == 0
    finally:
        subprocess.run(["umount", str(disk)], check=True)
