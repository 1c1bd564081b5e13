"""The first import at its worst: one modified time for all, a search that stops at 10,000, a kill after every page."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sales_crm_bridge.sandbox.hubspot import Vices
from sales_crm_bridge.simulate.loop import VirtualLoop, run
from tests.flow.flow_kit import EPOCH_US, disagreements, view, world

LEADS = 25_000
PAGE = 100
CALM = Vices(search_per_s=1_000, burst_per_10_s=100_000, per_day=10_000_000)


async def import_all(loop: VirtualLoop, folder: Path, feed: str, age_s: int) -> tuple[list[str], int, int]:
    """Import everything by lives that each end with their first commit; what is wrong, lives, and facts told."""
    home = world(loop, folder, "import", leads=LEADS, same_modified_ms=EPOCH_US // 1000 - age_s * 1000, vices=CALM)
    lives = 0
    while True:
        lives += 1
        await home.live(lambda _service: asyncio.ensure_future(home.clock.sleep(600)), last="… commit")
        standing = (await home.positions())[feed]
        if standing.run >= 1 and standing.position is None and standing.absent is None:
            break
        assert lives < LEADS // PAGE * 4, "it loops"
    await home.live(lambda _service: asyncio.ensure_future(home.clock.sleep(1800)))
    told = view(home.topics.facts)
    return disagreements(told, home.portal), lives, told.kinds["crm_lead_observed"]


@pytest.mark.parametrize(("feed", "age_s"), [("search", 300), ("list", 86_400)])
def test_25_000_leads_of_one_modified_time_are_imported_once(tmp_path: Path, feed: str, age_s: int) -> None:
    """By the search (their time lies in the first window) and by the list: all are told, none twice, page after page."""
    loop = VirtualLoop()
    wrong, lives, told = run(import_all(loop, tmp_path, feed, age_s), loop)
    assert not wrong, "\n".join(wrong[:20])
    assert told == LEADS
    assert lives >= LEADS // PAGE
