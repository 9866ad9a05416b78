"""Children: created exactly once, or called and waited for without a slot (rule L10, without
terminate)."""

from datetime import UTC, datetime

import pytest

from stepwell import (
    InstanceErrored,
    InstanceExists,
    InvalidConfig,
    NewInstance,
    NotSerializable,
    Status,
    StepwellError,
    workflow,
)
from stepwell.testing import open_test_engine

runs: list = []


@pytest.fixture(autouse=True)
def _no_runs():
    runs.clear()


@workflow
async def child(step, x: int) -> int:
    runs.append(x)
    if x < 0:
        raise ValueError(f"negative {x}")
    if x == 0:
        return (await step.wait_for_event("answer")).payload
    return x * 2


@workflow
async def creates(step, x: int):
    made = await step.create(child, x)
    await step.wait_for_event("go")
    return [made.id, await made.result()]


async def test_l10_create_makes_exactly_one_child_however_often_the_parent_replays():
    async with open_test_engine(workflows=[child, creates], autojump=False) as engine:
        parent = await engine.create(creates, 3)
        for _ in range(4):
            await parent.wait_for_status("waiting")
            await engine.crash()
        await parent.send_event("go")
        id, output = await parent.result()
        assert output == 6
        assert runs == [3]
        assert [i.id for i in (await engine.list(child)).items] == [id]


@workflow
async def creates_and_ends(step):
    return (await step.create(child, 0)).id


async def test_l10_a_created_child_lives_on_when_its_parent_has_ended():
    async with open_test_engine(workflows=[child, creates_and_ends], autojump=False) as engine:
        made = await engine.get(child, await engine.call(creates_and_ends))
        await made.wait_for_status("waiting")
        await made.send_event("answer", 42)
        assert await made.result() == 42


@workflow
async def calls(step, x: int):
    try:
        return await step.call(child, x)
    except InstanceErrored as error:
        return [str(error), error.error.type, error.error.message]


async def test_l10_call_gives_the_childs_output_also_over_a_crash():
    async with open_test_engine(workflows=[child, calls], autojump=False) as engine:
        parent = await engine.create(calls, 0)
        await parent.wait_for_status("waiting")
        await engine.crash()
        (made,) = (await engine.list(child)).items
        await (await engine.get(child, made.id)).send_event("answer", 7)
        await engine.crash()
        assert await parent.result() == 7
        assert (await engine.count(child))[Status.COMPLETE] == 1


async def test_l10_call_waits_without_a_slot():
    async with open_test_engine(workflows=[child, calls], autojump=False, slots=1) as engine:
        parents = [await engine.create(calls, x) for x in (1, 2, 3)]
        assert [await p.result() for p in parents] == [2, 4, 6]


async def test_l10_a_childs_failure_is_raised_with_its_own_error():
    async with open_test_engine(workflows=[child, calls]) as engine:
        text, type, message = await engine.call(calls, -1)
        assert text.endswith("ValueError: negative -1")
        assert text.startswith("child/")
        assert (type, message) == ("ValueError", "negative -1")


@workflow(version="terminated")
async def oddly_named(step):
    raise ValueError("no")


@workflow
async def calls_oddly_named(step):
    try:
        await step.call(oddly_named)
    except StepwellError as error:
        return type(error).__name__, str(error)


async def test_a_childs_failure_is_told_whatever_its_version_is_called():
    async with open_test_engine(workflows=[oddly_named, calls_oddly_named]) as engine:
        kind, text = await engine.call(calls_oddly_named)
        assert kind == "InstanceErrored"
        assert text.endswith("failed: ValueError: no")


@workflow
async def with_ids(step, how: str):
    try:
        if how == "call":
            return await step.call(child, 1, id="mine")
        if how == "batch":
            return [c.id for c in await step.create_batch(child, [1, NewInstance(2, id="mine")])]
        return (await step.create(child, 1, id="mine")).id
    except InstanceExists as error:
        return [error.workflow, error.id, str(error)]


@pytest.mark.parametrize("how", ["call", "create", "batch"])
async def test_an_id_that_is_taken_is_an_error_that_names_it(how):
    async with open_test_engine(workflows=[child, with_ids]) as engine:
        await engine.call(child, 5, id="mine")
        workflow_name, id, text = await engine.call(with_ids, how)
        assert (workflow_name, id) == ("child", "mine")
        assert 'instance "mine" of "child" already exists' in text
        assert (await engine.count(child))[Status.COMPLETE] == 1


@pytest.mark.parametrize(("how", "wanted"), [("call", 2), ("create", "mine")])
async def test_a_childs_id_may_be_given(how, wanted):
    async with open_test_engine(workflows=[child, with_ids]) as engine:
        assert await engine.call(with_ids, how) == wanted
        assert await (await engine.get(child, "mine")).result() == 2


@workflow
async def batches(step, n: int):
    made = await step.create_batch(child, [i + 1 for i in range(n)])
    await step.wait_for_event("go")
    return [[c.id for c in made], [await c.result() for c in made[:3]]]


async def test_create_batch_makes_thousands_of_children_as_one_record_and_once():
    async with open_test_engine(workflows=[child, batches], autojump=False) as engine:
        parent = await engine.create(batches, 2000)
        await parent.wait_for_status("waiting")
        await engine.crash()
        await parent.wait_for_status("waiting")
        assert [(r.kind, r.name, r.status) for r in await parent.history()][:1] == [
            ("create_batch", "child", "done")
        ]
        assert sum((await engine.count(child)).values()) == 2000
        await parent.send_event("go")
        ids, outputs = await parent.result()
        assert len(set(ids)) == 2000
        assert outputs == [2, 4, 6]


