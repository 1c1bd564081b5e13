"""The miserly dialect: page numbers, no order, no filter, no modified time, no room for our key, and errors as they come.

What its reference would say, if it had one; every call is signed in with ``Authorization: Basic``:

====== ============================ ===================================================================================
GET    /crm/whoami                  ``{"user": "bridge", "org": {"no": 31, "title": "…"}}``
GET    /crm/leads?page=1&size=25    ``{"page", "pages", "rows": [Lead]}``, ``size`` up to 25; a page beyond the last is 404
GET    /crm/leads/{No}              ``{"lead": Lead}``
POST   /crm/leads                   ``{"lead": {…}}`` → 200 ``{"ok": true, "no": 17}``
POST   /crm/leads/{No}              ``{"lead": {…}}``, only the columns to change, "" empties → 200 ``{"ok": true}``
DELETE /crm/leads/{No}              200 ``{"ok": true}``: there is no bin
====== ============================ ===================================================================================

Lead: ``{"No": 17, "Created": "21.09.2026 16:13", "Person": {"Name", "Mail", "Tel"}, "Firm", "State", "Points"}``: every value
is a text, an empty one ``""``; ``State`` is ``A`` (new), ``B`` (being worked on), ``C`` (won) or ``D`` (lost); ``Created`` is
local time in Europe/Berlin. Columns are written by their inner names: ``{"Name": …, "State": …}``.

Errors come in four shapes: ``{"detail": "text"}`` (403 *Invalid username or password.* where others say 401; 403 *You may not
read leads.*; 404 *Invalid page.*), ``{"errors": {"State": ["text"]}}`` with 400, ``{"error": true, "column": "…", "message":
"…"}`` with 400 for a column that is not there, and a page of HTML (404 for a lead that is not there, 5xx). Sometimes 200 with
``{"ok": false, "why": "busy"}``: nothing was done.

Vices: rows come as the database keeps them, a changed one at the end, so a walk misses rows while others write; a write says
nothing of the record; what is deleted is gone.
"""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import msgspec

from sales_crm_bridge.sandbox.dialects.counter import Counter, Refusal, json_answer, json_object, page_number
from sales_crm_bridge.sandbox.wire import Answer

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping

    from sales_crm_bridge.sandbox.dialects.counter import Value
    from sales_crm_bridge.sandbox.wire import Request

USER, SECRET = "bridge", "miser-secret"
PAGE_MAX = 25
STATES = ("A", "B", "C", "D")
PERSON = ("Name", "Mail", "Tel")
COLUMNS = (*PERSON, "Firm", "State")
BERLIN = ZoneInfo("Europe/Berlin")


class Row(msgspec.Struct, kw_only=True):
    """One record; ``place`` is where the database keeps it."""

    no: int
    made: int
    place: int
    values: dict[str, str]

    def wire(self) -> dict[str, Any]:
        """As the API shows it."""
        created = datetime.fromtimestamp(self.made, UTC).astimezone(BERLIN).strftime("%d.%m.%Y %H:%M")
        get = self.values.get
        return {
            "No": self.no,
            "Created": created,
            "Person": {name: get(name, "") for name in PERSON},
            "Firm": get("Firm", ""),
            "State": get("State", "A"),
            "Points": "0",
        }


