"""Deployment settings: where each comes from, which one wins, and every problem with its place."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from sales_crm_bridge.errors import ConfigError
from sales_crm_bridge.settings import KAFKA_OWNED, Settings, load, run_findings

SECRET = "a very secret text of the tests"


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


@pytest.mark.parametrize("name", sorted(KAFKA_OWNED))
def test_what_the_bridge_owns_of_kafka_is_refused(tmp_path: Path, name: str) -> None:
    """Each such setting is a finding that says why, not a silent override."""
    assert codes(write(tmp_path, f"kafka:\n  {name}: x\n")) == [("config.owned-by-bridge", 2)]


def test_an_unknown_variable_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt variable would otherwise be a setting that silently is not there."""
    monkeypatch.setenv("SALES_CRM_BRIDGE_PRODUCR", "x")
    assert [code for code, _ in codes(write(tmp_path, "producer: x\n"))] == ["config.unknown-key"]


def test_what_production_needs_is_named() -> None:
    """Kafka, a hash key, a seal key: a demo brings its own, a deployment must."""
    assert [one.code for one in run_findings(Settings())] == ["config.missing-key"] * 3


def test_a_lease_must_be_renewed_in_time(tmp_path: Path) -> None:
    """Renewing more rarely than thrice a lease is a mistake."""
    assert codes(write(tmp_path, "lease: {ttl: 10s, renew: 5s}\n"))
