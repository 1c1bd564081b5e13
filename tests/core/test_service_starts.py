"""Many workers are started without any of them losing its lease over it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from sales_crm_bridge.errors import EnvironmentFault
from sales_crm_bridge.keeper import Keeper
from sales_crm_bridge.ledger import open_ledger
from sales_crm_bridge.service import Limits, Service
from sales_crm_bridge.simulate.loop import VirtualClock, VirtualLoop, run

if TYPE_CHECKING:
    from collections.abc import Callable

    from sales_crm_bridge.ledger import SqlLedger
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


def service_of(ledger: SqlLedger, clock: object, roster: object, intaker: object = None) -> Service:
    parts = cast("Any", SimpleNamespace())
    return Service(
        roster=cast("Any", roster),
        keeper=Keeper(ledger, cast("Any", clock), "p1", LIMITS.lease_s),
        ledger=ledger,
        clock=cast("Any", clock),
        source=None,
        intaker=cast("Any", intaker),
        sink=parts,
        relay=parts,
        limits=LIMITS,
    )


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

    service = service_of(ledger, clock, Roster())
    keeping = asyncio.create_task(service._keeping())
    while len(service.workers) < len(LEASES) and not keeping.done():  # noqa: ASYNC110 - the service tells nobody
        await asyncio.sleep(0)
    service.stop()
    await keeping
    assert lost == []
    assert [fence.lease for fence in started] == sorted(LEASES)
    await ledger.close()


@pytest.mark.parametrize("away", [False, True])
def test_a_worker_begins_anew_once_for_each_change_of_its_file(*, away: bool) -> None:
    """A tenant that comes has one worker, not a second one soon after; a change counts also where the topic is away."""
    loop = VirtualLoop()
    clock = VirtualClock(loop, Clock.now)
    started: list[int] = []
    lease = "connection/new/crm"

    class Roster:
        looks = 0

        def leases(self) -> dict[str, str]:
            return {lease: "new"} if self.looks else {}

        async def refresh(self) -> set[str]:
            self.looks += 1
            return {lease} if self.looks in (1, 10) else set()

        async def worker(self, _lease: str, fence: Fence, _still: Callable[[Fence], bool]) -> Worker:
            started.append(self.looks)
            return Worker(fence)

    class Intaker:
        async def look(self) -> None:
            if away:
                raise EnvironmentFault("kafka.away", "away")

    async def story() -> None:
        ledger = await open_ledger("sqlite://:memory:")
        service = service_of(ledger, clock, Roster(), Intaker())
        parts = [asyncio.create_task(service._keeping()), asyncio.create_task(service._reloading())]
        await clock.sleep(20 * LIMITS.reload_s)
        service.stop()
        await asyncio.gather(*parts)
        await ledger.close()

    run(story(), loop)
    assert started == [1, 10]
