"""What goes wrong around the bridge: its processes and their ledger, the line to the CRM, Kafka, clocks, files."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sales_crm_bridge.sandbox import Fault, FaultKind
from sales_crm_bridge.simulate.plan import LINE, LOST, at_ledger

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from sales_crm_bridge.simulate.border import Border
    from sales_crm_bridge.simulate.deployment import Deployment
    from sales_crm_bridge.simulate.plan import Event

AWAY_S, HELD_S, LOCKED_S, LATE_S = 50, 90, 8, 8
"""For how long, at most, the broker is away, a partition is held back, the ledger's file is locked, a request is under way."""

SKEW_US = 1_000_000
TOO_MANY = 429
ACCEPTED = f"after {at_ledger('tenant_accept')}"
SPOILT = "\nnobody: knows this key\n"

_KINDS: dict[str, tuple[FaultKind, int]] = {
    "refused": (FaultKind.REFUSED, 0),
    "cut-before": (FaultKind.CUT_BEFORE, 0),
    "cut-after": (FaultKind.CUT_AFTER, 0),
    "timeout-before": (FaultKind.TIMEOUT_BEFORE, 0),
    "timeout-after": (FaultKind.TIMEOUT_AFTER, 0),
    "503": (FaultKind.STATUS, 503),
    "429": (FaultKind.STATUS, TOO_MANY),
    "502-after": (FaultKind.STATUS_AFTER, 502),
    "truncated": (FaultKind.TRUNCATED, 0),
    "slow": (FaultKind.DELAY, 0),
}
ARMED = frozenset({"kill", "ledger-busy", "ledger-unknown", "pause"})
"""Faults that wait for their step, and are counted there."""


class Troubles:
    """Carries out faults, and counts those that have happened."""

    def __init__(self, town: Deployment) -> None:
        self._town = town
        self._faults: list[tuple[Fault, Event]] = []
        self._files = 0
        self._ways: dict[str, Callable[[int, random.Random], None]] = {
            "ledger-held": lambda n, _: town.hold(0.05 + n % LOCKED_S),
            "rebalance": lambda _n, _: town.group.rebalance(),
            "broker-away": self._broker_away,
            "ack-lost": self._ack_lost,
            "ack-part": self._ack_part,
            "redelivery": lambda n, _: town.group.again(1 + n % 20),
            "held-back": self._hold_back,
            "trim": lambda _n, _: town.group.trim(),
            "token-expired": lambda _n, _: town.crm.expire(),
            "skew": self._skew,
            "file": lambda _, rng: self._write(rng, ""),
            "file-broken": lambda _, rng: self._write(rng, SPOILT),
            "search-late": self._search_late,
            "hooks": lambda n, _: town.callers.post(n),
            "cursor-expired": lambda _n, _: town.crm.forget_cursors(),
        }

    def do(self, event: Event, process: Border, rng: random.Random) -> None:
        """One fault; it happens now, or at the step that it waits for."""
        if event.kind in ARMED:
            self._town.arm(event)
        elif event.kind == "late-commit":
            self._town.watched.late.append((event.at, 1.5 + event.n % LATE_S, lambda: self._count(event)))
        elif event.kind in LINE or event.kind in LOST:
            self._spoil(event)
        elif event.kind == "restart":
            if self._town.drain(process):
                self._count(event)
        else:
            self._ways[event.kind](event.n, rng)
            self._count(event)

    def end(self) -> None:
        """No more faults; what the CRM was asked to spoil and has spoilt is counted."""
        town = self._town
        happened = [fault for fault, _, _ in town.crm.sandbox.faults.hits]
        for fault, event in self._faults:
            if any(one is fault for one in happened):
                self._count(event)
        town.crm.sandbox.faults.clear()
        town.watched.late.clear()
        town.group.away = False
        town.group.held.clear()
        town.broker.lose = town.broker.part = 0
        town.group.wake()
        if self._files:
            town.write_tenant(town.plan.spice.page_size)

    def _count(self, event: Event) -> None:
        self._town.hits[event.kind, event.at] += 1

    def _spoil(self, event: Event) -> None:
        """Have the CRM, or the line to it, fail at one request."""
        kind, status = _KINDS[event.kind]
        method, _, path = event.at.partition(" ")
        path, _, call = path.partition(" ")
        wish = (("retry-after", str(event.n % 5)),) if status == TOO_MANY and event.n % 2 else ()
        fault = Fault(
            kind,
            method=method,
            path=path,
            body=f'"method":"{call}"'.encode() if call else None,
            status=status,
            headers=wish,
            delay_s=0.5 + event.n % 14 if kind is FaultKind.DELAY else 0.0,
        )
        self._faults.append((fault, event))
        self._town.crm.sandbox.faults.add(fault)

    # --- Kafka --------------------------------------------------------------------------------------------------------

    def _broker_away(self, n: int, _rng: random.Random) -> None:
        group = self._town.group
        group.away = True

        def back() -> None:
            group.away = False
            group.wake()

        self._later(n % AWAY_S, back)

    def _ack_lost(self, _n: int, _rng: random.Random) -> None:
        self._town.broker.lose += 1

    def _ack_part(self, _n: int, _rng: random.Random) -> None:
        self._town.broker.part += 1

    def _hold_back(self, n: int, _rng: random.Random) -> None:
        group = self._town.group
        partition = n % len(self._town.topics.intents)
        group.held.add(partition)

        def release() -> None:
            group.held.discard(partition)
            group.wake()

        self._later(n % HELD_S, release)

    # --- the rest -----------------------------------------------------------------------------------------------------

    def _skew(self, _n: int, rng: random.Random) -> None:
        for border in self._town.borders.values():
            border.clock.skew_us = rng.randrange(-SKEW_US, SKEW_US + 1)

    def _write(self, rng: random.Random, spoilt: str) -> None:
        """Change the tenant's file, well or badly; one that was never in force would be another story."""
        if not self._town.crossings[ACCEPTED]:
            return
        self._files += 1
        self._town.write_tenant(rng.choice((3, 10, 100)), spoilt)

    def _search_late(self, n: int, rng: random.Random) -> None:
        """A person's edit that lists show long after it."""
        if ids := list(self._town.journal.live):
            one, crm = rng.choice(ids), self._town.crm
            crm.lag(one, self._town.late_s(n))
            crm.edit(one, {"phone": f"+9 {self._town.step}{n:06d}"})
            crm.lag(one, None)

    def _later(self, seconds: float, work: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_later(seconds, work)
