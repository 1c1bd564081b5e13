"""What a look at the CRM's records means: which lead each one is, what changed, what is worth a fact.

The whole of change detection, echo suppression, staleness, identity and merging is here, as one pure function of a page of
records and what the ledger knew of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

import msgspec

from sales_crm_bridge.errors import Bug
from sales_crm_bridge.model import LeadState, Record
from sales_crm_bridge.policy.drafts import Converted, Draft, How, Observed, Removed, Restored, Why
from sales_crm_bridge.policy.eyes import NONE, Look, states_of
from sales_crm_bridge.policy.fields import (
    Origin,
    Seen,
    Stamp,
    emptied,
    pack,
    pack_heirs,
    pack_uniform,
)
from sales_crm_bridge.policy.shown import Shown, compare, shown
from sales_crm_bridge.state import Binding

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Sighting(msgspec.Struct, frozen=True):
    """One record as a page showed it, with the fingerprint of its bytes (b"" when it came another way)."""

    record: Record
    fingerprint: bytes


class Book(msgspec.Struct, frozen=True, kw_only=True):
    """What a page means: the bindings that change, facts to tell, aliases, and how many records were of which sort.

    ``odd``, ``misread``: slots in which it hints at a drift of the CRM's fields (see ``shown``); odd ones have become empty, too.
    """

    bindings: list[Binding]
    drafts: list[Draft]
    aliases: list[tuple[str, str]]
    changed: int
    unchanged: int
    removed: int
    stale: int
    odd: frozenset[int] = NONE
    misread: frozenset[int] = NONE


NOTHING = Book(bindings=[], drafts=[], aliases=[], changed=0, unchanged=0, removed=0, stale=0)
"""A page without records."""


def doubtful(record: Record, binding: Binding | None) -> bool:
    """Whether a record must be read straight from the CRM before it is believed.

    A list or a search index may lag: a removal, a return from the dead, or a live record under a merged-away id are believed only
    of a read. What agrees with the ledger needs none.
    """
    if binding is None:
        return False
    if binding.crm_id not in ("", record.id):
        return record.state is LeadState.LIVE
    if binding.state is LeadState.UNBOUND:
        return False
    return record.state is not binding.state


class _Page:
    """The work on one page: bindings as they stand after the records before."""

    def __init__(
        self,
        eyes: Look,
        by_crm: Mapping[str, Binding],
        by_lead: Mapping[str, Binding],
        *,
        asked_us: int,
        sweep: int,
        importing: bool,
    ) -> None:
        self.eyes = eyes
        self.by_crm = dict(by_crm)
        self.by_lead = dict(by_lead)
        self.asked_us = asked_us
        self.sweep = sweep
        self.first_why = Why.IMPORTED if importing else Why.CREATED
        self.touched: dict[str, Binding] = {}
        self.drafts: list[Draft] = []
        self.aliases: list[tuple[str, str]] = []
        self.unchanged = self.removed = self.stale = self.changed = 0
        self.odd = self.misread = NONE

    def keep(self, binding: Binding) -> None:
        self.touched[binding.lead_id] = self.by_lead[binding.lead_id] = binding
        if binding.crm_id:
            self.by_crm[binding.crm_id] = binding

    # --- which lead is it ---------------------------------------------------------------------------------------------

    def owner_of(self, record: Record) -> Binding | None:
        """The binding this record continues, None when the lead is new to the ledger."""
        binding = self.by_crm.get(record.id)
        if binding is not None and binding.crm_id == record.id:
            return binding
        if record.key:
            named = self.by_lead.get(record.key)
            if named is not None and (
                not named.crm_id or named.crm_id in record.merged_ids or (self.eyes.unique_key and binding is None)
            ):
                return named
        for merged in record.merged_ids:
            candidate = self.by_crm.get(merged)
            if candidate is not None and candidate.crm_id == merged:
                return candidate
        return None

    def absorb(self, record: Record, survivor: str, occurred_us: int) -> None:
        """Tell of every other lead that was merged into this record."""
        for merged in record.merged_ids:
            loser = self.by_crm.get(merged)
            if loser is None or loser.crm_id != merged or merged == record.id or loser.lead_id == survivor:
                continue
            version = loser.aggregate_version + 1
            gone = msgspec.structs.replace(
                loser,
                crm_id="",
                state=LeadState.MERGED,
                aggregate_version=version,
                fingerprint=b"",
                fields=b"",
                known_us=self.asked_us,
                heirs=pack_heirs([("", record.id)]),
            )
            del self.by_crm[merged]
            self.keep(gone)
            if survivor:
                self.aliases.append((merged, survivor))
            self.removed += 1
            self.drafts.append(
                Removed(
                    lead_id=loser.lead_id,
                    version=version,
                    how=How.MERGED,
                    crm_id=merged,
                    into=(record.id, survivor),
                    occurred_us=occurred_us,
                )
            )

    # --- what changed -------------------------------------------------------------------------------------------------

    def see(self, sighting: Sighting) -> None:
        record = sighting.record
        binding = self.owner_of(record)
        match record.state:
            case LeadState.LIVE:
                if binding is None:
                    self.see_new(sighting)
                else:
                    self.see_known(sighting, binding)
            case LeadState.ARCHIVED | LeadState.GONE:
                self.see_removed(record, binding)
            case LeadState.MERGED:
                self.see_merged_away(record, binding)
            case LeadState.CONVERTED:
                self.see_converted(sighting, binding)
            case LeadState.UNBOUND:
                raise Bug("bug.record-state", "an adapter gave a record in state unbound")
            case _:
                assert_never(record.state)

    def see_new(self, sighting: Sighting) -> None:
        record, eyes = sighting.record, self.eyes
        lead_id = record.key or eyes.derive(record.id)
        known = self.by_lead.get(lead_id)
        if known is not None:
            if record.key and known.crm_id not in ("", record.id):
                lead_id = eyes.derive(record.id)  # our key on a second record, in a CRM that does not hold it unique
                known = self.by_lead.get(lead_id)
            if known is not None:
                self.see_known(sighting, known)
                return
        occurred_us = record.modified_us or self.asked_us
        one = shown(eyes, record)
        self.odd |= one.odd
        self.misread |= one.misread
        sources = eyes.sources(record.fields)
        # What is held counts as empty: nothing is told of it, so what it turns out to be is a change.
        sources = ["" if slot in one.held else value for slot, value in enumerate(sources)] if one.held else sources
        hashes = eyes.keyring.hashes(sources)
        assert hashes is not None
        stamp = Stamp(eyes.keyring.current_id, Origin.LEARNT, occurred_us, 1)
        self.keep(
            Binding(
                conn=eyes.conn,
                lead_id=lead_id,
                crm_id=record.id,
                state=LeadState.LIVE,
                aggregate_version=1,
                version=record.version,
                modified_us=record.modified_us,
                known_us=self.asked_us,
                fingerprint=b"" if one.held else sighting.fingerprint,
                layout=eyes.layout,
                fields=pack_uniform(hashes, stamp),
                sweep=self.sweep,
            )
        )
        self.changed += 1
        self.drafts.append(
            Observed(
                lead_id=lead_id,
                version=1,
                why=self.first_why,
                changed=_names(eyes, one.held),
                record=record,
                occurred_us=occurred_us,
                held=one.held,
            )
        )
        if record.merged_ids:
            self.absorb(record, lead_id, occurred_us)

    def is_old(self, record: Record, binding: Binding) -> bool:
        """Whether we know something newer: by the CRM's time, and where that is equal, by when we asked."""
        if not record.modified_us or not binding.modified_us:
            return self.asked_us < binding.known_us
        if record.modified_us == binding.modified_us:
            return self.asked_us < binding.known_us
        return record.modified_us < binding.modified_us

    def see_known(self, sighting: Sighting, binding: Binding) -> None:
        record, eyes = sighting.record, self.eyes
        moved = binding.crm_id not in ("", record.id)
        back = binding.state in (LeadState.ARCHIVED, LeadState.GONE, LeadState.CONVERTED)
        if not moved and not back and self.is_old(record, binding):
            self.stale += 1
            self.keep(msgspec.structs.replace(binding, sweep=max(binding.sweep, self.sweep)))
            if record.merged_ids:
                self.absorb(record, binding.lead_id, record.modified_us or self.asked_us)
            return
        occurred_us = record.modified_us or self.asked_us
        version = binding.aggregate_version + back
        first = binding.state is LeadState.UNBOUND and not binding.fields
        one, seen = self.compare(record, binding, version + 1, told=moved or back or first)
        if back:
            self.drafts.append(
                Restored(
                    lead_id=binding.lead_id, version=version, record=record, occurred_us=occurred_us, held=one.held
                )
            )
        if seen.changed or moved or first:
            version += 1
            why = Why.MERGED if moved else self.first_why if first else Why.CHANGED
            names = _names(eyes, one.held) if first else tuple(eyes.slot_fields[slot] for slot in seen.changed)
            self.drafts.append(
                Observed(
                    lead_id=binding.lead_id,
                    version=version,
                    why=why,
                    changed=names,
                    record=record,
                    occurred_us=occurred_us,
                    held=one.held,
                )
            )
        if seen.changed or moved or first or back:
            self.changed += 1
        else:
            self.unchanged += 1
        if moved:
            self.aliases.append((binding.crm_id, binding.lead_id))
            self.by_crm.pop(binding.crm_id, None)
        self.keep(
            Binding(
                conn=eyes.conn,
                lead_id=binding.lead_id,
                crm_id=record.id,
                state=LeadState.LIVE,
                aggregate_version=version,
                version=record.version,
                modified_us=record.modified_us,
                known_us=self.asked_us,
                fingerprint=b"" if one.held else sighting.fingerprint,
                layout=eyes.layout,
                fields=pack(seen.states),
                sweep=max(binding.sweep, self.sweep),
            )
        )
        if record.merged_ids:
            self.absorb(record, binding.lead_id, occurred_us)

    def compare(self, record: Record, binding: Binding, version: int, *, told: bool) -> tuple[Shown, Seen]:
        """Compare a live record with what is known of its lead; ``told``: a fact tells it in any case.

        A fact shows nothing of what is held, so that counts as empty then: once it can be compared again, it is told.
        """
        eyes = self.eyes
        one = shown(eyes, record)
        stamp = Stamp(eyes.keyring.current_id, Origin.CRM, record.modified_us or self.asked_us, version)
        seen, odd = compare(eyes, record, states_of(eyes, binding), stamp, one)
        self.odd |= odd
        self.misread |= one.misread
        if one.held and (told or seen.changed):
            learnt = msgspec.structs.replace(stamp, origin=Origin.LEARNT)
            seen = Seen(emptied(seen.states, one.held, learnt, eyes.keyring), seen.changed)
        return one, seen

    def see_removed(self, record: Record, binding: Binding | None) -> None:
        if binding is None or binding.crm_id != record.id or binding.state is not LeadState.LIVE:
            self.unchanged += 1
            return
        if binding.known_us > self.asked_us:
            self.stale += 1
            return
        occurred_us = record.modified_us or self.asked_us
        version = binding.aggregate_version + 1
        how = How.ARCHIVED if record.state is LeadState.ARCHIVED else How.GONE
        self.keep(
            msgspec.structs.replace(
                binding,
                state=record.state,
                aggregate_version=version,
                fingerprint=b"",
                known_us=self.asked_us,
                modified_us=max(binding.modified_us, record.modified_us),
            )
        )
        self.removed += 1
        self.drafts.append(
            Removed(
                lead_id=binding.lead_id,
                version=version,
                how=how,
                crm_id=record.id,
                into=("", ""),
                occurred_us=occurred_us,
            )
        )

    def see_merged_away(self, record: Record, binding: Binding | None) -> None:
        """A read says that a bound record was merged; the survivor may be known (two leads) or new (the binding moves)."""
        if binding is None or binding.crm_id != record.id or not record.into:
            self.unchanged += 1
            return
        survivor = self.by_crm.get(record.into)
        heir = survivor.lead_id if survivor is not None and survivor.crm_id == record.into else ""
        # A live survivor that the ledger did not know came before this record and took the binding; one that is not live itself has
        # no lead that could be named.
        self.absorb(
            msgspec.structs.replace(record, id=record.into, merged_ids=(record.id,)),
            heir,
            record.modified_us or self.asked_us,
        )

    def see_converted(self, sighting: Sighting, binding: Binding | None) -> None:
        record = sighting.record
        if binding is None or binding.crm_id != record.id or binding.state is LeadState.CONVERTED:
            self.unchanged += 1
            return
        if binding.known_us > self.asked_us:
            self.stale += 1
            return
        version = binding.aggregate_version + 1
        occurred_us = record.modified_us or self.asked_us
        self.keep(
            msgspec.structs.replace(
                binding,
                state=LeadState.CONVERTED,
                aggregate_version=version,
                version=record.version,
                modified_us=max(binding.modified_us, record.modified_us),
                known_us=self.asked_us,
                fingerprint=sighting.fingerprint,
                heirs=pack_heirs(record.successors),
            )
        )
        self.removed += 1
        self.drafts.append(Converted(lead_id=binding.lead_id, version=version, record=record, occurred_us=occurred_us))


