"""A tenant's mapping in both directions: what is read, what is written, and what cannot be."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sales_crm_adapters import CATALOGUE

from sales_crm_bridge import tenants
from sales_crm_bridge.contract import Lead, LeadStatus
from sales_crm_bridge.mapping import Mapping
from sales_crm_bridge.model import Operation, Scalar

HEAD = """
tenant: acme
leads: [{owner: crm, from: 2026-01-01T00:00:00Z}]
connection: {adapter: hubspot, account: "1", credentials: {kind: token, token: env:T}}
qualify: unsupported
disqualify: unsupported
fields:
"""
TEXT = st.text(string.ascii_letters + string.digits + " .@-äß", min_size=1, max_size=12).map(str.strip).filter(bool)


def mapping(fields: str) -> Mapping:
    tenant, found = tenants.parse((HEAD + fields).encode(), "acme.yaml", CATALOGUE, environ={"T": "x"})
    assert tenant is not None, found
    return tenant.mapping


RICH = mapping("""
  email: {crm: email, steps: [trim, lower]}
  full_name: {crm: [first, last], join: " "}
  phone: {crm: phone, write: once}
  website: {crm: site, write: never}
  status:
    crm: state
    values: {N: new, W: working, P: working, Q: qualified, D: disqualified, C: converted}
    write_values: {working: W}
  score: {crm: score}
  estimated_value: {crm: amount, currency: EUR, scale: 0.01}
  owner: {parts: {user_id: owner_id, display_name: owner_name}}
  tags: {crm: tags}
  email_opt_out: {crm: optout, values: {"Y": true, "N": false}}
  custom_attributes.region: {crm: region__c}
  created_at: {crm: created, time: epoch_ms}
