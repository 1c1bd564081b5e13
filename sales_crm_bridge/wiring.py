"""The composition root: the only module that names adapters, Kafka, HTTP and the ledger together."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from sales_crm_adapters import CATALOGUE

from sales_crm_bridge import contract
from sales_crm_bridge.answering import Answerer
from sales_crm_bridge.crm_http import HostRules, HttpxTransport, NotSent, Rim, Seal, Terms, sockets
from sales_crm_bridge.desk import Desk, PushRules
from sales_crm_bridge.errors import ConnectionStopped, Finding, Place
from sales_crm_bridge.facts import Scribe
from sales_crm_bridge.intake import Intaker
from sales_crm_bridge.keeper import Keeper
from sales_crm_bridge.observer import NOBODY
from sales_crm_bridge.policy.commands import Patience
from sales_crm_bridge.policy.eyes import Look
from sales_crm_bridge.policy.fields import Keyring
from sales_crm_bridge.policy.walks import Pace
from sales_crm_bridge.relay import Relay
from sales_crm_bridge.rim.terms import COUNT_BLOCK
from sales_crm_bridge.roster import Roster
from sales_crm_bridge.service import Limits, Service
from sales_crm_bridge.tenants import secrets_of
from sales_crm_bridge.tracing import Tracer
from sales_crm_bridge.worker import Worker
from sales_crm_bridge.world import RealDice

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sales_crm_bridge.crm_http import Exchange
    from sales_crm_bridge.model import Account
    from sales_crm_bridge.observer import Observer
    from sales_crm_bridge.ports import Clock, CrmAdapter, Dice, FactSink, IntentSource, Ledger, SpanSink, Transport
    from sales_crm_bridge.settings import Settings
    from sales_crm_bridge.state import Fence
    from sales_crm_bridge.tenants import Catalogue, Tenant


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """The far side of the ports: time, chance, the way to each tenant's CRM, the ledger, where spans go, and who watches."""

    clock: Clock
    dice: Dice
    ledger: Ledger
    transport: Callable[[Tenant], Transport]
    spans: SpanSink | None = None
    observer: Observer = NOBODY


