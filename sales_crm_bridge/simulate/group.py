"""Kafka's far side for several processes: the consumer group of the intent topic, and the topic of facts with a broker's faults."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from zlib import crc32

from sales_crm_bridge import contract
from sales_crm_bridge.model import Assigned, Batch, OutOfRange, Placed, Published, Revoked, SourceFault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from sales_crm_bridge.model import IntentRecord, Taken, TopicPartition
    from sales_crm_bridge.simulate.topic import Topics
    from sales_crm_bridge.state import OutboxRow


class Group:
    """Who reads which partition. ``committed``: what the members have told the group. ``away``: the broker answers nobody.

    ``held``: partitions that are given out to nobody for a while, as a lagging broker does it. ``unread``: offsets that retention
    took before anybody had read them.
    """

    def __init__(self, topics: Topics) -> None:
        self.topics = topics
        self.committed: dict[TopicPartition, int] = {}
        self.away = False
        self.held: set[int] = set()
        self.unread: set[tuple[int, int]] = set()
        self._members: list[Member] = []
        self._turn = 0

    def put(self, key: bytes, value: bytes, headers: Sequence[tuple[str, bytes]]) -> tuple[int, int]:
        """What a client of the domain does; gives partition and offset."""
        self.topics.put(key, value, headers)
        self.wake()
        partition = crc32(key) % len(self.topics.intents)
        return partition, len(self.topics.intents[partition]) - 1

    def wake(self) -> None:
        """Have every member look again."""
        for member in self._members:
            member.wake()

    def join(self, member: Member) -> None:
        """A process has come."""
        self._members.append(member)
        self._share()

    def leave(self, member: Member) -> None:
        """A process has gone, or was taken for dead."""
        if member in self._members:
            self._members.remove(member)
            self._share()

    def rebalance(self) -> None:
        """Share the partitions out another way than before."""
        self._turn += 1
        self._share()

    def again(self, back: int) -> None:
        """Deliver so many records of each partition once more, as after a rebalance that lost the group's offsets."""
        for member in self._members:
            member.back(back)

    def trim(self) -> None:
        """What retention does: everything that is there now is gone, whether it was read or not.

        Not where nobody has had a place yet: what was gone before the bridge began was never its own.
        """
        for number, log in enumerate(self.topics.intents):
            read = self.committed.get((contract.INTENT_TOPIC, number))
            if read is not None:
                self.unread.update((number, offset) for offset in range(read, len(log)))
                self.topics.lows[number] = len(log)

    def _share(self) -> None:
        for at, member in enumerate(self._members):
            numbers = [
                number for number in range(len(self.topics.intents)) if (number + self._turn) % len(self._members) == at
            ]
            member.assign([(contract.INTENT_TOPIC, number) for number in numbers])


class Member:
    """``ports.IntentSource`` of one process."""

    def __init__(self, group: Group, batch: int) -> None:
        self._group = group
        self._batch = batch
        self._assigned: list[TopicPartition] = []
        self._news: list[Taken] = []
        self._woken = asyncio.Event()
        self._closed = False
        self._turn = 0
        self.places: dict[TopicPartition, int] = {}

    def wake(self) -> None:
        """Look again."""
        self._woken.set()

    def assign(self, partitions: Sequence[TopicPartition]) -> None:
        """These are ours from now on, and no others."""
        gone = tuple(place for place in self._assigned if place not in partitions)
        new = tuple(place for place in partitions if place not in self._assigned)
        for place in gone:
            self.places.pop(place, None)
        if gone:
            self._news = [one for one in self._news if not (isinstance(one, Placed) and one.partition in gone)]
            self._news.append(Revoked(gone))
        if new:
            self._news.append(Assigned(new))
        self._assigned = list(partitions)
        self.wake()

    def back(self, records: int) -> None:
        """Read so many records of each partition again."""
        for place, offset in self.places.items():
            self.places[place] = min(offset, max(self._group.topics.lows[place[1]], offset - records))
        self.wake()

    async def batches(self) -> AsyncIterator[Taken]:
        """What comes, partition by partition in turn."""
        self._group.join(self)
        told = False
        while not self._closed:
            if self._news:
                yield self._news.pop(0)
                continue
            if self._group.away:
                if not told:
                    told = True
                    yield SourceFault("kafka.unreachable", "the broker is away", fatal=False)
                    continue
            else:
                told = False
                taken = self._next()
                if taken is not None:
                    yield taken
                    continue
            await self._woken.wait()
            self._woken.clear()

    def _next(self) -> Taken | None:
        topics = self._group.topics
        self._turn += 1
        order = self._assigned[self._turn % len(self._assigned) :] if self._assigned else []
        for place in (*order, *self._assigned):
            offset = self.places.get(place)
            if offset is None or place[1] in self._group.held:
                continue
            log, low = topics.intents[place[1]], topics.lows[place[1]]
            if not low <= offset <= len(log):
                del self.places[place]
                return OutOfRange(place, offset, low, len(log))
            if offset < len(log):
                records: list[IntentRecord] = log[offset : offset + self._batch]
                self.places[place] = offset + len(records)
                return Batch(records)
        return None

    async def start_at(self, places: dict[TopicPartition, int]) -> None:
        """Seek; a negative place is a time in milliseconds."""
        topics = self._group.topics
        for place, offset in places.items():
            if place not in self._assigned:
                continue
            if offset >= 0:
                self.places[place] = offset
                continue
            log = topics.intents[place[1]]
            kept = log[topics.lows[place[1]] :]
            later = [record.offset for record in kept if record.timestamp_us >= -offset * 1000]
            self.places[place] = later[0] if later else len(log)
            self._news.append(Placed(place, self.places[place]))
        self.wake()

    async def mark(self, places: dict[TopicPartition, int]) -> None:
        """Remember what was told to the group."""
        self._group.committed |= places

    async def close(self) -> None:
        """Leave the group."""
        self._closed = True
        self._group.leave(self)
        self.wake()


class Broker:
    """``ports.FactSink`` of every process: appends facts to the topic, unless the broker is ``away``.

    ``lose``: acknowledgements that get lost on the way, each after the facts were taken. ``part``: of that many batches, only the
    first facts are taken and acknowledged.
    """

    def __init__(self, topics: Topics, group: Group) -> None:
        self._topics = topics
        self._group = group
        self.lose = 0
        self.part = 0

    async def publish(self, rows: Sequence[OutboxRow]) -> Published:
        """Append the facts in order."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        turn.get_loop().call_soon(turn.set_result, None)
        await turn
        if self._group.away:
            return Published([], [], "kafka.unreachable")
        if self.part and len(rows) > 1:
            self.part -= 1
            some = rows[: (len(rows) + 1) // 2]
            self._topics.facts.extend(row.fact for row in some)
            return Published([row.seq for row in some], [], "kafka.timed-out")
        self._topics.facts.extend(row.fact for row in rows)
        if self.lose:
            self.lose -= 1
            return Published([], [], "kafka.timed-out")
        return Published([row.seq for row in rows], [])

    async def close(self) -> None:
        """Nothing is in flight."""
