"""The process that is killed: it holds the engine, runs the job and reports in JSON lines.

It owns no terminal. What it has to say goes to standard output, one object a line; what the person
decides comes in on standard input, one word a line: `approve`, `reject`, `drain`. When its input
ends, whoever started it is gone and it drains. It draws nothing, counts nothing twice and keeps
nothing that is not in the store.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
from dataclasses import asdict, dataclass
from typing import Any, Literal

import trio

from stepwell import (
    Engine,
    Instance,
    InstanceErrored,
    InstanceSummary,
    InstanceTerminated,
    InvalidConfig,
    Limits,
    Status,
    StepwellError,
    StoreCorrupt,
    StoreFailed,
    StoreLocked,
    StoreVersion,
)

from . import steplog
from .audit import audit
from .files import Backup, shown
from .job import Summary, backup, backup_file

THREADS = 16
REPORT_SECONDS = 0.1
CANNOT_START = (InvalidConfig, StoreLocked, StoreVersion, StoreCorrupt, StoreFailed)


@dataclass(frozen=True, slots=True)
class Order:
    """What a worker is told to do, in its only argument.

    Attributes:
        task: "backup", or "audit": hold the newest job's histories against its log.
        store: Path of the store.
        source: What to back up.
        out: Where to.
        leave_out: Paths that are not backed up.
        skip: Names of folders that are not entered.
        approve: Whether to approve the pruning without asking.
        pause: Seconds that every attempt lasts longer.
        slots: Most instances that run at once.
    """

    task: Literal["backup", "audit"]
    store: str
    source: str
    out: str
    leave_out: list[str]
    skip: list[str]
    approve: bool = False
    pause: float = 0.0
    slots: int = 64


def main() -> None:
    """Runs the order in the first argument."""
    order = Order(**json.loads(sys.argv[1]))
    handler = logging.FileHandler(os.path.join(order.out, "jobs", "worker.log"))
    handler.addFilter(_briefly)
    logging.basicConfig(
        handlers=[handler],
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        level=logging.INFO,
    )
    trio.run(_serve, order)


def _briefly(record: logging.LogRecord) -> bool:
    """Leaves the traceback out of what is a file's problem and not the program's; it would fill a
    full disk."""
    if record.exc_info and isinstance(record.exc_info[1], steplog.Problem):
        record.msg, record.args, record.exc_info = (
            (f"{record.getMessage()}: {record.exc_info[1]}"),
            (),
            None,
        )
    return True


def say(kind: str, **fields: Any) -> None:
    """Tells the supervisor something; one line, one write."""
    os.write(1, (json.dumps({"kind": kind, **fields}) + "\n").encode())


async def _serve(order: Order) -> None:
    steplog.slow_down(order.pause)
    engine = Engine(
        order.store,
        workflows=[backup, backup_file],
        name="stepwell demo",
        threads=THREADS,
        slots=order.slots,
        limits=Limits(recoveries=100_000),  # being killed all the time is what this program is for
    )
    opened = False
    try:
        async with engine:
            opened = True
            await (_audit(engine, order) if order.task == "audit" else _back_up(engine, order))
    except StepwellError as error:
        say("failed", text=str(error), start=not opened and isinstance(error, CANNOT_START))


async def _audit(engine: Engine, order: Order) -> None:
    newest = await _newest(engine, _key(order))
    assert newest is not None
    say("audit", **asdict(await audit(engine, _backup(order, newest.id))))


async def _back_up(engine: Engine, order: Order) -> None:
    job, instance, before = await _job(engine, order)
    async with trio.open_nursery() as nursery:
        watch = _Watch(engine, order, job, instance, before)
        nursery.start_soon(watch.listen, nursery.cancel_scope)
        nursery.start_soon(watch.report)
        try:
            output: Summary = await instance.result()
        except (InstanceErrored, InstanceTerminated) as error:
            info = error.error
            where = f'its step "{info.step}" gave up: ' if info is not None and info.step else ""
            say(
                "failed",
                text="the backup ended early: "
                f"{where}{info.message if info is not None else error}",
                start=False,
            )
        else:
            await watch.progress()
            missed = [{"name": shown(m.name), "why": m.why} for m in output.examples]
            say("finished", **{**asdict(output), "examples": missed})
        nursery.cancel_scope.cancel()
    if watch.draining:
        say("drained")


def _key(order: Order) -> str:
    return hashlib.sha256(os.fsencode(f"{order.source}\0{order.out}")).hexdigest()[:8]


async def _newest(engine: Engine, key: str) -> InstanceSummary | None:
    page = await engine.list(backup, attributes={"folder": key}, limit=1)
    return page.items[0] if page.items else None


def _backup(order: Order, id: str) -> Backup:
    return Backup(id, order.source, order.out, order.leave_out, order.skip)


async def _job(engine: Engine, order: Order) -> tuple[Backup, Instance[Summary], dict[str, int]]:
    """Returns the unfinished job of these folders, or a new one, and what was in the store before
    it."""
    key = _key(order)
    newest = await _newest(engine, key)
    if newest is not None and not newest.status.is_final:
        job = _backup(order, newest.id)
        os.makedirs(job.folder, exist_ok=True)
        before = {k: int(v) for k, v in newest.attributes.items() if k != "folder"}
        counted = steplog.count(job.log, job.id)
        done = (await engine.count(backup_file))[Status.COMPLETE] - before[Status.COMPLETE]
        say(
            "opened",
            job=job.id,
            log=job.log,
            again=True,
            files_done=done,
            files=_listed(job),
            steps_done=len(counted.ended),
        )
        return job, await engine.get(backup, newest.id), before
    number = 1 if newest is None else int(newest.id.rpartition("-")[2]) + 1
    job = _backup(order, f"backup-{key}-{number}")
    os.makedirs(job.folder, exist_ok=True)
    # what an older store's job of this name logged is not about this one
    open(job.log, "wb").close()
    counts = await engine.count(backup_file)
    before = {
        status.value: counts[status]
        for status in (Status.COMPLETE, Status.ERRORED, Status.TERMINATED)
    }
    instance = await engine.create(backup, job, id=job.id, attributes={"folder": key, **before})
    say("opened", job=job.id, log=job.log, again=False, files_done=0, files=None, steps_done=0)
    return job, instance, before


def _listed(job: Backup) -> int | None:
    try:
        with open(os.path.join(job.folder, "files.list"), "rb") as file:
            return file.read().count(b"\0")
    except FileNotFoundError:
        return None


class _Watch:
    """Follows one job for the supervisor, and does what it is told."""

    def __init__(
        self,
        engine: Engine,
        order: Order,
        job: Backup,
        instance: Instance[Summary],
        before: dict[str, int],
    ) -> None:
        self.draining = False
        self._engine, self._order, self._job, self._instance, self._before = (
            engine,
            order,
            job,
            instance,
            before,
        )
        self._files: int | None = None
        self._asked: str | None = None

    async def report(self) -> None:
        """Says how far the job is, until it is cancelled."""
        while True:
            await self.progress()
            await self._approval()
            await self._blocked()
            await trio.sleep(REPORT_SECONDS)

    async def progress(self) -> None:
        """Says once how far it is."""
        if self._files is None:
            self._files = _listed(self._job)
        counts = await self._engine.count(backup_file)
        states = {
            status.value: counts[status] - self._before.get(status.value, 0) for status in Status
        }
        done = sum(states[s.value] for s in Status if s.is_final)
        say("progress", files=self._files, done=done, states={s: n for s, n in states.items() if n})

    async def _approval(self) -> None:
        for request in await self._engine.approvals.list(backup):
            if request.instance_id == self._job.id and self._asked != request.id:
                self._asked = request.id
                if self._order.approve:
                    await self._engine.approvals.approve(request.id, by="--yes")
                else:
                    say("question", **request.detail)

    async def _blocked(self) -> None:
        for workflow in (backup, backup_file):
            for item in (await self._engine.list(workflow, status=Status.BLOCKED, limit=1)).items:
                instance: Instance[Any] = await self._engine.get(workflow, item.id)
                say("failed", text=str(await instance.explain()), start=False, blocked=True)
                self._stop.cancel()

    async def listen(self, stop: trio.CancelScope) -> None:
        """Takes decisions, and drains when it is told to or its input ends."""
        self._stop = stop
        rest = b""
        async with trio.lowlevel.FdStream(os.dup(0)) as stream:
            async for data in stream:
                *words, rest = (rest + data).split(b"\n")
                for word in words:
                    if word == b"drain":
                        self._drain()
                    elif self._asked is not None:
                        decide = (
                            self._engine.approvals.approve
                            if word == b"approve"
                            else self._engine.approvals.reject
                        )
                        await decide(self._asked, by="the terminal")
        self._drain()

    def _drain(self) -> None:
        self.draining = True
        self._stop.cancel()


if __name__ == "__main__":
    main()
