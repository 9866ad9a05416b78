"""What a step is: run once, recorded once, answered from the store ever after."""

import functools
from dataclasses import dataclass
from datetime import timedelta

import pytest

from stepwell import InstanceErrored, Status, StepFailed, current_step, workflow
from stepwell.testing import open_test_engine

calls: list[str] = []


@pytest.fixture(autouse=True)
def _no_calls():
    calls.clear()


async def noted(what: str) -> str:
    calls.append(what)
    return what.upper()


def noted_in_a_thread(what: str) -> str:
    calls.append(what)
    return what.upper()


@workflow
async def two_steps(step, params):
    return [await step.do(noted, params["a"]), await step.do(noted_in_a_thread, params["b"])]


async def test_an_instance_runs_its_steps_and_completes():
    async with open_test_engine(workflows=[two_steps]) as engine:
        instance = await engine.create(two_steps, {"a": "x", "b": "y"}, id="one")
        assert await instance.result() == ["X", "Y"]
        assert (await instance.status()).status is Status.COMPLETE
        assert calls == ["x", "y"]
        history = await instance.history()
        assert [(r.kind, r.name, r.count, r.status, r.output) for r in history] == [
            ("do", "noted", 1, "done", "X"),
            ("do", "noted_in_a_thread", 1, "done", "Y"),
        ]


@workflow
async def with_a_pause(step):
    first = await step.do(noted, "before")
    await step.wait_for_event("go")
    return [first, await step.do(noted, "after")]


async def test_d3_finished_steps_answer_from_the_store_after_a_crash():
    async with open_test_engine(workflows=[with_a_pause]) as engine:
        instance = await engine.create(with_a_pause, id="one")
        await instance.wait_for_step("noted")
        await engine.crash()
        await instance.send_event("go")
        assert await instance.result() == ["BEFORE", "AFTER"]
        assert calls == ["before", "after"]


class PaymentDeclined(Exception):
    def __init__(self, card: str) -> None:
        super().__init__(f"card {card} declined")
        self.card = card


async def declines() -> None:
    calls.append("declines")
    raise PaymentDeclined("4242")


@workflow
async def catches(step):
    from stepwell import Retry

    try:
        await step.do(declines, retry=Retry.never)
    except PaymentDeclined as error:
        seen = [
            type(error).__mro__[1].__name__,
            isinstance(error, StepFailed),
            str(error),
            error.card,
            error.attempts,
        ]
    await step.wait_for_event("go")
    return seen


async def test_d3_a_recorded_failure_is_raised_again_equal_in_class_text_and_fields():
    async with open_test_engine(workflows=[catches]) as engine:
        live = await engine.create(catches, id="live")
        await live.wait_for_status("waiting")
        await live.send_event("go")
        replayed = await engine.create(catches, id="replayed")
        await replayed.wait_for_status("waiting")
        await engine.crash()
        await replayed.send_event("go")
        assert await replayed.result() == await live.result()
        assert (await live.result())[1:] == [
            True,
            'step "declines" failed after 1 attempt: PaymentDeclined: card 4242 declined',
            "4242",
            1,
        ]
        assert calls == ["declines", "declines"]


async def gives_a_tuple():
    return (1, [2, (3,)])


@workflow
async def tuples(step):
    value = await step.do(gives_a_tuple)
    return [type(value).__name__, value]


async def test_d4_a_tuple_comes_back_as_a_list_live_too():
    async with open_test_engine(workflows=[tuples]) as engine:
        assert await engine.call(tuples) == ["list", [1, [2, [3]]]]


@dataclass
class Page:
    url: str
    links: list[str]


async def fetch(url: str) -> Page:
    return Page(url, [url + "/a"])


@workflow
async def typed(step, url: str) -> Page:
    page = await step.do(fetch, url)
    assert type(page) is Page
    return page


async def test_annotated_classes_come_back_as_themselves():
    async with open_test_engine(workflows=[typed]) as engine:
        assert await engine.call(typed, "http://x") == Page("http://x", ["http://x/a"])


async def about_itself():
    step = current_step()
    calls.append(step.idempotency_key)
    return [step.name, step.key, step.count, step.attempt, step.instance_id]


@workflow
async def asks_who(step):
    return [
        await step.do(about_itself),
        await step.do(about_itself),
        await step.do(about_itself, key="k"),
    ]


async def test_d2_a_step_knows_itself_and_has_a_stable_idempotency_key():
    async with open_test_engine(workflows=[asks_who]) as engine:
        assert await engine.call(asks_who, id="i") == [
            ["about_itself", None, 1, 1, "i"],
            ["about_itself", None, 2, 1, "i"],
            ["about_itself", "k", 1, 1, "i"],
        ]
        assert len(set(calls)) == 3


async def add(a: int, *, b: int) -> int:
    return a + b


@workflow
async def with_partial(step):
    named = await step.do(lambda: 5, name="five")
    return named + await step.do(functools.partial(add, b=2), 1)


async def test_partials_have_their_functions_name_and_lambdas_are_given_one():
    async with open_test_engine(workflows=[with_partial]) as engine:
        instance = await engine.create(with_partial)
        assert await instance.result() == 8
        assert [r.name for r in await instance.history()] == ["five", "add"]


@workflow
async def derived(step):
    before = [step.now(), step.uuid(), step.random.random()]
    await step.sleep("1 hour")
    after = [step.now(), step.uuid(), step.random.random()]
    await step.wait_for_event("go")
    return [before, after]


async def test_i13_now_uuid_and_random_are_the_same_on_replay():
    async with open_test_engine(workflows=[derived], autojump=False) as engine:
        a = await engine.create(derived, id="a")
        await a.wait_for_status("waiting")
        await engine.clock.advance("2 hours")
        await engine.crash()
        await a.send_event("go")
        replayed = await a.result()
        assert (replayed[1][0] - replayed[0][0]).total_seconds() >= 3600
        assert replayed[0][1] != replayed[1][1]


@workflow
async def says_when(step):
    began = step.now()
    await step.sleep(1)
    return [began, step.now()]


async def test_i13_now_in_the_first_turn_is_when_the_instance_was_created():
    async with open_test_engine(workflows=[says_when]) as engine:
        created, start_at = engine.clock.now(), engine.clock.now().replace(year=2031)
        instance = await engine.create(says_when, start_at=start_at)
        began, then = await instance.result()
        assert began == created == (await instance.status()).created_at
        assert then >= start_at + timedelta(seconds=1)


@workflow
async def fails(step):
    raise PaymentDeclined("1")


async def test_r7_an_uncaught_exception_makes_the_instance_errored():
    async with open_test_engine(workflows=[fails]) as engine:
        instance = await engine.create(fails, id="f")
        with pytest.raises(
            InstanceErrored, match=r"fails/f failed: .*PaymentDeclined: card 1 declined$"
        ):
            await instance.result()
        status = await instance.status()
        assert status.status is Status.ERRORED
        assert "PaymentDeclined" in status.error.type
