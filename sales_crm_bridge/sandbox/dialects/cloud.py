"""The cloud dialect: OAuth client credentials, cursors in ``Link`` headers, batches answered 207 in any order, signed webhooks.

What its reference would say:

====== ======================= ========================================================================================
POST   /oauth/token            form ``grant_type=client_credentials``, the client in ``Authorization: Basic`` →
                               ``{access_token, token_type, expires_in}``; 401 ``{error: invalid_client}``
GET    /v2/me                  ``{data: {id, attributes: {name, time_zone}}}``
GET    /v2/schema/leads        ``{data: {attributes: {name: {type, writable, required, unique, options?}}}}``; the names of nested
                               attributes have dots
GET    /v2/leads               ``page[size]`` (1 … 100), ``page[cursor]``, ``filter[modified_after]`` (epoch ms, exclusive),
                               ``filter[modified_before]`` (exclusive), ``filter[deleted]`` (``without``, ``with``,
                               ``only``), ``filter[id]``, ``filter[external_id]`` (up to 100, by commas) → ``{data: [Lead]}`` by
                               modified time, then id; ``Link: <…>; rel="next"`` while there is more
PUT    /v2/leads/external/{id} ``{attributes}``: the lead with this ``external_id``, made if it is not there → 201 or 200 Lead
PATCH  /v2/leads/{id}          ``{attributes, if_revision?}`` → 200 Lead
POST   /v2/leads/batch         ``{operations: [Operation]}``, up to 50 → 207 ``{results: [Result]}`` in any order
DELETE /v2/leads/{id}          202
====== ======================= ========================================================================================

Lead: ``{id, external_id, revision, deleted, times: {created, modified}, attributes: {title, company, stage, rating, contact:
{email, phone}}}``; times in epoch milliseconds, an empty attribute is left out. Operation: ``{ref, op: upsert, external_id,
attributes}`` or ``{ref, op: update, id, if_revision?, attributes}``; attributes that are not named stay, null clears,
``contact`` is merged. Result: ``{ref, status, lead?, error?}``. A single write is refused with the same words and statuses.
Errors: ``{error: {code, message, details: [{attribute, code}], other?}}``; of an item 404 ``not_found``, 410 ``deleted``, 409
``revision_changed`` or ``email_taken`` (with ``other``), 422 ``invalid``.

Every answer has ``X-RateLimit-Limit``, ``-Remaining`` and ``-Reset`` (seconds until the ten are over) and
``X-Daily-Remaining``; 429 has ``Retry-After``. A token lasts ten minutes and may be withdrawn at any time, in the middle of a
walk too: 401, and the cursor goes on with the next token. A cursor is good for a quarter of an hour: 410 ``cursor_expired``.

Webhooks: one POST per delivery, ``X-Cloud-Timestamp`` (epoch seconds) and ``X-Cloud-Signature: v1=<hex>``, HMAC-SHA-256 over
``timestamp.body``; body ``{delivery, events: [{type: lead.created|lead.updated|lead.deleted|lead.restored, lead_id, at}]}``.

Vices: ids in no order; one instant for many records; results in any order; events doubled.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote

import msgspec

from sales_crm_bridge.sandbox.dialects.counter import (
    Counter,
    Refusal,
    Value,
    encode,
    json_answer,
    json_object,
    page_number,
)
from sales_crm_bridge.sandbox.wire import Answer, Request

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping

CLIENT, SECRET = "cloud-client", "cloud-secret"
PAGE_MAX = 100
BATCH_MAX = 50
IDS_MAX = 100
TOKEN_S = 600
CURSOR_S = 900
WINDOW_S = 10
CALLS_PER_WINDOW = 100
CALLS_PER_DAY = 20_000
DAY_S = 86_400

ATTRIBUTES: dict[str, dict[str, Any]] = {
    "title": {"type": "text", "writable": True, "required": True, "unique": False},
    "company": {"type": "text", "writable": True, "required": False, "unique": False},
    "stage": {
        "type": "option",
        "writable": True,
        "required": False,
        "unique": False,
        "options": ["open", "working", "won", "lost"],
    },
    "rating": {"type": "number", "writable": False, "required": False, "unique": False},
    "contact.email": {"type": "text", "writable": True, "required": False, "unique": True},
    "contact.phone": {"type": "text", "writable": True, "required": False, "unique": False},
}


class Held(msgspec.Struct, kw_only=True):
    """One record; ``values`` by dotted names."""

    id: str
    made_ms: int
    changed_ms: int
    revision: int
    values: dict[str, Value]
    key: str = ""
    deleted: bool = False

    def wire(self) -> dict[str, Any]:
        """As the API shows it."""
        attributes: dict[str, Any] = {}
        for name, value in self.values.items():
            outer, _, inner = name.rpartition(".")
            (attributes.setdefault(outer, {}) if outer else attributes)[inner] = value
        return {
            "id": self.id,
            "external_id": self.key or None,
            "revision": f"r{self.revision}",
            "deleted": self.deleted,
            "times": {"created": self.made_ms, "modified": self.changed_ms},
            "attributes": attributes,
        }


class Cloud(Counter):
    """One account. ``scopes``: what a new token may, of ``leads:read`` and ``leads:write``.

    ``token_calls``: after so many calls a token is withdrawn (None: never).
    """

    def __init__(
        self, *, clock: Callable[[], float], rng: random.Random, client: str = CLIENT, secret: str = SECRET
    ) -> None:
        super().__init__(clock=clock, rng=rng)
        self._client = base64.b64encode(f"{client}:{secret}".encode()).decode()
        self._tokens: dict[str, tuple[float, set[str], int]] = {}
        self._issued = 0
        self._window: tuple[int, int] = (0, 0)
        self._day: tuple[int, int] = (0, 0)
        self.leads: dict[str, Held] = {}
        self.scopes = {"leads:read", "leads:write"}
        self.token_calls: int | None = None
        self.calls_per_window = CALLS_PER_WINDOW
        self.calls_per_day = CALLS_PER_DAY
        self.events: list[dict[str, Any]] = []
        self._cursors_from_s = 0

    # --- what a person does -------------------------------------------------------------------------------------------

    def create(self, values: Mapping[str, Value], key: str = "") -> str:
        """Make a record; gives its id."""
        now = self._now_ms()
        lead = Held(id=self._new_id(), made_ms=now, changed_ms=now, revision=0, values={}, key=key)
        self.leads[lead.id] = lead
        self._write(lead, values, "created")
        return lead.id

    def edit(self, lead_id: str, values: Mapping[str, Value]) -> None:
        """Change a record by dotted names; None clears."""
        self._write(self.leads[lead_id], values, "updated")

    def delete(self, lead_id: str) -> None:
        """Mark a record as deleted."""
        self.leads[lead_id].deleted = True
        self._write(self.leads[lead_id], {}, "deleted")

    def restore(self, lead_id: str) -> None:
        """Take the mark away."""
        self.leads[lead_id].deleted = False
        self._write(self.leads[lead_id], {}, "restored")

    def purge(self, lead_id: str) -> None:
        """Forget a record; its id never comes again."""
        del self.leads[lead_id]

    def expire(self) -> None:
        """Withdraw every token."""
        self._tokens.clear()

    def forget_cursors(self) -> None:
        """Let every cursor run out that was given so far."""
        self._cursors_from_s = self.now_s() + 1

    def live(self) -> dict[str, dict[str, Value]]:
        """What is really there: id → values."""
        return {one.id: one.values for one in self.leads.values() if not one.deleted}

    def delivery(self, secret: str) -> tuple[dict[str, str], bytes] | None:
        """Headers and body of the next webhook, signed now; None: nothing has happened. One event in ten comes twice."""
        if not self.events:
            return None
        told = [event for event in self.events for _ in range(2 if self._rng.random() < 0.1 else 1)]  # noqa: PLR2004
        self.events = []
        body = encode({"delivery": f"dl_{self._rng.getrandbits(40):010x}", "events": told})
        stamp = str(self.now_s())
        signature = hmac.new(secret.encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
        headers = {"content-type": "application/json", "x-cloud-timestamp": stamp}
        return headers | {"x-cloud-signature": f"v1={signature}"}, body

    def _now_ms(self) -> int:
        return round(self._clock() * 1e6) // 1000

    def _new_id(self) -> str:
        name = f"ld_{self._rng.getrandbits(40):010x}"
        return self._new_id() if name in self.leads else name

    def _write(self, lead: Held, values: Mapping[str, Value], what: str) -> None:
        merged = {**lead.values, **values}
        lead.values = {name: value for name, value in merged.items() if value not in (None, "")}
        self.moves += 1
        lead.changed_ms = self._now_ms()
        lead.revision = self.moves
        self.events.append({"type": f"lead.{what}", "lead_id": lead.id, "at": lead.changed_ms})

    # --- requests -----------------------------------------------------------------------------------------------------

    def worded(self, status: int) -> Answer:
        """An error without details."""
        return error(status, "unavailable" if status >= 500 else "refused", "on purpose")  # noqa: PLR2004

    def answer(self, request: Request) -> Answer:
        """Carry a request out; see the module."""
        if [request.method, request.path] == ["POST", "/oauth/token"]:
            return self._token(request)
        limits = self._counted()
        try:
            answer = self._route(request)
        except Refusal as refusal:
            answer = refusal.answer
        return answer._replace(headers=[*answer.headers, *limits])

    def _counted(self) -> list[tuple[str, str]]:
        """Count a call; raises the refusal when a limit is reached."""
        now = self.now_s()
        window, calls = self._window
        self._window = (now // WINDOW_S, calls + 1 if window == now // WINDOW_S else 1)
        day, today = self._day
        self._day = (now // DAY_S, today + 1 if day == now // DAY_S else 1)
        left, left_today = self.calls_per_window - self._window[1], self.calls_per_day - self._day[1]
        limits = [
            ("x-ratelimit-limit", str(self.calls_per_window)),
            ("x-ratelimit-remaining", str(max(left, 0))),
            ("x-ratelimit-reset", str(WINDOW_S - now % WINDOW_S)),
            ("x-daily-remaining", str(max(left_today, 0))),
        ]
        if left < 0 or left_today < 0:
            code, wait_s = (
                ("daily_limit", DAY_S - now % DAY_S) if left_today < 0 else ("rate_limit", WINDOW_S - now % WINDOW_S)
            )
            refused = error(429, code, "too many calls")
            raise Refusal(refused._replace(headers=[*refused.headers, *limits, ("retry-after", str(wait_s))]))
        return limits

    def _route(self, request: Request) -> Answer:
        scopes = self._admitted(request)
        right = "leads:read" if request.method == "GET" else "leads:write"
        if right not in scopes:
            raise Refusal(error(403, "insufficient_scope", f"the token lacks {right}"))
        match [request.method, *request.segments()]:
            case ["GET", "v2", "me"]:
                told = {"id": "org_77", "attributes": {"name": "Cloud account", "time_zone": "Europe/Berlin"}}
                return json_answer(200, {"data": told})
            case ["GET", "v2", "schema", "leads"]:
                return json_answer(200, {"data": {"attributes": ATTRIBUTES}})
            case ["GET", "v2", "leads"]:
                return self._list(request)
            case ["POST", "v2", "leads", "batch"]:
                return self._batch(request)
            case ["PUT", "v2", "leads", "external", key]:
                return self._single(request, {"op": "upsert", "external_id": key})
            case ["PATCH", "v2", "leads", name]:
                return self._single(request, {"op": "update", "id": name})
            case ["DELETE", "v2", "leads", name] if name in self.leads:
                self.delete(name)
                return json_answer(202, {"data": self.leads[name].wire()})
            case _:
                raise Refusal(error(404, "not_found", "no such resource"))

    def _token(self, request: Request) -> Answer:
        form = dict(parse_qsl(request.body.decode("latin-1")))
        if form.get("grant_type") != "client_credentials":
            return json_answer(400, {"error": "unsupported_grant_type"})
        if request.headers.get("authorization") != f"Basic {self._client}":
            return json_answer(401, {"error": "invalid_client", "error_description": "unknown client or wrong secret"})
        self._issued += 1
        token = f"cl-{self._issued}-{self._rng.getrandbits(64):016x}"
        self._tokens[token] = (self._clock() + TOKEN_S, set(self.scopes), 0)
        return json_answer(200, {"access_token": token, "token_type": "Bearer", "expires_in": TOKEN_S})

    def _admitted(self, request: Request) -> set[str]:
        """The scopes of the call's token."""
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        until, scopes, calls = self._tokens.get(token, (0.0, set(), 0))
        if until <= self._clock() or (self.token_calls is not None and calls >= self.token_calls):
            self._tokens.pop(token, None)
            answer = error(401, "invalid_token", "the token is not valid any more")
            challenge = ("www-authenticate", 'Bearer error="invalid_token"')
            raise Refusal(answer._replace(headers=[*answer.headers, challenge]))
        self._tokens[token] = (until, scopes, calls + 1)
        return scopes

    # --- reading ------------------------------------------------------------------------------------------------------

    def _list(self, request: Request) -> Answer:
        query = request.query
        size = page_number(query.get("page[size]"), 25, 1, PAGE_MAX)
        after = page_number_ms(query.get("filter[modified_after]"), -1)
        before = page_number_ms(query.get("filter[modified_before]"), 1 << 62)
        deleted = query.get("filter[deleted]", "without")
        if size is None or after is None or before is None or deleted not in ("without", "with", "only"):
            raise Refusal(error(400, "bad_parameter", "a parameter is not as documented"))
        found = [
            one
            for one in self.leads.values()
            if after < one.changed_ms < before and (deleted == "with" or one.deleted == (deleted == "only"))
        ]
        for name, attribute in (("filter[id]", "id"), ("filter[external_id]", "key")):
            if name in query:
                wanted = query[name].split(",")
                if len(wanted) > IDS_MAX:
                    raise Refusal(error(400, "too_many_ids", f"up to {IDS_MAX}"))
                found = [one for one in found if getattr(one, attribute) in wanted]
        start = self._cursor(query.get("page[cursor]", ""))
        ordered = sorted((one.changed_ms, one.id) for one in found)
        onward = [place for place in ordered if place > start]
        answer = json_answer(200, {"data": [self.leads[name].wire() for _, name in onward[:size]]})
        if len(onward) <= size:
            return answer
        kept = {name: value for name, value in query.items() if name != "page[cursor]"}
        kept["page[cursor]"] = self._cursor_text(onward[size - 1])
        text = "&".join(f"{quote(name)}={quote(value)}" for name, value in kept.items())
        return answer._replace(headers=[*answer.headers, ("link", f'</v2/leads?{text}>; rel="next"')])

    def _cursor_text(self, place: tuple[int, str]) -> str:
        return base64.urlsafe_b64encode(encode((*place, self.now_s()))).decode()

    def _cursor(self, text: str) -> tuple[int, str]:
        if not text:
            return (-1, "")
        try:
            changed, name, issued = msgspec.json.decode(base64.urlsafe_b64decode(text), type=tuple[int, str, int])
        except (ValueError, msgspec.MsgspecError):
            raise Refusal(error(400, "bad_cursor", "not one of ours")) from None
        if issued + CURSOR_S < self.now_s() or issued < self._cursors_from_s:
            raise Refusal(error(410, "cursor_expired", "begin again"))
        return changed, name

    # --- writing ------------------------------------------------------------------------------------------------------

    def _batch(self, request: Request) -> Answer:
        body = json_object(request.body)
        operations = body.get("operations") if body is not None else None
        if not isinstance(operations, list) or not all(isinstance(one, dict) for one in operations):
            raise Refusal(error(400, "bad_body", "a list of operations is wanted"))
        if len(operations) > BATCH_MAX:
            raise Refusal(error(413, "too_many_operations", f"up to {BATCH_MAX}"))
        results = [self._operation(one) for one in operations]
        self._rng.shuffle(results)
        return json_answer(207, {"results": results})

    def _single(self, request: Request, named: dict[str, Any]) -> Answer:
        result = self._operation({**(json_object(request.body) or {}), **named})
        return json_answer(result["status"], result.get("lead") or {"error": result["error"]})

    def _operation(self, operation: dict[str, Any]) -> dict[str, Any]:
        ref = operation.get("ref")
        values, bad = flat(operation.get("attributes"))
        lead: Held | None = None
        if operation.get("op") == "update":
            lead = self.leads.get(str(operation.get("id")))
            if lead is None:
                return failed(ref, 404, "not_found")
        elif operation.get("op") == "upsert" and isinstance(operation.get("external_id"), str):
            lead = next((one for one in self.leads.values() if one.key == operation["external_id"]), None)
        else:
            return failed(ref, 400, "bad_operation")
        if lead is not None and lead.deleted:
            return failed(ref, 410, "deleted", other=lead.id)
        if lead is not None and operation.get("if_revision") not in (None, f"r{lead.revision}"):
            return failed(ref, 409, "revision_changed", revision=f"r{lead.revision}")
        if lead is None and not values.get("title") and "title" not in {one["attribute"] for one in bad}:
            bad.append({"attribute": "title", "code": "required"})
        if bad:
            return failed(ref, 422, "invalid", details=bad)
        email = values.get("contact.email")
        holder = next((one for one in self.leads.values() if email and one.values.get("contact.email") == email), None)
        if holder is not None and holder is not lead:
            details = [{"attribute": "contact.email", "code": "taken"}]
            return failed(ref, 409, "email_taken", other=holder.id, details=details)
        if lead is None:
            lead = self.leads[self.create(values, operation["external_id"])]
            return {"ref": ref, "status": 201, "lead": lead.wire()}
        self._write(lead, values, "updated")
        return {"ref": ref, "status": 200, "lead": lead.wire()}


