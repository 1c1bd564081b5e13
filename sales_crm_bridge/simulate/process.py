"""A bridge process that can die between any two lines: everything it reaches the world by goes through a mortal wrapper."""

from __future__ import annotations

import asyncio
import functools
import hashlib
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from sales_crm_bridge.model import Published
    from sales_crm_bridge.ports import FactSink, Transport
    from sales_crm_bridge.state import OutboxRow


_pack = msgspec.msgpack.Encoder().encode
"""Any of the house's values as bytes, in the order in which they hold their parts; raises for an object that is no value."""


class Killed(BaseException):
    """The process is dead. No ``except Exception`` survives it, and no ``finally`` can still reach the world."""


class Life:
    """One process's life: ``steps`` crossings of its border are left (None: it lives on), each before or after something real.

    ``last``: the first crossing of this name is its last (a commit, say), whatever steps are left. ``trace`` takes a line
    for each crossing: what was done, in which order, at which virtual time, with a digest of what was said by it.
    """

    def __init__(
        self, name: str, trace: list[str], now_us: Callable[[], int], steps: int | None = None, last: str = ""
    ) -> None:
        self.last = last
        self.name = name
        self.trace = trace
        self.steps = steps
        self.dead = asyncio.Event()
        self._now_us = now_us

    def cross(self, what: str, *said: object) -> None:
        """Note a crossing, with what crosses; die at it when the steps are used up, and always once dead."""
        if self.dead.is_set():
            raise Killed
        digest = f" {hashlib.blake2b(_pack(said), digest_size=8).hexdigest()}" if said else ""
        self.trace.append(f"{self._now_us()} {self.name} {what}{digest}")
        if self.steps is not None:
            self.steps -= 1
        if what == self.last or (self.steps is not None and self.steps <= 0):
            self.trace.append(f"{self._now_us()} {self.name} killed")
            self.dead.set()
            raise Killed


class MortalLedger:
    """The real ledger, with a crossing before and after each of its steps."""

    def __init__(self, ledger: Any, life: Life) -> None:
        self._ledger = ledger
        self._life = life

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._ledger, name)
        if name in {"wait", "close"}:
            return method

        @functools.wraps(method)
        async def step(*args: object, **kwargs: object) -> object:
            self._life.cross(f"{name} …", args, kwargs)
            value = await method(*args, **kwargs)
            self._life.cross(f"… {name}", value)
            return value

        return step


class MortalTransport:
    """A transport with a crossing before a request leaves and after its answer is there."""

    def __init__(self, transport: Transport, life: Life) -> None:
        self._transport = transport
        self._life = life

    async def send(
        self, method: str, url: str, headers: Sequence[tuple[str, str]], body: bytes, timeout_s: float
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        """As the inner one."""
        path = url.partition("?")[0]
        self._life.cross(f"{method} {path} …", url, headers, body, timeout_s)
        try:
            answer = await self._transport.send(method, url, headers, body, timeout_s)
        except Exception as fault:
            self._life.cross(f"… {method} {path} {type(fault).__name__}")
            raise
        self._life.cross(f"… {method} {path} {answer[0]}", answer)
        return answer

    async def close(self) -> None:
        """Close the inner one."""
        close: Callable[[], Awaitable[None]] | None = getattr(self._transport, "close", None)
        if close is not None:
            await close()


class MortalSink:
    """A sink with a crossing before facts leave and after they are acknowledged."""

    def __init__(self, sink: FactSink, life: Life) -> None:
        self._sink = sink
        self._life = life

    async def publish(self, rows: Sequence[OutboxRow]) -> Published:
        """As the inner one."""
        self._life.cross(f"publish {len(rows)} …", rows)
        published = await self._sink.publish(rows)
        self._life.cross(f"… publish {len(rows)}")
        return published

    async def close(self) -> None:
        """Close the inner one."""
        if not self._life.dead.is_set():
            await self._sink.close()
