"""The names of the bells by which one process wakes another: see ``ports.Ledger.wait``."""

from __future__ import annotations

BELL_OUTBOX = "outbox"
"""Rung by every commit that brings facts."""


def bell_commands(conn: int) -> str:
    """The bell that is rung when connection ``conn`` has new commands."""
    return f"commands/{conn}"


def bell_inquiries(conn: int) -> str:
    """The bell that is rung when somebody wants a lead of connection ``conn`` to be read."""
    return f"inquiries/{conn}"


def bell_answers(asker: str) -> str:
    """The bell that is rung when an inquiry of ``asker`` has been answered."""
    return f"answers/{asker}"


def bell_notices(conn: int) -> str:
    """The bell that is rung when connection ``conn`` has new notices."""
    return f"notices/{conn}"
