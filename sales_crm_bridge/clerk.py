"""The clerk of a connection's commands: says them in the CRM's words, and writes down what became of them."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, assert_never

import msgspec

from sales_crm_bridge import tracing
from sales_crm_bridge.contract import decode_command, is_usable_id
from sales_crm_bridge.errors import ContractError
from sales_crm_bridge.model import Category, LeadState, Operation, Write
from sales_crm_bridge.policy import booking, commands, holding
from sales_crm_bridge.policy.booking import Conflict
from sales_crm_bridge.policy.commands import Done, Next, Refuse, Retry, Settle
from sales_crm_bridge.state import Command, CommandChange, CommandState, Commit, DeadLetter, MatchState
from sales_crm_bridge.tasks import one_turn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sales_crm_bridge.contract import LeadCommand
    from sales_crm_bridge.desk import Desk
    from sales_crm_bridge.mapping import Misfit
    from sales_crm_bridge.model import Accepted, Scalar
    from sales_crm_bridge.state import Binding, OutboxRow
    from sales_crm_bridge.tracing import Open

log = logging.getLogger(__name__)

SAID = {
    CommandState.PENDING: ("a command waits for its next try", logging.INFO),
    CommandState.UNKNOWN: ("a command's outcome is not known yet", logging.INFO),
    CommandState.DONE: ("a command took effect", logging.INFO),
    CommandState.REFUSED: ("a command was refused for good", logging.INFO),
    CommandState.PARKED: ("a command waits for a person", logging.WARNING),
    CommandState.HELD: ("a part of a command took effect, the other waits", logging.INFO),
}
"""What the log says of a command whose turn has ended in this state, as event ``command.<state>``, and how loudly."""


REMEDY = "see docs/operations.md under this code; mend the cause, then `deadletters redrive` it"
MATCH_REMEDY = (
    "look at both, `matches list` names them; then `matches accept` it if they are one lead, else `matches refuse` it"
)


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A command with what it asks for, decoded, in the CRM's words (``wire``), and the span of this turn at it."""

    command: Command
    asked: LeadCommand | None
    wire: dict[str, str | int | float | bool | None]
    binding: Binding | None
    span: Open
    conflicts: tuple[Conflict, ...] = ()

    @property
    def crm_id(self) -> str:
        """The record that the lead is bound to; "" there is none."""
        return self.binding.crm_id if self.binding is not None else ""

    @property
    def is_new(self) -> bool:
        """Whether the answer must show the whole lead: Sales knows nothing of the record, also where it was there before."""
        return not self.crm_id or self.command.matched == MatchState.BOUND

    def counted(self) -> Job:
        """The same as it is sent now, with one try more."""
        sent = msgspec.structs.replace(self.command, attempt=self.command.attempt + 1, state=CommandState.SENDING)
        return msgspec.structs.replace(self, command=sent)

    def write(self) -> Write:
        """What the adapter is to write."""
        return Write(
            trace=f"{self.command.message_id}.{self.command.attempt}",
            operation=self.command.operation,
            key=self.command.lead_id,
            fields=self.wire,
            crm_id=self.crm_id,
            version=self.binding.version if self.binding is not None else "",
            claim=self.command.matched == MatchState.BOUND,
        )


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of one job: the next step, and what the ledger then knows of the lead."""

    job: Job
    step: Next
    binding: Binding | None


@dataclass(slots=True)
class _Lot:
    """Steps that go into one transaction: those that come before whoever came first has the lock."""

    steps: list[tuple[Job, Next, int]] = field(default_factory=list)
    begun: bool = False
    fault: BaseException | None = None


class Clerk:
    """Works on one desk's ledger; makes no calls."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._lot = _Lot()

    def job(self, command: Command, binding: Binding | None) -> tuple[Job, Refuse | None]:
        """The command in the CRM's words, and why it cannot be said in them (None: it can)."""
        mapping = self._desk.mapping
        try:
            asked = decode_command(command.payload)
        except ContractError as fault:
            job = Job(command=command, asked=None, wire={}, binding=binding, span=self._span(command, None))
            return job, Refuse(category=Category.CONTRACT, code=fault.code)
        wire, misfits = self._wire(command, asked)
        wire = holding.restricted(mapping, command.held, wire)
        clashes: tuple[Conflict, ...] = ()
        if not command.creates:
            rule_of = self._desk.push.conflict_rule
            clashes = booking.conflicts(self._desk.eyes, mapping, binding, wire, command.occurred_us, rule_of)
        kept = booking.without(mapping, wire, clashes)
        span = self._span(command, asked)
        job = Job(command=command, asked=asked, wire=kept, binding=binding, span=span, conflicts=clashes)
        if asked.violations:
            return job, Refuse(category=Category.CONTRACT, code=asked.violations[0].code)
        if misfits:
            fields = tuple(misfit.field for misfit in misfits)
            return job, Refuse(category=Category.VALIDATION, code=f"mapping.{misfits[0].code}", fields=fields)
        if not wire:
            return job, Refuse(category=Category.UNSUPPORTED, code="mapping.nothing-to-write")
        return job, self._decided(clashes, kept)

    def _span(self, command: Command, asked: LeadCommand | None) -> Open:
        """The span of a turn at a command, caused by its intent; it ends when the ledger has what became of it."""
        desk = self._desk
        return desk.tracer.of_intent(
            tracing.parse(asked.traceparent, asked.tracestate) if asked is not None else None,
            f"{command.tenant}\x1f{command.message_id}",
            "push",
            {
                "messaging.message.id": command.message_id,
                "messaging.message.conversation_id": asked.correlation_id if asked is not None else "",
                "sales.account": desk.name,
                "sales.attempt": command.attempt + (command.state is CommandState.PENDING),
                "sales.operation": command.operation.value,
                "sales.tenant": command.tenant,
            },
        )

    def _wire(self, command: Command, asked: LeadCommand) -> tuple[dict[str, Scalar], Sequence[Misfit]]:
        mapping = self._desk.mapping
        match asked.operation:
            case Operation.CREATE if command.matched == MatchState.BOUND:
                return mapping.over_wire(asked.lead)
            case Operation.CREATE:
                return mapping.to_wire(asked.lead, (), creating=True)
            case Operation.REVISE:
                return mapping.to_wire(asked.lead, asked.mask, creating=False)
            case Operation.QUALIFY:
                return mapping.qualify_wire(asked.note), ()
            case Operation.DISQUALIFY:
                return mapping.disqualify_wire(asked.reason, asked.note), ()
            case _:
                assert_never(asked.operation)

    def _decided(self, clashes: Sequence[Conflict], kept: dict[str, Scalar]) -> Refuse | None:
        """What the tenant's rules for conflicts leave of a write: a part of it (None), nothing, or a question to a person."""
        fields = tuple(self._desk.eyes.slot_fields[clash.slot] for clash in clashes)
        if any(clash.winner is booking.Winner.UNDECIDED for clash in clashes):
            return Refuse(category=Category.VALIDATION, code="held-for-review", fields=fields)
        if clashes and not kept:
            return Refuse(category=Category.CONFLICT, code="newer-in-crm", fields=fields)
        return None

    async def finish(self, steps: Sequence[tuple[Job, Next]], answered_us: int) -> None:
        """Compare with the bindings as they now are, and commit; what is answered meanwhile goes into the same transaction.

        Raises what the ledger raises, to everybody whose steps were in the transaction that failed.
        """
        lot = self._lot
        lot.steps += [(job, nameable(step), answered_us) for job, step in steps]
        async with self._desk.books.lock:
            if not lot.begun:
                lot.begun = True
                await one_turn()  # answers that are here already are heard first
                self._lot = _Lot()
                try:
                    await self._finish(lot.steps)
                except BaseException as fault:
                    lot.fault = fault
                    raise
        if lot.fault is not None:
            raise lot.fault

    async def _finish(self, steps: Sequence[tuple[Job, Next, int]]) -> None:
        """Write down, under the lock, what became of these commands."""
        desk = self._desk
        bindings = await desk.ledger.bindings_by_lead(desk.conn, [job.command.lead_id for job, _, _ in steps])
        ids = [step.accepted.crm_id for _, step, _ in steps if isinstance(step, Done)]
        taken = await desk.ledger.bindings_by_crm_id(desk.conn, ids)
        verdicts = []
        for job, step, answered_us in steps:
            verdict = self._book(job, step, bindings.get(job.command.lead_id), taken, answered_us)
            if isinstance(verdict.step, Done) and verdict.binding is not None:
                taken[verdict.binding.crm_id] = verdict.binding
            verdicts.append(verdict)
        await self.commit(verdicts)
        desk.books.end(one.job.command.lead_id for one in verdicts if not isinstance(one.step, Settle))

    def _book(
        self, job: Job, step: Next, binding: Binding | None, taken: dict[str, Binding], answered_us: int
    ) -> Verdict:
        """What becomes of one job; a record that is bound to another lead is nobody's to take."""
        if isinstance(step, Retry) and step.half is not None:
            half = booking.half_done(self._desk.eyes, self._desk.mapping, binding, step.half, step.ours)
            return Verdict(job=job, step=step, binding=half)
        if not isinstance(step, Done):
            return Verdict(job=job, step=step, binding=binding)
        lead_id, crm_id = job.command.lead_id, step.accepted.crm_id
        other = taken.get(crm_id)
        if other is not None and other.lead_id != lead_id:
            merged = binding is not None and binding.state is LeadState.MERGED
            category = Category.MERGED if merged else Category.CONFLICT
            refused = Refuse(category=category, code="record-of-another-lead", other=crm_id)
            return Verdict(job=job, step=refused, binding=binding)
        booked = booking.accept(
            self._desk.eyes,
            self._desk.mapping,
            lead_id=lead_id,
            binding=binding,
            accepted=step.accepted,
            wire=job.wire,
            answered_us=answered_us,
        )
        return Verdict(job=job, step=step, binding=booked)

    # --- commit -------------------------------------------------------------------------------------------------------

    async def commit(self, verdicts: Sequence[Verdict]) -> None:
        """Write down what became of these commands: state, binding, fact, dead letter, in one transaction."""
        if not verdicts:
            return
        desk = self._desk
        now_us = desk.clock.now_us()
        changes: list[CommandChange] = []
        bindings: list[Binding] = []
        rows: list[OutboxRow] = []
        dead: list[DeadLetter] = []
        matches = [one.step.match for one in verdicts if isinstance(one.step, Refuse) and one.step.match is not None]
        for verdict in verdicts:
            command, step, asked = verdict.job.command, verdict.step, verdict.job.asked
            trace = verdict.job.span.context
            changes.append(_change(command, step, now_us))
            bound = verdict.binding or booking.unbound(command.conn, command.lead_id)
            if verdict.job.conflicts and isinstance(step, Done | Refuse):
                bound = _told(bound)
                rows.append(
                    desk.scribe.conflict(
                        command, asked, verdict.job.conflicts, desk.eyes, bound, now_us=now_us, trace=trace
                    )
                )
            match step:
                case Done(accepted=accepted):
                    bound = _told(bound)
                    bindings.append(bound)
                    rows.append(self._pushed(verdict.job, accepted, bound, now_us))
                case Refuse():
                    bound = booking.disowned(_told(bound))
                    bindings.append(bound)
                    source = f"command {command.seq}" if step.needs_person else ""
                    rows.append(
                        desk.scribe.push_failed(
                            command, asked, step, bound, dead_letter=source, now_us=now_us, trace=trace
                        )
                    )
                    if step.needs_person:
                        dead.append(_dead_letter(desk, command, step, now_us))
                case Retry(half=half) if half is not None:
                    bindings.append(bound)
                case Retry() | Settle():
                    pass
                case _:
                    assert_never(step)
        await desk.commit(
            Commit(conn=desk.conn, bindings=bindings, commands=changes, outbox=rows, dead=dead, matches=matches)
        )
        for verdict, change in zip(verdicts, changes, strict=True):
            _say(verdict.job, change)
            _observe(desk, verdict.step)

    def _pushed(self, job: Job, accepted: Accepted, bound: Binding, now_us: int) -> OutboxRow:
        """The fact that a command took effect, with the lead's fields that were written."""
        desk = self._desk
        slots = sorted(booking.written(desk.mapping, job.wire))
        return desk.scribe.pushed(
            job.command,
            job.asked,
            accepted,
            bound,
            written=[desk.eyes.slot_fields[slot] for slot in slots],
            held=desk.eyes.held,
            now_us=now_us,
            trace=job.span.context,
        )


