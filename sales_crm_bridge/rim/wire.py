"""One call on the wire: the address it goes to, the headers it carries, the redirects it may follow, the clock it tells."""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

import httpx

from sales_crm_bridge.errors import Bug
from sales_crm_bridge.model import Effect, HttpReply
from sales_crm_bridge.rim.terms import REDIRECTS_MAX, AnswerLost

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sales_crm_bridge.model import HttpCall
    from sales_crm_bridge.ports import Clock, Transport

_PATH = re.compile(r"/[^\x00-\x20?#\\\x7f]*")
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_GOOD = range(200, 300)
JUMP_US = 5_000_000
"""The CRM's clock and ours do not drift apart by more between two answers."""
_OURS = {"accept": "application/json", "accept-encoding": "gzip", "user-agent": "sales-crm-bridge"}


class Wire:
    """Sends calls to one address and to no other: a redirect is followed only for a reading GET and to the same origin.

    So neither credentials nor data ever go where the tenant's file did not send them. ``sign_in_address``: where sign-in calls go,
    and they alone, if not to ``address``.
    """

    def __init__(
        self, address: str, transport: Transport, clock: Clock, timeout_s: float, sign_in_address: str = ""
    ) -> None:
        self._base = address.rstrip("/")
        self._sign_in_base = sign_in_address.rstrip("/") or self._base
        self._transport = transport
        self._clock = clock
        self._timeout_s = timeout_s
        self.skew_us = 0
        self._heard_us: int | None = None

    async def send(self, call: HttpCall, credentials: Sequence[tuple[str, str]]) -> HttpReply:
        """The CRM's answer. Raises ``NotSent`` or ``AnswerLost``; a redirect that is not followed counts as a lost answer."""
        if not _PATH.fullmatch(call.path):
            raise Bug("bug.path", f"not a path that can be sent: {call.method} with {len(call.path)} characters")
        headers = dict(_OURS)
        if call.body:
            headers["content-type"] = call.content_type
        headers |= {name.lower(): value for name, value in (*call.headers, *credentials)}
        base = self._sign_in_base if call.effect is Effect.SIGN_IN else self._base
        url = base + call.path + (f"?{urlencode(call.query, quote_via=quote)}" if call.query else "")
        for _ in range(REDIRECTS_MAX + 1):
            asked_us = self._clock.now_us()
            status, found, body = await self._transport.send(
                call.method, url, list(headers.items()), call.body, self._timeout_s
            )
            reply = HttpReply(
                status=status, headers=_joined(found), body=body, asked_us=asked_us, answered_us=self._clock.now_us()
            )
            if base == self._base:  # another host has a clock of its own
                self._hear_clock(reply)
            if status not in _REDIRECTS or "location" not in reply.headers:
                return reply
            url = _followed(call, url, reply.headers["location"])
        raise AnswerLost("http.redirect-refused", hopeless=True)

    def crm_now_us(self) -> int:
        """The CRM's clock, at the least: its ``Date`` is cut to seconds, and was written before we saw it."""
        return self._clock.now_us() + self.skew_us

    def _hear_clock(self, reply: HttpReply) -> None:
        """Learn how far the CRM's clock is ahead of ours. A jump is believed when the next answer says so too.

        A gateway's refusal has the gateway's clock, and one wrong time ahead would have windows of changes passed over.
        """
        said = reply.headers.get("date")
        if (
            not said or reply.headers.get("age", "0") != "0" or reply.status not in _GOOD
        ):  # a cache's answer tells an old time
            return
        try:
            heard_us = round(parsedate_to_datetime(said).timestamp()) * 1_000_000 - reply.answered_us
        except (ValueError, OverflowError):
            return
        before_us, self._heard_us = self._heard_us, heard_us
        if before_us is None or abs(heard_us - before_us) <= JUMP_US:
            self.skew_us = heard_us


def _joined(headers: Sequence[tuple[str, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in headers:
        key = name.lower()
        found[key] = f"{found[key]}, {value}" if key in found else value
    return found


def _followed(call: HttpCall, url: str, location: str) -> str:
    """The address to go on to; raises ``AnswerLost`` for one that may not be followed."""
    here = httpx.URL(url)
    try:
        there = here.join(location)
    except httpx.InvalidURL:
        raise AnswerLost("http.redirect-refused", hopeless=True) from None
    same = (there.scheme, there.host, there.port) == (here.scheme, here.host, here.port)
    if call.method != "GET" or call.effect is not Effect.READ or not same or there.userinfo:
        raise AnswerLost("http.redirect-refused", hopeless=True)
    return str(there)
