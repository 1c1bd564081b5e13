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
    RuntimeFault,
    one_exit_code,
)
from sales_crm_bridge.keeper import Keeper
from sales_crm_bridge.relay import Relay
from sales_crm_bridge.roster import Roster
from sales_crm_bridge.service import RELAY_LEASE
from sales_crm_bridge.world import RealDice, WallClock

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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
            relay = Relay(ledger, sink, clock, settings.relay.outbox_batch)
            published = await _publish(relay, keeper)
            waiting = (await ledger.outbox_depth())[0]
        finally:
            renewing.cancel()
            await sink.close()
            await keeper.drop_all()
        trouble = _unpublished(waiting, relay.trouble) if waiting else None
        return SyncOutcome(tenants=tuple(done), published=published, waiting=waiting, trouble=trouble)


async def _renew(keeper: Keeper, clock: Clock, wanted: Sequence[str], every_s: float) -> None:
    while True:
        await clock.sleep(every_s)
        await keeper.turn(wanted)


async def _sync_tenant(roster: Roster, keeper: Keeper, lease: str, name: str, progress: Progress) -> Synced:
    told = Synced(tenant=name)
    fence = keeper.holds(lease)
    if fence is None:
        told.trouble = RuntimeFault(
            "lease.elsewhere", "another process works for this account", remedy="none is needed: that one reads it"
        )
        return told
    worker = await roster.worker(lease, fence, keeper.still)
    try:
        await worker.once(lambda feed, read: progress.tell(name, feed, read))
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


async def _publish(relay: Relay, keeper: Keeper) -> int:
    published = 0
    while (fence := keeper.holds(RELAY_LEASE)) is not None:
        done = await relay.step(fence)
        published += done
        if not done:
            break
    return published
