"""What one instance may use: its steps and its bytes, live and on replay alike."""

import itertools

import pytest
import trio

from stepwell import LimitReached, Limits, NewInstance, Status, Step, TooLarge, workflow
from stepwell.testing import open_test_engine


async def value(size: int) -> str:
    return "x" * size


async def number(i: int) -> int:
    return i


async def until_reached(step: Step) -> tuple[int, str, int]:
    """Makes steps of 100 characters until it may make no more. Returns how many, and which limit
    said so."""
    for made in range(1_000):
        try:
            await step.do(value, 100)
        except LimitReached as error:
            await step.wait_for_event("go")  # so that a crash can come after the limit was met
            return made, error.limit, error.value
    raise AssertionError


@workflow
async def counts(step: Step) -> list[object]:
    return list(await until_reached(step))


@workflow
async def carries(step: Step, luggage: str) -> list[object]:
    return list(await until_reached(step))


@workflow(steps=4)
async def maps(step: Step) -> str:
    await step.map(number, range(4), name="fits")
    try:
        await step.do(number, 5)
    except LimitReached as error:
        return str(error)
    raise AssertionError


@workflow
async def works_twice(step: Step) -> int:
    total = 0
    for i in range(6):
        total += await step.do(number, i)
    await step.wait_for_event("go")
    return total


@workflow
async def listens(step: Step) -> str:
    await step.wait_for_event("large")
    try:
        await step.do(number, 1)
    except LimitReached as error:
        return error.limit
    return "no limit"


@workflow
async def goes_on(step: Step) -> str:
    await step.do(value, 1_000)
    await step.wait_for_event("go")
    try:
        await step.do(value, 1_000)
    except (LimitReached, TooLarge) as error:
        return str(error)
    return "no limit"


@pytest.mark.parametrize("crashes", [0, 1])
@pytest.mark.parametrize(
    ("flow", "params", "limits", "made"),
    [
        (counts, None, Limits(steps=7), [7, "steps", 7]),
        # 102 bytes each: the tenth is beyond it
        (counts, None, Limits(instance_bytes=1_000), [10, "instance_bytes", 1_000]),
        (carries, "x" * 500, Limits(instance_bytes=1_000), [5, "instance_bytes", 1_000]),
    ],
)
async def test_a_limit_stops_the_next_step_at_the_same_place_live_and_on_replay(
    flow, params, limits, made, crashes
):
    async with open_test_engine(workflows=[flow], limits=limits) as engine:
        instance = await engine.create(flow, params, id="a")
        await instance.wait_for_status(Status.WAITING)
        for _ in range(crashes):
            await engine.crash()
        await instance.send_event("go")
        assert await instance.result() == made


async def test_the_items_of_a_map_are_steps():
    async with open_test_engine(workflows=[maps]) as engine:
        text = await engine.call(maps, id="m")
    assert text == (
        "maps/m has more than 4 steps. Raise Limits.steps or @workflow(steps=), or "
        "spread them over children."
    )


async def test_a_large_event_counts_too():
    async with open_test_engine(workflows=[listens], limits=Limits(instance_bytes=100)) as engine:
        instance = await engine.create(listens)
        await instance.send_event("large", "x" * 200)
        assert await instance.result() == "instance_bytes"


@pytest.mark.parametrize("lowered", [{"steps": 2}, {"instance_bytes": 3}])
async def test_a_limit_lowered_below_what_is_recorded_changes_no_history(lowered):
    async with open_test_engine(workflows=[works_twice]) as engine:
        instance = await engine.create(works_twice)
        await instance.wait_for_status(Status.WAITING)
        await engine.set_limits(**lowered)
        await engine.crash()
        await instance.send_event("go")
        with trio.fail_after(10):
            assert await instance.result() == 15


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"steps": 1}, "more than 1 steps"),
        ({"value_bytes": 900}, "over the limit of 900"),
        ({"instance_bytes": 600}, "more than 600 bytes"),
    ],
)
async def test_limits_that_change_are_in_force_for_an_instance_in_memory(change, says):
    own = {name: number for name, number in change.items() if name != "instance_bytes"}
    async with open_test_engine(workflows=[goes_on]) as engine:
        lowered, raised = (
            await engine.create(goes_on, id="lowered"),
            await engine.create(goes_on, id="raised"),
        )
        for instance in (lowered, raised):
            await instance.wait_for_status(Status.WAITING)
        await engine.set_limits(**change)
        await lowered.send_event("go")
        assert says in await lowered.result()
        await (
            engine.set_limits(goes_on, **dict.fromkeys(own, 5_000))
            if own
            else engine.set_limits(**dict.fromkeys(change))
        )
        await raised.send_event("go")
        assert await raised.result() == "no limit"


