"""The commit: everything that one step of push or pull decided, as one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import astuple

from sales_crm_bridge.bells import BELL_OUTBOX
from sales_crm_bridge.ledger import bindings, commands, house, leases, matches, notices, outbox
from sales_crm_bridge.ledger.steps import Ask, Columns, Many, Ring, Set, Step
from sales_crm_bridge.state import CommandState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sales_crm_bridge.ledger.steps import Work
    from sales_crm_bridge.state import CommandChange, Commit, Fence

CHANGE = Columns(
    "conn int, seq int, state text, attempt int, waits int, not_before_us int, reason text, finished_us int, open int, final int"
)
ALIAS = Columns("conn int, crm_id text, lead_id text")
POSITION = Columns("conn int, feed text, state bytes")

FREE = "UPDATE bindings SET crm_id = '' WHERE conn = ? AND lead_id {in} AND crm_id <> ''"
BIND = f"""
    INSERT INTO bindings ({{columns}}) {{values}} ON CONFLICT (conn, lead_id)
    DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in bindings.COLUMNS.names[2:])}
"""
CALL_ALSO = """
    INSERT INTO aliases ({columns}) {values} ON CONFLICT (conn, crm_id) DO UPDATE SET lead_id = excluded.lead_id
"""
SEEN = "UPDATE bindings SET sweep = ? WHERE conn = ? AND crm_id {in} AND crm_id <> '' AND sweep < ?"
# A final state empties the payload: nothing personal stays once the work is done.
CHANGED = """
    UPDATE commands SET state = r.state, attempt = r.attempt, waits = r.waits, not_before_us = r.not_before_us,
        reason = r.reason, finished_us = r.finished_us, open = r.open,
        head = CASE WHEN r.open = 1 THEN commands.head ELSE 0 END,
        payload = CASE WHEN r.final = 1 THEN substr(commands.payload, 1, 0) ELSE commands.payload END
    FROM {rows} WHERE commands.seq = r.seq AND commands.conn = r.conn AND commands.state NOT IN ('done', 'refused')
"""
STAND = """
    INSERT INTO positions ({columns}) {values} ON CONFLICT (conn, feed) DO UPDATE SET state = excluded.state
"""
FACTS = "UPDATE connections SET facts = ? WHERE conn = ?"

_OPEN = frozenset({CommandState.PENDING, CommandState.SENDING, CommandState.UNKNOWN})
_FINAL = frozenset({CommandState.DONE, CommandState.REFUSED})


def commit(fence: Fence, done: Commit, *, free_first: bool) -> Step[None]:
    """Write it all. ``free_first``: let go of every CRM id that the commit's leads hold before any of them is bound anew.

    That costs a statement which only commits need that move an id from one lead to another, so it is done when the unique index
    has refused the commit without it (``Collision``).
    """
    conn = done.conn
    work: list[Work] = [leases.check(fence)]
    if done.bindings:
        rows = {binding.lead_id: astuple(binding) for binding in done.bindings}  # of two for one lead, the later
        if free_first:
            work.append(Ask(FREE, (conn, Set("text", list(rows)))))
        work.append(Many(BIND, bindings.COLUMNS, list(rows.values())))
    if done.aliases:
        aliases = {crm_id: (conn, crm_id, lead_id) for crm_id, lead_id in done.aliases}
        work.append(Many(CALL_ALSO, ALIAS, list(aliases.values())))
    sweep, seen = done.seen
    if seen:
        work.append(Ask(SEEN, (sweep, conn, Set("text", seen), sweep)))
    if done.commands:
        work += _changes(conn, done.commands)
    work += matches.keep(conn, done.matches)  # under the lock of the commands that they come with
    if done.outbox:
        work += [outbox.put(conn, done.outbox), Ring(BELL_OUTBOX)]
    if done.positions:
        places = [(conn, feed, state) for feed, state in sorted(done.positions.items())]
        work.append(Many(STAND, POSITION, places))
    if done.facts is not None:
        work.append(Ask(FACTS, (done.facts, conn)))
    if done.noticed:  # after the connection's row: in the order in which a delivery locks them
        work.append(notices.forget(conn, done.noticed))
    work += [house.bury(done.dead), house.keep_runs(done.runs), house.keep_gaps(done.gaps)]
    fenced, *_ = yield tuple(work)
    leases.proven(fence, fenced)


def _changes(conn: int, changes: Sequence[CommandChange]) -> list[Work]:
    """The commands' new states, and then who is the head of each lead: see ``commands``."""
    rows = [
        (
            conn,
            change.seq,
            change.state.value,
            change.attempt,
            change.waits,
            change.not_before_us,
            change.reason,
            change.finished_us,
            int(change.state in _OPEN),
            int(change.state in _FINAL),
        )
        for change in changes
    ]
    seqs = Set("int", [change.seq for change in changes])
    work: list[Work] = [commands.lock([conn]), Many(CHANGED, CHANGE, rows)]
    if any(change.state in _OPEN for change in changes):
        work.append(Ask(commands.UNSEAT, (seqs,)))
    work.append(Ask(commands.CROWN_NEXT, (seqs,)))
    return work
