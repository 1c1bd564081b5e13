"""The simulation catches each classic bug that is planted in the program, and blames nobody where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from sales_crm_bridge.simulate.mutations import MUTATIONS, drawn, planted
from sales_crm_bridge.simulate.runs import play

SEEDS_MAX = 6
STEPS = 1500


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_planted_bug_is_caught(tmp_path: Path, name: str) -> None:
    """Within six seeds; and the plan that shows it holds everything when the bug is not there."""
    for seed in range(1, SEEDS_MAX + 1):
        plan = drawn(name, MUTATIONS[name].crm, seed, STEPS)
        with planted(name):
            broken = play(plan, tmp_path / "run").wrong
        if broken:
            assert play(plan, tmp_path / "run").wrong == []
            return
    pytest.fail(f"{name} is not caught by {SEEDS_MAX} seeds of {STEPS} steps: the checker has a hole")
