"""config/examples/bottlecrm.yaml, read by what the real server, version 1.35.0, answered (recorded/; long lists left out)."""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import pytest
from sales_crm_adapters import CATALOGUE

from sales_crm_bridge import tenants
from sales_crm_bridge.errors import CrmUnavailable
from sales_crm_bridge.model import (
    Accepted,
    Category,
    Effect,
    FeedKind,
    Hook,
    HookRefused,
    HttpReply,
    LeadState,
    Notice,
    Ref,
    Rejected,
    Scalar,
    Secrets,
    SignInAgain,
    Stop,
    TryAgain,
)
from sales_crm_bridge.ports import CrmAdapter
from tests.adapters.rest.kit import hold, reply, write

EXAMPLE = Path(__file__).parents[3] / "config" / "examples" / "bottlecrm.yaml"
RECORDED: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "recorded" / "bottlecrm.json").read_text())


def answer(name: str) -> HttpReply:
    """An answer of the real server."""
    kept = RECORDED[name]
    body = kept["body"].encode() if isinstance(kept["body"], str) else kept["body"]
    return reply(body, kept["status"], content_type=kept["content_type"])


@pytest.fixture(scope="module")
def adapter() -> CrmAdapter:
    """The adapter that the example makes."""
    tenant, findings = tenants.parse(EXAMPLE.read_bytes(), "acme.yaml", CATALOGUE, secrets=False)
    assert tenant is not None, findings
    assert not findings
    return CATALOGUE["rest"].make(tenant.connection.options, tenant.mapping.crm_fields)


def test_the_declaration_claims_what_the_crm_can_do_and_no_more(adapter: CrmAdapter) -> None:
    """No unique key, no versions, no removed records, one list that drifts: each claim would be believed."""
    can = adapter.capabilities
    assert (can.unique_key, can.read_by_key, can.conditional_write) == (False, True, False)
    assert (can.removed_feed, can.merges, can.restores, can.webhooks) == (False, False, False, True)
    (feed,) = adapter.feeds()
    assert (feed.kind, feed.drifts) == (FeedKind.SWEEP, True)


def test_a_record_is_found_by_our_key_in_the_second_of_two_lists(adapter: CrmAdapter) -> None:
    """A closed lead is in the list of closed ones; where neither list has it, it is not there."""
    lead = RECORDED["found-by-key"]["body"]["close_leads"]["close_leads"][0]
    key = lead["custom_fields"]["bridge_lead_id"]
    (found, none), calls = hold(
        adapter.read([Ref(key=key), Ref(key="nobody")]), answer("found-by-key"), answer("nobody-by-key")
    )
    assert calls[0].query == (("cf_bridge_lead_id", key),)
    assert (found.id, found.key, found.state, found.version) == (lead["id"], key, LeadState.LIVE, lead["updated_at"])
    assert none.state is LeadState.GONE


def test_a_lead_by_its_id_is_alive_converted_or_gone(adapter: CrmAdapter) -> None:
    """Converted leads are in no list, but under their id; what was deleted is a 404 in the CRM's own words."""
    ids = [RECORDED[name]["body"]["lead_obj"]["id"] for name in ("one", "one-converted")]
    refs = [Ref(id=ids[0]), Ref(id=ids[1]), Ref(id="00000000-0000-4000-8000-000000000000")]
    records, _ = hold(adapter.read(refs), answer("one"), answer("one-converted"), answer("no-such-lead"))
    assert [record.state for record in records] == [LeadState.LIVE, LeadState.CONVERTED, LeadState.GONE]
    assert records[0].fields["opportunity_amount"] == "12.50"


def test_a_404_of_somebody_else_is_no_deletion(adapter: CrmAdapter) -> None:
    """The page of a proxy, or of a server that does not know the path, ends the reading; no lead is told to be gone."""
    with pytest.raises(CrmUnavailable):
        hold(adapter.read([Ref(id="00000000-0000-4000-8000-000000000000")]), answer("no-such-path"))


