"""Credentials, scopes, definitions and limits: who may do what, and how often."""

from typing import Any

import pytest

from sales_crm_bridge.sandbox.hubspot import ALL_SCOPES
from tests.sandbox.bench import Bench

LIST = "/crm/v3/objects/contacts"
REFRESH = "grant_type=refresh_token&client_id=CID&client_secret=SEC&refresh_token=RT"
ENDPOINTS = "/oauth/v1/token", "/oauth/v3/token", "/oauth/2026-09/token"


@pytest.fixture
def oauth(bench: Bench) -> Bench:
    """An account with an OAuth app."""
    bench.portal.tokens.oauth_app("CID", "SEC", "RT", scopes=["oauth", "crm.objects.contacts.read"])
    return bench


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_a_refresh_token_buys_half_an_hour(endpoint: str, oauth: Bench) -> None:
    """All three paths answer alike; the token works for 1800 s, then it is a 401 that says how long ago it expired."""
    granted = oauth.call("POST", endpoint, form=REFRESH)
    assert granted.status == 200
    assert granted.json | {"access_token": ""} == {
        "token_type": "bearer",
        "access_token": "",
        "refresh_token": "RT",
        "expires_in": 1800,
        "hub_id": 4242,
        "scopes": ["crm.objects.contacts.read", "oauth"],
    }
    oauth.token = granted.json["access_token"]
    oauth.now_s += 1799.9
    assert oauth.call("GET", LIST).status == 200
    oauth.now_s += 3.1
    late = oauth.call("GET", LIST)
    assert (late.status, late.json["category"]) == (401, "EXPIRED_AUTHENTICATION")
    assert "expired 3 second(s) ago" in late.json["message"]


FORMS = [
    ("refresh token", REFRESH.replace("=RT", "=old"), "BAD_REFRESH_TOKEN"),
    ("secret", REFRESH.replace("=SEC", "=x"), "BAD_CLIENT_SECRET"),
    ("client", REFRESH.replace("=CID", "=x"), "BAD_CLIENT_ID"),
    ("grant type", REFRESH.replace("grant_type=refresh_token", "grant_type=password"), "BAD_GRANT_TYPE"),
]


@pytest.mark.parametrize(("form", "status"), [each[1:] for each in FORMS], ids=[each[0] for each in FORMS])
def test_bad_credentials_are_named(form: str, status: str, oauth: Bench) -> None:
    """400 in the token endpoint's own words."""
    reply = oauth.call("POST", ENDPOINTS[0], form=form)
    assert (reply.status, reply.json["status"]) == (400, status)
    assert {"message", "error", "error_description"} <= set(reply.json)


def test_the_token_endpoint_takes_forms_only(oauth: Bench) -> None:
    """JSON is another media type."""
    reply = oauth.call("POST", ENDPOINTS[0], {"grant_type": "refresh_token"})
    assert reply.status == 415


def test_refresh_tokens_can_rotate() -> None:
    """Then each works once, and the next one is in the answer."""
    bench = Bench(rotate_refresh_tokens=True)
    bench.portal.tokens.oauth_app("CID", "SEC", "RT")
    granted = bench.call("POST", ENDPOINTS[0], form=REFRESH)
    second = granted.json["refresh_token"]
    assert second != "RT"
    assert bench.call("POST", ENDPOINTS[0], form=REFRESH).json["status"] == "BAD_REFRESH_TOKEN"
    assert bench.call("POST", ENDPOINTS[0], form=REFRESH.replace("=RT", f"={second}")).status == 200


