"""Versions side by side, counted (L12)."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from stepwell import Engine, InvalidConfig, Status, Step, workflow
from stepwell.testing import open_test_engine


@workflow(name="order", version="1")
async def old(step: Step) -> None:
    await step.wait_for_event("paid")


@workflow(name="order", version="2")
async def new(step: Step) -> None:
    await step.wait_for_event("paid")


@workflow
async def unused(step: Step) -> None:
    await step.sleep(1)


def in_words(counts: list) -> list[tuple]:
    """What there is of each version, without the zeros."""
    return [
        (it.workflow, it.version, it.registered, {k: v for k, v in it.counts.items() if v})
        for it in counts
    ]


async def test_l12_instances_are_counted_by_version_also_after_a_restart(tmp_path: Path) -> None:
    store = tmp_path / "store.db"
    async with open_test_engine(workflows=[old], store=store) as engine:
        for id in ("a", "b", "c"):
            await engine.create(old, id=id)
        ended = await engine.get(old, "a")
        await ended.send_event("paid")
        await ended.result()
    async with open_test_engine(workflows=[old, new], store=store) as engine:
        await engine.set_limits(new, concurrency=1)
        created = [await engine.create("order", id=f"new-{n}") for n in range(3)]
        for it in created:
            await it.wait_for_status("waiting")
        assert in_words(await engine.versions(new)) == [
            ("order", "1", True, {Status.WAITING: 2, Status.COMPLETE: 1}),
            ("order", "2", True, {Status.WAITING: 3}),
        ]
        await created[0].terminate()
    async with open_test_engine(workflows=[new, unused], store=store) as engine:
        assert in_words(await engine.versions()) == [
            ("order", "1", False, {Status.BLOCKED: 2, Status.COMPLETE: 1}),
            ("order", "2", True, {Status.WAITING: 2, Status.TERMINATED: 1}),
            ("unused", "1", True, {}),
        ]
        assert set((await engine.versions(unused))[0].counts) == set(Status)
        with pytest.raises(InvalidConfig, match="no workflow"):
            await engine.versions("ordre")


async def test_l12_a_version_that_is_queued_is_counted_as_what_it_is(tmp_path: Path) -> None:
    store = tmp_path / "store.db"
    async with open_test_engine(workflows=[old, new], store=store, slots=1) as engine:
        later = engine.clock.now() + timedelta(days=1)
        for n in range(6):
            await engine.create(old if n % 2 else new, id=f"o-{n}", start_at=later)
        assert in_words(await engine.versions()) == [
            ("order", "2", True, {Status.QUEUED: 3}),
            ("order", "1", True, {Status.QUEUED: 3}),
        ]
        await (await engine.get("order", "o-0")).terminate()
        await (await engine.get("order", "o-3")).pause()
    async with open_test_engine(workflows=[old, new], store=store, slots=1) as engine:
        await (await engine.get("order", "o-5")).terminate()
        found = {it.version: it.counts for it in await engine.versions()}
        assert found["1"][Status.QUEUED] == 1
        assert found["1"][Status.PAUSED] == 1
        assert found["1"][Status.TERMINATED] == 1
        assert found["2"][Status.QUEUED] == 2
        assert found["2"][Status.TERMINATED] == 1


async def test_namespaces_are_those_with_instances_and_the_engines_own(tmp_path: Path) -> None:
    async with Engine(tmp_path / "store.db", workflows=[new]) as engine:
        assert await engine.namespaces() == ["default"]
        await engine.namespace("acme").create(new)
    async with Engine(tmp_path / "store.db", workflows=[new], namespace="own") as engine:
        assert await engine.namespaces() == ["acme", "own"]
