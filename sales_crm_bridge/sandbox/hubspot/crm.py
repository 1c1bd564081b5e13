"""The account's records and everything that can happen to them; no HTTP in here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from sales_crm_bridge.sandbox.hubspot.definitions import LEAD_PIPELINE, Definition
from sales_crm_bridge.sandbox.hubspot.entries import Entry, Event
from sales_crm_bridge.sandbox.hubspot.kinds import COMPANIES, CONTACTS, KINDS, LEADS, Kind
from sales_crm_bridge.sandbox.hubspot.links import Link, Links
from sales_crm_bridge.sandbox.hubspot.merging import MERGES_MAX, merged_props
from sales_crm_bridge.sandbox.hubspot.properties import Schema
from sales_crm_bridge.sandbox.hubspot.records import Book, Record, Source, Version
from sales_crm_bridge.sandbox.hubspot.refusals import BadValue, Refusal, bad_values, detail, invalid
from sales_crm_bridge.sandbox.hubspot.search import SearchIndex
from sales_crm_bridge.sandbox.hubspot.times import iso

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from sales_crm_bridge.sandbox.hubspot.settings import Account, Vices

_FIRST_ID = 70_000_000_001
_SHARDS = 4
_SHARD_SIZE = 1_000_000_000


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A record that may be created: what it will hold, and whom it will be linked to."""

    kind: Kind
    props: dict[str, str]
    links: tuple[Link, ...] = ()


