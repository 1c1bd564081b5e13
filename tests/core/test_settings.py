"""Deployment settings: where each comes from, which one wins, and every problem with its place."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from sales_crm_bridge.errors import ConfigError
from sales_crm_bridge.settings import KAFKA_OWNED, PREFIX, Settings, load, read, run_findings

SECRET = "a very secret text of the tests"


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of a deployment is in the environment."""
    for name in [name for name in os.environ if name.upper().startswith(PREFIX) or name.startswith("PORT_")]:
        monkeypatch.delenv(name)


def write(folder: Path, text: str) -> Path:
    file = folder / "bridge.yaml"
    file.write_text(text)
    return file


def codes(file: Path) -> list[tuple[str, int]]:
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert SECRET not in str(caught.value)
    return [(one.code, one.place.line) for one in caught.value.findings]


def test_the_environment_wins_over_secret_files_and_those_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three places say three things; without them the default holds."""
    file = write(tmp_path, "producer: from-file\nconsumer_group: from-file\nlog: {level: warning}\n")
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "sales_crm_bridge_producer").write_text("from-secret")
    (secrets / "sales_crm_bridge_consumer_group").write_text("from-secret")
    monkeypatch.setenv("SALES_CRM_BRIDGE_PRODUCER", "from-environment")
    monkeypatch.setenv("PORT_HTTP", "8181")
    settings = load(file, secrets)
    assert (settings.producer, settings.consumer_group, settings.log.level) == (
        "from-environment",
        "from-secret",
        "warning",
    )
    assert (settings.port_http, settings.port_grpc) == (8181, 9090)


def test_secrets_are_followed_and_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """References lead to values in memory; neither repr nor an error shows them."""
    monkeypatch.setenv("KEY", SECRET)
    monkeypatch.setenv("PASSWORD", "p@ss/word")
    file = write(
        tmp_path,
        "hash_keys: [env:KEY]\nseal_key: env:KEY\nledger: postgresql://bridge:env:PASSWORD@db/bridge\n"
        "kafka: {bootstrap.servers: 'k:9092', sasl.password: env:PASSWORD}\n",
    )
    settings = load(file)
    assert settings.hash_keys[0].get_secret_value() == SECRET
    assert settings.ledger_address() == "postgresql://bridge:p%40ss%2Fword@db/bridge"
    assert settings.kafka_config()["sasl.password"] == "p@ss/word"
    assert SECRET not in repr(settings)
    assert "p@ss" not in repr(settings)


@pytest.mark.parametrize(
    ("text", "kept_s"), [("forever", math.inf), ("1d", 86_400.0), ("36500d", 3_153_600_000.0), ("5h", 0), ("never", 0)]
)
def test_the_inbox_may_remember_for_ever(tmp_path: Path, text: str, kept_s: float) -> None:
    """For an intent topic that keeps its records for ever; a short memory, or what is no duration, is refused."""
    file = write(tmp_path, f"retention: {{inbox: {text}}}\n")
    if kept_s:
        assert load(file).retention.inbox_s == kept_s
    else:
        ((code, line),) = codes(file)
        assert (code in {"config.out-of-range", "config.bad-duration"}, line) == (True, 1)


def test_every_problem_is_told_with_its_line(tmp_path: Path) -> None:
    """Unknown keys, bad values, plain secrets, a setting that the bridge owns: all at once."""
    file = write(
        tmp_path,
        f"producr: x\npush: {{attempts_max: 0}}\nhash_keys: [{SECRET}]\nseal_key: env:NOT_THERE\n"
        "kafka: {acks: 1}\nlease: {ttl: 20}\nledger: mysql://x/y\n",
    )
    assert {
        ("config.unknown-key", 1),
        ("config.out-of-range", 2),
        ("config.plain-secret", 3),
        ("config.unresolvable-secret", 4),
        ("config.owned-by-bridge", 5),
        ("config.bad-duration", 6),
        ("config.bad-ledger", 7),
    } <= set(codes(file))


@pytest.mark.parametrize(
    ("address", "code"),
    [
        (f"postgresql://u@h/db?password={SECRET.replace(' ', '%20')}", "config.plain-secret"),
        (f"postgresql:///db?host=/run&sslpassword={SECRET}", "config.plain-secret"),
        (f"postgresql://u:{SECRET}@h1,h2/db", "config.plain-secret"),
        ("postgresql://u@h/db?password=env:KEY", "config.bad-reference"),
        ("postgresql://u@h:99999999/db", "config.bad-ledger"),
        ("postgresql://u:env:KEY@h:0/db", "config.bad-ledger"),
        ("postgresql://u@h1:5432,[::1]:x/db", "config.bad-ledger"),
        ("postgresql://u@h/db?port=70000", "config.bad-ledger"),
        ("postgresql://u@[::1/db", "config.bad-ledger"),
        ("postgresql://u@h1,x[::1]:5432/db", "config.bad-ledger"),
        ("sqlite:ledger.db", "config.bad-ledger"),
    ],
)
def test_a_ledger_address_holds_no_plain_secret_and_no_impossible_port(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, code: str
) -> None:
    """Wherever libpq would take them from: before the host, or among the parameters, where no reference is followed either."""
    monkeypatch.setenv("KEY", SECRET)
    assert codes(write(tmp_path, f"producer: x\nledger: '{address}'\n")) == [(code, 2)]


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://u:env:KEY@h1:5432,[::1]:5433,h3/db?port=5432,,&sslmode=require",
        "postgresql:///db?host=/run/postgresql",
        "sqlite:////var/lib/bridge.db",
    ],
)
def test_good_ledger_addresses_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """Several hosts, a socket, IPv6, parameters that are no secrets."""
    monkeypatch.setenv("KEY", SECRET)
    assert load(write(tmp_path, f"ledger: '{address}'\n")).ledger_address().startswith(address[:10])


@pytest.mark.parametrize("name", sorted(KAFKA_OWNED))
def test_what_the_bridge_owns_of_kafka_is_refused(tmp_path: Path, name: str) -> None:
    """Each such setting is a finding that says why, not a silent override."""
    assert codes(write(tmp_path, f"kafka:\n  {name}: x\n")) == [("config.owned-by-bridge", 2)]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("SALES_CRM_BRIDGE_PRODUCR", "SALES_CRM_BRIDGE_PRODUCER"),
        ("SALES_CRM_BRIDGE_LOG_LEVEL", "SALES_CRM_BRIDGE_LOG__LEVEL"),
        ("SALES_CRM_BRIDGE_TENANTS__FOLDR", "SALES_CRM_BRIDGE_TENANTS__FOLDER"),
        ("SALES_CRM_BRIDGE_PORT_HTTP", "PORT_HTTP"),
        ("SALES_CRM_BRIDGE_PRODUCER__LOG", "SALES_CRM_BRIDGE_PRODUCER"),
        ("SALES_CRM_BRIDGE_HASH_KEYS__0", "SALES_CRM_BRIDGE_HASH_KEYS"),
        ("SALES_CRM_BRIDGE_CONFI", "SALES_CRM_BRIDGE_CONFIG"),
    ],
)
def test_a_variable_that_does_nothing_is_found(name: str, meant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be a setting that silently is not there: one finding, at its name, with what was meant."""
    monkeypatch.setenv(name, "81")
    (found,) = read(None).findings
    assert (found.code, found.place.file) == ("config.unknown-key", f"environment variable {name}")
    assert found.remedy == f"did you mean {meant!r}?"


