"""The topics: facts out of the outbox, intents in."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import confluent_kafka
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from benchmarks.bridge import deployment
from benchmarks.measuring import Measured, measured
from benchmarks.place import BATCH
from sales_crm_bridge import contract, gate
from sales_crm_bridge.admission import Tenancy
from sales_crm_bridge.intake import Intaker
from sales_crm_bridge.kafka import KafkaFacts, KafkaIntents, KafkaSettings
from sales_crm_bridge.model import Owner
from sales_crm_bridge.relay import Relay
from sales_crm_bridge.state import Fence, Intake
from sales_crm_bridge.world import RealDice, WallClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from benchmarks.place import Place
    from sales_crm_bridge.ports import Ledger


PARTITIONS = 4


def _kafka(place: Place) -> KafkaSettings:
    return KafkaSettings(servers=place.kafka, group=f"bench-{RealDice().name()}", client={})


async def make_topics(place: Place) -> None:
    """Both topics."""
    admin = AdminClient({"bootstrap.servers": place.kafka})
    for topic in (contract.FACT_TOPIC, contract.INTENT_TOPIC):
        asked = admin.create_topics([NewTopic(topic, PARTITIONS, 1)])
        try:
            await asyncio.wrap_future(asked[topic])
        except confluent_kafka.KafkaException as error:
            if error.args[0].code() != confluent_kafka.KafkaError.TOPIC_ALREADY_EXISTS:
                raise


@asynccontextmanager
async def publishing(
    place: Place, ledger: Ledger
) -> AsyncIterator[Callable[[asyncio.Event], Coroutine[Any, Any, int]]]:
    """The work of publishing the outbox until it is empty after ``done``; it gives the acknowledged facts."""
    await make_topics(place)
    sink, clock = KafkaFacts(_kafka(place)), WallClock()
    epochs = await ledger.leases_take(["relay"], "bench", clock.now_us(), clock.now_us() + 3_600_000_000)
    fence = Fence(lease="relay", holder="bench", epoch=epochs["relay"])
    relay = Relay(ledger, sink, clock, BATCH)

    async def publish(done: asyncio.Event) -> int:
        published = 0
        while True:
            last = done.is_set()
            step = await relay.step(fence)
            published += step
            if not step and last:
                return published
            if not step:
                await ledger.wait(["outbox"], 0.05)

    try:
        yield publish
    finally:
        await sink.close()


async def relay_floor(place: Place) -> Measured:
    """A bare produce loop with delivery reports: the same facts, with their keys and headers, from memory."""
    facts = await _facts(place)
    await make_topics(place)
    records = [contract.outgoing(fact) for fact in facts]
    producer = confluent_kafka.Producer(
        {"bootstrap.servers": place.kafka, "enable.idempotence": True, "acks": "all", "linger.ms": 5}
    )
    acked = 0

    def report(error: object, _message: object) -> None:
        nonlocal acked
        acked += error is None

    async def work() -> int:
        for record in records:
            while True:
                try:
                    producer.produce(
                        contract.FACT_TOPIC, record.value, record.key, headers=list(record.headers), on_delivery=report
                    )
                except BufferError:
                    producer.poll(0.1)
                    continue
                break
            producer.poll(0)
        producer.flush()
        return acked

    return await measured(work)


async def _facts(place: Place) -> list[bytes]:
    async with deployment(place) as (ledger, working):
        await working.once(lambda _feed, _read: None)
        return [row.fact for row in await ledger.outbox_read(0, place.count)]


async def relay_sqlite(place: Place) -> Measured:
    """The outbox to acknowledged messages, and out of the outbox."""
    async with deployment(place) as (ledger, working):
        await working.once(lambda _feed, _read: None)
        async with publishing(place, ledger) as publish:
            done = asyncio.Event()
            done.set()
            return await measured(lambda: publish(done))


# --- intents in -------------------------------------------------------------------------------------------------------


async def _intents(place: Place) -> tuple[str, dict[tuple[str, int], int]]:
    """As many intents as there are to take: what their message ids begin with, and where in the topic they begin."""
    await make_topics(place)
    begin = await asyncio.to_thread(_ends, place)
    producer = confluent_kafka.Producer({"bootstrap.servers": place.kafka, "linger.ms": 20})
    run = RealDice().name()
    now_us = WallClock().now_us()
    for number in range(place.count):
        lead = contract.Lead(lead_id=f"{run}-{number}", email=f"{number}@sales.example", first_name="Ada")
        record = contract.record_of(
            contract.intent(
                contract.CreateLeadRequested(lead=lead),
                tenant_id="acme",
                aggregate_id=lead.lead_id,
                message_id=f"{run}-{number}",
                correlation_id=run,
                occurred_us=now_us,
                producer="bench",
            )
        )
        while True:
            try:
                producer.produce(contract.INTENT_TOPIC, record.value, record.key, headers=list(record.headers))
            except BufferError:
                producer.poll(0.1)
                continue
            break
    producer.flush()
    return run, begin


def _ends(place: Place) -> dict[tuple[str, int], int]:
    """Where the topic of intents ends now, so that nothing of earlier runs is read again."""
    consumer = confluent_kafka.Consumer({"bootstrap.servers": place.kafka, "group.id": "bench-ends"})
    try:
        return {
            (contract.INTENT_TOPIC, number): consumer.get_watermark_offsets(
                confluent_kafka.TopicPartition(contract.INTENT_TOPIC, number), 10.0
            )[1]
            for number in range(PARTITIONS)
        }
    finally:
        consumer.close()


async def intake_floor(place: Place) -> Measured:
    """A bare consume-and-decode loop."""
    run, begin = await _intents(place)
    consumer = confluent_kafka.Consumer(
        {"bootstrap.servers": place.kafka, "group.id": f"floor-{run}", "enable.auto.commit": False}
    )
    consumer.assign([confluent_kafka.TopicPartition(*spot, offset) for spot, offset in begin.items()])

    async def work() -> int:
        taken = 0
        while taken < place.count:
            for message in consumer.consume(BATCH, 1.0):
                if message.error() is not None:
                    continue
                intent = contract.SalesDomainIntent.FromString(message.value() or b"")
                headers = dict(message.headers() or ())
                taken += intent.meta.message_id.startswith(run) and b"acme" in headers.values()
        return taken

    try:
        return await measured(work)
    finally:
        consumer.close()


async def intake_sqlite(place: Place) -> Measured:
    """Kafka to inbox and command, our place with them."""
    began_us = WallClock().now_us() - 1_000_000
    _, begin = await _intents(place)
    async with deployment(place) as (ledger, _):
        await ledger.take(Intake(rows=(), dead=(), offsets=begin, now_us=began_us))
        (row,) = await ledger.tenants()
        tenant = row.tenant
        spans = (gate.Span(owner=Owner.CRM, from_us=began_us),)
        tenancy = Tenancy(
            ownership={tenant: gate.Ownership(tenant=tenant, spans=spans)},
            conns={tenant: row.conn},
            earliest_us=began_us,
            number=await ledger.tenancy(),
        )
        source = KafkaIntents(_kafka(place))

        async def renew() -> None:
            """Nothing changes."""

        intaker = Intaker(ledger, source, WallClock(), lambda: tenancy, renew=renew)

        async def work() -> int:
            running = asyncio.create_task(intaker.run())
            while intaker.taken < place.count:  # noqa: ASYNC110 - the intaker is as it is shipped, and has nothing to wait for
                await asyncio.sleep(0.02)
            taken = intaker.taken
            await source.close()
            await running
            return taken

        return await measured(work)
