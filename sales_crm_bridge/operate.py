"""What the verbs do: everything ``cli`` needs, without a terminal."""

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import SecretStr

from sales_crm_bridge import contract, fronts, observe, wiring
from sales_crm_bridge import tenants as tenant_files
from sales_crm_bridge.errors import (
    Bug,
    ConfigError,
    EnvironmentFault,
    Finding,
    Place,
)
from sales_crm_bridge.findings import finding, nearest
from sales_crm_bridge.gate import Ownership
from sales_crm_bridge.kafka import KafkaFacts, KafkaIntents, KafkaSettings, refusals
from sales_crm_bridge.ledger import migrate as migrate_ledger
from sales_crm_bridge.ledger import open_ledger, schema_state
from sales_crm_bridge.roster import judge, owners, row_of
from sales_crm_bridge.rpc import findings_of_files
from sales_crm_bridge.settings import run_findings, somewhere
from sales_crm_bridge.tasks import end, first
from sales_crm_bridge.units import ago_us, time_text
from sales_crm_bridge.web import Meter, serve
from sales_crm_bridge.world import RealDice, WallClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from sales_crm_bridge.ports import FactSink, Ledger, SpanSink
    from sales_crm_bridge.rpc import RpcServer
    from sales_crm_bridge.service import Service
    from sales_crm_bridge.settings import Route, Settings
    from sales_crm_bridge.state import TenantRow
    from sales_crm_bridge.tenants import Tenant
    from sales_crm_bridge.web import Face

log = logging.getLogger(__name__)


SECOND_US = 1_000_000
CALLS_SHARE = 0.2
"""Of the drain limit, what calls under way have to end."""


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


def facts_of(settings: Settings) -> KafkaFacts:
    """The one way out: where facts are published, framed as the settings say."""
    registry = settings.schema_registry
    framing = contract.Framing(schema_id=registry.facts_schema_id) if registry.framed else None
    return KafkaFacts(kafka_settings(settings), framing=framing)


def unfit(
    settings: Settings, place: Callable[[Sequence[str | int]], Place] = somewhere, broken: Sequence[Route] = ()
) -> list[Finding]:
    """What a bridge in production lacks, and what of it can never work; nothing leaves the machine.

    ``place``: where the value at a route stands; ``broken``: what is known to be wrong already.
    """
    hidden = sorted(name for name, value in settings.kafka.items() if isinstance(value, SecretStr))
    return [
        *run_findings(settings, place, broken),
        *refusals(kafka_settings(settings), lambda name: place(("kafka", name) if name else ("kafka",)), hidden),
        *findings_of_files(settings.rpc),
    ]


def need_kafka(settings: Settings) -> None:
    """Raise ``ConfigError`` unless the settings are good enough for production."""
    findings = unfit(settings)
    if findings:
        raise ConfigError(findings)


@asynccontextmanager
async def ledger_of(settings: Settings, *, make: bool = False) -> AsyncIterator[Ledger]:
    """The deployment's ledger, open. Raises ``EnvironmentFault`` when it is not there, or its schema is not what is needed.

    ``make``: an embedded one is made and brought up to date, since there is nobody else to do it. Who only looks makes none: a new
    one in the wrong folder would say that there are no tenants.
    """
    address = settings.ledger_address()
    make = make and _file_of(address) is not None
    if not make:
        need_ledger(address)
    ledger = await open_ledger(address, migrate=make)
    try:
        yield ledger
    finally:
        await ledger.close()


def need_ledger(address: str) -> None:
    """Raise ``EnvironmentFault`` if ``address`` names an embedded ledger that is not there."""
    file = _file_of(address)
    if file is not None and not file.is_file():
        raise EnvironmentFault(
            "ledger.unreachable",
            "there is no such ledger",
            place=str(file),
            remedy="correct `ledger`, or the folder that you are in; a new one is made by `sales-crm-bridge migrate`, or by `run`",
        )


