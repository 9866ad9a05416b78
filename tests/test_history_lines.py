"""What a history says of operations that are not steps: as much as the body was told."""

import pytest

from stepwell import EventTimeout, NewInstance, Rejected, StepwellError, workflow
from stepwell.testing import open_test_engine


@workflow
async def ends(step) -> None:
    return None


@workflow
async def kept(step) -> None:
    await step.wait_for_event("go")


@workflow
async def decided(step) -> list[bool]:
    answers = []
    for name in ("no", "yes"):
        try:
            await step.wait_for_approval(name)
            answers.append(True)
        except Rejected:
            answers.append(False)
    return answers


@workflow
async def refused(step) -> list[str]:
    seen = []
    for begin in (
        lambda: step.create(ends, id="taken"),
        lambda: step.create_batch(ends, [NewInstance(id="new"), NewInstance(id="taken")]),
        lambda: step.call(ends, id="taken"),
        lambda: step.send_event(ends, "nobody", "x"),
        lambda: step.send_event(ends, "taken", "x"),
        lambda: step.send_event(kept, "full", "x"),
    ):
        try:
            await begin()
        except StepwellError as error:
            seen.append(type(error).__name__)
    return seen


@pytest.mark.parametrize("crashes", [0, 1])
async def test_e5_a_history_says_which_way_an_approval_was_decided(crashes):
    async with open_test_engine(workflows=[decided]) as engine:
        instance = await engine.create(decided, id="i")
        await engine.approvals.reject(
            "decided/i#no#1", by="bob", reason="late", metadata={"approved": True}
        )
        await engine.approvals.approve("decided/i#yes#1", by="ann")
        assert await instance.result() == [False, True]
        for _ in range(crashes):
            await engine.crash()
        assert [(r.kind, r.name, r.status, r.output) for r in await instance.history()] == [
            (
                "approval",
                "no",
                "done",
                {"approved": False, "by": "bob", "reason": "late", "metadata": {"approved": True}},
            ),
            (
                "approval",
                "yes",
                "done",
                {"approved": True, "by": "ann", "reason": None, "metadata": None},
            ),
        ]


async def test_a_history_has_the_error_that_the_body_saw_of_other_instances():
    async with open_test_engine(workflows=[refused, ends, kept]) as engine:
        await engine.call(ends, id="taken")
        full = await engine.create(kept, id="full")
        for _ in range(1_000):
            await full.send_event("y")
        instance = await engine.create(refused, id="i")
        seen = await instance.result()
        assert seen == ["InstanceExists"] * 3 + ["InstanceNotFound", "InvalidState", "LimitReached"]
        lines = [it for it in await instance.history() if it.error is not None]
        assert [it.kind for it in lines] == ["create", "create_batch", "call"] + ["send_event"] * 3
        assert {it.status for it in lines} == {"failed"}
        assert [it.error.type for it in lines] == [f"stepwell.{name}" for name in seen]
        assert str(lines[3].error) == "InstanceNotFound: there was no instance with this id"


@workflow
async def hears(step) -> list[str]:
    told = []
    for name in (None, "second", "third"):
        try:
            told.append(
                (await step.wait_for_event("paid", "void", name=name, timeout="1 hour")).type
            )
        except EventTimeout:
            told.append("")
    await step.wait_for_event("paid", "void")
    return told


@pytest.mark.parametrize("crashes", [0, 1])
async def test_a_history_says_which_of_several_events_came(crashes):
    async with open_test_engine(workflows=[hears], autojump=False) as engine:
        instance = await engine.create(hears)
        await instance.send_event("void")
        await instance.send_event("paid", {"euros": 3})
        await engine.clock.advance("2 hours")
        for _ in range(crashes):
            await engine.crash()
        assert [(r.name, r.status, r.event_type, r.output) for r in await instance.history()] == [
            ("paid|void", "done", "void", None),
            ("second", "done", "paid", {"euros": 3}),
            ("third", "timed_out", None, None),
            ("paid|void", "waiting", None, None),
        ]