@pytest.mark.parametrize(
    ("name", "category", "code", "fields"),
    [
        ("invalid", Category.VALIDATION, "invalid", {"email", "opportunity_amount", "rating"}),
        ("no-envelope", Category.VALIDATION, "invalid", {"assigned_to"}),
        ("not-json", Category.VALIDATION, "unreadable", set()),
        ("converted-again", Category.CONVERTED, "already-converted", set()),
        ("no-such-lead", Category.REMOVED, "no-such-lead", set()),
    ],
)
def test_each_shape_of_refusal_is_understood(
    adapter: CrmAdapter, name: str, category: Category, code: str, fields: set[str]
) -> None:
    """A mapping of lists, one without its envelope, one text: the category, our word for it, and the fields at fault."""
    values: dict[str, Scalar] = {"email": "nope", "opportunity_amount": -1, "rating": "X"}
    (outcome,), _ = hold(adapter.push([write(1, values, crm_id="00000000-0000-4000-8000-000000000000")]), answer(name))
    assert isinstance(outcome, Rejected)
    assert (outcome.category, outcome.code) == (category, code)
    assert set(outcome.fields) == fields


def test_a_taken_address_names_who_has_it(adapter: CrmAdapter) -> None:
    """The one unique thing is the e-mail address; its holder is asked for, and is another lead."""
    (outcome,), calls = hold(adapter.push([write(1, {"email": "a@b.example"})]), answer("taken"), answer("holder"))
    assert isinstance(outcome, Rejected)
    assert (outcome.category, outcome.code, outcome.fields) == (Category.DUPLICATE, "email-taken", ("email",))
    assert outcome.other_id == RECORDED["holder"]["body"]["duplicates"][0]["id"]
    assert [call.path for call in calls] == ["/api/leads/", "/api/leads/duplicates/"]


def test_writes_carry_our_key_and_are_answered_without_a_record(adapter: CrmAdapter) -> None:
    """A create answers 200 with an id, an update with a sentence: both are accepted, and read back by the core."""
    (made,), calls = hold(adapter.push([write(1, {"email": "a@b.example"})]), answer("created"))
    assert made == Accepted(crm_id=RECORDED["created"]["body"]["id"], record=None)
    assert json.loads(calls[0].body) == {"email": "a@b.example", "custom_fields": {"bridge_lead_id": "L-1"}}
    (changed,), calls = hold(adapter.push([write(1, {"phone": "1"}, crm_id=made.crm_id)]), answer("updated"))
    assert changed == Accepted(crm_id=made.crm_id, record=None)
    assert (calls[0].method, json.loads(calls[0].body)) == ("PATCH", {"phone": "1"})


def test_403_for_401_is_told_apart_by_the_words(adapter: CrmAdapter) -> None:
    """A wrong token is signed in with again, a missing right stops the connection, 500 may have taken effect."""
    assert isinstance(adapter.classify(answer("wrong-token"), Effect.READ), SignInAgain)
    stop = adapter.classify(answer("not-scoped"), Effect.WRITE)
    assert isinstance(stop, Stop)
    assert stop.category is Category.PERMISSION
    verdict = adapter.classify(answer("a-list"), Effect.WRITE)
    assert isinstance(verdict, TryAgain)
    assert verdict.executed


def test_the_account_is_the_organisation_of_the_token(adapter: CrmAdapter) -> None:
    """Its id, name and time zone; the list shows whether leads may be read."""
    account, _ = hold(adapter.check(), answer("account"), answer("nobody-by-key"))
    assert account.account_id == RECORDED["account"]["body"]["id"]
    assert (account.name, account.time_zone, account.missing) == ("acme", "UTC", ())


def test_a_delivery_is_a_hint_only_with_the_right_signature_and_age(adapter: CrmAdapter) -> None:
    """As the server signs it: `t=…,v1=…` over time and body; a ping means nothing; an old or forged one is refused."""
    secrets = Secrets(values={"webhook_secret": "whsec_of-the-tests"})

    def delivered(event: dict[str, Any], secret: str = "whsec_of-the-tests", late_s: int = 0) -> list[Notice]:
        body = json.dumps(event).encode()
        digest = hmac.new(secret.encode(), b"1795485767." + body, hashlib.sha256).hexdigest()
        headers = {"x-bottlecrm-signature": f"t=1795485767,v1={digest}"}
        at_us = (1_795_485_767 + late_s) * 1_000_000
        return adapter.notices(Hook(method="POST", url="/", headers=headers, body=body, received_us=at_us), secrets)

    event = {"id": "e-1", "event": "lead.updated", "data": {"id": "r-1"}}
    (notice,) = delivered(event)
    assert (notice.id, notice.what) == ("r-1", "changed")
    assert delivered({**event, "event": "lead.deleted"})[0].what == "removed"
    assert delivered({"id": "e-2", "event": "ping"}) == []
    for secret, late_s in (("whsec_guessed", 0), ("whsec_of-the-tests", 301), ("whsec_of-the-tests", -301)):
        with pytest.raises(HookRefused):
            delivered(event, secret, late_s)
