"""What is durable when, and how often things run (rules D1, D2, D3, D5, D6)."""

from datetime import timedelta

import pytest
import trio

from stepwell import InstanceErrored, Interrupted, Retry, Status, StepFailed, current_step, workflow
from stepwell.testing import open_test_engine

calls: list[str] = []


@pytest.fixture(autouse=True)
def _no_calls():
    calls.clear()


async def noted(what: str) -> str:
    calls.append(what)
    return what


@workflow
async def waits(step, what: str) -> list[str | int]:
    first = await step.do(noted, what)
    return [first, (await step.wait_for_event("go")).payload]


async def test_d1_a_created_instance_survives_a_crash_at_once():
    async with open_test_engine(workflows=[waits]) as engine:
        for i in range(20):
            instance = await engine.create(waits, f"p{i}", id=f"i{i}")
            await engine.crash()
            assert (await instance.status()).status in (Status.RUNNING, Status.WAITING)
        for i in range(20):
            instance = await engine.get(waits, f"i{i}")
            await instance.send_event("go", i)
            assert await instance.result() == [f"p{i}", i]


async def test_d1_a_sent_event_survives_a_crash_at_once():
    async with open_test_engine(workflows=[waits]) as engine:
        instance = await engine.create(waits, "p")
        await instance.wait_for_status("waiting")
        await instance.send_event("go", "kept")
        await engine.crash()
        assert await instance.result() == ["p", "kept"]


async def test_d1_when_a_step_starts_the_one_before_it_is_in_the_history():
    seen = []

    async def looks(engine_of=current_step) -> None:
        context = engine_of()
        instance = await context.engine.get("ordered", context.instance_id)
        seen.append([r.name for r in await instance.history() if r.status == "done"])

    @workflow(name="ordered")
    async def ordered(step):
        await step.do(noted, "a")
        await step.do(looks)
        await step.do(noted, "b")
        await step.do(looks)

    async with open_test_engine(workflows=[ordered]) as engine:
        await engine.call(ordered)
    assert seen == [["noted"], ["noted", "looks", "noted"]]


keys: list[str] = []


async def fails_twice() -> int:
    step = current_step()
    keys.append(step.idempotency_key)
    if step.attempt < 3:
        raise OSError("not yet")
    return step.attempt


@workflow
async def retried(step) -> list[int]:
    return [await step.do(fails_twice), await step.do(fails_twice)]


async def test_d2_the_idempotency_key_is_the_same_for_every_attempt_and_differs_between_steps():
    keys.clear()
    async with open_test_engine(workflows=[retried]) as engine:
        assert await engine.call(retried, id="a") == [3, 3]
        assert await engine.call(retried, id="b") == [3, 3]
    assert [keys.count(k) for k in dict.fromkeys(keys)] == [3, 3, 3, 3]


async def test_d2_the_idempotency_key_survives_a_crash_between_attempts():
    keys.clear()
    async with open_test_engine(workflows=[retried], autojump=False) as engine:
        instance = await engine.create(retried)
        await instance.wait_for_status("waiting")
        await engine.crash()
        await instance.wait_for_status("waiting")
        await engine.clock.advance("1 hour")
        assert await instance.result() == [3, 3]
    assert [keys.count(k) for k in dict.fromkeys(keys)] == [3, 3]


@workflow
async def catches_twice(step) -> list[str]:
    seen = []
    for _ in range(2):
        try:
            await step.do(declines, retry=Retry.never)
        except LookupError as error:
            seen.append(
                f"{type(error).__name__} {isinstance(error, StepFailed)} {error} {error.shelf}"
            )
    await step.wait_for_event("go")
    return seen


class NotThere(LookupError):
    def __init__(self, shelf: int) -> None:
        super().__init__(f"shelf {shelf}")
        self.shelf = shelf


async def declines() -> None:
    calls.append("declines")
    raise NotThere(7)


async def test_d3_a_failure_is_caught_by_its_base_class_live_and_after_crashes():
    async with open_test_engine(workflows=[catches_twice]) as engine:
        instance = await engine.create(catches_twice)
        for _ in range(3):
            await instance.wait_for_status("waiting")
            await engine.crash()
        await instance.send_event("go")
        text = 'NotThere True step "declines" failed after 1 attempt: NotThere: shelf 7 7'
        assert await instance.result() == [text, text]
        assert calls == ["declines", "declines"]


async def fails_always() -> None:
    calls.append("try")
    raise OSError("down")


def with_limit(limit: int):
    @workflow(name="shop")
    async def shop(step):
        await step.do(
            fails_always, retry=Retry(limit=limit, delay="1 hour", backoff="constant", jitter=0)
        )

    return shop


