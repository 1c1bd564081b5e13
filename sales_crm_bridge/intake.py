"""Intake: the intent topic into the ledger. One batch is one transaction; our place in the topic is written with it."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from typing import TYPE_CHECKING, TypeVar, assert_never

import msgspec

from sales_crm_bridge import contract, gate
from sales_crm_bridge.admission import admit
from sales_crm_bridge.errors import EnvironmentFault, LedgerBusy, PlaceMoved, TenancyMoved
from sales_crm_bridge.model import Assigned, Batch, OutOfRange, Placed, Revoked, SourceFault
from sales_crm_bridge.observer import NOBODY
from sales_crm_bridge.repeats import Repeats
from sales_crm_bridge.state import DeadLetter, Gap, InboxRow, Intake

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from sales_crm_bridge.admission import Tenancy
    from sales_crm_bridge.model import IntentRecord, TopicPartition
    from sales_crm_bridge.observer import Observer
    from sales_crm_bridge.ports import Clock, IntentSource, Ledger

T = TypeVar("T")

log = logging.getLogger(__name__)

PAUSE_S = 1.0
GAP_FEED = "intents"

EARLIER_US = 600_000_000
"""So much before the earliest ``from`` the very first reading begins: a record's time is its producer's or its broker's, and need
not be the intent's. What is too old is passed over."""


