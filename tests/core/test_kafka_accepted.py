"""What librdkafka makes of a deployment's settings, asked without a cluster."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from sales_crm_bridge.errors import Finding, Place
from sales_crm_bridge.kafka import KafkaSettings, refusals

SECRET = "hunter2"
ENDPOINT = "sasl.oauthbearer.token.endpoint.url"
OIDC = {
    "security.protocol": "sasl_plaintext",
    "sasl.mechanism": "OAUTHBEARER",
    "sasl.oauthbearer.method": "oidc",
    "sasl.oauthbearer.client.id": "us",
    "sasl.oauthbearer.client.secret": SECRET,
}


def of(client: dict[str, Any], hidden: tuple[str, ...] = ("sasl.password",)) -> list[Finding]:
    settings = KafkaSettings(servers="kafka:9092", client=client)
    return refusals(settings, lambda name: Place(file=name or "kafka"), hidden)


def open_files() -> int:
    return len(list(Path("/dev/fd").iterdir()))


def test_every_setting_that_is_refused_is_told_at_once() -> None:
    """Slips in names, values that are none, values out of range, also under another name of librdkafka's: each at its own place."""
    found = of(
        {
            "bootstrap.servrs": "x",
            "security.protocol": "sasl_sslx",
            "linger.ms": -7,
            "socket.keepalive.enable": "maybe",
            "nonsense.of.ours": 1,
            "client.id": "good",
        }
    )
    assert {one.place.file: one.code for one in found} == dict.fromkeys(
        ["bootstrap.servrs", "linger.ms", "nonsense.of.ours", "security.protocol", "socket.keepalive.enable"],
        "config.kafka",
    )
    told = {one.place.file: one for one in found}
    assert told["bootstrap.servrs"].remedy == "did you mean 'bootstrap.servers'?"
    assert "sasl_sslx" in told["security.protocol"].message
    assert told["linger.ms"].message.startswith("linger.ms: ")


@pytest.mark.parametrize(
    ("client", "said"),
    [
        ({"security.protocol": "sasl_ssl", "sasl.mechanism": "PLAIN"}, "sasl.username and sasl.password must be set"),
        ({"security.protocol": "sasl_ssl", "sasl.mechanism": "FOO"}, "Unsupported SASL mechanism"),
        ({"security.protocol": "ssl", "ssl.ca.location": "/no/such"}, "ssl.ca.location failed"),
        ({"max.in.flight": 10}, "enable.idempotence"),
        ({"session.timeout.ms": 3_600_000}, "max.poll.interval.ms"),
        ({**OIDC, ENDPOINT: "http://127.0.0.1:9/", "session.timeout.ms": 3_600_000}, "max.poll.interval.ms"),
        (OIDC, ENDPOINT),
    ],
)
def test_settings_that_do_not_go_together_are_told(client: dict[str, Any], said: str) -> None:
    """What one of the two ends would be refused for at the start, though each setting is good by itself: once."""
    (found,) = of(client)
    assert (found.code, found.place.file) == ("config.kafka", "kafka")
    assert said in found.message
    assert found.remedy


def test_a_secret_in_a_refused_setting_is_not_repeated() -> None:
    """Its own words hold the value."""
    (found,) = of({"security.protocol": SECRET}, ("security.protocol",))
    assert SECRET not in str(found)
    assert "***" in found.message


@pytest.mark.parametrize(
    "more", [{}, OIDC, {"ssl.endpoint.identification.algorithm": "none", "linger.ms": 5, "acks": "all"}]
)
def test_asking_connects_to_nobody_and_leaves_nothing_behind(more: dict[str, Any]) -> None:
    """Neither brokers nor an endpoint that gives out tokens hear of it, and no file is left open."""
    with socket.create_server(("127.0.0.1", 0)) as heard:
        heard.setblocking(False)
        here = "{}:{}".format(*heard.getsockname())
        client = {**more, "metadata.broker.list": here}
        if more is OIDC:
            client[ENDPOINT] = f"http://{here}/token"
        of({})  # what librdkafka opens once and for all
        before = open_files()
        settings = KafkaSettings(servers=here, client=client)
        assert refusals(settings, lambda name: Place(file=name)) == []
        assert open_files() == before
        with pytest.raises(BlockingIOError):
            heard.accept()
