"""Both ends of Kafka on a real broker: what the mock cluster cannot show."""

import asyncio
import ctypes
import itertools
import math
import os
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import AclOperation, AdminClient, NewTopic  # type: ignore[attr-defined] # it names no __all__

from sales_crm_bridge import contract
from sales_crm_bridge.kafka import (
    KafkaFacts,
    KafkaIntents,
    KafkaSettings,
    check,
    ensure_topics,
    facts,
    intents,
    kafka_state,
)
from sales_crm_bridge.model import Assigned, Batch, IntentRecord, OutOfRange, Placed, Revoked, SourceFault, Taken
from sales_crm_bridge.state import OutboxRow

ROOT = Path(__file__).parents[2]
DAY_S = 86_400.0
NUMBERS = itertools.count()

MakeTopic = Callable[..., str]


def settings(bootstrap: str, group: str = "g", **client: str | float | bool) -> KafkaSettings:
    named = {name.replace("_", "."): value for name, value in client.items()}
    return KafkaSettings(servers=bootstrap, client=named, group=f"{group}-{os.getpid()}")


@pytest.fixture
def topic(kafka_bootstrap: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeTopic]:
    """Make a topic that both ends take for theirs, so that tests share a broker; it goes at the end."""
    admin = AdminClient({"bootstrap.servers": kafka_bootstrap})
    made: list[str] = []

    def make(partitions: int = 4, **config: str) -> str:
        name = f"test.bridge.{os.getpid()}.{time.time_ns()}.{next(NUMBERS)}"
        named = {option.replace("_", "."): value for option, value in config.items()}
        for future in admin.create_topics([NewTopic(name, partitions, 1, config=named)]).values():
            future.result(timeout=10)
        made.append(name)
        while (
            name not in admin.list_topics(timeout=10).topics
        ):  # the controller has it; a broker hears of it a moment later
            pass
        for module in (facts, intents):
            monkeypatch.setattr(module, "FACT_TOPIC", name, raising=False)
            monkeypatch.setattr(module, "INTENT_TOPIC", name, raising=False)
        return name

    yield make
    for future in admin.delete_topics(made).values() if made else ():
        future.result(timeout=10)


def put(bootstrap: str, topic: str, numbers: Sequence[int], *, partition: int = -1, at_ms: int = 0) -> None:
    """Produce records whose value is their number; ``at_ms`` is the time of the first, one ms a record."""
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0})
    for n in numbers:
        producer.produce(
            topic, b"%d" % n, b"k%d" % (n % 7), partition=partition, timestamp=at_ms + n - numbers[0] if at_ms else 0
        )
    assert producer.flush(10) == 0


