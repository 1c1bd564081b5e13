"""Bindings, as they are read: by a page's records, by leads, by what a sweep did not see."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sales_crm_bridge.ledger.steps import Ask, Columns, Set, Step
from sales_crm_bridge.model import LeadState
from sales_crm_bridge.state import Binding

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

# In the order of the struct's fields: a row to write is the struct as a tuple.
COLUMNS = Columns(
    "conn int, lead_id text, crm_id text, state text, aggregate_version int, version text, modified_us int, known_us int,"
    "fingerprint bytes, layout int, fields bytes, sweep int, heirs bytes"
)

_B = COLUMNS.listed_of("b")
BY_CRM_ID = f"""
    SELECT {_B}, b.crm_id, 0 AS alias FROM bindings b WHERE b.conn = ? AND b.crm_id {{in}} AND b.crm_id <> ''
    UNION ALL
    SELECT {_B}, a.crm_id, 1 AS alias FROM aliases a JOIN bindings b ON b.conn = a.conn AND b.lead_id = a.lead_id
    WHERE a.conn = ? AND a.crm_id {{in}}
"""  # noqa: S608 - constants
BY_LEAD = f"SELECT {_B} FROM bindings b WHERE b.conn = ? AND b.lead_id {{in}}"  # noqa: S608
UNSEEN = f"""
    SELECT {_B} FROM bindings b
    WHERE b.conn = ? AND b.crm_id <> '' AND b.crm_id > ? AND b.state = 'live' AND b.sweep < ?
    ORDER BY b.crm_id LIMIT ?
"""  # noqa: S608 - constants

BOUND = """
    SELECT b.lead_id, b.crm_id, b.state FROM bindings b
    WHERE b.conn = ? AND b.lead_id > ? AND b.crm_id <> '' ORDER BY b.lead_id LIMIT ?
"""

_STATES = {state.value: state for state in LeadState}


def by_crm_id(conn: int, crm_ids: Sequence[str]) -> Step[dict[str, Binding]]:
    """By record id, in the order asked for; a record's own binding counts before an alias of another one's."""
    some = Set("text", crm_ids)
    (rows,) = yield (Ask(BY_CRM_ID, (conn, some, conn, some)),)
    found = {row[13]: row for row in rows if row[14]}
    found.update((row[13], row) for row in rows if not row[14])
    return {crm_id: _binding(found[crm_id]) for crm_id in crm_ids if crm_id in found}


def by_lead(conn: int, lead_ids: Sequence[str]) -> Step[dict[str, Binding]]:
    """By lead, in the order asked for."""
    (rows,) = yield (Ask(BY_LEAD, (conn, Set("text", lead_ids))),)
    found = {row[1]: row for row in rows}
    return {lead_id: _binding(found[lead_id]) for lead_id in lead_ids if lead_id in found}


def unseen(conn: int, sweep: int, after: str, limit: int) -> Step[list[Binding]]:
    """Live ones that no sweep saw since ``sweep`` began, the next ``limit``."""
    (rows,) = yield (Ask(UNSEEN, (conn, after, sweep, limit)),)
    return [_binding(row) for row in rows]


def bound(conn: int, after: str, limit: int) -> Step[list[tuple[str, str, LeadState]]]:
    """Those that have a record, by lead."""
    (rows,) = yield (Ask(BOUND, (conn, after, limit)),)
    return [(lead_id, crm_id, _STATES[state]) for lead_id, crm_id, state in rows]


def _binding(row: tuple[Any, ...]) -> Binding:
    return Binding(
        conn=row[0],
        lead_id=row[1],
        crm_id=row[2],
        state=_STATES[row[3]],
        aggregate_version=row[4],
        version=row[5],
        modified_us=row[6],
        known_us=row[7],
        fingerprint=row[8],
        layout=row[9],
        fields=row[10],
        sweep=row[11],
        heirs=row[12],
    )
