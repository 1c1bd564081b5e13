"""Every mistake of a declaration is found, with its place, its code and what to do; and a good one has none."""

import copy
import json
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sales_crm_adapters import CATALOGUE
from sales_crm_adapters.rest import Mistake, lint
from sales_crm_adapters.rest.options import Options
from sales_crm_adapters.rest.structure import mistakes

from sales_crm_bridge import tenants
from sales_crm_bridge.findings import FINDINGS
from tests.adapters.rest.kit import PLAIN, adapter, declared

REST = CATALOGUE["rest"]
EXAMPLE = Path(__file__).parents[3] / "config" / "examples" / "bottlecrm.yaml"
BATCH: dict[str, Any] = {
    "max": 10,
    "update": {
        "path": "/batch",
        "body": "{items}",
        "item": {"id": "{id}", "f": "{fields}"},
        "results": {"at": "all", "record": ""},
    },
}
HOOK: dict[str, Any] = {"signature": {"header": "X-S"}, "id": "id", "event": "event", "meanings": {"a": "created"}}
CURSOR = {"by": "cursor", "next": "n"}
UNLIMITED = {"lists.all.query": {"c": "{cursor}"}, "lists.all.page": {**CURSOR, "short_ends": True}}
SHADOWED = ({"when": {"status": "4xx"}, "means": "gone"}, {"when": {"status": 404}, "means": "busy"})
TWICE = {"when": {"status": 400, "body": {"code": "X"}}, "means": "validation"}
OFFSETS = {"lists.all.query": {"offset": "{offset}"}, "lists.all.page": {"by": "offset"}}
CHANGES = {"path": "/c", "query": {"since": "{since}", "offset": "{offset}"}, "records": "rows", "page": {"by": "time"}}


def bulk(**changes: object) -> dict[str, Any]:
    """The batch with another update."""
    return {"write.batch": {**BATCH, "update": {**BATCH["update"], **changes}}}


CREATE = PLAIN["write"]["create"]


def making(**changes: object) -> dict[str, Any]:
    """The batch with creates too."""
    create = {
        "path": "/batch",
        "body": "{items}",
        "item": "{fields}",
        "results": {"at": "all", "record": ""},
        **changes,
    }
    return {"write.batch": {**BATCH, "create": create}}


def further(**changes: object) -> dict[str, Any]:
    """A further request."""
    return {"write.calls": [{"when": {"status": "won"}, "call": {"path": "/won/{id}", "body": {}}, **changes}]}


def hook(**changes: object) -> dict[str, Any]:
    """The webhook with other parts."""
    return {"webhook": {**HOOK, **changes}}


def rules(*failures: object) -> dict[str, Any]:
    """These rules of what answers mean."""
    return {"failures": list(failures)}


def found(changes: dict[str, Any], credentials: str = "token") -> list[tuple[str, str]]:
    """Place and code of every mistake."""
    return [(".".join(map(str, one.path)), one.code) for one in lint(declared(changes), credentials)]


def test_the_small_declaration_is_without_a_mistake() -> None:
    """So each of the tests below has the one mistake that it makes."""
    assert found({}) == []
    assert found({"write.batch": BATCH, "webhook": HOOK, "lists.changes": CHANGES}) == []
    assert found({"write.create.body": {"key": "{key}", "name": "{field.name}"}, **making()}) == []
    assert (
        found(further()) == found({"write.create.body": {"f": "{fields}", "ours": "{key}"}, "record.fields": "f"}) == []
    )
    assert adapter().capabilities.batch_max == 10


