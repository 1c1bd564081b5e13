"""The sandbox against the OpenAPI documents: a long session, every exchange of which is checked."""

import json

import pytest

from tests.sandbox.bench import Bench, primary
from tests.sandbox.openapi import Undocumented, check_answer, check_request, operation_of

TWICE = "/crm/v3/objects/{0}", "/crm/objects/2026-03/{0}", "/crm/objects/2026-09/{0}"


def test_a_long_session_keeps_to_the_documents() -> None:
    """Whatever the sandbox accepts or answers over its whole width is what the documents say."""
    bench = Bench(burst_per_10_s=10_000, search_per_s=1000)
    portal = bench.portal
    statuses: list[int] = []

    def call(*given: object, **more: object) -> None:
        statuses.append(bench.call(*given, **more).status)  # type: ignore[arg-type]

    portal.add_property("contacts", "bridge_lead_id", unique=True)
    ada, ben, firm = (
        bench.create(email="ada@corp.example"),
        bench.create(firstname="Ben"),
        bench.create("companies", name="Corp"),
    )
    lead = bench.lead(ada, hs_lead_label="WARM")
    for name, record in (("contacts", ada), ("leads", lead), ("companies", firm), ("0-1", ada), ("0-136", lead)):
        for style in TWICE:
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
    for trace in ("op-1", None):
        traced = {"objectWriteTraceId": trace} if trace else {}
        call(
            "POST", "/crm/v3/objects/contacts/batch/create", {"inputs": [{"properties": {"firstname": "C"}, **traced}]}
        )
        call("POST", "/crm/v3/objects/contacts/batch/create", {"inputs": [{"properties": {"email": "x"}, **traced}]})
        upsert = {"idProperty": "bridge_lead_id", "id": f"L-{trace}", "properties": {"firstname": "D"}, **traced}
        call("POST", "/crm/v3/objects/contacts/batch/upsert", {"inputs": [upsert]})
        call("POST", "/crm/v3/objects/contacts/batch/upsert", {"inputs": [{**upsert, "properties": {"nope": "1"}}]})
    for link in (f"/crm/v4/objects/contacts/{ada}/associations", f"/crm/v4/objects/leads/{lead}/associations"):
        call("GET", f"{link}/companies")
        call("PUT", f"{link}/default/companies/{firm}")
        call("GET", f"{link}/companies?limit=1")
    types = primary(ben)["types"]
    call("PUT", f"/crm/v4/objects/leads/{lead}/associations/contacts/{ben}", types)
    call("POST", "/crm/v4/associations/leads/contacts/batch/read", {"inputs": [{"id": lead}, {"id": "1"}]})
    pair = {"from": {"id": lead}, "to": {"id": ada}, "types": types}
    call("POST", "/crm/v4/associations/leads/contacts/batch/create", {"inputs": [pair]})
    call(
        "POST",
        "/crm/v4/associations/leads/contacts/batch/archive",
        {"inputs": [{"from": {"id": lead}, "to": [{"id": ben}]}]},
    )
    call("DELETE", f"/crm/v4/objects/leads/{lead}/associations/companies/{firm}")
    for kind in ("contacts", "leads", "companies"):
        call("GET", f"/crm/v3/properties/{kind}")
        call("GET", f"/crm/v3/properties/{kind}?archived=true")
        call("GET", f"/crm/v3/properties/{kind}/nope")
        call("GET", f"/crm/v3/pipelines/{kind}")
    definition = {
        "name": "tier",
        "label": "Tier",
        "type": "string",
        "fieldType": "text",
        "groupName": "contactinformation",
    }
    call("POST", "/crm/v3/properties/contacts", definition)
    call("POST", "/crm/v3/properties/contacts", definition)
    call("GET", "/crm/v3/properties/contacts/tier")
    call("PATCH", "/crm/v3/properties/contacts/tier", {"label": "Level"})
    call("DELETE", "/crm/v3/properties/contacts/tier")
    call("GET", "/crm/v3/pipelines/leads/lead-pipeline-id")
    call("GET", "/crm/v3/pipelines/leads/lead-pipeline-id/stages")
    call("GET", "/crm/v3/pipelines/leads/lead-pipeline-id/stages/new-stage-id")
    call("GET", "/crm/v3/pipelines/leads/lead-pipeline-id/stages/nope")
    for query in ("", "?limit=2", "?archived=true", "?email=ada.keller@sales.example"):
        call("GET", f"/crm/v3/owners{query}")
    call("GET", "/crm/v3/owners/77")
    call("GET", "/crm/v3/owners/1077?idProperty=userId")
    call("POST", "/crm/v3/objects/contacts/merge", {"primaryObjectId": ada, "objectIdToMerge": ben})
    call("GET", f"/crm/v3/objects/contacts/{ada}")
    call("POST", "/crm/v3/objects/contacts/gdpr-delete", {"objectId": "gone@corp.example", "idProperty": "email"})
    call("DELETE", f"/crm/v3/objects/contacts/{ada}")
    portal.tokens.oauth_app("CID", "SEC", "RT")
    for secret in ("SEC", "wrong"):
        call(
            "POST",
            "/oauth/v1/token",
            form=f"grant_type=refresh_token&client_id=CID&client_secret={secret}&refresh_token=RT",
        )
    call("GET", "/oauth/v1/access-tokens/CAT-sandbox-99-1")
    call("GET", "/oauth/v1/refresh-tokens/RT")
    call("DELETE", "/oauth/v1/refresh-tokens/RT")
    bench.token = "unknown"
    call("GET", "/crm/v3/objects/contacts")
    assert {200, 201, 204, 207, 400, 401, 404, 409} <= set(statuses)
    assert len(statuses) > 200


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
