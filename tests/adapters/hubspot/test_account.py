"""HubSpot: sign-in, the check, and the meaning of every status in its error tables."""

from typing import Any
from urllib.parse import parse_qs

import pytest

from sales_crm_bridge.errors import CrmUnavailable
from sales_crm_bridge.model import (
    Account,
    Answered,
    Category,
    Credentials,
    Effect,
    Quota,
    Secrets,
    SignInAgain,
    SignInRefused,
    Stop,
    TryAgain,
    Verdict,
)
from sales_crm_bridge.sandbox.hubspot import ALL_SCOPES
from tests.adapters.hubspot.talks import adapter, hold, reply
from tests.contract.world import Stopped
from tests.contract.worlds import HubSpotContacts, HubSpotLeads

OAUTH = {"client_id": "CID", "client_secret": "S&C", "refresh_token": "RT"}


def granted(**more: Any) -> dict[str, Any]:
    return {"token_type": "bearer", "access_token": "CAT", "expires_in": 1800, "hub_id": 4242, **more}


def test_a_static_token_needs_no_call() -> None:
    """A private app's token is the header; it does not expire."""
    signed, calls = hold(adapter().authenticate(Secrets(values={"token": "pat"}), {}, 0))
    assert calls == []
    assert signed == Credentials(headers=(("authorization", "Bearer pat"),))


def test_a_refresh_is_a_form_and_never_json() -> None:
    """The token endpoint takes a form; the token counts from when it was asked for, since nobody knows when it was made."""
    signed, (call,) = hold(adapter().authenticate(Secrets(values=OAUTH), {}, 0), reply(granted(refresh_token="RT")))
    assert (call.method, call.path, call.effect) == ("POST", "/oauth/v1/token", Effect.SIGN_IN)
    assert call.content_type == "application/x-www-form-urlencoded"
    assert parse_qs(call.body.decode()) == {"grant_type": ["refresh_token"]} | {k: [v] for k, v in OAUTH.items()}
    assert isinstance(signed, Credentials)
    assert signed.expires_us == 1_000_000 + 1800 * 1_000_000
    assert signed.keep == {}


def test_a_rotated_token_is_kept_until_a_person_gives_another() -> None:
    """The kept refresh token is used while the configured one is the one it came from, and not a moment longer."""
    ours = adapter()
    signed, _ = hold(ours.authenticate(Secrets(values=OAUTH), {}, 0), reply(granted(refresh_token="RT-2")))
    assert isinstance(signed, Credentials)
    keep = dict(signed.keep)
    assert "RT-2" not in repr(signed)
    again, (call,) = hold(ours.authenticate(Secrets(values=OAUTH), keep, 0), reply(granted()))
    assert parse_qs(call.body.decode())["refresh_token"] == ["RT-2"]
    assert isinstance(again, Credentials)
    assert dict(again.keep) == keep
    anew = Secrets(values=OAUTH | {"refresh_token": "RT-9"})
    _, (call,) = hold(ours.authenticate(anew, keep, 0), reply(granted()))
    assert parse_qs(call.body.decode())["refresh_token"] == ["RT-9"]


@pytest.mark.parametrize("version", ["v3", "2026-03", "2026-09"])
def test_the_version_is_one_setting(version: str) -> None:
    """Every path of a check follows the setting; before 2026-09 tokens come from v1."""
    ours = adapter(api_version=version)
    talk = ours.check()
    paths = [call.path for call in next(talk)]
    talk.close()
    wanted = ["/account-info/v3/details", "/crm/v3/properties/contacts", "/crm/v3/objects/contacts/batch/update"]
    if version != "v3":
        wanted = [f"/account-info/{version}/details", f"/crm/properties/{version}/contacts"]
        wanted += [f"/crm/objects/{version}/contacts/batch/update"]
    assert paths == wanted
    _, (call,) = hold(ours.authenticate(Secrets(values=OAUTH), {}, 0), reply(granted()))
    assert call.path == ("/oauth/2026-09/token" if version == "2026-09" else "/oauth/v1/token")


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (400, {"status": "BAD_REFRESH_TOKEN", "message": "missing or invalid refresh token"}, "BAD_REFRESH_TOKEN"),
        (400, {"status": "BAD_CLIENT_SECRET", "message": "x"}, "BAD_CLIENT_SECRET"),
        (401, "<html>", "HTTP_401"),
        (403, {"status": "error", "category": "BANNED"}, "BANNED"),
    ],
)
def test_consent_that_is_gone_is_refused(status: int, body: Any, code: str) -> None:
    """The token endpoint's refusal is a value with HubSpot's own word and what a person must do."""
    refused, _ = hold(adapter().authenticate(Secrets(values=OAUTH), {}, 0), reply(body, status))
    assert isinstance(refused, SignInRefused)
    assert refused.code == code
    assert "consent" in refused.remedy


