"""Pull: everything read for the first time, read again, and looked at when nothing has changed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from benchmarks import floor
from benchmarks.bridge import deployment
from benchmarks.measuring import Measured, measured
from benchmarks.topics import publishing

if TYPE_CHECKING:
    from benchmarks.place import Place
    from sales_crm_bridge.ports import Ledger
    from sales_crm_bridge.worker import Worker

POLLS = 40


async def floor_plain(place: Place) -> Measured:
    """The afternoon's loop."""

    async def work() -> int:
        return floor.plain(place.crm, place.page)

    return await measured(work)


async def floor_best(place: Place) -> Measured:
    """Its fastest writing."""

    async def work() -> int:
        return floor.best(place.crm, place.page)

    return await measured(work)


async def read_all(ledger: Ledger, working: Worker) -> int:
    """Read every feed to its end; the facts that are in the outbox then."""
    await working.once(lambda _feed, _read: None)
    return (await ledger.outbox_depth())[0]


async def pull_sqlite(place: Place) -> Measured:
    """Backfill to committed outbox rows, on SQLite."""
    async with deployment(place) as (ledger, working):
        return await measured(lambda: read_all(ledger, working))


async def pull_postgres(place: Place) -> Measured:
    """The same on PostgreSQL; its own processes are not counted, as a database server's are not the loop's."""
    async with deployment(place, "postgres") as (ledger, working):
        return await measured(lambda: read_all(ledger, working))


async def pull_kafka(place: Place) -> Measured:
    """Backfill to acknowledged messages on a real broker, on SQLite."""
    async with deployment(place) as (ledger, working), publishing(place, ledger) as relayed:

        async def work() -> int:
            done = asyncio.Event()
            publishing = asyncio.create_task(relayed(done))
            await read_all(ledger, working)
            done.set()
            return await publishing

        return await measured(work)


async def reread_sqlite(place: Place) -> Measured:
    """Everything read again, and nothing has changed."""
    async with deployment(place) as (ledger, working):
        await read_all(ledger, working)
        return await measured(lambda: read_all(ledger, working))


async def poll_sqlite(place: Place) -> Measured:
    """Looking for changes where there are none, so many times: the calls, the comparison, a run written down and told."""
    async with deployment(place) as (ledger, working):
        await read_all(ledger, working)
        puller = working.puller
        fresh = next(iter(puller.standings))

        async def work() -> int:
            first = puller.standings[fresh].run
            while (polled := puller.standings[fresh].run - first) < POLLS:
                puller.hurry()
                while await puller.step() <= 0:
                    pass
            return polled

        return await measured(work)
