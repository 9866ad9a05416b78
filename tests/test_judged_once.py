"""What a body asked for is judged once, by the limits, registrations and types of that day; on
replay history knows it (D3)."""

import pytest
import trio
from formats import of_format

from stepwell import InvalidConfig, LimitReached, Limits, NewInstance, TooLarge, workflow
from stepwell.testing import open_test_engine

BIG = "x" * 3_000
held: list[int] = []
ran: list[int] = []


@pytest.fixture(autouse=True)
def _nothing_ran():
    held.clear()
    ran.clear()


@workflow
async def kid(step, params: str) -> int:
    await step.wait_for_event("end")
    return len(params)


@workflow(name="kid")
async def kid_of_other_type(step, params: int) -> int:
    raise AssertionError("it has other params")


@workflow
async def hears(step) -> int:
    return len((await step.wait_for_event("news")).payload)


async def number(i: int) -> int:
    if i in held:
        await trio.sleep_forever()
    ran.append(i)
    return i


async def creates(step):
    return (await step.create(kid, BIG, id="k")).id


async def creates_by_name(step):
    return (await step.create("kid", BIG, id="k", attributes={"a": 1})).id


async def creates_batch(step):
    return [
        made.id
        for made in await step.create_batch(
            kid, [NewInstance(BIG, id="k"), NewInstance("", id="l")]
        )
    ]


async def calls(step):
    return await step.call(kid, BIG, id="k")


async def calls_in_time(step):
    with step.move_on_after("1 hour"):
        return await step.call(kid, BIG, id="k")


async def awaits(step):
    return await (await step.create(kid, BIG, id="k")).result()


async def sends(step):
    return await step.send_event(hears, "h", "news", BIG)


async def sends_to_child(step):
    return await (await step.create(kid, "", id="k")).send_event("news", BIG)


async def asks(step):
    return (await step.wait_for_approval("ok", detail=BIG)).by


async def maps(step):
    return sum(await step.map(number, range(10), concurrency=10))


async def maps_iterator(step):
    return sum(await step.map(number, iter(range(10)), concurrency=10))


async def maps_by_key(step):
    return sum(await step.map(number, range(10), key=str, concurrency=10))


async def gathers(step):
    return [
        made.id
        for made in [
            await it for it in [step.create(kid, BIG, id="k"), step.create(kid, BIG, id="l")]
        ]
    ]


OPERATIONS = {  # what each gives, and whether it may be open
    creates: ("k", False),
    creates_by_name: ("k", False),
    creates_batch: (["k", "l"], False),
    gathers: (["k", "l"], False),
    calls: (3_000, True),
    calls_in_time: (3_000, True),
    awaits: (3_000, True),
    sends: (None, False),
    sends_to_child: (None, False),
    asks: ("ann", True),
    maps: (45, True),
    maps_iterator: (45, True),
    maps_by_key: (45, True),
}


def parent_that(operation):
    """Does the operation beside a wait that brings the body back, and waits once more."""

    async def parent(step):
        for _ in range(2):
            await step.do(number, -1)

        async with step.open_nursery() as nursery:
            nursery.start_soon(step.wait_for_event, "ping")
            found = await operation(step)
        await step.wait_for_event("go")
        return found

    return workflow(parent)


async def let_it_end(engine, operation):
    if operation is asks:
        await engine.approvals.approve("parent/i#ok#1", by="ann")
    elif operation in (calls, calls_in_time, awaits):
        await (await engine.get(kid, "k")).send_event("end")
    await engine.clock.settled()


CHANGES = {
    "value_bytes lowered": ({"value_bytes": 500}, [kid]),
    "steps lowered": ({"steps": 1}, [kid]),
    "instance_bytes lowered": ({"instance_bytes": 1}, [kid]),
    "workflow unregistered": ({}, []),
    "workflow of another type": ({}, [kid_of_other_type]),
}
CASES = [
    (operation, state)
    for operation, (_, may_be_open) in OPERATIONS.items()
    for state in ["recorded", "open"][: 1 + may_be_open]
]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(
    ("operation", "state"),
    CASES,
    ids=[f"{operation.__name__}-{state}" for operation, state in CASES],
)
async def test_d3_what_history_knows_is_not_judged_by_todays_limits_and_registrations(
    tmp_path, operation, state, change
):
    limits, instead = CHANGES[change]
    parent, store = parent_that(operation), tmp_path / "a.db"
    options = {"store": store, "autojump": False, "grace": "0 seconds"}
    async with open_test_engine(workflows=[kid, hears, parent], **options) as engine:
        await engine.create(hears, id="h")
        if operation in (maps, maps_iterator, maps_by_key) and state == "open":
            held.extend([0, 1, 2, 3, 6, 7, 9])
        instance = await engine.create(parent, id="i")
        if held:
            await instance.wait_for_step("number", count=5)  # two before it, and three items
        else:
            await engine.clock.settled()
        if state == "recorded":
            await let_it_end(engine, operation)
        if limits:
            await engine.set_limits(**limits)
        await engine.crash()
    held.clear()
    async with open_test_engine(workflows=[*instead, hears, parent], **options) as engine:
        instance = await engine.get(parent, "i")
        await instance.send_event("ping")
        await engine.clock.settled()
        status = await instance.status()
        assert (status.status, status.error) == ("waiting", None)
    async with open_test_engine(workflows=[kid, hears, parent], **options) as engine:
        instance = await engine.get(parent, "i")
        if state == "open":
            await let_it_end(engine, operation)
        await instance.send_event("go")
        assert await instance.result() == OPERATIONS[operation][0]
        assert len(ran) == len(set(ran)) + 1  # the two steps before it are one number


