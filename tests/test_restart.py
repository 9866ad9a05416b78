"""Beginning an instance anew, from the start, from a step, or from what failed (rule L6)."""

import pytest
import trio

from stepwell import (
    InstanceNotFound,
    InvalidConfig,
    InvalidState,
    Retry,
    StepFailed,
    StepRef,
    current_step,
    workflow,
)
from stepwell.testing import open_test_engine

seen: list[object] = []
broken: set[str] = set()
gates: dict[str, trio.Event] = {}


@pytest.fixture(autouse=True)
def _fresh():
    seen.clear()
    broken.clear()
    gates.clear()
    gates.update({name: trio.Event() for name in ("entered", "release")})


async def notes(what: str) -> str:
    seen.append(what)
    if what in broken:
        raise ValueError(f"{what} is broken")
    return what.upper()


async def key_of(what: str) -> str:
    seen.append(what)
    if what in broken:
        raise ValueError(f"{what} is broken")
    return current_step().idempotency_key


@workflow
async def line(step) -> list[object]:
    first = await step.do(notes, "a", name="a")
    event = await step.wait_for_event("go")
    second = await step.do(key_of, "b", name="b")
    third = await step.do(key_of, "c", name="c", retry=Retry.never)
    return [first, event.payload, second, third, str(step.uuid()), step.random.random()]


async def ended(engine, code, *args, id="one"):
    instance = await engine.create(code, *args, id=id)
    if code is line:
        await instance.send_event("go", 1)
    await instance.wait_for_status("complete", "errored")
    return instance


async def test_l6_from_the_start_everything_is_done_again_under_other_keys():
    async with open_test_engine(workflows=[line]) as engine:
        instance = await ended(engine, line)
        before = await instance.result()
        await instance.restart()
        after = await instance.result()
        # the event that the erased wait took was there again
        assert after[:2] == before[:2] == ["A", 1]
        assert all(one != other for one, other in zip(after[2:], before[2:], strict=True))
        assert seen == ["a", "b", "c"] * 2
        assert [it.name for it in await instance.history()] == ["a", "go", "b", "c"]


@pytest.mark.parametrize("crashes", [False, True])
@pytest.mark.parametrize("ends", ["terminate", "complete"])
async def test_e4_what_nobody_took_before_the_end_is_there_for_a_restart(ends, crashes):
    @workflow
    async def takes_one(step):
        first = (await step.wait_for_event("go")).payload
        with step.move_on_after("1 second"):
            return [first, (await step.wait_for_event("more")).payload]
        return [first]

    async with open_test_engine(workflows=[takes_one], autojump=False) as engine:
        instance = await engine.create(takes_one)
        if ends == "complete":
            await instance.send_event("go", 1)
        for n in (2, 3):
            await instance.send_event("go", n)
        if ends == "complete":
            await instance.wait_for_status("waiting")
            await engine.clock.advance("1 second")
            assert await instance.result() == [1]
        else:
            await instance.pause()
            await instance.terminate()
        with pytest.raises(InvalidState):
            await instance.send_event("more", 4)
        if crashes:
            await engine.crash()
        seen = []
        for _ in range(3):
            await instance.restart()
            await instance.wait_for_status("waiting")
            await engine.clock.advance("1 second")
            seen.append(await instance.result())
            if crashes:
                await engine.crash()
        assert seen == [[1 if ends == "complete" else 2]] * 3
        await instance.delete()
        again = await engine.create(takes_one, id=instance.id)
        await again.wait_for_status("waiting")


async def test_l6_from_a_step_what_began_before_it_is_kept_and_so_are_keys():
    async with open_test_engine(workflows=[line]) as engine:
        instance = await ended(engine, line)
        before = await instance.result()
        await instance.restart(from_step=(await instance.history())[2].ref)
        assert await instance.result() == before
        assert seen == ["a", "b", "c", "b", "c"]
        await engine.crash()
        assert await instance.result() == before
        await instance.restart(from_step=StepRef("go", kind="event"))
        assert await instance.result() == before
        assert seen[5:] == ["b", "c"]


async def test_l6_from_an_open_wait_what_had_begun_before_it_is_kept():
    async with open_test_engine(workflows=[line], autojump=False) as engine:
        instance = await engine.create(line, id="one")
        await instance.wait_for_status("waiting")
        waits = (await instance.history())[-1]
        assert (waits.name, waits.status) == ("go", "waiting")
        preview = await instance.restart(from_step=waits.ref, dry_run=True)
        assert [[it.name for it in lines] for lines in (preview.kept, preview.erased)] == [
            ["a"],
            [],
        ]
        await instance.restart(from_step=waits.ref)
        await engine.clock.settled()
        assert (await instance.status()).status == "waiting"
        await instance.send_event("go", 1)
        assert (await instance.result())[:2] == ["A", 1]
        assert seen == ["a", "b", "c"]


