"""Pairs of a lead and a record that a person brings: which are bound, which are known, and which do not match what there is.

A binding made of a pair knows no fields. The first look at its record learns them, and tells nothing: what Sales knows of the lead
came another way. What changes afterwards is told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from sales_crm_bridge.model import LeadState
from sales_crm_bridge.policy.booking import unbound
from sales_crm_bridge.state import CommandState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sales_crm_bridge.model import Record
    from sales_crm_bridge.state import Binding, Command


class Pair(msgspec.Struct, frozen=True):
    """A lead and its record, as ``line`` of a file says."""

    line: int
    lead_id: str
    crm_id: str


class Misfit(msgspec.Struct, frozen=True):
    """Why a line of the file binds nothing."""

    line: int
    code: str
    message: str
    remedy: str


class Seeds(msgspec.Struct, frozen=True):
    """What some pairs come to: the bindings to write, with the pair of each, how many are known, and what does not match."""

    bindings: list[tuple[Pair, Binding]]
    known: int
    misfits: list[Misfit]


def seed(
    conn: int,
    pairs: Sequence[Pair],
    by_lead: Mapping[str, Binding],
    by_crm: Mapping[str, Binding],
    commands: Sequence[Command],
) -> Seeds:
    """What becomes of ``pairs``, no two of which share a lead or a record.

    ``by_lead``, ``by_crm``: what the ledger has bound of them; ``commands``: the leads' commands that are not final. A pair
    moves no binding: where the ledger says something else, somebody has to look.
    """
    written = {
        one.lead_id for one in commands if one.state in _SENT or (one.state is CommandState.PENDING and one.attempt)
    }
    found = Seeds(bindings=[], known=0, misfits=[])
    known = 0
    for pair in pairs:
        lead, record = by_lead.get(pair.lead_id), by_crm.get(pair.crm_id)
        if lead is not None and lead.crm_id == pair.crm_id:
            known += 1
        elif (misfit := _refused(pair, lead, record, under_way=pair.lead_id in written)) is not None:
            found.misfits.append(misfit)
        else:
            found.bindings.append((pair, _bound(conn, pair, lead)))
    return msgspec.structs.replace(found, known=known)


_SENT = frozenset({CommandState.SENDING, CommandState.UNKNOWN})


def _bound(conn: int, pair: Pair, lead: Binding | None) -> Binding:
    """The binding of a pair; a lead that has none yet keeps the number of its facts."""
    return msgspec.structs.replace(lead or unbound(conn, pair.lead_id), crm_id=pair.crm_id, state=LeadState.LIVE)


def _refused(pair: Pair, lead: Binding | None, record: Binding | None, *, under_way: bool) -> Misfit | None:
    if lead is not None and lead.crm_id:
        said = f"lead {pair.lead_id!r} is bound to record {lead.crm_id!r}"
        remedy = "see which of the two is right; what is bound stays as it is"
        return Misfit(pair.line, "bindings.lead-bound", said, remedy)
    if lead is not None and lead.state is not LeadState.UNBOUND:
        said = f"lead {pair.lead_id!r} was merged into another one"
        return Misfit(pair.line, "bindings.lead-merged", said, "leave the pair out: the other lead goes on")
    if record is not None and record.crm_id != pair.crm_id:
        said = f"record {pair.crm_id!r} was merged into {record.crm_id!r} of lead {record.lead_id!r}"
        return Misfit(pair.line, "bindings.record-merged", said, "leave the pair out, or correct the record's id")
    if record is not None:
        said = f"record {pair.crm_id!r} is bound to lead {record.lead_id!r}"
        remedy = (
            "see which of the two is right. A lead with a derived id was told of by a pull that came before the pairs"
        )
        return Misfit(pair.line, "bindings.record-bound", said, remedy)
    if under_way:
        said = f"a command of lead {pair.lead_id!r} has been sent to the CRM, and its outcome is not known yet"
        return Misfit(pair.line, "bindings.lead-under-way", said, "import again when `status` shows no open command")
    return None


def unlike(pair: Pair, record: Record | None) -> Misfit | None:
    """Why the CRM's ``record`` of a pair (None: it could not be read) cannot be its lead's; None: it can."""
    if record is None or record.state is not LeadState.LIVE or record.id != pair.crm_id:
        how = "cannot be read" if record is None else _STATES[record.state]
        said = f"record {pair.crm_id!r} {how} in the CRM"
        return Misfit(pair.line, "bindings.no-record", said, "correct the record's id, or leave the pair out")
    if record.key and record.key != pair.lead_id:
        said = f"record {pair.crm_id!r} carries the key of lead {record.key!r}"
        return Misfit(pair.line, "bindings.key-differs", said, "see which of the two is right, and correct the other")
    return None


_STATES = {
    LeadState.LIVE: "answers under another id",
    LeadState.ARCHIVED: "is archived",
    LeadState.GONE: "is not there",
    LeadState.MERGED: "was merged away",
    LeadState.CONVERTED: "is converted",
    LeadState.UNBOUND: "is not there",
}
