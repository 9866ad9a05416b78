"""A damaged row of the instance table is told, and left alone; whatever else is in the store is as
good as ever."""

import logging
import sqlite3
from contextlib import closing
from datetime import timedelta

import pytest

from stepwell import Status, StepwellError, StoreCorrupt, workflow
from stepwell.testing import open_test_engine


@workflow
async def gives(step):
    return 1


@workflow
async def waits(step):
    return (await step.wait_for_event("go")).payload


@workflow
async def asks(step):
    await step.wait_for_approval("ship")


@workflow
async def calls(step):
    return await step.call(waits, id="called")


ALL = [gives, waits, asks, calls]
STATES = {"complete": gives, "waiting": waits, "queued": gives}
COLUMNS = [
    "workflow", "version", "id", "incarnation", "status", "marked", "recoveries", "priority",
    "head", "created_at", "updated_at",
    "started_at", "ended_at", "start_at", "parent", "called", "reason", "step", "format", "seed",
]  # fmt: skip
VALUES = ["x'00ff'", "'text'", "cast(x'ff' AS TEXT)", "NULL", "9000000000000000000", "-7"]


def change(store: str, sql: str) -> int:
    """Changes a row as no statement of ours does; what the schema says of it does not count."""
    with closing(sqlite3.connect(store)) as conn, conn:
        conn.execute("PRAGMA writable_schema = ON")
        schema = conn.execute("SELECT sql FROM sqlite_schema WHERE name = 'instance'").fetchone()[0]
        conn.execute(
            "UPDATE sqlite_schema SET sql = ? WHERE name = 'instance'",
            (schema.replace(" NOT NULL", ""),),
        )
        conn.execute("PRAGMA writable_schema = RESET")
        changed = conn.execute(sql).rowcount
        conn.execute("PRAGMA writable_schema = ON")
        conn.execute("UPDATE sqlite_schema SET sql = ? WHERE name = 'instance'", (schema,))
        conn.execute("PRAGMA writable_schema = RESET")
        return changed


async def begin(store: str) -> None:
    """A bad and a good one of each state, and some that have to do with them."""
    async with open_test_engine(workflows=ALL, store=store, autojump=False) as engine:
        later = engine.clock.now() + timedelta(hours=1)
        for id in ("bad", "good"):
            await engine.create(gives, id=f"{id}-complete")
            await engine.create(waits, id=f"{id}-waiting", attributes={"tier": "gold"})
            await engine.create(gives, id=f"{id}-queued", start_at=later)
        for id in ("bad", "good"):
            await (await engine.get(gives, f"{id}-complete")).wait_for_status("complete")
            instance = await engine.get(waits, f"{id}-waiting")
            await instance.wait_for_status("waiting")
            await instance.send_event("other", id)


def errors(caplog) -> list[str]:
    return [it.message for it in caplog.records if it.levelno >= logging.ERROR]


CASES = [(state, column, value) for state in STATES for column in COLUMNS for value in VALUES]


def drawn(case: int) -> list[pytest.MarkDecorator]:
    """One in seven is run always."""
    return [] if case % 7 == 0 else [pytest.mark.slow]


@pytest.mark.parametrize(
    ("state", "column", "value"),
    [pytest.param(*it, marks=drawn(case)) for case, it in enumerate(CASES)],
)
async def test_a_damaged_row_of_an_instance_is_told_and_everything_else_goes_on(
    tmp_path, caplog, state, column, value
):
    store, code = str(tmp_path / "s.db"), STATES[state]
    await begin(store)
    assert change(store, f"UPDATE instance SET {column} = {value} WHERE id = 'bad-{state}'") == 1
    async with open_test_engine(workflows=ALL, store=store, autojump=False) as engine:
        page = (await engine.list()).items
        told = [
            it for it in page if it.error is not None and it.error.type == "stepwell.StoreCorrupt"
        ]
        listed = [it.id for it in page]
        assert {f"good-{it}" for it in STATES} <= set(listed)
        if told:
            assert [it.workflow for it in told] == [code.name]
            assert told[0].id.startswith(f"bad-{state}" if column != "id" else "(row ")
            assert told[0].status in ("complete", "blocked")
        else:
            assert len(page) == 6 or errors(caplog)
        with pytest.raises(StepwellError) if told else DoesNotMatter():
            await (await engine.get(code, f"bad-{state}")).status()
        with pytest.raises(StepwellError) if told else DoesNotMatter():
            await (await engine.get(code, f"bad-{state}")).explain()
        for filters in (
            {"workflow": code},
            {"status": ["complete", "waiting", "queued"]},
            {"attributes": {"tier": "gold"}},
        ):
            assert (
                f"good-{state}" in [it.id for it in (await engine.list(**filters)).items]
                or "attributes" in filters
            )
        # it is not made a second time
        if told and told[0].id == f"bad-{state}" and column != "workflow":
            with pytest.raises(StepwellError):
                await engine.create(code, id=f"bad-{state}")
            with pytest.raises(StepwellError):
                await (await engine.create(code, id=f"bad-{state}", if_exists="return")).status()
            assert [it.id for it in (await engine.list(code)).items].count(f"bad-{state}") == 1
        assert sum((await engine.count()).values()) >= 5
        good = await engine.get(waits, "good-waiting")
        await good.send_event("go", "gone")
        assert await good.result() == "gone"
        assert await engine.call(gives, id="new") == 1
        await engine.clock.advance("1 hour")
        assert await (await engine.get(gives, "good-queued")).result() == 1
    assert len(errors(caplog)) <= 1 or state == "queued"
    async with open_test_engine(workflows=ALL, store=store, autojump=False) as engine:
        assert await engine.call(gives, id="newer") == 1


class DoesNotMatter:
    def __enter__(self):
        pass

    def __exit__(self, kind, error, trace):
        return kind is None or issubclass(kind, StepwellError)


@pytest.mark.parametrize("how", ["gives", "waits", "calls"])
@pytest.mark.parametrize("column", ["version", "priority", "start_at", "parent"])
async def test_l5_a_damaged_one_is_terminated_or_whoever_asks_is_told(tmp_path, how, column):
    store = str(tmp_path / "s.db")
    async with open_test_engine(workflows=ALL, store=store, autojump=False) as engine:
        later = engine.clock.now() + timedelta(hours=1)
        code = {"gives": gives, "waits": waits, "calls": calls}[how]
        instance = await engine.create(code, id="x", start_at=later if how == "gives" else None)
        if how != "gives":
            await instance.wait_for_status("waiting")
    async with open_test_engine(workflows=ALL, store=store, autojump=False) as engine:
        instance = await engine.get(how, "x")
        await engine.clock.advance("1 second")
        change(store, f"UPDATE instance SET {column} = x'00ff' WHERE id = 'x'")
        unclear = how == "gives"  # it never ran, and cannot be taken out of the queue
        with pytest.raises(StoreCorrupt, match="instance") if unclear else DoesNotMatter():
            await instance.terminate()
        ended = (await engine.count())[Status.TERMINATED]
        assert ended == 0 if unclear else ended >= 1
