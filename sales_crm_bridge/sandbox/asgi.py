"""A sandbox as an ASGI application, for real sockets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sales_crm_bridge.sandbox.wire import ConnectionCut, Cut

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    from sales_crm_bridge.sandbox.wire import Sandbox

    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]


class SandboxApp:
    """The shim between ASGI and ``Sandbox.handle``; ``sleep`` makes latency and delays take time."""

    def __init__(self, sandbox: Sandbox, sleep: Callable[[float], Awaitable[None]] | None = None) -> None:
        self.sandbox = sandbox
        self._sleep = sleep

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve one connection's request; a cut line is closed without an answer."""
        if scope["type"] != "http":
            await _lifespan(scope, receive, send)
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body", False):
                break
        headers = {name.decode("ascii"): value.decode("latin-1") for name, value in scope["headers"]}
        path: str = scope["raw_path"].decode("ascii") if scope.get("raw_path") else scope["path"]
        query: str = scope["query_string"].decode("ascii")
        await self._pass(self.sandbox.pause_s())
        try:
            answer = self.sandbox.handle(scope["method"], f"{path}?{query}" if query else path, headers, body)
        except ConnectionCut as cut:
            await _keep_silent(receive, send, cut.how)
            return
        await self._pass(self.sandbox.pause_s() + answer.delay_s)
        raw = [(name.encode("ascii"), value.encode("latin-1")) for name, value in answer.headers]
        if answer.body:
            raw.append((b"content-length", str(len(answer.body)).encode("ascii")))
        await send({"type": "http.response.start", "status": answer.status, "headers": raw})
        await send({"type": "http.response.body", "body": answer.body})

    async def _pass(self, seconds: float) -> None:
        if self._sleep is not None and seconds > 0:
            await self._sleep(seconds)


async def _keep_silent(receive: Receive, send: Send, how: Cut) -> None:
    """Wait until the caller gives up (a timeout), or close the socket.

    ASGI has no word for the latter, but uvicorn's ``send`` is a method of what owns the transport.
    """
    if how is not Cut.TIMEOUT:
        transport = getattr(getattr(send, "__self__", None), "transport", None)
        if transport is None:
            raise RuntimeError(
                "this server gives no access to its socket: cut lines need sandbox.serve or SandboxTransport"
            )
        transport.abort()
    while (await receive())["type"] != "http.disconnect":
        pass


async def _lifespan(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
    if scope["type"] != "lifespan":
        raise RuntimeError(f"a sandbox speaks HTTP, not {scope['type']}")
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
