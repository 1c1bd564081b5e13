"""What ``check`` looks at: the files alone, or with --online each CRM, Kafka and the ledger too. It changes nothing."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sales_crm_bridge import observe, operate, wiring
from sales_crm_bridge import tenants as tenant_files
from sales_crm_bridge.asking import Asker, approach
from sales_crm_bridge.errors import (
    EXIT_CONFIG,
    EXIT_ENVIRONMENT,
    EXIT_RUNTIME,
    BridgeError,
    CrmUnavailable,
    EnvironmentFault,
    Finding,
    QuotaExhausted,
    RuntimeFault,
    one_exit_code,
)
from sales_crm_bridge.gate import standing
from sales_crm_bridge.kafka import kafka_state
from sales_crm_bridge.ledger import open_ledger
from sales_crm_bridge.rim.quota import used_up
from sales_crm_bridge.roster import judge
from sales_crm_bridge.settings import touches
from sales_crm_bridge.units import duration_text, time_text
from sales_crm_bridge.world import WallClock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sales_crm_bridge.model import Account
    from sales_crm_bridge.ports import Ledger
    from sales_crm_bridge.settings import Reading, Settings
    from sales_crm_bridge.tenants import Tenant

UNREADABLE = "tenant.folder-unreadable"
UNVERIFIED = "not verified: the CRM is not asked whose account it is (a declared one: `check.account`)"


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantCheck:
    """What asking a tenant's CRM told; ``lines`` are (what, how it is)."""

    tenant: str
    lines: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """Everything that ``check`` found, and what it looked at. ``passing``: those findings that may be gone by themselves."""

    findings: tuple[Finding, ...]
    tenants: tuple[TenantCheck, ...]
    loaded: tuple[Tenant, ...] = ()
    passing: frozenset[Finding] = frozenset()

    @property
    def exit_code(self) -> int:
        """2: something is to be mended in files or at a CRM; 3: only Kafka, the ledger or the machine; 1: a CRM is away."""
        return one_exit_code(
            EXIT_RUNTIME
            if one in self.passing
            else EXIT_ENVIRONMENT
            if one.code.startswith(("kafka.", "ledger.")) or one.code == UNREADABLE
            else EXIT_CONFIG
            for one in self.findings
        )

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


def check_files(reading: Reading) -> CheckReport:
    """Everything that can be said without leaving the machine: of the settings as they were read, and of the tenants' files."""
    findings = [*reading.findings, *operate.unfit(reading.settings, reading.place, reading.broken)]
    if not touches(("ledger",), reading.broken):
        findings += operate.no_room_for_ledger(reading.settings.ledger_address())
    folder = Path(reading.settings.tenants.folder)
    try:
        loaded = tenant_files.load(folder, wiring.catalogue())
    except EnvironmentFault as fault:
        return CheckReport(findings=(*findings, fault.finding(str(folder))), tenants=())
    if touches(("tenants", "folder"), reading.broken) and any(
        one.code == "tenant.no-folder" for one in loaded.findings
    ):
        return CheckReport(findings=tuple(findings), tenants=())  # nobody knows where they are
    findings += loaded.findings
    if not loaded.tenants and not loaded.findings:
        findings.append(operate.no_tenant(str(folder), None))
    tenants = tuple(tenant for _, tenant in sorted(loaded.tenants.items()))
    now_us = WallClock().now_us()
    told = tuple(
        TenantCheck(tenant=one.tenant, lines=(("file", one.file), ("leads", _leads(one, now_us)))) for one in tenants
    )
    return CheckReport(findings=tuple(findings), tenants=told, loaded=tenants)


