"""Generated programs against crashes, parkings and trio's shuffling (rules D1, D2, D3, E1, E2, I1, I4, I5, I8, I13, P2, R2, R3).

`STEPWELL_PROGRAMS=1000000 pytest tests/programs --hypothesis-seed=7` runs any number.
"""

import os

import pytest
from hypothesis import HealthCheck, given, settings

from .conductor import check
from .strategy import fates, programs

COUNT = int(os.environ.get("STEPWELL_PROGRAMS", "200"))


@pytest.mark.slow
@settings(max_examples=COUNT, suppress_health_check=list(HealthCheck))
@given(program=programs(), fate=fates)
def test_i4_live_run_and_every_replay_of_a_generated_program_agree(program, fate):
    check(program, fate)
