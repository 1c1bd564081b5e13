"""The RPC dialect: JSON-RPC 2.0 over POST to one address, in the manner of the big open-source business suites.

What its reference would say. Every call is ``POST /jsonrpc`` with ``{jsonrpc: "2.0", id, method, params}`` and is answered with
HTTP 200 and ``{jsonrpc, id, result}`` or ``{jsonrpc, id, error: {code, message, data: {name, message, fields?}}}``.

================ ================================================ ========================================================
method           params                                           result
================ ================================================ ========================================================
session.open     ``{database, login, password}``                  ``{session, uid, expires_in}``: an hour, in header ``X-Session``
session.info     ``{}``                                           ``{uid, company: {id, name}, tz}``
object.call      ``{model: "crm.lead", method, args, kwargs}``    that of the method
================ ================================================ ========================================================

Methods of ``crm.lead``:

================ ================================================ ========================================================
fields_get       ``[]``                                           ``{name: {type, readonly, required, selection?}}``
search_read      ``[]``, ``{domain, fields, limit, offset, order, ``[{id, <field>: value}]``; ``order`` is ``id`` or
                 context}``                                        ``write_date,id``
read             ``[[ids], [fields]]``                            the same for these; ids that are not there are left out
create           ``[{values}]``                                   the new id, and nothing else
write            ``[[ids], {values}]``                            ``true``; ``false`` empties a field
unlink           ``[[ids]]``                                      ``true``: gone for good
================ ================================================ ========================================================

A domain is in Polish notation (``domain.py``). An archived record has ``active: false``, and a search leaves it out unless the
domain names ``active`` or ``context`` has ``active_test: false``; ``read`` shows it. Times are texts in UTC without saying so,
``2026-09-21 14:13:20``, in whole seconds; an empty field is ``false``; ``user_id`` reads as ``[id, name]`` and is written as a
number. ``x_bridge_ref`` is unique.

Errors by ``data.name``: ``SessionExpired`` (code 100), ``AccessDenied`` (a wrong password), ``AccessError`` (a right that is
missing), ``ValidationError`` and ``ValueError`` (``fields``), ``UniqueViolation`` (``fields``), ``MissingError``,
``LockNotAvailable`` (try again), all 200 but what stands before the suite says itself: 429, 502, 503.

Vices: a good status means nothing; a write answers without a record; ``search_read`` has no more than 80 rows unless told
otherwise, and never more than 500; several records share a second.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from sales_crm_bridge.sandbox.dialects.counter import Counter, Value, json_answer, json_object
from sales_crm_bridge.sandbox.dialects.domain import BadDomain, Domain
from sales_crm_bridge.sandbox.wire import Answer

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping

    from sales_crm_bridge.sandbox.wire import Request

LOGIN, SECRET = "bridge", "rpc-secret"
ROWS_MAX = 500
ROWS = 80
SESSION_S = 3_600

FIELDS: dict[str, dict[str, Any]] = {
    "id": {"type": "integer", "readonly": True, "required": False},
    "name": {"type": "char", "readonly": False, "required": True},
    "partner_name": {"type": "char", "readonly": False, "required": False},
    "email_from": {"type": "char", "readonly": False, "required": False},
    "phone": {"type": "char", "readonly": False, "required": False},
    "stage": {
        "type": "selection",
        "readonly": False,
        "required": False,
        "selection": [["new", "New"], ["qualified", "Qualified"], ["proposition", "Proposition"], ["lost", "Lost"]],
    },
    "user_id": {"type": "many2one", "readonly": False, "required": False},
    "probability": {"type": "float", "readonly": True, "required": False},
    "x_bridge_ref": {"type": "char", "readonly": False, "required": False},
    "active": {"type": "boolean", "readonly": False, "required": False},
    "create_date": {"type": "datetime", "readonly": True, "required": False},
    "write_date": {"type": "datetime", "readonly": True, "required": False},
}
USERS = {2: "Sales desk", 5: "Key accounts"}


class Trouble(Exception):
    """A call that ends in an error object."""

    def __init__(self, name: str, message: str, *fields: str, code: int = 200) -> None:
        super().__init__(message)
        self.error = {
            "code": code,
            "message": "Session Expired" if code == 100 else "Server Error",  # noqa: PLR2004
            "data": {"name": name, "message": message, **({"fields": list(fields)} if fields else {})},
        }


class Row(msgspec.Struct, kw_only=True):
    """One record; ``values`` without those that are empty."""

    id: int
    made: int
    changed: int
    values: dict[str, Value]
    active: bool = True

    def wire(self) -> dict[str, Any]:
        """Every field as it is read; ``False`` for an empty one."""
        user = self.values.get("user_id")
        return {
            **{name: self.values.get(name, False) for name in FIELDS},
            "id": self.id,
            "user_id": [user, USERS[user]] if isinstance(user, int) else False,
            "active": self.active,
            "create_date": stamp(self.made),
            "write_date": stamp(self.changed),
        }


def stamp(seconds: int) -> str:
    """A moment as the suite writes it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