async def test_d5_todays_code_decides_how_many_retries_and_attempts_made_are_durable(tmp_path):
    store = str(tmp_path / "s.db")
    async with open_test_engine(workflows=[with_limit(10)], store=store, autojump=False) as engine:
        instance = await engine.create("shop", id="o")
        await instance.wait_for_status("waiting")
        await engine.clock.advance("2 hours")
        assert len(calls) == 3
    async with open_test_engine(workflows=[with_limit(3)], store=store, autojump=False) as engine:
        instance = await engine.get("shop", "o")
        await engine.clock.advance("10 hours")
        assert (await instance.status()).status is Status.ERRORED
        assert (await instance.status()).error.attempts == 4
    assert len(calls) == 4


async def test_d5_a_retry_time_is_neither_shortened_nor_lengthened_by_a_crash():
    async with open_test_engine(workflows=[with_limit(1)], autojump=False) as engine:
        instance = await engine.create("shop")
        await instance.wait_for_status("waiting")
        await engine.clock.advance("59 minutes")
        await engine.crash()
        await engine.clock.advance("59 seconds")
        assert len(calls) == 1
        await engine.clock.advance("2 seconds")
        assert len(calls) == 2
        assert (await instance.status()).status is Status.ERRORED


async def hangs() -> None:
    calls.append("hangs")
    await trio.sleep_forever()


async def hangs_at_first() -> str:
    calls.append(f"attempt {current_step().attempt}")
    if len(calls) == 1:
        await trio.sleep_forever()
    return "done"


@workflow
async def is_cut_short(step) -> str:
    return await step.do(hangs_at_first)


async def test_d6_an_attempt_that_a_crash_cut_short_records_nothing_late():
    async with open_test_engine(workflows=[is_cut_short]) as engine:
        instance = await engine.create(is_cut_short)
        while not calls:
            await trio.lowlevel.checkpoint()
        await engine.crash()
        assert await instance.result() == "done"
        history = await instance.history()
        assert [(r.status, r.attempt) for r in history] == [("interrupted", 1), ("done", 2)]
        assert history[0].error.type == "stepwell.Interrupted"


@workflow
async def at_most_once(step) -> str:
    try:
        return await step.do(hangs, on_interrupt="fail")
    except StepFailed as error:
        return f"{error.type} {isinstance(error, Interrupted)} {error.attempts}"


@workflow
async def hangs_at_most_once(step) -> None:
    await step.do(hangs, on_interrupt="fail")


async def test_r3_on_interrupt_fail_makes_a_step_at_most_once():
    async with open_test_engine(workflows=[at_most_once]) as engine:
        instance = await engine.create(at_most_once)
        while not calls:
            await trio.lowlevel.checkpoint()
        await engine.crash()
        assert await instance.result() == "stepwell.Interrupted True 1"
        assert calls == ["hangs"]


@pytest.mark.parametrize("how", ["crash", "close"])
async def test_r3_what_is_said_of_an_attempt_that_was_cut_short_is_true_however_its_engine_ended(
    how, tmp_path
):
    store = str(tmp_path / "s.db")
    async with open_test_engine(workflows=[hangs_at_most_once], store=store, grace=0) as engine:
        instance = await engine.create(hangs_at_most_once, id="i")
        while not calls:
            await trio.lowlevel.checkpoint()
        if how == "crash":
            await engine.crash()
            await instance.wait_for_status("errored")
    async with open_test_engine(workflows=[hangs_at_most_once], store=store) as engine:
        with pytest.raises(
            InstanceErrored,
            match=r"attempt 1 was cut short: its engine died, or closed, before it had ended$",
        ):
            await (await engine.get(hangs_at_most_once, "i")).result()
    assert calls == ["hangs"]


async def at_once() -> None:
    pass


@workflow
async def announces_each(step):
    for _ in range(3):
        await step.do(at_once, on_interrupt="fail")
        await step.do(at_once)


async def test_r3_a_step_that_must_not_repeat_is_announced_also_if_its_function_never_waits():
    async with open_test_engine(workflows=[announces_each]) as engine:
        instance = await engine.create(announces_each)
        await instance.result()
        announced = [it.count for it in await instance.history() if it.status == "started"]
        assert announced == [1, 3, 5]


async def test_r3_an_interrupted_attempt_is_tried_again_at_once_whatever_retry_says():
    @workflow(name="never")
    async def never(step):
        return await step.do(hangs_at_first, retry=Retry.never)

    async with open_test_engine(workflows=[never], autojump=False) as engine:
        instance = await engine.create(never)
        while not calls:
            await trio.lowlevel.checkpoint()
        before = engine.clock.now()
        await engine.crash()
        assert await instance.result() == "done"
        assert engine.clock.now() - before < timedelta(seconds=1)
