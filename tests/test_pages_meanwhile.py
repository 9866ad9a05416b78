"""Pages that are read while everything changes: nothing that was there throughout is missed or
told twice. Against a naive model, which is a set of ids."""

from __future__ import annotations

from typing import Any

import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from stepwell import workflow
from stepwell.testing import open_test_engine


@workflow
async def asks(step):
    await step.wait_for_approval("ok")


CHANGES = st.lists(
    st.tuples(st.sampled_from(["create", "delete", "pause", "end"]), st.integers(0, 30)),
    max_size=4,
)


async def changed(engine: Any, there: dict[str, str], change: tuple[str, int]) -> None:
    """Does one thing. `there`: instances by id, and what they are: "open", "paused", "ended"."""
    verb, at = change
    if verb == "create":
        id = f"new-{len(there)}-{at}"
        if id not in there:
            await (await engine.create(asks, id=id)).wait_for_status("waiting")
            there[id] = "open"
        return
    ids = [id for id, state in sorted(there.items()) if state == "open" or verb == "delete"]
    if not ids:
        return
    id = ids[at % len(ids)]
    instance = await engine.get(asks, id)
    if verb == "delete":
        await instance.delete(actor=id)
        del there[id]
    elif verb == "pause":
        await instance.pause(actor=id)
        there[id] = "paused"
    else:
        await engine.approvals.approve(f"asks/{id}#ok#1", by=id)
        await instance.result()
        there[id] = "ended"


@settings(max_examples=20, deadline=None)
@given(
    count=st.integers(1, 12),
    before=CHANGES,
    meanwhile=st.lists(CHANGES, max_size=12),
    limit=st.integers(1, 4),
    newest_first=st.booleans(),
    what=st.sampled_from(["list", "waiting", "approvals", "audit"]),
)
def test_what_is_there_throughout_is_told_once(
    count, before, meanwhile, limit, newest_first, what
) -> None:
    async def page(engine: Any, cursor: str | None) -> tuple[list[Any], str | None]:
        if what == "list":
            found = await engine.list(limit=limit, cursor=cursor, newest_first=newest_first)
        elif what == "waiting":
            found = await engine.list(
                status="waiting", limit=limit, cursor=cursor, newest_first=newest_first
            )
        elif what == "approvals":
            found = await engine.approvals.list(limit=limit, cursor=cursor)
        else:
            found = await engine.audit(limit=limit, cursor=cursor)
        key = {"approvals": lambda it: it.instance_id, "audit": lambda it: (it.operation, it.id)}
        return [key.get(what, lambda it: it.id)(it) for it in found.items], found.cursor

    async def held(engine: Any, there: dict[str, str]) -> set[Any]:
        """What the model says is on a page now."""
        if what == "list":
            return set(there)
        if what == "audit":
            rows = (await engine.audit(limit=1000)).items
            return {(it.operation, it.id) for it in rows}
        # a paused one has an open request all the same
        states = {"open"} if what == "waiting" else {"open", "paused"}
        return {id for id, state in there.items() if state in states}

    async def main() -> None:
        there: dict[str, str] = {}
        async with open_test_engine(workflows=[asks], autojump=False) as engine:
            for n in range(count):
                await (await engine.create(asks, id=f"i-{n}")).wait_for_status("waiting")
                there[f"i-{n}"] = "open"
            for change in before:
                await changed(engine, there, change)
            throughout, seen, cursor = await held(engine, there), [], None
            changes = iter(meanwhile)
            while True:
                found, cursor = await page(engine, cursor)
                seen += found
                assert len(seen) == len(set(seen)), seen
                if cursor is None:
                    break
                for change in next(changes, []):
                    await changed(engine, there, change)
                    throughout &= await held(engine, there)
            assert throughout <= set(seen), (throughout, seen)

    trio.run(main)