async def test_l6_from_an_open_wait_what_began_beside_it_later_is_erased():
    @workflow
    async def beside(step) -> str:
        async with step.open_nursery() as nursery:
            nursery.start_soon(step.wait_for_event, "go")
            await step.do(notes, "a", name="a")
            await step.do(notes, "b", name="b")
        return "fine"

    async with open_test_engine(workflows=[beside], autojump=False) as engine:
        instance = await engine.create(beside, id="one")
        await instance.wait_for_status("waiting")
        ref = next(it.ref for it in await instance.history() if it.name == "go")
        for _ in range(2):
            preview = await instance.restart(from_step=ref, dry_run=True)
            assert [[it.name for it in lines] for lines in (preview.kept, preview.erased)] == [
                ["a"],
                ["b"],
            ]
            await instance.pause()
        await instance.restart(from_step=ref)
        await instance.wait_for_status("waiting")
        assert seen == ["a", "b", "b"]
        await instance.send_event("go")
        assert await instance.result() == "fine"
        with pytest.raises(InvalidConfig, match="recorded no such step"):
            await instance.restart(from_step=StepRef("other", kind="event"))


async def test_l6_failed_means_from_the_step_whose_failure_left_the_body():
    broken.add("c")
    async with open_test_engine(workflows=[line]) as engine:
        instance = await ended(engine, line)
        preview = await instance.restart(from_step="failed", dry_run=True)
        assert [it.name for it in preview.kept] == ["a", "go", "b"]
        assert [it.name for it in preview.erased] == ["c"]
        assert not preview.by_clock
        assert (await instance.status()).status == "errored"
        await instance.restart(from_step="failed")
        # it is broken still
        assert await instance.wait_for_status("errored") == "errored"
        broken.clear()
        await engine.crash()
        await instance.restart(from_step="failed")
        assert (await instance.result())[0] == "A"
        assert seen == ["a", "b", "c", "c", "c"]


@workflow
async def catches(step) -> str:
    try:
        await step.do(notes, "a", name="a", retry=Retry.never)
    except StepFailed:
        await step.do(notes, "b", name="b", retry=Retry.never)
    if "body" in broken:
        raise KeyError("a bug")
    return "fine"


async def test_l6_a_failure_that_was_caught_stays_and_its_consequence_is_done_again():
    broken.update("ab")
    async with open_test_engine(workflows=[catches]) as engine:
        instance = await ended(engine, catches)
        broken.remove("b")
        preview = await instance.restart(from_step="failed", dry_run=True)
        # "b" failed while "a" was handled: both are what its error came from
        assert [it.name for it in preview.erased] == ["a", "b"]
        broken.clear()
        await instance.restart(from_step="failed")
        assert await instance.result() == "fine"
        assert seen == ["a", "b", "a"]


async def test_l6_after_a_bug_of_the_body_or_a_terminate_it_goes_on_where_it_was():
    broken.update(["a", "body"])
    async with open_test_engine(workflows=[catches, line]) as engine:
        instance = await ended(engine, catches)
        broken.clear()
        await instance.restart(from_step="failed")
        assert await instance.result() == "fine"
        assert seen == ["a", "b"], "nothing ran again"
        other = await engine.create(line, id="two")
        await other.wait_for_status("waiting")
        await other.terminate()
        await other.restart(from_step="failed")
        await other.send_event("go", 2)
        assert (await other.result())[:2] == ["A", 2]
        assert seen == ["a", "b", "a", "b", "c"]


async def holds() -> str:
    gates["entered"].set()
    await gates["release"].wait()
    return "held"


def holds_in_a_thread() -> str:
    return trio.from_thread.run(holds)


async def fails_then() -> None:
    await gates["entered"].wait()
    if "sibling" in broken:
        raise ValueError("sibling")


@workflow
async def siblings(step) -> list[object]:
    done = await step.map(notes, ["x", "y"], key=str)
    async with step.open_nursery() as nursery:
        held = nursery.start_soon(step.do, holds_in_a_thread)
        nursery.start_soon(lambda: step.do(fails_then, retry=Retry.never))
    return [*done, held.value]


