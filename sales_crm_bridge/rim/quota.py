"""The day's quota: how many calls the account has used of its calendar day, and who may use the rest."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sales_crm_bridge.errors import QuotaExhausted
from sales_crm_bridge.policy import shares
from sales_crm_bridge.units import time_text

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import tzinfo

    from sales_crm_bridge.ports import Clock
    from sales_crm_bridge.rim.terms import Terms

MIDNIGHT_MARGIN_S = 60
"""How long after its midnight we believe that an account's day has begun: clocks differ."""

PROBE_S = 3_600
"""How long a spent day is believed where nobody knows the account's midnight: then it is asked again."""


class DayQuota:
    """Counts calls per day of the account's own calendar, in blocks claimed from the ledger ahead of use.

    After a crash the unused rest of a block counts as used, so the count may be too high by ``count_block`` and is never too
    low. What the CRM says is left can only lower what we think is left: others draw on the same budget. Calls that are under way
    may not be in what it says yet, and are taken off it.
    """

    def __init__(self, clock: Clock, terms: Terms, count: Callable[[str, int], Awaitable[int]]) -> None:
        self._clock = clock
        self._count = count
        self._per_day = terms.per_day
        self._reserve = terms.reserve
        self._block = max(1, min(terms.count_block, (terms.per_day or terms.count_block * 100) // 100))
        self._zone: tzinfo = UTC
        self._zone_known = False
        self._day = ""
        self._claimed = 0
        self._unspent = 0
        self._under_way = 0
        self._empty_until_us = 0
        self._greet_us = 0
        self._said_empty = False
        self._claiming = asyncio.Lock()

    def account(self, zone: str, per_day: int | None, left: int | None) -> None:
        """What the account says of itself: its time zone (an unknown name leaves it as it is), its limit, what is left."""
        with contextlib.suppress(ZoneInfoNotFoundError, ValueError):
            if zone:
                self._zone, self._zone_known = ZoneInfo(zone), True
        if per_day is not None:
            self._per_day = per_day if self._per_day is None else min(per_day, self._per_day)
        if self._said_empty and self.empty_until_us:
            self._empty_until_us = self._reset_us()
        self.left(left)

    def left(self, calls: int | None) -> None:
        """The CRM says that ``calls`` are left of the day (None: it does not)."""
        if calls is None:
            return
        self._turn_page()
        if self._per_day is None:
            self._per_day = self.used + calls
        self._claimed = max(self._claimed, self._per_day - calls + self._under_way + self._unspent)

    def exhausted(self, wait_s: float | None) -> QuotaExhausted:
        """The CRM says that the day is used up, for ``wait_s`` (None: until the account's midnight); gives the fault to tell."""
        self._said_empty = wait_s is None
        until_us = self._reset_us() if wait_s is None else self._clock.now_us() + round(wait_s * 1e6)
        self._empty_until_us = until_us
        return _empty(until_us)

    def refusal(self, purpose: str) -> QuotaExhausted | None:
        """Why a call for ``purpose`` may not be made now (None: it may)."""
        if self._clock.now_us() < self._empty_until_us:
            return _empty(self._empty_until_us)
        self._turn_page()
        per_day, used = self._per_day, self.used
        if per_day is not None and used >= per_day - shares.kept(purpose, per_day, self._reserve):
            until_us = self.midnight_us() if self._zone_known or purpose != "check" else self._greeting_us()
            if until_us > self._clock.now_us():
                return _refused("quota.day", shares.stands_at(purpose, used, per_day, self._reserve), until_us)
        return None

    async def take(self, purpose: str) -> QuotaExhausted | None:
        """Count one call for ``purpose``, or say why it may not be made. Raises what the ledger raises, with nothing counted.

        Every call that is counted must end with ``ended``.
        """
        while (refused := self.refusal(purpose)) is None:
            if self._unspent > 0:
                self._unspent -= 1
                self._under_way += 1
                return None
            async with self._claiming:
                if self._unspent == 0:
                    await self._claim()
        return refused

    def ended(self) -> None:
        """A call that was counted has its answer, or will have none."""
        self._under_way -= 1

    async def _claim(self) -> None:
        self._turn_page()
        day = self._day
        total = await self._count(day, self._block)
        if day == self._day:
            self._claimed = max(total, self._claimed + self._block)
            self._unspent = self._block

    def _turn_page(self) -> None:
        """Start a new count when the account's calendar has a new date."""
        today = self._now().date().isoformat()
        if today != self._day:
            self._day, self._claimed, self._unspent = today, 0, 0

    def _now(self) -> datetime:
        seconds = self._clock.now_us() // 1_000_000 - MIDNIGHT_MARGIN_S
        return datetime.fromtimestamp(seconds, self._zone)

    def _greeting_us(self) -> int:
        """When a process that was told no time zone yet may greet on a day that is spent by our count: it may be over there."""
        self._greet_us = self._greet_us or self._clock.now_us() + PROBE_S * 1_000_000
        return min(self.midnight_us(), self._greet_us)

    def _reset_us(self) -> int:
        """When the account's day begins anew or, where its midnight is not known, when to ask again."""
        if self._zone_known:
            return self.midnight_us()
        return min(self.midnight_us(), self._clock.now_us() + PROBE_S * 1_000_000)

    def midnight_us(self) -> int:
        """When the account's next day begins, with the margin (epoch microseconds)."""
        tomorrow = self._now().date() + timedelta(days=1)
        begins = datetime(tomorrow.year, tomorrow.month, tomorrow.day, tzinfo=self._zone)
        return (round(begins.timestamp()) + MIDNIGHT_MARGIN_S) * 1_000_000

    @property
    def used(self) -> int:
        """Calls of the day used, ours and those of others that the CRM told us of."""
        return self._claimed - self._unspent

    @property
    def calls_left(self) -> int | None:
        """Calls left of the day (None: no limit is known)."""
        return None if self._per_day is None else max(0, self._per_day - self.used)

    @property
    def spent_until_us(self) -> int:
        """Until when not even a command may be carried out, by the CRM's word or by our own count (0: one may)."""
        spent = self.refusal("push")
        return spent.retry_at_us if spent is not None else 0

    @property
    def empty_until_us(self) -> int:
        """Until when the CRM says that the day is used up (0: it does not)."""
        return self._empty_until_us if self._empty_until_us > self._clock.now_us() else 0


def used_up(by_whom: str, until_us: int) -> QuotaExhausted:
    """The account's day is used up until then, ``by_whom`` says so."""
    return _refused("quota.day", f"the account's calls of the day are used up, {by_whom}", until_us)


def _empty(until_us: int) -> QuotaExhausted:
    return _refused("crm.quota-day", "the CRM says that the account's calls of the day are used up", until_us)


def _refused(code: str, why: str, until_us: int) -> QuotaExhausted:
    return QuotaExhausted(
        code,
        f"{why}; it goes on at {time_text(until_us - until_us % 1_000_000)}",
        retry_at_us=until_us,
        remedy="nothing; if this happens often, pull less often, or raise the limit (`limits.per_day`, or the account's own)",
    )
