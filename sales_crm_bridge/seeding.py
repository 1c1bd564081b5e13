"""``bindings import`` and ``export``: the pairs of lead and record that a tenant has already, into the ledger and out of it.

An import works under the account's lease, as everybody does who writes to the account's bindings. It asks for the lease; a running
process ends its step and gives it back, and takes the account up again when the import has ended. Each batch is one transaction, so
an import that was killed is done again: what it has bound is known by then.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING

from sales_crm_bridge import operate, wiring
from sales_crm_bridge import tenants as tenant_files
from sales_crm_bridge.asking import Asker, approach
from sales_crm_bridge.errors import (
    EXIT_OK,
    EXIT_RUNTIME,
    ConfigError,
    EnvironmentFault,
    Finding,
    LedgerBusy,
    Place,
    RuntimeFault,
)
from sales_crm_bridge.findings import finding
from sales_crm_bridge.model import Record, Ref, chunks
from sales_crm_bridge.pairs import Spool, pairs_of
from sales_crm_bridge.policy.seeding import Misfit, Pair, seed, unlike
from sales_crm_bridge.reading import READ_BATCH
from sales_crm_bridge.roster import row_of
from sales_crm_bridge.state import HOLD, Commit, Fence, lease_name
from sales_crm_bridge.tasks import end
from sales_crm_bridge.trying import tenant_of
from sales_crm_bridge.world import RealDice, WallClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from sales_crm_bridge.ports import Clock, Ledger
    from sales_crm_bridge.settings import Settings
    from sales_crm_bridge.tenants import Tenant

BATCH = 500
"""Pairs in one transaction."""
MISFITS_TOLD_MAX = 10_000
"""So many misfits are told one by one; the others are counted."""
LOOK_S = 0.2
"""How often it is looked whether the account's lease is free."""

Ask = Callable[[Sequence[str]], Awaitable[list[Record]]]


@dataclass(slots=True, kw_only=True)
class Seeded:
    """What an import did, or would do (``dry``): how many pairs it has bound, how many were known, and what did not match."""

    tenant: str
    dry: bool
    lines: int = 0
    bound: int = 0
    known: int = 0
    repeated: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    misfits: list[Misfit] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0: every pair of the file is bound now, or would be."""
        return EXIT_RUNTIME if self.refused else EXIT_OK

    def to_json(self) -> dict[str, object]:
        """For machines."""
        return {
            "tenant": self.tenant,
            "dry_run": self.dry,
            "lines": self.lines,
            "bound": self.bound,
            "known": self.known,
            "repeated": self.repeated,
            "refused": self.refused.total(),
            "codes": dict(sorted(self.refused.items())),
            "misfits": [
                {"line": one.line, "code": one.code, "message": one.message, "remedy": one.remedy}
                for one in sorted(self.misfits, key=lambda one: one.line)
            ],
        }

    def refuse(self, misfit: Misfit) -> None:
        """Count it, and keep it to be told."""
        self.refused[misfit.code] += 1
        if len(self.misfits) < MISFITS_TOLD_MAX:
            self.misfits.append(misfit)


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A tenant's connection: its name, and its number in the ledger (0: it has none yet)."""

    tenant: Tenant
    conn: int

    @property
    def lease(self) -> str:
        """The lease under which its bindings are written."""
        return lease_name(self.tenant.tenant, self.tenant.connection.name)


async def import_pairs(
    settings: Settings, name: str, file: IO[bytes], *, draft: Path | None, dry: bool, online: bool, wait_s: float
) -> Seeded:
    """Bind the pairs of ``file`` for tenant ``name``; ``draft``: its file, where that is not in the tenants' folder yet.

    ``online``: the CRM is asked for every record that would be bound. ``wait_s``: how long a running process may take to give the
    account's lease back. Raises ``ConfigError``, ``RuntimeFault`` when the lease is not to be had, and what asking the CRM raises;
    the batches before are bound then.
    """
    told = Seeded(tenant=name, dry=dry)
    with Spool() as spool:
        for misfit in spool.fill(pairs_of(file, getattr(file, "name", "-"))):
            told.refuse(misfit)
        told.lines, told.repeated = spool.lines, spool.repeated
        async with operate.ledger_of(settings) as ledger, AsyncExitStack() as stack:
            account = await account_of(settings, ledger, name, draft, make=not dry)
            fence = None
            if not dry:
                held = lease_held(ledger, WallClock(), RealDice().name(), account.lease, settings.lease.ttl_s, wait_s)
                fence = await stack.enter_async_context(held)
            ask = await stack.enter_async_context(_asking(settings, ledger, account, fence)) if online else None
            for pairs in spool.batches(BATCH):
                await bind(ledger, account.conn, fence, pairs, ask, told)
    return told


async def bind(
    ledger: Ledger, conn: int, fence: Fence | None, pairs: Sequence[Pair], ask: Ask | None, told: Seeded
) -> None:
    """One batch: compared with the ledger and with the CRM, and written. ``fence`` None: nothing is written."""
    leads = [pair.lead_id for pair in pairs]
    by_lead = await ledger.bindings_by_lead(conn, leads)
    by_crm = await ledger.bindings_by_crm_id(conn, [pair.crm_id for pair in pairs])
    seeds = seed(conn, pairs, by_lead, by_crm, await ledger.commands_open(conn, leads))
    wanted, misfits = seeds.bindings, list(seeds.misfits)
    if ask is not None:
        found: dict[str, Record] = {}
        for ids in chunks([pair.crm_id for pair, _ in wanted], READ_BATCH):
            found.update(zip(ids, await ask(ids), strict=True))
        wrong = {pair.line: misfit for pair, _ in wanted if (misfit := unlike(pair, found[pair.crm_id])) is not None}
        misfits += wrong.values()
        wanted = [(pair, binding) for pair, binding in wanted if pair.line not in wrong]
    if fence is not None and wanted:
        await ledger.commit(fence, Commit(conn=conn, bindings=[binding for _, binding in wanted]))
    told.bound += len(wanted)
    told.known += seeds.known
    for misfit in misfits:
        told.refuse(misfit)


