"""A process that slept through its lease makes no late call: its transport asks before every request."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from sales_crm_bridge.rim.terms import NotSent
from sales_crm_bridge.wiring import Fenced


class Line:
    """A transport that keeps what was sent."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.closed = False

    async def send(
        self, method: str, url: str, headers: Sequence[tuple[str, str]], body: bytes, timeout_s: float
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        """Keep the request; nothing is wrong with it."""
        self.sent.append(f"{method} {url} {dict(headers)} {body!r} {timeout_s}")
        return 200, [], b"{}"

    async def close(self) -> None:
        """Say that it was closed."""
        self.closed = True


def test_nothing_is_sent_once_the_lease_is_over() -> None:
    """Before: word for word. After: ``NotSent``, which proves that the CRM saw nothing; and it may be tried again."""
    line, held = Line(), [True]
    fenced = Fenced(line, lambda: held[0])

    async def ask() -> tuple[int, list[tuple[str, str]], bytes]:
        return await fenced.send("POST", "https://crm.example/leads", [("a", "b")], b"{1}", 7.0)

    assert asyncio.run(ask()) == (200, [], b"{}")
    held[0] = False
    with pytest.raises(NotSent) as caught:
        asyncio.run(ask())
    assert (caught.value.reason, caught.value.forbidden) == ("lease.lost", False)
    assert line.sent == ["POST https://crm.example/leads {'a': 'b'} b'{1}' 7.0"]


def test_closing_it_closes_the_inner_one_if_that_can_be_closed() -> None:
    """One that has no end of its own is left as it is."""
    line = Line()
    asyncio.run(Fenced(line, lambda: True).close())
    assert line.closed
    asyncio.run(Fenced(object(), lambda: True).close())  # type: ignore[arg-type]
