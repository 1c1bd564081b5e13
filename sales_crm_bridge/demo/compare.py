"""Sales' view of the leads, built from the facts alone, and how it differs from what the CRM holds."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sales_crm_bridge import contract

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sales_crm_bridge.tenants import Tenant


@dataclass(slots=True)
class Told:
    """One fact, in the words of a table: what happened, to which lead, what changed, and because of what."""

    kind: str
    lead: str
    what: str
    cause: str


@dataclass(slots=True)
class SalesView:
    """What the Sales domain knows: the leads, the records they live in, and how often each kind of fact came.

    ``asked``: the values of its own intents by message id, taken over when a fact says that they took effect; everything else
    comes from the facts alone.
    """

    leads: dict[str, contract.Lead] = field(default_factory=dict)
    records: dict[str, str] = field(default_factory=dict)
    kinds: Counter[str] = field(default_factory=Counter)
    outcomes: dict[str, str] = field(default_factory=dict)
    imported: int = 0
    repeated: int = 0
    asked: dict[str, contract.Lead] = field(default_factory=dict)
    _seen: set[str] = field(default_factory=set)

    def take(self, facts: Iterable[contract.SalesIntegrationFact]) -> list[Told]:
        """Read facts in their order; what is worth a line of a table (imports and sync runs are only counted)."""
        told = []
        for fact in facts:
            if fact.meta.message_id in self._seen:
                self.repeated += 1
                continue
            self._seen.add(fact.meta.message_id)
            line = self._take(fact)
            if line is not None:
                told.append(line)
        return told

    def _take(self, fact: contract.SalesIntegrationFact) -> Told | None:
        kind = fact.WhichOneof("fact") or ""
        lead = fact.subject.aggregate_id
        cause = fact.meta.causation_id
        self.kinds[kind] += 1
        match kind:
            case "crm_lead_observed":
                seen = fact.crm_lead_observed
                self.leads[lead], self.records[lead] = seen.lead, seen.external.record_id
                change = contract.CrmChangeKind.Name(seen.change).removeprefix("CRM_CHANGE_KIND_").lower()
                if change == "imported":
                    self.imported += 1
                    return None
                return Told(kind, lead, f"{change}: {', '.join(seen.changed_fields[:4])}", "the CRM")
            case "crm_lead_removed":
                removal = contract.CrmRemovalKind.Name(fact.crm_lead_removed.removal)
                self.leads.pop(lead, None)
                self.records.pop(lead, None)
                return Told(kind, lead, removal.removeprefix("CRM_REMOVAL_KIND_").lower(), "the CRM")
            case "crm_lead_pushed":
                pushed = fact.crm_lead_pushed
                self.records[lead] = pushed.external.record_id
                known = self.leads.setdefault(lead, contract.Lead(lead_id=lead))
                known.MergeFrom(self.asked.get(cause, contract.Lead()))
                if pushed.HasField("lead"):
                    self.leads[lead] = pushed.lead
                self.outcomes[cause] = "done"
                return Told(
                    kind, lead, f"{_operation(pushed.operation)}: {', '.join(pushed.written_fields[:4])}", cause
                )
            case "crm_lead_push_failed":
                failed = fact.crm_lead_push_failed
                self.outcomes[cause] = failed.crm_code
                person = ", needs a person" if failed.needs_person else ""
                return Told(kind, lead, f"{_operation(failed.operation)}: {failed.crm_code}{person}", cause)
            case _:
                return None


def _operation(value: int) -> str:
    return contract.CrmOperation.Name(value).removeprefix("CRM_OPERATION_").lower()  # type: ignore[arg-type]


def differences(view: SalesView, live: Mapping[str, Mapping[str, str]], tenant: Tenant) -> list[str]:
    """Where the two sides differ, field by field through the tenant's mapping; empty when they agree.

    ``live``: the CRM's records by id, with their non-empty fields. A field that Sales wrote and no fact has shown since is compared
    by what the mapping would read, so the pull's own facts decide.
    """
    found = []
    lead_of = {record: lead for lead, record in view.records.items() if lead in view.leads}
    for record in sorted({*live, *lead_of}, key=int):
        lead = lead_of.get(record)
        if lead is None:
            found.append(f"record {record} is in the CRM, and no fact told of it")
        elif record not in live:
            found.append(f"lead {lead} is known to Sales, and not in the CRM any more")
        else:
            truth, _ = tenant.mapping.lead(dict(live[record]), lead)
            ours = view.leads[lead]
            found += [
                f"{lead}: {name} differs"
                for name in tenant.mapping.slot_fields
                if (getattr(ours, name) or "") != (getattr(truth, name) or "")
            ]
    return found
