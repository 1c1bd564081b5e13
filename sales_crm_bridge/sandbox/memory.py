"""The memory CRM: the smallest CRM with everything that the bridge can meet. It is the world of the teaching adapter.

Dialect: JSON, ``authorization: Bearer <token>``, times in whole epoch seconds. Every record has an ETag, which every write moves.

====== =========================================== =====================================================================
POST   /sign-in                                    ``{"password"}`` → a token for ten minutes
GET    /about                                      the account and its fields
GET    /leads?removed=0|1&token=&limit=            every record by id
GET    /leads?since=&after=&until=&limit=          records by (changed, id), after that pair
GET    /leads/{id}, /leads/by-key/{key}            one record; 404 never was or erased, 410 merged into ``other``
PUT    /leads/by-key/{key}                         create, or update what is there; 201 or 200
PATCH  /leads/{id}                                 update; with ``if-match``, 412 if it has moved; None clears; ``key`` sets it
====== =========================================== =====================================================================
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import msgspec

from sales_crm_bridge.sandbox.faults import FaultKind, Faults
from sales_crm_bridge.sandbox.wire import Answer, ConnectionCut, Cut, Request

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Value = str | int | float | bool | None

PAGE_MAX = 500
TOKEN_S = 600

FIELDS: tuple[dict[str, Any], ...] = (
    {"name": "name", "kind": "text"},
    {"name": "email", "kind": "text", "unique": True},
    {"name": "phone", "kind": "text"},
    {"name": "company", "kind": "text"},
    {"name": "status", "kind": "choice", "options": ["new", "open", "qualified", "disqualified"]},
    {"name": "reason", "kind": "text"},
    {"name": "score", "kind": "number", "writable": False},
)

_CUTS = {
    FaultKind.REFUSED: Cut.REFUSED,
    FaultKind.CUT_BEFORE: Cut.CLOSED,
    FaultKind.CUT_AFTER: Cut.CLOSED,
    FaultKind.TIMEOUT_BEFORE: Cut.TIMEOUT,
    FaultKind.TIMEOUT_AFTER: Cut.TIMEOUT,
}
_AFTER = frozenset({FaultKind.CUT_AFTER, FaultKind.TIMEOUT_AFTER, FaultKind.STATUS_AFTER, FaultKind.TRUNCATED})

encode = msgspec.json.Encoder().encode


class Refusal(Exception):
    """A request that is not carried out."""

    def __init__(self, status: int, error: str, **more: Any) -> None:
        super().__init__(error)
        self.answer = Answer(status, [("content-type", "application/json")], encode({"error": error, **more}))


class Held(msgspec.Struct, kw_only=True):
    """One record."""

    id: int
    made: int
    changed: int
    etag: int
    values: dict[str, Value]
    key: str = ""
    removed: bool = False
    merged: list[str] = []

    def wire(self) -> dict[str, Any]:
        """As the CRM shows it."""
        told = msgspec.structs.asdict(self)
        return told | {"id": str(self.id), "etag": f'"{self.etag}"'}


class MemoryCrm:
    """One account: records, tokens, rights, faults. ``clock`` gives epoch seconds; nothing here knows the world's.

    ``rights``: what the token may, of ``leads:read`` and ``leads:write``. ``day_left``: calls until 429 with ``day-used-up``.
    """

    def __init__(self, *, clock: Callable[[], float], rng: random.Random, password: str = "open-sesame") -> None:  # noqa: S107
        self._clock = clock
        self._password = password
        self._tokens: dict[str, float] = {}
        self._signed_in = self._moves = 0
        self._into: dict[int, int] = {}
        self.records: dict[int, Held] = {}
        self.rights = {"leads:read", "leads:write"}
        self.day_left: int | None = None
        self.faults = Faults(rng)

    @property
    def moves(self) -> int:
        """Grows with everything that is written, by people too."""
        return self._moves

    # --- what a person does -------------------------------------------------------------------------------------------

    def create(self, values: Mapping[str, Value], key: str = "") -> str:
        """Make a record; gives its id."""
        self._check(values, None)
        now = int(self._clock())
        record = Held(id=len(self.records) + 1, made=now, changed=now, etag=0, values={}, key=key)
        self.records[record.id] = record
        self._write(record, values)
        return str(record.id)

    def edit(self, record_id: str, values: Mapping[str, Value]) -> None:
        """Change a record; None clears."""
        self._write(self._record(record_id), values)

    def delete(self, record_id: str) -> None:
        """Put a record into the bin."""
        self._record(record_id).removed = True
        self._write(self._record(record_id), {})

    def restore(self, record_id: str) -> None:
        """Take it out again."""
        self._record(record_id).removed = False
        self._write(self._record(record_id), {})

    def erase(self, record_id: str) -> None:
        """Forget a record for good; its id never comes again."""
        self.records[int(record_id)] = Held(id=0, made=0, changed=0, etag=0, values={})
        self._moves += 1

    def merge(self, primary: str, other: str) -> str:
        """Merge ``other`` into ``primary``, whose values win; gives the survivor's id."""
        survivor, gone = self._record(primary), self._record(other)
        self.erase(other)
        self._into[int(other)] = survivor.id
        survivor.merged = [*survivor.merged, *gone.merged, other]
        self._write(survivor, {name: value for name, value in gone.values.items() if name not in survivor.values})
        return str(survivor.id)

    def expire(self) -> None:
        """Let every token run out."""
        self._tokens.clear()

    def _record(self, record_id: str) -> Held:
        return self.records[int(record_id)]

    def _write(self, record: Held, values: Mapping[str, Value]) -> None:
        merged = {**record.values, **values}
        record.values = {name: value for name, value in merged.items() if value is not None}
        self._moves += 1
        record.changed, record.etag = int(self._clock()), self._moves

    def _check(self, values: Mapping[str, Value], record: Held | None) -> None:
        known = {field["name"]: field for field in FIELDS}
        bad = [name for name in values if name not in known or not known[name].get("writable", True)]
        bad += [
            name
            for name, value in values.items()
            if name not in bad and value is not None and value not in known[name].get("options", [value])
        ]
        if bad:
            raise Refusal(422, "bad-values", fields=bad)
        email = values.get("email")
        holder = next((each for each in self.records.values() if email and each.values.get("email") == email), None)
        if holder is not None and holder is not record:
            raise Refusal(409, "taken", fields=["email"], other=str(holder.id))

    # --- requests -----------------------------------------------------------------------------------------------------

    def pause_s(self) -> float:
        """It is in the same process: nothing is ever under way."""
        return 0.0

    def handle(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Answer one request; see ``Sandbox``."""
        request = Request.of(method, target, headers, body)
        fault = self.faults.take(request)
        if fault is None or fault.kind is FaultKind.DELAY:
            answer = self._answer(request)
            return answer if fault is None else answer._replace(delay_s=fault.delay_s)
        before = self._moves
        answer = self._answer(request) if fault.kind in _AFTER else Answer(500, [], b"")
        if fault.kind in _CUTS:
            raise ConnectionCut(_CUTS[fault.kind], committed=self._moves > before)
        if fault.kind is FaultKind.TRUNCATED:
            return answer._replace(body=answer.body[: len(answer.body) // 2])
        reply = fault.reply if fault.reply is not None else encode({"error": "on-purpose"})
        return Answer(fault.status, list(fault.headers), reply)

    def _answer(self, request: Request) -> Answer:
        try:
            status, told = self._route(request)
        except Refusal as refusal:
            return refusal.answer
        return Answer(status, [("content-type", "application/json")], encode(told))

    def _route(self, request: Request) -> tuple[int, dict[str, Any]]:
        way = [request.method, *request.segments()]
        if way == ["POST", "sign-in"]:
            return 200, self._sign_in(request)
        self._admit(request)
        match way:
            case ["GET", "about"]:
                return 200, {"account": "memory-1", "name": "Memory", "zone": "Europe/Berlin", "fields": FIELDS}
            case ["GET", "leads"]:
                return 200, self._page(request.query)
            case ["GET", "leads", "by-key", key]:
                return 200, self._by_key(key).wire()
            case ["GET", "leads", name]:
                return 200, self._by_id(name, removed=True).wire()
            case ["PUT", "leads", "by-key", key]:
                return self._put(key, self._values(request))
            case ["PATCH", "leads", name]:
                record = self._by_id(name, removed=False)
                if request.headers.get("if-match") not in (None, f'"{record.etag}"'):
                    raise Refusal(412, "moved")
                values = self._values(request)
                self._check(values, record)
                record.key = self._new_key(request, record)
                self._write(record, values)
                return 200, record.wire()
            case _:
                raise Refusal(404, "no-such-place")

    def _sign_in(self, request: Request) -> dict[str, Any]:
        if msgspec.json.decode(request.body).get("password") != self._password:
            raise Refusal(400, "wrong-password")
        self._signed_in += 1
        token = f"token-{self._signed_in}"
        self._tokens[token] = self._clock() + TOKEN_S
        return {"token": token, "seconds": TOKEN_S}

    def _admit(self, request: Request) -> None:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if self._tokens.get(token, 0.0) <= self._clock():
            raise Refusal(401, "token-unknown")
        right = "leads:read" if request.method == "GET" else "leads:write"
        if right not in self.rights:
            raise Refusal(403, "right-missing", rights=[right])
        if self.day_left is not None:
            if self.day_left <= 0:
                raise Refusal(429, "day-used-up")
            self.day_left -= 1

    def _page(self, query: Mapping[str, str]) -> dict[str, Any]:
        limit = min(int(query.get("limit", "100")), PAGE_MAX)
        alive = [record for record in self.records.values() if record.id]
        if "since" in query:
            first = (int(query["since"]), int(query.get("after") or -1))
            until = int(query.get("until") or 1 << 62)
            found = sorted((each.changed, each.id) for each in alive if not each.removed and each.changed < until)
            ids = [one for changed, one in found if (changed, one) > first]
        else:
            removed = query.get("removed") == "1"
            ids = sorted(
                each.id for each in alive if each.removed is removed and each.id > int(query.get("token") or 0)
            )
        onward = str(ids[limit - 1]) if len(ids) > limit else ""
        return {"records": [self.records[one].wire() for one in ids[:limit]], "next": onward}

    def _by_id(self, name: str, *, removed: bool) -> Held:
        number = int(name) if name.isdecimal() else 0
        if number in self._into:
            while number in self._into:
                number = self._into[number]
            raise Refusal(410, "merged", other=str(number))
        record = self.records.get(number)
        if record is None or not record.id or (record.removed and not removed):
            raise Refusal(404, "not-there")
        return record

    def _by_key(self, key: str) -> Held:
        found = next((each for each in self.records.values() if each.id and each.key == key), None)
        if found is None:
            raise Refusal(404, "not-there")
        return found

    def _put(self, key: str, values: dict[str, Value]) -> tuple[int, dict[str, Any]]:
        try:
            record = self._by_key(key)
        except Refusal:
            return 201, self._record(self.create(values, key)).wire()
        if record.removed:
            raise Refusal(404, "not-there")
        self._check(values, record)
        self._write(record, values)
        return 200, record.wire()

    def _new_key(self, request: Request, record: Held) -> str:
        key = _body(request).key or record.key
        if any(each.id and each.key == key for each in self.records.values() if key and each is not record):
            raise Refusal(409, "taken", fields=["key"])
        return key

    def _values(self, request: Request) -> dict[str, Value]:
        return _body(request).values


class _Body(msgspec.Struct):
    values: dict[str, Value]
    key: str = ""


def _body(request: Request) -> _Body:
    try:
        return msgspec.json.decode(request.body, type=_Body)
    except msgspec.MsgspecError:
        raise Refusal(400, "bad-body") from None
