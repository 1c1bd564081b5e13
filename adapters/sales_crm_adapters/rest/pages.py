"""One answer of a list: the records in it, and what it says about the pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from sales_crm_adapters.rest.links import next_link
from sales_crm_adapters.rest.notions import Aside
from sales_crm_adapters.rest.paths import MISSING, Path, Shape, path_of, paths_of
from sales_crm_adapters.rest.records import BadRecord
from sales_crm_bridge.model import HttpReply, Raw

if TYPE_CHECKING:
    from sales_crm_adapters.rest.about_records import Listing
    from sales_crm_adapters.rest.answers import Answers
    from sales_crm_adapters.rest.notions import Steps
    from sales_crm_adapters.rest.records import Records

EMPTY = frozenset({204, 304})
"""Statuses of an answer without content: an empty page."""


class Found(msgspec.Struct, frozen=True):
    """What one answer holds: its records, the longest of its lists, and what it says about the pages."""

    raws: list[Raw]
    longest: int
    told: dict[str, Any]


class Sheet:
    """Reads the answers of one list. ``count``: how many lists stand in one answer."""

    def __init__(self, listing: Listing, records: Records, answers: Answers, *, removed: bool) -> None:
        page = listing.page
        paths: dict[str, Path] = {f"records.{at}": path for at, path in enumerate(paths_of(listing.records))}
        self._lists = list(paths)
        self._headers: dict[str, str] = {}
        for what, place in (("next", page.next), ("more", page.more), ("total", page.total), ("pages", page.pages)):
            self._place(what, place, paths)
        self._shape = Shape(paths, rows=self._lists)
        self._by_link = page.by == "link"
        self._records = records
        self._answers = answers
        self._removed = removed
        self.count = len(self._lists)

    def _place(self, what: str, place: Steps | Aside | None, paths: dict[str, Path]) -> None:
        if isinstance(place, Aside):
            self._headers[what] = (place.header or "").lower()
        elif place is not None:
            paths[what] = path_of(place)

    def read(self, reply: HttpReply) -> Found:
        """The records of an answer, each once; no content is an empty page. Raises ``CrmUnavailable`` for what is neither."""
        if self._answers.meaning(reply).means != "ok":
            raise self._answers.unavailable(reply, "list-refused")
        told: dict[str, Any] = {what: reply.headers.get(name, MISSING) for what, name in self._headers.items()}
        if "next" in told and self._by_link and told["next"] is not MISSING:
            told["next"] = next_link(told["next"])
        if reply.status in EMPTY:
            return Found([], 0, told)
        try:
            read = self._shape.read(reply.body)
            lists = [read[name] for name in self._lists]
            if any(rows is not None and not isinstance(rows, list) for rows in lists):
                raise self._answers.unavailable(reply, "no-list")
            raws = {
                raw.id: raw
                for rows in lists
                for text in rows or ()
                for raw in [self._records.raw(text, removed=self._removed)]
            }
        except (
            msgspec.MsgspecError,
            UnicodeDecodeError,
            RecursionError,
            BadRecord,
            ValueError,
            OverflowError,
        ) as fault:
            raise self._answers.unavailable(reply) from fault
        told |= {what: value for what, value in read.items() if what not in self._lists}
        return Found(list(raws.values()), max(len(rows or ()) for rows in lists), told)
