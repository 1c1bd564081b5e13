"""What a page, a poll and a push cost when there is more and more history, and how much memory it takes."""

from __future__ import annotations

import os
import statistics
import time
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.bridge import deployment
from benchmarks.place import BATCH
from benchmarks.pushing import wishes
from sales_crm_bridge.model import Published
from sales_crm_bridge.relay import Relay
from sales_crm_bridge.state import Fence
from sales_crm_bridge.world import WallClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from benchmarks.place import Place
    from sales_crm_bridge.ports import Ledger
    from sales_crm_bridge.state import OutboxRow

Point = dict[str, float]
"""What was measured at one size: ``size``, and figures by name."""

POLLS = 30
WARM = 5_000
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Nowhere:
    """A fact sink that acknowledges everything at once: what Kafka costs is another case's."""

    async def publish(self, rows: Sequence[OutboxRow]) -> Published:
        """All of it."""
        return Published([row.seq for row in rows], [])

    async def close(self) -> None:
        """Nothing is in flight."""


@asynccontextmanager
async def drained(ledger: Ledger) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """The work of emptying the outbox, as the relay does it."""
    clock = WallClock()
    relay = Relay(ledger, Nowhere(), clock, BATCH)
    epochs = await ledger.leases_take(["relay"], "bench", clock.now_us(), clock.now_us() + 3_600_000_000)
    fence = Fence(lease="relay", holder="bench", epoch=epochs["relay"])

    async def drain() -> None:
        while await relay.step(fence):
            pass

    yield drain


def memory_mb() -> float:
    """What this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES / 1e6


async def _timed(step: Callable[[], Awaitable[object]]) -> float:
    """Its CPU seconds."""
    began = time.process_time()
    await step()
    return time.process_time() - began


async def pull(place: Place, sizes: Sequence[int]) -> list[Point]:
    """Backfill of ``place.count`` leads; at each size what a lead costs there, a poll that finds nothing, and the memory."""
    warm = min(WARM, place.count)
    await _pull(replace(place, count=warm), (warm,))
    return await _pull(place, sizes)


async def _pull(place: Place, sizes: Sequence[int]) -> list[Point]:
    points: list[Point] = []
    async with deployment(place) as (ledger, working), drained(ledger) as drain:
        puller = working.puller
        await puller.open()
        sweep = list(puller.standings)[-1]
        read, costs = 0, list[float]()
        for size in sizes:
            while read < min(size, place.count):
                spent = await _timed(puller.step)
                now = puller.runs[sweep].read if sweep in puller.runs else 0
                if now > read:
                    costs.append(spent / (now - read))
                read = now
                await drain()
            polls = []
            for _ in range(POLLS):
                puller.hurry()
                polls.append(await _timed(puller.step))
            point = {
                "size": float(read),
                "lead_us": statistics.median(costs[-max(1, len(costs) // 2) :][-50:]) * 1e6,
                "poll_ms": statistics.median(polls) * 1e3,
                "memory_mb": memory_mb(),
            }
            points.append(point)
            await drain()
    return points


async def push(place: Place, sizes: Sequence[int]) -> list[Point]:
    """Creates in batches of 100; at each number of finished commands what the next one costs."""
    points: list[Point] = []
    async with deployment(place, batch=100) as (ledger, working), drained(ledger) as drain:
        (row,) = await ledger.tenants()
        await working.pusher.open()

        async def all_sent() -> None:
            while await working.pusher.step():
                pass

        done, costs = 0, list[float]()
        for size in sizes:
            while done < size:
                asked = min(BATCH, size - done)
                await ledger.take(wishes(row.conn, range(done, done + asked)))
                costs.append(await _timed(all_sent) / asked)
                done += asked
                await drain()
            points.append(
                {"size": float(done), "command_us": statistics.median(costs[-5:]) * 1e6, "memory_mb": memory_mb()}
            )
    return points