class Fenced:
    """A transport that sends nothing once the lease is over: a process that slept through its lease makes no late call."""

    def __init__(self, inner: Transport, held: Callable[[], bool]) -> None:
        self._inner = inner
        self._held = held

    async def send(
        self, method: str, url: str, headers: Sequence[tuple[str, str]], body: bytes, timeout_s: float
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        """As the inner one, while the lease holds."""
        if not self._held():
            raise NotSent("lease.lost")
        return await self._inner.send(method, url, headers, body, timeout_s)

    async def close(self) -> None:
        """Close the inner one, if it can be closed."""
        close = getattr(self._inner, "close", None)
        if close is not None:
            await close()


def unattended(settings: Settings, clock: Clock) -> Outside:
    """Surroundings for asking a CRM without a ledger: calls are not counted, and nothing that a sign-in wants kept is kept."""
    return Outside(clock=clock, dice=RealDice(), ledger=_NoLedger(), transport=real_transport(settings))  # type: ignore[arg-type]


class _NoLedger:
    """The few questions that a rim asks of a ledger, answered without one."""

    async def calls_count(self, _fence: Fence, _conn: int, _day: str, more: int) -> int:
        return more

    async def keep_load(self, _conn: int) -> bytes:
        return b""

    async def keep_save(self, _fence: Fence, _conn: int, _sealed: bytes) -> None:
        """Nothing is kept."""


def real_transport(settings: Settings) -> Callable[[Tenant], Transport]:
    """Sockets, under each tenant's rules of which hosts may be reached."""

    def transport(tenant: Tenant) -> Transport:
        connection = tenant.connection
        return HttpxTransport(
            sockets(HostRules(connection.allow_hosts), in_flight=connection.limits.in_flight),
            body_bytes_max=settings.http.body_bytes_max,
            connect_timeout_s=settings.http.connect_timeout_s,
        )

    return transport


def catalogue() -> Catalogue:
    """Every CRM there is, by the name that a tenant's file gives."""
    return CATALOGUE


def adapter_of(tenant: Tenant) -> CrmAdapter:
    """The tenant's adapter, made for its options and the CRM fields that its mapping reads."""
    connection = tenant.connection
    return CATALOGUE[connection.adapter].make(connection.options, tenant.mapping.crm_fields, connection.address)


class Crew:
    """Makes the workers: one tenant's adapter, rim, desk and rooms put together."""

    def __init__(self, settings: Settings, outside: Outside) -> None:
        self._settings = settings
        self._outside = outside
        self._tracer = Tracer(outside.clock, outside.dice, outside.spans, settings.telemetry.ratio)

    def rim(
        self,
        tenant: Tenant,
        adapter: CrmAdapter,
        conn: int,
        fence: Fence,
        still: Callable[[Fence], bool],
        on_exchange: Callable[[Exchange], None] | None = None,
        *,
        count_block: int = COUNT_BLOCK,
    ) -> Rim:
        """The rim of one account, drawing on the ledger's count of calls, ``count_block`` at a time."""
        ledger = self._outside.ledger
        connection = tenant.connection
        http = self._settings.http
        limits = connection.limits
        seal_key = self._settings.seal_key
        name = f"{tenant.tenant}/{connection.name}"
        return Rim(
            name=name,
            adapter=adapter,
            address=connection.address or CATALOGUE[connection.adapter].address,
            sign_in_address=connection.sign_in_address,
            transport=Fenced(self._outside.transport(tenant), lambda: still(fence)),
            secrets=secrets_of(tenant),
            clock=self._outside.clock,
            dice=self._outside.dice,
            terms=Terms(
                per_second=limits.per_second,
                per_day=limits.per_day or None,
                in_flight=limits.in_flight,
                reserve=limits.reserve_per_day,
                count_block=count_block,
                timeout_s=http.timeout_s,
                tries_max=http.tries_max,
                retry_first_s=http.retry_first_s,
                retry_max_s=http.retry_max_s,
                breaker_faults=http.breaker_faults,
                breaker_open_s=http.breaker_open_s,
                sign_in_ahead_s=http.sign_in_ahead_s,
            ),
            count=lambda day, more: ledger.calls_count(fence, conn, day, more),
            keep_load=lambda: ledger.keep_load(conn),
            keep_save=lambda sealed: ledger.keep_save(fence, conn, sealed),
            seal=Seal((seal_key.get_secret_value(),), bound_to=name) if seal_key is not None else None,
            tracer=self._tracer,
            trace_out=self._settings.telemetry.to_crm,
            on_exchange=on_exchange,
        )

    def _eyes(
        self, tenant: Tenant, conn: int, adapter: CrmAdapter, layouts: tuple[int, dict[int, tuple[str, ...]]]
    ) -> Look:
        """How a tenant's records are looked at; ``layouts``: the number of its slots' layout, and all of them."""
        connection, mapping = tenant.connection, tenant.mapping
        keys = [key.get_secret_value().encode() for key in self._settings.hash_keys]
        return Look(
            conn=conn,
            layout=layouts[0],
            layouts=layouts[1],
            slot_fields=mapping.slot_fields,
            sources=mapping.sources,
            keyring=Keyring(keys, tenant.tenant),
            # A page's new records are derived twice: to look for them, and to book them.
            derive=lru_cache(maxsize=4096)(partial(contract.lead_id_for, tenant.tenant, connection.account)),
            unique_key=adapter.capabilities.unique_key,
            reads=mapping.reads,
            slot_sources=tuple(mapping.slot_sources(slot) for slot in range(len(mapping.slots))),
            misread=mapping.misread,
        )

    async def hire(self, tenant: Tenant, conn: int, fence: Fence, still: Callable[[Fence], bool]) -> Worker:
        """A worker for one account under ``fence``."""
        settings, outside = self._settings, self._outside
        connection, mapping = tenant.connection, tenant.mapping
        adapter = adapter_of(tenant)
        rim = self.rim(tenant, adapter, conn, fence, still)
        desk = Desk(
            conn=conn,
            tenant=tenant.tenant,
            name=f"{tenant.tenant}/{connection.name}",
            adapter=adapter,
            mapping=mapping,
            eyes=self._eyes(tenant, conn, adapter, await layouts_of(outside.ledger, mapping.slots)),
            scribe=Scribe(
                tenant=tenant.tenant,
                connection=connection.name,
                crm=connection.adapter,
                account=connection.account,
                record_type=str(connection.options.get("object", "lead")),
                producer=settings.producer,
                mapping=mapping,
            ),
            speaker=rim,
            ledger=outside.ledger,
            clock=outside.clock,
            fence=fence,
            tracer=self._tracer,
            pace=pace_of(tenant, settings),
            push=PushRules(
                batch=min(tenant.push.batch, adapter.capabilities.batch_max),
                in_flight=connection.limits.in_flight,
                refuse_behind=tenant.push.refuse_behind,
                patience=patience_of(tenant, settings),
                conflict_rule=tenant.conflicts.rule,
            ),
            outbox_max=settings.relay.outbox_rows_max,
            place=tenant.place,
            observer=outside.observer.account(tenant.tenant, connection.name),
        )

        async def greet() -> None:
            asked_us = outside.clock.now_us()
            account = verify(tenant, await rim.converse(adapter.check(), purpose="check"))
            rim.learn(account)
            desk.fields.learn(account.fields, asked_us)

        seal = answer_seal(settings, tenant)
        return Worker(desk, still, greet, rim.close, rim.state, Answerer(desk, seal.close) if seal else None)


async def layouts_of(ledger: Ledger, slots: tuple[str, ...]) -> tuple[int, dict[int, tuple[str, ...]]]:
    """The number of the layout of these slots, and every layout by its number; it is kept where it is new."""
    layouts = await ledger.layouts()
    if slots not in layouts.values():
        await ledger.layout(slots)
        layouts = await ledger.layouts()
    return next(number for number, names in layouts.items() if names == slots), layouts


def objections(tenant: Tenant, account: Account) -> list[Finding]:
    """All for which the account is not the one that the tenant's file means, or cannot do the work; the gravest first.

    A CRM that cannot say whose account it is cannot be held to it.
    """
    place = Place(file=tenant.file)
    found = []
    if account.account_id and account.account_id != tenant.connection.account:
        found.append(
            Finding(
                code="crm.wrong-account",
                message=f"the credentials belong to account {account.account_id}, the file says {tenant.connection.account}",
                place=place,
                remedy="give the credentials of the account that the file names, or correct `connection.account`",
            )
        )
    if account.missing:
        found.append(
            Finding(
                code="crm.missing-rights",
                message=f"the credentials lack: {', '.join(account.missing)}",
                place=place,
                remedy="grant these rights to the app or user whose credentials the connection uses",
            )
        )
    return found + [
        Finding(code=code, message=message, place=place, remedy=remedy) for code, message, remedy in account.problems
    ]


def verify(tenant: Tenant, account: Account) -> Account:
    """The account, if there are no objections to it; raises ``ConnectionStopped`` with the gravest one."""
    for one in objections(tenant, account):
        raise ConnectionStopped(one.code, one.message, place=str(one.place), remedy=one.remedy)
    return account


def patience_of(tenant: Tenant, settings: Settings) -> Patience:
    """How long and how often the tenant's commands are tried."""
    push = settings.push
    return Patience(
        attempts_max=tenant.push.attempts_max or push.attempts_max,
        retry_first_us=round(push.retry_first_s * 1e6),
        settle_first_us=round(push.settle_first_s * 1e6),
        under_way_us=round(settings.http.timeout_s * 1e6),
        settle_max=push.settle_max,
        pause_max_us=round(push.retry_max_s * 1e6),
    )


def pace_of(tenant: Tenant, settings: Settings) -> Pace:
    """The tenant's pull schedule, within the deployment's limits."""
    pull = tenant.pull
    return Pace(
        every_us=round(pull.every_s * 1e6),
        horizon_us=round(pull.horizon_s * 1e6),
        second_pass_us=round(pull.second_pass_s * 1e6),
        removed_every_us=round(pull.removed_every_s * 1e6),
        audit_every_us=round(pull.audit_every_s * 1e6),
        fields_every_us=round(pull.fields_every_s * 1e6),
        page_size=min(pull.page_size, settings.pull.page_size_max),
        gather_us=round(settings.web.gather_s * 1e6),
    )


def answer_seal(settings: Settings, tenant: Tenant) -> Seal | None:
    """What closes the leads that are read for calls while they are in the ledger; None: no key, so none is read."""
    key = settings.seal_key
    bound_to = f"{tenant.tenant}/{tenant.connection.name}/answer"
    return Seal((key.get_secret_value(),), bound_to=bound_to) if key is not None else None


def roster_of(settings: Settings, outside: Outside) -> Roster:
    """The tenants in force."""
    return Roster(
        folder=Path(settings.tenants.folder),
        catalogue=CATALOGUE,
        ledger=outside.ledger,
        clock=outside.clock,
        hire=Crew(settings, outside).hire,
        holder=outside.dice.name(),
    )


def assemble(
    settings: Settings,
    outside: Outside,
    *,
    source: IntentSource | None,
    sink: FactSink,
    roster: Roster | None = None,
) -> Service:
    """The whole service, ready to run. ``roster``: one that others share."""
    roster = roster or roster_of(settings, outside)
    intaker = (
        Intaker(
            outside.ledger,
            source,
            outside.clock,
            roster.tenancy,
            renew=roster.renew,
            framed=settings.schema_registry.framed,
            observer=outside.observer,
        )
        if source is not None
        else None
    )
    return Service(
        roster=roster,
        keeper=Keeper(outside.ledger, outside.clock, roster.holder, settings.lease.ttl_s),
        ledger=outside.ledger,
        clock=outside.clock,
        source=source,
        intaker=intaker,
        sink=sink,
        relay=Relay(outside.ledger, sink, outside.clock, settings.relay.outbox_batch, outside.observer),
        limits=limits_of(settings),
    )


def limits_of(settings: Settings) -> Limits:
    """The service's limits, from the settings of the same names."""
    return Limits(
        lease_s=settings.lease.ttl_s,
        renew_s=settings.lease.renew_s,
        drain_s=settings.service.drain_s,
        reload_s=settings.tenants.poll_s,
        relay_idle_s=5.0,
        house_s=settings.retention.every_s,
        keep_commands_s=settings.retention.commands_s,
        keep_inbox_s=settings.retention.inbox_s,
        keep_runs_s=settings.retention.runs_s,
        forget_batch=settings.retention.rows_max,
    )
