"""The cases, each run in a process of its own by ``python -m benchmarks.child``; a floor does the bare work of those beside it."""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import confluent_kafka
import httpx
import orjson
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from benchmarks import floor
from benchmarks.bridge import ledger_at, postgres, settings_in, worker
from benchmarks.measuring import Measured, measured
from sales_crm_bridge import contract, gate
from sales_crm_bridge.admission import Tenancy
from sales_crm_bridge.intake import Intaker
from sales_crm_bridge.kafka import KafkaFacts, KafkaIntents, KafkaSettings
from sales_crm_bridge.model import Operation, Owner
from sales_crm_bridge.relay import Relay
from sales_crm_bridge.state import Fence, InboxRow, Intake, NewCommand
from sales_crm_bridge.world import RealDice, WallClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine

    from sales_crm_bridge.ports import Ledger

BATCH = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a case runs: ``count`` things to do, the CRM's address and page, and the real Kafka and PostgreSQL ("" none)."""

    count: int
    page: int
    crm: str
    kafka: str
    postgres: str


# --- pull -------------------------------------------------------------------------------------------------------------


async def floor_plain(place: Place) -> Measured:
    """The afternoon's loop."""

    async def work() -> int:
        return floor.plain(place.crm, place.page)

    return await measured(work)


async def floor_best(place: Place) -> Measured:
    """Its fastest writing."""

    async def work() -> int:
        return floor.best(place.crm, place.page)

    return await measured(work)


@asynccontextmanager
async def _deployment(place: Place, engine: str) -> AsyncIterator[tuple[Ledger, Callable[[], Awaitable[int]]]]:
    """A ledger with nothing in it, and the work of reading every feed to its end; it gives the facts in the outbox."""
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/var/tmp") as name:
        folder = Path(name)
        async with postgres(place.postgres if engine == "postgres" else "") as dsn:
            address = dsn or f"sqlite:///{folder / 'ledger.db'}"
            settings = settings_in(folder, place.crm, place.page, address)
            async with ledger_at(address) as ledger, worker(settings, ledger) as working:

                async def read() -> int:
                    await working.once(lambda _feed, _read: None)
                    return (await ledger.outbox_depth())[0]

                yield ledger, read


async def pull_sqlite(place: Place) -> Measured:
    """Backfill to committed outbox rows, on SQLite."""
    async with _deployment(place, "sqlite") as (_, read):
        return await measured(read)


async def pull_postgres(place: Place) -> Measured:
    """The same on PostgreSQL; its own processes are not counted, as a database server's are not the loop's."""
    async with _deployment(place, "postgres") as (_, read):
        return await measured(read)


async def pull_kafka(place: Place) -> Measured:
    """Backfill to acknowledged messages on a real broker, on SQLite."""
    async with _deployment(place, "sqlite") as (ledger, read), _relay(place, ledger) as relayed:

        async def work() -> int:
            done = asyncio.Event()
            publishing = asyncio.create_task(relayed(done))
            await read()
            done.set()
            return await publishing

        return await measured(work)


async def reread_sqlite(place: Place) -> Measured:
    """Everything read again, and nothing has changed."""
    async with _deployment(place, "sqlite") as (_, read):
        await read()
        return await measured(read)


# --- push -------------------------------------------------------------------------------------------------------------

IN_FLIGHT = 32


def _properties(number: int) -> dict[str, str]:
    return {"email": f"{number}@sales.example", "firstname": "Ada", "lastname": "Byron", "company": "Company Ltd"}


async def push_floor(place: Place) -> Measured:
    """A bare loop of httpx: so many writers, each with the next batch as soon as its last one is answered."""
    numbers = iter(range(0, place.count, place.page))

    async def write(client: httpx.AsyncClient) -> int:
        done = 0
        for first in numbers:
            inputs = [
                {"id": f"L-{number}", "idProperty": "bridge_lead_id", "properties": _properties(number)}
                for number in range(first, min(first + place.page, place.count))
            ]
            answer = await client.post(
                "/crm/v3/objects/contacts/batch/upsert", content=orjson.dumps({"inputs": inputs})
            )
            done += len(orjson.loads(answer.content)["results"])
        return done

    async def work() -> int:
        limits = httpx.Limits(max_connections=IN_FLIGHT, max_keepalive_connections=IN_FLIGHT)
        async with httpx.AsyncClient(base_url=place.crm, limits=limits, timeout=60) as client:
            return sum(await asyncio.gather(*(write(client) for _ in range(IN_FLIGHT))))

    return await measured(work)


async def push_sqlite(place: Place) -> Measured:
    """Commands in the ledger to creates in the CRM, their bindings and facts, on SQLite."""
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/var/tmp") as name:
        folder = Path(name)
        settings = settings_in(folder, place.crm, 100, f"sqlite:///{folder / 'ledger.db'}", batch=place.page)
        async with ledger_at(settings.ledger_address()) as ledger, worker(settings, ledger) as working:
            (row,) = await ledger.tenants()
            for first in range(0, place.count, BATCH):
                rows = [_asked(row.conn, number) for number in range(first, min(first + BATCH, place.count))]
                await ledger.take(Intake(rows=rows, dead=(), offsets={}, now_us=1))

            async def work() -> int:
                while await working.pusher.step():
                    pass
                return place.count

            await working.pusher.open()
            cost = await measured(work)
            (told,) = (await ledger.outbox_depth())[:1]
            assert told == place.count
            return cost


