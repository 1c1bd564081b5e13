"""The limiter by itself: exact rates on virtual time, order, and turns that come back."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sales_crm_bridge.rim.limiter import Bucket, Limiter, Paused
from sales_crm_bridge.rim.terms import Terms
from sales_crm_bridge.simulate.loop import VirtualClock, VirtualLoop, run

T = TypeVar("T")
S = 1_000_000


def on_virtual_time(make: Any) -> Any:
    """Run ``make(clock)``'s coroutine on a loop of its own."""
    loop = VirtualLoop()
    coroutine: Coroutine[Any, Any, Any] = make(VirtualClock(loop, 1_700_000_000 * S))
    return run(coroutine, loop)


@given(
    st.floats(0.1, 150, allow_nan=False),
    st.lists(st.floats(0, 3, allow_nan=False), min_size=1, max_size=60),
    st.integers(1, 8),
)
def test_no_stretch_of_time_holds_more_calls_than_the_rate_allows(
    rate: float, gaps: list[float], in_flight: int
) -> None:
    """Whenever calls come: between any two grants lie at least as many steps as calls, and none waits without need."""

    async def scene(clock: VirtualClock) -> list[tuple[int, int]]:
        limiter = Limiter(clock, Terms(per_second=rate, in_flight=in_flight), {})
        grants: list[tuple[int, int]] = []

        async def one(after: float) -> None:
            await clock.sleep(after)
            asked_us = clock.now_us()
            async with limiter.turn(0, limiter.ticket(), "") as turn:
                grants.append((asked_us, clock.now_us()))
                limiter.served(turn)

        at = 0.0
        tasks = []
        for gap in gaps:
            at += gap
            tasks.append(asyncio.ensure_future(one(at)))
        await asyncio.gather(*tasks)
        limiter.close()
        return grants

    grants = on_virtual_time(scene)
    step_us = S / rate
    times = [granted for _, granted in grants]
    for index, (asked, granted) in enumerate(grants):
        for earlier in range(index):
            assert granted - times[earlier] >= (index - earlier) * step_us - len(grants)
        earliest = max(asked, times[index - 1] + step_us if index else 0)
        assert granted <= earliest + len(grants)


@given(st.floats(200, 5000, allow_nan=False), st.integers(1, 400))
def test_a_bucket_of_a_fast_account_allows_ten_milliseconds_at_once(rate: float, calls: int) -> None:
    """At rates beyond a clock's grain a burst of 10 ms worth is allowed, and no more."""
    bucket, now_us = Bucket(rate), 1_000 * S
    for _ in range(calls):
        now_us = max(now_us, bucket.due_us())
        bucket.take(now_us)
    assert calls <= rate * (now_us - 1_000 * S + calls) / S + rate * 0.01 + 1


def test_calls_in_flight_are_bounded_and_a_finished_one_makes_room() -> None:
    """Never more than ``in_flight`` turns are held; none is lost when holders are cancelled or fail."""

    async def scene(clock: VirtualClock) -> None:
        limiter = Limiter(clock, Terms(per_second=1e6, in_flight=3), {})
        most = 0

        async def one(number: int) -> None:
            nonlocal most
            async with limiter.turn(0, limiter.ticket(), "") as turn:
                most = max(most, limiter.in_flight)
                await clock.sleep(1)
                limiter.served(turn)
                if number % 3 == 0:
                    raise ValueError

        tasks = [asyncio.ensure_future(one(number)) for number in range(40)]
        await clock.sleep(2.5)
        for task in tasks[::4]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert most == 3
        assert (limiter.in_flight, limiter.waiting) == (0, 0)

    on_virtual_time(scene)


def test_a_turn_given_to_a_call_that_was_just_cancelled_goes_to_the_next() -> None:
    """Cancellation in the very step of the grant loses no turn."""

    async def scene(clock: VirtualClock) -> None:
        limiter = Limiter(clock, Terms(per_second=1e6, in_flight=1), {})
        held = limiter.turn(0, limiter.ticket(), "")
        await held.__aenter__()

        async def wait() -> None:
            async with limiter.turn(0, limiter.ticket(), ""):
                pass

        first, second = asyncio.ensure_future(wait()), asyncio.ensure_future(wait())
        await clock.sleep(0)
        await held.__aexit__(None, None, None)  # grants the first …
        first.cancel()  # … which is cancelled before it could run
        await second
        assert first.cancelled() or first.done()
        assert limiter.in_flight == 0

    on_virtual_time(scene)


def test_a_repeated_call_keeps_its_place() -> None:
    """The ticket of the first try counts: a call that was turned away is not sent to the end of the line."""

    async def scene(clock: VirtualClock) -> None:
        limiter = Limiter(clock, Terms(per_second=1e6, in_flight=1), {})
        order: list[str] = []

        async def one(name: str, ticket: int) -> None:
            async with limiter.turn(0, ticket, ""):
                order.append(name)

        early, late = limiter.ticket(), limiter.ticket()
        async with limiter.turn(0, limiter.ticket(), ""):
            tasks = [asyncio.ensure_future(one("late", late)), asyncio.ensure_future(one("early", early))]
            await clock.sleep(1)
        await asyncio.gather(*tasks)
        assert order == ["early", "late"]

    on_virtual_time(scene)