@pytest.mark.parametrize(
    ("changes", "at", "code"),
    [
        # form
        ({"crm": "Big Name"}, "crm", "config.bad-value"),
        ({"recrod": {}}, "recrod", "config.unknown-key"),
        ({"record.idd": "x"}, "record.idd", "config.unknown-key"),
        ({"record.id": None}, "record", "config.missing-key"),
        ({"record.id": 5}, "record.id", "config.bad-type"),
        ({"record.modified": {"at": "x", "format": "iso"}}, "record.modified.format", "config.bad-value"),
        ({"record.modified": {"at": "x", "zone": "Mars/Olympus"}}, "record.modified.zone", "config.bad-value"),
        ({"lists.all.page.size": 0}, "lists.all.page.size", "config.out-of-range"),
        ({"lists.all.page.size": 20_000}, "lists.all.page.size", "config.out-of-range"),
        ({"lists.all.page.by": "magic"}, "lists.all.page.by", "config.bad-value"),
        ({"write.parallel": True}, "write.parallel", "config.bad-type"),
        ({"read.one.path": "leads"}, "read.one.path", "config.bad-value"),
        ({"failures": [{"when": {"status": 404}, "means": "lost"}]}, "failures.0.means", "config.bad-value"),
        ({"failures": [{"when": {"status": "40x"}, "means": "gone"}]}, "failures.0.when.status", "config.bad-value"),
        ({"failures": ["x"]}, "failures.0", "config.bad-type"),
        ({"limits": {"budgets": {"search": 0}}}, "limits.budgets.search", "config.out-of-range"),
        ({"read.one.headers": {"A B": "x"}}, "read.one.headers.A B", "config.bad-value"),
        ({"read.one.headers": {"A": "x\ny"}}, "read.one.headers.A", "config.bad-value"),
        # paths
        ({"record.id": "a..b"}, "record.id", "rest.bad-path"),
        ({"record.id": {"at": "a..b"}}, "record.id.at", "rest.bad-path"),
        ({"lists.all.records": ["a", "b..c"]}, "lists.all.records", "rest.bad-path"),
        ({"record.states": {"archived": {"a..b": 1}}}, "record.states.archived.a..b", "rest.bad-path"),
        ({"record.successors": {"deal": "@keys.x"}}, "record.successors.deal", "rest.bad-path"),
        (
            {"failures": [{"when": {"body": {".x": 1}}, "means": "gone"}]},
            "failures.0.when.body..x",
            "rest.bad-path",
        ),
        # templates
        ({"read.one.query": {"a": "{nme}"}}, "read.one.query.a", "rest.unknown-variable"),
        ({"read.one.path": "/leads/{key}/{id}"}, "read.one.path", "rest.unknown-variable"),
        ({"write.create.body": {"a": [{"b": "{"}]}}, "write.create.body.a.0.b", "rest.bad-template"),
        ({"write.create.body": {"a": "{since}"}}, "write.create.body.a", "rest.unknown-variable"),
        ({"sign_in": {"token": {"value": "{token}"}}}, "sign_in.token.value", "rest.unknown-variable"),
        (bulk(item=["{id}", "{limit}"]), "write.batch.update.item.1", "rest.unknown-variable"),
        (hook(signature={"header": "X", "signs": "{body}{x}"}), "webhook.signature.signs", "rest.unknown-variable"),
        # contradictions
        ({"sign_in": {}}, "sign_in", "rest.contradiction"),
        ({"sign_in": {"token": {}, "basic": {}}}, "sign_in", "rest.contradiction"),
        ({"sign_in": {"basic": {}}}, "sign_in.basic", "rest.contradiction"),
        ({"read.one.path": "/leads"}, "read.one", "rest.contradiction"),
        ({"read.one.method": "GET", "read.one.body": {"id": "{id}"}}, "read.one.method", "rest.contradiction"),
        ({"read.one.body": {}, "read.one.form": {}}, "read.one.form", "rest.contradiction"),
        ({"read.key.record": "x"}, "read.key", "rest.contradiction"),
        ({"record.key": None}, "read.key", "rest.contradiction"),
        ({"record.key": "keys.0"}, "record.key", "rest.contradiction"),
        ({"record.fields": "data.0"}, "record.fields", "rest.contradiction"),
        ({"record.options": {"a": {"write": "b.0"}}}, "record.options.a.write", "rest.contradiction"),
        ({"record.options": {"a": {"write": "b", "read_only": True}}}, "record.options.a.write", "rest.contradiction"),
        ({"record.states": {"merged": {"a": 1}}}, "record.states.merged", "rest.contradiction"),
        ({"record.merged_ids": "merged"}, "record.merged_ids", "rest.contradiction"),
        ({"lists.all.page": {"by": "cursor"}}, "lists.all.page", "rest.contradiction"),
        ({"lists.all.query": {}}, "lists.all.page.by", "rest.contradiction"),
        ({"lists.all.query": {}, "lists.all.page": {"by": "time"}}, "lists.all.page.by", "rest.contradiction"),
        ({"lists.all.page": {"by": "cursor", "next": {}}}, "lists.all.page.next", "rest.contradiction"),
        ({"lists.all.page": {"by": "cursor", "next": "n", "steady": True}}, "lists.all.page.steady", "rest.contradiction"),
        ({"lists.all.page": {"by": "cursor", "next": "n", "strip": "/x"}}, "lists.all.page.strip", "rest.contradiction"),
        ({"lists.all.page": {"by": "cursor", "next": "n", "pages": "p"}}, "lists.all.page.pages", "rest.contradiction"),
        (UNLIMITED, "lists.all.page.short_ends", "rest.contradiction"),
        ({"lists.all.path": "/leads/{cursor}"}, "lists.all.path", "rest.contradiction"),
        ({"lists.changes": {**CHANGES, "query": {"offset": "{offset}"}}}, "lists.changes", "rest.contradiction"),
        ({"lists.changes": {**CHANGES, "query": {"since": "{since}"}}}, "lists.changes.page.by", "rest.contradiction"),
        ({"lists.changes": CHANGES, "record.modified": None, "record.created": None}, "lists.changes", "rest.contradiction"),
        ({"lists.changes": {**CHANGES, "page": {"by": "time", "total": "t"}}}, "lists.changes.page.total", "rest.contradiction"),
        ({"write.create": None}, "write", "rest.contradiction"),
        ({"write.upsert": PLAIN["write"]["create"]}, "write", "rest.contradiction"),
        ({"write.create.record": None}, "write.create", "rest.contradiction"),
        ({"write.update.path": "/leads"}, "write.update", "rest.contradiction"),
        ({"write.conditional": True}, "write.conditional", "rest.contradiction"),
        ({"write.create.body": {"n": "{field.name}"}}, "write.create", "rest.contradiction"),
        ({"write.create.body": {"f": "{fields}"}, "record.fields": "f"}, "write.create", "rest.contradiction"),
        ({"write.create": None, "write.upsert": {**CREATE, "body": {"n": "{field.name}"}}}, "write.upsert", "rest.contradiction"),
        ({"write.create.body": {"key": "{key}"}}, "write.create", "rest.contradiction"),
        ({"write.create.query": {"id": "{id}"}}, "write.create", "rest.contradiction"),
        ({"write.create.headers": {"If-Match": "{version}"}}, "write.create", "rest.contradiction"),
        ({"write.create.body": None, "write.create.query": {"f": "{fields}"}}, "write.create", "rest.contradiction"),
        ({"write.update.body": {}}, "write.update", "rest.contradiction"),
        ({"write.update.body": [["{id}"], {}]}, "write.update", "rest.contradiction"),
        ({"write.update.method": "GET", "write.update.body": None, "write.update.query": {"f": "{fields}"}},
         "write.update", "rest.contradiction"),
        (bulk(item={"id": "{id}"}), "write.batch.update.item", "rest.contradiction"),
        (bulk(item={"f": "{fields}"}), "write.batch.update.item", "rest.contradiction"),
        (making(item={"n": "{field.name}"}), "write.batch.create.item", "rest.contradiction"),
        (making(item={"f": "{fields}", "id": "{id}"}), "write.batch.create.item", "rest.contradiction"),
        (further(call={"path": "/x", "body": {}}), "write.calls.0.call", "rest.contradiction"),
        (further(call={"path": "/x/{id}"}), "write.calls.0.call", "rest.contradiction"),
        ({"write.holder": {"path": "/x", "records": "rows"}}, "write.holder", "rest.contradiction"),
        ({"write.unique_key": True, "read.key": None}, "write.unique_key", "rest.contradiction"),
        ({"write.calls": [{"when": {}, "call": {"path": "/x/{id}", "body": {}}}]}, "write.calls.0.when", "rest.contradiction"),
        ({"write.batch": {"max": 10}}, "write.batch", "rest.contradiction"),
        ({"write.batch": {**BATCH, "upsert": making()["write.batch"]["create"]}}, "write.batch.upsert", "rest.contradiction"),
        (bulk(body=[]), "write.batch.update", "rest.contradiction"),
        (bulk(item={"a": 1}), "write.batch.update.item", "rest.contradiction"),
        (bulk(results={"at": "x", "match": "id"}), "write.batch.update.results.match", "rest.contradiction"),
        (bulk(results={"at": "x", "status": "s", "ok": {"a": 1}}), "write.batch.update.results.ok", "rest.contradiction"),
        ({"failures": [{"when": {}, "means": "gone"}]}, "failures.0.when", "rest.contradiction"),
        ({"failures": [{"when": {"status": 410}, "means": "merged"}]}, "failures.0", "rest.contradiction"),
        (rules(*SHADOWED), "failures.1", "rest.unreachable"),
        ({"read.one.budget": "search"}, "read.one.budget", "config.bad-value"),
        (hook(signature={"header": "X", "signs": "x"}), "webhook.signature.signs", "rest.contradiction"),
        (hook(signature={"header": "X", "signs": "{timestamp}{body}"}), "webhook.signature.signs", "rest.contradiction"),
        (hook(timestamp={"header": "T"}), "webhook.timestamp", "rest.contradiction"),
        (hook(meanings={}), "webhook.meanings", "rest.contradiction"),
        # paths of requests, and headers
        ({"read.one.path": "/leads/{id}?x=1"}, "read.one.path", "config.bad-value"),
        ({"read.one.path": "/leads/{id}#x"}, "read.one.path", "config.bad-value"),
        ({"read.one.path": "/my leads/{id}"}, "read.one.path", "config.bad-value"),
        ({"read.one.path": "//host/{id}"}, "read.one.path", "config.bad-value"),
        ({"read.one.path": "/a/../{id}"}, "read.one.path", "config.bad-value"),
        ({"read.one.path": "/lücke/{id}"}, "read.one.path", "config.bad-value"),
        ({"sign_in": {"client_credentials": {"path": "/t?x=1"}}}, "sign_in.client_credentials.path", "config.bad-value"),
        ({"read.one.headers": {"Content-Length": "5"}}, "read.one.headers.Content-Length", "config.bad-value"),
        ({"read.one.headers": {"authorization": "x"}}, "read.one.headers.authorization", "config.bad-value"),
        ({"common": {"headers": {"Host": "x"}}}, "common.headers.Host", "config.bad-value"),
        ({"common": {"query": {"x": "{nobody}"}}}, "common.query.x", "rest.unknown-variable"),
        ({"sign_in": {"token": {"header": "Host"}}}, "sign_in.token.header", "config.bad-value"),
        ({"sign_in": {"token": {"value": "Bearer"}}}, "sign_in.token.value", "rest.contradiction"),
        # places
        ({"lists.all.records": []}, "lists.all.records", "rest.contradiction"),
        ({"lists.all.records": "a.*.rows"}, "lists.all.records", "rest.bad-path"),
        ({"record.id": "ids.*"}, "record.id", "rest.bad-path"),
        ({"record.id": ""}, "record.id", "rest.bad-path"),
        ({"record.id": {"at": ""}}, "record.id.at", "rest.bad-path"),
        ({"record.modified": {"at": "x.*"}}, "record.modified.at", "rest.bad-path"),
        ({"record.successors": {"deal": "deals.*"}}, "record.successors.deal", "rest.bad-path"),
        ({"lists.all.page.next": "n.@keys"}, "lists.all.page.next", "rest.bad-path"),
        ({"lists.all.page.next": {"cookie": "n"}}, "lists.all.page.next.cookie", "rest.contradiction"),
        ({"limits": {"day_left": {"cookie": "n"}}}, "limits.day_left.cookie", "rest.contradiction"),
        (hook(event={"cookie": "n"}), "webhook.event.cookie", "rest.contradiction"),
        (hook(dedupe={"cookie": "n"}), "webhook.dedupe.cookie", "rest.contradiction"),
        # tests that say nothing
        ({"record.states": {"archived": {}}}, "record.states.archived", "rest.contradiction"),
        ({"record.states": {"archived": {"x": {}}}}, "record.states.archived.x", "rest.contradiction"),
        ({"record.states": {"archived": {"x": []}}}, "record.states.archived.x", "rest.contradiction"),
        ({"record.states": {"archived": {"x": {"has": []}}}}, "record.states.archived.x", "rest.contradiction"),
        ({"record.states": {"archived": {"x": {"has": ["a", ""]}}}}, "record.states.archived.x", "rest.contradiction"),
        ({"record.states": {"archived": {"x": {"not": []}}}}, "record.states.archived.x", "rest.contradiction"),
        ({"record.states": {"archived": {"x": {"present": False, "not": 1}}}}, "record.states.archived.x", "rest.contradiction"),
        ({"write.create.adopted": {}}, "write.create.adopted", "rest.contradiction"),
        (further(when={"status": {}}), "write.calls.0.when.status", "rest.contradiction"),
        # rules and waits that do nothing, or everything
        (rules({"when": {"status": 200}, "means": "unknown"}), "failures.0.when", "rest.contradiction"),
        (rules(TWICE, TWICE), "failures.1", "rest.unreachable"),
        ({**rules({"when": {"status": 400}, "means": "expired"}), **OFFSETS}, "failures.0.means", "rest.contradiction"),
        (rules({"when": {"status": 400}, "means": "bisect"}), "failures.0.means", "rest.contradiction"),
        (rules({"when": {"status": 400}, "means": "busy", "wait": {}}), "failures.0.wait", "rest.contradiction"),
        ({"limits": {"wait": {"unit": "ms"}}}, "limits.wait", "rest.contradiction"),
        # words about pages that do nothing
        ({**OFFSETS, "lists.all.page": {"by": "offset", "first": 0}}, "lists.all.page.first", "rest.contradiction"),
        ({"lists.all.page": {**CURSOR, "total": "t"}}, "lists.all.page.total", "rest.contradiction"),
        ({"lists.all.query": {"a": "{after}"}, "lists.all.page": {"by": "id", "next": "n"}},
         "lists.all.page.next", "rest.contradiction"),
        ({"lists.all.query": {}, "lists.all.page": {"by": "none", "more": "m"}}, "lists.all.page.more", "rest.contradiction"),
    ],
)  # fmt: skip
def test_a_mistake_is_found_at_its_place(changes: dict[str, Any], at: str, code: str) -> None:
    """The mistake that is made, and no other."""
    told = list(lint(declared(changes), "token"))
    assert [(".".join(map(str, one.path)), one.code) for one in told] == [(at, code)]
    assert told[0].message
    assert told[0].remedy
    assert code in FINDINGS


