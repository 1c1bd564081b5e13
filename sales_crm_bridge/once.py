"""What ``sync --once`` does: every feed to its present end, every open command, every fact published; then it stops."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from sales_crm_bridge import operate, wiring
from sales_crm_bridge.errors import (
    EXIT_OK,
    BridgeError,
    ConfigError,
    ConnectionStopped,
    EnvironmentFault,
    LedgerBusy,
    RuntimeFault,
    one_exit_code,
)
from sales_crm_bridge.keeper import Keeper
from sales_crm_bridge.relay import Relay
from sales_crm_bridge.roster import Roster
from sales_crm_bridge.service import RELAY_LEASE
from sales_crm_bridge.tasks import end, first
from sales_crm_bridge.worker import outbox_full
from sales_crm_bridge.world import RealDice, WallClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sales_crm_bridge.ports import Clock, FactSink
    from sales_crm_bridge.settings import Settings
    from sales_crm_bridge.worker import Worker


LOOK_S = 1.0
"""How often it is looked whether facts wait, and whether there is room for more."""


class Progress(Protocol):
    """Where long work says how far it is."""

    def tell(self, tenant: str, feed: str, read: int) -> None:
        """``read`` records of ``feed`` have been read in this run."""
        ...


@dataclass(slots=True, kw_only=True)
class Synced:
    """What ``sync --once`` did for a tenant; ``trouble`` None when all feeds were read to their end."""

    tenant: str
    read: int = 0
    changed: int = 0
    removed: int = 0
    trouble: BridgeError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncOutcome:
    """What ``sync --once`` did; ``trouble`` says why facts are ``waiting`` (None: there are none)."""

    tenants: tuple[Synced, ...]
    published: int
    waiting: int
    trouble: BridgeError | None = None

    @property
    def exit_code(self) -> int:
        """0: every tenant was read to its end, and every fact published."""
        troubles = [self.trouble, *(one.trouble for one in self.tenants)]
        return one_exit_code(one.exit_code for one in troubles if one is not None)

    def to_json(self) -> dict[str, object]:
        """For machines."""
        return {
            "ok": self.exit_code == EXIT_OK,
            "published": self.published,
            "waiting": self.waiting,
            **_told(self.trouble),
            "tenants": [
                {
                    "tenant": one.tenant,
                    "read": one.read,
                    "changed": one.changed,
                    "removed": one.removed,
                    **_told(one.trouble),
                }
                for one in self.tenants
            ],
        }


def _told(trouble: BridgeError | None) -> dict[str, str]:
    if trouble is None:
        return {"trouble": "", "code": "", "remedy": ""}
    return {"trouble": trouble.message, "code": trouble.code, "remedy": trouble.remedy}


async def sync_once(settings: Settings, only: frozenset[str], progress: Progress) -> SyncOutcome:
    """Pull and push every tenant (or those of ``only``) to the present end, publish, and stop.

    Raises ``ConfigError`` when ``only`` names a tenant that is not in force.
    """
    operate.need_kafka(settings)
    async with operate.ledger_of(settings, make=True) as ledger:
        transport = wiring.real_transport(settings)
        outside = wiring.Outside(clock=WallClock(), dice=RealDice(), ledger=ledger, transport=transport)
        return await sync_in(settings, outside, lambda: operate.facts_of(settings), only, progress)


async def sync_in(
    settings: Settings,
    outside: wiring.Outside,
    sink_of: Callable[[], FactSink],
    only: frozenset[str],
    progress: Progress,
) -> SyncOutcome:
    """As ``sync_once``, in whatever world; ``sink_of`` makes where the facts go, and it is closed at the end."""
    ledger, clock = outside.ledger, outside.clock
    crew = wiring.Crew(settings, outside)
    folder = Path(settings.tenants.folder)
    roster = Roster(folder=folder, catalogue=wiring.catalogue(), ledger=ledger, clock=clock, hire=crew.hire)
    await roster.refresh()
    if roster.findings and not roster.tenants():
        raise ConfigError(roster.findings)
    strangers = sorted(only - set(roster.leases().values()))
    if strangers:
        raise ConfigError([operate.no_tenant(settings.tenants.folder, name) for name in strangers])
    sink = sink_of()
    keeper = Keeper(ledger, clock, outside.dice.name(), settings.lease.ttl_s)
    wanted = {lease: name for lease, name in sorted(roster.leases().items()) if not only or name in only}
    beside: asyncio.Task[None] | None = None
    renewing = asyncio.create_task(_renew(keeper, clock, sorted((*wanted, RELAY_LEASE)), settings.lease.renew_s))
    try:
        await keeper.turn(sorted((*wanted, RELAY_LEASE)))
        relay = Relay(ledger, sink, clock, settings.relay.outbox_batch)
        publisher = _Publisher(relay, keeper)
        beside = asyncio.create_task(publisher.beside())
        patience_s = settings.relay.publish_timeout_s
        done = [
            await _sync_tenant(roster, keeper, lease, name, progress, clock, patience_s)
            for lease, name in wanted.items()
        ]
        publisher.ending.set()
        await beside
        published = await publisher.rest()
        waiting = (await ledger.outbox_depth())[0]
    finally:
        await end((renewing, *([beside] if beside is not None else [])))
        await sink.close()
        await keeper.drop_all()
    trouble = _unpublished(waiting, relay.trouble) if waiting else None
    return SyncOutcome(tenants=tuple(done), published=published, waiting=waiting, trouble=trouble)


async def _renew(keeper: Keeper, clock: Clock, wanted: Sequence[str], every_s: float) -> None:
    while True:
        await clock.sleep(every_s)
        await keeper.turn(wanted)


async def _sync_tenant(
    roster: Roster, keeper: Keeper, lease: str, name: str, progress: Progress, clock: Clock, patience_s: float
) -> Synced:
    told = Synced(tenant=name)
    fence = keeper.holds(lease)
    if fence is None:
        told.trouble = RuntimeFault(
            "lease.elsewhere", "another process works for this account", remedy="none is needed: that one reads it"
        )
        return told
    worker = await roster.worker(lease, fence, keeper.still)
    try:
        working = asyncio.create_task(worker.once(lambda feed, read: progress.tell(name, feed, read)))
        try:
            await _while_there_is_room(working, worker, clock, patience_s)
        finally:
            await end((working,))
    except* RuntimeFault as group:
        told.trouble = next(_faults(group))
    finally:
        await worker.close()
    _count(told, worker)
    return told


def _count(told: Synced, worker: Worker) -> None:
    failing = [name for name, standing in worker.puller.standings.items() if standing.failures]
    if failing and told.trouble is None:
        fault = worker.puller.trouble
        message = f"the CRM did not answer for {', '.join(failing)}; the next run goes on there"
        code, remedy = (fault.code, fault.remedy) if fault is not None else ("crm.busy", "")
        told.trouble = RuntimeFault(code, message, remedy=remedy or "none is needed: try again later")
    if isinstance(worker.pusher.trouble, ConnectionStopped) and told.trouble is None:
        told.trouble = worker.pusher.trouble
    for run in worker.puller.runs.values():
        told.read += run.read
        told.changed += run.changed
        told.removed += run.removed


def _faults(group: BaseExceptionGroup[RuntimeFault]) -> Iterator[RuntimeFault]:
    for one in group.exceptions:
        if isinstance(one, BaseExceptionGroup):
            yield from _faults(one)
        else:
            yield one


def _unpublished(waiting: int, code: str) -> BridgeError:
    """Why facts wait; ``code``: what Kafka said ("" nothing)."""
    if not code:
        said = f"{waiting} facts wait: another process publishes, or wrote them meanwhile"
        return RuntimeFault(
            "relay.elsewhere", said, remedy="none is needed while a process runs; otherwise do it again"
        )
    said = f"{waiting} facts wait in the ledger: Kafka has not taken them"
    remedy = (
        "look at the cluster, and at `kafka` with `sales-crm-bridge check --online`; then do it again: nothing is lost"
    )
    return EnvironmentFault(code, said, place="kafka", remedy=remedy)


async def _while_there_is_room(working: asyncio.Task[None], worker: Worker, clock: Clock, patience_s: float) -> None:
    """Wait for the work. Raises ``OutboxFull`` if for so long no fact has left to make room for more."""
    full_us = 0
    while not working.done():
        await first((working,), LOOK_S)
        now_us = clock.now_us()
        full_us = (full_us or now_us) if worker.desk.books.full else 0
        if full_us and now_us - full_us > patience_s * 1e6:
            raise outbox_full(worker.desk.outbox_max)
    await working


class _Publisher:
    """Publishes while the tenants are read, or a first import of more facts than may wait would never end."""

    def __init__(self, relay: Relay, keeper: Keeper) -> None:
        self._relay = relay
        self._keeper = keeper
        self._published = 0
        self.ending = asyncio.Event()

    async def beside(self) -> None:
        """Until ``ending``, after the batch under way; what the ledger cannot do now is left for the rest."""
        while not self.ending.is_set():
            try:
                done = await self._batch()
            except (LedgerBusy, EnvironmentFault):
                done = 0
            if not done:
                ending = asyncio.ensure_future(self.ending.wait())
                await first((ending,), LOOK_S)
                await end((ending,))

    async def rest(self) -> int:
        """What is left; gives how many facts were published in all."""
        while await self._batch():
            pass
        return self._published

    async def _batch(self) -> int:
        fence = self._keeper.holds(RELAY_LEASE)
        done = await self._relay.step(fence) if fence is not None else 0
        self._published += done
        return done
