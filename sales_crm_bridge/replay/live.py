"""A live run that is recorded: the very run, with ears at the rim."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sales_crm_bridge import operate, tenants, wiring
from sales_crm_bridge.errors import ConfigError, Finding, Place
from sales_crm_bridge.once import SyncOutcome, sync_in
from sales_crm_bridge.replay.recorder import HearingDice, HearingSink, HearingTransport, Recording
from sales_crm_bridge.world import RealDice, WallClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from sales_crm_bridge.once import Progress
    from sales_crm_bridge.ports import FactSink, Ledger
    from sales_crm_bridge.settings import Settings
    from sales_crm_bridge.tenants import Tenant


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """A run that has ended: what it did, what was heard of it, and whose it was."""

    outcome: SyncOutcome
    recording: Recording
    tenant: Tenant


async def sync_recorded(settings: Settings, only: frozenset[str], progress: Progress) -> Heard:
    """As ``once.sync_once`` for one tenant, and record it.

    Raises ``ConfigError`` when it is not one tenant, or when the ledger knows its account already.
    """
    operate.need_kafka(settings)
    async with operate.ledger_of(settings, make=True) as ledger:
        outside = wiring.Outside(
            clock=WallClock(), dice=RealDice(), ledger=ledger, transport=wiring.real_transport(settings)
        )
        return await hear_sync(settings, outside, lambda: operate.facts_of(settings), only, progress)


async def hear_sync(
    settings: Settings,
    outside: wiring.Outside,
    sink_of: Callable[[], FactSink],
    only: frozenset[str],
    progress: Progress,
) -> Heard:
    """As ``sync_recorded``, in whatever world."""
    tenant = one_tenant(settings, only)
    await need_fresh(outside.ledger, tenant)
    clock = outside.clock
    recording = Recording(began_us=clock.now_us())
    heard = wiring.Outside(
        clock=clock,
        dice=HearingDice(outside.dice, recording),
        ledger=outside.ledger,
        transport=lambda tenant: HearingTransport(outside.transport(tenant), recording, clock),
    )
    only = frozenset({tenant.tenant})
    outcome = await sync_in(settings, heard, lambda: HearingSink(sink_of(), recording), only, progress)
    recording.ended_us = clock.now_us()
    return Heard(outcome=outcome, recording=recording, tenant=tenant)


def one_tenant(settings: Settings, only: frozenset[str]) -> Tenant:
    """The tenant whose run is recorded. Raises ``ConfigError`` when there is not exactly one, or its file has findings."""
    loaded = tenants.load(Path(settings.tenants.folder), wiring.catalogue())
    found = [tenant for name, tenant in sorted(loaded.tenants.items()) if not only or name in only]
    if not found and loaded.findings:
        raise ConfigError(loaded.findings)
    if len(found) == 1:
        return found[0]
    said = f"a recording is of one tenant, and there are {len(found)}"
    place = Place(file=settings.tenants.folder)
    raise ConfigError([Finding(code="replay.one-tenant", message=said, place=place, remedy="name one with `--tenant`")])


async def need_fresh(ledger: Ledger, tenant: Tenant) -> None:
    """Raise ``ConfigError`` if the ledger has read of the tenant's account before: a bundle does not hold yet what it knows."""
    conn = await ledger.connection_find(tenant.tenant, tenant.connection.name)
    if not conn or not await ledger.positions(conn):
        return
    said = f"the ledger knows the account of {tenant.tenant!r} already, and a bundle cannot hold that yet"
    remedy = "record with a ledger of its own: another `ledger:` address, in a settings file for recordings"
    raise ConfigError(
        [Finding(code="replay.ledger-begun", message=said, place=Place(file="the ledger"), remedy=remedy)]
    )
