"""A lead is two records, read one after the other: what people do in between must not show as values that were never there."""

from __future__ import annotations

from sales_crm_bridge.model import HttpCall, Ref
from sales_crm_bridge.sandbox import Answer
from tests.contract.worlds import HubSpotLeads


def test_a_contact_that_is_merged_away_while_it_is_looked_for_is_not_missing() -> None:
    """Between the association and the contact it is merged into another one: the lead has that one's values."""
    world = HubSpotLeads()
    lead, other = world.create(1), world.create(2)
    merged: list[str] = []

    def meanwhile(call: HttpCall, answer: Answer) -> Answer:
        if "associations" in call.path and not merged:
            merged.append(world.portal.person.merge(world.contact_of(other), world.contact_of(lead)))
        return answer

    world.spoil = meanwhile
    (record,) = world.converse(world.adapter.read([Ref(id=lead)]))
    assert merged
    assert record.fields["contact.email"] == world.holds(lead, "email")