class Intaker:
    """Takes intents in. ``tenancy`` is asked anew for every batch, so a changed tenant file holds from the next batch on.

    ``renew`` makes ``tenancy`` know what is in force in the ledger now. ``framed``: records carry a schema registry's framing.
    """

    def __init__(
        self,
        ledger: Ledger,
        source: IntentSource,
        clock: Clock,
        tenancy: Callable[[], Tenancy],
        *,
        renew: Callable[[], Awaitable[None]],
        framed: bool = False,
        observer: Observer = NOBODY,
    ) -> None:
        self._ledger = ledger
        self._source = source
        self._clock = clock
        self._tenancy = tenancy
        self._renew = renew
        self._framed = framed
        self._observer = observer
        self._asked: dict[TopicPartition, int] = {}
        self._repeats = Repeats()
        self.taken = self.repeated = self.dead = 0
        self.trouble = ""

    async def run(self) -> None:
        """Until the source is closed."""
        async for taken in self._source.batches():
            match taken:
                case Batch(records):
                    began_us = self._clock.now_us()
                    await self._take(records)
                    self._observer.took("intake", (self._clock.now_us() - began_us) / 1e6)
                case Assigned(partitions):
                    await self._start(partitions)
                case Placed(partition, offset):
                    # From now on the ledger knows our place: a topic trimmed before its first intent is a gap, not a new beginning.
                    placed = {partition: (self._asked.get(partition, 0), offset)}
                    now_us = self._clock.now_us()
                    await self._persist(Intake(rows=(), dead=(), offsets={}, placed=placed, now_us=now_us))
                case Revoked(partitions):
                    for place in partitions:
                        self._asked.pop(place, None)
                case OutOfRange():
                    await self._out_of_range(taken)
                case SourceFault():
                    self._no_kafka(taken)
                case _:
                    assert_never(taken)

    def _no_kafka(self, fault: SourceFault) -> None:
        """Kafka gives no intents now. Raises ``EnvironmentFault`` if no waiting helps."""
        self.trouble = fault.code
        if fault.fatal:
            raise EnvironmentFault(
                fault.code,
                fault.message,
                place=contract.INTENT_TOPIC,
                remedy="see `sales-crm-bridge check --online` for what Kafka lacks",
            )
        left_out = self._repeats.left_out(fault.code, self._clock.now_us())
        if left_out is not None:
            away = {"event": "intake.no-kafka", "code": fault.code, "left_out": left_out or None}
            log.warning("the intent topic is away", extra=away)

    async def _start(self, partitions: Sequence[TopicPartition]) -> None:
        """Begin where the ledger says we stand, and on the very first day at the time of the earliest ``from``."""
        topic = contract.INTENT_TOPIC
        # The tenants after the places: what a rewind has put in force with a place is known before anything is read there.
        known = await self._patiently(lambda: self._ledger.places(topic))
        await self._patiently(self._renew)
        first = -max(1, (self._tenancy().earliest_us - EARLIER_US) // 1000)
        places = {place: known.get(place, first) for place in partitions}
        self._asked |= places
        await self._source.start_at(places)
        self.trouble = ""

    async def look(self) -> None:
        """Follow a rewind that another process has asked for, also while no intent comes."""
        known = await self._ledger.places(contract.INTENT_TOPIC)
        moved = [
            place for place, asked in sorted(self._asked.items()) if known.get(place, 0) < 0 and known[place] != asked
        ]
        if moved:
            log.warning(
                "intake is rewound: partitions are read again",
                extra={"event": "intake.rewound", "partitions": len(moved)},
            )
            await self._start(moved)

    async def _take(self, records: Sequence[IntentRecord]) -> None:
        """Judge a batch and write it down; again where another process has put something else in force since we looked.

        So no intent is judged by a file that was already out of force, by however many processes.
        """
        while True:
            intake, passed_over = self._decide(records)
            try:
                taken = await self._persist(intake)
            except TenancyMoved:
                await self._patiently(self._renew)
                continue
            if taken:
                for reason, number in passed_over.items():
                    self._observer.intents("passed_over", number, reason)
            return

    def _decide(self, records: Sequence[IntentRecord]) -> tuple[Intake, Counter[gate.Reason]]:
        """What becomes of these records, and why those are passed over that are not ours."""
        tenancy = self._tenancy()
        now_us = self._clock.now_us()
        passed_over: Counter[gate.Reason] = Counter()
        rows: list[InboxRow] = []
        dead: list[DeadLetter] = []
        offsets: dict[TopicPartition, int] = {}
        for record in records:
            offsets[(record.topic, record.partition)] = record.offset + 1
            intent = contract.read_intent(record.value, record.headers, framed=self._framed)
            if isinstance(intent, contract.Unreadable):
                dead.append(self._dead_letter(record, intent, now_us))
                continue
            row = admit(tenancy, intent)
            if isinstance(row, gate.NotOurs):
                passed_over[row.reason] += 1
                continue
            rows.append(row)
        intake = Intake(rows=rows, dead=dead, offsets=offsets, now_us=now_us, tenancy=tenancy.number)
        return intake, passed_over

    def _dead_letter(self, record: IntentRecord, why: contract.Unreadable, now_us: int) -> DeadLetter:
        return DeadLetter(
            source=f"{record.topic}[{record.partition}]@{record.offset}",
            tenant=why.tenant_id,
            lead_id=why.aggregate_id,
            code=why.code,
            message=why.message,
            remedy=why.remedy,
            key=record.key,
            payload=record.value,
            headers=msgspec.msgpack.encode(record.headers),
            created_us=now_us,
        )

    async def _persist(self, intake: Intake) -> bool:
        """Write it; False if intake was rewound meanwhile, and begins at its new place."""
        try:
            new = await self._patiently(lambda: self._ledger.take(intake))
        except PlaceMoved:
            await self._start(sorted({*intake.offsets, *intake.reset, *intake.placed}))
            return False
        self.taken += sum(new)
        self.repeated += len(new) - sum(new)
        self.dead += len(intake.dead)
        self._observer.intents("taken", sum(new))
        self._observer.intents("repeated", len(new) - sum(new))
        self._observer.intents("unreadable", len(intake.dead))
        for letter in intake.dead:
            extra = {
                "event": "intake.dead-letter",
                "tenant": letter.tenant,
                "code": letter.code,
                "source": letter.source,
            }
            log.error("an intent cannot be read and is kept as a dead letter", extra=extra)
        self.trouble = ""
        places = dict(intake.offsets) | {place: offset for place, (_, offset) in intake.placed.items()}
        self._asked |= places
        await self._source.mark(places)
        return True

    async def _out_of_range(self, lost: OutOfRange) -> None:
        """The broker no longer has what we had not read, or has a topic made anew: open a gap for every tenant in force, and go on.

        We go on at the oldest record there is, never at the newest: the inbox knows what it has seen.
        """
        resume = lost.low
        tenancy = self._tenancy()
        now_us = self._clock.now_us()
        topic, partition = lost.partition
        gaps = [
            Gap(
                id=hashlib.blake2b(f"{conn}/{topic}/{partition}/{lost.wanted}".encode(), digest_size=8).hexdigest(),
                conn=conn,
                feed=GAP_FEED,
                from_us=0,
                to_us=now_us,
                cause=f"{topic}[{partition}] offsets {lost.wanted}..{resume} are gone",
                opened_us=now_us,
            )
            for conn in sorted({tenancy.conns[name] for name, one in tenancy.ownership.items() if not one.retired_us})
        ]
        log.error(
            "offsets %d..%d of %s[%d] are gone: a gap is open",
            lost.wanted,
            resume,
            topic,
            partition,
            extra={"event": "intake.gap-opened"},
        )
        reset = Intake(rows=(), dead=(), offsets={}, reset={lost.partition: resume}, now_us=now_us, gaps=gaps)
        if await self._persist(reset):
            await self._source.start_at({lost.partition: resume})

    async def _patiently(self, step: Callable[[], Awaitable[T]]) -> T:
        """Take a step of the ledger, again and again while it is busy or away: the topic keeps what we have not taken."""
        while True:
            try:
                return await step()
            except (LedgerBusy, EnvironmentFault) as fault:
                self.trouble = fault.code
                left_out = self._repeats.left_out(fault.code, self._clock.now_us())
                if left_out is not None:
                    waits = {"event": "intake.no-ledger", "code": fault.code, "left_out": left_out or None}
                    log.warning("intake waits for the ledger", extra=waits)
                await self._clock.sleep(PAUSE_S)
