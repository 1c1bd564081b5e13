"""The benchmarks measure what they say: the same leads on both sides, ratios to the floor of the same round."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from benchmarks import floor, growth, neighbours
from benchmarks.__main__ import told
from benchmarks.bridge import deployment
from benchmarks.cases import CASES
from benchmarks.charts import UNITS, chart
from benchmarks.place import Place
from benchmarks.pulling import read_all
from benchmarks.running import crm
from benchmarks.studies import STUDIES
from sales_crm_bridge import contract

ROOT = Path(__file__).parents[2]
LEADS = 30


def leads_of(facts: list[bytes]) -> dict[str, contract.Lead]:
    """The leads that observed facts tell of, by the CRM's id, without the ids that each side gives them."""
    found = {}
    for value in facts:
        fact = contract.SalesIntegrationFact.FromString(value)
        if fact.WhichOneof("fact") == "crm_lead_observed":
            lead = fact.crm_lead_observed.lead
            lead.ClearField("lead_id")
            found[fact.crm_lead_observed.external.record_id] = lead
    return found


@pytest.mark.parametrize("adapter", ["hubspot", "rest"])
async def test_the_bridge_and_the_floor_tell_the_same_leads(adapter: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every mapped field of every lead: a floor that did less would flatter nobody, a bridge that did less would flatter us."""
    made: dict[str, list[bytes]] = {"plain": [], "best": []}
    monkeypatch.setattr(floor, "told", lambda how, facts: made[how].extend(facts))
    with crm(LEADS, 10) as address:
        assert floor.plain(address, 10) == floor.best(address, 10) == LEADS
        async with deployment(Place(count=LEADS, page=10, crm=address, adapter=adapter)) as (ledger, working):
            await read_all(ledger, working)
            ours = leads_of([row.fact for row in await ledger.outbox_read(0, 1000)])
    assert len(ours) == LEADS
    assert ours == leads_of(made["plain"]) == leads_of(made["best"])


def test_a_ratio_is_to_the_floor_of_the_same_round() -> None:
    """The machine was twice as slow in the second round: that is nobody's gain or loss. Each round has its own ratio."""

    def cost(seconds: float) -> dict[str, float]:
        return {"count": 10, "cpu_s": seconds, "wall_s": seconds, "peak_mb": 1}

    costs = {
        "pull.rest.floor": [cost(1.0), cost(2.0), cost(1.0)],
        "pull.rest.sqlite": [cost(2.0), cost(4.0), cost(2.5)],
        "poll.rest.sqlite": [cost(0.025), cost(0.05), cost(0.01)],
    }
    figures = told(costs)
    assert (
        figures["pull.rest.sqlite"] | {"ratio": 0.5, "floor": 0.5, "rounds": 3, "spread": 0.1}
        == figures["pull.rest.sqlite"]
    )
    assert figures["poll.rest.sqlite"]["ratio"] == 2.0


def test_the_command_line_tells_a_case_as_json(tmp_path: Path) -> None:
    """One object: ratio, floor, rounds and spread by case; the floor comes along unasked."""
    file = tmp_path / "figures.json"
    words = ["--only", "reread.rest", "--count", "40", "--rounds", "2", "--json", str(file)]
    subprocess.run([sys.executable, "-m", "benchmarks", *words], cwd=ROOT, check=True, capture_output=True)
    figures = json.loads(file.read_text())
    assert list(figures) == ["pull.rest.floor", "reread.rest.sqlite"]
    assert {"ratio", "floor", "rounds", "spread"} <= set(figures["reread.rest.sqlite"])
    assert figures["pull.rest.floor"]["ratio"] == 1.0
    assert figures["reread.rest.sqlite"]["rounds"] == 2


async def test_a_study_measures_at_each_size() -> None:
    """Points at the sizes that were asked for, each with what is drawn."""
    with crm(60, 10) as address:
        place = Place(count=60, page=10, crm=address, adapter="rest")
        points = await growth.pull(place, (20, 60))
    assert [point["size"] for point in points] == [20, 60]
    assert all(point[name] > 0 for point in points for name in STUDIES["growth-pull"].chart)
    figures = STUDIES["growth-pull"].figures(points)
    assert set(figures) == {"growth.page", "growth.poll", "memory.pull"}


def test_a_chart_is_a_picture_of_its_points() -> None:
    """Well-formed, a circle for each point of each figure, and a name for whatever is drawn."""
    points = [{"size": 10.0, "rate": 5.0, "fairness": 1.0}, {"size": 100.0, "rate": 4.0, "fairness": 0.5}]
    picture = ET.fromstring(chart(points, ("rate", "fairness"), "processes & more"))  # noqa: S314 - our own
    assert len(picture.findall("{http://www.w3.org/2000/svg}circle")) == 4
    assert {name for study in STUDIES.values() for name in study.chart} <= set(UNITS)


def test_every_case_is_held_against_something() -> None:
    """A floor that is measured before it, or a limit; and every floor serves somebody."""
    names = list(CASES)
    for name, case in CASES.items():
        assert not case.floor or names.index(case.floor) < names.index(name)
        assert not case.at_least or case.floor or case.cpu_ms_max
    floors = {case.floor for case in CASES.values() if case.floor}
    assert floors == {name for name, case in CASES.items() if not case.floor and not case.cpu_ms_max}


async def test_the_calm_tenant_is_timed_from_its_command_to_the_acknowledged_fact(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As many waits as it asked for, none shorter than its CRM takes for a write, whatever its neighbour has waiting."""
    monkeypatch.setattr(neighbours, "ASKED", 8)
    with crm(1, 100, neighbours.WRITE_S) as calm, crm(1, 100, neighbours.WRITE_S, 77) as other:
        here = Place(count=1, page=100, crm=calm)
        waits = await neighbours.asked(here, Place(count=1, page=100, crm=other), commands=300)
        assert len(waits) == 8
        assert min(waits) >= neighbours.WRITE_S
    assert neighbours.percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert neighbours.percentile([float(n) for n in range(100)], 0.99) == 99.0
    point = {"size": 1.0, "alone_p99": 100.0, "queue_p99": 110.0, "queue_ratio": 1.1}
    ((name, (ratio, wanted)),) = STUDIES["neighbours-sqlite"].figures([point]).items()
    assert (name, round(ratio, 3), wanted) == ("neighbours.sqlite.queue", 0.909, 0.9)
