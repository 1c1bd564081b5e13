"""Bugs of taking intents in and giving facts out."""

from __future__ import annotations

from typing import Any

import msgspec

from sales_crm_bridge import intake, relay
from sales_crm_bridge.ledger import commands as ledger_commands
from sales_crm_bridge.simulate.mutations.reading import Swap


def ack_before_ledger() -> list[Swap]:
    """An offset is committed before its intents."""
    real = intake.Intaker._take

    async def take(self: Any, records: Any) -> None:
        decided, _ = self._decide(records)
        await self._persist(msgspec.structs.replace(decided, rows=(), dead=(), tenancy=None))
        await real(self, records)

    return [(intake.Intaker, "_take", take)]


def no_inbox() -> list[Swap]:
    """An intent that comes again is new."""
    text = ledger_commands.TAKE_IN.replace("DO NOTHING", "DO UPDATE SET taken_us = excluded.taken_us")
    return [(ledger_commands, "TAKE_IN", text)]


def outbox_emptied_first() -> list[Swap]:
    """Facts leave the ledger before Kafka has them."""

    async def step(self: Any, fence: Any) -> int:
        rows = await self._next()
        if rows:
            await self._ledger.outbox_done(fence, [row.seq for row in rows], [])
            await self._sink.publish(rows)
        return len(rows)

    return [(relay.Relay, "step", step)]


def gap_passed_over() -> list[Swap]:
    """Lost intents open no gap."""

    async def out_of_range(self: Any, lost: Any) -> None:
        await self._source.start_at({lost.partition: lost.low})

    return [(intake.Intaker, "_out_of_range", out_of_range)]
