"""Which fields of a command wait for a quarantined one, while the rest of it is written.

A command says it in one text, ``Command.held``: ``-a,b``: all but these Sales fields are to be written now; ``+a,b``: these alone,
since the rest is; "": all of it. What waits of a lead waits in the order of its commands: a later command's field waits behind an
earlier one's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sales_crm_bridge.drift import Cause
from sales_crm_bridge.mapping import WriteRule
from sales_crm_bridge.mapping.scalars import text_of

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sales_crm_bridge.drift import Quarantine
    from sales_crm_bridge.mapping import Mapping, Rule
    from sales_crm_bridge.model import Scalar

    Wire = dict[str, Scalar]

BUT, ONLY = "-", "+"
WAITS = "field-quarantined"
"""Why a command is held."""


def told(sign: str, names: Collection[str]) -> str:
    """The text for these Sales fields."""
    return sign + ",".join(sorted(names))


def named(held: str) -> frozenset[str]:
    """The Sales fields that the text names."""
    return frozenset(held[1:].split(",")) if held else frozenset()


def restricted(mapping: Mapping, held: str, wire: Wire) -> Wire:
    """What is to be written now of all that a command would write."""
    if not held:
        return wire
    names = named(held)
    crm = {name for rule in mapping.spec.rules if rule.name in names for name in rule.sources}
    return {name: value for name, value in wire.items() if (name in crm) == (held[0] == ONLY)}


def touched(mapping: Mapping, wire: Wire) -> frozenset[str]:
    """The Sales fields that a write touches."""
    return frozenset(rule.name for rule in _written(mapping, wire))


def waiting(
    mapping: Mapping, quarantines: Sequence[Quarantine], wire: Wire, earlier: Collection[str]
) -> frozenset[str]:
    """The Sales fields of a write that must wait.

    Quarantined ones, those that would get a value that is gone, and those that ``earlier`` commands of the lead wait with.
    """
    whole = {one.slot for one in quarantines if one.cause is not Cause.OPTION}
    values = {(one.slot, one.value) for one in quarantines if one.cause is Cause.OPTION}
    return frozenset(
        rule.name
        for rule in _written(mapping, wire)
        if rule.slot in whole or rule.name in earlier or (rule.slot, text_of(wire.get(rule.crm[0]))) in values
    )


def _written(mapping: Mapping, wire: Wire) -> list[Rule]:
    return [
        rule
        for rule in mapping.spec.rules
        if rule.write is not WriteRule.NEVER and any(name in wire for name in rule.crm)
    ]
