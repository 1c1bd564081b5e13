"""What ``sync --once`` does: every feed to its present end, every open command, every fact published; then it stops."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from sales_crm_bridge import operate, wiring
from sales_crm_bridge.errors import ConfigError, RuntimeFault
from sales_crm_bridge.keeper import Keeper
from sales_crm_bridge.relay import Relay
from sales_crm_bridge.roster import Roster
from sales_crm_bridge.service import RELAY_LEASE
from sales_crm_bridge.world import RealDice, WallClock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sales_crm_bridge.ports import Clock
    from sales_crm_bridge.settings import Settings
    from sales_crm_bridge.worker import Worker


class Progress(Protocol):
    """Where long work says how far it is."""

    def tell(self, tenant: str, feed: str, read: int) -> None:
        """``read`` records of ``feed`` have been read in this run."""
        ...


@dataclass(slots=True, kw_only=True)
class Synced:
    """What ``sync --once`` did for a tenant; ``trouble`` "" when all feeds were read to their end."""

    tenant: str
    read: int = 0
    changed: int = 0
    removed: int = 0
    trouble: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncOutcome:
    """What ``sync --once`` did."""

    tenants: tuple[Synced, ...]
    published: int
    waiting: int

    @property
    def ok(self) -> bool:
        """Whether every tenant was read to its end and every fact published."""
        return not self.waiting and not any(one.trouble for one in self.tenants)

    def to_json(self) -> dict[str, object]:
        """For machines."""
        return {
            "ok": self.ok,
            "published": self.published,
            "waiting": self.waiting,
            "tenants": [
                {
                    "tenant": one.tenant,
                    "read": one.read,
                    "changed": one.changed,
                    "removed": one.removed,
                    "trouble": one.trouble,
                }
                for one in self.tenants
            ],
        }


async def sync_once(settings: Settings, only: frozenset[str], progress: Progress) -> SyncOutcome:
    """Pull and push every tenant (or those of ``only``) to the present end, publish, and stop.

    Raises ``ConfigError`` when ``only`` names a tenant that is not in force.
    """
    operate.need_kafka(settings)
    async with operate.ledger_of(settings, make=True) as ledger:
        clock, dice = WallClock(), RealDice()
        outside = wiring.Outside(clock=clock, dice=dice, ledger=ledger, transport=wiring.real_transport(settings))
        crew = wiring.Crew(settings, outside)
        folder = Path(settings.tenants.folder)
        roster = Roster(folder=folder, catalogue=wiring.catalogue(), ledger=ledger, clock=clock, hire=crew.hire)
        await roster.refresh()
        if roster.findings and not roster.tenants():
            raise ConfigError(roster.findings)
        strangers = sorted(only - set(roster.leases().values()))
        if strangers:
            raise ConfigError([operate.no_tenant(settings.tenants.folder, name) for name in strangers])
        sink = operate.facts_of(settings)
        keeper = Keeper(ledger, clock, dice.name(), settings.lease.ttl_s)
        wanted = {lease: name for lease, name in sorted(roster.leases().items()) if not only or name in only}
        renewing = asyncio.create_task(_renew(keeper, clock, sorted((*wanted, RELAY_LEASE)), settings.lease.renew_s))
        try:
            await keeper.turn(sorted((*wanted, RELAY_LEASE)))
            done = [await _sync_tenant(roster, keeper, lease, name, progress) for lease, name in wanted.items()]
            published = await _publish(Relay(ledger, sink, clock, settings.relay.outbox_batch), keeper)
            waiting = (await ledger.outbox_depth())[0]
        finally:
            renewing.cancel()
            await sink.close()
            await keeper.drop_all()
        return SyncOutcome(tenants=tuple(done), published=published, waiting=waiting)


async def _renew(keeper: Keeper, clock: Clock, wanted: Sequence[str], every_s: float) -> None:
    while True:
        await clock.sleep(every_s)
        await keeper.turn(wanted)


async def _sync_tenant(roster: Roster, keeper: Keeper, lease: str, name: str, progress: Progress) -> Synced:
    told = Synced(tenant=name)
    fence = keeper.holds(lease)
    if fence is None:
        told.trouble = "another process works for this account"
        return told
    worker = await roster.worker(lease, fence, keeper.still)
    try:
        await worker.once(lambda feed, read: progress.tell(name, feed, read))
    except* RuntimeFault as group:
        told.trouble = str(group.exceptions[0])
    finally:
        await worker.close()
    _count(told, worker)
    return told


def _count(told: Synced, worker: Worker) -> None:
    failing = [name for name, standing in worker.puller.standings.items() if standing.failures]
    if failing and not told.trouble:
        told.trouble = f"the CRM did not answer for {', '.join(failing)}; the next run goes on there"
    for run in worker.puller.runs.values():
        told.read += run.read
        told.changed += run.changed
        told.removed += run.removed


async def _publish(relay: Relay, keeper: Keeper) -> int:
    published = 0
    while (fence := keeper.holds(RELAY_LEASE)) is not None:
        done = await relay.step(fence)
        published += done
        if not done:
            break
    return published
