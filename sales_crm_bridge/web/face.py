"""The face: what the service shows and takes over HTTP, as one ASGI application."""

from __future__ import annotations

import asyncio
import logging
import traceback
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol

from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from sales_crm_bridge.errors import BridgeError
from sales_crm_bridge.web import families
from sales_crm_bridge.web.health import Pulse
from sales_crm_bridge.web.hooks import Receiver

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence

    from prometheus_client import Metric
    from starlette.requests import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from sales_crm_bridge.errors import Finding
    from sales_crm_bridge.ports import Clock, Ledger
    from sales_crm_bridge.rim.terms import RimState
    from sales_crm_bridge.web.hooks import DoorLimits, Doors
    from sales_crm_bridge.web.meter import Meter

log = logging.getLogger(__name__)

HEALTHZ, READYZ, METRICS = "/healthz", "/readyz", "/metrics"
PROBES = frozenset({HEALTHZ, READYZ, METRICS})
WEBHOOKS = "/webhooks/{tenant}/{connection}"

HEAD_BYTES_MAX = 32_768
"""Bytes of a request's line and headers."""

CENSUS_S = 3.0
"""How long a scrape waits for the ledger: Prometheus gives up after 10 s unless told otherwise."""


class Inside(Protocol):
    """What the face must know of the service."""

    @property
    def draining(self) -> bool:
        """Whether it was asked to stop."""
        ...

    @property
    def findings(self) -> Sequence[Finding]:
        """Problems of the tenants' files that are refused."""
        ...

    @property
    def rims(self) -> Mapping[tuple[str, str], RimState]:
        """How the CRMs are found that this process works for, by tenant and connection."""
        ...


class Face:
    """/healthz, /readyz, /metrics and /webhooks/{tenant}/{connection}; ``app`` is the ASGI application.

    ``kafka`` asks Kafka (a code, "" when it answers); ``version`` is the program's. ``pulse`` must beat while ``app`` is served.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        clock: Clock,
        inside: Inside,
        doors: Doors,
        meter: Meter,
        limits: DoorLimits,
        kafka: Callable[[], Awaitable[str]],
        version: str,
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._inside = inside
        self._doors = doors
        self._meter = meter
        self._version = version
        self._receiver = Receiver(doors, ledger, clock, meter, limits)
        self.pulse = Pulse(ledger, clock, kafka)
        routes = [
            Route(HEALTHZ, self._healthz),
            Route(READYZ, self._readyz),
            Route(METRICS, self._metrics),
            Route(WEBHOOKS, self._webhook, methods=["POST"]),
        ]
        starlette = Starlette(routes=routes, exception_handlers={HTTPStatus.NOT_FOUND: _not_found, Exception: _failed})
        # It would send whoever adds a slash to wherever the request's own Host says.
        starlette.router.redirect_slashes = False
        self.app: ASGIApp = AccessLog(HeadLimit(starlette), clock)

    def cut(self, why: str) -> None:
        """Count a connection that was cut off; see ``server.serve``."""
        self._meter.cut(why)

    async def _healthz(self, _request: Request) -> Response:
        """Whether the process is alive: its loop turns, or nothing would come."""
        return PlainTextResponse("ok\n")

    async def _readyz(self, _request: Request) -> Response:
        """Whether it can be asked for something, and how everything stands."""
        reasons = self._reasons()
        status = HTTPStatus.SERVICE_UNAVAILABLE if reasons else HTTPStatus.OK
        return JSONResponse(self.pulse.told(reasons), status)

    def _reasons(self) -> list[str]:
        return self.pulse.reasons(loaded=self._doors.loaded, draining=self._inside.draining)

    async def _metrics(self, request: Request) -> Response:
        """Everything that is counted. A ledger that does not answer costs its part alone."""
        try:
            async with asyncio.timeout(CENSUS_S):
                census = await self._ledger.census()
        except (TimeoutError, BridgeError) as fault:
            code = fault.code if isinstance(fault, BridgeError) else "ledger.unreachable"
            log.warning("metrics lack what the ledger knows", extra={"event": "http.no-ledger", "code": code})
            census = None
        now_us = self._clock.now_us()
        page = Page(
            families.of_process(
                version=self._version,
                ready=not self._reasons(),
                kafka=not self.pulse.kafka_code,
                findings=self._inside.findings,
            ),
            families.of_rims(self._inside.rims, now_us),
            (families.alone("ledger_up", "Whether the ledger answered this scrape.", census is not None),),
            () if census is None else families.of_census(census, now_us),
            self._meter.families(),
        )
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(page), media_type=content_type)

    async def _webhook(self, request: Request) -> Response:
        """Take a delivery in; the answer says no more than its sender needs."""
        tenant, connection = request.path_params["tenant"], request.path_params["connection"]
        verdict = await self._receiver.receive(request, tenant, connection)
        request.scope["bridge.code"], request.scope["bridge.tenant"] = verdict.code, verdict.tenant
        headers = {"retry-after": str(verdict.retry_s)} if verdict.retry_s else {}
        if verdict.status in (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.REQUEST_TIMEOUT):
            headers["connection"] = "close"  # what is left of the body is not waited for
        # Why a signature does not hold stands in the log: to whoever has not signed, all addresses are the same.
        told = "unauthorized" if verdict.status == HTTPStatus.UNAUTHORIZED else verdict.code
        body = {} if verdict.status == HTTPStatus.OK else {"error": told}
        return JSONResponse(body, verdict.status, headers)


class Page:
    """Metric families as prometheus_client's encoders want them."""

    def __init__(self, *parts: Iterable[Metric]) -> None:
        self._parts = parts

    def collect(self) -> Iterator[Metric]:
        """All of them."""
        for part in self._parts:
            yield from part


