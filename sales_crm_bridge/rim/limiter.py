"""The limiter: who may call now. Rate, named budgets, calls in flight, order, and what "too many calls" does to all of it."""

from __future__ import annotations

import asyncio
import heapq
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sales_crm_bridge.errors import Bug

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from sales_crm_bridge.ports import Clock
    from sales_crm_bridge.rim.terms import Terms

BURST_S = 0.01
"""Calls of so long a time may be made at once: less than one at the rates of CRMs, so those are evenly spaced."""

PACE_CUT = 0.5
PACE_GAIN = 1.02
PACE_MIN = 0.002
STRUGGLE_S = 10.0
"""After "too many calls" the rate is cut to ``PACE_CUT`` of itself; each success raises it by ``PACE_GAIN`` again. So an account
that allows less than we think costs one refused call for about every 35 served (ln ``PACE_CUT`` / ln ``PACE_GAIN``). When it
says so again within ``STRUGGLE_S`` of the last time, what it served since then is taken for what it allows."""

WINDOW_FIRST = 2.0
"""Calls in flight at the beginning, when nobody knows what the account will take; each success adds one."""


IN_A_ROW = 9
"""So many turns in a row go to more urgent work while less urgent work waits; the next one is for whoever of it came first."""


class Bucket:
    """A rate, exactly: the generic cell rate algorithm over integer microseconds.

    In any stretch of time T at most ``rate`` · T + burst calls conform; the burst is 1 for rates under 200 a second.
    """

    def __init__(self, rate: float) -> None:
        self._step_us = 1e6 / rate
        self._slack_us = (max(1, int(rate * BURST_S)) - 1) * self._step_us
        self._tat_us = 0.0
        self.pace = 1.0

    def due_us(self) -> int:
        """The earliest time at which a call conforms."""
        return int(-(-(self._tat_us - self._slack_us) // 1))

    def take(self, now_us: int) -> None:
        """Note one call at ``now_us``."""
        self._tat_us = max(self._tat_us, now_us) + self._step_us / self.pace

    def slower(self, allowed: float | None) -> None:
        """The CRM said "too many"; ``allowed``: calls a second that it seems to allow (None: nobody knows)."""
        seen = self.pace if allowed is None else max(allowed * self._step_us / 1e6, self.pace / 10)
        self.pace = max(PACE_MIN, min(seen, self.pace * PACE_CUT))

    def faster(self) -> None:
        """The CRM served a call."""
        self.pace = min(1.0, self.pace * PACE_GAIN)


@dataclass(slots=True)
class Turn:
    """The right to make one call. ``era``: how many times the account had been paused when it was given."""

    budget: str
    era: int


class Paused(Exception):
    """The account is paused for longer than a call should wait; ``until_us`` is when that is over."""

    def __init__(self, until_us: int) -> None:
        super().__init__(until_us)
        self.until_us = until_us


@dataclass(slots=True, eq=False)
class _Waiter:
    rank: int
    ticket: int
    budget: str
    granted: asyncio.Future[Turn]

    def __lt__(self, other: _Waiter) -> bool:
        return (self.rank, self.ticket) < (other.rank, other.ticket)


class Limiter:
    """One account's turns: by rank, then first come first served; a call that must be repeated keeps its ticket.

    Commands go before changes, those before audits, those before first imports; but every tenth turn goes to the longest waiting
    of the lower ranks, so that none of them stands still at a rate that the higher ones use up.

    ``too_many`` stops the whole account until the wait is over. Then one call goes alone, and only its success lets more
    follow: the window of calls in flight starts at 1, doubles per round trip up to half of what it was, and grows by one per
    round trip from there. A burst that the CRM turns away so costs a handful of calls, not one per waiting call.
    """

    def __init__(self, clock: Clock, terms: Terms, budgets: Mapping[str, float]) -> None:
        self._clock = clock
        self._terms = terms
        self._account = Bucket(terms.per_second)
        self._buckets = {name: Bucket(rate) for name, rate in sorted(budgets.items())}
        self._lanes: dict[str, list[_Waiter]] = {"": [], **{name: [] for name in self._buckets}}
        self._tickets = 0
        self._in_flight = 0
        self._window = min(WINDOW_FIRST, float(terms.in_flight))
        self._threshold = float(terms.in_flight)
        self._era = 0
        self._era_us = 0
        self._served = 0
        self._in_a_row = 0
        self._urgent_turns = 0
        self._paused_until_us = 0
        self._alarm: asyncio.Task[None] | None = None
        self._alarm_us = 0

    def ticket(self) -> int:
        """A place in the line, for all tries of one call."""
        self._tickets += 1
        return self._tickets

    @asynccontextmanager
    async def turn(self, rank: int, ticket: int, budget: str) -> AsyncIterator[Turn]:
        """Wait for a turn and hold it. Raises ``Paused`` rather than wait for longer than ``retry_max_s`` in a pause."""
        if budget not in self._lanes:
            raise Bug("bug.budget", f"the adapter's capabilities name no budget {budget!r}")
        if self._too_long():
            raise Paused(self._paused_until_us)
        waiter = _Waiter(rank, ticket, budget, asyncio.get_running_loop().create_future())
        heapq.heappush(self._lanes[budget], waiter)
        self._pump()
        try:
            turn = await waiter.granted
        except asyncio.CancelledError:
            if waiter.granted.done() and not waiter.granted.cancelled() and not waiter.granted.exception():
                self._leave()
            else:
                self._lanes[budget] = [other for other in self._lanes[budget] if other is not waiter]
                heapq.heapify(self._lanes[budget])
            raise
        try:
            yield turn
        finally:
            self._leave()

    def served(self, turn: Turn) -> None:
        """The CRM took the call of ``turn``."""
        if turn.era != self._era:
            return  # it left before the pause and proves nothing about now
        self._in_a_row = 0
        self._served += 1
        self._bucket(turn).faster()
        step = 1.0 if self._window < self._threshold else 1.0 / self._window
        self._window = min(float(self._terms.in_flight), self._window + step)
        self._pump()

    def too_many(self, turn: Turn, wait_s: float | None) -> None:
        """The CRM turned the call of ``turn`` away for the rate: nobody calls for ``wait_s`` (None: a pause that grows)."""
        pause_s = max(0.0, wait_s or 0.0)
        if turn.era == self._era:  # else it left before the pause: its own wish counts, nothing else
            if wait_s is None:
                pause_s = min(self._terms.burst_wait_s * 2 ** min(self._in_a_row, 16), self._terms.retry_max_s)
            self._era += 1
            self._in_a_row += 1
            self._threshold = max(1.0, self._window / 2)
            self._window = 1.0
            self._bucket(turn).slower(self._allowed())
            self._served, self._era_us = 0, self._clock.now_us()
        self._paused_until_us = max(self._paused_until_us, self._clock.now_us() + round(pause_s * 1e6))
        if self._too_long():
            for lane in self._lanes.values():
                for waiter in lane:
                    if not waiter.granted.done():
                        waiter.granted.set_exception(Paused(self._paused_until_us))
                lane.clear()
        self._pump()

    def close(self) -> None:
        """Let go of the alarm."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    @property
    def paused_until_us(self) -> int:
        """Until when the account is paused (0: it is not)."""
        return self._paused_until_us if self._paused_until_us > self._clock.now_us() else 0

    @property
    def pace(self) -> float:
        """The least share of its rate that the account or one of its budgets uses."""
        return min(bucket.pace for bucket in (self._account, *self._buckets.values()))

    @property
    def window(self) -> int:
        """Calls that may be in flight now."""
        return int(self._window)

    @property
    def in_flight(self) -> int:
        """Turns held now."""
        return self._in_flight

    @property
    def waiting(self) -> int:
        """Calls that wait for a turn."""
        return sum(len(lane) for lane in self._lanes.values())

    def _bucket(self, turn: Turn) -> Bucket:
        return self._buckets.get(turn.budget, self._account)

    def _allowed(self) -> float | None:
        """Calls a second that were served since the last pause began (None: that was too long ago to tell)."""
        spent_s = (self._clock.now_us() - self._era_us) / 1e6
        return self._served / spent_s if 0 < spent_s <= STRUGGLE_S and self._served else None

    def _too_long(self) -> bool:
        return self._paused_until_us - self._clock.now_us() > self._terms.retry_max_s * 1e6

    def _leave(self) -> None:
        self._in_flight -= 1
        self._pump()

    def _pump(self) -> None:
        """Give every turn that can be given now, and set the alarm for the next one that only time holds back."""
        now_us = self._clock.now_us()
        while self._in_flight < int(self._window):
            if (first := self._next(now_us)) is None:
                return
            due_us, budget = first
            if due_us > now_us:
                self._wake_at(due_us)
                return
            waiter = self._pick(budget, now_us)
            budget = waiter.budget
            self._account.take(now_us)
            if budget:
                self._buckets[budget].take(now_us)
            self._in_flight += 1
            waiter.granted.set_result(Turn(budget, self._era))

    def _next(self, now_us: int) -> tuple[int, str] | None:
        """When the next turn can be given, and from which lane: the first in line among those that can go at that time."""
        gate_us = max(now_us, self._paused_until_us, self._account.due_us())
        best: tuple[int, _Waiter, str] | None = None
        for budget, lane in self._lanes.items():
            while lane and lane[0].granted.done():
                heapq.heappop(lane)  # cancelled while it waited
            if lane:
                due_us = max(gate_us, self._buckets[budget].due_us()) if budget else gate_us
                offer = (due_us, lane[0], budget)
                best = offer if best is None or offer[:2] < best[:2] else best
        return (best[0], best[2]) if best else None

    def _pick(self, budget: str, now_us: int) -> _Waiter:
        """Take out the one whose turn it is: the first of the lane ``budget``, or one of a lower rank whose tenth turn it is."""
        first = self._lanes[budget][0]
        lower = [
            waiter
            for name, lane in self._lanes.items()
            if not name or self._buckets[name].due_us() <= now_us
            for waiter in lane
            if waiter.rank > first.rank and not waiter.granted.done()
        ]
        self._urgent_turns = self._urgent_turns + 1 if lower else 0
        if self._urgent_turns <= IN_A_ROW:
            return heapq.heappop(self._lanes[budget])
        self._urgent_turns = 0
        chosen = min(lower, key=lambda waiter: waiter.ticket)
        lane = self._lanes[chosen.budget]
        lane.remove(chosen)
        heapq.heapify(lane)
        return chosen

    def _wake_at(self, due_us: int) -> None:
        if self._alarm is not None:
            if self._alarm_us <= due_us:
                return
            self._alarm.cancel()
        self._alarm_us = due_us
        self._alarm = asyncio.get_running_loop().create_task(self._wake(due_us), name="limiter alarm")

    async def _wake(self, due_us: int) -> None:
        await self._clock.sleep((due_us - self._clock.now_us()) / 1e6)
        self._alarm = None
        self._pump()
