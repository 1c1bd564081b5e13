"""The webhook sender: what is told, how it is signed, how often it comes."""

import base64
import hashlib
import hmac
import json
from typing import Any

import pytest

from sales_crm_bridge.sandbox.hubspot import HookApp, signature_v3
from sales_crm_bridge.sandbox.hubspot.webhooks import signature_v1, signature_v2
from tests.sandbox.bench import Bench

URL = "https://bridge.example/hooks/hubspot"
SECRET = "bridge-test-secret"
BODY = (
    b'[{"eventId":101,"subscriptionId":7,"portalId":4242,"appId":99,"occurredAt":1767225600000,'
    b'"subscriptionType":"contact.creation","attemptNumber":0,"objectId":512,"changeSource":"CRM","changeFlag":"NEW"}]'
)

VECTORS = [
    (
        "yyyyyyyy-yyyy-yyyy-yyyy-yyyyyyyyyyyy",
        "https://www.example.com/webhook_uri",
        b"{'example_field':'example_value'}",
        1693657560000,
        "K36dawei4A+QBNolUOqo7s91KQDWQ5MXZ/QufNYuk/Y=",
    ),
    (SECRET, URL, BODY, 1767225601000, "/CccImIFSyFpg0jkdD7wYAHJwESu7jNHVUggz1qoA3U="),
    (SECRET, f"{URL}?t=a%2Fb%40c", BODY, 1767225601000, "TG6JzpMqUai0mjbVBlv2477EIselyTIikC/EJgAfuGU="),
    (SECRET, f"{URL}?t=a/b@c", BODY, 1767225601000, "TG6JzpMqUai0mjbVBlv2477EIselyTIikC/EJgAfuGU="),
]


@pytest.mark.parametrize(("secret", "uri", "body", "timestamp", "signature"), VECTORS)
def test_signatures_are_hubspot_s(secret: str, uri: str, body: bytes, timestamp: int, signature: str) -> None:
    """Version 3 over method, partly decoded address, body and time; the first vector is from HubSpot's own client."""
    assert signature_v3(secret, "POST", uri, body, timestamp) == signature


def test_the_older_signatures_are_there_to_be_refused() -> None:
    """Versions 1 and 2 do not cover the time."""
    assert signature_v1(SECRET, BODY) == "36bd3f0cb1a631eefc8c8eca7d2fddbceb4e74ea35a95c0734a4aa55f2921a98"
    assert signature_v2(SECRET, "POST", URL, BODY) == "8a604c8d62b6781c8bf6e18d4c5633e8230087af0e15b621cf176d910a11da7f"


def hooked(**how: Any) -> Bench:
    """An account with a registered app."""
    bench = Bench()
    bench.portal.webhooks.register(HookApp(app_id=99, client_secret=SECRET, target_url=URL, **how))
    return bench


def events(bench: Bench) -> list[dict[str, Any]]:
    """All events that are due, taken off and acknowledged."""
    told: list[dict[str, Any]] = []
    for delivery in bench.portal.webhooks.due():
        told += json.loads(delivery.body)
        bench.portal.webhooks.answered(delivery, 204)
    return told


def kinds(bench: Bench) -> list[str]:
    """Their subscription types."""
    return [each["subscriptionType"] for each in events(bench)]


def test_each_thing_that_happens_is_told() -> None:
    """Contacts have types of their own, leads the generic ones with their type id; a merge names both old ids and the new one."""
    bench = hooked()
    contact, other = bench.create(email="ada@corp.example"), bench.create(firstname="Ben")
    assert kinds(bench) == ["contact.creation", "contact.propertyChange"] * 2
    bench.call(
        "PATCH", f"/crm/v3/objects/contacts/{contact}", {"properties": {"email": "ada@corp.example", "city": "York"}}
    )
    (change,) = events(bench)
    assert change | {"eventId": 0, "subscriptionId": 0} == {
        "eventId": 0,
        "subscriptionId": 0,
        "portalId": 4242,
        "appId": 99,
        "occurredAt": 1767225600000,
        "subscriptionType": "contact.propertyChange",
        "attemptNumber": 0,
        "objectId": int(contact),
        "propertyName": "city",
        "propertyValue": "York",
        "changeSource": "INTEGRATION",
        "sourceId": "4169410",
    }
    lead = bench.lead(contact)
    created = events(bench)[0]
    assert (created["subscriptionType"], created["objectTypeId"], created["objectId"]) == (
        "object.creation",
        "0-136",
        int(lead),
    )
    survivor = bench.portal.person.merge(contact, other)
    (merge,) = events(bench)
    assert (merge["primaryObjectId"], merge["mergedObjectIds"], merge["newObjectId"]) == (
        int(contact),
        [int(other)],
        int(survivor),
    )
    assert (merge["changeSource"], "objectId" in merge) == ("CRM_UI", False)
    bench.portal.person.delete(survivor)
    assert kinds(bench) == ["contact.deletion", "object.deletion"]
    bench.portal.person.restore(survivor)
    assert kinds(bench) == ["contact.restore"]
    bench.portal.person.erase(survivor)
    assert kinds(bench) == ["contact.privacyDeletion", "contact.deletion"]


