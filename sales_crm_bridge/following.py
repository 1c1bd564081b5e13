"""Commands of merged leads: their survivors are looked up when their turn comes, and they end there or go along.

The rows stay with the loser until then. A merge is told by a page that knows nothing of commands, and a command that comes after
it, or is redriven much later, meets the same rule.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from sales_crm_bridge.model import Category, LeadState
from sales_crm_bridge.policy import following
from sales_crm_bridge.policy.commands import Next, Refuse
from sales_crm_bridge.policy.following import Carry

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sales_crm_bridge.clerk import Job
    from sales_crm_bridge.desk import Desk
    from sales_crm_bridge.state import Binding, Command


HEARD_MAX = 10_000
"""Beyond so many notices of a connection they collapse into one about the whole, which hurries every feed."""


class Follower:
    """Works on the commands of one desk whose leads were merged."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._moved: set[str] = set()

    def begin(self) -> None:
        """A round of commands has been asked for: their order is the ledger's as of now."""
        self._moved.clear()

    async def sort(self, batch: Sequence[Command], bindings: Mapping[str, Binding]) -> dict[int, Refuse | None]:
        """By command of a merged lead, why it ends here; None: not in this round, its order has changed. Under the books' lock.

        Carried commands are their survivor's now, each by its age; so what was the survivor's oldest may be so no more.
        """
        desk = self._desk
        merged = {
            command.lead_id: binding
            for command in batch
            if (binding := bindings.get(command.lead_id)) is not None and binding.state is LeadState.MERGED
        }
        if not merged and not self._moved:
            return {}
        survivors = await self.survivors(merged)
        ends: dict[int, Refuse | None] = {}
        carried: dict[str, str] = {}
        for command in batch:
            binding = merged.get(command.lead_id)
            if binding is None:
                continue
            judged = following.judge(command, binding, survivors.get(command.lead_id), follow=desk.push.follow_merged)
            if isinstance(judged, Carry):
                carried[command.lead_id] = judged.lead_id
                ends[command.seq] = None
            else:
                ends[command.seq] = judged
        if carried:
            self._moved.update(carried.values())
            await desk.ledger.carry(desk.fence, desk.conn, carried)
        return ends | {command.seq: None for command in batch if command.lead_id in self._moved}

    async def survivors(self, merged: Mapping[str, Binding]) -> dict[str, Binding]:
        """By merged lead, the lead that holds the record now; one whose chain of merges ends nowhere is left out."""
        desk = self._desk
        found: dict[str, Binding] = {}
        sought = {lead_id: following.heir_of(binding) for lead_id, binding in merged.items()}
        for _ in range(following.CHAIN_MAX):
            sought = {lead_id: crm_id for lead_id, crm_id in sought.items() if crm_id}
            if not sought:
                break
            holders = await desk.ledger.bindings_by_crm_id(desk.conn, sorted(set(sought.values())))
            further: dict[str, str] = {}
            for lead_id, crm_id in sought.items():
                holder = holders.get(crm_id)
                if holder is None:
                    continue
                if holder.state is LeadState.MERGED:
                    further[lead_id] = following.heir_of(holder)
                elif holder.lead_id != lead_id:
                    found[lead_id] = holder
            sought = further
        return found

    async def heed(self, steps: Sequence[tuple[Job, Next]], now_us: int) -> list[tuple[Job, Next]]:
        """The steps; a command whose record the CRM says to be merged or converted waits for the pull, which hears of it now."""
        desk = self._desk
        told = [(job, step) for job, step in steps if following.ahead(step)]
        if not told:
            return list(steps)
        names = {name for job, step in told if isinstance(step, Refuse) for name in (job.crm_id, step.other) if name}
        await desk.ledger.hear(desk.conn, sorted(names), now_us, HEARD_MAX)
        holders = await desk.ledger.bindings_by_crm_id(desk.conn, sorted(names))
        heeded: list[tuple[Job, Next]] = []
        for job, step in steps:
            after = following.heed(job.command, step, desk.push.patience, now_us, bound=bool(job.crm_id))
            holder = (
                holders.get(after.other) if isinstance(after, Refuse) and after.category is Category.MERGED else None
            )
            if isinstance(after, Refuse) and holder is not None and holder.lead_id != job.command.lead_id:
                after = msgspec.structs.replace(after, other_lead=holder.lead_id)
            heeded.append((job, after))
        return heeded
