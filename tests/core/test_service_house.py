"""Housekeeping forgets what the settings say, when they say, and nothing of what they say is kept for ever."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Any, cast

import pytest

from sales_crm_bridge.errors import EnvironmentFault, LedgerBusy
from sales_crm_bridge.service import HOUSE_LEASE, Limits, Service
from sales_crm_bridge.simulate.loop import VirtualClock, VirtualLoop, run

NOW_US = 1_790_000_000_000_000
DAY_S = 86_400.0
EVERY_S = 600.0
BATCH = 100

Answers = Sequence[int | Exception]


class Parts:
    """Keeper, ledger and clock in one: what the ledger was asked to forget, and when. It answers in turn, then with 0."""

    def __init__(self, answers: Answers, *, held: bool = True, takes_s: float = 0.0) -> None:
        self._answers = list(answers)
        self._takes_s = takes_s
        self._clock = VirtualClock(asyncio.get_running_loop(), NOW_US)
        self.now_us, self.sleep = self._clock.now_us, self._clock.sleep
        self.held = held
        self.asked: list[tuple[float, tuple[int, ...]]] = []

    def holds(self, lease: str) -> str | None:
        return "a fence" if self.held and lease == HOUSE_LEASE else None

    async def forget(self, commands_us: int, inbox_us: int, runs_us: int, limit: int, *, now_us: int) -> int:
        self.asked.append(((now_us - NOW_US) / 1e6, (commands_us, inbox_us, runs_us, limit)))
        assert len(self.asked) < 20, "it never comes to rest"
        await self.sleep(self._takes_s)
        answer = self._answers.pop(0) if self._answers else 0
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def times_s(self) -> list[float]:
        return [at_s for at_s, _ in self.asked]


def service_of(parts: Parts, keep_inbox_s: float = DAY_S) -> Service:
    limits = Limits(
        lease_s=20,
        renew_s=5,
        drain_s=25,
        reload_s=10,
        relay_idle_s=5,
        house_s=EVERY_S,
        keep_commands_s=2 * DAY_S,
        keep_inbox_s=keep_inbox_s,
        keep_runs_s=3 * DAY_S,
        forget_batch=BATCH,
    )
    part = cast("Any", parts)
    return Service(
        roster=part,
        keeper=part,
        ledger=part,
        clock=part,
        source=None,
        intaker=None,
        sink=part,
        relay=part,
        limits=limits,
    )


def kept(
    seconds: float, *answers: int | Exception, keep_inbox_s: float = DAY_S, held: bool = True, takes_s: float = 0.0
) -> Parts:
    """Keep house for so long, be asked to stop, and come to an end at once."""
    loop = VirtualLoop()

    async def main() -> Parts:
        parts = Parts(answers, held=held, takes_s=takes_s)
        service = service_of(parts, keep_inbox_s)
        keeping = asyncio.ensure_future(service._house())
        await parts.sleep(seconds)
        service.stop()
        await asyncio.wait_for(keeping, 1.0)
        return parts

    return run(main(), loop)


@pytest.mark.parametrize("keep_s", [DAY_S, math.inf])
def test_each_kind_of_row_is_kept_as_long_as_its_own_setting_says(keep_s: float) -> None:
    """Commands, ids of intents and runs before their own times; with ``forever`` no intent is that old."""
    day_us = round(DAY_S * 1e6)
    inbox_us = NOW_US - day_us if keep_s == DAY_S else 0
    asked = (NOW_US - 2 * day_us, inbox_us, NOW_US - 3 * day_us, BATCH)
    assert kept(1, keep_inbox_s=keep_s).asked == [(0.0, asked)]


def test_the_broom_goes_round_as_often_as_the_settings_say() -> None:
    """When it is first looked, and then in every interval; what is forgotten is reckoned from that time on."""
    parts = kept(2 * EVERY_S + 1, 3, BATCH - 1)
    assert parts.times_s == [0.0, EVERY_S, 2 * EVERY_S]
    assert [row[0] - NOW_US for _, row in parts.asked] == [round((at - 2 * DAY_S) * 1e6) for at in parts.times_s]


def test_a_full_batch_is_followed_by_the_next_one_at_once() -> None:
    """There is more to forget; the first batch that is not full is the last one of its round."""
    assert kept(EVERY_S + 1, BATCH, BATCH, BATCH - 1).times_s == [0.0, 0.0, 0.0, EVERY_S]


def test_the_first_round_comes_as_soon_as_the_lease_is_there() -> None:
    """A process that is started again more often than rounds are long still keeps house."""
    loop = VirtualLoop()

    async def main() -> list[float]:
        parts = Parts((), held=False)
        service = service_of(parts)
        keeping = asyncio.ensure_future(service._house())
        await parts.sleep(7)
        parts.held = True
        await parts.sleep(EVERY_S + 4)
        service.stop()
        await keeping
        return parts.times_s

    assert run(main(), loop) == [10.0, 10.0 + EVERY_S]


def test_only_the_holder_of_its_lease_keeps_house() -> None:
    """Of many processes one does; the others look again in the next interval."""
    assert kept(2 * EVERY_S, held=False).asked == []


@pytest.mark.parametrize("fault", [LedgerBusy("ledger.busy", "busy"), EnvironmentFault("ledger.full", "no room")])
def test_a_ledger_that_cannot_forget_is_asked_again_in_the_next_round(
    fault: LedgerBusy | EnvironmentFault, caplog: pytest.LogCaptureFixture
) -> None:
    """Said in the log with its code, no faster than ever, and the service goes on."""
    parts = kept(EVERY_S + 1, fault, BATCH)
    assert parts.times_s == [0.0, EVERY_S, EVERY_S]
    assert [(vars(one)["event"], vars(one)["code"]) for one in caplog.records] == [("house.no-ledger", fault.code)]


def test_a_fault_that_nobody_has_foreseen_is_not_swallowed() -> None:
    """It ends the part, and with it the service: a broom that stands still for ever would fill the disk unseen."""
    with pytest.raises(ZeroDivisionError):
        kept(1, ZeroDivisionError())


def test_being_asked_to_stop_ends_a_round_that_has_more_to_forget() -> None:
    """The batch under way ends, and no other begins."""
    assert kept(2.5, *[BATCH] * 9, takes_s=1.0).times_s == [0.0, 1.0, 2.0]


def test_a_change_of_tenants_brings_no_round_forward() -> None:
    """The keeper is woken by it, and may be long about it, with a slow ledger: nothing is forgotten more often for that."""
    loop = VirtualLoop()

    async def main() -> list[float]:
        parts = Parts(())
        service = service_of(parts)
        keeping = asyncio.ensure_future(service._house())
        await parts.sleep(1)
        service._nudge.set()  # as the reloading does; the keeper takes it back when it gets to it
        for _ in range(50):
            await parts.sleep(0.1)
        service.stop()
        await keeping
        return parts.times_s

    assert run(main(), loop) == [0.0]