LOGIN = {"path": "/in", "body": {"p": "{secret.password}"}, "token": "t"}


@pytest.mark.parametrize(
    ("changes", "at", "code"),
    [
        ({"record.options": {"Nmae": {}}}, "record.options.Nmae", "config.unknown-key"),
        (further(when={"stauts": "won"}), "write.calls.0.when.stauts", "config.unknown-key"),
        (further(takes=["stauts"]), "write.calls.0.takes.0", "config.bad-value"),
        ({"write.update.body": {"n": "{field.nome}"}}, "write.update.body.n", "rest.unknown-variable"),
        (bulk(item=["{id}", "{field.nome}"]), "write.batch.update.item.1", "rest.unknown-variable"),
        ({"sign_in": {"token": {"value": "{secret.tokne}"}}}, "sign_in.token.value", "rest.unknown-variable"),
        ({"sign_in": {"login": {**LOGIN, "body": {"p": "{secret.pasword}"}}}}, "sign_in.login.body.p", "rest.unknown-variable"),
        ({"sign_in": {"login": {**LOGIN, "body": {"p": "x"}}}}, "sign_in.login", "rest.contradiction"),
    ],
)  # fmt: skip
def test_a_name_that_nobody_gives_is_found_where_the_names_are_known(
    changes: dict[str, Any], at: str, code: str
) -> None:
    """Secrets by the file's credentials, CRM fields by its mapping; our key may be described too."""
    kind = "login" if "login" in changes.get("sign_in", {}) else "token"
    given = ["token"] if kind == "token" else ["username", "password"]
    told = list(lint(declared(changes), kind, given, ["name", "status"]))
    assert [(".".join(map(str, one.path)), one.code) for one in told] == [(at, code)]
    assert told[0].remedy
    if code != "rest.contradiction":
        assert not list(lint(declared(changes), kind))
    assert not list(
        lint(declared({"record.options": {"name": {}, "ours": {}}}), "token", ["token"], ["name", "status"])
    )


