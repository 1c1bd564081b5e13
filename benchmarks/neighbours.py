"""One calm tenant in a process: how long its commands take to acknowledged facts, alone and beside neighbours in trouble.

The calm one is asked for a create some 30 times a second; its CRM takes 50 ms for a write. The clock runs from the moment before
the command is in the ledger until the fact sink has acknowledged what came of it. The sink takes 5 ms, and 10 µs for each fact, as
a broker nearby does. The neighbour may make 10 calls a second, four at the same time, which is the default of `limits`: with
batches and pages of 100 that is 1,000 commands or leads a second.
"""

from __future__ import annotations

import asyncio
import random
import re
import socket
import statistics
import tempfile
import time
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from benchmarks.bridge import ledger_at, postgres, settings_in, tenant_in
from benchmarks.place import BATCH, SCRATCH
from benchmarks.pushing import wishes
from benchmarks.running import crm
from sales_crm_bridge import contract, wiring
from sales_crm_bridge.model import Published
from sales_crm_bridge.state import Commit, Fence, OutboxRow, lease_name
from sales_crm_bridge.world import RealDice, WallClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence

    from benchmarks.growth import Point
    from benchmarks.place import Place
    from sales_crm_bridge.ports import Ledger
    from sales_crm_bridge.service import Service
    from sales_crm_bridge.state import Intake

CALM, OTHER = "calm", "other"
ASKED = 300
A_SECOND = 30.0
WRITE_S = 0.05
PAGE = 100
FACTS = 200_000
"""Facts of the neighbour that wait when Kafka comes back: as many as ``relay.outbox_rows_max`` lets wait."""
LIMITS, DEFAULTS = "{per_second: 50, in_flight: 4}", "{per_second: 10, in_flight: 4}"
PATIENCE_S = 60.0
LOOK_S = 0.02
CAUSE = re.compile(rb"calm-m-(\d+)")


class Acks:
    """A fact sink at a broker's pace, which notes when what came of each of the calm tenant's commands was acknowledged."""

    def __init__(self) -> None:
        self.at: dict[int, float] = {}
        self.facts = 0

    async def publish(self, rows: Sequence[OutboxRow]) -> Published:
        """All of it, in its time."""
        await asyncio.sleep(0.005 + 10e-6 * len(rows))
        now = time.perf_counter()
        self.facts += len(rows)
        for row in rows:
            found = CAUSE.search(row.fact)
            if found is not None:
                self.at.setdefault(int(found[1]), now)
        return Published([row.seq for row in rows], [])

    async def close(self) -> None:
        """Nothing is in flight."""


async def trouble(place: Place, size: int) -> Point:
    """The calm tenant's p50 and p99 (ms) alone, before and after the others, and beside each kind of neighbour.

    ``queue``: ``size`` commands wait; ``import``: a first import of ``size`` leads; ``outbox``: facts of an outage of Kafka wait;
    ``dead``: a CRM that takes connections and never answers; ``breaker``: one that refuses them, its breaker open.
    """
    with crm(1, PAGE, WRITE_S) as calm, crm(1, PAGE, WRITE_S, 77) as small, crm(size, PAGE, WRITE_S, 77) as large:
        here = replace(place, page=PAGE, crm=calm, adapter="hubspot")
        async with silence() as silent:
            took = {"alone": await asked(here, None)}
            took["queue"] = await asked(here, replace(here, crm=small), commands=size)
            took["import"] = await asked(here, replace(here, crm=large))
            took["outbox"] = await asked(here, replace(here, crm=small), facts=FACTS)
            took["dead"] = await asked(here, replace(here, crm=silent), commands=size)
            took["breaker"] = await asked(here, replace(here, crm=nobody()), commands=size, open_breaker=True)
            took["alone"] += await asked(here, None)
    point: Point = {"size": float(size)}
    for name, waits in took.items():
        point |= {f"{name}_p50": statistics.median(waits) * 1e3, f"{name}_p99": percentile(waits, 0.99) * 1e3}
    return point | {f"{name}_ratio": point[f"{name}_p99"] / point["alone_p99"] for name in took if name != "alone"}


def percentile(waits: Sequence[float], part: float) -> float:
    """The wait that ``part`` of all do not exceed."""
    return sorted(waits)[min(len(waits) - 1, int(part * len(waits)))]