def no_room_for_ledger(address: str) -> list[Finding]:
    """What keeps an embedded ledger at ``address`` from being made or written by this process; nothing is made."""
    file = _file_of(address)
    if file is None:
        return []
    folder_fits = os.access(file.parent, os.W_OK | os.X_OK) and file.parent.is_dir()
    if folder_fits and (not file.exists() or (file.is_file() and os.access(file, os.R_OK | os.W_OK))):
        return []
    said = "the ledger cannot be written here" if file.parent.is_dir() else "there is no such folder for the ledger"
    remedy = "let its folder exist and be writable for this process, or correct `ledger`"
    return [Finding(code="ledger.unreachable", message=said, place=Place(file=str(file)), remedy=remedy)]


def _file_of(address: str) -> Path | None:
    """The file of an embedded ledger."""
    return Path(address.removeprefix("sqlite:///")) if address.startswith("sqlite:///") else None


# --- run --------------------------------------------------------------------------------------------------------------


class Ears(Protocol):
    """Who listens at the rim while a service works: each gives what it is given, with ears."""

    def outside(self, inner: wiring.Outside) -> wiring.Outside:
        """Chance, the ledger, and the way to the CRMs."""
        ...

    def sink(self, inner: FactSink) -> FactSink:
        """The facts' topic."""
        ...


def service_of(
    settings: Settings, ledger: Ledger, spans: SpanSink | None = None, ears: Ears | None = None
) -> tuple[Service, Face, RpcServer | None]:
    """The whole service on the real world: its clock and chance, its sockets, and the Kafka that the settings name.

    Beside it what it shows over HTTP and what answers calls (None: the settings have it off), neither of them served yet.
    """
    meter = Meter()
    outside = wiring.Outside(
        clock=WallClock(),
        dice=RealDice(),
        ledger=ledger,
        transport=wiring.real_transport(settings),
        spans=spans,
        observer=meter,
    )
    facts = facts_of(settings)
    source = KafkaIntents(kafka_settings(settings))
    sink: FactSink = facts
    if ears is not None:
        outside, sink = ears.outside(outside), ears.sink(sink)
    roster = wiring.roster_of(settings, outside)
    service = wiring.assemble(settings, outside, source=source, sink=sink, roster=roster)
    face = fronts.face_of(settings, outside, service, meter, facts.answers)
    return service, face, fronts.calls_of(settings, outside, roster)


@asynccontextmanager
async def spans_of(settings: Settings) -> AsyncIterator[SpanSink | None]:
    """Where spans go; None, and OpenTelemetry is not even imported, if no endpoint is configured. At the end the last are sent."""
    telemetry = settings.telemetry
    endpoint = telemetry.traces_endpoint(os.environ)
    if not endpoint:
        yield None
        return
    from sales_crm_bridge.telemetry import OtlpSpans  # noqa: PLC0415 - see above

    sink = OtlpSpans(
        endpoint,
        service=settings.producer,
        instance=RealDice().name(),
        headers={name: value.get_secret_value() for name, value in telemetry.headers.items()},
        queue_max=telemetry.queue_spans_max,
        timeout_s=telemetry.timeout_s,
    )
    try:
        yield sink
    finally:
        await sink.close()


async def check_ledger(settings: Settings) -> None:
    """Raise ``EnvironmentFault`` unless the ledger is there, has the schema that we need, and its clock agrees with ours."""
    need_ledger(settings.ledger_address())
    clock = WallClock()
    before_us = clock.now_us()
    state = await schema_state(settings.ledger_address())
    after_us = clock.now_us()
    state.check()
    state.check_clock(before_us, after_us, settings.lease.renew_s / 2)


