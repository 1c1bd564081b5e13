"""httpx straight into a sandbox: no sockets, no event loop of its own, the same errors as on a real line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx

from sales_crm_bridge.sandbox.wire import ConnectionCut, Cut

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sales_crm_bridge.sandbox.wire import Sandbox

_ERRORS: dict[Cut, type[httpx.TransportError]] = {
    Cut.REFUSED: httpx.ConnectError,
    Cut.CLOSED: httpx.ReadError,
    Cut.TIMEOUT: httpx.ReadTimeout,
}


class SandboxTransport(httpx.AsyncBaseTransport):
    """A transport that hands every request to ``sandbox``, whatever its host.

    ``sleep`` makes latency, delays and the client's read timeout take time; without it they take none, so that a delay beyond
    the read timeout still ends in ``httpx.ReadTimeout``.
    """

    def __init__(self, sandbox: Sandbox, sleep: Callable[[float], Awaitable[None]] | None = None) -> None:
        self._sandbox = sandbox
        self._sleep = sleep

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Carry one request out; a cut line becomes the error that httpx has for it."""
        body = await request.aread()
        headers = {name.decode("ascii").lower(): value.decode("latin-1") for name, value in request.headers.raw}
        limit_s = request.extensions.get("timeout", {}).get("read")
        await self._pass(self._sandbox.pause_s())
        try:
            answer = self._sandbox.handle(request.method, request.url.raw_path.decode("ascii"), headers, body)
        except ConnectionCut as cut:
            if cut.how is Cut.TIMEOUT:
                await self._pass(limit_s or 0)
            raise _ERRORS[cut.how](f"sandbox: {cut.how}", request=request) from cut
        wait_s = self._sandbox.pause_s() + answer.delay_s
        if limit_s is not None and wait_s > limit_s:
            await self._pass(limit_s)
            raise httpx.ReadTimeout("sandbox: the answer came too late", request=request)
        await self._pass(wait_s)
        return httpx.Response(answer.status, headers=answer.headers, content=answer.body, request=request)

    async def _pass(self, seconds: float) -> None:
        if self._sleep is not None and seconds > 0:
            await self._sleep(seconds)
