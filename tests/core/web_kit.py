"""What the tests of the HTTP side share: a face over a real ledger, and what stands around it, each part to be spoilt by hand."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from sales_crm_bridge import wiring
from sales_crm_bridge.errors import BridgeError, Finding
from sales_crm_bridge.ledger import SqlLedger, open_ledger
from sales_crm_bridge.model import Hook, Notice, Secrets
from sales_crm_bridge.rim.terms import RimState
from sales_crm_bridge.state import TenantRow
from sales_crm_bridge.web import Door, DoorLimits, Face, Meter

NOW_US = 1_790_000_000_000_000
SECRET = "the client secret of the app"
HOST = "bridge.example"
LIMITS = DoorLimits(
    public_url="",
    body_bytes_max=2_000,
    body_timeout_s=10.0,
    bodies_max=4,
    answer_s=4.0,
    in_flight_max=2,
    notices_max=100,
)


@dataclass
class Clock:
    """Stands still until it is moved."""

    now: int = NOW_US

    def now_us(self) -> int:
        return self.now

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nobody sleeps here")


class Away:
    """A ledger of which every step raises ``fault``, or the real one while there is none; ``answers``: steps done by hand."""

    def __init__(self, ledger: SqlLedger) -> None:
        self._ledger = ledger
        self.fault: BridgeError | None = None
        self.answers: dict[str, Callable[[], Awaitable[Any]]] = {}

    def __getattr__(self, name: str) -> Any:
        async def step(*args: Any, **more: Any) -> Any:
            if self.fault is not None:
                raise self.fault
            if name in self.answers:
                return await self.answers[name]()
            return await getattr(self._ledger, name)(*args, **more)

        return step


@dataclass
class Inside:
    """What the face knows of the service."""

    draining: bool = False
    findings: Sequence[Finding] = ()
    rims: dict[tuple[str, str], RimState] = field(default_factory=dict)


@dataclass
class Doors:
    """One connection, acme/main, which is a HubSpot; its deliveries are verified by the real adapter."""

    loaded: bool = True
    secrets: dict[str, str] = field(default_factory=lambda: {"client_secret": SECRET})
    conn: int = 1
    fault: Exception | None = None

    def find(self, tenant: str, connection: str) -> Door | None:
        if (tenant, connection) != ("acme", "main"):
            return None
        adapter = wiring.catalogue()["hubspot"].make({}, ["email"])

        def understand(hook: Hook) -> Sequence[Notice]:
            if self.fault is not None:
                raise self.fault
            notices: list[Notice] = adapter.notices(hook, Secrets(values=self.secrets))
            return notices

        return Door(conn=self.conn, understand=understand)


class House:
    """A face, and everything around it."""

    def __init__(self, ledger: SqlLedger, limits: DoorLimits = LIMITS) -> None:
        self.ledger = ledger
        self.away = Away(ledger)
        self.clock = Clock()
        self.inside = Inside()
        self.doors = Doors()
        self.meter = Meter()
        self.kafka = ""
        self.face = Face(
            ledger=self.away,
            clock=self.clock,
            inside=self.inside,
            doors=self.doors,
            meter=self.meter,
            limits=limits,
            kafka=self._ask,
            version="1.2.3",
        )
        transport = httpx.ASGITransport(self.face.app, raise_app_exceptions=True)
        self.client = httpx.AsyncClient(transport=transport, base_url=f"https://{HOST}")

    async def _ask(self) -> str:
        return self.kafka

    async def heard(self) -> list[str]:
        return [notice.crm_id for notice in await self.ledger.notices(1, 1000)]

    async def post(self, delivery: tuple[bytes, dict[str, str]], path: str = "/webhooks/acme/main") -> httpx.Response:
        body, headers = delivery
        return await self.client.post(path, content=body, headers=headers)


async def house(limits: DoorLimits = LIMITS) -> House:
    """Make one, with the tenant acme in the ledger and everything well."""
    ledger = await open_ledger("sqlite://:memory:")
    row = TenantRow(
        tenant="acme", text="", digest="d", accepted_us=1, connection="main", adapter="hubspot", account="4242"
    )
    await ledger.tenant_accept(row)
    made = House(ledger, limits)
    await made.face.pulse.look()
    await made.face.pulse.ask_kafka()
    return made


def event(number: int = 512, kind: str = "contact.propertyChange") -> dict[str, Any]:
    """Give one event as HubSpot tells it."""
    return {"eventId": 1, "portalId": 4242, "occurredAt": 5, "subscriptionType": kind, "objectId": number}


def signed(
    events: object, *, secret: str = SECRET, path: str = "/webhooks/acme/main", at_us: int = NOW_US, base: str = ""
) -> tuple[bytes, dict[str, str]]:
    """Give the body and the headers of a delivery, as HubSpot signs it (version 3)."""
    body = events if isinstance(events, bytes) else json.dumps(events).encode()
    sent = str(at_us // 1000)
    text = b"POST" + (base or f"https://{HOST}").encode() + path.encode() + body + sent.encode()
    signature = base64.b64encode(hmac.digest(secret.encode(), text, hashlib.sha256)).decode()
    return body, {"x-hubspot-signature-v3": signature, "x-hubspot-request-timestamp": sent}
