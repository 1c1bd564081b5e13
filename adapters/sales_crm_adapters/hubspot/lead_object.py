"""Writing records of the Lead object, each of which stands on a contact."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from sales_crm_adapters.hubspot.batches import BISECT, Input, Shown, Told, outcome_of, refused, send
from sales_crm_adapters.hubspot.options import CONTACT_PREFIX, CONTACTS, LEADS
from sales_crm_adapters.hubspot.reading import PRIMARY_CONTACT
from sales_crm_adapters.hubspot.wire import Failure, text_of
from sales_crm_adapters.hubspot.writing import distinct, email_of, holders_of
from sales_crm_bridge.errors import CrmUnavailable
from sales_crm_bridge.model import (
    Accepted,
    Category,
    Deferred,
    LeadState,
    Outcome,
    Ref,
    Rejected,
    Scalar,
    Unknown,
    Write,
)
from sales_crm_bridge.ports import Talk

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sales_crm_adapters.hubspot.reading import Reader

EMAIL = f"{CONTACT_PREFIX}email"


def split(fields: Mapping[str, Scalar]) -> tuple[dict[str, Scalar], dict[str, Scalar]]:
    """A write's fields on the lead itself, and those on its contact."""
    contact = {
        name.removeprefix(CONTACT_PREFIX): value for name, value in fields.items() if name.startswith(CONTACT_PREFIX)
    }
    return {name: value for name, value in fields.items() if not name.startswith(CONTACT_PREFIX)}, contact


