"""The day's calls: never counted too low, shared by urgency, the reserve left alone, the account's own midnight."""

from __future__ import annotations

import asyncio
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


def test_each_kind_of_work_leaves_the_day_to_what_is_more_urgent() -> None:
    """A first import stops first, then an audit, then changes, then commands; the reserve is left whole by all of them."""
    stopped: dict[str, int] = {}

    async def scene(world: World) -> None:
        for purpose in ("backfill", "audit", "pull", "push"):
            call = post() if purpose == "push" else get()
            if purpose == "push":
                replies = await world.rim.converse(one_by_one(*(call for _ in range(100))), purpose=purpose)
                assert isinstance(replies[-1], NoReply)
            else:
                with pytest.raises(QuotaExhausted, match="it goes on at 2026-03-02T00:01:00Z") as caught:
                    await world.rim.converse(one_by_one(*(call for _ in range(100))), purpose=purpose)
                assert caught.value.retry_at_us == EPOCH_US + (18 * 3600 + 60) * S
            stopped[purpose] = len(world.far.seen)
            assert (world.rim.state().quota_until_us == 0) is (purpose != "push"), "commands may go on"
        for purpose in ("check", "push", "pull", "audit", "backfill"):
            with pytest.raises(
                QuotaExhausted, match=r"70 of 100 calls .* 30 are kept for the account's other programs"
            ):
                await world.rim.converse(saying(get()), purpose=purpose)
        await world.clock.sleep(18 * 3600 + 61)
        await world.rim.converse(saying(get()), purpose="backfill")

    play(scene, ok, per_day=100, reserve=30)
    assert stopped == {"backfill": 42, "audit": 49, "pull": 63, "push": 70}


@given(
    st.lists(st.sampled_from(["backfill", "audit", "pull", "push", "check", "others", "restart"]), max_size=25),
    st.integers(10, 60),
    st.integers(0, 30),
    st.integers(1, 8),
)
def test_the_reserve_is_never_crossed(steps: list[str], limit: int, reserve: int, in_flight: int) -> None:
    """Whatever calls, how many at once, over restarts, while others draw on the same day: no call of ours leaves too few."""
    left = [limit]
    crossed: list[int] = []
    greeting: list[str] = []

    def answer(_: Any) -> Any:
        if left[0] <= reserve and not greeting:
            crossed.append(left[0])
        left[0] -= 1
        return ok(x_left=str(left[0]))

    async def scene(world: World) -> None:
        for step in steps:
            match step:
                case "restart":
                    await world.rim.close()
                    world.restart()
                    greeting.append("a worker's first call tells it what others have used meanwhile")
                    await asyncio.gather(world.rim.converse(saying(get()), purpose="check"), return_exceptions=True)
                    greeting.clear()
                case "others":  # what they leave is seen with the next answer, so they leave us one
                    if left[0] > reserve + 3:
                        left[0] -= 3
                        await asyncio.gather(world.rim.converse(saying(get()), purpose="push"), return_exceptions=True)
                case purpose:
                    talks = [world.rim.converse(saying(get()), purpose=purpose) for _ in range(in_flight)]
                    await asyncio.gather(*talks, return_exceptions=True)

    play(scene, answer, per_day=limit, reserve=reserve, in_flight=in_flight, count_block=1)
    assert not crossed


def test_what_the_crm_says_is_left_is_less_by_what_is_under_way() -> None:
    """Four calls at once, and an answer that was made before the others arrived: together they stop where the reserve begins."""

    async def scene(world: World) -> None:
        await asyncio.gather(
            *(world.rim.converse(saying(get()), purpose="push") for _ in range(8)), return_exceptions=True
        )
        left, served = [12], list[int]()

        async def others(_: Any) -> Any:
            served.append(left[0])
            await world.clock.sleep(0.02 * (len(served) % 5))
            left[0] -= 1
            said = left[0]
            await world.clock.sleep(0.01 * (len(served) % 3))
            return ok(x_left=str(said))

        world.far.answer = others
        talks = [world.rim.converse(saying(get()), purpose="push") for _ in range(40)]
        await asyncio.gather(*talks, return_exceptions=True)
        assert 5 <= left[0] <= 8
        assert len(served) == 12 - left[0]

    play(scene, ok, per_day=100, reserve=5, in_flight=4)


def test_what_the_crm_says_is_left_counts_but_never_gives_more() -> None:
    """Others draw on the same budget: 5 left means 5 left; a generous answer does not lift our own limit."""

    async def scene(world: World) -> None:
        await world.rim.converse(saying(get()), purpose="push")
        assert world.rim.state().calls_left_day == 99
        world.far.answer = lambda _: ok(x_left="5")
        await world.rim.converse(saying(get()), purpose="push")
        assert world.rim.state().calls_left_day == 5
        world.far.answer = lambda _: ok(x_left="9999")
        with pytest.raises(QuotaExhausted):
            await world.rim.converse(saying(get()), purpose="pull")
        with pytest.raises(QuotaExhausted):
            await world.rim.converse(one_by_one(*(get() for _ in range(9))), purpose="push")
        assert len(world.far.seen) == 2 + 5

    play(scene, ok, per_day=100)


@pytest.mark.parametrize(("zone", "hours"), [("", 1.0), ("America/Los_Angeles", 2.0)])
def test_a_day_that_the_crm_calls_used_up_is_asked_about_hourly_where_its_midnight_is_not_known(
    zone: str, hours: float
) -> None:
    """A process that begins on a spent day cannot know the account's midnight: it asks once an hour, not the whole day later."""

    async def scene(world: World) -> None:
        world.rim.learn(account(zone))
        with pytest.raises(QuotaExhausted) as caught:
            await world.rim.converse(saying(get()), purpose="check")
        assert (caught.value.retry_at_us - EPOCH_US) / S == pytest.approx(hours * 3600 + 60 * (hours > 1), abs=1)
        for _ in range(20):
            with pytest.raises(QuotaExhausted):
                await world.rim.converse(saying(get()), purpose="check")
        assert len(world.far.seen) == 1

    play(scene, lambda _: (429, {"x-quota": "day"}, b""))


def test_a_process_that_begins_on_a_spent_day_goes_on_when_it_is_over_at_the_account() -> None:
    """By our count the day is spent in UTC, and it is the next one in Tokyo already: it greets within an hour, not at midnight."""

    async def scene(world: World) -> None:
        world.store.calls = {"2026-03-01": 100}
        await world.clock.sleep(10 * 3600)  # 16:00 in UTC, 01:00 in Tokyo
        with pytest.raises(QuotaExhausted) as caught:
            await world.rim.converse(saying(get()), purpose="check")
        assert (caught.value.retry_at_us - world.clock.now_us()) / S == pytest.approx(3600, abs=1)
        await world.clock.sleep(3600)
        with pytest.raises(QuotaExhausted):
            await world.rim.converse(saying(get()), purpose="push")
        await world.rim.converse(saying(get(), get()), purpose="check")
        world.rim.learn(account("Asia/Tokyo", per_day=100))
        await world.rim.converse(saying(get()), purpose="backfill")
        assert len(world.far.seen) == 3

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
