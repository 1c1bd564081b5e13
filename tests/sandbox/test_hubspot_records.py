"""Single records: what may be written, what is shown, what a lead needs to live."""

from typing import Any

import pytest

from tests.sandbox.bench import Bench, ids, primary

CODES: list[tuple[str, dict[str, Any], str]] = [
    ("no such property", {"nope": "1"}, "PROPERTY_DOESNT_EXIST"),
    ("read-only", {"lastmodifieddate": "2026-01-01T00:00:00Z"}, "READ_ONLY_VALUE"),
    ("label instead of value", {"hs_lead_status": "Open"}, "INVALID_OPTION"),
    ("no such owner", {"hubspot_owner_id": "1077"}, "INVALID_OPTION"),
    ("owner who left", {"hubspot_owner_id": "80"}, "INVALID_OPTION"),
    ("one of several options", {"hs_buying_role": "CHAMPION;KING"}, "INVALID_OPTION"),
    ("no address", {"email": "ada(at)corp.example"}, "INVALID_EMAIL"),
    ("no number", {"associatedcompanyid": "12 "}, "INVALID_INTEGER"),
    ("exponent", {"associatedcompanyid": "1.4e-14"}, "INVALID_INTEGER"),
    ("no time", {"closedate": "tomorrow"}, "INVALID_LONG"),
    ("not midnight", {"starts_on": "1767225600001"}, "INVALID_DATE"),
    ("no boolean", {"vip": "yes"}, "INVALID_BOOLEAN"),
    ("too long", {"message": "x" * 65_537}, "VALUE_TOO_LONG"),
]


@pytest.fixture
def contact(bench: Bench) -> str:
    """A contact of an account with a date and a boolean property of its own."""
    for name, kind, field in (("starts_on", "date", "date"), ("vip", "bool", "booleancheckbox")):
        body = {"name": name, "label": name, "type": kind, "fieldType": field, "groupName": "contactinformation"}
        assert bench.call("POST", "/crm/v3/properties/contacts", body).status == 201
    return bench.create(email="ada@corp.example", hs_lead_status="NEW")


@pytest.mark.parametrize(("properties", "code"), [each[1:] for each in CODES], ids=[each[0] for each in CODES])
def test_a_bad_value_is_named_and_nothing_is_written(
    properties: dict[str, str], code: str, bench: Bench, contact: str
) -> None:
    """A value that its property does not take: 400 with code and property, twice over, and the record is as it was."""
    before = bench.portal.truth()
    reply = bench.call("PATCH", f"/crm/v3/objects/contacts/{contact}", {"properties": {"firstname": "X", **properties}})
    (name,) = properties
    assert (reply.status, reply.json["category"]) == (400, "VALIDATION_ERROR")
    (error,) = reply.json["errors"]
    assert (error["code"], error["in"], error["context"]) == (code, name, {"propertyName": [name]})
    assert f'"error":"{code}"' in reply.json["message"]
    assert bench.portal.truth() == before


def test_every_bad_value_is_named_at_once(bench: Bench, contact: str) -> None:
    """Two bad properties are two errors of one answer."""
    reply = bench.call("PATCH", f"/crm/v3/objects/contacts/{contact}", {"properties": {"nope": "1", "email": "x"}})
    assert [each["code"] for each in reply.json["errors"]] == ["PROPERTY_DOESNT_EXIST", "INVALID_EMAIL"]


STORED = [
    ("email", " Ada.B@Corp.Example ", "ada.b@corp.example"),
    ("closedate", "1767225600120", "2026-01-01T00:00:00.120Z"),
    ("closedate", "2026-01-01T01:00:00+01:00", "2026-01-01T00:00:00.000Z"),
    ("starts_on", "1767225600000", "2026-01-01"),
    ("starts_on", "2026-03-09", "2026-03-09"),
    ("vip", "TRUE", "true"),
    ("hs_buying_role", "CHAMPION;BLOCKER", "CHAMPION;BLOCKER"),
    ("hs_buying_role", ";END_USER", "OTHER;END_USER"),
]


@pytest.mark.parametrize(("name", "sent", "stored"), STORED)
def test_what_is_stored_is_not_always_what_was_sent(
    name: str, sent: str, stored: str, bench: Bench, contact: str
) -> None:
    """Addresses in lower case, times in ISO, a leading semicolon appends."""
    bench.call("PATCH", f"/crm/v3/objects/contacts/{contact}", {"properties": {"hs_buying_role": "OTHER"}})
    assert bench.call("PATCH", f"/crm/v3/objects/contacts/{contact}", {"properties": {name: sent}}).status == 200
    assert bench.read(contact, name)[name] == stored


