"""Commands: taken in once, tried in the order of their lead, never by two at the same time."""

import msgspec
import pytest

from sales_crm_bridge.errors import Bug, PlaceMoved
from sales_crm_bridge.model import Operation
from sales_crm_bridge.state import (
    Command,
    CommandChange,
    CommandCounts,
    CommandState,
    Commit,
    DeadLetter,
    Gap,
    Intake,
)
from tests.ledger.house import House

DONE, REFUSED, PARKED = CommandState.DONE, CommandState.REFUSED, CommandState.PARKED
PENDING, UNKNOWN, SENDING = CommandState.PENDING, CommandState.UNKNOWN, CommandState.SENDING


async def test_an_intent_becomes_a_command_once(house: House) -> None:
    """A repeated intent, later or in the same batch, makes no second command; tenants are told apart."""
    conn, _ = await house.connection()
    rows = [house.intent(conn, "L", "m1"), house.intent(conn, "K", "m2"), house.intent(conn, "L", "m1")]
    take = house.ledger.take
    assert list(await take(Intake(rows=rows, dead=(), offsets={}, now_us=1))) == [True, True, False]
    more = [house.intent(conn, "L", "m3"), house.intent(conn, "L", "m2")]
    assert list(await take(Intake(rows=more, dead=(), offsets={}, now_us=1))) == [True, False]
    found = await house.ledger.commands_open(conn, ["L", "K"])
    assert [(one.message_id, one.payload) for one in found] == [
        ("m1", b"intent 1"),
        ("m2", b"intent 2"),
        ("m3", b"intent 4"),
    ]


async def test_a_command_comes_back_as_it_was_taken(house: House) -> None:
    """Every field of a new command."""
    conn, _ = await house.connection()
    await house.ledger.take(Intake(rows=[house.intent(conn, "L", "m1")], dead=(), offsets={}, now_us=5))
    (found,) = await house.ledger.commands_ready(conn, 0, 10, behind_parked=False)
    assert found == Command(
        seq=found.seq,
        conn=conn,
        tenant="acme",
        message_id="m1",
        lead_id="L",
        operation=Operation.REVISE,
        payload=b"intent 1",
        occurred_us=1,
    )


async def test_offsets_and_dead_letters_and_gaps_come_with_the_batch(house: House) -> None:
    """An offset is where reading goes on, per partition, and moves back only when reset; a known gap is not opened again."""
    letter = DeadLetter(
        source="t[0]@4", tenant="", lead_id="", code="c", message="m", remedy="r", key=b"", payload=b"p", headers=b"",
        created_us=1,
    )  # fmt: skip
    gap = Gap(id="g", conn=1, feed="intents", from_us=0, to_us=5, cause="lost", opened_us=5)
    take = house.ledger.take
    await take(Intake(rows=(), dead=[letter], offsets={("t", 0): 5, ("t", 1): 2, ("u", 0): 9}, now_us=1, gaps=[gap]))
    await take(Intake(rows=(), dead=[letter], offsets={("t", 0): 4, ("t", 1): 3}, now_us=1, gaps=[gap]))
    assert await house.ledger.places("t") == {("t", 0): 5, ("t", 1): 3}
    assert await house.ledger.places("none") == {}
    assert len(await house.ledger.dead_letters("", 9)) == 1
    assert await house.ledger.gaps(1) == [gap]
    await take(Intake(rows=(), dead=(), offsets={("u", 0): 10}, now_us=1, reset={("t", 0): 1, ("v", 0): 7}))
    assert [await house.ledger.places(topic) for topic in "tuv"] == [
        {("t", 0): 1, ("t", 1): 3},
        {("u", 0): 10},
        {("v", 0): 7},
    ]


async def test_a_rewind_beats_the_batch_that_was_under_way(house: House) -> None:
    """What was read before a rewind writes nothing after it, until the place that the rewind named has been found."""
    conn, _ = await house.connection()
    take, places = house.ledger.take, house.ledger.places
    await take(Intake(rows=(), dead=(), offsets={("t", 0): 50, ("t", 1): 60, ("u", 0): 9}, now_us=1))
    assert await house.ledger.rewind("t", 7_000_000, ()) == 2
    assert await places("t") == {("t", 0): -7000, ("t", 1): -7000}
    late = Intake(rows=[house.intent(conn, "L", "m1")], dead=(), offsets={("t", 0): 51}, now_us=1)
    for stale in (
        late,
        Intake(rows=(), dead=(), offsets={}, reset={("t", 1): 3}, now_us=1),
        Intake(rows=(), dead=(), offsets={}, placed={("t", 0): (-6000, 12)}, now_us=1),
    ):
        with pytest.raises(PlaceMoved):
            await take(stale)
    assert await places("t") == {("t", 0): -7000, ("t", 1): -7000}
    assert await house.ledger.commands_open(conn, ["L"]) == []
    await take(Intake(rows=(), dead=(), offsets={("u", 0): 10}, placed={("t", 0): (-7000, 12)}, now_us=1))
    assert list(await take(msgspec.structs.replace(late, offsets={("t", 0): 13}))) == [True]
    await take(Intake(rows=(), dead=(), offsets={}, placed={("t", 0): (-7000, 12)}, now_us=1))
    assert await places("t") == {("t", 0): 13, ("t", 1): -7000}


