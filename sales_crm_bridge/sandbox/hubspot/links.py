"""Associations: what a record may be linked to, and which leads lose their footing when links go."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from sales_crm_bridge.sandbox.hubspot.kinds import COMPANIES, CONTACTS, LEADS, Kind
from sales_crm_bridge.sandbox.hubspot.refusals import detail, invalid

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sales_crm_bridge.sandbox.hubspot.records import Book, Record


class LinkType(msgspec.Struct, frozen=True, kw_only=True):
    """One direction of one kind of association; ``back`` is the other direction's id."""

    id: int
    of: Kind
    to: Kind
    back: int
    primary: bool = False

    @property
    def label(self) -> str | None:
        """What people see; the plain association has none."""
        return "Primary" if self.primary else None

    @property
    def name(self) -> str:
        """As a read of one record spells it."""
        return f"{self.of.word}_to_{'primary_' if self.primary else ''}{self.to.word}"


def _both(of: Kind, there: int, to: Kind, back: int, *, primary: bool = False) -> list[LinkType]:
    return [
        LinkType(id=there, of=of, to=to, back=back, primary=primary),
        LinkType(id=back, of=to, to=of, back=there, primary=primary),
    ]


# Leads and associations guides; 579, 581 and the pairs of contacts and companies are general knowledge.
LINK_TYPES: dict[int, LinkType] = {
    each.id: each
    for each in [
        *_both(LEADS, 578, CONTACTS, 579, primary=True),
        *_both(LEADS, 608, CONTACTS, 609),
        *_both(LEADS, 580, COMPANIES, 581, primary=True),
        *_both(LEADS, 610, COMPANIES, 611),
        *_both(CONTACTS, 1, COMPANIES, 2, primary=True),
        *_both(CONTACTS, 279, COMPANIES, 280),
    ]
}


def plain(of: Kind, to: Kind) -> LinkType | None:
    """The association without a label between two object types."""
    return next((each for each in LINK_TYPES.values() if each.of is of and each.to is to and not each.primary), None)


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """An association that is wanted or gone: to which record, of which types (none given: all that there are)."""

    to: Kind
    id: int
    types: tuple[int, ...] = ()


class Links:
    """The associations of all records; both ends know of each."""

    def __init__(self, books: Mapping[str, Book]) -> None:
        self._books = books

    def check(self, of: Kind, links: Sequence[Link]) -> None:
        """Refuse links to what does not live, and types that do not fit; raises ``Refusal``."""
        for link in links:
            if self._books[link.to.name].get(link.id) is None:
                text = f"{link.to.word.upper()}={link.id} is not valid"
                raise invalid("One or more associations are not valid", detail(text, "INVALID_OBJECT_IDS"))
            for each in link.types:
                known = LINK_TYPES.get(each)
                if known is None or known.of is not of or known.to is not link.to:
                    text = f"{each} is no association type from {of.word} to {link.to.word}"
                    raise invalid("One or more associations are not valid", detail(text, "INVALID_ASSOCIATION_TYPE"))

    def add(self, record: Record, link: Link) -> None:
        """Link a record. A primary association brings the plain one along; there is one primary for each object type."""
        other = self._books[link.to.name].records[link.id]
        known = plain(record.kind, link.to)
        wanted = {*link.types, *([known.id] if known else [])}
        if any(LINK_TYPES[each].primary for each in link.types) and record.kind is LEADS:
            for kind, record_id in self.of(record, link.to):
                self._cut(
                    record,
                    self._books[kind].records[record_id],
                    {each for each in LINK_TYPES if LINK_TYPES[each].primary},
                )
        record.links.setdefault((link.to.name, link.id), set()).update(wanted)
        other.links.setdefault((record.kind.name, record.id), set()).update(LINK_TYPES[each].back for each in wanted)

    def of(self, record: Record, to: Kind) -> list[tuple[str, int]]:
        """The ends of a record's links to one object type, by id."""
        return sorted(end for end in record.links if end[0] == to.name)

    def remove(self, record: Record, link: Link) -> list[Record]:
        """Take links away, and give the leads that have no primary association any more."""
        other = self._books[link.to.name].records.get(link.id)
        if other is None or (link.to.name, link.id) not in record.links:
            return []
        had = [each for each in (record, other) if each.kind is LEADS and _has_primary(each)]
        self._cut(record, other, set(link.types) or set(LINK_TYPES))
        return [each for each in had if not _has_primary(each)]

    def loosen(self, record: Record) -> list[Record]:
        """Cut a record that goes out of what stays; it keeps its own list for a return. Gives the leads left without footing."""
        left = []
        for kind, record_id in sorted(record.links):
            other = self._books[kind].records.get(record_id)
            types = other.links.pop((record.kind.name, record.id), set()) if other is not None else set()
            if other is not None and other.kind is LEADS and any(LINK_TYPES[each].primary for each in types):
                left.append(other)
        return [each for each in left if not _has_primary(each)]

    def tighten(self, record: Record) -> None:
        """Bring a record's links back, as far as the other ends live."""
        for (kind, record_id), types in sorted(record.links.items()):
            other = self._books[kind].get(record_id)
            if other is None:
                del record.links[kind, record_id]
            else:
                other.links[record.kind.name, record.id] = {LINK_TYPES[each].back for each in types}

    def move(self, gone: Record, survivor: Record) -> None:
        """Give a merged record's links to the survivor."""
        for (kind, record_id), types in sorted(gone.links.items()):
            other = self._books[kind].records.get(record_id)
            if other is not None:
                back = other.links.pop((gone.kind.name, gone.id), set())
                other.links.setdefault((survivor.kind.name, survivor.id), set()).update(back)
                survivor.links.setdefault((kind, record_id), set()).update(types)
        gone.links.clear()

    def _cut(self, record: Record, other: Record, types: Iterable[int]) -> None:
        for one, two, gone in ((record, other, set(types)), (other, record, {LINK_TYPES[each].back for each in types})):
            end = (two.kind.name, two.id)
            left = one.links.get(end, set()) - gone
            if left:
                one.links[end] = left
            else:
                one.links.pop(end, None)


def _has_primary(record: Record) -> bool:
    return any(LINK_TYPES[each].primary for types in record.links.values() for each in types)
