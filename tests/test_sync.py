"""`stepwell.sync`: the engine in a blocking program."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from test_aio import PROGRAM, python, threads

import stepwell
from stepwell import (
    EngineClosed,
    InstanceErrored,
    InvalidState,
    NonRetryableError,
    Status,
    Step,
    StoreLocked,
    current_step,
    sync,
    workflow,
)


@workflow
async def doubles(step: Step, x: int) -> int:
    return await step.do(lambda: 2 * x, name="double")


@workflow
async def waits(step: Step) -> str:
    return (await step.wait_for_event("go")).type


@workflow
async def fails(step: Step) -> None:
    raise NonRetryableError("no")


def test_everything_is_there_without_await():
    with sync.Engine(":memory:", workflows=[doubles, waits, fails]) as engine:
        assert engine.call(doubles, 4, id="a") == 8
        instance = engine.get(doubles, "a")
        assert type(instance) is sync.Instance
        assert (instance.id, instance.status().status) == ("a", Status.COMPLETE)
        batch = engine.create_batch(doubles, range(10))
        assert [it.result() for it in batch.created] == [2 * i for i in range(10)]
        waiting = engine.namespace("acme").create(waits, id="w")
        assert waiting.wait_for_status("waiting") is Status.WAITING
        assert engine.namespace("acme").peek(waits, "w") is Status.WAITING
        waiting.send_event("go")
        assert waiting.result() == "go"
        assert engine.count(doubles)[Status.COMPLETE] == 11
        assert engine.statistics().shards == 64
        engine.reshard(2)
        engine.set_limits(concurrency=5)
        assert engine.limits().concurrency == 5
        assert engine.approvals.list().items == []
        with pytest.raises(InstanceErrored, match="no"):
            engine.call(fails)
    assert threads() == []


def test_threads_may_call_at_the_same_time():
    with sync.Engine(":memory:", workflows=[doubles]) as engine, ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda i: engine.call(doubles, i), range(100))) == [
            2 * i for i in range(100)
        ]


def test_a_plain_step_may_call_the_engine_and_a_trio_step_is_told_not_to_block_it():
    @workflow
    async def both(step: Step) -> list[str]:
        return [await step.do(from_thread), await step.do(from_trio)]

    def from_thread() -> str:
        return f"{current_step().engine.call(doubles, 5)}"

    async def from_trio() -> str:
        try:
            engines[0].count()
        except InvalidState as error:
            return str(error)
        raise AssertionError

    engines: list[sync.Engine] = []
    with sync.Engine(":memory:", workflows=[both, doubles]) as engine:
        engines.append(engine)
        ten, text = engine.call(both)
    assert ten == "10"
    assert text == (
        "stepwell.sync: engine.count was called on the engine's own thread. In a trio "
        "step use current_step().engine."
    )


def test_a_front_that_was_kept_does_not_block_trio_either_and_what_needs_no_trio_works_anywhere():
    kept: list[sync.Engine] = []

    @workflow
    async def keeps(step: Step) -> list[object]:
        await step.do(keep)
        return [await step.do(from_trio)]

    def keep() -> None:
        kept.append(current_step().engine)

    async def from_trio() -> list[object]:
        with pytest.raises(InvalidState, match="on the engine's own thread"):
            kept[0].count()
        return [kept[0].statistics().slots, kept[0].limits().concurrency]

    with sync.Engine(":memory:", workflows=[keeps]) as engine:
        assert engine.call(keeps) == [[50_000, 50_000]]


def test_a_forked_child_leaves_the_block_and_the_parents_engine_goes_on(tmp_path):
    code = (
        PROGRAM
        + f"""
import os
store = {str(tmp_path / "s.db")!r}
with sync.Engine(store, workflows=[slow], default_runtime="asyncio", grace=0) as engine:
    child = os.fork()
    if child:
        print("child", os.waitpid(child, 0)[1], engine.count()["running"])
print("left", flush=True)
"""
    )
    assert python(code).stdout.split() == ["left", "child", "0", "0", "left"]


def test_a_thread_that_opened_an_engine_may_outlive_the_main_one(tmp_path):
    code = (
        PROGRAM
        + f"""
import threading
def use():
    store = {str(tmp_path / "s.db")!r}
    with sync.Engine(store, workflows=[quick], default_runtime="asyncio") as engine:
        # Python starts no loop with a pool of threads any more once its main thread has ended
        engine.call(quick)
        begun.set()
        threading.main_thread().join()
        for i in range(20):
            engine.call(quick)
        print("done")
@workflow
async def quick(step):
    await step.do(naps)
async def naps():
    await asyncio.sleep(0.01)
begun = threading.Event()
threading.Thread(target=use).start()
begun.wait()
"""
    )
    done = python(code)
    assert (done.stdout, done.returncode) == ("done\n", 0), done.stderr


def test_it_opens_once_is_locked_and_says_when_it_is_closed(tmp_path):
    store = str(tmp_path / "s.db")
    engine = sync.Engine(store, workflows=[doubles])
    with pytest.raises(EngineClosed):
        engine.create(doubles, 1)
    with engine:
        with pytest.raises(StoreLocked, match="use that engine, or leave its block"):
            sync.Engine(store).__enter__()
        instance = engine.create(doubles, 1)
    for call in (
        lambda: engine.create(doubles, 1),
        instance.status,
        engine.statistics,
        engine.__enter__,
    ):
        with pytest.raises(EngineClosed):
            call()
    assert threads() == []


def test_the_blocks_own_exception_leaves_it():
    with pytest.raises(ZeroDivisionError), sync.Engine(":memory:"):
        raise ZeroDivisionError
    assert threads() == []


def test_ctrl_c_in_a_call_ends_the_call_and_the_engine_is_closed(tmp_path):
    code = (
        PROGRAM
        + f"""
store = {str(tmp_path / "s.db")!r}
with sync.Engine(store, workflows=[slow], grace=0, default_runtime="asyncio") as engine:
    try:
        engine.call(slow, id="x")
    except KeyboardInterrupt:
        print("caught", engine.peek(slow, "x"))
print("closed")
"""
    )
    done = python(code, signal_after="began")
    assert (done.returncode, done.stdout.split()) == (0, ["began", "caught", "running", "closed"])


@pytest.mark.parametrize("in_thread", [False, True])
def test_an_interpreter_that_ends_with_the_engine_open_closes_it(tmp_path, in_thread):
    code = (
        PROGRAM
        + f"""
import threading
def use():
    store = {str(tmp_path / "s.db")!r}
    engine = sync.Engine(store, workflows=[slow], default_runtime="asyncio").__enter__()
    engine.create(slow, id="x")
if {in_thread}:
    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
else:
    use()
"""
    )
    assert python(code).returncode == 0
    again = (
        PROGRAM
        + f"""
store = {str(tmp_path / "s.db")!r}
with sync.Engine(store, workflows=[slow], default_runtime="asyncio", grace=0) as engine:
    print(engine.get(slow, "x").wait_for_status("running"))
"""
    )
    assert "running" in python(again).stdout


def test_every_public_method_is_there():
    for name in ("Engine", "Namespace", "Instance"):
        assert {it for it in dir(getattr(stepwell, name)) if not it.startswith("_")} <= set(
            dir(getattr(sync, name))
        )
    assert sync.Instance[int].__origin__ is sync.Instance
    assert threading.active_count() >= 1
