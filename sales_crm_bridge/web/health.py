"""The pulse: whether this process can do what its neighbours on the network ask of it, looked at in the background.

A probe is answered at once from what was found last, so a slow database makes no slow probe, and probes cost the database nothing.

What makes a process unready: it has not begun, it is draining, the ledger has not answered for a while, or Kafka has never
answered since it began (so a roll-out with a bad address or bad rights stops at the first new process). What does not: Kafka's
absence later on, since both of what clients ask for, taking notices and intents, needs the ledger alone; and the state of any
tenant, since one tenant's dead CRM must not take a process away from the others. Both are told all the same.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from sales_crm_bridge.errors import BridgeError
from sales_crm_bridge.observe import iso
from sales_crm_bridge.tasks import end, first

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from sales_crm_bridge.ports import Clock, Ledger
    from sales_crm_bridge.state import ConnectionRow

LEDGER_EVERY_S = 2.0
LEDGER_AGE_MAX_S = 15.0
"""How long after the ledger's last answer it counts as away: a busy moment is no absence."""
KAFKA_EVERY_S = 10.0


class Pulse:
    """Looks at ledger and Kafka for as long as ``beat`` runs; ``kafka`` gives a code, "" when it answers."""

    def __init__(self, ledger: Ledger, clock: Clock, kafka: Callable[[], Awaitable[str]]) -> None:
        self._ledger = ledger
        self._clock = clock
        self._kafka = kafka
        self._answered_us = 0
        self.ledger_code = "ledger.not-asked"
        self.kafka_code = "kafka.not-asked"
        self.kafka_ever = False
        self.connections: Sequence[ConnectionRow] = ()

    async def beat(self) -> None:
        """Look again and again, until cancelled."""
        loops = (
            asyncio.create_task(self._again(self.look, LEDGER_EVERY_S), name="pulse of the ledger"),
            asyncio.create_task(self._again(self.ask_kafka, KAFKA_EVERY_S), name="pulse of Kafka"),
        )
        try:
            await first(loops)
        finally:
            await end(loops)
        for loop in loops:
            if not loop.cancelled():
                loop.result()

    async def _again(self, look: Callable[[], Awaitable[None]], every_s: float) -> None:
        while True:
            await look()
            await self._clock.sleep(every_s)

    async def look(self) -> None:
        """Ask the ledger, once."""
        try:
            async with asyncio.timeout(LEDGER_AGE_MAX_S):
                self.connections = await self._ledger.connections()
        except TimeoutError:
            self.ledger_code = "ledger.unreachable"
        except BridgeError as fault:
            self.ledger_code = fault.code
        else:
            self.ledger_code = ""
            self._answered_us = self._clock.now_us()

    async def ask_kafka(self) -> None:
        """Ask Kafka, once."""
        self.kafka_code = await self._kafka()
        self.kafka_ever = self.kafka_ever or not self.kafka_code

    def ledger_there(self) -> bool:
        """Whether the ledger has answered lately."""
        age_us = self._clock.now_us() - self._answered_us
        return bool(self._answered_us) and age_us <= LEDGER_AGE_MAX_S * 1e6

    def reasons(self, *, loaded: bool, draining: bool) -> list[str]:
        """Why this process is not ready, a code each; none: it is. ``loaded``: the tenants in force are known to it."""
        found = ["draining"] if draining else []
        if not self.ledger_there():
            found.append(self.ledger_code or "ledger.unreachable")
        if not self.kafka_ever:
            found.append(self.kafka_code)
        if not loaded:
            found.append("starting")
        return found

    def told(self, reasons: Sequence[str]) -> dict[str, Any]:
        """The body of /readyz."""
        return {
            "ready": not reasons,
            "reasons": list(reasons),
            "ledger": {"ok": self.ledger_there(), "code": self.ledger_code},
            "kafka": {"ok": not self.kafka_code, "code": self.kafka_code},
            "connections": [
                {
                    "tenant": row.tenant,
                    "connection": row.name,
                    "state": row.state,
                    "code": row.code,
                    "remedy": row.remedy,
                    "since": iso(row.since_us),
                }
                for row in self.connections
            ],
        }
