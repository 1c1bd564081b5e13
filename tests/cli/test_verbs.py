"""The command line as people and machines use it: exit codes, JSON, findings, and the demo."""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import pytest

from sales_crm_bridge import cli, operate, wiring
from sales_crm_bridge.cli import kit
from sales_crm_bridge.demo import stage
from sales_crm_bridge.settings import PREFIX

ROOT = Path(__file__).parents[2]
SOMEONE = "ada@corp.example"
LIMIT_S = 30
"""How long a test waits for another process before it fails."""


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of a deployment is in the environment."""
    for name in [name for name in os.environ if name.upper().startswith(PREFIX) or name.startswith("PORT_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def deployment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A settings file and one good tenant file, with an embedded ledger."""
    (tmp_path / "tenants").mkdir()
    shutil.copy(ROOT / "config" / "tenants" / "acme.yaml", tmp_path / "tenants" / "acme.yaml")
    config = tmp_path / "bridge.yaml"
    config.write_text(
        json.dumps(
            {
                "ledger": f"sqlite:///{tmp_path / 'bridge.db'}",
                "kafka": {"bootstrap.servers": "127.0.0.1:1"},
                "hash_keys": ["env:HASH_KEY"],
                "seal_key": "env:SEAL_KEY",
                "tenants": {"folder": str(tmp_path / "tenants")},
            }
        )
    )
    monkeypatch.setenv("HASH_KEY", "a hash key of the tests")
    monkeypatch.setenv("SEAL_KEY", "a seal key of the tests")
    monkeypatch.setenv("ACME_HUBSPOT_TOKEN", "a token of the tests")
    return config


def call(*args: str) -> int:
    """Run the command line; its exit code."""
    try:
        cli.main(list(args))
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def test_help_teaches_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    """``--help`` names the verbs and the exit codes."""
    assert call("--help") == 0
    said = capsys.readouterr().out
    for verb in cli.cli.commands:
        assert re.search(rf"^  {verb}  +[A-Z]", said, re.MULTILINE), verb
    assert "Exit codes" in said


def test_the_way_to_a_running_bridge_can_be_walked(capsys: pytest.CaptureFixture[str]) -> None:
    """README and ``--help`` name the same steps, in an order in which each can succeed: the ledger is made before it is asked."""
    steps = ["check", "migrate", "check --online", "run"]
    readme = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Deploy")[2].partition("\n## ")[0]
    assert re.findall(r"^\d\. `sales-crm-bridge ([a-z -]+)`", readme, re.MULTILINE)[: len(steps)] == steps
    assert call("--help") == 0
    said = capsys.readouterr().out
    assert re.findall(r"^ +sales-crm-bridge ([a-z -]+)$", said, re.MULTILINE)[1 : len(steps) + 1] == steps
    told = re.search(r"then (`check`.*?`run`)", " ".join(said.split()))
    assert told is not None
    assert re.findall(r"`([a-z -]+)`", told[1]) == steps


