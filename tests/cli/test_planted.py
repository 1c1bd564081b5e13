"""Secrets are planted in a deployment's settings, and a CRM repeats everything that it is told: no verb shows one of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from sales_crm_bridge.cli import main
from sales_crm_bridge.sandbox import Answer, SandboxApp, serve

STATIC = "{kind: token, token: env:PLANTED_TOKEN, client_secret: env:PLANTED_HOOK}"
OAUTH = "{kind: oauth, client_id: env:PLANTED_ID, client_secret: env:PLANTED_HOOK, refresh_token: env:PLANTED_REFRESH}"
SECRETS = {
    name: f"planted-{name.lower()}-of-the-tests"
    for name in ("TOKEN", "HOOK", "ID", "REFRESH", "HASH", "SEAL", "KAFKA", "COLLECTOR", "PLAIN")
}
PERSONAL = ("ada.planted@corp.example", "+44 20 7946 0958")
TENANT = """
tenant: acme
leads: [{{owner: crm, from: 2026-01-01T00:00:00Z}}]
connection:
  adapter: hubspot
  address: {address}
  account: "4242"
  credentials: {credentials}
  allow_hosts: [127.0.0.1]
fields:
  email: email
  status: {{crm: hs_lead_status, values: {{NEW: new, CONNECTED: qualified, UNQUALIFIED: disqualified}}, otherwise: working}}
"""


class Parrot:
    """A CRM that answers every request with ``status``, and with all that it was told."""

    def __init__(self, status: int) -> None:
        self.status = status
        self.asked = 0

    def pause_s(self) -> float:
        return 0.0

    def handle(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        self.asked += 1
        said = f"{method} {target} {dict(headers)} {body.decode()} {PERSONAL} {SECRETS['HOOK']}"
        errors = [{"message": said, "code": said, "context": {"propertyName": [said]}}]
        told = {"message": said, "category": said, "error": said, "error_description": said, "errors": errors}
        return Answer(self.status, [("content-type", "application/json"), ("x-said", "ada")], json.dumps(told).encode())


def deployment(folder: Path, address: str, credentials: str, **more: object) -> list[str]:
    """Write the files; gives the words that name them to a verb."""
    settings = {
        "ledger": f"sqlite:///{folder / 'bridge.db'}",
        "kafka": {"bootstrap.servers": "127.0.0.1:1", "sasl.password": "env:PLANTED_KAFKA"},
        "hash_keys": ["env:PLANTED_HASH"],
        "seal_key": "env:PLANTED_SEAL",
        "tenants": {"folder": str(folder / "tenants")},
        "telemetry": {"headers": {"authorization": "env:PLANTED_COLLECTOR"}},
        "http": {"retry_first": "10ms", "tries_max": 2, "retry_max": "1s"},
    }
    (folder / "bridge.yaml").write_text(json.dumps({**settings, **more}))
    (folder / "tenants").mkdir(exist_ok=True)
    (folder / "tenants" / "acme.yaml").write_text(TENANT.format(address=address, credentials=credentials))
    return ["-c", str(folder / "bridge.yaml")]


def call(capsys: pytest.CaptureFixture[str], *verb: str) -> tuple[object, str]:
    """Run a verb; its exit code, and everything that it said."""
    code: object = 0
    try:
        main([*verb])
    except SystemExit as end:
        code = end.code
    out, err = capsys.readouterr()
    return code, out + err


def assert_silent(verb: tuple[str, ...], said: str, *, people: bool = True) -> None:
    for planted in (*SECRETS.values(), *(PERSONAL if people else ())):
        at = said.find(planted)
        assert at < 0, f"{' '.join(verb)}: {said[max(0, at - 200) : at + 100]}"


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The secrets are in the environment, and nothing else of a deployment is there."""
    for name, value in SECRETS.items():
        monkeypatch.setenv(f"PLANTED_{name}", value)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("credentials", "status"),
    [(STATIC, 200), (STATIC, 401), (STATIC, 403), (STATIC, 500), (OAUTH, 400)],
    ids=["no form", "token refused", "no right", "broken", "sign-in refused"],
)
async def test_no_verb_repeats_what_a_crm_repeats(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], status: int, credentials: str
) -> None:
    """A sign-in that is refused, rights that are missing, errors of every kind, an answer of no form: told, without what is secret.

    What ``adapter try`` shows of answers holds the records' values, as it says; no secret even so.
    """
    parrot = Parrot(status)
    async with serve(SandboxApp(parrot)) as address:
        config = deployment(tmp_path, address, credentials)
        for verb in (("sync", "--once"), ("sync", "--once", "--json"), ("status",), ("status", "--json")):
            code, said = await asyncio.to_thread(call, capsys, *verb, *config)
            assert_silent(verb, said)
            assert code == (1 if verb[0] == "sync" else 0), said
            assert "acme" in said
        for verb in (("adapter", "try"), ("adapter", "try", "--json"), ("adapter", "try", "--raw")):
            code, said = await asyncio.to_thread(call, capsys, *verb, *config, str(tmp_path / "tenants" / "acme.yaml"))
            assert_silent(verb, said, people=False)
            assert code in (1, 2), said
        (tmp_path / "no-kafka.yaml").write_text(
            (tmp_path / "bridge.yaml").read_text().replace("bootstrap.servers", "client.id")
        )
        for verb in (("check", "--online"), ("check", "--online", "--json")):
            code, said = await asyncio.to_thread(call, capsys, *verb, "-c", str(tmp_path / "no-kafka.yaml"))
            assert_silent(verb, said)
            assert code == 2, said
    assert parrot.asked > 5


def test_what_is_wrong_with_a_secret_is_told_without_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One in plain text, one under a name that there is not, one in an address, one among parameters."""
    plain = SECRETS["PLAIN"]
    postgres = "postgresql://bridge@127.0.0.1:1/bridge"
    for more, credentials in (
        ({}, f"{{kind: token, token: {plain}}}"),
        ({}, f"{{kind: token, tokken: {plain}, token: env:PLANTED_TOKEN}}"),
        ({}, f"{{kind: oauth, client_id: {plain}, client_secret: [{plain}]}}"),
        ({}, f"{{kind: {plain}, token: env:PLANTED_TOKEN}}"),
        ({}, plain),
        ({"seal_key": plain, "hash_keys": [plain]}, STATIC),
        ({"hash_keys": plain}, STATIC),
        ({"kafka": plain}, STATIC),
        ({"telemetry": {"headers": f"authorization={plain}"}}, STATIC),
        ({"kafka": {"bootstrap.servers": "127.0.0.1:1", "sasl.password": plain}}, STATIC),
        ({"telemetry": {"headers": {"authorization": plain}}}, STATIC),
        ({"ledger": f"postgresql://bridge:{plain}@127.0.0.1:1/bridge"}, STATIC),
        ({"ledger": f"{postgres}?password={plain}"}, STATIC),
        ({"ledger": postgres, "ledger_password": plain}, STATIC),
    ):
        config = deployment(tmp_path, "https://127.0.0.1:9", credentials, **more)
        for verb in (("check",), ("check", "--json"), ("gate",)):
            code, said = call(capsys, *verb, *config)
            assert_silent(verb, said)
            assert code == 2 or verb == ("gate",), (more, credentials)
