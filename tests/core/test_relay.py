"""A fact leaves the outbox only when Kafka has acknowledged it, and the last fact of a key on the topic is the newest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sales_crm_bridge import contract
from sales_crm_bridge.model import Published
from sales_crm_bridge.relay import Relay, settled
from sales_crm_bridge.state import DeadLetter, Fence, OutboxRow

FENCE = Fence(lease="relay", holder="p", epoch=1)


def row(seq: int, lead: str) -> OutboxRow:
    page = contract.FactPage(tenant_id="acme", correlation_id="c", causation_id="c")
    made = page.fact(lead, seq, 1, contract.CrmLeadRemoved())
    return OutboxRow(seq=seq, message_id=made.message_id, fact=made.value, created_us=1)


class Box:
    """An outbox, and a broker that acknowledges and refuses what it is told to."""

    def __init__(
        self, leads: Sequence[str], acked: set[int], refused: set[int], conns: Sequence[int] | None = None
    ) -> None:
        self.rows = {seq: row(seq, lead) for seq, lead in enumerate(leads, start=1)}
        self.conns = dict(enumerate(conns or [1] * len(leads), start=1))
        self.acked, self.refused = acked, refused
        self.letters: list[DeadLetter] = []
        self.topic: list[int] = []
        self.us = 1

    async def outbox_read(self, after_seq: int, limit: int) -> list[OutboxRow]:
        return [one for seq, one in sorted(self.rows.items()) if seq > after_seq][:limit]

    async def outbox_lanes(self, after_conn: int, limit: int) -> list[int]:
        return sorted({self.conns[seq] for seq in self.rows if self.conns[seq] > after_conn})[:limit]

    async def outbox_read_lanes(self, conns: Sequence[int], limit: int) -> list[OutboxRow]:
        mine = {conn: [seq for seq in sorted(self.rows) if self.conns[seq] == conn][:limit] for conn in conns}
        return [self.rows[seq] for seq in sorted(seq for seqs in mine.values() for seq in seqs)]

    async def outbox_done(self, fence: Fence, acked: Sequence[int], dead: Sequence[tuple[int, DeadLetter]]) -> None:
        assert fence == FENCE
        for seq in (*acked, *(seq for seq, _ in dead)):
            del self.rows[seq]
        self.letters += [letter for _, letter in dead]

    async def publish(self, rows: Sequence[OutboxRow]) -> Published:
        acked = [one.seq for one in rows if one.seq in self.acked]
        self.topic += acked
        return Published(acked, [(one.seq, "MSG_SIZE_TOO_LARGE") for one in rows if one.seq in self.refused], "away")

    def now_us(self) -> int:
        return self.us


def relay(box: Box, batch: int = 100) -> Relay:
    return Relay(cast("Any", box), cast("Any", box), cast("Any", box), batch)


async def test_what_is_not_acknowledged_stays_and_is_published_again() -> None:
    """Half of a batch is acknowledged: the other half stays, whatever the broker said of its neighbours."""
    box = Box(["a", "b", "c", "d"], {1, 3}, set())
    one = relay(box)
    assert await one.step(FENCE) == 2
    assert sorted(box.rows) == [2, 4]
    assert one.trouble == "away"
    box.acked = {2, 4}
    assert await one.step(FENCE) == 2
    assert (box.rows, one.trouble) == ({}, "")


async def test_an_acknowledged_fact_behind_an_open_one_of_its_lead_comes_again_after_it() -> None:
    """Otherwise the older fact would be the last one of its key on the topic."""
    box = Box(["a", "b", "a"], {2, 3}, set())
    await relay(box).step(FENCE)
    assert sorted(box.rows) == [1, 3]


async def test_a_refused_fact_becomes_a_dead_letter_and_holds_back_nothing() -> None:
    """Too large for Kafka: kept whole, with the code; the lead's next fact goes on."""
    box = Box(["a", "a"], {2}, {1})
    assert await relay(box).step(FENCE) == 2
    assert not box.rows
    (letter,) = box.letters
    assert (letter.code, letter.tenant, letter.payload) == ("relay.refused", "acme", row(1, "a").fact)
    assert "MSG_SIZE_TOO_LARGE" in letter.message


async def test_a_connections_facts_do_not_wait_for_all_of_anothers() -> None:
    """Ten thousand facts of one connection came first: the few of the others go with the next batch, which is full all the same."""
    conns = [7] * 10_000 + [3, 9, 9]
    box = Box([f"{conn}-{number % 50}" for number, conn in enumerate(conns)], set(range(1, 10_004)), set(), conns)
    assert await relay(box).step(FENCE) == 100
    assert [box.conns[seq] for seq in box.topic].count(7) == 97
    assert box.topic[-3:] == [10_001, 10_002, 10_003]


@pytest.mark.parametrize("batch", [1, 2, 3, 7, 40, 100, 1000])
async def test_however_many_connections_wait_each_gets_its_turn_and_keeps_its_order(batch: int) -> None:
    """More connections than one batch serves: all is published once, in order, and the last one to begin waits for a round."""
    conns = [1] * 300 + [conn for conn in range(2, 200) for _ in range(3)]
    box = Box([f"{conn}" for conn in conns], set(range(1, len(conns) + 1)), set(), conns)
    one = relay(box, batch)
    steps, begun = 0, dict[int, int]()
    while box.rows:
        told = len(box.topic)
        assert await one.step(FENCE) == min(batch, len(conns) - told)
        steps += 1
        for seq in box.topic[told:]:
            begun.setdefault(box.conns[seq], steps)
    assert sorted(box.topic) == list(range(1, len(conns) + 1))
    for conn in set(conns):
        mine = [seq for seq in box.topic if box.conns[seq] == conn]
        assert mine == sorted(mine)
    lanes = min(64, batch)
    assert max(begun.values()) <= -(-199 // lanes) + 1


async def test_facts_that_wait_are_a_line_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """A cluster that refuses at once is asked again with every new fact, and the log does not grow with them."""
    box = Box(["a"], set(), set())
    one = relay(box)
    for _ in range(700):
        await one.step(FENCE)
        box.us += 100_000
    assert one.trouble == "away"
    lines = [vars(record) for record in caplog.records]
    assert [(line["event"], line["code"], line["left_out"]) for line in lines] == [
        ("relay.no-kafka", "away", None),
        ("relay.no-kafka", "away", 599),
    ]


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=12), st.data())
def test_the_order_of_a_key_survives_any_pattern_of_acknowledgements(leads: list[str], data: st.DataObject) -> None:
    """What is done is acknowledged, and per key nothing is done behind something open."""
    rows = [row(seq, lead) for seq, lead in enumerate(leads, start=1)]
    acked = data.draw(st.sets(st.sampled_from([one.seq for one in rows])))
    done = set(settled(rows, Published(sorted(acked), [])))
    assert done <= acked
    for lead in set(leads):
        mine = [seq for seq, name in enumerate(leads, start=1) if name == lead]
        kept = [seq in done for seq in mine]
        assert kept == sorted(kept, reverse=True)
