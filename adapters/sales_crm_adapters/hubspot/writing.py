"""Writing contacts that are leads: upserts by our key, updates by id, and what to do about each kind of refusal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sales_crm_adapters.hubspot.batches import (
    Input,
    Shown,
    Told,
    batch_call,
    outcome_of,
    refused,
    send,
    told_of,
)
from sales_crm_adapters.hubspot.options import CONTACTS
from sales_crm_adapters.hubspot.wire import Failure, row_of, text_of
from sales_crm_bridge.errors import CrmUnavailable
from sales_crm_bridge.model import (
    Accepted,
    Category,
    Deferred,
    LeadState,
    Operation,
    Outcome,
    Ref,
    Rejected,
    Unknown,
    Write,
)
from sales_crm_bridge.ports import Talk

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sales_crm_adapters.hubspot.reading import Reader

LIFECYCLE = "lifecyclestage"


def distinct(batch: Sequence[Write]) -> tuple[list[Write], dict[str, Outcome]]:
    """The writes without those that name a record or key a second time; those wait, since HubSpot refuses such a batch whole."""
    seen: set[tuple[str, str]] = set()
    first: list[Write] = []
    rest: dict[str, Outcome] = {}
    for write in batch:
        name = (write.crm_id, "" if write.crm_id else write.key)
        if name in seen:
            rest[write.trace] = Deferred(not_before_us=0, reason="twice-in-batch")
        else:
            seen.add(name)
            first.append(write)
    return first, rest


def email_of(write: Write, name: str = "email") -> str:
    """The address that a write sets, as HubSpot keeps it."""
    return text_of(write.fields.get(name)).strip().lower()


class ContactWriter:
    """Carries out batches of writes on contacts."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._paths = reader.paths
        self._key = reader.key

    def push(self, batch: Sequence[Write]) -> Talk[list[Outcome]]:
        """See ``ports.CrmAdapter.push``. Creates are upserts by our key: repeating one makes no second record.

        ``adopted``: the record was there before, under our key. A contact that has the address alone is never written to.
        """
        writes, outcomes = distinct(batch)
        creates = [write for write in writes if not write.crm_id]
        updates = [write for write in writes if write.crm_id]
        parts = [
            (verb, inputs)
            for verb, inputs in (
                ("upsert", [self._create(write) for write in creates]),
                ("update", [self._update(write) for write in updates]),
            )
            if inputs
        ]
        replies = yield tuple(batch_call(self._paths, CONTACTS, verb, inputs) for verb, inputs in parts)
        told: dict[str, Told] = {}
        for (_, inputs), reply in zip(parts, replies, strict=True):
            told |= told_of(reply, inputs)
        staged = yield from self._stage_back(updates, told)
        told |= staged
        failed: dict[str, Failure] = {}
        for write in writes:
            match told[write.trace]:
                case Failure() as failure:
                    failed[write.trace] = failure
                case Shown() as shown:
                    outcomes[write.trace] = self._accepted(shown, adopted=not write.crm_id and not shown.new)
                case other:
                    outcomes[write.trace] = outcome_of(other)
        lost = [(write, failed[write.trace]) for write in updates if write.trace in failed]
        outcomes |= yield from self._refused_updates(lost)
        for trace in staged:
            if isinstance(outcomes[trace], Deferred):  # the first write of it has taken effect
                outcomes[trace] = Unknown(reason="stage-not-set-back")
        taken = [(write, failed[write.trace]) for write in creates if write.trace in failed]
        outcomes |= yield from self._refused_creates(taken)
        return [outcomes[write.trace] for write in batch]

    def _create(self, write: Write) -> Input:
        return Input(write.trace, write.key, {**write.fields, self._key: write.key}, by=self._key)

    def _update(self, write: Write) -> Input:
        ours = {self._key: write.key} if write.claim else {}
        return Input(write.trace, write.crm_id, {**write.fields, **ours})

    def _accepted(self, shown: Shown, *, adopted: bool = False) -> Accepted:
        record = self._reader.record(shown.data, partial=True)
        return Accepted(crm_id=record.id, record=record, adopted=adopted)

    # --- the life cycle goes forward only -----------------------------------------------------------------------------

    def _stage_back(self, writes: Sequence[Write], told: Mapping[str, Told]) -> Talk[dict[str, Told]]:
        """Carry out the moves back in the life cycle that HubSpot has passed over in silence.

        A write moves ``lifecyclestage`` forward only; to go back it is cleared first (HubSpot's contacts guide, June 2026). Done
        for a disqualification and a revision, where Sales asks for that very stage. A create or a qualification never sets back
        a contact that has got further: then the later stage stands, and is what the answer shows.
        """
        back = [
            write
            for write in writes
            if write.operation in (Operation.DISQUALIFY, Operation.REVISE)
            and (wanted := text_of(write.fields.get(LIFECYCLE)))
            and isinstance(shown := told[write.trace], Shown)
            and shown.row.properties.get(LIFECYCLE, wanted) != wanted
        ]
        cleared = yield from send(
            self._paths, CONTACTS, "update", [Input(write.trace, write.crm_id, {LIFECYCLE: None}) for write in back]
        )
        ready = [write for write in back if isinstance(cleared[write.trace], Shown)]
        again = [Input(write.trace, write.crm_id, write.fields) for write in ready]
        done = yield from send(self._paths, CONTACTS, "update", again)
        # The first write has taken effect, so what is neither told nor refused now is not known, however certain the later call is.
        latest = cleared | done
        return {
            write.trace: one
            if isinstance(one := latest[write.trace], Shown | Failure)
            else Unknown(reason="stage-not-set-back")
            for write in back
        }

    # --- refusals -----------------------------------------------------------------------------------------------------

    def _refused_updates(self, failed: Sequence[tuple[Write, Failure]]) -> Talk[dict[str, Outcome]]:
        """Tell a record that is gone, in the bin or merged away from a value that is refused; name who holds a taken address.

        A batch update does not accept an id that was merged away, and words that as any other refusal.
        """
        outcomes: dict[str, Outcome] = {}
        doubts = [write for write, failure in failed if failure.absent or not (failure.conflict or failure.fields)]
        try:
            records = (yield from self._reader.read([Ref(id=write.crm_id) for write in doubts])) if doubts else []
            holders = yield from self._holders([(write, failure) for write, failure in failed if failure.conflict])
        except CrmUnavailable as fault:
            return {write.trace: Deferred(not_before_us=fault.retry_at_us, reason=fault.code) for write, _ in failed}
        states = {write.trace: record for write, record in zip(doubts, records, strict=True)}
        for write, failure in failed:
            record = states.get(write.trace)
            holder = holders.get(write.trace)
            if record is not None and record.state is LeadState.MERGED:
                outcome: Outcome = Rejected(category=Category.MERGED, code=failure.code, other_id=record.into)
            elif record is not None and record.state is not LeadState.LIVE:
                outcome = Rejected(category=Category.REMOVED, code=failure.code)
            elif failure.absent:  # it lives, and was not there a moment ago
                outcome = Unknown(reason="came-back")
            else:
                outcome = refused(failure, other_id=holder.row.id if holder else "")
            outcomes[write.trace] = outcome
        return outcomes

    def _refused_creates(self, failed: Sequence[tuple[Write, Failure]]) -> Talk[dict[str, Outcome]]:
        """Name the contact that holds a new lead's address; write to it only if it carries that lead's own key.

        Then an earlier try of the same create has made it. An address proves nothing: the contact may be another lead's.
        """
        outcomes: dict[str, Outcome] = {write.trace: refused(failure) for write, failure in failed}
        conflicts = [(write, failure) for write, failure in failed if failure.conflict]
        try:
            holders = yield from self._holders(conflicts)
        except CrmUnavailable as fault:
            later = Deferred(not_before_us=fault.retry_at_us, reason=fault.code)
            return outcomes | {write.trace: later for write, _ in conflicts}
        ours: list[Input] = []
        for write, failure in conflicts:
            holder = holders.get(write.trace)
            if holder is None:
                continue
            if holder.row.properties.get(self._key) == write.key:
                ours.append(Input(write.trace, holder.row.id, write.fields))
            else:
                outcomes[write.trace] = refused(failure, other_id=holder.row.id)
        told = yield from send(self._paths, CONTACTS, "update", ours)
        for trace, one in told.items():
            outcomes[trace] = self._accepted(one, adopted=True) if isinstance(one, Shown) else outcome_of(one)
        return outcomes

    def _holders(self, conflicts: Sequence[tuple[Write, Failure]]) -> Talk[dict[str, Shown]]:
        """The contact that holds the address of each of these writes, by trace, read straight from the CRM."""
        wanted = [(write.trace, email_of(write), failure.hint_id) for write, failure in conflicts]
        return (yield from holders_of(self._reader, [one for one in wanted if one[1]], (self._key,)))


