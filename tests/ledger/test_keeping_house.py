"""Runs, gaps and retention."""

import msgspec

from sales_crm_bridge.model import Operation
from sales_crm_bridge.state import CommandChange, CommandState, Commit, Gap, InboxRow, Intake, NewCommand, Run
from tests.ledger.house import House


def run(conn: int, number: int, *, feed: str = "sweep", started_us: int = 1, finished_us: int = 0) -> Run:
    """Make a run with every count told apart."""
    state = "completed" if finished_us else "running"
    return Run(
        conn=conn,
        feed=feed,
        number=number,
        state=state,
        started_us=started_us,
        finished_us=finished_us,
        read=6,
        changed=1,
        unchanged=2,
        removed=3,
        stale=4,
        code="c",
    )


async def test_runs_are_replaced_by_their_number_and_told_newest_first(house: House) -> None:
    """A run that goes on is the same run; at most as many as asked for; of this connection alone; running ones apart."""
    conn, fence = await house.connection()
    other, _ = await house.connection("beta")
    rows = [run(conn, 1, started_us=1), run(conn, 2, started_us=5), run(conn, 1, feed="changes", started_us=3)]
    await house.ledger.commit(fence, Commit(conn=conn, runs=rows))
    await house.ledger.commit(fence, Commit(conn=conn, runs=[run(conn, 2, started_us=5, finished_us=9)]))
    assert await house.ledger.runs(conn, 2) == [run(conn, 2, started_us=5, finished_us=9), rows[2]]
    assert await house.ledger.runs(other, 9) == []
    assert await house.ledger.runs(conn, 9, running=True) == [rows[2], rows[0]]
    assert await house.ledger.runs(conn, 1, running=True) == [rows[2]]


async def test_a_gap_is_open_until_it_is_closed(house: House) -> None:
    """Open ones, oldest first, of a connection or of all; a closed one is no longer listed."""
    conn, fence = await house.connection()
    late = Gap(id="a", conn=conn, feed="f", from_us=1, to_us=2, cause="token expired", opened_us=9)
    early = Gap(id="b", conn=conn + 1, feed="f", from_us=1, to_us=2, cause="x", opened_us=3)
    await house.ledger.commit(fence, Commit(conn=conn, gaps=[late, early]))
    assert await house.ledger.gaps(0) == [early, late]
    assert await house.ledger.gaps(conn) == [late]
    assert await house.ledger.gap_close("a", "ann", "uttered again", 12)
    assert not await house.ledger.gap_close("a", "bob", "too late", 13)
    assert not await house.ledger.gap_close("c", "ann", "not there", 13)
    assert await house.ledger.gaps(0) == [early]
    closed = msgspec.structs.replace(late, closed_us=12, closed_by="ann", closed_why="uttered again")
    assert await house.ledger.gaps_closed(9) == [closed]


async def test_a_gap_is_told_when_it_opens_and_when_it_closes(house: House) -> None:
    """Whoever tells of it has read it before: what a person has closed meanwhile stays closed, and is told next."""
    conn, fence = await house.connection()
    gap = Gap(id="a", conn=conn, feed="f", from_us=1, to_us=2, cause="x", opened_us=9)
    await house.ledger.commit(fence, Commit(conn=conn, gaps=[gap]))
    (untold,) = await house.ledger.gaps_untold(conn)
    assert await house.ledger.gap_close("a", "ann", "why", 12)
    await house.ledger.commit(fence, Commit(conn=conn, gaps=[msgspec.structs.replace(untold, told_us=20)]))
    (untold,) = await house.ledger.gaps_untold(conn)
    assert (untold.told_us, untold.closed_us, untold.closed_by) == (20, 12, "ann")
    await house.ledger.forget(0, 0, 99, 9)
    assert await house.ledger.gaps_untold(conn) == [untold], "what nobody has told of is not forgotten"
    await house.ledger.commit(fence, Commit(conn=conn, gaps=[msgspec.structs.replace(untold, close_told_us=30)]))
    assert await house.ledger.gaps_untold(conn) == []
    await house.ledger.forget(0, 0, 99, 9)
    assert await house.ledger.gaps_closed(9) == []


async def finished(house: House, times_us: list[int]) -> tuple[int, list[int]]:
    """Take intents at these times, one lead each, and let them be done at the same times."""
    conn, fence = await house.connection()
    for at, now_us in enumerate(times_us):
        command = NewCommand(conn=conn, lead_id=f"L{at}", operation=Operation.CREATE, payload=b"p", occurred_us=now_us)
        row = InboxRow(tenant="acme", message_id=f"old{at}", command=command)
        await house.ledger.take(Intake(rows=[row], dead=(), offsets={}, now_us=now_us))
    seqs = [seq for _, seq in await house.ready(conn)]
    changes = [
        CommandChange(seq=seq, state=CommandState.DONE, finished_us=now_us)
        for seq, now_us in zip(seqs, times_us, strict=True)
    ]
    await house.ledger.commit(fence, Commit(conn=conn, commands=changes))
    return conn, seqs


async def test_retention_takes_what_is_past_its_time_and_no_more(house: House) -> None:
    """Finished commands, inbox rows, ended runs and closed gaps before their times; never what is open; the newest run stays."""
    conn, _ = await finished(house, [10, 20, 30])
    await house.intents(conn, "open")
    fence = await house.lease("other")
    rows = [run(conn, 1, finished_us=5), run(conn, 2, finished_us=6), run(conn, 1, feed="changes", finished_us=7)]
    closed = Gap(id="a", conn=conn, feed="f", from_us=1, to_us=2, cause="x", opened_us=1, closed_us=3, close_told_us=3)
    opened = Gap(id="b", conn=conn, feed="f", from_us=1, to_us=2, cause="x", opened_us=1)
    await house.ledger.commit(fence, Commit(conn=conn, runs=rows, gaps=[closed, opened]))
    assert await house.ledger.forget(20, 0, 0, 100) == 1
    assert await house.ledger.forget(31, 21, 10, 100) == 2 + 3 + 1
    assert await house.ledger.forget(31, 21, 10, 100) == 0
    assert [(one.feed, one.number) for one in await house.ledger.runs(conn, 9)] == [("changes", 1), ("sweep", 2)]
    assert await house.ledger.gaps(0) == [opened]
    assert [lead for lead, _ in await house.ready(conn)] == ["open"]


async def test_retention_goes_in_steps(house: House) -> None:
    """At most ``limit`` rows at a time, of all kinds together, so that no step holds up the work."""
    await finished(house, [10, 20, 30])
    gone = [await house.ledger.forget(99, 99, 99, 4) for _ in range(3)]
    assert gone == [4, 2, 0]


async def test_an_inbox_row_that_is_forgotten_may_come_again(house: House) -> None:
    """The inbox remembers as long as it is told to, and not the commands' time."""
    conn, _ = await finished(house, [10, 20])
    await house.ledger.forget(99, 15, 0, 100)
    rows = [house.intent(conn, "L", "old0"), house.intent(conn, "L", "old1")]
    assert list(await house.ledger.take(Intake(rows=rows, dead=(), offsets={}, now_us=50))) == [True, False]
