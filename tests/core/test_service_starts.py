"""Many workers are started without any of them losing its lease over it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from sales_crm_bridge.keeper import Keeper
from sales_crm_bridge.ledger import open_ledger
from sales_crm_bridge.service import Limits, Service

if TYPE_CHECKING:
    from collections.abc import Callable

    from sales_crm_bridge.state import Fence

LEASES = {f"connection/t{number:02d}/crm": f"t{number:02d}" for number in range(50)}
LIMITS = Limits(
    lease_s=20,
    renew_s=5,
    drain_s=25,
    reload_s=10,
    relay_idle_s=5,
    house_s=600,
    keep_commands_s=60,
    keep_inbox_s=60,
    keep_runs_s=60,
    forget_batch=100,
)


class Clock:
    now = 1_790_000_000_000_000

    def now_us(self) -> int:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += round(seconds * 1e6)
        await asyncio.sleep(0)


class Worker:
    """Works until it is asked to stop."""

    def __init__(self, fence: Fence) -> None:
        self.desk = SimpleNamespace(fence=fence)
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        await self._stopping.wait()

    def stop(self) -> None:
        self._stopping.set()


async def test_the_leases_are_renewed_while_many_workers_are_started() -> None:
    """Fifty starts of a second each, under leases of twenty seconds: each worker is started once, and holds its lease all along."""
    ledger = await open_ledger("sqlite://:memory:")
    clock = Clock()
    started: list[Fence] = []
    lost: list[str] = []

    class Roster:
        def leases(self) -> dict[str, str]:
            return LEASES

        async def worker(self, _lease: str, fence: Fence, still: Callable[[Fence], bool]) -> Worker:
            clock.now += 1_000_000
            lost.extend(one.lease for one in started if not still(one))
            started.append(fence)
            assert len(started) < 3 * len(LEASES)
            return Worker(fence)

    parts = cast("Any", SimpleNamespace())
    service = Service(
        roster=cast("Any", Roster()),
        keeper=Keeper(ledger, cast("Any", clock), "p1", LIMITS.lease_s),
        ledger=ledger,
        clock=cast("Any", clock),
        source=None,
        intaker=None,
        sink=parts,
        relay=parts,
        limits=LIMITS,
    )
    keeping = asyncio.create_task(service._keeping())
    while len(service.workers) < len(LEASES) and not keeping.done():  # noqa: ASYNC110 - the service tells nobody
        await asyncio.sleep(0)
    service.stop()
    await keeping
    assert lost == []
    assert [fence.lease for fence in started] == sorted(LEASES)
    await ledger.close()
