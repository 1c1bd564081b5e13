"""A webhook's delivery: from bytes to notices in the ledger, or the status that it is refused with.

A delivery is believed as a hint only, and acknowledged only when the ledger has what it hints at. Whoever sends rubbish costs
little: a body is limited while it is read, in bytes and in time, and of too many that come at the same time the slowest is given
up. A connection's places are for those who have signed. Whoever has not is told the same, and as soon, wherever he knocks: which
tenants there are, and who of them listens, is nobody's business.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol

from starlette.requests import ClientDisconnect

from sales_crm_bridge.contract import is_usable_id
from sales_crm_bridge.errors import BridgeError, ConfigError, EnvironmentFault, LedgerBusy
from sales_crm_bridge.model import BAD_FORM, Hook, HookRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from starlette.requests import Request

    from sales_crm_bridge.model import Notice
    from sales_crm_bridge.ports import Clock, Ledger
    from sales_crm_bridge.web.meter import Meter

log = logging.getLogger(__name__)

CLIENT_CLOSED = 499
"""What is logged when the caller went away in the middle of its body: nobody hears an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DoorLimits:
    """The named limits of deliveries; see the settings under ``web``."""

    public_url: str
    body_bytes_max: int
    body_timeout_s: float
    bodies_max: int
    answer_s: float
    in_flight_max: int
    notices_max: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """One connection that may be sent notices. ``understand`` verifies a delivery and says what it hints at.

    It raises ``HookRefused``, and ``ConfigError`` where a secret is not there.
    """

    conn: int
    understand: Callable[[Hook], Sequence[Notice]]


class Doors(Protocol):
    """Which connections there are."""

    @property
    def loaded(self) -> bool:
        """Whether the tenants in force are known."""
        ...

    def find(self, tenant: str, connection: str) -> Door | None:
        """The door of this connection; None: there is no such connection in force."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a delivery is answered with, why (a code for the log), and when it is sensible to come again (0: never mind).

    ``tenant``: whose it is, once that is known to be one of ours; what the address said is anybody's text.
    """

    status: int
    code: str = ""
    retry_s: int = 0
    tenant: str = ""


class Receiver:
    """Takes deliveries in."""

    def __init__(self, doors: Doors, ledger: Ledger, clock: Clock, meter: Meter, limits: DoorLimits) -> None:
        self._doors = doors
        self._ledger = ledger
        self._clock = clock
        self._meter = meter
        self._limits = limits
        self._bodies = Bodies(limits)
        self._in_flight: dict[int, int] = {}

    async def receive(self, request: Request, tenant: str, connection: str) -> Verdict:
        """Take one delivery to ``tenant``'s ``connection``; never raises."""
        if not self._doors.loaded:
            return self._done("", "", Verdict(status=HTTPStatus.SERVICE_UNAVAILABLE, code="starting", retry_s=5))
        door = self._doors.find(tenant, connection)
        if door is None:
            tenant = connection = ""
        try:
            body = await self._bodies.read(request)
        except ClientDisconnect:
            body = Verdict(status=CLIENT_CLOSED, code="client-gone")
        if isinstance(body, Verdict):
            verdict = body
        elif door is None:
            verdict = refusal("unknown")
        else:
            verdict = await self._take(request, body, door, tenant, connection)
        return self._done(tenant, connection, verdict)

    def _done(self, tenant: str, connection: str, verdict: Verdict) -> Verdict:
        self._meter.delivery(tenant, connection, int(verdict.status))
        return replace(verdict, tenant=tenant)

    async def _take(self, request: Request, body: bytes, door: Door, tenant: str, connection: str) -> Verdict:
        hook = Hook(
            method=request.method,
            url=public_address(self._limits.public_url, request),
            headers=headers_of(request),
            body=body,
            received_us=self._clock.now_us(),
        )
        try:
            notices = door.understand(hook)
        except HookRefused as refused:
            return refusal(refused.code)
        except ConfigError as fault:
            unverifiable = {"event": "webhook.no-secret", "tenant": tenant, "code": fault.code}
            log.error("deliveries to %s/%s cannot be verified", tenant, connection, extra=unverifiable)  # noqa: TRY400 - no traceback
            return Verdict(status=HTTPStatus.SERVICE_UNAVAILABLE, code=fault.code, retry_s=60)
        ids = sorted({notice.id if is_usable_id(notice.id) else "" for notice in notices})
        if not ids:
            return Verdict(status=HTTPStatus.OK, code="nothing-for-us")
        busy = self._in_flight.get(door.conn, 0)
        if busy >= self._limits.in_flight_max:
            return Verdict(status=HTTPStatus.TOO_MANY_REQUESTS, code="too-many", retry_s=1)
        self._in_flight[door.conn] = busy + 1
        try:
            return await self._keep(door.conn, ids, hook.received_us, tenant, connection)
        finally:
            self._in_flight[door.conn] -= 1

    async def _keep(self, conn: int, ids: Sequence[str], received_us: int, tenant: str, connection: str) -> Verdict:
        """Have the ledger keep what a delivery hints at."""
        try:
            async with asyncio.timeout(self._limits.answer_s):
                collapsed = await self._ledger.hear(conn, ids, received_us, self._limits.notices_max)
        except TimeoutError:
            return Verdict(status=HTTPStatus.SERVICE_UNAVAILABLE, code="ledger.unreachable", retry_s=5)
        except (LedgerBusy, EnvironmentFault) as fault:
            return Verdict(status=HTTPStatus.SERVICE_UNAVAILABLE, code=fault.code, retry_s=5)
        except BridgeError as fault:
            bug = {"event": "http.bug", "tenant": tenant, "code": fault.code}
            log.error("a delivery to %s/%s met a bug", tenant, connection, extra=bug)  # noqa: TRY400 - no values
            return Verdict(status=HTTPStatus.INTERNAL_SERVER_ERROR, code=fault.code)
        if collapsed:
            told = {"event": "webhook.collapsed", "tenant": tenant}
            log.warning("too many notices wait: the feeds are hurried instead", extra=told)
        self._meter.heard(tenant, connection, len(ids))
        return Verdict(status=HTTPStatus.OK)


