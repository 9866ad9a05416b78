"""What the demo's steps do, one by one and as a workflow on the test engine: no processes, no
terminal."""

import errno
import os
import shutil
import subprocess

import pytest
import trio

from stepwell import Status
from stepwell._demo import blobs, files, manifest, page, report, steplog
from stepwell._demo.audit import audit, differences
from stepwell._demo.files import Backup
from stepwell._demo.job import backup, backup_file
from stepwell.testing import open_test_engine

NAMES = [
    "plain.txt",
    "with space",
    "new\nline",
    "back\\slash",
    "folder/ünï.py",
    " leading",
    "quote'\"",
]


@pytest.fixture
def job(tmp_path):
    source = tmp_path / "source"
    for name in NAMES:
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name * 50)
    (source / "twin").write_text(NAMES[0] * 50)
    out = tmp_path / "out"
    made = Backup("job-1", str(source), str(out), [str(out)], [])
    os.makedirs(made.folder)
    return made


async def run(job, *, decide=True):
    async with open_test_engine(workflows=[backup, backup_file]) as engine:
        instance = await engine.create(backup, job, id=job.id)
        decision = engine.approvals.approve if decide else engine.approvals.reject
        await decision(f"backup/{job.id}#prune#1", by="test")
        with trio.fail_after(30):
            output = await instance.result()
        return output, await engine.count(backup_file)


def check(job):
    return subprocess.run(
        ["sha256sum", "-c", "MANIFEST.sha256", "BLOBS.sha256"],
        cwd=job.out,
        capture_output=True,
        text=True,
    )


needs_sha256sum = pytest.mark.skipif(
    shutil.which("sha256sum") is None, reason="there is no sha256sum here"
)


@needs_sha256sum
async def test_sha256sum_agrees_with_both_manifests_whatever_the_names(job):
    output, counts = await run(job)
    assert (output.kept, output.missed, output.blobs) == (8, 0, 7)
    assert counts[Status.COMPLETE] == 8
    done = check(job)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(": OK\n") == 8 + 7
    with open(os.path.join(job.source, "plain.txt"), "a") as file:
        file.write("changed")
    assert check(job).returncode == 1


async def test_every_file_that_cannot_be_backed_up_is_one_line_and_the_rest_goes_on(job):
    os.symlink("nowhere", os.path.join(job.source, "dangling"))
    os.mkfifo(os.path.join(job.source, "pipe"))
    os.symlink("loop", os.path.join(job.source, "loop"))
    output, counts = await run(job)
    assert (output.kept, output.missed) == (8, 3)
    assert counts[Status.ERRORED] == 3
    assert {m.name: m.why for m in output.examples} == {
        b"dangling": "vanished, or is a link to nothing",
        b"loop": "is a link to itself",
        b"pipe": "is no regular file",
    }


async def test_a_file_that_changes_between_two_steps_is_left_out(job, monkeypatch):
    inner = blobs._compress

    def changed_meanwhile(backup, name, hashed, path):
        if name == b"with space":
            with open(os.path.join(backup.source, "with space"), "a") as file:
                file.write("more")
        return inner(backup, name, hashed, path)

    monkeypatch.setattr(blobs, "_compress", changed_meanwhile)
    output, _ = await run(job)
    assert [(m.name, m.why) for m in output.examples] == [
        (b"with space", "changed while it was backed up")
    ]
    assert output.unnamed.files == 0