async def check_online(settings: Settings, offline: CheckReport) -> CheckReport:
    """Ask each CRM, Kafka and the ledger as well; changes nothing but what a sign-in itself must keep."""
    findings = [*offline.findings]
    if settings.kafka.get("bootstrap.servers") and not any(one.code == "config.kafka" for one in offline.findings):
        findings += await kafka_state(operate.kafka_settings(settings), inbox_keep_s=settings.retention.inbox_s)
    told: list[TenantCheck] = []
    passing: list[Finding] = []
    async with AsyncExitStack() as stack:
        ledger: Ledger | None = None
        try:
            await operate.check_ledger(settings)
            ledger = await open_ledger(settings.ledger_address())
            stack.push_async_callback(ledger.close)
        except EnvironmentFault as fault:
            findings.append(fault.finding("ledger"))
        if ledger is not None and all(one.code != UNREADABLE for one in offline.findings):
            findings += await _against_ledger(settings, ledger, offline.findings)
        for tenant in offline.loaded:
            lines, found = await _check_tenant(settings, tenant, ledger)
            told.append(TenantCheck(tenant=tenant.tenant, lines=tuple(lines)))
            for one in found:
                if isinstance(one, CrmUnavailable):
                    passing.append(one.finding(tenant.file))
                findings.append(one.finding(tenant.file) if isinstance(one, BridgeError) else one)
    return CheckReport(findings=tuple(findings), tenants=tuple(told), loaded=offline.loaded, passing=frozenset(passing))


async def _against_ledger(settings: Settings, ledger: Ledger, known: Sequence[Finding]) -> list[Finding]:
    """What a running bridge would refuse of files that are good by themselves: the past is the ledger's."""
    rows = {row.tenant: row for row in await ledger.tenants()}
    folder = Path(settings.tenants.folder)
    judged = await judge(ledger, folder, wiring.catalogue(), rows, WallClock().now_us())
    return [one for one in (*judged.loaded.findings, *judged.strays) if one not in known]


async def _check_tenant(
    settings: Settings, tenant: Tenant, ledger: Ledger | None
) -> tuple[list[tuple[str, str]], list[Finding | BridgeError]]:
    """Ask one tenant's CRM and compare. Where the day's calls are used up, that is told, and none is made or counted for it."""
    async with approach(settings, tenant, ledger) as way:
        if isinstance(way, Asker):
            return await _ask_crm(way, tenant)
        lines = [("file", tenant.file), ("leads", _leads(tenant, WallClock().now_us())), ("asked by", way.by)]
        return [*lines, ("state", way.state)] if way.state else lines, []


async def _ask_crm(asker: Asker, tenant: Tenant) -> tuple[list[tuple[str, str]], list[Finding | BridgeError]]:
    clock = WallClock()
    adapter = wiring.adapter_of(tenant)
    rim = asker.rim(tenant, adapter)
    lines = [("file", tenant.file), ("leads", _leads(tenant, clock.now_us())), ("crm", adapter.name)]
    try:
        if asker.spent_us:
            raise used_up("by the count of the process that works for it", asker.spent_us)
        account = await rim.converse(adapter.check(), purpose="check")
        skew_s = (rim.crm_now_us() - clock.now_us()) / 1e6
        lines += [
            ("account", whose(account)),
            ("time zone", account.time_zone),
            ("clock skew", f"{skew_s:+.0f} s"),
            ("calls left today", "not said" if account.calls_left_day is None else str(account.calls_left_day)),
        ]
        findings: list[Finding | BridgeError] = [
            *tenant_files.compare(tenant, account.fields),
            *wiring.objections(tenant, account),
        ]
    except QuotaExhausted as fault:
        return [*lines, ("calls left today", "0"), ("asked again", observe.iso(fault.retry_at_us))], [fault]
    except RuntimeFault as fault:
        return lines, [fault]
    else:
        return lines, findings
    finally:
        await rim.close()


def _leads(tenant: Tenant, now_us: int) -> str:
    """Whose the tenant's leads are by its file, and what comes next."""
    owner, coming = standing(tenant.ownership, now_us)
    if coming is None:
        return owner.value
    left_s = (coming.from_us - now_us) // 1_000_000
    return f"{owner}, {coming.owner} from {time_text(coming.from_us)}, in {duration_text(left_s)}"


def whose(account: Account) -> str:
    """Whose account it is, in words; nobody can tell a wrong one from an account that says nothing of itself."""
    return f"{account.account_id} {account.name}".strip() if account.account_id else UNVERIFIED
