"""When a record that a create has met may be its lead, and what the ledger and the facts say once a person has said that it is.

A record that is in the way of a create has a value that only one may have, mostly the e-mail address. That proposes a match and no
more: a person decides. Between her decision and the deed the record may have changed, so its ground is looked at again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from sales_crm_bridge.model import Category, LeadState, Record
from sales_crm_bridge.policy.booking import unbound
from sales_crm_bridge.policy.commands import MATCH_REFUSED, Refuse
from sales_crm_bridge.policy.drafts import Draft, How, Observed, Removed, Why
from sales_crm_bridge.policy.eyes import states_of
from sales_crm_bridge.policy.fields import FieldStates, Origin, Stamp, blank, emptied, pack, pack_heirs
from sales_crm_bridge.policy.shown import compare, shown
from sales_crm_bridge.state import Match, MatchState

if TYPE_CHECKING:
    from sales_crm_bridge.policy.eyes import Look
    from sales_crm_bridge.state import Binding, Command

ADDRESS = "email"
"""The Sales field whose value a match rests on."""


def asks(command: Command, binding: Binding | None, step: object) -> bool:
    """Whether what became of a command may be a match: a create of a lead without a record, in whose way a record is."""
    if not isinstance(step, Refuse) or not command.creates or step.part or not step.other:
        return False
    return step.category is Category.DUPLICATE and (binding is None or binding.state is LeadState.UNBOUND)


def ground(eyes: Look, record: Record, key_id: int | None = None) -> str:
    """The keyed hash of a record's address, with the key's number; "" where none is mapped or the key is no longer there."""
    if ADDRESS not in eyes.slot_fields:
        return ""
    key_id = eyes.keyring.current_id if key_id is None else key_id
    hashes = eyes.keyring.hashes([eyes.sources(record.fields)[eyes.slot_fields.index(ADDRESS)]], key_id)
    return f"{key_id:08x}{hashes[0]:016x}" if hashes is not None else ""


def holds(eyes: Look, lead_id: str, crm_id: str, told: str, record: Record, holder: Binding | None) -> bool:
    """Whether a record may be the lead's: it lives, is no other lead's but one that was born with it, and has the same address.

    A lead is born with a record, or with one that was merged into it, if its id is derived from that. ``told``: the record's ground
    when it was proposed ("": not known). ``holder``: the binding that the ledger has for its id.
    """
    if record.state is not LeadState.LIVE or record.id != crm_id or record.key not in ("", lead_id):
        return False
    born = [eyes.derive(name) for name in (crm_id, *record.merged_ids)]
    if holder is not None and holder.lead_id not in (lead_id, *born):
        return False
    now = ground(eyes, record, int(told[:8], 16)) if told else ""
    return not now or now == told


def propose(
    eyes: Look, command: Command, step: Refuse, record: Record, holder: Binding | None, now_us: int, *, refused: bool
) -> Refuse:
    """The refusal of a create with the match that it proposes, or for good where a person has ``refused`` the pair before."""
    if refused:
        return msgspec.structs.replace(step, code=MATCH_REFUSED, decided=True)
    if not holds(eyes, command.lead_id, step.other, "", record, holder):
        return step
    match = Match(
        conn=command.conn,
        tenant=command.tenant,
        lead_id=command.lead_id,
        crm_id=step.other,
        state=MatchState.PROPOSED,
        seq=command.seq,
        ground=ground(eyes, record),
        since_us=now_us,
    )
    return msgspec.structs.replace(step, match=match)


class Bound(msgspec.Struct, frozen=True, kw_only=True):
    """A match that was carried out: the bindings that change, and the facts to tell."""

    bindings: list[Binding]
    drafts: list[Draft]


def bind(eyes: Look, lead_id: str, held: Binding | None, record: Record, born: Binding | None, asked_us: int) -> Bound:
    """The record is the lead's. The lead that was ``born`` with it ends as one that was merged into this one.

    What the record holds is told of the lead at once, whole; what it does not hold yet is the create's to write. A field that a
    person has changed in the CRM keeps the time of that, so the create meets the tenant's rules for conflicts as an update would.
    """
    before = held or unbound(eyes.conn, lead_id)
    version = before.aggregate_version + 1
    occurred_us = record.modified_us or asked_us
    states = states_of(eyes, born) if born is not None else blank(len(eyes.slot_fields))
    stamp = Stamp(eyes.keyring.current_id, Origin.CRM, occurred_us, version)
    one = shown(eyes, record)
    states = emptied(compare(eyes, record, states, stamp, one)[0].states, one.held, stamp, eyes.keyring)
    states = _of_fact(states, version)
    bindings, drafts = _end(born, record, lead_id, occurred_us, asked_us) if born is not None else ([], [])
    bindings.append(
        msgspec.structs.replace(
            before,
            crm_id=record.id,
            state=LeadState.LIVE,
            aggregate_version=version,
            version=record.version,
            modified_us=record.modified_us,
            known_us=asked_us,
            fingerprint=b"",
            layout=eyes.layout,
            fields=pack(states),
            sweep=max(before.sweep, born.sweep if born is not None else 0),
            heirs=b"",
        )
    )
    why = Why.IMPORTED if born is None else Why.MERGED
    drafts.append(
        Observed(
            lead_id=lead_id,
            version=version,
            why=why,
            changed=tuple(name for slot, name in enumerate(eyes.slot_fields) if slot not in one.held),
            record=record,
            occurred_us=occurred_us,
            held=one.held,
        )
    )
    return Bound(bindings=bindings, drafts=drafts)


def _end(
    born: Binding, record: Record, lead_id: str, occurred_us: int, asked_us: int
) -> tuple[list[Binding], list[Draft]]:
    """The lead that was born with the record has been merged into ``lead_id``; one that was told as removed is so silently."""
    told = born.state is LeadState.LIVE
    version = born.aggregate_version + told
    gone = msgspec.structs.replace(
        born,
        crm_id="",
        state=LeadState.MERGED,
        aggregate_version=version,
        fingerprint=b"",
        fields=b"",
        known_us=asked_us,
        heirs=pack_heirs([("", record.id)]),
    )
    removed = Removed(
        lead_id=born.lead_id,
        version=version,
        how=How.MERGED,
        crm_id=record.id,
        into=(record.id, lead_id),
        occurred_us=occurred_us,
    )
    return [gone], [removed] if told else []


def _of_fact(states: FieldStates, version: int) -> FieldStates:
    """The states with every stamp in the fact ``version``: of this lead nothing was told before."""
    stamps = tuple(msgspec.structs.replace(stamp, version=version) for stamp in states.stamps)
    return FieldStates(states.hashes, states.marks, stamps)
