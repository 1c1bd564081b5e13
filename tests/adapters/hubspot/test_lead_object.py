"""HubSpot's Lead object: a lead stands on a contact, and a change of the contact is a change of the lead."""

import pytest

from sales_crm_bridge.model import (
    Accepted,
    Category,
    Deferred,
    Feed,
    FeedKind,
    LeadState,
    Operation,
    Outcome,
    Record,
    Ref,
    Rejected,
    Scalar,
    Unknown,
    Write,
)
from sales_crm_bridge.sandbox import Fault, FaultKind
from sales_crm_bridge.sandbox.hubspot import CONTACTS, Link
from tests.contract.world import person
from tests.contract.worlds import PRIMARY, HubSpotLeads


def push(world: HubSpotLeads, *batch: Write) -> list[Outcome]:
    return world.converse(world.adapter.push(batch))


def read(world: HubSpotLeads, crm_id: str) -> Record:
    return world.converse(world.adapter.read([Ref(id=crm_id)]))[0]


def accepted(outcome: Outcome) -> Accepted:
    assert isinstance(outcome, Accepted), outcome
    return outcome


def contacts(world: HubSpotLeads) -> int:
    return len(world.portal.truth().live["contacts"])


def feed(world: HubSpotLeads, name: str) -> Feed:
    return next(each for each in world.adapter.feeds() if each.name == name)


# --- creating ---------------------------------------------------------------------------------------------------------


def test_a_new_lead_makes_its_contact_and_stands_on_it() -> None:
    """One contact, one lead, the primary association; the outcome shows the fields of both, and the contact as a part."""
    world = HubSpotLeads()
    done = accepted(push(world, world.write(1))[0])
    assert (world.count(), contacts(world)) == (1, 1)
    assert done.record is not None
    assert done.record == read(world, done.crm_id)
    assert done.record.parts == (("contacts", world.contact_of(done.crm_id)),)


def test_a_contact_that_agrees_gets_the_lead_and_is_left_as_it_is() -> None:
    """Found by its address, in any case of letters, with the values that the lead has: no second contact, and no write to it."""
    world = HubSpotLeads()
    values = {"email": "lead1@corp.example", "city": "Ulm", "phone": str(person(1)["phone"])}
    there = world.portal.person.create("contacts", values)
    before = len(world.portal.truth().log)
    write = world.write(1, values={**person(1), "email": "Lead1@Corp.Example"})
    done = accepted(push(world, write)[0])
    assert not done.adopted
    assert world.contact_of(done.crm_id) == there
    assert done.record == read(world, done.crm_id)
    assert {entry.object_type for entry in world.portal.truth().log[before:]} == {"leads"}
    assert contacts(world) == 1


@pytest.mark.parametrize("phone", ["+1 hers", ""])
def test_a_contact_that_does_not_agree_is_named_and_left_alone(phone: str) -> None:
    """An address is no licence to write: another value, or none where the lead has one, is a person's to decide about."""
    world = HubSpotLeads()
    there = world.portal.person.create("contacts", {"email": "lead1@corp.example", "phone": phone})
    before = world.portal.truth().live["contacts"][there]
    (outcome,) = push(world, world.write(1))
    assert outcome == Rejected(
        category=Category.DUPLICATE, code="CONTACT_DIFFERS", fields=("contact.phone",), other_id=there, part=True
    )
    assert world.portal.truth().live["contacts"] == {there: before}
    assert world.count() == 0


def test_an_address_among_a_contacts_further_ones_leads_to_it() -> None:
    """The refusal's text hints at the id, and the contact's own further addresses confirm it."""
    world = HubSpotLeads()
    one = world.portal.person.create("contacts", {"email": "lead1@corp.example"})
    two = world.portal.person.create("contacts", {"email": "lead2@corp.example"})
    survivor = world.portal.person.merge(one, two)
    (outcome,) = push(world, world.write(2))
    assert isinstance(outcome, Rejected)
    assert (outcome.category, outcome.other_id) == (Category.DUPLICATE, survivor)
    done = accepted(push(world, world.write(2, values={**person(2), "phone": ""}))[0])
    assert world.contact_of(done.crm_id) == survivor
    assert contacts(world) == 1


def test_without_an_address_there_is_no_lead() -> None:
    """Nothing else would find the contact again after a lost answer; the field is named, nothing is made."""
    world = HubSpotLeads()
    values: dict[str, Scalar] = {"name": "No address", "phone": "+1"}
    (outcome,) = push(world, world.write(1, values=values))
    assert outcome == Rejected(category=Category.VALIDATION, code="CONTACT_EMAIL_REQUIRED", fields=("contact.email",))
    assert contacts(world) == 0


