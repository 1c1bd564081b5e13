"""The invariants: what must hold of the CRM, the topics and the ledger, whatever has happened. Each is one function with a name.

They compare with the ground truth: the CRM's own history, the intents as they were uttered, the topic of facts. Some hold at every
moment, so a run is checked for them at its end over its whole history; the others hold at rest, when the faults are over and all is
settled.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from sales_crm_bridge import contract
from sales_crm_bridge.model import LeadState
from sales_crm_bridge.simulate.journal import BRIDGE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from sales_crm_bridge.model import Capabilities
    from sales_crm_bridge.simulate.clients import Utterance
    from sales_crm_bridge.simulate.deployment import Deployment
    from sales_crm_bridge.simulate.journal import Entry
    from sales_crm_bridge.simulate.reader import Reader

Bound = list[tuple[str, str, LeadState]]
_STATUSES = {number: name.removeprefix("LEAD_STATUS_").lower() for name, number in contract.LeadStatus.items()}


class Rest:
    """A run at rest: its world, what a reader of the facts knows, the ledger's bindings, what the CRM's adapter declares."""

    def __init__(
        self, town: Deployment, bound: Bound, places: Mapping[tuple[str, int], int], can: Capabilities
    ) -> None:
        self.town = town
        self.reader: Reader = town.reader
        self.bound = bound
        self.places = places
        self.can = can
        self.windows: Counter[str] = Counter()
        """What happened in a window that the guarantees name, because the CRM lacks what would close it."""

    @property
    def uttered(self) -> Mapping[str, Utterance]:
        """Every intent, by message id."""
        return self.town.acts.uttered


# --- at rest ----------------------------------------------------------------------------------------------------------


def every_change_told(rest: Rest) -> Iterator[str]:
    """Sales' view of the leads and the CRM's records are the same, field by field."""
    reader, live = rest.reader, rest.town.journal.live
    leads_of: dict[str, list[str]] = {}
    for lead_id in reader.leads:
        leads_of.setdefault(reader.records[lead_id], []).append(lead_id)
    for record in sorted({*live, *leads_of}):
        leads = leads_of.get(record, [])
        if record not in live:
            yield f"leads {leads} are told of record {record}, which is not there"
        elif not leads:
            yield f"no fact tells of record {record}"
        elif len(leads) > 1:
            yield f"record {record} is told of as {sorted(leads)}"
        else:
            yield from _differing(rest, leads[0], record)


def _differing(rest: Rest, lead_id: str, record: str) -> Iterator[str]:
    truth = rest.town.journal.live[record]
    told = shown(rest, rest.reader.leads[lead_id])
    for name, value in told.items():
        if value != truth[name]:
            yield f"{lead_id} (record {record}): {name} is told as {value!r}, the CRM says {truth[name]!r}"


def shown(rest: Rest, lead: contract.Lead) -> dict[str, str]:
    """A told lead by neutral names."""
    status = _STATUSES[lead.status]
    return {
        "name": getattr(lead, rest.town.crm.sales) or "",
        "email": lead.email or "",
        "phone": lead.phone or "",
        "status": "" if status == "unspecified" else status,
    }


def no_command_lost(rest: Rest) -> Iterator[str]:
    """Every intent has an outcome, but for those that the broker forgot before they could be read, and then a gap is told.

    Later intents of a lead that waits for a person wait as well.
    """
    reader, group = rest.reader, rest.town.group
    lost = 0
    for name, one in rest.uttered.items():
        if name in reader.done or name in reader.failed:
            continue
        if one.place in group.unread:
            lost += 1
        elif one.lead_id not in reader.needs_person:
            yield f"{name} of {one.lead_id} has no outcome"
    if lost and not reader.gaps:
        yield f"{lost} intents were trimmed unread, and no gap is told"


def bindings_agree(rest: Rest) -> Iterator[str]:
    """The ledger's live bindings are the CRM's live records, one to one, each with the lead whose key it carries."""
    live = rest.town.journal.live
    held: dict[str, str] = {}
    for lead_id, crm_id, state in rest.bound:
        if state is not LeadState.LIVE:
            continue
        if crm_id in held:
            yield f"record {crm_id} is bound to {held[crm_id]} and to {lead_id}"
        held[crm_id] = lead_id
        if crm_id not in live:
            yield f"{lead_id} is bound to record {crm_id}, which is not there"
    bound = {lead_id: crm_id for crm_id, lead_id in held.items()}
    for crm_id, lead_id in held.items():
        key = live[crm_id]["key"] if crm_id in live else ""
        # After a merge a record may carry the key of a lead that is no more.
        if key and key != lead_id and key in bound:
            yield f"record {crm_id} carries the key of {key}, who is bound to {bound[key]}, and is bound to {lead_id}"
    for record in live:
        if record not in held:
            yield f"record {record} is bound to no lead"


def position_behind_commit(rest: Rest) -> Iterator[str]:
    """What the group was told is nowhere beyond what the ledger has."""
    for place, offset in rest.town.group.committed.items():
        if offset > rest.places.get(place, 0):
            yield f"partition {place[1]}: {offset} was told to the group, the ledger stands at {rest.places.get(place)}"


# --- at every moment --------------------------------------------------------------------------------------------------


def one_record_per_lead(rest: Rest) -> Iterator[str]:
    """The bridge makes no second record for a lead whose first is there; a window where the CRM holds no key unique.

    One that people have merged or removed before the bridge had seen it, its answer lost, is made anew: nobody could know.
    """
    for key, first, second, there in rest.town.journal.twice:
        if not there:
            rest.windows["a record made anew that people had removed before its lost answer was settled"] += 1
        elif rest.can.unique_key:
            yield f"{key}: record {second} was made, and {first} was there"
        else:
            rest.windows["a record made twice (no unique key)"] += 1


def intents_once(rest: Rest) -> Iterator[str]:
    """An intent has one outcome: it took effect once, or was refused once."""
    reader = rest.reader
    for name in rest.uttered:
        times = reader.done[name] + len(reader.failed.get(name, ()))
        if times > 1:
            yield f"{name} has {times} outcomes: done {reader.done[name]}, refused {reader.failed.get(name, [])}"


def outcomes_true(rest: Rest) -> Iterator[str]:
    """What is told as refused was not written, and what is told as done was, or was there.

    What people have worked on since it was written may be told as refused: it cannot be known again.
    """
    wrote: dict[str, Entry] = {}
    worked: dict[str, int] = {}
    for entry in rest.town.journal.entries:
        if entry.who != BRIDGE:
            worked[entry.record] = entry.number
        elif entry.after is not None:
            wrote.setdefault(entry.after["phone"], entry)
    there = {version["phone"] for versions in rest.town.journal.versions.values() for version in versions}
    for name, one in rest.uttered.items():
        phone = one.asked.get("phone")
        if phone is None:
            continue
        written = wrote.get(phone)
        for code in rest.reader.failed.get(name, ()):
            if written is None or worked.get(written.record, -1) > written.number:
                continue
            if code == "create-unproven" and not rest.can.read_by_key:
                rest.windows["a lost create that waits for a person (no key to find it by)"] += 1
            else:
                yield f"{name} is told as refused ({code}), and was written"
        if "phone" in rest.reader.written.get(name, ()) and phone not in there and not rest.town.crm.bin_is_writable:
            yield f"{name} is told as done, and was never written"


def creates_write_their_own(rest: Rest) -> Iterator[str]:
    """A create writes to no record but its own: one that it makes, or that carries its lead's key."""
    creates = {one.asked["phone"]: one.lead_id for one in rest.uttered.values() if one.operation == "create"}
    for entry in rest.town.journal.entries:
        before, after = entry.before, entry.after
        if entry.who != BRIDGE or before is None or after is None or before["phone"] == after["phone"]:
            continue
        lead_id = creates.get(after["phone"])
        if lead_id is not None and before["key"] != lead_id:
            yield f"record {entry.record} got the values of {lead_id}'s create, and carried the key {before['key']!r}"