def _names(eyes: Look, held: frozenset[int]) -> tuple[str, ...]:
    """The Sales fields that a lead is told of with first."""
    return tuple(name for slot, name in enumerate(eyes.slot_fields) if slot not in held) if held else eyes.slot_fields


def read_page(
    eyes: Look,
    sightings: Sequence[Sighting],
    by_crm: Mapping[str, Binding],
    by_lead: Mapping[str, Binding],
    *,
    asked_us: int,
    sweep: int = 0,
    importing: bool = False,
) -> Book:
    """What these records mean, given the bindings of their ids, keys and merged ids.

    ``asked_us``: our clock before the call that showed them. ``sweep``: the sweep that shows them (0: another walk).
    ``importing``: it is the first sweep, so a new lead is old news. Doubtful records (see ``doubtful``) come as a read showed
    them. The order of facts about one lead is the order of their versions.
    """
    page = _Page(eyes, by_crm, by_lead, asked_us=asked_us, sweep=sweep, importing=importing)
    for sighting in sightings:
        page.see(sighting)
    return Book(
        bindings=list(page.touched.values()),
        drafts=page.drafts,
        aliases=page.aliases,
        changed=page.changed,
        unchanged=page.unchanged,
        removed=page.removed,
        stale=page.stale,
        odd=page.odd,
        misread=page.misread,
    )
