"""The warden of an account's fields: looks whether the CRM still has what the tenant's file maps, and holds what it has not.

It works in the lane of the pull, between its steps, so what a page shows is always judged by a description of the fields. A page
that hints at a change of them is not believed until they were described anew.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import msgspec

from sales_crm_bridge.drift import Drift, Kinds, Quarantine
from sales_crm_bridge.errors import ConnectionStopped, CrmUnavailable
from sales_crm_bridge.model import LeadState
from sales_crm_bridge.policy import holding, quarantine, sight, walks
from sales_crm_bridge.reading import READ_BATCH
from sales_crm_bridge.state import CommandChange, CommandState, Commit, Run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sales_crm_bridge.desk import Desk
    from sales_crm_bridge.model import Record
    from sales_crm_bridge.policy.sight import Book
    from sales_crm_bridge.reading import Reader
    from sales_crm_bridge.state import DeadLetter

log = logging.getLogger(__name__)

FIELDS = "fields"
"""Where a feed is named: what came of reading leads whose commands have waited for a field."""


class Warden:
    """Works on one desk; make one per lease."""

    def __init__(self, desk: Desk, reader: Reader) -> None:
        self._desk = desk
        self._reader = reader
        self._able = desk.adapter.capabilities.describes
        self._kinds: Kinds | None = None
        self._due_us = 0
        self._failures = 0
        self._not_before_us = 0
        self._quiet: dict[int, int] = {}
        self._release_after: int | None = None
        reader.suspects, reader.look = self.suspects, self.look_at

    # --- when -----------------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """At the start of a session: what the ledger says is held, judged by what the greeting has found."""
        desk, watch = self._desk, self._desk.fields
        watch.rows = tuple(await desk.ledger.quarantines(desk.conn))
        self._kinds = await desk.ledger.field_kinds(desk.conn)
        watch.holding = bool(await desk.ledger.commands_held(desk.conn, 0, 1))
        self._release_after = 0 if watch.holding else None
        self._put_on()
        if not self._able or watch.described is not None:
            await self._judge()
        self._due_us = watch.described_us + desk.pace.fields_every_us

    @property
    def due_us(self) -> int:
        """When it has something to do next (our clock); 0: now."""
        if self._release_after is not None or (self._able and self._desk.fields.wanted):
            return self._not_before_us
        return max(self._due_us, self._not_before_us) if self._able else _NEVER_US

    async def tend(self, faults: dict[str, CrmUnavailable | ConnectionStopped]) -> bool:
        """Do what is due: describe the fields, or let commands go on. False: nothing is, or the CRM is in the way (``faults``)."""
        if self.due_us > self._desk.clock.now_us():
            return False
        try:
            if self._release_after is not None:
                await self._release(self._release_after)
            else:
                await self._look("audit")
        except (CrmUnavailable, ConnectionStopped) as fault:
            faults[FIELDS] = fault
            pause_us = walks.pause_us(self._failures)
            self._not_before_us = max(self._desk.clock.now_us() + pause_us, getattr(fault, "retry_at_us", 0))
            self._failures += 1
            return False
        faults.pop(FIELDS, None)
        self._failures = 0
        return True

    # --- what ------------------------------------------------------------------------------------------------------------

    def suspects(self, book: Book, asked_us: int) -> bool:
        """Whether a page or a read that was asked for at ``asked_us`` hints at a change of the fields that was not looked for.

        A value that the mapping cannot read hints once; if the fields are as they were, it is for a person to map it.
        """
        if not self._able or self._desk.fields.described_us >= asked_us:
            return False
        return bool(book.odd) or any(self._quiet.get(slot, 0) < asked_us for slot in book.misread)

    async def look_at(self, misread: frozenset[int]) -> None:
        """Look before a page is believed; values of these slots that the mapping cannot read hint at nothing for a while then."""
        await self._look("pull")
        self._quiet |= dict.fromkeys(misread, self._due_us)

    async def _look(self, purpose: str) -> None:
        """Have the fields described, and open and close what that means. Not under the lock of the books."""
        desk = self._desk
        asked_us = desk.clock.now_us()
        desk.fields.learn(await desk.speaker.converse(desk.adapter.describe(), purpose=purpose), asked_us)
        self._due_us = asked_us + desk.pace.fields_every_us
        await self._judge()

    async def _judge(self) -> None:
        """Compare mapping and description; what is opened and closed is told in the same transaction."""
        desk, watch = self._desk, self._desk.fields
        kinds, found = self._kinds, []
        if self._able and watch.described is not None:
            kinds = quarantine.met(desk.mapping, desk.conn, watch.described, self._kinds)
            found = quarantine.amiss(desk.mapping, watch.described, kinds.kinds)
        async with desk.books.lock:
            now_us = desk.clock.now_us()
            places = {one.field: desk.place("fields", one.field) for one in found}
            verdict = quarantine.judge(desk.mapping, found, watch.rows, desk.conn, places, now_us)
            if not verdict and kinds == self._kinds:
                return
            facts, rows = desk.books.facts, []
            for row in verdict.opened:
                facts += 1
                rows.append(desk.scribe.quarantined(row, version=facts, now_us=now_us))
            for row in verdict.closed:
                facts += 1
                rows.append(desk.scribe.unquarantined(row, version=facts, now_us=now_us))
            changed = [*verdict.opened, *verdict.closed]
            commit = Commit(conn=desk.conn, outbox=rows, facts=facts if rows else None)
            await desk.drift(Drift(commit=commit, quarantines=changed, kinds=kinds))
            desk.books.facts, self._kinds = facts, kinds
            self._keep(changed)
        for row in changed:
            self._say(row)
        if verdict.closed and watch.holding:
            self._release_after = 0

    def _keep(self, changed: Sequence[Quarantine]) -> None:
        """Take rows over that are in the ledger now."""
        watch = self._desk.fields
        watch.rows = tuple(({row.key: row for row in watch.rows} | {row.key: row for row in changed}).values())
        self._put_on()

    def _put_on(self) -> None:
        """See by what is held now."""
        desk = self._desk
        slots = {name: slot for slot, name in enumerate(desk.mapping.slots)}
        open_ = [row for row in desk.fields.open if row.slot in slots]
        desk.eyes = msgspec.structs.replace(
            desk.eyes,
            held=frozenset(slots[row.slot] for row in open_ if not row.value),
            doubted=frozenset(slots[row.slot] for row in open_ if row.value),
            heirs=quarantine.heirs(desk.fields.rows),
        )

    # --- reading again ---------------------------------------------------------------------------------------------------

    @property
    def unread_us(self) -> int:
        """When the last of the quarantines was closed after which not everything was read again; 0: there is none."""
        return max((row.closed_us for row in self._desk.fields.rows if row.closed_us and not row.reread_us), default=0)

    async def swept(self, began_us: int) -> None:
        """A sweep that began then has read everything."""
        now_us = self._desk.clock.now_us()
        read = [
            msgspec.structs.replace(row, reread_us=now_us)
            for row in self._desk.fields.rows
            if row.closed_us and not row.reread_us and row.closed_us < began_us
        ]
        if read:
            await self._desk.drift(Drift(commit=Commit(conn=self._desk.conn), quarantines=read))
            self._keep(read)

    async def _release(self, after: int) -> None:
        """Let the next held commands go on, the oldest first; what is still quarantined is held again before it is written.

        Their records are read first, so that a person's change meanwhile is known, and a conflict is one.
        """
        desk = self._desk
        held = await desk.ledger.commands_held(desk.conn, after, READ_BATCH)
        if not held:
            self._release_after = None
            desk.fields.holding = bool(await desk.ledger.commands_held(desk.conn, 0, 1))
            return
        changes = [
            CommandChange(seq=command.seq, state=CommandState.PENDING, attempt=command.attempt) for command in held
        ]
        marks = {one.seq: holding.ONLY + one.held[1:] for one in held if one.held}
        hint = Run(conn=desk.conn, feed=FIELDS, number=held[0].seq, state="completed", started_us=desk.clock.now_us())

        async def keep(book: Book, _records: Sequence[Record], dead: Sequence[DeadLetter]) -> None:
            now_us = desk.clock.now_us()
            commit = Commit(
                conn=desk.conn,
                bindings=book.bindings,
                aliases=book.aliases,
                commands=changes,
                outbox=desk.scribe.leads(book.drafts, run_id=desk.scribe.run_id(hint), now_us=now_us),
                dead=dead,
            )
            await desk.drift(Drift(commit=commit, held=marks))
            desk.observer.saw(FIELDS, book, 0)

        leads = list(dict.fromkeys(command.lead_id for command in held))
        bound = await desk.ledger.bindings_by_lead(desk.conn, leads)
        ids = [binding.crm_id for binding in bound.values() if binding.state is LeadState.LIVE and binding.crm_id]
        if ids:
            await self._reader.reread(ids, "pull", keep, sweep=0, importing=False)
        else:
            async with desk.books.lock:
                await keep(sight.NOTHING, (), ())
        self._release_after = held[-1].seq

    def _say(self, row: Quarantine) -> None:
        desk = self._desk
        if row.is_open:
            place = f"{row.file}:{row.line}:{row.column}"
            held = {"event": "field.quarantined", "tenant": desk.tenant, "code": row.cause.value, "place": place}
            log.warning("a field is quarantined: %s", row.said, extra=held)
        else:
            back = {"event": "field.restored", "tenant": desk.tenant, "code": row.cause.value}
            log.info("field %s is no longer quarantined", row.field, extra=back)


_NEVER_US = 1 << 62
