"""What ``check --online`` makes of a cluster; a real one is asked in tests/real."""

import math
import re

import pytest
from confluent_kafka.admin import AclOperation  # type: ignore[attr-defined] # it names no __all__

from sales_crm_bridge.contract import FACT_TOPIC, INTENT_TOPIC
from sales_crm_bridge.kafka import KafkaSettings, kafka_state
from sales_crm_bridge.kafka.check import fact_promises, intent_promises, missing_right
from sales_crm_bridge.kafka.client import MESSAGE_SET_BYTES
from sales_crm_bridge.settings.models import Retention

DAY_S = 86_400.0


async def test_a_cluster_that_does_not_answer_is_one_finding_within_the_limit() -> None:
    """Nobody listens: one finding with the address, not one per question."""
    findings = await kafka_state(KafkaSettings(servers="127.0.0.1:1"), inbox_keep_s=math.inf, limit_s=0.5)
    (finding,) = findings
    assert (finding.code, finding.place.file) == ("kafka.unreachable", "127.0.0.1:1")


async def test_a_wrong_setting_is_a_finding_and_nothing_is_asked() -> None:
    """A setting that librdkafka does not know is told before any connection."""
    settings = KafkaSettings(servers="127.0.0.1:1", client={"no.such": "1"})
    findings = await kafka_state(settings, inbox_keep_s=math.inf)
    assert [finding.code for finding in findings] == ["config.kafka"]


@pytest.mark.parametrize(
    ("config", "keep_s", "codes"),
    [
        ({"retention.ms": "604800000", "cleanup.policy": "delete"}, 7 * DAY_S, []),
        ({"retention.ms": "604800001", "cleanup.policy": "delete"}, 7 * DAY_S, ["kafka.retention"]),
        ({"retention.ms": "-1"}, 3_650 * DAY_S, ["kafka.retention"]),
        ({"retention.ms": "-1"}, math.inf, []),
        ({"retention.ms": "1000", "cleanup.policy": "compact,delete"}, DAY_S, ["kafka.compacted"]),
    ],
)
def test_an_intent_topic_must_forget_no_later_than_the_inbox(
    config: dict[str, str | None], keep_s: float, codes: list[str]
) -> None:
    """An intent that the topic still holds and the inbox has forgotten could be carried out twice; a compacted one is lost."""
    assert [finding.code for finding in intent_promises(config, keep_s)] == codes


@pytest.mark.parametrize("kept_ms", [-1, 604_800_001, 400_000 * 86_400_000])
def test_the_remedy_for_an_inbox_that_forgets_too_soon_works(kept_ms: int) -> None:
    """Either half of it: the setting that it names is accepted and enough, and so is the topic's limit that it names."""
    config = {"retention.ms": str(kept_ms)}
    (finding,) = intent_promises(config, 7 * DAY_S)
    named = re.search(r"`retention.inbox: (\w+)` .* retention.ms to (\d+) or less", finding.remedy)
    assert named is not None
    keep_s = Retention.model_validate({"inbox": named[1]}).inbox_s
    assert list(intent_promises(config, keep_s)) == []
    assert list(intent_promises({"retention.ms": named[2]}, 7 * DAY_S)) == []


@pytest.mark.parametrize(
    ("limit", "codes"), [(MESSAGE_SET_BYTES, []), (MESSAGE_SET_BYTES - 1, ["kafka.sets-too-large"])]
)
def test_a_fact_topic_must_take_a_whole_set(limit: int, codes: list[str]) -> None:
    """A broker refuses a set whole: a limit below the size of our sets is told before it hurts."""
    assert [finding.code for finding in fact_promises({"max.message.bytes": str(limit)})] == codes


@pytest.mark.parametrize(
    ("allowed", "found"),
    [(None, 0), ([AclOperation.READ], 0), ([AclOperation.DESCRIBE, AclOperation.WRITE], 1), ([], 1)],
)
def test_a_right_is_missing_only_where_a_broker_says_so(allowed: list[AclOperation] | None, found: int) -> None:
    """A broker that does not list our rights is not held against us."""
    findings = list(missing_right(INTENT_TOPIC, allowed, AclOperation.READ))
    assert len(findings) == found
    assert all(finding.place.file == f"topic {INTENT_TOPIC}" and "Read" in finding.remedy for finding in findings)
    assert not list(missing_right(FACT_TOPIC, [AclOperation.WRITE], AclOperation.WRITE))
