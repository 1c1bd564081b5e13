"""A reader of the facts' topic, as Sales is one: what it knows of the leads, and what is wrong with the facts by themselves."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

import msgspec

from sales_crm_bridge import contract
from sales_crm_bridge.simulate.retold import Retold

if TYPE_CHECKING:
    from collections.abc import Sequence

ORDER, DOUBLED, FOREIGN = "facts-in-order", "not-doubled", "only-integration-facts"


NEW = (contract.CrmChangeKind.CRM_CHANGE_KIND_IMPORTED, contract.CrmChangeKind.CRM_CHANGE_KIND_CREATED)


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot of a lead that a fact has told: which record it was, and what stood in it; ``new``: as a lead that is new."""

    lead_id: str
    record: str
    lead: contract.Lead
    version: int
    new: bool = False


class Reader:
    """Reads facts in their order; a message id that comes again is passed over.

    ``asked``: what Sales' own intents ask for, by message id: where a fact that one took effect does not show the lead, Sales takes
    over what it has asked for. ``leads``, ``records``: what is known now, by lead. ``born``: leads that the CRM's people have
    made. ``looks``: every snapshot, in order. ``done``, ``failed``: outcomes by the intent's message id; ``written``: the fields
    of those that are done. ``needs_person``: leads with a command that waits for a person. ``wrong``: invariant and words.
    ``gaps``: gaps told as open.
    """

    def __init__(self) -> None:
        self.asked: dict[str, contract.Lead] = {}
        self.leads: dict[str, contract.Lead] = {}
        self.records: dict[str, str] = {}
        self.born: set[str] = set()
        self.looks: list[Look] = []
        self.done: Counter[str] = Counter()
        self.written: dict[str, frozenset[str]] = {}
        self.failed: dict[str, list[str]] = defaultdict(list)
        self.outcomes: list[str] = []
        self.needs_person: set[str] = set()
        self.converted: set[str] = set()
        self.wrong: list[tuple[str, str]] = []
        self.kinds: Counter[str] = Counter()
        self.repeated = 0
        self.gaps = 0
        self._read = 0
        self._seen: dict[str, bytes] = {}
        self._versions: dict[str, int] = {}
        self._retold = Retold()

    def take(self, facts: Sequence[bytes]) -> None:
        """Read what is new on the topic."""
        while self._read < len(facts):
            value = facts[self._read]
            self._read += 1
            record = contract.outgoing(value)
            received = contract.read(contract.SalesIntegrationFact, record.value, record.headers)
            if isinstance(received, contract.Unreadable):
                self.wrong.append((FOREIGN, f"fact {self._read} is none: {received.code}"))
                continue
            self._one(received.envelope, record.value)

    def _one(self, fact: contract.SalesIntegrationFact, value: bytes) -> None:
        name = fact.meta.message_id
        if name in self._seen:
            self.repeated += 1
            if self._seen[name] != value:
                self.wrong.append((DOUBLED, f"message {name} has two contents"))
            return
        self._seen[name] = value
        lead_id, version = fact.subject.aggregate_id, fact.subject.aggregate_version
        last = self._versions.get(lead_id, 0)
        if version != last + 1:
            self.wrong.append((ORDER, f"{lead_id}: version {version} after {last}"))
        self._versions[lead_id] = max(version, last)
        if wrong := self._retold.wrong(fact):
            self.wrong.append((DOUBLED, f"{lead_id} in version {version}: {wrong}"))
        self._know(fact, lead_id, version)

    def _know(self, fact: contract.SalesIntegrationFact, lead_id: str, version: int) -> None:
        kind = fact.WhichOneof("fact") or ""
        self.kinds[kind] += 1
        match kind:
            case "crm_lead_observed":
                seen = fact.crm_lead_observed
                self._look(lead_id, seen.external.record_id, seen.lead, version, new=seen.change in NEW)
            case "crm_lead_restored":
                self._look(lead_id, fact.crm_lead_restored.external.record_id, fact.crm_lead_restored.lead, version)
            case "crm_lead_removed" | "crm_lead_converted":
                self.leads.pop(lead_id, None)
                self.records.pop(lead_id, None)
                self.born.discard(lead_id)
            case "crm_lead_pushed":
                self._pushed(fact.crm_lead_pushed, fact.meta.causation_id, lead_id, version)
            case "crm_lead_push_failed":
                failed = fact.crm_lead_push_failed
                self.failed[fact.meta.causation_id].append(failed.crm_code)
                self.outcomes.append(fact.meta.causation_id)
                if failed.needs_person:
                    self.needs_person.add(lead_id)
            case "crm_gap_opened":
                self.gaps += 1
            case _:
                pass

    def _pushed(self, pushed: contract.CrmLeadPushed, cause: str, lead_id: str, version: int) -> None:
        self.done[cause] += 1
        self.outcomes.append(cause)
        self.written[cause] = frozenset(pushed.written_fields)
        self.records[lead_id] = pushed.external.record_id
        if pushed.HasField("lead"):
            self._look(lead_id, pushed.external.record_id, pushed.lead, version)
        elif cause in self.asked:
            known = self.leads.get(lead_id, contract.Lead(lead_id=lead_id))
            self.leads[lead_id] = _with(known, self.asked[cause], pushed.written_fields)

    def _look(self, lead_id: str, record: str, lead: contract.Lead, version: int, *, new: bool = False) -> None:
        if new and not lead_id.startswith("L-"):
            self.born.add(lead_id)
        self.leads[lead_id], self.records[lead_id] = lead, record
        self.looks.append(Look(lead_id=lead_id, record=record, lead=lead, version=version, new=new))


def _with(lead: contract.Lead, asked: contract.Lead, written: Sequence[str]) -> contract.Lead:
    known = contract.Lead()
    known.CopyFrom(lead)
    for name in written:
        setattr(known, name, getattr(asked, name))
    return known
