"""Keeping house: runs, gaps, dead letters, layouts, positions, and the end of what is no longer needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import astuple

from sales_crm_bridge.ledger import matches
from sales_crm_bridge.ledger.steps import Ask, Columns, Many, Step
from sales_crm_bridge.state import DeadLetter, Gap, Run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sales_crm_bridge.ledger.steps import Rows

# Each in the order of its struct's fields.
RUN = Columns(
    "conn int, feed text, number int, state text, started_us int, finished_us int, read int, changed int, unchanged int,"
    "removed int, stale int, code text"
)
GAP = Columns(
    "id text, conn int, feed text, from_us int, to_us int, cause text, opened_us int, closed_us int, told_us int,"
    "close_told_us int, closed_by text, closed_why text"
)
DEAD = Columns(
    "source text, tenant text, lead_id text, code text, message text, remedy text, key bytes, payload bytes, headers bytes,"
    "created_us int"
)

KEEP_RUNS = f"""
    INSERT INTO runs ({{columns}}) {{values}} ON CONFLICT (conn, feed, number)
    DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in RUN.names[3:])}
"""
KEEP_GAPS = """
    INSERT INTO gaps ({columns}) {values} ON CONFLICT (id)
    DO UPDATE SET told_us = excluded.told_us, close_told_us = excluded.close_told_us
"""
OPEN_GAPS = "INSERT INTO gaps ({columns}) {values} ON CONFLICT (id) DO NOTHING"
BURY = "INSERT INTO dead_letters ({columns}) {values} ON CONFLICT (source) DO NOTHING"
RUNNING = f"SELECT {RUN.listed} FROM runs WHERE conn = ? AND finished_us = 0 ORDER BY feed, number DESC LIMIT ?"  # noqa: S608
RUNS = f"SELECT {RUN.listed} FROM runs WHERE conn = ? ORDER BY started_us DESC, feed, number DESC LIMIT ?"  # noqa: S608
GAPS = f"SELECT {GAP.listed} FROM gaps WHERE closed_us = 0 AND conn = ? ORDER BY opened_us, id"  # noqa: S608
GAPS_UNTOLD = f"""
    SELECT {GAP.listed} FROM gaps
    WHERE conn = ? AND (told_us = 0 OR (closed_us > 0 AND close_told_us = 0)) ORDER BY opened_us, id
"""  # noqa: S608 - constants
GAPS_CLOSED = f"SELECT {GAP.listed} FROM gaps WHERE closed_us > 0 ORDER BY closed_us DESC, id LIMIT ?"  # noqa: S608 - constants
CLOSE_GAP = """
    UPDATE gaps SET closed_us = ?, closed_by = ?, closed_why = ? WHERE id = ? AND closed_us = 0 RETURNING id
"""
GAPS_OF_ALL = f"SELECT {GAP.listed} FROM gaps WHERE closed_us = 0 ORDER BY opened_us, id"  # noqa: S608
LAYOUT = "INSERT INTO layouts (names) VALUES (?) ON CONFLICT (names) DO NOTHING"

FORGET_COMMANDS = """
    DELETE FROM commands WHERE seq IN (
        SELECT seq FROM commands WHERE finished_us > 0 AND finished_us < ? ORDER BY finished_us LIMIT ?
    ) RETURNING seq
"""
FORGET_INBOX = """
    DELETE FROM inbox WHERE (tenant, message_id) IN (
        SELECT tenant, message_id FROM inbox WHERE taken_us < ? ORDER BY taken_us LIMIT ?
    ) RETURNING taken_us
"""
# The newest run of a feed stays, so that its numbers never begin again.
FORGET_RUNS = """
    DELETE FROM runs WHERE (conn, feed, number) IN (
        SELECT r.conn, r.feed, r.number FROM runs r
        WHERE r.finished_us > 0 AND r.finished_us < ?
            AND r.number < (SELECT max(n.number) FROM runs n WHERE n.conn = r.conn AND n.feed = r.feed)
        ORDER BY r.finished_us LIMIT ?
    ) RETURNING number
"""
FORGET_LETTERS = "DELETE FROM letters_closed WHERE closed_us < ?"
FORGET_GAPS = "DELETE FROM gaps WHERE closed_us > 0 AND closed_us < ? AND close_told_us > 0"
# Every process that ever ran has left a lease of its own; see ``leases.FLOOR``.
# What nobody waits for any more; an answer in it holds a lead, sealed.
FORGET_INQUIRIES = "DELETE FROM inquiries WHERE until_us < ?"
LOCK_FLOOR = "SELECT value FROM meta WHERE name = 'epoch_floor' {update}"
FORGET_LEASES = "DELETE FROM leases WHERE until_us < ? RETURNING epoch"
FORGET_REFUSALS = """
    DELETE FROM refusals WHERE since_us < ?
        AND NOT EXISTS (SELECT 1 FROM leases l WHERE l.name = 'process/' || refusals.holder)