def test_a_token_can_end_before_its_time(oauth: Bench) -> None:
    """Revoked or expired all at once: 401 although ``expires_in`` promised more; a static token stays."""
    tokens = [oauth.call("POST", ENDPOINTS[0], form=REFRESH).json["access_token"] for _ in range(2)]
    oauth.portal.tokens.revoke(tokens[0])
    statuses = []
    for token in (*tokens, "pat-na1-sandbox"):
        oauth.token = token
        statuses.append(oauth.call("GET", LIST).status)
    assert statuses == [401, 200, 200]
    oauth.portal.tokens.expire_all()
    oauth.token = tokens[1]
    assert oauth.call("GET", LIST).status == 401
    assert oauth.call("GET", f"/oauth/v1/access-tokens/{tokens[1]}").status == 404
    oauth.call("DELETE", "/oauth/v1/refresh-tokens/RT")
    assert oauth.call("POST", ENDPOINTS[0], form=REFRESH).json["status"] == "BAD_REFRESH_TOKEN"


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer unknown", "Basic cGF0", "pat-na1-sandbox"])
def test_without_a_good_token_nothing_is_answered(header: str, bench: Bench) -> None:
    """401, without limit headers, and no limit is used up."""
    reply = bench.call("GET", LIST, headers={"authorization": header})
    assert (reply.status, reply.json["category"]) == (401, "INVALID_AUTHENTICATION")
    assert not [name for name in reply.headers if name.startswith("x-hubspot-ratelimit")]


CALLS: list[tuple[str, str, Any, str]] = [
    ("GET", LIST, None, "crm.objects.contacts.read"),
    ("POST", f"{LIST}/search", {}, "crm.objects.contacts.read"),
    ("POST", f"{LIST}/batch/read", {"inputs": []}, "crm.objects.contacts.read"),
    ("POST", LIST, {"properties": {"firstname": "A"}}, "crm.objects.contacts.write"),
    ("POST", f"{LIST}/batch/upsert", {"inputs": []}, "crm.objects.contacts.write"),
    ("GET", "/crm/v3/objects/leads", None, "crm.objects.leads.read"),
    ("POST", "/crm/v3/objects/leads/batch/create", {"inputs": []}, "crm.objects.leads.write"),
    ("GET", "/crm/v3/pipelines/leads", None, "crm.objects.leads.read"),
    ("GET", "/crm/v3/owners", None, "crm.objects.owners.read"),
    ("GET", "/crm/v3/properties/contacts", None, "crm.schemas.contacts.read"),
    ("GET", "/crm/v3/properties/leads", None, "crm.objects.leads.read"),
]


@pytest.mark.parametrize(("method", "path", "body", "scope"), CALLS, ids=[f"{each[0]} {each[1]}" for each in CALLS])
def test_each_call_needs_its_scope(method: str, path: str, body: Any, scope: str, bench: Bench) -> None:
    """With the one scope the call is carried out, with all others and without that one it is a 403."""
    tokens = bench.portal.tokens
    bench.token = tokens.static("pat-with", scopes=[scope])
    assert bench.call(method, path, body).status < 300
    # Definitions are open to who may see the schema or the records.
    family = scope.replace("objects", "schemas"), scope.replace("schemas", "objects")
    bench.token = tokens.static("pat-without", scopes=[each for each in ALL_SCOPES if each not in family])
    reply = bench.call(method, path, body)
    assert reply.status == 403
    if "properties/contacts" not in path:
        assert reply.json["category"] == "MISSING_SCOPES"
        assert scope in reply.json["errors"][0]["context"]["requiredGranularScopes"]


def test_the_burst_window_rolls() -> None:
    """Ten seconds back from each call; a refused call costs nothing, and the headers count down."""
    bench = Bench(burst_per_10_s=3)
    left = []
    for _ in range(3):
        left.append(bench.call("GET", LIST).headers["x-hubspot-ratelimit-remaining"])
        bench.now_s += 2
    assert left == ["2", "1", "0"]
    for _ in range(2):
        over = bench.call("GET", LIST)
        assert (over.status, over.json["policyName"], over.json["errorType"]) == (
            429,
            "TEN_SECONDLY_ROLLING",
            "RATE_LIMIT",
        )
        assert over.headers["x-hubspot-ratelimit-remaining"] == "0"
        assert "retry-after" not in over.headers
        assert "category" not in over.json
    bench.now_s += 4
    assert bench.call("GET", LIST).status == 200
    assert bench.call("GET", LIST).status == 429


