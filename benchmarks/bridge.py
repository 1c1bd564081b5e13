"""The bridge as it is shipped, put together by its own wiring, on a ledger and a CRM of the benchmark's."""

from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import psycopg.sql

from benchmarks.leads import MAPPING
from sales_crm_bridge import wiring
from sales_crm_bridge.errors import ConfigError
from sales_crm_bridge.ledger import open_ledger
from sales_crm_bridge.roster import Roster
from sales_crm_bridge.settings import Settings
from sales_crm_bridge.state import Fence
from sales_crm_bridge.world import RealDice, WallClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sales_crm_bridge.ports import Ledger
    from sales_crm_bridge.worker import Worker

TENANT = """tenant: acme
leads: [{{owner: crm, from: 2026-01-01T00:00:00Z}}]
connection:
  adapter: hubspot
  address: {address}
  account: "4242"
  credentials: {{kind: token, token: "file:{folder}/token"}}
  allow_hosts: [127.0.0.1]
  limits: {{per_second: 1000, in_flight: 32}}
  options: {{key_property: bridge_lead_id}}
fields:{mapping}
pull: {{page_size: {page}, every: 5m, audit_every: 24h}}
push: {{batch: {batch}}}
"""


def settings_in(folder: Path, address: str, page: int, ledger: str, batch: int = 100) -> Settings:
    """Write a deployment of one tenant into ``folder``."""
    (folder / "tenants").mkdir()
    (folder / "token").write_text("pat-na1-sandbox")
    text = TENANT.format(address=address, folder=folder, page=page, mapping=MAPPING, batch=batch)
    (folder / "tenants" / "acme.yaml").write_text(text)
    return Settings.model_validate(
        {
            "ledger": ledger,
            "hash_keys": ["a key of the benchmarks, long enough"],
            "seal_key": "another key of the benchmarks",
            "tenants": {"folder": str(folder / "tenants")},
        }
    )


@asynccontextmanager
async def worker(settings: Settings, ledger: Ledger) -> AsyncIterator[Worker]:
    """The worker of the one tenant, under its lease."""
    clock, dice = WallClock(), RealDice()
    outside = wiring.Outside(clock=clock, dice=dice, ledger=ledger, transport=wiring.real_transport(settings))
    crew = wiring.Crew(settings, outside)
    folder = Path(settings.tenants.folder)
    roster = Roster(folder=folder, catalogue=wiring.catalogue(), ledger=ledger, clock=clock, hire=crew.hire)
    await roster.refresh()
    if roster.findings:
        raise ConfigError(roster.findings)
    (lease,) = roster.leases()
    holder = dice.name()
    epochs = await ledger.leases_take([lease], holder, clock.now_us(), clock.now_us() + 3_600_000_000)
    made = await roster.worker(lease, Fence(lease=lease, holder=holder, epoch=epochs[lease]), lambda _fence: True)
    try:
        yield made
    finally:
        await made.close()


@asynccontextmanager
async def ledger_at(address: str) -> AsyncIterator[Ledger]:
    """A ledger, brought up to date."""
    ledger = await open_ledger(address, migrate=True)
    try:
        yield ledger
    finally:
        await ledger.close()


@asynccontextmanager
async def postgres(dsn: str) -> AsyncIterator[str]:
    """The address of a new database on the server of ``dsn``; "" where that is "". It is dropped in the end."""
    if not dsn:
        yield ""
        return
    name = f"bench_{RealDice().name()}"
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as server:
        await server.execute(psycopg.sql.SQL("CREATE DATABASE {}").format(psycopg.sql.Identifier(name)))
        try:
            yield dsn.rpartition("/")[0] + f"/{name}"
        finally:
            await server.execute(psycopg.sql.SQL("DROP DATABASE {} WITH (FORCE)").format(psycopg.sql.Identifier(name)))