def nameable(step: Next) -> Next:
    """The step, or what becomes of a write whose record the CRM calls by a name that no ledger and no fact can hold."""
    if isinstance(step, Done) and not is_usable_id(step.accepted.crm_id):
        return Refuse(category=Category.UNKNOWN_OUTCOME, code="record-id-unusable")
    return step


def _observe(desk: Desk, step: Next) -> None:
    match step:
        case Done():
            desk.observer.ended("done", None)
        case Refuse(category=category):
            desk.observer.ended("parked" if step.needs_person else "refused", category)
        case Retry():
            desk.observer.ended("retried", None)
        case Settle():
            desk.observer.ended("settling", None)
        case _:
            assert_never(step)


def _say(job: Job, change: CommandChange) -> None:
    """What became of a command, in the log and in its trace."""
    command = job.command
    words, level = SAID[change.state]
    log.log(
        level,
        words,
        extra={
            "event": f"command.{change.state.value}",
            "tenant": command.tenant,
            "message_id": command.message_id,
            "correlation_id": job.asked.correlation_id if job.asked is not None else "",
            "operation": command.operation.value,
            "command": command.seq,
            "attempt": change.attempt,
            "code": change.reason,
            "trace_id": job.span.trace_id,
        },
    )
    job.span.end(change.reason, {"sales.outcome": change.state.value})