@pytest.mark.parametrize("body", ["", "<html>", granted(expires_in=0), granted(access_token=""), {"access_token": "x"}])
def test_a_token_answer_that_makes_no_sense_is_no_sign_in(body: Any) -> None:
    """200 without a usable token: unavailable, and tried again."""
    with pytest.raises(CrmUnavailable):
        hold(adapter().authenticate(Secrets(values=OAUTH), {}, 0), reply(body))


# --- check ------------------------------------------------------------------------------------------------------------


def checked(world: HubSpotContacts) -> Account:
    return world.converse(world.adapter.check())


def codes(account: Account) -> list[str]:
    assert all(message and remedy for _, message, remedy in account.problems)
    return [code for code, _, _ in account.problems]


def test_a_key_property_that_is_missing_or_not_unique_is_a_problem() -> None:
    """Without a unique property for our key a repeated create could make a second record: the check says so, with the remedy."""
    world = HubSpotContacts()
    assert codes(checked(world)) == []
    world.adapter = world.entry.make({"key_property": "no_such"}, ("email",))
    assert codes(checked(world)) == ["hubspot.key-property-missing"]
    world.adapter = world.entry.make({"key_property": "company"}, ("email",))
    assert codes(checked(world)) == ["hubspot.key-property-not-unique"]
    world.adapter = world.entry.make({"portal_id": "1"}, ("email",))
    assert codes(checked(world)) == ["hubspot.other-account"]


def test_check_reads_the_days_budget_from_the_headers() -> None:
    """Private apps are told their daily limit and what is left; the least number told is the newest."""
    world = HubSpotContacts()
    world.secrets_now = {"token": "pat-na1-sandbox"}
    account = checked(world)
    assert account.account_id == "4242"
    assert account.calls_per_day == 625_000
    assert account.calls_left_day is not None
    assert 0 < account.calls_left_day < 625_000


def test_a_lead_objects_fields_are_its_own_and_its_contacts() -> None:
    """Stages and pipelines are the account's own; contact properties come with their prefix."""
    account = checked(HubSpotLeads())
    assert "qualified-stage-id" in account.fields["hs_pipeline_stage"].options
    assert "lead-pipeline-id" in account.fields["hs_pipeline"].options
    assert account.fields["contact.email"].writable
    assert "email" not in account.fields


@pytest.mark.parametrize("lacking", ["crm.objects.contacts.read", "crm.objects.contacts.write"])
def test_check_finds_a_missing_scope_before_the_first_lead_does(lacking: str) -> None:
    """Reading and writing rights are both asked for; the stop names the scope; no record is touched."""
    world = HubSpotContacts()
    scopes = [scope for scope in ALL_SCOPES if scope != lacking and "schemas.contacts" not in scope]
    world.portal.tokens.static("pat-poor", scopes=scopes)
    world.secrets_now = {"token": "pat-poor"}
    with pytest.raises(Stopped) as stopped:
        checked(world)
    assert "scope" in stopped.value.verdict.message + stopped.value.verdict.remedy
    if lacking.endswith("write"):
        assert lacking in stopped.value.verdict.message
    assert world.portal.truth().log == ()


