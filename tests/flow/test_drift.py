"""Fields that the CRM no longer has as the tenant's file maps them: told once, held, read and written again when they are back."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from sales_crm_bridge import contract
from sales_crm_bridge.observe import report
from sales_crm_bridge.simulate.loop import VirtualLoop, run
from sales_crm_bridge.simulate.world import World
from tests.flow.flow_kit import MAPPED, View, differing, view, world

Story = Callable[[World], Awaitable[None]]
TOWNED = {**MAPPED, "city": "town"}


def play(folder: Path, story: Story) -> tuple[World, View]:
    """Run ``story`` in a world of six contacts whose city is in a property of the account's own, and forty minutes of peace."""
    loop = VirtualLoop()

    async def main() -> tuple[World, View]:
        home = world(loop, folder, "drift", leads=6)
        home.portal.add_property("contacts", "town")
        for number, name in enumerate(ids(home)):
            home.portal.person.edit(name, {"town": f"Town {number}"})
        mend(home, "city: city", "city: town")
        await live(home, 300)
        await story(home)
        home.portal.faults.clear()
        await live(home, 2400)
        return home, view(home.topics.facts)

    return run(main(), loop)


def ids(home: World) -> list[str]:
    return sorted(home.portal.truth().live["contacts"], key=int)


def mend(home: World, old: str, new: str) -> None:
    """Change the tenant's file."""
    file = Path(home.settings.tenants.folder) / "acme.yaml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


async def live(home: World, seconds: float) -> None:
    assert not await home.live(lambda _service: asyncio.ensure_future(home.clock.sleep(seconds)))


def revise(home: World, lead_id: str, message_id: str, **fields: str) -> None:
    lead = contract.Lead(lead_id=lead_id, **fields)  # type: ignore[arg-type]  # texts, all of them
    body = contract.ReviseLeadRequested(lead=lead)
    body.update_mask.paths.extend(fields)
    home.utter(body, tenant="acme", lead_id=lead_id, message_id=message_id)


def told_of_fields(home: World) -> list[tuple[str, str, str, str]]:
    """What the facts tell of fields: which fact, Sales field, the CRM's field or value, cause; each in the line of the file."""
    found: list[tuple[str, str, str, str]] = []
    for value in home.topics.facts:
        record = contract.outgoing(value)
        received = contract.read(contract.SalesIntegrationFact, record.value, record.headers)
        assert not isinstance(received, contract.Unreadable)
        kind = received.envelope.WhichOneof("fact") or ""
        if kind.startswith("crm_field"):
            fact = getattr(received.envelope, kind)
            lines = Path(fact.field.tenant_file).read_text().splitlines()
            assert fact.field.field in lines[fact.field.tenant_file_line - 1]
            found.append((kind, fact.field.field, fact.field.crm_value or fact.field.crm_field, fact.cause))
    return found


def wrong(home: World, told: View, *but: str, mapped: dict[str, str] = TOWNED) -> list[str]:
    """Where the two sides differ; ``but``: leads that intents have changed, of which no fact tells the whole."""
    found = differing(told, home.portal.truth().live["contacts"], mapped)
    return [one for one in found if not one.startswith(tuple(f"{lead} " for lead in but))]


def lead_of(told: View, record: str) -> str:
    return next(lead for lead, name in told.records.items() if name == record)


QUARANTINED, RESTORED = "crm_field_quarantined", "crm_field_restored"


def test_a_field_that_is_put_away_is_told_once_and_no_lead_loses_it(tmp_path: Path) -> None:
    """The other fields flow; when it is back, what changed meanwhile is told, also of leads that came then, and nothing else is."""
    before: list[Counter[str]] = []

    async def story(home: World) -> None:
        person, (first, second, *_) = home.portal.person, ids(home)
        home.portal.administrator.archive("contacts", "town")
        person.edit(first, {"phone": "+1 1"})
        born = person.create("contacts", {"email": "new@people.example", "firstname": "N"})
        await live(home, 1500)
        told = view(home.topics.facts)
        before.append(told.kinds)
        assert told.leads[lead_of(told, first)].phone == "+1 1"
        assert not [fact for fact in told_of_fields(home) if fact[0] == RESTORED]
        status = await home.look(lambda ledger: report(ledger, home.clock.now_us()))
        assert [(one["field"], one["code"]) for one in status["quarantines"]] == [("city", "crm.field-gone")]
        home.portal.administrator.restore("contacts", "town")
        person.edit(second, {"town": "Elsewhere"})
        person.edit(born, {"town": "Newtown"})

    home, told = play(tmp_path, story)
    assert told_of_fields(home) == [
        (QUARANTINED, "city", "town", "field-gone"),
        (RESTORED, "city", "town", "field-gone"),
    ]
    assert not wrong(home, told)
    # Of the lead that changed, of the one that came, and of the one whose city changed; not of the other four.
    assert told.kinds["crm_lead_observed"] - before[0]["crm_lead_observed"] == 3