def test_a_call_of_a_slow_budget_does_not_hold_up_the_others() -> None:
    """The budget's own rate binds its calls alone; those behind it in the line go on."""

    async def scene(clock: VirtualClock) -> None:
        limiter = Limiter(clock, Terms(per_second=100, in_flight=4), {"search": 1.0})
        began_us = clock.now_us()
        done: dict[str, float] = {}

        async def one(name: str, rank: int, budget: str) -> None:
            async with limiter.turn(rank, limiter.ticket(), budget) as turn:
                limiter.served(turn)
                done[name] = (clock.now_us() - began_us) / S

        await asyncio.gather(one("s1", 0, "search"), one("s2", 0, "search"), one("plain", 3, ""))
        assert done == {"s1": 0.0, "plain": pytest.approx(0.01), "s2": pytest.approx(1.0)}

    on_virtual_time(scene)


def test_a_pause_grows_while_probe_after_probe_is_turned_away() -> None:
    """Without a wish of the CRM: 1, 2, 4 … seconds, at most ``retry_max_s``; a success begins anew."""

    async def scene(clock: VirtualClock) -> None:
        limiter = Limiter(clock, Terms(per_second=1e6, in_flight=4, retry_max_s=10), {})
        pauses = []
        for _ in range(6):
            async with limiter.turn(0, limiter.ticket(), "") as turn:
                limiter.too_many(turn, None)
                pauses.append((limiter.paused_until_us - clock.now_us()) / S)
        assert pauses == [1, 2, 4, 8, 10, 10]
        async with limiter.turn(0, limiter.ticket(), "") as turn:
            limiter.served(turn)
        async with limiter.turn(0, limiter.ticket(), "") as turn:
            limiter.too_many(turn, None)
            assert limiter.paused_until_us - clock.now_us() == S
        limiter.close()

    on_virtual_time(scene)


def test_stragglers_of_one_storm_count_once() -> None:
    """Eight calls in flight are all turned away: one pause, one cut of the pace, the longest wish."""

    async def scene(clock: VirtualClock) -> None:
        limiter = Limiter(clock, Terms(per_second=1e6, in_flight=8), {})
        for _ in range(8):
            async with limiter.turn(0, limiter.ticket(), "") as turn:
                limiter.served(turn)
        turns = [limiter.turn(0, limiter.ticket(), "") for _ in range(8)]
        held = [await each.__aenter__() for each in turns]
        for wait_s, turn in zip([2.0, 3.0, None, None, 5.0, 1.0, None, 2.0], held, strict=True):
            limiter.too_many(turn, wait_s)
        assert limiter.paused_until_us - clock.now_us() == 5 * S
        assert limiter.pace == 0.5
        assert limiter.window == 1
        limiter.served(held[0])  # it left before the pause: no proof that the pause is over
        assert limiter.window == 1
        for each in turns:
            await each.__aexit__(None, None, None)
        limiter.close()

    on_virtual_time(scene)


def test_a_pause_that_is_too_long_is_told_at_once() -> None:
    """A call neither waits nor stays in the line when the account is paused for longer than ``retry_max_s``."""

    async def scene(clock: VirtualClock) -> None:
        limiter = Limiter(clock, Terms(per_second=1e6, in_flight=1, retry_max_s=10), {})
        async with limiter.turn(0, limiter.ticket(), "") as turn:
            waiting = asyncio.ensure_future(limiter.turn(0, limiter.ticket(), "").__aenter__())
            await clock.sleep(1)
            limiter.too_many(turn, 11.0)
        with pytest.raises(Paused):
            await waiting
        with pytest.raises(Paused) as caught:
            await limiter.turn(0, limiter.ticket(), "").__aenter__()
        assert caught.value.until_us == limiter.paused_until_us == clock.now_us() + 11 * S
        limiter.close()

    on_virtual_time(scene)


def test_less_urgent_work_gets_every_tenth_turn_and_the_most_urgent_the_others() -> None:
    """Commands that never end use the whole rate: changes, audits and first imports go on, each in its turn, at a tenth of it."""

    async def scene(clock: VirtualClock) -> list[int]:
        limiter = Limiter(clock, Terms(per_second=10, in_flight=4), {"search": 4.0})
        order: list[int] = []

        async def lane(rank: int, budget: str) -> None:
            while True:
                async with limiter.turn(rank, limiter.ticket(), budget) as turn:
                    order.append(rank)
                    limiter.served(turn)
                    await clock.sleep(0.2)

        lanes = [(0, "")] * 8 + [(1, "search"), (2, ""), (3, ""), (3, "")]
        tasks = [asyncio.ensure_future(lane(*one)) for one in lanes]
        await clock.sleep(200)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert (limiter.in_flight, limiter.waiting) == (0, 0)
        limiter.close()
        return order

    order = on_virtual_time(scene)
    assert len(order) >= 1990
    lower = [index for index, rank in enumerate(order) if rank]
    assert max(later - earlier for earlier, later in itertools.pairwise(lower)) == 10
    assert 0.09 * len(order) <= len(lower) <= 0.11 * len(order)
    assert all(order.count(rank) >= 40 for rank in (1, 2, 3))
