"""Push: commands to creates in the CRM."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx
import orjson

from benchmarks.bridge import deployment
from benchmarks.measuring import Measured, measured
from benchmarks.place import BATCH, Place
from sales_crm_bridge import contract
from sales_crm_bridge.model import Operation
from sales_crm_bridge.state import InboxRow, Intake, NewCommand

if TYPE_CHECKING:
    from collections.abc import Iterable

IN_FLIGHT = 32


def _properties(number: int) -> dict[str, str]:
    return {"email": f"{number}@sales.example", "firstname": "Ada", "lastname": "Byron", "company": "Company Ltd"}


async def push_floor(place: Place) -> Measured:
    """A bare loop of httpx: so many writers, each with the next batch as soon as its last one is answered."""
    numbers = iter(range(0, place.count, place.page))

    async def write(client: httpx.AsyncClient) -> int:
        done = 0
        for first in numbers:
            inputs = [
                {"id": f"L-{number}", "idProperty": "bridge_lead_id", "properties": _properties(number)}
                for number in range(first, min(first + place.page, place.count))
            ]
            answer = await client.post(
                "/crm/v3/objects/contacts/batch/upsert", content=orjson.dumps({"inputs": inputs})
            )
            done += len(orjson.loads(answer.content)["results"])
        return done

    async def work() -> int:
        limits = httpx.Limits(max_connections=IN_FLIGHT, max_keepalive_connections=IN_FLIGHT)
        async with httpx.AsyncClient(base_url=place.crm, limits=limits, timeout=60) as client:
            return sum(await asyncio.gather(*(write(client) for _ in range(IN_FLIGHT))))

    return await measured(work)


async def push_sqlite(place: Place) -> Measured:
    """Commands in the ledger to creates in the CRM, their bindings and facts, on SQLite."""
    async with deployment(place, batch=place.page) as (ledger, working):
        (row,) = await ledger.tenants()
        for first in range(0, place.count, BATCH):
            await ledger.take(wishes(row.conn, range(first, min(first + BATCH, place.count))))

        async def work() -> int:
            while await working.pusher.step():
                pass
            return place.count

        await working.pusher.open()
        cost = await measured(work)
        (told,) = (await ledger.outbox_depth())[:1]
        assert told == place.count
        return cost


def wishes(conn: int, numbers: Iterable[int], tenant: str = "acme") -> Intake:
    """Intents to create these leads, as intake hands them to the ledger."""
    return Intake(rows=[_asked(conn, number, tenant) for number in numbers], dead=(), offsets={}, now_us=1)


def _asked(conn: int, number: int, tenant: str) -> InboxRow:
    told = _properties(number)
    lead = contract.Lead(
        lead_id=f"L-{number}",
        email=told["email"],
        first_name=told["firstname"],
        last_name=told["lastname"],
        company_name=told["company"],
    )
    envelope = contract.intent(
        contract.CreateLeadRequested(lead=lead),
        tenant_id=tenant,
        aggregate_id=lead.lead_id,
        message_id=f"{tenant}-m-{number}",
        correlation_id="bench",
        occurred_us=1_790_000_000_000_000,
        producer="bench",
    )
    command = NewCommand(
        conn=conn,
        lead_id=lead.lead_id,
        operation=Operation.CREATE,
        payload=envelope.SerializeToString(),
        occurred_us=1_790_000_000_000_000,
    )
    return InboxRow(tenant=tenant, message_id=f"{tenant}-m-{number}", command=command)
