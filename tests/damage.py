"""A store with something in every table, and how any column of any row in it is damaged: as no
statement of ours writes it."""

import shutil
import sqlite3
import zlib
from collections.abc import Generator, Iterable
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import trio

from stepwell import Limits, NewInstance, Retry, current_step, workflow
from stepwell.testing import open_test_engine

VALUES = {
    "null": "NULL",
    "blob": "x'00ff'",
    "text": "'text'",
    "real": "6.5",
    "large": "9223372036854775807",
    "less": "9000000000000000000",
    "negative": "-7",
    "garbled": "cast(x'fe6f6f' AS TEXT)",
}
gate = {"open": False}


async def hangs() -> int:
    if not gate["open"]:
        await trio.sleep_forever()
    return 1


def reports() -> None:
    current_step().report(0.5)


def fails() -> None:
    raise ValueError("broken")


@workflow
async def runs(step):
    async with step.stream("news") as out:
        await out.send("began")
        await step.do(reports)
        return await step.do(hangs)


@workflow
async def waits(step, n: int):
    await step.do(reports)
    return (await step.wait_for_event("go")).payload


@workflow
async def asks(step):
    await step.do(reports)
    return (await step.wait_for_approval("ship", detail="a lamp")).by


@workflow
async def calls(step):
    return await step.call(waits, 1, id=f"child-of-{step.instance.id}")


@workflow
async def sleeps(step):
    await step.sleep("1 hour")
    return 1


@workflow
async def gives(step, n: int):
    return n


@workflow
async def errs(step):
    await step.do(fails, retry=Retry.never)


@workflow
async def replies(step):
    await (await step.wait_for_event("ask")).reply("yes")
    return (await step.wait_for_event("go")).payload


ALL = [runs, waits, asks, calls, sleeps, gives, errs, replies]
IDS = ("bad", "good")
LIMITS = Limits(create_rate=1000, create_burst=1000)


def open_engine(store: str | Path):
    return open_test_engine(workflows=ALL, store=str(store), autojump=False, limits=LIMITS, grace=0)


async def make(store: Path, killed: Path) -> None:
    """Two instances of each kind: as a clean end leaves them, and as a kill does."""
    gate["open"] = False
    async with open_engine(store) as engine:
        later = engine.clock.now() + timedelta(hours=1)
        for id in IDS:
            attributes = {"tier": "gold"}
            await engine.create_batch(
                gives,
                [
                    NewInstance(1, id=f"{id}-queued", start_at=later),
                    NewInstance(2, id=id, attributes=attributes),
                ],
            )
            for code, status in (
                (errs, "errored"),
                (asks, "waiting"),
                (calls, "waiting"),
                (sleeps, "waiting"),
                (runs, "running"),
            ):
                instance = await engine.create(code, id=id)
                await instance.wait_for_status(status)
            instance = await engine.create(waits, 1, id=id, attributes=attributes)
            await instance.wait_for_status("waiting")
            await instance.send_event("other", id, dedup_id="once")
            await (await engine.get(gives, id)).wait_for_status("complete")
            asked = await engine.create(replies, id=id)
            assert await asked.request("ask", dedup_id="once") == "yes"
            await asked.wait_for_status("waiting")
        daily = await engine.put_schedule(gives, "1 day", id="bad-daily", params=3)
        await (await daily.trigger()).result()
        await engine.retry_now(waits, ids=list(IDS))
        await engine.set_limits(gives, concurrency=9, actor="ann", note="what the audit is to show")
        for end in ("", "-wal"):
            shutil.copy(f"{store}{end}", f"{killed}{end}")
    with closing(sqlite3.connect(killed)) as conn, conn:  # as if nothing of it had been folded back
        conn.execute("UPDATE store SET watermark = 0")
    for it in (store, killed):
        with closing(sqlite3.connect(it)) as conn, conn:
            conn.execute(
                "INSERT INTO sweep SELECT no, head FROM instance WHERE id = 'bad' AND "
                "head > 0 LIMIT 1"
            )
            conn.execute("INSERT INTO call VALUES (x'01', 1, 2, x'00')")
            conn.execute("INSERT INTO litter VALUES (1, 0, 99, -1, '', 0, 0, 5)")
            # of one that was deleted: nothing of its history is left to be freed
            conn.execute("INSERT INTO grave VALUES ((SELECT max(seq) + 9 FROM journal), 99)")


