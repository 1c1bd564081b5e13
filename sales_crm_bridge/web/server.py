"""uvicorn in the running loop, on a socket of our own; it leaves the process's signals and its logging alone."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

import uvicorn

from sales_crm_bridge.errors import EnvironmentFault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from starlette.types import ASGIApp

GRACE_S = 5
"""How long requests under way may take when the server ends; a delivery takes less (``web.answer``)."""

IDLE_S = 75
"""How long an idle connection is kept: longer than proxies do (60 s is usual), so that none is closed while a request arrives."""

HEAD_BYTES_MAX = 32_768
"""Bytes of a request's line and headers."""

BACKLOG = 512


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def serve(app: ASGIApp, host: str, port: int) -> AsyncIterator[tuple[int, asyncio.Task[None]]]:
    """Serve ``app`` while the context lasts; gives the port, and the server's task, which ends only if it breaks.

    ``host`` "": all addresses of the machine, of both families where it has both. ``port`` 0: a free one. At the end requests
    under way are finished within ``GRACE_S``. Raises ``EnvironmentFault`` when the address cannot be had.
    """
    listener = _listen(host, port)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        http="h11",
        ws="none",
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=IDLE_S,
        timeout_graceful_shutdown=GRACE_S,
        h11_max_incomplete_event_size=HEAD_BYTES_MAX,
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]), name="http")
    try:
        yield listener.getsockname()[1], task
    finally:
        server.should_exit = True
        await asyncio.wait((task,))
        listener.close()


def _listen(host: str, port: int) -> socket.socket:
    try:
        if not host and socket.has_dualstack_ipv6():
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=BACKLOG)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise EnvironmentFault(
            "http.port-taken",
            f"cannot listen on {host or 'any address'}, port {port}: {error.strerror or type(error).__name__}",
            place="port_http",
            remedy="free the port, or set PORT_HTTP (and `web.host`) to an address that this process may have",
        ) from error
