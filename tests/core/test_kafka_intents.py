"""The intent topic as values, on librdkafka's mock cluster (what only a broker can show is in tests/real)."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import replace

import pytest
from confluent_kafka import Message

from sales_crm_bridge.contract import INTENT_TOPIC, Record
from sales_crm_bridge.errors import ConfigError
from sales_crm_bridge.kafka import KafkaIntents, KafkaSettings
from sales_crm_bridge.kafka.embedded import PARTITIONS, EmbeddedKafka
from sales_crm_bridge.model import Assigned, Batch, IntentRecord, OutOfRange, Revoked, SourceFault, Taken

ALL = tuple((INTENT_TOPIC, number) for number in range(PARTITIONS))


@pytest.fixture
def cluster() -> Iterator[EmbeddedKafka]:
    with EmbeddedKafka() as kafka:
        yield kafka


def intents(first: int, last: int, size: int = 10) -> list[Record]:
    """Records ``first`` … ``last`` - 1 with seven keys, their number in front of the value."""
    return [
        Record(key=b"acme/%d" % (n % 7), value=b"%d " % n + b"x" * size, headers=[("n", b"%d" % n)])
        for n in range(first, last)
    ]


def number(record: IntentRecord) -> int:
    return int(record.value.split()[0])


async def read(
    source: KafkaIntents, done: Callable[[list[IntentRecord], Sequence[Taken]], bool], *, start: int | None = 0
) -> tuple[list[IntentRecord], list[Taken]]:
    """Take from ``source``, starting what is assigned at ``start``, until ``done`` says so of the records and all values."""
    records: list[IntentRecord] = []
    values: list[Taken] = []
    async for taken in source.batches():
        values.append(taken)
        match taken:
            case Assigned(partitions) if start is not None:
                await source.start_at(dict.fromkeys(partitions, start))
            case Batch(more):
                records += more
            case _:
                pass
        if done(records, values):
            break
    return records, values


async def test_records_come_whole_in_order_in_batches_within_their_limits(cluster: EmbeddedKafka) -> None:
    """Every record of every partition once, whole, by offset, after the assignment; no batch above its two limits."""
    sent = [*intents(0, 300), *intents(300, 310, size=3_000)]
    await cluster.ask(sent)
    source = KafkaIntents(replace(cluster.settings(), batch_records=50, batch_bytes=8_192))
    records, values = await read(source, lambda records, _: len(records) == len(sent))
    await source.close()
    assert values[0] == Assigned(ALL)
    assert sorted(number(record) for record in records) == list(range(310))
    by_number = {number(record): record for record in records}
    assert all(by_number[n].key == sent[n].key and by_number[n].value == sent[n].value for n in range(310))
    assert all(by_number[n].headers == (("n", b"%d" % n),) and by_number[n].timestamp_us > 0 for n in range(310))
    for partition in range(PARTITIONS):
        offsets = [record.offset for record in records if record.partition == partition]
        assert offsets == list(range(len(offsets)))
    batches = [value.records for value in values if isinstance(value, Batch)]
    assert max(len(batch) for batch in batches) <= 50
    assert all(sum(len(r.key) + len(r.value) for r in batch) <= 8_192 for batch in batches)
    assert any(len(batch) > 1 for batch in batches)


async def test_a_batch_may_be_one_record_and_one_record_larger_than_a_batch(cluster: EmbeddedKafka) -> None:
    """The smallest limits there are still let every record through, one by one."""
    await cluster.ask(intents(0, 20, size=5_000))
    source = KafkaIntents(replace(cluster.settings(), batch_records=1, batch_bytes=1_024))
    records, values = await read(source, lambda records, _: len(records) == 20)
    await source.close()
    assert len(records) == 20
    assert all(len(value.records) == 1 for value in values if isinstance(value, Batch))


async def test_a_partition_gives_nothing_before_its_place_is_named(cluster: EmbeddedKafka) -> None:
    """Of the assigned partitions only the started one is read, from the named offset; the others wait for theirs."""
    await cluster.ask(intents(0, 200))
    source = KafkaIntents(cluster.settings())
    _, values = await read(source, lambda _, values: bool(values), start=None)
    assert values == [Assigned(ALL)]
    counts = Counter[int]()
    await source.start_at({ALL[0]: 0, ("another.topic", 1): 0})
    await cluster.ask(intents(200, 400))
    first, _ = await read(source, lambda records, _: any(number(r) >= 200 for r in records))
    assert {record.partition for record in first} == {0}
    counts.update(record.partition for record in first)
    await source.start_at(dict.fromkeys(ALL[1:], 5))
    rest, _ = await read(source, lambda records, _: len(records) + len(first) == 400 - 5 * (PARTITIONS - 1))
    assert {record.partition: record.offset for record in reversed(rest) if record.partition} == {1: 5, 2: 5, 3: 5}
    await source.start_at({ALL[0]: 1})  # and again, from another place
    again, _ = await read(source, lambda records, _: bool(records))
    assert (again[0].partition, again[0].offset) == (0, 1)
    await source.close()


async def test_a_place_that_the_broker_lacks_is_a_value_and_the_others_go_on(cluster: EmbeddedKafka) -> None:
    """Out of range: what was wanted and what there is; the partition waits for a new place, the others are read."""
    await cluster.ask(intents(0, 100))
    source = KafkaIntents(cluster.settings())
    await read(source, lambda _, values: bool(values), start=None)
    await source.start_at({ALL[0]: 1_000, **dict.fromkeys(ALL[1:], 0)})
    records, values = await read(
        source, lambda records, values: any(isinstance(v, OutOfRange) for v in values) and bool(records)
    )
    (lost,) = [value for value in values if isinstance(value, OutOfRange)]
    assert (lost.partition, lost.wanted, lost.low) == (ALL[0], 1_000, 0)
    assert lost.high > 0
    assert all(record.partition for record in records)
    await source.start_at({ALL[0]: lost.high - 1})
    records, _ = await read(source, lambda records, _: any(r.partition == 0 for r in records))
    assert [r.offset for r in records if r.partition == 0] == [lost.high - 1]
    await source.close()


async def test_a_cancelled_reader_loses_nothing_and_no_wake_up(cluster: EmbeddedKafka) -> None:
    """A reader that is cancelled while it waits leaves what comes to the next reader."""
    source = KafkaIntents(cluster.settings())
    await read(source, lambda _, values: bool(values))

    async def one(stream: AsyncIterator[Taken]) -> Taken:
        return await anext(stream)

    waiting = asyncio.create_task(one(source.batches()))
    for _ in range(3):  # it has begun to wait
        await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await cluster.ask(intents(0, 10))
    records, _ = await read(source, lambda records, _: len(records) == 10)
    assert sorted(map(number, records)) == list(range(10))
    await source.close()


async def test_close_ends_a_waiting_reader_and_leaves_nothing_to_do(cluster: EmbeddedKafka) -> None:
    """A reader ends; a second close, a mark or a start after it are nothing."""
    source = KafkaIntents(cluster.settings())
    ended = asyncio.create_task(read(source, lambda *_: False))
    await source.close()
    _, values = await ended
    assert not [value for value in values if isinstance(value, Batch | Revoked)]
    await source.close()
    await source.mark({ALL[0]: 1})
    await source.start_at({ALL[0]: 1})
    assert [taken async for taken in source.batches()] == []


async def test_a_cluster_that_is_away_is_a_fault_that_waiting_may_heal(cluster: EmbeddedKafka) -> None:
    """Faults are values, not fatal; marking and leaving do not hang on a cluster that is gone."""
    source = KafkaIntents(replace(cluster.settings(), close_s=1.0))
    await read(source, lambda _, values: bool(values))
    cluster.close()
    _, values = await read(source, lambda _, values: isinstance(values[-1], SourceFault))
    fault = values[-1]
    assert isinstance(fault, SourceFault)
    assert fault.code.startswith("kafka.")
    assert not fault.fatal
    await source.mark({ALL[0]: 1})
    await source.close()


@pytest.mark.parametrize(
    ("setting", "told"),
    [({"no.such.setting": "1"}, "no.such.setting"), ({"debug": "hunter2", "sasl.password": "hunter2"}, "***")],
)
def test_a_setting_that_librdkafka_lacks_is_a_finding_without_a_secret(setting: dict[str, str], told: str) -> None:
    """A wrong setting is a ConfigError that names it and shows no secret."""
    with pytest.raises(ConfigError) as caught:
        KafkaIntents(KafkaSettings(servers="127.0.0.1:1", client=setting))
    assert told in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_no_broker_named_is_a_finding() -> None:
    """Without ``bootstrap.servers`` librdkafka would wait for ever without a word."""
    with pytest.raises(ConfigError, match=r"bootstrap\.servers"):
        KafkaIntents(KafkaSettings(servers=""))


def test_what_the_bridge_promises_by_cannot_be_set_otherwise() -> None:
    """Offsets, acknowledgements and the partitioner are ours, whatever the deployment's settings say."""
    from sales_crm_bridge.kafka.client import consumer_config, producer_config  # noqa: PLC0415

    wild: dict[str, str | bool] = {
        "auto.offset.reset": "latest",
        "enable.auto.commit": True,
        "acks": "1",
        "request.required.acks": "0",
        "delivery.timeout.ms": "1",
        "partitioner": "random",
    }
    settings = KafkaSettings(servers="b:1", client={"linger.ms": 50, "sasl.password": "hunter2", **wild}, group="g")
    consumer, producer = consumer_config(settings), producer_config(settings)
    assert (consumer["auto.offset.reset"], consumer["enable.auto.commit"], consumer["group.id"]) == (
        "error",
        False,
        "g",
    )
    assert (producer["acks"], producer["partitioner"], producer["enable.idempotence"]) == (
        "all",
        "murmur2_random",
        True,
    )
    assert producer["linger.ms"] == 50
    assert (
        not {"request.required.acks", "delivery.timeout.ms"} & producer.keys()
    )  # other names of settings that are ours
    assert "hunter2" not in repr(settings)


def test_records_read_before_a_revocation_of_the_same_call_are_dropped() -> None:
    """One call to librdkafka can collect records of a partition and then serve its revocation: they are nobody's."""
    source = KafkaIntents(KafkaSettings(servers="127.0.0.1:1"))
    source._reading = {1}
    source._ready.append(Revoked((ALL[2],)))  # as the callback leaves it, inside the call
    source._sort([Message(topic=INTENT_TOPIC, partition=n, offset=5, value=b"%d" % n) for n in (2, 1, 2)])
    revoked, batch = source._ready
    assert revoked == Revoked((ALL[2],))
    assert isinstance(batch, Batch)
    assert [(record.partition, record.key, record.value) for record in batch.records] == [(1, b"", b"1")]
