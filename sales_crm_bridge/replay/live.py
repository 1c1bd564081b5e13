"""A live run that is recorded: the very run, with ears at the rim."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sales_crm_bridge import operate, tenants, wiring
from sales_crm_bridge.errors import ConfigError, Finding, Place
from sales_crm_bridge.once import SyncOutcome, sync_in
from sales_crm_bridge.replay.bundle import Round
from sales_crm_bridge.replay.recorder import (
    HearingDice,
    HearingLedger,
    HearingSink,
    HearingTransport,
    Recording,
    bundle_of,
)
from sales_crm_bridge.replay.start import WatchedLedger
from sales_crm_bridge.tenants import secrets_of
from sales_crm_bridge.world import RealDice, WallClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from sales_crm_bridge.once import Progress
    from sales_crm_bridge.ports import Clock, FactSink, Ledger
    from sales_crm_bridge.replay.bundle import Bundle
    from sales_crm_bridge.settings import Settings
    from sales_crm_bridge.tenants import Tenant


@dataclass(slots=True, kw_only=True)
class Ears:
    """``operate.Ears`` of one run of ``tenant``: from ``outside`` on, until ``end``."""

    settings: Settings
    tenant: Tenant
    recording: Recording = field(default_factory=Recording)
    _clock: Clock | None = None

    def outside(self, inner: wiring.Outside) -> wiring.Outside:
        """Chance, the ledger, and the way to the CRM."""
        clock, recording = inner.clock, self.recording
        self._clock = clock
        recording.began_us = clock.now_us()
        recording.secrets = dict(secrets_of(self.tenant).values)
        return replace(
            inner,
            dice=HearingDice(inner.dice, recording),
            ledger=HearingLedger(WatchedLedger(inner.ledger, recording.start), recording, clock),
            transport=lambda tenant: HearingTransport(inner.transport(tenant), recording, clock),
        )

    def sink(self, inner: FactSink) -> FactSink:
        """The facts' topic."""
        return HearingSink(inner, self.recording)

    def hurried(self) -> None:
        """Somebody has hurried every feed now."""
        if self._clock is not None:
            at_us = self._clock.now_us() - self.recording.began_us
            self.recording.rounds.append(Round(at_us=at_us, commands=()))

    def end(self) -> None:
        """The run ends now; what it still does to come to an end, a replay does by itself. Again: nothing."""
        if self._clock is not None and not self.recording.ended_us:
            self.recording.ended_us = self._clock.now_us()

    def bundle(self, mode: str, key: bytes) -> Bundle:
        """What was heard, as ``recorder.bundle_of``."""
        return bundle_of(self.recording, self.tenant, self.settings, mode, key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """A sync that has ended: what it did, and the ears that heard it."""

    outcome: SyncOutcome
    ears: Ears


async def sync_recorded(settings: Settings, only: frozenset[str], progress: Progress) -> Heard:
    """As ``once.sync_once`` for one tenant, and record it.

    Raises ``ConfigError`` when it is not one tenant, or when work of it waits in the ledger.
    """
    operate.need_kafka(settings)
    async with operate.ledger_of(settings, make=True) as ledger:
        outside = wiring.Outside(
            clock=WallClock(), dice=RealDice(), ledger=ledger, transport=wiring.real_transport(settings)
        )
        return await hear_sync(settings, outside, lambda: operate.facts_of(settings), only, progress)


async def hear_sync(
    settings: Settings,
    outside: wiring.Outside,
    sink_of: Callable[[], FactSink],
    only: frozenset[str],
    progress: Progress,
) -> Heard:
    """As ``sync_recorded``, in whatever world."""
    tenant = one_tenant(settings, only)
    await need_quiet(outside.ledger, tenant)
    ears = Ears(settings=settings, tenant=tenant)
    only = frozenset({tenant.tenant})
    outcome = await sync_in(settings, ears.outside(outside), lambda: ears.sink(sink_of()), only, progress)
    ears.end()
    return Heard(outcome=outcome, ears=ears)


async def ears_for_run(settings: Settings) -> Ears:
    """The ears for ``operate.run``. Raises ``ConfigError`` as ``sync_recorded`` does."""
    tenant = one_tenant(settings, frozenset())
    async with operate.ledger_of(settings, make=True) as ledger:
        await need_quiet(ledger, tenant)
    return Ears(settings=settings, tenant=tenant)


def one_tenant(settings: Settings, only: frozenset[str]) -> Tenant:
    """The tenant whose run is recorded. Raises ``ConfigError`` when there is not exactly one, or its file has findings."""
    loaded = tenants.load(Path(settings.tenants.folder), wiring.catalogue())
    found = [tenant for name, tenant in sorted(loaded.tenants.items()) if not only or name in only]
    if not found and loaded.findings:
        raise ConfigError(loaded.findings)
    if len(found) == 1:
        return found[0]
    said = f"a recording is of one tenant, and there are {len(found)}"
    place = Place(file=settings.tenants.folder)
    remedy = "name one with `--tenant`, where the verb has it; a service is recorded where it has one tenant"
    raise ConfigError([Finding(code="replay.one-tenant", message=said, place=place, remedy=remedy)])


async def need_quiet(ledger: Ledger, tenant: Tenant) -> None:
    """Raise ``ConfigError`` if commands or facts of the tenant wait in the ledger: a bundle does not hold those yet."""
    conn = await ledger.connection_find(tenant.tenant, tenant.connection.name)
    counts = [one for one in await ledger.command_counts() if one.conn == conn]
    commands = sum(one.open + one.parked for one in counts)
    facts = (await ledger.outbox_depth(conn))[0] if conn else 0
    if not commands and not facts:
        return
    said = f"{commands} commands and {facts} facts of {tenant.tenant!r} wait in the ledger, and a bundle cannot hold them yet"
    remedy = "record when they are done (`status` shows them), or with a ledger of its own for recordings"
    raise ConfigError([Finding(code="replay.ledger-busy", message=said, place=Place(file="the ledger"), remedy=remedy)])
