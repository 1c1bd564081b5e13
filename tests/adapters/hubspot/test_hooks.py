"""HubSpot's webhooks: signatures by the published test vectors, and what each event is a hint about."""

import base64
import hashlib
import hmac
import json
from typing import Any

import pytest

from sales_crm_bridge.model import Hook, HookRefused, Notice, Secrets
from sales_crm_bridge.sandbox.hubspot import HookApp
from tests.adapters.hubspot.talks import adapter
from tests.contract.worlds import HubSpotContacts

SECRET = "bridge-test-secret"
URL = "https://bridge.example/hooks/hubspot"
SENT_MS = 1767225601000
BODY = (
    b'[{"eventId":101,"subscriptionId":7,"portalId":4242,"appId":99,"occurredAt":1767225600000,'
    b'"subscriptionType":"contact.creation","attemptNumber":0,"objectId":512,"changeSource":"CRM","changeFlag":"NEW"}]'
)
SIGNED = "/CccImIFSyFpg0jkdD7wYAHJwESu7jNHVUggz1qoA3U="


def hook(
    body: bytes = BODY, signature: str = SIGNED, url: str = URL, sent_ms: int = SENT_MS, late_ms: int = 0, old: str = ""
) -> Hook:
    headers = {
        "x-hubspot-signature-v3": signature,
        "x-hubspot-request-timestamp": str(sent_ms),
        "x-hubspot-signature": old,
    }
    return Hook(method="POST", url=url, headers=headers, body=body, received_us=(sent_ms + late_ms) * 1000)


def signed(events: Any, url: str = URL) -> Hook:
    body = events if isinstance(events, bytes) else json.dumps(events).encode()
    base = b"POST" + url.encode() + body + str(SENT_MS).encode()
    return hook(body, base64.b64encode(hmac.digest(SECRET.encode(), base, hashlib.sha256)).decode(), url)


def heard(delivery: Hook, secret: str = SECRET, **options: object) -> list[Notice]:
    return adapter(**options).notices(delivery, Secrets(values={"client_secret": secret}))


def refused(delivery: Hook, secret: str = SECRET) -> str:
    with pytest.raises(HookRefused) as caught:
        heard(delivery, secret)
    return caught.value.code


def test_hubspots_own_vector_holds() -> None:
    """The vector of HubSpot's client library: its signature is right, and its body is no list of events."""
    delivery = hook(
        b"{'example_field':'example_value'}",
        "K36dawei4A+QBNolUOqo7s91KQDWQ5MXZ/QufNYuk/Y=",
        "https://www.example.com/webhook_uri",
        1693657560000,
    )
    assert refused(delivery, "yyyyyyyy-yyyy-yyyy-yyyy-yyyyyyyyyyyy") == "bad-form"
    assert refused(delivery, "another") == "bad-signature"


def test_a_signed_delivery_is_heard() -> None:
    """A creation hints at its contact; the same event a second time has the same name for deduplication."""
    (notice,) = heard(hook())
    assert (notice.id, notice.what) == ("512", "created")
    assert heard(hook()) == [notice]


def test_only_some_escapes_of_the_address_are_undone() -> None:
    """``?t=a%2Fb%40c`` is signed as ``?t=a/b@c``; an escape that HubSpot leaves stays as it is."""
    url = f"{URL}?t=a%2Fb%40c"
    assert heard(hook(signature="TG6JzpMqUai0mjbVBlv2477EIselyTIikC/EJgAfuGU=", url=url))
    assert refused(hook(signature="TG6JzpMqUai0mjbVBlv2477EIselyTIikC/EJgAfuGU=", url=f"{url}%20")) == "bad-signature"
    assert heard(signed(BODY, f"{URL}?t=%20%25"))


@pytest.mark.parametrize(
    "delivery",
    [
        hook(BODY.replace(b"512", b"513")),
        hook(url="https://bridge.example/hooks/other"),
        hook(signature=SIGNED[:-2] + "A="),
        hook(signature="ü"),
    ],
)
def test_anything_else_than_what_was_signed_is_refused(delivery: Hook) -> None:
    """Another body, address or signature."""
    assert refused(delivery) == "bad-signature"


@pytest.mark.parametrize("late_ms", [300_001, -300_001])
def test_an_old_or_future_delivery_is_refused(late_ms: int) -> None:
    """More than five minutes off in either direction, with a good signature."""
    assert refused(hook(late_ms=late_ms)) == "too-old"
    assert heard(hook(late_ms=300_000 if late_ms > 0 else -300_000))