class Bodies:
    """Reads bodies of which nobody knows yet who has sent them: so many at the same time, and no more.

    Where one more comes, the one that has been coming for longest is given up: a good sender's body is there at once, so it is not
    his, and those who send slowly on purpose keep nobody else out.
    """

    def __init__(self, limits: DoorLimits) -> None:
        self._limits = limits
        self._coming: dict[asyncio.Timeout, None] = {}

    async def read(self, request: Request) -> bytes | Verdict:
        """The body, within its limits of bytes and of time."""
        most = self._limits.body_bytes_max
        too_large = Verdict(status=HTTPStatus.REQUEST_ENTITY_TOO_LARGE, code="body-too-large")
        said = request.headers.get("content-length", "0")
        if not (said.isascii() and said.isdecimal()) or len(said) > len(str(most)) or int(said) > most:
            return too_large
        parts: list[bytes] = []
        size = 0
        patience = asyncio.timeout(self._limits.body_timeout_s)
        try:
            async with patience:
                self._make_room()
                self._coming[patience] = None
                async for part in request.stream():
                    size += len(part)
                    if size > most:
                        return too_large
                    parts.append(part)
        except TimeoutError:
            given_up = patience not in self._coming
            return Verdict(status=HTTPStatus.REQUEST_TIMEOUT, code="room-needed" if given_up else "body-too-slow")
        finally:
            self._coming.pop(patience, None)
        return b"".join(parts)

    def _make_room(self) -> None:
        if len(self._coming) >= self._limits.bodies_max:
            slowest = next(iter(self._coming))
            del self._coming[slowest]
            if not slowest.expired():  # its own time may be over at this very moment
                slowest.reschedule(asyncio.get_running_loop().time())


def refusal(code: str) -> Verdict:
    """What a refusal is answered with: only who has signed well is told that his form is at fault."""
    return Verdict(status=HTTPStatus.BAD_REQUEST if code == BAD_FORM else HTTPStatus.UNAUTHORIZED, code=code)


def public_address(public_url: str, request: Request) -> str:
    """The address that the delivery was sent to, as its sender knows it: what signatures cover.

    A proxy in front of us ends TLS and may change host and path, so the deployment says where it is reached. Without that, the
    host is taken from the request: whoever forges it gains nothing, since it only makes a good signature a bad one.
    """
    scope = request.scope
    path: bytes = scope.get("raw_path") or scope["path"].encode()
    query: bytes = scope.get("query_string", b"")
    base = public_url.rstrip("/") or f"https://{request.headers.get('host', '')}"
    return base + path.decode("latin-1") + (f"?{query.decode('latin-1')}" if query else "")


def headers_of(request: Request) -> Mapping[str, str]:
    """The headers by lower-case name; of several the first, as a verifier that reads one would."""
    found: dict[str, str] = {}
    for name, value in request.headers.raw:
        found.setdefault(name.decode("latin-1").lower(), value.decode("latin-1"))
    return found
