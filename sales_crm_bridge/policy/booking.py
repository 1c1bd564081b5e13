"""What a binding knows after a push: our own values are known as ours, nobody else's change is swallowed.

An answer to a write shows our values as the CRM has normalised them, and may show a person's change as well. So only the slots
that we wrote are taken from it; the others keep what was known, and the record's bytes count as unseen, so that the next pull
compares them.
"""

from __future__ import annotations

import enum
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

import msgspec

from sales_crm_bridge.model import Accepted, LeadState, Record, Scalar
from sales_crm_bridge.policy.commands import Done, Evidence, Next
from sales_crm_bridge.policy.eyes import Look, states_of
from sales_crm_bridge.policy.fields import FieldStates, Origin, Stamp, blank, emptied, look, pack, unpack
from sales_crm_bridge.state import Binding

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from sales_crm_bridge.model import Capabilities


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

    def __hash__(self) -> int:
        """A mapping never changes."""
        ...


def unbound(conn: int, lead_id: str) -> Binding:
    """A lead without a record yet."""
    return Binding(conn=conn, lead_id=lead_id, crm_id="", state=LeadState.UNBOUND, aggregate_version=0)


def written(mapping: Slots, wire: dict[str, Scalar]) -> frozenset[int]:
    """The slots that a write of ``wire`` touches."""
    return _touched(mapping, frozenset(wire))


# A tenant's writes and answers name the same few sets of fields again and again.
@lru_cache(maxsize=1024)
def _touched(mapping: Slots, names: frozenset[str]) -> frozenset[int]:
    return frozenset(
        slot for slot in range(len(mapping.slots)) if any(name in names for name in mapping.slot_sources(slot))
    )


@lru_cache(maxsize=1024)
def _shown(mapping: Slots, names: frozenset[str]) -> frozenset[int]:
    return frozenset(
        slot for slot in range(len(mapping.slots)) if all(name in names for name in mapping.slot_sources(slot))
    )


def covers(
    mapping: Slots,
    wire: dict[str, Scalar],
    record: Record | None,
    *,
    new: bool,
    held: frozenset[int] = frozenset(),
) -> bool:
    """Whether an answer shows every field that must be known after the write: all of a new record, else the written slots.

    ``held``: slots that are quarantined, of which nothing is to be known.
    """
    if record is None:
        return False
    shown = _shown(mapping, frozenset(record.fields)) | held
    return len(shown) == len(mapping.slots) if new else shown >= written(mapping, wire)


def altered(eyes: Look, mapping: Slots, wire: dict[str, Scalar], record: Record) -> bool:
    """Whether an answer that does not show the whole record shows a value of ours in another form than we gave it.

    Sales then knows neither from its intent nor from the answer what the lead is now: a CRM drops blanks, lowers case.
    """
    shown = _shown(mapping, frozenset(record.fields))
    if len(shown) == len(mapping.slots):
        return False
    ours, theirs = eyes.sources({**record.fields, **wire}), eyes.sources(record.fields)
    return any(ours[slot] != theirs[slot] for slot in shown & written(mapping, wire))


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
    """A lead of ours whose record the ledger did not know (found under our key).

    Its fields count as empty, so the next pull tells what they hold: nobody knows what was told of them in an earlier life.
    """
    held = binding or unbound(eyes.conn, lead_id)
    stamp = Stamp(eyes.keyring.current_id, Origin.LEARNT, record.modified_us or asked_us, held.aggregate_version)
    return msgspec.structs.replace(
        held,
        crm_id=record.id,
        state=LeadState.LIVE,
        heirs=b"",
        version="",
        modified_us=0,
        known_us=0,
        fingerprint=b"",
        layout=eyes.layout,
        fields=pack(blank(len(eyes.slot_fields), stamp, eyes.keyring)),
    )


