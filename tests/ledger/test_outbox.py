"""Facts wait in the outbox in their order, and leave it once."""

from sales_crm_bridge.state import Commit, DeadLetter, OutboxRow
from tests.ledger.house import House


def fact(n: int) -> OutboxRow:
    """Make a fact told apart by ``n``."""
    return OutboxRow(message_id=f"id{n}", fact=bytes([n % 256]) * 3, created_us=100 + n)


def letter(source: str, **more: str) -> DeadLetter:
    """Make a dead letter."""
    return DeadLetter(
        source=source,
        tenant=more.get("tenant", "acme"),
        lead_id="L",
        code=more.get("code", "c"),
        message="m",
        remedy="r",
        key=b"k",
        payload=b"\x00p",
        headers=b"h",
        created_us=1,
    )


async def test_facts_are_read_in_the_order_they_were_committed(house: House) -> None:
    """Within a commit and across commits, from any point on, at most as many as asked for, each whole."""
    conn, fence = await house.connection()
    for start in (0, 3):
        await house.ledger.commit(fence, Commit(conn=conn, outbox=[fact(n) for n in range(start, start + 3)]))
    rows = await house.ledger.outbox_read(0, 100)
    assert [(row.message_id, row.fact, row.created_us) for row in rows] == [
        (f"id{n}", bytes([n]) * 3, 100 + n) for n in range(6)
    ]
    seqs = [row.seq for row in rows]
    assert seqs == sorted(set(seqs))
    assert await house.ledger.outbox_read(seqs[1], 2) == rows[2:4]


async def test_an_acknowledged_fact_is_gone_and_its_number_never_comes_back(house: House) -> None:
    """Done rows leave, the others stay; a later fact is numbered above every earlier one, also after the outbox was empty."""
    conn, fence = await house.connection()
    await house.ledger.commit(fence, Commit(conn=conn, outbox=[fact(n) for n in range(4)]))
    seqs = [row.seq for row in await house.ledger.outbox_read(0, 9)]
    await house.ledger.outbox_done(fence, [seqs[0], seqs[2]], [])
    assert [row.message_id for row in await house.ledger.outbox_read(0, 9)] == ["id1", "id3"]
    await house.ledger.outbox_done(fence, seqs, [])
    await house.ledger.outbox_done(fence, seqs, [])
    assert await house.ledger.outbox_read(0, 9) == []
    await house.ledger.commit(fence, Commit(conn=conn, outbox=[fact(5)]))
    assert [row.message_id for row in await house.ledger.outbox_read(seqs[-1], 9)] == ["id5"]


async def test_a_refused_fact_becomes_a_dead_letter(house: House) -> None:
    """In one step it leaves the outbox and is kept whole; the same source again replaces nothing."""
    conn, fence = await house.connection()
    await house.ledger.commit(fence, Commit(conn=conn, outbox=[fact(0), fact(1)]))
    first, second = await house.ledger.outbox_read(0, 9)
    await house.ledger.outbox_done(fence, [first.seq], [(second.seq, letter("fact id1"))])
    await house.ledger.outbox_done(fence, [], [(second.seq, letter("fact id1", code="other"))])
    assert await house.ledger.outbox_read(0, 9) == []
    (kept,) = await house.ledger.dead_letters("acme", 9)
    assert (kept.source, kept.code, kept.payload, kept.headers) == ("fact id1", "c", b"\x00p", b"h")


async def test_the_depth_tells_how_many_wait_and_since_when(house: House) -> None:
    """Exactly the rows that are there, and the oldest one's time; nothing for an empty outbox."""
    conn, fence = await house.connection()
    assert await house.ledger.outbox_depth() == (0, 0)
    await house.ledger.commit(fence, Commit(conn=conn, outbox=[fact(n) for n in range(3)]))
    assert await house.ledger.outbox_depth() == (3, 100)
    await house.ledger.outbox_done(fence, [(await house.ledger.outbox_read(0, 1))[0].seq], [])
    assert await house.ledger.outbox_depth() == (2, 101)


async def test_the_depth_of_one_connection_is_its_own(house: House) -> None:
    """One account's backlog can be told from another's."""
    conn, fence = await house.connection()
    other, others = await house.connection("beta")
    await house.ledger.commit(fence, Commit(conn=conn, outbox=[fact(n) for n in range(3)]))
    await house.ledger.commit(others, Commit(conn=other, outbox=[fact(9)]))
    assert await house.ledger.outbox_depth(conn) == (3, 100)
    assert await house.ledger.outbox_depth(other) == (1, 109)
    assert await house.ledger.outbox_depth(other + 1) == (0, 0)
    assert await house.ledger.outbox_depth() == (4, 100)


async def test_the_oldest_facts_of_each_connection_are_read_however_many_wait_before_them(house: House) -> None:
    """Which connections wait, from any one on; then so many of each, in the order in which they were committed, each whole."""
    held = [await house.connection(name) for name in ("acme", "beta", "gamma", "idle")]
    conns = [conn for conn, _ in held]
    assert await house.ledger.outbox_lanes(0, 9) == []
    for number, (conn, fence) in enumerate([held[0], held[1], held[0], held[2], held[1]]):
        facts = [fact(10 * number + n) for n in range(4)]
        await house.ledger.commit(fence, Commit(conn=conn, outbox=facts))
    assert await house.ledger.outbox_lanes(0, 9) == conns[:3]
    assert await house.ledger.outbox_lanes(0, 2) == conns[:2]
    assert await house.ledger.outbox_lanes(conns[0], 9) == conns[1:3]
    assert await house.ledger.outbox_lanes(conns[2], 9) == []
    assert await house.ledger.outbox_read_lanes([], 5) == []
    rows = await house.ledger.outbox_read_lanes(conns, 6)
    assert [row.message_id for row in rows] == [
        f"id{n}" for n in (0, 1, 2, 3, 10, 11, 12, 13, 20, 21, 30, 31, 32, 33, 40, 41)
    ]
    assert rows == [row for row in await house.ledger.outbox_read(0, 99) if row in rows]


async def test_a_dead_letter_with_an_impossible_name_is_kept(house: House) -> None:
    """Whatever came in must find its place here: a NUL in a name is shown as its symbol, and the bytes are kept as they were."""
    conn, fence = await house.connection()
    await house.ledger.commit(fence, Commit(conn=conn, dead=[letter("t[0]@1", tenant="a\0b")]))
    (kept,) = await house.ledger.dead_letters("", 9)
    assert (kept.tenant, kept.payload) == ("a\u2400b", b"\x00p")


async def test_dead_letters_are_told_by_tenant_oldest_first(house: House) -> None:
    """Of one tenant or of all, at most as many as asked for."""
    conn, fence = await house.connection()
    letters = [letter("s1"), letter("s2", tenant="beta"), letter("s3"), letter("s1", code="again")]
    await house.ledger.commit(fence, Commit(conn=conn, dead=letters))
    assert [one.source for one in await house.ledger.dead_letters("", 9)] == ["s1", "s2", "s3"]
    assert [one.source for one in await house.ledger.dead_letters("acme", 1)] == ["s1"]
    assert [one.source for one in await house.ledger.dead_letters("beta", 9)] == ["s2"]