def no_older_value(rest: Rest) -> Iterator[str]:
    """What is told of a record's field goes forward in the CRM's history, and was there; a window where a lead is two records."""
    versions = rest.town.journal.versions
    at: dict[tuple[str, str, str], int] = {}
    for look in rest.reader.looks:
        history = versions.get(look.record, [])
        for name, value in shown(rest, look.lead).items():
            key = (look.lead_id, look.record, name)
            start = at.get(key, 0)
            found = next((number for number in range(start, len(history)) if history[number][name] == value), None)
            was = found is None and any(one[name] == value for one in history)
            if found is None and not value and not was and rest.town.crm.in_parts:
                rest.windows["a lead of two records told without the second (deleted meanwhile)"] += 1
            elif found is None:
                what = "an older value after a newer one" if was else "a value that was never there"
                yield f"{look.lead_id} (record {look.record}) in version {look.version}: {name} {value!r} is {what}"
            else:
                at[key] = found


def commands_in_order(rest: Rest) -> Iterator[str]:
    """The intents of a lead have their outcomes in the order of the topic, but for those that wait for a person.

    One that was trimmed unread counts as uttered when somebody says it again.
    """
    last: dict[str, tuple[tuple[int, int], str]] = {}
    for name in rest.reader.outcomes:
        one = rest.uttered.get(name)
        if one is None or one.lead_id in rest.reader.needs_person or one.place in rest.town.group.unread:
            continue
        before = last.get(one.lead_id)
        if before is not None and before[0] > one.place:
            yield f"{name} of {one.lead_id} has its outcome after {before[1]}"
        last[one.lead_id] = (one.place, name)


