"""The harbour dialect: the CRM of docs/declare-a-crm.md, to be declared by whoever reads it.

What its reference would say; every call carries ``X-Session``:

====== ============================ ===================================================================================
POST   /v3/session                  ``{user, password}`` → 201 ``{session, minutes}``; 401 ``{code: bad-credentials}``
GET    /v3/organisation             ``{organisation: {code, title, clock}}``
GET    /v3/berths/fields            ``{fields: {name: {kind, editable, mandatory, choices?}}}``
POST   /v3/berths/search            ``{page, size, changedFrom?, order?: [changed, no], keel?}``, up to 100 →
                                    ``{hits: [Berth], page, pages}``
GET    /v3/berths/{no}              ``{berth: Berth}``; 404 ``unknown-berth``
POST   /v3/berths                   ``{berth: {…}}`` → 201 ``{no, berth}``; 409 ``keel-taken`` with ``held_by``
PUT    /v3/berths/{no}              ``{berth: {…}}``: only what is named changes → ``{berth}``
POST   /v3/berths/{no}/launch       ``{}`` → 200: the lead becomes a deal; 409 ``not-ready`` if it is lost
DELETE /v3/berths/{no}              204
====== ============================ ===================================================================================

Berth: ``{no: "B-17", keel: our own number, unique, changed, made, sunk, deal?, skipper: {name, mail, phone}, firm, phase,
tonnage}``; times are epoch seconds; ``phase`` is ``new``, ``talking``, ``ready``, ``launched`` or ``lost``. ``changedFrom`` is
inclusive, in epoch seconds. ``sunk: true`` is a deleted berth: it can still be read and searched, and never comes back. A
launched one has ``deal`` and takes no more changes: 409 ``launched``.

Refusals: ``{code, message, fields: {name: what is wrong}}``; 400 ``invalid``, 401 ``no-session`` (it lasts 30 minutes), 403
``not-allowed``, 404, 409, 429 with ``retryAfterMs``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from sales_crm_bridge.sandbox.dialects.counter import Counter, Refusal, json_answer, json_object
from sales_crm_bridge.sandbox.wire import Answer

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping

    from sales_crm_bridge.sandbox.dialects.counter import Value
    from sales_crm_bridge.sandbox.wire import Request

USER, SECRET = "bridge", "harbour-secret"
SIZE_MAX = 100
MINUTES = 30

FIELDS: dict[str, dict[str, Any]] = {
    "keel": {"kind": "text", "editable": True, "mandatory": False},
    "skipper.name": {"kind": "text", "editable": True, "mandatory": True},
    "skipper.mail": {"kind": "text", "editable": True, "mandatory": False},
    "skipper.phone": {"kind": "text", "editable": True, "mandatory": False},
    "firm": {"kind": "text", "editable": True, "mandatory": False},
    "phase": {
        "kind": "choice",
        "editable": True,
        "mandatory": False,
        "choices": ["new", "talking", "ready", "launched", "lost"],
    },
    "tonnage": {"kind": "number", "editable": False, "mandatory": False},
}


class Berth(msgspec.Struct, kw_only=True):
    """One record; ``values`` by dotted names."""

    no: int
    made: int
    changed: int
    values: dict[str, Value]
    sunk: bool = False
    deal: str = ""

    def wire(self) -> dict[str, Any]:
        """As the API shows it."""
        told: dict[str, Any] = {"no": f"B-{self.no}", "made": self.made, "changed": self.changed, "sunk": self.sunk}
        told |= {"skipper": {}, "deal": self.deal or None}
        for name in FIELDS:
            outer, _, inner = name.rpartition(".")
            (told[outer] if outer else told)[inner] = self.values.get(name)
        return told


class Harbour(Counter):
    """One organisation. ``rights``: what the user may, of ``read`` and ``write``."""

    def __init__(
        self, *, clock: Callable[[], float], rng: random.Random, user: str = USER, password: str = SECRET
    ) -> None:
        super().__init__(clock=clock, rng=rng)
        self._credentials = {"user": user, "password": password}
        self._sessions: dict[str, float] = {}
        self._last = 0
        self.berths: dict[int, Berth] = {}
        self.rights = {"read", "write"}

    # --- what a person does -------------------------------------------------------------------------------------------

    def create(self, values: Mapping[str, Value]) -> str:
        """Make a record; gives its id."""
        self._last += 1
        now = self.now_s()
        berth = Berth(no=self._last, made=now, changed=now, values={"phase": "new"})
        self.berths[berth.no] = berth
        self._write(berth, values)
        return f"B-{berth.no}"

    def edit(self, no: str, values: Mapping[str, Value]) -> None:
        """Change a record by dotted names; None clears."""
        self._write(self.berths[int(no[2:])], values)

    def sink(self, no: str) -> None:
        """Delete a record: it stays readable, marked."""
        berth = self.berths[int(no[2:])]
        berth.sunk = True
        self._write(berth, {})

    def launch(self, no: str) -> None:
        """Make a deal of a lead: it takes no more changes."""
        self._launch(self.berths[int(no[2:])])

    def live(self) -> dict[str, dict[str, Value]]:
        """What is really there: id → values."""
        return {f"B-{one.no}": one.values for one in self.berths.values() if not one.sunk}

    def _write(self, berth: Berth, values: Mapping[str, Value]) -> None:
        merged = {**berth.values, **values}
        berth.values = {name: value for name, value in merged.items() if value not in (None, "")}
        self.moves += 1
        berth.changed = self.now_s()

    # --- requests -----------------------------------------------------------------------------------------------------

    def worded(self, status: int) -> Answer:
        """A refusal without details."""
        more = {"retryAfterMs": 2_000} if status == 429 else {}  # noqa: PLR2004
        return refusal(status, "too-many-calls" if more else "unavailable", **more)

    def answer(self, request: Request) -> Answer:
        """Carry a request out; see the module."""
        body = json_object(request.body) or {}
        way = [request.method, *request.segments()]
        if way == ["POST", "v3", "session"]:
            return self._open(body)
        if self._sessions.get(request.headers.get("x-session", ""), 0.0) <= self._clock():
            raise Refusal(refusal(401, "no-session"))
        reads = request.method == "GET" or way[-1] == "search"
        if ("read" if reads else "write") not in self.rights:
            raise Refusal(refusal(403, "not-allowed"))
        return self._shows(way[1:], body) if reads else self._writes(way, body)

    def _open(self, body: dict[str, Any]) -> Answer:
        if {name: body.get(name) for name in ("user", "password")} != self._credentials:
            raise Refusal(refusal(401, "bad-credentials"))
        session = f"hb-{self._rng.getrandbits(64):016x}"
        self._sessions[session] = self._clock() + MINUTES * 60
        return json_answer(201, {"session": session, "minutes": MINUTES})

    def _shows(self, way: list[str], body: dict[str, Any]) -> Answer:
        match way:
            case ["v3", "organisation"]:
                told = {"code": "harbour-1", "title": "Harbour organisation", "clock": "Europe/Berlin"}
                return json_answer(200, {"organisation": told})
            case ["v3", "berths", "fields"]:
                return json_answer(200, {"fields": FIELDS})
            case ["v3", "berths", "search"]:
                return self._search(body)
            case ["v3", "berths", no]:
                return json_answer(200, {"berth": self._berth(no).wire()})
            case _:
                raise Refusal(refusal(404, "no-such-place"))

    def _search(self, body: dict[str, Any]) -> Answer:
        page, size, since = body.get("page", 1), body.get("size", 20), body.get("changedFrom", 0)
        order, keel = body.get("order", ["no"]), body.get("keel")
        numbers = all(type(one) is int for one in (page, size, since))
        if not numbers or page < 1 or not 1 <= size <= SIZE_MAX or order not in (["no"], ["changed", "no"]):
            raise Refusal(refusal(400, "invalid", fields={"search": "not as documented"}))
        found = [one for one in self.berths.values() if one.changed >= since]
        if keel is not None:
            found = [one for one in found if one.values.get("keel") == keel]
        found.sort(key=lambda one: (one.changed if order[0] == "changed" else 0, one.no))
        hits = [one.wire() for one in found[(page - 1) * size : page * size]]
        return json_answer(200, {"hits": hits, "page": page, "pages": max(1, -(-len(found) // size))})

    def _writes(self, way: list[str], body: dict[str, Any]) -> Answer:
        match way:
            case ["POST", "v3", "berths"]:
                values = self._values(body, None)
                if not values.get("skipper.name"):
                    raise Refusal(refusal(400, "invalid", fields={"skipper.name": "mandatory"}))
                no = self.create(values)
                return json_answer(201, {"no": no, "berth": self._berth(no).wire()})
            case ["PUT", "v3", "berths", no]:
                berth = self._open_berth(no)
                self._write(berth, self._values(body, berth))
                return json_answer(200, {"berth": berth.wire()})
            case ["POST", "v3", "berths", no, "launch"]:
                return self._launch(self._open_berth(no))
            case ["DELETE", "v3", "berths", no]:
                self.sink(f"B-{self._open_berth(no).no}")
                return Answer(204, [], b"")
            case _:
                raise Refusal(refusal(404, "no-such-place"))

    def _launch(self, berth: Berth) -> Answer:
        if berth.values.get("phase") == "lost":
            raise Refusal(refusal(409, "not-ready"))
        berth.deal = f"D-{berth.no}"
        self._write(berth, {"phase": "launched"})
        return json_answer(200, {"berth": berth.wire()})

    def _berth(self, no: str) -> Berth:
        digits = no.removeprefix("B-")
        berth = self.berths.get(int(digits)) if digits.isascii() and digits.isdecimal() and len(digits) < 16 else None  # noqa: PLR2004
        if berth is None:
            raise Refusal(refusal(404, "unknown-berth"))
        return berth

    def _open_berth(self, no: str) -> Berth:
        """A berth that takes changes."""
        berth = self._berth(no)
        if berth.sunk:
            raise Refusal(refusal(404, "sunk"))
        if berth.deal:
            raise Refusal(refusal(409, "launched", deal=berth.deal))
        return berth

    def _values(self, body: dict[str, Any], berth: Berth | None) -> dict[str, Value]:
        given = body.get("berth")
        if not isinstance(given, dict):
            raise Refusal(refusal(400, "invalid", fields={"berth": "missing"}))
        skipper = given.get("skipper", {})
        flat: dict[str, Any] = {name: value for name, value in given.items() if name != "skipper"}
        flat |= {f"skipper.{name}": value for name, value in skipper.items()} if isinstance(skipper, dict) else {}
        wrong = {}
        for name, value in flat.items():
            field = FIELDS.get(name)
            if field is None or not field["editable"]:
                wrong[name] = "unknown" if field is None else "read-only"
            elif value is not None and (not isinstance(value, str) or value not in _settable(field, value)):
                wrong[name] = "not a choice" if "choices" in field else "not a text"
        if wrong:
            raise Refusal(refusal(400, "invalid", fields=wrong))
        for other in self.berths.values():
            if other is not berth and flat.get("keel") and other.values.get("keel") == flat["keel"]:
                raise Refusal(refusal(409, "keel-taken", held_by=f"B-{other.no}"))
        return flat


def _settable(field: dict[str, Any], value: str) -> list[str]:
    """The values that a write may set: a berth is launched by its own request alone."""
    return [one for one in field.get("choices", [value]) if one != "launched"]


def refusal(status: int, code: str, **more: Any) -> Answer:
    """A refusal in the CRM's words."""
    return json_answer(status, {"code": code, "message": code.replace("-", " "), "fields": {}, **more})
