"""What cannot be meant of lists and their pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sales_crm_adapters.rest.about_records import ChangesList, PagePart, RemovedList
from sales_crm_adapters.rest.structure import Mistake, Route, contradiction
from sales_crm_adapters.rest.templates import named_in_request

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sales_crm_adapters.rest.about_records import Listing, Lists, RecordPart


def list_faults(lists: Lists, record: RecordPart | None) -> Iterator[Mistake]:
    """Lists that do not ask for what they are to show, and words about pages that do nothing."""
    if lists.all is not None:
        yield from _listing(lists.all, ("lists", "all"))
    for name, listing in (("changes", lists.changes), ("removed", lists.removed)):
        if listing is not None:
            yield from _listing(listing, ("lists", name))
            if listing.time is not None and not {"since", "until"} & named_in_request(listing):
                yield contradiction(
                    ("lists", name, "time"), "`time` without {since}", "name {since} in the request, or remove `time`"
                )
    if lists.changes is None:
        return
    if "since" not in named_in_request(lists.changes):
        remedy = "name {since} in the query, a header or the body; without such a filter leave `changes` out"
        yield contradiction(("lists", "changes"), "changes that do not ask for {since}", remedy)
    if record is not None and record.modified is None:
        yield contradiction(
            ("lists", "changes"), "changes by time, of records without `record.modified`", "declare `record.modified`"
        )


_NEEDS = {
    "number": ("page", "offset"),
    "offset": ("offset",),
    "cursor": ("cursor",),
    "id": ("after",),
    "time": ("after", "offset"),
}


def _listing(listing: Listing, route: Route) -> Iterator[Mistake]:
    page, here = listing.page, (*route, "page")
    named = named_in_request(listing)
    needs = _NEEDS.get(page.by, ())
    if page.by == "time" and not isinstance(listing, ChangesList):
        yield contradiction(
            (*here, "by"), "only changes are paged by time", "use number, offset, cursor, link, id or none"
        )
    elif needs and not named & set(needs):
        told = " or ".join(f"{{{name}}}" for name in needs)
        yield contradiction(
            (*here, "by"), f"paged by {page.by}, but the request does not name {told}", f"name {told} in the request"
        )
    if page.by == "time" and "since" not in named and isinstance(listing, RemovedList):
        yield contradiction(
            (*here, "by"), "paged by time, but the request does not name {since}", "name {since} in the request"
        )
    yield from _page(listing, here)


_MEANT_FOR: Mapping[str, tuple[str, ...]] = {
    "next": ("cursor", "link", "number", "offset"),
    "more": ("cursor", "link", "number", "offset", "id", "time"),
    "total": ("number", "offset"),
    "pages": ("number",),
    "first": ("number",),
    "steady": ("number", "offset"),
    "strip": ("link",),
    "short_ends": ("cursor", "link", "number", "offset", "id", "time"),
}
"""Words about pages, and the ways of paging for which they mean something."""


def _page(listing: Listing, here: Route) -> Iterator[Mistake]:
    """Words about pages that do nothing, or lack what they stand on."""
    page, named = listing.page, named_in_request(listing)
    if page.by in ("cursor", "link") and page.next is None:
        yield contradiction(here, f"paged by {page.by} without `next`", "say where the next one stands")
    for name, ways in _MEANT_FOR.items():
        if getattr(page, name) != getattr(PagePart(by=page.by), name) and page.by not in ways:
            said = f"`{name}` does nothing where pages go by {page.by}"
            yield contradiction((*here, name), said, f"remove it; it is for pages by {', '.join(ways)}")
    for name, one in (("cursor", "cursor"), ("page", "number")):
        if name in named and page.by != one:
            yield contradiction(
                here, f"the request names {{{name}}}, but is not paged by {one}", f"page by {one}, or remove it"
            )
    if page.short_ends and "limit" not in named:
        yield contradiction(
            (*here, "short_ends"),
            "a page cannot be short of a {limit} that is not asked for",
            "name {limit} in the request",
        )
