"""Facts on their way to Kafka."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sales_crm_bridge.ledger import house, leases
from sales_crm_bridge.ledger.steps import Ask, Columns, Many, Set, Step
from sales_crm_bridge.state import OutboxRow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sales_crm_bridge.ledger.steps import Rows
    from sales_crm_bridge.state import DeadLetter, Fence

COLUMNS = Columns("conn int, message_id text, fact bytes, created_us int")

PUT = "INSERT INTO outbox ({columns}) {values}"
READ = "SELECT seq, message_id, fact, created_us FROM outbox WHERE seq > ? ORDER BY seq LIMIT ?"
# The connections that have facts waiting: each is found by one look into the index, whatever waits of the ones before it.
LANES = """
    WITH RECURSIVE lanes(conn) AS (
        SELECT (SELECT min(f.conn) FROM outbox f WHERE f.conn > ?)
        UNION ALL
        SELECT (SELECT min(n.conn) FROM outbox n WHERE n.conn > lanes.conn) FROM lanes WHERE lanes.conn IS NOT NULL
    )
    SELECT conn FROM lanes WHERE conn IS NOT NULL LIMIT ?
"""
LANE = "SELECT seq, message_id, fact, created_us FROM outbox WHERE conn = ? ORDER BY seq LIMIT ?"
DONE = "DELETE FROM outbox WHERE seq {in}"
DEPTH = "SELECT count(*), min(created_us) FROM outbox WHERE conn = ?"
DEPTH_OF_ALL = "SELECT count(*), min(created_us) FROM outbox"


def put(conn: int, rows: Sequence[OutboxRow]) -> Many:
    """The work that appends facts in their order."""
    return Many(PUT, COLUMNS, [(conn, row.message_id, row.fact, row.created_us) for row in rows])


def read(after_seq: int, limit: int) -> Step[list[OutboxRow]]:
    """The oldest facts after ``after_seq``."""
    (rows,) = yield (Ask(READ, (after_seq, limit)),)
    return _listed(rows)


def lanes(after_conn: int, limit: int) -> Step[list[int]]:
    """The connections above ``after_conn`` that have facts waiting."""
    (rows,) = yield (Ask(LANES, (after_conn, limit)),)
    return [conn for (conn,) in rows]


def read_lanes(conns: Sequence[int], limit: int) -> Step[list[OutboxRow]]:
    """The oldest facts of each of these connections, by seq."""
    answers = yield tuple(Ask(LANE, (conn, limit)) for conn in conns)
    return _listed(sorted(row for rows in answers for row in rows))


def done(fence: Fence, acked: Sequence[int], dead: Sequence[tuple[int, DeadLetter]]) -> Step[None]:
    """Take out what has left, and what never will."""
    gone = [*acked, *(seq for seq, _ in dead)]
    fenced, _, _ = yield (
        leases.check(fence),
        Ask(DONE, (Set("int", gone),)),
        house.bury([letter for _, letter in dead]),
    )
    leases.proven(fence, fenced)


def depth(conn: int) -> Step[tuple[int, int]]:
    """How many, and since when the oldest."""
    (((count, since),),) = yield (Ask(DEPTH, (conn,)) if conn else Ask(DEPTH_OF_ALL),)
    return int(count), int(since or 0)


def _listed(rows: Rows) -> list[OutboxRow]:
    return [
        OutboxRow(seq=seq, message_id=message_id, fact=fact, created_us=created_us)
        for seq, message_id, fact, created_us in rows
    ]