async def asked(
    calm: Place, other: Place | None, *, commands: int = 0, facts: int = 0, open_breaker: bool = False
) -> list[float]:
    """How long each of the calm tenant's commands took, in seconds, while its neighbour has this trouble."""
    with tempfile.TemporaryDirectory(prefix="bench-", dir=SCRATCH) as name:
        folder = Path(name)
        async with postgres(calm.postgres) as dsn, ledger_at(dsn or f"sqlite:///{folder / 'ledger.db'}") as ledger:
            settings = settings_in(folder, dsn or f"sqlite:///{folder / 'ledger.db'}", service={"drain": "5s"})
            tenant_in(folder, calm, tenant=CALM, limits=LIMITS)
            if other is not None:
                tenant_in(folder, other, tenant=OTHER, account="77", limits=DEFAULTS)
            outside = wiring.Outside(
                clock=WallClock(), dice=RealDice(), ledger=ledger, transport=wiring.real_transport(settings)
            )
            roster = wiring.roster_of(settings, outside)
            await roster.refresh()
            conns = {row.tenant: row.conn for row in await ledger.tenants()}
            for first in range(0, commands, BATCH):
                await ledger.take(_wishes(conns[OTHER], range(first, min(first + BATCH, commands)), OTHER))
            await _told(ledger, conns.get(OTHER, 0), facts)
            sink = Acks()
            service = wiring.assemble(settings, outside, source=None, sink=sink, roster=roster)
            async with _running(service):
                await _until(lambda: _ready(service, len(conns), open_breaker=open_breaker))
                return await _ask(ledger, conns, sink, until_drained=bool(facts))


async def _ask(ledger: Ledger, conns: dict[str, int], sink: Acks, *, until_drained: bool) -> list[float]:
    """Ask at times of chance; what was asked when the neighbour's facts had left says nothing, and is not counted."""
    dice = random.Random(7)  # noqa: S311 - times that can be repeated, nothing secret
    at: dict[int, float] = {}
    for number in range(ASKED):
        await asyncio.sleep(dice.expovariate(A_SECOND))
        if until_drained and sink.facts >= FACTS:
            break
        at[number] = time.perf_counter()
        await ledger.take(_wishes(conns[CALM], [number], CALM))
    await _until(lambda: at.keys() <= sink.at.keys())
    return [sink.at[number] - began for number, began in at.items()]


def _wishes(conn: int, numbers: Iterable[int], tenant: str) -> Intake:
    """Intents that come now: what came long ago, housekeeping would forget meanwhile."""
    return msgspec.structs.replace(wishes(conn, numbers, tenant), now_us=WallClock().now_us())


async def _told(ledger: Ledger, conn: int, facts: int) -> None:
    """Let so many facts of a connection wait."""
    if not facts:
        return
    lease = lease_name(OTHER, "hubspot")
    epochs = await ledger.leases_take([lease], "bench", 0, 10**16)
    fence = Fence(lease=lease, holder="bench", epoch=epochs[lease])
    page = contract.FactPage(tenant_id=OTHER, correlation_id="c", causation_id="c")
    made = page.fact("lead", 1, 1, contract.CrmLeadRemoved())
    for first in range(0, facts, BATCH):
        rows = [OutboxRow(message_id=f"f-{first + n}", fact=made.value, created_us=1) for n in range(BATCH)]
        await ledger.commit(fence, Commit(conn=conn, outbox=rows))
    await ledger.leases_drop("bench", [lease])


def _ready(service: Service, tenants: int, *, open_breaker: bool) -> bool:
    """Everybody is at work, and the neighbour's breaker is open where it is to be."""
    found = {worker.desk.tenant: worker for worker in service.workers.values()}
    if len(found) < tenants or not found[CALM].puller.standings or not found[CALM].puller.imported():
        return False
    return not open_breaker or found[OTHER].rim().breaker == "open"


async def _until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not done():  # noqa: ASYNC110 - the service is as it is shipped, and tells nobody
            await asyncio.sleep(LOOK_S)


@asynccontextmanager
async def _running(service: Service) -> AsyncIterator[None]:
    running = asyncio.create_task(service.run())
    try:
        yield
    finally:
        service.stop()
        await running


@asynccontextmanager
async def silence() -> AsyncIterator[str]:
    """The address of a CRM that takes every connection and never says a word."""
    hanging: list[asyncio.StreamWriter] = []

    async def hear(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hanging.append(writer)

    server = await asyncio.start_server(hear, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for writer in hanging:
            writer.close()


def nobody() -> str:
    """An address at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"
