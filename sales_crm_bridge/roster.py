"""The tenants in force: files taken up as they change, the last accepted version kept where a file is broken or gone."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from sales_crm_bridge import contract, tenants
from sales_crm_bridge.admission import Tenancy
from sales_crm_bridge.errors import EnvironmentFault, Finding, Place
from sales_crm_bridge.findings import finding
from sales_crm_bridge.state import Refusal, TenantRow, lease_name
from sales_crm_bridge.units import time_text

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from sales_crm_bridge.gate import Ownership
    from sales_crm_bridge.ports import Clock, Ledger
    from sales_crm_bridge.state import Fence
    from sales_crm_bridge.tenants import Catalogue, Outline, Tenant
    from sales_crm_bridge.worker import Worker

    Hire = Callable[[Tenant, int, Fence, Callable[[Fence], bool]], Awaitable[Worker]]

log = logging.getLogger(__name__)

_UNREAD = object()
"""The stamp of a folder that could not be read: no other equals it."""


class Roster:
    """Reads ``folder``, keeps what it accepts in the ledger (rule 17), and hires workers through ``hire``.

    ``holder``: the process in whose name refused files are written down ("": nobody would look).
    """

    def __init__(
        self, *, folder: Path, catalogue: Catalogue, ledger: Ledger, clock: Clock, hire: Hire, holder: str = ""
    ) -> None:
        self._folder = folder
        self._catalogue = catalogue
        self._ledger = ledger
        self._clock = clock
        self._hire = hire
        self._holder = holder
        self._shelf = tenants.Shelf(catalogue)
        self._stamp: object = None
        self._number = -1
        self._loaded: tenants.Loaded | None = None
        self._seen: dict[str, str] = {}
        self._tenants: dict[str, Tenant] = {}
        self._leases: dict[str, str] = {}
        self._tenancy: Tenancy | None = None
        self._retired: dict[str, Ownership] = {}
        self._rows: dict[str, TenantRow] = {}
        self._changed: set[str] = set()
        self._turn = asyncio.Lock()
        self._refused_us: dict[Finding, int] = {}
        self.findings: Sequence[Finding] = ()

    @property
    def holder(self) -> str:
        """The process in whose name it works."""
        return self._holder

    def tenants(self) -> Mapping[str, Tenant]:
        """The tenants in force, by name."""
        return dict(self._tenants)

    def leases(self) -> Mapping[str, str]:
        """Lease name → tenant."""
        return self._leases

    @property
    def loaded(self) -> bool:
        """Whether the tenants in force are known."""
        return self._stamp is not None

    def connection(self, tenant: str, connection: str) -> tuple[Tenant, int] | None:
        """The tenant in force with this connection, and the connection's number; None: there is none."""
        found = self._tenants.get(tenant)
        if found is None or found.connection.name != connection:
            return None
        return found, self._rows[tenant].conn

    def tenancy(self) -> Tenancy:
        """What the gate and intake need to know: a retired tenant's leads, too, were the CRM's until it was retired."""
        if self._tenancy is not None and self._tenancy.number == self._number:
            return self._tenancy
        ownership = {name: tenant.ownership for name, tenant in self._tenants.items()} | self._retired
        froms = [span.from_us for one in ownership.values() for span in one.history if span.owner == "crm"]
        tenancy = Tenancy(
            ownership=ownership,
            conns={name: self._rows[name].conn for name in ownership},
            earliest_us=min(froms, default=self._clock.now_us()),
            number=self._number,
        )
        self._tenancy = tenancy if froms else None
        return tenancy

    async def renew(self) -> None:
        """As ``refresh``, which then gives, next time, what has changed."""
        async with self._turn:
            self._changed |= await self._take_up()

    async def refresh(self) -> set[str]:
        """Take up new and changed files; gives the leases whose tenant changed, came or went since the last ``refresh``.

        What another process has accepted meanwhile is taken from the ledger, unless our own file has changed since we looked.

        A file with findings is refused whole: they are logged, and the version accepted before stays in force. A tenant whose file
        is gone stays in force too, until it is retired. A file that is refused for a secret that is not there is taken up when the
        secret is. A folder that cannot be read is a finding, and what the ledger has is in force; where it has nothing,
        ``EnvironmentFault``.
        """
        async with self._turn:
            changed, self._changed = self._changed | await self._take_up(), set()
            return changed

    async def _take_up(self) -> set[str]:
        try:
            stamp = tenants.stamp(self._folder)
        except EnvironmentFault as fault:
            return await self._recall(fault)
        found_again = self._loaded is not None and self._loaded.found_again()
        same = stamp == self._stamp and not found_again
        number = await self._ledger.tenancy()
        if same and number == self._number:
            return set()
        rows = await self._in_ledger()
        if same and _state(rows) == _state(self._rows):
            self._number = number
            return set()
        # Many files take longer to read than a lease lasts. Only what is read meanwhile is judged, by what the ledger says then.
        await self._shelf.fill(self._folder, rows, lambda: self._clock.sleep(0))
        # The number before the rows: rows that are newer than it cost another look, older ones would be taken for what is in force.
        number = await self._ledger.tenancy()
        rows = await self._in_ledger()
        now_us = self._clock.now_us()
        judged = await judge(self._ledger, self._folder, self._catalogue, rows, now_us, shelf=self._shelf)
        previous, loaded = judged.previous, judged.loaded
        await self._tell((*loaded.findings, *judged.strays), now_us)
        before = self._tenants
        now: dict[str, Tenant] = {}
        for name, on_disk in {**previous, **loaded.tenants}.items():
            # A file that this process has seen before is no news: during a roll-out another replica may have accepted a newer one.
            stale = name in rows and self._seen.get(name) == on_disk.digest
            if stale and name in judged.retired:
                continue
            tenant = previous[name] if stale else on_disk
            row = rows.get(name)
            if row is None or row.digest != tenant.digest or row.retired_us:
                row = row_of(tenant, self._clock.now_us())
                rows[name] = msgspec.structs.replace(row, conn=await self._ledger.tenant_accept(row))
                log.info("a tenant's file is in force", extra={"event": "tenant.in-force", "tenant": name})
            now[name] = tenant
        self._loaded = loaded
        self._stamp, self._rows, self._number = stamp, rows, number
        self._put_in_force(now)
        self._retired = {name: outline.ownership for name, outline in judged.retired.items() if name not in now}
        self._seen = {name: tenant.digest for name, tenant in loaded.tenants.items()}
        return _differ(before, now)

    async def _recall(self, fault: EnvironmentFault) -> set[str]:
        """Go by what the ledger has, since the files cannot be read.

        Raises ``fault`` if it has nothing: then nobody knows of any tenant.
        """
        number = await self._ledger.tenancy()
        rows = await self._in_ledger()
        if not rows:
            raise fault
        await self._tell((fault.finding(str(self._folder)),), self._clock.now_us())
        before = self._tenants
        self._stamp, self._rows, self._number = _UNREAD, rows, number
        self._put_in_force(_in_force(rows, self._shelf))
        self._retired = {name: one.ownership for name, one in _retired(rows.values(), self._shelf).items()}
        return _differ(before, self._tenants)

    def _put_in_force(self, now: dict[str, Tenant]) -> None:
        self._tenants = now
        self._leases, self._tenancy = {_lease(tenant): name for name, tenant in now.items()}, None

    async def _in_ledger(self) -> dict[str, TenantRow]:
        return {row.tenant: row for row in await self._ledger.tenants()}

    async def _tell(self, findings: Sequence[Finding], now_us: int) -> None:
        for one in findings:
            if one not in self.findings:
                file = Path(one.place.file)
                extra = {"event": "tenant.refused", "code": one.code}
                extra |= {"tenant": file.stem} if file.suffix in tenants.SUFFIXES else {}  # else it is about the folder
                log.error("%s", one, extra=extra)
        if self._holder and tuple(findings) != self.findings:
            since_us = {one: self._refused_us.get(one, now_us) for one in findings}
            await self._ledger.refuse(self._holder, [_refusal(self._holder, one, since_us[one]) for one in findings])
            self._refused_us = since_us
        self.findings = tuple(findings)

    async def worker(self, lease: str, fence: Fence, still: Callable[[Fence], bool]) -> Worker:
        """A worker for the account of ``lease``."""
        tenant = self._tenants[self._leases[lease]]
        return await self._hire(tenant, self._rows[tenant.tenant].conn, fence, still)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """The files beside what the ledger has in force (``previous``) and what it had (``retired``).

    ``strays``: files and tenants that lack each other.
    """

    previous: Mapping[str, Tenant]
    retired: Mapping[str, Outline]
    loaded: tenants.Loaded
    strays: tuple[Finding, ...]


