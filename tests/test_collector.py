"""Python's collector is as patient as bodies are many, looks when memory grows, and is as the
program had it afterwards."""

import builtins
import errno
import gc
from collections.abc import Iterator
from typing import NoReturn

import pytest
import trio

from stepwell import Engine, workflow
from stepwell._engine import collector

MB = 1 << 20


@pytest.fixture(params=[(700, 10, 10), (2000, 10, 0)], ids=["3.11", "3.14"])
def pythons(request, monkeypatch) -> Iterator[tuple[int, int, int]]:
    monkeypatch.setattr(collector, "LOOK_EVERY", 0)
    before = gc.get_threshold()
    gc.set_threshold(*request.param)
    yield request.param
    gc.set_threshold(*before)


def test_it_is_the_more_patient_the_more_bodies_there_are(pythons):
    young, _, old = pythons
    with collector.patient() as one, collector.patient() as other:
        for bodies in (0, 10, 50_000, 1_000, 100, 70, 20_000):
            one.look(bodies // 2)
            other.look(bodies - bodies // 2)
            assert gc.get_threshold() == (
                max(young, min(10_000, bodies * 10)),
                10,
                max(old, min(100, bodies // 100)) if bodies * 10 > young else old,
            )
    assert gc.get_threshold() == pythons


async def test_an_engine_says_how_many_bodies_it_has(pythons):
    @workflow
    async def waits(step):
        await step.wait_for_event("go")

    async with Engine(":memory:", workflows=[waits]) as engine:
        assert gc.get_threshold() == pythons
        for instance in (await engine.create_batch(waits, [None] * 300)).created:
            await instance.wait_for_status("waiting")
        assert gc.get_threshold()[0] >= 3_000
    assert gc.get_threshold() == pythons


def test_bodies_that_come_and_go_count_for_a_while_but_explain_no_memory(
    pythons, monkeypatch, memory, looks
):
    now = [1.0]
    monkeypatch.setattr(collector.time, "monotonic", lambda: now[0])
    with collector.patient() as patience:
        for begun in range(0, 2_001, 40):
            patience.look(5, begun)
            now[0] += 0.02
        assert gc.get_threshold()[0] == 10_000
        memory[0] = 166  # bodies that are there no more are not what took it
        patience.look(5, 2_000)
        assert looks == [1, 2]
        for _ in range(60):
            patience.look(5, 2_000)
            now[0] += 0.1
        assert gc.get_threshold() == pythons


async def test_calls_that_wait_for_their_answer_count_too(pythons):
    @workflow
    async def waits(step):
        await step.wait_for_event("go")

    async with Engine(":memory:", workflows=[waits]) as engine, trio.open_nursery() as nursery:
        for _ in range(3_000):
            nursery.start_soon(engine.create, waits)
        await trio.lowlevel.checkpoint()
        await trio.lowlevel.checkpoint()
        assert engine._driver.callers.waiting > 1_000
        assert gc.get_threshold()[0] > pythons[0]


async def test_a_block_that_fails_gives_it_back_too(pythons):
    engine = Engine(":memory:")
    with pytest.raises(ZeroDivisionError):
        async with engine:
            raise ZeroDivisionError(engine._driver.patience.look(1_000))
    assert gc.get_threshold() == pythons


@pytest.mark.parametrize("own", [(0, 10, 10), (50_000, 20, 30)])
def test_a_program_that_has_its_own_setting_keeps_it(pythons, own):
    gc.set_threshold(*own)
    with collector.patient() as patience:
        patience.look(50_000)
        assert gc.get_threshold() == own
    assert gc.get_threshold() == own


@pytest.mark.parametrize("bodies", [0, 50_000])
def test_a_program_that_changes_it_meanwhile_keeps_that(pythons, bodies):
    with collector.patient() as patience:
        patience.look(bodies)
        gc.set_threshold(123, 4, 5)
        patience.look(20_000)
        assert gc.get_threshold() == (123, 4, 5)
    assert gc.get_threshold() == (123, 4, 5)


def test_memory_is_read_also_where_nothing_can_be_opened_or_imported(monkeypatch):
    def no_descriptors(*_: object, **__: object) -> NoReturn:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(collector, "open", no_descriptors, raising=False)
        patched.setattr(builtins, "__import__", no_descriptors)
        most = collector.memory()
    assert most is not None


def test_where_memory_cannot_be_read_it_stays_as_it_is(pythons, monkeypatch):
    monkeypatch.setattr(collector, "memory", lambda: None)
    with collector.patient() as patience:
        patience.look(50_000)
        assert gc.get_threshold() == pythons


@pytest.fixture
def memory(monkeypatch) -> list[int]:
    """What the process has, in megabytes."""
    has = [100]
    monkeypatch.setattr(collector, "memory", lambda: has[0] * MB)
    return has


@pytest.fixture
def looks() -> Iterator[list[int]]:
    """The generations at which the collector looked because it was asked to."""
    asked: list[int] = []

    def note(phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            asked.append(info["generation"])

    gc.collect()
    gc.callbacks.append(note)
    yield asked
    gc.callbacks.remove(note)


def test_it_looks_when_memory_grows_by_more_than_bodies_explain(pythons, memory, looks):
    with collector.patient() as patience:
        patience.look(1_000)
        for has, bodies, wanted in [
            (160, 1_000, []),
            (166, 1_000, [1, 2]),  # nothing was found, so that is what the program needs
            (229, 1_000, []),
            (231, 1_000, [1, 2]),
            (1_000, 1_000, [1, 2]),
            (1_240, 1_000, []),  # by less than a quarter
            (1_260, 1_000, [1, 2]),
            (1_700, 50_000, []),  # of which the bodies are 586
            (2_250, 50_000, []),
            (2_250, 1_000, []),  # they have gone, but Python keeps their memory for what comes
            (2_320, 1_000, [1, 2]),
        ]:
            memory[0] = has
            patience.look(bodies)
            assert looks == wanted, has
            looks.clear()


def test_it_looks_at_everything_only_if_what_is_young_was_not_it(pythons, memory, looks):
    def shrinks(phase: str, info: dict[str, int]) -> None:
        memory[0] = 100

    gc.callbacks.append(shrinks)
    try:
        with collector.patient() as patience:
            patience.look(1_000)
            memory[0] = 900
            patience.look(1_000)
    finally:
        gc.callbacks.remove(shrinks)
    assert looks == [1]


def test_it_does_not_look_where_the_program_has_turned_it_off_or_bodies_are_few(
    pythons, memory, looks
):
    with collector.patient() as patience:
        patience.look(10)
        memory[0] = 900
        patience.look(11)
        gc.disable()
        try:
            patience.look(1_000)
            memory[0] = 9_000
            patience.look(1_001)
        finally:
            gc.enable()
    assert looks == []


class Node:
    """Garbage that only the collector finds; each stands for a megabyte."""

    alive = most = 0

    def __init__(self) -> None:
        self.itself = self
        Node.alive += 1
        Node.most = max(Node.most, Node.alive)

    def __del__(self) -> None:
        Node.alive -= 1


async def leaves_a_cycle() -> None:
    Node()


# Of one body: as much as Python's own thresholds let be, which is 700 new objects, less those that
# are freed meanwhile, whatever they are. Of 500: 64 MB, and what all of them leave in one round of
# the loop before there is a look.
@pytest.mark.parametrize("pythons", [(700, 10, 10)], indirect=True)
@pytest.mark.parametrize(("bodies", "steps", "most"), [(1, 2_000, 2 * 700), (500, 4, 700)])
async def test_large_garbage_does_not_pile_up(pythons, monkeypatch, bodies, steps, most):
    @workflow
    async def leaves_cycles(step):
        for _ in range(steps):
            await step.do(leaves_a_cycle)

    gc.collect()
    Node.most = 0
    monkeypatch.setattr(collector, "memory", lambda: Node.alive * MB)
    async with Engine(":memory:", workflows=[leaves_cycles]) as engine:
        for instance in (await engine.create_batch(leaves_cycles, [None] * bodies)).created:
            await instance.result()
    assert 64 <= Node.most < most
    gc.collect()
