"""The service: intake, relay and housekeeping beside one worker for each CRM account whose lease this process holds."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from sales_crm_bridge.errors import EnvironmentFault, LeaseLost, LedgerBusy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from sales_crm_bridge.intake import Intaker
    from sales_crm_bridge.keeper import Keeper
    from sales_crm_bridge.ports import Clock, FactSink, IntentSource, Ledger
    from sales_crm_bridge.relay import Relay
    from sales_crm_bridge.state import Fence
    from sales_crm_bridge.worker import Worker

log = logging.getLogger(__name__)

RELAY_LEASE = "relay"
HOUSE_LEASE = "house"
OUTBOX_BELL = "outbox"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The service's own named limits: see the settings of the same names."""

    lease_s: float
    drain_s: float
    reload_s: float
    relay_idle_s: float
    house_s: float
    keep_commands_s: float
    keep_inbox_s: float
    keep_runs_s: float
    forget_batch: int


class Roster(Protocol):
    """The tenants in force, and how to work for one."""

    async def refresh(self) -> set[str]:
        """Look at the tenant files again; gives the leases whose tenant changed, came or went."""
        ...

    def leases(self) -> Mapping[str, str]:
        """Lease name → tenant, for every tenant in force."""
        ...

    async def worker(self, lease: str, fence: Fence, still: Callable[[Fence], bool]) -> Worker:
        """A worker for the account of ``lease``."""
        ...


