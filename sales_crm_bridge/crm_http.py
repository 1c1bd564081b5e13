"""The HTTP rim of one CRM account: runs an adapter's talks, and is the only place that calls a CRM.

``Rim`` makes the calls of a conversation, numbers them, and turns what became of them into what the talk and the rooms hear.
What stands between one call and the wire, and in which order, is ``rim.caller``.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from sales_crm_bridge.errors import BridgeError, ConnectionStopped, CrmUnavailable
from sales_crm_bridge.model import Effect, HttpReply, NoReply
from sales_crm_bridge.rim.caller import Caller, Job
from sales_crm_bridge.rim.hosts import HostRules
from sales_crm_bridge.rim.redact import MASK, Redactor
from sales_crm_bridge.rim.remedies import remedy_of
from sales_crm_bridge.rim.seal import Seal, SealBroken
from sales_crm_bridge.rim.signin import Vault
from sales_crm_bridge.rim.terms import (
    AnswerLost,
    Exchange,
    Miss,
    NotSent,
    RimState,
    Terms,
    gravity,
    rank,
    retry_at_us,
)
from sales_crm_bridge.rim.transport import HttpxTransport, SocketTransport, sockets
from sales_crm_bridge.tracing import Tracer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from sales_crm_bridge.model import Account, Reply, Secrets
    from sales_crm_bridge.ports import Clock, CrmAdapter, Dice, Talk, Transport
    from sales_crm_bridge.tracing import Open

__all__ = [
    "MASK",
    "AnswerLost",
    "Exchange",
    "HostRules",
    "HttpxTransport",
    "NotSent",
    "Redactor",
    "Rim",
    "RimState",
    "Seal",
    "SealBroken",
    "SocketTransport",
    "Terms",
    "sockets",
]

T = TypeVar("T")


class Rim:
    """``ports.Speaker`` for one CRM account, owned by the holder of its lease.

    A writing call is repeated only when it certainly took no effect; if its answer is lost the talk is told so. A reading call
    is repeated after any fault. After a "too many calls" the whole account pauses and goes on with one call. When the tries are
    over, a write is answered with ``NoReply`` and a read ends the talk with ``CrmUnavailable`` or ``QuotaExhausted``.
    ``ConnectionStopped`` from ``converse`` says besides that no write of that conversation can have taken effect; a stop that
    comes later in a conversation is raised by the next one.

    ``count`` adds calls to a day of the account in the ledger; ``keep_load`` and ``keep_save`` hold what a sign-in must keep,
    sealed with ``seal`` (None: there is no key, and an adapter that keeps something stops with a remedy). ``on_exchange`` sees
    every call and what the talk was answered. ``sign_in_address``: where sign-in calls go, if not to ``address``. ``name`` stands
    in logs and errors; ``tracer`` begins a span for each request (None: none); ``trace_out``: whether the CRM is told of it.
    """

    def __init__(
        self,
        *,
        name: str,
        adapter: CrmAdapter,
        address: str,
        transport: Transport,
        secrets: Secrets,
        clock: Clock,
        dice: Dice,
        terms: Terms,
        count: Callable[[str, int], Awaitable[int]],
        keep_load: Callable[[], Awaitable[bytes]],
        keep_save: Callable[[bytes], Awaitable[None]],
        seal: Seal | None = None,
        on_exchange: Callable[[Exchange], None] | None = None,
        tracer: Tracer | None = None,
        trace_out: bool = True,
        sign_in_address: str = "",
    ) -> None:
        self._name = name
        self._transport = transport
        self._clock = clock
        self._on_exchange = on_exchange
        self._redactor = Redactor(secrets.values.values())
        self._caller = Caller(
            name=name,
            adapter=adapter,
            address=address,
            sign_in_address=sign_in_address,
            transport=transport,
            secrets=secrets,
            clock=clock,
            dice=dice,
            terms=terms,
            count=count,
            vault=Vault(load=keep_load, save=keep_save, seal=seal),
            redactor=self._redactor,
            tracer=tracer or Tracer(clock, dice),
            trace_out=trace_out,
        )
        self._conversations = 0
        self._stopped: ConnectionStopped | None = None

    # --- what the rooms see -------------------------------------------------------------------------------------------

    async def converse(self, talk: Talk[T], *, purpose: str, causes: Sequence[Open] = ()) -> T:
        """Run ``talk`` to its end and return its value; see ``ports.Speaker`` and the class for what is raised."""
        first = rank(purpose)
        self._conversations += 1
        conversation = f"{purpose}-{self._conversations}"
        ordinal, wrote = 0, False
        try:
            if self._stopped is not None:
                stopped, self._stopped = self._stopped, None
                raise stopped
            calls = next(talk)
            while True:
                jobs = [self._caller.job(call, purpose, first, causes) for call in calls]
                results = await self._together(jobs)
                replies = self._replies(results)
                self._show(conversation, ordinal, jobs, replies)
                wrote = wrote or _written(jobs, results)
                self._raise_for(jobs, results, wrote=wrote)
                ordinal += len(jobs)
                calls = talk.send(replies)
        except StopIteration as end:
            value: T = end.value
            if isinstance(value, list):
                value[:] = [self._redactor.outcome(one) for one in value]
            return value
        except BridgeError as fault:
            self._clean(fault)
            raise
        finally:
            talk.close()

    def crm_now_us(self) -> int:
        """The CRM's clock now, at the least, by the newest answer (our own clock until there was one)."""
        return self._caller.crm_now_us()

    def learn(self, account: Account) -> None:
        """Take over what a check found out: the account's time zone and its day's quota."""
        self._caller.learn(account)

    def state(self) -> RimState:
        """How the account's rim is now."""
        return self._caller.state()

    async def close(self) -> None:
        """Let go of timers and connections, after a sign-in under way has been saved."""
        await self._caller.close()
        close = getattr(self._transport, "close", None)
        if close is not None:
            await close()

    # --- outcomes -----------------------------------------------------------------------------------------------------

    async def _together(self, jobs: Sequence[Job]) -> list[HttpReply | Miss]:
        """Make the calls at the same time; when one breaks, the others still come to their end."""
        if len(jobs) == 1:
            return [await self._caller.serve(jobs[0])]
        results = await asyncio.gather(*(self._caller.serve(job) for job in jobs), return_exceptions=True)
        good: list[HttpReply | Miss] = []
        for result in results:
            if isinstance(result, BaseException):
                raise result
            good.append(result)
        return good

    def _replies(self, results: Sequence[HttpReply | Miss]) -> tuple[Reply, ...]:
        """What the talk is told of each call."""
        now_us = self._clock.now_us()
        return tuple(
            result
            if isinstance(result, HttpReply)
            else NoReply(sent=result.sent, reason=result.fault.code, retry_at_us=retry_at_us(result.fault, now_us))
            for result in results
        )

    def _show(self, conversation: str, ordinal: int, jobs: Sequence[Job], replies: Sequence[Reply]) -> None:
        if self._on_exchange is None:
            return
        for number, (job, reply) in enumerate(zip(jobs, replies, strict=True), start=ordinal):
            self._on_exchange(
                Exchange(conversation=conversation, ordinal=number, call=job.call, reply=reply, tries=job.sent)
            )

    def _raise_for(self, jobs: Sequence[Job], results: Sequence[HttpReply | Miss], *, wrote: bool) -> None:
        """End the talk when a read has no answer, or when the account is stopped before anything was written."""
        missed = [(job, result) for job, result in zip(jobs, results, strict=True) if isinstance(result, Miss)]
        stops = [miss.fault for _, miss in missed if isinstance(miss.fault, ConnectionStopped)]
        if stops and not wrote:
            raise stops[0]
        if stops:
            self._stopped = stops[0]
        unread = [miss.fault for job, miss in missed if job.call.effect is not Effect.WRITE]
        if not unread:
            return
        worst = max(unread, key=gravity)
        if isinstance(worst, ConnectionStopped):
            now_us = self._clock.now_us()
            raise CrmUnavailable(worst.code, worst.message, retry_at_us=now_us, remedy=worst.remedy) from worst
        raise worst

    def _clean(self, fault: BridgeError) -> None:
        """Redact the fault's words, wherever they came from, see that it has a remedy, and name its place."""
        fault.message = self._redactor(fault.message)
        fault.remedy = self._redactor(fault.remedy or remedy_of(fault.code))
        fault.args = (fault.message,)
        fault.place = fault.place or self._name


def _written(jobs: Sequence[Job], results: Sequence[HttpReply | Miss]) -> bool:
    """A write among these calls has taken effect, or may have."""
    return any(
        job.call.effect is Effect.WRITE and (isinstance(result, HttpReply) or result.sent)
        for job, result in zip(jobs, results, strict=True)
    )
