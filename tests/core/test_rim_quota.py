"""The day's calls: never counted too low, the reserve kept for commands, the account's own midnight."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sales_crm_bridge.crm_http import NotSent
from sales_crm_bridge.errors import CrmUnavailable, QuotaExhausted
from sales_crm_bridge.model import Account, NoReply
from sales_crm_bridge.rim.breaker import Breaker
from sales_crm_bridge.rim.quota import DayQuota
from sales_crm_bridge.rim.terms import Terms
from sales_crm_bridge.simulate.loop import VirtualClock, VirtualLoop, run
from tests.core.rim_kit import EPOCH_US, S, World, get, ok, one_by_one, play, post, saying


def account(zone: str = "", per_day: int | None = None, left: int | None = None) -> Account:
    """What a check says."""
    return Account(account_id="1", name="", time_zone=zone, fields={}, calls_per_day=per_day, calls_left_day=left)


def test_calls_are_claimed_in_blocks_and_a_crash_counts_too_many_never_too_few() -> None:
    """120 calls take a few transactions; after every crash the ledger's count is at least the calls made."""

    async def scene(world: World) -> None:
        for _ in range(3):
            await world.rim.converse(one_by_one(*(get() for _ in range(40))), purpose="pull")
            assert world.store.calls["2026-03-01"] >= len(world.far.seen)
            world.restart()
        assert world.store.calls == {"2026-03-01": 150}
        assert world.store.transactions == 3

    play(scene, ok)


def test_the_reserve_is_for_commands_alone() -> None:
    """Pulls, audits and backfills stop before it; pushes use it to the last call, and the check with which a worker begins may."""

    async def scene(world: World) -> None:
        with pytest.raises(QuotaExhausted) as caught:
            await world.rim.converse(one_by_one(*(get() for _ in range(100))), purpose="backfill")
        assert len(world.far.seen) == 70
        assert caught.value.retry_at_us == EPOCH_US + (18 * 3600 + 60) * S
        for purpose in ("audit", "pull"):
            with pytest.raises(QuotaExhausted):
                await world.rim.converse(saying(get()), purpose=purpose)
        await world.rim.converse(saying(get()), purpose="check")
        assert world.rim.state().quota_until_us == 0, "commands may go on"
        replies = await world.rim.converse(one_by_one(*(post() for _ in range(40))), purpose="push")
        assert [isinstance(reply, NoReply) for reply in replies] == [False] * 29 + [True] * 11
        assert len(world.far.seen) == 100
        assert world.rim.state().quota_until_us == caught.value.retry_at_us

    play(scene, ok, per_day=100, reserve=30)


def test_what_the_crm_says_is_left_counts_but_never_gives_more() -> None:
    """Others draw on the same budget: 5 left means 5 left; a generous answer does not lift our own limit."""

    async def scene(world: World) -> None:
        await world.rim.converse(saying(get()), purpose="pull")
        assert world.rim.state().calls_left_day == 99
        world.far.answer = lambda _: ok(x_left="5")
        await world.rim.converse(saying(get()), purpose="pull")
        assert world.rim.state().calls_left_day == 5
        world.far.answer = lambda _: ok(x_left="9999")
        with pytest.raises(QuotaExhausted):
            await world.rim.converse(one_by_one(*(get() for _ in range(9))), purpose="pull")
        assert len(world.far.seen) == 2 + 5

    play(scene, ok, per_day=100)


def test_a_limit_that_only_the_crm_knows_is_learnt() -> None:
    """No limit in the file: the check's answer, or a header, brings one."""

    async def scene(world: World) -> None:
        await world.rim.converse(saying(get()), purpose="pull")
        assert world.rim.state().calls_left_day is None
        world.rim.learn(account(per_day=1000, left=10))
        assert world.rim.state().calls_left_day == 10

    play(scene, ok)