def test_older_signatures_do_not_count() -> None:
    """Versions 1 and 2 sign no time, so they could be played back: without version 3 the delivery is unsigned."""
    v1 = "36bd3f0cb1a631eefc8c8eca7d2fddbceb4e74ea35a95c0734a4aa55f2921a98"
    for signature in (v1, "8a604c8d62b6781c8bf6e18d4c5633e8230087af0e15b621cf176d910a11da7f"):
        assert refused(hook(signature="", old=signature)) == "unsigned"
        assert refused(hook(signature=signature)) == "bad-signature"


@pytest.mark.parametrize("body", [b"{}", b"[1]", b'[{"subscriptionType":5}]', b"\xff", b"[" * 5000])
def test_a_signed_body_of_another_form_is_refused_whole(body: bytes) -> None:
    """Not an array of events: refused, so that HubSpot sends it again and somebody looks."""
    assert refused(signed(body)) == "bad-form"


def event(kind: str, **more: Any) -> dict[str, Any]:
    return {"eventId": 1, "portalId": 4242, "occurredAt": 5, "subscriptionType": kind, "objectId": 512, **more}


def test_a_merge_hints_at_every_record_it_names() -> None:
    """The primary, those that were merged away, and the third record that the survivor may be."""
    merge = {
        "eventId": 102, "portalId": 4242, "occurredAt": 1767225600500, "subscriptionType": "contact.merge",
        "primaryObjectId": 512, "mergedObjectIds": [777, 778], "newObjectId": 1300, "numberOfPropertiesMoved": 3,
    }  # fmt: skip
    notices = heard(signed([merge]))
    assert [notice.id for notice in notices] == ["512", "777", "778", "1300"]
    assert {notice.what for notice in notices} == {"merged"}
    assert len({notice.dedupe for notice in notices}) == 4


@pytest.mark.parametrize(
    ("told", "what"),
    [
        (event("contact.propertyChange", propertyName="email", propertyValue="ada@corp.example"), "changed"),
        (event("contact.deletion"), "removed"),
        (event("contact.privacyDeletion"), "erased"),
        (event("contact.restore"), "restored"),
        (event("object.creation", objectTypeId="0-1"), "created"),
    ],
)
def test_each_kind_of_event_has_its_word(told: dict[str, Any], what: str) -> None:
    """A hint names the record and the kind of change, and repeats no value of it."""
    (notice,) = heard(signed([told]))
    assert (notice.id, notice.what) == ("512", what)
    assert "ada" not in repr(notice)


@pytest.mark.parametrize(
    "told",
    [event("deal.creation"), event("object.creation", objectTypeId="0-3"), event("object.creation", objectTypeId="0-136"),
     event("contact.somethingNew")],
)  # fmt: skip
def test_events_about_other_things_are_passed_over(told: dict[str, Any]) -> None:
    """An app has one address for everything it subscribed to; what is no contact is none of ours, and not refused."""
    assert heard(signed([told, event("contact.creation")])) == heard(signed([event("contact.creation")]))


def test_leads_hear_of_leads_and_of_contacts() -> None:
    """With the Lead object, both the lead's own events and its contact's are hints."""
    events = [event("object.creation", objectTypeId="0-136", objectId=9001), event("contact.propertyChange")]
    assert [notice.id for notice in heard(signed(events), object="leads")] == ["9001", "512"]


def test_events_of_the_apps_other_accounts_are_passed_over() -> None:
    """An app has one address for all its accounts; with a known Hub ID, others' events are not ours."""
    events = [event("contact.creation"), event("contact.creation", portalId=1, objectId=9)]
    assert [notice.id for notice in heard(signed(events), portal_id="4242")] == ["512"]
    assert [notice.id for notice in heard(signed(events))] == ["512", "9"]


def test_what_the_account_sends_is_understood() -> None:
    """A create, an edit, a merge and a deletion by a person, delivered as the service delivers: every record is hinted at."""
    world = HubSpotContacts()
    world.portal.webhooks.register(
        HookApp(app_id=99, client_secret=SECRET, target_url=URL, duplicates=0.5, disorder=0.5)
    )
    one, two = world.create(1), world.create(2)
    world.edit(one, {"phone": "+1"})
    survivor = world.merge(one, two)
    world.delete(survivor)
    world.clock.advance(30)
    hinted: set[str] = set()
    for delivery in world.portal.webhooks.due():
        received = Hook(
            method="POST",
            url=delivery.url,
            headers=delivery.headers,
            body=delivery.body,
            received_us=world.clock.now_us,
        )
        hinted |= {notice.id for notice in world.adapter.notices(received, Secrets(values={"client_secret": SECRET}))}
    assert hinted == {one, two, survivor}
