"""A tenant's mapping in both directions: what is read, what is written, and what cannot be."""

from __future__ import annotations

import math
import re
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sales_crm_adapters import CATALOGUE

from sales_crm_bridge import tenants
from sales_crm_bridge.contract import ActorRef, Lead, LeadStatus, Money
from sales_crm_bridge.mapping import MISFITS, Mapping
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


WORD = st.text(string.ascii_letters + "äß-", min_size=1, max_size=8)
MONEY = st.builds(
    lambda cents: Money(currency="EUR", units=int(cents / 100), nanos=int(math.fmod(cents, 100)) * 10_000_000),
    st.integers(-(10**9), 10**9),
)
VALUES = {
    "email": TEXT.map(str.lower),
    "full_name": st.lists(WORD, min_size=1, max_size=4).map(" ".join),
    "phone": TEXT,
    "score": st.integers(-(2**31), 2**31 - 1),
    "status": st.sampled_from([1, 2, 3, 4, 5]),
    "estimated_value": MONEY,
    "owner": st.builds(lambda user, name: ActorRef(user_id=user, display_name=name), WORD, WORD),
    "tags": st.lists(WORD, min_size=1, max_size=3),
    "email_opt_out": st.booleans(),
    "custom_attributes.region": TEXT,
}


def lead_of(values: dict[str, Any]) -> Lead:
    own = {name: value for name, value in values.items() if not name.startswith("custom_attributes.")}
    custom = {name.split(".", 1)[1]: value for name, value in values.items() if name not in own}
    return Lead(lead_id="L-1", custom_attributes=custom, **own)


@given(st.fixed_dictionaries({}, optional=VALUES), st.booleans())
def test_what_is_written_is_read_back(values: dict[str, Any], creating: bool) -> None:
    """from_wire(to_wire(x)) == x, for every kind of field and whatever part of the lead is there."""
    lead = lead_of(values)
    names = () if creating else sorted(values)
    wire, misfits = RICH.to_wire(lead, names, creating=creating, current={})
    assert not misfits
    back, misfits = RICH.lead(wire, "L-1")
    assert not misfits
    assert back == lead
    assert RICH.matches(wire, wire)


@given(st.fixed_dictionaries({}, optional=VALUES))
def test_the_fast_creation_is_the_slow_one(values: dict[str, Any]) -> None:
    """What a create writes of all that the lead has is what it writes field by field."""
    lead = lead_of(values)
    fast, misfits = RICH.to_wire(lead, (), creating=True)
    slow, told = RICH.to_wire(lead, [rule.name for rule in RICH.spec.rules], creating=True)
    assert fast == slow
    assert sorted(misfits, key=repr) == sorted(told, key=repr)


@pytest.mark.parametrize("form", ["rfc3339", "epoch_ms"])
@given(milliseconds=st.integers(-(10**12), 10**13))
def test_a_time_is_written_and_read_back_to_the_millisecond(form: str, milliseconds: int) -> None:
    """The forms that hold milliseconds hold them both ways; two ways to write one moment are no difference."""
    made = mapping(f"  last_activity_at: {{crm: seen, time: {form}, write: always}}")
    seconds, rest = divmod(milliseconds, 1000)
    lead = Lead(lead_id="L-1")
    lead.last_activity_at.seconds, lead.last_activity_at.nanos = seconds, rest * 1_000_000
    wire, misfits = made.to_wire(lead, ("last_activity_at",), creating=False)
    assert not misfits
    assert made.lead(wire, "L-1") == (lead, [])
    if form == "rfc3339":
        assert made.differing(wire, {"seen": str(wire["seen"]).replace("Z", "+0000")}) == ()


