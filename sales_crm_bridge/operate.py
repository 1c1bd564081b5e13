"""What the verbs do: everything ``cli`` needs, without a terminal."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from sales_crm_bridge import contract, gate, observe, wiring
from sales_crm_bridge import tenants as tenant_files
from sales_crm_bridge.errors import (
    BridgeError,
    ConfigError,
    ConnectionStopped,
    EnvironmentFault,
    Finding,
    Place,
    RuntimeFault,
)
from sales_crm_bridge.kafka import KafkaFacts, KafkaIntents, KafkaSettings, kafka_state
from sales_crm_bridge.keeper import Keeper
from sales_crm_bridge.ledger import migrate as migrate_ledger
from sales_crm_bridge.ledger import open_ledger, schema_state
from sales_crm_bridge.relay import Relay
from sales_crm_bridge.roster import Roster
from sales_crm_bridge.service import RELAY_LEASE
from sales_crm_bridge.settings import run_findings
from sales_crm_bridge.state import Fence
from sales_crm_bridge.world import RealDice, WallClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from sales_crm_bridge.ports import Clock, Ledger
    from sales_crm_bridge.settings import Settings
    from sales_crm_bridge.tenants import Tenant
    from sales_crm_bridge.worker import Worker


def kafka_settings(settings: Settings) -> KafkaSettings:
    """The settings of Kafka's two ends.

    A fact is given up on, to be published again, before the relay's lease could be over: two relays would mix up the order.
    """
    client = settings.kafka_config()
    servers = str(client.pop("bootstrap.servers", ""))
    return KafkaSettings(
        servers=servers,
        group=settings.consumer_group,
        client=client,
        batch_records=settings.intake.batch,
        delivery_s=min(settings.relay.publish_timeout_s, settings.lease.ttl_s - settings.lease.renew_s),
    )


def _facts(settings: Settings) -> KafkaFacts:
    registry = settings.schema_registry
    framing = contract.Framing(schema_id=registry.facts_schema_id) if registry.framing != "none" else None
    return KafkaFacts(kafka_settings(settings), framing=framing)


def need_kafka(settings: Settings) -> None:
    """Raise ``ConfigError`` unless the settings are good enough for production."""
    findings = run_findings(settings)
    if findings:
        raise ConfigError(findings)


@asynccontextmanager
async def ledger_of(settings: Settings, *, migrate: bool = False) -> AsyncIterator[Ledger]:
    """The deployment's ledger, open. An embedded one is brought up to date by itself: there is nobody else to do it."""
    address = settings.ledger_address()
    ledger = await open_ledger(address, migrate=migrate or address.startswith("sqlite:"))
    try:
        yield ledger
    finally:
        await ledger.close()


# --- run --------------------------------------------------------------------------------------------------------------


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """Run the bridge until ``stop``; raises before it starts if the set-up or the surroundings are not as needed."""
    need_kafka(settings)
    async with ledger_of(settings) as ledger:
        outside = wiring.Outside(
            clock=WallClock(), dice=RealDice(), ledger=ledger, transport=wiring.real_transport(settings)
        )
        kafka = kafka_settings(settings)
        service = wiring.assemble(settings, outside, source=KafkaIntents(kafka), sink=_facts(settings))
        working = asyncio.create_task(service.run(), name="service")
        stopping = asyncio.create_task(stop.wait(), name="signal")
        await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
        service.stop()
        stopping.cancel()
        await working


async def migrate(settings: Settings) -> list[str]:
    """Apply what the ledger's schema lacks; gives the names of what was applied."""
    return await migrate_ledger(settings.ledger_address())


async def status(settings: Settings) -> dict[str, Any]:
    """How everything stands."""
    async with ledger_of(settings) as ledger:
        return await observe.report(ledger, WallClock().now_us())


# --- tenants ----------------------------------------------------------------------------------------------------------


