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

REST_S = 10.0
"""How long the process is left alone to see what it costs at rest."""


async def crowd(busy: Place, tenants: int) -> Point:
    """``tenants`` tenants, one of them with ``busy.count`` leads to import, the others with a CRM without any.

    ``rate``: its leads a second of CPU, from the moment in which its file is taken up; ``idle_cpu``: the share of a core that the
    process takes when all is done; ``tenant_kb``: memory for each tenant but the first.
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
            before_mb = memory_mb()
            for number in range(1, tenants):
                tenant_in(folder, idle, tenant=f"t{number:04d}", account=f"a{number}")
            running = asyncio.create_task(service.run())
            await _imported(service, tenants - 1)
            idle_mb = memory_mb()
            rest_s = await _cpu_share()
            tenant_in(folder, busy)
            cpu, wall = time.process_time(), time.perf_counter()
            await _imported(service, tenants)
            cpu_s, wall_s = time.process_time() - cpu, time.perf_counter() - wall
            service.stop()
            await running
    return {
        "size": float(tenants),
        "idle_cpu": rest_s,
        "tenant_kb": (idle_mb - before_mb) * 1000 / max(1, tenants - 1),
        "rate": busy.count / cpu_s,
        "rate_wall": busy.count / wall_s,
        "memory_mb": memory_mb(),
    }


async def _imported(service: Service, workers: int) -> None:
    """Come back when so many workers are there and all of them have read their CRM once."""
    while len(service.workers) < workers or not all(  # noqa: ASYNC110 - the service is as it is shipped, and tells nobody
        worker.puller.standings and worker.puller.imported() for worker in service.workers.values()
    ):
        await asyncio.sleep(0.05)


async def _cpu_share() -> float:
    began, at = time.process_time(), time.perf_counter()
    await asyncio.sleep(REST_S)
    return (time.process_time() - began) / (time.perf_counter() - at)