def test_search_has_a_limit_of_its_own_and_no_word_about_it() -> None:
    """Five a second for the whole account, not counted in the burst; its answers tell the day's numbers at most."""
    bench = Bench(burst_per_10_s=1)
    replies = [bench.search(kind=kind) for kind in ("contacts", "leads", "contacts", "companies", "leads", "contacts")]
    assert [each.status for each in replies] == [200] * 5 + [429]
    assert replies[5].json["policyName"] == "SECONDLY"
    assert {name for name in replies[0].headers if "ratelimit" in name} == {
        "x-hubspot-ratelimit-daily",
        "x-hubspot-ratelimit-daily-remaining",
    }
    assert bench.call("GET", LIST).status == 200
    bench.now_s += 1
    assert bench.search().status == 200
    quiet = Bench(search_daily_headers=False).search()
    assert not [name for name in quiet.headers if "ratelimit" in name]


def test_the_day_ends_at_the_account_s_midnight() -> None:
    """All private apps share it; used up, it is a 429 of its own until midnight in Berlin, an hour before UTC's."""
    bench = Bench(per_day=2)
    other = bench.portal.tokens.static("pat-other", app_id=5)
    assert bench.call("GET", LIST).headers["x-hubspot-ratelimit-daily-remaining"] == "1"
    bench.token = other
    assert bench.call("GET", LIST).headers["x-hubspot-ratelimit-daily-remaining"] == "0"
    assert bench.call("GET", LIST).json["policyName"] == "DAILY"
    bench.now_s += 23 * 3600 - 1
    assert bench.call("GET", LIST).json["policyName"] == "DAILY"
    bench.now_s += 1
    assert bench.call("GET", LIST).status == 200


def test_an_oauth_app_has_its_own_burst_and_no_day(oauth: Bench) -> None:
    """110 in ten seconds for each app, and no daily headers."""
    oauth.token = oauth.call("POST", ENDPOINTS[0], form=REFRESH).json["access_token"]
    reply = oauth.call("GET", LIST)
    assert reply.headers["x-hubspot-ratelimit-max"] == "110"
    assert not [name for name in reply.headers if "daily" in name]
    oauth.token = "pat-na1-sandbox"
    usage = oauth.call("GET", "/account-info/v3/api-usage/daily/private-apps")
    assert usage.json["results"][0]["currentUsage"] == 1


def test_a_moving_account_says_for_how_long(bench: Bench) -> None:
    """477 with whole seconds in ``Retry-After`` to every call, then all is as before."""
    bench.portal.move_account(90.5)
    for form in (None, REFRESH):
        reply = bench.call("POST" if form else "GET", ENDPOINTS[0] if form else LIST, form=form)
        assert (reply.status, reply.headers["retry-after"]) == (477, "91")
    bench.now_s += 90.5
    assert bench.call("GET", LIST).status == 200


def test_every_answer_tells_the_account_s_time(bench: Bench) -> None:
    """The ``Date`` header is from the clock that was handed in, on errors too."""
    bench.now_s += 61.9
    for path in (LIST, "/crm/v3/objects/contacts/1", "/nowhere"):
        assert bench.call("GET", path).headers["date"] == "Thu, 01 Jan 2026 00:01:01 GMT"


def test_the_account_says_who_it_is(bench: Bench) -> None:
    """Portal id, time zone and its offset, and the day's use until the next midnight."""
    details = bench.call("GET", "/account-info/v3/details").json
    assert (details["portalId"], details["timeZone"], details["utcOffset"]) == (4242, "Europe/Berlin", "+01:00")
    usage = bench.call("GET", "/account-info/v3/api-usage/daily/private-apps").json["results"][0]
    assert (usage["currentUsage"], usage["resetsAt"]) == (2, "2026-01-01T23:00:00.000Z")


