"""Bells: whoever waits is woken when there is work, and not by asking again and again."""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import pytest

from sales_crm_bridge.bells import BELL_OUTBOX, bell_commands
from sales_crm_bridge.errors import LeaseLost
from sales_crm_bridge.ledger import SqlLedger, open_ledger
from sales_crm_bridge.simulate.loop import VirtualLoop, run
from sales_crm_bridge.state import Commit, OutboxRow
from tests.ledger.house import House, Opener

LONG_S = 86_400.0


def virtually(story: Callable[[SqlLedger], Awaitable[None]]) -> float:
    """Play ``story`` on a virtual loop with an embedded ledger; gives the virtual seconds that it took."""
    loop = VirtualLoop()

    async def main() -> float:
        ledger = await open_ledger("sqlite://:memory:")
        begun = loop.time()
        await story(ledger)
        await ledger.close()
        return loop.time() - begun

    return run(main(), loop)


def test_a_wait_without_a_ring_ends_by_its_time() -> None:
    """On the loop's own time alone, so that a simulated hour costs nothing."""

    async def story(ledger: SqlLedger) -> None:
        await ledger.wait(["a"], 3600.0)
        await ledger.wait((), 1.5)
        await ledger.wait(["a"], -1.0)

    assert virtually(story) == 3601.5


def test_a_ring_wakes_everybody_who_waits_for_it_and_nobody_else() -> None:
    """Each waiter of the bell comes back; the one that waits for another bell does not."""
    woken = []

    async def waiter(ledger: SqlLedger, name: str, bells: list[str]) -> None:
        await ledger.wait(bells, 10.0)
        woken.append((name, asyncio.get_running_loop().time()))

    async def story(ledger: SqlLedger) -> None:
        async with asyncio.TaskGroup() as group:
            for name, bells in (("one", ["a"]), ("two", ["b", "a"]), ("three", ["b"])):
                group.create_task(waiter(ledger, name, bells))
            await ledger.wait((), 2.0)
            await ledger.ring("a")

    virtually(story)
    assert woken == [("one", 2.0), ("two", 2.0), ("three", 10.0)]


def test_a_ring_that_nobody_heard_is_heard_by_the_next_wait_once() -> None:
    """Work that comes between two waits is not slept over."""

    async def story(ledger: SqlLedger) -> None:
        await ledger.ring("a")
        await ledger.ring("a")
        await ledger.wait(["a", "b"], 5.0)
        await ledger.wait(["a", "b"], 7.0)

    assert virtually(story) == 7.0


async def test_facts_ring_the_relay_and_new_commands_ring_their_connection(address: str, opened: Opener) -> None:
    """A commit with facts rings the outbox, a new intent its connection's bell, here and in other processes that can hear."""
    ledger = await opened()
    house = House(ledger)
    conn, fence = await house.connection()
    hearing = ledger if address.startswith("sqlite") else await opened()
    await hearing.wait(["warm up"], 0.0)

    heard = asyncio.create_task(hearing.wait([BELL_OUTBOX], LONG_S))
    await ledger.commit(fence, Commit(conn=conn, outbox=[OutboxRow(message_id="m", fact=b"f", created_us=1)]))
    await asyncio.wait_for(heard, 30)
    await house.intents(conn, "L")
    await asyncio.wait_for(hearing.wait([bell_commands(conn)], LONG_S), 30)
    heard = asyncio.create_task(hearing.wait(["mine"], LONG_S))
    await ledger.ring("mine")
    await asyncio.wait_for(heard, 30)


async def test_what_was_not_taken_rings_no_bell(house: House) -> None:
    """A repeated intent, a step that brings neither facts nor commands, and one that failed wake nobody."""
    conn, fence = await house.connection()
    await house.intents(conn, "L")
    await asyncio.wait_for(house.ledger.wait([bell_commands(conn)], LONG_S), 30)
    waiting = asyncio.create_task(house.ledger.wait([bell_commands(conn), BELL_OUTBOX], LONG_S))
    house.count -= 1
    await house.intents(conn, "L")
    await house.ledger.commit(fence, Commit(conn=conn, positions={"f": b"x"}))
    late = msgspec.structs.replace(fence, epoch=fence.epoch + 1)
    with pytest.raises(LeaseLost):
        await house.ledger.commit(late, Commit(conn=conn, outbox=[OutboxRow(message_id="m", fact=b"f", created_us=1)]))
    # Whatever rang is heard before a later ring of another bell.
    other = asyncio.create_task(house.ledger.wait(["other"], LONG_S))
    await asyncio.wait({other}, timeout=0)
    await house.ledger.ring("other")
    await asyncio.wait_for(other, 30)
    assert not waiting.done()
    waiting.cancel()
    await asyncio.wait({waiting})