def flat(attributes: Any) -> tuple[dict[str, Value], list[dict[str, str]]]:
    """Attributes by dotted names, and what is wrong with them."""
    if not isinstance(attributes, dict):
        return {}, [{"attribute": "attributes", "code": "missing"}]
    values: dict[str, Any] = {}
    for name, value in attributes.items():
        inner = value if name == "contact" and isinstance(value, dict) else None
        values |= {name: value} if inner is None else {f"contact.{one}": told for one, told in inner.items()}
    bad = []
    for name, value in values.items():
        known = ATTRIBUTES.get(name)
        if known is None:
            bad.append({"attribute": name, "code": "unknown"})
        elif not known["writable"]:
            bad.append({"attribute": name, "code": "read_only"})
        elif value is not None and (not isinstance(value, str) or value not in known.get("options", [value])):
            bad.append({"attribute": name, "code": "not_an_option" if "options" in known else "wrong_type"})
    return values, bad


def failed(ref: object, status: int, code: str, **more: Any) -> dict[str, Any]:
    """The result of an operation that was not carried out."""
    return {"ref": ref, "status": status, "error": {"code": code, "message": code.replace("_", " "), **more}}


def error(status: int, code: str, message: str) -> Answer:
    """A refusal of the whole request."""
    return json_answer(status, {"error": {"code": code, "message": message, "details": []}})


def page_number_ms(text: str | None, default: int) -> int | None:
    """Epoch milliseconds of a query; None if it is no whole number."""
    if text is None:
        return default
    return int(text) if text.removeprefix("-").isdecimal() and text.isascii() and len(text) < 18 else None  # noqa: PLR2004 - 64 bits
