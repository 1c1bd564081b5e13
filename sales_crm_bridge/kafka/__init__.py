"""The rim to Kafka: confluent-kafka (librdkafka) behind ``ports.IntentSource`` and ``ports.FactSink``.

It holds no decisions. What happens at a broker crosses as values, in the order in which it happened: records, assignments,
revocations, lost offsets, faults; acknowledgements and refusals. Each end keeps its client in one thread of its own, so that
a blocking call never holds up the event loop and no client is ever used by two threads at once.
The choices and what lost against them: docs/decisions/0006-kafka.md.
"""

from sales_crm_bridge.kafka.accepted import refusals
from sales_crm_bridge.kafka.check import ensure_topics, kafka_state
from sales_crm_bridge.kafka.client import KafkaSettings
from sales_crm_bridge.kafka.facts import KafkaFacts
from sales_crm_bridge.kafka.intents import KafkaIntents

__all__ = ["KafkaFacts", "KafkaIntents", "KafkaSettings", "ensure_topics", "kafka_state", "refusals"]
