"""Relay: the outbox to Kafka. A fact leaves the outbox only when Kafka has acknowledged it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from sales_crm_bridge.contract import key_of
from sales_crm_bridge.observer import NOBODY
from sales_crm_bridge.repeats import Repeats
from sales_crm_bridge.state import DeadLetter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sales_crm_bridge.model import Published
    from sales_crm_bridge.observer import Observer
    from sales_crm_bridge.ports import Clock, FactSink, Ledger
    from sales_crm_bridge.state import Fence, OutboxRow

log = logging.getLogger(__name__)


def settled(rows: Sequence[OutboxRow], published: Published) -> list[int]:
    """The rows that are done: acknowledged, with no earlier row of the same key still open.

    An acknowledged row behind an open one of its key is published again after it (same ``message_id``), so that the last fact of
    a key on the topic is the newest.
    """
    acked = set(published.acked)
    refused = {seq for seq, _ in published.refused}
    if len(acked) + len(refused) == len(rows):
        return [row.seq for row in rows if row.seq in acked]
    blocked: set[bytes] = set()
    done: list[int] = []
    for row in rows:
        key = key_of(row.fact)
        if row.seq in refused:
            continue
        if row.seq not in acked or key in blocked:
            blocked.add(key)
        else:
            done.append(row.seq)
    return done


LANES = 64
"""Connections that get their part of one step, at most; where facts of more wait, they take turns."""


def fairly(eldest: Sequence[OutboxRow], parts: Sequence[OutboxRow], limit: int) -> list[OutboxRow]:
    """``limit`` facts by seq: ``parts``, which are some of each connection that waits, and as many of the ``eldest`` as have room.

    Both hold the oldest facts of each connection that they have any of, so what is taken is in order and without a hole.
    """
    taken = {row.seq: row for row in parts}
    for row in eldest:
        if len(taken) >= limit:
            break
        taken[row.seq] = row
    return [taken[seq] for seq in sorted(taken)]


class Relay:
    """Publishes the outbox under a lease: each connection's facts in their order, and none of them behind all of another's."""

    def __init__(self, ledger: Ledger, sink: FactSink, clock: Clock, batch: int, observer: Observer = NOBODY) -> None:
        self._ledger = ledger
        self._sink = sink
        self._clock = clock
        self._batch = batch
        self._observer = observer
        self._repeats = Repeats()
        self._after = 0
        self.trouble = ""

    async def step(self, fence: Fence) -> int:
        """Publish one batch of facts; gives how many are done. 0 with ``trouble`` set: Kafka is away."""
        rows = await self._next()
        if not rows:
            self.trouble = ""
            return 0
        began_us = self._clock.now_us()
        published = await self._sink.publish(rows)
        done = settled(rows, published)
        dead = [(seq, self._dead(seq, code, rows)) for seq, code in published.refused]
        if done or dead:
            await self._ledger.outbox_done(fence, done, dead)
        self._observer.facts(len(done), len(dead))
        self._observer.took("relay", (self._clock.now_us() - began_us) / 1e6)
        self.trouble = published.reason if len(done) + len(dead) < len(rows) else ""
        left_out = self._repeats.left_out(self.trouble, self._clock.now_us()) if self.trouble else None
        if left_out is not None:
            extra = {"event": "relay.no-kafka", "code": self.trouble, "left_out": left_out or None}
            log.warning("facts wait for Kafka", extra=extra)
        return len(done) + len(dead)

    async def _next(self) -> list[OutboxRow]:
        """The oldest facts; where more wait than one batch holds, the same number of each connection's go before the rest."""
        eldest = await self._ledger.outbox_read(0, self._batch)
        if len(eldest) < self._batch:
            return eldest
        lanes = await self._ledger.outbox_lanes(self._after, min(LANES, self._batch))
        whole = not self._after
        self._after = lanes[-1] if len(lanes) == min(LANES, self._batch) else 0
        if whole and len(lanes) == 1 and not self._after:
            return eldest
        parts = await self._ledger.outbox_read_lanes(lanes, self._batch // max(1, len(lanes)))
        return fairly(eldest, parts, self._batch)

    def _dead(self, seq: int, code: str, rows: Sequence[OutboxRow]) -> DeadLetter:
        row = next(row for row in rows if row.seq == seq)
        return DeadLetter(
            source=f"fact {row.message_id}",
            tenant=key_of(row.fact).partition(b"/")[0].decode(errors="replace"),
            lead_id="",
            code="relay.refused",
            message=f"Kafka refuses this fact for good: {code}",
            remedy="raise max.message.bytes of the topic, or make the mapped fields smaller; then `deadletters redrive` it",
            key=key_of(row.fact),
            payload=row.fact,
            headers=b"",
            created_us=self._clock.now_us(),
        )