def _told(binding: Binding) -> Binding:
    """The lead's binding with one fact more."""
    return msgspec.structs.replace(binding, aggregate_version=binding.aggregate_version + 1)


def _change(command: Command, step: Next, now_us: int) -> CommandChange:
    state = commands.final_state(step)
    match step:
        case Done() if command.held.startswith(holding.BUT):
            return CommandChange(
                seq=command.seq, state=CommandState.HELD, attempt=command.attempt, reason=holding.WAITS
            )
        case Done():
            return CommandChange(seq=command.seq, state=state, attempt=command.attempt, finished_us=now_us)
        case Refuse(code=code, match=match):
            code = commands.MATCH_PROPOSED if match is not None else code
            ended_us = now_us if state is CommandState.REFUSED else 0
            return CommandChange(
                seq=command.seq, state=state, attempt=command.attempt, reason=code, finished_us=ended_us
            )
        case Retry(not_before_us=when, reason=reason, counted=counted):
            unsent = command.state is CommandState.SENDING and not counted
            return CommandChange(
                seq=command.seq,
                state=state,
                attempt=command.attempt - unsent,
                waits=0 if counted else command.waits + 1,
                not_before_us=when,
                reason=reason,
            )
        case Settle(not_before_us=when, reason=reason, counted=counted):
            waits = command.waits if command.state is CommandState.UNKNOWN else 0
            return CommandChange(
                seq=command.seq,
                state=state,
                attempt=command.attempt,
                waits=waits + counted,
                not_before_us=when,
                reason=reason,
            )
        case _:
            assert_never(step)


def _dead_letter(desk: Desk, command: Command, step: Refuse, now_us: int) -> DeadLetter:
    fields = f" (fields: {', '.join(step.fields)})" if step.fields else ""
    other = f"; record {step.other} is in the way" if step.other else ""
    code, remedy = f"push.{step.category.value.replace('_', '-')}", REMEDY
    if step.match is not None:
        other = f"; record {step.other} may be this lead's"
        code, remedy = f"push.{commands.MATCH_PROPOSED}", MATCH_REMEDY
    return DeadLetter(
        source=f"command {command.seq}",
        tenant=desk.tenant,
        lead_id=command.lead_id,
        code=code,
        message=f"{command.operation.value} was refused: {step.code}{fields}{other}",
        remedy=remedy,
        key=f"{command.tenant}/{command.lead_id}".encode(),
        payload=command.payload,
        headers=b"",
        created_us=now_us,
    )