@pytest.mark.parametrize(
    ("changes", "remedy"),
    [
        ({"sign_in": {"basic": {"user": "x"}}}, "there are no keys here"),
        ({"sign_in": {"client_credentials": {"path": "https://id.example/token"}}}, "`connection.sign_in_address`"),
        ({"read.one.path": "https://crm.example/leads/{id}"}, "`connection.address`"),
        ({"read.one.path": "leads/{id}"}, "begin it with a /"),
    ],
)
def test_a_remedy_says_what_to_do(changes: dict[str, Any], remedy: str) -> None:
    """Never "use one of" nothing, nor a pattern for what has a place of its own."""
    assert remedy in next(lint(declared(changes), "")).remedy


def test_a_file_is_held_against_its_own_names() -> None:
    """The mapping and the credentials of a tenant's file are those that its declaration may name."""
    text = (Path(__file__).parents[2] / "contract" / "declared" / "miserly.yaml").read_text(encoding="utf-8")
    broken = text.replace("Tel: {read: Person.Tel", "Telly: {read: Person.Tel", 1)
    _, told = tenants.parse(broken.encode(), "miserly.yaml", CATALOGUE, secrets=False)
    assert [one.code for one in told] == ["config.unknown-key"]
    assert "Tel" in told[0].remedy