async def creates_twice(step, size):
    return (await step.create(kid, "x" * size, id="k")).id


async def creates_batch_twice(step, size):
    return [made.id for made in await step.create_batch(kid, [NewInstance("x" * size, id="k")])]


async def calls_twice(step, size):
    return await step.call(kid, "x" * size, id="k")


async def sends_twice(step, size):
    return await step.send_event(hears, "h", "news", "x" * size)


async def asks_twice(step, size):
    return (await step.wait_for_approval("ok", detail="x" * size)).by


@pytest.mark.parametrize(
    ("attempt", "given"),
    [
        (creates_twice, "k"),
        (creates_batch_twice, ["k"]),
        (calls_twice, 10),
        (sends_twice, None),
        (asks_twice, "ann"),
    ],
)
@pytest.mark.parametrize("state", ["recorded", "open"])
@pytest.mark.parametrize("format", [1, 2, 3, 4])
async def test_i1_what_was_refused_is_refused_again_and_not_taken_for_what_was_asked_instead(
    attempt, given, state, format, monkeypatch
):
    of_format(format, monkeypatch)

    @workflow
    async def parent(step):
        told = []
        async with step.open_nursery() as nursery:
            nursery.start_soon(step.wait_for_event, "ping")
            for size in (3_000, 2_000, 10):
                try:
                    told.append(await attempt(step, size))
                except TooLarge as error:
                    told.append(error.size)
        await step.wait_for_event("go")
        return told

    async with open_test_engine(
        workflows=[kid, hears, parent], autojump=False, limits=Limits(value_bytes=500)
    ) as engine:
        await engine.create(hears, id="h")
        instance = await engine.create(parent, id="i")
        for moment in ("open", "recorded"):
            await engine.clock.settled()
            if moment == state:
                await engine.crash()
                await instance.send_event("ping")
                await engine.clock.settled()
            if moment == "open" and attempt is asks_twice:
                await engine.approvals.approve("parent/i#ok#1", by="ann")
            elif moment == "open" and attempt is calls_twice:
                await (await engine.get(kid, "k")).send_event("end")
        await instance.send_event("ping") if state == "open" else await engine.crash()
        await instance.send_event("go")
        found = await instance.result()
        assert found[2] == given
        assert found[0] > found[1] > 2_000


async def test_q1_what_history_does_not_know_meets_the_limits_of_today(tmp_path):
    @workflow
    async def parent(step):
        await step.create(kid, BIG, id="k")
        await step.wait_for_event("go")
        for made in (lambda: step.create(kid, BIG), lambda: step.map(number, range(10))):
            try:
                await made()
            except (TooLarge, LimitReached) as error:
                await step.wait_for_event(
                    error.limit if isinstance(error, LimitReached) else "size"
                )
        return "refused"

    async with open_test_engine(workflows=[kid, parent], autojump=False) as engine:
        instance = await engine.create(parent, id="i")
        await engine.clock.settled()
        await engine.set_limits(value_bytes=500, steps=5)
        for type in ("go", "size", "steps"):
            await engine.crash()
            await instance.send_event(type)
            await engine.clock.settled()
        assert await instance.result() == "refused"


async def test_d7_an_output_of_a_workflow_known_by_name_only_is_not_read_without_its_code(tmp_path):
    @workflow
    async def parent(step):
        async with step.open_nursery() as nursery:
            nursery.start_soon(step.wait_for_event, "ping")
            nursery.start_soon(step.wait_for_event, "pong")
            return await step.call("kid", "abc", id="k")

    store = tmp_path / "a.db"
    async with open_test_engine(workflows=[kid, parent], store=store, autojump=False) as engine:
        await engine.create(parent, id="i")
        await engine.clock.settled()
        await (await engine.get(kid, "k")).send_event("end")
        await engine.clock.settled()
    async with open_test_engine(workflows=[parent], store=store, autojump=False) as engine:
        instance = await engine.get(parent, "i")
        await instance.send_event("ping")
        await engine.clock.settled()
        status = await instance.status()
        assert status.status == "blocked"
        assert 'workflow "kid" is not registered with this engine' in str(status.error)
    async with open_test_engine(workflows=[kid, parent], store=store, autojump=False) as engine:
        instance = await engine.get(parent, "i")
        await instance.resume()
        await instance.send_event("pong")
        assert await instance.result() == 3


async def test_a_workflow_that_is_not_registered_is_refused_live(tmp_path):
    @workflow
    async def parent(step):
        try:
            await step.create(kid, "", name="made")
        except InvalidConfig:
            return (await step.create(hears, id="h", name="made")).id

    async with open_test_engine(workflows=[hears, parent]) as engine:
        assert await engine.call(parent, None) == "h"
