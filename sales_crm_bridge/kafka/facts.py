"""The integration facts' topic, and no other: ``ports.FactSink`` over one idempotent producer in one thread."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING

from confluent_kafka import KafkaError, KafkaException, Producer

from sales_crm_bridge.contract import FACT_TOPIC, outgoing
from sales_crm_bridge.kafka.client import OneThread, Redactor, build, code_of, error_of, log, producer_config
from sales_crm_bridge.model import Published

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sales_crm_bridge.contract import Framing, Record
    from sales_crm_bridge.kafka.client import KafkaSettings
    from sales_crm_bridge.state import OutboxRow

SLICE_S = 0.25
"""A waiting ``publish`` looks this often whether it should give up."""

ROOM_S = 0.1
"""Wait for room in librdkafka's queue (``queue.buffering.max.messages`` and ``.kbytes``)."""

_REFUSED = frozenset({KafkaError.INVALID_RECORD, KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE})
"""Kafka will never take it. Said of a whole message set, it is true of one of its facts at least."""


class _Sending:
    """What became of the rows of one attempt so far; the delivery reports write into it."""

    __slots__ = ("acked", "failed", "refused")

    def __init__(self) -> None:
        self.acked: list[int] = []
        self.refused: dict[int, str] = {}
        self.failed: dict[int, str] = {}

    def report(self, seq: int, error: KafkaError | None, _message: object) -> None:
        """Librdkafka's delivery report for row ``seq``."""
        if error is None:
            self.acked.append(seq)
        elif error.code() in _REFUSED:
            self.refused[seq] = code_of(error)
        else:
            self.failed[seq] = code_of(error)

    def settled(self) -> int:
        """How many rows have an end."""
        return len(self.acked) + len(self.refused) + len(self.failed)


