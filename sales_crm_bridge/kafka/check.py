"""What ``check --online`` asks of a cluster: is it there, are the topics, may we, and does it keep what we rely on."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import (  # type: ignore[attr-defined] # it names no __all__
    AclOperation,
    AdminClient,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from sales_crm_bridge.contract import FACT_TOPIC, INTENT_TOPIC
from sales_crm_bridge.errors import ConfigError, Finding, Place
from sales_crm_bridge.kafka.client import MESSAGE_SET_BYTES, Redactor, build, code_of, error_of, is_fatal, shared_config
from sales_crm_bridge.units import duration_text

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from concurrent.futures import Future

    from sales_crm_bridge.kafka.client import KafkaSettings

LIMIT_S = 10.0
_NEEDED = {INTENT_TOPIC: AclOperation.READ, FACT_TOPIC: AclOperation.WRITE}


async def kafka_state(settings: KafkaSettings, *, inbox_keep_s: float, limit_s: float = LIMIT_S) -> list[Finding]:
    """What a person should mend before the bridge can rely on this cluster; changes nothing, takes about ``limit_s`` at most.

    ``inbox_keep_s``: how long the inbox remembers an intent (``math.inf``: for ever). Never raises for what a cluster or a
    setting is.
    """
    asking = _Asking(settings, limit_s)
    try:
        admin = build(AdminClient, shared_config(settings) | {"error_cb": asking.heard}, asking.redact)
    except ConfigError as error:
        return list(error.findings)
    return await asking.everything(admin, inbox_keep_s)


class _Asking:
    """One look at a cluster: its findings so far, and what the client heard beside its answers."""

    def __init__(self, settings: KafkaSettings, limit_s: float) -> None:
        self.redact = Redactor(settings.client)
        self._settings = settings
        self._limit_s = limit_s
        self._heard: KafkaError | None = None

    def heard(self, error: KafkaError) -> None:
        """Keep the worst of what brokers say outside of answers (a sign-in that failed, say)."""
        if self._heard is None or is_fatal(error):
            self._heard = error

    async def everything(self, admin: AdminClient, inbox_keep_s: float) -> list[Finding]:
        found: list[Finding] = []
        there: list[str] = []
        topics = admin.describe_topics(
            TopicCollection([INTENT_TOPIC, FACT_TOPIC]),
            include_authorized_operations=True,
            request_timeout=self._limit_s,
        )
        for topic, future in topics.items():
            seen = await self._answer(admin, future)
            if isinstance(seen, KafkaError):
                found.append(self._refusal(seen, topic))
                continue
            there.append(topic)
            found += missing_right(topic, seen.authorized_operations, _NEEDED[topic])
        if any(finding.code == "kafka.unreachable" for finding in found):
            return found[:1]
        found += await self._group(admin)
        for topic in there:
            found += await self._promises(admin, topic, inbox_keep_s)
        return found

    async def _group(self, admin: AdminClient) -> list[Finding]:
        group = self._settings.group
        asked = admin.describe_consumer_groups(
            [group], include_authorized_operations=True, request_timeout=self._limit_s
        )
        seen = await self._answer(admin, asked[group])
        place = f"group {group}"
        if not isinstance(seen, KafkaError):
            return list(missing_right(place, seen.authorized_operations, AclOperation.READ))
        # A group that nobody has joined yet does not exist, and brokers say so since Kafka 4.
        return [] if seen.code() == KafkaError.GROUP_ID_NOT_FOUND else [self._refusal(seen, place)]

    async def _promises(self, admin: AdminClient, topic: str, inbox_keep_s: float) -> list[Finding]:
        resource = ConfigResource(ResourceType.TOPIC, topic)
        asked = admin.describe_configs([resource], request_timeout=self._limit_s)
        seen = await self._answer(admin, asked[resource])
        if isinstance(seen, KafkaError):
            return [
                Finding(
                    code="kafka.settings-unknown",
                    message=f"the topic's settings cannot be read ({code_of(seen)}), so what it promises is not known",
                    place=Place(file=f"topic {topic}"),
                    remedy="allow DescribeConfigs on the topic",
                )
            ]
        config = {name: entry.value for name, entry in seen.items()}
        return list(intent_promises(config, inbox_keep_s) if topic == INTENT_TOPIC else fact_promises(config))

    async def _answer(self, admin: AdminClient, future: Future[Any]) -> Any:
        """What the future brings, or the ``KafkaError``."""
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), self._limit_s + 1.0)
        except KafkaException as error:
            return error_of(error)
        except TimeoutError:
            return KafkaError(KafkaError._TIMED_OUT)  # noqa: SLF001 - librdkafka's own codes start with an underscore
        finally:
            admin.poll(0)  # serves error_cb

    def _refusal(self, error: KafkaError, what: str) -> Finding:
        topic = what if what in _NEEDED else ""
        place = Place(file=f"topic {topic}" if topic else what)
        if error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            message, remedy = "the topic does not exist", "create it, or allow Describe on it: one looks like the other"
            return Finding(code="kafka.no-topic", message=message, place=place, remedy=remedy)
        if error.code() in {KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED}:
            needed = _NEEDED[topic].name.title() if topic else "Read"
            return Finding(code="kafka.rights", message="no access", place=place, remedy=f"allow {needed} on it")
        why = self._heard if self._heard is not None else error
        return Finding(
            code="kafka.unreachable",
            message=f"no broker answers: {code_of(why)}: {self.redact(why.str())}",
            place=Place(file=self._settings.servers),
            remedy="look at `bootstrap.servers`, the network, and the TLS and SASL settings",
        )


def missing_right(what: str, allowed: Collection[AclOperation] | None, needed: AclOperation) -> Iterator[Finding]:
    """A finding where a broker lists what we may (``None``: it does not say) and ``needed`` is not in it."""
    if allowed is not None and needed not in allowed:
        word = needed.name.title()
        place = Place(file=f"topic {what}" if what in _NEEDED else what)
        yield Finding(code="kafka.rights", message=f"{word} is not allowed", place=place, remedy=f"allow {word} on it")


def intent_promises(config: Mapping[str, str | None], inbox_keep_s: float) -> Iterator[Finding]:
    """What the intent topic must keep to, from its settings: above all, to forget no later than the inbox does.

    A topic that keeps its records for ever needs an inbox that does, however unlikely it is that old ones are read again.
    """
    place = Place(file=f"topic {INTENT_TOPIC}")
    retention_ms = int(config.get("retention.ms") or -1)
    kept_s = retention_ms / 1000 if retention_ms >= 0 else math.inf
    if kept_s > inbox_keep_s:
        yield Finding(
            code="kafka.retention",
            message=f"the topic keeps intents for {_days(kept_s)}, the inbox remembers them for {_days(inbox_keep_s)}: an old "
            "intent that is read again could be carried out twice",
            place=place,
            remedy=f"set `retention.inbox: {duration_text(kept_s)}` (or more), or lower the topic's retention.ms to "
            f"{round(inbox_keep_s * 1000)} or less",
        )
    if "compact" in (config.get("cleanup.policy") or ""):
        yield Finding(
            code="kafka.compacted",
            message="the topic is compacted: an intent disappears when a later one of its lead arrives, taken or not",
            place=place,
            remedy="set cleanup.policy=delete",
        )


def fact_promises(config: Mapping[str, str | None]) -> Iterator[Finding]:
    """What the integration facts' topic must keep to, from its settings."""
    limit = int(config.get("max.message.bytes") or MESSAGE_SET_BYTES)
    if limit < MESSAGE_SET_BYTES:
        yield Finding(
            code="kafka.sets-too-large",
            message=f"the topic takes {limit} bytes at once, facts travel in sets of up to {MESSAGE_SET_BYTES}: a refused set is "
            "sent again one by one, slowly and behind later facts",
            place=Place(file=f"topic {FACT_TOPIC}"),
            remedy=f"set the topic's max.message.bytes to {MESSAGE_SET_BYTES} or more, or `batch.size` at or below {limit}",
        )


def _days(seconds: float) -> str:
    return "ever" if seconds == math.inf else f"{seconds / 86_400:.4g} days"


async def ensure_topics(settings: KafkaSettings, *, partitions: int = 4, limit_s: float = LIMIT_S) -> None:
    """Create the two topics where they are missing: for demonstrations and tests, since a deployment's topics are the platform's.

    Raises ``ConfigError`` for a setting, ``KafkaException`` for what a broker refuses.
    """
    admin = build(AdminClient, shared_config(settings), Redactor(settings.client))
    asked = admin.create_topics([NewTopic(topic, partitions) for topic in _NEEDED], request_timeout=limit_s)
    for future in asked.values():
        try:
            await asyncio.wrap_future(future)
        except KafkaException as error:
            if error_of(error).code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
