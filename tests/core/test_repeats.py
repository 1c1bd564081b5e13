"""While a state lasts, the log says so at once and then once a minute, with how often it was left out; the rooms keep to it."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from sales_crm_bridge.errors import LedgerBusy
from sales_crm_bridge.intake import Intaker
from sales_crm_bridge.kafka.client import Redactor
from sales_crm_bridge.model import Assigned, SourceFault, Taken
from sales_crm_bridge.repeats import EVERY_US, KINDS_MAX, Repeats

S = 1_000_000


class Clock:
    """A clock that only sleepers move."""

    def __init__(self) -> None:
        self.us = 1_790_000_000 * S

    def now_us(self) -> int:
        return self.us

    async def sleep(self, seconds: float) -> None:
        self.us += round(seconds * S)


def told(caplog: pytest.LogCaptureFixture, event: str) -> list[tuple[str, int]]:
    """The code and the number left out of each line about ``event``."""
    lines = [vars(record) for record in caplog.records if vars(record).get("event", "") == event]
    return [(line["code"], line["left_out"] or 0) for line in lines]


def test_a_kind_is_said_when_it_is_new_then_once_a_minute_with_the_number_left_out() -> None:
    """Two kinds that take turns are two states, each with a minute and a count of its own."""
    repeats = Repeats()
    said = [(at, kind, repeats.left_out(kind, at * S)) for at in range(130) for kind in ("away", "down")[: 1 + at % 2]]
    assert [one for one in said if one[2] is not None] == [
        (0, "away", 0),
        (1, "down", 0),
        (60, "away", 59),
        (61, "down", 29),
        (120, "away", 59),
        (121, "down", 29),
    ]


def test_no_number_of_kinds_is_kept_for_ever() -> None:
    """Beyond the limit the kind that was said longest ago is forgotten, and said as if it were new."""
    repeats = Repeats()
    assert {repeats.left_out(f"kind {number}", number) for number in range(KINDS_MAX + 1)} == {0}
    assert repeats.left_out("kind 2", EVERY_US - 1) is None
    assert repeats.left_out("kind 0", EVERY_US - 1) == 0


def test_what_librdkafka_says_again_and_again_is_a_line_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """Its lines about one broker differ in times, counts and the client's number; another broker's are others. No secret stands."""
    caplog.set_level(logging.INFO)
    now_s = 0.0
    redact = Redactor({"sasl.password": "s3cret"}, lambda: now_s)
    for number in range(700):
        now_s = number / 10
        for broker in ("b-1:9092", "b-2:9092"):
            text = (
                f"[thrd:{broker}/1]: {broker}/1: Connect to ipv4#10.0.0.1:9092 failed: refused s3cret "
                f"(after {number}ms in state CONNECT, {number} identical error(s) suppressed)"
            )
            redact.log(logging.ERROR, "%s [%s] %s", "FAIL", f"sales-crm-bridge#producer-{number}", text)
    redact.log(logging.INFO, "%s [%s] %s", "INFO", "sales-crm-bridge#producer-1", "something else")
    lines = [(record.getMessage(), vars(record)["left_out"]) for record in caplog.records]
    assert [(text.partition("[thrd:")[2][:3], left_out) for text, left_out in lines] == [
        ("b-1", None),
        ("b-2", None),
        ("b-1", 599),
        ("b-2", 599),
        ("", None),
    ]
    assert "s3cret" not in caplog.text


class Broken:
    """A topic whose cluster is away for 150 seconds and says so ten times a second; then a partition is assigned."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def batches(self) -> AsyncIterator[Taken]:
        for number in range(1500):
            yield SourceFault("kafka.transport", "refused", fatal=False)
            if number % 750 == 5:
                yield SourceFault("kafka.all-brokers-down", "all", fatal=False)
            await self._clock.sleep(0.1)
        yield Assigned((("topic", 0),))

    async def start_at(self, places: dict[tuple[str, int], int]) -> None:
        assert places


async def test_a_topic_that_is_away_is_a_line_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """However often the client complains: each code at once, then once a minute while it comes, with how often it came."""
    clock = Clock()

    class Ledger:
        async def places(self, _topic: str) -> dict[tuple[str, int], int]:
            return {("topic", 0): 1}

    async def renew() -> None:
        return None

    tenancy = cast("Any", type("Tenancy", (), {"earliest_us": 0}))
    await Intaker(cast("Any", Ledger()), cast("Any", Broken(clock)), clock, lambda: tenancy, renew=renew).run()
    assert told(caplog, "intake.no-kafka") == [
        ("kafka.transport", 0),
        ("kafka.all-brokers-down", 0),
        ("kafka.transport", 599),
        ("kafka.all-brokers-down", 0),
        ("kafka.transport", 599),
    ]


async def test_a_ledger_that_intake_waits_for_is_a_line_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """Intake tries every second, and says it once a minute."""
    clock = Clock()
    asked = 0

    class Source:
        async def batches(self) -> AsyncIterator[Taken]:
            yield Assigned((("topic", 0),))

        async def start_at(self, places: dict[tuple[str, int], int]) -> None:
            assert places

    class Ledger:
        async def places(self, _topic: str) -> dict[tuple[str, int], int]:
            nonlocal asked
            asked += 1
            if asked <= 100:
                raise LedgerBusy("ledger.busy", "not now")
            return {("topic", 0): 1}

    async def renew() -> None:
        return None

    tenancy = cast("Any", type("Tenancy", (), {"earliest_us": 0}))
    await Intaker(cast("Any", Ledger()), cast("Any", Source()), clock, lambda: tenancy, renew=renew).run()
    assert told(caplog, "intake.no-ledger") == [("ledger.busy", 0), ("ledger.busy", 59)]