def test_numbers_and_booleans_of_json_become_text(bench: Bench, contact: str) -> None:
    """All values are text, whatever was sent; null is not a value."""
    properties = {"associatedcompanyid": 12, "vip": True, "city": 7.5}
    reply = bench.call("PATCH", f"/crm/v3/objects/contacts/{contact}", {"properties": properties}, documented=False)
    assert reply.status == 200
    shown = bench.read(contact, "associatedcompanyid", "vip", "city")
    assert [shown[name] for name in properties] == ["12", "true", "7.5"]
    assert bench.call("PATCH", f"/crm/v3/objects/contacts/{contact}", {"properties": {"city": None}}).status == 400


def test_an_empty_text_clears_and_null_is_not_absent(bench: Bench, contact: str) -> None:
    """A cleared property is "" in the answer to the update and null in a read; an unknown one is not shown at all."""
    reply = bench.call("PATCH", f"/crm/v3/objects/contacts/{contact}", {"properties": {"hs_lead_status": ""}})
    assert reply.json["properties"]["hs_lead_status"] == ""
    shown = bench.read(contact, "hs_lead_status", "misspelt")
    assert shown["hs_lead_status"] is None
    assert "misspelt" not in shown
    assert "hs_lead_status" not in bench.portal.truth().live["contacts"][contact]


def test_an_update_answers_with_some_properties_only(bench: Bench, contact: str) -> None:
    """What is missing in an update's answer has not been cleared."""
    reply = bench.call("PATCH", f"/crm/v3/objects/contacts/{contact}", {"properties": {"firstname": "Ada"}})
    assert "email" not in reply.json["properties"]
    assert bench.read(contact, "email")["email"] == "ada@corp.example"


def test_the_lifecycle_moves_forward_only(bench: Bench, contact: str) -> None:
    """A stage that would go back is left alone without a word, in the same answer as real changes; cleared, it can be anything."""

    def write(stage: str) -> str | None:
        body = {"properties": {"lifecyclestage": stage, "firstname": stage or "none"}}
        assert bench.call("PATCH", f"/crm/v3/objects/contacts/{contact}", body).status == 200
        shown = bench.read(contact, "lifecyclestage", "firstname")
        assert shown["firstname"] == (stage or "none")
        value: str | None = shown["lifecyclestage"]
        return value

    assert [write(stage) for stage in ("customer", "lead", "evangelist", "", "lead")] == [
        *("customer", "customer", "evangelist", None, "lead"),
    ]


@pytest.mark.parametrize("changes", [{"firstname": "Ada"}, {"hs_lead_status": "NEW"}, {}])
def test_every_write_moves_the_modified_time(changes: dict[str, str], bench: Bench, contact: str) -> None:
    """Even one that changes nothing; an account may be told to be kinder than that."""
    path = f"/crm/v3/objects/contacts/{contact}"
    bench.now_s += 0.25
    assert bench.call("PATCH", path, {"properties": changes}).json["updatedAt"] == "2026-01-01T00:00:00.250Z"
    kind = Bench(touch_same_value=False)
    quiet = kind.create(email="ada@corp.example", hs_lead_status="NEW")
    kind.now_s += 0.25
    kind.call("PATCH", f"/crm/v3/objects/contacts/{quiet}", {"properties": changes})
    moved = kind.read(quiet)["lastmodifieddate"] == "2026-01-01T00:00:00.250Z"
    assert moved is ("firstname" in changes)


def test_contacts_and_leads_name_their_modified_time_differently(bench: Bench, contact: str) -> None:
    """``lastmodifieddate`` on contacts, ``hs_lastmodifieddate`` on leads; the other one is empty or not there."""
    lead = bench.lead(contact)
    assert bench.read(contact, "hs_lastmodifieddate") == {
        "createdate": "2026-01-01T00:00:00.000Z",
        "hs_lastmodifieddate": None,
        "hs_object_id": contact,
        "lastmodifieddate": "2026-01-01T00:00:00.000Z",
    }
    assert "lastmodifieddate" not in bench.read(lead, "lastmodifieddate", kind="leads")


def test_an_address_belongs_to_one_contact(bench: Bench, contact: str) -> None:
    """A second contact with it is refused with 409, in any case; the id stands in the text alone. Freed by deletion."""
    other = bench.create(email="ben@corp.example")
    for method, path in (("POST", "/crm/v3/objects/contacts"), ("PATCH", f"/crm/v3/objects/contacts/{other}")):
        reply = bench.call(method, path, {"properties": {"email": "ADA@corp.example"}})
        assert (reply.status, reply.json["category"]) == (409, "CONFLICT")
        assert reply.json["message"] == f"Contact already exists. Existing ID: {contact}"
    bench.call("DELETE", f"/crm/v3/objects/contacts/{contact}")
    assert bench.create(email="ada@corp.example") != contact


