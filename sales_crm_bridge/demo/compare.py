"""Sales' view of the leads, built from the facts, and where it differs from what the CRM holds."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sales_crm_bridge import contract
from sales_crm_bridge.simulate.retold import Retold, word

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sales_crm_bridge.tenants import Tenant

THE_CRM = "the CRM"
DONE = "done"
CHANGES_SHOWN = 4


@dataclass(frozen=True, slots=True)
class Line:
    """One fact, in the words of a table: what happened, to which lead, what changed, and because of what."""

    kind: str
    lead: str
    what: str
    cause: str


@dataclass(slots=True)
class SalesView:
    """What the Sales domain knows: the leads, the records they live in, and how often each kind of fact came.

    ``asked``: what Sales' own intents ask for, by message id. A fact that an intent took effect tells how the lead looks since, or,
    where the CRM did not say, which intent that was: then Sales takes over what it asked for itself. Nothing else comes from
    anywhere but the facts. ``doubled``: what was told twice under two message ids; a repeated message id (``repeated``) is no
    such thing, since delivery is at least once.
    """

    asked: dict[str, contract.Lead] = field(default_factory=dict)
    leads: dict[str, contract.Lead] = field(default_factory=dict)
    records: dict[str, str] = field(default_factory=dict)
    kinds: Counter[str] = field(default_factory=Counter)
    outcomes: dict[str, str] = field(default_factory=dict)
    imported: int = 0
    repeated: int = 0
    doubled: list[str] = field(default_factory=list)
    _seen: set[str] = field(default_factory=set)
    _retold: Retold = field(default_factory=Retold)

    def take(self, facts: Iterable[contract.SalesIntegrationFact]) -> list[Line]:
        """Read facts in their order; gives what is worth a line of a table (imports and sync runs are only counted)."""
        lines = []
        for fact in facts:
            if fact.meta.message_id in self._seen:
                self.repeated += 1
                continue
            self._seen.add(fact.meta.message_id)
            line = self._take(fact)
            if line is not None:
                lines.append(line)
        return lines

    def _take(self, fact: contract.SalesIntegrationFact) -> Line | None:
        kind = fact.WhichOneof("fact") or "unknown"
        lead, cause = fact.subject.aggregate_id, fact.meta.causation_id
        self.kinds[kind] += 1
        if wrong := self._retold.wrong(fact):
            self.doubled.append(f"{lead}: {wrong}")
        match kind:
            case "crm_lead_observed":
                return self._observed(lead, fact.crm_lead_observed)
            case "crm_lead_removed":
                self.leads.pop(lead, None)
                self.records.pop(lead, None)
                return Line(kind, lead, word(contract.CrmRemovalKind.Name(fact.crm_lead_removed.removal)), THE_CRM)
            case "crm_lead_restored":
                restored = fact.crm_lead_restored
                self.leads[lead], self.records[lead] = restored.lead, restored.external.record_id
                return Line(kind, lead, "back again", THE_CRM)
            case "crm_lead_pushed":
                pushed = fact.crm_lead_pushed
                known = contract.Lead()
                known.MergeFrom(self.leads.get(lead, contract.Lead(lead_id=lead)))
                known.MergeFrom(self.asked.get(cause, contract.Lead()))
                self.leads[lead] = pushed.lead if pushed.HasField("lead") else known
                self.records[lead] = pushed.external.record_id
                self._outcome(cause, DONE)
                operation = word(contract.CrmOperation.Name(pushed.operation))
                return Line(kind, lead, _what(operation, pushed.written_fields), cause)
            case "crm_lead_push_failed":
                failed = fact.crm_lead_push_failed
                self._outcome(cause, failed.crm_code)
                person = ", needs a person" if failed.needs_person else ""
                operation = word(contract.CrmOperation.Name(failed.operation))
                return Line(kind, lead, f"{operation}: {failed.crm_code}{person}", cause)
            case "crm_lead_conflict_detected":
                clashes = fact.crm_lead_conflict_detected.conflicts
                return Line(kind, lead, _what("both sides changed", [clash.field for clash in clashes]), cause)
            case "crm_sync_completed":
                return None
            case _:
                return Line(kind, lead, "", cause)

    def _observed(self, lead: str, seen: contract.CrmLeadObserved) -> Line | None:
        change = word(contract.CrmChangeKind.Name(seen.change))
        self.leads[lead], self.records[lead] = seen.lead, seen.external.record_id
        if change == "imported":
            self.imported += 1
            return None
        return Line("crm_lead_observed", lead, _what(change, seen.changed_fields), THE_CRM)

    def _outcome(self, intent: str, outcome: str) -> None:
        if intent in self.outcomes:
            self.doubled.append(f"intent {intent}: {outcome}, and was {self.outcomes[intent]}")
        self.outcomes[intent] = outcome


def differences(view: SalesView, live: Mapping[str, Mapping[str, str]], tenant: Tenant) -> list[str]:
    """Where the two sides differ, field by field through the tenant's mapping; empty when they agree.

    ``live``: the CRM's records by id, with their non-empty fields. One lead is one record: two leads of one record, or two records
    that carry one lead's key, are differences too.
    """
    found = []
    leads_of: dict[str, list[str]] = {}
    for lead in sorted(view.leads):
        leads_of.setdefault(view.records[lead], []).append(lead)
    for record in sorted({*live, *leads_of}):
        leads = leads_of.get(record, [])
        if not leads:
            found.append(f"record {record} is in the CRM, and no fact told of it")
        elif record not in live:
            found += [f"lead {lead} is known to Sales, and not in the CRM" for lead in leads]
        elif len(leads) > 1:
            found.append(f"record {record} is told of as {len(leads)} leads: {', '.join(leads)}")
        else:
            found += _fields_that_differ(leads[0], view.leads[leads[0]], live[record], tenant)
    key = str(tenant.connection.options.get("key_property", ""))
    carriers = Counter(fields[key] for fields in live.values() if key and key in fields)
    found += [f"lead {lead} is in {count} records" for lead, count in sorted(carriers.items()) if count > 1]
    return found


def _fields_that_differ(lead_id: str, ours: contract.Lead, record: Mapping[str, str], tenant: Tenant) -> list[str]:
    theirs, _ = tenant.mapping.lead(dict(record), lead_id)
    return [
        f"lead {lead_id}: {name} differs"
        for name in tenant.mapping.slot_fields
        if (getattr(ours, name) or "") != (getattr(theirs, name) or "")
    ]


def _what(happened: str, names: Iterable[str]) -> str:
    every = list(names)
    if not every:
        return happened
    more = f" and {len(every) - CHANGES_SHOWN} more" if len(every) > CHANGES_SHOWN else ""
    return f"{happened}: {', '.join(every[:CHANGES_SHOWN])}{more}"
