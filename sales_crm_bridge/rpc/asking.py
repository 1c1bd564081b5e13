"""Asking: a lead is read by the holder of its account's lease, which may be another process; the ledger carries the question."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from sales_crm_bridge.bells import bell_answers, bell_inquiries
from sales_crm_bridge.errors import EnvironmentFault, LedgerBusy
from sales_crm_bridge.state import Answer, Inquiry
from sales_crm_bridge.tasks import end

if TYPE_CHECKING:
    from sales_crm_bridge.ports import Clock, Ledger

log = logging.getLogger(__name__)

LOOK_S = 1.0
"""Longest time between two looks for answers, and two rings for the holder: a bell is a hint and may be lost."""


class Asker:
    """Asks, and hands each answer to the one who waits for it. ``name``: this process's own, unlike any other's."""

    def __init__(self, ledger: Ledger, clock: Clock, name: str) -> None:
        self._ledger = ledger
        self._clock = clock
        self._name = name
        self._count = 0
        self._waiting: dict[str, tuple[int, asyncio.Future[Answer]]] = {}
        self._looking: asyncio.Task[None] | None = None

    async def ask(self, conn: int, lead_id: str, until_us: int) -> Answer | None:
        """What the holder of the connection's lease says of a lead; None: nothing before ``until_us``.

        Raises what the ledger raises when the question cannot be put.
        """
        now_us = self._clock.now_us()
        self._count += 1
        inquiry = Inquiry(
            id=f"{self._name}/{self._count}", conn=conn, lead_id=lead_id, asker=self._name, until_us=until_us
        )
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[inquiry.id] = (conn, answered)
        came = False
        try:
            await self._ledger.inquire(inquiry, now_us)
            if self._looking is None or self._looking.done():
                self._looking = asyncio.create_task(self._look(), name="asker")
            limit_s = (until_us - self._clock.now_us()) / 1e6
            await asyncio.wait((answered,), timeout=max(0.0, limit_s))
            came = answered.done()
            return answered.result() if came else None
        finally:
            del self._waiting[inquiry.id]
            if not came:
                await self._drop(inquiry.id)

    async def close(self) -> None:
        """Look no longer."""
        if self._looking is not None:
            await end((self._looking,))

    async def _look(self) -> None:
        """Take answers as they come, for as long as somebody waits for one."""
        while self._waiting:
            try:
                await self._ledger.wait([bell_answers(self._name)], LOOK_S)
                found = await self._ledger.answers_take(sorted(self._waiting))
                for name, answer in found.items():
                    if name in self._waiting and not self._waiting[name][1].done():
                        self._waiting[name][1].set_result(answer)
                for conn in sorted({conn for conn, answered in self._waiting.values() if not answered.done()}):
                    await self._ledger.ring(bell_inquiries(conn))
            except (LedgerBusy, EnvironmentFault) as fault:
                log.warning("answers cannot be looked for", extra={"event": "call.no-ledger", "code": fault.code})
                await self._clock.sleep(LOOK_S)

    async def _drop(self, name: str) -> None:
        try:
            await self._ledger.inquiry_drop(name)
        except (LedgerBusy, EnvironmentFault) as fault:
            log.info(
                "a question stays until its time is over", extra={"event": "call.question-left", "code": fault.code}
            )
