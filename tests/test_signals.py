"""Signals that come to whole programs, at moments that the programs announce: while a step runs,
while the block drains (L14, R7).

Each program is a process of its own. Whatever the moment, the front and the kind of step: it ends
at once, with what its kind of program ends with; standard error is empty but for the name of a
thread that cannot be stopped; nothing false is recorded.
"""

import functools
import pydoc
import signal
import subprocess
import sys
import threading

import pytest
import trio

import stepwell
from stepwell import Engine, InvalidConfig, InvalidState, Step, aio, workflow

PROGRAM = """
import asyncio, functools, os, signal, sys, threading, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # it may be inherited as ignored
import trio
import stepwell
from stepwell import Engine, aio, sync, workflow
front, kind, moment, store = sys.argv[1:]

begun = threading.Event()

def begins():
    print("running", flush=True)
    begun.set()

async def on_trio():
    begins()
    await trio.sleep_forever()

async def on_asyncio():
    begins()
    await asyncio.Event().wait()

def in_thread():
    begins()
    threading.Event().wait()

FUNCTIONS = {"trio": on_trio, "asyncio": on_asyncio, "thread": in_thread}

@workflow
async def hangs(step):
    await step.do(FUNCTIONS[kind], name="s", **({} if kind == "thread" else {"runtime": kind}))

fronts = {"trio": Engine, "run": Engine, "aio": aio.Engine, "sync": sync.Engine}
engine = fronts[front](store, workflows=[hangs], grace="1 hour")

def tell():
    '''Says when the engine drains.'''
    inner = getattr(engine, "_inner", engine)
    while inner._driver is None or not inner._driver.draining:
        time.sleep(0.001)
    print("draining", flush=True)
    if moment == "elsewhere":
        time.sleep(0.1)
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)

threading.Thread(target=tell, daemon=True).start()

async def use(engine):
    instance = await engine.create(hangs, id="x", if_exists="return")
    if moment == "running":
        await instance.result()
    while not begun.is_set():
        await instance.status()

async def block():
    async with engine:
        await use(engine)

def blocking():
    with engine:
        instance = engine.create(hangs, id="x", if_exists="return")
        if moment == "running":
            instance.result()
        begun.wait()

try:
    print("opening", flush=True)
    if front == "run":
        stepwell.run(engine, use)
    elif front == "trio":
        trio.run(block)
    elif front == "aio":
        asyncio.run(block())
    else:
        blocking()
except BaseException as error:
    print(repr(error), flush=True)
print("ends", flush=True)
"""


def ends(
    store: str, front: str, kind: str, sent: dict[str, list[int]], moment: str = ""
) -> list[str]:
    """Runs a program, sends it signals when it says where it is, and returns the last lines it
    said."""
    moment = moment or ("running" if "running" in sent else "draining")
    command = [sys.executable, "-c", PROGRAM, front, kind, moment, store]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    watchdog = threading.Timer(40, process.kill)
    watchdog.start()
    try:
        said = []
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line.strip())
            for number in sent.get(said[-1], ()):
                process.send_signal(number)
        _, err = process.communicate()
    finally:
        watchdog.cancel()
        process.kill()
    assert process.returncode == 0, (said, err)
    lines = [
        line
        for line in err.splitlines()
        if "threads still run and cannot be stopped" not in line or kind != "thread"
    ]
    assert lines == []
    return said[said.index("running") + 1 :]


def check_goes_on(store: str) -> None:
    """The next start finds the instance as it was: running, and nothing recorded of the step."""

    @workflow(name="hangs")
    async def goes_on(step: Step) -> str:
        return await step.do(lambda: "went on", name="s")

    async def main() -> list[str]:
        async with Engine(store, workflows=[goes_on]) as engine:
            instance = await engine.get(goes_on, "x")
            assert await instance.result() == "went on"
            return [it.status for it in await instance.history()]

    assert trio.run(main) == ["done"]


INT, TERM = signal.SIGINT, signal.SIGTERM
EXPECTED = {
    "trio": "KeyboardInterrupt()",
    "aio": "KeyboardInterrupt()",
    "sync": "KeyboardInterrupt()",
    "run": "SystemExit({})",
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["trio", "asyncio", "thread"])
@pytest.mark.parametrize("front", ["trio", "aio", "sync", "run"])
def test_l14_two_signals_while_a_step_runs_and_the_block_drains_end_the_program(
    tmp_path, front, kind
):
    store = str(tmp_path / "s.db")
    expected = ["draining", EXPECTED[front].format(128 + INT), "ends"]
    said = ends(store, front, kind, {"running": [INT], "draining": [INT]})
    # it struck in the step itself, which stops the engine
    assert said == expected or (front == kind == "trio" and said == expected[1:])
    check_goes_on(store)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["trio", "asyncio", "thread"])
