"""``tenant under-way``: what the bridge still has to do for a tenant whose leads go back to the Sales domain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sales_crm_bridge import operate
from sales_crm_bridge.errors import EXIT_OK, EXIT_RUNTIME, ConfigError, Finding, Place, RuntimeFault
from sales_crm_bridge.gate import standing
from sales_crm_bridge.model import Owner
from sales_crm_bridge.units import time_text
from sales_crm_bridge.world import WallClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from sales_crm_bridge.gate import Ownership, Span
    from sales_crm_bridge.ports import Clock, Ledger
    from sales_crm_bridge.settings import Settings

LOOK_S = 1.0
"""How often it is looked again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnderWay:
    """What is still to be done for a tenant: open commands, those of them in doubt, parked ones, facts that Kafka has not taken.

    ``owner``: whose its leads are now; ``coming``: what comes next. ``retired_us`` > 0: since when nobody works for it.
    """

    tenant: str
    owner: Owner
    coming: Span | None
    retired_us: int
    open: int
    unknown: int
    parked: int
    facts: int

    @property
    def moving(self) -> int:
        """What goes on by itself."""
        return self.open + self.facts

    @property
    def why(self) -> RuntimeFault | None:
        """Why the tenant is not handed back yet; None: it is, as far as intents have come."""
        place = f"tenant {self.tenant}"
        if self.retired_us and self.open + self.parked:
            said = f"the tenant was retired at {time_text(self.retired_us)}, and its commands are not carried out"
            remedy = "bring the tenant back until they are: see docs/operations.md"
            return RuntimeFault("connection.out-of-force", said, place=place, remedy=remedy)
        if self.owner is Owner.CRM:
            until = f" until {time_text(self.coming.from_us)}" if self.coming is not None else ""
            remedy = "wait for that time" if until else "append {owner: domain, from: <a coming time>} to its `leads`"
            return RuntimeFault(
                "handover.not-yet", f"the leads are the CRM's{until}: commands come", place=place, remedy=remedy
            )
        if self.moving:
            said = f"{self.open} commands and {self.facts} facts are under way, and {self.parked} commands parked"
            remedy = "wait, with --wait, while processes of the bridge run; `status` tells what holds them up"
            return RuntimeFault("handover.under-way", said, place=place, remedy=remedy)
        if self.parked:
            said = f"{self.parked} commands wait for a person"
            remedy = f"`deadletters list --tenant {self.tenant}`: redrive or drop each"
            return RuntimeFault("handover.needs-person", said, place=place, remedy=remedy)
        return None

    @property
    def waits(self) -> bool:
        """Whether waiting helps."""
        why = self.why
        return why is not None and why.code in ("handover.not-yet", "handover.under-way")

    @property
    def exit_code(self) -> int:
        """0: nothing is left to do."""
        return EXIT_OK if self.why is None else EXIT_RUNTIME

    def to_json(self) -> dict[str, object]:
        """For machines."""
        why = self.why
        return {
            "tenant": self.tenant,
            "owner": self.owner.value,
            "next": "" if self.coming is None else self.coming.owner.value,
            "from": "" if self.coming is None else time_text(self.coming.from_us),
            "commands": {"open": self.open, "unknown": self.unknown, "parked": self.parked},
            "facts": self.facts,
            "handed_back": why is None,
            "code": "" if why is None else why.code,
            "message": "" if why is None else why.message,
            "remedy": "" if why is None else why.remedy,
        }


async def look(ledger: Ledger, ownership: Ownership, now_us: int) -> UnderWay:
    """What is under way for the tenant of ``ownership``, over all connections that it ever had."""
    census = await ledger.census()
    mine = [row.conn for row in (*census.connections, *census.left) if row.tenant == ownership.tenant]
    counts = [census.commands[conn] for conn in mine if conn in census.commands]
    owner, coming = standing(ownership, now_us)
    return UnderWay(
        tenant=ownership.tenant,
        owner=owner,
        coming=coming,
        retired_us=ownership.retired_us,
        open=sum(count.open for count in counts) + sum(census.held.get(conn, 0) for conn in mine),
        unknown=sum(count.unknown for count in counts),
        parked=sum(count.parked for count in counts),
        facts=sum(census.outbox[conn].number for conn in mine if conn in census.outbox),
    )


async def under_way(settings: Settings, name: str, wait_s: float, tell: Callable[[UnderWay], None]) -> UnderWay:
    """What is under way for tenant ``name``; looked at until nothing is that goes on by itself, for ``wait_s`` at most.

    ``tell`` hears each look that is not the last. Raises ``ConfigError`` if there is no such tenant, or if it is waited for a
    tenant whose leads are never handed back.
    """
    clock: Clock = WallClock()
    until_us = clock.now_us() + round(wait_s * 1e6)
    async with operate.ledger_of(settings) as ledger:
        while True:
            rows = await ledger.tenants()
            if all(row.tenant != name for row in rows):
                operate.need_in_force(name, rows)
            seen = await look(ledger, operate.owners_told(rows)[name], clock.now_us())
            if wait_s and seen.owner is Owner.CRM and seen.coming is None:
                raise ConfigError([_not_handed_back(name)])
            if not seen.waits or clock.now_us() >= until_us:
                return seen
            tell(seen)
            await clock.sleep(LOOK_S)


def _not_handed_back(name: str) -> Finding:
    said = f"the leads of {name!r} are the CRM's without an end, so commands never cease to come"
    remedy = "append {owner: domain, from: <a coming time>} to `leads` in its file, and see that it is accepted"
    return Finding(code="handover.no-end", message=said, place=Place(file="the ledger"), remedy=remedy)
