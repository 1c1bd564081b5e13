"""Intents: what comes in. Read from the topic, kept as bytes in the ledger, decoded again when the command's turn comes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
from google.protobuf.message import DecodeError

from sales_crm_bridge.contract import times
from sales_crm_bridge.contract.descriptors import INTENTS, LEAD_FIELDS, REVISABLE, SCHEMA_VERSION
from sales_crm_bridge.contract.records import Unreadable, Violation, read, validate
from sales_crm_bridge.errors import Bug, ContractError
from sales_crm_bridge.model import Operation
from sales_crm_bridge.pb.intents_pb2 import SalesDomainIntent
from sales_crm_bridge.pb.opportunity_pb2 import Lead

if TYPE_CHECKING:
    from collections.abc import Iterable

    from google.protobuf.message import Message

OPERATIONS: dict[str, Operation] = {
    "CreateLeadRequested": Operation.CREATE,
    "QualifyLeadRequested": Operation.QUALIFY,
    "DisqualifyLeadRequested": Operation.DISQUALIFY,
    "ReviseLeadRequested": Operation.REVISE,
}
"""The Lead intents; every other intent is never the bridge's."""

_NO_LEAD = Lead()


class Intent(msgspec.Struct, frozen=True, kw_only=True):
    """A valid intent.

    ``name``: the variant's message name, "" for one that a newer minor version added; ``value``: its bytes, unframed.
    """

    name: str
    tenant_id: str
    message_id: str
    aggregate_id: str
    occurred_us: int
    value: bytes
    envelope: SalesDomainIntent

    @property
    def operation(self) -> Operation:
        """What a Lead intent asks for. Raises ``Bug`` for any other intent: ask the gate first."""
        operation = OPERATIONS.get(self.name)
        if operation is None:
            raise Bug("bug.no-lead-intent", f"{self.name or 'an intent of a newer version'} asks nothing of the bridge")
        return operation


