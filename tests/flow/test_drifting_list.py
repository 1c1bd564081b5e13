"""A CRM that has nothing but a list whose pages leave out records: no feed of changes, none of removed records."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from sales_crm_adapters.hubspot import HubSpot
from sales_crm_adapters.hubspot.pages import LIST

from sales_crm_bridge.model import Feed, Page, Position
from sales_crm_bridge.observer import NOBODY, Observer
from sales_crm_bridge.policy import walks
from sales_crm_bridge.ports import Talk
from sales_crm_bridge.simulate.loop import VirtualLoop, run
from sales_crm_bridge.simulate.world import World
from sales_crm_bridge.web.meter import Meter
from tests.flow.flow_kit import disagreements, view, world

LEADS = 300
EVERY_S = 30


@pytest.fixture
def leaves_out(monkeypatch: pytest.MonkeyPatch) -> Callable[[float, bool], list[str]]:
    """Give a way to reduce the CRM to a list that leaves a record out by chance; returns the ids that it has left out."""

    def reduce(chance: float, drifts: bool) -> list[str]:
        dice = random.Random(5)
        feed = replace(LIST, page_max=20, drifts=drifts)
        full = HubSpot.pull
        gaps: list[str] = []

        def pull(self: HubSpot, which: Feed, position: Position, limit: int) -> Talk[Page]:
            page = yield from full(self, which, position, limit)
            left = [raw.id for raw in page.raws if dice.random() < chance]
            gaps.extend(left)
            return msgspec.structs.replace(page, raws=[raw for raw in page.raws if raw.id not in left])

        monkeypatch.setattr(HubSpot, "feeds", lambda _self: (feed,))
        monkeypatch.setattr(HubSpot, "pull", pull)
        return gaps

    return reduce


async def until_swept(home: World, runs: int) -> None:
    """Let a process work until the sweep has been completed so often."""

    async def swept(_service: object) -> None:
        while True:
            await home.clock.sleep(0.2)
            standing = (await home.positions()).get(LIST.name)
            if standing is not None and standing.run >= runs and standing.position is None and standing.absent is None:
                return

    killed = await home.live(lambda service: asyncio.ensure_future(swept(service)))
    assert not killed


def play(folder: Path, runs: int, observer: Observer = NOBODY) -> tuple[World, list[str]]:
    """The first ``runs`` sweeps over 300 leads, and what the two sides disagree in after them."""
    loop = VirtualLoop()

    async def main() -> tuple[World, list[str]]:
        home = world(loop, folder, "drift", leads=LEADS)
        home.observer = observer
        await until_swept(home, runs)
        return home, disagreements(view(home.topics.facts), home.portal)

    return run(main(), loop)


def test_an_import_ends_only_when_two_passes_agree(
    tmp_path: Path, leaves_out: Callable[[float, bool], list[str]]
) -> None:
    """Every page leaves out one record in twenty; the import is not over before all 300 leads were told, each once."""
    left = leaves_out(0.05, True)
    home, wrong = play(tmp_path, 1)
    assert left
    assert not wrong
    assert view(home.topics.facts).kinds["crm_lead_observed"] == LEADS


def test_a_list_that_is_believed_at_once_loses_leads(
    tmp_path: Path, leaves_out: Callable[[float, bool], list[str]]
) -> None:
    """The same list without the word that it drifts: the import is over with leads missing, so the test above can fail."""
    left = leaves_out(0.05, False)
    _, wrong = play(tmp_path, 1)
    assert len(wrong) == len(set(left)) > 0


def test_a_list_that_never_agrees_does_not_hold_the_sweep_up(
    tmp_path: Path, leaves_out: Callable[[float, bool], list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    """Half of every page is left out: the sweep gives up agreeing after its passes, says so, and nobody is told to be gone."""
    leaves_out(0.5, True)
    meter = Meter()
    home, wrong = play(tmp_path, 3, meter)
    told = view(home.topics.facts)
    assert not wrong
    assert told.kinds["crm_lead_removed"] == 0
    assert told.kinds["crm_sync_completed"] == 3
    said = [one for one in caplog.records if getattr(one, "event", "") == "sweep.unsettled"]
    assert len(said) == 1  # later sweeps know every lead, and ask for those that a pass leaves out
    counted = {family.name: [one.value for one in family.samples] for family in meter.families()}
    assert counted["sales_crm_bridge_sweeps_unsettled"] == [1]
    rows = run(home.look(lambda ledger: ledger.runs(1, 3)), VirtualLoop())
    assert [row.state for row in rows] == ["completed"] * 3
    assert [row.code for row in rows] == ["", "", "sweep.unsettled"]


def test_with_nothing_but_a_list_changes_and_removals_are_met_at_the_pace_of_changes(
    tmp_path: Path, leaves_out: Callable[[float, bool], list[str]]
) -> None:
    """A person edits, creates and deletes: told within two sweeps, that is within about twice ``pull.every``."""
    leaves_out(0.05, True)
    loop = VirtualLoop()

    async def main() -> tuple[list[str], float]:
        home = world(loop, tmp_path, "drift", leads=LEADS)
        await until_swept(home, 1)
        ids = sorted(home.portal.truth().live["contacts"], key=int)
        for one in ids[:5]:
            home.portal.person.edit(one, {"phone": "+1 555 0100"})
        for one in ids[5:10]:
            home.portal.person.delete(one)
        home.portal.person.create("contacts", {"email": "new@people.example", "firstname": "N"})
        began_us = home.clock.now_us()
        run_now = (await home.positions())[LIST.name].run
        await until_swept(home, run_now + 2)
        return disagreements(view(home.topics.facts), home.portal), (home.clock.now_us() - began_us) / 1e6

    wrong, took_s = run(main(), loop)
    assert not wrong
    assert took_s < 4 * EVERY_S


def test_passes_are_bounded_and_only_of_a_list_that_drifts() -> None:
    """Another pass follows one that differs, at most ``PASSES_MAX`` in all, with a clean slate; else the sweep is over."""
    steady, drifting = (
        walks.Walk(name="list", feed=replace(LIST, drifts=drifts), turn=walks.Pass.SWEEP, every_us=1)
        for drifts in (False, True)
    )
    standing = walks.compared(walks.Standing(run=4, absent="9", begun_us=7), differs=True)
    assert walks.another_pass(steady, standing) is None
    assert walks.another_pass(drifting, walks.Standing(run=4, absent="9")) is None
    passes = 1
    while (again := walks.another_pass(drifting, standing)) is not None:
        assert (again.run, again.begun_us, again.absent, again.differs) == (4, 7, None, False)
        standing = walks.compared(again, differs=True)
        passes += 1
    assert passes == walks.PASSES_MAX
    assert walks.end(drifting, standing, 0).passes == 0