def tenants_of(settings: Settings, only: str | None = None) -> list[Tenant]:
    """The tenants of the files, by name; raises ``ConfigError`` with every finding, or when ``only`` is not among them."""
    loaded = tenant_files.load(Path(settings.tenants.folder), wiring.catalogue())
    if loaded.findings:
        raise ConfigError(loaded.findings)
    found = [tenant for name, tenant in sorted(loaded.tenants.items()) if only in (None, name)]
    if not found:
        raise ConfigError([_no_tenant(settings, only)])
    return found


def _no_tenant(settings: Settings, only: str | None) -> Finding:
    what = "there is no tenant file" if only is None else f"there is no tenant {only}"
    return Finding(
        code="config.no-tenant",
        message=what,
        place=Place(file=settings.tenants.folder),
        remedy="write config/tenants/<tenant>.yaml; docs/config.md explains every key",
    )


def gate_json(found: Sequence[Tenant]) -> dict[str, object]:
    """What the Sales domain must do about these tenants' Lead intents."""
    return gate.gate_json(tenant.ownership for tenant in found)


async def tenant_rows(settings: Settings) -> list[dict[str, object]]:
    """The tenants that the ledger has accepted, retired ones too."""
    async with ledger_of(settings) as ledger:
        return [
            {
                "tenant": row.tenant,
                "connection": row.connection,
                "crm": row.adapter,
                "account": row.account,
                "accepted": observe.iso(row.accepted_us),
                "retired": observe.iso(row.retired_us),
            }
            for row in await ledger.tenants()
        ]


async def retire(settings: Settings, name: str) -> bool:
    """Put a tenant out of force; False if there is none of that name in force."""
    async with ledger_of(settings) as ledger:
        return await ledger.tenant_retire(name, WallClock().now_us())


# --- check ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantCheck:
    """What asking a tenant's CRM told; ``lines`` are (what, how it is)."""

    tenant: str
    lines: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """Everything that ``check`` found, and what it looked at."""

    findings: tuple[Finding, ...]
    tenants: tuple[TenantCheck, ...]
    loaded: tuple[Tenant, ...] = ()

    def to_json(self) -> dict[str, object]:
        """For machines."""
        return {
            "ok": not self.findings,
            "findings": [
                {
                    "code": one.code,
                    "message": one.message,
                    "file": one.place.file,
                    "line": one.place.line,
                    "column": one.place.column,
                    "remedy": one.remedy,
                }
                for one in self.findings
            ],
            "tenants": [{"tenant": one.tenant, **dict(one.lines)} for one in self.tenants],
        }


def check_files(settings: Settings) -> CheckReport:
    """Read the tenants' files; nothing leaves the machine."""
    loaded = tenant_files.load(Path(settings.tenants.folder), wiring.catalogue())
    findings = list(loaded.findings)
    if not loaded.tenants and not findings:
        findings.append(_no_tenant(settings, None))
    tenants = tuple(tenant for _, tenant in sorted(loaded.tenants.items()))
    told = tuple(TenantCheck(tenant=one.tenant, lines=(("file", one.file),)) for one in tenants)
    return CheckReport(findings=tuple(findings), tenants=told, loaded=tenants)


async def check_online(settings: Settings, offline: CheckReport) -> CheckReport:
    """Ask each CRM, Kafka and the ledger as well; changes nothing but what a sign-in itself must keep."""
    findings = [*offline.findings, *run_findings(settings)]
    if settings.kafka:
        findings += await kafka_state(kafka_settings(settings), inbox_keep_s=settings.retention.inbox_s)
    told: list[TenantCheck] = []
    async with AsyncExitStack() as stack:
        ledger: Ledger | None = None
        try:
            (await schema_state(settings.ledger_address())).check()
            ledger = await open_ledger(settings.ledger_address())
            stack.push_async_callback(ledger.close)
        except EnvironmentFault as fault:
            findings.append(_finding_of(fault, "ledger"))
        for tenant in offline.loaded:
            lines, found = await _check_tenant(settings, tenant, ledger)
            told.append(TenantCheck(tenant=tenant.tenant, lines=tuple(lines)))
            findings += found
    return CheckReport(findings=tuple(findings), tenants=tuple(told), loaded=offline.loaded)