def test_a_webhook_without_its_secret_is_found() -> None:
    """Every delivery would be refused, and nobody would know why: told before; where the secrets are not known, nothing is."""
    (told,) = lint(declared(hook()), "token", {"kind", "token"})
    assert (told.path, told.code) == (("webhook",), "rest.contradiction")
    assert "webhook_secret" in told.message
    assert "webhook_secret" in told.remedy
    assert list(lint(declared(hook()), "token", {"kind", "token", "webhook_secret"})) == []
    assert list(lint(declared({}), "token", {"kind", "token"})) == []
    assert list(lint(declared(hook()), "token")) == []


def test_it_is_found_in_new_files_and_what_was_accepted_stays_in_force() -> None:
    """In the example the secret is taken away: `check` names file and line; a process that has accepted that goes on with it."""
    text = EXAMPLE.read_text(encoding="utf-8")
    bare = "\n".join(line for line in text.splitlines() if "webhook_secret:" not in line)
    assert bare != text
    tenant, told = tenants.parse(bare.encode(), "acme.yaml", CATALOGUE, secrets=False)
    assert tenant is None
    ((code, line),) = [(one.code, one.place.line) for one in told]
    assert code == "rest.contradiction"
    assert bare.splitlines()[line - 1].strip().startswith(("webhook:", "signature:"))
    assert tenants.reaccept(bare, "acme", CATALOGUE).connection.name == "bottlecrm"
    assert tenants.parse(text.encode(), "acme.yaml", CATALOGUE, secrets=False)[1] == []