class Rpc(Counter):
    """One database. ``rights``: what the user may, of ``read`` and ``write``; ``locked``: ids that another transaction holds."""

    def __init__(
        self, *, clock: Callable[[], float], rng: random.Random, login: str = LOGIN, password: str = SECRET
    ) -> None:
        super().__init__(clock=clock, rng=rng)
        self._login = login
        self._password = password
        self._sessions: dict[str, float] = {}
        self._opened = self._last = 0
        self.rows: dict[int, Row] = {}
        self.rights = {"read", "write"}
        self.locked: set[int] = set()

    # --- what a person does -------------------------------------------------------------------------------------------

    def create(self, values: Mapping[str, Value]) -> str:
        """Make a record; gives its id."""
        return str(self._create(values).id)

    def edit(self, row_id: str, values: Mapping[str, Value]) -> None:
        """Change a record; None empties."""
        self._write(self.rows[int(row_id)], values)

    def archive(self, row_id: str) -> None:
        """Take a record out of sight."""
        self._write(self.rows[int(row_id)], {"active": False})

    def unarchive(self, row_id: str) -> None:
        """Bring it back."""
        self._write(self.rows[int(row_id)], {"active": True})

    def unlink(self, row_id: str) -> None:
        """Forget a record; its id never comes again."""
        del self.rows[int(row_id)]

    def expire(self) -> None:
        """End every session."""
        self._sessions.clear()

    def live(self) -> dict[str, dict[str, Value]]:
        """What is really there: id → values."""
        return {str(row.id): row.values for row in self.rows.values() if row.active}

    # --- requests -----------------------------------------------------------------------------------------------------

    def worded(self, status: int) -> Answer:
        """What the server in front of the suite says by itself."""
        page = f"<html><head><title>{status}</title></head><body><h1>{status}</h1></body></html>"
        return Answer(status, [("content-type", "text/html")], page.encode())

    def answer(self, request: Request) -> Answer:
        """Carry a call out; see the module."""
        if [request.method, request.path] != ["POST", "/jsonrpc"]:
            return self.worded(404)
        body = json_object(request.body)
        number = body.get("id") if body is not None else None
        try:
            result = self._call(body or {}, request.headers.get("x-session", ""))
        except Trouble as trouble:
            return json_answer(200, {"jsonrpc": "2.0", "id": number, "error": trouble.error})
        return json_answer(200, {"jsonrpc": "2.0", "id": number, "result": result})

    def _call(self, body: dict[str, Any], session: str) -> Any:
        method, params = body.get("method"), body.get("params")
        if body.get("jsonrpc") != "2.0" or not isinstance(params, dict):
            raise Trouble("InvalidRequest", "not a call", code=-32600)
        if method == "session.open":
            return self._open(params)
        if self._sessions.get(session, 0.0) <= self._clock():
            raise Trouble("SessionExpired", "the session has ended", code=100)
        match method:
            case "session.info":
                return {"uid": 7, "company": {"id": 1, "name": "RPC company"}, "tz": "Europe/Berlin"}
            case "object.call":
                args, kwargs = params.get("args", []), params.get("kwargs", {})
                if params.get("model") != "crm.lead" or not isinstance(args, list) or not isinstance(kwargs, dict):
                    raise Trouble("ValueError", "unknown model, or arguments that are none")
                return self._object(str(params.get("method")), args, kwargs)
            case _:
                raise Trouble("MethodNotFound", "no such method", code=-32601)

    def _open(self, params: dict[str, Any]) -> dict[str, Any]:
        if (params.get("database"), params.get("login"), params.get("password")) != (
            "main",
            self._login,
            self._password,
        ):
            raise Trouble("AccessDenied", "wrong login or password")
        self._opened += 1
        session = f"session-{self._opened}-{self._rng.getrandbits(64):016x}"
        self._sessions[session] = self._clock() + SESSION_S
        return {"session": session, "uid": 7, "expires_in": SESSION_S}

    def _object(self, method: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        right = "write" if method in ("create", "write", "unlink") else "read"
        if right not in self.rights:
            raise Trouble("AccessError", f"no right to {right} records of crm.lead")
        match method, args:
            case "fields_get", []:
                return FIELDS
            case "search_read", []:
                return self._search(kwargs)
            case "read", [list() as ids, list() as names]:
                return [self._shown(self.rows[one], names) for one in ids if one in self.rows]
            case "create", [dict() as values]:
                self._check(values, None)
                if not values.get("name"):
                    raise Trouble("ValidationError", "a mandatory field is empty", "name")
                return self._create(values).id
            case _:
                return self._changed(method, args)

    def _changed(self, method: str, args: list[Any]) -> bool:
        match method, args:
            case "write", [list() as ids, dict() as values]:
                rows = self._rows(ids)
                for row in rows:
                    self._check(values, row)
                for row in rows:
                    self._write(row, values)
            case "unlink", [list() as ids]:
                for row in self._rows(ids):
                    self.unlink(str(row.id))
                    self.moves += 1
            case _:
                raise Trouble("TypeError", "no such method with such arguments")
        return True

    def _rows(self, ids: list[Any]) -> list[Row]:
        missing = [one for one in ids if not isinstance(one, int) or one not in self.rows]
        if missing:
            raise Trouble("MissingError", "a record does not exist or has been deleted")
        if self.locked.intersection(ids):
            raise Trouble("LockNotAvailable", "could not obtain lock on row")
        return [self.rows[one] for one in ids]

    def _shown(self, row: Row, names: list[Any]) -> dict[str, Any]:
        wire = row.wire()
        unknown = [name for name in names if name not in wire]
        if unknown:
            raise Trouble("ValueError", "unknown field", *map(str, unknown))
        return {name: wire[name] for name in ("id", *(names or wire))}

    def _search(self, kwargs: dict[str, Any]) -> list[dict[str, Any]]:
        try:
            domain = Domain(kwargs.get("domain", []), FIELDS)
        except BadDomain as bad:
            raise Trouble("ValueError", str(bad)) from None
        order, limit, offset = kwargs.get("order", "id"), kwargs.get("limit", ROWS), kwargs.get("offset", 0)
        if order not in ("id", "write_date,id") or not isinstance(limit, int) or not isinstance(offset, int):
            raise Trouble("ValueError", "an order, limit or offset that is none")
        context = kwargs.get("context", {})
        hidden = "active" not in domain.fields and context.get("active_test", True)
        found = [
            (row.changed if order == "write_date,id" else 0, row.id)
            for row in self.rows.values()
            if (row.active or not hidden) and domain.holds(row.wire())
        ]
        rows = sorted(found)[max(offset, 0) :][: min(max(limit, 1), ROWS_MAX)]
        return [self._shown(self.rows[one], kwargs.get("fields", [])) for _, one in rows]

    # --- writing ------------------------------------------------------------------------------------------------------

    def _check(self, values: Mapping[str, Any], row: Row | None) -> None:
        for name, value in values.items():
            field = FIELDS.get(name)
            if field is None or field["readonly"]:
                raise Trouble("ValueError", "invalid field on model crm.lead", name)
            if value is False or value is None:
                continue
            options = [option for option, _ in field.get("selection", ())]
            wanted = {"many2one": int, "boolean": bool}.get(field["type"], str)
            if not isinstance(value, wanted) or (options and value not in options):
                raise Trouble("ValidationError", "wrong value for a field", name)
            if name == "user_id" and value not in USERS:
                raise Trouble("ValidationError", "no such user", name)
        key = values.get("x_bridge_ref")
        if key and any(one.values.get("x_bridge_ref") == key and one is not row for one in self.rows.values()):
            raise Trouble("UniqueViolation", "the reference must be unique", "x_bridge_ref")

    def _create(self, values: Mapping[str, Value]) -> Row:
        now = self.now_s()
        self._last += 1
        row = Row(id=self._last, made=now, changed=now, values={})
        self.rows[row.id] = row
        self._write(row, values)
        return row

    def _write(self, row: Row, values: Mapping[str, Value]) -> None:
        merged = {**row.values, **values}
        row.active = bool(merged.pop("active", row.active))
        row.values = {name: value for name, value in merged.items() if value not in (None, False, "")}
        self.moves += 1
        row.changed = self.now_s()