@pytest.mark.parametrize(
    ("zone", "hours"), [("America/New_York", 23), ("Asia/Tokyo", 9), ("Not/AZone", 18), ("", 18)], ids=str
)
def test_the_day_ends_at_the_accounts_own_midnight(zone: str, hours: int) -> None:
    """06:00 UTC is 01:00 in New York and 15:00 in Tokyo; an unknown zone counts as UTC."""

    async def scene(world: World) -> None:
        world.rim.learn(account(zone, per_day=5))
        with pytest.raises(QuotaExhausted) as caught:
            await world.rim.converse(one_by_one(*(get() for _ in range(6))), purpose="pull")
        assert caught.value.retry_at_us == EPOCH_US + (hours * 3600 + 60) * S
        await world.clock.sleep(hours * 3600 + 59)
        world.rim.state()
        with pytest.raises(QuotaExhausted):
            await world.rim.converse(saying(get()), purpose="pull")
        await world.clock.sleep(61)
        await world.rim.converse(saying(get()), purpose="pull")

    play(scene, ok)


@given(st.lists(st.sampled_from(["call", "crash", "hour", "left"]), max_size=80), st.integers(1, 40))
def test_the_ledger_never_counts_less_than_was_called(steps: list[str], block: int) -> None:
    """Whatever happens between: per day, the ledger's count is at least the calls that were let through."""
    loop = VirtualLoop()
    clock = VirtualClock(loop, EPOCH_US)
    kept: dict[str, int] = {}
    made: dict[str, int] = {}

    async def count(day: str, more: int) -> int:
        kept[day] = kept.get(day, 0) + more
        return kept[day]

    def fresh() -> DayQuota:
        return DayQuota(clock, Terms(per_second=1, per_day=None, count_block=block), count)

    async def main() -> None:
        quota = fresh()
        for step in steps:
            match step:
                case "call":
                    assert await quota.take("pull") is None
                    day = quota._day
                    made[day] = made.get(day, 0) + 1
                case "crash":
                    quota = fresh()
                case "left":
                    quota.left(10**6)
                case _:
                    await clock.sleep(3600 * 5)
            assert all(kept[day] >= calls for day, calls in made.items())

    run(main(), loop)


def test_the_breakers_pause_grows_with_every_probe_that_fails() -> None:
    """30, 60, 120 … up to the limit; one probe at a time; a success forgets it all."""
    loop = VirtualLoop()
    clock = VirtualClock(loop, EPOCH_US)

    async def main() -> None:
        breaker = Breaker(
            clock, Terms(per_second=1, breaker_faults=3, breaker_open_s=30, breaker_open_max_s=200), "acme/main"
        )
        fault, pauses = CrmUnavailable("http.timeout", "no answer", retry_at_us=0), []
        for call in range(1, 4):
            assert breaker.enter(call) == 0
            breaker.failed(call, fault)
        for call in range(4, 9):
            pauses.append((breaker.state()[1] - clock.now_us()) / S)
            assert breaker.enter(99) == breaker.state()[1]
            await clock.sleep(pauses[-1])
            assert breaker.enter(call) == 0
            assert breaker.state() == ("half-open", 0)
            assert breaker.enter(99) > clock.now_us()
            breaker.failed(99, fault)  # a straggler: the probe decides
            assert breaker.state() == ("half-open", 0)
            breaker.failed(call, fault)
        assert pauses == [30, 60, 120, 200, 200]
        await clock.sleep(200)
        breaker.enter(9)
        breaker.gave_up(9)  # the probe was cancelled: the next call is the probe
        assert breaker.enter(10) == 0
        breaker.worked()
        assert breaker.state() == ("closed", 0)

    run(main(), loop)


def test_a_sign_in_that_is_down_opens_the_breaker_too() -> None:
    """No token, no call: after enough of that the account is left alone."""

    async def scene(world: World) -> None:
        def answer(_: Any) -> Any:
            raise NotSent("http.connect-error")

        world.far.answer = answer
        for _ in range(3):
            with pytest.raises(CrmUnavailable):
                await world.rim.converse(saying(get()), purpose="pull")
        assert world.rim.state().breaker == "open"
        asked = len(world.far.seen)
        with pytest.raises(CrmUnavailable, match="left alone"):
            await world.rim.converse(saying(get()), purpose="pull")
        assert len(world.far.seen) == asked

    play(scene, ok, static=False, breaker_faults=3)
