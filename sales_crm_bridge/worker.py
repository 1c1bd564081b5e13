"""The worker of one CRM account: pushes and pulls for as long as its lease holds, and survives what the world does to it."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from sales_crm_bridge.errors import (
    BridgeError,
    ConnectionStopped,
    CrmUnavailable,
    EnvironmentFault,
    LeaseLost,
    LedgerBusy,
    QuotaExhausted,
)
from sales_crm_bridge.pull import Puller
from sales_crm_bridge.push import Pusher

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sales_crm_bridge.desk import Desk
    from sales_crm_bridge.state import Fence

log = logging.getLogger(__name__)

IDLE_MAX_S = 30.0
PAUSE_START_S = 1.0
PAUSE_MAX_S = 900.0


def commands_bell(conn: int) -> str:
    """Rings when a command of this connection has come in."""
    return f"commands/{conn}"


def pull_bell(conn: int) -> str:
    """Rings when something hints at a change in this connection's CRM."""
    return f"pull/{conn}"


class Worker:
    """Runs push and pull of one connection under ``desk.fence`` until ``stop`` is called or the lease is lost.

    ``still`` tells whether the fence may still be acted under. A fault that a person must mend is written down and tried again
    with a growing pause; a fault of one connection never leaves this worker.
    """

    def __init__(self, desk: Desk, still: Callable[[Fence], bool], close: Callable[[], Awaitable[None]]) -> None:
        self._desk = desk
        self._still = still
        self._close = close
        self._stopping = asyncio.Event()
        self._faults = 0
        self._said = ""
        self.puller = Puller(desk)
        self.pusher = Pusher(desk)

    @property
    def desk(self) -> Desk:
        """Where it works."""
        return self._desk

    def stop(self) -> None:
        """Ask it to end after the steps under way."""
        self._stopping.set()

    def _on(self) -> bool:
        return not self._stopping.is_set() and self._still(self._desk.fence)

    async def run(self) -> None:
        """Work until asked to stop or until the lease is lost; leaves nothing half done that the next holder cannot take up."""
        try:
            while self._on():
                try:
                    await self._session()
                except* LeaseLost:
                    log.info("lease lost", extra={"tenant": self._desk.tenant})
                    return
                except* BridgeError as group:
                    await self._trouble(group)
                except* Exception as group:  # noqa: BLE001 - one tenant's bug must not stop the others; it is said aloud
                    log.exception("bug in the work of %s", self._desk.tenant, exc_info=group)
                    await self._say("stopped", "bug.worker", type(group.exceptions[0]).__name__, "report it; see the log")
                    await self._pause(0.0)
        finally:
            await self._close()

    async def _session(self) -> None:
        await self.pusher.open()
        await self.puller.open()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._pushing(), name=f"push {self._desk.tenant}")
            group.create_task(self._pulling(), name=f"pull {self._desk.tenant}")

    async def _pushing(self) -> None:
        desk = self._desk
        while self._on():
            if await self.pusher.step():
                await self._well()
                continue
            next_us = await desk.ledger.commands_next_us(desk.conn)
            now_us = desk.clock.now_us()
            idle_s = IDLE_MAX_S if not next_us else min(IDLE_MAX_S, max(0.05, (next_us - now_us) / 1e6))
            await self._wait(commands_bell(desk.conn), idle_s)

    async def _pulling(self) -> None:
        desk = self._desk
        while self._on():
            failures = sum(standing.failures for standing in self.puller.standings.values())
            idle_s = await self.puller.step()
            if not sum(standing.failures for standing in self.puller.standings.values()) and not failures:
                await self._well()
            if idle_s > 0:
                await self._wait(pull_bell(desk.conn), min(idle_s, IDLE_MAX_S))

    async def _wait(self, bell: str, seconds: float) -> None:
        """Until the bell rings, time is over, or the worker is asked to stop."""
        ringing = asyncio.ensure_future(self._desk.ledger.wait([bell], seconds))
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait((ringing, stopping), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (ringing, stopping):
                task.cancel()
            await asyncio.gather(ringing, stopping, return_exceptions=True)

    async def _well(self) -> None:
        self._faults = 0
        if self._said != "ok":
            await self._say("ok", "", "", "")

    async def _trouble(self, group: BaseExceptionGroup[BridgeError]) -> None:
        """Write down what stands in the way, and wait before the next try."""
        fault = _first(group)
        least_s = 0.0
        match fault:
            case ConnectionStopped():
                state = "stopped"
            case QuotaExhausted(retry_at_us=retry_at_us):
                state, least_s = "quota", (retry_at_us - self._desk.clock.now_us()) / 1e6
            case CrmUnavailable(retry_at_us=retry_at_us):
                state, least_s = "unavailable", (retry_at_us - self._desk.clock.now_us()) / 1e6
            case LedgerBusy() | EnvironmentFault():
                log.warning("the ledger is away: %s", fault.code, extra={"tenant": self._desk.tenant})
                await self._pause(0.0)
                return
            case _:
                state = "stopped"
        log.error("%s", fault, extra={"tenant": self._desk.tenant})
        await self._say(state, fault.code, fault.message, fault.remedy)
        await self._pause(least_s)

    async def _say(self, state: str, code: str, message: str, remedy: str) -> None:
        desk = self._desk
        self._said = state
        try:
            await desk.ledger.connection_say(desk.conn, state, code, message, remedy, desk.clock.now_us())
        except (LedgerBusy, EnvironmentFault) as fault:
            self._said = ""
            log.warning("could not write down the state of %s: %s", desk.tenant, fault.code)

    async def _pause(self, least_s: float) -> None:
        pause_s = min(PAUSE_START_S * 2 ** min(self._faults, 12), PAUSE_MAX_S)
        self._faults += 1
        await self._wait(f"retry/{self._desk.conn}", max(pause_s, min(least_s, PAUSE_MAX_S)))


def _first(group: BaseExceptionGroup[BridgeError]) -> BridgeError:
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner
