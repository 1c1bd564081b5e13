"""A recorded run is lived through again: the same facts byte for byte, or the difference said; and nothing personal is in it."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sales_crm_bridge.errors import ConfigError, RuntimeFault
from sales_crm_bridge.replay import bundle as bundles
from sales_crm_bridge.replay import guard, trial
from sales_crm_bridge.replay.bundle import Body, Bundle, Exchange, Utterance
from sales_crm_bridge.replay.comparing import Comparison, compare
from sales_crm_bridge.replay.player import play
from sales_crm_bridge.replay.recorder import facts_of
from sales_crm_bridge.sandbox import Fault, FaultKind
from sales_crm_bridge.simulate.world import World
from tests.replay.replay_kit import KEY, heard, recorded


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> tuple[World, Bundle]:
    """A first import of twenty leads, recorded."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("ACME_TOKEN", "pat-na1-sandbox")
        return recorded(tmp_path_factory.mktemp("world"))


@pytest.fixture
def made(home: tuple[World, Bundle]) -> Bundle:
    return home[1]


def against(made: Bundle, tenant: str | None = None) -> Comparison:
    return compare(made.facts, facts_of(play(made, tenant=tenant).facts))


def test_the_same_facts_come_of_it_byte_for_byte(made: Bundle, tmp_path: Path) -> None:
    """Also once it was written and read; every lead is told, and so are the runs."""
    bundles.write(made, tmp_path / "b")
    found = against(bundles.read(tmp_path / "b"))
    assert found.same
    assert found.facts == len(made.facts) == 24


def test_nothing_of_a_person_is_in_it(home: tuple[World, Bundle], tmp_path: Path) -> None:
    """No name, address or number of any contact, and no secret: in no file, whatever the case."""
    world, made = home
    bundles.write(made, tmp_path / "b")
    text = "".join(file.read_text() for file in sorted((tmp_path / "b").iterdir())).casefold()
    digits = re.sub(r"\D", "", text)
    contacts = world.portal.truth().live["contacts"]
    assert len(contacts) == 20
    for contact in contacts.values():
        for name in ("email", "lastname", "firstname", "city"):
            value = (contact.get(name) or "").casefold()
            assert len(value) < 4 or value not in text, name
        phone = re.sub(r"\D", "", contact.get("phone") or "")
        assert not phone or phone not in digits
    assert "pat-na1-sandbox" not in text
    assert guard.look_through(tmp_path / "b")[1] == []


def test_stand_ins_are_still_mapped(made: Bundle) -> None:
    """An address is one, a phone is one, and a status that the mapping knows means what it meant."""
    leads = [one.fact["crm_lead_observed"]["lead"] for one in made.facts if "crm_lead_observed" in one.fact]
    assert all(re.fullmatch(r"[^@ ]+@[^@ ]+\.example", lead["email"]) for lead in leads)
    assert any(re.fullmatch(r"\+[\d ]+", lead.get("phone", "")) for lead in leads)
    assert {"LEAD_STATUS_NEW", "LEAD_STATUS_DISQUALIFIED"} & {lead.get("status") for lead in leads}


