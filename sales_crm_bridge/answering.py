"""Answering: leads that other processes want read are read in the CRM by the one that holds the account's lease (rule 14)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from sales_crm_bridge.contract import LeadStatus, lead_answer
from sales_crm_bridge.errors import BridgeError, ConnectionStopped, CrmUnavailable
from sales_crm_bridge.model import LeadState, Record, Ref
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
        refs = {
            one.lead_id: ref for one in asked if (ref := self._ref(one.lead_id, bound.get(one.lead_id))) is not None
        }
        records: dict[str, Record] = {}
        try:
            if refs:
                found = await desk.speaker.converse(desk.adapter.read(list(refs.values())), purpose="pull")
                records = dict(zip(refs, found, strict=True))
            into = await self._survivors(list(records.values()))
            return [
                self._say(one, records.get(one.lead_id), bound.get(one.lead_id), into)
                if one.lead_id in refs
                else _no(one, UNKNOWN_LEAD, "the lead has no record in the CRM")
                for one in asked
            ]
        except (CrmUnavailable, ConnectionStopped, msgspec.MsgspecError, ValueError, KeyError, TypeError) as fault:
            code = fault.code if isinstance(fault, BridgeError) else "crm.record-unreadable"
            shape = not isinstance(fault, BridgeError) or code.endswith("unreadable")
            if not shape or len(refs) <= 1:
                said = fault.message if isinstance(fault, BridgeError) else "the record has an unknown shape"
                return [_no(one, code, said) for one in asked]
        half = (len(asked) + 1) // 2
        return await self._answer(asked[:half], bound) + await self._answer(asked[half:], bound)

    def _ref(self, lead_id: str, binding: Binding | None) -> Ref | None:
        """Where to look for the lead; None: it can have no record."""
        if binding is not None and binding.crm_id:
            return Ref(id=binding.crm_id)
        return Ref(key=lead_id) if self._desk.adapter.capabilities.read_by_key else None

    async def _survivors(self, records: Sequence[Record]) -> dict[str, str]:
        """The leads that records were merged into, by record."""
        ids = sorted({record.into for record in records if record.state is LeadState.MERGED and record.into})
        if not ids:
            return {}
        found = await self._desk.ledger.bindings_by_crm_id(self._desk.conn, ids)
        return {crm_id: binding.lead_id for crm_id, binding in found.items()}

    def _say(self, asked: Inquiry, record: Record | None, binding: Binding | None, into: dict[str, str]) -> Answer:
        if record is None:
            return _no(asked, UNKNOWN_LEAD, "the CRM did not speak of the lead")
        match record.state:
            case LeadState.LIVE | LeadState.CONVERTED:
                lead, _ = self._desk.mapping.lead(record.fields, asked.lead_id)
                if record.state is LeadState.CONVERTED:
                    lead.status = LeadStatus.LEAD_STATUS_CONVERTED
                sealed = self._seal(lead_answer(lead, binding.aggregate_version if binding is not None else 0))
                return Answer(id=asked.id, asker=asked.asker, lead=sealed)
            case LeadState.MERGED:
                return _no(asked, "lead-merged", into.get(record.into, ""))
            case _:
                known = binding is not None and binding.crm_id
                if known:
                    return _no(asked, "lead-removed", "the lead's record is no longer there")
                return _no(asked, UNKNOWN_LEAD, "the CRM has no record under the lead's key")


def _no(asked: Inquiry, code: str, said: str) -> Answer:
    return Answer(id=asked.id, asker=asked.asker, code=code, said=said)