def test_variables_of_every_depth_take_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those whose last part is the deployment's own word, as in the settings of Kafka; and none of them is a stranger."""
    monkeypatch.setenv("SALES_CRM_BRIDGE_KAFKA__BOOTSTRAP_SERVERS", "k:1")
    monkeypatch.setenv("SALES_CRM_BRIDGE_KAFKA__linger.ms", "7")
    monkeypatch.setenv("SALES_CRM_BRIDGE_TELEMETRY__HEADERS__AUTHORIZATION", SECRET)
    monkeypatch.setenv("SALES_CRM_BRIDGE_RPC__TOKENS__LEEWAY", "7s")
    monkeypatch.setenv("SALES_CRM_BRIDGE_RPC__TOKENS", '{"keys_file": "k", "issuer": "i", "audience": "a"}')
    settings = load(None)
    assert settings.kafka == {"bootstrap.servers": "k:1", "linger.ms": "7"}
    assert settings.telemetry.headers["authorization"].get_secret_value() == SECRET
    assert settings.rpc.tokens is not None
    assert settings.rpc.tokens.leeway_s == 7


def test_a_text_that_cannot_be_read_hides_no_other_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables that are not JSON, and secret files that are not text: one finding each, at its name, beside the file's own."""
    secrets = tmp_path / "secrets"
    (secrets / "sales_crm_bridge_seal_key").mkdir(parents=True)
    (secrets / "sales_crm_bridge_ledger_password").write_bytes(b"\xff")
    (secrets / "sales_crm_bridge_producr").write_text("x")
    (secrets / "another_programs_secret").write_text("x")
    broken = {"HASH_KEYS": SECRET, "PUSH": f"{{{SECRET}", "RPC__CALLERS": "[" * 100_000, "RPC__TOKENS": "no"}
    for name, text in broken.items():
        monkeypatch.setenv(f"SALES_CRM_BRIDGE_{name}", text)
    file = write(tmp_path, "push: {attempts_max: 0}\nledger: mysql://x/y\n")
    reading = read(file, secrets)
    assert SECRET not in str(reading.findings)
    assert [(one.code, Path(one.place.file).name, one.place.line) for one in reading.findings] == [
        ("config.out-of-range", "bridge.yaml", 1),
        ("config.bad-ledger", "bridge.yaml", 2),
        ("config.bad-value", "sales_crm_bridge_ledger_password", 0),
        ("config.unknown-key", "sales_crm_bridge_producr", 0),
        ("config.bad-value", "sales_crm_bridge_seal_key", 0),
        *(("config.bad-value", f"environment variable SALES_CRM_BRIDGE_{name}", 0) for name in sorted(broken)),
    ]
    assert [one.remedy for one in reading.findings if "_HASH_KEYS" in one.place.file] == ['write it as JSON: ["…"]']