async def test_a_rewind_brings_tenants_into_force(house: House) -> None:
    """Files and places change together."""
    conn, _ = await house.connection()
    (row,) = await house.ledger.tenants()
    await house.ledger.rewind("t", 1, [msgspec.structs.replace(row, text="new", digest="new")])
    (after,) = await house.ledger.tenants()
    assert (after.text, after.digest, after.conn) == ("new", "new", conn)


async def test_the_oldest_command_of_each_lead_is_tried_first(house: House) -> None:
    """One command per lead, by number, of this connection alone; the next one when it is final."""
    conn, fence = await house.connection()
    other, _ = await house.connection("beta")
    await house.intents(conn, "L", "L", "K", "L")
    await house.intents(other, "L")
    (lead, first), (_, second) = await house.ready(conn)
    assert lead == "L"
    assert second == first + 2
    await house.ledger.commit(
        fence, Commit(conn=conn, commands=[CommandChange(seq=first, state=DONE, attempt=1, finished_us=9)])
    )
    assert await house.ready(conn) == [("L", first + 1), ("K", second)]


async def test_a_final_command_keeps_nothing_of_the_intent_and_stays_final(house: House) -> None:
    """Done empties the payload (rule 15), and a late change of a final command changes nothing."""
    conn, fence = await house.connection()
    await house.intents(conn, "L", "L")
    (_, seq), *_ = await house.ready(conn)
    for state in (DONE, PENDING, PARKED):
        await house.ledger.commit(
            fence, Commit(conn=conn, commands=[CommandChange(seq=seq, state=state, attempt=1, finished_us=9)])
        )
    assert [one.seq for one in await house.ledger.commands_open(conn, ["L"])] == [seq + 1]
    assert await house.ready(conn) == [("L", seq + 1)]


async def test_sending_is_written_before_the_call_and_told_by_its_epoch(house: House) -> None:
    """A command being sent is not handed out; the attempt is counted; a parked or later one of a lead cannot be sent."""
    conn, fence = await house.connection()
    await house.intents(conn, "L", "L", "K")
    (_, first), (_, third) = await house.ready(conn)
    await house.ledger.sending(fence, conn, [first])
    assert await house.ready(conn) == [("K", third)]
    sent = (await house.ledger.commands_open(conn, ["L"]))[0]
    assert (sent.state, sent.attempt, sent.epoch) == (SENDING, 1, fence.epoch)
    with pytest.raises(Bug, match="not-a-head"):
        await house.ledger.sending(fence, conn, [third, first + 1])
    assert (await house.ledger.commands_open(conn, ["K"]))[0].state is PENDING


async def test_what_was_being_sent_is_unknown_when_a_session_begins(house: House) -> None:
    """Every SENDING command is doubted, of a former epoch and of our own, and left alone for a while; all doubted are named."""
    conn, fence = await house.connection()
    await house.intents(conn, "L", "K", "J")
    seqs = [seq for _, seq in await house.ready(conn)]
    await house.ledger.sending(fence, conn, seqs[:1])
    assert await house.ledger.orphans(fence, conn, 70) == ["L"]
    await house.ledger.leases_drop("p1", [fence.lease])
    newer = await house.lease(fence.lease, "p2")
    await house.ledger.sending(newer, conn, seqs[1:2])
    assert await house.ledger.orphans(newer, conn, 80) == ["L", "K"]
    found = {one.lead_id: one for one in await house.ledger.commands_open(conn, ["L", "K", "J"])}
    assert {lead: (one.state, one.not_before_us, one.waits) for lead, one in found.items()} == {
        "L": (UNKNOWN, 70, 0),
        "K": (UNKNOWN, 80, 0),
        "J": (PENDING, 0, 0),
    }
    assert [lead for lead, _ in await house.ready(conn, 79)] == ["L", "J"]