def test_an_own_unique_property_conflicts_with_400(bench: Bench) -> None:
    """The other kind of conflict: ``CONFLICTING_UNIQUE_VALUE`` inside a validation error, with the holder in the text."""
    bench.portal.add_property("contacts", "bridge_lead_id", unique=True)
    first = bench.create(firstname="A", bridge_lead_id="L-1")
    reply = bench.call("POST", "/crm/v3/objects/contacts", {"properties": {"firstname": "B", "bridge_lead_id": "L-1"}})
    assert (reply.status, reply.json["category"]) == (400, "VALIDATION_ERROR")
    assert reply.json["errors"][0]["code"] == "CONFLICTING_UNIQUE_VALUE"
    assert "CONFLICTING_UNIQUE_VALUE" in reply.json["message"]
    assert f"{first} already has that value" in reply.json["message"]


@pytest.mark.parametrize(
    ("name", "value"),
    [("email", "Ada@Corp.Example"), ("bridge_lead_id", "L-1"), ("hs_object_id", "")],
)
def test_a_record_is_found_by_unique_property(name: str, value: str, bench: Bench) -> None:
    """Read and update take ``idProperty``: the address, an own unique property, or the id itself."""
    bench.portal.add_property("contacts", "bridge_lead_id", unique=True)
    record = bench.create(email="ada@corp.example", bridge_lead_id="L-1")
    path = f"/crm/v3/objects/contacts/{value or record}?idProperty={name}"
    assert bench.call("GET", path).json["id"] == record
    assert bench.call("PATCH", path, {"properties": {"city": "Leeds"}}).json["id"] == record
    missing = bench.call("PATCH", f"/crm/v3/objects/contacts/none?idProperty={name}", {"properties": {"city": "Leeds"}})
    assert (missing.status, missing.json["category"]) == (404, "OBJECT_NOT_FOUND")


def test_a_property_without_unique_values_identifies_nothing(bench: Bench) -> None:
    """``idProperty=city`` is a 400, not a 404."""
    assert bench.call("GET", "/crm/v3/objects/contacts/Leeds?idProperty=city").status == 400


def test_what_is_not_there_is_a_page_or_json(bench: Bench) -> None:
    """A read of one record answers 404 with HTML, as recorded; an account may be set to the documented JSON."""
    reply = bench.call("GET", "/crm/v3/objects/contacts/1")
    assert (reply.status, reply.json, reply.headers["x-hubspot-notfound"]) == (404, None, "true")
    told = Bench(html_not_found=False).call("GET", "/crm/v3/objects/contacts/1")
    assert (told.status, told.json["category"], "x-hubspot-notfound" in told.headers) == (
        404,
        "OBJECT_NOT_FOUND",
        False,
    )


def test_a_contact_needs_a_name_or_an_address(bench: Bench) -> None:
    """At least one of email, firstname, lastname."""
    assert bench.call("POST", "/crm/v3/objects/contacts", {"properties": {"city": "Leeds"}}).status == 400


def lead_bodies(contact: str) -> list[tuple[str, dict[str, Any]]]:
    """Leads that cannot be created, each with what is wrong."""
    named = {"hs_lead_name": "A lead"}
    return [
        ("no name", {"properties": {"hs_lead_label": "HOT"}, "associations": [primary(contact)]}),
        ("no association", {"properties": named}),
        ("contact that is not there", {"properties": named, "associations": [primary("1")]}),
        ("type of another pair", {"properties": named, "associations": [primary(contact, 580)]}),
        ("type of the way back", {"properties": named, "associations": [primary(contact, 579)]}),
        (
            "stage of no pipeline",
            {"properties": {**named, "hs_pipeline_stage": "new"}, "associations": [primary(contact)]},
        ),
    ]


@pytest.mark.parametrize("number", range(6))
def test_a_lead_needs_a_name_and_an_existing_contact(number: int, bench: Bench, contact: str) -> None:
    """Whatever is missing, the lead is not created."""
    _, body = lead_bodies(contact)[number]
    assert bench.call("POST", "/crm/v3/objects/leads", body).status == 400
    assert not bench.portal.truth().live["leads"]


