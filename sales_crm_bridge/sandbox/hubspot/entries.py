"""What is noted of a write: for whoever checks, and for webhooks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from sales_crm_bridge.sandbox.hubspot.kinds import Kind
from sales_crm_bridge.sandbox.hubspot.records import Source

if TYPE_CHECKING:
    from collections.abc import Mapping


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One committed write. ``source``: ``INTEGRATION`` or ``CRM_UI``; ``request``: the correlation id of the API call behind it."""

    seq: int
    at_ms: int
    operation: str
    object_type: str
    record_id: str
    changes: Mapping[str, str]
    source: str
    request: str
    trace: str


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """What a webhook may tell of a write.

    ``what``: creation, propertyChange, deletion, merge, restore, privacyDeletion. Of a merge, ``object_id`` is the primary, and
    ``value`` the number of properties that were moved.
    """

    what: str
    kind: Kind
    object_id: int
    at_ms: int
    source: Source
    name: str = ""
    value: str = ""
    merged: tuple[int, ...] = ()
    survivor: int = 0
