"""Push: carry Lead commands out in the CRM. Marked before the call, settled after it, never repeated blindly."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, assert_never

import msgspec

from sales_crm_bridge.contract import decode_command
from sales_crm_bridge.errors import ConnectionStopped, ContractError, CrmUnavailable
from sales_crm_bridge.model import Category, Deferred, LeadState, Operation, Record, Ref, Unknown, Write
from sales_crm_bridge.policy import booking, commands
from sales_crm_bridge.policy.commands import Done, LookUp, Next, Refuse, Retry, Send, Settle
from sales_crm_bridge.state import Command, CommandChange, CommandState, Commit, DeadLetter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sales_crm_bridge.contract import LeadCommand
    from sales_crm_bridge.desk import Desk
    from sales_crm_bridge.model import Outcome
    from sales_crm_bridge.state import Binding, OutboxRow

log = logging.getLogger(__name__)


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A command with what it asks for, decoded, in the CRM's words (``wire``)."""

    command: Command
    asked: LeadCommand
    wire: dict[str, str | int | float | bool | None]
    binding: Binding | None


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of one job: the next step, and what the ledger then knows of the lead."""

    job: Job
    step: Next
    binding: Binding | None


class Pusher:
    """Works off the commands of one connection. Make one per lease; ``step`` does everything that is due once."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def open(self) -> None:
        """At the start of a session: whatever was left SENDING is UNKNOWN, and pull waits for those leads."""
        desk = self._desk
        desk.books.begin(await desk.ledger.orphans(desk.fence, desk.conn))

    async def step(self) -> bool:
        """Take the oldest due command of each lead, as many as fit in flight, and carry them to their outcome.

        True if there was anything to do. Raises ``ConnectionStopped`` and ``LeaseLost``.
        """
        desk = self._desk
        rules = desk.push
        ready = await desk.ledger.commands_ready(
            desk.conn, desk.clock.now_us(), rules.batch * rules.in_flight, behind_parked=rules.refuse_behind
        )
        if not ready:
            return False
        await desk.room()
        unknown = [command for command in ready if command.state is CommandState.UNKNOWN]
        pending = [command for command in ready if command.state is CommandState.PENDING]
        work = [self._settle(part) for part in _parts(unknown, rules.batch)]
        work += [self._send(part) for part in _parts(pending, rules.batch)]
        gate = asyncio.Semaphore(rules.in_flight)

        async def one(coroutine: object) -> None:
            async with gate:
                await coroutine  # type: ignore[misc]

        async with asyncio.TaskGroup() as group:
            for piece in work:
                group.create_task(one(piece))
        return True

    # --- writing ------------------------------------------------------------------------------------------------------

    async def _send(self, batch: Sequence[Command]) -> None:
        desk = self._desk
        async with desk.books.lock:
            jobs, verdicts, lookups = await self._prepare(batch)
            await self._commit(verdicts)
        if lookups:
            jobs += await self._look_up(lookups)
        if not jobs:
            return
        leads = [job.command.lead_id for job in jobs]
        async with desk.books.lock:
            await desk.ledger.sending(desk.fence, desk.conn, [job.command.seq for job in jobs])
            desk.books.begin(leads)
        jobs = [_counted(job) for job in jobs]
        await self._write(jobs)

    async def _prepare(self, batch: Sequence[Command]) -> tuple[list[Job], list[Verdict], list[Job]]:
        """Sort commands by what is known of their leads: to be written, decided already, or to be looked up first."""
        desk = self._desk
        bindings = await desk.ledger.bindings_by_lead(desk.conn, [command.lead_id for command in batch])
        jobs: list[Job] = []
        lookups: list[Job] = []
        verdicts: list[Verdict] = []
        for command in batch:
            job, problem = self._job(command, bindings.get(command.lead_id))
            step: Send | LookUp | Refuse = problem or commands.before(command, job.binding)
            if command.behind_parked and problem is None:
                step = Refuse(category=Category.CONFLICT, code="behind-parked")
            match step:
                case Send():
                    jobs.append(job)
                case LookUp():
                    lookups.append(job)
                case Refuse():
                    verdicts.append(Verdict(job=job, step=step, binding=job.binding))
        return jobs, verdicts, lookups

    def _job(self, command: Command, binding: Binding | None) -> tuple[Job, Refuse | None]:
        """The command in the CRM's words, and why it cannot be said in them (None: it can)."""
        mapping = self._desk.mapping
        try:
            asked = decode_command(command.payload)
        except ContractError as fault:
            job = Job(command=command, asked=None, wire={}, binding=binding)  # type: ignore[arg-type]
            return job, Refuse(category=Category.CONTRACT, code=fault.code)
        match asked.operation:
            case Operation.CREATE:
                wire, misfits = mapping.to_wire(asked.lead, (), creating=True)
            case Operation.REVISE:
                wire, misfits = mapping.to_wire(asked.lead, asked.mask, creating=False)
            case Operation.QUALIFY:
                wire, misfits = mapping.qualify_wire(), []
            case Operation.DISQUALIFY:
                wire, misfits = mapping.disqualify_wire(asked.reason, asked.note), []
            case _:
                assert_never(asked.operation)
        job = Job(command=command, asked=asked, wire=wire, binding=binding)
        if misfits:
            fields = tuple(misfit.field for misfit in misfits)
            return job, Refuse(category=Category.VALIDATION, code=f"mapping.{misfits[0].code}", fields=fields)
        if not wire:
            return job, Refuse(category=Category.UNSUPPORTED, code="mapping.nothing-to-write")
        return job, None

    async def _look_up(self, jobs: list[Job]) -> list[Job]:
        """Ask the CRM for records under our key; the jobs that found one. The others are refused: there is no such lead."""
        desk = self._desk
        if not desk.adapter.capabilities.read_by_key:
            found = [_gone(job.command.lead_id) for job in jobs]
        else:
            refs = [Ref(key=job.command.lead_id) for job in jobs]
            try:
                found = await desk.speaker.converse(desk.adapter.read(refs), purpose="push")
            except CrmUnavailable as fault:
                await self._put_off(jobs, fault)
                return []
        good: list[Job] = []
        refused: list[Verdict] = []
        for job, record in zip(jobs, found, strict=True):
            if record.state is LeadState.LIVE:
                binding = booking.bind(desk.eyes, job.command.lead_id, job.binding, record, desk.clock.now_us())
                good.append(msgspec.structs.replace(job, binding=binding))
            else:
                step = Refuse(category=Category.NOT_FOUND, code="lead-unknown-in-crm")
                refused.append(Verdict(job=job, step=step, binding=job.binding))
        async with desk.books.lock:
            if good:
                bound = [job.binding for job in good if job.binding is not None]
                await desk.ledger.commit(desk.fence, Commit(conn=desk.conn, bindings=bound))
            await self._commit(refused)
        return good

    async def _put_off(self, jobs: Sequence[Job], fault: CrmUnavailable) -> None:
        step = Retry(not_before_us=fault.retry_at_us, reason=fault.code, counted=False)
        await self._commit([Verdict(job=job, step=step, binding=job.binding) for job in jobs])

    async def _write(self, jobs: Sequence[Job]) -> None:
        """One writing conversation; a batch that the CRM rejects whole is halved until the one at fault stands alone."""
        desk = self._desk
        writes = [_write_of(job) for job in jobs]
        try:
            outcomes: Sequence[Outcome] = await desk.speaker.converse(desk.adapter.push(writes), purpose="push")
        except CrmUnavailable as fault:
            # The talk met a reading call that found no answer; what it had written before that nobody knows.
            outcomes = [Unknown(reason=fault.code)] * len(jobs)
        except ConnectionStopped as fault:
            # The rim's promise: nothing of this conversation took effect. The commands wait; the session ends.
            now_us = desk.clock.now_us()
            await self._conclude([(job, Deferred(not_before_us=now_us, reason=fault.code)) for job in jobs], now_us)
            raise
        answered_us = desk.clock.now_us()
        if len(outcomes) != len(jobs):
            outcomes = [Unknown(reason="answer-mismatch")] * len(jobs)
        split = [
            job
            for job, outcome in zip(jobs, outcomes, strict=True)
            if isinstance(outcome, Deferred) and outcome.reason == "bisect"
        ]
        rest = [
            (job, outcome)
            for job, outcome in zip(jobs, outcomes, strict=True)
            if not (isinstance(outcome, Deferred) and outcome.reason == "bisect")
        ]
        await self._conclude(rest, answered_us)
        if len(split) == 1:
            alone = Deferred(not_before_us=answered_us + desk.push.patience.retry_first_us, reason="rejected-alone")
            await self._conclude([(split[0], alone)], answered_us)
        elif split:
            half = (len(split) + 1) // 2
            await self._write(split[:half])
            await self._write(split[half:])

    async def _conclude(self, results: Sequence[tuple[Job, Outcome]], answered_us: int) -> None:
        if not results:
            return
        desk = self._desk
        steps = [
            (job, commands.after(job.command, outcome, desk.push.patience, answered_us)) for job, outcome in results
        ]
        steps = await self._complete(steps)
        async with desk.books.lock:
            leads = [job.command.lead_id for job, _ in steps]
            bindings = await desk.ledger.bindings_by_lead(desk.conn, leads)
            verdicts = [self._book(job, step, bindings.get(job.command.lead_id), answered_us) for job, step in steps]
            await self._commit(verdicts)
            desk.books.end(job.command.lead_id for job, step in steps if not isinstance(step, Settle))

    async def _complete(self, steps: list[tuple[Job, Next]]) -> list[tuple[Job, Next]]:
        """Read back what was accepted with an answer that does not show every field we must now know (rule 12)."""
        desk = self._desk
        lacking = [
            job
            for job, step in steps
            if isinstance(step, Done)
            and not booking.covers(desk.mapping, job.wire, step.accepted.record, new=not _id(job))
        ]
        if not lacking:
            return steps
        ids = {job.command.seq: step.accepted.crm_id for job, step in steps if isinstance(step, Done)}
        refs = [Ref(id=ids[job.command.seq]) for job in lacking]
        try:
            records = await desk.speaker.converse(desk.adapter.read(refs), purpose="push")
        except CrmUnavailable:
            return steps  # the next pull learns the rest; until then these fields count as empty
        back = {job.command.seq: record for job, record in zip(lacking, records, strict=True)}
        return [(job, booking.read_back(step, back.get(job.command.seq))) for job, step in steps]

    def _book(self, job: Job, step: Next, binding: Binding | None, answered_us: int) -> Verdict:
        if not isinstance(step, Done):
            return Verdict(job=job, step=step, binding=binding)
        booked = booking.accept(
            self._desk.eyes,
            self._desk.mapping,
            lead_id=job.command.lead_id,
            binding=binding,
            accepted=step.accepted,
            wire=job.wire,
            answered_us=answered_us,
        )
        return Verdict(job=job, step=step, binding=booked)

    # --- settling -----------------------------------------------------------------------------------------------------

    async def _settle(self, batch: Sequence[Command]) -> None:
        """Find out by reading back what became of writes whose answer was lost."""
        desk = self._desk
        desk.books.begin(command.lead_id for command in batch)
        bindings = await desk.ledger.bindings_by_lead(desk.conn, [command.lead_id for command in batch])
        jobs = [self._job(command, bindings.get(command.lead_id))[0] for command in batch]
        refs = [Ref(id=_id(job)) if _id(job) else Ref(key=job.command.lead_id) for job in jobs]
        now_us = desk.clock.now_us()
        try:
            records = await desk.speaker.converse(desk.adapter.read(refs), purpose="push")
        except CrmUnavailable as fault:
            steps: list[tuple[Job, Next]] = [
                (job, commands.settle_later(job.command, fault.code, fault.retry_at_us, desk.push.patience, now_us))
                for job in jobs
            ]
        else:
            steps = [(job, self._verdict_of(job, record, now_us)) for job, record in zip(jobs, records, strict=True)]
        async with desk.books.lock:
            bindings = await desk.ledger.bindings_by_lead(desk.conn, [job.command.lead_id for job in jobs])
            verdicts = [self._book(job, step, bindings.get(job.command.lead_id), now_us) for job, step in steps]
            await self._commit(verdicts)
            desk.books.end(job.command.lead_id for job, step in steps if not isinstance(step, Settle))

    def _verdict_of(self, job: Job, record: Record, now_us: int) -> Next:
        desk = self._desk
        differing = desk.mapping.differing(job.wire, record.fields)
        touched = booking.touched(desk.eyes, desk.mapping, job.binding, differing, record)
        evidence = commands.Evidence(record=record, wanted=job.wire, differing=differing, touched=touched)
        return commands.settle(job.command, evidence, desk.push.patience, now_us)

    # --- commit -------------------------------------------------------------------------------------------------------

    async def _commit(self, verdicts: Sequence[Verdict]) -> None:
        """Write down what became of these commands: state, binding, fact, dead letter, in one transaction."""
        if not verdicts:
            return
        desk = self._desk
        now_us = desk.clock.now_us()
        changes: list[CommandChange] = []
        bindings: list[Binding] = []
        rows: list[OutboxRow] = []
        dead: list[DeadLetter] = []
        for verdict in verdicts:
            command, step = verdict.job.command, verdict.step
            changes.append(_change(command, step, now_us))
            match step:
                case Done(accepted=accepted):
                    bound = _next_version(verdict)
                    bindings.append(bound)
                    written = desk.mapping.names_written(command.operation, verdict.job.asked.mask)
                    asked = verdict.job.asked
                    rows.append(desk.scribe.pushed(command, asked, accepted, bound, written=written, now_us=now_us))
                case Refuse():
                    bound = _next_version(verdict)
                    bindings.append(bound)
                    source = f"command {command.seq}" if step.needs_person else ""
                    asked = verdict.job.asked
                    rows.append(desk.scribe.push_failed(command, asked, step, bound, dead_letter=source, now_us=now_us))
                    if step.needs_person:
                        dead.append(_dead_letter(desk, command, step, now_us))
                case Retry() | Settle():
                    log.info("command %d waits: %s", command.seq, step.reason, extra={"tenant": desk.tenant})
        await desk.ledger.commit(
            desk.fence, Commit(conn=desk.conn, bindings=bindings, commands=changes, outbox=rows, dead=dead)
        )