def test_mistakes_of_several_sections_are_told_together() -> None:
    """A broken section hides what hangs on it, and nothing else."""
    changes = {
        "crm": 5,
        "record.id": "a..b",
        "write.create": None,
        "failures": [{"when": {}, "means": "gone"}],
        "lists.all.page.by": "magic",
    }
    assert set(found(changes, "basic")) == {
        ("crm", "config.bad-type"),
        ("record.id", "rest.bad-path"),
        ("write", "rest.contradiction"),
        ("failures.0.when", "rest.contradiction"),
        ("lists.all.page.by", "config.bad-value"),
        ("sign_in.token", "rest.contradiction"),
    }


def test_a_finding_has_the_line_and_column_of_its_file() -> None:
    """In the tenant's own file, at the key or at the value, with a remedy."""
    text = (Path(__file__).parents[2] / "contract" / "declared" / "plain.yaml").read_text(encoding="utf-8")
    broken = text.replace("record:", "recrod:", 1).replace("{since}", "{sinec}", 1)
    assert broken != text
    tenant, told = tenants.parse(broken.encode(), "plain.yaml", CATALOGUE, secrets=False)
    assert tenant is None
    lines = broken.splitlines()
    assert {one.code for one in told} == {"config.unknown-key", "config.missing-key", "rest.unknown-variable"}
    for one in told:
        if one.code != "config.missing-key":
            word = {"config.unknown-key": "recrod", "rest.unknown-variable": '"{sinec}"'}[one.code]
            assert lines[one.place.line - 1].index(word) + 1 == one.place.column


