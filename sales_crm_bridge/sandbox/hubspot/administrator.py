"""What an administrator does to an account's properties in HubSpot's settings, and what becomes of the values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from sales_crm_bridge.sandbox.hubspot.definitions import Option
from sales_crm_bridge.sandbox.hubspot.kinds import KINDS
from sales_crm_bridge.sandbox.hubspot.records import Source, Version
from sales_crm_bridge.sandbox.hubspot.times import iso

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sales_crm_bridge.sandbox.hubspot.crm import Crm
    from sales_crm_bridge.sandbox.hubspot.definitions import Definition
    from sales_crm_bridge.sandbox.hubspot.records import Record

_FIELD_TYPES = {"string": "text", "number": "number", "enumeration": "select", "bool": "booleancheckbox"}


class Administrator:
    """Somebody with every right in the settings. Names are those of the API; ``Refusal`` and ``KeyError`` as there.

    A change of a definition moves no record's modified time. That values which do not fit a new type are empty as long as it
    lasts, and back with the old one, is general knowledge; so is that an option's values stay in the records when it is removed.
    """

    def __init__(self, crm: Crm, user_id: int = 1001) -> None:
        self._crm = crm
        self._source = Source("CRM_UI", f"userId:{user_id}")
        self._aside: dict[tuple[str, str], dict[int, str]] = {}

    def archive(self, kind: str, name: str) -> None:
        """Put a property away; the values stay, out of sight."""
        self._crm.schema.archive(kind, name, self._crm.now_ms)

    def restore(self, kind: str, name: str) -> None:
        """Bring it back, with its values."""
        self._crm.schema.unarchive(kind, name)

    def rename(self, kind: str, old: str, new: str) -> None:
        """What people call it: a new property is defined, all values are copied into it, and the old one is put away.

        HubSpot lets nobody change a property's internal name. The copying is bulk work, so it moves the modified times.
        """
        crm = self._crm
        definition = crm.schema.properties[kind][old]
        now = iso(crm.now_ms)
        crm.define(
            KINDS[kind],
            msgspec.structs.replace(definition, name=new, created_at=now, updated_at=now, has_unique_value=False),
        )
        for record in self._records(kind):
            if value := record.props.get(old):
                crm.update(record, {new: value}, self._source)
        self.archive(kind, old)

    def retype(self, kind: str, name: str, new_type: str) -> None:
        """Make a property one of another type."""
        crm = self._crm
        definition = crm.schema.properties[kind][name]
        changed = msgspec.structs.replace(
            definition, type=new_type, field_type=_FIELD_TYPES[new_type], updated_at=iso(crm.now_ms)
        )
        crm.schema.replace(kind, changed)
        aside = self._aside.setdefault((kind, name), {})
        for record in self._records(kind):
            value = record.props.get(name) or aside.get(record.id, "")
            fits = bool(value) and not crm.schema.clean(kind, {name: value}, record.props)[1]
            if value and not fits:
                aside[record.id] = value
                self._show(record, {key: held for key, held in record.props.items() if key != name})
            elif fits and not record.props.get(name):
                del aside[record.id]
                self._show(record, {**record.props, name: value})

    def remove_option(self, kind: str, name: str, value: str) -> None:
        """Take a value off a property's list; records that have it keep it."""
        definition = self._crm.schema.properties[kind][name]
        self._options(kind, definition, tuple(one for one in definition.options if one.value != value))

    def add_option(self, kind: str, name: str, value: str) -> None:
        """Put a value on it."""
        definition = self._crm.schema.properties[kind][name]
        self._options(kind, definition, (*definition.options, Option(label=value.title(), value=value)))

    def _options(self, kind: str, definition: Definition, options: tuple[Option, ...]) -> None:
        changed = msgspec.structs.replace(definition, options=options, updated_at=iso(self._crm.now_ms))
        self._crm.schema.replace(kind, changed)

    def _records(self, kind: str) -> list[Record]:
        book = self._crm.books[kind]
        return [book.records[number] for number in book.live]

    def _show(self, record: Record, props: Mapping[str, str]) -> None:
        """Show other values, without a write."""
        crm = self._crm
        record.add(Version(crm.next_seq(), dict(props), record.now.modified_ms, self._source, ()))
        crm.indexes[record.kind.name].put(record, crm.now_ms, crm.now_ms)
