"""The worker of one CRM account: pushes and pulls for as long as its lease holds, and survives what the world does to it."""

from __future__ import annotations

import asyncio
import logging
import traceback
from typing import TYPE_CHECKING

from sales_crm_bridge.bells import bell_commands, bell_inquiries, bell_notices
from sales_crm_bridge.errors import (
    BridgeError,
    ConnectionStopped,
    CrmUnavailable,
    EnvironmentFault,
    LeaseLost,
    LedgerBusy,
    OutboxFull,
    QuotaExhausted,
    RuntimeFault,
)
from sales_crm_bridge.observe import glance
from sales_crm_bridge.pull import Puller
from sales_crm_bridge.push import Pusher
from sales_crm_bridge.rim.quota import used_up
from sales_crm_bridge.state import Glance
from sales_crm_bridge.tasks import end, first

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sales_crm_bridge.answering import Answerer
    from sales_crm_bridge.desk import Desk
    from sales_crm_bridge.rim.terms import RimState
    from sales_crm_bridge.state import Fence

log = logging.getLogger(__name__)

IDLE_MAX_S = 30.0
GLANCE_S = 15.0
"""How often, at most, it is written down how the CRM is found."""
PAUSE_START_S = 1.0
PAUSE_MAX_S = 900.0


class Worker:
    """Runs push and pull of one connection under ``desk.fence`` until ``stop`` is called or the lease is lost.

    They run beside each other and fail apart: what stops pull does not cut off a write. ``still`` tells whether the fence may
    still be acted under; ``greet`` makes sure that the account is the right one, before any work; ``close`` lets go of its
    connections; ``rim`` tells how it finds the CRM; ``answerer`` reads the leads that calls ask for. A fault that a person must
    mend is written down and tried again with a growing pause; a fault of one connection never leaves this worker.
    """

    def __init__(
        self,
        desk: Desk,
        still: Callable[[Fence], bool],
        greet: Callable[[], Awaitable[None]],
        close: Callable[[], Awaitable[None]],
        rim: Callable[[], RimState],
        answerer: Answerer | None = None,
    ) -> None:
        self._desk = desk
        self._still = still
        self._greet = greet
        self._close = close
        self.rim = rim
        self._answerer = answerer
        self._glanced: tuple[bytes, int] = (b"", 0)
        self._stopping = asyncio.Event()
        self._said: tuple[str, str] = ("", "")
        self._fault: dict[str, BridgeError] = {}
        self.puller = Puller(desk)
        self.pusher = Pusher(desk)

    @property
    def desk(self) -> Desk:
        """Where it works."""
        return self._desk

    def stop(self) -> None:
        """Ask it to end after the steps under way."""
        self._stopping.set()

    def _on(self) -> bool:
        return not self._stopping.is_set() and self._still(self._desk.fence)

    async def run(self) -> None:
        """Work until asked to stop or until the lease is lost; leaves nothing half done that the next holder cannot take up."""
        try:
            await self._lane("greeting", self._greeted)
            if not self._on():
                return
            pushing = asyncio.create_task(self._lane("push", self._pushing), name=f"push {self._desk.tenant}")
            pulling = asyncio.create_task(self._lane("pull", self._pulling), name=f"pull {self._desk.tenant}")
            answering = asyncio.create_task(self._lane("answer", self._answering), name=f"answer {self._desk.tenant}")
            try:
                await first((pushing, pulling, answering))
                self._stopping.set()
                # Push ends after its step; the others only read and commit, so they may be cut off at once.
                await asyncio.wait((pushing,))
            finally:
                await end((pushing, pulling, answering))
        finally:
            await self._close()

    async def once(self, tell: Callable[[str, int], None]) -> None:
        """Carry out every open command that is due and read every feed to its present end; ``tell`` hears (feed, records read).

        A feed that finds no answer stays where it is, and the others go on. Raises what ``run`` would try again. Either way it is
        written down how the connection is, unless another process has it now.
        """
        try:
            await self._everything(tell)
        except LeaseLost:
            raise
        except (RuntimeFault, EnvironmentFault) as fault:
            self._fault["once"] = fault
            await self._say()
            raise
        if self._on():
            await self._say()

    async def _everything(self, tell: Callable[[str, int], None]) -> None:
        await self._greeted()
        self.puller.hurry(everything=True)
        while self._on() and await self.pusher.step():
            pass
        while self._on() and await self.puller.step() <= 0:
            for name, run in self.puller.runs.items():
                tell(name, run.read)

    async def close(self) -> None:
        """Let go of the connections to the CRM."""
        await self._close()

    # --- the lanes ----------------------------------------------------------------------------------------------------

    async def _lane(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Do ``work`` until it returns, again after whatever it raises; ends early when the lease is lost or we are to stop."""
        times = 0
        while self._on():
            before_us = self._desk.clock.now_us()
            try:
                await work()
            except LeaseLost:
                log.info("the lease is lost", extra={"event": "lease.lost", "tenant": self._desk.tenant})
                self._stopping.set()
                return
            except Exception as fault:  # noqa: BLE001 - one tenant's bug must not stop the others; it is said aloud
                if self._desk.clock.now_us() - before_us > PAUSE_MAX_S * 1e6:
                    times = 0
                await self._trouble(name, fault, times)
                times += 1
            else:
                self._fault.pop(name, None)
                return

    async def _greeted(self) -> None:
        await self._greet()
        await self.pusher.open()
        await self.puller.open()

    async def _pushing(self) -> None:
        desk = self._desk
        if "push" in self._fault:
            await self.pusher.open()  # what the fault has cut off is unknown
        while self._on():
            busy = await self.pusher.step()
            self._fault.pop("push", None)
            await self._say()
            if busy:
                continue
            next_us = await desk.ledger.commands_next_us(desk.conn)
            now_us = desk.clock.now_us()
            idle_s = IDLE_MAX_S if not next_us else min(IDLE_MAX_S, max(0.05, (next_us - now_us) / 1e6))
            await self._wait(bell_commands(desk.conn), idle_s)

    async def _pulling(self) -> None:
        if "pull" in self._fault:
            await self.puller.open()  # what the fault has cut off may be in the ledger, or not
        while self._on():
            idle_s = await self.puller.step()
            self._fault.pop("pull", None)
            await self._say()
            if idle_s > 0:
                await self._wait(bell_notices(self._desk.conn), min(idle_s, IDLE_MAX_S))

    async def _answering(self) -> None:
        desk = self._desk
        while self._on():
            busy = self._answerer is not None and await self._answerer.step()
            self._fault.pop("answer", None)
            await self._say()  # the other lanes say nothing while they wait for room
            if not busy:
                await self._wait(bell_inquiries(desk.conn), IDLE_MAX_S)

    async def _wait(self, bell: str, seconds: float) -> None:
        """Until the bell ("" none) rings, time is over, or the worker is asked to stop."""
        ringing = asyncio.ensure_future(
            self._desk.ledger.wait([bell], seconds) if bell else self._desk.clock.sleep(seconds)
        )
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await first((ringing, stopping))
            if ringing.done():
                ringing.result()
        finally:
            await end((ringing, stopping))

    # --- what is said -------------------------------------------------------------------------------------------------

    async def _trouble(self, lane: str, fault: Exception, times: int) -> None:
        """Write down what stands in the way, and wait before the next try."""
        least_s = 0.0
        match fault:
            case RuntimeFault() | EnvironmentFault():
                if isinstance(fault, CrmUnavailable):
                    least_s = (fault.retry_at_us - self._desk.clock.now_us()) / 1e6
                log.warning(
                    "%s is interrupted",
                    lane,
                    extra={
                        "event": "worker.interrupted",
                        "tenant": self._desk.tenant,
                        "lane": lane,
                        "code": fault.code,
                    },
                )
                self._fault[lane] = fault
            case _:
                # Foreign messages can hold a person's data: say what and where, not with which values.
                where = "".join(traceback.format_tb(fault.__traceback__))
                code = fault.code if isinstance(fault, BridgeError) else "bug.worker"
                log.error(
                    "a bug: %s",
                    type(fault).__name__,
                    extra={
                        "event": "worker.bug",
                        "tenant": self._desk.tenant,
                        "lane": lane,
                        "code": code,
                        "traceback": where,
                    },
                )
                remedy = "report it, with the traceback of the log; it is tried again by itself"
                self._fault[lane] = BridgeError(code, type(fault).__name__, remedy=remedy)
        await self._say()
        pause_s = min(PAUSE_START_S * 2 ** min(times, 12), PAUSE_MAX_S)
        await self._wait("", max(pause_s, min(least_s, PAUSE_MAX_S)))

    async def _say(self) -> None:
        """Write down how the connection is, where that has changed."""
        desk = self._desk
        await self._glance()
        lanes = [self._fault[lane] for lane in _LANES if lane in self._fault]
        faults = [*lanes, *(fault for fault in (self.pusher.trouble, self.puller.trouble) if fault is not None)]
        if desk.books.full:
            faults.append(outbox_full(desk.outbox_max))
        if (
            spent_us := self.rim().quota_until_us
        ):  # what waits for the reset since before this worker began tries nothing till then
            faults.append(used_up("by what is known of it", spent_us))
        worst = min(faults, key=lambda fault: _GRAVITY.get(type(fault), 0), default=None)
        state = "ok" if worst is None else _STATES.get(type(worst), "stopped")
        code = worst.code if worst is not None else ""
        if (state, code) == self._said:
            return
        message, remedy = (worst.message, worst.remedy) if worst is not None else ("", "")
        try:
            await desk.ledger.connection_say(desk.conn, state, code, message, remedy, desk.clock.now_us())
        except (LedgerBusy, EnvironmentFault) as fault:
            log.warning(
                "the connection's state could not be written down",
                extra={"event": "worker.state-not-written", "tenant": desk.tenant, "code": fault.code},
            )
            return
        self._said = (state, code)
        if worst is not None and state == "stopped":
            log.error("%s", worst, extra={"event": "connection.stopped", "tenant": desk.tenant, "code": code})

    async def _glance(self) -> None:
        """Write down how the CRM is found, where that has changed and some time has passed: ``status`` has no other way to know."""
        desk = self._desk
        before, at_us = self._glanced
        now_us = desk.clock.now_us()
        seen = glance(self.rim())
        if seen == before or now_us - at_us < GLANCE_S * 1e6:
            return
        self._glanced = (seen, now_us)
        try:
            await desk.ledger.glance(desk.fence, Glance(conn=desk.conn, at_us=now_us, state=seen))
        except (LedgerBusy, EnvironmentFault) as fault:
            extra = {"event": "worker.state-not-written", "tenant": desk.tenant, "code": fault.code}
            log.warning("could not write down how the CRM of %s is: %s", desk.tenant, fault.code, extra=extra)


def outbox_full(limit: int) -> OutboxFull:
    """Why nothing is pulled or pushed while ``limit`` facts wait."""
    return OutboxFull(
        "relay.outbox-full",
        f"{limit} facts of the connection wait for Kafka, so its pulls and pushes pause",
        remedy="nothing is lost, and it goes on by itself once Kafka takes facts: look at Kafka, its topic and the bridge's rights",
    )


_LANES = ("greeting", "push", "pull", "answer", "once")
_STATES: dict[type[BridgeError], str] = {
    QuotaExhausted: "quota",
    OutboxFull: "paused",
    CrmUnavailable: "unavailable",
    LedgerBusy: "unavailable",
    EnvironmentFault: "unavailable",
}
_GRAVITY: dict[type[BridgeError], int] = {
    ConnectionStopped: 1,
    QuotaExhausted: 2,
    CrmUnavailable: 3,
    OutboxFull: 4,
    LedgerBusy: 5,
}
