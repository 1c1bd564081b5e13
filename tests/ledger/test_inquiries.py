"""Leads read for somebody else, and what became of an intent: the ledger between two processes."""

from __future__ import annotations

import asyncio

import pytest

from sales_crm_bridge.bells import bell_answers, bell_inquiries
from sales_crm_bridge.errors import LeaseLost
from sales_crm_bridge.ledger import SqlLedger
from sales_crm_bridge.state import Answer, CommandChange, CommandState, Commit, Inquiry, Intake
from tests.ledger.house import House, Opener


def wish(conn: int, name: str = "p2/1", until_us: int = 1_000, lead_id: str = "L-1") -> Inquiry:
    return Inquiry(id=name, conn=conn, lead_id=lead_id, asker="p2", until_us=until_us)


async def test_an_inquiry_is_answered_by_the_holder_and_taken_once(house: House) -> None:
    """The most urgent comes first; an answer is there for one taking, and the row is gone with it."""
    ledger = house.ledger
    conn, fence = await house.connection()
    await ledger.inquire(wish(conn, "p2/1", 1_000), 5)
    await ledger.inquire(wish(conn, "p2/2", 500), 5)
    await ledger.inquire(wish(conn, "p2/1", 1_000), 5)
    assert [one.id for one in await ledger.inquiries(conn, 10, 10)] == ["p2/2", "p2/1"]
    assert await ledger.inquiries(conn + 1, 10, 10) == []
    assert await ledger.answers_take(["p2/1", "p2/2"]) == {}
    await ledger.answer(fence, [Answer(id="p2/1", asker="p2", lead=b"sealed\0"), Answer(id="gone", asker="p3")], 20)
    assert [one.id for one in await ledger.inquiries(conn, 20, 10)] == ["p2/2"]
    taken = await ledger.answers_take(["p2/1", "p2/2"])
    assert {name: (one.lead, one.code) for name, one in taken.items()} == {"p2/1": (b"sealed\0", "")}
    assert await ledger.answers_take(["p2/1"]) == {}
    await ledger.answer(fence, [Answer(id="p2/2", asker="p2", code="crm.busy", said="busy", retry_at_us=900)], 20)
    taken = await ledger.answers_take(["p2/2"])
    assert taken == {"p2/2": Answer(id="p2/2", asker="", code="crm.busy", said="busy", retry_at_us=900)}


async def test_an_answer_of_a_past_lease_is_refused(house: House) -> None:
    """Who no longer holds the account does not answer for it."""
    conn, fence = await house.connection()
    await house.ledger.inquire(wish(conn), 5)
    await house.ledger.leases_drop("p1", [fence.lease])
    await house.lease(fence.lease, "p9")
    with pytest.raises(LeaseLost):
        await house.ledger.answer(fence, [Answer(id="p2/1", asker="p2", lead=b"late")], 6)
    assert await house.ledger.answers_take(["p2/1"]) == {}


async def test_what_nobody_waits_for_goes(house: House) -> None:
    """An inquiry whose time is over is not answered, and goes at the next one, at housekeeping, or when it is dropped."""
    ledger = house.ledger
    conn, fence = await house.connection()
    await ledger.inquire(wish(conn, "p2/1", 100), 5)
    assert await ledger.inquiries(conn, 100, 10) == []
    await ledger.answer(fence, [Answer(id="p2/1", asker="p2", lead=b"x")], 90)
    await ledger.inquire(wish(conn, "p2/2", 200), 101)
    assert await ledger.answers_take(["p2/1"]) == {}
    await ledger.answer(fence, [Answer(id="p2/2", asker="p2", lead=b"x")], 150)
    await ledger.forget(0, 0, 0, 10, now_us=201)
    assert await ledger.answers_take(["p2/2"]) == {}
    await ledger.inquire(wish(conn, "p2/3", 900), 300)
    await ledger.inquiry_drop("p2/3")
    assert await ledger.inquiries(conn, 300, 10) == []


@pytest.mark.real
async def test_bells_call_across_processes(postgres_dsn: str) -> None:
    """Asking wakes the holder in another process, answering wakes the asker."""
    from sales_crm_bridge.ledger import open_ledger  # noqa: PLC0415 - opened twice, as two processes do

    ours, theirs = await open_ledger(postgres_dsn, migrate=True), await open_ledger(postgres_dsn)
    try:
        house = House(theirs)
        conn, fence = await house.connection()
        woken = asyncio.ensure_future(theirs.wait([bell_inquiries(conn)], 60))
        await asyncio.wait((woken,), timeout=0.2)
        await ours.inquire(wish(conn, until_us=10**16), 5)
        await asyncio.wait_for(woken, 20)
        answered = asyncio.ensure_future(ours.wait([bell_answers("p2")], 60))
        await asyncio.wait((answered,), timeout=0.2)
        await theirs.answer(fence, [Answer(id="p2/1", asker="p2", lead=b"x")], 6)
        await asyncio.wait_for(answered, 20)
        assert list(await ours.answers_take(["p2/1"])) == ["p2/1"]
    finally:
        await ours.close()
        await theirs.close()


async def test_what_became_of_an_intent(house: House, opened: Opener) -> None:
    """An intent that was never taken, one under way, one that ended, and one that ended and is forgotten are told apart."""
    ledger: SqlLedger = house.ledger
    conn, fence = await house.connection()
    assert await ledger.known("acme", "m-1") is None
    await ledger.take(Intake(rows=[house.intent(conn, "L-1", "m-1")], dead=(), offsets={}, now_us=7))
    other = await opened()
    known = await other.known("acme", "m-1")
    assert known is not None
    assert known.command is not None
    assert (known.command.lead_id, known.command.state) == ("L-1", CommandState.PENDING)
    assert await other.known("other", "m-1") is None
    seq = known.command.seq
    done = CommandChange(seq=seq, state=CommandState.REFUSED, reason="lead-removed", finished_us=9)
    await ledger.commit(fence, Commit(conn=conn, commands=[done]))
    known = await other.known("acme", "m-1")
    assert known is not None
    assert known.command is not None
    assert (known.command.state, known.command.reason) == (CommandState.REFUSED, "lead-removed")
    await ledger.forget(10, 0, 0, 10)
    known = await other.known("acme", "m-1")
    assert known is not None
    assert known.command is None
