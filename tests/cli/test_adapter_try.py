"""``adapter try`` over real HTTP: what it calls, what it shows, what it never does."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import random
import re
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from sales_crm_bridge import operate
from sales_crm_bridge.console import Console
from sales_crm_bridge.errors import ConfigError, EnvironmentFault
from sales_crm_bridge.model import Effect, HttpCall, HttpReply
from sales_crm_bridge.ports import Talk
from sales_crm_bridge.sandbox import Fault, FaultKind, SandboxApp, serve
from sales_crm_bridge.sandbox.hubspot import Portal, Vices
from sales_crm_bridge.sandbox.memory import MemoryCrm
from sales_crm_bridge.settings import load
from sales_crm_bridge.trying import attempt, tenant_of
from sales_crm_bridge.trying.shown import Trial
from sales_crm_bridge.trying.talks import rehearsed
from sales_crm_bridge.trying.words import nobody
from tests.contract.declared_worlds import DECLARED, DECLARED_WORLDS, DeclaredWorld
from tests.contract.world import Clock

TENANT = """
tenant: acme
leads: [{{owner: crm, from: 2026-01-01T00:00:00Z}}]
connection:
  adapter: hubspot
  address: {address}
  account: "{account}"
  credentials: {credentials}
  allow_hosts: [127.0.0.1]
fields:
  email: email
  last_name: lastname
  city: {city}
  status: {{crm: hs_lead_status, values: {{NEW: new, CONNECTED: qualified, UNQUALIFIED: disqualified}}}}
"""
MEMORY = """
tenant: acme
leads: [{{owner: crm, from: 2026-01-01T00:00:00Z}}]
connection:
  adapter: memory
  address: {address}
  account: memory-1
  credentials: {{kind: password, password: env:TRY_SECRET}}
  allow_hosts: [127.0.0.1]
fields:
  full_name: name
  email: email
  status: {{crm: status, values: {{new: new, open: working, qualified: qualified, disqualified: disqualified}}}}
"""
STATIC = "{kind: token, token: env:TRY_TOKEN}"
OAUTH = "{kind: oauth, client_id: env:TRY_ID, client_secret: env:TRY_SECRET, refresh_token: env:TRY_REFRESH}"
SECRETS = {
    "TRY_TOKEN": "pat-na1-sandbox",
    "TRY_ID": "our-app",
    "TRY_SECRET": "s3cret-s3cret",
    "TRY_REFRESH": "refresh-0",
}
SEAL = "a seal key of the tests"


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The secrets are in the environment, and nothing else of a deployment is there."""
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TRY_SEAL", SEAL)
    monkeypatch.chdir(tmp_path)


def portal(**vices: Any) -> Portal:
    made = Portal.seeded(seed=1, leads=30, clock=time.time, vices=Vices(**vices))
    made.add_property("contacts", "bridge_lead_id", unique=True)
    made.tokens.oauth_app("our-app", "s3cret-s3cret", "refresh-0")
    return made


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def tried(crm: Portal, folder: Path, count: int = 3, *, raw: bool = False, **more: str) -> Trial:
    file = folder / "elsewhere.yaml"
    async with serve(SandboxApp(crm)) as address:
        values = {"account": "4242", "credentials": STATIC, "city": "city"} | more
        file.write_text(TENANT.format(address=address, **values))
        return await attempt(load(None), tenant_of(file), count, raw=raw)


async def test_a_try_reads_and_shows_and_writes_nothing(tmp_path: Path) -> None:
    """Every list, one record again, a record that is not there, each command as it would go out; the CRM's log stays as it was."""
    crm = portal()
    before = crm.truth().log
    trial = await tried(crm, tmp_path)
    assert crm.truth().log == before
    assert (trial.faults, trial.findings) == ([], [])
    steps = list(dict.fromkeys(call.step for call in trial.calls))
    assert steps == [
        "account", "list list", "list list, next page", "list search", "list archived", "read by id",
        "read by no key", "read what is not there", "would create", "would revise", "would qualify", "would disqualify",
    ]  # fmt: skip
    assert {call.step.startswith("would") for call in trial.calls if not call.made} == {True}
    assert all(call.made for call in trial.calls if not call.step.startswith("would"))
    created = next(call for call in trial.calls if call.step == "would create")
    assert created.target.endswith("/batch/upsert")
    assert json.loads(created.body)["inputs"][0]["properties"]["bridge_lead_id"] == "try"
    notes = dict(trial.notes)
    assert notes["read by id"] == "the same as in the list"
    assert notes["read what is not there"].endswith("understood as gone")
    assert notes["list list, next page"] == "3 records, none of which the first page had"


