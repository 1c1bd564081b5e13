"""The plugin as a domain team uses it: its fixtures, its marker, its words when a test fails; with and without other plugins."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sales_crm_bridge.replay import bundle as bundles
from sales_crm_bridge.replay.scripted import ScriptedCrm
from sales_crm_bridge.replay.told import Facts
from tests.replay.replay_kit import recorded

ROOT = Path(__file__).parents[2]


def test_people_work_in_the_crm_and_facts_come_of_it(scripted_crm: ScriptedCrm) -> None:
    """A lead is made, edited, merged and deleted, one deed after the other; each is told."""
    ada = scripted_crm.lead(email="ada@sales.example", first_name="Ada", city="London")
    eve = scripted_crm.lead(email="eve@sales.example", first_name="Eve")
    facts = scripted_crm.settles()
    assert facts.one("crm_lead_observed", lead__email="ada@sales.example").values["lead.city"] == "London"
    assert len(facts.of("crm_lead_observed")) == 2

    ada.edited(city="Paris")
    assert scripted_crm.settles().one("crm_lead_observed", lead__city="Paris").values["changed_fields"] == ["city"]
    survivor = eve.merged_into(ada)
    facts = scripted_crm.settles()
    assert facts.one("crm_lead_removed").values["removal"] == "CRM_REMOVAL_KIND_MERGED"
    survivor.deleted()
    assert scripted_crm.settles().one("crm_lead_removed").lead_id == facts.of("crm_lead_observed")[0].lead_id


def test_intents_are_fed_and_the_calls_that_follow_are_seen(scripted_crm: ScriptedCrm) -> None:
    """A create and a qualification become two writes; the facts name the intents that caused them."""
    asked = scripted_crm.create("L-1", email="grace@sales.example", first_name="Grace")
    scripted_crm.qualify("L-1")
    facts = scripted_crm.settles()
    assert facts.about("L-1").of("crm_lead_pushed")[0].envelope.meta.causation_id == asked
    written = [(one.path.rpartition("/")[2], one.said["inputs"][0]["properties"]) for one in scripted_crm.writes]
    assert written[0][0] == "upsert"
    assert written[0][1]["email"] == "grace@sales.example"
    assert written[1][1]["hs_lead_status"] == "CONNECTED"
    assert all(200 <= one.status < 300 for one in scripted_crm.calls)


def test_an_hour_passes_at_once(scripted_crm: ScriptedCrm) -> None:
    """Time is virtual, and nothing is told twice in it."""
    scripted_crm.lead(email="ada@sales.example")
    assert len(scripted_crm.settles().of("crm_lead_observed")) == 1
    assert not scripted_crm.passes("1h").of("crm_lead_observed")


async def test_it_works_where_a_loop_runs(scripted_crm: ScriptedCrm) -> None:
    """In an asynchronous test, whose own loop goes on as before."""
    scripted_crm.lead(email="ada@sales.example")
    assert scripted_crm.settles().kinds["crm_lead_observed"] == 1
    await asyncio.sleep(0)


def test_a_failing_expectation_says_how_the_nearest_facts_differ(scripted_crm: ScriptedCrm) -> None:
    """Field by field; and which kinds were told when none is of the kind."""
    scripted_crm.lead(email="ada@sales.example", city="London")
    facts = scripted_crm.settles()
    with pytest.raises(AssertionError, match=r"lead.city: expected 'Paris', told 'London'"):
        facts.one("crm_lead_observed", lead__email="ada@sales.example", lead__city="Paris")
    with pytest.raises(AssertionError, match=r"no fact is crm_lead_removed; told were 1 crm_lead_observed"):
        facts.of("crm_lead_observed").one("crm_lead_removed")
    with pytest.raises(AssertionError, match=r"crm_lead_pushed: expected 1, told 0"):
        facts.of("crm_lead_observed").assert_kinds(crm_lead_observed=1, crm_lead_pushed=1)
    facts.of("crm_lead_observed").assert_kinds(crm_lead_observed=1)
    assert isinstance(facts[:1], Facts)


def test_a_misnamed_value_is_refused(scripted_crm: ScriptedCrm) -> None:
    """A field that the mapping does not write cannot be scripted by mistake."""
    with pytest.raises(ValueError, match="website"):
        scripted_crm.lead(website="https://sales.example")


TESTS = """
import socket
import pytest


