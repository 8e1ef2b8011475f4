"""A few crash trials; `python -m crash --trials 100` in the folder tests runs as many as you like."""

from __future__ import annotations

import random
import secrets
from typing import Any

import pytest
from crash.__main__ import summarize
from crash.trials import KINDS, run_trials

# Each takes some twelve seconds.
TRIALS = 3

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.usefixtures("base_image")]


def test_nothing_is_left_whoever_is_killed_and_nobody_else_notices(docker_client: Any) -> None:
    pytest.importorskip("xdist")
    seed = secrets.randbelow(10**6)
    print(f"seed {seed}")

    # How soon is for test_guardian.py, which measures the machine too.
    outcomes = run_trials(random.Random(seed).sample(KINDS, TRIALS), seed, docker_client, print, clean_within_s=60)

    print(*summarize(outcomes), sep="\n")
    assert [o.problem for o in outcomes if o.problem] == []
    assert not any(o.left for o in outcomes)
