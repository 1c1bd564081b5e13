"""Which slots of a record can be compared: not those that are quarantined, nor those that it does not show.

What is not compared keeps what was known of it. So whatever changes meanwhile is a change, once it can be compared again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sales_crm_bridge.policy.eyes import NONE
from sales_crm_bridge.policy.fields import FieldStates, Seen, Stamp, empty_in, look

if TYPE_CHECKING:
    from sales_crm_bridge.model import Record
    from sales_crm_bridge.policy.eyes import Look


class Shown(NamedTuple):
    """Of a record, the slots that are not compared (``held``), and those that hint at a drift that nobody has found yet.

    ``odd``: it does not show them; ``misread``: it shows a value that the mapping cannot read.
    """

    held: frozenset[int]
    odd: frozenset[int]
    misread: frozenset[int]


def shown(eyes: Look, record: Record) -> Shown:
    """What of a live record can be compared.

    A field that is missing was not shown; a value that the mapping cannot read is held where the CRM no longer offers a value of
    that slot, since its records were moved to another one.
    """
    held, odd = eyes.held, NONE
    fields = record.fields
    if not eyes.reads <= fields.keys():
        lacking = frozenset(
            slot for slot, names in enumerate(eyes.slot_sources) if any(name not in fields for name in names)
        )
        odd, held = lacking - held, held | lacking
    wrong = frozenset(eyes.misread(fields)) if eyes.misread is not None else NONE
    return Shown(held | (eyes.doubted & wrong), odd, wrong - eyes.held - eyes.doubted)


def compare(eyes: Look, record: Record, states: FieldStates, stamp: Stamp, one: Shown) -> tuple[Seen, frozenset[int]]:
    """Compare what can be; gives too which slots are odd: those that ``one`` names, and those that have become empty."""
    sources = eyes.sources(record.fields)
    only = frozenset(range(len(sources))) - one.held if one.held else None
    seen = look(eyes.keyring, states, sources, stamp, only)
    if not seen.changed:
        return seen, one.odd
    return seen, one.odd | empty_in(eyes.keyring, seen)
