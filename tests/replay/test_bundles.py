"""The bundles in tests/bundles are those of the sandbox scenarios as they are now, and replay."""

from __future__ import annotations

from pathlib import Path

import pytest

from sales_crm_bridge.replay import bundle as bundles
from sales_crm_bridge.replay.comparing import compare, kind_of
from sales_crm_bridge.replay.guard import look_through
from sales_crm_bridge.replay.player import play
from sales_crm_bridge.replay.recorder import facts_of
from tests.replay.scenarios import FOLDER, SCENARIOS, record, surroundings

MEANT = "a scenario tells something else now: if that is meant, run `make bundles`, look at the difference, and commit"


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in surroundings().items():
        monkeypatch.setenv(name, value)


def test_there_is_a_bundle_of_every_scenario_and_no_other() -> None:
    """None is forgotten, none left behind."""
    assert sorted(place.name for place in FOLDER.iterdir()) == sorted(SCENARIOS)


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_recorded_anew_is_the_same_bundle(tmp_path: Path, name: str) -> None:
    """File by file, byte for byte; the first line that differs is shown."""
    record(name, tmp_path / name)
    for file in sorted((FOLDER / name).iterdir()):
        kept, made = (place.read_text().splitlines() for place in (file, tmp_path / name / file.name))
        for number, (before, after) in enumerate(zip(kept, made, strict=False), start=1):
            assert before == after, f"{file.name}:{number}: {MEANT}"
        assert len(kept) == len(made), f"{file.name}: {MEANT}"


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_bundle_replays_and_nothing_slipped_into_it(name: str) -> None:
    """The same facts byte for byte; leads were told, and for each scenario but the merge the CRM was written to."""
    made, found = look_through(FOLDER / name)
    assert found == []
    assert compare(made.facts, facts_of(play(made).facts)).same
    kinds = {kind_of(one) for one in made.facts}
    assert "crm_lead_observed" in kinds
    assert ("crm_lead_removed" if name == "hubspot-merge" else "crm_lead_pushed") in kinds
    assert bundles.read(FOLDER / name) == made
