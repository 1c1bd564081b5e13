"""A Kafka cluster inside the process: librdkafka's mock cluster, for the demo and the tests alone. ``run`` refuses it.

It is a real network server that speaks Kafka's protocol, but it keeps everything in memory and trims what it keeps (of 20,000
records of 1 KB, all acknowledged, 4,787 could be read), knows no rights, creates no topics on request, and finds no offset by
time: a start by time is a start at the end of what was there.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Self

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from sales_crm_bridge.contract import FACT_TOPIC, INTENT_TOPIC
from sales_crm_bridge.errors import EnvironmentFault
from sales_crm_bridge.kafka.client import KafkaSettings

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from sales_crm_bridge.contract import Record

LIMIT_S = 10.0
PARTITIONS = 4
"""What the mock cluster gives a topic."""

WAIT_MS = 50
"""How long a fetch may wait for records: the mock cluster lets it wait as long even when a record comes."""

REMEDY = "run it again; if it stays, see what else takes the machine's time and memory"


class EmbeddedKafka:
    """The cluster, and beside it what a demo plays itself: the domain's client that asks, and somebody who reads the facts.

    It is up from construction to ``close`` and reachable by any client of this machine. What is sent here goes nowhere else:
    the address is the cluster's own.
    """

    def __init__(self) -> None:
        """Raises ``EnvironmentFault`` when it does not come up."""
        self._closed = False
        # The first broker's client owns the cluster: it lives as long as this producer does.
        self._owner = Producer(
            {"test.mock.num.brokers": 1, "log_level": 0, "partitioner": "murmur2_random", "linger.ms": 0}
        )
        try:
            (broker,) = self._owner.list_topics(timeout=LIMIT_S).brokers.values()
            for topic in (INTENT_TOPIC, FACT_TOPIC):
                self._owner.list_topics(topic, timeout=LIMIT_S)
        except KafkaException as error:
            said = f"the cluster in the process did not come up: {error}"
            raise EnvironmentFault("kafka.embedded", said, remedy=REMEDY) from error
        self.servers = f"{broker.host}:{broker.port}"
        """``host:port`` for a client's ``bootstrap.servers``."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def settings(self, group: str = "sales-crm-bridge", **client: str | float | bool) -> KafkaSettings:
        """Settings that lead here; ``client`` are librdkafka's own, with underscores for dots."""
        named = {name.replace("_", "."): value for name, value in client.items()}
        return KafkaSettings(servers=self.servers, group=group, client={"fetch.wait.max.ms": WAIT_MS, **named})

    async def ask(self, intents: Iterable[Record]) -> None:
        """Put intents on their topic, as a client of the domain does, and wait until they are there."""
        for intent in intents:
            headers: list[tuple[str, str | bytes | None]] = [*intent.headers]
            self._owner.produce(INTENT_TOPIC, intent.value, intent.key, headers=headers)
        if await asyncio.to_thread(self._owner.flush, LIMIT_S):
            raise EnvironmentFault("kafka.embedded", "the cluster in the process took no more", remedy=REMEDY)

    async def facts(
        self, after: dict[int, int], limit_s: float = LIMIT_S
    ) -> list[tuple[bytes, bytes, list[tuple[str, bytes]]]]:
        """Read facts back as anyone could: key, value and headers of what stands on their topic from the offsets ``after``.

        ``after``: partition → next offset (absent: 0), moved on. Order is per partition. Raises ``EnvironmentFault`` when what
        is there does not come within ``limit_s``.
        """
        return await asyncio.to_thread(self._read, after, time.monotonic() + limit_s)

    def close(self) -> None:
        """Take the cluster down. Again: nothing."""
        if self._closed:
            return
        self._closed = True
        self._owner.purge()
        self._owner.close()

    def _read(self, after: dict[int, int], until: float) -> list[tuple[bytes, bytes, list[tuple[str, bytes]]]]:
        config = {"bootstrap.servers": self.servers, "group.id": "reader", "fetch.wait.max.ms": WAIT_MS}
        found: list[tuple[bytes, bytes, list[tuple[str, bytes]]]] = []
        with Consumer(config | {"enable.auto.commit": False, "auto.offset.reset": "error", "log_level": 0}) as consumer:
            ends: dict[int, int] = {}
            for number in range(PARTITIONS):
                low, ends[number] = consumer.get_watermark_offsets(TopicPartition(FACT_TOPIC, number), LIMIT_S)
                after[number] = max(after.get(number, 0), low)
            there = [
                TopicPartition(FACT_TOPIC, number, after[number]) for number in ends if after[number] < ends[number]
            ]
            consumer.assign(there)
            while any(after[number] < end for number, end in ends.items()):
                if time.monotonic() > until:
                    late = "the facts could not be read back in time"
                    raise EnvironmentFault("kafka.embedded", late, remedy=REMEDY)
                for message in consumer.consume(1_000, 0.05):
                    if message.error() is None:
                        after[message.partition() or 0] = (message.offset() or 0) + 1
                        found.append((message.key() or b"", message.value() or b"", list(message.headers() or ())))  # type: ignore[arg-type]
        return found