""")


def test_a_record_is_read_as_the_file_says() -> None:
    """Every kind of field, once."""
    fields: dict[str, Scalar] = {
        "email": "  Ada@X.Example ",
        "first": "Ada",
        "last": "Byron",
        "phone": None,
        "site": "x.example",
        "state": "P",
        "score": "7",
        "amount": "12345",
        "owner_id": "77",
        "owner_name": "Eve",
        "tags": "a;b",
        "optout": "Y",
        "region__c": "EMEA",
        "created": "1767225600000",
    }
    lead, misfits = RICH.lead(fields, "L-1")
    assert not misfits
    assert (lead.lead_id, lead.email, lead.full_name) == ("L-1", "ada@x.example", "Ada Byron")
    assert lead.status == LeadStatus.LEAD_STATUS_WORKING
    assert (lead.score, lead.estimated_value.units, lead.estimated_value.nanos) == (7, 123, 450_000_000)
    assert lead.estimated_value.currency == "EUR"
    assert (lead.owner.user_id, lead.owner.display_name) == ("77", "Eve")
    assert list(lead.tags) == ["a", "b"]
    assert lead.email_opt_out
    assert lead.custom_attributes["region"] == "EMEA"
    assert lead.created_at.seconds == 1_767_225_600


def test_what_does_not_fit_is_left_out_and_named() -> None:
    """A status nobody mapped, a number that is none: the rest of the lead is there, and nothing is raised."""
    lead, misfits = RICH.lead({"email": "a@x.example", "state": "ZOMBIE", "score": "many", "optout": "maybe"}, "L-1")
    assert lead.email == "a@x.example"
    assert {(misfit.field, misfit.code) for misfit in misfits} == {
        ("status", "unknown-value"),
        ("score", "bad-number"),
        ("email_opt_out", "unknown-value"),
    }


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "email": TEXT.map(str.lower),
            "score": st.integers(-(2**31), 2**31 - 1),
            "status": st.sampled_from([1, 2, 3, 4, 5]),
            "tags": st.lists(st.text(string.ascii_letters, min_size=1, max_size=5), max_size=3),
            "email_opt_out": st.booleans(),
        },
    )
)
def test_what_is_written_is_read_back(values: dict[str, object]) -> None:
    """from_wire(to_wire(x)) == x, for what the mapping can invert."""
    lead = Lead(lead_id="L-1", **values)  # type: ignore[arg-type]
    wire, misfits = RICH.to_wire(lead, sorted(values), creating=bool(values))
    assert not misfits
    back, misfits = RICH.lead(wire, "L-1")
    assert not misfits
    for name in values:
        assert getattr(back, name) == getattr(lead, name)


@given(st.dictionaries(st.sampled_from(RICH.crm_fields), st.one_of(st.none(), TEXT, st.integers(), st.booleans())))
def test_reading_never_raises_and_the_snapshot_is_the_lead_serialised(fields: dict[str, Scalar]) -> None:
    """Whatever a CRM holds: a lead and misfits; the fast snapshot equals the slow one."""
    lead, misfits = RICH.lead(fields, "L-1")
    snapshot, again = RICH.snapshot(fields, "L-1")
    assert (snapshot, again) == (lead.SerializeToString(deterministic=True), misfits)


def test_a_slot_is_named_after_its_sources_and_hashes_their_raw_values() -> None:
    """Null, empty and absent are the same; a changed transform or value map changes neither the slot nor its source."""
    assert "full_name=first+last" in RICH.slots
    slot = RICH.slots.index("full_name=first+last")
    assert RICH.sources({"first": "Ada", "last": "Byron"})[slot] == b"Ada\x1fByron"
    assert RICH.sources({})[slot] == RICH.sources({"first": None, "last": ""})[slot] == b""
    plain, lower = mapping("  email: email"), mapping("  email: {crm: email, steps: [lower]}")
    assert plain.slots == lower.slots
    assert plain.sources({"email": "A"}) == lower.sources({"email": "A"})
    assert plain.version != lower.version


def test_a_revision_writes_the_named_fields_alone() -> None:
    """A mask names what is set and what is cleared; read-only, write-once and unmapped fields are misfits, not silence."""
    lead = Lead(lead_id="L-1", email="a@x.example", website="y.example", phone="1")
    wire, misfits = RICH.to_wire(lead, ("email", "score"), creating=False)
    assert not misfits
    assert wire == {"email": "a@x.example", "score": None}
    _, misfits = RICH.to_wire(lead, ("website", "phone", "city"), creating=False)
    assert {(misfit.field, misfit.code) for misfit in misfits} == {
        ("website", "read-only"),
        ("phone", "write-once"),
        ("city", "not-mapped"),
    }
    wire, misfits = RICH.to_wire(lead, ("phone",), creating=False, current={"phone": ""})
    assert (wire, misfits) == ({"phone": "1"}, [])


def test_a_creation_writes_what_the_lead_has_and_the_fixed_values() -> None:
    """Fields that the lead lacks are left to the CRM; `create` and `create_default` are added."""
    made = mapping("  email: email\n  source: {crm: src, create_default: web}\n  city: city\ncreate: {stage: lead}\n")
    wire, misfits = made.to_wire(Lead(lead_id="L-1", email="a@x.example"), (), creating=True)
    assert (wire, misfits) == ({"email": "a@x.example", "src": "web", "stage": "lead"}, [])


@pytest.mark.parametrize(
    ("wanted", "there", "same"),
    [
        ("a", "a", True),
        (None, "", True),
        (None, None, True),
        ("7", 7, True),
        ("Ada@X.example", "ada@x.example", True),
        ("+49 (30) 901820", "+4930901820", True),
        ("+49 30 901820", "+49 30 901821", False),
        ("a", "b", False),
        ("a", None, False),
    ],
)
def test_what_we_wanted_is_compared_by_value(wanted: Scalar, there: Scalar, same: bool) -> None:
    """Null is empty, numbers are numbers, a CRM's normalising is no difference, and everything else must be equal."""
    assert (RICH.differing({"score": wanted}, {"score": there}) == ()) is same


def test_names_and_slots_written() -> None:
    """What a command would touch."""
    assert set(RICH.names_written(Operation.REVISE, ("email", "website"))) == {"email"}
