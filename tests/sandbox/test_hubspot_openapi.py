"""The sandbox against the OpenAPI documents: long sessions, every exchange of which is checked."""

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest

from tests.sandbox.bench import Bench, primary
from tests.sandbox.openapi import Undocumented, check_answer, check_request, operation_of

STYLES = "/crm/v3/objects/{0}", "/crm/objects/2026-03/{0}", "/crm/objects/2026-09/{0}"


@dataclass
class Session:
    """An account with something of everything, and the statuses of all calls so far."""

    bench: Bench
    ada: str
    ben: str
    firm: str
    lead: str
    statuses: list[int]

    def call(self, method: str, target: str, body: Any = None, *, form: str | None = None) -> None:
        """Call; the bench checks the exchange."""
        self.statuses.append(self.bench.call(method, target, body, form=form).status)


@pytest.fixture
def session() -> Session:
    """An account with two contacts, a company and a lead, and a unique property."""
    bench = Bench(burst_per_10_s=10_000, search_per_s=1000)
    bench.portal.add_property("contacts", "bridge_lead_id", unique=True)
    ada, ben = bench.create(email="ada@corp.example"), bench.create(firstname="Ben")
    return Session(bench, ada, ben, bench.create("companies", name="Corp"), bench.lead(ada, hs_lead_label="WARM"), [])


def test_records_of_every_type_and_spelling_keep_to_the_documents(session: Session) -> None:
    """Reads, lists, searches and writes of contacts, leads and companies, in all path styles."""
    call, ada, lead = session.call, session.ada, session.lead
    for name, record in (
        ("contacts", ada),
        ("leads", lead),
        ("companies", session.firm),
        ("0-1", ada),
        ("0-136", lead),
    ):
        for style in STYLES:
            base = style.format(name)
            call("GET", f"{base}?limit=1&properties=hs_object_id&associations=contacts")
            call("GET", f"{base}?archived=true")
            call("GET", f"{base}?limit=1&propertiesWithHistory=hs_pipeline")
            call("GET", f"{base}/{record}?propertiesWithHistory=hs_pipeline&associations=leads,contacts,companies")
            call("GET", f"{base}/1")
            call("PATCH", f"{base}/{record}", {"properties": {"hubspot_owner_id": "77"}})
            call("PATCH", f"{base}/{record}", {"properties": {"nope": "1"}})
            call("POST", f"{base}/search", {"limit": 1})
            call("POST", f"{base}/search", {"sorts": [{"propertyName": "hs_object_id"}, {"propertyName": "x"}]})
            call("POST", f"{base}/batch/read", {"inputs": [{"id": record}, {"id": "1"}], "properties": ["hs_pipeline"]})
            call("POST", f"{base}/batch/update", {"inputs": [{"id": record, "properties": {"hubspot_owner_id": "78"}}]})
            call("POST", f"{base}/batch/archive", {"inputs": [{"id": "1"}]})
    assert Counter(session.statuses) == {200: 5 * 3 * 7, 204: 15, 207: 15, 400: 30, 404: 15}


def test_creates_upserts_merges_and_erasures_keep_to_the_documents(session: Session) -> None:
    """Good and bad ones, with and without trace ids."""
    call = session.call
    for traced in ({"objectWriteTraceId": "op-1"}, {}):
        call(
            "POST", "/crm/v3/objects/contacts/batch/create", {"inputs": [{"properties": {"firstname": "C"}, **traced}]}
        )
        call("POST", "/crm/v3/objects/contacts/batch/create", {"inputs": [{"properties": {"email": "x"}, **traced}]})
        upsert = {"idProperty": "bridge_lead_id", "id": f"L-{len(traced)}", "properties": {"firstname": "D"}, **traced}
        call("POST", "/crm/v3/objects/contacts/batch/upsert", {"inputs": [upsert]})
        call("POST", "/crm/v3/objects/contacts/batch/upsert", {"inputs": [{**upsert, "properties": {"nope": "1"}}]})
    call("POST", "/crm/v3/objects/contacts", {"properties": {"email": "ada@corp.example"}})
    call("POST", "/crm/v3/objects/contacts/merge", {"primaryObjectId": session.ada, "objectIdToMerge": session.ben})
    call("GET", f"/crm/v3/objects/contacts/{session.ada}")
    call("POST", "/crm/v3/objects/contacts/gdpr-delete", {"objectId": "gone@corp.example", "idProperty": "email"})
    call("DELETE", f"/crm/v3/objects/contacts/{session.ada}")
    assert session.statuses == [201, 207, 200, 207, 201, 400, 200, 400, 409, 200, 200, 204, 204]


