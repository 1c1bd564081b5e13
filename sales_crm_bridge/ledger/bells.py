"""Bells inside one process: hints that there is work, so that nobody has to ask the ledger again and again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Bells:
    """Who waits for which bell, and which bells rang while nobody did. Time is the event loop's alone."""

    def __init__(self) -> None:
        self._rung: set[str] = set()
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}

    def ring(self, bell: str) -> None:
        """Wake everybody who waits for ``bell``; if nobody does, the next one to wait for it comes back at once."""
        waiting = [one for one in self._waiting.get(bell, ()) if not one.done()]
        for one in waiting:
            one.set_result(None)
        if not waiting:
            self._rung.add(bell)

    def ring_waited(self) -> None:
        """Wake everybody, whatever they wait for: bells may have been missed."""
        for bell in list(self._waiting):
            self.ring(bell)

    async def wait(self, bells: Sequence[str], seconds: float) -> None:
        """Come back when one of ``bells`` rings, or rang since the last wait for it, or after ``seconds``."""
        heard = self._rung.intersection(bells)
        if heard:
            self._rung -= heard
            return
        loop = asyncio.get_running_loop()
        woken: asyncio.Future[None] = loop.create_future()
        timer = loop.call_later(max(0.0, seconds), _wake, woken)
        for bell in bells:
            self._waiting.setdefault(bell, []).append(woken)
        try:
            await woken
        finally:
            timer.cancel()
            self._leave(bells, woken)

    def _leave(self, bells: Iterable[str], woken: asyncio.Future[None]) -> None:
        for bell in bells:
            waiting = self._waiting[bell]
            waiting.remove(woken)
            if not waiting:
                del self._waiting[bell]


def _wake(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)
