"""The worker of one CRM account: pushes and pulls for as long as its lease holds, and survives what the world does to it."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from sales_crm_bridge.errors import (
    ConnectionStopped,
    CrmUnavailable,
    EnvironmentFault,
    LeaseLost,
    LedgerBusy,
    QuotaExhausted,
    RuntimeFault,
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
                except ExceptionGroup as group:
                    if not await self._trouble(_leaves(group)):
                        return
                except Exception as fault:  # noqa: BLE001 - one tenant's bug must not stop the others; it is said aloud
                    if not await self._trouble([fault]):
                        return
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

    async def _trouble(self, faults: list[Exception]) -> bool:
        """Write down what stands in the way, and wait before the next try; False: the lease is lost, there is no next try."""
        desk = self._desk
        if any(isinstance(fault, LeaseLost) for fault in faults):
            log.info("lease lost", extra={"tenant": desk.tenant})
            return False
        bugs = [fault for fault in faults if not isinstance(fault, RuntimeFault | EnvironmentFault)]
        fault = (bugs or faults)[0]
        least_s = 0.0
        if isinstance(fault, CrmUnavailable):
            least_s = (fault.retry_at_us - desk.clock.now_us()) / 1e6
        match fault:
            case ConnectionStopped() | QuotaExhausted() | CrmUnavailable():
                log.error("%s", fault, extra={"tenant": desk.tenant})
                await self._say(_STATES[type(fault)], fault.code, fault.message, fault.remedy)
            case LedgerBusy() | EnvironmentFault():
                log.warning("the ledger is away: %s", fault.code, extra={"tenant": desk.tenant})
            case _:
                log.error("bug in the work of %s", desk.tenant, exc_info=fault)
                await self._say(
                    "stopped", "bug.worker", type(fault).__name__, "report it with the traceback of the log"
                )
        await self._pause(least_s)
        return True

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


_STATES = {ConnectionStopped: "stopped", QuotaExhausted: "quota", CrmUnavailable: "unavailable"}


def _leaves(group: ExceptionGroup[Exception]) -> list[Exception]:
    found: list[Exception] = []
    for one in group.exceptions:
        found += _leaves(one) if isinstance(one, ExceptionGroup) else [one]
    return found