async def judge(
    ledger: Ledger,
    folder: Path,
    catalogue: Catalogue,
    rows: Mapping[str, TenantRow],
    now_us: int,
    *,
    rewound_us: int | None = None,
    shelf: tenants.Shelf | None = None,
) -> Judged:
    """What a running bridge makes of the files of ``folder``; ``rows``: the ledger's tenants, by name.

    ``rewound_us``: from when on intake is about to read again (None: it is not). ``shelf``: what was read before.
    """
    shelf = shelf or tenants.Shelf(catalogue)
    previous = _in_force(rows, shelf)
    retired = _retired(rows.values(), shelf)
    # Once intake has read anything, a tenant that is new here cannot have owned the past: its intents were passed over.
    begun = await ledger.places(contract.INTENT_TOPIC)
    loaded = tenants.load(
        folder,
        catalogue,
        previous={name: tenant.outline for name, tenant in previous.items()} | retired,
        passed_us=now_us,
        strangers_us=now_us if begun else 0,
        rewound_us=rewound_us,
        shelf=shelf,
    )
    strays = [
        finding(
            "tenant.retired",
            f"{one.tenant!r} was retired at {time_text(retired[one.tenant].retired_us)}",
            Place(file=one.file),
            tenants.way_back(retired[one.tenant]),
        )
        for one in loaded.asleep
    ]
    there = {Path(file).stem for file in tenants.stamp(folder)}
    strays += [
        finding(
            "tenant.file-gone",
            f"{name!r} has no file; the version accepted at {time_text(rows[name].accepted_us)} stays in force",
            Place(file=str(folder / f"{name}.yaml")),
            f"put the file back, or `sales-crm-bridge tenant retire {name}`",
        )
        for name in previous
        if name not in there
    ]
    return Judged(previous=previous, retired=retired, loaded=loaded, strays=tuple(strays))


