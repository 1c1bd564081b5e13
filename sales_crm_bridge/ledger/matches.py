"""Matches: proposed with a parked create, decided by a person, carried out by whoever holds the account's lease."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import astuple

from sales_crm_bridge.ledger.steps import Ask, Columns, Many, Set, Step
from sales_crm_bridge.state import Match, MatchState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sales_crm_bridge.ledger.steps import Rows, Work

# In the order of the struct's fields.
MATCH = Columns(
    "conn int, tenant text, lead_id text, crm_id text, state text, seq int, ground text, since_us int, decided_us int,"
    "who text, why text, ended_us int"
)
MARK = Columns("conn int, seq int, matched text")

_SELECT = f"SELECT {MATCH.listed}, id FROM matches"  # noqa: S608 - constants
LIST = f"{_SELECT} WHERE id > ? AND (? = '' OR tenant = ?) AND state = 'proposed' ORDER BY id LIMIT ?"
DECIDED = f"{_SELECT} WHERE (? = '' OR tenant = ?) AND state <> 'proposed' ORDER BY decided_us DESC, id DESC LIMIT ?"
NAMED = f"{_SELECT} WHERE id {{in}} ORDER BY id"
OF_LEADS = f"""
    {_SELECT} WHERE conn = ? AND lead_id {{in}} AND state IN ('accepted', 'refused') ORDER BY decided_us, id
"""
WAITING = "SELECT conn, count(*), min(since_us) FROM matches WHERE state = 'proposed' GROUP BY conn ORDER BY conn"

KEEP = f"""
    INSERT INTO matches ({{columns}}) {{values}} ON CONFLICT (conn, lead_id, crm_id)
    DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in MATCH.names[4:])} WHERE matches.state <> 'refused'
"""
MARKED = "UPDATE commands SET matched = r.matched FROM {rows} WHERE commands.seq = r.seq AND commands.conn = r.conn"
DECIDE = """
    UPDATE matches SET state = ?, who = ?, why = ?, decided_us = ?, ended_us = ? WHERE seq {in} AND state = 'proposed'
"""
# The command is over, so what was accepted for it is too.
GIVE_UP = "UPDATE matches SET state = 'withdrawn', ended_us = ? WHERE seq {in} AND state = 'accepted'"
FORGET = "DELETE FROM matches WHERE state IN ('bound', 'withdrawn') AND ended_us < ?"


def keep(conn: int, matches: Sequence[Match]) -> list[Work]:
    """The work that inserts or replaces matches, and tells their commands. A refused one stays as it is."""
    rows = {match.crm_id + "\0" + match.lead_id: (*astuple(match)[:-1],) for match in matches}
    bound = MatchState.BOUND
    marks = {match.seq: (conn, match.seq, bound.value if match.state is bound else "") for match in matches}
    return [Many(KEEP, MATCH, list(rows.values())), Many(MARKED, MARK, list(marks.values()))]


def decide(state: MatchState, who: str, why: str, now_us: int, seqs: Sequence[int]) -> Ask:
    """The work that decides the proposed matches of these commands."""
    ended_us = 0 if state is MatchState.ACCEPTED else now_us
    return Ask(DECIDE, (state.value, who, why, now_us, ended_us, Set("int", seqs)))


def give_up(now_us: int, seqs: Sequence[int]) -> Ask:
    """The work that withdraws the accepted matches of these commands."""
    return Ask(GIVE_UP, (now_us, Set("int", seqs)))


def proposed(tenant: str, after: int, limit: int) -> Step[list[Match]]:
    """The oldest first."""
    (rows,) = yield (Ask(LIST, (after, tenant, tenant, limit)),)
    return _listed(rows)


def decided(tenant: str, limit: int) -> Step[list[Match]]:
    """The last ones first."""
    (rows,) = yield (Ask(DECIDED, (tenant, tenant, limit)),)
    return _listed(rows)


def named(ids: Sequence[int]) -> Step[list[Match]]:
    """Those that there are."""
    (rows,) = yield (Ask(NAMED, (Set("int", ids),)),)
    return _listed(rows)


def of_leads(conn: int, lead_ids: Sequence[str]) -> Step[list[Match]]:
    """What a person has decided of these leads and is not carried out, and what she has refused."""
    (rows,) = yield (Ask(OF_LEADS, (conn, Set("text", lead_ids))),)
    return _listed(rows)


def _listed(rows: Rows) -> list[Match]:
    names = (*MATCH.names, "id")
    found = [dict(zip(names, row, strict=True)) for row in rows]
    return [Match(**{**one, "state": MatchState(one["state"])}) for one in found]