# --- statuses ---------------------------------------------------------------------------------------------------------


def verdict(status: int, body: Any = "", effect: Effect = Effect.WRITE) -> Verdict:
    return adapter().classify(reply(body, status), effect)


BURST = {
    "status": "error",
    "errorType": "RATE_LIMIT",
    "policyName": "TEN_SECONDLY_ROLLING",
    "message": "ten_secondly_rolling",
}
SECONDLY = {"status": "error", "errorType": "RATE_LIMIT", "policyName": "SECONDLY"}
DAILY = {"status": "error", "errorType": "RATE_LIMIT", "policyName": "DAILY"}
OLD_DAILY = {"status": "error", "message": "You have reached your daily limit.", "errorType": "RATE_LIMIT"}


@pytest.mark.parametrize(
    ("status", "body", "headers", "expected"),
    [
        (429, BURST, {}, TryAgain(wait_s=1.0, quota=Quota.BURST, executed=False, code="TEN_SECONDLY_ROLLING")),
        (429, SECONDLY, {}, TryAgain(wait_s=1.0, quota=Quota.BURST, executed=False, code="SECONDLY")),
        (429, BURST, {"retry_after": "7"}, TryAgain(wait_s=7.0, quota=Quota.BURST, executed=False, code="TEN_SECONDLY_ROLLING")),
        (429, DAILY, {}, TryAgain(quota=Quota.DAY, executed=False, code="DAILY")),
        (429, OLD_DAILY, {}, TryAgain(quota=Quota.DAY, executed=False, code="RATE_LIMIT")),
        (423, {"category": "LOCKED"}, {}, TryAgain(wait_s=2.0, executed=False, code="LOCKED")),
        (477, "", {"retry_after": "3600"}, TryAgain(wait_s=3600.0, executed=False, code="HTTP_477")),
        (477, "", {}, TryAgain(wait_s=60.0, executed=False, code="HTTP_477")),
        (408, "", {}, TryAgain(code="HTTP_408")),
        *((status, "<html>", {}, TryAgain(code=f"HTTP_{status}")) for status in (500, 502, 503, 504, 521, 523, 524)),
        (401, {"category": "EXPIRED_AUTHENTICATION"}, {}, SignInAgain(code="EXPIRED_AUTHENTICATION")),
        (400, {"category": "VALIDATION_ERROR"}, {}, Answered()),
        (404, "<html>", {}, Answered()),
        (409, {"category": "CONFLICT"}, {}, Answered()),
        (414, "", {}, Answered()),
        (200, {}, {"x_hubspot_ratelimit_daily_remaining": "249999"}, Answered(calls_left_day=249_999)),
    ],
)  # fmt: skip
def test_every_status_of_the_error_tables(status: int, body: Any, headers: dict[str, str], expected: Verdict) -> None:
    """HubSpot's error and usage pages, row by row."""
    assert adapter().classify(reply(body, status, **headers), Effect.WRITE) == expected


def test_missing_scopes_stop_with_their_names() -> None:
    """403: the granular scopes are named where HubSpot names them; nothing of its text is repeated."""
    body = {
        "category": "MISSING_SCOPES",
        "message": "ada@corp.example may not",
        "errors": [{"message": "x", "context": {"requiredGranularScopes": ["crm.objects.leads.read"]}}],
    }
    stop = verdict(403, body)
    assert isinstance(stop, Stop)
    assert (stop.category, stop.code) == (Category.PERMISSION, "MISSING_SCOPES")
    assert "crm.objects.leads.read" in stop.message
    assert "ada" not in repr(stop)


def test_a_token_endpoint_may_be_busy_too() -> None:
    """429 and 5xx of a sign-in wait like any other; its 400, 401 and 403 are its own to read."""
    assert isinstance(verdict(429, BURST, Effect.SIGN_IN), TryAgain)
    assert isinstance(verdict(502, "", Effect.SIGN_IN), TryAgain)
    assert all(isinstance(verdict(status, {}, Effect.SIGN_IN), Answered) for status in (400, 401, 403))