async def test_l6_a_cancelled_attempt_that_succeeded_is_not_run_again():
    broken.add("sibling")
    async with open_test_engine(workflows=[siblings]) as engine:
        instance = await engine.create(siblings, id="one")
        while "failed" not in [it.status for it in await instance.history()]:
            await trio.lowlevel.checkpoint()
        gates["release"].set()  # of one that is given up by now
        await instance.wait_for_status("errored")
        assert "abandoned" in [it.status for it in await instance.history()]
        broken.clear()
        gates["release"] = trio.Event()  # whoever runs again stands still
        await instance.restart(from_step="failed")
        assert await instance.result() == ["X", "Y", "held"]
        assert sorted(map(str, seen)) == ["x", "y"]


@workflow
async def maps(step) -> list[str]:
    return await step.map(notes, ["p", "q", "r"], concurrency=1, retry=Retry.never)


async def test_l6_of_a_map_the_failed_items_run_again_and_no_others():
    broken.add("q")
    async with open_test_engine(workflows=[maps]) as engine:
        instance = await ended(engine, maps)
        broken.clear()
        await instance.restart(from_step="failed")
        assert await instance.result() == ["P", "Q", "R"]
        assert sorted(map(str, seen)) == ["p", "q", "q", "r"]


@workflow
async def asks(step) -> str:
    approval = await step.wait_for_approval("ok")
    await step.do(notes, "after", name="after")
    return approval.by


async def test_e5_a_decision_for_an_earlier_life_does_not_count():
    async with open_test_engine(workflows=[asks], autojump=False) as engine:
        instance = await engine.create(asks, id="one")
        assert await engine.approvals.approve("asks/one#ok#1", by="ann")
        assert await instance.result() == "ann"
        await instance.restart()
        await instance.wait_for_status("waiting")
        await engine.crash()
        assert await engine.approvals.approve("asks/one#ok#1", by="bob")
        assert not await engine.approvals.reject("asks/one#ok#1", by="eve")
        assert await instance.result() == "bob"
        # from a step after it what was decided stays
        await instance.restart(from_step=StepRef("after"))
        assert await instance.result() == "bob"
        await instance.restart()
        await instance.terminate()
        await instance.restart()
        # before it asks, too
        assert await engine.approvals.approve("asks/one#ok#1", by="zoe")
        assert await instance.result() == "zoe"


@workflow
async def child(step, what: str) -> str:
    return await step.do(notes, what, name="child")


@workflow
async def parent(step) -> list[str]:
    made = await step.create(child, "made")
    many = await step.create_batch(child, ["m1", "m2"])
    named = await step.call(child, "named", id="mine")
    plain = await step.call(child, "plain")
    return [await made.result(), *[await it.result() for it in many], named, plain]


async def test_l10_children_that_erased_steps_called_are_called_again():
    async with open_test_engine(workflows=[parent, child]) as engine:
        instance = await ended(engine, parent)
        output = ["MADE", "M1", "M2", "NAMED", "PLAIN"]
        assert await instance.result() == output
        assert len((await engine.list(child)).items) == 5
        await instance.restart(from_step=StepRef("child", kind="call"))
        assert await instance.result() == output
        assert sorted(map(str, seen)) == sorted(["made", "m1", "m2", *["named", "plain"] * 2])
        await instance.restart()
        assert await instance.result() == output
        # those it created stay, and so does the one without an id of its own; "mine" was deleted
        assert len((await engine.list(child)).items) == 5 + 1 + 4


async def runs() -> None:
    seen.append("runs")
    await trio.sleep_forever()


@workflow
async def runs_for_ever(step) -> None:
    await step.do(runs)


async def test_l6_one_that_runs_is_stopped_and_keeps_its_slot():
    async with open_test_engine(workflows=[runs_for_ever], slots=1, grace=0) as engine:
        one = await engine.create(runs_for_ever, id="one")
        other = await engine.create(runs_for_ever, id="two", priority=100)
        while not seen:
            await trio.testing.wait_all_tasks_blocked()
        await one.restart()
        while len(seen) < 2:
            await trio.testing.wait_all_tasks_blocked()
        assert (await one.status()).status == "running"
        assert (await other.status()).status == "queued"
        assert engine.statistics().leased == 1