def test_a_lead_s_outcome_follows_its_stage(bench: Bench, contact: str) -> None:
    """Qualified and disqualified stages set the read-only outcomes; a new lead is open in the first stage of the pipeline."""
    lead = bench.lead(contact)
    outcomes = "hs_lead_is_open", "hs_lead_is_qualified", "hs_lead_is_disqualified"

    def shown() -> list[str]:
        told = bench.read(lead, "hs_pipeline_stage", *outcomes, kind="leads")
        return [told["hs_pipeline_stage"], *(told[name] for name in outcomes)]

    assert shown() == ["new-stage-id", "true", "false", "false"]
    for stage, expected in (
        ("qualified-stage-id", ["false", "true", "false"]),
        ("unqualified-stage-id", ["false", "false", "true"]),
    ):
        properties = {"hs_pipeline_stage": stage}
        assert bench.call("PATCH", f"/crm/v3/objects/leads/{lead}", {"properties": properties}).status == 200
        assert shown() == [stage, *expected]


@pytest.mark.parametrize("count", [0, 6, 7])
def test_the_list_goes_by_id_and_the_cursor_is_an_id(count: int, bench: Bench) -> None:
    """Pages of 100 at most, in the order of ids, each beginning where ``after`` says; the last one has no ``paging``."""
    made = sorted((bench.create(firstname=str(number)) for number in range(count)), key=int)
    seen: list[str] = []
    after, pages = "0", 0
    while after:
        pages += 1
        page = bench.call("GET", f"/crm/v3/objects/contacts?limit=3&after={after}")
        seen += ids(page)
        after = page.json.get("paging", {}).get("next", {}).get("after", "")
    assert seen == made
    assert pages == max(1, -(-count // 3))
    for query in (
        "limit=101",
        "limit=0",
        "limit=x",
        "after=x",
        "archived=maybe",
        "limit=51&propertiesWithHistory=email",
    ):
        assert bench.call("GET", f"/crm/v3/objects/contacts?{query}").status == 400


def test_later_records_may_have_smaller_ids() -> None:
    """As in the recorded answers, ids do not grow with time; an account may be set to do so."""
    bench = Bench()
    made = [int(bench.create(firstname=str(number))) for number in range(20)]
    assert made != sorted(made)
    orderly = Bench(ids_out_of_order=False)
    made = [int(orderly.create(firstname=str(number))) for number in range(20)]
    assert made == sorted(made)


def test_history_shows_who_wrote_what_when(bench: Bench, contact: str) -> None:
    """Newest first, with the source of each value: the app's id, or the person's."""
    bench.now_s += 1
    bench.portal.person.edit(contact, {"hs_lead_status": "OPEN"})
    reply = bench.call("GET", f"/crm/v3/objects/contacts/{contact}?propertiesWithHistory=hs_lead_status")
    values = reply.json["propertiesWithHistory"]["hs_lead_status"]
    assert [(each["value"], each["sourceType"]) for each in values] == [("OPEN", "CRM_UI"), ("NEW", "INTEGRATION")]


def test_both_path_styles_and_all_spellings_mean_the_same(bench: Bench, contact: str) -> None:
    """Version 3, dated versions, names and type ids."""
    for path in (
        "v3/objects/contacts",
        "v3/objects/CONTACT",
        "v3/objects/0-1",
        "objects/2026-03/contacts",
        "objects/2026-09/0-1",
    ):
        assert bench.call("GET", f"/crm/{path}/{contact}").json["id"] == contact
    assert bench.call("GET", f"/crm/v3/objects/dragons/{contact}").status == 400
    assert bench.call("GET", "/crm/v3/nothing").status == 404


def test_validation_rules_bind_from_version_2026_09_on(bench: Bench, contact: str) -> None:
    """A property that the administrator requires is asked for by the new version only."""
    bench.portal.require("contacts", "city")
    for version, status in (("v3/objects", 200), ("objects/2026-03", 200), ("objects/2026-09", 400)):
        reply = bench.call("PATCH", f"/crm/{version}/contacts/{contact}", {"properties": {"firstname": "A"}})
        assert reply.status == status
        if status == 400:
            assert reply.json["errors"][0]["code"] == "MISSING_REQUIRED_PROPERTY"


def test_a_uri_can_be_too_long(bench: Bench) -> None:
    """414; batch read is the way to many properties."""
    assert bench.call("GET", f"/crm/v3/objects/contacts?properties={'x' * 9000}").status == 414


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"properties":[]}'])
def test_a_body_that_is_not_what_it_should_be(body: bytes, bench: Bench) -> None:
    """Bad JSON is 400, another media type 415, and neither is a failure of the sandbox."""
    headers = {"authorization": f"Bearer {bench.token}", "content-type": "application/json"}
    assert bench.portal.handle("POST", "/crm/v3/objects/contacts", headers, body).status == 400
    headers["content-type"] = "text/plain"
    assert bench.portal.handle("POST", "/crm/v3/objects/contacts", headers, body).status == 415
