"""Notices: one row a record, forgotten with what was read, bounded, and heard by the holder of the account."""

import asyncio

import pytest

from sales_crm_bridge.bells import bell_notices
from sales_crm_bridge.errors import LeaseLost
from sales_crm_bridge.ledger import SqlLedger
from sales_crm_bridge.state import Commit, NoticeRow, OutboxRow
from tests.ledger.house import House, Opener

MAX = 1000


async def test_a_record_waits_once_however_often_it_is_hinted_at(house: House) -> None:
    """The oldest first; the time is that of the first hint, the count tells how often it came; each connection has its own."""
    conn, _ = await house.connection()
    other, _ = await house.connection("beta")
    await house.ledger.hear(conn, ["7", "3", "7"], 10, MAX)
    await house.ledger.hear(conn, ["3", "9"], 20, MAX)
    await house.ledger.hear(other, ["3"], 5, MAX)
    assert await house.ledger.notices(conn, 10) == [
        NoticeRow(crm_id="3", times=2, since_us=10),
        NoticeRow(crm_id="7", times=1, since_us=10),
        NoticeRow(crm_id="9", times=1, since_us=20),
    ]
    assert [notice.crm_id for notice in await house.ledger.notices(conn, 2)] == ["3", "7"]
    assert [notice.crm_id for notice in await house.ledger.notices(other, 10)] == ["3"]


async def test_what_was_read_is_forgotten_unless_it_came_again(house: House) -> None:
    """A hint that comes between the read and its commit stays: the record may have changed after it was read."""
    conn, fence = await house.connection()
    await house.ledger.hear(conn, ["1", "2"], 10, MAX)
    taken = await house.ledger.notices(conn, 10)
    await house.ledger.hear(conn, ["2", "3"], 20, MAX)
    await house.ledger.commit(fence, Commit(conn=conn, noticed=taken))
    assert [(notice.crm_id, notice.times) for notice in await house.ledger.notices(conn, 10)] == [("2", 2), ("3", 1)]


async def test_forgetting_is_part_of_the_commit(house: House) -> None:
    """Whose lease is over forgets nothing and books nothing."""
    conn, fence = await house.connection()
    await house.ledger.hear(conn, ["1"], 10, MAX)
    taken = await house.ledger.notices(conn, 10)
    await house.ledger.leases_drop("p1", [fence.lease])
    await house.lease(fence.lease, "p2")
    row = OutboxRow(message_id="m", fact=b"f", created_us=1)
    with pytest.raises(LeaseLost):
        await house.ledger.commit(fence, Commit(conn=conn, noticed=taken, outbox=[row]))
    assert await house.ledger.notices(conn, 10) == taken
    assert await house.ledger.outbox_read(0, 10) == []


async def test_beyond_the_limit_they_collapse_into_one_about_any_record(house: House) -> None:
    """At the limit they are kept, above it one is left; another connection's are not touched; hints go on being kept after it."""
    conn, _ = await house.connection()
    other, _ = await house.connection("beta")
    await house.ledger.hear(other, ["1"], 1, 5)
    assert not await house.ledger.hear(conn, list("abcde"), 10, 5)
    assert not await house.ledger.hear(conn, list("abcde"), 20, 5)
    assert await house.ledger.hear(conn, ["f"], 30, 5)
    assert await house.ledger.notices(conn, 10) == [NoticeRow(crm_id="", times=1, since_us=30)]
    assert not await house.ledger.hear(conn, ["g"], 40, 5)
    assert await house.ledger.hear(conn, list("hijkl"), 50, 5)
    assert await house.ledger.notices(conn, 10) == [NoticeRow(crm_id="", times=2, since_us=30)]
    assert len(await house.ledger.notices(other, 10)) == 1


async def test_deliveries_at_the_same_time_pass_no_limit_and_lose_nothing(opened: Opener, house: House) -> None:
    """Two processes hear overlapping records, in opposite orders, at once: every record waits, or they have collapsed."""
    conn, _ = await house.connection()
    second = await opened()
    both: list[SqlLedger] = [house.ledger, second]
    ids = [f"{number:03}" for number in range(60)]
    await asyncio.gather(
        *(both[turn % 2].hear(conn, ids[turn:] if turn % 2 else ids[::-1], turn + 1, MAX) for turn in range(12))
    )
    assert sorted(notice.crm_id for notice in await house.ledger.notices(conn, MAX)) == ids
    told = await asyncio.gather(*(both[turn % 2].hear(conn, [f"x{turn}"], 99, 61) for turn in range(6)))
    assert any(told)
    assert len(await house.ledger.notices(conn, MAX)) <= 61


async def test_hearing_rings_the_connections_bell(house: House, opened: Opener, address: str) -> None:
    """The holder is woken, also in another process where the database can carry it."""
    conn, _ = await house.connection()
    listener = await opened() if address.startswith("postgresql") else house.ledger
    waiting = asyncio.ensure_future(listener.wait([bell_notices(conn)], 60))
    await listener.wait(["nothing"], 0)
    await house.ledger.hear(conn, ["1"], 1, MAX)
    async with asyncio.timeout(30):
        await waiting
