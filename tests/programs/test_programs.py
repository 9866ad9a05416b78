"""Generated programs against crashes, parkings and trio's shuffling (rules D1, D2, D3, E1, E2, I1,
I4, I5, I8, I13, P2, R2, R3).

`STEPWELL_PROGRAMS=1000000 pytest tests/programs --hypothesis-seed=7` runs any number.
"""

import os

import pytest
from hypothesis import HealthCheck, example, given, settings

from .conductor import check
from .nodes import Cut, Do, Fate, Finally, Map, Nursery, Patched, Sleep
from .strategy import fates, programs

COUNT = int(os.environ.get("STEPWELL_PROGRAMS", "200"))
IN_THREADS = Nursery(
    branches=((Do(how="thread", lets_go=True),), (Do(how="thread"),), (Do(how="gated"),)), cancel=2
)
AT_FIRST_SIGHT = Fate(
    cuts=(Cut(kind="moment", how="crash"),), events=0, park_after=0.001, runtime="asyncio"
)
"""In one turn a step is cancelled that was queued for a thread, and the body begins another one;
then the process dies (R3)."""

ITEMS_IN_THREADS = (
    Map(items=3, failing=(0, 2), how="thread", concurrency=3, keyed=True),
    Patched(change=1, body=(Sleep(30),)),
    Patched(change=1, body=(Sleep(30),)),
)
KILLED_AMONG_THEM = Fate(
    seed=3171,
    cuts=(
        Cut(kind="submission", at=2, how="crash", dies=True),
        Cut(kind="rest", at=11, how="close", grace=1),
        Cut(kind="rest", at=19, how="crash", grace=4, dies=True, stumbles=True),
    ),
    events=0,
    park_after=1,
    burst=2,
    threads=2,
)
"""A map gives up an item that was queued for a thread while it still waits for another one, and the
process dies (I8)."""

HANGS_IN_A_CLEANUP = (Finally(cleanup=(Do(how="hangs"),)),)
UNDONE_THERE = Fate(seed=3, acts=("undo",))
"""Behind a shield of the body, a step runs while its instance is to undo its steps (P1)."""


@pytest.mark.slow
@settings(max_examples=COUNT, suppress_health_check=list(HealthCheck))
@example(program=(IN_THREADS, Do(how="now")), fate=AT_FIRST_SIGHT)
@example(program=ITEMS_IN_THREADS, fate=KILLED_AMONG_THEM)
@example(program=HANGS_IN_A_CLEANUP, fate=UNDONE_THERE)
@given(program=programs(), fate=fates)
def test_i4_live_run_and_every_replay_of_a_generated_program_agree(program, fate):
    check(program, fate)
