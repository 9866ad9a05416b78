"""Notes are handled in parts, so that a burst holds nobody up; what bodies say meanwhile counts all the same."""

import pytest
import trio

from stepwell import Engine, Step, _driver, workflow


@workflow
async def twice(step: Step) -> list[str]:
    return [(await step.wait_for_event("go")).type, (await step.wait_for_event("go")).type]


@pytest.mark.parametrize("at_once", [1, 2, 7])
async def test_c6_bodies_that_say_they_wait_while_notes_are_left_hold_no_slot(monkeypatch, at_once):
    monkeypatch.setattr(_driver, "NOTES_AT_ONCE", at_once)
    async with Engine(":memory:", workflows=[twice]) as engine:
        created = (await engine.create_batch(twice, [None] * 50)).created
        for _ in range(2):
            for instance in created:
                await instance.wait_for_status("waiting")
            assert engine.statistics().leased == 0
            async with trio.open_nursery() as nursery:
                for instance in created:
                    nursery.start_soon(instance.send_event, "go")
        assert [await instance.result() for instance in created] == [["go", "go"]] * 50
