"""What people do in HubSpot's own pages; the API never hears of it, except by looking."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sales_crm_bridge.sandbox.hubspot.kinds import KINDS
from sales_crm_bridge.sandbox.hubspot.records import Source

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sales_crm_bridge.sandbox.hubspot.crm import Crm
    from sales_crm_bridge.sandbox.hubspot.links import Link
    from sales_crm_bridge.sandbox.hubspot.records import Record


class Person:
    """A colleague with every right. Ids are text, as everywhere outside; each method raises what the page would show as an error.

    ``LookupError``: no such record. ``Refusal``: the same rules that bind the API (values, unique properties, required fields).
    """

    def __init__(self, crm: Crm, user_id: int = 1077) -> None:
        self._crm = crm
        self._source = Source("CRM_UI", f"userId:{user_id}")

    def create(self, object_type: str, properties: Mapping[str, str], links: Sequence[Link] = ()) -> str:
        """Create a record and give its id."""
        crm = self._crm
        return str(crm.create(crm.plan_create(KINDS[object_type], properties, links), self._source).id)

    def edit(self, record_id: str, properties: Mapping[str, str]) -> None:
        """Change a record; "" clears."""
        record = self._find(record_id)
        self._crm.update(record, self._crm.plan_update(record, properties), self._source)

    def change_owner(self, record_id: str, owner_id: str) -> None:
        """Hand a record to another colleague."""
        self.edit(record_id, {"hubspot_owner_id": owner_id})

    def delete(self, record_id: str) -> None:
        """Move a record to the bin."""
        self._crm.archive(self._find(record_id), self._source)

    def restore(self, record_id: str) -> None:
        """Bring a record back from the bin, within 90 days."""
        self._crm.purge()
        record = self._crm.find(int(record_id))
        if record is None or record.archived_ms is None:
            raise LookupError(f"{record_id} is not in the bin")
        self._crm.restore(record, self._source)

    def merge(self, primary_id: str, other_id: str) -> str:
        """Merge the second record into the first, and give the survivor's id."""
        return str(self._crm.merge(self._find(primary_id), self._find(other_id), self._source).id)

    def erase(self, record_id: str) -> None:
        """Delete a contact for good, alive or in the bin."""
        record = self._crm.find(int(record_id))
        if record is None:
            raise LookupError(f"no record {record_id}")
        self._crm.erase(record, self._source)

    def lock(self, record_ids: Iterable[str], seconds: float) -> None:
        """Start bulk work on records: the API's writes to them are answered 423 for so long."""
        until = self._crm.now_ms + round(seconds * 1000)
        for record_id in record_ids:
            self._find(record_id).locked_until_ms = until

    def _find(self, record_id: str) -> Record:
        record = self._crm.find(int(record_id))
        if record is None or record.archived_ms is not None:
            raise LookupError(f"no record {record_id}")
        return record
