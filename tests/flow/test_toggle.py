"""Leads change hands under traffic: each intent is handled by one side, also where a replica has not looked at the files yet."""

from __future__ import annotations

import asyncio
import json
import random
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from sales_crm_bridge import contract, gate, wiring
from sales_crm_bridge.intake import Intaker
from sales_crm_bridge.ledger import open_ledger
from sales_crm_bridge.model import Assigned, Batch, IntentRecord
from sales_crm_bridge.roster import Roster, owners
from sales_crm_bridge.units import time_text
from tests.core.test_gate import DomainGate
from tests.flow.flow_kit import EPOCH_US, HERE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sales_crm_bridge.ledger.sql_ledger import SqlLedger
    from sales_crm_bridge.model import Taken, TopicPartition

SECOND_US = 1_000_000
TOGGLES, INTENTS = 8, 1_250
"""Ten thousand intents in all."""


class Clock:
    def __init__(self) -> None:
        self.us = EPOCH_US

    def now_us(self) -> int:
        return self.us

    async def sleep(self, _seconds: float) -> None:
        await asyncio.sleep(0)


class Hand:
    """An intent source that hands over what it is given, partition by partition."""

    def __init__(self, partition: int) -> None:
        self._partition = (contract.INTENT_TOPIC, partition)
        self._given: asyncio.Queue[Taken | None] = asyncio.Queue()
        self._given.put_nowait(Assigned((self._partition,)))
        self._next = self._marked = 0
        self._moved = asyncio.Event()

    async def batches(self) -> AsyncIterator[Taken]:
        while (taken := await self._given.get()) is not None:
            yield taken

    async def start_at(self, _places: dict[TopicPartition, int]) -> None:
        """It begins where it begins."""

    async def mark(self, places: dict[TopicPartition, int]) -> None:
        self._marked = places[self._partition]
        self._moved.set()

    async def all_taken(self) -> None:
        """Come back when everything that was given is in the ledger."""
        while self._marked < self._next:
            self._moved.clear()
            await self._moved.wait()

    async def close(self) -> None:
        self._given.put_nowait(None)

    def give(self, records: list[contract.Record]) -> None:
        topic, partition = self._partition
        made = [
            IntentRecord(
                topic=topic,
                partition=partition,
                offset=self._next + at,
                key=record.key,
                value=record.value,
                headers=tuple(record.headers),
                timestamp_us=0,
            )
            for at, record in enumerate(records)
        ]
        self._next += len(made)
        self._given.put_nowait(Batch(made))


class Replica:
    """A process that takes intents in from a partition of its own; it looks at the files when it is told to."""

    def __init__(self, partition: int, folder: Path, ledger: SqlLedger, clock: Clock) -> None:
        hire = cast("Any", None)
        self.roster = Roster(folder=folder, catalogue=wiring.catalogue(), ledger=ledger, clock=clock, hire=hire)
        self.source = Hand(partition)
        self.intaker = Intaker(ledger, self.source, clock, self.roster.tenancy, renew=self.roster.renew)
        self.running = asyncio.create_task(self.intaker.run())


def create(number: int, occurred_us: int) -> contract.Record:
    envelope = contract.intent(
        contract.CreateLeadRequested(lead=contract.Lead(lead_id=f"L-{number}", email=f"{number}@sales.example")),
        tenant_id="acme",
        aggregate_id=f"L-{number}",
        message_id=f"m-{number}",
        correlation_id="c",
        occurred_us=occurred_us,
        producer="sales-ui",
    )
    return contract.record_of(envelope)


@asynccontextmanager
async def two_replicas(
    folder: Path, clock: Clock, spans: list[tuple[str, int]]
) -> AsyncIterator[tuple[Path, SqlLedger, list[Replica]]]:
    """The tenant's file, the ledger, and two replicas that both look at them."""
    file = folder / "tenants" / "acme.yaml"
    file.parent.mkdir()
    file.write_text(file_with(spans))
    ledger = await open_ledger(f"sqlite:///{folder / 'ledger.db'}", migrate=True)
    replicas = [Replica(partition, file.parent, ledger, clock) for partition in range(2)]
    yield file, ledger, replicas
    for replica in replicas:
        await replica.source.close()
        await replica.running
    await ledger.close()