def test_only_what_was_subscribed_to_is_told() -> None:
    """And nothing at all before an app is registered."""
    bench = hooked(subscriptions=frozenset({"contact.deletion"}))
    record = bench.create(firstname="Ada")
    bench.portal.person.delete(record)
    assert kinds(bench) == ["contact.deletion"]
    quiet = Bench()
    quiet.create(firstname="Ada")
    assert quiet.portal.webhooks.due() == []
    assert quiet.portal.webhooks.next_due_s() is None


def test_a_delivery_is_signed_when_it_goes_out() -> None:
    """Method, address, body and the present time, in the three headers; the time is not that of the event."""
    bench = hooked()
    bench.create(firstname="Ada")
    bench.now_s += 30
    assert bench.portal.webhooks.next_due_s() == bench.now_s
    (delivery,) = bench.portal.webhooks.due()
    assert delivery.headers["x-hubspot-request-timestamp"] == "1767225630000"
    base = b"POST" + URL.encode() + delivery.body + b"1767225630000"
    expected = base64.b64encode(hmac.new(SECRET.encode(), base, hashlib.sha256).digest()).decode()
    assert delivery.headers["x-hubspot-signature-v3"] == expected
    assert bench.portal.webhooks.due() == []


@pytest.mark.parametrize("status", [None, 400, 404, 500, 302])
def test_a_delivery_that_fails_comes_again_ten_times(status: int | None) -> None:
    """Within 24 hours, with a growing ``attemptNumber`` and a new signature; then never again."""
    bench = hooked()
    bench.create(firstname="Ada")
    attempts, signatures = [], set()
    started = bench.now_s
    while (due := bench.portal.webhooks.next_due_s()) is not None:
        bench.now_s = max(bench.now_s, due)
        for delivery in bench.portal.webhooks.due():
            attempts.append({each["attemptNumber"] for each in json.loads(delivery.body)})
            signatures.add(delivery.headers["x-hubspot-signature-v3"])
            bench.portal.webhooks.answered(delivery, status)
    assert attempts == [{number} for number in range(11)]
    assert len(signatures) == 11
    assert bench.now_s - started <= 24 * 3600


def test_a_batch_has_at_most_100_events() -> None:
    """Two hundred and fifty events are three deliveries."""
    bench = hooked()
    for number in range(125):
        bench.portal.person.create("contacts", {"firstname": str(number)})
    assert [len(json.loads(each.body)) for each in bench.portal.webhooks.due()] == [100, 100, 50]


def test_duplicates_disorder_and_repeated_ids_are_drawn_from_the_seed() -> None:
    """Each is there when asked for, and only then."""

    def told(**how: float) -> list[dict[str, Any]]:
        bench = hooked(**how)
        for number in range(40):
            bench.portal.person.create("contacts", {"firstname": str(number)})
            bench.now_s += 1
        return events(bench)

    straight = told()
    assert len({each["eventId"] for each in straight}) == len(straight) == 80
    assert [each["occurredAt"] for each in straight] == sorted(each["occurredAt"] for each in straight)
    assert len(told(duplicates=1.0)) == 160
    mixed = [each["eventId"] for each in told(disorder=1.0)]
    assert mixed != sorted(mixed)
    assert sorted(mixed) == sorted(each["eventId"] for each in straight)
    repeated = [each["eventId"] for each in told(repeated_ids=0.5)]
    assert len(set(repeated)) < len(repeated)
