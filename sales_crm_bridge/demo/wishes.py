"""What a client of the Sales domain asks for: Lead intents, made in code or from a line that somebody types."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sales_crm_bridge import contract

if TYPE_CHECKING:
    from collections.abc import Sequence

    from google.protobuf.message import Message

USAGE = """\
create LEAD field=value …      such as: create L-9 email=grace@sales.example first_name=Grace
revise LEAD field=value …      such as: revise L-9 city=Arlington
qualify LEAD [note]
disqualify LEAD reason"""

_TEXTS = tuple(
    field.name
    for field in contract.Lead.DESCRIPTOR.fields
    if field.type == field.TYPE_STRING and field.has_presence and field.name in contract.REVISABLE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """One intent: its message id, whom it is about, its body, and the values that the lead has once it took effect."""

    message_id: str
    lead_id: str
    body: Message
    asked: contract.Lead

    def record(self, tenant: str, now_us: int) -> contract.Record:
        """The intent as a record for its topic, uttered now."""
        return contract.record_of(
            contract.intent(
                self.body,
                tenant_id=tenant,
                aggregate_id=self.lead_id,
                message_id=self.message_id,
                correlation_id=f"demo-{self.message_id}",
                occurred_us=now_us,
                producer="sales-ui",
            )
        )

    @property
    def kind(self) -> str:
        """What it asks for, in the contract's words."""
        return self.body.DESCRIPTOR.name.removesuffix("Requested")


def create(message_id: str, lead_id: str, **values: str) -> Wish:
    """A new lead with these fields."""
    lead = contract.Lead(lead_id=lead_id)
    _fill(lead, values)
    return Wish(message_id=message_id, lead_id=lead_id, body=contract.CreateLeadRequested(lead=lead), asked=lead)


def revise(message_id: str, lead_id: str, **values: str) -> Wish:
    """Other values in these fields."""
    lead = contract.Lead()
    _fill(lead, values)
    body = contract.ReviseLeadRequested(lead=lead)
    body.update_mask.paths.extend(values)
    return Wish(message_id=message_id, lead_id=lead_id, body=body, asked=lead)


def qualify(message_id: str, lead_id: str, note: str = "") -> Wish:
    """The lead is worth an opportunity."""
    asked = contract.Lead(status=contract.LeadStatus.LEAD_STATUS_QUALIFIED)
    return Wish(message_id=message_id, lead_id=lead_id, body=contract.QualifyLeadRequested(note=note), asked=asked)


def disqualify(message_id: str, lead_id: str, reason: str) -> Wish:
    """The lead is not worth more work."""
    asked = contract.Lead(status=contract.LeadStatus.LEAD_STATUS_DISQUALIFIED, disqualification_reason=reason)
    return Wish(
        message_id=message_id, lead_id=lead_id, body=contract.DisqualifyLeadRequested(reason=reason), asked=asked
    )


def opportunity(message_id: str, opportunity_id: str) -> Wish:
    """Something that has nothing to do with leads."""
    body = contract.SalesDomainIntent().create_opportunity_requested
    return Wish(message_id=message_id, lead_id=opportunity_id, body=body, asked=contract.Lead())


def parse(line: str, message_id: str) -> Wish:
    """The wish in a line as ``USAGE`` shows it. Raises ``ValueError`` that says what is wrong with the line."""
    match shlex.split(line):
        case ["create", lead_id, *pairs] if pairs:
            return create(message_id, lead_id, **_values(pairs))
        case ["revise", lead_id, *pairs] if pairs:
            return revise(message_id, lead_id, **_values(pairs))
        case ["qualify", lead_id, *words]:
            return qualify(message_id, lead_id, " ".join(words))
        case ["disqualify", lead_id, *words] if words:
            return disqualify(message_id, lead_id, " ".join(words))
        case _:
            raise ValueError("not one of create, revise, qualify, disqualify with what belongs to it")


def _values(pairs: Sequence[str]) -> dict[str, str]:
    values = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or name not in _TEXTS:
            raise ValueError(f"{name} is no text of a lead; there are: {', '.join(_TEXTS)}")
        values[name] = value
    return values


def _fill(lead: contract.Lead, values: dict[str, str]) -> None:
    for name, value in values.items():
        setattr(lead, name, value)
