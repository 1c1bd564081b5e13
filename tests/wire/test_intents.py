"""Intents as the bridge takes them in, and what a Lead intent asks for."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sales_crm_bridge import contract
from sales_crm_bridge.contract.descriptors import INTENTS
from sales_crm_bridge.errors import Bug, ContractError
from sales_crm_bridge.model import Operation
from tests.wire.strategies import envelopes, messages

FEW = settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
LEAD_VARIANTS = [variant for variant in INTENTS.variants.values() if variant.name in contract.OPERATIONS]
OTHER_VARIANTS = [variant for variant in INTENTS.variants.values() if variant not in LEAD_VARIANTS]
NAMES = {"CreateLeadRequested", "QualifyLeadRequested", "DisqualifyLeadRequested", "ReviseLeadRequested"}


def lead_intent(body: Any, **changes: Any) -> contract.SalesDomainIntent:
    """A valid intent around ``body``."""
    given_: dict[str, Any] = {
        "tenant_id": "acme",
        "aggregate_id": "lead-1",
        "message_id": "m-1",
        "correlation_id": "c-1",
        "occurred_us": 1_740_830_400_250_000,
        "producer": "test",
    }
    return contract.intent(body, **(given_ | changes))


def command(body: Any) -> contract.LeadCommand:
    """What an intent around ``body`` asks for."""
    return contract.decode_command(lead_intent(body).SerializeToString())


def test_exactly_the_lead_intents_are_ours() -> None:
    """Four intents ask something of the bridge; they are all about a Lead, and no other intent is."""
    assert {variant.name for variant in LEAD_VARIANTS} == NAMES
    assert {variant.name for variant in INTENTS.variants.values() if variant.aggregate_type == "Lead"} == NAMES


@pytest.mark.parametrize("variant", INTENTS.variants.values(), ids=lambda variant: variant.name)
@given(data=st.data(), framed=st.booleans())
@FEW
def test_an_intent_is_read_with_what_the_gate_asks(variant: Any, data: st.DataObject, framed: bool) -> None:
    """Name, tenant, time and ids come out as they went in; the bytes kept are those without framing."""
    envelope = data.draw(envelopes(INTENTS, variant))
    record = contract.record_of(envelope, contract.Framing(schema_id=1) if framed else None)
    intent = contract.read_intent(record.value, record.headers, framed=framed)
    assert isinstance(intent, contract.Intent)
    assert intent.name == variant.name
    assert intent.tenant_id == envelope.meta.tenant_id
    assert intent.message_id == envelope.meta.message_id
    assert intent.aggregate_id == envelope.subject.aggregate_id
    assert intent.occurred_us == contract.us_of(envelope.meta.occurred_at)
    assert intent.value == envelope.SerializeToString(deterministic=True)
    if variant.name in contract.OPERATIONS:
        asked = contract.decode_command(intent.value)
        assert (asked.operation, asked.message_id, asked.lead_id) == (
            intent.operation,
            intent.message_id,
            intent.aggregate_id,
        )
        assert (asked.tenant_id, asked.occurred_us) == (intent.tenant_id, intent.occurred_us)
        assert asked.correlation_id == envelope.meta.correlation_id
    else:
        with pytest.raises(Bug):
            _ = intent.operation
        with pytest.raises(ContractError):
            contract.decode_command(intent.value)


def test_an_intent_of_a_newer_version_has_no_name() -> None:
    """An intent that this version does not know is read, so that it can be passed over, and asks nothing of us."""
    envelope = lead_intent(contract.CreateLeadRequested())
    envelope.ClearField("intent")
    intent = contract.read_intent(envelope.SerializeToString() + b"\xc2\x3e\x00")  # field 1000, empty
    assert isinstance(intent, contract.Intent)
    assert intent.name == ""
    with pytest.raises(Bug):
        _ = intent.operation


@given(value=st.binary(max_size=200))
@settings(max_examples=300)
def test_bytes_that_are_no_lead_intent_are_a_contract_error(value: bytes) -> None:
    """Decoding a command fails in one way only."""
    with pytest.raises(ContractError):
        contract.decode_command(value)


@given(lead=messages(contract.Lead))
@FEW
def test_a_create_carries_the_lead(lead: Any) -> None:
    """The details come out as they went in."""
    lead.lead_id = ""
    asked = command(contract.CreateLeadRequested(lead=lead))
    assert (asked.operation, asked.lead, asked.violations) == (Operation.CREATE, lead, ())


def test_a_revise_carries_its_mask_once_each() -> None:
    """A field named twice is meant once; a field named and absent is to be cleared."""
    body = contract.ReviseLeadRequested(lead=contract.Lead(email="new@example.com"))
    body.update_mask.paths.extend(["email", "phone", "email", "custom_attributes.shoe size"])
    asked = command(body)
    assert asked.mask == ("email", "phone", "custom_attributes.shoe size")
    assert asked.lead.HasField("email")
    assert not asked.lead.HasField("phone")
    assert asked.violations == ()


@pytest.mark.parametrize("path", ["", "lead_id", "status", "nonsense", "owner.user_id", "custom_attributes.", "Email"])
def test_a_mask_may_name_only_what_can_be_revised(path: str) -> None:
    """A name that is no revisable field of Lead is told, and the name is not repeated unless it is a field's."""
    body = contract.ReviseLeadRequested()
    body.update_mask.paths.extend(["email", path])
    asked = command(body)
    assert [violation.code for violation in asked.violations] == ["contract.bad-mask"]
    assert "nonsense" not in asked.violations[0].message


def test_a_revise_without_a_mask_is_told() -> None:
    """Nothing to do is a mistake of the asker, not a success."""
    asked = command(contract.ReviseLeadRequested(lead=contract.Lead(email="x@example.com")))
    assert [violation.path for violation in asked.violations] == ["update_mask"]


@pytest.mark.parametrize(("lead_id", "codes"), [("", []), ("lead-1", []), ("lead-2", ["contract.other-lead"])])
def test_the_leads_own_id_is_the_subjects(lead_id: str, codes: list[str]) -> None:
    """A lead that calls itself something else than the subject is told."""
    asked = command(contract.CreateLeadRequested(lead=contract.Lead(lead_id=lead_id)))
    assert [violation.code for violation in asked.violations] == codes


def test_a_disqualify_carries_reason_and_note() -> None:
    """Both reach the mapping."""
    asked = command(contract.DisqualifyLeadRequested(reason="no-budget", note="next year"))
    assert (asked.operation, asked.reason, asked.note) == (Operation.DISQUALIFY, "no-budget", "next year")


def test_a_qualify_carries_its_note() -> None:
    """The note reaches the mapping."""
    asked = command(contract.QualifyLeadRequested(note="met her"))
    assert (asked.operation, asked.note) == (Operation.QUALIFY, "met her")


def test_only_a_valid_intent_is_built() -> None:
    """The builder for clients refuses a body that is no intent's, and an envelope that lacks something."""
    with pytest.raises(Bug):
        lead_intent(contract.Lead())
    with pytest.raises(Bug, match=r"meta\.tenant_id"):
        lead_intent(contract.CreateLeadRequested(), tenant_id="")


def test_mask_names_are_fields_of_lead() -> None:
    """Whatever a mask may name is there to be set."""
    assert set(contract.LEAD_FIELDS) - {"lead_id", "status"} == contract.REVISABLE
    assert contract.LEAD_FIELDS[:3] == ("lead_id", "status", "first_name")
