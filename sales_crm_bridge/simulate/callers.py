"""Who calls the processes of the bridge: the CRM with its webhooks, clients that want to see a lead."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, cast

from starlette.requests import Request

from sales_crm_bridge import fronts
from sales_crm_bridge.errors import EnvironmentFault, RuntimeFault
from sales_crm_bridge.roster import Roster
from sales_crm_bridge.rpc.asking import Asker
from sales_crm_bridge.simulate.border import BorderLedger
from sales_crm_bridge.web.hooks import Receiver
from sales_crm_bridge.web.meter import Meter

if TYPE_CHECKING:
    from sales_crm_bridge.ledger.sql_ledger import SqlLedger
    from sales_crm_bridge.ports import Ledger
    from sales_crm_bridge.service import Service
    from sales_crm_bridge.simulate.border import Border
    from sales_crm_bridge.simulate.crm import Post
    from sales_crm_bridge.simulate.deployment import Deployment

TENANT = "acme"
ASK_US = 10_000_000
"""How long a caller waits for a lead."""

LOST = 4
"""One round of webhooks of so many gets lost."""


class Callers:
    """The doors of the processes that are up, by slot, and who comes to them."""

    def __init__(self, town: Deployment) -> None:
        self._town = town
        self._doors: dict[int, tuple[Border, Receiver, Asker]] = {}

    def open(self, slot: int, service: Service, ledger: SqlLedger, border: Border) -> None:
        """A process is up."""
        roster = service.roster
        assert isinstance(roster, Roster)
        mortal = cast("Ledger", BorderLedger(ledger, border))
        receiver = Receiver(
            fronts.Doors(roster), mortal, border.clock, Meter(), fronts.door_limits(self._town.settings)
        )
        self._doors[slot] = border, receiver, Asker(mortal, border.clock, border.name)

    def close(self, slot: int) -> None:
        """It is no more."""
        self._doors.pop(slot, None)

    def post(self, n: int) -> None:
        """Have the CRM post its webhooks to one of the processes, or have them get lost on the way."""
        slots = sorted(self._doors)
        for one in self._town.crm.deliveries():
            if not slots or n % LOST == 0:
                one.answered(None)
                continue
            border, receiver, _ = self._doors[slots[n % len(slots)]]
            self._town.spawn(self._deliver(receiver, one), border)

    def ask(self, lead_id: str) -> None:
        """Have one of the processes be asked for a lead."""
        if self._doors:
            border, _, asker = self._doors[sorted(self._doors)[self._town.step % len(self._doors)]]
            self._town.spawn(self._ask(asker, lead_id, border.clock.now_us() + ASK_US), border)

    async def _ask(self, asker: Asker, lead_id: str, until_us: int) -> None:
        with contextlib.suppress(RuntimeFault, EnvironmentFault):
            await asker.ask(1, lead_id, until_us)

    async def _deliver(self, door: Receiver, one: Post) -> None:
        connection = self._town.crm.connection
        path = f"/webhooks/{TENANT}/{connection}"
        scope = {
            "type": "http",
            "method": "POST",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [(name.lower().encode(), value.encode()) for name, value in one.headers.items()],
        }

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": one.body, "more_body": False}

        verdict = await door.receive(Request(scope, receive), TENANT, connection)
        one.answered(int(verdict.status))
