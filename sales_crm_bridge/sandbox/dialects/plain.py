"""The plain dialect: an orderly REST API with JSON, numbered offsets, ETags and problem details.

What its reference would say, under ``/api/v1``; every call carries ``X-Api-Key``:

====== ==================== ===========================================================================================
GET    /account             ``{id, name, timezone, callsPerDay, callsLeftToday}``
GET    /fields              ``{fields: [{key, type, readOnly, required, unique, choices?}]}``
GET    /people              ``offset`` (0), ``limit`` (1 … 200, default 50), ``sort`` (``id``, or ``updatedAt``: by time, then id),
                            ``updatedSince`` (RFC 3339, whole seconds, that second included), ``externalId`` →
                            ``{items: [Person], offset, limit, total}``
GET    /people/deleted      ``offset``, ``limit`` → ``{items: [{id, version, deletedAt}], …}``: the bin, newest last
POST   /people              writable fields → 201 Person, ``Location``; 409 ``external-id-taken`` with ``existing``
GET    /people/{id}         200 Person; 404 never was or purged; 410 in the bin (with ``version``, ``deletedAt``)
PATCH  /people/{id}         JSON merge patch, null clears; ``If-Match`` → 200 Person; 404, 410, 412, 422
DELETE /people/{id}         204: into the bin
POST   /people/{id}/restore 200 Person
====== ==================== ===========================================================================================

Person: ``{id: integer, version: integer, createdAt, updatedAt, externalId, fullName, email, phone, company, status, lostReason,
score}``; an empty field is null. ``ETag`` is the quoted version, which every write moves; times are in whole seconds. Refusals
are ``application/problem+json`` (RFC 9457): ``{type, title, status, …}``; 422 has ``errors: [{pointer, code}]``; 401 without a
known key; 403 with ``missing``; 429 with ``Retry-After`` and ``policy`` (``burst`` or ``day``); an unknown query parameter is
400.

Vices: an offset counts what is there now, so a page read after a record has left (or moved to the end of ``updatedAt``) begins
too late; many records share a second; e-mail addresses come back in lower case.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from sales_crm_bridge.sandbox.dialects.counter import Counter, Refusal, Value, json_answer, json_object, page_number
from sales_crm_bridge.sandbox.wire import Answer

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable, Mapping

    from sales_crm_bridge.sandbox.wire import Request

PAGE_MAX = 200
PROBLEMS = "https://errors.plain.example/"

FIELDS: tuple[dict[str, Any], ...] = (
    {"key": "externalId", "type": "string", "readOnly": False, "required": False, "unique": True},
    {"key": "fullName", "type": "string", "readOnly": False, "required": True, "unique": False},
    {"key": "email", "type": "string", "readOnly": False, "required": False, "unique": False},
    {"key": "phone", "type": "string", "readOnly": False, "required": False, "unique": False},
    {"key": "company", "type": "string", "readOnly": False, "required": False, "unique": False},
    {
        "key": "status",
        "type": "choice",
        "readOnly": False,
        "required": False,
        "unique": False,
        "choices": ["New", "Contacted", "Qualified", "Lost"],
    },
    {"key": "lostReason", "type": "string", "readOnly": False, "required": False, "unique": False},
    {"key": "score", "type": "number", "readOnly": True, "required": False, "unique": False},
)
_KNOWN = {field["key"]: field for field in FIELDS}


class Person(msgspec.Struct, kw_only=True):
    """One record; ``deleted`` is when it went into the bin (0: it is not there)."""

    id: int
    made: int
    changed: int
    version: int
    values: dict[str, Value]
    deleted: int = 0

    def wire(self) -> dict[str, Any]:
        """As the API shows it."""
        return {
            "id": self.id,
            "version": self.version,
            "createdAt": stamp(self.made),
            "updatedAt": stamp(self.changed),
            **{name: self.values.get(name) for name in _KNOWN},
        }


def stamp(seconds: int) -> str:
    """RFC 3339 in UTC, whole seconds."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Plain(Counter):
    """One account. ``rights``: what the key may, of ``people:read`` and ``people:write``; ``day_left``: calls (None: no limit)."""

    def __init__(self, *, clock: Callable[[], float], rng: random.Random, key: str = "plain-key") -> None:
        super().__init__(clock=clock, rng=rng)
        self.key = key
        self.people: dict[int, Person] = {}
        self.rights = {"people:read", "people:write"}
        self.day_left: int | None = None
        self._last = 100

    # --- what a person does -------------------------------------------------------------------------------------------

    def create(self, values: Mapping[str, Value]) -> str:
        """Make a record; gives its id."""
        return str(self._create(values).id)

    def edit(self, person_id: str, values: Mapping[str, Value]) -> None:
        """Change a record; None clears."""
        self._write(self.people[int(person_id)], values)

    def delete(self, person_id: str) -> None:
        """Put a record into the bin."""
        person = self.people[int(person_id)]
        self._write(person, {})
        person.deleted = person.changed

    def restore(self, person_id: str) -> None:
        """Take it out again."""
        person = self.people[int(person_id)]
        person.deleted = 0
        self._write(person, {})

    def purge(self, person_id: str) -> None:
        """Forget a record; its id never comes again."""
        del self.people[int(person_id)]

    def live(self) -> dict[str, dict[str, Value]]:
        """What is really there: id → values."""
        return {str(one.id): one.values for one in self.people.values() if not one.deleted}

    # --- requests -----------------------------------------------------------------------------------------------------

    def worded(self, status: int) -> Answer:
        """A problem without details."""
        return problem(status, "about:blank")

    def answer(self, request: Request) -> Answer:
        """Carry a request out; see the module."""
        if request.headers.get("x-api-key") != self.key:
            raise Refusal(problem(401, "unknown-key"))
        right = "people:read" if request.method == "GET" else "people:write"
        if right not in self.rights:
            raise Refusal(problem(403, "right-missing", missing=[right]))
        if self.day_left is not None:
            if self.day_left <= 0:
                raise Refusal(problem(429, "too-many-calls", headers=[("retry-after", "3600")], policy="day"))
            self.day_left -= 1
        if request.segments()[:2] != ["api", "v1"]:
            raise Refusal(problem(404, "no-such-place"))
        way = request.segments()[2:]
        return (
            self._shows(way, request.query) if request.method == "GET" else self._writes(request.method, way, request)
        )

    def _shows(self, way: list[str], query: Mapping[str, str]) -> Answer:
        match way:
            case ["account"]:
                return json_answer(200, self._account())
            case ["fields"]:
                return json_answer(200, {"fields": FIELDS})
            case ["people"]:
                return json_answer(200, self._people(query))
            case ["people", "deleted"]:
                return json_answer(200, self._deleted(query))
            case ["people", name]:
                return self._shown(self._person(name))
            case _:
                raise Refusal(problem(404, "no-such-place"))

    def _writes(self, method: str, way: list[str], request: Request) -> Answer:
        match [method, *way]:
            case ["POST", "people"]:
                return self._post(self._body(request))
            case ["PATCH", "people", name]:
                return self._patch(self._person(name), request)
            case ["DELETE", "people", name]:
                self.delete(str(self._person(name).id))
                return Answer(204, [], b"")
            case ["POST", "people", name, "restore"]:
                self.restore(str(self._person(name, binned=True).id))
                return self._shown(self._person(name))
            case _:
                raise Refusal(problem(404, "no-such-place"))

    def _account(self) -> dict[str, Any]:
        left = 10_000 if self.day_left is None else self.day_left
        return {
            "id": "plain-1",
            "name": "Plain account",
            "timezone": "Europe/Berlin",
            "callsPerDay": 10_000,
            "callsLeftToday": left,
        }

    def _people(self, query: Mapping[str, str]) -> dict[str, Any]:
        self._allow(query, "offset", "limit", "sort", "updatedSince", "externalId")
        found: Iterable[Person] = (one for one in self.people.values() if not one.deleted)
        if "externalId" in query:
            found = (one for one in found if one.values.get("externalId") == query["externalId"])
        if "updatedSince" in query:
            since = self._time(query["updatedSince"])
            found = (one for one in found if one.changed >= since)
        by = query.get("sort", "id")
        if by not in ("id", "updatedAt"):
            raise Refusal(problem(400, "bad-parameter", parameter="sort"))
        ordered = sorted(found, key=lambda one: (one.changed if by == "updatedAt" else 0, one.id))
        return self._sliced([one.wire() for one in ordered], query)

    def _deleted(self, query: Mapping[str, str]) -> dict[str, Any]:
        self._allow(query, "offset", "limit")
        found = sorted((one for one in self.people.values() if one.deleted), key=lambda one: (one.deleted, one.id))
        stubs = [{"id": one.id, "version": one.version, "deletedAt": stamp(one.deleted)} for one in found]
        return self._sliced(stubs, query)

    def _sliced(self, rows: list[dict[str, Any]], query: Mapping[str, str]) -> dict[str, Any]:
        offset = page_number(query.get("offset"), 0, 0, 10**8)
        limit = page_number(query.get("limit"), 50, 1, PAGE_MAX)
        if offset is None or limit is None:
            raise Refusal(problem(400, "bad-parameter", parameter="offset" if offset is None else "limit"))
        return {"items": rows[offset : offset + limit], "offset": offset, "limit": limit, "total": len(rows)}

    def _allow(self, query: Mapping[str, str], *names: str) -> None:
        for name in query:
            if name not in names:
                raise Refusal(problem(400, "unknown-parameter", parameter=name))

    def _time(self, text: str) -> int:
        try:
            moment = datetime.strptime(text, "%Y-%m-%dT%H:%M:%S%z")
        except ValueError:
            raise Refusal(problem(400, "bad-parameter", parameter="updatedSince")) from None
        return int(moment.timestamp())

    def _person(self, name: str, *, binned: bool = False) -> Person:
        person = self.people.get(int(name)) if name.isascii() and name.isdecimal() and len(name) < 16 else None  # noqa: PLR2004 - no id is so long
        if person is None:
            raise Refusal(problem(404, "not-found"))
        if person.deleted and not binned:
            raise Refusal(
                problem(410, "deleted", id=person.id, version=person.version, deletedAt=stamp(person.deleted))
            )
        return person

    def _shown(self, person: Person, status: int = 200) -> Answer:
        etag = ("etag", f'"{person.version}"')
        place = [("location", f"/api/v1/people/{person.id}")] if status == 201 else []  # noqa: PLR2004
        return json_answer(status, person.wire(), etag, *place)

    def _body(self, request: Request) -> dict[str, Value]:
        values = json_object(request.body)
        if values is None:
            raise Refusal(problem(400, "bad-body"))
        return values

    def _post(self, values: dict[str, Value]) -> Answer:
        self._check(values, None)
        if not values.get("fullName"):
            raise Refusal(problem(422, "invalid", errors=[{"pointer": "/fullName", "code": "required"}]))
        return self._shown(self._create(values), 201)

    def _patch(self, person: Person, request: Request) -> Answer:
        wanted = request.headers.get("if-match")
        if wanted not in (None, "*", f'"{person.version}"'):
            raise Refusal(problem(412, "moved", version=person.version))
        values = self._body(request)
        self._check(values, person)
        self._write(person, values)
        return self._shown(person)

    def _check(self, values: Mapping[str, Value], person: Person | None) -> None:
        errors = []
        for name, value in values.items():
            field = _KNOWN.get(name)
            if field is None or field["readOnly"]:
                code = "unknown" if field is None else "read-only"
                errors.append({"pointer": f"/{name}", "code": code})
            elif value is not None and (not isinstance(value, str) or value not in field.get("choices", [value])):
                errors.append({"pointer": f"/{name}", "code": "choice" if "choices" in field else "type"})
        if errors:
            raise Refusal(problem(422, "invalid", errors=errors))
        key = values.get("externalId")
        for other in self.people.values():
            if key and other.values.get("externalId") == key and other is not person:
                raise Refusal(problem(409, "external-id-taken", existing=other.id))

    def _create(self, values: Mapping[str, Value]) -> Person:
        now = self.now_s()
        self._last += 3
        person = Person(id=self._last, made=now, changed=now, version=0, values={})
        self.people[person.id] = person
        self._write(person, values)
        return person

    def _write(self, person: Person, values: Mapping[str, Value]) -> None:
        merged = {**person.values, **values}
        person.values = {
            name: value.lower() if name == "email" and isinstance(value, str) else value
            for name, value in merged.items()
            if value not in (None, "")
        }
        self.moves += 1
        person.changed = self.now_s()
        person.version += 1


def problem(status: int, name: str, *, headers: Iterable[tuple[str, str]] = (), **more: Any) -> Answer:
    """Problem details (RFC 9457)."""
    kind = name if name == "about:blank" else f"{PROBLEMS}{name}"
    told = {"type": kind, "title": name.replace("-", " "), "status": status, **more}
    return json_answer(status, told, *headers, media="application/problem+json")