def test_no_page_between_two_looks_tells_that_a_field_is_empty(tmp_path: Path) -> None:
    """The property goes, and a page is read before the fields are described again: the page hints, and is not believed."""

    async def story(home: World) -> None:
        home.portal.administrator.retype("contacts", "town", "number")
        for name in ids(home):
            home.portal.person.edit(name, {"phone": "+1 2"})
        await live(home, 180)
        assert told_of_fields(home) == [(QUARANTINED, "city", "town", "field-retyped")]
        told = view(home.topics.facts)
        assert all(lead.phone == "+1 2" for lead in told.leads.values())
        for name in ids(home)[:2]:
            home.portal.person.edit(name, {"town": "7"})
        await live(home, 600)
        home.portal.administrator.retype("contacts", "town", "string")

    home, told = play(tmp_path, story)
    assert told_of_fields(home)[1:] == [(RESTORED, "city", "town", "field-retyped")]
    assert {lead.city for lead in told.leads.values()} >= {"7", "Town 3"}
    assert not wrong(home, told)


def test_a_renamed_field_is_read_on_from_its_new_name_once_the_file_is_mended(tmp_path: Path) -> None:
    """What is the same under the new name is not told again; what somebody has changed there meanwhile is."""
    before: list[Counter[str]] = []

    async def story(home: World) -> None:
        home.portal.administrator.rename("contacts", "town", "place")
        await live(home, 1200)
        home.portal.person.edit(ids(home)[0], {"place": "Moved"})
        await live(home, 300)
        before.append(view(home.topics.facts).kinds)
        mend(home, "city: town", "city: place")

    home, told = play(tmp_path, story)
    assert told_of_fields(home) == [
        (QUARANTINED, "city", "town", "field-gone"),
        (RESTORED, "city", "town", "field-gone"),
    ]
    assert not wrong(home, told, mapped={**MAPPED, "city": "place"})
    assert told.kinds["crm_lead_observed"] - before[0]["crm_lead_observed"] == 1


def test_a_retyped_field_goes_on_when_the_file_is_mended(tmp_path: Path) -> None:
    """A mapping that a person has looked at since takes the new type as it is."""

    async def story(home: World) -> None:
        home.portal.administrator.retype("contacts", "town", "number")
        await live(home, 1200)
        home.portal.person.edit(ids(home)[0], {"town": "80331"})
        mend(home, "  city: town", "  city: {crm: town, steps: [trim]}")

    home, told = play(tmp_path, story)
    assert [fact[0] for fact in told_of_fields(home)] == [QUARANTINED, RESTORED]
    assert not wrong(home, told)
    assert sum(lead.city == "80331" for lead in told.leads.values()) == 1


def test_a_status_value_that_is_gone_holds_what_would_be_written_with_it(tmp_path: Path) -> None:
    """The qualification waits, later commands of the lead flow, and a later deed waits behind it; then all take effect in order."""

    async def story(home: World) -> None:
        home.portal.administrator.remove_option("contacts", "hs_lead_status", "CONNECTED")
        await live(home, 1200)
        lead = lead_of(view(home.topics.facts), ids(home)[0])
        home.utter(contract.QualifyLeadRequested(), tenant="acme", lead_id=lead, message_id="qualify")
        revise(home, lead, "revise", phone="+1 3")
        home.utter(contract.DisqualifyLeadRequested(), tenant="acme", lead_id=lead, message_id="disqualify")
        await live(home, 600)
        told = view(home.topics.facts)
        assert dict(told.done) == {"revise": 1}
        assert (await home.look(lambda ledger: ledger.census())).held == {1: 2}
        home.portal.administrator.add_option("contacts", "hs_lead_status", "CONNECTED")

    home, told = play(tmp_path, story)
    assert told_of_fields(home) == [
        (QUARANTINED, "status", "CONNECTED", "option-gone"),
        (RESTORED, "status", "CONNECTED", "option-gone"),
    ]
    assert dict(told.done) == {"revise": 1, "qualify": 1, "disqualify": 1}
    assert home.portal.truth().live["contacts"][ids(home)[0]]["hs_lead_status"] == "UNQUALIFIED"
    assert not told.refused


def test_a_record_that_moved_to_a_value_that_nobody_maps_is_told_once_it_is_mapped(tmp_path: Path) -> None:
    """The value was renamed in the CRM: its leads keep their status in Sales until the file names the new value."""
    before: list[int] = []

    async def story(home: World) -> None:
        administrator, name = home.portal.administrator, ids(home)[0]
        home.portal.person.edit(name, {"hs_lead_status": "NEW"})
        await live(home, 300)
        administrator.add_option("contacts", "hs_lead_status", "HOT")
        administrator.remove_option("contacts", "hs_lead_status", "CONNECTED")
        home.portal.person.edit(name, {"hs_lead_status": "HOT"})
        await live(home, 600)
        told = view(home.topics.facts)
        assert told.leads[lead_of(told, name)].status == contract.LeadStatus.LEAD_STATUS_NEW
        before.append(told.kinds["crm_lead_observed"])
        mend(home, "CONNECTED: qualified", "HOT: qualified")

    home, told = play(tmp_path, story)
    assert told.leads[lead_of(told, ids(home)[0])].status == contract.LeadStatus.LEAD_STATUS_QUALIFIED
    assert told.kinds["crm_lead_observed"] == before[0] + 1
    assert [fact[0] for fact in told_of_fields(home)] == [QUARANTINED, RESTORED]


