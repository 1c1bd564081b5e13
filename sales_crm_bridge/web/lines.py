"""Open connections: each has an end at any moment, and there are never more than a named number of them.

Whoever connects need not sign in first, so nothing may be gained by keeping a connection: uvicorn alone times only those that it
has answered, and counts none.
"""

from __future__ import annotations

import enum
import resource
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from uvicorn import Config

IDLE_S = 75
"""How long an idle connection is kept: longer than proxies do (60 s is usual), so that none is closed while a request arrives."""

SEND_S = 30
"""How long a caller may take to read an answer, beyond the time that the answer may take to be made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LineLimits:
    """The named limits of connections; see the settings under ``web``.

    ``answer_s``: within what time a request that has come is answered, its body included, by the application's own limits.
    """

    head_s: float
    answer_s: float
    connections_max: int

    @property
    def connections(self) -> int:
        """How many there may be: at most half of the files that the process may have open, since the others are needed too."""
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return (
            self.connections_max if files == resource.RLIM_INFINITY else max(1, min(self.connections_max, files // 2))
        )


class _Phase(enum.Enum):
    HEAD = enum.auto()
    """A request's head has begun to come, or must now: the first one from the beginning on."""
    WORK = enum.auto()
    """A request is served."""
    IDLE = enum.auto()
    """All is answered, and nothing more has come."""


class Lines(ServerState):
    """The connections of one server. ``cut`` is told why one was cut off: ``slow`` or ``room``."""

    def __init__(self, limits: LineLimits, cut: Callable[[str], None]) -> None:
        super().__init__()
        self.most = limits.connections
        self.cut = cut
        self.limits_s = {
            _Phase.HEAD: limits.head_s,
            _Phase.WORK: limits.answer_s + SEND_S,
            _Phase.IDLE: float(IDLE_S),
        }
        self.spare: dict[Line, None] = {}
        """Those of which no request is served, the one that has waited longest first."""


class Line(H11Protocol):
    """uvicorn's connection with a deadline for whatever it is doing."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        assert isinstance(server_state, Lines)
        super().__init__(config, server_state, app_state, _loop)
        self._lines = server_state
        self._phase = _Phase.HEAD
        self._deadline: asyncio.TimerHandle | None = None
        self._served: object = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Take it; if there are too many now, the one that has waited longest without a request makes room."""
        super().connection_made(transport)
        self._enter(_Phase.HEAD)
        if len(self.connections) > self._lines.most:
            next(iter(self._lines.spare)).end("room")

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is left of it."""
        self._forget()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """The first bytes after an answer begin a head (or are left over from a body that nobody wanted)."""
        if self._phase is _Phase.IDLE:
            self._enter(_Phase.HEAD)
        super().data_received(data)

    def handle_events(self) -> None:
        """A head that is whole has begun a request."""
        super().handle_events()
        if self.cycle is not self._served:
            self._served = self.cycle
            self._enter(_Phase.WORK)

    def on_response_complete(self) -> None:
        """The next request may be there already, or its beginning."""
        answered = self.cycle
        super().on_response_complete()
        if self.cycle is answered:
            self._enter(_Phase.HEAD if self.conn.trailing_data[0] else _Phase.IDLE)

    def end(self, why: str) -> None:
        """Cut it off at once, whatever waits to be sent."""
        self._lines.cut(why)
        self._forget()
        self.connections.discard(self)
        self.transport.abort()

    def _enter(self, phase: _Phase) -> None:
        self._forget()
        self._phase = phase
        if phase is not _Phase.WORK:
            self._lines.spare[self] = None
        self._deadline = self.loop.call_later(self._lines.limits_s[phase], self._overdue)

    def _overdue(self) -> None:
        if self._phase is _Phase.IDLE and not self.transport.get_write_buffer_size():
            self.timeout_keep_alive_handler()
        else:
            self.end("slow")

    def _forget(self) -> None:
        self._lines.spare.pop(self, None)
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
