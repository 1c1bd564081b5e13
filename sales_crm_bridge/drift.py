"""What the ledger keeps of a CRM's fields that no longer fit the tenant's mapping, as values. See ``warden`` for the work on it."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sales_crm_bridge.state import Commit


class Cause(enum.StrEnum):
    """Why a field is quarantined: the CRM has it no more, it is of another kind, or one of its values is gone."""

    GONE = "field-gone"
    RETYPED = "field-retyped"
    OPTION = "option-gone"


class Quarantine(msgspec.Struct, frozen=True, kw_only=True):
    """A field of the mapping that is held: neither read nor written since ``opened_us``, until ``closed_us`` (0: it still is).

    ``slot``: its name as in ``Mapping``; ``value`` "": the whole field, else the one value of the CRM's that is gone. ``field``:
    the Sales field, ``crm_field``: the CRM's own name of what is amiss. ``said``: the same for people; ``file``, ``line``,
    ``column``: where the tenant's file maps it. ``reread_us``: since when everything has been read again after it was closed (0: it
    has not). ``heir``: the slot from which a mended mapping reads the Sales field now ("": the same).
    """

    conn: int
    slot: str
    cause: Cause
    value: str
    field: str
    crm_field: str
    said: str
    file: str
    line: int
    column: int
    opened_us: int
    closed_us: int = 0
    reread_us: int = 0
    heir: str = ""

    @property
    def key(self) -> tuple[str, Cause, str]:
        """What there is one of in a connection."""
        return (self.slot, self.cause, self.value)

    @property
    def is_open(self) -> bool:
        """Whether the field is held."""
        return not self.closed_us


class Kinds(msgspec.Struct, frozen=True, kw_only=True):
    """Of which kind the CRM's fields were when mapping ``mapping`` (its version) met them first: name → the CRM's word."""

    conn: int
    mapping: str
    kinds: Mapping[str, str]


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    """One step about quarantines, taken whole or not at all: ``commit`` with rows of quarantines, kinds, and held commands.

    ``held``: command → which of its fields wait (see ``policy.holding``); its state is told by a change in ``commit``.
    """

    commit: Commit
    quarantines: Sequence[Quarantine] = ()
    kinds: Kinds | None = None
    held: Mapping[int, str] = msgspec.field(default_factory=dict)


class Drifted(msgspec.Struct, frozen=True, kw_only=True):
    """A part of the census: open quarantines, the oldest first, and how many commands wait for them, by connection."""

    quarantines: Sequence[Quarantine] = ()
    held: Mapping[int, int] = msgspec.field(default_factory=dict)