async def _check_tenant(
    settings: Settings, tenant: Tenant, ledger: Ledger | None
) -> tuple[list[tuple[str, str]], list[Finding]]:
    """Ask one tenant's CRM: under the account's lease where the ledger knows it, so a rotated token is kept.

    While a process of the deployment holds the lease, an account whose sign-in may rotate tokens is left to it; how that process
    last found the connection is told instead.
    """
    clock = WallClock()
    rows = {row.tenant: row for row in await ledger.tenants()} if ledger is not None else {}
    row = rows.get(tenant.tenant)
    if ledger is None or row is None:
        crew = wiring.Crew(settings, wiring.unattended(settings, clock))
        return await _ask_crm(crew, tenant, 0, Fence(lease="", holder="", epoch=0))
    lease, holder = observe.lease_name(tenant.tenant, tenant.connection.name), RealDice().name()
    until_us = clock.now_us() + round(settings.lease.ttl_s * 1e6)
    taken = await ledger.leases_take([lease], holder, clock.now_us(), until_us)
    if lease not in taken and tenant.connection.credentials_kind != "token":
        known = next(one for one in await ledger.connections() if one.conn == row.conn)
        return [("file", tenant.file), ("asked by", "a running process"), ("state", known.state)], []
    try:
        outside = wiring.Outside(clock=clock, dice=RealDice(), ledger=ledger, transport=wiring.real_transport(settings))
        if lease not in taken:
            outside = wiring.unattended(settings, clock)
        fence = Fence(lease=lease, holder=holder, epoch=taken.get(lease, 0))
        return await _ask_crm(wiring.Crew(settings, outside), tenant, row.conn, fence)
    finally:
        await ledger.leases_drop(holder, [*taken])


async def _ask_crm(
    crew: wiring.Crew, tenant: Tenant, conn: int, fence: Fence
) -> tuple[list[tuple[str, str]], list[Finding]]:
    """Sign in to a tenant's CRM and compare; it works with the day's quota used up."""
    clock = WallClock()
    adapter = wiring.adapter_of(tenant)
    rim = crew.rim(tenant, adapter, conn, fence, _always)
    lines = [("file", tenant.file), ("crm", adapter.name)]
    try:
        account = await rim.converse(adapter.check(), purpose="check")
        skew_s = (rim.crm_now_us() - clock.now_us()) / 1e6
        lines += [
            ("account", f"{account.account_id} {account.name}".strip()),
            ("time zone", account.time_zone),
            ("clock skew", f"{skew_s:+.0f} s"),
            ("calls left today", "not said" if account.calls_left_day is None else str(account.calls_left_day)),
        ]
        findings = tenant_files.compare(tenant, account.fields)
        try:
            wiring.verify(tenant, account)
        except ConnectionStopped as fault:
            findings.append(_finding_of(fault, tenant.file))
        findings += [
            Finding(code=code, message=message, place=Place(file=tenant.file), remedy=remedy)
            for code, message, remedy in account.problems[1:]
        ]
    except RuntimeFault as fault:
        return lines, [_finding_of(fault, tenant.file)]
    else:
        return lines, findings
    finally:
        await rim.close()


def _always(_fence: Fence) -> bool:
    return True


def _finding_of(fault: BridgeError, where: str) -> Finding:
    return Finding(code=fault.code, message=fault.message, place=Place(file=fault.place or where), remedy=fault.remedy)


# --- sync once --------------------------------------------------------------------------------------------------------


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
    """Pull and push every tenant (or those of ``only``) to the present end, publish, and stop."""
    need_kafka(settings)
    async with ledger_of(settings) as ledger:
        clock, dice = WallClock(), RealDice()
        outside = wiring.Outside(clock=clock, dice=dice, ledger=ledger, transport=wiring.real_transport(settings))
        crew = wiring.Crew(settings, outside)
        folder = Path(settings.tenants.folder)
        roster = Roster(folder=folder, catalogue=wiring.catalogue(), ledger=ledger, clock=clock, hire=crew.hire)
        await roster.refresh()
        if roster.findings and not roster.tenants():
            raise ConfigError(roster.findings)
        sink = _facts(settings)
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
