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

    def __init__(self, leads: Sequence[str], acked: set[int], refused: set[int]) -> None:
        self.rows = {seq: row(seq, lead) for seq, lead in enumerate(leads, start=1)}
        self.acked, self.refused = acked, refused
        self.letters: list[DeadLetter] = []
        self.topic: list[int] = []
        self.us = 1

    async def outbox_read(self, after_seq: int, limit: int) -> list[OutboxRow]:
        return [one for seq, one in sorted(self.rows.items()) if seq > after_seq][:limit]

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


def relay(box: Box) -> Relay:
    return Relay(cast("Any", box), cast("Any", box), cast("Any", box), 100)


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