"""
RAISE_FLOOR = "UPDATE meta SET value = ? WHERE name = 'epoch_floor' AND value < ?"


def keep_runs(runs: Sequence[Run]) -> Many:
    """The work that inserts or replaces runs."""
    return Many(KEEP_RUNS, RUN, list({run[:3]: run for run in map(astuple, runs)}.values()))


def keep_gaps(gaps: Sequence[Gap]) -> Many:
    """The work that inserts gaps, and of those that are known says what is told of them; nothing else of them changes."""
    return Many(KEEP_GAPS, GAP, list({gap.id: astuple(gap) for gap in gaps}.values()))


def open_gaps(gaps: Sequence[Gap]) -> Many:
    """The work that opens gaps; one that is known already stays as it is."""
    return Many(OPEN_GAPS, GAP, list(map(astuple, gaps)))


def bury(letters: Sequence[DeadLetter]) -> Many:
    """The work that keeps dead letters; a second one of the same source replaces nothing.

    A letter may be here for its unreadable names: PostgreSQL's texts cannot hold NUL, so it is shown as its symbol.
    """
    return Many(BURY, DEAD, [tuple(map(_storable, astuple(letter)[:-1])) for letter in letters])


def _storable(value: object) -> object:
    return value.replace("\0", "\u2400") if isinstance(value, str) else value


def runs(conn: int, limit: int, *, running: bool) -> Step[list[Run]]:
    """The newest first."""
    (rows,) = yield (Ask(RUNNING if running else RUNS, (conn, limit)),)
    return [Run(**dict(zip(RUN.names, row, strict=True))) for row in rows]


def listed_gaps(rows: Rows) -> list[Gap]:
    """The rows of ``GAP``."""
    return [Gap(**dict(zip(GAP.names, row, strict=True))) for row in rows]


def gaps(conn: int) -> Step[list[Gap]]:
    """Open ones, the oldest first."""
    (rows,) = yield (Ask(GAPS, (conn,)) if conn else Ask(GAPS_OF_ALL),)
    return listed_gaps(rows)


def gaps_untold(conn: int) -> Step[list[Gap]]:
    """Opened or closed, and no fact says so yet; the oldest first."""
    (rows,) = yield (Ask(GAPS_UNTOLD, (conn,)),)
    return listed_gaps(rows)


def gaps_closed(limit: int) -> Step[list[Gap]]:
    """The last ones first."""
    (rows,) = yield (Ask(GAPS_CLOSED, (limit,)),)
    return listed_gaps(rows)


def gap_close(name: str, who: str, why: str, now_us: int) -> Step[bool]:
    """Close it, if it is open."""
    (rows,) = yield (Ask(CLOSE_GAP, (now_us, who, why, name)),)
    return bool(rows)


def layouts() -> Step[dict[int, tuple[str, ...]]]:
    """All of them."""
    (rows,) = yield (Ask("SELECT layout, names FROM layouts ORDER BY layout"),)
    return {number: msgspec.json.decode(names, type=tuple[str, ...]) for number, names in rows}


def layout(names: tuple[str, ...]) -> Step[int]:
    """The number of one, made if new."""
    text = msgspec.json.encode(names).decode()
    _, ((number,),) = yield (Ask(LAYOUT, (text,)), Ask("SELECT layout FROM layouts WHERE names = ?", (text,)))
    return int(number)


def positions(conn: int) -> Step[dict[str, bytes]]:
    """By feed."""
    (rows,) = yield (Ask("SELECT feed, state FROM positions WHERE conn = ? ORDER BY feed", (conn,)),)
    return dict(rows)


def forget(
    finished_before_us: int, inbox_before_us: int, runs_before_us: int, limit: int, *, now_us: int = 0
) -> Step[int]:
    """Delete what is past its time, the oldest first.

    Closed gaps and dead processes' leases go with the runs, what is remembered of closed letters and ended matches with the
    commands.
    """
    yield (Ask(FORGET_INQUIRIES, (now_us,)),)
    (commands,) = yield (Ask(FORGET_COMMANDS, (finished_before_us, limit)),)
    gone = len(commands)
    (inbox,) = yield (Ask(FORGET_INBOX, (inbox_before_us, limit - gone)),)
    gone += len(inbox)
    yield (Ask(FORGET_LETTERS, (finished_before_us,)), Ask(matches.FORGET, (finished_before_us,)))
    runs, _, _, leases = yield (
        Ask(FORGET_RUNS, (runs_before_us, limit - gone)),
        Ask(FORGET_GAPS, (runs_before_us,)),
        Ask(LOCK_FLOOR),
        Ask(FORGET_LEASES, (runs_before_us,)),
    )
    if leases:
        floor = max(epoch for (epoch,) in leases)
        yield (Ask(RAISE_FLOOR, (floor, floor)), Ask(FORGET_REFUSALS, (runs_before_us,)))
    return gone + len(runs)
