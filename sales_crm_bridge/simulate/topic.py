"""Kafka's two topics in memory, for a world without sockets: what a broker keeps, and nothing the bridge decides."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from zlib import crc32

from sales_crm_bridge import contract
from sales_crm_bridge.model import Assigned, Batch, IntentRecord, OutOfRange, Placed, Published

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from sales_crm_bridge.model import Taken, TopicPartition
    from sales_crm_bridge.state import OutboxRow


class Topics:
    """The intent topic with its partitions, and the facts in the order in which the broker took them."""

    def __init__(self, partitions: int, now_us: Callable[[], int]) -> None:
        self._now_us = now_us
        self.intents: list[list[IntentRecord]] = [[] for _ in range(partitions)]
        self.lows = [0] * partitions
        self.facts: list[bytes] = []
        self._arrived = asyncio.Event()

    def put(self, key: bytes, value: bytes, headers: Sequence[tuple[str, bytes]]) -> None:
        """What a client of the domain does: put an intent on the partition of its key."""
        partition = crc32(key) % len(self.intents)
        log = self.intents[partition]
        log.append(
            IntentRecord(
                topic=contract.INTENT_TOPIC,
                partition=partition,
                offset=len(log),
                key=key,
                value=value,
                headers=tuple(headers),
                timestamp_us=self._now_us(),
            )
        )
        self._arrived.set()

    def trim(self) -> None:
        """What retention does: the broker no longer has anything that is there now."""
        self.lows = [len(log) for log in self.intents]

    def wake(self) -> None:
        """Have a reader look again."""
        self._arrived.set()

    async def arrived(self) -> None:
        """Come back when an intent has arrived since the last time."""
        await self._arrived.wait()
        self._arrived.clear()


class TopicSource:
    """``ports.IntentSource`` over ``Topics``: one reader that has every partition."""

    def __init__(self, topics: Topics, batch: int = 100) -> None:
        self._topics = topics
        self._batch = batch
        self._places: dict[TopicPartition, int] = {}
        self._closed = asyncio.Event()
        self._placed: list[Placed] = []
        self.marked: dict[TopicPartition, int] = {}

    async def batches(self) -> AsyncIterator[Taken]:
        """All partitions are assigned at once; then whatever is there, partition by partition."""
        yield Assigned(tuple((contract.INTENT_TOPIC, number) for number in range(len(self._topics.intents))))
        while not self._closed.is_set():
            while self._placed:
                yield self._placed.pop(0)
            found = False
            for number, log in enumerate(self._topics.intents):
                place = self._places.get((contract.INTENT_TOPIC, number))
                if place is not None and not self._topics.lows[number] <= place <= len(log):
                    del self._places[(contract.INTENT_TOPIC, number)]
                    found = True
                    yield OutOfRange((contract.INTENT_TOPIC, number), place, self._topics.lows[number], len(log))
                    continue
                if place is None or place >= len(log):
                    continue
                records = log[place : place + self._batch]
                self._places[(contract.INTENT_TOPIC, number)] = place + len(records)
                found = True
                yield Batch(records)
            if not found:
                await self._idle()

    async def _idle(self) -> None:
        waits = [asyncio.ensure_future(self._topics.arrived()), asyncio.ensure_future(self._closed.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waits:
                task.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    async def start_at(self, places: dict[TopicPartition, int]) -> None:
        """Seek; a negative place is a time in milliseconds."""
        for place, offset in places.items():
            log = self._topics.intents[place[1]]
            if offset >= 0:
                self._places[place] = offset
            else:
                kept = log[self._topics.lows[place[1]] :]
                later = [record.offset for record in kept if record.timestamp_us >= -offset * 1000]
                self._places[place] = later[0] if later else len(log)
                self._placed.append(Placed(place, self._places[place]))
        self._topics.wake()

    async def mark(self, places: dict[TopicPartition, int]) -> None:
        """Remember what was committed to the group."""
        self.marked |= places

    async def close(self) -> None:
        """End ``batches``."""
        self._closed.set()


class TopicSink:
    """``ports.FactSink`` over ``Topics``: acknowledges everything, unless ``away``."""

    def __init__(self, topics: Topics) -> None:
        self._topics = topics
        self.away = False

    async def publish(self, rows: Sequence[OutboxRow]) -> Published:
        """Append the facts in order."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        turn.get_loop().call_soon(turn.set_result, None)
        await turn
        if self.away:
            return Published([], [], "the broker is away")
        self._topics.facts.extend(row.fact for row in rows)
        return Published([row.seq for row in rows], [])

    async def close(self) -> None:
        """Nothing is in flight."""
