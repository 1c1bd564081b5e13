"""One call of an account on its way to an answer: every concern of the rim in its order.

From the outside in:

.. code-block:: text

    retry      again after a wait, if the call took no effect or changes nothing
    breaker    not while the account fails again and again
    limiter    in turn: rate, named budgets, calls in flight, rank
    sign-in    with credentials that hold, renewed once if the CRM says so
    quota      counted in the account's day
    wire       one address (another one for sign-ins, if the file says so), no redirect elsewhere, sizes and times bounded
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, assert_never
from urllib.parse import urlsplit

from tenacity import AsyncRetrying, RetryCallState, retry_if_result

from sales_crm_bridge.errors import (
    BridgeError,
    ConnectionStopped,
    CrmUnavailable,
    EnvironmentFault,
    LedgerBusy,
    QuotaExhausted,
)
from sales_crm_bridge.model import Answered, Effect, HttpReply, Quota, SignInAgain, Stop, TryAgain
from sales_crm_bridge.rim.breaker import Breaker
from sales_crm_bridge.rim.limiter import Limiter, Paused, Turn
from sales_crm_bridge.rim.quota import DayQuota
from sales_crm_bridge.rim.remedies import remedy_of
from sales_crm_bridge.rim.signin import Held, SignIn, Vault
from sales_crm_bridge.rim.terms import AnswerLost, Miss, NotSent, RimState, Terms
from sales_crm_bridge.rim.wire import Wire
from sales_crm_bridge.tracing import Kind

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from sales_crm_bridge.model import Account, Call, Credentials, Secrets, SignInRefused, Verdict
    from sales_crm_bridge.ports import Clock, CrmAdapter, Dice, Talk, Transport
    from sales_crm_bridge.rim.redact import Redactor
    from sales_crm_bridge.tracing import Open, Tracer

log = logging.getLogger(__name__)

_FAULT = 400
_SERVER_FAULT = 500
CODE_MAX = 80


@dataclass(slots=True, kw_only=True)
class Job:
    """One call on its way: ``tries`` that count, ``sent`` requests, ``renewed``: the sign-in was already renewed for it.

    ``causes``: the work that it is made for.
    """

    call: Call
    purpose: str
    rank: int
    ticket: int
    tries: int = 0
    sent: int = 0
    renewed: bool = False
    causes: Sequence[Open] = ()


class Caller:
    """Makes the calls of one account, and holds all that they share: breaker, limiter, sign-in, quota, wire.

    A writing call is repeated only when it certainly took no effect; any other after every fault.
    """

    def __init__(
        self,
        *,
        name: str,
        adapter: CrmAdapter,
        address: str,
        sign_in_address: str,
        transport: Transport,
        secrets: Secrets,
        clock: Clock,
        dice: Dice,
        terms: Terms,
        count: Callable[[str, int], Awaitable[int]],
        vault: Vault,
        redactor: Redactor,
        tracer: Tracer,
        trace_out: bool,
    ) -> None:
        self._name = name
        self._adapter = adapter
        self._clock = clock
        self._dice = dice
        self._terms = terms
        self._redactor = redactor
        self._tracer = tracer
        self._trace_out = trace_out
        self._host = urlsplit(address).hostname or ""
        self._breaker = Breaker(clock, terms, name)
        self._limiter = Limiter(clock, terms, adapter.capabilities.budgets)
        self._quota = DayQuota(clock, terms, count)
        self._wire = Wire(address, transport, clock, terms.timeout_s, sign_in_address)
        self._sign_in = SignIn(
            lambda keep: adapter.authenticate(secrets, keep, clock.now_us()),
            self._speak_to_sign_in,
            vault=vault,
            clock=clock,
            terms=terms,
            redactor=redactor,
            name=name,
        )
        self._sent = 0
        self._repeats = 0

    def job(self, call: Call, purpose: str, rank: int, causes: Sequence[Open] = ()) -> Job:
        """A call with its place in the line."""
        return Job(call=call, purpose=purpose, rank=rank, ticket=self._limiter.ticket(), causes=causes)

    async def serve(self, job: Job) -> HttpReply | Miss:
        """The answer to a call, or why there is none after all tries that make sense."""
        return await self._retry(job, self._try)

    def crm_now_us(self) -> int:
        """The CRM's clock now, at the least."""
        return self._wire.crm_now_us()

    def learn(self, account: Account) -> None:
        """Take over the account's time zone and its day's quota."""
        self._quota.account(account.time_zone, account.calls_per_day, account.calls_left_day)

    def state(self) -> RimState:
        """How the account's rim is now."""
        breaker, until_us = self._breaker.state()
        held = self._sign_in.held
        return RimState(
            signed_in=held is not None,
            signed_in_until_us=held.expires_us if held else 0,
            breaker=breaker,
            breaker_until_us=until_us,
            paused_until_us=self._limiter.paused_until_us,
            pace=self._limiter.pace,
            window=self._limiter.window,
            in_flight=self._limiter.in_flight,
            waiting=self._limiter.waiting,
            calls=self._sent,
            repeats=self._repeats,
            calls_today=self._quota.used,
            calls_left_day=self._quota.calls_left,
            quota_until_us=self._quota.spent_until_us,
            skew_us=self._wire.skew_us,
        )

    async def close(self) -> None:
        """Let go of the timers, after a sign-in under way has been saved."""
        await self._sign_in.close()
        self._limiter.close()

    # --- one call -----------------------------------------------------------------------------------------------------

    async def _retry(self, job: Job, attempt: Callable[[Job], Awaitable[HttpReply | Miss]]) -> HttpReply | Miss:
        """Try until there is an answer, or no sense or no right in another try."""

        async def counted() -> HttpReply | Miss:
            result = await attempt(job)
            job.tries += not isinstance(result, Miss) or result.counted
            return result

        def again(result: HttpReply | Miss) -> bool:
            if isinstance(result, HttpReply) or result.wait_s is None:
                return False
            return not result.sent or job.call.effect is not Effect.WRITE

        retrying = AsyncRetrying(
            sleep=self._clock.sleep,
            retry=retry_if_result(again),
            stop=lambda _: job.tries >= self._terms.tries_max,
            wait=_wanted,
            retry_error_callback=_last,
        )
        return await retrying(counted)

    async def _try(self, job: Job) -> HttpReply | Miss:
        """One try of a call; the order of the concerns is the order of the lines."""
        if refused := self._suspended(self._breaker.refusal()) or self._spent(self._quota.refusal(job.purpose)):
            return refused
        try:
            async with self._limiter.turn(job.rank, job.ticket, job.call.budget) as turn:
                if refused := self._suspended(self._breaker.enter(job.ticket)):
                    return refused
                try:
                    return await self._in_turn(job, turn)
                finally:
                    self._breaker.gave_up(job.ticket)
        except Paused as paused:
            text = "the CRM asks for a longer pause than a call should wait"
            return Miss(fault=self._away("crm.paused", text, paused.until_us))
        except (LedgerBusy, EnvironmentFault) as fault:
            return Miss(fault=fault)

    async def _in_turn(self, job: Job, turn: Turn) -> HttpReply | Miss:
        held = await self._sign_in.credentials()
        if isinstance(held, BridgeError):
            if isinstance(held, CrmUnavailable):
                self._breaker.failed(job.ticket, held)
            return Miss(fault=held)
        if refused := self._spent(await self._quota.take(job.purpose)):
            return refused
        try:
            reply = await self._send(job, held.headers)
        finally:
            self._quota.ended()
        if isinstance(reply, Miss):
            if reply.wait_s is not None:
                self._breaker.failed(job.ticket, reply.fault)
            return reply
        verdict = self._adapter.classify(reply, job.call.effect)
        result = self._judge(job, turn, held, reply, verdict)
        if isinstance(result, Miss) and isinstance(verdict, TryAgain) and reply.status >= _SERVER_FAULT:
            self._breaker.failed(job.ticket, result.fault)
        else:
            self._breaker.worked()
        return result

    async def _send(self, job: Job, headers: Sequence[tuple[str, str]]) -> HttpReply | Miss:
        self._sent += 1
        self._repeats += job.sent > 0
        job.sent += 1
        span = self._span(job)
        told = span.context.headers if span.context is not None and self._trace_out else ()
        try:
            reply = await self._wire.send(job.call, (*headers, *told))
        except NotSent as error:
            span.end(error.reason)
            if error.forbidden:
                return Miss(fault=self._stop(error.reason, f"{_what(job)} is not sent", remedy_of(error.reason)))
            return self._later(job, error.reason, "no connection", None)
        except AnswerLost as error:
            span.end(error.reason)
            miss = self._later(job, error.reason, "no whole answer", None, sent=True)
            return Miss(fault=miss.fault, sent=True) if error.hopeless else miss
        fault = str(reply.status) if reply.status >= _FAULT else ""
        span.end(fault, {"http.response.status_code": reply.status})
        return reply

    def _span(self, job: Job) -> Open:
        """One request: its method and host, and nothing of its path, which can name a person."""
        attributes: dict[str, str | int] = {
            "http.request.method": job.call.method,
            "server.address": self._host,
            "sales.account": self._name,
            "sales.crm": self._adapter.name,
            "sales.purpose": job.purpose,
        }
        if job.sent > 1:
            attributes["http.request.resend_count"] = job.sent - 1
        return self._tracer.of(job.causes, job.call.method, attributes, Kind.CLIENT)

    def _judge(self, job: Job, turn: Turn, held: Held, reply: HttpReply, verdict: Verdict) -> HttpReply | Miss:
        """Do what the adapter says about a reply."""
        match verdict:
            case Answered(calls_left_day=left):
                self._limiter.served(turn)
                self._quota.left(left)
                return reply
            case TryAgain(quota=Quota.BURST, wait_s=wait_s):
                self._limiter.too_many(turn, wait_s)
                log.warning(
                    "the CRM says: too many calls",
                    extra={"event": "crm.too-many", "account": self._name, "wait_s": wait_s},
                )
                # The limiter holds this call back with all the others; it keeps its place in the line.
                miss = self._later(
                    job, verdict.code or "crm.too-many", f"answer {reply.status}", wait_s, sent=verdict.executed
                )
                return miss if miss.wait_s is None else Miss(fault=miss.fault, sent=miss.sent, wait_s=0.0)
            case TryAgain(quota=Quota.DAY, wait_s=wait_s):
                return Miss(fault=self._quota.exhausted(wait_s), sent=verdict.executed)
            case TryAgain(wait_s=wait_s):
                return self._later(
                    job, verdict.code or "crm.busy", f"answer {reply.status}", wait_s, sent=verdict.executed
                )
            case SignInAgain(code=code):
                self._sign_in.renew(held.number)
                if job.renewed:
                    text = f"{_what(job)}: the CRM does not accept a fresh sign-in ({code or reply.status})"
                    return Miss(fault=self._stop("sign-in.not-accepted", text))
                job.renewed = True
                late = self._away("sign-in.stale", "the token is not accepted", self._clock.now_us())
                return Miss(fault=late, wait_s=0.0, counted=False)
            case Stop(code=code, message=message, remedy=remedy):
                needed = f"; needed for: {job.call.shows}" if job.call.shows else ""
                return Miss(fault=self._stop(code, message + needed, remedy))
            case _:
                assert_never(verdict)

    # --- words --------------------------------------------------------------------------------------------------------

    def _later(self, job: Job, code: str, what: str, wish_s: float | None, *, sent: bool = False) -> Miss:
        """A miss after which another try makes sense: after a doubling, jittered wait, or the CRM's own wish if it is longer."""
        terms = self._terms
        doubled_s = min(terms.retry_max_s, terms.retry_first_s * 2 ** min(job.tries, 30))
        wait_s = max(doubled_s * (0.5 + 0.5 * self._dice.fraction()), wish_s or 0.0)
        until_us = self._clock.now_us() + round(wait_s * 1e6)
        fault = self._away(code, f"{_what(job)}: {what}, try {job.tries + 1}", until_us)
        return Miss(fault=fault, sent=sent, wait_s=wait_s if wait_s <= terms.retry_max_s else None)

    def _away(self, code: str, message: str, until_us: int, remedy: str = "") -> CrmUnavailable:
        code = self._redactor(code)[:CODE_MAX]
        return CrmUnavailable(code, message, retry_at_us=until_us, remedy=remedy or remedy_of(code))

    def _stop(self, code: str, message: str, remedy: str = "") -> ConnectionStopped:
        code = self._redactor(code)[:CODE_MAX]
        return ConnectionStopped(code, message, remedy=remedy or remedy_of(code))

    def _suspended(self, until_us: int) -> Miss | None:
        """None: the breaker lets calls through. Otherwise a fault that says why it does not: what it saw last."""
        if not until_us:
            return None
        text, remedy = "the CRM failed again and again and is left alone for a while", ""
        if (last := self._breaker.cause) is not None:
            text, remedy = f"{text}; the last time {last.code}: {self._redactor(last.message)}", last.remedy
        return Miss(fault=self._away("crm.suspended", text, until_us, remedy))

    def _spent(self, refused: QuotaExhausted | None) -> Miss | None:
        return None if refused is None else Miss(fault=refused)

    # --- sign-in ------------------------------------------------------------------------------------------------------

    async def _speak_to_sign_in(self, talk: Talk[Credentials | SignInRefused]) -> Credentials | SignInRefused:
        """Run a sign-in talk: inside the turn of the call that needs it, and without credentials."""
        try:
            calls = next(talk)
            while True:
                replies = []
                for call in calls:
                    job = Job(call=call, purpose="sign-in", rank=0, ticket=0)
                    result = await self._retry(job, self._try_sign_in)
                    if isinstance(result, Miss):
                        raise result.fault
                    replies.append(result)
                calls = talk.send(tuple(replies))
        except StopIteration as end:
            value: Credentials | SignInRefused = end.value
            return value
        finally:
            talk.close()

    async def _try_sign_in(self, job: Job) -> HttpReply | Miss:
        reply = await self._send(job, ())
        if isinstance(reply, Miss):
            return reply
        verdict = self._adapter.classify(reply, Effect.SIGN_IN)
        match verdict:
            case Answered() | SignInAgain():
                return reply
            case TryAgain(code=code, wait_s=wait_s):
                return self._later(job, code or "crm.busy", f"answer {reply.status}", wait_s)
            case Stop(code=code, message=message, remedy=remedy):
                return Miss(fault=self._stop(code, message, remedy))
            case _:
                assert_never(verdict)


def _what(job: Job) -> str:
    return f"{job.call.method} {job.call.path}"


def _wanted(state: RetryCallState) -> float:
    result = _last(state)
    return (isinstance(result, Miss) and result.wait_s) or 0.0


def _last(state: RetryCallState) -> HttpReply | Miss:
    assert state.outcome is not None
    result: HttpReply | Miss = state.outcome.result()
    return result
