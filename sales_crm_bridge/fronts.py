"""What stands before a service: its HTTP side and its calls, put together from the service's own parts."""

from __future__ import annotations

from importlib.metadata import version as installed_version
from typing import TYPE_CHECKING

from sales_crm_bridge import wiring
from sales_crm_bridge.admission import Booker
from sales_crm_bridge.roster import Roster
from sales_crm_bridge.rpc import Asker, Counter, Doorkeeper, RpcServer, Tenure
from sales_crm_bridge.service import Service
from sales_crm_bridge.tenants import secrets_of
from sales_crm_bridge.web import Door, DoorLimits, Face, LineLimits, Meter

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from sales_crm_bridge.crm_http import RimState
    from sales_crm_bridge.errors import Finding
    from sales_crm_bridge.model import Hook, Notice
    from sales_crm_bridge.ports import CrmAdapter
    from sales_crm_bridge.settings import Settings
    from sales_crm_bridge.tenants import Tenant
    from sales_crm_bridge.wiring import Outside


def calls_of(settings: Settings, outside: Outside, roster: Roster) -> RpcServer | None:
    """The server of calls; None where the settings have it off."""
    rpc = settings.rpc
    if rpc.transport == "off":
        return None
    ledger, clock = outside.ledger, outside.clock
    door = Doorkeeper(rpc, clock)
    booker = Booker(ledger, clock, batch=settings.intake.batch)

    def unseal(tenant: str, sealed: bytes) -> bytes:
        seal = wiring.answer_seal(settings, roster.tenants()[tenant])
        assert seal is not None  # without one nothing is sealed
        return seal.open(sealed)

    counter = Counter(
        rpc,
        door=door,
        booker=booker,
        asker=Asker(ledger, clock, outside.dice.name()),
        ledger=ledger,
        clock=clock,
        tenancy=roster.tenancy,
        renew=roster.renew,
        unseal=unseal,
        tenure=Tenure(ttl_s=settings.lease.ttl_s, renew_s=settings.lease.renew_s),
        observer=outside.observer,
    )
    return RpcServer(
        rpc,
        settings.port_grpc,
        counter=counter,
        door=door,
        ledger=ledger,
        clock=clock,
        renew=roster.renew,
    )


# --- the HTTP side ---


class Doors:
    """Where deliveries for each connection are understood: its adapter, made anew when its file changes, and its secrets.

    Secrets are read for each delivery, so a rotated one holds at once.
    """

    def __init__(self, roster: Roster) -> None:
        self._roster = roster
        self._adapters: dict[str, tuple[str, CrmAdapter]] = {}

    @property
    def loaded(self) -> bool:
        """Whether the tenants in force are known."""
        return self._roster.loaded

    def find(self, tenant: str, connection: str) -> Door | None:
        """The door of a connection in force."""
        found = self._roster.connection(tenant, connection)
        if found is None:
            return None
        known, conn = found

        def understand(hook: Hook) -> Sequence[Notice]:
            return self._adapter(known).notices(hook, secrets_of(known))

        return Door(conn=conn, understand=understand)

    def _adapter(self, tenant: Tenant) -> CrmAdapter:
        digest, adapter = self._adapters.get(tenant.tenant, ("", None))
        if adapter is None or digest != tenant.digest:
            adapter = wiring.adapter_of(tenant)
            self._adapters[tenant.tenant] = (tenant.digest, adapter)
        return adapter


class Inside:
    """What the face shows of a service."""

    def __init__(self, service: Service, roster: Roster) -> None:
        self._service = service
        self._roster = roster

    @property
    def draining(self) -> bool:
        """Whether it was asked to stop."""
        return self._service.draining

    @property
    def findings(self) -> Sequence[Finding]:
        """Problems of the tenants' files that are refused."""
        return self._roster.findings

    @property
    def rims(self) -> Mapping[tuple[str, str], RimState]:
        """How the CRMs are found that this process works for."""
        tenants = self._roster.tenants()
        names = {lease: tenants[tenant] for lease, tenant in self._roster.leases().items()}
        return {
            (names[lease].tenant, names[lease].connection.name): worker.rim()
            for lease, worker in self._service.workers.items()
            if lease in names
        }


def line_limits(settings: Settings) -> LineLimits:
    """The limits of connections to the HTTP side; the slowest request there is a delivery."""
    web = settings.web
    return LineLimits(
        head_s=web.head_timeout_s,
        answer_s=web.body_timeout_s + web.answer_s,
        connections_max=web.connections_max,
    )


def door_limits(settings: Settings) -> DoorLimits:
    """The limits of deliveries. Bodies that are waited for leave half of the connections to the others, the probes among them."""
    web = settings.web
    return DoorLimits(
        public_url=web.public_url,
        body_bytes_max=web.body_bytes_max,
        body_timeout_s=web.body_timeout_s,
        bodies_max=max(1, min(web.bodies_max, line_limits(settings).connections // 2)),
        answer_s=web.answer_s,
        in_flight_max=web.in_flight_max,
        notices_max=web.notices_max,
    )


def face_of(
    settings: Settings, outside: Outside, service: Service, meter: Meter, kafka: Callable[[], Awaitable[str]]
) -> Face:
    """The HTTP side of ``service``; ``kafka`` asks Kafka (a code, "" when it answers)."""
    roster = service.roster
    assert isinstance(roster, Roster)
    return Face(
        ledger=outside.ledger,
        clock=outside.clock,
        inside=Inside(service, roster),
        doors=Doors(roster),
        meter=meter,
        limits=door_limits(settings),
        kafka=kafka,
        version=installed_version("sales-crm-bridge"),
    )
