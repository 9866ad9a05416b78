"""Approvals: asked for, decided once, also before they are asked for (rule E5)."""

from datetime import timedelta

import pytest
from formats import of_format

from stepwell import (
    ApprovalTimeout,
    InstanceNotFound,
    InvalidConfig,
    InvalidName,
    InvalidState,
    NotSerializable,
    Rejected,
    TooLarge,
    workflow,
)
from stepwell.testing import open_test_engine


@workflow
async def asks(step, before: str | None = None) -> list:
    if before is not None:
        await step.wait_for_event(before)
    try:
        got = await step.wait_for_approval("deploy", detail={"to": "production"}, timeout="1 day")
    except Rejected as error:
        return ["rejected", error.by, error.reason, error.metadata, str(error)]
    except ApprovalTimeout as error:
        return ["late", isinstance(error, TimeoutError), str(error)]
    return ["approved", got.by, got.reason, got.metadata, got.at.isoformat()]


async def test_e5_an_open_request_is_listed_with_what_whoever_decides_needs():
    async with open_test_engine(workflows=[asks], autojump=False) as engine:
        instance = await engine.create(asks, id="a")
        await instance.wait_for_status("waiting")
        asked = engine.clock.now()
        (request,) = await engine.approvals.list()
        assert (request.id, request.workflow, request.instance_id, request.name) == (
            "asks/a#deploy#1",
            "asks",
            "a",
            "deploy",
        )
        assert (request.detail, request.status) == ({"to": "production"}, "open")
        assert (request.asked_at, request.until) == (asked, asked + timedelta(days=1))
        assert (await engine.approvals.list("asks", "open")).items == [request]
        assert not (await engine.approvals.list("other")).items
        assert not (await engine.approvals.list(asks, "approved")).items


@pytest.mark.parametrize("approve", [True, False])
async def test_e5_who_when_and_why_are_recorded_and_survive_a_crash(approve):
    async with open_test_engine(workflows=[asks], autojump=False) as engine:
        instance = await engine.create(asks, id="a")
        await instance.wait_for_status("waiting")
        await engine.clock.advance("2 hours")
        decide = engine.approvals.approve if approve else engine.approvals.reject
        assert (
            await decide("asks/a#deploy#1", by="ann", reason="tested", metadata={"ticket": 7})
            is True
        )
        await engine.crash()
        got = await instance.result()
        assert got[:4] == ["approved" if approve else "rejected", "ann", "tested", {"ticket": 7}]
        assert got[4] == (
            "2030-01-01T02:00:00+00:00"
            if approve
            else '"deploy" of asks/a was rejected by ann: tested'
        )
        assert [r.status for r in await engine.approvals.list(status=None)] == [
            "approved" if approve else "rejected"
        ]
        assert (await engine.approvals.list()).items == []


async def test_e5_the_first_decision_wins_and_later_ones_change_nothing():
    async with open_test_engine(workflows=[asks], autojump=False) as engine:
        instance = await engine.create(asks, "before", id="a")
        id = "asks/a#deploy#1"
        assert await engine.approvals.reject(id, by="first") is True
        assert await engine.approvals.approve(id, by="second") is False
        await engine.crash()
        assert await engine.approvals.approve(id, by="third") is False
        await instance.send_event("before")
        assert (await instance.result())[:2] == ["rejected", "first"]


async def test_e5_a_decision_before_the_ask_is_kept():
    async with open_test_engine(workflows=[asks], autojump=False) as engine:
        instance = await engine.create(asks, "before", id="a")
        assert await engine.approvals.approve("asks/a#deploy#1", by="early") is True
        await engine.crash()
        await instance.send_event("before")
        assert (await instance.result())[:2] == ["approved", "early"]


@workflow
async def asks_twice(step):
    return [(await step.wait_for_approval("deploy")).by for _ in range(2)]


async def test_e5_every_occurrence_has_its_own_id():
    async with open_test_engine(workflows=[asks_twice], autojump=False) as engine:
        instance = await engine.create(asks_twice, id="a")
        assert await engine.approvals.approve("asks_twice/a#deploy#2", by="second") is True
        assert await engine.approvals.approve("asks_twice/a#deploy#1", by="first") is True
        assert await instance.result() == ["first", "second"]


async def test_e5_a_later_decision_opens_nothing_else():
    async with open_test_engine(workflows=[asks_twice], autojump=False) as engine:
        instance = await engine.create(asks_twice, id="a")
        await instance.wait_for_status("waiting")
        assert await engine.approvals.approve("asks_twice/a#deploy#1", by="first") is True
        assert await engine.approvals.approve("asks_twice/a#deploy#1", by="again") is False
        await instance.wait_for_status("waiting")
        assert [(r.id, r.status) for r in await engine.approvals.list()] == [
            ("asks_twice/a#deploy#2", "open")
        ]


