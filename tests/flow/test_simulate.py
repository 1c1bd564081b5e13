"""The simulation as a product: what it promises of itself, a few seeds of every CRM, and the verb."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from sales_crm_bridge import cli, wiring
from sales_crm_bridge.simulate.crms import CRMS
from sales_crm_bridge.simulate.mutations import MUTATIONS, drawn, planted
from sales_crm_bridge.simulate.plan import FAULTS, RATES, cells, draw, load, save
from sales_crm_bridge.simulate.runs import Result, minimise, play

DECLARED = Path(__file__).parents[1] / "contract" / "declared"


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("crm", CRMS)
def test_everything_holds(tmp_path: Path, crm: str, seed: int) -> None:
    """Two seeds of each CRM: processes die, answers get lost, people work; in the end every invariant holds."""
    result = play(draw(crm, CRMS[crm].menu, seed, 1500), tmp_path / "run")
    assert not result.wrong, "\n".join(f"{name}: {text}" for name, text in result.wrong)
    assert result.facts > 30
    assert sum(result.hits.values()) > 15


@pytest.mark.parametrize("crm", ["hubspot", "memory"])
def test_one_plan_gives_one_run(tmp_path: Path, crm: str) -> None:
    """With several processes too: every crossing in the same order at the same time, with the same content."""
    plan = draw(crm, CRMS[crm].menu, 7, 500)
    plan = msgspec.structs.replace(plan, spice=msgspec.structs.replace(plan.spice, processes=3))
    first, second = (play(plan, tmp_path / "run", trace=True) for _ in range(2))
    assert first.trace == second.trace
    assert first.hits == second.hits


def test_a_plan_can_be_kept_and_run_again(tmp_path: Path) -> None:
    """As text and back it is the same; what is no plan is refused by name."""
    plan = draw("plain", CRMS["plain"].menu, 3, 300)
    file = tmp_path / "plan.json"
    file.write_text(save(plan))
    assert load(file) == plan
    assert len(file.read_text().splitlines()) > len(plan.events)
    file.write_text("{}")
    assert CliRunner().invoke(cli.cli, ["simulate", "--plan", str(file)]).exit_code != 0


def test_a_failing_plan_gets_smaller_and_still_fails(tmp_path: Path) -> None:
    """Left out is what does not matter: of more than a hundred events a handful is left."""
    plan = drawn("no-inbox", "memory", 1, 1000)
    runs = 0

    def again(smaller: object) -> Result:
        nonlocal runs
        runs += 1
        return play(smaller, tmp_path / "run")  # type: ignore[arg-type]  # a plan, as minimise makes it

    with planted("no-inbox"):
        result = play(plan, tmp_path / "run")
        assert result.wrong
        best, tried = minimise(result, again, lambda: runs >= 40)
    assert tried == runs <= 41
    assert len(best.plan.events) < len(plan.events) / 4
    assert {name for name, _ in best.wrong} & {name for name, _ in result.wrong}


def test_a_bug_is_gone_when_it_is_no_longer_planted() -> None:
    """Planting leaves no trace in the program."""
    for name, mutation in MUTATIONS.items():
        before = [(where, attribute, getattr(where, attribute)) for where, attribute, _ in mutation.swaps()]
        with planted(name):
            assert all(getattr(where, attribute) is not value for where, attribute, value in before)
        assert all(getattr(where, attribute) is value for where, attribute, value in before)


@pytest.mark.parametrize("crm", CRMS)
def test_every_fault_has_a_rate_and_a_place(crm: str) -> None:
    """Nothing that the table of coverage lists is left to luck alone: each fault is drawn, and hits a step by name or the world."""
    menu = CRMS[crm].menu
    assert {kind for kind, _ in cells(menu)} <= set(FAULTS) <= set(RATES)
    assert len(cells(menu)) == len(set(cells(menu)))


@pytest.mark.parametrize("name", ["cloud", "miserly", "plain", "rpc"])
def test_declared_crms_are_declared_as_in_the_tests(name: str) -> None:
    """The simulation's file of a declared CRM says what the contract suite's says, but for its own schedule."""
    theirs = (DECLARED / f"{name}.yaml").read_text().partition("    options:")[2]
    ours = (
        (Path(wiring.__file__).parent / "simulate" / "tenants" / f"{name}.yaml")
        .read_text()
        .partition("    options:")[2]
    )
    assert ours.startswith(theirs)


def test_the_verb_tells_what_it_did() -> None:
    """JSON: runs, steps, faults by kind, coverage with what was never met; exit code 0 where all held."""
    told = CliRunner().invoke(
        cli.cli, ["simulate", "--seeds", "1..2", "--adapter", "memory", "--steps", "300", "--json"]
    )
    assert told.exit_code == 0, told.output
    report = json.loads(told.output)
    assert report["runs"] == 2
    assert report["steps"] >= 600
    assert report["faults"]["kill"] > 0
    assert report["coverage"]["met"] + len(report["coverage"]["at_zero"]) == report["coverage"]["of"]
    assert report["failures"] == []


def test_the_verb_fails_where_a_bug_is_planted_and_shows_the_smallest_plan(tmp_path: Path) -> None:
    """Exit code 1; the plan that is written can be run again, and fails again."""
    file = tmp_path / "failed.json"
    told = CliRunner().invoke(
        cli.cli,
        ["simulate", "--mutate", "no-inbox", "--seeds", "1", "--steps", "600", "--minimise", "2", "--save", str(file)],
    )
    assert told.exit_code == 1
    assert "intents-once" in told.output
    again = CliRunner().invoke(
        cli.cli, ["simulate", "--mutate", "no-inbox", "--plan", str(file), "--minimise", "0", "--json"]
    )
    assert again.exit_code == 1
    assert json.loads(again.output)["failures"][0]["broken"]


def test_bugs_are_listed_and_unknown_names_refused() -> None:
    """``--mutate list`` names every one; a name that is none is a wrong command line."""
    listed = CliRunner().invoke(cli.cli, ["simulate", "--mutate", "list"])
    assert all(name in listed.output for name in MUTATIONS)
    assert CliRunner().invoke(cli.cli, ["simulate", "--mutate", "nothing"]).exit_code == 2
    assert CliRunner().invoke(cli.cli, ["simulate", "--adapter", "nothing"]).exit_code == 2
