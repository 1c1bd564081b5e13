"""Asking a tenant's CRM from a command line: under the account's lease where a sign-in may rotate tokens."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sales_crm_bridge import wiring
from sales_crm_bridge.observe import sight_of
from sales_crm_bridge.roster import row_of
from sales_crm_bridge.state import Fence, lease_name
from sales_crm_bridge.units import time_us
from sales_crm_bridge.world import RealDice, WallClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from sales_crm_bridge.crm_http import Exchange, Rim
    from sales_crm_bridge.ports import CrmAdapter, Ledger
    from sales_crm_bridge.settings import Settings
    from sales_crm_bridge.tenants import Tenant


@dataclass(frozen=True, slots=True)
class Asker:
    """The way to a tenant's CRM, good as long as the context that gave it.

    ``spent_us``: until when the account's day is used up, as the process says that works for it (0: it is not, or there is none).
    """

    crew: wiring.Crew
    conn: int
    fence: Fence
    spent_us: int = 0

    def rim(self, tenant: Tenant, adapter: CrmAdapter, on_exchange: Callable[[Exchange], None] | None = None) -> Rim:
        """A rim for one question; its caller closes it."""
        return self.crew.rim(tenant, adapter, self.conn, self.fence, _always, on_exchange, count_block=1)


@dataclass(frozen=True, slots=True)
class Unasked:
    """Why the CRM is not asked now: ``by`` whom it is (``""`` nobody), what is known of the connection's ``state``."""

    by: str
    state: str = ""


def rotates(tenant: Tenant) -> bool:
    """Whether a sign-in may be given another refresh token, which must be kept or the account is locked out."""
    return any(name == "refresh_token" for name, _ in tenant.connection.secrets)


@asynccontextmanager
async def approach(settings: Settings, tenant: Tenant, ledger: Ledger | None) -> AsyncIterator[Asker | Unasked]:
    """A way to the CRM: under the account's lease where the ledger knows it, so a rotated token is kept.

    While a process of the deployment holds the lease, an account whose sign-in may rotate tokens is left to it. Without a ledger
    such an account is not asked at all.
    """
    clock = WallClock()
    if ledger is None and rotates(tenant):
        yield Unasked("nobody: a new token could not be kept without the ledger")
        return
    rows = {row.tenant: row for row in await ledger.tenants()} if ledger is not None else {}
    row = rows.get(tenant.tenant)
    if ledger is None or (row is None and not rotates(tenant)):
        crew = wiring.Crew(settings, wiring.unattended(settings, clock))
        yield Asker(crew, 0, Fence(lease="", holder="", epoch=0))
        return
    conn = row.conn if row is not None else await ledger.connection_make(row_of(tenant, 0))
    lease, holder = lease_name(tenant.tenant, tenant.connection.name), RealDice().name()
    until_us = clock.now_us() + round(settings.lease.ttl_s * 1e6)
    taken = await ledger.leases_take([lease], holder, clock.now_us(), until_us)
    if lease not in taken and rotates(tenant):
        states = {one.conn: one.state for one in await ledger.connections()}
        yield Unasked("a running process", states.get(conn, "new"))
        return
    try:
        outside, spent_us = wiring.unattended(settings, clock), 0
        if lease in taken:
            transport = wiring.real_transport(settings)
            outside = wiring.Outside(clock=clock, dice=RealDice(), ledger=ledger, transport=transport)
        else:
            spent_us = await _spent_us(ledger, conn, clock.now_us())
        fence = Fence(lease=lease, holder=holder, epoch=taken.get(lease, 0))
        yield Asker(wiring.Crew(settings, outside), conn, fence, spent_us)
    finally:
        await ledger.leases_drop(holder, [*taken])


async def _spent_us(ledger: Ledger, conn: int, now_us: int) -> int:
    """Until when the account's day is used up, as its worker has written down last (0: it is not)."""
    standing = await ledger.standing(conn)
    told = "" if standing is None or standing.glance is None else sight_of(standing.glance.state).quota_until
    until_us = time_us(told) if told else 0
    return until_us if until_us > now_us else 0


def _always(_fence: Fence) -> bool:
    return True
