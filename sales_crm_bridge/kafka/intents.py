"""The intent topic as a stream of values: ``ports.IntentSource`` over one consumer in one thread."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from operator import itemgetter, methodcaller
from typing import TYPE_CHECKING, cast

from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Consumer, KafkaError, KafkaException, TopicPartition

from sales_crm_bridge.contract import INTENT_TOPIC
from sales_crm_bridge.kafka.client import OneThread, Redactor, build, code_of, consumer_config, error_of, is_fatal, log
from sales_crm_bridge.model import Assigned, Batch, IntentRecord, OutOfRange, Placed, Revoked, SourceFault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from confluent_kafka import Message

    from sales_crm_bridge.kafka.client import KafkaSettings
    from sales_crm_bridge.model import Taken
    from sales_crm_bridge.model import TopicPartition as Place

EAGER_S = 0.02
REST_S = 0.5
"""Longest wait for a record inside one call, while something happens and at rest. A record ends the wait at once; an assignment, a
``start_at`` or a ``close`` waits for its end. It doubles from the one to the other, so an idle process wakes twice a second."""

LOOKUP_S = 5.0
"""Longest wait for a broker's answer about offsets."""

MARK_S = 1.0
"""The group hears of our progress at most this often."""

_VALUE = itemgetter(1)
_HEADERS = methodcaller("headers")
# Of a name that is not UTF-8 confluent-kafka 2.16 makes a broken list and leaves an exception behind. A plain method call that
# CPython has specialised does not look for one; a call through C does, and makes a SystemError of it.
_GONE = frozenset({KafkaError._AUTO_OFFSET_RESET, KafkaError._LOG_TRUNCATION})  # noqa: SLF001 - librdkafka's own codes