@pytest.mark.parametrize("front", ["trio", "aio", "sync", "run"])
def test_l14_signals_while_the_block_drains_end_the_program(tmp_path, front, kind):
    """One; `stepwell.run` takes the first for the wish to drain, and the second for the wish to
    end."""
    store = str(tmp_path / "s.db")
    sent = [INT] if front != "run" else [TERM, INT]
    draining, error, end = ends(store, front, kind, {"draining": sent})
    assert (draining, end) == ("draining", "ends")
    assert error in [EXPECTED[front].format(128 + number) for number in sent]
    check_goes_on(store)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["trio", "thread"])
@pytest.mark.parametrize("front", ["trio", "aio", "sync"])
def test_l14_a_signal_that_does_not_wake_the_main_thread_is_noticed_all_the_same(
    tmp_path, front, kind
):
    """One that comes to another thread; one that comes as the main thread begins to wait does the
    same, and cannot be timed."""
    said = ends(str(tmp_path / "s.db"), front, kind, {}, "elsewhere")
    assert said == ["draining", "KeyboardInterrupt()", "ends"]


@workflow
async def adds(step: Step, x: int) -> int:
    return await step.do(lambda: x + 1, name="add")


def test_run_runs_a_main_function_beside_the_engine_and_returns_or_raises_what_it_does(tmp_path):
    async def main(engine: Engine) -> int:
        return await engine.call(adds, 1)

    async def fails(engine: Engine) -> None:
        raise LookupError("ours")

    assert stepwell.run(Engine(str(tmp_path / "s.db"), workflows=[adds]), main) == 2
    with pytest.raises(LookupError, match="ours"):
        stepwell.run(Engine(":memory:"), fails)
    engine = Engine(":memory:", workflows=[adds])
    assert stepwell.run(engine, main) == 2
    with pytest.raises(stepwell.EngineClosed, match="opens once"):
        stepwell.run(engine, main)


@pytest.mark.parametrize("number", [INT, TERM])
def test_run_drains_at_the_first_signal_with_or_without_a_main_function(number):
    cleaned: list[int] = []

    async def main(engine: Engine) -> int:
        try:
            signal.raise_signal(number)
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                cleaned.append(await engine.call(adds, 1))

    assert stepwell.run(Engine(":memory:", workflows=[adds]), main) is None
    assert cleaned == [2]
    timer = threading.Timer(0.05, signal.pthread_kill, (threading.main_thread().ident, number))
    timer.start()  # at whatever moment, were it while the engine opens
    assert stepwell.run(Engine(":memory:")) is None


def test_run_takes_async_functions_only_and_says_so_before_the_engine_opens(tmp_path):
    called: list[Engine] = []

    def plain(engine: Engine) -> int:
        called.append(engine)
        return 5

    @functools.wraps(plain)
    async def wrapped(engine: Engine) -> int:
        return plain(engine)

    async def adds_one(engine: Engine, more: int) -> int:
        return plain(engine) + more

    store = tmp_path / "s.db"
    for main in (plain, functools.partial(plain)):
        with pytest.raises(InvalidConfig, match=r"plain.* is not async\. Write `async def`"):
            stepwell.run(Engine(str(store)), main)
    assert not called
    assert not store.exists()
    with pytest.raises(InvalidConfig, match=r"<lambda>.* is not async"):
        stepwell.run(Engine(":memory:"), lambda engine: 5)
    assert stepwell.run(Engine(":memory:"), lambda engine: adds_one(engine, 1)) == 6
    assert stepwell.run(Engine(":memory:"), functools.partial(adds_one, more=2)) == 7
    assert stepwell.run(Engine(":memory:"), wrapped) == 5


def test_run_says_what_it_is_not_for():
    async def inside() -> None:
        stepwell.run(Engine(":memory:"))

    async def main(engine: Engine) -> None:
        """Never called."""

    with pytest.raises(InvalidState, match="inside a trio program"):
        trio.run(inside)
    with pytest.raises(InvalidConfig, match=r"give it a stepwell\.Engine"):
        stepwell.run(aio.Engine(":memory:"))
    with pytest.raises(InvalidConfig, match="give the async function itself"):
        stepwell.run(Engine(":memory:"), 5)
    errors: list[str] = []

    def elsewhere() -> None:
        try:
            stepwell.run(Engine(":memory:"), main)
        except InvalidState as error:
            errors.append(str(error))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert errors == [
        "run() was called in a thread that signals do not come to. Call it in the "
        "main thread, or use stepwell.sync.Engine."
    ]


def test_help_shows_the_public_api_first():
    text = pydoc.render_doc(stepwell, renderer=pydoc.plaintext)
    beginning = text[: text.index("PACKAGE CONTENTS")]
    for name in (
        "@workflow",
        "Engine(",
        "run(",
        "Instance",
        "aio, sync",
        "Retry",
        "current_step()",
        "StepwellError",
    ):
        assert name in beginning
