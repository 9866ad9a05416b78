"""Whatever a column of a row holds: the engine opens, or says which table keeps it from that; what
is damaged is named, all else goes on.

A sample of all there is to damage; STEPWELL_DAMAGE=all tries everything, in about half an hour.
"""

import logging
import os
import shutil
import sqlite3
from collections import Counter
from contextlib import closing

import damage
import pytest
import trio
from damage import VALUES, asks, calls, errs, gives, open_engine, replies, runs, sleeps, waits

from stepwell import Status, StepwellError, StoreCorrupt

KEEPS_SHUT = {"store", "meta"}
"""Tables of which a row may keep the engine from opening."""
UNNOTICED = {
    # No checksum covers them, and what they hold after damage they might have held before.
    "instance": {
        "id", "priority", "created_at", "updated_at", "started_at", "ended_at", "start_at",
        "reason", "step", "format", "seed", "bulk",
        "recoveries", "keep_success", "keep_error",
    },
    "workflow": {"namespace", "name"}, "version": {"name"}, "approval": {"number"},
    "letter": {"id"},
    "large": {"key"},
    "wait": {
        "id", "until", "subject", "branch", "name", "key", "count", "kind", "opened_at", "begun",
    },
    # They are made of other rows, or save room or time, and no more.
    "tally": {"workflow", "complete", "errored", "terminated"}, "sweep": {"no", "seq"},
    "grave": {"head", "no"},
    "litter": {"id", "due", "no", "incarnation", "stream", "upto", "since", "crc"},
    # What is sent at no place that is looked at, or by nobody, is not there for who reads.
    "chunk": {"id", "no", "incarnation", "stream", "place", "chunks", "bytes"},
    # Told to whoever repeats the call, and to nobody else.
    "call": {"id", "at", "crc", "answer"},
    "failure": {"hour", "version", "step", "error", "count", "since", "example"},
    "ended": {"version", "complete", "errored", "terminated"},
    "attribute": {"key", "value", "no"},
    "bucket": {"namespace", "millionths", "at"}, "seen": {"no", "dedup"}, "meta": {"name", "value"},
}  # fmt: skip
EVERY_VALUE = {("instance", "workflow"), ("instance", "status"), ("journal", "no")}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("damaged")
    trio.run(damage.make, folder / "closed.db", folder / "killed.db")
    return folder


def told_by(caplog) -> list[str]:
    return [it.getMessage() for it in caplog.records if it.levelno >= logging.ERROR]


class Look:
    """What is told of what is damaged, in whatever way."""

    def __init__(self, engine, told):
        self.engine, self.told = engine, told

    async def ask(self, what, *args, of="bad", **named):
        """Nobody good is refused anything."""
        if "good" in of:
            await what(*args, **named)
        else:
            try:
                await what(*args, **named)
            except StepwellError as error:
                self.told.append(str(error))

    async def lists(self):
        """What is listed is what is counted, as soon as nothing changes any more."""
        for _ in range(20):
            before = Counter(await self.engine.count())
            page = (await self.engine.list()).items
            if before == Counter(await self.engine.count()):
                break
        listed = Counter(it.status for it in page)
        if (
            any(it.id == "bad-queued" and it.status == "blocked" for it in page)
            and listed != +before
        ):
            # it has never begun: its row is looked at when it does
            listed.update({Status.BLOCKED: -1, Status.QUEUED: 1})
        assert +listed == +before, (listed, +before)
        self.told += [
            it.error.message for it in page if it.error and it.error.type == "stepwell.StoreCorrupt"
        ]
        for status in ("open", None):
            requests = await self.engine.approvals.list(status=status)
            self.told += [it.detail["message"] for it in requests if isinstance(it.detail, dict)]
        bulks = (await self.engine.bulk.list()).items
        self.told += [it.filter for it in bulks if not it.operation]
        self.told += [it.result for it in (await self.engine.audit()).items if it.actor is None]
        for it in await self.engine.schedules():
            await self.ask(it.firings)
        assert "good" in [
            it.id for it in (await self.engine.list(attributes={"tier": "gold"})).items
        ]

    async def wake(self, id):
        async def send(id):
            await (await self.engine.get(waits, id)).send_event("go", 7)

        await self.ask(send, id, of=id)
        await self.ask(send, f"child-of-{id}", of=id)
        await self.ask(self.request, id, of=id)
        await self.ask(self.engine.approvals.approve, f"asks/{id}#ship#1", by="ann", of=id)

    async def request(self, id):
        asked = await self.engine.get(replies, id)
        # nobody answers one that is not known any more
        with trio.move_on_after(10 if "good" in id else 0.05):
            assert await asked.request("ask", dedup_id="once") == "yes"
        await asked.send_event("go", 7)

    async def end(self, code, id, output):
        instance = await self.engine.get(code, id)
        with trio.move_on_after(10 if "good" in id else 0.05):
            await instance.wait_for_status("complete", "errored", "blocked")
        status = await instance.status()
        if status.status == "blocked":
            self.told.append(str(await instance.explain()))
        if "good" in id:
            assert status.status == ("errored" if code is errs else "complete"), (
                code.name,
                id,
                str(await instance.explain()),
            )
        if status.status == "complete":
            assert status.output == output or any("of table result" in it for it in self.told)
        await instance.history()
        if code is runs:
            sent = []
            with trio.move_on_after(10 if "good" in id else 0.05):  # it may be blocked
                async with instance.stream("news") as chunks:
                    async for it in chunks:
                        sent.append(it.value)
            assert "good" not in id or sent == ["began", None]


