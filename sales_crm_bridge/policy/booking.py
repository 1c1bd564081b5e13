"""What a binding knows after a push: our own values are known as ours, nobody else's change is swallowed.

An answer to a write shows our values as the CRM has normalised them, and may show a person's change as well. So only the slots
that we wrote are taken from it; the others keep what was known, and the record's bytes count as unseen, so that the next pull
compares them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from sales_crm_bridge.model import Accepted, LeadState, Record, Scalar
from sales_crm_bridge.policy.commands import Done, Next
from sales_crm_bridge.policy.fields import Origin, Stamp, blank, look, pack
from sales_crm_bridge.policy.sight import Look, states_of
from sales_crm_bridge.state import Binding

if TYPE_CHECKING:
    from collections.abc import Sequence


class Slots(Protocol):
    """What booking needs of a tenant's mapping."""

    def slot_sources(self, slot: int) -> tuple[str, ...]:
        """The CRM fields that a slot is read from."""
        ...

    @property
    def slots(self) -> tuple[str, ...]:
        """The slots' names."""
        ...

    @property
    def crm_fields(self) -> tuple[str, ...]:
        """Every CRM field that the mapping asks for."""
        ...


def unbound(conn: int, lead_id: str) -> Binding:
    """A lead without a record yet."""
    return Binding(conn=conn, lead_id=lead_id, crm_id="", state=LeadState.UNBOUND, aggregate_version=0)


def written(mapping: Slots, wire: dict[str, Scalar]) -> frozenset[int]:
    """The slots that a write of ``wire`` touches."""
    return frozenset(
        slot for slot in range(len(mapping.slots)) if any(name in wire for name in mapping.slot_sources(slot))
    )


def covers(mapping: Slots, wire: dict[str, Scalar], record: Record | None, *, new: bool) -> bool:
    """Whether an answer shows every field that must be known after the write: all of a new record, else the written slots."""
    if record is None:
        return False
    slots = range(len(mapping.slots)) if new else written(mapping, wire)
    return all(name in record.fields for slot in slots for name in mapping.slot_sources(slot))


def read_back(step: Next, record: Record | None) -> Next:
    """An accepted step with what a read-back showed, if it is the same state of the record that the answer told of.

    A read-back that shows a later state may hold a person's change: then only what the answer itself showed counts.
    """
    if not isinstance(step, Done) or record is None or record.state is not LeadState.LIVE:
        return step
    told = step.accepted.record
    if told is not None and told.modified_us and record.modified_us > told.modified_us:
        return step
    return Done(msgspec.structs.replace(step.accepted, record=record))


def bind(eyes: Look, lead_id: str, binding: Binding | None, record: Record, asked_us: int) -> Binding:
    """A lead of ours whose record the ledger did not know (found under our key): its fields are learnt as they are."""
    held = binding or unbound(eyes.conn, lead_id)
    stamp = Stamp(eyes.keyring.current_id, Origin.LEARNT, record.modified_us or asked_us, held.aggregate_version)
    seen = look(eyes.keyring, blank(len(eyes.slot_fields)), eyes.sources(record.fields), stamp)
    return msgspec.structs.replace(
        held,
        crm_id=record.id,
        state=LeadState.LIVE,
        version=record.version,
        modified_us=record.modified_us,
        known_us=asked_us,
        fingerprint=b"",
        layout=eyes.layout,
        fields=pack(seen.states),
    )


def accept(
    eyes: Look,
    mapping: Slots,
    *,
    lead_id: str,
    binding: Binding | None,
    accepted: Accepted,
    wire: dict[str, Scalar],
    answered_us: int,
) -> Binding:
    """The binding after a write took effect.

    Written slots get the CRM's own form of our values (ours, where the answer does not show them). A new record's other slots
    are learnt where the answer shows them, and count as empty where not: a value found there later is somebody's change.
    """
    held = binding or unbound(eyes.conn, lead_id)
    record = accepted.record or Record(id=accepted.crm_id, version="", modified_us=0, fields={})
    new = not held.fields
    time_us = record.modified_us or answered_us
    ours = Stamp(eyes.keyring.current_id, Origin.SALES, time_us, held.aggregate_version + 1)
    shown_of_ours = {name: value for name, value in record.fields.items() if value is not None or name not in wire}
    values = eyes.sources({**wire, **shown_of_ours})
    mine = written(mapping, wire)
    if new:
        states = blank(len(eyes.slot_fields), Stamp(eyes.keyring.current_id, Origin.LEARNT, time_us, 0), eyes.keyring)
        shown = frozenset(
            slot
            for slot in range(len(mapping.slots))
            if all(name in record.fields for name in mapping.slot_sources(slot))
        )
        theirs = Stamp(eyes.keyring.current_id, Origin.LEARNT, time_us, held.aggregate_version + 1)
        states = look(eyes.keyring, states, values, theirs, shown - mine).states
    else:
        states = states_of(eyes, held)
    states = look(eyes.keyring, states, values, ours, mine).states
    return msgspec.structs.replace(
        held,
        crm_id=accepted.crm_id,
        state=LeadState.LIVE,
        version=record.version or held.version,
        modified_us=max(held.modified_us, record.modified_us),
        known_us=answered_us,
        fingerprint=b"",
        layout=eyes.layout,
        fields=pack(states),
    )


def touched(
    eyes: Look, mapping: Slots, binding: Binding | None, differing: Sequence[str], record: Record
) -> tuple[str, ...]:
    """Those of the ``differing`` CRM fields whose slot is not as the binding last knew it: somebody else has written them."""
    if binding is None or not binding.fields or not differing:
        return ()
    stamp = Stamp(eyes.keyring.current_id, Origin.CRM, record.modified_us, 0)
    seen = look(eyes.keyring, states_of(eyes, binding), eyes.sources(record.fields), stamp)
    moved = {name for slot in seen.changed for name in mapping.slot_sources(slot)}
    return tuple(name for name in differing if name in moved)
