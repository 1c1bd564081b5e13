"""Several processes on one PostgreSQL and one Kafka: how fast many tenants' leads come in, and whether each gets its share."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from benchmarks.bridge import ROOT, ledger_at, postgres, tenant_in
from benchmarks.place import SCRATCH, Place
from benchmarks.topics import make_topics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from benchmarks.growth import Point

TENANTS = 8
LOOK_S = 0.1
DEPLOYMENT = """ledger: {ledger}
tenants: {{folder: {folder}/tenants}}
kafka: {{bootstrap.servers: "{kafka}"}}
consumer_group: bench-{name}
hash_keys: ["env:BENCH_KEY"]
seal_key: env:BENCH_KEY
lease: {{ttl: 6s, renew: 1s}}
log: {{level: error}}
"""
HELD = "SELECT conn, count(*) FROM bindings GROUP BY conn"
WAITING = "SELECT count(*) FROM outbox"


async def crowd(place: Place, processes: int) -> Point:
    """``processes`` of the command line share the accounts of eight tenants with ``place.count`` leads each.

    ``rate``: leads a second from the first binding to the last acknowledged fact; ``fairness``: the least over the most that any
    tenant had when half of all was read.
    """
    total = TENANTS * place.count
    with tempfile.TemporaryDirectory(prefix="bench-", dir=SCRATCH) as name:
        folder = Path(name)
        (folder / "tenants").mkdir()
        (folder / "token").write_text("pat-na1-sandbox")
        await make_topics(place)
        async with AsyncExitStack() as stack:
            ledger = await stack.enter_async_context(postgres(place.postgres))
            await stack.enter_async_context(ledger_at(ledger))
            text = DEPLOYMENT.format(ledger=ledger, folder=folder, kafka=place.kafka, name=folder.name)
            (folder / "bridge.yaml").write_text(text)
            for number in range(TENANTS):
                tenant_in(folder, place, tenant=f"t{number}", account=f"a{number}")
            for number in range(processes):
                await stack.enter_async_context(_running(folder, number))
            eye = await stack.enter_async_context(await psycopg.AsyncConnection.connect(ledger, autocommit=True))
            began, half = 0.0, dict[int, int]()
            while True:
                held: dict[int, int] = dict(await (await eye.execute(HELD)).fetchall())
                read = sum(held.values())
                began = began or (time.perf_counter() if read else 0.0)
                if not half and read >= total / 2:
                    half = held
                if read >= total and await (await eye.execute(WAITING)).fetchone() == (0,):
                    break
                await asyncio.sleep(LOOK_S)
            wall_s = time.perf_counter() - began
    share = [half.get(conn, 0) for conn in held]
    return {"size": float(processes), "rate": total / wall_s, "fairness": min(share) / max(share)}


@asynccontextmanager
async def _running(folder: Path, number: int) -> AsyncIterator[None]:
    """One process of the bridge, until the end."""
    environment = {
        **os.environ,
        "BENCH_KEY": "a key of the benchmarks, long enough",
        "PORT_HTTP": "0",
        "PORT_GRPC": "0",
    }
    with (folder / f"{number}.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "sales_crm_bridge", "run", "-c", str(folder / "bridge.yaml"),
            cwd=ROOT, env=environment, stdout=log, stderr=log,
        )  # fmt: skip
        try:
            yield
        finally:
            process.terminate()
            await process.wait()
