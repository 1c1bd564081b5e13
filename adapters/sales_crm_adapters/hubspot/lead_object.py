"""Writing records of the Lead object, each of which stands on a contact."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sales_crm_adapters.hubspot.batches import BISECT, Input, Shown, Told, outcome_of, refused, send
from sales_crm_adapters.hubspot.options import CONTACT_PREFIX, CONTACTS, LEADS
from sales_crm_adapters.hubspot.reading import PRIMARY_CONTACT
from sales_crm_adapters.hubspot.wire import Failure
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
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._paths = reader.paths
        self._key = reader.key

    def push(self, batch: Sequence[Write]) -> Talk[list[Outcome]]:
        """See ``ports.CrmAdapter.push``. A new lead's contact is found by its e-mail address, or made.

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
        for write in ready:
            match contacts[write.trace]:
                case Shown(row=row):
                    kind = {"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": PRIMARY_CONTACT}
                    links = [{"to": {"id": row.id}, "types": [kind]}]
                    fields, _ = split(write.fields)
                    made.append(Input(write.trace, "", {**fields, self._key: write.key}, links=links))
                case other:
                    outcomes[write.trace] = outcome_of(other, CONTACT_PREFIX)
        told = yield from send(self._paths, LEADS, "create", made)
        there = {trace: one for trace, one in told.items() if isinstance(one, Failure) and one.conflict}
        outcomes |= self._concluded({trace: one for trace, one in told.items() if trace not in there}, contacts)
        again = [write for write in ready if write.trace in there]
        outcomes |= yield from self._there_already(again, there, contacts)
        return outcomes

    def _contacts(self, writes: Sequence[Write]) -> Talk[dict[str, Told]]:
        """Make sure of each write's contact: update the one that holds the address, make one where none does."""
        wanted = [(write.trace, email_of(write, EMAIL), "") for write in writes]
        held = yield from self._find(wanted)
        if isinstance(held, Deferred):
            return dict.fromkeys((write.trace for write in writes), held)
        new = [Input(write.trace, "", split(write.fields)[1]) for write in writes if write.trace not in held]
        told = yield from send(self._paths, CONTACTS, "create", new)
        # Somebody was quicker, or it is a further address of a contact: the refusal's text hints at its id.
        hints = {trace: one.hint_id for trace, one in told.items() if isinstance(one, Failure) and one.conflict}
        late = yield from self._find([(trace, email, hints[trace]) for trace, email, _ in wanted if trace in hints])
        if isinstance(late, Deferred):
            told |= dict.fromkeys(hints, late)
            late = {}
        holders = held | late
        old = [
            Input(write.trace, holders[write.trace], {n: v for n, v in split(write.fields)[1].items() if n != "email"})
            for write in writes
            if write.trace in holders
        ]
        return told | (yield from send(self._paths, CONTACTS, "update", old))

    def _find(self, wanted: Sequence[tuple[str, str, str]]) -> Talk[dict[str, str] | Deferred]:
        try:
            rows = yield from holders_of(self._reader, wanted)
        except CrmUnavailable as fault:
            return Deferred(not_before_us=fault.retry_at_us, reason=fault.code)
        return {trace: row.id for trace, row in rows.items()}

    def _there_already(
        self, writes: Sequence[Write], failures: Mapping[str, Told], contacts: Mapping[str, Told]
    ) -> Talk[dict[str, Outcome]]:
        """Go on with an update of the lead that holds our key; a create whose answer was lost has made it."""
        keys = [write.key for write in writes]
        try:
            held = (yield from self._reader.batch(LEADS, keys, (), by=self._key)) if keys else {}
        except CrmUnavailable as fault:
            return {write.trace: Deferred(not_before_us=fault.retry_at_us, reason=fault.code) for write in writes}
        outcomes: dict[str, Outcome] = {}
        again: list[Input] = []
        for write in writes:
            failure = failures[write.trace]
            if write.key in held:
                again.append(Input(write.trace, held[write.key].id, split(write.fields)[0]))
            elif isinstance(failure, Failure):
                outcomes[write.trace] = refused(failure)
        told = yield from send(self._paths, LEADS, "update", again)
        return outcomes | self._concluded(told, contacts, adopted=True)

    # --- known leads --------------------------------------------------------------------------------------------------

    def _update(self, writes: Sequence[Write], outcomes: dict[str, Outcome]) -> Talk[dict[str, Outcome]]:
        parts = {write.trace: split(write.fields) for write in writes}
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
        told_of_contacts: dict[str, Told] = {trace: one for trace, one in contacts.items() if isinstance(one, Shown)}
        outcomes |= self._concluded(told, told_of_contacts, known=True)
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
        self, told: Mapping[str, Told], contacts: Mapping[str, Told], *, adopted: bool = False, known: bool = False
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
                    outcomes[trace] = Accepted(crm_id=record.id, record=record, adopted=adopted)
                case Shown():
                    record = self._reader.record(one.data, partial=True)
                    outcomes[trace] = Accepted(crm_id=record.id, record=record, adopted=adopted)
                case Deferred(reason=reason) if isinstance(contact, Shown) and known and reason != BISECT:
                    outcomes[trace] = Unknown(reason=reason)
                case other:
                    outcomes[trace] = outcome_of(other)
        return outcomes
