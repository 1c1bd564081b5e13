"""Holding commands back, whole or in part, while a field that they write is quarantined; the rest of them is written."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from sales_crm_bridge.drift import Drift
from sales_crm_bridge.model import Operation
from sales_crm_bridge.policy import holding
from sales_crm_bridge.state import CommandChange, CommandState, Commit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sales_crm_bridge.clerk import Clerk
    from sales_crm_bridge.desk import Desk
    from sales_crm_bridge.state import Command

log = logging.getLogger(__name__)

DEEDS = (Operation.QUALIFY, Operation.DISQUALIFY)
"""One thing each, so they are held whole."""


class Holder:
    """Works on one desk's commands."""

    def __init__(self, desk: Desk, clerk: Clerk) -> None:
        self._desk = desk
        self._clerk = clerk

    async def sift(self, batch: Sequence[Command]) -> list[Command]:
        """The commands that can be written now as they are. Under the lock of the books.

        Of the others it is written down what of them waits; where a rest can be written, they are due again at once.
        """
        desk = self._desk
        open_ = desk.fields.open
        if not open_ and not desk.fields.holding:
            return list(batch)
        earlier = await self._earlier(batch) if desk.fields.holding else {}
        passed: list[Command] = []
        changes: list[CommandChange] = []
        marks: dict[int, str] = {}
        for command in batch:
            if command.held.startswith(holding.BUT):
                passed.append(command)
                continue
            job, _ = self._clerk.job(command, None)
            names = holding.waiting(desk.mapping, open_, job.wire, earlier.get(command.lead_id, frozenset()))
            if not names or job.asked is None:
                passed.append(command)
                continue
            rest = holding.restricted(desk.mapping, holding.told(holding.BUT, names), job.wire)
            whole = bool(command.held) or command.operation in DEEDS or not rest
            state = CommandState.HELD if whole else CommandState.PENDING
            if not whole:
                marks[command.seq] = holding.told(holding.BUT, names)
            changes.append(CommandChange(seq=command.seq, state=state, attempt=command.attempt, reason=holding.WAITS))
            self._say(command, names)
        if changes:
            desk.fields.holding = True
            await desk.drift(Drift(commit=Commit(conn=desk.conn, commands=changes), held=marks))
        return passed

    async def _earlier(self, batch: Sequence[Command]) -> dict[str, frozenset[str]]:
        """By lead, the fields that earlier commands wait with."""
        desk = self._desk
        found: dict[str, frozenset[str]] = {}
        seqs = {command.lead_id: command.seq for command in batch}
        for held in await desk.ledger.commands_held_of(desk.conn, list(seqs)):
            if held.seq < seqs[held.lead_id]:
                names = holding.named(held.held)
                if not names:
                    names = holding.touched(desk.mapping, self._clerk.job(held, None)[0].wire)
                found[held.lead_id] = found.get(held.lead_id, frozenset()) | names
        return found

    def _say(self, command: Command, names: frozenset[str]) -> None:
        extra = {
            "event": "command.held",
            "tenant": command.tenant,
            "message_id": command.message_id,
            "command": command.seq,
            "code": holding.WAITS,
            "fields": ",".join(sorted(names)),
        }
        log.info("a command's fields wait for quarantined ones", extra=extra)
