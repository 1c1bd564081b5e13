"""The webhook sender: what an app would be sent, in which batches, how often again; posting it is the driver's work."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import msgspec

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from sales_crm_bridge.sandbox.hubspot.entries import Event
    from sales_crm_bridge.sandbox.hubspot.settings import Account

BATCH_MAX = 100
RETRIES_MAX = 10
RETRIES_SPAN_S = 24 * 3600
ANSWER_WITHIN_S = 5.0
_SUCCESS = 2

_DECODED = re.compile(r"%(?:3A|2F|3F|40|21|24|27|28|29|2A|2C|3B)", re.IGNORECASE)


def signature_v3(secret: str, method: str, uri: str, body: bytes, timestamp_ms: int) -> str:
    """The value of ``X-HubSpot-Signature-v3`` (request validation guide): ``uri`` is the full public address with its query."""
    told = _DECODED.sub(lambda found: unquote(found[0]), uri)
    base = method.encode() + told.encode() + body + str(timestamp_ms).encode()
    return base64.b64encode(hmac.new(secret.encode(), base, hashlib.sha256).digest()).decode()


def signature_v1(secret: str, body: bytes) -> str:
    """The value of ``X-HubSpot-Signature`` of the first version: without time or address, so it can be replayed."""
    return hashlib.sha256(secret.encode() + body).hexdigest()


def signature_v2(secret: str, method: str, uri: str, body: bytes) -> str:
    """The same of the second version."""
    return hashlib.sha256(secret.encode() + method.encode() + uri.encode() + body).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class HookApp:
    """An app with webhooks. ``subscriptions``: the types that it asked for; None is everything.

    ``duplicates``, ``disorder``, ``repeated_ids``: how likely an event is sent twice, a batch is out of order, an event carries an
    earlier event's id. HubSpot promises none of it away.
    """

    app_id: int
    client_secret: str
    target_url: str
    subscriptions: frozenset[str] | None = None
    duplicates: float = 0.0
    disorder: float = 0.0
    repeated_ids: float = 0.0


@dataclass(slots=True, eq=False)
class Delivery:
    """One POST: ``url``, ``headers`` and ``body`` as they go out now, ``events`` as they were told, ``attempt`` from 0."""

    url: str
    events: list[dict[str, Any]]
    due_ms: int
    attempt: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


class Webhooks:
    """Turns events into deliveries. Until an app is registered, nothing is kept."""

    def __init__(self, account: Account, clock: Callable[[], float], rng: random.Random) -> None:
        self._account = account
        self._clock = clock
        self._rng = rng
        self._app: HookApp | None = None
        self._told: list[dict[str, Any]] = []
        self._waiting: list[Delivery] = []
        self._events = 0

    def register(self, app: HookApp) -> None:
        """Send to this app from now on; there is one ``targetUrl`` for an app, not for an account."""
        self._app = app

    def hear(self, event: Event) -> None:
        """Take an event in; a subscription is named by object and change, for leads ``object.`` and the type id."""
        app = self._app
        if app is None:
            return
        what = f"{event.kind.hooks}.{event.what}"
        if app.subscriptions is not None and what not in app.subscriptions:
            return
        # The modified time cannot be subscribed to.
        if event.name in {"hs_lastmodifieddate", "lastmodifieddate"}:
            return
        self._events += 1
        repeated = self._events > 1 and app.repeated_ids > 0 and self._rng.random() < app.repeated_ids
        told: dict[str, Any] = {
            "eventId": 100 + self._events - (1 if repeated else 0),
            "subscriptionId": 1 + sum(map(ord, what)) % 1000,
            "portalId": self._account.portal_id,
            "appId": app.app_id,
            "occurredAt": event.at_ms,
            "subscriptionType": what,
            "attemptNumber": 0,
            "objectId": event.object_id,
            "changeSource": event.source.kind,
            "sourceId": event.source.id,
        }
        if event.kind.hooks == "object":
            told["objectTypeId"] = event.kind.type_id
        if event.what == "propertyChange":
            told |= {"propertyName": event.name, "propertyValue": event.value}
        elif event.what == "creation":
            told["changeFlag"] = "NEW"
        elif event.what == "deletion":
            told["changeFlag"] = "DELETED"
        elif event.what == "merge":
            del told["objectId"]
            told |= {
                "primaryObjectId": event.object_id,
                "mergedObjectIds": list(event.merged),
                "newObjectId": event.survivor,
                "numberOfPropertiesMoved": int(event.value),
            }
        self._told.append(told)
        if app.duplicates > 0 and self._rng.random() < app.duplicates:
            self._told.append(dict(told))

    def due(self) -> list[Delivery]:
        """What is to be posted now, signed with the present time. Each is due once; ``answered`` says how it went."""
        app, now = self._app, round(self._clock() * 1000)
        if app is None:
            return []
        if app.disorder > 0 and self._rng.random() < app.disorder:
            self._rng.shuffle(self._told)
        for start in range(0, len(self._told), BATCH_MAX):
            self._waiting.append(Delivery(app.target_url, self._told[start : start + BATCH_MAX], now))
        self._told = []
        due = [each for each in self._waiting if each.due_ms <= now]
        self._waiting = [each for each in self._waiting if each.due_ms > now]
        for each in due:
            for event in each.events:
                event["attemptNumber"] = each.attempt
            each.body = msgspec.json.encode(each.events)
            each.headers = {
                "content-type": "application/json",
                "user-agent": "HubSpot Connect 2.0 (http://dev.hubspot.com/) (namespace: webhooks-nio-http-client)",
                "x-hubspot-signature": signature_v1(app.client_secret, each.body),
                "x-hubspot-signature-version": "v1",
                "x-hubspot-signature-v3": signature_v3(app.client_secret, "POST", each.url, each.body, now),
                "x-hubspot-request-timestamp": str(now),
            }
        return due

    def answered(self, delivery: Delivery, status: int | None) -> None:
        """Note how a delivery went; None: no answer within 5 s. Anything but 2xx comes again, up to ten times in 24 hours."""
        if (status is not None and status // 100 == _SUCCESS) or delivery.attempt >= RETRIES_MAX:
            return
        delivery.attempt += 1
        # Spread over the day: the first again after a minute, each wait twice the one before, none beyond the span.
        wait_s = min(60 * 2 ** (delivery.attempt - 1), RETRIES_SPAN_S // RETRIES_MAX)
        delivery.due_ms = round(self._clock() * 1000) + wait_s * 1000
        self._waiting.append(delivery)

    def next_due_s(self) -> float | None:
        """When there is something to post, in epoch seconds; None: nothing until something happens."""
        if self._told:
            return self._clock()
        return min(each.due_ms for each in self._waiting) / 1000 if self._waiting else None
