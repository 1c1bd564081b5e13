"""Answering: leads that other processes want read are read in the CRM by the one that holds the account's lease (rule 14)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from sales_crm_bridge.contract import LeadStatus, lead_answer
from sales_crm_bridge.errors import BridgeError, ConnectionStopped, CrmUnavailable
from sales_crm_bridge.model import LeadState, Record, Ref
from sales_crm_bridge.policy.fields import heirs_of
from sales_crm_bridge.reading import READ_BATCH
from sales_crm_bridge.state import Answer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sales_crm_bridge.desk import Desk
    from sales_crm_bridge.state import Binding, Inquiry

UNKNOWN_LEAD = "lead-unknown-in-crm"


class Answerer:
    """Answers the inquiries about one connection's leads. ``seal`` closes an answer before it reaches the ledger (rule 15)."""

    def __init__(self, desk: Desk, seal: Callable[[bytes], bytes]) -> None:
        self._desk = desk
        self._seal = seal

    async def step(self) -> bool:
        """Read what is asked for, in one batch; True if there was anything.

        That the CRM gives none is an answer too: it is the asker's to try again. Raises ``LeaseLost`` and what the ledger raises.
        """
        desk = self._desk
        asked = await desk.ledger.inquiries(desk.conn, desk.clock.now_us(), READ_BATCH)
        if not asked:
            return False
        bound = await desk.ledger.bindings_by_lead(desk.conn, [one.lead_id for one in asked])
        answers = await self._answer(asked, bound)
        await desk.ledger.answer(desk.fence, answers, desk.clock.now_us())
        return True

    async def _answer(self, asked: Sequence[Inquiry], bound: dict[str, Binding]) -> list[Answer]:
        """One answer each. A record that cannot be read costs the others nothing."""
        desk = self._desk
        records = {one.lead_id: gone for one in asked if (gone := _merged(bound.get(one.lead_id))) is not None}
        leads = [one.lead_id for one in asked if one.lead_id not in records]
        refs = {name: ref for name in leads if (ref := self._ref(name, bound.get(name))) is not None}
        try:
            if refs:
                found = await desk.speaker.converse(desk.adapter.read(list(refs.values())), purpose="pull")
                records |= dict(zip(refs, found, strict=True))
            into = await self._survivors(list(records.values()))
            return [self._say(one, records.get(one.lead_id), bound.get(one.lead_id), into) for one in asked]
        except (CrmUnavailable, ConnectionStopped, msgspec.MsgspecError, ValueError, KeyError, TypeError) as fault:
            code = fault.code if isinstance(fault, BridgeError) else "crm.record-unreadable"
            shape = not isinstance(fault, BridgeError) or code.endswith("unreadable")
            if not shape or len(asked) == 1:
                said = fault.message if isinstance(fault, BridgeError) else "the record has an unknown shape"
                retry_at_us = fault.retry_at_us if isinstance(fault, CrmUnavailable) else 0
                return [_no(one, code, said, retry_at_us) for one in asked]
        half = (len(asked) + 1) // 2
        return await self._answer(asked[:half], bound) + await self._answer(asked[half:], bound)

    def _ref(self, lead_id: str, binding: Binding | None) -> Ref | None:
        """Where to look for the lead; None: it can have no record."""
        if binding is not None and binding.crm_id:
            return Ref(id=binding.crm_id)
        return Ref(key=lead_id) if self._desk.adapter.capabilities.read_by_key else None

    async def _survivors(self, records: Sequence[Record]) -> dict[str, Record]:
        """The records that others were merged into, by id; ``key`` of each is the lead that it belongs to ("" not known).

        Read too, since a merge may move a lead to a new record before any pull has seen it.
        """
        desk = self._desk
        ids = sorted({record.into for record in records if record.state is LeadState.MERGED and record.into})
        if not ids:
            return {}
        found = await desk.speaker.converse(desk.adapter.read([Ref(id=name) for name in ids]), purpose="pull")
        bound = await desk.ledger.bindings_by_crm_id(desk.conn, ids)
        leads = {name: binding.lead_id for name, binding in bound.items()}
        return {
            name: msgspec.structs.replace(record, key=record.key or leads.get(name, ""))
            for name, record in zip(ids, found, strict=True)
        }

    def _say(self, asked: Inquiry, record: Record | None, binding: Binding | None, into: dict[str, Record]) -> Answer:
        survivor = into.get(record.into) if record is not None and record.state is LeadState.MERGED else None
        if survivor is not None and survivor.key == asked.lead_id:
            record = survivor
        if record is None:
            return _no(asked, UNKNOWN_LEAD, "the lead has no record in the CRM")
        match record.state:
            case LeadState.LIVE | LeadState.CONVERTED:
                lead, _ = self._desk.mapping.lead(record.fields, asked.lead_id)
                if record.state is LeadState.CONVERTED:
                    lead.status = LeadStatus.LEAD_STATUS_CONVERTED
                sealed = self._seal(lead_answer(lead, binding.aggregate_version if binding is not None else 0))
                return Answer(id=asked.id, asker=asked.asker, lead=sealed)
            case LeadState.MERGED:
                return _no(asked, "lead-merged", survivor.key if survivor is not None else "")
            case _:
                known = binding is not None and binding.crm_id
                if known:
                    return _no(asked, "lead-removed", "the lead's record is no longer there")
                return _no(asked, UNKNOWN_LEAD, "the CRM has no record under the lead's key")


def _merged(binding: Binding | None) -> Record | None:
    """What a read of a lead would show whose record is known to be merged into another; None: it is not."""
    into = heirs_of(binding)
    if binding is None or binding.state is not LeadState.MERGED or not into:
        return None
    return Record(id=binding.crm_id, version="", modified_us=0, fields={}, state=LeadState.MERGED, into=into[0][1])


def _no(asked: Inquiry, code: str, said: str, retry_at_us: int = 0) -> Answer:
    return Answer(id=asked.id, asker=asked.asker, code=code, said=said, retry_at_us=retry_at_us)
