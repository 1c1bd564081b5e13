"""Notices: what webhooks hint at, one row a record, until the record has been read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sales_crm_bridge.bells import bell_notices
from sales_crm_bridge.ledger import commands
from sales_crm_bridge.ledger.steps import Ask, Columns, Many, Ring, Step
from sales_crm_bridge.state import NoticeRow

if TYPE_CHECKING:
    from collections.abc import Sequence

COLUMNS = Columns("conn int, crm_id text, times int, since_us int")
TAKEN = Columns("conn int, crm_id text, times int")

HEAR = """
    INSERT INTO notices ({columns}) {values} ON CONFLICT (conn, crm_id) DO UPDATE SET times = notices.times + 1
"""
COUNT = "SELECT count(*) FROM notices WHERE conn = ?"
COLLAPSE = "DELETE FROM notices WHERE conn = ? AND crm_id <> ''"
OLDEST = "SELECT crm_id, times, since_us FROM notices WHERE conn = ? ORDER BY since_us, crm_id LIMIT ?"
FORGET = "DELETE FROM notices WHERE (conn, crm_id, times) IN (SELECT r.conn, r.crm_id, r.times FROM {rows})"


def hear(conn: int, crm_ids: Sequence[str], now_us: int, rows_max: int) -> Step[bool]:
    """Keep them, one row for each record; beyond ``rows_max`` rows they collapse into one about the whole. True: they did."""
    rows = [(conn, crm_id, 1, now_us) for crm_id in sorted(set(crm_ids))]
    # One delivery after the other, so that two cannot pass the limit together.
    _, _, ((count,),), _ = yield (
        commands.lock([conn]),
        keep(rows),
        Ask(COUNT, (conn,)),
        Ring(bell_notices(conn)),
    )
    if count <= rows_max:
        return False
    yield (Ask(COLLAPSE, (conn,)), keep([(conn, "", 1, now_us)]))
    return True


def keep(rows: Sequence[tuple[int, str, int, int]]) -> Many:
    """The work that keeps notices, given as (connection, record, 1, when)."""
    return Many(HEAR, COLUMNS, rows)


def oldest(conn: int, limit: int) -> Step[list[NoticeRow]]:
    """Those that wait longest."""
    (rows,) = yield (Ask(OLDEST, (conn, limit)),)
    return [NoticeRow(crm_id=crm_id, times=times, since_us=since_us) for crm_id, times, since_us in rows]


def forget(conn: int, read: Sequence[NoticeRow]) -> Many:
    """The work that forgets notices that were read; one that has come again since stays."""
    return Many(FORGET, TAKEN, [(conn, one.crm_id, one.times) for one in read])