def test_the_rest_of_an_intent_is_written_at_once_and_its_held_part_at_the_restore(tmp_path: Path) -> None:
    """A create and two revisions: the record is there without the field, and in the end it holds the last value asked for."""

    async def story(home: World) -> None:
        home.portal.administrator.archive("contacts", "town")
        await live(home, 1200)
        lead = contract.Lead(lead_id="L-1", email="one@sales.example", first_name="One", city="Here")
        home.utter(contract.CreateLeadRequested(lead=lead), tenant="acme", lead_id="L-1", message_id="create")
        await live(home, 120)
        revise(home, "L-1", "first", city="There", phone="+1 4")
        revise(home, "L-1", "second", city="Yonder")
        await live(home, 300)
        told = view(home.topics.facts)
        assert dict(told.done) == {"create": 1, "first": 1}
        assert told.leads["L-1"].email == "one@sales.example"
        assert home.portal.truth().live["contacts"][told.records["L-1"]]["phone"] == "+1 4"
        home.portal.administrator.restore("contacts", "town")

    home, told = play(tmp_path, story)
    assert dict(told.done) == {"create": 2, "first": 2, "second": 1}
    assert not told.refused
    assert home.portal.truth().live["contacts"][told.records["L-1"]]["town"] == "Yonder"
    assert not wrong(home, told, "L-1")


def test_a_persons_change_before_the_restore_meets_the_held_value_as_a_conflict(tmp_path: Path) -> None:
    """By the tenant's rule the CRM's newer value stays, and the conflict is told; nothing is written over unseen."""

    async def story(home: World) -> None:
        home.portal.administrator.retype("contacts", "town", "number")
        await live(home, 1200)
        lead = lead_of(view(home.topics.facts), ids(home)[0])
        revise(home, lead, "held", city="Sales says")
        await live(home, 120)
        home.portal.administrator.retype("contacts", "town", "string")
        home.portal.person.edit(ids(home)[0], {"town": "Person says"})

    home, told = play(tmp_path, story)
    assert home.portal.truth().live["contacts"][ids(home)[0]]["town"] == "Person says"
    assert told.kinds["crm_lead_conflict_detected"] == 1
    assert told.refused == {"held": "newer-in-crm"}
    assert not wrong(home, told)


def test_a_write_that_meets_the_drift_first_is_held_and_not_parked(tmp_path: Path) -> None:
    """The CRM refuses the field before anybody has looked: the fields are described, and the command waits for the restore."""

    async def story(home: World) -> None:
        lead = lead_of(view(home.topics.facts), ids(home)[0])
        home.portal.administrator.archive("contacts", "town")
        revise(home, lead, "revise", city="Early", phone="+1 5")
        await live(home, 60)
        assert await home.look(lambda ledger: ledger.dead_letters("", 9)) == []
        assert dict(view(home.topics.facts).done) == {"revise": 1}
        home.portal.administrator.restore("contacts", "town")

    home, told = play(tmp_path, story)
    assert dict(told.done) == {"revise": 2}
    assert home.portal.truth().live["contacts"][ids(home)[0]]["town"] == "Early"
    assert [fact[0] for fact in told_of_fields(home)] == [QUARANTINED, RESTORED]
    assert not wrong(home, told, lead_of(told, ids(home)[0]))


@pytest.mark.parametrize("last", ["drift …", "… drift"])
@pytest.mark.parametrize("when", ["opening", "closing"])
def test_a_process_that_dies_at_it_leaves_one_fact(tmp_path: Path, last: str, when: str) -> None:
    """Opening, closing, holding a command and letting it go on are one transaction each with what is told of them."""

    async def story(home: World) -> None:
        lead = lead_of(view(home.topics.facts), ids(home)[0])
        forever = 3600

        async def die(times: int) -> None:
            for _ in range(times):
                if not await home.live(lambda _: asyncio.ensure_future(home.clock.sleep(forever)), last=last):
                    return

        home.portal.administrator.archive("contacts", "town")
        revise(home, lead, "revise", city="Late", phone="+1 6")
        if when == "opening":
            await die(4)
        await live(home, 1200)
        home.portal.administrator.restore("contacts", "town")
        await (die(6) if when == "closing" else live(home, 10))

    home, told = play(tmp_path, story)
    assert [fact[0] for fact in told_of_fields(home)] == [QUARANTINED, RESTORED]
    assert home.portal.truth().live["contacts"][ids(home)[0]]["town"] == "Late"
    assert not wrong(home, told, lead_of(told, ids(home)[0]))
    assert dict(told.done) == {"revise": 2}
