"""Many tenants in one process, all idle and one busy: what an idle one costs, and what they take from the busy one."""

from __future__ import annotations

import asyncio
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.bridge import ledger_at, settings_in, tenant_in
from benchmarks.growth import Nowhere, memory_mb
from benchmarks.place import SCRATCH, Place
from sales_crm_bridge import wiring
from sales_crm_bridge.world import RealDice, WallClock

if TYPE_CHECKING:
    from benchmarks.growth import Point
    from sales_crm_bridge.service import Service
    from sales_crm_bridge.worker import Worker

REST_S = 35.0
"""How long the process is left alone to see what it costs at rest: a little more than what idles is woken after."""
LOOK_S = 0.05


async def crowd(busy: Place, tenants: int) -> Point:
    """``tenants`` tenants, one of them with ``busy.count`` leads to import, the others with a CRM without any.

    ``start_ms``: CPU for each of the others, from its file to the end of its first sweep; ``tenant_kb``: memory for each;
    ``idle_cpu``: the share of a core that the process takes when all of them rest; ``rate``: leads a second of CPU of the busy one
    beside them.
    """
    idle = replace(busy, crm=f"{busy.crm}/empty")
    with tempfile.TemporaryDirectory(prefix="bench-", dir=SCRATCH) as name:
        folder = Path(name)
        address = f"sqlite:///{folder / 'ledger.db'}"
        settings = settings_in(folder, address)
        async with ledger_at(address) as ledger:
            outside = wiring.Outside(
                clock=WallClock(), dice=RealDice(), ledger=ledger, transport=wiring.real_transport(settings)
            )
            service = wiring.assemble(settings, outside, source=None, sink=Nowhere())
            before_mb, before_s = memory_mb(), time.process_time()
            for number in range(1, tenants):
                tenant_in(folder, idle, tenant=f"t{number:04d}", account=f"a{number}")
            running = asyncio.create_task(service.run())
            for worker in await _workers(service, tenants - 1):
                await _imported(worker)
            idle_mb, start_s = memory_mb(), time.process_time() - before_s
            rest_s = await _cpu_share()
            tenant_in(folder, busy)
            newest = (await _workers(service, tenants))[-1]
            cpu, wall = time.process_time(), time.perf_counter()
            await _imported(newest)
            cpu_s, wall_s = time.process_time() - cpu, time.perf_counter() - wall
            service.stop()
            await running
    return {
        "size": float(tenants),
        "start_ms": start_s * 1000 / max(1, tenants - 1),
        "idle_cpu": rest_s,
        "tenant_kb": (idle_mb - before_mb) * 1000 / max(1, tenants - 1),
        "rate": busy.count / cpu_s,
        "rate_wall": busy.count / wall_s,
        "memory_mb": memory_mb(),
    }


async def _workers(service: Service, number: int) -> list[Worker]:
    """All of them, in the order in which they began, once there are so many."""
    while len(service.workers) < number:  # noqa: ASYNC110 - the service is as it is shipped, and tells nobody
        await asyncio.sleep(LOOK_S)
    return list(service.workers.values())


async def _imported(worker: Worker) -> None:
    """Come back when it has read its CRM once."""
    while not worker.puller.standings or not worker.puller.imported():  # noqa: ASYNC110 - as above
        await asyncio.sleep(LOOK_S)


async def _cpu_share() -> float:
    began, at = time.process_time(), time.perf_counter()
    await asyncio.sleep(REST_S)
    return (time.process_time() - began) / (time.perf_counter() - at)
