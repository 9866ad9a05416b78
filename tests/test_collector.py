"""Python's collector is patient while an engine is open, and as the program had it afterwards."""

import gc
from collections.abc import Iterator

import pytest

from stepwell import Engine

PATIENT = (10_000, 10, 100)


@pytest.fixture(params=[(700, 10, 10), (2000, 10, 0)], ids=["3.11", "3.14"])
def pythons(request) -> Iterator[tuple[int, int, int]]:
    before = gc.get_threshold()
    gc.set_threshold(*request.param)
    yield request.param
    gc.set_threshold(*before)


async def test_the_last_engine_gives_back_what_the_first_one_took(pythons):
    async with Engine(":memory:"):
        assert gc.get_threshold() == PATIENT
        async with Engine(":memory:"):
            assert gc.get_threshold() == PATIENT
        assert gc.get_threshold() == PATIENT
    assert gc.get_threshold() == pythons


async def test_a_block_that_fails_gives_it_back_too(pythons):
    with pytest.raises(ZeroDivisionError):
        async with Engine(":memory:"):
            raise ZeroDivisionError
    assert gc.get_threshold() == pythons


@pytest.mark.parametrize("own", [(0, 10, 10), (50_000, 20, 30)])
async def test_a_program_that_has_its_own_setting_keeps_it(pythons, own):
    gc.set_threshold(*own)
    async with Engine(":memory:"):
        assert gc.get_threshold() == own
    assert gc.get_threshold() == own


async def test_a_program_that_changes_it_meanwhile_keeps_that(pythons):
    async with Engine(":memory:"):
        gc.set_threshold(123, 4, 5)
    assert gc.get_threshold() == (123, 4, 5)