class HeadLimit:
    """Refuses a request whose head is too large with 431: the server cuts off those alone that have not come whole."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve, or refuse."""
        if scope["type"] == "http" and _head_bytes(scope) > HEAD_BYTES_MAX:
            scope["bridge.code"] = "head-too-large"
            answer = JSONResponse(
                {"error": "head-too-large"}, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, {"connection": "close"}
            )
            await answer(scope, receive, send)
            return
        await self._app(scope, receive, send)


class AccessLog:
    """One structured line a request: route, status, time; never a body, a query, or a path that somebody made up."""

    def __init__(self, app: ASGIApp, clock: Clock) -> None:
        self._app = app
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve, and say so."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began_us = self._clock.now_us()
        status = 0

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, note)
        except Exception as fault:  # noqa: BLE001 - said without its values, which may be a person's; Starlette has answered 500
            where = "".join(traceback.format_tb(fault.__traceback__))
            code = {"event": "http.bug", "code": type(fault).__name__, "traceback": where}
            log.error("a bug in the HTTP side", extra=code)  # noqa: TRY400 - the same
        route = _route(scope)
        if route in PROBES and status == HTTPStatus.OK:
            log.debug("a probe was answered", extra={"event": "http.probe", "route": route})
            return
        log.info(
            "a request was answered",
            extra={
                "event": "http.request",
                "route": route,
                "status": status,
                "duration_ms": round((self._clock.now_us() - began_us) / 1000, 1),
                "tenant": scope.get("bridge.tenant", ""),
                "code": scope.get("bridge.code", ""),
            },
        )


def _head_bytes(scope: Scope) -> int:
    """The bytes of the address and of each header's line."""
    address = len(scope.get("raw_path") or scope["path"]) + len(scope.get("query_string", b""))
    return address + sum(len(name) + len(value) + len(": \r\n") for name, value in scope["headers"])


def _route(scope: Scope) -> str:
    """The route that was asked for; "other" for what is none of ours."""
    path: str = scope["path"]
    if path in PROBES:
        return path
    return WEBHOOKS if "connection" in scope.get("path_params", {}) else "other"


async def _not_found(_request: Request, _error: object) -> Response:
    """The same for every address that there is not."""
    return JSONResponse({"error": "not-found"}, HTTPStatus.NOT_FOUND)


async def _failed(_request: Request, _error: object) -> Response:
    """A bug of ours; what it was stands in the log, without values."""
    return JSONResponse({"error": "internal"}, HTTPStatus.INTERNAL_SERVER_ERROR)