def test_no_socket_is_opened_and_no_host_looked_up(made: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where both are forbidden, it replays all the same."""

    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("a replay opens no socket")

    for name in ("socket", "socketpair", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, forbidden)
    assert against(made).same


def altered(made: Bundle, before: str, after: str) -> Bundle:
    """The bundle with another answer."""
    exchanges = [
        msgspec.structs.replace(one, answer=Body(text=one.answer.text.replace(before, after))) for one in made.exchanges
    ]
    assert exchanges != list(made.exchanges)
    return msgspec.structs.replace(made, exchanges=exchanges)


def test_another_answer_makes_other_facts(made: Bundle) -> None:
    """The first difference is explained: of which lead, which field, what it was and is."""
    lead = next(one for one in made.facts if "crm_lead_observed" in one.fact)
    email = lead.fact["crm_lead_observed"]["lead"]["email"]
    found = against(altered(made, email, f"x{email}"))
    assert not found.same
    assert found.first() == f'{lead.key}, crm_lead_observed, lead.email: "{email}", now "x{email}"'
    assert [change.field for change in found.changes] == ["lead.email"]


def test_a_record_that_was_not_there_is_a_fact_that_was_not_told(made: Bundle) -> None:
    """Lost and new facts are told apart from altered ones."""
    record = next(one for one in made.facts if "crm_lead_observed" in one.fact).fact["crm_lead_observed"]["external"]
    found = against(altered(made, f'"id":"{record["record_id"]}"', '"id":"7"'))
    assert (len(found.lost), len(found.new)) == (1, 1)
    assert "tells it no more" in found.first()
    assert found.to_json()["lost"] == {"crm_lead_observed": 1}


def test_a_changed_mapping_is_told_by_field(made: Bundle, tmp_path: Path) -> None:
    """What it would have altered, in how many leads, with examples; nothing is asked that was not recorded."""
    file = tmp_path / "acme.yaml"
    text = made.tenant.replace("env:REPLAY_TOKEN", "env:SOMEWHERE_ELSE")
    file.write_text(text.replace("  city: city\n", "  region: city\n").replace("{NEW: new,", "{NEW: working,"))
    file.write_text(file.read_text().replace("write_values: {working: OPEN}", "write: never"))
    file.write_text(f"{file.read_text()}qualify: unsupported\ndisqualify: unsupported\n")
    found = against(made, trial.text_of(made, file))
    fields = found.fields()
    assert {"lead.city", "lead.region", "lead.status"} <= fields.keys()
    assert len(fields["lead.city"]) == found.leads == 20
    told = found.to_json()
    assert len(told["fields"]["lead.region"]["examples"]) == 3
    assert {one.after for one in fields["lead.status"]} == {"LEAD_STATUS_WORKING"}


def test_a_mapping_that_reads_less_needs_no_new_recording(made: Bundle) -> None:
    """The answers hold more than is asked for."""
    found = against(made, made.tenant.replace("  city: city\n", ""))
    assert {"lead.city", "changed_fields"} <= found.fields().keys()


def test_a_field_that_was_not_recorded_is_said_aloud(made: Bundle) -> None:
    """The nearest request is named, and what of it differs."""
    with pytest.raises(RuntimeFault) as caught:
        play(made, tenant=made.tenant.replace("  city: city\n", "  city: city\n  region: state\n"))
    assert caught.value.code == "replay.unmatched"
    assert re.search(r"the nearest is line \d+, \w+ /crm/v3/objects/contacts", caught.value.message)
    assert "names 'state' besides" in caught.value.message


@pytest.mark.parametrize(
    ("before", "after", "code"),
    [
        ('account: "4242"', 'account: "4343"', "replay.other-tenant"),
        ("  city: city", "  citty: city", "mapping.unknown-field"),
    ],
)
def test_a_file_that_cannot_be_tried_is_refused(
    made: Bundle, tmp_path: Path, before: str, after: str, code: str
) -> None:
    """With its findings, at the places of that very file; and so is one about another account."""
    file = tmp_path / "acme.yaml"
    file.write_text(made.tenant.replace(before, after))
    with pytest.raises(ConfigError) as caught:
        trial.text_of(made, file)
    assert caught.value.code == code
    assert caught.value.place.startswith(str(file))


def test_faults_of_the_line_are_played_too(tmp_path: Path) -> None:
    """An answer that was lost, a refusal for too many calls: the same facts come of the same tries."""

    def trouble(world: World) -> None:
        world.portal.faults.add(Fault(FaultKind.CUT_BEFORE, path="/crm/v3/objects/contacts"))
        world.portal.faults.add(Fault(FaultKind.STATUS, status=429, path="/crm/v3/objects/contacts/search"))

    home, made = recorded(tmp_path, leads=5, before=trouble)
    assert home.portal.faults.hits
    assert [one.fault for one in made.exchanges if one.fault]
    assert 429 in [one.status for one in made.exchanges]
    assert against(made).same


def test_a_recording_that_does_not_replay_is_refused(tmp_path: Path) -> None:
    """An answer that was not heard, one that was heard wrongly: nothing is made of it."""
    _, run = heard(tmp_path, leads=5)
    whole = list(run.ears.recording.exchanges)
    run.ears.recording.exchanges[:] = whole[:-1]
    with pytest.raises(RuntimeFault) as caught:
        run.ears.bundle("once", KEY)
    assert caught.value.code == "replay.unmatched"
    run.ears.recording.exchanges[:] = whole
    del run.ears.recording.facts[0]
    with pytest.raises(RuntimeFault) as caught:
        run.ears.bundle("once", KEY)
    assert caught.value.code == "replay.not-reproduced"


def works(world: World) -> None:
    """A person edits one lead and deletes another, makes a third, and merges two."""
    person = world.portal.person
    edited, deleted, merged, into, *_ = sorted(world.portal.truth().live["contacts"], key=int)
    person.edit(edited, {"city": "Lisbon", "phone": "+351 21 7946001"})
    person.delete(deleted)
    person.create("contacts", {"email": "walk.in@shop.example", "firstname": "Walk"})
    person.merge(into, merged)


def test_a_run_is_recorded_with_what_its_ledger_knew(tmp_path: Path) -> None:
    """What changed since is told as a change, what did not is not told: as in the run, and so in the replay."""
    _, made = recorded(tmp_path, leads=8, between=[works])
    assert against(made).same
    observed = [one.fact["crm_lead_observed"] for one in made.facts if "crm_lead_observed" in one.fact]
    changed = [one["changed_fields"] for one in observed if one["change"] == "CRM_CHANGE_KIND_CHANGED"]
    assert ["city", "phone"] in changed
    assert len([one for one in made.facts if "crm_lead_removed" in one.fact]) == 2
    assert {row.table for row in made.ledger} >= {"bindings", "positions", "connection"}
    assert {one.fact["subject"]["aggregate_version"] for one in made.facts if "crm_lead_observed" in one.fact} > {"1"}
    bundles.write(made, tmp_path / "b")
    assert guard.look_through(tmp_path / "b")[1] == []


def test_what_the_ledger_knew_is_known_in_the_replay(tmp_path: Path) -> None:
    """Another value in an answer about a lead that had not changed is a change, with the version after the one it had."""
    _, made = recorded(tmp_path, leads=8, between=[works])
    told = {row.row["crm_id"] for row in made.ledger if row.table == "bindings"}
    ours = {one.fact["subject"]["aggregate_id"] for one in made.facts}
    quiet = next(row.row for row in made.ledger if row.table == "bindings" and row.row["lead_id"] not in ours)
    assert quiet["crm_id"] in told
    listed = next(one.answer.text for one in made.exchanges if f'"id":"{quiet["crm_id"]}"' in one.answer.text)
    record = next(one for one in json.loads(listed)["results"] if one["id"] == quiet["crm_id"])
    email = record["properties"]["email"]
    found = against(altered(made, email, f"x{email}"))
    assert [(one.fact["crm_lead_observed"]["changed_fields"]) for one in found.new] == [["email"]]
    assert found.new[0].fact["subject"]["aggregate_version"] == str(quiet["aggregate_version"] + 1)


def planted(made: Bundle, part: str, line: int, value: dict[str, Any]) -> Bundle:
    """The bundle with ``value`` in an answer, or as an intent."""
    if part == bundles.INTENTS:
        return msgspec.structs.replace(made, intents=[Utterance(at_us=0, intent=value)])
    exchanges: list[Exchange] = list(made.exchanges)
    exchanges[line - 1] = msgspec.structs.replace(exchanges[line - 1], answer=Body(text=json.dumps(value)))
    return msgspec.structs.replace(made, exchanges=exchanges)


@pytest.mark.parametrize(
    ("part", "line", "value", "code"),
    [
        (bundles.EXCHANGES, 3, {"status": "Lovelace"}, "replay.not-replaced"),
        (bundles.EXCHANGES, 2, {"id": "ada@lovelace.org"}, "replay.not-replaced"),
        (bundles.EXCHANGES, 1, {"after": "+44 20 7946 0018"}, "replay.not-replaced"),
        (bundles.EXCHANGES, 1, {"next": "MTIzNDU2Nzg5MGFiY2RlZmdoaWprbG1ub3A9"}, "replay.not-replaced"),
        (bundles.INTENTS, 1, {"meta": {"producer": "Lovelace"}}, "replay.not-replaced"),
        (bundles.EXCHANGES, 2, {"x": "pat-na1-01234567-89ab-cdef-0123-456789abcdef"}, "replay.secret"),
        (bundles.EXCHANGES, 2, {"x": "Bearer abcdef0123456789"}, "replay.secret"),
    ],
)
def test_what_slipped_through_is_found(
    made: Bundle, tmp_path: Path, part: str, line: int, value: dict[str, Any], code: str
) -> None:
    """A name where a state should be, an address as an id, a phone as a cursor, a secret: by file and line, not repeated."""
    bundles.write(planted(made, part, line, value), tmp_path / "b")
    _, found = guard.look_through(tmp_path / "b")
    assert (str(tmp_path / "b" / part), line, code) in [(one.place.file, one.place.line, one.code) for one in found]
    assert not [one for one in found if "Lovelace" in str(one) or "lovelace" in str(one)]
