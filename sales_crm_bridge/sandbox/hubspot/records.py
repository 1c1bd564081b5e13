"""The records of one object type: their versions, the order by id, the unique values, the bin."""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from sales_crm_bridge.sandbox.hubspot.times import DAY_MS, iso

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sales_crm_bridge.sandbox.hubspot.kinds import Kind

BIN_DAYS = 90
"""How long a deleted record can be restored (contacts guide)."""

HISTORY_MAX = 20
"""Versions of a record that a read with history can still see."""

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """Who writes. ``kind``: ``INTEGRATION``, ``CRM_UI`` or ``IMPORT``; ``id``: the app's, or ``userId:n``.

    ``request``: the correlation id of the call behind it, ``trace``: the trace id of the batch's input.
    """

    kind: str
    id: str
    request: str = ""
    trace: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Version:
    """What a record was after one write; ``seq`` orders all writes of the account. Never changed, so an index may keep it."""

    seq: int
    props: Mapping[str, str]
    modified_ms: int
    source: Source
    changed: tuple[str, ...]
    cache: dict[tuple[str, ...], bytes] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Record:
    """One record, alive or in the bin; ``links`` are its associations (type ids by object type and id)."""

    id: int
    kind: Kind
    created_ms: int
    versions: list[Version]
    archived_ms: int | None = None
    links: dict[tuple[str, int], set[int]] = field(default_factory=dict)
    locked_until_ms: int = 0
    lag_s: float | None = None
    merges: int = 0

    def add(self, version: Version) -> None:
        """Note a new version; only so many old ones are kept."""
        if self.versions:
            self.versions[-1].cache.clear()
        self.versions.append(version)
        if len(self.versions) > HISTORY_MAX:
            del self.versions[0]

    @property
    def now(self) -> Version:
        """The last version."""
        return self.versions[-1]

    @property
    def props(self) -> Mapping[str, str]:
        """The properties that are not empty."""
        return self.versions[-1].props


def encode(record: Record, version: Version, names: tuple[str, ...]) -> bytes:
    """Word one version for the wire with these properties (sorted; null where defined and empty)."""
    known = version.cache.get(names)
    if known is None:
        known = version.cache[names] = _encode(as_dict(record, version, names))
    return known


def as_dict(record: Record, version: Version, names: Iterable[str]) -> dict[str, Any]:
    """The same as a value, for answers that add to it."""
    props = version.props
    told: dict[str, Any] = {
        "id": str(record.id),
        "properties": {name: props.get(name) for name in names},
        "createdAt": iso(record.created_ms),
        "updatedAt": iso(version.modified_ms),
        "archived": record.archived_ms is not None,
    }
    if record.archived_ms is not None:
        told["archivedAt"] = iso(record.archived_ms)
    return told


def written(record: Record) -> dict[str, Any]:
    """The answer to a create: everything that is not empty."""
    return as_dict(record, record.now, sorted(record.props))


def updated(record: Record, sent: Iterable[str]) -> dict[str, Any]:
    """The answer to an update: what was sent (cleared ones as ""), some others, and by no means everything."""
    shown = {name: record.props[name] for name in record.kind.echoed if name in record.props}
    shown |= {name: record.props.get(name, "") for name in sent}
    shown |= {name: record.props[name] for name in record.kind.always}
    told = as_dict(record, record.now, ())
    told["properties"] = {name: shown[name] for name in sorted(shown)}
    return told


def history(record: Record, names: Sequence[str]) -> dict[str, list[dict[str, str]]]:
    """Every value that these properties had, newest first."""
    told: dict[str, list[dict[str, str]]] = {}
    for name in names:
        values = told.setdefault(name, [])
        for version in reversed(record.versions):
            if name in version.changed:
                values.append(
                    {
                        "value": version.props.get(name, ""),
                        "timestamp": iso(version.modified_ms),
                        "sourceType": version.source.kind,
                        "sourceId": version.source.id,
                    }
                )
    return told