async def run(settings: Settings, stop: asyncio.Event, ears: Ears | None = None) -> None:
    """Run the bridge until ``stop``; raises before it starts if the set-up or the surroundings are not as needed."""
    need_kafka(settings)
    if _file_of(settings.ledger_address()) is None:
        await check_ledger(settings)
    async with spans_of(settings) as spans, ledger_of(settings, make=True) as ledger:
        service, face, calls = service_of(settings, ledger, spans, ears)
        lines = fronts.line_limits(settings)
        async with serve(face.app, settings.web.host, settings.port_http, lines, face.cut) as (port, serving):
            log.info("listening for HTTP", extra={"event": "http.listening", "port": port})
            working = asyncio.create_task(service.run(), name="service")
            beside = [asyncio.create_task(face.pulse.beat(), name="pulse")]
            if calls is not None:
                beside.append(asyncio.create_task(calls.run(), name="calls"))
            stopping = asyncio.create_task(stop.wait(), name="signal")
            await first((working, serving, *beside, stopping))
            broken = [part for part in (serving, *beside) if part.done() and not stopping.done()]
            # Unready at once, but still listening: what a CRM delivers while the work is drained is taken in for the next process.
            service.stop()
            try:
                if calls is not None:
                    await calls.drain(settings.service.drain_s * CALLS_SHARE)
                await working
            finally:
                await end((stopping, *beside))
            for part in broken:
                if not part.cancelled():
                    part.result()
                raise Bug("bug.part-ended", f"{part.get_name()} ended by itself")


async def migrate(settings: Settings) -> list[str]:
    """Apply what the ledger's schema lacks; gives the names of what was applied."""
    return await migrate_ledger(settings.ledger_address())


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewound:
    """What ``rewind`` did: since when intents are read again, in how many partitions, and whose changed files were accepted."""

    to: str
    partitions: int
    accepted: tuple[str, ...]


async def status(settings: Settings) -> dict[str, Any]:
    """How everything stands."""
    async with ledger_of(settings) as ledger:
        owners = owners_told(await ledger.tenants())
        return await observe.report(ledger, WallClock().now_us(), owners)


# --- intake ----------------------------------------------------------------------------------------------------------


async def rewind(settings: Settings, to_us: int) -> Rewound:
    """As ``rewind_in``, with the deployment's ledger, now."""
    async with ledger_of(settings) as ledger:
        return await rewind_in(ledger, settings, to_us, WallClock().now_us())


async def rewind_in(ledger: Ledger, settings: Settings, to_us: int, now_us: int) -> Rewound:
    """Have the intent topic read again from ``to_us`` on, judged by the tenants' files as they are now; they are accepted with it.

    Running processes follow by themselves. Raises ``ConfigError`` with every finding of the files, and when intents of that time
    may have been forgotten as taken: they would be carried out again.
    """
    oldest_us = ago_us(now_us, settings.retention.inbox_s)
    if not oldest_us <= to_us <= now_us:
        said = f"{time_text(to_us)} is not between {time_text(oldest_us)} and {time_text(now_us)}"
        remedy = "which intents were taken is remembered for `retention.inbox`: name a time within it"
        raise ConfigError([Finding(code="intake.rewind-range", message=said, place=Place(file="--to"), remedy=remedy)])
    rows = {row.tenant: row for row in await ledger.tenants()}
    folder = Path(settings.tenants.folder)
    loaded = (await judge(ledger, folder, wiring.catalogue(), rows, now_us, rewound_us=to_us)).loaded
    if loaded.findings:
        raise ConfigError(loaded.findings)
    changed = [
        row_of(tenant, now_us)
        for name, tenant in sorted(loaded.tenants.items())
        if name not in rows or rows[name].digest != tenant.digest
    ]
    partitions = await ledger.rewind(contract.INTENT_TOPIC, to_us, changed)
    return Rewound(to=time_text(to_us), partitions=partitions, accepted=tuple(row.tenant for row in changed))


# --- tenants ----------------------------------------------------------------------------------------------------------


