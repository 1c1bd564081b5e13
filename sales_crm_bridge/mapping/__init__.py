"""A tenant's field mapping, compiled once: a CRM's records to leads and back. Pure, and never raises for what a CRM holds."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

import msgspec

from sales_crm_bridge.mapping.reading import is_plain, reader
from sales_crm_bridge.mapping.rules import CUSTOM, Deed, Kind, Rule, Spec, Step, TimeForm, WriteRule
from sales_crm_bridge.mapping.scalars import Misread, bytes_of, is_empty, number, text_of, time_of
from sales_crm_bridge.mapping.writing import STATUS_WORDS, cleared, creation_value, is_copied, value_of, writer
from sales_crm_bridge.model import Operation, Scalar
from sales_crm_bridge.pb.opportunity_pb2 import Lead

if TYPE_CHECKING:
    from collections.abc import Collection

    from sales_crm_bridge.mapping.reading import Reader

__all__ = ["Deed", "Kind", "Mapping", "Misfit", "Rule", "Spec", "Step", "TimeForm", "WriteRule"]

MISFITS = {
    "bad-flag": "the CRM's value is neither true nor false",
    "bad-number": "the CRM's value is no number that the contract can hold",
    "bad-text": "the CRM's value is no valid text",
    "bad-time": "the CRM's value is no time in the form that the mapping names",
    "no-currency": "an amount without a currency",
    "no-prefix": "the CRM's value lacks the prefix that the mapping names",
    "not-mapped": "the mapping has no entry for the field",
    "not-writable-value": "the CRM cannot hold this value under the mapping",
    "read-only": "the mapping never writes the field",
    "unknown-value": "the mapping does not list the CRM's value",
    "write-once": "the mapping writes the field only while it is empty in the CRM",
}
"""What each code of a ``Misfit`` means."""


_PHONE = re.compile(r"\+?[0-9][0-9 ()./-]{5,}[0-9]", re.ASCII)


class Misfit(msgspec.Struct, frozen=True, kw_only=True):
    """One field that could not be taken over: its Sales name, its CRM names joined with ``+``, and a code of ``MISFITS``."""

    field: str
    crm_field: str
    code: str


class Mapping:
    """One tenant's mapping. Immutable; made once per accepted tenant file.

    A *slot* is one Sales field that is read, with the CRM fields it is read from: its name (``full_name=firstname+lastname``)
    changes with the sources and not with the transforms, since bindings keep hashes of raw source values under it.
    """

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        rules = sorted(spec.rules, key=lambda rule: rule.name)
        read = [rule for rule in rules if rule.read]
        self.slots: tuple[str, ...] = tuple(rule.slot for rule in read)
        self.slot_fields: tuple[str, ...] = tuple(rule.name for rule in read)
        self._sources: tuple[tuple[str, ...], ...] = tuple(rule.sources for rule in read)
        self.reads: frozenset[str] = frozenset(name for names in self._sources for name in names)
        """The CRM fields that are read."""
        self._first = tuple(names[0] for names in self._sources)
        self._several = tuple((slot, names) for slot, names in enumerate(self._sources) if len(names) > 1)
        self._rules = {rule.name: rule for rule in rules}
        self._writers = {rule.name: writer(rule) for rule in rules if rule.write is not WriteRule.NEVER}
        made = [rule for rule in rules if rule.name in self._writers]
        self._plain_made = tuple((rule.name, rule.crm[0]) for rule in made if is_copied(rule))
        self._others_made = tuple(rule for rule in made if not is_copied(rule))
        self._times = {rule.crm[0]: rule.form for rule in rules if rule.kind is Kind.TIME}
        plain = [rule for rule in read if is_plain(rule)]
        self._plain = tuple((rule.name, rule.crm[0]) for rule in plain if not rule.name.startswith(CUSTOM))
        self._plain_custom = tuple(
            (rule.name.removeprefix(CUSTOM), rule.crm[0]) for rule in plain if rule.name.startswith(CUSTOM)
        )
        self._readers: tuple[tuple[Rule, Reader], ...] = tuple(
            (rule, reader(rule)) for rule in read if not is_plain(rule)
        )
        places = {rule.name: slot for slot, rule in enumerate(read)}
        self._checked = tuple((places[rule.name], read_one) for rule, read_one in self._readers)
        deeds = (spec.qualify, spec.disqualify)
        named = [name for rule in rules for name in rule.sources] + [name for name, _ in spec.create]
        named += [name for deed in deeds for name, _ in deed.set] + [deed.note for deed in deeds if deed.note]
        self.crm_fields: tuple[str, ...] = tuple(sorted(set(named)))
        encoded = msgspec.json.encode((rules, spec.create, *deeds))
        self.version: str = hashlib.blake2b(encoded, digest_size=8).hexdigest()

    # --- reading: the hot path ----------------------------------------------------------------------------------------

    def slot_field(self, slot: int) -> str:
        """The Sales field of a slot."""
        return self.slot_fields[slot]

    def slot_sources(self, slot: int) -> tuple[str, ...]:
        """The CRM fields that a slot is read from."""
        return self._sources[slot]

    def sources(self, fields: dict[str, Scalar]) -> list[str | bytes]:
        """Per slot its raw CRM values in canonical form, as text or as that text's UTF-8: empty when they are null or absent.

        A text is left as it is, since whoever hashes it need not make bytes of it first; half a surrogate pair in it is possible.
        """
        get = fields.get
        found: list[str | bytes] = [
            value if type(value) is str else b"" if value is None else bytes_of(value)
            for value in map(get, self._first)
        ]
        for slot, names in self._several:
            parts = [bytes_of(get(name)) for name in names]
            found[slot] = b"\x1f".join(parts) if any(parts) else b""
        return found

    def misread(self, fields: dict[str, Scalar]) -> list[int]:
        """The slots whose values could not be taken over."""
        found = []
        for slot, read in self._checked:
            try:
                read(fields)
            except Misread:
                found.append(slot)
        return found

    def lead(  # noqa: C901 - the hot path: the loops stand here to spare the calls
        self, fields: dict[str, Scalar], lead_id: str
    ) -> tuple[Lead, list[Misfit]]:
        """The lead that a record's fields say, and what of them could not be taken over (those fields are left out).

        An empty text in the CRM is known to be empty, and so is a text here; a field that the record lacks is absent.
        """
        known: dict[str, object] = {"lead_id": lead_id}
        custom: dict[str, object] = {}
        misfits: list[Misfit] = []
        for name, crm in self._plain:
            if crm in fields:
                value = fields[crm]
                known[name] = value if type(value) is str else text_of(value)
        for name, crm in self._plain_custom:
            if crm in fields:
                custom[name] = text_of(fields[crm])
        for rule, read in self._readers:
            try:
                found = read(fields)
            except Misread as why:
                misfits.append(_misfit(rule, why.code))
                continue
            if found is None:
                continue
            if rule.name.startswith(CUSTOM):
                custom[rule.name.removeprefix(CUSTOM)] = found
            else:
                known[rule.name] = found
        if custom:
            known["custom_attributes"] = custom
        try:
            return Lead(**known), misfits  # type: ignore[arg-type]  # the readers give what each field takes
        except ValueError:
            return self._mended(known, custom, misfits)

    def _mended(
        self, known: dict[str, object], custom: dict[str, object], misfits: list[Misfit]
    ) -> tuple[Lead, list[Misfit]]:
        """The lead without the texts that are none (half a surrogate pair), which protobuf refuses."""
        for name in [name for name, value in custom.items() if _is_broken(value)]:
            del custom[name]
            misfits.append(_misfit(self._rules[CUSTOM + name], "bad-text"))
        for name in [name for name, value in known.items() if name != "custom_attributes" and _is_broken(value)]:
            del known[name]
            misfits.append(_misfit(self._rules[name], "bad-text"))
        return Lead(**known), misfits  # type: ignore[arg-type]

    def told(self, lead: Lead) -> dict[str, object]:
        """What a lead says, by Sales field, for people; a field that it does not have is left out."""
        told = {name: value_of(rule, lead) for name, rule in self._rules.items() if rule.read}
        if told.get("status"):
            told["status"] = STATUS_WORDS[lead.status]
        return {name: value for name, value in told.items() if value is not None}

    def snapshot(
        self, fields: dict[str, Scalar], lead_id: str, held: Collection[int] = ()
    ) -> tuple[bytes, list[Misfit]]:
        """``lead``, without the slots that are ``held``, serialised deterministically."""
        lead, misfits = self.lead(fields, lead_id)
        if held:
            self.leave_out(lead, held)
        return lead.SerializeToString(deterministic=True), misfits

    def leave_out(self, lead: Lead, slots: Collection[int]) -> None:
        """Take what these slots say out of a lead again."""
        for name in (self.slot_fields[slot] for slot in slots):
            if name.startswith(CUSTOM):
                lead.custom_attributes.pop(name.removeprefix(CUSTOM), None)
            else:
                lead.ClearField(name)  # type: ignore[arg-type]  # the stub wants the literal names; the slots hold no others

    def reads_without(self, held: Collection[int]) -> frozenset[str]:
        """The CRM fields that are read for the slots that are not ``held``."""
        if not held:
            return self.reads
        return frozenset(name for slot, names in enumerate(self._sources) if slot not in held for name in names)

    # --- writing ------------------------------------------------------------------------------------------------------

    def to_wire(
        self, lead: Lead, names: Collection[str], *, creating: bool, current: dict[str, Scalar] | None = None
    ) -> tuple[dict[str, Scalar], list[Misfit]]:
        """The CRM fields to set for the Sales fields ``names`` (None clears), and what of them cannot be written.

        ``creating``: with fixed values, creation defaults and write-once fields; no ``names`` means all that the lead has, and a
        field that it lacks is not cleared but left. Otherwise a write-once field goes out only while it is empty in ``current``,
        the record's fields (None: not known), and a field without an entry, or a read-only one, is a misfit.
        """
        wire: dict[str, Scalar] = dict(self.spec.create) if creating else {}
        misfits: list[Misfit] = []
        if creating and not names:
            wire |= {crm: value for name, crm in self._plain_made if (value := getattr(lead, name))}
            for other in self._others_made:
                self._write(other, lead, wire, misfits, creating=True)
            return wire, misfits
        for name in sorted(set(names)):
            rule = self._rules.get(name)
            obstacle = self._obstacle(rule, current) if not creating else ""
            if rule is None or obstacle:
                if not creating:
                    code = obstacle or "not-mapped"
                    misfits.append(_misfit(rule, code) if rule else Misfit(field=name, crm_field="", code=code))
                continue
            self._write(rule, lead, wire, misfits, creating=creating)
        if creating and names:
            for other in self._rules.values():
                if other.create_default and other.name not in names:
                    self._write(other, lead, wire, misfits, creating=True, given=False)
        return wire, misfits

    def over_wire(self, lead: Lead) -> tuple[dict[str, Scalar], list[Misfit]]:
        """The CRM fields to set where a new lead turns out to be a record that is there: all that it has, as an update.

        What only a creation may write is left as the record has it, and so is what the lead lacks.
        """
        rules = [rule for rule in self._rules.values() if rule.write is WriteRule.ALWAYS]
        return self.to_wire(
            lead, [rule.name for rule in rules if value_of(rule, lead) not in (None, "")], creating=False
        )

    def _obstacle(self, rule: Rule | None, current: dict[str, Scalar] | None) -> str:
        """Why a revision must not write the entry; "" if it may."""
        if rule is None:
            return "not-mapped"
        if rule.write is WriteRule.NEVER:
            return "read-only"
        if rule.write is WriteRule.ONCE:
            free = current is not None and all(is_empty(current.get(name)) for name in rule.crm)
            return "" if free else "write-once"
        return ""

    def _write(
        self,
        rule: Rule,
        lead: Lead,
        wire: dict[str, Scalar],
        misfits: list[Misfit],
        *,
        creating: bool,
        given: bool = True,
    ) -> None:
        write = self._writers.get(rule.name)
        if write is None:
            return
        try:
            value = value_of(rule, lead) if given else None
            if creating and (value is None or value == ""):
                value = creation_value(rule)
            if value is not None:
                wire.update(write(value))
            elif not creating:
                wire.update(cleared(rule))
        except Misread as why:
            misfits.append(_misfit(rule, why.code))

    def qualify_wire(self, note: str = "") -> dict[str, Scalar]:
        """The CRM fields that qualify a lead; empty when the tenant's file declares it unsupported."""
        return self._deed(self.spec.qualify, "qualified", note)

    def disqualify_wire(self, reason: str, note: str) -> dict[str, Scalar]:
        """The CRM fields that disqualify a lead for ``reason``; empty when the tenant's file declares it unsupported.

        The reason goes where ``disqualification_reason`` is mapped to; one that its map does not list stays with Sales.
        """
        wire = self._deed(self.spec.disqualify, "disqualified", note)
        if not self.spec.disqualify.unsupported and reason:
            said, _ = self.to_wire(Lead(disqualification_reason=reason), ("disqualification_reason",), creating=False)
            wire = {**said, **wire}
        return wire

    def _deed(self, deed: Deed, status: str, note: str) -> dict[str, Scalar]:
        if deed.unsupported:
            return {}
        wire: dict[str, Scalar] = {}
        rule = self._rules.get("status")
        if rule is not None and rule.write is not WriteRule.NEVER:
            written = rule.written_value(status) if rule.values else status
            if written is not None:
                wire[rule.crm[0]] = written
        if deed.note and note:
            wire[deed.note] = note
        wire.update(deed.set)
        return wire

    # --- comparing ----------------------------------------------------------------------------------------------------

    def matches(self, wire: dict[str, Scalar], fields: dict[str, Scalar]) -> bool:
        """Whether a record holds everything that ``wire`` set."""
        return not self.differing(wire, fields)

    def differing(self, wire: dict[str, Scalar], fields: dict[str, Scalar]) -> tuple[str, ...]:
        """The CRM fields in which a record differs from ``wire``.

        Null against empty, 1 against "1.0", blanks at the ends, upper and lower case, the separators of a phone number and two ways
        to write one time are no difference: CRMs normalise what they are given.
        """
        return tuple(name for name, value in wire.items() if not self._same(name, value, fields.get(name)))

    def _same(self, name: str, ours: Scalar, theirs: Scalar) -> bool:
        left, right = text_of(ours).strip(), text_of(theirs).strip()
        if left.casefold() == right.casefold():
            return True
        if not left or not right:
            return False
        if _PHONE.fullmatch(left) and _PHONE.fullmatch(right):
            return [one for one in left if one.isdigit()] == [one for one in right if one.isdigit()]
        try:
            form = self._times.get(name)
            if form is not None:
                return time_of(ours, form) == time_of(theirs, form)
            if isinstance(ours, bool) or isinstance(theirs, bool):
                return left == right.lower()
            return (isinstance(ours, int | float) or isinstance(theirs, float)) and number(left) == number(right)
        except Misread:
            return False

    def names_written(self, operation: Operation, mask: Collection[str] = ()) -> tuple[str, ...]:
        """The Sales fields that a command would write, sorted (``mask``: of a revision)."""
        if operation is Operation.CREATE:
            return tuple(self._writers)
        if operation is Operation.REVISE:
            always = (name for name in self._writers if self._rules[name].write is WriteRule.ALWAYS)
            return tuple(name for name in always if name in mask)
        if operation is Operation.QUALIFY:
            wire = self.qualify_wire()
        else:
            wire = self.disqualify_wire("", "")
            reason = self._rules.get("disqualification_reason")
            if wire and reason is not None and reason.name in self._writers:
                wire |= cleared(reason)
        return tuple(name for name, rule in self._rules.items() if any(source in wire for source in rule.crm))

    def slots_written(self, operation: Operation, mask: Collection[str] = ()) -> tuple[int, ...]:
        """The slots that a command's write touches, rising."""
        written = {name for field in self.names_written(operation, mask) for name in self._rules[field].crm}
        return tuple(slot for slot, names in enumerate(self._sources) if any(name in written for name in names))


def _misfit(rule: Rule, code: str) -> Misfit:
    return Misfit(field=rule.name, crm_field="+".join(rule.sources), code=code)


def _is_broken(value: object) -> bool:
    """Whether a text, or one inside a reference or a list, is not valid Unicode."""
    match value:
        case str():
            return any("\ud800" <= letter <= "\udfff" for letter in value)
        case dict():
            return any(_is_broken(inner) for inner in value.values())
        case list():
            return any(_is_broken(inner) for inner in value)
        case _:
            return False