async def test_e5_an_approval_that_timed_out_takes_no_decision_any_more():
    async with open_test_engine(workflows=[asks], autojump=False) as engine:
        instance = await engine.create(asks, id="a")
        await instance.wait_for_status("waiting")
        await engine.clock.advance("25 hours")
        late, is_timeout, text = await instance.result()
        assert (late, is_timeout) == ("late", True)
        assert '"deploy"' in text
        assert "asks/a" in text
        assert [r.status for r in await engine.approvals.list(status=None)] == ["timed_out"]
        try:
            assert await engine.approvals.approve("asks/a#deploy#1", by="late") is False
        except InvalidState as error:
            assert "complete" in str(error)  # noqa: PT017  # either answer is the contract's


@workflow
async def asks_for_a_week(step):
    await step.wait_for_approval("deploy")


async def test_e5_the_default_is_seven_days():
    async with open_test_engine(workflows=[asks_for_a_week], autojump=False) as engine:
        instance = await engine.create(asks_for_a_week)
        await instance.wait_for_status("waiting")
        (request,) = await engine.approvals.list()
        assert request.until - request.asked_at == timedelta(days=7)


@workflow
async def asks_in_branches(step):
    async def one(name: str):
        return (await step.wait_for_approval("ok")).by

    return await step.each(one, ["a", "b"])


async def test_e5_approvals_of_branches_are_told_apart():
    async with open_test_engine(workflows=[asks_in_branches], autojump=False) as engine:
        instance = await engine.create(asks_in_branches, id="i")
        await instance.wait_for_status("waiting")
        requests = await engine.approvals.list()
        assert len({r.id for r in requests}) == 2
        for request, who in zip(requests, ("x", "y"), strict=True):
            assert await engine.approvals.approve(request.id, by=who) is True
        assert sorted(await instance.result()) == ["x", "y"]


NO_PLACES = [
    "",
    "a#1",
    "a/b",
    "/deploy",
    "a[0]",
    "a[2f",
    "x" * 257,
    "a\nb",
    "\ud800",
    "team[0]/deploy",
    "team#0[0]/deploy",
    "team#1/deploy",
    "team#1[0]/",
    "te%20am#1[0]/deploy",
    "te\x7fam#1[0]/deploy",
]
"""What stands in an id in the place of a name and can be none."""
NO_OCCURRENCES = [
    "x",
    "0",
    "01",
    "-1",
    "+1",
    " 1",
    "1_0",
    "\uff11",
    "\u00b2",
    "4294967296",
    "9" * 20,
    "9" * 5_000,
]


@pytest.mark.parametrize(
    "id",
    [
        "",
        "nonsense",
        "asks/a",
        "asks/a#deploy",
        "#deploy#1",
        None,
        5,
        *(f"asks/a#deploy#{count}" for count in NO_OCCURRENCES),
        *(f"asks/a#{place}#1" for place in NO_PLACES),
    ],
)
async def test_an_id_that_is_none_says_how_they_read(id):
    async with open_test_engine(workflows=[asks], autojump=False) as engine:
        instance = await engine.create(asks, "before", id="a")
        for decide in (engine.approvals.approve, engine.approvals.reject):
            with pytest.raises(InvalidConfig, match=r"workflow/instance#name#1.*approvals\.list"):
                await decide(id, by="x")
        assert not (await engine.approvals.list(status=None)).items
        assert await engine.approvals.approve("asks/a#deploy#1", by="ann")
        await instance.send_event("before")
        assert (await instance.result())[:2] == ["approved", "ann"]


@pytest.mark.parametrize(
    "place",
    [
        "de ploy",
        "d[2F[5B[23",
        "x" * 256,
        "[2F" * 256,
        "é",
        "team#1[0]/deploy",
        "a%2Fb#12[k%5B]]/each#1[9]/[23",
        "%",
        "]",
    ],
)
async def test_e5_an_id_that_a_wait_can_have_is_decided_before_it(place):
    async with open_test_engine(workflows=[asks], autojump=False) as engine:
        await engine.create(asks, "before", id="a")
        assert await engine.approvals.approve(f"asks/a#{place}#1", by="ann") is True
        assert await engine.approvals.approve(f"asks/a#{place}#1", by="bob") is False


