"""Push: carry Lead commands out in the CRM. Marked before the call, settled after it, never repeated blindly."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, assert_never

import msgspec

from sales_crm_bridge.bells import bell_notices
from sales_crm_bridge.clerk import Clerk, Job, Verdict
from sales_crm_bridge.errors import ConnectionStopped, CrmUnavailable
from sales_crm_bridge.holding import Holder
from sales_crm_bridge.matching import Matcher
from sales_crm_bridge.model import (
    Accepted,
    Category,
    Deferred,
    LeadState,
    Record,
    Ref,
    Rejected,
    Unknown,
    chunks,
)
from sales_crm_bridge.policy import booking, commands
from sales_crm_bridge.policy.blame import Blame, grouped
from sales_crm_bridge.policy.commands import Done, LookUp, Next, ReadBack, Refuse, Retry, Send, Settle
from sales_crm_bridge.state import Command, CommandState, Commit
from sales_crm_bridge.tasks import one_turn, together

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence

    from sales_crm_bridge.desk import Desk
    from sales_crm_bridge.errors import RuntimeFault
    from sales_crm_bridge.model import Outcome
    from sales_crm_bridge.ports import Talk
    from sales_crm_bridge.state import Binding, Match

    Call = Callable[[], Coroutine[Any, Any, None]]

T = TypeVar("T")

log = logging.getLogger(__name__)

LIVELY_US = 60_000_000
KEY_NOT_KEPT = "crm.key-not-kept"


class Pusher:
    """Works off the commands of one connection. Make one per lease; ``step`` does everything that is due once."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._clerk = Clerk(desk)
        self._matcher = Matcher(desk, self._converse)
        self._holder = Holder(desk, self._clerk)
        self._answered_us = 0
        self._blame = Blame()
        self.trouble: RuntimeFault | None = None
        self._unkept: ConnectionStopped | None = None

    async def open(self) -> None:
        """At the start of a session: whatever was left SENDING is UNKNOWN, and pull waits for those leads."""
        desk = self._desk
        not_before_us = desk.clock.now_us() + desk.push.patience.settle_us(0)
        desk.books.start(await desk.ledger.orphans(desk.fence, desk.conn, not_before_us))
        # An earlier session has seen that the CRM does not keep our key: what was lost then is not made again now.
        rows = await desk.ledger.connections(desk.conn)
        row = next((row for row in rows if row.code == KEY_NOT_KEPT), None)
        if row is not None:
            self.trouble = self._unkept = ConnectionStopped(row.code, row.message, remedy=row.remedy)

    async def step(self) -> bool:
        """Take the oldest due command of each lead, as many as fit in flight, and carry them to their outcome.

        True if there was anything to do. A CRM that does not answer, or will not let us, puts commands off; that stands in
        ``trouble`` until a call is answered; a CRM that does not keep our key stands there until one that it makes shows it.
        Raises ``LeaseLost`` and what the ledger raises.
        """
        desk = self._desk
        rules = desk.push
        ready = await desk.ledger.commands_ready(
            desk.conn, desk.clock.now_us(), rules.batch * rules.in_flight, behind_parked=rules.refuse_behind
        )
        if not ready:
            return False
        await desk.room()
        began_us = desk.clock.now_us()
        unknown = [command for command in ready if command.state is CommandState.UNKNOWN]
        pending = [command for command in ready if command.state is CommandState.PENDING]
        pieces: list[Call] = [partial(self._settle, part) for part in chunks(unknown, rules.batch)]
        # What is marked as being sent is sent in this round: what does not fit in flight stays pending, come what may.
        batches = self._blame.batches(pending, rules.batch)[: max(1, rules.in_flight - len(pieces))]
        pieces += [partial(self._send, some) for some in grouped(batches)]
        try:
            await together(pieces, rules.in_flight)
        finally:
            desk.observer.took("push", (desk.clock.now_us() - began_us) / 1e6)
        return True

    async def _converse(self, talk: Talk[T], jobs: Iterable[Job]) -> T:
        """Talk to the CRM on behalf of ``jobs``, and remember whether it answered."""
        causes = [job.span for job in jobs]
        try:
            value = await self._desk.speaker.converse(talk, purpose="push", causes=causes)
        except (CrmUnavailable, ConnectionStopped) as fault:
            self.trouble = fault
            raise
        self.trouble = self._unkept
        self._answered_us = self._desk.clock.now_us()
        return value

    # --- writing ------------------------------------------------------------------------------------------------------

    async def _send(self, batches: Sequence[Sequence[Command]]) -> None:
        """One transaction for all that is to be sent, and then each batch in a call of its own."""
        calls = await self._begin(batches)
        await together(calls, max(1, len(calls)))

    async def _begin(self, batches: Sequence[Sequence[Command]]) -> list[Call]:
        """Sort commands by what is known of their leads: refuse some, mark those to be sent. Gives the calls to make."""
        desk = self._desk
        async with desk.books.lock:
            # The next group waits for the lock meanwhile, so other tenants' work goes between two of them, not behind all.
            await one_turn()
            jobs, lookups, accepted, verdicts = await self._plan([command for batch in batches for command in batch])
            await self._clerk.commit(verdicts)
            self._blame.ended(one.job.command.seq for one in verdicts if isinstance(one.step, Refuse))
            if jobs:
                await desk.ledger.sending(desk.fence, desk.conn, [job.command.seq for job in jobs])
                desk.books.begin(job.command.lead_id for job in jobs)
        marked = {job.command.seq: job.counted() for job in jobs}
        writes = [[marked[one.seq] for one in batch if one.seq in marked] for batch in batches]
        calls: list[Call] = [partial(self._write, part) for part in writes if part]
        calls += [partial(self._look_up, part) for part in chunks(lookups, desk.push.batch)]
        return [*calls, partial(self._bind, accepted)] if accepted else calls

    async def _bind(self, accepted: Sequence[tuple[Job, Match]]) -> None:
        """Bind records that a person has accepted as the leads of these creates."""
        try:
            await self._clerk.commit(await self._matcher.bind(accepted))
        except (CrmUnavailable, ConnectionStopped) as fault:
            await self._put_off([job for job, _ in accepted], fault)

    async def _plan(
        self, batch: Sequence[Command]
    ) -> tuple[list[Job], list[Job], list[tuple[Job, Match]], list[Verdict]]:
        """What is to be written, what to be looked up or bound first, and what is decided already. Under the lock."""
        desk = self._desk
        batch = await self._holder.sift(batch)
        reviewed = await self._matcher.decided(batch)
        bindings = await desk.ledger.bindings_by_lead(desk.conn, [command.lead_id for command in batch])
        jobs: list[Job] = []
        lookups: list[Job] = []
        accepted: list[tuple[Job, Match]] = []
        verdicts: list[Verdict] = []
        for command in batch:
            job, problem = self._clerk.job(command, bindings.get(command.lead_id))
            match = reviewed.get(command.seq)
            problem = (commands.review(match) if match is not None else None) or problem
            if match is not None and problem is None:
                accepted.append((job, match))
                continue
            ours = booking.written_by_us(job.binding)
            step: Send | LookUp | ReadBack | Refuse = problem or commands.before(
                command, job.binding, written_by_us=ours
            )
            if command.behind_parked and problem is None:
                step = Refuse(category=Category.CONFLICT, code="behind-parked")
            match step:
                case Send():
                    jobs.append(job)
                case LookUp():
                    lookups.append(job)
                case ReadBack():
                    wait = Settle(not_before_us=desk.clock.now_us(), reason="record-is-there")
                    verdicts.append(Verdict(job=job, step=wait, binding=job.binding))
                case Refuse():
                    verdicts.append(Verdict(job=job, step=step, binding=job.binding))
                case _:
                    assert_never(step)
        return jobs, lookups, accepted, verdicts

    async def _look_up(self, jobs: Sequence[Job]) -> None:
        """Ask the CRM for records under our key, and bind what is found: its commands are due again at once.

        The others are refused: there is no such lead.
        """
        desk = self._desk
        if desk.adapter.capabilities.read_by_key:
            try:
                found = await self._converse(desk.adapter.read([Ref(key=job.command.lead_id) for job in jobs]), jobs)
            except (CrmUnavailable, ConnectionStopped) as fault:
                await self._put_off(jobs, fault)
                return
        else:
            found = [_gone(job.command.lead_id) for job in jobs]
        now_us = desk.clock.now_us()
        async with desk.books.lock:
            bound = await desk.ledger.bindings_by_lead(desk.conn, [job.command.lead_id for job in jobs])
            taken = await desk.ledger.bindings_by_crm_id(desk.conn, [record.id for record in found if record.id])
            fresh: list[Binding] = []
            refused: list[Verdict] = []
            for job, record in zip(jobs, found, strict=True):
                lead_id = job.command.lead_id
                held = bound.get(lead_id)
                if held is not None and held.state is not LeadState.UNBOUND:
                    job.span.end()  # a pull has bound it meanwhile
                    continue
                if record.state is not LeadState.LIVE:
                    step = Refuse(category=Category.NOT_FOUND, code="lead-unknown-in-crm")
                elif record.id in taken and taken[record.id].lead_id != lead_id:
                    step = Refuse(category=Category.CONFLICT, code="record-of-another-lead", other=record.id)
                else:
                    fresh.append(booking.bind(desk.eyes, lead_id, held, record, now_us))
                    job.span.end()
                    continue
                refused.append(Verdict(job=job, step=step, binding=held))
            if fresh:
                await desk.commit(Commit(conn=desk.conn, bindings=fresh))
            await self._clerk.commit(refused)

    async def _put_off(self, jobs: Sequence[Job], fault: CrmUnavailable | ConnectionStopped) -> None:
        """Leave commands pending that were not sent: the account's trouble, nothing of theirs."""
        desk = self._desk
        now_us = desk.clock.now_us()
        verdicts = []
        for job in jobs:
            wait_us = now_us + desk.push.patience.retry_us(job.command.waits)
            step = Retry(not_before_us=max(wait_us, retry_at_us(fault)), reason=fault.code, counted=False)
            verdicts.append(Verdict(job=job, step=step, binding=job.binding))
        await self._clerk.commit(verdicts)

    async def _write(self, jobs: Sequence[Job]) -> None:
        """One writing conversation; a batch that the CRM rejects whole is halved until the one at fault stands alone."""
        desk = self._desk
        self._blame.sent([job.command.seq for job in jobs])
        try:
            outcomes: Sequence[Outcome] = await self._converse(desk.adapter.push([job.write() for job in jobs]), jobs)
        except CrmUnavailable as fault:
            # The talk met a reading call that found no answer; what it had written before that nobody knows.
            outcomes = [Unknown(reason=fault.code)] * len(jobs)
        except ConnectionStopped as fault:
            # The rim's promise: nothing of this conversation took effect.
            outcomes = [Deferred(not_before_us=0, reason=fault.code)] * len(jobs)
        answered_us = desk.clock.now_us()
        if len(outcomes) != len(jobs):
            outcomes = [Unknown(reason="answer-mismatch")] * len(jobs)
        pairs = list(zip(jobs, outcomes, strict=True))
        split = [job for job, outcome in pairs if _is_bisect(outcome)]
        rest = [(job, outcome) for job, outcome in pairs if not _is_bisect(outcome)]
        if len(split) == 1:
            rest.append((split[0], Rejected(category=Category.VALIDATION, code="rejected-alone")))
            split = []
        await self._conclude(rest, answered_us)
        half = (len(split) + 1) // 2
        for part in (split[:half], split[half:]):
            if part:
                await self._write(part)

    async def _conclude(self, results: Sequence[tuple[Job, Outcome]], answered_us: int) -> None:
        """From outcomes to the ledger."""
        if not results:
            return
        patience = self._desk.push.patience
        if any(isinstance(outcome, Accepted) for _, outcome in results):
            self._blame.took_effect()
        steps = [(job, commands.after(job.command, outcome, patience, answered_us)) for job, outcome in results]
        if any(isinstance(step, Retry) and step.reason == commands.FIELDS_DOUBTED for _, step in steps):
            self._desk.fields.wanted = True
            await self._desk.ledger.ring(bell_notices(self._desk.conn))
        steps = await self._matcher.propose(steps, answered_us)
        await self._finish(await self._complete(steps, answered_us), answered_us)

    async def _finish(self, steps: Sequence[tuple[Job, Next]], answered_us: int) -> None:
        await self._clerk.finish(steps, answered_us)
        self._blame.ended(job.command.seq for job, step in steps if isinstance(step, Done | Refuse))

    async def _complete(self, steps: list[tuple[Job, Next]], answered_us: int) -> list[tuple[Job, Next]]:
        """Read back what was accepted with an answer that does not show every field we must now know (rule 12).

        Where that finds no answer the command is settled later: until we know what the CRM made of our values, nothing is told.
        Where the answer shows a value of ours in another form, the lead is read to be told whole; that alone holds nothing up.
        """
        desk = self._desk
        lacking = {
            job.command.seq: step.accepted.crm_id
            for job, step in steps
            if isinstance(step, Done)
            and (
                not booking.covers(desk.mapping, job.wire, step.accepted.record, new=job.is_new, held=desk.eyes.held)
                or self._keeps_key(job, step.accepted.record) is False
            )
        }
        altered = {
            job.command.seq: step.accepted.crm_id
            for job, step in steps
            if isinstance(step, Done)
            and job.command.seq not in lacking
            and step.accepted.record is not None
            and booking.altered(desk.eyes, desk.mapping, job.wire, step.accepted.record)
        }
        wanted = {**lacking, **altered}
        if not wanted:
            self._judge_keys(steps, {})
            return steps
        back: dict[int, Record] = {}
        later = Settle(not_before_us=answered_us + desk.push.patience.settle_us(0), reason="read-back")
        try:
            read = desk.adapter.read([Ref(id=crm_id) for crm_id in wanted.values()])
            records = await self._converse(read, [job for job, _ in steps if job.command.seq in wanted])
            back = dict(zip(wanted, records, strict=True))
            self._judge_keys(steps, back)
        except (CrmUnavailable, ConnectionStopped):
            log.info(
                "accepted writes are settled later",
                extra={"event": "push.settled-later", "tenant": desk.tenant, "commands": len(lacking)},
            )
        return [
            (job, booking.read_back(step, back[job.command.seq]))
            if job.command.seq in back
            else (job, later if job.command.seq in lacking else step)
            for job, step in steps
        ]

    def _keeps_key(self, job: Job, record: Record | None) -> bool | None:
        """Whether the record that was made for a job shows our key; None: it was not made now, or shows no key in any case."""
        if job.crm_id or record is None or record.state is not LeadState.LIVE:
            return None
        if not self._desk.adapter.capabilities.read_by_key:
            return None
        return record.key == job.command.lead_id

    def _judge_keys(self, steps: Sequence[tuple[Job, Next]], back: Mapping[int, Record]) -> None:
        """Say that the CRM does not keep our key, or no longer so, by the records that it has made; ``back``: as read back.

        What was made is bound, so it is not made again; but a create whose answer is lost could not be found by its key.
        """
        made = [
            (step.accepted.crm_id, self._keeps_key(job, back.get(job.command.seq, step.accepted.record)))
            for job, step in steps
            if isinstance(step, Done)
        ]
        without = [crm_id for crm_id, kept in made if kept is False]
        if without:
            self._unkept = ConnectionStopped(
                KEY_NOT_KEPT,
                f"the CRM does not keep our key: record {without[0]}, made for a lead, shows another one or none",
                remedy="create the field that holds our key, let these credentials write it, and name it where the adapter's"
                " options say",
            )
        elif any(kept for _, kept in made):
            self._unkept = None
        self.trouble = self._unkept

    # --- settling -----------------------------------------------------------------------------------------------------

    async def _settle(self, batch: Sequence[Command]) -> None:
        """Find out by reading back what became of writes whose answer was lost."""
        desk = self._desk
        patience = desk.push.patience
        desk.books.begin(command.lead_id for command in batch)
        bindings = await desk.ledger.bindings_by_lead(desk.conn, [command.lead_id for command in batch])
        pairs = [self._clerk.job(command, bindings.get(command.lead_id)) for command in batch]
        refs = [Ref(id=job.crm_id) if job.crm_id else Ref(key=job.command.lead_id) for job, _ in pairs]
        began_us = desk.clock.now_us()
        try:
            records = await self._converse(desk.adapter.read(refs), [job for job, _ in pairs])
        except (CrmUnavailable, ConnectionStopped) as fault:
            alive = self._answered_us > began_us - LIVELY_US
            if alive and len(batch) > 1:
                for job, _ in pairs:
                    job.span.end(fault.code)
                for command in batch:
                    await self._settle([command])
                return
            now_us = desk.clock.now_us()
            steps: list[tuple[Job, Next]] = [
                (job, commands.settle_later(job.command, fault.code, retry_at_us(fault), patience, now_us, alive=alive))
                for job, _ in pairs
            ]
        else:
            steps = [
                (job, self._evidence(job, problem, record))
                for (job, problem), record in zip(pairs, records, strict=True)
            ]
        await self._finish(steps, began_us)

    def _evidence(self, job: Job, problem: Refuse | None, record: Record) -> Next:
        """What a read-back proves; a command that can no longer be said in the CRM's words cannot be proven, and is parked."""
        desk = self._desk
        if problem is not None:
            return Refuse(category=Category.UNKNOWN_OUTCOME, code=problem.code, fields=problem.fields)
        differing = desk.mapping.differing(job.wire, record.fields)
        evidence = booking.evidence(
            desk.eyes, desk.mapping, job.binding, record, job.wire, differing, desk.adapter.capabilities
        )
        if self._unkept is not None:  # the CRM drops our key: that it finds nothing under it proves nothing
            evidence = msgspec.structs.replace(evidence, keyed=False)
        patience = desk.push.patience
        step = commands.settle(job.command, evidence, patience, desk.clock.now_us())
        if not isinstance(step, Retry):
            return step
        return commands.weigh(step, self._blame.failed(job.command.seq), patience)


def _is_bisect(outcome: Outcome) -> bool:
    return isinstance(outcome, Deferred) and outcome.reason == "bisect"


def retry_at_us(fault: CrmUnavailable | ConnectionStopped) -> int:
    """When the CRM asked to be tried again; 0: it did not say."""
    return fault.retry_at_us if isinstance(fault, CrmUnavailable) else 0


def _gone(key: str) -> Record:
    return Record(id="", version="", modified_us=0, fields={}, state=LeadState.GONE, key=key)