def read_intent(
    value: bytes, headers: Iterable[tuple[str, bytes | None]] = (), *, framed: bool = False
) -> Intent | Unreadable:
    """The intent in a record of the intent topic, or every way in which the record breaks the contract. Raises nothing."""
    received = read(SalesDomainIntent, value, headers, framed=framed)
    if isinstance(received, Unreadable):
        return received
    envelope = received.envelope
    return Intent(
        name=received.variant.name if received.variant is not None else "",
        tenant_id=envelope.meta.tenant_id,
        message_id=envelope.meta.message_id,
        aggregate_id=envelope.subject.aggregate_id,
        occurred_us=received.occurred_us,
        value=received.value,
        envelope=envelope,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LeadCommand:
    """What a Lead intent asks for.

    ``lead``: the details of a create or revise, else empty. ``mask``: the names of the fields that a revise sets or clears,
    each once, in the asker's order. ``reason``, ``note``: of a disqualify (``note`` of a qualify too). ``violations``: what is
    wrong with the body though the envelope is valid; such a command is refused. Do not change ``lead``: it may be shared.
    """

    operation: Operation
    tenant_id: str
    lead_id: str
    message_id: str
    correlation_id: str
    causation_id: str
    traceparent: str
    tracestate: str
    occurred_us: int
    lead: Lead
    mask: tuple[str, ...] = ()
    reason: str = ""
    note: str = ""
    violations: tuple[Violation, ...] = ()

    def asks_the_same(self, other: LeadCommand) -> bool:
        """Whether both want the same of the same lead, whoever asks, when, and in which words of the envelope."""
        wants = [
            (one.operation, one.lead_id, _unnamed(one.lead), one.mask, one.reason, one.note) for one in (self, other)
        ]
        return wants[0] == wants[1]


def decode_command(value: bytes) -> LeadCommand:
    """The command in an intent's bytes as ``Intent.value`` had them. Raises ``ContractError`` if they are no Lead intent."""
    try:
        envelope = SalesDomainIntent.FromString(value)
    except DecodeError:
        raise ContractError("contract.unreadable", "these bytes are no intent") from None
    lead, reason, note = _NO_LEAD, "", ""
    mask: tuple[str, ...] = ()
    match envelope.WhichOneof("intent"):
        case "create_lead_requested":
            operation, lead = Operation.CREATE, envelope.create_lead_requested.lead
        case "revise_lead_requested":
            operation, lead = Operation.REVISE, envelope.revise_lead_requested.lead
            mask = tuple(dict.fromkeys(envelope.revise_lead_requested.update_mask.paths))
        case "qualify_lead_requested":
            operation, note = Operation.QUALIFY, envelope.qualify_lead_requested.note
        case "disqualify_lead_requested":
            operation = Operation.DISQUALIFY
            reason, note = envelope.disqualify_lead_requested.reason, envelope.disqualify_lead_requested.note
        case _:
            raise ContractError("contract.no-lead-intent", "this intent asks nothing of the bridge")
    meta = envelope.meta
    return LeadCommand(
        operation=operation,
        tenant_id=meta.tenant_id,
        lead_id=envelope.subject.aggregate_id,
        message_id=meta.message_id,
        correlation_id=meta.correlation_id,
        causation_id=meta.causation_id,
        traceparent=meta.traceparent,
        tracestate=meta.tracestate,
        occurred_us=times.us_of(meta.occurred_at),
        lead=lead,
        mask=mask,
        reason=reason,
        note=note,
        violations=tuple(_check_body(operation, envelope.subject.aggregate_id, lead, mask)),
    )


def _unnamed(lead: Lead) -> Lead:
    """The lead without its id, which it may leave to the subject."""
    told = Lead()
    told.CopyFrom(lead)
    told.lead_id = ""
    return told


def _check_body(operation: Operation, lead_id: str, lead: Lead, mask: tuple[str, ...]) -> list[Violation]:
    found: list[Violation] = []
    if lead.lead_id not in ("", lead_id):
        found.append(
            Violation(
                path="lead.lead_id",
                code="contract.other-lead",
                message="names another lead than the subject",
                remedy="leave lead.lead_id empty or set it to subject.aggregate_id",
            )
        )
    if operation is Operation.REVISE and not mask:
        found.append(
            Violation(
                path="update_mask",
                code="contract.bad-mask",
                message="names no field",
                remedy="name the fields to set or clear",
            )
        )
    found += [
        Violation(
            path="update_mask",
            code="contract.bad-mask",
            message=f"names {_shown(path)}",
            remedy="name single fields of Lead, or custom_attributes.<name>; not lead_id, not status",
        )
        for path in mask
        if not is_revisable(path)
    ]
    return found


def is_revisable(path: str) -> bool:
    """Whether a mask may name ``path``."""
    group, dot, name = path.partition(".")
    return (group == "custom_attributes" and bool(name)) if dot else path in REVISABLE


def _shown(path: str) -> str:
    """A field's name, if it is one that Lead has; any other text is kept out of messages, since it may hold anything."""
    name = path.partition(".")[0]
    return f"{name!r}, which it may not" if name in LEAD_FIELDS else "something that is no field of Lead"


def intent(  # the message's own fields, one argument each
    body: Message,
    *,
    tenant_id: str,
    aggregate_id: str,
    message_id: str,
    correlation_id: str,
    occurred_us: int,
    producer: str,
    causation_id: str = "",
    traceparent: str = "",
    tracestate: str = "",
) -> SalesDomainIntent:
    """An intent around ``body``, as a client of the Sales domain makes it. The bridge makes none.

    It is here for clients and tests; no topic comes with it. Raises ``Bug`` for a body that no intent can hold, or an envelope
    that breaks the contract.
    """
    variant = next((one for one in INTENTS.variants.values() if one.message is type(body)), None)
    if variant is None:
        raise Bug("bug.contract", f"{type(body).__name__} is no variant of an intent")
    envelope = SalesDomainIntent()
    envelope.meta.message_id = message_id
    envelope.meta.correlation_id = correlation_id
    envelope.meta.causation_id = causation_id
    times.set_time(envelope.meta.occurred_at, occurred_us)
    envelope.meta.producer = producer
    envelope.meta.schema_version = SCHEMA_VERSION
    envelope.meta.traceparent = traceparent
    envelope.meta.tracestate = tracestate
    envelope.meta.tenant_id = tenant_id
    envelope.subject.aggregate_type = variant.aggregate_type
    envelope.subject.aggregate_id = aggregate_id
    place = getattr(envelope, variant.field)
    place.CopyFrom(body)
    place.SetInParent()
    if violations := validate(envelope):
        raise Bug("bug.contract", "; ".join(map(str, violations)))
    return envelope