class KafkaIntents:
    """``ports.IntentSource`` over Kafka. Its place is told by the caller, so it never asks the group where to start.

    A partition is assigned to librdkafka only when ``start_at`` has named its place: before, nothing of it is fetched. So a new
    place is always "take it away, give it back at this offset", be it the first one, a rewind or the way out of a lost range.

    One task reads ``batches``. The next value is fetched when it is asked for: no queue grows behind a slow ledger (librdkafka
    itself fetches ahead, up to ``batch_bytes``). A caller that asks for nothing for ``max.poll.interval.ms`` (librdkafka: 5
    minutes) loses its partitions to others and hears of it with the next value.

    A revocation does not wait for the caller. It need not: what the caller already has may be written to the ledger beside the
    next owner's rows, since there an offset never moves back and an intent is taken once.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        """Raises ``ConfigError`` where librdkafka does not accept a setting. Connects with the first ``batches``."""
        self._settings = settings
        self._redact = Redactor(settings.client)
        config = consumer_config(settings) | {"error_cb": self._on_error, "on_commit": self._on_commit}
        self._consumer = build(Consumer, config, self._redact)
        self._thread = OneThread("kafka-intents")
        self._closed = False
        self._ready: deque[Taken] = deque()  # the thread appends, the loop takes
        # All below is the thread's alone, by number of partition: there is one topic.
        self._subscribed = False
        self._owned: set[int] = set()
        self._reading: set[int] = set()
        self._by_time: dict[int, int] = {}
        self._lost: dict[int, int] = {}
        self._marks: dict[int, int] = {}
        self._marked_at = 0.0
        self._wait_s = EAGER_S
        self._away = False

    # --- the loop's side ----------------------------------------------------------------------------------------------

    async def batches(self) -> AsyncIterator[Taken]:
        """As the port says. A value that was fetched when the reading task was cancelled comes first in the next ``batches``."""
        while not self._closed:
            if not self._ready:
                await asyncio.wrap_future(self._thread.do(self._take))
            while self._ready and not self._closed:
                yield self._ready.popleft()

    async def start_at(self, places: dict[Place, int]) -> None:
        """As the port says; a partition that is not ours (any more) is passed over.

        By time: the first record at or after it, the partition's end if there is none. A time that cannot be looked up now is
        looked up until it can, and each failure comes as a ``SourceFault``. On a rewind, records that were already read for the
        old place may still come first.
        """
        if not self._closed:
            await asyncio.wrap_future(self._thread.do(self._start, dict(places)))

    async def mark(self, places: dict[Place, int]) -> None:
        """As the port says; told at most every ``MARK_S`` and before a partition goes."""
        if not self._closed:
            self._thread.do(self._mark, dict(places))

    async def close(self) -> None:
        """Leave the group within ``close_s``; what was fetched and not taken stays in Kafka. Again: nothing."""
        if self._closed:
            return
        self._closed = True
        left = asyncio.wrap_future(self._thread.do(self._leave))
        self._thread.end()
        _, late = await asyncio.wait({left}, timeout=self._settings.close_s)
        if late:
            log.warning("the consumer did not leave its group in time", extra={"event": "kafka.left-late"})

    # --- the thread's side --------------------------------------------------------------------------------------------

    def _take(self) -> None:
        """Wait for something to happen and put it into ``_ready``; at most ``REST_S`` (and ``LOOKUP_S``, where a lookup is due)."""
        before = len(self._ready)
        try:
            if not self._subscribed:
                self._subscribe()
            self._look_up()
            self._commit(every_s=MARK_S)
            # Not consume() alone: it waits for a full list, and the first record is wanted at once.
            first = self._consumer.poll(self._wait_s)
            if first is not None:
                more = self._settings.batch_records - 1
                self._sort([first, *(self._consumer.consume(more, 0) if more else ())])
        except KafkaException as error:
            self._on_error(error_of(error))
            time.sleep(REST_S)  # a call that fails at once must not make a busy loop
        self._wait_s = EAGER_S if len(self._ready) > before else min(self._wait_s * 2, REST_S)

    def _subscribe(self) -> None:
        self._consumer.subscribe(
            [INTENT_TOPIC], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_revoke
        )
        self._subscribed = True

    def _on_assign(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        numbers = sorted(partition.partition for partition in partitions)
        consumer.incremental_assign([])  # the group has its answer; librdkafka fetches nothing yet
        self._owned.update(numbers)
        if numbers:
            self._ready.append(Assigned(tuple((INTENT_TOPIC, number) for number in numbers)))

    def _on_revoke(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        numbers = sorted(partition.partition for partition in partitions)
        assigned = [_tp(number) for number in numbers if number in self._reading]
        self._commit()
        self._reading.difference_update(numbers)
        self._owned.difference_update(numbers)
        for number in numbers:
            self._forget(number)
            self._marks.pop(number, None)
        if numbers:
            self._ready.append(Revoked(tuple((INTENT_TOPIC, number) for number in numbers)))
        consumer.incremental_unassign(assigned)

    def _on_error(self, error: KafkaError) -> None:
        self._away = True
        self._ready.append(SourceFault(code_of(error), self._redact(error.str()), is_fatal(error)))

    def _on_commit(self, error: KafkaError | None, _partitions: object) -> None:
        if error is not None:
            log.info(
                "the group did not hear of our progress", extra={"event": "kafka.not-marked", "code": code_of(error)}
            )

    def _sort(self, messages: Iterable[Message]) -> None:
        """Turn what librdkafka gave into values, in its order."""
        records: list[IntentRecord] = []
        size = 0
        for message in messages:
            error = message.error()
            number = cast("int", message.partition())
            if error is not None:
                records = self._hand_over(records)
                self._on_record_error(number, cast("int", message.offset()), error)
            elif number in self._reading:  # else it was read before a revocation that the same call served
                record = _record(number, message)
                bytes_more = len(record.key) + len(record.value)
                if size + bytes_more > self._settings.batch_bytes:
                    records, size = self._hand_over(records), 0
                records.append(record)
                size += bytes_more
        self._hand_over(records)

    def _hand_over(self, records: list[IntentRecord]) -> list[IntentRecord]:
        if records:
            self._away = False
            self._ready.append(Batch(records))
        return []

    def _on_record_error(self, number: int, offset: int, error: KafkaError) -> None:
        if error.code() in _GONE and number in self._reading:
            self._stop(number)
            self._lost[number] = offset
            self._look_up()
        elif error.code() not in _GONE:
            self._on_error(error)

    def _start(self, places: dict[Place, int]) -> None:
        try:
            for (topic, number), offset in places.items():
                if topic != INTENT_TOPIC or number not in self._owned:
                    continue
                self._stop(number)
                self._forget(number)
                if offset >= 0:
                    self._read(number, offset)
                else:
                    self._by_time[number] = -offset
        except KafkaException as error:
            self._on_error(error_of(error))
        self._look_up()

    def _read(self, number: int, offset: int) -> None:
        self._consumer.incremental_assign([_tp(number, offset)])
        self._reading.add(number)

    def _stop(self, number: int) -> None:
        if number in self._reading:
            self._reading.discard(number)
            self._consumer.incremental_unassign([_tp(number)])

    def _forget(self, number: int) -> None:
        self._by_time.pop(number, None)
        self._lost.pop(number, None)

    def _look_up(self) -> None:
        """Answer what needs a broker: bounds of lost ranges, places by time. What cannot be answered stays for the next turn."""
        try:
            for number, wanted in sorted(self._lost.items()):
                low, high = self._bounds(number)
                del self._lost[number]
                self._ready.append(OutOfRange((INTENT_TOPIC, number), wanted, low, high))
            if not self._by_time:
                return
            # The ends first: a record that comes between the two questions is at or after its partition's end.
            ends = {number: self._bounds(number)[1] for number in sorted(self._by_time)}
            times = [_tp(number, time_ms) for number, time_ms in sorted(self._by_time.items())]
            for found in self._consumer.offsets_for_times(times, LOOKUP_S):
                if found.error is not None:
                    self._on_error(found.error)
                    continue
                del self._by_time[found.partition]
                offset = found.offset if found.offset >= 0 else ends[found.partition]
                self._ready.append(Placed((INTENT_TOPIC, found.partition), offset))
                self._read(found.partition, offset)
        except KafkaException as error:
            self._on_error(error_of(error))

    def _bounds(self, number: int) -> tuple[int, int]:
        """The lowest offset there is and the one after the last, asked of the broker (under read_committed: the last stable)."""
        bounds = cast("tuple[int, int] | None", self._consumer.get_watermark_offsets(_tp(number), LOOKUP_S))
        if bounds is None:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "no answer about a partition's offsets"))  # noqa: SLF001
        return bounds

    def _mark(self, places: dict[Place, int]) -> None:
        self._marks.update({number: offset for (_, number), offset in places.items() if number in self._owned})

    def _commit(self, *, every_s: float = 0.0) -> None:
        now = time.monotonic()
        # Not while the cluster may be away: a commit under way holds up the consumer's close for a minute and more.
        if not self._marks or self._away or now - self._marked_at < every_s:
            return
        marks, self._marks, self._marked_at = self._marks, {}, now
        try:
            self._consumer.commit(offsets=[_tp(number, offset) for number, offset in marks.items()], asynchronous=True)
        except KafkaException as error:
            code = code_of(error_of(error))
            log.info("the group did not hear of our progress", extra={"event": "kafka.not-marked", "code": code})

    def _leave(self) -> None:
        self._commit()
        try:
            self._consumer.close()
        except (KafkaException, RuntimeError) as error:
            log.info("the consumer closed: %s", self._redact(str(error)), extra={"event": "kafka.close-failed"})


def _tp(number: int, offset: int = -1001) -> TopicPartition:
    return TopicPartition(INTENT_TOPIC, number, offset)


def _record(number: int, message: Message) -> IntentRecord:
    kind, milliseconds = message.timestamp()
    try:
        headers = cast("list[tuple[str, bytes | None]]", _HEADERS(message) or ())
    except SystemError:  # the value's own meta must do
        place = f"{INTENT_TOPIC}[{number}]@{message.offset()}"
        log.warning("a record's headers cannot be read", extra={"event": "kafka.headers-lost", "place": place})
        headers = []
    if None in map(_VALUE, headers):
        headers = [(name, value or b"") for name, value in headers]
    return IntentRecord(
        topic=INTENT_TOPIC,
        partition=number,
        offset=cast("int", message.offset()),
        key=message.key() or b"",
        value=message.value() or b"",
        headers=tuple(cast("list[tuple[str, bytes]]", headers)),
        timestamp_us=0 if kind == TIMESTAMP_NOT_AVAILABLE else milliseconds * 1000,
    )
