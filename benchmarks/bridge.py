"""The bridge as it is shipped, put together by its own wiring, on a ledger and a CRM of the benchmark's."""

from __future__ import annotations

import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import psycopg.sql

from benchmarks.leads import MAPPING
from benchmarks.place import SCRATCH
from sales_crm_bridge import wiring
from sales_crm_bridge.errors import ConfigError
from sales_crm_bridge.ledger import open_ledger
from sales_crm_bridge.roster import Roster
from sales_crm_bridge.settings import Settings
from sales_crm_bridge.state import Fence
from sales_crm_bridge.world import RealDice, WallClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from benchmarks.place import Place
    from sales_crm_bridge.ports import Ledger
    from sales_crm_bridge.worker import Worker

ROOT = Path(__file__).parent.parent

TENANT = """tenant: {tenant}
leads: [{{owner: crm, from: 2026-01-01T00:00:00Z}}]
connection:
  adapter: {adapter}
  address: {address}
  account: "{account}"
  credentials: {{kind: token, token: "file:{folder}/token"}}
  allow_hosts: [127.0.0.1]
  limits: {limits}
  options: {options}
fields:{mapping}
pull: {{page_size: {page}, every: 5m, audit_every: 24h}}
push: {{batch: {batch}}}
"""

HUBSPOT = """{key_property: bridge_lead_id}"""
REST = """
    crm: bench
    sign_in: {token: {header: Authorization, value: "Bearer {secret.token}"}}
    record:
      id: id
      modified: updatedAt
      created: createdAt
      key: properties.bridge_lead_id
      fields: properties
      url: "https://app.hubspot.com/contacts/4242/record/0-1/{id}"
      empty: [""]
    lists:
      all:
        path: /crm/v3/objects/contacts
        query: {limit: "{limit}", after: "{cursor}"}
        records: results
        page: {by: cursor, size: 2000, next: paging.next.after}
      changes:
        path: /changes
        query: {since: "{since}", until: "{until}", limit: "{limit}", after: "{cursor}"}
        records: results
        page: {by: cursor, size: 2000, next: paging.next.after}
    read:
      one: {path: "/crm/v3/objects/contacts/{id}", record: ""}
    write:
      create: {method: POST, path: /crm/v3/objects/contacts, body: {properties: "{fields}"}, record: ""}
      update: {method: PATCH, path: "/crm/v3/objects/contacts/{id}", body: {properties: "{fields}"}, record: ""}"""
OPTIONS = {"hubspot": HUBSPOT, "rest": REST}
"""The same CRM, read through the adapter that is made for it and through its declaration."""


def tenant_in(
    folder: Path,
    place: Place,
    *,
    tenant: str = "acme",
    account: str = "4242",
    batch: int = 100,
    limits: str = "{per_second: 1000, in_flight: 32}",
) -> None:
    """Write one tenant's file into ``folder``, which has the secret that it names."""
    text = TENANT.format(
        tenant=tenant,
        adapter=place.adapter,
        address=place.crm,
        account=account,
        folder=folder,
        options=OPTIONS[place.adapter],
        page=place.page,
        mapping=MAPPING,
        batch=batch,
        limits=limits,
    )
    (folder / "tenants" / f"{tenant}.yaml").write_text(text)


def settings_in(folder: Path, ledger: str, **more: object) -> Settings:
    """The settings of a deployment in ``folder``, with ``more`` of them; the tenants are to be written there."""
    (folder / "tenants").mkdir()
    (folder / "token").write_text("pat-na1-sandbox")
    return Settings.model_validate(
        {
            "ledger": ledger,
            "hash_keys": ["a key of the benchmarks, long enough"],
            "seal_key": "another key of the benchmarks",
            "tenants": {"folder": str(folder / "tenants")},
            **more,
        }
    )


@asynccontextmanager
async def deployment(place: Place, engine: str = "sqlite", *, batch: int = 100) -> AsyncIterator[tuple[Ledger, Worker]]:
    """A ledger with nothing in it, and the worker of its one tenant."""
    with tempfile.TemporaryDirectory(prefix="bench-", dir=SCRATCH) as name:
        folder = Path(name)
        async with postgres(place.postgres if engine == "postgres" else "") as dsn:
            address = dsn or f"sqlite:///{folder / 'ledger.db'}"
            settings = settings_in(folder, address)
            tenant_in(folder, place, batch=batch)
            async with ledger_at(address) as ledger, worker(settings, ledger) as working:
                yield ledger, working


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
