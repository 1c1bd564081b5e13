"""How many calls an account lets through, and what the headers say about it (usage guide)."""

from __future__ import annotations

from collections import deque
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from sales_crm_bridge.sandbox.hubspot.refusals import Refusal

if TYPE_CHECKING:
    from sales_crm_bridge.sandbox.hubspot.settings import Account, Vices
    from sales_crm_bridge.sandbox.hubspot.tokens import Grant

WINDOW_MS = 10_000
BURST, SEARCH, DAY = "TEN_SECONDLY_ROLLING", "SECONDLY", "DAILY"


class Limits:
    """The counters: ten rolling seconds for each app, one for search, a day of the account's own time zone for private apps."""

    def __init__(self, account: Account) -> None:
        self._zone = account.zone
        self._bursts: dict[int, deque[int]] = {}
        self._searches: deque[int] = deque()
        self._day_ends_ms = 0
        self.used_today = 0

    def admit(self, grant: Grant, vices: Vices, now_ms: int, *, search: bool) -> None:
        """Count a call, or refuse it (429), which costs nothing. Search has a limit of its own instead of the burst limit."""
        self._turn_day(now_ms)
        if grant.is_private_app and self.used_today >= vices.per_day:
            raise limit_reached(DAY)
        calls, most, span, policy = (
            (self._searches, vices.search_per_s, 1000, SEARCH)
            if search
            else (self._bursts.setdefault(grant.app_id, deque()), _most(grant, vices), WINDOW_MS, BURST)
        )
        while calls and calls[0] <= now_ms - span:
            calls.popleft()
        if len(calls) >= most:
            raise limit_reached(policy)
        calls.append(now_ms)
        if grant.is_private_app:
            self.used_today += 1

    def headers(self, grant: Grant, vices: Vices, *, search: bool) -> list[tuple[str, str]]:
        """What the answer to a counted call says; the daily numbers are for private apps only, search says nothing of bursts."""
        told: list[tuple[str, str]] = []
        if grant.is_private_app and (not search or vices.search_daily_headers):
            told = [
                ("x-hubspot-ratelimit-daily", str(vices.per_day)),
                ("x-hubspot-ratelimit-daily-remaining", str(max(0, vices.per_day - self.used_today))),
            ]
        if not search:
            most = _most(grant, vices)
            left = max(0, most - len(self._bursts.get(grant.app_id, ())))
            told += [
                ("x-hubspot-ratelimit-interval-milliseconds", str(WINDOW_MS)),
                ("x-hubspot-ratelimit-max", str(most)),
                ("x-hubspot-ratelimit-remaining", str(left)),
                # Deprecated and no longer enforced, but still sent (recorded, October 2024).
                ("x-hubspot-ratelimit-secondly", str(most // 10)),
                ("x-hubspot-ratelimit-secondly-remaining", str(max(0, min(most // 10 - 1, left)))),
            ]
        return told

    def day_ends_ms(self, now_ms: int) -> int:
        """The next midnight where the account is."""
        self._turn_day(now_ms)
        return self._day_ends_ms

    def _turn_day(self, now_ms: int) -> None:
        if now_ms >= self._day_ends_ms:
            local = datetime.fromtimestamp(now_ms / 1000, self._zone)
            midnight = datetime(local.year, local.month, local.day, tzinfo=self._zone) + timedelta(days=1)
            self._day_ends_ms = round(midnight.timestamp() * 1000)
            self.used_today = 0


def limit_reached(policy: str) -> Refusal:
    """The 429 of one policy; it has no ``category``, and says nothing of when to come back."""
    return Refusal(
        429,
        None,
        f"You have reached your {policy.lower()} limit.",
        extra={"errorType": "RATE_LIMIT", "policyName": policy, "requestId": "0" * 32},
    )


def _most(grant: Grant, vices: Vices) -> int:
    return vices.burst_per_10_s if grant.is_private_app else vices.oauth_burst_per_10_s