async def test_a_record_is_shown_as_it_is_understood(tmp_path: Path) -> None:
    """Ids, times, version, each mapped field with the CRM's own value, and what did not fit, with its meaning."""
    crm = portal()
    trial = await tried(crm, tmp_path, count=30, raw=True)
    live = crm.truth().live["contacts"]
    assert [dict(record.about)["id"] for record in trial.records] == sorted(live)
    for record in trial.records:
        about, truth = dict(record.about), live[dict(record.about)["id"]]
        assert about["state"] == "live"
        assert about["version"]
        assert about["modified"].endswith("Z")
        fields = {name: (value, theirs) for name, value, theirs in record.fields}
        assert fields["email"] == (truth["email"], f"email={truth['email']}")
        unlisted = truth.get("hs_lead_status", "NEW") not in ("NEW", "CONNECTED", "UNQUALIFIED")
        assert [(name, code) for name, _, code, _ in record.misfits] == [("status", "unknown-value")] * unlisted
        assert json.loads(record.raw)["id"] == about["id"]
    assert any(record.misfits for record in trial.records)


async def test_secrets_are_masked_and_what_a_sign_in_keeps_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The client's secret, refresh tokens and access tokens stand in no line; a rotated token is kept, or nobody signs in."""
    crm = portal(rotate_refresh_tokens=True)
    app = crm.tokens._apps["our-app"]
    (tmp_path / "bridge.yaml").write_text('{ledger: "sqlite:///bridge.db", seal_key: "env:TRY_SEAL"}')
    settings = load(tmp_path / "bridge.yaml")
    given = [*app.refresh_tokens]
    async with serve(SandboxApp(crm)) as address:
        file = tmp_path / "acme.yaml"
        file.write_text(TENANT.format(address=address, account="4242", credentials=OAUTH, city="city"))
        with pytest.raises(EnvironmentFault, match=r"no such ledger"):
            await attempt(settings, tenant_of(file), 2)
        assert app.refresh_tokens == given
        await operate.migrate(settings)
        for _ in range(2):
            trial = await attempt(settings, tenant_of(file), 2, raw=True)
            assert trial.faults == []
            signed = next(call for call in trial.calls if call.step == "sign in")
            assert (signed.target, signed.answer[:3]) == ("/oauth/v1/token", "200")
            Console().trial(trial)
            told = capsys.readouterr().out + json.dumps(trial.to_json())
            given += app.refresh_tokens
            secrets = {*given, *crm.tokens._grants, "s3cret-s3cret"} - {"pat-na1-sandbox"}
            assert len(secrets) > 3
            assert not [secret for secret in secrets if secret in told]
    assert "refresh-0" not in app.refresh_tokens


async def test_a_refusal_is_shown_with_the_crms_words_masked(tmp_path: Path) -> None:
    """A list that the CRM does not answer is a fault with the beginning of its answer, without addresses; the rest goes on."""
    crm = portal()
    reply = b'{"message":"ada@corp.example has no access"}'
    fault = Fault(FaultKind.STATUS, path="*/contacts/search", status=400, reply=reply, times=None)
    crm.faults.add(fault)
    trial = await tried(crm, tmp_path)
    assert [step for step, _ in trial.faults] == ["list search"]
    refused = next(call for call in trial.calls if call.step == "list search")
    assert "has no access" in refused.answer
    assert "ada@" not in json.dumps(trial.to_json())
    assert any(call.step == "would create" for call in trial.calls)


async def test_what_is_to_be_mended_is_found(tmp_path: Path) -> None:
    """A wrong account, a field that the CRM lacks: findings with their place; a file that is none: ``ConfigError``."""
    trial = await tried(portal(), tmp_path, account="999", city="citty")
    found = {one.code: one for one in trial.findings}
    assert found["mapping.crm-field-unknown"].place.line > 0
    assert "4242" in found["crm.wrong-account"].message
    bare = Portal.seeded(seed=1, leads=1, clock=time.time)
    both = {one.code for one in (await tried(bare, tmp_path, account="999")).findings}
    assert both == {"crm.wrong-account", "hubspot.key-property-missing"}
    (tmp_path / "broken.yaml").write_text("tenant: acme\n")
    for name in ("broken.yaml", "none.yaml"):
        with pytest.raises(ConfigError):
            tenant_of(tmp_path / name)