def test_associations_keep_to_the_documents(session: Session) -> None:
    """Version 4: one pair, the default one, batches, from both ends."""
    call, lead = session.call, session.lead
    for link in (f"/crm/v4/objects/contacts/{session.ada}/associations", f"/crm/v4/objects/leads/{lead}/associations"):
        call("GET", f"{link}/companies")
        call("PUT", f"{link}/default/companies/{session.firm}")
        call("GET", f"{link}/companies?limit=1")
    types = primary(session.ben)["types"]
    call("PUT", f"/crm/v4/objects/leads/{lead}/associations/contacts/{session.ben}", types)
    call("POST", "/crm/v4/associations/leads/contacts/batch/read", {"inputs": [{"id": lead}, {"id": "1"}]})
    pair = {"from": {"id": lead}, "to": {"id": session.ada}, "types": types}
    call("POST", "/crm/v4/associations/leads/contacts/batch/create", {"inputs": [pair]})
    cut = {"from": {"id": lead}, "to": [{"id": session.ben}]}
    call("POST", "/crm/v4/associations/leads/contacts/batch/archive", {"inputs": [cut]})
    call("DELETE", f"/crm/v4/objects/leads/{lead}/associations/companies/{session.firm}")
    assert session.statuses == [200, 200, 200, 200, 200, 200, 201, 207, 201, 204, 204]


def test_the_account_s_settings_keep_to_the_documents(session: Session) -> None:
    """Definitions, pipelines and stages, owners."""
    call = session.call
    for kind in ("contacts", "leads", "companies"):
        call("GET", f"/crm/v3/properties/{kind}")
        call("GET", f"/crm/v3/pipelines/{kind}")
    definition = {
        "name": "tier",
        "label": "Tier",
        "type": "string",
        "fieldType": "text",
        "groupName": "contactinformation",
    }
    call("POST", "/crm/v3/properties/contacts", definition)
    call("GET", "/crm/v3/properties/contacts/tier")
    call("PATCH", "/crm/v3/properties/contacts/tier", {"label": "Level"})
    call("DELETE", "/crm/v3/properties/contacts/tier")
    call("GET", "/crm/v3/properties/contacts?archived=true")
    for rest in ("", "/stages", "/stages/new-stage-id"):
        call("GET", f"/crm/v3/pipelines/leads/lead-pipeline-id{rest}")
    for rest in ("", "?limit=2", "?archived=true", "?email=ada.keller@sales.example", "/77", "/1077?idProperty=userId"):
        call("GET", f"/crm/v3/owners{rest}")
    assert Counter(session.statuses) == {200: 18, 201: 1, 204: 1}
    session.statuses.clear()
    call("POST", "/crm/v3/properties/contacts", {**definition, "name": "email"})
    call("GET", "/crm/v3/properties/contacts/nope")
    call("GET", "/crm/v3/pipelines/leads/lead-pipeline-id/stages/nope")
    assert session.statuses == [409, 404, 404]


def test_sign_in_keeps_to_the_documents(session: Session) -> None:
    """Token, token information, revocation, and what is answered to a stranger."""
    session.bench.portal.tokens.oauth_app("CID", "SEC", "RT")
    for secret in ("SEC", "wrong"):
        form = f"grant_type=refresh_token&client_id=CID&client_secret={secret}&refresh_token=RT"
        session.call("POST", "/oauth/v1/token", form=form)
    session.call("GET", "/oauth/v1/access-tokens/CAT-sandbox-99-1")
    session.call("GET", "/oauth/v1/refresh-tokens/RT")
    session.call("DELETE", "/oauth/v1/refresh-tokens/RT")
    session.call("GET", "/oauth/v1/refresh-tokens/RT")
    session.bench.token = "unknown"
    session.call("GET", "/crm/v3/objects/contacts")
    assert session.statuses == [200, 400, 200, 200, 204, 404, 401]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/crm/v3/objects/contacts"),
        ("POST", "/crm/objects/2026-09/leads/batch/upsert"),
        ("POST", "/oauth/2026-09/token"),
        ("POST", "/crm/v4/associations/leads/contacts/batch/read"),
    ],
)
def test_the_checker_knows_the_operation(method: str, path: str) -> None:
    """No exchange passes unchecked because its path was not recognised."""
    assert operation_of(method, path) is not None


def test_the_checker_refuses_what_the_documents_refuse() -> None:
    """It sees a page limit beyond 100, an operator that does not exist, an answer without ``createdAt``, an unknown status."""
    with pytest.raises(Undocumented, match="limit"):
        check_request("GET", "/crm/v3/objects/contacts?limit=101", "application/json", b"")
    bad = {"filterGroups": [{"filters": [{"propertyName": "email", "operator": "SINCE"}]}]}
    with pytest.raises(Undocumented, match="SINCE"):
        check_request("POST", "/crm/v3/objects/leads/search", "application/json", json.dumps(bad).encode())
    body = b'{"id":"1","properties":{},"updatedAt":"2026-01-01T00:00:00.000Z"}'
    with pytest.raises(Undocumented, match="createdAt"):
        check_answer("GET", "/crm/v3/objects/contacts/1", 200, "application/json", body)
    with pytest.raises(Undocumented, match="203"):
        check_answer("GET", "/crm/v3/objects/contacts/1", 203, "application/json", body)
