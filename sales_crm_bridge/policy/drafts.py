"""What a look at a record makes worth telling, before it is a fact."""

from __future__ import annotations

import enum

import msgspec

from sales_crm_bridge.model import Record


class Why(enum.StrEnum):
    """Why a lead's snapshot is worth a fact."""

    IMPORTED = "imported"
    CREATED = "created"
    CHANGED = "changed"
    MERGED = "merged"


class How(enum.StrEnum):
    """How a lead's record left the CRM's list."""

    ARCHIVED = "archived"
    MERGED = "merged"
    GONE = "gone"


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """A lead is new, or changed in these Sales fields; ``record`` is how it now is, but for the slots that are ``held``."""

    lead_id: str
    version: int
    why: Why
    changed: tuple[str, ...]
    record: Record
    occurred_us: int
    held: frozenset[int] = frozenset()


class Removed(msgspec.Struct, frozen=True, kw_only=True):
    """A lead's record is no longer there; ``into``: (crm id, lead id) of what it was merged into."""

    lead_id: str
    version: int
    how: How
    crm_id: str
    into: tuple[str, str]
    occurred_us: int


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """A removed lead is back; ``held`` as above."""

    lead_id: str
    version: int
    record: Record
    occurred_us: int
    held: frozenset[int] = frozenset()


class Converted(msgspec.Struct, frozen=True, kw_only=True):
    """A lead became something else in the CRM."""

    lead_id: str
    version: int
    record: Record
    occurred_us: int


Draft = Observed | Removed | Restored | Converted