# --- form, against the decoder that has the last word -----------------------------------------------------------------

WHOLE = declared(
    {
        "write.batch": BATCH,
        "webhook": HOOK,
        "lists.changes": CHANGES,
        "failures": [{"when": {"status": [404, "4xx"], "body": {"a": {"has": ["x"]}}}, "means": "gone"}],
    }
)
ODD = st.sampled_from(
    [None, True, 0, -1, 1.5, "", "x", "/x", [], ["x"], [5], {}, {"x": 1}, {"by": "id"}, "4xx", [["x"]]]
)


def routes(value: Any, route: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [route, *(inner for name, member in members for inner in routes(member, (*route, name)))]


@given(route=st.sampled_from(routes(WHOLE)[1:]), odd=ODD)
def test_the_form_is_judged_as_the_decoder_judges_it(route: tuple[Any, ...], odd: Any) -> None:
    """Whatever stands wherever: mistakes are found where the decoder refuses the whole, and only there."""
    made = copy.deepcopy(WHOLE)
    target = made
    for step in route[:-1]:
        target = target[step]
    target[route[-1]] = odd
    told = list(mistakes(Options, made))
    try:
        msgspec.convert(made, Options)
    except msgspec.ValidationError:
        assert told
        assert all(one.path[: len(route) - 1] == route[:-1] or len(one.path) < len(route) for one in told)
    else:
        assert told == []
    assert all(isinstance(one, Mistake) for one in lint(made, "token"))


def test_every_declared_option_is_explained() -> None:
    """An editor shows what each key is for, at every depth, and completes the words of every choice."""
    schema = json.dumps(REST.schema())
    assert schema.count('"additionalProperties": false') > 20
    for name, part in REST.definitions().items():
        assert part.get("description"), name
        assert "\n" not in part["description"], f"{name}: a page and an editor would show an indented block"
        for key, value in part.get("properties", {}).items():
            assert value.get("description") or "$ref" in json.dumps(value), f"{name}.{key}"


def test_the_language_itself_is_looked_up_once_not_for_every_file() -> None:
    """A deployment has a thousand files, and a look at the types of the language takes longer than to judge one of them."""
    list(lint(WHOLE, "token"))
    looked: list[str] = []

    def heard(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(str(Path(msgspec.__file__).parent)):
            looked.append(frame.f_code.co_name)

    sys.setprofile(heard)
    try:
        found = list(lint(WHOLE, "token"))
    finally:
        sys.setprofile(None)
    assert set(looked) <= {"required"}  # a property of what was looked up
    assert found == []
