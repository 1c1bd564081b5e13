"""The four dialects keep to their references, vices included; every check here is about a sentence of a module's docstring."""

import base64
import hashlib
import hmac
import json
import random
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest

from sales_crm_bridge.sandbox import ConnectionCut, Fault, FaultKind
from sales_crm_bridge.sandbox.dialects import Cloud, Counter, Miserly, Plain, Rpc
from sales_crm_bridge.sandbox.dialects.domain import BadDomain, Domain

START_S = 1_790_000_000
"""2026-09-21T14:13:20Z."""


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    json: Any


class Line:
    """A caller with good credentials, and a clock that a test turns."""

    def __init__(self, make: type[Counter]) -> None:
        self.now_s = float(START_S)
        self.crm = make(clock=lambda: self.now_s, rng=random.Random(7))
        self.headers: dict[str, str] = {}

    def call(self, method: str, target: str, body: Any = None, **headers: str) -> Reply:
        told = {**self.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
        raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        answer = self.crm.handle(method, target, told, raw)
        media = dict(answer.headers).get("content-type", "")
        return Reply(answer.status, dict(answer.headers), json.loads(answer.body) if "json" in media else None)


class PlainLine(Line):
    crm: Plain

    def __init__(self) -> None:
        super().__init__(Plain)
        self.headers = {"x-api-key": "plain-key"}

    def make(self, **values: str) -> dict[str, Any]:
        reply = self.call("POST", "/api/v1/people", {"fullName": "One", **values})
        assert reply.status == 201
        made: dict[str, Any] = reply.json
        return made


# --- plain ------------------------------------------------------------------------------------------------------------


def test_plain_shows_what_was_written_with_version_and_etag() -> None:
    """A create gives the record, its place and its ETag; every write moves the version, null clears, an address is lowered."""
    line = PlainLine()
    made = line.call("POST", "/api/v1/people", {"fullName": "One", "email": "A@B.example", "phone": "1"})
    assert made.status == 201
    assert made.headers["location"] == f"/api/v1/people/{made.json['id']}"
    assert made.json["createdAt"] == made.json["updatedAt"] == "2026-09-21T14:13:20Z"
    assert (made.json["email"], made.json["company"]) == ("a@b.example", None)
    line.now_s += 5
    changed = line.call("PATCH", made.headers["location"], {"phone": None})
    assert (changed.json["phone"], changed.json["fullName"]) == (None, "One")
    assert changed.headers["etag"] == f'"{changed.json["version"]}"' != made.headers["etag"]
    assert changed.json["updatedAt"] == "2026-09-21T14:13:25Z"
    assert line.call("GET", made.headers["location"]).json == changed.json


def test_plain_writes_only_what_has_not_moved() -> None:
    """``If-Match`` with an older ETag is 412 and changes nothing; with the present one it goes through."""
    line = PlainLine()
    made = line.make()
    target = f"/api/v1/people/{made['id']}"
    assert line.call("PATCH", target, {"phone": "2"}, if_match='"0"').status == 412
    assert line.call("GET", target).json["phone"] is None
    assert line.call("PATCH", target, {"phone": "2"}, if_match=f'"{made["version"]}"').status == 200


def test_plain_refuses_with_problem_details() -> None:
    """RFC 9457: a type, the fields at fault by pointer, the record that stands in the way."""
    line = PlainLine()
    made = line.make(externalId="L-1")
    refused = line.call("POST", "/api/v1/people", {"fullName": "x", "status": "Nope", "score": 1, "zzz": "1"})
    assert (refused.status, refused.headers["content-type"]) == (422, "application/problem+json")
    assert refused.json["errors"] == [
        {"pointer": "/status", "code": "choice"},
        {"pointer": "/score", "code": "read-only"},
        {"pointer": "/zzz", "code": "unknown"},
    ]
    taken = line.call("POST", "/api/v1/people", {"fullName": "x", "externalId": "L-1"})
    assert (taken.status, taken.json["existing"]) == (409, made["id"])
    assert taken.json["type"].endswith("/external-id-taken")
    assert line.call("GET", "/api/v1/people?colour=red").json["parameter"] == "colour"
    assert line.call("GET", "/api/v1/people", x_api_key="other").status == 401
    line.crm.rights.remove("people:write")
    assert line.call("POST", "/api/v1/people", {}).json["missing"] == ["people:write"]
    line.crm.day_left = 0
    spent = line.call("GET", "/api/v1/people")
    assert (spent.status, spent.json["policy"], spent.headers["retry-after"]) == (429, "day", "3600")


def test_plain_filters_with_the_second_included_and_pages_by_offset() -> None:
    """``updatedSince`` holds its own second; sorted by time, then id; a record that moves makes an offset skip its neighbour."""
    line = PlainLine()
    first = [line.make()["id"] for _ in range(3)]
    line.now_s += 10
    last = line.make()["id"]
    since = "/api/v1/people?sort=updatedAt&updatedSince=2026-09-21T14:13:"
    assert [one["id"] for one in line.call("GET", f"{since}20Z").json["items"]] == [*first, last]
    assert [one["id"] for one in line.call("GET", f"{since}21Z").json["items"]] == [last]
    page = line.call("GET", f"{since}20Z&limit=2").json
    assert ([one["id"] for one in page["items"]], page["total"]) == (first[:2], 4)
    line.crm.edit(str(first[0]), {"phone": "1"})
    onward = line.call("GET", f"{since}20Z&limit=2&offset=2").json
    assert [one["id"] for one in onward["items"]] == [first[0], last]  # and nobody has seen first[2]


def test_plain_has_a_bin() -> None:
    """What is deleted is 410 with its version, stands in the list of deleted and in no other, and can come back; purged is 404."""
    line = PlainLine()
    made = line.make()
    target = f"/api/v1/people/{made['id']}"
    assert line.call("DELETE", target).status == 204
    gone = line.call("GET", target)
    assert gone.status == 410
    (stub,) = line.call("GET", "/api/v1/people/deleted").json["items"]
    assert stub == {"id": made["id"], "version": gone.json["version"], "deletedAt": gone.json["deletedAt"]}
    assert stub["version"] != made["version"]
    assert line.call("GET", "/api/v1/people").json["items"] == []
    assert line.call("PATCH", target, {"phone": "1"}).status == 410
    assert line.call("POST", f"{target}/restore").status == 200
    assert line.call("GET", target).status == 200
    line.crm.purge(str(made["id"]))
    assert line.call("GET", target).status == 404
    assert line.make()["id"] > made["id"]


# --- cloud ------------------------------------------------------------------------------------------------------------


class CloudLine(Line):
    crm: Cloud

    def __init__(self) -> None:
        super().__init__(Cloud)
        self.sign_in()

    def sign_in(self) -> Reply:
        basic = base64.b64encode(b"cloud-client:cloud-secret").decode()
        reply = self.call("POST", "/oauth/token", b"grant_type=client_credentials", authorization=f"Basic {basic}")
        self.headers = {"authorization": f"Bearer {reply.json['access_token']}"}
        return reply

    def batch(self, *operations: dict[str, Any]) -> dict[str, Any]:
        reply = self.call("POST", "/v2/leads/batch", {"operations": operations})
        assert reply.status == 207
        return {one["ref"]: one for one in reply.json["results"]}


def upsert(ref: str, key: str, **attributes: Any) -> dict[str, Any]:
    return {"ref": ref, "op": "upsert", "external_id": key, "attributes": attributes}


def test_cloud_tokens_die() -> None:
    """After ten minutes, or in the middle of a walk: 401 with a challenge, and the cursor goes on with the next token."""
    line = CloudLine()
    for number in range(5):
        line.crm.create({"title": f"T{number}"})
    line.crm.token_calls = 1
    first = line.call("GET", "/v2/leads?page%5Bsize%5D=2")
    onward = first.headers["link"].partition("<")[2].partition(">")[0]
    dead = line.call("GET", onward)
    assert dead.status == 401
    assert "invalid_token" in dead.headers["www-authenticate"]
    line.sign_in()
    line.crm.token_calls = None
    second = line.call("GET", onward)
    third = line.call("GET", second.headers["link"].partition("<")[2].partition(">")[0])
    assert "link" not in third.headers
    seen = [one["id"] for page in (first, second, third) for one in page.json["data"]]
    assert sorted(seen) == sorted(line.crm.leads)
    line.now_s += 601
    assert line.call("GET", "/v2/me").status == 401
    assert line.call("POST", "/oauth/token", b"grant_type=client_credentials", authorization="Basic eA==").status == 401


def test_cloud_walks_by_cursor_and_window() -> None:
    """By modified time, then id, which is no order of making; both bounds exclusive; a cursor of twenty minutes is 410."""
    line = CloudLine()
    ids = [line.crm.create({"title": "T"}) for _ in range(4)]
    assert ids != sorted(ids)
    ms = START_S * 1000
    target = f"/v2/leads?filter%5Bmodified_after%5D={{}}&filter%5Bmodified_before%5D={ms + 1}&page%5Bsize%5D=3"
    assert line.call("GET", target.format(ms)).json["data"] == []
    page = line.call("GET", target.format(ms - 1))
    assert [one["id"] for one in page.json["data"]] == sorted(ids)[:3]
    line.now_s += 1_200
    line.sign_in()
    late = line.call("GET", page.headers["link"].partition("<")[2].partition(">")[0])
    assert (late.status, late.json["error"]["code"]) == (410, "cursor_expired")
    wanted = quote(",".join(ids[:2]))
    assert {one["id"] for one in line.call("GET", f"/v2/leads?filter%5Bid%5D={wanted}").json["data"]} == set(ids[:2])


def test_cloud_answers_a_batch_in_any_order_and_partly() -> None:
    """207: each operation has its own result by ``ref``; refused ones hold back no other; nested attributes are merged."""
    line = CloudLine()
    operations = [upsert(f"r{n}", f"L-{n}", title=f"T{n}", contact={"email": f"{n}@x.example"}) for n in range(12)]
    reply = line.call("POST", "/v2/leads/batch", {"operations": operations})
    assert [one["ref"] for one in reply.json["results"]] != [one["ref"] for one in operations]
    assert {one["status"] for one in reply.json["results"]} == {201}
    one, two = (next(lead for lead in line.crm.leads.values() if lead.key == key) for key in ("L-1", "L-2"))
    line.crm.delete(two.id)
    told = line.batch(
        upsert("again", "L-1", contact={"phone": "1"}),
        upsert("bad", "L-30", title="x", stage="gone", rating=3, zzz="1"),
        upsert("taken", "L-31", title="x", contact={"email": "1@x.example"}),
        {"ref": "late", "op": "update", "id": one.id, "if_revision": "r1", "attributes": {"title": "y"}},
        {"ref": "gone", "op": "update", "id": two.id, "attributes": {"title": "y"}},
        {"ref": "none", "op": "update", "id": "ld_x", "attributes": {"title": "y"}},
    )
    assert {ref: result["status"] for ref, result in told.items()} == {
        "again": 200, "bad": 422, "taken": 409, "late": 409, "gone": 410, "none": 404,
    }  # fmt: skip
    assert told["again"]["lead"]["attributes"] == {"title": "T1", "contact": {"email": "1@x.example", "phone": "1"}}
    assert [detail["attribute"] for detail in told["bad"]["error"]["details"]] == ["stage", "rating", "zzz"]
    assert told["taken"]["error"]["other"] == one.id
    assert line.call("POST", "/v2/leads/batch", {"operations": [{}] * 51}).status == 413


def test_cloud_writes_one_record_with_the_words_of_a_batch() -> None:
    """An upsert by our key makes or changes; an update is tied to a revision; refusals have the statuses of a batch's members."""
    line = CloudLine()
    made = line.call("PUT", "/v2/leads/external/L-1", {"attributes": {"title": "T"}})
    again = line.call("PUT", "/v2/leads/external/L-1", {"attributes": {"stage": "won"}})
    assert (made.status, again.status, again.json["id"]) == (201, 200, made.json["id"])
    target = f"/v2/leads/{made.json['id']}"
    body = {"attributes": {"title": "U"}, "if_revision": made.json["revision"]}
    late = line.call("PATCH", target, body)
    assert (late.status, late.json["error"]["code"]) == (409, "revision_changed")
    body["if_revision"] = again.json["revision"]
    assert line.call("PATCH", target, body).json["attributes"] == {"title": "U", "stage": "won"}
    assert line.call("PATCH", target, {"attributes": {"zzz": "1"}}).json["error"]["details"][0]["code"] == "unknown"
    assert line.call("PATCH", "/v2/leads/ld_x", {"attributes": {}}).status == 404


def test_cloud_counts_calls() -> None:
    """Every answer says what is left; beyond it 429 with the seconds to wait, and after them it goes on."""
    line = CloudLine()
    line.crm.calls_per_window = 3
    left = [line.call("GET", "/v2/me").headers["x-ratelimit-remaining"] for _ in range(3)]
    assert left == ["2", "1", "0"]
    refused = line.call("GET", "/v2/me")
    assert (refused.status, refused.json["error"]["code"]) == (429, "rate_limit")
    line.now_s += int(refused.headers["retry-after"])
    assert line.call("GET", "/v2/me").status == 200
    line.crm.calls_per_day = 1
    assert line.call("GET", "/v2/me").json["error"]["code"] == "daily_limit"


def test_cloud_marks_what_is_deleted_and_tells_by_webhook() -> None:
    """A mark, not a removal: shown when asked for; each change an event, signed over time and body; purged is nowhere."""
    line = CloudLine()
    lead = line.crm.create({"title": "T"})
    line.crm.delete(lead)
    line.crm.restore(lead)
    line.crm.delete(lead)
    assert line.call("GET", "/v2/leads").json["data"] == []
    only = line.call("GET", "/v2/leads?filter%5Bdeleted%5D=only").json["data"]
    assert [(one["id"], one["deleted"]) for one in only] == [(lead, True)]
    delivery = line.crm.delivery("s")
    assert delivery is not None
    headers, body = delivery
    signed = f"{headers['x-cloud-timestamp']}.".encode() + body
    assert headers["x-cloud-signature"] == f"v1={hmac.new(b's', signed, hashlib.sha256).hexdigest()}"
    told = [event["type"] for event in json.loads(body)["events"]]
    assert list(dict.fromkeys(told)) == ["lead.created", "lead.deleted", "lead.restored"]
    assert line.crm.delivery("s") is None
    line.crm.purge(lead)
    assert line.call("GET", "/v2/leads?filter%5Bdeleted%5D=with").json["data"] == []


# --- rpc --------------------------------------------------------------------------------------------------------------


class RpcLine(Line):
    crm: Rpc

    def __init__(self) -> None:
        super().__init__(Rpc)
        opened = self.rpc("session.open", {"database": "main", "login": "bridge", "password": "rpc-secret"})
        self.headers = {"x-session": opened["result"]["session"]}

    def rpc(self, method: str, params: Any) -> dict[str, Any]:
        reply = self.call("POST", "/jsonrpc", {"jsonrpc": "2.0", "id": 3, "method": method, "params": params})
        assert (reply.status, reply.json["id"]) == (200, 3)
        told: dict[str, Any] = reply.json
        return told

    def object(self, method: str, *args: Any, **kwargs: Any) -> Any:
        told = self.rpc("object.call", {"model": "crm.lead", "method": method, "args": args, "kwargs": kwargs})
        return (
            told["result"] if "result" in told else (told["error"]["data"]["name"], told["error"]["data"].get("fields"))
        )


def test_rpc_says_everything_with_200() -> None:
    """A wrong password, an ended session, a missing right, a bad value, a missing record: all are good statuses with an error."""
    line = RpcLine()
    assert line.object("create", {"name": "One", "stage": "nope"}) == ("ValidationError", ["stage"])
    assert line.object("create", {"zzz": "1"}) == ("ValueError", ["zzz"])
    assert line.object("create", {"phone": "1"}) == ("ValidationError", ["name"])
    one = line.object("create", {"name": "One", "x_bridge_ref": "L-1"})
    assert line.object("create", {"name": "Two", "x_bridge_ref": "L-1"}) == ("UniqueViolation", ["x_bridge_ref"])
    assert line.object("write", [one + 1], {"phone": "1"}) == ("MissingError", None)
    line.crm.locked = {one}
    assert line.object("write", [one], {"phone": "1"}) == ("LockNotAvailable", None)
    line.crm.rights.remove("write")
    assert line.object("create", {"name": "x"}) == ("AccessError", None)
    refused = line.rpc("session.open", {"database": "main", "login": "bridge", "password": "no"})
    assert refused["error"]["data"]["name"] == "AccessDenied"
    line.now_s += 3_601
    assert line.rpc("session.info", {})["error"]["code"] == 100


def test_rpc_shows_empty_fields_as_false_and_pairs_for_users() -> None:
    """``false`` is empty in both directions; a user reads as id and name and is written as a number; times have no zone."""
    line = RpcLine()
    one = line.object("create", {"name": "One", "phone": "1", "user_id": 5})
    assert line.object("write", [one], {"phone": False})
    assert line.object("read", [one, 99], ["phone", "user_id", "write_date", "active"]) == [
        {"id": one, "phone": False, "user_id": [5, "Key accounts"], "write_date": "2026-09-21 14:13:20", "active": True}
    ]


def test_rpc_searches_by_domain_in_order_of_time_and_id() -> None:
    """A keyset over (write_date, id) walks records of one second without loss; archived ones show only when asked for."""
    line = RpcLine()
    ids = [line.object("create", {"name": f"N{n}"}) for n in range(5)]
    line.now_s += 1
    line.crm.edit(str(ids[0]), {"phone": "1"})
    line.crm.archive(str(ids[4]))
    after: tuple[str, int] = ("2026-01-01 00:00:00", 0)
    seen: list[int] = []
    while True:
        moment, last = after
        domain = ["|", ["write_date", ">", moment], "&", ["write_date", "=", moment], ["id", ">", last]]
        rows = line.object("search_read", domain=domain, fields=["write_date"], limit=2, order="write_date,id")
        if not rows:
            break
        seen += [row["id"] for row in rows]
        after = (rows[-1]["write_date"], rows[-1]["id"])
    assert seen == [*ids[1:4], ids[0]]
    everything = line.object("search_read", domain=[], fields=["active"], context={"active_test": False})
    assert [row["id"] for row in everything] == ids
    assert [row["id"] for row in line.object("search_read", domain=[["active", "=", False]])] == [ids[4]]
    line.object("unlink", [ids[4]])
    assert line.object("read", [ids[4]], []) == []


@pytest.mark.parametrize(
    ("domain", "held"),
    [
        ([], True),
        ([["a", "=", 1]], True),
        ([["a", "=", 1], ["b", "=", 2]], False),
        (["|", ["a", "=", 1], ["b", "=", 2]], True),
        (["!", ["a", "=", 1]], False),
        (["&", "|", ["a", "=", 0], ["b", "=", 3], ["a", "<", 2]], True),
        ([["a", "in", [0, 1]], ["b", "not in", [3]]], False),
        ([["c", "<", 5]], False),
        ([["c", ">=", "2026-01-01 00:00:00"]], False),
        ([["c", "=", False]], True),
    ],
)
def test_a_domain_is_read_as_polish_notation(domain: list[Any], held: bool) -> None:
    """Operators stand before their terms; terms side by side are joined; an empty field (false) is before and after nothing."""
    row = {"a": 1, "b": 3, "c": False}
    assert Domain(domain, row).holds(row) is held


@pytest.mark.parametrize(
    "domain", [{}, ["&", ["a", "=", 1]], ["!"], ["xor"], [["a", "~", 1]], [["z", "=", 1]], [["a", "in", 1]]]
)
def test_what_is_no_domain_is_refused(domain: Any) -> None:
    """Operators without their terms, unknown relations and fields: said, not guessed."""
    with pytest.raises(BadDomain):
        Domain(domain, {"a": 1})


# --- miserly ----------------------------------------------------------------------------------------------------------


class MiserlyLine(Line):
    crm: Miserly

    def __init__(self) -> None:
        super().__init__(Miserly)
        self.headers = {"authorization": "Basic " + base64.b64encode(b"bridge:miser-secret").decode()}


def test_miserly_pages_have_no_order_that_lasts() -> None:
    """A changed row goes to the end, so a walk that it overtakes misses its neighbour; a page beyond the last is 404."""
    line = MiserlyLine()
    numbers = [line.call("POST", "/crm/leads", {"lead": {"Name": f"N{n}"}}).json["no"] for n in range(4)]
    first = line.call("GET", "/crm/leads?page=1&size=2").json
    assert ([row["No"] for row in first["rows"]], first["pages"]) == (numbers[:2], 2)
    line.call("POST", f"/crm/leads/{numbers[0]}", {"lead": {"Tel": "1"}})
    second = line.call("GET", "/crm/leads?page=2&size=2").json
    assert [row["No"] for row in second["rows"]] == [numbers[3], numbers[0]]
    assert line.call("GET", "/crm/leads?page=3&size=2").json == {"detail": "Invalid page."}


def test_miserly_errors_have_four_shapes() -> None:
    """A text, a mapping of lists, a flag with a column, a page of HTML; 403 where others say 401; 200 for *busy*."""
    line = MiserlyLine()
    assert line.call("POST", "/crm/leads", {"lead": {"Name": "x", "State": "Z"}}).json["errors"].keys() == {"State"}
    assert line.call("POST", "/crm/leads", {"lead": {"Name": "x", "zzz": "1"}}).json["column"] == "zzz"
    missing = line.call("GET", "/crm/leads/99")
    assert (missing.status, missing.json) == (404, None)
    line.crm.busy = 1
    busy = line.call("POST", "/crm/leads", {"lead": {"Name": "x"}})
    assert (busy.status, busy.json, line.crm.live()) == (200, {"ok": False, "why": "busy"}, {})
    line.crm.rights.remove("read")
    assert line.call("GET", "/crm/leads").json == {"detail": "You may not read leads."}
    other = line.call("GET", "/crm/leads", authorization="Basic eA==")
    assert (other.status, other.json) == (403, {"detail": "Invalid username or password."})


def test_miserly_tells_local_time_and_forgets() -> None:
    """``Created`` is Berlin's clock without saying so; every value is a text; what is deleted is gone, its number too."""
    line = MiserlyLine()
    number = line.call("POST", "/crm/leads", {"lead": {"Name": "One", "Tel": "1"}}).json["no"]
    lead = line.call("GET", f"/crm/leads/{number}").json["lead"]
    assert lead["Created"] == "21.09.2026 16:13"
    assert lead["Person"] == {"Name": "One", "Mail": "", "Tel": "1"}
    assert line.call("POST", f"/crm/leads/{number}", {"lead": {"Tel": ""}}).json == {"ok": True}
    assert line.call("GET", f"/crm/leads/{number}").json["lead"]["Person"]["Tel"] == ""
    assert line.call("DELETE", f"/crm/leads/{number}").json == {"ok": True}
    assert line.call("GET", f"/crm/leads/{number}").status == 404
    assert line.call("POST", "/crm/leads", {"lead": {"Name": "Two"}}).json["no"] == number + 1


# --- all of them ------------------------------------------------------------------------------------------------------

CREATES: Mapping[type[Line], tuple[str, str, Any]] = {
    PlainLine: ("POST", "/api/v1/people", {"fullName": "One"}),
    CloudLine: ("POST", "/v2/leads/batch", {"operations": [upsert("r", "L-1", title="One")]}),
    RpcLine: ("POST", "/jsonrpc", {"jsonrpc": "2.0", "id": 1, "method": "object.call", "params": {
        "model": "crm.lead", "method": "create", "args": [{"name": "One"}], "kwargs": {}}}),
    MiserlyLine: ("POST", "/crm/leads", {"lead": {"Name": "One"}}),
}  # fmt: skip


@pytest.mark.parametrize("make", CREATES)
def test_every_dialect_fails_on_purpose(make: Any) -> None:
    """A cut line says whether the write was made; a bare status is worded; half an answer is a write that happened."""
    line = make()
    create = CREATES[make]
    line.crm.faults.add(Fault(FaultKind.CUT_BEFORE), Fault(FaultKind.CUT_AFTER))
    for committed in (False, True):
        with pytest.raises(ConnectionCut) as cut:
            line.call(*create)
        assert cut.value.committed is committed
    before = line.crm.moves
    line.crm.faults.add(Fault(FaultKind.STATUS, status=429, headers=(("retry-after", "3"),)))
    refused = line.call(*create)
    assert (refused.status, refused.headers["retry-after"], line.crm.moves) == (429, "3", before)
    line.crm.faults.add(Fault(FaultKind.TRUNCATED))
    method, target, body = create
    answer = line.crm.handle(method, target, line.headers, json.dumps(body).encode())
    with pytest.raises(ValueError, match=r"."):
        json.loads(answer.body)
