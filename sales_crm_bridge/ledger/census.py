"""The census: how everything stands, in one look that reads no message and no lead."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sales_crm_bridge.ledger import commands, drifts, house, leases, matches, tenants
from sales_crm_bridge.ledger.steps import Ask, Columns, Many, Step
from sales_crm_bridge.state import (
    Census,
    ConnectionRow,
    Glance,
    Lease,
    LetterCount,
    Refusal,
    Standing,
    Waiting,
    lease_name,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sales_crm_bridge.ledger.steps import Rows
    from sales_crm_bridge.state import Fence

REFUSAL = Columns("holder text, number int, since_us int, code text, place text, message text, remedy text")

OUTBOX = "SELECT conn, count(*), min(created_us) FROM outbox GROUP BY conn ORDER BY conn"
NOTICES = "SELECT conn, count(*), min(since_us) FROM notices GROUP BY conn ORDER BY conn"
POSITIONS = "SELECT conn, feed, state FROM positions ORDER BY conn, feed"
LETTERS = """
    SELECT g.tenant, g.code, g.number, g.since_us, d.message, d.remedy FROM (
        SELECT tenant, code, count(*) AS number, min(created_us) AS since_us, max(id) AS newest
        FROM dead_letters GROUP BY tenant, code
    ) AS g JOIN dead_letters d ON d.id = g.newest ORDER BY g.tenant, g.code
"""
GLANCES = "SELECT conn, at_us, state FROM glances ORDER BY conn"
REFUSALS = f"SELECT {REFUSAL.listed} FROM refusals ORDER BY place, code, holder, number"  # noqa: S608 - constants
TENANTS = "SELECT tenant FROM tenants ORDER BY tenant"

GLANCE = """
    INSERT INTO glances (conn, at_us, state) VALUES (?, ?, ?)
    ON CONFLICT (conn) DO UPDATE SET at_us = excluded.at_us, state = excluded.state
"""
UNREFUSE = "DELETE FROM refusals WHERE holder = ?"
REFUSE = "INSERT INTO refusals ({columns}) {values}"


def take() -> Step[Census]:
    """Count and list."""
    answers = yield (
        Ask(tenants.CONNECTIONS),
        Ask(tenants.LEFT),
        Ask(TENANTS),
        Ask(leases.EVERY),
        Ask(commands.COUNT_OPEN),
        Ask(commands.COUNT_UNKNOWN),
        Ask(commands.COUNT_PARKED),
        Ask(OUTBOX),
        Ask(NOTICES),
        Ask(matches.WAITING),
        Ask(POSITIONS),
        Ask(LETTERS),
        Ask(house.GAPS_OF_ALL),
        Ask(GLANCES),
        Ask(REFUSALS),
        Ask(drifts.OPEN),
        Ask(drifts.COUNT_HELD),
    )
    connections, left, names, held, waiting, unknown, parked, outbox, notices, *seen = answers
    held_up, positions, letters, gaps, glances, refusals, quarantines, parts = seen
    feeds: dict[int, dict[str, bytes]] = {}
    for conn, feed, state in positions:
        feeds.setdefault(conn, {})[feed] = state
    return Census(
        connections=[ConnectionRow(**dict(zip(tenants.CONNECTION.names, row, strict=True))) for row in connections],
        left=[
            ConnectionRow(conn=row[0], tenant=row[1], name=row[2], adapter=row[3], account=row[4], since_us=row[5])
            for row in left
        ],
        tenants=[name for (name,) in names],
        leases=[Lease(name=row[0], holder=row[1], epoch=row[2], until_us=row[3]) for row in held],
        commands={count.conn: count for count in commands.counted(waiting, unknown, parked)},
        outbox=_waiting(outbox),
        notices=_waiting(notices),
        matches=_waiting(held_up),
        positions=feeds,
        letters=[LetterCount(*row) for row in letters],
        gaps=house.listed_gaps(gaps),
        glances={row[0]: Glance(conn=row[0], at_us=row[1], state=row[2]) for row in glances},
        refusals=[Refusal(**dict(zip(REFUSAL.names, row, strict=True))) for row in refusals],
        quarantines=drifts.listed(quarantines),
        held=dict(parts),
    )


def standing(conn: int) -> Step[Standing | None]:
    """One connection of a tenant in force, its lease and its glance; None: there is none."""
    rows, held, seen = yield (Ask(tenants.CONNECTIONS), Ask(leases.EVERY), Ask(GLANCES))
    found = [ConnectionRow(**dict(zip(tenants.CONNECTION.names, row, strict=True))) for row in rows if row[0] == conn]
    if not found:
        return None
    name = lease_name(found[0].tenant, found[0].name)
    kept = [Lease(name=row[0], holder=row[1], epoch=row[2], until_us=row[3]) for row in held if row[0] == name]
    glances = [Glance(conn=row[0], at_us=row[1], state=row[2]) for row in seen if row[0] == conn]
    return Standing(row=found[0], lease=next(iter(kept), None), glance=next(iter(glances), None))


def glance(fence: Fence, seen: Glance) -> Step[None]:
    """Keep how the holder finds its CRM."""
    fenced, _ = yield (leases.check(fence), Ask(GLANCE, (seen.conn, seen.at_us, seen.state)))
    leases.proven(fence, fenced)


def refuse(holder: str, refusals: Sequence[Refusal]) -> Step[None]:
    """Replace what ``holder`` refuses."""
    rows = [
        (holder, number, one.since_us, one.code, one.place, one.message, one.remedy)
        for number, one in enumerate(refusals)
    ]
    yield (Ask(UNREFUSE, (holder,)), Many(REFUSE, REFUSAL, rows))


def _waiting(rows: Rows) -> dict[int, Waiting]:
    return {conn: Waiting(number=number, since_us=since_us) for conn, number, since_us in rows}