def test_two_leads_of_one_address_share_the_contact_one_after_the_other() -> None:
    """In one batch the second waits; then both stand on one contact, since both say the same of it."""
    world = HubSpotLeads()
    twin = world.write(2, values={**person(1), "name": "Lead 2"})
    first, second = push(world, world.write(1), twin)
    accepted(first)
    assert isinstance(second, Deferred)
    accepted(push(world, twin)[0])
    assert (world.count(), contacts(world)) == (2, 1)


def test_a_repeated_create_goes_on_with_the_lead_under_our_key() -> None:
    """Its contact was edited meanwhile: the lead is ours, so it and its own contact get the values, and no other contact does."""
    world = HubSpotLeads()
    made = accepted(push(world, world.write(1))[0])
    world.edit(made.crm_id, {"phone": "+1 hers", "name": "Hers"})
    again = accepted(push(world, world.write(1))[0])
    assert (again.crm_id, again.adopted) == (made.crm_id, True)
    assert {name: world.holds(made.crm_id, name) for name in person(1)} == person(1)
    assert (world.count(), contacts(world)) == (1, 1)


@pytest.mark.parametrize("path", ["*/contacts/batch/create", "*/leads/batch/create"])
def test_a_create_whose_answer_was_lost_is_repeated_without_a_second_record(path: str) -> None:
    """Wherever the line died: Unknown, and a repeat ends with one contact and one lead."""
    world = HubSpotLeads()
    world.portal.faults.add(Fault(FaultKind.CUT_AFTER, path=path))
    (outcome,) = push(world, world.write(1))
    assert isinstance(outcome, Unknown)
    done = accepted(push(world, world.write(1))[0])
    assert done.adopted == path.startswith("*/leads")
    assert (world.count(), contacts(world)) == (1, 1)


def test_a_refused_contact_makes_no_lead_and_names_the_contacts_field() -> None:
    """VALIDATION with the prefixed name."""
    world = HubSpotLeads()
    write = world.write(1)
    write.fields["contact.lifecyclestage"] = "no-such-stage"
    (outcome,) = push(world, write)
    assert isinstance(outcome, Rejected)
    assert (outcome.category, outcome.fields) == (Category.VALIDATION, ("contact.lifecyclestage",))
    assert (world.count(), contacts(world)) == (0, 0)


# --- known leads ------------------------------------------------------------------------------------------------------


def test_an_update_goes_to_the_lead_the_contact_or_both() -> None:
    """Each field where it belongs; a write of contact fields alone leaves the lead alone."""
    world = HubSpotLeads()
    crm_id = world.create(1)
    accepted(push(world, world.write(1, Operation.REVISE, crm_id, {"name": "A", "phone": "+1"}))[0])
    assert (world.holds(crm_id, "name"), world.holds(crm_id, "phone")) == ("A", "+1")
    before = len(world.portal.truth().log)
    accepted(push(world, world.write(1, Operation.REVISE, crm_id, {"phone": "+2"}))[0])
    assert [entry.object_type for entry in world.portal.truth().log[before:]] == ["contacts"]
    before = len(world.portal.truth().log)
    accepted(push(world, world.write(1, Operation.QUALIFY, crm_id, {"status": "qualified-stage-id"}))[0])
    assert [entry.object_type for entry in world.portal.truth().log[before:]] == ["leads"]


def test_a_lead_that_was_not_written_after_its_contact_was_is_unknown() -> None:
    """Part of the write took effect, so it is neither deferred nor refused: it is settled by reading."""
    world = HubSpotLeads()
    crm_id = world.create(1)
    world.portal.faults.add(Fault(FaultKind.REFUSED, path="*/leads/batch/update", times=None))
    (outcome,) = push(world, world.write(1, Operation.REVISE, crm_id, {"name": "A", "phone": "+1"}))
    assert isinstance(outcome, Unknown)
    world.portal.faults.clear()
    world.portal.faults.add(Fault(FaultKind.REFUSED, path="*/contacts/batch/update", times=None))
    (outcome,) = push(world, world.write(1, Operation.REVISE, crm_id, {"name": "B", "phone": "+2"}))
    assert isinstance(outcome, Deferred)
    assert world.holds(crm_id, "name") != "B"


