"""Calls: the command service as its descriptor tells of it, and a command's request as the intent that it is.

A request holds the intent's own message, and its context what an envelope's ``meta`` does, so a call becomes the very bytes that
the topic would have brought: one gate, one inbox, one ledger for both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from google.protobuf.message_factory import GetMessageClass

from sales_crm_bridge.contract import times
from sales_crm_bridge.contract.descriptors import INTENTS, SCHEMA_VERSION, Variant
from sales_crm_bridge.contract.intents import OPERATIONS, Intent, decode_command
from sales_crm_bridge.contract.records import Violation, validate
from sales_crm_bridge.pb import sales_command_service_pb2
from sales_crm_bridge.pb.intents_pb2 import SalesDomainIntent
from sales_crm_bridge.pb.sales_command_service_pb2 import (
    CommandState,
    CreateLeadRequest,
    CreateLeadResponse,
    DisqualifyLeadRequest,
    DisqualifyLeadResponse,
    GetLeadRequest,
    GetLeadResponse,
    QualifyLeadRequest,
    QualifyLeadResponse,
)

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from sales_crm_bridge.pb.opportunity_pb2 import Lead
    from sales_crm_bridge.pb.request_context_pb2 import RequestContext

_SERVICE = sales_command_service_pb2.DESCRIPTOR.services_by_name["SalesCommandService"]

SERVICE: str = _SERVICE.full_name
"""The full name of the command service."""

CommandRequest = CreateLeadRequest | QualifyLeadRequest | DisqualifyLeadRequest
CommandResponse = CreateLeadResponse | QualifyLeadResponse | DisqualifyLeadResponse


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One method of the command service. ``intent``: what its request asks for, as a variant of the intent envelope (None: a read).

    ``lead``: whether it is about leads, and so may be the bridge's.
    """

    name: str
    request: type[Message]
    response: type[Message]
    intent: Variant | None
    lead: bool


def _methods() -> dict[str, Method]:
    found = {}
    variants = {variant.name: variant for variant in INTENTS.variants.values()}
    for name, method in _SERVICE.methods_by_name.items():
        command = method.input_type.fields_by_name.get("command")
        asked = variants[command.message_type.name] if command is not None and command.message_type else None
        found[name] = Method(
            name=name,
            request=GetMessageClass(method.input_type),
            response=GetMessageClass(method.output_type),
            intent=asked,
            lead=asked.name in OPERATIONS if asked is not None else name == GET_LEAD,
        )
    return found


GET_LEAD = "GetLead"
METHODS: dict[str, Method] = _methods()
"""Every method of the command service, by name."""

_STATES = {
    "pending": CommandState.COMMAND_STATE_PENDING,
    "sending": CommandState.COMMAND_STATE_UNDER_WAY,
    "unknown": CommandState.COMMAND_STATE_UNDER_WAY,
    "done": CommandState.COMMAND_STATE_DONE,
    "refused": CommandState.COMMAND_STATE_REFUSED,
    "held": CommandState.COMMAND_STATE_PENDING,
    "parked": CommandState.COMMAND_STATE_PARKED,
    "forgotten": CommandState.COMMAND_STATE_FORGOTTEN,
}

_PATHS = {
    "meta.message_id": "context.idempotency_key",
    "meta.correlation_id": "context.correlation_id",
    "meta.tenant_id": "context.tenant_id",
    "lead.lead_id": "command.lead.lead_id",
    "update_mask": "command.update_mask",
}
"""Where a request has what an envelope has at another path."""


def intent_of(method: Method, request: CommandRequest, *, caller: str, now_us: int) -> Intent | tuple[Violation, ...]:
    """The intent that a command's request is, uttered now; or every way in which the request breaks the contract.

    ``caller``: who calls, as the producer of the message.
    """
    variant = method.intent
    assert variant is not None
    context = request.context
    envelope = SalesDomainIntent()
    meta = envelope.meta
    meta.message_id, meta.correlation_id = context.idempotency_key, context.correlation_id
    meta.causation_id, meta.tenant_id = context.causation_id, context.tenant_id
    meta.traceparent, meta.tracestate = context.traceparent, context.tracestate
    meta.producer, meta.schema_version = caller, SCHEMA_VERSION
    times.set_time(meta.occurred_at, now_us)
    envelope.subject.CopyFrom(request.subject)
    body: Message = getattr(envelope, variant.field)
    body.CopyFrom(request.command)
    body.SetInParent()
    found = [_moved(one) for one in validate(envelope)]
    if not request.HasField("command"):
        found.append(_missing("command"))
    if request.subject.aggregate_type not in ("", variant.aggregate_type):
        found.append(
            Violation(
                path="subject.aggregate_type",
                code="contract.other-aggregate",
                message="is not the kind of aggregate that the method is about",
                remedy=f"set subject.aggregate_type to {variant.aggregate_type}",
            )
        )
    value = envelope.SerializeToString(deterministic=True)
    found += [_moved(one) for one in decode_command(value).violations]
    if found:
        return tuple(found)
    return Intent(
        name=variant.name,
        tenant_id=meta.tenant_id,
        message_id=meta.message_id,
        aggregate_id=envelope.subject.aggregate_id,
        occurred_us=now_us,
        value=value,
        envelope=envelope,
    )


def check_read(request: GetLeadRequest) -> tuple[Violation, ...]:
    """Every way in which a read's request breaks the contract."""
    context: RequestContext = request.context
    wanted = {
        "context.tenant_id": context.tenant_id,
        "context.correlation_id": context.correlation_id,
        "lead_id": request.lead_id,
    }
    return tuple(_missing(path) for path, text in wanted.items() if not text)


def command_answer(method: Method, message_id: str, state: str, reason: str) -> CommandResponse:
    """The answer to a command: where it stands (a state of the ledger, or ``forgotten``), and why."""
    response: CommandResponse = method.response()  # type: ignore[assignment]  # only commands get here
    response.message_id, response.state, response.reason = message_id, _STATES[state], reason
    return response


def lead_answer(lead: Lead, version: int) -> bytes:
    """The answer to ``GetLead``, serialised."""
    return GetLeadResponse(lead=lead, aggregate_version=version).SerializeToString(deterministic=True)


def _moved(violation: Violation) -> Violation:
    """A violation of an envelope, at its place in a request."""
    path = _PATHS.get(violation.path, violation.path)
    remedy = violation.remedy.replace(violation.path, path)
    return Violation(path=path, code=violation.code, message=violation.message, remedy=remedy)


def _missing(path: str) -> Violation:
    return Violation(path=path, code="contract.missing", message="is required and empty", remedy=f"set {path}")
