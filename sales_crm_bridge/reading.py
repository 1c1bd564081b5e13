"""Reading records straight from the CRM: doubts, survivors of merges, and records that cannot be read at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from sales_crm_bridge.errors import BridgeError, CrmUnavailable
from sales_crm_bridge.model import LeadState, Record, Ref, chunks
from sales_crm_bridge.state import DeadLetter
from sales_crm_bridge.tracing import NOTHING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sales_crm_bridge.desk import Desk
    from sales_crm_bridge.model import Raw

READ_BATCH = 100


class Reader:
    """Reads for one desk; what cannot be read becomes a dead letter and holds back nothing else.

    ``span``: the work that it reads for now.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.span = NOTHING

    def decode(self, raws: Sequence[Raw], decoded: dict[str, Record]) -> tuple[list[Record], list[DeadLetter]]:
        """The records of ``raws``; one that cannot be decoded becomes a dead letter and holds back no other."""
        desk = self._desk
        todo = [raw for raw in raws if raw.id not in decoded]
        dead: list[DeadLetter] = []
        try:
            for raw, record in zip(todo, desk.adapter.decode(todo), strict=True):
                decoded[raw.id] = record
        except (msgspec.MsgspecError, BridgeError, ValueError, KeyError, TypeError):
            for raw in todo:
                try:
                    (decoded[raw.id],) = desk.adapter.decode([raw])
                except (msgspec.MsgspecError, BridgeError, ValueError, KeyError, TypeError) as fault:
                    dead.append(self._unreadable(raw.id, raw.version, type(fault).__name__, raw.data))
        return [decoded[raw.id] for raw in raws if raw.id in decoded], dead

    async def confirm(
        self, records: list[Record], doubts: Sequence[str], sure: dict[str, Record]
    ) -> tuple[list[Record], list[DeadLetter]]:
        """The records, doubtful ones as a read straight from the CRM shows them, survivors of merges before them."""
        dead: list[DeadLetter] = []
        for names in chunks(doubts, READ_BATCH):
            found = await self.read_each(names, "pull", dead)
            sure.update({name: record for name, record in zip(names, found, strict=True) if record is not None})
        if not sure:
            return records, dead
        return await self.with_survivors([sure.get(record.id, record) for record in records], dead), dead

    async def read_each(self, ids: Sequence[str], purpose: str, dead: list[DeadLetter]) -> list[Record | None]:
        """The records under ``ids``; one that cannot be read becomes a dead letter and None, and holds back no other."""
        desk = self._desk
        try:
            talk = desk.adapter.read([Ref(id=name) for name in ids])
            return list(await desk.speaker.converse(talk, purpose=purpose, causes=(self.span,)))
        except CrmUnavailable as fault:
            if not fault.code.endswith("unreadable"):
                raise
            why = fault.code
        except (msgspec.MsgspecError, ValueError, KeyError, TypeError) as fault:
            why = type(fault).__name__
        if len(ids) == 1:
            dead.append(self._unreadable(ids[0], "read", why, b""))
            return [None]
        half = (len(ids) + 1) // 2
        first = await self.read_each(ids[:half], purpose, dead)
        return first + await self.read_each(ids[half:], purpose, dead)

    async def with_survivors(self, records: list[Record], dead: list[DeadLetter]) -> list[Record]:
        """Put the live survivors of merged records before them, so that a binding can move to a record the ledger does not know."""
        lost: dict[str, list[str]] = {}
        for record in records:
            if record.state is LeadState.MERGED and record.into:
                lost.setdefault(record.into, []).append(record.id)
        if not lost:
            return records
        survivors = await self.read_each(sorted(lost), "pull", dead)
        told = [
            msgspec.structs.replace(one, merged_ids=tuple(dict.fromkeys((*one.merged_ids, *lost[name]))))
            for name, one in zip(sorted(lost), survivors, strict=True)
            if one is not None and one.state is LeadState.LIVE and one.id == name
        ]
        already = {one.id for one in told}
        return told + [record for record in records if record.id not in already]

    def _unreadable(self, crm_id: str, version: str, why: str, data: bytes) -> DeadLetter:
        desk = self._desk
        return DeadLetter(
            source=f"{desk.tenant}/record/{crm_id}@{version}",
            tenant=desk.tenant,
            lead_id="",
            code="crm.record-unreadable",
            message=f"a record of {desk.adapter.name} has a shape that the adapter does not know ({why})",
            remedy="report the record's shape to the maintainers; it is read again when it changes or the bridge is upgraded",
            key=crm_id.encode(),
            payload=data,
            headers=b"",
            created_us=desk.clock.now_us(),
        )
