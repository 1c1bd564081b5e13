"""Admission: whose an intent is, and its way into the ledger. The same for the topic and for calls, so the two are one stream."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from sales_crm_bridge import gate
from sales_crm_bridge.errors import EnvironmentFault, LedgerBusy, TenancyMoved
from sales_crm_bridge.state import InboxRow, Intake, NewCommand
from sales_crm_bridge.tasks import all_ended, end

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sales_crm_bridge.contract import Intent
    from sales_crm_bridge.gate import NotOurs, Ours, Ownership
    from sales_crm_bridge.ports import Clock, Ledger


class Tenancy(msgspec.Struct, frozen=True):
    """Who owns each tenant's leads and since when, and the number of each one's connection; of retired tenants too.

    An intent that was uttered before its tenant was retired is still ours; its command waits, since nobody works for a connection
    out of force.
    ``number``: of what is in force, as the ledger counts it; what is decided by an older one is not written, but decided again.
    """

    ownership: Mapping[str, Ownership]
    conns: Mapping[str, int]
    earliest_us: int
    number: int


def admit(tenancy: Tenancy, intent: Intent) -> InboxRow | NotOurs:
    """What is to be booked for a valid ``intent``, or why it is not ours; by its own time, not by ours."""
    decision = gate.decide(tenancy.ownership, intent.tenant_id, intent.name, intent.occurred_us)
    if isinstance(decision, gate.NotOurs):
        return decision
    command = NewCommand(
        conn=tenancy.conns[intent.tenant_id],
        lead_id=intent.aggregate_id,
        operation=intent.operation,
        payload=intent.value,
        occurred_us=intent.occurred_us,
    )
    return InboxRow(tenant=intent.tenant_id, message_id=intent.message_id, command=command)


def serves(tenancy: Tenancy, tenant: str, at_us: int) -> Ours | NotOurs:
    """Whose the tenant's leads are at a time; a retired tenant has nobody to read them, if only for the moment until then."""
    ownership = tenancy.ownership.get(tenant)
    if ownership is not None and ownership.retired_us:
        return gate.NotOurs(gate.Reason.RETIRED)
    return gate.decide(tenancy.ownership, tenant, "CreateLeadRequested", at_us)


_Wish = tuple[InboxRow, int, "asyncio.Future[bool]"]


class Booker:
    """Books single intents, many in one transaction: what comes while one is under way goes together into the next.

    So callers of one account do not queue for its lock one by one. A caller that is gone before its turn is not booked.
    """

    def __init__(self, ledger: Ledger, clock: Clock, *, batch: int) -> None:
        self._ledger = ledger
        self._clock = clock
        self._batch = batch
        self._waiting: list[_Wish] = []
        self._writing: asyncio.Task[None] | None = None

    async def book(self, row: InboxRow, tenancy: int) -> bool:
        """Whether it was new, once it is in the ledger; ``tenancy``: the number of that by which it was admitted.

        Raises ``TenancyMoved`` if it is to be judged again, and what else the ledger raises; then it is not known whether it is
        there. Cancelled, it is booked if its transaction has begun, and otherwise not.
        """
        booked: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((row, tenancy, booked))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write(), name="booker")
        return await booked

    async def close(self, limit_s: float) -> None:
        """Come back when nothing is under way any more, or cut it off after ``limit_s``."""
        if self._writing is not None:
            await all_ended((self._writing,), limit_s)
            await end((self._writing,))

    async def _write(self) -> None:
        while self._waiting:
            taken, self._waiting = self._waiting[: self._batch], self._waiting[self._batch :]
            wanted = [wish for wish in taken if not wish[2].done()]
            if wanted:
                await self._write_down(wanted)

    async def _write_down(self, wanted: Sequence[_Wish]) -> None:
        rows = [row for row, _, _ in wanted]
        oldest = min(tenancy for _, tenancy, _ in wanted)
        now_us = self._clock.now_us()
        try:
            new = await self._ledger.take(Intake(rows=rows, dead=(), offsets={}, now_us=now_us, tenancy=oldest))
        except Exception as fault:  # noqa: BLE001 - each caller gets it
            if len(wanted) > 1 and not isinstance(fault, LedgerBusy | EnvironmentFault | TenancyMoved):
                for one in wanted:  # one row is at fault: it must not cost the others theirs
                    await self._write_down([one])
                return
            for _, _, booked in wanted:
                if not booked.done():
                    booked.set_exception(fault)
            return
        for (_, _, booked), fresh in zip(wanted, new, strict=True):
            if not booked.done():
                booked.set_result(fresh)
