"""Lists: how each of a declaration's feeds is walked, page by page."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import msgspec

from sales_crm_adapters.rest.about_records import ChangesList, RemovedList
from sales_crm_adapters.rest.links import below
from sales_crm_adapters.rest.pages import Found, Sheet
from sales_crm_adapters.rest.paths import MISSING
from sales_crm_adapters.rest.templates import Calls, named_in_request, plain
from sales_crm_adapters.rest.times import TimeForm
from sales_crm_bridge.errors import Bug
from sales_crm_bridge.model import (
    Cursor,
    Effect,
    Feed,
    FeedKind,
    HttpCall,
    HttpReply,
    Keyset,
    Page,
    Paging,
    Position,
    Window,
)
from sales_crm_bridge.ports import Talk, ask

if TYPE_CHECKING:
    from sales_crm_adapters.rest.about_records import AllList
    from sales_crm_adapters.rest.answers import Answers
    from sales_crm_adapters.rest.options import Options
    from sales_crm_adapters.rest.records import Records

MINUTE_US = 60_000_000
EXPIRES_MIN = 2
"""Minutes for which a place in a list must be good at the least."""
EVERYTHING = 1_000_000
"""The page of a list that comes whole."""


class Feeds:
    """The feeds of one declaration."""

    def __init__(self, options: Options, records: Records, answers: Answers) -> None:
        lists = options.lists
        named = [("all", FeedKind.SWEEP, lists.all), ("changes", FeedKind.CHANGES, lists.changes)]
        named.append(("removed", FeedKind.REMOVED, lists.removed))
        self._walks = {
            name: Walk(name, kind, listing, options, records, answers) for name, kind, listing in named if listing
        }
        self.feeds = tuple(walk.feed for walk in self._walks.values())

    def pull(self, feed: Feed, position: Position, limit: int) -> Talk[Page]:
        """See ``ports.CrmAdapter.pull``."""
        walk = self._walks.get(feed.name)
        if walk is None:
            raise Bug("bug.feed", f"no feed is called {feed.name}")
        return walk.pull(position, min(limit, walk.feed.page_max))


class Walk:
    """One list. A place in it is kept as a token: a page's number and size, an offset, the last id, or the CRM's cursor or link.

    Before the latter two stands the minute in which they were given: one that has expired ends nothing, the list is walked from
    its beginning; but one that has expired at once would have us walk in circles.
    """

    def __init__(
        self,
        name: str,
        kind: FeedKind,
        listing: AllList | ChangesList | RemovedList,
        options: Options,
        records: Records,
        answers: Answers,
    ) -> None:
        page = listing.page
        self._page = page
        self._records = records
        self._answers = answers
        self._removed = kind is FeedKind.REMOVED
        self._calls = Calls(listing, options.common, Effect.READ)
        self._budget = listing.budget
        named = named_in_request(listing)
        self._by_id = "after" in named
        self._timed = isinstance(listing, ChangesList) and bool({"since", "until"} & named)
        own = listing.time if isinstance(listing, ChangesList) else None
        self._form = TimeForm(own) if own is not None else records.form
        self._exclusive = isinstance(listing, ChangesList) and listing.since_exclusive
        self._sheet = Sheet(listing, records, answers, removed=self._removed)
        drifts = kind is FeedKind.SWEEP and page.by in ("number", "offset") and not page.steady
        paging = Paging.KEYSET if page.by == "time" else Paging.WINDOW if self._timed else Paging.CURSOR
        size = EVERYTHING if page.by == "none" else page.size
        self.feed = Feed(name=name, kind=kind, paging=paging, page_max=size, drifts=drifts)

    # --- one page -----------------------------------------------------------------------------------------------------

    def pull(self, position: Position, limit: int) -> Talk[Page]:
        """The next page after ``position``."""
        match position:
            case Cursor(token=token) if self.feed.paging is Paging.CURSOR:
                found, onward, done = yield from self._step(token, limit, {})
                return Page(raws=found.raws, next=Cursor(token=onward), done=done)
            case Window(after=token) if self.feed.paging is Paging.WINDOW:
                found, onward, done = yield from self._step(token, limit, self._between(position.lo_us, position.hi_us))
                raws = [
                    raw for raw in found.raws if self._removed or position.lo_us <= raw.modified_us < position.hi_us
                ]
                return Page(raws=raws, next=msgspec.structs.replace(position, after=onward), done=done)
            case Keyset() if self.feed.paging is Paging.KEYSET:
                return (yield from self._by_time(position, limit))
            case _:
                raise Bug("bug.position", f"feed {self.feed.name} has no position {type(position).__name__}")

    def _between(self, lo_us: int, hi_us: int) -> dict[str, Any]:
        """``{since}`` and ``{until}``, rounded outwards."""
        if self._form is None:
            return {}
        step_us = self._form.step_us
        lo_us -= step_us if self._exclusive else 0
        given: dict[str, Any] = {"since": self._form.text(max(0, lo_us))}
        return given | ({"until": self._form.text(-(-hi_us // step_us) * step_us)} if hi_us else {})

    def _step(self, token: str, limit: int, given: dict[str, Any]) -> Talk[tuple[Found, str, bool]]:
        """Ask for the page at ``token``: what it holds, the token of the next, and whether there is none."""
        page = self._page
        share = max(1, limit // self._sheet.count)
        number = page.first
        if page.by == "number" and token:
            # The size of a page stays the same along a walk: page 7 of another size is another page.
            number, share = (int(part) for part in token.split("/"))
        values = given | {"limit": share, "names": self._records.names}
        values |= self._after(token) if page.by == "id" or self._by_id else {}
        match page.by:
            case "number":
                values |= {"page": number, "offset": (number - page.first) * share}
            case "offset":
                values |= {"offset": int(token or 0)}
            case _:
                pass
        given_min, _, place = token.partition("!") if page.by in ("cursor", "link") else ("", "", "")
        first = self._calls.call(values)
        call = first
        if place:
            call = self._link(place) if page.by == "link" else self._calls.call({**values, "cursor": place})
        reply = yield from ask(call)
        if place and self._answers.meaning(reply).means == "expired":
            if reply.answered_us // MINUTE_US - int(given_min) < EXPIRES_MIN:
                raise self._answers.unavailable(reply, "list-stands-still")
            place = ""
            reply = yield from ask(first)
        found = self._sheet.read(reply)
        onward, done = self._onward(found, place or token, number, share, reply)
        return found, onward, done

    def _after(self, token: str) -> dict[str, Any]:
        if token:
            return {"after": self._records.id_value(token)}
        return {"after": 0} if self._records.numbers else {}

    def _onward(self, found: Found, token: str, number: int, share: int, reply: HttpReply) -> tuple[str, bool]:
        """The token after this page, and whether the list has ended."""
        page, longest = self._page, found.longest
        next_ = found.told.get("next", MISSING)
        ended = next_ in (MISSING, None, "", False)
        short = page.short_ends and longest < share
        more = found.told.get("more", MISSING)
        if page.more is not None and not isinstance(more, bool | int):
            raise self._answers.unavailable(reply, "page-without-end")
        over = short or (page.more is not None and not more)
        match page.by:
            case "none":
                return "", True
            case "number":
                at = number * share if page.first else (number + 1) * share
                done = over or longest == 0 or self._all(found, at) or (page.next is not None and ended)
                return f"{number + 1}/{share}", done or self._last(found, number, reply)
            case "offset":
                at = int(token or 0) + longest
                if isinstance(next_, int) and not isinstance(next_, bool) and next_ > int(token or 0):
                    at = next_
                done = over or longest == 0 or self._all(found, at) or (page.next is not None and ended)
                return str(at), done
            case "id":
                self._ascending([raw.id for raw in found.raws], token, reply)
                return found.raws[-1].id if found.raws else token, over or longest == 0
            case _:
                onward = "" if ended else plain(next_)
                if onward and page.by == "link":
                    onward = below(onward, self._page.strip)
                    if not onward:
                        raise self._answers.unavailable(reply, "bad-link")
                if onward and onward == token:
                    raise self._answers.unavailable(reply, "list-stands-still")
                return f"{reply.answered_us // MINUTE_US}!{onward}" if onward else "", over or not onward

    def _last(self, found: Found, number: int, reply: HttpReply) -> bool:
        """Whether ``number`` is the last page that the CRM says there is."""
        if self._page.pages is None:
            return False
        told = found.told.get("pages", MISSING)
        if not isinstance(told, int) or isinstance(told, bool):
            raise self._answers.unavailable(reply, "page-without-end")
        return number - self._page.first + 1 >= told

    def _all(self, found: Found, at: int) -> bool:
        """Whether ``at`` records are all that the CRM says there are."""
        total = found.told.get("total", MISSING)
        if isinstance(total, str) and total.isascii() and total.isdecimal():
            total = int(total[:18])
        return isinstance(total, int) and not isinstance(total, bool) and at >= total

    def _ascending(self, ids: list[str], token: str, reply: HttpReply) -> None:
        """A page out of order would let us pass over what lies between."""
        told: list[Any] = [token, *ids] if token else ids
        if all(one.isascii() and one.isdecimal() for one in told):
            told = [int(one) for one in told]
            if any(one >= other for one, other in pairwise(told)):
                raise self._answers.unavailable(reply, "list-unsorted")
        elif len(set(told)) < len(told):
            raise self._answers.unavailable(reply, "list-stands-still")

    # --- by time ------------------------------------------------------------------------------------------------------

    def _by_time(self, position: Keyset, limit: int) -> Talk[Page]:
        """The page of records at or after a time, in the order of times.

        Ties go on after the last id, where the request names ``{after}``; otherwise ``{offset}`` passes over as many records of
        that very time as have been read.
        """
        since_us = position.modified_us
        values = self._between(since_us, position.hi_us) | {"limit": limit, "names": self._records.names}
        passed = 0
        if self._by_id:
            values |= self._after(position.after)
        else:
            passed = int(position.after or 0)
            values |= {"offset": passed}
        reply = yield from ask(self._calls.call(values))
        found = self._sheet.read(reply)
        times = [raw.modified_us for raw in found.raws]
        if times != sorted(times) or (times and self._by_id and times[0] < since_us - self._grain_us):
            raise self._answers.unavailable(reply, "list-unsorted")
        within = [
            raw for raw in found.raws if since_us <= raw.modified_us and not 0 < position.hi_us <= raw.modified_us
        ]
        beyond = bool(times) and 0 < position.hi_us <= times[-1]
        more = found.told.get("more", MISSING)
        done = beyond or found.longest == 0 or more is False or (self._page.short_ends and found.longest < limit)
        last = found.raws[-1] if found.raws and not beyond else None
        if last is None:
            return Page(raws=within, next=position, done=done)
        after = last.id
        if not self._by_id:
            same = sum(1 for at_us in times if at_us == last.modified_us)
            after = str(same + (passed if last.modified_us == since_us else 0))
        onward = Keyset(modified_us=last.modified_us, after=after, hi_us=position.hi_us)
        if onward == position and not done:
            raise self._answers.unavailable(reply, "list-stands-still")
        return Page(raws=within, next=onward, done=done)

    @property
    def _grain_us(self) -> int:
        return self._form.step_us if self._form is not None else 0

    def _link(self, token: str) -> HttpCall:
        path, _, query = token.partition("?")
        values = {"limit": self._page.size, "names": self._records.names}
        plainly = self._calls.call(values)
        return HttpCall(
            method="GET",
            path=path,
            effect=Effect.READ,
            query=tuple(parse_qsl(query, keep_blank_values=True)),
            headers=plainly.headers,
            budget=self._budget,
        )
