"""The counter where callers are served: commands are taken in, leads are read, everything else is told whose it is."""

from __future__ import annotations

import asyncio
import logging
import re
import traceback
from collections import Counter as Counts
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.message import DecodeError

from sales_crm_bridge import contract, gate
from sales_crm_bridge.admission import admit, serves
from sales_crm_bridge.contract import CommandRequest, CommandResponse, GetLeadRequest, GetLeadResponse, Intent, Method
from sales_crm_bridge.errors import BridgeError, EnvironmentFault, LedgerBusy, TenancyMoved
from sales_crm_bridge.model import Owner
from sales_crm_bridge.rpc.again import AGAIN_S, needs_a_person, open_us, wait_s
from sales_crm_bridge.rpc.statuses import Refused, abort, refused_for
from sales_crm_bridge.state import CommandState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from google.protobuf.message import Message

    from sales_crm_bridge.admission import Booker, Tenancy
    from sales_crm_bridge.observer import Observer
    from sales_crm_bridge.ports import Clock, Ledger
    from sales_crm_bridge.rpc.again import Tenure
    from sales_crm_bridge.rpc.asking import Asker
    from sales_crm_bridge.rpc.identity import Caller, Doorkeeper
    from sales_crm_bridge.settings.calls import Rpc
    from sales_crm_bridge.state import Command, Known, Standing

    Context = grpc.aio.ServicerContext[bytes, Message]

log = logging.getLogger(__name__)

SETTLE_LOOK_S = 0.2
"""Pause between two looks whether a lead's commands are carried out."""

_ID = re.compile(r"[A-Za-z0-9._:/-]{1,200}")
NOT_FOUND = frozenset({"lead-unknown-in-crm", "lead-removed", "lead-merged"})
_REASONED = (CommandState.PARKED, CommandState.REFUSED)
_RESTING = (CommandState.PARKED, CommandState.HELD)
"""States in which nothing of a command is under way."""


