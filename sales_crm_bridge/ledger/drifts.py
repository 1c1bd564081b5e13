"""Quarantines, the kinds of fields, and commands that are held: written by whoever holds the account's lease."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import astuple

from sales_crm_bridge.bells import bell_commands
from sales_crm_bridge.drift import Cause, Kinds, Quarantine
from sales_crm_bridge.ledger import commands, commits
from sales_crm_bridge.ledger.steps import Ask, Columns, Many, Ring, Set, Step

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sales_crm_bridge.drift import Drift
    from sales_crm_bridge.ledger.steps import Rows, Work
    from sales_crm_bridge.state import Command, Fence

# In the order of the struct's fields.
QUARANTINE = Columns(
    "conn int, slot text, cause text, value text, field text, crm_field text, said text, file text, line int, col int,"
    "opened_us int, closed_us int, reread_us int, heir text"
)
MARK = Columns("conn int, seq int, held text")

_SELECT = f"SELECT {QUARANTINE.listed} FROM quarantines"  # noqa: S608 - constants
OF_CONN = f"{_SELECT} WHERE conn = ? ORDER BY opened_us, slot, cause, value"
OPEN = f"{_SELECT} WHERE closed_us = 0 ORDER BY opened_us, conn, slot, cause, value"
KEEP = f"""
    INSERT INTO quarantines ({{columns}}) {{values}} ON CONFLICT (conn, slot, cause, value)
    DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in QUARANTINE.names[4:])}
"""
KINDS = "SELECT mapping, kinds FROM field_kinds WHERE conn = ?"
KEEP_KINDS = """
    INSERT INTO field_kinds (conn, mapping, kinds) VALUES (?, ?, ?)
    ON CONFLICT (conn) DO UPDATE SET mapping = excluded.mapping, kinds = excluded.kinds
"""
MARKED = "UPDATE commands SET held = r.held FROM {rows} WHERE commands.seq = r.seq AND commands.conn = r.conn"
HELD = f"""
    SELECT {commands.COMMAND} FROM commands WHERE conn = ? AND state = 'held' AND seq > ? ORDER BY seq LIMIT ?
"""  # noqa: S608 - constants
HELD_OF = f"""
    SELECT {commands.COMMAND} FROM commands WHERE conn = ? AND state = 'held' AND lead_id {{in}} ORDER BY seq
"""  # noqa: S608 - constants
COUNT_HELD = "SELECT conn, count(*) FROM commands WHERE state = 'held' GROUP BY conn ORDER BY conn"


def drift(fence: Fence, done: Drift, *, free_first: bool) -> Step[None]:
    """Commit, and with it what is said of fields and held commands."""
    yield from commits.commit(fence, done.commit, free_first=free_first)
    conn = done.commit.conn
    work: list[Work] = [
        Many(KEEP, QUARANTINE, [(*one[:2], one[2].value, *one[3:]) for one in map(astuple, done.quarantines)]),
        Many(MARKED, MARK, [(conn, seq, held) for seq, held in sorted(done.held.items())]),
    ]
    if done.kinds is not None:
        kinds = msgspec.json.encode(done.kinds.kinds, order="sorted").decode()
        work.append(Ask(KEEP_KINDS, (conn, done.kinds.mapping, kinds)))
    if done.commit.commands:
        work.append(Ring(bell_commands(conn)))
    yield tuple(work)


def of_conn(conn: int) -> Step[list[Quarantine]]:
    """Every row of a connection."""
    (rows,) = yield (Ask(OF_CONN, (conn,)),)
    return listed(rows)


def kinds(conn: int) -> Step[Kinds | None]:
    """What is kept."""
    (rows,) = yield (Ask(KINDS, (conn,)),)
    found = [Kinds(conn=conn, mapping=row[0], kinds=msgspec.json.decode(row[1], type=dict[str, str])) for row in rows]
    return next(iter(found), None)


def held(conn: int, after: int, limit: int) -> Step[list[Command]]:
    """Held commands above a number."""
    (rows,) = yield (Ask(HELD, (conn, after, limit)),)
    return commands.listed(rows)


def held_of(conn: int, lead_ids: Sequence[str]) -> Step[list[Command]]:
    """Held commands of some leads."""
    (rows,) = yield (Ask(HELD_OF, (conn, Set("text", lead_ids))),)
    return commands.listed(rows)


def listed(rows: Rows) -> list[Quarantine]:
    """The rows of ``QUARANTINE``."""
    names = Quarantine.__struct_fields__
    found = [dict(zip(names, row, strict=True)) for row in rows]
    return [Quarantine(**{**one, "cause": Cause(one["cause"])}) for one in found]
