"""Whether librdkafka accepts the settings that a deployment makes, asked without a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from confluent_kafka import Consumer, KafkaException, Producer

from sales_crm_bridge.errors import Place
from sales_crm_bridge.findings import finding, nearest
from sales_crm_bridge.kafka.client import consumer_config, error_of, producer_config
from sales_crm_bridge.settings import KAFKA_SECRETS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from sales_crm_bridge.errors import Finding
    from sales_crm_bridge.kafka.client import KafkaSettings

NO_SETTING = "bridge.only.asks"
"""Not a setting of librdkafka: a client that is given it last is refused for it, and never made."""

NOWHERE = "file:///"
"""What librdkafka fetches no token from, without a word on the network."""

_ADDRESSES = ("bootstrap.servers", "metadata.broker.list")
_USUAL = KAFKA_SECRETS | {
    *("bootstrap.servers", "client.id", "client.rack", "debug", "security.protocol", "socket.keepalive.enable"),
    *("sasl.mechanism", "sasl.mechanisms", "sasl.username", "sasl.oauthbearer.client.id", "sasl.oauthbearer.method"),
    *("sasl.oauthbearer.scope", "sasl.oauthbearer.token.endpoint.url", "ssl.ca.location", "ssl.certificate.location"),
    *("ssl.endpoint.identification.algorithm", "ssl.key.location", "ssl.keystore.location", "ssl.truststore.location"),
    *("batch.size", "compression.type", "linger.ms", "max.poll.interval.ms", "message.max.bytes", "request.timeout.ms"),
    *("session.timeout.ms", "heartbeat.interval.ms", "reconnect.backoff.max.ms", "socket.timeout.ms"),
}
"""Settings that are often made: what a slip is held against, since librdkafka does not tell the names it knows."""


def refusals(
    settings: KafkaSettings, place: Callable[[str], Place], hidden: Collection[str] = KAFKA_SECRETS
) -> list[Finding]:
    """What librdkafka would refuse of ``settings`` at the start, all of it at once; no connection is made.

    ``place``: where the setting of a name stands ("": all of them); ``hidden``: those whose values are not repeated.
    """
    found = []
    for name, value in sorted(settings.client.items()):
        said = _refused(Producer, {name: value, NO_SETTING: ""})
        if said and NO_SETTING not in said:
            if name in hidden and str(value):
                said = said.replace(str(value), "***")
            near = nearest(name, _USUAL) if said.startswith("No such") else ""
            remedy = f"did you mean {near!r}?" if near else ""
            # librdkafka may speak of another name of the setting.
            message = said if f'"{name}"' in said else f"{name}: {said}"
            found.append(finding("config.kafka", message, place(name), remedy))
    if found:
        return found
    secrets = [str(settings.client[name]) for name in sorted(hidden) if name in settings.client]
    for make, config in ((Producer, producer_config(settings)), (Consumer, consumer_config(settings))):
        said = _refused(make, _offline(config)).rpartition("Failed to create ")[2].partition(": ")[2]
        for secret in filter(None, secrets):
            said = said.replace(secret, "***")
        if said and said not in (one.message for one in found):
            found.append(finding("config.kafka", said, place("")))
    return found


class _Silent:
    """Takes what a client says in passing."""

    def log(self, level: int, message: str, *args: object) -> None:
        """Nothing: a question has no log."""


def _offline(config: Mapping[str, Any]) -> dict[str, Any]:
    """``config`` without whom to connect to: no broker, and no endpoint that gives out tokens."""
    alone = {name: value for name, value in config.items() if name not in _ADDRESSES}
    if str(alone.get("sasl.oauthbearer.method", "")).lower() == "oidc":
        fetched = ("sasl.oauthbearer.token.endpoint.url", "sasl.oauthbearer.metadata.authentication.type")
        alone |= {fetched[0]: NOWHERE} if any(name in alone for name in fetched) else {}
    return alone


def _refused(make: Callable[[dict[str, Any]], Any], config: Mapping[str, Any]) -> str:
    """Why librdkafka makes no client of ``config``; "": it did, and the client is closed again."""
    try:
        client = make({**config, "logger": _Silent()})
    except KafkaException as error:
        return error_of(error).str().strip()
    client.close()
    return ""