async def test_a_decision_that_is_too_large_says_which_part_of_it_is():
    async with open_test_engine(workflows=[asks], autojump=False) as engine:
        await engine.set_limits(asks, value_bytes=1_000)
        await engine.create(asks, id="a")
        half, whole = "x" * 600, "x" * 1_100
        for reason, metadata, what in (
            (whole, None, "reason"),
            (None, whole, "metadata"),
            (half, half, "decision"),
        ):
            with pytest.raises(TooLarge, match=f"^{what} is 1,"):
                await engine.approvals.approve(
                    "asks/a#deploy#1", by="x", reason=reason, metadata=metadata
                )


async def test_decisions_that_cannot_be_made_are_errors_of_their_own():
    async with open_test_engine(workflows=[asks], autojump=False) as engine:
        await engine.create(asks, id="a")
        with pytest.raises(InstanceNotFound, match='"none"'):
            await engine.approvals.approve("asks/none#deploy#1", by="x")
        with pytest.raises(NotSerializable, match=r"metadata\[.x.\].*object"):
            await engine.approvals.approve("asks/a#deploy#1", by="x", metadata={"x": object()})
        with pytest.raises(InvalidConfig, match="reason is 5"):
            await engine.approvals.approve("asks/a#deploy#1", by="x", reason=5)
        with pytest.raises(InvalidName, match="by"):
            await engine.approvals.approve("asks/a#deploy#1", by="")
        with pytest.raises(InvalidConfig, match=r"status is 'closed'.*open.*approved.*rejected"):
            await engine.approvals.list(status="closed")


AMBIGUOUS = "team#1[0]/deploy"


@workflow
async def two_that_read_alike(step) -> list:
    async def one() -> str:
        return (await step.wait_for_approval("deploy")).by

    async with step.open_nursery("team") as nursery:
        branch = nursery.start_soon(one)
        other = nursery.start_soon(step.wait_for_approval, AMBIGUOUS)
    return [branch.value, other.value.by]


async def test_e5_no_two_approvals_have_one_id_whatever_their_names_are():
    async with open_test_engine(workflows=[two_that_read_alike], autojump=False) as engine:
        instance = await engine.create(two_that_read_alike, id="a")
        await instance.wait_for_status("waiting")
        ids = {request.name: request.id for request in await engine.approvals.list()}
        assert ids == {
            "deploy": "two_that_read_alike/a#team#1[0]/deploy#1",
            AMBIGUOUS: "two_that_read_alike/a#team#1[1]/team[231[5B0][2Fdeploy#1",
        }
        assert await engine.approvals.approve(ids["deploy"], by="ann")
        assert await engine.approvals.approve(ids[AMBIGUOUS], by="bob")
        assert await instance.result() == ["ann", "bob"]


ODD = [
    "a",
    "a%2Fb",
    "2F",
    "a/b",
    "a[2Fb",
    "a[b",
    "a#b",
    "a[5Bb",
    "#1[0]/a",
    "/",
    "[",
    "#",
    "[[",
    "//",
]


@workflow
async def asks_for_odd_names(step) -> None:
    async with step.open_nursery("all") as nursery:
        for name in ODD:
            nursery.start_soon(step.wait_for_approval, name)


async def test_e5_escaped_names_read_alike_only_if_they_are_and_plain_ones_stay_as_they_are():
    async with open_test_engine(workflows=[asks_for_odd_names], autojump=False) as engine:
        await (await engine.create(asks_for_odd_names, id="a")).wait_for_status("waiting")
        ids = {it.name: it.id for it in await engine.approvals.list()}
    start = [f"asks_for_odd_names/a#all#1[{place}]/" for place in range(len(ODD))]
    assert all(ids[name].startswith(at) for name, at in zip(ODD, start, strict=True))
    escaped = [
        ids[name].removeprefix(at).removesuffix("#1") for name, at in zip(ODD, start, strict=True)
    ]
    assert len(set(escaped)) == len(ODD)
    assert escaped[:3] == ODD[:3]
    assert not any("/" in it or "#" in it for it in escaped)


async def test_e5_an_instance_of_before_keeps_the_ids_it_asks_under(monkeypatch):
    async with open_test_engine(workflows=[asks_oddly], autojump=False) as engine:
        of_format(0, monkeypatch)
        instance = await engine.create(asks_oddly, id="old")
        await instance.wait_for_status("waiting")
        (request,) = await engine.approvals.list()
        assert request.id == "asks_oddly/old#a/b#1"
        monkeypatch.undo()
        await engine.crash()  # whatever its rules are now, an open wait is the one that was asked
        assert await engine.approvals.approve("asks_oddly/old#a/b#1", by="ann")
        assert await instance.result() == "ann"


@workflow
async def asks_oddly(step) -> str:
    return (await step.wait_for_approval("a/b")).by