async def test_a_command_that_was_put_off_is_due_at_its_time(house: House) -> None:
    """Not before it, and it holds back its lead meanwhile; the next such time is told."""
    conn, fence = await house.connection()
    await house.intents(conn, "L", "L", "K")
    assert await house.ledger.commands_next_us(conn) == 0
    (_, first), (_, third) = await house.ready(conn)
    wait = [
        CommandChange(seq=first, state=PENDING, attempt=1, not_before_us=50, reason="busy"),
        CommandChange(seq=third, state=UNKNOWN, attempt=1, not_before_us=40, waits=2),
    ]
    await house.ledger.commit(fence, Commit(conn=conn, commands=wait))
    assert await house.ready(conn, 39) == []
    assert await house.ledger.commands_next_us(conn) == 40
    assert await house.ready(conn, 49) == [("K", third)]
    assert await house.ready(conn, 50) == [("L", first), ("K", third)]
    again = (await house.ledger.commands_ready(conn, 50, 9, behind_parked=False))[0]
    assert (again.attempt, again.reason, again.not_before_us) == (1, "busy", 50)


async def test_a_parked_command_lets_its_lead_wait_or_be_refused(house: House) -> None:
    """Passed over by itself; the next one of its lead comes only when asked for, and says so; others go on."""
    conn, fence = await house.connection()
    await house.intents(conn, "L", "L", "K")
    (_, first), (_, third) = await house.ready(conn)
    await house.ledger.commit(fence, Commit(conn=conn, commands=[CommandChange(seq=first, state=PARKED, attempt=3)]))
    assert await house.ready(conn) == [("K", third)]
    found = await house.ledger.commands_ready(conn, 0, 9, behind_parked=True)
    assert [(one.seq, one.behind_parked) for one in found] == [(first + 1, True), (third, False)]
    await house.intents(conn, "L")
    assert await house.ready(conn) == [("K", third)]
    assert [one.state for one in await house.ledger.commands_open(conn, ["L"])] == [PARKED, PENDING, PENDING]


@pytest.mark.parametrize("state", [PENDING, REFUSED], ids=str)
async def test_a_person_who_settles_a_parked_command_frees_its_lead(house: House, state: CommandState) -> None:
    """Redriven, it is the lead's next one again; dropped, the one behind it is, and is behind nothing any more."""
    conn, fence = await house.connection()
    await house.intents(conn, "L", "L")
    (_, first), *_ = await house.ready(conn)
    await house.ledger.commit(fence, Commit(conn=conn, commands=[CommandChange(seq=first, state=PARKED)]))
    assert await house.ready(conn) == []
    await house.ledger.commit(fence, Commit(conn=conn, commands=[CommandChange(seq=first, state=state)]))
    assert await house.ready(conn) == [("L", first if state is PENDING else first + 1)]
    (found,) = await house.ledger.commands_ready(conn, 0, 9, behind_parked=True)
    assert found.behind_parked is False


async def test_a_round_takes_the_oldest_of_many(house: House) -> None:
    """At most ``limit``, the lowest numbers first, those put off and due again among them."""
    conn, fence = await house.connection()
    await house.intents(conn, *(f"L{n}" for n in range(6)))
    seqs = [seq for _, seq in await house.ready(conn)]
    late = [CommandChange(seq=seq, state=PENDING, not_before_us=5) for seq in (seqs[0], seqs[3])]
    await house.ledger.commit(fence, Commit(conn=conn, commands=late))
    found = await house.ledger.commands_ready(conn, 5, 3, behind_parked=True)
    assert [one.seq for one in found] == seqs[:3]


async def test_counts_tell_what_is_not_final(house: House) -> None:
    """Open ones (in doubt among them) and parked ones apart, and since when the oldest open one waits."""
    conn, fence = await house.connection()
    other, others = await house.connection("beta")
    await house.intents(conn, "L", "L", "K", "J")
    await house.intents(other, "L")
    (_, first), (_, third), (_, fourth) = await house.ready(conn)
    changes = [
        CommandChange(seq=first, state=PARKED),
        CommandChange(seq=third, state=UNKNOWN),
        CommandChange(seq=fourth, state=DONE, finished_us=1),
    ]
    await house.ledger.commit(fence, Commit(conn=conn, commands=changes))
    ((_, last),) = await house.ready(other)
    await house.ledger.commit(others, Commit(conn=other, commands=[CommandChange(seq=last, state=PARKED)]))
    assert await house.ledger.command_counts() == [
        CommandCounts(conn=conn, open=2, unknown=1, parked=1, oldest_us=2),
        CommandCounts(conn=other, open=0, unknown=0, parked=1, oldest_us=0),
    ]