# --- whose bindings -------------------------------------------------------------------------------------------------------


async def account_of(settings: Settings, ledger: Ledger, name: str, draft: Path | None, *, make: bool) -> Account:
    """The connection of tenant ``name``: as the ledger has it in force, or as its file says that is not in force yet.

    ``make``: the ledger gives the connection its number, so that pairs can be bound before the file is accepted. Raises
    ``ConfigError``.
    """
    rows = {row.tenant: row for row in await ledger.tenants()}
    row = rows.get(name)
    if draft is None and row is not None and not row.retired_us:
        return Account(tenant=tenant_files.reaccept(row.text, name, wiring.catalogue()), conn=row.conn)
    tenant = tenant_of(draft, secrets=False) if draft is not None else operate.tenants_of(settings, name)[0]
    if tenant.tenant != name:
        said = f"the file is for {tenant.tenant!r}, not for {name!r}"
        raise ConfigError([finding("tenant.wrong-file", said, tenant.place("tenant"), f"say --tenant {tenant.tenant}")])
    connection = tenant.connection
    if row is not None and row.connection == connection.name:
        if (row.adapter, row.account) != (connection.adapter, connection.account):
            said = f"connection {connection.name!r} was account {row.account!r} of {row.adapter}"
            raise ConfigError([finding("tenant.account-moved", said, tenant.place("connection", "account"))])
        return Account(tenant=tenant, conn=row.conn)
    conn = await ledger.connection_find(name, connection.name)
    if make:
        conn = await ledger.connection_make(row_of(tenant, 0))
    return Account(tenant=tenant, conn=conn)


async def bound_pairs(settings: Settings, name: str) -> AsyncIterator[tuple[str, str, str]]:
    """Lead, record and state of every binding of tenant ``name``, a retired one too. Raises ``ConfigError`` if there is none."""
    async with operate.ledger_of(settings) as ledger:
        row = next((one for one in await ledger.tenants() if one.tenant == name), None)
        conn = row.conn if row is not None else (await account_of(settings, ledger, name, None, make=False)).conn
        after = ""
        while found := await ledger.bindings_bound(conn, after, BATCH):
            for lead_id, crm_id, state in found:
                yield lead_id, crm_id, state.value
            after = found[-1][0]


# --- the lease ------------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def lease_held(
    ledger: Ledger, clock: Clock, holder: str, lease: str, ttl_s: float, wait_s: float
) -> AsyncIterator[Fence]:
    """The lease, asked for and held; whoever works under it has ``wait_s`` to give it back. Raises ``RuntimeFault``."""
    wish = HOLD + lease

    async def take(name: str) -> int | None:
        now_us = clock.now_us()
        taken = await ledger.leases_take([name], holder, now_us, now_us + round(ttl_s * 1e6))
        return taken.get(name)

    async def renew() -> None:
        while True:
            await clock.sleep(ttl_s / 4)
            with suppress(
                LedgerBusy, EnvironmentFault
            ):  # there is time for more tries; without a lease nothing is written
                await ledger.leases_renew(holder, clock.now_us(), clock.now_us() + round(ttl_s * 1e6))

    if await take(wish) is None:
        said = "another import for this account is under way, or was killed just now"
        remedy = "wait until it has ended; after a kill, for `lease.ttl`"
        raise RuntimeFault("bindings.import-elsewhere", said, place=lease, remedy=remedy)
    renewing = asyncio.create_task(renew(), name="import lease")
    try:
        until_us = clock.now_us() + round(wait_s * 1e6)
        while (epoch := await take(lease)) is None:
            if clock.now_us() >= until_us:
                said = "a process works for this account and has not given its lease back in time"
                remedy = "wait longer with --wait, or stop the processes of an older version for the import"
                raise RuntimeFault("bindings.account-busy", said, place=lease, remedy=remedy)
            await clock.sleep(LOOK_S)
        yield Fence(lease=lease, holder=holder, epoch=epoch)
    finally:
        await end((renewing,))
        with suppress(LedgerBusy, EnvironmentFault):  # they run out by themselves
            await ledger.leases_drop(holder, [wish, lease])


# --- the CRM --------------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def _asking(settings: Settings, ledger: Ledger, account: Account, fence: Fence | None) -> AsyncIterator[Ask]:
    """How records are read: under our lease (``fence``), or as ``check --online`` asks."""
    tenant, adapter = account.tenant, wiring.adapter_of(account.tenant)
    async with AsyncExitStack() as stack:
        if fence is None:
            way = await stack.enter_async_context(approach(settings, tenant, ledger))
            if not isinstance(way, Asker):
                said = f"the CRM is asked by {way.by} alone, since a sign-in could rotate its token"
                remedy = "leave --dry-run or --online out"
                raise ConfigError(
                    [Finding(code="sign-in.kept-elsewhere", message=said, place=Place(file=tenant.file), remedy=remedy)]
                )
        else:
            clock = WallClock()
            transport = wiring.real_transport(settings)
            outside = wiring.Outside(clock=clock, dice=RealDice(), ledger=ledger, transport=transport)
            way = Asker(wiring.Crew(settings, outside), account.conn, fence)
        rim = way.rim(tenant, adapter)
        stack.push_async_callback(rim.close)

        async def ask(ids: Sequence[str]) -> list[Record]:
            return await rim.converse(adapter.read([Ref(id=crm_id) for crm_id in ids]), purpose="check")

        yield ask