def tenants_of(settings: Settings, only: str | None = None) -> list[Tenant]:
    """The tenants of the files, by name, or ``only`` this one; what their secrets are is not looked at.

    Raises ``ConfigError`` with every finding (of its file, if only one is asked for), or when there is none.
    """
    loaded = tenant_files.load(Path(settings.tenants.folder), wiring.catalogue(), secrets=False)
    findings = [
        one
        for one in loaded.findings
        if only is None or one.code == "tenant.no-folder" or Path(one.place.file).stem == only
    ]
    if findings:
        raise ConfigError(findings)
    found = [tenant for name, tenant in sorted(loaded.tenants.items()) if only in (None, name)]
    if not found:
        raise ConfigError([no_tenant(settings.tenants.folder, only)])
    return found


async def owners_in_force(settings: Settings, only: str | None = None) -> list[Ownership]:
    """Who owns the leads of the tenants that the ledger has, retired ones too, whatever the files say.

    Raises ``ConfigError`` when ``only`` is not among them.
    """
    async with ledger_of(settings) as ledger:
        rows = await ledger.tenants()
    if only is not None and all(row.tenant != only for row in rows):
        need_in_force(only, rows)
    return owners([row for row in rows if only in (None, row.tenant)], wiring.catalogue())


def owners_told(rows: Sequence[TenantRow]) -> dict[str, Ownership]:
    """Who owns the leads of the tenants that the ledger has, for a report: of a file that cannot be read, nobody knows."""
    spans = {row.tenant: tenant_files.spans_of(row.text) for row in rows}
    return {
        row.tenant: Ownership(tenant=row.tenant, spans=spans[row.tenant], retired_us=row.retired_us)
        for row in rows
        if spans[row.tenant] or row.retired_us
    }


def no_tenant(folder: str, only: str | None) -> Finding:
    """That tenant ``only``, or any tenant, is not there (the files are in ``folder``)."""
    what = "there is no tenant file" if only is None else f"there is no tenant {only!r}"
    remedy = f"write {folder}/{'<tenant>' if only is None else only}.yaml; docs/config.md explains every key"
    return finding("config.no-tenant", what, Place(file=folder), remedy)


def need_in_force(name: str, rows: Sequence[TenantRow]) -> None:
    """Raise ``ConfigError`` unless tenant ``name`` is one of the ledger's, and not retired."""
    row = next((one for one in rows if one.tenant == name), None)
    if row is not None and not row.retired_us:
        return
    near = nearest(name, [one.tenant for one in rows if not one.retired_us])
    said, remedy = f"no tenant {name!r} is in force", f"did you mean {near!r}? " if near else ""
    if row is not None:
        said = f"tenant {name!r} was retired at {time_text(row.retired_us)}: the Sales domain handles its Lead intents"
    remedy += "`sales-crm-bridge tenant list` names all that were ever accepted"
    raise ConfigError([finding("config.no-tenant", said, Place(file="the ledger"), remedy)])


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


async def look_up(settings: Settings, name: str) -> None:
    """Raise ``ConfigError`` unless tenant ``name`` is in force."""
    async with ledger_of(settings) as ledger:
        need_in_force(name, await ledger.tenants())


@dataclass(frozen=True, slots=True, kw_only=True)
class Retired:
    """What ``retire`` did: since when the domain owns the leads, and its files, which change nothing now."""

    tenant: str
    retired: str
    files: tuple[str, ...]


async def retire(settings: Settings, name: str) -> Retired:
    """Put a tenant out of force: no call is made for it any more. Raises ``ConfigError`` if there is none of that name in force.

    As an entry of ``leads`` that begins with the next second: what was taken until now was ours, and the time can be written down.
    """
    retired_us = (WallClock().now_us() // SECOND_US + 1) * SECOND_US
    async with ledger_of(settings) as ledger:
        if not await ledger.tenant_retire(name, retired_us):
            need_in_force(name, await ledger.tenants())
    folder = Path(settings.tenants.folder)
    files = tuple(str(path) for path in (folder / f"{name}.yaml", folder / f"{name}.yml") if path.exists())
    return Retired(tenant=name, retired=time_text(retired_us), files=files)
