"""The pages of HubSpot's feeds: list, search and the archive."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from sales_crm_adapters.hubspot.options import CONTACTS, LEADS, MODIFIED
from sales_crm_adapters.hubspot.reading import Found, Reader, encode, plain
from sales_crm_adapters.hubspot.wire import ROWS, number, unavailable, understood
from sales_crm_bridge.errors import Bug
from sales_crm_bridge.model import Cursor, Effect, Feed, FeedKind, HttpCall, Page, Paging, Position, Raw, Window
from sales_crm_bridge.ports import Talk, ask

if TYPE_CHECKING:
    from collections.abc import Sequence

LIST_MAX, SEARCH_MAX = 100, 200

LIST = Feed(name="list", kind=FeedKind.SWEEP, paging=Paging.CURSOR, page_max=LIST_MAX)
SEARCH = Feed(name="search", kind=FeedKind.CHANGES, paging=Paging.WINDOW, page_max=SEARCH_MAX)
CONTACT_SEARCH = Feed(name="contact-search", kind=FeedKind.CHANGES, paging=Paging.WINDOW, page_max=SEARCH_MAX)
ARCHIVED = Feed(name="archived", kind=FeedKind.REMOVED, paging=Paging.CURSOR, page_max=LIST_MAX)


class Pages:
    """Walks a connection's feeds with its reader."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._paths = reader.paths
        self._kind = reader.kind

    def pull(self, feed: Feed, position: Position, limit: int) -> Talk[Page]:
        """See ``ports.CrmAdapter.pull``."""
        match feed.name, position:
            case (("list" | "archived"), Cursor()):
                return (yield from self._list(position, min(limit, LIST_MAX), archived=feed.name == "archived"))
            case "search", Window():
                rows, after, done = yield from self._search(
                    self._kind, self._reader.asked, position, min(limit, SEARCH_MAX)
                )
                raws = yield from self._whole(rows, archived=False, lags=True)
                return Page(raws=raws, next=msgspec.structs.replace(position, after=after), done=done)
            case "contact-search", Window():
                return (yield from self._contact_changes(position, min(limit, SEARCH_MAX)))
            case _:
                raise Bug("bug.position", f"feed {feed.name} has no position {type(position).__name__}")

    def _list(self, position: Cursor, limit: int, *, archived: bool) -> Talk[Page]:
        query = [("limit", str(limit)), ("archived", "true" if archived else "false")]
        query += [("properties", ",".join(self._reader.asked))] if self._reader.asked else []
        query += [("after", position.token)] if position.token else []
        path = self._paths.objects(self._kind)
        reply = yield from ask(HttpCall(method="GET", path=path, effect=Effect.READ, query=tuple(query)))
        page = understood(reply, ROWS)
        onward = page.paging.next.after if page.paging and page.paging.next else ""
        if onward and onward == position.token:
            raise unavailable(reply, "list-stands-still")
        raws = yield from self._whole(plain(reply, page), archived=archived)
        return Page(raws=raws, next=Cursor(token=onward), done=not onward)

    def _search(
        self, kind: str, properties: Sequence[str], window: Window, limit: int
    ) -> Talk[tuple[list[Raw], str, bool]]:
        """The next rows of a window by id, the last id, and whether the window has ended.

        It has when a page is empty, or when a page that is not full holds all that the index counted for this very query: then
        a further request could only show what became visible since, which is the second pass's to find. That saves half of
        the requests on a budget that the whole account shares.
        """
        times = [("GTE", window.lo_us), ("LT", window.hi_us)]
        filters = [
            # HubSpot keeps milliseconds, so rounding both ends up keeps the window exact.
            {"propertyName": MODIFIED[kind], "operator": operator, "value": str(-(-at_us // 1000))}
            for operator, at_us in times
        ]
        if window.after:
            filters.append({"propertyName": "hs_object_id", "operator": "GT", "value": window.after})
        sought = {
            "filterGroups": [{"filters": filters}],
            "sorts": [{"propertyName": "hs_object_id", "direction": "ASCENDING"}],
            "properties": list(properties),
            "limit": limit,
        }
        path = self._paths.objects(kind, "/search")
        call = HttpCall(method="POST", path=path, effect=Effect.READ, body=encode(sought), budget="search")
        reply = yield from ask(call)
        page = understood(reply, ROWS)
        rows = plain(reply, page)
        last = number(window.after)
        for row in rows:
            if number(row.id) <= last:  # a page out of order would let us skip what lies between
                raise unavailable(reply, "search-unsorted")
            last = number(row.id)
        size = len(rows)
        done = size == 0 or (size < limit and page.total is not None and page.total <= size)
        return rows, rows[-1].id if rows else window.after, done

    def _contact_changes(self, window: Window, limit: int) -> Talk[Page]:
        """Leads whose primary contact was modified in the window, in the order of the contacts' ids."""
        rows, after, done = yield from self._search(CONTACTS, (), window, limit)
        contacts = [row.id for row in rows]
        links = yield from self._reader.links(CONTACTS, LEADS, contacts)
        taken: list[str] = []
        chosen: list[str] = []
        for contact in contacts:
            leads = sorted((str(end.to_object_id) for link in links.get(contact, ()) for end in link.to), key=number)
            if taken and len(taken) + len(leads) > limit:
                done = False
                break
            taken += leads
            chosen.append(contact)
            after = contact
        found = yield from self._reader.batch(LEADS, list(dict.fromkeys(taken)), self._reader.properties)
        full = yield from self._reader.with_contacts([found[lead] for lead in dict.fromkeys(taken) if lead in found])
        # A lead that only knows the contact, and has another as its primary one, comes with that one.
        mine = [one for one in full if one.contact and one.contact.id in chosen]
        return Page(raws=[_pair(one) for one in mine], next=msgspec.structs.replace(window, after=after), done=done)

    def _whole(self, rows: list[Raw], *, archived: bool, lags: bool = False) -> Talk[list[Raw]]:
        """Raw records of listed rows, completed where a list cannot show them whole.

        ``lags``: the rows are as the index shows them, which may be as they were some time ago. Beside a contact as it is now they
        would pass for as new as that, so a lead that has one is read by its id as well.
        """
        if (self._reader.wide or (lags and self._reader.contact_fields)) and rows:
            found = yield from self._reader.batch(
                self._kind, [row.id for row in rows], self._reader.properties, archived=archived
            )
            rows = [found[row.id] for row in rows if row.id in found]
        if not self._reader.contact_fields:
            return rows
        full = [Found(row) for row in rows] if archived else (yield from self._reader.with_contacts(rows))
        return [_pair(one) for one in full]


def _pair(one: Found) -> Raw:
    """One raw record of a lead and its contact."""
    row, contact = one
    if contact is None:
        return Raw(row.id, row.version, row.modified_us, b"[%b,null]" % row.data)
    version, modified_us = f"{row.version}|{contact.version}", max(row.modified_us, contact.modified_us)
    return Raw(row.id, version, modified_us, b"[%b,%b]" % (row.data, contact.data))
