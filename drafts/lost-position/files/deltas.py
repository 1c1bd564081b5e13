"""Lists of what changed since a token: the CRM gives a new one with each answer's last page, and may forget an old one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from sales_crm_adapters.rest.pages import Sheet
from sales_crm_adapters.rest.paths import MISSING
from sales_crm_adapters.rest.templates import Calls, plain
from sales_crm_bridge.errors import Bug
from sales_crm_bridge.model import Effect, Feed, FeedKind, Page, Paging, Position, Stream
from sales_crm_bridge.ports import Talk, ask

if TYPE_CHECKING:
    from sales_crm_adapters.rest.about_records import DeltaList
    from sales_crm_adapters.rest.answers import Answers
    from sales_crm_adapters.rest.options import Options
    from sales_crm_adapters.rest.records import Records


class Place(msgspec.Struct, frozen=True, array_like=True):
    """Where a walk stands: the token that it began with, and the cursor of the next page ("" the first)."""

    token: str = ""
    cursor: str = ""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Place).decode


class Delta:
    """The list of one declaration."""

    def __init__(self, name: str, listing: DeltaList, options: Options, records: Records, answers: Answers) -> None:
        self._first = listing.first
        self._paged = listing.page.by == "cursor"
        self._records = records
        self._answers = answers
        self._calls = Calls(listing, options.common, Effect.READ)
        self._sheet = Sheet(listing, records, answers, removed=False)
        self.feed = Feed(name=name, kind=FeedKind.STREAM, paging=Paging.STREAM, page_max=listing.page.size)

    def pull(self, position: Position, limit: int) -> Talk[Page]:
        """The next page after ``position``; ``lost`` where the CRM knows its token no more."""
        if not isinstance(position, Stream):
            raise Bug("bug.position", f"feed {self.feed.name} has no position {type(position).__name__}")
        place = _decode(position.token.encode()) if position.token else Place()
        values: dict[str, Any] = {"limit": limit, "names": self._records.names}
        values |= {"token": place.token or self._first} if place.token or self._first else {}
        values |= {"cursor": place.cursor} if place.cursor else {}
        reply = yield from ask(self._calls.call(values))
        if self._answers.meaning(reply).means == "expired":
            if not place.token:
                raise self._answers.unavailable(reply, "list-stands-still")
            return Page(raws=[], next=Stream(), done=True, lost=True)
        found = self._sheet.read(reply)
        onward = self._said(found.told, "next") if self._paged else ""
        if onward:
            if onward == place.cursor:
                raise self._answers.unavailable(reply, "list-stands-still")
            return Page(raws=found.raws, next=_stream(Place(place.token, onward)), done=False)
        token = self._said(found.told, "token")
        if not token:
            raise self._answers.unavailable(reply, "no-token")
        return Page(raws=found.raws, next=_stream(Place(token)), done=True)

    def _said(self, told: dict[str, Any], name: str) -> str:
        value = told.get(name, MISSING)
        return "" if value in (MISSING, None, "", False) else plain(value)


def _stream(place: Place) -> Stream:
    return Stream(token=_encode(place).decode())
