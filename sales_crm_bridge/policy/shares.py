"""Whose calls of the day are whose: commands before changes, changes before audits, audits before first imports.

The reserve is the part of the account's other programs, and none of our work touches it. Of the rest each kind of work leaves a
part to what is more urgent, all day long: a first import can take no call that the day's commands and changes will need.
"""

from __future__ import annotations

LEAVES = {"push": 0.0, "check": 0.0, "pull": 0.1, "audit": 0.3, "backfill": 0.4}
"""Purpose → the part of the day's calls, beyond the reserve, that it leaves to more urgent work."""

WORK = {"push": "commands", "check": "the sign-in", "pull": "changes", "audit": "audits", "backfill": "first imports"}
"""Purpose → what people call it."""


def kept(purpose: str, per_day: int, reserve: int) -> int:
    """Calls of the day's ``per_day`` that ``purpose`` may not use, the ``reserve`` among them."""
    return reserve + int(LEAVES[purpose] * max(0, per_day - reserve))


def stands_at(purpose: str, used: int, per_day: int, reserve: int) -> str:
    """Why there is no call left for ``purpose``, in words."""
    share = kept(purpose, per_day, reserve) - reserve
    text = f"{used} of {per_day} calls of the day are used"
    if reserve:
        text += f", {reserve} are kept for the account's other programs"
    if share:
        text += f", {share} for what is more urgent than {WORK[purpose]}"
    return text