class Counter:
    """Serves calls. ``renew`` makes ``tenancy`` know what is in force in the ledger now.

    ``unseal`` opens an answer of the holder about a lead of a tenant; ``tenure``: how leases are kept; ``observer`` hears how each
    call ended.
    """

    def __init__(
        self,
        settings: Rpc,
        *,
        door: Doorkeeper,
        booker: Booker,
        asker: Asker,
        ledger: Ledger,
        clock: Clock,
        tenancy: Callable[[], Tenancy],
        renew: Callable[[], Awaitable[None]],
        unseal: Callable[[str, bytes], bytes],
        tenure: Tenure,
        observer: Observer,
    ) -> None:
        self._settings = settings
        self._door = door
        self._booker = booker
        self._asker = asker
        self._ledger = ledger
        self._clock = clock
        self._tenancy = tenancy
        self._renew = renew
        self._unseal = unseal
        self._tenure = tenure
        self._seats: Counts[str] = Counts()
        self._observer = observer

    async def serve(self, method: Method, sent: bytes, context: Context) -> Message:
        """One call of ``method``, from its request's bytes to its response or status."""
        status = grpc.StatusCode.OK
        known: dict[str, str] = {}  # of the call, so far
        try:
            return await self._serve(method, sent, context, known)
        except Refused as refused:
            status = refused.status
            log.info(
                "a call was refused",
                extra={
                    "event": "call.refused",
                    "code": refused.reason,
                    "method": method.name,
                    "status": status.name,
                    **known,
                },
            )
            await abort(context, refused)
        except asyncio.CancelledError:
            status = grpc.StatusCode.CANCELLED
            raise
        finally:
            self._observer.called(method.name, status.name)

    async def close(self, limit_s: float) -> None:
        """Come back when no transaction of a call is under way any more, or cut it off after ``limit_s``."""
        await self._booker.close(limit_s)
        await self._asker.close()

    async def _serve(self, method: Method, sent: bytes, context: Context, known: dict[str, str]) -> Message:
        ours = True
        try:
            caller = self._door.admit(tuple(context.invocation_metadata() or ()), context.auth_context())
            known["caller"] = caller.name
            _need_a_lead_method(method)
            request = _read_request(method, sent)
            known |= _named(request)
            limit_s, ours = self._limit_s(context)
            with self._seat(request.context.tenant_id):
                async with asyncio.timeout(limit_s):
                    if isinstance(request, GetLeadRequest):
                        return await self._read(caller, request, self._clock.now_us() + round(limit_s * 0.9e6))
                    return await self._command(method, caller, request, context)
        except TimeoutError:
            raise Refused(
                # A client that set the limit itself does not want the call made again by its library.
                grpc.StatusCode.UNAVAILABLE if ours else grpc.StatusCode.DEADLINE_EXCEEDED,
                "rpc.timed-out",
                "the call could not be served in its time; a command may have been taken: the same key asks again",
                retry_s=AGAIN_S,
            ) from None
        except (LedgerBusy, EnvironmentFault) as fault:
            raise Refused(grpc.StatusCode.UNAVAILABLE, fault.code, fault.message, retry_s=AGAIN_S) from fault
        except (Refused, asyncio.CancelledError):
            raise
        except Exception as fault:  # noqa: BLE001 - one call's fault is that call's alone; it is said aloud
            # A foreign message can hold a person's data: say what and where, not with which values.
            code = fault.code if isinstance(fault, BridgeError) else "bug.rpc"
            where = "".join(
                f"\n  {one.filename}:{one.lineno} {one.name}" for one in traceback.extract_tb(fault.__traceback__)
            )
            log.error(  # noqa: TRY400 - as said
                "bug in a call of %s: %s%s",
                method.name,
                type(fault).__name__,
                where,
                extra={"event": "call.bug", "code": code},
            )
            raise Refused(grpc.StatusCode.INTERNAL, code, "the bridge has a fault of its own") from None

    def _limit_s(self, context: Context) -> tuple[float, bool]:
        """Seconds that the call may take, the client's and at most ours, and whether they are ours."""
        left_s: float | None = context.time_remaining()  # the stubs do not know of a client without a deadline
        if left_s is None:
            return self._settings.timeout_s, True
        return max(0.0, min(left_s, self._settings.timeout_s)), self._settings.timeout_s < left_s

    @contextmanager
    def _seat(self, tenant: str) -> Iterator[None]:
        """A place among the calls that are served at the same time; raises ``Refused`` if there is none."""
        limits = {"": self._settings.in_flight, f"tenant {tenant}": self._settings.in_flight_per_tenant}
        for name, limit in limits.items():
            if self._seats[name] >= limit:
                said = "of this tenant " if name else ""
                raise Refused(
                    grpc.StatusCode.RESOURCE_EXHAUSTED,
                    "rpc.too-many",
                    f"too many calls {said}are under way",
                    retry_s=AGAIN_S,
                )
        self._seats.update(limits.keys())
        try:
            yield
        finally:
            for name in limits:
                self._seats[name] -= 1
                if not self._seats[name]:
                    del self._seats[name]

    # --- commands -----------------------------------------------------------------------------------------------------

    async def _command(
        self, method: Method, caller: Caller, request: CommandRequest, context: Context
    ) -> CommandResponse:
        """Take a command in; comes back when the ledger has it."""
        _authorize(caller, request.context.tenant_id)
        _take_over_trace(request, context)
        intent = contract.intent_of(method, request, caller=caller.name, now_us=self._clock.now_us())
        if not isinstance(intent, Intent):
            raise refused_for(intent)
        new = await self._book(intent)
        if isinstance(new, gate.NotOurs):
            # A command that was taken before its tenant's leads changed hands is still ours to tell of.
            known = await self._ledger.known(intent.tenant_id, intent.message_id)
            if known is None:
                self._observer.intents("passed_over", 1, new.reason)
                raise _not_ours(new)
            self._observer.intents("repeated", 1)
            return self._told(method, intent, known)
        self._observer.intents("taken" if new else "repeated", 1)
        if new:
            log.info(
                "a command was taken",
                extra={
                    "event": "call.command-taken",
                    "tenant": intent.tenant_id,
                    "message_id": intent.message_id,
                    "correlation_id": intent.envelope.meta.correlation_id,
                    "method": method.name,
                    "caller": caller.name,
                },
            )
            return contract.command_answer(method, intent.message_id, CommandState.PENDING.value, "")
        known = await self._ledger.known(intent.tenant_id, intent.message_id)
        assert known is not None  # it was not new
        return self._told(method, intent, known)

    async def _book(self, intent: Intent) -> bool | gate.NotOurs:
        """Whether it was new, once it is booked, or why it is not ours: by what is in force when the ledger is asked."""
        while True:
            tenancy = self._tenancy()
            row = admit(tenancy, intent)
            if isinstance(row, gate.NotOurs):
                if await self._in_force(tenancy):
                    return row
                continue
            try:
                return await self._booker.book(row, tenancy.number)
            except TenancyMoved:
                await self._renew()

    async def _in_force(self, tenancy: Tenancy) -> bool:
        """Whether it is what is in force; otherwise what is has been looked up (so at the start, before anything is known)."""
        if await self._ledger.tenancy() == tenancy.number:
            return True
        await self._renew()
        return False

    def _told(self, method: Method, intent: Intent, known: Known) -> CommandResponse:
        """Where a command stands that was taken before. Raises ``Refused`` when the key is another command's."""
        command = known.command
        if command is None:
            return contract.command_answer(method, intent.message_id, "forgotten", "")
        if (command.operation, command.lead_id) != (intent.operation, intent.aggregate_id) or _other_words(
            command, intent
        ):
            raise Refused(
                grpc.StatusCode.ALREADY_EXISTS,
                "rpc.key-reused",
                "the idempotency key is that of another command",
                facts={"operation": command.operation.value},
            )
        reason = command.reason if command.state in _REASONED else ""
        return contract.command_answer(method, intent.message_id, command.state.value, reason)

    # --- reads --------------------------------------------------------------------------------------------------------

    async def _read(self, caller: Caller, request: GetLeadRequest, until_us: int) -> GetLeadResponse:
        """Read a lead in the CRM, as the last command left it."""
        tenant = request.context.tenant_id
        _authorize(caller, tenant)
        violations = contract.check_read(request)
        if violations:
            raise refused_for(violations)
        while True:
            tenancy = self._tenancy()
            decision = serves(tenancy, tenant, self._clock.now_us())
            if isinstance(decision, gate.Ours):
                break
            if await self._in_force(tenancy):
                raise _not_ours(decision)
        conn = tenancy.conns[tenant]
        await self._settled(conn, request.lead_id, until_us)
        answer = await self._asker.ask(conn, request.lead_id, until_us)
        if answer is None:
            standing = await self._ledger.standing(conn)
            raise Refused(
                grpc.StatusCode.UNAVAILABLE,
                "rpc.no-answer",
                "the lead could not be read in time",
                facts=_connection(standing),
                retry_s=None if needs_a_person(standing) else self._wait_s(standing),
            )
        if not answer.code:
            return GetLeadResponse.FromString(self._unseal(tenant, answer.lead))
        if answer.code in NOT_FOUND:
            facts = {"into_lead_id": answer.said} if answer.code == "lead-merged" and answer.said else {}
            said = "the lead's record was merged into another" if answer.code == "lead-merged" else answer.said
            raise Refused(grpc.StatusCode.NOT_FOUND, answer.code, said, facts=facts)
        if answer.code.endswith("unreadable"):
            raise Refused(grpc.StatusCode.INTERNAL, answer.code, answer.said)
        known = answer.retry_at_us
        retry_s = wait_s(known, now_us=self._clock.now_us()) if known else None
        raise Refused(grpc.StatusCode.UNAVAILABLE, answer.code, answer.said, retry_s=retry_s)

    async def _settled(self, conn: int, lead_id: str, until_us: int) -> None:
        """Come back when no command of the lead is under way; one that waits for a person is not."""
        while True:
            open_ = await self._ledger.commands_open(conn, [lead_id])
            if all(command.state in _RESTING for command in open_):
                return
            if self._clock.now_us() + SETTLE_LOOK_S * 1e6 >= until_us:
                standing = await self._ledger.standing(conn)
                tries_us = [command.not_before_us for command in open_ if command.state not in _RESTING]
                raise Refused(
                    grpc.StatusCode.UNAVAILABLE,
                    "rpc.lead-under-way",
                    "a command of the lead is still being carried out",
                    facts=_connection(standing),
                    retry_s=self._wait_s(standing, *tries_us),
                )
            await self._clock.sleep(SETTLE_LOOK_S)

    def _wait_s(self, standing: Standing | None, *times_us: int) -> float:
        """Seconds after which it makes sense to ask the account again, and not before the last of these times."""
        now_us = self._clock.now_us()
        known_us = open_us(standing, self._tenure, now_us) if standing is not None else 0
        return wait_s(known_us, *times_us, now_us=now_us)


