"""What facts tell a second time under another message id, as a reader of the topic can see it."""

from __future__ import annotations

from sales_crm_bridge import contract


class Retold:
    """Notices what facts tell a second time under another message id, as a reader of the topic can see it.

    To be shown each fact once, in the order of the topic. A field counts as told by an observed fact, and by a pushed one if that
    has written it. Whatever else a push or a return from the dead shows of a lead may be told after it, with its field's name.
    """

    def __init__(self) -> None:
        self._records: dict[str, str] = {}
        self._told: dict[str, dict[str, object]] = {}
        self._converted: set[str] = set()
        self._merged: set[str] = set()
        self._named: set[str] = set()

    def wrong(self, fact: contract.SalesIntegrationFact) -> str:
        """Why the next fact tells nothing new of its lead; "" if it does."""
        lead = fact.subject.aggregate_id
        match fact.WhichOneof("fact"):
            case "crm_lead_observed":
                return self._observed(lead, fact.crm_lead_observed)
            case "crm_lead_removed":
                return self._removed(lead, fact.crm_lead_removed)
            case "crm_lead_converted":
                there = lead in self._records and lead not in self._converted
                self._converted.add(lead)
                return "" if there else "converted, and was not a lead"
            case "crm_lead_restored":
                there = lead in self._records and lead not in self._converted
                self._converted.discard(lead)
                self._records[lead] = fact.crm_lead_restored.external.record_id
                return "restored, and was there" if there else ""
            case "crm_lead_pushed":
                self._pushed(lead, fact.crm_lead_pushed)
                return ""
            case "crm_lead_push_failed":
                if fact.crm_lead_push_failed.external.record_id:
                    self._named.add(lead)
                return ""
            case _:
                return ""

    def _removed(self, lead: str, removed: contract.CrmLeadRemoved) -> str:
        there = self._records.pop(lead, None) is not None
        merged = removed.removal == contract.CrmRemovalKind.CRM_REMOVAL_KIND_MERGED
        # What is in the bin can be merged all the same, and where it went is news. A write that failed may have named the record.
        news = there or lead in self._named or (merged and lead not in self._merged)
        self._named.discard(lead)
        if merged:
            self._merged.add(lead)
        return "" if news else "removed, and was not there"

    def _observed(self, lead: str, seen: contract.CrmLeadObserved) -> str:
        change = word(contract.CrmChangeKind.Name(seen.change))
        record, before = self._records.get(lead), self._told.get(lead)
        self._records[lead], self._told[lead] = seen.external.record_id, fields_of(seen.lead)
        if record is not None and change in {"imported", "created"}:
            return f"{change}, and was known"
        if record == seen.external.record_id and before == self._told[lead]:
            return f"{change}, and is as it was"
        return ""

    def _pushed(self, lead: str, pushed: contract.CrmLeadPushed) -> None:
        self._records[lead] = pushed.external.record_id
        before, after = self._told.get(lead), fields_of(pushed.lead)
        if not pushed.HasField("lead"):
            self._told.pop(lead, None)  # what the CRM made of our values is not said
        elif before is not None:
            written = {name.partition(".")[0] for name in pushed.written_fields}
            kept = {name: value for name, value in before.items() if name not in written}
            self._told[lead] = kept | {name: value for name, value in after.items() if name in written}
        elif pushed.operation == contract.CrmOperation.CRM_OPERATION_CREATE:
            self._told[lead] = after


def fields_of(lead: contract.Lead) -> dict[str, object]:
    """What a snapshot of a lead says, by field."""
    return {field.name: value for field, value in lead.ListFields()}


def word(name: str) -> str:
    """The bare word of an enum's value."""
    for prefix in ("CRM_CHANGE_KIND_", "CRM_REMOVAL_KIND_", "CRM_OPERATION_"):
        name = name.removeprefix(prefix)
    return name.lower()
