"""Events: kept until a wait takes them, oldest first, each once (rules E1 to E4)."""

import pytest

from stepwell import EventTimeout, InstanceNotFound, InvalidState, LimitReached, workflow
from stepwell.testing import open_test_engine


@workflow
async def takes(step, plan: list[str]) -> list:
    """Does what the plan says: "sleep", or waits for the types joined by "|"."""
    got = []
    for word in plan:
        if word == "sleep":
            await step.sleep("1 hour")
        else:
            event = await step.wait_for_event(*word.split("|"), name="w")
            got.append([event.type, event.payload])
    return got


async def test_e1_events_of_a_type_come_oldest_first_and_once():
    async with open_test_engine(workflows=[takes]) as engine:
        instance = await engine.create(takes, ["a", "a", "a"])
        for i in range(3):
            await instance.send_event("a", i)
        assert await instance.result() == [["a", 0], ["a", 1], ["a", 2]]


async def test_e1_types_do_not_mix_and_a_wait_for_several_takes_the_oldest_of_them():
    async with open_test_engine(workflows=[takes]) as engine:
        instance = await engine.create(takes, ["sleep", "b", "a|b|c", "a|b|c"])
        for i, type in enumerate("cab"):
            await instance.send_event(type, i)
        assert await instance.result() == [["b", 2], ["c", 0], ["a", 1]]


@workflow
async def two_branches_wait(step):
    async def one(name: str):
        return [name, (await step.wait_for_event("a", name=name)).payload]

    return await step.each(one, ["first", "second"])


async def test_e1_the_oldest_waiting_operation_gets_the_oldest_event():
    async with open_test_engine(workflows=[two_branches_wait], autojump=False) as engine:
        instance = await engine.create(two_branches_wait)
        await instance.wait_for_status("waiting")
        await instance.send_event("a", 1)
        await instance.send_event("a", 2)
        assert await instance.result() == [["first", 1], ["second", 2]]


async def test_e2_an_event_sent_before_the_wait_is_kept():
    async with open_test_engine(workflows=[takes], autojump=False) as engine:
        instance = await engine.create(takes, ["sleep", "a"])
        await instance.wait_for_status("waiting")
        await instance.send_event("a", "early")
        await engine.crash()
        await engine.clock.advance("1 hour")
        assert await instance.result() == [["a", "early"]]


async def test_e2_an_event_sent_while_queued_is_kept():
    async with open_test_engine(workflows=[takes], autojump=False, slots=1) as engine:
        start = engine.clock.now().replace(year=2031)
        instance = await engine.create(takes, ["a"], start_at=start)
        await instance.wait_for_status("queued")
        await instance.send_event("a", "early")
        await engine.crash()
        await engine.clock.advance("365 days")
        assert await instance.result() == [["a", "early"]]


async def test_e2_an_event_sent_while_blocked_is_kept(tmp_path):
    def code(name: str):
        @workflow(name="shop")
        async def shop(step):
            await step.do(lambda: 1, name=name)
            await step.wait_for_event("pause")
            return (await step.wait_for_event("a")).payload

        return shop

    store = str(tmp_path / "s.db")
    for name in ("charge", "reserve", "charge"):
        async with open_test_engine(workflows=[code(name)], store=store, autojump=False) as engine:
            instance = await engine.create("shop", id="s", if_exists="return")
            if name == "reserve":
                await instance.send_event("pause")
                await instance.wait_for_status("blocked")
                await instance.send_event("a", "kept")
            else:
                await instance.resume()
                await instance.wait_for_status("waiting", "complete")
    async with open_test_engine(workflows=[code("charge")], store=store) as engine:
        assert await (await engine.get("shop", "s")).result() == "kept"


@workflow
async def times_out(step):
    try:
        await step.wait_for_event("a", timeout="1 minute")
    except EventTimeout as error:
        late = isinstance(error, TimeoutError) and str(error)
    return [late, (await step.wait_for_event("a", name="second")).payload]


async def test_e3_a_wait_that_timed_out_takes_no_event_afterwards():
    async with open_test_engine(workflows=[times_out], autojump=False) as engine:
        instance = await engine.create(times_out, id="t")
        await instance.wait_for_status("waiting")
        await engine.clock.advance("61 seconds")
        await instance.send_event("a", "for the second wait")
        await engine.crash()
        late, payload = await instance.result()
        assert 'event "a"' in late
        assert "times_out/t" in late
        assert payload == "for the second wait"


async def test_e3_an_event_in_time_wins_whatever_comes_later():
    async with open_test_engine(workflows=[times_out], autojump=False) as engine:
        instance = await engine.create(times_out)
        await instance.wait_for_status("waiting")
        await engine.clock.advance("59 seconds")
        await instance.send_event("a", "in time")
        await engine.clock.advance("1 hour")
        await engine.crash()
        await instance.wait_for_status("errored", "waiting", "complete")
        records = [(r.name, r.status) for r in await instance.history()]
        assert ("a", "timed_out") not in records