PROPERTY = {"name": "tier", "label": "Tier", "type": "string", "fieldType": "text", "groupName": "contactinformation"}
REFUSED: list[tuple[str, dict[str, Any], int]] = [
    ("there already", {"name": "email"}, 409),
    ("bad name", {"name": "Tier 1"}, 400),
    ("no such type", {"type": "money"}, 400),
    ("field of another type", {"fieldType": "date"}, 400),
    ("no such group", {"groupName": "nope"}, 400),
    ("unique enumeration", {"type": "enumeration", "fieldType": "select", "hasUniqueValue": True}, 400),
]


@pytest.mark.parametrize(("change", "status"), [each[1:] for each in REFUSED], ids=[each[0] for each in REFUSED])
def test_a_property_that_cannot_be_created(change: dict[str, Any], status: int, bench: Bench) -> None:
    """409 for a name that is taken, 400 for the rest."""
    assert bench.call("POST", "/crm/v3/properties/contacts", {**PROPERTY, **change}).status == status


def test_uniqueness_is_decided_at_creation_for_ten_properties(bench: Bench) -> None:
    """The definition shows it, a later change does not touch it, an eleventh is refused; another object type has its own ten."""
    for number in range(10):
        body = {**PROPERTY, "name": f"key_{number}", "hasUniqueValue": True}
        assert bench.call("POST", "/crm/v3/properties/contacts", body).json["hasUniqueValue"] is True
    eleventh = {**PROPERTY, "name": "key_10", "hasUniqueValue": True}
    assert bench.call("POST", "/crm/v3/properties/contacts", eleventh).status == 400
    assert bench.call("POST", "/crm/v3/properties/leads", {**eleventh, "groupName": "lead_information"}).status == 201
    bench.call("POST", "/crm/v3/properties/contacts", PROPERTY)
    path = "/crm/v3/properties/contacts/tier"
    changed = bench.call("PATCH", path, {"label": "Level", "hasUniqueValue": True}, documented=False)
    assert (changed.json["label"], changed.json["hasUniqueValue"]) == ("Level", False)
    assert bench.call("DELETE", path).status == 204
    assert bench.call("GET", path).status == 404
    assert bench.call("GET", f"{path}?archived=true").json["archived"] is True
    assert bench.call("DELETE", "/crm/v3/properties/contacts/email").status == 400


def test_an_archived_property_is_out_of_sight_for_reads_and_writes(bench: Bench) -> None:
    """Asked for, it is left out without a word; written, it does not exist."""
    bench.portal.add_property("contacts", "tier")
    record = bench.create(firstname="Ada", tier="gold")
    assert bench.read(record, "tier")["tier"] == "gold"
    bench.portal.archive_property("contacts", "tier")
    assert "tier" not in bench.read(record, "firstname", "tier")
    reply = bench.call("PATCH", f"{LIST}/{record}", {"properties": {"tier": "tin"}})
    assert reply.json["errors"][0]["code"] == "PROPERTY_DOESNT_EXIST"


def test_owners_are_told_apart_by_id(bench: Bench) -> None:
    """``id`` is what a record holds; an archived owner has no ``userId``; pages go on by id."""
    first = bench.call("GET", "/crm/v3/owners?limit=2")
    assert [(each["id"], each["userId"]) for each in first.json["results"]] == [("77", 1077), ("78", 1078)]
    rest = bench.call("GET", f"/crm/v3/owners?limit=2&after={first.json['paging']['next']['after']}")
    assert [each["id"] for each in rest.json["results"]] == ["79"]
    (gone,) = bench.call("GET", "/crm/v3/owners?archived=true").json["results"]
    assert (gone["id"], gone["userId"], gone["userIdIncludingInactive"]) == ("80", None, 1080)
    assert bench.call("GET", "/crm/v3/owners/80").status == 404
    assert bench.call("GET", "/crm/v3/owners/1078?idProperty=userId").json["id"] == "78"