async def test_d6_what_a_thread_of_an_earlier_life_returns_changes_nothing():
    @workflow
    async def in_thread(step) -> str:
        return await step.do(holds_in_a_thread)

    async with open_test_engine(workflows=[in_thread]) as engine:
        instance = await engine.create(in_thread, id="one")
        await gates["entered"].wait()
        gates["entered"] = trio.Event()
        await instance.restart()
        await gates["entered"].wait()  # the next one, beside the first
        gates["release"].set()
        assert await instance.result() == "held"
        assert [it.status for it in await instance.history()] == ["done"]


async def test_l6_whoever_waits_for_the_result_waits_on():
    async with open_test_engine(workflows=[line]) as engine:
        instance = await engine.create(line, id="one")
        results = []

        async def wait() -> None:
            results.append((await instance.result())[:2])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await instance.wait_for_status("waiting")
            await instance.restart()
            await instance.wait_for_status("waiting")
            await instance.send_event("go", 5)
        assert results == [["A", 5]]


@pytest.mark.parametrize("seed", range(4))
async def test_l6_two_restarts_at_once_are_one_after_the_other(seed):
    async with open_test_engine(workflows=[line], seed=seed) as engine:
        instance = await ended(engine, line)
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(instance.restart)
        assert (await instance.result())[:2] == ["A", 1]
        assert len(await instance.history()) == 4


@pytest.mark.parametrize(
    ("from_step", "text"),
    [
        (
            StepRef("zzz"),
            r'from_step: do "zzz": instance "one" of "line" has recorded no such step',
        ),
        (StepRef("a", 2), r'do "a" \(2\.\)'),
        (StepRef("a", key="k"), 'do "a" with key "k"'),
        (StepRef("a", branch="n/1"), 'do "a" in branch "n/1"'),
        (StepRef("a", kind="dance"), "Kinds are: do, sleep"),
        ("a", "from_step is 'a'. Pass the `ref` of a line"),
        (7, "from_step is 7"),
    ],
)
async def test_l6_a_step_that_is_not_there_is_refused_and_nothing_changes(from_step, text):
    async with open_test_engine(workflows=[line]) as engine:
        instance = await ended(engine, line)
        for dry_run in (True, False):
            with pytest.raises(InvalidConfig, match=text):
                await instance.restart(from_step=from_step, dry_run=dry_run)
        with pytest.raises(InvalidState, match=r"nothing of instance .* failed: it is complete"):
            await instance.restart(from_step="failed")
        assert (await instance.status()).status == "complete"
        assert seen == ["a", "b", "c"]
        other = await engine.create(line, id="two")
        await other.delete()
        for dry_run in (True, False):
            with pytest.raises(InstanceNotFound):
                await other.restart(dry_run=dry_run)


async def test_l6_a_store_is_opened_again_after_a_restart(tmp_path):
    store = str(tmp_path / "s.db")
    async with open_test_engine(workflows=[line], store=store) as engine:
        instance = await ended(engine, line)
        await instance.restart(from_step=StepRef("b"))
        before = await instance.result()
    async with open_test_engine(workflows=[line], store=store) as engine:
        instance = await engine.get(line, "one")
        assert [it.name for it in await instance.history()] == ["a", "go", "b", "c"]
        await instance.restart(from_step=StepRef("c"))
        assert await instance.result() == before


@workflow
async def renames(step) -> list[object]:
    seen: list[object] = [step.instance.attributes.get("n")]
    await step.do(notes, f"with {seen[0]}")
    for n in (1, 2):
        await step.set_attributes({"n": n})
        seen.append(await step.do(notes, f"after {n}", name="after"))
    return [*seen, step.instance.attributes.get("n")]


@pytest.mark.parametrize(
    ("from_step", "kept"),
    [(None, 7), (StepRef("attributes", kind="set_attributes"), 7), (StepRef("after"), 1),
     (StepRef("attributes", 2, kind="set_attributes"), 1), (StepRef("after", 2), 2)],
)  # fmt: skip
async def test_l6_attributes_are_what_they_were_before_what_is_erased(from_step, kept):
    async with open_test_engine(workflows=[renames, runs_for_ever], grace=0) as engine:
        instance = await engine.create(renames, id="one", attributes={"n": 7})
        output = [7, "AFTER 1", "AFTER 2", 2]
        assert await instance.result() == output
        await engine.set_limits(concurrency=1)
        await (other := await engine.create(runs_for_ever)).wait_for_status("running")
        await instance.restart(from_step=from_step)
        (summary,) = (await engine.list(renames)).items
        assert (summary.status, summary.attributes) == ("queued", {"n": kept})
        assert [it.id for it in await engine.list(attributes={"n": kept})] == ["one"]
        await engine.crash()
        await other.terminate()
        assert await instance.result() == output
