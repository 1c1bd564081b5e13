"""A feed whose place the CRM has forgotten: a gap is opened, everything is read again, the gap is closed, and nothing is lost or doubled."""

from __future__ import annotations

from pathlib import Path

import pytest

from sales_crm_bridge import contract
from sales_crm_bridge.sandbox import Fault, FaultKind
from sales_crm_bridge.sandbox.dialects import Tidal
from sales_crm_bridge.simulate.loop import VirtualLoop, run
from tests.contract.declared_worlds import TidalWorld
from tests.flow.flow_kit import View
from tests.flow.test_declared import Story

LEADS = 12
DAYS = 2 * 86_400


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLAIN_KEY", TidalWorld.secrets["token"])


def crm(story: Story) -> Tidal:
    found = story.crm.crm
    assert isinstance(found, Tidal)
    return found


async def begun(loop: VirtualLoop, folder: Path) -> tuple[Story, View]:
    """Everything is imported, and the feed stands at a token."""
    story = Story(loop, folder, TidalWorld, "tides")
    for number in range(LEADS):
        story.crm.create(number)
    await story.home.clock.sleep(3_600)
    told = await story.live(600)
    assert told.kinds["crm_lead_observed"] == LEADS
    return story, told


def gaps(story: Story) -> list[tuple[str, str, str]]:
    """What the facts tell of gaps: which fact, feed and cause."""
    found = []
    for value in story.home.topics.facts:
        record = contract.outgoing(value)
        received = contract.read(contract.SalesIntegrationFact, record.value, record.headers)
        assert not isinstance(received, contract.Unreadable)
        kind = received.envelope.WhichOneof("fact") or ""
        if kind.startswith("crm_gap"):
            gap = getattr(received.envelope, kind).gap
            found.append((kind, gap.feed, gap.cause))
    return found


async def meanwhile(story: Story) -> None:
    """For longer than a token is good nobody works, and people go on: an edit, a new record, one in the bin, one erased."""
    edited, binned, erased, *_ = story.crm.live()
    story.crm.edit(edited, {"phone": "+1 77"})
    story.crm.create(77)
    story.crm.delete(binned)
    story.crm.erase(erased)
    await story.home.clock.sleep(DAYS)


def test_changes_are_met_by_a_token_that_the_crm_gives(tmp_path: Path) -> None:
    """While tokens hold no gap is opened, whatever changes; a quiet feed proves with every look that it is current."""
    loop = VirtualLoop()

    async def main() -> tuple[Story, View, float]:
        story, _ = await begun(loop, tmp_path)
        edited, binned, *_ = story.crm.live()
        story.crm.edit(edited, {"phone": "+1 5"})
        story.crm.delete(binned)
        told = await story.live(600)
        assert not story.disagreements(told)
        told = await story.live(3_000)
        standing = (await story.home.positions())["delta"]
        return story, told, (story.home.clock.now_us() - standing.proven_us) / 1e6

    story, told, unproven_s = run(main(), loop)
    assert gaps(story) == []
    assert told.kinds["crm_lead_observed"] == LEADS + 1
    assert told.kinds["crm_lead_removed"] == 1
    assert unproven_s < 60


def test_a_feed_that_fails_again_and_again_is_not_proven(tmp_path: Path) -> None:
    """What the alert looks at grows, however often it is tried again; the CRM's other answers are good."""
    loop = VirtualLoop()

    async def main() -> float:
        story, _ = await begun(loop, tmp_path)
        crm(story).faults.add(Fault(FaultKind.STATUS, path="*/delta", times=None, status=400))
        await story.live(7_200)
        standing = (await story.home.positions())["delta"]
        assert standing.every_us == 30_000_000
        return (story.home.clock.now_us() - standing.proven_us) / 1e6

    assert run(main(), loop) >= 7_200


@pytest.mark.parametrize("steps", [None, 40, 90, 150])
def test_a_lost_token_opens_a_gap_that_a_sweep_closes(tmp_path: Path, steps: int | None) -> None:
    """Also where processes die meanwhile. What changed is told once, what is as it was not at all, what is gone is found."""
    loop = VirtualLoop()

    async def main() -> tuple[Story, View]:
        story, _ = await begun(loop, tmp_path)
        await meanwhile(story)
        if steps is not None:
            for more in range(4):
                await story.live(600, steps=steps + 10 * more)
        told = await story.live(3_600)
        assert await story.home.look(lambda ledger: ledger.gaps(0)) == []
        return story, told

    story, told = run(main(), loop)
    assert gaps(story) == [
        ("crm_gap_opened", "delta", "position-lost"),
        ("crm_gap_closed", "delta", "position-lost"),
    ]
    assert not story.disagreements(told)
    assert told.kinds["crm_lead_observed"] == LEADS + 2
    assert told.kinds["crm_lead_removed"] == 2


def test_the_gap_stays_open_while_the_feed_has_no_new_place(tmp_path: Path) -> None:
    """A sweep that has begun before the feed goes on proves nothing of what comes between the two."""
    loop = VirtualLoop()

    async def main() -> Story:
        story, _ = await begun(loop, tmp_path)
        await meanwhile(story)
        crm(story).faults.add(Fault(FaultKind.STATUS, path="*/delta*", times=None, status=400, skip=1))
        await story.live(3 * 3_600)
        assert len(await story.home.look(lambda ledger: ledger.gaps(0))) == 1
        crm(story).faults.clear()
        told = await story.live(3_600)
        assert not story.disagreements(told)
        return story

    assert [kind for kind, _, _ in gaps(run(main(), loop))] == ["crm_gap_opened", "crm_gap_closed"]