def test_a_rehearsed_talk_makes_no_writing_call() -> None:
    """Reading calls of a mixed tuple go out, writing ones are withheld and answered as not sent, each reply to its own call."""
    read = HttpCall(method="GET", path="/r", effect=Effect.READ)
    write = HttpCall(method="POST", path="/w", effect=Effect.WRITE)
    answer = HttpReply(status=200, headers={}, body=b"", asked_us=0, answered_us=1)

    def talk() -> Talk[list[str]]:
        replies = yield (write, read, write)
        (last,) = yield (write,)
        return [type(reply).__name__ for reply in (*replies, last)]

    withheld: list[HttpCall] = []
    rehearsal = rehearsed(talk(), withheld.append)
    assert next(rehearsal) == (read,)
    with pytest.raises(StopIteration) as end:
        rehearsal.send((answer,))
    assert end.value.value == ["NoReply", "HttpReply", "NoReply", "NoReply"]
    assert withheld == [write] * 3


@pytest.mark.parametrize("make", DECLARED_WORLDS.values(), ids=list(DECLARED_WORLDS))
async def test_a_declared_crm_is_tried_as_any_other(
    make: type[DeclaredWorld], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each declared dialect over real HTTP: no fault, no finding, every list read, every write shown, no secret told."""
    world = make(clock=Today())
    text = (DECLARED / f"{make.declaration}.yaml").read_text()
    trial = await declared(make, text, tmp_path, monkeypatch, world)
    assert (trial.findings, trial.faults) == ([], [])
    notes = dict(trial.notes)
    assert notes["read by id"] == "the same as in the list"
    assert notes["list all, next page"] == "2 records, none of which the first page had"
    assert notes["read what is not there"].endswith("understood as gone")
    assert (notes.get("read by key") == "the same record") is world.adapter.capabilities.read_by_key
    shown = {call.step for call in trial.calls if not call.made}
    assert shown == {"would create", "would revise", "would qualify", "would disqualify"}
    assert (make.exchanged, world.count()) == (any(call.step == "sign in" for call in trial.calls), 5)
    told = json.dumps(trial.to_json())
    assert not [value for name, value in make.secrets.items() if "username" not in name and value in told]
    pair = base64.b64encode(":".join(make.secrets.values()).encode()).decode()
    assert pair[-8:] not in told, "a pair in Base64 tells its second half"


MISTAKES = {
    "no fields": ("cloud", "fields: attributes", "fields: attribute", "crm.fields-empty"),
    "next page": ("cloud", "next: {header: link}", "next: {header: lnk}", "crm.paging-unclear"),
    "another record": (
        "cloud",
        'one: {path: /v2/leads, query: {"filter[id]"',
        'one: {path: /v2/leads, query: {"filter[idd]"',
        "",
    ),
}


@pytest.mark.parametrize(("name", "right", "wrong", "code"), MISTAKES.values(), ids=list(MISTAKES))
async def test_what_would_go_wrong_in_service_is_found(
    name: str, right: str, wrong: str, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A declaration that is well-formed and wrong: a try that saw it does not say that all is well."""
    make = next(world for world in DECLARED_WORLDS.values() if world.declaration == name)
    text = (DECLARED / f"{name}.yaml").read_text()
    assert right in text
    trial = await declared(make, text.replace(right, wrong), tmp_path, monkeypatch)
    codes = {one.code for one in trial.findings} | {fault.code for _, fault in trial.faults}
    assert code in codes if code else codes
    assert trial.to_json()["ok"] is False


async def test_fields_that_no_record_has_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One misspelt name among good ones may also be a field that few fill in: it is said, and judged by the integrator."""
    make = next(world for world in DECLARED_WORLDS.values() if world.declaration == "plain")
    text = (DECLARED / "plain.yaml").read_text().replace("fullName", "fullNme")
    trial = await declared(make, text, tmp_path, monkeypatch)
    assert "fullNme" in dict(trial.notes)["fields without a value"]


async def test_an_answer_that_is_not_understood_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its beginning, though its status is good: the integrator sees what stands there instead."""
    make = next(world for world in DECLARED_WORLDS.values() if world.declaration == "plain")
    text = (DECLARED / "plain.yaml").read_text().replace("records: items", "records: itms")
    trial = await declared(make, text, tmp_path, monkeypatch)
    refused = next(call for call in trial.calls if call.step == "list all")
    assert refused.answer.startswith("200, ")
    assert '"items"' in refused.answer


async def declared(
    make: type[DeclaredWorld],
    text: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    world: DeclaredWorld | None = None,
) -> Trial:
    """A try of a declaration on its dialect (on ``world``, if it is given) with five records."""
    world = world or make(clock=Today())
    for number in range(5):
        world.create(number, key=f"L-{number}")
    for name, value in {**make.secrets, "webhook_secret": "hook-secret"}.items():
        for variable in re.findall(rf"\b{name}: env:(\w+)", text):
            monkeypatch.setenv(variable, value)
    async with serve(SandboxApp(world.crm)) as address:  # type: ignore[arg-type]  # each of them pauses for nothing
        here = re.sub(r"address: https://[^/\n]+", f"address: {address}", text)
        file = folder / "declared.yaml"
        file.write_text(here.replace("  account:", "  allow_hosts: [127.0.0.1]\n  account:", 1))
        return await attempt(load(None), tenant_of(file), 2)


async def test_the_memory_crm_is_tried_as_any_other(tmp_path: Path) -> None:
    """Nothing in a try is one adapter's own: a keyset walk over seconds, a sign-in by password, single writes."""
    crm = MemoryCrm(clock=time.time, rng=random.Random(1), password=SECRETS["TRY_SECRET"])
    for number in range(4):
        crm.create({"name": f"Lead {number}", "email": f"lead{number}@corp.example", "status": "new"}, f"L-{number}")
    file = tmp_path / "memory.yaml"
    async with serve(SandboxApp(crm)) as address:
        file.write_text(MEMORY.format(address=address))
        trial = await attempt(load(None), tenant_of(file), 2)
    assert (trial.findings, trial.faults) == ([], [])
    assert dict(trial.notes)["read by key"] == "the same record"
    assert [record.feed for record in trial.records].count("all") == 2
    assert sorted(held.etag for held in crm.records.values()) == [1, 2, 3, 4], "nothing was written"


class Today(Clock):
    """The wall's time: the bridge asks for the last day."""

    def __call__(self) -> float:
        return time.time()


@pytest.mark.parametrize(
    ("known", "other"),
    [
        ("17", "999999999"),
        ("70000000026", "99999999999"),
        ("B-1", "B-999999999"),
        ("ld_0a1b2c", "ld_9a9b9c"),
        ("abc", "abz"),
        ("xyz", "xyy"),
        ("", "z"),
    ],
)
def test_nobodys_id_has_the_form_of_somebodys(known: str, other: str) -> None:
    """A CRM refuses an id of another form with another error than one that is not there."""
    assert nobody(known) == other


async def test_the_verb_prints_json_and_ends_with_the_houses_codes(tmp_path: Path) -> None:
    """0: all well. 1: the CRM did not answer. 2: something is to be mended. Nothing is left behind in the folder."""
    crm = portal()
    async with serve(SandboxApp(crm)) as address:

        async def call(file: str) -> tuple[int, str]:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "sales_crm_bridge", "adapter", "try", file, "--list", "2", "--json"),
                env=dict(os.environ),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            out, err = await asyncio.wait_for(process.communicate(), 60)
            return process.returncode or 0, out.decode() or err.decode()

        good = {"account": "4242", "credentials": STATIC, "city": "city"}
        (tmp_path / "good.yaml").write_text(TENANT.format(address=address, **good))
        (tmp_path / "bad.yaml").write_text(TENANT.format(address=address, **{**good, "city": "citty"}))
        (tmp_path / "worse.yaml").write_text("{}")
        code, said = await call("good.yaml")
        assert (code, json.loads(said)["ok"], len(json.loads(said)["records"])) == (0, True, 2)
        assert (await call("bad.yaml"))[0] == 2
        code, said = await call("worse.yaml")
        assert (code, "config." in said) == (2, True)
        crm.faults.add(Fault(FaultKind.STATUS, path="/crm/v3/objects/contacts", status=400, times=None))
        code, said = await call("good.yaml")
        assert (code, json.loads(said)["faults"][0]["step"]) == (1, "list list")
    assert names_in(tmp_path) == ["bad.yaml", "good.yaml", "worse.yaml"]