def holders_of(
    reader: Reader, wanted: Iterable[tuple[str, str, str]], properties: Sequence[str] = ()
) -> Talk[dict[str, Shown]]:
    """The contacts that hold e-mail addresses, with these properties: of (trace, address, hinted id), by trace.

    The id in the text of a refusal is a hint alone: it counts if that contact holds the address among its further ones.
    """
    asked = list(wanted)
    names = list(dict.fromkeys((*properties, "email", "hs_additional_emails")))
    emails = list(dict.fromkeys(email for _, email, _ in asked))
    by_email = (yield from reader.batch(CONTACTS, emails, names, by="email")) if emails else {}
    found = {trace: _held(by_email[email].data) for trace, email, _ in asked if email in by_email}
    hints = {hint: (trace, email) for trace, email, hint in asked if hint and trace not in found}
    by_id = (yield from reader.batch(CONTACTS, list(hints), names)) if hints else {}
    for hint, raw in by_id.items():
        held = _held(raw.data)
        shown = held.row.properties
        trace, email = hints.get(hint, ("", ""))
        addresses = f"{shown.get('email') or ''};{shown.get('hs_additional_emails') or ''}"
        if email and email in addresses.lower().split(";"):
            found[trace] = held
    return found


def _held(data: bytes) -> Shown:
    return Shown(data, row_of(data), new=False)
