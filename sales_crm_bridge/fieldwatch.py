"""What is known at a desk of the CRM's fields: shared by the warden, who finds it out, and by those who read and write."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sales_crm_bridge.drift import Quarantine
    from sales_crm_bridge.model import FieldDefinition


@dataclass(slots=True)
class FieldWatch:
    """The fields as they were ``described`` last, asked for at ``described_us`` (our clock); None: not yet.

    ``wanted``: something has happened that only a new description explains. ``rows``: every quarantine that there is or was; they
    change under the lock of the books. ``holding``: commands may be held.
    """

    described: Mapping[str, FieldDefinition] | None = None
    described_us: int = 0
    wanted: bool = False
    rows: tuple[Quarantine, ...] = ()
    holding: bool = False

    def learn(self, fields: Mapping[str, FieldDefinition], asked_us: int) -> None:
        """The CRM has described its fields."""
        self.described, self.described_us, self.wanted = fields, asked_us, False

    @property
    def open(self) -> list[Quarantine]:
        """The quarantines that hold now."""
        return [row for row in self.rows if row.is_open]