def owners(rows: Iterable[TenantRow], catalogue: Catalogue) -> list[Ownership]:
    """Who owns the leads of every tenant that was ever accepted, as the gate goes by: those of a retired one until it was retired.

    Raises ``ConfigError`` as ``tenants.reaccept`` does.
    """
    known, shelf = list(rows), tenants.Shelf(catalogue)
    in_force = [shelf.accepted(row.text, row.tenant).ownership for row in known if not row.retired_us]
    return [*in_force, *(outline.ownership for outline in _retired(known, shelf).values())]


def _differ(before: Mapping[str, Tenant], now: Mapping[str, Tenant]) -> set[str]:
    """The leases of tenants that changed, came or went."""
    return {
        _lease(tenant)
        for name in sorted({*before, *now})
        for tenant in (before.get(name), now.get(name))
        if tenant is not None and (name not in before or name not in now or before[name].digest != now[name].digest)
    }


def _in_force(rows: Mapping[str, TenantRow], shelf: tenants.Shelf) -> dict[str, Tenant]:
    return {name: shelf.accepted(row.text, name) for name, row in rows.items() if not row.retired_us}


def _retired(rows: Iterable[TenantRow], shelf: tenants.Shelf) -> dict[str, Outline]:
    return {row.tenant: shelf.retired(row.text, row.tenant, row.retired_us) for row in rows if row.retired_us}


def row_of(tenant: Tenant, now_us: int) -> TenantRow:
    """A tenant's file as the ledger keeps it, accepted at ``now_us``."""
    return TenantRow(
        tenant=tenant.tenant,
        text=tenant.text,
        digest=tenant.digest,
        accepted_us=now_us,
        connection=tenant.connection.name,
        adapter=tenant.connection.adapter,
        account=tenant.connection.account,
    )


def _refusal(holder: str, finding: Finding, since_us: int) -> Refusal:
    return Refusal(
        holder=holder,
        number=0,
        since_us=since_us,
        code=finding.code,
        place=str(finding.place),
        message=finding.message,
        remedy=finding.remedy,
    )


def _state(rows: Mapping[str, TenantRow]) -> dict[str, tuple[str, int]]:
    return {name: (row.digest, row.retired_us) for name, row in rows.items()}


def _lease(tenant: Tenant) -> str:
    return lease_name(tenant.tenant, tenant.connection.name)