def verbs(group: click.Group, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every verb, with those of a group."""
    for name, command in group.commands.items():
        yield (*above, name), command
        if isinstance(command, click.Group):
            yield from verbs(command, (*above, name))


VERBS = dict(verbs(cli.cli))


def test_the_verbs_are_known() -> None:
    """What the tests below go through: every verb of the program, those of a group too."""
    assert {("demo",), ("check",), ("adapter", "try"), ("tenant", "list"), ("tenant", "retire")} < VERBS.keys()


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_each_verb_explains_itself(verb: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """Every verb says what it does, shows how it is called, and what each of its options is for."""
    assert call(*verb, "--help") == 0
    said = capsys.readouterr().out
    assert said.startswith(f"Usage: sales-crm-bridge {' '.join(verb)} ")
    assert re.match(r"[A-Z].*?\w[.]", " ".join(said.split("\n\n")[1].split())), "a sentence"
    examples = said.partition("Examples:")[2].split("\n")[1:]
    assert [line for line in examples if line.strip().startswith(f"sales-crm-bridge {' '.join(verb)}")]
    assert [one.name for one in VERBS[verb].params if isinstance(one, click.Option) and not one.help] == []


def test_an_unknown_verb_is_a_mistake_of_the_caller(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, and a word about it."""
    assert call("syncc") == 2
    assert "syncc" in capsys.readouterr().err


def test_a_good_deployment_has_no_findings(deployment: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The example files are good: exit code 0."""
    assert call("check", "-c", str(deployment), "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ok"]
    assert [one["tenant"] for one in report["tenants"]] == ["acme"]


def test_every_problem_of_every_file_is_told_at_once(deployment: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Several mistakes in two files: each with code, file, line, column and remedy; exit code 2."""
    folder = deployment.parent / "tenants"
    text = (folder / "acme.yaml").read_text()
    broken = text.replace("adapter: hubspot", "adapter: hubspott").replace("  city: city", "  citty: city")
    (folder / "acme.yaml").write_text(broken)
    (folder / "umbrella.yaml").write_text("tenant: umbrella\nleads: []\nfieldz: {}\n")
    assert call("check", "-c", str(deployment), "--json") == 2
    findings = json.loads(capsys.readouterr().out)["findings"]
    codes = {(Path(one["file"]).name, one["code"]) for one in findings}
    assert {
        ("acme.yaml", "config.unknown-crm"),
        ("acme.yaml", "mapping.unknown-field"),
        ("umbrella.yaml", "config.unknown-key"),
        ("umbrella.yaml", "config.missing-key"),
    } <= codes
    assert all(one["line"] > 0 and one["remedy"] for one in findings)


def told(said: str) -> set[tuple[str, str, int]]:
    """What ``check --json`` found: code, file name, line."""
    return {(one["code"], Path(one["file"]).name, one["line"]) for one in json.loads(said)["findings"]}


def test_check_finds_what_run_would_refuse(deployment: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without leaving the machine: keys that are missing, what librdkafka does not take, files of calls; beside refused values."""
    deployment.write_text(
        "kafka:\n  bootstrap.servrs: k:1\n  security.protocol: sasl_sslx\n  acks: 1\n"
        "rpc:\n  transport: tls\n  certificate_file: /no/cert\n  client_ca_file: /no/ca\n"
        "  tokens: {keys_file: /no/keys, issuer: i, audience: a}\n"
        f"tenants: {{folder: {deployment.parent / 'tenants'}}}\n"
    )
    assert call("check", "-c", str(deployment), "--json") == 2
    assert told(capsys.readouterr().out) == {
        ("config.missing-key", "bridge.yaml", 1),
        ("config.missing-key", "bridge.yaml", 2),
        ("config.kafka", "bridge.yaml", 2),
        ("config.kafka", "bridge.yaml", 3),
        ("config.owned-by-bridge", "bridge.yaml", 4),
        ("config.missing-key", "bridge.yaml", 6),
        ("rpc.bad-file", "cert", 0),
        ("rpc.bad-file", "ca", 0),
        ("rpc.bad-file", "keys", 0),
    }
    assert call("check", "-c", str(deployment)) == 2
    said = capsys.readouterr().out
    for lack in ("no Kafka cluster", "no key for the hashes", "no key to seal", "transport: tls needs key_file"):
        assert lack in said


@pytest.mark.parametrize(
    "wrong",
    [
        {"hash_keys": []},
        {"seal_key": None},
        {"kafka": {}},
        {"kafka": {"bootstrap.servers": " "}},
        {"kafka": {"bootstrap.servers": "127.0.0.1:1", "security.protocol": "sasl_sslx"}},
        {"kafka": {"bootstrap.servers": "127.0.0.1:1", "max.in.flight": 10}},
        {"rpc": {"transport": "insecure", "tokens": {"keys_file": "/no/keys", "issuer": "i", "audience": "a"}}},
    ],
)
def test_run_refuses_nothing_that_check_let_pass(
    deployment: Path, wrong: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    """The same finding, from the same settings, with exit code 2 from both."""
    deployment.write_text(json.dumps({**json.loads(deployment.read_text()), **wrong}))
    assert call("check", "-c", str(deployment), "--json") == 2
    (found,) = json.loads(capsys.readouterr().out)["findings"]
    assert call("run", "-c", str(deployment)) == 2
    refused = capsys.readouterr().err
    assert f"[{found['code']}]" in refused
    assert found["message"] in refused


def test_check_finds_a_ledger_that_cannot_be_made(deployment: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder that is not there, and one that is in the ledger's place; exit code 3, and nothing is made."""
    folder = deployment.parent
    for ledger in (folder / "nowhere" / "bridge.db", folder / "tenants"):
        deployment.write_text(json.dumps({**json.loads(deployment.read_text()), "ledger": f"sqlite:///{ledger}"}))
        assert call("check", "-c", str(deployment), "--json") == 3
        (found,) = json.loads(capsys.readouterr().out)["findings"]
        assert (found["code"], found["file"]) == ("ledger.unreachable", str(ledger))
        assert found["remedy"]
    assert not (folder / "nowhere").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_an_output_that_is_full_is_told_as_what_it_is() -> None:
    """A redirected output on a full disk: a code, a place and a remedy, exit code 3, and no bug of ours."""
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "sales_crm_bridge", "version", "--json"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
    assert ended.returncode == 3
    assert ended.stderr.startswith("[process.no-room] standard output: ")
    assert "Fix: " in ended.stderr
    assert "process.bug" not in ended.stderr
    assert "Exception ignored" not in ended.stderr


def test_the_examples_of_the_repository_are_good_once_their_secrets_are_there(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`check` where the repository is, with the variables that the two files name: no problems found."""
    monkeypatch.chdir(ROOT)
    wanted = ("BRIDGE_DB_PASSWORD", "BRIDGE_HASH_KEY", "BRIDGE_SEAL_KEY", "ACME_HUBSPOT_TOKEN")
    for name in wanted:
        monkeypatch.delenv(name, raising=False)
    assert call("check", "--json") == 2
    assert {code for code, _, _ in told(capsys.readouterr().out)} == {"config.unresolvable-secret"}
    for name in wanted:
        monkeypatch.setenv(name, "a secret of the tests")
    assert call("check") == 0
    assert "no problems found" in capsys.readouterr().out


def test_a_broken_settings_file_is_told_the_same_way(deployment: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown setting and a bad one, with their places."""
    deployment.write_text("ledgr: sqlite:///x.db\npush:\n  attempts_max: 0\n")
    assert call("check", "-c", str(deployment)) == 2
    said = capsys.readouterr().out
    assert "[config.unknown-key]" in said
    assert f"{deployment}:1:1" in said
    assert "[config.out-of-range]" in said


@pytest.mark.parametrize(
    ("verb", "level"),
    [(["check"], "ERROR"), (["gate"], "ERROR"), (["sync", "--once"], "ERROR"), (["tenant", "list"], "DEBUG")],
)
def test_a_verb_that_reports_is_not_buried_under_the_log(verb: list[str], level: str, deployment: Path) -> None:
    """Where a report says what was found, the log has nothing but errors, whatever the settings say of a running bridge."""
    deployment.write_text(json.dumps({**json.loads(deployment.read_text()), "kafka": {}, "log": {"level": "debug"}}))
    call(*verb, "-c", str(deployment))
    assert logging.getLevelName(logging.getLogger().level) == level


def test_the_gate_is_printed_for_people_and_for_the_domain(
    deployment: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A table; and JSON that says who owns the leads in which interval."""
    assert call("gate", "-c", str(deployment)) == 0
    assert "this bridge" in capsys.readouterr().out
    assert call("gate", "-c", str(deployment), "--tenant", "acme", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert [span["owner"] for span in told["tenants"]["acme"]] == ["domain", "crm"]
    assert call("gate", "-c", str(deployment), "--tenant", "nobody") == 2


def test_a_broken_settings_file_hides_no_problem_of_a_tenant(
    deployment: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All files are told at once, even if the settings are refused; and the tenants of a folder that a variable names."""
    folder = deployment.parent / "tenants"
    (folder / "acme.yaml").write_text(
        (folder / "acme.yaml").read_text().replace("adapter: hubspot", "adapter: hubspott")
    )
    deployment.write_text(deployment.read_text().replace("env:HASH_KEY", "env:NOT_THERE"))
    assert call("check", "-c", str(deployment), "--json") == 2
    codes = [one["code"] for one in json.loads(capsys.readouterr().out)["findings"]]
    assert codes == ["config.unresolvable-secret", "config.unknown-crm"]
    deployment.write_text("ledgr: x\n")
    monkeypatch.setenv("SALES_CRM_BRIDGE_TENANTS__FOLDER", str(folder))
    assert call("check", "-c", str(deployment), "--json") == 2
    codes = [one["code"] for one in json.loads(capsys.readouterr().out)["findings"]]
    assert codes == ["config.unknown-key", *["config.missing-key"] * 3, "config.unknown-crm"]


def test_a_folder_that_cannot_be_read_hides_no_problem_of_the_settings(
    deployment: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a finding beside the others, for machines too; by itself a matter of the machine."""

    def refuse(_path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    assert call("check", "--json", "-c", str(deployment)) == 3
    assert [one["code"] for one in json.loads(capsys.readouterr().out)["findings"]] == ["tenant.folder-unreadable"]
    deployment.write_text(json.dumps({**json.loads(deployment.read_text()), "tennants": {}}))
    assert call("check", "--json", "-c", str(deployment)) == 2
    found = {one["code"] for one in json.loads(capsys.readouterr().out)["findings"]}
    assert found == {"tenant.folder-unreadable", "config.unknown-key"}


def test_settings_that_nobody_may_look_for_are_a_finding(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A `config` folder that cannot be entered is the machine's or the deployer's mistake, no bug of ours."""
    (tmp_path / "config" / "bridge.yaml").mkdir(parents=True)  # there, and no file that could be read
    monkeypatch.chdir(tmp_path)

    def refuse(_path: Path) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "is_file", refuse)
    assert call("status") == 2
    assert "[yaml.unreadable] config/bridge.yaml" in capsys.readouterr().err


def test_the_gate_in_force_is_the_running_bridges_and_not_the_files(
    deployment: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing accepted yet: none. Then what was accepted, whatever a refused file says; from ``retire`` on the domain's again.

    An intent that the domain passes over because of a file that the bridge does not go by would be handled by nobody.
    """

    def in_force() -> dict[str, list[dict[str, str]]]:
        assert call("gate", "--in-force", "--json", "-c", str(deployment)) == 0
        found: dict[str, list[dict[str, str]]] = json.loads(capsys.readouterr().out)["tenants"]
        return found

    assert call("migrate", "-c", str(deployment)) == 0
    capsys.readouterr()
    assert in_force() == {}
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert call("rewind", "-c", str(deployment), "--to", now, "--yes") == 0
    capsys.readouterr()
    accepted = in_force()
    assert [span["owner"] for span in accepted["acme"]] == ["domain", "crm"]
    file = deployment.parent / "tenants" / "acme.yaml"
    good = file.read_text()
    file.write_text(good.replace("2026-01-01", "2026-02-01"))
    assert in_force() == accepted
    file.write_text(good)
    assert call("tenant", "retire", "acme", "--yes", "-c", str(deployment)) == 0
    said = capsys.readouterr().out
    assert "gate --in-force --json" in said
    assert f"Remove {file}" in said
    *before, last, since = in_force()["acme"]
    assert [*before, {**last, "until": None}] == accepted["acme"]
    assert since == {"from": last["until"], "until": None, "owner": "domain"}
    assert f"the leads are the domain's since {since['from']}" in said
    assert "." not in since["from"]  # as a person writes it
    assert datetime.fromisoformat(since["from"]) > datetime.fromisoformat(now)
    assert call("gate", "--in-force", "--tenant", "acme", "-c", str(deployment)) == 0
    assert "the tenant is retired" in capsys.readouterr().out
    assert call("gate", "--in-force", "--tenant", "acm", "-c", str(deployment)) == 2
    refused = capsys.readouterr().err
    assert "[config.no-tenant] the ledger: no tenant 'acm' is in force" in refused
    assert "tenant list" in refused, "a file is no remedy"


@pytest.mark.parametrize(
    "verb",
    [
        ("gate", "--in-force", "--json"),
        ("gate", "--in-force", "--tenant", "acme"),
        ("status",),
        ("status", "--json"),
        ("tenant", "list", "--json"),
        ("tenant", "retire", "acme", "--yes"),
        ("rewind", "--to", "2026-11-01T00:00:00Z", "--yes"),
    ],
    ids=" ".join,
)
def test_who_only_looks_makes_no_ledger(
    verb: tuple[str, ...], deployment: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the wrong folder, or before `migrate`: exit code 3 and what to do, never an empty ledger in which there is no tenant."""
    ledger = deployment.parent / "bridge.db"
    assert call(*verb, "-c", str(deployment)) == 3
    said = capsys.readouterr()
    assert said.out == ""
    assert f"[ledger.unreachable] {ledger}: " in said.err
    assert "sales-crm-bridge migrate" in said.err
    assert not ledger.exists()
    ledger.touch()
    assert call(*verb, "-c", str(deployment)) == 3
    said = capsys.readouterr()
    assert said.out == ""
    assert "[ledger.schema-old]" in said.err
    assert "sales-crm-bridge migrate" in said.err


def test_the_gate_of_one_tenant_needs_neither_the_others_nor_secrets(
    deployment: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose leads they are stands in its file: another one's mistake, or a secret that is elsewhere, holds nobody up."""
    folder = deployment.parent / "tenants"
    (folder / "umbrella.yaml").write_text("tenant: umbrella\nleads: []\n")
    for name in ("HASH_KEY", "SEAL_KEY", "ACME_HUBSPOT_TOKEN"):
        monkeypatch.delenv(name)
    settings = json.loads(deployment.read_text())
    settings["ledger"] = "postgresql://bridge:env:NOT_THERE@db/bridge"
    deployment.write_text(json.dumps(settings))
    assert call("gate", "-c", str(deployment), "--tenant", "acme", "--json") == 0
    assert list(json.loads(capsys.readouterr().out)["tenants"]) == ["acme"]
    assert call("gate", "-c", str(deployment), "--tenant", "umbrella") == 2
    assert "umbrella.yaml:" in capsys.readouterr().err
    assert call("gate", "-c", str(deployment), "--json") == 2, "all of them are not known"
    assert call("gate", "-c", str(deployment), "--tenant", "nobody") == 2
    assert f"write {folder}/nobody.yaml" in capsys.readouterr().err


@pytest.mark.parametrize("verb", [("status",), ("gate", "--in-force"), ("tenant", "list"), ("migrate",)], ids=" ".join)
def test_who_looks_into_the_ledger_needs_its_secrets_alone(
    verb: tuple[str, ...], deployment: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From any machine that reaches it: without the keys of hashes and seals, without Kafka's password; not without its own."""
    assert call("migrate", "-c", str(deployment)) == 0
    for name in ("HASH_KEY", "SEAL_KEY", "ACME_HUBSPOT_TOKEN"):
        monkeypatch.delenv(name)
    assert call(*verb, "-c", str(deployment)) == 0
    capsys.readouterr()
    settings = json.loads(deployment.read_text())
    settings["ledger_password"] = "env:NOT_THERE"
    deployment.write_text(json.dumps(settings))
    assert call(*verb, "-c", str(deployment)) == 2
    assert "[config.unresolvable-secret]" in capsys.readouterr().err


def test_the_ledger_is_migrated_looked_at_and_a_tenant_retired(
    deployment: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Migrate twice, status of an empty ledger, no process alive, nobody to retire."""
    assert call("migrate", "-c", str(deployment)) == 0
    assert "applied" in capsys.readouterr().out
    assert call("migrate", "-c", str(deployment)) == 0
    assert "up to date" in capsys.readouterr().out
    assert call("status", "-c", str(deployment), "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["connections"] == []
    assert report["outbox"]["facts"] == 0
    assert report["processes"] == []
    assert call("tenant", "list", "-c", str(deployment), "--json") == 0
    assert json.loads(capsys.readouterr().out) == []


def test_what_migrate_does_is_told_to_machines(deployment: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``--json``: the names of the steps that were applied; again: none."""
    assert call("migrate", "-c", str(deployment), "--json") == 0
    applied = json.loads(capsys.readouterr().out)["applied"]
    assert applied[0] == "0001_first"
    assert call("migrate", "-c", str(deployment), "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"applied": []}


@pytest.fixture
def accepted(deployment: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A deployment whose ledger has accepted acme's file."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert call("migrate", "-c", str(deployment)) == 0
    assert call("rewind", "-c", str(deployment), "--to", now, "--yes") == 0
    capsys.readouterr()
    return deployment


def asked_nobody(question: str, **_: object) -> bool:
    raise AssertionError(question)


def test_a_tenant_that_is_not_in_force_cannot_be_retired(
    accepted: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is asked about it: exit code 2, with code and remedy, and what may have been meant."""
    monkeypatch.setattr(click, "confirm", asked_nobody)
    assert call("tenant", "retire", "acne", "-c", str(accepted)) == 2
    said = capsys.readouterr().err
    assert "[config.no-tenant] the ledger: no tenant 'acne' is in force" in said
    assert "Fix: did you mean 'acme'?" in said


def test_a_retirement_is_told_to_machines(accepted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``--json``: whose, since when, and the file that changes nothing any more; a second time it is no tenant in force."""
    before = datetime.now(UTC)
    assert call("tenant", "retire", "acme", "--yes", "--json", "-c", str(accepted)) == 0
    said = json.loads(capsys.readouterr().out)
    # The next whole second: what was taken in this one was the bridge's.
    assert before < datetime.fromisoformat(said.pop("retired")) <= datetime.now(UTC) + timedelta(seconds=1)
    none = {"open": 0, "unknown": 0, "parked": 0}
    assert said == {"tenant": "acme", "files": [str(accepted.parent / "tenants" / "acme.yaml")], "commands": none}
    assert call("tenant", "retire", "acme", "--yes", "--json", "-c", str(accepted)) == 2
    assert "was retired at" in capsys.readouterr().err


@pytest.mark.parametrize(
    "verb", [("tenant", "retire", "acme"), ("rewind", "--to", "2026-11-01T00:00:00Z")], ids=" ".join
)
@pytest.mark.parametrize(
    ("answer", "code"),
    [("n", 1), (EOFError(), 2), (None, 2), (KeyboardInterrupt(), 130)],
    ids=["no", "end of input", "no input", "ctrl-c"],
)
def test_what_cannot_be_undone_asks_first(
    verb: tuple[str, ...],
    answer: str | BaseException | None,
    code: int,
    accepted: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A no is exit code 1, Ctrl-C 130; where nobody can answer, ``--yes`` is named, with exit code 2. Nothing was done."""

    def typed(_prompt: str = "") -> str:
        if isinstance(answer, BaseException):
            raise answer
        return str(answer)

    monkeypatch.setattr("click.termui.visible_prompt_func", typed)
    if answer is None:
        monkeypatch.setattr(sys, "stdin", None)
    assert call(*verb, "-c", str(accepted)) == code
    said = capsys.readouterr().err
    assert ("--yes" in said) == (code == 2)
    assert ("nothing was done" in said) == (code == 1)
    assert call("tenant", "list", "-c", str(accepted), "--json") == 0
    assert [one["retired"] for one in json.loads(capsys.readouterr().out)] == [""]


def test_a_ledger_that_is_not_there_is_a_matter_of_the_environment(
    deployment: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 3, with the code and no password."""
    settings = json.loads(deployment.read_text())
    settings["ledger"] = "postgresql://bridge@127.0.0.1:1/bridge"
    deployment.write_text(json.dumps(settings))
    assert call("migrate", "-c", str(deployment)) == 3
    assert "[ledger.unreachable]" in capsys.readouterr().err


def test_run_refuses_settings_that_are_not_fit_for_production(
    deployment: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No Kafka, no keys: every lack is named, exit code 2, nothing is started."""
    deployment.write_text(f"ledger: sqlite:///{deployment.parent / 'b.db'}\n")
    assert call("run", "-c", str(deployment)) == 2
    assert capsys.readouterr().err.count("[config.missing-key]") == 3


@pytest.mark.parametrize("form", ["json", "text"])
def test_what_nobody_foresaw_is_a_line_of_the_log(
    deployment: Path, form: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the form that the log has, with a code and the place in the program, and without what it was about; exit code 1."""

    async def broken(*_: object) -> None:
        raise KeyError(SOMEONE)

    monkeypatch.setattr(operate, "run", broken)
    monkeypatch.setenv("SALES_CRM_BRIDGE_LOG__FORM", form)
    assert call("run", "-c", str(deployment)) == 1
    said = capsys.readouterr().err
    assert SOMEONE not in said
    if form == "json":
        (line,) = said.splitlines()
        told = json.loads(line)
        assert (told["level"], told["event"], told["code"]) == ("error", "process.bug", "bug.unforeseen")
        assert "KeyError" in told["message"]
        assert "in broken" in told["traceback"]
    else:
        assert "a bug ended the process: KeyError  event=process.bug  code=bug.unforeseen\n" in said
        assert "in broken" in said


def test_also_before_the_settings_are_read(
    deployment: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nobody looks at a terminal it is JSON from the first moment on, since whatever reads the log cannot know better."""

    def broken(*_: object) -> None:
        raise KeyError(SOMEONE)

    monkeypatch.setattr(kit, "load_settings", broken)
    assert call("run", "-c", str(deployment)) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["event"] == "process.bug"


def test_a_rewind_accepts_the_entry_that_came_too_late(deployment: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``rewind``: exit code 0 and what was done; a time that is none, or too far back, is a mistake of the caller.

    An inbox that remembers for ever lets it go back to any time.
    """
    assert call("migrate", "-c", str(deployment)) == 0
    capsys.readouterr()
    yesterday = (datetime.now(UTC) - timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert call("rewind", "-c", str(deployment), "--to", yesterday, "--yes", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {"to": yesterday, "partitions": 0, "accepted": ["acme"]}
    assert call("tenant", "list", "-c", str(deployment), "--json") == 0
    assert [one["tenant"] for one in json.loads(capsys.readouterr().out)] == ["acme"]
    assert call("rewind", "-c", str(deployment), "--to", "yesterday", "--yes") == 2
    assert "RFC 3339" in capsys.readouterr().err
    assert call("rewind", "-c", str(deployment), "--to", "2001-01-01T00:00:00Z", "--yes") == 2
    assert "intake.rewind-range" in capsys.readouterr().err
    deployment.write_text(json.dumps({**json.loads(deployment.read_text()), "retention": {"inbox": "forever"}}))
    assert call("rewind", "-c", str(deployment), "--to", "2026-01-01T00:00:00Z", "--yes") == 0


def test_version_names_program_and_contract(capsys: pytest.CaptureFixture[str]) -> None:
    """For people and as JSON."""
    assert call("version", "--json") == 0
    assert set(json.loads(capsys.readouterr().out)) == {"sales-crm-bridge", "contract"}


def test_the_demo_ends_in_agreement(capsys: pytest.CaptureFixture[str]) -> None:
    """The whole main job in this process: every lead imported, every intent answered, both sides equal.

    It says how long it took: below 15 s on a machine with nothing else to do. Here others work beside it, so what it asks of a
    processor is held against that, and its own word against our clock.
    """
    began, worked = time.monotonic(), time.process_time()
    assert call("demo", "--json") == 0
    worked_s, took_s = time.process_time() - worked, time.monotonic() - began
    told = json.loads(capsys.readouterr().out)
    assert worked_s < 8, "with some 6 s of waiting for horizons and for Kafka"
    assert 0 < told["seconds"] <= took_s + 0.1
    assert told["agree"]
    assert told["leads"]["imported"] == 500
    assert told["leads"]["in_crm"] == told["leads"]["in_sales"]
    assert told["outcomes"]["create-3"] == "INVALID_EMAIL"
    done = {name for name, outcome in told["outcomes"].items() if outcome == "done"}
    assert told["crm_writes"] == len(done)
    assert told["answers_lost"] == 1
    assert done == {"create-1", "create-2", "revise-1", "qualify-1", "disqualify-2"}
    assert told["facts"]["crm_lead_removed"] == 2


def test_the_demo_outlasts_whatever_a_lost_answer_costs(tmp_path: Path) -> None:
    """Whichever intents went with the call whose answer is lost: that one of them took no effect is known while the demo waits."""
    settings = stage.deployment(tmp_path, "http://127.0.0.1:1", "127.0.0.1:1", "token")
    (tenant,) = operate.tenants_of(settings)
    patience = wiring.patience_of(tenant, settings)
    longest_us = patience.under_way_us + sum(patience.settle_us(times) + patience.retry_us(times) for times in range(3))
    assert longest_us <= stage.LIMIT_S / 2 * 1e6


def test_an_intent_without_an_outcome_is_not_called_passed_over(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A demo that did not see an intent of ours end says so, and ends with 1."""
    monkeypatch.setattr(stage, "LIMIT_S", 0.0)
    assert call("demo", "--json") == 1
    told = json.loads(capsys.readouterr().out)
    assert told["intents"]["open"] > 0
    assert told["intents"]["passed_over"] == 1
    assert not told["agree"]


def test_a_demo_that_goes_on_obeys_who_types_and_ends_by_ctrl_c() -> None:
    """``demo --keep``, piped: it says how to play; a typed intent takes effect; Ctrl-C ends it, and nothing is left."""
    keeping = subprocess.Popen(
        [sys.executable, "-m", "sales_crm_bridge", "demo", "--keep"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert keeping.stdout is not None
        assert keeping.stdin is not None
        config = ""
        for line in keeping.stdout:
            config = line.split()[-1] if "status --watch -c" in line else config
            if line.startswith("Facts appear below"):
                break
        assert Path(config).is_file()
        keeping.stdin.write("create L-9 email=typed@sales.example\nnonsense\n")
        keeping.stdin.flush()
        seen = ""
        while "crm_lead_pushed  L-9" not in seen:
            line = keeping.stdout.readline()
            assert line, f"it ended by itself: {seen}"
            seen += line
        assert "Type one of" in seen
        keeping.send_signal(signal.SIGINT)
        assert keeping.wait(LIMIT_S) == 0
        assert not Path(config).exists()
    finally:
        keeping.kill()
        keeping.communicate()
