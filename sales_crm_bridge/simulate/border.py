"""The border of one process of the bridge in a simulated deployment: all that it reaches the world by, with faults on purpose.

The faults stand on the far side of the ports: a ledger that is busy, or whose answer is lost after its commit, a clock that goes
wrong, a process that dies. What the bridge makes of them is its own code.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any, Protocol

from sales_crm_bridge.errors import EnvironmentFault, LedgerBusy
from sales_crm_bridge.simulate.plan import LEDGER_WRITES
from sales_crm_bridge.simulate.process import Killed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sales_crm_bridge.model import Published
    from sales_crm_bridge.ports import FactSink, Transport
    from sales_crm_bridge.simulate.loop import VirtualClock
    from sales_crm_bridge.simulate.plan import Event
    from sales_crm_bridge.state import OutboxRow

FROZEN_S = 60
"""For how long, at most, a process sleeps: three times as long as a lease lasts."""

_VERSION = re.compile(r"v\d+|\d{4}-\d{2}")
_METHOD = re.compile(rb'"method": ?"([\w.]+)"')
_PLACES: dict[tuple[str, str], str] = {}


def place_of(method: str, target: str, body: bytes) -> str:
    """The name of a request's place: method and path, with ``*`` for ids; of a JSON-RPC call its method as well."""
    path = target.partition("?")[0]
    if path.startswith("http"):
        path = "/" + path.split("/", 3)[3]
    place = _PLACES.get((method, path))
    if place is None:
        parts = [
            "*" if any(c.isdigit() for c in part) and not _VERSION.fullmatch(part) else part for part in path.split("/")
        ]
        place = _PLACES[method, path] = f"{method} {'/'.join(parts)}"
        if len(_PLACES) > 10_000:  # noqa: PLR2004 - of a night's records
            _PLACES.clear()
    if place.endswith("/jsonrpc"):
        return f"{place} {_METHOD.findall(body)[-1].decode()}"
    return place


class Watcher(Protocol):
    """The deployment, as a border sees it."""

    def crossed(self, process: Border, what: str, said: tuple[object, ...]) -> None:
        """A process crosses its border; raises nothing, but may end a process."""
        ...

    def take(self, kind: str, at: str) -> Event | None:
        """The fault of this kind that is to happen here, if any; it is gone then."""
        ...


class Border:
    """One life of one process: ``dead`` once it was killed, ``clock`` its own."""

    def __init__(self, name: str, watcher: Watcher, clock: SkewedClock) -> None:
        self.name = name
        self.clock = clock
        self.dead = asyncio.Event()
        self.back_s = 0.0
        self._frozen_until_us = 0
        self.tasks: list[asyncio.Task[Any]] = []
        self._watcher = watcher
        clock.border = self

    def die(self, back_s: float) -> None:
        """End here and now; another process takes the place after ``back_s``."""
        self.back_s = back_s
        self.dead.set()

    def freeze(self, seconds: float) -> None:
        """Let the whole process sleep, as one does whose machine has no time for it."""
        self._frozen_until_us = self.clock.world.now_us() + round(seconds * 1e6)

    async def thawed(self) -> None:
        """Come back when the process is awake."""
        world = self.clock.world
        while (left_us := self._frozen_until_us - world.now_us()) > 0 and not self.dead.is_set():
            await world.sleep(left_us / 1e6)

    def cross(self, what: str, *said: object) -> None:
        """Cross the border; ``Killed`` if the process is dead or dies by it."""
        if self.dead.is_set():
            raise Killed
        self._watcher.crossed(self, what, said)
        if self.dead.is_set():
            raise Killed

    def take(self, kind: str, at: str) -> Event | None:
        """See ``Watcher``."""
        return self._watcher.take(kind, at)


class SkewedClock:
    """``ports.Clock`` of one process: the world's, so much ahead or behind, and never backwards."""

    def __init__(self, world: VirtualClock, skew_us: int) -> None:
        self.world = world
        self.skew_us = skew_us
        self.border: Border | None = None
        self._last_us = 0

    def now_us(self) -> int:
        """Now, in epoch microseconds."""
        self._last_us = max(self._last_us, self.world.now_us() + self.skew_us)
        return self._last_us

    async def sleep(self, seconds: float) -> None:
        """As the world's clock; a process that is frozen does not wake."""
        await self.world.sleep(seconds)
        if self.border is not None:
            await self.border.thawed()


class BorderLedger:
    """The real ledger, with a crossing before and after each of its steps."""

    def __init__(self, ledger: Any, border: Border) -> None:
        self._ledger = ledger
        self._border = border

    async def wait(self, bells: Sequence[str], seconds: float) -> None:
        """See ``ports.Ledger``; who is frozen hears nothing."""
        await self._ledger.wait(bells, seconds)
        await self._border.thawed()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._ledger, name)
        if name == "close":
            return method
        border = self._border
        at = f"ledger.{name}"
        before, after, writes = f"before {at}", f"after {at}", name in LEDGER_WRITES

        async def step(*args: object, **kwargs: object) -> object:
            border.cross(before, args, kwargs)
            if (pause := border.take("pause", at)) is not None:
                border.freeze(pause.n % FROZEN_S)
            await border.thawed()
            if border.take("ledger-busy", at) is not None:
                raise LedgerBusy("ledger.busy", "another process is writing to the ledger")
            value = await method(*args, **kwargs)
            await border.thawed()
            border.cross(after, value)
            if writes and border.take("ledger-unknown", at) is not None:
                raise EnvironmentFault(
                    "ledger.outcome-unknown",
                    "the connection was cut while a step was committed",
                    remedy="nothing: it is part of the simulation",
                )
            return value

        self.__dict__[name] = step
        return step


class BorderTransport:
    """A transport with a crossing before a request leaves and after its answer is there."""

    def __init__(self, transport: Transport, border: Border) -> None:
        self._transport = transport
        self._border = border

    async def send(
        self, method: str, url: str, headers: Sequence[tuple[str, str]], body: bytes, timeout_s: float
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        """As the inner one."""
        place = place_of(method, url, body)
        self._border.cross(f"before {place}", url, headers, body, timeout_s)
        try:
            answer = await self._transport.send(method, url, headers, body, timeout_s)
        except Exception as fault:
            await self._border.thawed()
            self._border.cross(f"after {place}", type(fault).__name__)
            raise
        await self._border.thawed()
        self._border.cross(f"after {place}", answer)
        return answer

    async def close(self) -> None:
        """Close the inner one."""
        close = getattr(self._transport, "close", None)
        if close is not None:
            await close()


class BorderSink:
    """A sink with a crossing before facts leave and after they are acknowledged."""

    def __init__(self, sink: FactSink, border: Border) -> None:
        self._sink = sink
        self._border = border

    async def publish(self, rows: Sequence[OutboxRow]) -> Published:
        """As the inner one."""
        self._border.cross("before publish", rows)
        published = await self._sink.publish(rows)
        self._border.cross("after publish", published)
        return published

    async def close(self) -> None:
        """The broker stays."""
