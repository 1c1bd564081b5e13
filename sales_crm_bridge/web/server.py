"""uvicorn in the running loop, on a socket and with connections of our own; it leaves the process's signals and logging alone."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from typing import TYPE_CHECKING

import uvicorn

from sales_crm_bridge.errors import EnvironmentFault
from sales_crm_bridge.web.face import HEAD_BYTES_MAX
from sales_crm_bridge.web.lines import IDLE_S, Line, LineLimits, Lines

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from starlette.types import ASGIApp

log = logging.getLogger(__name__)

GRACE_S = 5
"""How long requests under way may take when the server ends; a delivery takes less (``web.answer``)."""

BACKLOG = 512
"""Connections that the machine keeps for us until we take them."""

TAKEN_AT_ONCE = 16
"""How many are taken in one turn of the loop: those beyond the limit are cut off in the turns after it, and are open meanwhile."""


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, lines: Lines) -> None:
        super().__init__(config)
        self.server_state = lines

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listener in sockets or ():
            listener.listen(BACKLOG)  # asyncio has set it to what it takes at once

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def serve(
    app: ASGIApp, host: str, port: int, limits: LineLimits, cut: Callable[[str], None]
) -> AsyncIterator[tuple[int, asyncio.Task[None]]]:
    """Serve ``app`` while the context lasts; gives the port, and the server's task, which ends only if it breaks.

    ``host`` "": all addresses of the machine, of both families where it has both. ``port`` 0: a free one. ``cut`` is told of each
    connection that is cut off, and why: ``slow`` or ``room``. At the end requests under way are finished within ``GRACE_S``.
    Raises ``EnvironmentFault`` when the address cannot be had.
    """
    listener = _listen(host, port)
    lines = Lines(limits, cut)
    if lines.most < limits.connections_max:
        few = {"event": "http.few-files", "connections": lines.most}
        log.warning(
            "this process may open so few files that fewer connections are kept than the settings allow", extra=few
        )
    server = _Server(config_of(app), lines)
    task = asyncio.create_task(server.serve(sockets=[listener]), name="http")
    try:
        yield listener.getsockname()[1], task
    finally:
        server.should_exit = True
        await asyncio.wait((task,))
        listener.close()


def config_of(app: ASGIApp) -> uvicorn.Config:
    """How uvicorn serves ``app``."""
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        interface="asgi3",
        http=Line,
        ws="none",
        proxy_headers=False,
        server_header=False,
        backlog=TAKEN_AT_ONCE,
        timeout_keep_alive=IDLE_S,
        timeout_graceful_shutdown=GRACE_S,
        h11_max_incomplete_event_size=HEAD_BYTES_MAX,
    )


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