@pytest.mark.parametrize("method", ["map", "each"])
async def test_q1_of_items_without_end_no_more_are_read_than_there_may_be(method, monkeypatch):
    monkeypatch.setattr("stepwell._operations.each.BRANCHES_MAX", 5)
    read: list[int] = []

    def endless():
        for item in itertools.count():
            read.append(item)
            yield item

    @workflow(name="takes", steps=5)
    async def takes(step: Step) -> str:
        try:
            if method == "map":
                await step.map(number, endless())
            else:
                await step.each(number, endless())
        except LimitReached as error:
            await step.wait_for_event("go")
            return str(error)
        raise AssertionError

    async with open_test_engine(workflows=[takes], autojump=False) as engine:
        instance = await engine.create(takes, id="i")
        await instance.wait_for_status("waiting")
        assert len(read) == 6
        await engine.crash()
        await instance.send_event("go")
        told = (
            ("takes/i has more than 5 steps")
            if method == "map"
            else 'step.each "number" was given more than 5 items'
        )
        assert told in await instance.result()


@workflow(value_bytes=100)
async def modest(step: Step, given: str) -> int:
    return len(given)


@workflow(value_bytes=100)
async def hears(step: Step) -> None:
    await step.wait_for_event("end")


@workflow(value_bytes=2_000)
async def gives(step: Step, what: tuple[str, int]) -> str:
    """Gives `modest`, or `hears`, a value of this size. Returns what it came to."""
    how, given = what[0], "x" * what[1]
    try:
        if how == "call":
            await step.call(modest, given)
        elif how == "create":
            await step.create(modest, given)
        elif how == "create_batch":
            await step.create_batch(modest, [given])
        elif how == "NewInstance":
            await step.create_batch(modest, [NewInstance(given)])
        else:
            await step.send_event(hears, "h", "news", given)
    except TooLarge as error:
        return str(error.limit)
    return "taken"


HOW = ["call", "create", "create_batch", "NewInstance", "send_event"]


async def given_from_outside(engine, how, size):
    """As `gives`, from outside."""
    try:
        if how == "create_batch":
            for error in (await engine.create_batch(modest, ["x" * size])).errors:
                raise error.error
        elif how == "send_event":
            await (await engine.get(hears, "h")).send_event("news", "x" * size)
        else:
            await engine.create(modest, "x" * size)
    except TooLarge as error:
        return str(error.limit)
    return "taken"


@pytest.mark.parametrize(
    ("change", "size", "came_to"),
    [
        (None, 90, "taken"),
        (None, 150, "100"),  # by the code of whom it is for; the parent's 2,000 are its own
        (1_000, 300, "taken"),
        (1_000, 1_500, "1000"),
        (50, 70, "50"),
    ],
)
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("namespace", ["default", "other"])
async def test_what_an_instance_is_given_is_judged_by_its_own_workflows_limits(
    namespace, how, change, size, came_to
):
    async with open_test_engine(
        workflows=[modest, hears, gives], limits=Limits(value_bytes=200)
    ) as engine:
        tenant = engine.namespace(namespace)
        await tenant.create(hears, id="h")
        if change is not None:
            await tenant.set_limits(modest, value_bytes=change)
            await tenant.set_limits(hears, value_bytes=change)
        assert await tenant.call(gives, (how, size)) == came_to
        assert await given_from_outside(tenant, how, size) == came_to