async def test_e4_a_dedup_id_makes_a_send_idempotent_across_crashes_and_after_delivery():
    async with open_test_engine(workflows=[takes], autojump=False) as engine:
        instance = await engine.create(takes, ["sleep", "a", "sleep", "a"])
        await instance.send_event("a", 1, dedup_id="x")
        await engine.crash()
        await instance.send_event("a", 2, dedup_id="x")
        await engine.clock.advance("1 hour")
        await instance.wait_for_status("waiting")
        await instance.send_event("a", 3, dedup_id="x")
        await instance.send_event("a", 4, dedup_id="y")
        await engine.clock.advance("1 hour")
        assert await instance.result() == [["a", 1], ["a", 4]]


async def test_e4_a_dedup_id_stands_for_one_event_of_its_instance_whatever_the_type():
    async with open_test_engine(workflows=[takes], autojump=False) as engine:
        instance, other = await engine.create(takes, ["a"]), await engine.create(takes, ["a"])
        for of, type, payload in ((instance, "b", 1), (instance, "a", 2), (other, "a", 3)):
            await of.send_event(type, payload, dedup_id="x")
        assert await other.result() == [["a", 3]]
        assert (await instance.status()).status == "waiting"


async def test_e4_sending_to_a_final_instance_is_invalid_state_and_to_none_not_found():
    async with open_test_engine(workflows=[takes]) as engine:
        instance = await engine.create(takes, [], id="over")
        await instance.result()
        with pytest.raises(InvalidState, match=r'"over" of "takes" is complete') as caught:
            await instance.send_event("a")
        assert caught.value.status == "complete"
        with pytest.raises(InstanceNotFound, match=r'no instance "none" of "takes"'):
            await engine.get(takes, "none")


async def test_q1_only_so_many_events_wait_for_their_wait():
    async with open_test_engine(workflows=[takes], autojump=False) as engine:
        instance = await engine.create(takes, ["sleep"], id="full")
        for i in range(1000):
            await instance.send_event("a", i)
        with pytest.raises(LimitReached, match=r'"full" of "takes".*1,000') as caught:
            await instance.send_event("a", 1000)
        assert caught.value.value == 1000


async def test_q1_an_open_wait_gets_its_event_however_many_others_are_kept():
    async with open_test_engine(workflows=[takes, sends], autojump=False) as engine:
        instance = await engine.create(takes, ["a", "b", "c", "sleep"], id="r")
        await instance.wait_for_status("waiting")
        for i in range(1000):
            await instance.send_event("junk", i)
        sender = await engine.create(sends, "r")  # its "a"
        await sender.wait_for_status("waiting")
        await instance.send_event("b", 1)
        await instance.send_event("c", 2, dedup_id="once")
        await instance.wait_for_step("w", count=3)
        for type in ("a", "junk"):
            with pytest.raises(LimitReached):
                await instance.send_event(type)
        assert [line.event_type for line in await instance.history()][:3] == ["a", "b", "c"]


async def test_q1_an_instance_that_stands_still_takes_no_more_events_than_are_kept(tmp_path):
    def code(name: str):
        @workflow(name="shop")
        async def shop(step):
            await step.do(lambda: 1, name=name)
            await step.each(step.wait_for_event, ["a", "go"])

        return shop

    store = tmp_path / "s.db"
    async with open_test_engine([code("old")], store=store, autojump=False) as engine:
        instance = await engine.create("shop", id="b")
        await instance.wait_for_status("waiting")
    async with open_test_engine([code("new")], store=store, autojump=False) as engine:
        instance = await engine.get("shop", "b")
        await instance.send_event("go")  # so that its body begins again
        await instance.wait_for_status("blocked")
        for i in range(1000):
            await instance.send_event("a", i)
        with pytest.raises(LimitReached):
            await instance.send_event("a", 1000)


@workflow
async def sends(step, to: str):
    try:
        await step.send_event(takes, to, "a", {"from": step.instance.id})
    except (InstanceNotFound, InvalidState) as error:
        return f"{type(error).__name__}: {error}"
    await step.wait_for_event("go")
    return "sent"


async def test_a_body_sends_an_event_once_however_often_it_replays():
    async with open_test_engine(workflows=[takes, sends], autojump=False) as engine:
        receiver = await engine.create(takes, ["a", "a"], id="r")
        sender = await engine.create(sends, "r", id="s")
        await sender.wait_for_status("waiting")
        for _ in range(3):
            await engine.crash()
            await sender.wait_for_status("waiting")
        await sender.send_event("go")
        assert await sender.result() == "sent"
        await receiver.send_event("a", "mine")
        assert await receiver.result() == [["a", {"from": "s"}], ["a", "mine"]]


async def test_a_body_that_sends_to_nobody_is_told_so():
    async with open_test_engine(workflows=[takes, sends]) as engine:
        text = await engine.call(sends, "nobody", id="s")
        assert text == (
            'InstanceNotFound: event "a" of sends/s was not sent: there is no instance '
            '"nobody" of "takes". Create it first.'
        )
        await engine.call(takes, [], id="over")
        assert ('was not sent: instance "over" of "takes" has ended') in await engine.call(
            sends, "over"
        )
