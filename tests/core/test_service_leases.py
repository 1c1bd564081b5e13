"""What a service does with the leases that its keeper holds: work under them, ended in order before others get them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from sales_crm_bridge import contract
from sales_crm_bridge.keeper import Keeper
from sales_crm_bridge.ledger import SqlLedger, open_ledger
from sales_crm_bridge.model import Published
from sales_crm_bridge.relay import Relay
from sales_crm_bridge.service import Limits, Service
from sales_crm_bridge.simulate.loop import VirtualClock, VirtualLoop, run
from sales_crm_bridge.state import Commit, Fence, OutboxRow

T = TypeVar("T")

NOW_US = 1_790_000_000_000_000
RENEW_S = 5.0
LIMITS = Limits(
    lease_s=20,
    renew_s=RENEW_S,
    drain_s=100,
    reload_s=10,
    relay_idle_s=1,
    house_s=600,
    keep_commands_s=60,
    keep_inbox_s=60,
    keep_runs_s=60,
    forget_batch=100,
)


class Worker:
    """Works until it is asked to stop, and then until its last step ends."""

    def __init__(self, house: House, lease: str, fence: Fence) -> None:
        self._house, self._lease = house, lease
        self.fence, self.desk = fence, self
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        self._stopping.set()

    async def run(self) -> None:
        self._house.say(f"{self.fence.holder} begins {self._lease}")
        await self._stopping.wait()
        await self._house.clock.sleep(self._house.ends_s.get(self._lease, 0.0))
        self._house.say(f"{self.fence.holder} ends {self._lease}")


class House:
    """Services on one ledger and one topic; ``said``: what happened, in order.

    ``ends_s``: how long the last step of an account's worker takes, ``publishes_s``: a batch of facts, ``hires_s``: to make a
    worker. ``changed``: the leases whose tenant's file was changed since the last look.
    """

    def __init__(self, ledger: SqlLedger, leases: Sequence[str]) -> None:
        self.ledger = ledger
        self.clock = VirtualClock(asyncio.get_running_loop(), NOW_US)
        self.names = leases
        self.changed: set[str] = set()
        self.said: list[str] = []
        self.ends_s: dict[str, float] = {}
        self.publishes_s = self.hires_s = 0.0
        self.working: dict[str, tuple[Service, asyncio.Task[None]]] = {}

    def say(self, what: str) -> None:
        self.said.append(f"{self.now_s:g} {what}")

    @property
    def now_s(self) -> float:
        return round((self.clock.now_us() - NOW_US) / 1e6, 1)

    def start(self, name: str) -> Service:
        sink = Sink(self, name)
        service = Service(
            roster=Roster(self),
            keeper=Keeper(self.ledger, self.clock, name, LIMITS.lease_s),
            ledger=self.ledger,
            clock=self.clock,
            source=None,
            intaker=None,
            sink=sink,
            relay=Relay(self.ledger, sink, self.clock, 100),
            limits=LIMITS,
        )
        self.working[name] = (service, asyncio.ensure_future(service.run()))
        return service

    async def stop(self, name: str) -> None:
        service, working = self.working.pop(name)
        service.stop()
        await working

    async def until(self, at_s: float) -> None:
        await self.clock.sleep(at_s - (self.clock.now_us() - NOW_US) / 1e6)

    async def put(self, *versions: int) -> None:
        """Put facts of one lead into the outbox."""
        page = contract.FactPage(tenant_id="acme", correlation_id="c", causation_id="c")
        made = [page.fact("L-1", version, 1, contract.CrmLeadRemoved()) for version in versions]
        rows = [OutboxRow(message_id=one.message_id, fact=one.value, created_us=1) for one in made]
        await self.ledger.leases_take(["test"], "test", 0, 1 << 60)
        await self.ledger.commit(Fence(lease="test", holder="test", epoch=1), Commit(conn=1, outbox=rows))


class Roster:
    """One tenant for each of the house's leases."""

    def __init__(self, house: House) -> None:
        self._house = house

    async def refresh(self) -> set[str]:
        changed, self._house.changed = self._house.changed, set()
        return changed

    def leases(self) -> Mapping[str, str]:
        return {name: name for name in self._house.names}

    async def worker(self, lease: str, fence: Fence, _still: Callable[[Fence], bool]) -> Any:
        await self._house.clock.sleep(self._house.hires_s)
        return Worker(self._house, lease, fence)