async def test_a_full_disk_is_one_line_for_each_file_it_hits(job, monkeypatch):
    inner = blobs._compress

    def full(backup, name, hashed, path):
        if name in (b"with space", b" leading"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        return inner(backup, name, hashed, path)

    monkeypatch.setattr(blobs, "_compress", full)
    output, _ = await run(job)
    assert [(m.name, m.why) for m in output.examples] == [
        (b" leading", "No space left on device"),
        (b"with space", "No space left on device"),
    ]
    assert output.kept == 6


async def test_an_error_that_may_pass_is_tried_again(job, monkeypatch):
    inner, failed = blobs._compress, []

    def flaky(backup, name, hashed, path):
        if name == b"with space" and len(failed) < 2:
            failed.append(name)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return inner(backup, name, hashed, path)

    monkeypatch.setattr(blobs, "_compress", flaky)
    output, _ = await run(job)
    assert (output.kept, output.missed, len(failed)) == (8, 0, 2)
    assert steplog.count(job.log, job.id).repeated == 2


@pytest.mark.parametrize("approved", [True, False])
async def test_blobs_that_no_manifest_names_go_only_once_that_is_approved(job, approved):
    orphan = blobs.blob_path(job.out, "0" * 64)
    os.makedirs(os.path.dirname(orphan))
    with open(orphan, "w") as file:
        file.write("left over")
    output, _ = await run(job, decide=approved)
    assert (output.unnamed.files, output.unnamed.size) == (1, 9)
    assert output.pruned == (1 if approved else None)
    assert os.path.exists(orphan) is not approved
    assert os.path.exists(os.path.join(job.out, report.JSON))


def test_an_attempt_that_was_cut_short_leaves_nothing_though_an_equal_file_was_stored_meanwhile(
    job, monkeypatch
):
    hashed = files.hash_file.__wrapped__(job, b"twin")
    with monkeypatch.context() as patch:
        patch.setattr(
            blobs, "_compress", lambda *arguments: cut_short.append(arguments[-1]) or 1 / 0
        )
        cut_short: list[str] = []
        with pytest.raises(ZeroDivisionError):
            blobs.store_blob.__wrapped__(job, b"twin", hashed)
    with open(cut_short[0], "wb"):  # what a kill leaves before anything is written
        pass
    first = blobs.store_blob.__wrapped__(job, b"plain.txt", hashed)
    assert os.path.exists(cut_short[0])
    assert blobs.store_blob.__wrapped__(job, b"twin", hashed) == first
    path = blobs.blob_path(job.out, hashed.sha256)
    assert os.listdir(os.path.dirname(path)) == [os.path.basename(path)]


def test_a_blob_that_was_removed_after_it_was_verified_is_not_in_the_manifest(job):
    kept = [manifest.Kept(b"plain.txt", "a" * 64, 1, "b" * 64, 1)]

    gone = manifest.write_manifest.__wrapped__(job, kept)
    assert [(m.name, m.why) for m in gone] == [
        (b"plain.txt", "its blob was removed after it was verified")
    ]
    with open(os.path.join(job.out, manifest.MANIFEST)) as file:
        assert file.read() == ""


def test_the_backup_does_not_list_what_it_writes_itself(tmp_path):
    for name in ("a", "out/blob", "store.db", "store.db-wal", "skipped/x", "outer"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    hidden = [str(tmp_path / n) for n in ("out", "store.db", "store.db-wal")]
    assert files.find_files(str(tmp_path), hidden, ["skipped"]) == [b"a", b"outer"]


LOG = """attempt p list#1 1
done p list#1 1
attempt c hash#1 1
attempt c hash#1 2
done c hash#1 2
attempt c store#1 1
done c store#1 1
attempt p room#1 1
torn li
"""


@pytest.mark.parametrize(
    ("more", "lost", "repeated"),
    [
        ("", 0, 1),
        ("attempt p room#1 2\n", 0, 2),
        ("attempt p list#1 2\n", 1, 2),  # its successor had begun
        ("attempt c store#1 2\n", 1, 2),  # the parent had been told
    ],
)
def test_the_log_shows_repeated_attempts_and_lost_steps(tmp_path, more, lost, repeated):
    log = tmp_path / "steps.log"
    log.write_text(LOG + more)
    counted = steplog.count(str(log), "p")
    assert (counted.steps, counted.lost, counted.repeated) == (4, lost, repeated)
    assert counted.ended == {("p", "list#1"), ("c", "hash#1"), ("c", "store#1")}


async def test_the_audit_finds_a_step_that_ended_and_is_in_no_history(job):
    async with open_test_engine(workflows=[backup, backup_file]) as engine:
        instance = await engine.create(backup, job, id=job.id)
        await engine.approvals.approve(f"backup/{job.id}#prune#1", by="test")
        await instance.result()
        found = await audit(engine, job)
        assert (
            found.instances,
            found.steps,
            found.recorded,
            found.lost,
            found.twice,
            found.repeated,
        ) == (9, 31, 31, 0, 0, 0)
        steplog.append(job.log, f"done {job.id} forgotten#1 1")
        assert (await audit(engine, job)).lost == 1


async def test_a_difference_between_two_backups_is_named(job, tmp_path):
    await run(job)
    other = tmp_path / "other"
    shutil.copytree(job.out, other)
    assert differences(job.out, str(other), pruned=True) == []
    blob = os.path.relpath(next((other / "blobs").rglob("*.zst")), other)
    (other / blob).write_bytes(b"something else")
    (other / "report.json").unlink()
    assert differences(job.out, str(other), pruned=True) == ["report.json", blob]
    (other / blob).unlink()
    assert differences(job.out, str(other), pruned=True) == ["report.json", blob]
    assert differences(job.out, str(other), pruned=False) == ["report.json"]


def test_the_page_escapes_names_and_needs_no_network():
    kept = [manifest.Kept(b"<script>.<b>", "a" * 64, 2048, "b" * 64, 10)]
    html = page.render(report.summarise("/a<b>", kept, [manifest.Missed(b"<i>", "why & how")]))
    assert "<script>" not in html
    assert "<i>" not in html
    assert "why &amp; how" in html
    assert "http" not in html.replace("http-equiv", "")


def test_sizes_read_well():
    assert [page.size_text(n) for n in (0, 1023, 1024, 150 << 10, 3 << 29)] == [
        "0 B",
        "1023 B",
        "1.0 KiB",
        "150 KiB",
        "1.5 GiB",
    ]