@workflow
async def talks(step):
    made = await step.create(child, 0)
    await made.send_event("answer", {"n": 1})
    return await made.result()


async def test_a_body_sends_its_child_events():
    async with open_test_engine(workflows=[child, talks]) as engine:
        with pytest.raises(InstanceErrored, match="talks"):
            await engine.call(talks)  # the child declares an int and answers a dict

    @workflow(name="talks")
    async def talks_well(step):
        made = await step.create(child, 0)
        await made.send_event("answer", 5)
        return [made.workflow, await made.result(), await made.result()]

    async with open_test_engine(workflows=[child, talks_well]) as engine:
        assert await engine.call(talks_well) == ["child", 5, 5]


async def test_children_in_branches_have_ids_of_their_own():
    @workflow(name="fans_out")
    async def fans_out(step):
        async def one(x: int):
            return await step.call(child, x)

        return await step.each(one, [1, 2, 3])

    async with open_test_engine(workflows=[child, fans_out]) as engine:
        assert await engine.call(fans_out) == [2, 4, 6]
        assert sorted(runs) == [1, 2, 3]


async def test_a_failing_sibling_gives_up_a_called_child_without_hanging():
    @workflow(name="gives_up")
    async def gives_up(step):
        async def breaks():
            raise KeyError("x")

        try:
            async with step.open_nursery() as nursery:
                nursery.start_soon(step.call, child, 0)
                nursery.start_soon(breaks)
        except* KeyError:
            pass
        return "on"

    async with open_test_engine(workflows=[child, gives_up]) as engine:
        assert await engine.call(gives_up) == "on"


@workflow
async def misuses(step, how: str):
    try:
        if how == "unregistered":
            await step.create("no_such_workflow", 1)
        elif how == "params":
            await step.call(child, object())
        elif how == "batch item":
            await step.create_batch(child, [1, 2, {"x": object()}])
        elif how == "empty batch":
            await step.create_batch(child, [])
        elif how == "none taken":
            await step.create(misuses_none, 1)
        elif how == "id":
            await step.create(child, 1, id="not valid!")
    except StepwellError as error:
        return [type(error).__name__, str(error)]


@workflow
async def misuses_none(step):
    pass


@pytest.mark.parametrize(
    ("how", "kind", "says"),
    [
        ("unregistered", InvalidConfig, ["no_such_workflow", "child", "workflows="]),
        ("params", NotSerializable, ["params", "object"]),
        ("batch item", NotSerializable, ["items[2]", "dict", "int"]),
        ("empty batch", InvalidConfig, ["0", "1 to 10,000"]),
        ("none taken", InvalidConfig, ["misuses_none", "takes no params"]),
        ("id", None, ["not valid!"]),
    ],
)
async def test_a_child_that_cannot_be_made_says_why(how, kind, says):
    async with open_test_engine(workflows=[child, misuses, misuses_none]) as engine:
        name, text = await engine.call(misuses, how)
        assert kind is None or name == kind.__name__
        for part in says:
            assert part in text
        assert sum((await engine.count(child)).values()) == 0


async def test_ids_given_twice_in_a_batch_are_named_with_their_places():
    @workflow(name="child")
    async def child(step):
        return None

    @workflow(name="parent")
    async def parent(step):
        says = r'items\[1\] and items\[3\] have the same id "b"\. None of the batch was created'
        with pytest.raises(InstanceExists, match=says) as caught:
            await step.create_batch(
                "child", [NewInstance(id="a"), NewInstance(id="b"), None, NewInstance(id="b")]
            )
        return caught.value.id

    async with open_test_engine(workflows=[parent, child]) as engine:
        assert await engine.call(parent) == "b"
        assert (await engine.list("child")).items == []


@pytest.mark.parametrize(
    ("ids", "which"),
    [
        (["x1"], 'instance "x1" of "child" already exists'),
        (
            ["z2", "x1"],
            'an instance of "child" with one of these 2 ids ("z2", "x1") already exists',
        ),
        (
            ["a", "b", "c", "x1"],
            'an instance of "child" with one of these 4 ids ("a", "b", "c", …) already exists',
        ),
    ],
)
async def test_ids_of_a_batch_that_are_taken_are_named_in_a_sentence(ids, which):
    @workflow(name="child")
    async def child(step):
        return None

    @workflow(name="parent")
    async def parent(step):
        try:
            await step.create_batch("child", [NewInstance(id=id) for id in ids])
        except InstanceExists as error:
            return str(error)

    async with open_test_engine(workflows=[parent, child]) as engine:
        await engine.create(child, id="x1")
        assert await engine.call(parent) == (
            f"{which}. None of the batch was created. Pass other ids."
        )


@pytest.mark.parametrize(
    "given",
    [{"priority": 5}, {"start_at": datetime(2031, 1, 1, tzinfo=UTC)}, {"retention": "1 day"}],
)
async def test_what_a_batch_of_children_would_ignore_is_refused(given):
    @workflow(name="parent")
    async def parent(step):
        await step.create_batch("parent", [NewInstance(), NewInstance(**given)])

    async with open_test_engine(workflows=[parent]) as engine:
        with pytest.raises(
            InstanceErrored,
            match=rf"items\[1\]: {next(iter(given))} of a NewInstance is for engine\.create_batch",
        ):
            await engine.call(parent)
