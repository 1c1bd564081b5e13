"""The integration facts' topic, on librdkafka's mock cluster (what only a broker can show is in tests/real)."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest
from confluent_kafka import murmur2

from sales_crm_bridge import contract
from sales_crm_bridge.errors import Bug, ConfigError
from sales_crm_bridge.kafka import KafkaFacts, KafkaSettings
from sales_crm_bridge.kafka.embedded import PARTITIONS, EmbeddedKafka
from sales_crm_bridge.state import OutboxRow


def rows(first: int, last: int, size: int = 0) -> list[OutboxRow]:
    """Outbox rows ``first`` … ``last`` - 1 about seven leads; ``size`` bytes of text in each."""
    page = contract.FactPage(tenant_id="acme", correlation_id="c", causation_id="d")
    made = []
    for seq in range(first, last):
        url = contract.ExternalRef(record_id=str(seq), url="x" * size)
        fact = page.fact(f"lead-{seq % 7}", seq, 1_700_000_000_000_000, contract.CrmLeadRemoved(external=url))
        made.append(OutboxRow(message_id=fact.message_id, fact=fact.value, created_us=1, seq=seq))
    return made


@pytest.fixture
def cluster() -> Iterator[EmbeddedKafka]:
    with EmbeddedKafka() as kafka:
        yield kafka


@pytest.fixture
async def sink(cluster: EmbeddedKafka) -> AsyncIterator[KafkaFacts]:
    facts = KafkaFacts(cluster.settings())
    yield facts
    await facts.close()


async def test_every_row_is_acknowledged_and_stands_on_the_topic_as_the_contract_says(
    cluster: EmbeddedKafka, sink: KafkaFacts
) -> None:
    """Acknowledged means readable: key, value and headers as ``contract.outgoing`` made them, in order per key."""
    sent = rows(1, 501)
    published = await sink.publish(sent)
    assert (published.acked, published.refused, published.reason) == ([row.seq for row in sent], [], "")
    read = await cluster.facts({})
    records = [contract.outgoing(row.fact) for row in sent]
    for key in {record.key for record in records}:
        wanted = [(record.key, record.value, list(record.headers)) for record in records if record.key == key]
        assert [fact for fact in read if fact[0] == key] == wanted
    assert len(read) == len(sent)


async def test_a_key_lies_where_java_clients_look_for_it(cluster: EmbeddedKafka, sink: KafkaFacts) -> None:
    """The partition of a key is that of Java's default partitioner, so one lead's records meet whoever wrote them."""
    await sink.publish(rows(1, 8))
    for partition in range(PARTITIONS):
        after = {other: 0 if other == partition else 1_000 for other in range(PARTITIONS)}
        for key, _, _ in await cluster.facts(after):
            assert murmur2(key, PARTITIONS) == partition


async def test_a_row_that_is_too_large_is_refused_and_holds_back_no_other(
    cluster: EmbeddedKafka, sink: KafkaFacts
) -> None:
    """A refusal names the row and the code; every other row is acknowledged, before and behind it."""
    sent = [*rows(1, 50), *rows(50, 51, size=2_000_000), *rows(51, 101)]
    published = await sink.publish(sent)
    assert published.refused == [(50, "kafka.msg-size-too-large")]
    assert published.acked == [seq for seq in range(1, 101) if seq != 50]
    assert published.reason == ""
    assert len(await cluster.facts({})) == 99


async def test_calls_at_the_same_time_are_carried_out_in_their_order(cluster: EmbeddedKafka, sink: KafkaFacts) -> None:
    """Order per key holds over calls that overlap."""
    sent = rows(1, 301)
    await asyncio.gather(sink.publish(sent[:100]), sink.publish(sent[100:200]), sink.publish(sent[200:]))
    read = await cluster.facts({})
    for key in {key for key, _, _ in read}:
        mine = [contract.outgoing(row.fact) for row in sent]
        assert [value for at, value, _ in read if at == key] == [record.value for record in mine if record.key == key]


async def test_a_small_queue_holds_nothing_up_but_memory(cluster: EmbeddedKafka) -> None:
    """A batch larger than librdkafka's queue waits for room and goes through whole."""
    sink = KafkaFacts(cluster.settings(queue_buffering_max_messages=20))
    published = await sink.publish(rows(1, 501))
    await sink.close()
    assert len(published.acked) == 500


async def test_a_cluster_that_is_away_leaves_rows_unacknowledged_within_the_limit(cluster: EmbeddedKafka) -> None:
    """Neither acknowledged nor refused, with a reason; nothing is raised, and closing does not hang."""
    sink = KafkaFacts(replace(cluster.settings(), delivery_s=0.3))
    await sink.publish(rows(1, 2))
    cluster.close()
    for _ in range(2):  # the second time with a producer that never saw a broker
        published = await sink.publish(rows(2, 12))
        assert (published.acked, published.refused) == ([], [])
        assert published.reason.startswith("kafka.")
    await sink.close()


async def test_close_cuts_a_waiting_publish_short_and_later_ones_are_told_so(cluster: EmbeddedKafka) -> None:
    """Closing waits no longer than its own limit for a cluster that is away."""
    sink = KafkaFacts(replace(cluster.settings(), delivery_s=3_600.0, close_s=0.2))
    cluster.close()
    waiting = asyncio.create_task(sink.publish(rows(1, 2)))
    await asyncio.sleep(0)
    await sink.close()
    assert (await waiting).acked == []
    assert (await sink.publish(rows(1, 2))).reason == "kafka.closed"
    await sink.close()


async def test_nothing_but_a_fact_of_ours_can_leave(cluster: EmbeddedKafka, sink: KafkaFacts) -> None:
    """Bytes of another envelope raise, and nothing of their batch is sent, be it before or behind them."""
    intent = contract.intent(
        contract.CreateLeadRequested(lead=contract.Lead(last_name="x")),
        tenant_id="acme",
        aggregate_id="lead-1",
        message_id="m",
        correlation_id="c",
        occurred_us=1_700_000_000_000_000,
        producer="test",
    )
    foreign = OutboxRow(message_id="m", fact=intent.SerializeToString(), created_us=1, seq=1)
    with pytest.raises(Bug):
        await sink.publish([*rows(2, 5), foreign, *rows(5, 8)])
    assert await cluster.facts({}) == []


def test_a_setting_that_librdkafka_lacks_is_found_before_anything_is_sent() -> None:
    """A wrong producer setting is a ConfigError at once, not at the first fact."""
    with pytest.raises(ConfigError, match="snail"):
        KafkaFacts(KafkaSettings(servers="127.0.0.1:1", client={"compression.type": "snail"}))


async def test_no_secret_reaches_the_log(cluster: EmbeddedKafka, caplog: pytest.LogCaptureFixture) -> None:
    """What librdkafka logs passes through our log, with the secrets taken out."""
    caplog.set_level(logging.DEBUG, logger="sales_crm_bridge.kafka")
    sink = KafkaFacts(cluster.settings(debug="all", client_id="planted-hunter2", sasl_password="hunter2"))
    await sink.publish(rows(1, 2))
    await sink.close()
    assert "planted-***" in caplog.text
    assert "hunter2" not in caplog.text