def rows(first: int, last: int, size: int = 0) -> list[OutboxRow]:
    page = contract.FactPage(tenant_id="acme", correlation_id="c", causation_id="d")
    made = []
    for seq in range(first, last):
        external = contract.ExternalRef(record_id=str(seq), url=os.urandom(size // 2).hex())
        fact = page.fact(f"lead-{seq % 50}", seq, 1_700_000_000_000_000, contract.CrmLeadRemoved(external=external))
        made.append(OutboxRow(message_id=fact.message_id, fact=fact.value, created_us=1, seq=seq))
    return made


def seq_of(record: IntentRecord) -> int:
    return contract.SalesIntegrationFact.FromString(record.value).subject.aggregate_version


Done = Callable[[list[IntentRecord], Sequence[Taken]], bool]


async def read(
    source: KafkaIntents, done: Done, *, start: int | None = 0, then: Callable[[], Awaitable[None]] | None = None
) -> tuple[list[IntentRecord], list[Taken]]:
    """Take from ``source`` until ``done``, starting what is assigned at ``start``, and calling ``then`` after the first start."""
    records: list[IntentRecord] = []
    values: list[Taken] = []
    async for taken in source.batches():
        values.append(taken)
        match taken:
            case Assigned(partitions) if start is not None:
                await source.start_at(dict.fromkeys(partitions, start))
                if then is not None:
                    await then()
                    then = None
            case Batch(more):
                records += more
            case _:
                pass
        if done(records, values):
            break
    return records, values


async def test_twenty_thousand_records_pass_both_ends_whole_and_in_order(
    kafka_bootstrap: str, topic: MakeTopic
) -> None:
    """20,000 facts of 1 KB in batches of 2,000: all acknowledged, each read once, in order per key."""
    topic()
    sent = rows(1, 20_001, size=900)
    sink, source = KafkaFacts(settings(kafka_bootstrap)), KafkaIntents(settings(kafka_bootstrap))

    async def publish() -> None:
        for first in range(0, len(sent), 2_000):
            batch = sent[first : first + 2_000]
            published = await sink.publish(batch)
            assert published.acked == [row.seq for row in batch]
        await sink.close()

    publishing = asyncio.create_task(publish())
    records, _ = await read(source, lambda records, _: len(records) >= len(sent))
    await publishing
    await source.close()
    per_key = defaultdict[bytes, list[int]](list)
    for record in records:
        per_key[record.key].append(seq_of(record))
    assert all(seqs == sorted(set(seqs)) for seqs in per_key.values())
    assert sum(map(len, per_key.values())) == len(sent)


async def test_what_the_broker_has_trimmed_is_a_value_and_the_next_place_is_honoured(
    kafka_bootstrap: str, topic: MakeTopic
) -> None:
    """After records were deleted: what we wanted, what there is; from there on every record that is left."""
    name = topic(1)
    put(kafka_bootstrap, name, range(100))
    admin = AdminClient({"bootstrap.servers": kafka_bootstrap})
    for future in admin.delete_records([TopicPartition(name, 0, 60)]).values():
        future.result(timeout=10)
    source = KafkaIntents(settings(kafka_bootstrap))
    records, values = await read(source, lambda _, values: isinstance(values[-1], OutOfRange))
    assert records == []
    assert values[-1] == OutOfRange((name, 0), 0, 60, 100)
    await source.start_at({(name, 0): 60})
    records, _ = await read(source, lambda records, _: len(records) == 40)
    await source.close()
    assert [record.offset for record in records] == list(range(60, 100))


async def test_a_start_by_time_is_the_first_record_at_or_after_it_or_the_end(
    kafka_bootstrap: str, topic: MakeTopic
) -> None:
    """Per partition: the first record of that time or later; where there is none, what comes from now on."""
    name = topic(2)
    noon_ms = 1_700_000_000_000
    put(kafka_bootstrap, name, range(10), partition=0, at_ms=noon_ms)
    put(kafka_bootstrap, name, range(100, 110), partition=1, at_ms=noon_ms - 3_600_000)
    source = KafkaIntents(settings(kafka_bootstrap))

    async def later() -> None:
        await asyncio.to_thread(put, kafka_bootstrap, name, range(110, 111), partition=1)

    records, _ = await read(source, lambda records, _: len(records) == 6, start=-(noon_ms + 5), then=later)
    await source.close()
    assert sorted(int(record.value) for record in records) == [5, 6, 7, 8, 9, 110]
    assert {record.timestamp_us for record in records if record.value == b"5"} == {(noon_ms + 5) * 1000}


class Group:
    """A consumer group whose places are kept as the ledger keeps them: an offset never moves back, a record counts once."""

    def __init__(self) -> None:
        self.places: dict[tuple[str, int], int] = defaultdict(int)
        self.taken = Counter[int]()
        self.news = asyncio.Condition()

    async def until(self, done: Callable[[], bool], members: Sequence[asyncio.Task[None]]) -> None:
        """Wait for it; a member that fails meanwhile fails the test, with its own words, instead of being waited for."""
        waiting = asyncio.ensure_future(self._news(done))
        try:
            while not waiting.done():
                for member in members:
                    if member.done():
                        member.result()
                at_work = [member for member in members if not member.done()]
                await asyncio.wait((waiting, *at_work), return_when=asyncio.FIRST_COMPLETED)
            waiting.result()
        finally:
            waiting.cancel()

    async def _news(self, done: Callable[[], bool]) -> None:
        async with self.news:
            await self.news.wait_for(done)


class Member:
    """One of the group, which holds its source to the port's promises about assignment."""

    def __init__(self, group: Group, bootstrap: str) -> None:
        self.group = group
        # A member hears of a rebalance with a heartbeat.
        self.source = KafkaIntents(settings(bootstrap, "pair", heartbeat_interval_ms=100))
        self.mine: set[tuple[str, int]] = set()
        self.lost_at_once: list[int] = []

    async def run(self) -> None:
        async for value in self.source.batches():
            match value:
                case Assigned(partitions):
                    assert not self.mine & set(partitions)
                    self.mine |= set(partitions)
                    await self.source.start_at({place: self.group.places[place] for place in partitions})
                case Revoked(partitions):
                    assert set(partitions) <= self.mine
                    self.mine -= set(partitions)
                    self.lost_at_once.append(len(partitions))
                case Batch(records):
                    await self.take(records)
                case Placed() | SourceFault(fatal=False):  # a broker that is slow for a moment costs nothing
                    pass
                case OutOfRange() | SourceFault():
                    pytest.fail(str(value))
            async with self.group.news:
                self.group.news.notify_all()

    async def take(self, records: list[IntentRecord]) -> None:
        places = self.group.places
        assert {(record.topic, record.partition) for record in records} <= self.mine
        for record in records:
            place = (record.topic, record.partition)
            assert record.offset <= places[place]
            self.group.taken[int(record.value)] += record.offset == places[place]
            places[place] = max(places[place], record.offset + 1)
        await self.source.mark({place: places[place] for place in self.mine})


async def test_two_consumers_share_and_hand_over_and_the_ledgers_rule_sees_each_record(
    kafka_bootstrap: str, topic: MakeTopic
) -> None:
    """A second consumer takes some partitions, the rest go on undisturbed; when it leaves they come back.

    After ``Revoked`` nothing of a partition follows until it is assigned again; with each one's place kept as the ledger
    does, every record is taken once; the group has heard of it all when the last one has left.
    """
    name = topic(4)
    group = Group()
    one = Member(group, kafka_bootstrap)
    running = [asyncio.create_task(one.run())]

    async def all_taken(numbers: range) -> None:
        await asyncio.to_thread(put, kafka_bootstrap, name, numbers)
        await group.until(lambda: group.taken.total() == numbers[-1] + 1, running)

    await group.until(lambda: len(one.mine) == 4, running)
    await all_taken(range(100))
    two = Member(group, kafka_bootstrap)
    running.append(asyncio.create_task(two.run()))
    await group.until(lambda: len(one.mine) == len(two.mine) == 2, running)
    await all_taken(range(100, 200))
    await two.source.close()
    await group.until(lambda: len(one.mine) == 4, running)
    await all_taken(range(200, 300))
    await one.source.close()
    await asyncio.gather(*running)
    assert sorted(group.taken) == list(range(300))
    assert set(group.taken.values()) == {1}
    assert one.lost_at_once == [2]

    admin = AdminClient({"bootstrap.servers": kafka_bootstrap})
    asked = ConsumerGroupTopicPartitions(settings(kafka_bootstrap, "pair").group)
    (answer,) = admin.list_consumer_group_offsets([asked]).values()
    committed = {(part.topic, part.partition): part.offset for part in answer.result(10).topic_partitions}
    assert committed == {place: offset for place, offset in group.places.items() if offset}


async def test_an_aborted_transactions_records_are_never_seen(kafka_bootstrap: str, topic: MakeTopic) -> None:
    """A client that writes its intents in a transaction and takes it back has asked for nothing."""
    name = topic(1)
    producer = Producer({"bootstrap.servers": kafka_bootstrap, "transactional.id": name})
    producer.init_transactions(10)
    for value, end in ((b"1", producer.abort_transaction), (b"2", producer.commit_transaction)):
        producer.begin_transaction()
        producer.produce(name, value)
        assert producer.flush(10) == 0
        end(10)
    source = KafkaIntents(settings(kafka_bootstrap))
    records, _ = await read(source, lambda records, _: bool(records))
    await source.close()
    assert [record.value for record in records] == [b"2"]


def put_header_name(bootstrap: str, topic: str, name: bytes) -> None:
    """Produce a record with any bytes as a header's name: librdkafka allows them, confluent-kafka's producer does not."""
    (path,) = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "librdkafka" in line}
    library = ctypes.CDLL(path)
    library.rd_kafka_conf_new.restype = library.rd_kafka_new.restype = ctypes.c_void_p
    config, said = ctypes.c_void_p(library.rd_kafka_conf_new()), ctypes.create_string_buffer(256)
    assert library.rd_kafka_conf_set(config, b"bootstrap.servers", bootstrap.encode(), said, 256) == 0
    client = ctypes.c_void_p(library.rd_kafka_new(0, config, said, 256))
    one = ctypes.c_ssize_t(1)  # RD_KAFKA_VTYPE_TOPIC 1, _VALUE 4, _HEADER 9, _END 0
    assert library.rd_kafka_producev(client, 1, topic.encode(), 4, b"1", one, 9, name, b"x", one, 0) == 0
    assert library.rd_kafka_flush(client, 10_000) == 0
    library.rd_kafka_destroy(client)


async def test_a_header_that_cannot_be_read_stops_nothing(kafka_bootstrap: str, topic: MakeTopic) -> None:
    """A name that is not UTF-8: the record comes without headers, and so do the ones behind it, whole."""
    name = topic(1)
    for _ in range(50):  # more than CPython needs to specialise a call
        put_header_name(kafka_bootstrap, name, b"\xff\xfe")
    put(kafka_bootstrap, name, range(2, 4))
    source = KafkaIntents(settings(kafka_bootstrap))
    records, _ = await read(source, lambda records, _: len(records) == 52)
    await source.close()
    assert [record.value for record in records] == [b"1"] * 50 + [b"2", b"3"]
    assert not any(record.headers for record in records)


async def test_a_topic_that_is_not_there_is_a_fatal_fault(
    kafka_bootstrap: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No waiting helps, and the fault says so."""
    monkeypatch.setattr(intents, "INTENT_TOPIC", "test.bridge.not-there")
    source = KafkaIntents(settings(kafka_bootstrap))
    _, values = await read(source, lambda *_: True)
    await source.close()
    fault = values[0]
    assert isinstance(fault, SourceFault)
    assert (fault.code, fault.fatal) == ("kafka.unknown-topic-or-part", True)


async def test_of_a_refused_set_only_what_is_too_large_alone_is_refused(kafka_bootstrap: str, topic: MakeTopic) -> None:
    """A topic below our set size: a broker refuses sets whole, yet every row that fits is acknowledged."""
    topic(2, max_message_bytes="20000")
    sink = KafkaFacts(settings(kafka_bootstrap))
    sent = [*rows(1, 60, size=1_000), *rows(60, 61, size=40_000), *rows(61, 101, size=1_000)]
    published = await sink.publish(sent)
    await sink.close()
    assert published.refused == [(60, "kafka.msg-size-too-large")]
    assert published.acked == [seq for seq in range(1, 101) if seq != 60]
    assert published.reason == ""


async def test_a_producer_that_broke_for_good_is_left_behind(kafka_bootstrap: str, topic: MakeTopic) -> None:
    """A fatal error ends the producer and not the sink: nothing is refused for it, and a new producer goes on."""
    topic(1, max_message_bytes="20000")
    sink = KafkaFacts(settings(kafka_bootstrap, enable_gapless_guarantee=True))  # makes the refusal of a set fatal
    first = sink._producer
    broken = await sink.publish(rows(1, 101, size=1_000))
    # How much of it was healed on the spot depends on how confluent-kafka let us know; nothing is claimed that is not there.
    assert broken.refused == []
    assert len(broken.acked) == 100 or broken.reason.startswith("kafka.")
    healed = await sink.publish(rows(101, 106, size=1_000))
    assert healed.acked == [101, 102, 103, 104, 105]
    assert sink._producer is not first
    await sink.close()


async def test_a_broker_killed_under_a_batch_loses_nothing_and_keeps_the_order(
    own_broker: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while a batch is on its way, started again, the rest published again: the first sight of each fact is in order.

    While the broker is away rows are unacknowledged within the limit; the reader survives and reads on.
    """
    address = own_broker("start")
    for module in (facts, intents):
        monkeypatch.setattr(module, "FACT_TOPIC", "one", raising=False)
        monkeypatch.setattr(module, "INTENT_TOPIC", "one", raising=False)
    admin = AdminClient({"bootstrap.servers": address})
    for future in admin.create_topics([NewTopic("one", 3, 1)]).values():
        future.result(timeout=10)
    sink = KafkaFacts(replace(settings(address), delivery_s=1.0))
    source = KafkaIntents(settings(address, reconnect_backoff_max_ms=500))
    sent = rows(1, 5_001, size=1_000)
    acked: set[int] = set()
    while len(acked) < 100:  # a broker that has just started may need longer than the limit
        acked |= set((await sink.publish([row for row in sent[:100] if row.seq not in acked])).acked)
    reading = asyncio.create_task(read(source, lambda records, _: {seq_of(r) for r in records} == set(range(1, 5_001))))
    publishing = asyncio.create_task(sink.publish(sent[100:]))
    await asyncio.sleep(0)
    own_broker("kill")
    published = await publishing
    acked |= {*published.acked}
    assert published.refused == []
    while_away = await sink.publish(sent[-10:])
    assert (while_away.acked, while_away.refused) == ([], [])
    assert while_away.reason.startswith("kafka.")
    await asyncio.to_thread(own_broker, "start")
    while len(acked) < len(sent):
        acked |= set((await sink.publish([row for row in sent if row.seq not in acked])).acked)
    records, values = await reading
    await sink.close()
    await source.close()
    assert not [value for value in values if isinstance(value, SourceFault) and value.fatal]
    first_seen = defaultdict[bytes, list[int]](list)
    for record in records:
        if seq_of(record) not in first_seen[record.key]:
            first_seen[record.key].append(seq_of(record))
    late = set(range(4_991, 5_001))  # handed in while it was away, before those that were still open
    for seqs in first_seen.values():
        in_turn = [seq for seq in seqs if seq not in late]
        assert in_turn == sorted(in_turn)


async def test_check_sees_topics_and_promises(
    kafka_bootstrap: str, topic: MakeTopic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Missing topics, retention beyond the inbox's, compaction and small sets are findings; a good cluster has none."""
    asked, told = topic(3, retention_ms=str(int(7 * DAY_S * 1000))), topic(2)
    for name, value in (("INTENT_TOPIC", asked), ("FACT_TOPIC", told)):
        monkeypatch.setattr(check, name, value)
    monkeypatch.setattr(check, "_NEEDED", {asked: AclOperation.READ, told: AclOperation.WRITE})
    good = await kafka_state(settings(kafka_bootstrap), inbox_keep_s=7 * DAY_S)
    assert good == []
    short = await kafka_state(settings(kafka_bootstrap), inbox_keep_s=6 * DAY_S)
    assert [finding.code for finding in short] == ["kafka.retention"]
    monkeypatch.setattr(check, "FACT_TOPIC", "test.bridge.not-there")
    monkeypatch.setattr(check, "_NEEDED", {asked: AclOperation.READ, "test.bridge.not-there": AclOperation.WRITE})
    missing = await kafka_state(settings(kafka_bootstrap), inbox_keep_s=math.inf)
    assert [(finding.code, finding.place.file) for finding in missing] == [
        ("kafka.no-topic", "topic test.bridge.not-there")
    ]


async def test_the_two_topics_are_made_once(kafka_bootstrap: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Topics that are there already are left as they are."""
    names = [f"test.bridge.made.{os.getpid()}.{time.time_ns()}.{n}" for n in range(2)]
    monkeypatch.setattr(check, "_NEEDED", dict.fromkeys(names))
    await ensure_topics(settings(kafka_bootstrap), partitions=3)
    await ensure_topics(settings(kafka_bootstrap), partitions=5)
    admin = AdminClient({"bootstrap.servers": kafka_bootstrap})
    there = admin.list_topics(timeout=10).topics
    assert [len(there[name].partitions) for name in names] == [3, 3]
    for future in admin.delete_topics(names).values():
        future.result(timeout=10)
