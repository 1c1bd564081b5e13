"""Matches on their way: proposed where a create has met a record, and carried out where a person has accepted one.

A match is decided by ``matches``, outside; whoever holds the account's lease binds it, since nobody else writes to bindings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

import msgspec

from sales_crm_bridge.clerk import Job, Verdict
from sales_crm_bridge.errors import ConnectionStopped, CrmUnavailable
from sales_crm_bridge.model import LeadState, Ref
from sales_crm_bridge.policy import commands, matches
from sales_crm_bridge.policy.commands import Next, Refuse
from sales_crm_bridge.state import CommandChange, CommandState, Commit, Match, MatchState

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sales_crm_bridge.desk import Desk
    from sales_crm_bridge.model import Record
    from sales_crm_bridge.ports import Talk
    from sales_crm_bridge.state import Binding, Command, OutboxRow

T = TypeVar("T")


class Converse(Protocol):
    """Talk to the CRM on behalf of some jobs."""

    async def __call__(self, talk: Talk[T], jobs: Iterable[Job], /) -> T:
        """See ``push.Pusher``."""
        ...


class Matcher:
    """Works on the matches of one desk."""

    def __init__(self, desk: Desk, converse: Converse) -> None:
        self._desk = desk
        self._converse = converse

    async def decided(self, batch: Sequence[Command]) -> dict[int, Match]:
        """By command, what a person has decided of the match that it waited for."""
        leads = [command.lead_id for command in batch if command.matched and command.creates]
        found = await self._desk.ledger.matches_of(self._desk.conn, leads) if leads else []
        return {match.seq: match for match in found}

    # --- proposing ----------------------------------------------------------------------------------------------------

    async def propose(self, steps: Sequence[tuple[Job, Next]], now_us: int) -> list[tuple[Job, Next]]:
        """The steps, with a match proposed where a create has met a record that may be its lead's.

        The record is read first. Where that finds no answer the create is tried again, since nothing of it took effect.
        """
        desk = self._desk
        met = {
            job.command.seq: step.other
            for job, step in steps
            if isinstance(step, Refuse) and matches.asks(job.command, job.binding, step)
        }
        if not met:
            return list(steps)
        jobs = [job for job, _ in steps if job.command.seq in met]
        try:
            records = await self._read(list(met.values()), jobs)
        except (CrmUnavailable, ConnectionStopped) as fault:
            later = {
                job.command.seq: commands.Retry(
                    not_before_us=now_us + desk.push.patience.retry_us(job.command.waits),
                    reason=fault.code,
                    counted=False,
                )
                for job in jobs
            }
            return [(job, later.get(job.command.seq, step)) for job, step in steps]
        shown = dict(zip(met, records, strict=True))
        holders = await desk.ledger.bindings_by_crm_id(desk.conn, list(met.values()))
        refused = {
            (one.lead_id, one.crm_id)
            for one in await desk.ledger.matches_of(desk.conn, [job.command.lead_id for job in jobs])
            if one.state is MatchState.REFUSED
        }
        return [
            (
                job,
                matches.propose(
                    desk.eyes,
                    job.command,
                    step,
                    shown[job.command.seq],
                    holders.get(step.other),
                    now_us,
                    refused=(job.command.lead_id, step.other) in refused,
                )
                if isinstance(step, Refuse) and job.command.seq in met
                else step,
            )
            for job, step in steps
        ]

    # --- binding ------------------------------------------------------------------------------------------------------

    async def bind(self, pairs: Sequence[tuple[Job, Match]]) -> list[Verdict]:
        """Read the records of accepted matches and bind them; their creates go on as updates, at once. Gives those that must wait.

        A match that no longer holds is withdrawn: its create is tried again as a create, so the CRM says anew what is in its way.
        One whose record is being written to, or was seen by a pull since we asked, is tried again as it is. Raises
        ``CrmUnavailable`` and ``ConnectionStopped``.
        """
        desk = self._desk
        asked_us = desk.clock.now_us()
        records = await self._read([match.crm_id for _, match in pairs], [job for job, _ in pairs])
        async with desk.books.lock:
            leads = await desk.ledger.bindings_by_lead(desk.conn, [match.lead_id for _, match in pairs])
            holders = await desk.ledger.bindings_by_crm_id(desk.conn, [match.crm_id for _, match in pairs])
            taken: set[str] = set()
            waiting: list[Verdict] = []
            for (job, match), record in zip(pairs, records, strict=True):
                held, holder = leads.get(match.lead_id), holders.get(match.crm_id)
                if match.crm_id in taken or self._moves(holder, asked_us):
                    wait_us = desk.clock.now_us() + desk.push.patience.retry_us(job.command.waits)
                    later = commands.Retry(not_before_us=wait_us, reason="record-under-way", counted=False)
                    waiting.append(Verdict(job=job, step=later, binding=held))
                    continue
                taken.add(match.crm_id)
                await self._conclude(job, match, record, held, holder, asked_us)
        return waiting

    def _moves(self, holder: Binding | None, asked_us: int) -> bool:
        """Whether the lead that was born with the record is being written to, or was seen since we asked."""
        return holder is not None and (holder.lead_id in self._desk.books.writing or holder.known_us > asked_us)

    async def _conclude(
        self, job: Job, match: Match, record: Record, held: Binding | None, holder: Binding | None, asked_us: int
    ) -> None:
        """One match: bound, or withdrawn; its create is pending in either case. One transaction."""
        desk, command = self._desk, job.command
        now_us = desk.clock.now_us()
        bindings: Sequence[Binding] = ()
        rows: list[OutboxRow] = []
        state = MatchState.WITHDRAWN
        if held is not None and held.state is not LeadState.UNBOUND:
            state = MatchState.BOUND if held.crm_id == match.crm_id else MatchState.WITHDRAWN
        elif matches.holds(desk.eyes, match.lead_id, match.crm_id, match.ground, record, holder):
            state = MatchState.BOUND
            done = matches.bind(desk.eyes, match.lead_id, held, record, holder, asked_us)
            bindings = done.bindings
            rows = desk.scribe.leads(
                done.drafts,
                run_id=command.message_id,
                now_us=now_us,
                trace=job.span.context,
                correlation=job.asked.correlation_id if job.asked is not None else "",
            )
        # A create that was tried goes on with the record that its lead has.
        change = CommandChange(seq=command.seq, state=CommandState.PENDING, attempt=max(1, command.attempt))
        ended = msgspec.structs.replace(match, state=state, ended_us=now_us)
        await desk.commit(Commit(conn=desk.conn, bindings=bindings, commands=[change], outbox=rows, matches=[ended]))
        job.span.end("", {"sales.match": state.value})

    async def _read(self, ids: Sequence[str], jobs: Sequence[Job]) -> Sequence[Record]:
        return await self._converse(self._desk.adapter.read([Ref(id=crm_id) for crm_id in ids]), jobs)