def written_by_us(binding: Binding | None) -> bool:
    """Whether the ledger remembers a write of ours to this lead's record."""
    if binding is None or not binding.fields:
        return False
    return any(stamp.origin is Origin.SALES for stamp in unpack(binding.fields).stamps)


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
    if held.state not in {LeadState.UNBOUND, LeadState.LIVE}:
        return held  # merged, removed or converted while the write was under way: what was told of that stands
    record = accepted.record or Record(id=accepted.crm_id, version="", modified_us=0, fields={})
    new = held.state is LeadState.UNBOUND and not held.fields
    time_us = record.modified_us or answered_us
    ours = Stamp(eyes.keyring.current_id, Origin.SALES, time_us, held.aggregate_version + 1)
    shown_of_ours = {name: value for name, value in record.fields.items() if value is not None or name not in wire}
    values = eyes.sources({**wire, **shown_of_ours})
    mine = written(mapping, wire) - eyes.held
    if new:
        states = blank(len(eyes.slot_fields), Stamp(eyes.keyring.current_id, Origin.LEARNT, time_us, 0), eyes.keyring)
        shown = _shown(mapping, frozenset(record.fields))
        theirs = Stamp(eyes.keyring.current_id, Origin.LEARNT, time_us, held.aggregate_version + 1)
        states = look(eyes.keyring, states, values, theirs, shown - mine - eyes.held).states
    else:  # what the ledger has not looked at yet, as of a lead that was bound by a pair of a file, is still to be learnt
        states = states_of(eyes, held)
        if eyes.held and covers(mapping, wire, record, new=True, held=eyes.held):
            # The fact shows the lead, but nothing of these.
            nothing = Stamp(eyes.keyring.current_id, Origin.LEARNT, time_us, held.aggregate_version + 1)
            states = emptied(states, eyes.held, nothing, eyes.keyring)
    states = _claimed(look(eyes.keyring, states, values, ours, mine).states, ours.version)
    return msgspec.structs.replace(
        held,
        crm_id=accepted.crm_id,
        state=LeadState.LIVE,
        heirs=b"",
        version=record.version or held.version,
        modified_us=max(held.modified_us, record.modified_us),
        known_us=answered_us,
        fingerprint=b"",
        layout=eyes.layout,
        fields=pack(states),
    )


def moved(eyes: Look, mapping: Slots, binding: Binding | None, record: Record) -> frozenset[str]:
    """The CRM fields of slots that are not as the binding last knew them: somebody has written them, we or another."""
    if binding is None or not binding.fields:
        return frozenset()
    stamp = Stamp(eyes.keyring.current_id, Origin.CRM, record.modified_us, 0)
    seen = look(eyes.keyring, states_of(eyes, binding), eyes.sources(record.fields), stamp)
    return frozenset(name for slot in seen.changed for name in mapping.slot_sources(slot))


# --- writes that took effect in part ----------------------------------------------------------------------------------

UNTOLD = 0
"""The fact number in a stamp of ours whose command is not done yet, so that no fact has told of it."""


def half_done(
    eyes: Look, mapping: Slots, binding: Binding | None, record: Record, names: Sequence[str]
) -> Binding | None:
    """The binding after a part of a write took effect: what the fields ``names`` hold is known as ours, and no pull tells it."""
    if binding is None or binding.state is not LeadState.LIVE or not binding.fields:
        return binding
    ours = Stamp(eyes.keyring.current_id, Origin.SALES, record.modified_us, UNTOLD)
    mine = _touched(mapping, frozenset(names))
    states = look(eyes.keyring, states_of(eyes, binding), eyes.sources(record.fields), ours, mine).states
    return msgspec.structs.replace(binding, fingerprint=b"", layout=eyes.layout, fields=pack(states))


def disowned(binding: Binding) -> Binding:
    """The binding after a command has failed for good: what a part of it has changed is told by the next pull that shows it."""
    states = unpack(binding.fields)
    stamps = [states.stamp(slot) for slot in range(len(states.hashes))]
    if not any(stamp is not None and _is_untold(stamp) for stamp in stamps):
        return binding
    hashes = tuple(
        # No value that is there now has this hash.
        value ^ 1 if stamp is not None and _is_untold(stamp) else value
        for value, stamp in zip(states.hashes, stamps, strict=True)
    )
    told = _claimed(FieldStates(hashes, states.marks, states.stamps), binding.aggregate_version)
    return msgspec.structs.replace(binding, fingerprint=b"", fields=pack(told))


