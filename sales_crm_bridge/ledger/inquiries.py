"""Inquiries: a process that does not hold an account's lease asks the one that does to read a lead in the CRM.

A row lives as long as somebody waits for it: it goes with its answer, or when its time is over, whoever comes first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sales_crm_bridge.bells import bell_answers, bell_inquiries
from sales_crm_bridge.ledger import leases
from sales_crm_bridge.ledger.steps import Ask, Columns, Many, Ring, Set, Step
from sales_crm_bridge.state import Answer, Inquiry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sales_crm_bridge.state import Fence

GIVEN = Columns("id text, answered_us int, code text, said text, answer bytes, retry_at_us int")

ASK = "INSERT INTO inquiries (id, conn, lead_id, asker, until_us) VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING"
OVER = "DELETE FROM inquiries WHERE until_us < ?"
OPEN = """
    SELECT id, conn, lead_id, asker, until_us FROM inquiries
    WHERE conn = ? AND answered_us = 0 AND until_us > ? ORDER BY until_us, id LIMIT ?
"""
GIVE = """
    UPDATE inquiries SET answered_us = r.answered_us, code = r.code, said = r.said, answer = r.answer, retry_at_us = r.retry_at_us
    FROM {rows} WHERE inquiries.id = r.id
"""
TAKE = "DELETE FROM inquiries WHERE id {in} AND answered_us > 0 RETURNING id, code, said, answer, retry_at_us"
DROP = "DELETE FROM inquiries WHERE id = ?"


def ask(inquiry: Inquiry, now_us: int) -> Step[None]:
    """Ask, and wake the holder of the account's lease."""
    yield (
        Ask(OVER, (now_us,)),
        Ask(ASK, (inquiry.id, inquiry.conn, inquiry.lead_id, inquiry.asker, inquiry.until_us)),
        Ring(bell_inquiries(inquiry.conn)),
    )


def unanswered(conn: int, now_us: int, limit: int) -> Step[list[Inquiry]]:
    """Those that somebody still waits for, the most urgent first."""
    (rows,) = yield (Ask(OPEN, (conn, now_us, limit)),)
    return [Inquiry(id=row[0], conn=row[1], lead_id=row[2], asker=row[3], until_us=row[4]) for row in rows]


def give(fence: Fence, answers: Sequence[Answer], now_us: int) -> Step[None]:
    """Answer; a row that has gone meanwhile is nobody's any more."""
    rows = [(one.id, now_us, one.code, one.said, one.lead, one.retry_at_us) for one in answers]
    bells = [Ring(bell_answers(asker)) for asker in sorted({one.asker for one in answers})]
    fenced, *_ = yield (leases.check(fence), Many(GIVE, GIVEN, rows), *bells)
    leases.proven(fence, fenced)


def take(ids: Sequence[str]) -> Step[dict[str, Answer]]:
    """Answers that are there; they are gone from the ledger then."""
    (rows,) = yield (Ask(TAKE, (Set("text", ids),)),)
    return {
        row[0]: Answer(id=row[0], asker="", code=row[1], said=row[2], lead=row[3] or b"", retry_at_us=row[4])
        for row in rows
    }


def drop(name: str) -> Step[None]:
    """Ask no longer."""
    yield (Ask(DROP, (name,)),)