class Service:
    """Runs until ``stop``; every part is handed in."""

    def __init__(
        self,
        *,
        roster: Roster,
        keeper: Keeper,
        ledger: Ledger,
        clock: Clock,
        source: IntentSource | None,
        intaker: Intaker | None,
        sink: FactSink,
        relay: Relay,
        limits: Limits,
    ) -> None:
        self._roster = roster
        self._keeper = keeper
        self._ledger = ledger
        self._clock = clock
        self._source = source
        self._intaker = intaker
        self._sink = sink
        self._relay = relay
        self._limits = limits
        self._stopping = asyncio.Event()
        self._drained = asyncio.Event()
        self._workers: dict[str, tuple[Worker, asyncio.Task[None]]] = {}
        self._ended: list[asyncio.Task[None]] = []

    @property
    def workers(self) -> Mapping[str, Worker]:
        """The workers at work, by lease."""
        return {lease: worker for lease, (worker, _) in self._workers.items()}

    def stop(self) -> None:
        """Drain: no new intents, steps under way end, facts that wait are published, leases are given back."""
        self._stopping.set()

    async def run(self) -> None:
        """Until ``stop``; raises ``EnvironmentFault`` when Kafka refuses us for good."""
        await self._roster.refresh()
        relaying = asyncio.create_task(self._relaying(), name="relay")
        parts = [
            asyncio.create_task(self._keeping(), name="keeper"),
            asyncio.create_task(self._reloading(), name="reload"),
            asyncio.create_task(self._house(), name="house"),
        ]
        if self._intaker is not None:
            parts.append(asyncio.create_task(self._intaker.run(), name="intake"))
        stopping = asyncio.create_task(self._stopping.wait(), name="stop")
        try:
            await asyncio.wait((*parts, relaying, stopping), return_when=asyncio.FIRST_COMPLETED)
            for task in (*parts, relaying):
                if task.done():
                    task.result()
        finally:
            self._stopping.set()
            await self._drain(parts, relaying)
            stopping.cancel()

    # --- the loops ----------------------------------------------------------------------------------------------------

    async def _keeping(self) -> None:
        """Renew the leases, and start or end workers as they come and go."""
        while not self._stopping.is_set():
            wanted = sorted((*self._roster.leases(), RELAY_LEASE, HOUSE_LEASE))
            try:
                held = await self._keeper.turn(wanted)
            except EnvironmentFault as fault:
                log.warning("leases could not be renewed: %s", fault.code)
                held = {}
            accounts = self._roster.leases()
            for lease in list(self._workers):
                worker, task = self._workers[lease]
                if task.done() or lease not in held or worker.desk.fence != held[lease]:
                    self._retire(lease)
            for lease, fence in held.items():
                if lease in accounts and lease not in self._workers and not self._stopping.is_set():
                    await self._start(lease, fence)
            await self._nap(self._limits.lease_s / 3)

    async def _start(self, lease: str, fence: Fence) -> None:
        try:
            worker = await self._roster.worker(lease, fence, self._keeper.still)
        except (LedgerBusy, LeaseLost, EnvironmentFault) as fault:
            log.warning("no worker for %s yet: %s", lease, fault.code)
            return
        task = asyncio.create_task(worker.run(), name=f"worker {lease}")
        self._workers[lease] = (worker, task)

    def _retire(self, lease: str) -> None:
        worker, task = self._workers.pop(lease)
        worker.stop()
        if not task.done():
            self._ended.append(task)
        self._ended = [task for task in self._ended if not task.done()]

    async def _reloading(self) -> None:
        """Take up changed tenant files: the worker of a changed tenant ends after its step, and begins anew with the new file."""
        while not self._stopping.is_set():
            await self._nap(self._limits.reload_s)
            try:
                changed = await self._roster.refresh()
            except (LedgerBusy, EnvironmentFault) as fault:
                log.warning("tenant files could not be taken up: %s", fault.code)
                continue
            for lease in sorted(changed):
                if lease in self._workers:
                    worker, task = self._workers[lease]
                    worker.stop()
                    await asyncio.wait((task,), timeout=self._limits.drain_s)
                    if not task.done():
                        task.cancel()
                        await asyncio.wait((task,))
                    fence = worker.desk.fence
                    del self._workers[lease]
                    if lease in self._roster.leases() and self._keeper.still(fence):
                        await self._start(lease, fence)

    async def _relaying(self) -> None:
        """Publish the outbox while we hold the relay's lease; when draining, until it is empty."""
        while not self._drained.is_set():
            fence = self._keeper.holds(RELAY_LEASE)
            done = 0
            if fence is not None:
                try:
                    done = await self._relay.step(fence)
                except LeaseLost:
                    log.info("another process relays now")
                except (LedgerBusy, EnvironmentFault) as fault:
                    log.warning("the relay waits for the ledger: %s", fault.code)
            if not done:
                await self._ledger.wait([OUTBOX_BELL], self._limits.relay_idle_s)

    async def _house(self) -> None:
        """Retention: forget what the named settings say may be forgotten, a batch at a time."""
        limits = self._limits
        while not self._stopping.is_set():
            if self._keeper.holds(HOUSE_LEASE) is not None:
                now_us = self._clock.now_us()
                try:
                    gone = await self._ledger.forget(
                        now_us - round(limits.keep_commands_s * 1e6),
                        now_us - round(limits.keep_inbox_s * 1e6),
                        now_us - round(limits.keep_runs_s * 1e6),
                        limits.forget_batch,
                    )
                except (LedgerBusy, EnvironmentFault) as fault:
                    log.warning("housekeeping waits for the ledger: %s", fault.code)
                    gone = 0
                if gone >= limits.forget_batch:
                    await self._clock.sleep(0)
                    continue
            await self._nap(limits.house_s)

    async def _nap(self, seconds: float) -> None:
        """Sleep, but wake when asked to stop."""
        napping = asyncio.ensure_future(self._clock.sleep(seconds))
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait((napping, stopping), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (napping, stopping):
                task.cancel()
            await asyncio.gather(napping, stopping, return_exceptions=True)

    # --- the end ------------------------------------------------------------------------------------------------------

    async def _drain(self, parts: list[asyncio.Task[None]], relaying: asyncio.Task[None]) -> None:
        limit_s = self._limits.drain_s
        if self._source is not None:
            await self._source.close()
        for worker, _ in self._workers.values():
            worker.stop()
        working = [task for _, task in self._workers.values()] + self._ended
        await _end(working, limit_s * 0.6)
        await _end(parts, limit_s * 0.1)
        if not relaying.done():
            await _until(self._outbox_empty, self._clock.sleep, limit_s * 0.2)
        self._drained.set()
        await self._ledger.ring(OUTBOX_BELL)
        await _end([relaying], limit_s * 0.1 + self._limits.relay_idle_s)
        await self._sink.close()
        try:
            await self._keeper.drop_all()
        except (LedgerBusy, EnvironmentFault) as fault:
            log.warning("leases were not given back, they will expire: %s", fault.code)

    async def _outbox_empty(self) -> bool:
        if self._keeper.holds(RELAY_LEASE) is None or self._relay.trouble:
            return True
        try:
            return (await self._ledger.outbox_depth())[0] == 0
        except (LedgerBusy, EnvironmentFault):
            return True


async def _end(tasks: list[asyncio.Task[None]], limit_s: float) -> None:
    """Let tasks end by themselves within ``limit_s``, then cancel them: what they were at is safe to be cut off."""
    if not tasks:
        return
    _, late = await asyncio.wait(tasks, timeout=limit_s)
    for task in late:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _until(
    done: Callable[[], Awaitable[bool]], sleep: Callable[[float], Awaitable[None]], limit_s: float
) -> None:
    steps = max(1, round(limit_s / 0.05))
    for _ in range(steps):
        if await done():
            return
        await sleep(0.05)