class Book:
    """All records of one object type."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.records: dict[int, Record] = {}
        self.live: list[int] = []
        self.binned: list[int] = []
        self.merged: dict[int, int] = {}
        """Ids that were merged away, and the survivors."""
        self.unique: dict[str, dict[str, int]] = {"email": {}}

    def get(self, record_id: int) -> Record | None:
        """Find a living record by its own id."""
        record = self.records.get(record_id)
        return record if record is not None and record.archived_ms is None else None

    def resolve(self, record_id: int) -> Record | None:
        """Find a living record by its own id or by one that was merged into it, over any number of merges."""
        while record_id in self.merged:
            record_id = self.merged[record_id]
        return self.get(record_id)

    def holder(self, name: str, value: str) -> int | None:
        """The living record that holds this unique value; addresses are compared without case."""
        return self.unique.get(name, {}).get(value.strip().lower() if name == "email" else value)

    def page(self, first: int, limit: int, *, archived: bool) -> tuple[list[int], bool]:
        """At most ``limit`` ids from ``first`` on in their order, and whether there are more."""
        ids = self.binned if archived else self.live
        start = bisect_left(ids, first)
        return ids[start : start + limit], start + limit < len(ids)

    def insert(self, record: Record) -> None:
        """Take in a record that lives."""
        self.records[record.id] = record
        if not self.live or self.live[-1] < record.id:
            self.live.append(record.id)
        else:
            insort(self.live, record.id)
        self.claim(record, record.props)

    def insert_many(self, records: Iterable[Record]) -> None:
        """Take in many records at once."""
        for record in records:
            self.records[record.id] = record
            self.live.append(record.id)
            self.claim(record, record.props)
        self.live.sort()

    def bin(self, record: Record, now_ms: int) -> None:
        """Move a record to the bin; its unique values become free."""
        record.archived_ms = now_ms
        record.now.cache.clear()
        _drop(self.live, record.id)
        insort(self.binned, record.id)
        self.release(record)

    def unbin(self, record: Record) -> None:
        """Bring a record back."""
        record.archived_ms = None
        record.now.cache.clear()
        _drop(self.binned, record.id)
        insort(self.live, record.id)
        self.claim(record, record.props)

    def remove(self, record: Record) -> None:
        """Forget a record, alive or binned, as if it had never been."""
        if record.archived_ms is None:
            self.release(record)
            _drop(self.live, record.id)
        else:
            _drop(self.binned, record.id)
        del self.records[record.id]

    def purge(self, now_ms: int) -> list[int]:
        """Forget what has been in the bin for too long, and say what that was."""
        limit = now_ms - BIN_DAYS * DAY_MS
        old = [each for each in self.binned if (self.records[each].archived_ms or 0) <= limit]
        for record_id in old:
            self.remove(self.records[record_id])
        return old

    def index(self, name: str) -> None:
        """Begin to keep the values of a property that is unique from now on; nothing has one yet."""
        self.unique.setdefault(name, {})

    def claim(self, record: Record, values: Mapping[str, str]) -> None:
        """Note the unique values that a record now holds."""
        for name, holders in self.unique.items():
            for value in _held(name, values):
                holders[value] = record.id

    def release(self, record: Record) -> None:
        """Free the unique values of a record's last version."""
        for name, holders in self.unique.items():
            for value in _held(name, record.props):
                if holders.get(value) == record.id:
                    del holders[value]


def _held(name: str, props: Mapping[str, str]) -> list[str]:
    held = [props[name]] if props.get(name) else []
    if name == "email" and props.get("hs_additional_emails"):
        held += props["hs_additional_emails"].split(";")
    return held


def _drop(ids: list[int], record_id: int) -> None:
    place = bisect_left(ids, record_id)
    if place < len(ids) and ids[place] == record_id:
        del ids[place]
