"""The tenant's eyes: with what a record is compared, and what a binding knows in the present layout."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from sales_crm_bridge.policy.fields import FieldStates, Keyring, blank, carry_over, unpack

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sales_crm_bridge.state import Binding

NONE: frozenset[int] = frozenset()


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """The tenant's eyes: what is compared (``layout``, the slots' names, and ``sources`` of a record) and with which keys.

    ``slot_fields``: the Sales field of each slot. ``derive``: the lead id of a record that Sales never named. ``unique_key``: our
    key stands in at most one record of this CRM. ``layouts``: older layouts by number.

    ``held``: slots that are quarantined; ``doubted``: those of which the CRM no longer offers a mapped value. ``reads``: the CRM
    fields that a record must show, ``slot_sources`` by slot; ``misread``: the slots that the mapping cannot read in a record.
    ``heirs``: by slot, those whose place it takes (see ``fields.carry_over``).
    """

    conn: int
    layout: int
    layouts: Mapping[int, tuple[str, ...]]
    slot_fields: tuple[str, ...]
    sources: Callable[[dict[str, str | int | float | bool | None]], Sequence[str | bytes]]
    keyring: Keyring
    derive: Callable[[str], str]
    unique_key: bool
    held: frozenset[int] = NONE
    doubted: frozenset[int] = NONE
    reads: frozenset[str] = frozenset()
    slot_sources: tuple[tuple[str, ...], ...] = ()
    misread: Callable[[dict[str, str | int | float | bool | None]], Sequence[int]] | None = None
    heirs: Mapping[str, tuple[str, ...]] = msgspec.field(default_factory=dict)


def states_of(eyes: Look, binding: Binding) -> FieldStates:
    """A binding's field states in the present layout."""
    if not binding.fields:
        return blank(len(eyes.slot_fields))
    states = unpack(binding.fields)
    if binding.layout == eyes.layout:
        return states
    return carry_over(states, eyes.layouts[binding.layout], eyes.layouts[eyes.layout], eyes.heirs)