@pytest.fixture(autouse=True)
def no_sockets(monkeypatch):
    made = socket.socket.__init__

    def refuse(self, family=-1, *args, **kwargs):
        assert family == getattr(socket, "AF_UNIX", None) or family == -1, "a replay opens no socket"
        made(self, family, *args, **kwargs)

    monkeypatch.setattr(socket.socket, "__init__", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", None)


@pytest.mark.crm_replay("bundles/acme")
def test_leads_are_told(crm_replay):
    assert len(crm_replay.facts.of("crm_lead_observed")) == 6
    assert all(fact.body.lead.email.endswith(".example") for fact in crm_replay.facts.of("crm_lead_observed"))


@pytest.mark.crm_replay("bundles/acme", tenant="acme-next.yaml")
def test_under_another_mapping(crm_replay):
    assert all("lead.region" in fact.values for fact in crm_replay.facts.of("crm_lead_observed"))


def test_scripted(scripted_crm):
    scripted_crm.lead(email="ada@sales.example")
    scripted_crm.settles().one("crm_lead_observed", lead__email="ada@sales.example")
"""
ASYNCIO = """
import pytest


@pytest.mark.asyncio
@pytest.mark.crm_replay("bundles/acme")
async def test_with_pytest_asyncio(crm_replay, scripted_crm):
    assert len(crm_replay.facts.of("crm_lead_observed")) == 6
    assert scripted_crm.passes("1m") is not None
"""
ANYIO = """
import pytest


@pytest.mark.anyio
@pytest.mark.crm_replay("bundles/acme")
async def test_with_anyio(crm_replay, scripted_crm, anyio_backend_name):
    assert len(crm_replay.facts.of("crm_lead_observed")) == 6
    assert scripted_crm.passes("1m") is not None


@pytest.fixture
def anyio_backend():
    return "asyncio"
"""
MISSING = """
import pytest


@pytest.mark.crm_replay("bundles/none")
def test_no_such_bundle(crm_replay): ...


def test_no_marker(crm_replay): ...
"""


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A domain team's folder with a bundle of six leads."""
    folder = tmp_path_factory.mktemp("suite")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("ACME_TOKEN", "pat-na1-sandbox")
        _, made = recorded(tmp_path_factory.mktemp("world"), leads=6)
    (folder / "bundles").mkdir()
    bundles.write(made, folder / "bundles" / "acme")
    (folder / "acme-next.yaml").write_text(made.tenant.replace("  city: city\n", "  region: city\n"))
    return folder


INI = "[pytest]\nfilterwarnings =\n  error\n  ignore:The configuration option\n"


def run(folder: Path, source: str, *words: str) -> tuple[int, str]:
    """The suite with these tests, in a process of its own, without our settings."""
    (folder / "test_leads.py").write_text(source)
    (folder / "pytest.ini").write_text(INI)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--strict-markers", "-p", "no:cacheprovider", *words, str(folder)],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST")},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("source", "words", "passed"),
    [
        (TESTS, ("-p", "no:xdist", "-p", "no:asyncio", "-p", "no:anyio"), 3),
        (TESTS, ("-n", "2"), 3),
        (ASYNCIO, (), 1),
        (ANYIO, ("-p", "no:asyncio"), 1),
    ],
    ids=["alone", "xdist", "pytest-asyncio", "anyio"],
)
def test_it_works_with_other_plugins_and_without(suite: Path, source: str, words: tuple[str, ...], passed: int) -> None:
    """The marker is known, the fixtures are found, and no socket is opened."""
    code, said = run(suite, source, *words)
    assert (code, f"{passed} passed" in said) == (0, True), said


def test_what_is_missing_is_said(suite: Path) -> None:
    """A bundle that is not there, a fixture without its marker: what to do, and no traceback through the bridge's insides."""
    code, said = run(suite, MISSING)
    assert code == 1
    assert "[replay.no-bundle]" in said
    assert "say which bundle: @pytest.mark.crm_replay('bundles/acme-import')" in said


def test_nothing_of_the_bridge_is_imported_until_it_is_asked_for(suite: Path) -> None:
    """A suite that uses none of it does not wait for it."""
    names = ("google.protobuf", "sales_crm_bridge.wiring")
    source = f"import sys\ndef test_it():\n    assert not [name for name in {names} if name in sys.modules]\n"
    code, said = run(suite, source, "-p", "no:anyio")
    assert code == 0, said