class LeadWriter:
    """Carries out batches of writes on the Lead object.

    The contact is written first: a lead cannot be made without one, and a refused contact leaves the lead as it was. If the lead
    is then refused, the contact keeps what it got; the outcome says which fields were refused.

    A known lead's contact is the one that it is associated with. A new lead's contact is the one that holds the e-mail address,
    since HubSpot lets no other have it; but an address alone is no licence to write to it, for it may be another lead's too.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._paths = reader.paths
        self._key = reader.key

    def push(self, batch: Sequence[Write]) -> Talk[list[Outcome]]:
        """See ``ports.CrmAdapter.push``. A new lead stands on the contact that holds its address and agrees with it, or a new one.

        ``adopted`` is about the lead, not about its contact.
        """
        writes, outcomes = distinct(batch)
        creates = [write for write in writes if not write.crm_id]
        updates = [write for write in writes if write.crm_id]
        if creates:
            outcomes |= yield from self._create(creates)
        if updates:
            outcomes |= yield from self._update(updates, {})
        return [outcomes[write.trace] for write in batch]

    # --- new leads ----------------------------------------------------------------------------------------------------

    def _create(self, writes: Sequence[Write]) -> Talk[dict[str, Outcome]]:
        outcomes: dict[str, Outcome] = {}
        ready: list[Write] = []
        emails: set[str] = set()
        for write in writes:
            email = email_of(write, EMAIL)
            if not email:
                # Nothing else finds a contact again after a lost answer, so without it a repeat could make a second one.
                outcomes[write.trace] = Rejected(
                    category=Category.VALIDATION, code="CONTACT_EMAIL_REQUIRED", fields=(EMAIL,)
                )
            elif email in emails:
                outcomes[write.trace] = Deferred(not_before_us=0, reason="contact-in-batch")
            else:
                emails.add(email)
                ready.append(write)
        contacts = yield from self._contacts(ready)
        made: list[Input] = []
        refusals: dict[str, Rejected] = {}
        for write in ready:
            match contacts[write.trace]:
                case Shown(row=row):
                    kind = {"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": PRIMARY_CONTACT}
                    links = [{"to": {"id": row.id}, "types": [kind]}]
                    fields, _ = split(write.fields)
                    made.append(Input(write.trace, "", {**fields, self._key: write.key}, links=links))
                case Rejected() as refusal:
                    refusals[write.trace] = refusal
                case other:
                    outcomes[write.trace] = outcome_of(other, CONTACT_PREFIX)
        told = yield from send(self._paths, LEADS, "create", made)
        refusals |= {trace: refused(one) for trace, one in told.items() if isinstance(one, Failure) and one.conflict}
        outcomes |= self._concluded({trace: one for trace, one in told.items() if trace not in refusals}, contacts)
        again = [write for write in ready if write.trace in refusals]
        return outcomes | (yield from self._there_already(again, refusals))

    def _contacts(self, writes: Sequence[Write]) -> Talk[dict[str, Told | Rejected]]:
        """Each write's contact: the one that holds the address, left as it is, or a new one where none does."""
        wanted = [(write.trace, email_of(write, EMAIL), "") for write in writes]
        names = [name for write in writes for name in split(write.fields)[1]]
        held = yield from self._find(wanted, names)
        if isinstance(held, Deferred):
            return dict.fromkeys((write.trace for write in writes), held)
        new = [Input(write.trace, "", split(write.fields)[1]) for write in writes if write.trace not in held]
        told = yield from send(self._paths, CONTACTS, "create", new)
        # Somebody was quicker, or it is a further address of a contact: the refusal's text hints at its id.
        hints = {trace: one.hint_id for trace, one in told.items() if isinstance(one, Failure) and one.conflict}
        late = yield from self._find(
            [(trace, email, hints[trace]) for trace, email, _ in wanted if trace in hints], names
        )
        if isinstance(late, Deferred):
            return told | dict.fromkeys(hints, late) | _agreeing(writes, held)
        return told | _agreeing(writes, held | late)

    def _find(self, wanted: Sequence[tuple[str, str, str]], names: Sequence[str]) -> Talk[dict[str, Shown] | Deferred]:
        try:
            return (yield from holders_of(self._reader, wanted, (*self._reader.contact_properties, *names)))
        except CrmUnavailable as fault:
            return Deferred(not_before_us=fault.retry_at_us, reason=fault.code)

    def _there_already(self, writes: Sequence[Write], refusals: Mapping[str, Rejected]) -> Talk[dict[str, Outcome]]:
        """Go on with an update of the lead that holds our key: an earlier try of the create has made it. Without one: refused."""
        keys = [write.key for write in writes]
        try:
            held = (yield from self._reader.batch(LEADS, keys, (), by=self._key)) if keys else {}
        except CrmUnavailable as fault:
            return {write.trace: Deferred(not_before_us=fault.retry_at_us, reason=fault.code) for write in writes}
        outcomes: dict[str, Outcome] = {write.trace: refusals[write.trace] for write in writes if write.key not in held}
        known = [msgspec.structs.replace(write, crm_id=held[write.key].id) for write in writes if write.key in held]
        told = (yield from self._update(known, {})) if known else {}
        for trace, outcome in told.items():
            adopted = isinstance(outcome, Accepted)
            outcomes[trace] = msgspec.structs.replace(outcome, adopted=True) if adopted else outcome
        return outcomes

    # --- known leads --------------------------------------------------------------------------------------------------

    def _update(self, writes: Sequence[Write], outcomes: dict[str, Outcome]) -> Talk[dict[str, Outcome]]:
        ours = {write.trace: {self._key: write.key} if write.claim else {} for write in writes}
        parts = {write.trace: split({**write.fields, **ours[write.trace]}) for write in writes}
        contacts = yield from self._update_contacts([write for write in writes if parts[write.trace][1]], parts)
        leads: list[Write] = []
        for write in writes:
            match contacts.get(write.trace):
                case None:
                    leads.append(write)
                case Shown() if parts[write.trace][0]:
                    leads.append(write)
                case Shown():
                    outcomes[write.trace] = Accepted(crm_id=write.crm_id, record=None)
                case Rejected() as outcome:
                    outcomes[write.trace] = outcome
                case other:
                    outcomes[write.trace] = outcome_of(other, CONTACT_PREFIX)
        inputs = [Input(write.trace, write.crm_id, parts[write.trace][0]) for write in leads]
        told = yield from send(self._paths, LEADS, "update", inputs)
        lost = [
            write for write in leads if isinstance(one := told[write.trace], Failure) and (one.absent or not one.fields)
        ]
        outcomes |= self._concluded(told, contacts, known=True)
        return outcomes | (yield from self._lost(lost, told))

    def _update_contacts(
        self, writes: Sequence[Write], parts: Mapping[str, tuple[dict[str, Scalar], dict[str, Scalar]]]
    ) -> Talk[dict[str, Told | Rejected]]:
        """Write the contact's fields of known leads; of two leads of one contact, the second waits."""
        found: dict[str, Told | Rejected] = {}
        if not writes:
            return found
        try:
            chosen = yield from self._reader.contacts_of([write.crm_id for write in writes])
            lost = [write for write in writes if write.crm_id not in chosen]
            records = (yield from self._reader.read([Ref(id=write.crm_id) for write in lost])) if lost else []
        except CrmUnavailable as fault:
            return {write.trace: Deferred(not_before_us=fault.retry_at_us, reason=fault.code) for write in writes}
        for write, record in zip(lost, records, strict=True):
            fields = tuple(CONTACT_PREFIX + name for name in parts[write.trace][1])
            alive = record.state is LeadState.LIVE
            found[write.trace] = (
                Rejected(category=Category.VALIDATION, code="LEAD_WITHOUT_CONTACT", fields=fields)
                if alive
                else Rejected(category=Category.REMOVED, code="OBJECT_NOT_FOUND")
            )
        inputs: list[Input] = []
        for write in writes:
            contact = chosen.get(write.crm_id)
            if contact is not None and any(one.name == contact for one in inputs):
                found[write.trace] = Deferred(not_before_us=0, reason="contact-in-batch")
            elif contact is not None:
                inputs.append(Input(write.trace, contact, parts[write.trace][1]))
        return found | (yield from send(self._paths, CONTACTS, "update", inputs))

    def _lost(self, writes: Sequence[Write], told: Mapping[str, Told]) -> Talk[dict[str, Outcome]]:
        """Tell a lead that is gone or in the bin from a value that is refused."""
        if not writes:
            return {}
        try:
            records = yield from self._reader.read([Ref(id=write.crm_id) for write in writes])
        except CrmUnavailable as fault:
            return {write.trace: Unknown(reason=fault.code) for write in writes}
        outcomes: dict[str, Outcome] = {}
        for write, record in zip(writes, records, strict=True):
            failure = told[write.trace]
            if record.state is LeadState.MERGED and isinstance(failure, Failure):
                outcomes[write.trace] = Rejected(category=Category.MERGED, code=failure.code, other_id=record.into)
            elif record.state is not LeadState.LIVE and isinstance(failure, Failure):
                outcomes[write.trace] = Rejected(category=Category.REMOVED, code=failure.code)
            elif isinstance(failure, Failure) and failure.absent:
                outcomes[write.trace] = Unknown(reason="came-back")
        return outcomes

    # --- both -----------------------------------------------------------------------------------------------------------

    def _concluded(
        self, told: Mapping[str, Told], contacts: Mapping[str, Told | Rejected], *, known: bool = False
    ) -> dict[str, Outcome]:
        """Outcomes of what was said of leads, with what was said of their contacts.

        A known lead whose contact was written and which then was not itself has changed in part, so it is never called deferred;
        a new one is not there at all, and its contact is found again by its address.
        """
        outcomes: dict[str, Outcome] = {}
        for trace, one in told.items():
            contact = contacts.get(trace)
            match one:
                case Shown() if isinstance(contact, Shown):
                    record = self._reader.record(one.data, contact.data, partial=True)
                    outcomes[trace] = Accepted(crm_id=record.id, record=record)
                case Shown():
                    record = self._reader.record(one.data, partial=True)
                    outcomes[trace] = Accepted(crm_id=record.id, record=record)
                case Deferred(reason=reason) if isinstance(contact, Shown) and known and reason != BISECT:
                    outcomes[trace] = Unknown(reason=reason)
                case other:
                    outcomes[trace] = outcome_of(other)
        return outcomes


def _agreeing(writes: Sequence[Write], holders: Mapping[str, Shown]) -> dict[str, Shown | Rejected]:
    """The contacts that hold these writes' addresses; a refusal where one does not say what the write wants said of it."""
    told: dict[str, Shown | Rejected] = {}
    for write in writes:
        holder = holders.get(write.trace)
        if holder is None:
            continue
        wanted = {name: text_of(value) for name, value in split(write.fields)[1].items() if name != "email"}
        shown = holder.row.properties
        others = tuple(CONTACT_PREFIX + name for name, text in wanted.items() if (shown.get(name) or "") != text)
        told[write.trace] = (
            Rejected(
                category=Category.DUPLICATE, code="CONTACT_DIFFERS", fields=others, other_id=holder.row.id, part=True
            )
            if others
            else holder
        )
    return told