def _connection(standing: Standing | None) -> Mapping[str, str]:
    """How the connection is said to be: why there may be no answer."""
    if standing is None:
        return {}
    return {"connection_state": standing.row.state, "connection_code": standing.row.code}


def _other_words(command: Command, intent: Intent) -> bool:
    """Whether the command wants something else than the intent; of a finished one nobody knows any more (rule 15)."""
    if not command.payload:
        return False
    return not contract.decode_command(command.payload).asks_the_same(contract.decode_command(intent.value))


def _need_a_lead_method(method: Method) -> None:
    if not method.lead:
        raise Refused(
            grpc.StatusCode.UNIMPLEMENTED,
            "rpc.not-here",
            f"{method.name} is the Sales domain's: call it there",
            facts={"owner": Owner.DOMAIN.value, "method": method.name},
        )


def _read_request(method: Method, sent: bytes) -> Any:
    try:
        return method.request.FromString(sent)
    except DecodeError:
        said = f"these bytes are no {method.request.DESCRIPTOR.full_name}"
        raise Refused(grpc.StatusCode.INVALID_ARGUMENT, "contract.unreadable", said) from None


def _named(request: CommandRequest | GetLeadRequest) -> dict[str, str]:
    """The ids of a request for the log, as far as they can be ids: who calls may have put anything there."""
    told = request.context
    ids = {"tenant": told.tenant_id, "message_id": told.idempotency_key, "correlation_id": told.correlation_id}
    return {name: value for name, value in ids.items() if value and _ID.fullmatch(value)}


def _authorize(caller: Caller, tenant: str) -> None:
    if tenant and not caller.may(tenant):
        raise Refused(
            grpc.StatusCode.PERMISSION_DENIED,
            "rpc.tenant-denied",
            "the caller may not call for this tenant",
            facts={"tenant": tenant, "caller": caller.name},
        )


def _not_ours(decision: gate.NotOurs) -> Refused:
    return Refused(
        grpc.StatusCode.FAILED_PRECONDITION,
        "rpc.not-ours",
        "the tenant's leads are the Sales domain's now: call it there",
        facts={"owner": Owner.DOMAIN.value, "why": decision.reason.value},
    )


def _take_over_trace(request: CommandRequest, context: Context) -> None:
    """A trace that the client's library put into the metadata counts where the request names none."""
    if request.context.traceparent:
        return
    sent = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
    if "traceparent" in sent:
        request.context.traceparent = sent["traceparent"]
        request.context.tracestate = sent.get("tracestate", "")
