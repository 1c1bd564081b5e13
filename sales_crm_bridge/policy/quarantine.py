"""What no longer fits between a tenant's mapping and the CRM's description of its fields: gone, of another kind, a value gone.

A *slot* is one entry of the mapping with the CRM fields that it lives in. One that is amiss is quarantined: neither read nor
written until it fits again, or the mapping is mended.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from sales_crm_bridge.drift import Cause, Kinds, Quarantine

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sales_crm_bridge.errors import Place
    from sales_crm_bridge.mapping import Mapping as FieldMapping
    from sales_crm_bridge.mapping import Rule
    from sales_crm_bridge.model import FieldDefinition

    Definitions = Mapping[str, FieldDefinition]

_FAMILIES = (
    (
        "string",
        "text",
        "textarea",
        "longtext",
        "varchar",
        "char",
        "html",
        "phone",
        "phonenumber",
        "phone_number",
        "email",
        "url",
    ),
    ("number", "integer", "int", "long", "float", "double", "decimal", "currency", "percent", "money"),
    ("date",),
    ("datetime", "timestamp"),
    ("bool", "boolean"),
    ("enumeration", "enum", "choice", "select", "picklist", "dropdown", "radio", "option", "choicelist"),
)
_FAMILY = {word: words[0] for words in _FAMILIES for word in words}


class Amiss(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that does not fit: of which slot, why, which of the CRM's fields, and which of its values ("" the whole field)."""

    slot: str
    field: str
    cause: Cause
    crm_field: str
    value: str
    said: str

    @property
    def key(self) -> tuple[str, Cause, str]:
        """What there is one of in a connection."""
        return (self.slot, self.cause, self.value)


def family(kind: str) -> str:
    """The sort of a CRM's kind of field, as far as its word for it says: text from long text is no other kind."""
    word = kind.strip().lower()
    return _FAMILY.get(word, word)


def met(mapping: FieldMapping, conn: int, definitions: Definitions, kinds: Kinds | None) -> Kinds:
    """Of which kind the mapped fields are when the mapping meets them first; another mapping (a mended one) meets them anew."""
    known = dict(kinds.kinds) if kinds is not None and kinds.mapping == mapping.version else {}
    names = (name for rule in mapping.spec.rules for name in rule.sources)
    fresh = {name: definitions[name].kind for name in names if name in definitions and name not in known}
    return Kinds(conn=conn, mapping=mapping.version, kinds=known | fresh)


def amiss(mapping: FieldMapping, definitions: Definitions, kinds: Mapping[str, str]) -> list[Amiss]:
    """Everything that does not fit, by slot; ``kinds``: of which kind the fields were when the mapping met them."""
    return [one for rule in mapping.spec.rules for one in _of_rule(rule, definitions, kinds)]


def _of_rule(rule: Rule, definitions: Definitions, kinds: Mapping[str, str]) -> Iterator[Amiss]:
    def found(cause: Cause, crm_field: str, said: str, value: str = "") -> Amiss:
        return Amiss(slot=rule.slot, field=rule.name, cause=cause, crm_field=crm_field, value=value, said=said)

    gone = [name for name in rule.sources if name not in definitions]
    if gone:
        yield found(Cause.GONE, "+".join(gone), f"the CRM has no field {', '.join(map(repr, gone))}")
        return
    other = [
        name
        for name in rule.sources
        if family(definitions[name].kind) != family(kinds.get(name, definitions[name].kind))
    ]
    if other:
        changes = ", ".join(f"{name!r} was {kinds[name]!r} and is {definitions[name].kind!r}" for name in other)
        yield found(Cause.RETYPED, "+".join(other), changes)
        return
    options = definitions[rule.crm[0]].options
    if len(rule.crm) > 1 or not options:
        return
    for value in dict.fromkeys(_values(rule)):
        if value not in options:
            yield found(Cause.OPTION, rule.crm[0], f"{rule.crm[0]!r} no longer offers {value!r}", value)


def _values(rule: Rule) -> Iterator[str]:
    """The CRM's values that the entry names."""
    yield from (rule.prefix + theirs for theirs, _ in rule.values)
    yield from (rule.prefix + theirs for _, theirs in rule.write_values)
    if rule.create_default and not rule.values:
        yield rule.prefix + rule.create_default


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What a description of the fields changes: quarantines to open and to close, as they are then."""

    opened: Sequence[Quarantine]
    closed: Sequence[Quarantine]

    def __bool__(self) -> bool:
        """Whether it changes anything."""
        return bool(self.opened or self.closed)


def judge(
    mapping: FieldMapping,
    found: Sequence[Amiss],
    rows: Sequence[Quarantine],
    conn: int,
    places: Mapping[str, Place],
    now_us: int,
) -> Verdict:
    """What is to be opened and closed; ``rows``: every quarantine of the connection, ``places``: of the Sales fields in the file.

    One whose field is gone from the mapping is closed too; where another slot has the Sales field now, that one is its heir.
    """
    open_ = {row.key: row for row in rows if row.is_open}
    now = {one.key: one for one in found}
    opened = [_opened(one, conn, places[one.field], now_us) for key, one in now.items() if key not in open_]
    slots = {rule.slot for rule in mapping.spec.rules}
    by_field = {rule.name: rule.slot for rule in mapping.spec.rules}
    closed = [
        msgspec.structs.replace(
            row, closed_us=now_us, reread_us=0, heir="" if row.slot in slots else by_field.get(row.field, "")
        )
        for key, row in open_.items()
        if key not in now
    ]
    return Verdict(opened=opened, closed=closed)


def _opened(one: Amiss, conn: int, place: Place, now_us: int) -> Quarantine:
    return Quarantine(
        conn=conn,
        slot=one.slot,
        cause=one.cause,
        value=one.value,
        field=one.field,
        crm_field=one.crm_field,
        said=one.said,
        file=place.file,
        line=place.line,
        column=place.column,
        opened_us=now_us,
    )


def heirs(rows: Sequence[Quarantine]) -> dict[str, tuple[str, ...]]:
    """By slot, the slots whose knowledge it takes over where a binding does not know it, the latest first."""
    before: dict[str, list[str]] = {}
    for row in sorted((row for row in rows if row.heir), key=lambda row: -row.closed_us):
        before.setdefault(row.heir, []).append(row.slot)
    found = {}
    for slot in before:
        line = [slot]
        for name in line:
            line += [one for one in before.get(name, ()) if one not in line]
        found[slot] = tuple(line[1:])
    return found
