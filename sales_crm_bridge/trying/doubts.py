"""What a try finds doubtful in what it saw: each a finding, since a connection that shows it would go wrong in service."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sales_crm_bridge.errors import Finding, Place
from sales_crm_bridge.model import FeedKind, LeadState

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sales_crm_bridge.model import Feed, Raw, Record

_REMEDIES = {
    "crm.read-differs": "read what the list shows, or list what the read shows: a lead that has two looks would change at each",
    "crm.absence-unclear": "declare what a read of a record that is not there is answered with, and by which words it is known",
    "crm.paging-unclear": "correct how the next page is asked for, and where the answer says that there is one",
    "crm.no-modified-time": "correct where a record's modified time stands: changes would never be met by it",
    "crm.fields-empty": "correct where the mapped fields stand in a record, or their names",
}


def finding(code: str, message: str, file: str) -> Finding:
    """One doubt about the connection of ``file``."""
    return Finding(code=code, message=message, place=Place(file=file), remedy=_REMEDIES[code])


def of_page(
    feed: Feed, raws: Sequence[Raw], records: Sequence[Record], mapped: Sequence[str], file: str
) -> Iterator[Finding]:
    """Of a page's records: no modified time where changes go by it, no value in any mapped field (``mapped``: the CRM's names)."""
    if feed.kind is FeedKind.CHANGES and raws and not any(raw.modified_us for raw in raws):
        yield finding("crm.no-modified-time", f"no record of list {feed.name} has a modified time", file)
    live = [record for record in records if record.state is LeadState.LIVE]
    if live and not any(record.fields.get(name) not in (None, "") for record in live for name in mapped):
        said = f"none of {len(live)} records of list {feed.name} has a value in any mapped field"
        yield finding("crm.fields-empty", said, file)


def of_pages(feed: Feed, first: Sequence[Raw], wider: Sequence[Raw], file: str) -> Iterator[Finding]:
    """A page that was said to be the last, beside the same one asked for with room for more."""
    if len(wider) > len(first):
        said = f"list {feed.name} said that {len(first)} records are all, and showed {len(wider)} when asked for more at once"
        yield finding("crm.paging-unclear", said, file)


def of_repetition(feed: Feed, first: Sequence[Raw], second: Sequence[Raw], file: str) -> Iterator[Finding]:
    """A second page that is the first."""
    if second and {raw.id for raw in second} <= {raw.id for raw in first}:
        yield finding("crm.paging-unclear", f"the next page of list {feed.name} has only what the first one had", file)


def of_read(seen: Record, read: Record, differing: Sequence[str], file: str) -> Iterator[Finding]:
    """A record read by its id, beside the list's."""
    if read.state is not seen.state or read.id != seen.id:
        said = (
            f"record {seen.id} is {seen.state} in the list, and {read.state} as {read.id or 'nothing'} when it is read"
        )
        yield finding("crm.read-differs", said, file)
    elif differing:
        yield finding(
            "crm.read-differs", f"record {seen.id} differs between list and read in: {', '.join(differing)}", file
        )


def of_nobody(what: str, read: Record, file: str) -> Iterator[Finding]:
    """A read of what is not there."""
    if read.state is not LeadState.GONE:
        yield finding("crm.absence-unclear", f"{what}, which nobody has, is understood as {read.state}", file)