class Sink:
    """The topic: publishing takes ``publishes_s``."""

    def __init__(self, house: House, name: str) -> None:
        self._house, self._name = house, name

    async def publish(self, rows: Sequence[OutboxRow]) -> Published:
        self._house.say(f"{self._name} publishes {len(rows)}")
        await self._house.clock.sleep(self._house.publishes_s)
        self._house.say(f"{self._name} has published {len(rows)}")
        return Published([row.seq for row in rows], [])

    async def close(self) -> None:
        """Nothing is in flight."""


def play(scene: Callable[[House], Awaitable[T]], *leases: str) -> T:
    """Run ``scene`` on virtual time with a tenant for each of ``leases``."""
    loop = VirtualLoop()

    async def main() -> T:
        ledger = await open_ledger("sqlite://:memory:")
        try:
            house = House(ledger, leases)
            value = await scene(house)
            for name in list(house.working):
                await house.stop(name)
            return value
        finally:
            await ledger.close()

    return run(main(), loop)


def test_the_relay_is_handed_over_between_two_batches() -> None:
    """A newcomer's share is the relay: it gets it when the batch under way is acknowledged, so no fact overtakes another."""

    async def scene(house: House) -> list[str]:
        house.publishes_s = 12.0
        house.start("p1")
        await house.until(1)
        await house.put(1, 2)
        await house.until(2)
        house.start("p2")
        await house.until(12)
        await house.put(3)
        await house.until(60)
        return [line.partition(" ")[2] for line in house.said]

    said = play(scene)
    assert said == ["p1 publishes 2", "p1 has published 2", "p2 publishes 1", "p2 has published 1"]


def test_an_account_is_given_up_when_its_worker_has_ended() -> None:
    """A newcomer gets its share of the accounts; there are never two workers for one, however long the first one's step takes."""

    async def scene(house: House) -> list[str]:
        house.ends_s = {"d": 42.0}
        house.start("p1")
        await house.until(1)
        house.start("p2")
        await house.until(100)
        return [*house.said]

    assert play(scene, "a", "b", "c", "d") == [
        *(f"0 p1 begins {name}" for name in "abcd"),
        "47 p1 ends d",
        "51 p2 begins d",
    ]


def test_a_changed_tenants_worker_begins_anew_at_once_even_if_the_change_comes_amid_a_turn() -> None:
    """Under the same lease, when its last step has ended; the other tenant's goes on."""

    async def scene(house: House) -> list[str]:
        house.hires_s = 8.0
        house.start("p1")
        await house.until(1)
        house.changed = {"a"}  # its file is looked at after 10 s, while the keeper waits for b's worker
        await house.until(60)
        return [*house.said]

    assert play(scene, "a", "b") == ["8 p1 begins a", "16 p1 begins b", "16 p1 ends a", "24 p1 begins a"]


def test_who_leaves_takes_no_account_and_gives_each_account_up_when_its_worker_has_ended() -> None:
    """A slow one holds up no other; the process that stays has all of them as they become free, its newcomer its share."""

    async def scene(house: House) -> list[str]:
        house.start("p1")
        await house.until(1)
        house.start("p2")
        await house.until(20)
        house.said.clear()
        house.ends_s = {"a": 30.0, "b": 12.0}
        leaving = asyncio.ensure_future(house.stop("p1"))
        await house.until(33)
        house.ends_s = {}
        await house.stop("p2")
        await house.until(42)
        house.start("p3")
        await leaving
        await house.until(60)
        return [*house.said]

    assert play(scene, "a", "b", "c", "d") == [
        "20 p1 ends c",
        "21 p2 begins c",
        "32 p1 ends b",
        "33 p2 ends d",
        "33 p2 ends c",
        *(f"42 p3 begins {name}" for name in "bcd"),
        "50 p1 ends a",
        "52 p3 begins a",
    ]


def test_who_leaves_publishes_what_its_last_steps_brought() -> None:
    """The one that had the relay is gone: it is taken for that, and facts wait for nobody's next start."""

    async def scene(house: House) -> list[str]:
        house.start("p1")
        await house.until(1)
        house.start("p2")
        await house.until(20)
        house.said.clear()
        house.ends_s = {"a": 30.0}
        leaving = asyncio.ensure_future(house.stop("p1"))
        await house.until(21)
        await house.stop("p2")
        await house.until(49.5)
        await house.put(1)
        await leaving
        return [*house.said]

    told = ["20 p1 ends b", "49.5 p1 publishes 1", "49.5 p1 has published 1", "50 p1 ends a"]
    assert play(scene, "a", "b") == told
