"""The whole flow under kills and faults: nothing lost, nothing doubled, and the same twice."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pytest

from sales_crm_bridge.sandbox import Fault, FaultKind
from sales_crm_bridge.simulate.loop import VirtualLoop, run
from tests.flow.flow_kit import disagreements, people, view, world

HOUR_S = 3600.0


class Ending(NamedTuple):
    """How a story ended: what disagrees, and the digests of the trace and of the facts, byte for byte."""

    wrong: list[str]
    trace: str
    facts: str


def digest(parts: Iterable[bytes]) -> str:
    """A digest of these parts in their order."""
    return hashlib.blake2b(b"".join(len(part).to_bytes(4) + part for part in parts)).hexdigest()


async def story(loop: VirtualLoop, folder: Path, seed: str, *, kills: int, faults: bool) -> Ending:
    """Live through kills and faults, then in peace until everything is settled."""
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
    return Ending(wrong, digest(line.encode() for line in home.trace), digest(home.topics.facts))


def tell(folder: Path, seed: str, *, kills: int, faults: bool) -> Ending:
    """``story`` on a loop of its own."""
    loop = VirtualLoop()
    return run(story(loop, folder, seed, kills=kills, faults=faults), loop)


@pytest.mark.parametrize("seed", range(6))
def test_killed_between_any_two_steps_nothing_is_lost_or_doubled(tmp_path: Path, seed: int) -> None:
    """Twenty processes die in the middle of it while people edit and intents come; in the end both sides agree."""
    wrong = tell(tmp_path, f"kills {seed}", kills=20, faults=False).wrong
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("seed", range(6))
def test_with_lost_answers_and_kills_nothing_is_lost_or_doubled(tmp_path: Path, seed: int) -> None:
    """Answers are lost after the CRM's commit, connections cut, servers down, and processes die on top of it."""
    wrong = tell(tmp_path, f"faults {seed}", kills=10, faults=True).wrong
    assert not wrong, "\n".join(wrong)


def test_one_seed_gives_one_trace_in_two_processes(tmp_path: Path) -> None:
    """The flow is deterministic: a run with kills crosses every border in the same order, in this process and in another.

    What crosses is the same too: requests and answers, the ledger's arguments and what it gives, facts to the last byte.
    """
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    here = tell(tmp_path / "here", "twice", kills=8, faults=True)
    root = Path(__file__).parents[2]
    roots = os.pathsep.join([str(root), str(root / "adapters")])
    there = subprocess.run(
        [sys.executable, "-W", "ignore", __file__, str(tmp_path / "there")],
        capture_output=True,
        text=True,
        check=True,
        env={"ACME_TOKEN": "pat-na1-sandbox", "PYTHONHASHSEED": "random", "PYTHONPATH": roots},
    ).stdout.split()
    assert there == [here.trace, here.facts]


if __name__ == "__main__":
    print(*tell(Path(sys.argv[1]), "twice", kills=8, faults=True)[1:])  # noqa: T201 - the other process speaks by its output