class KafkaFacts:
    """``ports.FactSink`` over Kafka.

    It takes outbox rows, and the contract makes of a row's bytes a record of the one topic or raises; there is no other way in.

    Order: in each partition, and so for each key, the rows that are acknowledged are the first of those handed in, in that order;
    a row after one that was not acknowledged is not. (Idempotence keeps order inside a producer; the one deadline of a batch
    keeps it at the end of patience; and a batch that failed leaves its producer behind, so nothing of it comes later.) What was
    not acknowledged may have reached the topic all the same: publishing it again repeats it, with the same ``message_id``.

    The exception is a topic whose ``max.message.bytes`` is below ``MESSAGE_SET_BYTES``: there a broker can refuse a whole set for
    its size. Its rows are then sent one by one, so that only what is too large alone is refused, but behind rows of later sets.
    """

    def __init__(self, settings: KafkaSettings, framing: Framing | None = None) -> None:
        """Raises ``ConfigError`` where librdkafka does not accept a setting. ``framing``: that of a schema registry, if any."""
        self._settings = settings
        self._framing = framing
        self._redact = Redactor(settings.client)
        self._closing_at = float("inf")
        self._trouble = ""
        self._producer: Producer | None = self._connect()
        self._thread = OneThread("kafka-facts")

    async def publish(self, rows: Sequence[OutboxRow]) -> Published:
        """As the port says, within ``delivery_s`` (once more for rows that a broker refused as a set).

        ``reason`` is the code of the first failure. Calls are carried out one after the other.
        """
        if self._closing_at < float("inf"):
            return Published([], [], "kafka.closed")
        return await asyncio.wrap_future(self._thread.do(self._publish, rows))

    async def answers(self, limit_s: float = 5.0) -> str:
        """Ask the cluster for the topic: "" when it answers within ``limit_s``, else a code. Never raises.

        A cluster that keeps a batch of facts waiting that long counts as one that does not answer.
        """
        if self._closing_at < float("inf"):
            return "kafka.closed"
        asked = asyncio.wrap_future(self._thread.do(self._ask, limit_s))
        _, late = await asyncio.wait({asked}, timeout=limit_s)
        if late:
            asked.cancel()
            return "kafka.timed-out"
        return asked.result()

    async def close(self) -> None:
        """Give what is in flight ``close_s``, then disconnect. Again: nothing."""
        if self._closing_at < float("inf"):
            return
        self._closing_at = time.monotonic() + self._settings.close_s
        done = asyncio.wrap_future(self._thread.do(self._drop))
        self._thread.end()
        _, late = await asyncio.wait({done}, timeout=self._settings.close_s + 2 * SLICE_S)
        if late:
            log.warning("the producer did not disconnect in time", extra={"event": "kafka.left-late"})

    # --- the thread's side --------------------------------------------------------------------------------------------

    def _connect(self) -> Producer:
        return build(Producer, producer_config(self._settings) | {"error_cb": self._on_error}, self._redact)

    def _on_error(self, error: KafkaError) -> None:
        self._trouble = code_of(error)

    def _ask(self, limit_s: float) -> str:
        try:
            if self._producer is None:
                self._producer = self._connect()
            found = self._producer.list_topics(FACT_TOPIC, timeout=limit_s).topics[FACT_TOPIC].error
        except KafkaException as error:
            return code_of(error_of(error))
        except SystemError:
            return self._trouble or "kafka.unreachable"
        return code_of(found) if found is not None else ""

    def _publish(self, rows: Sequence[OutboxRow]) -> Published:
        # All of them first: a row that is no fact of ours raises before anything is sent.
        records = [(row.seq, outgoing(row.fact, framing=self._framing)) for row in rows]
        first = self._attempt(records)
        acked, refused, failed = first.acked, first.refused, first.failed
        if refused and len(acked) + len(refused) == len(rows):
            refused = {}
            for seq, record in records:  # refused as a set: alone, each one shows whether it was meant
                if seq in first.refused:
                    alone = self._attempt([(seq, record)])
                    acked += alone.acked
                    refused |= alone.refused
                    failed = failed | alone.failed
                    if not alone.acked and not alone.refused:
                        break
        elif refused:
            # Something else failed too; a later batch will show what is refused, in order.
            failed, refused = failed | refused, {}
        open_rows = len(rows) - len(acked) - len(refused)
        reason = (next(iter(failed.values()), "") or self._trouble or "kafka.timed-out") if open_rows else ""
        return Published(sorted(acked), sorted(refused.items()), reason)

    def _attempt(self, records: Sequence[tuple[int, Record]]) -> _Sending:
        """Send ``records`` and wait for every report, up to the deadline. After a failure the producer is left behind."""
        deadline = time.monotonic() + self._settings.delivery_s
        sending = _Sending()
        self._trouble = ""
        if self._producer is None:
            self._producer = self._connect()
        try:
            self._enqueue(self._producer, records, sending, deadline)
            while self._producer.flush(SLICE_S) and time.monotonic() < min(deadline, self._closing_at):
                pass
        except KafkaException as error:
            self._trouble = code_of(error_of(error))
        except SystemError:
            # confluent-kafka raises a fatal error out of flush(), and when it served a report in the same call, so.
            self._trouble = self._trouble or code_of(KafkaError(KafkaError._FATAL))  # noqa: SLF001
        if sending.failed or sending.settled() < len(records):
            self._drop()
        return sending

    def _enqueue(
        self, producer: Producer, records: Sequence[tuple[int, Record]], sending: _Sending, deadline: float
    ) -> None:
        for seq, record in records:
            while True:
                try:
                    producer.produce(
                        FACT_TOPIC,
                        record.value,
                        record.key,
                        headers=record.headers,  # type: ignore[arg-type] # a list is invariant
                        on_delivery=partial(sending.report, seq),
                    )
                except BufferError:
                    if time.monotonic() >= min(deadline, self._closing_at):
                        return
                    producer.poll(ROOM_S)
                    continue
                except KafkaException as error:
                    if error_of(error).code() not in _REFUSED:
                        raise
                    sending.refused[seq] = code_of(error_of(error))
                break

    def _drop(self) -> None:
        """Leave the producer behind, with all that it may still hold."""
        producer, self._producer = self._producer, None
        if producer is None:
            return
        try:
            producer.purge()
            producer.close()
        except (KafkaException, SystemError) as error:
            log.info("the producer closed: %s", self._redact(str(error)), extra={"event": "kafka.close-failed"})