class Crm:
    """The state of one account. Every method that changes something says in its docstring what it refuses."""

    def __init__(self, clock: Callable[[], float], rng: random.Random, account: Account, vices: Vices) -> None:
        self._clock = clock
        self._rng = rng
        self.account = account
        self.vices = vices
        self.schema = Schema(account.portal_id)
        self.books = {name: Book(kind) for name, kind in KINDS.items()}
        self.links = Links(self.books)
        self.indexes = {name: SearchIndex(kind, self.schema.properties[name]) for name, kind in KINDS.items()}
        self.log: list[Entry] = []
        self.erased: list[str] = []
        self.blocked: set[str] = set()
        self.heard: Callable[[Event], None] | None = None
        """Is told of every event, if anybody listens."""
        self._seq = 0
        self._shards = [_FIRST_ID + shard * _SHARD_SIZE for shard in range(_SHARDS)]

    @property
    def now_ms(self) -> int:
        """The account's clock."""
        # Clocks come as floats: to the nearest microsecond first, so that 1.8 s is not 1799 ms.
        return round(self._clock() * 1_000_000) // 1000

    def new_id(self) -> int:
        """An id that no record of any type has; ids of later records may be smaller."""
        shard = self._rng.randrange(_SHARDS) if self.vices.ids_out_of_order else 0
        self._shards[shard] += 1 + self._rng.randrange(50)
        return self._shards[shard]

    def find(self, record_id: int) -> Record | None:
        """Find a record of any type, alive or in the bin."""
        return next((book.records[record_id] for book in self.books.values() if record_id in book.records), None)

    def shuffle(self, results: list[Any]) -> None:
        """Put what has no promised order into one."""
        self._rng.shuffle(results)

    def define(self, kind: Kind, definition: Definition) -> None:
        """Create a property; raises ``Refusal``."""
        self.schema.add(kind.name, definition)
        if definition.has_unique_value:
            self.books[kind.name].index(definition.name)

    # Creating and changing

    def plan_create(
        self,
        kind: Kind,
        raw: Mapping[str, str],
        links: Sequence[Link] = (),
        *,
        strict: bool = False,
        claimed: dict[tuple[str, str], str] | None = None,
    ) -> Plan:
        """Check a create without carrying it out.

        ``claimed``: unique values that earlier inputs of the same batch will hold; this one's are added. ``strict``: the
        administrator's validation rules bind. Raises ``Refusal``.
        """
        props, bad = self.schema.clean(kind.name, raw, dict(raw) if kind is LEADS else {})
        if bad:
            raise bad_values(bad, self.account.portal_id)
        props = {name: value for name, value in props.items() if value}
        if kind is CONTACTS and not any(props.get(name) for name in ("email", "firstname", "lastname")):
            raise invalid("A contact needs at least one of email, firstname, lastname.")
        if kind is LEADS:
            self._check_lead(props, links)
        self._check_required(kind, props, strict=strict)
        self._check_unique(kind, props, None, claimed)
        self.links.check(kind, links)
        return Plan(kind=kind, props=props, links=tuple(links))

    def create(self, plan: Plan, source: Source) -> Record:
        """Carry a create out."""
        now = self.now_ms
        record = self.make(plan.kind, plan.props, source, now)
        self.books[plan.kind.name].insert(record)
        for link in plan.links:
            self.links.add(record, link)
        self._index(record, now)
        self._log("create", record, plan.props, source)
        self._tell("creation", record, source)
        for name in plan.props:
            self._tell("propertyChange", record, source, name=name, value=record.props[name])
        return record

    def make(self, kind: Kind, props: Mapping[str, str], source: Source, at_ms: int) -> Record:
        """Make a new record with what the service fills in itself, without taking it in."""
        record_id, moment = self.new_id(), iso(at_ms)
        full = {
            **props,
            "hs_object_id": str(record_id),
            kind.created: moment,
            kind.modified: moment,
            "hs_object_source": source.kind,
            "hs_object_source_id": source.id,
            "hs_object_source_label": source.kind,
        }
        if kind is LEADS:
            full.setdefault("hs_pipeline", LEAD_PIPELINE.id)
            full.setdefault("hs_pipeline_stage", self.schema.pipelines[full["hs_pipeline"]].stages[0].id)
        else:
            full["hs_pipeline"] = f"{kind.name}-lifecycle-pipeline"
            if self.account.default_lifecycle_stage:
                full.setdefault("lifecyclestage", self.account.default_lifecycle_stage)
        if kind is CONTACTS:
            full |= {
                "hs_all_contact_vids": str(record_id),
                "hs_is_contact": "true",
                "hs_is_unworked": "true",
                "hs_currently_enrolled_in_prospecting_agent": "false",
                "hs_membership_has_accessed_private_content": "0",
                "hs_registered_member": "0",
            }
            if full["lifecyclestage"] == "lead":
                full["hs_lifecyclestage_lead_date"] = moment
        self._derive(kind, full, moment)
        version = Version(self.next_seq(), full, at_ms, source, tuple(full))
        return Record(record_id, kind, at_ms, [version])

    def guard(self, record: Record) -> None:
        """Refuse the API's writes to a record that bulk work holds; raises ``Refusal``."""
        if record.locked_until_ms > self.now_ms:
            raise Refusal(423, "LOCKED", f"{record.kind.word.upper()} {record.id} is locked by another operation.")

    def plan_update(
        self,
        record: Record,
        raw: Mapping[str, str],
        *,
        strict: bool = False,
        claimed: dict[tuple[str, str], str] | None = None,
    ) -> dict[str, str]:
        """Check an update and give what it would write; ``claimed`` as for a create. Raises ``Refusal``."""
        current = {**record.props, **{name: raw[name] for name in ("hs_pipeline",) if name in raw}}
        changes, bad = self.schema.clean(record.kind.name, raw, current)
        if bad:
            raise bad_values(bad, self.account.portal_id)
        self._check_required(record.kind, {**record.props, **changes}, strict=strict)
        self._check_unique(record.kind, changes, record, claimed)
        return changes

    def update(self, record: Record, changes: Mapping[str, str], source: Source) -> None:
        """Carry an update out; the modified time moves even if nothing changes, where the account is like that."""
        real = {name: value for name, value in changes.items() if record.props.get(name, "") != value}
        if real or self.vices.touch_same_value:
            self._write(record, real, source)
        self._log("update", record, changes, source)
        for name in real:
            self._tell("propertyChange", record, source, name=name, value=record.props.get(name, ""))

    def _write(self, record: Record, changes: Mapping[str, str], source: Source) -> None:
        now = self.now_ms
        moment = iso(now)
        book = self.books[record.kind.name]
        full = {**record.props, **changes, record.kind.modified: moment}
        for name in [name for name in changes if not full[name]]:
            del full[name]
        if "hubspot_owner_id" in changes:
            full["hubspot_owner_assigneddate"] = moment
        self._derive(record.kind, full, moment)
        book.release(record)
        record.add(Version(self.next_seq(), full, now, source, (*changes, record.kind.modified)))
        book.claim(record, full)
        self._index(record, now)

    def _derive(self, kind: Kind, full: dict[str, str], moment: str) -> None:
        if kind is LEADS:
            stage = self.schema.stage(full["hs_pipeline"], full.get("hs_pipeline_stage", ""))
            outcome = stage.outcome if stage else "open"
            full["hs_lead_is_open"] = "true" if outcome == "open" else "false"
            full["hs_lead_is_qualified"] = "true" if outcome == "qualified" else "false"
            full["hs_lead_is_disqualified"] = "true" if outcome == "disqualified" else "false"
        elif kind is COMPANIES:
            if full.get("domain"):
                full.setdefault("website", full["domain"])
        elif full.get("email"):
            full["hs_email_domain"] = full["email"].rpartition("@")[2]
        else:
            full.pop("hs_email_domain", None)
        if full.get("hubspot_owner_id"):
            full.setdefault("hubspot_owner_assigneddate", moment)

    # What is checked before a write

    def _check_lead(self, props: Mapping[str, str], links: Sequence[Link]) -> None:
        if not props.get("hs_lead_name"):
            text = "Error creating LEAD. Some required properties were not set."
            raise invalid(text, detail(text, "MISSING_REQUIRED_PROPERTY", "hs_lead_name"))
        if not any(link.to in {CONTACTS, COMPANIES} for link in links):
            text = "A lead must be associated with an existing contact or company."
            raise invalid(text, detail(text, "MISSING_REQUIRED_ASSOCIATION"))

    def _check_required(self, kind: Kind, props: Mapping[str, str], *, strict: bool) -> None:
        missing = [name for name in self.schema.required.get(kind.name, ()) if not props.get(name)] if strict else []
        if missing:
            told = [detail(f"{name} is required.", "MISSING_REQUIRED_PROPERTY", name) for name in missing]
            raise invalid("Some required properties were not set.", *told)

    def _check_unique(
        self,
        kind: Kind,
        props: Mapping[str, str],
        record: Record | None,
        claimed: dict[tuple[str, str], str] | None,
    ) -> None:
        book, own = self.books[kind.name], record.id if record else None
        email = props.get("email", "") if kind is CONTACTS else ""
        if email:
            if email in self.blocked:
                raise invalid(f"Email address {email} is blocked by a privacy deletion.")
            holder = book.holder("email", email)
            if holder is not None and holder != own:
                raise Refusal(409, "CONFLICT", f"Contact already exists. Existing ID: {holder}")
        for name in self.schema.unique_names(kind.name):
            value = props.get(name, "")
            holder = book.holder(name, value) if value else None
            if holder is not None and holder != own:
                text = (
                    f"Cannot set PropertyValueCoordinates{{portalId={self.account.portal_id}, objectTypeId={kind.type_id}, "
                    f"propertyName={name}, value={value}}} on {own or 'a new record'}. {holder} already has that value."
                )
                raise bad_values(
                    [BadValue(name=name, value=value, code="CONFLICTING_UNIQUE_VALUE", message=text)],
                    self.account.portal_id,
                )
        if claimed is not None:
            for key in [
                ("email", email),
                *((name, props.get(name, "")) for name in self.schema.unique_names(kind.name)),
            ]:
                if key[1] and key in claimed:
                    raise invalid(f"Duplicate {key[0]} values in batch: {key[1]}")
                claimed[key] = "taken"

    # The bin, the end, and the way back

    def archive(self, record: Record, source: Source) -> None:
        """Move a record to the bin; a lead that loses its last primary association this way follows it."""
        self.indexes[record.kind.name].drop(record)
        self.books[record.kind.name].bin(record, self.now_ms)
        self._log("archive", record, {}, source)
        self._tell("deletion", record, source)
        self._bereave(self.links.loosen(record), source)

    def restore(self, record: Record, source: Source) -> None:
        """Bring a record back from the bin, with its links to what still lives.

        Raises ``Refusal`` if a unique value of it is taken by now.
        """
        self._check_unique(record.kind, record.props, record, None)
        self.books[record.kind.name].unbin(record)
        self.links.tighten(record)
        self._write(record, {}, source)
        self._log("restore", record, {}, source)
        self._tell("restore", record, source)

    def erase(self, record: Record, source: Source) -> None:
        """Erase a record for good, as the law asks for; its address may come again."""
        if record.archived_ms is None:
            self.indexes[record.kind.name].drop(record)
        self._log("erase", record, {}, source)
        self._tell("privacyDeletion", record, source)
        self._tell("deletion", record, source)
        left = self.links.loosen(record)
        self.books[record.kind.name].remove(record)
        self.erased.append(str(record.id))
        self._bereave(left, source)

    def unlink(self, record: Record, link: Link, source: Source) -> None:
        """Take associations away; a lead without a primary one is deleted."""
        self._bereave(self.links.remove(record, link), source)

    def _bereave(self, leads: Iterable[Record], source: Source) -> None:
        for lead in leads:
            if lead.archived_ms is None:
                self.archive(lead, source)

    def merge(self, primary: Record, other: Record, source: Source) -> Record:
        """Make one record of two, as ``merged_props`` describes it; raises ``Refusal`` for a pair that cannot be merged."""
        kind, now = primary.kind, self.now_ms
        if kind is LEADS or other.kind is not kind or primary is other:
            raise invalid("These two records cannot be merged.")
        if primary.merges + other.merges >= MERGES_MAX:
            raise Refusal(414, "VALIDATION_ERROR", f"A record can be merged at most {MERGES_MAX} times.")
        book, index = self.books[kind.name], self.indexes[kind.name]
        moved = sum(name not in primary.props for name in other.props)
        if self.vices.merge_makes_new_id:
            survivor = Record(self.new_id(), kind, 0, [])
            gone = [primary, other]
        else:
            survivor, gone = primary, [other]
        survivor.created_ms = min(primary.created_ms, other.created_ms)
        survivor.merges = primary.merges + other.merges + 1
        props = merged_props(survivor, primary, other, now)
        for record in gone:
            index.drop(record)
            self.links.move(record, survivor)
            book.remove(record)
            book.merged[record.id] = survivor.id
        if survivor is primary:
            book.release(survivor)
        survivor.add(Version(self.next_seq(), props, now, source, tuple(props)))
        if survivor is primary:
            book.claim(survivor, props)
        else:
            book.insert(survivor)
        self._index(survivor, now)
        self._log("merge", survivor, {"hs_merged_object_ids": props["hs_merged_object_ids"]}, source)
        if self.heard is not None:
            self.heard(
                Event(
                    what="merge",
                    kind=kind,
                    object_id=primary.id,
                    at_ms=now,
                    source=source,
                    merged=(other.id,),
                    survivor=survivor.id,
                    value=str(moved),
                ),
            )
        return survivor

    def purge(self) -> None:
        """Forget what has been in the bin for more than 90 days."""
        for book in self.books.values():
            book.purge(self.now_ms)

    # What is noted of a write

    def next_seq(self) -> int:
        """The number of the next write of the account."""
        self._seq += 1
        return self._seq

    def _index(self, record: Record, now_ms: int) -> None:
        low, high = self.vices.search_lag_s
        lag_s = record.lag_s if record.lag_s is not None else self._rng.uniform(low, high) if high > 0 else 0.0
        self.indexes[record.kind.name].put(record, now_ms + round(lag_s * 1000), now_ms)

    def _log(self, operation: str, record: Record, changes: Mapping[str, str], source: Source) -> None:
        self.log.append(
            Entry(
                seq=len(self.log) + 1,
                at_ms=self.now_ms,
                operation=operation,
                object_type=record.kind.name,
                record_id=str(record.id),
                changes=changes,
                source=source.kind,
                request=source.request,
                trace=source.trace,
            ),
        )

    def _tell(self, what: str, record: Record, source: Source, *, name: str = "", value: str = "") -> None:
        if self.heard is not None:
            self.heard(
                Event(
                    what=what,
                    kind=record.kind,
                    object_id=record.id,
                    at_ms=self.now_ms,
                    source=source,
                    name=name,
                    value=value,
                ),
            )
