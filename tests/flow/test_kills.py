"""The whole flow under kills and faults: nothing lost, nothing doubled, and the same twice."""

from __future__ import annotations

import asyncio
import hashlib
import random
import subprocess
import sys
from pathlib import Path

import pytest

from sales_crm_bridge.sandbox import Fault, FaultKind
from sales_crm_bridge.simulate.loop import VirtualLoop, run
from tests.flow.flow_kit import disagreements, people, view, world

HOUR_S = 3600.0


async def story(loop: VirtualLoop, folder: Path, seed: str, *, kills: int, faults: bool) -> tuple[list[str], str]:
    """Live through kills and faults, then in peace until everything is settled; what disagrees, and the trace's digest."""
    rng = random.Random(seed)
    home = world(loop, folder, seed, leads=40)
    if faults:
        for fault in (
            Fault(FaultKind.CUT_AFTER, method="POST", path="*/batch/*", times=None, chance=0.15),
            Fault(FaultKind.TIMEOUT_AFTER, method="POST", path="*/batch/*", times=None, chance=0.03),
            Fault(FaultKind.STATUS_AFTER, method="POST", path="*/batch/*", times=None, chance=0.05, status=502),
            Fault(FaultKind.CUT_BEFORE, times=None, chance=0.03),
            Fault(FaultKind.STATUS, times=None, chance=0.05, status=503),
        ):
            home.portal.faults.add(fault)
    busy = asyncio.ensure_future(people(home, rng, 60))
    for _ in range(kills):
        await home.live(lambda _service: asyncio.ensure_future(home.clock.sleep(600)), steps=rng.randrange(1, 300))
        await home.clock.sleep(rng.uniform(0, 40))
    uttered = await busy
    home.portal.faults.clear()
    killed = await home.live(lambda _service: asyncio.ensure_future(home.clock.sleep(3 * HOUR_S)))
    assert not killed
    told = view(home.topics.facts)
    wrong = disagreements(told, home.portal)
    wrong += [f"{name} has no outcome" for name in uttered if not told.done[name] and name not in told.refused]
    wrong += [f"{name} took effect {count} times" for name, count in told.done.items() if count > 1]
    return wrong, hashlib.blake2b("\n".join(home.trace).encode()).hexdigest()


def tell(folder: Path, seed: str, *, kills: int, faults: bool) -> tuple[list[str], str]:
    """``story`` on a loop of its own."""
    loop = VirtualLoop()
    return run(story(loop, folder, seed, kills=kills, faults=faults), loop)


@pytest.mark.parametrize("seed", range(6))
def test_killed_between_any_two_steps_nothing_is_lost_or_doubled(tmp_path: Path, seed: int) -> None:
    """Twenty processes die in the middle of it while people edit and intents come; in the end both sides agree."""
    wrong, _ = tell(tmp_path, f"kills {seed}", kills=20, faults=False)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("seed", range(6))
def test_with_lost_answers_and_kills_nothing_is_lost_or_doubled(tmp_path: Path, seed: int) -> None:
    """Answers are lost after the CRM's commit, connections cut, servers down, and processes die on top of it."""
    wrong, _ = tell(tmp_path, f"faults {seed}", kills=10, faults=True)
    assert not wrong, "\n".join(wrong)


def test_one_seed_gives_one_trace_in_two_processes(tmp_path: Path) -> None:
    """The flow is deterministic: a run with kills crosses every border in the same order, in this process and in another."""
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    _, here = tell(tmp_path / "here", "twice", kills=8, faults=True)
    there = subprocess.run(
        [sys.executable, "-W", "ignore", __file__, str(tmp_path / "there")],
        capture_output=True,
        text=True,
        check=True,
        env={"ACME_TOKEN": "pat-na1-sandbox", "PYTHONHASHSEED": "random", "PYTHONPATH": str(Path(__file__).parents[2])},
    ).stdout.strip()
    assert there == here


if __name__ == "__main__":
    print(tell(Path(sys.argv[1]), "twice", kills=8, faults=True)[1])  # noqa: T201 - the other process speaks by its output