@contextmanager
def unchecked(store: Path) -> Generator[sqlite3.Connection]:
    """What the schema says of columns does not count here."""
    with closing(sqlite3.connect(store)) as conn, conn:
        conn.text_factory = lambda it: it.decode(errors="replace")
        schemas = conn.execute(
            "SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND sql LIKE 'CREATE%'"
        ).fetchall()

        def write(schemas: Iterable[tuple[str, str]]) -> None:
            conn.execute("PRAGMA writable_schema = ON")
            conn.executemany("UPDATE sqlite_schema SET sql = ?2 WHERE name = ?1", schemas)
            conn.execute("PRAGMA writable_schema = RESET")

        write(
            [
                (name, sql.replace(" NOT NULL", "").replace(" CHECK (one = 1)", ""))
                for name, sql in schemas
            ]
        )
        yield conn
        write(schemas)


def schema() -> list[tuple[str, str]]:
    """Returns table and column of all columns there are."""

    async def make(store: Path) -> None:
        async with open_engine(store):
            pass

    with TemporaryDirectory() as folder:
        store = Path(folder) / "empty.db"
        trio.run(make, store)
        with closing(sqlite3.connect(store)) as conn:
            sql = (
                "SELECT t.name, c.name FROM sqlite_schema t, pragma_table_info(t.name) c WHERE "
                "t.type = 'table' ORDER BY t.rowid, c.cid"
            )
            return conn.execute(sql).fetchall()


def rows_of(conn: sqlite3.Connection, table: str) -> list[str]:
    """Returns conditions, each of which is true of one row that is worth damaging."""
    bad = dict(
        conn.execute(
            "SELECT w.name || '/' || i.id, i.no FROM instance i JOIN workflow w ON w.id = "
            "i.workflow WHERE i.id NOT LIKE '%good%'"
        )
    )
    if table == "meta":
        return [f"name = '{name}'" for (name,) in conn.execute("SELECT name FROM meta")]
    if table in ("workflow", "version", "tally"):  # the workflow none of the good ones is asked of
        sql = (
            f"SELECT {'id' if table != 'tally' else 'workflow'} FROM {table} WHERE "
            f"{'workflow' if table != 'workflow' else 'id'} = ?"
        )
        (of,) = conn.execute("SELECT id FROM workflow WHERE name = 'errs'").fetchone()
        return [f"rowid = {no}" for (no,) in conn.execute(sql, (of,))]
    if table in ("ended", "failure"):
        sql = (
            f"SELECT e.version FROM {table} e JOIN version v ON v.id = e.version "
            "JOIN workflow w ON w.id = v.workflow WHERE w.name = 'errs'"
        )
        return [f"version = {no}" for (no,) in conn.execute(sql)]
    if table in ("grave", "litter"):
        return ["1"]
    if table == "audit":
        return ["number = (SELECT max(number) FROM audit)"]
    if table == "journal":
        return [
            f"seq = (SELECT max(seq) FROM journal WHERE no = {bad[it]})"
            for it in ("runs/bad", "waits/bad")
        ]
    if "no" in [
        column for _, column in conn.execute(f"SELECT cid, name FROM pragma_table_info('{table}')")
    ]:
        wanted = (
            "waits/bad",
            "asks/bad",
            "calls/bad",
            "sleeps/bad",
            "gives/bad",
            "gives/bad-queued",
            "errs/bad",
            "runs/bad",
            "replies/bad",
        )
        numbers = [bad[it] for it in wanted]
        return [
            f"no = {no}"
            for no in numbers
            if conn.execute(f"SELECT count(*) FROM {table} WHERE no = ?", (no,)).fetchone() == (1,)
        ]
    return ["1"]


def leave(conn: sqlite3.Connection) -> None:
    """Leaves what an engine alone never does: a letter of another owner, of an instance that was
    created in range 7 and is not there."""
    body = b"B" + (1 << 40).to_bytes(8, "little")
    parts = [(0, 7), (len(body),)]
    whose, length = (b"".join(it.to_bytes(8, "little") for it in some) for some in parts)
    crc = zlib.crc32(whose + length + body)
    conn.execute("INSERT OR IGNORE INTO letter VALUES (1, 7, NULL, ?, ?)", (crc, body))


def damage(store: Path, table: str, column: str, value: str, row: int) -> bool:
    """Returns whether one of those rows is another one now; some columns hold no such thing
    whatever the schema says."""
    with unchecked(store) as conn:
        if table == "letter":
            leave(conn)
        if table == "large":
            conn.execute("INSERT OR IGNORE INTO large VALUES (zeroblob(16))")
        rows = rows_of(conn, table)
        where = rows[row % len(rows)]
        before = conn.execute(f"SELECT {column} FROM {table} WHERE {where}").fetchall()
        try:
            conn.execute(f"UPDATE {table} SET {column} = {VALUES[value]} WHERE {where}")
        except sqlite3.Error:
            return False
        assert len(before) == 1, (table, column, where)
        return before != conn.execute(f"SELECT {column} FROM {table} WHERE {where}").fetchall()