def merges_move_bindings(rest: Rest) -> Iterator[str]:
    """Where two records became a third, one of their two leads goes on in it: it is no new lead."""
    known: dict[str, str] = {}
    for look in rest.reader.looks:
        parts = rest.town.acts.merges.get(look.record, ())
        of = {known[part] for part in parts if part in known}
        if look.new and of:
            yield f"record {look.record}, merged of {sorted(parts)}, is told as new lead {look.lead_id}, and was {sorted(of)}"
        known[look.record] = look.lead_id


def no_unseen_overwrite(rest: Rest) -> Iterator[str]:
    """The bridge never writes over what a person has written and it has not seen; a window where writes are not conditional."""
    for text in rest.town.journal.blind:
        if rest.can.conditional_write:
            yield text
        else:
            rest.windows["an edit overwritten unseen (no conditional write)"] += 1


def writes_go_forward(rest: Rest) -> Iterator[str]:
    """Of what the intents of a lead ask for, no older value is written over a newer one."""
    order: dict[tuple[str, str], tuple[tuple[int, int], str]] = {}
    asked = {value: one for one in rest.uttered.values() for name, value in one.asked.items() if name == "phone"}
    for entry in rest.town.journal.entries:
        if entry.who != BRIDGE or entry.after is None:
            continue
        phone = entry.after["phone"]
        if entry.before is not None and entry.before["phone"] == phone:
            continue
        one = asked.get(phone)
        if one is None or one.place in rest.town.group.unread:
            continue
        before = order.get((one.lead_id, "phone"))
        if before is not None and before[0] > one.place:
            yield f"record {entry.record}: {phone} of {one.message_id} was written after {before[1]}"
        order[one.lead_id, "phone"] = (one.place, one.message_id)


AT_REST: Mapping[str, Callable[[Rest], Iterator[str]]] = {
    "every-change-told": every_change_told,
    "no-command-lost": no_command_lost,
    "bindings-agree": bindings_agree,
    "position-behind-commit": position_behind_commit,
}
ALWAYS: Mapping[str, Callable[[Rest], Iterator[str]]] = {
    "one-record-per-lead": one_record_per_lead,
    "intents-once": intents_once,
    "outcomes-true": outcomes_true,
    "creates-write-their-own": creates_write_their_own,
    "no-older-value": no_older_value,
    "commands-in-order": commands_in_order,
    "merges-move-bindings": merges_move_bindings,
    "no-unseen-overwrite": no_unseen_overwrite,
    "writes-go-forward": writes_go_forward,
}
"""Invariants by name; besides them ``facts-in-order``, ``not-doubled`` and ``only-integration-facts`` (the reader), ``no-bug`` and
``settles`` (the run)."""


def violations(rest: Rest, invariants: Mapping[str, Callable[[Rest], Iterator[str]]]) -> list[tuple[str, str]]:
    """All that does not hold."""
    return [(name, text) for name, check in invariants.items() for text in check(rest)]


def agrees(rest: Rest, names: Sequence[str] = ("every-change-told", "no-command-lost", "bindings-agree")) -> bool:
    """Whether nothing is left to wait for."""
    return not any(True for name in names for _ in AT_REST[name](rest))