def twin(fields: dict[str, Scalar]) -> tuple[Lead, set[str]]:  # noqa: C901, PLR0912 - plain on purpose
    """RICH read by hand, slowly, from what its file says: the lead, and the fields that do not fit."""
    lead, misfits = Lead(lead_id="L-1"), set()
    shown = {
        name: "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in fields.items()
    }
    filled = {name: text for name, text in shown.items() if text}
    if "email" in shown:
        lead.email = shown["email"].strip().lower()
    if "first" in shown or "last" in shown:
        lead.full_name = " ".join(filled[name] for name in ("first", "last") if name in filled)
    for crm, name in (("phone", "phone"), ("site", "website")):
        if crm in shown:
            setattr(lead, name, shown[crm])
    if "region__c" in shown:
        lead.custom_attributes["region"] = shown["region__c"]
    if "state" in filled:
        status = {"N": 1, "W": 2, "P": 2, "Q": 3, "D": 4, "C": 5}.get(filled["state"])
        if status is None:
            misfits.add("status")
        else:
            lead.status = LeadStatus.ValueType(status)
    if "score" in filled:
        if re.fullmatch(r"-?[0-9]+", filled["score"]) and -(2**31) <= int(filled["score"]) < 2**31:
            lead.score = int(filled["score"])
        else:
            misfits.add("score")
    if "amount" in filled:
        if re.fullmatch(r"-?[0-9]+", filled["amount"]):
            sign, cents = (-1 if filled["amount"][0] == "-" else 1), abs(int(filled["amount"]))
            lead.estimated_value.CopyFrom(
                Money(currency="EUR", units=sign * (cents // 100), nanos=sign * (cents % 100) * 10_000_000)
            )
        else:
            misfits.add("estimated_value")
    for crm, part in (("owner_id", "user_id"), ("owner_name", "display_name")):
        if crm in filled:
            setattr(lead.owner, part, filled[crm])
    lead.tags.extend(tag.strip() for tag in shown.get("tags", "").split(";") if tag.strip())
    if "optout" in filled:
        if filled["optout"] in ("Y", "N"):
            lead.email_opt_out = filled["optout"] == "Y"
        else:
            misfits.add("email_opt_out")
    if "created" in filled:
        if re.fullmatch(r"[0-9]{1,12}", filled["created"]):
            lead.created_at.seconds, rest = divmod(int(filled["created"]), 1000)
            lead.created_at.nanos = rest * 1_000_000
        else:
            misfits.add("created_at")
    return lead, misfits


RAW = st.one_of(
    st.none(),
    st.just(""),
    TEXT.filter(lambda text: not text[0].isdigit() and "e" not in text.lower()),
    st.sampled_from(["N", "W", "P", "Q", "D", "C", "Y", "a; b ;;c", " Ada ", "x\x1fy"]),
    st.integers(0, 10**9),
    st.integers(0, 10**9).map(str),
    st.booleans(),
)


@given(st.dictionaries(st.sampled_from(RICH.crm_fields), RAW))
def test_the_fast_reading_is_the_slow_one(fields: dict[str, Scalar]) -> None:
    """What the compiled mapping reads is what a plain reading of the file says, misfits and all; the snapshot is that lead."""
    lead, misfits = RICH.lead(fields, "L-1")
    slow, said = twin(fields)
    assert lead == slow
    assert {one.field for one in misfits} == said
    assert RICH.snapshot(fields, "L-1") == (lead.SerializeToString(deterministic=True), misfits)


SCALARS = st.one_of(st.none(), st.text(max_size=12), st.integers(), st.floats(), st.booleans(), st.just("\ud800"))


@given(st.dictionaries(st.sampled_from(RICH.crm_fields), SCALARS))
def test_reading_never_raises(fields: dict[str, Scalar]) -> None:
    """Whatever a CRM holds, half a character and no number included: a lead, misfits, and sources to hash."""
    _, misfits = RICH.lead(fields, "L-1")
    assert {one.code for one in misfits} <= set(MISFITS)
    assert len(RICH.sources(fields)) == len(RICH.slots)
    assert RICH.differing(fields, fields) == ()


@given(st.dictionaries(st.sampled_from(RICH.crm_fields), SCALARS))
def test_sources_are_the_same_for_the_same_values(fields: dict[str, Scalar]) -> None:
    """Each slot's source depends on its own CRM fields alone, and is empty exactly when those are."""
    whole = RICH.sources(fields)
    for slot, raw in enumerate(whole):
        names = RICH.slot_sources(slot)
        assert RICH.sources({name: fields[name] for name in names if name in fields})[slot] == raw
        assert (not raw) is all(fields.get(name) in (None, "") for name in names)


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


def test_a_create_that_goes_over_to_a_record_writes_as_an_update() -> None:
    """What the lead has, but no fixed value and nothing that only a creation may write; what it lacks is not cleared."""
    plain = mapping("""
  email: email
  phone: {crm: phone, write: once}
  website: {crm: site, write: never}
  job_title: {crm: title, create_default: unknown}
  city: city
create:
  source: sales
""")
    lead = Lead(email="ada@x.example", phone="+1", website="x.example")
    assert plain.to_wire(lead, (), creating=True)[0] == {
        "source": "sales",
        "email": "ada@x.example",
        "phone": "+1",
        "title": "unknown",
    }
    assert plain.over_wire(lead) == ({"email": "ada@x.example"}, [])