def test_a_folder_of_secrets_that_is_not_there_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it was to hold would be silently missing; the place is what named it, the option or the variable."""
    folder = tmp_path / "no" / "such"
    (found,) = read(None, folder).findings
    assert (found.code, found.place.file) == ("config.no-secrets", "--secrets")
    assert str(folder) in found.message
    monkeypatch.setenv("SALES_CRM_BRIDGE_SECRETS", str(folder))
    (found,) = read(None, folder).findings
    assert found.place.file == "environment variable SALES_CRM_BRIDGE_SECRETS"


def test_a_mistake_stands_where_its_value_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable for one part of a section does not draw the blame for what the file says in another part."""
    monkeypatch.setenv("SALES_CRM_BRIDGE_PUSH", '{"settle_max": 5, "retry_first": 1}')
    monkeypatch.setenv("SALES_CRM_BRIDGE_PUSH__SETTLE_MAX", "0")
    found = read(write(tmp_path, "push: {attempts_max: 0}\n")).findings
    places = [one.place.file.split()[-1] for one in found if one.place.line == 0]
    assert places == ["SALES_CRM_BRIDGE_PUSH", "SALES_CRM_BRIDGE_PUSH__SETTLE_MAX"]
    assert [(one.place.line, one.code) for one in found if one.place.line] == [(1, "config.out-of-range")]


@pytest.mark.parametrize(
    ("name", "text", "code"),
    [
        ("LEASE__TTL", "10s", "config.out-of-range"),
        ("SCHEMA_REGISTRY__FRAMING", "confluent", "config.missing-key"),
        ("RPC__TRANSPORT", "tls", "config.missing-key"),
        ("RPC__TOKENS__LEEWAY", "7s", "config.missing-key"),
        ("KAFKA__ACKS", "1", "config.owned-by-bridge"),
    ],
)
def test_a_mistake_of_a_whole_section_stands_at_a_variable_of_it(
    name: str, text: str, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What does not go together, or lacks something: where no variable gives the whole section, one that gives a part is named."""
    monkeypatch.setenv(f"SALES_CRM_BRIDGE_{name}", text)
    found = read(None).findings
    assert {(one.code, one.place.file) for one in found} == {(code, f"environment variable SALES_CRM_BRIDGE_{name}")}


def test_what_can_be_used_of_refused_settings_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the other files can be looked at in the same breath: a broken part has its default, the others what they say."""
    file = write(
        tmp_path,
        "tenants: {folder: elsewhere, pol: 3s}\nkafka: {acks: 1, client.id: us}\nhash_keys: [env:NO, env:NO]\n"
        "rpc: {transport: tls, key_file: k, tokens: {keys_file: keys}}\nschema_registry: {framing: confluent}\n",
    )
    reading = read(file)
    settings = reading.settings
    assert (settings.tenants.folder, settings.kafka, settings.hash_keys) == ("elsewhere", {"client.id": "us"}, ())
    assert (settings.rpc.transport, settings.rpc.key_file, settings.schema_registry.framing) == ("tls", "k", "none")
    assert settings.rpc.tokens is not None
    assert settings.rpc.tokens.keys_file == "keys"
    assert ("kafka", "acks") in reading.broken
    lacks = [one.message for one in run_findings(settings, reading.place, reading.broken)]
    assert lacks == ["no Kafka cluster", "no key to seal what sign-ins keep"], "of hash_keys it is known already"


def test_settings_that_are_not_needed_are_not_looked_for(tmp_path: Path) -> None:
    """A verb that has no use for a secret does not ask for it; a mistake in the rest is found all the same."""
    file = write(tmp_path, "hash_keys: [env:NOT_THERE]\nseal_key: env:NOT_THERE\nproducer: us\n")
    assert load(file, without=("hash_keys", "seal_key")).producer == "us"
    with pytest.raises(ConfigError, match="NOT_THERE"):
        load(file, without=("hash_keys",))


def test_what_production_needs_is_named() -> None:
    """Kafka, a hash key, a seal key: a demo brings its own, a deployment must."""
    assert [one.code for one in run_findings(Settings())] == ["config.missing-key"] * 3
    assert "no Kafka cluster" in str(run_findings(Settings(kafka={"bootstrap.servers": " "}))[0])


def test_a_lease_must_be_renewed_in_time(tmp_path: Path) -> None:
    """Renewing more rarely than thrice a lease is a mistake."""
    assert codes(write(tmp_path, "producer: x\nlease: {ttl: 10s, renew: 5s}\n")) == [("config.out-of-range", 2)]
    assert load(write(tmp_path, "lease: {ttl: 15s, renew: 5s}\n")).lease.ttl_s == 15