async def look(store, caplog) -> list[str]:
    damage.gate["open"] = True
    async with open_engine(store) as engine:
        look = Look(engine, told_by(caplog))
        await look.lists()
        for id in damage.IDS:
            await look.wake(id)
        for _ in range(2):
            await engine.clock.advance("1 hour")
        for id in ("good", "bad"):
            for code, of, output in (
                (runs, id, 1), (waits, id, 7), (waits, f"child-of-{id}", 7), (asks, id, "ann"),
                (calls, id, 7), (sleeps, id, 1), (gives, id, 2), (gives, f"{id}-queued", 1),
                (errs, id, None), (replies, id, 7),
            ):  # fmt: skip
                await look.ask(look.end, code, of, output, of=of if code is not errs else "bad")
        assert await engine.call(gives, 5, id="new") == 5
        await look.lists()
    async with open_engine(store) as engine:
        assert await engine.call(gives, 6, id="newer") == 6
        await Look(engine, []).lists()
    return look.told


def cases():
    """Every column as after a clean end and as after a kill, with another value and in another row
    each; some with all values."""
    for n, (table, column) in enumerate(damage.schema()):
        for end in (0, 1):
            all_values = (
                os.environ.get("STEPWELL_DAMAGE") == "all" or (table, column) in EVERY_VALUE
            )
            for value in range(len(VALUES)) if all_values else [n + 3 * end]:
                yield pytest.param(
                    ("closed", "killed")[end],
                    table,
                    column,
                    value,
                    n + end,
                    id=f"{table}-{column}-{value % 8}-{end}",
                )


@pytest.mark.parametrize(("end", "table", "column", "value", "row"), list(cases()))
async def test_a_damaged_column_is_named_and_everything_else_goes_on(
    made, tmp_path, caplog, end, table, column, value, row
):
    store = tmp_path / "s.db"
    shutil.copy(made / f"{end}.db", store)
    for more in range(len(VALUES)):
        if damage.damage(store, table, column, list(VALUES)[(value + more) % len(VALUES)], row):
            break
    refused = ""
    try:
        told = await look(store, caplog)
    except StoreCorrupt as error:
        refused = str(error)
    if refused:
        assert table in KEEPS_SHUT
        assert f"table {table}" in refused
        assert "backup" in refused
    else:
        assert told or column in UNNOTICED.get(table, ())


def number(store, workflow, id) -> int:
    with closing(sqlite3.connect(store)) as conn:
        sql = (
            "SELECT i.no FROM instance i JOIN workflow w ON w.id = i.workflow WHERE w.name = ? "
            "AND i.id = ?"
        )
        return conn.execute(sql, (workflow, id)).fetchone()[0]


def rewrite_record(store, values: str) -> None:
    with closing(sqlite3.connect(store)) as conn, conn:
        last = "(SELECT max(seq) FROM journal WHERE no = ?)"
        done = conn.execute(
            f"UPDATE journal SET {values} WHERE seq = {last}", (number(store, "runs", "bad"),)
        )
        assert done.rowcount == 1


async def test_a_record_that_names_another_instance_blocks_its_own_and_not_that_one(made, tmp_path):
    store = tmp_path / "s.db"
    shutil.copy(made / "killed.db", store)
    own, other = number(store, "runs", "bad"), number(store, "runs", "good")
    rewrite_record(store, f"no = {other}")
    damage.gate["open"] = True
    for _ in range(2):
        async with open_engine(store) as engine:
            bad, good = [await engine.get(runs, id) for id in damage.IDS]
            assert await bad.wait_for_status("blocked") == "blocked"
            assert f"by its checksum it is of instance {own}" in str(await bad.explain())
            assert await good.result() == 1
    async with open_engine(store) as engine:  # it does not go on without what it lacks
        bad = await engine.get(runs, "bad")
        await bad.resume()
        assert await bad.wait_for_status("blocked", "complete") == "blocked"


async def test_a_record_of_which_nobody_knows_whose_it_is_is_named_and_no_more(
    made, tmp_path, caplog
):
    store = tmp_path / "s.db"
    shutil.copy(made / "killed.db", store)
    rewrite_record(store, "no = 'text', payload = x'00'")
    damage.gate["open"] = True
    async with open_engine(store) as engine:
        [told] = told_by(caplog)
        assert (
            "of the journal names another instance than its own, or none; whose it is cannot be "
            "told"
        ) in told
        assert await (await engine.get(runs, "good")).result() == 1


async def test_counts_that_are_damaged_are_made_anew(made, tmp_path):
    store = tmp_path / "s.db"
    shutil.copy(made / "closed.db", store)
    with closing(sqlite3.connect(store)) as conn, conn:
        for table in ("tally", "ended"):
            conn.execute(f"UPDATE {table} SET complete = 9223372036854775807, errored = -7")
    async with open_engine(store) as engine:
        count = await engine.count()
        assert (count["complete"], count["errored"]) == (3, 2)
        versions = await engine.versions()
        assert sum(it.counts["complete"] for it in versions) == 3
        assert sum(it.counts["errored"] for it in versions) == 2