def test_two_leads_of_one_contact_do_not_write_it_in_one_batch() -> None:
    """HubSpot refuses a batch that names a record twice: the second write waits, whole."""
    world = HubSpotLeads()
    one = world.create(1)
    link = Link(to=CONTACTS, id=int(world.contact_of(one)), types=(PRIMARY,))
    two = world.portal.person.create("leads", {"hs_lead_name": "Second"}, [link])
    batch = [world.write(n, Operation.REVISE, crm_id, {"phone": f"+{n}"}) for n, crm_id in ((1, one), (2, two))]
    first, second = push(world, *batch)
    accepted(first)
    assert isinstance(second, Deferred)
    assert world.holds(one, "phone") == "+1"


def test_a_lead_that_died_with_its_contact_is_removed() -> None:
    """A lead loses its last primary contact and goes to the bin: a write of either part says REMOVED."""
    world = HubSpotLeads()
    for number, values in enumerate(({"name": "A"}, {"phone": "+1"}, {"name": "A", "phone": "+1"}), start=1):
        crm_id = world.create(number)
        world.portal.person.delete(world.contact_of(crm_id))
        assert read(world, crm_id).state is LeadState.ARCHIVED
        (outcome,) = push(world, world.write(number, Operation.REVISE, crm_id, values))
        assert isinstance(outcome, Rejected)
        assert outcome.category is Category.REMOVED


# --- the contact's changes --------------------------------------------------------------------------------------------


def test_a_merge_of_contacts_changes_the_lead() -> None:
    """The lead stands on the survivor from then on, and shows the survivor's values, in reads and in the feed of contacts."""
    world = HubSpotLeads()
    crm_id = world.create(1)
    other = world.portal.person.create("contacts", {"email": "main@corp.example", "phone": "+9"})
    asked_us = world.clock.now_us
    world.clock.advance(5)
    survivor = world.portal.person.merge(other, world.contact_of(crm_id))
    record = read(world, crm_id)
    assert record.parts == (("contacts", survivor),)
    assert record.fields["contact.phone"] == "+9"
    changes = feed(world, "contact-search")
    (page,) = world.pages(changes, world.window(changes, asked_us, world.clock.now_us), 10)
    assert [raw.id for raw in page.raws] == [crm_id]
    assert world.adapter.decode(page.raws) == [record]


def test_a_contact_with_many_leads_brings_each_once() -> None:
    """A page holds no more leads than asked for, unless one contact alone has more; no lead is shown twice or left out."""
    world = HubSpotLeads()
    expected: set[str] = set()
    for number, leads in enumerate((3, 0, 4, 1, 9, 2)):
        contact = world.portal.person.create("contacts", {"email": f"c{number}@corp.example"})
        link = Link(to=CONTACTS, id=int(contact), types=(PRIMARY,))
        expected |= {world.portal.person.create("leads", {"hs_lead_name": "x"}, [link]) for _ in range(leads)}
    changes = feed(world, "contact-search")
    pages = list(world.pages(changes, world.window(changes, 0, world.clock.now_us + 60_000_000), 5))
    seen = [raw.id for page in pages for raw in page.raws]
    assert sorted(seen) == sorted(expected)
    assert max(len(page.raws) for page in pages) == 9
    assert all(len(page.raws) <= 5 or len(page.raws) == 9 for page in pages)


def test_a_lead_belongs_to_its_primary_contact() -> None:
    """Another contact that is only associated does not bring the lead, and its values are not the lead's."""
    world = HubSpotLeads()
    crm_id = world.create(1)
    second = world.portal.person.create("contacts", {"email": "second@corp.example", "phone": "+2"})
    answer = world.portal.handle(
        "PUT",
        f"/crm/v4/objects/leads/{crm_id}/associations/default/contacts/{second}",
        {"authorization": "Bearer pat-na1-sandbox"},
        b"",
    )
    assert answer.status == 200
    asked_us = world.clock.now_us
    world.clock.advance(5)
    world.portal.person.edit(second, {"phone": "+22"})
    changes = feed(world, "contact-search")
    pages = world.pages(changes, world.window(changes, asked_us + 1_000_000, world.clock.now_us + 1_000), 10)
    assert [raw for page in pages for raw in page.raws] == []
    assert read(world, crm_id).fields["contact.phone"] == person(1)["phone"]


def test_without_contact_fields_no_contact_is_asked_for() -> None:
    """A mapping of lead properties alone costs no association or contact calls, and has no feed of contacts."""
    world = HubSpotLeads()
    world.create(1)
    world.adapter = world.entry.make({"object": "leads"}, ("hs_lead_name",))
    world.sign_in()
    world.calls.clear()
    (record,) = world.records(FeedKind.SWEEP)
    assert record.fields == {"hs_lead_name": "Lead 1"}
    assert len(world.calls) == 1
    assert [each.name for each in world.adapter.feeds()] == ["list", "search", "archived"]