def file_with(spans: list[tuple[str, int]]) -> str:
    entry = "  - {owner: crm, from: 2026-01-01T00:00:00Z}\n"
    text = (HERE / "acme.yaml").read_text()
    assert entry in text
    entries = [f"  - {{owner: {owner}, from: {time_text(from_us)}}}\n" for owner, from_us in spans]
    return text.replace(entry, "".join(entries))


async def test_ten_thousand_intents_while_the_leads_change_hands_are_each_handled_by_one_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One replica has taken the changed file up, the other has not looked since; late intents come as well.

    The domain goes by the JSON that the bridge prints of what is in force.
    """
    monkeypatch.setenv("ACME_TOKEN", "a token")
    clock, rng = Clock(), random.Random(11)
    spans = [("crm", EPOCH_US - 60 * SECOND_US)]
    async with two_replicas(tmp_path, clock, spans) as (file, ledger, replicas):
        uttered: list[int] = []
        for toggle in range(TOGGLES):
            spans.append(("domain" if toggle % 2 == 0 else "crm", clock.us + 2 * SECOND_US))
            file.write_text(file_with(spans))
            quick = replicas[toggle // 2 % 2]
            await quick.roster.refresh()
            assert not quick.roster.findings
            clock.us += 10 * SECOND_US
            first = len(uttered)
            uttered += [clock.us - rng.randrange(25 * SECOND_US) for _ in range(INTENTS)]
            for number in range(first, len(uttered), 50):
                records = [create(at, uttered[at]) for at in range(number, min(number + 50, len(uttered)))]
                rng.choice(replicas).source.give(records)
            for replica in replicas:
                await replica.source.all_taken()
        assert len(uttered) == 10_000
        assert 2_000 < await ours_of(ledger, uttered) < 8_000


async def test_intents_of_a_tenant_that_is_retired_and_comes_back_are_each_handled_by_one_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Late ones that were uttered while its leads were the CRM's are the bridge's still: the domain has passed them over.

    They come before and after the replicas have looked, while it is retired, and when it is back; twice over.
    """
    monkeypatch.setenv("ACME_TOKEN", "a token")
    clock, rng = Clock(), random.Random(12)
    spans = [("crm", EPOCH_US - 60 * SECOND_US)]
    async with two_replicas(tmp_path, clock, spans) as (file, ledger, replicas):
        uttered: list[int] = []

        async def traffic() -> int:
            """Give both replicas intents of the last 25 seconds; tell how many of all are ours."""
            clock.us += 10 * SECOND_US
            first = len(uttered)
            uttered.extend(clock.us - rng.randrange(25 * SECOND_US) for _ in range(200))
            for number in range(first, len(uttered), 20):
                records = [create(at, uttered[at]) for at in range(number, number + 20)]
                rng.choice(replicas).source.give(records)
            for replica in replicas:
                await replica.source.all_taken()
            return await ours_of(ledger, uttered)

        ours = [await traffic()]
        for turn in range(2):
            retired_us = clock.us + SECOND_US
            assert await ledger.tenant_retire("acme", retired_us)
            ours += [await traffic(), await traffic(), await traffic(), await traffic()]
            assert ours[-4] < ours[-3]  # late ones
            assert ours[-2] == ours[-1]  # nobody utters so late
            spans += [("domain", retired_us), ("crm", clock.us + 2 * SECOND_US)]
            file.write_text(file_with(spans))
            await replicas[turn].roster.refresh()
            assert not replicas[turn].roster.findings
            ours += [await traffic(), await traffic()]
        assert ours == sorted(ours)


async def ours_of(ledger: SqlLedger, uttered: list[int]) -> int:
    """How many of these intents the bridge has taken; each of the others, and no more, is one that the domain handles.

    The domain goes by the JSON that the bridge prints now of what is in force.
    """
    domain = DomainGate(json.dumps(gate.gate_json(owners(await ledger.tenants(), wiring.catalogue()))))
    ours = 0
    for number, occurred_us in enumerate(uttered):
        taken = await ledger.known("acme", f"m-{number}") is not None
        occurred = datetime.fromisoformat(time_text(occurred_us))
        assert taken is not domain.handles("acme", "CreateLeadRequested", occurred), (number, time_text(occurred_us))
        ours += taken
    return ours