def _is_untold(stamp: Stamp) -> bool:
    return stamp.origin is Origin.SALES and stamp.version == UNTOLD


def _claimed(states: FieldStates, version: int) -> FieldStates:
    """The states with every stamp of ours in the fact ``version`` at the latest."""
    stamps = tuple(
        msgspec.structs.replace(stamp, version=version) if _is_untold(stamp) else stamp for stamp in states.stamps
    )
    return FieldStates(states.hashes, states.marks, stamps)


def evidence(
    eyes: Look,
    mapping: Slots,
    binding: Binding | None,
    record: Record,
    wire: dict[str, Scalar],
    differing: Sequence[str],
    capabilities: Capabilities,
) -> Evidence:
    """What a read-back shows of a write of ``wire``; ``differing``: the fields in which it is not as wanted."""
    changed = moved(eyes, mapping, binding, record)
    unlike = _sharing(mapping, differing)
    passing = [
        name
        for name in differing
        if name in changed
        and name in capabilities.emptied_first
        and record.fields.get(name) in (None, "")
        and wire[name] not in (None, "")
    ]
    return Evidence(
        record=record,
        wanted=tuple(wire),
        differing=differing,
        touched=[name for name in differing if name in changed and name not in passing],
        # Of several fields that are compared as one, none is proof while another differs: that one alone may have moved.
        applied=[name for name in wire if name in changed and name not in unlike],
        passing=passing,
        keyed=capabilities.read_by_key,
        atomic=capabilities.atomic_write,
    )


def _sharing(mapping: Slots, names: Collection[str]) -> frozenset[str]:
    """These fields and those that are compared together with them."""
    slots = _touched(mapping, frozenset(names))
    return frozenset(names).union(*(mapping.slot_sources(slot) for slot in slots))


# --- conflicts --------------------------------------------------------------------------------------------------------


class Winner(enum.StrEnum):
    """Whose value a field has after a conflict."""

    SALES = "sales"
    CRM = "crm"
    UNDECIDED = "undecided"


class Conflict(msgspec.Struct, frozen=True, kw_only=True):
    """A field that a person in the CRM changed after the intent about it was uttered; fingerprints are keyed hashes."""

    slot: int
    sales: str
    crm: str
    winner: Winner
    rule: str


def conflicts(
    eyes: Look,
    mapping: Slots,
    binding: Binding | None,
    wire: dict[str, Scalar],
    occurred_us: int,
    rule_of: Callable[[str], str],
) -> tuple[Conflict, ...]:
    """The fields of a write that the CRM changed, as far as the ledger knows, after the intent was uttered.

    ``rule_of``: the tenant's rule for a Sales field: ``domain``, ``crm``, ``newest`` or ``hold``. The CRM's change is the newer
    one here, so ``newest`` decides as ``crm`` does. A field to which both gave the same value is no conflict.
    """
    if binding is None or not binding.fields:
        return ()
    states = states_of(eyes, binding)
    ours = eyes.keyring.hashes(eyes.sources(wire))
    assert ours is not None
    found = []
    for slot in sorted(written(mapping, wire)):
        stamp = states.stamp(slot)
        if stamp is None or stamp.origin is not Origin.CRM or stamp.time_us <= occurred_us:
            continue
        if stamp.key_id == eyes.keyring.current_id and states.hashes[slot] == ours[slot]:
            continue
        rule = rule_of(eyes.slot_fields[slot])
        winner = {"domain": Winner.SALES, "hold": Winner.UNDECIDED}.get(rule, Winner.CRM)
        found.append(
            Conflict(slot=slot, sales=f"{ours[slot]:016x}", crm=f"{states.hashes[slot]:016x}", winner=winner, rule=rule)
        )
    return tuple(found)


def without(mapping: Slots, wire: dict[str, Scalar], lost: Sequence[Conflict]) -> dict[str, Scalar]:
    """The write without the fields whose conflict Sales did not win."""
    held = {name for one in lost if one.winner is not Winner.SALES for name in mapping.slot_sources(one.slot)}
    return {name: value for name, value in wire.items() if name not in held}
