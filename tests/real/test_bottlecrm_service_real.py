"""The CRM that scripts/bottlecrm runs is the one that the other tests believe in: two organisations, apart from each other."""

from __future__ import annotations

import uuid
from typing import Any

import httpx


def signed_in(passport: dict[str, Any], organisation: str) -> httpx.Client:
    """Give a client that speaks as the bridge does: with an organisation's access token."""
    return httpx.Client(
        base_url=passport["address"],
        headers={"Authorization": f"Bearer {passport['organisations'][organisation]['token']}"},
        timeout=30,
    )


def listed(client: httpx.Client) -> set[str]:
    """Give the ids of all leads that the list shows, open or closed."""
    page = client.get("/api/leads/", params={"limit": 100_000}).raise_for_status().json()
    return {lead["id"] for kind in ("open_leads", "close_leads") for lead in page[kind][kind]}


def test_each_organisation_sees_its_own_leads_alone(bottlecrm: dict[str, Any]) -> None:
    """A lead made with one organisation's token is in its list; the other neither lists it nor finds it by its id."""
    mark = uuid.uuid4().hex
    with signed_in(bottlecrm, "acme") as acme, signed_in(bottlecrm, "globex") as globex:
        made = acme.post("/api/leads/", json={"first_name": mark, "email": f"{mark}@people.example"}).raise_for_status()
        lead = made.json()["id"]
        assert lead in listed(acme)
        assert lead not in listed(globex)
        assert globex.get(f"/api/leads/{lead}/").status_code == 404
        assert acme.delete(f"/api/leads/{lead}/").is_success
        assert lead not in listed(acme)


def test_a_wrong_token_is_answered_as_a_missing_right_is(bottlecrm: dict[str, Any]) -> None:
    """The API says 403 where others say 401: a declaration of it must tell the two apart by the text."""
    answer = httpx.get(f"{bottlecrm['address']}/api/leads/", headers={"Authorization": "Bearer nobody"}, timeout=30)
    assert answer.status_code == 403
    assert answer.json() == {"detail": "Organization context is required. Please login again."}