def _parts(items: Sequence[Command], size: int) -> list[Sequence[Command]]:
    return [items[at : at + size] for at in range(0, len(items), size)]


def _id(job: Job) -> str:
    return job.binding.crm_id if job.binding is not None else ""


def _gone(key: str) -> Record:
    return Record(id="", version="", modified_us=0, fields={}, state=LeadState.GONE, key=key)


def _counted(job: Job) -> Job:
    command = msgspec.structs.replace(job.command, attempt=job.command.attempt + 1, state=CommandState.SENDING)
    return msgspec.structs.replace(job, command=command)


def _write_of(job: Job) -> Write:
    return Write(
        trace=f"{job.command.message_id}.{job.command.attempt}",
        operation=job.command.operation,
        key=job.command.lead_id,
        fields=job.wire,
        crm_id=_id(job),
        version=job.binding.version if job.binding is not None else "",
    )


def _next_version(verdict: Verdict) -> Binding:
    """The lead's binding with one fact more; an unbound one where there was none."""
    command = verdict.job.command
    binding = verdict.binding or booking.unbound(command.conn, command.lead_id)
    return msgspec.structs.replace(binding, aggregate_version=binding.aggregate_version + 1)


def _change(command: Command, step: Next, now_us: int) -> CommandChange:
    state = commands.final_state(step)
    match step:
        case Done():
            return CommandChange(seq=command.seq, state=state, attempt=command.attempt, finished_us=now_us)
        case Refuse(code=code):
            final = state is CommandState.REFUSED
            return CommandChange(
                seq=command.seq, state=state, attempt=command.attempt, reason=code, finished_us=now_us if final else 0
            )
        case Retry(not_before_us=when, reason=reason, counted=counted):
            sent = command.state is CommandState.SENDING
            attempt = command.attempt - 1 if sent and not counted else command.attempt
            return CommandChange(
                seq=command.seq, state=state, attempt=attempt, not_before_us=when, reason=reason, settle=command.settle
            )
        case Settle(not_before_us=when, reason=reason):
            return CommandChange(
                seq=command.seq,
                state=state,
                attempt=command.attempt,
                not_before_us=when,
                reason=reason,
                settle=command.settle + 1,
            )


def _dead_letter(desk: Desk, command: Command, step: Refuse, now_us: int) -> DeadLetter:
    fields = f" (fields: {', '.join(step.fields)})" if step.fields else ""
    return DeadLetter(
        source=f"command {command.seq}",
        tenant=desk.tenant,
        lead_id=command.lead_id,
        code=f"push.{step.category.value.replace('_', '-')}",
        message=f"{command.operation.value} was refused: {step.code}{fields}",
        remedy="see docs/operations.md under this code; mend the cause, then redrive the command",
        key=f"{command.tenant}/{command.lead_id}".encode(),
        payload=command.payload,
        headers=b"",
        created_us=now_us,
    )
