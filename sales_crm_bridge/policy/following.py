"""What becomes of a command whose lead was merged into another one: refused once, with its successor's names, or carried along."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from sales_crm_bridge.model import Category, LeadState
from sales_crm_bridge.policy.commands import Next, Patience, Refuse, Retry
from sales_crm_bridge.policy.fields import heirs_of

if TYPE_CHECKING:
    from sales_crm_bridge.state import Binding, Command

CHAIN_MAX = 50
"""Merges that are followed one after the other; a longer chain ends nowhere."""

WAITS_MAX = 6
"""Pauses of one command in which the pull may tell of an end that the CRM has named: two minutes of them at least."""

MERGED = "lead-merged"
CONVERTED = "lead-converted"


class Carry(msgspec.Struct, frozen=True):
    """The command goes on as one of the lead ``lead_id``, in the order of that lead's commands."""

    lead_id: str


def heir_of(binding: Binding) -> str:
    """The record that a merged lead's record went into; "" where none is known."""
    heirs = heirs_of(binding) if binding.state is LeadState.MERGED else ()
    return heirs[0][1] if heirs else ""


def judge(command: Command, binding: Binding, survivor: Binding | None, *, follow: bool) -> Carry | Refuse:
    """What to do with a pending command of a merged lead; ``survivor``: the lead at the end of its chain, None: nobody's.

    A create never follows: there is nothing left to make. A survivor that is not live has an end of its own: the command's too.
    """
    heir = survivor.crm_id if survivor is not None and survivor.crm_id else heir_of(binding)
    merged = Refuse(
        category=Category.MERGED, code=MERGED, other=heir, other_lead=survivor.lead_id if survivor is not None else ""
    )
    if not follow or command.creates or survivor is None:
        return merged
    match survivor.state:
        case LeadState.LIVE:
            return Carry(survivor.lead_id)
        case LeadState.CONVERTED:
            return msgspec.structs.replace(
                merged, category=Category.CONVERTED, code=CONVERTED, successors=heirs_of(survivor)
            )
        case LeadState.ARCHIVED | LeadState.GONE:
            return msgspec.structs.replace(merged, category=Category.REMOVED, code="lead-removed")
        case LeadState.UNBOUND | LeadState.MERGED:
            return merged


def heed(command: Command, step: Next, patience: Patience, now_us: int, *, bound: bool) -> Next:
    """The step after a write or a read-back; where the CRM tells of an end ahead of any pull (``ahead``), it waits for that.

    Only the pull tells which lead lives on in a survivor's record: it may be this one, whose record has another name now; and what
    a converted lead became. When it has told, the command is due again, and goes to that record, to the survivor's lead, or
    nowhere (``judge``). A command whose lead is not ``bound`` to a record ends at once, since a create would be made again. What
    no pull tells of in ``WAITS_MAX`` pauses, as of a CRM whose reads do not show it, ends the command as the CRM has said.
    """
    reason = ahead(step)
    waited = command.waits if command.reason == reason else 0
    if not reason or not bound or waited >= WAITS_MAX:
        return step
    return Retry(not_before_us=now_us + patience.retry_us(waited), reason=reason, counted=False)


def ahead(step: Next) -> str:
    """The code of an end that the CRM has not told all of: a merge, a conversion without successors; "" there is none."""
    match step:
        case Refuse(category=Category.MERGED, other=other) if other:
            return MERGED
        case Refuse(category=Category.CONVERTED, successors=()):
            return CONVERTED
        case _:
            return ""