def _asked(conn: int, number: int) -> InboxRow:
    told = _properties(number)
    lead = contract.Lead(
        lead_id=f"L-{number}",
        email=told["email"],
        first_name=told["firstname"],
        last_name=told["lastname"],
        company_name=told["company"],
    )
    envelope = contract.intent(
        contract.CreateLeadRequested(lead=lead),
        tenant_id="acme",
        aggregate_id=lead.lead_id,
        message_id=f"m-{number}",
        correlation_id="bench",
        occurred_us=1_790_000_000_000_000,
        producer="bench",
    )
    command = NewCommand(
        conn=conn,
        lead_id=lead.lead_id,
        operation=Operation.CREATE,
        payload=envelope.SerializeToString(),
        occurred_us=1_790_000_000_000_000,
    )
    return InboxRow(tenant="acme", message_id=f"m-{number}", command=command)


# --- relay ------------------------------------------------------------------------------------------------------------


def _kafka(place: Place) -> KafkaSettings:
    return KafkaSettings(servers=place.kafka, group=f"bench-{RealDice().name()}", client={})


async def _topics(place: Place) -> None:
    admin = AdminClient({"bootstrap.servers": place.kafka})
    for topic in (contract.FACT_TOPIC, contract.INTENT_TOPIC):
        asked = admin.create_topics([NewTopic(topic, 4, 1)])
        try:
            await asyncio.wrap_future(asked[topic])
        except confluent_kafka.KafkaException as error:
            if error.args[0].code() != confluent_kafka.KafkaError.TOPIC_ALREADY_EXISTS:
                raise


@asynccontextmanager
async def _relay(place: Place, ledger: Ledger) -> AsyncIterator[Callable[[asyncio.Event], Coroutine[Any, Any, int]]]:
    """The work of publishing the outbox until it is empty after ``done``; it gives the acknowledged facts."""
    await _topics(place)
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
    await _topics(place)
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
    async with _deployment(place, "sqlite") as (ledger, read):
        await read()
        return [row.fact for row in await ledger.outbox_read(0, place.count)]


async def relay_sqlite(place: Place) -> Measured:
    """The outbox to acknowledged messages, and out of the outbox."""
    async with _deployment(place, "sqlite") as (ledger, read):
        await read()
        async with _relay(place, ledger) as publish:
            done = asyncio.Event()
            done.set()
            return await measured(lambda: publish(done))


# --- intents in -------------------------------------------------------------------------------------------------------


async def _intents(place: Place) -> str:
    """As many intents as there are to take, on a topic of their own run: the time from which they were uttered."""
    await _topics(place)
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
    return run


async def intake_floor(place: Place) -> Measured:
    """A bare consume-and-decode loop."""
    began_ms = WallClock().now_us() // 1000
    run = await _intents(place)
    consumer = confluent_kafka.Consumer(
        {"bootstrap.servers": place.kafka, "group.id": f"floor-{run}", "enable.auto.commit": False}
    )
    spots = [confluent_kafka.TopicPartition(contract.INTENT_TOPIC, number, began_ms) for number in range(4)]
    consumer.assign(consumer.offsets_for_times(spots))

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
    await _intents(place)
    async with _deployment(place, "sqlite") as (ledger, _):
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A case: how it is run, the floor it is compared with ("" it is one), what it asks for of the real services.

    ``page``: leads on a page, or writes in a batch. ``latency_s``: how long the CRM takes for a write. ``share``: it does only one
    of so many things.
    """

    run: Callable[[Place], Coroutine[Any, Any, Measured]]
    floor: str = ""
    needs: tuple[str, ...] = ()
    at_least: float = 0.0
    page: int = 100
    latency_s: float = 0.0
    share: int = 1


CASES: dict[str, Case] = {
    "pull.floor": Case(run=floor_plain),
    "pull.floor-best": Case(run=floor_best, floor="pull.floor"),
    "pull.hubspot.sqlite": Case(run=pull_sqlite, floor="pull.floor", at_least=0.5),
    "pull.hubspot.postgres": Case(run=pull_postgres, floor="pull.floor", needs=("postgres",), at_least=0.45),
    "pull.hubspot.kafka": Case(run=pull_kafka, floor="pull.floor", needs=("kafka",), at_least=0.35),
    "reread.hubspot.sqlite": Case(run=reread_sqlite, floor="pull.floor", at_least=2.0),
    **{
        f"push.{name}.{milli}ms{bare}": Case(
            run=push_floor if bare else push_sqlite,
            floor="" if bare else f"push.{name}.{milli}ms.floor",
            at_least=0.0 if bare else 0.7,
            page=page,
            latency_s=milli / 1000,
            share=share,
        )
        for name, page, share in (("single", 1, 20), ("batch", 100, 2))
        for milli in (0, 50)
        for bare in (".floor", "")
    },
    "relay.floor": Case(run=relay_floor, needs=("kafka",)),
    "relay.sqlite": Case(run=relay_sqlite, floor="relay.floor", needs=("kafka",), at_least=0.5),
    "intake.floor": Case(run=intake_floor, needs=("kafka",)),
    "intake.sqlite": Case(run=intake_sqlite, floor="intake.floor", needs=("kafka",), at_least=0.4),
}
"""Every case by name, a floor before those that are compared with it."""