class Miserly(Counter):
    """One account. ``rights``: what the user may, of ``read`` and ``write``; ``busy``: how many writes are answered *busy* next."""

    def __init__(
        self, *, clock: Callable[[], float], rng: random.Random, user: str = USER, password: str = SECRET
    ) -> None:
        super().__init__(clock=clock, rng=rng)
        self._admitted = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        self._last = 0
        self.rows: dict[int, Row] = {}
        self.rights = {"read", "write"}
        self.busy = 0

    # --- what a person does -------------------------------------------------------------------------------------------

    def create(self, values: Mapping[str, Value]) -> str:
        """Make a record; gives its number."""
        self._last += 1
        row = Row(no=self._last, made=self.now_s(), place=0, values={})
        self.rows[row.no] = row
        self.edit(str(row.no), values)
        return str(row.no)

    def edit(self, no: str, values: Mapping[str, Value]) -> None:
        """Change a record; it goes to the end of the table, also when nothing in it is new."""
        row = self.rows[int(no)]
        merged = {**row.values, **values}
        row.values = {name: str(value) for name, value in merged.items() if value not in (None, "")}
        self.moves += 1
        row.place = self.moves

    def delete(self, no: str) -> None:
        """Forget a record; its number never comes again."""
        del self.rows[int(no)]
        self.moves += 1

    def live(self) -> dict[str, dict[str, str]]:
        """What is really there: number → values."""
        return {str(row.no): row.values for row in self.rows.values()}

    # --- requests -----------------------------------------------------------------------------------------------------

    def worded(self, status: int) -> Answer:
        """A page of HTML, whatever was asked."""
        page = f"<!doctype html>\n<html><head><title>Error {status}</title></head><body><h1>Error {status}</h1></body></html>\n"
        return Answer(status, [("content-type", "text/html; charset=utf-8")], page.encode())

    def answer(self, request: Request) -> Answer:
        """Carry a request out; see the module."""
        if request.headers.get("authorization") != self._admitted:
            raise Refusal(json_answer(403, {"detail": "Invalid username or password."}))
        right = "read" if request.method == "GET" else "write"
        if right not in self.rights:
            raise Refusal(json_answer(403, {"detail": f"You may not {right} leads."}))
        match [request.method, *request.segments()]:
            case ["GET", "crm", "whoami"]:
                return json_answer(200, {"user": "bridge", "org": {"no": 31, "title": "Miserly account"}})
            case ["GET", "crm", "leads"]:
                return self._page(request.query)
            case ["GET", "crm", "leads", no]:
                return json_answer(200, {"lead": self._row(no).wire()})
            case ["POST", "crm", "leads"]:
                values = self._values(request)
                if not values.get("Name"):
                    raise Refusal(json_answer(400, {"errors": {"Name": ["This field may not be blank."]}}))
                return json_answer(200, {"ok": True, "no": int(self.create(values))})
            case ["POST", "crm", "leads", no]:
                row = self._row(no)
                self.edit(str(row.no), self._values(request))
                return json_answer(200, {"ok": True})
            case ["DELETE", "crm", "leads", no]:
                self.delete(str(self._row(no).no))
                return json_answer(200, {"ok": True})
            case _:
                raise Refusal(self.worded(404))

    def _page(self, query: Mapping[str, str]) -> Answer:
        size = page_number(query.get("size"), PAGE_MAX, 1, PAGE_MAX)
        page = page_number(query.get("page"), 1, 1, 10**8)
        if size is None or page is None:
            raise Refusal(json_answer(400, {"detail": "Invalid page."}))
        rows = sorted(self.rows.values(), key=lambda row: row.place)
        pages = max(1, -(-len(rows) // size))
        if page > pages:
            raise Refusal(json_answer(404, {"detail": "Invalid page."}))
        shown = [row.wire() for row in rows[(page - 1) * size : page * size]]
        return json_answer(200, {"page": page, "pages": pages, "rows": shown})

    def _row(self, no: str) -> Row:
        row = self.rows.get(int(no)) if no.isascii() and no.isdecimal() and len(no) < 16 else None  # noqa: PLR2004 - no number is so long
        if row is None:
            raise Refusal(self.worded(404))
        return row

    def _values(self, request: Request) -> dict[str, Value]:
        body = json_object(request.body)
        values = body.get("lead") if body is not None else None
        if not isinstance(values, dict):
            raise Refusal(json_answer(400, {"detail": "JSON parse error"}))
        for name, value in values.items():
            if name not in COLUMNS:
                message = f"Unknown column '{name}' in 'field list'"
                raise Refusal(json_answer(400, {"error": True, "column": name, "message": message}))
            if not isinstance(value, str):
                raise Refusal(json_answer(400, {"errors": {name: ["Not a valid string."]}}))
        if values.get("State") not in (None, "", *STATES):
            raise Refusal(json_answer(400, {"errors": {"State": [f'"{values["State"]}" is not a valid choice.']}}))
        if self.busy > 0:
            self.busy -= 1
            raise Refusal(json_answer(200, {"ok": False, "why": "busy"}))
        return values
