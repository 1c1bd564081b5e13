"""The service: intake, relay and housekeeping beside one worker for each CRM account whose lease this process holds."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from sales_crm_bridge.bells import BELL_OUTBOX
from sales_crm_bridge.errors import BridgeError, Bug, EnvironmentFault, LeaseLost, LedgerBusy
from sales_crm_bridge.tasks import all_ended, end, first
from sales_crm_bridge.units import ago_us

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from sales_crm_bridge.intake import Intaker
    from sales_crm_bridge.keeper import Keeper
    from sales_crm_bridge.ports import Clock, FactSink, IntentSource, Ledger
    from sales_crm_bridge.relay import Relay
    from sales_crm_bridge.state import Fence
    from sales_crm_bridge.worker import Worker

log = logging.getLogger(__name__)

RELAY_LEASE = "relay"
HOUSE_LEASE = "house"
START_PAUSE_US = 30_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The service's own named limits: see the settings of the same names. ``keep_inbox_s`` may be ``math.inf``."""

    lease_s: float
    renew_s: float
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
        self.roster = roster
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
        self._nudge = asyncio.Event()
        self._publishing = False
        self._stale: set[str] = set()
        self._workers: dict[str, tuple[Worker, asyncio.Task[None]]] = {}
        self._ending: dict[str, tuple[asyncio.Task[None], int]] = {}
        self._not_before_us: dict[str, int] = {}

    @property
    def workers(self) -> Mapping[str, Worker]:
        """The workers at work, by lease."""
        return {lease: worker for lease, (worker, _) in self._workers.items()}

    @property
    def draining(self) -> bool:
        """Whether it was asked to stop."""
        return self._stopping.is_set()

    def stop(self) -> None:
        """Drain: no new intents, steps under way end, facts that wait are published, leases are given back."""
        self._stopping.set()
        self._nudge.set()

    async def run(self) -> None:
        """Until ``stop``; raises ``EnvironmentFault`` when Kafka refuses us for good, and what a part of the service raised."""
        await self.roster.refresh()
        relaying = asyncio.create_task(self._relaying(), name="relay")
        keeping = asyncio.create_task(self._keeping(), name="keeper")
        parts = [
            asyncio.create_task(self._reloading(), name="reload"),
            asyncio.create_task(self._house(), name="house"),
        ]
        if self._intaker is not None:
            parts.append(asyncio.create_task(self._intaker.run(), name="intake"))
        stopping = asyncio.create_task(self._stopping.wait(), name="stop")
        everything = (*parts, keeping, relaying)
        try:
            await first((*everything, stopping))
            for task in everything:
                if task.done():
                    task.result()
                    if self._stopping.is_set():
                        continue
                    raise Bug("bug.part-ended", f"{task.get_name()} ended by itself")
        finally:
            self.stop()
            await self._drain(parts, keeping, relaying)
            await end((stopping,))

    # --- the loops ----------------------------------------------------------------------------------------------------

    async def _keeping(self) -> None:
        """Renew the leases, and start and end workers: the only place that does, so there are never two for one account.

        While draining, leases are renewed as before, each until its worker has ended: then another process may have it.
        """
        while not (self._stopping.is_set() and not self._workers and not self._ending):
            self._nudge.clear()  # what it is set for from here on, this turn may be too late for
            turned_us = self._clock.now_us()
            leaving = self._stopping.is_set()
            wanted = [RELAY_LEASE] if leaving else sorted((*self.roster.leases(), RELAY_LEASE, HOUSE_LEASE))
            held = await self._keeper.turn(wanted, leaving=leaving)
            self._end_workers(held)
            busy = {*self._workers, *self._ending, *([RELAY_LEASE] if self._publishing else [])}
            free = [name for name in self._keeper.surplus if name not in busy]
            try:
                await self._keeper.give_back(free)
            except (LedgerBusy, EnvironmentFault) as fault:
                log.warning("leases were not given back", extra={"event": "lease.not-given-back", "code": fault.code})
            if await self._start_all(turned_us + round(self._limits.renew_s * 1e6)):
                continue
            tasks = [task for _, task in self._workers.values()] + [task for task, _ in self._ending.values()]
            if self._stopping.is_set() and not tasks:
                return  # the last worker has just ended
            await self._nap(self._limits.renew_s, self._nudge, tasks)

    def _end_workers(self, held: Mapping[str, Fence]) -> None:
        """Ask workers to end whose lease, tenant or task is gone; cut off those that take longer than the drain limit."""
        now_us = self._clock.now_us()
        for lease in list(self._workers):
            worker, task = self._workers[lease]
            gone = held.get(lease) != worker.desk.fence
            if task.done() or gone or self._stopping.is_set() or lease in self._stale or lease in self._keeper.surplus:
                worker.stop()
                del self._workers[lease]
                self._ending[lease] = (task, now_us + round(self._limits.drain_s * 0.6e6))
                self._stale.discard(lease)
        for lease in list(self._ending):
            task, limit_us = self._ending[lease]
            if task.done():
                del self._ending[lease]
                if not task.cancelled() and task.exception() is not None:
                    log.error(
                        "a worker ended with %s",
                        type(task.exception()).__name__,
                        extra={"event": "worker.ended", "lease": lease},
                    )
            elif now_us >= limit_us:
                task.cancel()

    async def _start_all(self, renew_us: int) -> bool:
        """Start the workers that there should be. True: the leases are to be renewed (``renew_us``) before the rest is started.

        A thousand starts take longer than a lease lasts: renewed at their end alone, none of the workers would live so long.
        """
        for lease in self.roster.leases():
            if self._stopping.is_set():
                break
            fence = self._keeper.holds(lease)  # not as the turn said: it may have been given back since
            if fence is not None and await self._start(lease, fence):
                await self._clock.sleep(0)
                if self._clock.now_us() >= renew_us:
                    return True
        return False

    async def _start(self, lease: str, fence: Fence) -> bool:
        """Start the worker of an account, unless it has one, or one that is still ending, or has failed to start just now.

        True if it was tried.
        """
        now_us = self._clock.now_us()
        if lease in self._workers or lease in self._ending or self._not_before_us.get(lease, 0) > now_us:
            return False
        self._stale.discard(lease)  # it begins with the newest file; what changes from now on ends it again
        try:
            worker = await self.roster.worker(lease, fence, self._keeper.still)
        except Exception as fault:  # noqa: BLE001 - what is wrong with one tenant (a secret that is gone, say) stops no other
            code = fault.code if isinstance(fault, BridgeError) else type(fault).__name__
            extra = {"event": "worker.not-started", "lease": lease, "code": code}
            log.error("a worker could not be started", extra=extra)  # noqa: TRY400 - a foreign message can hold a person's data
            self._not_before_us[lease] = now_us + START_PAUSE_US
            return True
        self._workers[lease] = (worker, asyncio.create_task(worker.run(), name=f"worker {lease}"))
        return True

    async def _reloading(self) -> None:
        """Take up changed tenant files: the worker of a changed tenant ends after its step, and begins anew with the new file."""
        while not self._stopping.is_set():
            await self._nap(self._limits.reload_s, self._stopping)
            if self._stopping.is_set():
                return
            try:
                changed = await self.roster.refresh()
                if changed:
                    self._stale |= changed
                    self._nudge.set()
                if self._intaker is not None:
                    await self._intaker.look()
            except (LedgerBusy, EnvironmentFault) as fault:
                log.warning(
                    "tenant files could not be taken up", extra={"event": "tenant.not-read", "code": fault.code}
                )

    async def _relaying(self) -> None:
        """Publish the outbox while we hold the relay's lease; when draining, until it is empty."""
        while not self._drained.is_set():
            fence = self._relay_fence()
            done = 0
            if fence is not None:
                self._publishing = True
                try:
                    done = await self._relay.step(fence)
                except LeaseLost:
                    log.info("another process relays now", extra={"event": "relay.elsewhere"})
                except (LedgerBusy, EnvironmentFault) as fault:
                    log.warning(
                        "the relay waits for the ledger", extra={"event": "relay.no-ledger", "code": fault.code}
                    )
                finally:
                    self._publishing = False
            if not done:
                await self._ledger.wait([BELL_OUTBOX], self._limits.relay_idle_s)

    def _relay_fence(self) -> Fence | None:
        """The relay's lease, if a batch may be begun under it: one that is to be given back ends with the batch under way."""
        return None if RELAY_LEASE in self._keeper.surplus else self._keeper.holds(RELAY_LEASE)

    async def _house(self) -> None:
        """Retention: forget what the named settings say may be forgotten, a batch at a time."""
        limits = self._limits
        while not self._stopping.is_set():
            if self._keeper.holds(HOUSE_LEASE) is not None:
                now_us = self._clock.now_us()
                try:
                    gone = await self._ledger.forget(
                        now_us - round(limits.keep_commands_s * 1e6),
                        ago_us(now_us, limits.keep_inbox_s),
                        now_us - round(limits.keep_runs_s * 1e6),
                        limits.forget_batch,
                        now_us=now_us,
                    )
                except (LedgerBusy, EnvironmentFault) as fault:
                    log.warning(
                        "housekeeping waits for the ledger", extra={"event": "house.no-ledger", "code": fault.code}
                    )
                    gone = 0
                if gone >= limits.forget_batch:
                    await self._clock.sleep(0)
                    continue
            await self._nap(limits.house_s, self._stopping)

    async def _nap(self, seconds: float, waker: asyncio.Event, tasks: Sequence[asyncio.Task[None]] = ()) -> None:
        """Sleep, but wake when ``waker`` is set, or when one of ``tasks`` ends."""
        napping = asyncio.ensure_future(self._clock.sleep(seconds))
        woken = asyncio.ensure_future(waker.wait())
        try:
            await first((napping, woken, *tasks))
        finally:
            await end((napping, woken))

    # --- the end ------------------------------------------------------------------------------------------------------

    async def _drain(
        self, parts: list[asyncio.Task[None]], keeping: asyncio.Task[None], relaying: asyncio.Task[None]
    ) -> None:
        """End everything within the drain limit: intake, workers, relay, in this order, then the leases."""
        limit_s = self._limits.drain_s
        if self._source is not None:
            await self._source.close()
        await all_ended(parts, limit_s * 0.1)
        await end(parts)
        await all_ended([keeping], limit_s * 0.65)
        await end(
            [keeping, *(task for _, task in self._workers.values()), *(task for task, _ in self._ending.values())]
        )
        if not relaying.done():
            await _until(self._outbox_empty, self._clock.sleep, limit_s * 0.2)
        self._drained.set()
        try:
            await self._ledger.ring(BELL_OUTBOX)
        except (LedgerBusy, EnvironmentFault):
            log.debug("the relay wakes by itself", extra={"event": "relay.not-rung"})
        await all_ended([relaying], limit_s * 0.05)
        await end([relaying])
        await self._sink.close()
        try:
            await self._keeper.drop_all()
        except (LedgerBusy, EnvironmentFault) as fault:
            log.warning("leases were not given back", extra={"event": "lease.not-given-back", "code": fault.code})

    async def _outbox_empty(self) -> bool:
        if self._relay_fence() is None or self._relay.trouble:
            return True
        try:
            return (await self._ledger.outbox_depth())[0] == 0
        except (LedgerBusy, EnvironmentFault):
            return True


async def _until(
    done: Callable[[], Awaitable[bool]], sleep: Callable[[float], Awaitable[None]], limit_s: float
) -> None:
    steps = max(1, round(limit_s / 0.05))
    for _ in range(steps):
        if await done():
            return
        await sleep(0.05)
